"""Each pass on small kernels: what it makes of the program that it gets, as one text per pass; and what
all of them make of it under the other named options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise

import pytest

import pto
from lowering.ascend import emit
from lowering.hazards import Proof, check
from lowering.hazards.assumptions import READINGS
from lowering.schedule import FENCE, NAMED, PASSES, RECORD, options_for, schedule, stages
from lowering.schedule.passes.credit import credit
from lowering.schedule.passes.record import WAYS as RECORD_WAYS
from pto import ir
from pto.ir import Kernel
from pto.kernels import SHIPPED
from tests import difference
from tests.conftest import Golden
from tests.judges.mutants import without_events

NAMES = list(PASSES)


@pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, 64]", out="f32[rows, 64]")
def one_row(x, out):
    """One core, no loop: a load, two rows, a store."""
    here = pto.ds(pto.program_id(0) * 32, 32)
    pto.store(out[here, :], pto.exp(pto.load(x[here, :])) * 2.0)


@pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, steps, 64]", out="f32[rows, 64]")
def carried(x, out):
    """A tile carried through a loop of unknown length."""
    here = pto.ds(pto.program_id(0) * 32, 32)

    def step(i, most):
        return pto.maximum(most, pto.load(x[here, i, :]))

    start = pto.full((32, 64), 0.0)
    pto.store(out[here, :], pto.fori_loop(0, x.shape[1], step, start))


@pto.kernel(grid="cdiv(rows, 32)", x="bf16[rows, k]", y="bf16[k, 64]", out="f32[rows, 64]")
def product(x, y, out):
    """A product summed on the cube, and its relu on the vector core."""
    here = pto.ds(pto.program_id(0) * 32, 32)

    def step(i, total):
        at = pto.ds(i * 64, 64, valid=x.shape[1] - i * 64)
        return total + pto.load(x[here, at]) @ pto.load(y[at, :])

    start = pto.zeros((32, 64))
    total = pto.fori_loop(0, pto.cdiv(x.shape[1], 64), step, start)
    pto.store(out[here, :], pto.maximum(total, 0.0))


SMALL = {kernel.name: kernel for kernel in (one_row, carried, product)}


@lru_cache
def made(name: str) -> dict[str, Kernel]:
    """The program in front of the first pass, and behind each."""
    traced = SMALL[name].trace()
    return {"": traced, **dict(stages(traced, options_for("best")))}


@pytest.mark.parametrize("name", SMALL)
def test_traced(name: str, golden: Golden) -> None:
    golden(f"passes/{name}/0-traced.ptoir", pto.print_kernel(made(name)[""]))


@pytest.mark.parametrize("plan", [plan for plan in NAMED if plan != "best"])
@pytest.mark.parametrize("name", ["carried", "product"])
def test_other_options(name: str, plan: str, golden: Golden) -> None:
    (*_, (_, done)) = stages(made(name)[""], options_for(plan))
    golden(f"passes/{name}/{plan}.ptoir", pto.print_kernel(done, verbose=True))


@pytest.mark.parametrize("number", range(1, len(NAMES) + 1), ids=lambda k: NAMES[k - 1])
@pytest.mark.parametrize("name", SMALL)
def test_pass(name: str, number: int, golden: Golden) -> None:
    """The whole program, its lines marked - that the pass takes away and + that it adds."""
    before, after = (
        pto.print_kernel(made(name)[x], verbose=True) for x in ["", *NAMES][number - 1 : number + 1]
    )
    text = difference(before, after, NAMES[number - 1], beside=1000) or "nothing changes\n"
    golden(f"passes/{name}/{number}-{NAMES[number - 1]}.diff", text)


# -------------------------------------------------------------------------------------- record

WAYS = {
    "with_push": (0, 0),
    "at_push": (0, 0),
    "by_hand": (0, 0),
    "next_step": (1, 1),
}
"""How many steps behind its push a record stands, on the cube and on the vector core, where these look
ahead for a round trip."""


def test_the_option_names_what_the_pass_knows() -> None:
    assert tuple(RECORD_WAYS) == RECORD


@pytest.mark.parametrize("way", WAYS)
def test_records_behind_pushes(way: str) -> None:
    """Of every FIFO one record per push, behind it, and behind a drain of its pipe where there is one."""
    kernel = SHIPPED["paged_attention"].trace()
    made = dict(stages(kernel, options_for("best", record=way)))["record"]
    rows = list(ir.all_rows(made.body))
    pushes = {r.queue: r for r in rows if r.op in ("push", "push_data")}
    alone = {f for f, r in pushes.items() if r.op == "push_data"}
    cores = {"with_push": (), "by_hand": ("cube",)}.get(way, ir.CORES)
    assert alone == {f for f, r in pushes.items() if r.core in cores}
    records = {r.queue: k for k, r in enumerate(rows) if r.op == "record"}
    assert set(records) == alone
    for fifo, k in records.items():
        record, drain, push = rows[k], rows[k - 1], pushes[fifo]
        assert drain.op == "drain" and drain.args == (ir.Word(push.pipe),)
        assert (record.core, record.pipe, drain.shift) == (push.core, push.pipe, record.shift)
        assert push.shift - record.shift == WAYS[way][ir.CORES.index(push.core)]
        assert push.shift > record.shift or rows.index(push) < k


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_way_of_recording_is_proven(name: str, way: str) -> None:
    done = schedule(SHIPPED[name].trace(), options_for("best", record=way, lookahead=2))
    assert done.proof.ok


@pytest.mark.parametrize("way", ["at_push", "next_step"])
@pytest.mark.parametrize("name", ["paged_attention", "gemm"])
def test_behind_a_drain_no_signal_overtakes(name: str, way: str) -> None:
    """The signal of a push may overtake its data; but not with all of the drains."""
    kernel = schedule(SHIPPED[name].trace(), options_for("best", record=way, lookahead=1)).kernel
    assert check(kernel).ok
    rows = list(ir.all_rows(kernel.body))
    drains = [d for d, r in pairwise(rows) if d.op == "drain" and r.op == "record"]
    assert drains
    for drain in drains:
        without = ir.map_rows(kernel.body, lambda r, drain=drain: () if r is drain else r)
        less = replace(kernel, body=without)
        assert not check(without_events(less, {f.name for f in drain.wait})).ok
    by_itself = schedule(SHIPPED[name].trace(), options_for("best", record="with_push")).kernel
    assert check(by_itself, assume=["ordered-signals"]).ok
    assert not check(by_itself).ok


@pytest.mark.parametrize("way", WAYS)
def test_a_fence_stands_in_front_of_every_signal_of_a_push(way: str) -> None:
    """In the schedule and in the C++.  It decides nothing: the proof is the same without."""
    traced = SHIPPED["gemm"].trace()
    options = options_for("best", record=way, lookahead=1)
    bare, made = (dict(stages(traced, replace(options, fence=fence)))["credit"] for fence in FENCE)
    rows = list(ir.all_rows(made.body))
    signals = [(f, r) for f, r in pairwise(rows) if r.op == "record"]
    assert signals and not any(r.op == "push" for r in rows)
    for fence, signal in signals:
        assert (fence.op, fence.core, fence.pipe) == ("fence", signal.core, "S")
        assert fence.shift == signal.shift
    lines = (x.strip() for x in emit(made)["gemm.cpp"].splitlines())
    code = [x for x in lines if not x.startswith("//")]
    fences = [k for k, x in enumerate(code) if x == "dsb(DSB_DDR);"]
    assert [k + 1 for k in fences] == [k for k, x in enumerate(code) if x.startswith("signal(")]
    assert not any(r.op == "fence" for r in ir.all_rows(bare.body))
    for readings in ((), *((name,) for name in READINGS)):
        assert check(made, assume=readings).ok == check(bare, assume=readings).ok


# -------------------------------------------------------------------------------------- credit


@pytest.mark.parametrize(
    ("plan", "way"),
    [
        (plan, way)
        if plan == "best" or way == "with_push"
        else pytest.param(plan, way, marks=pytest.mark.sweep)
        for plan in NAMED
        for way in RECORD
    ],
)
def test_no_fifo_of_paged_attention_needs_free_signals(plan: str, way: str) -> None:
    """Rings are as deep as that takes: a slot less is a race of that FIFO."""
    traced = SHIPPED["paged_attention"].trace()
    usual = schedule(traced, options_for(plan, record=way, credit="always")).kernel
    bare = schedule(traced, options_for(plan, record=way, credit="needed")).kernel
    assert len(bare.fifos) == 3 and not any(f.credit for f in bare.fifos)
    assert sum("needs no free signals" in text for text in bare.notes) == 3
    assert (bare.body, bare.buffers, bare.events) == (usual.body, usual.buffers, usual.events)
    for fifo in (f for f in bare.fifos if f.depth > 1):
        less = replace(fifo, depth=fifo.depth - 1)
        fifos = tuple(less if f == fifo else f for f in bare.fifos)
        proof = check(replace(bare, fifos=fifos), assume=options_for(plan, record=way).assume)
        assert {v.buffer for v in proof.violations} == {f"fifo {fifo.name}"}


def test_free_signals_stay_where_nothing_comes_back() -> None:
    traced = SHIPPED["gemm"].trace()
    assert (
        schedule(traced, options_for(credit="needed")).kernel
        == schedule(traced, options_for(credit="always")).kernel
    )


def test_a_depth_that_is_asked_for_stays() -> None:
    traced = SHIPPED["paged_attention"].trace()
    for depth, given in ((3, True), (8, False)):
        asked = options_for(record="with_push", fifo_depth=depth, credit="needed")
        fifos = schedule(traced, asked).kernel.fifos
        assert {(f.depth, f.credit) for f in fifos} == {(depth, given)}


def test_a_fifo_leans_on_no_signals_that_are_gone() -> None:
    """The proof is asked of the whole kernel, at last one FIFO after the other: here it accepts two of three."""
    kernel = dict(stages(SHIPPED["paged_attention"].trace(), options_for()))["sync"]
    judge = Judge(lambda credits: Proof(sum(credits) > 0))
    done = credit(kernel, options_for(credit="needed", fifo_depth=3), judge)
    none, two, one = [False, False, False], [False, True, True], [False, False, True]
    assert judge.asked == [none, [True, True, True], two, one]
    assert [f.credit for f in done.fifos] == one
    assert [f.depth for f in done.fifos] == [f.depth for f in kernel.fifos]


def test_nothing_is_asked_again_of_what_takes_too_many_states() -> None:
    """Of a kernel that does with all of its free signals, nothing."""
    kernel = dict(stages(SHIPPED["paged_attention"].trace(), options_for()))["sync"]
    nothing = Judge(lambda credits: Proof(False, refused="not closed"))
    assert credit(kernel, options_for(), nothing).fifos == kernel.fifos
    assert nothing.asked == [[False, False, False], [True, True, True]]
    some = Judge(lambda credits: Proof(all(credits), refused="" if all(credits) else "not closed"))
    assert credit(kernel, options_for(), some).fifos == kernel.fifos
    one_less = [[n != k for n in range(3)] for k in range(3)]
    assert some.asked == [[False, False, False], [True, True, True], *one_less]


@dataclass
class Judge:
    """A slot is always enough; ``says`` what a proof says of a kernel, by its credits."""

    says: Callable[[list[bool]], Proof]
    asked: list[list[bool]] = field(default_factory=list)

    def slots(self, kernel: Kernel) -> dict[str, int]:
        return {f.name: 1 for f in kernel.fifos if not f.credit}

    def proof(self, kernel: Kernel) -> Proof:
        credits = [f.credit for f in kernel.fifos]
        if credits not in self.asked:
            self.asked.append(credits)
        return self.says(credits)
