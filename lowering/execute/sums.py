"""What stores make of tensors in numpy; sums have the same bits in whatever order their terms come.

In: the array of a tensor, and parts of tiles that take the place of a region of it or are added there.
Out: the array.  Invariant: what is added to is the exact sum of what it held and of all terms since,
rounded once to the type of the tensor.  So no order of the work items, of the pipes, of the cores shows, and
every difference of bits is one of values.  A machine that rounds after every term ends within the
stated error of this sum (``lowering/execute/roundings.py``), in whatever order.
Non-goals: where a region lies (``access.py``), order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lowering.execute.access import Array
from pto.ir import Kernel, added_to

Where = tuple[int | slice, ...]


class Kept:
    """The array of a tensor that is stored to; ``memory`` is what it knows beside."""

    def __init__(self, tensor: Array) -> None:
        self.tensor = tensor
        self.memory: tuple[Array, ...] = ()

    def put(self, where: Where, part: Array) -> None:
        """``part`` takes the place of a region."""
        self.tensor[where] = part

    def add(self, where: Where, part: Array) -> None:
        """``part`` is added to a region; integers have no roundings, and wrap around."""
        self.tensor[where] += part


STEP = 149
"""Every float of 32 bits, and of 16, is a multiple of 2 ** -STEP."""

_integers: Any = np.frompyfunc(int, 1, 1)


def _split(a: Array) -> tuple[Array, Array]:
    """The finite numbers of ``a`` as integers that count 2 ** -STEP, and those that are not finite (0: it is)."""
    wide = a.astype(np.float64)
    finite = np.isfinite(wide)
    return _integers(np.ldexp(np.where(finite, wide, 0.0), STEP)), np.where(finite, 0.0, wide)


class Sums(Kept):
    """Floats that are added to: beside the array, the exact sums and, apart, those of infinities and NaN."""

    def __init__(self, tensor: Array) -> None:
        super().__init__(tensor)
        self.exact, self.beyond = _split(tensor)
        self.memory = self.exact, self.beyond

    def put(self, where: Where, part: Array) -> None:
        super().put(where, part)
        self.exact[where], self.beyond[where] = _split(part)

    def add(self, where: Where, part: Array) -> None:
        terms, beyond = _split(part)
        self.exact[where] += terms
        self.beyond[where] += beyond
        finite = (self.exact[where] / (1 << STEP)).astype(np.float64)
        total = np.where(self.beyond[where] == 0, finite, self.beyond[where])
        one_nan = np.where(
            np.isnan(total), np.nan, total
        )  # which of two NaN is kept depends on the order
        self.tensor[where] = one_nan.astype(self.tensor.dtype)


def kept(kernel: Kernel, tensors: Mapping[str, Array]) -> dict[str, Kept]:
    """The tensors that ``kernel`` stores to, by name."""
    added = added_to(kernel.body)
    return {
        p.name: (Sums if p.name in added and p.dtype != "i32" else Kept)(tensors[p.name])
        for p in kernel.params
        if p.is_written
    }
