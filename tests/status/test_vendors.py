"""Recorded replies of models that tell things in places or units of their own, beside what is right.

Each model's folder has the replies and expected.txt, which says in words what they mean; every figure here
stands there.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from chi.status.model import to_json
from tests.status.golden import RECORDED, VENDORS, status

T, G, M = 10**12, 10**9, 10**6
RIGHT: dict[str, dict[str, Any]] = {
    "antminer-e3": {
        "rig.hashrate": 197.3 * M, "rig.algorithm": "ethash", "count.chains": 3,
        "chains.frequency": [1600 * M] * 3,
    },
    "antminer-l3plus": {
        "rig.hashrate": 504.56 * M, "rig.hashrate_average": 500.28 * M, "rig.algorithm": "scrypt",
        "chains.hashrate": [126.12 * M, 125.79 * M, 126.06 * M, 126.59 * M], "rig.share_interval": 8.5,
        "pools.pool": ["0"],
    },
    "avalon-1047": {"rig.power": None, "chains.frequency": [661.56 * M] * 2},
    "avalon-1246": {
        "rig.power": 3504, "count.chains": 3, "chains.frequency": [502.41 * M] * 3, "chains.chips": [120] * 3,
        "rig.environment_temperature": 30, "rig.hashrate": 81072.68 * G, "rig.hashrate_average": 79656.63 * G,
    },
    "avalon-7xx-two-controllers": {
        "count.chains": 10, "count.fans": 10, "chains.hashrate[0]": 6836.48 * G,
        "chains.frequency[0]": 606.93 * M,
        "chains.chip_temperature": [89, 80, 92, 87, 88, 84, 89, 87, 90, 78],
    },
    "avalon-8xx": {"chains.chip_temperature": [84, 85, 83], "fans.speed": [5730, 5850, 5610]},
    "avalon-q": {
        "count.chains": 1, "fans.speed": [0, 0, 0, 0], "rig.power": 146, "chains.frequency": [282.86 * M],
        "chains.chips": [160], "rig.state": "sleeping", "rig.hashrate": 0,
    },
    "blackminer-f1": {"rig.shares_accepted": 24708, "rig.shares_rejected": 0, "rig.shares_stale": 506},
    "blackminer-f1-ultra": {
        "chains.chip_temperature": [69.64, 71.73], "rig.temperature": 71.73, "rig.shares_accepted": 10921,
        "rig.shares_rejected": 12,
    },
    "bosminer-s9-fans": {"fans.fan": ["0", "1"], "fans.speed": [2820, 3780]},
    "bw-l21": {"devices.temperature": [34, 34, 34, 34]},
    "innosilicon-a9": {
        "rig.hashrate_average": 51274.6, "count.chains": 3, "chains.chips": [12, 12, 12],
        "chains.board_temperature": [62, 64, 60], "rig.temperature": 72, "count.fans": 0,
    },
    "innosilicon-a9-old": {
        "count.pools": 2, "pools.alive": [True, True], "pools.shares_accepted": [2113, 3],
        "pools.shares_rejected": [27, 2], "pools.shares_stale": [1, 1], "chains.chips": [12, 12, 12],
        "chains.board_temperature": [47, 48, 45],
    },
    "luxos-s19kpro": {
        "chains.chain": ["0", "1", "2"], "chains.chips": [77, 77, 77], "chains.frequency": [300 * M] * 3,
    },
    "sealminer-a2": {
        "chains.chips": [153, 153, 153], "chains.frequency[0]": 349 * M, "chains.hashrate[0]": 73905832 * M,
        "fans.speed": [3723, 3723, 3753, 3723], "rig.power": 3504, "rig.power_limit": 3500, "rig.model": "A2",
        "rig.temperature": 70, "rig.state": "mining",
    },
    "vnish-s17plus": {
        "rig.power": 2991, "pools.pool": ["0", "3", "4"], "pools.vendor": [False, True, True],
        "rig.state": "mining", "chains.voltage": [19.3] * 3, "rig.hashrate_expected": 79968 * G,
    },
    "volcminer-d1": {
        "fans.speed": [5640, 5640, 5640, 5640], "chains.chain": ["1", "2", "4"], "chains.chips": [105] * 3,
        "chains.hashrate": [5.05 * G, 5.30 * G, 5.31 * G], "chains.frequency": [1900 * M] * 3,
    },
    "whatsminer-asleep": {"rig.state": "sleeping", "rig.hashrate": 0},
    "whatsminer-v2-hs-rt": {
        "rig.hashrate": 124.5 * T, "rig.hashrate_average": 125 * T, "chains.hashrate[0]": 41.5 * T,
    },
}  # fmt: skip
# Figures that are not in expected.txt: what follows from it, or what the replies themselves say plainly.
ELSEWHERE = {
    "avalon-q": {"rig.state", "rig.hashrate"}, "innosilicon-a9": {"rig.temperature", "count.fans"},
    "antminer-e3": {"rig.algorithm"}, "antminer-l3plus": {"rig.algorithm", "pools.pool"},
    "vnish-s17plus": {"pools.pool", "pools.vendor", "chains.voltage"},
    "whatsminer-asleep": {"rig.hashrate", "rig.state"},
    "innosilicon-a9-old": {"pools.alive"}, "sealminer-a2": {"rig.state"},
    "whatsminer-v2-hs-rt": {"chains.hashrate[0]"}, "luxos-s19kpro": {"chains.chain"},
    "avalon-1047": {"rig.power"},
}  # fmt: skip


def found(told: dict[str, Any], where: str) -> Any:
    """What the JSON says at a place: rig.power, chains.chips of all boards, chains.chips[0], count.chains."""
    kind, name = where.split(".")
    if kind == "rig":
        return told["rig"][name]
    if kind == "count":
        return len(told[name])
    values = [record[name.partition("[")[0]] for record in told[kind]]
    return values[0] if name.endswith("[0]") else values


def test_every_model_has_right_values() -> None:
    """No folder is there that nothing is known of."""
    assert sorted(RIGHT) == VENDORS


@pytest.mark.parametrize("model", VENDORS)
def test_recorded_replies(model: str) -> None:
    """What chi makes of a model's replies is what expected.txt says."""
    told = to_json(status(model))
    for where, right in RIGHT[model].items():
        # "about 8.5 s"; and VolcMiner's boards are rounded in the text.
        loose = where == "rig.share_interval" or model == "volcminer-d1"
        values = right if isinstance(right, list) else [right]
        numbers = all(isinstance(value, (int, float)) for value in values)
        expected = pytest.approx(right, rel=0.02 if loose else 1e-9) if numbers else right
        assert found(told, where) == expected, where
    assert status(model).doubts == ()


@pytest.mark.parametrize("model", VENDORS)
def test_right_values_are_those_of_the_text(model: str) -> None:
    """Each figure stands in expected.txt: its digits, whatever the unit."""
    text = (RECORDED / model / "expected.txt").read_text(encoding="utf-8").lower()
    figures = re.sub(r"(?<=[0-9])[.](?=[0-9])", "", text)
    for where, right in RIGHT[model].items():
        if where not in ELSEWHERE.get(model, ()) and not where.startswith("count."):
            for value in right if isinstance(right, list) else [right]:
                assert digits(value) in figures, (where, value)


def digits(value: Any) -> str:
    """The digits of a number, without its point and the zeros at its ends; a word as it is."""
    if isinstance(value, (str, bool)):
        return str(value).lower()
    return f"{value:.10g}".partition("e")[0].replace(".", "").strip("0")
