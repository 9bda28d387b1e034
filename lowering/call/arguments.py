"""The arguments of a call by name.

In: a kernel, which of its parameters are inputs, positional and named arguments.  Out: ``Arguments``.
Invariant: positional arguments are the inputs in the order of the ``def``; an output that is given, by
name, says what it starts from; everything else that is named is a static parameter.
Non-goals: shapes, element types (``lowering/execute/inputs.py``).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowering.execute.access import DTYPES
from lowering.execute.inputs import check_names, declared
from pto import ir
from pto.errors import InputError, did_you_mean
from pto.kernel import Kernel
from pto.signature import Static
from pto.tracer import noun

HELD = {held: name for name, held in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Arguments:
    """Tensors and scalars of a call, and the static parameters that were given."""

    arrays: Mapping[str, Any]
    statics: Mapping[str, Static]


def named(
    kernel: Kernel, args: Sequence[Any], kwargs: Mapping[str, Any], inputs: Sequence[str]
) -> Arguments:
    """The arguments by name; ``inputs``: the parameters that are no plain outputs.

    Raises:
        InputError: too many, one that is given twice or that the kernel does not have, or a static
            parameter that JAX traces.
    """
    places = [n for n in kernel.positional if n in inputs]
    if len(args) > len(places):
        raise _too_many(kernel, inputs, places, len(args))
    arrays: dict[str, Any] = dict(zip(places[: len(args)], args, strict=True))
    statics: dict[str, Static] = {}
    for name, value in kwargs.items():
        if name in arrays:
            raise InputError(f"{kernel.name} is given '{name}' twice")
        if name in kernel.signature:
            arrays[name] = value
        elif name in kernel.statics:
            statics[name] = static(name, value, kernel.statics[name])
        else:
            known = [*kernel.signature, *kernel.statics]
            hint = did_you_mean(name, known, "it takes")
            raise InputError(f"{kernel.name} has no parameter '{name}'", hint=hint)
    return Arguments(arrays, statics)


def _too_many(
    kernel: Kernel, inputs: Sequence[str], places: Sequence[str], count: int
) -> InputError:
    takes = f"{len(places)} array{'s' * (len(places) != 1)} by position"
    message = f"{kernel.name} takes {takes} ({', '.join(places)}), {count} are given"
    by_name = [f"{n}=..." for n in kernel.signature if n in inputs and n not in places]
    hint = f"by name: {', '.join(by_name)}; " if by_name else ""
    hint += "outputs are returned (one given by name says what it starts from)"
    return InputError(message, hint=hint)


def static(name: str, value: Any, like: Static) -> Static:
    """The value of a static parameter; a dtype may be given as that of an array library.

    Raises:
        InputError: for what JAX traces, which has no value yet.
    """
    if is_traced(value):
        message = f"the static parameter '{name}' is traced by JAX, but its value makes the program"
        raise InputError(message, hint=f"give it as a Python number: static_argnames='{name}'")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(like, str) and not isinstance(value, str):
        return _dtype(name, value)
    if not isinstance(value, int | float | str):
        raise InputError(
            f"the static parameter '{name}' is {noun(value)}, one like {like!r} is expected"
        )
    return value


def _dtype(name: str, value: Any) -> str:
    try:  # torch's are no types of numpy, but are called alike
        is_torch = type(value).__module__.partition(".")[0] == "torch"
        return HELD[np.dtype(str(value).rpartition(".")[2] if is_torch else value)]
    except (TypeError, KeyError):
        message = f"the static parameter '{name}' is {noun(value)}, a word is expected"
        raise InputError(message, hint=f"one of {', '.join(DTYPES)}, for an element type") from None


def check_statics(kernel: Kernel, given: Mapping[str, Static]) -> None:
    """Raises InputError, about the call and not about the kernel, for values of a wrong type or that are
    no choice."""
    try:
        kernel.with_statics(given)
    except InputError as error:
        raise InputError(error.message, hint=error.hint) from None


def check_arrays(kernel: ir.Kernel, arrays: Mapping[str, Any]) -> None:
    """Every input is given, tensors as arrays.

    Raises:
        InputError: naming all that are missing, or what is no array.
    """
    check_names(kernel, arrays)
    for p in kernel.params:
        if p.name in arrays and p.shape is not None and not is_array(arrays[p.name]):
            raise no_array(p, arrays[p.name])


def no_array(p: ir.Param, found: Any) -> InputError:
    """``found`` is given for the tensor ``p``."""
    is_nested = isinstance(found, list | tuple)
    hint = f"np.asarray({p.name}, ...) makes an array of it" if is_nested else ""
    return InputError(f"{p.name} is {noun(found)}, but {declared(p)} is expected", hint=hint)


def check_traced(p: ir.Param, x: Any) -> None:
    """Raises InputError for what JAX traces that will be no number of a scalar parameter."""
    dtype = np.dtype(x.dtype)
    is_float = dtype.kind == "f" or dtype == DTYPES["bf16"]
    if x.shape or not (is_float or dtype.kind in "iu") or (p.dtype == "i32" and is_float):
        found = f"{x.dtype.name}{list(x.shape) if x.shape else ''}"
        raise InputError(f"{p.name} is {found}, but one {p.dtype} number is expected")


def is_array(x: Any) -> bool:
    """numpy's, JAX's, and what other libraries hand over by DLPack."""
    return isinstance(x, np.ndarray | np.generic) or is_jax(x) or hasattr(x, "__dlpack__")


def is_jax(x: Any) -> bool:
    """An array of JAX, or one that it traces.  Nothing is if nobody has imported JAX."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.Array)


def is_traced(x: Any) -> bool:
    """What JAX traces: it has a shape and a type, but no value yet."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.core.Tracer)
