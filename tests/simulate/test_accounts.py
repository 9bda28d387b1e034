"""Every cycle of every unit is accounted for, and what more of something can never do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from lowering.schedule import NAMED
from lowering.simulate import Machine, Setup, simulate
from lowering.simulate.costs import COPIES, cost_of
from lowering.simulate.timing import Span
from pto.ir import all_rows
from pto.kernels import SHIPPED
from pto.ops import OPS
from pto.targets.a2a3 import A2A3
from tests.simulate.timed import (
    check_accounts,
    check_critical_path,
    original,
    scheduled,
)

COSTS = tuple(A2A3.costs)

RAGGED = (3, 0, 1, 5)

NAMES = [(kernel, name) for kernel in SHIPPED for name in NAMED]

each_program = pytest.mark.parametrize(("kernel", "name"), NAMES)


@each_program
def test_every_cycle_is_accounted_for(kernel: str, name: str) -> None:
    program = scheduled(kernel, name)
    for costs in COSTS:
        for latency in (0, 700):
            t = simulate(program, RAGGED, Setup(costs, latency))
            check_accounts(t)
            check_critical_path(t)


@each_program
def test_a_longer_way_between_the_cores_never_helps(kernel: str, name: str) -> None:
    program = scheduled(kernel, name)
    found = [simulate(program, RAGGED, Setup("flat", c)).makespan for c in (0, 1, 100, 500, 1000)]
    assert found == sorted(found)
    assert (found[0] < found[-1]) == bool(program.fifos)


def test_a_deeper_queue_never_hurts() -> None:
    program = scheduled("paged_attention", "best")
    found = [simulate(program, [9], Setup(queue_depth=d)).makespan for d in (1, 2, 4, 8, 16, 64)]
    assert found == sorted(found, reverse=True) and found[0] > found[-1]


def test_the_same_program_gives_the_same_result() -> None:
    program = scheduled("paged_attention", "repair")
    assert simulate(program, RAGGED) == simulate(program, RAGGED)


def test_the_units_may_be_taken_in_any_order() -> None:
    """Each waits for what it does not know yet, so that only the numbers of the spans change."""
    program = scheduled("paged_attention", "best")
    machine = Machine(program, RAGGED, Setup())
    machine.scalars.reverse()
    machine.run()
    other, t = machine.timing(), simulate(program, RAGGED)
    assert dict(other.pipes) == dict(t.pipes)

    def in_time(spans: Sequence[Span]) -> list[tuple[str, int, int, str]]:
        return sorted((s.unit, s.start, s.end, s.why) for s in spans)

    assert in_time(other.spans) == in_time(t.spans)


def test_every_op_has_its_cost() -> None:
    """Each table knows every op of the vector pipe and every way that a move can take."""
    families = ("unary", "binary", "fill", "select", "expand", "order", "scan", "turn")
    vector = {op.name for op in OPS.values() if op.kind in families} - COPIES.keys()
    reductions = {op.name for op in OPS.values() if op.kind == "reduce" and op.along == "cols"}
    for table in A2A3.costs.values():
        assert {name for name, form in table.vector if not form} == vector
        assert set(table.reduction) == reductions


def test_costs_by_hand() -> None:
    """docs/machine.md 11.1 and 11.2, for the tiles of the reference kernel."""
    rows = {(r.op, str(r.out.name)): r for r in all_rows(original("drain").body) if hasattr(r.out, "name")}  # fmt: skip
    flat, published = A2A3.costs["flat"], A2A3.costs["published"]

    def cycles(op: str, out: str, table: Any = flat) -> tuple[int, int]:
        cost = cost_of(rows[op, out], original("drain"), table)
        return cost.occupies, cost.latency

    assert cycles("load", "k") == (419, 419)  # 32768 bytes / 78.36
    assert cycles("move", "q_a") == (17, 17)  # 4096 / 255.96
    assert cycles("move", "k_b") == (257, 257)  # 32768 / 127.98
    assert cycles("matmul", "s_c") == (70, 70)  # 6 + 1 * 8 * 8
    assert cycles("push_data", "sij") == (202, 202)  # 16 * 128 * 4 bytes / 40.63
    assert cycles("push_data", "sij", published) == (101, 101)
    assert cycles("pop", "s") == (70, 70)  # 4096 / 58.56
    assert cycles("exp", "s") == (32, 63)  # 16 repeats of 256 bytes: 31 + 2 * 16
    assert cycles("sub", "s") == (32, 56)
    assert cycles("row_sum", "rs") == (126, 126)  # 61.5 + 0.0625 * 1024
    assert cycles("row_sum", "rs", published) == (54, 54)  # 38 + 1 per repeat
    assert cycles("astype", "pb") == (16, 43)
