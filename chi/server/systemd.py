"""systemd's protocols: readiness, status line, watchdog, and sockets that survive a restart.

Comes in: what systemd put into the environment. Goes out: datagrams to systemd, and the sockets it passed.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

log = logging.getLogger("chi")

STORED = "chi"  # name of the listening sockets in systemd's descriptor store


def take_number(environ: Any, name: str) -> int:
    """Return a number from the environment, 0 where there is none, and take it away: it is for us alone."""
    text = environ.pop(name, "")
    return int(text) if text.isdigit() else 0


class Notifier:
    """systemd's notification protocol (sd_notify(3)): datagrams to $NOTIFY_SOCKET, if there is one."""

    def __init__(self, environ: Any) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        interval = take_number(environ, "WATCHDOG_USEC") / 1e6
        watched = take_number(environ, "WATCHDOG_PID") in (0, os.getpid())
        self._interval = interval / 2 if watched else 0.0
        self._next_ping = 0.0

    @property
    def listens(self) -> bool:
        """Whether there is anybody to notify."""
        return bool(self._address)

    def store(self, listening: Sequence[socket.socket]) -> None:
        """Have systemd keep these sockets, in place of any before, for the process that comes next."""
        self.send(f"FDSTOREREMOVE=1\nFDNAME={STORED}")
        self.send(f"FDSTORE=1\nFDNAME={STORED}", [sock.fileno() for sock in listening])

    def send(self, message: str, descriptors: Sequence[int] = ()) -> None:
        """Send `message`, lines of NAME=value, with `descriptors`."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.connect(address)
                socket.send_fds(sock, [message.encode(errors="replace")], list(descriptors))
            except OSError as error:
                log.debug("systemd cannot be notified: %s", error)

    def ping(self, now: float) -> float:
        """Tell the watchdog, in time, that the event loop turns; return seconds until the next time."""
        if not self._interval:
            return float("inf")
        if now >= self._next_ping:
            self._next_ping = now + self._interval
            self.send("WATCHDOG=1")
        return self._next_ping - now


def passed_sockets() -> list[tuple[str, socket.socket]]:
    """Return what systemd passed (sd_listen_fds_with_names(3)): each socket and its name."""
    count, names = take_number(os.environ, "LISTEN_FDS"), os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if take_number(os.environ, "LISTEN_PID") != os.getpid():
        return []
    sockets = [socket.socket(fileno=3 + number) for number in range(count)]
    for sock in sockets:
        sock.setblocking(False)
        sock.set_inheritable(False)
    return list(zip(names + [""] * count, sockets))
