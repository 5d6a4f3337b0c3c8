"""What shares prove: their number, the unit of a rate, and how often one is expected.

A share of a known difficulty takes a known number of hashes on average. So enough of them tell the rate
without any field's name, and a rate that differs from theirs by ten times or more is in another unit than it
says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chi.status.firmware.models import SHARE_HASHES
from chi.status.firmware.units import near
from chi.status.model import Pool, Rig
from chi.status.values import COUNT, Entry, first

ENOUGH_SHARES = 20  # to take their own rate
COUNTED = ("shares_accepted", "shares_rejected", "shares_stale")
DIFFICULTIES = {"difficulty_accepted": "Difficulty Accepted", "difficulty_rejected": "Difficulty Rejected",
                "difficulty_stale": "Difficulty Stale"}  # fmt: skip
SOME = 5  # shares that may have come between two replies


Counts = dict[str, "float | None"]


def agreed(told: Counts, pools: Sequence[Pool], trusted: bool = True) -> Counts:
    """Return the summary's counts of shares; the sums of the pools' where it tells none or contradicts them.

    Not `trusted` is a summary like those of firmwares made of ccminer, which have the rejected shares as
    accepted.
    """
    sums = {name: sum_of([getattr(pool, name) for pool in pools]) for name in COUNTED}
    if not trusted or any(contradict(told[name], sums[name]) for name in COUNTED[:2]):
        return {name: told[name] if sums[name] is None else sums[name] for name in COUNTED}
    return {name: sums[name] if told[name] is None else told[name] for name in COUNTED}


def sum_of(values: Sequence[float | None]) -> float | None:
    """Return the sum of the values that are present, None if there are none."""
    there = [value for value in values if value is not None]
    return sum(there) if there else None


def contradict(told: float | None, of_pools: float | None) -> bool:
    """Whether two counts differ by more than the shares that came between two replies."""
    if told is None or of_pools is None:
        return False
    return abs(of_pools - told) > max(SOME, max(of_pools, told) / 5)


def agreed_difficulties(summary: Entry, entries: Sequence[Entry]) -> Counts:
    """Return the sums of the shares' difficulties; the pools' sums where they contradict the summary's."""
    found: Counts = {}
    for name, field in DIFFICULTIES.items():
        told, of_pools = COUNT(summary.get(field)), sum_of([COUNT(entry.get(field)) for entry in entries])
        contradicted = of_pools and (told is None or not near(told, of_pools))
        found[name] = of_pools if contradicted or told is None else told
    return found


class Proof(NamedTuple):
    """What there is to prove a rate with: shares, all of their difficulties, and seconds."""

    shares: float | None
    difficulty: float
    seconds: float | None

    def rates(self, algorithms: Sequence[str]) -> list[float]:
        """Return the rates that the shares tell, one for each algorithm; none where they tell nothing."""
        if (self.shares or 0) < ENOUGH_SHARES or not self.difficulty or not self.seconds:
            return []
        return [self.difficulty * SHARE_HASHES[name] / self.seconds for name in algorithms]

    def contradicts(self, rate: float | None, algorithms: Sequence[str]) -> bool:
        """Whether the rate is in another unit than its name says, whichever algorithm of these it is."""
        told = self.rates(algorithms) if rate else []
        return bool(told) and not any(near(rate or 0.0, each) for each in told)


def share_interval(
    rig: Rig, pools: Sequence[Pool], algorithms: Sequence[str], utility: float | None
) -> float | None:
    """Return how many seconds a share takes on average: hashes for one, over hashes/s.

    The difficulty is that of the pool in use. `algorithms` are those it may count for; without any, and
    without a difficulty, it is the time that each share so far has taken, if there are enough: by `utility`,
    shares a minute, as the pools' counts may be those of a longer time than `uptime`.
    """
    rate, uptime, shares = rig.hashrate_average or rig.hashrate, rig.uptime or 0, rig.shares_accepted or 0
    own = [pool for pool in pools if not pool.vendor]
    used = [pool for pool in own if pool.active] or [pool for pool in own if pool.alive]
    asked = first(pool.share_difficulty for pool in used)
    if asked is None or not algorithms:
        if shares < ENOUGH_SHARES:
            return None
        return COUNT(60 / utility if utility else uptime / shares) or None
    if not rate:
        return None
    scrypt = 0 < rate * uptime < (rig.difficulty_accepted or 0) * 2.0**24
    algorithm = "scrypt" if scrypt and "scrypt" in algorithms else algorithms[0]
    return COUNT(asked * SHARE_HASHES[algorithm] / rate)
