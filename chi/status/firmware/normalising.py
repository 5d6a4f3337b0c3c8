"""Combines what the families' readers found into one Status, and checks rates against the shares.

The replies, the miner's family and the readers of all families come in. A reader finds what is of its own
kind, whatever the family is called: many firmwares are made of others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chi.status.firmware.cgminer import (
    configured,
    last_shares,
    read_counts,
    read_devices,
    read_identity,
    read_pools,
    read_rates,
    read_software,
    read_times,
    read_version,
)
from chi.status.firmware.family import Family, Part, Told
from chi.status.firmware.models import ALGORITHMS, ONE_OF_TWO, SHARE_HASHES, UNKNOWN_MODEL, Model, find_model
from chi.status.firmware.shares import Proof, agreed_difficulties, share_interval
from chi.status.firmware.units import WINDOWS, Units, near
from chi.status.model import Pool, Rig, Status
from chi.status.values import COUNT, Clock, Replies, envelope, first, highest, section, text, unique

Reader = Callable[[Told], Part]


def status_of(replies: Replies, family: Family, readers: Sequence[Reader], now: float | None) -> Status:
    """Return the status that the replies tell; `now` stands in for the clock of a miner that has none."""
    told = tell(replies, family, now)
    pools = read_pools(told.pools, told.clock)
    model = find_model(names_of(told)) or UNKNOWN_MODEL
    algorithm = algorithm_of(told, model, family)
    algorithms = provable(told, model, algorithm)
    difficulties = agreed_difficulties(told.summary, told.pools)
    counts = read_counts(told, pools)
    proof = Proof(counts["shares_accepted"], total_difficulty(difficulties), counts["uptime"])
    told = in_units(told, choose(model, told, proof.rates(algorithms)))
    rig = {
        **counts,
        **read_rates(told, counts["uptime"]),
        **read_times(told, counts["uptime"]),
        **read_identity(told.replies, told.summary, told.version, told.stats),
        "algorithm": algorithm,
        **{name: difficulties[name] for name in ("difficulty_accepted", "difficulty_rejected")},
    }
    status = assemble(told, rig, [read(told) for read in readers], pools)
    if proof.contradicts(checked_rate(status.rig), algorithms):
        status, algorithms = without_rates(status), ()
    return derived(at_rest(status), told, algorithms)


# --- What is told ---------------------------------------------------------------------------------


def tell(replies: Replies, family: Family, now: float | None) -> Told:
    """Return the replies, and what every reader needs of them, in the units that the fields' names say."""
    when = next(filter(None, (COUNT(envelope(reply).get("When")) for reply in replies.values())), None)
    return Told(
        replies=replies,
        clock=Clock(when, now),
        units=Units(),
        summary=next(iter(section(replies.get("summary"), "SUMMARY")), {}),
        version=read_version(replies),
        stats=section(replies.get("estats"), "STATS") or section(replies.get("stats"), "STATS"),
        devices=section(replies.get("devs"), "DEVS") or section(replies.get("edevs"), "DEVS"),
        pools=configured(section(replies.get("pools"), "POOLS")),
        rate=None,
        counts_in_pools=family.counts_in_pools,
    )


def names_of(told: Told) -> list[str | None]:
    """Return the names that a model may be known by."""
    types = (text(entry.get(name)) for entry in (told.version, *told.stats) for name in ("Type", "Model"))
    return [*types, *(text(envelope(reply).get("Description")) for reply in told.replies.values())]


def algorithm_of(told: Told, model: Model, family: Family) -> str | None:
    """Return what the miner computes: by its model, else by what it says, else by its family."""
    said = [entry.get(name) for entry in told.pools for name in ("Algorithm Type", "Algorithm")]
    words = [word.lower() for word in map(text, [*said, told.summary.get("Miner type")]) if word]
    known = (ALGORITHMS[word] for word in words if word in ALGORITHMS)
    return model.algorithm or next(known, None) or next(iter(words), None) or family.algorithm


def provable(told: Told, model: Model, algorithm: str | None) -> tuple[str, ...]:
    """Return the algorithms that the shares may be of, if it is known how many hashes one takes."""
    if algorithm is not None or model is not UNKNOWN_MODEL:
        return (algorithm,) if algorithm in SHARE_HASHES else ()
    software, _ = read_software(told.replies, told.version, told.summary)
    return tuple(SHARE_HASHES) if (software or "").lower() in ONE_OF_TWO else ()


def total_difficulty(difficulties: Mapping[str, float | None]) -> float:
    """Return the difficulty of all shares: those that were rejected took as much work as any."""
    return sum(value or 0.0 for value in difficulties.values())


def choose(model: Model, told: Told, proven: Sequence[float]) -> Units:
    """Return the units that the rates are in: by the shares, else by the most that such a machine makes."""
    candidates = model.candidates()
    if len(candidates) == 1:
        return candidates[0]
    for units in candidates:
        if any(near(rate, each) for rate in figures(told, units)[:1] for each in proven):
            return units
    return next((units for units in candidates if max(figures(told, units), default=0.0) <= model.most),
                candidates[-1])  # fmt: skip


def figures(told: Told, units: Units) -> list[float]:
    """Return the rig's rates in these units, those over the longest time first."""
    entries = (told.summary, *told.stats)
    averages = [rate for entry in entries if (rate := units.average(entry))]
    return [*averages, *(rate for entry in entries if (rate := units.recent(entry)))]


def in_units(told: Told, units: Units) -> Told:
    """Return the same in these units, with the rig's rate."""
    rates = (units.recent(entry) for entry in (told.summary, *told.stats))
    return told._replace(units=units, rate=first(rates))


# --- The status -----------------------------------------------------------------------------------


def assemble(told: Told, rig: Mapping[str, Any], parts: Sequence[Part], pools: Sequence[Pool]) -> Status:
    """Return one status of what all found, the first first."""
    values = dict(rig)
    for part in parts:
        values.update({name: value for name, value in part.rig.items() if not known(values.get(name))})
    ping = first(part.response_time for part in parts)
    fans = next((part.fans for part in parts if part.fans), ())
    return Status(
        rig=Rig(**values),
        pools=tuple(pool._replace(response_time=ping) if pool.active else pool for pool in pools),
        devices=read_devices(told.devices, told.units, values["uptime"]),
        chains=next((tuple(part.chains) for part in parts if part.chains), ()),
        fans=tuple(unique((fan for fan in fans if fan.speed is not None), lambda fan: fan.fan)),
    )


def known(value: Any) -> bool:
    """Whether an attribute says something."""
    return value is not None and value != ()


def checked_rate(rig: Rig) -> float | None:
    """Return the rate over the longest time, as shares are counted since the start."""
    return rig.hashrate_average or rig.hashrate_24h or rig.hashrate_15m or rig.hashrate


def without_rates(status: Status) -> Status:
    """Return the status without any rate: no rate is better than one in a wrong unit."""
    names = ("hashrate", "hashrate_average", "hashrate_expected", "hashes", *WINDOWS)
    rates: dict[str, Any] = dict.fromkeys(names)
    return status._replace(
        rig=status.rig._replace(**rates),
        devices=tuple(device._replace(hashrate=None, hashes=None) for device in status.devices),
        chains=tuple(chain._replace(hashrate=None, hashrate_expected=None) for chain in status.chains),
        doubts=("the miner's hashrate is left out: its shares say another one, by ten times or more",),
    )


def at_rest(status: Status) -> Status:
    """Return the status of a miner that sleeps: its hashrate is 0, although averages may still be higher."""
    if status.rig.state not in ("sleeping", "stopped"):
        return status
    chains = tuple(chain._replace(hashrate=0.0) for chain in status.chains)
    return status._replace(rig=status.rig._replace(hashrate=0.0), chains=chains)


def derived(status: Status, told: Told, algorithms: Sequence[str]) -> Status:
    """Return the status with what follows from the rest of it."""
    rig, chains = status.rig, status.chains
    heats = [heat for chain in chains for heat in (chain.board_temperature, chain.chip_temperature)]
    heats += [device.temperature for device in status.devices]
    efficient = rig.power / rig.hashrate if rig.power and rig.hashrate else None
    return status._replace(
        rig=rig._replace(
            last_share=highest(
                [*(pool.last_share for pool in status.pools), *last_shares(told.devices, told.clock)]
            ),
            share_interval=share_interval(rig, status.pools, algorithms, COUNT(told.summary.get("Utility"))),
            temperature=highest([rig.temperature, *heats]),
            efficiency=COUNT(efficient),
        ),
    )
