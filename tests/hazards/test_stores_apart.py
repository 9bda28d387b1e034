"""Stores of work items that lie apart are proven to; what is only not shown is "not proven", with what
would have to be known, and what surely goes wrong has "failed"."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import pto
from lowering.hazards.proof import HazardError, Proof
from lowering.schedule import schedule
from pto.ir import Kernel
from pto.text import parse
from tests.lenient import check

TYPES = {"a": "f32[1024, 1024]", "table": "i32[tiles]", "out": "f32[1024, 1024]"}


Where = Callable[..., tuple[pto.Scalar, pto.Scalar]]
"""(pids.., i, table) -> which block: row and column."""


def kernel(grid: str, where: Where, trips: int = 1) -> Kernel:
    """A kernel that stores a block of 16 by 64 at ``where(pids.., i, table)``, in blocks."""

    @pto.kernel(grid=grid, **TYPES)
    def blocks(a: pto.Tensor, table: pto.Tensor, out: pto.Tensor) -> None:
        ids = [pto.program_id(k) for k in range(len(grid.split(",")))]

        def one(i: pto.Scalar) -> None:
            row, col = where(*ids, i, table)
            view = pto.ds(row * 16, 16), pto.ds(col * 64, 64)
            pto.store(out[view], pto.load(a[view]) * 2.0)

        pto.fori_loop(0, trips, one)

    return blocks.trace()


RIGHT = {
    "rows of blocks": ("1024", lambda p, i, t: (p // 16, p % 16)),
    "columns of blocks": ("1024", lambda p, i, t: (p % 64, p // 64)),
    "grouped": ("1024", lambda p, i, t: (p // 128 * 8 + p % 128 % 8, p % 128 // 8)),
    "backwards": ("1024", lambda p, i, t: (63 - p % 64, 15 - p // 64)),
    "every second row backwards": ("64, 16", lambda p, q, i, t: (p, q + p % 2 * (15 - 2 * q))),
    "every second pair": ("64, 16", lambda p, q, i, t: (p, q + p // 2 % 2 * (15 - 2 * q))),
    "two for each item": ("512", lambda p, i, t: ((p * 2 + i) // 16, (p * 2 + i) % 16), 2),
}


@pytest.mark.parametrize("what", RIGHT)
def test_blocks_that_lie_apart(what: str) -> None:
    grid, where, *trips = RIGHT[what]
    assert schedule(kernel(grid, where, *trips)).proof.ok


def failed(traced: Kernel) -> Proof:
    with pytest.raises(HazardError) as caught:
        schedule(traced)
    return caught.value.proof


def test_a_place_from_a_table_is_not_proven() -> None:
    proof = failed(kernel("tiles", lambda p, i, t: (t[p], 0)))
    assert proof.message == "blocks: not proven; nothing is known to go wrong"
    (violation,) = proof.violations
    assert violation.open and violation.text == (
        "two hardware blocks may access the same elements of out, and nothing orders them; not shown: "
        "that 'row * 16' moves by 16 or more (it comes from table, whose entries can be anything: "
        "'distinct' behind its type states that no two are equal)"
    )


RACE = """kernel t on a2a3
param src in f32[rows, 64]
param out out f32[rows, 64]
param n scalar i32
grid {grid}
buffer vector ub a[1] f32[8, 64] nd at 0 by 2048
event vector a.full MTE2 -> MTE3 id 0
event vector a.free MTE3 -> MTE2 id 0
vector 0 MTE3 sync | set a.free
for w in 0 .. cdiv({grid} - block_idx, block_num):
  vector 0 MTE2 a = load src[0:+8, :] | wait a.free | set a.full
  vector 0 MTE3 out[{row}:+8, :] = store a | wait a.full | set a.free
vector 0 MTE2 sync | wait a.free
vector 0 S drain MTE3
"""


@pytest.mark.parametrize(
    ("row", "verdict", "text"),
    [
        ("lane * 8", "failed; no run of it is valid", "two hardware blocks access the same"),
        ("n + lane * 8", "failed; no run of it is valid", "two hardware blocks access the same"),
        ("(block_idx + w * block_num) * 16", "failed; no run of it is valid", "the two vector lanes access"),
        ("w * 16 + lane * 8", "not proven; nothing is known", "not shown: that 'w * 16' moves by 16 or more"),
        ("(block_idx + w * block_num) * 8 + lane * 8", "not proven", "moves by 16 or more"),
    ],
)  # fmt: skip
def test_what_goes_wrong_and_what_is_not_shown(row: str, verdict: str, text: str) -> None:
    proof = check(parse(RACE.format(row=row, grid="rows")))
    assert verdict in proof.message and text in proof.violations[0].text
    assert proof.violations[0].open == verdict.startswith("not")


def test_one_item_is_alone() -> None:
    assert check(parse(RACE.format(row="lane * 8", grid="1"))).ok
