"""Which tiles a row reads, writes and uses up.  In: a ``Row``.  Out: its operands by what happens to them.

The proof's own reading of the op table; it shares none with the scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass

from pto.ir import Queue, Ref, Row
from pto.ops import OPS


@dataclass(frozen=True, slots=True)
class Tiles:
    """``scratch``: the tile that a row may leave anything in; no other row may take that for a value."""

    read: tuple[Ref, ...]
    out: Ref | None
    scratch: Ref | None

    @property
    def written(self) -> tuple[Ref, ...]:
        return tuple(r for r in (self.out, self.scratch) if r is not None)


def tiles_of(row: Row) -> Tiles:
    """The tiles of a row; the last operand of an op with scratch is that."""
    refs = [a for a in row.args if isinstance(a, Ref)]
    op = OPS.get(row.op)
    has_scratch = op is not None and op.scratch and len(row.args) == len(op.args)
    scratch = refs.pop() if has_scratch else None
    return Tiles(tuple(refs), row.out if isinstance(row.out, Ref) else None, scratch)


def queue_of(row: Row) -> str:
    """The FIFO that a row names, or ''."""
    return next((o.name for o in (row.out, *row.args) if isinstance(o, Queue)), "")
