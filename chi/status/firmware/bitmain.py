"""Bitmain's bmminer and cgminer: boards and fans are numbered fields of one object of `stats`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from chi.status.model import Chain
from chi.status.values import (
    COUNT,
    MEGAHERTZ,
    RATES,
    RPM,
    Entry,
    Reader,
    Replies,
    hashrate,
    hottest,
    only,
    read,
)

BITMAIN_CHAIN = re.compile(r"chain_(?:acn|rate)([0-9]{1,3})")
BITMAIN_RATES = ("G", "M", "T", "K")  # chain_rate is GH/s, but for some that mine scrypt


def bitmain_chains(replies: Replies, stats: Sequence[Entry]) -> list[Chain]:
    """Return the boards in Bitmain's `stats`; places without chips and hashrate have no board."""
    entry = next((found for found in stats if any(map(BITMAIN_CHAIN.fullmatch, found))), {})
    numbers = sorted({match[1] for match in map(BITMAIN_CHAIN.fullmatch, entry) if match}, key=int)
    there = [n for n in numbers if COUNT(entry.get(f"chain_acn{n}")) or COUNT(entry.get(f"chain_rate{n}"))]
    rig = hashrate(only(replies.get("summary"), "SUMMARY")) or hashrate(entry)
    rate = bitmain_unit([COUNT(entry.get(f"chain_rate{n}")) or 0.0 for n in there], rig)
    return [
        Chain(
            chain=n,
            hashrate=rate(entry.get(f"chain_rate{n}")) if rate else None,
            board_temperature=hottest(entry.get(f"temp_pcb{n}")) or hottest(entry.get(f"temp{n}")),
            chip_temperature=hottest(entry.get(f"temp_chip{n}")) or hottest(entry.get(f"temp2_{n}")),
            frequency=read(entry, MEGAHERTZ, f"freq_avg{n}", f"freq{n}", "frequency"),
            chips=COUNT(entry.get(f"chain_acn{n}")),
            hardware_errors=COUNT(entry.get(f"chain_hw{n}")),
        )
        for n in there
    ]


def bitmain_unit(rates: Sequence[float], rig: float | None) -> Reader | None:
    """Return the reader of chain_rate: GH/s, or the unit in which the boards add up to the rig, if any."""
    total = sum(rates)
    if not rig or not total:
        return RATES["G"]
    for unit in BITMAIN_RATES:
        found = RATES[unit](total)
        if found is not None and rig / 10 < found < rig * 10:
            return RATES[unit]
    return None


BITMAIN_FAN = re.compile(r"fan([0-9]{1,2})")


def bitmain_fans(stats: Sequence[Entry]) -> list[tuple[str, Any]]:
    """Return the fans in Bitmain's `stats`, which may have more places for fans than there are fans.

    Empty places say 0, as does a fan that stands: zeros are told when fewer turn than fan_num says there are.
    """
    entry = next((found for found in stats if "fan_num" in found), {})
    places = [(match[1], entry[match[0]]) for match in map(BITMAIN_FAN.fullmatch, entry) if match]
    places.sort(key=lambda place: int(place[0]))
    turning = [place for place in places if RPM(place[1])]
    return turning if len(turning) >= (COUNT(entry.get("fan_num")) or 0) else places
