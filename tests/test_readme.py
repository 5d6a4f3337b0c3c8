"""The README: its commands are run, its tables and the help text in it are compared with the code."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import chi as package
from chi.errors import ERRORS
from chi.monitor import FIRST_SAMPLE
from chi.server.loop import OWN_PATHS
from chi.settings import Settings
from chi.status.history import MAX_SAMPLES, SAMPLE_INTERVAL, History
from tests.conftest import Process
from tests.miner.test_replies import REPAIRABLE

TREE = Path(__file__).parent.parent
README = (TREE / "README.md").read_text(encoding="utf-8")
NOT_RUN = ("make ", "pip ")  # what the tests are run by, and the package index
# In the output, what differs from run to run.
VOLATILE = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=\"When\":)\s*\d+")


def commands() -> list[tuple[str, str]]:
    """Each command of the README's console blocks, with what it prints according to it."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


@pytest.mark.skipif(not shutil.which("curl"), reason="the README uses curl, which is not here")
def test_the_commands_do_what_the_readme_shows(chi_server: Callable[..., Process], tmp_path: Path) -> None:
    """Every command in the README runs, and prints what it shows."""
    shim = tmp_path / "chi-server"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m chi "$@"\n')
    shim.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(package.__file__).parent.parent),
    }
    process = chi_server("--demo", "-w", "0", "--listen", "127.0.0.1")
    for command, expected in commands():
        if command.startswith(NOT_RUN):
            continue
        if command.startswith("chi-server") and "--check" not in command:
            arguments = command.split()[1:]
            process = chi_server("--demo", "-w", "0", "--listen", "127.0.0.1", *arguments, cwd=tmp_path)
            continue
        there = command.replace("localhost:8080", f"127.0.0.1:{process.port}").replace("curl ", "curl -sS ")
        done = subprocess.run(
            ["bash", "-c", there], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        if expected:
            assert VOLATILE.sub("…", done.stdout).strip() == VOLATILE.sub("…", expected).strip(), command


@pytest.mark.skipif(
    not (3, 10) <= sys.version_info < (3, 13), reason="argparse lays help out otherwise in this Python"
)
def test_the_options_are_those_of_the_help() -> None:
    """The README has the text of --help, word for word."""
    done = subprocess.run(
        [sys.executable, "-m", "chi", "--help"],
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert f"```\n{done.stdout}```" in README


def test_every_status_is_told() -> None:
    """The README's table has each status that chi gives."""
    told = {int(status) for status in re.findall(r"\| (\d\d\d)\b", README)}
    assert {status for status, _ in ERRORS.values()} - {500} <= told


def test_every_repair_is_told() -> None:
    """The README lists each repair that chi makes."""
    names = {name for _, _, repairs in REPAIRABLE.values() for name in repairs}
    (listed,) = re.findall(r"Repairs are these, and no others: (.*?)\. ", README, re.DOTALL)
    assert set(re.findall(r"`([a-z0-9-]+)`", listed)) - {"null"} == names


def test_the_samples_are_told_as_they_are() -> None:
    """How often the miner is asked for history, and how often the page looks, wherever that is told."""
    interval, most = SAMPLE_INTERVAL, MAX_SAMPLES
    assert interval == FIRST_SAMPLE
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    texts = [
        fields["history"].metadata["help"],
        (TREE / "packaging/openwrt/README.md").read_text(encoding="utf-8"),
        (TREE / "packaging/openwrt/chi/files/chi.config").read_text(encoding="utf-8").replace("\n\t#", ""),
    ]
    for text in texts:
        assert re.search(rf"every {interval:g} s\b|every {interval:g} seconds\b", text)
    assert f"one small request each {interval:g} s," in README
    minutes = most * interval / 60
    longest = History(1440).interval
    told = README.replace("\n", " ")
    assert f"Of more than {minutes:g} minutes there are {most} samples, so they are further apart" in told
    assert f"further apart, up to {longest:g} s" in told
    (poll,) = re.findall(r"const POLL = ([0-9]+);", (TREE / "chi/dashboard.html").read_text(encoding="utf-8"))
    assert f"It looks every {poll} s while somebody sees it" in README


def test_every_own_path_is_told() -> None:
    """The README's table of URLs has chi's own paths."""
    for path in OWN_PATHS - {"/favicon.ico", "/manifest.webmanifest", "/robots.txt"}:
        assert f"`GET {path}`" in README
