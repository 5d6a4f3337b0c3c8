"""The contents of /fleet.json: totals, and one object per miner.

Comes in: for each miner its newest Status, its verdict and its last hour, as they are. Goes out: JSON's
values. Nothing here asks a miner.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chi.status.history import History
from chi.status.model import Pool, Status
from chi.status.values import exact
from chi.status.verdict import Verdict, to_json

SPARK = 20  # parts of the last hour in a miner's plot


class Member(NamedTuple):
    """What is known of a miner: `error` says why it does not answer, `age` (s) how old the status is.

    `hour` is what last_hour() made of its history when the last sample was taken.
    """

    name: str
    path: str
    error: str
    age: float | None
    status: Status | None
    verdict: Verdict | None
    hour: Mapping[str, Any]


def fleet_json(members: Iterable[Member], now: float, epoch: float) -> dict[str, Any]:
    """Return the document; `epoch` is what `now` is in seconds since 1970."""
    miners = [miner_json(member, now, epoch) for member in members]
    return {"time": int(epoch), "totals": totals(miners), "miners": miners}


def miner_json(member: Member, now: float, epoch: float) -> dict[str, Any]:
    """Return one miner's object; unknown values are None."""
    told: dict[str, Any] = {
        "name": member.name,
        "path": member.path,
        "up": None,
        "error": member.error or None,
    }
    told["age"] = None if member.age is None else round(member.age, 1)
    told["verdict"] = to_json(member.verdict, now, epoch) if member.verdict else None
    told["up"] = False if member.error else True if member.status else None
    rig = member.status.rig if member.status else None
    for name in RIG_FIELDS:
        value = getattr(rig, name, None)
        told[name] = exact(value) if isinstance(value, float) else value
    fans = member.status.fans if member.status else ()
    told["fans"] = [exact(fan.speed) for fan in fans if fan.speed is not None]
    told["pool"] = pool_in_use(member.status.pools) if member.status else None
    told.update(member.hour)
    return told


# Attributes of Rig that a line has as they are
RIG_FIELDS = (
    *("model", "firmware", "software", "algorithm", "state", "hashrate", "hashrate_expected", "temperature"),
    *("power", "efficiency", "uptime"),
)


def pool_in_use(pools: Iterable[Pool]) -> str | None:
    """Return the URL of the pool that shares go to."""
    used = sorted((pool for pool in pools if pool.url and pool.alive), key=lambda pool: not pool.active)
    return used[0].url if used else None


def last_hour(history: History, now: float) -> dict[str, Any]:
    """Return the shares of the last hour, and its hashrate in SPARK means, the newest last."""
    told: dict[str, Any] = {}
    for name in ("accepted", "rejected"):
        total, count = summed(history.hour(f"shares_{name}", now))
        told[f"shares_{name}_hour"] = exact(total) if count else None
    rates = history.hour("hashrate", now)
    size = len(rates) // SPARK
    told["hashrate_hour"] = [mean(rates[start : start + size]) for start in range(0, len(rates), size)]
    return told


def summed(values: Sequence[float]) -> tuple[float, int]:
    """Return the sum of those that are not NaN, and how many they are."""
    total = sum(values)
    if total == total:  # none is
        return total, len(values)
    known = [value for value in values if value == value]
    return sum(known), len(known)


def mean(values: Sequence[float]) -> float | None:
    """Return the mean of what is known, to four digits."""
    total, count = summed(values)
    return exact(float(f"{total / count:.4g}")) if count else None


def totals(miners: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums over the miners; None if no miner reports a value. Those that are down do not count."""
    up = [miner for miner in miners if miner["up"]]
    hashrates: dict[str, float] = collections.defaultdict(float)
    for miner in up:
        if miner["hashrate"] is not None:
            hashrates[miner["algorithm"] or "unknown"] += miner["hashrate"]
    return {
        "miners": len(miners),
        "answering": len(up),
        "earning": sum(1 for miner in up if miner["verdict"] and miner["verdict"]["earning"]),
        "problems": sum(1 for miner in miners if miner["error"] or (miner["verdict"] or {}).get("problems")),
        "hashrate": {name: exact(total) for name, total in sorted(hashrates.items())},
        "power": total(up, "power"),
        "efficiency": efficiency([miner for miner in up if miner["power"] and miner["hashrate"]]),
        "shares_accepted_hour": total(miners, "shares_accepted_hour"),
        "shares_rejected_hour": total(miners, "shares_rejected_hour"),
    }


def total(miners: list[dict[str, Any]], name: str) -> float | None:
    """Return the sum of what is told."""
    told = [miner[name] for miner in miners if miner[name] is not None]
    return exact(float(sum(told))) if told else None


def efficiency(miners: list[dict[str, Any]]) -> float | None:
    """Return J for a hash, where all that tell both mine the same."""
    if not miners or len({miner["algorithm"] for miner in miners}) > 1:
        return None
    power, rate = total(miners, "power"), total(miners, "hashrate")
    return power / rate if power and rate else None
