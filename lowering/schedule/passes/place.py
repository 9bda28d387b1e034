"""Where: buffers, ring slots, addresses.

In: rows with shifts on named values.  Out: rows on buffers with slot indices, every buffer at an
address; carries are gone, FIFOs have their depth.  Invariant: byte ranges of different buffers are
disjoint, and a ring has at least as many slots as iterations alive at once.
Non-goals: order between pipes (sync).

Values share a buffer where one dies as the other is born: a chain of vector ops runs in place, and
a carried tile is updated in place, or rotates through a ring when old and new are alive together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from lowering.schedule.options import Options
from lowering.schedule.passes.mentions import fresh, names_taken
from lowering.schedule.passes.moments import Moment
from lowering.schedule.passes.rings import deep_enough
from pto import ir
from pto.errors import CapacityError
from pto.legality import straight
from pto.loc import Loc
from pto.ops import OPS
from pto.targets import Space, target_of
from pto.types import BOX_ROWS, BOXED, DTYPE_BYTES, UNIT_BYTES, TileType


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
    popped: int = 0
    turns: dict[str, int] = field(default_factory=dict)
    """Of tiles that come through one FIFO, several per step: which of them each member is."""
    lone: bool = False
    """One slot: the tiles of loops one after the other, which count apart."""
    loc: Loc | None = None
    touched: set[str] = field(default_factory=set)

    @property
    def slots(self) -> int:
        return self.depth * self.in_step

    @property
    def in_step(self) -> int:
        """Slots that a step takes."""
        return 1 + max(self.turns.values(), default=0)

    named: bool = False
    """Keeps its name (carries, loads, pops); others are named after the last value they hold."""


@dataclass(slots=True)
class Life:
    """Where a value is made and read: loops around it, position and shift, pipes."""

    row: ir.Row | None
    path: tuple[ir.Loop, ...]
    made: int
    shift: int
    reads: list[tuple[tuple[ir.Loop, ...], int, int, ir.Row]] = field(default_factory=list)


def walk(
    block: ir.Block, path: tuple[ir.Loop, ...], tick: int = 0
) -> Iterator[tuple[int, tuple[ir.Loop, ...], ir.Node]]:
    """(tick, loops around, node) in the order written; a loop has the tick of its head."""
    for node in straight(block):
        tick += 1
        yield tick, path, node
        if isinstance(node, ir.Loop):
            for inner in walk(node.body, (*path, node), tick):
                tick = inner[0]
                yield inner
            tick += 1


def _layout(space: Space, t: TileType, turned: bool = False) -> str:
    """How a tile lies in a memory: columns, and what a product reads as its transpose, the other way."""
    layouts = list(space.layouts)
    return layouts[-1 if turned or _is_column(t) else 0]


def _least(buffers: list[ir.Buffer]) -> int:
    """Bytes of one slot of each buffer of a memory, with as few rows as it takes: a box, whole units of
    every column, else one."""
    boxed = any(b.layout in BOXED for b in buffers)
    columns = [UNIT_BYTES // DTYPE_BYTES[b.type.dtype] for b in buffers if _is_column(b.type)]
    rows = BOX_ROWS if boxed else max(columns, default=1)
    return sum(replace(b.type, rows=min(b.type.rows, rows)).size_bytes for b in buffers)


def _is_column(t: TileType) -> bool:
    return t.cols == 1 and t.rows > 1


def overlaps(loop: ir.Loop, node: ir.Node) -> bool:
    """What stands in the loop over work items has steps, and they overlap."""
    alone = not any(isinstance(n, ir.Loop) for n in loop.body)
    return isinstance(node, ir.Loop) or loop.flat or alone


def place(kernel: ir.Kernel, options: Options) -> ir.Kernel:
    """Buffers for every value; see the module docstring."""
    return _Placer(kernel, options).run()


class _Placer:
    def __init__(self, kernel: ir.Kernel, options: Options) -> None:
        self.kernel, self.options, self.target = kernel, options, target_of(kernel)
        self.taken = names_taken(kernel) | {f.name for f in kernel.fifos}
        self.lives: dict[str, Life] = {}
        self.groups: dict[str, Group] = {}
        self.scratch: dict[TileType, Group] = {}
        self.notes: list[str] = []
        self.totals: dict[int, str] = {}
        self.stacked: set[str] = set()
        """Memories where loops one after the other have the same bytes."""
        self.ticks: dict[int, int] = {}

    def run(self) -> ir.Kernel:
        self._survey()
        self._copy_back()
        self._sums()
        self._carried(self.kernel.body, ())
        self._others()
        self._depths()
        buffers = self._addresses()
        body = self._rewrite(self.kernel.body, ())
        fifos = self._fifos()
        return replace(
            self.kernel,
            body=body,
            buffers=buffers,
            fifos=fifos,
            notes=(*self.kernel.notes, *self.notes),
        )

    # lives

    def _survey(self) -> None:
        """Definitions first: in step order a row may stand before the load that feeds it."""
        for tick, path, node in walk(self.kernel.body, ()):
            if isinstance(node, ir.Row) and isinstance(node.out, ir.Define):
                self.lives[node.out.name] = Life(node, path, tick, node.shift)
            elif isinstance(node, ir.Loop):
                self.ticks[id(node)] = tick
                for c in node.carry:
                    self.lives[c.name] = Life(None, (*path, node), tick, 0)
                    self.lives[c.last] = Life(None, path, tick + len(node.body) + 1, 0)
        for tick, path, node in walk(self.kernel.body, ()):
            if isinstance(node, ir.Row):
                for a in node.args:
                    if isinstance(a, ir.Ref):
                        self.lives[a.name].reads.append((path, tick, node.shift, node))

    def _copy_back(self) -> None:
        """carry c .. yield x --> c_next = copy x .. yield c_next, where c cannot be updated in place
        and is needed behind the loop, or x in a later stage: a ring would leave its last value in a
        slot that depends on the trip count, and where the next item starts."""

        def visit(block: ir.Block) -> ir.Block:
            return tuple(self._copied(n, visit) if isinstance(n, ir.Loop) else n for n in block)

        body = visit(self.kernel.body)
        if body != self.kernel.body:
            self.kernel = replace(self.kernel, body=body)
            self.lives = {}
            self._survey()

    def _copied(self, loop: ir.Loop, visit: Callable[[ir.Block], ir.Block]) -> ir.Loop:
        copies: list[ir.Row] = []
        results = list(loop.result)
        for k, (c, r) in enumerate(zip(loop.carry, loop.result, strict=True)):
            life = self.lives[r.name]
            needed = self.lives[c.last].reads or self._lag(r.name, life.path, life.shift)
            summed = self._on_cube(r.name)
            if needed and c.init and not summed and not self._in_place(c.name, r.name):
                made = life.row
                assert made is not None
                assert isinstance(made.out, ir.Define)
                results[k] = ir.Ref(fresh(f"{c.name}_next", self.taken))
                out = ir.Define(results[k].name, made.out.type)
                copies.append(ir.Row("copy", out, (r,), "vector", "V", made.shift, loc=loop.loc))
        return replace(loop, body=(*visit(loop.body), *copies), result=tuple(results))

    def born(self, name: str) -> Moment:
        """When a value is made, as its own iteration sees it."""
        life = self.lives[name]
        return self._moment(life.path, life, life.shift, life.made)

    def ends(self, name: str) -> list[Moment]:
        """When a value is read, as its own iteration sees it; in a loop inside, the last time."""
        life = self.lives[name]
        reads = [self._moment(path, life, shift, tick) for path, tick, shift, _ in life.reads]
        return reads or [self.born(name)]

    def dead(self, name: str, when: Moment) -> bool:
        """All reads of a value are surely not behind ``when``."""
        return all(end.surely_before(when) for end in self.ends(name))

    def _moment(self, path: tuple[ir.Loop, ...], life: Life, shift: int, tick: int) -> Moment:
        """A row at ``tick`` in ``path`` as an iteration of the innermost loop around ``life`` sees
        it."""
        home = life.path[-1] if life.path else None
        if home is None or not home.flat:
            return Moment(-shift if path == life.path else 0, (tick,))
        return Moment(-shift, (tick,), tick > self.ticks[id(home.inside)], True)

    # groups

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
                    if self._on_cube(r.name):
                        yield (*([c.init.name] if c.init else []), c.name, r.name, c.last)
                yield from self._added(node.body)
            elif isinstance(node, ir.Row) and node.op == "matmul":
                acc = [a.name for a in node.args[2:] if isinstance(a, ir.Ref)]
                yield from ((a, node.result(ir.Define).name) for a in acc)

    def _on_cube(self, name: str) -> bool:
        """Whether a value that a loop yields is a sum in L0C, the last value of a loop inside included."""
        row = self.lives[name].row
        inner = (
            (c.last, r.name)
            for x in ir.loops_of(self.kernel.body)
            for c, r in zip(x.carry, x.result, strict=True)
        )
        if row is None:
            return any(last == name and self._on_cube(r) for last, r in inner)
        return row.core == "cube"

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
                    group.depth = 2 + self._lag(c.name, made.path, made.shift)
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
            and (row is not made.row or OPS[row.op].in_place)
            for path, tick, shift, row in self.lives[carry].reads
        )
        return old and self._lag(result, made.path, made.shift) == 0

    def _lag(self, name: str, path: tuple[ir.Loop, ...], shift: int) -> int:
        """Steps from ``shift`` to the last stage of this loop that reads a value."""
        return max([0, *(shift - s for where, _, s, _ in self.lives[name].reads if where == path)])

    def _others(self) -> None:
        rings: dict[str, Group] = {}
        for name, life in self.lives.items():
            row = life.row
            if name in self.groups or row is None or not isinstance(row.out, ir.Define):
                continue
            found = self._host(name, row, life)
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
            if ring is not None and self.lives[ring.members[0]].path != life.path:
                ring.loop, ring.lone = life.path[-2], True
                ring.members.append(name)
                self.groups[name] = ring
                continue
            if ring is not None:
                ring.turns |= {**dict.fromkeys(ring.members, 0)} if not ring.turns else {}
                ring.turns[name] = ring.in_step
                ring.members.append(name)
                self.groups[name] = ring
                continue
            space, layout = self._space(row)
            loop = life.path[-1] if life.path else None
            group = self.groups[name] = Group(
                name, row.core, space, row.out.type, layout, loop, [name], loc=row.loc,
                named=OPS[row.op].kind == "move",
            )  # fmt: skip
            if row.op == "pop":
                rings[row.queue] = group
        for name, group in self.groups.items():
            life = self.lives[name]
            group.touched.update(r.pipe for _, _, _, r in life.reads)
            if life.row is not None:
                group.touched.add(life.row.pipe)

    def _host(self, name: str, row: ir.Row, life: Life) -> tuple[Group, str] | None:
        """The buffer of an operand that dies here and can hold the result as well, and that operand."""
        if not OPS[row.op].in_place or row.op == "copy":
            return None
        assert isinstance(row.out, ir.Define)
        for a in row.args:
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
        asked = [s for s in reached if s.name == places[0][0]] if len(reached) > 1 else reached
        return asked[0].name, _layout(asked[0], row.out.type, any(turned for _, turned in places))

    # depths

    def unique(self) -> Iterator[Group]:
        seen: set[int] = set()
        for g in [*self.groups.values(), *self.scratch.values()]:
            if id(g) not in seen:
                seen.add(id(g))
                yield g

    def _depths(self) -> None:
        """As many slots as iterations alive at once; more where pipes hand over, while they fit: from one
        work item to the next only in memories that transfers to or from GM wait for."""
        for group in self.unique():
            if group.rotates is not None:
                continue
            group.depth = 1 + self._span(group)
            pops = [self.lives[m].row for m in group.members]
            fifo = next((r for r in pops if r is not None and r.op == "pop"), None)
            if fifo is not None:
                group.popped = self.kernel.fifo(fifo.queue).slot_bytes
        for space, row in self.target.spaces.items():
            if self._size(space) > row.capacity_bytes and self._arenas():
                self.stacked.add(space)
            self._overlay(space)
        filled = {s: self.target.meets_gm(s, filled=True) for s in self.target.spaces}
        wanted = {
            s: self.options.local_depth if filled[s] else self.options.l0_depth for s in filled
        }
        for space in sorted(filled, key=lambda s: not filled[s]):
            if space in self.stacked:
                continue  # rings that loops share stay as short as they can
            groups = [g for g in self._in(space) if self._is_inner(g.loop) and g.rotates is None]
            handed = [g for g in groups if g.touched - {"V"}]
            self._deepen(handed, wanted[space], space, "inside loops")
        for space in filter(self.target.meets_gm, filled):
            outer = [g for g in self._in(space) if self._is_outer(g)]
            self._deepen(outer, wanted[space], space, "from one work item to the next")

    def _overlay(self, space: str) -> None:
        """Where ``space`` has no room for all: values of one type that are alive in turns, in every step, share
        a buffer, as few as it takes."""
        alike: dict[object, list[Group]] = {}
        for g in self._in(space):
            if g.loop is not None and g.rotates is None and not g.popped and not g.turns:
                shifts = {self.lives[m].shift for m in g.members}
                alike.setdefault((id(g.loop), g.type, g.layout, *sorted(shifts)), []).append(g)
        over = self._size(space) - self.target.spaces[space].capacity_bytes
        for those in sorted(alike.values(), key=lambda x: -sum(map(self._bytes, x))):
            those.sort(key=lambda g: self.lives[g.members[0]].made)
            for turns in range(len(those) - 1 if over > 0 else 0, 0, -1):
                shared = self._in_turns(those, turns)
                saved = sum(self._bytes(g) for one in shared for g in one[1:])
                if saved >= over or turns == 1:
                    over -= saved
                    for one in shared:
                        self._merge(one)
                    break

    def _in_turns(self, groups: list[Group], turns: int) -> list[list[Group]]:
        """``groups`` in the order of their birth on ``turns`` buffers, as far as they are alive in turns."""
        shared: list[list[Group]] = []
        for k, g in enumerate(groups):
            mine = shared[k % turns] if k >= turns else []
            if mine and all(self._alive_in_turns(x, g) for x in mine):
                mine.append(g)
            else:
                shared.insert(k if k < turns else len(shared), [g])
        return shared

    def _merge(self, groups: list[Group]) -> None:
        """All on the buffer of the first."""
        one, *others = groups
        for other in others:
            one.members += other.members
            one.touched |= other.touched
            self.groups |= dict.fromkeys(other.members, one)

    def _alive_in_turns(self, one: Group, other: Group) -> bool:
        """All values of one are dead when any of the other is born."""
        return all(self.dead(m, self.born(n)) for m in one.members for n in other.members)

    def _in(self, space: str) -> list[Group]:
        return [g for g in self.unique() if g.space == space]

    def _is_inner(self, loop: ir.Loop | None) -> bool:
        return loop is not None and loop not in self.kernel.body

    def _is_outer(self, g: Group) -> bool:
        """Made once per work item and handed from pipe to pipe."""
        return (
            g.loop is not None
            and not self._is_inner(g.loop)
            and g.rotates is None
            and not g.lone
            and len(g.touched) > 1
        )

    def _deepen(self, groups: list[Group], depth: int, space: str, where: str) -> None:
        """Give each of ``groups`` up to ``depth`` slots while that fits in ``space``; say where it
        does not."""
        capacity = self.target.spaces[space].capacity_bytes
        for g in groups:
            need = g.depth
            g.depth = max(need, depth)
            wanted = self._size(space)
            while g.depth > need and self._size(space) > capacity:
                g.depth -= 1
            if g.depth < depth:
                slots = "1 slot" if g.depth == 1 else f"{g.depth} slots"
                self.notes.append(
                    f"{g.name}: {slots} {where}, {space} would need {wanted} of {capacity} bytes with {depth}"
                )

    def _size(self, space: str) -> int:
        """Bytes of all slots and of the scratch tiles."""
        scratch = [g for t in self._scratch_types() if (g := self._spare(t)).space == space]
        sizes = Counter[int]()
        for g in (*scratch, *self._in(space)):
            sizes[self._arena(g)] += self._bytes(g)
        return sizes[0] + max((size for n, size in sizes.items() if n), default=0)

    def _arenas(self) -> dict[int, int]:
        """Of every loop in one of several loops that an item runs through one after the other, or that is one, by
        its id, which of them it is, from 1 on."""
        found: dict[int, int] = {}
        for item in self.kernel.body:
            loops = (
                [n for n in item.body if isinstance(n, ir.Loop)]
                if isinstance(item, ir.Loop)
                else []
            )
            for k, loop in enumerate(loops if len(loops) > 1 else [], 1):
                found |= {id(x): k for x in (loop, *ir.loops_of(loop.body))}
        return found

    def _arena(self, g: Group) -> int:
        """Where in a memory a buffer lies: 0 for one that is alive beside all loops."""
        return self._arenas().get(id(g.loop), 0) if g.space in self.stacked else 0

    def _span(self, group: Group) -> int:
        """Steps of one loop from the first write of a slot to its last read."""
        made: dict[tuple[int, ...], list[int]] = {}
        read: dict[tuple[int, ...], list[int]] = {}
        for life in map(self.lives.__getitem__, group.members):
            if life.row is None:
                continue
            flat = bool(life.path) and life.path[-1].flat  # the loop inside runs on with it
            steps = life.path[:1] if life.path and life.path[0].flat else life.path
            loops = tuple(map(id, steps))
            made.setdefault(loops, []).append(life.shift)
            mine = [s for path, _, s, _ in life.reads if path == life.path or flat]
            read.setdefault(loops, []).extend(mine)
        return max([0, *(max(s) - min(read[k], default=max(s)) for k, s in made.items())])

    def _fifos(self) -> tuple[ir.Fifo, ...]:
        """GM rings: the wanted slots inside loops and where work items overlap, else two; more where
        the cores would block."""
        inner = Counter(
            r.out.name
            for loop in self.kernel.body
            if isinstance(loop, ir.Loop)
            for r in ir.all_rows(tuple(n for n in loop.body if overlaps(loop, n)))
            if isinstance(r.out, ir.Queue)
        )
        wanted = {
            f.name: self.options.fifo_slots(self.target, inner[f.name]) if inner[f.name] else 2
            for f in self.kernel.fifos
        }
        depths = deep_enough(self.kernel, wanted)
        for name, depth in depths.items():
            if depth != wanted[name]:
                self.notes.append(
                    f"{name}: {depth} slots, with {wanted[name]} the cores would block"
                )
        return tuple(replace(f, depth=depths[f.name]) for f in self.kernel.fifos)

    # addresses

    def _slot(self, g: Group) -> int:
        """Bytes of the tile, aligned."""
        align = self.target.spaces[g.space].align_bytes
        return -(-g.type.size_bytes // align) * align

    def _stride(self, g: Group) -> int:
        """Bytes from slot to slot: popped ones lie FIFO slots apart (docs/machine.md 12, TPOP)."""
        return max(self._slot(g), g.popped)

    def _bytes(self, g: Group) -> int:
        """Bytes of all slots; the last one needs only its tile."""
        return self._stride(g) * (g.slots - 1) + self._slot(g)

    def _addresses(self) -> tuple[ir.Buffer, ...]:
        for t in self._scratch_types():
            self.scratch[t] = self._spare(t, fresh("scratch", self.taken))
        order = list(self.target.spaces)
        buffers: list[ir.Buffer] = []
        used: Counter[tuple[str, int]] = Counter()
        for g in sorted(self.unique(), key=lambda g: (order.index(g.space), self._arena(g) > 0)):
            space, arena = g.space, self._arena(g)
            used[space, arena] = max(used[space, arena], used[space, 0])
            at, stride = used[space, arena], self._stride(g)
            used[space, arena] += self._bytes(g)
            buffers.append(ir.Buffer(g.core, space, g.name, g.slots, g.type, g.layout, at, stride))
        for (space, _), size in used.items():
            if size > self.target.spaces[space].capacity_bytes:
                raise self._overflow(space, size, buffers)
        return tuple(buffers)

    def _overflow(self, space: str, size: int, buffers: list[ir.Buffer]) -> CapacityError:
        mine = sorted((b for b in buffers if b.space == space), key=lambda b: -b.stride * b.depth)
        live = ", ".join(f"{b.name} {b.type} x {b.depth} = {b.stride * b.depth}" for b in mine[:8])
        group = next(g for g in self.unique() if g.name == mine[0].name)
        capacity = self.target.spaces[space].capacity_bytes
        hint = "use smaller tiles, fewer slots, or less lookahead"
        if _least(mine) > capacity:
            hint = "too wide, however few the rows: loop over blocks of columns with pto.fori_loop"
        return CapacityError(
            f"{space} needs {size} bytes and has {capacity}; live tiles: {live}", group.loc, hint
        )

    def _scratch_types(self) -> list[TileType]:
        """One scratch tile per type of tile that an op with scratch reads."""
        rows = [life.row for life in self.lives.values() if life.row is not None]
        refs = [r.args[0] for r in rows if OPS[r.op].scratch]
        return list(dict.fromkeys(self.groups[a.name].type for a in refs if isinstance(a, ir.Ref)))

    def _spare(self, t: TileType, name: str = "") -> Group:
        """The buffer of a scratch tile."""
        (space,) = self.target.reach("vector", "V", writes=True)
        return Group(name, space.core, space.name, t, _layout(space, t), None, [])

    # rewriting

    def _total(self, loop: ir.Loop) -> str:
        """The running iteration counter of an inner loop, the items so far of a flat one; any other
        work-item loop counts by itself."""
        if loop in self.kernel.body and not loop.flat:
            return loop.index
        if id(loop) not in self.totals:
            self.totals[id(loop)] = fresh("turn" if loop.flat else "u", self.taken)
        return self.totals[id(loop)]

    def _ref(self, name: str, transposed: bool = False) -> ir.Ref:
        group = self.groups[name]
        return ir.Ref(group.name, self._index(group, name) if group.slots > 1 else None, transposed)

    def _index(self, group: Group, name: str) -> ir.Expr:
        if group.rotates is not None:
            flat = group.loop is not None and group.loop.flat
            i = ir.Var(self._total(group.rotates) if flat else group.rotates.index)
            if name == group.result:
                return ir.binary("+", i, ir.Const(1))
            assert name != group.last, "what is read behind the loop is a copy in place"
            return ir.Const(0) if name == group.first and not flat else i
        assert group.loop is not None, group.name
        step = ir.binary("*", ir.Var(self._total(group.loop)), ir.Const(group.in_step))
        return ir.binary("+", step, ir.Const(group.turns.get(name, 0)))

    def _rewrite(self, block: ir.Block, path: tuple[ir.Loop, ...]) -> ir.Block:
        out: list[ir.Node] = []
        for node in straight(block):
            if isinstance(node, ir.Loop):
                body = self._rewrite(node.body, (*path, node))
                total = self.totals.get(id(node), "")
                out.append(replace(node, body=body, total=total, carry=(), result=()))
            else:
                out.append(self._row(node))
        return tuple(out)

    def _row(self, row: ir.Row) -> ir.Row:
        args = [self._ref(a.name, a.transposed) if isinstance(a, ir.Ref) else a for a in row.args]
        out = self._ref(row.out.name) if isinstance(row.out, ir.Define) else row.out
        if OPS[row.op].scratch and self.scratch and isinstance(row.args[0], ir.Ref):
            args.append(ir.Ref(self.scratch[self.groups[row.args[0].name].type].name))
        value = row.out.name if isinstance(row.out, ir.Define) else ""
        if isinstance(out, ir.Ref) and value == out.name:
            value = ""
        return replace(row, args=tuple(args), out=out, value=value)
