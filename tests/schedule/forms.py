"""Kernels of every form that a schedule meets: loops in a row and in each other, none, several products a
step, values that nothing changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np

import pto
from lowering.schedule import Schedule, schedule
from pto import Scalar, Tensor, Tile, ds

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """``lengths``: trip counts of work items that show what repeats; ``small``: dimensions of a run on data;
    ``quick``: proven in a second or two."""

    kernel: Any
    lengths: tuple[int, ...]
    small: Mapping[str, int]
    statics: Mapping[str, Any] = field(default_factory=dict)
    draw: Callable[[Form], Arrays] | None = None
    quick: bool = True

    def trace(self) -> Any:
        return self.kernel.trace(**self.statics)

    @cached_property
    def made(self) -> Schedule:
        return schedule(self.trace())

    def arrays(self) -> Arrays:
        """Small numbers; integers by name from ``small``."""
        rng, found = np.random.default_rng(0), dict[str, Any]()
        for p in self.trace().params:
            if p.shape is None:
                found[p.name] = 0.25
                continue
            shape = tuple(self.small[d] if isinstance(d, str) else d for d in p.shape)
            kind = {"bf16": ml_dtypes.bfloat16, "f32": np.float32, "i32": np.int32}[p.dtype]
            if p.direction == "out":
                found[p.name] = np.zeros(shape, kind)
            elif p.dtype == "i32":
                found[p.name] = rng.integers(0, 1, shape).astype(np.int32)
            else:
                found[p.name] = (rng.standard_normal(shape, np.float32) * 0.1).astype(kind)
        return {**found, **(self.draw(self) if self.draw else {})}


# ----------------------------------------------------------------------------------------- attention


@pto.kernel(
    grid="batch, heads // q_tile",
    static=dict(heads=64, dim=128, q_tile=64, block=64, pages_a_step=2),
    tune=dict(pages_a_step=(1, 2, 4), q_tile=(16, 32, 64)),
    query="bf16[batch, heads, dim]",
    key_cache="bf16[pages, block, dim]",
    value_cache="bf16[pages, block, dim]",
    block_table="i32[batch, width]",
    context_lens="i32[batch]",
    out="f32[batch, heads, dim]",
    scale="f32",
)
def decode(
    query, key_cache, value_cache, block_table, context_lens, out, *, scale, dim, q_tile, block,
    pages_a_step,
):  # fmt: skip
    """Attention over paged keys, several pages a step; their products with the values are one sum."""
    b, rows = pto.program_id(0), ds(pto.program_id(1) * q_tile, q_tile)
    q, context, width = pto.load(query[b, rows, :]), context_lens[b], block_table.shape[1]

    def one_step(i, carry):
        m, l, acc = carry
        scores, values = [], []
        for j in range(pages_a_step):
            page = block_table[b, pto.minimum(i * pages_a_step + j, width - 1)]
            left = context - (i * pages_a_step + j) * block
            values.append(pto.load(value_cache[page, ds(0, block, valid=left), :]))
            qk = q @ pto.load(key_cache[page, :, :]).T
            scores.append(pto.where(pto.iota(1) < left, qk * scale, -math.inf))
        m_new = m
        for s in scores:
            m_new = pto.maximum(m_new, pto.row_max(s))
        weights = [pto.exp(s - m_new) for s in scores]
        alpha = pto.exp(m - m_new)
        l = l * alpha
        for p in weights:
            l = l + pto.row_sum(p)
        o = weights[0].astype("bf16") @ values[0]
        for p, v in zip(weights[1:], values[1:], strict=True):
            o = o + p.astype("bf16") @ v
        return m_new, l, acc * alpha + o

    start = pto.full((q_tile, 1), -math.inf), pto.zeros((q_tile, 1)), pto.zeros((q_tile, dim))
    _, l, acc = pto.fori_loop(0, pto.cdiv(context, pages_a_step * block), one_step, start)
    pto.store(out[b, rows, :], acc / pto.maximum(l, 1e-30))


@pto.kernel(
    grid="batch, heads // q_tile",
    static=dict(heads=64, dim=128, q_tile=64, block=64, pages=4),
    query="bf16[batch, heads, dim]",
    key_cache="bf16[slots, block, dim]",
    value_cache="bf16[slots, block, dim]",
    block_table="i32[batch, width]",
    context_lens="i32[batch]",
    out="f32[batch, heads, dim]",
    scale="f32",
)
def gathered(
    query, key_cache, value_cache, block_table, context_lens, out, *, scale, dim, q_tile, block, pages
):  # fmt: skip
    """The same, the pages of a step in one tile."""
    b, rows = pto.program_id(0), ds(pto.program_id(1) * q_tile, q_tile)
    q, context, width = pto.load(query[b, rows, :]), context_lens[b], block_table.shape[1]

    def one_step(i, carry):
        m, l, acc = carry
        first = i * pages
        ids = [block_table[b, pto.minimum(first + j, width - 1)] for j in range(pages)]
        left = [ds(0, block, valid=context - (first + j) * block) for j in range(pages)]
        k = pto.load([key_cache[page, :, :] for page in ids])
        v = pto.load([value_cache[page, rows, :] for page, rows in zip(ids, left, strict=True)])
        s = pto.where(pto.iota(1) < context - first * block, q @ k.T * scale, -math.inf)
        m_new = pto.maximum(m, pto.row_max(s))
        alpha, p = pto.exp(m - m_new), pto.exp(s - m_new)
        return m_new, l * alpha + pto.row_sum(p), acc * alpha + p.astype("bf16") @ v

    start = pto.full((q_tile, 1), -math.inf), pto.zeros((q_tile, 1)), pto.zeros((q_tile, dim))
    _, l, acc = pto.fori_loop(0, pto.cdiv(context, pages * block), one_step, start)
    pto.store(out[b, rows, :], acc / pto.maximum(l, 1e-30))


@decode.case
def requests(
    rng: np.random.Generator, *, batch: int = 24, context: int = 8192, **statics: Any
) -> Arrays:
    """As many requests of one length; the search of schedules looks at integers only."""
    heads, dim, block = (statics[n] for n in ("heads", "dim", "block"))
    width = -(-context // block)
    return {
        "query": np.zeros((batch, heads, dim), np.float32),
        "key_cache": np.zeros((width, block, dim), np.float32),
        "value_cache": np.zeros((width, block, dim), np.float32),
        "block_table": np.tile(np.arange(width, dtype=np.int32), (batch, 1)),
        "context_lens": np.full(batch, context, np.int32),
        "scale": np.float32(dim**-0.5),
    }


def ragged(form: Form) -> Arrays:
    """Requests of one token, of none, and of all that fits."""
    table = np.arange(form.small["batch"] * form.small["width"], dtype=np.int32)
    most = form.small["width"] * dict(form.trace().statics)["block"]
    return {
        "block_table": table.reshape(form.small["batch"], -1),
        "context_lens": np.array([most - 7, 0, 1], np.int32)[: form.small["batch"]],
    }


@pto.kernel(
    grid="batch, heads // q_tile, 512 // dv",
    static=dict(heads=128, q_tile=32, block=32, dv=256),
    tune=dict(q_tile=(16, 32, 64), dv=(128, 256, 512)),
    query="bf16[batch, heads, 512]",
    rope="bf16[batch, heads, 64]",
    cache="bf16[pages, block, 576]",
    block_table="i32[batch, width]",
    context_lens="i32[batch]",
    out="f32[batch, heads, 512]",
    scale="f32",
)
def mla(query, rope, cache, block_table, context_lens, out, *, scale, heads, q_tile, block, dv):
    """Decode over a latent cache: scores of 512 latent and 64 rotated columns, values of the latent ones."""
    b, rows = pto.program_id(0), pto.ds(pto.program_id(1) * q_tile, q_tile)
    cols = pto.ds(pto.program_id(2) * dv, dv)
    qn, qr = pto.load(query[b, rows, :]), pto.load(rope[b, rows, :])
    context = context_lens[b]

    def one_page(i, carry):
        m, l, acc = carry
        page, left = block_table[b, i], context - i * block
        c, kr = pto.load(cache[page, :, 0:512]), pto.load(cache[page, :, 512:576])
        s = pto.where(pto.iota(1) < left, (qn @ c.T + qr @ kr.T) * scale, -math.inf)
        m_new = pto.maximum(m, pto.row_max(s))
        alpha, p = pto.exp(m - m_new), pto.exp(s - m_new)
        v = pto.load(cache[page, pto.ds(0, block, valid=left), cols])
        return m_new, l * alpha + pto.row_sum(p), acc * alpha + p.astype("bf16") @ v

    start = pto.full((q_tile, 1), -math.inf), pto.zeros((q_tile, 1)), pto.zeros((q_tile, dv))
    _, l, acc = pto.fori_loop(0, pto.cdiv(context, block), one_page, start)
    pto.store(out[b, rows, cols], acc / pto.maximum(l, 1e-30))


@mla.case
def latent_requests(
    rng: np.random.Generator, *, batch: int = 3, context: int = 4096, **statics: Any
) -> Arrays:
    heads, block = (statics[n] for n in ("heads", "block"))
    width = -(-context // block)
    return {
        "query": np.zeros((batch, heads, 512), np.float32),
        "rope": np.zeros((batch, heads, 64), np.float32),
        "cache": np.zeros((width, block, 576), np.float32),
        "block_table": np.tile(np.arange(width, dtype=np.int32), (batch, 1)),
        "context_lens": np.full(batch, context, np.int32),
        "scale": np.float32(576**-0.5),
    }


@pto.kernel(
    grid="batch",
    static=dict(heads=128, block=64, part=64),
    query="bf16[batch, heads, 576]",
    cache="bf16[pages, block, 576]",
    block_table="i32[batch, width]",
    context_lens="i32[batch]",
    out="f32[batch, heads, 128]",
    scale="f32",
)
def latent(query, cache, block_table, context_lens, out, *, scale, heads, block, part):
    """Decode over a latent cache, the latent dimension a loop in the loop over pages."""
    b = pto.program_id(0)
    context = context_lens[b]

    def one_page(i, carry):
        m, l, acc = carry
        page, left = block_table[b, i], context - i * block

        def one_part(j, s):
            cols = ds(j * part, part)
            return s + pto.load(query[b, :, cols]) @ pto.load(cache[page, :, cols]).T

        s = pto.fori_loop(0, 576 // part, one_part, pto.zeros((heads, block)))
        s = pto.where(pto.iota(1) < left, s * scale, -math.inf)
        m_new = pto.maximum(m, pto.row_max(s))
        alpha, p = pto.exp(m - m_new), pto.exp(s - m_new)
        v = pto.load(cache[page, ds(0, block, valid=left), 0:128])
        return m_new, l * alpha + pto.row_sum(p), acc * alpha + p.astype("bf16") @ v

    start = pto.full((heads, 1), -math.inf), pto.zeros((heads, 1)), pto.zeros((heads, 128))
    _, l, acc = pto.fori_loop(0, pto.cdiv(context, block), one_page, start)
    pto.store(out[b, :, :], acc / pto.maximum(l, 1e-30))


@pto.kernel(
    grid="chunks",
    static=dict(c=64, d=128),
    q="bf16[chunks, c, d]",
    k="bf16[chunks, c, d]",
    v="bf16[chunks, c, d]",
    state="bf16[chunks, d, d]",
    out="f32[chunks, c, d]",
)
def linear_attention(q, k, v, state, out, *, c, d):
    """The output of a chunk: what came before it and its own part, in one sum; no loop in an item."""
    n = pto.program_id(0)
    qs, ks, vs = pto.load(q[n, :, :]), pto.load(k[n, :, :]), pto.load(v[n, :, :])
    own = ((qs @ ks.T) * 0.5).astype("bf16") @ vs
    pto.store(out[n, :, :], qs @ pto.load(state[n, :, :]) + own)


@pto.kernel(
    grid="heads",
    static=dict(t=64, d=128),
    q="bf16[heads, rows, d]",
    d_out="bf16[heads, rows, d]",
    k="bf16[heads, t, d]",
    v="bf16[heads, t, d]",
    d_k="f32[heads, t, d]",
    d_v="f32[heads, t, d]",
)
def backward(q, d_out, k, v, d_k, d_v, *, t, d):
    """Gradients of one block of keys and values over all queries, without softmax: six hand-overs."""
    h = pto.program_id(0)
    ks, vs = pto.load(k[h, :, :]), pto.load(v[h, :, :])

    def one_block(i, carry):
        of_k, of_v = carry
        rows = ds(i * t, t)
        qs, gs = pto.load(q[h, rows, :]), pto.load(d_out[h, rows, :])
        p = pto.exp((ks @ qs.T) * 0.1)
        of_v = of_v + p.astype("bf16") @ gs
        grad = p * (vs @ gs.T)
        return of_k + grad.astype("bf16") @ qs, of_v

    zeros = pto.zeros((t, d)), pto.zeros((t, d))
    of_k, of_v = pto.fori_loop(0, q.shape[1] // t, one_block, zeros)
    pto.store(d_k[h, :, :], of_k)
    pto.store(d_v[h, :, :], of_v)


# ------------------------------------------------------------------------------------------ products


@pto.kernel(
    grid="groups, cdiv(m, 128)",
    a="bf16[groups, m, k]",
    b="bf16[groups, k, 128]",
    depth="i32[groups]",
    out="f32[groups, m, 128]",
)
def grouped(a, b, depth, out):
    """Products of several groups, of which each has its own inner size, and some have none."""
    g, first = pto.program_id(0), pto.program_id(1) * 128
    rows, k = ds(first, 128, valid=a.shape[1] - first), depth[g]

    def step(i, total):
        at = ds(i * 128, 128, valid=k - i * 128)
        return total + pto.load(a[g, rows, at]) @ pto.load(b[g, at, :])

    pto.store(out[g, rows, :], pto.fori_loop(0, pto.cdiv(k, 128), step, pto.zeros((128, 128))))


def depths(form: Form) -> Arrays:
    """None, one, a whole tile, and all."""
    return {"depth": np.array([0, 1, 128, form.small["k"]], np.int32)}


@pto.kernel(
    grid="m // height, n // width",
    static=dict(form="one", k=4096, t=128, height=128, width=128),
    a="bf16[m, k]",
    b="bf16[k, n]",
    out="f32[m, n]",
)
def gemm(
    a: Tensor, b: Tensor, out: Tensor, *, form: str, k: int, t: int, height: int, width: int
) -> None:
    """One matrix product, its sum over k written in several ways."""
    rows, cols = ds(pto.program_id(0) * height, height), ds(pto.program_id(1) * width, width)

    def operands(i: Any) -> tuple[Tile, Tile]:
        at = ds(i * t, t)
        return pto.load(a[rows, at]), pto.load(b[at, cols])

    def one(i: Scalar, acc: Tile) -> Tile:
        x, y = operands(i)
        return acc + x @ y

    def two(i: Scalar, acc: Tile) -> Tile:
        return one(i * 2 + 1, one(i * 2, acc))

    def added(i: Scalar, acc: Tile) -> Tile:
        x, y = operands(i)
        return pto.matmul(x, y, acc=acc)

    def nested(j: Scalar, acc: Tile) -> Tile:
        return pto.fori_loop(0, 4, lambda i, acc: one(j * 4 + i, acc), acc)

    zero, steps = pto.zeros((height, width)), k // t
    ways: dict[str, Callable[[], Tile]] = {
        "one": lambda: pto.fori_loop(0, steps, one, zero),
        "two": lambda: pto.fori_loop(0, steps // 2, two, zero),
        "acc": lambda: pto.fori_loop(0, steps, added, zero),
        "nested": lambda: pto.fori_loop(0, steps // 4, nested, zero),
        "single": lambda: pto.matmul(*operands(0)),
        "start": lambda: pto.fori_loop(1, steps, one, pto.matmul(*operands(0))),
    }
    total = ways[form]()
    pto.store(out[rows, cols], total)


@pto.kernel(
    grid="m // 64",
    static=dict(k=512, n=128),
    x="bf16[m, k]",
    w="bf16[k, n]",
    gamma="f32[n]",
    out="f32[m, n]",
)
def projected(x, w, gamma, out, *, k, n):
    """A product with weights that no item changes."""
    rows = ds(pto.program_id(0) * 64, 64)

    def part(j):
        at = ds(j * 128, 128)
        return pto.load(x[rows, at]) @ pto.load(w[at, :])

    o = part(0)
    for j in range(1, k // 128):
        o = o + part(j)
    pto.store(out[rows, :], o * pto.load(gamma[:]))


@pto.kernel(
    grid="rows // 64",
    static=dict(d=128),
    x="bf16[rows, d]",
    turn="bf16[d, d]",
    cos="f32[rows, d]",
    sin="f32[rows, d]",
    out="f32[rows, d]",
)
def rope(x, turn, cos, sin, out, *, d):
    """Rotated positions: x and a permutation of it, as a product with one matrix."""
    rows = ds(pto.program_id(0) * 64, 64)
    xs = pto.load(x[rows, :])
    turned = xs @ pto.load(turn[:, :])
    y = xs.astype("f32") * pto.load(cos[rows, :]) + turned * pto.load(sin[rows, :])
    pto.store(out[rows, :], y)


# ----------------------------------------------------------------------------------------- vectors


@pto.kernel(grid="rows // 128", static=dict(n=8), x="f32[rows, n, 64]", out="f32[rows, n, 64]")
def copies(x, out, *, n):
    """Several tiles of an item that have nothing to do with each other."""
    rows = ds(pto.program_id(0) * 128, 128)
    for j in range(n):
        pto.store(out[rows, j, :], pto.load(x[rows, j, :]))


@pto.kernel(grid="rows // 64", static=dict(b=128), x="f32[rows, cols]", out="f32[rows, cols]")
def two_loops(x, out, *, b):
    """Each row over the root of its sum of squares: one loop after the other."""
    rows, steps = ds(pto.program_id(0) * 64, 64), x.shape[1] // b

    def square(i, total):
        v = pto.load(x[rows, ds(i * b, b)])
        return total + pto.row_sum(v * v)

    norm = pto.sqrt(pto.fori_loop(0, steps, square, pto.zeros((64, 1))) + 1e-5)

    def scaled(i):
        at = ds(i * b, b)
        v = pto.load(x[rows, at])
        pto.store(out[rows, at], v * v / norm)

    pto.fori_loop(0, steps, scaled)


@pto.kernel(
    grid="batch",
    static=dict(loops=2),
    q="bf16[batch, 64, 128]",
    k="bf16[batch, tokens, 128]",
    v="bf16[batch, tokens, 128]",
    lens="i32[batch, 4]",
    out="f32[batch, 64, 128]",
)
def in_a_row(q, k, v, lens, out, *, loops):
    """A sum over products of products, in loops one after the other whose lengths the data says."""
    b = pto.program_id(0)
    qs, acc = pto.load(q[b, :, :]), pto.zeros((64, 128))
    for j in range(loops):

        def one_block(i, acc):
            rows = ds(i * 64, 64)
            s = pto.exp((qs @ pto.load(k[b, rows, :]).T) * 0.1).astype("bf16")
            return acc * 0.5 + s @ pto.load(v[b, rows, :])

        acc = pto.fori_loop(0, lens[b, j], one_block, acc)
    pto.store(out[b, :, :], acc)


def short_loops(form: Form) -> Arrays:
    """Empty ones, and longer ones, beside each other."""
    return {"lens": np.array([[2, 0, 1, 3], [0, 0, 0, 0], [1, 3, 0, 1]], np.int32)}


@pto.kernel(
    grid="cdiv(rows, 16)",
    static=dict(cols=4096, block=512, centred=False),
    x="bf16[rows, cols]",
    gain="f32[cols]",
    shift="f32[cols]",
    out="bf16[rows, cols]",
)
def wide_norm(x, gain, shift, out, *, cols, block, centred):
    """A norm of rows that are wider than the memory, by blocks of columns, twice; centred: a layer norm."""
    first = pto.program_id(0) * 16
    here = ds(first, 16, valid=x.shape[0] - first)

    def of(i):
        return ds(i * block, block)

    def sums(i, carry):
        total, squares = carry
        v = pto.load(x[here, of(i)]).astype("f32")
        return total + pto.row_sum(v), squares + pto.row_sum(v * v)

    def square(i, squares):
        v = pto.load(x[here, of(i)]).astype("f32")
        return squares + pto.row_sum(v * v)

    zero, blocks = pto.zeros((16, 1)), cols // block
    if centred:
        total, squares = pto.fori_loop(0, blocks, sums, (zero, zero))
        mean = total * (1 / cols)
        scale = pto.rsqrt(squares * (1 / cols) - mean * mean + 1e-5)
    else:
        scale = pto.rsqrt(pto.fori_loop(0, blocks, square, zero) * (1 / cols) + 1e-5)

    def write(i):
        v = pto.load(x[here, of(i)]).astype("f32")
        y = ((v - mean) if centred else v) * scale * pto.load(gain[of(i)])
        y = y + pto.load(shift[of(i)]) if centred else y
        pto.store(out[here, of(i)], y.astype("bf16"))

    pto.fori_loop(0, blocks, write)


FORMS: dict[str, Form] = {
    "decode, two pages of 64": Form(decode, (64,), dict(batch=3, pages=12, width=4), draw=ragged),
    "decode, two pages of 128": Form(
        decode, (32,), dict(batch=3, pages=12, width=4), dict(block=128), ragged
    ),
    "decode, four pages of 64": Form(
        decode, (32,), dict(batch=3, pages=12, width=4), dict(pages_a_step=4), ragged
    ),
    "decode, three pages of 64 in one tile": Form(
        gathered, (43,), dict(batch=3, slots=12, width=4), dict(pages=3), ragged
    ),
    "latent, by one loop": Form(mla, (128,), dict(batch=1, pages=4, width=4), draw=ragged),
    "latent, a loop in a loop": Form(latent, (64,), dict(batch=2, pages=4, width=2), draw=ragged),
    "linear attention": Form(linear_attention, (1,) * 32, dict(chunks=5)),
    "gradients of keys": Form(backward, (32, 32), dict(heads=3, rows=128)),
    "gemm, one product": Form(gemm, (8,) * 16, dict(m=128, n=256), dict(form="one", k=1024)),
    "gemm, two products": Form(gemm, (4,) * 16, dict(m=128, n=256), dict(form="two", k=1024)),
    "gemm, acc": Form(gemm, (8,) * 16, dict(m=128, n=256), dict(form="acc", k=1024)),
    "gemm, two levels": Form(gemm, (8,) * 16, dict(m=128, n=256), dict(form="nested", k=1024)),
    "gemm, from a product": Form(gemm, (7,) * 16, dict(m=128, n=256), dict(form="start", k=1024)),
    "gemm, tiles cut to L0": Form(
        gemm, (4,) * 16, dict(m=256, n=256), dict(form="one", k=1536, t=384)
    ),
    "gemm, 256 x 256 x 256": Form(
        gemm,
        (1,) * 16,
        dict(m=256, n=512),
        dict(form="single", k=256, t=256, height=256, width=256),
    ),
    "gemm, k from data": Form(grouped, (8,) * 16, dict(groups=4, m=200, k=300), draw=depths),
    "gemm, k 512": Form(gemm, (4,) * 16, dict(m=128, n=256), dict(form="one", k=512)),
    "weights that stay": Form(projected, (1,) * 64, dict(m=320)),
    "rotated by a matrix": Form(rope, (1,) * 64, dict(rows=320)),
    "eight copies": Form(copies, (1,) * 32, dict(rows=384)),
    "two loops": Form(two_loops, (64,) * 2, dict(rows=192, cols=384)),
    "two loops that share memory": Form(
        two_loops, (64,) * 2, dict(rows=192, cols=960), dict(b=320)
    ),
    **{
        f"{'layer' if centred else 'rms'} norm of {cols}, {tokens} tokens": Form(
            wide_norm,
            (8,) * (tokens // 16),
            dict(rows=40),
            dict(cols=cols, centred=centred),
            quick=(cols == 8192) == centred and tokens == 16,
        )
        for centred in (False, True)
        for cols in (4096, 8192)
        for tokens in (16, 256)
    },
    "two loops of both cores": Form(
        in_a_row, (32,) * 2, dict(batch=3, tokens=192), draw=short_loops
    ),
    "three loops of both cores": Form(
        in_a_row, (32,) * 2, dict(batch=3, tokens=192), dict(loops=3), short_loops
    ),
    "four loops of both cores": Form(
        in_a_row, (32,) * 2, dict(batch=3, tokens=192), dict(loops=4), short_loops, False
    ),
}

LONG = (
    "three loops of both cores",
    "latent, by one loop",
    "latent, a loop in a loop",
    "decode, four pages of 64",
    "gradients of keys",
)
"""Seconds each: in the sweep."""
