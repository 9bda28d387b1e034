"""Comparisons, places and choices: masks of attention, clipping, gating."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Scalar, Tensor, Tile
from pto.scalar import Index
from tests.words.word import Word

NARROW = {"bf16": ml_dtypes.bfloat16, "f16": np.float16, "f32": np.float32, "i32": np.int32}
SPECIAL = (0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, 1e-12, -1e-12, 1.5)

# --------------------------------------------------------------------------------- every comparison


@pto.kernel(
    grid="2",
    static=dict(dtype="f32"),
    x="dtype[2, 32, 64]",
    y="dtype[32, 64]",
    column="dtype[32, 1]",
    row="dtype[1, 64]",
    out="dtype[2, 20, 32, 64]",
)
def comparisons(x: Tensor, y: Tensor, column: Tensor, row: Tensor, out: Tensor) -> None:
    """Five comparisons with what broadcasts and with a number; of integers equality only."""
    b = pto.program_id(0)
    a = pto.load(x[b, :, :])
    others = [pto.load(t[:, :]) for t in (y, column, row)]
    seconds: list[Tile | int] = [*others, 1]
    for k, other in enumerate(seconds):
        masks = [a == other, a != other]
        if a.dtype != "i32":
            masks = [a < other, a <= other, a > other, a >= other, a == other]
        for n, mask in enumerate(masks):
            pto.store(out[b, 5 * k + n, :, :], pto.where(mask, a, others[0]))
        for n in range(len(masks), 5):
            pto.store(out[b, 5 * k + n, :, :], others[0])


def compared(x: Any, y: Any, column: Any, row: Any) -> dict[str, Any]:
    found = []
    for other in (y, column, row, np.array(1, x.dtype)):
        masks = [x == other, x != other]
        if x.dtype.kind != "i":
            masks = [x < other, x <= other, x > other, x >= other, x == other]
        found += [np.where(m, x, y) for m in masks]
        found += [np.broadcast_to(y, x.shape)] * (5 - len(masks))
    return {"out": np.stack(found, axis=1)}


def few(dtype: str) -> Any:
    def arrays(rng: np.random.Generator) -> dict[str, Any]:
        """Small integers, which are often equal, and in one row what is special."""
        shapes = dict(x=(2, 32, 64), y=(32, 64), column=(32, 1), row=(1, 64))
        found = {n: rng.integers(-2, 3, s).astype(NARROW[dtype]) for n, s in shapes.items()}
        if dtype != "i32":
            found["x"][0, 0, : len(SPECIAL)] = SPECIAL
            found["x"][0, 1, : len(SPECIAL)] = found["y"][1, : len(SPECIAL)] = SPECIAL
        return found

    return arrays


# ------------------------------------------------------------------------------- masks of masks


@pto.kernel(grid="cdiv(rows, 32)", static=dict(cols=48), x="f32[rows, cols]", w="f32[cols]", out="f32[rows, cols]", low="f32", keep="i32")  # fmt: skip
def gated(x: Tensor, w: Tensor, out: Tensor, *, low: Scalar, keep: Scalar) -> None:
    """A band of what is large enough or lies in the first columns; ragged rows, scalars of the call."""
    first = pto.program_id(0) * 32
    rows = pto.ds(first, 32, valid=x.shape[0] - first)
    a, weight = pto.load(x[rows, :]), pto.load(w[:])
    i, j = first + pto.iota(0), pto.iota(1)
    band = (i - j < 20) & (j - i < 30)
    large = (a > low) | (weight >= 0.5)
    kept = pto.where(band & large | (j < keep), a, weight)
    total = pto.row_sum(kept)
    pto.store(out[rows, :], kept / pto.where(total == 0.0, 1.0, total) + pto.where(~band, total, a))


def gate(x: Any, w: Any, low: Any, keep: Any) -> dict[str, Any]:
    i, j = np.indices(x.shape)
    band = (i - j < 20) & (j - i < 30)
    kept = np.where(band & ((x > low) | (w >= 0.5)) | (j < keep), x, w)
    total = kept.sum(axis=1, keepdims=True)
    return {"out": kept / np.where(total == 0, 1, total) + np.where(~band, total, x)}


def gates(rng: np.random.Generator) -> dict[str, Any]:
    """Integers and quarters: every sum is exact, and rows of zeros are there."""
    x = rng.integers(0, 8, (100, 48)).astype(np.float32)
    x[::7] = 0
    w = np.where(rng.random(48) < 0.3, 0.5, 0.0).astype(np.float32)
    x[5], w[:5] = 0, 0
    return dict(x=x, w=w, low=np.float32(2.0), keep=3)


# ------------------------------------------------------------------------------------ attention

Carry = tuple[Tile, Tile, Tile]


@pto.kernel(
    grid="cdiv(tokens, tile)",
    static=dict(dtype="bf16", dim=64, tile=64, window=0),
    q="dtype[tokens, dim]",
    k="dtype[tokens, dim]",
    v="dtype[tokens, dim]",
    out="f32[tokens, dim]",
)
def causal(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, *, tile: int, window: int, dim: int
) -> None:
    """Attention to what came before, and with ``window`` to the last of it only; any number of tokens."""
    tokens, scale = q.shape[0], dim**-0.5
    first = pto.program_id(0) * tile
    rows = pto.ds(first, tile, valid=tokens - first)
    queries = pto.load(q[rows, :])

    def body(n: Index, carry: Carry) -> Carry:
        m, l, acc = carry
        at = n * tile
        cols = pto.ds(at, tile, valid=tokens - at)
        i, j = first + pto.iota(0), at + pto.iota(1)
        seen = j <= i
        if window:
            seen &= i - j < window
        s = pto.where(seen, queries @ pto.load(k[cols, :]).T * scale, -math.inf)
        m_next = pto.maximum(m, pto.row_max(s))
        p, fade = pto.exp(s - m_next), pto.exp(m - m_next)
        o = p.astype(v.dtype) @ pto.load(v[cols, :])
        return m_next, l * fade + pto.row_sum(p), acc * fade + o

    start = pto.full((tile, 1), -1e30), pto.zeros((tile, 1)), pto.zeros((tile, dim))
    _, l, acc = pto.fori_loop(0, pto.program_id(0) + 1, body, start)
    pto.store(out[rows, :], acc / l)


def attention(window: int = 0) -> Any:
    def want(q: Any, k: Any, v: Any) -> dict[str, Any]:
        i, j = np.indices((len(q), len(q)))
        seen = (j <= i) & ((i - j < window) | (window == 0))
        s = np.where(seen, q @ k.T * q.shape[1] ** -0.5, -np.inf)
        p = np.exp(s - s.max(axis=1, keepdims=True))
        return {"out": p / p.sum(axis=1, keepdims=True) @ v}

    return want


def sequences(rng: np.random.Generator) -> dict[str, Any]:
    return {n: rng.standard_normal((200, 64)).astype(ml_dtypes.bfloat16) for n in "qkv"}


# ----------------------------------------------------------------------------- places as numbers


@pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, 64]", n="i32[rows, 64]", out="f32[rows, 64]", whole="i32[rows, 64]", slope="f32")  # fmt: skip
def biased(x: Tensor, n: Tensor, out: Tensor, whole: Tensor, *, slope: Scalar) -> None:
    """A bias that falls with the distance, in floats and in integers; the last row of a choice is of places."""
    first = pto.program_id(0) * 32
    rows = pto.ds(first, 32, valid=x.shape[0] - first)
    a, k = pto.load(x[rows, :]), pto.load(n[rows, :])
    far = first + pto.iota(0) - 2 * pto.iota(1)
    near = pto.where(a < far, a, pto.iota(1) - 3)
    pto.store(out[rows, :], near - pto.full((32, 64), 1.0) * far * slope)
    pto.store(whole[rows, :], pto.where(k == pto.iota(1), k + far, pto.iota(0) + first))


def bias(x: Any, n: Any, slope: Any) -> dict[str, Any]:
    i, j = np.indices(x.shape)
    far = i - 2 * j
    near = np.where(x < far, x, j - 3)
    return {"out": near - far * slope, "whole": np.where(n == j, n + far, i)}


def biases(rng: np.random.Generator) -> dict[str, Any]:
    x = rng.integers(-50, 50, (75, 64)).astype(np.float32)
    return dict(x=x, n=rng.integers(0, 64, x.shape).astype(np.int32), slope=np.float32(0.125))


# --------------------------------------------------------------------- places beside one column


@pto.kernel(
    grid="cdiv(tokens, 32)",
    static=dict(dim=64, block=64),
    ids="i32[tokens, 1]",
    table="bf16[words, dim]",
    out="f32[tokens, dim]",
    kept="f32[tokens, dim]",
)
def embedded(
    ids: Tensor, table: Tensor, out: Tensor, kept: Tensor, *, dim: int, block: int
) -> None:
    """out = one_hot(ids) @ table, a block of words at a time; kept: what is left of the largest element on."""
    tokens, words = ids.shape[0], table.shape[0]
    first = pto.program_id(0) * 32
    rows = pto.ds(first, 32, valid=tokens - first)
    word = pto.load(ids[rows, :])

    def body(n: Index, acc: Tile) -> Tile:
        at = n * block
        entries = pto.load(table[pto.ds(at, block, valid=words - at), :])
        hot = pto.where(word == at + pto.iota(1), pto.full((32, block), 1.0), 0.0)
        return acc + hot.astype(table.dtype) @ entries

    total = pto.fori_loop(0, pto.cdiv(words, block), body, pto.zeros((32, dim)))
    pto.store(out[rows, :], total)
    largest = pto.row_argmax(total)
    kept_now = pto.where((largest > pto.iota(1)) | (word < pto.iota(1)), 0.0, total)
    low = pto.col_min(total)
    pto.store(kept[rows, :], pto.where(~(low >= pto.iota(0) - 3), kept_now, -1.0))


def embedding(ids: Any, table: Any) -> dict[str, Any]:
    total = table[ids[:, 0]]
    i, j = np.indices(total.shape)
    kept = np.where((total.argmax(axis=1, keepdims=True) > j) | (ids < j), 0, total)
    tiles = np.concatenate([total, np.zeros((-len(total) % 32, total.shape[1]))]).reshape(3, 32, -1)
    low = np.repeat(tiles.min(axis=1), 32, axis=0)[: len(total)]
    return {"out": total, "kept": np.where(low >= i % 32 - 3, -1, kept)}


def tokens(rng: np.random.Generator) -> dict[str, Any]:
    """Integers, all of a row different from each other; words of a last block that is short."""
    table = np.argsort(rng.random((150, 64))) - 40
    return dict(ids=rng.integers(0, 150, (75, 1), np.int32), table=table.astype(ml_dtypes.bfloat16))


# ------------------------------------------------------------------------------------- levels

LEVELS = tuple(math.copysign(n * n, n) / 64 for n in range(-8, 8))


@pto.kernel(
    grid="cdiv(m, 32)",
    static=dict(block=64),
    x="bf16[m, k]",
    codes="i32[k, 64]",
    scale="f32[k, 1]",
    out="f32[m, 64]",
)
def of_levels(x: Tensor, codes: Tensor, scale: Tensor, out: Tensor, *, block: int) -> None:
    """out = x @ (levels[codes] * scale), sixteen levels: two constants and a mask for each of them."""
    (m, k), first = x.shape, pto.program_id(0) * 32
    rows = pto.ds(first, 32, valid=m - first)

    def body(n: Index, acc: Tile) -> Tile:
        inner = pto.ds(n * block, block, valid=k - n * block)
        code = pto.load(codes[inner, :])
        w: Tile | float = LEVELS[0]
        for i, level in enumerate(LEVELS[1:], 1):
            w = pto.where(code == i, level, w)
        w = (w * pto.load(scale[inner, :])).astype(x.dtype)
        return acc + pto.load(x[rows, inner]) @ w

    pto.store(out[rows, :], pto.fori_loop(0, pto.cdiv(k, block), body, pto.zeros((32, 64))))


def levels(x: Any, codes: Any, scale: Any) -> dict[str, Any]:
    return {"out": x @ (np.array(LEVELS)[codes] * scale)}


def coded(rng: np.random.Generator) -> dict[str, Any]:
    """Powers of two scale, and levels are exact in bf16."""
    x = rng.integers(-4, 5, (75, 200)).astype(ml_dtypes.bfloat16)
    scale = (2.0 ** rng.integers(-2, 3, (200, 1))).astype(np.float32)
    return dict(x=x, codes=rng.integers(0, 16, (200, 64), dtype=np.int32), scale=scale)


# -------------------------------------------------------------------------- masks of several types


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="f32[rows, 64]",
    h="f16[rows, 64]",
    n="i32[rows, 64]",
    out="f32[3, rows, 64]",
)
def mixed(x: Tensor, h: Tensor, n: Tensor, out: Tensor) -> None:
    """Numbers chosen by comparisons of f32, f16 and i32 at once; integers are floats then."""
    first = pto.program_id(0) * 32
    rows = pto.ds(first, 32, valid=x.shape[0] - first)
    a, b, whole = (pto.load(t[rows, :]) for t in (x, h, n))
    made = (
        pto.where((a > 0.0) & (whole == 1), 1.0, 0.0),
        pto.where((b < 0.0) | (whole < 0), 3, pto.program_id(0)),
        pto.where((b == 1.0) | ~(a < b.astype("f32")), 0.1, -1),
    )
    for k, tile in enumerate(made):
        pto.store(out[k, rows, :], tile)


def by_three(x: Any, h: Any, n: Any) -> dict[str, Any]:
    items = np.arange(len(x))[:, None] // 32
    made = (
        np.where((x > 0) & (n == 1), 1.0, 0.0),
        np.where((h < 0) | (n < 0), 3, items),
        np.where((h == 1) | ~(x < h), np.float32(0.1), -1),
    )
    return {"out": np.stack(made)}


def three(rng: np.random.Generator) -> dict[str, Any]:
    types = dict(x=np.float32, h=np.float16, n=np.int32)
    return {name: rng.integers(-2, 3, (75, 64)).astype(t) for name, t in types.items()}


WORDS = {
    **{
        f"every comparison, {dtype}": Word(comparisons, few(dtype), compared, dict(dtype=dtype))
        for dtype in ("f32", "f16", "i32")
    },
    "masks of masks": Word(gated, gates, gate),
    "places as numbers": Word(biased, biases, bias),
    "causal attention": Word(causal, sequences, attention()),
    "attention in a window": Word(causal, sequences, attention(50), dict(window=50)),
    "places beside one column": Word(embedded, tokens, embedding),
    "numbers by three types": Word(mixed, three, by_three),
    "products of sixteen levels": Word(of_levels, coded, levels),
}
