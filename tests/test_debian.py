"""The Debian package's files: what they repeat is what it is elsewhere. tests/e2e/debian boots the rest."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest

from chi import __version__
from chi.bounds import MAX_DESCRIPTORS
from chi.cli import make_parser, read_settings
from chi.places import place, read_places
from chi.server.loop import DRAIN
from chi.settings import Settings
from chi.sites import places_at_start

TREE = Path(__file__).parent.parent
SYSTEMD = TREE / "packaging/systemd"
UNIT = (SYSTEMD / "chi.service").read_text(encoding="utf-8")
ANNOUNCE = (SYSTEMD / "chi-announce.service").read_text(encoding="utf-8")
EXAMPLES = sorted((SYSTEMD / "examples").glob("*.conf"))


def options(unit: str) -> list[str]:
    """The options with which a unit starts its program."""
    command = re.search(r"(?ms)^ExecStart=(.*?[^\\])$", unit)
    assert command
    return shlex.split(command[1].replace("\\\n", ""))[1:]


def settings(words: list[str]) -> Settings:
    """What chi-server makes of options."""
    return read_settings(make_parser().parse_args(words))


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


def test_the_service_fails_closed() -> None:
    """With nothing of its configuration left it serves reports only, and only to private networks."""
    *always, variable = options(UNIT)
    assert variable == "$CHI_OPTIONS"
    left = settings(always)
    assert left.only_reports
    private = {
        "127.0.0.0/8", "::1/128",  # this machine: RFC 1122, RFC 4291
        "169.254.0.0/16", "fe80::/10",  # link-local: RFC 3927, RFC 4291
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # private: RFC 1918
        "fc00::/7",  # unique local: RFC 4193
    }  # fmt: skip
    assert {str(network) for network in left.allow} == private
    assert left == Settings(service=True, allow=left.allow, miners="/etc/chi/miners")


def test_the_list_of_miners_is_a_conffile_without_an_entry() -> None:
    """As shipped it changes nothing; what it shows in a comment would be taken."""
    path = TREE / "packaging/systemd/miners"
    assert read_places(str(path)) == ()
    *_, shown = path.read_text().splitlines()
    assert place(shown.lstrip("# ")) == ("rack1-01", "192.168.1.21", 0)
    assert "packaging/systemd/miners etc/chi\n" in (TREE / "debian/chi.install").read_text()
    assert "\nExecReload=/usr/bin/kill -HUP $MAINPID\n" in UNIT


def test_a_service_may_be_without_the_list(tmp_path: Path) -> None:
    """At the start it is then the one miner's; whoever names a file that is not there is told."""
    missing = str(tmp_path / "miners")
    assert places_at_start(Settings(service=True, miners=missing)) == ()
    with pytest.raises(ValueError, match="No such file"):
        places_at_start(Settings(miners=missing))


def test_the_announcement_is_of_the_same_options() -> None:
    """What is announced is what the service is started with."""
    assert options(ANNOUNCE) == options(UNIT)


def test_the_configuration_file_never_changes() -> None:
    """unattended-upgrades stops at a file that was changed both here and there, be it a comment."""
    text = (TREE / "packaging/systemd/chi.default").read_text(encoding="utf-8")
    assert text == (
        "# Options of the chi service, see chi-server(8); after a change: systemctl restart chi\n"
        'CHI_OPTIONS=""\n'
    )


def test_the_unit_gives_time_to_drain() -> None:
    """What is killed by systemd has overrun its own limit; the unit tells the limit."""
    assert float(re.search(r"(?m)^TimeoutStopSec=(\d+)$", UNIT)[1]) > 2 * DRAIN
    assert f"half received, gets {DRAIN:g} s." in UNIT


def test_the_unit_gives_the_descriptors_that_are_wanted() -> None:
    """The sandbox forbids to raise the limit, so it must be right from the start."""
    assert int(re.search(r"(?m)^LimitNOFILE=(\d+)$", UNIT)[1]) == MAX_DESCRIPTORS


@pytest.mark.parametrize("name", ["chi.service", "chi.default"])
def test_debhelper_gets_the_files_by_links(name: str) -> None:
    """A unit that is installed in another way gets no maintainer scripts on bookworm."""
    link = TREE / "debian" / name
    assert link.is_symlink()
    assert link.resolve() == TREE / "packaging/systemd" / name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_example_is_shipped_and_told(path: Path) -> None:
    """The package has each drop-in, and its comment tells how to install it."""
    shipped = (TREE / "debian/chi.examples").read_text(encoding="utf-8").splitlines()
    assert f"packaging/systemd/examples/{path.name}" in shipped
    assert f"/usr/share/doc/chi/examples/{path.name} -t " in path.read_text(encoding="utf-8")


# --- What is announced ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def announcer() -> dict[str, Any]:
    """The functions of chi-announce."""
    return runpy.run_path(str(TREE / "packaging/avahi/chi-announce"))


ADDRESSES = ["192.168.1.5", "203.0.113.5", "fd00:77::5", "2001:db8::5"]
LET_IN = [
    ([], ADDRESSES),
    (["--allow", "192.168.0.0/16"], ["192.168.1.5"]),
    (["--allow=fc00::/7", "--allow", "2001:db8::/32"], ["fd00:77::5", "2001:db8::5"]),
    (["--allow", "192.168.1.1/16"], ["192.168.1.5"]),
    (["--listen", "0.0.0.0"], ["192.168.1.5", "203.0.113.5"]),
    (["--listen=fd00:77::5", "--listen", "203.0.113.5"], ["203.0.113.5", "fd00:77::5"]),
    (["--listen", "203.0.113.5", "--allow", "192.168.0.0/16"], []),
    (["--listen", "127.0.0.1"], []),
]


@pytest.mark.parametrize(("words", "expected"), LET_IN, ids=lambda value: " ".join(value))
def test_only_addresses_that_are_let_in_are_announced(
    announcer: dict[str, Any], words: list[str], expected: list[str]
) -> None:
    """Of this machine's addresses those where chi listens, in networks that it lets in."""
    chosen = announcer["read_options"](["--service", *words, "--report", "x", "--private"])
    assert announcer["let_in"](ADDRESSES, chosen) == expected


def test_the_announced_port_is_where_chi_serves(announcer: dict[str, Any]) -> None:
    """By default, and by each spelling of the option."""
    read = announcer["read_options"]
    assert read([]).http_port == Settings().http_port
    for words in (["-w", "81"], ["--http_port=81"], ["--http-port", "81"]):
        assert read(words).http_port == settings(words).http_port == 81


def test_nothing_is_announced_without_an_address(announcer: dict[str, Any]) -> None:
    """A service that nobody reaches is none."""
    assert announcer["records"]([], 8080) == set()
    assert len(announcer["records"](["192.168.1.5"], 8080)) == 2
