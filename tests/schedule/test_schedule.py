"""The scheduler: whole schedules as goldens, options, and what happens when something runs out."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import pto
from lowering.hazards.proof import HazardError
from lowering.schedule import NAMED, PASSES, Options, options_for, schedule, stages
from lowering.schedule.passes import sync
from lowering.schedule.scheduler import Judge, stops_all
from lowering.values.equivalence import same_values
from pto import Scalar, Tensor, Tile
from pto.ir import Const, Define, Kernel, Ref, Row, Word, all_rows, binary, map_rows
from pto.kernels import SHIPPED
from pto.targets.a2a3 import A2A3
from tests.conftest import Golden
from tests.judges.agreement import same_bits
from tests.judges.mutants import without_events
from tests.lenient import check, check_unrolled
from tests.schedule.forms import FORMS
from tests.words.all import WORDS


@pytest.mark.parametrize("name", SHIPPED)
def test_whole_schedules(name: str, golden: Golden) -> None:
    """Of the other named ones ``tests/whole/test_replay.py`` has the checksums."""
    golden(f"schedule/{name}.ptoir", pto.print_kernel(schedule(SHIPPED[name].trace()).kernel))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_stage_reads_back(name: str) -> None:
    seen = []
    for stage, kernel in stages(SHIPPED[name].trace(), options_for("best")):
        assert pto.parse(pto.print_kernel(kernel)) == kernel, stage
        seen.append(stage)
    assert seen == list(PASSES)


@pytest.mark.parametrize("plan", NAMED)
@pytest.mark.parametrize("name", SHIPPED)
def test_a_schedule_has_every_name(name: str, plan: str) -> None:
    """Of a value that shares the buffer of another, too; and each row says only what its buffer does not."""
    made = dict(stages(SHIPPED[name].trace(), options_for(plan)))
    rows = [r for r in all_rows(made["sync"].body) if isinstance(r.out, Ref)]
    values = {r.out.name for r in all_rows(made["skew"].body) if isinstance(r.out, Define)}
    assert values <= {r.value or r.result(Ref).name for r in rows}
    assert all(r.value != r.result(Ref).name for r in rows)
    if name == "paged_attention":
        assert {"s", "p", "m_new", "l_new", "alpha", "p16", "o", "y"} <= values


def test_block_ids_are_read_once_each() -> None:
    """One read of the table, at the earliest step that needs it; every load uses its value."""
    kernel = schedule(SHIPPED["paged_attention"].trace()).kernel
    reads = [r for r in all_rows(kernel.body) if r.op == "read" and "block_table" in str(r.args)]
    loads = [r for r in all_rows(kernel.body) if r.op == "load" and "cache" in str(r.args)]
    assert len(reads) == 1 and len(loads) == 2
    assert reads[0].shift == max(r.shift for r in loads)


@pytest.mark.parametrize("plan", NAMED)
def test_prefetch_distance(plan: str) -> None:
    """Every load runs as many steps ahead of its move as the option says."""
    options = options_for(plan)
    kernel = schedule(SHIPPED["paged_attention"].trace(), options).kernel
    rows = [r for r in all_rows(kernel.body) if r.pipe in ("MTE2", "MTE1")]
    for name in ("k", "v"):
        load = next(r for r in rows if r.op == "load" and getattr(r.out, "name", "") == name)
        move = next(r for r in rows if r.op == "move" and getattr(r.args[0], "name", "") == name)
        assert load.shift - move.shift == options.prefetch


@pytest.mark.parametrize("name", SHIPPED)
def test_every_record_of_the_default_stands_behind_a_drain(name: str) -> None:
    """In the schedule, which is proven under the strict reading, and in the C++."""
    done = schedule(SHIPPED[name].trace())
    assert done.proof.ok and not done.proof.assume
    rows = list(all_rows(done.kernel.body))
    assert not any(r.op == "push" for r in rows)
    sets = {flag: r for r in rows for flag in r.set if r.op == "push_data"}
    drains = [(d, r) for d, r in pairwise(rows) if r.op == "record"]
    for drain, record in drains:
        assert (drain.op, drain.core, drain.shift) == ("drain", record.core, record.shift)
        if drain.args:
            assert drain.args == (Word(record.pipe),)
        else:  # an event of the push, which goes to the scalar unit
            (flag,) = drain.wait
            assert sets[flag].queue == record.queue
    lines = [line.strip() for line in done.sources[f"{name}.cpp"].splitlines()]
    signals = [k for k, line in enumerate(lines) if line.startswith("signal(")]
    assert len(signals) == len(drains)
    for k in signals:
        assert re.match(r"wait_flag\(PIPE_(FIX|MTE3), PIPE_S, ", lines[k - 1])


def test_the_history_drains_as_it_did_by_hand() -> None:
    for plan in ("serial", "prefetch", "repair"):
        done = schedule(SHIPPED["paged_attention"].trace(), plan)
        assert done.proof.assume == ("ordered-signals",)
        drains = [r for r in all_rows(done.kernel.body) if r.op == "drain"]
        assert [(r.core, r.args[0].name) for r in drains] == [
            *[("cube", "FIX")] * 2,
            ("vector", "MTE3"),
        ]


# ------------------------------------------------------------------------- when things run out


@pto.kernel(
    grid="cdiv(rows, 32)",
    a="f32[rows, 64]",
    b="f32[rows, 64]",
    c="f32[rows, 64]",
    d="f32[rows, 64]",
    e="f32[rows, 64]",
    out="f32[rows, 64]",
)
def five_inputs(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, out: Tensor) -> None:
    """Five double-buffered loads want ten MTE2 to V flags; there are eight, and rings of nine have none."""
    here = pto.ds(pto.program_id(0) * 32, 32, valid=a.shape[0] - pto.program_id(0) * 32)
    total = pto.load(a[here, :])
    for x in (b, c, d, e):
        total = total * 0.5 + pto.load(x[here, :])
    pto.store(out[here, :], total)


def test_where_flags_are_short_neighbours_share_them_and_that_is_told() -> None:
    traced = five_inputs.trace()
    plan = schedule(traced)
    assert plan.proof.ok and not stops_all(plan.kernel)
    few_ids(plan.kernel)
    told = [n.partition(" stands for ")[0::2] for n in plan.kernel.notes if "stands for" in n]
    assert told == [("total.full", "b_tile too: MTE2 -> V has 8 ids")]
    rng = np.random.default_rng(0)
    arrays = {n: rng.standard_normal((100, 64), np.float32) for n in "abcde"}
    assert same_bits(traced, plan.kernel, arrays)
    less = without_events(plan.kernel, {"total.full"})
    assert {v.buffer for v in check(less).violations} >= {"total[0]", "b_tile[0]"}


def test_running_out_of_flags_ends_in_a_barrier_and_is_told() -> None:
    traced = five_inputs.trace()
    plan = schedule(traced, options_for(local_depth=9))
    assert plan.proof.ok
    assert any("ids left" in note for note in plan.kernel.notes)
    assert stops_all(plan.kernel)
    few_ids(plan.kernel)
    rng = np.random.default_rng(0)
    arrays = {n: rng.standard_normal((100, 64), np.float32) for n in "abcde"}
    assert same_bits(traced, plan.kernel, arrays)
    bare = map_rows(plan.kernel.body, lambda r: () if (r.op, r.pipe) == ("barrier", "ALL") else r)
    assert not check(replace(plan.kernel, body=bare)).ok, "the barrier stands for nothing"


@pto.kernel(grid="n", out="f32[n, 32, 64]", **dict.fromkeys("abcdefghij", "f32[n, 32, 64]"))
def two_by_two(
    a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor,
    f: Tensor, g: Tensor, h: Tensor, i: Tensor, j: Tensor, out: Tensor,
) -> None:  # fmt: skip
    """One event for each two loads that are multiplied."""
    w = pto.program_id(0)
    loads = [pto.load(x[w, :, :]) for x in (a, b, c, d, e, f, g, h, i, j)]
    total = pto.zeros((32, 64))
    for x, y in zip(loads[::2], loads[1::2], strict=True):
        total = total + x * y
    pto.store(out[w, :, :], total)


def test_notes_name_events_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event without ids is told as the barrier that stands for it."""
    monkeypatch.setattr(sync, "target_of", lambda k: replace(A2A3, event_ids=1))
    kernel = schedule(two_by_two.trace(), options_for()).kernel
    names = {e.name for e in kernel.events}
    chains = [note.partition("implied by ")[2] for note in kernel.details if "implied by" in note]
    told = [name for chain in chains for name in chain.split(" and ")]
    assert any(name.startswith("the barrier for ") for name in told)
    assert all(name in names or name.startswith("the barrier for ") for name in told)


def few_ids(k: Kernel) -> None:
    """Every pair of pipes has at most eight flags, each with its own id (docs/machine.md 4.2)."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for e in k.events:
        found.setdefault((e.core, e.src, e.dst), []).extend(e.ids)
    for pipes, ids in found.items():
        assert len(ids) == len(set(ids)) and set(ids) <= set(range(8)), pipes


DROPPED = re.compile(r"(\w+) (\w+) -> (\w+) needs no event: implied by (.*)")


@pytest.mark.parametrize("statics", [dict(), dict(heads=64, q_tile=64, block=64)])
def test_a_dropped_event_is_proven_and_rests_on_its_witness(statics: dict[str, int]) -> None:
    """Without any one event of the printed witness the buffer whose event was dropped races too.

    With drains, or at lookahead 1, the order also follows from elsewhere.
    """
    options = options_for("best", record="with_push", lookahead=3, credit="always")
    k = schedule(SHIPPED["paged_attention"].trace(**statics), options).kernel
    assert check(k).ok
    dropped = [m for note in k.details if (m := DROPPED.fullmatch(note))]
    assert dropped
    for buffer, src, dst, witness in (m.groups() for m in dropped):
        for event in witness.split(" and "):
            kept = map_rows(k.body, lambda r, event=event: _without(r, event))
            found = check_unrolled(replace(k, body=kept), [5, 4], limit=1000).violations
            pairs = {
                (v.buffer.split("[")[0], v.first.pipe, v.second.pipe)
                for v in found
                if v.first is not None and v.second is not None
            }
            assert (buffer, src, dst) in pairs, f"{buffer} {src} -> {dst} without {event}"


def _without(r: Row, event: str) -> Row:
    wait, set_ = (tuple(f for f in flags if f.name != event) for flags in (r.wait, r.set))
    return replace(r, wait=wait, set=set_)


@pytest.mark.parametrize(
    ("q_tile", "few"),
    [(16, "k_b v_b"), (80, "o_v k_b v_b o"), (128, "qk_v p16 o_v p16_a k_b v_b qk o y")],
)
def test_slots_that_do_not_fit_are_told(q_tile: int, few: str) -> None:
    """A tile that fits is scheduled, with as many of the wanted slots as there is memory for."""
    kernel = schedule(SHIPPED["paged_attention"].trace(q_tile=q_tile, heads=q_tile)).kernel
    told = [n.split(":")[0] for n in kernel.notes if ": 1 slot " in n]
    assert told == few.split()
    assert all(b.depth == 1 for b in kernel.buffers if b.name in told)
    single = Options(local_depth=1, l0_depth=1)
    least = schedule(SHIPPED["paged_attention"].trace(q_tile=q_tile, heads=q_tile), single).kernel
    assert {b.name for b in least.buffers if b.depth == 1} >= set(told)


def test_as_many_slots_as_fit() -> None:
    notes = schedule(SHIPPED["gemm"].trace(), Options(local_depth=4)).kernel.notes
    assert (
        "total_v: 3 slots from one work item to the next, ub would need 231424 of 188160 bytes with 4"
        in notes
    )


def test_rows_stand_as_late_as_they_can_where_memory_is_short() -> None:
    """Thirty constants and fifteen masks, of which few live at once; not where that is told to be another way."""
    traced = WORDS["products of sixteen levels"].traced
    made = schedule(traced)
    assert made.options.rows_at == "alap" and made.options.lookahead == Options().lookahead
    assert "not lookahead 6 to 1: ub needs 291072 bytes and has 188160" in made.kernel.notes
    with pytest.raises(pto.CapacityError):
        schedule(traced, Options())
    for name in SHIPPED:
        assert schedule(SHIPPED[name].trace()).options.rows_at == "asap"


def test_too_much_memory_lists_the_live_tiles() -> None:
    with pytest.raises(pto.CapacityError, match=r"ub needs \d+ bytes and has 188160; live tiles: "):
        schedule(SHIPPED["rmsnorm"].trace(dim=8192))


@pytest.mark.parametrize(
    "changes", [dict(lookahead=-1), dict(prefetch=-1), dict(local_depth=0), dict(l0_depth=0)]
)
def test_impossible_options(changes: dict[str, int]) -> None:
    with pytest.raises(pto.ScheduleError):
        options_for("best", **changes)


def test_more_lookahead_than_a_fifo_has_slots() -> None:
    """The rings get the most slots there are; whether that is enough is seen from there."""
    assert {
        options_for(lookahead=n).fifo_slots(A2A3, pushes) for n in (14, 20) for pushes in (1, 2)
    } == {14}


def test_unknown_schedule() -> None:
    with pytest.raises(pto.ScheduleError, match="no schedule is called 'fastest'"):
        options_for("fastest")


def test_an_unproven_schedule_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that forgets every event ends in the proof, never in a result."""
    monkeypatch.setitem(PASSES, "sync", replace(PASSES["sync"], run=lambda k, *_: k))
    with pytest.raises(HazardError):
        schedule(SHIPPED["paged_attention"].trace())


def test_a_lost_value_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer slots than stages between write and read: well ordered, and wrong."""
    place = PASSES["place"].run

    def two_slots_each(k: Kernel, options: Options, judge: Judge) -> Kernel:
        placed = place(k, options, judge)
        return replace(
            placed, buffers=tuple(replace(b, depth=min(b.depth, 2)) for b in placed.buffers)
        )

    monkeypatch.setitem(PASSES, "place", replace(PASSES["place"], run=two_slots_each))
    with pytest.raises(AssertionError, match="stores another value than was traced"):
        schedule(maximum_kept.trace())


@cache
def usual_stages(name: str) -> dict[str, Kernel]:
    """Of a shipped kernel or a form under the default schedule, by pass."""
    kernel = FORMS[name] if name in FORMS else SHIPPED[name]
    return dict(stages(kernel.trace(), Options()))


@pytest.mark.parametrize("op", ["mul", "exp", "where", "row_max", "matmul", "move", "push_data"])
def test_reading_another_slot_is_noticed(op: str) -> None:
    made = usual_stages("paged_attention")
    rows = [r for r in all_rows(made["sync"].body) if r.op == op]
    tried = 0
    for row in rows:
        for j, a in enumerate(row.args):
            if isinstance(a, Ref) and a.index is not None:
                args = (
                    *row.args[:j],
                    replace(a, index=binary("+", a.index, Const(1))),
                    *row.args[j + 1 :],
                )
                body = map_rows(
                    made["sync"].body,
                    lambda r, row=row, args=args: replace(r, args=args) if r is row else r,
                )
                tried += 1
                with pytest.raises(AssertionError):
                    same_values(made["persist"], replace(made["sync"], body=body))
    assert tried


# --------------------------------------------------------------------- recurrences, other shapes


@pto.kernel(
    grid="items",
    x="f32[total, 32]",
    w="bf16[32, 32]",
    steps="i32[items]",
    out="f32[total, 32]",
)
def recurrence(x: Tensor, w: Tensor, steps: Tensor, out: Tensor) -> None:
    """y = tanh-like(y @ w), step by step: nothing to overlap, both cores in every step."""
    item = pto.program_id(0)
    weights = pto.load(w[:, :])

    def step(i: Scalar, y: Tile) -> Tile:
        z = y.astype("bf16") @ weights
        return z / (pto.exp(-z) + 1.0)

    y = pto.fori_loop(0, steps[item], step, pto.load(x[pto.ds(item * 16, 16), :]))
    pto.store(out[pto.ds(item * 16, 16), :], y)


@pytest.mark.parametrize("lookahead", [0, 1, 2, 3])
def test_a_recurrence_through_both_cores(lookahead: int) -> None:
    import ml_dtypes

    traced = recurrence.trace()
    plan = schedule(traced, options_for("best", lookahead=lookahead))
    assert check(plan.kernel).ok
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.standard_normal((80, 32), np.float32),
        "w": rng.standard_normal((32, 32), np.float32).astype(ml_dtypes.bfloat16),
        "steps": np.array([0, 3, 1, 5, 2], np.int32),
    }
    assert same_bits(traced, plan.kernel, arrays)


@pto.kernel(grid="items", x="f32[total, 64]", rounds="i32[items]", out="f32[total, 64]")
def nested(x: Tensor, rounds: Tensor, out: Tensor) -> None:
    """A loop in a loop: the inner one is pipelined, the outer one is not."""
    item = pto.program_id(0)

    def outer(i: Scalar, total: Tile) -> Tile:
        def inner(j: Scalar, part: Tile) -> Tile:
            return part * 0.5 + pto.load(x[pto.ds((item + j) * 16, 16), :])

        part = pto.fori_loop(0, rounds[item], inner, pto.zeros((16, 64)))
        return total + part * part

    total = pto.fori_loop(0, 3, outer, pto.zeros((16, 64)))
    pto.store(out[pto.ds(item * 16, 16), :], total)


@pytest.mark.parametrize("plan", NAMED)
def test_nested_loops(plan: str) -> None:
    traced = nested.trace()
    program = schedule(traced, plan).kernel
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.standard_normal((80, 64), np.float32),
        "rounds": np.array([2, 0, 1, 2, 1], np.int32),
    }
    assert same_bits(traced, program, arrays)


# ------------------------------------------------------------------- carries, where they go


@pto.kernel(
    grid="n", x="bf16[n, 16, 16]", w="bf16[pages, 16, 16]", lens="i32[n]", out="f32[n, 16, 16]"
)
def maximum_kept(x: Tensor, w: Tensor, lens: Tensor, out: Tensor) -> None:
    """Both carries of a two-stage recurrence are needed behind the loop."""
    i = pto.program_id(0)
    q = pto.load(x[i, :, :])

    def body(j: Scalar, carry: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        p, m = carry
        page = pto.load(w[j, :, :])
        y = q @ page
        m_new = pto.maximum(m, pto.row_max(y))
        alpha = pto.exp(m - m_new)
        o = pto.exp(y - m_new).astype("bf16") @ page
        return p * alpha + o, m_new

    start = pto.zeros((16, 16)), pto.full((16, 1), -10.0)
    p, m = pto.fori_loop(0, lens[i], body, start)
    pto.store(out[i, :, :], p - m)


@pto.kernel(grid="n", x="f32[n, 16, 16]", lens="i32[n]", out="f32[n, 8, 16, 16]")
def every_step_stored(x: Tensor, lens: Tensor, out: Tensor) -> None:
    """A carry leaves the core in every iteration."""
    i = pto.program_id(0)

    def body(j: Scalar, c: Tile) -> Tile:
        c = c * 0.5
        pto.store(out[i, j, :, :], c)
        return c

    pto.fori_loop(0, lens[i], body, pto.load(x[i, :, :]))


@pto.kernel(grid="n", x="f32[n, 16, 16]", lens="i32[n]", out="f32[n, 16, 16]")
def empty_inside(x: Tensor, lens: Tensor, out: Tensor) -> None:
    """An inner loop that is empty in a later outer iteration."""
    i = pto.program_id(0)
    a = pto.exp(pto.load(x[i, :, :]) * 0.5)

    def outer(j: Scalar, t: Tile) -> Tile:
        def inner(k: Scalar, c: Tile) -> Tile:
            return c * 0.5 + a

        return t * 0.5 + pto.fori_loop(0, lens[j], inner, pto.zeros((16, 16)))

    pto.store(out[i, :, :], pto.fori_loop(0, lens[i], outer, pto.zeros((16, 16))))


@pytest.mark.parametrize("plan", NAMED)
@pytest.mark.parametrize("kernel", [maximum_kept, every_step_stored, empty_inside])
def test_where_carries_go(kernel: pto.Kernel, plan: str) -> None:
    import ml_dtypes

    traced = kernel.trace()
    program = schedule(traced, plan).kernel
    rng = np.random.default_rng(0)
    lens = np.array([0, 2, 1, 4, 3], np.int32)
    arrays: dict[str, Any] = {"x": rng.uniform(-1, 1, (5, 16, 16)).astype(np.float32), "lens": lens}
    if kernel is maximum_kept:
        arrays["x"] = arrays["x"].astype(ml_dtypes.bfloat16)
        arrays["w"] = rng.uniform(-1, 1, (8, 16, 16)).astype(ml_dtypes.bfloat16)
    assert same_bits(traced, program, arrays)


# ------------------------------------------------------------------------------------- shapes


@pytest.mark.sweep
@pytest.mark.parametrize("plan", NAMED)
@pytest.mark.parametrize("lookahead", [1, 2, 3])
def test_every_shape_of_paged_attention_is_proven(plan: str, lookahead: int) -> None:
    """Heads per key/value head, head sizes, blocks, tiles, one and several key/value heads."""
    options = options_for(plan, lookahead=lookahead)
    for group in (1, 4, 8, 16, 32, 64, 128):
        for kv_heads in (1, 2):
            for dim in (64, 128):
                for block in (16, 32, 64, 128):
                    for q_tile in (16, 64):
                        statics = dict(
                            heads=group * kv_heads,
                            kv_heads=kv_heads,
                            dim=dim,
                            block=block,
                            q_tile=q_tile,
                        )
                        traced = SHIPPED["paged_attention"].trace(**statics)
                        plan_made = schedule(traced, options)
                        assert plan_made.proof.ok, statics
                        few_ids(plan_made.kernel)


@pytest.mark.parametrize("plan", NAMED)
@pytest.mark.parametrize("lookahead", [1, 2, 3])
def test_what_one_stage_updates_has_one_slot(plan: str, lookahead: int) -> None:
    """However far the others run ahead; with more, the largest tiles would not fit."""
    traced = SHIPPED["paged_attention"].trace(heads=128, q_tile=64)
    kernel = schedule(traced, options_for(plan, lookahead=lookahead)).kernel
    assert next(b.depth for b in kernel.buffers if b.name == "acc") == 1


@pytest.mark.parametrize("dtype", ["bf16", pytest.param("f16", marks=pytest.mark.sweep)])
@pytest.mark.parametrize(
    "statics",
    [
        dict(heads=1, dim=64, block=16),
        dict(heads=8, kv_heads=2, q_tile=16),
        dict(heads=64, q_tile=64, block=64),
        dict(heads=128, q_tile=64),
        dict(heads=256, kv_heads=2, q_tile=16, block=32),
    ],
)
def test_shapes_are_proven(statics: dict[str, int], dtype: str) -> None:
    for plan in NAMED:
        traced = SHIPPED["paged_attention"].trace(**statics, dtype=dtype)
        made = schedule(traced, plan)
        assert made.proof.ok
        few_ids(made.kernel)


OTHER_CHOICES = {
    "lookahead": 1,
    "prefetch": 0,
    "load_at": "after_push",
    "moves": "late",
    "record": "at_push",
    "fence": "dsb",
    "local_depth": 1,
    "l0_depth": 1,
    "fifo_depth": 8,
    "credit": "always",
    "flat": False,
    "loops": "kept",
    "rows_at": "alap",
}


@pytest.mark.parametrize("option", OTHER_CHOICES)
def test_a_pass_reads_the_options_that_it_says(option: str) -> None:
    """The first pass that says so is the first whose result another choice changes."""
    name = "gemm, two levels" if option == "loops" else "paged_attention"
    traced = (FORMS[name] if name in FORMS else SHIPPED[name]).trace()
    usual = usual_stages(name)
    changed = dict(stages(traced, replace(Options(), **{option: OTHER_CHOICES[option]})))
    first = next(name for name in PASSES if changed[name] != usual[name])
    assert first == next(name for name in PASSES if option in PASSES[name].reads)
    assert set(OTHER_CHOICES) == set(Options().choices)


@pytest.mark.parametrize("moves", ["early", "late"])
def test_what_the_vector_core_cuts_is_no_operand_of_a_product(moves: str) -> None:
    """Moves to L0 may stand right before their products; a part of a tile in UB stays in front of what reads it."""

    @pto.kernel(grid="n", x="f16[n, rows, 32]", w="f16[32, 32]", out="f32[n, 32, 32]")
    def rolled(x: Tensor, w: Tensor, out: Tensor) -> None:
        b = pto.program_id(0)
        right = pto.load(w[:, :])

        def step(i: Scalar, total: Tile) -> Tile:
            s = pto.load(x[b, pto.ds(i * 32, 32), :]) @ right
            return total + pto.concat([s[:, 8:], s[:, :8]], axis=1)

        total = pto.fori_loop(0, x.shape[1] // 32, step, pto.zeros((32, 32)))
        pto.store(out[b, :, :], total)

    made = schedule(rolled.trace(), options_for("best", moves=moves)).kernel
    seen: set[str] = set()
    for row in all_rows(made.body):
        if row.op == "concat":
            assert {x.name for x in row.args if isinstance(x, Ref)} <= seen
        if row.op == "part":
            assert row.pipe == "V"
            seen.add(row.result(Ref).name)
    assert seen
