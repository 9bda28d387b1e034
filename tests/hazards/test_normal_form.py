"""What a state may forget: what later rows wait for first, and what is written before it is read.

Every program of ``tests/programs/normal_form`` begins with a loop, as the state at a decision is looked
up only behind another one, and drains everything in front of a second one.  A wrong one is right in the
first iteration of that and goes wrong in the next, from a state that differs by a single access that
somebody does not know to be complete.  To forget that access would hide the hazard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from lowering.hazards.awaited import Awaited, Told
from lowering.hazards.code import Code
from lowering.hazards.compiler import compiled
from lowering.hazards.counters import Counters, decidable
from lowering.hazards.instructions import Edge
from lowering.hazards.normal_form import NormalForm
from lowering.hazards.rotations import rotations
from lowering.hazards.run import Run
from lowering.hazards.state import State
from lowering.hazards.trips import Oracle
from lowering.hazards.unwritten import may_be_unwritten
from lowering.schedule import schedule
from pto.ir import Bin, Const, Kernel, Var, evaluate
from pto.kernels import SHIPPED
from pto.text import parse
from tests import PROGRAMS
from tests.axes import some
from tests.judges.small_programs import (
    CUBE,
    OF_THE_LIBRARY,
    OPERANDS,
    loop,
    ring_periods,
    small,
)
from tests.lenient import check, check_unrolled

FOLDER = PROGRAMS / "normal_form"
WRONG = {
    "one_of_two_reads_waits": ("RAW", 2),
    "one_of_two_writes_waits": ("WAR", 2),
    "one_of_two_sets_waits": ("WAR", 2),
    "one_of_two_pipes_waits": ("RAW", 2),
    "a_signal_in_front_of_its_push": ("RAW", 1),  # it is popped behind the loop
}
"""What goes wrong, and from which trip count on."""

RIGHT = ("both_reads_behind_the_wait", "the_first_set_waits", "both_pipes_wait", "a_signal_behind_its_push")  # fmt: skip
"""The same programs with their wait."""

BEFORE = loop("vector 0 V e = full 0.0\nvector 0 V barrier\n", trips="k", index="j")
"""The state at a decision is looked up only behind another one."""

DRAINED = "vector 0 ALL barrier\n"
PUSHES = CUBE + "event vector v.full MTE2 -> V id 0\nevent vector v.free V -> MTE2 id 0\n"
MADE = "cube 0 M acc = matmul x, y | wait acc.free | set acc.full\n"
DATA = "cube 0 FIX f = push_data acc | wait acc.full | set acc.free\n"
RECORD = "cube 0 FIX record f\n"
POP = (
    "vector 0 MTE2 a = pop f | wait v.free | set v.full\n"
    "vector 0 V c = copy a | wait v.full | set v.free\nvector 0 V barrier\n"
)


def program(name: str) -> Kernel:
    return parse((FOLDER / f"{name}.ptoir").read_text(), f"{name}.ptoir")


def first_failing(k: Kernel) -> int | None:
    return next((n for n in range(4) if not check_unrolled(k, [n]).ok), None)


def test_every_program_is_looked_at() -> None:
    assert {p.stem for p in FOLDER.iterdir()} == {*WRONG, *RIGHT}


@pytest.mark.parametrize("name", WRONG)
def test_a_hazard_that_only_a_later_iteration_meets(name: str) -> None:
    kind, count = WRONG[name]
    assert first_failing(program(name)) == count
    proof = check(program(name))
    assert {v.kind for v in proof.violations} >= {kind}, proof.report()
    assert proof.failing == (count,)


@pytest.mark.parametrize("name", RIGHT)
def test_the_same_program_with_its_wait(name: str) -> None:
    assert first_failing(program(name)) is None
    assert check(program(name)).ok, check(program(name)).report()


def decided(code: Code, trips: list[int]) -> Iterator[State]:
    """The states at the decisions of a run."""
    state, oracle = State(code), Oracle(code, trips)
    run = Run(code, state)
    while (need := run.advance()) is not None:
        yield state
        need.decide(code, state, need.answer(oracle, state))


def test_what_a_flag_will_tell_is_told_on() -> None:
    """A flag that is clear will tell all that those will tell which its sets wait for."""
    code = compiled(schedule(SHIPPED["paged_attention"].trace()).kernel)
    awaited = Awaited(code)
    for state in decided(code, [4]):
        told = Told(awaited, state)
        for f, before in enumerate(awaited.before_set):
            for g in () if state.flag[f] else before:
                for q, r in ((q, r) for clock in told.known for q, r in enumerate(clock)):
                    assert told.is_open(q, r, [(q, (g,))]) or not told.is_open(q, r, [(q, (f,))])


def test_the_first_position_is_told_from_others_in_front_of_its_rows_only() -> None:
    code = compiled(schedule(SHIPPED["paged_attention"].trace()).kernel)
    control, told = NormalForm(code).control, set[bool]()
    edges = [
        (c, pc, ins.stage)
        for c, side in enumerate(code.instructions)
        for pc, ins in enumerate(side)
        if isinstance(ins, Edge) and ins.first
    ]
    for state in decided(code, [4]):
        for c, pc, stage in edges:
            k, inner = stage.cursor, stage.inner
            if state.step[k][inner] < 0:
                continue
            first, second = state.fork(), state.fork()
            first.total[k][inner] += first.step[k][inner]
            second.total[k][inner] = first.total[k][inner] - 1
            first.step[k][inner], second.step[k][inner] = 0, 1
            for ahead in (True, False):
                first.pc[c] = second.pc[c] = pc + (not ahead)
                assert (control.of(first) != control.of(second)) == ahead
                told.add(ahead)
    assert told == {True, False}


ONE_OTHER = "buffer vector ub r[3] f32[8, 64] nd at 16384 by {stride}\n"
FRESH = "vector 0 V r[u] = full 0.0\n" + DRAINED
BESIDE = "vector 0 MTE2 r[u + 2] = load src[0:+8, :]\nvector 0 V c = copy r[u]\n" + DRAINED


@pytest.mark.parametrize(("stride", "failing"), [(1024, 2), (2048, None), (4096, None)])
def test_a_ring_of_slots_that_overlap_is_not_turned(stride: int, failing: int | None) -> None:
    """Slots 0 and 2 share nothing, 1 and 0 do: the second iteration is not like the first."""
    k = small(ONE_OTHER.format(stride=stride), BEFORE + loop(FRESH, BESIDE))
    assert first_failing(k) == failing
    proof = check(k)
    assert proof.failing == (None if failing is None else (failing,)), proof.report()


@pytest.mark.parametrize("op", ["<", "<=", "==", "!="])
def test_how_far_a_counter_is_known_exactly(op: str) -> None:
    """Up to the last value where the outcome of a comparison changes, and no further."""
    i = Var("i#0")
    for one, two, limit, turned in product((-2, 0, 3), (0, 1), range(-4, 8), (False, True)):
        shifted = Bin("-", Bin("+", i, Const(one)), Const(two))
        sides = (Const(limit), shifted) if turned else (shifted, Const(limit))
        counters: Counters = {}
        test = Bin(op, *sides)
        assert decidable(test, 0, counters)
        exact = counters["i#0"].exact
        outcome = [evaluate(test, {"i#0": n}.__getitem__) for n in range(40)]
        assert len(set(outcome[exact:])) == 1
        changes = [n for n in range(20) if outcome[n] != outcome[n + 1]]
        assert exact <= max(changes, default=-1) + 2


RING = "[2] f32[16, 64] flag"
WHOLE = (
    OPERANDS
    + "vector 0 V sync | set v.free\n"
    + loop(MADE + DATA.replace("_data", ""), POP, index="i")
)


@pytest.mark.parametrize(
    ("ring", "reading", "apart"),
    [
        (RING, "", 2),
        (RING.replace("2", "3", 1), "", 3),
        (RING, "passing-waits", 0),
        (RING, "overtaking-frees", 0),
        (RING + " 0 no credit", "", 0),
        (RING.replace("2", "5", 1), "", 0),
    ],
)
def test_the_signals_of_a_fifo_keep_its_slots_apart(ring: str, reading: str, apart: int) -> None:
    k = small(PUSHES.replace(RING + " 0", ring if "flag 0" in ring else ring + " 0"), WHOLE)
    with ring_periods(OF_THE_LIBRARY):
        code = compiled(k, frozenset({reading, "ordered-signals"} - {""}))
        assert len(Awaited(code).kept_apart) == apart
        assert not Awaited(compiled(k)).kept_apart


DRAIN = "cube 0 S drain FIX\n"
LATE = RECORD.replace("0", "-1")
STORED = DATA.replace("acc.free", "acc.free taken")
EVENTS = "event cube taken FIX -> S id 0\nevent cube other FIX -> S id 1\n"
SEEN = "cube 0 FIX sync | set taken\n"
TAKEN = "cube 0 S drain | wait taken\n"


@pytest.mark.parametrize(
    ("push", "strict", "apart"),
    [
        (DATA + RECORD, False, 2),
        (DATA + RECORD, True, 0),
        (DATA + DRAIN + RECORD, True, 2),
        (DRAIN + DATA + RECORD, True, 0),
        (DATA + RECORD + DRAIN, True, 0),
        (DATA + DRAIN.replace("FIX", "M") + RECORD, True, 0),
        (RECORD + DATA, False, 0),
        (LATE + DATA, False, 2),
        (LATE + DATA + DRAIN, True, 2),
        (DRAIN + LATE + DATA, True, 0),  # right, but of two iterations
        (LATE + DRAIN + DATA, True, 0),
        (LATE.replace("1", "2") + DATA + DRAIN.replace("0", "-1"), True, 2),
        (DATA + DATA + DRAIN + RECORD + RECORD, True, 2),
        (DATA + RECORD + DATA + DRAIN + RECORD, True, 0),
        (DATA + DATA + DRAIN + RECORD, False, 0),
        (STORED + TAKEN + RECORD, True, 2),
        (LATE + STORED + TAKEN, True, 2),
        (STORED + RECORD + TAKEN, True, 0),
        (TAKEN.replace("0 S", "-1 S") + LATE + STORED, True, 2),
        (LATE + TAKEN + STORED, True, 0),
        (DATA + SEEN + TAKEN + RECORD, True, 0),
        (STORED + SEEN + TAKEN + RECORD, True, 0),
        (STORED + TAKEN + TAKEN + RECORD, True, 0),
        (STORED + TAKEN.replace("taken", "other") + RECORD, True, 0),
    ],
)
def test_a_signal_tells_of_its_data(push: str, strict: bool, apart: int) -> None:
    """Behind the push, or where signals may overtake data, behind a drain of its pipe as well."""
    body = OPERANDS + "vector 0 V sync | set v.free\n" + loop(MADE + push, POP, index="i")
    assume = frozenset() if strict else frozenset({"ordered-signals"})
    assert len(Awaited(compiled(small(PUSHES + EVENTS, body), assume)).kept_apart) == apart


def test_a_flag_with_two_names_is_awaited_by_nobody() -> None:
    k = program("the_first_set_waits")
    k = replace(k, events=(*k.events, replace(k.event("f"), name="other", dst="V")))
    told = [f.name for f in compiled(k).flags].index("f")
    assert Awaited(compiled(k)).before_set[told]
    assert not Awaited(compiled(k, frozenset({"source-flags"}))).before_set[told]


# --------------------------------------------------------------- read before it is written

LENGTHS = """
kernel lengths on a2a3
param src          in     f32[rows, 64]
param length       in     i32[m]
param other        in     i32[m]
param n            scalar i32
param k            scalar i32
grid m
buffer vector ub   b[2]  f32[8, 64]  nd  at 2048   by 2048
buffer vector ub   c[1]  f32[8, 64]  nd  at 0      by 2048
buffer vector ub   d[1]  f32[8, 64]  nd  at 32768  by 2048
"""
SOMETIMES = """for q in 0 .. max(n, 1):
  vector 0 S x = read other[q]
  for j in 0 .. x:
    vector 0 V b[{slot}] = full 0.0
    vector 0 V barrier
  for l in 0 .. x:
    vector 0 V d = full 0.0
    vector 0 V barrier
"""
"""Writes a slot or not; the run that does is looked at first."""

ITEMS = """for w, turn in 0 .. cdiv(m - block_idx, block_num) flat:
  vector 0 S y = read length[w]
{front}  for i, u in 0 .. y:
    vector {shift} V {inside}
    vector {shift} V barrier
{behind}"""
FILL = "  vector 0 V b[{slot}] = full 0.0\n  vector 0 V barrier\n"
READ_B = "  vector 0 V c = copy b[u]\n  vector 0 V barrier\n"


def items(shift: int, inside: str, front: str = "", behind: str = "") -> str:
    return ITEMS.format(shift=shift, inside=inside, front=front, behind=behind)


FIRST_USE: dict[str, tuple[int, str]] = {
    "written behind the loop that reads it late": (
        0,
        "for i in 0 .. k:\n  vector -1 V c = copy b[0]\n  vector -1 V barrier\n"
        "vector 0 V b[0] = full 0.0\n",
    ),
    "written behind the loop in a flat one": (
        0,
        items(-1, "c = copy b[0]", behind=FILL.format(slot=0)),
    ),
    "written at the first position only": (
        1,
        items(0, "c = copy b[u]", front=FILL.format(slot="u")),
    ),
    "written at the first position, read at the last": (
        1,
        items(0, "d = full 0.0", front=FILL.format(slot="u"), behind=READ_B),
    ),
}
RUNS = [{"x": x, "k": k, "y": y, "n": 1, "max(n, 1)": 1} for x in (0, 1) for k in (0, 1) for y in (1, 2)]  # fmt: skip


@pytest.mark.parametrize("name", FIRST_USE)
def test_what_is_read_before_it_is_written_is_remembered(name: str) -> None:
    slot, body = FIRST_USE[name]
    k = parse(LENGTHS + SOMETIMES.format(slot=slot) + body)
    plain = [check_unrolled(k, [run]) for run in RUNS]
    assert [v.kind for p in plain for v in p.violations][:1] == ["uninitialised"]
    assert any(p.ok for p in plain)
    proof = check(k)
    assert {v.kind for v in proof.violations} == {"uninitialised"}, proof.report()


@pytest.mark.parametrize(
    ("written", "read", "unwritten"),
    [("a", "a", 0), ("a", "a[0]", 0), ("a[0]", "a", 0), ("b", "b[0]", 0), ("b", "b[1]", 2), ("b[1]", "b", 2)],
)  # fmt: skip
def test_a_slot_without_index_is_the_first(written: str, read: str, unwritten: int) -> None:
    k = small("", f"vector 0 V {written} = full 0.0\nvector 0 V barrier\nvector 0 V c = copy {read}\n")  # fmt: skip
    assert sum(may_be_unwritten(compiled(k))) == unwritten


def test_what_is_written_before_in_the_same_item_need_not_be_remembered() -> None:
    body = items(-1, "c = copy b[turn]", front=FILL.format(slot="turn"))
    k = parse(LENGTHS + SOMETIMES.format(slot=1) + body)
    assert check(k).ok
    assert not any(may_be_unwritten(compiled(k)))


@pytest.mark.parametrize(
    ("push", "unwritten"),
    [(DATA.replace("_data", ""), 0), (DATA + RECORD, 0), (RECORD + DATA, 2)],
)
def test_a_pop_waits_for_what_it_reads_if_the_signal_does_not_come_first(
    push: str, unwritten: int
) -> None:
    k = small(
        PUSHES, OPERANDS + "vector 0 V sync | set v.free\n" + loop(MADE + push, POP, index="i")
    )
    assert sum(may_be_unwritten(compiled(k))) == unwritten


BEHIND = "  vector {read} V c = copy b[turn]\n$  vector {fill} V b[turn] = full 0.0\n"
NESTED = """for w, u in 0 .. cdiv(m - block_idx, block_num):
  vector 0 S y = read length[w]
  vector {fill} V b[u] = full 0.0
  vector {fill} V barrier
  for i in 0 .. y:
    vector {read} V c = copy b[u]
    vector {read} V barrier
"""


@pytest.mark.parametrize(
    ("body", "unwritten"),
    [
        (NESTED.format(fill=0, read=-1), 0),
        (NESTED.format(fill=0, read=1), 0),  # the whole loop stands at shift 0
        (NESTED.format(fill=-1, read=-2), 2),
        (items(-1, "c = copy b[turn]", FILL.format(slot="turn").replace("vector 0", "vector -1")), 0),
        (items(0, "c = copy b[turn]", FILL.format(slot="turn").replace("vector 0", "vector -1")), 2),
        (items(0, "d = full 0.0", behind=BEHIND.format(read=-1, fill=0).replace("$", "")), 0),
        (items(0, "d = full 0.0", BEHIND.format(read=-1, fill=0).replace("$", "")), 0),
        (items(0, "d = full 0.0", behind=BEHIND.format(read=0, fill=0).replace("$", "")), 2),
        (items(0, "d = full 0.0", behind=BEHIND.format(read=0, fill=-1).replace("$", "")), 2),
        (items(0, "d = full 0.0", *BEHIND.format(read=-1, fill=0).split("$")), 2),
    ],
)  # fmt: skip
def test_a_row_in_front_of_a_loop_comes_first_if_its_shift_lets_it(
    body: str, unwritten: int
) -> None:
    assert sum(may_be_unwritten(compiled(parse(LENGTHS + body)))) == unwritten


TAIL = """
kernel tail on a2a3
param src     in  f32[rows, 16]
param length  in  i32[m]
grid m
buffer vector ub  c[{depth}]  f32[8, 16]  nd  at 0  by 512
event vector e V -> MTE2 id 0 2
event vector y MTE2 -> V id 0 2
event vector k V -> MTE2 id 1
event vector j MTE2 -> V id 1
vector 0 V sync | set e[0] e[1]
for w, turn in 0 .. cdiv(m - block_idx, block_num) flat:
  vector 0 S n = read length[w]
  for i, u in 0 .. max(n, 1):
    vector +2 MTE2 sync | wait e[u] | set y[u]
    vector +2 V sync | wait y[u] | set e[u]
    vector 0 V barrier
  vector 0 MTE2 barrier
  vector 0 MTE2 c[u] = load src[0:+8, :] | set j
  vector 0 V sync | wait j | set k
  vector 0 MTE2 sync | wait k
  vector 0 V barrier
  vector 0 V c[u] = full 0.0
vector 0 MTE2 sync | wait e[0] e[1]
"""


@pytest.mark.parametrize(("depth", "right"), [(4, False), (5, True)])
def test_a_ring_turns_on_when_its_first_stage_has_ended(depth: int, right: bool) -> None:
    """MTE2 learns of V's last write through the first stage, three steps late: where that stage
    has ended, never.  Which slot the later ones are at still tells two tails apart."""
    k = parse(TAIL.format(depth=depth))
    runs = [(a, b) for a in range(1, 6) for b in range(1, 6)]
    assert all(check_unrolled(k, run).ok for run in runs) == right
    assert check(k).ok == right, check(k).report()


STRIDES = """
kernel strides on a2a3
param src     in  f32[rows, 16]
param length  in  i32[m]
grid m
buffer vector ub  c[{depth}]  f32[8, 16]  nd  at 0  by 512
event vector e V -> MTE2 id 0 2
event vector y MTE2 -> V id 0 2
vector 0 V sync | set e[0] e[1]
for w in 0 .. cdiv(m - block_idx, block_num):
  vector 0 S n = read length[w]
  for i, u in 0 .. n:
    vector +2 MTE2 sync | wait e[u] | set y[u]
    vector +2 V sync | wait y[u] | set e[u]
    vector 0 MTE2 c[{one}] = load src[0:+8, :]
    vector 0 MTE2 barrier
    vector 0 V c[{two}] = full 0.0
    vector 0 V barrier
vector 0 MTE2 sync | wait e[0] e[1]
"""


@pytest.mark.parametrize(("stride", "depth"), some([(2, 4), (3, 3), (5, 6)], (2, 3, 5), (3, 4, 6)))
def test_a_ring_that_turns_by_several_slots(stride: int, depth: int) -> None:
    """What V wrote a few steps ago MTE2 learns late; some slots are far enough apart for that."""
    runs = [(a, b) for a in range(6) for b in range(6)]
    for one, offset in product((f"u * {stride}", f"(u + 1) * {stride} - 1", "u"), range(depth)):
        k = parse(STRIDES.format(depth=depth, one=one, two=f"u * {stride} + {offset}"))
        right = all(check_unrolled(k, run).ok for run in runs)
        assert check(k).ok == right, (one, offset)


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_a_row_names_one_place_of_a_ring_read_from_its_current_slot_on(stride: int) -> None:
    depth, two = 6, f"(u + 3) * {stride} - 1"
    code = compiled(parse(STRIDES.format(depth=depth, one=f"u * {stride}", two=two)))
    ring = next(r for r in rotations(code) if r.name == "c")
    for u in range(2 * depth):
        assert (u * stride - ring.current(u)) % depth == 0
