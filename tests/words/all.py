"""Every test kernel of a word, by what it is about."""

from __future__ import annotations

from tests.words import (
    atomic,
    bits,
    columns,
    control,
    facts,
    folds,
    inplace,
    masks,
    mathematics,
    numbers,
    parts,
    scalars,
    sorting,
    transposes,
    views,
)

ABOUT = (
    masks,
    mathematics,
    scalars,
    facts,
    folds,
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
)
WORDS = {name: word for about in ABOUT for name, word in about.WORDS.items()}
