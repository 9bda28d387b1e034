"""The number of a ``fold`` row, step by step, as the numpy executors compute it.

In: a fold, and how an element of a table is read.  Out: a Python function from scalars to its number.
Non-goals: whether it has one, and reads inside of its tables (``lowering/execute/inputs.py``, before any run).
"""

from __future__ import annotations

from collections.abc import Callable

from lowering.execute.access import Env, Scope, compiled
from pto import ir
from pto.arithmetic import Number
from pto.folds import INDEX, Fold

Value = Callable[[Env], Number]


def folded(fold: Fold, read: Callable[[ir.View], Value]) -> Callable[[Scope], Number]:
    """A function from the scalars around a fold to its number."""
    trips, until = compiled(fold.trips), compiled(fold.until)
    starts, steps = map(compiled, fold.starts), [compiled(e) for e in fold.steps]
    begin = [(x.name, start) for x, start in zip(fold.states, starts, strict=True)]
    entries = [(x.name, read(view)) for x, view in fold.read]
    asked, others = entries[: fold.asked], entries[fold.asked :]

    def value(env: Scope) -> Number:
        inside = Scope(env)
        inside.update({name: start(env) for name, start in begin})
        for i in range(int(trips(env))):
            inside[INDEX.name] = i
            for name, entry in asked:
                inside[name] = entry(inside)
            if until(inside):
                break
            for name, entry in others:
                inside[name] = entry(inside)
            found = [step(inside) for step in steps]
            inside.update({name: n for (name, _), n in zip(begin, found, strict=True)})
        return inside[fold.states[0].name]

    return value
