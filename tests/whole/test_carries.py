"""Kernels of ordinary shapes: where carried tiles come from, who reads them, which loops are empty."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pto
from lowering.execute import inputs, scheduled, sequential
from lowering.schedule import NAMED, options_for, schedule
from pto import Scalar, Tensor, Tile

F32 = "f32[n, 32, 32]"


@pto.kernel(grid="n", x=F32, lens="i32[n]", out=F32)
def result_read_again(x: Tensor, lens: Tensor, out: Tensor) -> None:
    """What an iteration yields is read by a later row of the same iteration."""
    item = pto.program_id(0)

    def body(i: Scalar, carry: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        a, total = carry
        a = a * 0.5
        return a, total + pto.exp(a)

    start = pto.load(x[item, :, :]), pto.zeros((32, 32))
    _, total = pto.fori_loop(0, lens[item], body, start)
    pto.store(out[item, :, :], total)


@pto.kernel(grid="n", x=F32, lens="i32[n]", out=F32)
def start_from_outside(x: Tensor, lens: Tensor, out: Tensor) -> None:
    """Every iteration of the outer loop starts the inner one from the same tile."""
    item = pto.program_id(0)
    start = pto.load(x[item, :, :]) * 0.5

    def outer(i: Scalar, total: Tile) -> Tile:
        return total + pto.fori_loop(0, lens[item], lambda j, c: c * 0.5, start)

    pto.store(out[item, :, :], pto.fori_loop(0, lens[item], outer, pto.zeros((32, 32))))


@pto.kernel(grid="n", x=F32, lens="i32[n]", out=F32)
def carry_read_inside(x: Tensor, lens: Tensor, out: Tensor) -> None:
    """A loop inside reads the carry of the loop around it."""
    item = pto.program_id(0)
    start = pto.load(x[item, :, :])

    def outer(i: Scalar, total: Tile) -> Tile:
        inner = pto.fori_loop(0, lens[item], lambda j, c: c * 0.5 + total, start)
        return total * 0.5 + inner * 0.1

    pto.store(out[item, :, :], pto.fori_loop(0, lens[item], outer, start * 2.0))


@pto.kernel(grid="n", x=F32, w="bf16[pages, 32, 32]", out=F32)
def cube_beside_the_loop(x: Tensor, w: Tensor, out: Tensor) -> None:
    """The cube has nothing to do in the loop."""
    item = pto.program_id(0)
    y = pto.load(x[item, :, :]).astype("bf16") @ pto.load(w[0, :, :])
    pto.store(out[item, :, :], pto.fori_loop(0, 2, lambda j, c: c * 0.5, y))


@pto.kernel(grid="n", x=F32, lens="i32[n]", more="i32[n]", out=F32, log="f32[n, 8, 32, 32]")
def one_loop_empty(x: Tensor, lens: Tensor, more: Tensor, out: Tensor, log: Tensor) -> None:
    """Two loops of an item, each may be empty where the other is not."""
    item = pto.program_id(0)
    start = pto.exp(pto.exp(pto.load(x[item, :, :]) * 0.1)), pto.full((32, 32), 1.0)
    b, a = pto.fori_loop(0, lens[item], lambda j, c: (c[0] * 0.5, c[1] * 0.25), start)

    def body(i: Scalar) -> None:
        pto.store(log[item, i, :, :], pto.exp(b))

    pto.fori_loop(0, more[item], body)
    pto.store(out[item, :, :], a)


@pto.kernel(grid="n", x=F32, table="i32[n, k]", lens="i32[n]", out=F32)
def read_behind(x: Tensor, table: Tensor, lens: Tensor, out: Tensor) -> None:
    """A scalar is read, and an index computed, behind the loop."""
    item = pto.program_id(0)

    def body(i: Scalar, total: Tile) -> Tile:
        return total * 0.5 + pto.load(x[i, :, :])

    total = pto.fori_loop(0, lens[item], body, pto.zeros((32, 32)))
    pto.store(out[item, :, :], total + pto.load(x[table[item, 3] % 5, :, :]))


def halved_and_summed(x: Tensor, w: Tensor, lens: Tensor) -> tuple[Tile, Tile]:
    """What the first stage yields is read by the last one, when the next iteration has begun."""
    item = pto.program_id(0)
    tile = pto.load(x[item, :, :])

    def body(i: Scalar, carry: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        a, total = carry
        product = a.astype("bf16") @ pto.load(w[0, :, :])
        a = a * 0.5
        return a, total + product * a

    a, total = pto.fori_loop(0, lens[item], body, (tile, pto.exp(tile)))
    return a, total


@pto.kernel(grid="n", x=F32, w="bf16[pages, 32, 32]", lens="i32[n]", out=F32)
def result_read_late(x: Tensor, w: Tensor, lens: Tensor, out: Tensor) -> None:
    _, total = halved_and_summed(x, w, lens)
    pto.store(out[pto.program_id(0), :, :], total)


@pto.kernel(grid="n", x=F32, w="bf16[pages, 32, 32]", lens="i32[n]", out=F32)
def result_read_late_and_behind(x: Tensor, w: Tensor, lens: Tensor, out: Tensor) -> None:
    a, total = halved_and_summed(x, w, lens)
    pto.store(out[pto.program_id(0), :, :], total - a)


KERNELS = (
    result_read_late,
    result_read_late_and_behind,
    result_read_again,
    start_from_outside,
    carry_read_inside,
    cube_beside_the_loop,
    one_loop_empty,
    read_behind,
)


@pytest.mark.parametrize("plan", [*NAMED, "lookahead 1"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_the_bits_of_the_traced_kernel(kernel: pto.Kernel, plan: str) -> None:
    traced = kernel.trace()
    rng = np.random.default_rng(0)
    drawn: dict[str, Any] = {
        "x": rng.uniform(-1, 1, (5, 32, 32)).astype(np.float32),
        "w": rng.uniform(-1, 1, (1, 32, 32)).astype(ml_dtypes.bfloat16),
        "lens": np.array([2, 0, 1, 3, 1], np.int32),
        "more": np.array([0, 2, 3, 0, 1], np.int32),
        "table": rng.integers(0, 9, (5, 4)).astype(np.int32),
    }
    arrays = {p.name: drawn[p.name] for p in traced.params if p.direction == "in"}
    options = options_for(plan) if plan in NAMED else options_for(lookahead=1)
    k = schedule(traced, options).kernel
    want = sequential.run(traced, inputs.bind(traced, arrays))
    got = scheduled.run(k, inputs.bind(k, arrays), block_num=2)
    for name, array in want.items():
        assert got[name].tobytes() == array.tobytes(), name
