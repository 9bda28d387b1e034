"""Arrays of a library that nobody has: all that a call knows of them is DLPack.

``Array`` holds one of JAX.  ``from_dlpack`` makes one of what hands itself over, as torch's does.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any


class Array:
    """An array of another library, on the CPU unless a device is said."""

    def __init__(self, held: Any, device: tuple[int, int] = (1, 0), shares: bool = True) -> None:
        self.held, self.where, self.shares = held, device, shares
        self.device = f"accelerator:{device[1]}" if device[0] != 1 else "cpu"

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.held.shape
        return shape

    @property
    def dtype(self) -> str:
        return f"foreign.{self.held.dtype}"

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.where

    def __dlpack__(self, **options: Any) -> Any:
        if not self.shares:
            raise BufferError("an array that requires a gradient; detach it")
        return self.held.__dlpack__(**options)

    def __array_namespace__(self) -> ModuleType:
        import sys

        return sys.modules[__name__]


def from_dlpack(given: Any) -> Array:
    """An array of this library."""
    import jax

    return Array(jax.dlpack.from_dlpack(given))
