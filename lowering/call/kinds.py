"""Whose arrays a call is given: results come in the same kind.

In: the arguments of a call by name.  Out: a ``Kind``: how the executor gets them, and how a result goes back.
Arrays of numpy may stand beside those of one other library, whose kind the results have then; what is
neither numpy's nor JAX's comes and goes by DLPack, without a copy.
Non-goals: shapes and element types.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowering.call.arguments import is_array, is_jax, is_traced
from lowering.execute.inputs import native
from pto.errors import InputError
from pto.tracer import noun

NUMPY, JAX = "numpy", "jax"

PLATFORMS = {1: "cpu", 2: "gpu", 3: "cpu", 10: "gpu"}
"""DLPack's number of a kind of device -> what JAX calls it: CPU, CUDA, pinned memory, ROCm."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A library of arrays: ``take(name, array)`` for the executor, ``give(result)`` to the caller."""

    library: str
    take: Callable[[str, Any], Any]
    give: Callable[[Any], Any]

    @property
    def is_numpy(self) -> bool:
        return self.library == NUMPY


def kind_of(arguments: Mapping[str, Any]) -> Kind:
    """The kind of a call with these arguments, of which numbers may be no arrays.

    Raises:
        InputError: for arrays of two libraries beside numpy, or of one that takes no results back.
    """
    libraries: dict[str, str] = {}
    for name, x in arguments.items():
        if isinstance(x, np.ma.MaskedArray):
            message = f"{name} is a masked array, but a kernel takes no mask"
            raise InputError(message, hint=f"{name}.filled(...) says what stands in its place")
        if is_array(x):
            libraries.setdefault(library_of(x), name)
    libraries.pop(NUMPY, None)
    if not libraries:
        return Kind(NUMPY, lambda name, x: native(x), writable)
    if len(libraries) > 1:
        (one, first), (two, second), *_ = libraries.items()
        message = f"{first} is an array of {one} and {second} one of {two}"
        raise InputError(message, hint="give arrays of one library, or of numpy beside it")
    ((library, name),) = libraries.items()
    if library == JAX:
        return Kind(JAX, alive, lambda x: x)
    return Kind(library, shared, _giver(arguments[name], library))


def library_of(x: Any) -> str:
    """The name of the package that an array is of."""
    if isinstance(x, np.ndarray | np.generic):
        return NUMPY
    return JAX if is_jax(x) else type(x).__module__.partition(".")[0]


def writable(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The caller's own: memory that JAX holds cannot be written."""
    return x if x.flags.writeable else x.copy()


def alive(name: str, x: Any) -> Any:
    """Raises InputError for an array of JAX whose memory is gone; numpy's in the order of this machine."""
    if isinstance(x, np.ndarray | np.generic):
        return native(x)
    if is_jax(x) and not is_traced(x) and x.is_deleted():
        raise InputError(f"{name} was deleted, or donated to a call before this one")
    return x


def _giver(x: Any, library: str) -> Callable[[Any], Any]:
    """What makes an array of this library of a result."""
    known = hasattr(x, "__array_namespace__")
    namespace = x.__array_namespace__() if known else sys.modules.get(library)
    give: Callable[[Any], Any] | None = getattr(namespace, "from_dlpack", None)
    if give is None:
        message = f"results cannot be arrays of {library}, which has no from_dlpack"
        raise InputError(message, hint="give arrays of numpy, JAX or torch")
    return give


def shared(name: str, x: Any) -> Any:
    """An array of another library as one of JAX, with the same memory where that is possible.

    Raises:
        InputError: for a device that JAX has not got here, or what cannot be shared.
    """
    if isinstance(x, np.ndarray | np.generic):
        return native(x)
    import jax

    if _platform(x) not in {d.platform if d.platform == "cpu" else "gpu" for d in _devices()}:
        there = ", ".join(sorted({d.platform for d in jax.devices()}))
        where = getattr(x, "device", "another device")
        message = f"{name} is on the device {where}; JAX has none like it here, only {there}"
        raise InputError(message, hint=f"move it: {name}.cpu()")
    try:
        compact = x.contiguous() if hasattr(x, "contiguous") else x  # JAX shares no other
        with jax.enable_x64(True):  # an element type of 64 bits is told, not changed
            return jax.dlpack.from_dlpack(compact)
    except Exception as error:  # whatever the other library may raise
        said = " ".join(str(error).split())
        message = f"{name} is {noun(x)} of {library_of(x)} that cannot be shared: {said}"
        raise InputError(message) from error


def _platform(x: Any) -> str:
    """What JAX calls the kind of device that an array is on, '' if it has no name for it."""
    try:
        return PLATFORMS.get(int(x.__dlpack_device__()[0]), "")
    except (ValueError, RuntimeError, BufferError):  # a device that DLPack has no number for
        return ""


def _devices() -> list[Any]:
    """Those of the default platform, and the host, which JAX always has."""
    import jax

    return [*jax.devices(), *jax.devices("cpu")]
