"""A program of values on JAX tracers: one environment loop, one rule table.

In: an unscheduled kernel (``lowering/values/unscheduled.py``), the sizes of a call, tracers of its
arrays (16-bit floats as their bits).  Out: tracers of the outputs.
Invariant: nothing here knows a kernel; a masked and an unmasked part of a loop come from the same
rules, with other facts in the environment.

XLA and LLVM do float arithmetic otherwise than it is written: they contract ``x * s - m`` into one
rounding, so that it exceeds 0 where ``m`` is the largest rounded ``x * s``; they turn ``(x + c) - c``
into ``x``, a division by a constant into a product, ``exp(a) * exp(b)`` into ``exp(a + b)``.  Then no
derived tolerance holds: the softmax of large logits drifts and ends in NaN.  So every result that is
rounded (``ROUNDED``) and every scalar that meets a float is made *opaque*: its bits are xored with an
argument of the program that is always 0, which no compiler can know, on any platform.  That is one
vector instruction inside of a fusion; an optimization barrier would end the fusion, and XLA drops a
``reduce_precision`` to the type itself.  The time of ``paged_attention`` does not change measurably.
Non-goals: devices, caching, numpy (``lowering/jax_executor/executor.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lowering.execute.access import NAMES
from lowering.execute.scalars import apply, as_float
from lowering.jax_executor.balance import is_item_loop, known_names, stored_in
from pto import ir
from pto.arithmetic import SHORT_BITS
from pto.folds import INDEX, Fold, fold_of
from pto.ops import OPS, ROUNDINGS, Op, Rule
from pto.types import GREATEST, INTEGERS, TileType

Array = Any
"""A jax array or a tracer of one."""
Number = Any
"""A Python number where it is known at trace time, else a traced scalar."""

DTYPES: dict[str, Any] = {
    "f32": jnp.float32,
    "i32": jnp.int32,
    "f16": jnp.float16,
    "bf16": jnp.bfloat16,
    "i16": jnp.int16,
    "i8": jnp.int8,
    "u8": jnp.uint8,
}
BITS = ("f16", "bf16")
"""Element types whose tensors are passed as bits (uint16)."""
UNSIGNED: dict[int, Any] = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}
"""What holds the bits of an element of so many bytes."""

# -------------------------------------------------------------------------------- scalars


def is_known(x: Number) -> bool:
    """Whether ``x`` is a number at trace time."""
    return isinstance(x, int | float)


def varies(x: Array) -> frozenset[str]:
    """The mesh axes over which ``x`` is another array on every device, inside of a ``shard_map``."""
    axes: frozenset[str] = jax.typeof(x).manual_axis_type.varying
    return axes


def whole(x: Array) -> Array:
    """An integer scalar as scalars are computed: in 64 bits (``docs/scalars.md``)."""
    return x.astype(jnp.int64) if jnp.issubdtype(x.dtype, jnp.integer) else x


def counted(x: Number, size: int) -> Number:
    """How many of ``size`` elements ``x`` counts, in the 32 bits that masks are made in."""
    return x if is_known(x) else jnp.clip(x, 0, size).astype(jnp.int32)


@dataclass
class Env:
    """Tiles, tensors and scalars by name, and what is known to be true here.

    ``whole`` holds (expression, size) pairs: the expression is at least ``size`` in this part of
    the loop, so a view or a ``where`` with it keeps everything.
    """

    tiles: dict[str, Array]
    tensors: dict[str, Array]
    scalars: dict[str, Number]
    whole: frozenset[tuple[ir.Expr, int]] = frozenset()

    def inner(self, whole: frozenset[tuple[ir.Expr, int]] = frozenset()) -> Env:
        """For a loop body or an arm: sees everything, changes nothing outside."""
        return Env(dict(self.tiles), dict(self.tensors), dict(self.scalars), self.whole | whole)


FoldState = tuple[Array, Array, list[Array]]
"""Of a fold between two steps: how many were done, whether it has ended, its numbers."""

# ---------------------------------------------------------------------------------- rules


def wide(a: Array) -> Array:
    """A tile in the precision that the units compute in."""
    is_half = getattr(a, "dtype", None) in (jnp.float16, jnp.bfloat16)
    return a.astype(jnp.float32) if is_half else a


def convert(a: Array, dtype: str) -> Array:
    """``a`` in ``dtype``: to the nearest, ties to even; integers saturate, NaN is 0.  XLA saturates 32 bits only."""
    if dtype in INTEGERS and a.dtype != DTYPES[dtype]:
        if jnp.issubdtype(a.dtype, jnp.floating):
            a = jnp.rint(a.astype(jnp.float32)).astype(jnp.int32)
        a = a if dtype == "i32" else jnp.clip(a.astype(jnp.int32), *INTEGERS[dtype])
    return a.astype(DTYPES[dtype])


@dataclass(frozen=True)
class Transposed:
    """``x.T``, not yet made: XLA turns a 16-bit matmul of a real transpose into one in float32."""

    x: Array


def plain(a: Any) -> Any:
    return a.x.T if isinstance(a, Transposed) else a


def matmul(kind: TileType, a: Any, b: Any, acc: Array = None, test: Number = 1) -> Array:
    """``acc + a @ b`` added up in float32, or of i8 in i32; where ``test`` is 0 only the product."""
    a_dim, b_dim = (0 if isinstance(a, Transposed) else 1), (1 if isinstance(b, Transposed) else 0)
    a, b = (t.x if isinstance(t, Transposed) else t for t in (a, b))
    product = lax.dot_general(
        a,
        b,
        (((a_dim,), (b_dim,)), ((), ())),
        precision=lax.Precision.HIGHEST if a.dtype == jnp.float32 else None,
        preferred_element_type=DTYPES[kind.dtype],
    )
    if acc is None or (is_known(test) and not test):
        return product
    return product + (acc if is_known(test) else jnp.where(test != 0, acc, 0))


def ruled(rule: Rule) -> Callable[..., Array]:
    return lambda kind, *args: rule(jnp, *(wide(plain(a)) for a in args))


def by_shape(rule: Rule) -> Callable[..., Array]:
    return lambda kind, *args: rule(jnp, (kind.rows, kind.cols), *(wide(plain(a)) for a in args))


LANES = 32
"""Columns down to which rows are folded where XLA may do the rest: two AVX-512 registers of float32."""


def folded(op: Op, rule: Rule) -> Callable[..., Array]:
    """A row reduction that joins the halves of the row, and the last column of an odd width at the end.

    XLA reduces the last axis one element after the other (1.7 us for the maximum of [16, 128]),
    but works on halves with whole vectors (0.2 us).  It also chooses the order, by the width of vectors and
    by what is fused around.  A sum is rounded by its order, so it is folded down to one column; a
    maximum is not, and XLA reduces its last ``LANES`` faster than halves do (0.66 against 0.81 us).
    """

    joins = OPS[op.joins]
    join, columns = joins.rule, 1 if joins.roundings else LANES
    assert join is not None, op

    def reduced(kind: TileType, x: Any) -> Array:
        x, odd = wide(plain(x)), []
        while x.shape[1] > columns:
            half, rest = divmod(x.shape[1], 2)
            if rest:
                odd.append(x[:, -1:])
            x = join(jnp, x[:, :half], x[:, half : 2 * half])
        if x.shape[1] > 1:
            x = rule(jnp, x)
        for column in odd:
            x = join(jnp, x, column)
        return x

    return reduced


def halved(op: Op) -> Callable[..., Array]:
    """A column reduction that joins the upper and the lower half, so that the order of a sum is known."""
    join = OPS[op.joins].rule
    assert join is not None, op

    def reduced(kind: TileType, x: Any) -> Array:
        x, odd = wide(plain(x)), []
        while x.shape[0] > 1:
            half, rest = divmod(x.shape[0], 2)
            if rest:
                odd.append(x[-1:])
            x = join(jnp, x[:half], x[half : 2 * half])
        for row in odd:
            x = join(jnp, x, row)
        return x

    return reduced


COMPUTE: Mapping[str, Callable[..., Array]] = {
    **{op.name: ruled(op.rule) for op in OPS.values() if op.rule is not None},
    **{op.name: by_shape(op.shaped) for op in OPS.values() if op.shaped is not None},
    **{
        op.name: folded(op, op.rule)
        for op in OPS.values()
        if op.rule and op.joins and op.along == "cols"
    },
    **{op.name: halved(op) for op in OPS.values() if op.joins and op.along == "rows"},
    "matmul": matmul,
    "astype": lambda kind, x, dtype, rounding="": (
        ROUNDINGS[rounding](jnp, plain(x)) if rounding else plain(x)
    ),
    "full": lambda kind, value: jnp.full((kind.rows, kind.cols), value, DTYPES[kind.dtype]),
}
"""Every op that computes a tile: (type of the result, operands) -> result, any element type."""

ROUNDED = tuple(op.name for op in OPS.values() if op.roundings and op.name not in ("add", "sub"))
"""Ops whose results are rounded before they are used: XLA may not do their arithmetic otherwise.
What is added is opaque already: products, and scalars."""

ZERO = "%zero"
"""The argument that is always 0."""


# ------------------------------------------------------------------------------ GM regions


@dataclass
class Extent:
    """One dimension of a region: ``size`` elements from ``start`` (never outside the tensor).

    Where the view is partial, its first ``valid`` elements lie ``off`` behind ``start``.
    """

    start: Number
    size: int
    valid: Number = None
    off: Number = 0


def shifted(x: Array, axis: int, by: Number, forward: bool) -> Array:
    """``x`` moved by ``by`` elements along ``axis``, filled with zeros."""
    if is_known(by) and by == 0:
        return x
    zeros, size = jnp.zeros_like(x), x.shape[axis]
    parts, start = ([zeros, x], size - by) if forward else ([x, zeros], by)
    return lax.dynamic_slice_in_dim(jnp.concatenate(parts, axis), start, size, axis)


def inside(extents: list[Extent], behind: bool) -> Array:
    """The mask of existing elements of a partial region, or None when it is whole.

    ``behind``: counted in the tensor (elements lie ``off`` behind ``start``), else in the tile.
    """
    shape = tuple(e.size for e in extents)
    mask = None
    for axis, e in enumerate(extents):
        if e.valid is not None:
            at = lax.broadcasted_iota(jnp.int32, shape, axis)
            first = e.off if behind else 0
            here = (at >= first) & (at < first + e.valid)
            mask = here if mask is None else mask & here
    return mask


def existing(x: Array, extents: list[Extent]) -> Array:
    """A region as it lies in its tile; what does not exist is zero."""
    for axis, e in enumerate(extents):
        x = shifted(x, axis, e.off, forward=False)
    mask = inside(extents, behind=False)
    return x if mask is None else jnp.where(mask, x, jnp.zeros((), x.dtype))


def put(tensor: Array, extents: list[Extent], x: Array) -> Array:
    """The tensor with a region replaced by ``x``; what does not exist is left alone."""
    starts = [e.start for e in extents]
    x = x.reshape(tuple(e.size for e in extents))
    mask = inside(extents, behind=True)
    if mask is not None:
        for axis, e in enumerate(extents):
            x = shifted(x, axis, e.off, forward=True)
        x = jnp.where(mask, x, slice_at(tensor, starts, list(x.shape)))
    return lax.dynamic_update_slice(tensor, x, starts, allow_negative_indices=False)


def larger(sizes: list[int]) -> list[int]:
    """One line more along the longest axis, but for the last one of several."""
    longest = max(range(max(1, len(sizes) - 1)), key=sizes.__getitem__)
    return [n + (axis == longest) for axis, n in enumerate(sizes)]


def slice_at(tensor: Array, starts: list[Number], sizes: list[int]) -> Array:
    return lax.dynamic_slice(tensor, starts, sizes, allow_negative_indices=False)


def to_bits(x: Array, dtype: str) -> Array:
    """As a tensor holds it."""
    x = convert(x, dtype)
    return lax.bitcast_convert_type(x, jnp.uint16) if dtype in BITS else x


def from_bits(x: Array, dtype: str) -> Array:
    return lax.bitcast_convert_type(x, DTYPES[dtype]) if dtype in BITS else x


# ---------------------------------------------------------------------------- interpreter


class Machine:
    """Runs a kernel on tracers: one environment loop, one rule table.

    ``dims`` are the symbolic sizes of this call.  With a ``table`` only the work items in it run:
    how many, then which (``lowering/jax_executor/balance.py``).
    """

    def __init__(self, kernel: ir.Kernel, dims: Mapping[str, int]) -> None:
        self.kernel, self.dims = kernel, dims
        self.known = known_names(dims)
        self.zero: Array = jnp.int32(0)
        self.table: Array = None
        self.axes: frozenset[str] = frozenset()
        """Of the mesh of a ``shard_map`` around: those that some array varies over."""

    def run(
        self, arrays: Mapping[str, Array], outputs: dict[str, Array], table: Array = None
    ) -> dict[str, Array]:
        """The outputs after all work items (of the table)."""
        scalars = {p.name: whole(arrays[p.name]) for p in self.kernel.params if p.shape is None}
        tensors = {p.name: arrays[p.name] for p in self.kernel.params if p.direction == "in"}
        self.table, self.zero = table, arrays.get(ZERO, self.zero)
        self.axes = frozenset().union(*(varies(x) for x in arrays.values()))
        env = Env({}, tensors | outputs, scalars)
        self.block(self.kernel.body, env)
        return {name: env.tensors[name] for name in outputs}

    def varying(self, tree: Any) -> Any:
        """What a loop carries or an arm gives, over all of ``axes``: its type must not change."""
        if not self.axes:
            return tree

        def cast(x: Array) -> Array:
            missing = tuple(sorted(self.axes - varies(x)))
            return lax.pcast(x, missing, to="varying") if missing else x

        return jax.tree.map(cast, tree)

    # scalars

    def fold(self, e: ir.Expr) -> ir.Expr:
        """``e`` with the sizes of this call filled in."""
        return ir.substitute(e, self.known)

    def scalar(self, e: ir.Expr, env: Env) -> Number:
        return self.number(self.fold(e), env)

    def number(self, e: ir.Expr, env: Env) -> Number:
        if isinstance(e, ir.Const):
            return ir.constant(e)
        if isinstance(e, ir.Var):
            return env.scalars[e.name]
        a, b = self.number(e.a, env), self.number(e.b, env)
        if not (is_known(a) and is_known(b)) and (
            e.op == "/" or ir.is_float(e.a) or ir.is_float(e.b)
        ):
            a, b = (self.opaque(as_float(jnp, x)) for x in (a, b))
        return apply(jnp, e.op, a, b)

    def opaque(self, x: Array) -> Array:
        """``x``, of which XLA and LLVM cannot see how it was made (see the module docstring)."""
        if getattr(x, "dtype", None) != jnp.float32:
            return x
        bits = lax.bitcast_convert_type(x, jnp.int32) ^ self.zero
        return lax.bitcast_convert_type(bits, jnp.float32)

    def element(self, x: Number, dtype: str) -> Array:
        """A scalar as an element of a tile of ``dtype``, in the precision of the units."""
        if dtype in INTEGERS:
            return DTYPES[dtype](x)
        return self.opaque(wide(as_float(jnp, x).astype(DTYPES[dtype])))

    def drained(self, x: Array, dtype: str, scale: Number) -> Array:
        """A sum times a scale, as the way out of L0C converts it: saturating."""
        bits = lax.bitcast_convert_type(as_float(jnp, scale), jnp.int32) >> SHORT_BITS << SHORT_BITS
        product = self.opaque(x.astype(jnp.float32) * lax.bitcast_convert_type(bits, jnp.float32))
        most = GREATEST.get(dtype, jnp.inf)
        return jnp.clip(product, -most, most)

    # rows

    def block(self, block: ir.Block, env: Env) -> None:
        for node in block:
            if isinstance(node, ir.Row):
                self.row(node, env)
            elif isinstance(node, ir.Loop):
                self.loop(node, env)
            else:
                self.branch(node, env)

    def row(self, row: ir.Row, env: Env) -> None:
        if isinstance(row.out, ir.Scalar):
            is_fold = row.op == "fold"
            found = (
                self.folded(fold_of(row), env) if is_fold else self.entry(row.operand(ir.View), env)
            )
            env.scalars[row.out.name] = found
        elif isinstance(row.out, ir.View):
            tensor, x = row.out.tensor, plain(self.operand(row.args[0], env))
            extents, dtype = self.extents(row.out, env), self.kernel.param(tensor).dtype
            for scale in row.scales:
                x = self.drained(x, dtype, self.operand(scale, env))
            x = self.added(row.out, convert(x, dtype), env) if row.adds else x
            env.tensors[tensor] = put(env.tensors[tensor], extents, to_bits(x, dtype))
        elif isinstance(row.out, ir.Define):
            env.tiles[row.out.name] = self.tile(row, row.out.type, env)

    def added(self, place: ir.View, x: Array, env: Env) -> Array:
        """What a region holds and ``x``, in the precision of the units, not yet rounded."""
        before = from_bits(self.region(place, env), self.kernel.param(place.tensor).dtype)
        return wide(before.reshape(x.shape)) + wide(x)

    def taken(self, row: ir.Row, env: Env) -> Array:
        """The elements that a row reads from a tensor."""
        return self.region(row.operand(ir.View), env)

    def entry(self, place: ir.View, env: Env) -> Array:
        """One element, as a scalar."""
        return whole(self.region(place, env).reshape(()))

    def folded(self, fold: Fold, outside: Env) -> Array:
        """The number of a fold: its steps, up to the one that ends it."""
        trips = self.scalar(fold.trips, outside)

        def step(state: FoldState) -> FoldState:
            i, _, numbers = state
            env = outside.inner()
            env.scalars[INDEX.name] = i
            env.scalars.update(zip((x.name for x in fold.states), numbers, strict=True))
            self.read_entries(fold.read[: fold.asked], env)
            ends = jnp.asarray(self.scalar(fold.until, env)) != 0
            self.read_entries(fold.read[fold.asked :], env)
            made = [
                jnp.where(ends, x, self.integer(e, env))
                for x, e in zip(numbers, fold.steps, strict=True)
            ]
            then: FoldState = self.varying((i + 1, ends, made))
            return then

        start = jnp.int64(0), jnp.asarray(False), [self.integer(e, outside) for e in fold.starts]
        _, _, found = lax.while_loop(lambda x: (x[0] < trips) & ~x[1], step, self.varying(start))
        return found[0]

    def read_entries(self, read: Iterable[tuple[ir.Var, ir.View]], env: Env) -> None:
        for x, view in read:
            env.scalars[x.name] = self.entry(view, env)

    def integer(self, e: ir.Expr, env: Env) -> Array:
        return jnp.asarray(self.scalar(e, env), jnp.int64)

    def region(self, place: ir.View, env: Env) -> Array:
        """The elements of a view."""
        tensor, extents = env.tensors[place.tensor], self.extents(place, env)
        starts, sizes = [e.start for e in extents], [e.size for e in extents]
        halves = tensor.dtype in (jnp.float16, jnp.bfloat16)
        taken = self.bits_at if halves else slice_at
        return existing(taken(tensor, starts, sizes), extents)

    def bits_at(self, tensor: Array, starts: list[Number], sizes: list[int]) -> Array:
        """The bits of a region of 16-bit floats, from a tensor that holds them as floats.

        XLA on CPUs slices no such floats: it converts the whole tensor to float32, or makes the bits of all
        of it in front of the loop.  Where it fuses bits and slice, it counts the whole tensor as work and
        splits that over its threads, which takes longer than the region (a page of 32 KB and its matmul:
        13 us, 4 us from a tensor of bits).  So this stands in an arm of a ``cond``, out of which
        nothing is moved, and is written into a larger tile at a place that is not known, which is
        never split (6 us).
        """
        if jax.default_backend() != "cpu":
            return lax.bitcast_convert_type(slice_at(tensor, starts, sizes), jnp.uint16)
        room = jnp.zeros(larger(sizes), jnp.uint16)

        def written() -> Array:
            x = slice_at(lax.bitcast_convert_type(tensor, jnp.uint16), starts, sizes)
            return self.varying(lax.dynamic_update_slice(room, x, [self.zero] * len(sizes)))

        found = lax.cond(self.zero == 0, written, lambda: self.varying(room))
        return found[tuple(slice(0, n) for n in sizes)]

    def tile(self, row: ir.Row, kind: TileType, env: Env) -> Array:
        """What a row defines."""
        if row.op == "gather":
            regions = [self.region(a, env) for a in row.args if isinstance(a, ir.View)]
            dtypes = [self.kernel.param(a.tensor).dtype for a in row.args if isinstance(a, ir.View)]
            found = [
                from_bits(x, t).reshape(-1, kind.cols) for x, t in zip(regions, dtypes, strict=True)
            ]
            return convert(jnp.concatenate(found), kind.dtype)
        if isinstance(row.args[0], ir.View):
            x = from_bits(self.taken(row, env), self.kernel.param(row.args[0].tensor).dtype)
            return convert(x, kind.dtype).reshape(kind.rows, kind.cols)
        if row.op == "move":
            x = self.operand(row.args[0], env)
            same = isinstance(x, Transposed) and x.x.dtype == DTYPES[kind.dtype]
            return x if same else convert(plain(x), kind.dtype)
        if row.op == "part":
            rows, cols = (ir.constant(e) for e in row.args[1:] if isinstance(e, ir.Const))
            x = plain(self.operand(row.args[0], env))
            return x[rows : rows + kind.rows, cols : cols + kind.cols]
        args = [self.argument(row, k, kind, env) for k in range(len(row.args))]
        columns = kept_columns(row)
        if columns is not None and (self.fold(columns), kind.cols) in env.whole:
            return plain(args[0])
        result = COMPUTE[row.op](kind, *args)
        result = convert(self.opaque(result) if row.op in ROUNDED else result, kind.dtype)
        assert result.shape == (kind.rows, kind.cols), (row, result.shape)
        return result

    def argument(self, row: ir.Row, k: int, kind: TileType, env: Env) -> Any:
        """Operand ``k``: a tile, an element, or a count of columns (``where``) or of both."""
        x = self.operand(row.args[k], env)
        if not isinstance(row.args[k], ir.Expr):
            return x
        op = OPS[row.op]
        if k in op.elements:
            other = plain(self.operand(row.args[0], env)) if op.compares else None
            return self.element(x, kind.dtype if other is None else NAMES[other.dtype])
        return counted(x, max(kind.rows, kind.cols)) if row.op in ("where", "pad") else x

    def operand(self, a: ir.Operand, env: Env) -> Any:
        if isinstance(a, ir.Ref):
            x = env.tiles[a.name]
            if a.transposed:
                return x.x if isinstance(x, Transposed) else Transposed(x)
            return x
        if isinstance(a, ir.Word):
            return a.name
        assert isinstance(a, ir.Expr)
        return self.scalar(a, env)

    def extents(self, view: ir.View, env: Env) -> list[Extent]:
        """The region of a view."""
        shape = self.kernel.param(view.tensor).shape or ()
        found = []
        for item, size in zip(view.index, shape, strict=True):
            if not isinstance(item, ir.Span):
                found.append(Extent(self.scalar(item, env), 1))
            elif item.valid is None or self.is_whole(item, env):
                found.append(Extent(self.scalar(item.start, env), item.size))
            else:
                dim = self.dims[size] if isinstance(size, str) else size
                found.append(self.partial(item, max(dim, item.size), env))
        return found

    def is_whole(self, item: ir.Span, env: Env) -> bool:
        assert item.valid is not None
        valid = self.fold(item.valid)
        enough = isinstance(valid, ir.Const) and valid.value >= item.size
        return enough or (valid, item.size) in env.whole

    def partial(self, item: ir.Span, dim: int, env: Env) -> Extent:
        """A region that may reach out of the tensor: moved inside, its elements ``off`` later."""
        assert item.valid is not None
        start = self.scalar(item.start, env)
        valid = counted(self.scalar(item.valid, env), item.size)
        if stays_inside(self.fold(item.start), item.size, dim):
            return Extent(start, item.size, valid)
        first = apply(jnp, "min", start, dim - item.size)
        return Extent(first, item.size, valid, start - first)

    # loops and branches

    def loop(self, loop: ir.Loop, env: Env) -> None:
        """The loop, in two parts where its partial views begin."""
        trips = self.scalar(loop.trips, env)
        facts = self.facts(loop)
        cut = self.cut(loop, facts, trips, env) if facts else 0
        table = self.table if is_item_loop(loop) else None
        if table is not None:
            cut, trips = self.of_table(cut, trips)
        stored = stored_in(loop.body)
        tiles = tuple(self.initial(c.init, c.type, env) for c in loop.carry)
        carry = (tiles, tuple(env.tensors[n] for n in stored))
        for start, end, inner in ((0, cut, env.inner(frozenset(facts))), (cut, trips, env.inner())):
            carry = self.iterate(loop, start, end, carry, inner, table)
        env.tiles.update({c.last: x for c, x in zip(loop.carry, carry[0], strict=True)})
        env.tensors.update(zip(stored, carry[1], strict=True))

    def of_table(self, cut: Number, trips: Number) -> tuple[Number, Number]:
        """The same places among the items of the table (which are in ascending order)."""
        count, items = self.table[0], self.table[1:]
        if is_known(cut) and cut in (0, trips):
            return (count if cut else 0), count
        return (items < cut).sum(dtype=jnp.int32), count

    def iterate(
        self, loop: ir.Loop, start: Number, end: Number, carry: Any, outside: Env, table: Array
    ) -> Any:
        stored = stored_in(loop.body)

        def body(i: Array, carry: Any) -> Any:
            env = outside.inner()
            env.scalars[loop.index] = whole(i if table is None else table[1 + i])
            env.tiles.update({c.name: x for c, x in zip(loop.carry, carry[0], strict=True)})
            env.tensors.update(zip(stored, carry[1], strict=True))
            self.block(loop.body, env)
            tiles = tuple(plain(env.tiles[r.name]) for r in loop.result)
            return self.varying((tiles, tuple(env.tensors[n] for n in stored)))

        if start is end or (is_known(start) and is_known(end) and end <= start):
            return carry
        return lax.fori_loop(start, end, body, self.varying(carry))

    def initial(self, init: ir.Ref | None, kind: TileType, env: Env) -> Array:
        """A tile, or zeros where nothing has been written."""
        if init is not None:
            return plain(env.tiles[init.name])
        return jnp.zeros((kind.rows, kind.cols), DTYPES[kind.dtype])

    def facts(self, loop: ir.Loop) -> dict[tuple[ir.Expr, int], tuple[ir.Expr, int]]:
        """(valid, size) of the partial views that are whole up to some iteration.

        The value says from where: ``valid = rest - fall * index``.
        """
        found: dict[tuple[ir.Expr, int], tuple[ir.Expr, int]] = {}
        for partial, size in partials(loop.body):
            valid = self.fold(partial)
            _, terms = ir.linear(valid)
            fall = -terms.pop(ir.Var(loop.index), 0)
            own = any(v in read_in(loop.body) for v in ir.names_in(valid))
            opaque = any(loop.index in ir.names_in(atom) for atom in terms)
            if fall >= 0 and not own and not opaque and not isinstance(valid, ir.Const):
                rest = ir.binary("+", valid, ir.binary("*", ir.Var(loop.index), ir.Const(fall)))
                found[valid, size] = (rest, fall)
        return found

    def cut(
        self, loop: ir.Loop, facts: dict[Any, tuple[ir.Expr, int]], trips: Number, env: Env
    ) -> Number:
        """The number of leading iterations in which every fact holds."""
        outside = env.inner()
        outside.scalars[loop.index] = 0  # the rest does not depend on it
        end = trips
        for (_, size), (rest, fall) in facts.items():
            spare = self.number(rest, outside) - size
            if fall:
                holds = apply(jnp, "max", spare // fall + 1, 0)
            else:
                holds = apply(jnp, "*", trips, apply(jnp, "<=", 0, spare))
            end = apply(jnp, "min", end, holds)
        return end

    def branch(self, branch: ir.Branch, env: Env) -> None:
        """What both ways define, and what one of them stores, is there behind them."""
        test = self.scalar(branch.test, env)
        names = [n for n in defined_in(branch.then) if n in defined_in(branch.orelse)]
        stored = stored_in((branch,))

        def arm(block: ir.Block) -> Callable[[], tuple[Array, ...]]:
            def run() -> tuple[Array, ...]:
                inner = env.inner()
                self.block(block, inner)
                found = [*(inner.tiles[n] for n in names), *(inner.tensors[n] for n in stored)]
                arms: tuple[Array, ...] = self.varying(tuple(map(plain, found)))
                return arms

            return run

        then, orelse = arm(branch.then), arm(branch.orelse)
        found = (
            (then if test else orelse)() if is_known(test) else lax.cond(test != 0, then, orelse)
        )
        env.tiles.update(zip(names, found[: len(names)], strict=True))
        env.tensors.update(zip(stored, found[len(names) :], strict=True))


def stays_inside(start: ir.Expr, size: int, dim: int) -> bool:
    """Whether ``size`` elements from a valid ``start`` can never reach behind ``dim``."""
    const, terms = ir.linear(start)
    if not terms:
        return const + size <= dim
    return dim % size == 0 and all(k % size == 0 for k in (const, *terms.values()))


def kept_columns(row: ir.Row) -> ir.Expr | None:
    """How many columns a ``where`` keeps, if that is one number for all rows."""
    return row.args[1] if row.op == "where" and isinstance(row.args[1], ir.Expr) else None


def partials(block: ir.Block) -> Iterator[tuple[ir.Expr, int]]:
    """(valid, size) of every partial view and every ``where`` of a body, inner loops left out."""
    for row in ir.own_rows(block):
        for a in (row.out, *row.args):
            if isinstance(a, ir.View):
                yield from ((s.valid, s.size) for s in a.spans if s.valid is not None)
        if (columns := kept_columns(row)) is not None and isinstance(row.out, ir.Define):
            yield columns, row.out.type.cols


def read_in(block: ir.Block) -> set[str]:
    """The scalars that a body reads from tensors."""
    return {r.out.name for r in ir.own_rows(block) if isinstance(r.out, ir.Scalar)}


def defined_in(block: ir.Block) -> list[str]:
    """The tiles that the rows of a block itself define."""
    return [n.out.name for n in block if isinstance(n, ir.Row) and isinstance(n.out, ir.Define)]
