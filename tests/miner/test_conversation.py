"""chi in front of miners that speak only text, on real sockets: what is sent, when, and what clients get."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chi.bounds import LARGE
from chi.clock import Clock
from chi.demo import Rig
from chi.demo_text import TextMiner
from tests.conftest import Chi
from tests.scripted import HEALTHY, HOLD, RESET, Script, ScriptedMiner, Step, capture

CAPTURES = Path(__file__).parents[1] / "data" / "captures-text"
JSON_SUMMARY, JSON_VERSION = b'{"command":"summary"}', b'{"command":"version"}'
CGMINERS_TEXT = b"STATUS=S,When=1|SUMMARY,Elapsed=1|\0"
CCMINER, MULTI, OPT = "ccminer-verus-cpu-3.7.1", "cpuminer-multi-1.3.7", "cpuminer-opt-26.1"


def real(software: str) -> Script:
    """A script that answers as a real miner did."""

    def script(request: bytes) -> list[Step]:
        path = CAPTURES / software / f"{request.decode().replace('|', '_')}.reply"
        known = request.isascii() and b"{" not in request and path.exists()
        return [path.read_bytes()] if known else []

    return script


@pytest.fixture
def ccminer() -> Iterator[ScriptedMiner]:
    """A text miner with two pools, whose requests are recorded."""
    simulated = TextMiner(rig=Rig(clock=lambda: 1_800_000_000.0))
    with ScriptedMiner(lambda request: [simulated.respond(request)]) as miner:
        yield miner
    simulated.close()


# --- Detection ------------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [[], [b"\0"], [RESET]], ids=["closed", "lone NUL", "reset"])
def test_detection(nothing: list[Step], miner: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """After nothing to a report in JSON, one plain summary tells; it is remembered, and asked only once."""
    text = real(MULTI)
    miner.script = lambda request: nothing if request.startswith(b"{") else text(request)
    chi = serve(miner.port)
    response = chi.get("/summary/")
    assert (response.status, response.headers["Chi-Translated"]) == (200, "text")
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.json["SUMMARY"][0]["KHS"] == 3149.12
    assert miner.requests == [JSON_SUMMARY, b"summary"]
    assert chi.get("/threads/").json["THREADS"] == [{"CPU": 0, "KHS": 3149.12, "MHS av": 3.14912}]
    assert miner.requests[2:] == [b"threads"]


@pytest.mark.parametrize("software", [CCMINER, MULTI, OPT])
def test_real_replies(software: str, miner: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """Whatever a tool asks for gets JSON of the API's shape, from each kind of miner."""
    miner.script = real(software)
    chi = serve(miner.port)
    for command in ("", "summary/", "version/", "config/", "coin/", "devs/", "pools/", "stats/", "help/"):
        response = chi.get(f"/{command}")
        assert (response.status, response.headers["Chi-Translated"]) == (200, "text")
    joined = chi.get("/summary+devs+pools+nonsense/?pretty")
    assert list(joined.json) == ["summary", "devs", "pools", "nonsense", "id"]
    assert joined.body.count(b"\n") > 20


def test_a_scrape(ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """Monitors read the state of a text miner like that of any other."""
    chi = serve(ccminer.port)
    status = chi.get("/status.json").json
    assert status["rig"]["hashrate"] == pytest.approx(99e6, rel=0.05)
    assert [device["temperature"] > 40 for device in status["devices"]] == [True] * 3
    assert len(status["pools"]) == 2
    assert b"cgminer_up 1" in chi.get("/metrics").body
    assert "speaks the text protocol" in chi.get("/readyz").message


def test_a_json_miner_is_never_asked_in_text(miner: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """Whoever answers in JSON is asked in JSON."""
    chi = serve(miner.port)
    for _ in range(3):
        assert "Chi-Translated" not in chi.get("/summary/").headers
    assert miner.requests == [JSON_SUMMARY] * 3


def test_firmware_that_closes_at_joined_requests(miner: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """It is tried in text once, not at each joined request."""
    miner.script = lambda request: [HEALTHY] if request == JSON_SUMMARY else []
    chi = serve(miner.port)
    chi.get("/summary/")
    for _ in range(3):
        assert chi.get("/summary+devs/").status == 502
    assert b"summary" not in miner.requests
    assert chi.get("/summary/").status == 200


def test_a_miner_that_denies_this_host(miner: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """Two connections for the first report, and one for each that follows: clients may ask, chi does not."""
    miner.script = []
    chi = serve(miner.port)
    for _ in range(3):
        response = chi.get("/summary/")
        assert (response.status, "text protocol" in response.message) == (502, True)
    assert miner.requests == [JSON_SUMMARY, b"summary", JSON_SUMMARY, JSON_SUMMARY]


def test_writes_are_never_tried_in_both(ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """What may change the miner goes once, and does not tell what it speaks."""
    chi = serve(ccminer.port)
    assert chi.get("/switchpool/1").status == 502
    assert ccminer.requests == [b'{"command":"switchpool","parameter":"1"}']
    chi.get("/summary/")
    assert chi.get("/switchpool/1").json["STATUS"][0]["Code"] == 27
    assert ccminer.requests[-1] == b"switchpool|1"


def test_a_text_miner_that_becomes_another(ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """What it speaks is remembered until it fails, and then found out anew."""
    chi = serve(ccminer.port)
    assert chi.get("/summary/").headers["Chi-Translated"] == "text"
    cgminer = {JSON_SUMMARY: capture("summary"), b"summary": b"STATUS=S,When=1,Code=11|SUMMARY,Elapsed=1|\0"}
    ccminer.script = lambda request: [cgminer[request]]
    response = chi.get("/summary/")
    assert "Chi-Translated" not in response.headers
    assert response.json["STATUS"][0]["Description"] == "cgminer 4.11.1"
    assert ccminer.requests[-2:] == [b"summary", JSON_SUMMARY]


def test_a_text_miner_that_denies_this_host_later(ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """Nothing to a summary is no unknown command: it is an error, and forgotten is what it spoke."""
    chi = serve(ccminer.port)
    assert chi.get("/summary/").status == 200
    ccminer.script = []
    assert chi.get("/summary/").status == 502
    ccminer.script = [HEALTHY]
    response = chi.get("/summary/")
    assert (response.status, "Chi-Translated" in response.headers) == (200, False)


@pytest.mark.parametrize("protocol", ["json", "text"])
def test_the_owner_knows(protocol: str, ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """With --protocol nothing is tried."""
    chi = serve(ccminer.port, protocol=protocol)
    response = chi.get("/summary/")
    assert response.status == (200 if protocol == "text" else 502)
    assert ccminer.requests == [b"summary" if protocol == "text" else JSON_SUMMARY]


def test_a_miner_that_is_silent_in_json_and_no_text_miner_either(
    miner: ScriptedMiner, serve: Callable[..., Chi]
) -> None:
    """What a plain summary brings is no reply to the request, unless it is that of a text miner."""
    miner.script = lambda request: [] if request.startswith(b"{") else [CGMINERS_TEXT]
    chi = serve(miner.port)
    for _ in range(2):
        assert chi.get("/summary/").status == 502
    assert miner.requests == [JSON_SUMMARY, b"summary", JSON_SUMMARY]


def test_a_text_miner_that_restarts(ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """After it was away, what it speaks is found out anew."""
    simulated = ccminer.script
    chi = serve(ccminer.port, timeout=0.7)
    assert chi.get("/summary/").headers["Chi-Translated"] == "text"
    ccminer.script = [HOLD]
    assert chi.get("/summary/").status == 504
    ccminer.script = simulated
    assert chi.get("/summary/").headers["Chi-Translated"] == "text"
    assert ccminer.requests == [JSON_SUMMARY, b"summary", b"summary", JSON_SUMMARY, b"summary"]


def test_cgminer_asked_in_text(miner: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """With --protocol text a C miner's answer in its own text form is read as well."""
    miner.script = lambda request: [b"STATUS=S,When=5,Code=11,Msg=Summary|SUMMARY,Elapsed=22|\0"]
    response = serve(miner.port, protocol="text").get("/summary/")
    assert response.headers["Chi-Translated"] == "text"
    assert response.json["SUMMARY"] == [{"Elapsed": 22}]
    assert miner.requests == [b"summary"]


def test_a_write_to_a_text_miner_that_has_become_another(
    ccminer: ScriptedMiner, serve: Callable[..., Chi]
) -> None:
    """It is not sent again in JSON: what came of it is told."""
    chi = serve(ccminer.port)
    chi.get("/summary/")
    ccminer.script = [b"STATUS=E,When=5,Code=45,Msg=Access denied to 'switchpool' command|\0"]
    assert chi.get("/switchpool/1").json["STATUS"][0]["Code"] == 45
    assert ccminer.requests[2:] == [b"switchpool|1"]


# --- Commands -------------------------------------------------------------------------------------


def test_unknown_commands(ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """Only of a miner that is known to speak text they are the API's own error."""
    chi = serve(ccminer.port, protocol="text")
    response = chi.get("/nonsense/")
    assert (response.status, response.json["STATUS"][0]["Code"]) == (200, 14)
    assert chi.get("/summary+nonsense/").json["nonsense"][0]["STATUS"][0]["Msg"] == "Invalid command"


def test_each_way_to_ask(ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """GET, POST and the API's own request in a body are one."""
    chi = serve(ccminer.port, protocol="text")
    replies = [
        chi.get("/pool/1"),
        chi.request("/pool/1", "POST"),
        chi.request("/", "POST", b'{"command":"pool","parameter":"1"}'),
        chi.request("/", "POST", b'{"command":"pool","parameter":1}'),
    ]
    assert [reply.json["POOL"][0]["POOL"] for reply in replies] == ["backup"] * 4
    assert ccminer.requests == [b"pool|1"] * 4
    assert chi.get("/quit/").json["STATUS"][0]["STATUS"] == "S"


DANGEROUS = [
    *("/pool/-1", "/pool/99999999999", "/pool/1%7Cquit", "/seturl/", "/seturl/x%00y", "/seturl/a%0Aquit"),
    *("/seturl/gopher:%2F%2Fa", "/summary%7C0/", "/nonsense/GET%20%2Fquit", "/switchpool/x"),
]


@pytest.mark.parametrize("path", DANGEROUS)
def test_dangerous_requests(path: str, ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """What real ones cannot bear is a 400 and is never sent."""
    chi = serve(ccminer.port)
    chi.get("/summary/")
    asked = len(ccminer.requests)
    for method in ("GET", "POST"):
        response = chi.request(path, method)
        assert (response.status, response.json["STATUS"][0]["Code"]) == (400, 400)
    assert len(ccminer.requests) == asked


def test_one_segment(ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """A request is at most what they read at once."""
    chi = serve(ccminer.port, protocol="text")
    assert chi.get("/seturl/" + "x" * 1016).json["STATUS"][0]["Code"] == 55
    assert chi.get("/seturl/" + "x" * 1017).status == 413
    assert [len(request) for request in ccminer.requests] == [1023]


@pytest.mark.parametrize("command", ["quit", "seturl", "switchpool", "threads+quit"])
def test_writes_are_privileged(command: str, ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """Ccminer itself checks nothing: chi does, like for any miner."""
    chi = serve(ccminer.port, protocol="text", read_only=True)
    for method in ("GET", "POST"):
        assert chi.request(f"/{command}/host:1", method).status == 403
    assert chi.request("/", "POST", json.dumps({"command": command, "parameter": "1"}).encode()).status == 403
    assert ccminer.requests == []
    for report in "summary threads pool histo hwinfo meminfo scanlog help summary+threads".split():  # noqa: SIM905
        assert chi.get(f"/{report}/").status == 200


def test_pollers_share(ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """What --max-age keeps, it keeps of text as well."""
    chi = serve(ccminer.port, protocol="text", max_age=60)
    bodies = {chi.get("/pools/").body for _ in range(3)}
    assert len(bodies) == 1
    assert ccminer.requests == [b"summary", b"pool|0", b"pool|1", b"pool"]


# --- What is not text, or no reply ----------------------------------------------------------------


def test_cgminers_own_text(miner: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """A C miner that answers a request in JSON with text is read as if it had answered in JSON."""
    status = b"STATUS=S,When=5,Code=11,Msg=Summary,Description=cgminer 4.11.1|"
    miner.script = [status + b"SUMMARY,Elapsed=22,MHS av=0.5|\0"]
    response = serve(miner.port).get("/summary/")
    assert (response.status, response.headers["Chi-Translated"]) == (200, "text")
    assert response.json == {
        "STATUS": [{"STATUS": "S", "When": 5, "Code": 11, "Msg": "Summary", "Description": "cgminer 4.11.1"}],
        "SUMMARY": [{"Elapsed": 22, "MHS av": 0.5}],
        "id": 1,
    }
    assert miner.requests == [JSON_SUMMARY]


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        ([b"NAME=x;VER=1;KHS=1"], 502, "cut off"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], 502, "text protocol"),
        ([b"NAME=x;VER=1;KHS=1|", HOLD], 504, "did not answer"),
        ([HOLD], 504, "did not answer"),
        ([b"NAME=x;VER=1|"], 200, ""),
        ([b"x" * 9_000_000], 502, "larger than"),
    ],
)
def test_broken_replies(
    reply: list[Step], status: int, words: str, miner: ScriptedMiner, serve: Callable[..., Chi]
) -> None:
    """Half a reply is none; a reply without its NUL is whole when the connection ends."""
    miner.script = reply
    response = serve(miner.port, protocol="text", timeout=0.5).get("/summary/")
    assert response.status == status
    assert words in response.body.decode()


def test_a_chain_that_breaks(ccminer: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """One deadline covers all connections of a request."""
    simulated = ccminer.script
    assert callable(simulated)
    ccminer.script = lambda request: [HOLD] if request == b"pool|1" else simulated(request)  # type: ignore[operator]
    response = serve(ccminer.port, protocol="text", timeout=0.5).get("/pools/")
    assert response.status == 504
    assert ccminer.requests == [b"summary", b"pool|0", b"pool|1"]


def test_large_replies(miner: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """What is checked in a thread is told to be translated as well."""
    record = b"GPU=0;H=1;KHS=1.00;DIFF=1.0;COUNT=1;FOUND=1;ID=1;TS=5|"
    miner.script = [record * 1100 + b"\0"]
    chi = serve(miner.port, protocol="text")
    response = chi.get("/histo/")
    assert len(response.body) > LARGE
    assert (len(response.json["HISTO"]), response.headers["Chi-Translated"]) == (1100, "text")
    miner.script = [record * 1300 + b"\0"]
    assert "larger than 65536 bytes" in chi.get("/histo/").message


def test_secrets_are_not_logged(
    ccminer: ScriptedMiner, serve: Callable[..., Chi], caplog: pytest.LogCaptureFixture
) -> None:
    """What seturl is given is in no log, whatever comes of it."""
    caplog.set_level("DEBUG")
    chi = serve(ccminer.port, protocol="text")
    for url in ("stratum+tcp:%2F%2Fwallet:hunter2@host:1", "gopher:%2F%2Fwallet:hunter2@host"):
        assert b"hunter2" not in chi.get(f"/seturl/{url}").body
    assert "hunter2" not in caplog.text


# --- Patience -------------------------------------------------------------------------------------


def test_samples_stop_where_this_host_is_denied(miner: ScriptedMiner, serve: Callable[..., Chi]) -> None:
    """Of its own accord chi asks no more once a miner has closed without a byte."""
    miner.script = []
    chi = serve(miner.port)
    chi.get("/summary/")
    asked = len(miner.requests)
    for _ in range(20):
        chi.monitor.sample(0.0)
    assert chi.get("/healthz").status == 200
    assert len(miner.requests) == asked


class Turns:
    """A Miner without a server: its turns are made by the test, at the times that the test says."""

    def __init__(self, port: int, **settings: Any) -> None:
        import collections

        from chi.miner.asking import Miner
        from chi.settings import Settings

        self.sockets: dict[int, Any] = {}
        self.now = 1000.0
        self.miner = Miner(
            Settings(api_port=port, timeout=3600, **settings),
            self.sockets,
            lambda work, done: done(work()),
            collections.Counter(),
            clock=Clock(now=lambda: self.now),
        )

    def turn(self) -> None:
        """One turn at this time, and whatever comes of it."""
        from waitress import wasyncore

        self.miner.turn(self.now)
        while self.sockets:
            wasyncore.loop(timeout=1, use_poll=True, map=self.sockets, count=1)
            self.miner.turn(self.now)

    def own(self, command: str = "version") -> None:
        """Ask of chi's own accord, and wait for the outcome."""
        from chi.errors import ChiError
        from chi.miner.questions import Client, Parked
        from chi.miner.wire import encode_request

        client = Client(self.now, 3600, b"", lambda: None, own=True)
        try:
            self.miner.ask(client, encode_request({"command": command}))
        except (Parked, ChiError):
            self.turn()


def test_own_requests_are_few_while_a_miner_closes(miner: ScriptedMiner) -> None:
    """Samples, looks and probes together: one request after 30 s, doubling to ten minutes."""
    miner.script = []
    turns = Turns(miner.port)
    times: list[float] = []
    for second in range(1, 3001):
        turns.now = 1000.0 + second
        before = miner.connections
        if second % 10 == 0:
            turns.own("version")
        if second % 15 == 0:
            turns.own("summary+pools")
        turns.turn()
        times += [second] * (miner.connections - before)
    assert times[:2] == [10, 10]  # in JSON, and then in text
    gaps = [round(later - earlier) for earlier, later in itertools.pairwise(times[1:])]
    assert gaps == [30, 60, 120, 240, 480, 600, 600, 600]


@pytest.mark.parametrize(
    ("protocol", "knocks"),
    [
        ("auto", [b"summary", JSON_VERSION, b"summary", JSON_VERSION]),
        ("json", [JSON_VERSION] * 4),
        ("text", [b"summary"] * 4),
    ],
)
def test_knocks(protocol: str, knocks: list[bytes], miner: ScriptedMiner) -> None:
    """They are in both protocols in turn, unless the owner knows which it is."""
    miner.script = []
    turns = Turns(miner.port, protocol=protocol)
    turns.own()
    asked = len(miner.requests)
    assert asked == (2 if protocol == "auto" else 1)
    for _ in knocks:
        turns.now += 600
        turns.turn()
    assert miner.requests[asked:] == knocks


def test_a_knock_that_a_json_miner_answers(miner: ScriptedMiner) -> None:
    """Whatever it says to a plain summary, it is then asked in JSON."""
    miner.script = []
    turns = Turns(miner.port)
    turns.own()
    miner.script = lambda request: [HEALTHY if request.startswith(b"{") else CGMINERS_TEXT]
    turns.now += 30
    turns.turn()
    turns.own()
    assert miner.requests[2:] == [b"summary", JSON_VERSION, JSON_VERSION]


def test_a_miner_that_allows_this_host_again(ccminer: ScriptedMiner) -> None:
    """After the knock that is answered, chi asks as often as ever."""
    simulated, ccminer.script = ccminer.script, []
    turns = Turns(ccminer.port)
    turns.own()
    ccminer.script = simulated
    turns.own()
    assert len(ccminer.requests) == 2
    turns.now += 30
    turns.turn()
    assert ccminer.requests[2:] == [b"summary"]
    for _ in range(3):
        turns.own()
    assert ccminer.requests[2:] == [b"summary"] * 4
