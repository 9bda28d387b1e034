"""Loops of a constant trip count: time and states do not grow with it, and the verdict is that of the
loop run as often as it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

import pto
from lowering.hazards.compiler import compiled
from lowering.hazards.exploration import Exploration
from lowering.schedule import schedule
from lowering.unroll import issued, shortened
from pto.ir import Kernel, Row, map_rows
from pto.text import parse, print_kernel
from tests.lenient import check

RING = """kernel t on a2a3
param src in f32[rows, 64]
grid rows
buffer vector ub b[{depth}] f32[8, 64] nd at 0 by 2048
buffer vector ub c[1] f32[8, 64] nd at 8192 by 2048
event vector b.full MTE2 -> V id {ids}
event vector b.free V -> MTE2 id {ids}
vector 0 V sync | set {free}
for i, u in 0 .. {trips}:
  vector {shift} MTE2 b[u] = load src[0:+8, :] | wait b.free[u] | set b.full[u]
  vector 0 V c = copy b[u] | wait b.full[u] | set b.free[u]
  vector 0 V barrier
vector 0 MTE2 sync | wait {free}
"""


def ring(trips: int, depth: int = 2, shift: int = 0) -> Kernel:
    slots = range(depth)
    free = " ".join(f"b.free[{k}]" for k in slots)
    ids = " ".join(map(str, slots))
    return parse(RING.format(depth=depth, ids=ids, free=free, trips=trips, shift=shift))


@pytest.mark.parametrize("trips", [5000, 100_000, 10**9])
def test_a_ring_in_a_long_loop(trips: int) -> None:
    proof = check(ring(trips))
    assert proof.ok and proof.states < 50
    late = check(ring(trips, 2, 3))  # three ahead of a ring of two
    assert not late.ok and len(late.violations) < 20


def without_one_flag(kernel: Kernel) -> Iterator[Kernel]:
    """Every kernel with one flag of one row deleted."""
    rows: list[Row] = []
    map_rows(kernel.body, lambda r: rows.append(r) or r)  # type: ignore[func-returns-value]
    for row in rows:
        for column in ("wait", "set"):
            flags = getattr(row, column)
            for k in range(len(flags)):
                new = replace(row, **{column: flags[:k] + flags[k + 1 :]})
                body = map_rows(kernel.body, lambda r, row=row, new=new: new if r is row else r)
                yield replace(kernel, body=body)


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("trips", [33, 47, 48])
def test_the_verdict_is_that_of_the_whole_run(trips: int, depth: int) -> None:
    right = ring(trips, depth, 1)
    kernels = [right, *without_one_flag(right)]
    found = [check(k).ok for k in kernels]
    whole = [Exploration(compiled(k, whole=True), 10**6).search() is None for k in kernels]
    assert found == whole and found.count(True) == 1


LAST = """kernel t on a2a3
param src in f32[rows, 64]
grid rows
buffer vector ub a[1] f32[8, 64] nd at 0 by 2048
buffer vector ub d[1] f32[8, 64] nd at 8192 by 2048
event vector l.v MTE2 -> V id 0
for i in 0 .. 100:
  if i {test}:
    vector 0 MTE2 a = load src[0:+8, :] | set l.v
vector 0 V d = copy a | wait l.v
"""


@pytest.mark.parametrize(("test", "ok"), [("== 99", True), ("== 40", True), ("== 100", False)])
def test_a_loop_that_is_right_for_its_own_count_only(test: str, ok: bool) -> None:
    assert check(parse(LAST.format(test=test))).ok == ok


def summing(steps: int) -> Kernel:
    @pto.kernel(grid="tiles", x="bf16[tiles, 32, 64]", b="bf16[64, 64]", out="f32[tiles, 32, 64]")
    def summed(x: pto.Tensor, b: pto.Tensor, out: pto.Tensor) -> None:
        i = pto.program_id(0)

        def step(j: pto.Scalar, acc: pto.Tile) -> pto.Tile:
            return pto.exp(acc - pto.row_max(acc)) + pto.load(x[i, :, :]) @ pto.load(b[:, :])

        pto.store(out[i, :, :], pto.fori_loop(0, steps, step, pto.zeros((32, 64))))

    return summed.trace()


@pytest.mark.parametrize("name", ["serial", "repair", "best"])
def test_a_schedule_does_not_depend_on_how_long_a_loop_is(name: str) -> None:
    found = {n: schedule(summing(n), name) for n in (5040, 1_000_080)}
    texts = {print_kernel(s.kernel).replace(f".. {n}", ".. n") for n, s in found.items()}
    assert len(texts) == 1
    assert all(s.proof.states < 120 for s in found.values())


@pytest.mark.parametrize("name", ["serial", "best"])
def test_a_loop_is_cut_by_whole_periods(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found or lost by running fewer steps of a long loop."""
    want = schedule(summing(200), name).kernel
    rows = {len(list(issued(want, "vector", (1,), period))) for period in (0, 6)}
    assert len(rows) == 2
    monkeypatch.setattr("lowering.unroll.shortened", lambda trips, enough, period: trips)
    assert schedule(summing(200), name).kernel == want
    assert [shortened(n, 10, 6) for n in (3, 10, 16, 17, 5000)] == [3, 10, 10, 11, 14]
