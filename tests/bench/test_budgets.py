"""The budgets of a compile: what is printed, and that what is measured runs.  Times are not asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from lowering.bench import budgets
from lowering.bench.budgets import BUDGETS, COMMANDS, UNIT


def test_a_budget_is_kept_or_missed() -> None:
    times = {name: [0.1, 0.3, 0.2] for name in COMMANDS}
    times[next(iter(BUDGETS))] = [0.02, 0.9, 0.1]
    title, warm, process = budgets.report(times).split("\n")
    assert title == "CPU time in imports of numpy, of 200 ms; medians of 3 rounds"
    assert warm.endswith(" 0.50  of at most 0.5: kept  (100 ms)")
    assert process.endswith(" 1.00  of at most 2.0: kept  (200 ms)")
    times[UNIT] = [0.05]
    assert [line.rstrip(")").split("  (")[0][-6:] for line in map(str, budgets.lines(times))] == [
        "missed"
    ] * 2


def test_every_command_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once per round, and once before; a process that prints its time is believed."""
    asked: list[str] = []

    def run(arguments: list[str], folder: object) -> tuple[float, str]:
        asked.append(arguments[1])
        return 1.0, "0.25\n" if arguments[1] == budgets.COMPILE else ""

    monkeypatch.setattr(budgets, "_run", run)
    times = budgets.measured(2)
    assert asked == [UNIT, budgets.COMPILE, "lowering"] * 3
    assert times == dict(zip(COMMANDS, ([1.0] * 2, [0.25] * 2, [1.0] * 2), strict=True))
    assert set(BUDGETS) == set(COMMANDS) - {UNIT}


def test_what_is_measured_runs(tmp_path: Path) -> None:
    compile(budgets.COMPILE, "COMPILE", "exec")
    seconds, printed = budgets._run(["-c", "import pto; print(1.5)"], tmp_path)
    assert printed == "1.5\n"
    assert seconds > 0
