"""A client that says what it likes, byte for byte: raw requests on one connection to chi."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from tests.conftest import Response


class Wire:
    """One connection. Bytes are sent as they are; replies are read one by one, in order."""

    def __init__(self, port: int, host: str = "127.0.0.1", timeout: float = 10, buffer: int = 0) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.sock.settimeout(timeout)
        if buffer:  # a reader whose system takes little at a time
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        try:
            self.sock.connect((host, port))
        except OSError:
            self.sock.close()
            raise
        self.host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._file = self.sock.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self.sock.close()

    def reset(self) -> None:
        """End the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def head(self, start: str, *fields: str) -> bytes:
        """The head of a request: its first line, Host, and other header fields."""
        return "\r\n".join([start, f"Host: {self.host}", *fields, "", ""]).encode("latin-1")

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def request(self, start: str, *fields: str, body: bytes = b"") -> None:
        """Send a whole request: `start` is its first line, less the version HTTP/1.1."""
        if body or start.startswith("POST "):
            fields = (*fields, f"Content-Length: {len(body)}")
        self.send(self.head(f"{start} HTTP/1.1", *fields) + body)

    def read(self, method: str = "GET") -> Response:
        """Read one response, to a request by `method`; EOFError if there is none."""
        line = self._file.readline()
        if not line:
            raise EOFError
        version, status, _ = line.decode("latin-1").split(" ", 2)
        assert version.startswith("HTTP/1.")
        headers = http.client.parse_headers(self._file)
        bodiless = method == "HEAD" or status in ("100", "204")
        length = 0 if bodiless else int(headers["Content-Length"])
        body = self._file.read(length)
        assert len(body) == length
        return Response(int(status), headers, body)

    def ask(self, start: str, *fields: str, body: bytes = b"") -> Response:
        """Send a request and read the response."""
        self.request(start, *fields, body=body)
        return self.read(start.split(" ")[0])

    def ended(self) -> bool:
        """Whether the server ends the connection, with nothing more sent before that."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing more comes, and the connection stays open, for so long."""
        patience = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(patience)
        return False


class Background(threading.Thread):
    """A call in a thread of its own; `result()` waits for what it returns, or raises what it raised."""

    def __init__(self, work: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        super().__init__(daemon=True)
        self._call = (work, arguments, keywords)
        self._error: BaseException | None = None
        self._result: Any = None
        self.start()

    def run(self) -> None:
        work, arguments, keywords = self._call
        try:
            self._result = work(*arguments, **keywords)
        except BaseException as error:
            self._error = error

    def result(self, timeout: float = 30) -> Any:
        """What the call returned."""
        self.join(timeout)
        assert not self.is_alive(), "it still runs"
        if self._error:
            raise self._error
        return self._result
