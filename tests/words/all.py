"""Every test kernel of a word, by what it is about."""

from __future__ import annotations

from tests.words import (
    atomic,
    columns,
    facts,
    masks,
    mathematics,
    numbers,
    scalars,
    sorting,
    transposes,
    views,
)

ABOUT = (masks, mathematics, scalars, facts, columns, atomic, sorting, numbers, transposes, views)
WORDS = {name: word for about in ABOUT for name, word in about.WORDS.items()}
