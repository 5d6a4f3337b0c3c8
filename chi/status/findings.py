"""What is wrong with a miner in one status: the row of the table, the value and the limit it exceeds.

Comes in: a Status and the Memory of earlier ones. Goes out: a Finding for each row and part that is not well.
Whether a finding becomes a problem, is for chi.status.verdict: it has the delays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from chi.status import chance, memory
from chi.status.memory import Memory, boards_of, name_of
from chi.status.model import Chain, Device, Pool, Rig, Status
from chi.status.problems import DAY, HOUR, MINUTE, PROBLEMS

FEWEST = 12.0  # bad shares in a window, before their part means anything: chance alone does not bring them
FEWEST_FOR_ERRORS = 10.0  # accepted shares, for the work of the hour to be known to a third
SEEN_TO_TURN = 3  # looks, for a fan to be there
MAX_ERRORS = 20  # of the firmware's own


class Finding(NamedTuple):
    """What is not well: the row's key, the part it is about, and whether it is wrong.

    If not, it is between the two limits, or not told this time: then nothing changes. `words` fill in the
    sentence.
    """

    key: str
    about: str = ""
    wrong: bool = True
    value: float | None = None
    limit: float | None = None
    words: Mapping[str, str] = {}


def measured(key: str, about: str, value: float, enough: bool = True, **words: str) -> Iterator[Finding]:
    """Yield what the limits of the row make of a value; it is wrong only if there is enough to tell."""
    limit, clear = PROBLEMS[key].limit or 0.0, PROBLEMS[key].clear or 0.0
    low = clear > limit  # small values are wrong
    if (value < clear) if low else (value > clear):
        wrong = (value < limit) if low else (value > limit)
        yield Finding(key, about, wrong and enough, value, limit, words)


def find(status: Status, seen: Memory) -> Iterator[Finding]:
    """Yield all that is not well."""
    rig = status.rig
    yield from activity(rig, seen)
    yield from pools(status.pools)
    yield from heat(status)
    yield from told_by_firmware(rig)
    if seen.restarted:
        yield Finding("restarted")
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
    stood = 0.0 if hashing else seen.seen - seen.stood
    if state in ("sleeping", "stopped"):
        yield Finding(state)
    elif state == "tuning" and stood < (PROBLEMS["tuning"].limit or 0.0):
        yield Finding("tuning")
    elif not hashing:
        starts = state == "starting" or seen.starting(rig)
        starts = starts and stood < (PROBLEMS["starting"].limit or 0.0)
        yield Finding("starting" if starts else "not-hashing")


def shares(rig: Rig, seen: Memory) -> Iterator[Finding]:
    """Shares that do not come, and those that pools do not take."""
    yield from no_share(rig, seen)
    for key, count in (("rejects", "rejected"), ("stales", "stale")):
        for row in (f"{key}/most", key):
            window = seen.window(PROBLEMS[row].window)
            if window.shares < memory.NEWEST:
                window = seen.newest
            bad = getattr(window, count)
            if bad:
                yield from measured(row, "", bad / window.shares, enough=bad >= FEWEST)


def no_share(rig: Rig, seen: Memory) -> Iterator[Finding]:
    """No share for longer than chance allows; or than an hour, where it is not known what that is."""
    silent, found = seen.seen - seen.gap.since, chance.allowed(seen.gap, rig)
    if found:
        least = PROBLEMS["no-share"].limit or 0.0
        if seen.gap.work > found.work / 2:  # half: what is due is not known to the percent
            late = seen.gap.work > found.work and silent > least
            words = {"lasted": duration(silent), "due": duration(found.interval)}
            yield Finding("no-share", "", late, silent, max(least, found.seconds), words)
    elif rig.shares_accepted is not None:
        most = PROBLEMS["no-share/unknown"].limit or 0.0
        if silent > most:
            yield Finding("no-share/unknown", "", True, silent, most, {"lasted": duration(silent)})


def hardware(rig: Rig, seen: Memory) -> Iterator[Finding]:
    """Wrong results of the chips, against the work that pools accepted, or else that was done."""
    hour = seen.window(HOUR)
    if hour.errors < FEWEST:
        return
    work = hour.difficulty if hour.accepted >= FEWEST_FOR_ERRORS else 0.0
    if rig.algorithm == "sha256d":
        work = max(work, hour.hashes / 2.0**32)
    if work:
        for row in ("hardware-errors/many", "hardware-errors"):
            yield from measured(row, "", hour.errors / (hour.errors + work))


def hashrates(rig: Rig, seen: Memory) -> Iterator[Finding]:
    """The hashrate against what is expected, and against what it was."""
    now = memory.hashrate(seen)
    for key, reference in (("low-hashrate", rig.hashrate_expected), ("hashrate-drop", seen.usual)):
        if now is None:
            yield Finding(key, wrong=False)
        elif reference:
            yield from measured(key, "", now / reference)


BOARD_KEYS = ("board-missing", "board-without-chips", "board-dead", "board-short-of-chips")


def boards(status: Status, seen: Memory) -> Iterator[Finding]:
    """Boards that are gone, or do not work; of each the one thing that explains the others."""
    found = boards_of(status)
    if not found:  # not told this time
        yield from (Finding(key, name, wrong=False) for key in BOARD_KEYS for name in seen.boards)
        return
    most = max((each.chips or 0.0 for each in status.chains), default=0.0)
    for each in found:
        yield from device_trouble(each) if isinstance(each, Device) else chain_trouble(each, most)
    if len(seen.boards) > len(found):
        told = {name_of(each) for each in found}
        gone = [name for name, hashed in seen.boards.items() if hashed and name not in told]
        yield from (Finding("board-missing", name) for name in gone)


def device_trouble(device: Device) -> Iterator[Finding]:
    """What is wrong with a device, if anything; one that was switched off does what it should."""
    if device.enabled is not False and (device.alive is False or device.hashrate == 0):
        yield Finding("board-dead", name_of(device))


def chain_trouble(chain: Chain, most: float) -> Iterator[Finding]:
    """What is wrong with a board, if anything; `most` chips has any board."""
    chips = chain.chips_expected or most
    at_rest = chain.state in ("starting", "tuning", "sleeping")
    if chain.state == "missing":
        yield Finding("board-missing", name_of(chain))
    elif chain.chips == 0 and chips:
        yield Finding("board-without-chips", name_of(chain), value=0.0, limit=chips)
    elif chain.state in ("dead", "fault") or (chain.hashrate == 0 and not at_rest):
        yield Finding("board-dead", name_of(chain))
    elif chain.chips is not None and chain.chips < chips:
        yield Finding("board-short-of-chips", name_of(chain), value=chain.chips, limit=chips)


def heat(status: Status) -> Iterator[Finding]:
    """Sensors that are too hot."""
    for chain in status.chains:
        for kind in ("water", "chip", "board"):
            value = getattr(chain, f"{kind}_temperature")
            if value is not None:
                yield from measured(f"too-hot/{kind}", name_of(chain), value)
    if not status.chains:
        for device in status.devices:
            if device.temperature is not None:
                yield from measured("too-hot/device", name_of(device), device.temperature)


def fans(status: Status, seen: Memory) -> Iterator[Finding]:
    """Fans that stand; a place that was never seen to turn has none."""
    for fan in status.fans:
        if fan.speed == 0 and seen.fans.get(fan.fan, 0) >= SEEN_TO_TURN:
            yield Finding("fan-stopped", f"fan {fan.fan}", value=0.0, limit=0.0)


def pools(told: tuple[Pool, ...]) -> Iterator[Finding]:
    """Pools that do not answer, and which one is in use; those of the firmware's vendor do not count."""
    own = [pool for pool in told if not pool.vendor and pool.url != ""]
    dead = [pool for pool in own if pool.alive is False and not pool.active]
    yield from (Finding("pool-dead", f"pool {pool.pool}") for pool in dead)
    if dead and not any(pool.alive or pool.active for pool in own):
        yield Finding("no-pool")
    ranks = [pool.priority for pool in own if pool.priority is not None]
    used = [pool for pool in own if pool.active and pool.priority is not None]
    if used:
        best = min(used, key=lambda pool: pool.priority or 0.0)
        if (best.priority or 0.0) > min(ranks):
            yield Finding("backup-pool", f"pool {best.pool}", value=best.priority, limit=min(ranks))


def told_by_firmware(rig: Rig) -> Iterator[Finding]:
    """Its own errors, and its power limit."""
    for error in rig.errors[:MAX_ERRORS]:
        code, text = (" ".join(each.split()) for each in (error.code, error.text or ""))
        words = {"text": f": {text[:200]}" if text else ""}
        yield Finding("firmware-error", f"error {code[:40]}", words=words)
    if rig.power is not None and rig.power_limit:
        part = rig.power / rig.power_limit
        for finding in measured("over-power-limit", "", part, over=f"{part - 1:.0%}"):
            yield finding._replace(value=rig.power, limit=rig.power_limit)


def duration(seconds: float) -> str:
    """Return a length of time in words, with two figures at the most."""
    if seconds < 2 * MINUTE:
        return f"{math.ceil(seconds)} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.0f} h" if seconds < 2 * DAY else f"{seconds / DAY:.0f} days"
