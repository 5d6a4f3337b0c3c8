"""LuxOS: as BOSminer, but that each board has four sensors, named in METADATA."""

from __future__ import annotations

from collections.abc import Mapping

from chi.status.values import Entry, celsius, text

LUXOS_CORNERS = ("TopLeft", "TopRight", "BottomLeft", "BottomRight")


def corner_temperatures(entry: Entry, labels: Entry) -> tuple[float | None, float | None]:
    """Return the highest temperatures of board and water at LuxOS's four sensors, named in METADATA."""
    board: list[float] = []
    water: list[float] = []
    for corner in LUXOS_CORNERS:
        found = celsius(entry.get(corner))
        label = labels.get(corner)
        said = text(label.get("Label")) if isinstance(label, Mapping) else None
        if found is not None:
            (water if "water" in (said or "").lower() else board).append(found)
    return max(board, default=None), max(water, default=None)
