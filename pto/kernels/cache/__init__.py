"""Caches of keys and values."""

from __future__ import annotations

from pto.kernels.cache.write import cache_write

KERNELS = (cache_write,)
