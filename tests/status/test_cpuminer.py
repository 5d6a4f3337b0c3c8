"""What text miners tell, read from real replies (tests/data/captures-text) as they are translated.

Expected values stand in the replies themselves. Units: KHS is kH/s, POWER and PLIM mW, PING ms, FAN percent.
"""

from __future__ import annotations

from typing import Any

import pytest

from chi.miner.replies import parse_json
from chi.miner.text import translate
from chi.miner.text_requests import next_request, read_request
from chi.status import firmware
from chi.status.model import Status, to_json
from chi.status.prometheus import Own, prometheus
from tests.miner.test_text import CCMINER, MULTI, NOW, OPT, RIG, captured


def status(source: Any, **instead: bytes) -> Status:
    """The status of a miner, asked as a scrape does; `source` as in test_text, but for some replies."""
    replies: dict[str, Any] = {}
    while (request := firmware.next_request(replies)) is not None:
        plan, native = read_request({"command": request}), dict[bytes, "bytes | None"]()
        while (word := next_request(plan, native)) is not None:
            name = word.decode()
            if name in instead:
                native[word] = instead[name]
            elif isinstance(source, dict):
                native[word] = source.get(word)
            else:
                # The capture of `pool` is that of pool 0.
                native[word] = captured(source, b"pool" if word == b"pool|0" else word)
        members = firmware.members(request, parse_json(translate(plan, native, "", NOW)))
        assert members is not None
        replies.update(members)
    assert firmware.recognise(replies) == "cpuminer"
    return firmware.normalise(replies, NOW)


def told(source: Any, kind: str = "rig", **instead: bytes) -> Any:
    """What /status.json says of a kind, without what is not known."""
    found = to_json(status(source, **instead), pool_user=True)[kind]
    entries = found if isinstance(found, list) else [found]
    unknown = (None, [], {})
    known = [{key: value for key, value in entry.items() if value not in unknown} for entry in entries]
    return known if isinstance(found, list) else known[0]


RIGS = {
    CCMINER: {
        "software": "ccminer_CPU", "version": "3.7.1", "api": "1.9", "algorithm": "verus", "uptime": 12,
        "time": 1795648729, "start_time": 1795648717, "hashrate": 478350, "hashrate_average": 478350,
        "shares_accepted": 227, "shares_rejected": 56, "shares_stale": 0, "blocks_found": 283,
        "best_share": 83054.554455, "share_interval": 60 / 1135,
    },
    MULTI: {
        "software": "cpuminer-multi", "version": "1.3.7", "api": "1.1", "algorithm": "sha256d", "uptime": 39,
        "time": 1795649352, "start_time": 1795649313, "hashrate": 3149120, "hashrate_average": 3149120,
        "shares_accepted": 8, "shares_rejected": 1, "blocks_found": 0,
    },
    OPT: {
        "software": "cpuminer-opt", "version": "26.1", "api": "1.0", "algorithm": "sha256d", "uptime": 35,
        "time": 1795649042, "start_time": 1795649007, "hashrate": 1478873.76, "hashrate_average": 1478873.76,
        "shares_accepted": 2, "shares_rejected": 0, "blocks_found": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("software", RIGS)
def test_real_rigs(software: str) -> None:
    """Rates from HS, else from KHS; what is 0 for want of a sensor is not told."""
    assert told(software) == pytest.approx(RIGS[software])


def test_devices() -> None:
    """Threads are devices, in the unit of their key; a build without a GPU has none."""
    assert told(MULTI, "devices") == [{"device": "CPU0", "hashrate": 3149120}]
    assert told(OPT, "devices") == [{"device": "CPU0", "hashrate": 1478870}]
    assert told(CCMINER, "devices") == []
    for key, rate in ((b"H/s", 2.5), (b"kH/s", 2500), (b"MH/s", 2.5e6), (b"GH/s", 2.5e9)):
        assert told(OPT, "devices", threads=b"CPU=0;%b=2.50|" % key) == [{"device": "CPU0", "hashrate": rate}]


def test_a_rig_of_cards() -> None:
    """Power is summed, temperatures and fans are those that are told."""
    rig = told(RIG)
    wanted = {"power": 120.5, "power_limit": 151, "hardware_errors": 3, "temperature": 61}
    assert {name: rig[name] for name in wanted} == wanted
    assert rig["algorithm"] == "lyra2v2"
    assert rig["efficiency"] == pytest.approx(120.5 / 71234560)
    first, second = told(RIG, "devices")
    assert first == {
        "device": "GPU0", "name": "GTX 1070", "hashrate": 36e6, "temperature": 61, "hardware_errors": 3,
    }  # fmt: skip
    assert "temperature" not in second
    assert told(RIG, "fans") == [{"fan": "GPU0", "speed": 1800, "duty": 0.55}]


def test_pools() -> None:
    """The pool in use, its difficulty, ping and last share; a user only where it is asked for."""
    first, second = told(RIG, "pools")
    assert first == {
        "pool": "0", "url": "stratum+tcp://a.example.com:1", "user": "wallet", "alive": True, "active": True,
        "last_share": 1700000070, "share_difficulty": 1, "shares_accepted": 79, "shares_rejected": 2,
        "shares_stale": 1, "response_time": 0.009,
    }  # fmt: skip
    assert (second["active"], "alive" in second, "last_share" in second) == (False, False, False)
    assert told(OPT, "pools") == [
        {"pool": "0", "url": "127.0.0.1:3340", "shares_accepted": 2, "shares_rejected": 0}
    ]
    assert told(MULTI, "pools") == []
    own = Own("1", scrape_duration=0.0, commands={})
    assert "wallet" not in prometheus(status(RIG), own, False).decode()


def test_the_processor() -> None:
    """TEMP of a summary is the processor's; 0 is unknown."""
    summary = b"NAME=cpuminer;VER=2.5.0;ALGO=Scrypt;CPUS=4;KHS=10.00;ACC=1;TEMP=%b;UPTIME=9;TS=1700000100|"
    rig = told(MULTI, summary=summary % b"55.5")
    assert (rig["temperature"], rig["algorithm"]) == (55.5, "scrypt")
    assert "temperature" not in told(MULTI, summary=summary % b"0.0")


def test_limits_in_percent() -> None:
    """PLIM of some cards is a share of their own limit, and no power."""
    assert "power_limit" not in told(RIG, threads=b"GPU=0;POWER=0;PLIM=100;KHS=1.00|")
    assert "power" not in told(RIG, threads=b"GPU=0;POWER=0;PLIM=100;KHS=1.00|")
