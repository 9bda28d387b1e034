"""C++ spellings of the program's parts: types, tiles, scalars, ring slots, event ids.

In: parts of a scheduled kernel.  Out: C++ text.  Invariant: one part, one spelling, whatever the
kernel; nothing here knows an op.  Scalars have the values of ``docs/scalars.md``.
Non-goals: choosing anything (slots, addresses, ids and order are the schedule's).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf, isinf, isnan
from types import MappingProxyType

from lowering.ascend.names import Names
from pto import ir
from pto.arithmetic import COMPARING, LEAST, Number, rounded, shortest
from pto.bounds import Range, bounds
from pto.errors import ScheduleError, ShapeError
from pto.targets import Target
from pto.targets.table import TileClass
from pto.text import PRECEDENCE
from pto.types import DTYPE_BYTES, UNIT_BYTES, TileType

INDENT = "    "
CPP_TYPE: Mapping[str, str] = MappingProxyType(
    {
        "f32": "float",
        "f16": "half",
        "bf16": "bfloat16_t",
        "i32": "int32_t",
        "i16": "int16_t",
        "i8": "int8_t",
        "u8": "uint8_t",
    }
)
FLOATS = ("f32", "f16", "bf16")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a scalar lives in C++: its text, its kind, whether its row declares it, the least value
    it can have (None: unknown)."""

    text: str
    is_float: bool = False
    is_declared_by_row: bool = False
    least: Number | None = None


Env = Mapping[str, Place]
"""Scalar name in the program -> its place in the scope being written."""


def camel(name: str) -> str:
    """``kv_ring`` -> ``KvRing``."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[_.]", name) if part)


def comment(text: str) -> str:
    """A line of comment; what would go on in the next line of C++ is kept from doing so."""
    shown = text.encode("ascii", "backslashreplace").decode()
    return f"// {shown}." if shown.endswith("\\") else f"// {shown}"


def indented(lines: list[str]) -> list[str]:
    """The lines one level deeper; preprocessor lines and empty ones stay."""
    return [INDENT + line if line and not line.startswith("#") else line for line in lines]


def braced(head: str, body: list[str]) -> list[str]:
    """``head {``, the body one level deeper, ``}``."""
    return [f"{head} {{", *indented(body), "}"]


def round_up(n: int, multiple: int) -> int:
    """The smallest multiple not below ``n``."""
    return -(-n // multiple) * multiple


# ---------------------------------------------------------------------------------- scalars


def float_literal(value: Number) -> str:
    """A ``float``: the shortest decimal that is this number in f32."""
    held = rounded(value)
    if isnan(held):
        return "NOT_A_NUMBER"
    if isinf(held):
        return "INF" if held > 0 else "-INF"
    return f"{shortest(held)!r}f"


def int_literal(value: int) -> str:
    """An ``int64_t``; the least one has no literal."""
    return f"{value + 1} - 1" if value == LEAST else str(value)


def scalar(e: ir.Expr, env: Env, level: int = 0) -> str:
    """``e`` in C++ (``docs/scalars.md``), folded: compilers compute literals in 32 bits, and warn of
    ``i == i``.  Parentheses stand where the operator around, of precedence ``level`` (0: none),
    needs them, and around negative literals beside an operator."""
    return of_folded(ir.substitute(e, {}), env, level)


def of_folded(e: ir.Expr, env: Env, level: int = 0) -> str:
    """``scalar`` of what is folded, as the parts of an expression then are."""
    if isinstance(e, ir.Const):
        text = float_literal(e.value) if ir.is_float(e) else int_literal(int(e.value))
        return f"({text})" if level and text.startswith("-") else text
    if isinstance(e, ir.Var):
        return env[e.name].text
    in_floats = ir.is_float(e.a) or ir.is_float(e.b)
    return (FLOAT_TEXT if in_floats else INTEGER_TEXT).get(e.op, infix)(e, env, level)


def infix(e: ir.Bin, env: Env, level: int) -> str:
    """``a op b``; where one side is a float C++ converts the other, a literal is one already."""
    mine = PRECEDENCE[e.op]
    compares = e.op in COMPARING  # C++ ranks == below <, so operands of either get their own
    if e.op == "/" or ir.is_float(e.a) or ir.is_float(e.b):
        x, y = in_float(e.a), in_float(e.b)
    else:
        x, y = e.a, e.b
    a, b = of_folded(x, env, mine + compares), of_folded(y, env, mine + 1)
    if e.op == "/" and not ir.is_float(x):
        a = f"static_cast<float>({of_folded(x, env)})"
    # The truth of a comparison is no number that a compiler likes to compare or to compute with.
    a, b = (
        f"int64_t{{{of_folded(o, env)}}}" if is_comparison(o) else t for o, t in ((x, a), (y, b))
    )
    text = f"{a} {'/' if e.op == '//' else e.op} {b}"
    return f"({text})" if mine < level else text


def is_comparison(e: ir.Expr) -> bool:
    return isinstance(e, ir.Bin) and e.op in COMPARING


def in_float(e: ir.Expr) -> ir.Expr:
    """An integer literal as the float that it becomes beside one."""
    return ir.Const(rounded(e.value)) if isinstance(e, ir.Const) else e


def at_least(e: ir.Expr, env: Env) -> Number | None:
    """The least value that ``e`` can have, as far as the places in ``env`` tell."""
    known = {n: env[n].least for n in ir.names_in(e) if n in env}
    found = bounds(e, {n: Range(low) for n, low in known.items() if low is not None}).low
    return None if found == -inf else found


def never_negative(e: ir.Expr, env: Env) -> bool:
    bound = at_least(e, env)
    return bound is not None and bound >= 0


def floored(e: ir.Bin, env: Env, level: int) -> str:
    """``a // b`` and ``a % b`` round down; C++ does so only where neither side is negative."""
    if never_negative(e.a, env) and never_negative(e.b, env):
        return infix(e, env, level)
    return called("floor_div" if e.op == "//" else "floor_mod", e, env)


def ceiling(e: ir.Bin, env: Env, level: int) -> str:
    """``cdiv(a, b)``, which C++ has for numbers that are not negative."""
    if never_negative(e.a, env) and never_negative(e.b, env):
        return rounded_up(e, env, level)
    return called("ceil_div", e, env)


def trip_count(e: ir.Expr, env: Env, level: int = 0) -> str:
    """``e`` as a number of iterations: whatever is not positive means none."""
    e = ir.substitute(e, {})
    if isinstance(e, ir.Bin) and e.op == "cdiv" and never_negative(e.b, env):
        return rounded_up(e, env, level)
    return of_folded(e, env, level)


def rounded_up(e: ir.Bin, env: Env, level: int) -> str:
    """``(a + b - 1) / b``"""
    last = ir.binary("-", e.b, ir.Const(1))
    return infix(ir.Bin("//", ir.binary("+", e.a, last), e.b), env, level)


def called(function: str, e: ir.Bin, env: Env) -> str:
    """A call of one of the functions at the top of the file."""
    return f"{function}({of_folded(e.a, env)}, {of_folded(e.b, env)})"


def calling(function: str) -> Spelling:
    return lambda e, env, level: called(
        function, ir.Bin(e.op, in_float(e.a), in_float(e.b)) if function in ON_FLOATS else e, env
    )


Spelling = Callable[[ir.Bin, Env, int], str]
ON_FLOATS = ("float_min", "float_max", "float_floor_div", "float_floor_mod")
INTEGER_TEXT: Mapping[str, Spelling] = MappingProxyType(
    {
        "min": calling("min_of"),
        "max": calling("max_of"),
        "cdiv": ceiling,
        "//": floored,
        "%": floored,
    }
)
FLOAT_TEXT: Mapping[str, Spelling] = MappingProxyType(
    {
        "min": calling("float_min"),
        "max": calling("float_max"),
        "//": calling("float_floor_div"),
        "%": calling("float_floor_mod"),
    }
)
"""Operators that C++ spells otherwise; all others are infix."""


def literal(e: ir.Expr, dtype: str, env: Env) -> str:
    """``e`` as an operand of a tile of ``dtype``: a literal of that type, or a conversion."""
    cpp = CPP_TYPE[dtype]
    if dtype not in FLOATS:
        return (
            scalar(e, env) if isinstance(e, ir.Const) else f"static_cast<{cpp}>({scalar(e, env)})"
        )
    x = in_float(e)
    text = scalar(x, env)
    return text if cpp == "float" and ir.is_float(x) else f"static_cast<{cpp}>({text})"


def condition(test: ir.Expr, env: Env) -> str:
    """``test`` as the condition of an ``if``; a product of conditions holds where all do."""
    found = ir.substitute(test, {})
    if is_condition(found):
        return " && ".join(of_folded(x, env) for x in factors(found))
    return f"{of_folded(found, env, 2)} != 0"


def is_condition(e: ir.Expr) -> bool:
    return all(map(is_comparison, factors(e)))


def factors(e: ir.Expr) -> list[ir.Expr]:
    """The parts of a product, in order."""
    if isinstance(e, ir.Bin) and e.op == "*":
        return [*factors(e.a), *factors(e.b)]
    return [e]


def without_iteration(trips: ir.Expr, env: Env) -> str:
    """The condition that a loop of ``trips`` iterations has none."""
    if is_condition(ir.substitute(trips, {})):
        return f"!({condition(trips, env)})"
    return f"{trip_count(trips, env, PRECEDENCE['+'])} <= 0"


def modulo(index: ir.Expr, count: int, env: Env, level: int = 0) -> str:
    """Ring position ``index`` modulo ``count``; constant offsets are brought to 0 .. count - 1."""
    if isinstance(index, ir.Const):
        return str(int(index.value) % count)
    shift = 0
    while isinstance(index, ir.Bin) and index.op in "+-" and isinstance(index.b, ir.Const):
        shift += int(index.b.value) if index.op == "+" else -int(index.b.value)
        index = index.a
    if isinstance(index, ir.Const):
        return str((int(index.value) + shift) % count)
    return scalar(
        ir.Bin("%", ir.binary("+", index, ir.Const(shift % count)), ir.Const(count)), env, level
    )


# ------------------------------------------------------------------------------------ tiles


@dataclass(frozen=True, slots=True)
class Extent:
    """A tile's C++ dimensions: stored rows and columns, and how many of them are valid."""

    rows: int
    cols: int
    valid_rows: str
    valid_cols: str


def stored_shape(buffer: ir.Buffer, turned: bool) -> tuple[int, int]:
    """(rows, columns) the library's type is declared with.

    What is ``turned`` is stored as its transpose.  A column or a single row is filled up to a
    whole 32-byte block; any other tile must have rows of whole blocks already.

    Raises:
        ShapeError: when a row of a tile is not a whole number of blocks.
    """
    t = buffer.type
    block = UNIT_BYTES // DTYPE_BYTES[t.dtype]
    if buffer.layout == "dn":
        return round_up(t.rows, block), t.cols
    if buffer.layout == "nd" and t.rows == 1:
        return 1, round_up(t.cols, block)
    if buffer.layout == "nd" and t.cols % block:
        raise ShapeError(f"a row of {buffer.name}: {t} is not a multiple of {UNIT_BYTES} bytes")
    return (t.cols, t.rows) if turned else (t.rows, t.cols)


def row_view(buffer: ir.Buffer) -> ir.Buffer:
    """The bytes of a column ``[rows, 1]`` seen as one row ``[1, rows]``, which arithmetic takes."""
    assert buffer.layout == "dn", buffer
    row = TileType(buffer.type.dtype, 1, buffer.type.rows)
    return replace(buffer, name=f"{buffer.name}_row", type=row, layout="nd")


# ----------------------------------------------------------------------------------- events


def event_id(event: ir.Event, index: ir.Expr | None, env: Env, ctx: Context) -> str:
    """The id argument of ``set_flag``: ``EVENT_IDn``, or a sum that a running index selects."""
    if index is None or isinstance(index, ir.Const) or len(event.ids) == 1:
        at = int(index.value) if isinstance(index, ir.Const) else 0
        return f"EVENT_ID{event.ids[at % len(event.ids)]}"
    position = modulo(index, len(event.ids), env)
    name = ctx.names.of("event", event.name)
    if event.ids == tuple(range(event.ids[0], event.ids[0] + len(event.ids))):
        ctx.constants[name] = f"constexpr int {name} = {event.ids[0]};"
        return f"static_cast<event_t>({name} + {position})"
    ids = ", ".join(f"EVENT_ID{k}" for k in event.ids)
    ctx.constants[name] = f"const event_t {name}[] = {{{ids}}};"
    return f"{name}[{position}]"


# ---------------------------------------------------------------------------------- context


@dataclass(slots=True)
class Context:
    """What one core's function collects while its rows are written.

    ``names`` are those of the function, ``types`` those in front of it, ``shares`` what a lane has of the slots
    of each FIFO.  ``rows`` (row views of columns), ``constants`` and ``counters`` become declarations at the top
    of the function, in the order of first use.
    """

    kernel: ir.Kernel
    target: Target
    core: str
    names: Names
    types: Names
    shares: Mapping[str, str]
    rows: dict[str, ir.Buffer] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    counters: list[str] = field(default_factory=list)

    def scalar(self, name: str) -> str:
        """A scalar of the program as an identifier."""
        return self.names.of("scalar", name)

    def pipe_type(self, fifo: str) -> str:
        """The type of a FIFO's pipe."""
        return self.types.of("fifo", fifo, f"{camel(fifo)}Pipe")

    def split(self, fifo: str) -> str:
        """How the library is told that the lanes share a slot."""
        return SPLITS[self.shares[fifo]]

    def is_silent(self, fifo: str) -> bool:
        """Whether some push leaves it to a signal behind it to tell of its tile."""
        rows = ir.all_rows(self.kernel.body)
        return any(r.op == "push_data" and r.queue == fifo for r in rows)

    def tile_class(self, buffer: ir.Buffer) -> TileClass:
        """The library's class for the slots of a buffer."""
        return self.target.spaces[buffer.space].layouts[buffer.layout]

    def tile_type(
        self, buffer: ir.Buffer, valid: tuple[str, str] | None = None, pad: str = ""
    ) -> str:
        """The type of a slot; ``valid``: its valid rows and columns, ``pad``: a pad value."""
        made, t = self.tile_class(buffer), buffer.type
        if buffer.layout == "pairs":
            return f"{made.name}<{t.rows}>"
        stored, inside = stored_shape(buffer, made.turned), valid or (str(t.rows), str(t.cols))
        inside = (inside[1], inside[0]) if made.turned else inside
        shown = [CPP_TYPE[t.dtype], *map(str, stored)]
        shown += inside if pad or inside != (str(stored[0]), str(stored[1])) else ()
        return f"{made.name}<{', '.join([*shown, pad] if pad else shown)}>"

    def slot(self, ref: ir.Ref, env: Env) -> str:
        """A buffer slot as C++: ``name`` or ``name[u % 2]``."""
        name = self.names.of("buffer", ref.name)
        return self._slot(self.kernel.buffer(ref.name), name, ref.index, env)

    def row_slot(self, ref: ir.Ref, env: Env) -> str:
        """The slot as arithmetic takes it: a column through its row view, others as they are."""
        buffer = self.kernel.buffer(ref.name)
        if buffer.layout != "dn":
            return self.slot(ref, env)
        view = self.rows.setdefault(ref.name, row_view(buffer))
        name = self.names.of("row", ref.name, view.name)
        return self._slot(buffer, name, ref.index, env)

    def address(self, ref: ir.Ref, env: Env) -> str:
        """The byte address of a slot in its memory."""
        buffer = self.kernel.buffer(ref.name)
        if buffer.depth == 1 or ref.index is None:
            return str(buffer.at)
        return f"{buffer.at} + {modulo(ref.index, buffer.depth, env, 4)} * {buffer.stride}"

    def _slot(self, buffer: ir.Buffer, name: str, index: ir.Expr | None, env: Env) -> str:
        if buffer.depth == 1:
            return name
        assert index is not None, f"{buffer.name} has {buffer.depth} slots, the row names none"
        return f"{name}[{modulo(index, buffer.depth, env)}]"


SPLITS: Mapping[str, str] = MappingProxyType(
    {"rows": "TILE_UP_DOWN", "cols": "TILE_LEFT_RIGHT", "both": "TILE_UP_DOWN"}
)
"""What a lane has of a slot, in the words of the library.  It has none for a slot that both have (TILE_NO_SPLIT gives
the second lane zeros in its CPU form): that is an upper half as high as the slot."""


def shares_of(kernel: ir.Kernel) -> dict[str, str]:
    """What a lane has of the slots of each FIFO; each pushes half of the rows of what both hold."""
    found: dict[str, str] = {}
    for row in ir.all_rows(kernel.body):
        tile = row.out if row.op == "pop" else row.args[0] if row.args else None
        if row.queue and row.core == "vector" and isinstance(tile, ir.Ref):
            share = kernel.buffer(tile.name).type.share
            found[row.queue] = "rows" if row.op != "pop" and share == "both" else share
    return found


def popped_buffer(kernel: ir.Kernel, fifo: str) -> ir.Buffer:
    """The local ring that a FIFO is popped into.

    Raises:
        ScheduleError: when it is popped into several, or its slots are not a FIFO slot apart: the
            library places the popped tile itself, one FIFO slot behind the other.
    """
    found = dict.fromkeys(
        r.out.name
        for r in ir.all_rows(kernel.body)
        if r.op == "pop" and r.args == (ir.Queue(fifo),) and isinstance(r.out, ir.Ref)
    )
    if len(found) != 1:
        raise ScheduleError(f"fifo {fifo} is popped into {len(found)} buffers instead of one")
    buffer = kernel.buffer(next(iter(found)))
    slot = kernel.fifo(fifo).slot_bytes
    if buffer.depth > 1 and buffer.stride != slot:
        raise ScheduleError(
            f"buffer {buffer.name} has slots {buffer.stride} bytes apart, but the library pops "
            f"fifo {fifo} into slots {slot} bytes apart"
        )
    return buffer
