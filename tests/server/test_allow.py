"""--allow: who may connect at all, by address, before a byte of theirs is read."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chi import cli
from chi.access import Policy
from chi.cli import build
from chi.converters import network
from chi.settings import Settings
from tests.client import Wire
from tests.conftest import Chi, StillClock
from tests.scripted import ScriptedMiner

HOME, STRANGER = "127.0.0.2", "127.0.0.3"


def status_from(source: str, port: int, path: str = "/summary") -> int | None:
    """The status that a client at `source` gets; None if it is hung up on."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (ConnectionError, http.client.BadStatusLine):
        return None
    finally:
        connection.close()


@pytest.fixture
def fenced(serve: Callable[..., Chi], miner: ScriptedMiner) -> Chi:
    """Chi that only HOME may connect to."""
    return serve(miner.port, allow=(network(HOME),))


@pytest.mark.parametrize(
    ("allowed", "source", "may"),
    [
        ("192.168.0.0/16", "192.168.255.255", True),
        ("192.168.0.0/16", "192.169.0.0", False),
        ("192.168.1.7/24", "192.168.1.200", True),  # as `ip address` shows a network
        ("192.168.1.7", "192.168.1.7", True),
        ("192.168.1.7", "192.168.1.8", False),
        ("192.168.0.0/16", "::ffff:192.168.0.1", True),
        ("192.168.0.0/16", "::ffff:c0a9:1", False),
        ("::ffff:192.168.0.0/112", "192.168.0.1", True),
        ("::ffff:192.168.0.0/112", "192.169.0.1", False),
        ("::ffff:192.168.0.1", "::ffff:192.168.0.1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("fe80::1%eth0", "fe80::1%2", True),
        ("fe80::%br-lan/10", "febf::1%3", True),
        ("fe80::/10", "fec0::1", False),
        ("fd00::/8", "fd12:3456::1", True),
        ("::1", "::1", True),
        ("::1", "127.0.0.1", False),
        ("127.0.0.0/8", "::1", False),
        ("0.0.0.0/0", "203.0.113.9", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("::/0", "2001:db8::1", True),
        ("::/0", "::ffff:203.0.113.9", False),  # which is IPv4
        ("192.168.0.0/16", "::192.168.0.1", False),  # IPv4-compatible, 6to4, NAT64: addresses of others
        ("192.168.0.0/16", "2002:c0a8:1::", False),
        ("192.168.0.0/16", "64:ff9b::192.168.0.1", False),
    ],
)
def test_network(allowed: str, source: str, may: bool) -> None:
    """A source is allowed if a network holds it; IPv4 written in IPv6 is IPv4, and zones do not count."""
    assert Policy(Settings(allow=(network(allowed),))).allows(source) is may
    several = (network("198.51.100.1"), network(allowed))
    assert Policy(Settings(allow=several)).allows(source) is may


def test_without_it_anybody_may_connect(chi: Chi) -> None:
    """The default is any source."""
    assert status_from(STRANGER, chi.port) == 200


def test_stranger_is_hung_up_on(fenced: Chi, miner: ScriptedMiner) -> None:
    """Who is not allowed gets not a byte, whatever the path, and the miner hears nothing."""
    for path in ("/summary", "/healthz", "/metrics", "/dashboard"):
        assert status_from(STRANGER, fenced.port, path) is None
    assert miner.requests == []
    assert status_from(HOME, fenced.port) == 200
    assert status_from(HOME, fenced.port, "/healthz") == 200


def test_remembered_request_is_not_answered_to_a_stranger(fenced: Chi, miner: ScriptedMiner) -> None:
    """A request whose bytes were judged for others opens nothing."""
    for _ in range(3):
        assert status_from(HOME, fenced.port) == 200
    assert len(miner.requests) == 3
    assert status_from(STRANGER, fenced.port) is None
    assert len(miner.requests) == 3


def test_header_does_not_make_an_address(fenced: Chi) -> None:
    """The source is the connection's: what a proxy's headers say is not believed."""
    sock = socket.create_connection(("127.0.0.1", fenced.port), 30, (STRANGER, 0))
    with sock:
        fields = f"X-Forwarded-For: {HOME}\r\nForwarded: for={HOME}\r\nX-Real-IP: {HOME}\r\n"
        try:
            sock.sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n".encode())
            assert sock.recv(1) == b""
        except ConnectionError:
            pass


def test_strangers_push_nobody_out(
    fenced: Chi, monkeypatch: pytest.MonkeyPatch, miner: ScriptedMiner
) -> None:
    """Nobody's idle connection is closed to make room for who may not connect."""
    monkeypatch.setattr(fenced.loop.servers[0].adj, "connection_limit", len(fenced.loop.sockets) + 2)
    guest = http.client.HTTPConnection("127.0.0.1", fenced.port, timeout=30, source_address=(HOME, 0))
    guest.request("GET", "/healthz")
    guest.getresponse().read()
    own = guest.sock.getsockname()
    for _ in range(20):
        assert status_from(STRANGER, fenced.port) is None
    guest.request("GET", "/healthz")
    assert guest.getresponse().status == 200
    assert guest.sock.getsockname() == own
    guest.close()


@pytest.fixture
def dual_stack(miner: ScriptedMiner) -> Iterator[int]:
    """The port of a chi on a socket that takes IPv6 and IPv4, as a socket unit of systemd's may be."""
    sock = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    sock.setblocking(False)
    settings = Settings(api_port=miner.port, history=0, allow=(network(HOME), network("::1")))
    loop = build(settings, Policy(settings), [sock])
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    yield sock.getsockname()[1]
    loop.stop()
    thread.join(10)


def test_ipv4_on_a_socket_of_ipv6(dual_stack: int) -> None:
    """A client that the system shows as ::ffff:127.0.0.2 is 127.0.0.2."""
    assert status_from(HOME, dual_stack) == 200
    assert status_from(STRANGER, dual_stack) is None
    with Wire(dual_stack, "::1") as wire:
        assert wire.ask("GET /healthz").status == 200


def test_strangers_are_logged_at_a_bounded_rate(
    serve: Callable[..., Chi], miner: ScriptedMiner, caplog: pytest.LogCaptureFixture
) -> None:
    """However often strangers come, there is one line in a while, with the address and how many they were."""
    caplog.set_level(logging.DEBUG)
    chi = serve(miner.port, clock=StillClock().clock, allow=(network(HOME),))
    for _ in range(30):
        assert status_from(STRANGER, chi.port) is None
    chi.advance(10.1)
    assert status_from(STRANGER, chi.port) is None
    lines = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert lines == [
        f"refused a connection from {STRANGER}, which is in no --allow ({count} since the last such line)"
        for count in (1, 30)
    ]


def test_strangers_are_counted(fenced: Chi) -> None:
    """/metrics tells how many connections were refused."""
    for _ in range(3):
        assert status_from(STRANGER, fenced.port) is None
    connection = http.client.HTTPConnection("127.0.0.1", fenced.port, timeout=30, source_address=(HOME, 0))
    connection.request("GET", "/metrics")
    body = connection.getresponse().read().decode()
    connection.close()
    assert 'chi_denied_requests_total{reason="source"} 3' in body.splitlines()


def test_start_and_check_say_who_may_connect(
    chi_server: Callable[..., Any], miner: ScriptedMiner, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log and --check name the networks."""
    allow = ("--allow", "192.168.0.0/16", "--allow", "fd00::/8", "--allow", "127.0.0.1")
    process = chi_server("-w", "0", "--listen", "127.0.0.1", "-p", str(miner.port), *allow)
    process.logged(r"whoever reaches it from 192\.168\.0\.0/16, fd00::/8, 127\.0\.0\.1/32 gets every command")
    assert json.loads(process.get("/healthz").body)["STATUS"][0]["STATUS"] == "S"
    assert cli.main(["-p", str(miner.port), "--check", *allow]) == 0
    assert "to whoever reaches it from 192.168.0.0/16, fd00::/8, 127.0.0.1/32" in capsys.readouterr().out
