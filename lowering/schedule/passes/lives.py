"""When every value is alive: where it is made, and who reads it.

In: rows with shifts on named values.  Out: ``Lives``.  Non-goals: where values lie (groups, place).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lowering.schedule.passes.moments import Moment
from pto import ir
from pto.legality import straight


@dataclass(slots=True)
class Life:
    """Where a value is made and read: loops around it, position and shift, pipes."""

    row: ir.Row | None
    path: tuple[ir.Loop, ...]
    made: int
    shift: int
    reads: list[tuple[tuple[ir.Loop, ...], int, int, ir.Row]] = field(default_factory=list)


def walk(
    block: ir.Block, path: tuple[ir.Loop, ...], tick: int = 0
) -> Iterator[tuple[int, tuple[ir.Loop, ...], ir.Node]]:
    """(tick, loops around, node) in the order written; a loop has the tick of its head."""
    for node in straight(block):
        tick += 1
        yield tick, path, node
        if isinstance(node, ir.Loop):
            for inner in walk(node.body, (*path, node), tick):
                tick = inner[0]
                yield inner
            tick += 1


class Lives:
    """``lives``: by value.  ``ticks``: of every loop, by its id, its place in the text."""

    def __init__(self, kernel: ir.Kernel) -> None:
        self.kernel = kernel
        self.lives: dict[str, Life] = {}
        self.ticks: dict[int, int] = {}
        self.survey()

    def survey(self) -> None:
        """Definitions first: in step order a row may stand before the load that feeds it."""
        for tick, path, node in walk(self.kernel.body, ()):
            if isinstance(node, ir.Row) and isinstance(node.out, ir.Define):
                self.lives[node.out.name] = Life(node, path, tick, node.shift)
            elif isinstance(node, ir.Loop):
                self.ticks[id(node)] = tick
                for c in node.carry:
                    self.lives[c.name] = Life(None, (*path, node), tick, 0)
                    self.lives[c.last] = Life(None, path, tick + len(node.body) + 1, 0)
        for tick, path, node in walk(self.kernel.body, ()):
            if isinstance(node, ir.Row):
                for a in (*node.args, node.other):
                    if isinstance(a, ir.Ref):
                        self.lives[a.name].reads.append((path, tick, node.shift, node))

    def born(self, name: str) -> Moment:
        """When a value is made, as its own iteration sees it."""
        life = self.lives[name]
        return self._moment(life.path, life, life.shift, life.made)

    def ends(self, name: str) -> list[Moment]:
        """When a value is read, as its own iteration sees it; in a loop inside, the last time."""
        life = self.lives[name]
        reads = [self._moment(path, life, shift, tick) for path, tick, shift, _ in life.reads]
        return reads or [self.born(name)]

    def dead(self, name: str, when: Moment) -> bool:
        """All reads of a value are surely not behind ``when``."""
        return all(end.surely_before(when) for end in self.ends(name))

    def _moment(self, path: tuple[ir.Loop, ...], life: Life, shift: int, tick: int) -> Moment:
        """A row at ``tick`` in ``path`` as an iteration of the innermost loop around ``life`` sees
        it."""
        home = life.path[-1] if life.path else None
        if home is None or not home.flat:
            return Moment(-shift if path == life.path else 0, (tick,))
        return Moment(-shift, (tick,), tick > self.ticks[id(home.inside)], True)

    def lag(self, name: str, path: tuple[ir.Loop, ...], shift: int) -> int:
        """Steps from ``shift`` to the last stage of this loop that reads a value."""
        return max([0, *(shift - s for where, _, s, _ in self.lives[name].reads if where == path)])

    def on_cube(self, name: str) -> bool:
        """Whether a value that a loop yields is a sum in L0C, the last value of a loop inside included."""
        row = self.lives[name].row
        inner = (
            (c.last, r.name)
            for x in ir.loops_of(self.kernel.body)
            for c, r in zip(x.carry, x.result, strict=True)
        )
        if row is None:
            return any(last == name and self.on_cube(r) for last, r in inner)
        return row.core == "cube"
