"""The arrays of one run: read or drawn, judged against a reference, written.

In: a kernel of the language (or a program read from text) and arrays by parameter name.
Out: static parameters read off the arrays, expected outputs, a ``Comparison`` per output.
Non-goals: the check of the arrays' shapes and contents (``lowering/inputs.py``).
"""

from __future__ import annotations

import inspect
import io
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from lowering import sequential
from lowering.access import DTYPES, Array
from lowering.files import write_all
from lowering.inputs import VECTOR, Bound, pid_names
from lowering.programs import (
    Program,
    assignments,
    case_options,
    close_to,
    traced,
    typed,
    users_code,
)
from pto import ir
from pto.errors import InputError, PtoError
from pto.kernel import Kernel
from pto.signature import Static

Arrays = dict[str, Any]

# ------------------------------------------------------------------------------------- files


def read_inputs(path: Path) -> Arrays:
    """The arrays of a ``.npz`` file by name.

    Raises:
        InputError: when the file is no such archive.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(
                    f"{path} holds one array", hint="save with np.savez(path, name=...)"
                )
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile):
        hint = "write it with np.savez(path, name=array, ...); no objects"
        raise InputError(f"{path} is not a .npz file of plain arrays", hint=hint) from None


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Writes a ``.npz`` file, whole or not at all; bf16 as its bits in ``uint16``."""
    plain = {
        n: a.view(np.uint16) if a.dtype == ml_dtypes.bfloat16 else a for n, a in outputs.items()
    }
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **plain)
    write_all({path: stream.getvalue()})


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
    kernel: Kernel, arrays: Mapping[str, Any], given: Mapping[str, Static]
) -> dict[str, Static]:
    """``given`` completed by the static parameters that the arrays show.

    A dimension or element type that the signature gives by the name of a static parameter is read
    off the array.

    Raises:
        InputError: when two arrays, or an array and ``given``, disagree.
    """
    seen = {n: Reading(n, v, "", f"-D {n}={v} is given") for n, v in given.items()}
    for reading in _readings(kernel, arrays):
        first = seen.setdefault(reading.name, reading)
        if first.value != reading.value:
            here = f"{reading.found}, which makes {reading.name} = {reading.value}"
            other = (
                f"{first.array} has {first.name} = {first.value}" if first.array else first.found
            )
            raise InputError(f"{here}, but {other}")
    return {n: r.value for n, r in seen.items()}


def _readings(kernel: Kernel, arrays: Mapping[str, Any]) -> Iterator[Reading]:
    for name, text in kernel.signature.items():
        match = TYPE.match(text)
        if match is None or name not in arrays:
            continue
        a = np.asarray(arrays[name])
        dims = [d.strip() for d in match[2].split(",")]
        if match[1] in kernel.statics and a.dtype in HELD and _is_element(kernel, match[1], a):
            yield Reading(match[1], HELD[a.dtype], name, f"{name} holds {a.dtype.name}")
        if len(dims) == a.ndim:
            yield from _shown(kernel, name, dims, a.shape)


def _is_element(kernel: Kernel, static: str, a: Array) -> bool:
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
    statics = statics_from(program, arrays, given)
    try:
        return traced(program, statics)
    except PtoError as error:
        read = [f"{n} = {v}" for n, v in statics.items() if n not in given]
        if not read:
            raise
        hint = f"read off the inputs: {', '.join(read)}"
        raise InputError(error.message, error.loc, f"{error.hint}; {hint}".lstrip("; ")) from error


# ----------------------------------------------------------------------------- drawing, judging


def accepted(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that ``function`` takes by name."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(values)
    return {n: v for n, v in values.items() if n in parameters}


def draw(kernel: Kernel, program: ir.Kernel, texts: Sequence[str]) -> Arrays:
    """The arrays of a random case, rounded to the types of the parameters.

    ``texts`` are ``name=value`` options of the case; ``seed`` is one that every case has.

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
            raise InputError(message, hint=close_to(name, known))
    values = {n: typed(v, known[n], n) for n, v in options.items()}
    seed = int(values.pop("seed", 0))
    takes = accepted(kernel.draw_case, dict(program.statics) | values)
    with users_code(f"drawing a case of {kernel.name}"):
        drawn = kernel.draw_case(np.random.default_rng(seed), **takes)
    types = {p.name: DTYPES[p.dtype] for p in program.params}
    return {n: np.asarray(a).astype(types[n]) if n in types else a for n, a in drawn.items()}


def expected(kernel: Kernel, program: ir.Kernel, arrays: Mapping[str, Any]) -> dict[str, Array]:
    """The outputs by the kernel's own float64 reference, which sees the rounded inputs."""
    assert kernel.oracle is not None
    wide = {n: _wide(np.asarray(a)) for n, a in arrays.items()}
    takes = accepted(kernel.oracle, dict(program.statics) | wide)
    outputs = [p.name for p in program.params if p.direction in ("out", "inout")]
    with users_code(f"running the reference of {kernel.name}"):
        returned: Any = kernel.oracle(**takes)
        if not isinstance(returned, Mapping):
            if len(outputs) != 1:
                raise InputError(
                    f"the reference of {kernel.name} returns {type(returned).__name__}",
                    hint=f"return a dict of the outputs: {', '.join(outputs)}",
                )
            returned = {outputs[0]: returned}
        results = {n: np.asarray(a, np.float64) for n, a in returned.items()}
    for name in results:
        if name not in outputs:
            message = f"the reference of {kernel.name} returns '{name}', which is no output"
            raise InputError(message, hint=close_to(name, outputs))
    return results


def _wide(a: Array) -> Array:
    return a if a.dtype.kind in "iub" else a.astype(np.float64)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One output against what was expected.

    At the element with the largest error; where some exceed their tolerance, with the largest excess.
    """

    name: str
    error: float
    tolerance: float
    index: tuple[int, ...]
    got: float
    want: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance

    def told(self, by: str) -> str:
        """The verdict as a sentence; ``by`` is what it was compared with."""
        place = f"{self.name}[{', '.join(map(str, self.index))}]"
        verdict = f"agrees with {by}" if self.ok else f"DIFFERS from {by}"
        at = (
            f"at {place}: {self.got:.6g}, expected {self.want:.6g}" if self.index else "no elements"
        )
        return f"{verdict}: max abs error {self.error:.2e}, tolerance {self.tolerance:.2e}, {at}"


def compare(
    found: Mapping[str, Array], want: Mapping[str, Array], limits: Mapping[str, Array]
) -> list[Comparison]:
    """Every output of ``want``, element by element; NaN is infinitely far from a number."""
    return [_compared(n, found[n].astype(np.float64), want[n], limits[n]) for n in want]


def _compared(name: str, got: Array, want: Array, limit: Array) -> Comparison:
    if got.shape != want.shape:
        raise InputError(f"{name} has shape {list(got.shape)}, the reference {list(want.shape)}")
    if not got.size:
        return Comparison(name, 0.0, 0.0, (), 0.0, 0.0)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.nan_to_num(np.abs(got - want), nan=math.inf))
    flat = int(np.argmax(error - limit if np.any(error > limit) else error))
    at = tuple(int(i) for i in np.unravel_index(flat, got.shape))
    return Comparison(name, float(error[at]), float(limit[at]), at, float(got[at]), float(want[at]))


# ---------------------------------------------------------------------------------- tolerances

UNIT = {"f32": 2.0**-24, "bf16": 2.0**-8, "f16": 2.0**-11, "i32": 0.0}
"""Largest relative error of one rounding to the nearest: 2^-p for p significant bits."""


def tolerances(
    kernel: ir.Kernel, bound: Bound, want: Mapping[str, Array], reference: Mapping[str, Array]
) -> dict[str, Array]:
    """How far each element of an output may lie from the exact result, and why.

    Derived from the traced program and its types, the sum of three terms:

    * *output*: one rounding to the type of the output, ``u |want|``.
    * *float32*: every sum and every op on the way rounds once, ``n 2^-24 max(1, |want|max)`` with n
      the longest sum in a tile, plus the longest loop, plus the number of rows.
    * *16-bit values on the way* (the probabilities of attention, rounded before they meet V): twice
      the largest effect that these roundings have on the very same data: ``reference``, what
      ``sequential`` gives, against the same program with all such casts left out.  Twice, because
      another order of the float32 sums may round a value the other way.  Never more than twice one
      rounding of the largest output, so that a wrong cast cannot excuse itself.
    """
    n = _roundings(kernel, bound)
    wide = without_casts(kernel)
    exact = reference if wide == kernel else sequential.run(wide, bound)
    narrow = max(UNIT[t] for t in _cast_types(kernel))
    limits = {}
    for name, w in want.items():
        u, size = UNIT[kernel.param(name).dtype], float(np.max(np.abs(w), initial=1.0))
        effect = np.abs(reference[name].astype(np.float64) - exact[name].astype(np.float64))
        cast = 2 * min(float(np.max(effect, initial=0.0, where=np.isfinite(effect))), narrow * size)
        limits[name] = u * np.abs(w) + n * UNIT["f32"] * size + cast
    return limits


def _cast_types(kernel: ir.Kernel) -> list[str]:
    """Types that tiles are converted to on the way, f32 among them."""
    rows = ir.all_rows(kernel.body)
    return [
        "f32",
        *(r.out.type.dtype for r in rows if r.op == "astype" and isinstance(r.out, ir.Define)),
    ]


def without_casts(kernel: ir.Kernel) -> ir.Kernel:
    """before --> after: p16: bf16[..] = astype p, bf16 --> p16: f32[..] = astype p, f32.

    Only where the result meets another op; what is stored keeps its type.
    """
    inner = {
        x.name
        for row in ir.all_rows(kernel.body)
        if row.op != "store"
        for x in row.args
        if isinstance(x, ir.Ref)
    }

    def widened(block: ir.Block) -> ir.Block:
        return tuple(node_widened(n) for n in block)

    def node_widened(node: ir.Node) -> ir.Node:
        if isinstance(node, ir.Loop):
            return replace(node, body=widened(node.body))
        if isinstance(node, ir.Branch):
            return replace(node, then=widened(node.then), orelse=widened(node.orelse))
        out = node.out
        if node.op != "astype" or not isinstance(out, ir.Define) or out.name not in inner:
            return node
        if out.type.dtype not in ("bf16", "f16"):
            return node
        kind = replace(out.type, dtype="f32")
        return replace(node, out=replace(out, type=kind), args=(node.args[0], ir.Word("f32")))

    return replace(kernel, body=widened(kernel.body))


def _roundings(kernel: ir.Kernel, bound: Bound) -> int:
    """Longest sum in a tile, plus the longest loop, plus the rows: see ``tolerances``."""
    rows = list(ir.all_rows(kernel.body))
    types = {r.out.name: r.out.type for r in rows if isinstance(r.out, ir.Define)}
    sums = [
        types[a.name].cols
        for r in rows
        if r.op in ("matmul", "row_sum")
        for a in r.args[:1]
        if isinstance(a, ir.Ref) and a.name in types
    ]
    return max(sums, default=0) + _longest(kernel, bound) + len(rows)


def _longest(kernel: ir.Kernel, bound: Bound) -> int:
    """Most trips of any loop, every scalar at the largest value that it can be read as."""
    most: dict[str, Any] = {**bound.names, **dict(zip(pid_names(kernel), bound.grid, strict=True))}

    def value(e: ir.Expr) -> Any:
        if isinstance(e, ir.Const):
            return e.value
        return (
            most.get(e.name, 0) if isinstance(e, ir.Var) else VECTOR[e.op](value(e.a), value(e.b))
        )

    def trips(block: ir.Block) -> int:
        longest = 0
        for node in block:
            if isinstance(node, ir.Loop):
                longest = max(longest, int(value(node.trips)), trips(node.body))
            elif isinstance(node, ir.Row) and isinstance(node.out, ir.Scalar):
                most[node.out.name] = _largest(node, value, bound)
        return longest

    return trips(kernel.body)


def _largest(row: ir.Row, value: Callable[[Any], Any], bound: Bound) -> int:
    arg = row.args[0]
    if isinstance(arg, ir.View):
        return int(np.max(bound.arrays[arg.tensor], initial=0))
    return int(value(arg))


def describe(program: Program, bound: Bound) -> str:
    """``paged_attention: batch 4, pages 23, width 8``."""
    dims = ", ".join(f"{n} {v}" for n, v in bound.dims.items())
    return f"{program.name}: {dims}" if dims else program.name
