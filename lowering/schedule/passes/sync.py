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

from dataclasses import dataclass, field, replace

from lowering.schedule.passes.barriers import with_barriers
from lowering.schedule.passes.budget import within_ids
from lowering.schedule.passes.handovers import Access, Handover, all_handovers, without_implied
from lowering.schedule.passes.in_place import memory_handovers
from pto import ir
from pto.legality import straight
from pto.targets import target_of


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


def with_events(kernel: ir.Kernel) -> ir.Kernel:
    """Full and free events for every buffer that two pipes share; one for several where ids are short."""
    edits, events, notes, details, target = Edits(), [], [], [], target_of(kernel)
    used: dict[tuple[str, str, str], int] = {}
    found = list(all_handovers(kernel))
    found += memory_handovers(kernel, found)
    needed, implied = without_implied(found)
    joined = within_ids(needed, target.event_ids)
    told: dict[Handover, str] = {}
    for x, name in zip(joined, event_names([x.name for x in joined]), strict=True):
        (core, src, dst), h = x.pair, x.in_turns[0]
        start = used.get(x.pair, 0)
        if start + x.turns > target.event_ids:
            notes.append(f"{name}: no {h.pipes} ids left, a barrier on all pipes stands for it")
            for h in x.in_turns:
                barrier(edits, h.then, core)
            told |= dict.fromkeys(x.those, f"the barrier for {name}")
            continue
        told |= dict.fromkeys(x.those, name)
        others = dict.fromkeys(o.buffer.name for o in x.those if o.buffer.name != h.buffer.name)
        if others:
            names = ", ".join(others)
            notes.append(f"{name} stands for {names} too: {h.pipes} has {target.event_ids} ids")
        used[x.pair] = start + x.turns
        events.append(ir.Event(core, name, src, dst, tuple(range(start, start + x.turns))))
        for h in x.in_turns:
            for access, kind in ((h.first, "set"), (h.then, "wait")):
                flag = ir.Flag(name, access.index if x.turns > 1 else None)
                attach(edits, flag, access, core, kind)
    primed = [e for e in events if ".free" in e.name]
    body = applied(kernel.body, edits, ())
    body = (*prime_rows(primed, "set"), *body, *prime_rows(primed, "wait"))
    for h, chain in implied:
        witness = " and ".join(dict.fromkeys(told[o] for o in chain))
        details.append(f"{h.buffer.name} {h.pipes} needs no event: implied by {witness}")
    return replace(
        kernel,
        body=body,
        events=tuple(ordered(events, list(target.pipes))),
        notes=(*kernel.notes, *notes),
        details=(*kernel.details, *details),
    )


def event_names(asked: list[str]) -> list[str]:
    """``x.full`` and ``x.free``; a second one of a buffer gets a number."""
    counts = [1 + asked[:k].count(name) for k, name in enumerate(asked)]
    return [name if n == 1 else f"{name}{n}" for name, n in zip(asked, counts, strict=True)]


def ordered(events: list[ir.Event], pipes: list[str]) -> list[ir.Event]:
    """By core, then by pipes, then by id: the order of the placement table."""
    return sorted(
        events,
        key=lambda e: (ir.CORES.index(e.core), pipes.index(e.src), pipes.index(e.dst), e.ids),
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
