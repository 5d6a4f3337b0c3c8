"""Innosilicon, and others with one `stats` object per board (HonorKnight, MinerVa).

Innosilicon is recognised by its Description, innominer. A "Fan duty" is a percentage of all fans, and no
speed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chi.status.firmware.family import Family, Part, Told
from chi.status.firmware.units import near
from chi.status.model import Chain, Fan
from chi.status.values import COUNT, MEGAHERTZ, RPM, Entry, celsius, named, read, within

CHIPS = ("Num active chips", "Chip Count")  # what makes an object a board's
FAN = re.compile(r"Fan ?([0-9]{1,2}) (?:rpm|Speed)")
MILLIVOLTS = within(1, 100_000, 0.001)


def read_stats(told: Told) -> Part:
    """Return the boards, and the fans that each of them tells again."""
    entries = [entry for entry in told.stats if any(name in entry for name in CHIPS)]
    rates = rates_of(told, entries)
    names = named(entries, ("Chain ID", "STATS"))
    chains = [board(name, entry, rate) for name, entry, rate in zip(names, entries, rates)]
    matches = ((entry, match) for entry in entries for match in map(FAN.fullmatch, entry) if match)
    fans = {match[1]: RPM(entry[match[0]]) for entry, match in matches}
    return Part(chains=chains, fans=[Fan(name, speed) for name, speed in fans.items()])


def rates_of(told: Told, entries: Sequence[Entry]) -> list[float | None]:
    """Return the boards' hashrates, if they add up to the rig's; an A9's count something else."""
    rates = [told.units.recent(entry) for entry in entries]
    sum_of_boards = sum(rate or 0.0 for rate in rates)
    return rates if not told.rate or near(sum_of_boards, told.rate) else [None] * len(rates)


def board(name: str, entry: Entry, rate: float | None) -> Chain:
    """Return one board."""
    return Chain(
        chain=name,
        hashrate=rate,
        board_temperature=read(entry, celsius, "Temp", "Temp Avg"),
        chip_temperature=read(entry, celsius, "Temp max", "Temp Max"),
        frequency=read(entry, MEGAHERTZ, "Device Freq"),
        voltage=read(entry, MILLIVOLTS, "Voltage"),
        chips=read(entry, COUNT, *CHIPS),
        chips_expected=read(entry, COUNT, "Num chips"),
        hardware_errors=read(entry, COUNT, "HW errors", "Hardware Errors"),
    )


FAMILY = Family(
    "innosilicon", ("version", "summary", "pools", "devs", "stats"), read_stats, described=("innominer",)
)
