"""What named values of a traced program hold, in every work item and every iteration.

In: a traced kernel, bound arrays, names of its tiles and scalars, as ``pto show --stage traced`` prints
them.  Out: by name, every value that it had, in the order of the run, with where that was.
Invariant: the values are those of the executor ``sequential`` (``sequential.py``), which runs as it always
does; of a carried tile, what it holds as each iteration begins.
Non-goals: what slots of a scheduled program hold, files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lowering.execute.access import Array, Scope
from lowering.execute.inputs import Bound, pid_names
from lowering.execute.said import Where, place
from lowering.execute.sequential import Action, Interpreter, Tiles, ready
from pto import ir
from pto.errors import InputError, did_you_mean


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a tile, or of a scalar as an array without dimensions."""

    where: Where
    array: Array

    @property
    def place(self) -> str:
        return place(self.where)


def named(kernel: ir.Kernel) -> Iterator[str]:
    """The tiles and scalars of a traced program, in the order of its text."""

    def below(block: ir.Block) -> Iterator[str]:
        for node in block:
            if isinstance(node, ir.Row):
                if isinstance(node.out, ir.Define | ir.Scalar):
                    yield node.out.name
            elif isinstance(node, ir.Loop):
                yield from (c.name for c in node.carry)
                yield from below(node.body)
                yield from (c.last for c in node.carry)
            else:
                yield from below((*node.then, *node.orelse))

    return below(kernel.body)


def check_names(kernel: ir.Kernel, names: Iterable[str]) -> None:
    """
    Raises:
        InputError: for a name of no value of the traced program ``kernel``.
    """
    known = tuple(named(kernel))
    for name in names:
        if name not in known:
            message = f"no value of the traced program is called '{name}'"
            raise InputError(message, hint=did_you_mean(name, known, "there are"))


def values_of(
    kernel: ir.Kernel, bound: Bound, names: Sequence[str]
) -> Mapping[str, Sequence[Value]]:
    """Every value that each of ``names`` had; ``bound`` is left as it is.

    Raises:
        InputError: for a name that there is not; as ``sequential.run``.
    """
    check_names(kernel, names)
    with ready(kernel, bound):
        seen = Observed(kernel, bound, names)
        seen.run()
    return seen.found


class Counting(Interpreter):
    """The interpreter, that knows of every row which work item and which iterations it is of."""

    def __init__(self, kernel: ir.Kernel, bound: Bound) -> None:
        self.counters = pid_names(kernel)
        super().__init__(kernel, bound)

    def inside(self, loop: ir.Loop) -> Action:
        around = self.counters
        if not loop.is_guard:  # its one step says nothing
            self.counters = (*around, loop.index)
        body = self.iteration(loop)
        self.counters = around
        return body

    def iteration(self, loop: ir.Loop) -> Action:
        return super().inside(loop)

    def place(self) -> Callable[[Scope], Where]:
        """Where the row that is being made stands, when it runs."""
        counters = self.counters
        return lambda scope: tuple((counter, int(scope[counter])) for counter in counters)


class Observed(Counting):
    """The interpreter, that also keeps what some names held."""

    def __init__(self, kernel: ir.Kernel, bound: Bound, names: Sequence[str]) -> None:
        self.found: dict[str, list[Value]] = {name: [] for name in names}
        super().__init__(kernel, bound)

    def node(self, node: ir.Node) -> Action:
        made = super().node(node)
        if isinstance(node, ir.Loop):
            return self.keeping(made, (), tuple(c.last for c in node.carry))
        if isinstance(node, ir.Row) and isinstance(node.out, ir.Define | ir.Scalar):
            return self.keeping(made, (), (node.out.name,))
        return made

    def iteration(self, loop: ir.Loop) -> Action:
        return self.keeping(super().iteration(loop), tuple(c.name for c in loop.carry), ())

    def keeping(self, action: Action, before: Sequence[str], after: Sequence[str]) -> Action:
        """``action``, and what those of the names that are asked for hold before and after it."""
        first, last = self.kept(before), self.kept(after)
        if not first and not last:
            return action

        def run(tiles: Tiles, scope: Scope) -> None:
            for keep in first:
                keep(tiles, scope)
            action(tiles, scope)
            for keep in last:
                keep(tiles, scope)

        return run

    def kept(self, names: Sequence[str]) -> list[Callable[[Tiles, Scope], None]]:
        return [self.keep(name) for name in names if name in self.found]

    def keep(self, name: str) -> Action:
        found, where = self.found[name], self.place()

        def run(tiles: Tiles, scope: Scope) -> None:
            held = tiles[name] if name in tiles else np.asarray(scope[name])
            found.append(Value(where(scope), held))

        return run
