"""Products of i8: with a scale for every row and one for every column, on the vector core; with one for every
column, on the way out of the cube core (docs/guides/numbers.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile
from pto.tensor import Slice

if TYPE_CHECKING:
    import numpy as np


def product(
    a: Tensor, b: Tensor, rows: Slice, cols: Slice, tile_m: int, tile_n: int, tile_k: int
) -> Tile:
    """a[rows, :] @ b[:, cols], exact in i32: [tile_m, tile_n], tile_k elements of the inner dimension at a time."""
    k = a.shape[1]

    def one_step(i: Scalar, total: Tile) -> Tile:
        inner = pto.ds(i * tile_k, tile_k, valid=k - i * tile_k)
        return total + pto.load(a[rows, inner]) @ pto.load(b[inner, cols])

    return pto.fori_loop(0, pto.cdiv(k, tile_k), one_step, pto.zeros((tile_m, tile_n), "i32"))


def integers(rng: np.random.Generator, m: int, n: int, k: int) -> dict[str, Any]:
    """a [m, k] and b [k, n] of numbers up to 127."""
    import numpy as np

    shapes = {"a": (m, k), "b": (k, n)}
    return {name: rng.integers(-127, 128, shape, np.int8) for name, shape in shapes.items()}


@pto.kernel(
    grid="cdiv(m, tile_m), cdiv(n, tile_n)",
    a="i8[m, k]",
    b="i8[k, n]",
    of_row="f32[m, 1]",
    of_col="f32[n]",
    out="dtype[m, n]",
    static=dict(dtype="bf16", tile_m=128, tile_n=256, tile_k=256),
)
def int8_matmul(
    a: Tensor, b: Tensor, of_row: Tensor, of_col: Tensor, out: Tensor, *, tile_m: int, tile_n: int,
    tile_k: int,
) -> None:  # fmt: skip
    """out = (a @ b) * of_row * of_col, whose sum is exact in i32; ``dtype``: bf16 or f16."""
    m, n = a.shape[0], b.shape[1]
    row, col = pto.program_id(0) * tile_m, pto.program_id(1) * tile_n
    rows, cols = pto.ds(row, tile_m, valid=m - row), pto.ds(col, tile_n, valid=n - col)

    y = (
        product(a, b, rows, cols, tile_m, tile_n, tile_k).astype("f32")
        * pto.load(of_row[rows, :])
        * pto.load(of_col[cols])
    )
    pto.store(out[rows, cols], y.astype(out.dtype))


@int8_matmul.case
def draw(
    rng: np.random.Generator, *, m: int = 2048, n: int = 4096, k: int = 4096, **statics: Any
) -> dict[str, Any]:
    """Unit-scale results of numbers up to 127."""
    import numpy as np

    of_row, of_col = (rng.uniform(0.5, 2, shape) for shape in ((m, 1), n))
    return {**integers(rng, m, n, k), "of_row": of_row / 127, "of_col": of_col / 127 / np.sqrt(k)}


@int8_matmul.reference
def exact(a: Any, b: Any, of_row: Any, of_col: Any) -> dict[str, Any]:
    """Products of float64, which are exact, and the scales in float64."""
    import numpy as np

    return {"out": (a.astype(np.float64) @ b.astype(np.float64)) * of_row * of_col}


@pto.kernel(
    grid="cdiv(m, tile_m), cdiv(n, tile_n)",
    a="i8[m, k]",
    b="i8[k, n]",
    scales="i32[n, 2]",
    out="dtype[m, n]",
    static=dict(dtype="f16", tile_m=128, tile_n=256, tile_k=256),
)
def int8_channels(
    a: Tensor, b: Tensor, scales: Tensor, out: Tensor, *, tile_m: int, tile_n: int, tile_k: int
) -> None:
    """out = (a @ b) * scales, each ``pto.column_scales`` of a column; ``dtype``: f16, or i8 and u8, which saturate."""
    m, n = a.shape[0], b.shape[1]
    row, col = pto.program_id(0) * tile_m, pto.program_id(1) * tile_n
    rows, cols = pto.ds(row, tile_m, valid=m - row), pto.ds(col, tile_n, valid=n - col)

    total = product(a, b, rows, cols, tile_m, tile_n, tile_k)
    pto.store(out[rows, cols], total, scale=pto.load(scales[cols, :]))


@int8_channels.case
def draw_channels(
    rng: np.random.Generator, *, m: int = 2048, n: int = 4096, k: int = 4096, **statics: Any
) -> dict[str, Any]:
    """Unit-scale results of numbers up to 127, for f16."""
    import numpy as np

    by = rng.uniform(0.5, 2, n) / 127**2 / np.sqrt(k)
    return {**integers(rng, m, n, k), "scales": pto.column_scales(by, "f16")}


@int8_channels.reference
def exact_channels(a: Any, b: Any, scales: Any) -> dict[str, Any]:
    """Products of float64, which are exact; of a scale the first ten bits of its fraction."""
    import numpy as np

    by = (np.asarray(scales, np.int32)[:, 0] & -(1 << 13)).view(np.float32)
    return {"out": (a.astype(np.float64) @ b.astype(np.float64)) * by.astype(np.float64)}
