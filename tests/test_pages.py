"""The page and what it reads: the history, samples taken in the background, a status that viewers share."""

from __future__ import annotations

import base64
import functools
import hashlib
import html.parser
import itertools
import json
import logging
import math
import re
import struct
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chi import app, requests
from chi.bounds import PROBES
from chi.errors import ChiError
from chi.monitor import FIRST_SAMPLE
from chi.responses import JSON
from chi.server.loop import DRAIN
from chi.status import firmware
from chi.status.firmware import normalise
from chi.status.history import RANGES, SAMPLE_INTERVAL, SAMPLED, History
from chi.status.model import Status
from chi.status.problems import PROBLEMS, code_of
from tests.client import Background, Wire
from tests.conftest import Chi, Response, StillClock
from tests.miner.test_asking import settle
from tests.scripted import CLOSE, HOLD, ScriptedMiner, Step, free_port
from tests.status.golden import FIRMWARES, GOLDEN, columns, replies_of
from tests.test_monitor import (
    JOINED,
    NO_SUMMARY,
    REQUESTS,
    USERS,
    busy_with,
    counted,
    gated,
    miner_like,
    scrape,
)

FILE = Path(app.__file__).parent / "dashboard.html"
TOKEN = "0123456789abcdef"
BASIC = f"Basic {base64.b64encode(f'me:{TOKEN}'.encode()).decode()}"
HOUR = "max-age=3600"

# --- Samples in the background --------------------------------------------------------------------


class Watched(History):
    """A history whose samples can be waited for."""

    def __init__(self) -> None:
        super().__init__(240)
        self._changed = threading.Condition()
        self._count = 0

    def add(self, now: float, status: Status | None) -> None:
        with self._changed:
            super().add(now, status)
            self._count += 1
            self._changed.notify_all()

    def wait(self, count: int) -> dict[str, Any]:
        """Wait until there were so many; return all that there are."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._count >= count, 10), f"{self._count}, not {count}"
            return columns(self)


@pytest.fixture
def sampler(serve: Callable[..., Chi], miner: ScriptedMiner) -> Callable[..., tuple[Chi, Watched]]:
    """Serve with a history that is watched, and takes a small sample when it is told to."""

    def start(port: int = miner.port, interval: float = 3600.0, **settings: Any) -> tuple[Chi, Watched]:
        chi = serve(port, **{"history": 60, **settings})
        chi.monitor.sample_at = math.inf
        chi.monitor.interval, chi.monitor.full_at = interval, math.inf
        chi.monitor.history = history = Watched()
        return chi, history

    return start


def due(chi: Chi, seconds: float = 0.0) -> None:
    """Have the next sample be due, at once or in so many seconds."""
    chi.monitor.sample_at = time.monotonic() + seconds
    chi.miner.on_work()  # when its turn is due is reckoned anew
    chi.loop.wake()


SAMPLE = "version+summary+pools+devs+stats"
SAMPLES = {  # what is asked for the first sample, and for each later one
    "avalon": ([SAMPLE, "estats"], ["version+summary+pools+devs+estats"]),
    "bfgminer-5.5.0": ([SAMPLE], [SAMPLE]),
    "bitmain-s19": ([SAMPLE], ["version+summary+pools+stats"]),
    "bitmain-s9": ([SAMPLE], ["version+summary+pools+stats"]),
    "bosminer": ([SAMPLE, "temps"], ["version+summary+pools+devs+temps"]),
    "cgminer-4.11.1": ([SAMPLE], [SAMPLE]),
    "luxos": ([SAMPLE, "temps"], [f"{SAMPLE}+temps"]),
    "sgminer-5.1.1": ([SAMPLE], [SAMPLE]),
    "whatsminer": (
        [SAMPLE, "version", "get_version", "summary", "pools", "edevs"],
        ["get_version", "summary", "pools", "edevs"],
    ),
}


@pytest.mark.parametrize("golden", FIRMWARES)
def test_what_a_sample_asks(sampler: Callable[..., Any], miner: ScriptedMiner, golden: str) -> None:
    """As few requests as the firmware allows; the sample has what the status has."""
    miner.script = miner_like(golden)
    chi, history = sampler()
    first, later = SAMPLES[golden]
    for number, asked in enumerate((first, later, later), 1):
        before = len(miner.requests)
        due(chi)
        found = history.wait(number)
        assert sorted(miner.commands[before:]) == sorted(asked)
    expected = json.loads((GOLDEN / golden / "expected.json").read_text())["rig"]
    for name in SAMPLED:
        assert found[name] == [expected[name]] * 3


@pytest.mark.parametrize("golden", FIRMWARES)
def test_a_sample_and_a_scrape_remember_together(
    sampler: Callable[..., Any], miner: ScriptedMiner, golden: str
) -> None:
    """What the firmware is, one finds out for the other."""
    miner.script = miner_like(golden)
    chi, history = sampler()
    due(chi)
    history.wait(1)
    before = len(miner.requests)
    assert chi.get("/status.json").status == 200
    assert sorted(miner.commands[before:]) == sorted(REQUESTS[golden][1])
    other, its_history = sampler()
    scrape(other)
    before = len(miner.requests)
    due(other)
    its_history.wait(1)
    assert sorted(miner.commands[before:]) == sorted(SAMPLES[golden][1])


def test_the_first_sample_comes_soon(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """15 s after the start, and each later one after the interval."""
    began = time.monotonic()
    monitor = serve(miner.port, history=60).monitor
    assert began + FIRST_SAMPLE <= monitor.sample_at <= time.monotonic() + FIRST_SAMPLE
    assert FIRST_SAMPLE <= SAMPLE_INTERVAL


def test_samples_follow_each_other(sampler: Callable[..., Any], miner: ScriptedMiner) -> None:
    """One begins the next, an interval later, with nobody asking."""
    miner.script = miner_like("bitmain-s9")
    chi, history = sampler(interval=0.2)
    due(chi)
    assert history.wait(3)["shares_accepted"][0] > 0
    times = list(history._times)
    assert all(later - earlier > 0.19 for earlier, later in itertools.pairwise(times))


def test_history_json(sampler: Callable[..., Any], miner: ScriptedMiner) -> None:
    """It has each sample with its time, and gaps where the miner did not answer; it asks for nothing."""
    miner.script = miner_like("bitmain-s9")
    chi, history = sampler()
    for number, script in enumerate((miner.script, [NO_SUMMARY], [b"x\0"], miner.script, [CLOSE]), 1):
        miner.script = script
        due(chi)
        history.wait(number)
    while not chi.miner.idle:  # what closed is asked for its other commands as well
        time.sleep(0.01)
    asked = len(miner.requests)
    before = int(time.time())
    response = chi.get("/history.json")
    assert response.status == 200
    assert response.headers["Content-Type"] == JSON
    assert response.headers["Cache-Control"] == "no-store"
    told = response.json
    assert list(told) == ["time", "minutes", "interval", "samples"]
    assert before <= told["time"] <= time.time()
    assert all(before - 30 <= then <= told["time"] for then in told["samples"]["time"])
    good = json.loads((GOLDEN / "bitmain-s9" / "expected.json").read_text())["rig"]
    for name in SAMPLED:
        assert told["samples"][name] == [good[name], None, None, good[name], None]
    assert len(miner.requests) == asked


def test_history_json_of_a_new_chi(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """It tells the settings, and has no samples yet."""
    told = serve(miner.port, history=480).get("/history.json").json
    assert (told["minutes"], told["interval"], told["samples"]["time"]) == (480, 30, [])
    assert miner.requests == []


def test_a_miner_that_is_down(sampler: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """Each sample is a gap; the log has one line in all."""
    chi, history = sampler(free_port())
    with caplog.at_level(logging.DEBUG):
        for number in range(1, 6):
            due(chi)
            assert history.wait(number)["hashrate"] == [None] * number
    assert [record.getMessage()[:24] for record in caplog.records if record.name == "chi"] == [
        "The miner's API at 127.0"
    ]
    assert counted(scrape(chi), "miner_errors") == {"refused": 6}


def test_a_hung_miner_does_not_stop_the_samples(sampler: Callable[..., Any], miner: ScriptedMiner) -> None:
    """The next still comes, one request for each, and nothing is left of those before."""
    miner.script = [HOLD]
    chi, history = sampler(interval=0.3, timeout=0.2)
    due(chi)
    found = history.wait(4)
    assert set(found["hashrate"]) == {None}
    assert len(miner.requests) <= len(history.wait(4)["time"]) + 1
    assert len(chi.miner._open) <= 1
    miner.script = miner_like("cgminer-4.11.1")
    due(chi)
    history.wait(len(found["time"]) + 3)
    assert columns(history)["hashrate"][-1] == 0


def test_a_sample_takes_no_longer_than_to_the_next(sampler: Callable[..., Any], miner: ScriptedMiner) -> None:
    """Also where --timeout is longer than the interval."""
    miner.script = [HOLD]
    chi, history = sampler(interval=0.2, timeout=3600.0)
    due(chi)
    assert history.wait(4)["hashrate"][:4] == [None] * 4
    assert len(miner.requests) <= PROBES + chi.settings.threads


def test_a_sample_under_way_does_not_hold_up_the_end(
    sampler: Callable[..., Any], miner: ScriptedMiner
) -> None:
    """Nobody waits for it."""
    miner.script = [HOLD]
    chi, _ = sampler()
    due(chi)
    miner.asked(1)
    began = time.monotonic()
    chi.stop()
    assert time.monotonic() - began < DRAIN


def test_a_fault_in_a_sample_ends_nothing(
    sampler: Callable[..., Any],
    miner: ScriptedMiner,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What goes wrong in chi itself costs the sample, and is logged; chi serves on, and samples."""
    miner.script = miner_like("cgminer-4.11.1")
    chi, history = sampler()
    normalise = firmware.normalise
    monkeypatch.setattr(firmware, "normalise", lambda *_: 1 / 0)
    due(chi)
    assert history.wait(1)["hashrate"] == [None]
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.setattr(firmware, "normalise", normalise)
    due(chi)
    assert history.wait(2)["hashrate"] == [None, 0]
    assert chi.get("/healthz").status == 200


@pytest.mark.parametrize("path", ["/metrics", "/status.json"])
def test_a_scrape_near_its_time_is_the_sample(
    sampler: Callable[..., Any], miner: ScriptedMiner, path: str
) -> None:
    """In the last tenth of the interval what was asked for somebody else is taken, and chi asks no more."""
    miner.script = miner_like("bitmain-s9")
    chi, history = sampler()
    due(chi, 350)  # of 3600 s
    began = time.monotonic()
    assert chi.get(path).status == 200
    found = history.wait(1)
    assert found["shares_accepted"][0] > 0
    assert began + 3600 <= chi.monitor.sample_at <= time.monotonic() + 3600
    assert chi.get(path).status == 200
    assert len(history.wait(1)["time"]) == 1
    assert len(miner.requests) == 2


@pytest.mark.parametrize("path", ["/metrics", "/status.json"])
def test_a_scrape_long_before_is_not(sampler: Callable[..., Any], miner: ScriptedMiner, path: str) -> None:
    """Samples do not come closer because somebody looks."""
    miner.script = miner_like("bitmain-s9")
    chi, history = sampler()
    due(chi, 370)
    at = chi.monitor.sample_at
    assert chi.get(path).status == 200
    assert columns(history)["time"] == []
    assert chi.monitor.sample_at == at


def test_a_scrape_that_fails_is_no_sample(sampler: Callable[..., Any], miner: ScriptedMiner) -> None:
    """When it is time, chi asks itself."""
    miner.script = [CLOSE]
    chi, history = sampler()
    due(chi, 350)
    assert chi.get("/status.json").status == 502
    assert columns(history)["time"] == []


def test_scrapes_of_many_give_one_sample(sampler: Callable[..., Any], miner: ScriptedMiner) -> None:
    """Those who wait at the same time are one sample, with the time of the first who is answered."""
    miner.script, gates = gated(miner_like("bitmain-s9"))
    chi, history = sampler()
    due(chi, 350)
    with Wire(chi.port) as first, Wire(chi.port) as second:
        first.request("GET /metrics")
        miner.asked(1)
        second.request("GET /status.json")
        settle(chi)
        for number in range(3):
            gates[number].set()
        assert [first.read().status, second.read().status] == [200, 200]
    assert len(history.wait(1)["time"]) == 1


@pytest.fixture
def minutes(serve: Callable[..., Chi], miner: ScriptedMiner) -> Callable[..., Chi]:
    """Let chi watch a miner for so many seconds, which take none."""
    chi = serve(miner.port, clock=StillClock().clock, history=60)
    counted = 0

    def sampled(count: int) -> bool:
        return len(columns(chi.monitor.history)["time"]) >= count

    def watch(seconds: float, golden: str = "") -> Chi:
        nonlocal counted
        if golden:
            miner.script = miner_like(golden)
        for _ in range(round(seconds / 15)):
            chi.advance(15)
            counted += 1
            until(functools.partial(sampled, counted))
        return chi

    return watch


def until(happened: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    ends = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < ends
        time.sleep(0.002)


def test_each_minute_all_is_asked(minutes: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """Every fourth sample is a whole scrape, with fans and power; the others are small."""
    minutes(150, "bosminer")
    small = SAMPLES["bosminer"][1][0]
    whole = REQUESTS["bosminer"][1][0]
    assert small != whole
    asked = [command for command in miner.commands[2:] if command != "privileged"]
    assert asked == [*[small] * 3, whole, *[small] * 3, whole, small]


def test_a_scrape_takes_the_place_of_the_whole_sample(
    minutes: Callable[..., Chi], miner: ScriptedMiner
) -> None:
    """Who is scraped each minute is not asked for more."""
    chi = minutes(45, "bosminer")
    chi.advance(10)
    assert chi.get("/status.json").status == 200
    before = len(miner.requests)
    minutes(45, "bosminer")
    assert miner.commands[before:] == SAMPLES["bosminer"][1] * 3


def test_the_verdict_is_told_everywhere(minutes: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """A miner without new shares does not earn after a while: in JSON, in metrics, and in words."""
    chi = minutes(60, "bitmain-s9")
    assert chi.get("/status.json").json["verdict"]["earning"] is True
    assert scrape(chi)["cgminer_earning", ""] == 1
    assert chi.get("/readyz").json["STATUS"][0]["Msg"].endswith(" answers. Earning.")
    minutes(600)
    verdict = chi.get("/status.json").json["verdict"]
    assert verdict["earning"] is False
    (problem,) = verdict["problems"]
    assert (problem["code"], problem["level"], problem["about"]) == ("no-share", "bad", "")
    assert problem["since"] - chi.clock.epoch() in (-360, -359, -300, -299)
    found = scrape(chi)
    assert found["cgminer_earning", ""] == 0
    assert found["cgminer_problem", 'code="no-share",about=""'] == 1
    assert "Not earning. The miner hashes, but" in chi.get("/readyz").json["STATUS"][0]["Msg"]
    miner.script = [CLOSE]
    minutes(120)
    found = scrape(chi)
    assert ("cgminer_earning", "") not in found
    assert found["cgminer_problem", 'code="no-data",about=""'] == 1


def test_the_verdict_without_a_history(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """It is judged whenever somebody asks."""
    miner.script = miner_like("bitmain-s9")
    chi = serve(miner.port, clock=StillClock().clock)
    for _ in range(10):
        chi.advance(60)
        scrape(chi)
    assert chi.get("/status.json").json["verdict"]["earning"] is False


def test_who_was_not_asked_is_not_silent(
    serve: Callable[..., Chi], miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that tells nothing of the miner leaves the verdict as it is."""
    miner.script = miner_like("bitmain-s9")
    chi = serve(miner.port, clock=StillClock().clock)
    assert look(chi).status == 200
    verdict = chi.monitor.verdict
    for name in ("busy", "not-sent"):
        error = ChiError(name, seconds=1)
        monkeypatch.setattr(chi.miner, "ask", lambda *_, error=error, **__: (_ for _ in ()).throw(error))
        chi.advance(100)
        assert chi.get("/status.json").status == 503
        assert chi.monitor.verdict is verdict


@pytest.mark.parametrize("span", RANGES)
def test_ranges_of_history_json(minutes: Callable[..., Chi], span: str) -> None:
    """Each is told, by its name; without one it is as ever."""
    chi = minutes(120, "bitmain-s9")
    told = chi.get(f"/history.json?range={span}").json
    assert (told["range"], told["minutes"] * 60, told["interval"]) == (span, *RANGES[span])
    assert told["samples"]["time"]
    assert "range" not in chi.get("/history.json").json


@pytest.mark.parametrize("span", ["", "2h", "1H", "%31h+", "24h&range=1h&", "\u20ac"])
def test_other_ranges_are_refused(serve: Callable[..., Chi], miner: ScriptedMiner, span: str) -> None:
    """In words, with those that there are."""
    response = serve(miner.port).get(f"/history.json?range={urllib.parse.quote(span, safe='%&=+')}")
    if span.startswith("24h"):
        assert response.json["range"] == "24h"
        return
    assert response.status == 400
    message = response.json["STATUS"][0]["Msg"]
    assert "Use one of 1h, 6h, 24h, or omit it" in message


def test_without_history_nothing_is_asked(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """--history 0: no sample, not by a scrape either, and the document says so."""
    miner.script = miner_like("bitmain-s9")
    chi = serve(miner.port, history=0)
    assert chi.monitor.sample_at == math.inf
    chi.loop.wake()
    settle(chi)
    assert miner.requests == []
    scrape(chi)
    told = chi.get("/history.json").json
    assert told["minutes"] == 0
    assert set(map(tuple, told["samples"].values())) == {()}
    assert miner.commands == [JOINED]


@pytest.mark.parametrize("path", ["/history.json", "/dashboard", "/history.json?pretty"])
def test_own_documents_need_no_miner(sampler: Callable[..., Any], miner: ScriptedMiner, path: str) -> None:
    """They are there at once while the miner hangs and clients wait for it, and ask it nothing."""
    miner.script = [HOLD]
    chi, _ = sampler(timeout=30.0)
    clients = busy_with(chi, miner)
    asked = len(miner.requests)
    began = time.monotonic()
    for _ in range(5):
        assert chi.get(path).status == 200
    assert time.monotonic() - began < 2
    assert len(miner.requests) == asked
    for client in clients:
        client.close()


# --- A status that viewers share ------------------------------------------------------------------


def look(chi: Chi, control: str = HOUR, path: str = "/status.json", **headers: str) -> Response:
    """GET a status that may be held."""
    response = chi.get(path, Cache_Control=control, **headers)
    assert response.status == 200, response.body
    return response


@pytest.fixture
def steady(chi: Chi, miner: ScriptedMiner) -> Chi:
    """Chi with a miner that is well."""
    miner.script = miner_like("cgminer-4.11.1")
    return chi


def test_viewers_within_the_age_share_a_request(steady: Chi, miner: ScriptedMiner) -> None:
    """Many who take an older status cost the miner one request, and are counted as such."""
    first = look(steady).body
    for _ in range(20):
        assert look(steady).body == first
    assert miner.commands == [JOINED]
    assert counted(scrape(steady), "coalesced_requests") == {"": 20}


@pytest.mark.parametrize("before", [True, False])
def test_fifty_at_once_cost_one_request(steady: Chi, miner: ScriptedMiner, before: bool) -> None:
    """Those who come before it is sent as well as those who come while it is under way."""
    miner.script, gates = gated(miner_like("cgminer-4.11.1"))
    busy = busy_with(steady, miner) if before else []
    wires = [Wire(steady.port) for _ in range(50)]
    for number, wire in enumerate(wires):
        wire.request("GET /status.json", f"Cache-Control: {HOUR}")
        if not before and not number:
            miner.asked(1)
    settle(steady)
    for number in range(len(busy) + 5):
        gates[number].set()
    bodies = set()
    for wire in wires:
        with wire:
            response = wire.read()
            assert response.status == 200
            bodies.add(response.body)
    assert len(bodies) == 1
    assert miner.commands.count(JOINED) == 1
    assert len(miner.requests) == len(busy) + 1
    for client in busy:
        client.close()


def test_fifty_at_once_of_a_firmware_that_does_not_join(chi: Chi, miner: ScriptedMiner) -> None:
    """They wait for several requests, and not all at the same: a few times what one costs, not fifty."""
    miner.script, gates = gated(miner_like("whatsminer"))
    wires = [Wire(chi.port) for _ in range(50)]
    for number, wire in enumerate(wires):
        wire.request("GET /status.json", f"Cache-Control: {HOUR}")
        if not number:
            miner.asked(1)
    settle(chi)
    for number in range(500):
        gates[number].set()
    for wire in wires:
        with wire:
            assert wire.read().json["rig"]["software"] == "btminer"
    assert len(miner.requests) <= 10 * len(REQUESTS["whatsminer"][0])


def test_without_the_header_it_is_fresh(steady: Chi, miner: ScriptedMiner) -> None:
    """Whoever does not say what age is taken gets a new one, however new the held one is."""
    look(steady)
    for number in range(2, 5):
        response = steady.get("/status.json")
        assert "Age" not in response.headers
        assert len(miner.requests) == number


AGES = [
    ("max-age=5", 5), ("max-age=0", 0), ("max-age=999999999", 999_999_999), ("Max-Age=5", 5),
    ("max-age=5, max-stale", 5), ("min-fresh=1,max-age=5", 5), ("min-fresh=1, max-age=5", 5),
    ("max-age=007", 7),
    # What it must be asked for anew in spite of
    ("no-cache", 0), ("no-store", 0), ("max-age=5, no-cache", 0), ("no-cache, max-age=5", 0),
    ("max-age=5,no-store", 0), ("MAX-AGE=5,NO-CACHE", 0),
    # What is no such word
    ("", 0), ("max-age", 0), ("max-age=", 0), ("max-age=x", 0), ("max-age=-1", 0), ("max-age=1.5", 0),
    ("max-age=5s", 0), ("max-age= 5", 0), ("max-age=0x5", 0), ("max-age=1e3", 0), ("max-age=\"5\"", 0),
    ("x-max-age=5", 0), ("s-maxage=5", 0), ("max-age=9999999999", 0), ("max-age=" + "9" * 5000, 0),
    ("max-age=\u0663", 0), ("max-age=\u00b2", 0), ("only-if-cached", 0), ("garbage ;= \x7f", 0),
]  # fmt: skip


@pytest.mark.parametrize(("control", "age"), AGES)
def test_accepted_age(control: str, age: float) -> None:
    """Cache-Control: max-age, in whole seconds; anything else wants a fresh status."""
    assert requests.accepted_age({"HTTP_CACHE_CONTROL": control}) == age
    assert requests.accepted_age({}) == 0


@pytest.mark.parametrize(
    ("control", "age"), [row for row in AGES if row[0].isascii() and "\x7f" not in row[0]]
)
def test_only_who_says_so_gets_a_held_status(
    steady: Chi, miner: ScriptedMiner, control: str, age: float
) -> None:
    """And nothing in the header is an error."""
    look(steady)
    look(steady, control)
    assert len(miner.requests) == (1 if age else 2)


def aged(chi: Chi, seconds: float) -> None:
    """Make the status that is held so much older."""
    newest = chi.monitor._newest
    chi.monitor._newest = newest._replace(asked=newest.asked - seconds)


def test_a_held_status_is_never_older_than_asked_for(steady: Chi, miner: ScriptedMiner) -> None:
    """Its age is told in seconds; one that is too old for a client is asked for anew, for all."""
    look(steady)
    aged(steady, 30)
    assert look(steady, "max-age=60").headers["Age"] == "30"
    assert look(steady, "max-age=31").headers["Age"] == "30"
    assert len(miner.requests) == 1
    assert "Age" not in look(steady, "max-age=30").headers  # it is a little older
    assert len(miner.requests) == 2
    assert "Age" not in look(steady, "max-age=60").headers
    assert len(miner.requests) == 2


def test_what_a_scrape_found_is_held_as_well(steady: Chi, miner: ScriptedMiner) -> None:
    """Prometheus and viewers share."""
    scrape(steady)
    look(steady)
    assert miner.commands == [JOINED]
    scrape(steady)
    assert miner.commands == [JOINED] * 2


def test_a_sample_is_no_status(sampler: Callable[..., Any], miner: ScriptedMiner) -> None:
    """It has no pools: a viewer gets all, and is no sample when held."""
    miner.script = miner_like("cgminer-4.11.1")
    chi, history = sampler()
    due(chi)
    history.wait(1)
    assert look(chi).json["pools"]
    assert miner.commands == [SAMPLE, JOINED]
    due(chi, 350)
    look(chi)
    assert len(columns(history)["time"]) == 1


@pytest.mark.parametrize(
    ("path", "method", "body", "ends"),
    [
        ("/zero/all,false", "POST", None, True),
        ("/zero/all,false", "GET", None, True),
        ("/", "POST", b'{"command":"switchpool","parameter":"1"}', True),
        ("/summary+restart", "POST", None, True),
        ("/nonsense", "GET", None, True),
        ("/summary", "POST", None, False),
        ("/pools", "GET", None, False),
        ("/healthz", "GET", None, False),
    ],
)
def test_a_privileged_command_ends_it(
    steady: Chi, miner: ScriptedMiner, path: str, method: str, body: bytes | None, ends: bool
) -> None:
    """After what may have changed the miner, nobody gets what it said before."""
    look(steady)
    assert steady.request(path, method, body).status == 200
    before = len(miner.requests)
    look(steady)
    assert len(miner.requests) - before == (1 if ends else 0)


def test_a_command_that_is_refused_ends_nothing(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """Nobody can wear the miner out with what chi does not forward."""
    miner.script = miner_like("cgminer-4.11.1")
    chi = serve(miner.port, read_only=True)
    look(chi)
    assert chi.request("/zero/all,false", "POST").status == 403
    look(chi)
    assert len(miner.requests) == 1


def test_a_privileged_command_under_way(steady: Chi, miner: ScriptedMiner) -> None:
    """From when it is sent, what was asked before is old; and again when it has ended."""
    gate, healthy = threading.Event(), miner_like("cgminer-4.11.1")

    def script(request: bytes) -> list[Step]:
        return [gate, *healthy(request)] if b"zero" in request else list(healthy(request))

    miner.script = script
    look(steady)
    command = Background(steady.request, "/zero/all,false", "POST")
    miner.asked(2)
    look(steady)
    assert miner.commands == [JOINED, "zero", JOINED]
    gate.set()
    assert command.result().status == 200
    look(steady)
    assert miner.commands == [JOINED, "zero", JOINED, JOINED]
    look(steady)
    assert len(miner.requests) == 4


def test_a_status_under_way_when_a_command_is_sent(steady: Chi, miner: ScriptedMiner) -> None:
    """What may have been read before the change is for those who asked for it then, and for nobody later."""
    gate, healthy = threading.Event(), miner_like("cgminer-4.11.1")

    def script(request: bytes) -> list[Step]:
        return [gate, *healthy(request)] if b"pools" in request else list(healthy(request))

    miner.script = script
    viewer = Background(look, steady)
    miner.asked(1)
    assert steady.request("/zero/all,false", "POST").status == 200
    gate.set()
    viewer.result()
    look(steady)
    assert miner.commands == [JOINED, "zero", JOINED]


def test_errors_are_not_held(chi: Chi, miner: ScriptedMiner) -> None:
    """A miner that is down is asked by each, and its coming back is seen at once."""
    miner.script = [CLOSE]
    for number in range(1, 4):
        response = chi.get("/status.json", Cache_Control=HOUR)
        assert response.status == 502
        assert "Age" not in response.headers
        assert counted(scrape(chi), "miner_errors")["closed"] >= 2 * number
    before = len(miner.requests)
    miner.script = miner_like("cgminer-4.11.1")
    look(chi)
    assert len(miner.requests) > before


@pytest.mark.parametrize("path", ["/metrics", "/summary"])
def test_others_are_fresh_whatever_they_say(steady: Chi, miner: ScriptedMiner, path: str) -> None:
    """The header is for /status.json alone."""
    look(steady, path=path)
    look(steady, path=path)
    assert len(miner.requests) == 2


# --- Users and indentation ------------------------------------------------------------------------


@pytest.mark.parametrize("golden", FIRMWARES)
def test_users_for_one_request(chi: Chi, miner: ScriptedMiner, golden: str) -> None:
    """?users shows the users of pools to who asks so, also of a held status, and to nobody else."""
    miner.script = miner_like(golden)
    pools = normalise(replies_of(golden)).pools
    for query in ("?users", "?users=1", "?pretty&users", "?users&pretty"):
        told = look(chi, path=f"/status.json{query}").json["pools"]
        assert [pool["user"] for pool in told] == [pool.user for pool in pools]
    for path in ("/status.json", "/status.json?user", "/status.json?xusers", "/status.json?x=users"):
        for control in (HOUR, "no-cache"):
            body = look(chi, control, path=path).body
            assert b'"user"' not in body
            assert not [name for name in USERS if name.encode() in body]
    assert b"user=" not in chi.get("/metrics?users").body
    assert b"user" not in chi.get("/history.json?users").body


def test_users_of_the_setting(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """--metrics-pool-user shows them without being asked."""
    miner.script = miner_like("bitmain-s9")
    chi = serve(miner.port, metrics_pool_user=True)
    plain, asked = chi.get("/status.json").json, chi.get("/status.json?users").json
    assert plain["pools"][0]["user"] == asked["pools"][0]["user"] == "wallet.worker1"


@pytest.mark.parametrize("path", ["/status.json", "/history.json"])
def test_pretty(sampler: Callable[..., Any], miner: ScriptedMiner, path: str) -> None:
    """?pretty indents, as it does a reply, and changes nothing else."""
    miner.script = miner_like("bitmain-s9")
    chi, history = sampler()
    due(chi)
    history.wait(1)
    plain, pretty = look(chi, path=path), look(chi, path=f"{path}?pretty")
    assert b"\n" not in plain.body
    assert pretty.body.startswith(b'{\n  "')
    # But for times, which go on.
    assert re.sub(rb"\s|1[0-9]{9}", b"", pretty.body) == re.sub(rb"\s|1[0-9]{9}", b"", plain.body)
    assert pretty.json.keys() == plain.json.keys()
    assert b"\n" not in look(chi, path=f"{path}?prettyx").body


# --- The page -------------------------------------------------------------------------------------


class Reader(html.parser.HTMLParser):
    """Reads a page: its tags with their attributes, and what is inside of script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in self.inside and self.cdata_elem:
            self.inside[self.tags[-1][0]][-1] += data


PAGE = FILE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reader() -> Reader:
    """The page, read."""
    return Reader(PAGE)


def policy(response: Response) -> dict[str, list[str]]:
    """The Content-Security-Policy, by directive."""
    parts = response.headers["Content-Security-Policy"].split(";")
    found = [part.split() for part in parts]
    assert len({words[0] for words in found}) == len(found)
    return {words[0]: words[1:] for words in found}


def test_the_page(chi: Chi, miner: ScriptedMiner) -> None:
    """It is the file, as HTML that no other site can frame; the miner is not asked."""
    response = chi.get("/dashboard")
    assert response.status == 200
    assert response.body == FILE.read_bytes()
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert miner.requests == []


def test_what_the_page_may(chi: Chi, reader: Reader) -> None:
    """Its own script and style, by their hashes, and asking chi; nothing else."""
    allowed = policy(chi.get("/dashboard"))
    assert allowed["default-src"] == ["'none'"]
    assert allowed["frame-ancestors"] == ["'none'"]
    assert allowed["base-uri"] == ["'none'"]
    assert allowed["form-action"] == ["'none'"]
    assert allowed["connect-src"] == ["'self'"]
    for tag, (inside,) in reader.inside.items():
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert allowed[f"{tag}-src"] == [f"'sha256-{digest}'"]
    assert allowed["manifest-src"] == ["'self'"]
    assert allowed.pop("img-src") == ["'self'", "data:"]  # an icon that the page draws
    words = [word for words in allowed.values() for word in words]
    assert not [
        word for word in words if "unsafe" in word or "*" in word or "http" in word or "data:" in word
    ]


def test_the_page_is_one_small_file(reader: Reader) -> None:
    """At most 60 KB; it names nothing on any other host, and loads no file but its icon and its manifest."""
    assert len(FILE.read_bytes()) <= 60_000
    assert not re.findall(r"https?:|wss?:|@import|\burl\(|\bimport\s*\(|[\"'`]//", PAGE)
    assert reader.tags[0][0] == "html"
    assert reader.tags[0][1]["lang"]
    for tag, attributes in reader.tags:
        assert tag not in ("iframe", "object", "embed", "base", "form")
        assert tag != "link" or attributes["rel"] in ("icon", "manifest")
        for name, value in attributes.items():
            if name in ("src", "href", "action", "srcset", "data", "poster", "xlink:href"):
                assert re.match(r"[a-z]|#", value or ""), value
                assert ":" not in (value or ""), value


def test_the_page_needs_nothing_that_its_policy_forbids(reader: Reader) -> None:
    """No event handler and no style as an attribute; script and style bare, so that one hash fits all."""
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (
            tag,
            attributes,
        )
    assert [attributes for tag, attributes in reader.tags if tag in ("script", "style")] == [{}, {}]
    assert not re.findall(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function)\b", PAGE)


def test_links_of_the_page_work(steady: Chi, reader: Reader) -> None:
    """Each is answered, and by a report."""
    links = {attributes["href"] for tag, attributes in reader.tags if tag == "a"}
    assert {"status.json?pretty", "history.json?pretty"} <= links
    for link in links:
        assert steady.get(f"/{link}", User_Agent="Mozilla/5.0").status == 200


def test_what_the_page_loads_is_there(chi: Chi, miner: ScriptedMiner, reader: Reader) -> None:
    """Its icon and its manifest, for which browsers send credentials (--private) only if they are told to."""
    links = {str(each["rel"]): each for tag, each in reader.tags if tag == "link"}
    assert set(links) == {"icon", "manifest"}
    for each in links.values():
        assert chi.get(f"/{each['href']}").status == 200
    assert links["manifest"]["crossorigin"] == "use-credentials"
    assert miner.requests == []


def test_the_page_knows_the_codes() -> None:
    """Each code by which the page finds the card of a problem is one of the verdict's."""
    used = " ".join(re.findall(r"marked\((.*)\)", PAGE))
    codes = set(re.findall(r'"([a-z]+-[a-z-]+|rejects|stales|restarted)"', used))
    assert len(codes) == 10
    assert codes <= {code_of(key) for key in PROBLEMS}


def test_the_page_without_javascript() -> None:
    """There is a sentence, and links to the JSON."""
    (inside,) = re.findall(r"<noscript>(.*?)</noscript>", PAGE, re.DOTALL)
    assert 'href="status.json' in inside
    assert 'href="history.json' in inside


def size_of_png(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG, all of whose chunks and pixels are checked (RFC 2083)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(png):
        length, name = struct.unpack(">I4s", png[place : place + 8])
        chunks[name] = png[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack(">I", png[place + 8 + length : place + 12 + length])
        assert checksum == zlib.crc32(name + chunks[name])
        place += 12 + length
    width, height, depth, colours = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert colours == 3  # by palette
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + -(-width * depth // 8))
    assert b"IEND" in chunks
    return width, height


def test_icon(chi: Chi) -> None:
    """/favicon.ico is an icon file with one picture of 32 pixels."""
    icon = chi.get("/favicon.ico").body
    zero, kind, count = struct.unpack("<HHH", icon[:6])
    assert (zero, kind, count) == (0, 1, 1)
    width, height, _, _, _, _, size, offset = struct.unpack("<BBBBHHII", icon[6:22])
    assert (width, height) == (32, 32)
    assert size_of_png(icon[offset : offset + size]) == (32, 32)
    assert len(icon) == offset + size


def test_manifest(chi: Chi, miner: ScriptedMiner) -> None:
    """It says what a home screen needs, with an icon in itself and no address but one relative to its own."""
    response = chi.get("/manifest.webmanifest")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/manifest+json"
    manifest = response.json
    assert manifest["name"]
    assert manifest["start_url"] == "dashboard"
    assert manifest["display"] in ("minimal-ui", "standalone")
    (icon,) = manifest["icons"]
    head, _, data = icon["src"].partition(",")
    assert (head, icon["type"]) == ("data:image/png;base64", "image/png")
    width, height = size_of_png(base64.b64decode(data, validate=True))
    assert icon["sizes"] == f"{width}x{height}"
    assert width == height >= 144  # less is not taken
    assert miner.requests == []


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard?", "/dashboard?x=1", "/history.json"])
def test_head_and_other_methods(chi: Chi, miner: ScriptedMiner, path: str) -> None:
    """HEAD has GET's headers; what is neither is refused."""
    get, head = chi.get(path), chi.request(path, "HEAD")
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Type", "Content-Length", "Content-Security-Policy"):
        assert head.headers[name] == get.headers[name]
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        response = chi.request(path, method)
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD"
    assert miner.requests == []


@pytest.mark.parametrize("path", ["/dashboard", "/history.json", "/status.json"])
def test_private(serve: Callable[..., Chi], miner: ScriptedMiner, tmp_path: Path, path: str) -> None:
    """With --private a browser is asked for the token, and has it then."""
    miner.script = miner_like("cgminer-4.11.1")
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    chi = serve(miner.port, private=True, token_file=str(file))
    for wrong in ({}, {"Authorization": "Basic bWU6d3Jvbmc="}):
        response = chi.get(path, **wrong)
        assert response.status == 401
        assert 'Basic realm="chi"' in response.headers.get_all("WWW-Authenticate")
        assert response.headers["Content-Type"] == JSON
    assert miner.requests == []
    response = chi.get(path, Authorization=BASIC)
    assert response.status == 200
    assert TOKEN.encode() not in response.body


@pytest.mark.parametrize("path", ["/dashboard", "/history.json", "/status.json"])
def test_for_browsers_of_this_network(serve: Callable[..., Chi], miner: ScriptedMiner, path: str) -> None:
    """A browser reads them also with --read-only; by a foreign name (DNS rebinding) nobody does."""
    miner.script = miner_like("cgminer-4.11.1")
    chi = serve(miner.port, read_only=True)
    assert chi.get(path, Host="evil.example").status == 421
    assert miner.requests == []
    assert chi.get(path, User_Agent="Mozilla/5.0", Sec_Fetch_Site="none").status == 200


@pytest.mark.parametrize("path", ["/history.json", "/status.json", "/dashboard"])
def test_pages_of_other_origins(serve: Callable[..., Chi], miner: ScriptedMiner, path: str) -> None:
    """Only those of --cors-origin can read them."""
    miner.script = miner_like("cgminer-4.11.1")
    chi = serve(miner.port, cors_origin=("http://grafana.lan:3000",))
    allowed, foreign = (chi.get(path, Origin=o) for o in ("http://grafana.lan:3000", "http://evil.example"))
    assert allowed.headers["Access-Control-Allow-Origin"] == "http://grafana.lan:3000"
    assert "Access-Control-Allow-Origin" not in foreign.headers
