"""Requests that try to talk the access policy round, as data, and a client quick enough to try them all.

An attack wraps a command, or a joined command, in some way that might be judged as one thing and sent as
another. Where it is judged as another command than the one it hides, `judged` says as which.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

POSITIONS: dict[str, Callable[[str], str]] = {
    "alone": lambda command: command,
    "first": lambda command: f"{command}+summary+devs",
    "middle": lambda command: f"summary+{command}+devs",
    "last": lambda command: f"summary+devs+{command}",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO", "QUIT")
TAKEN = ("GET", "HEAD", "POST")  # the others are no methods of chi's


class Target(NamedTuple):
    """A request target made of a command; judged as `judged(command)`, or refused with a status by itself."""

    make: Callable[[str], str]  # Latin-1 of the bytes
    judged: Callable[[str], str] | int


class Body(NamedTuple):
    """A body made of a command; judged as `judged(command)`, or refused with a status by itself."""

    make: Callable[[str], str | bytes]
    judged: Callable[[str], str] | int


def same(command: str) -> str:
    """Judged as what it is."""
    return command


def escaped(command: str, every: int = 1) -> str:
    """Percent-encoded, each character or each `every`-th."""
    return "".join(f"%{ord(char):02x}" if index % every == 0 else char for index, char in enumerate(command))


def swapped(command: str, letters: dict[str, str]) -> str:
    """With letters that only look alike."""
    return "".join(letters.get(char, char) for char in command)


CYRILLIC = dict(zip("aceopxy", "асеорху"))
FULLWIDTH = {chr(code): chr(code + 0xFEE0) for code in range(ord("a"), ord("z") + 1)}
COMBINED = {"a": "a\u0301", "e": "e\u200d", "i": "\u0131", "s": "\u017f", "k": "\u212a"}


TARGETS: dict[str, Target] = {
    "plain": Target(lambda c: f"/{c}", same),
    "trailing slash": Target(lambda c: f"/{c}/", same),
    "trailing slashes": Target(lambda c: f"/{c}///", same),
    "doubled slash": Target(lambda c: f"//{c}", same),
    "many slashes": Target(lambda c: f"/////{c}//", same),
    "doubled slash and a host": Target(lambda c: f"//localhost/{c}", lambda c: "localhost"),
    "backslash": Target(lambda c: f"/\\{c}", lambda c: f"\\{c}"),
    "parameter": Target(lambda c: f"/{c}/0", same),
    "parameter like a report": Target(lambda c: f"/{c}/summary", same),
    "parameter of the text protocol": Target(lambda c: f"/{c}|0", lambda c: f"{c}|0"),
    "report and the text protocol": Target(lambda c: f"/summary|{c}", lambda c: f"summary|{c}"),
    "percent-encoded": Target(lambda c: f"/{escaped(c)}", same),
    "percent-encoded, slash as well": Target(lambda c: f"/{escaped(c)}%2f0", same),
    "percent-encoded in part": Target(lambda c: f"/{escaped(c, 3)}", same),
    "plus percent-encoded": Target(lambda c: "/" + c.replace("+", "%2B"), same),
    "doubly encoded": Target(lambda c: "/" + escaped(c).replace("%", "%25"), lambda c: escaped(c)),
    "doubly encoded in part": Target(
        lambda c: "/" + escaped(c, 2).replace("%", "%25"), lambda c: escaped(c, 2)
    ),
    "bad escape after": Target(lambda c: f"/{c}%", 400),
    "bad escape before": Target(lambda c: f"/%u0071{c}", 400),
    "overlong UTF-8": Target(lambda c: f"/{c}%c0%af", 400),
    "invalid UTF-8 before": Target(lambda c: f"/%ff{c}", 400),
    "raw UTF-8": Target(lambda c: f"/{c}".encode().decode("latin-1") + "\xc3\xa9", 400),
    "upper case": Target(lambda c: f"/{c.upper()}", str.upper),
    "capital": Target(lambda c: f"/{c.title()}", str.title),
    "space before": Target(lambda c: f"/%20{c}", lambda c: f" {c}"),
    "space after": Target(lambda c: f"/{c}%20", lambda c: f"{c} "),
    "tab": Target(lambda c: f"/{c}%09", lambda c: f"{c}\t"),
    "line end": Target(lambda c: f"/{c}%0d%0a", lambda c: f"{c}\r\n"),
    "NUL after": Target(lambda c: f"/{c}%00", lambda c: f"{c}\0"),
    "NUL before": Target(lambda c: f"/%00{c}", lambda c: f"\0{c}"),
    "NUL and a report": Target(lambda c: f"/summary%00{c}", lambda c: f"summary\0{c}"),
    "raw NUL": Target(lambda c: f"/{c}\0", lambda c: f"{c}\0"),
    "soft hyphen": Target(lambda c: f"/%c2%ad{c}", lambda c: f"\u00ad{c}"),
    "byte order mark": Target(lambda c: f"/%ef%bb%bf{c}", lambda c: f"\ufeff{c}"),
    "Cyrillic": Target(
        lambda c: f"/{quote(swapped(c, CYRILLIC), '+')}.", lambda c: f"{swapped(c, CYRILLIC)}."
    ),
    "full width": Target(lambda c: f"/{quote(swapped(c, FULLWIDTH), '+')}", lambda c: swapped(c, FULLWIDTH)),
    "combining": Target(
        lambda c: f"/{quote(swapped(c, COMBINED), '+')}-", lambda c: f"{swapped(c, COMBINED)}-"
    ),
    "semicolon": Target(lambda c: f"/{c};x", lambda c: f"{c};x"),
    "semicolon and a report": Target(lambda c: f"/summary;{c}", lambda c: f"summary;{c}"),
    "semicolon encoded": Target(lambda c: f"/{c}%3bx", lambda c: f"{c};x"),
    "comma and a report": Target(lambda c: f"/summary,{c}", lambda c: f"summary,{c}"),
    "query": Target(lambda c: f"/{c}?summary", same),
    "query with a path": Target(lambda c: f"/{c}?/../summary", same),
    "query with a command": Target(lambda c: f"/{c}?command=summary&pretty", same),
    "query encoded": Target(lambda c: f"/{c}%3fsummary", lambda c: f"{c}?summary"),
    "fragment": Target(lambda c: f"/{c}#summary", same),
    "fragment encoded": Target(lambda c: f"/{c}%23summary", lambda c: f"{c}#summary"),
    "dot": Target(lambda c: f"/./{c}", lambda c: "."),
    "dots": Target(lambda c: f"/../{c}", lambda c: ".."),
    "dots encoded": Target(lambda c: f"/%2e%2e%2f{c}", lambda c: ".."),
    "dots after": Target(lambda c: f"/{c}/..", same),
    "dots to a report": Target(lambda c: f"/{c}/../summary", same),
    "own path before": Target(lambda c: f"/healthz+{c}", lambda c: f"healthz+{c}"),
    "own path as a parameter": Target(lambda c: f"/{c}/healthz", same),
    "JSON": Target(lambda c: f"/summary%22,%22command%22:%22{c}", lambda c: f'summary","command":"{c}'),
    "absolute": Target(lambda c: f"http://127.0.0.1/{c}", same),
    "absolute, another port": Target(lambda c: f"http://localhost:1/{c}/", same),
    "absolute, upper case": Target(lambda c: f"HTTPS://LOCALHOST//{c}", same),
    "absolute, another scheme": Target(lambda c: f"ftp://127.0.0.1/{c}", same),
    "absolute, another host": Target(lambda c: f"http://evil.example/{c}", 421),
    "absolute, user": Target(lambda c: f"http://localhost@evil.example/{c}", 421),
    "no slash": Target(lambda c: c, 400),
    "asterisk": Target(lambda c: f"*/{c}", 400),
}

# Header fields, by GET and POST of a path; none of them changes what is asked for.
FIELDS: dict[str, str] = {
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "localhost",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Prefix": "/summary",
    "X-Forwarded-Method": "GET",
    "Forwarded": "for=127.0.0.1;host=localhost;proto=https;by=127.0.0.1",
    "X-Real-IP": "127.0.0.1",
    "True-Client-IP": "127.0.0.1",
    "Remote-Addr": "127.0.0.1",
    "REMOTE_ADDR": "127.0.0.1",
    "X-HTTP-Method-Override": "HEAD",
    "X-HTTP-Method": "GET",
    "X-Method-Override": "POST",
    "X-Original-URL": "/summary",
    "X-Rewrite-URL": "/summary",
    "X-Original-Method": "GET",
    "Request-URI": "/summary",
    "Path-Info": "/summary",
    "Script-Name": "/summary",
    "Authorization": "Basic YWRtaW46YWRtaW4=",
    "Proxy-Authorization": "Bearer 0123456789abcdef",
    "Cookie": "token=0123456789abcdef; admin=1",
    "X-Requested-With": "XMLHttpRequest",
    "Sec-Fetch-Site": "same-origin",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "Accept": "text/html",
    "Content-Type": "application/x-www-form-urlencoded",
    "Range": "bytes=0-0",
    "If-None-Match": "*",
    "TE": "trailers",
    "Via": "1.1 localhost",
    "Upgrade": "h2c, websocket",
    "Max-Forwards": "0",
}


def text(value: object) -> str:
    """A value in compact JSON."""
    return json.dumps(value, separators=(",", ":"))


def nested(depth: int, inside: str) -> str:
    """Arrays in each other."""
    return "[" * depth + inside + "]" * depth


def form(fields: str) -> str:
    """A part of a multipart form."""
    return f'--x\r\nContent-Disposition: form-data; name="command"\r\n\r\n{fields}\r\n--x--\r\n'


BODIES: dict[str, Body] = {
    "plain": Body(lambda c: text({"command": c}), same),
    "with spaces": Body(lambda c: f' \r\n\t{{ "command" :\n"{c}" }} \n', same),
    "escaped": Body(lambda c: '{{"command":"{}"}}'.format("".join(f"\\u{ord(x):04x}" for x in c)), same),
    "escaped key": Body(lambda c: f'{{"\\u0063omm\\u0061nd":"{c}"}}', same),
    "parameter": Body(lambda c: text({"command": c, "parameter": "0"}), same),
    "parameter first": Body(lambda c: text({"parameter": "summary", "command": c}), same),
    "new_api": Body(lambda c: text({"command": c, "new_api": True}), same),
    "duplicate": Body(lambda c: f'{{"command":"summary","command":"{c}"}}', same),
    "duplicates": Body(lambda c: f'{{"command":"summary","command":"devs","command":"{c}"}}', same),
    "duplicate, escaped": Body(lambda c: f'{{"command":"summary","comm\\u0061nd":"{c}"}}', same),
    "other case": Body(lambda c: text({"command": "summary", "Command": c}), lambda c: "summary"),
    "other case alone": Body(lambda c: text({"COMMAND": c}), 400),
    "space in the key": Body(lambda c: text({"command": "summary", "command ": c}), lambda c: "summary"),
    "NUL in the key": Body(lambda c: text({"command\0": c, "command": "devs"}), lambda c: "devs"),
    "empty key": Body(lambda c: text({"": c, "command": "devs"}), lambda c: "devs"),
    "Cyrillic key": Body(lambda c: text({"сommand": c, "command": "devs"}), lambda c: "devs"),
    "cmd": Body(lambda c: text({"cmd": c}), same),
    "cmd of a report": Body(lambda c: text({"cmd": "summary", "x": c}), lambda c: "summary"),
    "cmd beside": Body(lambda c: text({"command": "summary", "cmd": c}), lambda c: "summary"),
    "cmd before": Body(lambda c: text({"cmd": c, "command": "summary"}), lambda c: "summary"),
    "null beside cmd": Body(lambda c: text({"command": None, "cmd": c}), lambda c: "None"),
    "enc": Body(lambda c: text({"enc": 1, "data": c}), lambda c: "an encrypted command"),
    "enc beside": Body(lambda c: text({"command": "summary", "enc": 1, "data": c}), lambda c: "summary"),
    "token beside": Body(lambda c: text({"command": "summary", "token": c}), lambda c: "summary"),
    "list": Body(lambda c: text({"command": [c]}), 400),
    "object": Body(lambda c: text({"command": {"command": c}}), 400),
    "list of requests": Body(lambda c: text([{"command": c}]), 400),
    "a string": Body(text, 400),
    "parameter an object": Body(
        lambda c: text({"command": "summary", "parameter": {"command": c}}), lambda c: "summary"
    ),
    "parameter a list": Body(lambda c: text({"command": "summary", "parameter": [c]}), lambda c: "summary"),
    "parameter true": Body(lambda c: text({"command": c, "parameter": True}), same),
    "parameter null": Body(lambda c: text({"command": c, "parameter": None}), same),
    "new_api an object": Body(
        lambda c: text({"command": "summary", "new_api": {"command": c}}), lambda c: "summary"
    ),
    "upper case": Body(lambda c: text({"command": c.upper()}), str.upper),
    "space after": Body(lambda c: text({"command": f"{c} "}), lambda c: f"{c} "),
    "tab before": Body(lambda c: text({"command": f"\t{c}"}), lambda c: f"\t{c}"),
    "NUL after": Body(lambda c: text({"command": f"{c}\0"}), lambda c: f"{c}\0"),
    "NUL and a report": Body(lambda c: text({"command": f"summary\0{c}"}), lambda c: f"summary\0{c}"),
    "full width": Body(lambda c: text({"command": swapped(c, FULLWIDTH)}), lambda c: swapped(c, FULLWIDTH)),
    "lone surrogate": Body(lambda c: f'{{"command":"{c}\\ud800"}}', lambda c: f"{c}\ud800"),
    "text protocol": Body(lambda c: text({"command": f"summary|{c}"}), lambda c: f"summary|{c}"),
    "bare text protocol": Body(lambda c: f"{c}|0", 400),
    "slash": Body(lambda c: text({"command": f"summary/{c}"}), lambda c: f"summary/{c}"),
    "plus alone": Body(lambda c: text({"command": f"+{c}+"}), lambda c: f"+{c}+"),
    "trailing data": Body(lambda c: f'{{"command":"summary"}}{{"command":"{c}"}}', 400),
    "trailing NUL": Body(lambda c: f'{{"command":"summary"}}\0{{"command":"{c}"}}', 400),
    "comment": Body(lambda c: f'{{"command":"summary"/*","command":"{c}*/}}', 400),
    "single quotes": Body(lambda c: f"{{'command':'{c}'}}", 400),
    "trailing comma": Body(lambda c: f'{{"command":"{c}",}}', 400),
    "NaN": Body(lambda c: f'{{"command":"{c}","parameter":NaN}}', 400),
    "infinite": Body(lambda c: f'{{"command":"{c}","parameter":1e999}}', 400),
    "byte order mark": Body(lambda c: f'\ufeff{{"command":"{c}"}}', same),
    "byte order marks": Body(lambda c: f'\ufeff\ufeff{{"command":"{c}"}}', 400),
    "UTF-16": Body(lambda c: text({"command": c}).encode("utf-16"), 400),
    "invalid UTF-8": Body(lambda c: text({"command": c}).encode() + b"\xff", 400),
    "form": Body(lambda c: f"command={c}", 400),
    "multipart form": Body(form, 400),
    "form of text/plain": Body(lambda c: f'{{"command":"{c}","x":"="}}\r\n', same),
    "nested": Body(lambda c: f'{{"command":"{c}","parameter":{nested(50, "0")}}}', same),
    "nested too deep": Body(lambda c: f'{{"command":"{c}","parameter":{nested(500, "0")}}}', 400),
    "larger than the API reads": Body(lambda c: text({"command": c, "parameter": "x" * 8200}), 413),
    "large of spaces": Body(lambda c: text({"command": c}) + " " * 9000, same),
}


class Attack(NamedTuple):
    """A whole request, and the answer that it must get: a status, and how chi's message begins."""

    data: bytes
    head: bool
    status: int
    message: str


def only_reports(command: str) -> str:
    """What --read-only says to a command, from the text of the design and not of chi."""
    return f"{json.dumps(command[:60])} may change the miner, and chi serves only reports (--read-only)."


def attack(
    method: str,
    target: str,
    judged: str | int,
    message: Callable[[str], str] = only_reports,
    status: int = 403,
    fields: Iterable[str] = (),
    body: str | bytes | None = None,
) -> Attack:
    """Return the attack, and what must come of it."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *fields]
    if data is not None:
        lines.append(f"Content-Length: {len(data)}")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    if isinstance(judged, int):
        expected = (judged, "")
    elif method not in TAKEN:
        expected = (405, "Only GET, HEAD, POST can be used here.")
    else:
        expected = (status, message(judged))
    return Attack(head + (data or b""), method == "HEAD", *expected)


LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Answer(NamedTuple):
    """What a client got, with as little work as can be."""

    status: int
    head: bytes
    body: bytes

    @property
    def message(self) -> str:
        """What chi's own envelope says."""
        return str(json.loads(self.body)["STATUS"][0]["Msg"])


class Battery:
    """Sends attacks on one connection as long as it is kept open, some at a time; reads each answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections = 0
        self._sock: socket.socket | None = None
        self._buffer = b""

    def __enter__(self) -> Battery:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def fire(self, attacks: list[Attack], at_once: int = 32) -> Iterator[tuple[Attack, Answer]]:
        """Send all; give each with its answer."""
        position = 0
        while position < len(attacks):
            volley = attacks[position : position + at_once]
            answered = 0
            self._connection().sendall(b"".join(each.data for each in volley))
            for each in volley:
                got = self._read(each.head)
                if got is None:  # the connection was closed after an answer: go on with a new one
                    break
                answered += 1
                yield each, got
            assert answered, f"no answer at all to {volley[0].data[:200]!r}"
            position += answered

    def _connection(self) -> socket.socket:
        if self._sock is None:
            self._sock = socket.create_connection(("127.0.0.1", self.port), timeout=20)
            self._buffer = b""
            self.connections += 1
        return self._sock

    def _close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _more(self) -> bool:
        try:
            data = self._connection().recv(65536)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)

    def _read(self, head: bool) -> Answer | None:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not self._more():
                self._close()
                return None
        headers = self._buffer[: end + 2]
        match = LENGTH.search(headers)
        length = 0 if head or match is None else int(match[1])
        while len(self._buffer) < end + 4 + length:
            if not self._more():
                self._close()
                return None
        body = self._buffer[end + 4 : end + 4 + length]
        self._buffer = self._buffer[end + 4 + length :]
        return Answer(int(headers[9:12]), headers, body)


def asked_for(requests: Iterable[bytes]) -> list[dict[str, Any]]:
    """What a miner was asked, read by the letter: one JSON object each, no key twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        assert len(set(keys)) == len(keys), f"duplicate keys: {keys}"
        return dict(pairs)

    parsed = [json.loads(request.decode("ascii"), object_pairs_hook=once) for request in requests]
    assert all(isinstance(members, dict) for members in parsed)
    return parsed
