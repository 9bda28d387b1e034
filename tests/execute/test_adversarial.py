"""The adversarial executor: right schedules never differ from program order, wrong ones do."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from lowering.execute import adversarial, inputs, sequential
from lowering.execute.adversarial import Orders
from lowering.execute.cluster import (
    ORDERED_SIGNALS,
    Cluster,
    InterleavingError,
    Move,
    queues_of,
)
from lowering.execute.instructions import Blocks
from lowering.hazards import check
from lowering.schedule import options_for, schedule
from lowering.schedule.passes.record import at_push
from pto.errors import InputError
from pto.ir import Event, Flag, Kernel, Row, all_rows, map_rows
from pto.kernels import SHIPPED
from tests.hazards.test_exhaustive import bound
from tests.judges.agreement import Plan, arrays, program
from tests.judges.exhaustive import explore, one_lane
from tests.judges.mutants import without_a_drain
from tests.judges.small_programs import (
    CONSUME_B,
    CUBE,
    END_B,
    ENDS,
    EVENTS_B,
    FREE_B,
    OPERANDS,
    PRODUCE,
    loop,
    round_trip,
    small,
)
from tests.judges.sync_bugs import PATTERNS, Pattern
from tests.lenient import resting_on

LENIENT = (ORDERED_SIGNALS,)
"""The signal of a push stays behind its data; if nothing is said it may come before."""

SCHEDULES = [
    Plan(kernel, name) for kernel in SHIPPED for name in ("serial", "prefetch", "repair", "best")
]


def without(k: Kernel, *events: str) -> Kernel:
    """The program without some events, their waits and sets."""
    body = map_rows(
        k.body,
        lambda r: replace(
            r,
            wait=tuple(f for f in r.wait if f.name not in events),
            set=tuple(f for f in r.set if f.name not in events),
        ),
    )
    return replace(k, body=body, events=tuple(e for e in k.events if e.name not in events))


@pytest.mark.parametrize("plan", SCHEDULES, ids=str)
def test_proven_schedules_give_one_result_in_every_order(plan: Plan) -> None:
    traced, given = SHIPPED[plan.kernel].trace(), arrays(plan.kernel, False)
    want = sequential.run(traced, inputs.bind(traced, given))["out"]
    k = program(plan)
    bound, assume = inputs.bind(k, given), resting_on(k)
    got = adversarial.run(k, bound, seeds=range(6), block_num=2, assume=assume)["out"]
    assert got.tobytes() == want.tobytes()


def attention(blocks: int) -> dict[str, np.ndarray]:
    """One request of so many blocks."""
    kernel = SHIPPED["paged_attention"]
    assert kernel.draw_case is not None
    drawn = kernel.draw_case(
        np.random.default_rng(1),
        **{**kernel.statics, "batch": 1, "context": blocks * 128, "ragged": False},
    )
    return {
        n: a.astype(ml_dtypes.bfloat16) if a.ndim > 2 and n != "out" else a
        for n, a in drawn.items()
    }


@pytest.mark.parametrize("orders", [30, pytest.param(60, marks=pytest.mark.sweep)])
def test_a_missing_event_shows_in_long_contexts_only(orders: int) -> None:
    """The racy prefetch of docs/machine.md 16.3: clean for two blocks whatever the order."""
    k = without(program(Plan("paged_attention", "best")), "k.free")
    assert check(k).failing == (3,)
    for blocks in (1, 2, 3, 5):
        given = inputs.bind(k, attention(blocks))
        found = list(Orders(k, given, 1, resting_on(k)).differences(range(orders)))
        assert ("bits" in {d.kind for d in found}) == (blocks >= 3), f"{blocks} blocks: {found[:2]}"


def racing() -> Kernel:
    """Nothing keeps V from the P tile that MTE3 still pushes; a drain in front of its record would."""
    return without(recorded("with_push", "always")[0], "p16.free")


def test_the_vector_race_of_the_original_kernel_shows() -> None:
    """The P tile is overwritten while MTE3 still pushes it (docs/machine.md 8.5)."""
    k = racing()
    assert list(Orders(k, inputs.bind(k, attention(5)), 1, LENIENT).differences(range(40)))


def test_a_seed_is_an_order() -> None:
    k = program(Plan("gemm", "best"))
    block = next(iter(Blocks(k, inputs.bind(k, arrays("gemm", False)), 1)))
    queues = queues_of(block)

    def made(seed: int) -> list[Move]:
        cluster, choose, moves = Cluster(queues), adversarial.order(seed, queues), []
        while possible := cluster.moves():
            moves.append(choose(possible))
            cluster.make(moves[-1])
        cluster.finish()
        return moves

    found = {seed: made(seed) for seed in range(12)}
    assert all(made(seed) == moves for seed, moves in found.items())
    assert len({tuple(m) for m in found.values()}) == len(found)


def test_an_order_can_be_replayed_alone() -> None:
    k = racing()
    given = inputs.bind(k, attention(5))
    first = next(Orders(k, given, 1, LENIENT).differences(range(40)))
    assert list(Orders(k, given, 1, LENIENT).differences([first.seed])) == [first]
    with pytest.raises(InterleavingError, match=f"--seed {first.seed}$"):
        adversarial.run(k, given, seeds=range(40), block_num=1, assume=LENIENT)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_right_forms_of_known_mistakes_never_differ(pattern: Pattern) -> None:
    for trips in (0, 1, 2, 3):
        k = pattern.right
        assert not list(Orders(k, bound(k, trips), 1, LENIENT).differences(range(10)))


@pytest.mark.parametrize(
    ("kind", "declarations", "body"),
    [
        ("leftover", "event vector g V -> MTE2 id 3\n", "vector 0 V sync | set g\n"),
        ("wait", "event vector g V -> MTE2 id 3\n", "vector 0 MTE2 sync | wait g\n"),
        ("deadlock", "fifo f v2c [2] f32[16, 64] flag 0\nbuffer cube l1 x[1] f32[16, 64] nz at 0 by 4096\n",
         "cube 0 MTE2 x = pop f\n"),
        ("double set", "event vector g V -> MTE2 id 3\n",
         "vector 0 V sync | set g\nvector 0 V sync | set g\nvector 0 MTE2 sync | wait g\n"
         "vector 0 MTE2 sync | wait g\n"),
    ],
)  # fmt: skip
def test_what_goes_wrong_in_any_order(kind: str, declarations: str, body: str) -> None:
    k = small(declarations, body)
    with pytest.raises(InterleavingError) as caught:
        adversarial.run(k, bound(k, 1), seeds=range(20), block_num=1)
    assert caught.value.kind == kind


def test_only_scheduled_programs_have_pipes() -> None:
    k = SHIPPED["rmsnorm"].trace()
    with pytest.raises(InputError, match="not scheduled"):
        adversarial.run(k, inputs.bind(k, arrays("rmsnorm", False)))


@pytest.mark.parametrize("depth", [4, 5])
def test_one_slot_less_without_credit_shows(depth: int) -> None:
    k = round_trip(depth, 4)
    bound = inputs.bind(
        k, {"src": np.ones((64, 64), np.float32), "out": np.zeros((13, 16, 64), np.float32)}
    )
    assert bool(list(Orders(k, bound, 1, LENIENT).differences(range(20)))) == (depth == 4)


# ------------------------------------------------------------- signals in front of their data


def recorded(record: str, credit: str = "needed") -> tuple[Kernel, inputs.Bound]:
    """Paged attention whose pushes tell so, and several requests for it."""
    options = options_for("best", record=record, credit=credit)
    k = schedule(SHIPPED["paged_attention"].trace(), options).kernel
    return k, inputs.bind(k, arrays("paged_attention", False))


@pytest.mark.parametrize(
    ("record", "credit"),
    [
        ("next_step", "needed"),
        ("at_push", "always"),
        *(
            pytest.param(*x, marks=pytest.mark.sweep)
            for x in (("next_step", "always"), ("at_push", "needed"))
        ),
    ],
)
def test_behind_a_drain_data_is_there_before_its_signal(record: str, credit: str) -> None:
    k, given = recorded(record, credit)
    for assume in ((), LENIENT):
        assert not list(Orders(k, given, 1, assume).differences(range(9)))
    wrong = dict(without_a_drain(k))
    assert wrong.keys() == {f.name for f in k.fifos}
    for less in wrong.values():
        assert next(Orders(less, given, 1).differences(range(12)), None)
        found = Orders(less, given, 1, LENIENT).differences(range(2))
        assert {d.kind for d in found} <= {"undrained"}  # no drain of its own is left for the end


@pytest.mark.parametrize("orders", [9, pytest.param(40, marks=pytest.mark.sweep)])
@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_the_shallowest_rings_are_deep_enough(ahead: int, orders: int) -> None:
    options = options_for("best", lookahead=ahead)
    k = schedule(SHIPPED["paged_attention"].trace(), options).kernel
    assert not any(f.credit for f in k.fifos)
    given = inputs.bind(k, arrays("paged_attention", False))
    assert not list(Orders(k, given, 1).differences(range(orders)))


@pytest.mark.sweep
def test_every_drain_shows_in_200_orders() -> None:
    k, given = recorded("next_step")
    assert not list(Orders(k, given, 1).differences(range(200)))
    print()
    for fifo, less in without_a_drain(k):
        found = list(Orders(less, given, 1).differences(range(200)))
        print(f"  without the drain of {fifo}: {len(found)} of 200 orders go wrong")
        assert len(found) > 40


def test_a_signal_of_its_own_pipe_says_nothing() -> None:
    """Pushes that tell by themselves, as the reference kernel had them, are right if signals stay behind
    their data."""
    k, given = recorded("with_push")
    assert next(Orders(k, given, 1).differences(range(3)), None)
    assert not list(Orders(k, given, 1, LENIENT).differences(range(3)))


@pytest.mark.parametrize("lane", [1, 2])
def test_either_lane_may_be_the_late_one(lane: int) -> None:
    k, given = recorded("next_step")
    less = dict(without_a_drain(k))["p16_fifo"]
    queues = queues_of(next(iter(Blocks(less, given, 1))))
    seed = 3 * queues.pipes.index((lane, "MTE3"))  # this pipe moves only when nothing else can
    assert [d.kind for d in Orders(less, given, 1).differences([seed])] == ["bits"]


BETWEEN = {
    "": False,
    "cube 0 FIX barrier\n": False,
    "cube 0 S drain FIX\n": True,
    "cube 0 ALL barrier\n": True,
    "cube 0 FIX sync | set stored\ncube 0 S sync | wait stored\n": True,
    "cube 0 FIX sync | set stored\ncube 0 M sync | wait stored | set seen\n"
    "cube 0 S sync | wait seen\n": True,
}
"""Rows between a store and its record -> whether the data is there before the signal."""


@pytest.mark.parametrize("between", BETWEEN)
def test_only_what_the_scalar_unit_waits_for_is_there(between: str) -> None:
    events = "event cube stored FIX -> S id 0\n"
    if "seen" in between:
        events = "event cube stored FIX -> M id 1\nevent cube seen M -> S id 0\n"
    told = PRODUCE.replace("push", "push_data") + between + "cube 0 FIX record f\n"
    body = OPERANDS + FREE_B + loop(told, CONSUME_B) + ENDS + END_B
    k = small(CUBE + EVENTS_B + events, body)
    program = one_lane(next(iter(Blocks(k, bound(k, 3), 1))))
    assert explore(program, assume=LENIENT).ok and check(k, assume=LENIENT).ok
    assert explore(program, assume=()).kind == ("" if BETWEEN[between] else "race")
    assert check(k).ok == BETWEEN[between]


def behind_what_fix_waited_for(k: Kernel) -> Kernel:
    """A round trip whose cube drains and records a push behind something else that FIX waits for: the tile
    that came back."""
    push = next(r for r in all_rows(k.body) if r.op == "push" and r.core == "cube")
    stored = Flag("stored", None)
    told = (
        Row("drain", None, (), "cube", "S", 0, (stored,)),
        replace(push, op="record", out=None, args=(push.out,), wait=(), set=()),
    )

    def edited(r: Row) -> Row | tuple[Row, ...]:
        if r is push:
            return replace(r, op="push_data", set=(*r.set, stored))
        return (r, *told) if r.op == "sync" and r.pipe == "FIX" and r.shift < 0 else r

    events = (*k.events, Event("cube", stored.name, "FIX", "S", (0,)))
    return at_push(replace(k, body=map_rows(k.body, edited), events=events), 0)


@pytest.mark.parametrize("ahead", [1, 2])
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_signal_tells_of_nothing_that_its_pipe_alone_has_waited_for(
    slots: int, ahead: int
) -> None:
    """The ring back needs a slot for each step of the tile that comes back, and one where it may still be read."""
    k = behind_what_fix_waited_for(round_trip(slots, ahead))
    k = replace(k, fifos=tuple(replace(f, depth=6) if f.name == "f" else f for f in k.fifos))
    given = inputs.bind(
        k, {"src": np.ones((64, 64), np.float32), "out": np.zeros((5, 16, 64), np.float32)}
    )
    program = one_lane(next(iter(Blocks(k, given, 1))))
    found = explore(program, assume=()).kind, check(k).ok
    assert found == (("", True) if slots > ahead else ("race", False))
    assert explore(program, assume=LENIENT).ok == check(k, assume=LENIENT).ok == (slots >= ahead)


@pytest.mark.parametrize("slots", [5, 4])
def test_rings_without_credit_behind_drains(slots: int) -> None:
    k = round_trip(slots, 4)
    k = at_push(k, 0)
    given = inputs.bind(
        k, {"src": np.ones((64, 64), np.float32), "out": np.zeros((13, 16, 64), np.float32)}
    )
    assert bool(list(Orders(k, given, 1).differences(range(20)))) == (slots == 4)
    for _, less in without_a_drain(k):
        assert list(Orders(less, given, 1).differences(range(20)))


def test_no_executor_has_another_reading() -> None:
    k, given = recorded("with_push")
    with pytest.raises(InputError, match="no executor runs under the reading 'early-sets'"):
        adversarial.run(k, given, assume=("early-sets",))
