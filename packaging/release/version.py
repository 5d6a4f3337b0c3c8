#!/usr/bin/env python3
"""Set the version of a tree, wherever it is stated: `version.py 1.2.0`, before the commit that is tagged.

Comes in: a version (PEP 440) and a tree. Goes out: chi/__init__.py, CHANGELOG.md, debian/changelog and the
docs' examples in that tree, of that version. The OpenWrt package, the man page and setup.py read
chi/__init__.py.
"""

from __future__ import annotations

import datetime
import email.utils
import re
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent.parent
STATED = re.compile(r'(?m)^__version__ = "(.+)"$')
VERSION = re.compile(r"[0-9]+(\.[0-9]+)+((a|b|rc)[0-9]+)?(\.dev[0-9]+)?")
MAINTAINER = "chi maintainers <chi@example.org>"


def current(tree: Path) -> str:
    """Return the version that a tree states."""
    stated = STATED.search((tree / "chi/__init__.py").read_text(encoding="utf-8"))
    assert stated, "chi/__init__.py states no version"
    return stated[1]


def debian(version: str) -> str:
    """Return a version as Debian's packages have it: what comes before a release sorts before it."""
    return re.sub(r"\.?(dev|a|b|rc)(?=\d)", r"~\1", version) + "-0chi1"


def set_version(tree: Path, version: str, when: datetime.datetime) -> None:
    """Write `version` into a tree, with `when` as the day of its release; ValueError if it is none."""
    if not VERSION.fullmatch(version):
        raise ValueError(f"{version!r} is not a version such as 1.2.0 or 1.2.0rc1")
    before = current(tree)
    if before == version:
        return
    replace(tree / "chi/__init__.py", f'"{before}"', f'"{version}"')
    replace(tree / "docs/http-api.md", f"chi {before}", f"chi {version}")
    heading = "## [Unreleased]\n"
    replace(tree / "CHANGELOG.md", heading, f"{heading}\n## [{version}] - {when:%Y-%m-%d}\n")
    changelog = tree / "debian/changelog"
    entry = (
        f"chi ({debian(version)}) unstable; urgency=medium\n\n"
        f"  * Release {version}; what changed is in CHANGELOG.md.\n\n"
        f" -- {MAINTAINER}  {email.utils.format_datetime(when)}\n\n"
    )
    changelog.write_text(entry + changelog.read_text(encoding="utf-8"), encoding="utf-8")


def replace(path: Path, old: str, new: str) -> None:
    """Replace a text in a file wherever it is; ValueError if it is nowhere."""
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise ValueError(f"{path} does not have {old!r}")
    path.write_text(text.replace(old, new), encoding="utf-8")


if __name__ == "__main__":
    try:
        set_version(TREE, sys.argv[1], datetime.datetime.now(datetime.UTC))
    except (IndexError, ValueError) as error:
        sys.exit(f"version.py VERSION: {error}")
