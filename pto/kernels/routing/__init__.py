"""Which experts a token goes to."""

from __future__ import annotations

from pto.kernels.routing.gating import top_k_gating

KERNELS = (top_k_gating,)
