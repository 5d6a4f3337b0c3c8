"""Weeks of simulated miners: how often something is told that is not, and whether what is wrong is, in time.

CHI_LIVES=20 simulates that many times as much; docs/verdict.md has the rates that were found so.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import NamedTuple

import pytest

from chi.status.problems import DAY, HOUR, MINUTE, PROBLEMS
from chi.status.verdict import Verdict, judge
from tests.status.golden import FIRMWARES
from tests.status.life import Fault, Life

LIVES = int(os.environ.get("CHI_LIVES", "1"))
INTERVALS = (1.0, 10.0, MINUTE, 10 * MINUTE, HOUR, DAY, 365 * DAY)  # seconds a share


class Expected(NamedTuple):
    """What a fault must lead to: which codes, any of them, after how many seconds and shares at the most."""

    codes: tuple[str, ...]
    seconds: float
    shares: float = 0.0


# A fault that the simulation has, and what is then told. Delays: docs/verdict.md.
FAULTS = {
    "no shares": Expected(("no-share",), 6 * MINUTE, 20),
    "rejects": Expected(("rejects", "no-share"), 20 * MINUTE, 40),
    "stales": Expected(("stales", "no-share"), 20 * MINUTE, 40),
    "errors": Expected(("hardware-errors",), 70 * MINUTE, 12),
    "board dead": Expected(("board-dead", "hashrate-drop"), 45 * MINUTE),
    "board missing": Expected(("board-missing", "hashrate-drop"), 45 * MINUTE),
    "hot": Expected(("too-hot",), 7 * MINUTE),
    "fan": Expected(("fan-stopped",), 4 * MINUTE),
    "failover": Expected(("backup-pool", "no-pool"), 7 * MINUTE),
    "no pool": Expected(("no-pool",), 5 * MINUTE),
    "off": Expected(("no-data",), 3 * MINUTE),
    "silent": Expected(("no-data",), 3 * MINUTE),
    "stands": Expected(("not-hashing",), 4 * MINUTE),
}
HARMLESS = ("restart", "clock forward", "clock back", "small difficulty")
UNTOLD = {  # what a firmware's shape cannot show
    "hot": lambda life: not any(each.chip_temperature for each in life.shape.chains),
    "fan": lambda life: not any(each.speed for each in life.shape.fans[:1]),
    "errors": lambda life: (
        None in (life.shape.rig.hardware_errors, life.shape.rig.difficulty_accepted)
        or life.rate < 1e9  # which has less than one result a second to be wrong
    ),
    "stales": lambda life: life.shape.rig.shares_stale is None,
}


def bad(verdict: Verdict) -> set[str]:
    """The codes that are told as bad, and whether it is said not to earn."""
    told = {each.code for each in verdict.problems if each.level == "bad"}
    return told | ({"not earning"} if verdict.earning is False else set())


def lives(days: float) -> list[Life]:
    """One life of each firmware, the difficulties and the looks in turn; with what is harmless in each."""
    found = []
    for number in range(LIVES * len(FIRMWARES)):
        rng = random.Random(number)
        firmware = FIRMWARES[number % len(FIRMWARES)]
        interval = INTERVALS[(number + number // len(FIRMWARES)) % len(INTERVALS)]
        look = rng.choice([60.0, 60.0, 60.0, 15.0, 300.0] if LIVES > 1 else [60.0, 120.0])
        life = Life(firmware, interval, number, look)
        for kind in HARMLESS:
            life.faults.append(Fault(kind, rng.uniform(0.1, 0.9) * days * DAY, days * DAY))
        found.append(life)
    return found


def test_false_alarms() -> None:
    """Of miners that are well, whatever their pools, clocks and restarts do: nothing bad, in weeks."""
    days = 0.5 if LIVES == 1 else 14.0
    alarms: Counter[str] = Counter()
    seconds = 0.0
    for life in lives(days):
        verdict, before = None, set[str]()
        for now, status in life.looks(days * DAY):
            verdict = judge(verdict, status, None, now)
            told = bad(verdict)
            alarms.update(told - before)
            before = told
        seconds += life.now
    years = seconds / (365.25 * DAY)
    print(f"{years:.2f} miner-years, false alarms: {dict(alarms)}")
    for code, count in alarms.items():
        assert count <= max(0.0, years), code


@pytest.mark.parametrize("kind", FAULTS)
def test_misses(kind: str) -> None:
    """What is wrong is told within the delay that is stated, and stays told until it ends.

    Late is also a look at which it is not told in the time between.
    """
    expected = FAULTS[kind]
    for number in range(LIVES):
        rng = random.Random(f"{kind} {number}")
        firmware = rng.choice(FIRMWARES)
        interval = rng.choice([1.0, 10.0, 30.0, MINUTE])
        life = Life(firmware, interval, number, faults=[Fault(kind, 2 * HOUR, 5 * HOUR)])
        if UNTOLD.get(kind, lambda _: False)(life):
            continue
        delay = max(expected.seconds, expected.shares * interval)
        verdict, missed = None, 0
        for now, status in life.looks(6 * HOUR):
            verdict = judge(verdict, status, None, now)
            if 2 * HOUR + delay < now < 5 * HOUR:
                missed += not {each.code for each in verdict.problems} & set(expected.codes)
        assert missed == 0, (kind, firmware, interval, number)


def test_every_bad_row_is_simulated() -> None:
    """But those that a status tells by itself."""
    simulated = {code for each in FAULTS.values() for code in each.codes}
    rows = {key.partition("/")[0] for key, kind in PROBLEMS.items() if kind.level == "bad"}
    assert rows - simulated == {"stopped", "board-without-chips"}
