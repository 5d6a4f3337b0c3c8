"""The listening sockets: new ones, those that systemd kept over a restart, and those of a socket unit.

Comes in: where to listen. Goes out: bound sockets, or OSError. An address that the host does not have yet
does not take the others down.
"""

from __future__ import annotations

import errno
import logging
import socket
from typing import Any

from chi.miner.wire import look_up
from chi.server.systemd import STORED, passed_sockets
from chi.settings import Settings

log = logging.getLogger("chi")

NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
# To bind an address before the host has it: level and option, of Linux (ip(7), linux/in6.h).
FREEBIND: dict[int, tuple[int, int]] = {
    socket.AF_INET: (socket.IPPROTO_IP, 15),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 78),
}


def open_sockets(settings: Settings) -> list[socket.socket]:
    """Return the listening sockets: those of a socket unit as they are, or our own; OSError.

    Our own of before a restart are taken again where they listen as they should: their queues are not lost.
    What is not an address of this host is served when it is one, but one of those given must be one now.
    """
    passed = passed_sockets()
    given = [sock for name, sock in passed if name != STORED]
    port, hosts = settings.http_port, () if given else settings.listen or ("0.0.0.0", "::")
    wanted = [(host, *found) for host in hosts for found in look_up(host, port, socket.AI_PASSIVE)]
    stored = [sock for name, sock in passed if name == STORED and _is_wanted(sock, wanted)]
    sockets = given
    absent: list[tuple[OSError, int, Any]] = []
    for host, family, found in wanted:
        address = (found[0], port, *found[2:])  # where any port will do, the one that the first took
        try:
            again = [sock for sock in stored if _listens_on(sock, family, address)]
            sockets.append(again[0] if again else listen(family, address))
        except OSError as error:
            # By default IPv6 is used where the system has it.
            if not settings.listen and host == "::" and error.errno in NO_IPV6:
                continue
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            absent.append((error, family, found))
            continue
        port = port or sockets[-1].getsockname()[1]
    for why, family, found in absent:
        if not sockets:
            raise why
        log.warning("%s is not an address of this host yet: it is served when it is", found[0])
        sockets.append(listen(family, (found[0], port, *found[2:]), early=True))
    return sockets


def _is_wanted(sock: socket.socket, wanted: list[tuple[str, int, Any]]) -> bool:
    """Whether a socket that systemd has kept listens where it should; closes it if not."""
    if any(_listens_on(sock, family, address) for _, family, address in wanted):
        return True
    # systemd's copy would hold the port until systemd has dropped it; so it goes for all.
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    return False


def _listens_on(sock: socket.socket, family: int, address: Any) -> bool:
    """Whether a socket has an address; port 0 is any port."""
    own = sock.getsockname()
    return sock.family == family and own[0] == address[0] and address[1] in (0, own[1])


def listen(family: int, address: Any, early: bool = False) -> socket.socket:
    """Return a socket of our own that listens, `early` also on an address that is not there yet; OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if early:
            sock.setsockopt(*FREEBIND[family], 1)
        sock.bind(address)
        sock.listen(1024)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
