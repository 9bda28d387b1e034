"""Blocks and loops of one core as C++: order, branches, waits and sets, the software pipeline.

In: the rows and loops of one core.  Out: C++ lines.  Invariant: every row runs for exactly the
iterations that the program gives it, in the program's order; a wait stands before its op, a set
behind it.  Non-goals: what an op looks like (``lowering/ascend/rows.py``).

A loop whose rows are shifted becomes one loop over steps with a guarded block per run of rows of
equal shift; a scalar that outlives its block lives in a small ring indexed by the iteration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from lowering.ascend.rows import EMITTERS
from lowering.ascend.scalars import Kept, running, scalar_least
from lowering.ascend.text import (
    Context,
    Env,
    Place,
    braced,
    condition,
    event_id,
    indented,
    modulo,
    scalar,
    trip_count,
)
from pto import ir
from pto.errors import PtoError, ScheduleError
from pto.ops import OPS
from pto.text import named

UNCOMMENTED = frozenset(op.name for op in OPS.values() if op.kind in ("scalar", "sync")) - {"drain"}
"""Ops whose C++ says as much as their row does."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row or loop of one core, with the branches around it: (branch number, test, sense)."""

    node: ir.Row | ir.Loop
    tests: tuple[tuple[int, ir.Expr, bool], ...] = ()

    @property
    def shift(self) -> int:
        """A loop belongs to the unshifted iteration of the loop around it."""
        return self.node.shift if isinstance(self.node, ir.Row) else 0

    @property
    def flat(self) -> ir.Loop | None:
        """The flat loop that this is, if it is one."""
        return self.node if isinstance(self.node, ir.Loop) and self.node.flat else None


def entries_of(block: ir.Block, core: str) -> list[Entry]:
    """The rows and loops that ``core`` has in a block, branches flattened, empty loops left out."""
    found: list[Entry] = []
    for k, node in enumerate(block):
        if isinstance(node, ir.Row):
            found += [Entry(node)] if node.core == core else []
        elif isinstance(node, ir.Loop):
            found += [Entry(node)] if any(r.core == core for r in ir.all_rows(node.body)) else []
        else:
            for sense, side in ((True, node.then), (False, node.orelse)):
                for e in entries_of(side, core):
                    found.append(replace(e, tests=((k, node.test, sense), *e.tests)))
    return found


def block_lines(
    entries: list[Entry], ctx: Context, env: Env, held: frozenset[str] = frozenset()
) -> list[str]:
    """Rows and loops in order, each branch around them written once per run.

    Scalars in ``held`` live in rings of the loop around this block; others are declared here.
    """
    scope = declared_here(entries, ctx, env, held)
    lines: list[str] = []
    previous: tuple[int, bool] | None = None
    for test, group in groupby(entries, key=lambda e: e.tests[:1]):
        run = list(group)
        if not test:
            lines += [line for e in run for line in node_lines(e.node, ctx, scope)]
            previous = None
            continue
        number, expr, sense = test[0]
        inner = block_lines([replace(e, tests=e.tests[1:]) for e in run], ctx, scope, held)
        if previous == (number, True) and not sense:
            lines[-1:] = ["} else {", *indented(inner), "}"]
        else:
            text = condition(expr, scope)
            lines += braced(f"if ({text})" if sense else f"if (!({text}))", inner)
        previous = number, sense
    return lines


def declared_here(
    entries: list[Entry], ctx: Context, env: Env, held: frozenset[str] = frozenset()
) -> dict[str, Place]:
    """``env`` with the scalars that rows of this block declare."""
    scope = dict(env)
    for e in entries:
        if isinstance(e.node, ir.Row) and isinstance(e.node.out, ir.Scalar) and not e.tests:
            name = e.node.out.name
            if name not in held:
                floating = ir.names_a_float(e.node)
                bound = scalar_least(e.node, scope)
                scope[name] = Place(ctx.scalar(name), floating, True, bound)
    return scope


def node_lines(node: ir.Row | ir.Loop, ctx: Context, env: Env) -> list[str]:
    return row_lines(node, ctx, env) if isinstance(node, ir.Row) else loop_lines(node, ctx, env)


def row_lines(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Waits, the op, sets; the row itself as a comment in front or, when short, behind.

    Raises:
        PtoError: what the library cannot take, at the line of the row.
    """
    try:
        op = EMITTERS[row.op](row, ctx, env)
    except PtoError as error:
        raise type(error)(error.message, error.loc or row.loc, error.hint) from None
    waits = [flag_line("wait_flag", f, ctx, env) for f in row.wait]
    sets = [flag_line("set_flag", f, ctx, env) for f in row.set]
    lines = [*waits, *op, *sets]
    if row.op in UNCOMMENTED:
        return lines
    comment = f"// {named(row, ctx.kernel)}"
    return [f"{op[0]}  {comment}"] if lines == op and len(op) == 1 else [comment, *lines]


def flag_line(call: str, flag: ir.Flag, ctx: Context, env: Env) -> str:
    """``set_flag`` or ``wait_flag`` with the event's pipes, its id and, behind, its name."""
    event = ctx.kernel.event(flag.name)
    number = event_id(event, flag.index, env, ctx)
    text = f"{call}(PIPE_{event.src}, PIPE_{event.dst}, {number});"
    if not number.startswith("EVENT_ID"):
        return text
    at = "" if flag.index is None else f"[{scalar(flag.index, env)}]"
    return f"{text}  // {flag.name}{at}"


# ------------------------------------------------------------------------------------ loops


def loop_lines(loop: ir.Loop, ctx: Context, env: Env) -> list[str]:
    """A loop: plain when all its rows have one shift, or no loop if it has one step at most; else one step
    loop with guarded blocks.

    Raises:
        ScheduleError: a flat loop inside of a loop or a branch.
    """
    if loop.flat:
        raise ScheduleError("a flat loop inside of a loop or a branch cannot be emitted", loop.loc)
    entries = entries_of(loop.body, ctx.core)
    base = ""
    if loop.total and loop.total in names_used(loop.body, ctx.core):
        base = ctx.names.fresh(f"{loop.total}_base")
        ctx.counters.append(
            f"int64_t {base} = 0;  // finished iterations of the loop over {loop.index}"
        )
    lowest, highest = min(e.shift for e in entries), max(e.shift for e in entries)
    if loop.is_guard and lowest == highest:
        return guarded(loop, entries, base, ctx, env)
    lines, trips = counted(loop, ctx, env)
    index = ctx.scalar(loop.index)
    declared, places = running_in(loop, entries, ctx, env)
    lines += declared
    scope = {**env, **places, loop.index: Place(index, least=0)}
    if base:
        scope[loop.total] = Place(ctx.scalar(loop.total), least=0)
    if lowest == highest:
        count = [total_line(loop, base, ctx)] if base else []
        body = [*count, *block_lines(entries, ctx, scope)]
        lines += braced(f"for (int64_t {index} = 0; {index} < {trips}; ++{index})", body)
    else:
        lines += pipelined(loop, entries, trips, base, ctx, scope)
    if base:
        finished = trips if isinstance(loop.trips, ir.Const) else f"max_of({trips}, 0)"
        lines.append(f"{base} += {finished};")
    return lines


def running_in(
    loop: ir.Loop, entries: list[Entry], ctx: Context, env: Env, again: str = ""
) -> Kept:
    """``running`` of the rows of a loop; of none where a branch defines scalars."""
    ahead = [(e.node, e.tests) for e in ir.in_own_order(entries) if isinstance(e.node, ir.Row)]
    scalars = [(row, tests) for row, tests in ahead if isinstance(row.out, ir.Scalar)]
    if any(tests for _, tests in scalars):
        return [], {}
    return running(loop, [row for row, _ in scalars], ctx, env, again)


def guarded(loop: ir.Loop, entries: list[Entry], base: str, ctx: Context, env: Env) -> list[str]:
    """A loop of one step at most: a test."""
    scope = {**env, loop.index: Place("0", least=0), loop.total: Place(base, least=0)}
    body = [*block_lines(entries, ctx, scope), *[f"++{base};"] * bool(base)]
    return braced(f"if ({condition(loop.trips, env)})", body)


def counted(loop: ir.Loop, ctx: Context, env: Env) -> tuple[list[str], str]:
    """(declaration, trip count): what is no plain name becomes one."""
    text = trip_count(loop.trips, env)
    if isinstance(loop.trips, ir.Const | ir.Var):
        return [], text
    name = ctx.names.fresh(f"{loop.index}_count")
    return [f"const int64_t {name} = {text};"], name


def total_line(loop: ir.Loop, base: str, ctx: Context) -> str:
    return f"const int64_t {ctx.scalar(loop.total)} = {base} + {ctx.scalar(loop.index)};"


def pipelined(
    loop: ir.Loop, entries: list[Entry], trips: str, base: str, ctx: Context, env: dict[str, Place]
) -> list[str]:
    """``for t``: in step ``t`` the rows of shift ``s`` run for iteration ``t - (highest - s)``."""
    runs = [(s, list(run)) for s, run in groupby(entries, key=lambda e: e.shift)]
    highest = max(s for s, _ in runs)
    span = highest - min(s for s, _ in runs)
    rings, places = scalar_rings(loop, runs, ctx, env)
    scope, held = {**env, **places}, frozenset(places)
    step = ctx.names.fresh("t")
    body: list[str] = []
    for shift, run in runs:
        inner = block_lines(run, ctx, scope, held)
        if base and loop.total in entry_names(run, ctx.core):
            inner.insert(0, total_line(loop, base, ctx))
        test = guard(ctx.scalar(loop.index), step, highest - shift, span, trips)
        body += braced(f"if ({test})", inner)
    return [*rings, *braced(f"for (int64_t {step} = 0; {step} < {trips} + {span}; ++{step})", body)]


def guard(index: str, step: str, behind: int, span: int, trips: str) -> str:
    """The iteration of a block and the conditions that do not hold by themselves."""
    tests = [f"{index} >= 0"] if behind else []
    tests += [f"{index} < {trips}"] if behind < span else []
    offset = f" - {behind}" if behind else ""
    return f"const int64_t {index} = {step}{offset}; {' && '.join(tests)}"


def scalar_rings(
    loop: ir.Loop, runs: list[tuple[int, list[Entry]]], ctx: Context, env: Env
) -> tuple[list[str], dict[str, Place]]:
    """(declarations, places) of scalars that are used outside the block that defines them.

    Such a scalar keeps as many values as iterations lie between its definition and its last use.
    """
    lines: list[str] = []
    places: dict[str, Place] = {}
    rows = [e.node for _, run in runs for e in run if isinstance(e.node, ir.Row)]
    for name in dict.fromkeys(r.out.name for r in rows if isinstance(r.out, ir.Scalar)):
        shifts = [s for s, run in runs if name in entry_names(run, ctx.core)]
        if len(shifts) == 1:
            continue
        depth = max(shifts) - min(shifts) + 1
        first = next(r for r in rows if isinstance(r.out, ir.Scalar) and r.out.name == name)
        floating = ir.names_a_float(first)
        kind, text = "float" if floating else "int64_t", ctx.scalar(name)
        lines.append(f"{kind} {text}[{depth}];" if depth > 1 else f"{kind} {text} = 0;")
        inside = {**env, loop.index: Place(ctx.scalar(loop.index), least=0)}
        place = f"{text}[{modulo(ir.Var(loop.index), depth, inside)}]" if depth > 1 else text
        places[name] = Place(place, floating, least=scalar_least(first, {**env, **places}))
    return lines, places


# -------------------------------------------------------------------------------- name use


def live(block: ir.Block, core: str) -> ir.Block:
    """before --> after: scalars that nothing on ``core`` reads disappear; their flags stay.

    What is used in one loop and computed in another scope is not for this function: a scope asks
    ``needed``.
    """
    while True:
        used = frozenset(names_used(block, core))

        def without(row: ir.Row, used: frozenset[str] = used) -> ir.Row | tuple[ir.Row, ...]:
            if row.core != core or not isinstance(row.out, ir.Scalar) or row.out.name in used:
                return row
            flagged = row.wait or row.set
            return replace(row, op="sync", out=None, args=()) if flagged else ()

        kept = ir.map_rows(block, without)
        if kept == block:
            return block
        block = kept


def needed(scalars: list[ir.Row], names: Iterable[str]) -> list[ir.Row]:
    """The rows among ``scalars`` that ``names`` depend on; the others only for their flags."""
    wanted, kept = set(names), list[ir.Row]()
    for row in reversed(scalars):
        assert isinstance(row.out, ir.Scalar), row
        if row.out.name in wanted or row.wait or row.set:
            wanted |= set(row_names(row))
            kept.append(row)
    return kept[::-1]


def entry_names(run: list[Entry], core: str) -> frozenset[str]:
    """Every scalar that a run of entries defines or uses."""
    found: list[str] = []
    for e in run:
        found += [n for _, test, _ in e.tests for n in ir.names_in(test)]
        found += names_used((e.node,), core)
        if isinstance(e.node, ir.Row) and isinstance(e.node.out, ir.Scalar):
            found.append(e.node.out.name)
    return frozenset(found)


def names_used(block: ir.Block, core: str) -> list[str]:
    """Every scalar and tensor name that the rows of ``core`` read, with repetitions."""
    found: list[str] = []
    for node in block:
        if isinstance(node, ir.Row):
            found += row_names(node) if node.core == core else []
        elif isinstance(node, ir.Loop):
            inner = names_used(node.body, core)
            if any(r.core == core for r in ir.all_rows(node.body)):
                found += [*ir.names_in(node.trips), *inner]
        else:
            inner = names_used(node.then, core) + names_used(node.orelse, core)
            found += [*ir.names_in(node.test), *inner] if inner else []
    return found


def row_names(row: ir.Row) -> list[str]:
    """Names in the scalar parts of one row; a view also names its tensor."""
    parts = (row.out, *row.args, *row.wait, *row.set)
    tensors = [x.tensor for x in parts if isinstance(x, ir.View)]
    return tensors + [n for x in parts for e in ir.exprs_of(x) for n in ir.names_in(e)]
