"""Serving: many connections, start and stop, systemd's protocols, the log, and what does not grow."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import random
import re
import resource
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waitress import wasyncore

from chi.access import Policy
from chi.bounds import EVICT_AHEAD, HEADER_TIME
from chi.cli import build
from chi.server.listening import listen, open_sockets
from chi.server.loop import CLEAN_EVERY, DRAIN, GRACE, PATIENCE, Loop
from chi.settings import Settings
from tests.client import Background, Wire
from tests.conftest import Chi, Process, StillClock
from tests.scripted import HEALTHY, HOLD, RESET, ScriptedMiner, Step, envelope, free_port

LOOPBACK = ("--listen", "127.0.0.1", "-w", "0")
EXPECTED = re.compile(
    r"INFO serving http://\S+ for the miner at \S+|INFO open http://\S+/dashboard"
    r"|INFO whoever reaches it gets .*|INFO stopped"
    r"|WARNING the API .*whoever reaches chi.*"
)
A_SECOND = 10.0  # on a machine that does other things as well


@contextlib.contextmanager
def a_loop() -> Iterator[Loop]:
    """A loop with sockets that nobody has run: its turns are the caller's."""
    settings = Settings(http_port=0, listen=("127.0.0.1",), api_port=free_port(), history=0)
    loop = build(settings, Policy(settings), open_sockets(settings))
    try:
        yield loop
    finally:
        wasyncore.close_all(loop.sockets)


def test_a_wait_of_less_than_a_millisecond_is_waited() -> None:
    """poll() counts milliseconds: rounded down, the loop would turn and turn until something is due."""
    with a_loop() as loop:
        waited = []
        for _ in range(101):
            begun = time.monotonic()
            loop.turn(0.0009)
            waited.append(time.monotonic() - begun)
    assert statistics.median(waited) >= 0.0009


@pytest.fixture
def launch(chi_server: Callable[..., Process], miner: ScriptedMiner) -> Callable[..., Process]:
    """Start the real chi-server for `miner`, on a free port of 127.0.0.1 unless `listen` says otherwise."""

    def start(*arguments: str, listen: Iterable[str] = LOOPBACK, **keywords: Any) -> Process:
        return chi_server("-p", str(miner.port), *listen, *arguments, **keywords)

    return start


@pytest.fixture
def through(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """What makes Process start chi-server through a shell script, which ends in exec "$PYTHON" "$@"."""

    def arrange(script: str) -> dict[str, str]:
        path = tmp_path / "launcher"
        path.write_text(f"#!/bin/sh\nPYTHON='{sys.executable}'\n{script}\n")
        path.chmod(0o755)
        return {"executable": str(path)}

    return arrange


@pytest.fixture
def wires() -> Iterator[Callable[..., list[Wire]]]:
    """Open connections to a port; closed after the test."""
    with contextlib.ExitStack() as stack:

        def connect(port: int, count: int, **keywords: Any) -> list[Wire]:
            return [stack.enter_context(Wire(port, **keywords)) for _ in range(count)]

        yield connect


def unexpected(process: Process) -> list[str]:
    """The lines of its log that are not there in a quiet life."""
    return [line for line in process.log.rstrip("\0").splitlines() if not EXPECTED.fullmatch(line)]


def of_the_miner(process: Process) -> list[str]:
    """The lines of its log about the miner's coming and going."""
    return [line for line in unexpected(process) if re.search("miner", line)]


def seconds(work: Callable[[], Any]) -> float:
    """How long a call takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


# --- Many connections -----------------------------------------------------------------------------


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Room for two thousand connections in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 4096:
        if hard != resource.RLIM_INFINITY and hard < 4096:
            pytest.skip("this system allows too few open files for so many clients")
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def dripping(connections: list[Wire], pause: float = 0.2) -> Iterator[None]:
    """Have each connection send a request that never ends, byte by byte."""
    done = threading.Event()

    def drip() -> None:
        text = b"GET /" + b"a" * 10_000
        for position in range(len(text)):
            for wire in connections:
                with contextlib.suppress(OSError):  # chi may have ended it
                    wire.send(text[position : position + 1])
            if done.wait(pause):
                return

    dripper = Background(drip)
    try:
        yield
    finally:
        done.set()
        dripper.result()


@pytest.mark.usefixtures("descriptors")
def test_idle_and_dripping_connections_keep_nobody_out(
    launch: Callable[..., Process], wires: Callable[..., list[Wire]]
) -> None:
    """500 idle and 500 dripping connections do not keep a client from its answer within a second."""
    chi = launch("--read-only")
    wires(chi.port, 500)
    slow = wires(chi.port, 500)
    with dripping(slow):
        for path in ("/summary", "/healthz") * 5:
            assert seconds(lambda path=path: chi.get(path)) < A_SECOND
        assert chi.get("/summary").body == HEALTHY[:-1]
    chi.stop()
    told = [line for line in unexpected(chi) if "closed a connection of 127.0.0.1: no room" not in line]
    assert told == [f"INFO miner {miner_of(chi)} answers"]


def miner_of(process: Process) -> str:
    """Where it says that it looks for the miner."""
    return process.logged(r"for the miner at (\S+)")[1]


def room_for(chi: Chi, connections: int) -> None:
    """Let chi have so many connections before it ends idle ones."""
    server = chi.loop.servers[0]
    server.adj.connection_limit = len(chi.loop.sockets) + connections + EVICT_AHEAD


def test_beyond_the_limit_the_longest_idle_connection_goes(
    chi: Chi, wires: Callable[..., list[Wire]]
) -> None:
    """A connection too many ends the one whose last request is longest ago, and no other."""
    room_for(chi, 3)
    first, second, third = wires(chi.port, 3)
    for wire in (first, second, third, first):
        assert wire.ask("GET /healthz").status == 200
    (fourth,) = wires(chi.port, 1)
    assert second.ended()
    for wire in (fourth, first, third):
        assert wire.ask("GET /healthz").status == 200
    wires(chi.port, 1)
    assert fourth.ended()


def test_new_connection_is_not_the_longest_idle(chi: Chi, wires: Callable[..., list[Wire]]) -> None:
    """A connection on which nothing has come yet is as old as it is, not older than all others."""
    room_for(chi, 3)
    olds = wires(chi.port, 3)
    for wire in olds:
        assert wire.ask("GET /healthz").status == 200
    (new,) = wires(chi.port, 1)
    assert olds[0].ended()
    wires(chi.port, 1)
    assert olds[1].ended()
    assert new.ask("GET /healthz").status == 200


def test_connection_that_waits_for_the_miner_is_not_idle(
    serve: Callable[..., Chi], miner: ScriptedMiner, wires: Callable[..., list[Wire]]
) -> None:
    """Connections that wait for an answer are kept beyond the limit."""
    chi = serve(miner.port, clock=StillClock().clock)  # else a silent miner gets more connections
    gate = threading.Event()
    miner.script = lambda request: [gate, HEALTHY]
    room_for(chi, 3)
    waiting: list[Wire] = []
    for number in range(6):
        waiting += wires(chi.port, 1)
        waiting[-1].request(f"GET /gpu/{number}")
        assert chi.get("/healthz").status == 200  # so it has arrived
    gate.set()
    assert [wire.read().status for wire in waiting] == [200] * 6


def test_limit_reached_by_waiting_clients_is_no_dead_end(
    serve: Callable[..., Chi], miner: ScriptedMiner, wires: Callable[..., list[Wire]]
) -> None:
    """Once those that used up all connections have their answers, the idle among them make room again."""
    chi = serve(miner.port, clock=StillClock().clock)  # else a silent miner gets more connections
    gate = threading.Event()
    miner.script = lambda request: [gate, HEALTHY]
    room_for(chi, 3)
    waiting: list[Wire] = []
    for number in range(3 + 2 * EVICT_AHEAD):
        waiting += wires(chi.port, 1)
        waiting[-1].request(f"GET /gpu/{number}")
    miner.asked(4)
    gate.set()
    assert {wire.read().status for wire in waiting} == {200}
    with Wire(chi.port, timeout=A_SECOND) as wire:
        assert wire.ask("GET /healthz").status == 200


def test_request_that_never_ends_is_ended(
    serve: Callable[..., Chi], miner: ScriptedMiner, wires: Callable[..., list[Wire]]
) -> None:
    """A connection that drips a request for too long is closed, while idle ones stay."""
    chi = serve(miner.port, clock=StillClock().clock)
    idle, slow, body = wires(chi.port, 3)
    assert idle.ask("GET /healthz").status == 200
    body.send(body.head("POST / HTTP/1.1", "Content-Length: 10000"))
    with dripping([slow, body], 0.05):
        assert idle.ask("GET /healthz").status == 200
        channels = chi.loop.servers[0].active_channels
        while sum(channel.request is not None for channel in list(channels.values())) < 2:
            time.sleep(0.01)  # until chi has read the beginning of both
        chi.advance(HEADER_TIME - 1)
        assert idle.ask("GET /healthz").status == 200
        assert slow.silent()
        assert body.silent()
        chi.advance(CLEAN_EVERY)
        assert slow.ended()
        assert body.ended()
    assert idle.ask("GET /healthz").status == 200


LOW = 'ulimit -n 128 || exit 9; exec $PYTHON "$@"'


@pytest.mark.usefixtures("descriptors")
def test_low_soft_limit_is_raised(
    launch: Callable[..., Process],
    through: Callable[[str], dict[str, str]],
    wires: Callable[..., list[Wire]],
) -> None:
    """Where the system lets it, chi takes more descriptors than it was started with."""
    chi = launch("--read-only", **through(LOW.replace("ulimit", "ulimit -S")))
    connections = wires(chi.port, 300)
    assert chi.get("/healthz").status == 200
    assert {wire.ask("GET /healthz").status for wire in connections} == {200}
    assert chi.stop() == 0


@pytest.mark.parametrize("kind", ["idle", "dripping", "used"])
def test_clients_cannot_use_up_the_descriptors(
    launch: Callable[..., Process],
    through: Callable[[str], dict[str, str]],
    wires: Callable[..., list[Wire]],
    kind: str,
) -> None:
    """With few descriptors chi serves on, however many connections clients open and keep."""
    chi = launch("--read-only", **through(LOW))
    port = chi.port
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            connections = wires(port, 75)
            if kind == "dripping":
                stack.enter_context(dripping(connections))
            elif kind == "used":
                for wire in connections:
                    wire.request("GET /healthz")
            for path in ("/healthz", "/summary"):
                assert seconds(lambda path=path: chi.get(path)) < A_SECOND
        assert chi.get("/summary").body == HEALTHY[:-1]
    chi.stop()
    told = [line for line in unexpected(chi) if "closed a connection of 127.0.0.1: no room" not in line]
    assert told == [f"INFO miner {miner_of(chi)} answers"]


def test_waiting_clients_cannot_use_up_the_descriptors(
    launch: Callable[..., Process],
    miner: ScriptedMiner,
    through: Callable[[str], dict[str, str]],
    wires: Callable[..., list[Wire]],
) -> None:
    """With few descriptors and a hung miner every client is told so, and after it all is well again."""
    miner.script = [HOLD]
    chi = launch("--read-only", "--timeout", "1", **through(LOW))
    connections: list[Wire] = []
    for number in range(120):
        connections += wires(chi.port, 1)
        connections[-1].request(f"GET /gpu/{number}")
    assert {wire.read().status for wire in connections} <= {503, 504}
    miner.script = [HEALTHY]
    assert chi.get("/summary").body == HEALTHY[:-1]
    chi.stop()
    # waitress says so when it stops accepting, and when it goes on.
    lines = [line for line in unexpected(chi) if "total open connections" not in line]
    assert len(lines) == 2, lines
    hung, up = lines
    assert re.fullmatch("WARNING The miner did not answer within 1 s.*", hung)
    assert up == f"INFO miner {miner_of(chi)} answers"


def test_many_clients_at_once_leave_the_log_alone(launch: Callable[..., Process]) -> None:
    """64 clients at once are no event for the log, and each gets its answers."""
    chi = launch("--read-only")
    port = chi.port

    def poll() -> set[int]:
        with Wire(port) as wire:
            return {wire.ask(f"GET /{path}").status for path in ("summary", "", "gpu/0", "healthz") * 5}

    assert [client.result() for client in [Background(poll) for _ in range(64)]] == [{200}] * 64
    chi.stop()
    assert unexpected(chi) == [f"INFO miner {miner_of(chi)} answers"]


# --- The miner comes and goes ---------------------------------------------------------------------


def test_starts_without_the_miner(chi_server: Callable[..., Process]) -> None:
    """Started before the miner, chi says that it is not there, and answers as soon as it is."""
    port = free_port()
    chi = chi_server("-p", str(port), "--read-only", *LOOPBACK)
    assert chi.get("/healthz").status == 200
    assert {chi.get("/summary").status for _ in range(5)} == {502}
    with ScriptedMiner(port=port):
        assert chi.get("/summary").body == HEALTHY[:-1]
    chi.stop()
    down, up = of_the_miner(chi)
    assert re.fullmatch(f"WARNING The miner's API at 127.0.0.1:{port} refuses connections.*", down)
    assert up == f"INFO miner 127.0.0.1:{port} answers"


def test_each_change_of_the_miner_is_one_line(launch: Callable[..., Process], miner: ScriptedMiner) -> None:
    """Up, hung, up again, closed to this host, gone: a line for each, whatever the number of requests."""
    chi = launch("--read-only", "--timeout", "0.5")
    stages: list[tuple[list[Step], str]] = [
        ([HEALTHY], "INFO miner .* answers"),
        ([HOLD], "WARNING The miner did not answer within 0.5 s.*"),
        ([HEALTHY], "INFO miner .* answers"),
        ([], "WARNING The miner at .* closed the connection without a reply.*"),
        ([b"no JSON\0"], "INFO miner .* answers"),  # after a fashion
        ([HEALTHY], ""),
        ([RESET], "WARNING The miner at .* closed the connection without a reply.*"),
    ]
    for script, _ in stages:
        miner.script = script
        for clients in ([Background(chi.get, f"/gpu/{number % 3}") for number in range(8)] for _ in range(2)):
            for client in clients:
                client.result()
    miner.close()
    for _ in range(5):
        assert "refuses" in chi.get("/summary").message  # it is down still: no news
    assert chi.stop() == 0
    patterns = [pattern for _, pattern in stages if pattern]
    lines = of_the_miner(chi)
    assert len(lines) == len(patterns), lines
    for line, pattern in zip(lines, patterns):
        assert re.fullmatch(pattern, line)


def test_request_that_hangs_alone_is_no_change_of_the_miner(
    serve: Callable[..., Chi], miner: ScriptedMiner, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that runs out of time while others are answered does not say that the miner is gone."""
    caplog.set_level(logging.INFO, "chi")
    miner.script = lambda request: [HOLD if b"gpu" in request else HEALTHY]
    chi = serve(miner.port, timeout=0.5)
    alone = Background(chi.get, "/gpu/0")
    miner.asked(1)
    assert chi.get("/summary").status == 200
    assert alone.result().status == 504
    assert chi.get("/summary").status == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "chi"]
    assert lines == [f"miner {chi.miner.name} answers"]


MISFORTUNES: tuple[list[Step], ...] = (
    [b"\xff\xfe\0"],
    [b'{"STATUS":['],
    [b'{"STATUS":[', RESET],
    [b"[" * 50_000],
    [b'{"a":' * 50_000],
    [b"\0"],
    [bytes(range(256)) * 1000],
    [RESET],
    [],
)


def test_misfortunes_leave_no_traceback(launch: Callable[..., Process], miner: ScriptedMiner) -> None:
    """A miner's garbage, clients that vanish and port scans are no faults: the log does not tell of them."""
    chi = launch("--read-only", "--timeout", "1", "--log-level", "debug")
    port = chi.port
    for script in MISFORTUNES:
        miner.script = script
        assert chi.get("/summary").status == 502
        assert chi.get("/summary?pretty").status == 502
    gate = threading.Event()
    miner.script = lambda request: [gate, envelope(ECHO="x" * 3_000_000)]
    for number, data in enumerate(scans()):
        wire = Wire(port, buffer=4096)
        with contextlib.suppress(OSError):  # chi may have ended it
            wire.send(data)
        if number % 3 == 0:
            wire.reset()
        else:
            wire.close()
        if number % 10 == 0:
            assert chi.get("/healthz").status == 200
    gate.set()
    miner.script = [HEALTHY]
    assert chi.get("/summary").body == HEALTHY[:-1]
    assert chi.stop() == 0
    lines = [line for line in unexpected(chi) if line not in of_the_miner(chi)]
    assert lines == []
    assert len(of_the_miner(chi)) <= 5


def scans() -> Iterator[bytes]:
    """What comes from port scanners and from clients that are cut off."""
    chance = random.Random(1)
    request = b"POST /gpu/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
    yield b""
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(512)
    yield b"\x00\x00\x00\x2f\xff\x53\x4d\x42\x72\r\n\r\n"
    yield b"OPTIONS * RTSP/1.0\r\n\r\n"
    yield b"OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/TCP nm\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield b'{"command":"summary"}\r\n\r\n'
    yield b"CONNECT example.com:443 HTTP/1.1\r\n\r\n"
    yield b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n"
    yield b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000
    for _ in range(20):
        yield chance.randbytes(chance.randrange(2000))
        yield chance.randbytes(chance.randrange(200)) + b"\r\n\r\n"
        yield request[: chance.randrange(len(request))]
        yield request * 3
        damaged = bytearray(request)
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        yield bytes(damaged)


# --- Stop -----------------------------------------------------------------------------------------

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
TWO_SECONDS = 15.0  # likewise


@SIGNALS
def test_stops_at_once_with_nothing_in_flight(
    launch: Callable[..., Process], wires: Callable[..., list[Wire]], number: int
) -> None:
    """A signal ends idle connections and the process, with status 0."""
    chi = launch("--read-only")
    used, idle = wires(chi.port, 2)
    assert used.ask("GET /summary").status == 200
    assert chi.get("/healthz").status == 200
    assert seconds(lambda: chi.stop(number)) < TWO_SECONDS / 2
    assert chi.process.returncode == 0
    assert used.ended()
    assert idle.ended()
    assert unexpected(chi) == [f"INFO miner {miner_of(chi)} answers"]
    assert chi.log.endswith("INFO stopped\n")


@pytest.fixture
def still(serve: Callable[..., Chi], miner: ScriptedMiner) -> Chi:
    """A chi with a clock that stands still."""
    return serve(miner.port, clock=StillClock().clock)


HEAD, BODY = b"GET /devs", b'{"command":"devs"}'


@pytest.mark.parametrize("kind", ["head", "body"])
def test_half_received_requests_are_in_flight(
    still: Chi, wires: Callable[..., list[Wire]], kind: str
) -> None:
    """What a client has begun to send when chi is to stop is received to its end, and answered."""
    wire, other = wires(still.port, 2)
    head = wire.head("POST / HTTP/1.1", f"Content-Length: {len(BODY)}")
    wire.send(HEAD if kind == "head" else head + BODY[:5])
    assert other.ask("GET /healthz").status == 200
    still.loop.stop()
    still.advance(DRAIN - 0.1)
    assert wire.silent()
    wire.send(wire.head(" HTTP/1.1") if kind == "head" else BODY[5:])
    response = wire.read()
    assert (response.status, response.headers["Connection"]) == (200, "close")
    assert wire.ended()


def test_what_is_never_received_holds_up_the_end_no_longer_than_that(
    still: Chi, wires: Callable[..., list[Wire]]
) -> None:
    """A client that stops in the middle of its request gets as long as what is in flight."""
    wire, other = wires(still.port, 2)
    wire.send(HEAD)
    assert other.ask("GET /healthz").status == 200
    still.loop.stop()
    still.advance(DRAIN + 0.1)
    assert wire.ended()


def test_who_asks_again_soon_is_told_that_it_is_the_last_time(
    still: Chi, wires: Callable[..., list[Wire]]
) -> None:
    """A connection on which something was asked just now is not closed under its client's next request."""
    poller, quiet = wires(still.port, 2)
    for wire in (quiet, poller):  # the second is answered when all is done for the first
        assert wire.ask("GET /healthz").status == 200
    still.advance(PATIENCE)
    assert poller.ask("GET /healthz").status == 200
    still.loop.stop()
    still.advance(GRACE + 0.1)
    assert quiet.ended()
    still.advance(PATIENCE - GRACE - 0.2)
    assert poller.silent()
    response = poller.ask("GET /healthz")
    assert (response.status, response.headers["Connection"]) == (200, "close")
    assert poller.ended()


def test_idle_connections_hold_up_the_end_no_longer_than_that(
    still: Chi, wires: Callable[..., list[Wire]]
) -> None:
    """Who does not ask again is not waited for."""
    new, used, other = wires(still.port, 3)
    for wire in (used, other):  # the second is answered when all is done for the first
        assert wire.ask("GET /healthz").status == 200
    still.loop.stop()
    still.advance(PATIENCE + 0.1)
    assert used.ended()
    assert new.ended()


@SIGNALS
def test_what_is_in_flight_is_answered_before_the_end(
    launch: Callable[..., Process], miner: ScriptedMiner, wires: Callable[..., list[Wire]], number: int
) -> None:
    """A request that the miner answers soon after the signal is answered; then the process ends."""
    gate = threading.Event()
    miner.script = lambda request: [gate, HEALTHY]
    chi = launch("--read-only")
    report, command = wires(chi.port, 2)
    report.request("GET /summary")
    command.request("POST /", body=b'{"command":"devs"}')
    miner.asked(2)
    chi.process.send_signal(number)
    time.sleep(0.3)
    chi.process.send_signal(number)  # impatience changes nothing
    gate.set()
    for wire in (report, command):
        response = wire.read()
        assert (response.status, response.body) == (200, HEALTHY[:-1])
        assert response.headers["Connection"] == "close"
        assert wire.ended()
    assert chi.wait(TWO_SECONDS) == 0
    assert unexpected(chi) == [f"INFO miner {miner_of(chi)} answers"]


@SIGNALS
def test_hung_miner_does_not_hold_up_the_end(
    launch: Callable[..., Process], miner: ScriptedMiner, wires: Callable[..., list[Wire]], number: int
) -> None:
    """With a miner that does not answer, clients are told that chi stops, and it does so in two seconds."""
    miner.script = [HOLD]
    chi = launch("--timeout", "30")
    clients = wires(chi.port, 6)
    starts = ("GET /summary", "GET /summary", "POST /quit", "GET /gpu/0?pretty", "GET /readyz", "GET /pools")
    for wire, start in zip(clients, starts):
        wire.request(start)
    miner.asked(4)
    assert seconds(lambda: chi.stop(number)) < TWO_SECONDS
    assert chi.process.returncode == 0
    for wire in clients:
        response = wire.read()
        assert (response.status, "chi is stopping" in response.message) == (503, True)
    assert unexpected(chi) == []


def test_given_up_command_may_have_been_carried_out(
    launch: Callable[..., Process], miner: ScriptedMiner, wires: Callable[..., list[Wire]]
) -> None:
    """When chi stops before the answer to a command that was sent, its client is told what that means."""
    miner.script = [HOLD]
    chi = launch("--timeout", "30")
    clients = wires(chi.port, 2)
    for wire, start in zip(clients, ("POST /quit", "GET /summary")):
        wire.request(start)
    miner.asked(2)
    chi.stop()
    said = [wire.read().message for wire in clients]
    assert ["may have been carried out" in each for each in said] == [True, False]


def test_client_that_does_not_read_does_not_hold_up_the_end(
    launch: Callable[..., Process], miner: ScriptedMiner, wires: Callable[..., list[Wire]]
) -> None:
    """A large answer that its client does not take is given up in two seconds."""
    miner.script = [envelope(ECHO="x" * 500_000)]
    chi = launch("--read-only")
    (wire,) = wires(chi.port, 1, buffer=4096)
    wire.request("GET /summary")
    miner.asked(1)
    assert wire.sock.recv(1) == b"H"
    assert seconds(chi.stop) < TWO_SECONDS
    assert chi.process.returncode == 0


def test_large_answer_is_sent_before_the_end(
    launch: Callable[..., Process], miner: ScriptedMiner, wires: Callable[..., list[Wire]]
) -> None:
    """A large answer that its client does take is sent to its end."""
    miner.script = [envelope(ECHO="x" * 500_000)]
    chi = launch("--read-only")
    (wire,) = wires(chi.port, 1, buffer=4096)
    wire.request("GET /summary")
    miner.asked(1)
    assert wire.sock.recv(1, socket.MSG_PEEK) == b"H"
    chi.process.send_signal(signal.SIGTERM)
    assert wire.read().json["ECHO"] == "x" * 500_000
    assert chi.wait(TWO_SECONDS) == 0


# --- systemd --------------------------------------------------------------------------------------


class Notified:
    """The other side of NOTIFY_SOCKET: at `address`, and what came so far in `messages`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[str] = []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.sock.settimeout(10)

    def __enter__(self) -> Notified:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def wait(self, pattern: str) -> str:
        """Wait for a message."""
        while True:
            message = self.sock.recv(4096).decode()
            self.messages.append(message)
            if re.fullmatch(pattern, message):
                return message


@pytest.fixture(params=["path", "abstract"])
def notified(request: pytest.FixtureRequest) -> Iterator[Notified]:
    """A socket for notifications, of either kind."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/notify"
        with Notified(path if request.param == "path" else f"@{path}") as manager:
            yield manager


def test_systemd_is_told_of_the_state(
    launch: Callable[..., Process], miner: ScriptedMiner, notified: Notified
) -> None:
    """READY=1 comes first, when chi serves; STATUS tells of the miner; STOPPING=1 comes at the end."""
    state = f"STATUS=miner 127.0.0.1:{miner.port} "
    chi = launch("--read-only", environment={"NOTIFY_SOCKET": notified.address})
    notified.wait("READY=1")
    assert notified.messages == [*STORES, "READY=1"]
    for _ in range(3):
        assert chi.get("/summary").status == 200
    assert notified.wait("STATUS=.*") == f"{state}answers"
    assert notified.wait("STATUS=.*") == f"{state}answers (scripted)"
    miner.close()
    for _ in range(3):
        assert chi.get("/summary").status == 502
    assert re.fullmatch(re.escape(state) + r"refused since \d\d:\d\d", notified.wait("STATUS=.*"))
    with ScriptedMiner(port=miner.port):
        for _ in range(3):
            assert chi.get("/summary").status == 200
        assert notified.wait("STATUS=.*") == f"{state}answers (scripted)"
        assert chi.stop() == 0
    notified.wait("STOPPING=1")
    assert len(notified.messages) == 8
    assert not select_readable(notified.sock)


# What is sent before READY=1: the listening sockets are kept for the process that comes next.
STORES = ["FDSTOREREMOVE=1\nFDNAME=chi", "FDSTORE=1\nFDNAME=chi"]


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (json.dumps({"STATUS": [{"Description": "a\nSTOPPING=1\x07b"}]}), "answers (aSTOPPING=1b)"),
        (json.dumps({"STATUS": [{"Description": "x" * 1000}]}), f"answers ({'x' * 60})"),
        (json.dumps({"STATUS": [{"Description": 5}]}), "answers"),
        (json.dumps({"STATUS": [{"Description": ""}]}), "answers"),
        (json.dumps({"STATUS": 5}), "answers"),
        ("[]", "answers"),
        ("no JSON", "answers"),
        ("", "closed since .*"),
    ],
)
def test_status_is_told_unasked(
    launch: Callable[..., Process], miner: ScriptedMiner, notified: Notified, reply: str, state: str
) -> None:
    """The miner is asked for its version; what it says of itself cannot be another message."""
    miner.script = [reply.encode()]
    chi = launch("--read-only", environment={"NOTIFY_SOCKET": notified.address})
    name = re.escape(f"STATUS=miner 127.0.0.1:{miner.port} ")
    pattern = state if "since" in state else re.escape(state)
    notified.wait(name + pattern)
    assert json.loads(miner.requests[0]) == {"command": "version"}
    assert miner.requests[1:] in ([], [b"summary"])  # what closes without a byte may speak text
    assert chi.stop() == 0
    notified.wait("STOPPING=1")
    assert all(re.match(r"STATUS=|(FDSTORE|READY|STOPPING)", message) for message in notified.messages)


def test_status_is_kept_true(
    monkeypatch: pytest.MonkeyPatch, miner: ScriptedMiner, serve: Callable[..., Chi]
) -> None:
    """While nobody asks, chi looks after the miner now and then, but only if systemd listens."""
    monkeypatch.setattr("chi.monitor.LOOK", 0.1)
    with tempfile.TemporaryDirectory() as directory:
        manager = Notified(f"{directory}/notify")
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        serve(miner.port)
        manager.wait(r"STATUS=.* answers \(scripted\)")
        miner.asked(3)
        miner.close()
        manager.wait("STATUS=.* (refused|closed) since .*")  # closed: a look was under way
        manager.sock.close()
    with ScriptedMiner() as other:
        chi = serve(other.port)  # NOTIFY_SOCKET is gone: the first has taken it
        time.sleep(0.3)
        assert chi.get("/healthz").status == 200
        assert other.requests == []


def select_readable(sock: socket.socket) -> bool:
    """Whether something more has come."""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return bool(sock.recv(4096))
    return False


@pytest.mark.parametrize("pid", ["", "LISTEN"])
def test_watchdog_is_fed_in_time(
    launch: Callable[..., Process], through: Callable[[str], dict[str, str]], pid: str
) -> None:
    """WATCHDOG=1 comes every half of WATCHDOG_USEC, however short, with nobody asking anything."""
    with tempfile.TemporaryDirectory() as directory, Notified(f"{directory}/notify") as manager:
        environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "400000"}
        script = "export WATCHDOG_PID=$$;" if pid else ""
        launch(environment=environment, **through(script + 'exec $PYTHON "$@"'))
        manager.wait("READY=1")
        manager.wait("WATCHDOG=1")
        began = time.monotonic()
        for _ in range(10):
            manager.wait("WATCHDOG=1")
        # Ten times 0.2 s; who wakes up once a second needs 10 s.
        assert 1 < time.monotonic() - began < 6


@pytest.mark.parametrize("usec", ["", "0", "100000"])
def test_watchdog_of_another_is_not_fed(launch: Callable[..., Process], usec: str) -> None:
    """Without WATCHDOG_USEC, or with a WATCHDOG_PID that is not chi's, there is no WATCHDOG=1."""
    with tempfile.TemporaryDirectory() as directory, Notified(f"{directory}/notify") as manager:
        pid = {"WATCHDOG_PID": "1"} if usec == "100000" else {}
        chi = launch(environment={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": usec, **pid})
        manager.wait("READY=1")
        for _ in range(3):
            assert chi.get("/healthz").status == 200
            time.sleep(0.1)
        assert chi.stop() == 0
        manager.wait("STOPPING=1")
        assert "WATCHDOG=1" not in manager.messages


@pytest.mark.parametrize("kind", ["missing", "closed", "too long", "full"])
def test_dead_notify_socket_does_no_harm(launch: Callable[..., Process], kind: str) -> None:
    """A NOTIFY_SOCKET on which nobody listens, or nobody reads, neither stops chi nor fills its log."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        address = f"{directory}/notify" + "x" * 200 * (kind == "too long")
        if kind in ("closed", "full"):
            manager = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            manager.bind(address)
            if kind == "closed":
                manager.close()
            else:
                fill(address)
        chi = launch("--read-only", environment={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"})
        for _ in range(5):
            with Wire(chi.port, timeout=20) as wire:
                assert wire.ask("GET /summary").status == 200
        assert chi.stop() == 0
        assert unexpected(chi) == [f"INFO miner {miner_of(chi)} answers"]


def fill(address: str) -> None:
    """Send to a socket until it takes no more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(BlockingIOError):
        sock.setblocking(False)
        while True:
            sock.sendto(b"x", address)


PASS_ON = """
exec $PYTHON -c '
import os, sys
for number, descriptor in enumerate(os.environ["DESCRIPTORS"].split()):
    os.dup2(int(descriptor), 3 + number)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
' "$@"
"""


@contextlib.contextmanager
def listening(*hosts: str) -> Iterator[list[socket.socket]]:
    """Sockets that listen, high enough not to be in the way of what they become."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            low = stack.enter_context(socket.socket(family))
            low.bind((host, 0))
            low.listen(64)
            high = os.dup(low.fileno())
            sockets.append(stack.enter_context(socket.socket(fileno=high)))
        yield sockets


def passed(
    sockets: list[socket.socket], through: Callable[[str], dict[str, str]], named: Iterable[str] = ()
) -> dict[str, Any]:
    """What makes Process start with `sockets` as systemd passes them: from descriptor 3 on, with names."""
    numbers = [sock.fileno() for sock in sockets]
    environment = {"LISTEN_FDS": str(len(sockets)), "DESCRIPTORS": " ".join(map(str, numbers))}
    names = {"LISTEN_FDNAMES": ":".join(named)} if named else {}
    return {"environment": {**environment, **names}, "pass_fds": numbers, **through(PASS_ON)}


def test_sockets_of_systemd_are_served(
    launch: Callable[..., Process], through: Callable[[str], dict[str, str]]
) -> None:
    """Sockets passed by LISTEN_FDS are served instead of chi's own, whatever the options say."""
    with listening("127.0.0.1", "127.0.0.1") as sockets:
        chi = launch("-w", str(free_port()), listen=(), **passed(sockets, through))
        ports = {int(port) for port in re.findall(r"serving http://127.0.0.1:(\d+) ", wait_for_start(chi))}
        assert ports == {sock.getsockname()[1] for sock in sockets}
        for port in ports:
            with Wire(port) as wire:
                assert wire.ask("GET /summary").body == HEALTHY[:-1]
        assert chi.stop() == 0


def test_stored_sockets_are_taken_where_they_are_wanted(
    launch: Callable[..., Process], through: Callable[[str], dict[str, str]]
) -> None:
    """Of what systemd has stored, chi takes what listens as the options say; who waits there is answered."""
    with listening("127.0.0.1", "127.0.0.1") as sockets:
        port, other = (sock.getsockname()[1] for sock in sockets)
        with Wire(port) as wire, Wire(other) as lost:
            wire.request("GET /summary")
            chi = launch(
                "--listen",
                "127.0.0.1",
                "-w",
                str(port),
                listen=(),
                **passed(sockets, through, ["chi", "chi"]),
            )
            assert wire.read().body == HEALTHY[:-1]
            # The other holders of the dropped socket, as systemd is, hold no client up either.
            with contextlib.suppress(ConnectionResetError):
                assert lost.sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            Wire(other)
        assert re.findall(r"serving http://127.0.0.1:(\d+) ", wait_for_start(chi)) == [str(port)]
        assert chi.stop() == 0


@pytest.mark.parametrize(("before", "after"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0")])
def test_stored_socket_does_not_hold_the_port(
    launch: Callable[..., Process], through: Callable[[str], dict[str, str]], before: str, after: str
) -> None:
    """Another address can be served at the port of a socket that systemd still holds."""
    with listening(before) as sockets:
        port = sockets[0].getsockname()[1]
        chi = launch("--listen", after, "-w", str(port), listen=(), **passed(sockets, through, ["chi"]))
        assert f"http://{after}:{port} " in wait_for_start(chi)
        with Wire(port) as wire:
            assert wire.ask("GET /summary").body == HEALTHY[:-1]
        assert chi.stop() == 0


def test_free_port_is_kept(launch: Callable[..., Process], through: Callable[[str], dict[str, str]]) -> None:
    """With port 0 a stored socket's port is as good as any."""
    with listening("127.0.0.1") as sockets:
        port = sockets[0].getsockname()[1]
        chi = launch(**passed(sockets, through, ["chi"]))
        assert chi.port == port
        assert chi.stop() == 0


def test_socket_unit_goes_before_what_is_stored(
    launch: Callable[..., Process], through: Callable[[str], dict[str, str]]
) -> None:
    """With a socket unit, its sockets are served and no others."""
    with listening("127.0.0.1", "127.0.0.1") as sockets:
        stored, given = (sock.getsockname()[1] for sock in sockets)
        chi = launch("-w", str(stored), **passed(sockets, through, ["chi", "chi.socket"]))
        assert re.findall(r"serving http://127.0.0.1:(\d+) ", wait_for_start(chi)) == [str(given)]
        assert chi.stop() == 0


def test_listening_sockets_are_stored(launch: Callable[..., Process], notified: Notified) -> None:
    """The listening sockets go to systemd, in place of what it had."""
    chi = launch("--listen", "::1", environment={"NOTIFY_SOCKET": notified.address})
    notified.wait("FDSTOREREMOVE=1\nFDNAME=chi")
    message, descriptors, _, _ = socket.recv_fds(notified.sock, 4096, 16)
    assert message == b"FDSTORE=1\nFDNAME=chi"
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    assert [sock.getsockname()[:2] for sock in sockets] == [("127.0.0.1", chi.port), ("::1", chi.port)]
    assert chi.stop() == 0
    with sockets[0], sockets[1], Wire(chi.port):  # they still listen: who comes now waits for the next
        sockets[0].accept()[0].close()


def wait_for_start(process: Process) -> str:
    """The log when it serves."""
    process.logged("whoever reaches it")
    return process.log


def test_restart_with_a_socket_of_systemd_loses_no_client(
    launch: Callable[..., Process], through: Callable[[str], dict[str, str]]
) -> None:
    """Whoever connects between two lives of chi is answered by the second."""
    with listening("127.0.0.1") as sockets:
        keywords = passed(sockets, through)
        port = sockets[0].getsockname()[1]
        chi = launch(listen=(), **keywords)
        assert chi.get("/summary").status == 200
        assert chi.stop() == 0
        with Wire(port) as wire:
            wire.request("GET /summary")
            second = launch(listen=(), **keywords)
            assert wire.read().body == HEALTHY[:-1]
            assert second.stop() == 0


@pytest.mark.parametrize(
    "environment",
    [
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": ""},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": ""},
        {"LISTEN_FDS": "", "LISTEN_PID": "", "NOTIFY_SOCKET": "", "WATCHDOG_USEC": "", "WATCHDOG_PID": ""},
        {"LISTEN_FDS": "many", "LISTEN_PID": "1"},
        {"WATCHDOG_USEC": "often", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "often"},
    ],
    ids=str,
)
def test_what_systemd_means_for_others_is_ignored(
    launch: Callable[..., Process], environment: dict[str, str]
) -> None:
    """Variables that are empty, another process's or nonsense change nothing."""
    chi = launch(environment=environment)
    assert chi.get("/summary").status == 200
    assert chi.stop() == 0


# --- Listening ------------------------------------------------------------------------------------

IPV6 = pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")


@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [
        (["--listen", "127.0.0.1", "--listen", "127.0.0.2"], ["127.0.0.1", "127.0.0.2"]),
        pytest.param(["--listen", "127.0.0.1", "--listen", "::1"], ["127.0.0.1", "[::1]"], marks=IPV6),
        pytest.param(["--listen", "::1"], ["[::1]"], marks=IPV6),
        pytest.param([], ["0.0.0.0", "[::]"], marks=IPV6),
    ],
    ids=str,
)
def test_serves_where_it_is_told(
    launch: Callable[..., Process], arguments: list[str], hosts: list[str]
) -> None:
    """Each --listen is served, on one port; without any, all interfaces are, by IPv4 and IPv6."""
    chi = launch("-w", "0", *arguments, listen=())
    lines = re.findall(r"serving http://(\S+):(\d+) ", wait_for_start(chi))
    assert [host for host, _ in lines] == hosts
    assert len({port for _, port in lines}) == 1
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    for host in hosts:
        bare = host.strip("[]")
        with Wire(chi.port, reachable.get(bare, bare)) as wire:
            assert wire.ask("GET /summary").status == 200
    assert chi.stop() == 0


def test_name_is_served_at_all_its_addresses(launch: Callable[..., Process]) -> None:
    """--listen takes a host name."""
    chi = launch("-w", "0", "--listen", "localhost", listen=())
    assert chi.get("/summary").status == 200
    assert chi.stop() == 0


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_system_without_ipv6_is_served_by_ipv4(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Where the system has no IPv6, all interfaces are served by IPv4; asked for by name, it is an error."""

    def without_ipv6(family: int, address: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(code, os.strerror(code))
        return listen(family, address)

    monkeypatch.setattr("chi.server.listening.listen", without_ipv6)
    (sock,) = open_sockets(Settings(http_port=0))
    with sock:
        assert sock.getsockname()[0] == "0.0.0.0"
    with pytest.raises(OSError, match=os.strerror(code)):
        open_sockets(Settings(http_port=0, listen=("::1",)))


@pytest.mark.parametrize("absent", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_address_that_is_not_here_yet_leaves_the_others_served(
    launch: Callable[..., Process], absent: str, first: bool
) -> None:
    """An address that the host does not have yet is bound all the same, and one line says so."""
    hosts = (absent, "127.0.0.1") if first else ("127.0.0.1", absent)
    chi = launch("-w", "0", listen=[word for host in hosts for word in ("--listen", host)])
    chi.logged(f"WARNING {absent} is not an address of this host yet: it is served when it is\n")
    assert chi.get("/healthz").status == 200
    there = f"[{absent}]" if ":" in absent else absent
    assert f"serving http://{there}:{chi.port} " in chi.log
    assert chi.stop() == 0
    assert chi.log.count(absent) == 2


# --- What does not grow ---------------------------------------------------------------------------


def resident(process: Process) -> int:
    """Its memory, in KiB."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])


def opened(process: Process) -> int:
    """The number of its descriptors."""
    return len(os.listdir(f"/proc/{process.process.pid}/fd"))


linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


@linux
def test_nothing_grows_with_the_number_of_requests(
    launch: Callable[..., Process], miner: ScriptedMiner
) -> None:
    """Thousands of requests of every kind leave memory and descriptors as they were."""
    miner.script = lambda request: [b'{"a":[,1]}\0' if b"pools" in request else HEALTHY]
    chi = launch("--read-only")
    port = chi.port
    counter = iter(range(1_000_000))

    def work(rounds: int) -> None:
        for _ in range(rounds):
            with Wire(port) as wire:
                for start in ("GET /summary", "GET /", "HEAD /summary", "GET /pools", "GET /%", "PUT /"):
                    wire.ask(start)
                wire.ask(f"GET /gpu/{next(counter)}")
                wire.ask(f"GET /summary?{next(counter)}")
                wire.ask("POST /", body=b'{"command":"gpu","parameter":%d}' % next(counter))
                wire.request(f"GET /gpu/{next(counter)}")  # and goes

    work(100)
    assert chi.get("/healthz").status == 200
    memory, descriptors = resident(chi), opened(chi)
    work(300)
    assert chi.get("/summary").status == 200
    assert resident(chi) < 1.15 * memory
    assert opened(chi) <= descriptors + 3


@linux
def test_idle_chi_sleeps(
    launch: Callable[..., Process], miner: ScriptedMiner, wires: Callable[..., list[Wire]]
) -> None:
    """With idle, waiting and vanished clients, and nothing to do, chi takes next to no processor time."""
    miner.script = [HOLD]
    chi = launch("--read-only", "--timeout", "30")
    idle, half, waiting, shut, gone = wires(chi.port, 5)
    assert idle.ask("GET /healthz").status == 200
    half.send(b"GET /summ")
    for wire in (waiting, shut, gone):
        wire.request("GET /summary")
    miner.asked(1)
    shut.sock.shutdown(socket.SHUT_WR)
    gone.reset()
    assert chi.get("/healthz").status == 200
    before = processor_time(chi)
    time.sleep(1)
    assert processor_time(chi) - before < 0.5


def processor_time(process: Process) -> float:
    """How much of it it has taken, in seconds."""
    fields = Path(f"/proc/{process.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
