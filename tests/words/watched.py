"""Test kernels that print and check of themselves; their numbers are exact, so that every executor says the same."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Scalar, Tensor, Tile
from tests.words.word import Arrays, Word


@pto.kernel(
    grid="cdiv(rows, 32)", x="f16[rows, k]", y="f16[k, 64]", bias="bf16[64]", out="f32[rows, 64]"
)
def layer(x: Tensor, y: Tensor, bias: Tensor, out: Tensor) -> None:
    """Products that are positive, both cores, loops that end anywhere; numbers on both lanes, tiles on each."""
    r = pto.program_id(0) * 32
    here = pto.ds(r, 32, valid=x.shape[0] - r)
    b = pto.load(bias[:])
    pto.debug_print("100% of {}: {{bias}} {}", r, b)

    def step(i: Scalar, total: Tile) -> Tile:
        cols = pto.ds(i * 64, 64, valid=x.shape[1] - i * 64)
        part = pto.load(x[here, cols]) @ pto.load(y[cols, :])
        pto.debug_check(part >= 0, "a positive product")
        pto.debug_print("of {}: up to {}", i + 1, pto.max(part))
        return total + pto.relu(part)

    n = pto.cdiv(x.shape[1], 64)
    total = pto.fori_loop(0, n, step, pto.zeros((32, 64)))
    pto.debug_print("{} of {}\u00e9", total[:, 0:8], pto.sum(total))
    pto.debug_check(n > r, "more steps than rows")
    pto.store(out[here, :], total + b.astype("f32"))


@pto.kernel(
    grid="2, batch", x="i32[2, batch, rows, 64]", lens="i32[batch]", out="i32[2, batch, 64]"
)
def rows(x: Tensor, lens: Tensor, out: Tensor) -> None:
    """Integers, two axes, loops in one another, work that is left out."""
    a, b = pto.program_id(0), pto.program_id(1)
    count = lens[b]

    def block(i: Scalar, most: Tile) -> Tile:
        def line(j: Scalar, most: Tile) -> Tile:
            at = i * 4 + j
            one = pto.load(x[a, b, pto.ds(at, 1, valid=count - at), :])
            pto.debug_print("row {} of {}: {}", at, count, pto.row_max(one))
            return pto.maximum(most, one)

        return pto.fori_loop(0, 4, line, most)

    most = pto.fori_loop(0, pto.cdiv(count, 4), block, pto.full((1, 64), -1000, "i32"))
    pto.when(count > 4, lambda: pto.debug_check(most > 0, "nothing is negative"))
    pto.store(out[a, b, :], most)


def of_layer(x: Any, y: Any, bias: Any) -> dict[str, Any]:
    parts = (x[:, k : k + 64] @ y[k : k + 64] for k in range(0, x.shape[1], 64))
    return {"out": sum(np.maximum(part, 0) for part in parts) + bias}


def of_rows(x: Any, lens: Any) -> dict[str, Any]:
    """Behind the last row there are zeros, up to the end of a block."""
    there = np.arange(x.shape[2])[:, None] < lens[:, None, None]
    most = np.where(there, x, -1000).max(axis=2)
    return {"out": np.maximum(most, np.where(lens % 4 > 0, 0, -1000)[:, None])}


def some_layer(rng: np.random.Generator) -> Arrays:
    x, y = (rng.integers(-3, 8, shape).astype(np.float16) for shape in ((40, 100), (100, 64)))
    return dict(x=x, y=y, bias=np.arange(64).astype(ml_dtypes.bfloat16))


def some_rows(rng: np.random.Generator) -> Arrays:
    x = rng.integers(-3, 8, (2, 3, 9, 64)).astype(np.int32)
    x[1, 2, :, 5] = x[0, 0, :, 63] = -2
    return dict(x=x, lens=np.array([9, 0, 5], np.int32))


WORDS = {
    "rows that speak": Word(rows, some_rows, of_rows, watched=True),
    "a layer that speaks": Word(layer, some_layer, of_layer, watched=True),
}
