"""The one printer and the one parser of the grammar in ``pto/ir.py``.

``parse(print_kernel(k)) == k`` for traced and for scheduled kernels; lines stay within 100 columns
where a statement allows it.  ``#`` starts a comment, which the parser skips.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from pto.errors import ParseError
from pto.ir import (
    BINARY,
    CORES,
    PIPES,
    Bin,
    Block,
    Branch,
    Buffer,
    Carry,
    Const,
    Define,
    Event,
    Expr,
    Fifo,
    Flag,
    Kernel,
    Loc,
    Loop,
    Node,
    Number,
    Operand,
    Output,
    Param,
    Queue,
    Ref,
    Row,
    Scalar,
    Span,
    Var,
    View,
    Word,
)
from pto.types import DTYPE_BYTES, LAYOUTS, SPACES, TileType

WIDTH = 100
FUNCTIONS = ("min", "max", "cdiv")
PRECEDENCE = {"<": 1, "<=": 1, "==": 1, "!=": 1, "+": 2, "-": 2, "*": 3, "/": 3, "//": 3, "%": 3}
WORDS = (*DTYPE_BYTES, *PIPES)
WORD_OPS = ("astype", "drain")
"""The ops whose operands may be words: a dtype, a pipe."""

# ---------------------------------------------------------------------------------- printer


def number(value: Number) -> str:
    """A literal that reads back as the same value and type."""
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)


def expr(e: Expr, level: int = 0) -> str:
    """``e`` in infix form with no more parentheses than it needs."""
    if isinstance(e, Const):
        text = number(e.value)
        return f"({text})" if level > 1 and text.startswith("-") else text
    if isinstance(e, Var):
        return e.name
    if e.op in FUNCTIONS:
        return f"{e.op}({expr(e.a)}, {expr(e.b)})"
    mine = PRECEDENCE[e.op]
    text = f"{expr(e.a, mine)} {e.op} {expr(e.b, mine + 1)}"
    return f"({text})" if mine < level else text


def _ring(name: str, index: Expr | None) -> str:
    return name if index is None else f"{name}[{expr(index)}]"


def view(v: View, shape: tuple[int | str, ...]) -> str:
    """``tensor[index, ...]``; a dimension taken whole prints as ``:``."""
    parts = []
    for item, dim in zip(v.index, shape, strict=True):
        if not isinstance(item, Span):
            parts.append(expr(item))
        elif item == Span(Const(0), dim if isinstance(dim, int) else -1):
            parts.append(":")
        else:
            valid = "" if item.valid is None else f"<{expr(item.valid, 2)}"
            parts.append(f"{expr(item.start, 2)}:+{item.size}{valid}")
    return f"{v.tensor}[{', '.join(parts)}]"


def operand(o: Operand | Output, kernel: Kernel) -> str:
    """One operand or output as text."""
    if isinstance(o, Ref):
        return _ring(o.name, o.index) + (".T" if o.transposed else "")
    if isinstance(o, View):
        return view(o, kernel.param(o.tensor).shape or ())
    if isinstance(o, Define):
        return f"{o.name}: {o.type}"
    if isinstance(o, Queue | Scalar | Word):
        return o.name
    return expr(o)


def statement(r: Row, kernel: Kernel) -> str:
    """``out = op arg, arg`` without the scheduling columns."""
    args = ", ".join(operand(a, kernel) for a in r.args)
    out = "" if r.out is None else operand(r.out, kernel) + " = "
    return f"{out}{r.op} {args}".rstrip()


def flags(kind: str, found: tuple[Flag, ...]) -> list[str]:
    return [f"| {kind} " + " ".join(_ring(f.name, f.index) for f in found)] if found else []


def row_lines(r: Row, kernel: Kernel, indent: str, column: int) -> list[str]:
    """The line of a row, with its wait and set columns at ``column`` or on lines of their own."""
    place = f"{r.core:<6} {r.shift:+d}  {r.pipe:<4}  ".replace("+0", " 0") if r.core else ""
    text = indent + place + statement(r, kernel)
    sync = flags("wait", r.wait) + flags("set", r.set)
    if not sync:
        return [text]
    joined = f"{text:<{column}} {' '.join(sync)}"
    if len(joined) <= WIDTH:
        return [joined]
    margin = indent + " " * 14
    below = f"{margin}{' '.join(sync)}"
    return [text, below] if len(below) <= WIDTH else [text] + [margin + s for s in sync]


def block_lines(block: Block, kernel: Kernel, depth: int) -> list[str]:
    """The lines of a block, indented by two per level."""
    indent = "  " * depth
    lines: list[str] = []
    for node in block:
        if isinstance(node, Row):
            lines += row_lines(node, kernel, indent, 56)
        elif isinstance(node, Loop):
            names = node.index + (f", {node.total}" if node.total else "")
            lines.append(f"{indent}for {names} in 0 .. {expr(node.trips)}:")
            for c in node.carry:
                lines.append(
                    f"{indent}  carry {c.name}: {c.type} from {operand(c.init, kernel)} last {c.last}"
                )
            lines += block_lines(node.body, kernel, depth + 1)
            if node.result:
                lines.append(
                    f"{indent}  yield {', '.join(operand(x, kernel) for x in node.result)}"
                )
        else:
            lines.append(f"{indent}if {expr(node.test)}:")
            lines += block_lines(node.then, kernel, depth + 1)
            if node.orelse:
                lines.append(f"{indent}else:")
                lines += block_lines(node.orelse, kernel, depth + 1)
    return lines


def buffer_line(b: Buffer) -> str:
    slot = f"{b.name}[{b.depth}]"
    return f"buffer {b.core:<6} {b.space:<4} {slot:<14} {b.type!s:<15} {b.layout}  at {b.at:<6} by {b.stride}"


def event_line(e: Event) -> str:
    ids = " ".join(map(str, e.ids))
    return f"event {e.core:<6} {e.name:<18} {e.src:<4} -> {e.dst:<4} id {ids}"


def fifo_line(f: Fifo) -> str:
    return f"fifo {f.name}  {f.direction} [{f.depth}] {f.type}  flag {f.flag}"


def param_line(p: Param) -> str:
    shape = "" if p.shape is None else f"[{', '.join(map(str, p.shape))}]"
    return f"param {p.name:<14} {p.direction:<6} {p.dtype}{shape}"


def print_kernel(k: Kernel) -> str:
    """The whole kernel as text, ending in a newline."""
    lines = [f"kernel {k.name}" + (f" on {k.target}" if k.target else "")]
    lines += [f"static {n} = {number(v) if not isinstance(v, str) else v}" for n, v in k.statics]
    lines += [param_line(p) for p in k.params]
    lines.append("grid " + ", ".join(map(expr, k.grid)))
    lines += [buffer_line(b) for b in k.buffers]
    lines += [fifo_line(f) for f in k.fifos]
    lines += [event_line(e) for e in k.events]
    lines += [f"note {n}" for n in k.notes]
    lines.append("")
    lines += block_lines(k.body, k, 0)
    return "\n".join(line.rstrip() for line in lines) + "\n"


# ----------------------------------------------------------------------------------- parser

TOKEN = re.compile(
    r"\s*(?:(?P<float>\d+\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+)|(?P<int>\d+)|"
    r"(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_]\w*)*)|(?P<op>\.\.|->|//|<=|==|!=|:\+|[-+*/%<>()\[\],:=|.]))"
)


@dataclass
class Line:
    """One logical line (continuations joined) as tokens, with the cursor of its reader."""

    file: str
    number: int
    indent: int
    text: str
    tokens: list[str] = field(default_factory=list)
    at: int = 0

    def fail(self, message: str, hint: str = "") -> ParseError:
        return ParseError(message, Loc(self.file, self.number), hint)

    @property
    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        token = self.peek
        if not token:
            raise self.fail("the line ends too early")
        self.at += 1
        return token

    def accept(self, token: str) -> bool:
        if self.peek == token:
            self.at += 1
            return True
        return False

    def expect(self, token: str) -> None:
        found = self.peek or "the end of the line"
        if not self.accept(token):
            raise self.fail(f"expected '{token}', found '{found}'")

    def integer(self) -> int:
        sign = -1 if self.accept("-") else 1
        token = self.next()
        if not token.isdigit():
            raise self.fail(f"expected an integer, found '{token}'")
        return sign * int(token)

    def word(self, known: tuple[str, ...], what: str) -> str:
        token = self.next()
        if token not in known:
            raise self.fail(f"'{token}' is not a {what}", f"one of: {', '.join(known)}")
        return token

    def end(self) -> None:
        if self.peek:
            raise self.fail(f"'{self.peek}' is too much on this line")


def tokens_of(line: Line) -> list[str]:
    out, at = [], 0
    text = line.text.rstrip()
    while at < len(text):
        m = TOKEN.match(text, at)
        if m is None:
            raise line.fail(f"cannot read '{text[at:].strip()[:20]}'")
        out.append(m.group().strip())
        at = m.end()
    return out


def logical_lines(source: str, file: str) -> list[Line]:
    """Lines without comments and blanks; a line that starts with ``|`` continues the one before."""
    lines: list[Line] = []
    for n, raw in enumerate(source.splitlines(), 1):
        is_note = raw.lstrip().startswith("note ")
        text = raw if is_note else raw.split("#", 1)[0]
        if not text.strip():
            continue
        if text.lstrip().startswith("|") and lines:
            lines[-1].text += " " + text.strip()
            continue
        lines.append(Line(file, n, len(text) - len(text.lstrip()), text.strip()))
    for line in lines:
        if not line.text.startswith("note "):
            line.tokens = tokens_of(line)
    return lines


class Parser:
    """Recursive descent over logical lines; ``tiles`` holds every name that means a tile."""

    def __init__(self, source: str, file: str) -> None:
        self.lines = logical_lines(source, file)
        self.file = file
        self.at = 0
        self.params: dict[str, Param] = {}
        self.fifos: dict[str, Fifo] = {}
        self.tiles: set[str] = set()

    @property
    def line(self) -> Line:
        if self.at >= len(self.lines):
            raise ParseError("the text ends too early", Loc(self.file, 1))
        return self.lines[self.at]

    # scalars

    def expression(self, x: Line, level: int = 1) -> Expr:
        if level == 4:
            return self.atom(x)
        left = self.expression(x, level + 1)
        while x.peek in PRECEDENCE and PRECEDENCE[x.peek] == level:
            op = x.next()
            left = Bin(op, left, self.expression(x, level + 1))
        return left

    def atom(self, x: Line) -> Expr:
        token = x.next()
        if token == "-":
            inner = self.atom(x)
            if not isinstance(inner, Const):
                raise x.fail("a minus sign stands before a number only", "write 0 - x")
            return Const(-inner.value)
        if token == "(":
            inner = self.expression(x)
            x.expect(")")
            return inner
        if token in FUNCTIONS:
            x.expect("(")
            a = self.expression(x)
            x.expect(",")
            b = self.expression(x)
            x.expect(")")
            return Bin(token, a, b)
        if token == "inf":
            return Const(math.inf)
        if token.isdigit():
            return Const(int(token))
        if token[0].isdigit():
            return Const(float(token))
        if not (token[0].isalpha() or token[0] == "_"):
            raise x.fail(f"expected a value, found '{token}'")
        return Var(token)

    # operands

    def tile_type(self, x: Line) -> TileType:
        dtype = x.word(tuple(DTYPE_BYTES), "dtype")
        x.expect("[")
        rows = x.integer()
        x.expect(",")
        cols = x.integer()
        x.expect("]")
        return TileType(dtype, rows, cols)

    def ref(self, x: Line) -> Ref:
        name = x.next()
        transposed = name.endswith(".T")
        name = name.removesuffix(".T")
        index = self.bracket(x)
        if x.peek == "." and x.tokens[x.at + 1 : x.at + 2] == ["T"]:
            x.at += 2
            transposed = True
        return Ref(name, index, transposed)

    def bracket(self, x: Line) -> Expr | None:
        if not x.accept("["):
            return None
        index = self.expression(x)
        x.expect("]")
        return index

    def view_item(self, x: Line, dim: int | str) -> Expr | Span:
        if x.accept(":"):
            if not isinstance(dim, int):
                raise x.fail(f"':' takes a whole dimension, but '{dim}' is symbolic")
            return Span(Const(0), dim)
        start = self.expression(x, 2)
        if not x.accept(":+"):
            return start
        size = x.integer()
        valid = self.expression(x, 2) if x.accept("<") else None
        return Span(start, size, valid)

    def view(self, x: Line) -> View:
        name = x.next()
        shape = self.params[name].shape or ()
        x.expect("[")
        items = []
        for k, dim in enumerate(shape):
            if k:
                x.expect(",")
            items.append(self.view_item(x, dim))
        x.expect("]")
        return View(name, tuple(items))

    def is_tensor(self, name: str) -> bool:
        return name in self.params and self.params[name].shape is not None

    def argument(self, x: Line, op: str) -> Operand:
        name = x.peek
        if op in WORD_OPS and name in WORDS:
            return Word(x.next())
        if name.removesuffix(".T") in self.tiles:
            return self.ref(x)
        if self.is_tensor(name):
            return self.view(x)
        if name in self.fifos:
            return Queue(x.next())
        return self.expression(x)

    def output(self, x: Line) -> Output | None:
        """The part before ``=``, or None (with the cursor put back) if there is none."""
        if "=" not in x.tokens[x.at :]:
            return None
        name = x.peek
        if name in self.fifos:
            out: Output = Queue(x.next())
        elif self.is_tensor(name):
            out = self.view(x)
        elif name in self.tiles:
            out = self.ref(x)
        else:
            x.next()
            if x.accept(":"):
                out = Define(name, self.tile_type(x))
                self.tiles.add(name)
            else:
                out = Scalar(name)
        x.expect("=")
        return out

    def flag_list(self, x: Line) -> tuple[Flag, ...]:
        found = []
        while x.peek and x.peek != "|":
            found.append(Flag(x.next(), self.bracket(x)))
        return tuple(found)

    # tree

    def row(self, x: Line) -> Row:
        core, shift, pipe = "", 0, ""
        if x.peek in CORES:
            core = x.next()
            sign = -1 if x.accept("-") else 1
            x.accept("+")
            shift = sign * x.integer()
            pipe = x.word((*PIPES, "ALL"), "pipe")
        out = self.output(x)
        op = x.next()
        args: list[Operand] = []
        while x.peek and x.peek != "|":
            if args:
                x.expect(",")
            args.append(self.argument(x, op))
        waits: tuple[Flag, ...] = ()
        sets: tuple[Flag, ...] = ()
        while x.accept("|"):
            kind = x.word(("wait", "set"), "column")
            if kind == "wait":
                waits = self.flag_list(x)
            else:
                sets = self.flag_list(x)
        x.end()
        return Row(op, out, tuple(args), core, pipe, shift, waits, sets, Loc(x.file, x.number))

    def loop(self, x: Line) -> Loop:
        x.expect("for")
        index = x.next()
        total = x.next() if x.accept(",") else ""
        x.expect("in")
        if x.integer() != 0:
            raise x.fail("a loop starts at 0", "shift the index inside the body")
        x.expect("..")
        trips = self.expression(x)
        x.expect(":")
        x.end()
        self.at += 1
        carry, result = [], ()
        while (
            self.at < len(self.lines) and self.line.indent > x.indent and self.line.peek == "carry"
        ):
            carry.append(self.carry(self.line))
            self.at += 1
        body = self.block(x.indent)
        if self.at < len(self.lines) and self.line.indent > x.indent and self.line.peek == "yield":
            y = self.line
            y.next()
            refs = [self.ref(y)]
            while y.accept(","):
                refs.append(self.ref(y))
            y.end()
            result = tuple(refs)
            self.at += 1
        if len(result) != len(carry):
            raise x.fail(f"the loop carries {len(carry)} tiles but yields {len(result)}")
        self.tiles.update(c.last for c in carry)
        return Loop(index, trips, body, total, tuple(carry), result, Loc(x.file, x.number))

    def carry(self, x: Line) -> Carry:
        x.expect("carry")
        name = x.next()
        x.expect(":")
        kind = self.tile_type(x)
        x.expect("from")
        init = self.ref(x)
        x.expect("last")
        last = x.next()
        x.end()
        self.tiles.add(name)
        return Carry(name, kind, init, last)

    def branch(self, x: Line) -> Branch:
        x.expect("if")
        test = self.expression(x)
        x.expect(":")
        x.end()
        self.at += 1
        then = self.block(x.indent)
        orelse: Block = ()
        if self.at < len(self.lines) and self.line.indent == x.indent and self.line.peek == "else":
            self.line.next()
            self.line.expect(":")
            self.at += 1
            orelse = self.block(x.indent)
        return Branch(test, then, orelse, Loc(x.file, x.number))

    def block(self, parent_indent: int) -> Block:
        """Nodes indented deeper than ``parent_indent``, all by the same amount."""
        nodes: list[Node] = []
        indent = self.line.indent if self.at < len(self.lines) else 0
        while self.at < len(self.lines) and self.line.indent > parent_indent:
            x = self.line
            if x.indent != indent:
                raise x.fail(f"indented by {x.indent}, expected {indent}")
            if x.peek == "yield":
                break
            if x.peek == "for":
                nodes.append(self.loop(x))
            elif x.peek == "if":
                nodes.append(self.branch(x))
            else:
                nodes.append(self.row(x))
                self.at += 1
        return tuple(nodes)

    # header

    def static(self, x: Line) -> tuple[str, int | float | str]:
        name = x.next()
        x.expect("=")
        if x.peek.lstrip("-")[:1].isalpha() and x.peek != "inf":
            return name, x.next()
        value = self.expression(x)
        if not isinstance(value, Const):
            raise x.fail("a static parameter is a number or a word")
        return name, value.value

    def param(self, x: Line) -> Param:
        name = x.next()
        direction = x.word(("in", "out", "inout", "scalar"), "direction")
        dtype = x.word(tuple(DTYPE_BYTES), "dtype")
        shape: list[int | str] | None = None
        if x.accept("["):
            shape = []
            while not x.accept("]"):
                if shape:
                    x.expect(",")
                token = x.next()
                shape.append(int(token) if token.isdigit() else token)
        if (shape is None) != (direction == "scalar"):
            raise x.fail("a tensor has a shape, a scalar has none")
        self.params[name] = Param(name, direction, dtype, None if shape is None else tuple(shape))
        return self.params[name]

    def buffer(self, x: Line) -> Buffer:
        core = x.word(CORES, "core")
        space = x.word(SPACES, "space")
        name = x.next()
        x.expect("[")
        depth = x.integer()
        x.expect("]")
        kind = self.tile_type(x)
        layout = x.word(LAYOUTS, "layout")
        x.expect("at")
        at = x.integer()
        x.expect("by")
        self.tiles.add(name)
        return Buffer(core, space, name, depth, kind, layout, at, x.integer())

    def fifo(self, x: Line) -> Fifo:
        name = x.next()
        direction = x.word(("c2v", "v2c"), "direction")
        x.expect("[")
        depth = x.integer()
        x.expect("]")
        kind = self.tile_type(x)
        x.expect("flag")
        self.fifos[name] = Fifo(name, direction, depth, kind, x.integer())
        return self.fifos[name]

    def event(self, x: Line) -> Event:
        core = x.word(CORES, "core")
        name = x.next()
        src = x.word(PIPES, "pipe")
        x.expect("->")
        dst = x.word(PIPES, "pipe")
        x.expect("id")
        ids = [x.integer()]
        while x.peek:
            ids.append(x.integer())
        return Event(core, name, src, dst, tuple(ids))

    def kernel(self) -> Kernel:
        x = self.line
        x.expect("kernel")
        name = x.next()
        target = x.next() if x.accept("on") else ""
        x.end()
        self.at += 1
        found: dict[str, list] = {
            k: [] for k in ("static", "param", "buffer", "fifo", "event", "note", "grid")
        }
        while self.at < len(self.lines):
            x = self.line
            kind = x.text.split(" ", 1)[0]
            if kind not in found:
                break
            if kind == "note":
                found["note"].append(x.text[5:])
            elif kind == "grid":
                x.next()
                found["grid"].append(self.expression(x))
                while x.accept(","):
                    found["grid"].append(self.expression(x))
                x.end()
            else:
                x.next()
                found[kind].append(getattr(self, kind)(x))
                x.end()
            self.at += 1
        body = self.block(-1)
        if self.at < len(self.lines):
            raise self.line.fail(f"'{self.line.peek}' does not belong here")
        return Kernel(
            name,
            tuple(found["param"]),
            tuple(found["grid"]),
            body,
            tuple(found["static"]),
            target,
            tuple(found["buffer"]),
            tuple(found["fifo"]),
            tuple(found["event"]),
            tuple(found["note"]),
        )


def parse(source: str, file: str = "<text>") -> Kernel:
    """The kernel that ``source`` describes.

    Raises:
        ParseError: with the line of the text, when it does not follow the grammar.
    """
    return Parser(source, file).kernel()


__all__ = ["BINARY", "parse", "print_kernel", "expr", "statement", "operand"]
