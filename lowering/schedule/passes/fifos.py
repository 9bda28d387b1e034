"""Which hand-overs go through one FIFO, where the flags do not last for one each.

In: rows with shifts, a FIFO for every tile that changes cores.  Out: as few that each has its flags.
Invariant: what one FIFO takes is popped in the order in which it is pushed, whatever the trip counts.
Non-goals: how many slots that takes (place).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from pto import ir
from pto.errors import CapacityError
from pto.loc import Loc
from pto.targets import target_of
from pto.types import TileType


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: its loops, how far ahead, and how far behind in the text."""

    path: ir.Path
    shift: int
    at: int


@dataclass(frozen=True, slots=True)
class Way:
    """What goes through a FIFO: where it is pushed, told and popped.  ``share``: what a lane has of a slot."""

    fifo: ir.Fifo
    places: tuple[Place, ...]
    loc: Loc | None
    at_once: bool
    """What is popped is read in the same step."""
    share: str
    starts: bool
    """What is popped is what a loop starts from: it lies where that loop carries it, in no ring of the FIFO."""


def fifos(kernel: ir.Kernel) -> ir.Kernel:
    """x = push a; y = push b; ... c = pop x; d = pop y --> x = push a; x = push b; ... c = pop x; d = pop x

    Raises:
        CapacityError: for more FIFOs than there are flags, all the same.
    """
    told, untold = shared(kernel)
    most = target_of(kernel).fifo_flags // 2
    if len(told) > most:
        raise CapacityError(
            f"kernel '{kernel.name}' hands {len(told)} tiles from core to core that cannot share a FIFO, the "
            f"cross-core flags serve {most}; this is number {most + 1}",
            told[most][0].loc,
            "hand over tiles of one type, in the same order on both cores, or one tile again and again in a loop",
        )
    both = [*told, *untold]
    names = {w.fifo.name: those[0].fifo.name for those in both for w in those}
    serve = {True: most, False: target_of(kernel).flag_ids // 2}
    notes = [
        f"{those[0].fifo.name} takes {', '.join(w.fifo.name for w in those[1:])} too: flags serve "
        f"{serve[those[0].fifo.signal]} FIFOs"
        for those in both
        if len(those) > 1
    ]
    left = (those[0].fifo for those in both)
    return replace(
        kernel,
        body=ir.map_rows(kernel.body, lambda r: through(r, names)),
        fifos=tuple(replace(f, flag=2 * k) for k, f in enumerate(left)),
        notes=(*kernel.notes, *notes),
    )


def shared(kernel: ir.Kernel) -> tuple[list[list[Way]], list[list[Way]]]:
    """The ways of FIFOs that signal and of those that do not, by the FIFO that they share; these have whatever
    flags are left over, as nobody uses them."""
    target, found = target_of(kernel), list(ways(kernel))
    told = within_flags([w for w in found if w.fifo.signal], target.fifo_flags // 2)
    others = [w for w in found if not w.fifo.signal]
    return told, within_flags(others, target.flag_ids // 2 - len(told))


def enough_flags(kernel: ir.Kernel) -> bool:
    """The flags serve all FIFOs."""
    told, untold = shared(kernel)
    target = target_of(kernel)
    all_ = len(told) + len(untold)
    return len(told) <= target.fifo_flags // 2 and all_ <= target.flag_ids // 2


def through(row: ir.Row, names: dict[str, str]) -> ir.Row:
    """The row with its FIFO as it is called now."""
    if isinstance(row.out, ir.Queue):
        row = replace(row, out=replace(row.out, name=names[row.out.name]))
    args = (replace(a, name=names[a.name]) if isinstance(a, ir.Queue) else a for a in row.args)
    return replace(row, args=tuple(args))


def ways(kernel: ir.Kernel) -> Iterator[Way]:
    """Of every FIFO where its rows stand."""
    found: dict[str, list[tuple[Place, ir.Row]]] = {f.name: [] for f in kernel.fifos}
    readers: dict[str, set[int]] = {}
    types: dict[str, TileType] = {}
    starts = {c.init for x in ir.loops_of(kernel.body) for c in x.carry}
    for path, at, row in rows_of(kernel.body):
        if isinstance(row.out, ir.Define):
            types[row.out.name] = row.out.type
        if row.queue:
            found[row.queue].append((Place(path, row.shift, at), row))
        for a in row.args:
            if isinstance(a, ir.Ref):
                readers.setdefault(a.name, set()).add(row.shift)
    for f in kernel.fifos:
        rows = sorted(found[f.name], key=lambda x: x[1].op)
        pop = next(r for _, r in rows if r.op == "pop")
        popped = pop.result(ir.Define).name
        at_once = readers.get(popped, set()) <= {pop.shift}
        loc = next(r.loc for _, r in rows if r.out is not None)
        (share,) = {shared_by(r, types) for _, r in rows if r.core == "vector" and r.op != "record"}
        places = tuple(p for p, _ in rows)
        yield Way(f, places, loc, at_once, share, ir.Ref(popped) in starts)


def shared_by(row: ir.Row, types: Mapping[str, TileType]) -> str:
    """What a lane pushes or pops of a slot: half of the rows of what both hold, or all of it."""
    if row.op == "pop":
        return types[row.result(ir.Define).name].share
    share = types[row.operand(ir.Ref).name].share
    return "rows" if share == "both" else share


def rows_of(block: ir.Block, path: ir.Path = ()) -> Iterator[tuple[ir.Path, int, ir.Row]]:
    for k, node in enumerate(block):
        if isinstance(node, ir.Loop):
            yield from rows_of(node.body, (*path, k))
        elif isinstance(node, ir.Row):
            yield path, k, node


def within_flags(found: list[Way], most: int) -> list[list[Way]]:
    """The ways by the FIFO that they share: neighbours first, as few as it takes."""
    shared = [[w] for w in found]
    while len(shared) > most:
        pairs = [p for p in combinations(shared, 2) if can_share([*p[0], *p[1]])]
        if not pairs:
            break
        one, other = min(pairs, key=lambda p: costs(*p))
        shared = [
            sorted([*one, *other], key=lambda w: w.places[0].at) if x is one else x
            for x in shared
            if x is not other
        ]
    return shared


def can_share(ways: list[Way]) -> bool:
    """Tiles of one type in the same direction, of which lanes have the same part and with which no loop starts, whose
    rows stand together and in the same order everywhere, or all of them in loops one after the other."""
    kinds = {(w.fifo.direction, w.fifo.type, w.share) for w in ways}
    pairs = list(combinations(ways, 2))
    return (
        len(kinds) == 1
        and not any(w.starts for w in ways)
        and (all(in_one_step(x, y) for x, y in pairs) or all(in_a_row(x, y) for x, y in pairs))
    )


def in_one_step(x: Way, y: Way) -> bool:
    if len(x.places) != len(y.places):
        return False
    both = list(zip(x.places, y.places, strict=True))
    together = all((a.path, a.shift) == (b.path, b.shift) for a, b in both)
    return together and len({a.at < b.at for a, b in both}) == 1


def in_a_row(x: Way, y: Way) -> bool:
    """All rows of each are in a loop of their own, and these stand side by side.  Such a FIFO has a single
    local slot, so what is popped must be read in its own step."""
    mine, others = {p.path for p in x.places}, {p.path for p in y.places}
    return (x.at_once and y.at_once and len(mine) == len(others) == 1) and all(
        len(a) == len(b) > 1 and a != b and a[:-1] == b[:-1] for a in mine for b in others
    )


def costs(one: list[Way], other: list[Way]) -> tuple[bool, int, int]:
    """What it costs to share: rings of several slots, many tiles in a step, tiles that wait for each other."""
    x, y = one[-1], other[0]
    if in_a_row(x, y):
        return True, 0, 0
    apart = sum(abs(a.at - b.at) for a, b in zip(x.places, y.places, strict=True))
    return False, len(one) + len(other), apart
