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
  that the stores show which; every device holds all inputs, so there are no collectives.

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
from lowering.flow import Part, Repeat, Step
from lowering.inputs import Bound, bind
from lowering.jax_machine import BITS, DTYPES, Array, Machine, is_item_loop
from pto.errors import InputError
from pto.ir import Const, Kernel, Span, View, evaluate, names_in, substitute

Shape = tuple[int, ...]
AXIS = "items"
"""The mesh axis that work items are spread over."""

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
