"""Samples of a miner's last minutes: columns of bounded length, and what /history.json says of them.

Statuses and the caller's clock come in; nothing here asks a miner or the time.
"""

from __future__ import annotations

import bisect
import math
from array import array
from typing import Any

from chi.status.model import Status
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
NOT_SAMPLED = frozenset({"pools", "fans", "devdetails", "tunerstatus", "power"})
SAMPLE_INTERVAL = 15.0  # seconds
MAX_SAMPLES = 960  # longer histories have longer intervals: a plot shows no more


class History:
    """Samples of the last `minutes`, one each `interval` seconds; times are those of time.monotonic().

    Columns of doubles: 48 bytes a sample, 52 KB at the most.
    """

    def __init__(self, minutes: int) -> None:
        self.minutes = minutes
        self.interval = max(SAMPLE_INTERVAL, minutes * 60 / MAX_SAMPLES)
        self._times = array("d")
        self._columns = {name: array("d") for name in SAMPLED}

    def add(self, now: float, status: Status | None) -> None:
        """Append a sample, without a status one that says nothing, and drop those that are too old."""
        self._times.append(now)
        for name, column in self._columns.items():
            value = getattr(status.rig, name) if status else None
            column.append(math.nan if value is None else value)
        old = bisect.bisect_left(self._times, now - self.minutes * 60)
        for column in (self._times, *self._columns.values()):
            del column[:old]

    def to_json(self, now: float, epoch: float) -> dict[str, Any]:
        """Return what /history.json says; `epoch` is what `now` is in seconds since 1970.

        A list for each attribute in SAMPLED and for `time`, all of one length; None where it is not known.
        """
        samples: dict[str, list[float | None]] = {"time": [int(epoch - now + then) for then in self._times]}
        for name, column in self._columns.items():
            samples[name] = [None if math.isnan(value) else exact(value) for value in column]
        return {
            "time": int(epoch),
            "minutes": self.minutes,
            "interval": exact(self.interval),
            "samples": samples,
        }
