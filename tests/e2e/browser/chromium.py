"""A real Chromium, headless, that knows a few host names, all on loopback; and a page of another site."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Playwright, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ENVIRONMENT = Path(__file__).parents[3] / ".venv-e2e"
ARTEFACTS = ENVIRONMENT / "artefacts"
AXE = ENVIRONMENT / "npm" / "node_modules" / "axe-core" / "axe.min.js"  # which finds barriers in a page
NAMES = ("evil.example", "rebound.example", "grafana.lan", "miner.lan")
FLAGS = (
    "--no-sandbox",  # as root there is none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-popup-blocking",
    # Nothing but loopback can be reached, whatever is asked for.
    "--host-resolver-rules="
    + ",".join(f"MAP {name} 127.0.0.1" for name in NAMES)
    + ",MAP * ~NOTFOUND,EXCLUDE 127.0.0.1,EXCLUDE localhost",
    # The browser's own guard of local networks is not what is tested; nor is its wish for HTTPS.
    "--disable-features=LocalNetworkAccessChecks,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
)


class Site:
    """A web server whose pages the test writes: `pages` by path. /307 passes a POST on to its query."""

    def __init__(self, name: str) -> None:
        self.pages: dict[str, str] = {"/": "<!DOCTYPE html><title>another site</title><p>Harmless."}
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                if path in ("/302", "/307"):
                    self.send_response(int(path[1:]))
                    self.send_header("Location", query)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = site.pages.get(path, "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://{name}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="session")
def driver() -> Iterator[Playwright]:
    """What drives Chromium."""
    with sync_playwright() as started:
        yield started


@pytest.fixture
def page(driver: Playwright, tmp_path: Path) -> Iterator[Page]:
    """A tab of a Chromium with a profile of its own: nothing is left of another test.

    Not an incognito one, which is more careful with credentials than what people use.
    """
    context = driver.chromium.launch_persistent_context(
        tmp_path / "profile", executable_path=CHROMIUM, headless=True, args=list(FLAGS)
    )
    yield context.pages[0]
    context.close()


@pytest.fixture
def site() -> Iterator[Callable[[str], Site]]:
    """Open a site of a given name, on a port of its own."""
    sites: list[Site] = []

    def opened(name: str) -> Site:
        sites.append(Site(name))
        return sites[-1]

    yield opened
    for each in sites:
        each.close()


@pytest.fixture
def evil(site: Callable[[str], Site]) -> Site:
    """Another site."""
    return site("evil.example")


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Where screenshots go."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    return ARTEFACTS
