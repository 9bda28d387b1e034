"""The changes of single tokens that ``tests/judges/token_mutants.py`` draws, and all of it as a sweep."""

from __future__ import annotations

import pytest

from tests.judges.token_mutants import at, changes_of, drawn, is_another_program, main

FEW = ("lowering/ascend",)
TEXT = '''"""A module: 1 < 2."""
LIMIT = 3

def inside(x: "int | None", names: dict[str, int]) -> bool:
    """Not 4."""
    if x is not None and x < LIMIT:
        raise ValueError(f"{x + 1} is not below")
    for name in names:
        if name in ("a", "b") or names["c"] == 0:
            continue
    text = "free"
    return not any(n > 1 for n in names.values())
'''


def test_what_changes() -> None:
    """Comparisons, operators, numbers, keys; no documentation, annotation, message or free text."""
    every = [c for changes in changes_of("m.py", TEXT) for c in changes]
    found = [(c.line, c.old, c.new) for c in every if is_another_program(c, TEXT)]
    assert found == [
        (2, "3", "4"),
        (2, "3", "2"),
        (6, "not", ""),
        (6, "and", "or"),
        (6, "<", "<="),
        (9, "in", "not in"),
        (9, '"a"', '"a_"'),
        (9, '"b"', '"b_"'),
        (9, "or", "and"),
        (9, '"c"', '"c_"'),
        (9, "==", "!="),
        (9, "0", "1"),
        (10, "continue", "break"),
        (12, "not", ""),
        (12, "any", "all"),
        (12, ">", ">="),
        (12, "1", "2"),
        (12, "1", "0"),
    ]


def test_one_token_is_changed() -> None:
    change = next(changes_of("m.py", TEXT))[0]
    assert change.made(TEXT) == TEXT.replace("LIMIT = 3", "LIMIT = 4")


def test_a_seed_is_a_draw() -> None:
    first = drawn(5, 1, FEW)
    assert first == drawn(5, 1, FEW) != drawn(5, 2, FEW)
    assert first[0] in at([f"{first[0].file}:{first[0].line}"])


@pytest.mark.sweep
def test_every_change_is_noticed() -> None:
    """An hour: 100 changes; the first time also which tests meet which statement."""
    assert main(["--count", "100", "--seed", "1"]) == 0
