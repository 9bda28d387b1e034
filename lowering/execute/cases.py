"""The arrays of one run: read or drawn, the outputs of the kernel's reference, files.

In: a kernel of the language (or a program read from text) and arrays by parameter name.
Out: static parameters read off the arrays, the outputs that its reference gives.
Non-goals: the check of the arrays' shapes and contents (``lowering/execute/inputs.py``), what is right
(``lowering/execute/judge.py``).
"""

from __future__ import annotations

import inspect
import io
import re
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from lowering.execute.access import DTYPES, Array
from lowering.execute.inputs import Bound, Shown, native, no_number
from lowering.programs import Program, assignments, case_options, traced, typed, users_code
from pto import ir, source
from pto.errors import InputError, PtoError, did_you_mean
from pto.kernel import Kernel
from pto.signature import Static
from pto.tracer import noun
from pto.types import INTEGERS

Arrays = dict[str, Any]

# ------------------------------------------------------------------------------------- files


def read_inputs(path: Path) -> Arrays:
    """The arrays of a ``.npz`` file by name.

    Raises:
        InputError: when the file is no such archive.
    """
    hint = "write it with np.savez(path, name=array, ...)"
    try:
        archive = np.load(path, allow_pickle=False)
    except UNREADABLE:
        raise InputError(f"{path} is not a .npz file of plain arrays", hint=hint) from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise InputError(f"{path} holds one array without a name", hint=hint)
    with archive:
        return {name: _read_array(path, archive, name) for name in archive.files}


UNREADABLE = (
    *(ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError),
    *(MemoryError, KeyError, UnicodeDecodeError, SyntaxError, TypeError, tokenize.TokenError),
)
"""What numpy and its libraries raise for a file, or a part of it, that is none of theirs."""


def _read_array(path: Path, archive: Any, name: str) -> Array:
    try:
        array = archive[name]
    except UNREADABLE:
        array = None
    if not isinstance(array, np.ndarray):
        hint = "plain arrays of numbers only, no objects"
        raise InputError(f"{path}: '{name}' cannot be read as an array", hint=hint)
    return array


def archive_of(arrays: Mapping[str, Any]) -> bytes:
    """A ``.npz`` file, bf16 as its bits in ``uint16``; numpy's own writer keeps names like ``file`` to
    itself."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                a = np.asanyarray(array)
                plain = a.view(np.uint16) if a.dtype == ml_dtypes.bfloat16 else a
                np.lib.format.write_array(member, plain, allow_pickle=False)
    return stream.getvalue()


# ------------------------------------------------------------- static parameters of the arrays

TYPE = re.compile(r"\s*(\w+)\s*\[(.*)\]\s*$")
HELD = {
    **{held: name for name, held in DTYPES.items()},
    np.dtype(np.uint16): "bf16",
    np.dtype("V2"): "bf16",
}
"""numpy's element type -> ours; the bits of bf16 come as uint16 or void."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One static parameter as one array shows it; ``found`` says where, as a sentence."""

    name: str
    value: Static
    array: str
    found: str


def statics_from(
    kernel: Kernel, arrays: Mapping[str, Shown], given: Mapping[str, Static], option: str = ""
) -> dict[str, Static]:
    """``given`` completed by the static parameters that the arrays show.

    A dimension or element type that the signature gives by the name of a static parameter is read
    off the array.  ``option``: what stood in front of each of ``given``.

    Raises:
        InputError: when two arrays, or an array and ``given``, disagree.
    """
    seen = {n: Reading(n, v, "", f"{option}{n}={v} is given") for n, v in given.items()}
    for reading in _readings(kernel, arrays):
        first = seen.setdefault(reading.name, reading)
        if first.value != reading.value:
            here = f"{reading.found}, which makes {reading.name} = {reading.value}"
            other = (
                f"{first.array} has {first.name} = {first.value}" if first.array else first.found
            )
            raise InputError(f"{here}, but {other}")
    return {n: r.value for n, r in seen.items()}


def _readings(kernel: Kernel, arrays: Mapping[str, Shown]) -> Iterator[Reading]:
    for name, text in kernel.signature.items():
        match = TYPE.match(text)
        if match is None or name not in arrays:
            continue
        a = arrays[name]
        dims = [d.strip() for d in match[2].split(",")]
        if match[1] in kernel.statics and a.dtype in HELD and _is_element(kernel, match[1], a):
            yield Reading(match[1], HELD[a.dtype], name, f"{name} holds {a.dtype.name}")
        if len(dims) == len(a.shape):
            yield from _shown(kernel, name, dims, a.shape)


def _is_element(kernel: Kernel, static: str, a: Shown) -> bool:
    """Whether ``a`` may decide the type: float32 for a 16-bit parameter is a mistake to report."""
    return HELD[a.dtype] == kernel.statics[static] or a.dtype.itemsize == 2


def _shown(
    kernel: Kernel, name: str, dims: Sequence[str], shape: tuple[int, ...]
) -> Iterator[Reading]:
    for k, (dim, size) in enumerate(zip(dims, shape, strict=True)):
        if dim in kernel.statics:
            where = f"{name} has shape {list(shape)}: dimension {k} ({dim}) is {size}"
            if size < 1:
                raise InputError(f"{where}, but at least 1 is expected")
            yield Reading(dim, size, name, where)


def traced_for(
    program: Program, arrays: Mapping[str, Any], given: Mapping[str, Static]
) -> ir.Kernel:
    """The kernel traced for the static parameters that ``given`` and the arrays show.

    Raises:
        InputError: when they disagree, or when the kernel cannot be traced for what was read.
    """
    if isinstance(program, ir.Kernel):
        return program
    seen = {n: native(a) for n, a in arrays.items()}
    shown = {n: Shown(a.shape, a.dtype) for n, a in seen.items()}
    return traced_with(program, statics_from(program, shown, given, "-D "), given)


def traced_with(
    kernel: Kernel, statics: Mapping[str, Static], given: Mapping[str, Static]
) -> ir.Kernel:
    """The kernel traced for ``statics``, of which those not ``given`` were read off arrays.

    Raises:
        InputError: when it cannot be traced for what was read.
    """
    try:
        return traced(kernel, statics)
    except PtoError as error:
        read = [f"{n} = {v}" for n, v in statics.items() if n not in given]
        if not read:
            raise
        hint = f"read off the inputs: {', '.join(read)}"
        raise InputError(error.message, error.loc, f"{error.hint}; {hint}".lstrip("; ")) from error


# ------------------------------------------------------------------------ drawing, the reference


NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Users:
    """A function of the user's, and ``what`` messages call it."""

    function: Callable[..., Any]
    what: str

    def wrong(self, message: str, hint: str = "") -> InputError:
        """The error, where the function is defined."""
        code = getattr(self.function, "__code__", None)
        place = source.definition(code) if code is not None else None
        return InputError(f"{self.what} {message}", place, hint)

    def called(self, values: Mapping[str, Any], *given: object) -> Any:
        """What it returns for those of ``values`` that it takes by name, behind what is ``given``.

        Raises:
            InputError: it has a parameter that nothing is for, or cannot be called like that.
        """
        signature = inspect.signature(self.function)
        parameters = list(signature.parameters.values())[len(given) :]
        for p in parameters:
            if p.kind in NAMED and p.default is p.empty and p.name not in values:
                message = f"has a parameter '{p.name}', which nothing is given for"
                raise self.wrong(message, did_you_mean(p.name, values))
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        names = [p.name for p in parameters]
        takes = {n: v for n, v in values.items() if takes_all or n in names}
        try:
            signature.bind(*given, **takes)
        except TypeError as error:
            arguments = ", ".join([*("rng" for _ in given), *(f"{n}=..." for n in takes)])
            raise self.wrong(f"is called with ({arguments}): {error}") from None
        return self.function(*given, **takes)

    def mapping(self, returned: object) -> Mapping[str, Any]:
        if isinstance(returned, Mapping) and all(isinstance(n, str) for n in returned):
            return returned
        is_dict = isinstance(returned, Mapping)
        found = "a dict whose keys are no names" if is_dict else noun(returned)
        raise self.wrong(f"returns {found}", 'return a dict of arrays by name: {"x": ...}')

    def numbers(self, given: object, name: str) -> Array:
        """What it returned under ``name``."""
        try:
            array = np.asarray(given)
        except (ValueError, TypeError, OverflowError):
            array = np.array(None)
        held = no_number(array.dtype)
        if not held:
            return array
        is_array = isinstance(given, np.ndarray | np.generic)
        found = f"{held} ({array.dtype})" if is_array else noun(given)
        raise self.wrong(f"returns {found} for '{name}', which is no array of numbers")

    def tensor(self, given: object, p: ir.Param) -> Array:
        """A tensor in its type: floats are rounded, integers must hold the rest; scalars as they are."""
        array = self.numbers(given, p.name)
        if p.shape is None or HELD.get(array.dtype) == p.dtype:  # the bits of bf16 stay, too
            return array
        with np.errstate(invalid="ignore", over="ignore"):
            held = array.astype(DTYPES[p.dtype])
        if p.dtype in INTEGERS and (held != array).any():
            lost = f"{array[held != array][0]} in '{p.name}'"
            raise self.wrong(f"returns {lost}, which {held.dtype.name} does not hold")
        return held


def case_values(kernel: Kernel, texts: Sequence[str]) -> dict[str, Static]:
    """What ``name=value`` texts say of a random case; ``seed`` is an option that every case has.

    Raises:
        InputError: when the kernel draws no case, or takes no such option.
    """
    if kernel.draw_case is None:
        hint = "give --inputs case.npz, or define a case with @KERNEL.case"
        raise InputError(f"{kernel.name} draws no random case", hint=hint)
    known, options = {"seed": 0, **case_options(kernel)}, assignments(texts, "--case")
    for name in options:
        if name not in known:
            message = f"the case of {kernel.name} has no option '{name}'"
            raise InputError(message, hint=did_you_mean(name, known))
    values = {n: typed(v, known[n], n) for n, v in options.items()}
    if int(values.setdefault("seed", 0)) < 0:
        raise InputError(f"seed = {values['seed']}: seeds count from 0 up")
    return values


def draw(kernel: Kernel, program: ir.Kernel, texts: Sequence[str]) -> Arrays:
    """The arrays of a random case, rounded to the types of the parameters; scalars are not arrays.

    Raises:
        InputError: as ``case_values``; when the case gives no arrays, or fractions for integers.
    """
    values = case_values(kernel, texts)
    seed = int(values.pop("seed"))
    assert kernel.draw_case is not None
    case = Users(kernel.draw_case, f"the case of {kernel.name}")
    with users_code(f"drawing a case of {kernel.name}"):
        rng = np.random.default_rng(seed)
        drawn = case.mapping(case.called(dict(program.statics) | values, rng))
    params = {p.name: p for p in program.params}
    return {n: case.tensor(a, params[n]) if n in params else a for n, a in drawn.items()}


def expected(kernel: Kernel, program: ir.Kernel, bound: Bound) -> dict[str, Array]:
    """The outputs by the kernel's own float64 reference.

    It sees what the kernel sees: the inputs as they are held, and the outputs that have a start.
    """
    assert kernel.oracle is not None
    seen = {
        n: a for n, a in bound.arrays.items() if bound.directions[n] == "in" or n in bound.starts
    }
    wide = {n: _wide(np.asarray(a)) for n, a in {**seen, **bound.scalars}.items()}
    reference = Users(kernel.oracle, f"the reference of {kernel.name}")
    outputs = [p.name for p in program.params if p.is_written]
    with users_code(f"running the reference of {kernel.name}"):
        returned = reference.called(dict(program.statics) | wide)
    if not isinstance(returned, Mapping):
        if len(outputs) != 1:
            hint = f"return a dict of the outputs: {', '.join(outputs)}"
            raise reference.wrong(f"returns {noun(returned)}", hint)
        returned = {outputs[0]: returned}
    named = reference.mapping(returned)
    results = {n: reference.numbers(a, n).astype(np.float64) for n, a in named.items()}
    if not results:
        raise reference.wrong("returns no output", f"it computes: {', '.join(outputs)}")
    for name, array in results.items():
        if name not in outputs:
            message = f"returns '{name}', which is no output"
            raise reference.wrong(message, did_you_mean(name, outputs))
        shape = bound.arrays[name].shape
        if array.shape != shape:
            message = f"returns shape {list(array.shape)} for '{name}', which has {list(shape)}"
            raise reference.wrong(message)
    return results


def _wide(a: Array) -> Array:
    """A copy, which the reference may write to."""
    return a.copy() if a.dtype.kind in "iub" else a.astype(np.float64)


def describe(program: Program, bound: Bound) -> str:
    """``paged_attention: batch 4, pages 23, width 8``."""
    dims = ", ".join(f"{n} {v}" for n, v in bound.dims.items())
    return f"{program.name}: {dims}" if dims else program.name
