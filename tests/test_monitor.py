"""/metrics and /status.json through a running chi: what the miner is asked, and what monitors get of it."""

from __future__ import annotations

import collections
import http.client
import itertools
import json
import logging
import math
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chi import __version__, requests
from chi.bounds import MAX_REPLY
from chi.clock import Clock
from chi.errors import DENIALS
from chi.figures import COUNTED_BY_KIND
from chi.miner import wire
from chi.miner.replies import REPAIRS
from chi.miner.wire import Addresses
from chi.responses import JSON
from chi.status.firmware import COMMANDS
from chi.status.model import Chain, Device, Fan, Pool, Rig, to_json
from chi.status.prometheus import CONTENT_TYPE, MINER_FAMILIES
from tests.client import Background, Wire
from tests.conftest import Chi, Response
from tests.miner.test_asking import answers, arrive
from tests.scripted import CLOSE, HOLD, RESET, Script, ScriptedMiner, Step, free_port
from tests.status.golden import FIRMWARES, GOLDEN, NOW, RECORDED, VENDORS, parse, status
from tests.test_monitoring import URLS

OF_MINER = frozenset(family.name for family in MINER_FAMILIES)
COMMON = list(COMMANDS["cgminer"])  # what an unknown miner is asked for
JOINED = "+".join(COMMON)
TOKEN = "0123456789abcdef"
USERS = ("wallet", "worker", "letmein")  # what the golden pools' users have in them

Refusal = list[Step]
Samples = dict[tuple[str, str], float]


@pytest.fixture
def golden_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of chi stands at the golden files' time: it stands in for that of a miner that has none."""
    monkeypatch.setattr("tests.conftest.CLOCK", Clock(epoch=lambda: NOW))


def firmware_of(golden: str) -> str:
    """The key of COMMANDS that golden replies belong to."""
    kind = golden.partition("-")[0]
    return kind if kind in COMMANDS else "cgminer"


def unknown_command(golden: str) -> bytes:
    """What a firmware says of a command that it does not know."""
    if golden == "whatsminer":
        said = '"When":1643183301,"Code":14,"Msg":"invalid cmd","Description":"whatsminer v1.1"'
        return f'{{"STATUS":"E",{said}}}'.encode()
    return b'{"STATUS":[{"STATUS":"E","Code":14,"Msg":"Invalid command","Description":"scripted"}],"id":1}'


def miner_like(golden: str, refusal: Refusal | None = None) -> Script:
    """A script that answers as a firmware: joined requests too, unless `refusal` is its answer to them."""
    single = {path.stem: path.read_bytes().rstrip(b"\0") for path in (GOLDEN / golden).glob("*.reply")}
    unknown = unknown_command(golden)
    if golden == "whatsminer" and refusal is None:
        refusal = [unknown + b"\0"]

    def script(request: bytes) -> list[Step]:
        command: str = json.loads(request)["command"]
        if "+" not in command:
            return [single.get(command, unknown) + b"\0"]
        if refusal is not None:
            return refusal
        members = [
            json.dumps(name).encode() + b":[" + single.get(name, unknown) + b"]"
            for name in command.split("+")
        ]
        return [b"{" + b",".join(members) + b',"id":1}\0']

    return script


def scrape(chi: Chi, path: str = "/metrics", **headers: str) -> Samples:
    """What a scrape exposes, by name and labels; AssertionError where it is not the format."""
    response = chi.get(path, **headers)
    assert response.status == 200, response.body
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(response.body)


def of_miner(samples: Samples) -> Samples:
    """The series of the miner's."""
    return {key: value for key, value in samples.items() if key[0] in OF_MINER}


def expected(golden: str) -> Samples:
    """The golden series of the miner's."""
    return of_miner(parse((GOLDEN / golden / "expected.metrics").read_bytes()))


def by_label(samples: Samples, family: str) -> dict[str, float]:
    """The samples of a family with one label, by its value."""
    found = {labels: value for (name, labels), value in samples.items() if name == family}
    return {labels.partition('"')[2].rstrip('"'): value for labels, value in found.items()}


def counted(samples: Samples, family: str) -> dict[str, float]:
    """The samples of one of chi's own counters, by the value of its label; of kinds, those that are not 0."""
    found = by_label(samples, f"chi_{family}_total")
    return {kind: count for kind, count in found.items() if count or not kind}


def own_families(samples: Samples) -> set[str]:
    """The names of all that is exposed but the miner's series."""
    return {name for name, _ in samples} - OF_MINER


# What chi tells of itself whatever happens; what is counted by kind comes when it is first counted.
ALWAYS = {
    "cgminer_up", "cgminer_scrape_duration_seconds", "chi_build_info", "chi_miner_requests_total",
    "chi_coalesced_requests_total", "process_cpu_seconds_total", "process_resident_memory_bytes",
    "process_open_fds", "process_max_fds", "process_start_time_seconds",
}  # fmt: skip


# --- Each firmware --------------------------------------------------------------------------------


@pytest.mark.usefixtures("golden_time")
@pytest.mark.parametrize("golden", FIRMWARES)
def test_series_of_each_firmware(chi: Chi, miner: ScriptedMiner, golden: str) -> None:
    """A firmware's replies become its golden series, in the first scrape and in the next."""
    miner.script = miner_like(golden)
    for _ in range(2):
        samples = scrape(chi)
        assert samples["cgminer_up", ""] == 1
        assert of_miner(samples) == expected(golden)
        assert own_families(samples) >= ALWAYS


@pytest.mark.usefixtures("golden_time")
@pytest.mark.parametrize("golden", FIRMWARES)
def test_status_of_each_firmware(chi: Chi, miner: ScriptedMiner, golden: str) -> None:
    """And they become its golden JSON."""
    miner.script = miner_like(golden)
    for _ in range(2):
        response = chi.get("/status.json")
        assert response.status == 200
        told = response.json
        assert list(told.pop("verdict")) == ["earning", "since", "sentence", "problems"]
        assert told == json.loads((GOLDEN / golden / "expected.json").read_text())
        assert response.headers["Content-Type"] == JSON
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("golden", FIRMWARES)
def test_success_of_each_command(chi: Chi, miner: ScriptedMiner, golden: str) -> None:
    """Each command that the firmware is asked for has its series at every scrape, 1 where it was answered."""
    miner.script = miner_like(golden)
    told = {path.stem for path in (GOLDEN / golden).glob("*.reply")}
    wanted = COMMANDS[firmware_of(golden)]
    for _ in range(2):
        success = by_label(scrape(chi), "cgminer_command_success")
        assert success == {command: float(command in told) for command in wanted}


REQUESTS = {  # of the first scrape, and of each later one
    "avalon": ([JOINED, "estats"], ["+".join(COMMANDS["avalon"])]),
    "bfgminer-5.5.0": ([JOINED], [JOINED]),
    "bitmain-s19": ([JOINED], ["version+summary+pools+stats"]),
    "bitmain-s9": ([JOINED], ["version+summary+pools+stats"]),
    "bosminer": (
        [JOINED, "temps+fans+devdetails+tunerstatus"],
        ["version+summary+pools+devs+temps+fans+devdetails+tunerstatus"],
    ),
    "cgminer-4.11.1": ([JOINED], [JOINED]),
    "luxos": (
        [JOINED, "temps+fans+power+config+events"],
        ["version+summary+pools+devs+stats+temps+fans+power+config+events"],
    ),
    "sgminer-5.1.1": ([JOINED], [JOINED]),
    "whatsminer": (
        [JOINED, "version", "get_version", "summary", "pools", "edevs", "devdetails"],
        ["get_version", "summary", "pools", "edevs", "devdetails"],
    ),
}


@pytest.mark.parametrize("path", ["/metrics", "/status.json"])
@pytest.mark.parametrize("golden", FIRMWARES)
def test_requests_to_each_firmware(chi: Chi, miner: ScriptedMiner, golden: str, path: str) -> None:
    """The first scrape finds the firmware out; each later one asks it as few requests as it allows."""
    miner.script = miner_like(golden)
    first, later = REQUESTS[golden]
    for asked in (first, later, later):
        before = len(miner.requests)
        assert chi.get(path).status == 200
        assert sorted(miner.commands[before:]) == sorted(asked)  # some are asked side by side


def test_metrics_and_status_remember_together(chi: Chi, miner: ScriptedMiner) -> None:
    """What one has found out the other knows."""
    miner.script = miner_like("luxos")
    chi.get("/status.json")
    before = len(miner.requests)
    scrape(chi)
    assert miner.commands[before:] == REQUESTS["luxos"][1]


REFUSALS: dict[str, Refusal] = {
    "error": [unknown_command("cgminer") + b"\0"],
    "denied": [b'{"STATUS":[{"STATUS":"E","Code":45,"Msg":"Access denied"}],"id":1}\0'],
    "members": [b'{"STATUS":[{"STATUS":"E"}],"version":{},"summary":null,"id":1}\0'],
    "closed": [CLOSE],
    "reset": [RESET],
    "empty": [b"\0"],
    "cut": [b'{"version":[{"STATUS":'],
}


@pytest.mark.usefixtures("golden_time")
@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("golden", ["cgminer-4.11.1", "bitmain-s9", "luxos"])
def test_firmware_that_does_not_join(chi: Chi, miner: ScriptedMiner, golden: str, refusal: str) -> None:
    """Whatever a firmware makes of joined commands: asked one by one, it tells the same."""
    miner.script = miner_like(golden, REFUSALS[refusal])
    for _ in range(2):
        samples = scrape(chi)
        assert samples["cgminer_up", ""] == 1
        assert of_miner(samples) == expected(golden)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refusal_to_join_is_remembered(chi: Chi, miner: ScriptedMiner, refusal: str) -> None:
    """A firmware that has refused, but tells one by one, is not asked for joined commands again."""
    miner.script = miner_like("cgminer-4.11.1", REFUSALS[refusal])
    scrape(chi)
    assert miner.commands[:2] == [JOINED, "version"]
    assert sorted(miner.commands) == sorted([JOINED, *COMMON])
    scrape(chi)
    assert sorted(miner.commands[1 + len(COMMON) :]) == sorted(COMMON)


def test_refusal_to_join_is_no_absence(
    chi: Chi, miner: ScriptedMiner, caplog: pytest.LogCaptureFixture
) -> None:
    """A miner that closes the connection on joined commands does not come and go in the log."""
    miner.script = miner_like("cgminer-4.11.1", [CLOSE])
    with caplog.at_level(logging.INFO, "chi"):
        for _ in range(4):
            scrape(chi)
    lines = [record for record in caplog.records if record.name == "chi"]
    assert len(lines) <= 2, caplog.text


def test_broken_command_leaves_the_others(chi: Chi, miner: ScriptedMiner) -> None:
    """One command whose reply is of no use costs its own series, and cgminer_command_success says which."""
    healthy = miner_like("cgminer-4.11.1", REFUSALS["error"])
    miner.script = lambda request: [b"garbage\0"] if b'"pools"' in request else healthy(request)
    samples = scrape(chi)
    assert samples["cgminer_up", ""] == 1
    assert samples["cgminer_command_success", 'command="pools"'] == 0
    assert samples["cgminer_command_success", 'command="summary"'] == 1
    assert not any(name.startswith("cgminer_pool") for name, _ in samples)
    assert ("cgminer_shares_accepted_total", "") in samples
    assert counted(samples, "miner_errors") == {"not-json": 1}


def test_nothing_is_stale(chi: Chi, miner: ScriptedMiner) -> None:
    """Each scrape tells what the miner says then; what it no longer says is gone."""
    steps = itertools.count(1)

    def script(request: bytes) -> list[Step]:
        step = next(steps)
        summary = {"Accepted": step, **({"Best Share": 5} if step == 1 else {})}
        pools = [{"POOL": number} for number in range(3 - step)]
        sections = {"summary": {"SUMMARY": [summary]}, "pools": {"POOLS": pools}}
        members = {
            name: [{"STATUS": [{"STATUS": "S"}], **sections.get(name, {})}]
            for name in json.loads(request)["command"].split("+")
        }
        return [json.dumps(members).encode() + b"\0"]

    miner.script = script
    first, second = of_miner(scrape(chi)), of_miner(scrape(chi))
    assert [found["cgminer_shares_accepted_total", ""] for found in (first, second)] == [1, 2]
    assert ("cgminer_best_share_difficulty", "") in first
    assert ("cgminer_best_share_difficulty", "") not in second
    pools = [{labels for name, labels in found if name == "cgminer_pool_info"} for found in (first, second)]
    assert pools == [{'pool="0",url=""', 'pool="1",url=""'}, {'pool="0",url=""'}]


# --- Failures -------------------------------------------------------------------------------------

NO_SUMMARY = b'{"STATUS":[{"STATUS":"E","Code":45,"Msg":"Access denied to \'summary\' command"}],"id":1}\0'
# What the miner does with every request; the reason that is counted, the status of /status.json.
FAILURES: dict[str, tuple[list[Step], str, int]] = {
    "silent": ([HOLD], "timeout", 504),
    "closed": ([CLOSE], "closed", 502),
    "reset": ([RESET], "closed", 502),
    "empty": ([b"\0"], "empty", 502),
    "garbage": ([b"Hello\0"], "not-json", 502),
    "text": ([b"STATUS=E,When=1,Code=14,Msg=Inval\0"], "text-protocol", 502),
    "cut off": ([b'{"STATUS":[{"STATUS":"S"'], "cut-off", 502),
    "deep": ([b"[" * 1000 + b"\0"], "too-deep", 502),
    "large": ([b"[" + b" " * MAX_REPLY], "reply-too-large", 502),
    "no summary": ([NO_SUMMARY], "no-summary", 502),
    "no object": ([b"5\0"], "no-summary", 502),
}


def patience_for(failure: str) -> float:
    """A --timeout that a busy machine keeps, where it is not what the test waits for."""
    return 1 if FAILURES[failure][1] == "timeout" else 25


def assert_down(samples: Samples) -> None:
    """The miner is down: chi's own families, and not one series of the miner's."""
    assert samples["cgminer_up", ""] == 0
    assert of_miner(samples) == {}
    assert own_families(samples) >= ALWAYS


@pytest.mark.parametrize("failure", FAILURES)
def test_failure_is_data(serve: Callable[..., Chi], miner: ScriptedMiner, failure: str) -> None:
    """Whatever fails, before or after a good scrape: 200, cgminer_up 0, nothing of the miner's."""
    chi = serve(miner.port, timeout=patience_for(failure))
    miner.script = FAILURES[failure][0]
    assert_down(scrape(chi))
    miner.script = miner_like("bosminer")
    assert scrape(chi)["cgminer_up", ""] == 1
    miner.script = FAILURES[failure][0]
    assert_down(scrape(chi))


@pytest.mark.parametrize("failure", FAILURES)
def test_failure_is_counted(serve: Callable[..., Chi], miner: ScriptedMiner, failure: str) -> None:
    """Its reason is counted, once the request has ended; scrapes that succeed no longer count up."""
    script, reason, _ = FAILURES[failure]
    chi = serve(miner.port, timeout=patience_for(failure))
    miner.script = script
    scrape(chi)
    miner.script = miner_like("cgminer-4.11.1")
    for _ in range(100):  # a silent miner's request ends a turn of the loop after its client's
        counts = counted(scrape(chi), "miner_errors")
        if reason in counts:
            break
    assert set(counts) <= {reason, "no-summary"}
    assert counts[reason] >= 1
    assert counted(scrape(chi), "miner_errors") == counts


@pytest.mark.parametrize("failure", FAILURES)
def test_failure_of_status(serve: Callable[..., Chi], miner: ScriptedMiner, failure: str) -> None:
    """/status.json is an error like any other: a status and chi's own envelope."""
    script, _, status = FAILURES[failure]
    miner.script = script
    response = serve(miner.port, timeout=patience_for(failure)).get("/status.json")
    assert response.status == status
    assert response.headers["Content-Type"] == JSON
    (entry,) = response.json["STATUS"]
    assert (entry["STATUS"], entry["Code"], entry["Description"]) == ("E", status, f"chi {__version__}")
    assert entry["Msg"].startswith("The miner")


def test_failure_to_give_a_summary_says_why(chi: Chi, miner: ScriptedMiner) -> None:
    """The miner's own words are in the message, not how Python would write them."""
    miner.script = [NO_SUMMARY]
    message = chi.get("/status.json").message
    assert "Access denied to 'summary' command" in message
    assert "{'" not in message
    miner.script = [b"Hello\0"]
    assert "None" not in chi.get("/status.json").message


def test_refused_connection(serve: Callable[..., Chi]) -> None:
    """A miner that does not run is down, and comes up when it does."""
    port = free_port()
    chi = serve(port)
    samples = scrape(chi)
    assert_down(samples)
    assert counted(samples, "miner_errors") == {"refused": 1}
    assert counted(samples, "miner_requests") == {"": 1}
    response = chi.get("/status.json")
    assert (response.status, response.json["STATUS"][0]["Code"]) == (502, 502)
    assert "refuses connections" in response.message
    with ScriptedMiner(miner_like("luxos"), port=port):
        samples = scrape(chi)
        assert samples["cgminer_up", ""] == 1
        assert of_miner(samples) == expected("luxos")
    assert_down(scrape(chi))


def test_unknown_host(serve: Callable[..., Chi], monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that nobody knows is a failure like the others."""
    look_up = wire.look_up

    def failing(host: str, port: int, flags: int = 0) -> Addresses:
        if host == "rig.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return look_up(host, port, flags)

    monkeypatch.setattr("chi.miner.asking.look_up", failing)
    samples = scrape(serve(free_port(), api_host="rig.invalid"))
    assert_down(samples)
    assert counted(samples, "miner_errors") == {"unknown-host": 1}


@pytest.mark.usefixtures("golden_time")
@pytest.mark.parametrize("failing", ["summary", "version", "estats"])
def test_failure_in_the_middle(chi: Chi, miner: ScriptedMiner, failing: str) -> None:
    """A miner that goes between the requests of one scrape is down, and nothing that it told is exposed."""
    healthy = miner_like("avalon", REFUSALS["error"])
    down = threading.Event()

    def script(request: bytes) -> list[Step]:
        gone = down.is_set() and json.loads(request)["command"] == failing
        return [CLOSE] if gone else list(healthy(request))

    miner.script = script
    assert of_miner(scrape(chi)) == expected("avalon")
    down.set()
    assert_down(scrape(chi))
    down.clear()
    assert of_miner(scrape(chi)) == expected("avalon")


@pytest.mark.usefixtures("golden_time")
@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(FIRMWARES, 2)))
def test_change_of_firmware(chi: Chi, miner: ScriptedMiner, before: str, after: str) -> None:
    """A miner that comes back with another firmware is told as that one, from the first scrape on."""
    miner.script = miner_like(before)
    assert of_miner(scrape(chi)) == expected(before)
    miner.script = [CLOSE]
    assert_down(scrape(chi))
    miner.script = miner_like(after)
    for _ in range(2):
        samples = scrape(chi)
        assert samples["cgminer_up", ""] == 1
        assert of_miner(samples) == expected(after)


# --- Time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("10", 9.5), ("1.5", 1.0), ("1", 0.5), ("0.5", 0.25), ("1e308", 1e308), ("inf", math.inf),
        ("0", math.inf), ("-1", math.inf), ("-inf", math.inf), ("nan", math.inf), ("", math.inf),
        ("10s", math.inf), ("5, 5", math.inf), ("9" * 400, math.inf), (None, math.inf),
    ],
)  # fmt: skip
def test_scrape_timeout(header: str | None, seconds: float) -> None:
    """Half a second less than Prometheus waits, half where it hardly waits; none where it does not say."""
    environ = {} if header is None else {"HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS": header}
    assert requests.scrape_timeout(environ) == seconds


@pytest.mark.parametrize(
    ("header", "timeout", "at_least", "at_most"),
    [
        ("1.2", 4.0, 0.7, 1.2), ("0.4", 4.0, 0.2, 0.4),  # before Prometheus gives the scrape up
        ("3600", 0.4, 0.4, 2.0), ("0", 0.4, 0.4, 2.0), ("-5", 0.4, 0.4, 2.0), ("nan", 0.4, 0.4, 2.0),
        ("soon", 0.4, 0.4, 2.0), (None, 0.4, 0.4, 2.0),  # --timeout
    ],
)  # fmt: skip
def test_silent_miner_takes_no_longer_than_prometheus_waits(
    serve: Callable[..., Chi],
    miner: ScriptedMiner,
    header: str | None,
    timeout: float,
    at_least: float,
    at_most: float,
) -> None:
    """The scrape ends half a second before Prometheus gives it up, and never later than --timeout."""
    miner.script = [HOLD]
    chi = serve(miner.port, timeout=timeout)
    headers = {} if header is None else {"X_Prometheus_Scrape_Timeout_Seconds": header}
    for _ in range(10):  # a busy machine may be late now and then; chi is early never and late not always
        started = time.monotonic()
        samples = scrape(chi, **headers)
        took = time.monotonic() - started
        assert_down(samples)
        assert at_least <= samples["cgminer_scrape_duration_seconds", ""] <= took
        if took < at_most:
            break
    assert took < at_most


def test_timeout_is_that_of_the_whole_scrape(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """However many requests a firmware needs, they share one deadline."""
    healthy = miner_like("whatsminer")
    miner.script = lambda request: [0.6, *healthy(request)]  # seven requests: 4.2 s
    chi = serve(miner.port, timeout=1.5)
    started = time.monotonic()
    assert_down(scrape(chi))
    assert 1.5 <= time.monotonic() - started < 4


@pytest.mark.usefixtures("patience")
def test_short_timeout_is_the_scrapes_own(chi: Chi, miner: ScriptedMiner) -> None:
    """One that gives up soon leaves the request to those who can wait."""
    gate, healthy = threading.Event(), miner_like("cgminer-4.11.1")
    miner.script = lambda request: [gate, *healthy(request)]
    patient = arrive(chi, "/metrics")
    miner.asked(1)
    assert_down(scrape(chi, X_Prometheus_Scrape_Timeout_Seconds="0.2"))
    gate.set()
    (response,) = answers(patient)
    assert parse(response.body)["cgminer_up", ""] == 1
    assert counted(scrape(chi), "miner_errors") == {}


def test_duration_is_told(chi: Chi, miner: ScriptedMiner) -> None:
    """cgminer_scrape_duration_seconds has the time that the miner takes."""
    healthy = miner_like("cgminer-4.11.1")
    miner.script = lambda request: [0.2, *healthy(request)]
    started = time.monotonic()
    duration = scrape(chi)["cgminer_scrape_duration_seconds", ""]
    assert 0.2 <= duration <= time.monotonic() - started


# --- Sharing --------------------------------------------------------------------------------------


def gated(script: Script) -> tuple[Script, collections.defaultdict[int, threading.Event]]:
    """A script whose n-th reply, from 0, waits for the n-th gate."""
    numbers = itertools.count()
    gates: collections.defaultdict[int, threading.Event] = collections.defaultdict(threading.Event)
    return lambda request: [gates[next(numbers)], *script(request)], gates


def busy_with(chi: Chi, miner: ScriptedMiner) -> list[socket.socket]:
    """Clients with all that chi asks for at once: what comes now arrives before it is asked for."""
    clients = [client for name in ("/coin", "/lcd", "/notify", "/config") for client in arrive(chi, name)]
    miner.asked(len(clients))
    assert len(clients) == chi.settings.threads
    return clients


@pytest.mark.usefixtures("patience")
def test_concurrent_scrapes_share_requests(chi: Chi, miner: ScriptedMiner) -> None:
    """However many scrape at once, by either path, cost the miner one request more than one alone."""
    miner.script, gates = gated(miner_like("cgminer-4.11.1"))
    first = arrive(chi, "/metrics")
    miner.asked(1)
    others = arrive(chi, "/metrics", 16) + arrive(chi, "/status.json", 16)
    for number in range(3):
        gates[number].set()
    responses = answers(first + others)
    assert [response.status for response in responses] == [200] * 33
    assert miner.commands == [JOINED] * 2
    for response in responses[:17]:
        assert parse(response.body)["cgminer_up", ""] == 1
    assert counted(scrape(chi), "coalesced_requests") == {"": 31}


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("golden", ["avalon", "luxos", "bitmain-s9", "whatsminer"])
def test_concurrent_first_scrapes_share_all_requests(chi: Chi, miner: ScriptedMiner, golden: str) -> None:
    """Those who find the firmware out together ask no more for it than one would."""
    miner.script, gates = gated(miner_like(golden))
    busy = busy_with(chi, miner)
    scrapes = arrive(chi, "/metrics", 8)
    assert len(miner.requests) == len(busy)
    for number in range(100):
        gates[number].set()
    responses = answers(busy + scrapes)[len(busy) :]
    assert all(parse(response.body)["cgminer_up", ""] == 1 for response in responses)
    assert sorted(miner.commands[len(busy) :]) == sorted(REQUESTS[golden][0])


@pytest.mark.usefixtures("patience")
def test_scrape_shares_with_reports(chi: Chi, miner: ScriptedMiner) -> None:
    """A client that asks for the same report as a scrape shares its request."""
    miner.script, gates = gated(miner_like("cgminer-4.11.1"))
    busy = busy_with(chi, miner)
    both = arrive(chi, "/metrics") + arrive(chi, f"/{JOINED}")
    for number in range(10):
        gates[number].set()
    responses = answers(busy + both)
    assert {response.status for response in responses} == {200}
    assert miner.commands.count(JOINED) == 1


@pytest.mark.usefixtures("patience")
def test_scrape_is_fresh(chi: Chi, miner: ScriptedMiner) -> None:
    """A scrape that comes while another waits gets what was asked for after it came."""
    numbers = itertools.count(1)

    def script(request: bytes) -> list[Step]:
        number = next(numbers)
        members: dict[str, Any] = {name: [{"STATUS": [{"STATUS": "S"}]}] for name in COMMON}
        members["summary"][0]["SUMMARY"] = [{"Accepted": number}]
        return [json.dumps(members).encode() + b"\0"]

    miner.script, gates = gated(script)
    early = arrive(chi, "/metrics")
    miner.asked(1)
    late = arrive(chi, "/metrics")
    gates[0].set()
    gates[1].set()
    found = [parse(response.body)["cgminer_shares_accepted_total", ""] for response in answers(early + late)]
    assert found == [1, 2]


# --- HTTP -----------------------------------------------------------------------------------------


def test_headers(chi: Chi, miner: ScriptedMiner) -> None:
    """The content type is the text format's, whatever is accepted; nothing keeps the answer."""
    miner.script = miner_like("cgminer-4.11.1")
    for accept in ("application/openmetrics-text; version=1.0.0", "*/*"):
        response = chi.get("/metrics", Accept=accept)
        assert response.headers["Content-Type"] == CONTENT_TYPE
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert int(response.headers["Content-Length"]) == len(response.body)
        assert response.body.endswith(b"\n")


@pytest.mark.parametrize("path", ["/metrics", "/metrics?name=x", "/status.json", "/status.json?pretty"])
def test_head(chi: Chi, miner: ScriptedMiner, path: str) -> None:
    """HEAD is GET without the body."""
    miner.script = miner_like("cgminer-4.11.1")
    head, get = chi.request(path, "HEAD"), chi.get(path)
    assert (head.status, head.body) == (200, b"")
    assert get.body
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert int(head.headers["Content-Length"]) > 0


@pytest.mark.parametrize("path", ["/metrics", "/status.json"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(chi: Chi, miner: ScriptedMiner, path: str, method: str) -> None:
    """Both can only be read; the miner is not asked."""
    response = chi.request(path, method)
    assert response.status == 405
    assert "GET, HEAD" in response.headers["Allow"]
    assert response.json["STATUS"][0]["Code"] == 405
    assert miner.requests == []


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("/metrics/0", {"command": "metrics", "parameter": "0"}),
        ("/metrics/a,b/c", {"command": "metrics", "parameter": "a,b/c"}),
        ("/metrics+summary", {"command": "metrics+summary"}),
        ("/Metrics", {"command": "Metrics"}),
        ("/dashboard/x", {"command": "dashboard", "parameter": "x"}),
        ("/Dashboard", {"command": "Dashboard"}),
        ("/dashboard+summary", {"command": "dashboard+summary"}),
        ("/history", {"command": "history"}),
    ],
)
def test_other_paths_are_the_miners(
    chi: Chi, miner: ScriptedMiner, path: str, members: dict[str, str]
) -> None:
    """Chi's own are exactly those paths; LuxOS has a command metrics."""
    response = chi.get(path)
    assert response.status == 200
    assert response.headers["Content-Type"] == JSON
    assert [json.loads(request) for request in miner.requests] == [members]


@pytest.mark.parametrize("path", sorted(URLS))
def test_what_monitors_ask_is_there(chi: Chi, miner: ScriptedMiner, path: str) -> None:
    """Each URL in packaging/monitoring is answered, and with 200."""
    miner.script = miner_like("cgminer-4.11.1")
    assert chi.get(path).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/status.json"])
def test_read_only_serves_both(serve: Callable[..., Chi], miner: ScriptedMiner, path: str) -> None:
    """All that is asked for are reports."""
    miner.script = miner_like("whatsminer")
    assert serve(miner.port, read_only=True).get(path, User_Agent="Mozilla/5.0").status == 200


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    """A file with TOKEN."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return str(file)


@pytest.mark.parametrize("path", ["/metrics", "/status.json"])
def test_private(serve: Callable[..., Chi], miner: ScriptedMiner, path: str, token_file: str) -> None:
    """With --private both need the token, and the miner is not asked without; it is in no answer."""
    miner.script = miner_like("cgminer-4.11.1")
    chi = serve(miner.port, private=True, token_file=token_file)
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        response = chi.get(path, **headers)
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer ")
        assert b"cgminer_up" not in response.body
    assert miner.requests == []
    response = chi.get(path, Authorization=f"Bearer {TOKEN}")
    assert response.status == 200
    assert TOKEN.encode() not in response.body
    basic = "Basic cHJvbWV0aGV1czowMTIzNDU2Nzg5YWJjZGVm"  # prometheus and the token
    assert chi.get(path, Authorization=basic).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/status.json"])
def test_without_private_the_token_is_not_needed(
    serve: Callable[..., Chi], miner: ScriptedMiner, path: str, token_file: str
) -> None:
    """With --token-file alone both are reports, for anybody."""
    miner.script = miner_like("cgminer-4.11.1")
    assert serve(miner.port, token_file=token_file).get(path).status == 200


def test_pages_of_allowed_origins_read_both(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """--cors-origin holds for them as for reports."""
    miner.script = miner_like("cgminer-4.11.1")
    chi = serve(miner.port, cors_origin=("http://grafana.lan:3000",))
    for path in ("/metrics", "/status.json"):
        response = chi.get(path, Origin="http://grafana.lan:3000")
        assert response.headers["Access-Control-Allow-Origin"] == "http://grafana.lan:3000"
        assert "Access-Control-Allow-Origin" not in chi.get(path, Origin="http://evil.example").headers


@pytest.mark.parametrize("golden", FIRMWARES)
def test_users_of_pools_stay_with_the_miner(
    chi: Chi, miner: ScriptedMiner, golden: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No user, wallet or password is in either answer, nor in the log."""
    miner.script = miner_like(golden)
    with caplog.at_level(logging.DEBUG):
        bodies = chi.get("/metrics").body + chi.get("/status.json").body
    assert b'"user"' not in bodies
    assert b"user=" not in bodies
    for secret in USERS:
        assert secret.encode() not in bodies
        assert secret not in caplog.text


def test_users_of_pools_on_demand(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """--metrics-pool-user shows them in both, and in cgminer_pool_info alone."""
    miner.script = miner_like("bitmain-s19")
    chi = serve(miner.port, metrics_pool_user=True)
    samples = scrape(chi)
    users = [user for pool in chi.get("/status.json").json["pools"] if (user := pool["user"])]
    assert users
    for user in users:
        found = {name for name, labels in samples if user in labels}
        assert found == {"cgminer_pool_info"}
    assert of_miner(samples).keys() - expected("bitmain-s19").keys() == {
        key for key in samples if key[0] == "cgminer_pool_info"
    }


# --- chi's own figures ----------------------------------------------------------------------------


def test_http_requests_are_counted_by_status(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """Every answer counts, those of scrapes too, each once it has been given."""
    miner.script = miner_like("cgminer-4.11.1")
    chi = serve(miner.port, read_only=True)
    assert counted(scrape(chi), "http_requests") == {}
    assert [chi.get(path).status for path in ("/summary", "/healthz", "/quit")] == [200, 200, 403]
    assert chi.request("/metrics", "PUT").status == 405
    with Wire(chi.port) as wire:
        wire.send(b"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.read().status == 400
        wire.send(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n")
        assert wire.read().status == 400
    assert counted(scrape(chi), "http_requests") == {"200": 3, "400": 2, "403": 1, "405": 1}
    assert counted(scrape(chi), "http_requests")["200"] == 4


def test_requests_to_the_miner_are_counted(chi: Chi, miner: ScriptedMiner) -> None:
    """Whoever they are for."""
    miner.script = miner_like("cgminer-4.11.1")
    assert counted(scrape(chi), "miner_requests") == {"": 1}
    chi.get("/pools")
    chi.get("/healthz")
    chi.request("/restart", "POST")
    assert counted(scrape(chi), "miner_requests") == {"": 4}
    assert len(miner.requests) == 4


def test_counters_are_there_before_they_count(chi: Chi, miner: ScriptedMiner) -> None:
    """Each kind of each counter is 0 from the start: increase() does not see a series begin."""
    miner.script = miner_like("cgminer-4.11.1")
    samples = scrape(chi)
    kinds = {family: by_label(samples, f"chi_{family}_total") for family in COUNTED_BY_KIND}
    assert {*kinds["http_requests"]} >= {"200", "400", "403", "404", "431", "502", "503", "504"}
    assert {*kinds["miner_errors"]} >= {
        "refused",
        "timeout",
        "closed",
        "unreachable",
        "not-json",
        "no-summary",
    }
    assert {*kinds["denied_requests"]} == {*DENIALS, "source"}
    assert {*kinds["json_repairs"]} == REPAIRS
    assert {count for found in kinds.values() for count in found.values()} == {0}
    for step, path in (([CLOSE], "/a"), ([b"x\0"], "/b"), ([b'{"STATUS":[,{"STATUS":"S"}]}\0'], "/c")):
        miner.script = step
        chi.get(path)
    later = scrape(chi)
    for family, found in kinds.items():
        assert {*by_label(later, f"chi_{family}_total")} == {*found}


def test_errors_of_the_miner_are_counted_by_reason(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """Each request that failed counts once, by the name of its error, however many waited for it."""
    chi = serve(miner.port, timeout=2)
    for step, path in (([CLOSE], "/a"), ([b"x\0"], "/b"), ([b"x\0"], "/c"), ([b"\0"], "/d"), ([HOLD], "/e")):
        miner.script = step
        assert chi.get(path).status in (502, 504)
    miner.script = miner_like("cgminer-4.11.1")
    found = counted(scrape(chi), "miner_errors")
    assert found == {"closed": 1, "not-json": 2, "empty": 1, "timeout": 1}


def test_denials_are_counted_by_reason(
    serve: Callable[..., Chi], miner: ScriptedMiner, token_file: str
) -> None:
    """Each rung of the ladder counts what it refuses, and nothing else counts."""
    miner.script = miner_like("cgminer-4.11.1")
    browser = {"User_Agent": "Mozilla/5.0"}
    open_, strict = serve(miner.port), serve(miner.port, read_only=True)
    tokened = serve(miner.port, token_file=token_file)

    assert open_.get("/quit", **browser).status == 403
    assert open_.get("/quit", Referer="http://x/").status == 403
    assert open_.request("/quit", "HEAD", **browser).status == 403
    assert open_.request("/quit", "POST", Origin="http://evil.example").status == 403
    assert open_.get("/summary", Host="evil.example").status == 421
    assert open_.get("/%zz").status == 400
    assert counted(scrape(open_), "denied_requests") == {"confirm": 3, "cross-site": 1, "host": 1}

    assert [strict.get("/quit").status, strict.request("/quit", "POST").status] == [403, 403]
    assert strict.get("/metrics", Host="evil.example").status == 421
    assert counted(scrape(strict), "denied_requests") == {"read-only": 2, "host": 1}

    assert [tokened.get("/quit").status, tokened.get("/quit", Authorization="Bearer x").status] == [401, 401]
    assert counted(scrape(tokened), "denied_requests") == {"token": 2}
    assert {"confirm", "cross-site", "host", "read-only", "token"} == DENIALS
    assert set(miner.commands) == {JOINED}


def test_repairs_are_counted_by_name(chi: Chi, miner: ScriptedMiner) -> None:
    """Each repaired reply counts each of its repairs once, also in a scrape."""
    broken = b'{"STATUS":[,{"STATUS":"S"}],"SUMMARY":[{"a":nan,"b":nan,}]}\0'
    miner.script = [broken]
    assert chi.get("/summary").headers["Chi-Repaired"]
    miner.script = miner_like("cgminer-4.11.1")
    repairs = {"stray-comma": 1, "not-a-number": 1, "trailing-comma": 1}
    assert counted(scrape(chi), "json_repairs") == repairs
    healthy = miner_like("cgminer-4.11.1")
    miner.script = lambda request: [b"".join(healthy(request)).replace(b"[", b"[,", 1)]
    samples = scrape(chi)
    assert samples["cgminer_up", ""] == 1
    assert counted(samples, "json_repairs") == {**repairs, "stray-comma": 2}


def test_held_replies_are_counted_as_shared(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """With --max-age, what needed no request to the miner counts, and a scrape may be such."""
    miner.script = miner_like("cgminer-4.11.1")
    chi = serve(miner.port, max_age=3600.0)
    assert counted(scrape(chi), "coalesced_requests") == {"": 0}
    samples = scrape(chi)
    assert counted(samples, "coalesced_requests") == {"": 1}
    assert counted(samples, "miner_requests") == {"": 1}
    assert samples["cgminer_up", ""] == 1


def test_build_info(chi: Chi) -> None:
    """The version of chi is a label."""
    assert scrape(chi)["chi_build_info", f'version="{__version__}"'] == 1


def test_process_figures(chi: Chi, miner: ScriptedMiner) -> None:
    """They are this process's, as /proc and the clock have them."""
    miner.script = miner_like("cgminer-4.11.1")
    before, now = time.process_time(), time.time()
    samples = scrape(chi)
    assert before <= samples["process_cpu_seconds_total", ""] <= time.process_time()
    status = Path("/proc/self/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) * 1024
    assert resident / 2 < samples["process_resident_memory_bytes", ""] < resident * 2
    there = len(os.listdir("/proc/self/fd"))
    assert abs(samples["process_open_fds", ""] - there) <= 8
    assert samples["process_open_fds", ""] < samples["process_max_fds", ""]
    assert samples["process_max_fds", ""] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert now - 24 * 3600 < samples["process_start_time_seconds", ""] < now


COUNT_DESCRIPTORS = """
import os
from chi import figures

print(figures.process_figures()["open_descriptors"])
with open(os.devnull, "rb"):
    print(figures.process_figures()["open_descriptors"])
print(figures.process_figures()["open_descriptors"])
"""


def test_descriptors_are_counted_exactly() -> None:
    """One more that is open is one more."""
    # In a process of its own: here, threads of chi and of miners open and close theirs meanwhile.
    done = subprocess.run(
        [sys.executable, "-c", COUNT_DESCRIPTORS], capture_output=True, text=True, timeout=60, check=True
    )
    before, more, after = map(float, done.stdout.split())
    assert before > 2
    assert (more, after) == (before + 1, before)


def test_figures_without_proc(chi: Chi, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc, what only it tells is left out."""

    def listdir(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr("chi.figures.os", types.SimpleNamespace(listdir=listdir))
    samples = scrape(chi)
    missing = {"process_open_fds", "process_resident_memory_bytes"}
    assert own_families(samples) >= ALWAYS - missing
    assert not missing & own_families(samples)


def test_real_server_tells_all(chi_server: Callable[..., Any]) -> None:
    """The real chi-server on the simulated miner: every own family, and a hashrate."""
    process = chi_server("--demo", "-w", "0", "--listen", "127.0.0.1")
    response: Response = process.get("/metrics")
    samples = parse(response.body)
    assert samples["cgminer_up", ""] == 1
    assert samples["cgminer_hashrate_hashes_per_second", ""] > 1e12
    assert own_families(samples) >= ALWAYS
    assert 0 < samples["process_cpu_seconds_total", ""] < 30
    assert process.get("/status.json").json["rig"]["hashrate"] > 1e12
    assert abs(samples["process_start_time_seconds", ""] - time.time()) < 60
    assert process.stop() == 0


def test_scrape_survives_a_client_that_goes(chi: Chi, miner: ScriptedMiner) -> None:
    """One that leaves in the middle of its scrape harms nobody."""
    miner.script, gates = gated(miner_like("avalon"))
    (client,) = arrive(chi, "/metrics")
    miner.asked(1)
    client.close()
    for number in range(10):
        gates[number].set()
    assert scrape(chi)["cgminer_up", ""] == 1


def test_scrapes_on_one_connection(chi: Chi, miner: ScriptedMiner) -> None:
    """Prometheus keeps its connection: scrapes follow each other on it, pipelined ones in order."""
    miner.script = miner_like("whatsminer")
    with Wire(chi.port) as wire:
        for _ in range(3):
            wire.request("GET /metrics")
            wire.request("GET /status.json")
            assert parse(wire.read().body)["cgminer_up", ""] == 1
            assert wire.read().json["rig"]["software"] == "btminer"


def test_slow_miner_holds_nobody_up(chi: Chi, miner: ScriptedMiner) -> None:
    """While a scrape waits for the miner, chi answers others."""
    gate = threading.Event()
    healthy = miner_like("cgminer-4.11.1")
    miner.script = lambda request: [gate, *healthy(request)]
    waiting = Background(scrape, chi)
    miner.asked(1)
    assert chi.get("/healthz").status == 200
    gate.set()
    assert waiting.result()["cgminer_up", ""] == 1


def test_old_client(chi: Chi, miner: ScriptedMiner) -> None:
    """HTTP/1.0 without a Host header is served."""
    miner.script = miner_like("cgminer-4.11.1")
    connection = http.client.HTTPConnection("127.0.0.1", chi.port, timeout=10)
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
    connection.putrequest("GET", "/metrics", skip_host=True)
    connection.endheaders()
    assert parse(connection.getresponse().read())["cgminer_up", ""] == 1
    connection.close()


def test_hostile_miner_cannot_add_series(chi: Chi, miner: ScriptedMiner) -> None:
    """Whatever is in the miner's texts, it stays inside one label."""
    evil = 'x"} 1\ncgminer_up 7\n# TYPE y\\'
    replies: dict[str, Any] = {name: {"STATUS": [{"STATUS": "S"}]} for name in COMMON}
    replies["summary"]["SUMMARY"] = [{"Accepted": 1}]
    replies["pools"]["POOLS"] = [{"POOL": 0, "URL": evil, "User": evil}]
    replies["version"]["VERSION"] = [{"CGMiner": evil, "API": evil}]
    miner.script = [json.dumps({name: [reply] for name, reply in replies.items()}).encode() + b"\0"]
    samples = scrape(chi)
    assert samples["cgminer_up", ""] == 1
    assert [value for (name, _), value in samples.items() if name == "cgminer_up"] == [1]


# --- Models with ways of their own -----------------------------------------------------------------


def recorded(model: str, otherwise: bytes, joins: bool = True) -> Script:
    """A script that answers as a recorded model, byte for byte, and `otherwise` to what is not recorded."""
    single = {path.stem: path.read_bytes().strip() for path in (RECORDED / model).glob("*.json")}

    def script(request: bytes) -> list[Step]:
        names = json.loads(request)["command"].split("+")
        found = [single.get(name, otherwise) for name in names]
        if len(names) == 1:
            return [found[0] + b"\0"]
        members = [json.dumps(name).encode() + b":[" + reply + b"]" for name, reply in zip(names, found)]
        return [b"{" + b",".join(members) + b"}\0"] if joins else [otherwise + b"\0"]

    return script


@pytest.mark.parametrize("model", [model for model in VENDORS if not model.startswith("whatsminer")])
def test_recorded_models_by_the_socket(chi: Chi, miner: ScriptedMiner, model: str) -> None:
    """What a model sends, repaired where it is not JSON, makes the status that its replies make."""
    miner.script = recorded(model, b'{"STATUS":[{"STATUS":"E","Code":14,"Msg":"Invalid command"}]}')
    told, expected = chi.get("/status.json").json, json.loads(json.dumps(to_json(status(model))))
    times = {"time", "start_time", "last_share", "last_work"}  # the replies were not recorded at one time
    for kind in ("pools", "devices", "chains", "fans"):
        assert [record.keys() for record in told[kind]] == [record.keys() for record in expected[kind]]
    for one in (told, expected):
        for record in (one["rig"], *one["pools"]):
            record.update(dict.fromkeys(times & record.keys()))
    assert {kind: told[kind] for kind in expected} == expected


@pytest.mark.parametrize("model", ["whatsminer-asleep"])
def test_asleep_is_not_down(chi: Chi, miner: ScriptedMiner, model: str) -> None:
    """A Whatsminer that is switched off answers status alone: it is up, hashes 0 and sleeps."""
    miner.script = recorded(model, unknown_command("whatsminer"), joins=False)
    response = chi.get("/status.json")
    assert response.status == 200
    assert (response.json["rig"]["state"], response.json["rig"]["hashrate"]) == ("sleeping", 0)
    for _ in range(2):
        samples = scrape(chi)
        assert samples["cgminer_up", ""] == 1
        assert samples["cgminer_hashrate_hashes_per_second", ""] == 0
        assert samples["cgminer_state", 'state="sleeping"'] == 1


def test_a_doubt_is_in_the_log_once(
    serve: Callable[..., Chi], miner: ScriptedMiner, caplog: pytest.LogCaptureFixture
) -> None:
    """A hashrate that the shares contradict is left out, and the log says so once, not at each scrape."""
    summary = {"Elapsed": 1000, "MHS av": 1e9, "Accepted": 1000, "Difficulty Accepted": 1e5}
    head = {"STATUS": "S", "Description": "cgminer 4.9"}
    reply, refusal = json.dumps({"STATUS": [head], "SUMMARY": [summary]}).encode(), unknown_command("cgminer")
    miner.script = lambda request: [(refusal if b"+" in request else reply) + b"\0"]
    chi = serve(miner.port)
    for _ in range(3):
        assert chi.get("/status.json").json["rig"]["hashrate"] is None
        assert ("cgminer_hashrate_average_hashes_per_second", "") not in scrape(chi)
    assert len([record for record in caplog.records if "its shares say another" in record.getMessage()]) == 1


def test_the_verdict_is_in_the_metrics(chi: Chi, miner: ScriptedMiner) -> None:
    """Whether it earns, and what is wrong with it."""
    miner.script = miner_like("cgminer-4.11.1")
    document = chi.get("/status.json").json["verdict"]
    samples = scrape(chi)
    earning = samples.get(("cgminer_earning", ""))
    assert (None if earning is None else bool(earning)) == document["earning"]
    told = {labels for name, labels in samples if name == "cgminer_problem"}
    assert told == {f'code="{each["code"]}",about="{each["about"]}"' for each in document["problems"]}


# --- Docs -----------------------------------------------------------------------------------------


def test_every_field_is_told() -> None:
    """The table of /status.json in docs/http-api.md has each of its fields, and no others."""
    page = (Path(__file__).parent.parent / "docs/http-api.md").read_text(encoding="utf-8")
    told: dict[str, list[str]] = collections.defaultdict(list)
    kinds = "rig|pools|devices|chains|fans"
    for kind, names in re.findall(rf"^\| `({kinds})` \| ([^|]+) \|", page, re.MULTILINE):
        told[kind] += re.findall(r"`(\w+)`", names)
    classes = (Rig, Pool, Device, Chain, Fan)
    fields = [sorted(found._fields) for found in classes]
    assert {kind: sorted(names) for kind, names in told.items()} == dict(zip(kinds.split("|"), fields))


@pytest.mark.parametrize(
    "path", ["/status.json", "/status.json?users", "/metrics", "/dashboard", "/history.json"]
)
def test_passwords_of_pools_are_never_shown(
    serve: Callable[..., Chi], miner: ScriptedMiner, path: str
) -> None:
    """Avalon's pools have their passwords, others have them in URLs: chi's own documents never do."""
    pool = {
        "POOL": 0, "URL": "stratum+tcp://name:hunter2@pool.example:3333", "Status": "Alive", "User": "name",
        "Password": "hunter2", "Pass": "hunter2", "password": "hunter2", "Accepted": 1,
    }  # fmt: skip
    replies = {
        "summary": {"STATUS": [{"STATUS": "S"}], "SUMMARY": [{"Elapsed": 1}]},
        "pools": {"STATUS": [{"STATUS": "S"}], "POOLS": [pool]},
    }
    members = {name: [replies.get(name, {"STATUS": [{"STATUS": "E"}]})] for name in JOINED.split("+")}
    miner.script = [json.dumps(members).encode() + b"\0"]
    body = serve(miner.port, metrics_pool_user=True).get(path).body
    assert b"hunter2" not in body
    assert b"pool.example" in body or path in ("/dashboard", "/history.json")
