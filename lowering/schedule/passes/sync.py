"""In which order: events, barriers and primes.

In: rows on buffers.  Out: the same rows with wait and set columns, plus ``barrier`` and ``sync``
rows.  Invariant: every two conflicting accesses of different pipes are ordered by an
event of the buffer they share; the proof (``lowering/hazards/``) judges the result.

Each ring slot has its own events.  ``x.full`` goes from the pipe that wrote to the pipe that reads,
in the same iteration; ``x.free`` goes back, from the last reader to the next writer of the slot,
is primed once before everything and drained once behind it.  A set stands directly behind its
access and a wait directly before, so that nothing else gets between (docs/machine.md 6.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import lcm

from lowering.schedule.passes.moments import Moment
from lowering.unroll import Counters, Issued, Unrolled, launches
from pto import ir
from pto.arithmetic import GREATEST, Number
from pto.legality import straight
from pto.row_rules import touched
from pto.targets import Pipe, target_of


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


@dataclass(slots=True)
class Edits:
    """Additions to the tree: flags on rows, rows before and behind nodes."""

    waits: dict[ir.Path, list[ir.Flag]] = field(default_factory=dict)
    sets: dict[ir.Path, list[ir.Flag]] = field(default_factory=dict)
    before: dict[ir.Path, list[ir.Row]] = field(default_factory=dict)
    behind: dict[ir.Path, list[ir.Row]] = field(default_factory=dict)


def sync(kernel: ir.Kernel) -> ir.Kernel:
    """All passes of this module in order."""
    return with_barriers(with_events(kernel))


# -------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Handover:
    """``first`` must end before ``then`` starts, ``distance`` iterations of their block later."""

    buffer: ir.Buffer
    kind: str
    first: Access
    then: Access
    distance: int

    @property
    def block(self) -> ir.Path:
        return self.first.path[:-1]

    @property
    def name(self) -> str:
        return f"{self.buffer.name}.{self.kind}"

    @property
    def pipes(self) -> str:
        return f"{self.first.pipe} -> {self.then.pipe}"


Chain = tuple[Handover, ...]


def with_events(kernel: ir.Kernel) -> ir.Kernel:
    """Full and free events for every buffer that two pipes share."""
    edits, events, notes, details, target = Edits(), [], [], [], target_of(kernel)
    used: dict[tuple[str, str, str], int] = {}
    needed, implied = without_implied(list(all_handovers(kernel)))
    names = event_names(needed)
    told = dict(zip(names, names, strict=True))
    for h, name in zip(needed, names, strict=True):
        pipes = (h.buffer.core, h.first.pipe, h.then.pipe)
        start, count = used.get(pipes, 0), h.buffer.depth
        if start + count > target.event_ids:
            notes.append(f"{name}: no {h.pipes} ids left, a barrier on all pipes stands for it")
            barrier(edits, h.then, h.buffer.core)
            told[name] = f"the barrier for {name}"
            continue
        used[pipes] = start + count
        events.append(ir.Event(*pipes[:1], name, *pipes[1:], tuple(range(start, start + count))))
        attach(edits, ir.Flag(name, h.first.index), h.first, h.buffer.core, "set")
        attach(edits, ir.Flag(name, h.then.index), h.then, h.buffer.core, "wait")
    primed = [e for e in events if ".free" in e.name]
    body = applied(kernel.body, edits, ())
    body = (*prime_rows(primed, "set"), *body, *prime_rows(primed, "wait"))
    for h, chain in implied:
        witness = " and ".join(dict.fromkeys(told[names[needed.index(o)]] for o in chain))
        details.append(f"{h.buffer.name} {h.pipes} needs no event: implied by {witness}")
    return replace(
        kernel,
        body=body,
        events=tuple(ordered(events, list(target.pipes))),
        notes=(*kernel.notes, *notes),
        details=(*kernel.details, *details),
    )


def event_names(handovers: list[Handover]) -> list[str]:
    """``x.full`` and ``x.free``; a second one of a buffer gets a number."""
    names: list[str] = []
    for h in handovers:
        n = 1 + sum(o.name == h.name for o in handovers[: len(names)])
        names.append(h.name if n == 1 else f"{h.name}{n}")
    return names


def ordered(events: list[ir.Event], pipes: list[str]) -> list[ir.Event]:
    """By core, then by pipes, then by id: the order of the placement table."""
    return sorted(
        events,
        key=lambda e: (ir.CORES.index(e.core), pipes.index(e.src), pipes.index(e.dst), e.ids),
    )


def home_accesses(
    block: ir.Block, name: str, named: Named, path: ir.Path = (), inner: int | None = None
) -> list[Access]:
    """Accesses to a buffer, seen from the innermost block that contains them all; in the order of an
    iteration of one position.  ``inner``: of a flat loop, where the loop in it stands."""
    holders = [k for k, n in enumerate(block) if name in named[id(n)]]
    if len(holders) == 1 and isinstance(block[holders[0]], ir.Loop):
        loop = block[holders[0]]
        assert isinstance(loop, ir.Loop)
        inside = loop.inner if loop.flat else None
        return home_accesses(loop.body, name, named, (*path, holders[0]), inside)
    found = [a for k in holders for a in _accesses(block[k], name, (*path, k), inner)]
    return sorted(found, key=lambda a: a.begin.of_one)


Named = dict[int, frozenset[str]]
"""Of each node, by its id, the buffers that its rows name."""


def names_of(block: ir.Block) -> Named:
    """Of every node below the buffers that its rows name."""
    found: Named = {}
    for node in straight(block):
        if isinstance(node, ir.Loop):
            found |= names_of(node.body)
            found[id(node)] = frozenset().union(*(found[id(n)] for n in node.body))
        else:
            found[id(node)] = frozenset(
                x.name for x in (*node.args, node.out) if isinstance(x, ir.Ref)
            )
    return found


def _touches(row: ir.Row, name: str) -> bool:
    return any(isinstance(x, ir.Ref) and x.name == name for x in (*row.args, row.out))


def _accesses(node: ir.Node, name: str, path: ir.Path, inner: int | None) -> Iterator[Access]:
    """Of a loop one access per pipe; in a flat loop at the stages of its rows."""
    rows = [r for r in ir.all_rows((node,)) if _touches(r, name)]
    flat = inner is not None
    if isinstance(node, ir.Row):
        when, beside = Moment(-node.shift, path), None
        if inner is not None:
            when, beside = Moment(-node.shift, path, path[-1] > inner, True), (*path[:-1], inner)
        for r in rows:
            yield Access(path, r.pipe, _writes(r, name), _index(r, name), when, when, beside)
        return
    for pipe in dict.fromkeys(r.pipe for r in rows):
        mine = [r for r in rows if r.pipe == pipe]
        writes = any(_writes(r, name) for r in mine)
        steps = [-r.shift if flat else 0 for r in mine]
        begin, end = Moment(min(steps), path, False, flat), Moment(max(steps), path, flat, flat)
        yield Access(path, pipe, writes, _index(rows[0], name), begin, end, path)


def _writes(row: ir.Row, name: str) -> bool:
    return any(isinstance(x, ir.Ref) and x.name == name for x in touched(row)[1])


def _index(row: ir.Row, name: str) -> ir.Expr | None:
    return next(x.index for x in (row.out, *row.args) if isinstance(x, ir.Ref) and x.name == name)


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


def all_handovers(kernel: ir.Kernel) -> Iterator[Handover]:
    """The conflicts of every buffer, nearest pair of accesses per pair of pipes.

    Forward: within one iteration.  Back: to the next use of the slot, ``depth`` iterations later,
    unless a forward handover of the same pipes says it already.
    """
    named = names_of(kernel.body)
    for buffer in kernel.buffers:
        accesses = home_accesses(kernel.body, buffer.name, named)
        full: list[Handover] = []
        for k, then in enumerate(accesses):
            for first in _latest_conflicts(accesses[:k], then):
                if not _covered(full, first, then):
                    waits = _earliest_conflict(first, accesses[k:], then.pipe)
                    full.append(Handover(buffer, "full", first, waits, 0))
        free: list[Handover] = []
        for then in accesses:
            for first in _latest_conflicts(accesses, then):
                pipes = (first.pipe, then.pipe)
                same = any(
                    (h.first.pipe, h.then.pipe) == pipes and first.end.surely_before(h.first.end)
                    for h in full
                )
                if not same and not _covered(free, first, then):
                    waits = _earliest_conflict(first, accesses, then.pipe)
                    free.append(Handover(buffer, "free", first, waits, buffer.depth))
        yield from full
        yield from free


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
    return a.pipe != b.pipe and (a.writes or b.writes)


def _covered(found: list[Handover], first: Access, then: Access) -> bool:
    return any(
        h.first.pipe == first.pipe
        and h.then.pipe == then.pipe
        and first.end.surely_before(h.first.end)
        and h.then.begin.surely_before(then.begin)
        for h in found
    )


def attach(edits: Edits, flag: ir.Flag, access: Access, core: str, kind: str) -> None:
    """A flag on the row itself, or on a ``sync`` row outside the loop that stands for it."""
    if not access.is_loop:
        (edits.waits if kind == "wait" else edits.sets).setdefault(access.path, []).append(flag)
        return
    shift = -access.begin.step if kind == "wait" else -access.end.step
    row = sync_row(core, access.pipe, shift, kind, (flag,))
    (edits.before if kind == "wait" else edits.behind).setdefault(access.path, []).append(row)


def sync_row(core: str, pipe: str, shift: int, kind: str, flags: tuple[ir.Flag, ...]) -> ir.Row:
    """A row that does nothing but set or wait for flags."""
    wait, sets = (flags, ()) if kind == "wait" else ((), flags)
    return ir.Row("sync", None, (), core, pipe, shift, wait, sets)


def barrier(edits: Edits, access: Access, core: str) -> None:
    """All pipes of the core stop before ``access``: the order of last resort."""
    row = ir.Row("barrier", None, (), core, "ALL", -access.begin.step)
    edits.before.setdefault(access.path, []).append(row)


def applied(block: ir.Block, edits: Edits, path: ir.Path) -> ir.Block:
    """The tree with all edits made; neighbouring ``sync`` rows of one pipe become one."""
    out: list[ir.Node] = []
    for k, node in enumerate(straight(block)):
        here = (*path, k)
        out.extend(merged(edits.before.get(here, [])))
        if isinstance(node, ir.Loop):
            out.append(replace(node, body=applied(node.body, edits, here)))
        else:
            waits, sets = tuple(edits.waits.get(here, ())), tuple(edits.sets.get(here, ()))
            out.append(replace(node, wait=waits, set=sets))
        out.extend(merged(edits.behind.get(here, [])))
    return tuple(out)


def merged(rows: list[ir.Row]) -> list[ir.Row]:
    """sync | wait a; sync | wait b, same core and pipe --> sync | wait a b."""
    by_place: dict[tuple[str, str, str, int], ir.Row] = {}
    for r in rows:
        key = (r.op, r.core, r.pipe, r.shift)
        old = by_place.get(key)
        by_place[key] = (
            r if old is None else replace(old, wait=(*old.wait, *r.wait), set=(*old.set, *r.set))
        )
    return list(by_place.values())


def prime_rows(events: list[ir.Event], kind: str) -> list[ir.Row]:
    """Rows that set every free flag before the first use, or wait for all of them at the end."""
    rows = []
    for e in events:
        count = len(e.ids)
        flags = tuple(ir.Flag(e.name, None if count == 1 else ir.Const(k)) for k in range(count))
        pipe = e.src if kind == "set" else e.dst
        rows.append(sync_row(e.core, pipe, 0, kind, flags))
    return sorted(merged(rows), key=lambda r: ir.CORES.index(r.core))


# ------------------------------------------------------------------------------------ barriers


def with_barriers(kernel: ir.Kernel) -> ir.Kernel:
    """A barrier before every row that depends on an unfinished row of its own pipe, where the pipe
    needs one."""
    marked: set[int] = set()
    for pipe in target_of(kernel).pipes.values():
        for core in pipe.cores if pipe.needs_barrier else ():
            marked |= needed_barriers(kernel, core, pipe)

    def behind_barrier(row: ir.Row) -> ir.Row | tuple[ir.Row, ...]:
        if id(row) not in marked:
            return row
        return ir.Row("barrier", None, (), row.core, row.pipe, row.shift, loc=row.loc), row

    return replace(kernel, body=ir.map_rows(kernel.body, behind_barrier))


def needed_barriers(kernel: ir.Kernel, core: str, pipe: Pipe) -> set[int]:
    """Rows, by their ids, that need a barrier in front, in some execution; found by running the program."""
    marked: set[int] = set()

    def is_mine(row: ir.Row) -> bool:
        return row.core == core and row.pipe == pipe.name and row.op != "sync"

    sides = [touched(r) for r in ir.all_rows(kernel.body) if is_mine(r)]
    found = {
        "reads": {x.name for side, _ in sides for x in side if isinstance(x, ir.Ref)},
        "writes": {x.name for _, side in sides for x in side if isinstance(x, ir.Ref)},
    }
    if not any(found[how] & found["writes"] for how in pipe.needs_barrier):
        return marked  # no row meets what another one writes
    slots = _Slots({b.name: b.depth for b in kernel.buffers}, pipe.needs_barrier)
    issues = Unrolled(kernel, core, is_mine)
    for lengths in launches(kernel):
        steps = [x for run in issues.runs(lengths, slots.period) for x in slots.of(run)]
        known = -1
        while len(marked) > known:
            known = len(marked)
            unfinished = 0
            for row, depends, writes in steps:
                if depends & unfinished or row in marked:
                    marked.add(row)
                    unfinished = 0
                unfinished |= writes
    return marked


Step = tuple[int, int, int]
"""The id of a row, the slots, as bits, whose writes it depends on, and those that it writes."""

Known = tuple[tuple[str, ...], int, dict[tuple[Number, ...], Sequence[Step]]]
"""Of a run of rows the counters that count, modulo what they do, and the steps by their values."""


class _Slots:
    """What rows become, found once for each run of rows and the slots that its counters pick.

    ``depends``: what of a row depends on writes before it: "reads", "writes".
    """

    def __init__(self, depths: Mapping[str, int], depends: tuple[str, ...]) -> None:
        self.depths, self.depends, self.period = depths, depends, lcm(*depths.values())
        self.runs: dict[int, Known] = {}
        """By the id of the first row."""
        self.numbers: dict[tuple[str, int], int] = {}

    def of(self, issued: Issued) -> Sequence[Step]:
        run, counters = issued
        names, period, found = self.runs.get(id(run[0].row)) or self._known([e.row for e in run])
        at = tuple([counters[n] % period for n in names])
        steps = found.get(at)
        if steps is None:
            steps = found[at] = [(id(e.row), *self._found(e.row, counters)) for e in run]
        return steps

    def _known(self, rows: Sequence[ir.Row]) -> Known:
        """The counters that pick the slots of a run, and modulo what: rings turn with sums of them."""
        touched = (x for r in rows for x in (r.out, *r.args) if isinstance(x, ir.Ref))
        indices = [x.index for x in touched if x.index is not None]
        names = tuple(dict.fromkeys(n for index in indices for n in ir.names_in(index)))
        turns = all(ir.coefficients(index) is not None for index in indices)
        return self.runs.setdefault(id(rows[0]), (names, self.period if turns else GREATEST, {}))

    def _found(self, row: ir.Row, counters: Counters) -> tuple[int, int]:
        reads, writes = (self._bits(side, counters) for side in touched(row))
        return reads * ("reads" in self.depends) | writes * ("writes" in self.depends), writes

    def _bits(self, side: Iterable[object], counters: Counters) -> int:
        bits = 0
        for x in side:
            if isinstance(x, ir.Ref):
                at = 0 if x.index is None else int(ir.evaluate(x.index, counters.__getitem__))
                slot = x.name, at % self.depths[x.name]
                bits |= 1 << self.numbers.setdefault(slot, len(self.numbers))
        return bits
