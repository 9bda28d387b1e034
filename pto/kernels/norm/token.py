"""Norms of few tokens: a tile is one whole row, whose sums both lanes make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor
from pto.kernels.norm.wide import drawn, layer, rms

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="tokens",
    x="dtype[tokens, dim]",
    gain="f32[dim]",
    out="dtype[tokens, dim]",
    epsilon="f32",
    static=dict(dtype="bf16", dim=8192),
)
def rmsnorm_token(x: Tensor, gain: Tensor, out: Tensor, *, epsilon: Scalar, dim: int) -> None:
    """out = x / sqrt(mean(x * x) + epsilon) * gain of one token."""
    t = pto.program_id(0)
    v = pto.load(x[t, :]).astype("f32")
    scale = pto.rsqrt(pto.row_sum(v * v) * (1 / dim) + epsilon)
    pto.store(out[t, :], (v * scale * pto.load(gain[:])).astype(out.dtype))


@pto.kernel(
    grid="tokens",
    x="dtype[tokens, dim]",
    gain="f32[dim]",
    shift="f32[dim]",
    out="dtype[tokens, dim]",
    epsilon="f32",
    static=dict(dtype="bf16", dim=8192),
)
def layernorm_token(
    x: Tensor, gain: Tensor, shift: Tensor, out: Tensor, *, epsilon: Scalar, dim: int
) -> None:
    """out = (x - mean) / sqrt(variance + epsilon) * gain + shift of one token."""
    t = pto.program_id(0)
    v = pto.load(x[t, :]).astype("f32")
    centred = v - pto.row_sum(v) * (1 / dim)
    scale = pto.rsqrt(pto.row_sum(centred * centred) * (1 / dim) + epsilon)
    y = centred * scale * pto.load(gain[:]) + pto.load(shift[:])
    pto.store(out[t, :], y.astype(out.dtype))


@rmsnorm_token.case
def draw_rms(rng: np.random.Generator, *, tokens: int = 24, **statics: Any) -> dict[str, Any]:
    """Unit-scale rows."""
    return drawn(rng, tokens, statics["dim"], "gain")


@layernorm_token.case
def draw_layer(rng: np.random.Generator, *, tokens: int = 24, **statics: Any) -> dict[str, Any]:
    """Unit-scale rows."""
    return drawn(rng, tokens, statics["dim"], "gain", "shift")


rmsnorm_token.reference(rms)
layernorm_token.reference(layer)
