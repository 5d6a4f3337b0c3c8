"""What each row of the table says of a miner at this look: the value, and whether it is beyond its limit.

Comes in: a Status and the Memory of earlier ones. Goes out: a Finding for each row and part that it can be
told of. Whether a finding becomes a problem, is for chi.status.verdict: it has the delays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from chi.status import chance, memory
from chi.status.memory import Memory, boards_of, name_of
from chi.status.model import Chain, Device, Pool, Rig, Status
from chi.status.problems import DAY, HOUR, MINUTE, PROBLEMS

FEWEST = 12.0  # bad shares in a window, before their part means anything: chance alone does not bring them
FEWEST_FOR_ERRORS = 10.0  # accepted shares, for the work of the hour to be known to a third
MAX_ERRORS = 20  # of the firmware's own


class Finding(NamedTuple):
    """What is found: the row's key, the part it is about, whether it is wrong, or well again.

    Neither is between the two limits: there nothing changes. `words` fill in the sentence.
    """

    key: str
    about: str = ""
    wrong: bool = True
    well: bool = False
    value: float | None = None
    limit: float | None = None
    words: dict[str, str] = {}  # noqa: RUF012 - never changed


def fact(key: str, about: str, wrong: bool, **more: Any) -> Finding:
    """Return what is either so or not."""
    return Finding(key, about, wrong, not wrong, **more)


def measured(key: str, about: str, value: float, **words: str) -> Finding:
    """Return what the limits of the row make of a value."""
    limit, clear = PROBLEMS[key].limit or 0.0, PROBLEMS[key].clear or 0.0
    low = clear > limit  # small values are wrong
    wrong, well = (value < limit, value > clear) if low else (value > limit, value < clear)
    return Finding(key, about, wrong, well, value, limit, words)


def find(status: Status, seen: Memory) -> Iterator[Finding]:
    """Yield all that can be told."""
    rig = status.rig
    yield from activity(rig, seen)
    yield from pools(status.pools)
    yield from heat(status)
    yield from told_by_firmware(rig)
    yield fact("restarted", "", seen.restarted)
    if memory.hashes(rig):
        yield from shares(rig, seen)
        yield from hardware(rig, seen)
        yield from fans(status, seen)
        if rig.state != "tuning":
            yield from hashrates(rig, seen)
        if seen.settled():
            yield from boards(status, seen)


def activity(rig: Rig, seen: Memory) -> Iterator[Finding]:
    """What the miner does: it hashes, or starts, tunes, sleeps, is stopped, or stands."""
    hashing, state = memory.hashes(rig), rig.state
    yield fact("sleeping", "", state == "sleeping")
    yield fact("stopped", "", state == "stopped")
    stands = 0.0 if hashing else seen.seen - seen.stood
    tunes = state == "tuning" and stands < (PROBLEMS["tuning"].limit or 0.0)
    yield fact("tuning", "", tunes)
    meant = tunes or state in ("sleeping", "stopped")
    starts = not hashing and not meant and (state == "starting" or seen.starting(rig))
    starts = starts and stands < (PROBLEMS["starting"].limit or 0.0)
    yield fact("starting", "", starts)
    yield fact("not-hashing", "", not hashing and not meant and not starts)


def shares(rig: Rig, seen: Memory) -> Iterator[Finding]:
    """Shares that do not come, and those that pools do not take."""
    silent = seen.seen - seen.gap.since
    found = chance.allowed(seen.gap, rig)
    least = PROBLEMS["no-share"].limit or 0.0
    words = {"lasted": duration(silent), "due": duration(found.interval) if found else ""}
    if found:
        late = seen.gap.work > found.work and silent > least
        yield Finding("no-share", "", late, not late, silent, max(least, found.seconds), words)
    else:
        unknown = PROBLEMS["no-share/unknown"].limit or 0.0
        late = rig.shares_accepted is not None and silent > unknown
        yield fact("no-share/unknown", "", late, value=silent, limit=unknown, words=words)
    for key in ("rejects/most", "rejects", "stales/most", "stales"):
        window = seen.window(PROBLEMS[key].window)
        if window.shares < memory.NEWEST:
            window = seen.newest
        bad = window.rejected if key.startswith("rejects") else window.stale
        if window.shares:
            finding = measured(key, "", bad / window.shares)
            yield finding._replace(wrong=finding.wrong and bad >= FEWEST)


def hardware(rig: Rig, seen: Memory) -> Iterator[Finding]:
    """Wrong results of the chips, against the work that pools accepted, or else that was done."""
    hour = seen.window(HOUR)
    work = hour.difficulty if hour.accepted >= FEWEST_FOR_ERRORS else 0.0
    if rig.algorithm == "sha256d":
        work = max(work, hour.hashes / 2.0**32)
    if work:
        part = hour.errors / (hour.errors + work)
        for key in ("hardware-errors/many", "hardware-errors"):
            finding = measured(key, "", part)
            yield finding._replace(wrong=finding.wrong and hour.errors >= FEWEST)


def hashrates(rig: Rig, seen: Memory) -> Iterator[Finding]:
    """The hashrate against what is expected, and against what it was."""
    now = memory.hashrate(seen)
    for key, reference in (("low-hashrate", rig.hashrate_expected), ("hashrate-drop", seen.usual)):
        if now is None:
            yield Finding(key, wrong=False)
        elif reference:
            yield measured(key, "", now / reference)


BOARD_KEYS = ("board-missing", "board-without-chips", "board-dead", "board-short-of-chips")


def boards(status: Status, seen: Memory) -> Iterator[Finding]:
    """Boards that are gone, or do not work; of each the one thing that explains the others."""
    found = boards_of(status)
    if not found:  # not told this time
        yield from (Finding(key, name, wrong=False) for key in BOARD_KEYS for name in sorted(seen.boards))
        return
    most = max((each.chips or 0.0 for each in status.chains), default=0.0)
    troubles = {name_of(each): trouble(each, most) for each in found}
    troubles.update({name: ("board-missing", None, None) for name in seen.boards if name not in troubles})
    for name, (wrong, value, limit) in troubles.items():
        for key in BOARD_KEYS:
            hit = key == wrong
            yield fact(key, name, hit, value=value if hit else None, limit=limit if hit else None)


def trouble(board: Chain | Device, most: float) -> tuple[str, float | None, float | None]:
    """Return the key of what is wrong with a board, "" for nothing, with its value and limit."""
    if isinstance(board, Device):
        dead = board.alive is False or (board.hashrate == 0 and board.enabled is not False)
        return "board-dead" if dead and board.enabled is not False else "", None, None
    chips = board.chips_expected or most
    if board.state == "missing":
        return "board-missing", None, None
    if board.chips == 0 and chips:
        return "board-without-chips", 0.0, chips
    if board.state in ("dead", "fault") or board.hashrate == 0:
        return "board-dead", None, None
    if board.chips is not None and board.chips < chips:
        return "board-short-of-chips", board.chips, chips
    return "", None, None


def heat(status: Status) -> Iterator[Finding]:
    """Sensors that are too hot."""
    for chain in status.chains:
        for kind in ("water", "chip", "board"):
            value = getattr(chain, f"{kind}_temperature")
            if value is not None:
                yield measured(f"too-hot/{kind}", name_of(chain), value)
    if not status.chains:
        for device in status.devices:
            if device.temperature is not None:
                yield measured("too-hot/device", name_of(device), device.temperature)


def fans(status: Status, seen: Memory) -> Iterator[Finding]:
    """Fans that stand; a place that was never seen to turn has none."""
    for fan in status.fans:
        if seen.fans.get(fan.fan, 0) >= SEEN_TO_TURN:
            yield fact("fan-stopped", f"fan {fan.fan}", fan.speed == 0, value=fan.speed, limit=0.0)


SEEN_TO_TURN = 3  # looks


def pools(told: tuple[Pool, ...]) -> Iterator[Finding]:
    """Pools that do not answer, and which one is in use; those of the firmware's vendor do not count."""
    own = [pool for pool in told if not getattr(pool, "vendor", None) and pool.url != ""]
    known = [pool for pool in own if pool.alive is not None]
    for pool in known:
        yield fact("pool-dead", f"pool {pool.pool}", not pool.alive and pool.active is not True)
    if known:
        yield fact("no-pool", "", not any(pool.alive or pool.active for pool in own))
    ranked = [pool for pool in own if pool.priority is not None]
    used = [pool for pool in ranked if pool.active]
    if not used:
        return
    best = min(used, key=lambda pool: pool.priority or 0.0)
    first = min(pool.priority or 0.0 for pool in ranked)
    for pool in used:
        backup = pool is best and (best.priority or 0.0) > first
        yield fact("backup-pool", f"pool {pool.pool}", backup, value=pool.priority, limit=first)


def told_by_firmware(rig: Rig) -> Iterator[Finding]:
    """Its own errors, and its power limit."""
    for error in rig.errors[:MAX_ERRORS]:
        text = " ".join((error.text or "").split())[:200]
        yield Finding("firmware-error", f"error {error.code}", words={"text": f": {text}" if text else ""})
    if rig.power is not None and rig.power_limit:
        part = rig.power / rig.power_limit
        finding = measured("over-power-limit", "", part, over=f"{part - 1:.0%}")
        yield finding._replace(value=rig.power, limit=rig.power_limit)


def duration(seconds: float) -> str:
    """Return a length of time in words, with two figures at the most."""
    if seconds < 2 * MINUTE:
        return f"{math.ceil(seconds)} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.0f} h" if seconds < 2 * DAY else f"{seconds / DAY:.0f} days"
