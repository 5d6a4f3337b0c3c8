"""--scan of networks and --check of a fleet: what is found, what is printed of it, and how it ends."""

from __future__ import annotations

import argparse
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chi.demo_text import TextMiner
from chi.places import read_places
from chi.scanning import hosts, networks
from tests.scripted import HOLD, ScriptedMiner, capture, envelope, free_port

EVIL = envelope(VERSION=[{"CGMiner": "4.11.1\nevil = 10.0.0.1", "API": "3.7\r\x1b[2J\u2028x = 10.0.0.2"}])


def run(*arguments: str, limit: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the real chi-server to its end."""
    command = [sys.executable, "-m", "chi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)


@pytest.fixture
def found() -> Iterator[str]:
    """The port of miners in 127.9.0.0/27: two of them, one that tells evil, and one that hangs."""
    port = free_port("127.9.0.3")
    with ExitStack() as stack:
        for host, script in (
            ("127.9.0.20", [capture("version", "bfgminer-5.5.0")]),
            ("127.9.0.3", [capture("version")]),
            ("127.9.0.4", [EVIL]),
            ("127.9.0.5", [HOLD]),
            ("127.9.0.6", [b"HTTP/1.1 400 Bad Request\r\n\r\n"]),
        ):
            stack.enter_context(ScriptedMiner(script, host=host, port=port))
        yield str(port)


def test_a_scan(found: str, tmp_path: Path) -> None:
    """Lines for --miners, by address; what a miner tells adds none and is printable; silence is nobody."""
    done = run("--scan", "127.9.0.0/28, 127.9.0.16/28", "-p", found, "--timeout", "1.5")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.partition("  # ")[0] for line in lines] == [
        f"127.9.0.{last} = 127.9.0.{last}:{found}" for last in (3, 4, 20)
    ]
    assert lines[0].endswith("# CGMiner 4.11.1, API 3.7")
    assert lines[2].partition("  # ")[2].startswith("BFGMiner 5.5.0")
    assert re.fullmatch(r"[ -~]+", lines[1])
    path = tmp_path / "miners"
    path.write_text(done.stdout)
    assert [place.host for place in read_places(str(path))] == ["127.9.0.3", "127.9.0.4", "127.9.0.20"]


def test_nobody_is_found() -> None:
    """Status 1."""
    done = run("--scan", "127.9.1.1", "-p", str(free_port("127.9.1.1")))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_64_at_a_time_until_the_user_ends_it() -> None:
    """Of 100 hung addresses 64 are asked at once; Ctrl-C prints what was found so far."""
    port = free_port("127.9.2.1")
    with ExitStack() as stack:
        stack.enter_context(ScriptedMiner([capture("version")], host="127.9.2.1", port=port))
        hung = [
            stack.enter_context(ScriptedMiner([HOLD], host=f"127.9.2.{n}", port=port)) for n in range(2, 102)
        ]
        terminal, end = pty.openpty()
        arguments = ["--scan", "127.9.2.0/24", "-p", str(port), "--timeout", "60"]
        command = [sys.executable, "-m", "chi", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, text=True)
        os.close(end)
        hung[63].asked(1, 30)
        time.sleep(0.3)  # for a 65th that must not come
        assert sum(each.connections for each in hung) == 64
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == f"127.9.2.1 = 127.9.2.1:{port}  # CGMiner 4.11.1, API 3.7\n"
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert re.search(r"\r\[-+\] 1 of 254, 1 found", shown)
    assert shown.endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("8.8.8.8", "8.8.8.8/32 is not a private network"),
        ("192.168.0.0/15", "192.168.0.0/15 is not a private network"),
        ("192.0.2.0/24", "is not a private network"),
        ("100.64.0.0/24", "is not a private network"),
        ("169.254.0.0/24", "is not a private network"),
        ("0.0.0.0/0", "is not a private network"),
        ("::ffff:8.8.8.8", "8.8.8.8/32 is not a private network"),
        ("2001:db8::/120", "is not a private network"),
        ("10.0.0.0/19", "has 8192 addresses, of 4096 that are scanned"),
        ("10.0.0.0/20,10.1.0.0/32", "has 4097 addresses, of 4096 that are scanned"),
        ("fd00::/64", "addresses, of 4096 that are scanned"),
        ("10.0.0.0/24,", "'' is not an address, nor a network"),
        ("miner.lan", "'miner.lan' is not an address, nor a network"),
    ],
)
def test_what_is_not_scanned(text: str, why: str) -> None:
    """Nobody else's networks, and not more than a LAN."""
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(why)):
        networks(text)


def test_wrong_networks_end_the_start() -> None:
    """Status 2 and one line."""
    done = run("--scan", "8.8.8.0/24")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "argument --scan: 8.8.8.0/24 is not a private network" in done.stderr


def test_hosts() -> None:
    """Each address once, in their order, whatever the order and overlap of networks."""
    told = [str(each) for each in hosts(networks("fd00::2, 192.168.1.4/30,10.0.0.9,192.168.1.5"))]
    assert told == ["10.0.0.9", "192.168.1.5", "192.168.1.6", "fd00::2"]
    assert len(hosts(networks("10.0.0.0/20"))) == 4094


def test_a_miner_that_speaks_text() -> None:
    """It is found as any other."""
    miner = TextMiner()
    miner.start()
    try:
        done = run("--scan", miner.address[0], "-p", str(miner.address[1]))
    finally:
        miner.close()
    assert done.returncode == 0
    assert done.stdout.startswith(f"127.0.0.1 = 127.0.0.1:{miner.address[1]}  # ")


def test_check_of_a_fleet(found: str, tmp_path: Path) -> None:
    """A line each, in their order; status 1 if one does not answer."""
    path = tmp_path / "miners"
    path.write_text(f"b = 127.9.0.20:{found}\na = 127.9.0.3:{found}\nhung = 127.9.0.5:{found}\n")
    begin = time.monotonic()
    done = run("--check", "--miners", str(path), "--miner", "gone=127.9.0.9:1", "--timeout", "1")
    assert time.monotonic() - begin < 30
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["gone", "b", "a", "hung", "chi"]
    assert "refuses connections" in lines[0]
    assert lines[2] == "a: CGMiner 4.11.1, API 3.7"
    assert "did not answer within 1 s" in lines[3]
    path.write_text(f"a = 127.9.0.3:{found}\n")
    assert run("--check", "--miners", str(path)).returncode == 0


def test_a_fleet_is_checked_at_once() -> None:
    """One that hangs does not delay the line of another by more than its own time."""
    gate = threading.Event()
    with ExitStack() as stack:
        hung = [stack.enter_context(ScriptedMiner([gate], host=f"127.9.3.{n}")) for n in range(1, 31)]
        options = [f"--miner=m{n}={each.host}:{each.port}" for n, each in enumerate(hung)]
        begin = time.monotonic()
        done = run("--check", "--timeout", "2", *options)
        assert time.monotonic() - begin < 30  # one after another: 60 s
        gate.set()
    assert done.stdout.count("did not answer within 2 s") == 30
