"""Test kernels of ops that one instruction does with another (``lowering/schedule/passes/fuse.py``)."""

from __future__ import annotations

from typing import Any

import numpy as np

import pto
from pto import Scalar, Tensor, Tile
from pto.scalar import Index
from tests.words.word import Arrays, Word


@pto.kernel(
    grid="cdiv(rows, 32)",
    y="f32[rows, 64]",
    a="f32[64, 64]",
    steps="i32",
    rate="f32",
    out="f32[rows, 64]",
)
def descended(y: Tensor, a: Tensor, steps: Scalar, rate: Scalar, out: Tensor) -> None:
    """Numbers that are not negative and whose product is near y: projected steps down the slope."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=y.shape[0] - m)
    want, matrix = pto.load(y[rows, :]), pto.load(a[:, :])

    def step(i: Index, s: Tile) -> Tile:
        slope = (s @ matrix.T - want) @ matrix
        return pto.relu(s - slope * rate)

    pto.store(out[rows, :], pto.fori_loop(0, steps, step, pto.zeros((32, 64))))


def nearest(y: Any, a: Any, steps: Any, rate: Any) -> dict[str, Any]:
    s = np.zeros(y.shape)
    for _ in range(int(steps)):
        s = np.maximum(s - (s @ a.T - y) @ a * rate, 0)
    return {"out": s}


def systems(rng: np.random.Generator) -> Arrays:
    a = np.abs(rng.standard_normal((64, 64))) / 8
    s = np.maximum(rng.standard_normal((75, 64)), 0)
    return dict(a=a.astype(np.float32), y=(s @ a.T).astype(np.float32), steps=4, rate=0.02)


@pto.kernel(grid="cdiv(rows, 32)", x="f16[rows, 64]", y="f16[rows, 64]", out="f16[4, rows, 64]")
def beyond(x: Tensor, y: Tensor, out: Tensor) -> None:
    """How far one is above the other, in half; where something else reads the difference; above its least of a row."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)
    a, b = pto.load(x[rows, :]), pto.load(y[rows, :])
    apart = b - a
    made = (pto.relu(a - b), pto.relu(apart), apart, pto.relu(a - pto.row_min(abs(b))))
    for k, tile in enumerate(made):
        pto.store(out[k, rows, :], tile)


def differences(x: Any, y: Any) -> dict[str, Any]:
    least = np.abs(y).min(axis=1, keepdims=True)
    made = [np.maximum(x - y, 0), np.maximum(y - x, 0), y - x, np.maximum(x - least, 0)]
    return {"out": np.stack(made)}


def halves(rng: np.random.Generator) -> Arrays:
    x, y = rng.standard_normal((2, 75, 64)).astype(np.float16)
    x[0, :4], y[0, :4] = (np.inf, -np.inf, np.nan, 60000), (1, 1, 1, -60000)
    return dict(x=x, y=y)


WORDS = {
    "steps down the slope": Word(descended, systems, nearest),
    "above another, f16": Word(beyond, halves, differences),
}
