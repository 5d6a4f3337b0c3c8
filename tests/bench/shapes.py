"""Heads and bodies of requests, each filled in some way: what none of them may do is to cost much.

Nothing here is known to be dear. Comes in: a number of bytes. Goes out: a request of about that size.
"""

from collections.abc import Callable

START = b"GET / HTTP/1.1\r\n"
SHAPES: dict[str, Callable[[int], bytes]] = {
    "path": lambda n: b"GET /" + b"a" * n + b" HTTP/1.1\r\n\r\n",
    "path of escapes": lambda n: b"GET /" + b"%41" * (n // 3) + b" HTTP/1.1\r\n\r\n",
    "path of percent signs": lambda n: b"GET /" + b"%" * n + b" HTTP/1.1\r\n\r\n",
    "path of slashes": lambda n: b"GET " + b"/" * n + b" HTTP/1.1\r\n\r\n",
    "query": lambda n: b"GET /?" + b"a&" * (n // 2) + b" HTTP/1.1\r\n\r\n",
    "absolute target": lambda n: b"GET http://" + b"1" * n + b" HTTP/1.1\r\n\r\n",
    "absolute target, no version": lambda n: b"GET http://" + b"1" * n + b" HTTP/1.1x\r\n\r\n",
    "scheme": lambda n: b"GET " + b"a" * n + b"://b HTTP/1.1x\r\n\r\n",
    "spaces": lambda n: b"GET " + b"a " * (n // 2) + b"HTTP/1.1\r\n\r\n",
    "blanks at the end of the line": lambda n: b"GET / HTTP/1.1" + b" " * n + b"\r\n\r\n",
    "method": lambda n: b"A" * n + b" / HTTP/1.1\r\n\r\n",
    "value": lambda n: START + b"a: " + b"b" * n + b"\r\n\r\n",
    "value of words": lambda n: START + b"a: " + b"b " * (n // 2) + b"\r\n\r\n",
    "value of blanks": lambda n: START + b"a:" + b" " * n + b"\r\n\r\n",
    "value after blanks": lambda n: START + b"a:" + b" " * n + b"b\r\n\r\n",
    "value after tabs": lambda n: START + b"a:" + b"\t" * n + b"b\r\n\r\n",
    "value between blanks": lambda n: START + b"a:" + b" " * (n // 2) + b"b" + b" " * (n // 2) + b"\r\n\r\n",
    "value with a gap": lambda n: START + b"a:b" + b" \t" * (n // 2) + b"c\r\n\r\n",
    "value with gaps": lambda n: START + b"a:b" + (b" " * 100 + b"c") * (n // 101) + b"\r\n\r\n",
    "control character after blanks": lambda n: START + b"a:" + b" " * n + b"\x01\r\n\r\n",
    "control character after words": lambda n: START + b"a:" + b"b " * (n // 2) + b"\x01\r\n\r\n",
    "control character after a word": lambda n: START + b"a:" + b"b" * n + b"\x01\r\n\r\n",
    "control characters": lambda n: START + b"a:" + b"\x01" * n + b"\r\n\r\n",
    "name": lambda n: START + b"a" * n + b": b\r\n\r\n",
    "name without a colon": lambda n: START + b"a" * n + b"\r\n\r\n",
    "colons": lambda n: START + b"a" + b":" * n + b"\r\n\r\n",
    "quotes": lambda n: START + b'a: "' + b'\\"' * (n // 2) + b"\r\n\r\n",
    "folds": lambda n: START + b"a: b" + b"\r\n b" * (n // 4) + b"\r\n\r\n",
    "folds of blanks": lambda n: START + b"a:" + b"\r\n \t" * (n // 4) + b"\r\n\r\n",
    "fields": lambda n: START + b"a:\r\n" * (n // 4) + b"\r\n",
    "fields of one name": lambda n: START + (b"a: " + b"b" * (n // 180) + b"\r\n") * 180 + b"\r\n",
    "encodings": lambda n: START + b"Transfer-Encoding: " + b"," * n + b"\r\n\r\n",
    "length": lambda n: START + b"Content-Length: " + b"0" * n + b"\r\n\r\n",
    "length, odd": lambda n: START + b"Content-Length: " + b"1" * n + b"x\r\n\r\n",
    "host": lambda n: START + b"Host: " + b"a." * (n // 2) + b"\r\n\r\n",
    "carriage returns": lambda n: START + b"a: " + b"\r" * n + b"\r\n\r\n",
    "line feeds": lambda n: START + b"\n" * n + b"\r\n\r\n",
    "blank lines before": lambda n: b"\r\n" * (n // 2) + START + b"\r\n",
    "nothing at all": lambda n: b"\0" * n,
    "no end": lambda n: START + b"a: " + b"b" * n,
    "chunks": lambda n: (
        START + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * (n // 6) + b"0\r\n\r\n"
    ),
    "chunk's size": lambda n: START + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * n + b"\r\n\r\n",
    "chunk's extension": lambda n: (
        START + b"Transfer-Encoding: chunked\r\n\r\n1" + b";a=b" * (n // 4) + b"\r\na\r\n0\r\n\r\n"
    ),
    "chunk's extension, quoted": lambda n: (
        START + b'Transfer-Encoding: chunked\r\n\r\n1;a="' + b'\\"' * (n // 2) + b"\r\na\r\n0\r\n\r\n"
    ),
    "trailer": lambda n: (
        START + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * (n // 6) + b"\r\n"
    ),
    "body": lambda n: START + b"Content-Length: %d\r\n\r\n" % n + b" " * n,
}


def posted(body: bytes) -> bytes:
    """A request with this body."""
    return b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body


BODIES: dict[str, Callable[[int], bytes]] = {
    "blanks": lambda n: b" " * n,
    "brackets": lambda n: b"[" * n,
    "braces": lambda n: b'{"a":' * (n // 5),
    "pairs of brackets": lambda n: b"[" + b"[]," * (n // 3 - 1) + b"[]]",
    "digits": lambda n: b'{"command":' + b"1" * (n - 12) + b"}",
    "digits of a fraction": lambda n: b'{"command":"a","b":0.' + b"1" * (n - 24) + b"}",
    "numbers": lambda n: b"[" + b"1," * (n // 2 - 2) + b"1]",
    "exponents": lambda n: b"[" + b"1e9," * (n // 4 - 2) + b"1]",
    "string": lambda n: b'{"command":"' + b"a" * (n - 14) + b'"}',
    "string without an end": lambda n: b'{"command":"' + b"a" * (n - 12),
    "escapes": lambda n: b'{"command":"' + b"\\u00e4" * (n // 6 - 3) + b'"}',
    "quotes": lambda n: b'{"command":"' + b'\\"' * (n // 2 - 8) + b'"}',
    "surrogates": lambda n: b'{"command":"' + b"\\ud83d" * (n // 6 - 3) + b'"}',
    "members": lambda n: b'{"command":"a"' + b',"b":1' * (n // 6 - 3) + b"}",
    "distinct members": lambda n: (
        b'{"command":"a"' + b"".join(b',"%05d":1' % i for i in range(n // 10 - 3)) + b"}"
    ),
    "joined commands": lambda n: b'{"command":"' + b"summary+" * (n // 8 - 3) + b'devs"}',
    "not UTF-8": lambda n: b'{"command":"' + b"\xff" * (n - 14) + b'"}',
    "beyond ASCII": lambda n: b'{"command":"' + "ä".encode() * (n // 2 - 8) + b'"}',
    "NUL": lambda n: b"\0" * n,
}
