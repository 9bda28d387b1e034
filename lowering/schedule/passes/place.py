"""Where: how many slots, and at which address.

In: rows with shifts on named values.  Out: rows on buffers with slot indices, every buffer at an
address; carries are gone, FIFOs have their depth.  Invariant: byte ranges of different buffers are
disjoint, but for those of loops one after the other; and a ring has at least as many slots as iterations alive
at once.
Non-goals: which values share a buffer (groups), order between pipes (sync).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from lowering.schedule.options import Options
from lowering.schedule.passes.groups import Group, Groups, is_column, layout_of
from lowering.schedule.passes.rings import deep_enough
from pto import ir
from pto.errors import CapacityError
from pto.legality import straight
from pto.names import fresh
from pto.ops import OPS
from pto.types import BOX_ROWS, BOXED, DTYPE_BYTES, UNIT_BYTES, TileType


def place(kernel: ir.Kernel, options: Options) -> ir.Kernel:
    """Buffers for every value; see the module docstring."""
    return _Placer(kernel, options).run()


def overlapping(loop: ir.Loop) -> ir.Block:
    """What stands in a loop over work items, has steps, and they overlap."""
    inner = tuple(n for n in loop.body if isinstance(n, ir.Loop))
    return loop.body if loop.flat or not inner else inner


def _least(buffers: list[ir.Buffer]) -> int:
    """Bytes of one slot of each buffer of a memory, with as few rows as it takes: a box, whole units of
    every column, else one; of scales, which are those of columns, all."""
    boxed = any(b.layout in BOXED for b in buffers)
    columns = [UNIT_BYTES // DTYPE_BYTES[b.type.dtype] for b in buffers if is_column(b.type)]
    rows = BOX_ROWS if boxed else max(columns, default=1)
    fewest = (b.type.rows if b.layout == "pairs" else min(b.type.rows, rows) for b in buffers)
    return sum(replace(b.type, rows=n).size_bytes for b, n in zip(buffers, fewest, strict=True))


def _in_turns(later: list[int], turns: int) -> list[list[int]]:
    """Groups in the order of their birth on ``turns`` buffers, or more where more are alive: each on that of
    whose values the last was born first.  ``later``: of every group those that may follow it, as bits."""
    shared: list[list[int]] = []
    open_to: list[int] = []  # of every buffer the groups that may follow all that it has
    for k, after in enumerate(later):
        free = [x for x, those in enumerate(open_to) if those >> k & 1]
        if len(shared) < turns or not free:
            shared.append([k])
            open_to.append(after)
        else:
            oldest = min(free, key=lambda x: shared[x][-1])
            shared[oldest].append(k)
            open_to[oldest] &= after
    return shared


class _Placer(Groups):
    def __init__(self, kernel: ir.Kernel, options: Options) -> None:
        super().__init__(kernel)
        self.options = options
        self.scratch: dict[TileType, Group] = {}
        self.notes: list[str] = []
        self.totals: dict[int, str] = {}
        self.stacked: set[str] = set()
        """Memories where loops one after the other have the same bytes."""

    def run(self) -> ir.Kernel:
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
            handed = [g for g in groups if g.touched - {"V"} and not g.lone]
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
            later = self._later(those) if over > 0 else []
            for turns in range(len(later) - 1, 0, -1):
                shared = [[those[k] for k in one] for one in _in_turns(later, turns)]
                saved = sum(sum(x) - max(x) for x in ([*map(self._bytes, one)] for one in shared))
                if saved >= over or turns == 1:
                    over -= saved
                    for one in shared:
                        self._merge(one)
                    break

    def _later(self, groups: list[Group]) -> list[int]:
        """Of every group those that are born when all its values are dead, as bits."""
        born = [[self.born(n) for n in g.members] for g in groups]
        ends = [[end for n in g.members for end in self.ends(n)] for g in groups]
        return [
            sum(
                1 << k
                for k, other in enumerate(groups)
                if all(e.surely_before(b) for e in ends[n] for b in born[k])
                and not any(self.writes_over(x, y) for x in one.members for y in other.members)
            )
            for n, one in enumerate(groups)
        ]

    def _merge(self, groups: list[Group]) -> None:
        """All on the buffer of the first."""
        one, *others = groups
        for other in others:
            one.members += other.members
            one.touched |= other.touched
            one.depth = max(one.depth, other.depth)
            self.groups |= dict.fromkeys(other.members, one)

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
            for r in ir.all_rows(overlapping(loop))
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
        """One scratch tile per type of tile that an op with scratch takes."""
        rows = [life.row for life in self.lives.values() if life.row is not None]
        return list(dict.fromkeys(self._scratch_type(r) for r in rows if OPS[r.op].scratch))

    def _scratch_type(self, row: ir.Row) -> TileType:
        tiles = [self.groups[a.name].type for a in row.args if isinstance(a, ir.Ref)]
        return OPS[row.op].spare(tiles)

    def _spare(self, t: TileType, name: str = "") -> Group:
        """The buffer of a scratch tile."""
        (space,) = self.target.reach("vector", "V", writes=True)
        return Group(name, space.core, space.name, t, layout_of(space, t), None, [])

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
        if OPS[row.op].scratch and self.scratch:
            args.append(ir.Ref(self.scratch[self._scratch_type(row)].name))
        value = row.out.name if isinstance(row.out, ir.Define) else ""
        if isinstance(out, ir.Ref) and value == out.name:
            value = ""
        assert row.other is None or self._ref(row.other.name) == out, row
        return replace(row, args=tuple(args), out=out, value=value, other=None)
