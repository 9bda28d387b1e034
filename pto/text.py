"""The one printer and the one parser of the grammar in ``pto/ir.py``.

``parse(print_kernel(k)) == k`` for traced and for scheduled kernels; lines stay within 100 columns
where a statement allows it.  ``#`` starts a comment, which the parser skips.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    own_rows,
)
from pto.types import DTYPE_BYTES, LAYOUTS, SPACES, TileType

WIDTH = 100
FUNCTIONS = ("min", "max", "cdiv")
PRECEDENCE = {"<": 1, "<=": 1, "==": 1, "!=": 1, "+": 2, "-": 2, "*": 3, "/": 3, "//": 3, "%": 3}
WORDS = {("astype", 1): tuple(DTYPE_BYTES), ("drain", 0): PIPES}
"""(op, operand) -> the words it may be."""

COLUMNS = ("wait", "set")
HEADER = ("kernel", "static", "param", "grid", "buffer", "fifo", "event", "note")
SYNC_COLUMN = 56
BREAK = re.compile(r"(?<=\S) (?=\S)(?!wait |set )")
"""A space at which a long line may go on in the next one."""

# ---------------------------------------------------------------------------------- printer


def number(value: Number) -> str:
    """A literal that reads back as the same value and type."""
    if isinstance(value, bool):
        value = int(value)
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
            parts.append(expr(item, 2))
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


def flags(kind: str, found: tuple[Flag, ...], width: int = sys.maxsize) -> list[str]:
    """``| wait a b c``: as many flags to a line as fit into ``width``, at least one."""
    lines: list[str] = []
    for flag in found:
        name = _ring(flag.name, flag.index)
        if lines and len(lines[-1]) + 1 + len(name) <= width:
            lines[-1] += " " + name
        else:
            lines.append(f"| {kind} {name}")
    return lines


def row_lines(r: Row, kernel: Kernel, indent: str) -> list[str]:
    """The line of a row, with its wait and set columns behind it or on lines of their own."""
    place = f"{r.core:<6} {r.shift:+d}  {r.pipe:<4}  ".replace("+0", " 0") if r.core else ""
    text = indent + place + statement(r, kernel)
    margin = indent + " " * (len(place) + 2)
    sync = flags("wait", r.wait) + flags("set", r.set)
    if not sync:
        return wrapped(text, margin)
    columns = " ".join(sync)
    column = min(SYNC_COLUMN, WIDTH - 1 - len(columns))
    joined = f"{text:<{max(column, 0)}} {columns}"
    if len(joined) <= WIDTH:
        return [joined]
    if len(margin) + len(columns) <= WIDTH:
        return [*wrapped(text, margin), margin + columns]
    room = WIDTH - len(margin)
    split = flags("wait", r.wait, room) + flags("set", r.set, room)
    return [*wrapped(text, margin), *(margin + line for line in split)]


def block_lines(block: Block, kernel: Kernel, depth: int) -> list[str]:
    """The lines of a block, indented by two per level."""
    indent = "  " * depth
    lines: list[str] = []

    def add(text: str) -> None:
        lines.extend(wrapped(indent + text, indent + "    "))

    for node in block:
        if isinstance(node, Row):
            lines += row_lines(node, kernel, indent)
        elif isinstance(node, Loop):
            names = node.index + (f", {node.total}" if node.total else "")
            add(f"for {names} in 0 .. {expr(node.trips)}:")
            for c in node.carry:
                add(f"  carry {c.name}: {c.type} from {operand(c.init, kernel)} last {c.last}")
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


def used_bytes(buffers: Sequence[Buffer]) -> list[str]:
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


def _param_columns(p: Param) -> tuple[str, ...]:
    shape = "" if p.shape is None else f"[{', '.join(map(str, p.shape))}]"
    return "param", p.name, p.direction, f"{p.dtype}{shape}"


def _buffer_columns(b: Buffer) -> tuple[str, ...]:
    slots = f"{b.name}[{b.depth}]"
    return "buffer", b.core, b.space, slots, str(b.type), b.layout, f"at {b.at}", f"by {b.stride}"


def _fifo_columns(f: Fifo) -> tuple[str, ...]:
    return "fifo", f.name, f.direction, f"[{f.depth}]", str(f.type), f"flag {f.flag}"


def _event_columns(e: Event) -> tuple[str, ...]:
    return "event", e.core, e.name, e.src, "->", e.dst, f"id {' '.join(map(str, e.ids))}"


def print_kernel(k: Kernel) -> str:
    """The whole kernel as text, ending in a newline."""
    header = [f"kernel {k.name}" + (f" on {k.target}" if k.target else "")]
    header += [f"static {n} = {number(v) if not isinstance(v, str) else v}" for n, v in k.statics]
    header += table(map(_param_columns, k.params))
    header.append("grid " + ", ".join(map(expr, k.grid)))
    header += used_bytes(k.buffers)
    header += table(map(_buffer_columns, k.buffers))
    header += table(map(_fifo_columns, k.fifos))
    header += table(map(_event_columns, k.events))
    header += [f"note {n}" for n in k.notes]
    lines = [part for line in header for part in wrapped(line.rstrip(), "    ")]
    lines.append("")
    if any(r.core for r in own_rows(k.body)):
        lines.append("# core it  pipe  statement")
    lines += block_lines(k.body, k, 0)
    return "\n".join(line.rstrip() for line in lines) + "\n"


# ----------------------------------------------------------------------------------- parser

TOKEN = re.compile(
    r"\s*(?:(?P<float>\d+\.(?!\.)\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+)|(?P<int>\d+)|"
    r"(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_]\w*)*)|(?P<op>\.\.|->|//|<=|==|!=|:\+|[-+*/%<>()\[\],:=|.]))"
)


@dataclass
class Line:
    """One logical line (continuations joined) as tokens, with the cursor of its reader.

    ``pieces``: (line number, column, text) of every physical line; ``places``: the same for every
    token, with the column behind it.
    """

    file: str
    number: int
    indent: int
    text: str
    tokens: list[str] = field(default_factory=list)
    at: int = 0
    pieces: list[tuple[int, int, str]] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    source: Sequence[str] = ()

    def fail(self, message: str, hint: str = "", here: bool = False) -> ParseError:
        """The error at the last token that was read, or (``here``) at the next one."""
        at = self.at if here else max(self.at - 1, 0)
        if at < len(self.places):
            line, col, end_col = self.places[at]
        else:
            line, col, text = self.pieces[-1] if self.pieces else (self.number, 0, "")
            col = col + len(text.rstrip())
            end_col = col + 1
        if self.source and self.file.startswith("<"):
            import linecache

            linecache.cache[self.file] = (1, None, [f"{s}\n" for s in self.source], self.file)
        return ParseError(message, Loc(self.file, line, col, end_col), hint)

    @property
    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self, what: str = "more") -> str:
        token = self.peek
        if not token:
            raise self.fail(f"the line ends where {what} is expected", here=True)
        self.at += 1
        return token

    def name(self, what: str) -> str:
        wanted = f"the name of {'an' if what == 'op' else 'a'} {what}"
        token = self.next(wanted)
        if not (token[0].isalpha() or token[0] == "_"):
            raise self.fail(f"expected {wanted}, found '{token}'")
        return token

    def accept(self, token: str) -> bool:
        if self.peek == token:
            self.at += 1
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.accept(token):
            found = f"'{self.peek}'" if self.peek else "the end"
            raise self.fail(f"expected '{token}', found {found}", here=True)

    def integer(self) -> int:
        sign = -1 if self.accept("-") else 1
        token = self.next("an integer")
        if not token.isdigit():
            raise self.fail(f"expected an integer, found '{token}'")
        return sign * int(token)

    def word(self, known: tuple[str, ...], what: str) -> str:
        token = self.next(f"a {what}")
        if token not in known:
            raise self.fail(f"'{token}' is not a {what}", f"one of: {', '.join(known)}")
        return token

    def end(self) -> None:
        if self.peek:
            raise self.fail(f"'{self.peek}' is too much on this line", here=True)


def tokens_of(line: Line) -> list[str]:
    """The tokens of ``line.text`` or, if there are any, of its pieces."""
    out = []
    line.pieces = line.pieces or [(line.number, line.indent, line.text)]
    for number, column, text in line.pieces:
        text, at = text.rstrip(), 0
        while at < len(text):
            m = TOKEN.match(text, at)
            if m is None:
                start = column + at + len(text[at:]) - len(text[at:].lstrip())
                line.places.append((number, start, start + 1))
                line.at = len(line.places)
                raise line.fail(f"cannot read '{text[at:].strip()[:20]}'")
            token = m.group().strip()
            out.append(token)
            line.places.append((number, column + m.end() - len(token), column + m.end()))
            at = m.end()
    return out


def logical_lines(source: str, file: str) -> list[Line]:
    """Lines without comments and blanks; a line that starts with ``|`` continues the one before."""
    lines: list[Line] = []
    physical = source.splitlines()
    for n, raw in enumerate(physical, 1):
        bare = raw.strip()
        is_note = bare.startswith("note ")
        continues = bare.startswith("|") and bool(lines)
        if not is_note and not (continues and lines[-1].text.startswith("note ")):
            bare = raw.split("#", 1)[0].strip()
        if not bare:
            continue
        indent = len(raw) - len(raw.lstrip())
        if continues:
            more = bare[1:].lstrip()
            is_column = more.split(" ", 1)[0] in COLUMNS
            piece = bare if is_column else more
            lines[-1].text += f" {piece}"
            lines[-1].pieces.append((n, indent + len(bare) - len(piece), piece))
        else:
            lines.append(Line(file, n, indent, bare, pieces=[(n, indent, bare)], source=physical))
    for line in lines:
        if not line.text.startswith("note "):
            line.tokens = tokens_of(line)
    return lines


def _defined_tiles(tokens: Sequence[str]) -> Iterator[str]:
    """Names with a tile type behind them, and the last values of carries.

    They are known before the rows are read: a row that runs behind may stand before the row that
    makes its operand.
    """
    for k, token in enumerate(tokens[1:-1], 1):
        if token == ":" and tokens[k + 1] in DTYPE_BYTES:
            yield tokens[k - 1]
        elif token == "last" and tokens[0] == "carry":
            yield tokens[k + 1]


class Parser:
    """Recursive descent over logical lines; ``tiles`` holds every name that means a tile."""

    def __init__(self, source: str, file: str) -> None:
        self.lines = logical_lines(source, file)
        self.file = file
        self.at = 0
        self.params: dict[str, Param] = {}
        self.fifos: dict[str, Fifo] = {}
        self.buffers: set[str] = set()
        self.tiles = {name for line in self.lines for name in _defined_tiles(line.tokens)}

    @property
    def line(self) -> Line:
        if self.at >= len(self.lines):
            raise ParseError(
                "the text ends too early",
                Loc(self.file, self.lines[-1].number if self.lines else 1),
            )
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
            if k and not x.accept(","):
                raise x.fail(f"'{name}' has {len(shape)} dimensions, found {k}", here=True)
            items.append(self.view_item(x, dim))
        if x.peek == ",":
            raise x.fail(f"'{name}' has {len(shape)} dimensions, found more", here=True)
        x.expect("]")
        return View(name, tuple(items))

    def is_tensor(self, name: str) -> bool:
        return name in self.params and self.params[name].shape is not None

    def argument(self, x: Line, op: str, k: int) -> Operand:
        name = x.peek
        if (op, k) in WORDS:
            return Word(x.word(WORDS[op, k], "dtype" if op == "astype" else "pipe"))
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
        elif name in self.tiles and x.tokens[x.at + 1 : x.at + 2] != [":"]:
            out = self.ref(x)
        else:
            x.next()
            out = Define(name, self.tile_type(x)) if x.accept(":") else Scalar(name)
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
        op = x.name("op")
        if op in HEADER:
            raise x.fail(f"'{op}' does not belong among the rows")
        args: list[Operand] = []
        while x.peek and x.peek != "|":
            if args:
                x.expect(",")
            args.append(self.argument(x, op, len(args)))
        waits: tuple[Flag, ...] = ()
        sets: tuple[Flag, ...] = ()
        while x.accept("|"):
            kind = x.word(COLUMNS, "column")
            if kind == "wait":
                waits += self.flag_list(x)
            else:
                sets += self.flag_list(x)
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
        carry: list[Carry] = []
        result: tuple[Ref, ...] = ()
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
            x.at = 1
            raise x.fail(f"the loop carries {len(carry)}, but yields {len(result)}")
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

    def declared(self, x: Line, what: str) -> str:
        """A new name of a parameter, a buffer or a FIFO."""
        name = x.name(what)
        if name in self.params or name in self.fifos or name in self.buffers:
            raise x.fail(f"'{name}' is declared twice")
        return name

    def param(self, x: Line) -> Param:
        name = self.declared(x, "parameter")
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
        name = self.declared(x, "buffer")
        x.expect("[")
        depth = x.integer()
        x.expect("]")
        kind = self.tile_type(x)
        layout = x.word(LAYOUTS, "layout")
        x.expect("at")
        at = x.integer()
        x.expect("by")
        self.tiles.add(name)
        self.buffers.add(name)
        return Buffer(core, space, name, depth, kind, layout, at, x.integer())

    def fifo(self, x: Line) -> Fifo:
        name = self.declared(x, "FIFO")
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
        found: dict[str, list[Any]] = {
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


__all__ = ["BINARY", "expr", "operand", "parse", "print_kernel", "statement"]
