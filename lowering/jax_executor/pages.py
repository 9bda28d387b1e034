"""Arrays of the host in large pages of memory, which JAX takes over as they are.

In: a numpy array.  Out: an equal one that starts where JAX needs no copy of it.

A kernel that streams through its inputs waits for memory, and in pages of 4 KB also for the table of
pages: ``paged_attention`` with a context of 8192 takes a tenth longer.  numpy asks the system for pages of
2 MB, JAX does not; and what does not start on a multiple of 64 bytes, as large numpy arrays never do, JAX
copies to memory of its own, once per device.

Invariant: what is returned belongs to nobody else, so JAX may keep it.
Non-goals: small arrays, devices with memory of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
ALIGNMENT = 64
"""Bytes: what starts on a multiple of this, JAX takes over."""
LARGE = 1 << 22
"""Bytes from which on numpy asks for large pages."""


def in_large_pages(a: Array) -> Array:
    """A copy in large pages; ``a`` itself where it is too small for them."""
    if a.nbytes < LARGE:
        return a
    room = np.empty(a.nbytes + ALIGNMENT, np.uint8)
    first = -room.ctypes.data % ALIGNMENT
    found = room[first : first + a.nbytes].view(a.dtype).reshape(a.shape)
    found[...] = a
    return found
