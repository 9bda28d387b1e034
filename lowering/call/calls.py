"""What the calls of a kernel have made: traces by static parameters, programs, JAX functions.

In: a kernel and the arguments of a call.  Out: its outputs: one, or a named tuple of several.
Invariant: a call does again only what its arguments can have changed; arguments of known types and
shapes are looked up, integers that the program reads are checked when they differ from the last ones.
Non-goals: the executor's own time.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lowering.call.arguments import (
    Arguments,
    check_arrays,
    check_statics,
    check_traced,
    is_array,
    is_traced,
    named,
    no_array,
)
from lowering.call.kinds import Kind, kind_of
from lowering.execute.access import DTYPES
from lowering.execute.cases import statics_from, traced_with
from lowering.execute.facts import check_facts
from lowering.execute.inputs import (
    Bound,
    Shown,
    Sizes,
    bound,
    fitted,
    held,
    measured,
    scalar,
    validate,
)
from lowering.schedule import Schedule, schedule
from pto import ir
from pto.arithmetic import Number
from pto.errors import InputError, PtoError
from pto.kernel import Kernel
from pto.signature import Static

if TYPE_CHECKING:
    from lowering.call.function import Function
    from lowering.jax_executor.executor import Executable
    from lowering.schedule.statics import Chooser

Statics = tuple[tuple[str, str], ...]
"""Static parameters by name, as Python writes them: 0.0 is not -0.0, and nan is nan."""


@dataclass
class Program:
    """A kernel traced for static parameters: its schedule, and what runs it; each made when it is
    first asked for."""

    kernel: Kernel
    traced: ir.Kernel
    functions: dict[tuple[str, ...], Function] = field(default_factory=dict)

    @cached_property
    def schedule(self) -> Schedule:
        return schedule(self.traced)

    @cached_property
    def executable(self) -> Executable:
        from lowering.jax_executor import compile

        return compile(self.schedule.kernel)

    @cached_property
    def result(self) -> Callable[[Sequence[Any]], Any]:
        """What a call returns: the only output, or a tuple of all with their names."""
        outs = tuple(p.name for p in self.traced.params if p.is_written)
        return several(self.traced.name, outs)._make if len(outs) > 1 else lambda given: given[0]

    def function(self, names: tuple[str, ...]) -> Function:
        """The JAX function of the arrays ``names``."""
        if names not in self.functions:
            from lowering.call.function import function

            self.functions[names] = function(self.kernel, self.executable, names)
        return self.functions[names]


@cache
def several(name: str, outs: tuple[str, ...]) -> Any:
    """The type of several results, one for all kernels of this name and outputs: JAX compares types."""
    make: Any = namedtuple
    made = make(name, outs, rename=True)
    made.__reduce__ = lambda self: (rebuilt, (name, outs, tuple(self)))
    return made


def rebuilt(name: str, outs: tuple[str, ...], results: Sequence[Any]) -> Any:
    """Several results that were pickled."""
    return several(name, outs)(*results)


@dataclass
class Call:
    """Calls with arguments of one shape, type and kind: ``names`` of what is given, in order."""

    program: Program
    kind: Kind
    names: tuple[str, ...]
    sizes: Sizes
    checked: tuple[Mapping[str, np.ndarray[Any, Any]], Mapping[str, Number]] | None = None
    """Integers and scalars of the last call that was checked."""

    def __call__(self, arrays: Mapping[str, Any]) -> Any:
        """The outputs for these arrays and scalars.

        Raises:
            InputError: a scalar that is no number of its type, or contents that lead out of a tensor.
        """
        kernel = self.program.traced
        scalars: dict[str, Number] = {}
        for p in kernel.params:
            if p.shape is None:
                if is_traced(arrays[p.name]):
                    check_traced(p, arrays[p.name])
                else:
                    scalars[p.name] = scalar(p, arrays[p.name])
        taken = {n: arrays[n] for n in self.names if n not in scalars}
        if any(map(is_traced, taken.values())):
            fitted(kernel, _shown(taken), scalars)  # what is required of scalars
            results = self._in_jax(taken, scalars)
        elif self.kind.is_numpy:
            results = self._in_numpy(taken, scalars)
        else:
            self._check(self._contents(taken, scalars))
            results = self._on_host(taken, scalars) or self._in_jax(taken, scalars)
            if any(isinstance(x, np.ndarray) for x in taken.values()):
                results[0].block_until_ready()  # before the caller changes these arrays
        return self.program.result([self.kind.give(x) for x in results])

    def _in_jax(self, taken: Mapping[str, Any], scalars: Mapping[str, Number]) -> Sequence[Any]:
        dtypes = {p.name: DTYPES[p.dtype] for p in self.program.traced.params}
        traced = {n: x.astype(dtypes[n]) for n, x in taken.items() if not x.ndim}
        both = {**taken, **traced, **self._numbers(scalars)}
        return self.program.function(self.names)(*(both[n] for n in self.names))

    def _numbers(self, scalars: Mapping[str, Number]) -> dict[str, Any]:
        return {n: DTYPES[self.program.traced.param(n).dtype].type(x) for n, x in scalars.items()}

    def _on_host(
        self, taken: Mapping[str, Any], scalars: Mapping[str, Number]
    ) -> Sequence[Any] | None:
        """On arrays in the host's memory, the executor's own program; None where they are elsewhere."""
        from lowering.call.host import as_bits, as_held, host_of

        device = host_of(taken.values())
        if device is None:
            return None
        arrays = as_bits(taken, device)
        found = self.program.executable.alone({**arrays, **self._numbers(scalars)})
        outs = [p for p in self.program.traced.params if p.is_written]
        return [as_held(found[p.name], p.dtype, device) for p in outs]

    def _in_numpy(self, taken: Mapping[str, Any], scalars: Mapping[str, Number]) -> Sequence[Any]:
        from lowering.jax_executor.executor import executed

        kernel = self.program.traced
        arrays = {n: held(kernel.param(n), x) for n, x in taken.items()}
        call = bound(kernel, self.sizes, arrays, scalars)
        self._check(call)
        found = executed(self.program.executable, call)
        return [found[p.name] for p in kernel.params if p.is_written]

    # contents

    def _contents(self, taken: Mapping[str, Any], scalars: Mapping[str, Number]) -> Bound:
        """What ``validate`` looks at: integers, and of all else the shape."""
        kernel = self.program.traced
        tensors = {
            n: np.asarray(x)
            if kernel.param(n).dtype == "i32"
            else np.broadcast_to(np.zeros((), DTYPES[kernel.param(n).dtype]), x.shape)
            for n, x in taken.items()
        }
        return bound(kernel, self.sizes, tensors, scalars)

    def _check(self, given: Bound) -> None:
        """Every access of every work item, unless the call before had the same numbers."""
        integers = {
            n: a
            for n, a in given.arrays.items()
            if a.dtype.kind == "i" and (given.directions[n] == "in" or n in given.starts)
        }
        if self.checked is not None:
            before, scalars = self.checked
            same = all(np.array_equal(a, before[n]) for n, a in integers.items())
            if same and scalars == given.scalars:
                return
        fitted(self.program.traced, _shown(given.arrays), given.scalars)
        check_facts(self.program.traced, given.arrays, given.dims)
        validate(self.program.traced, given)
        self.checked = {n: a.copy() for n, a in integers.items()}, given.scalars


@dataclass
class Calls:
    """Of one kernel: its programs by static parameters, its calls by what their arguments are."""

    programs: dict[Statics, Program] = field(default_factory=dict)
    calls: dict[object, Call] = field(default_factory=dict)
    chooser: Chooser | None = None
    """Of tuned static parameters, when it is first asked for."""
    inputs: tuple[str, ...] | None = None
    """Of the last trace: the parameters that are no plain outputs."""

    def program(
        self, kernel: Kernel, statics: Mapping[str, Static], given: Mapping[str, Static]
    ) -> Program:
        """The kernel traced for ``statics``, of which those not ``given`` were read off arrays."""
        key = tuple(sorted((n, repr(x)) for n, x in kernel.with_statics(statics).items()))
        if key not in self.programs:
            self.programs[key] = Program(kernel, traced_with(kernel, statics, given))
        return self.programs[key]

    def named(
        self, kernel: Kernel, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Arguments, Program, Kind]:
        """The arguments by name, the kernel traced for them, and whose arrays they are.

        Which parameters are outputs only a trace tells, and it may depend on static parameters that
        the arguments show: so what is assumed is compared with what was traced.
        """
        inputs = self.inputs or self._by_default(kernel)
        for _ in kernel.signature:
            given = named(kernel, args, kwargs, inputs)
            check_statics(kernel, given.statics)
            kind = kind_of(given.arrays)
            arguments = taken(given, kind)
            shown = _shown(arguments.arrays)
            statics: Mapping[str, Static] = statics_from(kernel, shown, arguments.statics)
            if kernel.tuned:
                statics = self._tuned(kernel, statics, arguments.statics, shown)
            program = self.program(kernel, statics, arguments.statics)
            self.inputs = inputs_of(program.traced)
            if self.inputs == inputs:
                break
            inputs = self.inputs
        return arguments, program, kind

    def _tuned(
        self,
        kernel: Kernel,
        statics: Mapping[str, Static],
        given: Mapping[str, Static],
        shown: Mapping[str, Shown],
    ) -> Mapping[str, Static]:
        """``statics`` with those that are chosen for arrays of such shapes."""
        from lowering.schedule.statics import Chooser

        if self.chooser is None:
            self.chooser = Chooser(kernel, lambda x: self.program(kernel, x, {}).traced)
        sizes, _ = measured(self.program(kernel, statics, given).traced, shown)
        return self.chooser.completed(statics, sizes)

    def lowered(self, kernel: Kernel, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Program:
        """The program for arrays or shapes, of which any may be left out."""
        arguments, program, _ = self.named(kernel, args, kwargs)
        shown = _shown(arguments.arrays)
        measured(program.traced, shown)
        for p in program.traced.params:
            given = arguments.arrays.get(p.name)
            if p.name in shown and p.shape is None:
                check_traced(p, shown[p.name])
            elif p.name in arguments.arrays and p.shape is None:
                scalar(p, given)
            elif p.name in arguments.arrays and p.name not in shown:
                raise no_array(p, given)
        return program

    def _by_default(self, kernel: Kernel) -> tuple[str, ...]:
        """The inputs for the defaults of the static parameters, or all parameters if these cannot
        be traced."""
        try:
            return inputs_of(self.program(kernel, {}, {}).traced)
        except PtoError:
            return tuple(kernel.signature)

    def call(
        self, kernel: Kernel, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Call, Arguments]:
        """What runs a call with such arguments, and the arguments by name."""
        arguments, program, kind = self.named(kernel, args, kwargs)
        check_arrays(program.traced, arguments.arrays)
        names = tuple(p.name for p in program.traced.params if p.name in arguments.arrays)
        sizes = fitted(program.traced, _shown(arguments.arrays), {})
        return Call(program, kind, names, sizes), arguments


def calls_of(kernel: Kernel) -> Calls:
    """Kept with the kernel: they hold it, so a table outside of it would keep both for ever."""
    found: Calls = vars(kernel).setdefault("_calls", Calls())
    return found


def call(kernel: Kernel, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The outputs of ``kernel``.  Where JAX traces, what is known already is computed at once.

    Raises:
        PtoError: for arguments that do not fit, without a place; for a mistake in the kernel, at it.
    """
    if any(map(is_traced, (*args, *kwargs.values()))):
        return called(kernel, args, kwargs)
    import jax

    if not jax.sharding.get_abstract_mesh().empty:
        with ThreadPoolExecutor(1) as apart:  # a thread has none of the caller's mesh
            return apart.submit(called, kernel, args, kwargs).result()
    with jax.ensure_compile_time_eval():
        return called(kernel, args, kwargs)


def called(kernel: Kernel, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """``call``, of which JAX traces an argument, or nothing."""
    known = calls_of(kernel)
    key = (
        tuple(map(_like, args)),
        tuple((n, _static(x) if n in kernel.statics else _like(x)) for n, x in kwargs.items()),
    )
    found = known.calls.get(key)
    if found is None:
        found, arguments = known.call(kernel, args, kwargs)
        known.calls[key] = found
    else:
        arguments = taken(named(kernel, args, kwargs, inputs_of(found.program.traced)), found.kind)
    from lowering.call.function import as_ever

    with as_ever():
        return found(arguments.arrays)


def taken(arguments: Arguments, kind: Kind) -> Arguments:
    """The same arguments, as the executor gets them."""
    arrays = {n: kind.take(n, x) if is_array(x) else x for n, x in arguments.arrays.items()}
    return replace(arguments, arrays=arrays)


def inputs_of(kernel: ir.Kernel) -> tuple[str, ...]:
    """The parameters that a call must give."""
    return tuple(p.name for p in kernel.params if p.direction != "out")


def _like(x: Any) -> object:
    """What is the same for arguments that can be called alike."""
    return (type(x), tuple(x.shape), x.dtype) if is_array(x) else type(x)


def _static(x: Any) -> object:
    return type(x), repr(x)


def _shown(arrays: Mapping[str, Any]) -> dict[str, Shown]:
    """Shapes and types of what has them."""
    return {
        n: Shown(tuple(x.shape), _dtype(n, x.dtype))
        for n, x in arrays.items()
        if hasattr(x, "shape") and hasattr(x, "dtype")
    }


def _dtype(name: str, dtype: Any) -> np.dtype[Any]:
    """Raises InputError for elements that numpy has no type for, as keys of random numbers."""
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise InputError(f"{name} holds {dtype}, which are no numbers of a kernel") from None
    return found
