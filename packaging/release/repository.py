#!/usr/bin/env python3
"""Make a package repository of packages: a folder that any static web server can hold.

Comes in: .deb, .ipk and .apk files. Goes out, below the folder named:

    debian/    a flat apt repository: the packages, Packages, Release, chi.sources; InRelease and
               chi-archive-keyring.asc where a key is named
    opkg/      a feed for OpenWrt 24.10: the packages, Packages, Packages.gz
    apk/       one for OpenWrt 25.12: the packages, packages.adb

Needs apt-ftparchive (apt-utils) for .deb, gpg for a key, and apk-tools 3 for .apk.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

KEYRING = "chi-archive-keyring.asc"
RELEASE = {
    "Origin": "chi",
    "Label": "chi",
    "Suite": "stable",
    "Description": "chi, for Debian and its relatives",
}


class MissingError(Exception):
    """A program that is needed and is not here, in words."""


def run(*command: str | Path, folder: Path) -> bytes:
    """Run a program in a folder; return what it prints; MissingError, CalledProcessError."""
    if shutil.which(command[0]) is None:
        raise MissingError(f"{command[0]} is missing")
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True).stdout


def write_index(folder: Path, index: bytes) -> None:
    """Write an index of packages, plain and compressed; the same bytes for the same index."""
    (folder / "Packages").write_bytes(index)
    (folder / "Packages.gz").write_bytes(gzip.compress(index, mtime=0))


def make_apt(folder: Path, key: str, url: str) -> None:
    """Make the apt repository of the packages in a folder, signed by `key` if one is named."""
    write_index(folder, run("apt-ftparchive", "packages", ".", folder=folder))
    words = [f"--option=APT::FTPArchive::Release::{name}={value}" for name, value in RELEASE.items()]
    (folder / "Release").write_bytes(run("apt-ftparchive", *words, "release", ".", folder=folder))
    sources = f"Types: deb\nURIs: {url.rstrip('/')}/debian/\nSuites: ./\n"
    if key:
        gpg = ("gpg", "--batch", "--yes", "--armor", "--local-user", key)
        run(*gpg, "--output", "InRelease", "--clear-sign", "Release", folder=folder)
        run(*gpg, "--output", "Release.gpg", "--detach-sign", "Release", folder=folder)
        (folder / KEYRING).write_bytes(run("gpg", "--batch", "--armor", "--export", key, folder=folder))
        sources += f"Signed-By: /etc/apt/keyrings/{KEYRING}\n"
    else:
        sources += "# Not signed: apt takes nothing from here, unless it is told to with\n#Trusted: yes\n"
    (folder / "chi.sources").write_text(sources, encoding="ascii")


def control_of(package: bytes) -> str:
    """Return the control file in an .ipk, a gzip'd tar with control.tar.gz in it."""
    with tarfile.open(fileobj=io.BytesIO(package)) as outer:
        inner = outer.extractfile("./control.tar.gz")
        assert inner
        with tarfile.open(fileobj=inner) as tar:
            control = tar.extractfile("./control")
            assert control
            return control.read().decode()


def make_opkg(folder: Path) -> None:
    """Make the index of the .ipk files in a folder."""
    entries = []
    for path in sorted(folder.glob("*.ipk")):
        package = path.read_bytes()
        # opkg takes the description to be the last field.
        fields, _, description = control_of(package).rstrip("\n").partition("\nDescription: ")
        digest = hashlib.sha256(package).hexdigest()
        entries.append(
            f"{fields}\nFilename: {path.name}\nSize: {len(package)}\nSHA256sum: {digest}\n"
            f"Description: {description}\n\n"
        )
    write_index(folder, "".join(entries).encode())


def make_apk(folder: Path) -> None:
    """Make the index of the .apk files in a folder."""
    packages = sorted(path.name for path in folder.glob("*.apk"))
    run("apk", "mkndx", "--allow-untrusted", "--output", "packages.adb", *packages, folder=folder)


def make_repository(target: Path, packages: list[Path], key: str, url: str) -> None:
    """Make the folder anew, with a repository for each kind among the packages."""
    shutil.rmtree(target, ignore_errors=True)
    kinds = {
        ".deb": ("debian", lambda folder: make_apt(folder, key, url)),
        ".ipk": ("opkg", make_opkg),
        ".apk": ("apk", make_apk),
    }
    for suffix, (name, make) in kinds.items():
        chosen = [path for path in packages if path.suffix == suffix]
        if chosen:
            (target / name).mkdir(parents=True)
            for path in chosen:
                shutil.copyfile(path, target / name / path.name)
            make(target / name)


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(description="Make a package repository for a static web server.")
    parser.add_argument("target", type=Path, metavar="FOLDER", help="what is in it is replaced")
    parser.add_argument("packages", type=Path, nargs="+", metavar="PACKAGE", help=".deb, .ipk and .apk files")
    parser.add_argument("--key", default="", help="the key of gpg's that signs (default: not signed)")
    parser.add_argument("--url", required=True, help="where the folder will be found")
    arguments = parser.parse_args()
    try:
        make_repository(arguments.target, arguments.packages, arguments.key, arguments.url)
    except (MissingError, OSError, subprocess.CalledProcessError) as error:
        print(f"repository: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
