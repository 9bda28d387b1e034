"""Views whose elements lie apart: columns of one kept dimension, rows of a dimension declared as two, every
so many rows."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Tensor, Tile
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


@pto.kernel(
    grid="batch",
    q="f16[batch, 32, 64]",
    kv="f16[batch, rows, 64]",
    out="f32[batch, 96, 64]",
)
def interleaved(q: Tensor, kv: Tensor, out: Tensor) -> None:
    """A key, a value, a key, ...: each is every second row; what is stored takes every third."""
    b, rows = pto.program_id(0), kv.shape[1]
    query = pto.load(q[b, :, :])

    def body(i: Index, total: Tile) -> Tile:
        first = i * 64
        key = pto.load(kv[b, pto.ds(first, 32, pto.cdiv(rows - first, 2), 2), :])
        value = pto.load(kv[b, pto.ds(first + 1, 32, (rows - first) // 2, 2), :])
        return total + ((query @ key.T) * 0.125).astype("f16") @ value

    total = pto.fori_loop(0, pto.cdiv(rows, 64), body, pto.zeros((32, 64)))
    pto.store(out[b, 0:96:3, :], total)
    pto.store(out[b, 1:97:3, :], total * 2.0)
    pto.store(out[b, 2:98:3, :], total * total)


def attended(q: Any, kv: Any) -> dict[str, Any]:
    keys, values = kv[:, 0:-1:2], kv[:, 1::2]
    total = q @ keys.swapaxes(1, 2) * 0.125 @ values
    return dict(out=np.stack([total, total * 2, total * total], 2).reshape(len(q), 96, 64))


@pto.kernel(
    grid="2, cdiv(rows, 128)",
    x="f32[2, half, 40]",
    old="f32[rows, 40]",
    w="bf16[32, 32]",
    out="f32[rows, 40]",
    every="f32[rows, 32]",
)
def combed(x: Tensor, old: Tensor, w: Tensor, out: Tensor, every: Tensor) -> None:
    """Two work items fill every second row each, block by block, with what either core makes."""
    p, block, rows = pto.program_id(0), pto.program_id(1), out.shape[0]
    weight = pto.load(w[:, :])

    def body(i: Index) -> None:
        pair = block * 64 + i * 32
        first = 2 * pair + p
        here = pto.ds(pair, 32, pto.cdiv(rows - first, 2))
        there = pto.ds(first, 32, pto.cdiv(rows - first, 2), step=2)
        pto.store(out[there, :], pto.load(x[p, here, :]) * pto.load(old[there, :]))
        narrow = pto.load(x[p, here, 0:32]).astype("bf16")
        pto.store(every[there, :], narrow @ weight)

    pto.fori_loop(0, 2, body)


def uncombed(x: Any, old: Any, w: Any) -> dict[str, Any]:
    one_by_one = x.swapaxes(0, 1).reshape(-1, 40)[: len(old)]
    return dict(out=one_by_one * old, every=one_by_one[:, :32] @ w)


@pto.kernel(
    grid="batch",
    q="f16[batch, 64, 64]",
    cache="f16[batch, heads, 24, 64]",
    high="f32[batch, heads, 32, 64]",
    low="f32[batch, heads, 16, 64]",
    sums="f32[batch, 64, 8]",
)
def pages(q: Tensor, cache: Tensor, high: Tensor, low: Tensor, sums: Tensor) -> None:
    """Rows of several heads as one tile: operands both ways, products stored so by either core, heads that end early."""
    b, heads = pto.program_id(0), cache.shape[1]
    query, ones = pto.load(q[b, :, :]), pto.zeros((64, 8)) + 1.0

    def body(i: Index, total: Tile) -> Tile:
        four = pto.ds(4 * i, 4, valid=heads - 4 * i)
        keys = pto.load(cache[b, four, 0:16, :].reshape(64, 64))
        pto.store(high[b, four, 0:16, :].reshape(64, 64), query @ keys)
        pto.store(high[b, four, 16:32, :].reshape(64, 64), query @ keys.T)
        eight = pto.load(cache[b, four, 16:24, :].reshape(32, 64))
        pto.store(low[b, four, 0:8, :].reshape(32, 64), eight @ keys)
        pto.store(low[b, four, 8:16, :].reshape(32, 64), eight @ keys.T)
        return total + ones * pto.row_sum(keys.astype("f32"))

    pto.store(sums[b, :, :], pto.fori_loop(0, pto.cdiv(heads, 4), body, pto.zeros((64, 8))))


def of_heads(q: Any, cache: Any) -> dict[str, Any]:
    b, heads = cache.shape[:2]
    groups = np.pad(cache, ((0, 0), (0, -heads % 4), (0, 0), (0, 0))).reshape(b, -1, 4, 24, 64)
    keys = groups[:, :, :, :16].reshape(b, -1, 64, 64)
    eight = groups[:, :, :, 16:].reshape(b, -1, 32, 64)

    def products(x: Any, rows: int) -> Any:
        made = [(x @ k).reshape(b, -1, rows, 64) for k in (keys, keys.swapaxes(2, 3))]
        return np.concatenate(made, 2)[:, :heads]

    sums = np.repeat(keys.sum((1, 3))[:, :, None], 8, 2)
    return dict(high=products(q[:, None], 16), low=products(eight, 8), sums=sums)


@pto.kernel(
    grid="blocks",
    x="f32[tokens, 3, 16]",
    y="f32[blocks, 3, 24, 32]",
    out="f32[3, tokens, 16]",
    flat="f32[tokens, 48]",
    scaled="f32[blocks, 3, 24, 32]",
)
def three(x: Tensor, y: Tensor, out: Tensor, flat: Tensor, scaled: Tensor) -> None:
    """Three heads, which two lanes cannot share: as columns, as rows, as rows of which both lanes have all."""
    n, tokens = pto.program_id(0), x.shape[0]
    here = pto.ds(n * 32, 32, valid=tokens - n * 32)
    tile = pto.load(x[here, :, :].reshape(32, 48))
    pto.store(flat[here, :], tile * 2.0)
    for h in range(3):
        pto.store(out[h, here, :], tile[:, 16 * h : 16 * h + 16])
    spread = pto.load(y[n, :, 0:16:2, :].reshape(24, 32)) * 2.0
    pto.store(scaled[n, :, 0:16:2, :].reshape(24, 32), spread)
    pto.store(scaled[n, :, 1:16:2, :].reshape(24, 32), pto.load(y[n, :, 1:16:2, :].reshape(24, 32)))
    rows = pto.load(y[n, :, 16:24, :].reshape(24, 32))
    pto.store(scaled[n, :, 16:24, :].reshape(24, 32), rows / pto.row_sum(abs(rows)))


def of_three(x: Any, y: Any) -> dict[str, Any]:
    scaled = y.copy()
    scaled[:, :, 0:16:2] *= 2
    scaled[:, :, 16:] /= abs(y[:, :, 16:]).sum(3, keepdims=True)
    return dict(out=x.swapaxes(0, 1), flat=x.reshape(len(x), 48) * 2, scaled=scaled)


@pto.kernel(
    grid="cdiv(tokens, 32)",
    x="f16[tokens, heads, 64]",
    cos="f32[tokens, 32]",
    sin="f32[tokens, 32]",
    w="f16[64, 32]",
    out="f16[tokens, heads, 64]",
    made="f32[tokens, heads, 32]",
)
def rope(x: Tensor, cos: Tensor, sin: Tensor, w: Tensor, out: Tensor, made: Tensor) -> None:
    """Pairs of neighbours are turned, head by head, and go to the cube."""
    first, weight = pto.program_id(0) * 32, pto.load(w[:, :])
    here = pto.ds(first, 32, valid=x.shape[0] - first)
    c, s = pto.load(cos[here, :]), pto.load(sin[here, :])

    def body(h: Index) -> None:
        given = pto.load(x[here, h, :]).astype("f32")
        a, b = given[:, ::2], given[:, 1::2]
        turned = pto.zeros((32, 64)).at[:, ::2].set(a * c - b * s).at[:, 1::2].set(b * c + a * s)
        half = turned.astype("f16")
        pto.store(out[here, h, :], half)
        pto.store(made[here, h, :], half @ weight)

    pto.fori_loop(0, x.shape[1], body)


def turned(x: Any, cos: Any, sin: Any, w: Any) -> dict[str, Any]:
    c, s = cos[:, None], sin[:, None]
    a, b = x[:, :, 0::2], x[:, :, 1::2]
    out = np.stack([a * c - b * s, b * c + a * s], 3).reshape(x.shape)
    return dict(out=out, made=out @ w)


@pto.kernel(
    grid="cdiv(rows, 16)",
    x="f32[rows, cols]",
    y="bf16[rows, 64]",
    like="f32[few]",
    thirds="f32[rows, few]",
    odd="bf16[rows, 32]",
    mixed="bf16[rows, 64]",
)
def sampled(x: Tensor, y: Tensor, like: Tensor, thirds: Tensor, odd: Tensor, mixed: Tensor) -> None:
    """Every so many elements of rows, block by block; of what is loaded every fourth column is another."""
    first, cols = pto.program_id(0) * 16, x.shape[1]
    here = pto.ds(first, 16, valid=x.shape[0] - first)

    def body(j: Index) -> None:
        begin = 48 * j + 1
        third = pto.load(x[here, pto.ds(begin, 16, valid=pto.cdiv(cols - begin, 3), step=3)])
        pto.store(thirds[here, pto.ds(16 * j, 16, valid=thirds.shape[1] - 16 * j)], third * 2.0)

    pto.fori_loop(0, pto.cdiv(cols, 48), body)
    single = pto.load(y[here, 1:64:2])
    pto.store(odd[here, :], single)
    pto.store(
        mixed[here, :], pto.load(y[here, :]).at[:, 3::4].set(single[:, 1::2]).at[:, 0::4].set(0.5)
    )


def sparse(x: Any, y: Any, like: Any) -> dict[str, Any]:
    mixed = y.copy()
    mixed[:, 0::4] = 0.5
    return dict(thirds=x[:, 1::3] * 2, odd=y[:, 1::2], mixed=mixed)


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
    "every second row": Word(
        interleaved,
        lambda rng: dict(
            q=normals(rng, np.float16, 3, 32, 64), kv=normals(rng, np.float16, 3, 151, 64)
        ),
        attended,
    ),
    "combed rows": Word(
        combed,
        lambda rng: dict(
            x=normals(rng, np.float32, 2, 102, 40),
            old=normals(rng, np.float32, 203, 40),
            w=normals(rng, ml_dtypes.bfloat16, 32, 32, by=0.1),
        ),
        uncombed,
    ),
    "pages of heads": Word(
        pages,
        lambda rng: dict(
            q=normals(rng, np.float16, 2, 64, 64, by=0.5),
            cache=normals(rng, np.float16, 2, 6, 24, 64, by=0.5),
        ),
        of_heads,
    ),
    "three heads": Word(
        three,
        lambda rng: dict(
            x=normals(rng, np.float32, 75, 3, 16), y=normals(rng, np.float32, 3, 3, 24, 32)
        ),
        of_three,
    ),
    "pairs of neighbours": Word(
        rope,
        lambda rng: dict(
            x=normals(rng, np.float16, 75, 3, 64),
            cos=normals(rng, np.float32, 75, 32),
            sin=normals(rng, np.float32, 75, 32),
            w=normals(rng, np.float16, 64, 32, by=0.2),
        ),
        turned,
    ),
    "every third column": Word(
        sampled,
        lambda rng: dict(
            x=normals(rng, np.float32, 43, 131),
            y=normals(rng, ml_dtypes.bfloat16, 43, 64),
            like=np.zeros(44, np.float32),
        ),
        sparse,
    ),
}
