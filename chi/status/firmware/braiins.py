"""Braiins OS (BOSminer, BOSer), and LuxOS alike: boards in `temps`, fans in `fans`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chi.status.firmware.luxos import corner_temperatures
from chi.status.model import Chain
from chi.status.values import COUNT, HERTZ, Entry, Replies, celsius, hashrate, named, only, section


def temps_chains(replies: Replies, devices: Sequence[Entry]) -> list[Chain]:
    """Return the boards of BOSminer and LuxOS: `temps`, with what devs and devdetails tell of the same ID."""
    entries = section(replies.get("temps"), "TEMPS")
    labels = only(replies.get("temps"), "METADATA")
    details = section(replies.get("devdetails"), "DEVDETAILS")
    rates = dict(zip(named(devices, ("ID", "ASC")), devices))
    chips = dict(zip(named(details, ("ID", "DEVDETAILS")), details))
    chains = []
    for name, entry in zip(named(entries, ("ID", "TEMP")), entries):
        board, water = corner_temperatures(entry, labels)
        told, detail = rates.get(name, {}), chips.get(name, {})
        chains.append(
            Chain(
                chain=name,
                hashrate=hashrate(told),
                board_temperature=celsius(entry.get("Board")) or board,
                chip_temperature=celsius(entry.get("Chip")),
                water_temperature=water,
                frequency=HERTZ(detail.get("Frequency")),
                chips=COUNT(detail.get("Chips")),
                hardware_errors=COUNT(told.get("Hardware Errors")),
            )
        )
    return chains


def listed_fans(replies: Replies) -> list[tuple[str, Any]]:
    """Return the fans in `fans`."""
    entries = section(replies.get("fans"), "FANS")
    return [(name, entry.get("RPM")) for name, entry in zip(named(entries, ("ID", "FAN")), entries)]
