"""What monitors read: one status from any firmware's replies, as Prometheus text and as JSON."""

from __future__ import annotations

import dataclasses
import json
import types
from typing import Any

import pytest

from chi.status.model import STATES, Chain, Pool, Rig, RigError, Status, to_json
from chi.status.prometheus import (
    MINER_FAMILIES,
    OWN_FAMILIES,
    VERDICT_FAMILIES,
    Family,
    Own,
    prometheus,
)
from chi.status.values import succeeded
from tests.status.golden import FIRMWARES, GOLDEN, VENDORS, one, own, parse, replies_of, status

SECRETS = ("wallet", "worker", "letmein")

# --- Golden files -------------------------------------------------------------------------------


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_metrics_of_each_firmware(firmware: str) -> None:
    """Each firmware's replies give exactly the text that was checked by eye."""
    replies = replies_of(firmware)
    success = {command: succeeded(reply) for command, reply in replies.items()}
    exposition = prometheus(status(firmware), Own("0.0.0", commands=success))
    assert exposition == (GOLDEN / firmware / "expected.metrics").read_bytes()


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_json_of_each_firmware(firmware: str) -> None:
    """And exactly the JSON."""
    expected = (GOLDEN / firmware / "expected.json").read_text()
    assert json.dumps(to_json(status(firmware)), indent=1) + "\n" == expected


# What Prometheus works out of its samples, as it stamps each with the time.
JSON_ALONE = {"uptime", "time"}


def told_of(family: Family, value: Any) -> dict[str, float]:
    """Further labels and values of an attribute of the JSON that is no number."""
    if family.name == "cgminer_state":
        return {f'state="{state}"': float(state == value) for state in STATES}
    if family.name == "cgminer_chain_state":
        return {f'state="{value}"': 1.0}
    if family.name == "cgminer_error":
        return {f'code="{error["code"]}",text="{error["text"] or ""}"': 1.0 for error in value}
    assert family.name == "cgminer_pool_rejected_reason_total"
    return {f'reason="{reason}"': float(count) for reason, count in value.items()}


@pytest.mark.parametrize("model", [*FIRMWARES, *VENDORS])
def test_json_says_what_metrics_say(model: str) -> None:
    """Every sample is in the JSON, and everything in the JSON but JSON_ALONE is a sample or a label."""
    samples = parse(prometheus(status(model), own()))
    told = to_json(status(model))
    expected = {}
    for family in MINER_FAMILIES:
        for record in [told["rig"]] if family.kind == "rig" else told[f"{family.kind}s"]:
            key = f'{family.kind}="{record[family.kind]}"' if family.kind != "rig" else ""
            if family.info:
                labels = ",".join(f'{name}="{record[name] or ""}"' for name in family.info)
                expected[family.name, f"{key},{labels}" if key else labels] = 1.0
            for attribute, further in family.values:
                if record[attribute] is not None:
                    told_so = record[attribute]
                    found = told_of(family, told_so) if family.each else {further: told_so}
                    for labels, value in found.items():
                        expected[family.name, ",".join(filter(None, (key, labels)))] = float(value)
    of_miner = {family.name for family in MINER_FAMILIES}
    assert {key: value for key, value in samples.items() if key[0] in of_miner} == expected
    used = {(family.kind, name) for family in MINER_FAMILIES
            for name in (*family.info, *(attribute for attribute, _ in family.values))}  # fmt: skip
    for kind, records in ((kind, told[kind]) for kind in ("pools", "devices", "chains", "fans")):
        for record in records:
            assert {(kind[:-1], name) for name in record} - used == {(kind[:-1], kind[:-1])}
    assert {("rig", name) for name in told["rig"]} - used == {("rig", name) for name in JSON_ALONE}


# Of these there is no recorded reply: other tests have made-up ones.
NOT_RECORDED = {"cgminer_error", "cgminer_chain_state", "cgminer_pool_rejected_reason_total"}


def test_every_family_is_in_some_golden_file() -> None:
    """No family is there that no firmware fills."""
    names = {name for model in (*FIRMWARES, *VENDORS) for name, _ in parse(prometheus(status(model), own(
        commands={"summary": True})))}  # fmt: skip
    assert names == {"cgminer_up", *(family.name for family in MINER_FAMILIES),
                     *(name for name, *_ in OWN_FAMILIES)} - NOT_RECORDED  # fmt: skip


def test_states_errors_and_reasons() -> None:
    """A state is a series of its own, errors are bounded, and all are escaped."""
    many = tuple(RigError(f"{number}", 'a"b') for number in range(30))
    rig = Rig(state="sleeping", errors=(*many[:1], *many))
    pools = (Pool("0", rejected_reasons={"low difficulty": 3.0}),)
    told = Status(rig, pools, chains=(Chain("1", state="dead"),))
    samples = parse(prometheus(told, own()))
    states = {labels: value for (name, labels), value in samples.items() if name == "cgminer_state"}
    assert states == {f'state="{state}"': float(state == "sleeping") for state in STATES}
    assert samples["cgminer_error", r'code="0",text="a\"b"'] == 1
    assert len([name for name, _ in samples if name == "cgminer_error"]) == 20
    assert samples["cgminer_chain_state", 'chain="1",state="dead"'] == 1
    assert samples["cgminer_pool_rejected_reason_total", 'pool="0",reason="low difficulty"'] == 3
    assert to_json(told)["rig"]["errors"][0] == {"code": "0", "text": 'a"b', "since": None}
    assert to_json(told)["pools"][0]["rejected_reasons"] == {"low difficulty": 3}


@dataclasses.dataclass(frozen=True)
class Judged:
    """A verdict, as far as it is told."""

    earning: bool | None
    problems: tuple[Any, ...] = ()


def test_a_verdict() -> None:
    """Whether it earns, if that is known, and what is wrong: each once, and no more than fifty."""
    problem = types.SimpleNamespace(code="too-hot", about="board 1")
    others = [types.SimpleNamespace(code="fan-stopped", about=f"fan {number}") for number in range(60)]
    samples = parse(prometheus(None, own(), verdict=Judged(False, (problem, problem, *others))))
    assert samples["cgminer_earning", ""] == 0
    assert samples["cgminer_problem", 'code="too-hot",about="board 1"'] == 1
    assert len([name for name, _ in samples if name == "cgminer_problem"]) == 50
    names = {name for name, _ in parse(prometheus(status("luxos"), own(), verdict=Judged(None)))}
    assert not names & set(VERDICT_FAMILIES)


def test_a_miner_that_is_down_has_no_series() -> None:
    """Without a status: cgminer_up 0, chi's own, and nothing of the miner's."""
    samples = parse(prometheus(None, own(commands={"summary": False})))
    assert samples["cgminer_up", ""] == 0
    assert samples["cgminer_command_success", 'command="summary"'] == 0
    assert samples["chi_http_requests_total", 'code="502"'] == 1
    names = {name for name, _ in samples if name.startswith("cgminer_")}
    assert names == {"cgminer_up", "cgminer_command_success", "cgminer_scrape_duration_seconds"}


def test_what_the_system_does_not_tell_is_left_out() -> None:
    """On a system without /proc there is no process family, and no zero either."""
    names = {name for name, _ in parse(prometheus(None, Own("1.0")))}
    counters = {"chi_miner_requests_total", "chi_coalesced_requests_total"}
    assert names == {"cgminer_up", "chi_build_info", *counters}


# --- Secrets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_no_secret(firmware: str) -> None:
    """Users and passwords of pools are in no output, unless asked for."""
    told = status(firmware)
    outputs = prometheus(told, own()).decode() + json.dumps(to_json(told)) + repr(told)
    assert not [secret for secret in SECRETS if secret in outputs]


def test_pool_user_on_request() -> None:
    """Asked for, the user is a label of cgminer_pool_info only, and a member in the JSON."""
    told = status("bitmain-s9")
    text = prometheus(told, own(), pool_user=True).decode()
    assert 'url="stratum+tcp://pool.example.com:3333",user="wallet.worker1"} 1\n' in text
    assert text.count("wallet") == 1
    assert to_json(told, pool_user=True)["pools"][0]["user"] == "wallet.worker1"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("stratum+tcp://wallet.worker:letmein@pool.example.com:3333", "stratum+tcp://pool.example.com:3333"),
        ("stratum+tcp://wal@let:letmein@pool.example.com", "stratum+tcp://pool.example.com"),
        ("wallet:letmein@pool.example.com:3333", "pool.example.com:3333"),
        ("http://pool.example.com/a@b", "http://pool.example.com/a@b"),
        ("", None),
    ],
)
def test_credentials_in_a_url_are_not_shown(url: str, shown: str | None) -> None:
    """A URL may have user and password in it."""
    assert one(pools=[{"POOL": 0, "URL": url}]).pools[0].url == shown
