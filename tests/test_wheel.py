"""The built wheel, installed in a clean environment: what a user gets from the package index."""

import contextlib
import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import chi

BIN = Path(__file__).resolve().parent.parent / ".venv-wheel" / "bin"

pytestmark = [
    pytest.mark.wheel,
    pytest.mark.skipif(not (BIN / "chi-server").exists(), reason="no .venv-wheel here: `make test` makes it"),
]


@pytest.fixture
def run(tmp_path):
    """Run a program of the clean environment, away from the source tree, to its end."""

    def run(program, *arguments):
        command = [str(BIN / program), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def answer(url, process):
    """Ask until the server is up, for ten seconds at most."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        assert process.poll() is None, "chi-server ended"
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.headers["Content-Type"], json.load(response)
        time.sleep(0.05)
    raise AssertionError("no answer within ten seconds")


def test_version_is_the_one_of_the_metadata(run):
    """The installed metadata, --version and the source agree on the version."""
    script = "from importlib.metadata import version; print(version('cgminerhttpinterface'))"
    assert run("python", "-c", script).strip() == chi.__version__
    assert chi.__version__ in run("chi-server", "--version")


def test_help_names_the_command(run):
    """The console script prints its usage."""
    assert run("chi-server", "--help").startswith("usage: chi-server ")


def test_needs_bottle_and_waitress_and_nothing_more(run):
    """An installation brings two packages along, the page, and the type marker."""
    listed = {row["name"] for row in json.loads(run("python", "-m", "pip", "list", "--format=json"))}
    assert listed - {"pip", "setuptools"} == {"cgminerhttpinterface", "bottle", "waitress"}
    files = "from importlib.metadata import files; print(*files('cgminerhttpinterface'), sep='\\n')"
    assert {"chi/dashboard.html", "chi/py.typed"} <= set(run("python", "-c", files).splitlines())


def test_demo_is_served_and_ends_on_sigterm(tmp_path):
    """The simulated miner is answered for over HTTP, from the installed files alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(BIN / "chi-server"), "--demo", "--listen", "127.0.0.1", "--http_port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            status, kind, reply = answer(f"http://127.0.0.1:{port}/", process)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/dashboard", timeout=5) as response:
                page = response.read()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()
    assert (status, kind) == (200, "application/json; charset=utf-8")
    assert reply["summary"][0]["SUMMARY"]
    assert reply["devs"][0]["DEVS"]
    assert page == (Path(chi.__file__).parent / "dashboard.html").read_bytes()
