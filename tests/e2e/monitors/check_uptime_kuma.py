"""The real Uptime Kuma with the monitors of packaging/monitoring/uptime-kuma.md, all at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stage import PACKAGING, TOKEN, Stage, asleep, broken, end, fetch, private, staged, wait_until, well

from tests.scripted import free_port

KUMA = Path(os.environ.get("KUMA", "/nowhere")) / "node_modules" / "uptime-kuma"
pytestmark = pytest.mark.skipif(
    not (KUMA.is_dir() and shutil.which("node")),
    reason="Uptime Kuma is not installed (KUMA=the folder of npm install)",
)
ROW = re.compile(r"^\| ([^|]+) \| HTTP\(s\)( - Json Query| - Keyword)? \| `([^`]+)` \| (.*) \|$", re.M)


def monitors(url: str) -> list[dict[str, Any]]:
    """The table's rows as Uptime Kuma has them, with the token; not the one of a fleet."""
    found = []
    for name, query, where, settings in ROW.findall(
        (PACKAGING / "uptime-kuma.md").read_text(encoding="utf-8")
    ):
        if "fleet" in name:
            continue
        monitor: dict[str, Any] = {
            "name": name,
            "type": "http",
            "url": where.replace("http://miner.lan:8080", url),
        }
        if query:
            told = re.search(r"(?:JSON query|keyword): `([^`]+)`", settings)
            assert told, settings
            keyword = {"type": "keyword", "keyword": told[1], "accepted_statuscodes": ["200-299", "503"]}
            json_query = {"type": "json-query", "jsonPath": told[1], "expectedValue": "true"}
            monitor |= json_query if query == " - Json Query" else keyword
        if "healthz" not in where:
            monitor |= {"authMethod": "basic", "basic_auth_user": "any", "basic_auth_pass": TOKEN}
        found.append(monitor)
    assert len(found) == 6
    return found


class Kuma:
    """Uptime Kuma with its data in a folder; `beats` are the newest heartbeats by the monitor's name."""

    def __init__(self, folder: Path, wanted: list[dict[str, Any]]) -> None:
        port = free_port()
        self.beats: dict[str, dict[str, Any]] = {}
        self._names: dict[int, str] = {}
        self._log = folder / "log"
        self._started: list[subprocess.Popen[Any]] = []
        own = {"UPTIME_KUMA_DB_TYPE": "sqlite", "NODE_ENV": "production", "DATA_DIR": f"{folder}/"}
        with open(self._log, "wb") as log:
            server = ["node", "server/server.js", f"--port={port}", "--host=127.0.0.1"]
            self._started.append(
                subprocess.Popen(server, cwd=KUMA, env={**os.environ, **own}, stdout=log, stderr=log)
            )
            try:
                wait_until(lambda: self._serves(f"http://127.0.0.1:{port}/"), "Uptime Kuma serves", 180)
                client = ["node", str(Path(__file__).with_name("uptime-kuma.js")), f"http://127.0.0.1:{port}"]
                self._client = subprocess.Popen(
                    client, cwd=KUMA, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
                )
            except BaseException:
                self.stop()
                raise
        self._started.append(self._client)
        assert self._client.stdin
        self._client.stdin.write(json.dumps(wanted))
        self._client.stdin.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _serves(self, url: str) -> bool:
        assert self._started[0].poll() is None, self._log.read_text(errors="replace")
        try:
            return fetch(url)[0] < 500
        except OSError:
            return False

    def _read(self) -> None:
        assert self._client.stdout
        for line in self._client.stdout:
            told = json.loads(line)
            if "name" in told:
                self._names[told["id"]] = told["name"]
            else:
                self.beats[self._names.get(told["id"], str(told["id"]))] = told

    def down(self) -> set[str]:
        """The names of the monitors that are not up."""
        return {name for name, beat in self.beats.items() if not beat["up"]}

    def becomes(self, *names: str) -> None:
        """Wait until exactly these are down."""
        self.beats.clear()
        wait_until(
            lambda: len(self.beats) == 6 and self.down() == {*names}, f"{names} are down: {self.beats}", 90
        )

    def stop(self) -> None:
        """End what was started."""
        for process in reversed(self._started):
            end(process)
        if len(self._started) > 1 and self._client.stdout:
            self._reader.join(10)
            self._client.stdout.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """LuxOS, behind a chi that wants a token."""
    with staged(*private(tmp_path_factory.mktemp("chi"))) as found:
        found.show(well("luxos"))
        yield found


@pytest.fixture(scope="module")
def kuma(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kuma]:
    """Uptime Kuma, with all monitors."""
    found = Kuma(tmp_path_factory.mktemp("kuma"), monitors(stage.url))
    try:
        yield found
    finally:
        found.stop()


ALL = {monitor["name"] for monitor in monitors("http://127.0.0.1")}
OF_THE_MINER = ALL - {"chi runs"}


@pytest.mark.parametrize("model", ["luxos", "bitmain-s9", "whatsminer", "avalon", "sgminer-5.1.1"])
def test_well(kuma: Kuma, stage: Stage, model: str) -> None:
    """All are up, for every firmware: with places without a fan, and without a sensor."""
    stage.show(well(model))
    kuma.becomes()


def test_asleep(kuma: Kuma, stage: Stage) -> None:
    """A miner that sleeps is no alarm."""
    stage.show(well("bitmain-s19"))
    kuma.becomes()
    stage.play(asleep())
    kuma.becomes()


def test_broken(kuma: Kuma, stage: Stage) -> None:
    """A board without chips."""
    stage.show(broken())
    kuma.becomes("nothing is broken")


def test_miner_down(kuma: Kuma, stage: Stage) -> None:
    """All but chi itself; the message says why."""
    stage.stop_miner()
    kuma.becomes(*OF_THE_MINER)
    assert "refuses connections. Is it running" in kuma.beats["the miner answers"]["msg"]


def test_chi_down(kuma: Kuma, stage: Stage) -> None:
    """Nobody answers."""
    stage.stop_chi()
    kuma.becomes(*ALL)
