"""Products of matrices."""

from __future__ import annotations

from pto.kernels.matmul.batched import batched_matmul
from pto.kernels.matmul.grouped import grouped_matmul
from pto.kernels.matmul.int8 import int8_channels, int8_matmul

KERNELS = (batched_matmul, grouped_matmul, int8_matmul, int8_channels)
