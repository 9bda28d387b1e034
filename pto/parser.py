"""The one parser of the grammar in ``pto/ir.py``: recursive descent over logical lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from pto.errors import ParseError
from pto.ir import (
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
from pto.lexer import COLUMNS, FUNCTIONS, HEADER, MIRRORED, PRECEDENCE, WORDS, Line, logical_lines
from pto.types import DTYPE_BYTES, LAYOUTS, SPACES, TileType


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
        self.events: set[str] = set()
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
        while PRECEDENCE.get(MIRRORED.get(x.peek, x.peek)) == level:
            op = x.next()
            right = self.expression(x, level + 1)
            left = Bin(MIRRORED[op], right, left) if op in MIRRORED else Bin(op, left, right)
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
        flat = x.accept("flat")
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
        loc = Loc(x.file, x.number)
        return Loop(index, trips, body, total, tuple(carry), result, flat, loc)

    def carry(self, x: Line) -> Carry:
        x.expect("carry")
        name = x.next()
        x.expect(":")
        kind = self.tile_type(x)
        init = self.ref(x) if x.accept("from") else None
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
        flag = x.integer()
        credit = not x.accept("no")
        if not credit:
            x.expect("credit")
        self.fifos[name] = Fifo(name, direction, depth, kind, flag, credit)
        return self.fifos[name]

    def event(self, x: Line) -> Event:
        core = x.word(CORES, "core")
        name = x.next()
        if name in self.events or name in self.buffers or name in self.fifos:
            raise x.fail(f"'{name}' is declared twice")
        self.events.add(name)
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
