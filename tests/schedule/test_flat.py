"""Flat loops: work items that follow each other without a gap (docs/language.md)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import ml_dtypes
import numpy as np
import pytest

import pto
from lowering import native
from lowering.ascend import emit
from lowering.execute import inputs, scheduled
from lowering.execute.judge import compare, expected
from lowering.hazards.compiler import compiled
from lowering.hazards.proof import HazardError
from lowering.hazards.run import Run
from lowering.hazards.state import State
from lowering.hazards.trips import Oracle, Replay, items_loop
from lowering.one_by_one import one_by_one
from lowering.schedule import Options, options_for, schedule, stages
from lowering.schedule.passes.moments import Moment
from lowering.schedule.scheduler import stops_all
from lowering.simulate import Setup, simulate
from lowering.unroll import compositions, issued
from lowering.values.unscheduled import unscheduled
from pto.errors import LegalityError
from pto.ir import Kernel, Loop, Row
from pto.kernels import SHIPPED
from pto.legality import verify
from pto.ops import SCHEDULED
from pto.text import parse, print_kernel
from tests.judges.agreement import same_bits
from tests.judges.random_kernels import draw
from tests.lenient import check, check_unrolled, resting_on
from tests.whole.test_random_kernels import NARROW

HEAD = """kernel flat on a2a3
param src in f32[rows, 16]
param length in i32[m]
grid m
buffer vector ub a[2] f32[8, 16] nd at 0 by 512
buffer vector ub b[2] f32[8, 16] nd at 1024 by 512
buffer vector ub c[1] f32[8, 16] nd at 2048 by 512
event vector a.full MTE2 -> V id 0 1
event vector a.free V -> MTE2 id 0 1
event vector b.full MTE2 -> V id 2 3
event vector b.free V -> MTE2 id 2 3

vector 0 V sync | set a.free[0] a.free[1] b.free[0] b.free[1]
for w, turn in 0 .. cdiv(m - block_idx, block_num) flat:
"""
ITEM = """  vector 0 S n = read length[w]
  vector 0 MTE2 a[turn] = load src[0:+8, :] | wait a.free[turn] | set a.full[turn]
  for i, u in 0 .. n:
    vector 0 MTE2 b[u] = load src[8:+8, :] | wait b.free[u] | set b.full[u]
    vector -1 V c = copy b[u] | wait b.full[u] | set b.free[u]
    vector -1 V barrier
  vector -1 V c = copy a[turn] | wait a.full[turn] | set a.free[turn]
  vector -1 V barrier
"""
LAST = ITEM[ITEM.index("  vector -1 V c = copy a[turn]") :]
LATE = "  vector -3 V c = copy b[0]\n"
END = "vector 0 MTE2 sync | wait a.free[0] a.free[1] b.free[0] b.free[1]\n"


def flat(item: str = ITEM) -> Kernel:
    return parse(HEAD + item + END, "flat.ptoir")


def order(k: Kernel, lengths: Sequence[int]) -> list[str]:
    """The rows of the vector core in the order it issues them: name and position."""
    rows = []
    for _, row, scope in issued(k, "vector", lengths):
        if row.op in ("load", "copy"):
            what = row.args[0] if row.op == "copy" else row.out
            name = getattr(what, "name", "")
            rows.append(f"{name}{scope['turn'] if name == 'a' else scope['u']}")
    return rows


def test_text() -> None:
    assert parse(print_kernel(flat())) == flat()


def test_the_stages_run_on_from_item_to_item() -> None:
    """Loads (a, b) one step ahead of the copies, also over the end of an item."""
    assert order(flat(), [2, 1]) == "a0 b0 b1 b0 a1 b2 b1 a0 b2 a1".split()


def test_empty_items_come_first_and_by_themselves() -> None:
    assert order(flat(), [1, 0, 0]) == "a0 a0 a1 a1 a2 b0 b0 a2".split()


def test_the_stages_of_an_empty_item_run_one_behind_the_other() -> None:
    """A row of a later stage comes later, wherever it is written."""
    load = ITEM.splitlines(keepends=True)[1]
    k = flat(ITEM.replace(load, load + LATE))
    rows = [row.args[0].name for _, row, _ in issued(k, "vector", [0]) if row.op == "copy"]
    assert rows == ["a", "b"] and check_unrolled(k, [0]).violations[0].kind == "uninitialised"


def test_it_is_proven() -> None:
    proof = check(flat())
    assert proof.ok, proof.report()
    for lengths in ([], [0], [3], [1] * 5, [2, 0, 1, 4], [0, 0, 0]):
        assert check_unrolled(flat(), lengths).ok


@pytest.mark.parametrize(
    ("wrong", "right", "kind"),
    [
        (LAST, LAST.replace("-1", "-2"), "wait"),
        ("vector 0 MTE2 a[turn]", "vector +1 MTE2 a[turn]", "wait"),
        (" | set a.free[turn]\n", "\n", "wait"),
        ("copy a[turn] | wait a.full[turn] |", "copy a[turn] |", "RAW"),
        ("set a.free[turn]\n  vector -1 V barrier", "set a.free[turn]", "WAW"),
    ],
)
def test_a_mistake_is_found_by_proof_and_by_plain_runs(wrong: str, right: str, kind: str) -> None:
    """Three slots in flight where there are two, lost events, a barrier missing between items."""
    k = flat(ITEM.replace(wrong, right))
    proof = check(k)
    assert proof.violations[0].kind == kind, proof.report()
    assert proof.failing is not None and not check_unrolled(k, proof.failing).ok


@pytest.mark.parametrize("lengths", [[], [0], [3], [1, 1], [2, 4, 1], [0, 0, 2, 3]])
def test_decisions_are_the_trip_counts_that_they_were_taken_from(lengths: list[int]) -> None:
    """An ``Oracle`` decides by trip counts; a ``Replay`` says which ones decisions amount to."""
    one_by_one_too = parse((HEAD + ITEM + END).replace(" flat:", ":").replace(" -1 ", " 0 "))
    for k in (flat(), one_by_one_too):
        code = compiled(k)
        state, oracle, replay = State(code), Oracle(code, lengths), Replay(code, items_loop(code))
        run = Run(code, state)
        while (need := run.advance()) is not None:
            choice = need.answer(oracle, state)
            need.note(replay, state, choice)
            need.decide(code, state, choice)
        said = [list(entry.values()) for entry in replay.trips(state)]
        assert said == [[n] for n in lengths]


@pytest.mark.parametrize("count", [0, 1])
def test_a_constant_number_of_iterations_is_known(count: int) -> None:
    """What only an inner loop writes that never runs is not written."""
    item = ITEM.replace("0 .. n:", f"0 .. {count}:")
    proof = check(flat(item))
    assert proof.ok, proof.report()
    reads = check(flat(item.replace("copy a[turn] |", "add c, a[turn] |")))
    assert [v.kind for v in reads.violations] == ([] if count else ["uninitialised"])


@pytest.mark.parametrize("flat", ["", " flat"])
def test_a_branch_behind_it_may_find_that_all_items_were_empty(flat: str) -> None:
    """The inner loops run ``many`` times, or never; where never, nothing orders the last two rows."""
    branch = """if 0 < many:
  vector 0 V barrier
else:
  vector 0 MTE2 a[0] = load src[0:+8, :]
  vector 0 V c = copy a[0]
"""
    head = HEAD.replace("grid", "param many scalar i32\ngrid").replace(" flat:", f"{flat}:")
    item = ITEM.replace("let n", "let many").replace("0 .. n:", "0 .. many:")
    if not flat:
        item = item.replace(" -1 ", " 0 ")
    assert check(parse(head + item + END)).ok
    proof = check(parse(head + item + branch + END))
    assert "RAW" in {v.kind for v in proof.violations} and proof.failing == ()


TURNS = """kernel turns on a2a3
param length in i32[m]
grid m
buffer vector ub a[3] f32[8, 16] nd at 0 by 512
buffer vector ub c[1] f32[8, 16] nd at 2048 by 512

vector 0 V a[0] = full 1.0
vector 0 V a[1] = full 1.0
vector 0 V barrier
for w, turn in 0 .. cdiv(m - block_idx, block_num) flat:
  vector 0 S n = read length[w]
  for i, u in 0 .. n:
    vector 0 V a[turn] = full 1.0
    vector 0 V barrier
  vector 0 V c = copy a[turn]
  vector 0 V barrier
"""
INSIDE = TURNS.replace("a[3]", "a[2]").replace(
    "  vector 0 V c = copy a[turn]", "    vector 0 V c = copy a[0]"
)


@pytest.mark.parametrize(
    ("text", "failing"),
    [(TURNS, (0, 0, 0)), (INSIDE.replace("vector 0 V a[0]", "vector 0 V c", 1), (0, 1))],
)
def test_states_are_told_apart_by_the_items_before(text: str, failing: tuple[int, ...]) -> None:
    """The third item without iterations, or one with iterations behind one without, reads what
    nothing has written."""
    proof = check(parse(text))
    assert [v.kind for v in proof.violations] == ["uninitialised"] and proof.failing == failing


def test_the_item_number_is_no_slot_where_items_may_be_empty() -> None:
    assert "empty items come first" in check(flat(ITEM.replace("a[turn]", "a[w]"))).refused


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (ITEM.split("  for")[0], "a flat loop holds rows and one loop"),
        (ITEM.replace("  for i, u in 0 .. n:", "  for j in 0 .. 1:\n    vector 0 S x = let j\n  for i, u in 0 .. n:"), "a flat loop holds rows and one loop"),
        (ITEM.replace("    vector 0 MTE2 b", "    if i < 1:\n      vector 0 V barrier\n    vector 0 MTE2 b"), "holds rows only"),
        (ITEM + "  vector 0 S late = let n\n", "stands in front of the loop"),
    ],
)  # fmt: skip
def test_what_is_no_flat_loop_is_told(item: str, message: str) -> None:
    found = check(flat(item))
    assert message in found.violations[0].text
    with pytest.raises(LegalityError, match=message):
        verify(flat(item), SCHEDULED)


# ------------------------------------------------------------------------------ the scheduler


@pytest.mark.parametrize("name", ["paged_attention", "gemm"])
@pytest.mark.parametrize("lookahead", [1, 2, 3])
def test_one_after_the_other_gives_the_same_bits(name: str, lookahead: int) -> None:
    kernel = SHIPPED[name]
    k = schedule(kernel.trace(), options_for(lookahead=lookahead)).kernel
    assert any(isinstance(n, Loop) and n.flat for n in k.body)
    apart = replace(k, body=one_by_one(k.body))
    assert not any(isinstance(n, Loop) and n.flat for n in apart.body)
    assert kernel.draw_case is not None
    arrays = kernel.draw_case(np.random.default_rng(1), **kernel.statics)
    results = []
    for program in (k, apart):
        bound = inputs.bind(program, {n: _as_declared(program, n, a) for n, a in arrays.items()})
        results.append(scheduled.run(program, bound, block_num=2)["out"].tobytes())
    assert results[0] == results[1]


def test_behind_the_inner_loop_slots_go_by_its_last_iteration() -> None:
    k = parse("""kernel last on a2a3
param length in i32[items]
param out out f32[items, 16, 16]
grid items
buffer vector ub m[2] f32[8, 16] nd at 0 by 512
buffer vector ub y[1] f32[8, 16] nd at 1024 by 512

for w in 0 .. cdiv(items - block_idx, block_num) flat:
  vector 0 S item = let block_idx + w * block_num
  vector 0 S n = read length[item]
  vector 0 V m[u] = full 1.0
  for i, u in 0 .. max(n, 1):
    vector 0 V m[u + 1] = mul m[u], 2.0
  vector 0 V y = copy m[u + 1]
  vector 0 MTE3 out[item, lane * 8:+8, :] = store y
""")
    assert unscheduled(k).name == k.name  # it compares what the two store


def _as_declared(k: Kernel, name: str, array: np.ndarray) -> np.ndarray:
    from lowering.execute.access import DTYPES

    return np.asarray(array).astype(DTYPES[k.param(name).dtype])


def test_a_kernel_without_inner_loop_stays_as_it_is() -> None:
    k = schedule(SHIPPED["rmsnorm"].trace()).kernel
    assert not any(isinstance(n, Loop) and n.flat for n in k.body)


@pto.kernel(grid="items", count="i32[items]", out="f32[items, 16, 16]")
def two_loops(count: pto.Tensor, out: pto.Tensor) -> None:
    item = pto.program_id(0)
    total = pto.fori_loop(0, count[item], lambda i, t: t + 1.0, pto.zeros((16, 16)))
    total = pto.fori_loop(0, count[item], lambda i, t: t * 2.0, total)
    pto.store(out[item, :, :], total)


def test_why_work_items_do_not_overlap_is_told() -> None:
    k = schedule(two_loops.trace()).kernel
    assert "work items do not overlap: an item has more than one loop" in k.notes
    assert not any(isinstance(n, Loop) and n.flat for n in k.body)


@pytest.mark.parametrize("q_tile", [16, pytest.param(64, marks=pytest.mark.sweep)])
def test_no_bubble_between_short_items(q_tile: int) -> None:
    """64 items of 1 to 4 blocks, at every latency between the cores; apart it is up to 2x more."""
    block = {16: 128, 64: 64}[q_tile]
    traced = SHIPPED["paged_attention"].trace(q_tile=q_tile, block=block, heads=q_tile)
    rng = random.Random(0)
    lengths = [rng.randint(1, 4) for _ in range(64)]
    together, apart = (schedule(traced, options_for(flat=f)).kernel for f in (True, False))
    for latency in (0, 500, 1000):
        t = simulate(together, lengths, Setup("", latency))
        assert t.makespan <= 1.05 * t.bound
        assert t.makespan < simulate(apart, lengths, Setup("", latency)).makespan


@pytest.mark.parametrize("latency", [0, 500, 1000])
def test_a_fifo_beside_the_loop_does_not_hold_up_the_next_item(latency: int) -> None:
    k = schedule(SHIPPED["gemm"].trace()).kernel
    t = simulate(k, [1, 2, 3, 4] * 16, Setup("", latency))
    assert t.makespan <= 1.1 * t.bound


@pto.kernel(
    grid="n",
    x="f32[n, 32, 32]",
    w="bf16[pages, 32, 32]",
    lens="i32[n]",
    out="f32[n, 32, 32]",
    static={"early": "behind", "late": "front"},
)
def early_and_late(
    x: pto.Tensor, w: pto.Tensor, lens: pto.Tensor, out: pto.Tensor, *, early: str, late: str
) -> None:
    """``a`` is read in the first stage in the loop, behind it, or both, and in the last stage in
    front or in the loop.  Which reader comes first or last depends on the trip count."""
    item = pto.program_id(0)
    a = pto.load(x[item, :, :])
    start = pto.exp(a * 0.5) if late == "front" else pto.zeros((32, 32))

    def body(i: pto.Scalar, total: pto.Tile) -> pto.Tile:
        scaled = total * (a if late == "inside" else 0.5)
        left = pto.full((32, 32), 0.25) if early == "behind" else a
        return scaled + left.astype("bf16") @ pto.load(w[i, :, :])

    total = pto.fori_loop(0, lens[item], body, start)
    pto.store(out[item, :, :], total + pto.maximum(a, 0.0) if early != "inside" else total)


@pytest.mark.parametrize(
    ("early", "late"),
    [("behind", "front"), ("inside", "front"), ("both", "front"), ("both", "inside")],
)
@pytest.mark.parametrize("lookahead", [1, 3])
def test_no_order_is_taken_for_sure_that_depends_on_the_trip_count(
    early: str, late: str, lookahead: int
) -> None:
    """One event each way around all readers, and nothing is overwritten before the last one."""
    traced = early_and_late.trace(early=early, late=late)
    k = schedule(traced, options_for(lookahead=lookahead)).kernel
    assert [e.name for e in k.events if e.name.startswith("a.")] == ["a.full", "a.free"]
    assert same_bits(traced, k, BESIDE)


@pto.kernel(
    grid="n",
    x="f32[n, 32, 32]",
    w="bf16[pages, 32, 32]",
    lens="i32[n]",
    out="f32[n, 32, 32]",
    static={"where": "behind"},
)
def product_beside(
    x: pto.Tensor, w: pto.Tensor, lens: pto.Tensor, out: pto.Tensor, *, where: str
) -> None:
    """A tile goes to the cube and back in front of the loop or behind it, where the rows of the cube
    are written before those of the vector core that feed them."""
    item = pto.program_id(0)
    page, tile = pto.load(w[0, :, :]), pto.load(x[item, :, :])
    if where == "front":
        tile = tile.astype("bf16") @ page * 0.1

    def body(i: pto.Scalar, total: pto.Tile) -> pto.Tile:
        return total * 0.5 + tile.astype("bf16") @ pto.load(w[i, :, :])

    total = pto.fori_loop(0, lens[item], body, pto.zeros((32, 32)))
    if where == "behind":
        total = total.astype("bf16") @ page * 0.1
    pto.store(out[item, :, :], total)


@pytest.mark.parametrize(("where", "stage"), [("front", 0), ("behind", -1)])
@pytest.mark.parametrize("lookahead", [1, 3])
def test_a_product_beside_the_loop(where: str, stage: int, lookahead: int) -> None:
    """All its rows are in the stage of what it needs, or of what needs it."""
    traced = product_beside.trace(where=where)
    k = schedule(traced, options_for(lookahead=lookahead)).kernel
    flat = next(n for n in k.body if isinstance(n, Loop) and n.flat)
    crossings = [r for r in flat.body if isinstance(r, Row) and r.op in ("push_data", "pop")]
    assert [r.shift for r in crossings] == [stage * lookahead] * 4
    assert same_bits(traced, k, BESIDE)


@pto.kernel(
    grid="n",
    x="f32[n, 3, 64, 128]",
    w="bf16[pages, 128, 128]",
    lens="i32[n]",
    out="f32[n, 64, 128]",
)
def much_alive(x: pto.Tensor, w: pto.Tensor, lens: pto.Tensor, out: pto.Tensor) -> None:
    """Three tiles of an item are read in its first and in its last stage, so that every step of
    lookahead costs three slots."""
    item = pto.program_id(0)
    a, b, c = (pto.load(x[item, k, :, :]) for k in range(3))

    def body(i: pto.Scalar, total: pto.Tile) -> pto.Tile:
        left = (a + b + c).astype("bf16")
        return total * 0.5 + left @ pto.load(w[i, :, :])

    total = pto.fori_loop(0, lens[item], body, pto.zeros((64, 128)))
    pto.store(out[item, :, :], (total * a + b) * c)


def test_best_looks_less_far_ahead_where_it_does_not_fit() -> None:
    k = schedule(much_alive.trace())
    told = [n for n in k.kernel.notes if n.startswith("not lookahead")]
    assert told == ["not lookahead 6 to 2: ub needs 204800 bytes and has 188160"]
    assert k.options == Options(lookahead=1)
    with pytest.raises(pto.CapacityError, match="ub needs 253952 bytes"):
        schedule(much_alive.trace(), options_for(lookahead=3))


def test_best_looks_less_far_ahead_where_the_proof_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lowering.schedule.scheduler.check", partial(check, max_states=20))
    k = schedule(early_and_late.trace())
    assert k.kernel.notes[:2] == (
        "lookahead 1, prefetch 1",
        "not lookahead 6 to 2: not closed after 20 states",
    )
    with pytest.raises(HazardError, match="not closed after 20 states"):
        schedule(early_and_late.trace(), Options(lookahead=3))


BESIDE = {
    "x": np.random.default_rng(0).uniform(-1, 1, (5, 32, 32)).astype(np.float32),
    "w": np.random.default_rng(1).uniform(-1, 1, (6, 32, 32)).astype(ml_dtypes.bfloat16),
    "lens": np.array([2, 0, 1, 6, 1], np.int32),
}
"""Arrays for the parameters of ``product_beside``."""


def test_what_is_sure_for_all_trip_counts() -> None:
    def at(step: int, place: int, last: bool) -> Moment:
        return Moment(step, (place,), last, flat=True)

    front, behind = at(1, 0, False), at(0, 9, True)
    assert not front.surely_before(behind) and not behind.surely_before(front)
    assert front.surely_before(at(1, 9, True)) and behind.surely_before(front, 1)
    assert at(2, 0, True).surely_before(at(0, 0, False), 2)
    assert not at(2, 0, True).surely_before(at(0, 0, False), 1)
    assert not at(0, 0, False).surely_before(at(5, 0, False), -1)


@pytest.mark.sweep
def test_every_end_of_a_flat_loop_is_run_when_barriers_are_placed() -> None:
    """This kernel needs one that no item but a last one of two iterations shows."""
    schedule(draw(580)[0].trace())
    assert list(compositions(3)) == [(1, 1, 1), (1, 2), (2, 1), (3,)]


def test_best_looks_less_far_ahead_where_events_last_then() -> None:
    """A tile that lives through all of an item takes an event for each step in flight; without one, a
    barrier stops all pipes."""
    traced = draw(1)[0].trace()
    far, usual = schedule(traced, options_for(lookahead=6)), schedule(traced)
    assert stops_all(far.kernel) and not stops_all(usual.kernel)
    assert usual.options.lookahead == 5 and usual.kernel.notes[1] == (
        "not lookahead 6: a barrier for want of events, slower by the cost model"
    )
    spans = [simulate(x.kernel, (12, 2, 12)).makespan for x in (far, usual)]
    assert spans[1] < spans[0]


def test_rings_are_deep_enough_for_long_items() -> None:
    """What blocks only where an item is longer than the stages in flight; 10 slots, not 16."""
    far = options_for(lookahead=5, prefetch=2, moves="late", fifo_depth=2)
    depths = [f.depth for f in schedule(draw(140)[0].trace(), far).kernel.fifos]
    assert max(depths) == 10


@pytest.mark.sweep
@pytest.mark.parametrize("first", range(0, 40, 10))
def test_random_kernels_run_as_emitted(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXXFLAGS", "-O1")
    for seed in range(first, first + 10):
        kernel, make = draw(seed)
        arrays = make(np.random.default_rng(0))
        arrays["pages"] = arrays["pages"].astype(NARROW[str(kernel.statics["dtype"])])
        traced = kernel.trace()
        bound = inputs.bind(traced, arrays)
        wanted = expected(traced, bound, None, {})
        for lookahead in (1, 3):
            try:
                k = schedule(traced, Options(lookahead=lookahead)).kernel
            except pto.CapacityError:
                continue
            bound, assume = inputs.bind(k, arrays), resting_on(k)
            found = native.run(k, bound, seeds=range(24), block_num=2, assume=assume)
            assert not found.reports and not found.differences
            assert all(c.ok for c in compare(found.outputs, wanted))


def test_the_source_reads_like_the_schedule() -> None:
    """One loop over the empty items, one over steps; the position is looked up, not computed."""
    *_, (_, k) = stages(SHIPPED["paged_attention"].trace(), Options())
    text = emit(k)["paged_attention.cpp"]
    assert text.count("// First the items without an iteration over i, each by itself.") == 2
    assert text.count("struct Position {") == 2
    assert "if (at.i + 1 == at.n) {" in text


def test_rows_behind_are_at_the_last_position() -> None:
    """What the last iteration left in its slot is what the row behind stores."""
    k = parse(
        """kernel last on a2a3
param length in i32[m]
param out out f32[m, 16, 16]
grid m
buffer vector ub a[4] f32[8, 16] nd at 0 by 512

for w, turn in 0 .. m flat:
  vector 0 S n = read length[w]
  for i, u in 0 .. n:
    vector +1 V a[u] = full 1.0 * i
  vector 0 MTE3 out[w, lane * 8:+8, :] = store a[u]
"""
    )
    lengths = np.array([3, 1, 2], np.int32)
    bound = inputs.bind(k, {"length": lengths})
    out = scheduled.run(k, bound, block_num=1)["out"]
    assert [set(np.unique(tile)) for tile in out] == [{2.0}, {0.0}, {1.0}]


@pto.kernel(grid="batch", x="f32[batch, parts, 16, 32]", out="f32[batch, 16, 32]")
def sum_of_parts(x: pto.Tensor, out: pto.Tensor) -> None:
    """A loop as long as a size, which is no scalar of the item."""
    b, zero = pto.program_id(0), pto.zeros((16, 32))
    total = pto.fori_loop(0, x.shape[1], lambda i, acc: acc + pto.load(x[b, i, :, :]), zero)
    pto.store(out[b, :, :], total)


def test_a_trip_count_that_is_a_size() -> None:
    """It is the same for all items, and not a part of a position, which would hide it."""
    k = schedule(sum_of_parts.trace()).kernel
    text = emit(k)["sum_of_parts.cpp"]
    assert "next.i_count = parts;" in text and "next.parts" not in text
    x = np.arange(3 * 5 * 16 * 32, dtype=np.float32).reshape(3, 5, 16, 32)
    found = native.run(k, inputs.bind(k, {"x": x}), block_num=2)
    assert not found.reports and (found.outputs["out"] == x.sum(axis=1)).all()
