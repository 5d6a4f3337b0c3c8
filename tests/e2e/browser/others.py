"""The page /dashboard in a real Firefox and a real WebKit: that it works there as it does in Chromium.

Both are driven by what they bring themselves: Firefox by Marionette, WebKit by its WebDriver.
"""

from __future__ import annotations

import base64
import glob
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chi import demo
from chi.status.model import Rig, Status
from tests.conftest import Chi

ARTEFACTS = Path(__file__).parents[3] / ".venv-e2e" / "artefacts"
TOKEN = "correct-horse-battery-staple"

# What Firefox must not do, so that it asks nobody but chi; and how it is driven.
PREFERENCES = {
    "marionette.port": 0,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    # Nothing but loopback can be reached, whatever is asked for.
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.proxy.no_proxies_on": "127.0.0.1",
}


def wait_for(true: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.05)


class Other:
    """A browser with a new profile and one tab."""

    name: str

    def go(self, url: str) -> None:
        raise NotImplementedError

    def run(self, script: str) -> Any:
        """Return what a function of this body does, in the page."""
        raise NotImplementedError

    def narrow(self) -> None:
        """Make the page 360 pixels wide."""
        raise NotImplementedError

    def faults(self) -> list[str]:
        """What was thrown or forbidden in pages."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def picture(self) -> bytes:
        """What is seen, as PNG."""
        raise NotImplementedError

    def text(self, id: str) -> str:
        """The text of the element with an id; none if there is no such element."""
        found: str = self.run(f"return document.getElementById('{id}')?.textContent ?? ''")
        return found

    def keep(self, name: str) -> None:
        """Leave a screenshot with the artefacts."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        (ARTEFACTS / f"others-{self.name}-{name}.png").write_bytes(self.picture())


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process at once: nothing that it keeps is used again."""
    process.kill()
    process.wait()


class Firefox(Other):
    """Firefox, headless."""

    name = "firefox"

    def __init__(self, profile: Path, dark: bool) -> None:
        preferences = {**PREFERENCES, "layout.css.prefers-color-scheme.content-override": 0 if dark else 1}
        lines = [f"user_pref({json.dumps(key)}, {json.dumps(value)});" for key, value in preferences.items()]
        (profile / "user.js").write_text("\n".join(lines))
        self._process = subprocess.Popen(
            [
                *("firefox-esr", "--headless", "--no-remote", "--profile", str(profile)),
                *("--marionette", "--remote-allow-system-access"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(profile)},
        )
        port = profile / "MarionetteActivePort"
        try:
            wait_for(lambda: port.exists() and port.read_text(), "Firefox listens")
            self._socket = socket.create_connection(("127.0.0.1", int(port.read_text())), 60)
        except BaseException:
            stop(self._process)
            raise
        self._stream = self._socket.makefile("rb")
        self._receive()
        self._call("WebDriver:NewSession")

    def go(self, url: str) -> None:
        self._call("WebDriver:Navigate", url=url)

    def run(self, script: str) -> Any:
        return self._call("WebDriver:ExecuteScript", script=script, args=[])["value"]

    def narrow(self) -> None:
        self._run_in_window(
            "const style = gBrowser.selectedBrowser.style; style.minWidth = style.maxWidth = '360px'"
        )

    def faults(self) -> list[str]:
        # Not what its own parts have to say, nor warnings, as of a policy that an older one does not know.
        messages: list[str] = self._run_in_window(
            "return Services.console.getMessageArray().filter((each) => each instanceof Ci.nsIScriptError &&"
            " !(each.flags & each.warningFlag) && /^(content javascript|CSP)/.test(each.category))"
            ".map((each) => each.errorMessage)"
        )
        return messages

    def picture(self) -> bytes:
        return base64.b64decode(self._call("WebDriver:TakeScreenshot", full=True, hash=False)["value"])

    def close(self) -> None:
        self._stream.close()
        self._socket.close()
        stop(self._process)

    def _run_in_window(self, script: str) -> Any:
        self._call("Marionette:SetContext", value="chrome")
        try:
            return self.run(script)
        finally:
            self._call("Marionette:SetContext", value="content")

    def _call(self, command: str, **parameters: Any) -> Any:
        message = json.dumps([0, 1, command, parameters]).encode()
        self._socket.sendall(b"%d:%b" % (len(message), message))
        _, _, error, result = self._receive()
        assert error is None, error
        return result

    def _receive(self) -> Any:
        length = b""
        while (byte := self._stream.read(1)) != b":":
            assert byte, "Firefox has closed the connection"
            length += byte
        return json.loads(self._stream.read(int(length)))


class WebKit(Other):
    """WebKitGTK's own small browser, on a display of its own."""

    name = "webkit"

    def __init__(self, profile: Path, dark: bool) -> None:
        (binary,) = glob.glob("/usr/lib/*/webkit2gtk-4.1/MiniBrowser")
        reading, writing = os.pipe()
        self._display = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1400x1000x24", "-nolisten", "tcp"],
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with open(reading) as told:
            display = told.readline().strip()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._driver = subprocess.Popen(
            ["WebKitWebDriver", f"--port={port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                **dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(profile)),
                "DISPLAY": f":{display}",
                "GDK_BACKEND": "x11",
                "LIBGL_ALWAYS_SOFTWARE": "1",
                "NO_AT_BRIDGE": "1",
            },
        )
        options = {"binary": binary, "args": ["--automation", *(["--dark-mode"] if dark else [])]}
        self._base = f"http://127.0.0.1:{port}"
        try:
            wait_for(self._listens, "WebKitWebDriver listens")
            wanted = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
            self._base += "/session/" + self._call("/session", wanted)["sessionId"]
        except BaseException:
            stop(self._driver)
            stop(self._display)
            raise

    def go(self, url: str) -> None:
        self._call("/url", {"url": url})
        # Its console cannot be read: what a page says itself, and what is forbidden later, must do.
        self.run(
            "window.faults = [];"
            "addEventListener('error', (event) => faults.push(event.message));"
            "addEventListener('unhandledrejection', (event) => faults.push(String(event.reason)));"
            "addEventListener('securitypolicyviolation', (event) => faults.push(event.violatedDirective));"
            "console.error = (...all) => faults.push(all.join(' '));"
        )

    def run(self, script: str) -> Any:
        return self._call("/execute/sync", {"script": script, "args": []})

    def narrow(self) -> None:
        # No window of it is so narrow.
        self.run("document.body.style.width = '360px'; dispatchEvent(new Event('resize'))")

    def faults(self) -> list[str]:
        faults: list[str] = self.run("return faults")
        return faults

    def picture(self) -> bytes:
        return base64.b64decode(self._call("/screenshot"))

    def close(self) -> None:
        try:
            self._call("", method="DELETE")
        finally:
            stop(self._driver)
            stop(self._display)

    def _listens(self) -> bool:
        try:
            self._call("/status")
        except OSError:
            return False
        return True

    def _call(self, path: str, body: Any = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(self._base + path, data, headers, method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(asked, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from None


@pytest.fixture(params=[Firefox, WebKit], ids=lambda each: each.name)
def started(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Other]]:
    """Start one browser, `dark` or not; no test passes whose pages have faults."""
    running: list[Other] = []

    def start(dark: bool = False) -> Other:
        running.append(request.param(tmp_path, dark))
        return running[-1]

    yield start
    for browser in running:
        try:
            assert browser.faults() == []
        finally:
            browser.close()


def fill(chi: Chi) -> None:
    """Make up what the miner said in the last hour."""
    now = time.monotonic()
    for ago in range(3585, 0, -15):
        rig = Rig(
            hashrate=100e12,
            temperature=70 + ago % 100 / 25,
            shares_accepted=2100.0 - ago // 10,
            shares_rejected=9.0,
            shares_stale=5.0,
        )
        chi.monitor.history.add(now - ago, Status(rig))


def marks(browser: Other) -> list[int]:
    """How many lines and bars each plot that is seen has, but those of its grid."""
    found: list[int] = browser.run(
        "return [...document.querySelectorAll('figure:not([hidden]) svg')]"
        ".map((each) => each.querySelectorAll('path[d^=M], rect').length)"
    )
    return found


def test_dashboard_works(
    started: Callable[..., Other], serve: Callable[..., Chi], simulated: demo.DemoMiner, tmp_path: Path
) -> None:
    """With --private too, it shows the miner, its last hour, the pools' users, and when the miner is away.

    On a telephone nothing sticks out.
    """
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    chi = serve(simulated.address[1], history=60, token_file=str(token_file), private=True)
    assert chi.get("/dashboard").status == 401
    fill(chi)
    browser = started()
    browser.go(f"http://owner:{TOKEN}@127.0.0.1:{chi.port}/dashboard")
    wait_for(lambda: browser.text("headline"), "headline")
    wait_for(lambda: all(marks(browser)), "plots")
    assert len(marks(browser)) == 3
    assert browser.text("headline") == "✓ Earning"
    assert browser.text("banner") == ""
    assert "TH/" in browser.text("cards")
    assert browser.run("return document.querySelectorAll('#cards dd').length") >= 10
    assert browser.run("return getComputedStyle(document.querySelector('main')).display") == "grid"
    assert (
        len(
            browser.run("return [...document.querySelectorAll('#chains .bar')].map((each) => each.ariaLabel)")
        )
        == 3
    )
    icon = browser.run("return document.querySelector('link[rel=icon]').href")
    assert icon.startswith("data:image/svg+xml,")
    before = browser.run("return document.querySelector('#hashrate figcaption span:last-child').textContent")
    browser.run(
        "const svg = document.querySelector('#hashrate svg'); svg.focus();"
        "svg.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))"
    )
    wait_for(
        lambda: (
            browser.run("return document.querySelector('#hashrate figcaption span:last-child').textContent")
            != before
        ),
        "a value of the plot",
    )
    browser.run("document.querySelector('#ranges button:last-child').click()")
    wait_for(
        lambda: (
            browser.run("return document.querySelector('#ranges [aria-pressed=true]').textContent") == "24 h"
        ),
        "24 h",
    )
    browser.run("document.querySelector('#ranges button').click()")
    browser.keep("light")
    assert "demo.worker1" not in browser.text("pools")
    browser.run("document.getElementById('users').click()")
    wait_for(lambda: "demo.worker1" in browser.text("pools"), "users of the pools")

    simulated.close()
    browser.narrow()
    wait_for(lambda: browser.run("return document.body.clientWidth") <= 360, "narrow")
    sticking_out = browser.run(
        "const right = document.body.getBoundingClientRect().right + 0.5;"
        "return [...document.querySelectorAll('body *')].filter((each) => !each.closest('.table > *') &&"
        " each.getBoundingClientRect().right > right).map((each) => each.outerHTML.slice(0, 100))"
    )
    assert sticking_out == []
    wait_for(lambda: browser.text("banner"), "banner")
    assert browser.text("banner").startswith("The miner has not answered for ")
    assert browser.text("headline").startswith("No data since ")
    browser.keep("narrow")
    again = demo.DemoMiner(port=simulated.address[1])
    again.start()
    try:
        wait_for(lambda: not browser.text("banner"), "no banner")
        assert browser.text("headline") == "✓ Earning"
    finally:
        again.close()


def test_dashboard_in_the_dark(
    started: Callable[..., Other], serve: Callable[..., Chi], simulated: demo.DemoMiner
) -> None:
    """It is dark where the user wants that."""
    chi = serve(simulated.address[1], history=60)
    browser = started(dark=True)
    browser.go(f"http://127.0.0.1:{chi.port}/dashboard")
    wait_for(lambda: browser.text("headline"), "headline")
    background = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in background[4:-1].split(",")) < 60
    browser.keep("dark")
