"""In which order: events, barriers, primes and drains.

In: rows on buffers.  Out: the same rows with wait and set columns, plus ``barrier``, ``sync`` and
``drain`` rows.  Invariant: every two conflicting accesses of different pipes are ordered by an
event of the buffer they share; the proof (``lowering/hazards/``) judges the result.

Each ring slot has its own events.  ``x.full`` goes from the pipe that wrote to the pipe that reads,
in the same iteration; ``x.free`` goes back, from the last reader to the next writer of the slot,
is primed once before everything and drained once behind it.  A set stands directly behind its
access and a wait directly before, so that nothing else gets between (MACHINE.md 6.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lowering.target import Target
from lowering.unroll import RUNS, Counters, Path, issued
from pto.ir import (
    CORES,
    Block,
    Buffer,
    Const,
    Event,
    Expr,
    Flag,
    Kernel,
    Loop,
    Node,
    Queue,
    Ref,
    Row,
    View,
    Word,
    all_rows,
    evaluate,
    map_rows,
)
from pto.legality import STORE_PIPE
from pto.ops import OPS


@dataclass(frozen=True, slots=True)
class Access:
    """One row's use of a buffer, or all uses that an inner loop makes of it on one pipe."""

    path: Path
    pipe: str
    writes: bool
    shift: int
    is_loop: bool
    index: Expr | None
    last: int = 0
    """Of a loop: the shift of its last stage."""

    @property
    def order(self) -> tuple[int, Path]:
        """Position within its own iteration: a larger shift runs in an earlier step."""
        return -self.shift, self.path


@dataclass(slots=True)
class Edits:
    """Additions to the tree: flags on rows, rows before and behind nodes."""

    waits: dict[Path, list[Flag]] = field(default_factory=dict)
    sets: dict[Path, list[Flag]] = field(default_factory=dict)
    before: dict[Path, list[Row]] = field(default_factory=dict)
    behind: dict[Path, list[Row]] = field(default_factory=dict)


def sync(kernel: Kernel, target: Target, drain_pushes: bool) -> Kernel:
    """All passes of this module in order."""
    kernel = recorded_by_hand(kernel) if drain_pushes else kernel
    kernel = with_events(kernel, target)
    return with_final_drains(with_barriers(kernel))


def recorded_by_hand(kernel: Kernel) -> Kernel:
    """x = push t --> x = push_data t; drain FIX; record x  (on the cube: SEED.md section 3)."""

    def split(row: Row) -> Row | tuple[Row, ...]:
        if row.op != "push" or row.core != "cube" or not isinstance(row.out, Queue):
            return row
        drain = Row("drain", None, (Word("FIX"),), "cube", "S", row.shift, loc=row.loc)
        record = Row("record", None, (row.out,), "cube", "FIX", row.shift, loc=row.loc)
        return replace(row, op="push_data"), drain, record

    return replace(kernel, body=map_rows(kernel.body, split))


# -------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Handover:
    """``first`` must end before ``then`` starts, ``distance`` iterations of their block later."""

    buffer: Buffer
    kind: str
    first: Access
    then: Access
    distance: int

    @property
    def block(self) -> Path:
        return self.first.path[:-1]

    @property
    def name(self) -> str:
        return f"{self.buffer.name}.{self.kind}"

    @property
    def pipes(self) -> str:
        return f"{self.first.pipe} -> {self.then.pipe}"


Chain = tuple[Handover, ...]


def with_events(kernel: Kernel, target: Target) -> Kernel:
    """Full and free events for every buffer that two pipes share."""
    edits, events, notes = Edits(), [], []
    used: dict[tuple[str, str, str], int] = {}
    needed, implied = without_implied(list(all_handovers(kernel)))
    names = event_names(needed)
    for h, name in zip(needed, names, strict=True):
        pipes = (h.buffer.core, h.first.pipe, h.then.pipe)
        start, count = used.get(pipes, 0), h.buffer.depth
        if start + count > target.event_ids:
            notes.append(f"{name}: no {h.pipes} ids left, a barrier on all pipes stands for it")
            barrier(edits, h.then, h.buffer.core)
            continue
        used[pipes] = start + count
        events.append(Event(*pipes[:1], name, *pipes[1:], tuple(range(start, start + count))))
        attach(edits, Flag(name, h.first.index), h.first, h.buffer.core, "set")
        attach(edits, Flag(name, h.then.index), h.then, h.buffer.core, "wait")
    primed = [e for e in events if ".free" in e.name]
    body = applied(kernel.body, edits, ())
    body = (*prime_rows(primed, "set"), *body, *prime_rows(primed, "wait"))
    for h, chain in implied:
        witness = " and ".join(dict.fromkeys(names[needed.index(o)] for o in chain))
        notes.append(f"{h.buffer.name} {h.pipes} needs no event: implied by {witness}")
    return replace(kernel, body=body, events=tuple(ordered(events)), notes=(*kernel.notes, *notes))


def event_names(handovers: list[Handover]) -> list[str]:
    """``x.full`` and ``x.free``; a second one of a buffer gets a number."""
    names: list[str] = []
    for h in handovers:
        n = 1 + sum(o.name == h.name for o in handovers[: len(names)])
        names.append(h.name if n == 1 else f"{h.name}{n}")
    return names


def ordered(events: list[Event]) -> list[Event]:
    """By core, then by pipes, then by id: the order of the placement table."""
    pipes = ("MTE2", "MTE1", "M", "V", "FIX", "MTE3", "S")
    return sorted(
        events, key=lambda e: (CORES.index(e.core), pipes.index(e.src), pipes.index(e.dst), e.ids)
    )


def home_accesses(block: Block, name: str, path: Path, flat: bool = False) -> list[Access]:
    """Accesses to a buffer, seen from the innermost block that contains them all."""
    holders = [k for k, n in enumerate(block) if any(_touches(r, name) for r in all_rows((n,)))]
    if len(holders) == 1 and isinstance(block[holders[0]], Loop):
        loop = block[holders[0]]
        assert isinstance(loop, Loop)
        return home_accesses(loop.body, name, (*path, holders[0]), loop.flat)
    found = [a for k in holders for a in _accesses(block[k], name, (*path, k), flat)]
    return sorted(found, key=lambda a: a.order)


def _touches(row: Row, name: str) -> bool:
    return any(isinstance(x, Ref) and x.name == name for x in (*row.args, row.out))


def _accesses(node: Node, name: str, path: Path, flat: bool) -> Iterator[Access]:
    """Of a loop one access per pipe; in a flat loop at the stage of its rows."""
    rows = [r for r in all_rows((node,)) if _touches(r, name)]
    if isinstance(node, Row):
        yield from (_access(r, name, path) for r in rows)
        return
    for pipe in dict.fromkeys(r.pipe for r in rows):
        mine = [r for r in rows if r.pipe == pipe]
        writes = any(_access(r, name, path).writes for r in mine)
        index = next(_access(r, name, path).index for r in rows)
        shifts = [r.shift if flat else 0 for r in mine]
        yield Access(path, pipe, writes, max(shifts), True, index, min(shifts))


def _access(row: Row, name: str, path: Path) -> Access:
    scratch = OPS[row.op].scratch and isinstance(row.args[-1], Ref) and row.args[-1].name == name
    written = isinstance(row.out, Ref) and row.out.name == name
    refs = [x for x in (row.out, *row.args) if isinstance(x, Ref) and x.name == name]
    return Access(path, row.pipe, written or scratch, row.shift, False, refs[0].index)


def all_handovers(kernel: Kernel) -> Iterator[Handover]:
    """The conflicts of every buffer, nearest pair of accesses per pair of pipes.

    Forward: within one iteration.  Back: to the next use of the slot, ``depth`` iterations later,
    unless a forward handover of the same pipes says it already.
    """
    for buffer in kernel.buffers:
        accesses = home_accesses(kernel.body, buffer.name, ())
        full: list[Handover] = []
        for k, then in enumerate(accesses):
            for first in _latest_conflicts(accesses[:k], then):
                if not _covered(full, first, then):
                    full.append(Handover(buffer, "full", first, then, 0))
        free: list[Handover] = []
        for then in accesses:
            for first in _latest_conflicts(accesses, then):
                pipes = (first.pipe, then.pipe)
                same = any(
                    (h.first.pipe, h.then.pipe) == pipes and h.first.order >= first.order
                    for h in full
                )
                if not same and not _covered(free, first, then):
                    free.append(Handover(buffer, "free", first, then, buffer.depth))
        yield from full
        yield from free


def _latest_conflicts(accesses: list[Access], then: Access) -> Iterator[Access]:
    """Per other pipe, the last access that must not overlap ``then``."""
    found = {a.pipe: a for a in accesses if _conflict(a, then)}
    yield from found.values()


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

    A moment is (step, path): iteration ``j`` of an access with shift s is in step ``j - s``.
    Iterations beyond that of ``h.then`` may not exist and do not count.
    """
    goal = (h.distance - h.then.shift, h.then.path)
    reached: list[tuple[str, int, Path, Chain]] = [(h.first.pipe, -h.first.shift, h.first.path, ())]
    seen = set()
    for pipe, step, path, chain in reached:
        for o in others:
            if o.first.pipe != pipe:
                continue
            j = max(0, step + o.first.shift + (o.first.path < path))
            if j + o.distance > h.distance:
                continue
            moment = (j + o.distance - o.then.shift, o.then.path)
            if o.then.pipe == h.then.pipe and moment <= goal:
                return (*chain, o)
            if (o.then.pipe, moment) not in seen:
                seen.add((o.then.pipe, moment))
                reached.append((o.then.pipe, *moment, (*chain, o)))
    return ()


def _conflict(a: Access, b: Access) -> bool:
    return a.pipe != b.pipe and (a.writes or b.writes)


def _covered(found: list[Handover], first: Access, then: Access) -> bool:
    return any(
        h.first.pipe == first.pipe
        and h.then.pipe == then.pipe
        and h.first.order >= first.order
        and h.then.order <= then.order
        for h in found
    )


def attach(edits: Edits, flag: Flag, access: Access, core: str, kind: str) -> None:
    """A flag on the row itself, or on a ``sync`` row outside the loop that stands for it."""
    if not access.is_loop:
        (edits.waits if kind == "wait" else edits.sets).setdefault(access.path, []).append(flag)
        return
    shift = access.shift if kind == "wait" else access.last
    row = Row("sync", None, (), core, access.pipe, shift, **{kind: (flag,)})  # type: ignore[arg-type]
    (edits.before if kind == "wait" else edits.behind).setdefault(access.path, []).append(row)


def barrier(edits: Edits, access: Access, core: str) -> None:
    """All pipes of the core stop before ``access``: the order of last resort."""
    row = Row("barrier", None, (), core, "ALL", access.shift)
    edits.before.setdefault(access.path, []).append(row)


def applied(block: Block, edits: Edits, path: Path) -> Block:
    """The tree with all edits made; neighbouring ``sync`` rows of one pipe become one."""
    out: list[Node] = []
    for k, node in enumerate(block):
        here = (*path, k)
        out.extend(merged(edits.before.get(here, [])))
        if isinstance(node, Loop):
            out.append(replace(node, body=applied(node.body, edits, here)))
        elif isinstance(node, Row):
            waits, sets = tuple(edits.waits.get(here, ())), tuple(edits.sets.get(here, ()))
            out.append(replace(node, wait=waits, set=sets))
        out.extend(merged(edits.behind.get(here, [])))
    return tuple(out)


def merged(rows: list[Row]) -> list[Row]:
    """sync | wait a; sync | wait b, same core and pipe --> sync | wait a b."""
    by_place: dict[tuple[str, str, str, int], Row] = {}
    for r in rows:
        key = (r.op, r.core, r.pipe, r.shift)
        old = by_place.get(key)
        by_place[key] = (
            r if old is None else replace(old, wait=(*old.wait, *r.wait), set=(*old.set, *r.set))
        )
    return list(by_place.values())


def prime_rows(events: list[Event], kind: str) -> list[Row]:
    """Rows that set every free flag before the first use, or wait for all of them at the end."""
    rows = []
    for e in events:
        count = len(e.ids)
        flags = tuple(Flag(e.name, None if count == 1 else Const(k)) for k in range(count))
        pipe = e.src if kind == "set" else e.dst
        rows.append(Row("sync", None, (), e.core, pipe, **{kind: flags}))  # type: ignore[arg-type]
    return sorted(merged(rows), key=lambda r: CORES.index(r.core))


# ------------------------------------------------------------------------------------ barriers


def with_barriers(kernel: Kernel) -> Kernel:
    """A barrier before every V or M row that depends on an unfinished row of its own pipe.

    V: reading or writing over what was written needs one, writing over what was only read does not
    (MACHINE.md R8, 6.3).  M: accumulating onto a product needs one; a new product over an old one
    is ordered through the FIX pipe that reads between them.
    """
    marked = needed_barriers(kernel, "vector", "V", reads_own_writes=False)
    marked |= needed_barriers(kernel, "cube", "M", reads_own_writes=True)
    return replace(kernel, body=_with_barriers(kernel.body, marked, ()))


def needed_barriers(kernel: Kernel, core: str, pipe: str, reads_own_writes: bool) -> set[Path]:
    """Rows that need a barrier in front, in some execution; found by running the program.

    ``reads_own_writes``: only a read depends on a write, not a second write.
    """
    depths = {b.name: b.depth for b in kernel.buffers}
    flat = any(isinstance(n, Loop) and n.flat for n in kernel.body)
    marked: set[Path] = set()
    for lengths in RUNS if flat else (None,):
        issues = [
            x for x in issued(kernel, core, lengths) if x[1].pipe == pipe and x[1].op != "sync"
        ]
        steps = [(p, *_slots(r, c, depths)) for p, r, c in issues]
        known = -1
        while len(marked) > known:
            known = len(marked)
            unfinished: set[tuple[str, int]] = set()
            for path, reads, writes in steps:
                depends = reads if reads_own_writes else reads | writes
                if path in marked or depends & unfinished:
                    marked.add(path)
                    unfinished = set()
                unfinished |= writes
    return marked


def _slots(
    row: Row, counters: Counters, depths: dict[str, int]
) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """(buffer, slot) of what a row reads, of what it writes."""

    def slot(x: Ref) -> tuple[str, int]:
        at = 0 if x.index is None else int(evaluate(x.index, counters.__getitem__))
        return x.name, at % depths[x.name]

    refs = [a for a in row.args if isinstance(a, Ref)]
    scratch = [refs.pop()] if OPS[row.op].scratch and len(refs) > 1 else []
    written = [*scratch, *([row.out] if isinstance(row.out, Ref) else [])]
    return {slot(x) for x in refs}, {slot(x) for x in written}


def _with_barriers(block: Block, marked: set[Path], path: Path) -> Block:
    out: list[Node] = []
    for k, node in enumerate(block):
        if isinstance(node, Loop):
            out.append(replace(node, body=_with_barriers(node.body, marked, (*path, k))))
            continue
        if isinstance(node, Row) and (*path, k) in marked:
            out.append(Row("barrier", None, (), node.core, node.pipe, node.shift, loc=node.loc))
        out.append(node)
    return tuple(out)


def with_final_drains(kernel: Kernel) -> Kernel:
    """Before the kernel returns, each core waits for its writes to GM (MACHINE.md R10)."""
    rows = []
    for core in CORES:
        pipe = STORE_PIPE[core]
        if any(
            r.core == core and r.pipe == pipe and isinstance(r.out, View | Queue)
            for r in all_rows(kernel.body)
        ):
            rows.append(Row("drain", None, (Word(pipe),), core, "S"))
    return replace(kernel, body=(*kernel.body, *rows))
