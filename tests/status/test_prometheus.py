"""What monitors read: one status from any firmware's replies, as Prometheus text and as JSON."""

from __future__ import annotations

import json

import pytest

from chi.status.model import to_json
from chi.status.prometheus import MINER_FAMILIES, OWN_FAMILIES, Own, prometheus
from chi.status.values import succeeded
from tests.status.golden import FIRMWARES, GOLDEN, one, own, parse, replies_of, status

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


# What Prometheus works out of its samples: it stamps each with the time, has max() of sensors and pools, and
# divides. The page and others that read one status have it done for them.
JSON_ALONE = {"uptime", "time", "last_share", "share_interval", "temperature"}
# Fields that no firmware's file fills yet
UNFILLED = {
    "rig": {"firmware", "host_name", "algorithm", "state", "hashrate_1m", "hashrate_5m", "hashrate_15m",
            "hashrate_24h", "hashrate_expected", "power_limit", "efficiency", "environment_temperature",
            "errors"},
    "pool": {"vendor", "rejected_reasons", "response_time"}, "device": set(),
    "chain": {"state", "hashrate_expected", "voltage", "chips_expected"}, "fan": {"duty"},
}  # fmt: skip


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_json_says_what_metrics_say(firmware: str) -> None:
    """Every sample is in the JSON, and everything in the JSON but JSON_ALONE is a sample or a label."""
    samples = parse(prometheus(status(firmware), own()))
    told = to_json(status(firmware))
    expected = {}
    for family in MINER_FAMILIES:
        for record in [told["rig"]] if family.kind == "rig" else told[f"{family.kind}s"]:
            key = f'{family.kind}="{record[family.kind]}"' if family.kind != "rig" else ""
            if family.info:
                labels = ",".join(f'{name}="{record[name] or ""}"' for name in family.info)
                expected[family.name, f"{key},{labels}" if key else labels] = 1.0
            for attribute, sensor in family.values:
                if record[attribute] is not None:
                    expected[family.name, key + sensor] = float(record[attribute])
    of_miner = {family.name for family in MINER_FAMILIES}
    assert {key: value for key, value in samples.items() if key[0] in of_miner} == expected
    used = {(family.kind, name) for family in MINER_FAMILIES
            for name in (*family.info, *(attribute for attribute, _ in family.values))}  # fmt: skip
    for kind, records in ((kind, told[kind]) for kind in ("pools", "devices", "chains", "fans")):
        for record in records:
            assert {(kind[:-1], name) for name in record} - used == {
                (kind[:-1], name) for name in {kind[:-1]} | UNFILLED[kind[:-1]]}  # fmt: skip
    alone = JSON_ALONE | UNFILLED["rig"]
    assert {("rig", name) for name in told["rig"]} - used == {("rig", name) for name in alone}


def test_every_family_is_in_some_golden_file() -> None:
    """No family is there that no firmware fills."""
    names = {name for firmware in FIRMWARES for name, _ in parse(prometheus(status(firmware), own(
        commands={"summary": True})))}  # fmt: skip
    assert names == {"cgminer_up", *(family.name for family in MINER_FAMILIES),
                     *(name for name, *_ in OWN_FAMILIES)}  # fmt: skip


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
