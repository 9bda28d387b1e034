"""A flow: what a scheduled program computes, as one tree of steps on numbered values.

In: built by ``lowering/values/dataflow.py``.  Out: run by ``lowering/jax_executor/executor.py`` (numbers) and by
``lowering/values/tokens.py`` (symbols).

Invariant after ``tidy``: every value is defined once, before its uses or as a phi around them; a
loop carries only what changes in it and is needed.

Scalars in a flow are expressions of dimensions, scalar parameters, ``block_idx``, ``block_num``,
loop indices (``i.7``: each loop has its own) and scalar values (``%12``: the result of a read).

Non-goals: cores, pipes, slots, FIFOs, events; they are gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pto.ir import Bin, Const, Expr, Kernel, Row, Span, Var, View, Word, names_in
from pto.ops import OPS
from pto.types import TileType

ALIASES = ("move", "push", "push_data", "pop")
"""Ops that only hand a value on."""

SILENT = (*(op.name for op in OPS.values() if op.kind == "sync"), "record")
"""Ops that order but do not compute."""

# ------------------------------------------------------------------------------- the flow


@dataclass(frozen=True)
class Use:
    """An operand: value number ``value``, read transposed or as it is."""

    value: int
    transposed: bool = False


@dataclass(frozen=True)
class Step:
    """One row of one iteration: ``out`` is a new tile, scalar (``read``) or tensor (``store``).

    ``state`` is the version of the tensor that a load, read or store meets (None: never written).
    """

    op: str
    out: int
    type: TileType | None
    args: tuple[Use | Expr | View | Word, ...]
    state: int | None
    row: Row


@dataclass
class Phi:
    """A loop-carried value: ``init`` (None: undefined) before, ``next`` after each iteration."""

    inner: int
    init: int | None
    next: int = -1
    last: int = -1
    type: TileType | str = ""


@dataclass
class Repeat:
    """``for index in 0 .. trips`` with its phis."""

    index: str
    trips: Expr
    body: list[Step | Repeat | Choice] = field(default_factory=list)
    phis: list[Phi] = field(default_factory=list)


@dataclass
class Merge:
    """A value behind a branch: one of two (None: undefined)."""

    then: int | None
    orelse: int | None
    out: int
    type: TileType | str


@dataclass
class Choice:
    """``if test`` with the values that leave it."""

    test: Expr
    then: list[Step | Repeat | Choice] = field(default_factory=list)
    orelse: list[Step | Repeat | Choice] = field(default_factory=list)
    merges: list[Merge] = field(default_factory=list)


Part = Step | Repeat | Choice


@dataclass
class Flow:
    """The whole program: ``first`` and ``last`` are the versions of each written tensor."""

    kernel: Kernel
    parts: list[Part]
    first: dict[str, int]
    last: dict[str, int]


# ------------------------------------------------------------------------------- tidying


def expressions(args: tuple[Use | Expr | View | Word, ...]) -> Iterator[Expr]:
    """Every scalar expression among operands."""
    for a in args:
        if isinstance(a, View):
            for item in a.index:
                yield item.start if isinstance(item, Span) else item
                if isinstance(item, Span) and item.valid is not None:
                    yield item.valid
        elif isinstance(a, Const | Var | Bin):
            yield a


def values_of(e: Expr) -> Iterator[int]:
    """The scalar values that an expression reads."""
    return (int(n[1:]) for n in names_in(e) if n.startswith("%"))


def inputs(step: Step) -> Iterator[int]:
    """The values that a step reads."""
    yield from (a.value for a in step.args if isinstance(a, Use))
    if step.state is not None:
        yield step.state
    for e in expressions(step.args):
        yield from values_of(e)


def tidy(flow: Flow) -> None:
    """Takes out phis that never change, then everything that no result needs."""
    same: dict[int, int] = {}
    while fixed := list(constant_phis(flow.parts, same)):
        same.update(fixed)
    rename(flow.parts, same)
    flow.last = {name: resolved(v, same) for name, v in flow.last.items()}
    needed = live_values(flow)
    flow.parts = kept(flow.parts, needed)


def resolved(value: int, same: dict[int, int]) -> int:
    while value in same:
        value = same[value]
    return value


def constant_phis(parts: list[Part], same: dict[int, int]) -> Iterator[tuple[int, int]]:
    """(value, the value it always equals) for phis that an iteration hands on unchanged."""
    for part in parts:
        if isinstance(part, Repeat):
            for phi in part.phis:
                settled = phi.inner in same and phi.last in same
                if not settled and phi.init is not None and resolved(phi.next, same) == phi.inner:
                    yield phi.inner, phi.init
                    yield phi.last, phi.init
            yield from constant_phis(part.body, same)
        elif isinstance(part, Choice):
            yield from constant_phis(part.then, same)
            yield from constant_phis(part.orelse, same)


def rename(parts: list[Part], same: dict[int, int]) -> None:
    """Every value by the name it is known by in the end."""

    def final(value: int | None) -> int | None:
        return None if value is None else resolved(value, same)

    for k, part in enumerate(parts):
        if isinstance(part, Step):
            args = tuple(
                replace(a, value=resolved(a.value, same)) if isinstance(a, Use) else a
                for a in part.args
            )
            parts[k] = replace(part, args=args, state=final(part.state))
        elif isinstance(part, Repeat):
            rename(part.body, same)
            part.phis = [p for p in part.phis if p.inner not in same]
            for phi in part.phis:
                phi.init, phi.next = final(phi.init), resolved(phi.next, same)
        else:
            rename(part.then, same)
            rename(part.orelse, same)
            for merge in part.merges:
                merge.then, merge.orelse = final(merge.then), final(merge.orelse)


def definitions(parts: list[Part]) -> Iterator[tuple[int, list[int]]]:
    """(value, the values it is made of), for every value."""
    for part in parts:
        if isinstance(part, Step):
            yield part.out, list(inputs(part))
        elif isinstance(part, Repeat):
            for phi in part.phis:
                made_of = [v for v in (phi.init, phi.next) if v is not None]
                made_of += values_of(part.trips)
                yield phi.inner, made_of
                yield phi.last, [phi.inner, *made_of]
            yield from definitions(part.body)
        else:
            for merge in part.merges:
                made_of = [v for v in (merge.then, merge.orelse) if v is not None]
                yield merge.out, [*made_of, *values_of(part.test)]
            yield from definitions(part.then)
            yield from definitions(part.orelse)


def live_values(flow: Flow) -> set[int]:
    made_of = dict(definitions(flow.parts))
    live: set[int] = set()
    todo = list(flow.last.values())
    while todo:
        value = todo.pop()
        if value not in live:
            live.add(value)
            todo += made_of.get(value, [])
    return live


def kept(parts: list[Part], live: set[int]) -> list[Part]:
    """The parts that define something live."""
    out: list[Part] = []
    for part in parts:
        if isinstance(part, Step):
            out += [part] if part.out in live else []
            continue
        if isinstance(part, Repeat):
            part.body = kept(part.body, live)
            part.phis = [p for p in part.phis if p.inner in live or p.last in live]
            out += [part] if part.phis else []
            continue
        part.then, part.orelse = kept(part.then, live), kept(part.orelse, live)
        part.merges = [m for m in part.merges if m.out in live]
        out += [part] if part.merges else []
    return out
