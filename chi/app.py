"""The Bottle application: every route and its handler.

Comes in: a WSGI request with a Client (`chi.client`) and the undecoded path (`chi.path`). Goes out: a
response, or Parked while it waits for the miner; the event loop then runs the handler again, with the reply
at hand. Whether a request is allowed is judged by chi.access, and what it gets is made by chi.responses.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import bottle

from chi import __version__
from chi.access import Policy
from chi.errors import DENIALS, ChiError, quote
from chi.figures import counted, process_figures
from chi.miner.asking import Miner
from chi.miner.replies import ENCODER, Reply, indent
from chi.miner.wire import encode_request
from chi.monitor import Found, Monitor, section
from chi.pages import FAVICON, MANIFEST, confirmation, static_page
from chi.requests import (
    Plan,
    accepted_age,
    asks_for,
    check_path,
    check_place,
    depth_of,
    field_of,
    is_navigation,
    read_body,
    read_input,
    read_path,
    scrape_timeout,
)
from chi.responses import JSON_HEADERS, answer, envelope, method_error, moved, respond
from chi.settings import Settings
from chi.sites import Site, Sites, split_path

CHECK_TIME = 1.0  # seconds
NAMED = 20  # of the miners of a fleet, in words


class Handlers:
    """The handlers of all routes. The environ has `chi.client`, the Client, beside what WSGI puts there."""

    def __init__(self, settings: Settings, policy: Policy, sites: Sites) -> None:
        self._settings = settings
        self._policy = policy
        self._clock = sites.clock
        self._counters = sites.counters
        self._sites = sites
        self._own_paths: dict[str, str] = {}  # chi's own paths, by their letters without a slash

    @property
    def _site(self) -> Site:
        """The miner that the request is for; ChiError if it names none and none is at the root."""
        site: Site | None = bottle.request.environ["chi.site"]
        if site is None:
            raise ChiError("no-miner", names=names_of(self._sites))
        return site

    @property
    def _miner(self) -> Miner:
        return self._site.miner

    @property
    def _monitor(self) -> Monitor:
        return self._site.monitor

    def get(self, path: str) -> bottle.HTTPResponse:
        """GET (and HEAD) /<command>..."""
        return self._forward(read_path(bottle.request.environ["PATH_INFO"]))

    def post(self, path: str) -> bottle.HTTPResponse:
        """POST /<command>..."""
        if read_input(bottle.request.environ):
            raise ChiError("unexpected-body")
        return self._forward(read_path(bottle.request.environ["PATH_INFO"]))

    def post_body(self) -> bottle.HTTPResponse:
        """POST /."""
        return self._forward(read_body(read_input(bottle.request.environ)))

    def healthz(self) -> bottle.HTTPResponse:
        """GET /healthz: the process is alive."""
        return respond(Reply(envelope("S", 200, "chi is alive")))

    def readyz(self) -> bottle.HTTPResponse:
        """GET /readyz: the miner answers, or at least one of a fleet does."""
        if bottle.request.environ["chi.site"] is None:
            return self._fleet_ready()
        try:
            self._miner.ask(bottle.request.environ["chi.client"], encode_request({"command": "version"}))
        except ChiError as error:
            raise ChiError("not-ready", why=error) from None
        verdict = self._monitor.verdict
        said = f"miner {self._miner.name} {self._miner.manner}" + (f". {verdict.sentence}" if verdict else "")
        return respond(Reply(envelope("S", 200, said)))

    def metrics(self) -> bottle.HTTPResponse:
        """GET /metrics: for Prometheus. A failure of the miner is data here, not an error.

        A fleet's miners have their metrics below their names; the root has chi's own metrics.
        """
        from chi.status import prometheus  # here, as most who start chi never ask for them

        client, site = bottle.request.environ["chi.client"], bottle.request.environ["chi.site"]
        if site is None:
            return self._exposition(prometheus.own_families(self._own()))
        limit = scrape_timeout(bottle.request.environ)
        client.deadline = min(client.deadline, client.arrived + limit)
        found = Found(client.arrived, None, {})
        with contextlib.suppress(ChiError):  # which Miner has counted
            found = site.monitor.status(client)
        took = self._clock.now() - client.arrived
        own = self._own(scrape_duration=took, commands=found.commands)
        users = self._settings.metrics_pool_user
        body = prometheus.prometheus(found.status, own, users, site.monitor.verdict, whole=not site.name)
        return self._aged(self._exposition(body), found)

    def _own(self, **figures: Any) -> Any:
        """What chi tells of itself now, with `figures` of a scrape: an Own."""
        from chi.status.prometheus import Own

        own: dict[str, Any] = {**counted(self._counters), **process_figures(), **figures}
        return Own(__version__, **own)

    def _exposition(self, body: bytes) -> bottle.HTTPResponse:
        from chi.status.prometheus import CONTENT_TYPE

        return bottle.HTTPResponse(body, 200, [("Content-Type", CONTENT_TYPE), *JSON_HEADERS[1:]])

    def status(self) -> bottle.HTTPResponse:
        """GET /status.json: the miner's state, in the same form for every firmware."""
        from chi.status import verdict
        from chi.status.model import to_json

        environ = bottle.request.environ
        found = self._monitor.status(environ["chi.client"], accepted_age(environ))
        users = self._settings.metrics_pool_user or asks_for(environ, "users")
        now, epoch = self._clock.now(), self._clock.epoch()
        told = {**to_json(found.status, users), "verdict": verdict.to_json(self._monitor.verdict, now, epoch)}
        return self._aged(self._document(told), found)

    def history(self) -> bottle.HTTPResponse:
        """GET /history.json: the miner's state over the last minutes or day. Does not ask the miner."""
        from chi.status.history import RANGES

        span = field_of(bottle.request.environ, "range")
        if span is not None and span not in RANGES:
            raise ChiError("bad-range", range=quote(span), ranges=", ".join(RANGES))
        now, epoch = self._clock.now(), self._clock.epoch()
        return self._document(self._monitor.history.to_json(now, epoch, span or ""))

    def fleet(self) -> bottle.HTTPResponse:
        """GET /fleet.json: the miners of a fleet, from what chi knows. Does not ask them."""
        from chi.status.fleet import fleet_json

        now, epoch = self._clock.now(), self._clock.epoch()
        return self._document(fleet_json(map(member, self._sites, itertools.repeat(now)), now, epoch))

    def targets(self) -> bottle.HTTPResponse:
        """GET /targets.json: the miners of a fleet as Prometheus' HTTP service discovery has them."""
        environ = bottle.request.environ
        here = environ.get("HTTP_HOST") or f"localhost:{environ['SERVER_PORT']}"
        found = [
            {
                "targets": [here],
                "labels": {
                    "__metrics_path__": f"{site.path}/metrics",
                    "instance": f"{here}{site.path}",
                    "miner": site.name,
                },
            }
            for site in self._sites
        ]
        return self._document(found)

    def _fleet_ready(self) -> bottle.HTTPResponse:
        """Whether at least one miner of the fleet answers, and how many do."""
        if not any(site.miner.answers for site in self._sites):
            raise ChiError("not-ready", why=self._sites.condition)
        return respond(Reply(envelope("S", 200, self._sites.condition)))

    def access(self) -> bottle.HTTPResponse:
        """GET /access.json: what chi's settings allow; the same for all clients."""
        return self._document({"mode": self._policy.mode, "private": self._settings.private})

    def dashboard(self) -> bottle.HTTPResponse:
        """GET /dashboard: the page of the miner, or of all miners of a fleet."""
        if bottle.request.environ["chi.respelt"]:  # what the page reads is beside its own path
            site = bottle.request.environ["chi.site"]
            return moved((site.path if site else "") + "/dashboard")
        environ = bottle.request.environ
        return static_page("dashboard.html" if environ["chi.site"] else "fleet.html", environ)

    def favicon(self) -> bottle.HTTPResponse:
        """GET /favicon.ico: for tabs and bookmarks; browsers cache it for a day."""
        headers = {"Content-Type": "image/x-icon", "Cache-Control": "max-age=86400"}
        return bottle.HTTPResponse(FAVICON, 200, headers)

    def manifest(self) -> bottle.HTTPResponse:
        """GET /manifest.webmanifest: how a phone adds the page to its home screen."""
        headers = {"Content-Type": "application/manifest+json", "Cache-Control": "max-age=86400"}
        return bottle.HTTPResponse(ENCODER.encode(MANIFEST).encode("ascii"), 200, headers)

    def robots(self) -> bottle.HTTPResponse:
        """GET /robots.txt: nothing here is for search engines."""
        return bottle.HTTPResponse(b"User-agent: *\nDisallow: /\n", 200, {"Content-Type": "text/plain"})

    def refuse(self) -> bottle.HTTPResponse:
        """Any other method for a path that can only be read; answers a browser's CORS preflight."""
        leave = self._policy.preflight(bottle.request.environ)
        if not leave:
            raise method_error("GET, HEAD")
        return bottle.HTTPResponse(b"", 204, leave)

    def refuse_command(self, path: str) -> bottle.HTTPResponse:
        """Any other method for /<command>...; answers a browser's CORS preflight, allowed for reports."""
        environ = bottle.request.environ
        leave = self._policy.preflight(environ)
        if not leave or not self._policy.is_report(read_path(environ["PATH_INFO"]).members):
            raise method_error("GET, HEAD, POST")
        return bottle.HTTPResponse(b"", 204, leave)

    def guard(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a handler, as bottle's plugins do: the rungs for every request, and errors as responses."""

        def guarded(*args: Any, **kwargs: Any) -> bottle.HTTPResponse:
            environ = bottle.request.environ
            try:
                self._policy.admit(environ)
                check_path(environ)
                if environ["PATH_INFO"].lstrip("/").startswith("@"):  # names are chi's own, however spelt
                    raise ChiError("unknown-miner", miner=quote(environ["chi.path"]))
                client = environ["chi.client"]
                client.site = client.site or self._sites.find(environ["chi.name"])
                environ["chi.site"] = client.site
                response = handler(*args, **kwargs)
            except ChiError as error:
                if error.name in DENIALS:
                    self._counters["denied_requests", error.name] += 1
                response = error.page or respond(error)
            for name, value in self._policy.cors(environ):
                response.set_header(name, value)
            return response

        return guarded

    def take_path(self) -> None:
        """Before routing: move /@NAME to SCRIPT_NAME, and remove extra slashes from chi's own paths.

        A path that differs from one of them only in slashes is never forwarded.
        """
        environ = bottle.request.environ
        name, rest = split_path(environ["PATH_INFO"])
        environ["chi.name"] = name
        if name is not None:
            environ["SCRIPT_NAME"] += f"/@{name}"
            environ["PATH_INFO"] = rest
        own = self._own_paths.get(rest.replace("/", ""), rest) if rest[:1] == "/" else rest
        environ["chi.respelt"] = own != rest
        if own != rest:
            environ["PATH_INFO"] = own

    def serve(self, app: bottle.Bottle, path: str, handler: Callable[[], bottle.HTTPResponse]) -> None:
        """Have one of chi's own paths served."""
        self._own_paths[path.replace("/", "")] = path
        app.get(path, callback=handler)
        app.route(path, ["POST", "OPTIONS", "ANY"], self.refuse)

    def _forward(self, plan: Plan) -> bottle.HTTPResponse:
        environ, client = bottle.request.environ, bottle.request.environ["chi.client"]
        try:
            report = self._policy.judge(environ, plan.members)
        except ChiError as error:
            if error.name == "confirm" and environ["REQUEST_METHOD"] == "GET":
                base = "../" * depth_of(environ) + f"{self._site.path}/"[1:]
                unknown = is_navigation(environ) and self._is_unknown(plan.members["command"])
                error.page = confirmation(plan.members, base, unknown)
            raise
        if environ["REQUEST_METHOD"] == "HEAD" and not report:
            raise method_error("GET, POST")
        check_place(environ)
        pretty = asks_for(environ, "pretty")
        if not self._policy.cors(environ):  # else headers are missing as well
            client.forwarded = (plan.request, pretty)
        return respond(self._miner.ask(client, plan.request, pretty, shared=report))

    def _is_unknown(self, command: str) -> bool:
        """Whether the miner says that it has no such command; a page does not wait for that for long."""
        if "+" in command:  # which the miner would take for one name
            return False
        client = bottle.request.environ["chi.client"]
        client.deadline = min(client.deadline, client.arrived + CHECK_TIME)
        request = encode_request({"command": "check", "parameter": command})
        try:
            reply = self._miner.ask(client, request).parsed(dict)
        except ChiError:
            return False
        told = section(reply, "CHECK")
        return bool(told) and told[0].get("Exists") == "N"

    def _aged(self, response: bottle.HTTPResponse, found: Found) -> bottle.HTTPResponse:
        """Set the Age header if the status is older than the request."""
        age = self._clock.now() - found.asked
        if found.asked < bottle.request.environ["chi.client"].arrived and age >= 1:
            response.set_header("Age", str(int(age)))
        return response

    def _document(self, value: Any) -> bottle.HTTPResponse:
        """A document of chi's own, as JSON."""
        body = ENCODER.encode(value).encode("ascii")
        return respond(Reply(indent(body) if asks_for(bottle.request.environ, "pretty") else body))


def member(site: Site, now: float) -> Any:
    """Return what is known of a miner, as /fleet.json is made of."""
    from chi.status.fleet import Member

    asked, status, _ = site.monitor.newest
    age = None if status is None else now - asked
    verdict, hour = site.monitor.verdict, site.monitor.last_hour
    return Member(site.name, site.path, site.miner.trouble, age, status, verdict, hour)


def names_of(sites: Sites) -> str:
    """Return the paths of the miners, in words; the first of many."""
    paths = [f"{site.path}/" for site in sites]
    more = len(paths) - NAMED
    return ", ".join(paths[:NAMED]) + (f" and {more} more, see /fleet.json" if more > 0 else "")


def bottle_error(error: bottle.HTTPError) -> bytes:
    """Answer requests that bottle refuses: its own error pages are HTML."""
    if error.status_code == 404:  # every path that begins with / has a route, for every method
        ours = ChiError("bad-path", why="it does not begin with /")
    else:
        ours = ChiError("internal")
    bottle.response.status, headers, body = answer(ours)
    bottle.response.headers.update(headers)
    return body


def create_app(settings: Settings, policy: Policy, sites: Sites) -> bottle.Bottle:
    """Return the WSGI application."""
    handlers = Handlers(settings, policy, sites)
    app = bottle.Bottle()
    app.add_hook("before_request", handlers.take_path)
    app.install(handlers.guard)
    app.default_error_handler = bottle_error
    for path, handler in (
        ("/healthz", handlers.healthz),
        ("/readyz", handlers.readyz),
        ("/metrics", handlers.metrics),
        ("/status.json", handlers.status),
        ("/history.json", handlers.history),
        ("/access.json", handlers.access),
        ("/fleet.json", handlers.fleet),
        ("/targets.json", handlers.targets),
        ("/dashboard", handlers.dashboard),
        ("/manifest.webmanifest", handlers.manifest),
        ("/favicon.ico", handlers.favicon),
        ("/robots.txt", handlers.robots),
    ):
        handlers.serve(app, path, handler)
    everything = "/<path:re:[\\s\\S]*>"  # newlines included
    app.post("/", callback=handlers.post_body)
    app.get(everything, callback=handlers.get)
    app.post(everything, callback=handlers.post)
    app.route(everything, ["OPTIONS", "ANY"], handlers.refuse_command)
    return app
