"""README and docs: their commands are run, their tables and the help text are compared with the code."""

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
from tests.miner.test_replies import REPAIRABLE, TAILS

TREE = Path(__file__).parent.parent
PAGES = [TREE / "README.md", *sorted((TREE / "docs").glob("*.md"))]
TEXTS = {path.relative_to(TREE).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
API, OPTIONS, DASHBOARD = (TEXTS[f"docs/{name}.md"] for name in ("http-api", "options", "dashboard"))
# What the tests are run by, the package index, and what needs a network
NOT_RUN = ("make ", "pip ", "chi-server --api_host", "chi-server --miner", "chi-server --scan",
           "chi-server -p", "ccminer ", "cpuminer ")  # fmt: skip
# In the output, what differs from run to run.
VOLATILE = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=\"When\":)\s*\d+")


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of a page's console blocks, with what it prints according to it."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


@pytest.mark.skipif(not shutil.which("curl"), reason="the pages use curl, which is not here")
@pytest.mark.parametrize("page", [name for name, text in TEXTS.items() if commands(text)])
def test_the_commands_do_what_the_page_shows(
    chi_server: Callable[..., Process], tmp_path: Path, page: str
) -> None:
    """Every command in the README and in docs/ runs, and prints what it shows."""
    shim = tmp_path / "chi-server"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m chi "$@"\n')
    shim.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(package.__file__).parent.parent),
    }
    process = chi_server("--demo", "-w", "0", "--listen", "127.0.0.1")
    for command, expected in commands(TEXTS[page]):
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
    """docs/options.md has the text of --help, word for word."""
    done = subprocess.run(
        [sys.executable, "-m", "chi", "--help"],
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert f"```\n{done.stdout}```" in OPTIONS


def test_every_status_is_told() -> None:
    """The table has each status that chi gives."""
    told = {int(status) for status in re.findall(r"\| (\d\d\d)\b", API)}
    assert {status for status, _ in ERRORS.values()} - {500} <= told


def test_every_repair_is_told() -> None:
    """The list has each repair that chi makes."""
    names = {name for _, _, repairs in (*REPAIRABLE.values(), *TAILS.values()) for name in repairs}
    (listed,) = re.findall(r"chi makes these repairs and no others: (.*?)\. ", API, re.DOTALL)
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
    assert f"one small request every {interval:g} s " in API
    minutes = most * interval / 60
    longest = History(1440).interval
    told = API.replace("\n", " ")
    assert f"A history of more than {minutes:g} minutes has {most} samples, further apart" in told
    assert f"further apart: up to {longest:g} s" in told
    (poll,) = re.findall(r"const POLL = ([0-9]+);", (TREE / "chi/dashboard.html").read_text(encoding="utf-8"))
    assert f"It updates every {poll} s while it is visible" in DASHBOARD


def test_every_own_path_is_told() -> None:
    """The table of URLs has chi's own paths."""
    for path in OWN_PATHS - {"/favicon.ico", "/manifest.webmanifest", "/robots.txt"}:
        assert f"`GET {path}`" in API


def test_every_room_is_in_the_architecture() -> None:
    """docs/architecture.md names each file of chi/ with what it is for, and no file that is not there."""
    table = re.findall(r"^\| `([\w/]+\.py)` \| \S", TEXTS["docs/architecture.md"], re.MULTILINE)
    rooms = [path for path in sorted((TREE / "chi").rglob("*.py")) if path.name != "__init__.py"]
    assert {path.relative_to(TREE / "chi").as_posix() for path in rooms} == {
        name for name in table if not name.endswith("__init__.py")
    }


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    """Each link to a file of the tree names one that is there, and each anchor a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        name, _, anchor = target.partition("#")
        if "://" in name:
            continue
        path = ((TREE / page).parent / name).resolve() if name else TREE / page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in slugs


def test_the_readme_is_short() -> None:
    """The README is for users who have a minute."""
    assert TEXTS["README.md"].count("\n") <= 220
