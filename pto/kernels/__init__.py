"""The shipped kernels, by name.  Each module holds one kernel, its random case and its oracle."""

from __future__ import annotations

from pto.kernel import Kernel
from pto.kernels.gemm import gemm
from pto.kernels.paged_attention import paged_attention
from pto.kernels.rmsnorm import rmsnorm

SHIPPED: dict[str, Kernel] = {k.name: k for k in (paged_attention, gemm, rmsnorm)}

__all__ = ["SHIPPED", "gemm", "paged_attention", "rmsnorm"]
