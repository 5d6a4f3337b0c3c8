"""Slow miners: a client waits for --timeout and gets what there is; the scrape goes on for the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from chi.bounds import SCRAPE_TIME, STATUS_AGE
from tests.client import Background
from tests.conftest import Chi, Response, StillClock
from tests.scripted import ScriptedMiner, Step
from tests.status.golden import parse
from tests.test_monitor import JOINED, miner_like, unknown_command

Serve = Callable[..., Chi]

COMMAND = 0.8125  # seconds that the miner takes for a command, by the test's clock


class Slow:
    """A miner that answers one request after the other, each when the test says so."""

    def __init__(self, miner: ScriptedMiner, golden: str, refusal: list[Step] | None = None) -> None:
        self._answers = miner_like(golden, refusal)
        self._miner = miner
        self._turns = threading.Semaphore(0)
        self.answered = 0
        miner.script = self._script

    def _script(self, request: bytes) -> list[Step]:
        if not self._turns.acquire(timeout=60):  # the test has ended without it
            return []
        return list(self._answers(request))

    def takes(self, chi: Chi, count: int = 1, seconds: float = COMMAND) -> None:
        """Let it answer `count` requests that have come, each after so many seconds."""
        for _ in range(count):
            self.answered += 1
            self._miner.asked(self.answered)
            chi.advance(seconds)
            self._turns.release()
            until(lambda: chi.miner._heard == chi.clock.now())  # it has landed

    def takes_at_once(self, chi: Chi, count: int) -> None:
        """Let it answer `count` requests that have come side by side, within COMMAND seconds."""
        self.answered += count
        self._miner.asked(self.answered)
        chi.advance(COMMAND)
        self._turns.release(count)

    def answers_all(self) -> None:
        """From now on it is quick."""
        self._turns.release(1000)


@pytest.fixture
def clock() -> StillClock:
    """The test's clock."""
    return StillClock()


def hashrate(response: Response) -> Any:
    """What a /status.json tells."""
    assert response.status == 200, response.body
    return response.json["rig"]["hashrate"]


def began(chi: Chi, miner: ScriptedMiner, path: str = "/status.json", **headers: str) -> Background:
    """A client that waits for `path`; returns when the miner has been asked something."""
    before = len(miner.requests)
    client = Background(chi.get, path, **headers)
    miner.asked(before + 1)
    return client


def learn(chi: Chi, miner: ScriptedMiner, slow: Slow) -> None:
    """Have chi ask a Whatsminer for the first time, which takes it seven requests."""
    client = began(chi, miner)
    slow.takes(chi, 5)  # 4.0625 s
    response = client.result()
    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    assert "has been reading its status for 4 s" in response.message
    slow.takes(chi, 2)
    known(chi, 0.0)


def known(chi: Chi, since: float) -> None:
    """Wait until chi knows a status that was asked for after `since`."""
    until(lambda: chi.monitor.newest.asked > since)


def until(happened: Callable[[], bool]) -> None:
    """Wait for what the event loop does in its own time; AssertionError if it does not."""
    for _ in range(4000):
        if happened():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it has not happened")


FIRST = [JOINED, "version", "get_version", "summary", "pools", "edevs", "devdetails"]


def test_a_slow_whatsminer_is_shown(serve: Serve, miner: ScriptedMiner, clock: StillClock) -> None:
    """The first answer says that it is on its way; the scrape goes on, and the next client has it."""
    slow = Slow(miner, "whatsminer")
    chi = serve(miner.port, clock=clock.clock, read_only=True)
    learn(chi, miner, slow)
    assert sorted(miner.commands) == sorted(FIRST)
    client = began(chi, miner)
    slow.takes_at_once(chi, 4)  # side by side, as many as --threads
    slow.takes(chi)
    response = client.result()
    assert hashrate(response) > 1e12
    assert "Age" not in response.headers
    assert sorted(miner.commands[len(FIRST) :]) == sorted(FIRST[2:])


def test_a_client_gets_the_last_status_with_its_age(
    serve: Serve, miner: ScriptedMiner, clock: StillClock
) -> None:
    """Who has waited for --timeout gets the last status, if it is young enough, and the scrape goes on."""
    slow = Slow(miner, "whatsminer")
    chi = serve(miner.port, clock=clock.clock, read_only=True)
    learn(chi, miner, slow)
    taken = 7 * COMMAND
    for path in ("/status.json", "/metrics"):
        client = began(chi, miner, path)
        slow.takes(chi)
        chi.advance(4.0 - COMMAND)
        response = client.result()
        assert response.status == 200
        assert response.headers["Age"] == str(int(taken + 4.0))
        if path == "/metrics":
            assert parse(response.body)["cgminer_up", ""] == 1
        before = chi.monitor.newest.asked
        slow.takes(chi, 4, 0.5)  # a miner that says nothing for 4 s is silent
        known(chi, before)
        taken = 4.0 + 4 * 0.5


def test_prometheus_waits_as_long_as_it_says(serve: Serve, miner: ScriptedMiner, clock: StillClock) -> None:
    """A scrape timeout of Prometheus' is kept, less a margin: then it gets the last status."""
    slow = Slow(miner, "whatsminer")
    chi = serve(miner.port, clock=clock.clock, read_only=True)
    learn(chi, miner, slow)
    client = began(chi, miner, "/metrics", X_Prometheus_Scrape_Timeout_Seconds="2")
    slow.takes(chi)
    chi.advance(1.5 - COMMAND)
    response = client.result()
    assert parse(response.body)["cgminer_up", ""] == 1
    assert response.headers["Age"] == str(int(7 * COMMAND + 1.5))


def test_an_old_status_is_not_given(serve: Serve, miner: ScriptedMiner, clock: StillClock) -> None:
    """A status of more than STATUS_AGE is none: the next is on its way."""
    slow = Slow(miner, "whatsminer")
    chi = serve(miner.port, clock=clock.clock, read_only=True)
    learn(chi, miner, slow)
    chi.advance(STATUS_AGE)
    client = began(chi, miner)
    slow.takes(chi)
    chi.advance(4.0 - COMMAND)
    assert "has been reading its status for 4 s" in client.result().message


def test_a_scrape_ends(serve: Serve, miner: ScriptedMiner, clock: StillClock) -> None:
    """A scrape is given up after SCRAPE_TIME, and asks nothing more."""
    slow = Slow(miner, "whatsminer")
    chi = serve(miner.port, clock=clock.clock, read_only=True)
    client = began(chi, miner)
    slow.takes(chi, 5)
    client.result()
    miner.asked(7)
    chi.advance(SCRAPE_TIME - 4.0)
    for _ in range(3):  # turns of the loop
        assert chi.get("/healthz").status == 200
    slow.answers_all()
    assert chi.get("/config").status == 200
    assert sorted(miner.commands[:7]) == sorted(FIRST)
    assert chi.monitor.newest.status is None


def test_a_silent_miner_is_not_a_slow_one(serve: Serve, miner: ScriptedMiner, clock: StillClock) -> None:
    """A miner that has been quick and says nothing any more is down at --timeout, whatever it said before."""
    slow = Slow(miner, "luxos")
    chi = serve(miner.port, clock=clock.clock, read_only=True)
    client = began(chi, miner)
    slow.takes(chi, 2)
    assert hashrate(client.result()) > 1e12
    client = began(chi, miner)
    chi.advance(4.0)
    response = client.result()
    assert (response.status, response.message) == (504, "The miner did not answer within 4 s.")


def test_what_hangs_up_on_a_second_connection_is_asked_one_at_a_time(
    serve: Serve, miner: ScriptedMiner, clock: StillClock
) -> None:
    """An Avalon is never sent a second request while it has one, by scrapes or by others."""
    slow = Slow(miner, "avalon", [unknown_command("avalon") + b"\0"])
    chi = serve(miner.port, clock=clock.clock, read_only=True)
    client = began(chi, miner)
    slow.takes(chi, 6)
    client.result()
    client, other = began(chi, miner), Background(chi.get, "/coin")
    for count in range(7, 12):
        miner.asked(count)
        chi.advance(COMMAND)
        assert len(miner.requests) == count
        slow.takes(chi, 1)
    slow.answers_all()
    assert other.result().status in (200, 503)
    client.result()


def test_a_command_ends_what_is_known(
    serve: Serve, miner: ScriptedMiner, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked for before a privileged command is not given after it, be the miner slow or not."""
    monkeypatch.setattr("chi.monitor.PROBE_AFTER", float("inf"))
    slow = Slow(miner, "whatsminer")
    chi = serve(miner.port, clock=clock.clock)
    learn(chi, miner, slow)
    command = Background(chi.request, "/restart", "POST")
    slow.takes(chi)
    command.result()
    client = began(chi, miner)
    slow.takes(chi)
    chi.advance(4.0 - COMMAND)
    assert client.result().status == 503


def test_only_one_scrape_goes_on(serve: Serve, miner: ScriptedMiner, clock: StillClock) -> None:
    """Of two scrapes whose clients have their answers, the first goes on, and the miner is asked once."""
    slow = Slow(miner, "whatsminer")
    chi = serve(miner.port, clock=clock.clock, read_only=True)
    learn(chi, miner, slow)
    first = began(chi, miner)
    slow.takes(chi)
    second = Background(chi.get, "/status.json")
    until(lambda: len(chi.monitor._waiting) == 2)
    slow.takes(chi, 1, 1.0)  # a miner that says nothing for 4 s is silent
    chi.advance(3.0 - COMMAND)
    assert first.result().status == 200
    slow.takes(chi, 1, COMMAND)
    assert second.result().status == 200
    before = chi.monitor.newest.asked
    slow.answers_all()
    known(chi, before)
    assert chi.get("/healthz").status == 200


def test_an_answer_after_the_end_of_a_sample_changes_nothing(
    serve: Serve, miner: ScriptedMiner, clock: StillClock
) -> None:
    """One of the requests side by side fails, and with it the sample; another's answer comes later."""
    answers, gate = miner_like("whatsminer"), threading.Event()
    miner.script = answers
    chi = serve(miner.port, clock=clock.clock, history=60)
    assert hashrate(chi.get("/status.json")) > 1e12

    def samples() -> int:
        return len(chi.monitor.history.to_json(clock.seconds, 0.0)["samples"]["time"])

    before, asked = samples(), len(miner.requests)
    miner.script = lambda request: [] if b"summary" in request else [gate, *answers(request)]
    chi.advance(chi.monitor.sample_at - clock.seconds)
    until(lambda: samples() > before)
    miner.asked(asked + 2)
    gate.set()
    until(lambda: not chi.miner._open)
    assert samples() == before + 1
