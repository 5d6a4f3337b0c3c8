"""Samples of a miner's last minutes and last day in three resolutions: the contents of /history.json.

Statuses and the caller's clock come in; nothing here asks a miner or the time. Everything is of bounded
length, under 80 KB a miner.
"""

from __future__ import annotations

import bisect
import math
from array import array
from typing import Any, NamedTuple

from chi.status.model import Rig, Status
from chi.status.problems import LIMITS
from chi.status.values import exact

# What a sample has: attributes of Rig.
SAMPLED = (
    "hashrate",
    "temperature",
    "shares_accepted",
    "shares_rejected",
    "shares_stale",
)
# Commands of COMMANDS that tell none of them, nor which firmware it is
NOT_SAMPLED = frozenset({
    "fans", "fan", "devdetails", "tunerstatus", "power", "psu", "config", "events", "frequency", "ipreport",
    "asccount",
})  # fmt: skip
SAMPLE_INTERVAL = 15.0  # seconds
MAX_SAMPLES = 960  # longer histories have longer intervals: a plot shows no more

RANGES = {"1h": (3600, 15), "6h": (21600, 60), "24h": (86400, 300)}  # seconds back, seconds of a bin
MEANS = ("hashrate", "temperature", "power")  # of a bin; the rest is counted in it
BINNED = (*SAMPLED, "power")  # their order in the JSON
POWER_HELD = 90.0  # seconds: not every sample asks for the power
UNSEEN = 60.0  # seconds between two samples whose difference still belongs to the bin of the second
ENOUGH = 12  # bins of hashing, an hour, to tell what is usual


class Counts(NamedTuple):
    """Shares since the miner's start, as Rig has them."""

    shares_accepted: float | None = None
    shares_rejected: float | None = None
    shares_stale: float | None = None


NOTHING = Counts()


class Range:
    """Bins that cover the last so many seconds: means and counts, NaN where nothing is known.

    Columns of floats, which have seven digits, in order; the last bin is number `last` since time 0.
    """

    def __init__(self, seconds: int, interval: int) -> None:
        self.interval = interval
        self._most = seconds // interval
        self._last: int | None = None
        self._counts = dict.fromkeys(MEANS, 0)  # values in the mean of the last bin
        self._columns = {name: array("f") for name in BINNED}

    def add(self, now: float, rig: Rig, power: float | None, grown: dict[str, float]) -> None:
        """Put a sample into the bin of its time; `grown` is by how much each count has."""
        self._begin(int(now // self.interval))
        for name in MEANS:
            value = power if name == "power" else getattr(rig, name)
            if value is not None:
                self._counts[name] += 1
                column = self._columns[name]
                before = 0.0 if math.isnan(column[-1]) else column[-1]
                column[-1] = before + (value - before) / self._counts[name]
        for name, more in grown.items():
            column = self._columns[name]
            column[-1] = more + (0.0 if math.isnan(column[-1]) else column[-1])

    def _begin(self, number: int) -> None:
        """Make the bin of this number the last one."""
        new = 1 if self._last is None else min(number - self._last, self._most)
        if new <= 0:
            return
        self._last = number
        self._counts = dict.fromkeys(MEANS, 0)
        for column in self._columns.values():
            column.extend([math.nan] * new)
            del column[: -self._most]

    def to_json(self, now: float, epoch: float) -> dict[str, list[float | None]]:
        """Return a list for each of BINNED and for `time`, when each bin begins, in seconds since 1970."""
        oldest = (now - self._most * self.interval) // self.interval
        length = len(self._columns["hashrate"])
        first = (self._last or 0) + 1 - length
        kept = [place for place in range(length) if first + place > oldest]
        told: dict[str, list[float | None]] = {
            "time": [int(epoch - now + (first + place) * self.interval) for place in kept]
        }
        for name, column in self._columns.items():
            told[name] = [rounded(column[place]) for place in kept]
        return told

    def latest(self, name: str, now: float) -> list[float]:
        """Return a column as it is, NaN where nothing is known, from the oldest bin there can be to `now`."""
        column, first = self._columns[name], int(now // self.interval) + 1 - self._most
        if self._last is None:
            return [math.nan] * self._most
        before = self._last + 1 - len(column) - first  # bins that are not there yet
        kept = column[max(0, -before) :]
        return [*[math.nan] * min(max(0, before), self._most), *kept, *[math.nan] * self._most][: self._most]

    def hashing(self) -> list[float]:
        """Return the mean hashrate of each bin in which the miner hashed."""
        return [rate for rate in self._columns["hashrate"] if rate > 0]


def rounded(value: float) -> float | None:
    """Return a float's seven digits, None for NaN."""
    return None if math.isnan(value) else exact(float(f"{value:.7g}"))


class History:
    """Samples of the last `minutes`, one each `interval` seconds, and RANGES; times are time.monotonic()'s.

    Columns of doubles, of floats for the temperature: 44 bytes a sample, 48 KB at the most; 21 KB of bins.
    """

    def __init__(self, minutes: int) -> None:
        self.minutes = minutes
        self.interval = max(SAMPLE_INTERVAL, minutes * 60 / MAX_SAMPLES)
        self._times = array("d")
        self._columns = {name: array("f" if name == "temperature" else "d") for name in SAMPLED}
        self._ranges = {name: Range(*lengths) for name, lengths in RANGES.items()}
        self._counted, self._before = -math.inf, NOTHING  # when shares were told last, and how many
        self._power: tuple[float, float | None] = (-math.inf, None)

    def add(self, now: float, status: Status | None) -> None:
        """Append a sample (an empty one without a status), and drop those that are too old."""
        self._bin(now, status.rig if status else Rig())
        if self.interval > SAMPLE_INTERVAL and self._times and now - self._times[-1] < 0.85 * self.interval:
            return  # closer than a long history keeps them
        self._times.append(now)
        for name, column in self._columns.items():
            value = getattr(status.rig, name) if status else None
            column.append(math.nan if value is None else value)
        old = bisect.bisect_left(self._times, now - self.minutes * 60)
        for column in (self._times, *self._columns.values()):
            del column[:old]

    def _bin(self, now: float, rig: Rig) -> None:
        if rig.power is not None:
            self._power = (now, rig.power)
        at, power = self._power
        counts = Counts(*(getattr(rig, name) for name in Counts._fields))
        for bins in self._ranges.values():
            seen = now - self._counted <= max(UNSEEN, bins.interval)
            grown = growth(self._before, counts) if seen else {}
            bins.add(now, rig, power if now - at <= POWER_HELD else None, grown)
        if counts != NOTHING:
            self._counted, self._before = now, counts

    def usual(self) -> float | None:
        """Return the hashrate that is usual in the last day, pauses left out; None if too little is known."""
        rates = sorted(self._ranges["24h"].hashing())
        return rates[len(rates) // 2] if len(rates) >= ENOUGH else None

    def hour(self, name: str, now: float) -> list[float]:
        """Return the last hour of one of BINNED, in bins of one length; NaN where nothing is known."""
        return self._ranges["1h"].latest(name, now)

    def to_json(self, now: float, epoch: float, span: str = "") -> dict[str, Any]:
        """Return what /history.json says; `epoch` is what `now` is in seconds since 1970.

        A list for each attribute in SAMPLED and for `time`, all of one length; None where it is not known.
        With a `span`, a key of RANGES, shares are those of each bin, and `power` is told as well, and in
        `limits` above which temperature the verdict takes a part for too hot.
        """
        if span:
            bins = self._ranges[span]
            minutes = RANGES[span][0] // 60 if self.minutes else 0
            told = {"minutes": minutes, "interval": bins.interval, "range": span, "limits": LIMITS}
            return {"time": int(epoch), **told, "samples": bins.to_json(now, epoch)}
        samples: dict[str, list[float | None]] = {"time": [int(epoch - now + then) for then in self._times]}
        for name, column in self._columns.items():
            short = rounded if column.typecode == "f" else exact
            samples[name] = [None if math.isnan(value) else short(value) for value in column]
        return {
            "time": int(epoch),
            "minutes": self.minutes,
            "interval": exact(self.interval),
            "samples": samples,
        }


def growth(before: Counts, now: Counts) -> dict[str, float]:
    """Return the increase of each counter of shares; nothing for one that was reset."""
    found = {}
    for name, old, new in zip(Counts._fields, before, now):
        if old is not None and new is not None and new >= old:
            found[name] = new - old
    return found
