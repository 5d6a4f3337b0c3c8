"""A miner's life, simulated: shares by chance, and faults at times that are known.

A `Life` has the shape of a firmware's golden status: what that does not tell, this does not tell either. Its
Statuses come with the time by chi's clock; `wrong` says which faults there are, and since when.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chi.status.model import Chain, Device, Fan, Pool, Status
from tests.status.golden import status

DIFF1 = 2.0**32  # hashes of a share of difficulty 1
NOISE = 0.12  # of the hashrate over 5 s
REJECTED, STALE = 0.004, 0.002  # of the shares of a miner that is well
SPANS = ("1m", "5m", "15m", "24h")  # of averages
ERRORS = 2e-5  # hardware errors, of the results


def poisson(rng: random.Random, mean: float) -> int:
    """How many events come by chance."""
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def some(rng: random.Random, count: int, part: float) -> int:
    """How many of so many happen, each with the same chance."""
    if count < 50:
        return sum(rng.random() < part for _ in range(count))
    return min(count, poisson(rng, count * part)) if part < 0.1 else round(count * part)


@dataclass
class Fault:
    """Something that is wrong from one time to another; `kind` names it."""

    kind: str
    start: float
    end: float


@dataclass
class Life:
    """A miner with shares `interval` seconds apart, looked at every `look` seconds, and its faults."""

    firmware: str
    interval: float
    seed: int = 0
    look: float = 60.0
    faults: list[Fault] = field(default_factory=list)
    uptime: float = 86_400.0  # at the beginning

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.firmware} {self.interval} {self.seed}")
        self.shape = status(self.firmware)
        self.rate = self.shape.rig.hashrate_average or 1e14
        self.now, self.started = 0.0, -self.uptime
        self.clock = 1.8e9  # the miner's, less ours
        self.share_interval = self.interval
        self.counts = dict.fromkeys(("accepted", "rejected", "stale", "errors", "difficulty", "hashes"), 0.0)
        self.last_share = -math.inf
        self.done: set[int] = set()
        if self.interval < self.uptime:
            self.counts["accepted"] = self.uptime // self.interval
            self.counts["difficulty"] = self.counts["accepted"] * self.difficulty
            self.last_share = -min(self.interval, 60.0)
        self.counts["hashes"] = self.rate * self.uptime

    @property
    def difficulty(self) -> float:
        """What the pool asks of a share."""
        return self.share_interval * self.rate / DIFF1

    def has(self, kind: str) -> bool:
        """Whether there is this fault now."""
        return any(each.kind == kind and each.start <= self.now < each.end for each in self.faults)

    def looks(self, seconds: float) -> Iterator[tuple[float, Status | None]]:
        """Yield what chi sees, look by look."""
        end = self.now + seconds
        while self.now < end:
            self.advance(self.look)
            yield self.now, None if self.has("silent") or self.has("off") else self.tell()

    def once(self, kind: str) -> bool:
        """Whether this fault begins with this step."""
        for number, each in enumerate(self.faults):
            if each.kind == kind and each.start <= self.now and number not in self.done:
                self.done.add(number)
                return True
        return False

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        if self.once("restart") or self.has("off"):
            self.started = self.now
            self.counts = dict.fromkeys(self.counts, 0.0)
            self.last_share = -math.inf
        if self.once("clock forward"):
            self.clock += 86_400 * 365
        if self.once("clock back"):
            self.clock -= 7200
        if self.once("small difficulty"):
            self.share_interval = self.interval / 1000
        if self.once("large difficulty"):
            self.share_interval = self.interval * 1000
        speed = self.speed()
        work = 0.0 if self.has("no shares") else speed * seconds / self.share_interval
        shares = poisson(self.rng, work)
        bad = 0.9 if self.has("rejects") else REJECTED
        rejected = some(self.rng, shares, bad)
        late = 0.9 if self.has("stales") else STALE
        stale = some(self.rng, shares - rejected, late)
        accepted = shares - rejected - stale
        results = self.rate * speed * seconds / DIFF1
        for name, more in (
            ("accepted", accepted), ("rejected", rejected), ("stale", stale),
            ("difficulty", accepted * self.difficulty), ("hashes", self.rate * speed * seconds),
            ("errors", results * (0.7 if self.has("errors") else ERRORS)),
        ):  # fmt: skip
            self.counts[name] += more
        if accepted:
            self.last_share = self.now - self.rng.random() * min(seconds, self.share_interval)

    def boards(self) -> list[float]:
        """How fast each board is, of its share of the whole."""
        count = max(len(self.shape.chains), len(self.shape.devices), 3)
        lost = self.has("board dead") or self.has("board missing")
        return [1 / count * (0 if lost and place == 1 else 1) for place in range(count)]

    def speed(self) -> float:
        """How fast it hashes, of what it does when it is well."""
        if self.has("sleeping") or self.has("stands") or self.has("off") or self.now - self.started < 120:
            return 0.0
        return sum(self.boards())

    def tell(self) -> Status:
        """What it tells now, by the shape of its firmware."""
        rig, shape, counts = self.rig(), self.shape, self.counts
        present = {name: value for name, value in rig.items() if getattr(shape.rig, name) is not None}
        always = {name: rig[name] for name in ("hashrate", "shares_accepted", "last_share", "share_interval")}
        if shape.rig.last_share is None and shape.rig.shares_accepted:
            always.pop("last_share")
        told = shape.rig._replace(**{**present, **always})
        errors = counts["errors"] // max(1, len(shape.chains))
        active = "backup" if self.has("failover") else "first"
        return Status(
            rig=told,
            pools=tuple(self.pool(place, pool, active) for place, pool in enumerate(shape.pools)),
            devices=tuple(self.device(place, each) for place, each in enumerate(shape.devices)),
            chains=tuple(
                self.chain(place, each, errors)
                for place, each in enumerate(shape.chains)
                if not (place == 1 and self.has("board missing"))
            ),
            fans=tuple(self.fan(place, each) for place, each in enumerate(shape.fans)),
        )

    def rig(self) -> dict[str, Any]:
        """Every figure of the whole."""
        counts, speed = self.counts, self.speed()
        elapsed = self.now - self.started + self.clock - 1.8e9
        noise = max(0.05, self.rng.gauss(1, NOISE))
        average = counts["hashes"] / max(1.0, self.now - self.started)
        return {
            "time": self.now + self.clock, "uptime": max(0.0, elapsed), "start_time": self.started + 1.8e9,
            "hashrate": self.rate * speed * noise, "hashrate_average": average, "hashes": counts["hashes"],
            "shares_accepted": counts["accepted"], "shares_rejected": counts["rejected"],
            "shares_stale": counts["stale"], "hardware_errors": counts["errors"] // 1,
            "difficulty_accepted": counts["difficulty"],
            "last_share": None if self.last_share < -1e9 else self.last_share + self.clock,
            "share_interval": self.difficulty * DIFF1 / average if average else None,
            "power": 3000.0 + self.rng.gauss(0, 50), "power_limit": 3100.0, "state": self.state(),
            "hashrate_expected": self.rate,
            **{f"hashrate_{span}": self.rate * speed * self.rng.gauss(1, 0.03) for span in SPANS},
        }  # fmt: skip

    def state(self) -> str:
        """What it says that it does."""
        if self.speed():
            return "mining"
        return "sleeping" if self.has("sleeping") else "fault" if self.has("stands") else "starting"

    def pool(self, place: int, pool: Pool, active: str) -> Pool:
        """A pool: the first is in use, or with its failover the second."""
        dead = active == "backup" and place == 0
        used = place == (1 if active == "backup" else 0) or (bool(pool.active) and not dead)
        gone = self.has("no pool")
        return pool._replace(alive=not (dead or gone), active=used and not gone)

    def device(self, place: int, device: Device) -> Device:
        """A device that is a board, or the whole where there is one."""
        share = self.boards()[place] if len(self.shape.devices) > 1 else self.speed()
        rate = self.rate * share * (self.speed() > 0)
        told = None if device.hashrate is None else rate
        return device._replace(hashrate=told, temperature=device.temperature and 60.0)

    def chain(self, place: int, chain: Chain, errors: float) -> Chain:
        """A board."""
        rate = self.rate * self.boards()[place] * (self.speed() > 0) * max(0.05, self.rng.gauss(1, NOISE))
        hot = {"chip_temperature": 120.0 if self.has("hot") else 80.0} if chain.chip_temperature else {}
        warm = {"board_temperature": 90.0 if self.has("hot") else 65.0} if chain.board_temperature else {}
        told = None if chain.hashrate is None else rate
        return chain._replace(hashrate=told, hardware_errors=errors, **hot, **warm)

    def fan(self, place: int, fan: Fan) -> Fan:
        """A fan; places where none ever turned have none."""
        return fan._replace(speed=0.0 if fan.speed and place == 0 and self.has("fan") else fan.speed)
