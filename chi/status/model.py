"""The data model: what a miner can report, the same for every firmware, and its JSON.

A `Status` is in base units (hashes, hashes/s, degrees Celsius, Hz, rpm, W, epoch seconds), and what a miner
does not tell is None, never 0. Nothing here reads a reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from chi.status.values import exact

# What a rig or a board says that it does. "sleeping" is at somebody's wish, "idle" for want of a pool or of
# work; "stopped" and "fault" last until somebody comes.
STATES = ("mining", "starting", "tuning", "idle", "sleeping", "stopped", "fault")
CHAIN_STATES = (*STATES, "dead", "missing")


class RigError(NamedTuple):
    """An error that the firmware tells: its code, its text if there is one, and since when, if it says."""

    code: str
    text: str | None = None
    since: float | None = None


class Rig(NamedTuple):
    """The miner as a whole, counted since its start.

    Times are epoch seconds by the miner's clock, `time` that of its reply; `uptime` seconds, `hashrate` (over
    5 s, or what the miner has nearest) and `hashrate_average` (since the start) hashes/s, `power` W,
    `temperature` that of the hottest sensor but those of the water. `share_interval` is how many seconds a
    share takes on average, by the pool's difficulty and the average hashrate. `hashrate_expected` is what it
    should make as it is set up, `hashrate_1m` and so on averages over that time; `state` is one of STATES;
    `power_limit` W, `efficiency` J for a hash; `firmware` is named apart from the mining software;
    `environment_temperature` that of the air that comes in.
    """

    software: str | None = None
    version: str | None = None
    api: str | None = None
    model: str | None = None
    firmware: str | None = None
    host_name: str | None = None
    algorithm: str | None = None
    state: str | None = None
    time: float | None = None
    start_time: float | None = None
    uptime: float | None = None
    hashes: float | None = None
    hashrate: float | None = None
    hashrate_average: float | None = None
    hashrate_1m: float | None = None
    hashrate_5m: float | None = None
    hashrate_15m: float | None = None
    hashrate_24h: float | None = None
    hashrate_expected: float | None = None
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
    power_limit: float | None = None
    efficiency: float | None = None
    temperature: float | None = None
    environment_temperature: float | None = None
    errors: tuple[RigError, ...] = ()


class Pool(NamedTuple):
    """A configured pool; `user`, usually a wallet or an account, is shown only on request.

    `vendor` says whether it is the firmware's maker who earns there (DevFee), `response_time` (s) how long it
    takes to answer, `rejected_reasons` how many shares it rejected for what.
    """

    pool: str
    url: str | None = None
    user: str | None = None
    alive: bool | None = None
    active: bool | None = None
    vendor: bool | None = None
    priority: float | None = None
    last_share: float | None = None
    share_difficulty: float | None = None
    shares_accepted: float | None = None
    shares_rejected: float | None = None
    shares_stale: float | None = None
    rejected_reasons: Mapping[str, float] = MappingProxyType({})
    response_time: float | None = None

    def __repr__(self) -> str:
        return f"Pool({self.pool!r})"  # a printed pool shall not show its user


class Device(NamedTuple):
    """An entry of `devs`: what the software calls a device, which may be a board or a whole machine."""

    device: str
    name: str | None = None
    alive: bool | None = None
    enabled: bool | None = None
    hashes: float | None = None
    hashrate: float | None = None
    temperature: float | None = None
    hardware_errors: float | None = None


class Chain(NamedTuple):
    """A hash board; each temperature is that of its hottest sensor of the kind.

    `chips` are those found, `chips_expected` those that should be; `voltage` (V) is what the board gets;
    `state` is one of CHAIN_STATES.
    """

    chain: str
    state: str | None = None
    hashrate: float | None = None
    hashrate_expected: float | None = None
    board_temperature: float | None = None
    chip_temperature: float | None = None
    water_temperature: float | None = None
    frequency: float | None = None
    voltage: float | None = None
    chips: float | None = None
    chips_expected: float | None = None
    hardware_errors: float | None = None


class Fan(NamedTuple):
    """A fan, with the firmware's own name or number; `duty` is how much of its speed is asked for, 0 to 1."""

    fan: str
    speed: float | None = None
    duty: float | None = None


class Status(NamedTuple):
    """All that a miner tells, the same for every firmware.

    `doubts` are sentences about what it tells and is left out here, as it contradicts itself: for the log.
    """

    rig: Rig
    pools: tuple[Pool, ...] = ()
    devices: tuple[Device, ...] = ()
    chains: tuple[Chain, ...] = ()
    fans: tuple[Fan, ...] = ()
    doubts: tuple[str, ...] = ()


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
    return {name: bare(value) for name, value in zip(record._fields, record)}


def bare(value: Any) -> Any:
    """Return an attribute's value as JSON has it."""
    if isinstance(value, float):
        return exact(value)
    if isinstance(value, tuple):
        return [plain(record) for record in value]
    return {name: exact(count) for name, count in value.items()} if isinstance(value, Mapping) else value
