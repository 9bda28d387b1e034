"""When: iteration shifts, so that producers run ahead of their consumers.

In: rows with cores.  Out: the same rows with shifts, in step order; block-table reads happen once
each, at the earliest step that needs them.  Invariant: on each core, a row comes after the rows it
takes values from, counted in steps.  Non-goals: slots (place) and events (sync).

Stages.  Every crossing from one core to the other starts a new phase; the cube of paged attention
has phases 0 (QK) and 2 (PV), the vector core 1 (softmax) and 3 (update).  A row of phase p runs
``lookahead * (p // 2)`` steps behind, so that the round trip through the other core has that many
steps to come back.  Loads run ``prefetch`` steps before the row that needs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from graphlib import TopologicalSorter

from lowering.schedule.options import Options
from lowering.schedule.passes.in_place import Memory, Tie, memory_of, ties
from lowering.schedule.passes.mentions import (
    names_taken,
    rewrite_exprs,
    scalars_of,
    tile_uses,
)
from pto import ir
from pto.bounds import Known, inside, noted, of_launch, surely_runs
from pto.legality import straight
from pto.names import fresh
from pto.ops import LOADS, OPS
from pto.targets import target_of


def skew(kernel: ir.Kernel, options: Options) -> ir.Kernel:
    """Shift the rows of every innermost loop; the loops that hold them keep all shifts at 0, or
    become flat.  A loop of one step at most has nothing to run ahead of, unless work items do.

    Items without a loop, on one core alone, keep theirs at 0 as well: nobody stops their scalar unit, which
    runs ahead by itself."""
    taken, needed, memory = names_taken(kernel), set(tile_uses(kernel.body)), memory_of(kernel.body)
    notes = list(kernel.notes)
    tight = crowded(kernel)
    if tight:
        options = replace(options, moves="late")

    def visit(block: ir.Block, inside: bool, flat: bool = False) -> ir.Block:
        out: list[ir.Node] = []
        run: list[ir.Row] = []
        for node in straight(block):
            if isinstance(node, ir.Row):
                run.append(node)
            else:
                nested = any(isinstance(n, ir.Loop) for n in node.body)
                of_items = options.flat and not inside and nested
                reason = keeps_apart(node, of_launch(kernel), memory) if of_items else ""
                pipelined = inside or (options.flat and bool(kernel.fifos))
                alone = node.is_guard and not flat
                if pipelined and not nested and not alone:
                    body = skewed(node, options, taken, needed, tight, memory)
                else:
                    body = visit(node.body, True, of_items and not reason)
                out.extend(levelled(run, options, tight, memory))
                done = replace(node, body=body)
                notes.extend([f"work items do not overlap: {reason}"] * bool(reason))
                out.append(flattened(done, taken) if of_items and not reason else done)
                run = []
        return (*out, *levelled(run, options, tight, memory))

    return replace(kernel, body=visit(kernel.body, False), notes=tuple(notes))


FILLS_L0 = "MTE1"
"""The pipe that brings operands to L0A and L0B."""


def crowded(kernel: ir.Kernel) -> bool:
    """L0A or L0B has no room for all operands of a step at once: each comes right before its product."""
    spaces = target_of(kernel).spaces
    moves = {r.result(ir.Define).name: r for r in ir.all_rows(kernel.body) if r.pipe == FILLS_L0}
    sizes = {"l0a": 0, "l0b": 0}
    for row in ir.all_rows(kernel.body):
        if row.op != "matmul":
            continue
        for side, a in zip(sizes, row.args[:2], strict=True):
            if isinstance(a, ir.Ref) and a.name in moves:
                sizes[side] += moves.pop(a.name).result(ir.Define).type.size_bytes
    return any(size > spaces[name].capacity_bytes for name, size in sizes.items())


def levelled(rows: list[ir.Row], options: Options, tight: bool, memory: Memory) -> list[ir.Row]:
    """Rows outside of pipelined loops: scalars first, then by depth in the data flow; where L0 is ``tight``,
    what fills it right before its product."""
    work = [r for r in rows if OPS[r.op].kind != "scalar"]
    tied = ties(tuple(work), memory)
    work = by_level(work, tied, options.rows_at, loads_later=False, pops_last=True)
    work = before_matmul(in_written_order(work, rows)) if tight else work
    out: list[ir.Row] = []
    for core in ir.CORES:
        out.extend(r for r in rows if r.core == core and OPS[r.op].kind == "scalar")
        out.extend(r for r in work if r.core == core)
    return out


def skewed(
    loop: ir.Loop, options: Options, taken: set[str], needed: set[str], tight: bool, memory: Memory
) -> ir.Block:
    """The body of ``loop`` in step order."""
    rows = [n for n in loop.body if isinstance(n, ir.Row)]
    work = [r for r in rows if OPS[r.op].kind != "scalar"]
    scalars = [r for r in rows if OPS[r.op].kind == "scalar"]
    phases = phases_of(work, loop, needed, ties(tuple(work), memory))
    lags = [options.lookahead * (p // 2) for p in phases]
    shifted = [replace(r, shift=-lag) for r, lag in zip(work, lags, strict=True)]
    shifted = moved_again(shifted, taken)
    tied = ties(tuple(shifted), memory)
    pops_last = options.load_at == "first"
    ordered = by_level(shifted, tied, options.rows_at, loads_later=True, pops_last=pops_last)
    if tight:
        ordered = in_written_order(ordered, shifted)
    if options.moves == "late":
        ordered = before_matmul(ordered)
    out: list[ir.Row] = []
    for core in ir.CORES:
        mine = ahead([r for r in ordered if r.core == core], options, memory)
        out.extend(with_scalars(mine, [r for r in scalars if r.core == core], taken))
    return tuple(out)


# ---------------------------------------------------------------------------------- work items


def keeps_apart(loop: ir.Loop, known: Known, memory: Memory) -> str:
    """Why a loop over work items that holds a loop cannot be flat, '' if it can."""
    loops = [n for n in loop.body if isinstance(n, ir.Loop)]
    if len(loops) > 1 or any(isinstance(n, ir.Loop) for n in loops[0].body):
        return "an item has more than one loop"
    inner = [id(r) for r in ir.all_rows(loops[0].body)]
    rows = [id(r) in inner for r in ir.all_rows(loop.body)]
    if any(not (rows[a] and rows[b]) for a, b in ties(loop.body, memory)):
        return "an item loads what it has stored"
    cores = {r.core for r in ir.all_rows(loop.body) if OPS[r.op].kind != "scalar"}
    idle = [c for c in ir.CORES if c in cores - {r.core for r in ir.all_rows(loops[0].body)}]
    if "cube" in idle:
        return f"the cube core is not in the loop over {loops[0].index}"
    known = inside(loop, known)
    for row in loop.body[: loop.inner]:
        known = noted(row, known) if isinstance(row, ir.Row) else known
    if idle and not surely_runs(loops[0], known):
        return f"the loop over {loops[0].index} may be empty, and the {idle[0]} core is not in it"
    return ""


def flattened(loop: ir.Loop, taken: set[str]) -> ir.Loop:
    """A loop over work items whose inner loop runs on from one item to the next.

    What is made in front runs with the first stage that reads it, loads too: the queue of their pipe
    is ahead.  What is made behind runs with the last stage that it needs.  A carried tile has its
    last value only until the next item starts in its stage, so a later stage reads a copy.  Scalars
    that are read behind come from tensors that nothing writes, and are read in front.
    """
    inner = loop.inside
    made = {result_of(r): r.shift for r in inner.body if isinstance(r, ir.Row)}
    rest = [n for n in loop.body[loop.inner + 1 :] if isinstance(n, ir.Row)]
    scalars = [r for r in rest if OPS[r.op].kind == "scalar"]
    behind = _behind([r for r in rest if r not in scalars], inner, made, taken)
    readers: dict[str, int] = {}
    for c, r in zip(inner.carry, inner.result, strict=True):
        if c.init:
            readers[c.init.name] = made[r.name]
    for row in (*inner.body, *behind):
        assert isinstance(row, ir.Row)
        for name in reads_of(row):
            readers[name] = max(readers.get(name, row.shift), row.shift)
    front = [*(n for n in loop.body[: loop.inner] if isinstance(n, ir.Row)), *scalars]
    for k in reversed(producers_first(front)):
        if OPS[front[k].op].kind != "scalar":
            row = front[k] = replace(front[k], shift=readers.get(result_of(front[k]) or "", 0))
            for name in reads_of(row):
                readers[name] = max(readers.get(name, row.shift), row.shift)
    return replace(loop, body=(*front, inner, *behind), flat=True)


def _behind(
    rows: list[ir.Row], inner: ir.Loop, made: dict[str | None, int], taken: set[str]
) -> list[ir.Row]:
    """The rows behind the inner loop with their shifts, in front of them the copies of carries."""
    stage = {c.last: made[r.name] for c, r in zip(inner.carry, inner.result, strict=True)}
    shifts: dict[str, int] = dict(stage)
    copies: list[ir.Row] = []
    copied: dict[str, str] = {}
    for k in producers_first(rows):
        row = rows[k]
        shift = min((shifts[n] for n in reads_of(row) if n in shifts), default=0)
        for a in [a for a in (*row.args, row.other) if isinstance(a, ir.Ref)]:
            if stage.get(a.name, shift) > shift:
                if a.name not in copied:
                    copied[a.name] = fresh(f"{a.name}_last", taken)
                    kind = next(c.type for c in inner.carry if c.last == a.name)
                    out = ir.Define(copied[a.name], kind)
                    copies.append(
                        ir.Row("copy", out, (a,), "vector", "V", stage[a.name], loc=row.loc)
                    )
                row = with_tile(row, a, replace(a, name=copied[a.name]))
        rows[k] = replace(row, shift=shift)
        shifts[result_of(row) or ""] = shift
    return [*copies, *rows]


def with_tile(row: ir.Row, old: ir.Ref, new: ir.Ref) -> ir.Row:
    """``row`` that reads another tile in the place of one."""
    args = tuple(new if a == old else a for a in row.args)
    return replace(row, args=args, other=new if row.other == old else row.other)


def producers_first(rows: list[ir.Row]) -> list[int]:
    """Positions of ``rows`` of both cores, those that make a value before those that take it."""
    made = {result_of(r): k for k, r in enumerate(rows)}
    takes = {k: [made[n] for n in reads_of(r) if n in made] for k, r in enumerate(rows)}
    return list(TopologicalSorter(takes).static_order())


# -------------------------------------------------------------------------------------- phases


def reads_of(row: ir.Row) -> Iterator[str]:
    """Tiles and FIFOs that a row takes values from."""
    for a in (*row.args, row.other):
        if isinstance(a, ir.Ref | ir.Queue):
            yield a.name


def result_of(row: ir.Row) -> str | None:
    """The tile or FIFO that a row gives a value to."""
    return row.out.name if isinstance(row.out, ir.Define | ir.Queue) else None


def phases_of(
    rows: list[ir.Row], loop: ir.Loop, needed: set[str], tied: Sequence[Tie]
) -> list[int]:
    """The phase of every row: the crossings from core to core before it.

    Rows of one recurrence (a carry depends on itself through them) share a phase, whatever cores
    they are on: they cannot overlap with their own next iteration.  Rows that are ``tied`` share one as well.
    """
    edges = flow_edges(rows, loop, needed)
    edges += [(a, b, 0) for pair in tied for a, b in (pair, pair[::-1])]
    knot = recurrences(len(rows), edges)
    phase = [0] * len(rows)
    changed = True
    while changed:
        changed = False
        for source, target, crossing in edges:
            a, b = knot[source], knot[target]
            if a != b and phase[b] < phase[a] + crossing:
                phase[b], changed = phase[a] + crossing, True
    return late_operands(rows, [phase[k] for k in knot])


def flow_edges(rows: list[ir.Row], loop: ir.Loop, needed: set[str]) -> list[tuple[int, int, int]]:
    """(producer, reader, 1 if a value changes cores there), the loop's carries included.

    A carry that is needed behind the loop is overwritten in place, so its readers come before its
    next value, in the same stage.
    """
    made = {result_of(r): k for k, r in enumerate(rows)}
    in_place: dict[str, int] = {}
    for c, r in zip(loop.carry, loop.result, strict=True):
        if r.name in made:
            made[c.name] = made[r.name]
            if c.last in needed:
                in_place[c.name] = made[r.name]
    edges = []
    for k, row in enumerate(rows):
        for name in reads_of(row):
            if name in made:
                edges.append((made[name], k, int(row.op == "pop")))
            if name in in_place:
                edges.append((k, in_place[name], 0))
    return edges


def recurrences(count: int, edges: list[tuple[int, int, int]]) -> list[int]:
    """For every row the first row that it reaches and that reaches it (itself, mostly)."""
    reach = [1 << k for k in range(count)]
    for source, target, _ in edges:
        reach[source] |= 1 << target
    for middle in range(count):
        for k in range(count):
            if reach[k] >> middle & 1:
                reach[k] |= reach[middle]
    return [
        next(j for j in range(count) if reach[k] >> j & 1 and reach[j] >> k & 1)
        for k in range(count)
    ]


def moved_again(rows: list[ir.Row], taken: set[str]) -> list[ir.Row]:
    """move x; matmul x; a later stage: matmul x --> a move for each stage: L1 has room to keep x, L0 has not."""
    moves = {r.result(ir.Define).name: r for r in rows if r.pipe == FILLS_L0}
    stages: dict[tuple[str, int], str] = {}
    out: list[ir.Row] = []
    for row in rows:
        args = list[ir.Operand](row.args)
        for k, a in enumerate(args):
            first = moves.get(a.name) if isinstance(a, ir.Ref) else None
            if first is None or row.shift == first.shift:
                continue
            assert isinstance(a, ir.Ref)
            if (a.name, row.shift) not in stages:
                name = stages[a.name, row.shift] = fresh(a.name, taken)
                kind = first.result(ir.Define).type
                out.append(replace(first, out=ir.Define(name, kind), shift=row.shift))
            args[k] = replace(a, name=stages[a.name, row.shift])
        out.append(replace(row, args=tuple(args)))
    return out


def late_operands(rows: list[ir.Row], phase: list[int]) -> list[int]:
    """What only fills L0 in the phase of the matmul that needs it, as L0 is small: moves from L1, and
    products to which another one is added."""
    late = list(phase)
    readers: dict[str, list[int]] = {}
    for k in reversed(range(len(rows))):
        row, mine = rows[k], readers.get(result_of(rows[k]) or "", [])
        if row.pipe in (FILLS_L0, "M") and mine and all(rows[j].op == "matmul" for j in mine):
            late[k] = max(late[k], min(late[j] for j in mine))
        for name in reads_of(row):
            readers.setdefault(name, []).append(k)
    return late


# --------------------------------------------------------------------------------------- order


def by_level(
    rows: list[ir.Row], tied: Sequence[Tie], rows_at: str, loads_later: bool, pops_last: bool
) -> list[ir.Row]:
    """Earlier stages first; within a stage, rows in the order of their depth in the data flow, in which the
    second of two ``tied`` rows lies below the first; with ``rows_at`` alap, right above what reads them.

    Rows of one depth do not depend on each other, so one barrier serves them all.
    ``loads_later``: loads do not count, ``ahead`` puts them where they belong.  ``pops_last``: what
    can run before a pop does, because a pop stops the scalar unit.
    """
    made: dict[str, tuple[int, int]] = {}
    keys: list[tuple[int, int, bool]] = []
    in_order = {k for pair in tied for k in pair}
    for k, row in enumerate(rows):
        above = [made[n] for n in reads_of(row) if n in made]
        above += [(-keys[a][0], keys[a][1]) for a, b in tied if b == k]
        depth = max((d + 1 for shift, d in above if shift == row.shift), default=0)
        keys.append((-row.shift, depth, pops_last and row.op == "pop"))
        if k in in_order or not (row.op in LOADS and loads_later):
            made[result_of(row) or ""] = (row.shift, depth)
    if rows_at == "alap":
        keys = sunk(rows, keys, in_order)
    return [rows[k] for k in sorted(range(len(rows)), key=lambda k: keys[k])]


def sunk(
    rows: list[ir.Row], keys: list[tuple[int, int, bool]], stay: set[int]
) -> list[tuple[int, int, bool]]:
    """``keys`` with every row one level above the first that reads it in its stage, but for those that ``stay``
    and those that none reads."""
    out = list(keys)
    above: dict[tuple[str, int], int] = {}
    for k in reversed(range(len(rows))):
        shift, depth, last = keys[k]
        if k not in stay:
            depth = above.get((result_of(rows[k]) or "", shift), depth)
        out[k] = (shift, depth, last)
        for name in reads_of(rows[k]):
            above[name, shift] = min(above.get((name, shift), depth - 1), depth - 1)
    return out


def in_written_order(rows: list[ir.Row], written: list[ir.Row]) -> list[ir.Row]:
    """Products, and what leaves L0C, of each stage as they are written, where the others were: block after
    block of a result."""
    stages: dict[int, list[ir.Row]] = {}
    for row in written:
        if row.pipe in ("M", "FIX"):
            stages.setdefault(row.shift, []).append(row)
    return [stages[r.shift].pop(0) if r.pipe in ("M", "FIX") else r for r in rows]


def before_matmul(rows: list[ir.Row]) -> list[ir.Row]:
    """Every L1 to L0 move right before the matmul that reads it, the left operand's first."""
    moves = {result_of(r): r for r in rows if r.pipe == FILLS_L0}
    out: list[ir.Row] = []
    for row in rows:
        if row.op == "matmul":
            out += [moves.pop(n) for n in reads_of(row) if n in moves]
        if row.pipe != FILLS_L0:
            out.append(row)
    return [*out, *moves.values()]


def ahead(rows: list[ir.Row], options: Options, memory: Memory) -> list[ir.Row]:
    """Loads ``prefetch`` steps before their first reader, at the place that ``load_at`` names; those that only
    memory keeps in order stay where they are."""
    stay = {k for pair in ties(tuple(rows), memory) for k in pair}
    loads = [r for k, r in enumerate(rows) if r.op in LOADS and k not in stay]
    rest = [r for k, r in enumerate(rows) if r.op not in LOADS or k in stay]
    early: list[ir.Row] = []
    for load in loads:
        name = result_of(load)
        reader = next(k for k, r in enumerate(rest) if name in tuple(reads_of(r)))
        moved = replace(load, shift=rest[reader].shift + options.prefetch)
        if options.prefetch == 0:
            rest.insert(reader, moved)
        elif options.load_at == "first" or rest[reader].pipe != FILLS_L0:
            early.append(moved)
        else:
            rest.insert(place_behind(rest, reader, options.load_at), moved)
    return [*long_last(early, rest), *rest]


def long_last(loads: list[ir.Row], rows: list[ir.Row]) -> list[ir.Row]:
    """Loads of earlier stages first, but behind all others what later stages read as well: what frees their
    slots does so for it, too."""
    last: dict[str, int] = {}
    for row in rows:
        for name in reads_of(row):
            last[name] = min(last.get(name, row.shift), row.shift)
    spans = [r.shift - last[result_of(r) or ""] for r in loads]
    short = min(spans, default=0)
    return [
        *ir.in_own_order(r for r, span in zip(loads, spans, strict=True) if span == short),
        *ir.in_own_order(r for r, span in zip(loads, spans, strict=True) if span > short),
    ]


def place_behind(rows: list[ir.Row], reader: int, load_at: str) -> int:
    """Where a prefetch goes: behind the moves of its reader's stage, or (``after_push``, first
    stage only: docs/machine.md 16.3) behind its push."""
    shift = rows[reader].shift
    late = load_at == "after_push" and shift == max(r.shift for r in rows if r.op not in LOADS)
    for k in range(reader + 1, len(rows)):
        if rows[k].op == ("push" if late else "matmul") and rows[k].shift == shift:
            return k + 1 if late else k
    return reader + 1


def with_scalars(rows: list[ir.Row], scalars: list[ir.Row], taken: set[str]) -> list[ir.Row]:
    """Scalar rows put before their first use.

    A ``read`` happens once, at the largest shift that needs it, and is carried to later steps; a
    ``let`` is cheap and is computed anew in every stage that uses it.
    """
    out = list(rows)
    for scalar in reversed(scalars):
        assert isinstance(scalar.out, ir.Scalar)
        name = scalar.out.name
        shifts = sorted({r.shift for r in out if name in scalars_of(r)}, reverse=True)
        if scalar.op == "read":
            shifts = shifts[:1]
        for k, shift in enumerate(shifts):
            mine = name if k == 0 else fresh(name, taken)
            users = [j for j, r in enumerate(out) if name in scalars_of(r) and (r.shift == shift)]
            renamed: dict[str, ir.Expr] = (
                {} if mine == name else {name: ir.Var(mine, ir.names_a_float(scalar))}
            )
            for j in users if renamed else ():
                out[j] = rewrite_exprs(out[j], partial(ir.substitute, values=renamed))
            out.insert(users[0], replace(scalar, out=replace(scalar.out, name=mine), shift=shift))
    return out
