"""The settings of waitress for an appliance on a LAN, and what all connections share.

Comes in: the listening sockets, the clock, and how many descriptors the miners' connections may take. Goes
out: one object that waitress hands to every connection and parser. It decides nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import waitress.adjustments

from chi.bounds import MAX_BODY, MAX_HEADER, MAX_JUDGED, SPARE_DESCRIPTORS
from chi.clock import Clock
from chi.recent import Recent
from chi.server.descriptors import take_descriptors


class Adjustments(waitress.adjustments.Adjustments):
    """As waitress's, with the clock and with what is remembered of requests.

    Pollers send the same again and again: `parsed_requests` are the members of a Request by its bytes,
    `response_heads` the header of a response and whether the connection is closed after it.
    """

    listen: Sequence[Any] = ()  # waitress would look up a default, for which CPython loads 0.4 MB of tables

    def __init__(self, listening: Sequence[socket.socket], clock: Clock, reserved: int = 0) -> None:
        descriptors = take_descriptors()
        super().__init__(
            sockets=list(listening),
            ident="chi",
            # Nothing is accepted beyond; chi.server.budgets keeps one address from reaching this.
            connection_limit=descriptors - min(SPARE_DESCRIPTORS, descriptors // 2) - reserved,
            channel_timeout=120,  # longer than any monitor's interval, so that it keeps its connection
            asyncore_use_poll=True,  # select() fails past descriptor 1023
            log_socket_errors=False,  # a client that disconnects is not worth a log line
            max_request_header_size=MAX_HEADER,
            max_request_body_size=MAX_BODY,
            # Replies stay in memory, and writing one never waits: the loop that writes is the one that sends.
            outbuf_overflow=1 << 40,
            outbuf_high_watermark=1 << 40,
            clear_untrusted_proxy_headers=False,  # chi believes REMOTE_ADDR and no header
        )
        self.clock = clock
        self.parsed_requests: Recent[bytes, dict[str, Any]] = Recent(MAX_JUDGED)
        self.response_heads: Recent[Any, tuple[bytes, bool]] = Recent(MAX_JUDGED)
