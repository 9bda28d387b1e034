"""The adversarial executor: right schedules never differ from program order, wrong ones do."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from lowering.execute import adversarial, inputs, sequential
from lowering.execute.adversarial import Orders
from lowering.execute.cluster import Cluster, InterleavingError, Move, queues_of
from lowering.execute.instructions import Blocks
from lowering.hazards import check
from pto.errors import InputError
from pto.ir import Kernel, map_rows
from pto.kernels import SHIPPED
from tests.hazards.test_exhaustive import bound
from tests.judges.agreement import Plan, arrays, program
from tests.judges.small_programs import round_trip, small
from tests.judges.sync_bugs import PATTERNS, Pattern

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
    got = adversarial.run(k, inputs.bind(k, given), seeds=range(6), block_num=2)["out"]
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


def test_a_missing_event_shows_in_long_contexts_only() -> None:
    """The racy prefetch of docs/machine.md 16.3: clean for two blocks whatever the order."""
    k = without(program(Plan("paged_attention", "best")), "k.free")
    assert check(k).failing == (3,)
    for blocks in (1, 2, 3, 5):
        found = list(Orders(k, inputs.bind(k, attention(blocks)), 1).differences(range(60)))
        assert ("bits" in {d.kind for d in found}) == (blocks >= 3), f"{blocks} blocks: {found[:2]}"


def test_the_vector_race_of_the_original_kernel_shows() -> None:
    """The P tile is overwritten while MTE3 still pushes it (docs/machine.md 8.5)."""
    k = without(program(Plan("paged_attention", "best")), "p16.free")
    assert list(Orders(k, inputs.bind(k, attention(5)), 1).differences(range(40)))


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
    k = without(program(Plan("paged_attention", "best")), "p16.free")
    given = inputs.bind(k, attention(5))
    first = next(Orders(k, given, 1).differences(range(40)))
    assert list(Orders(k, given, 1).differences([first.seed])) == [first]
    with pytest.raises(InterleavingError, match=f"--seed {first.seed}$"):
        adversarial.run(k, given, seeds=range(40), block_num=1)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_right_forms_of_known_mistakes_never_differ(pattern: Pattern) -> None:
    for trips in (0, 1, 2, 3):
        k = pattern.right
        assert not list(Orders(k, bound(k, trips), 1).differences(range(10)))


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
    assert bool(list(Orders(k, bound, 1).differences(range(20)))) == (depth == 4)
