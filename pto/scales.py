"""Scales on the way out of the cube core: one number, or one for every column of what is stored.

In: what ``pto.store(..., scale=)`` is given.  Out: the operand of its row.  A scale of a column is a pair of words,
as FIX takes them from its buffer (docs/machine.md 12): the bits of a float, and whether an integer of eight
bits has a sign; ``column_scales`` makes them on the host.
Non-goals: who brings them into that buffer (``lowering/schedule/passes/assign.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pto import ir
from pto.errors import DTypeError, ShapeError
from pto.scalar import Number, Scalar, as_scalar
from pto.targets import TARGETS
from pto.tensor import TensorView
from pto.tile import Tile
from pto.tracer import fail
from pto.types import PAIR, scales_of
from pto.views import is_strided

if TYPE_CHECKING:
    from numpy import int32
    from numpy.typing import ArrayLike, NDArray

__all__ = ["column_scales"]

SIGN = 1 << 14
"""Of the second word of a pair: the result has a sign (bit 46 of both)."""

SECOND = {"i8": SIGN, "u8": 0, "f16": 0}
"""The type of what is stored -> the second word of its scales."""


def column_scales(scales: ArrayLike, dtype: str) -> NDArray[int32]:
    """Scales of columns as ``pto.store(..., scale=)`` takes them: an array ``i32[n, 2]`` of ``n`` numbers, for a
    tensor of ``dtype``, one of ``i8``, ``u8`` and ``f16``.  Runs on the host, once for all calls with these scales.

    Of each scale the first ten bits of its fraction count, the others are cut off.

    Raises:
        DTypeError: for a type that no scale converts to.
    """
    import numpy as np

    if dtype not in SECOND:
        raise DTypeError(f"no scale converts to '{dtype}'", hint=f"one of: {', '.join(SECOND)}")
    bits: Any = np.ravel(np.asarray(scales, np.float32)).view(np.int32)
    return np.stack([bits, np.full_like(bits, SECOND[dtype])], axis=1)


def check(tile: Tile, target: TensorView) -> None:
    """Whether a scale can convert what is stored to the type of its tensor.

    Raises:
        DTypeError, ShapeError: at the line of the store.
    """
    drains = next(iter(TARGETS.values())).scaled_drains
    if target.dtype not in drains.get(tile.dtype, ()):
        message = (
            f"store: no scale converts '{tile.name}', which is {tile.dtype}, to {target.dtype}"
        )
        ways = ", ".join(f"{x} to {' or '.join(y)}" for x, y in drains.items())
        fail(DTypeError, message, f"there are {ways}; for others: x * scale, then .astype", 1)
    if is_strided(target.view, target.tensor.dims, *target.shape):
        message = f"store: the elements of a row of this view of '{target.tensor.name}' do not lie side by side"
        fail(ShapeError, message, "a scale is of rows that are runs of neighbours", 0)


def operand(given: Scalar | Number | Tile, tile: Tile) -> ir.Expr | ir.Ref:
    """A scale as a float; those of the columns of ``tile`` as a tile of pairs.

    Raises:
        ShapeError: for a tile that is none.
    """
    if isinstance(given, Tile):
        wanted = scales_of(tile.type)
        if given.type != wanted:
            message = f"store: the scales of the columns of '{tile.name}', which is {tile.type}, are a tile {wanted}"
            hint = f"pto.column_scales(array, dtype) makes i32[n, {PAIR}] of n numbers; scales that a kernel computes: x * scales, then .astype"
            fail(ShapeError, f"{message}, found '{given.name}', {given.type}", hint)
        return given.ref()
    expr = as_scalar(given, "a number, a traced scalar or a tile of scales").expr
    return ir.Const(float(expr.value)) if isinstance(expr, ir.Const) else expr
