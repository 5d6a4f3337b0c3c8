"""The simulated text miner has the wire and the fields of real ones (tests/data/captures-text)."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chi.demo import Rig
from chi.demo_text import TextMiner, main
from chi.miner.text import read_records

CAPTURES = Path(__file__).parent / "data" / "captures-text"
REAL = {"ccminer": CAPTURES / "ccminer-verus-cpu-3.7.1", "cpuminer": CAPTURES / "cpuminer-multi-1.3.7"}
NAMES = (
    *("summary", "threads", "pool", "pool_1", "histo", "histo_9", "hwinfo", "meminfo", "scanlog", "help"),
    *("nonsense", "joined", "json-summary", "json-joined", "version", "devs", "pools", "config", "coin"),
    *("stats", "privileged", "check_summary"),
)
CASES = [(kind, name) for kind, path in REAL.items() for name in NAMES if (path / f"{name}.reply").exists()]
REQUESTS = {
    "joined": b"summary+threads",
    "json-summary": b'{"command":"summary"}',
    "json-joined": b'{"command":"a+b"}',
}


@pytest.fixture
def start() -> Iterator[Callable[..., TextMiner]]:
    """Start simulated miners; they are closed after the test."""
    running: list[TextMiner] = []

    def make(**options: Any) -> TextMiner:
        running.append(TextMiner(rig=Rig(clock=lambda: 1_800_000_000.0), **options))
        running[-1].start()
        return running[-1]

    yield make
    for miner in running:
        miner.close()


def ask(miner: TextMiner, request: bytes) -> bytes:
    """All that it sends, until it closes."""
    with socket.create_connection(miner.address, 10) as connection:
        connection.sendall(request)
        reply = b""
        while chunk := connection.recv(65536):
            reply += chunk
        return reply


@pytest.mark.parametrize(("software", "name"), CASES)
def test_shape(software: str, name: str, start: Callable[..., TextMiner]) -> None:
    """Where a real one sends nothing, a lone NUL, or records, it does as well, with the same fields."""
    real = (REAL[software] / f"{name}.reply").read_bytes()
    ours = ask(start(software=software), REQUESTS.get(name, name.replace("_", "|").encode()))
    if software == "ccminer" and name == "threads":  # the real one was built without a GPU
        assert list(read_records(ours[:-1])[0])[:4] == ["GPU", "BUS", "CARD", "TEMP"]
    elif len(real) < 2:
        assert ours == real
    else:
        assert (ours.count(b"\0"), ours[-2:]) == (1, b"|\0")
        told, wanted = (read_records(reply.partition(b"\0")[0]) for reply in (ours, real))
        assert list(told[0]) == list(wanted[0])
        assert [type(value) for value in told[0].values()] == [type(value) for value in wanted[0].values()]


@pytest.mark.parametrize(
    "request_", [b"summary\n", b"summary\r\n", b"summary|", b"summary|0|", b"GET /summary HTTP/1.1\r\n\r\n"]
)
def test_harmless_ends(request_: bytes, start: Callable[..., TextMiner]) -> None:
    """What follows the word does no harm, and HTTP is answered with the bare text."""
    assert ask(start(), request_).startswith(b"NAME=ccminer;VER=")


def test_writes(start: Callable[..., TextMiner]) -> None:
    """Ccminer never checks writes, cpuminer answers a lone NUL where they are not allowed."""
    ccminer, cpuminer = start(access="R"), start(software="cpuminer", access="R")
    assert ask(ccminer, b"switchpool|1") == b"ok|\0"
    assert re.match(rb"POOL=backup;", ask(ccminer, b"pool"))
    assert ask(ccminer, b"switchpool|9") == b"fail|\0"
    assert ask(ccminer, b"seturl|stratum+tcp://new.example.com:1") == b"ok|\0"
    assert b"URL=stratum+tcp://new.example.com:1;" in ask(ccminer, b"pool")
    assert ask(ccminer, b"seturl") == ask(ccminer, b"switchpool") == b"ok|\0"
    assert ask(cpuminer, b"quit") == ask(cpuminer, b"seturl|host:1") == b"\0"
    assert ask(cpuminer, b"switchpool|1") == b""
    assert ask(ccminer, b"quit") == b"bye|\0"


@pytest.mark.parametrize(
    ("software", "request_"),
    [("ccminer", b"pool|-1"), ("ccminer", b"pool|4294967295"), ("cpuminer", b"seturl")],
)
def test_what_ends_it(software: str, request_: bytes, start: Callable[..., TextMiner]) -> None:
    """It ends where real ones crash."""
    miner = start(software=software)
    ask(miner, request_)
    miner.close()
    with pytest.raises(OSError, match="refused"):
        ask(miner, b"summary")


def test_the_command_line() -> None:
    """It is a program of its own, that ends at quit."""
    program = [sys.executable, "-m", "chi.demo_text", "--port", "0", "--software", "cpuminer"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = int(process.stderr.readline().rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(b"quit")
            assert connection.recv(10) == b"bye|\0"
        assert process.wait(10) == 0
    assert main(["--host", "192.0.2.1"]) == 1


def test_a_long_request_is_reset(start: Callable[..., TextMiner]) -> None:
    """It reads 1,024 bytes once; more is never read."""
    miner = start()
    with socket.create_connection(miner.address, 10) as connection:
        connection.sendall(b"nonsense|" + b"x" * 4096)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
