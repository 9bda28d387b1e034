"""What is said of a kernel: texts with places for values, ``"rows {} to {}"``, where ``{{`` and ``}}`` are braces."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter

FAILED = "debug_check: "
"""In front of a check that does not hold, where all that is said is text."""


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """What stands as it is, and whether a place comes behind it.

    Raises:
        ValueError: for a single brace; for a place with a name, a number or a format.
    """
    for literal, *place in Formatter().parse(text):
        if place[0] is not None and place != ["", "", None]:
            raise ValueError(f"'{text}' has other places than {{}}")
        yield literal, place[0] is not None


def places(text: str) -> int:
    """How many there are.

    Raises:
        ValueError: as ``pieces``.
    """
    return sum(place for _, place in pieces(text))


def braced(text: str) -> str:
    """A text as it stands, without places."""
    return text.replace("{", "{{").replace("}", "}}")
