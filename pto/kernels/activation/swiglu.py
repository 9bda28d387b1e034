"""SwiGLU: silu(gate) * up, of rows that hold both halves side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pto
from pto import Tensor

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="cdiv(rows, tile), cdiv(cols, block)",
    x="dtype[rows, both]",
    out="dtype[rows, cols]",
    static=dict(dtype="bf16", cols=14336, both=28672, tile=16, block=512),
)
def swiglu(x: Tensor, out: Tensor, *, cols: int, both: int, tile: int, block: int) -> None:
    """out = silu(x[:, :cols]) * x[:, cols:], a tile of rows and columns at a time."""
    pto.require(both == 2 * cols, "x has twice the columns of out")
    first, at = pto.program_id(0) * tile, pto.program_id(1) * block
    rows, left = pto.ds(first, tile, valid=x.shape[0] - first), cols - at
    gate, up = (
        pto.load(x[rows, pto.ds(start, block, valid=left)]).astype("f32")
        for start in (at, cols + at)
    )
    y = pto.silu(gate) * up
    pto.store(out[rows, pto.ds(at, block, valid=left)], y.astype(out.dtype))


@pto.kernel(
    grid="tokens, cdiv(cols, block)",
    x="dtype[tokens, both]",
    out="dtype[tokens, cols]",
    static=dict(dtype="bf16", cols=14336, both=28672, block=3584),
)
def swiglu_token(x: Tensor, out: Tensor, *, cols: int, both: int, block: int) -> None:
    """The same for few tokens: a tile is a part of one row."""
    pto.require(both == 2 * cols, "x has twice the columns of out")
    t, at = pto.program_id(0), pto.program_id(1) * block
    left = cols - at
    gate, up = (
        pto.load(x[t, pto.ds(start, block, valid=left)]).astype("f32") for start in (at, cols + at)
    )
    y = pto.silu(gate) * up
    pto.store(out[t, pto.ds(at, block, valid=left)], y.astype(out.dtype))


@swiglu.case
def draw(rng: np.random.Generator, *, rows: int = 1024, **statics: Any) -> dict[str, Any]:
    """Unit-scale rows."""
    import numpy as np

    return {"x": rng.standard_normal((rows, statics["both"]), np.float32)}


@swiglu_token.case
def draw_tokens(rng: np.random.Generator, *, tokens: int = 24, **statics: Any) -> dict[str, Any]:
    """Unit-scale rows."""
    return draw(rng, rows=tokens, **statics)


@swiglu.reference
def float64(x: Any, *, cols: int) -> dict[str, Any]:
    """The same in float64."""
    import numpy as np

    gate, up = x[:, :cols], x[:, cols:]
    return {"out": gate / (1 + np.exp(-gate)) * up}


swiglu_token.reference(float64)
