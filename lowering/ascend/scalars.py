"""Scalar rows in C++: what is read, what is named, and loops over scalars.

In: rows that define scalars, and the places of those that they use.  Out: C++ lines.  A ``fold`` that goes on in
the loop around it (``pto/running.py``) keeps its step and its numbers in variables in front of that loop, and takes
only the steps that it lacks.  Non-goals: where a scalar is kept that later stages use (``lowering/ascend/blocks.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from lowering.ascend.text import Context, Env, Place, braced, condition, scalar
from pto import ir
from pto.arithmetic import Number
from pto.bounds import Range, noted, of_launch
from pto.folds import INDEX, Fold, fold_of
from pto.running import going_on

ONE, ZERO = ir.Const(1), ir.Const(0)


def strides(shape: tuple[int | str, ...]) -> list[ir.Expr]:
    """Row-major strides in elements; symbolic dimensions stay symbolic."""
    dims: list[ir.Expr] = [ir.Const(d) if isinstance(d, int) else ir.Var(d) for d in shape]
    steps: list[ir.Expr] = [ONE]
    for d in reversed(dims[1:]):
        steps.insert(0, ir.binary("*", d, steps[0]))
    return steps[: len(dims)]


def element(view: ir.View, ctx: Context, env: Env) -> str:
    """One element of a tensor."""
    offset: ir.Expr = ZERO
    for item, step in zip(
        view.index, strides(ctx.kernel.param(view.tensor).shape or ()), strict=True
    ):
        assert not isinstance(item, ir.Span), view
        offset = ir.binary("+", offset, ir.binary("*", item, step))
    return f"{ctx.names.of('tensor', view.tensor)}[{scalar(offset, env)}]"


def define(place: Place, value: str) -> list[str]:
    """The definition of a scalar, or the assignment of one that outlives its block."""
    kind = "const float " if place.is_float else "const int64_t "
    return [f"{kind if place.is_declared_by_row else ''}{place.text} = {value};"]


def let(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    return define(env[row.result(ir.Scalar).name], scalar(row.scalar(0), env))


def read(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    return define(env[row.result(ir.Scalar).name], element(row.operand(ir.View), ctx, env))


def scalar_least(row: ir.Row, env: Env) -> Number | None:
    """The least value of a ``let`` or a ``fold``, as far as the places in ``env`` tell; what is read can be anything."""
    known = {name: Range(p.least) for name, p in env.items() if p.least is not None}
    found = noted(row, known)[row.result(ir.Scalar).name].low
    return None if found == -inf else found


# ------------------------------------------------------------------------------------------ folds


def kept(name: str, x: ir.Var) -> str:
    """What the place of a number that a fold keeps is called: as nothing in a program is."""
    return f"{name} {x.name}"


Kept = tuple[list[str], dict[str, Place]]
"""Declarations in front of a loop, and the places of what they declare."""


def running(loop: ir.Loop, rows: Iterable[ir.Row], ctx: Context, env: Env, again: str = "") -> Kept:
    """What the folds of a loop keep that go on in it; ``env``: of the names around it.  ``again``: where it is not
    declared anew whenever the loop is entered, the test that this is the first iteration."""
    lines: list[str] = []
    places: dict[str, Place] = {}
    for name, fold in going_on(loop, rows, of_launch(ctx.kernel)).items():
        own = places_of(name, fold, ctx)
        lines += (
            [f"int64_t {p.text} = 0;" for p in own.values()]
            if again
            else begun(name, fold, own, env, "int64_t ")
        )
        places |= own
        if again:
            places[f"{name} again"] = Place(again)
    return lines, places


def places_of(name: str, fold: Fold, ctx: Context) -> dict[str, Place]:
    """Where a fold keeps its step and its numbers."""
    found = {kept(name, INDEX): Place(ctx.names.fresh(f"{name}_step"), least=0)}
    for x in fold.states:
        found[kept(name, x)] = Place(ctx.names.fresh(f"{name}_so_far"))
    return found


def begun(name: str, fold: Fold, places: Env, env: Env, kind: str = "") -> list[str]:
    """The variables of a fold as it starts, of a ``kind`` where they are declared."""
    starts = ((INDEX, ZERO), *zip(fold.states, fold.starts, strict=True))
    return [f"{kind}{places[kept(name, x)].text} = {scalar(start, env)};" for x, start in starts]


def fold(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Its steps, and the scalar that it gives."""
    this, name = fold_of(row), row.result(ir.Scalar).name
    lines: list[str] = []
    again = env.get(f"{name} again")
    if kept(name, INDEX) not in env:
        env = {**env, **places_of(name, this, ctx)}
        lines = begun(name, this, env, env, "int64_t ")
    elif again is not None:
        lines = braced(f"if ({again.text})", begun(name, this, env, env))
    inside = {**env, **{x.name: env[kept(name, x)] for x in (INDEX, *this.states)}}
    step = inside[INDEX.name].text
    trips = scalar(this.trips, env)
    if not isinstance(this.trips, ir.Const | ir.Var):
        count = ctx.names.fresh(f"{name}_count")
        lines.append(f"const int64_t {count} = {trips};")
        trips = count
    body: list[str] = []
    for k, (x, view) in enumerate(this.read):
        if k == this.asked:
            body += _ends(this, inside)
        text = ctx.names.fresh(f"{view.tensor}_item")
        body.append(f"const int64_t {text} = {element(view, ctx, inside)};")
        inside[x.name] = Place(text)
    if this.asked == len(this.read):
        body += _ends(this, inside)
    made = [scalar(e, inside) for e in this.steps]
    places = [inside[x.name].text for x in this.states]
    if len(made) > 1:  # one assignment: no step sees the result of another
        then = [ctx.names.fresh(f"{name}_then") for _ in made]
        body += [f"const int64_t {t} = {e};" for t, e in zip(then, made, strict=True)]
        made = then
    body += [f"{p} = {e};" for p, e in zip(places, made, strict=True)]
    lines += braced(f"for (; {step} < {trips}; ++{step})", body)
    return [*lines, *define(env[name], places[0])]


def _ends(this: Fold, env: Env) -> list[str]:
    if this.until == ZERO:
        return []
    return braced(f"if ({condition(this.until, env)})", ["break;"])
