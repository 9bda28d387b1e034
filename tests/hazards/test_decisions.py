"""What the proof decides one way or the other, and the trip counts that it makes of it."""

from __future__ import annotations

import pytest

from pto.text import parse
from tests.judges.small_programs import loop, small
from tests.lenient import check, check_unrolled

ITEMS = "cdiv(rows - block_idx, block_num)"


def test_no_test_holds_for_a_count_that_the_loop_cannot_have() -> None:
    """``rows`` is at least 1: the event is set in front of the loop, or in its second iteration."""
    event = "event vector x V -> MTE2 id 1\n"
    body = (
        "if rows == 1:\n  vector 0 V sync | set x\n"
        + loop(
            "vector 0 V barrier\nif i == 1:\n  vector 0 V sync | set x\n", trips="rows", index="i"
        )
        + "vector 0 MTE2 sync | wait x\n"
    )
    proof = check(small(event, body))
    assert proof.ok, proof.report()
    assert check(small(event, body.replace("rows", "n"))).failing == (0,)


@pytest.mark.parametrize("before", ["", loop("vector 0 V barrier\n", trips="40", index="i")])
def test_items_of_which_nothing_is_decided_are_told(before: str) -> None:
    """Only their number is: the fourth reads what nobody wrote."""
    fourth = "if w == 3:\n  vector 0 V c = copy a\n"
    proof = check(small("", loop(before, "vector 0 V barrier\n", fourth, trips=ITEMS, index="w")))
    assert proof.message.endswith("one per work item: [0, 0, 0, 0]"), proof.report()


FLAT = """kernel flat on a2a3
param src in f32[rows, 16]
param length in i32[m]
grid m
buffer vector ub a[1] f32[8, 16] nd at 0 by 512
buffer cube l1 x[1] f32[16, 16] nz at 0 by 4096

for w, turn in 0 .. cdiv(m - block_idx, block_num) flat:
  cube 0 S n = read length[w]
  vector 0 S n = read length[w]
  cube 0 MTE2 x = load src[0:+16, :]
  for i, u in 0 .. max(n, 1):
    vector 0 V a = full 0.0
    vector 0 V barrier
"""


def test_a_core_beside_the_inner_loop_has_as_many_items_as_there_are() -> None:
    """The cube loads once for each, over what it loaded for the one before."""
    k = parse(FLAT)
    assert [check_unrolled(k, run).ok for run in ([], [1], [4], [1, 1])] == [True] * 3 + [False]
    assert check(k).failing == (0, 0)
