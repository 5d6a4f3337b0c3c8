"""The real Prometheus and Alertmanager with the alerts and the recipe: what reaches a mailbox and a chat."""

from __future__ import annotations

import re
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from stage import PACKAGING, Sink, Stage, end, staged, wait_until, well

from tests.scripted import free_port

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager") or ""
pytestmark = pytest.mark.skipif(
    not (PROGRAM and shutil.which("prometheus")),
    reason="prometheus and prometheus-alertmanager are not installed",
)


class Mailbox(socketserver.ThreadingTCPServer):
    """Takes mail for anybody; `mails` are the messages."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[str] = []
        super().__init__(("127.0.0.1", 0), Postman)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Postman(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs (RFC 5321)."""

    server: Mailbox

    def handle(self) -> None:
        self.wfile.write(b"220 mailbox\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                mail = b""
                while (line := self.rfile.readline()) != b".\r\n":
                    mail += line
                self.server.mails.append(mail.decode(errors="replace"))
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


class Told(NamedTuple):
    """All that runs."""

    stage: Stage
    mailbox: Mailbox
    chat: Sink

    def mail(self, text: str) -> bool:
        """Whether a mail's subject or body has a text."""
        return any(text in mail for mail in self.mailbox.mails)

    def said(self, text: str) -> bool:
        """Whether the chat got a text."""
        return any(text in body for path, body in self.chat.bodies if path.endswith("/sendMessage"))


def recipe(folder: Path, mailbox: Mailbox, chat: Sink) -> str:
    """alertmanager.yml as a user would change it, with seconds in place of minutes, and everything here."""
    text = (PACKAGING / "alertmanager.yml").read_text(encoding="utf-8")
    text = re.sub(r"  smtp_auth_.*\n", "", text).replace("mail.lan:587", f"127.0.0.1:{mailbox.port}")
    text = text.replace("  smtp_from", "  smtp_require_tls: false\n  smtp_from")
    text = text.replace('"123456:bot-token"', f'"123456:bot-token"\n        api_url: {chat.url}')
    return re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", text)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A miner that is well, and all who watch it."""
    folder = tmp_path_factory.mktemp("alerts")
    port, started = free_port(), []
    with staged() as stage, Mailbox() as mailbox, Sink() as chat:
        stage.show(well("luxos"))
        (folder / "alertmanager.yml").write_text(recipe(folder, mailbox, chat))
        rules = (PACKAGING / "alerts.yml").read_text(encoding="utf-8")
        (folder / "alerts.yml").write_text(re.sub(r"(for|keep_firing_for): \d+m", r"\1: 2s", rules))
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]}}\n"
            "rule_files: [alerts.yml]\nscrape_configs:\n"
            f"  - {{job_name: rigs, static_configs: [{{targets: ['127.0.0.1:{stage.port}']}}]}}\n"
        )
        commands = (
            [PROGRAM, "--config.file=alertmanager.yml", "--storage.path=am",
             f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
             f"--web.listen-address=127.0.0.1:{free_port()}"],
        )  # fmt: skip
        try:
            for number, command in enumerate(commands):
                with open(folder / f"{number}.log", "wb") as log:
                    started.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
            yield Told(stage, mailbox, chat)
        finally:
            for process in started:
                end(process)
            chat.shutdown()
            mailbox.shutdown()


def test_check_config() -> None:
    """The tool amtool takes the recipe."""
    command = ["amtool", "check-config", PACKAGING / "alertmanager.yml"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_miner_down(told: Told) -> None:
    """By mail and in the chat; then that it is well again."""
    told.stage.stop_miner()
    wait_until(lambda: told.said("the miner does not answer"), "the chat is told", 90)
    wait_until(lambda: told.mail("MinerDown"), "a mail is there", 90)
    told.stage.play(well("luxos"))
    wait_until(lambda: told.said("Well again: "), "the chat is told that it is well", 180)


def test_chi_down(told: Told) -> None:
    """Likewise, with chi under another job's name."""
    told.stage.stop_chi()
    wait_until(lambda: told.said("chi cannot be reached"), "the chat is told", 90)
    wait_until(lambda: told.mail("ChiDown"), "a mail is there", 90)
