"""Bitmain's bmminer and cgminer, and derivatives (Vnish, MSK, Hiveon, Blackminer, Hammer, VolcMiner).

Recognised by `version`: BMMiner, or a Type that begins with Antminer. Boards and fans are numbered fields of
one object of `stats`; devs is denied or empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from chi.status.firmware.family import Family, Part, Told, state_word
from chi.status.firmware.units import near
from chi.status.model import Chain, Fan, RigError
from chi.status.values import (
    COUNT,
    MEGAHERTZ,
    PERCENT,
    RPM,
    WATTS,
    Entry,
    bare_number,
    first,
    flag,
    highest,
    hottest,
    number,
    read,
    text,
    total,
    volts,
)

CHAIN = re.compile(r"chain_(?:acn|rate)([0-9]{1,3})")
FAN = re.compile(r"fan([0-9]{1,2})")
LETTERS = ("G", "M", "T", "K")  # chain_rate is GH/s, but for some that mine scrypt
ASLEEP = 254  # of Mode


def read_stats(told: Told) -> Part:
    """Return what the object of `stats` with chains in it tells; there may be one without them before it."""
    entry = next((found for found in told.stats if any(map(CHAIN.fullmatch, found))), {})
    reader = rate_reader(told, entry)
    rig = {
        "hashrate_expected": (reader(entry.get("total_rateideal")) or None) if reader else None,
        "power": read_power(entry),
        "state": read_state(entry),
        "firmware": read_firmware([told.version, *told.stats]),
        "errors": read_errors(entry),
    }
    return Part(rig, boards(entry, reader), read_fans(told.stats))


# --- Boards ---------------------------------------------------------------------------------------

RateReader = Callable[[Any], "float | None"]


def places(entry: Entry) -> list[str]:
    """Return the numbers of the places that have a board: chips, or a hashrate; in the firmware's order."""
    numbers = dict.fromkeys(match[1] for match in map(CHAIN.fullmatch, entry) if match)
    return [n for n in numbers if COUNT(entry.get(f"chain_acn{n}")) or COUNT(entry.get(f"chain_rate{n}"))]


def rate_reader(told: Told, entry: Entry) -> RateReader | None:
    """Return the reader of chain_rate: GH/s, or the unit in which the boards add up to the rig, if any."""
    sum_of_boards = sum(COUNT(entry.get(f"chain_rate{n}")) or 0.0 for n in places(entry))
    rig = told.rate or told.units.recent(entry)
    for letter in LETTERS:
        found = told.units.rate(letter, sum_of_boards)
        if not rig or not found or near(found, rig):
            return partial(told.units.rate, letter)
    return None


def boards(entry: Entry, reader: RateReader | None) -> list[Chain]:
    """Return the boards, in the order of their numbers."""
    found = [board(n, entry, reader) for n in places(entry)]
    count = int(COUNT(entry.get("miner_count")) or 0)
    if count and len(found) > count and len(found) % count == 0:
        size = len(found) // count  # an E3 tells three boards of three chains each, one board after another
        found = [joined(found[start : start + size]) for start in range(0, len(found), size)]
    return sorted(found, key=lambda chain: int(chain.chain))


def board(n: str, entry: Entry, reader: RateReader | None) -> Chain:
    """Return the board at the place of this number."""
    heats = [hottest(entry.get(f"{name}{n}")) for name in ("temp_chip", "temp2_", "chipTemp")]
    clocks = (f"freq_avg{n}", f"freq{n}", f"frequency{n}", "frequency")
    return Chain(
        chain=n,
        state=state_word(entry.get(f"chain_state{n}")),
        hashrate=reader(entry.get(f"chain_rate{n}")) if reader else None,
        hashrate_expected=(reader(entry.get(f"chain_rateideal{n}")) or None) if reader else None,
        board_temperature=hottest(entry.get(f"temp_pcb{n}")) or hottest(entry.get(f"temp{n}")),
        chip_temperature=first(heats),
        frequency=first(MEGAHERTZ(bare_number(entry.get(name))) for name in clocks),
        voltage=first(volts(entry.get(f"{name}{n}")) for name in ("chain_vol", "chain_voltage", "voltage")),
        chips=COUNT(entry.get(f"chain_acn{n}")),
        hardware_errors=COUNT(entry.get(f"chain_hw{n}")),
    )


def joined(parts: Sequence[Chain]) -> Chain:
    """Return the chains of one board as one."""

    def those(name: str) -> list[float]:
        return [value for part in parts if (value := getattr(part, name)) is not None]

    values: dict[str, Any] = {}
    for name in ("board_temperature", "chip_temperature"):
        values[name] = highest(those(name))
    for name in ("hashrate", "hashrate_expected", "chips", "hardware_errors"):
        values[name] = sum(those(name)) if those(name) else None
    return parts[0]._replace(**values)


# --- The rig --------------------------------------------------------------------------------------

POWERS = ("total_power", "chain_power")
CHAIN_POWERS = (re.compile(r"chain_power[0-9]{1,3}"), re.compile(r"chain_consumption[0-9]{1,3}"))


def watts(value: Any) -> float | None:
    """Read a power, such as "1089.00 (AB)" or "3250 W"."""
    return WATTS(bare_number(value))


def read_power(entry: Entry) -> float | None:
    """Return W drawn: told for the whole, or for each board; 0 is not told."""
    whole = next(filter(None, (watts(entry.get(name)) for name in POWERS)), None)
    sums = (total(watts(entry[name]) for name in filter(each.fullmatch, entry)) for each in CHAIN_POWERS)
    return whole or next(filter(None, sums), None)


def read_state(entry: Entry) -> str | None:
    """Return the state that the firmware tells."""
    if number(entry.get("Mode")) == ASLEEP:
        return "sleeping"
    told = next(filter(None, (state_word(entry.get(name)) for name in ("state", "miner_status"))), None)
    return told or ("tuning" if flag(entry.get("tune_running"), {"1": True, "0": False}) else None)


VENDOR = re.compile(r"\((.+)\)")  # of a Type: "Antminer S17+ (vnish 2.0.3)"


def read_firmware(entries: Iterable[Entry]) -> str | None:
    """Return the firmware's name and version, else when it was made."""
    entries = list(entries)
    named = (VENDOR.search(text(entry.get("Type")) or "") for entry in entries)
    vendor = next(filter(None, named), None)
    made = (text(entry.get("CompileTime")) for entry in entries)
    return vendor[1] if vendor else next(filter(None, made), None)


def read_errors(entry: Entry) -> tuple[RigError, ...]:
    """Return what the firmware says of the power supply, if it is not well."""
    said = text(entry.get("psu_status"))
    return (RigError("psu_status", said),) if said and said.lower() not in ("psu ok", "ok") else ()


def read_fans(stats: Sequence[Entry]) -> list[Fan]:
    """Return the fans; there may be more places for fans than there are fans.

    Empty places say 0, as does a fan that stands: zeros are told when fewer turn than fan_num says there are.
    """
    entry = next((found for found in stats if any(map(FAN.fullmatch, found))), {})
    speeds = {match[1]: RPM(entry[match[0]]) for match in map(FAN.fullmatch, entry) if match}
    duty = read(entry, PERCENT, "fan_pwm")
    fans = [Fan(n, speed, duty) for n, speed in sorted(speeds.items(), key=lambda place: int(place[0]))]
    turning = [fan for fan in fans if fan.speed]
    count = COUNT(entry.get("fan_num"))
    enough = len(turning) >= count if count is not None else bool(turning)
    return turning if enough else fans


FAMILY = Family(
    "bitmain",
    ("version", "summary", "pools", "stats"),
    read_stats,
    marks=(("BMMiner", ""), ("Type", "Antminer")),
)
