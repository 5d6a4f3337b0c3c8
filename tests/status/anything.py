"""Replies with anything in them, and what must hold of them."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from chi.status.firmware import command_success, next_request, normalise, recognise
from chi.status.model import to_json
from chi.status.prometheus import prometheus
from tests.status.golden import NOW, own, parse, replies_of

NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([10**400, -(10**400), 2**64, -1, 0, 1e308, -1e308, 986])
)
WORDS = st.sampled_from(
    ["", " ", "nan", "-inf", "Infinity", "1e308", "-5", "  7 ", "Y", "Alive", "0:00:05", "45-47-60-62", "[",
     "Antminer", "MGHS[1 2] MTmax[x]PS[", "Fan1[]]][[", '"\\\n', "\ud800", "9" * 300, "whatsminer", "]", "+"]
)  # fmt: skip
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(WORDS, st.text(max_size=8)), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in paths_of(part, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """The value with another at a place; Ellipsis removes what is there."""
    if not path:
        return by
    copied = copy.copy(value)
    if by is ... and len(path) == 1:
        del copied[path[0]]
    else:
        copied[path[0]] = replaced(value[path[0]], path[1:], by)
    return copied


def check_outputs(replies: Any) -> None:
    """Whatever the replies: no exception, a valid text without NaN, valid JSON, a request or none."""
    for now in (None, NOW):
        told = normalise(replies, now)
        parse(prometheus(told, own(), pool_user=True))
        json.dumps(to_json(told), allow_nan=False)
    next_request(replies)
    command_success(replies, recognise(replies))


def damaged(firmware: str, data: st.DataObject) -> Any:
    """Golden replies with any field missing, of another type, huge, negative or nan."""
    replies: Any = replies_of(firmware)
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from([path for path in paths_of(replies) if path]))
        replies = replaced(replies, path, data.draw(st.one_of(st.just(...), ANYTHING)))
    return replies
