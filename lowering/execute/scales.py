"""What a store out of L0C multiplies with: a scale of all, or of every column, with ten bits of fraction.

In: a number, or pairs of words as FIX takes them (docs/machine.md 12).  Out: a factor, or a row of them.
Invariant: of a pair the executors read all that the machine does: a second word that does not belong to
the type of the result is an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lowering.execute.access import Array
from pto.arithmetic import SHORT_BITS, short
from pto.errors import InputError
from pto.ir import Row
from pto.scales import SECOND


def factors(scale: Any, dtype: str, row: Row, columns: slice = slice(None)) -> Any:
    """The factor of all columns as a float, or the row ``[1, cols]`` of theirs, for a result of ``dtype``.

    ``columns``: those that are stored; the pairs of others may be anything.

    Raises:
        InputError: for a pair that is none of a scale for that type.
    """
    if not isinstance(scale, np.ndarray):
        return short(scale)
    pairs: Array = scale.astype(np.int32)
    wrong = np.flatnonzero(pairs[columns, 1] != SECOND[dtype])
    if wrong.size:
        k = int(wrong[0]) + (columns.start or 0)
        message = f"store: column {k} has no scale for {dtype}: its second word is {pairs[k, 1]}"
        hint = f"pto.column_scales(scales, '{dtype}') makes them, with {SECOND[dtype]}"
        raise InputError(message, row.loc, hint)
    bits = pairs[:, 0] >> SHORT_BITS << SHORT_BITS
    return bits.view(np.float32)[None, :]
