"""The real check_http, and the local check for checkmk, with the lines of packaging/monitoring/checks.md."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import PACKAGING, TOKEN, Stage, asleep, private, staged, wait_until, well

PLUGIN = Path("/usr/lib/nagios/plugins/check_http")
pytestmark = pytest.mark.skipif(not PLUGIN.exists(), reason="monitoring-plugins-basic is not installed")
OK, CRITICAL = 0, 2


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A miner that is well."""
    with staged() as found:
        found.show(well("bitmain-s19"))
        yield found


def check(stage: Stage, line: str, *more: str) -> tuple[int, str]:
    """Status and text of a line of checks.md."""
    arguments = shlex.split(line.replace("miner.lan", "127.0.0.1").replace("-p 8080", f"-p {stage.port}"))
    done = subprocess.run(
        [PLUGIN, *arguments[1:], *more], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout


LINES = re.findall(r"^    (check_http .*)", (PACKAGING / "checks.md").read_text(encoding="utf-8"), re.M)


def local_check(stage: Stage) -> str:
    """What the local check for checkmk's agent prints."""
    text = (PACKAGING / "checks.md").read_text(encoding="utf-8")
    script = "\n".join(
        line[4:] for line in text[text.index("    #!/bin/sh") :].splitlines() if line.startswith("    ")
    )
    script = script.replace("http://miner.lan:8080", stage.url)
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=True).stdout


def test_well(stage: Stage) -> None:
    """A miner that earns."""
    assert len(LINES) == 2
    for line in LINES:
        wait_until(lambda line=line: check(stage, line)[0] == OK, f"{line} is OK", 60)
    assert local_check(stage) == "0 miner - answers\n"


def test_asleep(stage: Stage) -> None:
    """One that sleeps is no alarm."""
    stage.play(asleep())
    assert [check(stage, line)[0] for line in LINES] == [OK, OK]


def test_miner_down(stage: Stage) -> None:
    """The text says why, and not merely 503."""
    stage.stop_miner()
    status, said = check(stage, LINES[0])
    assert status == CRITICAL
    assert "refuses connections. Is it running" in said
    assert check(stage, LINES[1])[0] == CRITICAL
    assert re.fullmatch(
        r"2 miner - HTTP/1.1 503 The miner's API .* refuses connections.*\n", local_check(stage)
    )


def test_chi_down(stage: Stage) -> None:
    """Nobody answers."""
    stage.stop_chi()
    assert [check(stage, line)[0] for line in LINES] == [CRITICAL, CRITICAL]
    assert re.fullmatch(r"2 miner - curl: .*\n", local_check(stage))


def test_private(tmp_path: Path) -> None:
    """With the token in both ways, and not without."""
    with staged(*private(tmp_path)) as stage:
        stage.show(well("bitmain-s19"))
        for line in LINES:
            assert check(stage, line)[0] != OK
            assert check(stage, line, "-k", f"Authorization: Bearer {TOKEN}")[0] == OK
            assert check(stage, line, "-a", f"any:{TOKEN}")[0] == OK
