"""The schedule of paged attention by hand: proven, each of its flags needed, and its mutants judged by
section 9 of docs/machine.md read literally."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lowering.hazards import smallest_failing
from pto.ir import Kernel, Row, map_rows
from pto.loc import Loc
from pto.text import parse
from tests import HANDWRITTEN
from tests.judges.mutants import placement_mutants, row_mutants
from tests.judges.section9 import Order, Stuck
from tests.lenient import check, check_unrolled, resting_on


@pytest.fixture(scope="module")
def hand() -> Kernel:
    return parse(HANDWRITTEN.read_text(), str(HANDWRITTEN))


def test_handwritten_program_is_proven(hand: Kernel) -> None:
    proof = check(hand)
    assert proof.ok, proof.report()
    assert "every trip count" in proof.message and proof.states > 10


@pytest.mark.parametrize("trips", [[0], [1], [2], [3], [40], [3, 0, 1, 7], [0, 0, 5], []])
def test_handwritten_program_runs_unrolled(hand: Kernel, trips: list[int]) -> None:
    assert check_unrolled(hand, trips).ok


def test_every_flag_is_needed(hand: Kernel) -> None:
    """Of the other changes ``tests/whole/test_mutations.py`` asks every judge."""
    single = [m for m in row_mutants(hand) if re.search("no wait|no set|drain.*deleted", m[0])]
    assert len(single) > 40
    for name, k in single:
        assert not check(k).ok, name


def test_missing_free_event_fails_first_at_three_blocks(hand: Kernel) -> None:
    """A racy prefetch is clean for short contexts (docs/machine.md 16.3)."""

    def without_k_free(r: Row) -> Row:
        keep = [tuple(f for f in flags if f.name != "k.free") for flags in (r.wait, r.set)]
        return replace(r, wait=keep[0], set=keep[1])

    racy = replace(hand, body=map_rows(hand.body, without_k_free))
    proof = check(racy)
    assert proof.failing == (3,) == smallest_failing(racy, assume=resting_on(racy))
    assert check_unrolled(racy, [2]).ok and not check_unrolled(racy, [3]).ok
    violation = proof.violations[0]
    assert (violation.kind, violation.buffer, violation.bytes) == ("WAR", "k[0]", (4096, 36864))
    assert violation.missing.startswith(
        "no event orders MTE1's read before MTE2's write; expected MTE1 -> MTE2"
    )
    assert violation.first is not None and violation.second is not None
    assert violation.first.iteration == (("w", 0), ("i", 0))
    assert violation.second.iteration == (("w", 0), ("i", 2))
    assert isinstance(violation.first.loc, Loc) and violation.first.loc.file.endswith(".ptoir")
    assert "smallest failing trip counts, one per work item: [3]" in proof.report()


ORDER = {"RAW", "WAR", "WAW", "double set"}
RUNS_ON = {*ORDER, "uninitialised", "overwritten"}
"""What the proof finds of the order of rows, and what it finds in a run that goes on to its end."""


def unordered(k: Kernel, items: tuple[int, ...]) -> bool | None:
    """Whether section 9 leaves a pair of accesses, or a flag, without order (V reads in order); None:
    the run does not come to its end."""
    try:
        order = Order(k, items)
    except Stuck:
        return None
    benign = [p for p in order.pairs() if p.kind == "WAR" and p.same_pipe and p.core == "vector 0"]
    races = [p for p in order.pairs() if p.race and p not in benign]
    return bool(races or order.double_sets())


@pytest.mark.parametrize("step", [12, pytest.param(4, marks=pytest.mark.sweep)])
def test_mutants_in_front_of_section_9(hand: Kernel, step: int) -> None:
    """One of ``step`` mutants."""
    compared = races = 0
    mutants = (("itself", hand), *row_mutants(hand), *placement_mutants(hand))
    for name, k in mutants[1::step]:
        for items in ((4,), (2, 3)):
            found = {v.kind for v in check_unrolled(k, items, limit=10_000).violations}
            literal = unordered(k, items) if found <= RUNS_ON else None
            if literal is not None:
                compared += 1
                races += literal
                assert literal == bool(found & ORDER), f"{name} {items} {found}"
    assert compared > 160 // step and races > 60 // step
