"""A fleet behind one chi, through HTTP: what is below /@NAME/ and at the root, and who costs whom what."""

from __future__ import annotations

import itertools
import json
import re
import signal
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chi.places import Place
from tests.client import Background, Wire
from tests.conftest import Chi, Process, StillClock
from tests.scripted import HEALTHY, HOLD, ScriptedMiner, Step
from tests.test_monitor import miner_like

Serve = Callable[..., Chi]
TOKEN = "correct-horse-battery-staple"


def places(**miners: ScriptedMiner) -> tuple[Place, ...]:
    """Where these are."""
    return tuple(Place(name, each.host, each.port) for name, each in miners.items())


@pytest.fixture
def two(serve: Serve) -> Iterator[tuple[Chi, ScriptedMiner, ScriptedMiner]]:
    """A chi with two miners, a and b."""
    with ScriptedMiner(host="127.0.1.1") as one, ScriptedMiner(host="127.0.1.2") as other:
        yield serve(0, miner=places(a=one, b=other)), one, other


# --- Below a name ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "body", "asked"),
    [
        ("GET /@a", b"", {"command": "summary+devs"}),
        ("GET /@a/", b"", {"command": "summary+devs"}),
        ("GET /@a/coin", b"", {"command": "coin"}),
        ("GET /@a//coin", b"", {"command": "coin"}),
        ("GET //@a/coin", b"", {"command": "coin"}),
        ("GET /%40a/coin", b"", {"command": "coin"}),
        ("GET /@%61/coin", b"", {"command": "coin"}),
        ("GET /@a%2Fcoin", b"", {"command": "coin"}),
        ("GET /@a/gpu/0", b"", {"command": "gpu", "parameter": "0"}),
        ("GET /@a/gpu/@b/x", b"", {"command": "gpu", "parameter": "@b/x"}),
        ("HEAD /@a/coin", b"", {"command": "coin"}),
        ("POST /@a/switchpool/1", b"", {"command": "switchpool", "parameter": "1"}),
        ("POST /@a/", b'{"command":"gpu","parameter":0}', {"command": "gpu", "parameter": 0}),
        ("POST /@a", b'{"command":"gpu","parameter":0}', {"command": "gpu", "parameter": 0}),
    ],
)
def test_a_request_below_a_name(
    two: tuple[Chi, ScriptedMiner, ScriptedMiner], start: str, body: bytes, asked: dict[str, Any]
) -> None:
    """It reaches the miner of that name as it would at a single miner's root, and no other."""
    chi, one, other = two
    with Wire(chi.port) as client:
        response = client.ask(start, body=body)
        assert response.status == 200
        assert response.body == (b"" if start.startswith("HEAD") else HEALTHY[:-1])
    assert asked in [json.loads(each) for each in one.requests]
    assert asked["command"] not in other.commands


@pytest.mark.parametrize(
    "path", ["/@", "/@/", "/@/summary", "/@c/summary", "/@A/summary", "/@a/@b/x", "/@a//@b/x", "/@%00/x",
             "/@a%20/x", "/@a.../x", "/@%C3%A4/x", "/@a/@a/summary", "/@a@b/x"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_odd_names(serve: Serve, path: str, method: str) -> None:
    """/@ is chi's own: what names no miner is 404, and is sent to none, the one at the root neither."""
    with ScriptedMiner() as root, ScriptedMiner() as one, ScriptedMiner() as other:
        chi = serve(root.port)  # no fleet at all
        fleet = serve(0, miner=places(a=one, b=other))
        for each in (chi, fleet):
            with Wire(each.port) as client:
                response = client.ask(f"{method} {path}")
                assert response.status == 404
                if method != "HEAD":
                    assert "No miner is named" in response.message
        assert root.requests == []


def test_pages_and_documents_below_a_name(serve: Serve) -> None:
    """What a single miner has at its root."""
    with ScriptedMiner(miner_like("cgminer-4.11.1")) as one:
        chi = serve(0, miner=places(a=one))
        assert chi.get("/@a/status.json").json["rig"]["software"] == "cgminer"
        assert b"cgminer_up 1\n" in chi.get("/@a/metrics").body
        assert chi.get("/@a/history.json").json["samples"]["time"] is not None
        assert chi.get("/@a/access.json").json["mode"] == "open"
        assert chi.get("/@a/readyz").status == 200
        assert chi.get("/@a/healthz").status == 200
        dashboard = chi.get("/@a/dashboard")
        assert (dashboard.status, dashboard.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert b'id="verdict"' in dashboard.body
        assert chi.request("/@a/status.json", "DELETE").status == 405
        assert chi.request("/@a/metrics", "POST").status == 405


def test_a_browser_confirms_below_a_name(two: tuple[Chi, ScriptedMiner, ScriptedMiner]) -> None:
    """The page's form goes to its own address, and its link to the dashboard of the same miner."""
    for path in ("/@a/switchpool/1", "/@a/switchpool/", "/@a%2Fswitchpool/1", "/%40a//switchpool/1"):
        response = two[0].get(path, User_Agent="Mozilla/5.0")
        assert response.status == 403
        (link,) = re.findall(rb'href="([^"]*)"', response.body)
        assert urllib.parse.urljoin(f"http://h{path}", link.decode()) == "http://h/@a/dashboard"
    assert "switchpool" not in two[1].commands


# --- At the root ----------------------------------------------------------------------------------


def test_the_root_of_a_fleet(two: tuple[Chi, ScriptedMiner, ScriptedMiner]) -> None:
    """There is no miner: a command says which there are, in the API's envelope; the rest is chi's."""
    chi, one, other = two
    for path, method in (("/", "GET"), ("/coin", "GET"), ("/coin", "POST"), ("/status.json", "GET"),
                         ("/history.json", "GET")):  # fmt: skip
        response = chi.request(path, method)
        assert (response.status, response.message) == (
            404, "This server has several miners, each below its name: /@a/, /@b/."
        )  # fmt: skip
    assert chi.request("/", "POST", b'{"command":"coin"}').status == 404
    assert b"<title>" in chi.get("/dashboard").body
    assert [miner["name"] for miner in chi.get("/fleet.json").json["miners"]] == ["a", "b"]
    assert "coin" not in [*one.commands, *other.commands]


def test_of_many_miners_the_first_are_named(serve: Serve) -> None:
    """A message is no list of a thousand."""
    chi = serve(0, miner=tuple(Place(f"m{number}", "127.0.0.1", 1) for number in range(23)))
    assert chi.get("/").message.endswith("/@m19/ and 3 more, see /fleet.json.")
    chi = serve(0, miner=tuple(Place(f"m{number}", "127.0.0.1", 1) for number in range(20)))
    assert chi.get("/").message.endswith("/@m19/.")


def test_readyz_of_a_fleet(serve: Serve) -> None:
    """How many answer; it is ready as long as one does."""
    with ScriptedMiner() as one:
        chi = serve(0, miner=(*places(a=one), Place("b", "127.0.0.1", 1)), clock=StillClock().clock)
        assert chi.get("/@b/readyz").status == 503
        response = chi.get("/readyz")
        chi.get("/@a/summary")
        assert chi.get("/readyz").message == "1 of 2 miners answer"
        assert chi.get("/readyz").status == 200
        assert response.status in (200, 503)  # by whether the first sample of a has come
        one.script = []
        chi.get("/@a/summary")
        response = chi.get("/readyz")
        assert (response.status, response.message) == (503, "0 of 2 miners answer")


def test_metrics_of_a_fleet(serve: Serve) -> None:
    """The root has what is chi's own, once; a miner what is of the miner."""
    with ScriptedMiner(miner_like("cgminer-4.11.1")) as one:
        chi = serve(0, miner=places(a=one))
        miner, own = (chi.get(path).body.decode() for path in ("/@a/metrics", "/metrics"))
    assert "chi_http_requests_total" in own
    assert "process_resident_memory_bytes" in own
    assert "cgminer_" not in own
    assert "cgminer_hashrate_hashes_per_second" in miner
    assert "cgminer_scrape_duration_seconds" in miner
    assert "\nchi_" not in miner
    assert "process_" not in miner


def test_a_miner_at_the_root_beside_a_fleet(chi_server: Callable[..., Process]) -> None:
    """Who gives -a or -p has that miner at the root as well: nothing changes for its clients."""
    with ScriptedMiner() as root, ScriptedMiner() as one:
        where = ("-p", str(root.port), "--miner", f"a={one.host}:{one.port}")
        process = chi_server("-w", "0", "--listen", "127.0.0.1", *where)
        assert process.get("/coin").status == 200
        assert root.commands.count("coin") == 1
        assert process.get("/@a/coin").status == 200
        assert (root.commands.count("coin"), one.commands.count("coin")) == (1, 1)
        assert process.stop() == 0


# --- Service discovery ----------------------------------------------------------------------------


def test_targets(two: tuple[Chi, ScriptedMiner, ScriptedMiner]) -> None:
    """As Prometheus' http_sd_configs has it."""
    chi = two[0]
    here = f"127.0.0.1:{chi.port}"
    response = chi.get("/targets.json")
    assert response.headers["Content-Type"].startswith("application/json")
    for name, told in zip("ab", response.json, strict=True):
        labels = {"__metrics_path__": f"/@{name}/metrics", "instance": f"{here}/@{name}", "miner": name}
        assert told == {"targets": [here], "labels": labels}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", 'a"b', "a/@b", "a,b", "a b", "{x}", "a\\", "127.0.0.1:80/@x", "[::1"],
)
def test_targets_of_a_foreign_host(two: tuple[Chi, ScriptedMiner, ScriptedMiner], host: str) -> None:
    """What is no name of this server is refused before it is told on."""
    with Wire(two[0].port) as client:
        client.send(f"GET /targets.json HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        response = client.read()
    assert response.status in (400, 421)
    assert b"targets" not in response.body.replace(b"/targets.json", b"")


def test_targets_without_a_host(two: tuple[Chi, ScriptedMiner, ScriptedMiner]) -> None:
    """An old client's request names none: then it is the port that it came to."""
    with Wire(two[0].port) as client:
        client.send(b"GET /targets.json HTTP/1.0\r\n\r\n")
        assert client.read().json[0]["targets"] == [f"localhost:{two[0].port}"]


# --- Access ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/@a/summary", "/@none/summary", "/@a/dashboard", "/@none/dashboard", "/@", "/", "/fleet.json",
             "/targets.json", "/@a/healthz", "/@none/healthz"],
)  # fmt: skip
def test_the_token_comes_before_the_name(serve: Serve, tmp_path: Path, path: str) -> None:
    """With --private nobody without the token learns which names there are."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with ScriptedMiner() as one:
        chi = serve(0, miner=places(a=one), private=True, token_file=str(token))
        denied = chi.get(path)
        assert denied.status == 401
        assert denied.body.partition(b'"Msg"')[2] == chi.get("/@x/y").body.partition(b'"Msg"')[2]
        known = chi.get(path, Authorization=f"Bearer {TOKEN}")
        assert known.status == (404 if "none" in path or path in ("/@", "/") else 200)


def test_a_privileged_command_needs_the_token_whatever_the_name(serve: Serve, tmp_path: Path) -> None:
    """Without --private reports are for all; for a command a name that is wrong tells nothing new."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with ScriptedMiner() as one:
        chi = serve(0, miner=places(a=one), token_file=str(token))
        assert chi.request("/@a/switchpool/1", "POST").status == 401
        assert chi.request("/@a/switchpool/1", "POST", Authorization=f"Bearer {TOKEN}").status == 200
        assert one.commands.count("switchpool") == 1


def test_read_only_holds_below_names(serve: Serve) -> None:
    """Same access for all."""
    with ScriptedMiner() as one:
        chi = serve(0, miner=places(a=one), read_only=True)
        for path in ("/@a/switchpool/1", "/@a//switchpool/1", "/%40a/quit"):
            assert chi.request(path, "POST").status == 403
        assert not {"switchpool", "quit"} & set(one.commands)


# --- What a miner costs the others ----------------------------------------------------------------


def hostile() -> Iterator[list[Step]]:
    """What a miner may do to whoever asks it."""
    yield [HOLD]
    yield ["reset"]
    yield [b"{" * 100_000]
    yield [b"[" * 400_000, b"\0"]
    yield [b"x" * 600_000, HOLD]
    yield [b'{"STATUS":[' + b'{"a":1},' * 40_000 + b"{}]}\0"]
    yield [*itertools.chain.from_iterable(([b"{"], 0.01) for _ in range(100))]  # type: ignore[list-item]


def test_hostile_and_hung_miners_keep_nobody_waiting(serve: Serve) -> None:
    """Ten that answer are served while ten others hang, flood or drip; how quickly, is the benchmark's."""
    well = [ScriptedMiner(host=f"127.0.2.{number}") for number in range(1, 11)]
    scripts = list(hostile())
    bad = [ScriptedMiner(scripts[n % len(scripts)], host=f"127.0.3.{n + 1}") for n in range(10)]
    try:
        good = {f"w{number}": each for number, each in enumerate(well)}
        chi = serve(0, miner=places(**good, **{f"b{n}": each for n, each in enumerate(bad)}), timeout=60)
        asking = [Background(chi.get, f"/@b{number}/summary") for number in range(10) for _ in range(3)]
        bad[0].asked(1)
        for name in [*good] * 20:
            assert chi.get(f"/@{name}/summary").status == 200
        assert any(each.is_alive() for each in asking)  # those that hang do so still
        for each in bad:
            each.close()
        for each in asking:
            each.result()
        assert chi.get("/healthz").status == 200
    finally:
        for each in (*well, *bad):
            each.close()


def test_hung_miners_leave_connections_to_the_others(serve: Serve) -> None:
    """All but one hang, and all are asked for many things at once: what is left is the answering miner's."""
    hung = [ScriptedMiner([HOLD], host=f"127.0.4.{number}") for number in range(1, 41)]
    with ScriptedMiner() as one:
        try:
            fleet = {f"h{n}": each for n, each in enumerate(hung)}
            chi = serve(0, miner=places(well=one, **fleet), timeout=3)
            assert chi.get("/@well/summary").status == 200
            asking = [
                Background(chi.get, f"/@h{number}/{command}")
                for number in range(len(hung))
                for command in ("summary", "pools", "devs", "stats")
            ]
            for _ in range(20):
                assert chi.get("/@well/version").status == 200
            assert chi.loop.sites.root is None
            open_now = sum(len(each._open) for each in hung)
            assert open_now <= 96
            for each in asking:
                assert each.result().status in (503, 504)
        finally:
            for each in hung:
                each.close()


def test_names_that_nobody_knows_delay_no_other(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is looked up in a thread of its own, so that one whose server is silent stops nobody."""
    real, gate = socket.getaddrinfo, threading.Event()

    def slow(host: Any, *arguments: Any, **keywords: Any) -> Any:
        if "dead" in str(host) and not keywords.get("flags"):
            gate.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *arguments, **keywords)

    with ScriptedMiner() as one:
        monkeypatch.setattr("socket.getaddrinfo", slow)
        dead = tuple(Place(f"d{number}", f"dead{number}.example") for number in range(20))
        chi = serve(0, miner=(*dead, Place("well", "localhost", one.port)), timeout=20)
        asking = [Background(chi.get, f"/@{each.name}/summary") for each in dead]
        assert chi.get("/@well/summary").status == 200
        assert all(each.is_alive() for each in asking)
        gate.set()
        for each in asking:
            assert each.result().status == 502


# --- What many viewers cost -----------------------------------------------------------------------


def test_viewers_of_the_fleet_cost_the_miners_nothing(serve: Serve) -> None:
    """/fleet.json is told from the samples that are taken anyway."""
    with ScriptedMiner(miner_like("cgminer-4.11.1")) as one:
        chi = serve(0, miner=places(a=one), clock=StillClock().clock)
        chi.advance(0.1)
        one.asked(1)
        for _ in range(100):
            if chi.get("/fleet.json").json["miners"][0]["up"]:
                break
            time.sleep(0.05)
        before = len(one.requests)
        for _ in range(20):
            told = chi.get("/fleet.json").json
        assert len(one.requests) == before
    (miner,) = told["miners"]
    assert (miner["name"], miner["path"], miner["up"], miner["error"]) == ("a", "/@a", True, None)
    assert miner["software"] == "cgminer"
    assert told["totals"]["answering"] == 1


# --- The command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "arguments", "why"),
    [
        ("a = 127.0.0.1\nb = 1.2.3\n", (), "miners: line 2: '1.2.3' is not a host name or an IP address"),
        ("a = h\na = i\n", (), "miners: line 2: 'a = i': there is a miner called a already"),
        ("a = h\n", ("--miner", "a=i"), "line 1: 'a = h': there is a miner called a already"),
        ("", ("--miner", "a=h", "--miner", "a=i"), "there are two miners called a"),
        ("", ("--miner", "a"), "argument --miner: 'a' is not NAME=HOST or NAME=HOST:PORT"),
        (None, (), "miners: No such file or directory"),
    ],
)
def test_a_bad_list_ends_the_start(
    chi_server: Callable[..., Process],
    tmp_path: Path,
    lines: str | None,
    arguments: tuple[str, ...],
    why: str,
) -> None:
    """Status 2, and one line with file, line, value and cause."""
    path = tmp_path / "miners"
    if lines is not None:
        path.write_text(lines)
    process = chi_server("-w", "0", "--miners", str(path), *arguments)
    assert process.wait() == 2
    assert why in process.log
    assert process.log.count("\n") == 1


def test_sighup(chi_server: Callable[..., Process], tmp_path: Path) -> None:
    """The file is read again; a bad one is a line of the log, and chi goes on with what it had."""
    path = tmp_path / "miners"
    with ScriptedMiner() as one:
        path.write_text(f"a = {one.host}:{one.port}\n")
        process = chi_server("-w", "0", "--listen", "127.0.0.1", "--miners", str(path), "--access-log")
        port = process.port
        assert process.get("/@a/summary").status == 200
        path.write_text(f"a = {one.host}:{one.port}\nb = {one.host}:{one.port}\n")
        process.process.send_signal(signal.SIGHUP)
        process.logged("2 miners: 1 came, 0 went, 0 moved")
        assert process.get("/@b/gpu/0").status == 200
        process.logged(r"GET /@b/gpu 200 ")
        path.write_text("nonsense\n")
        process.process.send_signal(signal.SIGHUP)
        process.logged("line 1: 'nonsense' is not NAME=HOST or NAME=HOST:PORT; the miners stay as they are")
        assert process.get("/@b/summary").status == 200
        assert process.port == port
        assert process.stop() == 0
    assert process.log.count("stay as they are") == 1
    assert "INFO a: miner " in process.log


def test_sighup_without_a_list(chi_server: Callable[..., Process]) -> None:
    """A chi that serves no list ends with its terminal, as before; a service, which may have one, goes on."""
    process = chi_server("-w", "0", "--listen", "127.0.0.1", "-p", "1")
    assert process.port
    assert process.stop(signal.SIGHUP) == -signal.SIGHUP
    process = chi_server("-w", "0", "--listen", "127.0.0.1", "-p", "1", "--service")
    assert process.port
    process.process.send_signal(signal.SIGHUP)
    assert process.get("/healthz").status == 200
    assert process.stop() == 0


def test_a_day_of_thirty_miners(chi_server: Callable[..., Process], tmp_path: Path) -> None:
    """Under load miners come, go, fail and recover, and those that stay lose no request."""
    miners = {f"m{number}": ScriptedMiner(host=f"127.0.5.{number}") for number in range(1, 31)}
    path, over = tmp_path / "miners", threading.Event()
    stays = [f"m{number}" for number in range(1, 21)]

    def write(*names: str) -> None:
        path.write_text("".join(f"{name} = {miners[name].host}:{miners[name].port}\n" for name in names))

    found: list[int] = []

    def load(process: Process, names: list[str]) -> None:
        with Wire(process.port) as client:
            for name in itertools.cycle(names):
                found.append(client.ask(f"GET /@{name}/coin").status)
                if over.is_set():
                    return

    def under_load(before: int) -> None:
        for _ in range(600):
            if len(found) >= before + 40:
                return
            time.sleep(0.05)
        raise AssertionError("there is no load")

    try:
        write(*stays, *(f"m{number}" for number in range(21, 26)))
        process = chi_server("-w", "0", "--listen", "127.0.0.1", "--miners", str(path))
        assert process.port
        clients = [Background(load, process, stays[place::4]) for place in range(4)]
        for first, said in ((26, "5 came, 5 went, 0 moved"), (21, "5 came, 5 went, 0 moved")):
            write(*stays, *(f"m{number}" for number in range(first, first + 5)))
            log, before = len(process.log), len(found)
            process.process.send_signal(signal.SIGHUP)
            process.logged(rf"(?s)\A.{{{log}}}.*25 miners: {said}")
            assert process.get(f"/@m{first}/coin").status == 200
            under_load(before)
        miners["m21"].close()
        assert process.get("/@m21/coin").status == 502
        assert process.get("/readyz").status == 200
        miners["m21"] = ScriptedMiner(host="127.0.5.21", port=miners["m21"].port)
        assert process.get("/@m21/coin").status == 200
        over.set()
        for each in clients:
            each.result()
        assert set(found) == {200}
        assert process.stop() == 0
    finally:
        over.set()
        for miner in miners.values():
            miner.close()
