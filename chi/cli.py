"""chi-server: reads the command line, builds all parts and connects them.

Comes in: arguments. Goes out: an exit status: 0 after a clean stop, 1 if it cannot serve now, 2 for bad
options. SIGTERM and SIGINT stop the loop; SIGHUP reads --miners again.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from chi import __version__
from chi.access import Policy
from chi.app import create_app
from chi.bounds import MAX_MINER_CONNECTIONS
from chi.clock import CLOCK, Clock
from chi.logs import StandardError
from chi.miner.wire import host_and_port
from chi.places import Place
from chi.server.descriptors import take_descriptors
from chi.server.listening import open_sockets
from chi.server.loop import Loop
from chi.server.systemd import Notifier
from chi.server.tasks import access_log
from chi.server.threads import Threads
from chi.settings import CONTRADICTIONS, Settings
from chi.sites import Sites, places_at_start

if TYPE_CHECKING:
    from chi.demo import DemoMiner

log = logging.getLogger("chi")

WAIT = 5  # seconds between two attempts to use a port that another program has


# Why chi may be unable to listen: a hint and the exit status. 2 (a wrong option) if a later start would fail
# as well; then systemd does not restart the service.
LOW_PORT = (
    ". A port below 1024 needs CAP_NET_BIND_SERVICE: use --http_port 8080, or add it to the service with a "
    "drop-in (port-80.conf in chi's examples)"
)
CANNOT_SERVE = {
    errno.EACCES: (LOW_PORT, 2),
    errno.EPERM: (LOW_PORT, 2),
    errno.EADDRINUSE: (". Another program uses it; ss -ltnp 'sport = :{port}' shows which", 1),
    errno.EADDRNOTAVAIL: (". No interface has that address yet", 1),
}


class Parser(argparse.ArgumentParser):
    """argparse with one-line error messages."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; the options and their defaults are the fields of Settings."""
    parser = Parser(
        prog="chi-server",
        description="Start HTTP interface to the monitoring API (the CGMiner RPC API)",
        allow_abbrev=False,
    )
    for field in dataclasses.fields(Settings):
        keywords = dict(field.metadata)
        names = keywords.pop("names")
        if field.default not in ((), "") and field.default is not False:  # else the help text says it
            keywords["help"] += f" (default: {field.default})"
        parser.add_argument(*names, dest=field.name, default=argparse.SUPPRESS, **keywords)
    for name, text in (
        ("demo", "Serve a simulated miner"),
        ("check", "Ask the miner, print what it answers, and exit: with 0 if it answers, with 1 if not"),
    ):
        parser.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=text)
    parser.add_argument(
        "--record", metavar="FOLDER", default=argparse.SUPPRESS,
        help="Save the miner's replies in a new folder for a bug report, without identifying data",
    )  # fmt: skip
    parser.add_argument(
        "--scan", metavar="NETWORK[,NETWORK...]", default=argparse.SUPPRESS,
        help="Find miners in private networks, such as 192.168.1.0/24, and print lines for --miners",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def suggestion(parser: argparse.ArgumentParser, unknown: str) -> str:
    """Return a hint at a similar option; empty if there is none."""
    import difflib  # here, as it is needed only after a misspelt option
    import re

    options = re.findall(r"--[a-z_-]+", parser.format_usage())
    near = difflib.get_close_matches(unknown.partition("=")[0].lower(), options, 1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near and unknown.startswith("--") else ""


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings of a parsed command line; ValueError says what is wrong with it."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        value: Any = getattr(arguments, field.name, field.default)
        several = isinstance(field.default, tuple)
        if [] in (value if several else [value]):  # what argparse makes of --timeout=--, before Python 3.13
            raise ValueError(f"argument {field.metadata['names'][0]}: expected one argument")
        values[field.name] = tuple(value) if several else value
    return Settings(**values)


def configure(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Settings, Policy]:
    """Return the parsed command line; SystemExit 2 if it is wrong."""
    parser = make_parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{suggestion(parser, unknown[0])}")
    try:
        settings = read_settings(arguments)
        places_at_start(settings)
    except ValueError as error:
        parser.error(str(error))
    if hasattr(arguments, "scan"):
        check_networks(parser, arguments.scan)
    if hasattr(arguments, "demo") and names_root(arguments):
        parser.error("--demo serves its own miner and cannot be combined with --api_host or --api_port")
    for contradicts, why in CONTRADICTIONS:
        if contradicts(settings):
            parser.error(why)
    try:
        return arguments, settings, Policy(settings)
    except ValueError as error:
        parser.error(f"argument --token-file: {settings.token_file}: {error}")


def check_networks(parser: argparse.ArgumentParser, text: str) -> None:
    """End with status 2 if these are not networks that may be scanned."""
    from chi import scanning  # here, as most who start chi never ask for it

    try:
        scanning.networks(text)
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --scan: {error}")


def names_root(arguments: argparse.Namespace) -> bool:
    """Whether the command line names the miner at the root, which is then served beside a fleet as well."""
    return hasattr(arguments, "api_host") or hasattr(arguments, "api_port")


def main(argv: Sequence[str] | None = None) -> int:
    """Run chi-server; return its exit status."""
    arguments, settings, policy = configure(argv)
    start_logging(settings)
    demo = start_demo(settings) if hasattr(arguments, "demo") else None
    if demo:
        settings = dataclasses.replace(settings, api_host=demo.address[0], api_port=demo.address[1])
    at_root = bool(demo) or names_root(arguments)
    if hasattr(arguments, "check"):
        return check(settings, policy, at_root)
    if hasattr(arguments, "scan"):
        from chi import scanning

        return scanning.scan(settings, scanning.networks(arguments.scan), Threads(lambda: None))
    if hasattr(arguments, "record"):
        from chi import recording

        return recording.record(settings, arguments.record)
    try:
        take_descriptors()
        listening = find_sockets(settings)
    except OSError as error:
        hint, status = CANNOT_SERVE.get(error.errno or 0, ("", 1))
        why = f"{error.strerror}{hint.format(port=settings.http_port)}"
        print(f"chi-server: error: cannot serve on {settings.serving_on}: {why}", file=sys.stderr)
        return status
    loop = build(settings, policy, listening, at_root=at_root)
    if demo and settings.history and settings.protocol != "text":
        remember_demo(loop, demo)
    serve(loop, settings, policy)
    return 0


def start_logging(settings: Settings) -> None:
    """Log to standard error, which may be slow to take it."""
    logging.basicConfig(
        format="%(levelname)s %(message)s", level=settings.log_level.upper(), handlers=[StandardError()]
    )
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    access_log.setLevel(logging.INFO if settings.access_log else logging.CRITICAL)


def serve(loop: Loop, settings: Settings, policy: Policy) -> None:
    """Run the loop until a signal ends it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    if settings.miners or settings.service:  # otherwise it ends chi, as when the terminal closes
        signal.signal(signal.SIGHUP, lambda *_: loop.reload())
    announce(loop)
    log.info("%s gets %s", policy.audience, policy.exposure)
    gc.freeze()  # objects that exist now stay: the garbage collector skips them
    loop.run()
    log.info("stopped")


def check(settings: Settings, policy: Policy, at_root: bool) -> int:
    """Ask the miner, or each one of a fleet, and print what it answers; return the exit status."""
    from chi import oneshot, scanning  # here, as most who start chi never ask for them

    threads, places = Threads(lambda: None), places_at_start(settings)
    if not places:
        return oneshot.check(settings, policy, threads)
    root = Place("", settings.api_host, settings.api_port)
    status = scanning.check_all(settings, (root, *places) if at_root else places, threads)
    oneshot.say(f"chi: would serve on {settings.serving_on}: {policy.exposure}")
    return status


def announce(loop: Loop) -> None:
    """Log what is served where, and an address that a browser can open."""
    for server in loop.servers:
        where = host_and_port(server.effective_host, server.effective_port)
        log.info("serving http://%s for %s", where, loop.sites.description)
    host, port = loop.servers[0].effective_host, loop.servers[0].effective_port
    if host in ("0.0.0.0", "::"):
        host = own_address()
    log.info("open http://%s/dashboard", host_and_port(host, port))


def own_address() -> str:
    """Return this host's address in the LAN, or 127.0.0.1. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # TEST-NET-1: it only chooses the route
            return str(sock.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def find_sockets(settings: Settings) -> list[socket.socket]:
    """Return the sockets to serve on; OSError.

    A service waits for a port that another program uses, and logs it once: procd would restart it every few
    seconds, with a line each time. Under systemd, which sets $NOTIFY_SOCKET, and in a terminal chi exits.
    """
    waits = settings.service and "NOTIFY_SOCKET" not in os.environ
    said = False
    while True:
        try:
            return open_sockets(settings)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not waits:
                raise
            if not said:
                log.error(
                    "cannot serve on %s: %s; chi waits until it is free", settings.serving_on, error.strerror
                )
            said = True
        time.sleep(WAIT)


def build(
    settings: Settings,
    policy: Policy,
    listening: Sequence[socket.socket],
    clock: Clock = CLOCK,
    at_root: bool = False,
) -> Loop:
    """Return the event loop with all its parts."""
    loop = Loop(settings, Notifier(os.environ), clock)
    connections = min(MAX_MINER_CONNECTIONS, take_descriptors() // 8) if settings.is_fleet else 0
    sites = Sites(
        settings, policy, loop.sockets, loop.threads.submit, loop.notifier, clock, at_root, connections
    )
    loop.carry(create_app(settings, policy, sites), sites, listening, policy.allows)
    loop.threads.submit(own_name, policy.learn_name)
    return loop


def own_name() -> object:
    """Return this machine's FQDN; bytes if it has none."""
    # As bytes: for a str CPython loads its tables of Unicode host names, 0.4 MB.
    return socket.getfqdn(socket.gethostname().encode())  # type: ignore[arg-type]


def start_demo(settings: Settings) -> DemoMiner:
    """Start a simulated miner on a free port, and return it."""
    try:
        from chi.demo import DemoMiner
        from chi.demo_text import TextMiner
    except ModuleNotFoundError:
        raise SystemExit(
            "chi-server: error: --demo: this package does not include the simulated miner"
        ) from None

    demo = TextMiner() if settings.protocol == "text" else DemoMiner()
    demo.start()
    return demo


def remember_demo(loop: Loop, demo: DemoMiner) -> None:
    """Give chi a day of the simulated miner, as if it had watched."""
    from chi.demo import past
    from chi.status.model import Rig, Status

    now, site = loop.clock.now(), loop.sites.root
    assert site is not None
    for ago, values in past(demo.console.rig):
        site.monitor.history.add(now - ago, Status(Rig(**values)))
