"""Paged attention for decoding: one query token per request, keys and values in pages.

Multi-query and grouped-query: ``heads / kv_heads`` query heads share one key/value head.
Online softmax over the pages of a request (docs/machine.md 16.1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="batch, kv_heads, cdiv(heads // kv_heads, q_tile)",
    query="dtype[batch, heads, dim]",
    key_cache="dtype[pages, block, kv_heads, dim]",
    value_cache="dtype[pages, block, kv_heads, dim]",
    block_table="i32[batch, width]",
    context_lens="i32[batch]",
    out="f32[batch, heads, dim]",
    scale="f32",
    static=dict(dtype="bf16", heads=16, kv_heads=1, dim=128, q_tile=16, block=128),
)
def paged_attention(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, block_table: Tensor,
    context_lens: Tensor, out: Tensor, *, scale: Scalar, q_tile: int, block: int,
) -> None:  # fmt: skip
    """out[b, h] = softmax(scale * query[b, h] . K) . V over the context of request b."""
    group, dim = query.shape[1] // key_cache.shape[2], query.shape[2]
    pto.require(query.shape[1] == group * key_cache.shape[2], "kv_heads must divide heads")
    b, kv_head, tile = pto.program_id(0), pto.program_id(1), pto.program_id(2)
    heads = pto.ds(kv_head * group + tile * q_tile, q_tile, valid=group - tile * q_tile)
    q = pto.load(query[b, heads, :])
    context = context_lens[b]

    def one_page(i: Scalar, carry: tuple[Tile, Tile, Tile]) -> tuple[Tile, Tile, Tile]:
        m, l, acc = carry
        page = block_table[b, i]
        left = context - i * block
        k = pto.load(key_cache[page, :, kv_head, :])
        v = pto.load(value_cache[page, pto.ds(0, block, valid=left), kv_head, :])
        qk = q @ k.T
        s = pto.where(pto.iota(1) < left, qk * scale, -math.inf)
        m_new = pto.maximum(m, pto.row_max(s))
        p = pto.exp(s - m_new)
        alpha = pto.exp(m - m_new)
        l_new = l * alpha + pto.row_sum(p)
        p16 = p.astype(v.dtype)
        o = p16 @ v
        return m_new, l_new, acc * alpha + o

    start = pto.full((q_tile, 1), -math.inf), pto.zeros((q_tile, 1)), pto.zeros((q_tile, dim))
    _, l, acc = pto.fori_loop(0, pto.cdiv(context, block), one_page, start)
    y = acc / pto.maximum(l, 1e-30)
    pto.store(out[b, heads, :], y)


@paged_attention.case
def draw(
    rng: np.random.Generator,
    *,
    batch: int = 4,
    context: int = 1024,
    ragged: bool = True,
    **statics: Any,
) -> dict[str, Any]:
    """A random case: pages permuted, unused pages and the tails of last pages poisoned with NaN."""
    import numpy as np

    heads, kv_heads, dim, block = (statics[n] for n in ("heads", "kv_heads", "dim", "block"))
    edges = np.minimum([0, 1, block - 1, block, block + 1, context], context)
    lens = np.full(batch, context)
    if ragged:
        drawn = rng.integers(0, context + 1, batch)
        lens = np.where(
            np.arange(batch) < len(edges), np.resize(rng.permutation(edges), batch), drawn
        )
    width = max(1, -(-context // block))
    counts = -(-lens // block)
    pages = int(counts.sum()) + 3
    order = rng.permutation(pages)
    table = np.full((batch, width), order[-1], np.int32)
    caches = np.full((2, pages, block, kv_heads, dim), np.nan, np.float32)
    taken = 0
    for b, (length, count) in enumerate(zip(lens, counts, strict=True)):
        table[b, :count] = order[taken : taken + count]
        taken += count
        for j, page in enumerate(table[b, :count]):
            rows = min(block, length - j * block)
            caches[:, page, :rows] = rng.standard_normal((2, rows, kv_heads, dim), np.float32)
    return {
        "query": rng.standard_normal((batch, heads, dim), np.float32),
        "key_cache": caches[0],
        "value_cache": caches[1],
        "block_table": table,
        "context_lens": lens.astype(np.int32),
        "scale": np.float32(1 / math.sqrt(dim)),
    }


@paged_attention.reference
def full_softmax(
    query: Any, key_cache: Any, value_cache: Any, block_table: Any, context_lens: Any, scale: Any
) -> dict[str, Any]:
    """Full softmax in float64, request by request; an empty context gives zeros."""
    import numpy as np

    batch, heads, dim = query.shape
    block, kv_heads = key_cache.shape[1:3]
    out = np.zeros((batch, heads, dim))
    for b, length in enumerate(context_lens):
        used = block_table[b, : -(-int(length) // block)]
        if not len(used):
            continue
        k, v = (
            c[used].reshape(-1, kv_heads, dim)[:length].astype(np.float64)
            for c in (key_cache, value_cache)
        )
        for h in range(heads):
            g = h // (heads // kv_heads)
            s = k[:, g] @ query[b, h].astype(np.float64) * float(scale)
            e = np.exp(s - s.max())
            out[b, h] = e @ v[:, g] / e.sum()
    return {"out": out}
