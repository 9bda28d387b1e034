"""Where a program of values finds the value of a slot: scopes of blocks, loops and branches.

In: what rows write to slots and read from them, in the order of their iteration.  Out: the names of values;
a loop or a branch that hands on what was asked for.
Invariant: a slot is a symbolic key, ``i + 1`` modulo the depth; at the end of an iteration ``i + 1`` becomes
``i``.  A key that an iteration reads before it writes is carried by the loop, and so is one that is read
behind the loop; a branch hands a value on by a ``move`` to one name at the end of both ways.
Non-goals: which rows run, in which order (``lowering/values/unscheduled.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from pto import ir
from pto.text import expr as expr_text
from pto.types import TileType


@dataclass(frozen=True)
class Key:
    """A place that holds a value: slot ``index`` (modulo ``depth``) of a buffer."""

    name: str
    index: ir.Expr
    depth: int

    def at(self, values: dict[str, ir.Expr]) -> Key:
        """The same place with names replaced."""
        return slot_key(self.name, ir.substitute(self.index, values), self.depth)


def slot_key(name: str, index: ir.Expr | None, depth: int) -> Key:
    """The key of a ring slot in normal form: sorted terms, coefficients modulo the depth."""
    const, terms = ir.linear(index or ir.Const(0))
    out: ir.Expr = ir.Const(0)
    for atom, k in sorted(terms.items(), key=lambda t: expr_text(t[0])):
        if k % depth:
            out = ir.binary("+", out, ir.binary("*", atom, ir.Const(k % depth)))
    if out == ir.Const(0):
        return Key(name, ir.Const(const % depth), depth)
    return Key(name, ir.binary("+", out, ir.Const(const % depth)), depth)


class Scope:
    """What is known at one point of the program: the value at each key, and the scalars.

    ``outer`` finds a key that this scope has not written.  A value may be lazy: asking for it
    makes a loop carry it, or a branch hand it on.
    """

    def __init__(self, outer: Callable[[Key], str | None], scalars: dict[str, ir.Expr]) -> None:
        self.local: dict[Key, str | Callable[[], str]] = {}
        self.outer = outer
        self.scalars = scalars
        self.nodes: list[ir.Row | LoopScope | Fork] = []

    def find(self, key: Key) -> str | None:
        found = self.local.get(key)
        if found is None:
            return self.outer(key)
        return found() if callable(found) else found

    def snapshot(self) -> Callable[[Key], str | None]:
        """``find`` as of now."""
        now = Scope(self.outer, self.scalars)
        now.local = dict(self.local)
        return now.find

    def made(self) -> ir.Block:
        """The program, once nobody asks for anything any more."""
        return tuple(n if isinstance(n, ir.Row) else n.made() for n in self.nodes)


MakesCarry = Callable[[str, str | None], ir.Carry]
"""From the name of a buffer and a value before the loop: a new carry of a tile of that buffer."""


class LoopScope:
    """A loop while it is built, and afterwards for those who ask for its results."""

    def __init__(self, loop: ir.Loop, outside: Scope, carry: MakesCarry) -> None:
        self.loop, self.carry = loop, carry
        self.before = outside.snapshot()
        self.written = {r.out.name for r in ir.all_rows(loop.body) if isinstance(r.out, ir.Ref)}
        self.carried: dict[Key, ir.Carry] = {}
        self.queued: dict[str, list[ir.Carry]] = {}
        self.next: dict[str, str] = {}
        """By the name of what is carried: its value after an iteration."""
        self.is_open = True
        self.inside = Scope(self.at_top, dict(outside.scalars))

    def later(self, key: Key, by: int) -> Key:
        """The key that means the same slot ``by`` iterations earlier in the names of now."""
        names = [n for n in (self.loop.index, self.loop.total) if n]
        return key.at({n: ir.binary("+", ir.Var(n), ir.Const(by)) for n in names})

    def at_top(self, key: Key) -> str | None:
        """The value at ``key`` when an iteration starts."""
        if key.name not in self.written and self.later(key, 1) == key:
            return self.before(key)
        carry = self.carried.get(key)
        if carry is None:
            init = self.before(key.at({self.loop.index: ir.Const(0)}))
            carry = self.carried[key] = self.carry(key.name, init)
            if not self.is_open:
                self.finish(key)
        return carry.name

    def finish(self, key: Key) -> None:
        found = self.inside.find(self.later(key, 1))
        assert found is not None
        self.next[self.carried[key].name] = found

    def close(self, outside: Scope) -> None:
        """Finds what is carried on; every written key is available (lazily) behind the loop."""
        finished = 0
        while finished < len(self.carried):  # more may be asked for on the way
            self.finish(list(self.carried)[finished])
            finished += 1
        self.is_open = False
        written = {k.name for k in self.inside.local}
        for key in [k for k in outside.local if k.name in written and k.depth > 1]:
            del outside.local[key]  # which of the slots were overwritten depends on the trips
        for key in self.inside.local:
            top = self.later(key, -1)
            for trips in (self.loop.trips, ir.binary("max", self.loop.trips, ir.Const(0))):
                outside.local[top.at({self.loop.index: trips})] = partial(self.result, top)

    def result(self, top: Key) -> str:
        self.at_top(top)
        return self.carried[top].last

    def made(self) -> ir.Loop:
        carry = (*(c for queue in self.queued.values() for c in queue), *self.carried.values())
        result = tuple(ir.Ref(self.next[c.name]) for c in carry)
        return replace(self.loop, body=self.inside.made(), carry=carry, result=result)


@dataclass
class Fork:
    """A branch while it is built, and afterwards for those who ask what it hands on."""

    branch: ir.Branch
    then: Scope
    orelse: Scope

    def join(self, name: str, kind: TileType, then: str | None, orelse: str | None) -> str:
        """``name``: one of two values, by which way the branch goes."""
        for arm, value in ((self.then, then), (self.orelse, orelse)):
            op, arg = ("full", ir.Const(0.0)) if value is None else ("move", ir.Ref(value))
            arm.nodes.append(ir.Row(op, ir.Define(name, kind), (arg,)))
        return name

    def made(self) -> ir.Branch:
        return replace(self.branch, then=self.then.made(), orelse=self.orelse.made())
