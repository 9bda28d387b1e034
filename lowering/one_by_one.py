"""Flat loops run as plain ones, for who cares about values only: JAX and the checks of the inputs.

In: a block of a scheduled kernel.  Out: the same rows without overlap of work items.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pto.ir import Block, Const, Expr, Loop, Node, Ref, Row, Var, binary, map_exprs, substitute


def one_by_one(block: Block) -> Block:
    """The same rows with flat loops as plain ones: each item ends before the next one starts.

    The values are the same: every row runs once per position, items and iterations in order.  Slots
    go by the iteration of the item, in front of the inner loop by the first, behind it by the last.
    """
    return tuple(_plain(n) if isinstance(n, Loop) and n.flat else n for n in block)


def _plain(loop: Loop) -> Loop:
    at, inner = loop.inner, loop.inside
    last = binary("-", inner.trips, Const(1))
    front = [replace(_by(Const(0), inner, r), shift=0) for r in _by_stage(loop.body[:at])]
    inside = [_by(Var(inner.index), inner, r) for r in inner.body]
    behind = [replace(_by(last, inner, r), shift=0) for r in _by_stage(loop.body[at + 1 :])]
    return replace(loop, flat=False, body=(*front, replace(inner, body=tuple(inside)), *behind))


def _by_stage(block: Block) -> Block:
    """Rows beside the inner loop in the order in which they run for one item."""
    return tuple(sorted(block, key=lambda row: -row.shift if isinstance(row, Row) else 0))


def _by(i: Expr, inner: Loop, row: Node) -> Row:
    """A row whose slots go by iteration ``i`` of the loop inside."""
    assert isinstance(row, Row)
    counted = {inner.total: i}

    def slot(x: object) -> Any:
        return map_exprs(x, lambda e: substitute(e, counted)) if isinstance(x, Ref) else x

    return replace(row, out=slot(row.out), args=tuple(map(slot, row.args)))
