"""The one printer of the grammar in docs/language.md: tables in the header, one line per row.

Lines stay within 100 columns; what is longer goes on behind a bar in the next line.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Sequence

from pto import ir
from pto.arithmetic import Number
from pto.lexer import FUNCTIONS, PRECEDENCE

WIDTH = 100
SYNC_COLUMN = 56
BREAK = re.compile(r"(?<=\S) (?=\S)(?!as |if |wait |set )")
"""A space at which a long line may go on in the next one."""


def number(value: Number) -> str:
    """A literal that reads back as the same value and type."""
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)


def expr(e: ir.Expr, level: int = 0) -> str:
    """``e`` in infix form with no more parentheses than it needs."""
    if isinstance(e, ir.Const):
        text = number(e.value)
        return f"({text})" if level > 1 and text.startswith("-") else text
    if isinstance(e, ir.Var):
        return e.name
    if e.op in FUNCTIONS:
        return f"{e.op}({expr(e.a)}, {expr(e.b)})"
    mine = PRECEDENCE[e.op]
    text = f"{expr(e.a, mine)} {e.op} {expr(e.b, mine + 1)}"
    return f"({text})" if mine < level else text


def _ring(name: str, index: ir.Expr | None) -> str:
    return name if index is None else f"{name}[{expr(index)}]"


def view(v: ir.View, shape: tuple[int | str, ...]) -> str:
    """``tensor[index, ...]``; a dimension taken whole prints as ``:``."""
    parts = []
    for item, dim in zip(v.index, shape, strict=True):
        if not isinstance(item, ir.Span):
            parts.append(expr(item, 2))
        elif item == ir.Span(ir.Const(0), dim if isinstance(dim, int) else -1):
            parts.append(":")
        else:
            valid = "" if item.valid is None else f"<{expr(item.valid, 2)}"
            step = "" if item.step == 1 else f" by {item.step}"
            parts.append(f"{expr(item.start, 2)}:+{item.size}{step}{valid}")
    return f"{v.tensor}[{', '.join(parts)}]"


def operand(o: ir.Operand | ir.Output, kernel: ir.Kernel) -> str:
    """One operand or output as text."""
    if isinstance(o, ir.Ref):
        return _ring(o.name, o.index) + (".T" if o.transposed else "")
    if isinstance(o, ir.View):
        return view(o, kernel.param(o.tensor).shape or ())
    if isinstance(o, ir.Define):
        return f"{o.name}: {o.type}"
    if isinstance(o, ir.Queue | ir.Scalar | ir.Word):
        return o.name
    if isinstance(o, ir.Text):
        return quoted(o.value)
    return expr(o)


def quoted(text: str) -> str:
    """One token, and no # in it, which would start a comment."""
    return json.dumps(text).replace("#", "\\u0023")


def statement(r: ir.Row, kernel: ir.Kernel) -> str:
    """``out = op arg, arg`` without the scheduling columns."""
    args = ", ".join(operand(a, kernel) for a in r.args)
    out = "" if r.out is None else operand(r.out, kernel) + " = "
    return f"{out}{r.op} {args}".rstrip()


def named(r: ir.Row, kernel: ir.Kernel) -> str:
    """``out = op arg, arg as value``: with the user's name of what a buffer of another name holds."""
    return statement(r, kernel) + (f" as {r.value}" if r.value else "")


def condition(r: ir.Row) -> str:
    """``if test else other``: where a row works, and what its result is elsewhere."""
    tests = "".join(f"if {expr(test)}" for test in r.tests)
    return tests if r.other is None else f"{tests} else {r.other.name}"


def wrapped(text: str, margin: str) -> list[str]:
    """``text`` on lines of at most ``WIDTH``; each further line starts with ``margin`` and ``| ``."""
    lines = []
    while len(text) > WIDTH:
        least = len(text) - len(text.lstrip()) + 6
        breaks = [m.start() for m in BREAK.finditer(text, least, WIDTH + 1)]
        if not breaks:
            break
        lines.append(text[: breaks[-1]])
        text = f"{margin}| {text[breaks[-1] + 1 :]}"
    return [*lines, text]


def flags(kind: str, found: tuple[ir.Flag, ...], width: int = sys.maxsize) -> list[str]:
    """``| wait a b c``: as many flags to a line as fit into ``width``, at least one."""
    lines: list[str] = []
    for flag in found:
        name = _ring(flag.name, flag.index)
        if lines and len(lines[-1]) + 1 + len(name) <= width:
            lines[-1] += " " + name
        else:
            lines.append(f"| {kind} {name}")
    return lines


def row_lines(r: ir.Row, kernel: ir.Kernel, indent: str) -> list[str]:
    """The line of a row, with its columns behind it or on lines of their own."""
    place = f"{r.core:<6} {r.shift:+d}  {r.pipe:<4}  ".replace("+0", " 0") if r.core else ""
    text = indent + place + statement(r, kernel)
    margin = indent + " " * (len(place) + 2)
    value = [f"| as {r.value}"] if r.value else []
    value += [f"| {condition(r)}"] * bool(r.tests)
    sync = value + flags("wait", r.wait) + flags("set", r.set)
    is_said = any(isinstance(a, ir.Text) for a in r.args)  # a text is one token
    whole = [text] if is_said else wrapped(text, margin)
    if not sync:
        return whole
    columns = " ".join(sync)
    column = min(SYNC_COLUMN, WIDTH - 1 - len(columns))
    joined = f"{text:<{max(column, 0)}} {columns}"
    if len(joined) <= WIDTH:
        return [joined]
    if len(margin) + len(columns) <= WIDTH:
        return [*whole, margin + columns]
    room = WIDTH - len(margin)
    split = value + flags("wait", r.wait, room) + flags("set", r.set, room)
    return [*whole, *(margin + line for line in split)]


def block_lines(block: ir.Block, kernel: ir.Kernel, depth: int) -> list[str]:
    """The lines of a block, indented by two per level."""
    indent = "  " * depth
    lines: list[str] = []

    def add(text: str) -> None:
        lines.extend(wrapped(indent + text, indent + "    "))

    for node in block:
        if isinstance(node, ir.Row):
            lines += row_lines(node, kernel, indent)
        elif isinstance(node, ir.Loop):
            names = node.index + (f", {node.total}" if node.total else "")
            add(f"for {names} in 0 .. {expr(node.trips)}{' flat' * node.flat}:")
            for c in node.carry:
                start = f" from {operand(c.init, kernel)}" if c.init else ""
                add(f"  carry {c.name}: {c.type}{start} last {c.last}")
            lines += block_lines(node.body, kernel, depth + 1)
            if node.result:
                add(f"  yield {', '.join(operand(x, kernel) for x in node.result)}")
        else:
            add(f"if {expr(node.test)}:")
            lines += block_lines(node.then, kernel, depth + 1)
            if node.orelse:
                add("else:")
                lines += block_lines(node.orelse, kernel, depth + 1)
    return lines


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of a table as lines, every column as wide as its longest entry."""
    cells = [list(r) for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [" ".join(f"{x:<{w}}" for x, w in zip(r, widths, strict=True)) for r in cells]


def used_bytes(buffers: Sequence[ir.Buffer]) -> list[str]:
    """One comment per core: how much of each memory the buffers take."""
    ends: dict[str, dict[str, int]] = {}
    for b in buffers:
        spaces = ends.setdefault(b.core, {})
        spaces[b.space] = max(spaces.get(b.space, 0), b.at + b.depth * b.stride)
    return [
        f"# {core} uses "
        + ", ".join(f"{end / 1024:g}K of {space}" for space, end in spaces.items())
        for core, spaces in ends.items()
    ]


def _param_columns(p: ir.Param) -> tuple[str, ...]:
    shape = "" if p.shape is None else f"[{', '.join(map(str, p.shape))}]"
    return "param", p.name, p.direction, " ".join((f"{p.dtype}{shape}", *map(fact, p.facts)))


def fact(f: ir.Fact) -> str:
    """What is stated of a table, as its type says it."""
    match f:
        case ir.Distinct():
            return "distinct"
        case ir.Sorted():
            return "sorted"
        case ir.Ranges():
            return f"disjoint ranges of {f.count}"
        case ir.Within():
            return f"in {expr(f.low)} .. {expr(f.high)}"


def given(params: Iterable[ir.Param]) -> dict[str, list[str]]:
    """By the name of a table, what its type states."""
    return {p.name: list(map(fact, p.facts)) for p in params if p.facts}


def _buffer_columns(b: ir.Buffer) -> tuple[str, ...]:
    slots = f"{b.name}[{b.depth}]"
    return "buffer", b.core, b.space, slots, str(b.type), b.layout, f"at {b.at}", f"by {b.stride}"


def _fifo_columns(f: ir.Fifo) -> tuple[str, ...]:
    lacks = "" if f.credit else " no credit"
    flag = f"flag {f.flag}{lacks}" if f.signal else f"flag {f.flag}{lacks} no signal"
    return "fifo", f.name, f.direction, f"[{f.depth}]", str(f.type), flag


def _event_columns(e: ir.Event) -> tuple[str, ...]:
    return "event", e.core, e.name, e.src, "->", e.dst, f"id {' '.join(map(str, e.ids))}"


def _require(r: ir.Require) -> str:
    """Never wrapped: a text is one token."""
    return f"require {expr(r.condition)} {quoted(r.message)}"


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in wrapped(line.rstrip(), "    ")]


def print_kernel(k: ir.Kernel, verbose: bool = False) -> str:
    """The whole kernel as text, ending in a newline; ``verbose``: its details, too, as comments."""
    header = [f"kernel {k.name}" + (f" on {k.target}" if k.target else "")]
    header += [f"static {n} = {number(v) if not isinstance(v, str) else v}" for n, v in k.statics]
    header += table(map(_param_columns, k.params))
    header.append("grid " + ", ".join(map(expr, k.grid)))
    placement = used_bytes(k.buffers)
    placement += table(map(_buffer_columns, k.buffers))
    placement += table(map(_fifo_columns, k.fifos))
    placement += table(map(_event_columns, k.events))
    placement += [f"note {n}" for n in k.notes]
    lines = [*_wrapped(header), *map(_require, k.requires), *_wrapped(placement)]
    lines += [f"# {detail}" for detail in k.details] if verbose else []
    lines.append("")
    if any(r.core for r in ir.own_rows(k.body)):
        lines.append("# core it  pipe  statement")
    lines += block_lines(k.body, k, 0)
    return "\n".join(line.rstrip() for line in lines) + "\n"
