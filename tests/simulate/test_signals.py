"""What signals between the cores take, by hand: latency, waits, the scheduler that all clusters share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lowering.simulate import Setup, simulate
from lowering.simulate.launch import launch
from pto.targets import Costs
from pto.targets.a2a3 import FLAT
from pto.text import parse
from tests.simulate.timed import (
    ADD,
    HEADER,
    POP,
    PUSH,
    TO_CUBE,
    TO_VECTOR,
    check_accounts,
    check_critical_path,
    ran,
    run,
)

DEAR = replace(FLAT, signal=300, wait=40, signal_turn=10)


@pytest.mark.parametrize(("latency", "taken"), [(None, 300), (0, 0), (500, 500)])
def test_the_latency_is_the_table_s_unless_it_is_given(latency: int | None, taken: int) -> None:
    t = run(TO_VECTOR.format(credit=" no credit"), Setup(replace(FLAT, signal=300), latency))
    assert t.latency == taken and t.makespan == 203 + taken + 2 + POP
    assert f"cross-core latency {taken:,}" in t.card[t.kernel.name]


def test_a_wait_takes_the_scalar_unit() -> None:
    """Between a signal and the issue of the pop, on whichever core it is."""
    t = run(TO_VECTOR.format(credit=""), Setup(replace(FLAT, wait=40)))
    first = 1 + PUSH + 2 + 40
    again = first + POP + 2 + 40
    assert ran(t, "vector0 MTE2") == [(first, first + POP), (again + PUSH + 42, t.makespan)]
    assert ran(t, "cube FIX")[1] == (again, again + PUSH)


def test_who_waits_for_a_signal_issues_nothing_to_any_pipe() -> None:
    """An addition that needs nothing of the FIFO, in front of the pop and behind it."""
    push, add, pop = (
        "cube 0 FIX f = push s\n",
        "vector 0 V c = add a, a\n",
        "vector 0 MTE2 b = pop f\n",
    )
    fifo = "fifo f c2v [1] f32[16, 64] flag 0 no credit\n"
    text = fifo.replace("f32[16", "bf16[16") + push
    before = run(text + add + pop, Setup("flat", latency=500))
    behind = run(text + pop + add, Setup("flat", latency=500))
    assert ran(before, "vector0 V") == [(1, 1 + ADD)]
    issued = ran(behind, "vector0 MTE2")[0][0]
    assert issued > 500 and ran(behind, "vector0 V") == [(issued + 1, issued + 1 + ADD)]
    assert behind.pipes["vector0 V"].stall["fifo f empty"] == issued - 2


def test_a_credit_stops_the_issue_to_all_pipes() -> None:
    """The load behind the second push waits for its free signal, though MTE2 has nothing to do."""
    load = "cube 0 MTE2 k = load keys[0:+128, :]\n"
    free, bare = (
        run(TO_VECTOR.format(credit=credit) + load, Setup("flat", latency=500))
        for credit in ("", " no credit")
    )
    assert ran(bare, "cube MTE2")[0][0] < 10 < 2 * 500 < ran(free, "cube MTE2")[0][0]


PUSHES = TO_VECTOR.format(credit=" no credit").split("\n")
BODY = "\n".join(
    [PUSHES[1], "for w in 0 .. rows:", "  for i in 0 .. n:", *(f"    {p}" for p in PUSHES[2:6:2])]
)


def sent(clusters: int, table: Costs, trips: int = 4) -> list[int]:
    """When the pops of one cluster start."""
    program = parse(HEADER + BODY + "\n", "small.ptoir")
    t = simulate(program, [trips], Setup(table, clusters=clusters))
    check_accounts(t)
    check_critical_path(t)
    return [start for start, _ in ran(t, "vector0 MTE2")]


def test_a_cluster_alone_has_the_scheduler_for_itself() -> None:
    assert sent(1, DEAR) == sent(1, replace(DEAR, signal_turn=0))


def test_all_clusters_take_turns() -> None:
    """A push is through each 101 cycles.  With 24 clusters and 10 cycles a signal a cluster has a turn
    each 240, and may use one turn that it missed: so the first two are not late."""
    alone, together = sent(1, DEAR), sent(24, DEAR)
    assert [a - b for a, b in zip(alone[1:], alone, strict=False)] == [PUSH] * 3
    late = [b - a for a, b in zip(alone, together, strict=True)]
    fires = [1 + PUSH * k for k in range(1, 5)]
    leaves = [*fires[:2], fires[0] + 240, fires[0] + 480]
    assert late == [b - a for a, b in zip(fires, leaves, strict=True)] == [0, 0, 38, 177]


def test_few_signals_are_not_late() -> None:
    assert sent(9, DEAR) == sent(1, DEAR)  # a turn each 90 cycles


def test_both_lanes_have_a_turn_each() -> None:
    """Two pushes of both lanes are four signals: the third and the fourth are late."""
    program = parse(HEADER + TO_CUBE.replace("flag 0", "flag 0 no credit"), "small.ptoir")
    alone, together = (
        simulate(program, [1], Setup(replace(DEAR, signal_turn=turn), clusters=24))
        for turn in (0.0, 10.0)
    )
    starts = [[s for s, _ in ran(t, "cube MTE2")] for t in (alone, together)]
    assert starts[0][0] == starts[1][0] and starts[0][1] < starts[1][1]
    assert alone.signals == together.signals == 4


def test_a_launch_shares_the_scheduler() -> None:
    program = parse(HEADER + BODY + "\n", "small.ptoir")
    found = launch(program, [100] * 24, Setup(DEAR))
    assert found.signals == 2400 and found.bounds["signals"] == 98 * 24 * 10
    assert found.bounds["signals"] <= found.makespan == 98 * 240 + 1 + PUSH + 300 + 42 + POP
    one = launch(program, [100], Setup(DEAR))
    assert one.makespan < found.makespan / 2


def test_other_tables_have_no_scheduler() -> None:
    program = parse(HEADER + BODY + "\n", "small.ptoir")
    assert "signals" not in launch(program, [100] * 24, Setup("flat")).bounds


def test_the_queues_that_are_known_to_be_deeper() -> None:
    """A table may say so of a pipe; what is asked for holds for all."""
    deep = replace(FLAT, queue_depth=2, queue_depths={"V": 8})
    five = "vector 0 V c = add a, a\n" * 5
    assert (
        "V queue full" in run(five, Setup(replace(deep, queue_depths={}))).pipes["vector0 S"].stall
    )
    assert "V queue full" not in run(five, Setup(deep)).pipes["vector0 S"].stall
    assert "V queue full" in run(five, Setup(deep, queue_depth=2)).pipes["vector0 S"].stall
