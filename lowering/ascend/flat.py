"""A flat loop of one core as C++: its work items one behind the other, without a gap.

In: the rows of one core in a flat loop.  Out: C++ lines.  First a plain loop over the items whose
inner loop is empty; then one loop over steps, in which the first stage takes the next position
(iteration ``i`` of item ``w``) and every stage runs its rows for a position of its own.  What the
stages need of a position is kept in a small ring of ``Position``.

Invariant: every row runs where docs/language.md says.  Non-goals: what an op looks like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

from lowering.ascend.blocks import (
    Entry,
    block_lines,
    counted,
    declared_here,
    entries_of,
    entry_names,
    needed,
    row_lines,
    running_in,
)
from lowering.ascend.scalars import running, scalar_least
from lowering.ascend.text import (
    Context,
    Env,
    Place,
    at_least,
    braced,
    indented,
    trip_count,
    without_iteration,
)
from pto import ir
from pto.ops import OPS

FRONT, INSIDE, BEHIND = range(3)
Part = tuple[int, Entry]


@dataclass(slots=True)
class _Nest:
    """A flat loop as one core sees it; ``fields`` are the members of ``Position`` by scalar name."""

    loop: ir.Loop
    inner: ir.Loop
    ctx: Context
    env: Env
    scalars: list[ir.Row]
    parts: list[Part]
    count: str
    fields: dict[str, bool] = field(default_factory=dict)

    position: str = ""
    """The counter of positions: iterations of the inner loop, or items."""

    @property
    def has_inner(self) -> bool:
        return any(part == INSIDE for part, _ in self.parts)

    @property
    def trips(self) -> str:
        """The scalar that holds the trip count of the inner loop: one of the item, else one of the position's own."""
        return self.given or f"{self.inner.index} count"  # a name that no program can have

    @property
    def given(self) -> str:
        """The scalar of the item that is the trip count, '' if there is none: a size is that of all items."""
        own = {r.out.name for r in self.scalars if isinstance(r.out, ir.Scalar)}
        trips = self.inner.trips
        return trips.name if isinstance(trips, ir.Var) and trips.name in own else ""


def flat_lines(loop: ir.Loop, ctx: Context, env: Env) -> list[str]:
    """All of a flat loop; ``env``: the scalars around it."""
    inner = loop.inside
    front = entries_of(loop.body[: loop.inner], ctx.core)
    scalars = [
        e.node for e in front if isinstance(e.node, ir.Row) and OPS[e.node.op].kind == "scalar"
    ]
    parts = [(FRONT, e) for e in front if e.node not in scalars]
    parts += [(INSIDE, e) for e in entries_of(inner.body, ctx.core)]
    parts += [(BEHIND, e) for e in entries_of(loop.body[loop.inner + 1 :], ctx.core)]
    lines, count = counted(loop, ctx, env)
    nest = _Nest(loop, inner, ctx, env, scalars, parts, count)
    named = nest.has_inner and inner.total
    nest.position = ctx.scalar(inner.total) if named else ctx.names.fresh("u")
    if not nest.has_inner and len({e.shift for _, e in parts}) == 1:
        return [*lines, *_plain(nest)]
    before = _empty_items(nest)
    return [*lines, *before, *_steps(nest, bool(before))]


def _inside(nest: _Nest) -> dict[str, Place]:
    """The scalars of an item where its rows stand in a block of their own."""
    counters = nest.loop.index, nest.loop.total
    return {**nest.env, **{name: Place(nest.ctx.scalar(name), least=0) for name in counters}}


def _rows(nest: _Nest) -> list[Entry]:
    return [e for _, e in nest.parts]


def _plain(nest: _Nest) -> list[str]:
    """A core without rows in the inner loop and with one stage: one item after the other."""
    w = nest.ctx.scalar(nest.loop.index)
    declared, kept = running(nest.loop, nest.scalars, nest.ctx, nest.env)
    scope = {
        **nest.env,
        **kept,
        nest.loop.index: Place(w, least=0),
        nest.loop.total: Place(w, least=0),
    }
    body = block_lines([*map(Entry, nest.scalars), *_rows(nest)], nest.ctx, scope)
    return declared + braced(f"for (int64_t {w} = 0; {w} < {nest.count}; ++{w})", body)


def _empty_items(nest: _Nest) -> list[str]:
    """The loop over items whose inner loop is empty; nothing if no item can be so."""
    scope = declared_here([*map(Entry, nest.scalars)], nest.ctx, _inside(nest))
    if not nest.has_inner or (at_least(nest.inner.trips, scope) or 0) > 0:
        return []
    w, v, u = (nest.ctx.scalar(n) for n in (nest.loop.index, nest.loop.total, nest.inner.total))
    ctx, outside = nest.ctx, ir.in_own_order(e for part, e in nest.parts if part != INSIDE)
    counts = nest.loop.total in entry_names(_rows(nest), ctx.core)
    wanted = [*entry_names(outside, ctx.core), *ir.names_in(nest.inner.trips)]
    scalars = needed(nest.scalars, wanted)
    declared, kept = running(nest.loop, scalars, ctx, nest.env)
    head = [line for row in scalars for line in row_lines(row, ctx, {**scope, **kept})]
    scope[nest.inner.total] = Place(u, least=0)
    rows = [line for e in outside for line in block_lines([e], ctx, scope)]
    if nest.inner.total and nest.inner.total in entry_names(outside, ctx.core):
        rows.insert(0, f"const int64_t {u} = 0;")
    body = [
        *head,
        *braced(
            f"if ({without_iteration(nest.inner.trips, scope)})", [*rows, *[f"++{v};"] * counts]
        ),
    ]
    return [
        f"// First the items without an iteration over {nest.inner.index}, each by itself.",
        *[f"int64_t {v} = 0;  // items so far"] * counts,
        *declared,
        *braced(f"for (int64_t {w} = 0; {w} < {nest.count}; ++{w})", body),
    ]


def _steps(nest: _Nest, some_before: bool) -> list[str]:
    """One loop over steps, a block per run of rows of one stage."""
    ctx = nest.ctx
    runs = [(s, list(run)) for s, run in groupby(_staged(nest), key=lambda e: e.shift)]
    highest = max(s for s, _ in runs)
    span = highest - min(s for s, _ in runs)
    kind, ring, ahead, at, step, found = map(
        ctx.names.fresh,
        ("Position", "positions", "next", "at", "t", f"{nest.inner.total or 'u'}_count"),
    )
    _choose_fields(nest, runs)
    depth = span + 1
    slot = f"{ring}[{step} % {depth}]" if depth > 1 else f"{ring}[0]"
    of_items, kept = running(nest.loop, nest.scalars, ctx, nest.env)
    taking = [
        *_take(nest, ahead, kept),
        *braced(f"if ({_runs_on(nest, ahead)})", [f"{slot} = {ahead};", f"{found} = {step} + 1;"]),
    ]
    body = [*braced(f"if ({step} == {found})", taking)]
    scope = _scope(nest, at)
    inside = [e for part, e in nest.parts if part == INSIDE]
    first = f"{scope[nest.inner.index].text} == 0" if nest.has_inner else ""
    of_steps, places = running_in(nest.inner, inside, ctx, scope, first)
    scope |= places
    held = frozenset(nest.fields)
    position = nest.position
    for shift, run in runs:
        behind = highest - shift
        inner = block_lines(run, ctx, scope, held)
        if any(f"{at}." in line for line in inner):
            index = f"{position} % {depth}" if depth > 1 else "0"
            inner.insert(0, f"{kind} &{at} = {ring}[{index}];")
        tests = [f"{position} >= 0"] if behind else []
        offset = f" - {behind}" if behind else ""
        tests.append(f"{position} < {found}")
        head = f"if (const int64_t {position} = {step}{offset}; {' && '.join(tests)})"
        body += braced(head, inner)
    comment = f"// Iteration {nest.inner.index} of item {nest.loop.index}: what the stages need of a position."
    members = _members(nest)
    total = ctx.scalar(nest.loop.total)
    shifted = some_before and nest.loop.total in nest.fields
    return [
        comment,
        f"struct {kind} {{",
        *indented([f"{t} {n} = {start};" for n, (t, start) in members.items()]),
        "};",
        f"{kind} {ring}[{depth}];",
        f"{kind} {ahead};",
        *([f"{ahead}.{total} = {total} - 1;"] if shifted else []),
        *of_items,
        *of_steps,
        f"int64_t {found} = 0;  // positions so far, all of them once the items end",
        *braced(
            f"for (int64_t {step} = 0; {step} == {found} || {step} < {found} + {span}; ++{step})",
            body,
        ),
    ]


def _staged(nest: _Nest) -> Iterator[Entry]:
    """All rows, those beside the inner loop under the test that this is their position."""
    i = ir.Var(nest.inner.index)
    edges: dict[int, ir.Expr] = {
        FRONT: ir.Bin("==", i, ir.Const(0)),
        BEHIND: ir.Bin("==", ir.binary("+", i, ir.Const(1)), ir.Var(nest.trips)),
    }
    for part, e in nest.parts:
        if part == INSIDE or not nest.has_inner:
            yield e
        else:
            yield replace(e, tests=((-1 - part, edges[part], True), *e.tests))


def _choose_fields(nest: _Nest, runs: list[tuple[int, list[Entry]]]) -> None:
    """What goes into a position: counters, scalars of the item, and scalars of an iteration that
    more than one stage uses."""
    ctx, scope = nest.ctx, _inside(nest)
    for name in (nest.inner.index, nest.inner.total):
        scope[name] = Place(ctx.scalar(name), least=0)
    used = [entry_names(run, ctx.core) for _, run in runs]
    wanted = set().union(*used)
    nest.fields[nest.loop.index] = False
    if nest.loop.total in wanted:
        nest.fields[nest.loop.total] = False
    if nest.has_inner:
        nest.fields |= {nest.inner.index: False, nest.trips: False}
    rows = nest.scalars + [
        e.node
        for _, e in nest.parts
        if isinstance(e.node, ir.Row) and isinstance(e.node.out, ir.Scalar)
    ]
    for row in rows:
        assert isinstance(row.out, ir.Scalar)
        name, floating = row.out.name, ir.names_a_float(row)
        scope[name] = Place(ctx.scalar(name), floating)
        if row in nest.scalars or sum(name in names for names in used) > 1:
            nest.fields[name] = floating


def _scope(nest: _Nest, struct: str) -> dict[str, Place]:
    """Every scalar of a position as a member of ``struct``."""
    scope = dict(nest.env)
    counters = {nest.loop.index: 0, nest.loop.total: 0, nest.inner.index: 0}
    for name, floating in nest.fields.items():
        text = f"{struct}.{nest.ctx.scalar(name)}"
        scope[name] = Place(text, floating, least=counters.get(name))
    for row in nest.scalars:
        assert isinstance(row.out, ir.Scalar)
        scope[row.out.name] = replace(scope[row.out.name], least=scalar_least(row, scope))
    scope[nest.inner.total] = Place(nest.ctx.scalar(nest.inner.total), least=0)
    return scope


def _members(nest: _Nest) -> dict[str, tuple[str, str]]:
    """The members of ``Position``: type and first value, with which the first position is found."""
    start = {nest.loop.index: "-1", nest.loop.total: "-1"}
    return {
        nest.ctx.scalar(n): ("float" if floating else "int64_t", start.get(n, "0"))
        for n, floating in nest.fields.items()
    }


def _take(nest: _Nest, ahead: str, kept: Env) -> list[str]:
    """``ahead`` becomes the next position, its item past the end if there is none; ``kept``: by the folds of items."""
    scope = {**_scope(nest, ahead), **kept}
    w = scope[nest.loop.index].text
    item = [line for row in nest.scalars for line in row_lines(row, nest.ctx, scope)]
    count = [f"++{scope[nest.loop.total].text};"] if nest.loop.total in nest.fields else []
    if not nest.has_inner:
        return [*braced(f"if (++{w} < {nest.count})", [*item, *count])]
    i, n = scope[nest.inner.index].text, scope[nest.trips].text
    if not nest.given:
        item.append(f"{n} = {trip_count(nest.inner.trips, scope)};")
    search = braced(f"while ({n} <= 0 && ++{w} < {nest.count})", item)
    return braced(f"if (++{i} >= {n})", [f"{i} = {n} = 0;", *search, *count])


def _runs_on(nest: _Nest, ahead: str) -> str:
    scope = _scope(nest, ahead)
    if nest.has_inner:
        return f"{scope[nest.trips].text} > 0"
    return f"{scope[nest.loop.index].text} < {nest.count}"
