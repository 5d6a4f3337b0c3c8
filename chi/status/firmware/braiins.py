"""Braiins OS (BOSminer, BOSer).

Recognised by `version`. Boards are in `temps`, with their rates in devs and their chips in devdetails, all
by ID; fans in `fans`; power and what the tuner does in `tunerstatus`.
"""

from __future__ import annotations

from typing import Any

from chi.status.firmware.family import Family, Part, Told
from chi.status.model import Chain, Fan
from chi.status.values import (
    COUNT,
    HERTZ,
    PERCENT,
    RPM,
    WATTS,
    Entry,
    celsius,
    named,
    read,
    text,
    total,
    within,
)

VOLTS = within(0.1, 100)


def read_all(told: Told) -> Part:
    """Return boards, fans and what the tuner tells."""
    tuner = told.only("tunerstatus", "TUNERSTATUS")
    rig: dict[str, Any] = {
        "power": read(tuner, WATTS, "ApproximateMinerPowerConsumption"),
        "power_limit": read(tuner, WATTS, "PowerLimit") or None,
        "hashrate_expected": nominal(told),
        "state": read_state(tuner),
    }
    return Part(rig, read_chains(told), read_fans(told))


def nominal(told: Told) -> float | None:
    """Return what the boards should make together."""
    return total(told.units.rate("M", entry.get("Nominal MHS")) for entry in told.devices)


def read_chains(told: Told) -> list[Chain]:
    """Return the boards in `temps`, with what devs and devdetails tell of the same ID."""
    entries = told.section("temps", "TEMPS")
    rates = dict(zip(named(told.devices, ("ID", "ASC")), told.devices))
    details = told.by_name("devdetails", "DEVDETAILS", "ID", "DEVDETAILS")
    chains = []
    for name, entry in zip(named(entries, ("ID", "TEMP")), entries):
        rate, detail = rates.get(name, {}), details.get(name, {})
        chains.append(
            Chain(
                chain=name,
                hashrate=told.units.recent(rate),
                hashrate_expected=told.units.rate("M", rate.get("Nominal MHS")) or None,
                board_temperature=celsius(entry.get("Board")),
                chip_temperature=celsius(entry.get("Chip")),
                frequency=HERTZ(detail.get("Frequency")),
                voltage=VOLTS(detail.get("Voltage")),
                chips=COUNT(detail.get("Chips")),
                hardware_errors=COUNT(rate.get("Hardware Errors")),
            )
        )
    return chains


def read_fans(told: Told, count: float | None = None) -> list[Fan]:
    """Return the fans in `fans`: places without one say 0 rpm beside others that turn.

    A fan that stands says so too: zeros are told where fewer turn than `count`, if that is known.
    """
    fans = [
        Fan(name, RPM(entry.get("RPM")), PERCENT(entry.get("Speed")))
        for name, entry in told.by_name("fans", "FANS", "ID", "FAN").items()
    ]
    turning = [fan for fan in fans if fan.speed]
    return turning if turning and len(turning) >= (count or 0) else fans


def read_state(tuner: Entry) -> str | None:
    """Return what the tuner does, which tells each board's state in words of its own."""
    entries = tuner.get("TunerChainStatus")
    told = entries if isinstance(entries, list) else []
    words = [(text(entry.get("Status")) or "").lower() for entry in told if isinstance(entry, dict)]
    if any("paused" in word for word in words):
        return "sleeping"
    if any(word.startswith("tuning") for word in words):
        return "tuning"
    return "mining" if words and all(word in MINING for word in words) else None


MINING = ("stable", "testing performance profile")

FAMILY = Family(
    "bosminer",
    ("version", "summary", "pools", "devs", "temps", "fans", "devdetails", "tunerstatus"),
    read_all,
    marks=(("BOSminer+", ""), ("BOSminer", ""), ("BOSer", "")),
    algorithm="sha256d",
)
