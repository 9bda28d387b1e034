"""Causal attention over prompts that lie behind each other, without rows between them (docs/guides/tables.md)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile
from pto.kernels.attention.pages import attended, lengths

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="edges - 1, heads, cdiv(tokens, tile)",
    query="dtype[tokens, heads, dim]",
    key="dtype[tokens, kv_heads, dim]",
    value="dtype[tokens, kv_heads, dim]",
    starts="i32[edges] sorted in 0 .. tokens + 1",
    out="f32[tokens, heads, dim]",
    scale="f32",
    static=dict(dtype="bf16", heads=16, kv_heads=2, dim=128, tile=64, block=128),
)
def packed_prefill(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, out: Tensor, *, scale: Scalar,
    tile: int, block: int,
) -> None:  # fmt: skip
    """Each token of sequence b, rows starts[b] to starts[b + 1], looks at itself and at those of b before it."""
    heads, kv_heads, dim = query.shape[1], key.shape[1], query.shape[2]
    pto.require(heads % kv_heads == 0, "kv_heads must divide heads")
    b, head, own = pto.program_id(0), pto.program_id(1), pto.program_id(2)
    kv, begin, count = head // (heads // kv_heads), starts[b], starts[b + 1] - starts[b]
    first = own * tile
    rows = pto.ds(begin + first, tile, valid=count - first)
    q, below = pto.load(query[rows, head, :]), pto.iota(0) - pto.iota(1)

    def one_block(n: Scalar, carry: tuple[Tile, Tile, Tile]) -> tuple[Tile, Tile, Tile]:
        m, l, acc = carry
        at = n * block
        seen = pto.ds(begin + at, block, valid=count - at)
        k, v = pto.load(key[seen, kv, :]), pto.load(value[seen, kv, :])
        s = pto.where(below >= at - first, q @ k.T * scale, -math.inf)
        m_new = pto.maximum(m, pto.row_max(s))
        alpha, p = pto.exp(m - m_new), pto.exp(s - m_new)
        return m_new, l * alpha + pto.row_sum(p), acc * alpha + p.astype(v.dtype) @ v

    blocks = pto.cdiv(first + tile, block) * pto.minimum(1, pto.maximum(count - first, 0))
    start = pto.full((tile, 1), -math.inf), pto.zeros((tile, 1)), pto.zeros((tile, dim))
    _, l, acc = pto.fori_loop(0, blocks, one_block, start)
    pto.store(out[rows, head, :], acc / pto.maximum(l, 1e-30))


@packed_prefill.case
def draw(
    rng: np.random.Generator,
    *,
    batch: int = 8,
    tokens: int = 1024,
    ragged: bool = True,
    **statics: Any,
) -> dict[str, Any]:
    """Prompts of any lengths up to ``tokens``; not ragged: all of that one."""
    import numpy as np

    heads, kv_heads, dim, tile = (statics[n] for n in ("heads", "kv_heads", "dim", "tile"))
    starts = np.cumsum([0, *lengths(rng, batch, tokens, ragged, tile)])

    def drawn(count: int) -> Any:
        return rng.standard_normal((int(starts[-1]), count, dim), np.float32)

    return {
        "query": drawn(heads),
        "key": drawn(kv_heads),
        "value": drawn(kv_heads),
        "starts": starts,
        "scale": np.float32(dim**-0.5),
    }


@packed_prefill.reference
def float64(query: Any, key: Any, value: Any, starts: Any, scale: Any) -> dict[str, Any]:
    """The whole softmax of every head, sequence by sequence."""
    import numpy as np

    out, heads = np.zeros(query.shape), query.shape[1]
    for begin, end in pairwise(starts):
        here, seen = slice(begin, end), np.tri(end - begin, dtype=bool)
        for h in range(heads):
            kv = h * key.shape[1] // heads
            scores = query[here, h] @ key[here, kv].T * scale
            out[here, h] = attended(np.where(seen, scores, -np.inf), value[here, kv])
    return {"out": out}
