"""Stores that add: sums that work items, iterations and cores make together, in any order."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Tensor, Tile
from pto.scalar import Index
from tests.words.word import Word

bf16, f16, f32 = ml_dtypes.bfloat16, np.float16, np.float32


@pto.kernel(
    grid="cdiv(m, 32), cdiv(n, 64), parts",
    a="bf16[m, inner]",
    b="bf16[inner, n]",
    out="f32[m, n]",
    static=dict(parts=3),
)
def split_inner(a: Tensor, b: Tensor, out: Tensor, *, parts: int) -> None:
    """A product whose inner dimension is split between work items; the last of them has less of it."""
    inner, share = a.shape[1], pto.cdiv(pto.cdiv(a.shape[1], parts), 64)
    first = pto.program_id(2) * share
    rows = pto.ds(pto.program_id(0) * 32, 32, valid=a.shape[0] - pto.program_id(0) * 32)
    cols = pto.ds(pto.program_id(1) * 64, 64, valid=b.shape[1] - pto.program_id(1) * 64)

    def step(i: Index, acc: Tile) -> Tile:
        here = pto.ds((first + i) * 64, 64, valid=inner - (first + i) * 64)
        return acc + pto.load(a[rows, here]) @ pto.load(b[here, cols])

    steps = pto.minimum(share, pto.maximum(pto.cdiv(inner, 64) - first, 0))
    pto.store(out[rows, cols], pto.fori_loop(0, steps, step, pto.zeros((32, 64))), add=True)


def product(a: Any, b: Any, out: Any) -> dict[str, Any]:
    return {"out": out + a @ b}


def factors(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        a=rng.standard_normal((50, 300)).astype(bf16),
        b=rng.standard_normal((300, 100)).astype(bf16),
        out=rng.standard_normal((50, 100)).astype(f32),
    )


@pto.kernel(
    grid="experts",
    x="bf16[tokens, 64]",
    w="bf16[experts, 64, 64]",
    gate="f32[experts, tokens, 1]",
    blocks="i32[experts, most]",
    count="i32[experts]",
    out="f32[tokens, 64]",
)
def combined(
    x: Tensor, w: Tensor, gate: Tensor, blocks: Tensor, count: Tensor, out: Tensor
) -> None:
    """What experts make of the blocks of tokens that each has, weighed, summed up for every token."""
    e = pto.program_id(0)
    weight = pto.load(w[e, :, :])

    def block(i: Index) -> None:
        at = blocks[e, i] * 32
        here = pto.ds(at, 32, valid=x.shape[0] - at)
        made = pto.relu(pto.load(x[here, :]) @ weight)
        pto.store(out[here, :], made * pto.load(gate[e, here, :]), add=True)

    pto.fori_loop(0, count[e], block)


def mixture(x: Any, w: Any, gate: Any, blocks: Any, count: Any, out: Any) -> dict[str, Any]:
    for e, n in enumerate(count):
        for b in blocks[e, :n]:
            here = slice(b * 32, b * 32 + 32)
            out[here] += np.maximum(x[here] @ w[e], 0) * gate[e, here]
    return {"out": out}


def routed(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((120, 64)).astype(bf16),
        w=(rng.standard_normal((5, 64, 64)) / 8).astype(bf16),
        gate=rng.uniform(0, 1, (5, 120, 1)).astype(f32),
        blocks=np.int32([rng.permutation(4) for _ in range(5)]),
        count=np.int32([4, 0, 3, 1, 4]),
        out=np.zeros((120, 64), f32),
    )


@pto.kernel(
    grid="tokens",
    gradient="f16[tokens, 32, 64]",
    scale="f32[tokens]",
    row="i32[tokens]",
    sums="f16[rows, 32, 64]",
    seen="i32[rows, 32, 64]",
    narrow="bf16[rows, 32, 64]",
)
def gathered(
    gradient: Tensor, scale: Tensor, row: Tensor, sums: Tensor, seen: Tensor, narrow: Tensor
) -> None:
    """The gradients of a table of rows: tokens with the same row add to it, and count."""
    t = pto.program_id(0)
    made = pto.load(gradient[t, :, :]).astype("f32") * scale[t]
    pto.store(sums[row[t], :, :], made.astype("f16"), add=True)
    pto.store(narrow[row[t], :, :], made.astype("bf16"), add=True)
    pto.store(seen[row[t], :, :], pto.full((32, 64), 1, "i32"), add=True)


def table_gradient(
    gradient: Any, scale: Any, row: Any, sums: Any, seen: Any, narrow: Any
) -> dict[str, Any]:
    for t, at in enumerate(row):
        sums[at] += gradient[t] * scale[t]
        narrow[at] += gradient[t] * scale[t]
        seen[at] += 1
    return dict(sums=sums, seen=seen, narrow=narrow)


def repeated(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        gradient=rng.standard_normal((9, 32, 64)).astype(f16),
        scale=rng.uniform(0.5, 2, 9).astype(f32),
        row=np.int32([3, 1, 3, 3, 0, 1, 3, 0, 3]),
        sums=rng.standard_normal((5, 32, 64)).astype(f16),
        seen=rng.integers(-9, 9, (5, 32, 64)).astype(np.int32),
        narrow=np.zeros((5, 32, 64), bf16),
    )


WORDS = {
    "inner dimension split": Word(split_inner, factors, product),
    "experts combined": Word(combined, routed, mixture),
    "gradients of a table": Word(gathered, repeated, table_gradient),
}
