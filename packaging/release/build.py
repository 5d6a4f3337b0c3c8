#!/usr/bin/env python3
"""Build a release into a folder: `make release VERSION=1.2.0`.

Comes in: this tree, as it is (committed or not), and a version. Goes out: sdist, wheel, .deb, .ipk, .apk
where apk-tools 3 is, SHA256SUMS, and repo/, the repository of the packages (see repository.py). All is built
from a copy of the tree that states the version, so that names, changelogs and man page agree; this tree stays
as it is. The tree that is tagged gets its version from version.py.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import repository
import version

TREE = version.TREE


def copy_tree(target: Path) -> None:
    """Copy what belongs to the tree, and make a repository of it: that tells its tools what belongs to it."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", TREE, "ls-files", "-z", "-co", "--exclude-standard"],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    for name in {name for name in listed.split("\0") if name and os.path.lexists(TREE / name)}:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TREE / name, target / name, follow_symlinks=False)
    subprocess.run(["git", "init", "--quiet", target], check=True)


def released_at() -> datetime.datetime:
    """Return when the release is made: SOURCE_DATE_EPOCH, or now."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch else now


def build(tree: Path, target: Path, when: datetime.datetime) -> None:
    """Build everything that a tree has into a folder."""
    openwrt = [sys.executable, tree / "packaging/openwrt/build", "--output", target]
    commands = [
        [sys.executable, "-m", "build", "--outdir", target, tree],
        [*openwrt, "ipk"],
        *([[*openwrt, "apk"]] if shutil.which("apk") else []),
        [tree / "tests/e2e/debian/run", "build", "trixie", target],
    ]
    for command in commands:
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(int(when.timestamp()))}
        subprocess.run(command, check=True, env=environment)
    if not shutil.which("apk"):
        print("no .apk: apk-tools 3 is not here", file=sys.stderr)


def write_sums(folder: Path) -> list[Path]:
    """Write SHA256SUMS of the files in a folder; return the files."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="ascii")
    return files


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(description="Build a release of chi.")
    parser.add_argument("version", help="such as 1.2.0 or 1.2.0rc1")
    parser.add_argument("--key", default="", help="the key of gpg's that signs the apt repository")
    parser.add_argument("--url", default="https://chi.example.org/repo", help="where repo/ will be found")
    parser.add_argument("--output", type=Path, default=TREE / "dist", help="what is in it is replaced")
    arguments = parser.parse_args()
    target, when = arguments.output.resolve(), released_at()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder) / f"chi-{arguments.version}"
            copy_tree(tree)
            version.set_version(tree, arguments.version, when)
            build(tree, target, when)
        files = write_sums(target)
        repository.make_repository(target / "repo", files, arguments.key, arguments.url)
    except (OSError, ValueError, subprocess.CalledProcessError, repository.MissingError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(*[*files, target / "SHA256SUMS", target / "repo"], sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
