"""A scheduled kernel as a JAX function.

In: an ``Executable`` (``lowering/jax_executor``) and the names of what it is given.  Out: a jitted function
of these arrays, in their own element types, to the tuple of its outputs.  It can stand inside of
``jit``, ``scan``, ``shard_map`` and ``eval_shape``; ``vmap`` runs the elements of the batch one after the
other; ``grad`` asks the function that the kernel names as its ``backward``.
Invariant: the same bits as the executor on numpy's arrays, whatever is around it.
Non-goals: the check of arguments.

*Batches are looped.*  A kernel is a loop over work items already, whose trip counts come from data;
a batched one would run every item as long as the longest, masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero

from lowering.execute.cases import Users
from lowering.jax_executor.executor import Executable
from lowering.jax_executor.machine import BITS, DTYPES, UNSIGNED, ZERO
from pto.errors import InputError
from pto.kernel import Kernel

Array = Any
Arrays = tuple[Array, ...]
Function = Callable[..., Arrays]


def function(kernel: Kernel, executable: Executable, names: Sequence[str]) -> Function:
    """The jitted function of the arrays ``names``, in this order."""
    outs = [p.name for p in executable.kernel.params if p.is_written]

    def run(*arrays: Array) -> Arrays:
        with jax.enable_x64(True):  # scalars have 64 bits (docs/scalars.md)
            found = computed(executable, dict(zip(names, arrays, strict=True)))
        return tuple(found[name] for name in outs)

    whole = differentiable(Derivative(kernel, tuple(names), tuple(outs)), looped(run, len(outs)))

    def named(*arrays: Array) -> Arrays:
        return whole(*arrays)

    named.__name__ = named.__qualname__ = kernel.name  # what a jaxpr and a profile call it
    return jax.jit(named)


@contextmanager
def as_ever() -> Iterator[None]:
    """A kernel is one operation, whatever a caller asks JAX to do with his own: run it step by step,
    stop at NaN (which stands where no work item has stored), promote no types, move nothing."""
    with (
        jax.disable_jit(False),
        jax.debug_nans(False),
        jax.numpy_dtype_promotion("standard"),
        jax.transfer_guard("allow"),
    ):
        yield


def computed(executable: Executable, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs on tracers, each in the element type of its parameter."""
    dtype = {p.name: p.dtype for p in executable.kernel.params}
    outs = [p.name for p in executable.kernel.params if p.is_written]
    held = {
        n: lax.bitcast_convert_type(x, jnp.uint16) if n in outs and dtype[n] in BITS else x
        for n, x in arrays.items()
    }
    found = executable.outputs({**held, ZERO: zero(held.values())}, executable.dims(held))
    return {
        n: lax.bitcast_convert_type(x, DTYPES[dtype[n]]) if dtype[n] in BITS else x
        for n, x in found.items()
    }


def zero(arrays: Any) -> Array:
    """0, made of the arrays such that no compiler can know it (``lowering/jax_executor/machine.py``):
    three divides n (n - 1) (n + 1)."""
    for x in arrays:
        if x.size:
            first = x.reshape(-1)[0]
            n = lax.bitcast_convert_type(first, UNSIGNED[x.dtype.itemsize]).astype(jnp.int32) & 1023
            return (n * n * n - n) % 3
    return jnp.int32(0)


# ----------------------------------------------------------------------------------------- vmap


def looped(run: Function, outs: int) -> Function:
    """``run`` under ``vmap``: one element of the batch after the other."""
    mapped = custom_vmap(run)

    @mapped.def_vmap
    def over(size: int, batched: Sequence[bool], *arrays: Array) -> tuple[Arrays, tuple[bool, ...]]:
        def one(own: Sequence[Array]) -> Arrays:
            mine = iter(own)
            result: Arrays = mapped(
                *(next(mine) if b else x for b, x in zip(batched, arrays, strict=True))
            )
            return result

        each = [x for b, x in zip(batched, arrays, strict=True) if b]
        if not each:  # as for the gradient of what the batch does not change
            return run(*arrays), (False,) * outs
        return lax.map(one, each), (True,) * outs

    result: Function = mapped
    return result


# ----------------------------------------------------------------------------------------- grad


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("arrays", "outputs"),
    meta_fields=("asked",),
)
@dataclass(frozen=True)
class Kept:
    """What the way back needs: inputs and outputs, and which inputs are differentiated."""

    arrays: Arrays
    outputs: Arrays
    asked: tuple[bool, ...]


@dataclass(frozen=True)
class Derivative:
    """The gradient that a kernel names, for inputs ``names`` and outputs ``outs``."""

    kernel: Kernel
    names: tuple[str, ...]
    outs: tuple[str, ...]

    def back(self, kept: Kept, given: Sequence[Array]) -> tuple[Array | None, ...]:
        """The gradient of each input, None where none is asked for."""
        user = self.users()
        towards = {
            f"d_{n}": jnp.zeros(g.shape, g.dtype) if isinstance(g, SymbolicZero) else g
            for n, g in zip(self.outs, given, strict=True)
        }
        values = dict(zip(self.names, kept.arrays, strict=True))
        results = dict(zip(self.outs, kept.outputs, strict=True))
        found = dict(user.mapping(user.called({**values, **results, **towards})))
        asked = [n for n, a in zip(self.names, kept.asked, strict=True) if a]
        self.check(found, values, asked)
        return tuple(found[n].astype(x.dtype) if n in asked else None for n, x in values.items())

    def users(self) -> Users:
        """The function that the kernel names.

        Raises:
            InputError: it names none.
        """
        if self.kernel.gradient is None:
            message = f"{self.kernel.name} has no gradient: it names no backward kernel"
            towards = ", ".join(f"d_{n}" for n in self.outs)
            hint = f"@{self.kernel.name}.backward above a function of inputs, outputs and {towards}"
            raise InputError(message, hint=f"{hint} that returns gradients by name")
        return Users(self.kernel.gradient, f"the backward of {self.kernel.name}")

    def check(
        self, found: Mapping[str, Any], values: Mapping[str, Array], asked: Sequence[str]
    ) -> None:
        """Raises InputError for a gradient that is missing, or of another shape than its input."""
        user = self.users()
        for name in found:
            if name not in values:
                raise user.wrong(f"returns '{name}', which is no input")
        for name in asked:
            if name not in found:
                raise user.wrong(f"returns no gradient of '{name}', which is asked for")
            shape, want = jnp.shape(found[name]), jnp.shape(values[name])
            if shape != want:
                raise user.wrong(
                    f"returns shape {list(shape)} for '{name}', which has {list(want)}"
                )


def differentiable(derivative: Derivative, run: Function) -> Function:
    """``run`` with the gradient of its kernel, asked for where one is needed."""
    whole = jax.custom_vjp(run)

    def there(*given: Any) -> tuple[Arrays, Kept]:
        derivative.users()
        arrays = tuple(x.value for x in given)
        outputs = run(*arrays)
        return outputs, Kept(arrays, outputs, tuple(bool(x.perturbed) for x in given))

    whole.defvjp(there, derivative.back, symbolic_zeros=True)
    result: Function = whole
    return result
