"""Binding of the user's arrays to a kernel, and the check of what the arrays contain.

In: a kernel (traced or scheduled) and arrays by parameter name.
Out: a ``Bound``: every array in the right type and shape, the symbolic dimensions, the grid.
Invariant: after ``validate``, every GM access of every work item lies inside its tensor and every
scalar has a value (``docs/scalars.md``), so an executor that clamps or wraps (JAX) or does not look
(the hardware) is safe.  Every message names the array, what was found and what was expected.
Non-goals: tile data, time, the order of accesses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from lowering.execute.access import DTYPES, Array, outside, reads_behind, undefined, visible
from lowering.execute.facts import check_facts
from lowering.execute.scalars import apply, is_float
from lowering.one_by_one import one_by_one
from pto import ir
from pto.arithmetic import BINARY, DIVIDING, LEAST, Number, NumberError, rounded, shortest
from pto.errors import InputError, did_you_mean
from pto.folds import INDEX, fold_of
from pto.loc import Loc
from pto.ops import EVERY
from pto.targets import target_of
from pto.text import expr as expr_text
from pto.tracer import noun
from pto.types import DTYPE_BYTES, INTEGERS

# ------------------------------------------------------------------------------------ binding


@dataclass(frozen=True, slots=True)
class Bound:
    """Arrays and numbers of one call.

    ``arrays`` holds the tensors by name (bf16 as ``ml_dtypes.bfloat16``), C-contiguous, never to be
    written: ``outputs()`` gives the arrays to write.  ``scalars`` are the scalar parameters,
    ``dims`` the symbolic dimensions, ``grid`` the extents of the launch, ``items`` their product.
    ``starts`` are the outputs that were given: what they hold is where they start from.
    """

    arrays: Mapping[str, Array]
    scalars: Mapping[str, Number]
    dims: Mapping[str, int]
    grid: tuple[int, ...]
    directions: Mapping[str, str]
    starts: frozenset[str] = frozenset()

    @property
    def items(self) -> int:
        return math.prod(self.grid)

    @property
    def names(self) -> dict[str, Number]:
        """Every number that an expression of the kernel may name."""
        return {**self.dims, **self.scalars}

    def outputs(self) -> dict[str, Array]:
        """Fresh arrays to write: a copy of each that was given, and poison (NaN, -1) for the others.

        Poison, so that what a kernel leaves unwritten shows in the result.
        """
        fresh = {}
        for name, array in self.arrays.items():
            if name in self.starts:
                fresh[name] = array.copy()
            elif self.directions[name] != "in":
                fresh[name] = np.empty_like(array)
                fresh[name].reshape(-1).view(np.uint8)[:] = 0xFF
        return fresh


def bind(kernel: ir.Kernel, arrays: Mapping[str, Any]) -> Bound:
    """The arrays of one call, checked against the parameters of ``kernel``.

    bf16 is taken as ``ml_dtypes.bfloat16`` or as its bits in ``uint16``.  Scalars are numbers or
    0-d arrays.  ``out`` arrays may be left out; those given are the start of the output.

    Raises:
        InputError: an array that is missing, unknown, of the wrong type or shape, a table that does
            not hold what its type states; a scalar that is not finite, or negative where an integer is asked for.
    """
    check_names(kernel, arrays)
    given = {
        p.name: _array(p.name, arrays[p.name])
        for p in kernel.params
        if p.shape is not None and p.name in arrays
    }
    scalars = {p.name: scalar(p, arrays[p.name]) for p in kernel.params if p.shape is None}
    sizes = fitted(kernel, {n: Shown(a.shape, a.dtype) for n, a in given.items()}, scalars)
    tensors = {n: held(kernel.param(n), a) for n, a in given.items()}
    check_facts(kernel, tensors, sizes.dims)
    return bound(kernel, sizes, tensors, scalars)


@dataclass(frozen=True, slots=True)
class Shown:
    """What is known of an array that is not looked into."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The symbolic dimensions of a call and the extents of its launch."""

    dims: Mapping[str, int]
    grid: tuple[int, ...]


def fitted(kernel: ir.Kernel, shown: Mapping[str, Shown], scalars: Mapping[str, Number]) -> Sizes:
    """The sizes of a call with arrays of these shapes and types.  What the kernel requires of a
    scalar that is not known yet is not checked.

    Raises:
        InputError: an array of the wrong type or shape, or sizes that the kernel does not take.
    """
    dims, fixed_by = measured(kernel, shown)
    for p in kernel.params:
        if p.shape is not None and p.name not in shown:
            _shape(p, p.shape, dims)
    names: dict[str, Any] = {**dict(kernel.statics), **dims, **scalars}
    _check_required(kernel, names)
    grid = tuple(_axis(g, names) for g in kernel.grid)
    if math.prod(grid) > 0:
        _check_not_empty(dims, fixed_by)
    return Sizes(MappingProxyType(dims), grid)


def measured(
    kernel: ir.Kernel, shown: Mapping[str, Shown]
) -> tuple[dict[str, int], dict[str, str]]:
    """The symbolic dimensions that these arrays show, and the array that each is of.

    Raises:
        InputError: an array of the wrong type or shape.
    """
    dims: dict[str, int] = {}
    fixed_by: dict[str, str] = {}
    for p in kernel.params:
        if p.name in shown and p.shape is not None:
            _check_type(p, shown[p.name].dtype)
            _check_shape(p, shown[p.name].shape, dims, fixed_by)
    return dims, fixed_by


def bound(
    kernel: ir.Kernel,
    sizes: Sizes,
    tensors: Mapping[str, Array],
    scalars: Mapping[str, Number],
) -> Bound:
    """The call of these sizes; outputs that are not among ``tensors`` have their shape only."""
    directions = {p.name: p.direction for p in kernel.params if p.shape is not None}
    arrays = dict(tensors)
    for p in kernel.params:
        if p.shape is not None and p.name not in tensors:
            arrays[p.name] = np.empty(_shape(p, p.shape, sizes.dims), DTYPES[p.dtype])
    return Bound(
        MappingProxyType({name: arrays[name] for name in directions}),
        MappingProxyType(dict(scalars)),
        sizes.dims,
        sizes.grid,
        MappingProxyType(directions),
        frozenset(n for n, d in directions.items() if d != "in" and n in tensors),
    )


def _array(name: str, given: Any) -> Array:
    try:
        return native(given)
    except (ValueError, TypeError):
        kind = type(given).__name__
        message = f"{name} is a {kind} that makes no array: are its rows of one length?"
        raise InputError(message) from None


def _axis(size: ir.Expr, names: Mapping[str, Number]) -> int:
    """The number of work items along one axis of the grid."""
    found = int(_launched(size, names, f"the grid {expr_text(size)}"))
    if found < 0:
        raise InputError(f"the grid {expr_text(size)} is {found} where {_known(size, names)}")
    return found


def _check_required(kernel: ir.Kernel, names: Mapping[str, Number]) -> None:
    for r in kernel.requires:
        if not names.keys() >= set(ir.names_in(r.condition)):
            continue  # a scalar that only the call itself knows
        if not _launched(r.condition, names, f"the condition {expr_text(r.condition)}", r.loc):
            raise InputError(f"{r.message}: found {_known(r.condition, names)}", r.loc)


def _launched(e: ir.Expr, names: Mapping[str, Number], what: str, loc: Loc | None = None) -> Number:
    """``e`` over sizes and scalar parameters."""
    try:
        return ir.evaluate(e, names.__getitem__)
    except NumberError as error:
        message = f"{what} has no value where {_known(e, names)}: {error.message}"
        raise InputError(message, loc) from None


def _known(e: ir.Expr, names: Mapping[str, Number]) -> str:
    """``rows = 33, scale = 0.5``."""
    return ", ".join(f"{n} = {shortest(names[n])}" for n in dict.fromkeys(ir.names_in(e)))


def _check_not_empty(dims: Mapping[str, int], fixed_by: Mapping[str, str]) -> None:
    """Where there is work, every dimension has an element: schedules rely on it (a loop over an
    empty inner dimension would leave its accumulator unwritten)."""
    for name, size in dims.items():
        if size < 1:
            raise InputError(f"{fixed_by[name]} has {name} = {size}, but at least 1 is expected")


def check_names(kernel: ir.Kernel, arrays: Mapping[str, Any]) -> None:
    """Raises InputError for a name that is no parameter, or an input that is not given."""
    known = [p.name for p in kernel.params]
    for name in arrays:
        if name not in known:
            hint = did_you_mean(name, known, "it takes")
            raise InputError(f"{kernel.name} has no parameter '{name}'", hint=hint)
    missing = [declared(p) for p in kernel.params if p.name not in arrays and p.direction != "out"]
    if missing:
        were = "which was" if len(missing) == 1 else "which were"
        *others, last = missing
        listed = f"{', '.join(others)} and {last}" if others else last
        kept = [p.name for p in kernel.params if p.direction == "inout" and p.name not in arrays]
        hint = f"what {' and '.join(kept)} held before counts" if kept else ""
        raise InputError(f"{kernel.name} needs {listed}, {were} not given", hint=hint)


def declared(p: ir.Param) -> str:
    """``query bf16[batch, 16, 128]``."""
    shape = "" if p.shape is None else f"[{', '.join(map(str, p.shape))}]"
    return f"{'scalar' if p.shape is None else 'array'} {p.name} {p.dtype}{shape}"


OTHER_KINDS = {
    "O": "Python objects",
    "U": "text",
    "S": "text",
    "T": "text",
    "c": "complex numbers",
    "M": "dates",
    "m": "times",
}
"""numpy's kinds of elements that are no numbers of a kernel, in words."""


def no_number(dtype: np.dtype[Any]) -> str:
    """What elements of ``dtype`` are, in words, if they are no numbers; bf16 is of kind V, too."""
    return "records or bytes" if dtype.type is np.void else OTHER_KINDS.get(dtype.kind, "")


def native(given: Any) -> Array:
    """``given`` as an array in the byte order of this machine.

    Raises:
        ValueError, TypeError: when it is no array, as lists of different lengths are.
    """
    a = np.asarray(given)
    return a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("="))


BF16_BITS = (np.dtype(np.uint16), np.dtype("V2"))
"""What the bits of bf16 may come as."""


def _check_type(p: ir.Param, dtype: np.dtype[Any]) -> None:
    want = DTYPES[p.dtype]
    if dtype == want or (p.dtype == "bf16" and dtype in BF16_BITS):
        return
    if no_number(dtype):
        raise InputError(
            f"{p.name} holds {no_number(dtype)} ({dtype}), but {declared(p)} is expected"
        )
    expected = "bfloat16, or its bits as uint16" if p.dtype == "bf16" else want.name
    message = f"{p.name} holds {dtype.name}, but {p.dtype} ({expected}) is expected"
    module = "ml_dtypes" if p.dtype == "bf16" else "np"
    raise InputError(message, hint=f"convert it: {p.name}.astype({module}.{want.name})")


def held(p: ir.Param, a: Array) -> Array:
    """``a``, whose type fits, with our element type, C-contiguous."""
    return np.ascontiguousarray(a).view(DTYPES[p.dtype]).reshape(a.shape)


def _check_shape(
    p: ir.Param, shape: tuple[int, ...], dims: dict[str, int], fixed_by: dict[str, str]
) -> None:
    """Compares with the declaration; the first array that has a symbolic dimension fixes it."""
    assert p.shape is not None
    found = f"{p.name} has shape {list(shape)}"
    if not shape and p.shape:
        raise InputError(f"{p.name} is one number, but {declared(p)} is expected")
    if len(shape) != len(p.shape):
        want = f"{len(p.shape)} dimensions are expected: {declared(p)}"
        raise InputError(f"{found}, but {want}")
    for k, (size, want_size) in enumerate(zip(shape, p.shape, strict=True)):
        if isinstance(want_size, int):
            if size != want_size:
                raise InputError(f"{found}: dimension {k} is {size}, but {want_size} is expected")
        elif dims.setdefault(want_size, size) != size:
            first = f"{fixed_by[want_size]} has {want_size} = {dims[want_size]}"
            raise InputError(f"{found}: dimension {k} ({want_size}) is {size}, but {first}")
        else:
            fixed_by.setdefault(want_size, p.name)


def _shape(p: ir.Param, shape: tuple[int | str, ...], dims: Mapping[str, int]) -> tuple[int, ...]:
    for size in shape:
        if isinstance(size, str) and size not in dims:
            message = f"{p.name} was not given, and no other array has its dimension '{size}'"
            raise InputError(message, hint=f"give {declared(p)}")
    return tuple(dims[s] if isinstance(s, str) else s for s in shape)


def scalar(p: ir.Param, given: Any) -> Number:
    """The number of a scalar parameter, rounded to its type."""
    a = _array(p.name, given)
    if no_number(a.dtype) and not a.ndim:
        raise InputError(f"{p.name} is {noun(given)}, but one {p.dtype} number is expected")
    if a.ndim or (a.dtype.kind not in "iuf" and a.dtype != DTYPES["bf16"]):
        message = f"{p.name} is {a.dtype.name}{list(a.shape) if a.ndim else ''}"
        raise InputError(f"{message}, but one {p.dtype} number is expected")
    value = a.item()
    if not math.isfinite(value):
        raise InputError(f"{p.name} = {value}, but a finite number is expected")
    if p.dtype != "i32":
        held = rounded(value)
        if not math.isfinite(held):
            raise InputError(f"{p.name} = {value} is more than f32 holds (3.4e38)")
        return held
    if value != int(value) or not 0 <= value < 1 << 31:
        raise InputError(
            f"{p.name} = {value}, but an integer from 0 to {(1 << 31) - 1} is expected"
        )
    return int(value)


# ----------------------------------------------------------------------------------- contents


def may_fail(op: str, a: Any, b: Any) -> bool:
    """Whether ``a op b`` may divide by zero or leave the integers of 64 bits somewhere."""
    if op in DIVIDING and not np.all(b):
        return True
    if op not in ("+", "-", "*", "//", "cdiv") or is_float(a) or is_float(b):
        return False
    ends = [(int(np.min(x)), int(np.max(x))) for x in (a, b)]
    if op in ("//", "cdiv"):
        return ends[0][0] == LEAST
    try:
        for x, y in itertools.product(*ends):
            BINARY[op](x, y)
    except NumberError:
        return True
    return False


@dataclass
class NoValue(Exception):
    """The expression ``e`` has no value in a line, and why."""

    e: ir.Bin
    line: int
    why: str


Columns = dict[str, Any]
"""One column per scalar, one line per iteration of the loops so far; a number holds for all."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The iterations that a block runs for: ``parent`` says which entry of the loop each is of."""

    columns: Columns
    count: int
    parent: Array

    def value(self, e: ir.Expr) -> Any:
        """``e`` in every line: one number for all, or a column.

        Raises:
            NoValue: when it has none in some line.
        """
        if isinstance(e, ir.Const):
            return ir.constant(e)
        if isinstance(e, ir.Var):
            return self.columns[e.name]
        a, b = self.value(e.a), self.value(e.b)
        if self.count and may_fail(e.op, a, b):
            self.try_each(e, a, b)
        return apply(np, e.op, a, b) if self.count else np.zeros(0, np.int64)

    def try_each(self, e: ir.Bin, a: Any, b: Any) -> None:
        """Raises ``NoValue`` for the first line in which ``e`` has none."""
        for line in range(self.count):
            try:
                BINARY[e.op](*(x[line].item() if isinstance(x, np.ndarray) else x for x in (a, b)))
            except NumberError as error:
                raise NoValue(e, line, error.message) from None

    def take(self, which: Array) -> Lines:
        """The lines ``which``, in that order, with repetitions."""
        return Lines(_taken(self.columns, which), len(which), self.parent[which])

    def numbers(self, line: int) -> dict[str, Number]:
        """The scalars of one line as Python numbers."""
        return {
            n: v[line].item() if isinstance(v, np.ndarray) else v for n, v in self.columns.items()
        }


def _taken(columns: Columns, which: Array) -> Columns:
    return {n: v[which] if isinstance(v, np.ndarray) else v for n, v in columns.items()}


ROOT = "%root"
"""Column with the number of the program (work item, or core of a block) that a line is of."""


def pid_names(kernel: ir.Kernel) -> tuple[str, ...]:
    """``pid0``, ``pid1``, ...: what ``program_id(axis)`` is called in a traced program."""
    return tuple(f"pid{axis}" for axis in range(len(kernel.grid)))


def validate(kernel: ir.Kernel, bound: Bound, *, block_num: int | None = None) -> None:
    """Checks every GM access and every scalar of every work item, without any tile data.

    All iterations of a loop are the lines of one table, and every scalar is one column of it, so
    the cost is a few numpy calls per row of the kernel: 256 items x 64 blocks take milliseconds.
    Works on traced and on scheduled kernels (there, for ``block_num`` hardware blocks).

    Raises:
        InputError: the content of an array that makes an access leave its tensor, or leaves a
            scalar without a value.
    """
    kernel = replace(kernel, body=one_by_one(kernel.body))  # the same accesses, in another order
    with np.errstate(all="ignore"):
        for core, lines in _programs(kernel, bound, block_num):
            _Walk(kernel, bound, core).block(kernel.body, lines)


def _programs(
    kernel: ir.Kernel, bound: Bound, block_num: int | None
) -> Iterator[tuple[str, Lines]]:
    names: Columns = dict(bound.names)
    if not ir.is_scheduled(kernel):
        grid = ", ".join(map(expr_text, kernel.grid))
        _check_steps(bound.items, f"the grid {grid} has {bound.items} work items")
        pids = np.unravel_index(np.arange(bound.items), bound.grid)
        names |= dict(zip(pid_names(kernel), pids, strict=True))
        yield "", _lines(names, bound.items)
        return
    target = target_of(kernel)
    blocks = target.block_num if block_num is None else block_num
    for core in ir.CORES:
        lanes = target.lanes if core == "vector" else 1
        block, lane = np.unravel_index(np.arange(blocks * lanes), (blocks, lanes))
        own = {"block_idx": block, "lane": lane, "block_num": blocks}
        yield core, _lines(names | own, blocks * lanes)


MOST_STEPS = 1 << 26
"""Lines of a table: no call needs more, and one of them takes 8 bytes per scalar."""


def _check_steps(count: int, what: str, loc: Loc | None = None) -> None:
    if count > MOST_STEPS:
        raise InputError(f"{what}; {MOST_STEPS} can be checked", loc)


def _lines(names: Columns, count: int) -> Lines:
    every = np.arange(count)
    return Lines(names | {ROOT: every}, count, np.zeros(count, np.int64))


class _Walk:
    """One pass over the rows of one core; ``RULES`` says what a row means for the table."""

    def __init__(self, kernel: ir.Kernel, bound: Bound, core: str) -> None:
        self.kernel, self.bound, self.core = kernel, bound, core

    def value(self, e: ir.Expr, node: ir.Node, lines: Lines) -> Any:
        """``e`` in every line.

        Raises:
            InputError: when it has no value in one of them.
        """
        try:
            return lines.value(e)
        except NoValue as found:
            env = lines.numbers(found.line)
            raise undefined(self.kernel, node, self.core, found.e, found.why, env) from None

    def column(self, e: ir.Expr, node: ir.Node, lines: Lines) -> Array:
        """``e`` as integers, one per line."""
        values = np.asarray(self.value(e, node, lines))
        return np.broadcast_to(values.astype(np.int64), (lines.count,))

    def block(self, block: ir.Block, lines: Lines) -> None:
        """Rows that work ahead come first: they define scalars for the others."""
        for node in ir.in_own_order(block):
            if isinstance(node, ir.Loop):
                if any(r.core == self.core for r in ir.all_rows(node.body)):
                    self.loop(node, lines)
            elif isinstance(node, ir.Branch):
                self.branch(node, lines)
            elif node.core == self.core:
                self.row(node, lines)

    def row(self, row: ir.Row, lines: Lines) -> None:
        if row.op == "fold":
            self.fold(row, lines)
            return
        for operand in (row.out, *row.args):
            if isinstance(operand, ir.View):
                self.check(row, operand, lines)
        if row.op == "let":
            lines.columns[row.result(ir.Scalar).name] = self.value(row.scalar(), row, lines)
        elif row.op == "read":
            values, out = self.entry(row, row.operand(ir.View), lines), row.result(ir.Scalar)
            lines.columns[out.name] = values if out.is_float else values.astype(np.int64)
        else:
            for k, operand in enumerate(row.args):
                if isinstance(operand, ir.Expr):
                    self.operand(row, k, operand, lines)

    def entry(self, row: ir.Row, view: ir.View, lines: Lines) -> Array:
        """The elements that a view of one element is in every line."""
        at = tuple(self.column(i, row, lines) for i in view.index if not isinstance(i, ir.Span))
        found: Array = self.bound.arrays[view.tensor][at]
        return found

    def fold(self, row: ir.Row, lines: Lines) -> None:
        """All lines together, step by step, each as long as it goes on."""
        fold = fold_of(row)
        trips = self.column(fold.trips, row, lines)
        numbers = [self.column(e, row, lines).copy() for e in fold.starts]
        names = [x.name for x in fold.states]
        on, i, done = np.flatnonzero(trips > 0), 0, 0
        while on.size:
            done += len(on)
            _check_steps(done, f"'{row.result(ir.Scalar).name}' takes {done} steps in all", row.loc)
            here = lines.take(on)
            here.columns[INDEX.name] = i
            here.columns.update(zip(names, (n[on] for n in numbers), strict=True))
            self.entries(row, fold.read[: fold.asked], here)
            stay = np.flatnonzero(self.column(fold.until, row, here) == 0)
            on, here = on[stay], here.take(stay)
            self.entries(row, fold.read[fold.asked :], here)
            made = [self.column(e, row, here) for e in fold.steps]
            for n, then in zip(numbers, made, strict=True):
                n[on] = then
            i += 1
            on = on[trips[on] > i]
        lines.columns[row.result(ir.Scalar).name] = numbers[0]

    def entries(self, row: ir.Row, read: Sequence[tuple[ir.Var, ir.View]], lines: Lines) -> None:
        for x, view in read:
            self.check(row, view, lines)
            lines.columns[x.name] = self.entry(row, view, lines).astype(np.int64)

    def operand(self, row: ir.Row, k: int, e: ir.Expr, lines: Lines) -> None:
        """Raises for an integer that an element of the row's tile cannot be."""
        values = np.broadcast_to(self.value(e, row, lines), (lines.count,))
        op = EVERY[row.op]
        dtype = self.dtype_of(row)
        if k not in op.elements or op.compares or dtype not in INTEGERS:
            return  # what is compared with a scalar is a float
        least, greatest = INTEGERS[dtype]
        beyond = np.flatnonzero((values < least) | (values > greatest))
        if beyond.size:
            env = lines.numbers(int(beyond[0]))
            bits = 8 * DTYPE_BYTES[dtype]
            why = f"{values[beyond[0]]} is beyond the integers of {bits} bits of an {dtype} tile"
            raise undefined(self.kernel, row, self.core, e, why, env)

    def dtype_of(self, row: ir.Row) -> str:
        """The element type of the tile that a row makes."""
        if isinstance(row.out, ir.Define):
            return row.out.type.dtype
        return self.kernel.buffer(row.out.name).type.dtype if isinstance(row.out, ir.Ref) else ""

    def check(self, row: ir.Row, view: ir.View, lines: Lines) -> None:
        """Raises for the first line whose view leaves its tensor (for the last of its loop)."""
        shape = self.bound.arrays[view.tensor].shape
        bad = np.zeros((len(shape), lines.count), bool)
        used = np.ones(lines.count, bool)
        for dim, (item, extent) in enumerate(zip(view.index, shape, strict=True)):
            span = ir.as_span(item)
            at = self.column(span.start, row, lines)
            count: Any = span.size
            if span.valid is not None:
                count = np.clip(self.column(span.valid, row, lines), 0, span.size)
            used &= np.broadcast_to(np.asarray(count) > 0, used.shape)
            bad[dim] = (at < 0) | (at > extent - np.maximum(count, 1))
        bad &= used
        if not bad.any():
            return
        first = int(bad.any(axis=0).argmax())
        dim = int(bad[:, first].argmax())
        worst = np.flatnonzero(bad[dim] & (lines.parent == lines.parent[first]))[-1]
        item = view.index[dim]
        known = visible(self.kernel.body, row, self.core) or {}
        start = ir.as_span(item).start
        content = any(True for _ in reads_behind(start, known, loops=False))
        env = lines.numbers(first if content else int(worst))
        raise outside(self.kernel, row, view, shape, InputError)(dim, env)

    def branch(self, branch: ir.Branch, lines: Lines) -> None:
        test = np.broadcast_to(self.value(branch.test, branch, lines) != 0, (lines.count,))
        for block, which in ((branch.then, test), (branch.orelse, ~test)):
            self.block(block, lines.take(np.flatnonzero(which)))

    def loop(self, loop: ir.Loop, lines: Lines) -> None:
        trips = np.maximum(self.column(loop.trips, loop, lines), 0)
        steps = int(trips.sum(dtype=np.float64))
        _check_steps(steps, f"loop '{loop.index}' has {steps} steps in all", loop.loc)
        parent = np.repeat(np.arange(lines.count), trips)
        before = np.cumsum(trips) - trips
        columns = _taken(lines.columns, parent)
        columns[loop.index] = np.arange(len(parent)) - before[parent]
        if loop.total:
            root = lines.columns[ROOT]
            earlier = before - before[np.searchsorted(root, root)]  # since its program began
            columns[loop.total] = columns[loop.index] + earlier[parent]
        self.block(loop.body, Lines(columns, len(parent), parent))
