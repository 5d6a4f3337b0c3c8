"""The vocabulary: what a miner tells, the same for every firmware, and its JSON.

A `Status` is in base units (hashes, hashes/s, degrees Celsius, Hz, rpm, W, epoch seconds), and what a miner
does not tell is None, never 0. Nothing here reads a reply.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from chi.status.values import exact

# Not compared and not printed: methods that nobody calls would only cost time at each start of an appliance,
# and a printed pool would show its user.


@dataclass(frozen=True, eq=False, repr=False)
class RigError:
    """An error that the firmware tells of itself."""

    code: str
    text: str | None = None
    since: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Rig:
    """The miner as a whole, counted since its start.

    Times are epoch seconds by the miner's clock, `time` that of its reply; `uptime` seconds, `hashrate` (over
    5 s, or what the miner has nearest) and `hashrate_average` (since the start) hashes/s, `power` W,
    `temperature` that of the hottest sensor but those of the water. `share_interval` is how many seconds a
    share takes on average, by the pool's difficulty and the average hashrate.
    """

    software: str | None = None
    version: str | None = None
    api: str | None = None
    model: str | None = None
    time: float | None = None
    start_time: float | None = None
    uptime: float | None = None
    hashes: float | None = None
    hashrate: float | None = None
    hashrate_average: float | None = None
    shares_accepted: float | None = None
    shares_rejected: float | None = None
    shares_stale: float | None = None
    difficulty_accepted: float | None = None
    difficulty_rejected: float | None = None
    hardware_errors: float | None = None
    blocks_found: float | None = None
    best_share: float | None = None
    last_share: float | None = None
    share_interval: float | None = None
    last_work: float | None = None
    power: float | None = None
    temperature: float | None = None
    hashrate_expected: float | None = None
    hashrate_1m: float | None = None
    state: str | None = None
    power_limit: float | None = None
    algorithm: str | None = None
    errors: tuple[RigError, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Pool:
    """A configured pool; `user` is usually a wallet or an account, and goes out only if asked for."""

    pool: str
    url: str | None = None
    user: str | None = None
    alive: bool | None = None
    active: bool | None = None
    priority: float | None = None
    last_share: float | None = None
    share_difficulty: float | None = None
    shares_accepted: float | None = None
    shares_rejected: float | None = None
    shares_stale: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Device:
    """An entry of `devs`: what the software calls a device, which may be a board or a whole machine."""

    device: str
    name: str | None = None
    alive: bool | None = None
    enabled: bool | None = None
    hashes: float | None = None
    hashrate: float | None = None
    temperature: float | None = None
    hardware_errors: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Chain:
    """A hash board; each temperature is that of its hottest sensor of the kind."""

    chain: str
    hashrate: float | None = None
    board_temperature: float | None = None
    chip_temperature: float | None = None
    water_temperature: float | None = None
    frequency: float | None = None
    chips: float | None = None
    chips_expected: float | None = None
    state: str | None = None
    hardware_errors: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Fan:
    """A fan, with the firmware's own name or number for it."""

    fan: str
    speed: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Status:
    """All that a miner tells, the same for every firmware."""

    rig: Rig
    pools: tuple[Pool, ...] = ()
    devices: tuple[Device, ...] = ()
    chains: tuple[Chain, ...] = ()
    fans: tuple[Fan, ...] = ()


def to_json(status: Status, pool_user: bool = False) -> dict[str, Any]:
    """Return what /status.json says: rig, pools, devices, chains, fans, as the classes above have them.

    Units are those of the classes; what the miner does not tell is None. The users of pools are only in it
    with `pool_user`.
    """
    told: dict[str, Any] = {"rig": plain(status.rig)}
    for kind in ("pools", "devices", "chains", "fans"):
        told[kind] = [plain(record) for record in getattr(status, kind)]
    if not pool_user:
        for pool in told["pools"]:
            del pool["user"]
    return told


def plain(record: Any) -> dict[str, Any]:
    """Return the attributes of a record, whole numbers as integers."""
    values = {attribute.name: getattr(record, attribute.name) for attribute in fields(record)}
    return {name: exact(value) if isinstance(value, float) else value for name, value in values.items()}
