"""The softmax of rows wider than the memory: two passes over blocks of columns (docs/guides/wide.md)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile
from pto.tensor import Slice

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="cdiv(rows, tile)",
    x="f32[rows, cols]",
    out="f32[rows, cols]",
    static=dict(tile=16, block=1024),
)
def softmax_wide(x: Tensor, out: Tensor, *, tile: int, block: int) -> None:
    """out = exp(x - max) / sum; the first pass keeps a running maximum, and the sum to it."""
    rows, cols = x.shape
    first = pto.program_id(0) * tile
    here = pto.ds(first, tile, valid=rows - first)

    def scores(i: Scalar) -> tuple[Slice, Tile]:
        left = cols - i * block
        part = pto.ds(i * block, block, valid=left)
        return part, pto.where(pto.iota(1) < left, pto.load(x[here, part]), -math.inf)

    def add(i: Scalar, carry: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        m, total = carry
        _, s = scores(i)
        m_new = pto.maximum(m, pto.row_max(s))
        return m_new, total * pto.exp(m - m_new) + pto.row_sum(pto.exp(s - m_new))

    start = pto.full((tile, 1), -math.inf), pto.zeros((tile, 1))
    m, total = pto.fori_loop(0, pto.cdiv(cols, block), add, start)

    def write(i: Scalar) -> None:
        part, s = scores(i)
        pto.store(out[here, part], pto.exp(s - m) / total)

    pto.fori_loop(0, pto.cdiv(cols, block), write)


@softmax_wide.case
def draw(
    rng: np.random.Generator, *, rows: int = 384, cols: int = 32000, **statics: Any
) -> dict[str, Any]:
    """Scores of a vocabulary."""
    import numpy as np

    return {"x": rng.standard_normal((rows, cols), np.float32) * 3}


@softmax_wide.reference
def float64(x: Any) -> dict[str, Any]:
    """The same in float64."""
    import numpy as np

    e = np.exp(x - x.max(axis=1, keepdims=True))
    return {"out": e / e.sum(axis=1, keepdims=True)}
