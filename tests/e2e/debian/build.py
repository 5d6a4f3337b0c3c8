"""The package from the tree: source, build, and the tools that judge it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import rootfs

TREE = Path(__file__).resolve().parents[3]
BUILDER = 1000  # a user as which packages are built: not root
LONGEST = 4 * 3600  # seconds: only so that nothing hangs for ever
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "DEB_BUILD_OPTIONS": os.environ.get("DEB_BUILD_OPTIONS", ""),
}


def changelog() -> tuple[str, str, str]:
    """Return from debian/changelog the upstream version, the whole version and the epoch of its date."""
    first = (TREE / "debian/changelog").read_text(encoding="utf-8").splitlines()[0]
    version = re.search(r"\(([^)]+)\)", first)[1]
    trailer = re.search(r"(?m)^ -- .*>  (.*)$", (TREE / "debian/changelog").read_text(encoding="utf-8"))[1]
    epoch = subprocess.run(
        ["date", f"--date={trailer}", "+%s"], capture_output=True, text=True, check=True
    ).stdout
    return version.rpartition("-")[0], version, epoch.strip()


def tree_files() -> list[str]:
    """What belongs to the tree, whether committed or not; what is ignored does not."""
    command = ["git", "-c", "safe.directory=*", "-C", TREE, "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted({name for name in listed if name and os.path.lexists(TREE / name)})


def copy_tree(target: Path) -> None:
    """Copy what belongs to the tree into a new folder."""
    for name in tree_files():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TREE / name, path, follow_symlinks=False)


class BuildSystem:
    """A suite's root file system with the build dependencies, and nothing of the network but its own lo."""

    def __init__(self, suite: str, folder: Path, tree: Path) -> None:
        self.suite, self.tree = suite, tree
        self.root = rootfs.unpack(rootfs.tarball(suite, "build"), folder / "build-root")
        subprocess.run(["mount", "-t", "proc", "proc", self.root / "proc"], check=True)
        # With an instance of its own: tests open terminals.
        options = "newinstance,ptmxmode=666,mode=620"
        subprocess.run(["mount", "-t", "devpts", "-o", options, "devpts", self.root / "dev/pts"], check=True)
        self.upstream, self.version, self.epoch = changelog()

    def run(self, *command: str, cwd: str = "/", user: int = BUILDER, **environment: str) -> str:
        """Run a command inside; return its output."""
        inside = [
            "unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "-",
            "chroot", f"--userspec={user}:{user}", self.root,
            "sh", "-c", 'umask "${UMASK:-022}" && cd "$0" && exec "$@"', cwd, *command,
        ]  # fmt: skip
        done = subprocess.run(
            inside, env={**ENVIRONMENT, **environment}, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", timeout=LONGEST,
        )  # fmt: skip
        if done.returncode:
            lines = done.stdout.splitlines()
            # What failed comes first: a log that is cut short must not lose that.
            failed = [line for line in lines if line.startswith(("FAILED ", "ERROR ", "E  "))]
            said = "\n".join(failed[:20] + lines[-60:])
            raise AssertionError(f"{' '.join(command)}: exit status {done.returncode}\n{said}")
        return done.stdout

    def inside(self, path: Path) -> str:
        """A path as it is called inside."""
        return f"/{path.relative_to(self.root)}"

    def source(self, where: str) -> Path:
        """Lay out the source package's parts in a folder inside; return the tree's folder."""
        folder = self.root / where.lstrip("/")
        tree = folder / f"chi-{self.upstream}"
        shutil.copytree(self.tree, tree, symlinks=True)
        subprocess.run(
            [
                "tar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", f"--mtime=@{self.epoch}",
                "--mode=go=rX,u+rw,a-s", f"--exclude={tree.name}/debian", "--use-compress-program=xz",
                "-cf", f"chi_{self.upstream}.orig.tar.xz", tree.name,
            ],
            cwd=folder, check=True,
        )  # fmt: skip
        subprocess.run(["chown", "-R", f"{BUILDER}:{BUILDER}", folder], check=True)
        return tree

    def build(self, where: str, **environment: str) -> Path:
        """Build source and binary package, tests on; return the .deb."""
        tree = self.source(where)
        self.run("dpkg-buildpackage", "-us", "-uc", cwd=self.inside(tree), **environment)
        return tree.parent / f"chi_{self.version}_all.deb"

    def lintian(self, deb: Path) -> str:
        """Judge all that was built; AssertionError at an error or a warning."""
        changes = next(deb.parent.glob("*.changes"))
        found = self.run(
            "lintian", "--pedantic", "--display-info", "--fail-on=error,warning",
            self.inside(changes),
        )  # fmt: skip
        assert not re.search(r"(?m)^[IP]: ", found), found
        return "no tag that is not overridden with a reason"

    def piuparts(self, deb: Path) -> str:
        """Install, purge and so on, without a network, in a system that has the dependencies already."""
        bare = rootfs.unpack(rootfs.tarball(self.suite, "boot"), self.root / "bare")
        (bare / "etc/apt/sources.list").unlink(missing_ok=True)
        (bare / "var/cache/debconf/tmp.ci").mkdir(exist_ok=True)  # bookworm's debconf would, at the first apt
        mirror = bare / "srv/empty"
        packages = mirror / f"dists/{self.suite}/main/binary-all/Packages"
        packages.parent.mkdir(parents=True)
        packages.touch()
        (bare / "etc/apt/apt.conf.d/unsigned").write_text(
            'Acquire::AllowInsecureRepositories "true";\n', encoding="ascii"
        )
        (mirror / f"dists/{self.suite}/Release").write_text(
            f"Suite: {self.suite}\nCodename: {self.suite}\nComponents: main\nArchitectures: all\n",
            encoding="ascii",
        )
        said = self.run(
            "piuparts", "--existing-chroot=/bare", f"--distribution={self.suite}", "--no-eatmydata",
            "--mirror=file:///srv/empty main", "--do-not-verify-signatures", self.inside(deb),
            user=0, TMPDIR="/tmp",
        )  # fmt: skip
        assert "PASS: All tests." in said, said
        return "all tests"

    def next_version(self, deb: Path) -> Path:
        """Return the same package as a later version, to upgrade to."""
        folder, later = deb.parent / "next", deb.with_name(f"chi_{self.version}+next_all.deb")
        self.run("dpkg-deb", "-R", self.inside(deb), self.inside(folder), user=0)
        control = folder / "DEBIAN/control"
        text = control.read_text(encoding="utf-8").replace(
            f"Version: {self.version}", f"Version: {self.version}+next"
        )
        control.write_text(text, encoding="utf-8")
        self.run("dpkg-deb", "-b", self.inside(folder), self.inside(later), user=0)
        return later
