"""Small integers: products of i8, conversions that round by name and saturate, scales of tensors, rows and columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Tensor, Tile
from pto.scalar import Index
from pto.tensor import TensorView
from tests.words.word import Arrays, Word


@pto.kernel(
    grid="cdiv(rows, 32), cdiv(cols, 64)",
    x="i8[rows, inner]",
    w="i8[inner, cols]",
    of_all="f32[1]",
    of_row="f32[rows, 1]",
    of_col="f32[cols]",
    out="bf16[rows, cols]",
)
def scaled(
    x: Tensor, w: Tensor, of_all: Tensor, of_row: Tensor, of_col: Tensor, out: Tensor
) -> None:
    """A product of i8, added up in i32 along the inner dimension, with a scale of each kind."""
    m, n = pto.program_id(0) * 32, pto.program_id(1) * 64
    rows = pto.ds(m, 32, valid=x.shape[0] - m)
    cols = pto.ds(n, 64, valid=w.shape[1] - n)

    def body(i: Index, acc: Tile) -> Tile:
        inner = pto.ds(i * 128, 128, valid=x.shape[1] - i * 128)
        return acc + pto.load(x[rows, inner]) @ pto.load(w[inner, cols])

    steps = pto.cdiv(x.shape[1], 128)
    made = pto.fori_loop(0, steps, body, pto.zeros((32, 64), "i32")).astype("f32")
    wide = made * pto.load(of_row[rows, :]) * pto.load(of_col[cols])
    pto.store(out[rows, cols], (wide * of_all[0]).astype("bf16"))


def product(x: Any, w: Any, of_all: Any, of_row: Any, of_col: Any) -> dict[str, Any]:
    return {"out": (x.astype(np.int64) @ w.astype(np.int64)) * of_row * of_col * of_all}


def factors(rng: np.random.Generator) -> Arrays:
    return dict(
        x=rng.integers(-128, 128, (75, 300)).astype(np.int8),
        w=rng.integers(-128, 128, (300, 100)).astype(np.int8),
        of_all=np.float32([0.125]),
        of_row=rng.uniform(0.001, 0.1, (75, 1)).astype(np.float32),
        of_col=rng.uniform(0.001, 0.1, 100).astype(np.float32),
    )


@pto.kernel(
    grid="cdiv(rows, 64)",
    x="bf16[rows, inner]",
    w="bf16[inner, 128]",
    u="bf16[128, 512]",
    h="bf16[rows, 128]",
    out="bf16[rows, 512]",
)
def drained(x: Tensor, w: Tensor, u: Tensor, h: Tensor, out: Tensor) -> None:
    """Two layers, whose sums are rounded on their way out of L0C: one that the vector core reads, too, and one
    that L0C holds in blocks."""
    m = pto.program_id(0) * 64
    rows = pto.ds(m, 64, valid=x.shape[0] - m)

    def body(i: Index, acc: Tile) -> Tile:
        inner = pto.ds(i * 64, 64, valid=x.shape[1] - i * 64)
        return acc + pto.load(x[rows, inner]) @ pto.load(w[inner, :])

    steps = pto.cdiv(x.shape[1], 64)
    hidden = pto.fori_loop(0, steps, body, pto.zeros((64, 128)))
    pto.store(h[rows, :], hidden.astype("bf16"))
    made = pto.relu(hidden).astype("bf16") @ pto.load(u[:, :])
    pto.store(out[rows, :], made.astype("bf16"))


def layers(x: Any, w: Any, u: Any) -> dict[str, Any]:
    return {"h": x @ w, "out": np.maximum(x @ w, 0) @ u}


def halves(rng: np.random.Generator) -> Arrays:
    shapes = dict(x=(100, 200), w=(200, 128), u=(128, 512))
    return {n: (rng.standard_normal(s) * 0.1).astype(ml_dtypes.bfloat16) for n, s in shapes.items()}


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="i8[rows, inner]",
    w="i8[inner, 64]",
    u="i8[64, 512]",
    scales="f32[2]",
    h="i8[rows, 64]",
    out="f16[rows, 512]",
    step="f32",
)
def requantised(
    x: Tensor, w: Tensor, u: Tensor, scales: Tensor, h: Tensor, out: Tensor, step: pto.Scalar
) -> None:
    """Sums of i8 that become small numbers again on their way out of L0C; one that it holds in blocks."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)

    def body(i: Index, acc: Tile) -> Tile:
        inner = pto.ds(i * 128, 128, valid=x.shape[1] - i * 128)
        return acc + pto.load(x[rows, inner]) @ pto.load(w[inner, :])

    steps = pto.cdiv(x.shape[1], 128)
    made = pto.fori_loop(0, steps, body, pto.zeros((32, 64), "i32"))
    pto.store(h[rows, :], made, scale=scales[0])
    first = pto.load(x[rows, 0:64]) @ pto.load(u[:, :])
    pto.store(out[rows, :], first, scale=scales[1] * step)


def cut_off(x: Any) -> Any:
    """With ten bits of fraction."""
    fraction, exponent = np.frexp(np.float32(x))
    return np.ldexp(np.trunc(fraction * 2**11) / 2**11, exponent).astype(np.float64)


def small_again(x: Any, w: Any, u: Any, scales: Any, step: Any) -> dict[str, Any]:
    a, b, c = (t.astype(np.int64) for t in (x, w, u))
    h = np.clip(np.rint((a @ b) * cut_off(scales[0])), -128, 127)
    by = cut_off(np.float32(scales[1]) * np.float32(step))
    return {"h": h, "out": np.clip((a[:, :64] @ c) * by, -65504, 65504)}


def integers(rng: np.random.Generator) -> Arrays:
    shapes = dict(x=(75, 300), w=(300, 64), u=(64, 512))
    drawn = {n: rng.integers(-128, 128, s).astype(np.int8) for n, s in shapes.items()}
    return {**drawn, "scales": np.float32([0.0007, 1.3]), "step": 0.77}


@pto.kernel(grid="cdiv(rows, 64)", x="f32[rows, cols]", out="i8[rows, cols]", scales="f32[rows, 1]")
def quantised(x: Tensor, out: Tensor, scales: Tensor) -> None:
    """Rows as i8, each by its largest magnitude."""
    m = pto.program_id(0) * 64
    rows, steps = pto.ds(m, 64, valid=x.shape[0] - m), pto.cdiv(x.shape[1], 128)

    def part(i: Index) -> TensorView:
        return x[rows, pto.ds(i * 128, 128, valid=x.shape[1] - i * 128)]

    def largest(i: Index, most: Tile) -> Tile:
        return pto.maximum(most, pto.row_max(abs(pto.load(part(i)))))

    scale = pto.fori_loop(0, steps, largest, pto.full((64, 1), 1e-30)) * (1 / 127)
    pto.store(scales[rows, :], scale)

    def rounded(i: Index) -> None:
        there = out[rows, pto.ds(i * 128, 128, valid=x.shape[1] - i * 128)]
        pto.store(there, (pto.load(part(i)) / scale).astype("i8"))

    pto.fori_loop(0, steps, rounded)


def in_rows(x: Any) -> dict[str, Any]:
    scale = np.maximum(np.abs(x).max(axis=1, keepdims=True), 1e-30) / 127
    return {"out": np.rint(x / scale), "scales": scale}


def wide_rows(rng: np.random.Generator) -> Arrays:
    x = rng.standard_normal((100, 300)) * rng.uniform(1e-3, 1e3, (100, 1))
    x[7] = 0
    x[9] = np.linspace(-127, 127, 300).round() / 2  # ties
    return dict(x=x.astype(np.float32))


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="u8[rows, 256]",
    zero="f32[1]",
    scales="f32[256]",
    out="f16[rows, 256]",
    near="i16[rows, 256]",
)
def restored(x: Tensor, zero: Tensor, scales: Tensor, out: Tensor, near: Tensor) -> None:
    """Numbers from u8, by a zero of their own and a scale for every column."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)
    far = pto.load(x[rows, :]).astype("f32") - zero[0]
    pto.store(out[rows, :], (far * pto.load(scales[:])).astype("f16"))
    pto.store(near[rows, :], (far * 200.0).astype("i16", "floor"))


def from_bytes(x: Any, zero: Any, scales: Any) -> dict[str, Any]:
    far = x.astype(np.float64) - zero
    return {"out": far * scales, "near": np.clip(np.floor(far * 200), -(2**15), 2**15 - 1)}


def some_bytes(rng: np.random.Generator) -> Arrays:
    return dict(
        x=rng.integers(0, 256, (75, 256)).astype(np.uint8),
        zero=np.float32([113]),
        scales=rng.uniform(0.01, 1, 256).astype(np.float32),
    )


ROUNDED: dict[str, Callable[[Any], Any]] = {
    "rint": np.rint,
    "away": lambda x: np.trunc(x + np.copysign(0.5, x)),
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
}


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="f32[rows, 64]",
    out="dtype[5, rows, 64]",
    back="f32[rows, 64]",
    static=dict(dtype="i8"),
)
def narrowed(x: Tensor, out: Tensor, back: Tensor, *, dtype: str) -> None:
    """One number by every rounding, and what becomes of all these when they are numbers again."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)
    total = pto.zeros((32, 64))
    for k, rounding in enumerate(ROUNDED):
        small = pto.load(x[rows, :]).astype(dtype, rounding)
        pto.store(out[k, rows, :], small)
        total += small.astype("f32")
    pto.store(back[rows, :], total)


def by_name(least: int, most: int) -> Callable[[Any], dict[str, Any]]:
    def want(x: Any) -> dict[str, Any]:
        out = np.clip([rounded(x) for rounded in ROUNDED.values()], least, most)
        return {"out": out, "back": out.sum(axis=0)}

    return want


def edges(rng: np.random.Generator) -> Arrays:
    """Ties, what lies beyond, and what f16 would make a tie."""
    x = rng.standard_normal((75, 64)) * 10.0 ** rng.integers(-1, 7, (75, 64))
    x[::2] = rng.integers(-600, 600, x[::2].shape) / 2
    x[3, :8] = [0.5 + 2**-20, -0.5 - 2**-20, 126.5 + 2**-16, -128.5, 127.5, 255.5, 1e30, -np.inf]
    return dict(x=x.astype(np.float32))


@pto.kernel(
    grid="heads",
    q="i8[heads, 32, 128]",
    k="i8[heads, keys, 128]",
    v="i8[heads, keys, 128]",
    scales="f32[heads, 3]",
    out="f32[heads, 32, 128]",
)
def attention(q: Tensor, k: Tensor, v: Tensor, scales: Tensor, out: Tensor) -> None:
    """Attention whose operands and weights all are i8; a page of 64 keys after the other."""
    head = pto.program_id(0)
    queries = pto.load(q[head, :, :])

    def body(i: Index, carry: tuple[Tile, ...]) -> tuple[Tile, ...]:
        largest, total, acc = carry
        keys = pto.ds(i * 64, 64, valid=k.shape[1] - i * 64)
        made = (queries @ pto.load(k[head, keys, :]).T).astype("f32")
        s = pto.where(
            pto.iota(1) < k.shape[1] - i * 64, made * (scales[head, 0] * scales[head, 1]), -1e30
        )
        most = pto.maximum(largest, pto.row_max(s))
        weights = (pto.exp(s - most) * 127.0).astype("i8")
        kept = pto.exp(largest - most)
        summed = (weights @ pto.load(v[head, keys, :])).astype("f32")
        return most, total * kept + pto.row_sum(weights.astype("f32")), acc * kept + summed

    start = pto.full((32, 1), -1e30), pto.zeros((32, 1)), pto.zeros((32, 128))
    _, total, acc = pto.fori_loop(0, pto.cdiv(k.shape[1], 64), body, start)
    pto.store(out[head, :, :], acc / total * scales[head, 2])


def attended(q: Any, k: Any, v: Any, scales: Any) -> dict[str, Any]:
    """Page after page, for what a weight is rounded to rests on the largest score so far."""
    out = np.zeros(q.shape)
    for h, (of_q, of_k, of_v) in enumerate(scales):
        largest, total, acc = np.full((32, 1), -1e30), 0.0, 0.0
        for at in range(0, k.shape[1], 64):
            page = slice(at, at + 64)
            s = (q[h].astype(np.int64) @ k[h, page].astype(np.int64).T) * (of_q * of_k)
            most = np.maximum(largest, s.max(axis=1, keepdims=True))
            weights = np.rint(np.exp(s - most) * 127)
            kept = np.exp(largest - most)
            total = total * kept + weights.sum(axis=1, keepdims=True)
            acc = acc * kept + weights @ v[h, page].astype(np.int64)
            largest = most
        out[h] = acc / total * of_v
    return {"out": out}


def heads(rng: np.random.Generator) -> Arrays:
    drawn = {
        n: rng.integers(-127, 128, (3, size, 128)).astype(np.int8)
        for n, size in (("q", 32), ("k", 150), ("v", 150))
    }
    return {
        **drawn,
        "scales": np.float32([[0.01, 0.005, 0.1], [0.02, 0.01, 1.0], [0.005, 0.001, 2.0]]),
    }


WORDS = {
    "int8 product with scales": Word(scaled, factors, product),
    "rounded on the way out": Word(drained, halves, layers),
    "int8 again on the way out": Word(requantised, integers, small_again),
    "rows to int8": Word(quantised, wide_rows, in_rows),
    "bytes to halves": Word(restored, some_bytes, from_bytes),
    "int8 by every rounding": Word(narrowed, edges, by_name(-128, 127)),
    "uint8 by every rounding": Word(narrowed, edges, by_name(0, 255), dict(dtype="u8")),
    "int16 by every rounding": Word(
        narrowed, edges, by_name(-(2**15), 2**15 - 1), dict(dtype="i16")
    ),
    "int8 attention": Word(attention, heads, attended),
}
