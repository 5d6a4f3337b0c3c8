"""The access policy: Host, token, browser, command; and the proof that it cannot be talked round."""

from __future__ import annotations

import base64
import hmac
import html.parser
import itertools
import json
import logging
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chi import access, cli
from chi.access import Policy
from chi.bounds import MAX_JUDGED, MAX_JUDGED_SIZE
from chi.errors import ChiError
from chi.miner import reports
from chi.settings import Settings
from tests.attacks import (
    BODIES,
    FIELDS,
    METHODS,
    POSITIONS,
    TAKEN,
    TARGETS,
    Attack,
    Battery,
    asked_for,
    attack,
    text,
)
from tests.client import Wire
from tests.commands import COMMANDS, PRIVILEGED, REPORTS
from tests.conftest import Chi, Process, Response, StillClock
from tests.scripted import HEALTHY, HOLD, ScriptedMiner, capture

TOKEN = "correct-horse-battery-staple"
MOZILLA = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ONLY_REPORTS = "{} may change the miner, and chi serves only reports (--read-only)."
NEEDS_TOKEN = (
    "This requires the token: as Authorization: Bearer <token>, or as the password (Basic) of any user."
)
CONFIRM = "{} may change the miner. In a browser, the user must confirm it (POST)."


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    """A file with a token, as its owner would make it."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails the test if chi or waitress logged a fault."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def ask(chi: Chi | Process, start: str, *fields: str, host: str | None = None, body: bytes = b"") -> Response:
    """Send one request, with the Host field as given; none at all if `host` is empty."""
    with Wire(chi.port) as wire:
        host = wire.host if host is None else host
        lines = [f"{start} HTTP/1.1", *([f"Host: {host}"] if host else []), *fields, "Connection: close"]
        if body or start.startswith("POST "):
            lines.append(f"Content-Length: {len(body)}")
        wire.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return wire.read(start.split(" ")[0])


def assert_denied(miner: ScriptedMiner, response: Response, status: int, message: str) -> None:
    """Check what a client was told, and that the miner heard nothing."""
    assert (response.status, response.message) == (status, message)
    assert miner.requests == []


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[list[str]], tuple[int, str]]:
    """Starts chi-server where it must not start; returns its exit status and what it says."""

    def started(_: object) -> None:
        pytest.fail("chi-server starts")

    def run(argv: list[str]) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(argv)
        output = capsys.readouterr()
        assert output.out == ""
        return int(str(end.value)), output.err

    monkeypatch.setattr(cli, "open_sockets", started)
    return run


# --- Commands -------------------------------------------------------------------------------------


def test_reports_are_those_of_the_firmwares() -> None:
    """What chi takes for reports is exactly what the command tables of the firmwares call so."""
    assert reports.REPORTS == REPORTS


@pytest.mark.parametrize("firmware", COMMANDS)
def test_no_privileged_command_is_a_report_of_another_firmware(firmware: str) -> None:
    """No name reports on one firmware and changes another, so that one set serves them all."""
    assert REPORTS.isdisjoint(COMMANDS[firmware][1].split())
    assert reports.REPORTS.isdisjoint(PRIVILEGED)


def test_reports_are_exact_names() -> None:
    """No report is a joined command, a pattern, or written in capitals."""
    assert all(re.fullmatch(r"[a-z_]+2?", name) for name in reports.REPORTS)


@pytest.mark.parametrize("name", sorted(REPORTS))
def test_read_only_forwards_each_report(serve: Callable[..., Chi], miner: ScriptedMiner, name: str) -> None:
    """Each report passes --read-only: alone, joined, with a parameter, by GET, HEAD and POST, in a body."""
    chi = serve(miner.port, read_only=True)
    assert chi.get(f"/{name}").status == 200
    assert chi.get(f"/{name}+{name}/").status == 200
    assert chi.request(f"/{name}/0", "HEAD").status == 200
    assert chi.request(f"/{name}", "POST").status == 200
    body = text({"command": name, "parameter": 0, "new_api": True}).encode()
    assert chi.request("/", "POST", body).status == 200
    assert asked_for(miner.requests) == [
        {"command": name},
        {"command": f"{name}+{name}"},
        {"command": name, "parameter": "0"},
        {"command": name},
        {"command": name, "parameter": 0, "new_api": True},
    ]


@pytest.mark.parametrize(
    "members",
    [
        {"command": "summary", "parameter": "quit"},
        {"command": "summary", "parameter": "../quit"},
        {"command": "summary", "parameter": 1},
        {"command": "summary", "parameter": 1.5},
        {"command": "summary", "new_api": True},
        {"command": "summary", "new_api": False},
        {"command": "summary+devs"},
        {"command": "summary+summary"},
    ],
    ids=str,
)
def test_report_is_a_report(members: dict[str, Any]) -> None:
    """Reports joined, and a parameter that is a string or a number, are within the bounds."""
    assert Policy(Settings(read_only=True)).is_report(members)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"command": ""},
        {"command": "+"},
        {"command": "summary+"},
        {"command": "+summary"},
        {"command": "summary++devs"},
        {"command": "Summary"},
        {"command": "summary "},
        {"command": "summary+ devs"},
        {"command": "summary\0"},
        {"command": "summary\n"},
        {"command": "*"},
        {"command": None},
        {"command": 1},
        {"command": ["summary"]},
        {"command": "summary", "parameter": None},
        {"command": "summary", "parameter": True},
        {"command": "summary", "parameter": []},
        {"command": "summary", "parameter": {}},
        {"command": "summary", "new_api": None},
        {"command": "summary", "new_api": {"command": "quit"}},
        {"command": "summary", "new_api": "quit"},
        {"command": "summary", "new_api": 1},
        {"command": "summary", "cmd": "summary"},
        {"command": "summary", "Command": "summary"},
        {"command": "summary", "token": "x"},
        {"command": "summary", "enc": 1},
        {"command": "summary", "": ""},
        {"cmd": "summary"},
        {"enc": 1, "data": "x"},
    ],
    ids=str,
)
def test_anything_else_is_privileged(members: dict[str, Any]) -> None:
    """One empty, odd or unknown member of a request makes the whole of it privileged."""
    assert not Policy(Settings(read_only=True)).is_report(members)


def test_read_only_denies_by_name(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """A denial names the command and the option, for POST as for GET."""
    chi = serve(miner.port, read_only=True)
    for method in ("GET", "POST"):
        assert_denied(miner, chi.request("/quit", method), 403, ONLY_REPORTS.format('"quit"'))
    body = b'{"command":"addpool","parameter":"a,b,c"}'
    assert_denied(miner, chi.request("/", "POST", body), 403, ONLY_REPORTS.format('"addpool"'))


def test_report_option_adds_one_name(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """--report adds exactly that name, with --read-only and with a token; others stay privileged."""
    chi = serve(miner.port, read_only=True, report=("lockstats", "fans2"))
    assert_denied(miner, chi.get("/lockstats+quit"), 403, ONLY_REPORTS.format('"lockstats+quit"'))
    assert_denied(miner, chi.get("/Lockstats"), 403, ONLY_REPORTS.format('"Lockstats"'))
    assert_denied(miner, chi.get("/fans3"), 403, ONLY_REPORTS.format('"fans3"'))
    assert chi.get("/lockstats").status == 200
    assert chi.get("/summary+lockstats+fans2").status == 200
    assert miner.commands == ["lockstats", "summary+lockstats+fans2"]


def test_report_option_makes_a_report_in_every_way(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """What --report names is a report for browsers, HEAD and the token as well."""
    chi = serve(miner.port, report=("lockstats",))
    assert chi.get("/lockstats", User_Agent=MOZILLA).status == 200
    assert chi.request("/lockstats", "HEAD").status == 200
    assert miner.commands == ["lockstats"] * 2


def test_open_mode_forwards_everything(chi: Chi, miner: ScriptedMiner) -> None:
    """By itself chi leaves the decision to the API, as the original interface promises."""
    assert all(chi.get(f"/{name}/0").status == 200 for name in PRIVILEGED)
    assert miner.commands == list(PRIVILEGED)


# --- Host -----------------------------------------------------------------------------------------

OUR_HOSTS = [
    "127.0.0.1",
    "127.0.0.1:8080",
    "192.168.1.20:8080",
    "8.8.8.8",
    "[::1]",
    "[::1]:8080",
    "[2001:db8::1]:80",
    "[2001:DB8::A]",
    "[::ffff:192.0.2.1]",
    "[fe80::1%eth0]:8080",
    "[fe80::1%25eth0]",
    "localhost",
    "LOCALHOST:8080",
    "localhost.",
    "localhost:",
    "miner",
    "MINER",
    "miner-1",
    "my_miner",
    "antminer:80",
    "miner.local",
    "miner.lan",
    "Miner.LAN:8080",
    "miner.lan.",
    "miner.home.arpa",
    "rig.7.miner.internal",
    "",
]
OTHER_HOSTS = [
    "evil.example",
    "evil.example:8080",
    "EVIL.EXAMPLE",
    "evil.example.",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example.local.com",
    "miner.localhost.example",
    "evil.locals",
    "evil.xlan",
    "evil.arpa",
    "evil-home.arpa",
    "evilhome.arpa",
    "127.0.0.256",
    "127.1",
    "0x7f.0.0.1",
    "1.2.3",
    "[::1",
    "::1",
    "[::g]",
    "[::1]x",
    "[evil.example]",
    "[::1%]",
    "[127.0.0.1%x.evil.example]:y",
    "localhost:8080:80",
    "localhost:port",
    "user@localhost",
    "localhost@evil.example",
    "localhost/",
    "localhost, evil.example",
    "evil.example, localhost",
    "evil.example localhost",
    "localhost evil.example",
    "local host",
    "*",
    ".",
    ":8080",
    "m\xeener.lan",
    "evil.example%00.lan",
    "evil.example;.lan",
    "evil.example#.lan",
    "evil,example",
    "xn--bcher-kva.example",
]


@pytest.mark.parametrize("host", OUR_HOSTS)
def test_host_that_cannot_be_rebound_is_ours(chi: Chi, host: str) -> None:
    """IP literals, localhost, names without a dot and names of the LAN are served, and no Host at all."""
    assert ask(chi, "GET /summary", host=host).status == 200


@pytest.mark.parametrize("host", OTHER_HOSTS)
@pytest.mark.parametrize("start", ["GET /summary", "GET /quit", "POST /quit", "GET /healthz", "GET /readyz"])
def test_other_host_is_refused(chi: Chi, miner: ScriptedMiner, host: str, start: str) -> None:
    """A name that a public page can have, and a malformed one, get 421 and the option to set."""
    response = ask(chi, start, host=host)
    assert response.status == 421
    assert response.message.startswith(json.dumps(host))
    assert "chi-server --host " in response.message
    assert miner.requests == []


def test_refused_host_is_told_what_to_set(chi: Chi, miner: ScriptedMiner) -> None:
    """The message has the whole option, ready to be copied, without the port."""
    expected = (
        '"miner.example.net:8080" is not a known name of this server. '
        "If it is one: chi-server --host miner.example.net"
    )
    assert_denied(miner, ask(chi, "GET /", host="Miner.Example.net:8080".lower()), 421, expected)


def test_head_with_another_host_is_refused(chi: Chi, miner: ScriptedMiner) -> None:
    """HEAD is judged as GET is."""
    assert ask(chi, "HEAD /summary", host="evil.example").status == 421
    assert miner.requests == []


@pytest.mark.parametrize(
    ("start", "host", "status"),
    [
        ("GET http://localhost/summary", "localhost", 200),
        ("GET http://localhost:8080/summary", "127.0.0.1", 200),
        ("GET HTTP://[::1]:8080/summary", "127.0.0.1", 200),
        ("GET http://miner.lan?x", "miner.lan", 200),
        ("GET http:///summary", "localhost", 200),
        ("GET http://evil.example/summary", "localhost", 421),
        ("GET http://localhost/summary", "evil.example", 421),
        ("GET http://evil.example/summary", "", 421),
        ("GET http://evil.example:80/summary", "localhost", 421),
        ("GET http://localhost@evil.example/summary", "localhost", 421),
        ("GET http://evil.example@localhost/summary", "localhost", 421),
        ("GET http://evil.example#@localhost/summary", "localhost", 421),
        ("GET HtTpS://evil.example?x", "localhost", 421),
        ("GET git+ssh://evil.example/summary", "localhost", 421),
        ("POST http://evil.example/quit", "localhost", 421),
    ],
)
def test_absolute_target_has_a_host_too(
    chi: Chi, miner: ScriptedMiner, start: str, host: str, status: int
) -> None:
    """The host of an absolute request target counts as well as Host: both must be ours."""
    assert ask(chi, start, host=host).status == status
    assert status == 200 or miner.requests == []


@pytest.mark.parametrize("hosts", [("localhost", "evil.example"), ("evil.example", "localhost")])
def test_two_hosts_are_refused(chi: Chi, miner: ScriptedMiner, hosts: tuple[str, str]) -> None:
    """Two Host fields are none that is ours, in either order."""
    assert ask(chi, "GET /summary", f"Host: {hosts[0]}", host=hosts[1]).status == 421
    assert miner.requests == []


@pytest.mark.parametrize("field", ["X-Forwarded-Host", "Forwarded", "X-Host", "X-Original-Host", "HTTP_HOST"])
def test_only_host_names_the_host(chi: Chi, miner: ScriptedMiner, field: str) -> None:
    """No other field says what the Host is."""
    assert ask(chi, "GET /summary", f"{field}: localhost", host="evil.example").status == 421
    assert miner.requests == []
    assert ask(chi, "GET /summary", f"{field}: evil.example", host="localhost").status == 200


def test_own_names_are_ours(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Chi], miner: ScriptedMiner
) -> None:
    """This machine's own name and its FQDN are served, and what merely begins or ends so is not."""
    monkeypatch.setattr(socket, "gethostname", lambda: "Rig7.Farm.example")
    known = threading.Event()
    monkeypatch.setattr(socket, "getfqdn", lambda name="": known.set() or "rig7.dc.example.net")
    chi = serve(miner.port)
    assert known.wait(10)
    assert ask(chi, "GET /summary", host="rig7.farm.example").status == 200
    deadline = time.monotonic() + 10
    while ask(chi, "GET /healthz", host="RIG7.dc.example.net:80").status != 200:
        assert time.monotonic() < deadline
    assert ask(chi, "GET /summary", host="x.rig7.farm.example").status == 421
    assert ask(chi, "GET /summary", host="rig7.farm.example.net").status == 421


@pytest.mark.parametrize("host", ["evil,example", "a b", "evil.example:x", "."])
def test_machine_without_a_name_has_no_empty_name(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Where the system gives no name, a malformed Host is not taken for it."""
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    policy = Policy(Settings())
    policy.learn_name("")
    with pytest.raises(ChiError, match="is not a known name of this server"):
        policy.admit({"HTTP_HOST": host, "REQUEST_URI": "/", "PATH_INFO": "/"})


def test_host_option_adds_a_name(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """--host adds exactly that name, whatever its case; names below it are others."""
    chi = serve(miner.port, host=("Miner.example.com", "pool.example.org"))
    for host in ("miner.example.com", "MINER.example.com:8080", "miner.example.com.", "pool.example.org"):
        assert ask(chi, "GET /summary", host=host).status == 200
    for host in ("x.miner.example.com", "example.com", "miner.example.com.evil.example"):
        assert ask(chi, "GET /summary", host=host).status == 421


@pytest.mark.parametrize("host", [*OTHER_HOSTS, "anything at all"])
def test_host_option_of_any(serve: Callable[..., Chi], miner: ScriptedMiner, host: str) -> None:
    """--host '*' takes any Host; commands are judged as ever."""
    chi = serve(miner.port, host=("*",), read_only=True)
    assert_denied(miner, ask(chi, "GET /quit", host=host), 403, ONLY_REPORTS.format('"quit"'))
    assert ask(chi, "GET /summary", host=host).status == 200


def test_host_comes_before_all_else(serve: Callable[..., Chi], miner: ScriptedMiner, token_file: str) -> None:
    """The ladder's first rung is Host: not even the token goes past it."""
    chi = serve(miner.port, token_file=token_file, private=True)
    response = ask(chi, "GET /summary", f"Authorization: Bearer {TOKEN}", host="evil.example")
    assert response.status == 421
    assert "WWW-Authenticate" not in response.headers
    assert miner.requests == []


# --- Token ----------------------------------------------------------------------------------------


def basic(credentials: str) -> str:
    """The header of Basic."""
    return "Basic " + base64.b64encode(credentials.encode()).decode()


RIGHT = [
    f"Bearer {TOKEN}",
    f"bearer {TOKEN}",
    f"BEARER  {TOKEN}",
    basic(f"admin:{TOKEN}"),
    basic(f":{TOKEN}"),
    basic(f"b\u00fccher \U0001f600:{TOKEN}"),
    basic(f"{'x' * 3000}:{TOKEN}"),
    "basic " + basic(f"x:{TOKEN}")[6:],
]
WRONG = [
    "",
    " ",
    "Bearer",
    "Bearer ",
    TOKEN,
    f"Token {TOKEN}",
    f"Digest {TOKEN}",
    f"Basic {TOKEN}",
    f"Negotiate {basic(f'x:{TOKEN}')[6:]}",
    f"Bearer:{TOKEN}",
    f"Bearer\t{TOKEN}",
    f'Bearer "{TOKEN}"',
    f"Bearer {TOKEN}x",
    f"Bearer x{TOKEN}",
    f"Bearer {TOKEN} x",
    f"Bearer {TOKEN},",
    f"Bearer {TOKEN}, Bearer {TOKEN}",
    f"Bearer {TOKEN.upper()}",
    f"Bearer {TOKEN}\xe9",
    "Bearer \xe9\xff",
    f"Bearer {'x' * 20000}",
    f"Bearer {TOKEN * 500}",
    *[f"Bearer {TOKEN[:length]}" for length in range(1, len(TOKEN))],
    basic(TOKEN),
    basic(f"{TOKEN}:"),
    basic(f"{TOKEN}:x"),
    basic(f"x:{TOKEN}x"),
    basic(f"x:{TOKEN}\n"),
    basic(f"x:y:{TOKEN}"),
    basic("x:"),
    basic(":"),
    "Basic",
    "Basic ",
    "Basic !!!!",
    "Basic \xe9",
    "Basic =",
    f"Basic  {basic(f'x:{TOKEN}')[6:]}",
    f"{basic(f'x:{TOKEN}')}, {basic(f'x:{TOKEN}')}",
    f"Basic {basic(f'x:{TOKEN}')[6:]}!",
]


@pytest.fixture
def locked(serve: Callable[..., Chi], miner: ScriptedMiner, token_file: str) -> Chi:
    """Chi with a token for privileged commands."""
    return serve(miner.port, token_file=token_file)


@pytest.mark.parametrize("authorization", RIGHT, ids=lambda value: value[:40])
def test_right_token(locked: Chi, miner: ScriptedMiner, authorization: str) -> None:
    """The token opens privileged commands: as Bearer, or as password of any user; the scheme in any case."""
    assert ask(locked, "POST /quit", f"Authorization: {authorization}").status == 200
    assert ask(locked, "GET /restart", f"Authorization: {authorization}").status == 200
    assert miner.commands == ["quit", "restart"]


@pytest.mark.parametrize("authorization", WRONG, ids=lambda value: repr(value[:40]))
def test_wrong_token(locked: Chi, miner: ScriptedMiner, authorization: str) -> None:
    """Anything else gets one and the same 401, with both challenges, however much of it is right."""
    for start in ("POST /quit", "GET /summary+quit"):
        response = ask(locked, start, f"Authorization: {authorization}")
        assert_denied(miner, response, 401, NEEDS_TOKEN)
        assert response.headers.get_all("WWW-Authenticate") == ['Bearer realm="chi"', 'Basic realm="chi"']


@pytest.mark.parametrize(
    ("start", "fields", "body"),
    [
        (f"POST /quit?token={TOKEN}", [], b""),
        (f"POST /quit/{TOKEN}", [], b""),
        (f"POST http://x:{TOKEN}@127.0.0.1/quit", [], b""),
        ("POST /quit", [f"X-Token: {TOKEN}"], b""),
        ("POST /quit", [f"Cookie: token={TOKEN}"], b""),
        ("POST /quit", [f"Proxy-Authorization: Bearer {TOKEN}"], b""),
        ("POST /quit", [f"X-Authorization: Bearer {TOKEN}"], b""),
        ("POST /quit", [f"HTTP_AUTHORIZATION: Bearer {TOKEN}"], b""),
        ("POST /quit", ["Authorization: Bearer x", f"Authorization: Bearer {TOKEN}"], b""),
        ("POST /quit", [f"Authorization: Bearer {TOKEN}", "Authorization: Bearer x"], b""),
        ("POST /", [], text({"command": "quit", "token": TOKEN}).encode()),
        ("POST /", [], text({"command": "summary", "token": TOKEN}).encode()),
    ],
)
def test_token_elsewhere_is_none(
    locked: Chi, miner: ScriptedMiner, start: str, fields: list[str], body: bytes
) -> None:
    """A token counts in one Authorization field and nowhere else; not in a URL, where it would be logged."""
    response = ask(locked, start, *fields, body=body)
    assert response.status in (401, 421)
    assert miner.requests == []


def test_token_is_for_what_is_no_report(locked: Chi, miner: ScriptedMiner) -> None:
    """Reports need no token, not even beside a wrong one; joined with another command they do."""
    assert locked.get("/summary+devs").status == 200
    assert locked.get("/summary", Authorization="Bearer wrong").status == 200
    assert locked.get("/readyz").status == 200
    assert miner.commands == ["summary+devs", "summary", "version"]
    for path in ("/quit+summary", "/summary+quit", "/summary+quit+devs", "/nonsense", "/Summary", "/+"):
        assert locked.get(path).status == 401
    assert len(miner.requests) == 3


def test_token_is_needed_by_head_too(locked: Chi, miner: ScriptedMiner) -> None:
    """HEAD of a privileged command is refused with the token as without it."""
    assert locked.request("/quit", "HEAD").status == 401
    assert locked.request("/quit", "HEAD", Authorization=f"Bearer {TOKEN}").status == 405
    assert miner.requests == []


def test_token_is_compared_in_constant_time(
    locked: Chi, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of what was given is compared with the whole token, by the function made for it."""
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr("hmac.compare_digest", lambda *given: compared.append(given) or compare(*given))
    assert locked.get("/quit", Authorization="Bearer " + TOKEN[:5]).status == 401
    assert locked.get("/quit").status == 401
    assert compared == [(TOKEN[:5].encode(), TOKEN.encode()), (b"", TOKEN.encode())]


def test_wrong_tokens_are_logged_at_a_bounded_rate(
    serve: Callable[..., Chi], miner: ScriptedMiner, token_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However many wrong tokens come, there is one line in a while, with the address, without the token."""
    caplog.set_level(logging.DEBUG)
    locked = serve(miner.port, clock=StillClock().clock, token_file=token_file)
    secret = "not-the-right-token-at-all"
    for _ in range(50):
        locked.get("/quit", Authorization=f"Bearer {secret}", X_Forwarded_For="203.0.113.9")
    (line,) = [record.getMessage() for record in caplog.records if "token" in record.getMessage()]
    assert line == "wrong token from 127.0.0.1 (1 since the last such line)"
    locked.advance(10.1)
    locked.get("/quit", Authorization=f"Bearer {secret}")
    assert "wrong token from 127.0.0.1 (50 since the last such line)" in caplog.text
    assert secret not in caplog.text
    assert TOKEN not in caplog.text


def test_no_token_is_no_wrong_token(locked: Chi, caplog: pytest.LogCaptureFixture) -> None:
    """A browser asks without the token first: that is no event."""
    assert locked.get("/quit").status == 401
    assert "wrong token" not in caplog.text


PATHS = [
    "/",
    "/summary",
    "/summary+devs/",
    "/quit",
    "/readyz",
    "/favicon.ico",
    "/robots.txt",
    "/metrics",
    "/status.json",
    "/history.json",
    "/access.json",
    "/dashboard",
    "/manifest.webmanifest",
    "/healthz/",
    "/healthz/x",
    "/HEALTHZ",
    "/healthz%20",
    "/healthz+summary",
    "//healthz/",
    "/x/../healthz",
    "/healthz%00",
    "/%ef%bb%bfhealthz",
    "/./healthz",
    "/healthz%ff",
    "/%ffhealthz",
    "/heal%fethz",
]


@pytest.mark.parametrize("path", PATHS)
def test_private_needs_the_token_for_everything(
    serve: Callable[..., Chi], miner: ScriptedMiner, token_file: str, path: str
) -> None:
    """With --private every path but /healthz needs the token, chi's own as well."""
    chi = serve(miner.port, token_file=token_file, private=True)
    for fields in ([], ["Authorization: Bearer wrong"], [f"User-Agent: {MOZILLA}"]):
        assert_denied(miner, ask(chi, f"GET {path}", *fields), 401, NEEDS_TOKEN)
        assert ask(chi, f"HEAD {path}", *fields).status == 401
        for method in ("POST", "PUT", "OPTIONS", "TRACE", "ANY", "PROXY"):
            assert ask(chi, f"{method} {path}", *fields).status == 401
    assert miner.requests == []


@pytest.mark.parametrize("method", METHODS)
def test_host_is_judged_before_the_method(chi: Chi, miner: ScriptedMiner, method: str) -> None:
    """A name of another server is 421, whatever the method is."""
    assert chi.request("/summary", method, Host="evil.example").status == 421
    assert miner.requests == []


def test_private_with_the_token(serve: Callable[..., Chi], miner: ScriptedMiner, token_file: str) -> None:
    """With --private and the token everything is there; /healthz is without."""
    chi = serve(miner.port, token_file=token_file, private=True)
    assert chi.get("/healthz").status == 200
    assert chi.request("/healthz", "HEAD").status == 200
    assert miner.requests == []
    for path in ("/", "/summary", "/quit", "/readyz", "/robots.txt"):
        assert chi.get(path, Authorization=f"Bearer {TOKEN}").status == 200
    assert miner.commands == ["summary+devs", "summary", "quit", "version"]


def test_private_and_read_only(serve: Callable[..., Chi], miner: ScriptedMiner, token_file: str) -> None:
    """Together: reports with the token, nothing else with or without it."""
    chi = serve(miner.port, token_file=token_file, private=True, read_only=True)
    assert_denied(miner, chi.get("/summary"), 401, NEEDS_TOKEN)
    assert_denied(miner, chi.get("/quit"), 401, NEEDS_TOKEN)
    with_token = {"Authorization": f"Bearer {TOKEN}"}
    assert_denied(miner, chi.get("/quit", **with_token), 403, ONLY_REPORTS.format('"quit"'))
    assert chi.get("/summary", **with_token).status == 200


@pytest.mark.parametrize("path", ["/quit", "/summary+quit", "/addpool/a,b,c", "/nonsense"])
def test_a_service_alone_forwards_reports_only(
    serve: Callable[..., Chi], miner: ScriptedMiner, path: str
) -> None:
    """With --service nothing else needs to be said for a privileged command to be refused."""
    chi = serve(miner.port, service=True)
    for method in ("GET", "POST"):
        response = chi.request(path, method)
        assert (response.status, miner.requests) == (403, [])
        assert "chi serves only reports (--service)" in response.body.decode()
    assert chi.get("/summary").status == 200
    assert not chi.policy.is_open
    assert chi.policy.exposure == "reports only (--service)"


# What the service is started with beside --service, as its configuration may be damaged: no token, not open.
DAMAGED = [
    {},
    {"http_port": 8081},
    {"report": ("litestats2",)},
    {"host": ("*",)},
    {"cors_origin": ("http://grafana.lan:3000",)},
    {"read_only": True},
]


@pytest.mark.parametrize("rest", DAMAGED, ids=str)
def test_a_service_fails_closed(rest: dict[str, Any]) -> None:
    """Whatever else is said, a service without a token and --open forwards reports only."""
    assert Settings(service=True, **rest).only_reports


def test_a_service_forwards_what_it_is_told_to(
    serve: Callable[..., Chi], miner: ScriptedMiner, token_file: str
) -> None:
    """A token, or --open, is what a service needs to forward more; each lets through what it says."""
    with_token = serve(miner.port, service=True, token_file=token_file)
    assert_denied(miner, with_token.get("/quit"), 401, NEEDS_TOKEN)
    assert with_token.get("/quit", Authorization=f"Bearer {TOKEN}").status == 200
    open_ = serve(miner.port, service=True, open=True)
    assert open_.policy.is_open
    assert open_.get("/quit").status == 200
    assert miner.commands == ["quit", "quit"]


REFUSED_FILES = {
    "empty": (b"", 0o600, "it is empty"),
    "blank": (b" \n\n", 0o600, "it is empty"),
    "short": (b"fifteen-letters\n", 0o600, "its token has 15 characters, fewer than 16"),
    "one letter": (b"x", 0o600, "its token has 1 characters, fewer than 16"),
    "two words": (b"correct horse battery staple\n", 0o600, "its token must be one word"),
    "two lines": (b"correct-horse-battery\nstaple-of-the-art\n", 0o600, "its token must be one word"),
    "not ASCII": ("größer-als-sechzehn".encode(), 0o600, "its token must be one word"),
    "binary": (bytes(range(64)), 0o600, "its token must be one word"),
    "readable by others": (TOKEN.encode(), 0o604, "others may read or write it (mode 0604): chmod o= "),
    "writable by others": (TOKEN.encode(), 0o602, "others may read or write it (mode 0602): chmod o= "),
    "open": (TOKEN.encode(), 0o777, "others may read or write it (mode 0777): chmod o= "),
    "longer than is read": (b"x" * 5000, 0o600, "its token"),
}


@pytest.mark.parametrize("name", REFUSED_FILES)
def test_bad_token_file_ends_the_start(
    tmp_path: Path, refused: Callable[[list[str]], tuple[int, str]], name: str
) -> None:
    """A token file that is of no use ends the start with status 2 and one line: option, file and cause."""
    content, mode, why = REFUSED_FILES[name]
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(mode)
    status, line = refused(["--token-file", str(path)])
    assert status == 2
    assert line.startswith(f"chi-server: error: argument --token-file: {path}: {why}")
    assert line.count("\n") == 1
    assert TOKEN not in line


@pytest.mark.parametrize(
    ("name", "why"),
    [("none", "No such file or directory"), ("folder", "Is a directory"), ("a/b", "Not a directory")],
)
def test_token_file_that_is_none_ends_the_start(
    tmp_path: Path, refused: Callable[[list[str]], tuple[int, str]], name: str, why: str
) -> None:
    """A token file that cannot be read likewise."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").touch()
    status, line = refused(["--token-file", str(tmp_path / name)])
    assert status == 2
    assert f"--token-file: {tmp_path / name}: {why}" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("content", ["exactly-16-chars", f"  {TOKEN}\r\n\n", "!" * 4000])
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o660])
def test_token_file_that_will_do(tmp_path: Path, content: str, mode: int) -> None:
    """16 characters do, white space around the token is none of it, and the group may read it."""
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(mode)
    assert access.read_token(str(path)) == content.strip().encode()


# --- Contradictions -------------------------------------------------------------------------------

CONTRADICTIONS = {
    "--private": "--private requires --token-file",
    "--private --read-only": "--private requires --token-file",
    "--read-only --token-file TOKEN": "--token-file with --read-only requires --private",
    "--private --token-file TOKEN --cors-origin http://a.lan": "--cors-origin cannot be combined",
    "--token-file ": "argument --token-file: it is empty",
    "--host ": "argument --host: '' is not a single name",
    "--host http://miner.lan": "argument --host: 'http://miner.lan' is not a single name",
    "--host miner.lan:8080": "argument --host: 'miner.lan:8080' is not a single name",
    "--host a,b": "argument --host: 'a,b' is not a single name",
    "--host *.lan": "argument --host: '*.lan' is not a single name",
    "--report ": "argument --report: '' is not a single name",
    "--report a+b": "argument --report: 'a+b' is not a single name",
    "--report a/b": "argument --report: 'a/b' is not a single name",
    "--report *": "argument --report: '*' is not a single name",
    "--cors-origin *": "argument --cors-origin: '*' is not an origin",
    "--cors-origin null": "argument --cors-origin: 'null' is not an origin",
    "--cors-origin grafana.lan": "argument --cors-origin: 'grafana.lan' is not an origin",
    "--cors-origin http://grafana.lan/": "argument --cors-origin: 'http://grafana.lan/' is not an origin",
    "--cors-origin http://*.lan": "argument --cors-origin: 'http://*.lan' is not an origin",
    "--cors-origin http://a@b": "argument --cors-origin: 'http://a@b' is not an origin",
    "--cors-origin ftp://grafana.lan": "argument --cors-origin: 'ftp://grafana.lan' is not an origin",
    "--read-onl": "unrecognized arguments: --read-onl",
    "--demo --api_host 192.0.2.1": "--demo serves its own miner",
    "--demo -p 4029": "--demo serves its own miner",
}


@pytest.mark.parametrize("arguments", CONTRADICTIONS)
def test_contradiction_ends_the_start(
    refused: Callable[[list[str]], tuple[int, str]], token_file: str, arguments: str
) -> None:
    """Options that contradict each other, or mean nothing, end the start with status 2 and one line."""
    argv = [token_file if word == "TOKEN" else word for word in arguments.split(" ")]
    status, line = refused(argv)
    assert status == 2
    assert line.startswith(f"chi-server: error: {CONTRADICTIONS[arguments]}")
    assert line.count("\n") == 1


MODES = {
    "": "every command that the miner's API lets this host use (--read-only ends that)",
    "--read-only": "reports only (--read-only)",
    "--read-only --report lockstats": "reports only (--read-only)",
    "--token-file TOKEN": "reports, and every other command with the token",
    "--token-file TOKEN --host * --cors-origin http://b": "reports, and every other command with the token",
    "--token-file TOKEN --private": "everything, with the token",
    "--token-file TOKEN --private --read-only": "reports only (--read-only), with the token",
}


@pytest.mark.parametrize("arguments", MODES)
def test_check_says_what_is_exposed(
    capsys: pytest.CaptureFixture[str], miner: ScriptedMiner, token_file: str, arguments: str
) -> None:
    """--check says in words what whoever reaches chi would get, for each combination there is."""
    argv = [token_file if word == "TOKEN" else word for word in arguments.split()]
    assert cli.main(["-p", str(miner.port), "--check", *argv]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("chi:")]
    assert line.endswith(f": {MODES[arguments]}")
    warned = "whoever reaches chi can change the miner" in lines[-1]
    assert warned == (arguments == "")
    assert TOKEN not in "".join(lines)


@pytest.mark.parametrize("arguments", MODES)
def test_start_says_what_is_exposed(
    chi_server: Callable[..., Process], miner: ScriptedMiner, token_file: str, arguments: str
) -> None:
    """At start the same is one line of the log, the token in none; nothing is asked of the miner for it."""
    argv = [token_file if word == "TOKEN" else word for word in arguments.split()]
    process = chi_server("-w", "0", "--listen", "127.0.0.1", "-p", str(miner.port), *argv)
    process.logged(re.escape(f"whoever reaches it gets {MODES[arguments]}"))
    command_line = Path(f"/proc/{process.process.pid}/cmdline").read_bytes()
    assert process.stop() == 0
    assert TOKEN not in process.log
    assert TOKEN.encode() not in command_line
    assert miner.requests == []


WRITES = {
    b'{"STATUS":[{"STATUS":"S","Code":46,"Msg":"Privileged access OK"}],"id":1}\0': (
        "the API gives this host write access: whoever reaches chi can change the miner; "
        "--read-only or --token-file ends that"
    ),
    b'{"STATUS":[{"STATUS":"E","Code":45,"Msg":"Access denied"}],"id":1}\0': (
        "the API lets this host read only, and so whoever reaches chi"
    ),
    b'{"STATUS":[{"STATUS":"E","Code":14,"Msg":"Invalid command"}],"id":1}\0': (
        "the API does not tell whether this host may write; if so, whoever reaches chi may; "
        "--read-only or --token-file ends that"
    ),
}


@pytest.mark.parametrize("reply", WRITES)
def test_open_chi_tells_what_the_api_allows(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    serve: Callable[..., Chi],
    miner: ScriptedMiner,
    reply: bytes,
) -> None:
    """Once the miner answers, an open chi asks it once whether this host may write, and logs that."""
    monkeypatch.setattr("chi.monitor.PROBE_AFTER", 0.0)
    caplog.set_level(logging.INFO)
    miner.script = lambda request: [reply if b"privileged" in request else HEALTHY]
    chi = serve(miner.port)
    chi.get("/summary")
    miner.asked(2)
    deadline = time.monotonic() + 10
    while WRITES[reply] not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    chi.get("/summary")
    assert miner.commands == ["summary", "privileged", "summary"]


def test_closed_chi_asks_nothing_of_its_own(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Chi], miner: ScriptedMiner, token_file: str
) -> None:
    """With --read-only or a token chi itself sends the miner nothing, `privileged` either."""
    monkeypatch.setattr("chi.monitor.PROBE_AFTER", 0.0)
    for mode in ({"read_only": True}, {"token_file": token_file}):
        chi = serve(miner.port, **mode)
        for _ in range(5):
            chi.get("/summary")
    assert set(miner.commands) == {"summary"}


# --- Browsers -------------------------------------------------------------------------------------

BROWSERS = [
    {"User_Agent": MOZILLA},
    {"User_Agent": "Mozilla/4.0"},
    {"User_Agent": "Mozilla/5.0 (iPhone) AppleWebKit/605.1.15"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Referer": "http://evil.example/"},
    {"Referer": ""},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "none"},
    {"Sec_Fetch_Mode": "no-cors"},
    {"Sec_Fetch_Dest": "image"},
    {"Sec_Fetch_User": "?1"},
    {"Sec_Fetch_Storage_Access": "active"},
    {"User_Agent": "curl/8.0", "Sec_Fetch_Dest": "document"},
    {"User_Agent": MOZILLA, "Upgrade": "websocket", "Connection": "Upgrade"},
]
PROGRAMS = [
    {},
    {"User_Agent": "curl/8.0"},
    {"User_Agent": "python-requests/2 Mozilla/5.0"},
    {"Accept": "*/*"},
]


class Page(html.parser.HTMLParser):
    """What is in a page: its tags with their attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("headers", BROWSERS, ids=str)
def test_browser_confirms(chi: Chi, miner: ScriptedMiner, headers: dict[str, str]) -> None:
    """A browser's GET of a privileged command gets a page whose button POSTs it; the miner hears nothing."""
    for path in ("/quit", "/summary+quit", "/addpool/a,b,c", "/nonsense"):
        response = chi.get(path, **headers)
        assert response.status == 403
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        forms = [attributes for tag, attributes in Page(response.body.decode()).tags if tag == "form"]
        assert forms == [{"method": "post"}]
    assert miner.requests == []


@pytest.mark.parametrize("headers", BROWSERS, ids=str)
def test_browser_head_of_a_privileged_command(
    chi: Chi, miner: ScriptedMiner, headers: dict[str, str]
) -> None:
    """HEAD of one is refused as well, to a browser and to a program."""
    assert chi.request("/quit", "HEAD", **headers).status == 403
    assert chi.request("/quit", "HEAD").status == 405
    assert miner.requests == []


@pytest.mark.parametrize("headers", BROWSERS, ids=str)
def test_browser_reads_reports(chi: Chi, miner: ScriptedMiner, headers: dict[str, str]) -> None:
    """Reports are a browser's for the asking."""
    assert chi.get("/summary", **headers).body == HEALTHY[:-1]
    assert miner.commands == ["summary"]


@pytest.mark.parametrize("headers", PROGRAMS, ids=str)
def test_program_runs_commands_by_get(chi: Chi, miner: ScriptedMiner, headers: dict[str, str]) -> None:
    """A program's GET is its user's will, as with the original interface."""
    assert chi.get("/quit", **headers).status == 200
    assert miner.commands == ["quit"]


def test_confirmation_page_is_safe(chi: Chi) -> None:
    """The page loads nothing, runs nothing, posts to its own site only, and cannot be framed."""
    response = chi.get("/quit", User_Agent=MOZILLA)
    policy = dict(
        part.strip().partition(" ")[::2] for part in response.headers["Content-Security-Policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "same-origin"
    page = Page(response.body.decode())
    assert {tag for tag, _ in page.tags}.isdisjoint(
        {"script", "style", "link", "img", "iframe", "base", "input"}
    )
    assert not any(name in attributes for _, attributes in page.tags for name in ("src", "action", "style"))
    assert [attributes["href"] for _, attributes in page.tags if "href" in attributes] == ["dashboard"]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "autofocus" not in response.body.decode()  # a held key must not press the button


HOSTILE = [
    "<script>alert(1)</script>",
    "</code></p><form action=http://evil.example><button autofocus>",
    '"><img src=x onerror=alert(1)>',
    "'onmouseover='alert(1)",
    "&lt;b&gt;&amp;",
    "{command}{parameter}{0}%s",
    "\u202egnp.exe\u2066",
    "\0\x1b[2J\r\n\r\n<html>",
    "\ufeff\ufffe",
    "--><!--",
    "x" * 5000,
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda value: repr(value[:20]))
def test_confirmation_page_is_escaped(chi: Chi, miner: ScriptedMiner, hostile: str) -> None:
    """Whatever the command and the parameter are, they are text of the page, in full, and nothing more."""
    plain = [tag for tag, _ in Page(chi.get("/quit/0", User_Agent=MOZILLA).body.decode()).tags]
    encoded = "".join(f"%{byte:02x}" for byte in hostile.encode())
    for path, shown in ((f"/addpool/{encoded}", hostile), (f"/{encoded}/x", hostile.split("/")[0])):
        response = chi.get(path, User_Agent=MOZILLA)
        assert response.status == 403
        page = Page(response.body.decode())
        assert [tag for tag, _ in page.tags] == plain
        assert shown.replace("\r\n", "\n") in page.text.replace("\r\n", "\n")
    assert miner.requests == []


OPENED = {"User_Agent": MOZILLA, "Sec_Fetch_Dest": "document", "Sec_Fetch_Mode": "navigate"}
KNOWN = capture("check_summary")
UNKNOWN = KNOWN.replace(b'"Exists":"Y"', b'"Exists":"N"')


@pytest.mark.parametrize(
    ("answer", "path", "unknown"),
    [
        ([UNKNOWN], "/qiut", True),
        ([KNOWN], "/quit/1", False),
        ([capture("nonsense")], "/quit", False),
        ([b"nonsense\0"], "/quit", False),
        ([HOLD], "/quit", False),
        ([], "/quit", False),
    ],
)
def test_confirmation_page_of_a_command_that_the_miner_does_not_know(
    serve: Callable[..., Chi], miner: ScriptedMiner, answer: list[Any], path: str, unknown: bool
) -> None:
    """Who opens the page is told, if the miner says so; the page is there whatever the miner does."""
    miner.script = answer
    chi = serve(miner.port, timeout=60)
    response = chi.get(path, Sec_Fetch_Site="none", **OPENED)
    assert response.status == 403
    page = Page(response.body.decode())
    assert ("The miner does not know this command." in page.text) == unknown
    name = path.split("/")[1].encode()
    assert b'{"command":"check","parameter":"%s"}' % name in miner.requests
    assert not any(b'"command":"q' in request for request in miner.requests)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/quit", {**OPENED, "Sec_Fetch_Site": "cross-site"}),
        ("/quit", {**OPENED, "Sec_Fetch_Site": "same-site"}),
        ("/quit", {**OPENED, "Sec_Fetch_Site": "same-origin", "Sec_Fetch_Dest": "image"}),
        ("/quit", {**OPENED}),
        ("/quit", {"User_Agent": MOZILLA}),
        ("/quit+restart", {**OPENED, "Sec_Fetch_Site": "none"}),
    ],
)
def test_confirmation_page_by_another_site_asks_nothing(
    chi: Chi, miner: ScriptedMiner, path: str, headers: dict[str, str]
) -> None:
    """The miner hears of a command only after its user has opened the page; nor of what it cannot tell."""
    assert chi.get(path, **headers).status == 403
    assert miner.requests == []


@pytest.mark.parametrize(
    "path",
    [
        *("/quit", "/switchpool/1", "/switchpool/1/", "/addpool/stratum+tcp://a.example:3333,b/c,%2f"),
        *("//quit", "///switchpool//1", "/%2fquit", "//%2Fquit/1"),
    ],
)
def test_confirmation_page_leads_back(chi: Chi, path: str) -> None:
    """Its link leads to the dashboard of the same miner, also where a proxy has chi below a path."""
    with Wire(chi.port) as client:  # http.client would make one / of those at the beginning
        page = Page(client.ask(f"GET {path}", f"User-Agent: {MOZILLA}").body.decode())
    (link,) = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    for above in ("", "/miner", "/@rig1"):
        levels = f"{above}{path}".split("/")[:-1]  # each / begins one, also beside another (WHATWG, URL)
        *up, name = link.split("/")
        assert set(up) <= {".."}
        there = "/".join([*levels[: len(levels) - len(up)], name])
        assert there == f"{above}/dashboard"


ACCESS: list[tuple[dict[str, bool], bool, dict[str, Any]]] = [
    ({}, False, {"mode": "open", "private": False}),
    ({}, True, {"mode": "token", "private": False}),
    ({"private": True}, True, {"mode": "token", "private": True}),
    ({"read_only": True}, False, {"mode": "read-only", "private": False}),
    ({"read_only": True, "private": True}, True, {"mode": "read-only", "private": True}),
]


@pytest.mark.parametrize(("options", "token", "told"), ACCESS)
def test_access_is_told(
    serve: Callable[..., Chi],
    miner: ScriptedMiner,
    token_file: str,
    options: dict[str, bool],
    token: bool,
    told: dict[str, Any],
) -> None:
    """/access.json tells what clients may do, by the settings, and the miner is not asked."""
    chi = serve(miner.port, **options, **({"token_file": token_file} if token else {}))
    response = chi.get("/access.json", Authorization=f"Bearer {TOKEN}")
    assert (response.status, response.json) == (200, told)
    assert miner.requests == []


def test_confirmed_command_reaches_the_miner(chi: Chi, miner: ScriptedMiner) -> None:
    """What the page's button sends is the command that the page has shown."""
    path = "/addpool/stratum+tcp://pool.example.com:3333,user,x"
    headers = {
        "User_Agent": MOZILLA,
        "Origin": f"http://127.0.0.1:{chi.port}",
        "Referer": f"http://127.0.0.1:{chi.port}{path}",
        "Sec_Fetch_Site": "same-origin",
        "Content_Type": "application/x-www-form-urlencoded",
    }
    assert chi.request(path, "POST", b"", **headers).status == 200
    assert asked_for(miner.requests) == [
        {"command": "addpool", "parameter": "stratum+tcp://pool.example.com:3333,user,x"}
    ]


SAME_SITE = [  # Host, Origin
    ("127.0.0.1:8080", "http://127.0.0.1:8080"),
    ("127.0.0.1", "http://127.0.0.1"),
    ("127.0.0.1:80", "http://127.0.0.1"),
    ("127.0.0.1", "http://127.0.0.1:80"),
    ("miner.lan", "https://miner.lan"),  # behind a proxy that does TLS
    ("miner.lan:443", "https://miner.lan"),
    ("Miner.lan:8080", "http://miner.LAN:8080"),
    ("[::1]:8080", "http://[::1]:8080"),
    ("[::1]", "http://[::1]"),
]
CROSS_SITE = [
    ("127.0.0.1:8080", "http://evil.example"),
    ("127.0.0.1:8080", "null"),
    ("127.0.0.1:8080", "http://127.0.0.1"),
    ("127.0.0.1:8080", "http://127.0.0.1:80"),
    ("127.0.0.1:8080", "http://127.0.0.1:80800"),
    ("127.0.0.1:8080", "http://127.0.0.1:8080.evil.example"),
    ("127.0.0.1:8080", "http://evil.example/http://127.0.0.1:8080"),
    ("127.0.0.1:8080", "http://evil.example#127.0.0.1:8080"),
    ("127.0.0.1:8080", "http://evil.example?127.0.0.1:8080"),
    ("127.0.0.1:8080", "http://evil.example://127.0.0.1:8080"),
    ("127.0.0.1:8080", "http://user@127.0.0.1:8080"),
    ("127.0.0.1:8080", "127.0.0.1:8080"),
    ("127.0.0.1:8080", "//127.0.0.1:8080"),
    ("127.0.0.1:8080", "file://"),
    ("127.0.0.1:8080", "http://127.0.0.1:8080, http://evil.example"),
    ("127.0.0.1:8080", "http://evil.example, http://127.0.0.1:8080"),
    ("127.0.0.1:8080", "http://127.0.0.1:8080 http://evil.example"),
    ("127.0.0.1", "http://127.0.0.1:443"),
    ("127.0.0.1", "https://127.0.0.1:80"),
    ("127.0.0.1:443", "http://127.0.0.1"),
    ("miner.lan", "http://x.miner.lan"),
    ("miner.lan", "http://miner.lan.evil.example"),
    ("miner.lan", "http://miner.lan."),
    ("localhost", "http://127.0.0.1"),
    ("miner", "chrome-extension://miner2"),
    ("127.0.0.1:8080", "http://"),
    ("127.0.0.1:8080", "\xff"),
]


@pytest.mark.parametrize(("host", "origin"), SAME_SITE)
def test_post_of_the_same_site(chi: Chi, miner: ScriptedMiner, host: str, origin: str) -> None:
    """A POST whose Origin is chi as the browser knows it passes; also default ports, and TLS in a proxy."""
    assert ask(chi, "POST /quit", f"Origin: {origin}", host=host).status == 200
    assert ask(chi, "POST /quit", f"Referer: {origin}/quit?x#y", host=host).status == 200
    assert miner.commands == ["quit", "quit"]


@pytest.mark.parametrize(("host", "origin"), CROSS_SITE)
def test_post_of_another_site(chi: Chi, miner: ScriptedMiner, host: str, origin: str) -> None:
    """A POST with any other Origin is refused, for reports as well, and the miner hears nothing."""
    for start, body in (("POST /quit", b""), ("POST /summary", b""), ("POST /", b'{"command":"quit"}')):
        response = ask(chi, start, f"Origin: {origin}", host=host, body=body)
        assert response.status == 403
        assert (
            response.message
            == f"The request was sent by a page of {json.dumps(origin)}, not of {json.dumps(host)}."
        )
    assert miner.requests == []


@pytest.mark.parametrize(
    "fields",
    [
        ["Referer: http://evil.example/"],
        ["Referer: http://evil.example/?http://127.0.0.1"],
        ["Referer: about:blank"],
        ["Origin: ", "Referer: http://evil.example/"],
        ["Origin: http://evil.example", "Referer: http://127.0.0.1/"],
        ["Sec-Fetch-Site: cross-site"],
        ["Sec-Fetch-Site: same-site"],
        ["Sec-Fetch-Site: Same-Origin"],
        ["Sec-Fetch-Site: "],
        ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"],
        ["Origin: http://127.0.0.1", "Sec-Fetch-Site: cross-site"],
        ["X-Forwarded-Host: evil.example", "Origin: http://evil.example"],
        ["X-Forwarded-Proto: https", "Origin: http://evil.example"],
    ],
    ids=str,
)
def test_other_signs_of_another_site(chi: Chi, miner: ScriptedMiner, fields: list[str]) -> None:
    """Where Origin says nothing, Referer and Sec-Fetch-Site do; neither can outweigh the others."""
    for start in ("POST /quit", "POST /summary"):
        response = ask(chi, start, *fields, host="127.0.0.1")
        assert response.status == 403
        assert response.message.startswith("The request was sent by a page of ")
    assert miner.requests == []


@pytest.mark.parametrize("fields", [[], ["User-Agent: curl/8"], ["Sec-Fetch-Site: none"]])
def test_post_of_a_program(chi: Chi, miner: ScriptedMiner, fields: list[str]) -> None:
    """A POST with no sign of another site is taken."""
    assert ask(chi, "POST /quit", *fields).status == 200
    assert miner.commands == ["quit"]


def test_browser_with_the_token_confirms_too(locked: Chi, miner: ScriptedMiner) -> None:
    """Credentials that a browser has cached and sends for any page do not stand for its user's will."""
    authorization = f"Authorization: {basic(f'x:{TOKEN}')}"
    response = ask(locked, "GET /quit", authorization, f"User-Agent: {MOZILLA}")
    assert response.status == 403
    assert b"<form" in response.body
    response = ask(locked, "POST /quit", authorization, "Origin: http://evil.example")
    assert response.status == 403
    assert ask(locked, "HEAD /quit", authorization, f"User-Agent: {MOZILLA}").status == 403
    assert miner.requests == []


def test_browser_gets_no_page_where_the_command_is_denied(
    serve: Callable[..., Chi], miner: ScriptedMiner, locked: Chi
) -> None:
    """The page is only for what its button would do: not with --read-only, not before the token."""
    response = serve(miner.port, read_only=True).get("/quit", User_Agent=MOZILLA)
    assert_denied(miner, response, 403, ONLY_REPORTS.format('"quit"'))
    assert_denied(miner, locked.get("/quit", User_Agent=MOZILLA), 401, NEEDS_TOKEN)


# --- Other origins --------------------------------------------------------------------------------

GRAFANA = "http://grafana.lan:3000"


@pytest.fixture
def shared(serve: Callable[..., Chi], miner: ScriptedMiner) -> Chi:
    """Chi whose reports two other origins may read."""
    return serve(miner.port, cors_origin=(GRAFANA, "https://b.lan"))


@pytest.mark.parametrize(
    "path", ["/", "/summary", "/summary?pretty", "/healthz", "/readyz", "/gpu/%zz", "/gpu/%ff", "/quit"]
)
def test_given_origin_reads_by_get(shared: Chi, path: str) -> None:
    """A given origin may read what GET brings: reports, chi's own, and errors."""
    for origin in (GRAFANA, "https://b.lan"):
        response = shared.get(path, Origin=origin)
        assert response.headers.get_all("Access-Control-Allow-Origin") == [origin]
        assert "Origin" in response.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in response.headers


def test_given_origin_reads_errors(shared: Chi, miner: ScriptedMiner) -> None:
    """A page can tell why it got nothing: Host, and a miner that is down."""
    miner.close()
    response = shared.get("/summary", Origin=GRAFANA)
    assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (502, GRAFANA)
    response = ask(shared, "GET /summary", f"Origin: {GRAFANA}", host="evil.example")
    assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (421, GRAFANA)


@pytest.mark.parametrize(
    "origin",
    [
        "http://grafana.lan",
        "https://grafana.lan:3000",
        "http://grafana.lan:30000",
        "http://x.grafana.lan:3000",
        "http://grafana.lan:3000.evil.example",
        "http://evil.example",
        "null",
        "*",
        "",
        f"{GRAFANA}, http://evil.example",
        f"{GRAFANA}/",
    ],
)
def test_other_origin_reads_nothing(shared: Chi, chi: Chi, origin: str) -> None:
    """Any other origin, and any at all without the option, is given no leave to read."""
    for server in (shared, chi):
        for path in ("/summary", "/gpu/%zz", "/healthz"):
            response = server.get(path, Origin=origin)
            assert not any(name.lower().startswith("access-control") for name in response.headers)


def test_given_origin_cannot_post(shared: Chi, miner: ScriptedMiner) -> None:
    """By POST a given origin is another site, and reads nothing; by OPTIONS it gets no leave to try."""
    for start, body in (("POST /quit", b""), ("POST /summary", b""), ("POST /", b'{"command":"quit"}')):
        response = ask(shared, start, f"Origin: {GRAFANA}", body=body)
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers
    for method in ("POST", "GET", "PUT"):
        response = ask(
            shared, "OPTIONS /quit", f"Origin: {GRAFANA}", f"Access-Control-Request-Method: {method}"
        )
        assert response.status == 405
        assert not any(name.lower().startswith("access-control") for name in response.headers)
    assert miner.requests == []


def test_given_origin_may_ask_from_the_internet(shared: Chi) -> None:
    """Where a browser asks whether a public page may read from a private network, a given origin may."""
    fields = ("Access-Control-Request-Method: GET", "Access-Control-Request-Private-Network: true")
    for origin, leave in ((GRAFANA, "true"), ("https://evil.example", None)):
        response = ask(shared, "OPTIONS /summary", f"Origin: {origin}", *fields)
        assert response.headers["Access-Control-Allow-Private-Network"] == leave


def test_given_origin_cannot_run_commands(shared: Chi, miner: ScriptedMiner) -> None:
    """By GET a given origin gets the confirmation page for a privileged command, as any page does."""
    response = shared.get("/quit", Origin=GRAFANA)
    assert response.status == 403
    assert response.headers["Content-Type"].startswith("text/html")
    assert miner.requests == []


def test_origin_is_compared_without_case(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """The option may be written in capitals; browsers send small letters."""
    arguments = cli.make_parser().parse_args(["--cors-origin", "http://Grafana.LAN:3000"])
    chi = serve(miner.port, cors_origin=cli.read_settings(arguments).cors_origin)
    assert chi.get("/summary", Origin=GRAFANA).headers["Access-Control-Allow-Origin"] == GRAFANA


@pytest.mark.parametrize(
    ("given", "sent"), [("http://a.lan:80", "http://a.lan"), ("https://a.lan:443", "https://a.lan")]
)
def test_origin_with_its_default_port(
    serve: Callable[..., Chi], miner: ScriptedMiner, given: str, sent: str
) -> None:
    """An origin given with its scheme's default port is the one that browsers send without it."""
    arguments = cli.make_parser().parse_args(["--cors-origin", given])
    chi = serve(miner.port, cors_origin=cli.read_settings(arguments).cors_origin)
    assert chi.get("/summary", Origin=sent).headers["Access-Control-Allow-Origin"] == sent


# --- Verdicts that are remembered -----------------------------------------------------------------


def test_remembered_request_is_itself_alone(
    serve: Callable[..., Chi], miner: ScriptedMiner, token_file: str
) -> None:
    """What was once judged is served again for the same bytes only: not with less, not with more."""
    chi = serve(miner.port, token_file=token_file, private=True)
    good = f"GET /summary HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    others = {
        good.replace(b"Bearer c", b"Bearer d"): 401,
        good.replace(f"Authorization: Bearer {TOKEN}\r\n".encode(), b""): 401,
        good.replace(b"Host: localhost", b"Host: evil.example"): 421,
        good.replace(b"\r\n\r\n", b"\r\nHost: evil.example\r\n\r\n"): 421,
        good.replace(b"\r\n\r\n", b"\r\nAuthorization: x\r\n\r\n"): 401,
        good.replace(b"GET ", b"PUT "): 405,
        good.replace(b"/summary", b"/summary%"): 400,
    }
    with Wire(chi.port) as wire:
        for _ in range(5):
            wire.send(good)
            assert wire.read().status == 200
    asked = len(miner.requests)
    for data, status in others.items():
        for before in (b"", good):  # alone, and right behind the remembered one
            with Wire(chi.port) as wire:
                wire.send(before + data)
                if before:
                    assert wire.read().status == 200
                    asked += 1
                assert wire.read().status == status
    assert len(miner.requests) == asked


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 20, -3, -2, -1])
def test_remembered_request_in_pieces(serve: Callable[..., Chi], miner: ScriptedMiner, cut: int) -> None:
    """A remembered request's bytes are no request where they are part of another one."""
    chi = serve(miner.port, read_only=True)
    good = b"GET /summary HTTP/1.1\r\nHost: localhost\r\n\r\n"
    quit_ = b"POST /quit HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(good)
    with Wire(chi.port) as wire:
        for _ in range(3):
            wire.send(good)
            assert wire.read().status == 200
        wire.send(quit_)
        time.sleep(0.02)
        wire.send(good)  # the body
        assert wire.read().status == 400
        wire.send(good[:cut])
        time.sleep(0.02)
        wire.send(good[cut:] + quit_[: quit_.index(b"Content")] + b"\r\n")
        assert wire.read().status == 200
        assert wire.read().status == 403
    assert miner.commands == ["summary"] * 4


def test_privileged_request_is_never_remembered(locked: Chi, miner: ScriptedMiner) -> None:
    """What needs the token is judged each time, however often it was let through."""
    with Wire(locked.port) as wire:
        for _ in range(3):
            assert wire.ask("GET /quit", f"Authorization: Bearer {TOKEN}").status == 200
            assert wire.ask("GET /quit", "Authorization: Bearer wrong").status == 401
            assert wire.ask("GET /quit").status == 401
    assert miner.commands == ["quit"] * 3
    assert locked.miner._judged == {}


def test_remembered_request_keeps_its_headers(shared: Chi) -> None:
    """A remembered request with an Origin goes on being given its leave, and others go on without."""
    for _ in range(4):
        assert shared.get("/summary", Origin=GRAFANA).headers["Access-Control-Allow-Origin"] == GRAFANA
        assert "Access-Control-Allow-Origin" not in shared.get("/summary").headers
        assert "Access-Control-Allow-Origin" not in shared.get("/summary", Origin="http://evil.lan").headers


def test_memory_of_requests_is_bounded(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """A client cannot fill chi's memory with requests to remember."""
    chi = serve(miner.port, read_only=True)
    with Battery(chi.port) as battery:
        many = [attack("GET", f"/summary/{number}", 200) for number in range(2 * MAX_JUDGED)]
        many += [attack("GET", "/summary", 200, fields=[f"X: {'x' * 2500}"])]
        assert all(answer.status == 200 for _, answer in battery.fire(many, 8))
    judged = chi.miner._judged
    assert len(judged) == MAX_JUDGED
    assert max(map(len, judged)) <= MAX_JUDGED_SIZE


# --- The proof ------------------------------------------------------------------------------------


def fire(chi: Chi, miner: ScriptedMiner, attacks: list[Attack]) -> None:
    """Check that each attack gets its own answer, and that the miner hears nothing of any.

    `make test` tries some of them, the same each time, `make properties` all.
    """
    if FEW and len(attacks) > FEW:
        attacks = random.Random(FEW).sample(attacks, FEW)
    wrong = []
    with Battery(chi.port) as battery:
        for each, got in battery.fire(attacks):
            right = got.status == each.status
            if right and each.message and not each.head:
                right = got.message == each.message
            if not right:
                wrong.append((each.data[:200], each.status, each.message[:80], got.status, got.body[:200]))
    assert wrong == [], f"{len(wrong)} of {len(attacks)}, such as {wrong[:3]}"
    assert miner.requests == []
    assert miner.connections == 0
    print(f"{len(attacks)} attacks, {battery.connections} connections")


@pytest.fixture
def read_only(serve: Callable[..., Chi], miner: ScriptedMiner, no_errors: None) -> Chi:
    """Chi that serves reports only, and must not log a fault meanwhile."""
    return serve(miner.port, read_only=True)


FEW = 0 if os.environ.get("CHI_EXAMPLES") == "many" else 4000
TRIED = ("GET", "POST", "GET", "POST", "HEAD", "GET", "POST", "OPTIONS", "BREW")
JOINED = [join(command) for command in PRIVILEGED for join in POSITIONS.values()]


@pytest.mark.thorough
def test_read_only_holds_for_every_command_by_every_method(read_only: Chi, miner: ScriptedMiner) -> None:
    """Every privileged command of every firmware, alone and joined, is denied by every method."""
    fire(
        read_only,
        miner,
        [attack(method, f"/{command}", command) for command in JOINED for method in METHODS],
    )


@pytest.mark.thorough
def test_read_only_holds_for_every_target(read_only: Chi, miner: ScriptedMiner) -> None:
    """However a path is written, it is denied as what would be sent: every command, joined in every way."""
    attacks = []
    for (which, command), (how, target) in itertools.product(enumerate(JOINED), enumerate(TARGETS.values())):
        judged = target.judged if isinstance(target.judged, int) else target.judged(command)
        method = TRIED[(which + how) % len(TRIED)]
        if isinstance(judged, int) and method not in TAKEN:
            method = "GET"
        attacks.append(attack(method, target.make(command), judged))
    fire(read_only, miner, attacks)


@pytest.mark.thorough
def test_read_only_holds_for_every_body(read_only: Chi, miner: ScriptedMiner) -> None:
    """However a body is written, it is denied as what would be sent."""
    attacks = []
    for command, body in itertools.product(JOINED, BODIES.values()):
        judged = body.judged if isinstance(body.judged, int) else body.judged(command)
        attacks.append(attack("POST", "/", judged, body=body.make(command)))
    fire(read_only, miner, attacks)


@pytest.mark.thorough
def test_read_only_holds_for_every_header(read_only: Chi, miner: ScriptedMiner) -> None:
    """No header field makes another request of a request: each command with each, joined by turns."""
    attacks = []
    for (which, command), (how, field) in itertools.product(enumerate(PRIVILEGED), enumerate(FIELDS.items())):
        joined = list(POSITIONS.values())[(which + how) % 4](command)
        for method in (*TAKEN, TRIED[(which + how) % len(TRIED)]):
            attacks.append(attack(method, f"/{joined}", joined, fields=[": ".join(field)]))
    fire(read_only, miner, attacks)


@pytest.mark.thorough
def test_token_holds_for_every_command(locked: Chi, miner: ScriptedMiner, no_errors: None) -> None:
    """Without the token every privileged command is refused with 401: by path and body, joined and hidden."""

    def needs_token(judged: str) -> str:
        return NEEDS_TOKEN

    attacks = []
    for command in JOINED:
        for method in METHODS:
            attacks.append(attack(method, f"/{command}", command, needs_token, 401))
        for fields in (["Authorization: Bearer 0123456789abcdef"], ["X-Forwarded-For: 127.0.0.1"]):
            attacks.append(attack("GET", f"/{command}", command, needs_token, 401, fields))
            attacks.append(attack("POST", "/", command, needs_token, 401, fields, text({"command": command})))
    for command, body in itertools.product(PRIVILEGED, BODIES.values()):
        judged = body.judged if isinstance(body.judged, int) else body.judged(command)
        attacks.append(attack("POST", "/", judged, needs_token, 401, body=body.make(command)))
    fire(locked, miner, attacks)


@pytest.mark.thorough
def test_browsers_hold_for_every_command(chi: Chi, miner: ScriptedMiner, no_errors: None) -> None:
    """In open mode no page of another site runs a command: not by GET, not by POST, in whatever form."""

    def cross_site(judged: str) -> str:
        return 'The request was sent by a page of "http://evil.example", not of "127.0.0.1".'

    attacks = []
    evil = ["Origin: http://evil.example", f"User-Agent: {MOZILLA}"]
    plain = "Content-Type: text/plain"
    for command in JOINED:
        pages = [attack(method, f"/{command}", command, fields=evil) for method in ("GET", "HEAD")]
        attacks += [page._replace(message="") for page in pages]
        attacks.append(attack("POST", f"/{command}", command, cross_site, 403, evil))
        body = text({"command": command})
        attacks.append(attack("POST", "/", command, cross_site, 403, [*evil, plain], body))
        for fields in (
            [f"User-Agent: {MOZILLA}"],
            ["Referer: http://evil.example/"],
            ["Sec-Fetch-Mode: no-cors"],
        ):
            attacks.append(attack("GET", f"/{command}", command, fields=fields)._replace(message=""))
    fire(chi, miner, attacks)


LENGTHS = {  # a body whose length is told wrongly; what follows it is a request of its own
    "shorter": "{post}Content-Length: 5\r\n\r\n{body}",
    "longer": "{post}Content-Length: 5000\r\n\r\n{body}",
    "none": "{post}\r\n{body}",
    "zero": "{post}Content-Length: 0\r\n\r\n{body}",
    "two": "{post}Content-Length: {length}\r\nContent-Length: 5\r\n\r\n{body}",
    "signed": "{post}Content-Length: +{length}\r\n\r\n{body}",
    "negative": "{post}Content-Length: -1\r\n\r\n{body}",
    "hexadecimal": "{post}Content-Length: 0x20\r\n\r\n{body}",
    "huge": "{post}Content-Length: 99999999999999999999\r\n\r\n{body}",
    "spaced name": "{post}Content-Length : {length}\r\n\r\n{body}",
    "underscore": "{post}Content_Length: {length}\r\n\r\n{body}",
    "folded": "{post}Content-Length:\r\n {length}\r\n\r\n{body}",
    "report before": "GET /summary HTTP/1.1\r\nHost: evil.example\r\nContent-Length: {length}\r\n\r\n{body}",
    "request as a body": "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nxxxx{get}",
    "request after none": "PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n{get}",
    "bare line ends": "GET /{command} HTTP/1.1\nHost: localhost\n\n",
    "carriage returns": "GET /{command} HTTP/1.1\rHost: localhost\r\r",
    "empty lines before": "\r\n\r\n\r\n{get}",
    "no version": "GET /{command}\r\n\r\n",
    "version 0.9": "GET /{command} HTTP/0.9\r\n\r\n",
    "version 1.0": "GET /{command} HTTP/1.0\r\n\r\n",
    "version 2.0": "GET /{command} HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{get}",
    "small letters": "get /{command} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "spaces": "GET  /{command}  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tabs": "GET\t/{command}\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
    "space in the path": "GET /{command} /summary HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tab in the path": "GET /{command}\t/summary HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "line end in the path": "GET /{command}\n/summary HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bracket": "GET http://[/{command} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "continue": "{post}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{body}",
    "chunked": "{post}Transfer-Encoding: chunked\r\n\r\n{chunks}",
    "chunked, then another": "{post}Transfer-Encoding: chunked\r\n\r\n{chunks}{get}",
    "chunked and a length": "{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
    "a length and chunked": "{post}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{body}",
    "chunked in capitals": "{post}Transfer-Encoding: CHUNKED\r\n\r\n{chunks}",
    "chunked twice": "{post}Transfer-Encoding: chunked, chunked\r\n\r\n{chunks}",
    "chunked and identity": "{post}Transfer-Encoding: chunked, identity\r\n\r\n{chunks}",
    "chunked, odd space": "{post}Transfer-Encoding: \x0bchunked\r\n\r\n{chunks}",
    "chunked by HTTP/1.0": "POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
    "chunks with extensions": "{post}Transfer-Encoding: chunked\r\n\r\n"
    '{size};command="summary"\r\n{body}\r\n0\r\n\r\n',
    "chunks with trailers": "{post}Transfer-Encoding: chunked\r\n\r\n"
    "{size}\r\n{body}\r\n0\r\nHost: localhost\r\nX-HTTP-Method-Override: GET\r\n\r\n",
    "chunks of a wrong size": "{post}Transfer-Encoding: chunked\r\n\r\n5\r\n{body}\r\n0\r\n\r\n",
    "chunks of a negative size": "{post}Transfer-Encoding: chunked\r\n\r\n-{size}\r\n{body}\r\n0\r\n\r\n",
    "chunks without an end": "{post}Transfer-Encoding: chunked\r\n\r\n{size}\r\n{body}\r\n",
    "chunks behind a path": "POST /{command} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
    "text protocol": "{command}|0",
    "JSON of the API": "{body}",
    "JSON of the API, and lines": "{body}\r\n\r\n",
}


UNANSWERED = {  # no whole request, so that the end of the stream ends it
    "longer",
    "huge",
    "chunks without an end",
    "chunks of a wrong size",
    "chunked, odd space",
    "a length and chunked",
}
DENIALS = {400, 403, 405, 413, 421, 501}


def mismatched(command: str, pattern: str) -> bytes:
    """One of LENGTHS."""
    body = text({"command": command})
    half = len(body) // 2
    chunks = f"{half:x}\r\n{body[:half]}\r\n{len(body) - half:X}\r\n{body[half:]}\r\n0\r\n\r\n"
    get = f"GET /{command} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    post = "POST / HTTP/1.1\r\nHost: localhost\r\n"
    values = {"post": post, "get": get, "body": body, "chunks": chunks, "command": command}
    for name, value in {**values, "length": len(body), "size": f"{len(body):x}"}.items():
        pattern = pattern.replace(f"{{{name}}}", str(value))
    return pattern.encode("latin-1")


def test_read_only_holds_whatever_length_is_told(read_only: Chi, miner: ScriptedMiner) -> None:
    """A body of another length than told, chunked or cut, and a broken head: every answer is a denial."""
    count, wrong = 0, []
    for command, (name, pattern) in itertools.product(
        JOINED[::3], LENGTHS.items()
    ):  # every command, every joint
        count += 1
        received = send_and_read(read_only.port, mismatched(command, pattern))
        statuses = [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", received, re.MULTILINE)]
        denied = all(status == 100 or status in DENIALS for status in statuses)
        if not denied or miner.requests or (not statuses and name not in UNANSWERED):
            wrong.append((name, command, statuses, miner.requests[:]))
            miner.requests.clear()
    assert wrong == [], f"{len(wrong)} of {count}, such as {wrong[:3]}"
    print(f"{count} attacks, one connection each")


def test_what_only_looks_privileged_is_sent_as_the_report_it_is(read_only: Chi, miner: ScriptedMiner) -> None:
    """A command's name where no command is goes out as the report that was judged, and nothing more."""
    wanted, attacks = [], []
    for command in PRIVILEGED:
        for target, parameter in (
            (f"/summary/{command}", command),
            (f"/summary/../{command}", f"../{command}"),
            (f"/summary//{command}+summary", f"/{command}+summary"),
            (f"/summary%2f{command}", command),
            (f"/summary?{command}", None),
            (f"/summary#/{command}", None),
            (f"//summary#/{command}", None),
            (f"http://localhost/summary?/{command}", None),
            (f"http://localhost/summary/{command}", command),
        ):
            attacks.append(attack("GET", target, 200))
            wanted.append({"command": "summary", **({} if parameter is None else {"parameter": parameter})})
        for body in (
            f'{{"command":"{command}","command":"summary"}}',
            f'{{"cmd\\u006fand":"{command}","command":"{command}","command":"summary"}}'.replace(
                "cmd\\u006fand", "command"
            ),
        ):
            attacks.append(attack("POST", "/", 200, body=body))
            wanted.append({"command": "summary"})
    with Battery(read_only.port) as battery:
        for each, got in battery.fire(attacks, at_once=1):
            assert got.status == 200, each.data
    assert asked_for(miner.requests) == wanted
    assert {member for request in asked_for(miner.requests) for member in request["command"].split("+")} == {
        "summary"
    }


# --- Properties -----------------------------------------------------------------------------------

NAMES = [*sorted(REPORTS)[:12], *PRIVILEGED[::7], "quit", "", "healthz", "readyz"]
SEPARATORS = [
    "+",
    "/",
    "//",
    "?",
    "#",
    ";",
    "|",
    ",",
    "%2f",
    "%2B",
    "%00",
    "%20",
    "%25",
    ".",
    "..",
    "\\",
    "@",
    "%",
    "%c0%af",
    "%e2%82%ac",
]
PIECES = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(SEPARATORS),
    st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=4),
)
TARGET = st.tuples(
    st.sampled_from(["/", "//", "", "http://localhost/", "http://evil.example/", "*"]),
    st.lists(PIECES, max_size=6),
).map(lambda parts: parts[0] + "".join(parts[1]))
COMMAND = st.lists(st.sampled_from([*NAMES, "summary", "devs", "pools"]), min_size=1, max_size=3).map(
    "+".join
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), COMMAND
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["command", "parameter", "x"]), inner, max_size=2)
    ),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["command", "command", "parameter", "new_api", "cmd", "enc", "token", "Command", "command\0"]
)
MEMBERS = st.lists(st.tuples(KEYS, st.one_of(COMMAND, VALUES)), max_size=4)
BODY = st.one_of(
    MEMBERS.map(
        lambda pairs: "{{{}}}".format(",".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in pairs))
    ).map(str.encode),
    st.tuples(MEMBERS, st.binary(max_size=6)).map(lambda both: text(dict(both[0])).encode() + both[1]),
    st.binary(max_size=40),
    st.just(b""),
)
HEADER = st.one_of(
    st.sampled_from(sorted(FIELDS.items())),
    st.tuples(
        st.sampled_from(
            ["Origin", "Referer", "User-Agent", "Authorization", "Content-Type", "Sec-Fetch-Site", "X"]
        ),
        st.one_of(
            st.sampled_from(["http://127.0.0.1", "null", MOZILLA, "same-origin", "Bearer x"]),
            st.text(
                st.characters(min_codepoint=32, max_codepoint=255, blacklist_characters="\x7f"), max_size=10
            ),
        ),
    ),
)


def assert_only_reports(requests: list[bytes]) -> None:
    """Check what a miner was sent, without any help of chi's."""
    for members in asked_for(requests):
        assert set(members) <= {"command", "parameter", "new_api"}
        assert isinstance(members["command"], str)
        assert REPORTS.issuperset(members["command"].split("+"))
        assert isinstance(members.get("parameter", ""), (str, int, float))
        assert isinstance(members.get("new_api", True), bool)


@pytest.fixture(scope="module")
def playground() -> Iterator[tuple[Chi, ScriptedMiner]]:
    """Chi that serves reports only, and its miner, for as many requests as one likes."""
    with ScriptedMiner() as scripted:
        served = Chi(scripted.port, read_only=True)
        yield served, scripted
        served.stop()


def send_and_read(port: int, data: bytes) -> bytes:
    """Send bytes, end the stream, and return all that comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        received = b""
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                received += chunk
        except OSError:  # it was told and closed already
            pass
    return received


@given(
    method=st.sampled_from(["GET", "GET", "POST", "POST", "HEAD", "PUT", "GETPOST"]),
    target=TARGET,
    fields=st.lists(HEADER, max_size=3),
    body=BODY,
    chunked=st.booleans(),
)
def test_read_only_sends_reports_alone(
    playground: tuple[Chi, ScriptedMiner],
    method: str,
    target: str,
    fields: list[tuple[str, str]],
    body: bytes,
    chunked: bool,
) -> None:
    """Whatever path, fields and body a request has, the miner is sent reports or nothing."""
    chi, miner = playground
    miner.requests.clear()
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    if chunked:
        body = b"%x\r\n%s\r\n" % (len(body), body) * bool(body) + b"0\r\n\r\n"
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: 127.0.0.1",
        *(": ".join(field) for field in fields),
        length,
    ]
    received = send_and_read(chi.port, "\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    assert_only_reports(miner.requests)
    assert received.startswith(b"HTTP/1."), received
    assert not received.startswith(b"HTTP/1.1 500"), received


@given(body=BODY)
def test_read_only_sends_reports_alone_of_a_body(playground: tuple[Chi, ScriptedMiner], body: bytes) -> None:
    """Whatever a body says, the miner is sent reports or nothing."""
    chi, miner = playground
    miner.requests.clear()
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    received = send_and_read(chi.port, head.encode() + body)
    assert_only_reports(miner.requests)
    assert received[9:12] in (b"200", b"400", b"403")
    assert (received[9:12] == b"200") == (len(miner.requests) == 1)


@given(
    data=st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(
                [
                    b"GET /summary HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    b"GET /quit HTTP/1.1\r\n\r\n",
                    b"\r\n",
                    b"\r\n\r\n",
                    b"\n",
                    b"\0",
                    b"POST / HTTP/1.1\r\n",
                    b"Host: localhost\r\n",
                    b"Content-Length: 18\r\n",
                    b"Transfer-Encoding: chunked\r\n",
                    b'{"command":"quit"}',
                    b"12\r\n",
                    b"0\r\n\r\n",
                    b" ",
                    b":",
                    b"HTTP/1.0",
                    b"GET ",
                    b"/quit",
                    b"Expect: 100-continue\r\n",
                ]
            ),
        ),
        max_size=10,
    )
)
def test_read_only_sends_reports_alone_of_any_bytes(
    playground: tuple[Chi, ScriptedMiner], data: list[bytes]
) -> None:
    """Whatever bytes a client sends, the miner is sent reports or nothing."""
    chi, miner = playground
    miner.requests.clear()
    send_and_read(chi.port, b"".join(data))
    assert_only_reports(miner.requests)


# --- Secrets --------------------------------------------------------------------------------------

SECRETS = {
    "url": "stratum+tcp://hidden-pool.example:3333",
    "user": "hidden-wallet.rig1",
    "password": "hidden-password",
    "token": TOKEN,
}
HIDDEN = ("hidden", TOKEN, TOKEN[:8], base64.b64encode(f"x:{TOKEN}".encode()).decode())
POOL = ",".join((SECRETS["url"], SECRETS["user"], SECRETS["password"]))
POOL_QUOTED = "".join(f"%{byte:02x}" for byte in POOL.encode())
POOL_BODY = text({"command": "addpool", "parameter": POOL, "token": SECRETS["password"]}).encode()
TALES = [  # everything in which a client may have put a secret
    (f"GET /addpool/{POOL}", [], b""),
    (f"POST /addpool/{POOL}", [], b""),
    (f"HEAD /addpool/{POOL}", [], b""),
    (f"PUT /addpool/{POOL}", [], b""),
    (f"GET /addpool/{POOL_QUOTED}", [], b""),
    (f"GET /addpool%2f{POOL_QUOTED}", [], b""),
    (f"GET //addpool/{POOL}", [], b""),
    (f"GET ///{POOL}", [], b""),
    (f"GET /addpool/{POOL}", [f"User-Agent: {MOZILLA}"], b""),
    (f"GET /addpool|{POOL}", [], b""),
    (f"GET /addpool,{POOL}", [], b""),
    (f"GET /addpool%7C{POOL_QUOTED}", [], b""),
    (f"GET /addpool%20{POOL_QUOTED}", [], b""),
    (f"GET /addpool:{POOL}", [], b""),
    (f"GET /addpool;{POOL}", [], b""),
    (f"GET /addpool={POOL}", [], b""),
    (f"GET /addpool?parameter={POOL}", [], b""),
    (f"GET /addpool#{POOL}", [], b""),
    (f"GET /summary+addpool/{POOL}", [], b""),
    (f"GET /ADDPOOL/{POOL}", [], b""),
    (f"GET /addpool/{POOL}%", [], b""),
    (f"GET /addpool/{POOL}%ff", [], b""),
    (f"GET /addpool/{POOL}\xff", [], b""),
    (f"GET /addpool/{POOL} {POOL}", [], b""),
    (f"GET addpool/{POOL}", [], b""),
    (f"GET http://127.0.0.1/addpool/{POOL}", [], b""),
    (f"GET http://[{SECRETS['user']}]/addpool/{POOL}", [], b""),
    (f"GET http://{SECRETS['user']}:{SECRETS['password']}@evil.example/", [], b""),
    (f"addpool {POOL}", [], b""),
    (f"addpool|{POOL}", [], b""),
    (f"GET /addpool/{POOL}", ["Host: evil.example"], b""),
    (f"GET /addpool/{POOL}", [f"Bad header {POOL}"], b""),
    (f"GET /addpool/{POOL}", [f": {POOL}"], b""),
    (f"GET /addpool/{POOL}", [f"Content-Length: {POOL}"], b""),
    (f"GET /addpool/{POOL}", [f"Transfer-Encoding: {POOL}"], b""),
    (f"GET /addpool/{POOL}", [f"X: {'x' * 40000}"], b""),
    (f"GET /addpool/{POOL}/{'x' * 9000}", [], b""),
    ("POST /", [], POOL_BODY),
    ("POST /", [], POOL_BODY[:-2]),
    ("POST /", [], b"[" + POOL_BODY + b"]"),
    ("POST /", [], POOL_BODY + b"\xff"),
    ("POST /", [], POOL_BODY.replace(b"addpool", POOL.encode())),
    ("POST /", [], f"addpool|{POOL}".encode()),
    ("POST /", [], POOL_BODY + b" " * 70000),
    (f"POST /addpool/{POOL}", [], POOL_BODY),
    (f"POST /?{POOL}", [], POOL_BODY),
    ("POST /", ["Origin: http://hidden.example"], POOL_BODY),
    ("GET /quit", [f"Authorization: Bearer {TOKEN}"], b""),
    ("GET /quit", [f"Authorization: Bearer {TOKEN}x"], b""),
    ("GET /quit", [f"Authorization: {basic(f'x:{TOKEN}')}"], b""),
    ("GET /quit", [f"Authorization: {basic(f'hidden:{TOKEN}y')}"], b""),
    ("GET /quit", ["Authorization: Bearer hidden-token"], b""),
    (f"GET /summary?token={TOKEN}", [], b""),
    ("GET /summary", [f"Cookie: {POOL}"], b""),
    (f"GET /pools/{POOL}", [], b""),
]
FATES: dict[str, Any] = {
    "healthy": [b'{"STATUS":[{"STATUS":"S","Msg":"added hidden-wallet"}],"id":1}\0'],
    "no JSON": [b"hidden-wallet hidden-password"],
    "text": [b"STATUS=E,Msg=hidden-wallet|"],
    "cut": [b'{"POOLS":[{"User":"hidden-wallet"'],
    "closed": [],
    "repaired": [b'{"POOLS":[,{"User":"hidden-wallet\n"}]}\0'],
}


@pytest.mark.parametrize("mode", ["open", "read-only", "token", "private"])
def test_secrets_are_in_no_log(
    chi_server: Callable[..., Process], miner: ScriptedMiner, token_file: str, mode: str
) -> None:
    """No line of the log, at its most talkative, has a pool, user, password, token or parameter in it."""
    arguments = {
        "open": [],
        "read-only": ["--read-only"],
        "token": ["--token-file", token_file],
        "private": ["--token-file", token_file, "--private"],
    }
    process = chi_server(
        "-w",
        "0",
        "--listen",
        "127.0.0.1",
        "-p",
        str(miner.port),
        "--log-level",
        "debug",
        "--access-log",
        "--timeout",
        "2",
        *arguments[mode],
    )
    port, sent = process.port, 0
    for steps in FATES.values():
        miner.script = steps
        for start, fields, body in TALES:
            version = "" if start.startswith("addpool|") else " HTTP/1.1"
            given = [] if "token" not in mode else [f"Authorization: Bearer {TOKEN}"]
            lines = [f"{start}{version}", "Host: 127.0.0.1", *fields, *given, f"Content-Length: {len(body)}"]
            send_and_read(port, "\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            sent += 1
    # A client that goes before its answer, and one whose answer never comes.
    miner.script = [0.2, HEALTHY]
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(f"GET /addpool/{POOL} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert process.get("/healthz").status == 200
    assert process.stop() == 0
    assert process.log.count("INFO 127.0.0.1 ") > sent // 2
    assert [line for line in process.log.splitlines() if any(secret in line for secret in HIDDEN)] == []
    assert "Traceback" not in process.log


@pytest.mark.parametrize("name", ["chi.server.tasks.write_answer", "chi.app.respond", "chi.app.read_path"])
def test_fault_tells_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, chi: Chi, name: str
) -> None:
    """Not even a fault of chi's own puts a parameter into the log."""
    caplog.set_level(logging.DEBUG)

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(name, fail)
    send_and_read(chi.port, f"GET /addpool/{POOL} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    monkeypatch.undo()
    assert chi.get("/healthz").status == 200
    assert "hidden" not in caplog.text
