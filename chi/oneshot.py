"""What asks once and ends: --check.

Comes in: Settings and a Policy. Goes out: words on standard output and an exit status.
"""

from __future__ import annotations

import socket
from typing import Any

from waitress import wasyncore

from chi.access import Policy
from chi.clock import CLOCK
from chi.errors import ChiError
from chi.miner.asking import TICK
from chi.miner.conversation import Conversation
from chi.miner.dialect import Dialect
from chi.miner.replies import parse_json, read_reply
from chi.miner.wire import QUIET, encode_request, host_and_port, look_up
from chi.monitor import ACCESS, may_write, section, warn_of
from chi.settings import Settings


def ask_once(settings: Settings, command: str, dialect: Dialect) -> Any:
    """Return the miner's reply to the report `command`, parsed; ChiError if there is none."""
    outcomes: list[bytes | ChiError] = []
    sockets: dict[int, Any] = {}
    name = host_and_port(settings.api_host, settings.api_port)
    request = encode_request({"command": command})
    exchange = Conversation(
        name, request, sockets, lambda _, outcome: outcomes.append(outcome), dialect=dialect, report=True
    )
    try:
        exchange.connect(look_up(settings.api_host, settings.api_port))
    except socket.gaierror as error:
        raise ChiError("unknown-host", miner=name, why=error.strerror) from None
    while not outcomes:
        wasyncore.loop(timeout=TICK, use_poll=True, map=sockets, count=1)
        now = CLOCK.now()
        if now >= exchange.started + settings.timeout:
            exchange.finish(ChiError("timeout", seconds=settings.timeout))
        elif now >= exchange.heard + QUIET:
            exchange.settle()
    exchange.close()
    if isinstance(outcomes[0], ChiError):
        raise outcomes[0]
    return parse_json(read_reply(outcomes[0]).body)


def check(settings: Settings, policy: Policy) -> int:
    """Print what is there, in words; return the exit status."""
    dialect = Dialect(settings.protocol)
    try:
        version = (section(ask_once(settings, "version", dialect), "VERSION") or [{}])[0]
    except ChiError as error:
        print(f"Miner:  {error}")
        return 1
    where = host_and_port(settings.api_host, settings.api_port)
    software = next((f"{key} {value}" for key, value in version.items() if key not in ("API", "STATUS")), "")
    answers = "answers, and speaks the text protocol" if dialect.is_text else "answers"
    print(f"Miner:  {where} {answers}: {software or 'unknown software'}, API {version.get('API', 'unknown')}")
    print(f"Pools:  {describe_pools(settings, dialect)}")
    try:
        writes = may_write(ask_once(settings, "privileged", dialect))
    except ChiError:
        writes = None
    print(f"Access: {ACCESS[writes]}")
    print(f"chi:    would serve on {settings.serving_on}: {policy.exposure}")
    if settings.allow:
        print(f"        to {policy.audience}")
    if policy.is_open:
        print(f"        {warn_of(writes)}")
    return 0


def describe_pools(settings: Settings, dialect: Dialect) -> str:
    """How many pools are alive, in words."""
    try:
        pools = section(ask_once(settings, "pools", dialect), "POOLS")
    except ChiError as error:
        return str(error)
    alive = sum(pool.get("Status") == "Alive" for pool in pools)
    return f"{alive} of {len(pools)} alive"
