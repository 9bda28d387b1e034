"""Views whose elements lie apart: columns of one kept dimension, rows of a dimension declared as two."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Tensor
from pto.scalar import Index
from tests.words.columns import normals
from tests.words.word import Word


@pto.kernel(
    grid="items",
    x="f32[items, rows, 24]",
    w="bf16[32, 64]",
    picked="f32[items, rows]",
    swapped="f32[items, rows, 3]",
    out="f32[items, rows, 64]",
)
def columns(x: Tensor, w: Tensor, picked: Tensor, swapped: Tensor, out: Tensor) -> None:
    """Single columns as rows, stored as rows and as columns, block by block; and beside a product."""
    n, rows, weight = pto.program_id(0), x.shape[1], pto.load(w[:, :])

    def body(i: Index) -> None:
        here = pto.ds(i * 32, 32, valid=rows - i * 32)
        first, second = pto.load(x[n, here, 2]), pto.load(x[n, here, 17])
        pto.store(picked[n, here], first * 2.0 + second)
        pto.store(swapped[n, here, 0], second)
        pto.store(swapped[n, here, 2], first + 1.0)
        pto.store(swapped[n, here, 1:2], first.T * second.T)
        spread = pto.broadcast_to(first, (32, 32)).T
        pto.store(out[n, here, :], spread.astype("bf16") @ weight)

    pto.fori_loop(0, pto.cdiv(rows, 32), body)


def picked(x: Any, w: Any) -> dict[str, Any]:
    first, second = x[:, :, 2], x[:, :, 17]
    spread = np.repeat(first[:, :, None], 32, 2)
    return dict(
        picked=first * 2 + second,
        swapped=np.stack([second, first * second, first + 1], 2),
        out=spread @ w,
    )


@pto.kernel(
    grid="cdiv(tokens, 32)",
    x="f16[tokens, 4, 64]",
    gain="f32[4]",
    out="f16[4, tokens, 64]",
    halves="f16[tokens, 2, 2, 64]",
)
def heads(x: Tensor, gain: Tensor, out: Tensor, halves: Tensor) -> None:
    """[tokens, heads, dim] to [heads, tokens, dim], and rows that are stored among those of others."""
    first = pto.program_id(0) * 32
    here = pto.ds(first, 32, valid=x.shape[0] - first)

    def body(h: Index) -> None:
        a = (pto.load(x[here, h, :]).astype("f32") * gain[h]).astype("f16")
        pto.store(out[h, here, :], a)
        pto.store(halves[here, h % 2, h // 2, :], a)

    pto.fori_loop(0, 4, body)


def permuted(x: Any, gain: Any) -> dict[str, Any]:
    a = x * gain[None, :, None]
    halves = a.reshape(len(a), 2, 2, 64).swapaxes(1, 2)
    return dict(out=a.swapaxes(0, 1), halves=halves)


WORDS = {
    "single columns": Word(
        columns,
        lambda rng: dict(
            x=normals(rng, np.float32, 3, 75, 24),
            w=normals(rng, ml_dtypes.bfloat16, 32, 64, by=0.1),
        ),
        picked,
    ),
    "heads in front": Word(
        heads,
        lambda rng: dict(x=normals(rng, np.float16, 75, 4, 64), gain=normals(rng, np.float32, 4)),
        permuted,
    ),
}
