"""The unknowns of the cost table ``device``, fitted to what others measured; ``python -m lowering.bench.fit``.

In: the rows of ``published``.  Out: ``FIT`` of ``pto/targets/a2a3.py``, and what is said of a row by a fit
that has not seen it.  Each unknown is a multiple of its grain.  One at a time is moved as long as the mean
error falls, by sixteen, four grains, one; errors are absolute logarithms up to ``MOST``, so that a row that
no value of the unknowns explains pulls at none.  What signals and waits take is told by the rows that have
them, all else by the others, which are simpler.
Invariant: the same rows give the same figures.  Non-goals: the best of all minima.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

from lowering.bench.measured import Measured
from lowering.bench.published import (
    ROWS,
    Cycles,
    along,
    few,
    lines_of,
    shared_of,
    simulated,
    summary,
)
from lowering.simulate.costs import Cost, cost_of
from pto.ir import all_rows
from pto.targets import Costs
from pto.targets.a2a3 import FIT, device

Values = dict[str, float]

GRAINS: Mapping[str, float] = {
    "dma_start": 1,
    "run": 0.1,
    "ub_rate": 1,
    "l1_rate": 1,
    "store_rate": 0.5,
    "flight": 10,
    "near": 10,
    "in_flight": 2,
    "granule": 0.1,
    "hbm": 0.01,
    "l2": 0.1,
    "launch": 500,
    "vector_start": 1,
    "mad_head": 1,
    "mad_flight": 1,
    "move_start": 1,
    "drain_rate": 1,
    "issue": 1,
    "signal": 50,
    "signal_turn": 1,
    "wait": 10,
}
HANDED_OVER = ("issue", "signal", "signal_turn", "wait")
START: Mapping[str, float] = {
    "dma_start": 15,
    "run": 4,
    "ub_rate": 110,
    "l1_rate": 110,
    "store_rate": 30,
    "flight": 500,
    "near": 100,
    "in_flight": 90,
    "granule": 1.5,
    "hbm": 1.6,
    "l2": 6.0,
    "launch": 37000,
    "vector_start": 26,
    "mad_head": 21,
    "mad_flight": 60,
    "move_start": 28,
    "drain_rate": 118,
    "issue": 1,
    "signal": 500,
    "signal_turn": 20,
    "wait": 1,
}
"""Where the fit sets out: what documents, other fits or single rows say."""

MOST = 0.3
"""An error counts no more than this: what the model has no mechanism for pulls at nothing."""

STRIDES, ROUNDS = (16, 4, 1), 30
"""In grains; and how often all unknowns are looked at with each, if they do not come to rest before: not all
are told by the same rows."""

Key = tuple[object, ...]


class Errors:
    """Mean errors of rows by the unknowns; nothing is simulated twice."""

    def __init__(self) -> None:
        self.known: dict[Key, tuple[Cycles, Cycles, Cycles]] = {}

    def of(self, row: Measured, costs: Costs) -> list[float]:
        """Of every figure of a row; the simulation sees no more of a table than is in the key."""
        taken: tuple[Cost, ...] = tuple(
            cost_of(r, row.kernel, costs, shared_of(row, r, costs))
            for r in all_rows(row.kernel.body)
        )
        memory = costs.hbm_bytes_per_second, costs.l2_bytes_per_second, costs.launch, costs.issue
        signals = (costs.signal, costs.signal_turn, costs.wait) if row.kernel.fifos else ()
        work = id(row.kernel), row.cores, bool(row.inner), few(row)
        key = (*work, taken, memory, signals)
        if key not in self.known:
            self.known[key] = simulated(row, costs)
        return [line.error for line in lines_of(row, along(row, self.known[key], costs))]

    def mean(self, rows: Sequence[Measured], values: Mapping[str, float]) -> float:
        costs = device(values)
        return mean(min(abs(e), MOST) for row in rows for e in self.of(row, costs))


def fitted(
    rows: Sequence[Measured],
    start: Mapping[str, float] = START,
    strides: Sequence[int] = STRIDES,
    errors: Errors | None = None,
) -> Values:
    """The unknowns at which no step of one of them lowers the mean error of the rows that tell it."""
    errors = errors or Errors()
    values = dict(start)
    for stride in strides:
        for _ in range(ROUNDS):
            before = values
            for name in GRAINS:
                values = _settled(values, name, stride, told_by(name, rows), errors)
            if values == before:
                break
    return values


def _settled(
    values: Values, name: str, stride: int, telling: Sequence[Measured], errors: Errors
) -> Values:
    """One unknown moved by strides as long as the mean error of what tells it falls."""
    if not telling:
        return values
    best = errors.mean(telling, values)
    for step in (stride * GRAINS[name], -stride * GRAINS[name]):
        while (tried := _moved(values, name, step)) and (
            found := errors.mean(telling, tried)
        ) < best - 1e-9:
            values, best = tried, found
    return values


def told_by(name: str, rows: Sequence[Measured]) -> list[Measured]:
    """What tells an unknown: of a hand-over and its waits those of kernels on both kinds of core, of all
    else the others."""
    return [row for row in rows if bool(row.kernel.fifos) == (name in HANDED_OVER)]


def _moved(values: Values, name: str, step: float) -> Values | None:
    value = round(values[name] + step, 6)
    return values | {name: value} if value > 0 else None


def unseen(
    rows: Sequence[Measured], values: Mapping[str, float], errors: Errors
) -> Iterator[list[float]]:
    """Errors of each row by a fit to the others of its kind of core, from ``values`` on; rows of one number
    are left out together."""
    for number in dict.fromkeys(row.row for row in rows):
        left_out = [row for row in rows if row.row == number]
        both = bool(left_out[0].kernel.fifos)
        others = [row for row in rows if row not in left_out and bool(row.kernel.fifos) == both]
        costs = device(fitted(others, values, (4, 1), errors))
        yield [e for row in left_out for e in errors.of(row, costs)]


def main() -> None:
    errors = Errors()
    values = fitted(ROWS, errors=errors)
    for name, value in values.items():
        told = "" if FIT[name] == value else f"   pto/targets/a2a3.py has {FIT[name]:g}"
        print(f"  {name:<14}{value:>10g}{told}")
    costs = device(values)
    print(f"all rows: {summary([e for row in ROWS for e in errors.of(row, costs)])}")
    found = [e for each in unseen(ROWS, values, errors) for e in each]
    print(f"rows that the fit has not seen: {summary(found)}")


if __name__ == "__main__":
    main()
