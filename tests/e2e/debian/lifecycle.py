"""The whole life of the package on one suite."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any
from collections.abc import Callable

import build
import rootfs
from machine import Machine, wait_until
from report import Report
from sandbox import CLEAN, PREPARE, Sandbox

HERE = Path(__file__).resolve().parent
MOST_EXPOSURE = 1.0  # of `systemd-analyze security`
RESTARTS = 5
RESTART_LOSS, KILL_LOSS = 10_000, 500  # requests of which one may fail
# What changes by itself, or belongs to others: no trace of the package.
NOT_OURS = r"^/(proc|sys|dev|run|tmp|e2e|root)(/|$)|^/var/(log|cache|tmp|lib/(dpkg|apt|systemd))(/|$)"


class Life:
    """The steps, in order; each method is a check."""

    def __init__(self, suite: str, work: Path) -> None:
        self.suite = suite
        self.work = work
        self.files_before: set[str] = set()

    def makes_root_file_systems(self) -> str:
        """The only step that needs the suite's mirror, and only where nothing is kept from before."""
        for kind in rootfs.PACKAGES:
            rootfs.tarball(self.suite, kind)
        self.system = build.BuildSystem(self.suite, self.work)
        self.folder = self.work / "inside"
        shutil.copytree(HERE / "inside", self.folder)
        shutil.copy(build.TREE / "chi/demo.py", self.folder / "miner.py")
        build.copy_tree(self.folder / "tree")
        return f"in {rootfs.cache()}"

    # The package.

    def builds(self) -> str:
        """dpkg-buildpackage, tests on."""
        self.deb = self.system.build("/build/first")
        shutil.copy(self.deb, self.folder / "chi.deb")
        return f"{self.deb.name}, {self.deb.stat().st_size >> 10} KB"

    def builds_again(self) -> str:
        """Another folder, user's mask, time zone, language: the same bytes. The tests ran already."""
        again = self.system.build(
            "/elsewhere/second", TZ="Pacific/Kiritimati", LC_ALL="C", UMASK="077", DEB_BUILD_OPTIONS="nocheck"
        )
        assert again.read_bytes() == self.deb.read_bytes(), "the packages differ"
        return "the same bytes"

    def lintian(self) -> str:
        """The released package is the trixie build; the other has the old place of units."""
        return self.system.lintian(self.deb)

    def later_version(self) -> str:
        """One to upgrade to."""
        later = self.system.next_version(self.deb)
        shutil.copy(later, self.folder / "chi-next.deb")
        return later.name

    # The machine.

    def boots(self) -> str:
        self.machine = Machine(self.suite, self.work, self.folder)
        self.run = self.machine.run
        return self.machine.boot()

    def get(self, path: str, *options: str, port: int = 8080) -> tuple[int, Any]:
        """Make a request with curl; return the status and the body, parsed."""
        said = self.run(
            f"curl --silent --max-time 15 --write-out '\\n%{{http_code}}' {' '.join(options)} "
            f"'http://127.0.0.1:{port}{path}'",
            check=False,
        )
        body, _, status = said.rpartition("\n")
        try:
            return int(status), json.loads(body)
        except ValueError:
            return int(status), body

    def show(self, name: str) -> str:
        """A property of the service."""
        return self.run(f"systemctl show --property={name} --value chi").strip()

    def is_up(self, port: int = 8080) -> bool:
        return self.get("/healthz", port=port)[0] == 200

    def set_options(self, options: str) -> None:
        """Edit /etc/default/chi as its user would."""
        self.run(f"sed -i 's|^CHI_OPTIONS=.*|CHI_OPTIONS=\"{options}\"|' /etc/default/chi")

    # Installation.

    def installs(self) -> str:
        self.files_before = self.files()
        self.run("apt install --yes /e2e/chi.deb")
        states = self.run("systemctl is-enabled chi; systemctl is-active chi", check=False).split()
        assert states == ["disabled", "inactive"], states
        return "disabled and inactive"

    def verifies(self) -> str:
        said = self.run("systemd-analyze verify --man=no chi.service")
        assert not said.strip(), said
        return "silent"

    def documented(self) -> str:
        page = self.run("zcat /usr/share/man/man8/chi-server.8.gz")
        options = set(re.findall(r"--[a-z][\w-]+", self.run("chi-server --help")))
        missing = [name for name in options if name.replace("-", "\\-") not in page]
        assert not missing, f"not in chi-server(8): {missing}"
        completed = self.run(
            "bash -c '. /usr/share/bash-completion/completions/chi-server; complete -p chi-server'"
        )
        assert "chi-server" in completed, completed
        return f"chi-server(8) and bash completion, {len(options)} options"

    def starts_without_miner(self) -> str:
        self.run("systemctl enable --now chi")
        wait_until(lambda: "refused since" in self.show("StatusText"), "the status line says refused")
        assert self.is_up()
        status, body = self.get("/summary/")
        assert status == 502, (status, body)
        return self.show("StatusText")

    def finds_miner(self) -> str:
        self.run("systemd-run --quiet --unit=miner python3 /e2e/miner.py --port 4028")
        wait_until(lambda: "answers (cgminer" in self.show("StatusText"), "the status line says answers")
        status, body = self.get("/summary/")
        assert status == 200, body
        assert body["SUMMARY"][0]["Elapsed"] > 0, body
        said = self.run("systemctl status chi")
        assert self.show("StatusText") in said, said
        return self.show("StatusText")

    def read_only(self) -> str:
        before = self.get("/summary/")[1]["SUMMARY"][0]["Elapsed"]
        for options in ((), ("--request POST",), ("--header 'User-Agent: Mozilla/5.0'",)):
            status, body = self.get("/restart/", *options)
            assert status == 403, (status, body)
        body = '--data \'{"command":"quit"}\''
        assert self.get("/", body)[0] == 403
        assert self.get("/summary/")[1]["SUMMARY"][0]["Elapsed"] >= before
        return "restart and quit refused by GET and POST"

    # Sandbox.

    def exposure(self) -> str:
        said = self.run("systemd-analyze security --no-pager chi.service")
        score = re.search(r"Overall exposure level for chi.service: ([\d.]+)", said)[1]
        assert float(score) <= MOST_EXPOSURE, said
        return score

    def sandbox_alone(self) -> str:
        self.run(PREPARE)
        self.sandbox = Sandbox(self.machine)
        return self.sandbox.each_alone()

    def sandbox_together(self) -> str:
        try:
            return self.sandbox.together()
        finally:
            self.run(CLEAN, check=False)

    def address_filter(self) -> str:
        """Only private networks reach it; a drop-in adds another, with stop and start."""
        ask = "curl --silent --fail --max-time 1 --interface {0} http://{0}:8080/healthz"
        private, public = ask.format("192.168.77.1"), ask.format("203.0.113.1")
        assert self.machine.succeeds(private), "a private address is refused"
        assert not self.machine.succeeds(public), "a public address is answered"
        drop_in = "/etc/systemd/system/chi.service.d"
        self.run(
            f"mkdir -p {drop_in}; printf '[Service]\\nIPAddressAllow=203.0.113.0/24\\n' >{drop_in}/lan.conf; "
            "systemctl daemon-reload; systemctl restart chi"
        )
        by_restart = self.machine.succeeds(public)
        self.run("systemctl stop chi; systemctl start chi")
        assert self.machine.succeeds(public), "the drop-in has no effect"
        self.run(f"rm -r {drop_in}; systemctl daemon-reload; systemctl stop chi; systemctl start chi")
        assert not self.machine.succeeds(public), "a public address is answered"
        return f"a drop-in takes effect {'at a restart' if by_restart else 'at stop and start'}"

    # Changes.

    def changes_port(self) -> str:
        self.set_options("--read-only --http_port 8081")
        self.run("systemctl restart chi")
        assert self.is_up(8081)
        assert not self.is_up(8080)
        self.set_options("--read-only --listen 127.0.0.1 --http_port 8081")
        self.run("systemctl restart chi")
        assert self.is_up(8081)
        listening = self.run("ss --listening --tcp --numeric --no-header 'sport = :8081'").split()
        assert listening[3:] == ["127.0.0.1:8081", "0.0.0.0:*"], listening
        self.set_options("--read-only")
        self.run("systemctl restart chi")
        assert self.is_up(8080)
        assert not self.is_up(8081)
        return "8080 to 8081, to 127.0.0.1 only, and back"

    def bad_option(self) -> str:
        """It is refused with the reason in the log; put right, the service starts."""
        self.set_options("--read-only --http_port 80800")
        assert not self.machine.succeeds("systemctl restart chi")
        said = self.run("journalctl --unit chi")
        assert "80800" in said, said
        assert self.show("ActiveState") == "failed"
        self.set_options("--read-only")
        self.run("systemctl restart chi")
        assert self.is_up()
        return "refused, said why"

    def token(self) -> str:
        """As /etc/default/chi says."""
        self.run("install -d -m 700 /etc/credstore")
        self.run("(umask 077; head -c 18 /dev/urandom | base64 >/etc/credstore/chi.token)")
        self.set_options("--token-file /run/credentials/chi.service/chi.token")
        self.run("systemctl restart chi")
        token = self.run("cat /etc/credstore/chi.token").strip()
        assert self.get("/summary/")[0] == 200
        status = self.get("/privileged/", "--request POST")[0]
        assert status == 401, status
        status = self.get("/privileged/", "--request POST", f"--header 'Authorization: Bearer {token}'")[0]
        assert status == 200, status
        assert token not in self.run("journalctl --no-pager --unit chi")
        self.set_options("--token-file /run/credentials/chi.service/chi.token --private")
        self.run("systemctl restart chi")
        assert self.get("/summary/")[0] == 401
        self.run("rm -r /etc/credstore")
        self.set_options("--read-only")
        self.run("systemctl restart chi")
        assert self.get("/summary/")[0] == 200
        return "401 without, 200 with; reports likewise with --private"

    def announced(self) -> str:
        self.run("systemctl restart avahi-daemon")
        browse = "avahi-browse --parsable --resolve --terminate _http._tcp"
        wait_until(
            lambda: re.search(r"(?m)^=;.*Miner.*rig.*;8080;", self.run(browse, check=False)),
            "avahi-browse finds it",
        )
        return "Miner rig, port 8080"

    # Faults.

    def survives_kills(self) -> str:
        """More often than any start limit would bear."""
        for _ in range(7):
            before = self.show("MainPID")
            self.run("systemctl kill --signal=KILL chi")
            wait_until(lambda: self.show("MainPID") not in ("0", before), "another process", 10)  # noqa: B023
        wait_until(self.is_up, "it serves", 10)
        return f"7 times kill -9, {self.show('NRestarts')} restarts"

    def watchdog(self) -> str:
        before = self.show("MainPID")
        self.run(f"kill -STOP {before}")
        took = wait_until(lambda: self.show("MainPID") not in ("0", before), "another process", 60, 0.5)
        wait_until(self.is_up, "it serves", 10)
        assert "Watchdog timeout" in self.run("journalctl --unit chi --no-pager --lines 40")
        return f"a stopped process was replaced after {took:.0f} s"

    # Load.

    def under_load(self, one_in: int, events: list[Callable[[], object]], between: int) -> str:
        """Cause events under load, `between` requests apart; judge how many requests failed."""
        load = self.machine.start("python3", "/e2e/load.py", "8080")
        assert load.stdout is not None

        def wait_for(count: int) -> None:
            until = time.monotonic() + 90
            while int(load.stdout.readline()) < count:
                assert time.monotonic() < until, "the clients are too slow"

        try:
            started, count = time.monotonic(), 500
            wait_for(count)
            for event in events:
                event()
                count += between
                wait_for(count)
            took = time.monotonic() - started
            said = load.communicate(timeout=60)[0]
        finally:
            load.kill()
            load.wait()
        end = json.loads(said.splitlines()[-1])
        text = (
            f"{end['failed']} of {end['requests']} requests failed, "
            f"{end['requests'] / took:.0f} a second, the slowest took {end['slowest']:.2f} s"
        )
        assert end["failed"] * one_in <= end["requests"], f"{text}: {end['reasons']}"
        return text

    def upgrades_under_load(self) -> str:
        before = self.show("MainPID")

        def upgrade() -> None:
            self.run("apt install --yes /e2e/chi-next.deb")
            assert self.show("MainPID") not in ("0", before), "the upgrade has not restarted it"

        restart = [lambda: self.run("systemctl restart chi")] * RESTARTS
        return self.under_load(RESTART_LOSS, [upgrade, *restart], 1800)

    def killed_under_load(self) -> str:
        def kill() -> None:
            before = self.show("MainPID")
            self.run("systemctl kill --signal=KILL chi")
            wait_until(lambda: self.show("MainPID") not in ("0", before), "another process", 10)

        return self.under_load(KILL_LOSS, [kill] * RESTARTS, 2200)

    # The rest of its life.

    def restarts_with_machine(self) -> str:
        """It is there before the miner; the miner comes later."""
        took = self.machine.reboot()
        wait_until(self.is_up, "it serves", 20)
        wait_until(lambda: "refused since" in self.show("StatusText"), "the status line says refused")
        self.run("systemd-run --quiet --unit=miner python3 /e2e/miner.py --port 4028")
        wait_until(lambda: self.get("/summary/")[0] == 200, "the miner's summary", 20)
        return took

    def upgrade_of_disabled(self) -> str:
        """It stays disabled and stopped; changed configuration stays as it is."""
        self.run("systemctl disable --now chi")
        self.set_options("--read-only --max-age 1")
        self.run("apt install --yes --allow-downgrades /e2e/chi.deb")
        self.run("apt install --yes /e2e/chi-next.deb")
        states = self.run("systemctl is-enabled chi; systemctl is-active chi", check=False).split()
        assert states == ["disabled", "inactive"], states
        assert "--max-age 1" in self.run("cat /etc/default/chi")
        return "still disabled and inactive, /etc/default/chi as it was"

    def autopkgtest(self) -> str:
        self.run("cp -r /e2e/tree /var/tmp/tree")
        said = self.run(
            "PYTHONDONTWRITEBYTECODE=1 autopkgtest --ignore-restrictions=isolation-container "
            "--no-built-binaries /e2e/chi.deb /var/tmp/tree/ -- null",
            check=False, timeout=180,
        )  # fmt: skip
        results = re.findall(r"(?m)^(smoke|service) +PASS", said)
        assert sorted(set(results)) == ["service", "smoke"], said
        return "smoke and service"

    def removes(self) -> str:
        self.run("systemctl enable --now chi")
        assert self.is_up()
        self.run("apt remove --yes chi")
        assert not self.is_up()
        assert self.run("cat /etc/default/chi")
        left = self.show("LoadState")
        assert left in ("not-found", "masked"), left
        return "stopped; the configuration is kept"

    def purges(self) -> str:
        self.run("apt purge --yes chi")
        left = sorted(self.files() - self.files_before)
        assert not left, left
        return "nothing left"

    def files(self) -> set[str]:
        """All files that could be the package's."""
        found = self.run("find / -xdev").splitlines()
        states = self.run("find /var/lib/systemd -name 'chi*'").splitlines()
        return {path for path in found if not re.search(NOT_OURS, path)} | set(states)

    def piuparts(self) -> str:
        """Install, upgrade, remove and purge in a bare root file system."""
        return self.system.piuparts(self.deb)

    def readme(self) -> str:
        """What the README tells to type has been typed here."""
        page = build.TREE / "README.md"
        text = page.read_text(encoding="utf-8") if page.exists() else ""
        section = re.search(r"(?ms)^##+ [^\n]*Debian.*?(?=^##+ |\Z)", text)
        assert section, "the README has no section for Debian"
        lines = re.findall(r"(?m)^# (.*)$", "".join(re.findall(r"(?ms)^```console\n(.*?)^```", section[0])))
        assert lines, "the README has no commands for Debian"
        typed = {self.as_typed(line) for line in self.machine.ran}
        missing = [line for line in lines if self.as_typed(line) not in typed]
        assert not missing, f"not run here: {missing}"
        return f"{len(lines)} commands"

    @staticmethod
    def as_typed(line: str) -> str:
        """A command less what differs: where the package is, and answers given beforehand."""
        return re.sub(r"\S*/chi\S*\.deb", "chi.deb", line.replace(" --yes", ""))


def test(work: Path, report: Report) -> None:
    """Run all checks; those that need what failed are left out."""
    life = Life(report.suite, work)
    if not report.check("root file systems", life.makes_root_file_systems):
        return
    if not report.check("build, tests on", life.builds):
        return
    report.check("build again", life.builds_again)
    if report.suite == "trixie":  # the suite of the release
        report.check("lintian --pedantic", life.lintian)
    report.check("a later version", life.later_version)
    if not report.check("boot", life.boots):
        return
    try:
        if not report.check("apt install", life.installs):
            return
        for name, check in (
            ("systemd-analyze verify", life.verifies),
            ("systemd-analyze security", life.exposure),
            ("manual page, completion", life.documented),
            ("enable, without the miner", life.starts_without_miner),
            ("the miner comes", life.finds_miner),
            ("read-only", life.read_only),
            ("sandbox, each line alone", life.sandbox_alone),
            ("sandbox, the whole unit", life.sandbox_together),
            ("address filter", life.address_filter),
            ("port change", life.changes_port),
            ("bad option", life.bad_option),
            ("token", life.token),
            ("avahi-browse", life.announced),
            ("kill -9", life.survives_kills),
            ("hung process", life.watchdog),
            ("upgrade and restarts under load", life.upgrades_under_load),
            ("kill -9 under load", life.killed_under_load),
            ("reboot", life.restarts_with_machine),
            ("upgrade while disabled", life.upgrade_of_disabled),
            ("autopkgtest", life.autopkgtest),
            ("remove", life.removes),
            ("purge", life.purges),
            ("piuparts", life.piuparts),
            ("README", life.readme),
        ):
            report.check(name, check)
    finally:
        life.machine.power_off()
