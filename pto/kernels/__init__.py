"""The shipped kernels, by name, each with its random case and its oracle.

``SHIPPED``: those that the documentation and the searches go through in every detail.  ``GALLERY``: what a
language model needs beside them, one package per family; each family lists its kernels.  ``KERNELS``: both.
"""

from __future__ import annotations

from pto.kernel import Kernel
from pto.kernels import activation, attention, cache, matmul, norm, rotation, routing
from pto.kernels.gemm import gemm
from pto.kernels.paged_attention import paged_attention
from pto.kernels.rmsnorm import rmsnorm

FAMILIES = (attention, cache, rotation, norm, activation, matmul, routing)
SHIPPED: dict[str, Kernel] = {k.name: k for k in (paged_attention, gemm, rmsnorm)}
GALLERY: dict[str, Kernel] = {k.name: k for family in FAMILIES for k in family.KERNELS}

KERNELS: dict[str, Kernel] = SHIPPED | GALLERY

__all__ = ["FAMILIES", "GALLERY", "KERNELS", "SHIPPED", "gemm", "paged_attention", "rmsnorm"]
