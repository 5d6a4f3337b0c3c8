"""The OpenWrt package: its options and defaults are those of chi-server, and its documents name them all."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from chi import cli
from chi.settings import Settings

OPENWRT = Path(__file__).resolve().parent.parent / "packaging/openwrt"
FILES = OPENWRT / "chi/files"

pytestmark = pytest.mark.skipif(not OPENWRT.exists(), reason="no packaging/ in this tree")

# Settings without an option in /etc/config/chi, and why.
NOT_IN_UCI = {
    "service": "how the package starts chi",
    "open": "read_only '0' says so",
    "allow": "the firewall's zones say who reaches chi",
    "listen": "interface gives the addresses",
    "threads": "the default is right for a device",
    "max_age": "for those who know what they give up",
    "private": "the token is then needed for every report",
    "cors_origin": "rare",
    "metrics_pool_user": "shows accounts to whoever reaches chi",
    "log_level": "the log of a device is small",
    "access_log": "the log of a device is small",
}
# Options of the init script alone, and their defaults.
OF_THE_SERVICE = {"enabled": "1", "interface": "lan"}
# Where the service's default differs from the command's, on purpose.
SAFER = {"read_only": "1"}


def validated() -> dict[str, tuple[str, str]]:
    """Name: type and default, of each option that the init script has validated."""
    script = (FILES / "chi.init").read_text(encoding="utf-8")
    values = re.search(r'^VALUES="\n(.*?)^"$', script, re.DOTALL | re.MULTILINE)
    calls = re.search(r"uci_load_validate (.*?)^\}", script, re.DOTALL | re.MULTILINE)
    assert values
    assert calls
    tuples = values[1].split() + re.findall(r"'(\w+:[^']+)'", calls[1])
    parts = [item.split(":", 2) for item in tuples]
    return {name: (kind, rest[0] if rest else "") for name, kind, *rest in parts}


def shipped() -> dict[str, str]:
    """Name: value of each option that is set in the configuration file as it is shipped."""
    lines = (FILES / "chi.config").read_text(encoding="utf-8").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return {line[1]: line[2] for line in words if line[:1] in (["option"], ["list"])}


def settings() -> dict[str, object]:
    """Name: default of each option of chi-server."""
    return {field.name: field.default for field in dataclasses.fields(Settings)}


def test_every_option_is_in_uci_or_known_not_to_be() -> None:
    """An option that chi-server gets is one of the service as well, or there is a reason."""
    assert set(validated()) - set(OF_THE_SERVICE) == set(settings()) - set(NOT_IN_UCI)
    assert set(NOT_IN_UCI) <= set(settings())


def test_every_default_is_that_of_chi_server() -> None:
    """The init script and chi-server start with the same, but for what the service has safer."""
    defaults = {**settings(), **OF_THE_SERVICE, **SAFER}
    for name, (kind, default) in validated().items():
        wanted = "" if defaults[name] == () else f"{defaults[name]}".removesuffix(".0")
        assert default == wanted, (name, kind)


def test_the_shipped_file_has_every_default() -> None:
    """Every option is in the configuration file with its default; what has none is commented out."""
    text = (FILES / "chi.config").read_text(encoding="utf-8")
    for name, (_, default) in validated().items():
        if default:
            assert shipped()[name] == default, name
        else:
            assert re.search(rf"^\t#(option|list) {name} '", text, re.MULTILINE), name
    assert set(shipped()) <= set(validated())


def test_every_option_is_explained() -> None:
    """In the file each option, or group of options, follows a comment; the README has each."""
    text = (FILES / "chi.config").read_text(encoding="utf-8")
    readme = (OPENWRT / "README.md").read_text(encoding="utf-8")
    for group in text.split("\n\n")[2:]:
        assert group.startswith("\t# "), group
    for name in validated():
        assert f"`{name}`" in readme, name


def test_every_option_reaches_chi_server() -> None:
    """The init script gives each option, and the parser takes it as it is written there."""
    script = (FILES / "chi.init").read_text(encoding="utf-8")
    values = {"token_file": "/etc/chi.token", "host": "rig", "report": "temps"}
    for name, (_, default) in validated().items():
        if name in OF_THE_SERVICE:
            continue
        flag = name == "read_only"
        # An option in VALUES has the spelling of its name, the others that of their line.
        spelling = f"--{name}"
        if not re.search(rf"^\t{name}:", script, re.MULTILINE):
            spelling = f"--{name.replace('_', '-')}"
            assert f"{spelling}\n" in script or f'"{spelling}=$' in script, name
        word = spelling if flag else f"{spelling}={values.get(name, default)}"
        parsed = cli.read_settings(cli.make_parser().parse_args([word]))
        assert getattr(parsed, name) not in (None, (), "", False), name
