"""Transposes as tiles of their own.

In: ``x.T`` where something other than a product takes it; a product reads ``x`` itself the other way round, for
nothing.  Out: one row that makes it, in front of the first use; later uses take what is there.
"""

from __future__ import annotations

from pto import ir, source
from pto.errors import DTypeError, ShapeError
from pto.ops import OPS
from pto.tile import Tile
from pto.tracer import current, fail
from pto.types import BOX_ROWS


def made(turned: Tile) -> Tile:
    """The tile that ``turned``, the transpose of another one, is.

    Raises:
        DTypeError: for elements of one byte.
        ShapeError: when rows of several elements become no columns of whole boxes.
    """
    x, trace = turned.T, current()
    known: Tile | None = trace.turned.get(x.name)
    if known is not None and known._scope.encloses(trace.scope):
        return known
    operand = x.ref()
    if x.dtype not in OPS["transpose"].dtypes:
        message = f"'{x.name}' is {x.dtype}, whose transpose only a product can take"
        fail(DTypeError, message, f"convert it: {x.name}.astype('f16').T")
    if 1 not in x.shape and x.shape[0] % BOX_ROWS:
        message = f"'{x.name}' is {x.type}; the vector unit turns rows in multiples of {BOX_ROWS}"
        fail(ShapeError, message, "load a larger tile: pto.ds(start, size, valid=count)")
    row = ir.Define(trace.fresh(f"{x.name}_t"), turned.type)
    trace.emit(ir.Row("transpose", row, (operand,), loc=source.here()))
    tile = trace.turned[x.name] = Tile(trace, row.name, row.type)
    return tile
