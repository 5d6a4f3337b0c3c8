r"""Checks a miner's reply: valid JSON passes, known faults are repaired, anything else is a named error.

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
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from chi.bounds import MAX_DEPTH, MAX_MARKS, MAX_PRETTY, MAX_REPLY
from chi.errors import ChiError, quote
from chi.miner import cgminer_text

ESCAPED_BACKSLASH, ESCAPED_QUOTE, STATUS_KEY = "\ud800", "\ud801", "\ud802"
ONE_KIND = bytes.maketrans(b"[{]}", b"(())")
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


BOM = b"\xef\xbb\xbf"  # which .NET and PowerShell put before UTF-8
# What may follow a whole reply and tells nothing: "} and ]}, and the ,"id":1} of a request answered twice.
TAIL = re.compile(r'(?:"id"\s*+:\s*+[0-9]++|[\x00-\x20\]},"])*+')
# Makes an object of its members, as json's object_pairs_hook; dict will do.
Made = Callable[[list[tuple[str, Any]]], Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply fit for a client: JSON in UTF-8, by which repairs, and whether it was text.

    `value` is the body, parsed, where that was asked for when it was read.
    """

    body: bytes
    repairs: tuple[str, ...] = ()
    translated: bool = False
    value: Any = field(default=None, compare=False, repr=False)

    def parsed(self, made: Made) -> Any:
        """The body's value, each object `made` of its members; parsed only where it has not been."""
        return parse_json(self.body, made=made) if self.value is None else self.value


class TailError(ValueError):
    """JSON with something after its end: the `value`, the text of it, and what comes then."""

    def __init__(self, value: Any, whole: str, tail: str) -> None:
        self.value, self.whole, self.tail = value, whole, tail
        super().__init__(f"it goes on after its end, with {quote(tail)}")


class NestingError(ValueError):
    """JSON nested deeper than any thread's stack is sure to bear."""


def parse_json(data: bytes, parse_int: Callable[[str], Any] = float, made: Made | None = None) -> Any:
    """Return what strict JSON (RFC 8259, UTF-8) says; ValueError if it is not, NestingError beyond MAX_DEPTH.

    Integers become floats unless `parse_int` says otherwise: int() refuses more than 4,300 digits. `made`
    makes an object of its members, which may have one name several times; without it the last counts.
    """
    text = data.decode("utf-8").strip(" \t\n\r")
    if _too_deep(text):
        raise NestingError(f"nested more than {MAX_DEPTH} levels deep")
    value, end = _decoder(parse_int, made).raw_decode(text)
    if end < len(text):
        raise TailError(value, text[:end], text[end:])
    return value


@functools.cache
def _decoder(parse_int: Callable[[str], Any], made: Made | None) -> json.JSONDecoder:
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
# Repairs of the strings' contents, in the same form.
STRING_REPAIRS = (
    # \': some forks
    ("bad-escape", re.compile(r"\\'"), "'"),
    # \x and others that JSON does not know: the backslash was meant
    ("bad-escape", re.compile(r"\\(?![/bfnrt]|u[0-9a-fA-F]{4})"), ESCAPED_BACKSLASH),
)
# The names of all repairs, those by hand included: what Reply.repairs is made of.
REPAIRS = frozenset(
    {
        *(name for name, *_ in (*STRUCTURE_REPAIRS, *STRING_REPAIRS)),
        *("byte-order-mark", "tail", "invalid-utf-8", "joined-sections", "control-character"),
        *("array-of-members", "extra-bracket"),
    }
)
# newline, tab, 0x01 as they are: cgminer (pool URLs and users), Whatsminer
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f]")
CONTROL_ESCAPES = {code: f"\\u{code:04x}" for code in range(0x20)}
# }]{"STATUS":[{: two sections joined without a comma, cgminer setconfig; the lists become one
JOINED_SECTIONS = re.compile(r'\}\s*\]\s*\{\s*"STATUS"\s*:\s*\[\s*\{')
MEMBER = re.compile(r'\s*"\s*:')


def read_reply(data: bytes, pretty: bool = False, made: Made | None = None) -> Reply:
    """Return the miner's reply as valid JSON, repaired if need be; ChiError where it cannot be.

    With `made` it has the value as well, each object made of its members by that.
    """
    repairs = ["byte-order-mark"] if data.startswith(BOM) else []
    data = data.removeprefix(BOM)
    try:
        reply = _read(data, repairs, made)
    except NestingError:
        raise ChiError("too-deep", limit=MAX_DEPTH) from None
    except ValueError as error:
        reply = _translate(data) if cgminer_text.looks_like(data) else _repair(data, error, repairs, made)
    return indented(reply) if pretty else reply


def read_valid(data: bytes, made: Made | None = None) -> Reply:
    """Return the miner's reply if it is valid JSON as it is; ValueError if it is not."""
    value = parse_json(data, made=made)
    # The value may take twenty times as much room: it is kept for whom wants it.
    return Reply(data, value=value if made else None)


def _read(data: bytes, repairs: list[str], made: Made | None) -> Reply:
    """Return the reply if it is valid JSON, but for a tail that tells nothing; ValueError if it is not."""
    try:
        return replace(read_valid(data, made), repairs=tuple(dict.fromkeys(repairs)))
    except TailError as error:
        if not isinstance(error.value, dict) or TAIL.fullmatch(error.tail) is None:
            raise
        repairs = [*repairs, "tail"]
        return Reply(error.whole.encode(), tuple(dict.fromkeys(repairs)), value=error.value if made else None)


def _translate(data: bytes) -> Reply:
    try:
        return Reply(ENCODER.encode(cgminer_text.read_cgminer_text(data)).encode("ascii"), translated=True)
    except ValueError as error:
        raise ChiError("text-protocol", why=error) from None


def read_json(data: bytes, made: Made | None = None) -> Reply:
    """As read_reply, but only what came as JSON; ChiError of text, of which the end cannot be told."""
    if cgminer_text.looks_like(data):
        raise ChiError("text-protocol", why="it may go on")
    return read_reply(data, made=made)


def _repair(data: bytes, error: ValueError, repairs: list[str], made: Made | None) -> Reply:
    """Return `data`, no JSON because of `error`, with the repairs that make it so; ChiError if none do."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        repairs.append("invalid-utf-8")
    if _marks(text) > MAX_MARKS:
        raise ChiError("not-json", why=f"{error}, and it has too much in it to be repaired")
    structure, strings = _split(text)
    if structure.count("{") > structure.count("}"):
        structure, strings = _split(_sub("joined-sections", JOINED_SECTIONS, "},{", text, repairs))
    if structure.count('"') != len(strings):  # the last string has no end
        if TAIL.fullmatch(strings[-1]) is None:
            raise _explain(data, error)
        structure, strings = structure + strings[-1], strings[:-1]
        repairs.append("tail")
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
        if len(body) > MAX_PRETTY:  # an escape has six characters
            raise ChiError("reply-too-large", limit=MAX_REPLY)
        return _read(body, repairs, made)
    except ValueError:
        raise _explain(data, error) from None


def _marks(text: str) -> int:
    """What repairing and indenting take their time by."""
    return sum(map(text.count, '"[]{},'))


def _sub(name: str, pattern: re.Pattern[str], fix: str, text: str, repairs: list[str]) -> str:
    text, count = pattern.subn(fix, text)
    if count:
        repairs.append(name)
    return text


def _match_brackets(structure: str, repairs: list[str]) -> str:
    """Mend ["a":1] (Whatsminer's error_code) and a ] that nothing opened (old cgminer's notify)."""
    if structure.count("]") <= structure.count("[") and not re.search(r'\[\s*"\s*:', structure):
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
    """Describe a reply that is not JSON because of `error` and cannot be repaired."""
    text = data.decode("utf-8", "replace").strip()
    if re.match(r"[A-Z][A-Za-z ]*=[^{}]*\|", text):
        return ChiError("text-protocol", why=quote(text))
    if not text.startswith(("{", "[")):
        return ChiError("not-json", why=f"it begins with {quote(text)}")
    if isinstance(error, TailError):
        return ChiError("not-json", why=error)
    structure, strings = _split(text)
    opened = structure.count("{") + structure.count("[") - structure.count("}") - structure.count("]")
    if structure.count('"') != len(strings) or opened > 0:
        return ChiError("cut-off", size=len(data))
    return ChiError("not-json", why=error)


BRACKETS = re.compile(r"(\[\]|\{\}|[][{}])")


def indented(reply: Reply) -> Reply:
    """Return the reply indented; ChiError if that makes it too large."""
    return replace(reply, body=indent(reply.body))


def indent(body: bytes) -> bytes:
    """Return valid JSON indented by two spaces a level; each string and number as it was written.

    ChiError if it has more than MAX_MARKS marks, or would have more than MAX_PRETTY bytes.
    """
    text = body.decode("utf-8")
    if _marks(text) > MAX_MARKS:
        raise ChiError("pretty-too-large", limit=MAX_PRETTY)
    structure, strings = _split(text)
    compact = "".join(structure.split())
    first, *rest = BRACKETS.split(compact)  # what is between brackets, and brackets
    pieces, size, line = [first], len(body) - len(compact), "\n"
    for bracket, inside in zip(rest[::2], rest[1::2]):
        if bracket in ("[", "{"):
            line += "  "
            bracket += line
        elif bracket in ("]", "}"):
            line = line[:-2]
            bracket = line + bracket
        pieces.append(bracket + inside.replace(",", "," + line).replace(":", ": "))
        size += len(pieces[-1])
        if size > MAX_PRETTY:
            raise ChiError("pretty-too-large", limit=MAX_PRETTY)
    return _join("".join(pieces), strings).encode("utf-8") + b"\n"


ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
