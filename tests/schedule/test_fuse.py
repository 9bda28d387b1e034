"""The pass ``fuse``: which ops it takes up, that they gain something, and that the value check knows them."""

from __future__ import annotations

import pytest

import pto
from lowering.schedule import options_for, schedule, stages
from lowering.schedule.passes.fuse import PATTERNS, Pattern
from lowering.values.equivalence import difference
from pto import Tensor
from pto.errors import LegalityError
from pto.ir import Kernel, all_rows
from pto.legality import verify
from pto.ops import OPS
from pto.targets import TARGETS
from pto.text import parse, print_kernel

TAKEN = {
    "pto.relu(x - y)": 1,
    "pto.relu(pto.relu(x - y) - y)": 2,
    "pto.relu(x - y) + pto.relu(y - x)": 2,
    "pto.relu(x - column)": 0,
    "pto.relu(x - row)": 0,
    "pto.relu(x - 0.5)": 0,
    "pto.relu(x + y)": 0,
    "pto.relu((d := x - y)) + d": 0,
    "pto.fori_loop(0, 2, lambda i, t: pto.relu(t - x), y)": 1,
    "pto.relu((pto.fori_loop(0, 2, lambda i, t: t - x, y)))": 0,
    "pto.relu(whole - whole).astype('f32')": 0,
}
"""How often an expression over tiles, a column, a row and integers becomes a fused op."""


def made(text: str) -> Kernel:
    @pto.kernel(
        grid="1", a="f32[16, 32]", b="f32[16, 32]", c="f32[16, 1]", d="f32[1, 32]", e="i32[16, 32]",
        out="f32[16, 32]",
    )  # fmt: skip
    def kernel(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, out: Tensor) -> None:
        names = {
            n: pto.load(t[:, :])
            for n, t in dict(x=a, y=b, column=c, row=d, whole=e).items()
            if n in text
        }
        pto.store(out[:, :], eval(text, dict(pto=pto, **names)))

    return kernel.trace()


def fused(kernel: Kernel) -> int:
    return sum(row.op == pattern.fused for row in all_rows(kernel.body) for pattern in PATTERNS)


@pytest.mark.parametrize("text", TAKEN)
def test_taken_up(text: str) -> None:
    kernel = dict(stages(made(text), options_for("best")))["fuse"]
    assert fused(kernel) == TAKEN[text]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_gains_something(pattern: Pattern) -> None:
    """In cycles of any size, by every table."""
    for target in TARGETS.values():
        for costs in target.costs.values():
            one, *two = (
                costs.vector[op, ""] for op in (pattern.fused, pattern.outer, pattern.inner)
            )
            assert all(a < sum(line[k] for line in two) for k, a in enumerate(one))


def test_the_value_check_knows_it() -> None:
    """As the two ops, in their order: neither the other way round, nor one of them alone."""
    traced = made("pto.relu(x - y)")
    text = print_kernel(schedule(traced).kernel)
    row = next(line for line in text.splitlines() if "sub_relu" in line).split("|")[0].rstrip()
    left, right = row.split(" = sub_relu ")
    x, y = right.split(", ")
    for wrong in (f"{left} = sub_relu {y}, {x}", f"{left} = sub {x}, {y}"):
        assert difference(traced, parse(text.replace(row, wrong), "t.ptoir")) is not None
    assert difference(traced, parse(text, "t.ptoir")) is None


def test_nobody_writes_it() -> None:
    text = print_kernel(made("pto.relu(x - y)"))
    wrong = text.replace("= relu sub", "= sub_relu x, x")
    assert wrong != text and all(OPS[p.fused].start != "traced" for p in PATTERNS)
    with pytest.raises(LegalityError, match="sub_relu belongs to a scheduled program"):
        verify(parse(wrong, "t.ptoir"))
