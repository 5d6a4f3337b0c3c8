"""Canaan's Avalons, from the 7 to the Nano, Mini and Q.

Recognised by `version`: a PROD that begins with Avalon. Each module is a text of Key[value] pairs in
`estats`, on older ones in `stats`; the modules of several controllers may have the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from chi.status.firmware.family import Family, Part, Told, state_word
from chi.status.firmware.units import PREFIXES
from chi.status.model import Chain, Fan, RigError
from chi.status.values import (
    COUNT,
    MAX_ITEMS,
    MEGAHERTZ,
    PERCENT,
    RPM,
    WATTS,
    celsius,
    first,
    highest,
    number,
    text,
    total,
    unique,
    within,
)

MODULE = re.compile(r"MM ID([0-9]{1,4})(?::Summary)?")
WRAPPING = re.compile(r"\A'STATS':\{")
FAN = re.compile(r"Fan([0-9]{0,2})")
WORK = re.compile(r"Work: *([A-Za-z ]+)")
GIGA = within(0, factor=PREFIXES["G"])
MILLISECONDS = within(0, 1e6, 0.001)


class Module(NamedTuple):
    """One module: its name among the others, empty where there is one, and its pairs."""

    name: str
    pairs: Mapping[str, str]

    def get(self, key: str) -> str:
        """Return the text of a pair, empty where there is none."""
        return self.pairs.get(key, "")

    def numbers(self, key: str) -> list[str]:
        """Return the parts of a pair's text."""
        return self.get(key).split()

    def named(self, *parts: Any) -> str:
        """Return a name within this module."""
        return ".".join(str(part) for part in (self.name, *parts) if str(part))


def read_modules(told: Told) -> list[Module]:
    """Return the modules: named by number, with several controllers by their places as well."""
    found = [
        (place, match[1], pairs_of(value))
        for place, entry in enumerate(told.stats)
        for key, value in entry.items()
        if isinstance(value, str) and (match := MODULE.fullmatch(key))
    ][:MAX_ITEMS]
    if len(found) == 1:
        return [Module("", found[0][2])]
    controllers = list(dict.fromkeys(place for place, _, _ in found))
    several = len(controllers) > 1
    return [Module(f"{controllers.index(place)}.{n}" if several else n, pairs) for place, n, pairs in found]


def pairs_of(value: str) -> dict[str, str]:
    """Return the pairs of a text like "Ver[9211809] Temp[23]"."""
    parts = (part.partition("[") for part in WRAPPING.sub("", value).split("]") if "[" in part)
    return {key.strip(): text for key, _, text in parts}


def read_stats(told: Told) -> Part:
    """Return what the modules tell."""
    modules = read_modules(told)
    if not modules:
        return Part()
    state = first_of(read_state(module) for module in modules)
    each: dict[str, Callable[[Module], float | None]] = {
        "power": read_power,
        "power_limit": lambda module: WATTS(module.get("MPO")),
        "hashrate": lambda module: GIGA(module.get("GHSspd")),
        "hashrate_average": lambda module: GIGA(module.get("GHSavg")),
        "hashrate_expected": lambda module: GIGA(module.get("GHSmm")) if module.get("MGHS") else None,
    }
    rig: dict[str, Any] = {name: total(map(reader, modules)) for name, reader in each.items()}
    rig["environment_temperature"] = highest(
        celsius(module.get("ITemp")) or celsius(module.get("Temp")) for module in modules
    )
    rig.update(state=state, errors=read_errors(modules), algorithm=FAMILY.algorithm)
    rig["firmware"] = first_of(text(told.version.get(name)) for name in ("VERSION", "LVERSION")) or first_of(
        text(module.get("Ver")) for module in modules
    )
    chains = [chain for module in modules for chain in read_boards(module)]
    fans = [fan for module in modules for fan in read_fans(module)]
    ping = first(MILLISECONDS(module.get("PING")) or None for module in modules)
    return Part(rig, unique(chains, lambda chain: chain.chain), fans, ping)


def first_of(values: Any) -> Any:
    """Return the first that says something."""
    return next(filter(None, values), None)


# --- Modules --------------------------------------------------------------------------------------

NANO_3 = re.compile(r"nano ?3-", re.IGNORECASE)  # of Ver; not the 3s
ABSURD = 10  # times the most that a module may draw


def read_power(module: Module) -> float | None:
    """Return W at the wall, else what the power supply puts out; None where it tells nothing or nonsense.

    PS has the supply's output as the fifth number and, if there are seven, the draw at the wall as the last.
    On a Nano 3 the last is its limit, and the one before it the draw.
    """
    supply, limit = module.numbers("PS"), WATTS(module.get("MPO"))
    nano_3 = NANO_3.match(module.get("Ver")) or supply[:3] == ["0", "0", "0"]
    place = 4 if len(supply) < 7 else 5 if nano_3 else 6
    told = WATTS(module.get("WALLPOWER")) or (WATTS(supply[place]) if len(supply) > place else None)
    return None if not told or (limit and told > ABSURD * limit) else told


def read_state(module: Module) -> str | None:
    """Return the module's state; SoftOFF says that a user paused it."""
    match = WORK.search(module.get("SYSTEMSTATU"))
    state = state_word(match[1].strip()) if match else None
    return "sleeping" if state == "idle" and number(module.get("SoftOFF")) else state


def read_boards(module: Module) -> list[Chain]:
    """Return the module's boards; where it does not tell of boards, it is one."""
    rates = module.numbers("MGHS") or module.numbers("GHSmm")
    heats = module.numbers("MTmax") or module.numbers("TMax")
    boards = min(max(len(rates), len(heats)), MAX_ITEMS)
    chips = COUNT(module.get("TA"))
    return [
        Chain(
            chain=module.named(place if boards > 1 or not module.name else ""),
            hashrate=GIGA(rates[place]) if place < len(rates) else None,
            chip_temperature=celsius(heats[place]) if place < len(heats) else None,
            frequency=MEGAHERTZ(module.get("Freq")),
            chips=chips / boards if chips and chips % boards == 0 else None,
        )
        for place in range(boards)
    ]


def read_fans(module: Module) -> list[Fan]:
    """Return the module's fans: Fan1[4275]..., or Fan[4830] if there is only one."""
    duty = PERCENT(module.get("FanR").rstrip("%"))
    fans = ((match[1], value) for key, value in module.pairs.items() if (match := FAN.fullmatch(key)))
    return [Fan(module.named(n or 1), RPM(value), duty) for n, value in fans]


# Bits of ECHU and ECMM that cgminer's own page calls failures; the others are notes of normal work.
FAILURES = {0x4: "NoFan", 0x40: "TooHot", 0x100: "LoopFailed", 0x400: "InvalidPMU", 0x800: "PGFailed",
            0x1000: "NTCErr", 0x2000: "VolErr", 0x4000: "VCoreErr"}  # fmt: skip


def read_errors(modules: list[Module]) -> tuple[RigError, ...]:
    """Return the failures that hash units and the modules' controllers tell."""
    found = [
        RigError(f"{key} {bit:#x}", name)
        for module in modules
        for key in ("ECHU", "ECMM")
        for value in module.numbers(key)
        for bit, name in FAILURES.items()
        if int(COUNT(value) or 0) & bit
    ]
    return tuple(unique(found, lambda error: error.code))


FAMILY = Family(
    "avalon",
    ("version", "summary", "pools", "devs", "estats"),
    read_stats,
    marks=(("PROD", "Avalon"),),
    algorithm="sha256d",
    one_at_a_time=True,  # of four commands side by side, three were refused
)
