"""Tensors that are updated in place: loaded and stored, or stored in part."""

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
    grid="cdiv(rows, 32), heads",
    q="bf16[rows, heads, 128]",
    cos="f32[rows, 64]",
    sin="f32[rows, 64]",
)
def rope(q: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Both halves of every query turned; the halves lie where they lay."""
    first, head = pto.program_id(0) * 32, pto.program_id(1)
    here = pto.ds(first, 32, valid=q.shape[0] - first)
    x = pto.load(q[here, head, 0:64]).astype("f32")
    y = pto.load(q[here, head, 64:128]).astype("f32")
    c, s = pto.load(cos[here, :]), pto.load(sin[here, :])
    pto.store(q[here, head, 0:64], (x * c - y * s).astype("bf16"))
    pto.store(q[here, head, 64:128], (x * s + y * c).astype("bf16"))


def turned(q: Any, cos: Any, sin: Any) -> dict[str, Any]:
    x, y, c, s = q[..., :64], q[..., 64:], cos[:, None], sin[:, None]
    return {"q": np.concatenate([x * c - y * s, x * s + y * c], -1)}


def angles(rng: np.random.Generator) -> dict[str, Any]:
    angle = rng.uniform(0, 6, (75, 64)).astype(f32)
    return dict(
        q=rng.standard_normal((75, 3, 128)).astype(bf16), cos=np.cos(angle), sin=np.sin(angle)
    )


@pto.kernel(
    grid="tokens",
    key="f16[tokens, 16, 64]",
    slot="i32[tokens] distinct",
    cache="f16[slots, 16, 64] inout",
)
def written(key: Tensor, slot: Tensor, cache: Tensor) -> None:
    """Every token writes the slot that is its own; the other slots keep what they hold."""
    t = pto.program_id(0)
    pto.store(cache[slot[t], :, :], pto.load(key[t, :, :]))


def kept(key: Any, slot: Any, cache: Any) -> dict[str, Any]:
    cache[slot] = key
    return {"cache": cache}


def slots(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        key=rng.standard_normal((6, 16, 64)).astype(f16),
        slot=rng.permutation(20)[:6].astype(np.int32),
        cache=rng.standard_normal((20, 16, 64)).astype(f16),
    )


@pto.kernel(
    grid="tokens",
    slot="i32[tokens] distinct",
    decay="f32[tokens]",
    state="f32[slots, 16, 64]",
)
def decayed(slot: Tensor, decay: Tensor, state: Tensor) -> None:
    """The state of every sequence, where a table says that it lies."""
    t = pto.program_id(0)
    here = state[slot[t], :, :]
    pto.store(here, pto.load(here) * decay[t])


def less(slot: Any, decay: Any, state: Any) -> dict[str, Any]:
    state[slot] *= decay[:, None, None]
    return {"state": state}


def states(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        slot=rng.permutation(20)[:6].astype(np.int32),
        decay=rng.uniform(0.5, 1, 6).astype(f32),
        state=rng.standard_normal((20, 16, 64)).astype(f32),
    )


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="bf16[rows, inner]",
    w="bf16[inner, 192]",
    residual="f32[rows, 192]",
)
def added(x: Tensor, w: Tensor, residual: Tensor) -> None:
    """A product added to the residual, block of columns after block, on both cores."""
    first = pto.program_id(0) * 32
    rows = pto.ds(first, 32, valid=x.shape[0] - first)
    inner = x.shape[1]

    def columns(j: Index) -> None:
        cols = pto.ds(j * 64, 64)

        def step(k: Index, acc: Tile) -> Tile:
            here = pto.ds(k * 64, 64, valid=inner - k * 64)
            return acc + pto.load(x[rows, here]) @ pto.load(w[here, cols])

        made = pto.fori_loop(0, pto.cdiv(inner, 64), step, pto.zeros((32, 64)))
        pto.store(residual[rows, cols], pto.load(residual[rows, cols]) + made)

    pto.fori_loop(0, 3, columns)


def residual(x: Any, w: Any, residual: Any) -> dict[str, Any]:
    return {"residual": residual + x @ w}


def products(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((75, 150)).astype(bf16),
        w=rng.standard_normal((150, 192)).astype(bf16),
        residual=rng.standard_normal((75, 192)).astype(f32),
    )


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, cols]", scale="f32[1, cols]", static=dict(block=64))
def normed(x: Tensor, scale: Tensor, *, block: int) -> None:
    """Rows over the root of the mean of their squares, in two passes over what is overwritten in the second."""
    first = pto.program_id(0) * 16
    rows, cols = pto.ds(first, 16, valid=x.shape[0] - first), x.shape[1]

    def squares(j: Index, total: Tile) -> Tile:
        part = pto.load(x[rows, pto.ds(j * block, block, valid=cols - j * block)])
        return total + pto.row_sum(part * part)

    steps = pto.cdiv(cols, block)
    total = pto.fori_loop(0, steps, squares, pto.zeros((16, 1)))
    by = pto.rsqrt(total * (1.0 / cols) + 1e-5)

    def scaled(j: Index) -> None:
        here = pto.ds(j * block, block, valid=cols - j * block)
        pto.store(x[rows, here], pto.load(x[rows, here]) * by * pto.load(scale[:, here]))

    pto.fori_loop(0, steps, scaled)


def rms(x: Any, scale: Any) -> dict[str, Any]:
    return {"x": x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * scale}


def ragged(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((40, 200)).astype(f32),
        scale=rng.uniform(0.5, 2, (1, 200)).astype(f32),
    )


@pto.kernel(
    grid="cdiv(rows, 32)",
    w="f32[rows, 64]",
    m="f32[rows, 64]",
    v="f32[rows, 64]",
    gradient="f32[rows, 64]",
    rate="f32",
)
def adam(w: Tensor, m: Tensor, v: Tensor, gradient: Tensor, rate: Index) -> None:
    """A step of an optimizer: weights and both moments in place."""
    first = pto.program_id(0) * 32
    here = pto.ds(first, 32, valid=w.shape[0] - first)
    g = pto.load(gradient[here, :])
    mean = pto.load(m[here, :]) * 0.9 + g * 0.1
    square = pto.load(v[here, :]) * 0.99 + g * g * 0.01
    pto.store(m[here, :], mean)
    pto.store(v[here, :], square)
    pto.store(w[here, :], pto.load(w[here, :]) - mean / (pto.sqrt(square) + 1e-3) * rate)


def stepped(w: Any, m: Any, v: Any, gradient: Any, rate: Any) -> dict[str, Any]:
    m, v = 0.9 * m + 0.1 * gradient, 0.99 * v + 0.01 * gradient**2
    return dict(w=w - rate * m / (np.sqrt(v) + 1e-3), m=m, v=v)


def moments(rng: np.random.Generator) -> dict[str, Any]:
    w, m, g = rng.standard_normal((3, 75, 64)).astype(f32)
    return dict(w=w, m=m, v=rng.uniform(0, 1, (75, 64)).astype(f32), gradient=g, rate=0.01)


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, 64]", y="f32[rows, 64]", out="f32[rows, 64]")
def swapped(x: Tensor, y: Tensor, out: Tensor) -> None:
    """Two tensors change places, and what was stored is loaded again: only memory says in which order."""
    first = pto.program_id(0) * 16
    here = pto.ds(first, 16, valid=x.shape[0] - first)
    old, new = pto.load(x[here, :]), pto.load(y[here, :])
    pto.store(x[here, :], new)
    pto.store(y[here, :], old)
    pto.store(out[here, :], pto.load(x[here, :]) + 1.0)


def exchanged(x: Any, y: Any) -> dict[str, Any]:
    return dict(x=y, y=x, out=y + 1)


def pairs(rng: np.random.Generator) -> dict[str, Any]:
    x, y, out = rng.standard_normal((3, 40, 64)).astype(f32)
    return dict(x=x, y=y, out=out)


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="bf16[rows, inner]",
    w="bf16[blocks, 64, 64]",
    scratch="bf16[rows, blocks, 64]",
    out="f32[rows, 64]",
)
def spilled(x: Tensor, w: Tensor, scratch: Tensor, out: Tensor) -> None:
    """Products on one core, what the other makes of them through memory and back, block after block."""
    first = pto.program_id(0) * 32
    rows = pto.ds(first, 32, valid=x.shape[0] - first)

    def step(k: Index, total: Tile) -> Tile:
        here = scratch[rows, k, :]
        cols = pto.ds(k * 64, 64, valid=x.shape[1] - k * 64)
        made = pto.relu(pto.load(x[rows, cols]) @ pto.load(w[k, :, :]))
        pto.store(here, made.astype("bf16"))
        return total + pto.load(here).astype("f32")

    pto.store(out[rows, :], pto.fori_loop(0, w.shape[0], step, pto.zeros((32, 64))))


def through_memory(x: Any, w: Any, scratch: Any) -> dict[str, Any]:
    padded = np.zeros((x.shape[0], w.shape[0] * 64))
    padded[:, : x.shape[1]] = x
    made = np.maximum(np.einsum("rbk,bkc->rbc", padded.reshape(len(x), -1, 64), w), 0)
    return dict(scratch=made, out=made.sum(1))


def blocks(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((75, 300)).astype(bf16),
        w=rng.standard_normal((5, 64, 64)).astype(bf16),
        scratch=rng.standard_normal((75, 5, 64)).astype(bf16),
    )


@pto.kernel(
    grid="items", x="f32[rows, 64]", counts="i32[items] in 0 .. 17", y="f32[items, tall, 64]",
    lens="i32[items, most]",
)  # fmt: skip
def packed(x: Tensor, counts: Tensor, y: Tensor, lens: Tensor) -> None:
    """Rows that lie behind each other, those of items and those of chunks of an item, whatever is stated of lengths."""
    b = pto.program_id(0)
    first = pto.fold(b, lambda i, s: s + counts[i], 0)
    mine = pto.ds(first, 16, valid=counts[b])
    pto.store(x[mine, :], pto.exp(pto.load(x[mine, :])))

    def chunk(i: Index, at: Index) -> Index:
        n = pto.maximum(lens[b, i], 0)
        here = pto.ds(at, 16, valid=n)
        rows = pto.load(y[b, here, :])
        pto.store(y[b, here, :], rows - pto.row_max(rows))
        return at + n

    pto.fori_loop(0, lens.shape[1], chunk, 0)


def by_chunks(x: Any, counts: Any, y: Any, lens: Any) -> dict[str, Any]:
    y[:] = np.where(
        np.arange(y.shape[1])[:, None] < np.maximum(lens, 0).sum(1)[:, None, None],
        y - y.max(axis=2, keepdims=True),
        y,
    )
    return dict(x=np.exp(x), y=y)


def chunks(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((30, 64)).astype(f32),
        counts=np.int32([3, 0, 16, 11]),
        y=rng.standard_normal((4, 40, 64)).astype(f32),
        lens=np.int32([[5, 0, 16], [-3, 16, 16], [1, 1, -9], [0, 0, 0]]),
    )


@pto.kernel(
    grid="requests",
    q="bf16[requests, 16, 64]",
    key="bf16[requests, 16, 64]",
    value="bf16[requests, 16, 64]",
    pages="i32[requests, width] distinct",
    counts="i32[requests]",
    keys="bf16[slots, 16, 64]",
    values="bf16[slots, 16, 64]",
    out="f32[requests, 16, 64]",
)
def appended(
    q: Tensor, key: Tensor, value: Tensor, pages: Tensor, counts: Tensor, keys: Tensor,
    values: Tensor, out: Tensor,
) -> None:  # fmt: skip
    """The last page of keys and values is written by the vector core, then all are loaded for products."""
    b = pto.program_id(0)
    count, query = counts[b], pto.load(q[b, :, :])
    last = pages[b, count - 1]
    pto.store(keys[last, :, :], pto.load(key[b, :, :]))
    pto.store(values[last, :, :], pto.load(value[b, :, :]))

    def step(i: Index, carry: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        total, acc = carry
        p = pto.exp(query @ pto.load(keys[pages[b, i], :, :]).T * 0.125)
        made = p.astype("bf16") @ pto.load(values[pages[b, i], :, :])
        return total + pto.row_sum(p), acc + made

    total, acc = pto.fori_loop(0, count, step, (pto.zeros((16, 1)), pto.zeros((16, 64))))
    pto.store(out[b, :, :], acc / total)


def attended(
    q: Any, key: Any, value: Any, pages: Any, counts: Any, keys: Any, values: Any
) -> dict[str, Any]:
    out = np.zeros(q.shape)
    for b, count in enumerate(counts):
        mine = pages[b, :count]
        keys[mine[-1]], values[mine[-1]] = key[b], value[b]
        p = np.exp(q[b] @ keys[mine].reshape(-1, 64).T / 8)
        out[b] = p @ values[mine].reshape(-1, 64) / p.sum(1, keepdims=True)
    return dict(keys=keys, values=values, out=out)


def requests(rng: np.random.Generator) -> dict[str, Any]:
    q, key, value = (rng.standard_normal((5, 16, 64)) * 0.5 for _ in range(3))
    keys, values = (rng.standard_normal((24, 16, 64)) * 0.5 for _ in range(2))
    made = dict(q=q, key=key, value=value, keys=keys, values=values)
    return {n: a.astype(bf16) for n, a in made.items()} | dict(
        pages=rng.permutation(20).reshape(5, 4).astype(np.int32),
        counts=np.array([1, 4, 2, 3, 1], np.int32),
    )


@pto.kernel(
    grid="cdiv(rows, 32)",
    q="bf16[rows, 64]",
    k="bf16[blocks, 64, 64]",
    scores="f32[blocks, rows, 64]",
    out="f32[blocks, rows, 64]",
)
def materialised(q: Tensor, k: Tensor, scores: Tensor, out: Tensor) -> None:
    """Products to memory by the cube core, of which the vector core makes weights in two passes."""
    first = pto.program_id(0) * 32
    rows = pto.ds(first, 32, valid=q.shape[0] - first)
    query = pto.load(q[rows, :])

    def score(j: Index) -> None:
        pto.store(scores[j, rows, :], query @ pto.load(k[j, :, :]).T)

    def summed(j: Index, total: Tile) -> Tile:
        return total + pto.row_sum(pto.exp(pto.load(scores[j, rows, :])))

    def weighed(j: Index) -> None:
        pto.store(out[j, rows, :], pto.exp(pto.load(scores[j, rows, :])) / total)

    pto.fori_loop(0, k.shape[0], score)
    total = pto.fori_loop(0, k.shape[0], summed, pto.zeros((32, 1)))
    pto.fori_loop(0, k.shape[0], weighed)


def weights(q: Any, k: Any, scores: Any) -> dict[str, Any]:
    made = np.einsum("rc,bkc->brk", q, k)
    p = np.exp(made)
    return dict(scores=made, out=p / p.sum((0, 2), keepdims=True))


def queries(rng: np.random.Generator) -> dict[str, Any]:
    q, k = rng.standard_normal((75, 64)) * 0.3, rng.standard_normal((5, 64, 64)) * 0.3
    scores = np.zeros((5, 75, 64), f32)
    return dict(q=q.astype(bf16), k=k.astype(bf16), scores=scores)


# ---------------------------------------------------------------- lanes: halves of what nothing joins


@pto.kernel(grid="heads", g="f32[heads, 16, 32]", state="f32[heads, 32, 64]")
def cooled(g: Tensor, state: Tensor) -> None:
    """A state by one number, which both lanes make of a tile that is folded altogether."""
    h = pto.program_id(0)
    most = pto.max(pto.load(g[h, :, :]))
    pto.store(state[h, :, :], pto.load(state[h, :, :]) * pto.exp(-most))


def by_most(g: Any, state: Any) -> dict[str, Any]:
    return {"state": state * np.exp(-g.max((1, 2), keepdims=True))}


def gates(rng: np.random.Generator) -> dict[str, Any]:
    g, state = (rng.standard_normal((5, *shape)).astype(f32) for shape in ((16, 32), (32, 64)))
    return dict(g=g, state=state)


@pto.kernel(grid="heads", g="f32[heads, 32]", state="f32[heads, 32, 64]")
def faded(g: Tensor, state: Tensor) -> None:
    """A state by a column, of a tile that meets its transpose: both lanes hold the column, and half of the state."""
    h = pto.program_id(0)
    row = pto.load(g[h, :])
    before = pto.where(pto.iota(1) <= pto.iota(0), row.T - row, 0.0)
    pto.store(state[h, :, :], pto.load(state[h, :, :]) * pto.row_sum(before))


def by_differences(g: Any, state: Any) -> dict[str, Any]:
    d = np.tril(g[:, :, None] - g[:, None, :])
    return {"state": state * d.sum(2, keepdims=True)}


def rows_of_gates(rng: np.random.Generator) -> dict[str, Any]:
    made = gates(rng)
    return dict(g=made["g"][:, 0], state=made["state"])


@pto.kernel(
    grid="cdiv(rows, 16)",
    x="bf16[rows, cols]",
    dy="bf16[rows, cols]",
    dx="f32[rows, cols]",
    dg="f32[cols]",
)
def backwards(x: Tensor, dy: Tensor, dx: Tensor, dg: Tensor) -> None:
    """Sums of rows in one loop; in the next one sums of columns beside what is updated in place."""
    first = pto.program_id(0) * 16
    rows, cols = pto.ds(first, 16, valid=x.shape[0] - first), x.shape[1]

    def both(j: Index) -> tuple[Tile, Tile]:
        v, d = (pto.load(t[rows, pto.ds(j * 64, 64, valid=cols - j * 64)]) for t in (x, dy))
        return v.astype("f32"), d.astype("f32")

    def squares(j: Index, total: Tile) -> Tile:
        v, _ = both(j)
        return total + pto.row_sum(v * v)

    total = pto.fori_loop(0, pto.cdiv(cols, 64), squares, pto.zeros((16, 1)))
    by = pto.rsqrt(total / cols + 1.0)

    def update(j: Index) -> None:
        v, d = both(j)
        part = pto.ds(j * 64, 64, valid=cols - j * 64)
        pto.store(dg[part], pto.col_sum(d * v * by), add=True)
        pto.store(dx[rows, part], pto.load(dx[rows, part]) + d * by)

    pto.fori_loop(0, pto.cdiv(cols, 64), update)


def gradients(x: Any, dy: Any, dx: Any, dg: Any) -> dict[str, Any]:
    by = 1 / np.sqrt((x * x).mean(1, keepdims=True) + 1)
    return dict(dx=dx + dy * by, dg=dg + (dy * x * by).sum(0))


def ragged_gradients(rng: np.random.Generator) -> dict[str, Any]:
    x, dy, dx = (rng.standard_normal((37, 200)) for _ in range(3))
    dg = rng.standard_normal(200).astype(f32)
    return dict(x=x.astype(bf16), dy=dy.astype(bf16), dx=dx.astype(f32), dg=dg)


WORDS = {
    "states by one number": Word(cooled, gates, by_most),
    "states by a column of both lanes": Word(faded, rows_of_gates, by_differences),
    "gradients beside sums of columns": Word(backwards, ragged_gradients, gradients),
    "rows at sums": Word(packed, chunks, by_chunks),
    "a page appended, then attended to": Word(appended, requests, attended),
    "scores in memory": Word(materialised, queries, weights),
    "states by slots": Word(decayed, states, less),
    "stored and loaded again": Word(swapped, pairs, exchanged),
    "spilled to memory": Word(spilled, blocks, through_memory),
    "residual in place": Word(added, products, residual),
    "rope in place": Word(rope, angles, turned),
    "norm in place": Word(normed, ragged, rms),
    "cache by slots": Word(written, slots, kept),
    "adam": Word(adam, moments, stepped),
}
