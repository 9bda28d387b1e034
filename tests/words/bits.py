"""Test kernels of bits: packed numbers, random numbers, sets as bytes; ``//``, ``%``, ``**``, signs and the order of
integers."""

from __future__ import annotations

from typing import Any

import numpy as np

import pto
from pto import Scalar, Tensor, Tile
from pto.scalar import Index
from tests.words.word import Arrays, Word


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="f16[rows, 2, half]",
    w="i8[half, 64]",
    scales="f32[64]",
    out="f32[rows, 64]",
)
def packed(x: Tensor, w: Tensor, scales: Tensor, out: Tensor) -> None:
    """A product with weights of four bits: of two rows in one byte, the first half of the rows low."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)

    def body(i: Index, acc: Tile) -> Tile:
        inner = pto.ds(i * 64, 64, valid=w.shape[0] - i * 64)
        both = pto.load(w[inner, :]).astype("i16")
        low, high = ((both << n) >> 12 for n in (12, 8))
        acc += pto.load(x[rows, 0, inner]) @ low.astype("f16")
        return acc + pto.load(x[rows, 1, inner]) @ high.astype("f16")

    acc = pto.fori_loop(0, pto.cdiv(w.shape[0], 64), body, pto.zeros((32, 64)))
    pto.store(out[rows, :], acc * pto.load(scales[:]))


def unpacked(x: Any, w: Any, scales: Any) -> dict[str, Any]:
    low, high = ((w & 15) ^ 8) - 8, w >> 4
    return {"out": (x[:, 0] @ low + x[:, 1] @ high) * scales}


def nibbles(rng: np.random.Generator) -> Arrays:
    return dict(
        x=rng.standard_normal((75, 2, 150)).astype(np.float16),
        w=rng.integers(-128, 128, (150, 64)).astype(np.int8),
        scales=rng.uniform(0.01, 1, 64).astype(np.float32),
    )


@pto.kernel(
    grid="cdiv(rows, 32)",
    seeds="i32[rows, 64]",
    x="f32[rows, 64]",
    w="f32[64, 64]",
    steps="i32",
    keep="f32",
    state="i32[rows, 64]",
    out="f32[rows, 64]",
)
def dropped(
    seeds: Tensor, x: Tensor, w: Tensor, steps: Scalar, keep: Scalar, state: Tensor, out: Tensor
) -> None:
    """A layer of which some inputs are dropped by Marsaglia's xorshift: 13, 17, 5, without a sign."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)

    def step(i: Index, s: Tile) -> Tile:
        s = s ^ (s << 13)
        s = s ^ ((s >> 17) & 0x7FFF)
        return s ^ (s << 5)

    last = pto.fori_loop(0, steps, step, pto.load(seeds[rows, :]))
    pto.store(state[rows, :], last)
    part = (last & 0xFFFF).astype("f32") * (1 / 65536)
    pto.store(out[rows, :], pto.where(part < keep, pto.load(x[rows, :]), 0.0) @ pto.load(w[:, :]))


def shuffled(seeds: Any, x: Any, w: Any, steps: Any, keep: Any) -> dict[str, Any]:
    s = seeds.astype(np.uint32)
    for _ in range(int(steps)):
        s ^= s << np.uint32(13)
        s ^= s >> np.uint32(17)
        s ^= s << np.uint32(5)
    kept = np.where((s & np.uint32(0xFFFF)) / 65536 < np.float32(keep), x, 0)
    return {"state": s.astype(np.int32), "out": kept @ w}


def states(rng: np.random.Generator) -> Arrays:
    return dict(
        seeds=rng.integers(-(2**31), 2**31, (75, 64)).astype(np.int32),
        x=rng.standard_normal((75, 64)).astype(np.float32),
        w=rng.standard_normal((64, 64)).astype(np.float32),
        steps=5,
        keep=0.75,
    )


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="dtype[rows, 64]",
    y="dtype[rows, 64]",
    out="dtype[6, rows, 64]",
    static=dict(dtype="u8"),
)
def sets(x: Tensor, y: Tensor, out: Tensor, *, dtype: str) -> None:
    """Sets as bits of numbers: both, either, one of them, the rest, and with a set that is known."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)
    a, b = pto.load(x[rows, :]), pto.load(y[rows, :])
    made = (a & b, a | b, a ^ b, ~a & b, a & 0x5A ^ b, (b | 0x11) ^ 0x3C)
    for k, tile in enumerate(made):
        pto.store(out[k, rows, :], tile)


def of_sets(x: Any, y: Any) -> dict[str, Any]:
    return {"out": np.stack([x & y, x | y, x ^ y, ~x & y, x & 0x5A ^ y, (y | 0x11) ^ 0x3C])}


def some_sets(dtype: type) -> Any:
    def drawn(rng: np.random.Generator) -> Arrays:
        ends = np.iinfo(dtype)
        return {n: rng.integers(ends.min, ends.max + 1, (75, 64)).astype(dtype) for n in "xy"}

    return drawn


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="i32[rows, 64]",
    limits="i32[rows, 1]",
    steps="i32",
    out="i32[4, rows, 64]",
    most="i32[rows, 64]",
)
def ordered(x: Tensor, limits: Tensor, steps: Scalar, out: Tensor, most: Tensor) -> None:
    """Integers in order, beyond 2**24 too; divided, and what that leaves; by a loop, the bits of their limit."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)
    a, limit = pto.load(x[rows, :]), pto.load(limits[rows, :])
    pto.store(out[0, rows, :], pto.where((a < limit) & (a >= -7), a // 8, a % 8))
    pto.store(out[1, rows, :], pto.where(a <= limit, 1, 0))
    pto.store(out[2, rows, :], pto.where(limit > a, a & limit, limit | a))
    pto.store(out[3, rows, :], pto.where(pto.iota(1) < 40, a ^ pto.iota(1), ~a))
    last = pto.fori_loop(0, steps, lambda i, t: t | (t >> 1), a & 0x7FFFFFFF)
    pto.store(most[rows, :], last)


def in_order(x: Any, limits: Any, steps: Any) -> dict[str, Any]:
    chosen = np.where((x < limits) & (x >= -7), x // 8, x % 8)
    columns = np.arange(64, dtype=np.int32)
    out = [
        chosen,
        np.where(x <= limits, 1, 0),
        np.where(limits > x, x & limits, limits | x),
        np.where(columns < 40, x ^ columns, ~x),
    ]
    most = x & 0x7FFFFFFF
    for _ in range(int(steps)):
        most |= most >> 1
    return {"out": np.stack(out), "most": most}


def large(rng: np.random.Generator) -> Arrays:
    x = rng.integers(-(2**31), 2**31, (75, 64)).astype(np.int32)
    x[::2] = rng.integers(-20, 20, x[::2].shape)
    limits = x[:, 3:4] + np.int32(1) * rng.integers(0, 2, (75, 1)).astype(np.int32)
    return dict(x=x, limits=limits, steps=4)


@pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, 64]", y="f32[rows, 64]", out="f32[5, rows, 64]")
def divided(x: Tensor, y: Tensor, out: Tensor) -> None:
    """``//``, ``%`` and ``**`` of floats, with either sign on either side; nothing by zero, behind the last row neither."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)
    a = pto.load(x[rows, :])
    b = pto.where(pto.iota(0) < x.shape[0] - m, pto.load(y[rows, :]), 1.0)
    for k, made in enumerate((a // b, a % b, a % -3.5, 7.0 // b, b**3)):
        pto.store(out[k, rows, :], made)


def quotients(x: Any, y: Any) -> dict[str, Any]:
    return {"out": np.stack([x // y, x % y, x % -3.5, 7.0 // y, y**3])}


def signed(rng: np.random.Generator) -> Arrays:
    """No quotient near an integer, where a rounding decides."""
    far = rng.integers(-6, 6, (75, 64)) + rng.uniform(0.1, 0.9, (75, 64))
    y = 7 / far
    x = y * (rng.integers(-6, 6, (75, 64)) + rng.uniform(0.1, 0.9, (75, 64)))
    near = np.abs(x / 3.5 - np.rint(x / 3.5)) < 0.01
    return dict(x=np.where(near, y * 0.5, x).astype(np.float32), y=y.astype(np.float32))


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="i32[rows, 64]",
    at="i32[rows, 1]",
    size="i32[64]",
    w="f32[64, 64]",
    out="i32[3, rows, 64]",
    product="f32[rows, 64]",
)
def fields(x: Tensor, at: Tensor, size: Tensor, w: Tensor, out: Tensor, product: Tensor) -> None:
    """Numbers of other sizes at other bits of every element, cut out and put in; what reaches out is lost."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)
    word, first, width = pto.load(x[rows, :]), pto.load(at[rows, :]), pto.load(size[:])
    mask = (1 << width) - 1
    field = (word >> first) & mask
    pto.store(out[0, rows, :], field)
    pto.store(out[1, rows, :], word & ~(mask << first) | (5 << first))
    pto.store(out[2, rows, :], word << (first - 20))
    pto.store(product[rows, :], (field & 0xFF).astype("f32") @ pto.load(w[:, :]))


def of_fields(x: Any, at: Any, size: Any, w: Any) -> dict[str, Any]:
    mask = (np.int32(1) << size) - np.int32(1)
    field = (x >> at) & mask
    rest = x & ~(mask << at) | (np.int32(5) << at)
    return {"out": np.stack([field, rest, x << (at - 20)]), "product": (field & 0xFF) @ w}


def some_fields(rng: np.random.Generator) -> Arrays:
    return dict(
        x=rng.integers(-(2**31), 2**31, (75, 64)).astype(np.int32),
        at=rng.integers(0, 36, (75, 1)).astype(np.int32),
        size=rng.integers(0, 34, 64).astype(np.int32),
        w=rng.standard_normal((64, 64)).astype(np.float32),
    )


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="dtype[rows, 64]",
    turns="i32[steps]",
    mix="f32[64, 64]",
    out="dtype[rows, 64]",
    sums="f32[rows, 64]",
    static=dict(dtype="i32"),
)
def stirred(
    x: Tensor, turns: Tensor, mix: Tensor, out: Tensor, sums: Tensor, *, dtype: str
) -> None:
    """A number of a table says by how much, in every step; some are beyond all bits, some negative."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)

    def step(i: Index, s: Tile) -> Tile:
        turn = turns[i] - 4
        return (s ^ (s << turn)) ^ ((s >> (turn + i % 3)) & 0x3FFF)

    last = pto.fori_loop(0, turns.shape[0], step, pto.load(x[rows, :]))
    pto.store(out[rows, :], last)
    pto.store(sums[rows, :], (last & 0xFF).astype("f32") @ pto.load(mix[:, :]))


def of_turns(x: Any, turns: Any, mix: Any) -> dict[str, Any]:
    def count(n: int) -> Any:  # numpy's own counts are of the type of x
        return x.dtype.type(n if 0 <= n < 32 else -1)

    for i, turn in enumerate(int(t) - 4 for t in turns):
        x = (x ^ (x << count(turn))) ^ ((x >> count(turn + i % 3)) & x.dtype.type(0x3FFF))
    return {"out": x, "sums": (x & 0xFF) @ mix}


def some_turns(dtype: type) -> Any:
    def drawn(rng: np.random.Generator) -> Arrays:
        ends = np.iinfo(dtype)
        return dict(
            x=rng.integers(ends.min, ends.max + 1, (75, 64)).astype(dtype),
            turns=np.array([5, 17, 0, 9, 34, 22, 40], np.int32),
            mix=rng.standard_normal((64, 64)).astype(np.float32),
        )

    return drawn


@pto.kernel(grid="cdiv(rows, 32)", x="i16[rows, 64]", n="i16[rows, 64]", out="i16[3, rows, 64]")
def halves(x: Tensor, n: Tensor, out: Tensor) -> None:
    """Every element by another number, of 16 bits."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)
    a, b = pto.load(x[rows, :]), pto.load(n[rows, :])
    for k, made in enumerate((a << b, a >> b, -7 >> b)):
        pto.store(out[k, rows, :], made)


def of_halves(x: Any, n: Any) -> dict[str, Any]:
    return {"out": np.stack([x << n, x >> n, np.int16(-7) >> n])}


def some_halves(rng: np.random.Generator) -> Arrays:
    n = rng.integers(-2, 20, (75, 64))
    n[0, :2] = -(2**15), 2**15 - 1
    x = rng.integers(-(2**15), 2**15, (75, 64))
    return dict(x=x.astype(np.int16), n=n.astype(np.int16))


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="i32[rows, 64]",
    column="i32[rows, 1]",
    row="i32[64]",
    n="i32",
    out="i32[5, rows, 64]",
)
def opposites(x: Tensor, column: Tensor, row: Tensor, out: Tensor, *, n: Scalar) -> None:
    """Integers taken away from numbers, a scalar, a column and a row; the least one is its own opposite."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)
    a = pto.load(x[rows, :])
    made = (-a, 63 - a, n - a, pto.load(column[rows, :]) - a, pto.load(row[:]) - a)
    for k, tile in enumerate(made):
        pto.store(out[k, rows, :], tile)


def taken_away(x: Any, column: Any, row: Any, n: Any) -> dict[str, Any]:
    return {"out": np.stack([y - x for y in (*np.int32([0, 63, n]), column, row)])}


def far(rng: np.random.Generator) -> Arrays:
    ends = np.iinfo(np.int32)
    shapes = dict(x=(75, 64), column=(75, 1), row=(64,))
    drawn = {n: rng.integers(ends.min, ends.max + 1, s, np.int32) for n, s in shapes.items()}
    drawn["x"][0, :5] = ends.min, ends.max, 0, -1, 2**24 + 1
    return dict(drawn, n=7)


WORDS = {
    "weights of four bits": Word(packed, nibbles, unpacked),
    "inputs dropped": Word(dropped, states, shuffled),
    "sets as bytes": Word(sets, some_sets(np.uint8), of_sets),
    "sets as int8": Word(sets, some_sets(np.int8), of_sets, dict(dtype="i8")),
    "sets as int16": Word(sets, some_sets(np.int16), of_sets, dict(dtype="i16")),
    "integers in order": Word(ordered, large, in_order),
    "fields by tiles": Word(fields, some_fields, of_fields),
    "turns by a table": Word(stirred, some_turns(np.int32), of_turns),
    "turns by a table, i16": Word(stirred, some_turns(np.int16), of_turns, dict(dtype="i16")),
    "opposites of integers": Word(opposites, far, taken_away),
    "shifts of halves": Word(halves, some_halves, of_halves),
    "quotients of floats": Word(divided, signed, quotients),
}
