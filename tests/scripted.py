"""A scripted miner: a peer on a real socket that sends any bytes at any pace and records its requests."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

CAPTURES = Path(__file__).parent / "data" / "captures"

CLOSE = "close"  # end the connection (the default at the end of a script)
RESET = "reset"  # end it with RST
HOLD = "hold"  # leave it open until the peer or the miner closes
SHUT = "shut"  # end the stream, but wait for the peer to close

# bytes are sent; a number is a pause in seconds; an Event is waited for; a function gets the socket.
Step = bytes | float | str | threading.Event | Callable[[socket.socket], object]
Script = Callable[[bytes], Iterable[Step]]


def envelope(**sections: object) -> bytes:
    """A healthy reply, with its NUL."""
    status = [{"STATUS": "S", "When": 1700000000, "Code": 11, "Msg": "Summary", "Description": "scripted"}]
    return json.dumps({"STATUS": status, **sections, "id": 1}, separators=(",", ":")).encode() + b"\0"


HEALTHY = envelope(SUMMARY=[{"Elapsed": 1}])


def capture(name: str, software: str = "cgminer-4.11.1") -> bytes:
    """The bytes that a real miner sent, NUL included: `name` is the request, as in summary+devs."""
    return (CAPTURES / software / f"{name}.reply").read_bytes()


def drip(data: bytes, pause: float = 0.001, size: int = 1) -> list[Step]:
    """Steps that send `data` in pieces of `size` bytes."""
    steps: list[Step] = []
    for start in range(0, len(data), size):
        steps += [data[start : start + size], pause]
    return steps


class ScriptedMiner:
    """Answers each connection with the steps of `script(request)`, or the steps themselves.

    `requests` are the bytes of each request in the order in which they came (one recv(), as the real one);
    `asked(n)` waits until there are so many. `serial` serves one connection at a time, as cgminer does;
    otherwise each has its thread. `hear=False` accepts and never reads.
    """

    def __init__(
        self,
        script: Script | Iterable[Step] = (HEALTHY,),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        serial: bool = False,
        hear: bool = True,
    ) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self._hear = hear
        self._serial = serial
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._closing = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        self._listener.listen(1024)
        self.host, self.port = self._listener.getsockname()[:2]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> ScriptedMiner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def commands(self) -> list[str]:
        """The commands of the requests."""
        return [json.loads(request).get("command") for request in self.requests]

    def asked(self, count: int, timeout: float = 10) -> None:
        """Wait until there were `count` requests; AssertionError if there are not in time."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.requests) >= count, timeout)
        assert there, f"{len(self.requests)} requests, not {count}"

    def close(self) -> None:
        """End all connections and stop listening."""
        self._closing.set()
        # shutdown() wakes the thread that waits in accept(); close() alone does not.
        for sock in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(sock)
            if self._serial:
                self._serve(sock)
            else:
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            request = sock.recv(65536) if self._hear else b""
            with self._changed:
                self.requests.append(request)
                self._changed.notify_all()
            for step in self.script(request) if callable(self.script) else self.script:
                if not self._step(sock, step):
                    break
        except OSError:
            pass  # the peer went, which is its right
        finally:
            self._open.discard(sock)
            sock.close()

    def _step(self, sock: socket.socket, step: Step) -> bool:
        """Do one step; whether the script goes on."""
        if isinstance(step, bytes):
            sock.sendall(step)
        elif isinstance(step, threading.Event):
            step.wait(30)
        elif isinstance(step, (int, float)):
            time.sleep(step)
        elif step == RESET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        elif callable(step):
            step(sock)
        elif step in (HOLD, SHUT):
            if step == SHUT:
                sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
            return False
        else:
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nothing listens now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port
