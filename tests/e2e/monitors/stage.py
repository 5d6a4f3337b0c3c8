"""What every monitor is shown: a miner with recorded replies, good days and bad, and chi-server on it.

Everything is on 127.0.0.1 and has a port that stays the same, also while nothing listens there.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.conftest import Process
from tests.scripted import Script, ScriptedMiner, free_port
from tests.status.golden import GOLDEN, RECORDED

PACKAGING = Path(__file__).resolve().parents[3] / "packaging" / "monitoring"
TOKEN = "0123456789abcdef0123456789abcdef"
UNKNOWN = b'{"STATUS":[{"STATUS":"E","When":1,"Code":14,"Msg":"Invalid command","Description":""}],"id":1}'


def wait_until(true: Callable[[], Any], what: str, limit: float = 120.0) -> Any:
    """Return the first thing of `true` that is true; AssertionError if there is none in time."""
    end_at = time.monotonic() + limit
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < end_at, f"not within {limit:g} s: {what}"
        time.sleep(0.3)


def end(process: subprocess.Popen[Any]) -> None:
    """Stop exactly this process."""
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def fetch(url: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    """Status and body of a response; `body` is sent as JSON. No proxy: everything is here."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        fields["Content-Type"] = "application/json"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data, fields), timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def recorded(model: str) -> dict[str, bytes]:
    """The replies of a firmware or of a vendor's model, by command."""
    files = [*(GOLDEN / model).glob("*.reply"), *(RECORDED / model).glob("*.json")]
    assert files, model
    return {path.stem: path.read_bytes().rstrip(b"\0\n") for path in files}


def well(model: str) -> dict[str, bytes]:
    """A model's replies, but all of its pools answer."""
    replies = recorded(model)
    return {**replies, "pools": replies["pools"].replace(b'"Status":"Dead"', b'"Status":"Alive"')}


def asleep() -> dict[str, bytes]:
    """An Antminer S19 that was put to sleep: its hashrates and its fans are at 0."""
    replies = well("bitmain-s19")
    still = re.compile(rb'("(?:GHS 5s|rate_5s|chain_rate\d+|fan\d)":)(?:"[0-9.]*"|[0-9.]+)')
    replies = {name: still.sub(rb"\g<1>0", reply) for name, reply in replies.items()}
    replies["stats"] = (
        replies["stats"].replace(b'"Mode":', b'"Old Mode":').replace(b'"fan1":', b'"Mode":254,"fan1":')
    )
    return replies


def broken() -> dict[str, bytes]:
    """An Antminer S9, a board of which has no chips any more."""
    replies = well("bitmain-s9")
    stats = replies["stats"]
    replies["stats"] = stats.replace(b'"chain_acn6":63', b'"chain_acn6":0')
    assert replies["stats"] != stats
    return replies


def answering(replies: dict[str, bytes]) -> Script:
    """A script that gives these replies, one command at a time, as many firmwares do."""
    return lambda request: [replies.get(json.loads(request)["command"], UNKNOWN) + b"\0"]


def private(folder: Path) -> tuple[str, ...]:
    """The options for a chi that wants TOKEN for everything."""
    file = folder / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return ("--private", "--token-file", str(file))


class Stage:
    """A miner and chi: `show` another miner, or let it `play` another day."""

    def __init__(self, *options: str) -> None:
        self.miner_port, self.port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._options = options
        self._miner: ScriptedMiner | None = None
        self._chi: Process | None = None

    def show(self, replies: dict[str, bytes]) -> None:
        """Play a miner's replies to a chi that knows nothing of it."""
        self.stop_chi()
        self.play(replies)
        self.start_chi()

    def play(self, replies: dict[str, bytes]) -> None:
        """From now on the miner gives these replies."""
        if self._miner is None:
            self._miner = ScriptedMiner(answering(replies), port=self.miner_port)
        self._miner.script = answering(replies)

    def start_chi(self) -> None:
        """Start chi-server, and wait until it serves."""
        where = ("--listen", "127.0.0.1", "-w", str(self.port), "-p", str(self.miner_port))
        self._chi = Process(*where, "--read-only", *self._options)
        assert self._chi.port == self.port

    def stop_miner(self) -> None:
        """From now on, its port refuses connections."""
        if self._miner is not None:
            self._miner.close()
            self._miner = None

    def stop_chi(self) -> None:
        """From now on, chi's port refuses connections."""
        if self._chi is not None:
            self._chi.stop()
            for stream in (self._chi.process.stdout, self._chi.process.stderr):
                if stream is not None:
                    stream.close()
            self._chi = None


@contextlib.contextmanager
def staged(*options: str) -> Iterator[Stage]:
    """A Stage; what it started ends with it."""
    stage = Stage(*options)
    try:
        yield stage
    finally:
        stage.stop_chi()
        stage.stop_miner()


class Sink(http.server.ThreadingHTTPServer):
    """Takes what a monitor sends to its users: `bodies`, of any POST to any path."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), Taker)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Taker(http.server.BaseHTTPRequestHandler):
    """Answers as Telegram's bot API does, which is enough for a webhook as well."""

    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.bodies.append((self.path, body))
        chat = {"id": 1, "type": "private"}
        answer = json.dumps({"ok": True, "result": {"message_id": 1, "date": 1, "chat": chat}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""
