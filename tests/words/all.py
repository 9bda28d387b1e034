"""Every test kernel of a word, by what it is about."""

from __future__ import annotations

from tests.words import atomic, columns, facts, masks, mathematics, numbers, scalars, sorting

WORDS = {
    **masks.WORDS,
    **mathematics.WORDS,
    **scalars.WORDS,
    **facts.WORDS,
    **columns.WORDS,
    **atomic.WORDS,
    **sorting.WORDS,
    **numbers.WORDS,
}
