"""Decoding with multi-head latent attention: all heads share one latent vector per token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile
from pto.kernels.attention.pages import attended, contents, lengths, paged

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="batch, heads // q_tile, latent // part",
    query="dtype[batch, heads, latent]",
    query_rope="dtype[batch, heads, rope]",
    cache="dtype[slots, block, width]",
    block_table="i32[batch, pages]",
    context_lens="i32[batch]",
    out="f32[batch, heads, latent]",
    scale="f32",
    static=dict(
        dtype="bf16", heads=128, latent=512, rope=64, width=576, q_tile=64, block=32, part=256
    ),
    tune=dict(q_tile=(16, 32, 64), part=(128, 256, 512)),
)
def mla_decode(
    query: Tensor, query_rope: Tensor, cache: Tensor, block_table: Tensor, context_lens: Tensor,
    out: Tensor, *, scale: Scalar, latent: int, width: int, q_tile: int, block: int, part: int,
) -> None:  # fmt: skip
    """Scores of latent and rotated columns, values of the latent ones: softmax(scale * (q.c + r.k)) . c."""
    b, rows = pto.program_id(0), pto.ds(pto.program_id(1) * q_tile, q_tile)
    cols, context = pto.ds(pto.program_id(2) * part, part), context_lens[b]
    q, q_rope = pto.load(query[b, rows, :]), pto.load(query_rope[b, rows, :])

    def one_page(i: Scalar, carry: tuple[Tile, Tile, Tile]) -> tuple[Tile, Tile, Tile]:
        m, l, acc = carry
        page, left = block_table[b, i], context - i * block
        c, k_rope = pto.load(cache[page, :, 0:latent]), pto.load(cache[page, :, latent:width])
        scores = (q @ c.T + q_rope @ k_rope.T) * scale
        s = pto.where(pto.iota(1) < left, scores, -math.inf)
        m_new = pto.maximum(m, pto.row_max(s))
        alpha, p = pto.exp(m - m_new), pto.exp(s - m_new)
        v = pto.load(cache[page, pto.ds(0, block, valid=left), cols])
        return m_new, l * alpha + pto.row_sum(p), acc * alpha + p.astype(v.dtype) @ v

    start = pto.full((q_tile, 1), -math.inf), pto.zeros((q_tile, 1)), pto.zeros((q_tile, part))
    _, l, acc = pto.fori_loop(0, pto.cdiv(context, block), one_page, start)
    pto.store(out[b, rows, cols], acc / pto.maximum(l, 1e-30))


@mla_decode.case
def draw(
    rng: np.random.Generator,
    *,
    batch: int = 12,
    context: int = 4096,
    ragged: bool = False,
    **statics: Any,
) -> dict[str, Any]:
    """One token of each sequence; what no context holds is NaN."""
    import numpy as np

    heads, latent, rope, block = (statics[n] for n in ("heads", "latent", "rope", "block"))
    lens = lengths(rng, batch, context, ragged, block)
    table, (cache,) = paged(rng, lens, block, latent + rope)
    return {
        "query": rng.standard_normal((batch, heads, latent), np.float32),
        "query_rope": rng.standard_normal((batch, heads, rope), np.float32),
        "cache": cache,
        "block_table": table,
        "context_lens": lens,
        "scale": np.float32((latent + rope) ** -0.5),
    }


@mla_decode.reference
def float64(
    query: Any, query_rope: Any, cache: Any, block_table: Any, context_lens: Any, scale: Any
) -> dict[str, Any]:
    """The whole softmax, sequence by sequence."""
    import numpy as np

    out, latent = np.zeros(query.shape), query.shape[2]
    for b, length in enumerate(context_lens):
        c = contents(cache, block_table[b], int(length))
        scores = query[b] @ c[:, :latent].T + query_rope[b] @ c[:, latent:].T
        out[b] = attended(scores * scale, c[:, :latent])
    return {"out": out}
