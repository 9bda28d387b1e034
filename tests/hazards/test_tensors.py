"""Stores and loads of tensors: which regions of which work items and lanes lie apart."""

from __future__ import annotations

import pytest

import pto
from lowering.hazards.proof import HazardError
from lowering.schedule import schedule
from pto.ir import Kernel
from pto.text import parse
from tests.hazards.refuted import diverge, refuted
from tests.judges.small_programs import (
    CUBE,
    HEADER,
    OPERANDS,
    loop,
    small,
)
from tests.lenient import check, check_unrolled


def test_stores_of_other_iterations_are_disjoint() -> None:
    store = "vector 0 MTE3 out[block_idx * 16 + lane * 8:+8, i * 16:+16] = store z\n"
    start = "vector 0 V z = full 0.0 | set g\nvector 0 MTE3 sync | wait g\n"
    event, end = "event vector g V -> MTE3 id 0\n", "vector 0 S drain MTE3\n"
    narrow = event + "buffer vector ub z[1] f32[8, 16] nd at 16384 by 512\n"
    assert check(small(narrow, start + loop(store) + end)).ok
    overlapping = store.replace("i * 16:+16", "i * 8:+16")
    assert not check(small(narrow, start + loop(overlapping) + end)).ok


@pto.kernel(
    grid="n", x="f32[n, 64, 64]", y="f32[n, 64, 64]", out="f32[n, 64, 64]", static=dict(on=0)
)
def two_passes(x, y, out, *, on):
    """The first loop stores blocks of rows, the second one loads them."""
    b = pto.program_id(0)

    def first(i):
        pto.store(y[b, pto.ds(i * 16, 16), :], pto.exp(pto.load(x[b, pto.ds(i * 16, 16), :])))

    def second(i):
        here = pto.load(y[b, pto.ds(i * 16 + on, 16), :])
        pto.store(out[b, pto.ds(i * 16, 16), :], here + 1.0)

    pto.fori_loop(0, 4, first)
    pto.fori_loop(0, 3, second)


def test_lanes_of_two_passes_have_rows_of_their_own() -> None:
    """Whichever blocks these are; not of blocks that begin elsewhere."""
    assert schedule(two_passes.trace()).proof.ok
    with pytest.raises(HazardError, match="the two vector lanes may access the same elements of y"):
        schedule(two_passes.trace(on=8))


def test_work_items_of_a_grid_with_three_axes_are_disjoint() -> None:
    body = (
        "vector 0 V a = full 0.0 | set g\nvector 0 MTE3 sync | wait g\n"
        "for w in 0 .. cdiv(rows * 3 * 4 - block_idx, block_num):\n"
        "  vector 0 S item = let block_idx + w * block_num\n"
        "  vector 0 MTE3 big[item // 12, item % 3 * 16 + lane * 8:+8, item // 3 % 4 * 64:+64] = store a\n"
        "vector 0 S drain MTE3\n"
    )
    header = "event vector g V -> MTE3 id 0\n"
    text = (
        HEADER.replace("param n ", "param big          out    f32[rows, 48, 256]\nparam n ")
        + header
        + body
    )
    assert check(parse(text)).ok
    assert not check(parse(text.replace("item // 3 % 4 * 64", "item // 3 % 4 * 32"))).ok
    assert not check(parse(text.replace("big[item // 12", "big[item // 24"))).ok


def stored(grid: str, view: str, loops: tuple[str, ...] = (), extra: str = "") -> Kernel:
    """A kernel that stores one tile per work item, inside ``loops``."""
    lines = ["vector 0 S item = let block_idx + w * block_num\n", extra]
    inner = f"vector 0 MTE3 out[{view}, :] = store a\n"
    for n, trips in reversed(list(enumerate(loops))):
        inner = loop(inner, trips=trips, index=f"j{n}")
    body = loop(*lines, inner, trips=f"cdiv({grid} - block_idx, block_num)", index="w")
    start = "vector 0 V a = full 0.0 | set g\nvector 0 MTE3 sync | wait g\n"
    event, end = "event vector g V -> MTE3 id 0\n", "vector 0 S drain MTE3\n"
    return small(event, start + body + end)


@pytest.mark.parametrize(
    ("grid", "view", "loops", "right"),
    [
        ("1", "lane * 8:+8", (), True),
        ("1", "item * 16 + lane * 8:+8", (), True),
        ("1", "0:+8", (), False),  # both lanes
        ("2", "lane * 8:+8", (), False),
        ("rows", "lane * 8:+8", (), False),
        ("1", "j0 * 16 + lane * 8:+8", ("n",), True),
        ("1", "j0 * 8 + lane * 8:+8", ("n",), False),
        ("2", "j0 * 16 + lane * 8:+8", ("n",), False),
        ("4", "(j0 * 4 + item) * 16 + lane * 8:+8", ("n",), True),
        ("5", "(j0 * 4 + item) * 16 + lane * 8:+8", ("n",), False),
        ("rows", "(j0 * 4 + item) * 16 + lane * 8:+8", ("n",), False),
        ("8", "(j0 * 4 + item // 2) * 32 + item % 2 * 16 + lane * 8:+8", ("n",), True),
        ("rows", "(item * 3 + j0) * 16 + lane * 8:+8", ("3",), True),
        ("rows", "(item * 3 + j0) * 16 + lane * 8:+8", ("4",), False),
        ("rows", "(item * 6 + j0 * 2 + j1) * 16 + lane * 8:+8", ("3", "2"), True),
    ],
)
def test_work_items_of_a_constant_grid(
    grid: str, view: str, loops: tuple[str, ...], right: bool
) -> None:
    k = stored(grid, view, loops)
    if right:
        assert check(k).ok, check(k).report()
    else:
        assert not check(k).ok
        assert {v.kind for v in check(k).violations} <= {"tensor", "WAW"}


def test_a_bound_by_a_value_read_is_no_bound() -> None:
    """``3 - some`` elements are more than three where ``some`` is negative."""
    body = (
        "vector 0 V a = full 0.0 | set g\nvector 0 MTE3 sync | wait g\n"
        + loop(
            "vector 0 S some = read lens[w]\n",
            "vector 0 MTE3 out[w * 6 + lane * 3:+8<{}, :] = store a\n",
            trips="cdiv(1 - block_idx, block_num)", index="w",
        )
        + "vector 0 S drain MTE3\n"
    )  # fmt: skip
    event = "event vector g V -> MTE3 id 0\n"
    assert check(diverge(body.format("3"), event)).ok
    assert check(diverge(body.format("3 - w"), event)).ok
    refuted(diverge(body.format("3 - some"), event), "tensor", "the two vector lanes")


SHARED = HEADER.replace(
    "param n ", "param big inout f32[8, 8, 64, 64]\nparam mark in i32[8]\nparam n "
)

P_TILE = (
    "buffer vector ub p[1] f32[8, 64] nd at 16384 by 2048\nevent vector w.full V -> MTE3 id 0\n"
)

P_FULL = "vector 0 V p = full 1.0 | set w.full\nvector 0 MTE3 sync | wait w.full\n"


def test_a_core_that_lags_behind_still_meets_old_accesses() -> None:
    """The cube reads all of ``big`` before the vector core, held up by a pop, writes it."""
    declared = CUBE + P_TILE + "buffer cube l1 zl[1] f32[16, 64] nz at 32768 by 4096\n"
    start = OPERANDS + "cube 0 M acc = matmul x, y | wait acc.free | set acc.full\n" + P_FULL
    body = (
        "cube 0 MTE2 zl = load big[block_idx, i, 0:+16, :]\ncube 0 MTE2 barrier\n"
        "if i == 1:\n  vector 0 MTE2 b[0] = pop f\n"
        "vector 0 MTE3 big[block_idx, i, lane * 8:+8, :] = store p\n"
    )
    end = (
        "{}cube 0 FIX f = push acc | wait acc.full | set acc.free\ncube 0 M sync | wait acc.free\n"
        "cube 0 S drain FIX\nvector 0 S drain MTE3\n"
    )
    text = SHARED + declared + start + loop(body, trips="4", index="i")
    for trips in ("4", "40"):
        program = text.replace(".. 4:", f".. {trips}:")
        racy = parse(program + end.format("cube 0 S drain MTE2\n"))
        assert not check(racy).ok and not check_unrolled(racy, []).ok


def test_a_quotient_and_a_remainder_need_one_divisor() -> None:
    body = (
        "vector 0 S by = read mark[i]\n"
        "vector 0 MTE3 big[block_idx, i // {0}, i % {0} * 16 + lane * 8:+8, :] = store p\n"
    )
    for divisor, right in (("by", False), ("4", True)):
        text = SHARED + P_TILE + P_FULL + loop(body.format(divisor), index="i")
        proof = check(parse(text + "vector 0 S drain MTE3\n"))
        assert proof.ok == right, proof.report()
        assert right or {v.kind for v in proof.violations} == {"WAW"}, proof.report()
