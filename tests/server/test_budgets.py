"""What all clients together may hold: a chi in its own process, attacked, keeps serving and stays small."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waitress.channel import ClientDisconnected

from chi.bounds import MAX_BODY, MAX_RECEIVED, MAX_TO_SEND, SEND_TIME, SHARE
from chi.server.budgets import Budgets
from chi.server.channels import Channel
from chi.server.loop import CLEAN_EVERY
from chi.server.outgoing import Outgoing, Pile
from chi.server.parsing import Request
from tests.client import Wire
from tests.conftest import Chi, Process, StillClock
from tests.scripted import HOLD, ScriptedMiner, envelope

MORE = 40 << 20  # bytes above idle: a router has little more
LARGE_REPLY = envelope(STATS=[{"STATS": number, "Chain": "o" * 2000} for number in range(90)])  # 183 KB
WAIT = 60.0


def resident(process: Process) -> int:
    """Bytes of memory that a process has now."""
    status = Path(f"/proc/{process.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) << 10


class Crowd:
    """Many connections that send and do not read; what chi closes is opened again."""

    def __init__(self, port: int, count: int, data: bytes) -> None:
        self._port, self._data = port, data
        self._left: dict[int, tuple[socket.socket, memoryview]] = {}
        self._poll = select.epoll()
        for _ in range(count):
            self._connect()

    def _connect(self) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", self._port))
        self._left[sock.fileno()] = (sock, memoryview(self._data))
        self._poll.register(sock, select.EPOLLOUT | select.EPOLLRDHUP)

    def push(self, seconds: float) -> None:
        """Send what chi takes, for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for number, _ in self._poll.poll(0.05):
                sock, left = self._left[number]
                try:
                    left = left[sock.send(left) :]
                except OSError:
                    self._leave(sock)
                    self._connect()
                    continue
                self._left[number] = (sock, left)
                if not left:
                    self._poll.modify(sock, select.EPOLLRDHUP)

    def _leave(self, sock: socket.socket) -> None:
        self._poll.unregister(sock)
        del self._left[sock.fileno()]
        sock.close()

    def close(self) -> None:
        """End all."""
        for sock, _ in list(self._left.values()):
            self._leave(sock)
        self._poll.close()


@pytest.fixture
def crowd() -> Iterator[Callable[..., Crowd]]:
    """Open a crowd of connections; closed after the test."""
    with contextlib.ExitStack() as stack:

        def gather(*arguments: Any) -> Crowd:
            return stack.enter_context(contextlib.closing(Crowd(*arguments)))

        yield gather


HEAD = b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n"
PADDING = b"Cookie: " + b"a" * 30_000 + b"\r\n"
HALF_SENT = b"POST / HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n" % (PADDING, MAX_BODY - 1)
TINY = b"".join(b"%x:\r\n" % number for number in range(190))
ATTACKS: dict[str, tuple[int, bytes]] = {
    "pipeline the large reply and read nothing": (960, HEAD % b"summary" * 200),
    "pipeline the indented reply and read nothing": (960, HEAD % b"summary?pretty" * 200),
    "pipeline and read nothing": (960, HEAD % b"healthz" * 200),
    "pipeline /history.json and read nothing": (960, HEAD % b"history.json" * 200),
    "send half of what is allowed": (900, HALF_SENT + b" " * (MAX_BODY - 100)),
    "send half of a head": (900, HALF_SENT[:-2]),
    "send a head of tiny fields and half a body": (
        900,
        b"POST / HTTP/1.1\r\n" + TINY + b"Content-Length: 1000\r\n\r\n" + b" " * 500,
    ),
    "send chunks": (900, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 9000),
    "read the large reply, 40 clients": (40, HEAD % b"summary"),
    "read the indented reply, 40 clients": (40, HEAD % b"summary?pretty"),
}


@pytest.mark.heavy
@pytest.mark.parametrize("attack", ATTACKS)
def test_memory_and_service_under_attack(
    chi_server: Callable[..., Process], miner: ScriptedMiner, crowd: Callable[..., Crowd], attack: str
) -> None:
    """However many connections do it, chi takes at most so much memory, and answers everybody else."""
    count, data = ATTACKS[attack]
    miner.script = [LARGE_REPLY]
    chi = chi_server("-w", "0", "--listen", "127.0.0.1", "-p", str(miner.port), "--history", "60")
    for path in ("/summary", "/history.json", "/metrics", "/status.json", "/dashboard"):
        assert chi.get(path).status == 200  # what every chi takes in the end is no attacker's
    idle = resident(chi)
    attackers = crowd(chi.port, count, data)
    most = 0
    for _ in range(4):
        attackers.push(1.0)
        most = max(most, resident(chi))
        assert ask(chi.port, "/healthz") == 200
    attackers.close()
    assert ask(chi.port, "/summary") == 200
    print(f"\nRSS: {attack}: {idle / 1e6:.1f} MB idle, +{(most - idle) / 1e6:.1f} MB")
    assert most - idle < MORE


def ask(port: int, path: str) -> int:
    """The status of a new connection's request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@pytest.mark.heavy
def test_memory_with_a_hung_miner(
    chi_server: Callable[..., Process], miner: ScriptedMiner, crowd: Callable[..., Crowd]
) -> None:
    """Pipelined and padded requests that wait for a miner that hangs are held within the same bounds."""
    miner.script = [HOLD]
    chi = chi_server("-w", "0", "--listen", "127.0.0.1", "-p", str(miner.port), "--timeout", "60")
    assert chi.get("/healthz").status == 200
    idle, most = resident(chi), 0
    for data in (HEAD % b"summary" * 250, b"GET /summary HTTP/1.1\r\n" + PADDING + b"\r\n"):
        attackers = crowd(chi.port, 900, data)
        for _ in range(4):
            attackers.push(1.0)
            most = max(most, resident(chi))
            assert ask(chi.port, "/healthz") == 200
        attackers.close()
    print(f"\nRSS: hung miner: {idle / 1e6:.1f} MB idle, +{(most - idle) / 1e6:.1f} MB")
    assert most - idle < MORE


# --- Who has to go --------------------------------------------------------------------------------


@dataclasses.dataclass
class Held:
    """A connection, as far as the budgets are concerned."""

    source: str = "192.0.2.1"
    held: int = 0
    total_outbufs_len: int = 0
    progress: float = 0.0
    waits: bool = False
    has_unread: bool = False
    budgets: Budgets | None = None
    outgoing: Outgoing | None = None
    dropped: bool = False

    def drop(self) -> None:
        """It goes, and what it held."""
        self.dropped = True
        if self.budgets:
            self.budgets.received -= self.held
            self.held = 0
        if self.outgoing:
            self.outgoing.close()


def gone(budgets: Budgets, *holders: Held) -> list[int]:
    """The numbers of those that go when one more place is wanted."""
    budgets.make_place(holders)
    return [number for number, holder in enumerate(holders) if holder.dropped]


@pytest.fixture
def budgets() -> Budgets:
    """The budgets, at a time that stands still."""
    return Budgets(StillClock().clock)


def test_the_longest_without_progress_goes(budgets: Budgets) -> None:
    """An idle one, one that does not read, one that sends slowly: whichever stands still for longest."""
    assert gone(budgets, Held(progress=2), Held(progress=1), Held(progress=3)) == [1]
    assert gone(budgets, Held(progress=2), Held(progress=1, total_outbufs_len=9), Held(progress=3)) == [1]
    assert gone(budgets, Held(progress=2), Held(progress=1, held=9), Held(progress=3)) == [1]


def test_who_waits_or_has_just_asked_stays(budgets: Budgets) -> None:
    """A client that waits for its answer is not closed, nor one whose request has arrived unread."""
    assert gone(budgets, Held(progress=1, waits=True), Held(progress=2)) == [1]
    assert gone(budgets, Held(progress=1, has_unread=True), Held(progress=2)) == [1]
    assert gone(budgets, Held(progress=1, waits=True), Held(progress=2, has_unread=True)) == []
    assert gone(budgets) == []


def test_the_address_with_most_gives_first(budgets: Budgets) -> None:
    """An address that has more than its share loses its own, those that wait as well, and no other does."""
    others = [Held(source="192.0.2.7", progress=0), Held(source="192.0.2.8", progress=0)]
    crowd = [Held(source="192.0.2.9", progress=9 + number, waits=True) for number in range(SHARE)]
    assert gone(budgets, *crowd, *others) == [SHARE]
    others[0].dropped = False
    one_more = Held(source="192.0.2.9", progress=99, waits=True)
    assert gone(budgets, *crowd, one_more, *others) == [0]


def test_nobody_is_left_to_go(budgets: Budgets) -> None:
    """Whatever is counted: without a connection there is none to close."""
    budgets.received = MAX_RECEIVED + 1
    Outgoing(budgets.pile).append(bytes(MAX_TO_SEND + 1))
    assert budgets.is_short
    budgets.keep_bytes(list)


def test_who_holds_most_goes_when_too_much_is_received(
    budgets: Budgets, caplog: pytest.LogCaptureFixture
) -> None:
    """Not who came last, and never who holds little; once there is room again, nobody."""
    sizes = [100, MAX_RECEIVED // 2, 7000, MAX_RECEIVED // 2 + 1, MAX_RECEIVED // 4]
    holders = [Held(held=size, waits=True, budgets=budgets) for size in sizes]
    budgets.received = sum(sizes)
    assert budgets.is_short
    budgets.keep_bytes(lambda: holders)
    assert [holder.dropped for holder in holders] == [False, False, False, True, False]
    assert not budgets.is_short
    assert [record.getMessage() for record in caplog.records] == [
        "closed a connection of 192.0.2.1: no room for what it sends (1 since the last such line)"
    ]


def test_who_stands_still_for_longest_goes_when_too_much_is_to_be_sent(
    budgets: Budgets, caplog: pytest.LogCaptureFixture
) -> None:
    """And nobody who has nothing to be sent; those that wait for one reply do not count twice."""
    shared, own = bytes(MAX_TO_SEND), bytes(MAX_TO_SEND // 4)
    holders = [Held(progress=0)]
    for progress, piece in ((4, shared), (1, own), (3, shared), (2, bytes(own) + b"!"), (5, shared)):
        outgoing = Outgoing(budgets.pile)
        outgoing.append(piece)
        holders.append(Held(progress=progress, total_outbufs_len=len(piece), outgoing=outgoing))
    assert budgets.pile.total == MAX_TO_SEND + 2 * len(own) + 1
    budgets.keep_bytes(lambda: holders)
    assert [holder.dropped for holder in holders] == [False, False, True, False, True, False]
    assert budgets.pile.total == MAX_TO_SEND
    assert "closed a connection of 192.0.2.1: no room for what it does not read" in caplog.text


def test_a_reply_that_many_wait_for_is_held_once() -> None:
    """Each connection has its own place in it; it is counted, and kept, until the last has sent it."""
    pile, reply = Pile(), bytes(1000)
    buffers = [Outgoing(pile) for _ in range(40)]
    for number, buffer in enumerate(buffers):
        buffer.append(b"head %02d" % number)
        buffer.append(reply)
    assert pile.total == len(reply) + 40 * 7
    for buffer in buffers[1:]:
        sent = b""
        while len(buffer):
            chunk = buffer.get(300)
            sent += chunk
            buffer.skip(len(chunk))
        assert sent[7:] == reply
    assert pile.total == len(reply) + 7
    buffers[0].close()
    assert (pile.total, len(buffers[0])) == (0, 0)


def test_budgets_return_to_nothing(chi: Chi) -> None:
    """Whatever came and went, in the end nothing is counted as held."""
    with Wire(chi.port) as wire:
        assert wire.ask("GET /summary").status == 200
        assert wire.ask("POST /", body=b'{"command":"summary"}').status == 200
        assert wire.ask("GET /%").status == 400
        wire.send(wire.head("POST / HTTP/1.1", "Content-Length: 1000") + b" " * 500)
        assert chi.get("/healthz").status == 200
        assert chi.loop.budgets.received > 500
    with Wire(chi.port) as wire:
        wire.send(b"\0")
        assert wire.read().status == 400
    with Wire(chi.port) as wire:
        wire.send(wire.head("GET /summary HTTP/1.1") * 30)
        wire.reset()
    deadline = time.monotonic() + WAIT
    while (chi.loop.budgets.received or chi.loop.budgets.pile.total) and time.monotonic() < deadline:
        assert chi.get("/healthz").status == 200
    assert (chi.loop.budgets.received, chi.loop.budgets.pile.total) == (0, 0)


def channel_of(chi: Chi, wire: Wire) -> Channel | None:
    """Chi's end of a connection; None if it is closed."""
    own = wire.sock.getsockname()
    return next((one for one in chi.loop._channels() if one.addr == own), None)


def left_to_send(chi: Chi, wire: Wire) -> int | None:
    """How many bytes chi has for this client; None if its connection is closed."""
    channel = channel_of(chi, wire)
    return None if channel is None else int(channel.total_outbufs_len)


def choke(chi: Chi, wire: Wire, request: str) -> None:
    """Pipeline a request and read nothing, until the client's system takes no more."""
    wire.send(wire.head(request) * 100)
    deadline, still = time.monotonic() + WAIT, 0
    while still < 50 and time.monotonic() < deadline:
        before = left_to_send(chi, wire)
        assert chi.get("/healthz").status == 200
        still = still + 1 if before and before == left_to_send(chi, wire) else 0
    assert left_to_send(chi, wire)


def test_who_does_not_read_is_left(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """A client that takes nothing of its response for too long is closed, though it never hangs up."""
    chi = serve(miner.port, clock=StillClock().clock)
    with Wire(chi.port, buffer=4096) as wire:
        choke(chi, wire, "GET /dashboard HTTP/1.1")
        chi.advance(SEND_TIME - 1)
        assert chi.get("/healthz").status == 200
        assert left_to_send(chi, wire)
        chi.advance(CLEAN_EVERY + 1)
        assert {chi.get("/healthz").status for _ in range(3)} == {200}
        assert left_to_send(chi, wire) is None


# --- The same in one process ----------------------------------------------------------------------


def test_too_much_received_closes_the_holder(chi: Chi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes whose half request is too much; another is served."""
    monkeypatch.setattr("chi.server.budgets.MAX_RECEIVED", 2000)
    with Wire(chi.port) as large, Wire(chi.port) as other:
        large.send(large.head("POST / HTTP/1.1", "Content-Length: 10000") + bytes(5000))
        assert large.sock.recv(1) == b""
        assert other.ask("GET /healthz").status == 200


def test_too_much_to_send_closes_who_does_not_read(
    chi: Chi, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection goes whose response is too much for all together; another is served."""
    monkeypatch.setattr("chi.server.budgets.MAX_TO_SEND", 100_000)
    chi.loop.servers[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # its connections' too
    miner.script = [envelope(STATS=["o" * 500_000])]
    with Wire(chi.port, buffer=4096) as lazy, Wire(chi.port) as other:
        lazy.request("GET /stats")
        for _ in range(1000):
            assert other.ask("GET /healthz").status == 200
            if "no room for what it does not read" in caplog.text:
                break
        with pytest.raises((AssertionError, OSError)):  # what the system had taken, and no more
            lazy.read()


def test_pipelined_requests_wait_until_the_reply_before_is_read(chi: Chi, miner: ScriptedMiner) -> None:
    """The second reply is made when the first is on its way to a client that reads slowly."""
    chi.loop.servers[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # its connections' too
    reply = envelope(STATS=["o" * 500_000])
    miner.script = [reply]
    with Wire(chi.port, timeout=60, buffer=4096) as slow:
        slow.request("GET /stats")
        slow.request("GET /stats")
        for _ in range(2):
            assert slow.read().body == reply[:-1]


def test_writing_to_a_client(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """What its system does not take is kept in order; a client that has gone is told of."""
    chi = serve(miner.port)
    chi.stop()
    (server,) = chi.loop.servers
    ours, theirs = socket.socketpair()
    theirs.settimeout(60)
    channel = Channel(server, ours, ("127.0.0.1", 1), chi.loop._adjustments, map={})
    whole = [b"a" * 4_000_000, b"b" * 4_000_000, b""]
    for piece in whole:
        assert channel.write_soon(piece) == len(piece)
    received = bytearray()
    while len(received) < 8_000_000:
        received += theirs.recv(1 << 20)
        channel.handle_write()
    assert received == b"".join(whole)
    channel.requests = [Request(chi.loop._adjustments)]  # one that nobody waits for
    channel.handle_close()
    with pytest.raises(ClientDisconnected):
        channel.write_soon(b"late")
    theirs.close()


def test_nobody_has_come(chi: Chi) -> None:
    """A listening socket that was woken in vain accepts nothing."""
    assert chi.loop.servers[0].accept() is None
