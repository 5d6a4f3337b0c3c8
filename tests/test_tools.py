"""HTTP as people's tools speak it: too many slashes, preflights, misplaced commands, names of this host."""

from __future__ import annotations

import gzip
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chi import pages
from chi.access import search_domains
from chi.places import place
from tests.client import Wire
from tests.conftest import Chi, Response
from tests.scripted import ScriptedMiner

GRAFANA = "http://grafana.lan:3000"
OWN = [
    *("healthz", "readyz", "metrics", "status.json", "history.json", "access.json", "fleet.json"),
    *("targets.json", "dashboard", "manifest.webmanifest", "favicon.ico", "robots.txt"),
]
SCRAPED = (
    "summary",
    "devs",
    "pools",
    "stats",
    "estats",
    "devdetails",
    "coin",
    "config",
    "notify",
    "temps",
    "fans",
)
SPELLINGS = ["/{}/", "//{}", "/{}//", "///{}///", "/%2F{}", "/{}%2f", "//{}?pretty", "/%2f/{}/?a=b"]


# --- Slashes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OWN)
def test_own_path_with_slashes_is_never_forwarded(chi: Chi, miner: ScriptedMiner, name: str) -> None:
    """A slash too many, encoded or not: the same answer, or a redirect to the path itself."""
    plain = chi.get(f"/{name}")
    for spelling in SPELLINGS:
        response = chi.get(spelling.format(name))
        if name == "dashboard" and not spelling.partition("?")[0].endswith("{}"):
            assert (response.status, response.headers["Location"]) == (308, "/dashboard")
        else:
            assert response.status == plain.status
            assert response.headers["Content-Type"] == plain.headers["Content-Type"]
        posted = chi.request(spelling.format(name), "POST", b"")
        assert (posted.status, posted.headers["Allow"]) == (405, "GET, HEAD")
    asked = {command for joined in miner.commands for command in joined.split("+")}
    assert asked <= {"version", *SCRAPED}


@pytest.mark.parametrize(
    "path",
    ["//evil.example/dashboard", "//evil.example//dashboard/", "/\\evil.example/dashboard/", "//dashboard//"],
)
def test_redirect_leads_nowhere_else(chi: Chi, path: str) -> None:
    """A Location is one of chi's own paths, whatever was asked for."""
    assert chi.get(path).headers.get("Location") in (None, "/dashboard")


@pytest.mark.parametrize(
    "path", ["/@", "/@/", "/@/summary", "//@rig/summary", "/%40rig/quit", "/%2f@rig/quit"]
)
def test_names_of_miners_are_never_forwarded(chi: Chi, miner: ScriptedMiner, path: str) -> None:
    """/@… is chi's own, with or without a fleet, however it is spelt."""
    for method in ("GET", "POST"):
        response = chi.request(path, method, b"" if method == "POST" else None)
        assert response.status == 404
        assert response.json["STATUS"][0]["STATUS"] == "E"
    assert miner.requests == []


def test_redirect_stays_below_the_miners_name(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """The page of one miner of a fleet is at its own path."""
    chi = serve(miner.port, miner=(place(f"rig=127.0.0.1:{miner.port}"),))
    assert chi.get("/@rig/dashboard/").headers["Location"] == "/@rig/dashboard"
    assert chi.get("/dashboard/").headers["Location"] == "/dashboard"
    assert chi.get("/@rig//healthz").message == "chi is alive"
    assert chi.get("/@rig/@rig/summary").status == 404


# --- Where a command goes -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/summary"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_body_of_a_get_is_refused(chi: Chi, miner: ScriptedMiner, path: str, method: str) -> None:
    """A command in the body of a GET is not another command's reply."""
    response = chi.request(path, method, b'{"command":"version"}')
    assert response.status == 400
    if method == "GET":
        assert "A command goes into the path" in response.message
        assert "not into the body of a GET" in response.message
    assert miner.requests == []


@pytest.mark.parametrize(
    "path",
    ["/?command=version", "/?pretty&command=quit", "/?cmd=pools", "/summary?command"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_command_in_the_query_is_refused(chi: Chi, miner: ScriptedMiner, path: str, method: str) -> None:
    """The same for the query."""
    body = b'{"command":"summary"}' if path.startswith("/?") else b""
    response = chi.request(path, method, body if method == "POST" else None)
    assert response.status == 400
    assert "not into the query" in response.message
    assert miner.requests == []


# --- Preflight ------------------------------------------------------------------------------------


@pytest.fixture
def shared(serve: Callable[..., Chi], miner: ScriptedMiner) -> Chi:
    """Chi whose reports a Grafana may read."""
    return serve(miner.port, cors_origin=(GRAFANA,))


def preflight(chi: Chi, path: str, origin: str, method: str, **fields: str) -> Response:
    """What a browser asks before a request with headers of its own."""
    return chi.request(path, "OPTIONS", Origin=origin, Access_Control_Request_Method=method, **fields)


@pytest.mark.parametrize("path", ["/summary", "/", "/status.json", "/history.json", "/gpu/0"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_allowed_origin_may_ask_with_headers(
    shared: Chi, miner: ScriptedMiner, path: str, method: str
) -> None:
    """Grafana sends X-Grafana-Device-Id, others Cache-Control: their browser gets the leave for it."""
    response = preflight(shared, path, GRAFANA, method, Access_Control_Request_Headers="x-grafana-device-id")
    assert (response.status, response.body) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == GRAFANA
    assert response.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert response.headers["Access-Control-Allow-Headers"] == "*"
    assert "Origin" in response.headers["Vary"]
    assert miner.requests == []


@pytest.mark.parametrize(
    ("origin", "method"),
    [
        ("http://evil.example", "GET"),
        ("null", "GET"),
        (GRAFANA, "POST"),
        (GRAFANA, "DELETE"),
        (GRAFANA, ""),
        (GRAFANA, "get"),
    ],
)
def test_nobody_else_gets_leave(shared: Chi, miner: ScriptedMiner, origin: str, method: str) -> None:
    """Another origin, or anything but reading."""
    for path in ("/summary", "/status.json"):
        response = preflight(shared, path, origin, method)
        assert response.status == 405
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
    for path in ("/quit", "/summary+quit", "/addpool/a,b,c", "/nonsense"):
        assert preflight(shared, path, GRAFANA, "GET").status == 405
    assert miner.requests == []


def test_without_the_option_nobody_gets_leave(chi: Chi) -> None:
    """The default gives none."""
    assert preflight(chi, "/summary", GRAFANA, "GET").status == 405


# --- Names ----------------------------------------------------------------------------------------


def status_for(chi: Chi, host: str) -> int:
    """The status that a request for this host gets."""
    with Wire(chi.port) as wire:
        wire.send(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return wire.read().status


def test_local_names_are_taken(chi: Chi) -> None:
    """RFC 6761: localhost and what is below it is this host; other names are not."""
    for host in ("localhost.localdomain", "rig.localhost", "a.b.localhost:8080", "LOCALHOST.LOCALDOMAIN."):
        assert status_for(chi, host) == 200
    for host in ("localhost.example", "localdomain.example", "xlocalhost.example.com", "a.localdomain"):
        assert status_for(chi, host) == 421


def test_own_name_in_the_search_domain_is_taken(
    serve: Callable[..., Chi], miner: ScriptedMiner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rig.fritz.box is this host where it is called rig; that one name, not the domain."""
    resolver = tmp_path / "resolv.conf"
    monkeypatch.setattr("chi.access.RESOLVER", str(resolver))
    monkeypatch.setattr(socket, "gethostname", lambda: "Rig")
    monkeypatch.setattr(socket, "getfqdn", lambda: "rig")
    chi = serve(miner.port)
    assert status_for(chi, "rig.fritz.box") == 421
    resolver.write_text("nameserver 192.0.2.1\nsearch fritz.box Home.example.\n", encoding="ascii")
    for host in ("rig.fritz.box", "RIG.fritz.box.:8080", "rig.home.example"):
        assert status_for(chi, host) == 200
    for host in ("fritz.box", "nas.fritz.box", "a.rig.fritz.box", "rig.example", "rigfritz.box"):
        assert status_for(chi, host) == 421


@pytest.mark.parametrize(
    ("text", "domains"),
    [
        ("search a b", ["a", "b"]),
        ("domain a.example\n", ["a.example"]),
        ("search a\nsearch b\n", ["b"]),
        ("search .\nnameserver ::1", []),
        ("# search a\n; search b\n", []),
        ("search\n", []),
        ("\tsearch\tA.\n", ["a"]),
        ("search \xff\n", ["\ufffd"]),
    ],
)
def test_search_domains(tmp_path: Path, text: str, domains: list[str]) -> None:
    """resolv.conf(5): the last line of search or domain counts."""
    path = tmp_path / "resolv.conf"
    path.write_bytes(text.encode("latin-1"))
    assert search_domains(str(path)) == domains
    assert search_domains(str(tmp_path / "nowhere")) == []


# --- The page, kept and compressed ----------------------------------------------------------------


@pytest.mark.parametrize(
    "accepted", ["gzip", "gzip, deflate, br", "br;q=1, GZIP;q=0.5", "*", "deflate,*;q=0.1"]
)
def test_page_is_compressed_for_who_takes_it(chi: Chi, accepted: str) -> None:
    """The same page in fewer bytes."""
    plain = chi.get("/dashboard")
    response = chi.get("/dashboard", Accept_Encoding=accepted)
    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(response.body) == plain.body
    assert len(response.body) < len(plain.body) / 2
    assert response.headers["Content-Security-Policy"] == plain.headers["Content-Security-Policy"]
    assert response.headers["ETag"] != plain.headers["ETag"]


@pytest.mark.parametrize(
    "accepted", ["", "identity", "br", "gzip;q=0", "gzip; q=0.0, *", "x-gzipped", "*;q=0"]
)
def test_page_is_plain_for_who_does_not(chi: Chi, accepted: str) -> None:
    """And says that this depends on the header."""
    response = chi.get("/dashboard", Accept_Encoding=accepted)
    assert "Content-Encoding" not in response.headers
    assert response.body.startswith(b"<!DOCTYPE html>")
    assert response.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("accepted", ["identity", "gzip"])
def test_page_that_is_known_is_not_sent_again(chi: Chi, accepted: str) -> None:
    """By its tag, also as caches weaken it; another tag gets the page."""
    first = chi.get("/dashboard", Accept_Encoding=accepted)
    assert first.headers["Cache-Control"] == "no-cache"
    tag = first.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"a", {tag}', "*"):
        again = chi.get("/dashboard", Accept_Encoding=accepted, If_None_Match=known)
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == tag
        assert "Content-Encoding" not in again.headers
    for other in ('"a"', tag.strip('"'), ""):
        assert chi.get("/dashboard", Accept_Encoding=accepted, If_None_Match=other).status == 200


def test_page_without_zlib(chi: Chi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python has no zlib, as on small devices, the page is sent as it is."""
    monkeypatch.setitem(sys.modules, "zlib", None)
    pages.read_page.cache_clear()
    try:
        response = chi.get("/dashboard", Accept_Encoding="gzip")
        assert response.status == 200
        assert "Content-Encoding" not in response.headers
    finally:
        pages.read_page.cache_clear()
