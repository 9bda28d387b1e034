"""Root-mean-square normalisation: vector core only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="cdiv(rows, tile)",
    x="dtype[rows, dim]",
    gamma="f32[dim]",
    out="dtype[rows, dim]",
    epsilon="f32",
    static=dict(dtype="bf16", dim=1024, tile=16),
)
def rmsnorm(x: Tensor, gamma: Tensor, out: Tensor, *, epsilon: Scalar, tile: int) -> None:
    """out = x / sqrt(mean(x * x) + epsilon) * gamma, row by row.

    Whole rows lie on the chip: up to ``dim=1424`` with ``tile=16``, which is the least.  Wider ones loop over
    blocks of columns (docs/guides/wide.md).
    """
    first = pto.program_id(0) * tile
    rows = pto.ds(first, tile, valid=x.shape[0] - first)
    x_tile, weight = pto.load(x[rows, :]), pto.load(gamma[:])
    v = x_tile.astype("f32")
    square = v * v
    norm = pto.sqrt(pto.row_sum(square) * (1 / x.shape[1]) + epsilon)
    y = v / norm * weight
    y16 = y.astype(out.dtype)
    pto.store(out[rows, :], y16)


@rmsnorm.case
def draw(rng: np.random.Generator, *, rows: int = 100, **statics: Any) -> dict[str, Any]:
    """Unit-scale rows."""
    import numpy as np

    dim = statics["dim"]
    return {
        "x": rng.standard_normal((rows, dim), np.float32),
        "gamma": rng.standard_normal(dim, np.float32),
        "epsilon": np.float32(1e-5),
    }


@rmsnorm.reference
def float64(x: Any, gamma: Any, epsilon: Any, **statics: Any) -> dict[str, Any]:
    """The same in float64."""
    import numpy as np

    v = x.astype(np.float64)
    return {"out": v / np.sqrt((v * v).mean(axis=1, keepdims=True) + float(epsilon)) * gamma}
