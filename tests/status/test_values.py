"""Readers: whatever stands in a field is a number in base units, a text, a time, or nothing."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest

from chi.status.firmware import normalise
from chi.status.model import Pool, to_json
from chi.status.prometheus import prometheus
from chi.status.values import event_time, number, text
from tests.status.golden import NOW, one, own

# --- Values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5), (5.5, 5.5), ("5", 5), ("  5.0000", 5), (" -1.5e3 ", -1500), ("15679.6", 15679.6), ("5.", 5),
        (None, None), (True, None), ("", None), ("nan", None), ("inf", None), ("1_0", None), ("0x10", None),
        ("٣", None), ("5 GH/s", None), (math.nan, None), (math.inf, None), (-math.inf, None), (10**400, None),
        (2**64 - 1, None), ("1e999", None), ("9" * 5000, None), ([5], None), ({"a": 5}, None), (0, 0),
    ],
)  # fmt: skip
def test_numbers(value: Any, expected: float | None) -> None:
    """Numbers come as such and as text; what is none is not there."""
    assert number(value) == expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [("KHS 5s", 3, 3e3), ("MHS 5s", "2.5", 2.5e6), ("GHS 5s", " 13815.68", 13_815_680_000_000),
     ("THS 5s", 1.5, 1.5e12), ("PHS 5s", 2, 2e15), ("MHS 1s", 1, 1e6), ("MHS 20s", 1, 1e6),
     ("MHS 5s", -1, None), ("MHS 5s", "", None), ("HS 5s", 5, None), ("MHS 5m", 5, 5e6),
     ("MHS av", 5, 5e6), ("HS RT", 5, 5e6),
     ("MHS rolling", 5, None)],
)  # fmt: skip
def test_hashrate_units(field: str, value: Any, expected: float | None) -> None:
    """The unit and the seconds are in the field's name."""
    assert one(summary=[{field: value}]).rig.hashrate == expected


def test_the_best_of_several_hashrates() -> None:
    """5 s before other times, MHS before the coarser KHS, and what can be read before what cannot."""
    assert one(summary=[{"MHS 1s": 1, "MHS 5s": 2, "KHS 5s": 3}]).rig.hashrate == 2e6
    assert one(summary=[{"MHS 30s": 1, "MHS 20s": 2}]).rig.hashrate == 2e6
    assert one(summary=[{"MHS 5s": None, "KHS 5s": 3}]).rig.hashrate == 3e3


def test_averages_and_totals_in_any_unit() -> None:
    """GHS av, KHS av; Total MH, Total GH."""
    assert one(summary=[{"GHS av": "1.5", "Total MH": 2}]).rig.hashrate_average == 1.5e9
    assert one(summary=[{"KHS av": 4}]).rig.hashrate_average == 4e3
    assert one(summary=[{"Total GH": 2}]).rig.hashes == 2e9


def test_a_rate_only_in_stats() -> None:
    """Where summary has no hashrate, Bitmain's stats have."""
    told = one(summary=[{"Elapsed": 5}], stats=[{"Type": "Antminer X"}, {"GHS 5s": "7", "GHS av": 6}])
    assert (told.rig.hashrate, told.rig.hashrate_average, told.rig.model) == (7e9, 6e9, "Antminer X")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(63.5, 63.5), ("63", 63), (-10, -10), (0, None), (-273, None), (1000, None), ("nan", None)],
)
def test_temperatures(value: Any, expected: float | None) -> None:
    """0 and -273 are what firmwares put where there is no sensor."""
    assert one(devs=[{"ASC": 0, "Temperature": value}]).devices[0].temperature == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("45-47-60-62", 62), ("NaN-NaN-NaN-NaN", None), ("58.25-59-61.75", 61.75), ("0-0-0-0", None), (55, 55)],
)
def test_several_sensors_in_one_field(value: Any, expected: float | None) -> None:
    """The hottest counts."""
    chains = one(stats=[{"chain_acn1": 63, "temp_chip1": value}]).chains
    assert chains[0].chip_temperature == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("  a\nb\x00 ", "a b"), ("", None), ("  ", None), (None, None), (True, None), (3.7, "3.7"),
     (math.nan, None), ([], None), ("\ud800", "?"), ("x" * 999, "x" * 200), ('q"\\', 'q"\\')],
)  # fmt: skip
def test_texts(value: Any, expected: str | None) -> None:
    """Labels are printable, of one line and bounded."""
    assert text(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), (False, False), ("Y", True), ("false", False), (" True ", True), (1, True), (0.0, False),
     (2, None), ("maybe", None), (None, None)],
)  # fmt: skip
def test_flags(value: Any, expected: bool | None) -> None:
    """Yes and no come in many words; any other says nothing."""
    assert one(pools=[{"POOL": 0, "Stratum Active": value}]).pools[0].active is expected


def test_labels_are_escaped() -> None:
    """Quotes and backslashes in a label stay one label."""
    text = prometheus(one(pools=[{"POOL": 0, "URL": 'a"b\\c'}]), own()).decode()
    assert 'cgminer_pool_info{pool="0",url="a\\"b\\\\c"} 1\n' in text


def test_whole_and_large_numbers() -> None:
    """Whole numbers have no fraction, large ones an exponent; so too in the JSON."""
    told = to_json(one(summary=[{"Accepted": "5.0000", "Total MH": 1e14, "Best Share": 1.5}]))["rig"]
    assert json.dumps([told["shares_accepted"], told["hashes"], told["best_share"]]) == "[5, 1e+20, 1.5]"


# --- Time ---------------------------------------------------------------------------------------


def pool_with(last: Any, when: Any, now: float | None, accepted: Any = 1) -> Pool:
    """A pool with this Last Share Time, in a reply of that time."""
    pool = {"POOL": 0, "Last Share Time": last, "Accepted": accepted}
    return normalise({"pools": {"STATUS": [{"When": when}], "POOLS": [pool]}}, now).pools[0]


@pytest.mark.parametrize(
    ("last", "when", "now", "expected"),
    [
        (1.7e9, 1.8e9, None, 1.7e9),
        (0, 1.8e9, None, None),
        ("0", 1.8e9, None, None),
        (975, 986, NOW, NOW - 11),  # Avalon, with a clock that was never set
        (975, 986, None, None),
        (975, None, NOW, None),
        (975, 1.8e9, NOW, None),
        (987, 986, NOW, None),
        ("0:00:05", 1.8e9, None, 1.8e9 - 5),
        ("26:01:05", 1.8e9, None, 1.8e9 - 93665),
        ("0:00:05", None, NOW, NOW - 5),
        ("0:00:05", None, None, None),
        ("never", 1.8e9, None, None),
    ],
)
def test_last_share(last: Any, when: Any, now: float | None, expected: float | None) -> None:
    """Epoch seconds, seconds since boot, or so long ago; 0 is never."""
    assert pool_with(last, when, now).last_share == expected


def test_no_share_yet() -> None:
    """LuxOS tells the time of its start for a pool that never got a share."""
    assert pool_with("00:57:33", 1.8e9, None, accepted=0).last_share is None


@pytest.mark.parametrize(
    ("when", "now", "start"), [(1.8e9, 5e9, 1.8e9 - 60), (986, NOW, NOW - 60), (None, None, None)]
)
def test_start_time(when: Any, now: float | None, start: float | None) -> None:
    """By the miner's clock where it is set, else by the caller's, else not known."""
    replies = {"summary": {"STATUS": [{"When": when}], "SUMMARY": [{"Elapsed": 60}]}}
    assert normalise(replies, now).rig.start_time == start


@pytest.mark.parametrize(
    "told",
    ["1970-01-01T00:00:00Z", "2025-10-12T03:33:14Z", "2024-02-29 23:59:59", "2000-03-01T12:00:00.250Z"],
)
def test_time_of_an_event(told: str) -> None:
    """As ISO 8601 has it, in UTC."""
    expected = datetime.fromisoformat(told.replace("Z", "")).replace(tzinfo=UTC, microsecond=0)
    assert event_time(told) == expected.timestamp()
    assert event_time(1.7e9) == 1.7e9
    assert event_time("yesterday") is None
