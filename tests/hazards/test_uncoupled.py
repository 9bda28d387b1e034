"""Stages that decide for themselves where items begin: no run is lost, and few states are left."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from lowering.hazards import prover
from lowering.hazards.code import Code
from lowering.hazards.compiler import compiled
from lowering.hazards.counters import ABSENT
from lowering.hazards.exploration import Exploration
from lowering.hazards.instructions import Refused
from lowering.hazards.rotations import rotations
from lowering.hazards.run import Run
from lowering.hazards.state import State
from lowering.hazards.trips import Oracle
from lowering.hazards.uncoupled import uncouple
from lowering.schedule import options_for, schedule
from pto.ir import Kernel, all_rows, map_rows
from pto.kernels import SHIPPED
from pto.text import parse
from tests.lenient import check, resting_on


def attention(lookahead: int, record: str = "with_push") -> Kernel:
    options = options_for("best", lookahead=lookahead, record=record, credit="always")
    return schedule(SHIPPED["paged_attention"].trace(), options).kernel


def uncoupled(k: Kernel) -> Code:
    code = compiled(k, assumed(k))
    assert uncouple(code)
    return code


def assumed(k: Kernel) -> frozenset[str]:
    return frozenset(resting_on(k))


def states(code: Code) -> int | None:
    """How many states it takes to prove it; None: it is not right."""
    explored = Exploration(code, 4000)
    return explored.states if explored.search() is None else None


def finished(code: Code, trips: list[int]) -> State:
    """The state behind a run of these trip counts."""
    state, oracle = State(code), Oracle(code, trips)
    run = Run(code, state)
    while (need := run.advance()) is not None:
        need.decide(code, state, need.answer(oracle, state))
    return state


@pytest.mark.parametrize("trips", [[1], [3], [1, 1, 1, 1, 1, 1, 1], [5, 1, 2, 1, 1, 7]])
def test_every_run_of_the_kernel_is_one_of_the_uncoupled(trips: list[int]) -> None:
    """The same rows, and each knows the same."""
    k = attention(4)
    one, other = finished(compiled(k, assumed(k)), trips), finished(uncoupled(k), trips)
    for name in ("count", "clock", "last_wait", "gm", "pushed", "popped", "total"):
        assert getattr(one, name) == getattr(other, name), name
    merged = {b for ranges in merged_ranges(uncoupled(k)) for b in ranges}
    for b in set(range(len(one.writer))) - merged:
        assert (one.written[b], one.reader[b]) == (other.written[b], other.reader[b])
    for ranges in merged_ranges(uncoupled(k)):  # the last of all slots
        assert other.written[ranges[0]] == max(one.written[b] for b in ranges)


def merged_ranges(code: Code) -> list[list[int]]:
    """By merged ring its byte ranges, slot by slot."""
    depth = {name: code.buffers[name].depth for name in code.merged}
    return [
        [b for s in range(n) for b in code.slot_ranges[code.slots[name, s]]]
        for name, n in depth.items()
    ]


@pytest.mark.parametrize("record", ["with_push", "next_step"])
def test_states_do_not_double_with_every_step_of_lookahead(record: str) -> None:
    found = {n: states(uncoupled(attention(n, record))) for n in (4, 6, 8)}
    assert found[8] is not None and found[4] is not None
    assert found[8] < 3 * found[4] < 400, found


def test_the_stages_of_the_vector_core_share_a_ring_only() -> None:
    code = uncoupled(attention(3))
    assert code.merged == {"y_maximum"}
    by_item = [x.group for x in code.flat[0] if not x.by_position]
    assert len(by_item) == len(set(by_item)) == 3


def test_without_a_barrier_a_merged_ring_races() -> None:
    """Every barrier in front of a row that reads or writes it taken away, one at a time."""
    k = attention(3)
    rows = list(all_rows(k.body))
    near = [
        n
        for n, (one, two) in enumerate(pairwise(rows))
        if one.op == "barrier" and "y_maximum" in str(two)
    ]
    assert near
    for n in near:
        less = replace(k, body=map_rows(k.body, lambda r, n=n: () if r is rows[n] else r))
        assert not check(less).ok


WITHOUT = [("qk_fifo", 4), ("p16_fifo", 5), ("o_fifo", 6), ("o_fifo", 7)]
"""FIFOs without free signals: the first ones are too short for that, which takes fewest states to see where stages
agree."""


@pytest.mark.parametrize(("name", "depth"), WITHOUT)
def test_who_settles_it_first_changes_nothing(
    name: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of more than the kernel has, and its own, in turns of few states or one after the other."""
    k = attention(6)
    short = {f.name: replace(f, credit=False, depth=depth) for f in k.fifos if f.name == name}
    k = replace(k, fifos=tuple(short.get(f.name, f) for f in k.fifos))
    found = []
    for turns in ((), (24,), (2, 4, 8, 16, 32)):
        monkeypatch.setattr(prover, "TURNS", turns)
        monkeypatch.setattr(prover, "SMALLER", 1)
        found.append(check(k))
    assert found[0] == found[1] == found[2] and found[0].ok == (depth == 7)


def test_what_fails_soon_is_not_looked_for_among_more_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """These need 60 states to meet it, and the kernel's own 24."""
    k = attention(6)
    fifos = (replace(f, credit=False) if f.name == "o_fifo" else f for f in k.fifos)
    made: list[Exploration] = []

    class Noted(Exploration):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(prover, "Exploration", Noted)
    monkeypatch.setattr(prover, "TURNS", (24, 48))
    monkeypatch.setattr(prover, "SMALLER", 1)
    assert not prover.holds(replace(k, fifos=tuple(fifos)), assumed(k))
    assert [len(set(x.code.groups)) > 1 for x in made] == [True, False]
    assert all(x.states <= 26 for x in made), [x.states for x in made]


@pytest.mark.parametrize("pause", [1, 3, 10])
def test_a_search_goes_on_where_it_paused(pause: int) -> None:
    at_once, paused = (Exploration(uncoupled(attention(4)), 4000) for _ in range(2))
    for states in range(pause, 4000, pause):
        paused.search(states)
        assert paused.states <= states + 1  # a decision has two ways
    assert paused.search() == at_once.search() and paused.settled
    assert (paused.states, paused.longest) == (at_once.states, at_once.longest)


def test_a_search_that_is_refused_never_goes_on() -> None:
    """What it left out would be missing."""
    explored = Exploration(uncoupled(attention(4)), 20)
    for _ in range(3):
        with pytest.raises(Refused, match="not closed after 20 states"):
            explored.search()


HEAD = """kernel t on a2a3
param src    in  f32[rows, 64]
param length in  i32[m]
grid m
buffer vector ub a[2] f32[8, 64] nd at 0    by 2048
buffer vector ub c[1] f32[8, 64] nd at 8192 by 2048
"""
LOADED = """event vector a.full MTE2 -> V id 0 1
event vector a.free V -> MTE2 id 0 1
vector 0 V sync | set a.free[0] a.free[1]
for w, turn in 0 .. cdiv(m - block_idx, block_num) flat:
  vector 0 S n = read length[w]
  vector +1 MTE2 a[turn] = load src[0:+8, :] | wait a.free[turn] | set a.full[turn]
  for i in 0 .. max(n, 1):
    vector 0 V barrier
  vector 0 V c = copy a[turn] | wait a.full[turn] | set a.free[turn]
vector 0 MTE2 sync | wait a.free[0] a.free[1]
"""
FILLED = """for w, turn in 0 .. cdiv(m - block_idx, block_num) flat:
  vector 0 S n = read length[w]
  vector 0 V {barrier}
  vector +1 V a[turn] = full 0.0
  for i in 0 .. max(n, 1):
    vector +1 MTE3 barrier
    vector 0 MTE3 barrier
  vector 0 V c = copy a[{read}]
"""


def test_stages_that_share_an_event_stay_together() -> None:
    k = parse(HEAD + LOADED)
    assert not uncouple(compiled(k))
    assert check(k).ok


@pytest.mark.parametrize("apart", [False, True])
def test_a_ring_of_stages_that_do_not_agree_is_not_turned(apart: bool) -> None:
    """Which slot is the current one is another question for each of them."""
    code = compiled(parse(HEAD + LOADED))
    for stage in code.flat[0] if apart else ():
        stage.group = stage.cursor
    turned = {x.name for x in rotations(code)}
    assert turned == (set() if apart else {"a", "a.full", "a.free"})


@pytest.mark.parametrize(
    ("barrier", "read", "merged", "ok"),
    [("barrier", "turn", 1, True), ("sync", "turn", 1, False), ("barrier", "turn + 1", 0, False)],
)
def test_a_slot_of_its_own_for_every_item(barrier: str, read: str, merged: int, ok: bool) -> None:
    """The item that comes is written while the one before it is read: in a merged ring that is a race."""
    k = parse(HEAD + FILLED.format(barrier=barrier, read=read))
    code = compiled(k)
    assert uncouple(code) == bool(merged) == bool(code.merged)
    assert states(code) is None
    assert check(k).ok == ok


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_stages_without_an_inner_loop_stay_together(name: str) -> None:
    """They count items, and there must be as many as the others have."""
    code = compiled(schedule(SHIPPED[name].trace()).kernel)
    beside = any(x.inner == ABSENT for stages in code.flat.values() for x in stages)
    assert uncouple(code) != (beside or not code.flat)
