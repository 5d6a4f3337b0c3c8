"""Addresses of a fleet's miners: NAME=HOST[:PORT] on the command line, and the lines of a --miners file.

Comes in: text. Goes out: Places, or what is wrong with it, in words. No name is looked up here.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
from collections.abc import Iterable
from typing import NamedTuple

from chi.bounds import MAX_MINERS, MAX_MINERS_FILE
from chi.converters import SOME_PORT, host_or_address

MAX_LINE = 400  # characters of a line: a name, a host's longest name, and spaces
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# HOST, HOST:PORT, [IPv6]:PORT, or an IPv6 address alone
WHERE = re.compile(
    r"\[(?P<ip6>[^\]]*)\](?::(?P<port6>.*))?|(?P<host>[^:]*)(?::(?P<port>[^:]*))?|(?P<bare>.*:.*:.*)"
)


class Place(NamedTuple):
    """A miner of a fleet: its name, and where its API is; port 0 is the one that --api_port says."""

    name: str
    host: str
    port: int = 0


def place(text: str) -> Place:
    """Convert for argparse NAME=HOST[:PORT]; spaces around the = are left out."""
    name, equals, where = (part.strip() for part in text.partition("="))
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=HOST or NAME=HOST:PORT")
    if not NAME.fullmatch(name):
        raise argparse.ArgumentTypeError(
            f"{name!r} is not a name: up to 63 letters, digits, dots, underscores and hyphens; "
            "it begins with a letter or a digit"
        )
    match = WHERE.fullmatch(where)
    if match is None:
        raise argparse.ArgumentTypeError(f"{where!r} is not a host with or without a port")
    host = match["ip6"] or match["host"] or match["bare"] or ""
    port = next((found for found in (match["port6"], match["port"]) if found is not None), None)
    return Place(name, host_or_address(host), 0 if port is None else SOME_PORT(port))


def check_names(places: Iterable[Place]) -> None:
    """Raise ValueError if two places have the same name, or if there are more than one chi serves."""
    seen: set[str] = set()
    for found in places:
        if found.name in seen:
            raise ValueError(f"there are two miners called {found.name}")
        seen.add(found.name)
    if len(seen) > MAX_MINERS:
        raise ValueError(f"there are {len(seen)} miners, and one chi serves {MAX_MINERS}")


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would hold up the event loop


def read_places(path: str, others: Iterable[Place] = ()) -> tuple[Place, ...]:
    """Return the miners in a file: NAME = HOST[:PORT] a line, # begins a comment.

    ValueError says what is wrong, with the number of the line and its text; also of a line whose name one of
    `others` has.
    """
    try:
        with open(path, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # empty when it is read again at SIGHUP
                raise ValueError(f"{path}: it is not a regular file")
            data = file.read(MAX_MINERS_FILE + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_MINERS_FILE:
        raise ValueError(f"{path}: it has more than {MAX_MINERS_FILE} bytes")
    found: list[Place] = []
    names = {other.name for other in others}
    for number, line in enumerate(data.decode("utf-8-sig", "replace").split("\n"), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            if len(text) > MAX_LINE:
                raise argparse.ArgumentTypeError(f"{text[:60]!r}… has more than {MAX_LINE} characters")
            miner = place(text)
            if miner.name in names:
                raise argparse.ArgumentTypeError(f"{text!r}: there is a miner called {miner.name} already")
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"{path}: line {number}: {error}") from None
        names.add(miner.name)
        found.append(miner)
    return tuple(found)
