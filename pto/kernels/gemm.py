"""Matrix multiplication with a fused bias and activation; sizes need not fit the tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="cdiv(m, tile_m), cdiv(n, tile_n)",
    a="dtype[m, k]",
    b="dtype[k, n]",
    bias="f32[n]",
    out="f32[m, n]",
    static=dict(
        dtype="bf16",
        tile_m=128,
        tile_n=128,
        tile_k=64,
        activation=pto.choice("relu", "none", "silu"),
    ),
)
def gemm(
    a: Tensor,
    b: Tensor,
    bias: Tensor,
    out: Tensor,
    *,
    tile_m: int,
    tile_n: int,
    tile_k: int,
    activation: str,
) -> None:
    """out = activation(a @ b + bias)."""
    fits = tile_m % 16 == tile_n % 16 == tile_k % 16 == 0
    pto.require(fits, "tile_m, tile_n and tile_k must be multiples of 16")
    (m, k), n = a.shape, b.shape[1]
    row, col = pto.program_id(0) * tile_m, pto.program_id(1) * tile_n
    rows, cols = pto.ds(row, tile_m, valid=m - row), pto.ds(col, tile_n, valid=n - col)

    def one_step(i: Scalar, acc: Tile) -> Tile:
        inner = pto.ds(i * tile_k, tile_k, valid=k - i * tile_k)
        a_tile, b_tile = pto.load(a[rows, inner]), pto.load(b[inner, cols])
        return acc + a_tile @ b_tile

    total = pto.fori_loop(0, pto.cdiv(k, tile_k), one_step, pto.zeros((tile_m, tile_n)))
    bias_row = pto.load(bias[cols])
    x = total + bias_row
    if activation == "relu":
        x = pto.maximum(x, 0.0)
    elif activation == "silu":
        x = x / (pto.exp(-x) + 1.0)
    pto.store(out[rows, cols], x)


@gemm.case
def draw(
    rng: np.random.Generator, *, m: int = 200, n: int = 300, k: int = 256, **statics: Any
) -> dict[str, Any]:
    """Unit-scale products: the entries of b are divided by the square root of k."""
    import numpy as np

    return {
        "a": rng.standard_normal((m, k), np.float32),
        "b": rng.standard_normal((k, n), np.float32) / np.float32(np.sqrt(k)),
        "bias": rng.standard_normal(n, np.float32),
    }


@gemm.reference
def float64(
    a: Any, b: Any, bias: Any, *, activation: str = "relu", **statics: Any
) -> dict[str, Any]:
    """The same in float64."""
    import numpy as np

    x = a.astype(np.float64) @ b.astype(np.float64) + bias
    if activation == "relu":
        x = np.maximum(x, 0)
    elif activation == "silu":
        x = x / (1 + np.exp(-x))
    return {"out": x}
