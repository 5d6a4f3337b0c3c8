"""What pages of other sites can do to chi in a real browser, and what they cannot."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Page

from tests.commands import REPORTS
from tests.conftest import Chi
from tests.e2e.browser.chromium import Site
from tests.scripted import ScriptedMiner, envelope

TOKEN = "correct-horse-battery-staple"
SECRET = "hashrate-of-the-victim"

# Ways in which a page makes its browser send a request: `base` is chi, `own` the page's site. Each runs a
# command of its own, so that chi's access log tells which of them have arrived.
VECTORS: dict[str, tuple[str, str]] = {
    "image": ("GET /quit", "new Image().src = base + '/quit'"),
    "image without a referrer": (
        "GET /restart",
        "Object.assign(new Image(), {referrerPolicy: 'no-referrer', src: base + '/restart'})",
    ),
    "script": ("GET /save", "add('script', {src: base + '/save'})"),
    "style": ("GET /zero", "add('link', {rel: 'stylesheet', href: base + '/zero'})"),
    "prefetch": ("GET /hotplug", "add('link', {rel: 'prefetch', href: base + '/hotplug'})"),
    "video": ("GET /debug", "add('video', {src: base + '/debug'})"),
    "object": ("GET /setconfig", "add('object', {data: base + '/setconfig'})"),
    "iframe": ("GET /poolquota", "add('iframe', {src: base + '/poolquota'})"),
    "iframe without a referrer": (
        "GET /poolpriority",
        "add('iframe', {referrerPolicy: 'no-referrer', src: base + '/poolpriority'})",
    ),
    "sandboxed iframe": (
        "GET /pgaset",
        "add('iframe', {sandbox: 'allow-scripts allow-forms', src: base + '/pgaset'})",
    ),
    "popup": ("GET /enablepool", "window.open(base + '/enablepool')"),
    "form": ("GET /disablepool", "form({method: 'get', action: base + '/disablepool'})"),
    "form, POST": ("POST /addpool", "form({method: 'post', action: base + '/addpool/a,b,c'})"),
    "form, POST without a referrer": (
        "POST /ascset",
        "form({method: 'post', action: base + '/ascset/0,reboot'}, {}, 'no-referrer')",
    ),
    "form, text/plain": (
        "POST /",
        "form({method: 'post', enctype: 'text/plain', action: base + '/'},"
        ' {\'{"command":"quit","x":"\': \'"}\'})',
    ),
    "form, multipart": (
        "POST /removepool",
        "form({method: 'post', enctype: 'multipart/form-data', action: base + '/removepool'}, {a: 'b'})",
    ),
    "form, redirected": (
        "POST /switchpool",
        "form({method: 'post', action: own + '/307?' + base + '/switchpool/1'})",
    ),
    "window, POST": ("POST /gpuvddc", "form_window(base + '/gpuvddc', 'application/x-www-form-urlencoded')"),
    "window, text/plain": (
        "POST /",
        "form_window(base + '/', 'text/plain', {'{\"command\":\"quit\",\"x\":\"': '\"}'})",
    ),
    "redirected": ("GET /reboot", "new Image().src = own + '/302?' + base + '/reboot'"),
    "fetch": ("GET /pause", "fetch(base + '/pause').catch(() => 0)"),
    "fetch, no-cors": ("GET /resume", "fetch(base + '/resume', {mode: 'no-cors', credentials: 'include'})"),
    "fetch, POST": (
        "POST /curtail",
        "fetch(base + '/curtail', {method: 'POST', mode: 'no-cors', credentials: 'include'})",
    ),
    "fetch, POST with cors": (
        "POST /updaterun",
        "fetch(base + '/updaterun', {method: 'POST', credentials: 'include'}).catch(() => 0)",
    ),
    "fetch, JSON as text": (
        "POST /",
        "fetch(base + '/', {method: 'POST', mode: 'no-cors', keepalive: true,"
        ' body: \'{"command":"quit"}\'})',
    ),
    "fetch, PUT": ("OPTIONS /devscan", "fetch(base + '/devscan', {method: 'PUT'}).catch(() => 0)"),
    "fetch, field": (
        "OPTIONS /addgroup",
        "fetch(base + '/addgroup', {method: 'POST', headers: {'X-A': 'b'}}).catch(() => 0)",
    ),
    "fetch, JSON": (
        "OPTIONS /",
        "fetch(base + '/', {method: 'POST', headers: {'Content-Type': 'application/json'},"
        ' body: \'{"command":"quit"}\'}).catch(() => 0)',
    ),
    "fetch, HEAD": ("HEAD /gpumem", "fetch(base + '/gpumem', {method: 'HEAD', mode: 'no-cors'})"),
    "XMLHttpRequest": (
        "POST /gpufan",
        "x = new XMLHttpRequest(); x.open('POST', base + '/gpufan'); x.withCredentials = true; x.send()",
    ),
    "beacon": ("POST /gpuengine", "navigator.sendBeacon(base + '/gpuengine')"),
    "beacon of JSON": (
        "POST /",
        "navigator.sendBeacon(base + '/', new Blob(['{\"command\":\"quit\"}'], {type: 'text/plain'}))",
    ),
    "event stream": ("GET /procset", "new EventSource(base + '/procset', {withCredentials: true})"),
    "web socket": ("GET /session", "new WebSocket(base.replace('http', 'ws') + '/session')"),
    "joined to a report": ("GET /summary+quit", "new Image().src = base + '/summary+quit'"),
}
PRELUDE = """
const add = (tag, properties) => document.body.append(Object.assign(document.createElement(tag), properties));
const form_window = (action, enctype, inputs = {}) => {
    const made = document.createElement('form');
    Object.assign(made, {action, enctype, method: 'post', target: '_blank'});
    for (const [name, value] of Object.entries(inputs)) {
        made.append(Object.assign(document.createElement('input'), {name, value}));
    }
    document.body.append(made);
    made.submit();
};
const form = (properties, inputs = {}, referrer = '') => {
    const frame = document.createElement('iframe');
    frame.srcdoc = `<meta name="referrer" content="${referrer}"><body>`;
    frame.onload = () => {
        frame.onload = null;
        const inner = frame.contentDocument;
        const made = Object.assign(inner.createElement('form'), properties);
        for (const [name, value] of Object.entries(inputs)) {
            made.append(Object.assign(inner.createElement('input'), {name, value}));
        }
        inner.body.append(made);
        made.submit();
    };
    document.body.append(frame);
};
"""


@pytest.fixture(autouse=True)
def quiet_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, miner: ScriptedMiner
) -> None:
    """Chi asks nothing of its own, its access log is caught, and the miner has something to hide."""
    monkeypatch.setattr("chi.monitor.PROBE_AFTER", float("inf"))
    caplog.set_level(logging.INFO)
    miner.script = [envelope(SUMMARY=[{"Elapsed": 1, "Secret": SECRET}])]


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    """A file with a token."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return str(path)


def arrived(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The requests that chi has answered: method, path and status."""
    lines = [record.getMessage() for record in caplog.records if record.name == "chi.access"]
    requests = [" ".join(line.split(" ")[1:4]) for line in lines]
    return [request for request in requests if "/favicon.ico" not in request]


def run_vectors(page: Page, evil: Site, base: str) -> None:
    """Open the page of the other site, and have it try everything."""
    page.goto(evil.origin)
    for name, (_, script) in VECTORS.items():
        code = f"([base, own]) => {{ {PRELUDE} {script}; }}"
        try:
            page.evaluate(code, [base, evil.origin])
        except Error as error:
            raise AssertionError(f"{name}: {error}") from None


def wait_for(page: Page, done: Callable[[], bool], seconds: float = 20) -> None:
    """Let the browser go on until something is so, or time is up; the caller checks."""
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        page.wait_for_timeout(50)


def log_in(page: Page, base: str) -> None:
    """Have the browser keep Basic credentials for chi, as after its own dialogue."""
    response = page.goto(base.replace("http://", f"http://owner:{TOKEN}@") + "/quit")
    assert response is not None
    assert response.status == 403
    assert page.locator("button").count() == 1


# Whether the page is of the same name, on another port: to a browser nearly the same site. It asks
# its user for a password there as well, and sends nothing more until it has one.
MODES = [
    *[(mode, neighbour) for mode in ("open", "token", "private", "read-only") for neighbour in (False, True)],
    ("token, not logged in", False),
]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "miner.lan"])
@pytest.mark.parametrize(
    ("mode", "neighbour"),
    MODES,
    ids=lambda value: {True: "other port", False: "other name"}.get(value, value),
)
def test_no_page_of_another_site_runs_a_command(
    page: Page,
    site: Callable[[str], Site],
    serve: Callable[..., Chi],
    miner: ScriptedMiner,
    caplog: pytest.LogCaptureFixture,
    token_file: str,
    mode: str,
    neighbour: bool,
    host: str,
) -> None:
    """Everything that a page can make a browser send arrives, is refused, and the miner hears nothing."""
    settings: dict[str, dict[str, Any]] = {
        "open": {},
        "token": {"token_file": token_file},
        "token, not logged in": {"token_file": token_file},
        "private": {"token_file": token_file, "private": True},
        "read-only": {"read_only": True},
    }
    chi = serve(miner.port, **settings[mode])
    base = f"http://{host}:{chi.port}"
    if mode in ("token", "private"):
        log_in(page, base)
        caplog.clear()
        # Its user has opened the page of a command there, so the miner was asked whether it knows it.
        check = {"command": "check", "parameter": "quit"}
        assert [json.loads(request) for request in miner.requests] in ([], [check])
        miner.requests.clear()
    wanted = sorted(request for request, _ in VECTORS.values())

    def so_far() -> list[str]:
        return sorted(line.rpartition(" ")[0] for line in arrived(caplog))

    def all_there() -> bool:
        return set(wanted) <= set(so_far()) and so_far().count("POST /") >= wanted.count("POST /")

    run_vectors(page, site(host if neighbour else "evil.example"), base)
    wait_for(page, all_there)
    assert not set(wanted) - set(so_far())
    assert all_there()
    assert {line[-3:] for line in arrived(caplog)} <= {"400", "401", "403", "405"}
    if mode in ("token", "private"):
        # The browser did send the credentials, or this would prove little: with what opens a window, and from
        # a page of the same name with everything.
        sent = ["GET /enablepool 403", "POST /gpuvddc 403"]
        if neighbour:
            sent += ["GET /quit 403", "POST /curtail 403", "POST /addpool 403"]
        assert set(sent) <= set(arrived(caplog))
    assert miner.requests == []


def test_commands_would_run_if_it_were_not_for_chi(
    page: Page, evil: Site, serve: Callable[..., Chi], miner: ScriptedMiner, caplog: pytest.LogCaptureFixture
) -> None:
    """The same page does make the browser fetch a report: so its requests are good ones."""
    chi = serve(miner.port)
    page.goto(evil.origin)
    page.evaluate("base => { new Image().src = base + '/summary'; }", f"http://127.0.0.1:{chi.port}")
    wait_for(page, lambda: bool(miner.requests))
    assert miner.commands == ["summary"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "miner.lan"])
def test_confirmation_page_works(
    page: Page, serve: Callable[..., Chi], miner: ScriptedMiner, artefacts: Path, host: str
) -> None:
    """The owner who opens a command's URL sees what it would do, and the button does it, once."""
    chi = serve(miner.port)
    path = "/addpool/stratum+tcp://pool.example.com:3333,wallet.rig1,<b>x</b>"
    response = page.goto(f"http://{host}:{chi.port}{path}")
    assert response is not None
    assert response.status == 403
    # On localhost the browser says that its user opened the page: the miner is asked if it knows the command.
    checked = [] if host == "miner.lan" else [{"command": "check", "parameter": "addpool"}]
    assert [json.loads(request) for request in miner.requests] == checked
    assert page.locator("code").inner_text() == "addpool"
    assert page.get_by_label("Parameter").input_value() == path[9:]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=artefacts / f"confirmation-{host}.png", full_page=True)
    with page.expect_navigation():
        page.get_by_role("button", name="Send it").click()
    assert SECRET in page.inner_text("body")  # the miner's own answer
    assert [json.loads(request) for request in miner.requests] == [
        *checked,
        {"command": "addpool", "parameter": path[9:]},
    ]


def test_confirmation_page_works_with_the_token(
    page: Page, serve: Callable[..., Chi], miner: ScriptedMiner, token_file: str
) -> None:
    """The same with credentials that the browser keeps."""
    chi = serve(miner.port, token_file=token_file)
    log_in(page, f"http://miner.lan:{chi.port}")
    with page.expect_navigation():
        page.get_by_role("button").click()
    assert miner.commands == ["quit"]


def test_confirmation_page_looks_right(
    page: Page, serve: Callable[..., Chi], miner: ScriptedMiner, artefacts: Path
) -> None:
    """On a telephone, in the dark and with a hostile parameter the page is itself."""
    chi = serve(miner.port)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_viewport_size({"width": 360, "height": 640})
    page.emulate_media(color_scheme="dark")
    page.goto(f"http://127.0.0.1:{chi.port}/addpool/%3Cscript%3Ealert(1)%3C/script%3E%E2%80%AE{'x' * 300}")
    page.screenshot(path=artefacts / "confirmation-telephone.png", full_page=True)
    assert errors == []
    assert page.locator("script").count() == 0
    assert page.get_by_role("button").is_visible()
    assert not page.evaluate("document.querySelector('button') === document.activeElement")


def test_confirmation_page_cannot_be_framed(
    page: Page, evil: Site, serve: Callable[..., Chi], miner: ScriptedMiner, caplog: pytest.LogCaptureFixture
) -> None:
    """In a frame of another site, and even of chi's own, there is no page to lure a click to."""
    chi = serve(miner.port)
    base = f"http://127.0.0.1:{chi.port}"
    evil.pages["/frame"] = (
        f"<!DOCTYPE html><iframe src='{base}/quit'></iframe><iframe src='{base}/restart'></iframe>"
    )
    page.goto(f"{evil.origin}/frame")
    wait_for(page, lambda: len(arrived(caplog)) >= 2 and len(page.frames) == 3)
    page.wait_for_timeout(300)
    assert arrived(caplog)[:2] == ["GET /quit 403", "GET /restart 403"]
    assert all(frame.url.startswith("chrome-error:") for frame in page.frames[1:])
    assert all(frame.locator("button, form").count() == 0 for frame in page.frames[1:])
    assert miner.requests == []


def test_popup_cannot_be_driven(
    page: Page, evil: Site, serve: Callable[..., Chi], miner: ScriptedMiner
) -> None:
    """A page that opens the confirmation page in a window of its own cannot press its button."""
    chi = serve(miner.port)
    page.goto(evil.origin)
    with page.expect_popup() as popup:
        page.evaluate("url => { window.w = window.open(url); }", f"http://127.0.0.1:{chi.port}/quit")
    popup.value.wait_for_load_state()
    assert popup.value.get_by_role("button").count() == 1
    for script in (
        "w.document.forms[0].submit()",
        "w.document.querySelector('button').click()",
        "w.eval('1')",
    ):
        with pytest.raises(Error, match=r"Blocked a frame|SecurityError|cross-origin"):
            page.evaluate(script)
    popup.value.keyboard.press("Enter")  # a key held down before the page came
    popup.value.keyboard.press("Space")
    popup.value.wait_for_timeout(200)
    assert miner.requests == []


READ = "url => fetch(url).then(response => response.text(), error => 'refused: ' + error.name)"


def test_no_page_of_another_site_reads_a_report(
    page: Page, evil: Site, serve: Callable[..., Chi], miner: ScriptedMiner
) -> None:
    """Another site's page cannot see what a report says: not by fetch, XMLHttpRequest, frame or script."""
    chi = serve(miner.port)
    url = f"http://127.0.0.1:{chi.port}/summary"
    page.goto(evil.origin)
    assert page.evaluate(READ, url) == "refused: TypeError"
    opaque = "url => fetch(url, {mode: 'no-cors'}).then(async answer => answer.type + (await answer.text()))"
    assert page.evaluate(opaque, url) == "opaque"
    request = (
        "url => { x = new XMLHttpRequest(); x.open('GET', url, false); x.send(); return x.responseText; }"
    )
    with pytest.raises(Error, match="NetworkError"):
        page.evaluate(request, url)
    page.evaluate(
        "url => { f = document.createElement('iframe'); f.src = url; document.body.append(f); }", url
    )
    wait_for(page, lambda: len(page.frames) == 2 and page.frames[1].url == url)
    with pytest.raises(Error, match=r"Blocked a frame|SecurityError|null"):
        page.evaluate("f.contentDocument.body.textContent")
    assert SECRET not in page.inner_text("body")


def test_given_origin_reads_reports_and_no_more(
    page: Page, evil: Site, serve: Callable[..., Chi], miner: ScriptedMiner, caplog: pytest.LogCaptureFixture
) -> None:
    """With --cors-origin that origin's page reads reports, and runs nothing; others read nothing."""
    chi = serve(miner.port, cors_origin=(evil.origin,))
    base = f"http://127.0.0.1:{chi.port}"
    page.goto(evil.origin)
    assert SECRET in page.evaluate(READ, f"{base}/summary")
    assert "chi" in page.evaluate(READ, f"{base}/%zz")
    assert miner.commands == ["summary"]
    run_vectors(page, evil, base)
    wanted = {request for request, _ in VECTORS.values()}
    wait_for(page, lambda: wanted <= {line.rpartition(" ")[0] for line in arrived(caplog)})
    assert wanted <= {line.rpartition(" ")[0] for line in arrived(caplog)}
    assert miner.commands == ["summary"]
    page.goto(evil.origin.replace("evil.example", "grafana.lan"))
    assert page.evaluate(READ, f"{base}/summary") == "refused: TypeError"


@pytest.mark.parametrize("mode", [{}, {"read_only": True}], ids=["open", "read-only"])
def test_rebound_name_reaches_nothing(
    page: Page,
    serve: Callable[..., Chi],
    miner: ScriptedMiner,
    caplog: pytest.LogCaptureFixture,
    mode: dict[str, Any],
) -> None:
    """A public name that was made to resolve to chi gives its page neither commands nor reports."""
    chi = serve(miner.port, **mode)
    base = f"http://rebound.example:{chi.port}"
    # The page comes from where the name has led before, the rest from chi: one origin to the browser.
    page.route(f"{base}/page", lambda route: route.fulfill(content_type="text/html", body="<!DOCTYPE html>"))
    page.goto(f"{base}/page")
    ask = "([url, how]) => fetch(url, how).then(async answer => answer.status + ' ' + await answer.text())"
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("/quit", {}),
        ("/quit", {"method": "POST"}),
        (
            "/quit",
            {"method": "POST", "headers": {"X-Forwarded-Host": "localhost", "Authorization": "Bearer x"}},
        ),
        (
            "/",
            {"method": "POST", "body": '{"command":"quit"}', "headers": {"Content-Type": "application/json"}},
        ),
        ("/quit", {"method": "POST", "mode": "same-origin", "referrerPolicy": "no-referrer"}),
        ("/summary", {}),
        ("/summary", {"method": "POST"}),
        ("/", {}),
        ("/readyz", {}),
    ]
    for path, how in attempts:
        answer = page.evaluate(ask, [base + path, how])
        assert answer.startswith("421 "), (path, how, answer)
        assert "chi-server --host rebound.example" in answer
    response = page.goto(f"{base}/quit")
    assert response is not None
    assert response.status == 421
    assert len(arrived(caplog)) >= len(attempts) + 1
    assert miner.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "miner.lan"])
def test_address_bar_gets_reports_and_asks_for_the_rest(
    page: Page, serve: Callable[..., Chi], miner: ScriptedMiner, host: str
) -> None:
    """What the owner types into the address bar: reports come at once, and no reload runs a command."""
    chi = serve(miner.port)
    page.goto(f"http://{host}:{chi.port}/summary")
    assert SECRET in page.inner_text("body")
    page.goto(f"http://{host}:{chi.port}/quit")
    page.reload()
    page.go_back()
    page.go_forward()
    assert page.get_by_role("button").count() == 1
    assert set(miner.commands) <= REPORTS
    assert not any(re.search("quit", command) for command in miner.commands)
