r"""A miner's bytes become valid JSON, or a named error.

Comes in: a reply's bytes without the NUL. Goes out: a Reply, or ChiError. No input or output here, no clock.

The API's replies should be JSON (RFC 8259) and often are not. A reply that is passes byte for byte; one
that is not goes through the table of repairs, and out only if it is JSON then.

Strings are told from structure by two replacements: once \\ and \" are each one character that no UTF-8
text can hold, every " is a delimiter, and str.split() parts structure from strings. Each repair is then
one regular expression over the structure, where every string is a lone ", or over the strings. That is
string-aware by construction, and linear: no pattern can scan the same characters from two starts.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from chi.bounds import MAX_BRACKETS, MAX_DEPTH
from chi.errors import ChiError, quote
from chi.miner import cgminer_text

ESCAPED_BACKSLASH, ESCAPED_QUOTE, STATUS_KEY = "\ud800", "\ud801", "\ud802"
ONE_KIND = bytes.maketrans(b"[{]}", b"(())")
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Reply(NamedTuple):
    """A reply fit for a client: JSON in UTF-8, by which repairs, and whether it was text."""

    body: bytes
    repairs: tuple[str, ...] = ()
    translated: bool = False


class NestingError(ValueError):
    """JSON nested deeper than any thread's stack is sure to bear."""


Pairs = list[tuple[str, Any]]


def parse_json(
    data: bytes, parse_int: Callable[[str], Any] = float, made: Callable[[Pairs], Any] | None = None
) -> Any:
    """Return what strict JSON (RFC 8259, UTF-8) says; ValueError if it is not, NestingError beyond MAX_DEPTH.

    Integers become floats unless `parse_int` says otherwise: int() refuses more than 4,300 digits. `made`
    makes an object of its members, which may have one name several times; without it the last counts.
    """
    text = data.decode("utf-8")
    if _too_deep(text):
        raise NestingError(f"nested more than {MAX_DEPTH} levels deep")
    return _decoder(parse_int, made).decode(text)


@functools.cache
def _decoder(parse_int: Callable[[str], Any], made: Callable[[Pairs], Any] | None) -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_no_constant, parse_int=parse_int, object_pairs_hook=made)


def _no_constant(name: str) -> NoReturn:
    # Python's json takes NaN and Infinity, no other parser does.
    raise ValueError(f"{name} is not JSON")


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False  # nearly every reply
    brackets = _split(text)[0].encode("ascii", "ignore").translate(ONE_KIND, NO_BRACKETS)
    for _ in range(MAX_DEPTH):  # each turn takes the innermost level away
        shorter = brackets.replace(b"()", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return b"()" in brackets or brackets.count(b"(") > MAX_DEPTH


def _split(text: str) -> tuple[str, list[str]]:
    """Return the structure of `text`, each string a lone ", and the strings; the two escapes replaced."""
    parts = text.replace("\\\\", ESCAPED_BACKSLASH).replace('\\"', ESCAPED_QUOTE).split('"')
    return '"'.join(parts[::2]), parts[1::2]


def _join(structure: str, strings: list[str]) -> str:
    """The inverse of _split()."""
    parts = [""] * (2 * len(strings) + 1)
    parts[::2], parts[1::2] = structure.split('"'), strings
    text = '"'.join(parts).replace(STATUS_KEY, '"STATUS"')
    return text.replace(ESCAPED_QUOTE, '\\"').replace(ESCAPED_BACKSLASH, "\\\\")


# Repairs of the structure, in this order: name, what is wrong, what it becomes, who sends it.
STRUCTURE_REPAIRS = (
    # {"BYE","id":1}: old sgminer
    ("bare-status", re.compile(r'\A(\s*\{\s*)(?="\s*[,}])'), rf"\1{STATUS_KEY}:"),
    # "Temperature":nan, -inf: Avalon; no number is known, so null
    ("not-a-number", re.compile(r"(?<![\w.])[-+]?(?:nan|inf(?:inity)?)(?![\w.])", re.IGNORECASE), "null"),
    # [,{: bmminer
    ("stray-comma", re.compile(r"(?<=[\[{])\s*,"), ""),
    # ,}: Whatsminer
    ("trailing-comma", re.compile(r",(?=\s*[\]}])"), ""),
    # }{: Bitmain and VolcMiner stats; ""temp0": Whatsminer
    ("missing-comma", re.compile(r'(?<=["\]}\w])(?=\s*["\[{])'), ","),
)
# Repairs of the strings' contents, likewise.
STRING_REPAIRS = (
    # \': some forks
    ("bad-escape", re.compile(r"\\'"), "'"),
    # \x and others that JSON does not know: the backslash was meant
    ("bad-escape", re.compile(r"\\(?![/bfnrt]|u[0-9a-fA-F]{4})"), ESCAPED_BACKSLASH),
)
# newline, tab, 0x01 as they are: cgminer (pool URLs and users), Whatsminer
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f]")
CONTROL_ESCAPES = {code: f"\\u{code:04x}" for code in range(0x20)}
# }]{"STATUS":[{: two sections joined without a comma, cgminer setconfig; the lists become one
JOINED_SECTIONS = re.compile(r'\}\s*\]\s*\{\s*"STATUS"\s*:\s*\[\s*\{')
MEMBER = re.compile(r'\s*"\s*:')


def read_reply(data: bytes, pretty: bool = False) -> Reply:
    """Return the miner's reply as valid JSON, repaired if need be; ChiError where it cannot be."""
    try:
        parse_json(data)
        reply = Reply(data)
    except NestingError:
        raise ChiError("too-deep", limit=MAX_DEPTH) from None
    except ValueError as error:
        reply = _translate(data) if cgminer_text.looks_like(data) else _repair(data, error)
    return reply._replace(body=indent(reply.body)) if pretty else reply


def _translate(data: bytes) -> Reply:
    try:
        return Reply(ENCODER.encode(cgminer_text.read_cgminer_text(data)).encode("ascii"), translated=True)
    except ValueError as error:
        raise ChiError("text-protocol", why=error) from None


def read_json(data: bytes) -> Reply:
    """As read_reply, but only what came as JSON; ChiError of text, of which the end cannot be told."""
    if cgminer_text.looks_like(data):
        raise ChiError("text-protocol", why="it may go on")
    return read_reply(data)


def _repair(data: bytes, error: ValueError) -> Reply:
    """Return `data`, no JSON because of `error`, with the repairs that make it so; ChiError if none do."""
    repairs: list[str] = []
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        repairs.append("invalid-utf-8")
    structure, strings = _split(text)
    if structure.count("{") > structure.count("}"):
        structure, strings = _split(_sub("joined-sections", JOINED_SECTIONS, "},{", text, repairs))
    if structure.count('"') != len(strings):  # the last string has no end
        raise _explain(data, error)
    for name, pattern, fix in STRUCTURE_REPAIRS:
        structure = _sub(name, pattern, fix, structure, repairs)
    structure = _match_brackets(structure, repairs)
    contents = '"'.join(strings)
    for name, pattern, fix in STRING_REPAIRS:
        contents = _sub(name, pattern, fix, contents, repairs)
    if CONTROL_CHARACTER.search(contents):
        contents = contents.translate(CONTROL_ESCAPES)
        repairs.append("control-character")
    try:
        body = _join(structure, contents.split('"') if strings else []).encode("utf-8")
        parse_json(body)
    except ValueError:
        raise _explain(data, error) from None
    return Reply(body, tuple(dict.fromkeys(repairs)))


def _sub(name: str, pattern: re.Pattern[str], fix: str, text: str, repairs: list[str]) -> str:
    text, count = pattern.subn(fix, text)
    if count:
        repairs.append(name)
    return text


def _match_brackets(structure: str, repairs: list[str]) -> str:
    """Mend ["a":1] (Whatsminer's error_code) and a ] that nothing opened (old cgminer's notify)."""
    if structure.count("]") <= structure.count("[") and not re.search(r'\[\s*"\s*:', structure):
        return structure
    if sum(map(structure.count, "[]{}")) > MAX_BRACKETS:
        return structure
    edits: list[tuple[int, str, str]] = []  # position of a bracket, what it becomes, name of the repair
    closing: list[str] = []  # what each open bracket needs; "members" for a [ that should be {
    for match in re.finditer(r"[][{}]", structure):
        bracket, wanted = match[0], closing[-1] if closing else ""
        if bracket == "[" and MEMBER.match(structure, match.end()):
            closing.append("members")
            edits.append((match.start(), "{", "array-of-members"))
        elif bracket in "[{":
            closing.append("]" if bracket == "[" else "}")
        elif bracket == wanted:
            closing.pop()
        elif bracket == "]" and wanted == "members":
            closing.pop()
            edits.append((match.start(), "}", "array-of-members"))
        elif bracket == "]":
            edits.append((match.start(), "", "extra-bracket"))
    repairs += [name for _, _, name in edits]
    pieces, end = [], 0
    for position, replacement, _ in edits:
        pieces += [structure[end:position], replacement]
        end = position + 1
    return "".join(pieces) + structure[end:]


def _explain(data: bytes, error: ValueError) -> ChiError:
    """Say what a reply is that is no JSON, because of `error`, and cannot be made so."""
    text = data.decode("utf-8", "replace").strip()
    if re.match(r"[A-Z][A-Za-z ]*=[^{}]*\|", text):
        return ChiError("text-protocol", why=quote(text))
    if not text.startswith(("{", "[")):
        return ChiError("not-json", why=f"it begins with {quote(text)}")
    structure, strings = _split(text)
    opened = structure.count("{") + structure.count("[") - structure.count("}") - structure.count("]")
    if structure.count('"') != len(strings) or opened > 0:
        return ChiError("cut-off", size=len(data))
    return ChiError("not-json", why=error)


TOKEN = re.compile(r'"[^"]*"|[][{},:]|[^][{},:"\s]+')


def indent(body: bytes) -> bytes:
    """Return valid JSON indented by two spaces a level; each string and number as it was written."""
    text = body.decode("utf-8").replace("\\\\", ESCAPED_BACKSLASH).replace('\\"', ESCAPED_QUOTE)
    pieces: list[str] = []
    depth, previous = 0, ""
    for token in TOKEN.findall(text):
        if token in ("}", "]"):
            depth -= 1
            if previous not in ("{", "["):
                pieces.append("\n" + "  " * depth)
        elif previous in ("{", "[", ","):
            pieces.append("\n" + "  " * depth)
        pieces.append(": " if token == ":" else token)
        depth += token in ("{", "[")
        previous = token
    text = "".join(pieces).replace(ESCAPED_QUOTE, '\\"').replace(ESCAPED_BACKSLASH, "\\\\")
    return text.encode("utf-8") + b"\n"


ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
