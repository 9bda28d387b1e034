"""Runs a scheduled program in JAX, under ``jit``, at real sizes.

In: a scheduled kernel and arrays (``lowering/inputs.py`` binds and validates them: JAX clamps what
is out of bounds).  Out: the output arrays by name.

What runs is the *flow* of the schedule (``lowering/dataflow.py``): every operand is bound to the
row and iteration that wrote the slot, and this binding is proven on the scheduled program.  Slots,
FIFOs and the skew between rows move data in time only; a jitted program has no pipes to overlap, so
the loop runs all rows of one iteration together.  Nothing is guarded, peeled or carried for the
sake of the schedule: a loop carries only values that change in it and are read later.

How it is fast, for every kernel alike:

* one ``fori_loop`` over work items: ragged work is skipped, not masked;
* a loop is cut where its partial views begin: the first part runs while every view is whole (and
  every ``where`` keeps all columns) and has no masks at all, the second part has them;
* 16-bit floats are passed as their bits: otherwise XLA converts whole tensors outside the loop;
* with several devices, each gets the work items of its slice of the outputs (``Plan``), provided
  that the stores show which; no collectives.

Elements that no store reaches hold NaN (-1 in integers), as in the other executors.
Non-goals: detecting races or bad bounds, timing.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lowering.dataflow import dataflow
from lowering.flow import Choice, Flow, Part, Repeat, Step, Use, linear
from lowering.inputs import Bound, bind
from pto.errors import InputError
from pto.ir import (
    BINARY,
    Bin,
    Const,
    Expr,
    Kernel,
    Span,
    Var,
    View,
    Word,
    binary,
    evaluate,
    names_in,
    substitute,
)
from pto.ops import OPS
from pto.types import TileType

Array = Any
"""A jax array or a tracer of one."""
Number = Any
"""A Python number where it is known at trace time, else a traced scalar."""
Shape = tuple[int, ...]

DTYPES: dict[str, Any] = {
    "f32": jnp.float32,
    "i32": jnp.int32,
    "f16": jnp.float16,
    "bf16": jnp.bfloat16,
}
BITS = ("f16", "bf16")
"""Element types whose tensors are passed as bits (uint16)."""
AXIS = "items"
"""The mesh axis that work items are spread over."""

# -------------------------------------------------------------------------------- scalars

SCALAR: dict[str, Callable[[Number, Number], Number]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "min": jnp.minimum,
    "max": jnp.maximum,
    "cdiv": lambda a, b: -(-a // b),
    "<": lambda a, b: (a < b).astype(jnp.int32),
    "<=": lambda a, b: (a <= b).astype(jnp.int32),
    "==": lambda a, b: (a == b).astype(jnp.int32),
    "!=": lambda a, b: (a != b).astype(jnp.int32),
}
"""``pto.ir.BINARY`` for traced numbers."""


def is_known(x: Number) -> bool:
    """Whether ``x`` is a number at trace time."""
    return isinstance(x, int | float)


def apply(op: str, a: Number, b: Number) -> Number:
    """A scalar operator, at trace time where possible."""
    return (BINARY if is_known(a) and is_known(b) else SCALAR)[op](a, b)


@dataclass
class Env:
    """Values by number, scalars by name, and what is known to be true here.

    ``whole`` holds (expression, size) pairs: the expression is at least ``size`` in this part of
    the loop, so a view or a ``where`` with it keeps everything.
    """

    values: dict[int, Array]
    scalars: dict[str, Number]
    whole: frozenset[tuple[Expr, int]] = frozenset()

    def inner(self, whole: frozenset[tuple[Expr, int]] = frozenset()) -> Env:
        """For a loop body or an arm: sees everything, changes nothing outside."""
        return Env(dict(self.values), dict(self.scalars), self.whole | whole)


# ---------------------------------------------------------------------------------- rules


def wide(a: Array) -> Array:
    """A tile in the precision that the units compute in."""
    is_half = getattr(a, "dtype", None) in (jnp.float16, jnp.bfloat16)
    return a.astype(jnp.float32) if is_half else a


def convert(a: Array, dtype: str) -> Array:
    """``a`` in ``dtype``: to the nearest, ties to even; integers saturate."""
    if dtype == "i32" and jnp.issubdtype(a.dtype, jnp.floating):
        return jnp.rint(a.astype(jnp.float32)).astype(jnp.int32)
    return a.astype(DTYPES[dtype])


@dataclass(frozen=True)
class Transposed:
    """``x.T``, not yet made: XLA turns a 16-bit matmul of a real transpose into one in float32."""

    x: Array


def plain(a: Any) -> Any:
    return a.x.T if isinstance(a, Transposed) else a


def matmul(kind: TileType, a: Any, b: Any, acc: Array = None, test: Number = 1) -> Array:
    """``acc + a @ b`` accumulated in float32; where ``test`` is 0 only the product."""
    a_dim, b_dim = (0 if isinstance(a, Transposed) else 1), (1 if isinstance(b, Transposed) else 0)
    a, b = (t.x if isinstance(t, Transposed) else t for t in (a, b))
    product = lax.dot_general(
        a,
        b,
        (((a_dim,), (b_dim,)), ((), ())),
        precision=lax.Precision.HIGHEST if a.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )
    if acc is None or (is_known(test) and not test):
        return product
    return product + (acc if is_known(test) else jnp.where(test != 0, acc, 0))


def ruled(rule: Callable[..., Array]) -> Callable[..., Array]:
    return lambda kind, *args: rule(jnp, *(wide(plain(a)) for a in args))


FOLD: Mapping[str, Callable[[Array, Array], Array]] = {
    "row_max": jnp.maximum,
    "row_min": jnp.minimum,
    "row_sum": jnp.add,
}
"""What combines two halves of a row before a row reduction reduces the rest."""
LANES = 32
"""Columns down to which rows are folded: two AVX-512 registers of float32."""


def folded(name: str, rule: Callable[..., Array]) -> Callable[..., Array]:
    """A row reduction that first folds the row in halves.

    XLA reduces the last axis one element after the other (1.7 us for the maximum of [16, 128]),
    but works on halves with whole vectors (0.2 us).
    """

    def reduced(kind: TileType, x: Any) -> Array:
        x = wide(plain(x))
        while x.shape[1] > LANES and x.shape[1] % 2 == 0:
            half = x.shape[1] // 2
            x = FOLD[name](x[:, :half], x[:, half:])
        return rule(jnp, x)

    return reduced


COMPUTE: Mapping[str, Callable[..., Array]] = {
    **{op.name: ruled(op.rule) for op in OPS.values() if op.rule is not None},
    **{op.name: folded(op.name, op.rule) for op in OPS.values() if op.rule and op.name in FOLD},
    "matmul": matmul,
    "astype": lambda kind, x, dtype: plain(x),
    "full": lambda kind, value: jnp.full((kind.rows, kind.cols), value, DTYPES[kind.dtype]),
}
"""Every op that computes a tile: (type of the result, operands) -> result, any element type."""


# ------------------------------------------------------------------------------ GM regions


@dataclass
class Extent:
    """One dimension of a region: ``size`` elements from ``start`` (never outside the tensor).

    Where the view is partial, its first ``valid`` elements lie ``off`` behind ``start``.
    """

    start: Number
    size: int
    kept: bool
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


def take(tensor: Array, extents: list[Extent]) -> Array:
    """The elements of a region; what does not exist is zero."""
    starts = [e.start for e in extents]
    x = slice_at(tensor, starts, [e.size for e in extents])
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
    """Runs a flow on tracers: one environment loop, one rule table.

    ``dims`` are the symbolic sizes of this call.  On one device of several, ``base`` says at which
    row of each output its slice starts, ``rows`` how many it has, and ``count`` replaces the trip
    count of the loop over work items.
    """

    def __init__(self, flow: Flow, dims: Mapping[str, int]) -> None:
        self.flow, self.kernel = flow, flow.kernel
        self.dims = dims
        self.known: dict[str, Expr] = {n: Const(d) for n, d in dims.items()}
        self.known["block_num"] = Const(1)
        self.tensors: dict[str, Array] = {}
        self.base: dict[str, Number] = {}
        self.rows: Mapping[str, int] = {}
        self.count: Number = None

    def run(
        self, arrays: Mapping[str, Array], outputs: dict[str, Array], first: Number
    ) -> dict[str, Array]:
        """The outputs after all work items from ``first`` on."""
        scalars = {p.name: arrays[p.name] for p in self.kernel.params if p.shape is None}
        self.tensors = {p.name: arrays[p.name] for p in self.kernel.params if p.direction == "in"}
        start = {self.flow.first[name]: x for name, x in outputs.items()}
        env = Env(start, {**scalars, "block_idx": first})
        self.parts(self.flow.parts, env)
        return {name: env.values[v] for name, v in self.flow.last.items()}

    # scalars

    def fold(self, e: Expr) -> Expr:
        """``e`` with the sizes of this call filled in."""
        return substitute(e, self.known)

    def scalar(self, e: Expr, env: Env) -> Number:
        return self.number(self.fold(e), env)

    def number(self, e: Expr, env: Env) -> Number:
        if isinstance(e, Const):
            return e.value
        if isinstance(e, Var):
            return env.scalars[e.name]
        return apply(e.op, self.number(e.a, env), self.number(e.b, env))

    # parts

    def parts(self, parts: list[Part], env: Env) -> None:
        for part in parts:
            if isinstance(part, Step):
                self.step(part, env)
            elif isinstance(part, Repeat):
                self.repeat(part, env)
            else:
                self.choice(part, env)

    def step(self, step: Step, env: Env) -> None:
        if step.op == "read":
            (place,) = step.args
            assert isinstance(place, View)
            extents = self.extents(place, env)
            value = take(self.tensor(step, place, env), extents).reshape(())
            env.scalars[f"%{step.out}"] = value
        elif step.op == "load":
            (place,) = step.args
            assert isinstance(place, View) and step.type is not None
            dtype = self.kernel.param(place.tensor).dtype
            x = from_bits(take(self.tensor(step, place, env), self.extents(place, env)), dtype)
            env.values[step.out] = convert(x, step.type.dtype).reshape(
                step.type.rows, step.type.cols
            )
        elif step.op == "store":
            place, source = step.args
            assert isinstance(place, View) and isinstance(source, Use) and step.state is not None
            x = to_bits(plain(self.operand(source, env)), self.kernel.param(place.tensor).dtype)
            extents = self.extents(place, env)
            env.values[step.out] = put(env.values[step.state], extents, x)
        elif step.op == "move":
            assert step.type is not None
            x = self.operand(step.args[0], env)
            same = isinstance(x, Transposed) and x.x.dtype == DTYPES[step.type.dtype]
            env.values[step.out] = x if same else convert(plain(x), step.type.dtype)
        else:
            env.values[step.out] = self.computed(step, env)

    def computed(self, step: Step, env: Env) -> Array:
        kind = step.type
        assert kind is not None
        args = [self.operand(a, env) for a in step.args]
        if step.op == "where" and isinstance(step.args[1], Const | Var | Bin):
            if (self.fold(step.args[1]), kind.cols) in env.whole:
                return plain(args[0])
        result = convert(COMPUTE[step.op](kind, *args), kind.dtype)
        assert result.shape == (kind.rows, kind.cols), (step, result.shape)
        return result

    def operand(self, a: Use | Expr | View | Word, env: Env) -> Any:
        if isinstance(a, Use):
            x = env.values[a.value]
            if a.transposed:
                return x.x if isinstance(x, Transposed) else Transposed(x)
            return x
        if isinstance(a, Word):
            return a.name
        assert not isinstance(a, View)
        return self.scalar(a, env)

    def tensor(self, step: Step, place: View, env: Env) -> Array:
        return self.tensors[place.tensor] if step.state is None else env.values[step.state]

    def extents(self, view: View, env: Env) -> list[Extent]:
        """The region of a view, in this device's slice of the tensor."""
        declared = self.kernel.param(view.tensor).shape or ()
        shape = [self.dims[d] if isinstance(d, str) else d for d in declared]
        shape[0] = self.rows.get(view.tensor, shape[0])
        base = self.base.get(view.tensor, 0)
        found = []
        for axis, (item, dim) in enumerate(zip(view.index, shape, strict=True)):
            start = self.scalar(item.start if isinstance(item, Span) else item, env)
            local = start - base if axis == 0 else start
            if not isinstance(item, Span):
                found.append(Extent(local, 1, False))
            elif item.valid is None or self.is_whole(item, env):
                found.append(Extent(local, item.size, True))
            else:
                found.append(self.partial(item, local, max(dim, item.size), env))
        return found

    def is_whole(self, item: Span, env: Env) -> bool:
        assert item.valid is not None
        valid = self.fold(item.valid)
        enough = isinstance(valid, Const) and valid.value >= item.size
        return enough or (valid, item.size) in env.whole

    def partial(self, item: Span, start: Number, dim: int, env: Env) -> Extent:
        """A region that may reach out of the tensor: moved inside, its elements ``off`` later."""
        assert item.valid is not None
        valid = self.scalar(item.valid, env)
        if stays_inside(self.fold(item.start), item.size, dim):
            return Extent(start, item.size, True, valid)
        first = apply("min", start, dim - item.size)
        return Extent(first, item.size, True, valid, start - first)

    # loops and branches

    def repeat(self, loop: Repeat, env: Env) -> None:
        trips = self.scalar(loop.trips, env)
        if self.count is not None and is_item_loop(loop):
            trips = self.count
        carry = tuple(self.initial(p.init, p.type, env) for p in loop.phis)
        facts = self.facts(loop)
        start: Number = 0
        if facts:
            cut = self.cut(loop, facts, trips, env)
            carry = self.iterate(loop, start, cut, carry, env.inner(frozenset(facts)))
            start = cut
        carry = self.iterate(loop, start, trips, carry, env.inner())
        env.values.update({p.last: x for p, x in zip(loop.phis, carry, strict=True)})

    def iterate(self, loop: Repeat, start: Number, end: Number, carry: Any, outside: Env) -> Any:
        def body(i: Array, carry: Any) -> Any:
            env = outside.inner()
            env.scalars[loop.index] = i
            env.values.update({p.inner: x for p, x in zip(loop.phis, carry, strict=True)})
            self.parts(loop.body, env)
            return tuple(plain(env.values[p.next]) for p in loop.phis)

        if is_known(start) and is_known(end) and end <= start:
            return carry
        return lax.fori_loop(start, end, body, carry)

    def initial(self, value: int | None, kind: TileType | str, env: Env) -> Array:
        """A value, or zeros where nothing has been written."""
        if value is not None:
            return plain(env.values[value])
        assert isinstance(kind, TileType)
        return jnp.zeros((kind.rows, kind.cols), DTYPES[kind.dtype])

    def facts(self, loop: Repeat) -> dict[tuple[Expr, int], tuple[Expr, int]]:
        """(valid, size) of the partial views that are whole up to some iteration.

        The value says from where: ``valid = rest - fall * index``.
        """
        found: dict[tuple[Expr, int], tuple[Expr, int]] = {}
        for partial, size in partials(loop.body):
            valid = self.fold(partial)
            _, terms = linear(valid)
            fall = -int(terms.pop(Var(loop.index), 0))
            own = any(v in made_in(loop.body) for v in names_in(valid))
            opaque = any(loop.index in names_in(atom) for atom in terms)
            if fall >= 0 and not own and not opaque and not isinstance(valid, Const):
                rest = binary("+", valid, binary("*", Var(loop.index), Const(fall)))
                found[valid, size] = (rest, fall)
        return found

    def cut(
        self, loop: Repeat, facts: dict[Any, tuple[Expr, int]], trips: Number, env: Env
    ) -> Number:
        """The number of leading iterations in which every fact holds."""
        outside = env.inner()
        outside.scalars[loop.index] = 0  # the rest does not depend on it
        end = trips
        for (_, size), (rest, fall) in facts.items():
            spare = self.number(rest, outside) - size
            if fall:
                holds = apply("max", spare // fall + 1, 0)
            else:
                holds = apply("*", trips, apply("<=", 0, spare))
            end = apply("min", end, holds)
        return end

    def choice(self, choice: Choice, env: Env) -> None:
        test = self.scalar(choice.test, env)

        def arm(parts: list[Part], results: list[int | None]) -> Callable[[], tuple[Array, ...]]:
            def run() -> tuple[Array, ...]:
                inner = env.inner()
                self.parts(parts, inner)
                kinds = [m.type for m in choice.merges]
                return tuple(self.initial(v, k, inner) for v, k in zip(results, kinds, strict=True))

            return run

        then = arm(choice.then, [m.then for m in choice.merges])
        orelse = arm(choice.orelse, [m.orelse for m in choice.merges])
        found = (
            (then if test else orelse)() if is_known(test) else lax.cond(test != 0, then, orelse)
        )
        env.values.update({m.out: x for m, x in zip(choice.merges, found, strict=True)})


def is_item_loop(loop: Repeat) -> bool:
    """Whether this is the persistent loop over work items."""
    return "block_num" in names_in(loop.trips)


def stays_inside(start: Expr, size: int, dim: int) -> bool:
    """Whether ``size`` elements from a valid ``start`` can never reach behind ``dim``."""
    const, terms = linear(start)
    if not terms:
        return const + size <= dim
    return dim % size == 0 and all(k % size == 0 for k in (const, *terms.values()))


def partials(parts: list[Part]) -> Iterator[tuple[Expr, int]]:
    """(valid, size) of every partial view and every ``where`` of a body, inner loops left out."""
    for part in parts:
        if isinstance(part, Choice):
            yield from partials(part.then)
            yield from partials(part.orelse)
        elif isinstance(part, Step):
            for a in part.args:
                if isinstance(a, View):
                    yield from ((s.valid, s.size) for s in a.spans if s.valid is not None)
            if (
                part.op == "where"
                and part.type is not None
                and isinstance(part.args[1], Const | Var | Bin)
            ):
                yield part.args[1], part.type.cols


def made_in(parts: list[Part]) -> set[str]:
    """The scalars that a body reads from tensors."""
    found: set[str] = set()
    for part in parts:
        if isinstance(part, Step) and part.op == "read":
            found.add(f"%{part.out}")
        elif isinstance(part, Choice):
            found |= made_in(part.then) | made_in(part.orelse)
    return found


# ----------------------------------------------------------------------- several devices


@dataclass(frozen=True)
class Plan:
    """Which device runs which work items.

    ``ranges[d]`` is (first, count); device ``d`` owns ``rows[name]`` leading rows of each output,
    from ``d * rows[name]`` on.  ``reason`` says why there is only one device, if so.
    """

    ranges: tuple[tuple[int, int], ...]
    rows: Mapping[str, int]
    reason: str = ""


def plan(machine: Machine, shapes: Mapping[str, Shape], devices: int) -> Plan:
    """Slices of the outputs for ``devices`` devices, if the stores show which item writes where."""

    def alone(reason: str) -> Plan:
        return Plan((), {}, f"one device: {reason}")

    flow = machine.flow
    loops = [p for p in flow.parts if isinstance(p, Repeat) and is_item_loop(p)]
    if devices == 1:
        return alone("there is only one")
    if len(loops) != 1 or len(flow.parts) != 1:
        return alone("the kernel is not one loop over work items")
    trips = substitute(machine.fold(loops[0].trips), {"block_idx": Const(0)})
    if not isinstance(trips, Const):
        return alone("the number of work items is not known before the run")
    owners: list[np.ndarray[Any, Any]] = []
    rows: dict[str, int] = {}
    for step in steps_below(loops[0].body):
        if step.op in ("load", "read") and step.state is not None:
            return alone("the kernel reads what it writes")
        if step.op == "store":
            place = step.args[0]
            assert isinstance(place, View)
            found = owner(
                machine, loops[0], place, shapes[place.tensor][0], int(trips.value), devices
            )
            if found is None:
                return alone(
                    f"the leading dimension of '{place.tensor}' does not follow the work items"
                )
            owners.append(found[0])
            if rows.setdefault(place.tensor, found[1]) != found[1]:
                return alone(f"'{place.tensor}' is stored in different ways")
    written = {p.name for p in machine.kernel.params if p.direction in ("out", "inout")}
    if written != set(rows) or any(machine.kernel.param(n).direction == "inout" for n in written):
        return alone("an output keeps what it held before")
    first = owners[0]
    if any((o != first).any() for o in owners) or (np.diff(first) < 0).any():
        return alone("the outputs are not written slice by slice")
    edges = np.searchsorted(first, np.arange(devices + 1))
    ranges = tuple((int(a), int(b - a)) for a, b in itertools.pairwise(edges))
    return Plan(ranges, rows)


def owner(machine: Machine, loop: Repeat, place: View, dim: int, items: int, devices: int) -> Any:
    """(device of each work item, rows per device) by the leading index of a store, or None."""
    item = place.index[0]
    start, size = (item.start, item.size) if isinstance(item, Span) else (item, 1)
    start = substitute(machine.fold(start), {"block_idx": Const(0)})
    if set(names_in(start)) != {loop.index}:
        return None
    rows = -(-dim // (devices * size)) * size
    at = np.array([evaluate(start, {loop.index: w}.__getitem__) for w in range(items)], np.int64)
    found = at // rows
    if ((at + size - 1) // rows != found).any():
        return None
    return found, rows


def steps_below(parts: list[Part]) -> Iterator[Step]:
    for part in parts:
        if isinstance(part, Step):
            yield part
        elif isinstance(part, Repeat):
            yield from steps_below(part.body)
        else:
            yield from steps_below(part.then)
            yield from steps_below(part.orelse)


# ----------------------------------------------------------------------------- programs


@dataclass
class Program:
    """One jitted program: for fixed shapes and devices.

    ``ranges`` are its work items per device (None: one device runs all), ``where`` the place of
    its inputs, ``shapes`` those of its outputs.
    """

    call: Callable[..., dict[str, Array]]
    plan: Plan
    ranges: Array
    where: Any
    shapes: Mapping[str, Shape]

    @property
    def uneven(self) -> bool:
        """Whether the slices of the devices reach behind the outputs."""
        return any(
            len(self.plan.ranges) * r != self.shapes[n][0] for n, r in self.plan.rows.items()
        )

    def __call__(self, placed: dict[str, Array]) -> dict[str, Array]:
        found = self.call(*self.arguments(placed))
        if not self.uneven:
            return found
        return {n: trimmed(x, self.shapes[n]) for n, x in found.items()}

    def arguments(self, placed: dict[str, Array]) -> tuple[Any, ...]:
        return (placed,) if self.ranges is None else (self.ranges, placed)


@dataclass(frozen=True)
class Placed:
    """Inputs where their program wants them."""

    program: Program
    arrays: dict[str, Array]


class Executable:
    """A compiled kernel: call it with arrays by parameter name (16-bit floats as uint16 bits).

    Programs are kept by shapes; ``traces`` counts how often one was traced.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.flow = dataflow(kernel)
        self.programs: dict[Any, Program] = {}
        self.traces = 0

    def __call__(
        self, arrays: Placed | Mapping[str, Any], devices: int | None = None
    ) -> dict[str, Array]:
        """The outputs, on the device."""
        placed = arrays if isinstance(arrays, Placed) else self.place(arrays, devices)
        return placed.program(placed.arrays)

    def place(self, arrays: Mapping[str, Any], devices: int | None = None) -> Placed:
        """The inputs where the program wants them; nothing moves if they are there already.

        A later call with the result skips the search for the program, too.
        """
        program = self.program(arrays, devices)
        names = [p.name for p in self.kernel.params if p.direction != "out"]
        held = {n: as_held(arrays[n], self.kernel.param(n).dtype) for n in names}
        where = program.where
        found = {n: x if has_place(x, where) else jax.device_put(x, where) for n, x in held.items()}
        return Placed(program, found)

    def program(self, arrays: Mapping[str, Any], devices: int | None = None) -> Program:
        count = min(devices or len(jax.devices()), len(jax.devices()))
        dims = self.dims(arrays)
        key = (tuple(dims.items()), count)
        if key not in self.programs:
            self.programs[key] = self.build(dims, count)
        return self.programs[key]

    def text(self, arrays: Mapping[str, Any], devices: int | None = None) -> str:
        """The optimised HLO."""
        return str(self.lowered(arrays, devices).compile().as_text())

    def lowered(self, arrays: Mapping[str, Any], devices: int | None = None) -> Any:
        """The program before XLA (a ``jax.stages.Lowered``)."""
        placed = self.place(arrays, devices)
        call: Any = placed.program.call
        return call.lower(*placed.program.arguments(placed.arrays))

    # building

    def dims(self, arrays: Mapping[str, Any]) -> dict[str, int]:
        """The symbolic dimensions, from the shapes."""
        dims: dict[str, int] = {}
        for p in self.kernel.params:
            if p.name in arrays and p.shape is not None:
                for size, name in zip(np.shape(arrays[p.name]), p.shape, strict=True):
                    if isinstance(name, str):
                        dims.setdefault(name, size)
        missing = [d for d in self.kernel.dims if d not in dims]
        if missing:
            raise InputError(f"no array has the dimension '{missing[0]}'")
        return dims

    def shape(self, name: str, dims: Mapping[str, int]) -> Shape:
        shape = self.kernel.param(name).shape or ()
        return tuple(dims[s] if isinstance(s, str) else s for s in shape)

    def build(self, dims: Mapping[str, int], devices: int) -> Program:
        machine = Machine(self.flow, dims)
        outs = [p.name for p in self.kernel.params if p.direction in ("out", "inout")]
        shapes = {name: self.shape(name, dims) for name in outs}
        chosen = plan(machine, shapes, devices)
        if not chosen.ranges:
            return self.build_alone(dims, shapes, chosen)
        mesh = Mesh(np.array(jax.devices()[:devices]), (AXIS,))
        spread, everywhere = PartitionSpec(AXIS), PartitionSpec()  # type: ignore[no-untyped-call]

        def call(ranges: Array, arrays: dict[str, Array]) -> dict[str, Array]:
            self.traces += 1
            machine = Machine(self.flow, dims)
            here = lax.axis_index(AXIS)
            machine.base = {name: here * rows for name, rows in chosen.rows.items()}
            machine.rows, machine.count = chosen.rows, ranges[0, 1]
            local = {n: (chosen.rows[n], *s[1:]) for n, s in shapes.items()}
            arrays, outputs = self.padded(arrays, dims), self.poison(local, {})
            return machine.run(arrays, outputs, ranges[0, 0])

        mapped = jax.shard_map(
            call, mesh=mesh, in_specs=(spread, everywhere), out_specs=spread, check_vma=False
        )
        ranges = jax.device_put(np.array(chosen.ranges, np.int32), NamedSharding(mesh, spread))
        where = NamedSharding(mesh, everywhere)
        return Program(jax.jit(mapped), chosen, ranges, where, shapes)

    def build_alone(
        self, dims: Mapping[str, int], shapes: Mapping[str, Shape], chosen: Plan
    ) -> Program:
        def call(arrays: dict[str, Array]) -> dict[str, Array]:
            self.traces += 1
            arrays = self.padded(arrays, dims)
            outputs = self.poison({n: self.room(n, dims) for n in shapes}, arrays)
            found = Machine(self.flow, dims).run(arrays, outputs, 0)
            return {n: trimmed(x, shapes[n]) for n, x in found.items()}

        return Program(jax.jit(call), chosen, None, jax.devices()[0], shapes)

    def room(self, name: str, dims: Mapping[str, int]) -> Shape:
        """The shape of a tensor, no dimension smaller than any view of it."""
        shape = list(self.shape(name, dims))
        for step in steps_below(self.flow.parts):
            for a in step.args:
                if isinstance(a, View) and a.tensor == name:
                    for axis, item in enumerate(a.index):
                        size = item.size if isinstance(item, Span) else 1
                        shape[axis] = max(shape[axis], size)
        return tuple(shape)

    def padded(self, arrays: Mapping[str, Array], dims: Mapping[str, int]) -> dict[str, Array]:
        """The arrays with zeros behind them where a view is larger than its tensor."""
        out = dict(arrays)
        for name, x in arrays.items():
            room = self.room(name, dims) if x.ndim else ()
            if room != x.shape:
                out[name] = jnp.pad(x, [(0, r - s) for r, s in zip(room, x.shape, strict=True)])
        return out

    def poison(self, shapes: Mapping[str, Shape], arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs to write: what an ``inout`` holds, NaN (-1 in integers) elsewhere."""
        return {n: arrays[n] if n in arrays else self.unwritten(n, s) for n, s in shapes.items()}

    def unwritten(self, name: str, shape: Shape) -> Array:
        dtype = self.kernel.param(name).dtype
        if dtype in BITS:
            return jnp.full(shape, 0xFFFF, jnp.uint16)
        return jnp.full(shape, -1 if dtype == "i32" else jnp.nan, DTYPES[dtype])


def trimmed(x: Array, shape: Shape) -> Array:
    """Without the padding."""
    return x if x.shape == shape else x[tuple(slice(0, n) for n in shape)]


def has_place(x: Any, where: Any) -> bool:
    if not isinstance(x, jax.Array):
        return False
    if isinstance(where, NamedSharding):
        return bool(x.sharding == where)
    return bool(x.devices() == {where})


def as_held(x: Any, dtype: str) -> Any:
    """As the program takes it: 16-bit floats as uint16 bits, everything else in its own type."""
    if isinstance(x, jax.Array) and x.dtype == (jnp.uint16 if dtype in BITS else DTYPES[dtype]):
        return x
    a = np.asarray(x)
    if a.ndim == 0:
        return a.astype(np.int32 if dtype == "i32" else np.float32)
    return a.view(np.uint16) if dtype in BITS else a.astype(DTYPES[dtype], copy=False)


@functools.lru_cache(maxsize=64)
def compile(kernel: Kernel) -> Executable:
    """The callable of a scheduled kernel; the same one for an equal kernel.

    Raises:
        ScheduleError: when the schedule does not hand every row the values of its own iteration.
    """
    return Executable(kernel)


def run(
    kernel: Kernel, given: Bound | Mapping[str, Any], devices: int | None = None
) -> dict[str, Any]:
    """The outputs of one call as numpy arrays (bf16 as ``ml_dtypes.bfloat16``).

    ``given`` is what ``lowering.inputs.bind`` returns, or arrays to bind.  ``devices`` bounds how
    many devices take part (None: all that are visible).
    """
    bound = given if isinstance(given, Bound) else bind(kernel, given)
    found = compile(kernel)({**bound.arrays, **bound.scalars}, devices)
    out = {}
    for name, x in found.items():
        a, dtype = np.asarray(x), kernel.param(name).dtype
        as_float = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
        out[name] = a.view(as_float[dtype]) if dtype in BITS else a
    return out


def reason(kernel: Kernel, arrays: Mapping[str, Any], devices: int | None = None) -> str:
    """Why the work is not spread over the devices, or ''."""
    return compile(kernel).program(arrays, devices).plan.reason


__all__ = ["Executable", "compile", "reason", "run"]
