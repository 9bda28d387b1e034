"""Decoding of few sequences with long contexts: work items are parts of a context, a second kernel joins them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile
from pto.kernels.attention.pages import contents, lengths, paged

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="batch, parts, heads // q_tile",
    query="dtype[batch, heads, dim]",
    key_cache="dtype[slots, block, dim]",
    value_cache="dtype[slots, block, dim]",
    block_table="i32[batch, width]",
    context_lens="i32[batch]",
    largest="f32[batch, parts, heads, 1]",
    total="f32[batch, parts, heads, 1]",
    acc="f32[batch, parts, heads, dim]",
    scale="f32",
    static=dict(dtype="bf16", heads=64, dim=128, q_tile=64, block=128, parts=24),
)
def split_decode(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, block_table: Tensor,
    context_lens: Tensor, largest: Tensor, total: Tensor, acc: Tensor, *, scale: Scalar,
    q_tile: int, dim: int, block: int, parts: int,
) -> None:  # fmt: skip
    """Of each part of a context: the largest score, the sum of exp(score - largest), and that of the values."""
    b, part, rows = pto.program_id(0), pto.program_id(1), pto.ds(pto.program_id(2) * q_tile, q_tile)
    q, context = pto.load(query[b, rows, :]), context_lens[b]
    pages = pto.cdiv(context, block)
    each = pto.cdiv(pages, parts)

    def one_page(i: Scalar, carry: tuple[Tile, Tile, Tile]) -> tuple[Tile, Tile, Tile]:
        m, l, o = carry
        page, left = block_table[b, i], context - i * block
        k = pto.load(key_cache[page, :, :])
        v = pto.load(value_cache[page, pto.ds(0, block, valid=left), :])
        s = pto.where(pto.iota(1) < left, q @ k.T * scale, -math.inf)
        m_new = pto.maximum(m, pto.row_max(s))
        alpha, p = pto.exp(m - m_new), pto.exp(s - m_new)
        return m_new, l * alpha + pto.row_sum(p), o * alpha + p.astype(v.dtype) @ v

    start = pto.full((q_tile, 1), -math.inf), pto.zeros((q_tile, 1)), pto.zeros((q_tile, dim))
    first, end = part * each, pto.minimum(pages, (part + 1) * each)
    m, l, o = pto.fori_loop(first, end, one_page, start)
    pto.store(largest[b, part, rows, :], m)
    pto.store(total[b, part, rows, :], l)
    pto.store(acc[b, part, rows, :], o)


@split_decode.case
def draw(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    context: int = 65536,
    ragged: bool = False,
    **statics: Any,
) -> dict[str, Any]:
    """One token of each sequence; what no context holds is NaN."""
    import numpy as np

    heads, dim, block = (statics[n] for n in ("heads", "dim", "block"))
    lens = lengths(rng, batch, context, ragged, block)
    table, (keys, values) = paged(rng, lens, block, dim, caches=2)
    return {
        "query": rng.standard_normal((batch, heads, dim), np.float32),
        "key_cache": keys,
        "value_cache": values,
        "block_table": table,
        "context_lens": lens,
        "scale": np.float32(dim**-0.5),
    }


@split_decode.reference
def float64(
    query: Any, key_cache: Any, value_cache: Any, block_table: Any, context_lens: Any, scale: Any,
    *, block: int, parts: int,
) -> dict[str, Any]:  # fmt: skip
    """Part by part; of a part without tokens, -inf and zeros."""
    import numpy as np

    shape = query.shape[0], parts, query.shape[1]
    largest, total = np.full((*shape, 1), -np.inf), np.zeros((*shape, 1))
    acc = np.zeros((*shape, query.shape[2]))
    for b, length in enumerate(context_lens):
        k, v = (contents(c, block_table[b], int(length)) for c in (key_cache, value_cache))
        each = math.ceil(math.ceil(len(k) / block) / parts) * block
        for part in range(parts):
            here = slice(part * each, (part + 1) * each)
            s = query[b] @ k[here].T * scale
            if s.size:
                largest[b, part, :, 0] = s.max(axis=1)
                p = np.exp(s - largest[b, part])
                total[b, part, :, 0], acc[b, part] = p.sum(axis=1), p @ v[here]
    return {"largest": largest, "total": total, "acc": acc}


@pto.kernel(
    grid="batch, heads // tile",
    largest="f32[batch, parts, heads, 1]",
    total="f32[batch, parts, heads, 1]",
    acc="f32[batch, parts, heads, dim]",
    out="f32[batch, heads, dim]",
    static=dict(heads=64, dim=128, tile=16),
)
def combine_parts(
    largest: Tensor, total: Tensor, acc: Tensor, out: Tensor, *, tile: int, dim: int
) -> None:
    """The attention over a whole context, of what `split_decode` found of its parts."""
    b, rows = pto.program_id(0), pto.ds(pto.program_id(1) * tile, tile)

    def one_part(i: Scalar, carry: tuple[Tile, Tile, Tile]) -> tuple[Tile, Tile, Tile]:
        m, l, o = carry
        m_part, l_part = pto.load(largest[b, i, rows, :]), pto.load(total[b, i, rows, :])
        m_new = pto.maximum(m, m_part)
        alpha, beta = pto.exp(m - m_new), pto.exp(m_part - m_new)
        o_new = o * alpha + pto.load(acc[b, i, rows, :]) * beta
        return m_new, l * alpha + l_part * beta, o_new

    start = pto.full((tile, 1), -1e30), pto.zeros((tile, 1)), pto.zeros((tile, dim))
    _, l, o = pto.fori_loop(0, acc.shape[1], one_part, start)
    pto.store(out[b, rows, :], o / pto.maximum(l, 1e-30))


@combine_parts.case
def draw_parts(
    rng: np.random.Generator, *, batch: int = 2, parts: int = 24, **statics: Any
) -> dict[str, Any]:
    """Some parts are empty, and all of the last sequence."""
    import numpy as np

    heads, dim = statics["heads"], statics["dim"]
    empty = rng.random((batch, parts, 1, 1)) < 0.2
    empty[-1] = True
    largest, total = (rng.random((batch, parts, heads, 1), np.float32) + 1 for _ in range(2))
    acc = rng.standard_normal((batch, parts, heads, dim), np.float32)
    return {
        "largest": np.where(empty, -np.inf, largest),
        "total": np.where(empty, 0, total),
        "acc": np.where(empty, 0, acc),
    }


@combine_parts.reference
def joined(largest: Any, total: Any, acc: Any) -> dict[str, Any]:
    """All parts at once."""
    import numpy as np

    weight = np.exp(largest - np.maximum(largest.max(axis=1, keepdims=True), -1e30))
    return {"out": (acc * weight).sum(axis=1) / np.maximum((total * weight).sum(axis=1), 1e-30)}
