"""The Debian package's files: what they repeat is what it is elsewhere. tests/e2e/debian boots the rest."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from chi import __version__, cli
from chi.bounds import MAX_DESCRIPTORS
from chi.server.loop import DRAIN
from chi.settings import Settings

TREE = Path(__file__).parent.parent
DEFAULT = (TREE / "packaging/systemd/chi.default").read_text(encoding="utf-8")
UNIT = (TREE / "packaging/systemd/chi.service").read_text(encoding="utf-8")


def settings(options: str) -> Settings:
    """What chi-server makes of options in a file."""
    return cli.read_settings(cli.make_parser().parse_args(shlex.split(options)))


def test_the_changelog_is_of_this_version() -> None:
    """The newest entry is of __version__; what sorts before a release says so with a tilde."""
    first = (TREE / "debian/changelog").read_text(encoding="utf-8").splitlines()[0]
    debian = re.sub(r"\.?(dev|a|b|rc)(?=\d)", r"~\1", __version__)
    assert re.match(rf"chi \({re.escape(debian)}-\w+\) ", first), first


def test_the_dependencies_are_those_of_the_distribution() -> None:
    """Names and lowest versions in debian/control are those of setup.py."""
    required = re.search(r"install_requires=\[(.*?)\]", (TREE / "setup.py").read_text(encoding="utf-8"))[1]
    wanted = {f"python3-{name} (>= {low})" for name, low in re.findall(r'"(\w+)>=([\d.]+)"', required)}
    control = (TREE / "debian/control").read_text(encoding="utf-8")
    for section in control.split("\n\n"):
        assert wanted == set(re.findall(r"python3-(?:bottle|waitress) \(>= [\d.]+\)", section)), section


def test_the_service_serves_reports_only() -> None:
    """What is shipped is the safe choice, and nothing else is chosen."""
    (options,) = re.findall(r'(?m)^CHI_OPTIONS="(.*)"$', DEFAULT)
    assert settings(options) == Settings(read_only=True)
    assert not re.findall(r"(?m)^(?!#|CHI_OPTIONS=|$).*", DEFAULT)


@pytest.mark.parametrize("choice", re.findall(r"(?m)^# (--.*)$", DEFAULT))
def test_each_choice_is_an_option(choice: str) -> None:
    """Each that /etc/default/chi explains is taken; a port that it shows is the default one."""
    chosen = settings(choice)
    for name in ("http_port", "api_port", "api_host"):
        assert getattr(chosen, name) == getattr(Settings, name)


def test_the_announced_port_is_the_default() -> None:
    """Where chi serves is what avahi announces."""
    service = ElementTree.parse(TREE / "packaging/avahi/chi.service")
    assert [port.text for port in service.iter("port")] == [str(Settings.http_port)]


def test_the_unit_gives_time_to_drain() -> None:
    """What is killed by systemd has overrun its own limit."""
    assert float(re.search(r"(?m)^TimeoutStopSec=(\d+)$", UNIT)[1]) > 2 * DRAIN


def test_the_unit_gives_the_descriptors_that_are_wanted() -> None:
    """The sandbox forbids to raise the limit, so it must be right from the start."""
    assert int(re.search(r"(?m)^LimitNOFILE=(\d+)$", UNIT)[1]) == MAX_DESCRIPTORS


@pytest.mark.parametrize("name", ["chi.service", "chi.default"])
def test_debhelper_gets_the_files_by_links(name: str) -> None:
    """A unit that is installed in another way gets no maintainer scripts on bookworm."""
    link = TREE / "debian" / name
    assert link.is_symlink()
    assert link.resolve() == TREE / "packaging/systemd" / name
