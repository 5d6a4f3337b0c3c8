"""The firmware families: recognises a miner's, says what to ask it, and makes one Status of its replies.

Replies, by command, come in as parsed JSON; requests and a `Status` go out. What is known of a firmware's
fields is in the files beside this one; a field of none is left out, never guessed. Nothing here raises
because of what a miner sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from chi.status.firmware import (
    auradine,
    avalon,
    bitmain,
    braiins,
    ccminer,
    cgminer,
    cpuminer,
    innosilicon,
    luxos,
    sealminer,
    whatsminer,
)
from chi.status.firmware.cgminer import read_version
from chi.status.firmware.normalising import status_of
from chi.status.model import Status
from chi.status.values import Replies, envelope, succeeded, text

# --- Families -------------------------------------------------------------------------------------
#
# In the order in which they are tried. LuxOS has Bitmain's fields as well, and all have those of cgminer.

FAMILIES = (
    cpuminer.FAMILY,
    luxos.FAMILY,
    braiins.FAMILY,
    sealminer.FAMILY,
    auradine.FAMILY,
    bitmain.FAMILY,
    avalon.FAMILY,
    whatsminer.FAMILY,
    innosilicon.FAMILY,
    ccminer.FAMILY,
    cgminer.FAMILY,  # also BFGMiner, sgminer and all others
)
BY_NAME = {family.name: family for family in FAMILIES}
UNKNOWN = cgminer.FAMILY.name
COMMANDS = {family.name: family.commands for family in FAMILIES}
# All that a scrape may ask for: reports, they change nothing.
ASKED = frozenset(command for family in FAMILIES for command in (*family.commands, *family.further))


def recognise(replies: Replies, remembered: str = UNKNOWN) -> str:
    """Return which family's name the miner has, by its reply to `version`, else by any other reply's.

    `remembered` is the answer of the scrape before, for where the replies so far do not tell.
    """
    entry = read_version(replies)
    for family in FAMILIES:
        for name, beginning in family.marks:
            if name in entry and (text(entry[name]) or "").startswith(beginning):
                return family.name
    described = (text(envelope(reply).get("Description")) or "" for reply in replies.values())
    for said in dict.fromkeys(described):  # all say the same as a rule
        for family in FAMILIES:
            if family.described and said.lower().startswith(family.described):
                return family.name
    # A Whatsminer no longer: it knows get_version, and of what it does not know it says its name.
    gone = "get_version" in replies and not succeeded(replies["get_version"])
    return UNKNOWN if entry or gone else remembered


def next_request(
    replies: Replies,
    refused: Collection[str] = frozenset(),
    remembered: str = UNKNOWN,
    unwanted: Collection[str] = frozenset(),
) -> str | None:
    """Return the first of next_requests(); None when all is there."""
    return next(iter(next_requests(replies, refused, remembered, unwanted)), None)


def next_requests(
    replies: Replies,
    refused: Collection[str] = frozenset(),
    remembered: str = UNKNOWN,
    unwanted: Collection[str] = frozenset(),
) -> tuple[str, ...]:
    """Return what to ask next, side by side; commands joined by + where the firmware joins.

    `replies` are those of this scrape so far (None for a command that failed), `refused` the joined requests
    that members() found refused, now or before, `remembered` the firmware of the scrape before, `unwanted`
    the commands to leave out.
    """
    known = recognise(replies, remembered)
    family = BY_NAME.get(known, cgminer.FAMILY)
    further = (command for command, called_for in family.further.items() if called_for(replies))
    wanted = (command for command in (*family.commands, *further) if command not in unwanted)
    missing = tuple(command for command in wanted if command not in replies)
    # Who refuses to join one request joins no other.
    if known in BY_NAME and family.joins and not refused:
        return ("+".join(missing),) if missing else ()
    # Who has not told yet what it is may hang up on a second connection.
    is_told = known != UNKNOWN or bool(read_version(replies))
    return missing if is_told and not family.one_at_a_time else missing[:1]


def one_at_a_time(known: str) -> bool:
    """Whether the firmware of that name hangs up on a second connection."""
    return BY_NAME.get(known, cgminer.FAMILY).one_at_a_time


def members(request: str, reply: Any) -> dict[str, Any] | None:
    """Return the reply of each command in `request`, by command; None if joining was refused.

    `reply` is the parsed one, or None if there was none. A joined reply has a list of one reply for each
    command; an error in its place says that the firmware does not join.
    """
    commands = request.split("+")
    if len(commands) == 1:
        return {request: reply}
    lists = {command: reply.get(command) for command in commands} if isinstance(reply, Mapping) else {}
    if not any(isinstance(found, list) for found in lists.values()):
        return None
    return {name: found[0] if isinstance(found, list) and found else None for name, found in lists.items()}


def command_success(replies: Replies, known: str) -> dict[str, bool]:
    """Return which commands of one scrape succeeded, of those that the firmware `known` is asked for."""
    family = BY_NAME.get(known, cgminer.FAMILY)
    wanted = {*family.commands, *family.further}
    return {command: succeeded(reply) for command, reply in replies.items() if command in wanted}


def answered(replies: Replies) -> bool:
    """Whether the replies tell of a miner: its summary, or that it sleeps."""
    return succeeded(replies.get("summary")) or whatsminer.is_off(replies)


def normalise(replies: Replies, now: float | None = None) -> Status:
    """Return the status that parsed replies of any firmware tell, by command; never an exception.

    A command that failed is absent or None. `now`, in epoch seconds, stands in for the clock of a miner that
    has none (Whatsminer tells no time, Avalon's starts at 0 with each boot).
    """
    family = BY_NAME[recognise(replies)]
    return status_of(replies, family, [family.read for family in FAMILIES], now)
