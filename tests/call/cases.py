"""The arguments of a call of each shipped kernel, and small kernels that are called in other ways."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import pto
from lowering.execute import cases, judge, sequential
from lowering.execute.inputs import bind
from pto import Scalar, Tensor
from pto.kernels import SHIPPED


@cache
def called(name: str) -> tuple[dict[str, Any], Any]:
    """(inputs by name, what the traced program makes of them)."""
    kernel = SHIPPED[name]
    traced = kernel.trace()
    bound = bind(traced, cases.draw(kernel, traced, []))
    inputs = {n: a for n, a in bound.arrays.items() if bound.directions[n] == "in"}
    (out,) = sequential.run(traced, bound).values()
    return {**inputs, **bound.scalars}, out


def judged(name: str, out: Any) -> bool:
    """Whether ``out`` lies within the derived limits around what the traced program makes."""
    kernel = SHIPPED[name]
    traced = kernel.trace()
    bound = bind(traced, cases.draw(kernel, traced, []))
    wanted = judge.expected(traced, bound, None, judge.unwritten(traced, bound))
    (found,) = judge.compare({e.name: np.asarray(out) for e in wanted}, wanted)
    return found.ok


@pto.kernel(
    grid="cdiv(rows, tile)",
    x="f32[rows, cols]",
    total="f32[rows, 1]",
    out="f32[rows, cols]",
    factor="f32",
    static=dict(tile=32, cols=128),
)
def scaled(x: Tensor, total: Tensor, out: Tensor, factor: Scalar, *, tile: int) -> None:
    """Every row times ``factor``, and its sum; ``total`` stands in front of ``out``."""
    first = pto.program_id(0) * tile
    here = pto.ds(first, tile, valid=x.shape[0] - first)
    y = pto.load(x[here, :]) * factor
    pto.store(total[here, :], pto.row_sum(y))
    pto.store(out[here, :], y)


@pto.kernel(grid="n", new="f32[n, 16, 64]", cache="f32[pages, 16, 64]", first="i32")
def cached(new: Tensor, cache: Tensor, *, first: Scalar) -> None:
    """``cache[first + i] = new[i]``; other pages stay what they were."""
    i = pto.program_id(0)
    pto.store(cache[first + i, :, :], pto.load(new[i, :, :]))


@pto.kernel(grid="n", x="f32[n, 16, 64]", row="i32[n]", sums="f32[rows, 16, 64]")
def summed(x: Tensor, row: Tensor, sums: Tensor) -> None:
    """``sums[row[i]] += 2 * x[i]``."""
    i = pto.program_id(0)
    pto.store(sums[row[i], :, :], pto.load(x[i, :, :]) * 2.0, add=True)


@summed.backward
def summed_backward(row: Any, d_sums: Any) -> dict[str, Any]:
    return {"x": 2 * d_sums[row], "sums": d_sums}


def terms() -> tuple[Any, Any, Any]:
    """Small integers, whose sums are exact; the rows of the terms; what the sums start from."""
    rng = np.random.default_rng(3)
    x, start = (rng.integers(-99, 99, (n, 16, 64)).astype(np.float32) for n in (6, 4))
    return x, np.int32([2, 0, 2, 2, 1, 0]), start


def sums(x: Any, row: Any, start: Any) -> Any:
    """What ``summed`` gives."""
    found = start.copy()
    np.add.at(found, row, 2 * x)
    return found


@pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, 128]", out="f32[rows, 128]", factor="f32")
def times(x: Tensor, out: Tensor, *, factor: Scalar) -> None:
    """``x * factor``."""
    first = pto.program_id(0) * 32
    here = pto.ds(first, 32, valid=x.shape[0] - first)
    pto.store(out[here, :], pto.load(x[here, :]) * factor)


@times.backward
def times_backward(x: Any, factor: Any, d_out: Any) -> dict[str, Any]:
    return {"x": times(d_out, factor=factor), "factor": (x * d_out).sum()}


def rows(count: int = 100) -> Any:
    """Rows of 128 numbers."""
    return np.random.default_rng(7).standard_normal((count, 128), np.float32)
