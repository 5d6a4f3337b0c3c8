"""--record: saves the replies of one scrape in a folder, for a bug report.

Comes in: Settings and the name of a folder, which must be new. Goes out: a file for each reply, as the miner
sent it but for what tells who owns it, and an exit status.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from waitress import wasyncore

from chi.clock import CLOCK
from chi.errors import ChiError
from chi.miner.asking import TICK
from chi.miner.conversation import Conversation
from chi.miner.dialect import Dialect
from chi.miner.replies import read_reply
from chi.miner.wire import QUIET, encode_request, host_and_port, look_up
from chi.settings import Settings


def ask_bytes(settings: Settings, command: str, dialect: Dialect) -> bytes:
    """Return the miner's reply to the report `command` as it sends it, without its NUL; ChiError if none."""
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
    return outcomes[0]


def record(settings: Settings, folder: str) -> int:
    """Save each reply of a scrape in a new folder, fit for a bug report; return the exit status."""
    try:
        os.mkdir(folder, 0o700)
    except OSError as error:
        print(f"chi-server: error: cannot make the folder {folder}: {error.strerror}", file=sys.stderr)
        return 1
    found = scrape(settings)
    if not any(found.values()):
        os.rmdir(folder)
        where = host_and_port(settings.api_host, settings.api_port)
        print(f"chi-server: error: the miner at {where} does not answer", file=sys.stderr)
        return 1
    for command, reply in redacted({name: reply for name, reply in found.items() if reply}).items():
        save(Path(folder) / f"{command}.json", reply)
        print(f"{folder}/{command}.json: {len(reply)} bytes")
    silent = [command for command, reply in found.items() if not reply]
    print(f"no reply to: {', '.join(silent)}" if silent else "every command was answered")
    print("users, passwords, hosts, addresses and serial numbers are replaced; look through it all the same")
    return 0


def scrape(settings: Settings) -> dict[str, bytes]:
    """Return what the miner replies to each command of a scrape; empty where it does not."""
    from chi.status import firmware, values

    found: dict[str, bytes] = {}
    parsed: dict[str, Any] = {}
    dialect = Dialect(settings.protocol)
    while (command := firmware.next_request(parsed, refused={"any"})) is not None:  # one by one
        try:
            found[command] = ask_bytes(settings, command, dialect)
            parsed[command] = read_reply(found[command], made=values.one_object).value
        except ChiError:
            found.setdefault(command, b"")
            parsed[command] = None
        if not any(found.values()):
            break  # the miner is down: each further command would take a --timeout
    return found


def redacted(replies: dict[str, bytes]) -> dict[str, bytes]:
    """Return the replies with identifying data replaced, by the same stand-ins in all of them."""
    from chi.status.redact import Redactor

    redactor = Redactor()
    for reply in replies.values():
        redactor.learn(reply)
    return {command: redactor.clean(reply) for command, reply in replies.items()}


def save(path: Path, data: bytes) -> None:
    """Write a new file that its owner alone may read; no link is followed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
