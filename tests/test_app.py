"""HTTP: the URLs, what a client gets for each, and what of it reaches the miner."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from chi import __version__
from chi.bounds import MAX_BODY, MAX_DEPTH, MAX_REQUEST
from chi.responses import status_line
from chi.server import channels
from tests.client import Background, Wire
from tests.conftest import Chi, Response
from tests.scripted import HEALTHY, HOLD, ScriptedMiner, capture, envelope, free_port

JSON = "application/json; charset=utf-8"
OWN = (
    "/healthz", "/readyz", "/history.json", "/access.json", "/dashboard", "/manifest.webmanifest",
    "/favicon.ico", "/robots.txt",
)  # fmt: skip
NO_COMMANDS = ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "FOO", "M-SEARCH")


def asked(miner: ScriptedMiner) -> list[Any]:
    """What the miner was asked, parsed."""
    return [json.loads(request) for request in miner.requests]


def assert_ours(response: Response, status: int) -> str:
    """Check that a response is chi's own envelope with this status; return its message."""
    assert response.status == status
    assert response.headers.get_all("Content-Type") == [JSON]
    assert response.headers.get_all("Cache-Control") == ["no-store"]
    assert response.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    reply = response.json
    assert list(reply) == ["STATUS", "id"]
    assert reply["id"] == 1
    (entry,) = reply["STATUS"]
    assert entry["STATUS"] == ("S" if status == 200 else "E")
    assert entry["Code"] == status
    assert entry["Description"] == f"chi {__version__}"
    assert isinstance(entry["When"], int)
    assert "Traceback" not in entry["Msg"]
    return str(entry["Msg"])


def fields(response: Response) -> list[tuple[str, str]]:
    """The header fields, less the time."""
    return [field for field in response.headers.items() if field[0] != "Date"]


# --- URLs -----------------------------------------------------------------------------------------

URLS = {
    # The original interface's own examples, and its forms.
    "/": {"command": "summary+devs"},
    "/summary+pools/": {"command": "summary+pools"},
    "/gpu/0": {"command": "gpu", "parameter": "0"},
    "/summary": {"command": "summary"},
    "/summary/": {"command": "summary"},
    "/summary+devs": {"command": "summary+devs"},
    "/summary+pools+devs/": {"command": "summary+pools+devs"},
    # No command is validated.
    "/nonsense": {"command": "nonsense"},
    "/SUMMARY": {"command": "SUMMARY"},
    "/quit": {"command": "quit"},
    "/+": {"command": "+"},
    "/summary+": {"command": "summary+"},
    "/a%20b": {"command": "a b"},
    "/%F0%9F%98%80": {"command": "\U0001f600"},
    "/index.html": {"command": "index.html"},
    "/.": {"command": "."},
    "/..": {"command": ".."},
    # The parameter is everything after the second slash.
    "/gpu/0/": {"command": "gpu", "parameter": "0/"},
    "/gpu//0": {"command": "gpu", "parameter": "/0"},
    "/pgaset/0,clock,200": {"command": "pgaset", "parameter": "0,clock,200"},
    "/pgaset/0%2Cclock%2C200": {"command": "pgaset", "parameter": "0,clock,200"},
    "/addpool/stratum+tcp://pool.example.com:3333,user.1,x": {
        "command": "addpool",
        "parameter": "stratum+tcp://pool.example.com:3333,user.1,x",
    },
    "/addpool/a%2Fb%3Fc%23d%25e%26f": {"command": "addpool", "parameter": "a/b?c#d%e&f"},
    "/x/../../etc/passwd": {"command": "x", "parameter": "../../etc/passwd"},
    "/summary+pools/0": {"command": "summary+pools", "parameter": "0"},
    # Percent-decoded once, as UTF-8.
    "/summary%2Bpools": {"command": "summary+pools"},
    "/%73ummary": {"command": "summary"},
    "/gpu%2F0": {"command": "gpu", "parameter": "0"},
    "/gpu/a+b": {"command": "gpu", "parameter": "a+b"},
    "/gpu/%2530": {"command": "gpu", "parameter": "%30"},
    "/gpu/%c3%A4%E2%82%ac": {"command": "gpu", "parameter": "\u00e4\u20ac"},
    "/gpu/%22%5C": {"command": "gpu", "parameter": '"\\'},
    "/gpu/%00%0A%0d%09%7f": {"command": "gpu", "parameter": "\0\n\r\t\x7f"},
    # The query is none of the API's, whatever is in it.
    "/gpu/0?": {"command": "gpu", "parameter": "0"},
    "/gpu/0?parameter=1": {"command": "gpu", "parameter": "0"},
    "/summary?%zz": {"command": "summary"},
    "/summary?a=/devs": {"command": "summary"},
    "/?_=1700000000": {"command": "summary+devs"},
    # chi's own paths are those, whatever slashes are around them.
    "/readyz/x": {"command": "readyz", "parameter": "x"},
    "/robots.txt/x": {"command": "robots.txt", "parameter": "x"},
    "/Healthz": {"command": "Healthz"},
    "/healthz+summary": {"command": "healthz+summary"},
    "/metrics/x": {"command": "metrics", "parameter": "x"},
}


@pytest.mark.parametrize(("path", "request_of_the_api"), URLS.items(), ids=URLS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_url_is_a_request_of_the_api(
    chi: Chi, miner: ScriptedMiner, method: str, path: str, request_of_the_api: dict[str, str]
) -> None:
    """A path is sent to the miner as one request of the API, whatever it names, by GET as by POST."""
    with Wire(chi.port) as wire:
        response = wire.ask(f"{method} {path}")
    if method == "POST" and path.partition("?")[0] == "/":  # there the body says it
        assert_ours(response, 400)
        return
    assert response.status == 200
    assert response.body == HEALTHY[:-1]
    assert asked(miner) == [request_of_the_api]


def test_request_reaches_the_miner_compact_and_in_ascii(chi: Chi, miner: ScriptedMiner) -> None:
    """The miner gets the smallest JSON there is for a request, in one piece, on one connection."""
    chi.get("/gpu/%C3%A4%22/0")
    assert miner.requests == [b'{"command":"gpu","parameter":"\\u00e4\\"/0"}']
    assert miner.connections == 1


@pytest.mark.parametrize("software", ["cgminer-4.11.1", "bfgminer-5.5.0", "sgminer-5.1.1"])
@pytest.mark.parametrize(
    "name", ["summary", "nonsense", "privileged", "summary+nonsense", "quitx", "gpu_0", "cpu_0", "pools"]
)
def test_valid_reply_passes_as_it_came(chi: Chi, miner: ScriptedMiner, software: str, name: str) -> None:
    """What the miner answers is the answer, an error of the API's own as well: 200, byte for byte."""
    reply = capture(name, software)
    miner.script = [reply]
    response = chi.get("/" + name.replace("_", "/"))
    assert response.status == 200
    assert response.body == reply.rstrip(b"\0")
    assert fields(response) == [
        ("Cache-Control", "no-store"),
        ("Content-Length", str(len(response.body))),
        ("Content-Type", JSON),
        ("Server", "chi"),
        ("X-Content-Type-Options", "nosniff"),
    ]


def test_repaired_reply_names_its_repairs(chi: Chi, miner: ScriptedMiner) -> None:
    """A repaired reply says in Chi-Repaired what was done to it, for HEAD as for GET."""
    miner.script = [b'{"a":[,1],"b":nan,}\0']
    for method in ("GET", "HEAD"):
        response = chi.request("/summary", method)
        assert response.status == 200
        assert response.headers["Chi-Repaired"] == "not-a-number, stray-comma, trailing-comma"
    assert chi.get("/summary").body == b'{"a":[1],"b":null}'


def test_reply_to_be_repaired_may_lack_its_end(chi: Chi, miner: ScriptedMiner) -> None:
    """A reply that needs repair, has no NUL and leaves the connection open is taken when no more comes."""
    miner.script = [b'{"a":1,}', HOLD]
    response = chi.get("/summary")
    assert (response.status, response.body) == (200, b'{"a":1}')
    assert response.headers["Chi-Repaired"] == "trailing-comma"


# --- ?pretty --------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["pretty", "pretty=", "pretty=1", "a=b&pretty", "pretty&a"])
def test_pretty_is_indented(chi: Chi, miner: ScriptedMiner, query: str) -> None:
    """?pretty indents a reply, and leaves its strings and numbers as the miner wrote them."""
    miner.script = [b'{"a":[1.50,18446744073709551616],"b":{},"c":"{\\u00e4,\\"}"}\0']
    response = chi.get(f"/summary?{query}")
    assert response.body == (
        b'{\n  "a": [\n    1.50,\n    18446744073709551616\n  ],\n  "b": {},\n  "c": "{\\u00e4,\\"}"\n}\n'
    )
    assert response.headers["Content-Length"] == str(len(response.body))


@pytest.mark.parametrize("query", ["", "prettyx", "xpretty", "a=pretty", "PRETTY"])
def test_other_queries_change_nothing(chi: Chi, query: str) -> None:
    """Any other query is ignored."""
    assert chi.get(f"/summary?{query}").body == HEALTHY[:-1]


@pytest.mark.usefixtures("patience")
def test_pretty_and_plain_are_both_right_at_once(chi: Chi, miner: ScriptedMiner) -> None:
    """One client gets the indented form, another the plain one, of requests that wait at the same time."""
    gate = threading.Event()
    miner.script = lambda request: [gate, HEALTHY]
    clients = [Background(chi.get, path) for path in ("/summary", "/summary?pretty") * 4]
    miner.asked(2)
    gate.set()
    bodies = [client.result().body for client in clients]
    assert set(bodies[::2]) == {HEALTHY[:-1]}
    assert len(set(bodies[1::2])) == 1
    assert bodies[1].startswith(b'{\n  "STATUS": [')


def test_pretty_works_for_a_body_too(chi: Chi) -> None:
    """POST /?pretty indents as well."""
    assert chi.request("/?pretty", "POST", b'{"command":"summary"}').body.startswith(b"{\n  ")


# --- HEAD -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/summary", "/gpu/0", "/summary+devs+pools/", "/summary?pretty", *OWN])
def test_head_is_get_without_the_body(chi: Chi, path: str) -> None:
    """HEAD has the status and the headers of GET, and no body: the connection goes on right after."""
    with Wire(chi.port) as wire, Wire(chi.port) as other:
        get = wire.ask(f"GET {path}")
        head = other.ask(f"HEAD {path}")
        assert (head.status, fields(head)) == (get.status, fields(get))
        assert head.body == b""
        if head.headers["Connection"] != "close":
            assert other.ask("GET /healthz").status == 200


@pytest.mark.parametrize("path", ["/quit", "/nonsense", "/summary+quit", "/addpool/u,n,p", "/Summary", "/+"])
def test_head_is_for_reports_only(chi: Chi, miner: ScriptedMiner, path: str) -> None:
    """HEAD of anything but a report is refused, and the miner hears nothing of it."""
    with Wire(chi.port) as wire:
        response = wire.ask(f"HEAD {path}")
        assert response.status == 405
        assert response.headers["Allow"] == "GET, POST"
        assert wire.ask("GET /healthz").status == 200
    assert miner.requests == []


@pytest.mark.parametrize("path", ["/summary", "/gpu/%ff", "/gpu/%", "/readyz"])
def test_head_of_an_error_has_no_body(serve: Callable[..., Chi], path: str) -> None:
    """HEAD of what fails has the status and headers of GET, and no body either."""
    chi = serve(free_port())
    with Wire(chi.port) as wire:
        get, head = wire.ask(f"GET {path}"), wire.ask(f"HEAD {path}")
        assert get.status in (400, 502, 503)
        assert (head.status, fields(head)) == (get.status, fields(get))
        assert wire.ask("GET /healthz").status == 200


# --- POST -----------------------------------------------------------------------------------------

BODIES = [
    (b'{"command":"summary"}', {"command": "summary"}),
    (b' {\r\n "command" : "summary" }\n', {"command": "summary"}),
    (b'{"command":"gpu","parameter":"0"}', {"command": "gpu", "parameter": "0"}),
    (b'{"command":"gpu","parameter":0}', {"command": "gpu", "parameter": 0}),
    (b'{"command":"a","parameter":[1,{"b":null}]}', {"command": "a", "parameter": [1, {"b": None}]}),
    (b'{"command":"a","parameter":true}', {"command": "a", "parameter": True}),
    (b'{"command":"a","parameter":-0.5e-3}', {"command": "a", "parameter": -0.0005}),
    (b'{"command":"a","parameter":18446744073709551616}', {"command": "a", "parameter": 2**64}),
    (b'{"command":"a","parameter":' + b"9" * 4000 + b"}", {"command": "a", "parameter": int("9" * 4000)}),
    (b'{"command":"addpool","parameter":"stratum+tcp://p:1,u,\\"\\\\,"}',
     {"command": "addpool", "parameter": 'stratum+tcp://p:1,u,"\\,'}),
    (b'{"command":"\xc3\xa4","parameter":"\\ud83d\\ude00 \\ud800"}',
     {"command": "\u00e4", "parameter": "\U0001f600 \ud800"}),
    (b'{"command":""}', {"command": ""}),
    # Vendors' own members are passed on.
    (b'{"command":"stats","new_api":true}', {"command": "stats", "new_api": True}),
    (b'{"cmd":"get_token"}', {"cmd": "get_token"}),
    (b'{"token":"x","cmd":"reboot"}', {"token": "x", "cmd": "reboot"}),
    (b'{"enc":1,"data":"c2VjcmV0"}', {"enc": 1, "data": "c2VjcmV0"}),
    # Of equal names the last counts, for who judges it as for who is asked.
    (b'{"command":"summary","command":"quit"}', {"command": "quit"}),
    (b'{"command":"quit","command":"summary"}', {"command": "summary"}),
    (b'{"command":5,"command":"summary"}', {"command": "summary"}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "request_of_the_api"), BODIES)
def test_body_is_the_request_of_the_api(
    chi: Chi, miner: ScriptedMiner, body: bytes, request_of_the_api: dict[str, Any]
) -> None:
    """POST / sends the body's request to the miner, encoded anew: compact, in ASCII, each name once."""
    response = chi.request("/", "POST", body, Content_Type="application/x-www-form-urlencoded")
    assert response.status == 200
    assert response.body == HEALTHY[:-1]
    encoded = json.dumps(request_of_the_api, separators=(",", ":")).encode("ascii")
    assert miner.requests == [encoded]


def nested(levels: int) -> bytes:
    """A body nested so many levels deep."""
    return b'{"command":"a","parameter":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


BAD_BODIES = {
    "empty": b"",
    "blank": b" \r\n",
    "array": b'[{"command":"summary"}]',
    "string": b'"summary"',
    "number": b"1",
    "null": b"null",
    "no member": b"{}",
    "no command": b'{"parameter":"0"}',
    "command a number": b'{"command":1}',
    "command null": b'{"command":null}',
    "command an array": b'{"command":["quit"]}',
    "last command a number": b'{"command":"summary","command":1}',
    "cut off": b'{"command":"summary"',
    "text after it": b'{"command":"summary"}x',
    "two": b'{"command":"summary"}{"command":"quit"}',
    "NUL after it": b'{"command":"summary"}\0',
    "trailing comma": b'{"command":"summary",}',
    "single quotes": b"{'command':'summary'}",
    "comment": b'{"command":"summary"/**/}',
    "text protocol": b"summary|0",
    "form": b"command=summary",
    "NaN": b'{"command":"a","parameter":NaN}',
    "Infinity": b'{"command":"a","parameter":Infinity}',
    "-Infinity": b'{"command":"a","parameter":-Infinity}',
    "1e999": b'{"command":"a","parameter":1e999}',
    "-1e999": b'{"command":"a","parameter":[{"b":-1e999}]}',
    "integer of 5,000 digits": b'{"command":"a","parameter":' + b"9" * 5000 + b"}",
    "control character": b'{"command":"a\n"}',
    "invalid UTF-8": b'{"command":"a","parameter":"\xff"}',
    "surrogate in UTF-8": b'{"command":"a","parameter":"\xed\xa0\x80"}',
    "UTF-16": '{"command":"summary"}'.encode("utf-16"),
    "nested": nested(MAX_DEPTH + 1),
    "nested 30,000 levels": nested(30_000),
    "opened 60,000 times": b"[" * 60_000,
    "opened 60,000 times, in objects": b'{"a":' * 12_000,
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_body_that_is_no_request_is_refused(chi: Chi, miner: ScriptedMiner, body: bytes) -> None:
    """A body that is not a JSON object with a string command is 400, says what one is, and goes nowhere."""
    response = chi.request("/", "POST", body)
    assert "The body is not a request of the API, such as" in assert_ours(response, 400)
    assert miner.requests == []


def test_nesting_within_the_limit_is_passed_on(chi: Chi, miner: ScriptedMiner) -> None:
    """A body as deep as the limit is still a request."""
    assert chi.request("/", "POST", nested(MAX_DEPTH)).status == 200
    assert miner.requests == [nested(MAX_DEPTH)]


@pytest.mark.usefixtures("patience")
def test_post_that_is_asked_for_later_is_still_the_same(chi: Chi, miner: ScriptedMiner) -> None:
    """A report asked for by a body that comes while it is being fetched is fetched again for it."""
    gates = [threading.Event(), threading.Event()]
    miner.script = lambda request: [gates[len(miner.requests) - 1], HEALTHY]
    first = Background(chi.request, "/", "POST", b'{"command":"summary"}')
    miner.asked(1)
    with Wire(chi.port) as wire:
        wire.request("POST /", body=b'{"command":"summary"}')
        assert chi.get("/healthz").status == 200  # so the request before has arrived
        gates[0].set()
        miner.asked(2)
        gates[1].set()
        response = wire.read()
    assert first.result().status == 200
    assert (response.status, response.body) == (200, HEALTHY[:-1])
    assert asked(miner) == [{"command": "summary"}] * 2


@pytest.mark.parametrize("body", [b'{"command":"quit"}', b"parameter=1", b"\0", b" "])
def test_path_and_body_do_not_mix(chi: Chi, miner: ScriptedMiner, body: bytes) -> None:
    """POST of a path with a body is refused: it is not clear which of them is meant."""
    response = chi.request("/summary", "POST", body)
    assert "must not have a body" in assert_ours(response, 400)
    assert miner.requests == []


@pytest.mark.parametrize("size", [MAX_REQUEST, MAX_REQUEST + 1])
@pytest.mark.parametrize("form", ["path", "body", "escaped body"])
def test_request_larger_than_the_api_reads_is_refused(
    chi: Chi, miner: ScriptedMiner, form: str, size: int
) -> None:
    """A request of as many bytes as the API reads goes; one of a byte more is 413 and goes nowhere."""
    parameter = "/" * (size - len('{"command":"a","parameter":""}'))
    if form == "path":
        response = chi.get("/a/" + parameter.replace("/", "%2F"))
    else:
        escaped = parameter if form == "body" else parameter.replace("/", "\\u002f")
        response = chi.request("/", "POST", f'{{"command":"a","parameter":"{escaped}"}}'.encode())
    if size == MAX_REQUEST:
        assert response.status == 200
        assert list(map(len, miner.requests)) == [size]
    else:
        assert f"The request has {size} bytes" in assert_ours(response, 413)
        assert miner.requests == []


# --- Requests that cannot be ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/%", "/%2", "/%zz", "/gpu/%", "/gpu/%1", "/gpu/100%", "/gpu/%u00e4", "/gpu/%0x", "/%%30"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_bad_percent_encoding_is_refused(chi: Chi, miner: ScriptedMiner, method: str, path: str) -> None:
    """A % without two hexadecimal digits is 400, and says how a % is written."""
    response = chi.request(path, method)
    if method != "HEAD":
        assert "a % itself is %25" in assert_ours(response, 400)
    assert response.status == 400
    assert miner.requests == []


@pytest.mark.parametrize(
    "path",
    ["/%ff", "/gpu/%c3", "/gpu/%C3%28", "/gpu/%c0%af", "/gpu/%ed%a0%80", "/%ffhealthz", "/%ffreadyz"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_bad_utf8_is_refused(chi: Chi, miner: ScriptedMiner, method: str, path: str) -> None:
    """Bytes in a path that are not UTF-8 are 400, wherever they are and whatever is beside them."""
    response = chi.request(path, method)
    assert "The path is not percent-encoded UTF-8" in assert_ours(response, 400)
    assert miner.requests == []


@pytest.mark.parametrize("method", NO_COMMANDS)
@pytest.mark.parametrize("path", ["/", "/summary", "/quit", "/addpool/u,n,p"])
def test_other_methods_are_refused(chi: Chi, miner: ScriptedMiner, method: str, path: str) -> None:
    """Any other method is 405 with the methods that can be used, and the miner is not asked."""
    response = chi.request(path, method)
    assert "Only GET, HEAD, POST can be used" in assert_ours(response, 405)
    assert response.headers["Allow"] == "GET, HEAD, POST"
    assert miner.requests == []


@pytest.mark.parametrize("method", ["POST", *NO_COMMANDS])
@pytest.mark.parametrize("path", OWN)
def test_own_paths_are_only_read(chi: Chi, miner: ScriptedMiner, method: str, path: str) -> None:
    """Its own paths have GET and HEAD, and say so for every other method."""
    response = chi.request(path, method)
    assert "Only GET, HEAD can be used" in assert_ours(response, 405)
    assert response.headers["Allow"] == "GET, HEAD"
    assert miner.requests == []


@pytest.mark.parametrize("target", ["summary", "*", "gpu/0", "healthz", "summary:0", "127.0.0.1:80"])
def test_target_that_is_no_path_is_refused(chi: Chi, miner: ScriptedMiner, target: str) -> None:
    """A request target that does not begin with a slash is 400, unless it is a whole URL."""
    with Wire(chi.port) as wire:
        response = wire.ask(f"GET {target}")
    assert_ours(response, 400)
    assert miner.requests == []


@pytest.mark.parametrize(
    ("rest", "request_of_the_api"),
    [
        ("", {"command": "summary+devs"}),
        ("/", {"command": "summary+devs"}),
        ("/gpu/0", {"command": "gpu", "parameter": "0"}),
        ("/gpu/http://x/y", {"command": "gpu", "parameter": "http://x/y"}),
        ("/summary?pretty", {"command": "summary"}),
    ],
)
def test_whole_url_is_its_path(
    chi: Chi, miner: ScriptedMiner, rest: str, request_of_the_api: dict[str, str]
) -> None:
    """A request for a whole URL, as through a proxy, is one for its path."""
    with Wire(chi.port) as wire:
        assert wire.ask(f"GET http://127.0.0.1:{chi.port}{rest}").status == 200
    assert asked(miner) == [request_of_the_api]


MALFORMED = {
    "no version and too much": (b"GET / / HTTP/1.1\r\n\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\n\r\n", 400),
    "no target": (b"GET\r\n\r\n", 400),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400),
    "binary": (b"\x16\x03\x01\x02\0\x01\0\xfc\x03\x03\r\n\r\n", 400),
    "lower case": (b"get / HTTP/1.1\r\n\r\n", 400),
    "odd version": (b"GET / HTTP/one\r\n\r\n", 400),
    "bytes beyond ASCII": (b"GET /gpu/\xc3\xa4 HTTP/1.1\r\n\r\n", 400),
    "no such address": (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
    "line feed in the first line": (b"GET /\n HTTP/1.1\r\n\r\n", 400),
    "header without a colon": (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
    "space in a header's name": (b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n", 400),
    "folded before any": (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
    "line feed in a header": (b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400),
    "length not a number": (b"POST / HTTP/1.1\r\nContent-Length: ten\r\n\r\n", 400),
    "length negative": (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
    "length of 5,000 digits": (b"POST / HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "chunk not hexadecimal": (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "chunk too long": (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", 400),
    "body too large": (b"POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", 413),
    "body far too large": (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
    "chunks too large": (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n%b\r\n" % (b" " * 4096) * 17,
        413,
    ),
    "target too long": (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", 431),
    "headers too long": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 7000 + b"\r\n", 431),
    "no end of the headers": (b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000, 431),
    "unknown encoding": (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    "unknown encoding as well": (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
}


@pytest.mark.parametrize(("data", "status"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_http_is_answered_in_the_envelope(
    chi: Chi, miner: ScriptedMiner, caplog: pytest.LogCaptureFixture, data: bytes, status: int
) -> None:
    """What is no HTTP gets its status, in chi's own envelope, and the connection ends; nothing is logged."""
    with Wire(chi.port) as wire:
        wire.send(data)
        response = wire.read()
        assert_ours(response, status)
        assert response.headers.get_all("Connection") == ["close"]
        assert wire.ended()
    assert miner.requests == []
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("size", [MAX_BODY + 1, 1 << 20, 8 << 20])
def test_client_learns_that_its_body_is_too_large(chi: Chi, size: int) -> None:
    """A client that sends far too much before it listens hears of it all the same."""
    assert_ours(chi.request("/", "POST", b" " * size), 413)


def test_head_of_malformed_http_has_no_body(chi: Chi) -> None:
    """The answer to a HEAD that is refused before it is understood has no body either."""
    with Wire(chi.port) as wire:
        wire.request("HEAD /", "Transfer-Encoding: gzip")
        assert wire.read("HEAD").status == 501
        assert wire.ended()


# --- Errors ---------------------------------------------------------------------------------------

MINER_ERRORS = {
    "closed": ((), 502, "api-allow"),
    "empty": ((b"\0",), 502, "empty reply"),
    "text": ((b"STATUS=E,When=1,Code=14,Msg=Inval\0",), 502, "text protocol"),
    "plain": ((b"Socket connect failed: Connection refused\n",), 502, "not JSON"),
    "cut": ((HEALTHY[:-20],), 502, "cut off"),
    "deep": ((b"[" * 100_000 + b"\0",), 502, "nested"),
    "silent": ((HOLD,), 504, "did not answer within 1 s"),
}


def patience_for(message: str) -> float:
    """A --timeout that a busy machine keeps, where it is not what the test waits for."""
    return 1 if "within" in message else 25


@pytest.mark.parametrize(("script", "status", "message"), MINER_ERRORS.values(), ids=MINER_ERRORS)
def test_failure_of_the_miner_is_told(
    serve: Callable[..., Chi], miner: ScriptedMiner, script: tuple[Any, ...], status: int, message: str
) -> None:
    """What is wrong with the miner is told in chi's own envelope with a status of its own."""
    miner.script = script
    response = serve(miner.port, timeout=patience_for(message)).get("/summary")
    assert message in assert_ours(response, status)
    # Where nothing came, a plain `summary` shows whether the miner speaks only text.
    assert len(miner.requests) == (2 if script in ((), (b"\0",)) else 1)


def test_refused_connection_names_the_miner(serve: Callable[..., Chi]) -> None:
    """Where nothing listens, 502 says where the miner was looked for, and that its API may be off."""
    port = free_port()
    message = assert_ours(serve(port).get("/summary"), 502)
    assert f"127.0.0.1:{port} refuses connections" in message
    assert "--api-listen" in message


def test_refusal_for_want_of_time_says_when_to_try_again(
    serve: Callable[..., Chi], miner: ScriptedMiner
) -> None:
    """503 comes with Retry-After."""
    miner.script = [HOLD]
    chi = serve(miner.port, timeout=0.3, threads=1)
    clients = [Background(chi.get, f"/gpu/{number}") for number in range(20)]
    responses = [client.result() for client in clients]
    assert {response.status for response in responses} == {503, 504}
    for response in responses:
        assert_ours(response, response.status)
        assert response.headers["Retry-After"] == ("1" if response.status == 503 else None)


@pytest.mark.parametrize(
    "fault", [RuntimeError("secret of the inside"), KeyError("x"), RecursionError(), ZeroDivisionError()]
)
def test_fault_in_chi_is_500_and_tells_no_inside(
    chi: Chi, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fault: Exception
) -> None:
    """A fault in a handler is 500 in the envelope for its client, a traceback for the log, no more."""

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(chi.miner, "ask", fail)
    message = assert_ours(chi.get("/summary"), 500)
    assert message == "Internal error. The log of chi has the details."
    assert chi.get("/healthz").status == 200
    assert type(fault).__name__ in capfd.readouterr().err


def test_fault_outside_the_handlers_is_500_too(
    chi: Chi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault outside the handlers is 500 in the envelope, and logged."""

    def fail(*_: object) -> None:
        raise RuntimeError("secret of the inside")

    with Wire(chi.port) as wire:
        with monkeypatch.context() as patch:
            patch.setattr(chi.loop.servers[0], "application", fail)
            message = assert_ours(wire.ask("GET /gpu/0"), 500)
        assert "secret" not in message
    assert "secret of the inside" in caplog.text
    assert chi.get("/summary").status == 200


def test_fault_in_a_connection_ends_that_connection_alone(
    chi: Chi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault in serving one connection ends it, is logged, and harms no other."""

    def fail(*_: object) -> None:
        raise RuntimeError("out of order")

    with Wire(chi.port) as wire, Wire(chi.port) as other:
        assert other.ask("GET /healthz").status == 200
        with monkeypatch.context() as patch:
            patch.setattr(channels.HTTPChannel, "service", fail)
            wire.request("GET /healthz")
            assert wire.ended()
        assert other.ask("GET /healthz").status == 200
    assert "out of order" in caplog.text


# --- Own paths ------------------------------------------------------------------------------------


def test_healthz_never_asks_the_miner(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """/healthz says that chi is alive, with a healthy miner, a hung one and none, and asks none of them."""
    healthy, absent = serve(miner.port), serve(free_port())
    for chi in (healthy, absent):
        assert assert_ours(chi.get("/healthz"), 200) == "chi is alive"
        assert assert_ours(chi.get("/healthz?pretty"), 200) == "chi is alive"
    assert (miner.requests, miner.connections) == ([], 0)
    miner.script = [HOLD]
    hung = serve(miner.port, timeout=30)
    with Wire(hung.port) as wire:
        for number in range(10):
            wire.request(f"GET /gpu/{number}")
        miner.asked(1)
        assert_ours(hung.get("/healthz"), 200)


def test_readyz_asks_for_the_version(chi: Chi, miner: ScriptedMiner) -> None:
    """/readyz asks the miner for its version, each time, and names it."""
    for _ in range(2):
        message = assert_ours(chi.get("/readyz"), 200)
        assert message == f"miner 127.0.0.1:{miner.port} answers"
    assert asked(miner) == [{"command": "version"}] * 2


def test_readyz_takes_an_error_of_the_api_for_an_answer(chi: Chi, miner: ScriptedMiner) -> None:
    """A miner that answers with an error of its own is there."""
    miner.script = [capture("nonsense")]
    assert_ours(chi.get("/readyz"), 200)


@pytest.mark.parametrize(("script", "_", "message"), MINER_ERRORS.values(), ids=MINER_ERRORS)
def test_readyz_gives_the_reason(
    serve: Callable[..., Chi], miner: ScriptedMiner, script: tuple[Any, ...], _: int, message: str
) -> None:
    """/readyz is 503 with the reason while the miner gives no reply, and 200 again as soon as it does."""
    chi = serve(miner.port, timeout=patience_for(message))
    miner.script = script
    response = chi.get("/readyz")
    assert message in assert_ours(response, 503)
    assert response.headers["Retry-After"] == "1"
    miner.script = [HEALTHY]
    assert_ours(chi.get("/readyz"), 200)


def test_readyz_tells_of_no_miner(serve: Callable[..., Chi]) -> None:
    """/readyz is 503 where nothing listens."""
    assert "refuses connections" in assert_ours(serve(free_port()).get("/readyz"), 503)


def reason_of(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status and reason of a response's first line, and the message in its body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        return response.status, response.reason, json.loads(body)["STATUS"][0]["Msg"] if body else ""
    finally:
        connection.close()


def test_readyz_gives_the_reason_in_the_status_line(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """Checkers that show nothing but that tell why: each failure of /readyz, whatever the method."""
    port = serve(free_port()).port
    status, reason, message = reason_of(port, "/readyz")
    assert (status, reason) == (503, message)
    assert "refuses connections" in reason
    assert reason_of(port, "/readyz", "HEAD") == (503, reason, "")
    assert reason_of(port, "/summary")[:2] == (502, "Bad Gateway")
    miner.script = [HEALTHY]
    assert reason_of(serve(miner.port).port, "/readyz")[:2] == (200, "OK")


@pytest.mark.parametrize(
    "said", ["\r\nX-Evil: 1\r\n\r\n", "\0\x1b[2J\x7f\u2028\u00e4\u4e2d", "a" * 5000, "\n"]
)
def test_status_line_is_bounded_and_printable(said: str) -> None:
    """Whatever a message has in it, the status line is a short line of printable ASCII."""
    line = status_line(503, said)
    assert re.fullmatch(r"503 [ -~]{1,200}", line)
    assert line.strip() == line


def test_no_reply_gets_into_the_head(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """What a miner sends that is no reply does not become a header field of chi's response."""
    miner.script = [b"no\r\nX-Evil: 1\r\n\r\n\0"]
    response = serve(miner.port).get("/readyz")
    assert response.status == 503
    assert response.headers["X-Evil"] is None


def test_browsers_own_requests_never_reach_the_miner(chi: Chi, miner: ScriptedMiner) -> None:
    """/favicon.ico may be kept, /robots.txt asks robots to stay away; neither asks the miner."""
    icon, robots = chi.get("/favicon.ico"), chi.get("/robots.txt")
    assert (icon.status, icon.headers["Content-Type"]) == (200, "image/x-icon")
    assert "max-age" in icon.headers["Cache-Control"]
    assert (robots.status, robots.body) == (200, b"User-agent: *\nDisallow: /\n")
    assert robots.headers["Content-Type"].startswith("text/plain")
    assert miner.requests == []


# --- Connections ----------------------------------------------------------------------------------


def test_connection_serves_many_requests(chi: Chi, miner: ScriptedMiner) -> None:
    """A connection stays open, whatever the answers on it were."""
    miner.script = lambda request: [envelope(ECHO=json.loads(request)["command"])]
    with Wire(chi.port) as wire:
        for start, status in (
            ("GET /a", 200),
            ("GET /%zz", 400),
            ("HEAD /summary", 200),
            ("PUT /a", 405),
            ("POST /b", 200),
            ("HEAD /quit", 405),
            ("GET /healthz", 200),
            ("GET nowhere", 400),
            ("GET /c", 200),
        ):
            assert wire.ask(start).status == status
        assert wire.silent()
    assert miner.commands == ["a", "summary", "b", "c"]


def test_pipelined_requests_are_answered_in_order(chi: Chi, miner: ScriptedMiner) -> None:
    """Requests that come at once on one connection are answered one by one, in their order."""
    miner.script = lambda request: [envelope(ECHO=json.loads(request)["command"])]
    starts = [f"GET /{name}" for name in "abcdefghij"]
    starts[3:3] = ["GET /healthz", "POST /quit", "HEAD /summary", "PUT /x", "GET /%", "HEAD /quit"]
    with Wire(chi.port) as wire:
        wire.send(b"".join(wire.head(f"{start} HTTP/1.1") for start in starts))
        responses = [wire.read(start.split(" ")[0]) for start in starts]
        assert wire.silent()
    assert [response.status for response in responses[3:9]] == [200, 200, 200, 405, 400, 405]
    del responses[3:9]
    assert [response.json["ECHO"] for response in responses] == list("abcdefghij")
    assert miner.commands == [*"abc", "quit", "summary", *"defghij"]


def test_pipelined_request_waits_for_the_one_before(chi: Chi, miner: ScriptedMiner) -> None:
    """What follows a request on a connection waits for its answer, even if it needs no miner."""
    gate = threading.Event()
    miner.script = lambda request: [gate, HEALTHY]
    with Wire(chi.port) as wire:
        wire.send(wire.head("GET /summary HTTP/1.1") + wire.head("GET /healthz HTTP/1.1"))
        miner.asked(1)
        assert wire.silent()
        gate.set()
        assert wire.read().body == HEALTHY[:-1]
        assert wire.read().message == "chi is alive"


def test_slow_reader_gets_all_and_holds_nobody_up(chi: Chi, miner: ScriptedMiner) -> None:
    """A slow reader's pipelined large replies come whole, in order, and others are served meanwhile."""
    miner.script = lambda request: [envelope(ECHO=json.loads(request)["command"] * 400_000)]
    with Wire(chi.port, buffer=4096) as wire:
        wire.send(b"".join(wire.head(f"GET /{name} HTTP/1.1") for name in "abc"))
        wire.send(wire.head("GET /healthz HTTP/1.1") + wire.head("GET /d HTTP/1.1"))
        miner.asked(1)
        for number in range(20):
            assert chi.get("/healthz").status == 200
            assert chi.get(f"/{number % 10}").status == 200
        for name in "abc":
            assert wire.read().json["ECHO"] == name * 400_000
        assert wire.read().message == "chi is alive"
        assert wire.read().json["ECHO"] == "d" * 400_000


def test_client_that_goes_in_the_middle_harms_nobody(chi: Chi, miner: ScriptedMiner) -> None:
    """Clients that go while they wait, or while they are sent a large reply, leave the others alone."""
    gate = threading.Event()
    miner.script = lambda request: [gate, envelope(ECHO="x" * 3_000_000)]
    for number in range(4):
        for end in (Wire.close, Wire.reset):
            wire = Wire(chi.port, buffer=4096)
            wire.send(wire.head(f"GET /gpu/{number} HTTP/1.1") * 2)
            miner.asked(number + 1)
            end(wire)
    gate.set()
    miner.script = [HEALTHY]
    assert chi.get("/summary").body == HEALTHY[:-1]


def test_client_that_ends_its_side_gets_its_answer(chi: Chi) -> None:
    """A client that has said all and closes its side, as nc does, still gets its answer."""
    with Wire(chi.port) as wire:
        wire.request("GET /summary")
        wire.sock.shutdown(1)
        assert wire.read().body == HEALTHY[:-1]
        assert wire.ended()


def test_connection_close_is_honoured(chi: Chi) -> None:
    """Connection: close ends the connection after the answer, and the answer says so."""
    for path in ("/summary", "/healthz", "/%"):
        with Wire(chi.port) as wire:
            response = wire.ask(f"GET {path}", "Connection: close")
            assert response.headers["Connection"] == "close"
            assert wire.ended()


@pytest.mark.parametrize("path", ["/summary", "/healthz", "/%"])
def test_http_1_0(chi: Chi, path: str) -> None:
    """HTTP/1.0 is served, and its connection ends unless the client asks to keep it."""
    with Wire(chi.port) as wire:
        wire.send(wire.head(f"GET {path} HTTP/1.0"))
        expected = wire.read()
        assert expected.headers["Connection"] == "close"
        assert wire.ended()
    with Wire(chi.port) as wire:
        for _ in range(2):
            wire.send(wire.head(f"GET {path} HTTP/1.0", "Connection: keep-alive"))
            response = wire.read()
            assert response.headers["Connection"].lower() == "keep-alive"
            assert (response.status, len(response.body)) == (expected.status, len(expected.body))


@pytest.mark.parametrize("pieces", [2, 7, 1000])
def test_request_may_come_in_pieces(chi: Chi, miner: ScriptedMiner, pieces: int) -> None:
    """A request that comes in pieces, its body too, is put together."""
    body = b'{"command":"gpu","parameter":"0"}'
    with Wire(chi.port) as wire:
        data = wire.head("POST / HTTP/1.1", f"Content-Length: {len(body)}") + body
        size = max(1, len(data) // pieces)
        for start in range(0, len(data), size):
            wire.send(data[start : start + size])
            assert chi.get("/healthz").status == 200  # so the piece has arrived
        assert wire.read().status == 200
    assert miner.requests == [body]


def chunked(*chunks: bytes) -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def test_chunked_body(chi: Chi, miner: ScriptedMiner) -> None:
    """A body in chunks is a body, and none in chunks is none."""
    with Wire(chi.port) as wire:
        head = wire.head("POST / HTTP/1.1", "Transfer-Encoding: chunked")
        wire.send(head + chunked(b'{"command":', b'"gpu"', b"}"))
        assert wire.read().status == 200
        wire.send(head.replace(b"POST / ", b"POST /quit ") + chunked())
        assert wire.read().status == 200
        wire.send(head.replace(b"POST / ", b"POST /quit ") + chunked(b"x"))
        assert wire.read().status == 400
        assert wire.ask("GET /healthz").status == 200
    assert asked(miner) == [{"command": "gpu"}, {"command": "quit"}]


def test_chunked_bodies_are_pipelined(chi: Chi, miner: ScriptedMiner) -> None:
    """A body in chunks ends where it ends: what follows is the next request."""
    with Wire(chi.port) as wire:
        head = wire.head("POST / HTTP/1.1", "Transfer-Encoding: chunked")
        wire.send(b"".join(head + chunked(b'{"command":"%d"}' % number) for number in range(5)))
        assert [wire.read().status for _ in range(5)] == [200] * 5
    assert miner.commands == list("01234")


def test_client_that_asks_to_continue_is_told_so(chi: Chi, miner: ScriptedMiner) -> None:
    """Expect: 100-continue is answered before the body is sent, the request after it."""
    body = b'{"command":"gpu"}'
    with Wire(chi.port) as wire:
        wire.send(wire.head("POST / HTTP/1.1", "Expect: 100-continue", f"Content-Length: {len(body)}"))
        assert wire.read().status == 100
        wire.send(body)
        assert wire.read().status == 200
    assert asked(miner) == [{"command": "gpu"}]


@pytest.mark.parametrize("start", ["GET /summary", "POST /summary", "HEAD /summary"])
def test_client_with_nothing_to_continue_is_answered(chi: Chi, start: str) -> None:
    """Expect: 100-continue of a request without a body does not keep its answer back."""
    method = start.split(" ")[0]
    with Wire(chi.port) as wire:
        wire.request(start, "Expect: 100-continue")
        response = wire.read(method)
        if response.status == 100:
            response = wire.read(method)
        assert response.status == 200


def test_client_that_would_send_too_much_is_told_before(chi: Chi) -> None:
    """A client that asks whether to continue with a body that is too large need not send it."""
    with Wire(chi.port) as wire:
        size = f"Content-Length: {MAX_BODY + 1}"
        wire.send(wire.head("POST / HTTP/1.1", "Expect: 100-continue", size))
        assert_ours(wire.read(), 413)
        assert wire.ended()


def test_empty_lines_before_a_request_are_ignored(chi: Chi) -> None:
    """Line ends between requests, as some old clients send them, do no harm."""
    with Wire(chi.port) as wire:
        wire.send(b"\r\n" + wire.head("GET /summary HTTP/1.1") + b"\r\n" + wire.head("GET /healthz HTTP/1.1"))
        assert wire.read().body == HEALTHY[:-1]
        assert wire.read().message == "chi is alive"


def test_urgent_data_does_no_harm(chi: Chi, caplog: pytest.LogCaptureFixture) -> None:
    """Out-of-band data of a client is no event: the log stays silent and others are served."""
    with Wire(chi.port) as wire:
        wire.send(b"GET /summ")
        wire.sock.send(b"!", 1)
        for _ in range(5):
            assert chi.get("/healthz").status == 200
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "X-Real-Ip: 10.0.0.1"]
)
def test_proxy_headers_are_not_believed(chi: Chi, header: str) -> None:
    """A client is its own address, whatever its headers say: the application never sees another."""
    seen: list[str] = []
    application = chi.loop.servers[0].application

    def spy(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(environ["REMOTE_ADDR"])
        return application(environ, start_response)

    chi.loop.servers[0].application = spy
    with Wire(chi.port) as wire:
        assert wire.ask("GET /healthz", header).status == 200
    assert seen == ["127.0.0.1"]


@pytest.mark.parametrize("body", [b"", b"\xef\xbb\xbf", b" \r\n"])
def test_an_empty_body_says_so(chi: Chi, miner: ScriptedMiner, body: bytes) -> None:
    """A POST without a request is told that it is empty, not what JSON would have been expected."""
    message = assert_ours(chi.request("/", "POST", body), 400)
    assert message.endswith("it is empty.")
    assert miner.requests == []


def test_a_body_after_a_byte_order_mark(chi: Chi, miner: ScriptedMiner) -> None:
    """What .NET and PowerShell put before a body is no part of it."""
    assert chi.request("/", "POST", b'\xef\xbb\xbf{"command":"version"}').status == 200
    assert miner.requests == [b'{"command":"version"}']
