"""Traced kernels with other names: what a user named, and the same kernel renamed."""

from __future__ import annotations

from dataclasses import replace

from pto import ir


def variables(kernel: ir.Kernel) -> list[str]:
    """Everything that the user named: values, scalars, indices, parameters, dimensions."""
    found = [p.name for p in kernel.params] + list(kernel.dims)

    def visit(block: ir.Block) -> None:
        for node in block:
            if isinstance(node, ir.Loop):
                found.append(node.index)
                found.extend(n for c in node.carry for n in (c.name, c.last))
                visit(node.body)
            elif isinstance(node, ir.Row) and isinstance(node.out, ir.Define | ir.Scalar):
                found.append(node.out.name)

    visit(kernel.body)
    return list(dict.fromkeys(found))


def renamed(kernel: ir.Kernel, new: dict[str, str]) -> ir.Kernel:
    """The kernel with other names."""

    def name(old: str) -> str:
        return new.get(old, old)

    def operand(x: object) -> object:
        """Any part of a row: names in it are renamed, whatever it is."""
        if isinstance(x, tuple):
            return tuple(map(operand, x))
        if isinstance(x, ir.Ref | ir.Var | ir.Define | ir.Scalar):
            x = replace(x, name=name(x.name))
        elif isinstance(x, ir.View):
            x = replace(x, tensor=name(x.tensor), index=operand(x.index))
        elif isinstance(x, ir.Span):
            x = replace(x, start=operand(x.start), valid=operand(x.valid))
        elif isinstance(x, ir.Bin):
            x = replace(x, a=operand(x.a), b=operand(x.b))
        return x

    def node(n: ir.Node) -> ir.Node:
        if isinstance(n, ir.Row):
            return replace(n, out=operand(n.out), args=operand(n.args))
        assert isinstance(n, ir.Loop)
        carry = tuple(
            replace(c, name=name(c.name), last=name(c.last), init=operand(c.init)) for c in n.carry
        )
        body = tuple(map(node, n.body))
        return replace(
            n, index=name(n.index), trips=operand(n.trips), body=body, carry=carry,
            result=operand(n.result),
        )  # fmt: skip

    params = tuple(
        replace(p, name=name(p.name), shape=p.shape and tuple(new.get(d, d) for d in p.shape))
        for p in kernel.params
    )
    body = tuple(map(node, kernel.body))
    return replace(kernel, params=params, grid=operand(kernel.grid), body=body)
