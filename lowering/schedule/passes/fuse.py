"""Two ops that one instruction does: the op of that instruction in their place.

In: the persistent form.  Out: the same values, but for those that only the second of two such ops read.
Invariant: every element has the same bits as before: ``PATTERNS`` holds no instruction that rounds otherwise than
its two ops do.  Non-goals: what is faster; each of ``PATTERNS`` is, by every table of costs
(``tests/schedule/test_fuse.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lowering.schedule.passes.mentions import count_uses
from pto import ir
from pto.legality import straight
from pto.ops import OPS, form_of
from pto.types import TileType


@dataclass(frozen=True, slots=True)
class Pattern:
    """``fused(a, b)`` is ``outer(inner(a, b))``: ops by name."""

    fused: str
    outer: str
    inner: str


PATTERNS = (Pattern("sub_relu", "relu", "sub"),)
"""What one instruction does, and the two ops that it takes the place of."""

Types = Mapping[str, TileType]


def fuse(kernel: ir.Kernel) -> ir.Kernel:
    """x = sub a, b; y = relu x  --> y = sub_relu a, b, where nothing else reads x."""
    return replace(
        kernel, body=_block(kernel.body, count_uses(kernel.body), dict(_types(kernel.body)))
    )


def _types(block: ir.Block) -> Iterator[tuple[str, TileType]]:
    """The type of every tile by its name."""
    for loop in ir.loops_of(block):
        yield from ((name, c.type) for c in loop.carry for name in (c.name, c.last))
    for row in ir.all_rows(block):
        if isinstance(row.out, ir.Define):
            yield row.out.name, row.out.type


def _block(block: ir.Block, uses: Mapping[str, int], types: Types) -> ir.Block:
    out: list[ir.Node] = []
    for node in straight(block):
        if isinstance(node, ir.Loop):
            out.append(replace(node, body=_block(node.body, uses, types)))
            continue
        for pattern in PATTERNS:
            inner = _inner(node, pattern, out, uses)
            if inner is not None and _is_taken(inner, pattern, types):
                out.remove(inner)
                node = replace(node, op=pattern.fused, args=inner.args)
        out.append(node)
    return tuple(out)


def _inner(
    row: ir.Row, pattern: Pattern, before: Sequence[ir.Node], uses: Mapping[str, int]
) -> ir.Row | None:
    """The row of the same block that makes what ``row`` takes, if nothing else reads that."""
    if row.op != pattern.outer or uses[row.operand(ir.Ref).name] > 1:
        return None
    rows = (r for r in before if isinstance(r, ir.Row) and r.op == pattern.inner)
    return next((r for r in rows if r.result(ir.Define).name == row.operand(ir.Ref).name), None)


def _is_taken(inner: ir.Row, pattern: Pattern, types: Types) -> bool:
    """Whether the instruction takes these operands: of which type, and in which form."""
    op, made, second = OPS[pattern.fused], inner.result(ir.Define).type, inner.args[1]
    other = types[second.name] if isinstance(second, ir.Ref) else None
    form = form_of((made.rows, made.cols), other and (other.rows, other.cols))
    return made.dtype in op.dtypes and form in op.instruction
