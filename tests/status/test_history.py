"""The history: samples in order, bounded, with their gaps."""

from __future__ import annotations

import itertools
import json
import sys
import tracemalloc
from typing import Any

import pytest

from chi.status.firmware import COMMANDS, normalise, recognise
from chi.status.history import NOT_SAMPLED, SAMPLED, History
from chi.status.model import Rig, Status
from tests.status.golden import FIRMWARES, NOW, columns, replies_of


def rig(**values: Any) -> Status:
    """A status with these attributes of the rig."""
    return Status(Rig(**values))


def filled(minutes: int, days: float = 2.0, pace: float = 0.9) -> History:
    """A history to which samples were added for days, as often as can be."""
    history = History(minutes)
    for number in range(int(days * 86400 / (history.interval * pace))):
        told = rig(
            hashrate=1.23456789012e14 + number, temperature=78.4375, shares_accepted=1e7 + number,
            shares_rejected=12345.0, shares_stale=123.0, power=3141.5,
        )  # fmt: skip
        history.add(number * history.interval * pace, told)
    return history


def test_an_empty_history() -> None:
    """Before the first sample there are the lists, and nothing in them."""
    told = History(60).to_json(500.0, 1.8e9 + 0.7)
    assert told == {
        "time": 1_800_000_000,
        "minutes": 60,
        "interval": 15,
        "samples": {name: [] for name in ("time", *SAMPLED)},
    }


def test_samples_are_in_order() -> None:
    """The oldest first, whole numbers as integers, times by the epoch that is given."""
    history = History(60)
    history.add(100.0, rig(hashrate=1.5, temperature=60.0, shares_accepted=1.0))
    history.add(115.2, rig(hashrate=2e14, temperature=61.5, shares_rejected=0.0, shares_stale=3.0))
    text = json.dumps(columns(history, 120.0, 1.8e9))
    assert text == (
        '{"time": [1799999980, 1799999995], "hashrate": [1.5, 200000000000000], "temperature": [60, 61.5], '
        '"shares_accepted": [1, null], "shares_rejected": [null, 0], "shares_stale": [null, 3]}'
    )


def test_a_long_history_keeps_fewer_samples() -> None:
    """Of a day each 90 s: what comes earlier is in the bins alone."""
    history = History(24 * 60)
    for then in (0.0, 15.0, 90.0):
        history.add(then, rig(hashrate=1.0))
    assert columns(history)["time"] == [0, 90]


def test_a_gap_says_nothing() -> None:
    """Without a status there is a sample, and each of its values is null."""
    history = History(60)
    for now, status in ((0.0, rig(hashrate=1.0)), (15.0, None), (30.0, rig(hashrate=3.0))):
        history.add(now, status)
    found = columns(history)
    assert found["time"] == [0, 15, 30]
    assert found["hashrate"] == [1, None, 3]
    assert all(values == [None] * 3 for name, values in found.items() if name not in ("time", "hashrate"))


def test_what_is_sampled_is_an_attribute_of_the_rig() -> None:
    """And each that is sampled is told by a command that a sample asks for."""
    assert set(SAMPLED) <= set(Rig._fields)
    assert {name for names in COMMANDS.values() for name in names} > NOT_SAMPLED
    for golden in FIRMWARES:
        replies = replies_of(golden)
        some = {name: reply for name, reply in replies.items() if name not in NOT_SAMPLED}
        whole, part = normalise(replies, NOW).rig, normalise(some, NOW).rig
        assert [getattr(part, name) for name in SAMPLED] == [getattr(whole, name) for name in SAMPLED]
        assert recognise(some) == recognise(replies)


@pytest.mark.parametrize("gap", [0.0, 13.5, 15.0, 59.9, 1000.0])
def test_old_samples_go(gap: float) -> None:
    """What is older than the minutes is dropped with the next sample; what is just as old stays."""
    history = History(1)
    for now in (0.0, 30.0, 60.0):
        history.add(now, rig(hashrate=now))
    assert columns(history)["hashrate"] == [0, 30, 60]
    history.add(60.0 + gap, rig(hashrate=1.0))
    kept = [value for value in (0, 30, 60) if value >= gap]
    assert columns(history)["hashrate"] == [*kept, 1]


@pytest.mark.parametrize(
    ("minutes", "interval"), [(1, 15), (60, 15), (240, 15), (241, 15.0625), (480, 30), (1440, 90)]
)
def test_interval(minutes: int, interval: float) -> None:
    """15 s up to 240 minutes, then so long that there are 960 samples."""
    history = History(minutes)
    assert history.interval == interval
    assert json.dumps(history.to_json(0, 0)["interval"]) == json.dumps(interval)


@pytest.mark.parametrize("minutes", [1, 60, 240, 241, 1440])
def test_samples_are_bounded(minutes: int) -> None:
    """After days there are no more than the minutes have room for, however close they come."""
    history = filled(minutes)
    found = columns(history)["time"]
    assert len(found) == int(minutes * 60 / (history.interval * 0.9)) + 1
    assert len(found) <= 1067
    assert found == sorted(found)


@pytest.mark.parametrize("minutes", [60, 1440])
def test_memory(minutes: int) -> None:
    """Less than 80 KB with the 24 hours; the arrays hold no room for what is gone."""
    tracemalloc.start()
    try:
        history = filled(minutes, days=1.1)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now < 80_000
    assert peak < 120_000
    arrays = [history._times, *history._columns.values()]
    assert sum(map(sys.getsizeof, arrays)) < 60_000
    assert all(sys.getsizeof(array) < 12 * len(array) + 500 for array in arrays)


@pytest.mark.parametrize(("minutes", "most"), [(60, 20_000), (1440, 80_000)])
def test_size_of_the_json(minutes: int, most: int) -> None:
    """A phone can take it with each sample."""
    assert len(json.dumps(filled(minutes).to_json(1e6, 1.8e9), separators=(",", ":"))) < most


def test_a_clock_that_jumps() -> None:
    """Times follow the clock that is right when they are read: a device has none when it boots."""
    history = History(60)
    history.add(10.0, rig(hashrate=1.0))
    assert columns(history, 20.0, 86.0)["time"] == [76]
    history.add(25.0, rig(hashrate=1.0))
    assert columns(history, 30.0, 1.8e9)["time"] == [1_799_999_980, 1_799_999_995]
    assert columns(history, 30.0, 5.0)["time"] == [-15, 0]


# --- Ranges ---------------------------------------------------------------------------------------


def spans(history: History, span: str, now: float, epoch: float = 0.0) -> dict[str, Any]:
    """What a range has; AssertionError if its lists are not of one length."""
    told: dict[str, Any] = json.loads(json.dumps(history.to_json(now, epoch, span), allow_nan=False))
    assert list(told) == ["time", "minutes", "interval", "range", "limits", "samples"]
    assert list(told["samples"]) == ["time", *SAMPLED, "power"]
    assert len({len(values) for values in told["samples"].values()}) == 1
    return told


@pytest.mark.parametrize(
    ("span", "minutes", "interval"), [("1h", 60, 15), ("6h", 360, 60), ("24h", 1440, 300)]
)
def test_a_range_is_told_whole(span: str, minutes: int, interval: int) -> None:
    """After two days, as many bins as it has room for; the newest ends at most one interval ago."""
    now = 2 * 86_400.0
    told = spans(filled(60, pace=1.0), span, now, 1.8e9)
    assert (told["minutes"], told["interval"], told["range"]) == (minutes, interval, span)
    times = told["samples"]["time"]
    assert minutes * 60 / interval - 2 <= len(times) <= minutes * 60 / interval
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {interval}
    assert 1.8e9 - minutes * 60 <= times[0]
    assert 1.8e9 - 2 * interval <= times[-1] <= 1.8e9


def test_bins_have_means_and_counts() -> None:
    """Hashrate, temperature and power on average, and the shares that were counted in each."""
    history = History(60)
    for place in range(8):  # 15 s each, from 600 s on
        history.add(
            600.0 + place * 15,
            rig(hashrate=1e12 + place * 1e12, temperature=60.0 + place, shares_accepted=1000.0 + 2 * place,
                shares_rejected=5.0, shares_stale=None, power=3000.0 if place % 4 == 0 else None),
        )  # fmt: skip
    found = spans(history, "6h", 700.0, 700.0)["samples"]
    assert found["time"] == [600, 660]
    assert found["hashrate"] == [2.5e12, 6.5e12]
    assert found["temperature"] == [61.5, 65.5]
    assert found["power"] == [3000, 3000]
    assert found["shares_accepted"] == [6, 8]  # of the first sample it is not known since when
    assert found["shares_rejected"] == [0, 0]
    assert found["shares_stale"] == [None, None]
    fine = spans(history, "1h", 700.0, 700.0)["samples"]
    assert fine["shares_accepted"] == [None, 2, 2, 2, 2, 2, 2, 2]
    assert fine["power"] == [3000] * 8  # not each sample asks for it


def test_gaps_of_a_range() -> None:
    """Silence is null; what was counted meanwhile is in no shorter bin, nor what fell with a restart."""
    history = History(60)
    for now, accepted in ((0.0, 10.0), (15.0, 12.0), (30.0, None), (300.0, 80.0), (315.0, 3.0), (330.0, 4.0)):
        history.add(now, rig(hashrate=1.0, shares_accepted=accepted) if accepted is not None else None)
    fine = spans(history, "1h", 330.0, 330.0)["samples"]
    assert fine["time"] == list(range(0, 345, 15))
    assert fine["hashrate"] == [1, 1, *[None] * 18, 1, 1, 1]
    assert fine["shares_accepted"] == [None, 2, *[None] * 20, 1]
    assert spans(history, "24h", 330.0, 330.0)["samples"]["shares_accepted"] == [2, 69]


def test_old_bins_are_not_told() -> None:
    """Also if no sample came since."""
    history = filled(60, days=0.1, pace=1.0)
    assert spans(history, "1h", 86_400.0 * 30)["samples"]["time"] == []
    assert spans(History(60), "24h", 5.0)["samples"]["time"] == []


def test_what_is_usual() -> None:
    """The median of the day's hashing, if that is an hour at least."""
    history = History(60)
    for place in range(11 * 5):
        history.add(place * 60.0, rig(hashrate=1e14))
    assert history.usual() is None
    for place in range(11 * 5, 20 * 60):
        history.add(place * 60.0, rig(hashrate=1e14 if place < 600 else 0.0))
    assert history.usual() == pytest.approx(1e14, rel=1e-6)
