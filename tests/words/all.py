"""Every test kernel of a word, by what it is about."""

from __future__ import annotations

from tests.words import facts, masks, mathematics, numbers, scalars

WORDS = {**masks.WORDS, **mathematics.WORDS, **scalars.WORDS, **facts.WORDS, **numbers.WORDS}
