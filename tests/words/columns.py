"""Reductions of columns, and tiles of one row: lanes that share tiles by columns, or do all of it both."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Tensor, Tile
from pto.scalar import Index
from tests.words.word import Word


def normals(rng: np.random.Generator, dtype: Any, *shape: int, by: float = 1.0) -> Any:
    return (rng.standard_normal(shape) * by).astype(dtype)


# ---------------------------------------------------------------------------- shared by columns


@pto.kernel(
    grid="heads",
    static=dict(cols=128),
    x="f32[heads, rows, cols]",
    total="f32[heads, cols]",
    largest="f16[heads, cols]",
    least="f32[heads, cols]",
)
def statistics(x: Tensor, total: Tensor, largest: Tensor, least: Tensor) -> None:
    """Of every column, over as many rows as there are, block by block of 32; the last block is ragged."""
    h = pto.program_id(0)
    count = x.shape[1]

    def body(i: Index, found: tuple[Tile, Tile, Tile]) -> tuple[Tile, Tile, Tile]:
        added, high, low = found
        a = pto.load(x[h, pto.ds(i * 32, 32, valid=count - i * 32), :])
        here = i * 32 + pto.iota(0) < count
        above, below = (pto.where(here, a, value) for value in (-1e30, 1e30))
        added = added + pto.col_sum(a)
        high = pto.maximum(high, pto.col_max(above.astype("f16")))
        return added, high, pto.minimum(low, pto.col_min(below))

    cols = x.shape[2]
    start = (pto.zeros((1, cols)), pto.full((1, cols), -60000.0, "f16"), pto.full((1, cols), 1e30))
    added, high, low = pto.fori_loop(0, pto.cdiv(count, 32), body, start)
    pto.store(total[h, :], added)
    pto.store(largest[h, :], high)
    pto.store(least[h, :], low)


def described(x: Any) -> dict[str, Any]:
    return dict(total=x.sum(1), largest=x.max(1), least=x.min(1))


@pto.kernel(
    grid="items",
    x="bf16[items, rows, 64]",
    w="bf16[64, 128]",
    v="f16[128, 64]",
    out="f32[items, rows, 64]",
    mean="f32[items, 128]",
)
def centred(x: Tensor, w: Tensor, v: Tensor, out: Tensor, mean: Tensor) -> None:
    """Features of which the mean of each is taken out, times another matrix: both cores, two loops."""
    n, rows = pto.program_id(0), x.shape[1]
    weight, values = pto.load(w[:, :]), pto.load(v[:, :])

    def features(i: Index) -> tuple[Any, Tile]:
        first = i * 32
        part = pto.ds(first, 32, valid=rows - first)
        return part, pto.load(x[n, part, :]) @ weight

    def add(i: Index, total: Tile) -> Tile:
        _, made = features(i)
        return total + pto.col_sum(made)

    total = pto.fori_loop(0, pto.cdiv(rows, 32), add, pto.zeros((1, 128)))
    middle = total * (1.0 / 64.0)
    pto.store(mean[n, :], middle)

    def centre(i: Index) -> None:
        part, made = features(i)
        pto.store(out[n, part, :], (made - middle).astype("f16") @ values)

    pto.fori_loop(0, pto.cdiv(rows, 32), centre)


def centre(x: Any, w: Any, v: Any) -> dict[str, Any]:
    made = x @ w
    mean = made.sum(1) / 64
    return dict(mean=mean, out=(made - mean[:, None]) @ v)


# ------------------------------------------------------------------------------ both do all of it


@pto.kernel(
    grid="heads",
    q="f16[heads, 32, 64]",
    k="f16[heads, tokens, 64]",
    v="f16[heads, tokens, 64]",
    out="f32[heads, 32, 64]",
    seen="f32[heads, tokens]",
)
def looked_at(q: Tensor, k: Tensor, v: Tensor, out: Tensor, seen: Tensor) -> None:
    """Attention block by block without a running maximum, and how much each token is looked at."""
    h, tokens = pto.program_id(0), k.shape[1]
    query = pto.load(q[h, :, :])

    def body(i: Index, state: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        acc, total = state
        block = pto.ds(i * 32, 32, valid=tokens - i * 32)
        keys, values = pto.load(k[h, block, :]), pto.load(v[h, block, :])
        p = pto.where(pto.iota(1) < tokens - i * 32, pto.exp((query @ keys.T) * 0.125), 0.0)
        share = p / pto.row_sum(p)
        pto.store(seen[h, block], pto.col_sum(share))
        return acc + share.astype("f16") @ values, total + pto.row_sum(p)

    acc, total = pto.fori_loop(
        0, pto.cdiv(tokens, 32), body, (pto.zeros((32, 64)), pto.zeros((32, 1)))
    )
    pto.store(out[h, :, :], acc / total)


def look(q: Any, k: Any, v: Any) -> dict[str, Any]:
    seen, out = [], np.zeros(q.shape)
    total = np.zeros((*q.shape[:2], 1))
    for first in range(0, k.shape[1], 32):
        part = slice(first, first + 32)
        p = np.exp(q @ k[:, part].swapaxes(1, 2) * 0.125)
        share = p / p.sum(2, keepdims=True)
        seen.append(share.sum(1))
        out += share @ v[:, part]
        total += p.sum(2, keepdims=True)
    return dict(out=out / total, seen=np.concatenate(seen, 1))


@pto.kernel(grid="n", x="f32[n, 32, 64]", total="f32[64]", one="f32[1, 8]")
def gradients(x: Tensor, total: Tensor, one: Tensor) -> None:
    """Sums of columns, and of all, over work items: what both lanes hold is added by one of them."""
    a = pto.load(x[pto.program_id(0), :, :])
    a = pto.exp(a - pto.row_max(a))
    pto.store(total[:], pto.col_sum(a), add=True)
    pto.store(one[:, :], pto.broadcast_to(pto.sum(a), (1, 8)), add=True)


def added(x: Any, total: Any, one: Any) -> dict[str, Any]:
    a = np.exp(x - x.max(2, keepdims=True))
    return dict(total=total + a.sum((0, 1)), one=one + a.sum())


# ------------------------------------------------------------------------------------- one row


@pto.kernel(
    grid="tokens",
    static=dict(width=2048),
    x="bf16[tokens, width]",
    gain="f32[width]",
    out="bf16[tokens, width]",
    scale="f32[tokens, 8]",
)
def token_norm(x: Tensor, gain: Tensor, out: Tensor, scale: Tensor) -> None:
    """The norm of one token: a tile of one row, whose sum both lanes need."""
    t, width = pto.program_id(0), x.shape[1]
    a = pto.load(x[t, :]).astype("f32")
    inverse = pto.rsqrt(pto.row_sum(a * a) * (1.0 / width) + 1e-5)
    pto.store(out[t, :], (a * inverse * pto.load(gain[:])).astype("bf16"))
    pto.store(scale[t, :], pto.broadcast_to(inverse, (1, 8)))


def norm(x: Any, gain: Any) -> dict[str, Any]:
    inverse = 1 / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5)
    return dict(out=x * inverse * gain, scale=np.repeat(inverse, 8, 1))


@pto.kernel(
    grid="tokens",
    static=dict(width=512),
    gate="f16[tokens, length]",
    up="f16[tokens, length]",
    out="f16[tokens, length]",
)
def token_gated(gate: Tensor, up: Tensor, out: Tensor) -> None:
    """SwiGLU of one token, in blocks of columns of which the last is ragged; every other column counts twice."""
    t, length, width = pto.program_id(0), gate.shape[1], 512

    def body(i: Index) -> None:
        part = pto.ds(i * width, width, valid=length - i * width)
        g, u = (pto.load(a[t, part]).astype("f32") for a in (gate, up))
        inside = pto.where(pto.iota(1) < 300, pto.silu(g), g)
        pto.store(out[t, part], (inside * u).astype("f16"))

    pto.fori_loop(0, pto.cdiv(length, width), body)


def gated(gate: Any, up: Any) -> dict[str, Any]:
    inside = np.arange(gate.shape[1]) % 512 < 300
    return dict(out=np.where(inside, gate / (1 + np.exp(-gate)), gate) * up)


# ------------------------------------------------------------------------------------ one number


@pto.kernel(
    grid="tables",
    x="f32[tables, 32, 64]",
    expected="f32[tables, 32, 64]",
    chi="f32[tables, 1]",
    ends="f16[tables, 2]",
)
def contingency(x: Tensor, expected: Tensor, chi: Tensor, ends: Tensor) -> None:
    """What rows and columns of counts say of their cells, and by how much the cells differ from it."""
    t = pto.program_id(0)
    a = pto.load(x[t, :, :])
    rows, total = pto.row_sum(a), pto.sum(a)
    apart = rows / total * pto.col_sum(a)
    pto.store(expected[t, :, :], apart)
    pto.store(chi[t, :], pto.sum((a - apart) * (a - apart) / apart))
    narrow = a.astype("f16")
    pto.store(ends[t, 0:1], pto.min(narrow))
    pto.store(ends[t, 1:2], pto.max(rows).astype("f16"))


def counted(x: Any) -> dict[str, Any]:
    rows, cols = x.sum(2, keepdims=True), x.sum(1, keepdims=True)
    total = x.sum((1, 2), keepdims=True)
    apart = rows * cols / total
    chi = ((x - apart) ** 2 / apart).sum((1, 2))
    ends = np.stack([x.min((1, 2)), rows.max((1, 2))], 1)
    return dict(expected=apart, chi=chi[:, None], ends=ends)


WORDS = {
    "a table of counts": Word(
        contingency,
        lambda rng: dict(x=rng.integers(1, 30, (3, 32, 64)).astype(np.float32)),
        counted,
    ),
    "statistics of columns": Word(
        statistics, lambda rng: dict(x=normals(rng, np.float32, 3, 75, 128)), described
    ),
    "features without their mean": Word(
        centred,
        lambda rng: dict(
            x=normals(rng, ml_dtypes.bfloat16, 3, 72, 64),
            w=normals(rng, ml_dtypes.bfloat16, 64, 128, by=0.2),
            v=normals(rng, np.float16, 128, 64, by=0.2),
        ),
        centre,
    ),
    "how much tokens are looked at": Word(
        looked_at,
        lambda rng: dict(
            q=normals(rng, np.float16, 3, 32, 64),
            k=normals(rng, np.float16, 3, 88, 64),
            v=normals(rng, np.float16, 3, 88, 64),
        ),
        look,
    ),
    "sums over items": Word(
        gradients,
        lambda rng: dict(
            x=normals(rng, np.float32, 5, 32, 64),
            total=np.ones(64, np.float32),
            one=np.ones((1, 8), np.float32),
        ),
        added,
    ),
    "norm of a token": Word(
        token_norm,
        lambda rng: dict(
            x=normals(rng, ml_dtypes.bfloat16, 5, 2048), gain=normals(rng, np.float32, 2048)
        ),
        norm,
    ),
    "a token gated": Word(
        token_gated,
        lambda rng: dict(
            gate=normals(rng, np.float16, 3, 1300), up=normals(rng, np.float16, 3, 1300)
        ),
        gated,
    ),
}
