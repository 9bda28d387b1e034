"""Rotary positions."""

from __future__ import annotations

from pto.kernels.rotation.rope import rope_halves, rope_pairs

KERNELS = (rope_halves, rope_pairs)
