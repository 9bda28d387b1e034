"""Numbers that steer a kernel: floats read from tensors."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Tensor, Tile
from pto.scalar import Index
from tests.words.word import Word


@pto.kernel(
    grid="cdiv(tokens, 32)",
    static=dict(experts=5),
    x="bf16[tokens, 64]",
    weights="bf16[experts, 64, 128]",
    scales="f32[experts]",
    gates="f32[blocks, experts]",
    out="f32[tokens, 128]",
)
def experts(x: Tensor, weights: Tensor, scales: Tensor, gates: Tensor, out: Tensor) -> None:
    """The sum of what all experts make, each by its scale and by a gate for every block of tokens."""
    block = pto.program_id(0)
    rows = pto.ds(block * 32, 32, valid=x.shape[0] - block * 32)
    a = pto.load(x[rows, :])

    def body(e: Index, acc: Tile) -> Tile:
        made = a @ pto.load(weights[e, :, :])
        return acc + pto.relu(made) * (scales[e] * gates[block, e])

    made = pto.fori_loop(0, weights.shape[0], body, pto.zeros((32, 128)))
    pto.store(out[rows, :], made * pto.maximum(scales[0], 0.5))


def mixed(x: Any, weights: Any, scales: Any, gates: Any) -> dict[str, Any]:
    gate = np.repeat(gates, 32, axis=0)[: len(x)]
    made = np.einsum("ti,eio->teo", x, weights)
    made = np.maximum(made, 0) * (scales * gate)[:, :, None]
    return {"out": made.sum(axis=1) * max(scales[0], 0.5)}


def gated(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((75, 64)).astype(ml_dtypes.bfloat16),
        weights=(rng.standard_normal((5, 64, 128)) * 0.1).astype(ml_dtypes.bfloat16),
        scales=rng.uniform(0.25, 2, 5).astype(np.float32),
        gates=rng.uniform(0, 1, (3, 5)).astype(np.float32),
    )


@pto.kernel(
    grid="heads, cdiv(rows, 32)",
    s="f32[heads, rows, 64]",
    slopes="f32[heads]",
    shift="i32[heads]",
    out="f32[heads, rows, 64]",
)
def sloped(s: Tensor, slopes: Tensor, shift: Tensor, out: Tensor) -> None:
    """A bias by the distance, of a slope and a shift for every head; below its slope an element is dropped."""
    head, first = pto.program_id(0), pto.program_id(1) * 32
    rows = pto.ds(first, 32, valid=s.shape[1] - first)
    slope, back = slopes[head], shift[head]
    x = pto.load(s[head, rows, :])
    far = pto.zeros((32, 64)) + (pto.iota(1) - pto.iota(0) - first - back)
    kept = pto.where(x < slope, 0.0, x) + far * slope
    pto.store(out[head, rows, :], pto.where(x == slope, slope, kept))


def slope(s: Any, slopes: Any, shift: Any) -> dict[str, Any]:
    i, j = np.indices(s.shape[1:])
    each = slopes[:, None, None]
    kept = np.where(s < each, 0, s) + (j - i - shift[:, None, None]) * each
    return {"out": np.where(s == each, each, kept)}


def slopes(rng: np.random.Generator) -> dict[str, Any]:
    s = rng.standard_normal((3, 50, 64)).astype(np.float32)
    steep = np.float32([0.5, 0.25, 0.125])
    s[:, ::7, 3] = steep[:, None]
    return dict(s=s, slopes=steep, shift=np.int32([0, 3, -5]))


WORDS = {
    "experts by read scales": Word(experts, gated, mixed),
    "slopes of heads": Word(sloped, slopes, slope),
}
