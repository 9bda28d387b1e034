"""Random programs of few rows whose hazards depend on how stages, slots and short items meet.

Two pipes write the slots of a ring, or one stores to the slots of a tensor.  What orders them is drawn apart from what they write: a
hand-over through a ring of events that is steps ahead of everything else, hand-overs there and back
within one step, barriers.  So most of what is decided is which steps lie between two accesses: in a
flat loop, in two of them one behind the other, or in a loop inside another one.
"""

from __future__ import annotations

import random

from pto.ir import Kernel
from pto.text import parse

MOST_IDS = 8

HEAD = """kernel stages on a2a3
param src in f32[rows, 16]
param out out f32[rows, 80]
param length in i32[m]
grid m
"""


class Stages:
    """``depth``: slots of the rings; ``ahead``: the stage of the hand-over that runs ahead;
    ``pipes``: those that write, one or both."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.depth, self.ahead = rng.randint(2, 5), rng.randint(1, 5)
        self.pipes = rng.choice([("MTE2",), ("V",), ("MTE3",), *[("MTE2", "V")] * 3])
        self.events: list[str] = []
        self.ids = 0

    def event(self, ids: int) -> str:
        """A pair of events, x from MTE2 to V and y back; '' if there are no ids left."""
        if self.ids + ids > MOST_IDS:
            return ""
        numbers = " ".join(str(self.ids + k) for k in range(ids))
        n = len(self.events)
        self.ids += ids
        self.events += [f"event vector x{n} MTE2 -> V id {numbers}"]
        self.events += [f"event vector y{n} V -> MTE2 id {numbers}"]
        return str(n)

    def shift(self) -> int:
        near = self.rng.random() < 0.7
        return self.rng.choice([0, 0, -1, -2]) if near else self.rng.randint(-4, self.ahead)

    def slot(self) -> str:
        counter = self.rng.choice(["u", "u", "u", "turn"])
        return f"{counter} + {self.rng.randrange(self.depth)}"

    def access(self, pipe: str) -> str:
        """A write of ``pipe``."""
        slot = self.slot()
        if pipe == "MTE3":
            column = f"({slot}) % {self.depth} * 16"
            return f"out[block_idx * 16 + lane * 8:+8, {column}:+16] = store z"
        return f"c[{slot}] = " + ("load src[0:+8, :]" if pipe == "MTE2" else "full 0.0")

    def rows(self, most: int, inside: bool) -> list[str]:
        """Accesses, barriers and hand-overs there and back."""
        out: list[str] = []
        for _ in range(self.rng.randint(0, most)):
            pipe, s = self.rng.choice(self.pipes), self.shift()
            kind = self.rng.choice(["access", "access", "barrier", "join"])
            if kind == "barrier":
                out.append(f"{s:+d} {pipe} barrier")
            elif kind == "access":
                out.append(f"{s:+d} {pipe} {self.access(pipe)}")
            elif len(self.pipes) > 1 and not inside:
                n = self.event(1)
                if n:
                    first = f"{s:+d} MTE2 sync | set x{n}", f"{s:+d} V sync | wait x{n} | set y{n}"
                    out += [*first, f"{s:+d} MTE2 sync | wait y{n}"]
        return out

    def loop(self) -> list[str]:
        """A flat loop, or a loop in a loop."""
        ready = [f"{self.ahead:+d} {pipe} barrier" for pipe in self.pipes]
        primes, drains = [], []
        n = self.event(2) if len(self.pipes) > 1 else ""
        if n:
            ready.append(f"{self.ahead:+d} MTE2 sync | wait y{n}[u] | set x{n}[u]")
            ready.append(f"{self.ahead:+d} V sync | wait x{n}[u] | set y{n}[u]")
            primes = [f"vector 0 V sync | set y{n}[0] y{n}[1]"]
            drains = [f"vector 0 MTE2 sync | wait y{n}[0] y{n}[1]"]
        inside = self.rows(2, inside=True)
        if self.rng.random() < 0.5:
            ready.append(f"0 {self.rng.choice(self.pipes)} barrier")
        flat = self.rng.random() < 0.8
        front, last = (self.rows(2, inside=False), self.rows(4, inside=False)) if flat else ([], [])
        lines = [
            "for w, turn in 0 .. cdiv(m - block_idx, block_num)" + " flat" * flat + ":",
            "  vector 0 S n = read length[w]",
            *(f"  vector {row}" for row in front),
            f"  for i, u in 0 .. {self.rng.choice(['max(n, 1)', 'max(n, 1)', 'n', '2'])}:",
            *(f"    vector {row}" for row in [*ready, *inside]),
            *(f"  vector {row}" for row in last),
        ]
        return [*primes, *lines, *drains]


def draw(seed: int) -> Kernel:
    """The same program for the same seed."""
    rng = random.Random(seed)
    s = Stages(rng)
    body = s.loop()
    if rng.random() < 0.3:
        body += ["vector 0 ALL barrier"] * rng.randint(0, 1)
        body += s.loop()
    if "MTE3" in s.pipes:
        body = ["vector 0 V z = full 0.0", "vector 0 ALL barrier", *body, "vector 0 S drain MTE3"]
    buffers = [
        f"buffer vector ub c[{s.depth}] f32[8, 16] nd at 0 by 512",
        "buffer vector ub z[1] f32[8, 16] nd at 4096 by 512",
    ]
    text = "\n".join([*buffers, *s.events, "", *body])
    return parse(HEAD + text.replace("+0 ", "0 ") + "\n", "stages.ptoir")


def draw_written(seed: int) -> Kernel:
    """A program of V alone, row behind row: all that can go wrong is that a slot is read which nothing
    has written.  Slots go by iterations, by items or by none, and the loop in a flat one may run as
    often as a branch behind it asks for."""
    rng = random.Random(seed)
    depth, trips = rng.choice([2, 2, 3]), rng.choice(["n", "n", "many"])

    def rows(indent: int, most: int, counters: list[str]) -> list[str]:
        found: list[str] = []
        for _ in range(rng.randint(0, most)):
            s, slot = rng.choice([0, 0, 0, -1, -2, 1]), rng.randrange(depth)
            index = rng.choice([f"{c} + {slot}" for c in counters] or [str(slot)])
            write = rng.random() < 0.55
            what = f"c[{index}] = full 0.0" if write else f"z = copy c[{index}]"
            head = f"{' ' * indent}vector {s if counters else 0:+d} V"
            found += [f"{head} barrier", f"{head} {what}"]
        return found

    beside = ["0", "u", "turn", "turn"]
    start = [f"vector 0 V c[{k}] = full 0.0" for k in range(depth) if rng.random() < 0.6]
    body = [
        *start,
        "for w, turn in 0 .. cdiv(m - block_idx, block_num) flat:",
        "  vector 0 S n = read length[w]",
        *rows(2, 1, beside),
        f"  for i, u in 0 .. {trips}:",
        *(rows(4, 3, beside) or ["    vector 0 V barrier"]),
        *rows(2, 2, beside),
    ]
    behind = rows(2, 1, []) if trips == "many" else []
    body += [f"if {rng.choice(['0 < many', 'many == 0'])}:", *behind] if behind else []
    buffers = f"buffer vector ub c[{depth}] f32[8, 16] nd at 0 by 512\n"
    buffers += "buffer vector ub z[1] f32[8, 16] nd at 4096 by 512\n\n"
    head = HEAD.replace("grid", "param many scalar i32\ngrid")
    return parse(head + buffers + "\n".join(body).replace("+0 V", "0 V") + "\n", "written.ptoir")
