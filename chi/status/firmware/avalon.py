"""Canaan's Avalons: each module is a text of Key[value] pairs in `estats`, on older ones in `stats`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chi.status.firmware.cgminer import read_stats
from chi.status.model import Chain
from chi.status.values import MAX_ITEMS, RATES, WATTS, Replies, celsius, unique

MODULE = re.compile(r"MM ID([0-9]{1,4})")


def read_modules(replies: Replies) -> list[tuple[str, dict[str, str]]]:
    """Return number and pairs of each Avalon module: `MM ID0`, a text of Key[value] pairs."""
    return [
        (match[1], dict(pair_of(part) for part in value.split("]") if "[" in part))
        for entry in read_stats(replies)
        for key, value in entry.items()
        if isinstance(value, str) and (match := MODULE.fullmatch(key))
    ][:MAX_ITEMS]


def pair_of(part: str) -> tuple[str, str]:
    """Return key and value of " Key[value"."""
    key, _, value = part.partition("[")
    return key.strip(), value


def module_power(pairs: Mapping[str, str]) -> float | None:
    """Return W at the wall, else the power supply's output, the fifth number of PS."""
    supply = pairs.get("PS", "").split()
    return WATTS(pairs.get("WALLPOWER")) or (WATTS(supply[4]) if len(supply) > 4 else None)


def avalon_chains(replies: Replies) -> list[Chain]:
    """Return the boards of Avalon modules, or the modules where they do not tell of boards (Avalon 9)."""
    modules = read_modules(replies)
    chains = []
    for module, pairs in modules:
        rates, heats = pairs.get("MGHS", "").split(), pairs.get("MTmax", pairs.get("TMax", "")).split()
        boards = max(len(rates), len(heats))
        for place in range(min(boards, MAX_ITEMS)):
            several = str(place) if len(modules) == 1 else f"{module}.{place}"
            chains.append(
                Chain(
                    chain=several if boards > 1 else module,
                    hashrate=RATES["G"](rates[place]) if place < len(rates) else None,
                    chip_temperature=celsius(heats[place]) if place < len(heats) else None,
                )
            )
    return unique(chains, lambda chain: chain.chain)


AVALON_FAN = re.compile(r"Fan([0-9]{0,2})")


def avalon_fans(replies: Replies) -> list[tuple[str, Any]]:
    """Return the fans of Avalon modules: Fan1[4275], or Fan[4830] where there is one."""
    modules = read_modules(replies)
    return [
        (match[1] or "1" if len(modules) == 1 else f"{module}.{match[1] or 1}", value)
        for module, pairs in modules
        for key, value in pairs.items()
        if (match := AVALON_FAN.fullmatch(key))
    ]
