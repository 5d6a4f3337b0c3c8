"""What a status says of the rig: its time, last share, temperature and share interval."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chi.status.firmware import normalise
from chi.status.history import History
from chi.status.model import Rig, to_json
from tests.status.anything import damaged
from tests.status.golden import FIRMWARES, NOW, columns, one, replies_of

EARLY = 986  # a clock that began with the boot


def status(when: Any = 1.8e9, now: float | None = None, **sections: list[Any]) -> Rig:
    """The rig of replies of that time, each a list of its section's objects."""
    replies = {
        name: {"STATUS": [{"STATUS": "S", "When": when}], name.upper(): entries}
        for name, entries in sections.items()
    }
    return normalise(replies, now).rig


@pytest.mark.parametrize(
    ("when", "now", "expected"),
    [
        (1.8e9, None, 1.8e9),
        (1.8e9, NOW + 99, 1.8e9),
        (EARLY, NOW, NOW),
        (EARLY, None, None),
        (0, NOW, NOW),
        (None, NOW, NOW),
        (None, None, None),
        (-5, NOW, NOW),
        (math.nan, NOW, NOW),
        ("soon", NOW, NOW),
        (10**400, NOW, NOW),
    ],
)
def test_time(when: Any, now: float | None, expected: float | None) -> None:
    """By the miner's clock where it was ever set, else by the caller's."""
    assert status(when, now, summary=[{"Elapsed": 5}]).time == expected


@pytest.mark.parametrize(
    ("pools", "devs", "expected"),
    [
        ([], [], None),
        ([{"Last Share Time": 1.7e9}], [], 1.7e9),
        ([{"Last Share Time": 1.7e9}, {"Last Share Time": 1.75e9}, {}], [], 1.75e9),
        ([{"Last Share Time": 0}, {"Last Share Time": "0"}], [], None),
        ([{"Last Share Time": "0:00:09", "Accepted": 1}], [], 1.8e9 - 9),
        ([{"Last Share Time": "0:00:09", "Accepted": 0}], [], None),
        ([{"Last Share Time": 1.7e9}], [{"Last Share Time": 1.75e9, "Accepted": 2}], 1.75e9),
        ([{"Last Share Time": 1.7e9}], [{"Last Share Time": 1.6e9, "Accepted": 2}], 1.7e9),
        ([], [{"Last Share Time": 1.75e9, "Accepted": 2}, {"Accepted": 2}], 1.75e9),
        ([], [{"Last Share Time": 1.75e9, "Accepted": 0}, {"Last Share Time": 1.75e9}], None),
        ([], [{"Last Share Time": "never", "Accepted": 2}], None),
        ([{"Last Share Time": -1}, {"Last Share Time": math.nan}, {"Last Share Time": 10**400}], [], None),
    ],
)
def test_last_share(pools: list[Any], devs: list[Any], expected: float | None) -> None:
    """The newest of all pools and devices."""
    assert status(pools=pools, devs=devs).last_share == expected


def test_last_share_of_a_clock_that_was_never_set() -> None:
    """Seconds since the boot become the caller's time; without that one, nothing is known."""
    pools, devs = [{"Last Share Time": 900}], [{"Last Share Time": 975, "Accepted": 1}]
    assert status(EARLY, NOW, pools=pools, devs=devs).last_share == NOW - 11
    assert status(EARLY, None, pools=pools, devs=devs).last_share is None


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ({}, None),
        ({"devs": [{"ASC": 0, "Temperature": 61.5}, {"ASC": 1, "Temperature": 60}]}, 61.5),
        ({"devs": [{"ASC": 0, "Temperature": 0}, {"ASC": 1, "Temperature": -273}]}, None),
        ({"devs": [{"ASC": 0, "Temperature": 1e6}, {"ASC": 1, "Temperature": math.nan}]}, None),
        ({"devs": [{"ASC": 0, "Temperature": -20}]}, -20),
        ({"stats": [{"chain_acn1": 1, "temp_chip1": "70-75", "temp_pcb1": "50-80"}]}, 80),
        ({"temps": [{"ID": 6, "Board": 70, "Chip": 85}], "devs": [{"ASC": 6, "Temperature": 90}]}, 90),
        ({"temps": [{"ID": 6, "Board": 70, "Chip": 85}]}, 85),
        ({"estats": [{"MM ID0": "TMax[-273] MTmax[-273 -273] MGHS[0 0]"}]}, None),
        ({"estats": [{"MM ID0": "MTmax[70 71] MGHS[1 2]"}]}, 71),
    ],
)
def test_temperature(replies: dict[str, Any], expected: float | None) -> None:
    """The hottest of boards, chips and devices; None where no sensor tells."""
    assert one(**replies).rig.temperature == expected


def test_temperature_is_not_the_waters() -> None:
    """Cooling water has a limit of its own."""
    replies = {
        "temps": {
            "STATUS": [{"STATUS": "S"}],
            "METADATA": [{"TopLeft": {"Label": "Outlet Water"}}],
            "TEMPS": [{"ID": 0, "TopLeft": 99, "TopRight": 55}],
        }
    }
    told = normalise(replies)
    assert (told.rig.temperature, told.chains[0].water_temperature) == (55, 99)


ACTIVE = {"POOL": 0, "Stratum Active": True, "Status": "Alive", "Stratum Difficulty": 65536.0}
SPARE = {"POOL": 1, "Stratum Active": False, "Status": "Alive", "Stratum Difficulty": 1024.0}
# Hashes for a share of difficulty 65536, over 100 TH/s
AT_100_TERAHASHES = 2**48 / 1e14
FAST = {"MHS av": 1e8, "Elapsed": 1000}


@pytest.mark.parametrize(
    ("summary", "pools", "expected"),
    [
        (FAST, [ACTIVE], AT_100_TERAHASHES),
        ({**FAST, "MHS 5s": 5.0}, [ACTIVE], AT_100_TERAHASHES),  # the average counts
        ({"MHS 5s": 1e8}, [ACTIVE], AT_100_TERAHASHES),  # where there is one
        ({"MHS av": 0, "MHS 5s": 1e8}, [ACTIVE], AT_100_TERAHASHES),
        ({**FAST, "Difficulty Accepted": 1e17 / 2**32}, [ACTIVE], AT_100_TERAHASHES),
        # An L3+: 500 MH/s of scrypt for 1000 s
        ({"MHS av": 500, "Elapsed": 1000, "Difficulty Accepted": 5e11 / 2**16}, [ACTIVE], 2**32 / 5e8),
        ({"MHS av": 500, "Elapsed": 1000, "Difficulty Accepted": 2e12 / 2**16}, [ACTIVE], 2**32 / 5e8),
        (FAST, [SPARE, ACTIVE], AT_100_TERAHASHES),  # of the pool in use
        (FAST, [{**SPARE, "Stratum Difficulty": 65536}], AT_100_TERAHASHES),  # or of one that may be
        (FAST, [{"POOL": 0, "Stratum Active": True, "Work Difficulty": 65536}], AT_100_TERAHASHES),
        # No difficulty: as long as each so far has taken, if there are enough of them
        ({**FAST, "Accepted": 20}, [{"POOL": 0, "Stratum Active": True}], 50),
        ({**FAST, "Accepted": 20}, [], 50),
        ({**FAST, "Accepted": 20}, [{**ACTIVE, "Stratum Active": False, "Status": "Dead"}], 50),
        ({**FAST, "Accepted": 20}, [{**ACTIVE, "Stratum Difficulty": 0}, SPARE], 50),
        ({**FAST, "Accepted": 20}, [{**ACTIVE, "Stratum Difficulty": -1}], 50),
        ({**FAST, "Accepted": 20}, [{**ACTIVE, "Stratum Difficulty": math.nan}], 50),
        ({**FAST, "Accepted": 20}, [{**ACTIVE, "Stratum Difficulty": 10**400}], 50),
        ({"Accepted": 1000, "Elapsed": 500}, [], 0.5),
        ({**FAST, "Accepted": 19}, [], None),
        ({"Accepted": 1000}, [], None),
        ({"Accepted": 1000, "Elapsed": 0}, [], None),
        ({"Accepted": -1000, "Elapsed": 100}, [], None),
        (FAST, [], None),
        ({}, [], None),
        # No hashrate: nobody knows
        ({}, [ACTIVE], None),
        ({"MHS av": 0, "MHS 5s": 0, "Accepted": 1000, "Elapsed": 100}, [ACTIVE], None),
        ({"MHS av": -5, "Elapsed": 100}, [ACTIVE], None),
        ({"MHS av": math.nan, "MHS 5s": "x"}, [ACTIVE], None),
        ({"MHS av": 10**400}, [ACTIVE], None),
    ],
)
def test_share_interval(summary: dict[str, Any], pools: list[Any], expected: float | None) -> None:
    """Hashes for a share of the pool's difficulty over hashes/s, for SHA256d and for scrypt."""
    found = one(summary=[summary], pools=pools).rig.share_interval
    assert found == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("rate", [1e-9, 1e-40, "1e-300", "4e-320"])
@pytest.mark.parametrize("difficulty", [1e-12, 1.0, 1e18])
def test_share_interval_of_almost_no_hashrate(rate: Any, difficulty: float) -> None:
    """A number that JSON has, or none: a quotient may be infinite."""
    pool = {**ACTIVE, "Stratum Difficulty": difficulty}
    told = to_json(one(summary=[{"MHS av": rate, "Elapsed": 5}], pools=[pool]))
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize("golden", FIRMWARES)
def test_golden_statuses_are_plausible(golden: str) -> None:
    """What is made of real replies is what a person would expect of such a miner."""
    told = normalise(replies_of(golden), NOW).rig
    assert told.time is not None
    if told.shares_accepted:
        assert told.last_share is not None
        assert 0 <= told.time - told.last_share < 3600
        assert told.share_interval is not None
        assert 0.5 < told.share_interval < 60
        assert told.temperature is not None
        assert 30 < told.temperature < 120


def check_documents(replies: Any) -> None:
    """Both documents are JSON, and without NaN, whatever the replies."""
    for now in (None, NOW):
        told = normalise(replies, now)
        json.dumps(to_json(told, True), allow_nan=False)
        history = History(60)
        history.add(1.0, told)
        history.add(2.0, None)
        assert len(columns(history, 3.0, NOW)["time"]) == 2


@given(data=st.data())
@pytest.mark.parametrize("golden", FIRMWARES)
def test_documents_of_a_golden_reply_with_anything_in_it(golden: str, data: st.DataObject) -> None:
    """Whatever a field is, both documents are JSON."""
    check_documents(damaged(golden, data))


FIELDS = st.sampled_from(
    ["MHS av", "MHS 5s", "KHS av", "Elapsed", "Accepted", "Difficulty Accepted", "Stratum Difficulty",
     "Last Share Time", "Temperature", "Stratum Active", "Status", "When"]
)  # fmt: skip
EXTREMES = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([True, "Y", "Alive", "1e-300", 5e-324, 1.7e19, 1e-12, "0:0:1"]),
)
ENTRIES = st.lists(st.dictionaries(FIELDS, EXTREMES), max_size=3)


@given(summary=ENTRIES, pools=ENTRIES, devs=ENTRIES, when=EXTREMES)
def test_documents_of_extreme_figures(summary: Any, pools: Any, devs: Any, when: Any) -> None:
    """Whatever the figures that are reckoned with, what comes out is a number of JSON's or null."""
    head = {"STATUS": [{"STATUS": "S", "When": when}]}
    check_documents(
        {"summary": {**head, "SUMMARY": summary}, "pools": {"POOLS": pools}, "devs": {"DEVS": devs}}
    )
