"""The log never makes chi wait: a pipe that nobody reads, one that is closed, and few descriptors."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chi.bounds import MIN_DESCRIPTORS
from chi.clock import CLOCK
from chi.logs import RareWarning, StandardError
from tests.conftest import Process, request
from tests.scripted import ScriptedMiner


def record(message: str) -> logging.LogRecord:
    """A record of the log."""
    return logging.LogRecord("chi", logging.INFO, "", 0, message, (), None)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: where it is read, where it is written."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_lines_without_room_are_counted(pipe: tuple[int, int]) -> None:
    """What a full pipe cannot take is left out; once there is room, the next line says how many were."""
    reader, writer = pipe
    handler = StandardError(writer)
    for number in range(3000):
        handler.emit(record(f"line {number} " + "x" * 100))
    text = os.read(reader, 1 << 20).decode()
    kept = re.findall(r"^line (\d+) x{100}$", text, re.MULTILINE)
    assert kept == [str(number) for number in range(len(kept))]
    assert 100 < len(kept) < 3000
    handler.emit(record("after"))
    lost = 3000 - len(kept)
    assert (
        os.read(reader, 1 << 20).decode()
        == f"WARNING {lost} lines of the log were lost: nobody read them\nafter\n"
    )
    handler.emit(record("and on"))
    assert os.read(reader, 1 << 20) == b"and on\n"


def test_long_lines_do_not_block_either(pipe: tuple[int, int]) -> None:
    """A traceback may be longer than what a ready pipe takes."""
    handler = StandardError(pipe[1])
    done = threading.Event()

    def write() -> None:
        for _ in range(40):
            handler.emit(record("y" * 10_000))
        done.set()

    threading.Thread(target=write, daemon=True).start()
    assert done.wait(30)


def test_closed_standard_error_does_no_harm() -> None:
    """Nobody is there to be told of that."""
    reader, writer = os.pipe()
    os.close(reader)
    handler = StandardError(writer)
    handler.emit(record("into the void"))
    os.close(writer)
    handler.emit(record("and nowhere"))


def test_odd_text_is_written(pipe: tuple[int, int]) -> None:
    """A lone surrogate in a message is no fault."""
    StandardError(pipe[1]).emit(record("\ud800 ä"))
    assert os.read(pipe[0], 100).decode() == "\\ud800 ä\n"


def test_full_pipe_does_not_stop_the_service(miner: ScriptedMiner, tmp_path: Path) -> None:
    """With standard error in a pipe that nobody reads, chi answers on; read again, it says what is lost."""
    reader, writer = os.pipe()
    arguments = ["-w", "0", "--listen", "127.0.0.1", "-p", str(miner.port), "--access-log"]
    process = subprocess.Popen([sys.executable, "-m", "chi", *arguments], stderr=writer)
    os.close(writer)
    try:
        text = ""
        while not re.search(r"serving http://\S+:(\d+) ", text):
            text += os.read(reader, 1 << 16).decode()
        found = re.search(r"serving http://\S+:(\d+) ", text)
        assert found
        for _ in range(1500):  # 60 bytes each; a pipe holds 64 KB
            assert request(int(found[1]), "/healthz").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)


@pytest.mark.parametrize("number", [24, 32, MIN_DESCRIPTORS - 1])
def test_too_few_descriptors_end_the_start(miner: ScriptedMiner, number: int) -> None:
    """Chi says what is needed, and does not say that it serves."""
    shell = f'ulimit -n {number}; exec "$0" -m chi -w 0 --listen 127.0.0.1 -p {miner.port}'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert (
        f"the system allows {number} open files, and chi needs {MIN_DESCRIPTORS} (ulimit -n)" in done.stderr
    )
    assert "serving" not in done.stderr


@pytest.mark.parametrize("number", [MIN_DESCRIPTORS, 64, 100])
def test_few_descriptors_are_enough_to_serve(
    chi_server: Callable[..., Process], miner: ScriptedMiner, tmp_path: Path, number: int
) -> None:
    """With as few as chi asks for it answers, own paths and the miner's, whatever other clients do."""
    shim = tmp_path / "few"
    shim.write_text(f'#!/bin/sh\nulimit -n {number}\nexec {sys.executable} "$@"\n', encoding="ascii")
    shim.chmod(0o755)
    arguments = ["-m", "chi", "-w", "0", "--listen", "127.0.0.1", "-p", str(miner.port)]
    process = subprocess.Popen([str(shim), *arguments], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        found = None
        while not found:
            found = re.search(r"serving http://\S+:(\d+) ", process.stderr.readline())
        from tests.client import Wire

        wires = [Wire(int(found[1])) for _ in range(2 * number)]
        for path in ("/healthz", "/summary", "/metrics", "/status.json") * 3:
            assert request(int(found[1]), path).status == 200
        for wire in wires:
            wire.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def test_rare_warning_counts(caplog: pytest.LogCaptureFixture) -> None:
    """The first is logged at once."""
    warn = RareWarning("odd %s", CLOCK)
    for _ in range(5):
        warn("thing")
    assert [entry.getMessage() for entry in caplog.records] == ["odd thing (1 since the last such line)"]
