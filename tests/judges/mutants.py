"""Programs that differ from a scheduled one in a single place, each with a name."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import replace

from pto.ir import Bin, Const, Flag, Kernel, Ref, Row, all_rows, binary, map_rows


def mutants(k: Kernel) -> Iterator[tuple[str, Kernel]]:
    """Every flag, barrier, prime, drain, slot, depth, address and event changed or taken away."""
    yield from row_mutants(k)
    yield from event_mutants(k)
    yield from placement_mutants(k)


def with_row(k: Kernel, number: int, *new: Row) -> Kernel:
    """The program with row ``number`` replaced."""
    count = itertools.count()
    return replace(k, body=map_rows(k.body, lambda r: new if next(count) == number else r))


def without(flags: tuple[Flag, ...], j: int) -> tuple[Flag, ...]:
    return flags[:j] + flags[j + 1 :]


def without_a_drain(k: Kernel) -> Iterator[tuple[str, Kernel]]:
    """Every drain in front of a record taken away, and the event that it waits for, one at a time, by the
    FIFO of the record."""
    for n, (row, after) in enumerate(itertools.pairwise(all_rows(k.body))):
        if row.op == "drain" and after.op == "record":
            yield after.queue, without_events(with_row(k, n), {f.name for f in row.wait})


def without_events(k: Kernel, names: Collection[str]) -> Kernel:
    """Nothing sets or waits for these."""

    def of(flags: tuple[Flag, ...]) -> tuple[Flag, ...]:
        return tuple(f for f in flags if f.name not in names)

    body = map_rows(k.body, lambda r: replace(r, wait=of(r.wait), set=of(r.set)))
    return replace(k, body=body, events=tuple(e for e in k.events if e.name not in names))


def next_slot(ref: Ref | Flag) -> Ref | Flag:
    assert ref.index is not None
    return replace(ref, index=binary("+", ref.index, Const(1)))


def row_mutants(k: Kernel) -> Iterator[tuple[str, Kernel]]:
    """Every single wait, set, barrier, drain and FIFO row deleted; every slot index one further."""
    for n, r in enumerate(all_rows(k.body)):
        name = f"row {n} ({r.op})"
        for j, f in enumerate(r.wait if r.op != "drain" else ()):  # nothing is left of one
            yield f"{name}: no wait {f.name}", with_row(k, n, replace(r, wait=without(r.wait, j)))
            if f.index is not None:
                wait = (*without(r.wait, j), next_slot(f))
                yield f"{name}: wait {f.name} one further", with_row(k, n, replace(r, wait=wait))
        for j, f in enumerate(r.set):
            yield f"{name}: no set {f.name}", with_row(k, n, replace(r, set=without(r.set, j)))
            yield from moved_set(k, n, j)
        if r.pipe != "S":
            yield f"{name}: one step earlier", with_row(k, n, replace(r, shift=r.shift + 1))
        if r.op in ("barrier", "drain", "push", "pop"):
            yield f"{name}: deleted", with_row(k, n)
        if r.adds:
            yield f"{name}: does not add", with_row(k, n, replace(r, args=r.args[:1]))
            yield f"{name}: adds twice", with_row(k, n, replace(r, set=()), replace(r, wait=()))
        for test in r.tests:
            yield f"{name}: works always", with_row(k, n, replace(r, test=None))
            opposite = Bin("==", test, Const(0))
            yield f"{name}: works where it should not", with_row(k, n, replace(r, test=opposite))
        if isinstance(r.out, Ref) and r.out.index is not None:
            yield f"{name}: writes next slot", with_row(k, n, replace(r, out=next_slot(r.out)))
        for j, a in enumerate(r.args):
            if isinstance(a, Ref) and a.index is not None:
                args = (*r.args[:j], next_slot(a), *r.args[j + 1 :])
                yield f"{name}: reads next slot of {a.name}", with_row(k, n, replace(r, args=args))


def moved_set(k: Kernel, n: int, j: int) -> Iterator[tuple[str, Kernel]]:
    """The set moved behind the next row of its pipe."""
    rows = list(all_rows(k.body))
    flag = rows[n].set[j]
    later = [
        m
        for m in range(n + 1, len(rows))
        if (rows[m].core, rows[m].pipe) == (rows[n].core, rows[n].pipe)
    ]
    if later:
        taken = with_row(k, n, replace(rows[n], set=without(rows[n].set, j)))
        row = rows[later[0]]
        given = with_row(taken, later[0], replace(row, set=(*row.set, flag)))
        yield f"row {n}: set {flag.name} behind row {later[0]}", given


def placement_mutants(k: Kernel) -> Iterator[tuple[str, Kernel]]:
    """Depths of rings and FIFOs changed, one buffer put on top of another."""
    for j, b in enumerate(k.buffers):
        for depth in {max(b.depth - 1, 1), b.depth + 1} - {b.depth}:
            new = replace(b, depth=depth)
            yield (
                f"{b.name}: depth {depth}",
                replace(k, buffers=(*k.buffers[:j], new, *k.buffers[j + 1 :])),
            )
        other = k.buffers[j - 1]
        if j and (b.core, b.space) == (other.core, other.space):
            new = replace(b, at=other.at)
            yield (
                f"{b.name} on {other.name}",
                replace(k, buffers=(*k.buffers[:j], new, *k.buffers[j + 1 :])),
            )
    for j, f in enumerate(k.fifos):
        for depth in {1, 2, 3, 4} - {f.depth}:
            new_fifo = replace(f, depth=depth)
            yield (
                f"fifo {f.name}: depth {depth}",
                replace(k, fifos=(*k.fifos[:j], new_fifo, *k.fifos[j + 1 :])),
            )


def event_mutants(k: Kernel) -> Iterator[tuple[str, Kernel]]:
    """A whole event with its waits, sets and primes taken away; its ids given to another event."""
    for j, e in enumerate(k.events):

        def kept(flags: tuple[Flag, ...], name: str = e.name) -> tuple[Flag, ...]:
            return tuple(f for f in flags if f.name != name)

        body = map_rows(k.body, lambda r, kept=kept: replace(r, wait=kept(r.wait), set=kept(r.set)))
        rest = (*k.events[:j], *k.events[j + 1 :])
        yield f"no event {e.name}", replace(k, body=body, events=rest)
        twins = [
            o
            for o in rest
            if (o.core, o.src, o.dst, len(o.ids)) == (e.core, e.src, e.dst, len(e.ids))
        ]
        for twin in twins[:1]:
            events = (*k.events[:j], replace(e, ids=twin.ids), *k.events[j + 1 :])
            yield f"{e.name} with the ids of {twin.name}", replace(k, events=events)
