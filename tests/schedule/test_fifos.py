"""Which hand-overs share a FIFO, and what is told when they cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest

import pto
from lowering.hazards import check
from lowering.hazards.proof import HazardError
from lowering.schedule import options_for, schedule, stages
from pto import ir
from tests.schedule.forms import FORMS


def kernel_of(count: int) -> ir.Kernel:
    """Products, each of a type of its own."""

    @pto.kernel(grid="n", x="bf16[n, 16, 16]", w="bf16[16, 512]", out="f32[n, 16, 512]")
    def products(x, w, out):
        b, at = pto.program_id(0), 0
        t = pto.load(x[b, :, :])
        for k in range(1, count + 1):
            cols = pto.ds(at, 16 * k)
            pto.store(out[b, :, cols], pto.exp(t @ pto.load(w[:, cols])))
            at += 16 * k

    return products.trace()


def test_tiles_of_different_types_cannot_share() -> None:
    assert len(schedule(kernel_of(5)).kernel.fifos) == 5
    with pytest.raises(pto.CapacityError) as told:
        schedule(kernel_of(6))
    text = str(told.value)
    assert "hands 6 tiles from core to core that cannot share a FIFO" in text
    assert "this is number 6" in text and "pto.exp(t @ pto.load(w[:, cols]))" in text


def test_as_few_are_shared_as_it_takes() -> None:
    made = each_told(FORMS["decode, four pages of 64"].trace())["fifos"]
    assert len(made.fifos) == 5
    shared = [n for n in made.notes if n.endswith("too: flags serve 5 FIFOs")]
    assert len(shared) == 4 and all(n.count("_fifo") == 2 for n in shared)


def each_told(traced: ir.Kernel) -> dict[str, ir.Kernel]:
    """After each pass, with a signal for every tile."""
    return dict(stages(traced, options_for(record="at_push")))


@pytest.mark.parametrize("form", ["decode, two pages of 64", "decode, four pages of 64"])
def test_one_signal_tells_of_all_tiles_of_a_step(form: str) -> None:
    """Of each direction, behind the last push and in front of every pop; the rest go without."""
    made = FORMS[form].made.kernel
    told = [f for f in made.fifos if f.signal]
    assert [f.direction for f in told] == ["c2v", "v2c", "c2v"]
    rows = list(ir.all_rows(made.body))
    assert {r.queue for r in rows if r.op == "record"} == {f.name for f in told}
    assert all(not f.credit for f in made.fifos if not f.signal)
    pages = dict(made.statics)["pages_a_step"]
    for leader in told[:2]:
        group = {f.name for f in made.fifos if f.direction == leader.direction} - {told[2].name}
        pops = [r.queue for r in rows if r.op == "pop" and r.queue in group]
        pushes = [r.queue for r in rows if r.op == "push_data" and r.queue in group]
        assert len(pops) == pages and pops[0] == pushes[-1] == leader.name
        assert pushes[:-1] == pops[1:] and leader.name not in pops[1:]


def test_a_signal_in_front_of_a_push_that_it_tells_of_is_found() -> None:
    """The proof finds out by itself what a signal tells of."""
    made = FORMS["decode, two pages of 64"].made.kernel
    (late,) = (f.name for f in made.fifos if not f.signal and f.direction == "c2v")

    def early(block: ir.Block) -> ir.Block:
        """Its pop in front of all others."""
        out = [replace(n, body=early(n.body)) if isinstance(n, ir.Loop) else n for n in block]
        pops = [k for k, n in enumerate(out) if isinstance(n, ir.Row) and n.op == "pop"]
        for k in pops:
            pop = out[k]
            if isinstance(pop, ir.Row) and pop.queue == late:
                out.insert(pops[0], out.pop(k))
        return tuple(out)

    wrong = replace(made, body=early(made.body))
    assert wrong != made
    proof = check(wrong)
    assert not proof.ok and {v.kind for v in proof.violations} & {"fifo", "RAW", "uninitialised"}


def test_what_is_popped_is_pushed_in_the_same_order() -> None:
    """Of every FIFO, in the text of a step."""
    passes = each_told(FORMS["decode, four pages of 64"].trace())
    before, made = passes["record"], passes["fifos"]
    rows = list(zip(ir.all_rows(before.body), ir.all_rows(made.body), strict=True))
    for fifo in made.fifos:
        orders = {
            op: [old.queue for old, new in rows if (new.op, new.queue) == (op, fifo.name)]
            for op in ("push_data", "record", "pop")
        }
        assert orders["push_data"] == orders["record"] == orders["pop"]


@pto.kernel(
    grid="n", x="bf16[n, 64, 64]", w="bf16[2, 64, 64]", steps="i32[n]", out="f32[n, 64, 64]"
)
def answered_elsewhere(x, w, steps, out):
    """A loop with two tiles a step to the vector core, which answers only in the next loop."""
    b = pto.program_id(0)
    t, ws = pto.load(x[b, :, :]), [pto.load(w[k, :, :]) for k in range(2)]

    def one_way(i, total):
        return total * 0.5 + pto.exp(t @ ws[0] * 0.1) * pto.exp(t @ ws[1] * 0.1)

    def there_and_back(i, total):
        return total + pto.exp(t @ ws[0] * 0.1).astype("bf16") @ ws[1]

    total = pto.fori_loop(0, steps[b], one_way, pto.zeros((64, 64)))
    pto.store(out[b, :, :], pto.fori_loop(0, steps[b], there_and_back, total))


def test_free_signals_of_one_fifo_keep_the_others_apart_too() -> None:
    """In a loop that nothing answers, the one with a signal has free signals."""
    made = schedule(answered_elsewhere.trace())
    assert made.proof.ok
    assert made.options.record == "next_step"
    (untold,) = (f for f in made.kernel.fifos if not f.signal)
    leader = next(f for f in made.kernel.fifos if f.credit)
    assert (untold.direction, untold.type) == (leader.direction, leader.type)


def test_where_that_is_not_proven_every_tile_has_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no ring could be long enough."""
    monkeypatch.setattr("lowering.schedule.passes.credit.most_slots", lambda *_: 1)
    made = schedule(answered_elsewhere.trace())
    assert made.proof.ok
    assert made.options.record == "next_step_each"
    assert all(f.signal for f in made.kernel.fifos)


@pto.kernel(grid="n", x="f32[n, 32, 32]", w="f16[32, 32]", out="f32[n, 8, 32, 32]")
def mixed(x: pto.Tensor, w: pto.Tensor, out: pto.Tensor) -> None:
    """Eight tiles of one type to the cube, in turns shared by rows and by columns: more than there are flags."""
    n, weight = pto.program_id(0), pto.load(w[:, :])
    for k in range(4):
        for side, largest in enumerate((pto.row_max, pto.col_max)):
            a = pto.load(x[n, :, :])
            scaled = (a - largest(a) * (k + 1.0)).astype("f16")
            pto.store(out[n, 2 * k + side, :, :], scaled @ weight)


def test_tiles_that_lanes_share_in_other_ways_share_no_fifo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pipe finds a lane's part of a slot in one way."""
    traced = mixed.trace()
    program = schedule(traced).kernel
    shares: dict[str, set[str]] = {}
    for row in ir.all_rows(program.body):
        if row.queue and row.core == "vector" and row.op.startswith("push"):
            tile = row.operand(ir.Ref).name
            shares.setdefault(row.queue, set()).add(program.buffer(tile).type.share)
    assert len(shares) < 8 and sorted(map(sorted, shares.values()))[0] == ["cols"]
    assert all(len(found) == 1 for found in shares.values())
    monkeypatch.setattr("lowering.schedule.passes.fifos.shared_by", lambda row, types: "")
    with pytest.raises(HazardError, match="lanes push"):
        schedule(traced)


def test_what_is_made_in_place_of_a_tile_that_loops_share_is_read_in_its_step() -> None:
    """Loops one after the other pop into one local slot: the first of them, too, keeps nothing there for a later
    step."""

    @pto.kernel(
        grid="n", q="bf16[n, 32, 32]", k="bf16[tokens, 32]", lens="i32[n]", out="f32[n, 32, 32]"
    )
    def read_twice(q, k, lens, out):
        b = pto.program_id(0)
        rows, acc = pto.load(q[b, :, :]), pto.zeros((32, 32))

        def one_block(i, acc):
            keys = pto.load(k[pto.ds(i * 32, 32), :])
            scores = (rows @ keys.T) * 0.5
            return acc + scores.astype("bf16") @ keys * scores

        for _ in range(3):
            acc = pto.fori_loop(0, lens[b], one_block, acc)
        pto.store(out[b, :, :], acc)

    made = schedule(read_twice.trace()).kernel
    assert "scores_matmul_fifo takes scores_matmul_2_fifo, scores_matmul_3_fifo too" in str(
        made.notes
    )


def test_what_a_loop_starts_from_shares_no_fifo() -> None:
    """It lies where the loop carries it, so it is not in the local ring of the others."""

    @pto.kernel(
        grid="n", x="bf16[n, 32, 32]", w="bf16[6, 32, 32]", lens="i32[n]", out="f32[n, 32, 32]"
    )
    def starts(x, w, lens, out):
        b = pto.program_id(0)
        rows = pto.load(x[b, :, :])
        first, beside = rows @ pto.load(w[0, :, :]), rows @ pto.load(w[1, :, :])
        acc = pto.fori_loop(0, lens[b], lambda i, acc: pto.exp(acc), first) + beside
        for k in range(2, 6):
            acc = pto.exp(acc + rows @ pto.load(w[k, :, :]))
        pto.store(out[b, :, :], acc)

    made = schedule(starts.trace()).kernel
    assert "acc_matmul_fifo takes acc_matmul_2_fifo too: flags serve 5 FIFOs" in made.notes
