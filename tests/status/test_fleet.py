"""What /fleet.json says: a line for each miner, and totals that add up only what belongs together."""

from __future__ import annotations

import math

import pytest

from chi.status.fleet import SPARK, Member, fleet_json, last_hour
from chi.status.history import History
from chi.status.model import Fan, Pool, Rig, Status
from chi.status.problems import Problem
from chi.status.verdict import Verdict

NOW, EPOCH = 10_000.0, 1_700_000_000.0
NO_HOUR = last_hour(History(60), NOW)


def member(name: str, error: str = "", verdict: Verdict | None = None, **rig: object) -> Member:
    """A miner with this to tell, or of which nothing is known."""
    status = Status(Rig(**rig), fans=(Fan("0", speed=4000.0), Fan("1"))) if rig else None  # type: ignore[arg-type]
    return Member(name, f"/@{name}", error, 3.21 if rig else None, status, verdict, NO_HOUR)


def verdict(earning: bool | None, *problems: Problem) -> Verdict:
    """A verdict that says so."""
    return Verdict(earning=earning, since=NOW - 60, problems=problems)


def test_nobody() -> None:
    """A fleet without miners has no totals to tell."""
    told = fleet_json([], NOW, EPOCH)
    assert told["time"] == EPOCH
    assert told["miners"] == []
    assert told["totals"] == {
        "miners": 0, "answering": 0, "earning": 0, "problems": 0, "hashrate": {}, "power": None,
        "efficiency": None, "shares_accepted_hour": None, "shares_rejected_hour": None,
    }  # fmt: skip


def test_a_miner_that_nobody_has_asked_yet() -> None:
    """Nothing is known, not even whether it is up."""
    (line,) = fleet_json([member("a")], NOW, EPOCH)["miners"]
    assert (line["name"], line["path"]) == ("a", "/@a")
    assert (line["up"], line["error"], line["age"]) == (None, None, None)
    assert line["verdict"] is None
    assert line["hashrate_hour"] == [None] * SPARK


def test_a_line() -> None:
    """What the miner told, its verdict and its error."""
    problem = Problem("no-pool", "bad", "No pool answers the miner.", since=NOW - 30)
    up = member(
        "a", verdict=verdict(False, problem), model="Antminer S9", hashrate=13.5e12, hashrate_expected=14e12,
        temperature=71.0, power=1372.0, uptime=3600.0,
    )  # fmt: skip
    down = member("b", "refused", hashrate=1.0)
    one, other = fleet_json([up, down], NOW, EPOCH)["miners"]
    assert (one["up"], one["error"], one["age"], one["model"]) == (True, None, 3.2, "Antminer S9")
    assert (one["hashrate"], one["hashrate_expected"]) == (13_500_000_000_000, 14_000_000_000_000)
    assert (one["temperature"], one["fans"], one["power"], one["uptime"]) == (71, [4000], 1372, 3600)
    assert one["verdict"]["problems"][0]["sentence"] == "No pool answers the miner."
    assert one["verdict"]["problems"][0]["since"] == EPOCH - 30
    assert (other["up"], other["error"]) == (False, "refused")


def test_totals_add_up_what_belongs_together() -> None:
    """Hashrates by algorithm; who is down adds nothing, whatever it told before."""
    members = [
        member("a", hashrate=10.0, algorithm="sha256d", power=100.0, verdict=verdict(True)),
        member("b", hashrate=20.0, algorithm="sha256d", power=300.0, verdict=verdict(None)),
        member("c", hashrate=5.0, algorithm="scrypt", verdict=verdict(False)),
        member("d", hashrate=7.0),
        member("e", "timeout", hashrate=1000.0, algorithm="sha256d", power=9.0, verdict=verdict(True)),
        member("f"),
    ]
    totals = fleet_json(members, NOW, EPOCH)["totals"]
    assert (totals["miners"], totals["answering"], totals["earning"], totals["problems"]) == (6, 4, 1, 1)
    assert totals["hashrate"] == {"scrypt": 5, "sha256d": 30, "unknown": 7}
    assert totals["power"] == 400
    assert totals["efficiency"] == pytest.approx(400 / 30)


def test_no_efficiency_of_different_things() -> None:
    """Joules for a hash of one algorithm and of another are no sum."""
    members = [
        member("a", hashrate=10.0, algorithm="sha256d", power=100.0),
        member("b", hashrate=20.0, algorithm="scrypt", power=300.0),
    ]
    assert fleet_json(members, NOW, EPOCH)["totals"]["efficiency"] is None


def test_the_pool_in_use() -> None:
    """The one that is active, else one that is alive; not one that is dead."""
    pools = (Pool("0", url="stratum+tcp://dead", alive=False, active=True), Pool("1", url="one", alive=True),
             Pool("2", url="two", alive=True, active=True))  # fmt: skip
    for known, url in ((pools, "two"), (pools[:2], "one"), (pools[:1], None), ((), None)):
        status = Status(Rig(hashrate=1.0), pools=known)
        (line,) = fleet_json([Member("a", "/@a", "", 0.0, status, None, NO_HOUR)], NOW, EPOCH)["miners"]
        assert line["pool"] == url


def test_the_last_hour() -> None:
    """Shares of the hour alone, and a plot whose right end is now, with gaps where nothing is known."""
    history = History(60)
    for second in range(0, 2 * 3600, 15):
        if not 5400 <= second < 6300:  # a quarter of an hour without an answer
            rig = Rig(hashrate=float(second), shares_accepted=second / 15.0, shares_rejected=0.0)
            history.add(float(second), Status(rig))
        else:
            history.add(float(second), None)
    now = 7199.0
    told = Member("a", "/@a", "", 0.0, Status(Rig()), None, last_hour(history, now))
    (line,) = fleet_json([told], now, EPOCH)["miners"]
    plot = line["hashrate_hour"]
    assert len(plot) == SPARK
    assert [place for place, value in enumerate(plot) if value is None] == [10, 11, 12, 13, 14]
    assert plot[0] == pytest.approx(3600 + 82.5, rel=1e-3)
    assert plot[-1] == pytest.approx(7020 + 82.5, rel=1e-3)
    assert line["shares_accepted_hour"] == 240 - 61  # the gap is nobody's, nor is what came just after it
    assert line["shares_rejected_hour"] == 0


@pytest.mark.parametrize(("age", "left"), [(0, 240), (600, 200), (3585, 1), (3600, 0), (99999, 0)])
def test_an_hour_that_has_passed(age: float, left: int) -> None:
    """What chi has not seen of late is not told, however long that is."""
    history = History(60)
    for second in range(0, 4 * 3600, 15):
        history.add(float(second), Status(Rig(hashrate=1.0)))
    found = history.hour("hashrate", 4 * 3600 - 1.0 + age)
    assert len(found) == 240
    assert [math.isnan(value) for value in found] == [False] * left + [True] * (240 - left)
