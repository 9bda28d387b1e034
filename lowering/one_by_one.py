"""Flat loops run as plain ones, for who cares about values only: JAX and the checks of the inputs.

In: a block of a scheduled kernel.  Out: the same rows without overlap of work items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pto.ir import Block, Const, Expr, Loop, Ref, Row, Var, map_exprs, map_rows, substitute


def one_by_one(block: Block) -> Block:
    """The same rows with flat loops as plain ones: each item ends before the next one starts.

    The values are the same: every row runs once per position, items and iterations in order.  Slots
    go by the iteration of the item, which is known beside the inner loop too.
    """
    return tuple(_plain(n) if isinstance(n, Loop) and n.flat else n for n in block)


def _plain(loop: Loop) -> Loop:
    inner = loop.body[loop.inner]
    assert isinstance(inner, Loop)

    def slots_by(i: Expr) -> Callable[[Row], Row]:
        def slot(x: object) -> Any:
            counted = {inner.total: i}
            return map_exprs(x, lambda e: substitute(e, counted)) if isinstance(x, Ref) else x

        return lambda row: replace(row, out=slot(row.out), args=tuple(map(slot, row.args)))

    beside, within = slots_by(Const(0)), slots_by(Var(inner.index))
    inside = replace(inner, body=map_rows(inner.body, within))
    body = (replace(beside(n), shift=0) if isinstance(n, Row) else inside for n in loop.body)
    return replace(loop, flat=False, body=tuple(body))
