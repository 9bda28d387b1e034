"""Which values share a buffer.

In: rows with shifts on named values, and their lives.  Out: ``Group``: the values of one buffer, of one slot so
far.  Invariant: no value is overwritten while it is alive in its iteration.  Non-goals: how many slots, and where
(place).

Values share a buffer where one dies as the other is born: a chain of vector ops runs in place, and
a carried tile is updated in place, or rotates through a ring when old and new are alive together.  A sum of
products is one value, from its first product to its last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from lowering.schedule.passes.lives import Life, Lives
from lowering.schedule.passes.mentions import names_taken
from pto import ir
from pto.loc import Loc
from pto.names import fresh
from pto.ops import OPS
from pto.targets import Space, target_of
from pto.types import TileType, is_pairs


@dataclass(slots=True)
class Group:
    """Values that live in one buffer.

    ``loop`` is the innermost loop around all of them (None: outside of every loop); ``rotates``
    says that version k of a carried tile is in slot k.
    """

    name: str
    core: str
    space: str
    type: TileType
    layout: str
    loop: ir.Loop | None
    members: list[str]
    depth: int = 1
    rotates: ir.Loop | None = None
    first: str = ""
    result: str = ""
    last: str = ""
    named: bool = False
    """Keeps its name (carries, loads, pops); others are named after the last value they hold."""
    popped: int = 0
    """Bytes from slot to slot of the FIFO that fills it; 0: none does."""
    turns: dict[str, int] = field(default_factory=dict)
    """Of tiles that come through one FIFO, several per step: which of them each member is."""
    lone: bool = False
    """One slot: the tiles of loops one after the other, which count apart."""
    loc: Loc | None = None
    touched: set[str] = field(default_factory=set)

    @property
    def slots(self) -> int:
        """Of all steps that it holds."""
        return self.depth * self.in_step

    @property
    def in_step(self) -> int:
        """Slots that a step takes."""
        return 1 + max(self.turns.values(), default=0)


def layout_of(space: Space, t: TileType, turned: bool = False) -> str:
    """How a tile lies in a memory: columns, and what products read as its transpose only, the other way; scales in
    pairs."""
    wishes = [*["pairs"] * is_pairs(t), *["dn"] * is_column(t), *["zn"] * turned, *space.layouts]
    return next(layout for layout in wishes if layout in space.layouts)


def is_column(t: TileType) -> bool:
    return t.cols == 1


class Groups(Lives):
    """``groups``: by value."""

    def __init__(self, kernel: ir.Kernel) -> None:
        super().__init__(kernel)
        self.target = target_of(kernel)
        self.taken = names_taken(kernel) | {f.name for f in kernel.fifos}
        self.groups: dict[str, Group] = {}
        while row := self._grouped():
            self._copied_first(row)

    def _grouped(self) -> ir.Row | None:
        """All groups; or a row under a test that cannot write over what its result is elsewhere."""
        self.groups = {}
        self._copy_back()
        self._sums()
        self._carried(self.kernel.body, ())
        return self._others()

    def _copied_first(self, row: ir.Row) -> None:
        """x = op y | if test else z --> z_first = copy z; x = op y | if test else z_first"""
        assert row.other is not None
        made = row.result(ir.Define)
        copy = ir.Define(fresh(f"{made.name}_first", self.taken), made.type)
        test = self._where_made(row.other.name, row.shift)
        first = ir.Row("copy", copy, (row.other,), "vector", "V", row.shift, loc=row.loc, test=test)
        both = first, replace(row, other=ir.Ref(copy.name))
        self._rewritten(ir.map_rows(self.kernel.body, lambda r: both if r is row else r))

    def _where_made(self, value: str, shift: int) -> ir.Expr | None:
        """The test under which there is a value, as rows of this shift may ask it."""
        row = self.lives[value].row
        if row is None or row.shift != shift:
            return None
        return self._where_made(row.other.name, shift) if row.other else row.test

    def _rewritten(self, body: ir.Block) -> None:
        self.kernel = replace(self.kernel, body=body)
        self.lives, self.ticks = {}, {}
        self.survey()

    def _copy_back(self) -> None:
        """carry c .. yield x --> c_next = copy x .. yield c_next, where c cannot be updated in place
        and is needed behind the loop, or x in a later stage: a ring would leave its last value in a
        slot that depends on the trip count, and where the next item starts."""

        def visit(block: ir.Block) -> ir.Block:
            return tuple(self._copied(n, visit) if isinstance(n, ir.Loop) else n for n in block)

        body = visit(self.kernel.body)
        if body != self.kernel.body:
            self._rewritten(body)

    def _copied(self, loop: ir.Loop, visit: Callable[[ir.Block], ir.Block]) -> ir.Loop:
        copies: list[ir.Row] = []
        results = list(loop.result)
        for k, (c, r) in enumerate(zip(loop.carry, loop.result, strict=True)):
            life = self.lives[r.name]
            needed = self.lives[c.last].reads or self.lag(r.name, life.path, life.shift)
            summed = self.on_cube(r.name)
            apart = needed and not self._in_place(c.name, r.name)
            if c.init and not summed and (apart or self._over_another(c.name, r.name)):
                made = life.row
                assert made is not None
                assert isinstance(made.out, ir.Define)
                results[k] = ir.Ref(fresh(f"{c.name}_next", self.taken))
                out = ir.Define(results[k].name, made.out.type)
                copies.append(ir.Row("copy", out, (r,), "vector", "V", made.shift, loc=loop.loc))
        return replace(loop, body=(*visit(loop.body), *copies), result=tuple(results))

    def _over_another(self, carry: str, result: str) -> bool:
        """What a loop yields, where it is not made, is another value than its carry, whatever choices are taken."""
        value = result
        while (row := self.lives[value].row) is not None and row.other is not None:
            value = row.other.name
        return value not in (carry, result)

    def _sums(self) -> None:
        """One group per sum of products: a matmul adds in place, on from one loop to the next."""
        sums: dict[str, list[str]] = {}
        for names in self._added(self.kernel.body):
            found = {id(sums[n]): sums[n] for n in names if n in sums}
            those = list(dict.fromkeys([*(n for f in found.values() for n in f), *names]))
            sums |= dict.fromkeys(those, those)
        for mine in {id(x): x for x in sums.values()}.values():
            loops = [
                c.name for x in ir.loops_of(self.kernel.body) for c in x.carry if c.name in mine
            ]
            rows = [row for n in mine if (row := self.lives[n].row) is not None]
            path = min((self.lives[n].path for n in mine), key=len)
            space, layout = self._space(rows[0])
            group = Group(
                (loops or [rows[-1].result(ir.Define).name])[0], rows[0].core, space,
                rows[0].result(ir.Define).type, layout, path[-1] if path else None, mine,
                loc=rows[-1].loc, named=True,
            )  # fmt: skip
            self.groups |= dict.fromkeys(mine, group)

    def _added(self, block: ir.Block) -> Iterator[tuple[str, ...]]:
        """Names that are one sum: what is added to and the result; the values of a carry."""
        for node in block:
            if isinstance(node, ir.Loop):
                for c, r in zip(node.carry, node.result, strict=True):
                    if self.on_cube(r.name):
                        yield (*([c.init.name] if c.init else []), c.name, r.name, c.last)
                yield from self._added(node.body)
            elif isinstance(node, ir.Row) and node.op == "matmul":
                acc = [a.name for a in node.args[2:] if isinstance(a, ir.Ref)]
                yield from ((a, node.result(ir.Define).name) for a in acc)

    def _carried(self, block: ir.Block, path: tuple[ir.Loop, ...]) -> None:
        """One group per carried tile: its initial, carried, next and last value."""
        for node in block:
            if not isinstance(node, ir.Loop):
                continue
            self._carried(node.body, (*path, node))
            for c, r in zip(node.carry, node.result, strict=True):
                if c.name in self.groups:
                    continue
                result = self.lives[r.name].row
                assert result is not None
                assert isinstance(result.out, ir.Define)
                space, layout = self._space(result)
                first = [c.init.name] if c.init else []
                members = [*first, c.name, r.name, c.last]
                group = Group(
                    c.name, result.core, space, c.type, layout, path[-1] if path else None,
                    members, loc=result.loc, named=True,
                )  # fmt: skip
                group.result, group.last = r.name, c.last
                group.first = c.init.name if c.init else ""
                if c.init and not self._in_place(c.name, r.name):
                    made = self.lives[r.name]
                    group.rotates = node
                    group.depth = 2 + self.lag(c.name, made.path, made.shift)
                for m in members:
                    self.groups[m] = group

    def _in_place(self, carry: str, result: str) -> bool:
        """The old value is dead when the new one is written, in every stage, or read by the row that
        does so and may; what reads it in a loop inside does so in its own iteration.  No later stage reads the new one, which the next
        iteration overwrites."""
        made = self.lives[result]
        old = all(
            tick <= made.made
            and (len(path) > len(made.path) or shift == made.shift)
            and (row is not made.row or OPS[row.op].in_place or ir.Ref(carry) not in row.args)
            for path, tick, shift, row in self.lives[carry].reads
        )
        return old and self.lag(result, made.path, made.shift) == 0

    def _others(self) -> ir.Row | None:
        """The row that cannot write over what its result is elsewhere, if there is one."""
        rings: dict[str, Group] = {}
        lone = self._popped_in_several_loops()
        for name, life in self.lives.items():
            row = life.row
            if row is None or not isinstance(row.out, ir.Define):
                continue
            if name in self.groups:
                if row.other and self.groups.get(row.other.name) is not self.groups[name]:
                    return row
                continue
            found = self._host(name, row, life)
            if row.other and not found:
                return row
            if found is not None:
                host, dying = found
                host.members.append(name)
                if host.turns:
                    host.turns[name] = host.turns[dying]
                self.groups[name] = host
                if not host.named:
                    host.name = name
                continue
            ring = rings.get(row.queue) if row.op == "pop" else None
            if ring is not None:
                self._into_ring(name, life, ring)
                continue
            space, layout = self._space(row)
            loop = life.path[-1] if life.path else None
            group = self.groups[name] = Group(
                name, row.core, space, row.out.type, layout, loop, [name], loc=row.loc,
                named=OPS[row.op].kind == "move",
            )  # fmt: skip
            if row.op == "pop":
                rings[row.queue], group.lone = group, row.queue in lone
        for name, group in self.groups.items():
            life = self.lives[name]
            group.touched.update(r.pipe for _, _, _, r in life.reads)
            if life.row is not None:
                group.touched.add(life.row.pipe)
        return None

    def _popped_in_several_loops(self) -> set[str]:
        """FIFOs of loops one after the other: known before any value goes on in their buffer."""
        pops = [(x.row.queue, x.path) for x in self.lives.values() if x.row and x.row.op == "pop"]
        first: dict[str, tuple[ir.Loop, ...]] = {}
        return {queue for queue, path in pops if first.setdefault(queue, path) != path}

    def _into_ring(self, name: str, life: Life, ring: Group) -> None:
        """One more tile that comes through a FIFO: in the same step, or in another loop."""
        if self.lives[ring.members[0]].path != life.path:
            ring.loop = life.path[-2]
        else:
            ring.turns = ring.turns or dict.fromkeys(ring.members, 0)
            ring.turns[name] = ring.in_step
        ring.members.append(name)
        self.groups[name] = ring

    def _host(self, name: str, row: ir.Row, life: Life) -> tuple[Group, str] | None:
        """The buffer of an operand that dies here and can hold the result as well, and that operand; of a row that
        writes over what its result is elsewhere, that one."""
        over = OPS[row.op].in_place and row.op != "copy"
        assert isinstance(row.out, ir.Define)
        for a in (row.other,) if row.other else row.args if over else ():
            if not isinstance(a, ir.Ref):
                continue
            group, source = self.groups[a.name], self.lives[a.name]
            if group.type != row.out.type or group.rotates is not None:
                continue
            if group.lone and any(shift != life.shift for _, _, shift, _ in life.reads):
                continue
            if source.path != life.path or not self.dead(a.name, self.born(name)):
                continue
            if self._fits(group, name, a.name):
                return group, a.name
        return None

    def writes_over(self, value: str, made: str) -> bool:
        """The row that makes ``made`` reads ``value``, of the same type, and must not write where that lies."""
        row = self.lives[made].row
        return row is not None and ir.Ref(value) in row.args and not OPS[row.op].in_place

    def _fits(self, group: Group, name: str, dying: str) -> bool:
        """No member of the group other than ``dying`` is alive while ``name`` is; the result of an
        iteration is alive until the next one, whoever reads it last.

        Slots keep iterations apart, except in the buffer of a carry, which lives on from one
        iteration to the next: there everything must happen in one stage, on V alone.
        """
        life = self.lives[name]
        slot = group.turns.get(dying)
        mates = (m for m in group.members if m != dying and group.turns.get(m) == slot)
        here = [m for m in mates if self.lives[m].path == life.path]
        born = self.born(name)
        if not all(self.dead(m, born) or self.dead(name, self.born(m)) for m in here):
            return False
        if any(self.writes_over(name, m) for m in here):
            return False
        members = [*here, dying]
        if group.result in members and not self.dead(name, self.born(group.result)):
            return False
        if all(self.lives[m].row is not None or self.lives[m].path != life.path for m in members):
            return True
        reads = [(shift, row.pipe) for _, _, shift, row in life.reads]
        if any(read != (life.shift, "V") for read in reads):
            return False
        return all(
            self.born(m).surely_before(born) or self.dead(name, self.born(m))
            for m in here
            if self.lives[m].row is not None
        )

    def _space(self, row: ir.Row) -> tuple[str, str]:
        """The memory and the layout of what a row makes, by who reads it where there are several."""
        assert isinstance(row.out, ir.Define)
        name, reads = row.out.name, self.lives[row.out.name].reads
        places = [
            (OPS[r.op].args[k].memory, a.transposed)
            for _, _, _, r in reads
            for k, a in enumerate(r.args)
            if isinstance(a, ir.Ref) and a.name == name
        ]
        reached = self.target.reach(row.core, row.pipe, writes=True)
        asked = [s for s in reached if s.name in places[0][0]] if len(reached) > 1 else reached
        turned = row.op != "pop" and {turned for _, turned in places} == {True}  # a FIFO has rows
        return asked[0].name, layout_of(asked[0], row.out.type, turned)
