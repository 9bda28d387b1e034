"""Whether the outputs of a run are what they must be, element by element.

In: a traced kernel, the bound arrays, the outputs of its reference if it has one.  Out: an
``Expected`` per output, made once; a ``Comparison`` per output of a run.
Invariant: what an element may be depends on that element alone.  A number lies within its limit:
the stated error of what made it (``lowering/execute/roundings.py``), what the reference lost itself in float64, and one
rounding to the type of the output, of a number that is off by all that.  Infinities are equal, NaN meets NaN; beyond the range of the type a
float is infinite and an integer the nearest there is.  An element that no work item writes holds
what the output started from, and that is a failure unless the reference expects NaN there, or that.

The stated error comes from the numbers of the kernel that is judged, so a kernel that computes
1e10 + x - 1e10 states a large one.  Two things stand against that.  Where there is a reference, the
program in float64 must lie within the limit as well, whatever luck its roundings had.  And where the
limit reaches an eighth of the value, ``notes`` says so, and how far the float64 program is from the
reference, which its roundings do not hide.

Non-goals: drawing inputs, calling references (``lowering/execute/cases.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from lowering.execute import scheduled, sequential
from lowering.execute.access import Array
from lowering.execute.inputs import Bound
from lowering.execute.roundings import LARGEST, UNIT, apart, in_range, roundings
from pto.ir import Kernel, all_rows, is_scheduled
from pto.ops import OPS
from pto.types import INTEGERS

# -------------------------------------------------------------------------------- never written

POISONS = (0xFF, 0x00)
"""Two bytes to start from: what still holds both, each in its run, nobody has written."""


def unwritten(kernel: Kernel, bound: Bound) -> dict[str, Array]:
    """Per output, which elements no work item writes; traced and scheduled programs alike."""
    run = scheduled.run if is_scheduled(kernel) else sequential.run
    outs = [n for n, d in bound.directions.items() if d == "out"]
    kept = {n: np.ones(bound.arrays[n].shape, bool) for n in outs}
    for poison in POISONS:
        if any(mask.any() for mask in kept.values()):
            found = run(kernel, _started(bound, outs, poison))
            for name in outs:
                octets = found[name][..., None].view(np.uint8)
                kept[name] &= (octets == poison).all(axis=-1)
    return kept


def _started(bound: Bound, outs: Sequence[str], poison: int) -> Bound:
    """The same call, its outputs started from bytes ``poison``."""
    arrays = dict(bound.arrays)
    for name in outs:
        arrays[name] = np.empty_like(arrays[name])
        arrays[name].reshape(-1).view(np.uint8)[:] = poison
    return replace(bound, arrays=MappingProxyType(arrays), starts=frozenset(outs))


START = "give it in the inputs to say what it starts from, or expect NaN there"
"""What makes it right that an output is written in part."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Elements of one output that should have been written."""

    name: str
    mask: Array

    def told(self) -> str:
        """``out: rows 96..99 never written (512 of 12800 elements)``."""
        found = list(boxes(self.mask))
        shown = " and ".join(_box(b, self.mask.shape) for b in found[:3])
        more = f" and {len(found) - 3} more regions" * (len(found) > 3)
        count = f"{int(self.mask.sum())} of {self.mask.size} elements"
        return f"{self.name}: {shown}{more} never written ({count})"


def missing(
    bound: Bound, masks: Mapping[str, Array], reference: Mapping[str, Array] | None
) -> list[Missing]:
    """What was left out and should not have been."""
    found = []
    for name, mask in masks.items():
        bad = mask
        has_start = name in bound.starts
        if reference is not None and name in reference:
            bad = bad & ~np.isnan(reference[name])
            if has_start:
                bad = bad & (_held(reference[name], bound.arrays[name]) != bound.arrays[name])
        elif has_start:
            continue
        if bad.any():
            found.append(Missing(name, bad))
    return found


def _held(a: Array, like: Array) -> Array:
    """``a`` rounded as what is given in the inputs was."""
    with np.errstate(invalid="ignore", over="ignore"):
        return a.astype(like.dtype)


Box = tuple[tuple[int, int], ...]


def boxes(mask: Array) -> Iterator[Box]:
    """The true elements as disjoint boxes: (first, last) per dimension."""
    if not mask.ndim:
        if mask:
            yield ()
        return
    lines = mask.reshape(len(mask), -1)
    ends = [0, *(np.flatnonzero((lines[1:] != lines[:-1]).any(axis=1)) + 1), len(mask)]
    for low, high in pairwise(ends):
        for box in boxes(mask[low]):
            yield ((int(low), int(high) - 1), *box)


def _box(box: Box, shape: Sequence[int]) -> str:
    """``rows 96..99`` of a matrix, ``[2, 5..9, :]`` in general, ``all`` of it."""
    parts = [
        ":" if (low, high) == (0, n - 1) else f"{low}" if low == high else f"{low}..{high}"
        for (low, high), n in zip(box, shape, strict=True)
    ]
    whole = [k for k, part in enumerate(parts) if part == ":"]
    if len(whole) == len(parts):
        return "all"
    if len(parts) == 2 and whole == [1]:
        return f"row{'s' * ('.' in parts[0])} {parts[0]}"
    return f"[{', '.join(parts)}]"


# ------------------------------------------------------------------------------------- expected


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What the user allows instead of the derived limits: ``absolute + relative * |expected|``."""

    absolute: float | None = None
    relative: float | None = None

    @classmethod
    def given(cls, absolute: float | None, relative: float | None) -> Tolerance | None:
        """None where the user gives neither."""
        return None if absolute is None and relative is None else cls(absolute, relative)

    def limit(self, want: Array) -> Array:
        return np.asarray((self.absolute or 0.0) + (self.relative or 0.0) * np.abs(want))

    def __str__(self) -> str:
        given = (("--atol", self.absolute), ("--rtol", self.relative))
        return " ".join(f"{option} {x:g}" for option, x in given if x is not None)


@dataclass(frozen=True, slots=True)
class Expected:
    """One output: the numbers expected, how far from each is right, and what else is known.

    ``value``: what the program gives in float64, which must be right as well (None: not judged).
    """

    name: str
    dtype: str
    want: Array
    limit: Array
    value: Array | None
    unwritten: Array


def expected(
    kernel: Kernel,
    bound: Bound,
    reference: Mapping[str, Array] | None,
    masks: Mapping[str, Array],
    tolerance: Tolerance | None = None,
) -> list[Expected]:
    """What a run of a traced kernel must give; without ``reference`` what ``sequential`` gives.

    Then both may be off by the stated error, each to its side, and each is rounded to the type of the output.  A
    rounding to the nearest errs by u of what it gives, and by u / (1 + u) of what is rounded, which may be larger
    than the expected number by all that was off before.
    """
    stated = roundings(kernel, bound)
    judge = reference if reference is not None else sequential.run(kernel, bound)
    starts = bound.outputs()
    found = []
    for name, outcome in judge.items():
        dtype, want = kernel.param(name).dtype, outcome.astype(np.float64)
        before, expected_one = 2 * stated.error[name], half_step(want, dtype)
        if reference is not None:
            lost = lost_digits(kernel, want, stated.value[name])
            before, expected_one = stated.error[name] + lost, np.zeros(want.shape)
        limit = before + half_step(np.abs(want) + before, dtype) + expected_one
        if tolerance is not None:
            finite = np.isfinite(want)
            limit = np.where(finite, tolerance.limit(np.where(finite, want, 0.0)), 0.0)
        mask = masks.get(name, np.zeros(want.shape, bool))
        want = np.where(mask, starts[name].astype(np.float64), in_range(want, dtype))
        value = None if reference is None else np.where(mask, want, stated.value[name])
        found.append(Expected(name, dtype, want, np.where(mask, 0.0, limit), value, mask))
    return found


SMALLEST: Mapping[str, float] = MappingProxyType(
    {"f32": 2.0**-126, "bf16": 2.0**-126, "f16": 2.0**-25, **dict.fromkeys(INTEGERS, 0.0)}
)
"""Least error of a rounding: half a step of the subnormals of f16; where they may be flushed, all."""


def half_step(rounded: Array, dtype: str) -> Array:
    """One rounding to the type of the output of (or to) these; nothing where there is no number to round."""
    finite = np.isfinite(rounded)
    size = np.maximum(UNIT[dtype] * np.abs(np.where(finite, rounded, 0.0)), SMALLEST[dtype])
    return np.where(finite, size, 0.0)


def lost_digits(kernel: Kernel, want: Array, value: Array) -> Array:
    """How far the reference is from the program in float64, where its own roundings explain all of that.

    It is a computation in float64 itself: of ``1 + tanh(-18)`` no digit is left.  Nobody knows its operations, so
    it is taken to round as often as the rows of the program, and numbers as large as the larger ones of its
    outputs; what it really lost is not more than it is off, and no more than that is added.
    """
    size = np.maximum(np.abs(np.where(np.isfinite(want), want, 0.0)), _quantile(want, LARGER))
    units = sum(OPS[row.op].roundings for row in all_rows(kernel.body))
    far = apart(value, want)
    return np.where(far <= units * UNIT["f64"] * size, far, 0.0)


LARGER = 0.9
"""Of the outputs, in their order, the place of one that is large, and no outlier: few huge ones excuse nothing."""


def _quantile(want: Array, part: float) -> float:
    """The size that this part of all numbers but 0 does not exceed; 0 where there are none."""
    size = np.abs(want)
    found = size[np.isfinite(size) & (size > 0)]
    return float(np.quantile(found, part, method="lower")) if found.size else 0.0


# ----------------------------------------------------------------------------------- comparison


@dataclass(frozen=True, slots=True)
class Comparison:
    """One output against what was expected.

    At the element with the largest error; where some exceed their limits, with the largest excess.
    ``in_float64``: what is shown there is what the program gives in float64.
    """

    name: str
    error: float
    tolerance: float
    index: tuple[int, ...]
    got: float
    want: float
    wrong: int
    size: int
    in_float64: bool = False
    given: str = ""

    @property
    def ok(self) -> bool:
        return not self.wrong

    def told(self, by: str) -> str:
        """The verdict as a sentence; ``by`` is what it was compared with."""
        verdict = f"agrees with {by}" if self.ok else f"DIFFERS from {by}"
        tolerance = f"tolerance {self.tolerance:.2e}" + f" ({self.given})" * bool(self.given)
        text = f"{verdict}: max abs error {self.error:.2e}, {tolerance}"
        if not self.index:
            return f"{text}, no elements"
        place = f"{self.name}[{', '.join(map(str, self.index))}]"
        text += f", at {place}: {self.got:.6g}{' in float64' * self.in_float64}"
        text += f", expected {self.want:.6g}"
        return text if self.ok else f"{text}; {self.wrong} of {self.size} elements are wrong"


def compare(
    found: Mapping[str, Array], wanted: Sequence[Expected], tolerance: Tolerance | None = None
) -> list[Comparison]:
    """Every output of ``wanted``, element by element."""
    given = "" if tolerance is None else str(tolerance)
    return [_compared(found[e.name].astype(np.float64), e, given) for e in wanted]


def _compared(got: Array, e: Expected, given: str) -> Comparison:
    if not got.size:
        return Comparison(e.name, 0.0, 0.0, (), 0.0, 0.0, 0, 0, given=given)
    far = excess(got, e)
    shown, in_float64 = got, False
    if e.value is not None and not (far > 0).any():
        exact = in_range(e.value, e.dtype)
        beyond = excess(exact, e)
        if (beyond > 0).any():
            far, shown, in_float64 = beyond, exact, True
    error, wrong = apart(shown, e.want), int((far > 0).sum())
    flat = int(np.argmax(far if wrong else np.where(far < 0, error, 0.0)))
    at = tuple(int(i) for i in np.unravel_index(flat, got.shape))
    return Comparison(
        e.name,
        error=float(error[at]),
        tolerance=float(e.limit[at]),
        index=at,
        got=float(shown[at]) + 0.0,
        want=float(e.want[at]) + 0.0,
        wrong=wrong,
        size=got.size,
        in_float64=in_float64,
        given=given,
    )


def excess(got: Array, e: Expected) -> Array:
    """By how much each element is too far from what is expected; below 0 where it is right."""
    error = apart(got, e.want)
    with np.errstate(invalid="ignore", over="ignore"):
        edge = np.where(np.isfinite(e.want), np.abs(e.want) + e.limit, 0.0) > LARGEST[e.dtype]
        overflow = edge & np.isinf(got) & (np.sign(got) == np.sign(e.want))
        right = (error <= e.limit) | overflow
        return np.where(right, -1.0, np.nan_to_num(error - e.limit, nan=np.inf, posinf=np.inf))


# ---------------------------------------------------------------------------------------- notes

LOOSE = 1 / 8
"""A limit that is a larger part of the value says little."""


def notes(bound: Bound, wanted: Sequence[Expected]) -> Iterator[str]:
    """What makes a verdict weak: inputs that cannot tell kernels apart, limits like the values."""
    for name, a in bound.arrays.items():
        if bound.directions[name] == "in" and a.dtype.kind not in "iu" and _constant(a):
            yield f"every element of {name} is {float(a.flat[0]):g}; many a wrong kernel agrees then"
    for name in unjudged(bound, wanted):
        yield f"{name} is not compared: the reference does not return it"
    for e in wanted:
        if _constant(e.want[~e.unwritten]):
            value = e.want[~e.unwritten].flat[0]
            yield f"every element of {e.name} is expected to be {value:g}"
        loose = loosely_judged(e)
        if loose.any():
            where = f"{int(loose.sum())} of {loose.size} elements of {e.name}"
            yield f"the tolerance is an eighth of the value or more at {where}{_in_float64(e, loose)}"


def unjudged(bound: Bound, wanted: Sequence[Expected]) -> list[str]:
    """Outputs that nothing says anything about, where something is said about others."""
    judged = {e.name for e in wanted}
    return [n for n, d in bound.directions.items() if d != "in" and judged and n not in judged]


def _in_float64(e: Expected, loose: Array) -> str:
    if e.value is None:
        return ""
    far = float(np.max(apart(in_range(e.value, e.dtype), e.want)[loose]))
    return f"; computed in float64 it lies up to {far:.2e} from the reference there"


def _constant(a: Array) -> bool:
    return bool(a.size > 1 and (a == a.flat[0]).all())


def loosely_judged(e: Expected) -> Array:
    """Elements whose limit reaches an eighth of the value, or of what is usual in this output."""
    size = np.abs(e.want)
    usual = size[np.isfinite(size) & (size > 0)]
    scale = np.maximum(size, np.median(usual) if usual.size else np.inf)
    return np.isfinite(e.want) & (e.limit > LOOSE * scale) & (e.limit > SMALLEST[e.dtype])
