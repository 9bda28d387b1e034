"""How loops are rewritten before they are scheduled: what is hoisted, what becomes one loop, what stays."""

from __future__ import annotations

from typing import Any

import pytest

import pto
from lowering.schedule import options_for, stages
from lowering.schedule.passes.barriers import with_barriers
from pto import ds
from pto.ir import Block, Define, Kernel, Loop, Row, all_rows
from tests.schedule.forms import FORMS


@pto.kernel(
    grid="batch",
    table="i32[batch]",
    gain="f32[64]",
    x="f32[batch, 64, 64]",
    y="f32[batch, 64, 64]",
    out="f32[batch, 64, 64]",
)
def loads(table, gain, x, y, out):
    """Loads in a loop that may be empty: for all items, of the item, by a length, of the iteration, of what is
    stored."""
    b = pto.program_id(0)
    n = table[b]

    def step(i, acc):
        of_all, of_item = pto.load(gain[:]), pto.load(x[b, :, :])
        by_length, of_step = pto.load(y[n - 1, :, :]), pto.load(y[i, :, :])
        return acc + of_item * of_all + by_length + of_step

    pto.store(out[b, :, :], pto.fori_loop(0, n, step, pto.zeros((64, 64))))


@pto.kernel(grid="m // 64", static=dict(inner=4), n="i32", x="f32[m, 4096]", out="f32[m, 64]")
def nested(n, x, out, *, inner):
    """A sum over blocks of columns by two loops; ``n`` is whatever the call says, a negative number too."""
    rows = ds(pto.program_id(0) * 64, 64)

    def outer(j, acc):
        def step(i, acc):
            return acc + pto.load(x[rows, ds((j * inner + i) * 64, 64)])

        return pto.fori_loop(0, inner, step, acc)

    pto.store(out[rows, :], pto.fori_loop(0, n, outer, pto.zeros((64, 64))))


@pto.kernel(grid="m // 64", static=dict(parts=3, n=2), x="f32[m, 4096]", out="f32[m, 64]")
def beside(x, out, *, parts, n):
    """A loop in a loop with a row behind it: they are no single loop."""
    rows = ds(pto.program_id(0) * 64, 64)

    def outer(j, acc):
        def step(i, part):
            return part + pto.load(x[rows, ds((j * parts + i) * 64, 64)])

        return acc * 0.5 + pto.fori_loop(0, parts, step, pto.zeros((64, 64)))

    pto.store(out[rows, :], pto.fori_loop(0, n, outer, pto.zeros((64, 64))))


def behind(kernel: Kernel, name: str) -> Kernel:
    """The program behind a pass."""
    return next(k for stage, k in stages(kernel, options_for()) if stage == name)


def depths(block: Block, depth: int = 0) -> dict[str, int]:
    """By the tile of each load how many loops are around it."""
    found: dict[str, int] = {}
    for node in block:
        if isinstance(node, Loop):
            found |= depths(node.body, depth + 1)
        elif isinstance(node, Row) and node.op == "load":
            found[node.result(Define).name] = depth
    return found


def nest(block: Block) -> list[Any]:
    """The loops of a block, each as those inside."""
    return [nest(n.body) for n in block if isinstance(n, Loop)]


def test_a_load_goes_as_far_in_front_as_nothing_changes_it() -> None:
    found = depths(behind(loads.trace(), "hoist").body)
    assert found == {"of_all": 0, "of_item": 1, "by_length": 2, "of_step": 2}


def test_a_loop_whose_body_is_a_loop_is_one_with_it() -> None:
    """Not if its trip count may be negative, as that of ``nested``: so might be their product."""
    gemm = FORMS["gemm, two levels"].trace()
    assert nest(behind(gemm, "persist").body) == [[[[]]]]
    assert nest(behind(gemm, "unnest").body) == [[[]]]
    assert nest(behind(nested.trace(inner=40), "unnest").body) == [[[[]]]]


@pytest.mark.parametrize(("parts", "left"), [(3, []), (16, []), (17, [[]])])
def test_a_short_loop_in_a_loop_is_written_out(parts: int, left: list[Any]) -> None:
    made = behind(beside.trace(parts=parts), "unnest").body
    assert nest(made) == [[left]]
    if not left:
        assert list(depths(made).values()) == [2] * parts


OVER = """\
kernel over on a2a3
param x   in  f32[64, 64]
param out out f32[64, 64]
grid 1
buffer vector ub a[1] f32[32, 64] nd at 0 by 8192
buffer vector ub b[1] f32[32, 64] nd at AT by 8192

vector 0 V a = full 1.0
vector 0 V b = full 2.0
"""


@pytest.mark.parametrize(("at", "barriers"), [(0, 1), (4096, 1), (8192, 0)])
def test_rows_of_v_on_the_same_bytes_have_a_barrier_between(at: int, barriers: int) -> None:
    """Whatever the buffers are called: those of loops one after the other may lie over each other."""
    made = with_barriers(pto.parse(OVER.replace("AT", str(at))))
    assert sum(r.op == "barrier" for r in all_rows(made.body)) == barriers
