"""A real Prometheus: a process with its own configuration and data, and its HTTP API."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.scripted import free_port

MONITORING = Path(__file__).resolve().parents[3] / "packaging" / "monitoring"
LIMIT = 20.0  # seconds for anything to come about


def wait_until(true: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """Return the first thing of `true` that is true; AssertionError if there is none in time."""
    end = time.monotonic() + limit
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < end, f"not within {limit:g} s: {what}"
        time.sleep(0.1)


def example(targets: dict[str, str]) -> str:
    """The scrape example as a user would change it: other targets and intervals. Name of a job to address."""
    text = (MONITORING / "prometheus.yml").read_text(encoding="utf-8")
    text = re.sub(r"(scrape_interval|scrape_timeout|evaluation_interval): \w+", r"\1: 1s", text)
    text = text.replace("- alerts.yml", f"- {MONITORING / 'alerts.yml'}")
    head, jobs = text.split("scrape_configs:\n")
    job = jobs.split("  # What is of the chi")[0]
    job = re.sub(r"    # A chi with a fleet.*?(?=    # Where chi runs)", "", job, flags=re.DOTALL)
    jobs = []
    for name, address in targets.items():
        changed = re.sub(r"(- targets:\n)(?: +- .*\n)+", rf"\1          - {address}\n", job)
        jobs.append(changed.replace("job_name: chi", f"job_name: {name}"))
    return head + "scrape_configs:\n" + "".join(jobs)


def fleet_example(address: str) -> str:
    """The same for a chi with a fleet."""
    text = (MONITORING / "prometheus.yml").read_text(encoding="utf-8")
    text = re.sub(r"((?:scrape|evaluation|refresh)_(?:interval|timeout)): \w+", r"\1: 1s", text)
    text = text.replace("- alerts.yml", f"- {MONITORING / 'alerts.yml'}")
    text = text.replace("controller.lan:8080", address)
    single = r"    # A chi with one miner.*?(?=    # A chi with a fleet)"
    return re.sub(single, "", text, flags=re.DOTALL)


class Prometheus:
    """Started with a configuration's text; `log` is what it wrote so far."""

    def __init__(self, folder: Path, configuration: str) -> None:
        self.port = free_port()
        self.file = folder / "prometheus.yml"
        self.file.write_text(configuration, encoding="utf-8")
        self._log = folder / "prometheus.log"
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus", f"--config.file={self.file}", f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=info",
                ],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def ready(self) -> bool:
        """Whether it serves; AssertionError if it has ended."""
        assert self.process.poll() is None, self.log
        try:
            with self._open("/-/ready"):
                return True
        except OSError:
            return False

    def api(self, path: str, **parameters: str) -> Any:
        """The data of an API's answer; AssertionError where it is an error."""
        with self._open(f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series that an instant query finds."""
        found = self.api("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def value(self, expression: str) -> float | None:
        """The value of the one series that a query finds; None where it finds none."""
        found = [value for _, value in self.query(expression)]
        assert len(found) <= 1, found
        return found[0] if found else None

    def stop(self) -> None:
        """End it, whatever it does."""
        end(self.process)

    def _open(self, path: str) -> Any:
        # No proxy: everything is here.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=10)


class Miner:
    """The simulated miner in a process of its own, on a port that stays the same."""

    def __init__(self) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chi.demo", "--port", str(self.port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert f"listens on 127.0.0.1:{self.port}" in line, line

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stderr is not None
            self.process.stderr.close()
            self.process = None


def end(process: subprocess.Popen[Any]) -> None:
    """Stop exactly this process."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
