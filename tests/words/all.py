"""Every test kernel of a word, by what it is about."""

from __future__ import annotations

from tests.words import (
    atomic,
    bits,
    columns,
    control,
    facts,
    inplace,
    masks,
    mathematics,
    numbers,
    parts,
    scalars,
    scales,
    sorting,
    transposes,
    views,
)

ABOUT = (
    masks,
    mathematics,
    scalars,
    facts,
    columns,
    atomic,
    inplace,
    sorting,
    numbers,
    parts,
    bits,
    control,
    transposes,
    views,
    scales,
)
WORDS = {name: word for about in ABOUT for name, word in about.WORDS.items()}
