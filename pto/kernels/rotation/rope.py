"""Rotary positions of the heads of each token, for both layouts of what is rotated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="cdiv(tokens, tile)",
    x="dtype[tokens, heads, dim]",
    positions="i32[tokens]",
    cos="f32[length, half]",
    sin="f32[length, half]",
    out="dtype[tokens, heads, dim]",
    static=dict(dtype="bf16", heads=64, dim=128, half=64, tile=16),
)
def rope_halves(
    x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, out: Tensor, *, dim: int, half: int,
    tile: int,
) -> None:  # fmt: skip
    """Element i of the first half and element i of the second one are turned by the angle i of the position."""
    first = pto.program_id(0) * tile

    def one_token(i: Scalar) -> None:
        t = first + i
        c, s = (pto.load(table[positions[t], :]) for table in (cos, sin))
        low, high = (pto.load(x[t, :, a : a + half]).astype("f32") for a in (0, half))
        pto.store(out[t, :, 0:half], (low * c - high * s).astype(out.dtype))
        pto.store(out[t, :, half:dim], (high * c + low * s).astype(out.dtype))

    pto.fori_loop(0, pto.minimum(tile, x.shape[0] - first), one_token)


@pto.kernel(
    grid="cdiv(tokens, tile)",
    x="dtype[tokens, heads, dim]",
    positions="i32[tokens]",
    turn="dtype[dim, dim]",
    cos="f32[length, dim]",
    sin="f32[length, dim]",
    out="dtype[tokens, heads, dim]",
    static=dict(dtype="bf16", heads=64, dim=128, tile=16),
)
def rope_pairs(
    x: Tensor, positions: Tensor, turn: Tensor, cos: Tensor, sin: Tensor, out: Tensor, *, tile: int
) -> None:
    """Elements 2 i and 2 i + 1 are turned by the angle i of the position, which the tables have twice.

    ``turn`` is a quarter turn of all pairs: x @ turn is -x[1], x[0], -x[3], x[2], ...
    """
    first, quarter = pto.program_id(0) * tile, pto.load(turn[:, :])

    def one_token(i: Scalar) -> None:
        t = first + i
        c, s = (pto.load(table[positions[t], :]) for table in (cos, sin))
        turned = pto.load(x[t, :, :]) @ quarter
        straight = pto.load(x[t, :, :]).astype("f32")
        pto.store(out[t, :, :], (straight * c + turned * s).astype(out.dtype))

    pto.fori_loop(0, pto.minimum(tile, x.shape[0] - first), one_token)


def _tables(rng: np.random.Generator, tokens: int, half: int) -> dict[str, Any]:
    """Positions, and the cosines and sines of ``tokens`` positions."""
    import numpy as np

    angles = np.arange(tokens)[:, None] * 10000.0 ** (-np.arange(half) / half)
    positions = rng.integers(0, tokens, tokens).astype(np.int32)
    return {"positions": positions, "cos": np.cos(angles), "sin": np.sin(angles)}


@rope_halves.case
def draw_halves(rng: np.random.Generator, *, tokens: int = 2048, **statics: Any) -> dict[str, Any]:
    """Tokens at any positions."""
    import numpy as np

    x = rng.standard_normal((tokens, statics["heads"], statics["dim"]), np.float32)
    return {"x": x, **_tables(rng, tokens, statics["half"])}


@rope_pairs.case
def draw_pairs(rng: np.random.Generator, *, tokens: int = 2048, **statics: Any) -> dict[str, Any]:
    """Tokens at any positions."""
    import numpy as np

    dim, given = statics["dim"], _tables(rng, tokens, statics["dim"] // 2)
    turn = np.kron(np.eye(dim // 2), [[0, 1], [-1, 0]])
    x = rng.standard_normal((tokens, statics["heads"], dim), np.float32)
    cos, sin = (np.repeat(given[name], 2, axis=1) for name in ("cos", "sin"))
    return {"x": x, "positions": given["positions"], "turn": turn, "cos": cos, "sin": sin}


def _rotated(x: Any, low: slice, high: slice, cos: Any, sin: Any) -> dict[str, Any]:
    """By complex numbers, of which ``low`` are the real parts and ``high`` the others."""
    import numpy as np

    z = (x[..., low] + 1j * x[..., high]) * (cos + 1j * sin)[:, None]
    out = np.empty(x.shape)
    out[..., low], out[..., high] = z.real, z.imag
    return {"out": out}


@rope_halves.reference
def complex_halves(x: Any, positions: Any, cos: Any, sin: Any) -> dict[str, Any]:
    """In complex numbers."""
    half = cos.shape[1]
    return _rotated(x, slice(half), slice(half, None), cos[positions], sin[positions])


@rope_pairs.reference
def complex_pairs(x: Any, positions: Any, cos: Any, sin: Any) -> dict[str, Any]:
    """In complex numbers."""
    even, odd = slice(0, None, 2), slice(1, None, 2)
    return _rotated(x, even, odd, cos[positions][:, even], sin[positions][:, even])
