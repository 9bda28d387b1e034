"""Causal attention over the prompts of a batch, each with a length of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile
from pto.kernels.attention.pages import attended, lengths

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="batch, heads, cdiv(tokens, tile)",
    query="dtype[batch, tokens, heads, dim]",
    key="dtype[batch, tokens, kv_heads, dim]",
    value="dtype[batch, tokens, kv_heads, dim]",
    lens="i32[batch]",
    out="f32[batch, tokens, heads, dim]",
    scale="f32",
    static=dict(dtype="bf16", heads=16, kv_heads=2, dim=128, tile=64, block=128),
)
def causal_prefill(
    query: Tensor, key: Tensor, value: Tensor, lens: Tensor, out: Tensor, *, scale: Scalar,
    tile: int, block: int,
) -> None:  # fmt: skip
    """Each of the lens[b] tokens of sequence b looks at itself and at those before it."""
    heads, kv_heads, dim = query.shape[2], key.shape[2], query.shape[3]
    pto.require(heads % kv_heads == 0, "kv_heads must divide heads")
    b, head, own = pto.program_id(0), pto.program_id(1), pto.program_id(2)
    kv, count, first = head // (heads // kv_heads), lens[b], own * tile
    rows = pto.ds(first, tile, valid=count - first)
    q, below = pto.load(query[b, rows, head, :]), pto.iota(0) - pto.iota(1)

    def one_block(n: Scalar, carry: tuple[Tile, Tile, Tile]) -> tuple[Tile, Tile, Tile]:
        m, l, acc = carry
        at = n * block
        seen = pto.ds(at, block, valid=count - at)
        k, v = pto.load(key[b, seen, kv, :]), pto.load(value[b, seen, kv, :])
        s = pto.where(below >= at - first, q @ k.T * scale, -math.inf)
        m_new = pto.maximum(m, pto.row_max(s))
        alpha, p = pto.exp(m - m_new), pto.exp(s - m_new)
        return m_new, l * alpha + pto.row_sum(p), acc * alpha + p.astype(v.dtype) @ v

    blocks = pto.cdiv(first + tile, block) * pto.minimum(1, pto.maximum(count - first, 0))
    start = pto.full((tile, 1), -math.inf), pto.zeros((tile, 1)), pto.zeros((tile, dim))
    _, l, acc = pto.fori_loop(0, blocks, one_block, start)
    pto.store(out[b, rows, head, :], acc / pto.maximum(l, 1e-30))


@causal_prefill.case
def draw(
    rng: np.random.Generator,
    *,
    batch: int = 1,
    tokens: int = 2048,
    ragged: bool = False,
    **statics: Any,
) -> dict[str, Any]:
    """Prompts of at most ``tokens`` tokens; what is behind them is NaN, and stays zero in the output."""
    import numpy as np

    heads, kv_heads, dim, tile = (statics[n] for n in ("heads", "kv_heads", "dim", "tile"))
    lens = lengths(rng, batch, tokens, ragged, tile)
    behind = np.arange(tokens) >= lens[:, None]

    def drawn(count: int) -> Any:
        x = rng.standard_normal((batch, tokens, count, dim), np.float32)
        x[behind] = np.nan
        return x

    return {
        "query": drawn(heads),
        "key": drawn(kv_heads),
        "value": drawn(kv_heads),
        "lens": lens,
        "out": np.zeros((batch, tokens, heads, dim), np.float32),
        "scale": np.float32(dim**-0.5),
    }


@causal_prefill.reference
def float64(query: Any, key: Any, value: Any, lens: Any, scale: Any) -> dict[str, Any]:
    """The whole softmax of every head, sequence by sequence."""
    import numpy as np

    out, heads = np.zeros(query.shape), query.shape[2]
    for b, n in enumerate(lens):
        for h in range(heads):
            kv = h * key.shape[2] // heads
            scores = query[b, :n, h] @ key[b, :n, kv].T * scale
            seen = np.tri(n, dtype=bool)
            out[b, :n, h] = attended(np.where(seen, scores, -np.inf), value[b, :n, kv])
    return {"out": out}
