"""The simulator: exact accounts, programs whose times are computed by hand, and what is known of the
reference kernel; the launch, the trace, the picture, the command."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lowering.cli import GOOD, USAGE, main
from lowering.schedule import NAMED, stages
from lowering.simulate import Machine, Setup, Timing, gantt, simulate
from lowering.simulate.costs import cost_of
from lowering.simulate.launch import bytes_per_cycle, deal, launch, shares_of_memory
from lowering.simulate.timing import Bandwidth, Span, Usage
from lowering.simulate.trace import trace
from pto.errors import InputError
from pto.ir import Kernel, all_rows
from pto.kernels import SHIPPED
from pto.ops import OPS
from pto.targets.a2a3 import A2A3
from pto.text import parse
from tests import PROGRAMS, ROOT, TESTS

ORIGINAL = PROGRAMS / "original"
COSTS = tuple(A2A3.costs)
RAGGED = (3, 0, 1, 5)
GoldenText = Callable[[str, str], None]


@cache
def scheduled(kernel: str, name: str) -> Kernel:
    """By all passes; whether it is proven does not matter here."""
    return list(stages(SHIPPED[kernel].trace(), NAMED[name]))[-1][1]


PROGRAMS = [(kernel, name) for kernel in SHIPPED for name in NAMED]
each_program = pytest.mark.parametrize(("kernel", "name"), PROGRAMS)


# --------------------------------------------------------------------------------- exact accounts


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
    assert all(0 <= step.waited <= step.cycles for step in t.critical_path())
    for a, b in pairwise(chain):
        assert b.start >= (a.start if a.unit == b.unit else a.end)


@each_program
def test_every_cycle_is_accounted_for(kernel: str, name: str) -> None:
    program = scheduled(kernel, name)
    for costs in COSTS:
        for latency in (0, 700):
            t = simulate(program, RAGGED, Setup(costs, latency))
            check_accounts(t)
            check_critical_path(t)


@each_program
def test_a_longer_way_between_the_cores_never_helps(kernel: str, name: str) -> None:
    program = scheduled(kernel, name)
    found = [simulate(program, RAGGED, Setup("flat", c)).makespan for c in (0, 1, 100, 500, 1000)]
    assert found == sorted(found)
    assert (found[0] < found[-1]) == bool(program.fifos)


def test_a_deeper_queue_never_hurts() -> None:
    program = scheduled("paged_attention", "best")
    found = [simulate(program, [9], Setup(queue_depth=d)).makespan for d in (1, 2, 4, 8, 16, 64)]
    assert found == sorted(found, reverse=True) and found[0] > found[-1]


def test_the_same_program_gives_the_same_result() -> None:
    program = scheduled("paged_attention", "repair")
    assert simulate(program, RAGGED) == simulate(program, RAGGED)


def test_the_units_may_be_taken_in_any_order() -> None:
    """Each waits for what it does not know yet, so that only the numbers of the spans change."""
    program = scheduled("paged_attention", "best")
    machine = Machine(program, RAGGED, Setup())
    machine.scalars.reverse()
    machine.run()
    other, t = machine.timing(), simulate(program, RAGGED)
    assert dict(other.pipes) == dict(t.pipes)

    def in_time(spans: Sequence[Span]) -> list[tuple[str, int, int, str]]:
        return sorted((s.unit, s.start, s.end, s.why) for s in spans)

    assert in_time(other.spans) == in_time(t.spans)


def test_every_op_has_its_cost() -> None:
    """Each table knows every op of the vector pipe and every way that a move can take."""
    vector = {op.name for op in OPS.values() if op.kind in ("unary", "binary", "fill")} - {"copy"}
    reductions = {op.name for op in OPS.values() if op.kind == "reduce"}
    for table in A2A3.costs.values():
        assert {name for name, form in table.vector if not form} == vector
        assert set(table.reduction) == reductions


def test_costs_by_hand() -> None:
    """docs/machine.md 11.1 and 11.2, for the tiles of the reference kernel."""
    rows = {(r.op, str(r.out.name)): r for r in all_rows(original("drain").body) if hasattr(r.out, "name")}  # fmt: skip
    flat, published = A2A3.costs["flat"], A2A3.costs["published"]

    def cycles(op: str, out: str, table: Any = flat) -> tuple[int, int]:
        cost = cost_of(rows[op, out], original("drain"), table)
        return cost.occupies, cost.latency

    assert cycles("load", "k") == (419, 419)  # 32768 bytes / 78.36
    assert cycles("move", "q_a") == (17, 17)  # 4096 / 255.96
    assert cycles("move", "k_b") == (257, 257)  # 32768 / 127.98
    assert cycles("matmul", "s_c") == (70, 70)  # 6 + 1 * 8 * 8
    assert cycles("push_data", "sij") == (202, 202)  # 16 * 128 * 4 bytes / 40.63
    assert cycles("push_data", "sij", published) == (101, 101)
    assert cycles("pop", "s") == (70, 70)  # 4096 / 58.56
    assert cycles("exp", "s") == (32, 63)  # 16 repeats of 256 bytes: 31 + 2 * 16
    assert cycles("sub", "s") == (32, 56)
    assert cycles("row_sum", "rs") == (126, 126)  # 61.5 + 0.0625 * 1024
    assert cycles("row_sum", "rs", published) == (54, 54)  # 38 + 1 per repeat
    assert cycles("astype", "pb") == (16, 43)


# ------------------------------------------------------------------------------------ by hand

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


def run(body: str, setup: Setup = Setup(), blocks: Sequence[int] = (1,)) -> Timing:  # noqa: B008
    t = simulate(parse(HEADER + body, "small.ptoir"), blocks, setup)
    check_accounts(t)
    return t


def ran(t: Timing, unit: str) -> list[tuple[int, int]]:
    return [(s.start, s.end) for s in t.spans if s.unit == unit]


CHAIN = """
event vector a.full MTE2 -> V id 0
event vector c.full V -> MTE3 id 0
vector 0 MTE2 a = load src[0:+8, :] | set a.full
vector 0 V    c = copy a | wait a.full | set c.full
vector 0 MTE3 out[0:+8, :] = store c | wait c.full
"""


def test_a_load_a_row_and_a_store() -> None:
    """The unit issues load, set, wait, copy, set, wait, store in cycles 1 to 7."""
    t = run(CHAIN)
    assert ran(t, "vector0 MTE2") == [(1, 1 + LOAD)]
    assert ran(t, "vector0 V") == [(36, 36 + COPY)]
    assert ran(t, "vector0 MTE3") == [(40, 40 + STORE)]
    assert t.makespan == 59
    assert t.pipes["vector0 S"] == Usage(7, 7, t.pipes["vector0 S"].stalls)
    assert t.pipes["vector0 V"].stall == {"event a.full": 33, "end": 19, "issue": 3}
    assert t.pipes["vector0 MTE3"].stall == {"event c.full": 34, "issue": 6}
    assert t.tensor_bytes == 2 * (2048 + 2048)
    assert [(s.row.op, s.why) for s in t.critical()] == [
        ("load", "start"),
        ("copy", "event a.full"),
        ("store", "event c.full"),
    ]


FIVE = "vector 0 V c = add a, a\n" * 5 + "vector 0 MTE2 b = load src[0:+8, :]\n"


def test_a_full_queue_stops_the_scalar_unit() -> None:
    """With two entries the fourth row waits until the second starts, the fifth for the third; the
    load behind them comes late."""
    starts = [1 + NEXT * k for k in range(5)]
    t = run(FIVE, Setup(queue_depth=2))
    assert ran(t, "vector0 V") == [(s, s + ADD) for s in starts]
    assert t.pipes["vector0 S"].stall["V queue full"] == (17 - 3) + (33 - 18)
    assert ran(t, "vector0 MTE2")[0][0] == 35
    assert t.pipes["vector0 MTE2"].stall["V queue full"] == 29
    deep = run(FIVE)
    assert deep.makespan == t.makespan == 1 + 4 * NEXT + ADD
    assert ran(deep, "vector0 MTE2")[0][0] == 6


def test_rows_of_a_pipe_overlap_unless_a_barrier_stands_between() -> None:
    row = "vector 0 V c = add a, a\n"
    assert run(row + row).makespan == 1 + NEXT + ADD
    t = run(row + "vector 0 V barrier\n" + row)
    assert t.makespan == 1 + ADD + ADD
    assert t.pipes["vector0 V"].work == 2 * NEXT and t.pipes["vector0 V"].busy == 2 * ADD


def test_a_drain_stops_the_scalar_unit() -> None:
    """Its set and its wait take a cycle each; the row behind it is issued one cycle later."""
    t = run("vector 0 MTE2 a = load src[0:+8, :]\nvector 0 S drain MTE2\nvector 0 V c = add a, a\n")
    assert ran(t, "vector0 V") == [(38, 38 + ADD)]
    assert t.pipes["vector0 S"].stall == {"end": ADD, "drain MTE2": 36 - 2}
    assert t.pipes["vector0 V"].stall == {"drain MTE2": 34, "issue": 4}
    assert [s.why for s in t.critical()] == ["start", "drain MTE2"]


def test_a_barrier_on_all_pipes_waits_for_each() -> None:
    load = "vector 0 MTE2 a = load src[0:+8, :]\n"
    t = run(f"vector 0 V c = add a, a\n{load}vector 0 V barrier\n".replace("V barrier", "ALL barrier") + load)  # fmt: skip
    assert ran(t, "vector0 V") == [(1, 41)] and ran(t, "vector0 MTE2")[0] == (2, 37)
    assert ran(t, "vector0 MTE2")[1][0] == 41 + 2
    assert t.pipes["vector0 S"].stall["barrier"] == 41 - 4


def test_an_event_that_the_scalar_unit_waits_for() -> None:
    t = run(
        "event vector a.read MTE2 -> S id 0\nevent vector a.go S -> V id 0\n"
        "vector 0 MTE2 a = load src[0:+8, :] | set a.read\n"
        "vector 0 S sync | wait a.read | set a.go\n"
        "vector 0 V c = add a, a | wait a.go\n"
    )
    assert t.pipes["vector0 S"].stall["event a.read"] == 36 - 2
    assert ran(t, "vector0 V") == [(36 + 4, 40 + ADD)]


TO_VECTOR = """
fifo f c2v [1] f32[16, 64] flag 0{credit}
cube   0 FIX  f = push s
cube   0 FIX  f = push s
vector 0 MTE2 a = pop f
vector 0 MTE2 a = pop f
"""


@pytest.mark.parametrize("latency", [0, 1, 500])
def test_a_fifo_of_one_slot(latency: int) -> None:
    """Three signals on the way: data, the freed slot, data."""
    t = run(TO_VECTOR.format(credit=""), Setup(latency=latency))
    first = 1 + PUSH + latency + 2  # the wait and the pop take a cycle each
    again = first + POP + latency + 2
    last = again + PUSH + latency + 2
    assert ran(t, "cube FIX") == [(1, 102), (again, again + PUSH)]
    assert ran(t, "vector0 MTE2") == [(first, first + POP), (last, last + POP)]
    assert t.makespan == last + POP == 279 + 3 * latency
    assert t.pipes["cube S"].stall["fifo f full"] == first + POP + latency - 2
    check_critical_path(t)
    waits = [(s.row.op, s.why) for s in t.critical()][1:]
    assert waits == [("pop", "fifo f empty"), ("push", "fifo f full"), ("pop", "fifo f empty")]


@pytest.mark.parametrize("latency", [0, 500])
def test_a_fifo_without_credit(latency: int) -> None:
    """The second push follows the first one; nothing comes back."""
    t = run(TO_VECTOR.format(credit=" no credit"), Setup(latency=latency))
    assert ran(t, "cube FIX") == [(1, 102), (102, 203)]
    assert t.makespan == 203 + latency + 2 + POP


TO_CUBE = """
fifo g v2c [1] bf16[16, 64] flag 0
vector 0 MTE3 g = push b
vector 0 MTE3 g = push b
cube   0 MTE2 p = pop g
cube   0 MTE2 p = pop g
"""


@pytest.mark.parametrize("latency", [0, 500])
def test_a_fifo_towards_the_cube(latency: int) -> None:
    t = run(TO_CUBE.format(), Setup(latency=latency))
    first = 1 + PUSH_BACK + latency + 2
    again = first + POP_BACK + latency + 2
    last = again + PUSH_BACK + latency + 2
    assert ran(t, "vector1 MTE3") == [(1, 11), (again, again + PUSH_BACK)]
    assert ran(t, "cube MTE2") == [(first, first + POP_BACK), (last, last + POP_BACK)]
    assert t.makespan == last + POP_BACK


def test_a_push_and_its_record_apart() -> None:
    """The signal is the record's: it leaves with the copy behind the push."""
    t = run(
        "fifo g v2c [2] bf16[16, 64] flag 0 no credit\n"
        "vector 0 MTE3 g = push_data b\n"
        "vector 0 MTE3 out[0:+8, :] = store c\n"
        "vector 0 MTE3 record g\n"
        "cube   0 MTE2 p = pop g\n"
    )
    assert ran(t, "cube MTE2") == [(1 + PUSH_BACK + STORE + 2, 32 + POP_BACK)]


@pytest.mark.parametrize("late", [1, 2])
def test_the_cube_waits_for_both_lanes(late: int) -> None:
    """One lane starts a thousand cycles late, then not at all."""
    program = parse(HEADER + TO_CUBE, "small.ptoir")
    machine = Machine(program, [1], Setup())
    machine.scalars[late].now = (1000, -1)
    machine.run()
    t = machine.timing()
    assert ran(t, "cube MTE2")[0][0] == 1000 + 1 + PUSH_BACK + 2
    machine = Machine(program, [1], Setup())
    del machine.scalars[late]
    machine.run()
    assert not machine.scalars[0].over
    with pytest.raises(InputError, match=r"cube, vector\d wait forever"):
        machine.timing()


def test_a_wait_that_nothing_ends() -> None:
    with pytest.raises(InputError, match="stands still: vector0 V, vector1 V wait forever"):
        run("event vector a.full MTE2 -> V id 0\nvector 0 V c = add a, a | wait a.full\n")


def test_pipes_and_flags_of_the_same_id_are_kept_apart() -> None:
    """Event ids repeat between pairs of pipes; a ring of two takes its slots in turn."""
    t = run(
        "event vector a.full MTE2 -> V id 0 1\nevent vector c.full V -> MTE3 id 0\n"
        "for w in 0 .. rows:\n  for i, u in 0 .. n:\n"
        "    vector 0 MTE2 a = load src[0:+8, :] | set a.full[u]\n"
        "    vector 0 V c = add a, a | wait a.full[u] | set c.full\n"
        "    vector 0 MTE3 out[0:+8, :] = store c | wait c.full\n",
        blocks=(2, 1),
    )
    loads = [1 + LOAD * k for k in range(3)]
    adds = [s + LOAD for s in loads]
    assert [s for s, _ in ran(t, "vector0 MTE2")] == loads
    assert [s for s, _ in ran(t, "vector0 V")] == adds
    assert ran(t, "vector0 MTE3")[-1] == (adds[-1] + ADD, t.makespan)
    assert [t.iteration(s) for s in t.spans if s.unit == "vector0 V"] == [
        {"w": 0, "i": 0},
        {"w": 0, "i": 1},
        {"w": 1, "i": 0},
    ]


def test_each_slot_has_a_flag_of_its_own() -> None:
    """The second load is waited for first."""
    load = "vector 0 MTE2 a = load src[0:+8, :] | set a.full[{0}]\n"
    t = run(
        "event vector a.full MTE2 -> V id 0 1\n"
        + load.format(0)
        + load.format(1)
        + "vector 0 V c = add a, a | wait a.full[1]\nvector 0 V sync | wait a.full[0]\n"
    )
    assert ran(t, "vector0 V") == [(1 + 2 * LOAD, 1 + 2 * LOAD + ADD)]


def test_a_matmul_of_four_bytes_takes_twice_as_long() -> None:
    """6 + 2 * 1 * (64 * 4 / 32) * 4, instead of 6 + 1 * (64 * 2 / 32) * 4."""
    tiles = "buffer cube l0a x[1] {0}[16, 64] zz at 0 by 4096\nbuffer cube l0b y[1] {0}[64, 64] zn at 0 by 16384\n"  # fmt: skip
    row = "cube 0 M s = matmul x, y\n"
    assert [run(tiles.format(t) + row).makespan for t in ("f32", "bf16")] == [1 + 70, 1 + 22]


def test_an_empty_program() -> None:
    t = run("vector 0 S drain MTE3\n")
    assert (t.makespan, t.critical(), t.critical_path()) == (2, [], [])
    assert t.pipes["vector0 MTE3"].stall == {"end": 1, "issue": 1}


# ---------------------------------------------------------------------------- the reference kernel


@cache
def original(name: str, wide: bool = False) -> Kernel:
    """The published kernel; ``wide``: with a query tile of 64 and pages of 64 tokens."""
    text = (ORIGINAL / f"{name}.ptoir").read_text()
    return parse("\n".join(map(widened, text.split("\n"))) if wide else text, f"{name}.ptoir")


WIDE = {
    "q q_a v v_b o_c k oi": "[64, 128]",
    "p p_a s_c sij pij": "[64, 64]",
    "k_b": "[128, 64]",
    "s pb tmp": "[32, 64]",
    "o acc y": "[32, 128]",
}
"""Tiles by buffer or FIFO; all others are columns."""


def widened(line: str) -> str:
    """A declaration of a buffer or FIFO with the tile of the other shape; addresses do not matter."""
    found = re.match(r"(?:buffer \w+ +\w+|fifo) +(\w+)", line)
    if not found:
        return line
    shapes = {name: shape for names, shape in WIDE.items() for name in names.split()}
    return re.sub(r"(bf16|f32)\[[^\]]*\]", rf"\1{shapes.get(found[1], '[32, 1]')}", line)


@pytest.mark.parametrize(
    ("name", "wide", "blocks", "replayed"),
    [
        ("drain", False, 64, 62_115),
        ("repair", False, 64, 88_394),
        ("drain", True, 128, 173_618),
        ("repair", True, 128, 200_042),
    ],
)
def test_the_published_kernel_takes_what_another_model_says(
    name: str, wide: bool, blocks: int, replayed: int
) -> None:
    """docs/machine.md 11.4: columns prefetch (704) and repair (708)."""
    t = simulate(original(name, wide), [blocks], Setup("published"))
    assert t.makespan == pytest.approx(replayed, rel=0.10)
    check_accounts(t)


def test_the_busiest_pipe_of_the_published_kernel() -> None:
    t = simulate(original("drain"), [64], Setup("published"))
    assert t.bound_pipe == "cube MTE2" and t.bound == pytest.approx(56_884, rel=0.01)
    t = simulate(original("drain", wide=True), [128], Setup("published"))
    assert t.bound_pipe == "vector0 V"  # its rows are ours, not the published ones: no figure


# ------------------------------------------------------------------------------------- the launch


def test_bandwidth_by_hand() -> None:
    """300 bytes from cycle 90: 10 cycles at 10 bytes, the other 200 bytes at 20."""
    steps = Bandwidth(((0, 10.0), (100, 20.0)))
    assert steps.end(90, 5, 300) == 110
    assert steps.end(90, 50, 300) == 140  # the core's own rate
    assert steps.end(0, 1, 1000) == 100
    assert steps.end(200, 1, 30) == 202  # a part of a cycle counts as one
    assert Bandwidth(((0, 10.0), (100, 1.0), (101, 100.0))).end(99, 1, 111) == 102
    assert Bandwidth().end(90, 50, 300) == 140


def test_shares_by_hand() -> None:
    assert shares_of_memory([300, 100, 300], 60).steps == ((0, 20.0), (100, 30.0))
    assert shares_of_memory([float("inf")] * 3, 60).steps == ((0, 20.0),)
    assert shares_of_memory([0, 50], 60).steps == ((0, 60.0),)
    assert deal([5, 4, 3, 2, 1], 3) == ((5, 2), (4, 1), (3,))
    assert deal([5], 2) == ((5,), ())


LOADS = "for w in 0 .. rows:\n  for i in 0 .. n:\n    cube 0 MTE2 k = load keys[0:+128, :]\n"


def test_a_launch_by_hand() -> None:
    """A 24th of 864.9 bytes per cycle is 36.0: 32768 bytes take 910 cycles instead of 419.  Once
    the 23 short blocks have ended, the long one has more than it can use."""
    program = parse(HEADER + LOADS, "small.ptoir")
    found = launch(program, [3] + [1] * 23)
    short = 1 + 910
    assert found.ends == (short + 2 * KEYS, *(short,) * 23)
    assert found.tensor_bytes == 26 * 32768
    assert found.bounds == {"cube MTE2": 3 * KEYS, "HBM": 986}
    assert (found.bound, found.bound_pipe) == (1257, "cube MTE2")
    assert len(found.timings) == 2 and not any(t.spans for t in found.timings.values())


def test_half_way_through_a_transfer_the_share_grows() -> None:
    """Two blocks on two thirds of the chip's rate: 96 of 24 blocks' shares, by a slower memory."""
    program = parse(HEADER + LOADS, "small.ptoir")
    total = 100.0
    ends = (1 + 656, 1 + 656 + KEYS)  # 32768 bytes at 50 per cycle, then at 78.4
    steps = shares_of_memory(ends, total)
    assert steps.steps == ((0, 50.0), (657, 100.0))
    assert simulate(program, [1], Setup(bandwidth=steps)).makespan == ends[0]
    assert simulate(program, [2], Setup(bandwidth=steps)).makespan == ends[1]


@pytest.mark.parametrize("kernel", list(SHIPPED))
@pytest.mark.parametrize(
    ("items", "block_num"),
    [((4,) * 48, 0), ((9, 1, 3, 1, 5, 3, 2, 8, 0, 1), 4), ((6, 2), 3)],
    ids=["even", "uneven", "idle"],
)
def test_the_shares_follow_from_the_ends(
    kernel: str, items: tuple[int, ...], block_num: int
) -> None:
    """Each block by itself, under what the ends of all leave it, ends when the launch says."""
    program = scheduled(kernel, "best")
    setup = Setup(latency=200)
    found = launch(program, items, setup, block_num)
    shares = shares_of_memory(found.ends, bytes_per_cycle(program, setup))
    beside = Setup(latency=200, bandwidth=shares)
    for mine, t in found.timings.items():
        assert simulate(program, mine, beside).makespan == t.makespan
        check_accounts(simulate(program, mine, beside))
    assert found.makespan >= found.bound
    assert found == launch(program, items, setup, block_num)


def test_a_launch_is_no_faster_than_one_block_alone() -> None:
    program = scheduled("paged_attention", "best")
    alone = simulate(program, [16] * 2).makespan
    assert launch(program, [16] * 4, block_num=2).makespan == alone
    full = launch(program, [16] * 48)
    assert full.makespan > 1.5 * alone and full.bound_pipe == "HBM"


# ---------------------------------------------------------------------------- trace and picture


@cache
def example() -> Timing:
    return simulate(original("repair"), [6, 2], Setup("flat", 300))


def events() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(trace(example()))["traceEvents"]
    return found


def test_the_trace_has_a_process_per_core_and_a_thread_per_unit() -> None:
    names = {(e["name"], e["pid"], e["tid"]): e["args"] for e in events() if e["ph"] == "M"}
    processes = {args["name"] for (kind, *_), args in names.items() if kind == "process_name"}
    assert processes == {"cube", "vector0", "vector1"}
    threads = [
        f"{names['process_name', pid, tid]['name']} {args['name']}"
        for (kind, pid, tid), args in names.items()
        if kind == "thread_name"
    ]
    assert threads == list(example().pipes)


def test_the_slices_of_a_thread_do_not_overlap_and_add_up() -> None:
    t = example()
    threads = defaultdict(list)
    for e in events():
        if e["ph"] == "X":
            threads[e["tid"]].append((e["ts"], e["ts"] + e["dur"], e["cat"]))
    for (unit, usage), slices in zip(t.pipes.items(), threads.values(), strict=True):
        slices.sort()
        for a, b in pairwise(slices):
            assert a[1] <= b[0] + 1e-6
        stalled = sum(b - a for a, b, kind in slices if kind == "stall")
        assert stalled == pytest.approx(t.seconds(sum(usage.stall.values())) * 1e6, abs=0.02)
        assert unit.endswith(" S") != any(kind == "row" for *_, kind in slices)


def test_a_slice_says_what_a_row_waited_for() -> None:
    slices = [e for e in events() if e.get("cat") == "row"]
    pops = [e for e in slices if e["name"] == "p[u] = pop pij"]
    assert [(e["args"]["w"], e["args"]["i"]) for e in pops] == [
        *((0, i) for i in range(6)),
        *((1, i) for i in range(2)),
    ]
    products = [e for e in slices if e["name"].startswith("s_c = matmul")]
    assert {e["args"]["waited for"] for e in products} == {"event qk.l0.full"}
    first = pops[0]
    assert first["ts"] == pytest.approx(first["args"]["from cycle"] / 1850, abs=1e-4)


def test_every_arrow_starts_in_one_slice_and_ends_at_another() -> None:
    rows = [e for e in events() if e.get("cat") == "row"]
    ends: dict[int, dict[str, dict[str, Any]]] = defaultdict(dict)
    for e in events():
        if e["ph"] in "sf":
            ends[e["id"]][e["ph"]] = e
    assert len(ends) > 20
    for pair in ends.values():
        assert pair["s"]["tid"] != pair["f"]["tid"] and pair["s"]["ts"] <= pair["f"]["ts"]
        for e in pair.values():
            assert any(
                r["tid"] == e["tid"] and r["ts"] <= e["ts"] <= r["ts"] + r["dur"] for r in rows
            )


def drawing(t: Timing, steps: int | None = gantt.STEPS) -> ET.Element:
    return ET.fromstring(gantt.svg(t, steps))


SVG = "{http://www.w3.org/2000/svg}"


def boxes(root: ET.Element) -> dict[float, list[tuple[float, float, str]]]:
    """The rows by lane: (left, right, what the pointer shows)."""
    found: dict[float, list[tuple[float, float, str]]] = defaultdict(list)
    for rect in root.iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None and float(rect.get("height", 0)) == gantt.LANE:
            x, width = float(rect.get("x", 0)), float(rect.get("width", 0))
            found[float(rect.get("y", 0))].append((x, x + width, str(title.text)))
    return found


@cache
def overlapped() -> Timing:
    return simulate(scheduled("paged_attention", "best"), [12])


@pytest.mark.parametrize("steps", [1, 4, None])
@pytest.mark.parametrize("timing", [example, overlapped])
def test_no_box_lies_over_another_or_outside(
    timing: Callable[[], Timing], steps: int | None
) -> None:
    t = timing()
    root = drawing(t, steps)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    lanes = boxes(root)
    assert len(lanes) == len([u for u in t.shown if not u.endswith(" S")])
    start, end = gantt.window(t, steps)
    visible = [s for s in t.spans if s.unit == "cube MTE2" and start < s.end and s.start < end]
    assert len(visible) == len(lanes[min(lanes)])
    for lane in lanes.values():
        lane.sort()
        for a, b in pairwise(lane):
            assert a[1] <= b[0] + 0.6  # a row of no length is half a pixel wide
        assert lane[0][0] >= gantt.LEFT and lane[-1][1] <= width - gantt.RIGHT + 0.6
    lowest = [float(e.get("y", 0)) for e in root.iter(f"{SVG}text")]
    assert max(lowest) < height


def test_the_numbers_in_the_boxes_are_those_of_the_legend() -> None:
    root = drawing(example())
    texts = [e for e in root.iter(f"{SVG}text") if e.text]
    mono = [e for e in texts if e.get("font-family")]
    numbers = [e.text for e in texts if e.get("text-anchor") == "end" and str(e.text).isdecimal()]
    assert numbers == [str(k + 1) for k in range(len(mono))]
    shown = {title.split("   ")[0] for lane in boxes(root).values() for *_, title in lane}
    assert shown == {e.text for e in mono}
    named = {str(e.text).split()[0] for e in texts if re.match(r"\d+( \w+)?( i=\d+)?$", e.text)}
    assert named <= set(numbers) | {"%"}


def test_a_window_of_the_steady_state() -> None:
    t = simulate(original("drain"), [64])
    start, end = gantt.window(t, 4)
    assert end - start == pytest.approx(4 * t.makespan / 64, rel=0.05)
    assert start < t.makespan / 2 < end
    assert gantt.window(t, None) == (0, t.makespan) == gantt.window(t, 64)
    inside = [s for s in t.spans if s.row.op == "load" and start <= s.start < end]
    assert len(inside) == 8


def test_where_the_rows_lead_to() -> None:
    found = gantt.destinations(original("drain"))
    rows = {(r.op, getattr(r.out, "name", "")): found.get(id(r)) for r in all_rows(original("drain").body)}  # fmt: skip
    assert rows["load", "k"] == rows["matmul", "s_c"] == "sij"
    assert rows["load", "v"] == rows["move", "p_a"] == "oi"
    assert rows["exp", "s"] == "pij" and rows["pop", "o"] == rows["div", "y"] == "out"


def test_the_picture(golden: GoldenText) -> None:
    t = simulate(parse(HEADER + TO_VECTOR.format(credit=""), "small.ptoir"), [1])
    golden("simulate/fifo.svg", gantt.svg(t))
    assert gantt.svg(example()) == gantt.svg(simulate(original("repair"), [6, 2], example().setup))


# --------------------------------------------------------------------------------- the command

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Runs ``pto simulate`` in a folder with a program; exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    Path("drain.ptoir").write_text((ORIGINAL / "drain.ptoir").read_text())
    Path("stuck.ptoir").write_text(HEADER + TO_CUBE.split("cube ")[0])

    def run(*argv: str) -> tuple[int, str, str]:
        try:
            status = main(("simulate", *argv))
        except SystemExit as stop:  # argparse
            status = int(str(stop.code))
        return status, *capsys.readouterr()

    return run


def test_the_report(say: Say, golden: GoldenText) -> None:
    status, out, err = say("drain.ptoir", "--costs", "published")
    assert (status, err) == (GOOD, "")
    golden("simulate/report.txt", out)
    golden("simulate/items.txt", say("drain.ptoir", "--blocks", "3,1", "--items", "5")[1])
    golden("simulate/launch.txt", say("drain.ptoir", "--items", "60", "--blocks", "2,9", "--launch")[1])  # fmt: skip
    for name in ("report", "items", "launch"):
        text = (TESTS / f"goldens/simulate/{name}.txt").read_text()
        assert max(map(len, text.splitlines())) <= 100


def test_the_facts_for_machines(say: Say) -> None:
    status, out, err = say("paged_attention", "--schedule", "repair", "--json")
    assert (status, err) == (GOOD, "")
    found = json.loads(out)
    assert {"makespan_cycles", "bound_cycles", "bound_pipe", "pipes", "seconds"} <= set(found)
    assert (found["kernel"], found["schedule"]) == ("paged_attention", "repair")
    assert (found["costs"], found["latency"], found["blocks"]) == ("flat", 0, [64])
    for pipe in found["pipes"].values():
        assert pipe["busy"] + sum(pipe["stall"].values()) == found["makespan_cycles"]
    assert found["bound_cycles"] == found["pipes"][found["bound_pipe"]]["busy"]
    assert found["seconds"] == pytest.approx(found["makespan_cycles"] / 1.85e9)
    t = simulate(scheduled("paged_attention", "repair"), [64])
    assert found["makespan_cycles"] == t.makespan
    assert [s["cycles"] for s in found["critical_path"]] == [s.cycles for s in t.critical_path()]
    assert list(found["makespan_cycles_by_latency"]) == ["0", "500", "1000"]


def test_the_options_reach_the_simulator(say: Say) -> None:
    argv = ("--blocks", "3,1,4", "--items", "5", "--cross-core-latency", "70", "--queue-depth", "1")
    found = json.loads(say("drain.ptoir", *argv, "--costs", "fitted", "--json")[1])
    t = simulate(original("drain"), (3, 1, 4, 3, 1), Setup("fitted", 70, 1))
    assert found["blocks"] == [3, 1, 4, 3, 1] and found["makespan_cycles"] == t.makespan
    assert list(found["makespan_cycles_by_latency"]) == ["70"]
    deep, flat = (
        json.loads(say("paged_attention", *o, "--json", "--cross-core-latency", "0")[1])
        for o in (("--lookahead", "1", "--no-flat"), ())
    )
    assert deep["makespan_cycles"] > flat["makespan_cycles"]
    smaller = json.loads(say("paged_attention", "-D", "block=64", "--json")[1])
    assert smaller["tensor_bytes"] < flat["tensor_bytes"]


def test_the_facts_of_a_launch(say: Say) -> None:
    argv = ("--launch", "--items", "30", "--blocks", "4")
    found = json.loads(say("paged_attention", *argv, "--json")[1])
    l = launch(scheduled("paged_attention", "best"), [4] * 30)
    assert [b["end_cycles"] for b in found["hardware_blocks"]] == list(l.ends)
    assert (found["makespan_cycles"], found["bound_cycles"]) == (l.makespan, l.bound)
    assert found["bound_pipe"] == l.bound_pipe and found["hbm_bytes_per_second"] == 1.6e12
    assert sum(len(b["blocks"]) for b in found["hardware_blocks"]) == 30


def test_trace_and_picture_are_written(say: Say) -> None:
    argv = ("drain.ptoir", "--blocks", "5", "--trace", "t.json", "--svg", "t.svg", "--steps", "2")
    status, out, err = say(*argv)
    assert (status, err) == (GOOD, "") and out.endswith("wrote t.json\nwrote t.svg\n")
    t = simulate(original("drain"), [5])
    assert Path("t.json").read_text() == trace(t) and Path("t.svg").read_text() == gantt.svg(t, 2)
    status, out, err = say(*argv[:-2], "--steps", "all", "--json")
    assert (status, err) == (GOOD, "wrote t.json\nwrote t.svg\n") and json.loads(out)
    assert Path("t.svg").read_text() == gantt.svg(t, None)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--costs dear", "a2a3 has no costs 'dear'\n  help: one of: flat, fitted, published"),
        ("--blocks 3,x", "argument --blocks: 'x' is no whole number from 0 to 1,000,000"),
        ("--blocks -1", "argument --blocks: '-1' is no whole number from 0 to 1,000,000"),
        ("--items 0", "argument --items: '0' is no whole number from 1 to 1,000,000"),
        ("--queue-depth 0", "argument --queue-depth: '0' is no whole number from 1 up"),
        (
            "--cross-core-latency 1.5",
            "argument --cross-core-latency: '1.5' is no whole number from 0 up",
        ),
        ("--svg no/x.svg", "no/x.svg: there is no folder no"),
        ("--trace x --svg x", "--trace and --svg both name x"),
        ("--steps 3", "--steps has no effect without a picture\n  help: --svg FILE --steps 8"),
        ("--svg x --steps few", "argument --steps: 'few' is neither 'all' nor a number from 1 up"),
        (
            "--launch --trace x",
            "--trace has no effect with --launch: it shows one hardware block",
        ),
        ("--schedule best", "drain.ptoir is scheduled already; no schedule can be chosen"),
    ],
)
def test_a_wrong_option_gives_one_message(say: Say, argv: str, message: str) -> None:
    status, out, err = say("drain.ptoir", *argv.split())
    usage = "\n  help: pto simulate --help" if message.startswith("argument") else ""
    assert (status, out, err) == (USAGE, "", f"error: {message}{usage}\n")
    assert sorted(p.name for p in Path().iterdir()) == ["drain.ptoir", "stuck.ptoir"]


def test_a_program_that_stands_still(say: Say) -> None:
    status, out, err = say("stuck.ptoir", "--svg", "x.svg")
    told = "the program stands still: vector0, vector1 wait forever\n  help: pto check"
    assert (status, out, err) == (USAGE, "", f"error: {told}\n") and not Path("x.svg").exists()


def test_neither_numpy_nor_jax_is_imported() -> None:
    import subprocess

    code = (
        "import sys; from lowering.cli import main; main(['simulate', 'paged_attention', "
        "'--blocks', '2', '--launch']); sys.exit(bool({'numpy', 'jax'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
