"""What the name of a rate says: how many hashes/s, averaged over which time.

An object of a reply comes in; hashes/s, or hashes, go out. What the letter in MHS or GHS stands for is data:
some miners keep the name and count in another unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from chi.status.values import COUNT, Entry, first

# MHS before KHS: sgminer tells both, and rounds the latter.
PREFIXES = {"M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "K": 1e3}
# The C miners name the field after their --log-interval: `MHS 5s`, `MHS 1s`, `MHS 20s`; Sealminer:
# `MHS(30s)`.
RATE = re.compile(r"([KMGTP])HS(?: |\()([0-9]{1,4})([smh])\)?")
ORDER = {letter: place for place, letter in enumerate(PREFIXES)}
AVERAGES = {letter: f"{letter}HS av" for letter in PREFIXES}
TOTALS = {letter: f"Total {letter}H" for letter in PREFIXES}
SECONDS = {"s": 1, "m": 60, "h": 3600}
WINDOWS = {"hashrate_1m": 60, "hashrate_5m": 300, "hashrate_15m": 900, "hashrate_24h": 86400}


class Units(NamedTuple):
    """A miner's units: what one of each letter stands for, in hashes/s."""

    factors: Mapping[str, float] = PREFIXES

    def rate(self, letter: str, value: Any) -> float | None:
        """Read a number of this letter's units."""
        found = COUNT(value)
        # 15 digits are what a float has for sure: 33569.3 GH/s are 33569300000000 and no fraction.
        return None if found is None else float(f"{found * self.factors[letter]:.15g}")

    def named(self, entry: Entry, names: Mapping[str, str]) -> float | None:
        """Read the first field that there is of these, by the letter of its unit."""
        for letter, name in names.items():
            rate = self.rate(letter, entry[name]) if name in entry else None
            if rate is not None:
                return rate
        return None

    def over(self, entry: Entry) -> dict[int, float]:
        """Return the rates over some time, by its seconds."""
        found: dict[int, float] = {}
        matches = [match for name in entry if "HS" in name and (match := RATE.fullmatch(name))]
        for match in sorted(matches, key=lambda match: ORDER[match[1]]) if len(matches) > 1 else matches:
            rate = self.rate(match[1], entry[match[0]])
            if rate is not None:
                found.setdefault(int(match[2]) * SECONDS[match[3]], rate)
        return found

    def recent(self, entry: Entry) -> float | None:
        """Read the rate over 5 s, else over the shortest time told, else Whatsminer's, else the average."""
        found = self.over(entry)
        if found:
            return found.get(5, found[min(found)])
        rate = self.rate("M", entry.get("HS RT"))
        return self.average(entry) if rate is None else rate

    def average(self, entry: Entry) -> float | None:
        """Read the rate since the start."""
        return self.named(entry, AVERAGES)

    def windows(self, entry: Entry) -> dict[str, float | None]:
        """Return the averages over 1, 5 and 15 minutes and a day, by attribute of Rig."""
        found = self.over(entry)
        return {name: found.get(seconds) for name, seconds in WINDOWS.items()}

    def hashes(self, entry: Entry, seconds: float | None) -> float | None:
        """Read `Total MH`: hashes in `seconds`, in the letter's usual unit or this miner's; None if in
        neither.

        LuxOS tells its average there. Where nothing is known to compare it with, it is believed.
        """
        average = self.average(entry)
        units = [Units()] if self.factors == PREFIXES else [Units(), self]
        found = [each.named(entry, TOTALS) for each in units]
        if not average or not seconds:
            return found[0] if len(found) == 1 else None
        likely = average * seconds
        return first(hashes for hashes in found if hashes is not None and near(hashes, likely))


def near(value: float, other: float) -> bool:
    """Whether two numbers differ by less than ten times: more than that is another unit."""
    return value < 10 * other and other < 10 * value
