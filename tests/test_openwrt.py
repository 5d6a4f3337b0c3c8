"""The OpenWrt package: its options and defaults are those of chi-server, and its documents name them all."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from chi import cli
from chi.bounds import MAX_TOKEN, MIN_TOKEN
from chi.settings import Settings

TREE = Path(__file__).resolve().parent.parent
OPENWRT = TREE / "packaging/openwrt"
FILES = OPENWRT / "chi/files"

pytestmark = pytest.mark.skipif(not OPENWRT.exists(), reason="no packaging/ in this tree")

VALUES = json.loads((TREE / "tests/e2e/openwrt/values.json").read_text(encoding="utf-8"))
# Settings without an option in /etc/config/chi, and why.
NOT_IN_UCI = {
    "service": "the package starts chi so",
    "miner": "the sections miner",
    "miners": "the sections miner",
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
        assert group.lstrip("\t").startswith("# "), group
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


def test_a_token_is_as_long_as_for_chi_server() -> None:
    """The bounds of a token in the init script are chi-server's."""
    script = (FILES / "chi.init").read_text(encoding="utf-8")
    assert f"-ge {MIN_TOKEN} ] || problem" in script
    assert f"-le {MAX_TOKEN} ] || problem" in script


def test_the_table_of_values_has_every_option_that_is_judged() -> None:
    """Every option with a value that both judge is in the table."""
    judged = {name for name, row in options().items() if row.option and row.kind not in ("flag", "path")}
    assert set(VALUES) == judged
    unit = (TREE / "packaging/systemd/chi.service").read_text(encoding="utf-8")
    allowed = re.search('^PRIVATE="(.*)"$', (FILES / "chi.init").read_text(encoding="utf-8"), re.MULTILINE)
    assert allowed
    private = parse(*(f"--allow={network}" for network in allowed[1].split())).allow
    found = re.findall(r"--allow ([0-9a-f]*[:.]\S+)", unit)
    debian = parse(*(f"--allow={network}" for network in found)).allow
    assert set(private) == set(debian)


# --- LuCI's page ----------------------------------------------------------------------------------

APP = OPENWRT / "luci-app-chi"
VIEW = (APP / "htdocs/luci-static/resources/view/chi.js").read_text(encoding="utf-8")
INIT = (FILES / "chi.init").read_text(encoding="utf-8")


def texts() -> ModuleType:
    """The script that writes the page's texts."""
    loader = SourceFileLoader("luci_texts", str(OPENWRT / "luci-texts"))
    spec = spec_from_loader("luci_texts", loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_page_has_each_option_once() -> None:
    """Every option of the service is on the page, and on it once, of a kind that fits."""
    found = re.findall(r"s\.taboption\('\w+', form\.(\w+), '(\w+)'", VIEW)
    assert sorted(name for _, name in found) == sorted(options())
    for kind, name in found:
        row = options()[name]
        fits = {"flag": "Flag", "networks": "MultiValue", "list": "DynamicList", "one_of": "ListValue"}
        assert kind == fits.get(row.kind.split()[0], "Value"), name


def test_the_page_has_the_defaults_and_bounds_of_the_service() -> None:
    """What is shown where nothing is set, and the bounds of numbers, are those of the init script."""
    for name, row in options().items():
        block = re.search(rf"form\.\w+, '{name}', .*?(?=\n\n)", VIEW, re.DOTALL)
        assert block, name
        kind, *words = row.kind.split()
        if kind in ("whole", "number"):
            assert f"{kind}({', '.join(words)}), '{row.default}')" in block[0], name
        elif kind == "one_of":
            assert f"[ {', '.join(map(repr, words))} ].forEach" in block[0], name
        elif row.default:
            assert repr(row.default) in block[0], name


def test_the_page_judges_by_the_expressions_of_the_init_script() -> None:
    """A regular expression of the page is one of the init script's."""
    patterns = re.findall(r"(?:like\(|LABEL = |OCTET = )'((?:[^'\\]|\\.)+)'", VIEW)
    assert len(patterns) >= 6
    for pattern in patterns:
        assert f"'{pattern.replace(chr(92) * 2, chr(92))}'" in INIT, pattern


def test_the_pages_texts_are_those_of_the_options() -> None:
    """The descriptions are chi-server's and the configuration file's, and translators get every text.

    If not: packaging/openwrt/luci-texts writes them anew.
    """
    script = texts()
    assert script.described(VIEW) == VIEW
    assert (APP / "po/templates/chi.pot").read_text(encoding="utf-8") == script.template(VIEW)
    assert "TEXT:" not in VIEW


def test_the_acl_names_what_there_is() -> None:
    """The ACL grants what the page uses, by names that exist; writing is the configuration."""
    share = APP / "root/usr/share"
    (name, acl), *others = json.loads((share / f"rpcd/acl.d/{APP.name}.json").read_text()).items()
    assert (name, others) == (APP.name, [])
    assert acl["write"] == {"uci": ["chi"]}
    assert acl["read"]["uci"] == ["chi"]
    assert acl["read"]["ubus"] == {"file": ["exec"], "service": ["list"]}
    ((command, rights),) = acl["read"]["file"].items()
    script, action = command.split()
    assert (script, rights) == ("/etc/init.d/chi", ["exec"])
    assert f'EXTRA_COMMANDS="{action}"' in INIT
    assert f"\n{action}() {{\n" in INIT
    (entry,) = json.loads((share / f"luci/menu.d/{APP.name}.json").read_text()).items()
    assert entry[0] == "admin/services/chi"
    assert entry[1]["depends"] == {"acl": [name], "uci": {"chi": True}}
    assert VIEW.count("rpc.declare") == 1
    assert (APP / f"htdocs/luci-static/resources/view/{entry[1]['action']['path']}.js").exists()


@pytest.mark.skipif(not shutil.which("node"), reason="node is not here")
def test_the_page_is_javascript(tmp_path: Path) -> None:
    """`node` reads it, as the function that LuCI makes of it."""
    (tmp_path / "chi.js").write_text(f"(function() {{ {VIEW}\n}})", encoding="utf-8")
    subprocess.run(["node", "--check", tmp_path / "chi.js"], check=True)


def test_the_page_is_small() -> None:
    """What is installed of it is less than 20 KB."""
    installed = [path for name in ("htdocs", "root") for path in (APP / name).rglob("*") if path.is_file()]
    assert len(installed) == 3
    assert sum(path.stat().st_size for path in installed) < 20_000
