"""MicroBT's Whatsminers (btminer): boards are in edevs or devs, the fans in summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chi.status.model import Chain
from chi.status.values import COUNT, MEGAHERTZ, Entry, Replies, celsius, hashrate, named, only

# What makes an entry of devs a board: Whatsminer's fields.
WHATSMINER_FIELDS = frozenset({"Effective Chips", "Chip Frequency", "Chip Temp Max"})


def whatsminer_chains(devices: Sequence[Entry]) -> list[Chain]:
    """Return the boards in Whatsminer's devs or edevs."""
    entries = [entry for entry in devices if not WHATSMINER_FIELDS.isdisjoint(entry)]
    return [
        Chain(
            chain=name,
            hashrate=hashrate(entry),
            board_temperature=celsius(entry.get("Temperature")),
            chip_temperature=celsius(entry.get("Chip Temp Max")),
            frequency=MEGAHERTZ(entry.get("Chip Frequency")),
            chips=COUNT(entry.get("Effective Chips")),
            hardware_errors=COUNT(entry.get("Hardware Errors")),
        )
        for name, entry in zip(named(entries, ("Slot", "ASC")), entries)
    ]


WHATSMINER_FANS = (("in", "Fan Speed In"), ("out", "Fan Speed Out"), ("psu", "Power Fanspeed"))


def whatsminer_fans(replies: Replies, devices: Sequence[Entry]) -> list[tuple[str, Any]]:
    """Return Whatsminer's fans; every board of its devs tells the same two again."""
    for entry in (only(replies.get("summary"), "SUMMARY"), next(iter(devices), {})):
        found = [(name, entry[told]) for name, told in WHATSMINER_FANS if told in entry]
        if found:
            return found
    return []
