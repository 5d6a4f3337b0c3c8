"""What the tests share: a scripted miner, and chi serving it."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from chi import demo
from chi.access import Policy
from chi.cli import build
from chi.clock import CLOCK, Clock
from chi.server.listening import open_sockets
from chi.settings import Settings
from tests.scripted import ScriptedMiner

# How many examples the property tests try: few in `make test`, many in `make e2e`; the same each time, so
# that a change is not held responsible for what another brought.
settings.register_profile(
    "few", max_examples=30, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile(
    "many", max_examples=400, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile(os.environ.get("CHI_EXAMPLES", "few"))


# Programs that a test starts inherit what is ignored: under nohup SIGHUP, in the background SIGINT.
for number, default in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)


@dataclasses.dataclass
class Response:
    """What a client got."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """What chi's own envelope says."""
        text: str = self.json["STATUS"][0]["Msg"]
        return text


def request(port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Response:
    """Make one HTTP request to 127.0.0.1; `headers` with underscores for hyphens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        return Response(response.status, response.headers, response.read())
    finally:
        connection.close()


class StillClock:
    """A clock that stands still until Chi.advance() moves it: `Chi(port, clock=StillClock().clock)`."""

    def __init__(self, epoch: float = 1_700_000_000.0) -> None:
        self.seconds = 1000.0
        self.clock = Clock(self.now, lambda: epoch + self.seconds)

    def now(self) -> float:
        """Seconds."""
        return self.seconds


class Chi:
    """A Loop on a free port of 127.0.0.1, in a thread of this process."""

    def __init__(self, miner_port: int, clock: Clock | None = None, **settings: Any) -> None:
        # Without history: a slow test would find its samples among the requests to the miner.
        usual = {"http_port": 0, "listen": ("127.0.0.1",), "api_port": miner_port, "history": 0}
        settings = {**usual, **settings}
        self.settings = Settings(**settings)
        self.policy = Policy(self.settings, clock or CLOCK)
        self.clock = clock or CLOCK
        self.loop = build(self.settings, self.policy, open_sockets(self.settings), self.clock)
        self.site = self.loop.sites.root
        self.miner, self.monitor = (self.site.miner, self.site.monitor) if self.site else (None, None)
        self.port = int(self.loop.servers[0].effective_port)
        self._thread = threading.Thread(target=self.loop.run, daemon=True)
        self._thread.start()

    def get(self, path: str = "/", **headers: str) -> Response:
        """GET a path."""
        return request(self.port, path, **headers)

    def request(self, path: str, method: str, body: bytes | None = None, **headers: str) -> Response:
        """Make any request."""
        return request(self.port, path, method, body, **headers)

    def advance(self, seconds: float) -> None:
        """Let time pass on a clock that stands still otherwise: see StillClock."""
        self.clock.now.__self__.seconds += seconds
        self.loop.wake()

    def stop(self) -> None:
        """Stop and wait for the end."""
        self.loop.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def miner() -> Iterator[ScriptedMiner]:
    """A scripted miner; set its `script`."""
    with ScriptedMiner() as scripted:
        yield scripted


@pytest.fixture
def simulated() -> Iterator[demo.DemoMiner]:
    """The simulated miner, at the real time."""
    started = demo.DemoMiner()
    started.start()
    yield started
    started.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Chi]]:
    """Serve a miner's port, with settings; stopped after the test."""
    running: list[Chi] = []

    def start(miner_port: int, **settings: Any) -> Chi:
        running.append(Chi(miner_port, **settings))
        return running[-1]

    yield start
    for chi in running:
        chi.stop()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is, no miner counts as silent: who shares what is then a matter of order."""
    monkeypatch.setattr("chi.miner.asking.SILENCE", 600.0)


@pytest.fixture
def chi(miner: ScriptedMiner, serve: Callable[..., Chi]) -> Chi:
    """Chi serving `miner`, with the default settings."""
    return serve(miner.port)


class Process:
    """The real chi-server in a process of its own; `log` is what it wrote to standard error so far."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None, **popen: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chi", *arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            **popen,
        )
        self.log = ""
        self._logged = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._logged:
                self.log += line
                self._logged.notify_all()
        with self._logged:
            self.log += "\0"  # the end
            self._logged.notify_all()

    def logged(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """Wait until the log matches; AssertionError if it does not in time."""

        def found() -> bool:
            return bool(re.search(pattern, self.log)) or self.log.endswith("\0")

        with self._logged:
            self._logged.wait_for(found, timeout)
        match = re.search(pattern, self.log)
        assert match, f"{pattern!r} is not in the log: {self.log}"
        return match

    @property
    def port(self) -> int:
        """The port that it says it serves on."""
        return int(self.logged(r"serving http://\S+:(\d+) ")[1])

    def get(self, path: str = "/", **headers: str) -> Response:
        """GET a path."""
        return request(self.port, path, **headers)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 60) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float = 60) -> int:
        """Wait for the end; return the exit status."""
        status = self.process.wait(timeout)
        self._reader.join(10)
        self.log = self.log.rstrip("\0")
        return status


@pytest.fixture
def chi_server() -> Iterator[Callable[..., Process]]:
    """Start the real chi-server with arguments; what still runs after the test is killed."""
    running: list[Process] = []

    def start(*arguments: str, **keywords: Any) -> Process:
        running.append(Process(*arguments, **keywords))
        return running[-1]

    yield start
    for process in running:
        if process.process.poll() is None:
            process.process.kill()
        process.wait()
        for stream in (process.process.stdout, process.process.stderr):
            if stream:
                stream.close()
