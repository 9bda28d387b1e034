"""The traced program in numpy: what a kernel means.

In: a traced kernel and the bound arrays.  Out: the output arrays by name.
Invariant: one work item after the other, one row after the other; matmul and vector arithmetic in
float32, rounded to the type of the result to the nearest, ties to even.  A load of a partial view
fills with zero, a store skips what does not exist.  What is added to is the exact sum of all terms, rounded
once (``sums.py``).  ``apply`` is the meaning of every op that
computes; ``scheduled.py`` uses the same one, so a good schedule gives the same bits.
Non-goals: cores, slots, time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from lowering.execute import access
from lowering.execute.access import DTYPES, NAMES, Array, Env, Locate, Scope
from lowering.execute.folds import folded
from lowering.execute.inputs import Bound, pid_names, validate
from lowering.execute.sums import Kept, kept
from pto import ir
from pto.arithmetic import Number, rounded, short
from pto.errors import InputError, MemoryAccessError, ShapeError
from pto.folds import fold_of
from pto.ops import DEBUG, OPS, ROUNDINGS, Rule
from pto.text import statement
from pto.types import GREATEST, INTEGERS, TileType

# ---------------------------------------------------------------------- what an op computes

Compute = Callable[..., Array]


HALVES = (DTYPES["f16"], DTYPES["bf16"])


def wide(a: Any) -> Any:
    """A tile in the precision that the units compute in: 16-bit floats as float32, row-major.

    Row-major because the matmul of a transposed *view* may round differently from that of the
    same numbers in order.
    """
    if isinstance(a, np.ndarray) and a.dtype in HALVES:
        return a.astype(np.float32, order="C")
    return np.ascontiguousarray(a) if isinstance(a, np.ndarray) else a


def convert(a: Array, dtype: str) -> Array:
    """``a`` in ``dtype``: to the nearest, ties to even; integers saturate, NaN is 0."""
    want = DTYPES[dtype]
    if a.dtype == want:
        return a
    if dtype in INTEGERS:  # float64 holds every integer of 32 bits
        a = np.clip(np.nan_to_num(np.rint(a.astype(np.float64))), *INTEGERS[dtype])
    result: Array = a.astype(want)
    return result


def matmul(kind: TileType, a: Array, b: Array, acc: Array | None = None, test: Any = 1) -> Array:
    """``acc + a @ b`` in float32, or of integers in 32 bits; without ``acc``, or if ``test`` is 0, only the
    product."""
    product = of_integers(a, b) if a.dtype.kind in "iu" else np.matmul(wide(a), wide(b))
    return product if acc is None or not test else acc + product


def of_integers(a: Array, b: Array) -> Array:
    """The product in 32 bits, of which higher ones are lost; float64 holds it whole, and multiplies faster."""
    whole: Array = np.matmul(*(np.ascontiguousarray(x, np.float64) for x in (a, b)))
    return whole.astype(np.int64).astype(np.int32)


def drained(a: Array, dtype: str, scale: Number) -> Array:
    """A sum times a scale, as the way out of L0C converts it: saturating."""
    product = a.astype(np.float32) * np.float32(short(scale))
    most = GREATEST.get(dtype, np.inf)
    return convert(np.clip(product, -most, most), dtype)


def _ruled(rule: Rule) -> Compute:
    return lambda kind, *args: rule(np, *map(wide, args))


def _shaped(rule: Rule) -> Compute:
    return lambda kind, *args: rule(np, (kind.rows, kind.cols), *map(wide, args))


def _full(kind: TileType, value: Any) -> Array:
    return np.full((kind.rows, kind.cols), value, DTYPES[kind.dtype])


COMPUTE: Mapping[str, Compute] = {
    **{op.name: _ruled(op.rule) for op in OPS.values() if op.rule is not None},
    **{op.name: _shaped(op.shaped) for op in OPS.values() if op.shaped is not None},
    "matmul": matmul,
    "part": lambda kind, x, row, col: x[row : row + kind.rows, col : col + kind.cols],
    "astype": lambda kind, x, dtype, rounding="": ROUNDINGS[rounding](np, x) if rounding else x,
    "full": _full,
}
"""Every op that computes: (type of the result, operands) -> result, not yet rounded to the type."""


def element(x: Any, dtype: str) -> Any:
    """A scalar as an element of a tile of ``dtype``, in the precision that the units compute in."""
    if not isinstance(x, int | float):
        return x
    if dtype in INTEGERS:
        return DTYPES[dtype].type(x)
    return np.float32(DTYPES[dtype].type(np.float32(rounded(x))))


def apply(row: ir.Row, kind: TileType, args: Sequence[Any]) -> Array:
    """The tile that ``row`` computes from its operands, in the type ``kind``.

    Raises:
        ShapeError: when the operands do not give a tile of that shape.
    """
    op = OPS[row.op]
    dtype = NAMES[args[0].dtype] if op.compares else kind.dtype
    given = [element(a, dtype) if k in op.elements else a for k, a in enumerate(args)]
    return shaped(row, kind, convert(COMPUTE[row.op](kind, *given), kind.dtype))


def shaped(row: ir.Row, kind: TileType, result: Array) -> Array:
    """``result`` itself, if it has the shape that ``row`` declares.

    Raises:
        ShapeError: when it has not.
    """
    if result.shape != (kind.rows, kind.cols):
        found = f"{row.op} gives [{', '.join(map(str, result.shape))}]"
        raise ShapeError(f"{found}, but its result is declared as {kind}", row.loc)
    return result


# ------------------------------------------------------------------------------ interpreter

Tiles = dict[str, Array]
Action = Callable[[Tiles, Scope], None]


class Interpreter:
    """The rows of one kernel as functions of (tiles, scalars), bound to the arrays of one call.

    Another arithmetic (``lowering/execute/roundings.py``) is a subclass: other numbers in the tiles, and
    its own ``compute``, ``stored`` and ``keepers``.
    """

    held: Mapping[str, np.dtype[Any]] = DTYPES

    def __init__(self, kernel: ir.Kernel, bound: Bound) -> None:
        self.kernel, self.bound = kernel, bound
        self.outputs = self.starts()
        self.tensors: dict[str, Array] = {**bound.arrays, **self.outputs}
        self.written: Mapping[str, Kept] = self.keepers()
        self.body = self.block(kernel.body)

    def starts(self) -> dict[str, Array]:
        """The outputs before the first work item."""
        return self.bound.outputs()

    def keepers(self) -> Mapping[str, Kept]:
        """What stores write to."""
        return kept(self.kernel, self.outputs)

    def compute(self, row: ir.Row, kind: TileType, args: Sequence[Any]) -> Array:
        return apply(row, kind, args)

    def stored(self, tile: Array, dtype: str) -> Array:
        return convert(tile, dtype)

    def drained(self, row: ir.Row, tile: Array, dtype: str, scale: Number) -> Array:
        return drained(tile, dtype, scale)

    def watched(self, row: ir.Row) -> Action:
        """What a row that only watches does: nothing, to the outputs."""
        return lambda tiles, scope: None

    def run(self) -> dict[str, Array]:
        """All work items in row-major order of the grid."""
        names = pid_names(self.kernel)
        outer = Scope()
        outer.update(self.bound.names)
        for item in np.ndindex(self.bound.grid):
            scope = Scope(outer)
            scope.update(zip(names, item, strict=True))
            self.body({}, scope)
        return self.outputs

    def block(self, block: ir.Block) -> Action:
        actions = [self.node(node) for node in block]

        def run(tiles: Tiles, scope: Scope) -> None:
            for action in actions:
                action(tiles, scope)

        return run

    def node(self, node: ir.Node) -> Action:
        if isinstance(node, ir.Loop):
            return self.loop(node)
        if isinstance(node, ir.Branch):
            return self.branch(node)
        return RULES[node.op](self, node)

    def branch(self, branch: ir.Branch) -> Action:
        test = access.compiled(branch.test)
        then, orelse = self.block(branch.then), self.block(branch.orelse)
        return lambda tiles, scope: (then if test(scope) else orelse)(tiles, scope)

    def loop(self, loop: ir.Loop) -> Action:
        trips, body = access.compiled(loop.trips), self.inside(loop)
        own = access.scalars_in(loop.body) | {loop.index}
        results = [self.tile(r) for r in loop.result]

        def run(tiles: Tiles, scope: Scope) -> None:
            for c in loop.carry:
                tiles[c.name] = tiles[c.init.name] if c.init else _full(c.type, np.nan)
            for i in range(int(trips(scope))):
                here = Scope(scope, own)
                here[loop.index] = i
                body(tiles, here)
                for c, value in zip(loop.carry, [r(tiles, here) for r in results], strict=True):
                    tiles[c.name] = value
            for c in loop.carry:
                tiles[c.last] = tiles[c.name]

        return run

    def inside(self, loop: ir.Loop) -> Action:
        """One iteration of ``loop``."""
        return self.block(loop.body)

    # operands

    def tile(self, ref: ir.Ref) -> Callable[[Tiles, Scope], Array]:
        if ref.transposed:
            return lambda tiles, scope: tiles[ref.name].T
        return lambda tiles, scope: tiles[ref.name]

    def operand(self, o: ir.Operand) -> Callable[[Tiles, Scope], Any]:
        if isinstance(o, ir.Ref):
            return self.tile(o)
        if isinstance(o, ir.Word):
            return lambda tiles, scope: o.name
        assert isinstance(o, ir.Expr)
        value = access.compiled(o)
        return lambda tiles, scope: value(scope)

    def region(self, row: ir.Row, view: ir.View, dtype: str, cols: int) -> Callable[[Scope], Array]:
        """The elements of a view as rows of so many columns; what does not exist is zero."""
        locate, tensor, shape = (
            self.locate(row, view),
            self.tensors[view.tensor],
            access.span_shape(view),
        )

        def found(scope: Scope) -> Array:
            at, tile = locate(scope), np.zeros(shape, self.held[dtype])
            if not at.empty:
                tile[at.inside] = tensor[at.where]
            return tile.reshape(-1, cols)

        return found

    def locate(self, row: ir.Row, view: ir.View) -> Locate:
        shape = self.tensors[view.tensor].shape
        return access.locator(
            view, shape, access.outside(self.kernel, row, view, shape, InputError)
        )


def _load(at: Interpreter, row: ir.Row) -> Action:
    out = row.result(ir.Define)
    part = at.region(row, row.operand(ir.View), out.type.dtype, out.type.cols)

    def run(tiles: Tiles, scope: Scope) -> None:
        tiles[out.name] = part(scope)

    return run


def _gather(at: Interpreter, row: ir.Row) -> Action:
    out, views = row.result(ir.Define), [a for a in row.args if isinstance(a, ir.View)]
    parts = [at.region(row, view, out.type.dtype, out.type.cols) for view in views]

    def run(tiles: Tiles, scope: Scope) -> None:
        tiles[out.name] = np.concatenate([part(scope) for part in parts])

    return run


def writable(kernel: ir.Kernel, row: ir.Row) -> ir.View:
    """The view that ``row`` stores to.

    Raises:
        MemoryAccessError: when it belongs to an input.
    """
    view = row.result(ir.View)
    if kernel.param(view.tensor).direction == "in":
        raise MemoryAccessError(f"{statement(row, kernel)}: {view.tensor} is an input", row.loc)
    return view


def _store(at: Interpreter, row: ir.Row) -> Action:
    view = writable(at.kernel, row)
    dtype = at.kernel.param(view.tensor).dtype
    locate, target, shape = at.locate(row, view), at.written[view.tensor], access.span_shape(view)
    read, keep = at.tile(row.operand(ir.Ref)), target.add if row.adds else target.put
    scales = [at.operand(a) for a in row.scales]

    def run(tiles: Tiles, scope: Scope) -> None:
        region = locate(scope)
        if not region.empty:
            tile = read(tiles, scope)
            for scale in scales:
                tile = at.drained(row, tile, dtype, scale(tiles, scope))
            keep(region.where, at.stored(tile, dtype).reshape(shape)[region.inside])

    return run


def scalar_read(locate: Locate, tensor: Array) -> Callable[[Env], Number]:
    """A function from scalars to the one number at the place that ``locate`` gives."""
    return lambda env: tensor[locate(env).where].item()


def _read(at: Interpreter, row: ir.Row) -> Action:
    view = row.operand(ir.View)
    return _scalar(scalar_read(at.locate(row, view), at.tensors[view.tensor]), row)


def _fold(at: Interpreter, row: ir.Row) -> Action:
    def entry(view: ir.View) -> Callable[[Env], Number]:
        return scalar_read(at.locate(row, view), at.tensors[view.tensor])

    return _scalar(folded(fold_of(row), entry), row)


def _let(at: Interpreter, row: ir.Row) -> Action:
    return _scalar(access.compiled(row.scalar()), row)


def _scalar(value: Callable[[Scope], Any], row: ir.Row) -> Action:
    name = row.result(ir.Scalar).name

    def run(tiles: Tiles, scope: Scope) -> None:
        scope[name] = value(scope)

    return run


def _computed(at: Interpreter, row: ir.Row) -> Action:
    args, out = [at.operand(a) for a in row.args], row.result(ir.Define)
    name, kind = out.name, out.type

    def run(tiles: Tiles, scope: Scope) -> None:
        tiles[name] = at.compute(row, kind, [a(tiles, scope) for a in args])

    return run


def _watched(at: Interpreter, row: ir.Row) -> Action:
    return at.watched(row)


RULES: Mapping[str, Callable[[Interpreter, ir.Row], Action]] = {
    **dict.fromkeys(COMPUTE, _computed),
    "load": _load,
    "gather": _gather,
    "store": _store,
    "read": _read,
    "fold": _fold,
    "let": _let,
    **dict.fromkeys(DEBUG, _watched),
}
"""What each op of a traced program does; the ops that only a schedule has are not here."""


def unknown_rows(kernel: ir.Kernel, known: Mapping[str, Any]) -> Iterator[ir.Row]:
    """Rows whose op is not in ``known``."""
    return (row for row in ir.all_rows(kernel.body) if row.op not in known)


@contextmanager
def ready(kernel: ir.Kernel, bound: Bound) -> Iterator[None]:
    """Where an interpreter of a traced kernel may run: everything that it will do is known and in bounds.

    Raises:
        InputError: for a row of a scheduled program; the content of an array makes an access leave its
            tensor (see ``validate``).
    """
    for row in unknown_rows(kernel, RULES):
        message = f"{row.op} belongs to a scheduled program, not to a traced one"
        raise InputError(f"{statement(row, kernel)}: {message}", row.loc)
    validate(kernel, bound)
    with np.errstate(all="ignore"):
        yield


def run(kernel: ir.Kernel, bound: Bound) -> dict[str, Array]:
    """The outputs of a traced kernel, by name; ``bound`` is left as it is.

    Raises:
        InputError: the content of an array makes an access leave its tensor (see ``validate``).
    """
    with ready(kernel, bound):
        return Interpreter(kernel, bound).run()
