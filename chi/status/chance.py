"""Shares arrive at random: how long a gap between them may be before it is more than bad luck.

Gaps between shares are exponential: none comes in the time of x shares with a probability of exp(-x). So the
time that is allowed follows from how often a false alarm may be, at any difficulty. Where the firmware does
not tell how often a share is due, those seen so far tell it, with the doubt that few leave: the next gap is
longer than x with (done / (done + x)) ** seen.
Comes in: a Rig, and the time. Goes out: a Gap, a new one each time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from chi.status.model import Rig
from chi.status.problems import YEAR

FALSE_ALARMS = 0.1  # a miner-year, by chance alone; the bound is one, and rates that are told err too
LEAST = 5.0  # shares that must be overdue, however rare they are
REMEMBERED = 32.0  # shares from whose gaps the interval is estimated
MOST = 1e6  # shares expected per second at most, against nonsensical values
ENOUGH = 4.0  # of them, to correct with them what the firmware tells


class Gap(NamedTuple):
    """How long no share was accepted, as chi saw it.

    `since`: when the count last grew, or when chi began to watch; `grew`: whether it was seen to grow.
    `work` was done since then: shares that were due, if `told`, else seconds of hashing. `seen` shares took
    `done` of it before.
    """

    since: float
    grew: bool = False
    work: float = 0.0
    told: bool = False
    seen: float = 0.0
    done: float = 0.0


def pace(rig: Rig) -> float | None:
    """Return how many shares are due a second at the present hashrate; None if that is not known.

    The interval that is told is that of the average hashrate, which may be another.
    """
    average, present = rig.hashrate_average or rig.hashrate, steady(rig)
    if not rig.share_interval:
        return None
    faster = present / average if average and present is not None else 1.0
    return min(min(faster, MOST) / rig.share_interval, MOST)


def steady(rig: Rig) -> float | None:
    """Return the hashrate with the least noise that still follows within a minute or so."""
    return rig.hashrate if rig.hashrate_1m is None or not rig.hashrate else rig.hashrate_1m


def begin(rig: Rig, now: float) -> Gap:
    """Return the Gap at chi's first look at a miner; its totals tell the interval if nothing else does."""
    gap = Gap(since=now, told=pace(rig) is not None)
    if gap.told or not rig.shares_accepted or not rig.uptime:
        return gap
    seen = min(rig.shares_accepted, REMEMBERED)
    return gap._replace(seen=seen, done=rig.uptime * seen / rig.shares_accepted)


def advance(gap: Gap, rig: Rig, accepted: float, seconds: float, now: float) -> Gap:
    """Return the Gap after so many seconds of hashing in which so many more shares were accepted."""
    due = pace(rig)
    if (due is not None) != gap.told:  # counted in another unit from now on
        gap = begin(rig, now)._replace(since=gap.since, grew=gap.grew)
    gap = gap._replace(work=gap.work + seconds * (1.0 if due is None else due))
    if not accepted:
        return gap
    seen, done = gap.seen + accepted, gap.done + gap.work
    fewer = min(1.0, REMEMBERED / seen)
    return Gap(now, True, 0.0, gap.told, seen * fewer, done * fewer)


class Allowed(NamedTuple):
    """How long there may be no share: `work` as in Gap, the `seconds` of it; `interval` seconds a share."""

    work: float
    seconds: float
    interval: float


def allowed(gap: Gap, rig: Rig) -> Allowed | None:
    """Return what chance allows; None if it is not known how often a share is due."""
    slower = gap.done / gap.seen if gap.seen else 0.0
    if not gap.told:
        if not slower:
            return None
        chance = math.exp(-patience(slower))
        work = gap.done * (chance ** (-1.0 / gap.seen) - 1.0)
        return Allowed(work, work, slower)
    due = pace(rig)
    if not due:
        return None
    slower = max(1.0, slower) if gap.seen >= ENOUGH else 1.0
    work = slower * patience(slower / due)
    return Allowed(work, work / due, slower / due)


def patience(interval: float) -> float:
    """Return how many shares must be overdue, for FALSE_ALARMS a year, if one takes so many seconds."""
    interval = min(max(interval, 1e-3), YEAR)  # beyond these it makes no difference, but numbers overflow
    return max(LEAST, math.log(YEAR / (FALSE_ALARMS * interval)))
