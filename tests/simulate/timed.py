"""Timed programs: written by hand, shipped and published, and what holds of every timing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

from lowering.schedule import NAMED, stages
from lowering.simulate import Setup, Timing, simulate
from lowering.simulate.timing import Span
from pto.ir import Kernel
from pto.kernels import SHIPPED
from pto.text import parse
from tests import PROGRAMS

GoldenText = Callable[[str, str], None]


@cache
def scheduled(kernel: str, name: str) -> Kernel:
    """By all passes; whether it is proven does not matter here."""
    return list(stages(SHIPPED[kernel].trace(), NAMED[name]))[-1][1]


def check_accounts(t: Timing) -> None:
    """Every cycle of every unit is busy or a stall; both are where they are said to be."""
    rows: dict[str, list[Span]] = defaultdict(list)
    for span in t.spans:
        rows[span.unit].append(span)
    for unit, usage in t.pipes.items():
        assert usage.busy + sum(usage.stall.values()) == t.makespan
        assert 0 <= usage.work <= usage.busy
        ends = [0, *(s.end for s in usage.stalls)]
        assert all(a <= s.start < s.end for a, s in zip(ends, usage.stalls, strict=False))
        if not unit.endswith(" S"):
            assert usage.busy == covered([(s.start, s.end) for s in rows[unit]])
    assert {n: t.pipes[n] for n in t.pipes if n.startswith("vector0")} == {
        n.replace("vector1", "vector0"): u for n, u in t.pipes.items() if n.startswith("vector1")
    }


def covered(intervals: Sequence[tuple[int, int]]) -> int:
    """Cycles in at least one interval."""
    total, at = 0, 0
    for start, end in sorted(intervals):
        total += max(0, end - max(start, at))
        at = max(at, end)
    return total


def check_critical_path(t: Timing) -> None:
    """Each row of the chain starts when the one before it lets it; the parts add up."""
    chain = t.critical()
    assert sum(step.cycles for step in t.critical_path()) == max(s.end for s in t.spans)
    assert all(0 <= step.waited_cycles <= step.cycles for step in t.critical_path())
    for a, b in pairwise(chain):
        assert b.start >= (a.start if a.unit == b.unit else a.end)


HEADER = """
kernel small on a2a3
param src          in     f32[rows, 64]
param keys         in     bf16[rows, 128]
param out          out    f32[rows, 64]
param n            scalar i32
grid rows
buffer cube   l1   k[1]  bf16[128, 128]  nz  at 0      by 32768
buffer cube   l1   p[1]  bf16[16, 64]    nz  at 32768  by 2048
buffer cube   l0c  s[1]  f32[16, 64]     nz  at 0      by 4096
buffer vector ub   a[1]  f32[8, 64]      nd  at 0      by 2048
buffer vector ub   b[1]  bf16[8, 64]     nd  at 2048   by 1024
buffer vector ub   c[1]  f32[8, 64]      nd  at 4096   by 2048
"""

LOAD, COPY, ADD, NEXT, STORE = 35, 4, 40, 16, 19
"""Cycles: 2048 bytes to UB, within it, back; an addition of 8 repeats, and until the next one."""

PUSH, POP, PUSH_BACK, POP_BACK, KEYS = 101, 35, 10, 27, 419
"""16 x 64 floats out of L0C, half of them into UB; 1024 bytes out of UB, 2048 into L1; 32768 there."""


PLAIN = Setup(
    "flat",
)


def run(body: str, setup: Setup = PLAIN, blocks: Sequence[int] = (1,)) -> Timing:
    t = simulate(parse(HEADER + body, "small.ptoir"), blocks, setup)
    check_accounts(t)
    return t


def ran(t: Timing, unit: str) -> list[tuple[int, int]]:
    return [(s.start, s.end) for s in t.spans if s.unit == unit]


TO_VECTOR = """
fifo f c2v [1] f32[16, 64] flag 0{credit}
cube   0 FIX  f = push s
cube   0 FIX  f = push s
vector 0 MTE2 a = pop f
vector 0 MTE2 a = pop f
"""

TO_CUBE = """
fifo g v2c [1] bf16[16, 64] flag 0
vector 0 MTE3 g = push b
vector 0 MTE3 g = push b
cube   0 MTE2 p = pop g
cube   0 MTE2 p = pop g
"""


@cache
def original(name: str, wide: bool = False) -> Kernel:
    """The published kernel; ``wide``: with a query tile of 64 and pages of 64 tokens."""
    text = (PROGRAMS / f"original/{name}.ptoir").read_text()
    return parse("\n".join(map(widened, text.split("\n"))) if wide else text, f"{name}.ptoir")


WIDE = {
    "q q_a v v_b o_c k oi": "[64, 128]",
    "p p_a s_c sij pij": "[64, 64]",
    "k_b": "[128, 64]",
    "s pb tmp": "[32, 64]",
    "o acc y": "[32, 128]",
}
"""Tiles by buffer or FIFO; all others are columns."""


REGIONS = {
    r"(param (?:query|out) .*), 16, ": r"\1, 64, ",
    r"(param (?:key|value)_cache .*), 128, (.*128\])": r"\1, 64, \2",
    r"0:\+128<left": "0:+64<left",
    r"lane \* 8:\+8": "lane * 32:+32",
}
"""What of the tensors such tiles are."""


def widened(line: str) -> str:
    """A line with the tiles of the other shape; addresses do not matter."""
    for old, new in REGIONS.items():
        line = re.sub(old, new, line)
    found = re.match(r"(?:buffer \w+ +\w+|fifo) +(\w+)", line)
    if not found:
        return line
    shapes = {name: shape for names, shape in WIDE.items() for name in names.split()}
    return re.sub(r"(bf16|f32)\[[^\]]*\]", rf"\1{shapes.get(found[1], '[32, 1]')}", line)
