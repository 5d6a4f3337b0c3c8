"""A root file system with what a device has for chi: busybox, some packages of Python, the .ipk."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sysconfig
import tarfile
import threading
from pathlib import Path
from typing import Any

from stdlib import available

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent.parent
PACKAGING = TREE / "packaging/openwrt"
SHIM = {
    "rc.common": "etc/rc.common",
    "functions.sh": "lib/functions.sh",
    "network.sh": "lib/functions/network.sh",
    "uci": "sbin/uci",
    "logger": "usr/bin/logger",
}
APPLETS = "sh awk cat find grep head ls readlink rm sed sort tr wc kill sleep wget"
USER = 32768  # the first that OpenWrt gives to packages
# Of glibc alone: it loads this where a thread ends.
THREADS = [str(path) for path in Path("/lib").glob("*/libgcc_s.so.1")]
# When asked to, tells at the end what was imported, and gives threads the stack they have under musl.
SITE = """
import atexit, os, sys
if os.environ.pop("CHI_MODULES", ""):
    atexit.register(lambda: print("modules:", *sorted(sys.modules), file=sys.stderr))
if os.environ.pop("CHI_MUSL", ""):
    import _thread
    _thread.stack_size(128 << 10)
"""


def libraries(*programs: Path) -> set[str]:
    """Return the shared libraries that programs and modules need."""
    found: set[str] = set()
    for program in programs:
        said = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        found.update(re.findall(r"(/\S+) \(0x", said))
    return found


class Device:
    """The root file system at `root`, with the package `ipk` unpacked."""

    def __init__(self, root: Path, ipk: Path) -> None:
        self.root = root
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", root], check=True)
        for folder in ("dev", "etc/config", "tmp", "usr/bin", "usr/sbin", "usr/lib", "var/run", "addresses"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for folder in ("bin", "sbin", "lib", "lib64"):
            (root / folder).symlink_to(f"usr/{folder}")
            (root / "usr" / folder).mkdir(exist_ok=True)
        os.mknod(root / "dev/null", 0o666 | 0o020000, os.makedev(1, 3))
        (root / "dev/null").chmod(0o666)
        self._python()
        self._busybox()
        for name, place in SHIM.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / "shim" / name, root / place)
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.0.1 miner.lan\n")
        (root / "etc/nsswitch.conf").write_text("hosts: files\n")
        self.users(True)
        self.package = root.parent / "package"
        self.unpack(ipk)

    def _python(self) -> None:
        library = Path(sysconfig.get_path("stdlib"))
        target = self.root / "usr/lib" / library.name
        extensions = [
            path for path in (library / "lib-dynload").iterdir() if available(path.name.partition(".")[0])
        ]

        def unwanted(folder: str, names: list[str]) -> list[str]:
            if Path(folder) == library / "lib-dynload":
                return [name for name in names if not available(name.partition(".")[0])]
            if Path(folder) == library:
                useless = ("config-", "site-packages", "sitecustomize")
                return [
                    name
                    for name in names
                    if name.startswith(useless) or not available(name.partition(".")[0])
                ]
            return []

        shutil.copytree(library, target, ignore=unwanted)
        (target / "sitecustomize.py").write_text(SITE)
        program = Path("/usr/bin/python3").resolve()
        shutil.copy(program, self.root / "usr/bin" / program.name)
        (self.root / "usr/bin/python3").symlink_to(program.name)
        self._copy(*libraries(program, *extensions), *THREADS)

    def _busybox(self) -> None:
        program = Path(shutil.which("busybox") or "")
        shutil.copy(program, self.root / "usr/bin/busybox")
        self._copy(*libraries(program))
        for name in APPLETS.split():
            (self.root / "usr/bin" / name).symlink_to("busybox")

    def _copy(self, *paths: str) -> None:
        for path in paths:
            target = self.root / path[1:]
            if Path(path).exists() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)

    def unpack(self, ipk: Path) -> None:
        """What opkg does with a package's files; the rest of it is in `package`."""
        with tarfile.open(ipk) as outer:
            outer.extractall(self.package)
        for name, target in (("data", self.root), ("control", self.package / "control")):
            with tarfile.open(self.package / f"{name}.tar.gz") as archive:
                archive.extractall(target, numeric_owner=True)

    def users(self, chi: bool) -> None:
        """The users, with or without chi's."""
        more = f"chi:x:{USER}:{USER}:chi:/var/run/chi:/bin/false\n" if chi else ""
        (self.root / "etc/passwd").write_text(f"root:x:0:0:root:/root:/bin/ash\n{more}")
        (self.root / "etc/group").write_text(f"root:x:0:\nchi:x:{USER}:\n")

    def listing(self) -> dict[str, tuple[int, int]]:
        """Each file, and when it was changed; and its size."""
        found = [path for path in self.root.rglob("*") if not path.is_dir()]
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in found}

    # The init script.

    def run(self, action: str) -> subprocess.CompletedProcess[str]:
        """Run the init script."""
        return subprocess.run(
            ["chroot", self.root, "/bin/busybox", "ash", "/etc/rc.common", "/etc/init.d/chi", action],
            capture_output=True, text=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, timeout=60,
        )  # fmt: skip

    def init(self, action: str = "start") -> Record:
        """Run the init script with the procd that records."""
        for name in ("record", "log"):
            (self.root / name).write_text("")
        done = self.run(action)
        return Record(
            (self.root / "record").read_text(), (self.root / "log").read_text(), done.returncode, done.stderr
        )

    # The service.

    def serve(self, record: Record, stack: int = 0, **environment: str) -> Service:
        """Start what was recorded as procd would."""
        return Service(self.root, record, stack, environment)


class Record:
    """What the init script told procd, and what it logged."""

    def __init__(self, calls: str, log: str, status: int, errors: str) -> None:
        self.calls = [line.split("\t") for line in calls.splitlines()]
        self.log = log
        self.status = status
        self.errors = errors

    def all(self, *beginning: str) -> list[list[str]]:
        """The rest of each call that begins so."""
        return [call[len(beginning) :] for call in self.calls if call[: len(beginning)] == list(beginning)]

    def parameter(self, name: str) -> list[str]:
        """What procd is given as one of its parameters, appended ones included."""
        return [word for verb in ("set", "append") for call in self.all(verb, name) for word in call]

    @property
    def command(self) -> list[str]:
        return self.parameter("command")

    @property
    def told(self) -> bool:
        """Whether procd learnt anything."""
        return ["sent"] in self.calls


class Service:
    """A command line that procd was given, running as its user in the device's root."""

    def __init__(self, root: Path, record: Record, stack: int, environment: dict[str, str]) -> None:
        variables = dict(item.split("=", 1) for item in record.parameter("env"))
        descriptors = int(dict(item.split("=") for item in record.parameter("limits"))["nofile"])
        assert record.parameter("user") == record.parameter("group") == ["chi"]

        def enter() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
            if stack:
                resource.setrlimit(resource.RLIMIT_STACK, (stack, stack))
            os.chroot(root)
            os.chdir("/")
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)

        self.process = subprocess.Popen(
            record.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, preexec_fn=enter, env={"PATH": "/usr/bin:/bin", **variables, **environment},
        )  # fmt: skip
        self.log = ""
        self._logged = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._logged:
                self.log += line
                self._logged.notify_all()
        with self._logged:
            self.log += "(ended)"
            self._logged.notify_all()

    def logged(self, pattern: str, after: int = 0) -> int:
        """Wait until the log has it behind a position; return where it then ends."""

        def found() -> bool:
            return bool(re.search(pattern, self.log[after:])) or self.log.endswith("(ended)")

        with self._logged:
            self._logged.wait_for(found, 30)
            assert re.search(pattern, self.log[after:]), f"{pattern!r} is not in the log:\n{self.log}"
            return len(self.log)

    def status(self) -> dict[str, str]:
        """/proc/PID/status."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def stop(self) -> int:
        """End it as procd would; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def _ended(self) -> int:
        try:
            status = self.process.wait(5)  # then procd kills
        finally:
            self.process.kill()
            self._reader.join(5)
        return status

    def __enter__(self) -> Service:
        self.logged(r"whoever reaches it .*gets")
        return self

    def __exit__(self, *_: Any) -> None:
        if self.process.poll() is None:
            assert self.stop() == 0, self.log
