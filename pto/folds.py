"""Scalars that go from step to step, as a sum over entries of a table does: what a ``fold`` row says.

In: a row of the op ``fold``.  Out: its parts, the names that only they know, its value.  A fold is pure: its value
follows from scalars and from tables that nothing writes, so whoever needs it computes it, on either core,
for any iteration.  Non-goals: how users write one (``pto/scalar_loops.py``).

The row is ``fold trips, until, start, step, ..., entry, ...``: one start and one step for each number that it hands
on, the first of which is its value, and the elements of tables that a step reads.  ``fold.i`` is the number of the
step, ``fold.s0`` what was handed to it, ``fold.x0`` what it reads; a name with a dot is nobody else's::

    n = fold 8, fold.x0 < 0, 0, fold.s0 + 1, pages[b, fold.i]

    s0 = 0
    for i in 0 .. 8:
        x0 = pages[b, i]
        if x0 < 0: break
        s0 = s0 + 1
    n = s0
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pto.arithmetic import Number
from pto.ir import Expr, Operand, Row, Var, View, evaluate, names_in

MOST_STATES, MOST_ENTRIES = 4, 8
"""That one row hands on, and reads in a step."""
INDEX = Var("fold.i")
STATES = tuple(Var(f"fold.s{k}") for k in range(MOST_STATES))
ENTRIES = tuple(Var(f"fold.x{k}") for k in range(MOST_ENTRIES))
NAMES = frozenset(x.name for x in (INDEX, *STATES, *ENTRIES))
"""What is known inside of a fold only."""


@dataclass(frozen=True, slots=True)
class Fold:
    """``trips`` steps at most, up to the first in which ``until`` is not 0.  A step reads the ``entries`` that
    ``until`` goes by, asks for it, reads the others, and assigns all ``steps`` at once; each of the entries may go by
    those before it."""

    trips: Expr
    until: Expr
    starts: tuple[Expr, ...]
    steps: tuple[Expr, ...]
    entries: tuple[View, ...]

    @property
    def args(self) -> tuple[Operand, ...]:
        """The operands of its row."""
        pairs = zip(self.starts, self.steps, strict=True)
        return (self.trips, self.until, *(e for pair in pairs for e in pair), *self.entries)

    @property
    def states(self) -> tuple[Var, ...]:
        """What is handed on, by name."""
        return STATES[: len(self.starts)]

    @property
    def asked(self) -> int:
        """How many of the entries are read before ``until`` is asked for."""
        names = frozenset(names_in(self.until))
        return max((k + 1 for k, (x, _) in enumerate(self.read) if x.name in names), default=0)

    @property
    def read(self) -> tuple[tuple[Var, View], ...]:
        """The entries by name, in the order in which they are read."""
        return tuple(zip(ENTRIES[: len(self.entries)], self.entries, strict=True))

    def value(self, env: Callable[[str], Number], entry: Callable[[View, Env], Number]) -> Number:
        """Its value where ``env`` knows the names around it; ``entry`` reads an element.

        Raises:
            NumberError: when a scalar in it has none.
        """
        inside: dict[str, Number] = {}

        def known(name: str) -> Number:
            return inside[name] if name in inside else env(name)

        numbers = [evaluate(e, env) for e in self.starts]
        for i in range(int(evaluate(self.trips, env))):
            inside[INDEX.name] = i
            inside.update({x.name: n for x, n in zip(self.states, numbers, strict=True)})
            for x, view in self.read[: self.asked]:
                inside[x.name] = entry(view, known)
            if evaluate(self.until, known):
                break
            for x, view in self.read[self.asked :]:
                inside[x.name] = entry(view, known)
            numbers = [evaluate(e, known) for e in self.steps]
        return numbers[0]


Env = Callable[[str], Number]


def fold_of(row: Row) -> Fold:
    """What a legal row of the op says."""
    trips, until, *rest = row.args
    numbers = [x for x in rest if isinstance(x, Expr)]
    entries = tuple(x for x in rest if isinstance(x, View))
    assert isinstance(trips, Expr), row
    assert isinstance(until, Expr), row
    return Fold(trips, until, tuple(numbers[::2]), tuple(numbers[1::2]), entries)


def misfit(row: Row) -> str:
    """What is wrong with the order of its operands, '' if nothing is."""
    kinds = [isinstance(x, View) for x in row.args]
    count = kinds.index(True) if True in kinds else len(kinds)
    if count % 2 or not all(kinds[count:]):
        return "a start and a step of each number, then the elements that a step reads"
    if count > 2 + 2 * MOST_STATES or len(kinds) - count > MOST_ENTRIES:
        return f"at most {MOST_STATES} numbers and {MOST_ENTRIES} elements"
    return ""


def known_in(row: Row) -> Iterator[frozenset[str]]:
    """By operand, the names that only it knows: none of a row that is no fold."""
    if row.op != "fold":
        yield from (frozenset() for _ in row.args)
        return
    fold = fold_of(row)
    handed = {INDEX.name, *(x.name for x in fold.states)}
    read = [x.name for x, _ in fold.read]
    whole, nothing = frozenset({*handed, *read}), frozenset[str]()
    yield from (nothing, whole)
    yield from (nothing, whole) * len(fold.starts)
    yield from (frozenset({*handed, *read[:k]}) for k in range(len(read)))
