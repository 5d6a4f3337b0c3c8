"""Units are proven by shares: no rate is shown that is in another unit than it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chi.status.firmware import normalise
from chi.status.firmware.models import MODELS, SHARE_HASHES, find_model
from chi.status.firmware.units import PREFIXES, WINDOWS
from chi.status.model import Status, to_json

QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
ELAPSED = 100_000.0  # s
HASHES = {"sha256d": 2.0**32, "scrypt": 2.0**16}  # for a share of difficulty 1, on average
# A model of each kind that mines what shares can prove, and one that is of no table
MODEL_OF = {"sha256d": ["Antminer S19", "Antminer T9+", None], "scrypt": ["Antminer L7", "Hammer D10", None]}


def miner(
    model: str | None, algorithm: str, rate: float, shares: int, names: dict[str, float], **pool: Any
) -> Status:
    """A miner that makes `rate` hashes/s of an algorithm, and tells it so: value by name of field."""
    difficulty = rate * ELAPSED / HASHES[algorithm] / max(shares, 1)
    summary = {"Elapsed": ELAPSED, "Accepted": shares, "Difficulty Accepted": difficulty * shares, **names}
    entry = {"POOL": 0, "URL": "stratum+tcp://pool", "Status": "Alive", "Stratum Active": True,
             "Accepted": shares, "Difficulty Accepted": difficulty * shares, **pool}  # fmt: skip
    head = {"STATUS": [{"STATUS": "S", "When": 1_700_000_000, "Description": "cgminer 4.9.0"}]}
    replies: dict[str, Any] = {"summary": {**head, "SUMMARY": [summary]}, "pools": {**head, "POOLS": [entry]}}
    if model:
        replies["version"] = {**head, "VERSION": [{"CGMiner": "4.9.0", "Type": model}]}
    return normalise(replies)


def rates_of(status: Status) -> list[float]:
    """Every hashrate of the rig that is told and not 0."""
    rig = status.rig
    found = [rig.hashrate, rig.hashrate_average, *(getattr(rig, name) for name in WINDOWS)]
    return [rate for rate in found if rate]


@QUICK
@given(
    algorithm=st.sampled_from(sorted(HASHES)),
    data=st.data(),
    rate=st.floats(1e6, 1e15),
    shares=st.integers(0, 10**7),
    letter=st.sampled_from(sorted(PREFIXES)),
    wrong=st.sampled_from([1e-9, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e9]),
)
def test_no_wrong_rate(
    algorithm: str, data: st.DataObject, rate: float, shares: int, letter: str, wrong: float
) -> None:
    """From 20 shares on, whatever the name and the unit, a rate is right or not there, and chi says so."""
    model = data.draw(st.sampled_from(MODEL_OF[algorithm]))
    value = rate / PREFIXES[letter] * wrong
    assume(1e-9 < value < 1e18)
    told = miner(model, algorithm, rate, shares, {f"{letter}HS av": value, f"{letter}HS 5s": value})
    if shares < 20:
        assert told.doubts == ()
        return
    assert all(rate / 10 < each < rate * 10 for each in rates_of(told))
    if wrong == 1.0:
        assert rates_of(told)
    assert bool(told.doubts) == (not rates_of(told))


@pytest.mark.parametrize(("shares", "shown"), [(19, True), (20, False), (20_000, False)])
def test_a_contradiction_leaves_every_rate_out(shares: int, shown: bool) -> None:
    """Of the rig, its windows, its total, devices and boards; and it says so in words that stay the same."""
    names = {"GHS av": 5e5, "GHS 5s": 5e5, "GHS 1m": 5e5, "Total MH": 5e13}
    told = miner("Antminer S9", "sha256d", 5e11, shares, names)
    assert bool(rates_of(told)) is shown
    assert (told.rig.hashes is not None) is shown
    assert bool(told.doubts) is not shown
    assert told.doubts == miner("Antminer S9", "sha256d", 5e11, shares + 1, names).doubts or shown
    document = to_json(told)["rig"]
    assert (document["hashrate"] is None) is not shown
    if not shown:  # a share each 5 s, by the shares themselves
        assert told.rig.share_interval == pytest.approx(ELAPSED / shares)
    json.dumps(to_json(told), allow_nan=False)


@pytest.mark.parametrize("factor", [0.11, 0.5, 2.0, 9.9])
def test_luck_is_no_contradiction(factor: float) -> None:
    """Less than ten times is a pool's luck, a throttled miner, or hashes that no pool was there for."""
    told = miner("Antminer S9", "sha256d", 14e12, 1000, {"GHS av": 14e3 * factor})
    assert told.rig.hashrate_average == pytest.approx(14e12 * factor)


@pytest.mark.parametrize(
    ("names", "rate"),
    [
        ({"MHS av": 9500.0}, 9.5e9),
        ({"GHS av": 9.5}, 9.5e9),
        ({"GHS av": 9500.0}, 9.5e9),  # megahashes, called giga
        ({"GHS 5s": "9500.00", "GHS av": 9480.5}, 9.4805e9),
        ({"GHS av": 0.0}, 0.0),
    ],
)
@pytest.mark.parametrize("shares", [0, 5000])
def test_a_model_that_tells_either_unit(names: dict[str, Any], rate: float, shares: int) -> None:
    """An L7 or L9: by the shares where there are enough, else by what such a machine can make."""
    told = miner("Antminer L7", "scrypt", 9.5e9, shares, names)
    assert told.rig.hashrate_average == pytest.approx(rate)
    assert told.rig.algorithm == "scrypt"
    assert told.doubts == ()


@pytest.mark.parametrize(
    ("model", "algorithm", "told", "rate"),
    [
        ("Antminer L3++", "scrypt", 580.0, 580e6),
        ("Antminer D3", "x11", 17_500.0, 17.5e9),
        ("Antminer D3 Blissz v2.06 beta", "x11", 17_500.0, 17.5e9),
        ("Antminer E3", "ethash", 197.3, 197.3e6),
        ("Antminer Z9 mini", "equihash", 10.3, 10.3e3),
        ("Antminer Z11", "equihash", 135.2, 135.2e3),
        ("Antminer Z15", "equihash", 420.1, 420.1e3),
        ("Antminer B3", "tensority", 780.0, 780.0),
        ("Antminer B7", "tensority", 96.0, 96e3),
        ("Antminer X3", "cryptonight", 220.0, 220e3),
        ("Antminer A3", "blake2b", 815.0, 815e9),
        ("Antminer K5", "eaglesong", 1130.0, 1.13e12),
        ("Antminer KS3", "kheavyhash", 9400.0, 9.4e12),
        ("Antminer D7", "x11", 1286.0, 1.286e12),
        ("Antminer S19j Pro", "sha256d", 102_000.0, 102e12),
    ],
)
def test_what_a_models_ghs_are(model: str, algorithm: str, told: float, rate: float) -> None:
    """By the table of models; shares of a difficulty that nobody knows the hashes of prove nothing."""
    stats = {"STATS": 0, "GHS 5s": str(told), "GHS av": told, "chain_acn1": 3, "chain_rate1": str(told)}
    head = {"STATUS": [{"STATUS": "S", "When": 1_700_000_000, "Description": "cgminer 4.9.0"}]}
    pools = [{"POOL": 0, "URL": "stratum+tcp://pool", "Accepted": 4000, "Difficulty Accepted": 123.0,
              "Stratum Active": True, "Last Share Difficulty": 1e9}]  # fmt: skip
    found = normalise({
        "version": {**head, "VERSION": [{"CGMiner": "4.9.0", "Type": model}]},
        "summary": {**head, "SUMMARY": [{"Elapsed": 96_000}]},
        "stats": {**head, "STATS": [{"Type": model}, stats]},
        **({} if algorithm in HASHES else {"pools": {**head, "POOLS": pools}}),
    })  # fmt: skip
    assert found.rig.algorithm == algorithm
    assert found.rig.hashrate == pytest.approx(rate)
    assert found.rig.hashrate_average == pytest.approx(rate)
    assert found.chains[0].hashrate == pytest.approx(rate)
    if algorithm not in HASHES:  # a Z11 has a share each 24 s: 4000 of them in 96,000 s
        assert found.rig.share_interval == 24


def test_software_that_mines_anything() -> None:
    """What sgminer mines it says itself; where nobody says, its shares prove nothing."""
    head = {"STATUS": [{"STATUS": "S", "When": 1_700_000_000, "Description": "sgminer 5.1.1"}]}
    summary = {"Elapsed": 1000.0, "MHS av": 30.0, "Accepted": 100, "Difficulty Accepted": 1e-3}
    replies = {"summary": {**head, "SUMMARY": [summary]}, "pools": {**head, "POOLS": [{"POOL": 0}]}}
    assert normalise(replies).rig.hashrate_average == 30e6
    replies["pools"] = {**head, "POOLS": [{"POOL": 0, "Algorithm": "NeoScrypt"}]}
    assert normalise(replies).rig.algorithm == "neoscrypt"
    assert normalise(replies).rig.hashrate_average == 30e6
    replies["pools"] = {**head, "POOLS": [{"POOL": 0, "Algorithm": "ckolivas", "Algorithm Type": "Scrypt"}]}
    assert normalise(replies).rig.algorithm == "scrypt"
    assert normalise(replies).rig.hashrate_average is None  # 30 MH/s and 100 shares that took 65 hashes


def test_a_counter_below_nothing() -> None:
    """A counter of megahashes that fell below 0 says 2**64 of them, and is not told."""
    for value in (18446744073709.0, 18446744073708.55, "18446744073000.1"):
        assert miner(None, "sha256d", 1e12, 5, {"MHS av": 1e6, "Total MH": value}).rig.hashes is None
    assert miner(None, "sha256d", 1e12, 5, {"MHS av": 1e6, "Total MH": 1e11}).rig.hashes == 1e17


def test_hashes_that_are_an_average() -> None:
    """LuxOS tells its average as Total MH: not what can have been made in that time."""
    assert miner(None, "sha256d", 1e12, 5, {"MHS av": 1e6, "Total MH": 1e6}).rig.hashes is None


def test_the_table_of_models() -> None:
    """Each row is found by its own beginning, and every algorithm whose shares prove a rate is one of it."""
    assert {model.algorithm for model in MODELS} >= set(SHARE_HASHES)
    assert find_model(["AvalonMiner 1246", None, "Antminer L3+"]) is MODELS[0]
    assert find_model(["an Antminer L3", "Avalon"]) is None
