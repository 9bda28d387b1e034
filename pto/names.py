"""Names of new values."""

from __future__ import annotations


def fresh(hint: str, taken: set[str]) -> str:
    """``hint``, numbered if it is taken; the result is taken from now on."""
    name, n = hint, 1
    while name in taken:
        n += 1
        name = f"{hint}_{n}"
    taken.add(name)
    return name
