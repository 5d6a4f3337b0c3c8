"""The OpenWrt package: its options and defaults are those of chi-server, and its documents name them all."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from chi import cli
from chi.settings import Settings

TREE = Path(__file__).resolve().parent.parent
OPENWRT = TREE / "packaging/openwrt"
FILES = OPENWRT / "chi/files"

pytestmark = pytest.mark.skipif(not OPENWRT.exists(), reason="no packaging/ in this tree")

VALUES = json.loads((TREE / "tests/e2e/openwrt/values.json").read_text(encoding="utf-8"))
# Settings without an option in /etc/config/chi, and why.
NOT_IN_UCI = {
    "service": "the package starts chi so",
    "listen": "interface gives the addresses",
    "private": "the token is then needed for every report",
    "access_log": "the log of a device is small",
}
# Options of the init script alone, and their defaults.
OF_THE_SERVICE = {"enabled": "1", "interface": "lan"}
# Where the service's default differs from the command's, on purpose.
SAFER = {"read_only": "1", "allow": "private"}


class Option(NamedTuple):
    """A line of the init script's table: option of chi-server, default, kind and its words; "" is none."""

    option: str
    default: str
    kind: str


def options() -> dict[str, Option]:
    """Name: what the init script's table has of it."""
    script = (FILES / "chi.init").read_text(encoding="utf-8")
    table = re.search(r'^OPTIONS="\n(.*?)^"$', script, re.DOTALL | re.MULTILINE)
    assert table
    rows = [line.split(None, 3) for line in table[1].splitlines()]
    return {name: Option(*("" if word == "-" else word for word in rest)) for name, *rest in rows}


def shipped() -> dict[str, str]:
    """Name: value of each option that is set in the configuration file as it is shipped."""
    lines = (FILES / "chi.config").read_text(encoding="utf-8").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return {line[1]: line[2] for line in words if line[:1] in (["option"], ["list"])}


def settings() -> dict[str, object]:
    """Name: default of each option of chi-server."""
    return {field.name: field.default for field in dataclasses.fields(Settings)}


def parse(*words: str) -> Settings:
    """What chi-server makes of options; SystemExit where it refuses them."""
    return cli.read_settings(cli.make_parser().parse_args(words))


def test_every_option_is_in_uci_or_known_not_to_be() -> None:
    """An option that chi-server gets is one of the service as well, or there is a reason."""
    assert set(options()) - set(OF_THE_SERVICE) == set(settings()) - set(NOT_IN_UCI)
    assert set(NOT_IN_UCI) <= set(settings())


def test_every_default_is_that_of_chi_server() -> None:
    """The init script and chi-server start with the same, but for what the service has safer."""
    defaults = {**settings(), **OF_THE_SERVICE, **SAFER}
    for name, row in options().items():
        default = defaults[name]
        wanted = "" if default in ((), "") else str(int(default) if default in (0, 4) else default)
        assert row.default == wanted, name


def test_the_shipped_file_has_every_default() -> None:
    """Every option is in the configuration file with its default; what has none is commented out."""
    text = (FILES / "chi.config").read_text(encoding="utf-8")
    for name, row in options().items():
        if row.default:
            assert shipped()[name] == row.default, name
        else:
            kind = "list" if row.kind.startswith("list ") else "option"
            assert re.search(rf"^\t#{kind} {name} '", text, re.MULTILINE), name
    assert set(shipped()) <= set(options())


def test_every_option_is_explained() -> None:
    """In the file each option, or group of options, follows a comment; the README has each."""
    text = (FILES / "chi.config").read_text(encoding="utf-8")
    readme = (OPENWRT / "README.md").read_text(encoding="utf-8")
    for group in text.split("\n\n")[2:]:
        assert group.startswith("\t# "), group
    for name in options():
        assert f"`{name}`" in readme, name


@pytest.mark.parametrize("name", sorted(set(options()) - set(OF_THE_SERVICE)))
def test_every_option_reaches_chi_server(name: str) -> None:
    """The parser takes each option as the init script gives it, as the setting of that name."""
    row = options()[name]
    others = {"token_file": "/etc/chi.token", **{each: values["good"][-1] for each, values in VALUES.items()}}
    word = row.option if row.kind == "flag" else f"{row.option}={others[name]}"
    assert getattr(parse(word), name) != settings()[name]


@pytest.mark.parametrize("name", sorted(VALUES))
def test_chi_server_takes_the_same_values(name: str) -> None:
    """chi-server takes the good values of the table and refuses the bad; tests/e2e asks the init script."""
    option = options()[name].option
    for value in VALUES[name]["good"]:
        parse(f"{option}={value}")
    for value in VALUES[name]["bad"]:
        with pytest.raises(SystemExit):
            parse(f"{option}={value}")


def test_the_table_of_values_has_every_option_that_is_judged() -> None:
    """Every option with a value that both judge is in the table."""
    judged = {name for name, row in options().items() if row.option and row.kind not in ("flag", "path")}
    assert set(VALUES) == judged
    allowed = re.search('^PRIVATE="(.*)"$', (FILES / "chi.init").read_text(encoding="utf-8"), re.MULTILINE)
    assert allowed
    assert len(parse(*(f"--allow={network}" for network in allowed[1].split())).allow) == 8
