"""The limits of the proof: the last thing inside of each, and the first outside."""

from __future__ import annotations

import pytest

from lowering.hazards.compiler import compiled
from tests.judges.small_programs import END_B, EVENTS_B, FREE_B, LOAD_B, USE_B, loop, small
from tests.lenient import check

ROW = "vector 0 V a = full 0.0\n"
ORDERED = ROW + "vector 0 V barrier\n"


@pytest.mark.parametrize(
    ("outer", "inner", "short", "exactly"),
    [
        (1, 32, True, 32),
        (1, 33, False, 32),
        (2048, 32, True, 32),
        (2049, 32, False, 1),
        (256, 256, False, 32),
        (257, 256, False, 1),
    ],
)
def test_short_loops_are_simply_run(outer: int, inner: int, short: bool, exactly: int) -> None:
    rows = loop(loop(ORDERED, trips=str(inner), index="j"), trips=str(outer), index="i")
    code = compiled(small("", rows))
    x = code.loops[1]
    assert (x.short, x.long, code.run_exactly(x)) == (short, not short, exactly)


@pytest.mark.parametrize(("depth", "residue"), [(1, 1), (2, 2), (24, 24), (25, 1)])
def test_how_exactly_a_long_count_is_remembered(depth: int, residue: int) -> None:
    at = f"z[{'u'}]" if depth > 1 else "z"
    buffer = f"buffer vector ub z[{depth}] f32[8, 8] nd at 20480 by 256\n"
    code = compiled(small(buffer, loop(f"vector 0 V {at} = full 0.0\n")))
    assert code.residue == residue


def test_as_many_states_as_there_may_be() -> None:
    k = small(EVENTS_B, FREE_B + loop(LOAD_B, USE_B + "vector 0 V barrier\n") + END_B)
    proof = check(k)
    assert proof.ok and proof.states
    assert check(k, max_states=proof.states).ok
    assert "not closed" in check(k, max_states=proof.states - 1).refused
