"""JAX arrays in the memory of the host, and their 16-bit floats as bits without a copy.

In: arrays of a call that JAX does not trace.  Out: the device, and other views of the same memory.
The executor takes and gives 16-bit floats as their bits.  Made inside of its program these cost a pass over
a whole tensor, or slower loads (``lowering/jax_executor/machine.py``); here they cost nothing.
Non-goals: accelerators, where a program makes them at no cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from lowering.execute.access import DTYPES

HALVES = {DTYPES[name] for name in ("bf16", "f16")}


def host_of(arrays: Iterable[Any]) -> jax.Device | None:
    """The one CPU device that all JAX arrays of a call are on (numpy's go anywhere), if it is one."""
    places = {d for x in arrays if isinstance(x, jax.Array) for d in x.devices()}
    only = places.pop() if len(places) == 1 else None
    return only if only is not None and only.platform == "cpu" else None


def as_bits(arrays: Mapping[str, Any], device: jax.Device) -> dict[str, Any]:
    """16-bit floats as ``uint16``, on the device in one step; everything else as it is."""
    halves = {n: x for n, x in arrays.items() if x.dtype in HALVES}
    bits = {n: np.asarray(x).view(np.uint16) for n, x in halves.items()}
    return {**arrays, **(jax.device_put(bits, device) if bits else {})}


def as_held(x: jax.Array, dtype: str, device: jax.Device) -> jax.Array:
    """A result with its own element type."""
    if DTYPES[dtype] not in HALVES:
        return x
    floats: jax.Array = jax.device_put(np.asarray(x).view(DTYPES[dtype]), device)
    return floats
