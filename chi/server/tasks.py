"""Answers one request: from the application, from what its client waited for, or with what is wrong with it.

Comes in: a channel and its Request. Goes out: the response, to the channel; it is counted, and logged if that
is asked for.
"""

from __future__ import annotations

import http.client
import logging
import re
from typing import Any

from waitress.task import ErrorTask, WSGITask

from chi.responses import JSON_HEADERS, Answer, answer, envelope

access_log = logging.getLogger("chi.access")
SHORT = 16 << 10  # a body up to this goes out in one piece with its header
PLAIN_PATH = re.compile(r"(/@[\w.-]{1,63})?/[\w+.-]*", re.ASCII)


class Task(WSGITask):
    """Runs the application for one request, once: one that was parked is finished without it."""

    def execute(self) -> None:
        client = self.request.client
        outcome = client.answers.get(client.forwarded)
        if outcome is None:
            super().execute()
            if self.request.command == "HEAD":  # for waitress 2.1 the body is missing: it would hang up
                self.close_on_finish = False
        else:
            write_answer(self, answer(outcome))

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ["chi.client"] = self.request.client
        # check_path() judges what came; bottle gets what it can decode, which each version does in its way.
        path = environ["chi.path"] = environ["PATH_INFO"]
        environ["PATH_INFO"] = path.encode("latin-1").decode("utf-8", "replace").encode().decode("latin-1")
        return environ

    def finish(self) -> None:
        super().finish()
        account(self)


class BadRequestTask(ErrorTask):
    """Answers what waitress refuses (400, 413, 431, 501) in chi's own envelope."""

    def execute(self) -> None:
        error = self.request.error
        body = envelope("E", error.code, f"{error.reason}: {error.body}")
        self.close_on_finish = self.channel.refused = True
        write_answer(self, Answer(error.code, [*JSON_HEADERS, ("Connection", "close")], body))

    def finish(self) -> None:
        super().finish()
        account(self)


def write_answer(task: Task | BadRequestTask, what: Answer) -> None:
    """Write a whole response at once, headers and body in one segment where they fit."""
    task.status = f"{what.status} {http.client.responses.get(what.status, '')}"
    task.content_length = len(what.body)
    head = head_of(task, what)
    task.wrote_header = True
    pieces = [head] if task.request.command == "HEAD" else [head, what.body]
    for piece in [b"".join(pieces)] if len(what.body) <= SHORT else pieces:
        task.channel.write_soon(piece)


def head_of(task: Task | BadRequestTask, what: Answer) -> bytes:
    """Return the header of a response; all who poll one report are given the same one for a second."""
    heads = task.channel.adj.response_heads
    asked = task.version, task.request.headers.get("CONNECTION"), task.close_on_finish
    told = int(task.start_time), what.status, task.content_length, *what.headers
    if (asked, told) not in heads:
        task.response_headers = what.headers[:]
        heads.keep((asked, told), (task.build_response_header(), task.close_on_finish))
    head: bytes
    head, task.close_on_finish = heads[asked, told]
    return head


def account(task: Task | BadRequestTask) -> None:
    """Count an answered request, and log it if that is asked for."""
    task.channel.server.task_dispatcher.count(task.status[:3])
    request = task.request
    if request.client is None or not access_log.isEnabledFor(logging.INFO):
        return
    # Without the parameter, which may be a secret.
    site = "" if request.name is None else f"/@{request.name}"
    command = f"{site}/" + request.place[1:].partition("/")[0]
    if not PLAIN_PATH.fullmatch(command):  # may be cgminer's text protocol, command|parameter
        command = "(odd)"
    address, method = task.channel.addr[0], request.command or "-"
    took = task.channel.adj.clock.now() - request.client.arrived
    access_log.info("%s %s %s %s %.4f s", address, method, command, task.status[:3], took)
