"""Between which numbers a scalar lies, from what is known of its names.

In: an expression, and ranges of names.  Out: a range that contains every value that it can have.
Sizes are at least 1, counters at least 0 and below their trip counts: so ``maximum(n, 1)``,
``cdiv(k, 64)`` and ``program_id(0) + 1`` are loops that surely run, and ``0 < rows`` is true.
Non-goals: relations between names (``rows - first``); the proof has its own rules
(``lowering/hazards/counters.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf, isfinite

from pto.arithmetic import Number
from pto.folds import INDEX, Fold, fold_of
from pto.ir import (
    Bin,
    Const,
    Expr,
    Fact,
    Kernel,
    Loop,
    Ranges,
    Row,
    Scalar,
    Var,
    View,
    Within,
    linear,
    names_a_float,
    names_in,
)


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from ``low`` to ``high``, both included; ``whole``: integers only."""

    low: Number = -inf
    high: Number = inf
    whole: bool = False


ANY, INTEGER, SIZE, COUNTER = Range(), Range(whole=True), Range(1, inf, True), Range(0, inf, True)
BIT = Range(0, 1, True)
Known = Mapping[str, Range]


Rule = Callable[[Range, Range], Range]
"""The range of ``a op b``."""


def _times(x: Number, y: Number) -> Number:
    return 0 if 0 in (x, y) else x * y


def _floor(x: Number, y: Number) -> Number:
    """``x // y`` for y > 0, at infinite ends too."""
    if isfinite(x) and isfinite(y):
        return x // y
    return x if isfinite(y) else -1 if x < 0 else 0


def _ceil(x: Number, y: Number) -> Number:
    return -_floor(-x, y)


def _corners(f: Callable[[Number, Number], Number]) -> Rule:
    """For what is monotonic in each operand."""

    def rule(a: Range, b: Range) -> Range:
        ends = [f(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
        if any(e != e for e in ends):
            return Range(whole=a.whole and b.whole)
        return Range(min(ends), max(ends), a.whole and b.whole)

    return rule


def _divided(f: Callable[[Number, Number], Number]) -> Rule:
    """For a quotient, of which nothing is known unless the divisor is positive."""

    def rule(a: Range, b: Range) -> Range:
        return _corners(f)(a, b) if b.low > 0 else Range(whole=a.whole and b.whole)

    return rule


def _remainder(a: Range, b: Range) -> Range:
    whole = a.whole and b.whole
    if b.low <= 0:
        return Range(whole=whole)
    if a.low >= 0 and a.high < b.low:
        return Range(a.low, a.high, whole)
    below = b.high - 1 if whole else b.high
    return Range(0, min(a.high, below) if a.low >= 0 else below, whole)


def _compared(
    always: Callable[[Range, Range], bool], never: Callable[[Range, Range], bool]
) -> Rule:
    def rule(a: Range, b: Range) -> Range:
        if not (a.whole and b.whole):  # a float may be NaN
            return BIT
        return Range(int(always(a, b)), int(not never(a, b)), True)

    return rule


def _apart(a: Range, b: Range) -> bool:
    return a.high < b.low or b.high < a.low


def _one(a: Range, b: Range) -> bool:
    return a.low == a.high == b.low == b.high


RULES: Mapping[str, Rule] = {
    "+": lambda a, b: Range(a.low + b.low, a.high + b.high, a.whole and b.whole),
    "-": lambda a, b: Range(a.low - b.high, a.high - b.low, a.whole and b.whole),
    "*": _corners(_times),
    "/": lambda a, b: ANY,
    "//": _divided(_floor),
    "%": _remainder,
    "cdiv": _divided(_ceil),
    "min": _corners(min),
    "max": _corners(max),
    "<": _compared(lambda a, b: a.high < b.low, lambda a, b: b.high <= a.low),
    "<=": _compared(lambda a, b: a.high <= b.low, lambda a, b: b.high < a.low),
    "==": _compared(_one, _apart),
    "!=": _compared(_apart, _one),
}


def bounds(e: Expr, known: Known) -> Range:
    """The range of ``e``; a name that is not ``known`` can be anything."""
    if isinstance(e, Const):
        return Range(e.value, e.value, isinstance(e.value, int))
    if isinstance(e, Var):
        return known.get(e.name, ANY)
    return RULES[e.op](bounds(e.a, known), bounds(e.b, known))


def decided(test: Expr, known: Known) -> bool | None:
    """Which way a branch always goes; None if that depends."""
    found = bounds(test, known)
    if found.low == found.high == 0:
        return False
    return True if found.low > 0 or found.high < 0 else None


def surely_runs(loop: Loop, known: Known) -> bool:
    """Whether a loop has an iteration whenever it is reached."""
    return bounds(loop.trips, known).low >= 1


# ------------------------------------------------------------------------- what is known of names


def of_launch(kernel: Kernel) -> dict[str, Range]:
    """Parameters, sizes, and what the launch provides."""
    known = {p.name: INTEGER if p.dtype == "i32" else ANY for p in kernel.params if not p.shape}
    known |= dict.fromkeys(kernel.dims, SIZE)
    known |= {"block_idx": COUNTER, "block_num": SIZE, "lane": BIT}
    known |= of_tables(((p.name, p.facts) for p in kernel.params), known)
    for axis, size in enumerate(kernel.grid):
        known[f"pid{axis}"] = counted(size, known)
    return known


def of_tables(stated: Iterable[tuple[str, tuple[Fact, ...]]], known: Known) -> dict[str, Range]:
    """What the types of tables say of all their entries."""
    found: dict[str, Range] = {}
    facts = list(stated)
    for name, within in ((n, f) for n, fs in facts for f in fs if isinstance(f, Within)):
        low, high = bounds(within.low, known).low, bounds(within.high, known).high
        found[entry_of(name)] = Range(low, high - 1, True)
    for name in (f.count for _, fs in facts for f in fs if isinstance(f, Ranges)):
        within_it = found.get(entry_of(name), INTEGER)
        found[entry_of(name)] = replace(within_it, low=max(within_it.low, 0))
    return found


def entry_of(table: str) -> str:
    """The name of what is known of every entry of a table."""
    return f"{table}[]"


def counted(trips: Expr, known: Known) -> Range:
    """A counter that takes ``trips`` values from 0 up."""
    return Range(0, max(bounds(trips, known).high - 1, 0), True)


def inside(loop: Loop, known: Known) -> dict[str, Range]:
    """What is known in the body of a loop, whose scalars are defined before they are used."""
    return {**known, loop.index: counted(loop.trips, known), loop.total: COUNTER}


def noted(row: Row, known: Known) -> dict[str, Range]:
    """``known`` behind a row: a scalar that it defines has the range of its value."""
    if not isinstance(row.out, Scalar):
        return dict(known)
    return {**known, row.out.name: of_row(row, known)}


def of_row(row: Row, known: Known) -> Range:
    """What the scalar can be that a row defines; 0 where its test is."""
    found = OF_ROW[row.op](row, known)
    return _joined(found, Range(0, 0, found.whole)) if row.tests else found


def read(row: Row, known: Known) -> Range:
    """What a ``read`` gives."""
    if names_a_float(row):
        return ANY
    return known.get(entry_of(row.operand(View).tensor), INTEGER)


def folded(row: Row, known: Known) -> Range:
    """What a ``fold`` gives: from where it starts, as far as its steps move it."""
    fold = fold_of(row)
    start, drift = bounds(fold.starts[0], known), _drift(fold, known)
    if drift is None:
        state, step, inside = fold.states[0], fold.steps[0], _in_fold(fold, known)
        return _settled(start, lambda r: bounds(step, {**inside, state.name: r}))
    count = Range(0, max(bounds(fold.trips, known).high, 0), True)
    return RULES["+"](start, RULES["*"](count, drift))


def _in_fold(fold: Fold, known: Known) -> dict[str, Range]:
    """What is known in a step."""
    inside = {**known, INDEX.name: counted(fold.trips, known)}
    inside |= {x.name: known.get(entry_of(v.tensor), INTEGER) for x, v in fold.read}
    return inside | dict.fromkeys((x.name for x in fold.states), INTEGER)


def _drift(fold: Fold, known: Known) -> Range | None:
    """What a step adds; None where that goes by the number that it is added to."""
    inside, state = _in_fold(fold, known), fold.states[0]
    constant, moved = linear(Bin("-", fold.steps[0], state))
    if any(state.name in names_in(atom) for atom in moved):
        return None
    drift = Range(constant, constant, True)
    for atom, times in moved.items():
        some = RULES["*"](bounds(atom, inside), Range(times, times, True))
        drift = RULES["+"](drift, some)
    return drift


def is_sum(fold: Fold, known: Known) -> bool:
    """Whether every step adds what is never negative, and nothing ends it early."""
    drift = _drift(fold, known)
    return fold.until == Const(0) and drift is not None and drift.low >= 0


def _settled(start: Range, step: Callable[[Range], Range]) -> Range:
    """A range that no step leaves: an end that goes on moving behind the first step is open."""
    found = _joined(start, step(start))
    while True:
        then = step(found)
        low = found.low if then.low >= found.low else -inf
        high = found.high if then.high <= found.high else inf
        if (low, high) == (found.low, found.high):
            return found
        found = Range(low, high, True)


def _joined(a: Range, b: Range) -> Range:
    return Range(min(a.low, b.low), max(a.high, b.high), a.whole and b.whole)


OF_ROW: Mapping[str, Callable[[Row, Known], Range]] = {
    "let": lambda row, known: bounds(row.scalar(), known),
    "read": read,
    "fold": folded,
}
"""By the op of a row that defines a scalar: what that can be."""
