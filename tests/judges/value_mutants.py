"""Traced programs made wrong on purpose: one constant, one op or one index changed.

``mutants`` gives each with a name; what is no legal program any more is left out.  That a change is
to be seen in the results is not said: ``maximum x, 0`` twice is ``maximum x, 0``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from pto.errors import PtoError
from pto.ir import (
    Bin,
    Branch,
    Const,
    Define,
    Expr,
    Kernel,
    Loop,
    Node,
    Operand,
    Ref,
    Row,
    Span,
    Var,
    View,
    all_rows,
    map_rows,
)
from pto.legality import verify

OTHER_OP = {
    "add": "sub",
    "sub": "add",
    "mul": "div",
    "div": "mul",
    "maximum": "minimum",
    "minimum": "maximum",
    "exp": "copy",
    "sqrt": "exp",
    "row_sum": "row_max",
    "row_max": "row_min",
    "row_min": "row_max",
}
OTHER_SCALAR_OP = {"+": "-", "-": "+", "*": "+", "//": "%", "%": "//", "min": "max", "max": "min"}


def mutants(kernel: Kernel) -> Iterator[tuple[str, Kernel]]:
    """(what was changed, the program)."""
    for name, changed in itertools.chain(_rows(kernel), _loops(kernel)):
        try:
            yield name, verify(changed)
        except PtoError:
            continue


def _rows(kernel: Kernel) -> Iterator[tuple[str, Kernel]]:
    types = {r.out.name: r.out.type for r in all_rows(kernel.body) if isinstance(r.out, Define)}
    for n, row in enumerate(all_rows(kernel.body)):
        for what, new in _changed(row, types):
            yield f"row {n} {row.op}: {what}", _with_row(kernel, n, new)


def _with_row(kernel: Kernel, number: int, new: Row) -> Kernel:
    count = itertools.count()
    return replace(
        kernel, body=map_rows(kernel.body, lambda r: new if next(count) == number else r)
    )


def _changed(row: Row, types: dict[str, object]) -> Iterator[tuple[str, Row]]:
    if row.op in OTHER_OP:
        yield f"is {OTHER_OP[row.op]}", replace(row, op=OTHER_OP[row.op])
    if row.op in ("sub", "div") and isinstance(row.args[1], Ref):
        yield "operands swapped", replace(row, args=(row.args[1], row.args[0]))
    for k, a in enumerate(row.args):
        for what, b in _operands(a, types):
            yield what, replace(row, args=(*row.args[:k], b, *row.args[k + 1 :]))
    if isinstance(row.out, View):
        for what, view in _views(row.out):
            yield what, replace(row, out=view)


def _operands(a: Operand, types: dict[str, object]) -> Iterator[tuple[str, Operand]]:
    if isinstance(a, View):
        yield from _views(a)
    elif isinstance(a, Ref):
        others = [n for n, t in types.items() if n != a.name and t == types.get(a.name)]
        yield from ((f"{other} for {a.name}", replace(a, name=other)) for other in others[-2:])
        yield f"{a.name} transposed", replace(a, transposed=not a.transposed)
    elif isinstance(a, Const | Var | Bin):
        yield from _expressions(a)


def _views(view: View) -> Iterator[tuple[str, View]]:
    for k, item in enumerate(view.index):
        before, behind = view.index[:k], view.index[k + 1 :]
        if isinstance(item, Span):
            for what, start in _expressions(item.start):
                yield what, replace(view, index=(*before, replace(item, start=start), *behind))
            if item.step > 1:
                new = replace(item, step=item.step - 1)
                yield f"by {new.step}", replace(view, index=(*before, new, *behind))
            if item.valid is not None:
                for what, valid in _expressions(item.valid):
                    new = replace(item, valid=valid)
                    yield f"valid: {what}", replace(view, index=(*before, new, *behind))
        else:
            for what, e in _expressions(item):
                yield what, replace(view, index=(*before, e, *behind))


def _expressions(e: Expr) -> Iterator[tuple[str, Expr]]:
    """One constant or one operator changed; a plain name is one more or less."""
    if isinstance(e, Const):
        changes = (e.value + 1, e.value - 1)
        if isinstance(e.value, float):
            changes = (e.value * 1.001, e.value + 1.0, 0.0)
        yield from ((f"{value} for {e.value}", Const(value)) for value in changes)
    elif isinstance(e, Var):
        yield f"{e.name} + 1", Bin("+", e, Const(1))
        yield f"{e.name} - 1", Bin("-", e, Const(1))
    else:
        if e.op in OTHER_SCALAR_OP:
            yield f"{OTHER_SCALAR_OP[e.op]} for {e.op}", replace(e, op=OTHER_SCALAR_OP[e.op])
        yield from ((what, replace(e, a=a)) for what, a in _expressions(e.a))
        yield from ((what, replace(e, b=b)) for what, b in _expressions(e.b))


def _loops(kernel: Kernel) -> Iterator[tuple[str, Kernel]]:
    """Trip counts, and results that go to another carry."""

    def node(n: Node) -> Iterator[tuple[str, Node]]:
        if isinstance(n, Branch):
            yield from ((what, replace(n, then=b)) for what, b in block(n.then))
            yield from ((what, replace(n, orelse=b)) for what, b in block(n.orelse))
        elif isinstance(n, Loop):
            for what, trips in _expressions(n.trips):
                yield f"trips {what}", replace(n, trips=trips)
            if len(n.result) > 1:
                yield "results turned", replace(n, result=(*n.result[1:], n.result[0]))
            yield from ((what, replace(n, body=b)) for what, b in block(n.body))

    def block(nodes: tuple[Node, ...]) -> Iterator[tuple[str, tuple[Node, ...]]]:
        for k, n in enumerate(nodes):
            for what, new in node(n):
                yield what, (*nodes[:k], new, *nodes[k + 1 :])

    for what, body in block(kernel.body):
        yield f"loop: {what}", replace(kernel, body=body)
