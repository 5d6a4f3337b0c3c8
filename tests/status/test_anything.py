"""Whatever a miner sends, every output is what it should be."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chi.status.firmware import COMMANDS, members, normalise
from chi.status.prometheus import prometheus
from tests.status.anything import ANYTHING, check_outputs, damaged, paths_of, replaced
from tests.status.golden import FIRMWARES, NOW, own, replies_of


@given(data=st.data())
@pytest.mark.parametrize("firmware", FIRMWARES)
def test_a_golden_reply_with_anything_in_it(firmware: str, data: st.DataObject) -> None:
    """Whatever a field is, every output is what it should be."""
    check_outputs(damaged(firmware, data))


@pytest.mark.parametrize("firmware", FIRMWARES)
@pytest.mark.parametrize("value", [None, math.nan, -1, 1e300, "", [], {}, True], ids=repr)
def test_every_field_wrong(firmware: str, value: Any) -> None:
    """Each field of each golden reply in turn, and then all at once."""
    replies: Any = replies_of(firmware)
    leaves = [path for path in paths_of(replies) if len(path) >= 4]
    for path in leaves[:: max(1, len(leaves) // 100)]:
        prometheus(normalise(replaced(replies, path, value), NOW), own())
    for path in leaves:
        if len(path) == 4:
            replies = replaced(replies, path, value)
    check_outputs(replies)


@given(st.dictionaries(st.sampled_from([*COMMANDS["luxos"], "stats", "estats", "edevs"]), ANYTHING))
def test_anything_for_a_reply(replies: dict[str, Any]) -> None:
    """A reply may be any JSON."""
    check_outputs(replies)


@given(ANYTHING)
def test_any_joined_reply(reply: Any) -> None:
    """Taking a joined reply apart never fails."""
    check_outputs(members("summary+pools", reply) or {})
