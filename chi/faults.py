"""Calls a function for the event loop so that an exception in it is logged and ends nothing else.

Comes in: a function and its arguments. Goes out: whether it ended well; a fault's traceback is in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("chi")


def guarded(what: str, work: Callable[..., Any], *arguments: Any) -> bool:
    """Call `work`; log a fault of it as one "while" doing `what`, and return whether there was none."""
    try:
        work(*arguments)
    except Exception:
        log.exception("fault while %s", what)
        return False
    return True
