"""Norms of rows wider than the memory: a pass that adds up, and one that writes (docs/guides/wide.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile
from pto.tensor import Slice

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="cdiv(rows, tile)",
    x="dtype[rows, dim]",
    gain="f32[dim]",
    out="dtype[rows, dim]",
    epsilon="f32",
    static=dict(dtype="bf16", dim=8192, tile=16, block=1024),
)
def rmsnorm_wide(
    x: Tensor, gain: Tensor, out: Tensor, *, epsilon: Scalar, dim: int, tile: int, block: int
) -> None:
    """out = x / sqrt(mean(x * x) + epsilon) * gain, row by row."""
    first = pto.program_id(0) * tile
    rows = pto.ds(first, tile, valid=x.shape[0] - first)

    def part(i: Scalar) -> tuple[Slice, Tile]:
        cols = pto.ds(i * block, block, valid=dim - i * block)
        return cols, pto.load(x[rows, cols]).astype("f32")

    def add(i: Scalar, squares: Tile) -> Tile:
        _, v = part(i)
        return squares + pto.row_sum(v * v)

    squares = pto.fori_loop(0, pto.cdiv(dim, block), add, pto.zeros((tile, 1)))
    scale = pto.rsqrt(squares * (1 / dim) + epsilon)

    def write(i: Scalar) -> None:
        cols, v = part(i)
        pto.store(out[rows, cols], (v * scale * pto.load(gain[cols])).astype(out.dtype))

    pto.fori_loop(0, pto.cdiv(dim, block), write)


@pto.kernel(
    grid="cdiv(rows, tile)",
    x="dtype[rows, dim]",
    gain="f32[dim]",
    shift="f32[dim]",
    out="dtype[rows, dim]",
    epsilon="f32",
    static=dict(dtype="bf16", dim=8192, tile=16, block=1024),
)
def layernorm_wide(
    x: Tensor, gain: Tensor, shift: Tensor, out: Tensor, *, epsilon: Scalar, dim: int, tile: int,
    block: int,
) -> None:  # fmt: skip
    """out = (x - mean) / sqrt(variance + epsilon) * gain + shift, row by row; the variance as mean(x * x) - mean^2."""
    first = pto.program_id(0) * tile
    rows = pto.ds(first, tile, valid=x.shape[0] - first)

    def part(i: Scalar) -> tuple[Slice, Tile]:
        cols = pto.ds(i * block, block, valid=dim - i * block)
        return cols, pto.load(x[rows, cols]).astype("f32")

    def add(i: Scalar, sums: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        _, v = part(i)
        return sums[0] + pto.row_sum(v), sums[1] + pto.row_sum(v * v)

    zero = pto.zeros((tile, 1))
    total, squares = pto.fori_loop(0, pto.cdiv(dim, block), add, (zero, zero))
    mean = total * (1 / dim)
    scale = pto.rsqrt(squares * (1 / dim) - mean * mean + epsilon)

    def write(i: Scalar) -> None:
        cols, v = part(i)
        y = (v - mean) * scale * pto.load(gain[cols]) + pto.load(shift[cols])
        pto.store(out[rows, cols], y.astype(out.dtype))

    pto.fori_loop(0, pto.cdiv(dim, block), write)


def drawn(rng: np.random.Generator, rows: int, dim: int, *weights: str) -> dict[str, Any]:
    """Unit-scale rows, and the weights of their columns."""
    import numpy as np

    return {
        "x": rng.standard_normal((rows, dim), np.float32),
        **{name: rng.standard_normal(dim, np.float32) for name in weights},
        "epsilon": np.float32(1e-5),
    }


@rmsnorm_wide.case
def draw_rms(rng: np.random.Generator, *, rows: int = 1024, **statics: Any) -> dict[str, Any]:
    """Unit-scale rows."""
    return drawn(rng, rows, statics["dim"], "gain")


@layernorm_wide.case
def draw_layer(rng: np.random.Generator, *, rows: int = 1024, **statics: Any) -> dict[str, Any]:
    """Unit-scale rows."""
    return drawn(rng, rows, statics["dim"], "gain", "shift")


@rmsnorm_wide.reference
def rms(x: Any, gain: Any, epsilon: Any) -> dict[str, Any]:
    """The same in float64."""
    import numpy as np

    return {"out": x / np.sqrt((x * x).mean(axis=1, keepdims=True) + epsilon) * gain}


@layernorm_wide.reference
def layer(x: Any, gain: Any, shift: Any, epsilon: Any) -> dict[str, Any]:
    """The same in float64, by the variance itself."""
    import numpy as np

    scale = np.sqrt(x.var(axis=1, keepdims=True) + epsilon)
    return {"out": (x - x.mean(axis=1, keepdims=True)) / scale * gain + shift}
