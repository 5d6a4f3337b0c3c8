"""The listening sockets: our own, those kept by systemd over a restart, and those of a socket unit.

Comes in: where to listen. Goes out: bound sockets, or OSError.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from chi.miner.wire import look_up
from chi.server.systemd import STORED, passed_sockets
from chi.settings import Settings

NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def open_sockets(settings: Settings) -> list[socket.socket]:
    """Return the listening sockets: those of a socket unit as they are, or our own; OSError.

    Our own of before a restart are taken again where they listen as they should: their queues are not lost.
    """
    passed = passed_sockets()
    given = [sock for name, sock in passed if name != STORED]
    port, hosts = settings.http_port, () if given else settings.listen or ("0.0.0.0", "::")
    wanted = [(host, *found) for host in hosts for found in look_up(host, port, socket.AI_PASSIVE)]
    stored = [sock for name, sock in passed if name == STORED]
    for sock in stored[:]:
        if not any(_listens_on(sock, family, address) for _, family, address in wanted):
            stored.remove(sock)
            # systemd's copy would hold the port until systemd has dropped it; so it goes for all.
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
    sockets = given
    for host, family, found in wanted:
        address = (found[0], port, *found[2:])  # where any port will do, the one that the first took
        try:
            again = [sock for sock in stored if _listens_on(sock, family, address)]
            sockets.append(again[0] if again else listen(family, address))
        except OSError as error:
            # By default IPv6 is used where the system has it.
            if not settings.listen and host == "::" and error.errno in NO_IPV6:
                continue
            raise
        port = port or sockets[-1].getsockname()[1]
    return sockets


def _listens_on(sock: socket.socket, family: int, address: Any) -> bool:
    """Whether a socket has an address; port 0 is any port."""
    own = sock.getsockname()
    return sock.family == family and own[0] == address[0] and address[1] in (0, own[1])


NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def listen(family: int, address: Any) -> socket.socket:
    """Return a socket of our own that listens; OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(1024)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
