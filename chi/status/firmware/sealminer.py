"""Bitdeer's Sealminers (bdminer).

Recognised by `version`: BDMiner. Everything is in one object of `stats`; what is told of a board or of a fan
begins with its number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chi.status.firmware.family import Family, Part, Told, state_word
from chi.status.model import Chain, Fan, RigError
from chi.status.values import (
    COUNT,
    MEGAHERTZ,
    RPM,
    WATTS,
    YES_NO,
    Entry,
    celsius,
    flag,
    highest,
    read,
    text,
    within,
)

NUMBERED = re.compile(r"([0-9]{1,3}) (.+)")
SENSOR = re.compile(r"Temp [0-9]{1,2}")
VOLTS = within(0.1, 100)


def read_stats(told: Told) -> Part:
    """Return what the object with numbered fields tells."""
    entry = next((found for found in told.stats if any(map(NUMBERED.fullmatch, found))), {})
    parts: dict[str, dict[str, Any]] = {}
    for match in filter(None, map(NUMBERED.fullmatch, entry)):
        parts.setdefault(match[1], {})[match[2]] = entry[match[0]]
    boards = {n: part for n, part in parts.items() if "Chip Count" in part}
    fans = {n: part for n, part in parts.items() if "Speed" in part}
    if not boards and not fans:
        return Part()
    return Part(
        read_rig(told, entry),
        [board(told, n, part, VOLTS(entry.get("PSU Output Voltage"))) for n, part in boards.items()],
        [Fan(n, RPM(part["Speed"])) for n, part in fans.items()],
    )


def read_rig(told: Told, entry: Entry) -> dict[str, Any]:
    """Return the attributes of Rig."""
    return {
        "model": text(entry.get("Model")),
        "firmware": text(entry.get("Firmware")),
        "power": read(entry, WATTS, "PSU Input Power", "PSU Output Power") or None,
        "power_limit": read(entry, WATTS, "Power Limit") or None,
        "hashrate_expected": told.units.rate("M", entry.get("MHS(Rated)")) or None,
        "environment_temperature": celsius(entry.get("PSU Temp AMB")),
        "state": read_state(entry),
        "errors": read_errors(entry),
    }


def read_state(entry: Entry) -> str | None:
    """Return what it does: the power manager's word, but for the time that it tunes."""
    tuner = (text(entry.get("Tune Status")) or "").lower()
    tunes = "tuning" in tuner and "done" not in tuner
    state = state_word(entry.get("PM State"))
    return "tuning" if tunes and state in (None, "mining") else state


def read_errors(entry: Entry) -> tuple[RigError, ...]:
    """Return the error codes of miner and power supply, without zeros."""
    codes = re.split(r"[\s,;]+", text(entry.get("Error Code")) or "")
    supply = text(entry.get("PSU Error")) or ""
    found = [RigError(code) for code in dict.fromkeys(codes) if code]
    return (*found, RigError(f"PSU {supply}")) if supply.strip("0x") else tuple(found)


def board(told: Told, n: str, part: Mapping[str, Any], supply: float | None) -> Chain:
    """Return one board."""
    rates = ((name, told.units.rate("M", part.get(name))) for name in ("MHS(Sample)", "MHS(Ideal)"))
    rate = dict(rates)
    return Chain(
        chain=n,
        state="dead" if flag(part.get("Online"), YES_NO) is False else None,
        hashrate=rate["MHS(Sample)"],
        hashrate_expected=rate["MHS(Ideal)"] or None,
        board_temperature=highest(celsius(part[name]) for name in part if SENSOR.fullmatch(name)),
        frequency=MEGAHERTZ(part.get("Freq")),
        voltage=supply,
        chips=COUNT(part.get("Chip Count")),
    )


FAMILY = Family(
    "sealminer",
    ("version", "summary", "pools", "devs", "stats"),
    read_stats,
    marks=(("BDMiner", ""),),
    described=("bdminer",),
    algorithm="sha256d",
)
