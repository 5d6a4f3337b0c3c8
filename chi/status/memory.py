"""What chi remembers of one miner for the verdict: windows of the last hour, and its usual values.

Comes in: each Status, and the time by chi's clock. Goes out: a Memory, a new one each time. The miner's clock
is never asked: counters that grow, and its uptime, are set against chi's own time.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from chi.status import chance
from chi.status.model import Chain, Device, Rig, Status
from chi.status.problems import DAY, HOUR, MINUTE, PROBLEMS

BIN = 5 * MINUTE  # the windows consist of bins, so they are up to one longer than they are named
UNSEEN = 15 * MINUTE  # a gap in what is seen, after which nothing is known of the time between
START = 10 * MINUTE  # a miner's start: until boards hash, and for them to hash as they will
USUAL = 6 * HOUR  # how fast the usual hashrate follows the present one
NEWEST = 30.0  # shares that rejects are told of, where an hour has fewer
MAX_NAMES = 64  # boards, fans: more has no miner, and names can be made up
COUNTERS = ("shares_accepted", "shares_rejected", "shares_stale", "hardware_errors", "difficulty_accepted")


class Bin(NamedTuple):
    """What happened in one stretch of time: counts, difficulty accepted, hashes in seconds of hashing."""

    start: float = 0.0
    accepted: float = 0.0
    rejected: float = 0.0
    stale: float = 0.0
    errors: float = 0.0
    difficulty: float = 0.0
    hashes: float = 0.0
    seconds: float = 0.0

    def plus(self, *amounts: float) -> Bin:
        """Return the bin with these added, in order."""
        return Bin(self.start, *(mine + more for mine, more in zip(self[1:], amounts)))

    @property
    def shares(self) -> float:
        """The shares that pools have answered, and those that came too late."""
        return self.accepted + self.rejected + self.stale


NOTHING = Bin()


class Memory(NamedTuple):
    """What is remembered of a miner; times are those of judge().

    `seen`: when it answered last; `silent`: whether it did not since; `back`: when it was first seen, came
    back, or started anew; `stood`: when it hashed last; `hashing`: since when it does without a break;
    `counters`, `uptime`: as last told; `newest`: about the last NEWEST shares; `usual`: its hashrate over
    hours; `low`: since when that is not reached; `tuned`: its power limit and what is expected of it;
    `boards`: whether each was seen to hash; `fans`: how often each was seen to turn.
    """

    seen: float
    back: float
    gap: chance.Gap
    stood: float = 0.0
    hashing: float | None = None
    restarted: bool = False
    silent: bool = False
    identity: tuple[str | None, str | None] = (None, None)
    uptime: float | None = None
    counters: tuple[float | None, ...] = (None,) * len(COUNTERS)
    bins: tuple[Bin, ...] = ()
    newest: Bin = NOTHING
    usual: float | None = None
    low: float | None = None
    tuned: tuple[float | None, float | None] = (None, None)
    boards: Mapping[str, bool] = MappingProxyType({})
    fans: Mapping[str, int] = MappingProxyType({})

    def window(self, seconds: float) -> Bin:
        """Return the sum of the bins of the last so many seconds."""
        late = [each for each in self.bins if each.start > self.seen - seconds - BIN]
        return Bin(late[0].start, *map(sum, list(zip(*late))[1:])) if late else Bin(self.seen)

    def settled(self) -> bool:
        """Whether the miner has hashed long enough for its boards to reach their usual state."""
        return self.hashing is not None and self.seen - self.hashing >= START

    def starting(self, rig: Rig) -> bool:
        """Whether it has started lately, by its uptime or as chi saw it."""
        return min(START if rig.uptime is None else rig.uptime, self.seen - self.back) < START


def name_of(board: Chain | Device) -> str:
    """Return what a problem says it is about."""
    return f"board {board.chain}" if isinstance(board, Chain) else f"device {board.device}"


def boards_of(status: Status) -> tuple[Chain | Device, ...]:
    """Return the boards; devices are boards by another name, where no boards are told."""
    return status.chains or status.devices


def hashes(rig: Rig) -> bool:
    """Whether the miner hashes; True if it reports neither hashrate nor state."""
    if rig.state in ("sleeping", "stopped"):
        return False
    if rig.hashrate is None:
        return rig.state in (None, "mining", "tuning")
    return rig.hashrate > 0


def begin(status: Status, now: float, usual: float | None = None) -> Memory:
    """Return what is remembered after the first look."""
    rig = status.rig
    uptime = 2 * START if rig.uptime is None else rig.uptime
    memory = Memory(
        seen=now,
        back=now - uptime,
        stood=now if hashes(rig) else now - min(uptime, START),
        gap=chance.begin(rig, now),
        hashing=now - uptime if hashes(rig) else None,
        bins=(Bin(now),),
        usual=usual,
    )
    return told(memory, status)


def told(memory: Memory, status: Status) -> Memory:
    """Return the memory with this status' values, for comparison with the next."""
    rig, before = status.rig, memory.counters
    counters = (getattr(rig, name) for name in COUNTERS)
    fans = {each.fan: min(memory.fans.get(each.fan, 0) + 1, 9) for each in status.fans if each.speed}
    boards = {
        name_of(each): bool(each.hashrate) or memory.boards.get(name_of(each), False)
        for each in boards_of(status)
    }
    if not boards or not boards.keys().isdisjoint(memory.boards):  # else they have other names now
        boards = {**memory.boards, **boards}
    return memory._replace(
        identity=(rig.software or memory.identity[0], rig.model or memory.identity[1]),
        uptime=rig.uptime,
        counters=tuple(old if new is None else new for old, new in zip(before, counters)),
        boards=dict(list(boards.items())[:MAX_NAMES]),
        fans=dict(list({**memory.fans, **fans}.items())[:MAX_NAMES]),
    )


def remember(memory: Memory, status: Status, now: float) -> Memory:
    """Return the memory after another look at the miner."""
    rig = status.rig
    if is_another(memory, rig):
        return begin(status, now)
    seconds = now - memory.seen
    anew = has_restarted(memory, rig, seconds)
    unseen = seconds > UNSEEN
    grown = growth(memory, rig, anew, seconds)
    # It is not known whether it hashed while it was silent or restarting.
    watched = not (anew or unseen or memory.silent)
    worked = seconds if watched and memory.hashing is not None and hashes(rig) else 0.0
    memory = memory._replace(
        seen=now,
        silent=False,
        restarted=anew,
        back=now if anew or unseen else memory.back,
        stood=now if anew or hashes(rig) else memory.stood,
        hashing=since_when(memory, rig, now, anew or unseen),
    )
    if unseen:
        gap = memory.gap._replace(since=now, grew=True, work=0.0) if grown[0] else memory.gap
    else:
        memory = count(memory, rig, grown, worked)
        gap = chance.advance(memory.gap, rig, grown[0], worked, now)
    return told(learn(memory._replace(gap=gap), status, worked), status)


def since_when(memory: Memory, rig: Rig, now: float, anew: bool) -> float | None:
    """Return since when the miner hashes without a break."""
    if not hashes(rig):
        return None
    return now if memory.hashing is None or anew else memory.hashing


def is_another(memory: Memory, rig: Rig) -> bool:
    """Whether another miner, or other firmware, answers at the address."""
    pairs = zip(memory.identity, (rig.software, rig.model))
    return any(before and now and before != now for before, now in pairs)


def has_restarted(memory: Memory, rig: Rig, seconds: float) -> bool:
    """Whether the miner's software has restarted within the last seconds.

    A clock that is set back makes the uptime of some miners less too: but their counters stay.
    """
    if (rig.uptime is None) != (memory.uptime is None):
        return False
    if rig.uptime is not None and memory.uptime is not None and rig.uptime >= memory.uptime:
        return False
    pairs = [(old, getattr(rig, name)) for old, name in zip(memory.counters, COUNTERS)]
    if any(old is not None and new is not None and new < old for old, new in pairs):
        return True
    stays = any(old and new is not None for old, new in pairs)
    return not stays and rig.uptime is not None and rig.uptime <= seconds + MINUTE


def growth(memory: Memory, rig: Rig, anew: bool, seconds: float) -> tuple[float, ...]:
    """Return the increase of each counter; one that fell was reset by a restart."""
    fresh = anew and rig.uptime is not None and rig.uptime <= seconds + MINUTE
    grown = []
    for old, name in zip(memory.counters, COUNTERS):
        new = getattr(rig, name)
        if old is None or new is None:
            grown.append(0.0)
        else:
            grown.append(new - old if new >= old else new if fresh else 0.0)
    return tuple(grown)


def count(memory: Memory, rig: Rig, grown: tuple[float, ...], worked: float) -> Memory:
    """Return the memory with what has happened since the last look in its bins."""
    rate = chance.steady(rig)
    ran = worked if memory.settled() and rate is not None else 0.0  # boards come one by one
    bins = memory.bins
    if not bins or bins[-1].start + BIN <= memory.seen:
        bins = (*(each for each in bins if each.start > memory.seen - HOUR - BIN), Bin(memory.seen))
    bins = (*bins[:-1], bins[-1].plus(*grown, (rate or 0.0) * ran, ran))
    newest = memory.newest.plus(*grown)
    fewer = min(1.0, NEWEST / newest.shares) if newest.shares else 1.0
    return memory._replace(bins=bins, newest=Bin(0.0, *(value * fewer for value in newest[1:])))


def hashrate(memory: Memory) -> float | None:
    """Return the mean hashrate of the window in the table; None until most of it was seen."""
    length = PROBLEMS["hashrate-drop"].window
    window = memory.window(length)
    return window.hashes / window.seconds if window.seconds >= 0.6 * length else None


def learn(memory: Memory, status: Status, worked: float) -> Memory:
    """Return the memory with what the miner usually does.

    A hashrate that has fallen is not learned, whatever time it lasts, unless the miner was set to another:
    its power limit or what is expected of it says so, or all its boards have hashed alike for a day.
    """
    rig, now = status.rig, hashrate(memory)
    tuned = (rig.power_limit or memory.tuned[0], rig.hashrate_expected or memory.tuned[1])
    limited = differs(memory.tuned[0], tuned[0])
    whole = all_at_work(memory, status)
    if limited or (whole and differs(memory.tuned[1], tuned[1])):
        bins = tuple(each._replace(hashes=0.0, seconds=0.0) for each in memory.bins)
        return memory._replace(tuned=tuned, usual=None, low=None, bins=bins)
    memory = memory._replace(tuned=tuned)
    if now is None or not worked:
        return memory
    if memory.usual is None:
        return memory._replace(usual=now, low=None)
    clear = PROBLEMS["hashrate-drop"].clear or 1.0
    if now < clear * memory.usual:
        low = memory.seen if memory.low is None else memory.low
        accepted = whole and memory.seen - low > DAY
        return memory._replace(usual=now, low=None) if accepted else memory._replace(low=low)
    return memory._replace(usual=memory.usual + (now - memory.usual) * min(1.0, worked / USUAL), low=None)


def differs(before: float | None, now: float | None) -> bool:
    """Whether a setting is told to be another."""
    return bool(before and now and abs(now / before - 1) > 0.03)


def all_at_work(memory: Memory, status: Status) -> bool:
    """Whether there are boards, and each that was ever seen to hash does, about as much as the best."""
    rates = {name_of(each): each.hashrate or 0.0 for each in boards_of(status)}
    least = 0.6 * max(rates.values(), default=0.0)
    return len(rates) > 1 and all(rates.get(name, 0.0) > least for name in memory.boards)
