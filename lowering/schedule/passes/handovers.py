"""Which accesses of which buffers must not overlap, and which of these orders others imply.

In: rows on buffers.  Out: ``Handover``: an access that must end before another starts, so many iterations
later, for every pair of pipes that share a slot.  Invariant: with an event for each that is needed, every two
conflicting accesses of different pipes are ordered; the proof (``lowering/hazards/``) judges the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from lowering.schedule.passes.moments import Moment
from pto import ir
from pto.legality import straight
from pto.row_rules import touched

Pair = tuple[str, str, str]
"""A core and two of its pipes."""


@dataclass(frozen=True, slots=True)
class Access:
    """One row's use of a buffer, or all uses that an inner loop, or an item with it, makes of it on
    one pipe."""

    path: ir.Path
    pipe: str
    writes: bool
    index: ir.Expr | None
    begin: Moment
    end: Moment
    loop: ir.Path | None
    """The loop whose uses they are, or the one beside the row in a flat loop."""

    @property
    def is_loop(self) -> bool:
        """Not a row, but all that a loop does; its flags stand on rows around the loop."""
        return self.path == self.loop


@dataclass(frozen=True, slots=True)
class Handover:
    """``first`` must end before ``then`` starts, ``distance`` iterations of their block later; the event
    for it is at the same id again every ``turns`` iterations."""

    buffer: ir.Buffer
    kind: str
    first: Access
    then: Access
    distance: int
    turns: int

    @property
    def block(self) -> ir.Path:
        return self.first.path[:-1]

    @property
    def name(self) -> str:
        return f"{self.buffer.name}.{self.kind}"

    @property
    def pair(self) -> Pair:
        return self.buffer.core, self.first.pipe, self.then.pipe

    @property
    def pipes(self) -> str:
        return f"{self.first.pipe} -> {self.then.pipe}"


Chain = tuple[Handover, ...]


def homes(
    block: ir.Block, ring: Ring, named: Named, path: ir.Path = (), inner: int | None = None
) -> Iterator[list[Access]]:
    """Accesses to a ring, seen from the innermost block that contains them all, in the order of an iteration of
    one position; then those inside each loop of several.  ``inner``: of a flat loop, where the loop in it stands."""
    holders = [k for k, n in enumerate(block) if not ring.names.isdisjoint(named[id(n)])]
    loops = [k for k in holders if isinstance(block[k], ir.Loop)]
    if holders != loops or len(loops) > 1:
        found = [a for k in holders for a in _accesses(block[k], ring, (*path, k), inner)]
        yield sorted(found, key=lambda a: a.begin.of_one)
    for k in loops if holders == loops else ():
        loop = block[k]
        assert isinstance(loop, ir.Loop)
        inside = loop.inner if loop.flat else None
        yield from homes(loop.body, ring, named, (*path, k), inside)


Named = dict[int, frozenset[str]]
"""Of each node, by its id, what its rows name, by ``name_of``."""


def names_of(block: ir.Block) -> Named:
    """Of every node below."""
    found: Named = {}
    for node in straight(block):
        if isinstance(node, ir.Loop):
            found |= names_of(node.body)
            found[id(node)] = frozenset().union(*(found[id(n)] for n in node.body))
        else:
            found[id(node)] = frozenset(
                name_of(x) for x in (*node.args, node.out) if isinstance(x, ir.Ref)
            )
    return found


def _accesses(node: ir.Node, ring: Ring, path: ir.Path, inner: int | None) -> Iterator[Access]:
    """Of a loop one access per pipe; in a flat loop at the stages of its rows.  A row for which all pipes stop is in
    order with every other one."""
    rows = [r for r in ir.all_rows((node,)) if ring.of(r) and r.pipe != "ALL"]
    flat = inner is not None
    if isinstance(node, ir.Row):
        when, beside = Moment(-node.shift, path), None
        if inner is not None:
            when, beside = Moment(-node.shift, path, path[-1] > inner, True), (*path[:-1], inner)
        for r in rows:
            yield Access(path, r.pipe, ring.writes(r), ring.index(r), when, when, beside)
        return
    for pipe in dict.fromkeys(r.pipe for r in rows):
        mine = [r for r in rows if r.pipe == pipe]
        writes = any(ring.writes(r) for r in mine)
        steps = [-r.shift if flat else 0 for r in mine]
        begin, end = Moment(min(steps), path, False, flat), Moment(max(steps), path, flat, flat)
        yield Access(path, pipe, writes, ring.index(rows[0]), begin, end, path)


def together(accesses: list[Access]) -> Access:
    """Accesses of one pipe beside and in the loop of an item, as one."""
    a = accesses[0]
    assert a.loop is not None
    begin = Moment(min(x.begin.step for x in accesses), a.loop, False, True)
    end = Moment(max(x.end.step for x in accesses), a.loop, True, True)
    return Access(a.loop, a.pipe, any(x.writes for x in accesses), a.index, begin, end, a.loop)


def first_of(accesses: list[Access]) -> Access:
    """The access that surely begins first, or all of them together."""
    first = min(accesses, key=lambda a: a.begin.of_one)
    sure = all(first.begin.surely_before(a.begin) for a in accesses)
    return first if sure else together(accesses)


def last_of(accesses: list[Access]) -> Access:
    """The access that surely ends last, or all of them together."""
    last = max(accesses, key=lambda a: a.end.of_one)
    sure = all(a.end.surely_before(last.end) for a in accesses)
    return last if sure else together(accesses)


@dataclass(frozen=True, slots=True)
class Ring:
    """Slots that turn together: ``names``: by which ``name_of`` calls them.  ``parts``: they are several rings,
    each with handovers of its own, and only what is around all of them is of interest."""

    buffer: ir.Buffer
    names: frozenset[str]
    parts: bool = False

    def of(self, row: ir.Row) -> list[ir.Ref]:
        """Where a row names one of them."""
        refs = (x for x in (row.out, *row.args) if isinstance(x, ir.Ref))
        return [x for x in refs if name_of(x) in self.names]

    def writes(self, row: ir.Row) -> bool:
        """Whether a row writes one of them."""
        return any(isinstance(x, ir.Ref) and name_of(x) in self.names for x in touched(row)[1])

    def index(self, row: ir.Row) -> ir.Expr | None:
        """The step that says which slot of it a row names."""
        return in_step(self.of(row)[0].index)[2]


def rings(kernel: ir.Kernel) -> Iterator[Ring]:
    """Of every buffer; one of which a step takes several slots is as many rings, each of the slots that one
    place of a step takes.  Then of every memory with buffers over each other, which are those of loops one after the
    other: all of them as one slot."""
    refs = [x for r in ir.all_rows(kernel.body) for x in (r.out, *r.args) if isinstance(x, ir.Ref)]
    names = {b.name: sorted({name_of(x) for x in refs if x.name == b.name}) for b in kernel.buffers}
    steps = {x.name: in_step(x.index)[0] for x in refs}
    for b in kernel.buffers:
        depth = max(b.depth // steps.get(b.name, 1), 1)
        for k, name in enumerate(names[b.name]):
            yield Ring(replace(b, depth=depth, at=b.at + k * b.stride), frozenset((name,)))
    for space, buffers in over_each_other(kernel).items():
        those = frozenset(name for b in buffers for name in names[b.name])
        yield Ring(replace(buffers[0], name=space, depth=1), those, True)


def over_each_other(kernel: ir.Kernel) -> dict[str, list[ir.Buffer]]:
    """By memory the buffers that share bytes with others."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for b in kernel.buffers:
        spans.setdefault(b.space, []).append(_span(b))
    found: dict[str, list[ir.Buffer]] = {}
    for b in kernel.buffers:
        start, end = _span(b)
        if sum(start < last and other < end for other, last in spans[b.space]) > 1:  # itself is one
            found.setdefault(b.space, []).append(b)
    return found


def shares_bytes(a: ir.Buffer, b: ir.Buffer) -> bool:
    (start, end), (other, last) = _span(a), _span(b)
    return a.space == b.space and start < last and other < end


def _span(b: ir.Buffer) -> tuple[int, int]:
    """From the first byte of its first slot to behind the last byte of its last one."""
    return b.at, b.at + b.stride * (b.depth - 1) + b.type.size_bytes


def in_step(index: ir.Expr | None) -> tuple[int, int, ir.Expr | None]:
    """u * 2 + 1 --> 2, 1, u: so many slots in a step, which of them, and the step."""
    constant, terms = ir.linear(index) if index is not None else (0, {})
    match list(terms.items()):
        case [(step, int(slots))] if slots > 1:
            return slots, int(constant) % slots, step
    return 1, 0, index


def name_of(ref: ir.Ref) -> str:
    """The ring of a slot."""
    slots, place, _ = in_step(ref.index)
    return f"{ref.name}.{place}" if slots > 1 else ref.name


def all_handovers(kernel: ir.Kernel) -> Iterator[Handover]:
    """The conflicts of every buffer, nearest pair of accesses per pair of pipes.

    Forward: within one iteration.  Back: to the next use of the slot, ``depth`` iterations later,
    unless a forward handover of the same pipes says it already; outside of all loops there is none.
    """
    named = names_of(kernel.body)
    for ring in rings(kernel):
        blocks = islice(homes(kernel.body, ring, named), 1 if ring.parts else None)
        around, *inside = ([*handovers_of(ring.buffer, accesses)] for accesses in blocks)
        if len({signature(found) for found in inside}) != 1:
            yield from around  # else each loop hands over to the next by the events of its own
        yield from (h for found in inside for h in found)


def signature(handovers: list[Handover]) -> frozenset[tuple[object, ...]]:
    """What handovers of two buffers have in common that can share their events."""
    return frozenset((h.kind, h.pair, h.turns, h.distance) for h in handovers)


def in_a_row(a: Handover, b: Handover) -> bool:
    """In loops of one block, one after the other."""
    return len(a.block) == len(b.block) > 1 and a.block != b.block and a.block[:-1] == b.block[:-1]


def handovers_of(buffer: ir.Buffer, accesses: list[Access]) -> Iterator[Handover]:
    """The same of one buffer in one block."""
    full: list[Handover] = []
    for k, then in enumerate(accesses):
        for first in _latest_conflicts(accesses[:k], then):
            if not _covered(full, first, then):
                waits = _earliest_conflict(first, accesses[k:], then.pipe)
                full.append(Handover(buffer, "full", first, waits, 0, buffer.depth))
    free: list[Handover] = []
    for then in accesses if home_of(accesses) else ():
        for first in _latest_conflicts(accesses, then):
            pipes = (first.pipe, then.pipe)
            same = any(
                (h.first.pipe, h.then.pipe) == pipes and first.end.surely_before(h.first.end)
                for h in full
            )
            if not same and not _covered(free, first, then):
                waits = _earliest_conflict(first, accesses, then.pipe)
                free.append(Handover(buffer, "free", first, waits, buffer.depth, buffer.depth))
    yield from full
    yield from free


def home_of(accesses: list[Access]) -> ir.Path:
    """The loop in which they repeat; () for none."""
    return accesses[0].path[:-1] if accesses else ()


def _latest_conflicts(accesses: list[Access], then: Access) -> Iterator[Access]:
    """Per other pipe, the last access that must not overlap ``then``."""
    found = [a for a in accesses if _conflict(a, then)]
    for pipe in dict.fromkeys(a.pipe for a in found):
        yield last_of([a for a in found if a.pipe == pipe])


def _earliest_conflict(first: Access, accesses: list[Access], pipe: str) -> Access:
    """The first access of ``pipe`` that must not overlap ``first``."""
    return first_of([a for a in accesses if a.pipe == pipe and _conflict(first, a)])


def without_implied(
    handovers: list[Handover],
) -> tuple[list[Handover], list[tuple[Handover, Chain]]]:
    """(needed, implied with the chain that implies it): what the others already order goes.

    A chain follows events and the pipes' own order: an event fires when everything before it in
    its source pipe is complete, and holds back everything behind it in its destination pipe.
    """
    kept = list(handovers)
    implied = []
    for h in handovers:
        others = siblings(h, kept)
        if chained(h, others):
            kept.remove(h)
            implied.append(h)
    return kept, [(h, chained(h, siblings(h, kept))) for h in implied]


def siblings(h: Handover, handovers: list[Handover]) -> list[Handover]:
    """The others of its core and its block: those that repeat with it."""
    return [
        o for o in handovers if o is not h and o.buffer.core == h.buffer.core and o.block == h.block
    ]


def chained(h: Handover, others: list[Handover]) -> Chain:
    """The chain of ``others`` from the end of ``h.first`` to the start of ``h.then``, or ().

    Iterations beyond that of ``h.then`` may not exist and do not count.
    """
    reached: list[tuple[str, int, Moment, Chain]] = [(h.first.pipe, 0, h.first.end, ())]
    seen = set()
    for pipe, j, moment, chain in reached:
        for o in others:
            ahead = range(-j, h.distance - o.distance - j + 1)
            sure = (d for d in ahead if moment.surely_before(o.first.end, d))
            distance = next(sure, None) if o.first.pipe == pipe else None
            if distance is None:
                continue
            then, k = o.then.begin, j + distance + o.distance
            if o.then.pipe == h.then.pipe and then.surely_before(h.then.begin, h.distance - k):
                return (*chain, o)
            if (o.then.pipe, k, then) not in seen:
                seen.add((o.then.pipe, k, then))
                reached.append((o.then.pipe, k, then, (*chain, o)))
    return ()


def _conflict(a: Access, b: Access) -> bool:
    """They must be in order; what a loop does in itself is ordered there."""
    apart = not (a.is_loop and a.path == b.path)
    return apart and a.pipe != b.pipe and (a.writes or b.writes)


def _covered(found: list[Handover], first: Access, then: Access) -> bool:
    return any(
        h.first.pipe == first.pipe
        and h.then.pipe == then.pipe
        and first.end.surely_before(h.first.end)
        and h.then.begin.surely_before(then.begin)
        for h in found
    )
