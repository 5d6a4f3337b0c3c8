"""A booted Debian: systemd as process 1 of a container, with a network of its own."""

from __future__ import annotations

import functools
import os
import subprocess
import time
from pathlib import Path

import rootfs

LONGEST = 3600  # seconds: only so that nothing hangs for ever
# What the container may do. Without BPF a unit's filters of addresses and ports silently do nothing.
PRIVILEGED = ("--capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN", "--system-call-filter=bpf @keyring")
# As an unprivileged container: no BPF, no namespaces, so that systemd can make no sandbox. bookworm's systemd
# does not boot without CAP_SYS_ADMIN at all; there the call is refused for which it is needed.
UNPRIVILEGED = {
    "trixie": ("--capability=CAP_NET_ADMIN", "--drop-capability=CAP_SYS_ADMIN"),
    "bookworm": ("--capability=CAP_NET_ADMIN", "--system-call-filter=~unshare"),
}
REBOOT = 133  # systemd-nspawn's exit status when the system inside asks for a reboot
# What the user's shell has there.
SHELL = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "SYSTEMD_PAGER": "cat",
    "SYSTEMD_COLORS": "0",
}


def wait_until(true: object, what: str, timeout: float = 900, pause: float = 0.05) -> float:
    """Wait until a function says so; return after how many seconds, AssertionError if it never does."""
    started = time.monotonic()
    while not true():
        if time.monotonic() > started + timeout:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(pause)
    return time.monotonic() - started


@functools.cache
def hide_the_host() -> None:
    """Mount a pure cgroup2, whatever this machine has, and nothing of its systemd's state; once."""
    subprocess.run(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"], check=True)
    Path("/run/systemd").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/systemd"], check=True)


class Machine:
    """`folder` is seen inside as /e2e; `may` is what it may do. One at a time."""

    def __init__(self, suite: str, work: Path, folder: Path, may: tuple[str, ...] = PRIVILEGED) -> None:
        self.suite = suite
        name = f"{suite}{'' if may is PRIVILEGED else '-unprivileged'}"
        self.root = rootfs.unpack(rootfs.tarball(suite, "boot"), work / name)
        self._may = may
        self.ran: set[str] = set()  # the commands, as a user would type them
        self._folder = folder
        self._console = work / f"{name}.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._cgroup = Path("/sys/fs/cgroup") / f"chi-e2e-{os.environ['CHI_E2E_ID']}-{name}"
        hide_the_host()
        self._cgroup.mkdir(exist_ok=True)
        (self.root / "etc/hostname").write_text("rig\n", encoding="ascii")
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 rig\n", encoding="ascii")
        # No network, so no mirror either: what is installed must do with what is there.
        (self.root / "etc/apt/sources.list").unlink(missing_ok=True)

    def boot(self) -> str:
        """Boot it; return how long that took."""
        started = time.monotonic()
        with self._console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                [
                    "systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}",
                    f"--machine=chi-{self.suite}", "--register=no", "--keep-unit", "--private-network",
                    "--console=pipe", "--resolv-conf=off", f"--bind-ro={self._folder}:/e2e",
                    *self._may,
                ],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                preexec_fn=lambda: (self._cgroup / "cgroup.procs").write_text("0"),
            )  # fmt: skip
        wait_until(self._find_leader, "process 1 of the container")
        wait_until(lambda: self._state() in ("running", "degraded"), "it is up")
        if self._may is PRIVILEGED:  # an unprivileged one cannot mount all that it would
            assert self._state() == "running", self.run("systemctl list-units --failed --no-legend")
        return f"systemd {self.run('systemctl --version').split()[1]}, {time.monotonic() - started:.1f} s"

    def _find_leader(self) -> bool:
        """Find the process that is number 1 of the namespace below ours."""
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise AssertionError(f"systemd-nspawn ended: {self._console.read_text(errors='replace')}")
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                numbers = status.read_text().split("NSpid:")[1].split("\n")[0].split()
            except (OSError, IndexError):
                continue
            if len(numbers) == 2 and numbers[1] == "1":
                self._leader = int(numbers[0])
                return True
        return False

    def _state(self) -> str:
        assert self._nspawn is not None
        said = self._console.read_text(errors="replace")
        assert self._nspawn.poll() is None, f"systemd-nspawn ended, {self._nspawn.returncode}: {said}"
        return self.run("systemctl is-system-running 2>/dev/null", check=False).strip()

    def command(self, *arguments: str) -> list[str]:
        """The command that runs another inside."""
        assert self._leader
        inside = [f"{name}={value}" for name, value in SHELL.items()]
        return [
            "nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
            "--root", "env", "--ignore-environment", "--chdir=/root", *inside, *arguments,
        ]  # fmt: skip

    def run(self, line: str, check: bool = True, timeout: float = LONGEST) -> str:
        """Run a shell's command line inside; return what it prints; AssertionError if it fails."""
        self.ran.add(line)
        done = subprocess.run(
            self.command("sh", "-c", line), stdin=subprocess.DEVNULL, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{line}: exit status {done.returncode}\n{done.stdout}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        self.write_bytes(path, text.encode())

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a file inside, whatever is in it."""
        subprocess.run(self.command("sh", "-c", 'cat >"$0"', path), input=data, check=True)

    def succeeds(self, line: str) -> bool:
        """Whether a shell's command line inside ends with exit status 0."""
        return not subprocess.run(
            self.command("sh", "-c", line), stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST
        ).returncode

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a program inside; its output is read by the caller."""
        return subprocess.Popen(
            self.command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def reboot(self) -> str:
        """Reboot it, as its user would."""
        assert self._nspawn is not None
        self.run("systemctl reboot", check=False)
        status = self._nspawn.wait(LONGEST)
        assert status == REBOOT, f"exit status {status}"
        return self.boot()

    def power_off(self) -> None:
        """Stop it."""
        if self._nspawn and self._nspawn.poll() is None:
            self.run("systemctl poweroff", check=False)
            try:
                self._nspawn.wait(300)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
