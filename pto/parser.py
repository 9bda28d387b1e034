"""The one parser of the grammar in docs/language.md: recursive descent over logical lines."""

from __future__ import annotations

import json
import linecache
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from pto import ir, lexer
from pto.arithmetic import rounded
from pto.errors import ParseError
from pto.lexer import Line
from pto.loc import Loc
from pto.reach import depth_of
from pto.targets import PIPES, SPACES
from pto.types import DTYPE_BYTES, LAYOUTS, SCALAR_DTYPES, SCALAR_HINT, SHARES, TileType


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


T = TypeVar("T")

STEP = 2
"""Columns by which a block is indented."""


class Parser:
    """Recursive descent over logical lines; ``tiles`` holds every name that means a tile.

    ``nesting`` and ``inside``: how deep the loops and branches, the parentheses are that it is in.
    """

    def __init__(self, source: str, file: str) -> None:
        self.lines = lexer.logical_lines(source, file)
        self.file = file
        self.at = 0
        self.params: dict[str, ir.Param] = {}
        self.floats: set[str] = set()
        self.fifos: dict[str, ir.Fifo] = {}
        self.statics: set[str] = set()
        self.names: set[str] = set()
        self.nesting = self.inside = 0
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

    def expression(self, x: Line, level: int = 1) -> ir.Expr:
        if level == 4:
            return self.atom(x)
        left, length = self.expression(x, level + 1), 0
        while lexer.PRECEDENCE.get(lexer.MIRRORED.get(x.peek, x.peek)) == level:
            op, length = x.next(), x.limited(length + 1, "depth")
            right = self.expression(x, level + 1)
            left = (
                ir.Bin(lexer.MIRRORED[op], right, left)
                if op in lexer.MIRRORED
                else ir.Bin(op, left, right)
            )
        if length:
            x.limited(depth_of(left), "depth")
        return left

    @contextmanager
    def deeper(self, x: Line) -> Iterator[None]:
        """Inside of one more pair of parentheses; Python's own stack has an end."""
        self.inside = x.limited(self.inside + 1, "depth")
        yield
        self.inside -= 1

    def atom(self, x: Line) -> ir.Expr:
        token = x.next()
        if token == "-":
            if not (x.peek[:1].isdigit() or x.peek == "inf"):
                self.atom(x)
                raise x.fail("a minus sign stands before a number only", "write 0 - x")
            return ir.Const(-self.literal(x, x.next(), -1))
        if token == "(":
            with self.deeper(x):
                inner = self.expression(x)
            x.expect(")")
            return inner
        if token in lexer.FUNCTIONS:
            x.expect("(")
            with self.deeper(x):
                a = self.expression(x)
                x.expect(",")
                b = self.expression(x)
            x.expect(")")
            return ir.Bin(token, a, b)
        if token[0].isdigit() or token in ("inf", "nan"):
            return ir.Const(self.literal(x, token))
        if token in ir.BUILTINS:
            return ir.Var(token)
        if not (token[0].isalpha() or token[0] == "_"):
            raise x.fail(f"expected a value, found '{token}'")
        if token in self.tiles or token in self.fifos or self.is_tensor(token):
            raise x.fail(f"'{token}' is no scalar")
        x.at -= 1
        return ir.Var(x.name("value", dotted=True), token in self.floats)

    def literal(self, x: Line, token: str, sign: int = 1) -> int | float:
        """A number without its sign."""
        if token.isdigit():
            return sign * x.limited(sign * x.digits(token), "number")
        if token != "inf" and math.isinf(rounded(float(token))):
            raise x.fail(f"{token} is more than f32 holds (3.4e38)", "write inf")
        return float(token)

    # operands

    def tile_type(self, x: Line) -> TileType:
        dtype = x.word(tuple(DTYPE_BYTES), "dtype")
        x.expect("[")
        rows = x.integer("size")
        x.expect(",")
        cols = x.integer("size")
        x.expect("]")
        return TileType(dtype, rows, cols, x.next() if x.peek in SHARES else "")

    def ref(self, x: Line) -> ir.Ref:
        if x.peek.endswith(".T"):
            return ir.Ref(x.next().removesuffix(".T"), None, True)
        name = x.name("tile")
        index = self.bracket(x)
        transposed = index is not None and x.accept(".")
        if transposed:
            x.expect("T")
        return ir.Ref(name, index, transposed)

    def listed(self, x: Line, item: Callable[[Line], T]) -> Iterator[T]:
        """One or more, with commas between."""
        yield item(x)
        while x.accept(","):
            yield item(x)

    def bracket(self, x: Line) -> ir.Expr | None:
        if not x.accept("["):
            return None
        index = self.expression(x)
        x.expect("]")
        return index

    def view_item(self, x: Line, dim: int | str) -> ir.Expr | ir.Span:
        if x.accept(":"):
            if not isinstance(dim, int):
                raise x.fail(f"':' takes a whole dimension, but '{dim}' is symbolic")
            return ir.Span(ir.Const(0), dim)
        start = self.expression(x, 2)
        if not x.accept(":+"):
            return start
        size = x.integer("size")
        valid = self.expression(x, 2) if x.accept("<") else None
        return ir.Span(start, size, valid)

    def view(self, x: Line) -> ir.View:
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
        return ir.View(name, tuple(items))

    def is_tensor(self, name: str) -> bool:
        return name in self.params and self.params[name].shape is not None

    def argument(self, x: Line, op: str, k: int) -> ir.Operand:
        name = x.peek
        if (op, k) in lexer.WORDS:
            what, words = lexer.WORDS[op, k]
            return ir.Word(x.word(words, what))
        if name.startswith('"'):
            return ir.Text(self.quoted(x))
        if name.removesuffix(".T") in self.tiles:
            return self.ref(x)
        if self.is_tensor(name):
            return self.view(x)
        if name in self.fifos:
            return ir.Queue(x.next())
        return self.expression(x)

    def output(self, x: Line) -> ir.Output | None:
        """The part before ``=``, or None (with the cursor put back) if there is none."""
        if "=" not in x.tokens[x.at :]:
            return None
        name = x.peek
        if name in self.fifos:
            out: ir.Output = ir.Queue(x.next())
        elif self.is_tensor(name):
            out = self.view(x)
        elif name in self.tiles and x.tokens[x.at + 1 : x.at + 2] != [":"]:
            out = self.ref(x)
        else:
            name = x.name("result")
            out = (
                ir.Define(name, self.tile_type(x))
                if x.accept(":")
                else ir.Scalar(name, name in self.floats)
            )
        x.expect("=")
        return out

    def flag_list(self, x: Line) -> tuple[ir.Flag, ...]:
        found = [self.flag(x)]
        while x.peek and x.peek != "|":
            found.append(self.flag(x))
        return tuple(found)

    def flag(self, x: Line) -> ir.Flag:
        return ir.Flag(x.name("event", dotted=True), self.bracket(x))

    # tree

    def row(self, x: Line) -> ir.Row:
        core, shift, pipe = "", 0, ""
        if x.peek in ir.CORES:
            core = x.next()
            if x.accept("+") and x.peek == "-":
                raise x.fail("a shift has one sign")
            shift = x.integer("shift")
            pipe = x.word((*PIPES, "ALL"), "pipe")
        out = self.output(x)
        if x.peek in lexer.HEADER:
            x.at += 1
            raise x.fail(f"'{x.tokens[x.at - 1]}' does not belong among the rows")
        op = x.name("op")
        args: list[ir.Operand] = []
        while x.peek and x.peek != "|":
            if args:
                x.expect(",")
            args.append(self.argument(x, op, len(args)))
        value, waits = "", tuple[ir.Flag, ...]()
        sets: tuple[ir.Flag, ...] = ()
        while x.accept("|"):
            kind = x.word(lexer.COLUMNS, "column")
            if kind == "as":
                value = self.value(x, out)
            elif kind == "wait":
                waits += self.flag_list(x)
            else:
                sets += self.flag_list(x)
        x.end()
        return ir.Row(op, out, tuple(args), core, pipe, shift, waits, sets, value, x.loc)

    def value(self, x: Line, out: ir.Output | None) -> str:
        """The name of the tile that a buffer holds."""
        if not isinstance(out, ir.Ref):
            raise x.fail("only what a buffer holds has a name of its own")
        return x.name("value")

    def loop(self, x: Line) -> ir.Loop:
        x.expect("for")
        index = x.name("loop index")
        total = x.name("counter") if x.accept(",") else ""
        x.expect("in")
        if x.next("0") != "0":
            raise x.fail("a loop starts at 0", "shift the index inside the body")
        x.expect("..")
        trips = self.expression(x)
        flat = x.accept("flat")
        x.expect(":")
        x.end()
        self.at += 1
        carry: list[ir.Carry] = []
        result: tuple[ir.Ref, ...] = ()
        while self.follows("carry", x.indent + STEP):
            carry.append(self.carry(self.line))
            self.at += 1
        body = () if carry and self.follows("yield", x.indent + STEP) else self.block(x)
        if self.follows("yield", x.indent + STEP):
            y = self.line
            y.next()
            result = tuple(self.listed(y, self.ref))
            y.end()
            self.at += 1
        if len(result) != len(carry):
            x.at = 1
            raise x.fail(f"the loop carries {len(carry)}, but yields {len(result)}")
        return ir.Loop(index, trips, body, total, tuple(carry), result, flat, x.loc)

    def carry(self, x: Line) -> ir.Carry:
        x.expect("carry")
        name = x.name("carry")
        x.expect(":")
        kind = self.tile_type(x)
        init = self.ref(x) if x.accept("from") else None
        x.expect("last")
        last = x.name("last value")
        x.end()
        return ir.Carry(name, kind, init, last)

    def branch(self, x: Line) -> ir.Branch:
        x.expect("if")
        test = self.expression(x)
        x.expect(":")
        x.end()
        self.at += 1
        then = self.block(x)
        orelse: ir.Block = ()
        if self.follows("else", x.indent):
            other = self.line
            other.next()
            other.expect(":")
            other.end()
            self.at += 1
            orelse = self.block(other)
        return ir.Branch(test, then, orelse, x.loc)

    def follows(self, word: str, indent: int) -> bool:
        """Whether the next line starts with ``word``, as far inside."""
        if self.at >= len(self.lines) or self.line.peek != word:
            return False
        return self.line.indent == indent

    def block(self, head: Line | None) -> ir.Block:
        """The nodes below ``head`` (None: of the kernel), of which there is at least one."""
        nodes: list[ir.Node] = []
        indent = 0 if head is None else head.indent + STEP
        self.nesting = (head or self.lines[0]).limited(self.nesting + 1, "nesting")
        while self.at < len(self.lines) and self.line.indent > indent - STEP:
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
        if not nodes:
            what = f"'{head.tokens[0]}'" if head is not None else "the kernel"
            raise (head or self.lines[-1]).fail(f"{what} has no rows")
        self.nesting -= 1
        return tuple(nodes)

    def float_names(self) -> None:
        """Finds the ``read`` and ``let`` rows that name a float, before any row is read: a row that runs behind
        may stand before the row that it gets its scalars from."""
        for x in self.lines[self.at :]:
            at = x.tokens.index("read") if "read" in x.tokens else 0
            param = self.params.get("".join(x.tokens[at + 1 : at + 2]))
            if at >= 2 and x.tokens[at - 1] == "=" and param and param.dtype != "i32":
                self.floats.add(x.tokens[at - 2])
        lets = [x for x in self.lines[self.at :] if "let" in x.tokens]
        found = -1
        while found != len(self.floats):
            found = len(self.floats)
            for x in lets:
                at = x.tokens.index("let")
                if at >= 2 and x.tokens[at - 1] == "=":
                    start, x.at = x.at, at + 1
                    with suppress(ParseError):  # it is told when the row is read
                        if ir.is_float(self.expression(x)):
                            self.floats.add(x.tokens[at - 2])
                    x.at = start

    # header

    def static(self, x: Line) -> tuple[str, int | float | str]:
        name = x.name("static parameter", free=True)
        if name in self.statics:
            raise x.fail(f"'{name}' is declared twice")
        self.statics.add(name)
        x.expect("=")
        if x.peek[:1].isalpha() and x.peek not in ("inf", "nan"):
            return name, x.name("value", free=True)
        value = self.expression(x)
        if not isinstance(value, ir.Const):
            raise x.fail("a static parameter is a number or a word")
        return name, value.value

    def declared(self, x: Line, what: str) -> str:
        """A new name of a parameter, a buffer, a FIFO or an event."""
        name = x.name(what, dotted=what == "event")
        if name in self.names:
            raise x.fail(f"'{name}' is declared twice")
        self.names.add(name)
        return name

    def param(self, x: Line) -> ir.Param:
        name = self.declared(x, "parameter")
        direction = x.word(("in", "out", "inout", "scalar"), "direction")
        dtype = x.word(tuple(DTYPE_BYTES), "dtype")
        shape: tuple[int | str, ...] | None = None
        if x.accept("["):
            shape = tuple(self.listed(x, self.dimension))
            x.expect("]")
        if (shape is None) != (direction == "scalar"):
            raise x.fail("a tensor has a shape, a scalar has none")
        if shape is None and dtype not in SCALAR_DTYPES:
            raise x.fail(f"a scalar cannot be {dtype}", SCALAR_HINT)
        if shape is None and dtype != "i32":
            self.floats.add(name)
        facts = self.facts(x, direction, dtype)
        self.params[name] = ir.Param(name, direction, dtype, shape, facts, x.loc)
        return self.params[name]

    def facts(self, x: Line, direction: str, dtype: str) -> tuple[ir.Fact, ...]:
        """What is stated of a tensor of integers that is read, up to the end of the line."""
        found: dict[str, ir.Fact] = {}
        while x.peek:
            word = x.word(tuple(FACTS), "fact")
            if direction != "in" or dtype != "i32" or word in found:
                raise x.fail(f"'{word}' is stated once, of an i32 tensor that is read")
            found[word] = FACTS[word](self, x)
        return tuple(found.values())

    def ranges(self, x: Line) -> ir.Ranges:
        x.expect("ranges")
        x.expect("of")
        return ir.Ranges(x.name("tensor of counts"))

    def within(self, x: Line) -> ir.Within:
        low = self.expression(x)
        x.expect("..")
        return ir.Within(low, self.expression(x))

    def dimension(self, x: Line) -> int | str:
        """One size of a tensor: a number, or a name for what each call tells."""
        digit = x.peek[:1].isdigit() or x.peek == "-"
        return x.integer("extent") if digit else x.name("dimension")

    def buffer(self, x: Line) -> ir.Buffer:
        core = x.word(ir.CORES, "core")
        space = x.word(SPACES, "space")
        name = self.declared(x, "buffer")
        depth = self.slots(x)
        kind = self.tile_type(x)
        layout = x.word(LAYOUTS, "layout")
        x.expect("at")
        at = x.integer("address")
        x.expect("by")
        stride = x.integer("address")
        self.tiles.add(name)
        return ir.Buffer(core, space, name, depth, kind, layout, at, stride, x.loc)

    def fifo(self, x: Line) -> ir.Fifo:
        name = self.declared(x, "FIFO")
        direction = x.word(("c2v", "v2c"), "direction")
        depth = self.slots(x)
        kind = self.tile_type(x)
        x.expect("flag")
        flag = x.integer("flag")
        no_signal = x.accept("no") and x.accept("signal")
        no_credit = not no_signal and x.tokens[x.at - 1] == "no"
        if no_credit:
            x.expect("credit")
            no_signal = x.accept("no")
            if no_signal:
                x.expect("signal")
        self.fifos[name] = ir.Fifo(
            name, direction, depth, kind, flag, not no_credit, not no_signal, x.loc
        )
        return self.fifos[name]

    def slots(self, x: Line) -> int:
        x.expect("[")
        depth = x.integer("slots")
        x.expect("]")
        return depth

    def event(self, x: Line) -> ir.Event:
        core = x.word(ir.CORES, "core")
        name = self.declared(x, "event")
        src = x.word(PIPES, "pipe")
        x.expect("->")
        dst = x.word(PIPES, "pipe")
        x.expect("id")
        ids = [x.integer("id")]
        while x.peek:
            ids.append(x.integer("id"))
        return ir.Event(core, name, src, dst, tuple(ids), x.loc)

    def grid(self, x: Line) -> tuple[ir.Expr, ...]:
        return tuple(self.listed(x, self.expression))

    def require(self, x: Line) -> ir.Require:
        return ir.Require(self.expression(x), self.quoted(x), x.loc)

    def quoted(self, x: Line) -> str:
        token = x.next("a message in double quotes")
        try:
            message: str | None = json.loads(token) if token.startswith('"') else None
        except ValueError:
            message = None
        if message is None:
            raise x.fail(f"expected a message in double quotes, found '{token}'")
        return message

    def note(self, x: Line) -> str:
        x.at = len(x.tokens)
        return x.text[5:]

    def kernel(self) -> ir.Kernel:
        x = self.line
        if x.indent:
            raise x.fail(f"indented by {x.indent}, expected 0")
        x.expect("kernel")
        name = x.name("kernel", free=True)
        target = x.name("target", free=True) if x.accept("on") else ""
        x.end()
        self.at += 1
        found: dict[str, list[Any]] = {kind: [] for kind in lexer.HEADER}
        for kinds in (
            ("static", "param"),
            ("grid",),
            ("require", "buffer", "fifo", "event", "note"),
        ):
            while self.at < len(self.lines):
                line = self.line
                kind = line.text.split(" ", 1)[0]
                if kind not in kinds:
                    break
                if line.indent:
                    raise line.fail(f"indented by {line.indent}, expected 0")
                line.at += kind != "note"
                found[kind].append(getattr(self, kind)(line))
                line.end()
                self.at += 1
                if kind == "grid":
                    break
            if kinds == ("grid",) and not found["grid"]:
                raise self.line.fail("expected the grid", "grid N, behind the parameters", True)
        self.float_names()
        body = self.block(None)
        if self.at < len(self.lines):
            raise self.line.fail(f"'{self.line.peek}' does not belong here")
        return ir.Kernel(
            name,
            tuple(found["param"]),
            found["grid"][0],
            body,
            tuple(found["static"]),
            target,
            tuple(found["buffer"]),
            tuple(found["fifo"]),
            tuple(found["event"]),
            tuple(found["note"]),
            x.loc,
            tuple(found["require"]),
        )


FACTS: Mapping[str, Callable[[Parser, Line], ir.Fact]] = {
    "distinct": lambda parser, x: ir.Distinct(),
    "sorted": lambda parser, x: ir.Sorted(),
    "disjoint": Parser.ranges,
    "in": Parser.within,
}
"""What may be stated of a table, by its first word (``pto/ir.py``)."""


def parse(source: str, file: str = "<text>") -> ir.Kernel:
    """The kernel that ``source`` describes.

    Raises:
        ParseError: with the line of the text, when it does not follow the grammar.
    """
    if file.startswith("<"):  # errors show its lines, and not those of a text before it
        linecache.cache[file] = (1, None, source.splitlines(keepends=True), file)
    return Parser(source, file).kernel()
