"""Root file systems of a Debian suite: made once by mmdebstrap, kept as tarballs outside the tree."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

SUITES = ("bookworm", "trixie")

# What an appliance has before chi, and what the tests do to it there.
BOOT = """
    systemd systemd-sysv dbus udev apt ca-certificates python3 python3-bottle python3-waitress
    curl iproute2 procps bash-completion avahi-daemon avahi-utils libnss-mdns autopkgtest
    dpkg-dev
"""
# Build-Depends of debian/control, and what judges the result.
BUILD = """
    dpkg-dev build-essential fakeroot debhelper bash-completion dh-python dh-sequence-python3
    pybuild-plugin-pyproject python3-all python3-setuptools python3-bottle python3-waitress python3-pytest
    python3-pytest-xdist python3-hypothesis python3-shtab help2man lintian piuparts apt-utils gnupg
"""
PACKAGES = {"boot": BOOT.split(), "build": BUILD.split()}


def cache() -> Path:
    """Where the tarballs are."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chi-e2e"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sources(suite: str) -> list[str]:
    """Lines of sources.list for `suite`, from the mirrors that this machine uses; none: mmdebstrap's own."""
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    mirrors = dict(reversed(line.split(" ", 1)) for line in listing.splitlines())
    trusted = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    names = {"Debian": suite, "Debian-Security": f"{suite}-security"}
    return [
        f"deb {trusted} {uri} {names[label]} main" for uri, label in mirrors.items() if label in names
    ]  # fmt: skip


def apt_options() -> list[str]:
    """This machine's way to its mirrors: proxies, and what it accepts as current."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    wanted = ("Acquire::http::", "Acquire::https::", "Acquire::Check-Valid-Until ", "Acquire::Check-Date ")
    return [f"--aptopt={line}" for line in dump.splitlines() if line.startswith(wanted)]


def tarball(suite: str, kind: str) -> Path:
    """Return the tarball of a suite's root file system with PACKAGES[kind]; make it if it is not there."""
    packages = PACKAGES[kind]
    key = hashlib.sha256(" ".join([suite, *sorted(packages)]).encode()).hexdigest()[:12]
    path = cache() / f"{suite}-{kind}-{key}.tar.zst"
    if not path.exists():
        unfinished = path.with_name(f"unfinished-{os.getpid()}-{path.name}")
        try:
            subprocess.run(
                [
                    "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *apt_options(),
                    # Manuals are read by nobody there, but their folders must take chi's.
                    "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
                    "--dpkgopt=path-include=/usr/share/doc/chi/*",
                    f"--include={','.join(packages)}", suite, str(unfinished), *sources(suite),
                ],
                check=True, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            unfinished.rename(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


def unpack(archive: Path, target: Path) -> Path:
    """Unpack a root file system on a tmpfs of its own at `target`."""
    target.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", target], check=True)
    subprocess.run(["tar", "--zstd", "-xpf", archive, "-C", target, "--numeric-owner"], check=True)
    return target
