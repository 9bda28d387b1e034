"""Mutants of texts: each is refused with one message, or accepted by every stage that it comes to."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests import HANDWRITTEN
from tests.judges.grammar import recognised
from tests.judges.text_mutants import TEXTS, draw, outcome

STAGES = {"parse", "verify", "order", "schedule", "not proven", "emit", "run", "traced", "accepted"}


def outcomes(seeds: range) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in seeds:
        rng = random.Random(seed)
        text = draw(rng, rng.choice(TEXTS).read_text())
        try:
            found[outcome(text)] += 1
        except Exception as error:
            error.add_note(f"mutant {seed}:\n{text}")
            raise
    return found


def test_the_texts_follow_the_grammar() -> None:
    for path in TEXTS:
        recognised(path.read_text())


def test_the_grammar_refuses() -> None:
    text = HANDWRITTEN.read_text()
    for old, new in (("grid ", "grid , "), (" = load ", " = "), (" at ", " at at "), ("[1]", "1")):
        with pytest.raises(AssertionError):
            recognised(text.replace(old, new, 1))


def test_some_mutants() -> None:
    found = outcomes(range(100))
    assert set(found) <= STAGES and found["parse"] < 90, found


@pytest.mark.sweep
def test_2000_mutants() -> None:
    found = outcomes(range(100, 2100))
    print(f"\n2000 mutants of {len(TEXTS)} texts: {dict(found.most_common())}")
    assert set(found) <= STAGES and found["accepted"] > 40, found
