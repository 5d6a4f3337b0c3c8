"""Faults: whatever goes wrong below a landed reply is an error for its clients, and ends nothing else."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chi.errors import ChiError
from chi.miner import replies
from chi.miner.wire import Exchange
from chi.monitor import LOOK, PROBE_AFTER
from chi.server.threads import Threads
from chi.status import firmware
from tests.conftest import Chi, StillClock
from tests.scripted import HEALTHY, HOLD, ScriptedMiner, Step

Serve = Callable[..., Chi]

HUGE = b"9" * 5000  # int() takes 4,300 digits
# What a miner may say that software takes for impossible: each replaces a whole reply.
ODD = {
    "a huge number": b'{"STATUS":[{"STATUS":'
    + HUGE
    + b',"Code":'
    + HUGE
    + b',"Description":'
    + HUGE
    + b"}]}",
    "a huge negative number": b'{"STATUS":[{"STATUS":"E","When":-' + HUGE + b',"Code":-' + HUGE + b"}]}",
    "a huge exponent": b'{"STATUS":[{"STATUS":"S","Code":1e' + HUGE + b"}]}",
    "a lone surrogate": rb'{"STATUS":[{"STATUS":"S","Msg":"\udc80","Description":"\ud800\udfff\udc00"}]}',
    "a newline": rb'{"STATUS":[{"STATUS":"S","Description":"a\nSTOPPING=1"}]}',
    "null": b"null",
    "lists in lists": b'[[[{"STATUS":[[]]}]]]',
    "objects for strings": b'{"STATUS":[{"STATUS":{},"Code":{},"Msg":[],"Description":{"a":[]}}]}',
    "nothing": b'{"STATUS":[],"VERSION":[null],"SUMMARY":[[],3],"POOLS":[{"POOL":{}}],"DEVS":[{}]}',
}


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Chi believes that systemd listens, and what it is told is here to be read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(str(tmp_path / "notify"))
        there.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield there


def alive(chi: Chi, miner: ScriptedMiner) -> None:
    """Check that chi serves: the next request to a miner that is well is answered."""
    miner.script = [HEALTHY]
    response = chi.get("/config")
    assert (response.status, response.body) == (200, HEALTHY[:-1])


@pytest.mark.parametrize("name", ODD)
@pytest.mark.usefixtures("systemd")
def test_nothing_that_a_miner_says_ends_chi(
    serve: Serve, miner: ScriptedMiner, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Under systemd, open to all, and scraped: whatever each reply is, chi goes on, and has no fault."""
    chi = serve(miner.port, clock=StillClock().clock, history=60)
    miner.script = [ODD[name] + b"\0"]
    chi.get("/summary")
    for seconds in (PROBE_AFTER, LOOK, 15.0):
        before = len(miner.requests)
        chi.advance(seconds)
        miner.asked(before + 1)
    asked = {json.loads(request)["command"].partition("+")[0] for request in miner.requests}
    assert {"version", "privileged"} <= asked
    for path in ("/status.json", "/metrics", "/readyz", "/version", "/version?pretty"):
        assert chi.get(path).status in (200, 502)
    alive(chi, miner)
    assert "Traceback" not in caplog.text


def fault(*_: object, **__: object) -> Any:
    """In place of what must not fail."""
    raise RuntimeError("a fault")


# What fails, and what a client of /stats gets then: the reply where the fault is not on its way.
FAULTS: dict[str, tuple[Callable[[Chi], Any], str, int]] = {
    "reading a reply": (lambda chi: replies, "_repair", 500),
    "noting how the miner is": (lambda chi: chi.miner, "_note", 500),
    "holding a reply": (lambda chi: chi.miner._cache, "hold", 500),
    "telling of the miner": (lambda chi: chi.miner, "on_change", 200),
    "telling systemd": (lambda chi: chi.monitor, "_tell", 200),
    "what is due": (lambda chi: chi.monitor, "turn", 200),
    "sending": (lambda chi: Exchange, "connect", 504),
}


@pytest.mark.parametrize("end", [[b"\0"], [], [HOLD]], ids=["NUL", "close", "left open"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_nothing(
    serve: Serve,
    miner: ScriptedMiner,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    end: list[Step],
) -> None:
    """Whatever fails in the event loop: each client has an answer, the log a traceback; chi serves on."""
    chi = serve(miner.port, timeout=1.0)
    miner.script = [b'{"a":1,}', *end]  # in want of repair
    where, what, status = FAULTS[name]
    with monkeypatch.context() as patch:
        patch.setattr(where(chi), what, fault)
        response = chi.get("/stats")
        assert (response.status, "RuntimeError: a fault" in caplog.text) == (status, True), response.body
    alive(chi, miner)
    assert chi.miner.counters["miner_errors", "internal"] == (status == 500)


def test_a_fault_of_one_client_is_not_the_others(
    chi: Chi, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of those who share a reply, one whose scrape fails keeps nobody from it."""
    gate = threading.Event()
    miner.script = [gate, b'{"version":[{}],"summary":[{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{}]}]}\0']
    monkeypatch.setattr(firmware, "normalise", fault)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda path=path: statuses.append(chi.get(path).status))
        for path in ("/metrics", "/version+summary+pools+devs+stats")
    ]
    for thread in threads:
        thread.start()
    miner.asked(1)
    gate.set()
    for thread in threads:
        thread.join(30)
    assert 200 in statuses
    assert "RuntimeError: a fault" in caplog.text
    alive(chi, miner)


def test_an_exchange_lands_once(miner: ScriptedMiner) -> None:
    """However often it is ended, the first outcome counts, and is told once."""
    outcomes: list[bytes | ChiError] = []
    exchange = Exchange("x:1", b"{}", {}, lambda exchange, outcome: outcomes.append(outcome))
    exchange.connect([(socket.AF_INET, ("127.0.0.1", miner.port))])
    for _ in range(3):
        exchange.finish(ChiError("timeout", seconds=1, further=""))
    exchange.handle_error()
    exchange.close()
    assert [outcome.name for outcome in outcomes if isinstance(outcome, ChiError)] == ["timeout"]


def test_a_system_without_threads(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    """Where no thread can be had, what needs one is an error, and is tried again the next time."""

    def refuse(thread: threading.Thread) -> None:
        if thread.daemon and getattr(thread, "_target", None).__qualname__.startswith("Threads."):
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    with ScriptedMiner() as miner:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            chi = serve(miner.port, api_host="localhost", timeout=20)
            response = chi.get("/summary")
            assert (response.status, "can't start new thread" in response.message) == (502, True)
            assert chi.get("/summary").status == 502
        alive(chi, miner)


def test_a_fault_in_taking_what_a_thread_found(caplog: pytest.LogCaptureFixture) -> None:
    """What one result does wrong leaves the next one to be taken."""
    woken, taken = threading.Semaphore(0), []
    threads = Threads(woken.release)
    for done in (fault, taken.append):
        threads.submit(lambda: 1, done)
    for _ in range(2):
        assert woken.acquire(timeout=10)
    with caplog.at_level(logging.ERROR, "chi"):
        threads.deliver()
    assert taken == [1]
    assert "RuntimeError: a fault" in caplog.text
