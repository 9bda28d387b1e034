"""Products of matrices."""

from __future__ import annotations

from pto.kernels.matmul.batched import batched_matmul

KERNELS = (batched_matmul,)
