"""Random synchronised programs as a person might write them below the scheduler, right and wrong.

``draw`` gives a scheduled kernel, from a seed or a random number generator: a right program from a random choice of hand-overs, loops,
branches and cores, with up to three random mistakes (``tests/judges/mutants.py``) on top.  Its scalar
parameters ``n`` and ``k`` are trip counts, ``go`` decides a branch.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lowering.execute import inputs
from pto.ir import Event, Flag, Kernel, Loop, Row, Word, map_rows
from pto.text import parse
from tests.judges.mutants import mutants

TILE = "f32[16, 16]"
LANE = "f32[8, 16]"
LANE_BYTES, TILE_BYTES = 512, 1024


@dataclass
class Draft:
    """A program in the making: declarations, and rows in front of, inside and behind the loop; of
    a flat loop also rows in front of and behind the loop in it."""

    rng: random.Random
    head: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    prologue: list[str] = field(default_factory=list)
    front: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    ub: int = 0
    l1: int = 0
    l0a: int = 0
    l0b: int = 0
    l0c: int = 0
    ids: dict[tuple[str, str, str], int] = field(default_factory=dict)
    count: int = 0

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def buffer(self, core: str, space: str, stem: str, depth: int, tile: str, layout: str) -> str:
        name = self.name(stem)
        size = 32 if tile == "f32[8, 1]" else LANE_BYTES if core == "vector" else TILE_BYTES
        size *= 2 if core == "vector" and stem == "s" else 1  # a popped slot is a FIFO slot wide
        at = getattr(self, space)
        setattr(self, space, at + depth * size)
        self.head.append(f"buffer {core} {space} {name}[{depth}] {tile} {layout} at {at} by {size}")
        return name

    def event(self, core: str, name: str, src: str, dst: str, depth: int) -> None:
        first = self.ids.get((core, src, dst), 0)
        self.ids[core, src, dst] = first + depth
        ids = " ".join(str(first + k) for k in range(depth))
        self.head.append(f"event {core} {name} {src} -> {dst} id {ids}")

    def both_ways(self, core: str, name: str, src: str, dst: str, depth: int) -> None:
        """Full and free events of a ring, primed in front and drained behind."""
        self.event(core, f"{name}.full", src, dst, depth)
        self.event(core, f"{name}.free", dst, src, depth)
        flags = " ".join(flag(f"{name}.free", depth, str(k)) for k in range(depth))
        self.before.append(f"{core} 0 {dst} sync | set {flags}")
        self.behind.append(f"{core} 0 {src} sync | wait {flags}")


def flag(name: str, depth: int, index: str) -> str:
    return f"{name}[{index}]" if depth > 1 else name


def load_and_use(d: Draft, index: str) -> None:
    """MTE2 fills a ring, V reads it: once, twice, or with a second result behind a barrier."""
    depth = d.rng.choice([1, 2, 2, 3])
    b = d.buffer("vector", "ub", "b", depth, LANE, "nd")
    c = d.buffer("vector", "ub", "c", 1, LANE, "nd")
    d.both_ways("vector", b, "MTE2", "V", depth)
    ahead = d.rng.choice([0, 0, 1])
    full, free = flag(f"{b}.full", depth, index), flag(f"{b}.free", depth, index)
    slot = f"{b}[{index}]" if depth > 1 else b
    d.inside.append(f"vector +{ahead} MTE2 {slot} = load src[0:+8, :] | wait {free} | set {full}")
    style = d.rng.choice(["once", "twice", "chain"])
    end = f" | set {free}"
    d.inside.append(f"vector 0 V {c} = copy {slot} | wait {full}{end if style == 'once' else ''}")
    if style == "twice":
        e = d.buffer("vector", "ub", "e", 1, LANE, "nd")
        d.inside.append(f"vector 0 V {e} = add {slot}, 1.0{end}")
    if style == "chain":
        d.inside += ["vector 0 V barrier", f"vector 0 V {c} = add {slot}, {c}{end}"]
    d.inside.append("vector 0 V barrier")


def prefetch_by_hand(d: Draft, index: str) -> None:
    """The first load in front of the loop, the next one inside if there is a next iteration."""
    b = d.buffer("vector", "ub", "b", 2, LANE, "nd")
    c = d.buffer("vector", "ub", "c", 1, LANE, "nd")
    d.both_ways("vector", b, "MTE2", "V", 2)
    some = d.rng.choice(["n > 0", "0 < n", "n != 0", "n >= 1", "n > 1"])
    more = d.rng.choice(
        ["i + 1 < n", "i < n - 1", "i != n - 1", "n > i + 1", "i + 2 < n", "i + 1 <= n"]
    )
    load = f"  vector 0 MTE2 {b}[{{0}}] = load src[0:+8, :] | wait {b}.free[{{0}}] | set {b}.full[{{0}}]"
    d.prologue += [f"if {some}:", load.format("0")]
    d.inside += [f"if {more}:", load.format("i + 1")]
    d.inside.append(f"vector 0 V {c} = copy {b}[i] | wait {b}.full[i] | set {b}.free[i]")
    d.inside.append("vector 0 V barrier")


def fill_and_store(d: Draft, index: str) -> None:
    """V fills a ring, MTE3 stores it to rows of its own."""
    depth = d.rng.choice([1, 2])
    p = d.buffer("vector", "ub", "p", depth, LANE, "nd")
    d.both_ways("vector", p, "V", "MTE3", depth)
    full, free = flag(f"{p}.full", depth, index), flag(f"{p}.free", depth, index)
    slot = f"{p}[{index}]" if depth > 1 else p
    late = d.rng.choice([0, 0, -1])
    d.inside.append(f"vector 0 V {slot} = full 1.0 | wait {free} | set {full}")
    d.inside.append(
        f"vector {late} MTE3 {d.name('out')}[block_idx * 16 + lane * 8:+8, 0, {index} * 16:+16] = store {slot}"
        f" | wait {full} | set {free}"
    )
    d.behind.append("vector 0 S drain MTE3")


def by_way_of_scalar(d: Draft, index: str) -> None:
    """MTE2 to V through the scalar unit, which waits for one and sets for the other."""
    depth = d.rng.choice([1, 2])
    b = d.buffer("vector", "ub", "b", depth, LANE, "nd")
    c = d.buffer("vector", "ub", "c", 1, LANE, "nd")
    d.event("vector", f"{b}.full", "MTE2", "S", depth)
    d.event("vector", f"{b}.go", "S", "V", depth)
    d.event("vector", f"{b}.free", "V", "MTE2", depth)
    flags = " ".join(flag(f"{b}.free", depth, str(k)) for k in range(depth))
    d.before.append(f"vector 0 V sync | set {flags}")
    d.behind.append(f"vector 0 MTE2 sync | wait {flags}")
    full, go, free = (flag(f"{b}.{end}", depth, index) for end in ("full", "go", "free"))
    slot = f"{b}[{index}]" if depth > 1 else b
    d.inside.append(f"vector 0 MTE2 {slot} = load src[0:+8, :] | wait {free} | set {full}")
    d.inside.append(f"vector 0 S sync | wait {full} | set {go}")
    d.inside += [f"vector 0 V {c} = copy {slot} | wait {go} | set {free}", "vector 0 V barrier"]


def reduced(d: Draft, index: str) -> None:
    """A row reduction whose scratch is a tile of its own, or one that is written again before it
    is read, or not."""
    a = d.buffer("vector", "ub", "a", 1, LANE, "nd")
    s = d.buffer("vector", "ub", "t", 1, LANE, "nd")
    m = d.buffer("vector", "ub", "m", 1, "f32[8, 1]", "dn")
    rows = [f"vector 0 V {s} = full 2.0", f"vector 0 V {a} = add {s}, 1.0"]
    rows.insert(d.rng.choice([0, 2]), f"vector 0 V {a} = full 1.0")
    rows.append(f"vector 0 V {m} = row_max {a}, {s}")
    if d.rng.random() < 0.3:
        rows.append(f"vector 0 V {a} = copy {s}")
    for row in rows:
        d.inside += [row, "vector 0 V barrier"]


def loaded_before(d: Draft, index: str) -> None:
    """A tile loaded once in front of the loop, used inside or behind it."""
    a = d.buffer("vector", "ub", "a", 1, LANE, "nd")
    c = d.buffer("vector", "ub", "c", 1, LANE, "nd")
    d.event("vector", f"{a}.full", "MTE2", "V", 1)
    d.before.append(f"vector 0 MTE2 {a} = load src[0:+8, :] | set {a}.full")
    if d.rng.random() < 0.5:
        d.before.append(f"vector 0 V sync | wait {a}.full")
        d.inside += [f"vector 0 V {c} = copy {a}", "vector 0 V barrier"]
    else:
        d.behind.append(f"vector 0 V {c} = copy {a} | wait {a}.full")


def written_behind(d: Draft, index: str) -> None:
    """A tile that V writes inside the loop and MTE2 behind it, ordered or not."""
    a = d.buffer("vector", "ub", "a", 1, LANE, "nd")
    d.inside += [f"vector 0 V {a} = full 0.0", "vector 0 V barrier"]
    if d.rng.random() < 0.6:
        d.behind.append("vector 0 ALL barrier")
    d.behind.append(f"vector 0 MTE2 {a} = load src[0:+8, :]")


def product(d: Draft, index: str) -> None:
    """The cube multiplies and pushes, the vector core pops: one tile per iteration."""
    depth, local = d.rng.choice([1, 2, 2, 4]), d.rng.choice([1, 2])
    x = d.buffer("cube", "l1", "x", 1, TILE, "nz")
    xa = d.buffer("cube", "l0a", "xa", 1, TILE, "zz")
    xb = d.buffer("cube", "l0b", "xb", 1, TILE, "zn")
    acc = d.buffer("cube", "l0c", "acc", local, TILE, "nz")
    s = d.buffer("vector", "ub", "s", local, LANE, "nd")
    c = d.buffer("vector", "ub", "c", 1, LANE, "nd")
    f = d.name("f")
    credit = " no credit" if d.rng.random() < 0.1 else ""
    d.head.append(
        f"fifo {f} c2v [{depth}] {TILE} flag {2 * sum(h.startswith('fifo') for h in d.head)}{credit}"
    )
    d.event("cube", f"{x}.full", "MTE2", "MTE1", 1)
    d.event("cube", f"{xa}.full", "MTE1", "M", 1)
    d.before += [
        f"cube 0 MTE2 {x} = load src[0:+16, :] | set {x}.full",
        f"cube 0 MTE1 {xa} = move {x} | wait {x}.full",
        f"cube 0 MTE1 {xb} = move {x} | set {xa}.full",
        f"cube 0 M sync | wait {xa}.full",
    ]
    d.both_ways("cube", acc, "M", "FIX", local)
    d.both_ways("vector", s, "MTE2", "V", local)
    full, free = flag(f"{acc}.full", local, index), flag(f"{acc}.free", local, index)
    slot = f"{acc}[{index}]" if local > 1 else acc
    d.inside.append(f"cube 0 M {slot} = matmul {xa}, {xb} | wait {free} | set {full}")
    d.inside.append(f"cube 0 FIX {f} = push {slot} | wait {full} | set {free}")
    full, free = flag(f"{s}.full", local, index), flag(f"{s}.free", local, index)
    slot = f"{s}[{index}]" if local > 1 else s
    late = d.rng.choice([0, 0, -1]) if depth > 1 else 0
    d.inside.append(f"vector {late} MTE2 {slot} = pop {f} | wait {free} | set {full}")
    d.inside.append(f"vector {late} V {c} = copy {slot} | wait {full} | set {free}")
    d.inside.append(f"vector {late} V barrier")
    d.behind.append("cube 0 S drain FIX")


def two_products(d: Draft, index: str) -> None:
    """The product of ``product`` pushed twice, once into a FIFO without a signal, which the other one's tells of;
    here and there in the wrong order, or with too few slots."""
    product(d, index)
    f, depth = d.name("g"), d.rng.choice([1, 2, 2, 4])
    local = d.rng.choice([1, 2])
    s = d.buffer("vector", "ub", "s2", local, LANE, "nd")
    c = d.buffer("vector", "ub", "c2", 1, LANE, "nd")
    d.head.append(
        f"fifo {f} c2v [{depth}] {TILE} flag {2 * sum(h.startswith('fifo') for h in d.head)}"
        f"{' no credit' if d.rng.random() < 0.5 else ''} no signal"
    )
    d.both_ways("vector", s, "MTE2", "V", local)
    pushed, popped = (
        next(k for k, row in enumerate(d.inside) if op in row) for op in (" = push ", " = pop ")
    )
    told, late = d.inside[pushed], d.inside[popped].split()[1]
    slot = told.split("push ")[1].split(" |")[0]
    full, free = flag(f"{s}.full", local, index), flag(f"{s}.free", local, index)
    mine = f"{s}[{index}]" if local > 1 else s
    rows = (
        f"vector {late} MTE2 {mine} = pop {f} | wait {free} | set {full}",
        f"vector {late} V {c} = copy {mine} | wait {full} | set {free}",
        f"vector {late} V barrier",
    )
    at = popped + (d.rng.random() < 0.85)
    d.inside[at:at] = rows
    if d.rng.random() < 0.85:  # its wait is for both
        front, _, waits = told.partition(" | wait ")
        full, _, free = waits.partition(" | set ")
        d.inside[pushed] = f"{front} | set {free}"
        d.inside.insert(pushed, f"cube 0 FIX {f} = push_data {slot} | wait {full}")
    else:
        d.inside.insert(pushed + 1, f"cube 0 FIX {f} = push_data {slot}")


def per_item(d: Draft, index: str) -> None:
    """A tile loaded once per item of a flat loop, used at its first or at its last position; V
    copies it for a later stage, or marks the end of an item."""
    ahead, late = d.rng.choice([0, 1]), d.rng.choice([0, -1, -2])
    depth = 1 + ahead - late + d.rng.choice([0, 0, 0, 1, -1]) or 1
    a = d.buffer("vector", "ub", "a", depth, LANE, "nd")
    c = d.buffer("vector", "ub", "c", 1, LANE, "nd")
    d.both_ways("vector", a, "MTE2", "V", depth)
    full, free = flag(f"{a}.full", depth, "turn"), flag(f"{a}.free", depth, "turn")
    slot = f"{a}[turn]" if depth > 1 else a
    d.front.append(f"vector +{ahead} MTE2 {slot} = load src[0:+8, :] | wait {free} | set {full}")
    at_last = d.rng.random() < 0.5
    use = d.last if at_last else d.front
    if at_last and d.rng.random() < 0.5:
        d.front.append(f"vector 0 V sync | wait {full}")
        full = ""
    waits = f" | wait {full}" if full else ""
    use.append(f"vector {late} V {c} = copy {slot}{waits} | set {free}")
    use.append(f"vector {late} V barrier")


FLAT_PARTS = (
    per_item,
    per_item,
    per_item,
    load_and_use,
    fill_and_store,
    product,
    by_way_of_scalar,
    reduced,
)

PARTS = (
    load_and_use,
    load_and_use,
    prefetch_by_hand,
    fill_and_store,
    loaded_before,
    written_behind,
    product,
    by_way_of_scalar,
    reduced,
)
TRIPS = ("n", "n", "n", "n", "max(n, 2)", "min(n, 2)")
"""Trip counts of the inner loop; a prefetch by hand tests ``n`` and needs the first."""

AROUND = ("go", "1 < n", "n != 2")


def draw(source: int | random.Random, together: bool = False) -> tuple[Kernel, str]:
    """(program, what was done to it): the same for the same seed.  ``together``: with tiles that one signal
    tells of."""
    rng = random.Random(source) if isinstance(source, int) else source
    d = Draft(rng)
    flat, nested = rng.random() < 0.3, rng.random() < 0.2
    index = "u" if flat or nested or rng.random() < 0.7 else "i"
    parts = rng.sample(FLAT_PARTS if flat else PARTS, rng.choice([1, 1, 2]))
    for part in (two_products,) if together else parts:
        part(d, index)
    if flat and not any("vector" in row for row in d.inside):
        load_and_use(d, index)
    kernel = parse(_text(d, nested, rng, flat), "random.ptoir")
    if rng.random() < 0.5:
        kernel = told_apart(kernel, rng)
    mistakes = []
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        single = {f"{b.name}: depth 2" for b in kernel.buffers if b.depth == 1}  # not legal text
        name, kernel = rng.choice([m for m in mutants(kernel) if m[0] not in single])
        mistakes.append(name)
    return kernel, " and ".join(mistakes) or "as written"


def told_apart(kernel: Kernel, rng: random.Random) -> Kernel:
    """Every push as three rows: the data, a drain of the pipe or by an event of the push, the record."""
    events: list[Event] = []

    def apart(row: Row) -> Row | tuple[Row, ...]:
        if row.op != "push":
            return row
        drain, sets = Row("drain", None, (Word(row.pipe),), row.core, "S", row.shift), row.set
        if rng.random() < 0.5:
            stored = Flag(f"stored{len(events)}", None)
            events.append(Event(row.core, stored.name, row.pipe, "S", (len(events),)))
            drain, sets = replace(drain, args=(), wait=(stored,)), (*row.set, stored)
        return (
            replace(row, op="push_data", set=sets),
            drain,
            replace(row, op="record", out=None, args=(row.out,), wait=(), set=()),
        )

    body = map_rows(kernel.body, apart)
    return replace(kernel, body=body, events=(*kernel.events, *events))


def _text(d: Draft, nested: bool, rng: random.Random, flat: bool) -> str:
    outs = [f"param out{k} out f32[rows, m, 160]" for k in range(1, d.count + 1) if _stores(d, k)]
    lines = [
        "kernel random on a2a3",
        "param src in f32[rows, 16]",
        "param mark in i32[m]",
        *outs,
        "param n scalar i32",
        "param k scalar i32",
        "param go scalar i32",
        "grid 1",
        *d.head,
        *d.before,
    ]
    if flat:
        cores = [c for c in ("cube", "vector") if any(r.startswith(c) for r in d.inside)]
        body = [
            "for w, turn in 0 .. cdiv(k - block_idx, block_num) flat:",
            *(f"  {core} 0 S len = read mark[w]" for core in cores),
            *(f"  {row}" for row in d.front),
            "  for i, u in 0 .. len:",
            *(f"    {row}" for row in d.inside),
            *(f"  {row}" for row in d.last),
        ]
        return "\n".join([*lines, *body, *d.behind]) + "\n"
    trips = "n" if d.prologue else rng.choice(TRIPS)
    inside = d.inside or ["vector 0 V barrier"]
    body = [*d.prologue, f"for i, u in 0 .. {trips}:", *(f"  {row}" for row in inside)]
    if nested:
        body = ["for j in 0 .. k:", *(f"  {line}" for line in body)]
    if rng.random() < 0.15:
        body = [f"if {rng.choice(AROUND)}:", *(f"  {line}" for line in body)]
    return "\n".join([*lines, *body, *d.behind]) + "\n"


def _stores(d: Draft, k: int) -> bool:
    return any(f"out{k}[" in row for row in d.inside)


def lengths(n: int) -> list[int]:
    """Iterations of the work items of a flat program."""
    return [n % 3, (n + 1) % 4 % 3, n // 2]


def runs(kernel: Kernel, n: int) -> list[Any]:
    """The same trip counts and tests by name, one entry per work item, for ``check_unrolled``."""
    if any(isinstance(x, Loop) and x.flat for x in kernel.body):
        return list(lengths(n))
    return [counts(n, 2, 1)]


def counts(n: int, k: int, go: int) -> dict[str, int]:
    """The trip counts and tests of a program that is not flat."""
    more = {
        "max(n, 2)": max(n, 2),
        "min(n, 2)": min(n, 2),
        "1 < n": int(n > 1),
        "n != 2": int(n != 2),
    }
    return {"n": n, "k": k, "go": go, **more}


def arguments(kernel: Kernel, n: int) -> inputs.Bound:
    """The program bound to small inputs and these trip counts."""
    k = len(lengths(n)) if any(isinstance(x, Loop) and x.flat for x in kernel.body) else 2
    arrays: dict[str, Any] = {
        "src": np.arange(16 * 16, dtype=np.float32).reshape(16, 16),
        "mark": np.array(lengths(n), np.int32),
        "n": np.int32(n),
        "k": np.int32(k),
        "go": np.int32(1),
    }
    return inputs.bind(kernel, arrays)
