"""Hints that say what to write instead: it works."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import pto
from lowering.execute import cases, inputs, scheduled, sequential
from lowering.schedule import schedule
from pto import Kernel, Tensor


@pto.kernel(grid="n", x="f32[n, 32, 64]", y="f32[n, 32, 64]", out="f32[n, 32, 64]")
def choose(x: Tensor, y: Tensor, out: Tensor) -> None:
    """As `where` says how to choose between two tiles; infinities stay what they are."""
    b = pto.program_id(0)
    left, right = pto.load(x[b, :, :]), pto.load(y[b, :, :])
    mask = pto.iota(1) < 5
    behind = pto.where(mask, pto.full(right.shape, -math.inf), math.inf)
    chosen = pto.maximum(pto.where(mask, left, -math.inf), pto.minimum(right, behind))
    pto.store(out[b, :, :], chosen)


@choose.case
def tiles(rng: np.random.Generator) -> dict[str, Any]:
    x, y = rng.standard_normal((2, 2, 32, 64), np.float32)
    y[0], y[1, :, ::2], x[:, :, 0], x[:, :, 1] = -np.inf, np.inf, -np.inf, np.inf
    return {"x": x, "y": y}


@choose.reference
def numpy_where(x: Any, y: Any) -> dict[str, Any]:
    return {"out": np.where(np.arange(64) < 5, x, y)}


@pto.kernel(grid="n", x="f32[n, 32, 64]", m="i32[n, 32, 64]", out="f32[n, 5, 32, 64]")
def counted(x: Tensor, m: Tensor, out: Tensor) -> None:
    """As places, scalars and integers are told: remainders, a choice by a scalar, one column, and it everywhere."""
    b = pto.program_id(0)
    tile, whole = pto.load(x[b, :, :]), pto.load(m[b, :, :])
    places = pto.zeros((32, 64), "i32") + pto.iota(1)
    pto.store(out[b, 0, :, :], pto.where(places % 2 == 0, tile, -tile))
    pto.store(out[b, 1, :, :], pto.when(b > 0, lambda y: tile, pto.zeros((32, 64))))
    pto.store(out[b, 2, :, :], pto.remainder(whole.astype("f32"), 7).astype("i32").astype("f32"))
    column = pto.row_sum(pto.where(pto.iota(1) == 5, tile, 0))
    pto.store(out[b, 3, :, :], pto.broadcast_to(column, (32, 64)))
    pto.store(out[b, 4, :, :], pto.where(pto.iota(1) == 5, -1.0, tile))


@counted.case
def counts(rng: np.random.Generator) -> dict[str, Any]:
    x = rng.standard_normal((2, 32, 64), np.float32)
    return {"x": x, "m": rng.integers(-(2**24), 2**24, (2, 32, 64)).astype(np.int32)}


@counted.reference
def in_numpy(x: Any, m: Any) -> dict[str, Any]:
    places = np.arange(64)
    made = (
        np.where(places % 2 == 0, x, -x),
        x * np.arange(2)[:, None, None],
        m % 7,
        np.broadcast_to(x[:, :, 5:6], x.shape),
        np.where(places == 5, -1.0, x),
    )
    return {"out": np.stack(made, axis=1)}


@pto.kernel(grid="n", x="f32[n, 32, 64]", s="f32[n, 64]", out="f32[n, 32, 64]")
def scaled(x: Tensor, s: Tensor, out: Tensor) -> None:
    """As the refusal to read a float says: the tensor holds it once per column."""
    b = pto.program_id(0)
    pto.store(out[b, :, :], pto.load(x[b, :, :]) * pto.load(s[b, 0:64]))


@scaled.case
def rows(rng: np.random.Generator) -> dict[str, Any]:
    s = np.repeat(rng.standard_normal((2, 1), np.float32), 64, axis=1)
    return {"x": rng.standard_normal((2, 32, 64), np.float32), "s": s}


@scaled.reference
def product(x: Any, s: Any) -> dict[str, Any]:
    return {"out": (x * s[:, None]).astype(np.float32)}


@pytest.mark.parametrize("kernel", [choose, counted, scaled], ids=lambda kernel: str(kernel.name))
def test_what_a_hint_says_works(kernel: Kernel) -> None:
    traced = kernel.trace()
    bound = inputs.bind(traced, cases.draw(kernel, traced, []))
    want = cases.expected(kernel, traced, bound)["out"]
    np.testing.assert_array_equal(sequential.run(traced, bound)["out"], want)
    np.testing.assert_array_equal(scheduled.run(schedule(traced).kernel, bound)["out"], want)
