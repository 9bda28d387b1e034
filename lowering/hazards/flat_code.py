"""Flat loops (``pto/ir.py``) as code for the hazard checker: a cursor for every stage of every core.

In: a flat loop.  Out: its instructions, the loops it consists of, and which stages are blind.
Non-goals: walking through it (``lowering/hazards/course.py``).
"""

from __future__ import annotations

from lowering.hazards.counters import ABSENT, LETTERS
from lowering.hazards.instructions import (
    AGAIN,
    EDGE,
    FLAT,
    ROW,
    START,
    Instruction,
    LoopCode,
    Refused,
    Step,
)
from lowering.hazards.places import Places
from pto.errors import PtoError
from pto.ir import CORES, Block, Expr, Loop, Row, Var, all_rows
from pto.legality import flat_nest
from pto.ops import OPS

Guards = tuple[tuple[Expr, bool], ...]
Scalars = list[dict[str, Expr]]
"""By core: what each scalar stands for."""


class FlatLoops(Places):
    """The part of ``Code`` that compiles flat loops, and what it takes from the rest."""

    loops: list[LoopCode]
    steps: list[Step]
    code: list[list[Instruction]]
    may_be_blind: bool
    cursor: int
    """The stage of the row that is being compiled, ABSENT outside of flat loops."""
    cursors: list[int]
    """The core of every cursor."""
    shuffled: set[str]
    """Counters of flat loops that do not run in order."""
    leads: dict[tuple[int, int], int]
    flats: dict[int, list[tuple[int, int, bool]]]
    """Of every flat loop the (cursor, inner loop or ABSENT, is it blind) of its stages."""

    def _enter(
        self, node: Loop, parent: int, scalars: Scalars, shifts: tuple[int, int], guards: Guards
    ) -> int:
        raise NotImplementedError

    def _counted(self, number: int, scalars: Scalars) -> Scalars:
        raise NotImplementedError

    def _define_scalars(self, block: Block, scalars: Scalars) -> None:
        raise NotImplementedError

    def _compile_row(
        self, row: Row, loop: int, scalars: Scalars, loops: tuple[int, ...], guards: Guards
    ) -> None:
        raise NotImplementedError

    def _patch(self, c: int, places: list[int]) -> None:
        raise NotImplementedError

    def _compile_flat(
        self,
        node: Loop,
        parent: int,
        scalars: Scalars,
        loops: tuple[int, ...],
        guards: Guards,
    ) -> None:
        """A flat loop and the one in it (``pto/ir.py``): a cursor for every stage of every core,
        each a number of positions behind the first one of its core."""
        if parent != ABSENT or guards:
            raise Refused(f"the flat loop {node.index} is inside of a loop or a branch")
        try:
            flat_nest(node)
        except PtoError as illegal:
            self.fault("illegal", illegal.message)
            return
        outer = self._enter(node, parent, scalars, (0, 0), ())
        around = self._counted(outer, scalars)
        self._define_scalars(node.body, around)
        inside = node.body[node.inner]
        assert isinstance(inside, Loop)
        inner = self._enter(inside, outer, around, (0, 0), ())
        within = self._counted(inner, around)
        self._define_scalars(inside.body, within)
        for s in around if inside.total else ():
            s[inside.total] = Var(f"u#{inner}")
        empty = self._empties(outer, inner)
        for c, core in enumerate(CORES):
            rows = [r for r in all_rows(node.body) if r.core == core and OPS[r.op].kind != "scalar"]
            if rows:
                self._flat_core(c, rows, (outer, inner, empty), [around, within])

    def _empties(self, outer: int, inner: int) -> int:
        """A loop whose trip count is how many items of a flat loop have an empty inner loop;
        ABSENT if none can have one.  Such items come first, so the others have iterations."""
        if self.loops[inner].least > 0:
            return ABSENT
        node, number = self.loops[outer].node, len(self.loops)
        self.loops.append(LoopCode(number, node, ABSENT, 0, 0, Var(f"empty${number}"), None, 0))
        self.loops[inner].least = 1
        self.shuffled.add(f"i#{outer}")
        return number

    def _flat_core(
        self,
        c: int,
        rows: list[Row],
        numbers: tuple[int, int, int],
        scalars: list[Scalars],
    ) -> None:
        """The rows of one core in a flat loop; the scalars beside and inside the inner loop."""
        outer, inner, empty = numbers
        node = self.loops[outer].node
        mine = {id(r) for r in all_rows((node.body[node.inner],))}
        first = {id(r) for r in node.body[: node.inner]}
        if not any(id(r) in mine for r in rows):
            if empty != ABSENT:
                text = f"which may be empty, and the {CORES[c]} core has no row there"
                raise Refused(f"the flat loop {node.index} runs by its inner loop, {text}")
            inner = ABSENT
        shifts = sorted({r.shift for r in rows}, reverse=True)
        cursor = {s: len(self.cursors) + k for k, s in enumerate(shifts)}
        self.cursors += [c] * len(shifts)
        delays = tuple((k, shifts[0] - s) for s, k in cursor.items())
        self.code[c].append((START, delays, outer, empty))
        head = len(self.code[c])
        self.code[c].append((FLAT, outer, inner, empty, delays, ()))
        for r in rows:
            self.cursor = cursor[r.shift]
            if id(r) in mine:
                self._compile_row(r, inner, scalars[1], (outer, inner), ())
                continue
            before = len(self.code[c])
            self.code[c].append((EDGE, self.cursor, outer, inner, id(r) in first))
            self._compile_row(r, outer, scalars[0], (outer,), ())
            self._patch(c, [before])
        self.cursor = ABSENT
        self.code[c].append((AGAIN, head))
        self._patch(c, [head])

    def _finish_flat_loops(self) -> None:
        """Who has a place in the loops, now that it is known which stages are blind."""
        for c, code in enumerate(self.code):
            for at, ins in enumerate(code):
                if ins[0] != FLAT:
                    continue
                _, outer, inner, empty, delays, _, leave = ins
                blind = self._blind(outer, inner, code[at:leave])
                code[at] = (*ins[:5], blind, leave)
                every = [k for k, _ in delays]
                sighted = [k for k in every if k not in blind]
                for number, cursors in ((outer, sighted), (inner, sighted), (empty, every)):
                    if number != ABSENT and cursors:
                        self.loops[number].cores.append(c)
                        self.loops[number].cursors += cursors
                self.leads[c, outer] = (sighted or every)[0]
                self.leads[c, inner] = every[0]
                self.flats.setdefault(outer, []).extend((k, inner, k in blind) for k in every)

    def _blind(self, outer: int, inner: int, code: list[Instruction]) -> tuple[int, ...]:
        """The stages of a core that need not know where items begin (``lowering/hazards/course.py``)."""
        flats = [ins for side in self.code for ins in side if ins[0] == FLAT and ins[1] == outer]
        if (
            not self.may_be_blind
            or self.loops[inner].least > 1
            or any(x[2] == ABSENT for x in flats)
        ):
            return ()
        sighted = {ins[1] for ins in code if ins[0] == EDGE}
        rows = [ins for ins in code if ins[0] == ROW]
        for ins in rows:
            by_position = all(LETTERS[v[0]] == "u" and v[1] == inner for v in ins[4])
            if not by_position or self.steps[ins[1]].tracked:
                sighted.add(ins[8])
        return tuple(dict.fromkeys(ins[8] for ins in rows if ins[8] not in sighted))

    def lead(self, c: int, loop: int) -> int:
        """The cursor of core ``c`` that is furthest in ``loop``."""
        return self.leads.get((c, loop), c)
