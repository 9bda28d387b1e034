"""How far the roundings of a kernel may take each element of its outputs: stochastic arithmetic.

In: a traced kernel and the bound arrays.  Out: ``Roundings``: per output the value of the program in
float64, without any rounding, and for every element the *stated error*.
Invariant: an executor that computes what the kernel says, in any order of its sums and with any
sound library of elementary functions, ends within the stated error of the value (before the one
rounding to the type of the output, which is the judge's to add).  Numbers reach an element only
along the operations that made it, so no infinity, NaN or huge value elsewhere has any influence.

The program runs ``2 * PAIRS + 2`` times in float64.  Once as it is: the value.  Once with the kernel's own
conversions to 16 bits, and with its numbers as floats of their tile's type (0.1 is none): their effect, which every
executor shares, counts as it is.  The other runs disturb the result of every op by noise of the size of its
rounding, and what that does to an element is measured, not bounded: what cancels in the program (the maximum that a
softmax subtracts and divides out again) cancels here, too.  The worst case of every op, added up, forgets that, and
for attention over 64 pages states an error a hundred times as large.

The noise has two parts (``Noise``).  One is independent for each element and each execution, as the
roundings of unlike numbers are: these have a standard deviation of at most 0.41 units, the noise
has one, and ``FACTOR`` deviations are allowed: 14 of the real ones, because the deviation of an
element is itself an estimate from 8 pairs of runs (Student's t: less than one element in 10^6).  The runs
of a pair have opposite noise: where a choice lets through what moves one way only, one of them shows it.  The other
errs to one side for each row of the program, at every element and in every iteration, as the
roundings of equal numbers do: by one and a half times their bound.

A rounding is ``u |result|`` times ``roundings`` of the op.  A sum of n terms has ``sqrt(n) / 2`` units of
the largest partial sum that any order can meet, and ``n / 3`` to one side; where that partial sum
overflows float32, the order decides and the error is infinite.  Near a tie a value may round to 16
bits or to an integer the other way, so it is moved by ``NEAR`` first.  An integer that is stored may
differ by one where a tie is within the error.

What stores add to an element is not measured but bounded, for every order in which n terms may come: each
addition is rounded to the type of the tensor, by at most ``u`` of the largest partial sum that any order can
meet, and passes the error on, ``(1 + u)^n - 1`` of that partial sum in all (Higham, Accuracy and Stability of
Numerical Algorithms, 4.2).  What is added has errors itself: a partial sum is as large as the runs with noise let it be.

Non-goals: who is right.  The noise has the size of the numbers that *this* kernel makes: a kernel
that makes huge ones on the way excuses itself, and ``lowering/execute/judge.py`` tells where it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from lowering.execute.access import DTYPES, Array
from lowering.execute.inputs import Bound
from lowering.execute.sequential import COMPUTE, Interpreter, convert, element, shaped
from lowering.execute.sums import Kept, Where
from pto.ir import (
    Const,
    Define,
    Kernel,
    Loop,
    Ref,
    Row,
    Var,
    View,
    added_to,
    all_rows,
    loaded_from,
    loops_of,
)
from pto.ops import OPS
from pto.types import INTEGERS, TileType

UNIT: Mapping[str, float] = MappingProxyType(
    {
        "f64": 2.0**-53,
        "f32": 2.0**-24,
        "bf16": 2.0**-8,
        "f16": 2.0**-11,
        **dict.fromkeys(INTEGERS, 0.0),
    }
)
"""Largest relative error of one rounding to the nearest: 2^-p for p significant bits."""

LARGEST: Mapping[str, float] = MappingProxyType(
    {
        "f32": (2 - 2.0**-23) * 2.0**127,
        "bf16": (2 - 2.0**-7) * 2.0**127,
        "f16": 65504.0,
        **{dtype: float(greatest) for dtype, (_, greatest) in INTEGERS.items()},
    }
)
"""The largest number of each type."""

NARROW = ("f16", "bf16")

EXACT = 2.0**24
"""Integers up to this one are floats of 32 bits."""

PAIRS, FACTOR = 8, 6.0
NEAR: Mapping[str, float] = MappingProxyType(
    {"bf16": 2.0**-14, "f16": 2.0**-17, **dict.fromkeys(INTEGERS, 2.0**-40)}
)
"""How near a tie, relative to the value, a rounding may go either way.  For 16 bits that is a
64th of their unit, far more than float32 moves; what moves an integer is noise already."""


@dataclass(frozen=True)
class Roundings:
    """Per output: the float64 ``value`` of every element, and the stated ``error`` around it."""

    value: Mapping[str, Array]
    error: Mapping[str, Array]


def roundings(kernel: Kernel, bound: Bound) -> Roundings:
    """The value and the stated error of every element of the outputs."""
    with np.errstate(all="ignore"):
        value, terms = Wide(kernel, bound).run(), Narrowed(kernel, bound)
        narrowed = terms.run()
        noises = (Noise(seed, sign) for seed in range(PAIRS) for sign in (1, -1))
        noisy = [Noisy(kernel, bound, noise) for noise in noises]
        runs = [program.run() for program in noisy]
        error = {}
        for name, middle in narrowed.items():
            moved = _moved(middle, [run[name] for run in runs])
            effect = _finite(apart(middle, value[name]))
            error[name] = effect + _allowed(moved)
            if kernel.param(name).dtype in INTEGERS:
                error[name] = _rounded(middle, error[name], moved.max(axis=0))
                value[name] = np.rint(value[name])
        for name, sums in terms.sums.items():
            partial = sums.partial()
            moved = _moved(partial, [program.sums[name].partial() for program in noisy])
            error[name] += sums.error(kernel.param(name).dtype, partial + _allowed(moved))
        return Roundings(value, error)


def _moved(middle: Array, runs: Sequence[Array]) -> Array:
    """How far noise took each element, run by run."""
    return _finite(np.stack([apart(run, middle) for run in runs]))


def _allowed(moved: Array) -> Array:
    """What is allowed where noise did this."""
    deviations: Array = FACTOR * np.sqrt(np.mean(moved**2, axis=0))
    return deviations


def _rounded(value: Array, error: Array, seen: Array) -> Array:
    """How far the integer may be from that of ``value``: by one, where a tie is within the error.

    What is an integer before it is stored was rounded on the way: any change that was seen counts.
    """
    reach = error + NEAR["i32"] * np.abs(value)
    ends = np.stack([np.rint(value - reach), np.rint(value + reach)])
    across = np.max(np.abs(ends - np.rint(value)), axis=0)
    return np.where(value == np.rint(value), seen, _finite(across))


def apart(a: Array, b: Array) -> Array:
    """``|a - b|``; 0 for equal infinities and two NaN, infinite where only one is a number."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(same, 0.0, np.nan_to_num(np.abs(x - y), nan=math.inf, posinf=math.inf))


def in_range(a: Array, dtype: str) -> Array:
    """``a`` as far as the type reaches: infinite behind its last float, its last integer behind."""
    if dtype in INTEGERS:
        least, greatest = INTEGERS[dtype]
        clipped: Array = np.clip(np.nan_to_num(a), float(least), float(greatest))
        return clipped
    beyond = np.abs(a) > LARGEST[dtype] * (1 + UNIT[dtype])
    return np.where(beyond, np.copysign(np.inf, a), a) if beyond.any() else a


def _finite(a: Array) -> Array:
    """A conversion that overflows is a mistake of the kernel, not an error that it may have."""
    return np.where(np.isfinite(a), a, 0.0)


# -------------------------------------------------------------------------------- the programs


class Terms(Kept):
    """A tensor in float64; how many terms were added to each element, and all magnitudes."""

    def __init__(self, tensor: Array) -> None:
        super().__init__(tensor)
        self.count, self.sizes = np.zeros(tensor.shape), np.abs(tensor)

    def put(self, where: Where, part: Array) -> None:
        super().put(where, part)
        self.count[where], self.sizes[where] = 0, np.abs(part)

    def add(self, where: Where, part: Array) -> None:
        super().add(where, part)
        self.count[where] += 1
        self.sizes[where] += np.abs(part)

    def partial(self) -> Array:
        """The largest partial sum that any order can meet: all positive terms, or all negative ones."""
        return (self.sizes + np.abs(self.tensor)) / 2

    def error(self, dtype: str, partial: Array) -> Array:
        """How far sums that are rounded to ``dtype`` at every term may be from these, in any order; infinite
        where a partial sum may be beyond the type."""
        beyond = (partial > LARGEST[dtype]) & (self.count > 1) & (UNIT[dtype] > 0)
        error = partial * np.expm1(self.count * np.log1p(UNIT[dtype]))
        return np.where(beyond, math.inf, np.where(np.isfinite(partial), error, 0.0))


class Wide(Interpreter):
    """The program in float64, nothing rounded but to integers; what a type cannot hold is infinite.

    The rounding of a tile that is only stored is that of the output, and left to the judge; a tile that is added,
    or may be loaded again, is rounded itself.
    """

    sums: Mapping[str, Terms]
    """The outputs that are added to."""

    held = MappingProxyType(
        {t: d if t in INTEGERS else np.dtype(np.float64) for t, d in DTYPES.items()}
    )

    def __init__(self, kernel: Kernel, bound: Bound) -> None:
        again = loaded_from(kernel.body)
        others = (
            row
            for row in all_rows(kernel.body)
            if row.op != "store" or row.adds or row.result(View).tensor in again
        )
        self.read = {x.name for row in others for x in row.args if isinstance(x, Ref)}
        self.read |= {x.name for loop in loops_of(kernel.body) for x in _handed_on(loop)}
        self.types = dict(_types(kernel))
        super().__init__(kernel, bound)

    def keepers(self) -> Mapping[str, Kept]:
        self.sums = {name: Terms(self.outputs[name]) for name in added_to(self.kernel.body)}
        return {name: Kept(tensor) for name, tensor in self.outputs.items()} | self.sums

    def starts(self) -> dict[str, Array]:
        return {n: a.astype(np.float64) for n, a in self.bound.outputs().items()}

    def compute(self, row: Row, kind: TileType, args: Sequence[Any]) -> Array:
        given = [self.scalar(row, kind, k, a) for k, a in enumerate(args)]
        if row.op == "full":
            result = np.full((kind.rows, kind.cols), given[0], self.held[kind.dtype])
        else:
            result = COMPUTE[row.op](kind, *given)
        return self.typed(row, kind, shaped(row, kind, result), given)

    def scalar(self, row: Row, kind: TileType, k: int, a: Any) -> Any:
        """Operand ``k`` as the op takes it."""
        return self.number(row, k, a)

    def number(self, row: Row, k: int, a: Any) -> Any:
        """Operand ``k``; a literal as it is written."""
        e = row.args[k]
        return e.value if isinstance(e, Const) else a

    def typed(self, row: Row, kind: TileType, a: Array, args: Sequence[Any]) -> Array:
        """``a`` as a tile of type ``kind`` holds it."""
        if kind.dtype in INTEGERS and _name(row) in self.read:
            return convert(a, kind.dtype)
        wide = a.astype(np.float64, copy=False)
        return wide if kind.dtype in INTEGERS else in_range(wide, kind.dtype)

    def stored(self, tile: Array, dtype: str) -> Array:
        return tile

    def drained(self, row: Row, tile: Array, dtype: str, factor: Any) -> Array:
        most = math.inf if dtype in INTEGERS else LARGEST[dtype]
        product: Array = tile.astype(np.float64) * factor
        return np.clip(product, -most, most)


class Narrowed(Wide):
    """With the kernel's own roundings to 16 bits, where another op reads the result, and those of its numbers."""

    def scalar(self, row: Row, kind: TileType, k: int, a: Any) -> Any:
        """A number is an element like those of the tile that it is computed with, or compared."""
        op, exact = OPS[row.op], super().scalar(row, kind, k, a)
        first = row.args[0] if op.compares and k == 1 else None
        dtype = self.types[first.name] if isinstance(first, Ref) else kind.dtype
        rounds = dtype in NARROW or isinstance(row.args[k], Const) and dtype not in INTEGERS
        if not isinstance(exact, int | float) or k not in op.elements or not rounds:
            return exact
        return float(element(exact, dtype))

    def typed(self, row: Row, kind: TileType, a: Array, args: Sequence[Any]) -> Array:
        exact = super().typed(row, kind, a, args)
        if kind.dtype in NARROW and _name(row) in self.read:
            return exact.astype(DTYPES[kind.dtype]).astype(np.float64)
        return exact


class Noisy(Narrowed):
    """Every result is disturbed by noise of the size of its rounding."""

    def __init__(self, kernel: Kernel, bound: Bound, noise: Noise) -> None:
        self.noise = noise
        self.given = {p.name for p in kernel.params if p.shape is None}
        super().__init__(kernel, bound)

    def typed(self, row: Row, kind: TileType, a: Array, args: Sequence[Any]) -> Array:
        if row.op in SUMS and a.dtype.kind == "f":
            a = self.summed(row, a, args)
        elif (units := _units(row, args)) and a.dtype.kind == "f":
            rounds = np.abs(a) > EXACT if row.op == "astype" else True
            a = a * (1 + rounds * units * UNIT["f32"] * self.noise.drawn(_name(row), a.shape))
        if kind.dtype in NEAR and a.dtype.kind == "f" and _name(row) in self.read:
            a = a * (1 + NEAR[kind.dtype] * self.noise.drawn(_name(row), a.shape))
        return super().typed(row, kind, a, args)

    def summed(self, row: Row, a: Array, args: Sequence[Any]) -> Array:
        """Half of all magnitudes and of the result: the positive terms, or the negative ones."""
        count, terms = SUMS[row.op](*args)
        partial = (terms + np.abs(a)) / 2
        size = np.where(partial > LARGEST["f32"], math.inf, UNIT["f32"] * partial)
        moved = a + size * self.noise.drawn(_name(row), a.shape, count)
        return np.where(np.isfinite(a), moved, a)

    def drained(self, row: Row, tile: Array, dtype: str, factor: Any) -> Array:
        """The sum is rounded when it becomes a float, and times the scale once more."""
        drawn = self.noise.drawn(row.result(View).tensor, tile.shape)
        return super().drained(row, tile * (1 + 2 * UNIT["f32"] * drawn), dtype, factor)

    def number(self, row: Row, k: int, a: Any) -> Any:
        """A number that the kernel computes is rounded, too; a literal in the same way by everyone."""
        held, e = super().number(row, k, a), row.args[k]
        if not isinstance(held, float) or not math.isfinite(held):
            return held
        if isinstance(e, Const) or isinstance(e, Var) and e.name in self.given:
            return held
        drawn = float(self.noise.drawn(f"{_name(row)} {k}", (1, 1))[0, 0])
        return held * (1 + 2 * UNIT["f32"] * drawn)


def _types(kernel: Kernel) -> Iterator[tuple[str, str]]:
    """The element type of every tile."""
    yield from (
        (x.out.name, x.out.type.dtype) for x in all_rows(kernel.body) if isinstance(x.out, Define)
    )
    for loop in loops_of(kernel.body):
        yield from ((name, c.type.dtype) for c in loop.carry for name in (c.name, c.last))


def _handed_on(loop: Loop) -> Iterator[Ref]:
    """Tiles that a loop starts from or hands to its next iteration: nobody knows who reads them."""
    yield from loop.result
    yield from (c.init for c in loop.carry if c.init is not None)


def _name(row: Row) -> str:
    return row.result(Define).name


def _units(row: Row, args: Sequence[Any]) -> float:
    """How often one element is rounded to float32."""
    if row.op == "astype":
        return 1.0 if args[0].dtype.kind == "i" else 0.0
    return OPS[row.op].roundings


def _of_row_sum(x: Array) -> tuple[int, Array]:
    return x.shape[1], np.sum(np.abs(x), axis=1, keepdims=True)


def _of_col_sum(x: Array) -> tuple[int, Array]:
    return x.shape[0], np.sum(np.abs(x), axis=0, keepdims=True)


def _of_cumsum(x: Array) -> tuple[int, Array]:
    return x.shape[1], np.cumsum(np.abs(x), axis=1)


def _of_matmul(a: Array, b: Array, acc: Array | None = None) -> tuple[int, Array]:
    terms = np.matmul(np.abs(a), np.abs(np.ascontiguousarray(b)))
    return a.shape[1], terms if acc is None else terms + np.abs(acc)


SUMS: Mapping[str, Callable[..., tuple[int, Array]]] = MappingProxyType(
    {"row_sum": _of_row_sum, "col_sum": _of_col_sum, "cumsum": _of_cumsum, "matmul": _of_matmul}
)
"""Ops that add many terms: how many, and the sum of their magnitudes for every element."""


class Noise:
    """Normal numbers, and one side for each row of the program; both change with the seed, and turn with the sign."""

    def __init__(self, seed: int, sign: int = 1) -> None:
        self.rng, self.sign = np.random.default_rng(seed), sign
        self.pool = self.rng.standard_normal(1 << 16)
        self.sides: dict[str, float] = {}

    def drawn(self, name: str, shape: tuple[int, ...], terms: int = 1) -> Array:
        """Noise for one result of row ``name``, in roundings of what is a sum of ``terms``."""
        if name not in self.sides:
            self.sides[name] = float(self.rng.choice((-0.25, 0.25)))
        independent = self.normal(math.prod(shape)).reshape(shape)
        if terms > 1:
            independent = independent * max(1.0, math.sqrt(terms) / 2)
        return self.sign * (independent + self.sides[name] * max(1.0, terms / 3))

    def normal(self, count: int) -> Array:
        """A piece of the pool: drawing each number anew would take most of the time."""
        while count >= len(self.pool):
            self.pool = np.concatenate([self.pool, self.rng.standard_normal(len(self.pool))])
        first = int(self.rng.integers(len(self.pool) - count))
        return self.pool[first : first + count]
