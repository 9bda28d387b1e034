"""Runs a scheduled program in JAX, under ``jit``, at real sizes.

In: a scheduled kernel and arrays (``lowering/execute/inputs.py`` binds and validates them: JAX clamps what
is out of bounds).  Out: the output arrays by name.

The way from one to the other, each module with one job:

======================  ==========================================================================
``values/unscheduled``  schedule -> values: each operand is what one row of one iteration defined
``balance``             which device runs which work items, by the work they hold
``machine``             values -> JAX operations: one environment loop, one rule table
``pages``               memory of the host in which inputs lie
``executor``            programs by shape, devices, numpy in and out (here)
======================  ==========================================================================

Slots, FIFOs and the skew between rows move data in time only; a jitted program has no pipes to
overlap, so all rows of one iteration run together.  Nothing is guarded, peeled or carried
for the sake of the schedule: a loop carries only values that change in it and are read later.

How it is fast, for every kernel alike:

* one ``fori_loop`` over work items: ragged work is skipped, not masked;
* a loop is cut where its partial views begin: the first part runs while every view is whole (and
  every ``where`` keeps all columns) and has no masks at all, the second part has them;
* 16-bit floats are passed as their bits: otherwise XLA converts whole tensors outside the loop;
* inputs that come from the host lie in large pages of memory (``pages``);
* on CPUs programs are compiled for vectors as wide as AVX-512 has them (``WIDE``);
* with several devices, work items are dealt whenever inputs are placed.  Every device holds all
  inputs and writes to outputs of its own, which the host joins, so there are no collectives.

Elements that no store reaches have all bits set (NaN, -1 in integers), as in the other executors.
That is also how outputs are joined: the bits of all devices, and-ed.
Non-goals: detecting races or bad bounds, timing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lowering.execute.inputs import Bound, bind
from lowering.execute.said import Heard
from lowering.jax_executor.balance import Items, items_of
from lowering.jax_executor.machine import BITS, DTYPES, UNSIGNED, ZERO, Array, Machine
from lowering.jax_executor.pages import in_large_pages
from lowering.values.unscheduled import unscheduled
from pto.dead_rows import watches
from pto.errors import InputError
from pto.ir import Kernel, Row, View, all_rows, as_span
from pto.types import DTYPE_BYTES

Shape = tuple[int, ...]
HostArray = np.ndarray[Any, Any]
AXIS = "devices"
"""The mesh axis that work items are spread over."""


@dataclass
class Program:
    """One jitted program: for fixed shapes and devices.

    ``where`` is the place of its inputs, ``tables`` that of the table of work items, one line on
    each device.  Where ``items`` is None one device runs all of them; ``reason`` says why.
    """

    call: Callable[..., dict[str, Array]]
    where: Any
    items: Items | None = None
    tables: Any = None
    reason: str = ""


@dataclass(frozen=True)
class Placed:
    """The arguments of a program, where it wants them."""

    program: Program
    arrays: dict[str, Array]
    table: Array

    def __call__(self) -> dict[str, Array]:
        with jax.enable_x64(True):
            if self.table is None:
                return self.program.call(self.arrays)
            found = self.program.call(self.arrays, self.table)
        return {name: joined(on_each(x), self.arrays.get(name)) for name, x in found.items()}


def on_each(x: jax.Array) -> list[HostArray]:
    """What every device has made, on the host."""
    return [np.asarray(x.addressable_data(d))[0] for d in range(len(x))]


def joined(parts: Sequence[HostArray], start: Array | None) -> HostArray:
    """What any of the devices has written; the others still have ``start`` there (None: all bits)."""
    kind = parts[0].dtype
    found = [p.view(f"u{kind.itemsize}") for p in parts]
    whole: HostArray
    if start is None:
        whole = functools.reduce(np.bitwise_and, found)
    else:
        before = np.asarray(start).view(found[0].dtype)
        whole = functools.reduce(np.bitwise_or, [x ^ before for x in found]) ^ before
    return whole.view(kind)


class Executable:
    """A compiled kernel: call it with arrays by parameter name (16-bit floats as uint16 bits).

    Programs are kept by shapes; ``traces`` counts how often one was traced, ``heard`` is what rows have said that only
    watch.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.values = unscheduled(kernel)
        self.programs: dict[Any, Program] = {}
        self.traces = 0
        self.heard = Heard()

    def __call__(
        self, arrays: Placed | Mapping[str, Any], devices: int | None = None
    ) -> dict[str, Array]:
        """The outputs: on the device, or on the host if there are several devices."""
        placed = arrays if isinstance(arrays, Placed) else self.place(arrays, devices)
        return placed()

    def place(
        self, arrays: Mapping[str, Any], devices: int | None = None, starts: Collection[str] = ()
    ) -> Placed:
        """The inputs where the program wants them, and the work items dealt to the devices.

        ``starts``: outputs that start from what ``arrays`` holds.  Nothing moves that is there
        already.  A later call with the result skips all of this.
        """
        program = self.program(arrays, devices)
        names = [p.name for p in self.kernel.params if p.direction != "out" or p.name in starts]
        held = {n: as_held(arrays[n], self.kernel.param(n).dtype) for n in names}
        where = program.where
        found = {n: put_where(x, where) for n, x in held.items()}
        found[ZERO] = jax.device_put(np.int32(0), where)
        table = program.items and program.items.table(held, program.tables.mesh.size)
        return Placed(program, found, jax.device_put(table, program.tables))

    def alone(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        """The outputs, on the one device where ``arrays`` lie."""
        with jax.enable_x64(True):
            return self.program(arrays, 1).call({**arrays, ZERO: np.int32(0)})

    def program(self, arrays: Mapping[str, Any], devices: int | None = None) -> Program:
        count = min(devices or len(jax.devices()), len(jax.devices()))
        dims = self.dims(arrays)
        key = (tuple(dims.items()), count)
        if key not in self.programs:
            self.programs[key] = self.build(dims, count)
        return self.programs[key]

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
        def call(arrays: dict[str, Array], table: Array = None) -> dict[str, Array]:
            """Of all work items, or on one device of several those in its line of the table."""
            if table is None:
                return self.outputs(arrays, dims)
            return {n: x[None] for n, x in self.outputs(arrays, dims, table[0]).items()}

        items = items_of(self.values, dims) if devices > 1 else "there is only one"
        if isinstance(items, str):
            return Program(jitted(call), jax.devices()[0], reason=f"one device: {items}")
        mesh = Mesh(np.array(jax.devices()[:devices]), (AXIS,))
        spread, everywhere = PartitionSpec(AXIS), PartitionSpec()  # type: ignore[no-untyped-call]
        mapped = jax.shard_map(
            call, mesh=mesh, in_specs=(everywhere, spread), out_specs=spread, check_vma=False
        )
        where, tables = NamedSharding(mesh, everywhere), NamedSharding(mesh, spread)
        return Program(jitted(mapped), where, items, tables)

    def outputs(
        self, arrays: Mapping[str, Array], dims: Mapping[str, int], table: Array = None
    ) -> dict[str, Array]:
        """The outputs of all work items (of the ``table``), on tracers, 16-bit floats as their bits.
        Outputs among ``arrays`` start from what they hold."""
        self.traces += 1
        held = self.padded(arrays, dims)
        outs = [p.name for p in self.kernel.params if p.is_written]
        starts = {n: held[n] if n in held else self.unwritten(n, self.room(n, dims)) for n in outs}
        found = Machine(self.values, dims, self.hear).run(held, starts, table)
        return {n: trimmed(x, self.shape(n, dims)) for n, x in found.items()}

    def hear(self, row: Row, values: Sequence[Any]) -> None:
        """Numbers come as arrays without dimensions."""
        found = [np.asarray(x) for x in values]
        self.heard.hear(row, [x if x.ndim else x.item() for x in found])

    def room(self, name: str, dims: Mapping[str, int]) -> Shape:
        """The shape of a tensor, no dimension smaller than any view of it."""
        shape = list(self.shape(name, dims))
        for row in all_rows(self.values.body):
            for a in (row.out, *row.args):
                if isinstance(a, View) and a.tensor == name:
                    for axis, item in enumerate(a.index):
                        shape[axis] = max(shape[axis], as_span(item).reach)
        return tuple(shape)

    def padded(self, arrays: Mapping[str, Array], dims: Mapping[str, int]) -> dict[str, Array]:
        """The arrays with zeros behind them where a view is larger than its tensor."""
        out = dict(arrays)
        for name, x in arrays.items():
            room = self.room(name, dims) if x.ndim else ()
            if room != x.shape:
                out[name] = jnp.pad(x, [(0, r - s) for r, s in zip(room, x.shape, strict=True)])
        return out

    def unwritten(self, name: str, shape: Shape) -> Array:
        """All bits set."""
        dtype = self.kernel.param(name).dtype
        size = DTYPE_BYTES[dtype]
        ones = jnp.full(shape, (1 << 8 * size) - 1, UNSIGNED[size])
        return ones if dtype in BITS else lax.bitcast_convert_type(ones, DTYPES[dtype])


WIDE = {"xla_cpu_prefer_vector_width": 512}
"""How programs are compiled on CPUs; XLA alone takes vectors of 256 bits where there are 512.

``paged_attention`` (16 requests, each a context of 8192) takes 12.8 ms instead of 13.8 on one device and 6.7
instead of 7.4 on two, ``gemm`` as long as before, ``rmsnorm`` 3 % longer.  A CPU without AVX-512 gets
the same machine code with the option as without.  Bits do not depend on it: no order of rounding is left to
the compiler (``machine``).  So they are the same under a caller's ``jax.jit``, which compiles without.
"""


def jitted(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call`` as a program of its own: never inside of another ``jax.jit``, which refuses options."""
    return jax.jit(call, compiler_options=options(jax.default_backend()))


@functools.cache
def options(backend: str) -> dict[str, Any] | None:
    """Those of ``WIDE``, where XLA knows them; an option that it does not know is an error."""
    if backend != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=WIDE).lower().compile()
    except jax.errors.JaxRuntimeError:
        return None
    return WIDE


def trimmed(x: Array, shape: Shape) -> Array:
    """Without the padding."""
    return x if x.shape == shape else x[tuple(slice(0, n) for n in shape)]


def put_where(x: Any, where: Any) -> jax.Array:
    """``x`` there; on the host in memory that streams well, unless JAX holds it already."""
    if isinstance(x, np.ndarray) and jax.default_backend() == "cpu":
        x = in_large_pages(x)
    found: jax.Array = x if has_place(x, where) else jax.device_put(x, where)
    return found


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
    kernel: Kernel,
    given: Bound | Mapping[str, Any],
    devices: int | None = None,
    *,
    heard: Heard | None = None,
) -> dict[str, Any]:
    """The outputs of one call as numpy arrays (bf16 as ``ml_dtypes.bfloat16``).

    ``given`` is what ``lowering.inputs.bind`` returns, or arrays to bind.  ``devices`` bounds how
    many devices take part (None: all that are visible).  ``heard`` hears what rows say that only watch.
    """
    executable = compile(kernel)
    executable.heard = Heard() if heard is None else heard
    outputs = executed(
        executable, given if isinstance(given, Bound) else bind(kernel, given), devices
    )
    if watches(kernel.body):
        jax.effects_barrier()  # type: ignore[no-untyped-call]
    return outputs


def executed(executable: Executable, bound: Bound, devices: int | None = None) -> dict[str, Any]:
    """The outputs of one call as numpy arrays."""
    found = executable.place({**bound.arrays, **bound.scalars}, devices, bound.starts)()
    out = {}
    for name, x in found.items():
        a, dtype = np.asarray(x), executable.kernel.param(name).dtype
        as_float = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
        out[name] = a.view(as_float[dtype]) if dtype in BITS else a
    return out


def reason(kernel: Kernel, arrays: Mapping[str, Any], devices: int | None = None) -> str:
    """Why the work is not spread over the devices, or ''."""
    return compile(kernel).program(arrays, devices).reason
