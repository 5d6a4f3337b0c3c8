"""Every option of the command line: name, default, limits, help text.

Comes in: the text of options. Goes out: Settings, or argparse.ArgumentTypeError.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from chi.converters import (
    PORT,
    SECONDS,
    SOME_PORT,
    Network,
    filled,
    host_or_address,
    network,
    number,
    origin,
    word,
    word_or_any,
)
from chi.places import Place, place


def option(names: str, default: Any, **keywords: Any) -> Any:
    """Return a field of Settings that is also an option; `keywords` are argparse's."""
    return dataclasses.field(default=default, metadata={"names": names.split(), **keywords})


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the command line sets; durations are in seconds."""

    # The original's three, in its words.
    http_port: int = option(
        "-w --http_port --http-port", 8080, type=PORT, help="Port to use for http server; 0 takes a free one"
    )
    api_port: int = option("-p --api_port --api-port", 4028, type=SOME_PORT, help="Port used by API server")
    # A literal: "localhost" must be looked up, and may be ::1, where no miner listens.
    api_host: str = option(
        "-a --api_host --api-host", "127.0.0.1", type=host_or_address,
        help="Host name/address used by API server",
    )  # fmt: skip
    miner: tuple[Place, ...] = option(
        "--miner", (), metavar="NAME=HOST[:PORT]", type=place, action="append",
        help="Serve this miner below /@NAME/, may be given again",
    )  # fmt: skip
    miners: str = option(
        "--miners", "", metavar="FILE", type=filled,
        help="Serve the miners in this file as well, one NAME = HOST[:PORT] a line; SIGHUP reads it again",
    )  # fmt: skip
    listen: tuple[str, ...] = option(
        "--listen", (), metavar="ADDRESS", type=filled, action="append",
        help="Address or host name to serve on, may be given again (default: every interface)",
    )  # fmt: skip
    allow: tuple[Network, ...] = option(
        "--allow", (), metavar="NETWORK", type=network, action="append",
        help="Let only this address or network, such as 192.168.0.0/16, connect, may be given again",
    )  # fmt: skip
    protocol: str = option(
        "--protocol", "auto", choices=("auto", "json", "text"),
        help="What the miner speaks: cpuminer, ccminer and their forks speak only text",
    )  # fmt: skip
    # Below the 5 s that Telegraf and others wait.
    timeout: float = option(
        "--timeout", 4.0, metavar="SECONDS", type=number(float, 0.1, 3600, SECONDS),
        help="Answer each request within this time",
    )  # fmt: skip
    # The C miners serve one request at a time: more than a few at once only queue there.
    threads: int = option(
        "--threads", 4, metavar="N", type=number(int, 1, 64, "a number"),
        help="Requests to the miner at once",
    )  # fmt: skip
    max_age: float = option(
        "--max-age", 0.0, metavar="SECONDS", type=number(float, 0, 3600, SECONDS),
        help="Cache reports for this many seconds; 0 always asks the miner",
    )  # fmt: skip
    history: int = option(
        "--history", 60, metavar="MINUTES", type=number(int, 0, 1440, "a number of minutes"),
        help="Minutes of history to keep for the charts, asking the miner every 15 s; 0 keeps none",
    )  # fmt: skip
    read_only: bool = option("--read-only", False, action="store_true", help="Forward only reports")
    # How the packages start chi: whatever is lost of a configuration, what is left opens nothing.
    service: bool = option(
        "--service", False, action="store_true",
        help="Forward only reports as well, unless --token-file or --open is given",
    )  # fmt: skip
    open: bool = option(
        "--open", False, action="store_true", help="Forward everything; without --service this is the default"
    )
    report: tuple[str, ...] = option(
        "--report", (), metavar="NAME", type=word, action="append",
        help="Treat this command as a report as well, may be given again",
    )  # fmt: skip
    token_file: str = option(
        "--token-file", "", metavar="FILE", type=filled,
        help="Forward other commands than reports only with the token in this file (16 characters or more)",
    )  # fmt: skip
    private: bool = option(
        "--private", False, action="store_true", help="Answer nothing but /healthz without the token"
    )
    host: tuple[str, ...] = option(
        "--host", (), metavar="NAME", type=word_or_any, action="append",
        help="Host name by which clients may address this server, may be given again; * is any",
    )  # fmt: skip
    cors_origin: tuple[str, ...] = option(
        "--cors-origin", (), metavar="ORIGIN", type=origin, action="append",
        help="Let pages of this origin, such as http://grafana.lan:3000, read reports, may be given again",
    )  # fmt: skip
    metrics_pool_user: bool = option(
        "--metrics-pool-user", False, action="store_true",
        help="Show the users of pools, often wallets, in /metrics and /status.json",
    )  # fmt: skip
    log_level: str = option(
        "--log-level", "info", choices=("debug", "info", "warning", "error"),
        help="Lowest level to log, to standard error",
    )  # fmt: skip
    access_log: bool = option("--access-log", False, action="store_true", help="Log each request as well")

    @property
    def is_fleet(self) -> bool:
        """Whether miners may have names."""
        return bool(self.miner or self.miners)

    @property
    def only_reports(self) -> str:
        """The option by which only reports are forwarded; empty if other commands are."""
        if self.read_only:
            return "--read-only"
        return "--service" if self.service and not self.token_file and not self.open else ""

    @property
    def serving_on(self) -> str:
        """Where chi listens, in words."""
        return f"port {self.http_port} of {', '.join(self.listen) or 'every interface'}"


# Options that contradict each other, and why.
CONTRADICTIONS: tuple[tuple[Callable[[Settings], bool], str], ...] = (
    (lambda it: it.private and not it.token_file, "--private needs --token-file"),
    (
        lambda it: it.read_only and bool(it.token_file) and not it.private,
        "--token-file has no use beside --read-only, unless --private is given as well",
    ),
    (lambda it: it.open and it.read_only, "--open and --read-only contradict each other"),
    (lambda it: it.open and bool(it.token_file), "--open and --token-file contradict each other"),
    (
        lambda it: it.private and bool(it.cors_origin),
        "--cors-origin has no use beside --private: pages of other origins cannot send the token",
    ),
)
