"""Transposes: of either operand of a product, and of tiles of the vector core."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Tensor, Tile
from pto.scalar import Index
from tests.words.columns import normals
from tests.words.word import Word

# ------------------------------------------------------------------------------ operands of products


@pto.kernel(grid="items", x="bf16[items, rows, 64]", out="f32[items, 64, 64]")
def gram(x: Tensor, out: Tensor) -> None:
    """Products of all pairs of columns: one loaded tile is both operands."""
    n, rows = pto.program_id(0), x.shape[1]

    def add(i: Index, total: Tile) -> Tile:
        block = pto.load(x[n, pto.ds(i * 48, 48, valid=rows - i * 48), :])
        return total + block.T @ block

    pto.store(out[n, :, :], pto.fori_loop(0, pto.cdiv(rows, 48), add, pto.zeros((64, 64))))


def pairs(x: Any) -> dict[str, Any]:
    return dict(out=x.swapaxes(1, 2) @ x)


@pto.kernel(
    grid="heads",
    q="f16[heads, rows, 64]",
    d_out="f16[heads, rows, 64]",
    k="f16[heads, 32, 64]",
    v="f16[heads, 32, 64]",
    d_q="f32[heads, rows, 64]",
    d_k="f32[heads, 32, 64]",
    d_v="f32[heads, 32, 64]",
)
def attention_gradient(
    q: Tensor, d_out: Tensor, k: Tensor, v: Tensor, d_q: Tensor, d_k: Tensor, d_v: Tensor
) -> None:
    """Of softmax(q k') v for 32 keys: what the vector core makes of the scores is multiplied both ways."""
    h, rows = pto.program_id(0), q.shape[1]
    keys, values = pto.load(k[h, :, :]), pto.load(v[h, :, :])

    def body(i: Index, sums: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        of_keys, of_values = sums
        here = pto.ds(i * 32, 32, valid=rows - i * 32)
        query, outer = pto.load(q[h, here, :]), pto.load(d_out[h, here, :])
        p = pto.exp(query @ keys.T * 0.125)
        p = p / pto.row_sum(p)
        d_p = outer @ values.T
        d_s = (p * (d_p - pto.row_sum(p * d_p)) * 0.125).astype("f16")
        pto.store(d_q[h, here, :], d_s @ keys)
        return of_keys + d_s.T @ query, of_values + p.astype("f16").T @ outer

    start = pto.zeros((32, 64)), pto.zeros((32, 64))
    of_keys, of_values = pto.fori_loop(0, pto.cdiv(rows, 32), body, start)
    pto.store(d_k[h, :, :], of_keys)
    pto.store(d_v[h, :, :], of_values)


def gradient(q: Any, d_out: Any, k: Any, v: Any) -> dict[str, Any]:
    p = np.exp(q @ k.swapaxes(1, 2) * 0.125)
    p = p / p.sum(2, keepdims=True)
    d_p = d_out @ v.swapaxes(1, 2)
    d_s = p * (d_p - (p * d_p).sum(2, keepdims=True)) * 0.125
    return dict(d_q=d_s @ k, d_k=d_s.swapaxes(1, 2) @ q, d_v=p.swapaxes(1, 2) @ d_out)


@pto.kernel(
    static=dict(inner=512),
    grid="1",
    a="f16[inner, 160]",
    b="f16[192, inner]",
    out="f32[160, 192]",
    sums="f16[64, 64]",
)
def turned_both(a: Tensor, b: Tensor, out: Tensor, sums: Tensor) -> None:
    """Both operands transposed, of an inner size that L0A has no room for."""
    x, y = pto.load(a[:, :]), pto.load(b[:, :])
    pto.store(out[:, :], x.T @ y.T)
    first = x[0:64, 0:64].T @ y[0:64, 0:64].T
    pto.store(sums[:, :], (first + x.T[64:128, 64:128] @ y.T[64:128, 64:128]).astype("f16"))


def both(a: Any, b: Any) -> dict[str, Any]:
    return dict(
        out=a.T @ b.T,
        sums=a[:64, :64].T @ b[:64, :64].T + a[64:128, 64:128].T @ b[64:128, 64:128].T,
    )


@pto.kernel(grid="n", x="i8[n, 64, 32]", y="i8[n, 64, 64]", out="i32[n, 32, 64]")
def turned_bytes(x: Tensor, y: Tensor, out: Tensor) -> None:
    """A transposed left operand of bytes, whose boxes are turned two at a time."""
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.load(x[n, :, :]).T @ pto.load(y[n, :, :]))


# --------------------------------------------------------------------------- of the vector core


@pto.kernel(
    grid="n, cdiv(rows, 64)",
    x="f32[n, rows, cols]",
    out="f32[n, cols, rows]",
    halves="f16[n, cols, rows]",
)
def turned_matrix(x: Tensor, out: Tensor, halves: Tensor) -> None:
    """A matrix, block by block of 64 rows and 48 columns; the last ones are ragged."""
    n, first = pto.program_id(0), pto.program_id(1) * 64
    rows, cols = pto.ds(first, 64, valid=x.shape[1] - first), x.shape[2]

    def body(i: Index) -> None:
        block = pto.ds(i * 48, 48, valid=cols - i * 48)
        a = pto.load(x[n, rows, block])
        pto.store(out[n, block, rows], a.T)
        pto.store(halves[n, block, rows], (a * 2.0).astype("f16").T)

    pto.fori_loop(0, pto.cdiv(cols, 48), body)


def turned(x: Any) -> dict[str, Any]:
    return dict(out=x.swapaxes(1, 2), halves=2 * x.swapaxes(1, 2))


@pto.kernel(
    grid="items",
    x="bf16[items, rows, 64]",
    w="bf16[64, 64]",
    out="f32[items, 64, 64]",
    shares="f32[items, 64, rows]",
    norms="f32[items, rows]",
)
def whitened(x: Tensor, w: Tensor, out: Tensor, shares: Tensor, norms: Tensor) -> None:
    """Products turned in front of a softmax of columns, and a sum that meets its transpose: both cores."""
    n, rows, weight = pto.program_id(0), x.shape[1], pto.load(w[:, :])

    def add(i: Index, total: Tile) -> Tile:
        here = pto.ds(i * 32, 32, valid=rows - i * 32)
        a = pto.load(x[n, here, :])
        made = a @ weight
        e = pto.exp(made.T * 0.125)
        e = e / pto.col_sum(e)
        pto.store(shares[n, :, here], e)
        pto.store(norms[n, here], pto.row_sum(made * made).T)
        return total + e.astype("bf16") @ a

    total = pto.fori_loop(0, pto.cdiv(rows, 32), add, pto.zeros((64, 64)))
    scaled = total / (pto.row_max(pto.maximum(total, -total)).T + 1.0)
    pto.store(out[n, :, :], (scaled + scaled.T) * 0.5)


def whiten(x: Any, w: Any) -> dict[str, Any]:
    made = x @ w
    e = np.exp(made.swapaxes(1, 2) * 0.125)
    e = e / e.sum(1, keepdims=True)
    total = e @ x
    scaled = total / (np.abs(total).max(2)[:, None, :] + 1)
    return dict(out=(scaled + scaled.swapaxes(1, 2)) * 0.5, shares=e, norms=(made * made).sum(2))


WORDS = {
    "a matrix turned": Word(
        turned_matrix, lambda rng: dict(x=normals(rng, np.float32, 2, 101, 75)), turned
    ),
    "products turned": Word(
        whitened,
        lambda rng: dict(
            x=normals(rng, ml_dtypes.bfloat16, 3, 75, 64),
            w=normals(rng, ml_dtypes.bfloat16, 64, 64, by=0.2),
        ),
        whiten,
    ),
    "products of columns": Word(
        gram, lambda rng: dict(x=normals(rng, ml_dtypes.bfloat16, 3, 115, 64)), pairs
    ),
    "attention backwards": Word(
        attention_gradient,
        lambda rng: dict(
            q=normals(rng, np.float16, 3, 75, 64),
            d_out=normals(rng, np.float16, 3, 75, 64),
            k=normals(rng, np.float16, 3, 32, 64),
            v=normals(rng, np.float16, 3, 32, 64),
        ),
        gradient,
    ),
    "both operands turned": Word(
        turned_both,
        lambda rng: dict(
            a=normals(rng, np.float16, 512, 160), b=normals(rng, np.float16, 192, 512, by=0.1)
        ),
        both,
    ),
    "bytes turned": Word(
        turned_bytes,
        lambda rng: dict(
            x=rng.integers(-128, 128, (3, 64, 32)).astype(np.int8),
            y=rng.integers(-128, 128, (3, 64, 64)).astype(np.int8),
        ),
        lambda x, y: dict(out=x.astype(np.int64).swapaxes(1, 2) @ y),
    ),
}
