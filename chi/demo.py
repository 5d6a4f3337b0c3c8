"""A simulated miner that speaks the CGMiner API on a socket.

`DemoMiner` is the API's server, `Rig` the machine behind it: three boards of about 33 TH/s, two fans,
two pools. Every figure is a function of the seed, the time and the commands so far, never of who asked
how often. So the figures agree: boards and pools add up to the summary, `MHS av` is `Total MH` by
`Elapsed`, no counter goes back. Time has the API's own resolution, a second.

Wire, message codes and texts, fields, their order and their formats are those of cgminer 4.11.1: its
api.c, and replies of a real one. What differs, on purpose:

- A client that connects and says nothing is dropped after a second; cgminer serves nobody else till then.
- `stats` and `estats` have the field names of Bitmain's firmware: an object with the model, then `temp1`,
  `temp2_1`, `temp_chip1`, `fan1`, `chain_rate1`, `freq_avg1` and so on, so that a dashboard has something
  to show. cgminer by itself tells only a board's temperature, in `devs`; it has no `temps` and no `fans`.
- `setconfig expiry` is answered once, and so is a malformed request after a joined one.
- `save` writes no file, `debug` switches nothing, pools never die. `restart` starts the figures anew, but
  the API stays where it is.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import json
import math
import re
import selectors
import signal
import socket
import sys
import threading
import time
from binascii import crc32
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, TypeVar

VERSION = "4.11.1"
MODEL = "Simulated miner"
REQUEST_LIMIT = 4095  # bytes: the API reads a request with one recv() of this size, and no more
UPTIME = 26 * 3600 + 1234  # seconds the rig has been running when it is made, so that a day of it can be told

# --- Chance ---------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def scatter(*key: object) -> float:
    """A number in [0, 1) that looks random, always the same for the same key."""
    # A checksum alone would give neighbours to neighbours. The factor carries its low bits to the top.
    return crc32(repr(key).encode()) * 0x9E3779B1 % 2**32 / 2**32


def happened(key: str, stretches: float) -> int:
    """How many events there were, if each stretch has exactly one, at a place of its own."""
    whole = math.floor(stretches)
    return whole + (stretches - whole > scatter(key, whole))


def sway(key: str, at: float, period: float) -> float:
    """A wave between -1 and 1, `period` seconds long."""
    return math.sin(math.tau * (at / period + scatter(key, period)))


# --- Rig ------------------------------------------------------------------------------------------

BOARDS = 3
BOARD_RATE = 33e6  # MH/s
BOARD_CHIPS = 114
FREQUENCY = 545  # MHz
RATE_WAVES = ((0.015, 41.0), (0.008, 660.0), (0.005, 18_000.0))  # share of the rate, seconds
WARMING = 240.0  # seconds in which a board gets 63 % of the way to its new temperature
ROOM, BOARD_ABOVE_ROOM, CHIP_ABOVE_BOARD = 24.0, 38.5, 9.0  # degrees Celsius
FAN_IDLE, FAN_FULL = 1200, 3000  # rpm
SHARES_PER_BAD = 150  # one in so many is not accepted; of those
BAD_PER_STALE = 4  # one in so many is stale, and the rest are rejected
DIFF1_PER_HARDWARE_ERROR = 1_000_000
JOB_SECONDS = 30  # from one job of a stratum pool to the next
BLOCK_SECONDS = 600
KNOWN_BLOCK = (840_000, 1_713_571_767)  # height, epoch seconds
POOLS = (("stratum+tcp://pool.example.com:3333", 262_144), ("stratum+tcp://backup.example.net:3333", 131_072))
USER = "demo.worker1"


class Board:
    """A hash board: when it was on, and what follows from that."""

    def __init__(self, seed: int, index: int, since: float) -> None:
        self.index = index
        self.key = f"{seed}/board{index}"
        self.runs: list[tuple[float, float]] = [(since, math.inf)]  # on, off
        self.rate = BOARD_RATE * (0.98 + 0.04 * scatter(self.key))

    @property
    def enabled(self) -> bool:
        return self.runs[-1][1] == math.inf

    def switch(self, on: bool, now: float) -> None:
        if on and not self.enabled:
            self.runs.append((now, math.inf))
        elif self.enabled and not on:
            self.runs[-1] = (self.runs[-1][0], now)

    def hashed(self, start: float, end: float) -> float:
        """The work done between two times, in MH."""
        spans = [(max(start, on), min(end, off)) for on, off in self.runs]
        return self.rate * sum(self._full_seconds(on, off) for on, off in spans if on < off)

    def _full_seconds(self, start: float, end: float) -> float:
        """The time at full rate that would do the same work: the integral of a rate that sways around 1."""
        seconds = end - start
        for depth, period in RATE_WAVES:
            late, early = (sway(self.key, at - period / 4, period) for at in (end, start))
            seconds += depth * (late - early) * period / math.tau
        return seconds

    def heat(self, at: float) -> float:
        """From 0, as cold as the room, to 1, as hot as it gets."""
        level, cold_since = 1.0, self.runs[0][0]
        for on, off in self.runs:
            level *= math.exp((cold_since - on) / WARMING)
            cold_since = min(off, at)
            level = 1 - (1 - level) * math.exp((on - cold_since) / WARMING)
        return level * math.exp((cold_since - at) / WARMING)

    def temperature(self, at: float) -> float:
        """Of the circuit board, in degrees Celsius."""
        return ROOM + self.heat(at) * (BOARD_ABOVE_ROOM + 0.7 * self.index + sway(self.key, at, 700))

    def chip_temperature(self, at: float) -> float:
        """Of the hottest chip, in degrees Celsius."""
        return self.temperature(at) + self.heat(at) * CHIP_ABOVE_BOARD


@dataclass(eq=False)  # two pools may have the same URL and user
class Pool:
    """A pool as configured; `priority` 0 comes first."""

    url: str
    user: str
    priority: int
    difficulty: int = POOLS[0][1]
    quota: int = 1
    enabled: bool = True


class Tally(NamedTuple):
    """Counters since the start, of one board at one pool or a sum of such."""

    mh: float
    diff1: int
    shares: int
    hardware: int
    accepted: int
    rejected: int
    stale: int
    difficulty_accepted: int
    difficulty_rejected: int
    difficulty_stale: int


class Rig:
    """The simulated machine, at a time that moves only with `tick()`."""

    def __init__(self, seed: int = 0, clock: Callable[[], float] = time.time) -> None:
        self.seed = seed
        self._clock = clock
        self.now = int(clock()) - UPTIME
        self.boards = [Board(seed, index, self.now) for index in range(BOARDS)]
        self.restart()
        # As if pool 0 had failed for a while
        self.stints += [(self.now + 3000, self.pools[1]), (self.now + 4500, self.pools[0])]
        self.tick()

    def tick(self) -> None:
        """Look at the clock: all figures are of this second until the next look. Time does not go back."""
        self.now = max(self.now, int(self._clock()))

    def restart(self) -> None:
        """Counters, pools and boards as after a start of the miner."""
        self.zero()
        self.pools = [Pool(url, USER, n, difficulty) for n, (url, difficulty) in enumerate(POOLS)]
        self.stints = [(self.now, self.pools[0])]  # since when which pool was mined at
        for board in self.boards:
            board.switch(True, self.now)

    def zero(self) -> None:
        self.since = self.best_since = self.now

    @property
    def pool(self) -> Pool:
        """The pool mined at: the first enabled one, as cgminer's strategy Failover has it."""
        return min((pool for pool in self.pools if pool.enabled), key=lambda pool: pool.priority)

    def prefer(self, *pools: Pool) -> None:
        """Put these first, the rest behind as they were, and mine accordingly from now on."""
        rest = sorted(self.pools, key=lambda pool: pool.priority)
        for priority, pool in enumerate([*pools, *(pool for pool in rest if pool not in pools)]):
            pool.priority = priority
        if self.stints[-1][1] is not self.pool:
            self.stints.append((self.now, self.pool))

    @property
    def all_pools(self) -> list[Pool]:
        """Removed ones too: their shares stay in the summary."""
        return list(dict.fromkeys([*self.pools, *(pool for _, pool in self.stints)]))

    @property
    def elapsed(self) -> int:
        return self.now - self.since

    def spans(self, pool: Pool, until: int) -> list[tuple[int, int]]:
        """From when to when this pool was mined at, since the start."""
        ends = [start for start, _ in self.stints[1:]] + [until]
        spans = [(start, end) for (start, mined), end in zip(self.stints, ends) if mined is pool]
        clipped = [(max(start, self.since), min(end, until)) for start, end in spans]
        return [(start, end) for start, end in clipped if start < end]

    def tally(self, boards: Sequence[Board], pools: Sequence[Pool]) -> Tally:
        """The counters of these boards at these pools."""
        tallies = [self._tally(board, pool, self.now) for board in boards for pool in pools]
        return Tally(*map(sum, zip(*tallies)))

    def _tally(self, board: Board, pool: Pool, until: int) -> Tally:
        key = f"{board.key}/{pool.url}"
        mh = sum(board.hashed(start, end) for start, end in self.spans(pool, until))
        diff1 = int(mh * 1e6 / 2**32)
        shares = happened(key + "/share", diff1 / pool.difficulty)
        bad = happened(key + "/bad", shares / SHARES_PER_BAD)
        stale = happened(key + "/stale", bad / BAD_PER_STALE)
        hardware = happened(key + "/hardware", diff1 / DIFF1_PER_HARDWARE_ERROR)
        counts = (shares - bad, bad - stale, stale)
        return Tally(mh, diff1, shares, hardware, *counts, *(count * pool.difficulty for count in counts))

    def last_share(self, boards: Sequence[Board], pools: Sequence[Pool]) -> tuple[int, Pool]:
        """When one was last accepted, in epoch seconds, and by which pool; 0 for never."""
        pairs = [(self._last_share(board, pool), pool) for board in boards for pool in pools]
        return max(pairs, key=lambda pair: pair[0])

    def _last_share(self, board: Board, pool: Pool) -> int:
        accepted = self._tally(board, pool, self.now).accepted
        before, at = self.since, self.now  # there are so many by `at`, and fewer by `before`: close in
        while at - before > 1:
            middle = (before + at) // 2
            if self._tally(board, pool, middle).accepted < accepted:
                before = middle
            else:
                at = middle
        return at if accepted else 0

    def best_share(self, pools: Sequence[Pool]) -> int:
        """The highest difficulty met: it about doubles whenever the number of shares does."""
        best = [0.0]
        for pool in pools:
            before, now = (self._shares(pool, at) for at in (self.best_since, self.now))
            if now > before:
                doublings = (now - before).bit_length() - 1
                best.append(pool.difficulty * 2**doublings * (1 + scatter(self.seed, pool.url, doublings)))
        return int(max(best))

    def _shares(self, pool: Pool, until: int) -> int:
        return sum(self._tally(board, pool, until).shares for board in self.boards)

    def mhs(self, boards: Sequence[Board], seconds: int) -> float:
        """The mean hashrate of the last seconds, in MH/s."""
        seconds = min(seconds, self.elapsed)
        return ratio(sum(board.hashed(self.now - seconds, self.now) for board in boards), seconds)

    def jobs(self, pools: Sequence[Pool]) -> int:
        """The number of jobs received from these pools."""
        spans = [span for pool in pools for span in self.spans(pool, self.now)]
        return sum(1 + (end - start - 1) // JOB_SECONDS for start, end in spans)

    def fan(self, number: int) -> int:
        """Speed in rpm, counted as a tachometer does, 30 at a time."""
        heat = sum(board.heat(self.now) for board in self.boards) / BOARDS
        rpm = FAN_IDLE + heat * (FAN_FULL - FAN_IDLE) + 60 * sway(f"{self.seed}/fan{number}", self.now, 97)
        return 30 * round(rpm / 30)


# Ages and steps in seconds, as finely as chi.status.history keeps them
PAST = (*range(86_400, 21_600, -300), *range(21_600, 3600, -60), *range(3600, 0, -15))


def past(rig: Rig) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield how it was in the last day: so many seconds ago, and attributes of chi.status.model.Rig."""
    then = copy.copy(rig)
    for ago in PAST:
        then.now = rig.now - ago
        tally = then.tally(then.boards, then.all_pools)
        yield (
            ago,
            {
                "hashrate": then.mhs(then.boards, 5) * 1e6,
                "temperature": max(board.chip_temperature(then.now) for board in then.boards),
                "shares_accepted": float(tally.accepted),
                "shares_rejected": float(tally.rejected),
                "shares_stale": float(tally.stale),
            },
        )


def block(at: int) -> int:
    """The height of the newest block."""
    return KNOWN_BLOCK[0] + (at - KNOWN_BLOCK[1]) // BLOCK_SECONDS


def ratio(part: float, whole: float) -> float:
    """0 if there is no whole."""
    return part / whole if whole else 0.0


# --- Reports --------------------------------------------------------------------------------------

# Each report's objects, as they go over the wire; `figures()` and what the report adds fill in the names.
RATES = (
    '"MHS av":%(av).2f,"MHS 5s":%(mhs5).2f,"MHS 1m":%(mhs60).2f,"MHS 5m":%(mhs300).2f,"MHS 15m":%(mhs900).2f'
)
DIFFICULTY = '"Difficulty Accepted":%(difficulty_accepted).8f,"Difficulty Rejected":%(difficulty_rejected).8f'
STALE = '"Difficulty Stale":%(difficulty_stale).8f'
LAST_DIFFICULTY = '"Last Share Difficulty":%(last_difficulty).8f'
DEVICE_PERCENT = '"Device Hardware%%":%(hardware_percent).4f,"Device Rejected%%":%(device_rejected).4f'
POOL_PERCENT = '"Pool Rejected%%":%(pool_rejected).4f,"Pool Stale%%":%(pool_stale).4f'
WAITS = '"Elapsed":%(elapsed)d,"Calls":0,"Wait":0.000000,"Max":0.000000,"Min":99999999.000000'
CONFIG = (
    f'{{"ASC Count":{BOARDS},"PGA Count":0,"Pool Count":%d,"Strategy":"Failover","Log Interval":5,'
    '"Device Code":"DMO ","OS":"Linux","Hotplug":"None"}'
)
SUMMARY = (
    f'{{"Elapsed":%(elapsed)d,{RATES},"Found Blocks":0,"Getworks":%(jobs)d,"Accepted":%(accepted)d,'
    '"Rejected":%(rejected)d,"Hardware Errors":%(hardware)d,"Utility":%(utility).2f,'
    '"Discarded":%(discarded)d,"Stale":%(stale)d,"Get Failures":0,"Local Work":%(works)d,'
    '"Remote Failures":0,"Network Blocks":%(blocks)d,'
    f'"Total MH":%(mh).4f,"Work Utility":%(work_utility).2f,{DIFFICULTY},{STALE},"Best Share":%(best)d,'
    f'{DEVICE_PERCENT},{POOL_PERCENT},"Last getwork":%(last_job)d}}'
)
BOARD = (
    '{"ASC":%(id)d,"Name":"DMO","ID":%(id)d,"Enabled":"%(enabled)s","Status":"Alive",'
    f'"Temperature":%(temperature).2f,{RATES},"Accepted":%(accepted)d,"Rejected":%(rejected)d,'
    '"Hardware Errors":%(hardware)d,"Utility":%(utility).2f,"Last Share Pool":%(last_pool)d,'
    f'"Last Share Time":%(last)d,"Total MH":%(mh).4f,"Diff1 Work":%(diff1)d,{DIFFICULTY},{LAST_DIFFICULTY},'
    f'"Last Valid Work":%(valid)d,{DEVICE_PERCENT},"Device Elapsed":%(elapsed)d}}'
)
POOL = (
    '{"POOL":%(id)d,"URL":"%(url)s","Status":"%(status)s","Priority":%(priority)d,"Quota":%(quota)d,'
    '"Long Poll":"N","Getworks":%(jobs)d,"Accepted":%(accepted)d,"Rejected":%(rejected)d,"Works":%(works)d,'
    '"Discarded":%(discarded)d,"Stale":%(stale)d,"Get Failures":0,"Remote Failures":0,"User":"%(user)s",'
    '"Last Share Time":%(last)d,"Diff1 Shares":%(diff1)d,"Proxy Type":"","Proxy":"",'
    f'{DIFFICULTY},{STALE},{LAST_DIFFICULTY},"Work Difficulty":%(work_difficulty).8f,"Has Stratum":true,'
    '"Stratum Active":%(active)s,"Stratum URL":"%(stratum_url)s",'
    '"Stratum Difficulty":%(stratum_difficulty).8f,"Has Vmask":false,"Has GBT":false,"Best Share":%(best)d,'
    f'{POOL_PERCENT},"Bad Work":0,"Current Block Height":%(height)d,"Current Block Version":536870912}}'
)
POOL_STATS = (
    f'{{"STATS":%(place)d,"ID":"POOL%(id)d",{WAITS},"Pool Calls":0,"Pool Attempts":0,"Pool Wait":0.000000,'
    '"Pool Max":0.000000,"Pool Min":99999999.000000,"Pool Av":0.000000,"Work Had Roll Time":false,'
    '"Work Can Roll":false,"Work Had Expire":false,"Work Roll Time":0,"Work Diff":%(work_difficulty).8f,'
    '"Min Diff":%(work_difficulty).8f,"Max Diff":%(work_difficulty).8f,"Min Diff Count":%(jobs)d,'
    '"Max Diff Count":%(jobs)d,"Times Sent":%(sent)d,"Bytes Sent":%(bytes_sent)d,"Times Recv":%(received)d,'
    '"Bytes Recv":%(bytes_received)d,"Net Bytes Sent":%(bytes_sent)d,"Net Bytes Recv":%(bytes_received)d}'
)
MODEL_STATS = f'{{"CGMiner":"{VERSION}","Miner":"1.0","CompileTime":"","Type":"{MODEL}"}}'
RIG_STATS = (  # hashrates in GH/s, temperatures in degrees Celsius, frequencies in MHz, fans in rpm
    f'{{"STATS":0,"ID":"DMO0",{WAITS},"GHS 5s":"%(ghs5).2f","GHS av":%(ghs).2f,"miner_count":{BOARDS},'
    f'"frequency":"{FREQUENCY}","fan_num":2,"fan1":%(fan1)d,"fan2":%(fan2)d,"temp_num":{BOARDS},%(chains)s,'
    f'"total_rateideal":{BOARDS * BOARD_RATE / 1e3:.2f},"total_acn":{BOARDS * BOARD_CHIPS},'
    '"total_rate":%(ghs5).2f,"Device Hardware%%":%(hardware_percent).4f,"no_matching_work":%(hardware)d}'
)
CHAIN_STATS = (
    '"temp%(n)d":%(board).0f,"temp2_%(n)d":%(chip).0f,'
    '"temp_chip%(n)d":"%(chip1).0f-%(chip2).0f-%(chip3).0f-%(chip).0f",'
    f'"freq_avg%(n)d":%(frequency).2f,"chain_rateideal%(n)d":{BOARD_RATE / 1e3:.2f},'
    f'"chain_acn%(n)d":{BOARD_CHIPS},"chain_acs%(n)d":"{"o" * BOARD_CHIPS}","chain_hw%(n)d":%(hardware)d,'
    '"chain_rate%(n)d":"%(ghs5).2f"'
)
NOTIFY = (
    '{"NOTIFY":%(id)d,"Name":"DMO","ID":%(id)d,"Last Well":%(now)d,"Last Not Well":0,'
    '"Reason Not Well":"None","*Thread Fail Init":0,"*Thread Zero Hash":0,"*Thread Fail Queue":0,'
    '"*Dev Sick Idle 60s":0,"*Dev Dead Idle 600s":0,"*Dev Nostart":0,"*Dev Over Heat":0,'
    '"*Dev Thermal Cutoff":0,"*Dev Comms Error":0,"*Dev Throttle":0}'
)
DEVDETAILS = (
    '{"DEVDETAILS":%(id)d,"Name":"DMO","ID":%(id)d,"Driver":"demo","Kernel":"",'
    f'"Model":"{MODEL}","Device Path":""}}'
)
COIN = (
    '{"Hash Method":"sha256","Current Block Time":%(block_time).6f,"Current Block Hash":"%(block_hash)s",'
    '"LP":true,"Network Difficulty":113757508810854.00000000}'
)
LCD = (
    '{"Elapsed":%(elapsed)d,"GHS av":%(ghs).2f,"GHS 5m":%(ghs300).2f,"GHS 5s":%(ghs5).2f,'
    f'"Temperature":%(temperature).2f,{LAST_DIFFICULTY},"Last Share Time":%(last)d,"Best Share":%(best)d,'
    '"Last Valid Work":%(valid)d,"Found Blocks":0,"Current Pool":"%(url)s","User":"%(user)s"}'
)
DEBUG = (
    '{"Silent":false,"Quiet":false,"Verbose":false,"Debug":false,"RPCProto":false,"PerDevice":false,'
    '"WorkTime":false}'
)


def figures(rig: Rig, boards: Sequence[Board], pools: Sequence[Pool]) -> dict[str, Any]:
    """What there is to tell of these boards at these pools."""
    tally, jobs = rig.tally(boards, pools), rig.jobs(pools)
    submitted = tally.difficulty_accepted + tally.difficulty_rejected + tally.difficulty_stale
    last, last_pool = rig.last_share(boards, pools)
    mean = ratio(tally.mh, rig.elapsed)
    mhs5, mhs60, mhs300, mhs900 = (rig.mhs(boards, seconds) for seconds in (5, 60, 300, 900))
    return {
        **tally._asdict(), "elapsed": rig.elapsed, "now": rig.now,
        "av": mean, "mhs5": mhs5, "mhs60": mhs60, "mhs300": mhs300, "mhs900": mhs900,
        "ghs": mean / 1e3, "ghs5": mhs5 / 1e3, "ghs300": mhs300 / 1e3,
        "utility": 60 * ratio(tally.accepted, rig.elapsed),
        "work_utility": 60 * ratio(tally.diff1, rig.elapsed),
        "hardware_percent": 100 * ratio(tally.hardware, tally.hardware + tally.diff1),
        "device_rejected": 100 * ratio(tally.difficulty_rejected, tally.diff1),
        "pool_rejected": 100 * ratio(tally.difficulty_rejected, submitted),
        "pool_stale": 100 * ratio(tally.difficulty_stale, submitted),
        "jobs": jobs, "discarded": jobs // 2, "works": tally.diff1 // 4096,
        "last_job": rig.now - rig.elapsed % JOB_SECONDS, "blocks": block(rig.now) - block(rig.since) + 1,
        "best": rig.best_share(pools), "last": last, "last_difficulty": last_pool.difficulty if last else 0,
        "last_pool": rig.pools.index(last_pool) if last and last_pool in rig.pools else -1,
        "valid": max(int(min(board.runs[-1][1], rig.now)) for board in boards),
        "temperature": max(board.temperature(rig.now) for board in boards),
    }  # fmt: skip


def board_report(rig: Rig, board: Board) -> str:
    """An object of `devs`."""
    return BOARD % {
        **figures(rig, [board], rig.all_pools), "id": board.index, "enabled": "Y" if board.enabled else "N",
    }  # fmt: skip


def pool_report(rig: Rig, template: str, place: int, pool: Pool) -> str:
    """An object of `pools`, or of `stats` of pools."""
    told, active = figures(rig, rig.boards, [pool]), pool is rig.pool
    sent = told["shares"] + 2 * (told["jobs"] > 0)  # two more: subscribe and authorise
    received = sent + told["jobs"]
    return template % {
        **told, "id": place, "place": place + 1, "url": quoted(pool.url), "user": quoted(pool.user),
        "status": "Alive" if pool.enabled else "Disabled", "priority": pool.priority, "quota": pool.quota,
        "work_difficulty": pool.difficulty if told["jobs"] else 0,
        "active": "true" if active else "false", "stratum_difficulty": pool.difficulty if active else 0,
        "stratum_url": quoted(re.sub(r"^.*://|:\d+$", "", pool.url)) if active else "",
        "height": block(rig.now) if told["jobs"] else 0,
        "sent": sent, "bytes_sent": 112 * sent, "received": received, "bytes_received": 320 * received,
    }  # fmt: skip


def pool_reports(rig: Rig, template: str) -> list[str]:
    """The objects of all pools."""
    return [pool_report(rig, template, place, pool) for place, pool in enumerate(rig.pools)]


def chain_stats(rig: Rig, board: Board) -> str:
    """What Bitmain's `stats` tell of a hash board, whose number there starts at 1."""
    chip = board.chip_temperature(rig.now)
    return CHAIN_STATS % {
        "n": board.index + 1, "board": board.temperature(rig.now),
        "chip": chip, "chip1": chip - 3, "chip2": chip - 2, "chip3": chip - 1,
        "frequency": FREQUENCY if board.enabled else 0, "ghs5": rig.mhs([board], 5) / 1e3,
        "hardware": rig.tally([board], rig.all_pools).hardware,
    }  # fmt: skip


def rig_stats(rig: Rig) -> list[str]:
    """The objects in `stats` that are not a pool's."""
    chains = ",".join(chain_stats(rig, board) for board in rig.boards)
    told = figures(rig, rig.boards, rig.all_pools)
    return [MODEL_STATS, RIG_STATS % {**told, "chains": chains, "fan1": rig.fan(1), "fan2": rig.fan(2)}]


def coin(rig: Rig) -> str:
    """The object of `coin`."""
    seed = b"%d" % block(rig.now)
    block_hash = "0" * 16 + "".join(f"{crc32(seed, word):08x}" for word in range(6))
    age = (rig.now - KNOWN_BLOCK[1]) % BLOCK_SECONDS
    return COIN % {"block_time": rig.now - age, "block_hash": block_hash}


def lcd(rig: Rig) -> str:
    """The object of `lcd`."""
    told = figures(rig, rig.boards, rig.all_pools)
    return LCD % {**told, "url": quoted(rig.pool.url), "user": quoted(rig.pool.user)}


def quoted(text: str) -> str:
    """Text inside a JSON string, as cgminer writes it: control characters stay as they are."""
    return re.sub(r'(["\\])', r"\\\1", text)


# --- Commands -------------------------------------------------------------------------------------

# Severity (Success, Information, Warning, Error) and text of every message code in use.
MESSAGES = {
    7: ("S", "%d Pool(s)"), 9: ("S", "%d ASC(s)"), 11: ("S", "Summary"), 14: ("E", "Invalid command"),
    15: ("E", "Missing device id parameter"), 22: ("S", "CGMiner versions"), 23: ("E", "Invalid JSON"),
    24: ("E", "Missing JSON 'command'"), 25: ("E", "Missing pool id parameter"),
    26: ("E", "Invalid pool id %d - range is 0 - %d"), 27: ("S", "Switching to pool %d:'%s'"),
    33: ("S", "CGMiner config"), 44: ("S", "Configuration saved to file '%s'"),
    45: ("E", "Access denied to '%s' command"), 46: ("S", "Privileged access OK"),
    47: ("S", "Enabling pool %d:'%s'"), 48: ("S", "Disabling pool %d:'%s'"),
    49: ("I", "Pool %d:'%s' already enabled"), 50: ("I", "Pool %d:'%s' already disabled"),
    51: ("E", "Cannot disable last active pool %d:'%s'"), 52: ("E", "Missing addpool details"),
    53: ("E", "Invalid addpool details '%s'"), 55: ("S", "Added pool %d: '%s'"), 59: ("S", "PGA count"),
    60: ("S", "Notify"), 66: ("E", "Cannot remove last pool %d:'%s'"),
    67: ("E", "Cannot remove active pool %d:'%s'"), 68: ("S", "Removed pool %d:'%s'"),
    69: ("S", "Device Details"), 70: ("S", "CGMiner stats"), 71: ("E", "Missing check cmd"),
    72: ("S", "Check command"), 73: ("S", "Changed pool priorities"),
    74: ("E", "Duplicate pool specified %d"),
    75: ("E", "Missing parameter: true/false"), 76: ("E", "Invalid parameter should be true or false"),
    78: ("S", "CGMiner coin"), 79: ("S", "Debug settings"), 83: ("E", "Unknown config '%s'"),
    86: ("E", "Missing config value N for '%s,N'"), 88: ("I", "No USB Statistics"),
    94: ("E", "Missing zero parameters"), 95: ("E", "Invalid zero parameter '%s'"),
    96: ("S", "Zeroed %s stats with summary"), 97: ("S", "Zeroed %s stats without summary"),
    104: ("S", "ASC count"), 106: ("S", "ASC%d"), 107: ("E", "Invalid ASC id %d - range is 0 - %d"),
    108: ("I", "ASC %d already enabled"), 109: ("I", "ASC %d already disabled"),
    110: ("I", "ASC %d sent enable message"), 111: ("I", "ASC %d set disable flag"),
    121: ("E", "Invalid negative number (%d) for '%s'"), 122: ("S", "Set pool '%s' to quota %d'"),
    124: ("W", "Lock stats not enabled"), 125: ("S", "LCD"), 127: ("E", "Deprecated config option '%s'"),
}  # fmt: skip

Thing = TypeVar("Thing")


class Reply(NamedTuple):
    """A message, what its text names, and a report's section and objects, if it is one."""

    code: int
    values: tuple[object, ...] = ()
    section: str = ""
    items: Sequence[str] = ()


class Refused(Exception):  # noqa: N818 - it is a reply
    """The end of a request, with this reply."""

    def __init__(self, code: int, *values: object) -> None:
        self.reply = Reply(code, values)


def atoi(text: str) -> int:
    """What C reads: the number the text starts with, else 0."""
    digits = re.match(r"\s*[+-]?[0-9]+", text)
    return int(digits.group()) if digits else 0


def chosen(things: Sequence[Thing], parameter: str, missing: int, invalid: int) -> tuple[int, Thing]:
    """The thing of this number. `missing` and `invalid` are the codes for no number and a wrong one."""
    if not parameter:
        raise Refused(missing)
    place = atoi(parameter)
    if not 0 <= place < len(things):
        raise Refused(invalid, place, len(things) - 1)
    return place, things[place]


class Console:
    """The commands that take a parameter or change something, with cgminer's checks in cgminer's order.

    `access` is cgminer's group of a client: "W" may do everything, "R" no privileged command.
    """

    def __init__(self, rig: Rig, access: str) -> None:
        self.rig = rig
        self.access = access
        self.quitting = False

    def allows(self, command: Command) -> bool:
        return self.access == "W" or not command.privileged

    def pool(self, parameter: str) -> tuple[int, Pool]:
        return chosen(self.rig.pools, parameter, 25, 26)

    def board(self, parameter: str) -> tuple[int, Board]:
        return chosen(self.rig.boards, parameter, 15, 107)

    def switchpool(self, parameter: str) -> Reply:
        place, pool = self.pool(parameter)
        pool.enabled = True
        self.rig.prefer(pool)
        return Reply(27, (place, pool.url))

    def enablepool(self, parameter: str) -> Reply:
        place, pool = self.pool(parameter)
        if pool.enabled:
            return Reply(49, (place, pool.url))
        ahead = pool.priority < self.rig.pool.priority
        pool.enabled = True
        self.rig.prefer(*[pool] * ahead)
        return Reply(47, (place, pool.url))

    def disablepool(self, parameter: str) -> Reply:
        place, pool = self.pool(parameter)
        if not pool.enabled:
            return Reply(50, (place, pool.url))
        if sum(each.enabled for each in self.rig.pools) == 1:
            return Reply(51, (place, pool.url))
        pool.enabled = False
        self.rig.prefer()
        return Reply(48, (place, pool.url))

    def addpool(self, parameter: str) -> Reply:
        """URL, user, password; a backslash before a comma that is part of them. The password is not kept."""
        details = re.match(r"((?:\\.|[^,\\])*),((?:\\.|[^,\\])*),.", parameter, re.DOTALL)
        if details is None:
            return Reply(53, (parameter,)) if parameter else Reply(52)
        url, user = (re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL) for text in details.groups())
        self.rig.pools.append(Pool(url, user, len(self.rig.pools)))
        return Reply(55, (len(self.rig.pools) - 1, url))

    def removepool(self, parameter: str) -> Reply:
        place, pool = self.pool(parameter)
        if len(self.rig.pools) == 1:
            return Reply(66, (place, pool.url))
        if pool is self.rig.pool:
            return Reply(67, (place, pool.url))
        self.rig.pools[place] = self.rig.pools[-1]  # the last one takes the number that becomes free
        self.rig.pools.pop()
        self.rig.prefer()
        return Reply(68, (place, pool.url))

    def poolpriority(self, parameter: str) -> Reply:
        wanted: list[Pool] = []
        for part in parameter.split(","):
            place, pool = self.pool(part)
            if pool in wanted:
                return Reply(74, (place,))
            wanted.append(pool)
        self.rig.prefer(*wanted)
        return Reply(73)

    def poolquota(self, parameter: str) -> Reply:
        which, comma, quota = parameter.partition(",")
        if which and not comma:
            return Reply(86, (which,))
        pool = self.pool(which)[1]
        if atoi(quota) < 0:
            return Reply(121, (atoi(quota), pool.url))
        pool.quota = atoi(quota)
        return Reply(122, (pool.url, pool.quota))

    def ascenable(self, parameter: str, on: bool = True) -> Reply:
        place, board = self.board(parameter)
        changes = board.enabled is not on
        board.switch(on, self.rig.now)
        return Reply((110 if on else 111) if changes else (108 if on else 109), (place,))

    def ascdisable(self, parameter: str) -> Reply:
        return self.ascenable(parameter, on=False)

    def zero(self, parameter: str) -> Reply:
        what, _, with_summary = parameter.partition(",")
        if not what or not with_summary:
            return Reply(75 if what else 94)
        name = {"all": "All", "bestshare": "BestShare"}.get(what.lower())
        if name is None:
            return Reply(95, (what,))
        if with_summary[0] not in "tTfF":
            return Reply(76)
        if name == "All":
            self.rig.zero()
        self.rig.best_since = self.rig.now
        return Reply(96 if with_summary[0] in "tT" else 97, (name,))

    def setconfig(self, parameter: str) -> Reply:
        return Reply(127 if parameter.lower() in ("queue", "scantime", "expiry") else 83, (parameter,))

    def asc(self, parameter: str) -> Reply:
        place, board = self.board(parameter)
        return Reply(106, (place,), "ASC", [board_report(self.rig, board)])

    def check(self, parameter: str) -> Reply:
        if not parameter:
            return Reply(71)
        command = COMMANDS.get(parameter)
        exists, access = ("Y" if yes else "N" for yes in (command, command and self.allows(command)))
        return Reply(72, (), "CHECK", [f'{{"Exists":"{exists}","Access":"{access}"}}'])

    def restart(self, parameter: str) -> str:
        self.rig.restart()
        return "RESTART"

    def quit(self, parameter: str) -> str:
        self.quitting = True
        return "BYE"


class Command(NamedTuple):
    """How a command is answered: with a Reply, or the bare word of `quit` and `restart`."""

    handler: Callable[[Console, str], Reply | str]
    joinable: bool = False
    privileged: bool = True


def report(code: int, section: str, items: Callable[[Rig], list[str]]) -> Command:
    """A command that only tells. If its message has a number, it is that of the objects."""

    def handler(console: Console, parameter: str) -> Reply:
        told = items(console.rig)
        return Reply(code, (len(told),) if "%d" in MESSAGES[code][1] else (), section, told)

    return Command(handler, joinable=True, privileged=False)


BOARDS_REPORT = report(9, "DEVS", lambda rig: [board_report(rig, board) for board in rig.boards])
COMMANDS = {
    # Reports
    "version": report(22, "VERSION", lambda rig: [f'{{"CGMiner":"{VERSION}","API":"3.7"}}']),
    "config": report(33, "CONFIG", lambda rig: [CONFIG % len(rig.pools)]),
    "summary": report(11, "SUMMARY", lambda rig: [SUMMARY % figures(rig, rig.boards, rig.all_pools)]),
    "devs": BOARDS_REPORT,
    "edevs": BOARDS_REPORT,
    "pools": report(7, "POOLS", lambda rig: pool_reports(rig, POOL)),
    "stats": report(70, "STATS", lambda rig: rig_stats(rig) + pool_reports(rig, POOL_STATS)),
    "estats": report(70, "STATS", rig_stats),
    "notify": report(60, "NOTIFY", lambda rig: [NOTIFY % {"id": n, "now": rig.now} for n in range(BOARDS)]),
    "devdetails": report(69, "DEVDETAILS", lambda rig: [DEVDETAILS % {"id": n} for n in range(BOARDS)]),
    "coin": report(78, "COIN", lambda rig: [coin(rig)]),
    "lcd": report(125, "LCD", lambda rig: [lcd(rig)]),
    "asccount": report(104, "ASCS", lambda rig: [f'{{"Count":{BOARDS}}}']),
    "pgacount": report(59, "PGAS", lambda rig: ['{"Count":0}']),
    "usbstats": Command(lambda console, parameter: Reply(88), joinable=True, privileged=False),
    # Reports that take a parameter, and a joined command has none
    "asc": Command(Console.asc, privileged=False),
    "check": Command(Console.check, privileged=False),
    # Privileged
    "lockstats": Command(lambda console, parameter: Reply(124), joinable=True),
    "privileged": Command(lambda console, parameter: Reply(46)),
    "switchpool": Command(Console.switchpool),
    "enablepool": Command(Console.enablepool),
    "disablepool": Command(Console.disablepool),
    "addpool": Command(Console.addpool),
    "removepool": Command(Console.removepool),
    "poolpriority": Command(Console.poolpriority),
    "poolquota": Command(Console.poolquota),
    "ascenable": Command(Console.ascenable),
    "ascdisable": Command(Console.ascdisable),
    "zero": Command(Console.zero),
    "save": Command(lambda console, parameter: Reply(44, (parameter or "cgminer.conf",))),
    "debug": Command(lambda console, parameter: Reply(79, (), "DEBUG", [DEBUG])),
    "failover-only": Command(lambda console, parameter: Reply(127, (parameter,))),
    "setconfig": Command(Console.setconfig),
    "restart": Command(Console.restart),
    "quit": Command(Console.quit),
}  # fmt: skip

# --- Wire -----------------------------------------------------------------------------------------

# The text protocol writes a section's name in front, unless the objects say it themselves: "POOL=0,…".
UNNAMED = frozenset(("STATUS", "DEVS", "POOLS", "NOTIFY", "DEVDETAILS", "STATS", "ASC"))


def read_request(request: bytes) -> tuple[str, str]:
    """Command and parameter ("" for none) of a request in JSON or text."""
    if not request.startswith(b"{"):
        command, _, parameter = request.decode("utf-8", "replace").partition("\0")[0].partition("|")
        return command, parameter
    try:
        members = json.loads(request.decode(), parse_constant=int)  # int() refuses NaN and Infinity
    except (ValueError, RecursionError):
        raise Refused(23) from None
    if "command" not in members:
        raise Refused(24)
    command, parameter = members["command"], members.get("parameter", "")
    if not isinstance(command, str):
        raise Refused(14)
    if isinstance(parameter, bool) or not isinstance(parameter, (str, int, float)):
        parameter = ""  # as if it were not there
    parameter = f"{parameter:f}" if isinstance(parameter, float) else str(parameter)
    if "\0" in command + parameter:  # the end of a string in C, so cgminer's parser has none of it
        raise Refused(23)
    return command, parameter


def write_reply(reply: Reply | str, when: int) -> str:
    """One command's reply in JSON."""
    if isinstance(reply, str):
        return f'{{"STATUS":"{reply}","id":1}}'
    severity, text = MESSAGES[reply.code]
    message = quoted(text % reply.values)
    status = f'"STATUS":"{severity}","When":{when},"Code":{reply.code},"Msg":"{message}"'
    if reply.code != 14:  # who probes for open APIs is not told what this is
        status += f',"Description":"cgminer {VERSION}"'
    section = f'"{reply.section}":[{",".join(reply.items)}],' if reply.section else ""
    return f'{{"STATUS":[{{{status}}}],{section}"id":1}}'


def as_text(reply: str) -> str:
    """One command's reply in JSON, as the text protocol writes it."""
    sections = json.loads(reply, parse_int=str, parse_float=str, strict=False)
    if isinstance(sections["STATUS"], str):
        return str(sections["STATUS"])
    del sections["id"]
    text = ""
    for section, items in sections.items():
        text += "" if section in UNNAMED else section + ","
        for item in items:
            text += ",".join(f"{name}={text_value(value)}" for name, value in item.items()) + "|"
    return text


def text_value(value: str | bool) -> str:
    """A value, with what ends it in the text protocol behind a backslash."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return re.sub(r"([,|=\\])", r"\\\1", value)


# --- Server ---------------------------------------------------------------------------------------


class DemoMiner:
    """The API of a simulated miner, on a socket.

    It listens from the start, on `address` (host, port; port 0 picks a free one), and serves from
    `start()`, in a thread, or `run()`, until `close()`, `stop()` or a `quit`. For `access` see `Console`.
    """

    receive_timeout = 1.0  # seconds: so long may a client keep all others waiting
    read_size = REQUEST_LIMIT

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, rig: Rig | None = None, access: str = "W"
    ) -> None:
        self.console = Console(rig or Rig(), access)
        self._listener = socket.create_server((host, port), backlog=100)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._bell, self._rope = socket.socketpair()  # wakes run() from signal handlers and other threads
        self._stopping = False
        self._thread = threading.Thread(target=self.run, name="demo-miner", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def run(self) -> None:
        """Serve one client after the other, as cgminer's one API thread does."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            while not (self._stopping or self.console.quitting):
                for key, _ in selector.select():
                    if key.fileobj is self._listener:
                        self._serve()
        self._release()

    def stop(self) -> None:
        """Make run() return when the client in service has its reply."""
        self._stopping = True
        with contextlib.suppress(OSError):  # it has returned before
            self._rope.send(b"!")

    def close(self) -> None:
        self.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._release()

    def _release(self) -> None:
        for each in (self._listener, self._bell, self._rope):
            each.close()

    def _serve(self) -> None:
        # There is nobody to tell of an error: the client was silent, or has gone.
        with contextlib.suppress(OSError), self._listener.accept()[0] as client:
            client.settimeout(self.receive_timeout)
            client.sendall(self.respond(client.recv(self.read_size)))

    def respond(self, request: bytes) -> bytes:
        """The whole reply to a request, with its NUL."""
        self.console.rig.tick()
        as_json = request.startswith(b"{")
        try:
            command, parameter = read_request(request)
        except Refused as refused:
            text = self._write(refused.reply, as_json)
        else:
            joined = "+" in command
            text = self._join(command, as_json) if joined else self._single(command, parameter, as_json)
        return text.encode("utf-8", "replace") + b"\0"

    def _join(self, names: str, as_json: bool) -> str:
        """A full reply of each member, of a known one only once. From no member comes no JSON: cgminer's."""
        members: list[str] = []
        for name in filter(None, names.split("+")):
            if name not in COMMANDS or name not in members:
                members.append(name)
        replies = [(name, self._single(name, "", as_json, joined=True)) for name in members]
        if not as_json:
            return "".join(f"CMD={text_value(name)}|{reply}" for name, reply in replies)
        members_json = ",".join(f'"{quoted(name)}":[{reply}]' for name, reply in replies)
        return ("{" if replies else "") + members_json + ',"id":1}'

    def _single(self, name: str, parameter: str, as_json: bool, joined: bool = False) -> str:
        command = COMMANDS.get(name)
        try:
            if command is None:
                raise Refused(14)
            if not self.console.allows(command) or (joined and not command.joinable):
                raise Refused(45, name)
            reply = command.handler(self.console, parameter)
        except Refused as refused:
            reply = refused.reply
        return self._write(reply, as_json)

    def _write(self, reply: Reply | str, as_json: bool) -> str:
        text = write_reply(reply, self.console.rig.now)
        return text if as_json else as_text(text)


# --- Command line ---------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def port_number(text: str) -> int:
    """A TCP port, or 0."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number")
    return int(text)


def make_parser(prog: str) -> Parser:
    """The options of every simulated miner."""
    parser = Parser(prog, description="A miner to try chi with.", allow_abbrev=False)
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--host", default="127.0.0.1", help="IPv4 address")
    parser.add_argument("--port", type=port_number, default=4028, help="TCP port; 0 picks a free one")
    parser.add_argument("--seed", type=int, default=0, help="another number is another machine")
    parser.add_argument("--read-only", action="store_true", help="deny privileged commands")
    return parser


def serve(prog: str, options: argparse.Namespace, make: Callable[[str, int, Rig, str], DemoMiner]) -> int:
    """Run what `make` returns until `quit`, SIGINT or SIGTERM (0), or say why not (1)."""
    try:
        access = "R" if options.read_only else "W"
        miner = make(options.host, options.port, Rig(options.seed), access)
    except (OSError, UnicodeError) as error:
        print(f"{prog}: cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: miner.stop())
    host, port = miner.address
    print(f"{prog}: a simulated miner listens on {host}:{port}", file=sys.stderr, flush=True)
    miner.run()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run until `quit`, SIGINT or SIGTERM (0), or say why not (1, or 2 for a wrong option)."""
    return serve("chi.demo", make_parser("chi.demo").parse_args(argv), DemoMiner)


if __name__ == "__main__":
    sys.exit(main())
