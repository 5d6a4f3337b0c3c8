"""Fair turns: no client that asks without end keeps another from its answer."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.client import Background, Wire
from tests.conftest import Chi

GREEDY, EACH = 4, 400  # connections, and requests that each has sent before the first is answered


def read_all(sock: socket.socket) -> int:
    """Read until the end; return how many responses came."""
    count, tail = 0, b""
    while data := sock.recv(1 << 16):
        tail += data
        count += tail.count(b"HTTP/1.1 200 ")
        tail = tail[-12:] if not tail.endswith(b"HTTP/1.1 200 ") else b""
    return count


@pytest.mark.parametrize("path", ["/healthz", "/history.json", "/dashboard", "/robots.txt", "/summary"])
def test_pipelined_requests_starve_nobody(chi: Chi, path: str) -> None:
    """While four connections pipeline thousands of requests, others are answered among the first of them."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    last = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    counters = chi.loop.sites.counters
    with Wire(chi.port, timeout=60) as honest:
        wires = [Wire(chi.port, timeout=60) for _ in range(GREEDY)]
        readers = [Background(read_all, wire.sock) for wire in wires]
        senders = [Background(wire.send, request * (EACH - 1) + last) for wire in wires]
        while counters["http_requests", "200"] < 4 * GREEDY:  # they are at it
            pass
        for own in ("/summary", "/healthz", "/history.json"):
            before = counters["http_requests", "200"]
            assert honest.ask(f"GET {own}").status == 200
            assert counters["http_requests", "200"] - before < GREEDY * EACH / 4
        for background in senders + readers:
            background.result()
        for wire in wires:
            wire.close()


def test_a_connection_has_one_request_in_a_turn(chi: Chi) -> None:
    """Two connections that pipeline are answered alternately, though all was there before."""
    held, sent = threading.Event(), threading.Event()
    seen: list[str] = []
    count = chi.loop.count

    def noted(status: str) -> None:
        seen.append(status)
        count(status)

    chi.loop.count = noted  # type: ignore[method-assign]
    with Wire(chi.port) as own, Wire(chi.port) as other:
        assert {wire.ask("GET /healthz").status for wire in (own, other)} == {200}  # both are accepted
        chi.loop.threads.submit(lambda: None, lambda _: (held.set(), sent.wait(10)))
        assert held.wait(10)  # the loop stands still
        seen.clear()
        own.send(own.head("GET /healthz HTTP/1.1") * 20)
        other.send(other.head("GET /% HTTP/1.1") * 20)
        sent.set()
        assert [own.read().status for _ in range(20)] == [200] * 20
        assert [other.read().status for _ in range(20)] == [400] * 20
    assert seen[:39] == (["200", "400"] * 20)[:39]  # the last may be counted yet
