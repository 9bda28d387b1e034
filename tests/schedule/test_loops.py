"""How loops are rewritten before they are scheduled: what is hoisted, what becomes one loop, what stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pto
from lowering.execute import inputs, scheduled, sequential
from lowering.schedule import options_for, schedule, stages
from lowering.schedule.passes.barriers import with_barriers
from lowering.values.equivalence import difference
from pto import ds
from pto.ir import Block, Define, Kernel, Loop, Row, all_rows
from pto.text import parse, print_kernel
from tests.axes import some
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


TRIPS: dict[str, Callable[[Any, Any], Any]] = {
    "4": lambda x, n: 4,
    "40": lambda x, n: 40,
    "rows": lambda x, n: x.shape[0],
    "pages": lambda x, n: x.shape[1],
    "a number": lambda x, n: n,
    "a test": lambda x, n: n > 1,
}


def in_each_other(outer: str, inner: str) -> pto.Kernel:
    @pto.kernel(
        grid="m", counts="i32[m] in 0 .. 4", x="f32[rows, pages, 16, 64]", out="f32[m, 16, 64]"
    )
    def sums(counts, x, out):
        b = pto.program_id(0)
        n = counts[b]

        def both(j, acc):
            def step(i, acc):
                return acc + pto.load(x[j % x.shape[0], i % x.shape[1], :, :])

            return pto.fori_loop(0, TRIPS[inner](x, n), step, acc)

        start = pto.zeros((16, 64))
        pto.store(out[b, :, :], pto.fori_loop(0, TRIPS[outer](x, n), both, start))

    return sums


FEW = [("4", "pages"), ("rows", "40"), ("pages", "rows"), ("40", "4"), ("a number", "a number")]


@pytest.mark.parametrize(
    ("outer", "inner"), some([*FEW, ("a test", "pages"), ("rows", "a test")], TRIPS, TRIPS)
)
def test_loops_of_every_length_in_each_other(outer: str, inner: str) -> None:
    """One loop of both, of which the value check knows the iterations of each."""
    kernel = in_each_other(outer, inner).trace()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 16, 64)).astype(np.float32)
    arrays = {"counts": np.array([3, 0, 1], np.int32), "x": x}
    want = sequential.run(kernel, inputs.bind(kernel, arrays))["out"]
    made = schedule(kernel).kernel
    assert np.array_equal(scheduled.run(made, inputs.bind(made, arrays))["out"], want)


def test_iterations_that_are_mixed_up_are_other_values() -> None:
    made = print_kernel(schedule(in_each_other("rows", "pages").trace()).kernel)
    assert made.count("// pages % rows") == 1
    wrong = parse(made.replace("// pages % rows", "% pages % rows"))
    right = behind(in_each_other("rows", "pages").trace(), "persist")
    assert difference(right, parse(made)) is None and difference(right, wrong)


@pto.kernel(
    grid="n", x="f32[n, heads, pages, 16, 64]", t="i32[pages]", out="f32[n, 16, 64]",
    some="f32[n, heads, pages, 16, 64] inout",
)  # fmt: skip
def pages_of_heads(x, t, out, some):
    """What one loop has of a choice is done as what it has beside it."""
    b = pto.program_id(0)

    def head(h, acc):
        def page(i, acc):
            tile = pto.load(x[b, h, i, :, :])
            pto.when(t[i] > 0, lambda: pto.store(some[b, h, i, :, :], tile))
            return pto.when(t[i] > 1, lambda acc: acc + tile, acc)

        return pto.fori_loop(0, x.shape[2], page, acc)

    pto.store(out[b, :, :], pto.fori_loop(0, x.shape[1], head, pto.zeros((16, 64))))


def test_choices_in_loops_that_became_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, (2, 3, 4, 16, 64)).astype(np.float32)  # sums of which are exact
    arrays = {"x": x, "t": np.array([0, 2, 1, 2], np.int32), "some": np.zeros_like(x)}
    made = schedule(pages_of_heads.trace()).kernel
    assert nest(behind(pages_of_heads.trace(), "unnest").body) == [[[[], []]]]
    found = scheduled.run(made, inputs.bind(made, arrays))
    assert np.array_equal(found["some"], np.where(arrays["t"].reshape(4, 1, 1) > 0, x, 0))
    assert np.array_equal(found["out"], x[:, :, [1, 3]].sum((1, 2)))


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


@pytest.mark.parametrize("loops", ["unnested", "kept"])
@pytest.mark.parametrize("choices", [False, True])
def test_a_barrier_serves_any_loop_behind_those_that_are_empty(choices: bool, loops: str) -> None:
    """Four in a row read what the vector core has just made: the last one with none in front of it, too."""

    @pto.kernel(grid="n", x="f32[n, 16, 64]", counts="i32[n, 4]", out="f32[n, 4, most, 16, 64]")
    def in_a_row(x, counts, out):
        b = pto.program_id(0)
        tile = pto.exp(pto.load(x[b, :, :]))
        for k in range(4):

            def stored(i: Any = 0, k: int = k) -> None:
                pto.store(out[b, k, i, :, :], tile * 2.0)

            if choices:
                pto.when(counts[b, k] > 0, stored)
            else:
                pto.fori_loop(0, counts[b, k], stored)

    assert schedule(in_a_row.trace(), options_for(loops=loops)).proof.ok
