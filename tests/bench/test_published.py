"""What others measured beside the simulator: the table, the fit of ``device``, what its fields do."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import Any

import pytest

from lowering.bench import fit, micro, published
from lowering.cli import main
from lowering.simulate import Setup, simulate
from lowering.simulate.costs import Cost, cost_of
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
        hbm=1.5,
        l2=6,
        launch=20000,
        vector_start=24,
        mad_head=21,
        move_start=28,
        drain_rate=128,
    )
)
"""Numbers for a reckoning by hand."""


def test_what_is_printed(golden: GoldenText, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--published"]) == 0
    golden("cli/published.txt", capsys.readouterr().out)


def test_a_table_of_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--published", "--costs", "flat"]) == 0
    assert "costs flat" in capsys.readouterr().out.splitlines()[0]
    assert main(["bench", "--published", "--costs", "dear"]) == 2
    assert "has no costs 'dear'" in capsys.readouterr().err


def test_every_published_row_is_at_its_place() -> None:
    """Rows of one program and one share of L2 differ in what was measured; numbers are positive."""
    for row in published.ROWS:
        assert row.trips > 0 and row.micros and 0 <= row.hits <= 1, row
        assert all(t > 0 for t in row.micros.values())
    told = [(row.row, row.what) for row in published.ROWS]
    assert len(set(told)) == len(told)


def test_the_unsaid_part_of_a_row_lies_on_a_line() -> None:
    """Sixteen trips and the line through eight and sixteen end at the same cycle."""
    row = replace(published.ROWS[0], trips=16, micros={published.TASK: 1, "vector0 MTE2": 1})
    whole = launch(row.kernel, [16] * 24, Setup(DEVICE), 24).makespan
    found = published.predicted(row, DEVICE)[published.TASK]
    assert found == pytest.approx(whole / DEVICE.clock_hz * 1e6)


def cost(kernel: Kernel, op: str, table: Costs = ROUND) -> Cost:
    return next(cost_of(r, kernel, table) for r in all_rows(kernel.body) if r.op == op)


def test_a_transfer_costs_by_its_shape() -> None:
    """64 runs of 128 bytes take 5 cycles each, not 2; one run of 8 KiB goes byte by byte."""
    apart, together = micro.copies("ub", 64, 64), micro.addition(1, 4096)
    assert cost(apart, "load") == Cost(10 + 64 * 5, 10 + 64 * 5 + 200, 8192)
    assert cost(together, "load") == Cost(10 + 8192 // 64, 10 + 8192 // 64 + 200, 8192)
    assert cost(together, "store") == Cost(10 + 8192 // 32, 10 + 8192 // 32, 8192, True)
    whole_rows = micro.copies("ub", 64, 64, 64)  # all columns: 64 rows are one run
    assert cost(whole_rows, "load").occupies == 10 + 8192 // 64


def test_a_row_of_boxes_is_a_run_of_its_own() -> None:
    """A tile in L1 or L0C lies otherwise than in GM, so that whole rows do not join."""
    assert cost(micro.copies("l1", 64, 64, 64), "load").occupies == 10 + 64 * 5
    assert cost(micro.product(128, 256, 64, 1, "f16"), "store").occupies == 164 + 570  # 128 * 4.45
    assert cost(micro.product(128, 256, 64, 1), "store").occupies == 164 + 128 * 1024 // 128


def test_operands_in_one_bank_group_take_twice_as_long() -> None:
    assert cost(micro.additions(32), "add") == Cost(24 + 64, 24 + 64)
    assert cost(micro.additions(0), "add") == Cost(24 + 128, 24 + 128)


def test_a_store_does_not_wait_for_the_memory_but_a_load_behind_it_does() -> None:
    kernel, memory = micro.addition(1, 4096), Bandwidth(((0, 16.0),))

    def timed(table: Costs) -> tuple[set[int], int]:
        t = simulate(kernel, [2], Setup(table, bandwidth=memory))
        check_accounts(t)
        stores = {s.end - s.start for s in t.spans if s.row.op == "store"}
        return stores, max(s.end for s in t.spans if s.row.op == "load")

    posted, waiting = timed(ROUND), timed(replace(ROUND, write_back=False))
    assert posted[0] == {10 + 8192 // 32} and max(waiting[0]) > 10 + 8192 // 32
    assert posted[1] >= 4 * 2 * 8192 // 16  # all that was asked for in front of it, of both lanes


def test_the_memory_moves_nothing_while_the_first_byte_is_on_its_way() -> None:
    setup = Setup(ROUND, bandwidth=Bandwidth(((0, 16.0),)))
    t = simulate(micro.copies("ub", 64, 64), [1], setup)
    assert {s.end - s.start for s in t.spans} == {200 + 2 * 8192 // 16}


def test_what_l2_has_comes_at_its_rate() -> None:
    kernel = micro.copies("ub", 64, 1024)
    rates = [bytes_per_cycle(kernel, Setup(ROUND, hits=h)) * ROUND.clock_hz for h in (0, 0.5, 1)]
    assert rates == pytest.approx([1.5e12, 2.4e12, 6e12])


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
        "write_back",
        "vector_head",
        "conflict",
        "bank_bytes",
        "l2_bytes_per_second",
        "launch",
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


def test_no_step_of_one_unknown_is_better() -> None:
    """The numbers in the table are where the fit ends."""
    assert fit.fitted(published.ROWS, FIT, (1,)) == dict(FIT)


def test_the_fit_is_the_same_every_time() -> None:
    few = published.COPIES[:3]
    found = [fit.fitted(few, fit.START, (4,)) for _ in range(2)]
    assert found[0] == found[1] != dict(fit.START)


@pytest.mark.sweep
def test_the_fit_finds_the_table() -> None:
    """From what documents say, and by a fit to the other rows."""
    errors = fit.Errors()
    assert fit.fitted(published.ROWS, errors=errors) == dict(FIT)
    print(published.summary(fit.unseen(published.ROWS, errors)))
