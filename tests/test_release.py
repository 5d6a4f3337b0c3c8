"""A release: its version wherever it is stated, and the repository that is made of its packages."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import io
import itertools
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from chi import __version__

TREE = Path(__file__).resolve().parent.parent
SCRIPTS = TREE / "packaging/release"
STATED = ("chi/__init__.py", "CHANGELOG.md", "debian/changelog", "docs/http-api.md")
WHEN = datetime.datetime(2027, 1, 31, 12, 0, tzinfo=datetime.UTC)

pytestmark = pytest.mark.skipif(not SCRIPTS.exists(), reason="no packaging/ in this tree")


def script(name: str) -> dict[str, Any]:
    """The functions of one of the scripts."""
    return runpy.run_path(str(SCRIPTS / f"{name}.py"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What states the version, in a tree of its own."""
    for name in STATED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(TREE / name, tmp_path / name)
    return tmp_path


VERSIONS = [("3.1.0", "3.1.0-0chi1"), ("3.1.0rc2", "3.1.0~rc2-0chi1"), ("3.1.0.dev4", "3.1.0~dev4-0chi1")]


@pytest.mark.parametrize(("version", "debian"), VERSIONS)
def test_a_version_is_set_wherever_it_is_stated(tree: Path, version: str, debian: str) -> None:
    """The module, both changelogs and the examples in docs/ are of it; what was there stays."""
    before = {name: (tree / name).read_text(encoding="utf-8") for name in STATED}
    script("version")["set_version"](tree, version, WHEN)
    after = {name: (tree / name).read_text(encoding="utf-8") for name in STATED}
    assert f'__version__ = "{version}"\n' in after["chi/__init__.py"]
    assert f"\n## [Unreleased]\n\n## [{version}] - 2027-01-31\n" in after["CHANGELOG.md"]
    assert after["debian/changelog"].startswith(f"chi ({debian}) unstable; urgency=medium\n")
    assert "  Sun, 31 Jan 2027 12:00:00 +0000\n" in after["debian/changelog"]
    assert after["debian/changelog"].endswith(before["debian/changelog"])
    assert f"chi {version}" in after["docs/http-api.md"]
    assert f"chi {__version__}" not in after["docs/http-api.md"]


def test_the_version_that_is_there_changes_nothing(tree: Path) -> None:
    """Setting it again adds no second entry."""
    for _ in range(2):
        script("version")["set_version"](tree, "3.1.0", WHEN)
    assert (tree / "debian/changelog").read_text(encoding="utf-8").count("chi (3.1.0-0chi1)") == 1


@pytest.mark.parametrize("version", ["", "1", "v1.0.0", "1.0.0-1", "1.0.0 ", "1.0.0; rm", "1.0.0+x"])
def test_what_is_no_version_is_refused(tree: Path, version: str) -> None:
    """Nothing is written then."""
    before = [(tree / name).read_bytes() for name in STATED]
    with pytest.raises(ValueError, match="is not a version"):
        script("version")["set_version"](tree, version, WHEN)
    assert [(tree / name).read_bytes() for name in STATED] == before


@pytest.mark.skipif(not shutil.which("dpkg"), reason="no dpkg here")
def test_debian_sorts_versions_as_they_come() -> None:
    """What comes before a release sorts before it, and the next one after it."""
    debian = script("version")["debian"]
    order = ("1.0.0.dev0", "1.0.0rc1", "1.0.0", "1.0.1.dev1", "1.0.1", "1.10.0")
    for older, newer in itertools.pairwise(debian(version) for version in order):
        assert subprocess.run(["dpkg", "--compare-versions", older, "lt", newer]).returncode == 0, newer


def test_the_changelog_has_the_released_version() -> None:
    """A tree that states a release has it in CHANGELOG.md; one before a release has its changes there."""
    newest = re.findall(r"(?m)^## \[(.+?)\]", (TREE / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert newest[0] == "Unreleased"
    assert "dev" in __version__ or newest[1] == __version__


# --- The repository -------------------------------------------------------------------------------

CONTROL = """Package: chi
Version: 3.1.0-r1
Depends: python3-light, python3-codecs
Architecture: all
Installed-Size: 700000
Description: HTTP front end for the CGMiner RPC API
 Miners answer questions about their state
 on a socket.
"""


def packed(**members: bytes) -> bytes:
    """A .tar.gz of members; a dot stands for the underscore that begins a part of a name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"./{name.replace('_', '.')}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make(tmp_path: Path, *packages: Path) -> Path:
    """Run the script; return the repository."""
    target = tmp_path / "repo"
    url = "https://chi.example.org/repo/"
    subprocess.run(
        [sys.executable, SCRIPTS / "repository.py", target, *packages, "--url", url], check=True, timeout=60
    )
    return target


def test_an_opkg_feed_is_made_of_packages(tmp_path: Path) -> None:
    """Packages has the control file and what opkg needs to fetch and check the package; also compressed."""
    ipk = tmp_path / "chi_3.1.0-r1_all.ipk"
    ipk.write_bytes(packed(control_tar_gz=packed(control=CONTROL.encode()), data_tar_gz=packed()))
    feed = make(tmp_path, ipk) / "opkg"
    assert (feed / ipk.name).read_bytes() == ipk.read_bytes()
    index = (feed / "Packages").read_text(encoding="utf-8")
    fields = dict(re.findall(r"(?m)^(\S+): (.*)$", index))
    assert (fields["Package"], fields["Version"]) == ("chi", "3.1.0-r1")
    assert fields["Filename"] == ipk.name
    assert fields["Size"] == str(ipk.stat().st_size)
    assert fields["SHA256sum"] == hashlib.sha256(ipk.read_bytes()).hexdigest()
    assert index.endswith("\n Miners answer questions about their state\n on a socket.\n\n")
    assert gzip.decompress((feed / "Packages.gz").read_bytes()).decode() == index


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg here")
@pytest.mark.skipif(not shutil.which("apt-ftparchive"), reason="no apt-ftparchive (apt-utils) here")
def test_an_apt_repository_is_made_of_packages(tmp_path: Path) -> None:
    """The index has the package, Release has the index; without a key apt is not told to believe it."""
    (tmp_path / "package/DEBIAN").mkdir(parents=True)
    fields = "Package: chi\nVersion: 3.1.0-0chi1\nArchitecture: all\nMaintainer: chi <chi@example.org>\n"
    (tmp_path / "package/DEBIAN/control").write_text(f"{fields}Description: front end\n", encoding="ascii")
    deb = tmp_path / "chi_3.1.0-0chi1_all.deb"
    subprocess.run(["dpkg-deb", "--build", tmp_path / "package", deb], check=True, stdout=subprocess.DEVNULL)
    folder = make(tmp_path, deb) / "debian"
    index = (folder / "Packages").read_bytes()
    assert f"SHA256: {hashlib.sha256(deb.read_bytes()).hexdigest()}\n".encode() in index
    assert f"{hashlib.sha256(index).hexdigest()} " in (folder / "Release").read_text(encoding="utf-8")
    sources = (folder / "chi.sources").read_text(encoding="ascii")
    assert sources.startswith("Types: deb\nURIs: https://chi.example.org/repo/debian/\nSuites: ./\n")
    assert not re.search(r"(?m)^(Trusted|Signed-By)", sources)
    assert not (folder / "InRelease").exists()
