"""The wire: what the miner is sent, every way it may answer or fail to, and what a client gets for it."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from waitress import wasyncore

from chi.bounds import MAX_REPLY, NAME_AGE
from chi.errors import ChiError
from chi.miner.replies import Made, Reply, read_json
from chi.miner.wire import Exchange, look_up
from chi.server import listening
from tests.client import Background, Wire
from tests.conftest import Chi, Response, StillClock
from tests.scripted import (
    CLOSE,
    HEALTHY,
    HOLD,
    RESET,
    SHUT,
    ScriptedMiner,
    Step,
    capture,
    drip,
    envelope,
    free_port,
)

Serve = Callable[..., Chi]
Begin = Callable[[Chi], tuple[threading.Thread, list[Response]]]

REPORT = capture("summary+devs")  # with its NUL
# What a busy machine may add to a deadline, in seconds.
LATE = 10.0


def timed(chi: Chi, path: str = "/summary") -> tuple[Response, float]:
    """A response, and the seconds it took."""
    began = time.monotonic()
    response = chi.get(path)
    return response, time.monotonic() - began


def failed(response: Response, status: int) -> str:
    """Check that a response is chi's own error of this status, in the API's envelope; return its message."""
    assert response.status == status, response.body
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    (entry,) = response.json["STATUS"]
    assert entry["STATUS"] == "E"
    assert entry["Code"] == status
    assert entry["Description"].startswith("chi ")
    assert abs(entry["When"] - time.time()) < 60
    assert response.json["id"] == 1
    message: str = entry["Msg"]
    return message


def recovers(chi: Chi, miner: ScriptedMiner) -> None:
    """Check that the next request, to a miner that is well, is answered."""
    miner.script = [HEALTHY]
    response = chi.get("/version")
    assert (response.status, response.body) == (200, HEALTHY[:-1])


# --- What the miner is sent -----------------------------------------------------------------------

REQUESTS = {
    "/summary": b'{"command":"summary"}',
    "/": b'{"command":"summary+devs"}',
    "/summary+pools+devs/": b'{"command":"summary+pools+devs"}',
    "/summary%2Bdevs": b'{"command":"summary+devs"}',
    "/Summary": b'{"command":"Summary"}',
    "/no%20such%20command": b'{"command":"no such command"}',
    "/%22%5C%0A/1": rb'{"command":"\"\\\n","parameter":"1"}',
    # Numbers are sent as the text that they are in a path.
    "/gpu/0": b'{"command":"gpu","parameter":"0"}',
    "/asc/007": b'{"command":"asc","parameter":"007"}',
    "/asc/-1.50e3": b'{"command":"asc","parameter":"-1.50e3"}',
    "/asc/18446744073709551616": b'{"command":"asc","parameter":"18446744073709551616"}',
    "/zero/all,false": b'{"command":"zero","parameter":"all,false"}',
    "/x/null": b'{"command":"x","parameter":"null"}',
    # No parameter.
    "/gpu/": b'{"command":"gpu"}',
    # Whatever a parameter may hold.
    "/addpool/stratum+tcp://pool.example:3333,user.worker,p,a,s": (
        b'{"command":"addpool","parameter":"stratum+tcp://pool.example:3333,user.worker,p,a,s"}'
    ),
    "/x/a%2Fb//c/": b'{"command":"x","parameter":"a/b//c/"}',
    "/x/%22%27%22": rb'{"command":"x","parameter":"\"' + b"'" + rb'\""}',
    "/x/C:%5Cdir%5C%5C": rb'{"command":"x","parameter":"C:\\dir\\\\"}',
    "/x/1%2C2,3": b'{"command":"x","parameter":"1,2,3"}',
    "/x/%2B+%20%25%3F%23%26": b'{"command":"x","parameter":"++ %?#&"}',
    "/x/caf%C3%A9%20%E2%98%83%F0%9D%84%9E": rb'{"command":"x","parameter":"caf\u00e9 \u2603\ud834\udd1e"}',
    "/x/%00%01%08%09%0A%0C%0D%1B%1F%7F": (
        rb'{"command":"x","parameter":"\u0000\u0001\b\t\n\f\r\u001b\u001f\u007f"}'
    ),
    "/x/%7B%22command%22:%22quit%22%7D": rb'{"command":"x","parameter":"{\"command\":\"quit\"}"}',
    "/x/%22,%22command%22:%22quit": rb'{"command":"x","parameter":"\",\"command\":\"quit"}',
}


@pytest.mark.parametrize("path", REQUESTS)
def test_request(chi: Chi, miner: ScriptedMiner, path: str) -> None:
    """A path becomes exactly these bytes: compact JSON in ASCII, without a delimiter."""
    assert chi.get(path).status == 200
    assert miner.requests == [REQUESTS[path]]
    assert miner.connections == 1


@pytest.mark.parametrize(
    ("path", "request_bytes"),
    [
        (b'/x/"\\[]{}|^`<>', rb'{"command":"x","parameter":"\"\\[]{}|^`<>"}'),
        (b"/x/a+b;c=d:@!$&'()*~", b'{"command":"x","parameter":"a+b;c=d:@!$&\'()*~"}'),
    ],
)
def test_request_of_raw_characters(chi: Chi, miner: ScriptedMiner, path: bytes, request_bytes: bytes) -> None:
    """Characters that a client should have percent-encoded mean themselves."""
    with Wire(chi.port) as wire:
        wire.send(b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert wire.read().status == 200
    assert miner.requests == [request_bytes]


def test_request_of_raw_bytes(chi: Chi, miner: ScriptedMiner) -> None:
    """Bytes that are no ASCII are no URL (RFC 3986), and nothing is sent for them."""
    with Wire(chi.port) as wire:
        wire.send(b"GET /x/caf\xc3\xa9 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        failed(wire.read(), 400)
    assert miner.connections == 0


@pytest.mark.parametrize(
    ("body", "request_bytes"),
    [
        (b'{"command":"gpu","parameter":0}', b'{"command":"gpu","parameter":0}'),
        (
            b' { "parameter" : "0,\\u00e9" ,\n"command":"pga" } ',
            rb'{"parameter":"0,\u00e9","command":"pga"}',
        ),
        (
            b'{"command":"rate","new_api":true,"token":"t"}',
            b'{"command":"rate","new_api":true,"token":"t"}',
        ),
        (b'{"command":"quit","command":"summary"}', b'{"command":"summary"}'),
        (b'{"cmd":"get_token"}', b'{"cmd":"get_token"}'),
        (b'{"enc":1,"data":"AA=="}', b'{"enc":1,"data":"AA=="}'),
        (rb'{"command":"x","parameter":"\ud83d"}', rb'{"command":"x","parameter":"\ud83d"}'),
    ],
)
def test_request_of_a_body(chi: Chi, miner: ScriptedMiner, body: bytes, request_bytes: bytes) -> None:
    """A body is sent encoded anew, each member once."""
    assert chi.request("/", "POST", body).status == 200
    assert miner.requests == [request_bytes]


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "01"])
def test_number_that_cannot_be_sent(chi: Chi, miner: ScriptedMiner, number: str) -> None:
    """A body's number that is none, or cannot be sent as it was, is refused, and nothing is sent."""
    failed(chi.request("/", "POST", f'{{"command":"x","parameter":{number}}}'.encode()), 400)
    assert miner.connections == 0


def test_each_request_has_a_connection(chi: Chi, miner: ScriptedMiner) -> None:
    """Each request goes on a connection of its own."""
    for count in range(1, 6):
        assert chi.get("/summary").status == 200
        assert miner.connections == len(miner.requests) == count


def test_a_request_is_sent_once_and_whole(chi: Chi, miner: ScriptedMiner) -> None:
    """All of a request is there for one recv(), and nothing follows, neither bytes nor the stream's end."""
    followed: list[bool] = []

    def listen(sock: socket.socket) -> None:
        followed.append(bool(select.select([sock], [], [], 0.2)[0]))

    miner.script = [listen, HEALTHY]
    assert chi.get("/pools").status == 200
    assert miner.requests == [b'{"command":"pools"}']
    assert followed == [False]


def parameter_for(size: int) -> str:
    """A parameter that makes a request of `size` bytes."""
    return "p" * (size - len('{"command":"x","parameter":""}'))


@pytest.mark.parametrize("unit", ["p", "%70", "%C3%A9"])
def test_largest_request(chi: Chi, miner: ScriptedMiner, unit: str) -> None:
    """A request of just as many bytes as the API reads arrives whole in one recv()."""
    parameter = parameter_for(8191)
    if unit == "%C3%A9":  # six bytes as the API reads it
        parameter = parameter[len(parameter) // 6 * 6 :] + unit * (len(parameter) // 6)
    else:
        parameter = parameter.replace("p", unit)
    assert chi.get(f"/x/{parameter}").status == 200
    assert [len(request) for request in miner.requests] == [8191]
    assert json.loads(miner.requests[0])["command"] == "x"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_too_large_request(chi: Chi, miner: ScriptedMiner, method: str) -> None:
    """A request of one byte more is refused, and the miner hears nothing of it."""
    parameter = parameter_for(8192)
    if method == "GET":
        response = chi.get(f"/x/{parameter}")
    else:
        response = chi.request("/", "POST", json.dumps({"command": "x", "parameter": parameter}).encode())
    message = failed(response, 413)
    assert "8192 bytes" in message
    assert "8191" in message
    assert miner.connections == 0
    recovers(chi, miner)


def test_characters_that_grow_count_as_sent(chi: Chi, miner: ScriptedMiner) -> None:
    """What counts is the size as the API reads it, escapes and all."""
    assert "8430 bytes" in failed(chi.get("/x/" + "%01" * 1400), 413)
    assert miner.requests == []


# --- What the miner answers -----------------------------------------------------------------------

TWICE = b'{"STATUS":[{"STATUS":"E","When":1,"Code":23,"Msg":"Invalid JSON"}],"id":1}'
AFTER_OBJECTS: list[Step] = []
for piece in REPORT.split(b"}")[:-1]:
    AFTER_OBJECTS += [piece + b"}", 0.3 if len(AFTER_OBJECTS) < 4 else 0.0]


def urgent(sock: socket.socket) -> None:
    """Send a byte out of band."""
    sock.send(b"!", socket.MSG_OOB)


# Every way in which a whole reply may come.
WHOLE: dict[str, list[Step]] = {
    "NUL, close": [REPORT],
    "NUL, left open": [REPORT, HOLD],
    "NUL, end of the stream": [REPORT, SHUT],
    "close without NUL": [REPORT[:-1]],
    "end of the stream without NUL": [REPORT[:-1], SHUT],
    "NUL, reset": [REPORT, RESET],
    "reset without NUL": [REPORT[:-1], RESET],
    "chunks": drip(REPORT, size=100),
    "pauses": [REPORT[:1], 0.3, REPORT[1:300], 0.3, REPORT[300:-2], 0.3, REPORT[-2:]],
    "pauses after whole objects": [*AFTER_OBJECTS, b"\0"],
    "one byte at a time": drip(REPORT),
    "NUL by itself, late": [REPORT[:-1], 0.1, b"\0"],
    "garbage after NUL": [REPORT + b"garbage\xff\x01"],
    "garbage after NUL, left open": [REPORT + b"}{[", HOLD],
    "NULs after NUL": [REPORT + b"\0\0\0"],
    "garbage after NUL, later": [REPORT, 0.1, b"garbage"],
    "a second reply after NUL": [REPORT + HEALTHY],
    "a second reply after NUL, reset": [REPORT + HEALTHY, RESET],
    "urgent data before": [urgent, REPORT],
    "urgent data within": [REPORT[:200], urgent, 0.05, REPORT[200:]],
    "urgent data after": [REPORT, urgent],
    "urgent data for want of NUL": [REPORT[:-1], urgent],
}


@pytest.mark.parametrize("way", WHOLE)
def test_whole_reply(serve: Serve, miner: ScriptedMiner, way: str) -> None:
    """However a reply comes, a client gets its bytes, less the NUL, and the miner is asked once."""
    chi = serve(miner.port, timeout=25)
    miner.script = WHOLE[way]
    response = chi.get("/")
    assert (response.status, response.body) == (200, REPORT[:-1])
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert "Chi-Repaired" not in response.headers
    assert len(miner.requests) == 1
    recovers(chi, miner)


def test_newline_instead_of_nul(chi: Chi, miner: ScriptedMiner) -> None:
    """A newline in place of the NUL is white space of the reply's."""
    for end in (CLOSE, SHUT, HOLD):
        miner.script = [REPORT[:-1] + b"\n", end]
        response = chi.get("/")
        assert (response.status, response.body) == (200, REPORT[:-1] + b"\n")


def test_malformed_answered_twice(chi: Chi, miner: ScriptedMiner) -> None:
    """Of a request that was answered twice in one go, the first reply counts."""
    miner.script = [TWICE + b"\0" + TWICE + b',"id":1}\0']
    response = chi.get("/summary")
    assert (response.status, response.body) == (200, TWICE)


def test_error_of_the_api_is_a_reply(chi: Chi, miner: ScriptedMiner) -> None:
    """A reply with STATUS E is a reply like any other."""
    miner.script = [capture("nonsense")]
    response = chi.get("/nonsense")
    assert (response.status, response.body) == (200, capture("nonsense")[:-1])


def test_reply_before_the_rest_of_the_request_is_read(serve: Serve) -> None:
    """A miner that reads 4,095 bytes, answers that they are no JSON and resets, as cgminer, has answered."""

    def read(sock: socket.socket) -> None:
        sock.recv(4095)

    with ScriptedMiner([read, TWICE + b"\0"], hear=False) as miner:
        response = serve(miner.port).get("/x/" + parameter_for(8000))
        assert (response.status, response.body) == (200, TWICE)


LEFT_OPEN: dict[str, list[Step]] = {
    "at once": [REPORT[:-1]],
    "in chunks": drip(REPORT[:-1], size=50),
    "a byte at a time": drip(REPORT[:-1]),
    "with a newline": [REPORT[:-1], b"\r\n"],
    "after a pause": [REPORT[:400], 0.4, REPORT[400:-1]],
    "after a pause at an object's end": [*AFTER_OBJECTS],
    "nearly whole, then whole": [REPORT[:-2], 0.05, REPORT[-2:-1]],
}


@pytest.mark.parametrize("way", LEFT_OPEN)
def test_reply_on_a_connection_left_open(serve: Serve, miner: ScriptedMiner, way: str) -> None:
    """Complete JSON is answered long before the timeout though no NUL comes and the connection stays."""
    chi = serve(miner.port, timeout=25)
    miner.script = [*LEFT_OPEN[way], HOLD]
    response, took = timed(chi, "/")
    assert (response.status, response.body.rstrip()) == (200, REPORT[:-1])
    assert took < 10
    recovers(chi, miner)


STATS = envelope(STATS=[{"Type": "Antminer S9"}, {"STATS": 0}])[:-1]
BAD_STATS = STATS.replace(b'},{"STATS"', b'}{"STATS"')


@pytest.mark.parametrize(
    "steps",
    [[BAD_STATS], drip(BAD_STATS), [BAD_STATS[:120], 0.4, BAD_STATS[120:]], [BAD_STATS + b"\n"]],
    ids=["at once", "a byte at a time", "after a pause", "newline"],
)
def test_repairable_reply_on_a_connection_left_open(
    serve: Serve, miner: ScriptedMiner, steps: list[Step]
) -> None:
    """So is a reply that is complete once it is repaired."""
    chi = serve(miner.port, timeout=25)
    miner.script = [*steps, HOLD]
    response, took = timed(chi, "/stats")
    assert (response.status, response.body.rstrip()) == (200, STATS)
    assert response.headers["Chi-Repaired"] == "missing-comma"
    assert took < 10
    recovers(chi, miner)


def test_repairs_are_named_and_counted(chi: Chi, miner: ScriptedMiner) -> None:
    """The header names each repair of a reply once, and the metrics count the replies."""
    miner.script = [b'{"BYE","a":nan,"b":[nan,],}\0']
    for _ in range(2):
        response = chi.get("/quit")
        assert response.json == {"STATUS": "BYE", "a": None, "b": [None]}
        assert response.headers["Chi-Repaired"] == "bare-status, not-a-number, trailing-comma"
    recovers(chi, miner)
    counted = re.findall(
        r'^chi_json_repairs_total\{repair="(.+)"\} ([1-9]\d*)', chi.get("/metrics").body.decode(), re.M
    )
    assert dict(counted) == {"bare-status": "2", "not-a-number": "2", "trailing-comma": "2"}


def sized(size: int) -> bytes:
    """A valid reply of so many bytes, without NUL."""
    entry = b'{"POOL":0,"URL":"stratum+tcp://pool:3333"},'
    reply = b'{"POOLS":[' + entry * ((size - 40) // len(entry))
    return reply + b'"' + b"x" * (size - len(reply) - 4) + b'"]}'


@pytest.mark.parametrize("end", ["NUL", "close", "open"])
def test_large_reply(serve: Serve, miner: ScriptedMiner, end: str) -> None:
    """A valid reply of 500 KiB passes, however it ends."""
    chi = serve(miner.port, timeout=25)
    reply = sized(500 << 10)
    miner.script = {"NUL": [reply + b"\0"], "close": [reply], "open": [reply, HOLD]}[end]
    response = chi.get("/")
    assert response.status == 200
    assert response.body == reply
    recovers(chi, miner)


@pytest.mark.parametrize("ending", [b"\0", b""])
def test_largest_reply(serve: Serve, miner: ScriptedMiner, ending: bytes) -> None:
    """A reply of 512 KiB passes; one of a byte more is refused."""
    chi = serve(miner.port, timeout=25)
    reply = sized(512 << 10)
    assert len(reply) == 512 << 10
    miner.script = [reply + ending]
    response = chi.get("/")
    assert (response.status, len(response.body)) == (200, 512 << 10)
    miner.script = [sized((512 << 10) + 1) + ending]
    assert "larger than 524288 bytes" in failed(chi.get("/"), 502)
    recovers(chi, miner)


@pytest.mark.parametrize("piece", [b"x" * 65536, b"[1]" * 20000, b" " * 65536, b'{"a":1}' * 9000])
def test_endless_reply(serve: Serve, miner: ScriptedMiner, piece: bytes) -> None:
    """A reply that does not end is refused at 512 KiB, and its connection closed."""
    chi = serve(miner.port, timeout=25)
    closed = threading.Event()

    def pour(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(piece)
        closed.set()

    miner.script = [pour]
    response, took = timed(chi)
    assert "larger than 524288 bytes" in failed(response, 502)
    assert took < 20
    assert closed.wait(10)
    recovers(chi, miner)


# --- What the miner does not answer ---------------------------------------------------------------

# What it does; then the status, and what the message tells.
FAILURES: dict[str, tuple[list[Step], int, str]] = {
    "closed without a byte": ([], 502, "api-allow"),
    "stream ended without a byte": ([SHUT], 502, "api-allow"),
    "reset without a byte": ([RESET], 502, "api-allow"),
    "only NUL": ([b"\0"], 502, "text protocol"),
    "only NUL, left open": ([b"\0", HOLD], 502, "text protocol"),
    "NUL before the reply": ([b"\0" + HEALTHY], 502, "text protocol"),
    "cut off, close": ([REPORT[:-40]], 502, "cut off after 768 bytes"),
    "cut off, NUL": ([REPORT[:-40] + b"\0"], 502, "cut off after 768 bytes"),
    "cut off, reset": ([REPORT[:-40], RESET], 502, "cut off"),
    "cut off, end of the stream": ([REPORT[:100], SHUT], 502, "cut off after 100 bytes"),
    "one byte, close": ([b"{"], 502, "cut off after 1 bytes"),
    "a drip that ends in the middle": (drip(REPORT[:300]), 502, "cut off after 300 bytes"),
    "a repairable reply, cut off": ([BAD_STATS[:-9]], 502, "cut off"),
    "plain text": ([b"Socket connect failed: Connection refused\n"], 502, "Socket connect failed"),
    "the reply to +": ([capture("+")], 502, "not JSON"),
    "half of cgminer's text": ([b"STATUS=E,When=1,Code=14,Msg=Invalid"], 502, "text protocol"),
    "cpuminer's text": ([b"NAME=x;VER=1|\0"], 502, "NAME=x"),
    "binary": ([b"\x16\x03\x01\x02\xff\xfe"], 502, "not JSON"),
    "nested too deep": ([b"[" * 5000 + b"\0"], 502, "nested"),
    "nothing but white space": ([b" \n\0"], 502, "not JSON"),
    "nothing but urgent data": ([urgent], 502, "api-allow"),
}


# Where nothing came, a plain `summary` shows whether the miner speaks only text; else nothing is sent twice.
NOTHING = {name for name, (_, _, told) in FAILURES.items() if told == "api-allow"}
NOTHING |= {"only NUL", "only NUL, left open", "NUL before the reply"}


@pytest.mark.parametrize("failure", FAILURES)
def test_failure(serve: Serve, miner: ScriptedMiner, failure: str) -> None:
    """A miner's failure is an error that tells what it was, asked for once; the next request is answered."""
    chi = serve(miner.port, timeout=25)
    miner.script, status, told = FAILURES[failure]
    assert told in failed(chi.get("/summary"), status)
    wanted = [b'{"command":"summary"}'] + [b"summary"] * (failure in NOTHING)
    assert miner.requests == wanted
    assert miner.connections == len(wanted)
    recovers(chi, miner)


def forever(data: bytes, pause: float) -> Callable[[bytes], Iterator[Step]]:
    """A script that sends `data` again and again."""

    def script(request: bytes) -> Iterator[Step]:
        while True:
            yield from (data, pause)

    return script


SILENCES: dict[str, Any] = {
    "nothing": [HOLD],
    "a part, then nothing": [REPORT[:300], HOLD],
    "a part that ends like a whole, then nothing": [REPORT[: REPORT.index(b"}") + 1], HOLD],
    "a drip that ends in the middle": [*drip(REPORT[:100]), HOLD],
    "an endless drip of spaces": forever(b" ", 0.01),
    "an endless drip in a string": lambda request: iter([b'{"a":"', *[b"x", 0.02] * 10_000]),
    "an endless drip of closing brackets": forever(b"}", 0.005),
    "urgent data, again and again": forever(b"", 0.02),
}


@pytest.mark.parametrize("silence", SILENCES)
def test_deadline(serve: Serve, miner: ScriptedMiner, silence: str) -> None:
    """What has no end by the deadline is a 504 at the deadline, neither before nor long after."""
    chi = serve(miner.port, timeout=0.8)
    miner.script = SILENCES[silence]
    response, took = timed(chi)
    assert "within 0.8 s" in failed(response, 504)
    assert 0.75 < took < 0.8 + LATE
    assert len(miner.requests) == 1
    recovers(chi, miner)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/summary", "The miner did not answer within 0.3 s."),
        ("/status.json", "The miner did not answer within 0.3 s."),
        ("/restart", "The miner did not answer within 0.3 s. The command may have been carried out."),
    ],
)
def test_a_timeout_says_what_may_have_happened(
    serve: Serve, miner: ScriptedMiner, path: str, told: str
) -> None:
    """Only a command may have been carried out; a report has changed nothing."""
    miner.script = [HOLD]
    assert failed(serve(miner.port, timeout=0.3).get(path), 504) == told


def test_text_on_a_connection_left_open(serve: Serve, miner: ScriptedMiner) -> None:
    """What is no JSON and has no end may become some: it is waited for, and not taken for a reply."""
    chi = serve(miner.port, timeout=0.8)
    for text in (b"STATUS=E,When=1,Code=14,Msg=Invalid command|", b"Socket connect failed\n", b"[" * 500):
        miner.script = [text, HOLD]
        assert chi.get("/summary").status in (502, 504)
    recovers(chi, miner)


def test_deadline_of_a_miner_that_does_not_read(serve: Serve) -> None:
    """A miner that accepts, and never reads, is a 504 too."""
    gate = threading.Event()
    with ScriptedMiner([gate], hear=False) as deaf:
        chi = serve(deaf.port, timeout=0.8)
        response, took = timed(chi, "/x/" + parameter_for(8000))
        assert "within 0.8 s" in failed(response, 504)
        assert 0.75 < took < 0.8 + LATE
        gate.set()


def test_deadline_counts_from_arrival(serve: Serve) -> None:
    """A request that waits for others has its answer by the deadline after its own arrival."""
    with ScriptedMiner([HOLD], serial=True) as miner:
        chi = serve(miner.port, timeout=1.2, threads=1)
        took: list[float] = []
        statuses: list[int] = []

        def ask(path: str) -> None:
            response, seconds = timed(chi, path)
            statuses.append(response.status)
            took.append(seconds)

        first = threading.Thread(target=ask, args=("/restart",))
        first.start()
        miner.asked(1)
        second = threading.Thread(target=ask, args=("/save",))
        threading.Event().wait(0.6)
        second.start()
        first.join(20)
        second.join(20)
        assert set(statuses) <= {503, 504}
        assert [1.15 < seconds < 1.2 + LATE for seconds in took] == [True, True]


def test_deadline_does_not_count_a_slow_client(serve: Serve, miner: ScriptedMiner) -> None:
    """The time that a client takes to send its request is not the miner's."""
    chi = serve(miner.port, timeout=0.6)
    with Wire(chi.port) as wire:
        wire.send(b"GET /summary HTTP/1.1\r\n")
        threading.Event().wait(0.8)
        wire.send(b"Host: 127.0.0.1\r\n\r\n")
        response = wire.read()
    assert (response.status, response.body) == (200, HEALTHY[:-1])


@pytest.fixture
def turns(chi: Chi, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times of the event loop's turns: one each 50 ms or more, and some for what happens."""
    times: list[float] = []
    turn = chi.miner.turn

    def note(now: float) -> float:
        times.append(now)
        return turn(now)

    monkeypatch.setattr(chi.miner, "turn", note)
    return times


def test_urgent_data_costs_no_turns(chi: Chi, miner: ScriptedMiner, turns: list[float]) -> None:
    """While urgent data of the miner's, and nothing else, is there the event loop waits as ever."""
    miner.script = [urgent, 1.0, HEALTHY]
    assert chi.get("/summary").status == 200
    assert len(turns) < 500


def test_urgent_data_of_a_client(chi: Chi, turns: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """Neither does a client's urgent data keep the event loop busy, nor fill the log."""
    with Wire(chi.port) as wire:
        urgent(wire.sock)
        threading.Event().wait(1.0)
        assert len(turns) < 500
    assert len(caplog.records) < 5
    assert chi.get("/summary").status == 200


# --- Connecting -----------------------------------------------------------------------------------


def test_refused(serve: Serve) -> None:
    """A port where nothing listens is an error at once; a miner that comes there is reached at once."""
    port = free_port()
    chi = serve(port, timeout=25)
    response, took = timed(chi)
    message = failed(response, 502)
    assert f"127.0.0.1:{port} refuses connections" in message
    assert took < 10
    with ScriptedMiner(port=port) as miner:
        recovers(chi, miner)


def test_unreachable(serve: Serve) -> None:
    """An address to which nothing leads is an error that says so."""
    chi = serve(4028, api_host="255.255.255.255", timeout=25)
    assert "255.255.255.255:4028 cannot be reached" in failed(chi.get("/summary"), 502)
    assert chi.get("/healthz").status == 200


@pytest.fixture
def miner6() -> Iterator[ScriptedMiner]:
    """A scripted miner at ::1."""
    try:
        miner = ScriptedMiner(host="::1")
    except OSError as error:
        pytest.skip(f"this machine has no ::1: {error}")
    with miner:
        yield miner


def test_ipv6(serve: Serve, miner6: ScriptedMiner) -> None:
    """A miner at an IPv6 address is asked there, and named with brackets."""
    chi = serve(miner6.port, api_host="::1")
    assert chi.get("/summary").body == HEALTHY[:-1]
    assert miner6.requests == [b'{"command":"summary"}']
    miner6.script = []
    assert f"[::1]:{miner6.port}" in failed(chi.get("/summary"), 502)
    recovers(chi, miner6)


def test_host_name(serve: Serve, miner: ScriptedMiner) -> None:
    """A host name is looked up, and the miner found at whichever of its addresses it listens."""
    chi = serve(miner.port, api_host="localhost")
    for _ in range(3):
        assert chi.get("/summary").body == HEALTHY[:-1]
    assert len(miner.requests) == 3
    miner.script = []
    assert f"localhost:{miner.port}" in failed(chi.get("/summary"), 502)
    recovers(chi, miner)


def test_unknown_host_name(serve: Serve) -> None:
    """A host name that nobody knows is an error that names it."""
    chi = serve(4028, api_host="nonexistent.invalid", timeout=25)
    for _ in range(2):
        assert "nonexistent.invalid:4028 cannot be looked up" in failed(chi.get("/summary"), 502)
    assert chi.get("/healthz").status == 200


@pytest.mark.parametrize("name", ["a..b", "n" * 64, "."])
def test_impossible_host_name(serve: Serve, name: str) -> None:
    """So is one that cannot be a host name at all."""
    chi = serve(4028, api_host=name, timeout=25)
    assert "cannot be looked up" in failed(chi.get("/summary"), 502)
    assert chi.get("/healthz").status == 200


class Names:
    """In place of look_up(): the addresses of a name, and the times it was asked; `gate` lets it answer."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self.addresses = addresses
        self.asked = 0
        self.fails = False
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, host: str, port: int, flags: int = 0) -> list[tuple[int, Any]]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.asked += 1
        self.gate.wait(30)
        if self.fails:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, address) for address in self.addresses]


@pytest.fixture
def names(miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    """A name of three addresses: one cannot be reached, one refuses, one is the miner's."""
    there = Names(("255.255.255.255", 4028), ("127.0.0.1", free_port()), ("127.0.0.1", miner.port))
    monkeypatch.setattr("chi.miner.asking.look_up", there)
    yield there
    there.gate.set()


def serve_name(serve: Serve, monkeypatch: pytest.MonkeyPatch, names: Names, **settings: Any) -> Chi:
    """Serve the miner of that name."""
    monkeypatch.setattr(
        "tests.conftest.open_sockets", lambda settings: [listening.listen(socket.AF_INET, ("127.0.0.1", 0))]
    )
    return serve(4028, api_host="miner.example", **settings)


def test_addresses_are_tried_in_turn(
    serve: Serve, miner: ScriptedMiner, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a name's addresses the first that accepts is sent the request, and it alone."""
    chi = serve_name(serve, monkeypatch, names)
    for count in (1, 2):
        assert chi.get("/summary").status == 200
        assert len(miner.requests) == count
    assert names.asked == 1


def test_name_is_looked_up_again(
    serve: Serve, miner: ScriptedMiner, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name whose addresses fail is looked up again, for it may have moved."""
    chi = serve_name(serve, monkeypatch, names)
    addresses, names.addresses = names.addresses, names.addresses[1:2]
    assert "refuses" in failed(chi.get("/summary"), 502)
    names.addresses = addresses
    recovers(chi, miner)
    assert names.asked == 2


def test_name_moves_while_its_old_address_answers(
    serve: Serve, miner: ScriptedMiner, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After NAME_AGE the name is looked up again, while another miner may answer at its old address."""
    chi = serve_name(serve, monkeypatch, names, clock=StillClock().clock)
    assert chi.get("/summary").status == 200
    with ScriptedMiner() as other:
        names.addresses = (("127.0.0.1", other.port),)
        chi.advance(NAME_AGE - 1)
        assert chi.get("/summary").status == 200
        assert (names.asked, miner.commands.count("summary")) == (1, 2)
        chi.advance(1)
        names.gate.clear()
        assert chi.get("/summary").status == 200  # while the name is looked up
        assert miner.commands.count("summary") == 3
        names.gate.set()
        until = time.monotonic() + 10
        while not other.requests and time.monotonic() < until:
            assert chi.get("/summary").status == 200
        assert (names.asked, other.commands) == (2, ["summary"])


def test_name_that_is_gone_while_its_address_answers(
    serve: Serve, miner: ScriptedMiner, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the name cannot be looked up again, the addresses known are used on."""
    chi = serve_name(serve, monkeypatch, names, clock=StillClock().clock)
    assert chi.get("/summary").status == 200
    names.fails = True
    for count in (2, 3, 4):
        chi.advance(NAME_AGE)
        assert chi.get("/summary").status == 200
        until = time.monotonic() + 10
        while names.asked < count and time.monotonic() < until:
            assert chi.get("/healthz").status == 200
        assert (names.asked, miner.commands.count("summary")) == (count, count)


def test_deadline_of_looking_up(
    serve: Serve, miner: ScriptedMiner, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up that hangs is a 504 at the deadline, holds nothing up, and sends nothing when it ends."""
    chi = serve_name(serve, monkeypatch, names, timeout=0.8)
    names.gate.clear()
    response, took = timed(chi)
    message = failed(response, 504)
    assert "The name of the miner's host miner.example:4028 could not be looked up within 0.8 s" in message
    assert "Nothing was sent" in message
    assert 0.75 < took < 0.8 + LATE
    assert chi.get("/healthz").status == 200
    names.gate.set()
    recovers(chi, miner)
    assert [json.loads(request)["command"] for request in miner.requests] == ["version"]


def test_what_was_not_sent_in_time_is_never_sent(
    serve: Serve, miner: ScriptedMiner, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that waited for its turn as well is not sent after its client was told that it was not."""
    names.gate.clear()
    chi = serve_name(serve, monkeypatch, names, timeout=4, threads=1, clock=StillClock().clock)
    report = Background(chi.get, "/summary")
    while not names.asked:
        time.sleep(0.01)
    command = Background(chi.request, "/restart", "POST")
    while len(chi.miner._open) < 2:
        time.sleep(0.01)
    chi.advance(1)  # the miner is silent: the command is tried beside the report
    while len(chi.miner._exchanges) < 2:
        time.sleep(0.01)
    chi.advance(3)
    for client in (report, command):
        assert "Nothing was sent" in failed(client.result(), 504)
    names.gate.set()
    recovers(chi, miner)
    assert [json.loads(request)["command"] for request in miner.requests] == ["version"]


class Crowd:
    """A listening socket whose queue is full: who connects now waits."""

    def __init__(self) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port: int = self.listener.getsockname()[1]
        self._others: list[socket.socket] = []
        for _ in range(8):
            other = socket.socket()
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", self.port))
            self._others.append(other)
            if not select.select([], [other], [], 0.2)[1]:
                break
        else:
            self.close()
            pytest.skip("this system's queues are never full")

    def serve(self) -> None:
        """Accept who waits, and answer who asks."""
        for other in self._others:
            other.close()
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                with sock, contextlib.suppress(OSError):
                    if sock.recv(65536):
                        sock.sendall(HEALTHY)

    def close(self) -> None:
        """End."""
        for sock in (self.listener, *self._others):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    """A full queue."""
    full = Crowd()
    yield full
    full.close()


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Begin:
    """A function: ask in a thread, and return when chi has begun to connect."""
    begun = threading.Event()
    connect = Exchange.connect

    def connect_and_tell(exchange: Exchange, addresses: Any) -> None:
        connect(exchange, addresses)
        begun.set()

    def ask(chi: Chi) -> tuple[threading.Thread, list[Response]]:
        responses: list[Response] = []
        thread = threading.Thread(target=lambda: responses.append(chi.get("/summary")), daemon=True)
        thread.start()
        assert begun.wait(10)
        return thread, responses

    monkeypatch.setattr(Exchange, "connect", connect_and_tell)
    return ask


def test_deadline_of_connecting(serve: Serve, crowd: Crowd) -> None:
    """A connection that does not come about is a 504 at the deadline, and nothing was sent."""
    chi = serve(crowd.port, timeout=0.8)
    response, took = timed(chi, "/restart")
    assert "did not accept a connection within 0.8 s. Nothing was sent." in failed(response, 504)
    assert 0.75 < took < 0.8 + LATE


def test_connected_late(serve: Serve, crowd: Crowd, begin: Begin) -> None:
    """A miner that accepts late, but in time, is sent the request then."""
    chi = serve(crowd.port, timeout=25)
    thread, responses = begin(chi)
    server = threading.Thread(target=crowd.serve, daemon=True)
    server.start()
    thread.join(25)
    assert [response.body for response in responses] == [HEALTHY[:-1]]
    crowd.close()
    server.join(10)


def test_refused_late(serve: Serve, crowd: Crowd, begin: Begin) -> None:
    """A connection that is refused after a while is an error that says so."""
    chi = serve(crowd.port, timeout=25)
    thread, responses = begin(chi)
    crowd.close()
    thread.join(25)
    assert "refuses connections" in failed(responses[0], 502)


# What may happen between connecting and sending, which no peer can time: these run an Exchange by itself.


class Between(dict[int, Any]):
    """An event loop's map that has something happen between a connection's begin and its request."""

    def __init__(self, happening: Callable[[], object]) -> None:
        self.happening = happening

    def __setitem__(self, descriptor: int, entry: Any) -> None:
        super().__setitem__(descriptor, entry)
        self.happening()


def run(sockets: dict[int, Any], port: int) -> bytes | ChiError:
    """The outcome of one request."""
    outcomes: list[bytes | ChiError] = []
    exchange = Exchange("x:1", b"{}", sockets, lambda exchange, outcome: outcomes.append(outcome))
    exchange.connect([(socket.AF_INET, ("127.0.0.1", port))])
    limit = time.monotonic() + 20
    while not outcomes and time.monotonic() < limit:
        wasyncore.loop(timeout=0.1, use_poll=True, map=sockets, count=1)
    exchange.close()
    assert sockets == {}
    assert len(outcomes) == 1
    return outcomes[0]


@pytest.mark.parametrize("reply", [b"", HEALTHY])
def test_reset_before_the_request(reply: bytes) -> None:
    """A miner that resets before it is asked has closed without an answer, or its answer counts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset() -> None:
            sock, _ = listener.accept()
            sock.sendall(reply)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

        outcome = run(Between(reset), listener.getsockname()[1])
    if reply:
        assert outcome == HEALTHY[:-1]
    else:
        assert isinstance(outcome, ChiError)
        assert outcome.name == "closed"


def test_refused_before_the_request(crowd: Crowd) -> None:
    """A connection that is refused just before the request is sent is refused."""

    def refuse() -> None:
        (descriptor,) = sockets
        crowd.close()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        assert poll.poll(10_000)

    sockets = Between(refuse)
    outcome = run(sockets, crowd.port)
    assert isinstance(outcome, ChiError)
    assert outcome.name == "refused"


def test_fault_in_an_exchange(
    chi: Chi, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of chi's own while it talks to the miner is a 500 and in the log, and ends nothing else."""

    def fault(exchange: Exchange, chunk: bytes) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr(Exchange, "_received", fault)
        message = failed(chi.get("/summary"), 500)
    assert "a fault" not in message
    assert "RuntimeError: a fault" in caplog.text
    recovers(chi, miner)


# --- What reading costs ---------------------------------------------------------------------------


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of each text that the JSON parser reads."""
    lengths: list[int] = []
    parse = json.JSONDecoder.raw_decode

    def raw_decode(decoder: json.JSONDecoder, text: str, idx: int = 0) -> tuple[Any, int]:
        lengths.append(len(text))
        return parse(decoder, text, idx)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", raw_decode)
    return lengths


@pytest.mark.parametrize("end", [[b"\0"], [], [HOLD]], ids=["NUL", "close", "left open"])
@pytest.mark.parametrize("path", ["/stats", "/stats?pretty", "/status.json", "/metrics", "/readyz"])
def test_nothing_is_parsed_twice(
    chi: Chi, miner: ScriptedMiner, parsed: list[int], path: str, end: list[Step]
) -> None:
    """A reply is parsed once, when it lands, however it ends and whatever it is for."""
    reply = envelope(SUMMARY=[{"Elapsed": 1}])[:-1]
    members = b",".join(b'"%s":[%s]' % (name, reply) for name in (b"version", b"summary", b"pools"))
    joined = b"{" + members + b',"id":1}'
    miner.script = lambda request: [joined if b"+" in request else reply, *end]
    assert chi.get(path).status == 200
    (request,) = miner.requests
    assert parsed == [len(joined if b"+" in request else reply)]


def test_a_repaired_reply_is_parsed_as_it_came_and_as_it_is(
    chi: Chi, miner: ScriptedMiner, parsed: list[int]
) -> None:
    """What is repaired is parsed before and after, and not again for the scrape that wants its value."""
    joined = b'{"summary":[' + HEALTHY[:-1] + b",]}"
    miner.script = [joined + b"\0"]
    assert chi.get("/status.json").status == 200
    assert parsed == [len(joined), len(joined) - 1]


def test_looks_at_a_large_reply_that_drips_are_bounded(
    serve: Serve, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a reply is complete is looked at after each pause, up to four times its greatest length."""
    looked: list[int] = []

    def look(data: bytes, made: Made | None) -> Reply:
        looked.append(len(data))
        return read_json(data, made)

    monkeypatch.setattr("chi.miner.wire.read_json", look)
    monkeypatch.setattr("chi.miner.asking.QUIET", 0.0)
    chi = serve(miner.port, timeout=3)
    miner.script = [b"[" + b" " * 400_000, 0.2, *drip(b" " * 1000, pause=0.002), HOLD]
    failed(chi.get("/stats"), 504)
    assert looked
    assert sum(looked) <= 4 * MAX_REPLY + 402_000
    recovers(chi, miner)


@pytest.mark.parametrize(
    "steps",
    [
        [REPORT],
        [REPORT[:-1]],
        [BAD_STATS],
        [REPORT, b"more"],
        [b"\0"],
        [b"x" * 9_000_000],
        [REPORT[:300]],
        [],
    ],
    ids=["NUL", "no NUL", "repairable", "more", "empty", "too large", "silent in the middle", "silent"],
)
def test_connection_is_closed(serve: Serve, miner: ScriptedMiner, steps: list[Step]) -> None:
    """When a request has its answer, or will have none, the connection is ended: it blocks the miner."""
    chi = serve(miner.port, timeout=0.8)
    ended = threading.Event()

    def wait_for_end(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
        ended.set()

    def send(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for step in steps:
                sock.sendall(step)  # type: ignore[arg-type]
        wait_for_end(sock)

    miner.script = [send]
    chi.get("/summary")
    assert ended.wait(20)
    recovers(chi, miner)


def test_an_impossible_name_is_unknown() -> None:
    """A name outside ASCII whose label is too long is in no resolver."""
    with pytest.raises(socket.gaierror):
        look_up("ä" * 70, 4028)
