"""Norms of rows that are wider than the memory, and of single tokens."""

from __future__ import annotations

from pto.kernels.norm.token import layernorm_token, rmsnorm_token
from pto.kernels.norm.wide import layernorm_wide, rmsnorm_wide

KERNELS = (rmsnorm_wide, layernorm_wide, rmsnorm_token, layernorm_token)
