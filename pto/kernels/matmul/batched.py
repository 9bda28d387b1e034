"""Products of several matrices of equal size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="batch, cdiv(m, tile_m), cdiv(n, tile_n)",
    a="dtype[batch, m, k]",
    b="dtype[batch, k, n]",
    out="f32[batch, m, n]",
    static=dict(dtype="bf16", tile_m=128, tile_n=256, tile_k=128),
)
def batched_matmul(
    a: Tensor, b: Tensor, out: Tensor, *, tile_m: int, tile_n: int, tile_k: int
) -> None:
    """out[g] = a[g] @ b[g]; sizes need not fit the tiles."""
    g, (m, k), n = pto.program_id(0), a.shape[1:], b.shape[2]
    row, col = pto.program_id(1) * tile_m, pto.program_id(2) * tile_n
    rows, cols = pto.ds(row, tile_m, valid=m - row), pto.ds(col, tile_n, valid=n - col)

    def one_step(i: Scalar, total: Tile) -> Tile:
        inner = pto.ds(i * tile_k, tile_k, valid=k - i * tile_k)
        return total + pto.load(a[g, rows, inner]) @ pto.load(b[g, inner, cols])

    start = pto.zeros((tile_m, tile_n))
    pto.store(out[g, rows, cols], pto.fori_loop(0, pto.cdiv(k, tile_k), one_step, start))


@batched_matmul.case
def draw(
    rng: np.random.Generator,
    *,
    batch: int = 16,
    m: int = 1024,
    n: int = 1024,
    k: int = 1024,
    **statics: Any,
) -> dict[str, Any]:
    """Unit-scale products: the entries of b are divided by the square root of k."""
    import numpy as np

    b = rng.standard_normal((batch, k, n), np.float32)
    b /= np.float32(np.sqrt(k))
    return {"a": rng.standard_normal((batch, m, k), np.float32), "b": b}


@batched_matmul.reference
def float64(a: Any, b: Any) -> dict[str, Any]:
    """The same in float64."""
    return {"out": a @ b}
