"""What others measured beside the simulator: the table, the fit of ``device``, what its fields do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from functools import partial
from math import ceil
from typing import Any

import pytest

from lowering.bench import fit, micro, published
from lowering.cli import main
from lowering.simulate import Setup, simulate
from lowering.simulate.costs import Cost, Shared, cost_of
from lowering.simulate.launch import bytes_per_cycle, launch
from lowering.simulate.timing import Bandwidth
from pto.ir import Kernel, all_rows
from pto.targets import Costs
from pto.targets.a2a3 import A2A3, DEVICE, FIT, FLAT, device
from tests.simulate.timed import GoldenText, check_accounts, check_critical_path

ROUND: Costs = device(
    dict(
        dma_start=10,
        run=5,
        ub_rate=64,
        l1_rate=128,
        store_rate=32,
        flight=200,
        near=50,
        in_flight=100,
        granule=1.5,
        hbm=1.5,
        l2=6,
        launch=20000,
        vector_start=24,
        mad_head=21,
        mad_flight=60,
        move_start=28,
        drain_rate=128,
        issue=1,
        signal=400,
        signal_turn=30,
        wait=1,
    )
)
"""Numbers for a reckoning by hand."""

SMALL = micro.addition(1, 4096, (0, 32768, 65536))


@pytest.mark.sweep
def test_what_is_printed(golden: GoldenText, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--published"]) == 0
    golden("sweep/published.txt", capsys.readouterr().out)


@pytest.mark.parametrize(
    "rows", [published.COPIES[:3], pytest.param(published.ROWS, marks=pytest.mark.sweep)], ids=len
)
def test_a_table_of_another_name(
    rows: tuple[published.Measured, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(published, "lines", partial(published.lines, rows=rows))
    assert main(["bench", "--published", "--costs", "flat"]) == 0
    assert "costs flat" in capsys.readouterr().out.splitlines()[0]
    assert main(["bench", "--published", "--costs", "dear"]) == 2
    assert "has no costs 'dear'" in capsys.readouterr().err


def test_every_published_row_is_at_its_place() -> None:
    """Rows of one program and one share of L2 differ in what was measured; numbers are positive."""
    for row in published.ROWS:
        assert row.trips > 0 and row.micros, row
        assert row.hits is None or 0 <= row.hits <= 1 <= row.readers
        assert all(t > 0 for t in row.micros.values())
    told = [(row.row, row.what) for row in published.ROWS]
    assert len(set(told)) == len(told)


def test_the_unsaid_part_of_a_row_lies_on_a_line() -> None:
    """Sixteen trips and the line through eight and sixteen end at the same cycle."""
    row = replace(published.ROWS[0], trips=16, micros={published.TASK: 1, "vector0 MTE2": 1})
    whole = launch(row.kernel, [16] * 24, Setup(DEVICE, hits=0), 24).makespan
    found = published.predicted(row, DEVICE)[published.TASK]
    assert found == pytest.approx(whole / DEVICE.clock_hz * 1e6)


def cost(kernel: Kernel, op: str, table: Costs = ROUND) -> Cost:
    return next(cost_of(r, kernel, table) for r in all_rows(kernel.body) if r.op == op)


def test_a_transfer_costs_by_its_shape() -> None:
    """64 runs of 128 bytes take 5 cycles each, not 2; one run of 8 KiB goes byte by byte."""
    apart, together = micro.copies("ub", 64, 64), SMALL
    assert cost(apart, "load") == Cost(10 + 64 * 5, 10 + 64 * 5 + 200, 8192, 8192)
    assert cost(together, "load") == Cost(10 + 8192 // 64, 10 + 8192 // 64 + 200, 8192, 8192)
    assert cost(together, "store") == Cost(10 + 8192 // 32, 10 + 8192 // 32, 8192, 8192, True)
    whole_rows = micro.copies("ub", 64, 64, 64)  # all columns: 64 rows are one run
    assert cost(whole_rows, "load").occupies == 10 + 8192 // 64


def test_a_row_of_boxes_is_a_run_of_its_own() -> None:
    """A tile in L1 or L0C lies otherwise than in GM, so that whole rows do not join."""
    assert cost(micro.copies("l1", 64, 64, 64), "load").occupies == 10 + 64 * 5
    assert cost(micro.product(128, 256, 64, 1, "f16"), "store").occupies == 164 + 570  # 128 * 4.45
    assert cost(micro.product(128, 256, 64, 1), "store").occupies == 164 + 128 * 1024 // 128


def test_a_row_that_is_not_aligned_takes_a_granule_more() -> None:
    """Rows of 2 KB and of 512 bytes that begin anywhere, in granules of 512; 128 bytes may lie in two."""
    at_any_byte = [(2 * at + 128 > 512) + 1 for at in range(256)]
    wants = {1024: 5 / 4, 256: 2, 64: sum(n for n in at_any_byte) / 256}
    for cols, want in wants.items():
        for space in ("ub", "l1"):
            aligned, off = (
                cost(micro.copies(space, 64, cols, width), "load") for width in (12288, 12287)
            )
            assert aligned.asked_bytes == aligned.tensor_bytes == off.tensor_bytes
            assert off.asked_bytes / off.tensor_bytes == pytest.approx(want, rel=0.01)


def test_a_product_is_there_later_than_the_next_one_may_start() -> None:
    assert cost(micro.product(64, 64, 64, 1), "matmul") == Cost(21 + 64, 60 + 64)


def test_what_l2_has_sets_out_sooner() -> None:
    (row,) = all_rows(micro.copies("ub", 64, 64).body)
    kernel, parts = micro.copies("ub", 64, 64), (0, 0.5, 1)
    found = [cost_of(row, kernel, ROUND, Shared(part)).latency for part in parts]
    assert found == [10 + 64 * 5 + flight for flight in (200, 125, 50)]


def test_repeats_that_meet_in_a_bank_take_twice_as_long() -> None:
    """Operands half a row of the groups apart do not meet; a result one block behind an operand does with
    what is read next, unless it lies in another bank."""
    apart, meet = Cost(24 + 64, 24 + 64), Cost(24 + 128, 24 + 128)
    assert cost(micro.additions(0, 0x10100, 0x20000), "add") == apart
    assert cost(micro.additions(0, 0x10100, 0x10100), "add") == apart
    assert cost(micro.additions(0, 0x4100, 0x8020), "add") == meet
    assert cost(micro.additions(0, 0x4100, 0x10020), "add") == apart
    for b in (0x4000, 0x10000, 0x10020, 0x100E0):
        assert cost(micro.additions(0, b, 0x20000), "add") == meet


def test_a_store_lets_loads_go_first_and_its_pipe_goes_on_without_the_memory() -> None:
    """Both lanes load 2 * 8 KB twice and store in between, at 16 bytes a cycle: the second loads start with
    the first stores and are through before them."""
    setup = Setup(ROUND, bandwidth=Bandwidth(((0, 16.0),)))
    t = simulate(SMALL, [2], setup)
    check_accounts(t)
    loads = sorted({s.end for s in t.spans if s.row.op == "load"})
    stores = [s for s in t.spans if s.row.op == "store" and s.unit == "vector0 MTE3"]
    tile = 2 * 8192 // 16  # of both lanes
    assert stores[0].start - loads[1] == 24 + 2 * 32 and loads[3] - stores[0].start == 2 * tile
    assert stores[0].end - stores[0].start == 10 + 8192 // 32
    second = [s for s in t.spans if s.unit == "vector0 V"][1]
    assert second.start == loads[3] + tile  # once the result of the first is there
    usage = t.pipes["vector0 MTE3"]
    assert usage.busy == 2 * (10 + 8192 // 32) and usage.stall["memory"] == tile


def test_the_first_byte_is_on_its_way_while_the_memory_moves_others() -> None:
    setup = Setup(ROUND, bandwidth=Bandwidth(((0, 16.0),)))
    t = simulate(micro.copies("ub", 64, 64), [1], setup)
    assert {s.end - s.start for s in t.spans} == {2 * 8192 // 16}


def test_what_l2_has_comes_at_its_rate() -> None:
    kernel = micro.copies("ub", 64, 1024)
    (row,) = all_rows(kernel.body)
    size = cost(kernel, "load").tensor_bytes
    asked = [cost_of(row, kernel, ROUND, Shared(h)).asked_bytes for h in (0, 0.5, 1)]
    assert [1.5e12 * size / a for a in asked] == pytest.approx([1.5e12, 2.4e12, 6e12])
    for hits, part in zip((0, 0.5, 1), asked, strict=True):
        found = launch(kernel, [64] * 24, Setup(ROUND, hits=hits))
        assert found.bounds["HBM"] == ceil(48 * 64 * part / bytes_per_cycle(kernel, found.setup))


def test_runs_from_hbm_are_as_many_as_are_in_flight() -> None:
    """Of 200 cycles to HBM at most 100 pieces are on their way: two cycles each, where a run takes less."""
    short = replace(ROUND, run={})
    (row,) = all_rows(micro.copies("l1", 256, 64).body)
    kernel = micro.copies("l1", 256, 64)
    found = [cost_of(row, kernel, short, Shared(hits)).occupies for hits in (0, 1)]
    assert found == [10 + 256 * 2, 10 + 256 * 128 // 128]


def test_a_launch_begins_late() -> None:
    kernel = micro.copies("ub", 64, 1024)
    late = launch(kernel, [4] * 24, Setup(ROUND)).makespan
    assert late - launch(kernel, [4] * 24, Setup(replace(ROUND, launch=0))).makespan == 20000


def test_other_tables_do_not_know_the_new_fields() -> None:
    """Their values there are the neutral ones, so that these tables say what they said before."""
    new = [f.name for f in fields(Costs) if (f.default, f.default_factory) != (MISSING, MISSING)]
    assert new == [
        "run",
        "flight",
        "near",
        "granule_bytes",
        "granule_cycles",
        "in_flight",
        "write_back",
        "mad_flight",
        "vector_head",
        "conflict",
        "l2_bytes_per_second",
        "l2_bytes",
        "launch",
        "signal",
        "signal_turn",
        "queue_depths",
        "zeros",
        "wait",
    ]
    for name, table in A2A3.costs.items():
        same = [f for f in new if getattr(table, f) == getattr(Costs(**without(table, new)), f)]
        assert (same == new) == (name != "device")


def without(table: Costs, names: list[str]) -> dict[str, Any]:
    return {f.name: getattr(table, f.name) for f in fields(Costs) if f.name not in names}


def test_every_cycle_is_accounted_for() -> None:
    for row in published.ROWS:
        t = simulate(row.kernel, [5, 0, 3], Setup("device"))
        check_accounts(t)
        check_critical_path(t)


def test_the_table_is_the_one_of_the_fit() -> None:
    assert set(FIT) == set(fit.GRAINS) == set(fit.START) and device(FIT) == DEVICE != FLAT


@pytest.mark.sweep
def test_no_step_of_one_unknown_is_better() -> None:
    """The numbers in the table are where the fit ends."""
    assert fit.fitted(published.ROWS, FIT, (1,)) == dict(FIT)


def test_the_fit_is_the_same_every_time() -> None:
    few = published.COPIES[:3]
    found = [fit.fitted(few, fit.START, (4,)) for _ in range(2)]
    assert found[0] == found[1] != dict(fit.START)


def test_the_command_of_the_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each unknown, and what the table has instead; then how far off it is, and for rows left out."""
    few = published.COPIES[:3]
    monkeypatch.setattr(fit, "ROWS", few)
    fit.main()
    *told, whole, unseen = capsys.readouterr().out.splitlines()
    found = fit.fitted(few)
    assert [line.split()[0] for line in told] == list(FIT)
    for line, (name, value) in zip(told, found.items(), strict=True):
        other = "" if value == FIT[name] else f"a2a3.py has {FIT[name]:g}"
        assert line.split()[1] == f"{value:g}" and line.endswith(other or line), line
    figures = sum(len(row.micros) for row in few)
    assert whole.startswith(f"all rows: {figures} figures, median error")
    assert unseen.startswith(f"rows that the fit has not seen: {figures} figures")


NUMBERS = {
    n
    for first, last in (
        (1, 8),
        (10, 21),
        (23, 30),
        (32, 39),
        (41, 50),
        (52, 56),
        (58, 62),
        (64, 77),
    )
    for n in range(first, last + 1)
}
"""Of the rows of the list."""


COMPARED = {int(re.sub(r"\D.*", "", row.row)) for row in published.ROWS}


def numbers(rows: str) -> Iterator[int]:
    for part in re.split(" of | but ", rows)[0].split(", "):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def test_every_row_of_the_list_is_compared_or_left_out_with_a_reason() -> None:
    left_out = {n for rows, why in published.UNSAID if why for n in numbers(rows)}
    assert COMPARED | left_out >= NUMBERS


def test_every_row_has_one_source() -> None:
    found = [
        n for rows, chip, source in published.SOURCES if chip and source for n in numbers(rows)
    ]
    assert len(set(found)) == len(found) and set(found) >= COMPARED


@pytest.mark.sweep
def test_the_fit_finds_the_table() -> None:
    """From what documents say, and by a fit to the other rows."""
    errors = fit.Errors()
    assert fit.fitted(published.ROWS, errors=errors) == dict(FIT)
    found = [e for each in fit.unseen(published.ROWS, FIT, errors) for e in each]
    print(published.summary(found))
