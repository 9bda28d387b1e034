"""Paged attention for decoding, several pages a step in one tile (docs/machine.md 16.1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile
from pto.kernels.attention.pages import attended, contents, lengths, paged

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="batch, kv_heads, cdiv(heads // kv_heads, q_tile)",
    query="dtype[batch, heads, dim]",
    key_cache="dtype[slots, block, kv_heads, dim]",
    value_cache="dtype[slots, block, kv_heads, dim]",
    block_table="i32[batch, width]",
    context_lens="i32[batch]",
    out="f32[batch, heads, dim]",
    scale="f32",
    static=dict(dtype="bf16", heads=16, kv_heads=2, dim=128, q_tile=16, block=128, pages=2),
)
def paged_decode(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, block_table: Tensor,
    context_lens: Tensor, out: Tensor, *, scale: Scalar, q_tile: int, block: int, pages: int,
) -> None:  # fmt: skip
    """out[b, h] = softmax(scale * query[b, h] . K) . V over the context of sequence b."""
    group, dim = query.shape[1] // key_cache.shape[2], query.shape[2]
    pto.require(query.shape[1] == group * key_cache.shape[2], "kv_heads must divide heads")
    b, kv, tile = pto.program_id(0), pto.program_id(1), pto.program_id(2)
    heads = pto.ds(kv * group + tile * q_tile, q_tile, valid=group - tile * q_tile)
    q, context, width = pto.load(query[b, heads, :]), context_lens[b], block_table.shape[1]

    def one_step(i: Scalar, carry: tuple[Tile, Tile, Tile]) -> tuple[Tile, Tile, Tile]:
        m, l, acc = carry
        first = i * pages
        ids = [block_table[b, pto.minimum(first + j, width - 1)] for j in range(pages)]
        left = [context - (first + j) * block for j in range(pages)]
        there = [pto.ds(0, block, valid=n) for n in left]
        k = pto.load([key_cache[page, :, kv, :] for page in ids])
        v = pto.load([value_cache[p, rows, kv, :] for p, rows in zip(ids, there, strict=True)])
        s = pto.where(pto.iota(1) < left[0], q @ k.T * scale, -math.inf)
        m_new = pto.maximum(m, pto.row_max(s))
        alpha, p = pto.exp(m - m_new), pto.exp(s - m_new)
        return m_new, l * alpha + pto.row_sum(p), acc * alpha + p.astype(v.dtype) @ v

    start = pto.full((q_tile, 1), -math.inf), pto.zeros((q_tile, 1)), pto.zeros((q_tile, dim))
    _, l, acc = pto.fori_loop(0, pto.cdiv(context, pages * block), one_step, start)
    pto.store(out[b, heads, :], acc / pto.maximum(l, 1e-30))


@paged_decode.case
def draw(
    rng: np.random.Generator,
    *,
    batch: int = 24,
    context: int = 4096,
    ragged: bool = False,
    **statics: Any,
) -> dict[str, Any]:
    """One token of each sequence; what no context holds is NaN."""
    import numpy as np

    heads, kv_heads, dim, block = (statics[n] for n in ("heads", "kv_heads", "dim", "block"))
    lens = lengths(rng, batch, context, ragged, block)
    table, (keys, values) = paged(rng, lens, block, kv_heads, dim, caches=2)
    return {
        "query": rng.standard_normal((batch, heads, dim), np.float32),
        "key_cache": keys,
        "value_cache": values,
        "block_table": table,
        "context_lens": lens,
        "scale": np.float32(dim**-0.5),
    }


@paged_decode.reference
def float64(
    query: Any, key_cache: Any, value_cache: Any, block_table: Any, context_lens: Any, scale: Any
) -> dict[str, Any]:
    """The whole softmax, sequence by sequence."""
    import numpy as np

    out, kv_heads = np.zeros(query.shape), key_cache.shape[2]
    group = query.shape[1] // kv_heads
    for b, length in enumerate(context_lens):
        k, v = (contents(c, block_table[b], int(length)) for c in (key_cache, value_cache))
        for h in range(kv_heads):
            here = slice(h * group, (h + 1) * group)
            out[b, here] = attended(query[b, here] @ k[:, h].T * scale, v[:, h])
    return {"out": out}
