"""The whole life of the package on one suite."""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import accidents
import build
import examples
import fleet
import load
import network
import rootfs
from archive import URL, Archive
from machine import Machine, wait_until
from report import Report
from sandbox import CLEAN, PREPARE, Sandbox
from service import DROP_INS, Service

HERE = Path(__file__).resolve().parent
MOST_EXPOSURE = 1.1  # of `systemd-analyze security`
# Completes "chi-server --token-file /etc/hostn", as bash would for who presses the tabulator there.
COMPLETE = """
. /usr/share/bash-completion/completions/chi-server
COMP_WORDS=(chi-server --token-file /etc/hostn); COMP_CWORD=2
COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
set -- $(complete -p chi-server)
while [ "$1" != -F ]; do shift; done
"$2" chi-server /etc/hostn --token-file
echo "${COMPREPLY[@]}"
"""
# What changes by itself, or belongs to others: no trace of the package.
NOT_OURS = r"^/(proc|sys|dev|run|tmp|e2e|root)(/|$)|^/var/(log|cache|tmp|backups|lib/(dpkg|apt|systemd))(/|$)"


def alone(work: Callable[[], str]) -> str:
    """Do what loads the machine while the other suite's run does no such thing."""
    with (rootfs.cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return work()


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
        # One copy at the beginning: whatever becomes of the tree meanwhile, one state of it is tested.
        self.tree = self.work / "tree"
        build.copy_tree(self.tree)
        self.system = build.BuildSystem(self.suite, self.work, self.tree)
        self.folder = self.work / "inside"
        shutil.copytree(HERE / "inside", self.folder)
        shutil.copy(self.tree / "chi/demo.py", self.folder / "miner.py")
        shutil.copytree(self.tree, self.folder / "tree", symlinks=True)
        return f"in {rootfs.cache()}"

    # The package.

    def builds(self) -> str:
        """dpkg-buildpackage, tests on."""
        self.deb = self.system.build("/build/first")
        self.archive = Archive(self.system, self.deb.parent / f"chi-{self.system.upstream}", self.folder)
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
        self.later = self.system.next_version(self.deb)
        shutil.copy(self.later, self.folder / "chi-next.deb")
        return self.later.name

    def repository(self) -> str:
        """As a release has it, with this package."""
        return self.archive.add(self.deb)

    # The machine.

    def boots(self) -> str:
        self.machine = Machine(self.suite, self.work, self.folder)
        self.run, self.ran = self.machine.run, self.machine.ran
        self.service = Service(self.machine)
        self.get, self.show, self.is_up = self.service.get, self.service.show, self.service.is_up
        return self.machine.boot()

    # Installation.

    def installs(self) -> str:
        """By its name, from the repository; the last line says what to do next."""
        self.files_before = self.files()
        self.archive.set_up(self.machine)
        last = self.run("apt install --yes chi").strip().splitlines()[-1]
        assert "systemctl enable --now chi" in last, last
        assert "http://rig:8080/" in last, last
        states = self.run("systemctl is-enabled chi; systemctl is-active chi", check=False).split()
        assert states == ["disabled", "inactive"], states
        return f"disabled and inactive; {last}"

    def tampered(self) -> str:
        return self.archive.refuses_what_is_changed(self.machine)

    def verifies(self) -> str:
        said = self.run("systemd-analyze verify --man=no chi.service chi-announce.service")
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
        completed = self.run(f"bash -c '{COMPLETE}'")
        assert completed == "/etc/hostname\n", completed
        version = self.run("chi-server --version").split()[1]
        assert f'"chi-server {version}"' in page, page[:300]
        for name in ("README.Debian", "README.md", "SECURITY.md", "debian.md", "examples/port-80.conf"):
            self.run(f"ls /usr/share/doc/chi/{name}*")
        return f"chi-server(8) of {version} and bash completion, {len(options)} options; README, examples"

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
        for path, *options in accidents.PRIVILEGED:
            status, body = self.get(path, *options)
            assert status == 403, (status, body)
        assert self.get("/restart/", "--header 'User-Agent: Mozilla/5.0'")[0] == 403
        assert self.get("/summary/")[1]["SUMMARY"][0]["Elapsed"] >= before
        return "restart and quit refused by GET and POST"

    def accidents(self) -> str:
        return accidents.happen(self.service)

    def opens_when_told(self) -> str:
        self.service.restart("--open")
        assert self.get("/privileged/", "--request POST")[0] == 200
        self.service.restart("")
        return "with --open every command, as said"

    def checked(self) -> str:
        """What an administrator is told is what the service does, whether it runs or not."""
        self.service.restart("--http_port 8081")
        for state in ("start", "stop"):
            self.run(f"systemctl {state} chi")
            said = self.run("chi-server --check")
            assert "8081" in said, said
            assert "reports only (--service)" in said, said
        self.service.restart("")
        assert "8080" in self.run("chi-server --check --api_port 4028")
        return said.splitlines()[-1].strip()

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

    # Changes.

    def changes_port(self) -> str:
        self.service.set_options("--http_port 8081")
        self.run("systemctl restart chi")
        assert self.is_up(8081)
        assert not self.is_up(8080)
        self.service.set_options("--listen 127.0.0.1 --http_port 8081")
        self.run("systemctl restart chi")
        assert self.is_up(8081)
        listening = self.run("ss --listening --tcp --numeric --no-header 'sport = :8081'").split()
        assert listening[3:] == ["127.0.0.1:8081", "0.0.0.0:*"], listening
        self.service.set_options("")
        self.run("systemctl restart chi")
        assert self.is_up(8080)
        assert not self.is_up(8081)
        return "8080 to 8081, to 127.0.0.1 only, and back"

    def bad_option(self) -> str:
        """It is refused with the reason in the log; put right, the service starts."""
        self.service.set_options("--http_port 80800")
        assert not self.machine.succeeds("systemctl restart chi")
        said = self.run("journalctl --unit chi")
        assert "80800" in said, said
        assert self.show("ActiveState") == "failed"
        self.service.set_options("")
        self.run("systemctl restart chi")
        assert self.is_up()
        return "refused, said why"

    def token(self) -> str:
        """As /etc/default/chi says."""
        self.run("install -d -m 700 /etc/credstore")
        self.run("(umask 077; head -c 18 /dev/urandom | base64 >/etc/credstore/chi.token)")
        self.service.set_options("--token-file /run/credentials/chi.service/chi.token")
        self.run("systemctl restart chi")
        token = self.run("cat /etc/credstore/chi.token").strip()
        assert self.get("/summary/")[0] == 200
        status = self.get("/privileged/", "--request POST")[0]
        assert status == 401, status
        status = self.get("/privileged/", "--request POST", f"--header 'Authorization: Bearer {token}'")[0]
        assert status == 200, status
        assert token not in self.run("journalctl --no-pager --unit chi")
        self.service.set_options("--token-file /run/credentials/chi.service/chi.token --private")
        self.run("systemctl restart chi")
        assert self.get("/summary/")[0] == 401
        self.run("rm -r /etc/credstore")
        self.service.set_options("")
        self.run("systemctl restart chi")
        assert self.get("/summary/")[0] == 200
        return "401 without, 200 with; reports likewise with --private"

    def network(self) -> str:
        network.lay_wire(self.machine)
        return network.let_in(self.service)

    def announced(self) -> str:
        self.run("systemctl stop chi")
        return network.announcement(self.service)

    def port_80(self) -> str:
        return examples.port_80(self.service)

    def ip_filter(self) -> str:
        return examples.ip_filter(self.service)

    # Faults.

    def survives_kills(self) -> str:
        """More often than any start limit would bear."""
        for _ in range(7):
            before = self.show("MainPID")
            self.run("systemctl kill --signal=KILL chi")
            wait_until(lambda: self.show("MainPID") not in ("0", before), "another process")  # noqa: B023
        wait_until(self.is_up, "it serves")
        return f"7 times kill -9, {self.show('NRestarts')} restarts"

    def watchdog(self) -> str:
        before = self.show("MainPID")
        self.run(f"kill -STOP {before}")
        took = wait_until(lambda: self.show("MainPID") not in ("0", before), "another process", pause=0.5)
        wait_until(self.is_up, "it serves")
        assert "Watchdog timeout" in self.run("journalctl --unit chi --no-pager --lines 40")
        return f"a stopped process was replaced after {took:.0f} s"

    # Load.

    def upgrades_under_load(self) -> str:
        self.archive.add(self.later)

        def upgrade() -> None:
            self.run("apt update")
            self.run("apt upgrade --yes")

        return alone(lambda: load.upgrade_and_restarts(self.service, upgrade))

    def killed_under_load(self) -> str:
        return alone(lambda: load.kills(self.service))

    # Many miners.

    def serves_fleet(self) -> str:
        self.fleet = fleet.Fleet(self.service)
        return self.fleet.begin()

    def reloads_under_load(self) -> str:
        return alone(self.fleet.reloads_under_load)

    # The rest of its life.

    def restarts_with_machine(self) -> str:
        """It is there before the miner; the miner comes later."""
        took = self.machine.reboot()
        wait_until(self.is_up, "it serves")
        wait_until(lambda: "refused since" in self.show("StatusText"), "the status line says refused")
        self.run("systemd-run --quiet --unit=miner python3 /e2e/miner.py --port 4028")
        wait_until(lambda: self.get("/summary/")[0] == 200, "the miner's summary")
        return took

    def upgrade_of_disabled(self) -> str:
        """It stays disabled and stopped; changed configuration stays as it is."""
        self.run("systemctl disable --now chi")
        self.service.set_options("--max-age 1")
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
            check=False,
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
        """With what the documentation tells to make."""
        self.run("install -d -m 700 /etc/credstore")
        self.run(f"echo token >/etc/credstore/chi.token; mkdir -p {DROP_INS}; touch {DROP_INS}/port-80.conf")
        self.run("apt purge --yes chi")
        self.run("rm /etc/apt/sources.list.d/chi.sources /etc/apt/keyrings/chi-archive-keyring.asc")
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

    def container(self) -> str:
        return examples.container(self.suite, self.work, self.folder, self.ran)

    def readme(self) -> str:
        """What the documents for Debian tell to type has been typed here."""
        text = (self.tree / "README.md").read_text(encoding="utf-8")
        section = re.search(r"(?ms)^##+ [^\n]*Debian.*?(?=^##+ |\Z)", text)
        assert section, "the README has no section for Debian"
        pages = section[0] + (self.tree / "docs/debian.md").read_text(encoding="utf-8")
        blocks = re.findall(r"(?ms)^```console\n(.*?)^```", pages)
        lines = re.findall(r"(?m)^# (.*)$", "".join(blocks))
        assert lines, "there are no commands for Debian"
        typed = {self.as_typed(line) for line in self.ran}
        missing = [line for line in lines if self.as_typed(line) not in typed]
        assert not missing, f"not run here: {missing}"
        return f"{len(lines)} commands"

    @staticmethod
    def as_typed(line: str) -> str:
        """A command less what differs: where the package is, and answers given beforehand."""
        line = re.sub(r"https://\S+/repo", URL, line.replace(" --yes", ""))
        return re.sub(r"\S*/chi\S*\.deb", "chi.deb", line)


def test(work: Path, report: Report) -> None:
    """Run all checks; those that need what failed are left out."""
    life = Life(report.suite, work)
    if not report.check("root file systems", lambda: alone(life.makes_root_file_systems)):
        return
    if not report.check("build, tests on", lambda: alone(life.builds)):
        return
    report.check("build again", life.builds_again)
    if report.suite == "trixie":  # the suite of the release
        report.check("lintian --pedantic", life.lintian)
    report.check("a later version", life.later_version)
    if not report.check("apt repository", life.repository) or not report.check("boot", life.boots):
        return
    try:
        if not report.check("apt install", life.installs):
            return
        for name, check in on_the_machine(life):
            report.check(name, check)
    finally:
        life.machine.power_off()
    report.check("piuparts", life.piuparts)
    report.check("unprivileged container", life.container)
    report.check("README", life.readme)


def on_the_machine(life: Life) -> tuple[tuple[str, Callable[[], str]], ...]:
    """The checks of a machine on which the package is installed, in their order."""
    return (
        ("a changed repository", life.tampered),
        ("systemd-analyze verify", life.verifies),
        ("systemd-analyze security", life.exposure),
        ("manual page, completion", life.documented),
        ("enable, without the miner", life.starts_without_miner),
        ("the miner comes", life.finds_miner),
        ("reports only", life.read_only),
        ("--open", life.opens_when_told),
        ("accidents", life.accidents),
        ("--check", life.checked),
        ("sandbox, each line alone", life.sandbox_alone),
        ("sandbox, the whole unit", life.sandbox_together),
        ("who is let in", life.network),
        ("announcement", life.announced),
        ("port 80", life.port_80),
        ("IP filter", life.ip_filter),
        ("port change", life.changes_port),
        ("bad option", life.bad_option),
        ("token", life.token),
        ("kill -9", life.survives_kills),
        ("hung process", life.watchdog),
        ("upgrade and restarts under load", life.upgrades_under_load),
        ("kill -9 under load", life.killed_under_load),
        ("a fleet", life.serves_fleet),
        ("its reload under load", life.reloads_under_load),
        ("a bad list", lambda: life.fleet.bad_list()),
        ("a miner fails and recovers", lambda: life.fleet.fails_and_recovers()),
        ("--check of the fleet", lambda: life.fleet.checked()),
        ("one miner again", lambda: life.fleet.end()),
        ("reboot", life.restarts_with_machine),
        ("upgrade while disabled", life.upgrade_of_disabled),
        ("autopkgtest", life.autopkgtest),
        ("remove", life.removes),
        ("purge", life.purges),
    )
