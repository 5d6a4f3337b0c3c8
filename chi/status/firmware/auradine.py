"""Auradine's Teraflux (GCMiner, FluxOS).

Recognised by `version`: GCMiner. Each thing has a command of its own: fan, temperature, psu, mode, frequency,
ipreport, asccount; boards are told by ID.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chi.status.firmware.family import Family, Part, Told
from chi.status.model import Chain, Fan
from chi.status.values import (
    COUNT,
    MEGAHERTZ,
    RPM,
    WATTS,
    YES_NO,
    Entry,
    bare_number,
    celsius,
    flag,
    highest,
    named,
    number,
    text,
    within,
)

VOLTS = within(0.1, 100)


def read_all(told: Told) -> Part:
    """Return what its own commands tell."""
    heats = told.by_name("temperature", "Temperature", "ID")
    fans = told.by_name("fan", "Fan", "ID")
    supply, mode = told.only("psu", "PSU"), told.only("mode", "Mode")
    report = told.only("ipreport", "IPReport")
    if not (heats or fans or supply or mode or report):
        return Part()
    rig: dict[str, Any] = {
        "model": text(report.get("model")),
        "firmware": text(report.get("version")),
        "host_name": text(report.get("hostname")),
        "power": WATTS(bare_number(supply.get("PowerIn"))),
        "power_limit": WATTS(mode.get("Power")) or None,
        "hashrate_expected": told.units.rate("T", mode.get("Ths")) or None,
        "environment_temperature": hottest_of(heats.get("0", {}), "BoardTemp"),
        "state": read_state(mode),
    }
    return Part(rig, read_boards(told, heats, supply), [read_fan(*fan) for fan in fans.items()])


def read_state(mode: Entry) -> str | None:
    """Return whether it sleeps."""
    asleep = flag(mode.get("Sleep"), {**YES_NO, "on": True, "off": False})
    return None if asleep is None else "sleeping" if asleep else "mining"


def read_boards(told: Told, heats: Mapping[str, Entry], supply: Entry) -> list[Chain]:
    """Return the boards that devs tells, with what is told elsewhere of the same ID."""
    clocks = told.by_name("frequency", "Frequency", "ID")
    counts = told.only("asccount", "ASCCount")
    asics, boards = COUNT(counts.get("AsicCount")), COUNT(counts.get("BoardCount"))
    chips = asics / boards if asics and boards and asics % boards == 0 else None
    rates = dict(zip(named(told.devices, ("ID", "DEV")), told.devices))
    names = list(rates) or [name for name in heats if name != "0"]
    return [
        Chain(
            chain=name,
            hashrate=told.units.recent(rates.get(name, {})),
            board_temperature=hottest_of(heats.get(name, {}), "BoardTemp")
            or celsius(rates.get(name, {}).get("Temperature")),
            chip_temperature=hottest_of(heats.get(name, {}), "ChipTemp"),
            frequency=mean(
                MEGAHERTZ(value) for value in inner(clocks.get(name, {}), "ChipFrequency", "Frequency")
            ),
            voltage=VOLTS(bare_number(supply.get("Vout"))),
            chips=chips,
        )
        for name in names
    ]


def inner(entry: Entry, name: str, value: str) -> list[Any]:
    """Return the values of the objects in a list: "ChipTemp": [{"ID": 0, "Temperature": 45.8}]."""
    found = entry.get(name)
    return [part.get(value) for part in found if isinstance(part, Mapping)] if isinstance(found, list) else []


def hottest_of(entry: Entry, name: str) -> float | None:
    """Return the highest temperature of a list of sensors."""
    return highest(celsius(value) for value in inner(entry, name, "Temperature"))


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of those that are there."""
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def read_fan(name: str, entry: Entry) -> Fan:
    """Return one fan; its duty is what is asked of the most that it can."""
    asked, most = number(entry.get("Target")), number(entry.get("Max"))
    duty = asked / most if asked is not None and most and 0 <= asked <= most else None
    return Fan(name, RPM(entry.get("Speed")), duty)


FAMILY = Family(
    "auradine",
    ("version", "summary", "pools", "devs", "fan", "temperature", "psu", "mode", "frequency", "ipreport",
     "asccount"),
    read_all,
    marks=(("GCMiner", ""),),
    described=("gcminer", "fluxos"),
    algorithm="sha256d",
)  # fmt: skip
