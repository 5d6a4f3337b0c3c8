"""The table of errors against the code that raises them."""

from __future__ import annotations

import ast
import string
from pathlib import Path

import pytest

import chi
from chi.errors import ERRORS

ROOT = Path(chi.__file__).parent


def raised() -> list[tuple[str, str, list[str]]]:
    """Where in chi's code a ChiError is made of a name: the place, the name, and the values it is given."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ChiError":
                (name, *_), given = node.args, sorted(keyword.arg or "**" for keyword in node.keywords)
                if isinstance(name, ast.Constant) and "**" not in given:
                    found.append((f"{path.relative_to(ROOT)}:{node.lineno}", str(name.value), given))
    return found


@pytest.mark.parametrize(("where", "name", "given"), raised(), ids=lambda each: str(each))
def test_a_message_gets_its_values(where: str, name: str, given: list[str]) -> None:
    """Each place that raises an error fills in all of its message, and nothing that is not in it."""
    wanted = {field for _, field, _, _ in string.Formatter().parse(ERRORS[name][1]) if field}
    assert {*given, "further"} == wanted | {"further"}, where


def test_every_error_is_raised_somewhere() -> None:
    """The table has no row that nothing needs."""
    files = [path for path in ROOT.rglob("*.py") if path.name != "errors.py"]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    assert [name for name in ERRORS if f'"{name}"' not in text] == []
