"""The verdict: miners by script, each with one thing wrong, and what is said of it and when."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chi.status import chance
from chi.status.chance import patience
from chi.status.firmware.shares import share_interval
from chi.status.history import History
from chi.status.model import Chain, Device, Fan, Pool, Rig, RigError, Status
from chi.status.problems import DAY, HOUR, LIMITS, MAX_PROBLEMS, MINUTE, PROBLEMS, Problem
from chi.status.verdict import Verdict, judge, to_json
from tests.status.anything import damaged
from tests.status.golden import FIRMWARES, NOW, normalise
from tests.status.golden import status as golden_status

WELL: dict[str, Any] = {
    "hashrate": 1e14, "hashrate_average": 1e14, "share_interval": 10.0,
    "shares_rejected": 0.0, "shares_stale": 0.0, "hardware_errors": 0.0,
}  # fmt: skip
DIFFICULTY = 1e14 * 10 / 2**32  # of a share each 10 s


class Script:
    """A miner that is looked at each minute, and what is said of it; counts are those of its rig."""

    def __init__(
        self, parts: dict[str, Any] | None = None, history: History | None = None, **rig: Any
    ) -> None:
        self.now = 1000.0
        self.verdict: Verdict | None = None
        self.history = history
        self.rig = {**WELL, "shares_accepted": 1000.0, "difficulty_accepted": 1000 * DIFFICULTY,
                    "uptime": 5 * DAY, **rig}  # fmt: skip
        self.parts = parts or {}

    def look(self, answers: bool = True) -> Verdict:
        """Judge the miner as it is now."""
        status = Status(Rig(**self.rig), **self.parts) if answers else None
        self.verdict = judge(self.verdict, status, self.history, self.now)
        return self.verdict

    def run(
        self, seconds: float, accepted: float = 6.0, rejected: float = 0.0, stale: float = 0.0,
        errors: float = 0.0, answers: bool = True, every: float = 60.0,
    ) -> Verdict:  # fmt: skip
        """Let time pass, with so many of each a minute."""
        verdict = self.verdict or self.look(answers)
        for _ in range(round(seconds / every)):
            self.now += every
            minutes = every / MINUTE
            self.rig["uptime"] += every
            for name, more in (
                ("shares_accepted", accepted), ("shares_rejected", rejected), ("shares_stale", stale),
                ("hardware_errors", errors), ("difficulty_accepted", accepted * DIFFICULTY),
            ):  # fmt: skip
                if self.rig[name] is not None:
                    self.rig[name] += more * minutes
            verdict = self.look(answers)
        return verdict

    def until(self, code: str, most: float, **happens: float) -> float:
        """Let time pass until a problem is told; return how long it took. AssertionError after `most`."""
        began = self.now
        while self.now - began < most:
            if code in codes(self.run(MINUTE, **happens)):
                return self.now - began
        raise AssertionError(f"{code} is not told within {most} s, but {codes(self.look())}")


def codes(verdict: Verdict) -> list[str]:
    """The codes of what is wrong, with what each is about."""
    return [" ".join(filter(None, (each.code, each.about))) for each in verdict.problems]


def levels(verdict: Verdict) -> set[tuple[str, str]]:
    """Code and level of what is wrong."""
    return {(each.code, each.level) for each in verdict.problems}


# --- What the page said wrongly before --------------------------------------------------------------


def test_a_miner_that_is_well() -> None:
    """It earns, from the first share that chi sees accepted; before, that is not known."""
    script = Script()
    first = script.look()
    assert (first.earning, first.problems) == (None, ())
    assert first.sentence == "No share has been seen yet that a pool accepted."
    assert script.run(MINUTE).earning is True
    verdict = script.run(DAY)
    assert (verdict.earning, verdict.problems, verdict.sentence) == (True, (), "Earning.")
    assert verdict.since == 1060


def test_a_share_of_late_is_told_by_the_miner() -> None:
    """At the first look, that the miner tells of one by its own clock is enough; nonsense is not."""
    assert Script(time=1.8e9, last_share=1.8e9 - 20).look().earning is True
    assert Script(time=1.8e9, last_share=1.8e9 - 7200).look().earning is None
    assert Script(time=1.8e9, last_share=1.8e9 + 20).look().earning is None


def test_nine_of_ten_shares_are_rejected() -> None:
    """For an hour: it does not earn, and that is told within 15 minutes."""
    script = Script()
    script.run(2 * HOUR)
    took = script.until("rejects", HOUR, accepted=0.6, rejected=5.4)
    assert took <= 5 * MINUTE  # as a warning
    verdict = script.run(15 * MINUTE - took, accepted=0.6, rejected=5.4)
    assert ("rejects", "bad") in levels(verdict)
    assert verdict.earning is False
    verdict = script.run(45 * MINUTE, accepted=0.6, rejected=5.4)
    (problem,) = verdict.problems
    assert (problem.code, problem.level, problem.limit) == ("rejects", "bad", 0.5)
    assert problem.value == pytest.approx(0.9, abs=0.01)
    assert problem.sentence == "90% of the newest shares were rejected."
    assert verdict.sentence == "Not earning. 90% of the newest shares were rejected."
    assert script.run(2 * HOUR).problems == ()


def test_rejected_shares_of_a_slow_miner() -> None:
    """Where an hour has few shares the newest are judged: 12 bad ones of 24 or so are no chance."""
    script = Script(share_interval=900.0)
    script.run(DAY, accepted=1 / 15)
    verdict = script.run(9 * HOUR, rejected=1 / 15, accepted=0.0)
    assert ("rejects", "bad") in levels(verdict)


@pytest.mark.parametrize("told", [10.0, None])
def test_no_share_for_an_hour(told: float | None) -> None:
    """While the firmware tells no last share, nor how often one is due: chi sees the count stand."""
    script = Script(share_interval=told, last_share=None)
    assert script.run(2 * HOUR).earning is True
    took = script.until("no-share", HOUR, accepted=0.0)
    assert took <= (6 if told else 10) * MINUTE
    verdict = script.run(HOUR - took, accepted=0.0)
    assert verdict.earning is False
    (problem,) = verdict.problems
    told_so = "The miner hashes, but no share was accepted for 60 min; one is due every 1"
    assert problem.sentence.startswith(told_so)
    assert problem.value == 3600
    assert script.run(3 * MINUTE).problems == ()


def test_no_share_where_nothing_tells_how_often_one_is_due() -> None:
    """After an hour that is said, and it is not known whether the miner earns."""
    script = Script(share_interval=None, uptime=0.0, shares_accepted=0.0)
    script.rig["uptime"] = HOUR
    assert script.run(59 * MINUTE, accepted=0).problems == ()
    verdict = script.run(2 * MINUTE, accepted=0)
    assert levels(verdict) == {("no-share", "warn")}
    assert verdict.earning is None
    assert script.run(3 * MINUTE).earning is True


def test_the_first_pool_is_dead_and_a_backup_is_in_use() -> None:
    """Both are told, and it earns all the same."""
    pools = (
        Pool("0", alive=True, active=True, priority=0.0),
        Pool("1", alive=True, active=False, priority=1.0),
    )
    script = Script({"pools": pools})
    assert script.run(HOUR).problems == ()
    script.parts["pools"] = (pools[0]._replace(alive=False, active=False), pools[1]._replace(active=True))
    assert script.run(4 * MINUTE).problems == ()
    verdict = script.run(8 * MINUTE)
    assert codes(verdict) == ["backup-pool pool 1", "pool-dead pool 0"]
    assert verdict.earning is True
    assert verdict.sentence == "Earning, but not all is well. The miner mines at a backup, pool 1."
    script.parts["pools"] = pools
    assert script.run(4 * MINUTE).problems == ()


def test_hardware_errors_at_41_percent() -> None:
    """Bad, against the work that pools accepted in the hour."""
    script = Script()
    script.run(2 * HOUR)
    errors = 6 * DIFFICULTY * 0.41 / 0.59
    verdict = script.run(HOUR, errors=errors)
    (problem,) = verdict.problems
    assert (problem.code, problem.level) == ("hardware-errors", "bad")
    assert problem.value == pytest.approx(0.41, abs=0.04)
    assert verdict.earning is True
    assert script.run(2 * HOUR).problems == ()


@pytest.mark.parametrize("jump", [-2 * HOUR, -30 * DAY, 365 * DAY])
@pytest.mark.parametrize("shares", [6.0, 0.0])
def test_the_miners_clock_is_set(jump: float, shares: float) -> None:
    """Back or forward, with its uptime: that changes nothing, be the miner well or not."""
    script = Script(time=1.8e9, last_share=1.8e9)
    script.run(HOUR)
    before = script.run(HOUR, accepted=shares)
    script.rig["uptime"] = max(0.0, script.rig["uptime"] + jump)
    script.rig["time"] += jump
    after = script.run(10 * MINUTE, accepted=shares)
    assert (before.earning, codes(before)) == (bool(shares), [] if shares else ["no-share"])
    assert (after.earning, codes(after)) == (before.earning, codes(before))
    assert after.since == before.since


def test_a_change_from_a_large_difficulty_to_a_small_one() -> None:
    """A share each two hours, none for an hour and a half, then one each second."""
    script = Script(share_interval=7200.0)
    script.run(DAY, accepted=1 / 120)
    script.run(90 * MINUTE, accepted=0.0)
    script.rig["share_interval"] = 1.0
    for _ in range(120):
        assert script.run(MINUTE, accepted=60.0).earning is True


def test_a_change_from_a_small_difficulty_to_a_large_one() -> None:
    """A share each second, then one each two hours."""
    script = Script(share_interval=1.0)
    script.run(DAY, accepted=60.0)
    script.rig["share_interval"] = 7200.0
    for _ in range(300):
        assert script.run(MINUTE, accepted=0.0).earning is True


def test_a_miner_boots() -> None:
    """It has restarted and is starting, which is not bad; when it hashes, it earns with its first share."""
    script = Script()
    script.run(HOUR)
    script.run(3 * MINUTE, answers=False)
    script.rig.update(uptime=30.0, shares_accepted=0.0, difficulty_accepted=0.0)
    script.rig.update(hashrate=0.0, hashrate_average=0.0, share_interval=None)
    for _ in range(8):
        verdict = script.run(MINUTE, accepted=0.0)
        assert levels(verdict) == {("starting", "warn"), ("restarted", "warn")}
        assert verdict.earning is None
        assert verdict.sentence == "The miner is starting."
    script.rig.update(hashrate=1e14, hashrate_average=1e13, share_interval=100.0)
    assert script.run(2 * MINUTE).earning is True
    assert codes(script.run(10 * MINUTE)) == ["restarted"]
    assert script.run(HOUR).problems == ()


def test_a_miner_that_never_comes_up() -> None:
    """Starting is believed for half an hour, whatever it calls itself; then it does not hash."""
    script = Script(uptime=10.0, hashrate=0.0, shares_accepted=0.0, state="starting")
    assert codes(script.run(20 * MINUTE, accepted=0.0)) == ["starting"]
    verdict = script.run(20 * MINUTE, accepted=0.0)
    assert (verdict.earning, codes(verdict)) == (False, ["not-hashing"])


# --- What the miner does ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "code", "level", "earning"),
    [
        ("sleeping", "sleeping", "warn", False),
        ("stopped", "stopped", "bad", False),
        ("tuning", "tuning", "warn", None),
        ("starting", "starting", "warn", None),
        ("idle", "not-hashing", "bad", False),
        ("fault", "not-hashing", "bad", False),
        ("mining", "not-hashing", "bad", False),
        (None, "not-hashing", "bad", False),
    ],
)
def test_a_miner_that_does_not_hash(state: str | None, code: str, level: str, earning: bool | None) -> None:
    """Why is told apart, and who sleeps or starts on purpose is not bad."""
    script = Script()
    script.run(HOUR)
    script.rig.update(hashrate=0.0, state=state)
    verdict = script.run(5 * MINUTE, accepted=0.0)
    assert levels(verdict) == {(code, level)}
    assert verdict.earning is earning
    script.rig.update(hashrate=1e14, state="mining" if state else None)
    assert script.run(2 * MINUTE).earning is True
    assert script.run(2 * MINUTE).problems == ()


def test_a_moment_without_hashrate() -> None:
    """A minute of it changes nothing."""
    script = Script()
    script.run(HOUR)
    script.rig["hashrate"] = 0.0
    assert script.run(MINUTE, accepted=0.0).earning is True
    script.rig["hashrate"] = 1e14
    assert script.run(MINUTE) == replace(script.look(), problems=())


def test_tuning_that_hashes_earns() -> None:
    """And its hashrate is not held against it."""
    script = Script(state="tuning", hashrate_expected=2e14)
    verdict = script.run(2 * HOUR)
    assert (verdict.earning, codes(verdict)) == (True, ["tuning"])


def test_hours_of_sleep_are_no_hours_without_shares() -> None:
    """Nor do they lower what is usual."""
    script = Script()
    script.run(8 * HOUR)
    for _ in range(3):
        script.rig.update(hashrate=0.0, state="sleeping")
        assert codes(script.run(8 * HOUR, accepted=0.0)) == ["sleeping"]
        script.rig.update(hashrate=1e14, state="mining")
        for _ in range(60):
            assert script.run(MINUTE).problems == ()
    script.rig["hashrate"] = 0.67e14
    assert script.until("hashrate-drop", HOUR) <= 45 * MINUTE


def test_a_miner_that_does_not_answer() -> None:
    """No data: whether it earns is not known; when it is back, it is as before."""
    script = Script()
    script.run(HOUR)
    assert script.run(0, answers=False).earning is True
    verdict = script.run(5 * MINUTE, answers=False)
    assert (verdict.earning, codes(verdict)) == (None, ["no-data"])
    assert verdict.sentence == "The miner does not answer."
    assert verdict.problems[0].since == 1000 + HOUR + 60
    assert script.run(MINUTE).earning is True
    assert script.look().problems == ()


def test_a_miner_that_never_answered() -> None:
    """That is told after a minute, too."""
    script = Script()
    assert script.look(answers=False).problems == ()
    assert codes(script.run(MINUTE, answers=False)) == ["no-data"]


def test_what_is_wrong_outlasts_a_silence() -> None:
    """A dead board is told again at once, since when it is dead."""
    script = Script({"chains": boards(1e14, 0.0)})
    script.run(20 * MINUTE)
    (problem,) = script.look().problems
    script.run(5 * MINUTE, answers=False)
    assert script.run(MINUTE).problems == (problem,)


def test_another_miner_at_the_address() -> None:
    """What was remembered of the first does not count."""
    script = Script({"chains": boards(1e14, 1e14)}, software="cgminer", model="S9")
    script.run(DAY)
    script.rig.update(model="Nano", hashrate=4e12, hashrate_average=4e12, shares_accepted=7.0, uptime=DAY)
    script.parts = {"chains": boards(4e12)}
    for _ in range(90):
        assert script.run(MINUTE).problems == ()


# --- Shares by chance -------------------------------------------------------------------------------

INTERVALS = [0.1, 1.0, 10.0, MINUTE, 10 * MINUTE, HOUR, DAY, 30 * DAY, 365 * DAY, 3650 * DAY]


@pytest.mark.parametrize("interval", INTERVALS)
def test_false_alarms_by_chance(interval: float) -> None:
    """So long a gap comes less than once a miner-year at any difficulty: gaps a year, by exp(-gap)."""
    allowed = limit_of(interval)
    gaps = 365.25 * DAY / interval
    assert gaps * 2.718281828 ** (-allowed / interval) < 0.2


@pytest.mark.parametrize("interval", INTERVALS)
def test_delay_until_no_share_is_told(interval: float) -> None:
    """So long, and a look more; never less than five minutes."""
    every = max(60.0, min(interval / 10, 10 * MINUTE))
    script = Script(share_interval=interval)
    script.run(20 * every, every=every)
    began, limit = script.now, limit_of(interval)
    if limit > 20 * DAY:
        assert script.run(10 * DAY, accepted=0.0, every=14 * MINUTE).earning is True
        return
    while "no-share" not in codes(script.run(every, accepted=0.0, every=every)):
        assert script.now - began <= limit + 2 * every
    assert script.now - began >= limit - every


def test_nothing_is_allowed_of_a_miner_that_does_not_hash() -> None:
    """No share is due, so none is late."""
    rig = Rig(hashrate=1e12, hashrate_average=1e12, share_interval=30.0)
    gap = chance.begin(rig, 0.0)
    assert chance.allowed(gap, rig)
    assert chance.allowed(gap, rig._replace(hashrate=0.0)) is None


def limit_of(interval: float) -> float:
    """After how many seconds a share that is due so often is late."""
    rig = Rig(share_interval=interval, hashrate=1e14, hashrate_average=1e14)
    found = chance.allowed(chance.begin(rig, 0.0), rig)
    assert found
    return max(found.seconds, PROBLEMS["no-share"].limit or 0)


def test_the_limit_is_that_of_the_documentation() -> None:
    """A share each 10 s: 5 min; a minute: 15 min; an hour: 11 h; a day: 8 days; a year: 5 years."""
    told = {10.0: 300, MINUTE: 928, 600.0: 7904, HOUR: 40_940, DAY: 8.2 * DAY, 365.25 * DAY: 5 * 365.25 * DAY}
    for interval, limit in told.items():
        assert limit_of(interval) == pytest.approx(limit, rel=0.01)


def test_a_miner_slower_than_its_average() -> None:
    """A miner that was set to a tenth of what it did is not late by its old pace."""
    script = Script(share_interval=60.0)
    script.run(HOUR, accepted=1.0)
    script.rig["hashrate"] = 1e13
    for _ in range(8):
        assert "no-share" not in codes(script.run(10 * MINUTE, accepted=0.1))
        assert "no-share" not in codes(script.run(HOUR, accepted=0.0))


def test_what_is_told_of_the_interval_may_be_wrong() -> None:
    """Shares that come a tenth as often as told, which chi has seen, are not late."""
    script = Script(share_interval=6.0)
    script.run(HOUR, accepted=1.0)
    assert "no-share" not in codes(script.run(10 * MINUTE, accepted=0.0))
    assert "no-share" in codes(script.run(10 * MINUTE, accepted=0.0))


# --- Boards, fans, heat, power, firmware ------------------------------------------------------------


def boards(*rates: float | None, **more: Any) -> tuple[Chain, ...]:
    """Boards that hash so much."""
    return tuple(Chain(str(place), hashrate=rate, **more) for place, rate in enumerate(rates))


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"hashrate": 0.0}, "board-dead board 1"),
        ({"state": "dead"}, "board-dead board 1"),
        ({"state": "fault"}, "board-dead board 1"),
        ({"state": "missing", "hashrate": 0.0}, "board-missing board 1"),
        (None, "board-missing board 1"),
        ({"chips": 0.0, "hashrate": 0.0}, "board-without-chips board 1"),
        ({"chips": 100.0}, "board-short-of-chips board 1"),
        ({"chip_temperature": 106.0}, "too-hot board 1"),
        ({"board_temperature": 86.0}, "too-hot board 1"),
        ({"water_temperature": 66.0}, "too-hot board 1"),
        ({"state": "sleeping", "hashrate": 0.0}, ""),
    ],
)
@pytest.mark.parametrize("seen_before", [True, False])
def test_boards(changed: dict[str, Any] | None, code: str, seen_before: bool) -> None:
    """What is wrong with a board is told after 5 minutes, or at once if it was so before chi came."""
    well = boards(1e14, 1e14, 1e14, chips=110.0)
    ill = list(well)
    ill[1:2] = [] if changed is None else [well[1]._replace(**changed)]
    script = Script({"chains": well if seen_before else tuple(ill)})
    if seen_before:
        assert script.run(HOUR).problems == ()
        script.parts["chains"] = tuple(ill)
        assert script.run(4 * MINUTE).problems == ()
        verdict = script.run(3 * MINUTE)
    else:
        verdict = script.look()
        if changed is None:  # nothing tells that there ever was one
            code = ""
    assert codes(verdict) == ([code] if code else [])
    script.parts["chains"] = well
    assert script.run(7 * MINUTE).problems == ()


def test_a_board_that_dies_stays_told() -> None:
    """For a week, with pauses and a restart; the drop of the hashrate, too."""
    script = Script({"chains": boards(1e14, 1e14, 1e14)}, hashrate=3e14, hashrate_average=3e14)
    script.run(DAY)
    script.parts["chains"] = boards(1e14, 0.0, 1e14)
    script.rig["hashrate"] = 2e14
    script.run(HOUR)
    for day in range(7):
        for _ in range(20):
            assert {"board-dead board 1", "hashrate-drop"} <= set(codes(script.run(HOUR, every=5 * MINUTE)))
        script.rig["hashrate"] = 0.0
        script.parts["chains"] = boards(0.0, 0.0, 0.0)
        script.run(4 * HOUR, accepted=0.0, every=5 * MINUTE)
        assert "board-dead board 1" in codes(script.look())
        script.rig["hashrate"] = 2e14
        script.parts["chains"] = boards(1e14, 0.0, 1e14)
        if day == 3:
            script.rig.update(shares_accepted=0.0, uptime=10.0)
        script.run(2 * MINUTE)


def test_a_loss_that_only_the_whole_shows_stays_told() -> None:
    """Where no boards are told: a third less than a day ago is still that after ten days."""
    script = Script()
    script.run(DAY)
    script.rig["hashrate"] = 0.67e14
    assert script.until("hashrate-drop", HOUR) <= 45 * MINUTE
    for _ in range(10):
        (problem,) = script.run(DAY, every=5 * MINUTE).problems
        assert (problem.code, problem.level) == ("hashrate-drop", "warn")
        assert problem.value == pytest.approx(0.67, abs=0.01)
    script.rig["hashrate"] = 1e14
    assert script.run(HOUR).problems == ()


def test_a_miner_that_was_set_to_less() -> None:
    """With another power limit it is at once another miner; else after a day in which all its boards hash."""
    script = Script({"chains": boards(1e14, 1e14)}, power_limit=3000.0)
    script.run(DAY)
    script.rig.update(hashrate=0.6e14, power_limit=2000.0)
    for _ in range(60):
        assert script.run(2 * MINUTE).problems == ()
    script.rig["hashrate"] = 0.4e14
    assert "hashrate-drop" in codes(script.run(2 * HOUR))
    assert "hashrate-drop" not in codes(script.run(25 * HOUR, every=5 * MINUTE))


def test_hashrate_against_what_is_expected() -> None:
    """Told within half an hour or so; and no longer when it is back."""
    script = Script(hashrate_expected=1e14)
    assert script.run(2 * HOUR).problems == ()
    script.rig.update(hashrate=0.8e14)
    script.verdict = None
    assert script.until("low-hashrate", HOUR) <= 35 * MINUTE
    (problem,) = script.look().problems
    assert problem.sentence == "The hashrate is 80% of what is expected."
    script.rig["hashrate"] = 1e14
    assert script.run(HOUR).problems == ()


def test_noise_changes_nothing() -> None:
    """With a sigma of 12 % in the hashrate, anywhere near the limit, it is said once or never."""
    rng = random.Random(13)
    for part in (0.8, 0.85, 0.88, 0.92, 1.0):
        script = Script(hashrate_expected=1e14, hashrate_average=part * 1e14)
        changes, before = 0, None
        for _ in range(960):
            script.rig["hashrate"] = 1e14 * part * max(0.0, rng.gauss(1, 0.12))
            verdict = script.run(MINUTE)
            told = (codes(verdict), verdict.earning)
            changes += before is not None and told != before
            before = told
        assert changes <= 2, part


def test_devices_are_boards_where_no_boards_are_told() -> None:
    """Dead, or enabled and not hashing; not one that was switched off."""
    well = Device("ASC0", alive=True, enabled=True, hashrate=1e14, temperature=60.0)
    script = Script({"devices": (well, well._replace(device="ASC1"), well._replace(device="ASC2"))})
    script.run(HOUR)
    script.parts["devices"] = (
        well._replace(alive=False), well._replace(device="ASC1", hashrate=0.0),
        well._replace(device="ASC2", enabled=False, hashrate=0.0, temperature=95.0),
    )  # fmt: skip
    assert codes(script.run(6 * MINUTE)) == [
        "board-dead device ASC0", "board-dead device ASC1", "too-hot device ASC2"
    ]  # fmt: skip
    assert script.look().problems[0].sentence == "Device ASC0 does not hash."


def test_boards_that_are_not_told_for_once() -> None:
    """Are not missing, and what was wrong with them stays."""
    script = Script({"chains": boards(1e14, 1e14, 0.0)})
    script.run(HOUR)
    script.parts["chains"] = ()
    assert codes(script.run(HOUR)) == ["board-dead board 2"]
    script.parts["chains"] = (Chain("6", hashrate=1e14), Chain("7", hashrate=1e14))  # by other names
    assert script.run(HOUR).problems == ()


def test_fans() -> None:
    """One that turned and stands has stopped; a place that never turned has none, and a pause is none."""
    script = Script({"fans": (Fan("in", 5000.0), Fan("out", 5000.0), Fan("3", 0.0))})
    assert script.run(HOUR).problems == ()
    script.rig.update(hashrate=0.0, state="sleeping")
    script.parts["fans"] = (Fan("in", 0.0), Fan("out", 0.0), Fan("3", 0.0))
    assert codes(script.run(HOUR, accepted=0)) == ["sleeping"]
    script.rig.update(hashrate=1e14, state="mining")
    script.parts["fans"] = (Fan("in", 0.0), Fan("out", 5000.0), Fan("3", 0.0))
    assert script.run(2 * MINUTE).problems == ()
    (problem,) = script.run(2 * MINUTE).problems
    assert (problem.code, problem.level, problem.sentence) == ("fan-stopped", "bad", "Fan in has stopped.")
    script.parts["fans"] = (Fan("in", 5000.0), Fan("out", 5000.0), Fan("3", 0.0))
    assert script.run(3 * MINUTE).problems == ()


def test_pools() -> None:
    """All dead is bad; those of the firmware's maker, unused entries and a group's second do not count."""
    dead = tuple(Pool(name, alive=False, active=False, priority=float(name)) for name in "01")
    script = Script({"pools": dead})
    verdict = script.run(10 * MINUTE, accepted=0)
    assert verdict.earning is False
    assert codes(verdict)[0] == "no-pool"
    fee = Pool("2", alive=False, active=False, priority=2.0, vendor=True)
    used = Pool("0", alive=True, active=True, priority=1.0)
    for pools in (
        (used, fee),
        (used, Pool("1", url="", alive=False)),
        (used._replace(priority=0.0), Pool("1", alive=True, active=True, priority=1.0)),
        (Pool("0"), Pool("1", alive=None)),
        (Pool("0", alive=True, active=None, priority=5.0),),
    ):
        assert Script({"pools": pools}).run(HOUR).problems == ()


def test_power_over_its_limit() -> None:
    """With both told, after ten minutes."""
    script = Script(power=3000.0, power_limit=3000.0)
    assert script.run(HOUR).problems == ()
    script.rig["power"] = 3300.0
    assert script.run(9 * MINUTE).problems == ()
    (problem,) = script.run(3 * MINUTE).problems
    assert (problem.code, problem.value, problem.limit) == ("over-power-limit", 3300, 3000)
    assert problem.sentence == "The miner draws 3300 W, 10% more than its limit."


def test_errors_of_the_firmware() -> None:
    """Each is told at once, by its code, in one line; the number of them is bounded."""
    script = Script(errors=(RigError("111", "Fan\nlost"), RigError("200")))
    verdict = script.look()
    assert [each.sentence for each in verdict.problems] == [
        "The firmware tells error 111: Fan lost.", "The firmware tells error 200."
    ]  # fmt: skip
    assert {each.about for each in verdict.problems} == {"error 111", "error 200"}
    for number in range(50):
        script.rig["errors"] = tuple(RigError(f"{number} {each}", "x" * 1000) for each in range(1000))
        assert len(script.run(MINUTE).problems) <= MAX_PROBLEMS
    assert script.verdict
    assert len(script.verdict.marks) <= 3 * 20


def test_a_restart_that_nobody_announced() -> None:
    """Is told for an hour; one that chi did not see, by the counters that fell."""
    script = Script()
    script.run(DAY)
    script.rig.update(uptime=20.0, shares_accepted=0.0, difficulty_accepted=0.0)
    assert codes(script.run(MINUTE)) == ["restarted"]
    assert codes(script.run(58 * MINUTE)) == ["restarted"]
    assert script.run(3 * MINUTE).problems == ()
    script.run(3 * HOUR, answers=False)
    script.rig.update(uptime=HOUR, shares_accepted=300.0)
    assert codes(script.run(MINUTE)) == ["restarted"]


# --- Shape and bounds -------------------------------------------------------------------------------


def test_json() -> None:
    """What /status.json says, with times in seconds since 1970."""
    script = Script({"fans": ()}, errors=(RigError("5"),))
    script.run(MINUTE)
    assert script.verdict
    told = to_json(script.verdict, script.now, 1.8e9)
    assert json.loads(json.dumps(told, allow_nan=False)) == {
        "earning": True,
        "since": 1_800_000_000,
        "sentence": "Earning, but not all is well. The firmware tells error 5.",
        "problems": [
            {
                "code": "firmware-error", "level": "warn", "sentence": "The firmware tells error 5.",
                "about": "error 5", "value": None, "limit": None, "since": 1_799_999_940,
            }
        ],
    }  # fmt: skip


@pytest.mark.parametrize("interval", [0.0, 5e-324, 1e-300, 1e300, float("inf")])
def test_patience_with_any_interval(interval: float) -> None:
    """However often a share is said to be due, how long one may be overdue is a number."""
    assert 0 < patience(interval) < 100


@pytest.mark.parametrize(("utility", "uptime"), [(5e-324, 1.0), (0.0, 1e308), (1e-310, None)])
def test_share_interval_is_a_number(utility: float, uptime: float | None) -> None:
    """A share's interval that overflows is not told: JSON has no infinity."""
    told = share_interval(Rig(uptime=uptime, shares_accepted=1000.0), (), (), utility)
    assert told is None or math.isfinite(told)


def test_limits_of_temperatures() -> None:
    """What /history.json says in `limits` are those of the table, by fields of the model."""
    assert {name.removesuffix("_temperature"): limit for name, limit in LIMITS.items()} == {
        kind: PROBLEMS[f"too-hot/{kind}"].limit for kind in ("water", "chip", "board", "device")
    }
    assert set(LIMITS) - {"device_temperature"} <= set(Chain._fields)


def test_a_verdict_by_hand() -> None:
    """Its sentence follows from what it says."""
    problem = Problem("no-pool", "bad", "No pool answers the miner.")
    assert Verdict(False, 0.0, (problem,)).sentence == "Not earning. No pool answers the miner."
    assert to_json(Verdict(None, None), 0.0, 0.0)["since"] is None


@pytest.mark.parametrize("every", [5.0, 15.0, 60.0, 300.0])
def test_however_often_it_is_looked_at(every: float) -> None:
    """A page that asks each 5 s, or a monitor that does each 5 min, is told the same."""
    script = Script({"chains": boards(1e14, 1e14)})
    assert script.run(HOUR, every=every).problems == ()
    script.parts["chains"] = boards(1e14, 0.0)
    verdict = script.run(2 * HOUR, accepted=3.0, rejected=3.0, every=every)
    assert {*codes(verdict)} == {"board-dead board 1", "rejects"}
    assert script.run(HOUR, accepted=0.0, every=every).earning is False


def test_the_history_tells_what_is_usual() -> None:
    """A chi that has one from before knows the day."""
    history = History(60)
    for place in range(24 * 60):
        history.add(place * 60.0, Status(Rig(hashrate=1e14 if place // 60 % 3 else 0.0)))
    script = Script(history=history, hashrate=0.67e14)
    script.now = DAY
    assert script.until("hashrate-drop", HOUR) <= 45 * MINUTE


@given(st.sampled_from(FIRMWARES), st.data())
def test_nothing_raises(firmware: str, data: st.DataObject) -> None:
    """Whatever a miner sends, look after look, there is a verdict, and it is bounded and JSON."""
    verdict, now = None, 0.0
    for _ in range(4):
        now += data.draw(st.sampled_from([0.0, 1.0, 60.0, 1000.0, 1e6]))
        broken = data.draw(st.booleans())
        status = normalise(damaged(firmware, data), NOW) if broken else golden_status(firmware)
        verdict = judge(verdict, status, None, now)
        told = to_json(verdict, now, NOW)
        assert len(json.dumps(told, allow_nan=False)) < 40_000
        assert len(verdict.problems) <= MAX_PROBLEMS
        assert len({(each.code, each.about) for each in verdict.problems}) == len(verdict.problems)
        assert all("\n" not in each.sentence for each in verdict.problems)
