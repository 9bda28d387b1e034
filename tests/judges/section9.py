"""Section 9 of docs/machine.md read literally, on all instructions of given runs.

In: a scheduled kernel with one loop over work items and one over blocks in it, and the number of
blocks of every item; rows beside the inner loop are not shifted.  Out: ``Order``: every instruction is three nodes, the rules are edges, and every
pair of instructions that touch common bytes is looked at (``pairs``, ``double_sets``).  Shares nothing
with ``lowering/hazards`` or the walks.  Non-goals: runs of every length, flat loops, speed.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from pto.ir import Block, Branch, Const, Expr, Flag, Kernel, Queue, Ref, Row, evaluate

Span = tuple[str, int, int]
Env = dict[str, int]


class Stuck(Exception):
    """There is no order to speak of: the run does not come to its end, or a row beside the inner loop
    is ahead."""


@dataclass(frozen=True)
class Instruction:
    """One instruction in issue order.  ``core``: cube, vector 0 or vector 1 (the lane)."""

    core: str
    pipe: str
    kind: str  # op, set, wait, barrier, signal, await (a cross-core wait)
    row: Row
    item: int
    flag: tuple[object, ...] = ()
    reads: tuple[Span, ...] = ()
    writes: tuple[Span, ...] = ()


def with_tests(block: Block, tests: tuple[tuple[Expr, bool], ...] = ()) -> Iterator[tuple]:
    for node in block:
        if isinstance(node, Branch):
            yield from with_tests(node.then, (*tests, (node.test, True)))
            yield from with_tests(node.orelse, (*tests, (node.test, False)))
        else:
            yield node, tests


def issued(kernel: Kernel, core: str, items: Sequence[int]) -> Iterator[tuple[Row, Env]]:
    """The rows of ``core`` in issue order: a loop over items, one over blocks in it."""
    total = 0
    for outer in kernel.body:
        if isinstance(outer, Row):
            if outer.core == core:
                yield outer, {"w": -1}
            continue
        for w, n in enumerate(items):
            for node in outer.body:
                if isinstance(node, Row):
                    if node.shift:
                        raise Stuck("a shift beside the inner loop")
                    if node.core == core:
                        yield node, {"w": w}
                    continue
                own = list(with_tests(node.body))
                shifts = [row.shift for row, _ in own]
                for t in range(-max(shifts), n - min(shifts)):
                    for row, tests in own:
                        i = t + row.shift
                        env = {"w": w, "i": i, "u": total + i}
                        if row.core == core and 0 <= i < n:
                            if all(evaluate(e, env.__getitem__) == want for e, want in tests):
                                yield row, env
                total += n


def span_of(kernel: Kernel, ref: Ref, env: Env) -> Span:
    b = kernel.buffer(ref.name)
    slot = int(evaluate(ref.index or Const(0), env.__getitem__)) % b.depth
    return b.space, b.at + slot * b.stride, b.at + slot * b.stride + b.type.size_bytes


def flag_of(kernel: Kernel, flag: Flag, env: Env) -> tuple[str, str, int]:
    e = kernel.event(flag.name)
    return e.src, e.dst, e.ids[int(evaluate(flag.index or Const(0), env.__getitem__)) % len(e.ids)]


def instructions(kernel: Kernel, core: str, lane: int, items: Sequence[int]) -> Iterator:
    """A row as the machine sees it: waits, the operation, signals, sets (section 5.2, 5.3)."""
    who = core if core == "cube" else f"{core} {lane}"
    count: dict[tuple[str, str], int] = defaultdict(int)
    for row, env in issued(kernel, core, items):

        def one(kind: str, pipe: str = "", row: Row = row, env: Env = env, **more: object):
            return Instruction(who, pipe or row.pipe, kind, row, env["w"], **more)

        reads = [span_of(kernel, a, env) for a in row.args if isinstance(a, Ref)]
        writes = [span_of(kernel, row.out, env)] if isinstance(row.out, Ref) else []
        if row.op in ("row_max", "row_sum"):
            writes.append(reads.pop())
        name = next((x.name for x in (row.out, *row.args) if isinstance(x, Queue)), "")
        k, credit, period = 0, False, 1
        if name:
            fifo = kernel.fifo(name)
            credit, period = fifo.credit, fifo.depth if fifo.depth <= 2 else fifo.depth // 2
            k = count[name, row.op]
            count[name, row.op] += 1
            part = fifo.slot_bytes // (1 if core == "cube" else 2)
            low = k % fifo.depth * fifo.slot_bytes + part * lane
            if row.op != "record":
                (reads if row.op == "pop" else writes).append((f"gm {name}", low, low + part))
        if row.op == "pop" and kernel.fifo(name).signal:
            yield one("await", "S", flag=("data", name))
        if row.op in ("push", "push_data") and credit and k >= fifo.depth and k % period == 0:
            yield one("await", "S", flag=("free", name))
        for x in row.wait:
            yield one("wait", flag=flag_of(kernel, x, env))
        if row.op == "drain" and row.args:
            yield one("set", row.args[0].name, flag=(row.args[0].name, "S", 7))
            yield one("wait", "S", flag=(row.args[0].name, "S", 7))
        elif row.op == "barrier":
            yield one("barrier")
        elif row.op not in ("sync", "fence", "record", "let", "read", "fold"):
            yield one("op", reads=tuple(reads), writes=tuple(writes))
        if row.op in ("push", "record"):
            yield one("signal", flag=("data", name))
        if row.op == "pop" and credit and (k + 1) % period == 0:
            yield one("signal", flag=("free", name))
        for x in row.set:
            yield one("set", flag=flag_of(kernel, x, env))


@dataclass(frozen=True)
class Pair:
    """Two instructions that touch common bytes, at least one of them writing."""

    space: str
    kind: str
    first: str
    second: str
    core: str  # '' if they are on different cores
    same_pipe: bool
    edge: bool  # in different work items
    race: bool
    low: int
    high: int

    @property
    def name(self) -> tuple[str, str, str, str]:
        return self.space, self.kind, self.first, self.second


class Order:
    """Nodes 3k, 3k + 1, 3k + 2 are issue, start and end of instruction k; ``before`` are the
    edges, numbered as in section 9; ``known`` is the transitive closure, a bit per node.
    ``named``: what a row is called in a pair.  ``overtaking``: the signals ("data", "free") that may
    overtake what is in front of them."""

    def __init__(
        self,
        kernel: Kernel,
        items: Sequence[int],
        overtaking: Collection[str] = (),
        named: Callable[[Row], str] = str,
    ) -> None:
        self.all: list[Instruction] = []
        self.before: list[list[int]] = []
        self.overtaking, self.named = overtaking, named
        found = self.stream(instructions(kernel, "cube", 0, items))
        for lane in (0, 1):
            found |= self.stream(instructions(kernel, "vector", lane, items))
        self.sets = {(core, flag): ks for (core, kind, flag), ks in found.items() if kind == "set"}
        self.waits = {
            (core, flag): ks for (core, kind, flag), ks in found.items() if kind == "wait"
        }
        counts = [{f: len(ks) for f, ks in x.items()} for x in (self.sets, self.waits)]
        if counts[0] != counts[1]:
            raise Stuck("as many sets as waits")
        for flag, sets in self.sets.items():  # 6
            for s, w in zip(sets, self.waits[flag], strict=True):
                self.before[3 * w + 2].append(3 * s + 2)
        for (core, kind, flag), awaits in found.items():  # 7
            senders = ("vector 0", "vector 1") if core == "cube" else ("cube",)
            for n, k in enumerate(awaits if kind == "await" else ()):
                for sender in senders:
                    self.before[3 * k + 2].append(3 * found[sender, "signal", flag][n] + 2)
        self.close()

    def stream(self, program: Iterator[Instruction]) -> dict[tuple, list[int]]:
        """Adds the instructions of one core; what it sets, waits for and signals, in order."""
        found: dict[tuple, list[int]] = defaultdict(list)
        pipes: dict[str, list[int]] = defaultdict(list)
        previous = -1
        for x in program:
            k = len(self.all)
            self.all.append(x)
            self.before += [[], [3 * k], [3 * k + 1]]  # 1
            if previous >= 0:  # 2
                p = self.all[previous]
                stops = p.kind == "await" or (p.kind == "wait" and p.pipe == "S")
                self.before[3 * k].append(3 * previous + (2 if stops else 0))
            earlier, start = pipes[x.pipe], self.before[3 * k + 1]
            queued = [j for j in earlier if self.all[j].kind not in ("set", "signal")]
            if x.kind not in ("set", "signal"):  # 3
                start += [3 * j + 1 for j in queued[-1:]]
            late = x.kind == "signal" and x.flag[0] not in self.overtaking
            if x.kind in ("set", "barrier") or late:  # 4
                start += [3 * j + 2 for j in earlier]
            passes = x.kind == "signal" and not late and x.flag[0] == "data"
            ends = ("wait",) if passes else ("wait", "barrier")
            start += [3 * j + 2 for j in queued if self.all[j].kind in ends]  # 5
            if x.flag:
                found[x.core, x.kind, x.flag].append(k)
            earlier.append(k)
            previous = k
        return dict(found)

    def close(self) -> None:
        after: dict[int, list[int]] = defaultdict(list)
        missing = [len(b) for b in self.before]
        for n, b in enumerate(self.before):
            for m in b:
                after[m].append(n)
        self.known = [0] * len(self.before)
        ready = [n for n, m in enumerate(missing) if not m]
        closed = 0
        while ready:
            n = ready.pop()
            closed += 1
            for m in self.before[n]:
                self.known[n] |= self.known[m] | 1 << m
            for m in after[n]:
                missing[m] -= 1
                if not missing[m]:
                    ready.append(m)
        if closed < len(self.before):
            raise Stuck("a cycle")

    def ordered(self, a: int, b: int) -> bool:
        """``a`` has ended before ``b`` starts."""
        return bool(self.known[3 * b + 1] >> (3 * a + 2) & 1)

    def pairs(self) -> Iterator[Pair]:
        """All conflicting pairs.  On one core the first is the one issued first; across cores the
        one that is known to end first.  The memory of lane 1 is left out: it runs what lane 0 runs."""
        memory: dict[tuple[str, str], list[tuple[int, bool, int, int]]] = defaultdict(list)
        for k, x in enumerate(self.all):
            for spans, writes in ((x.reads, False), (x.writes, True)):
                for space, low, high in spans:
                    where = "" if space.startswith("gm") else x.core
                    if where != "vector 1":
                        memory[where, space].append((k, writes, low, high))
        for (_, space), found in memory.items():
            for x, y in itertools.combinations(found, 2):
                low, high = max(x[2], y[2]), min(x[3], y[3])
                if x[0] == y[0] or not (x[1] or y[1]) or low >= high:
                    continue
                across = self.all[x[0]].core != self.all[y[0]].core
                a, b = (y, x) if across and self.ordered(y[0], x[0]) else (x, y)
                yield self.pair(space, a, b, low, high)

    def pair(self, space: str, a: tuple, b: tuple, low: int, high: int) -> Pair:
        x, y = self.all[a[0]], self.all[b[0]]
        kind = {(True, False): "RAW", (False, True): "WAR", (True, True): "WAW"}[a[1], b[1]]
        return Pair(
            space, kind, self.named(x.row), self.named(y.row), x.core if x.core == y.core else "",
            (x.core, x.pipe) == (y.core, y.pipe), x.item != y.item,
            not self.ordered(a[0], b[0]) and not self.ordered(b[0], a[0]), low, high,
        )  # fmt: skip

    def double_sets(self, identity: tuple[int, ...] = (0, 1, 2)) -> set[tuple]:
        """The flags of which a set is not behind the end of the wait that consumed the last one.
        ``identity``: the parts of (source, destination, id) that tell flags apart."""
        found, groups = set(), defaultdict(list)
        for (core, flag), sets in self.sets.items():
            waits = self.waits[core, flag]
            groups[core, tuple(flag[n] for n in identity)] += zip(sets, waits, strict=True)
        for (core, flag), both in groups.items():
            for (_, w), (s, _) in itertools.pairwise(sorted(both)):
                if not self.ordered(w, s):
                    found.add((core, *flag))
        return found
