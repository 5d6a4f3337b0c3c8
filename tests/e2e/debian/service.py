"""chi's service on a machine, as its administrator and its clients deal with it."""

from __future__ import annotations

import json
from typing import Any

from machine import Machine, wait_until

OPTIONS = "/etc/default/chi"
DROP_INS = "/etc/systemd/system/chi.service.d"
EXAMPLES = "/usr/share/doc/chi/examples"


class Service:
    """What is asked of it and done to it; commands are typed as a user would."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.run = machine.run

    def get(self, path: str, *options: str, port: int = 8080, host: str = "127.0.0.1") -> tuple[int, Any]:
        """Make a request with curl; return the status, 0 without one, and the body, parsed."""
        said = self.run(
            f"curl --silent --max-time 60 --write-out '\\n%{{http_code}}' {' '.join(options)} "
            f"'http://{host}:{port}{path}'",
            check=False,
        )
        body, _, status = said.rpartition("\n")
        try:
            return int(status), json.loads(body)
        except ValueError:
            return int(status), body

    def show(self, name: str, unit: str = "chi") -> str:
        """A property of the unit."""
        return self.run(f"systemctl show --property={name} --value {unit}").strip()

    def is_up(self, port: int = 8080) -> bool:
        return self.get("/healthz", port=port)[0] == 200

    def set_options(self, options: str) -> None:
        """Edit /etc/default/chi as its user would."""
        self.run(f"sed -i 's|^CHI_OPTIONS=.*|CHI_OPTIONS=\"{options}\"|' {OPTIONS}")

    def restart(self, options: str) -> None:
        """Have it run with other options."""
        self.set_options(options)
        self.run("systemctl restart chi")

    def start_miner(self) -> None:
        """Have a miner on this machine, and chi know of it."""
        self.run("systemd-run --quiet --unit=miner python3 /e2e/miner.py --port 4028")
        wait_until(lambda: self.get("/summary/")[0] == 200, "the miner's summary")

    def add_example(self, name: str) -> None:
        """Install a drop-in of the package's examples, by the commands in its comment."""
        text = self.run(f"cat {EXAMPLES}/{name}")
        for line in text.splitlines():
            if line.startswith("#   "):
                self.run(line[4:])

    def drop_in(self, text: str) -> None:
        """Have a drop-in of one's own; an empty one takes them all away."""
        self.run(f"rm -rf {DROP_INS}")
        if text:
            self.run(f"mkdir -p {DROP_INS}")
            self.machine.write(f"{DROP_INS}/own.conf", text)
        self.run("systemctl daemon-reload; systemctl stop chi; systemctl start chi")
