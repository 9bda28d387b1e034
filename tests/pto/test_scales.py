"""Scales of columns: what the host makes, what a program may say of them, what has to be in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import pto
from lowering.execute import scheduled, sequential
from lowering.execute.inputs import bind
from lowering.hazards import check
from lowering.simulate.costs import cost_of
from pto import ir
from pto.errors import DTypeError, InputError, LegalityError
from pto.legality import verify
from pto.targets import Costs, target_of
from tests.words.scales import WORDS

CHANNELS = WORDS["scales of channels"]


def test_a_pair_is_the_bits_of_a_float_and_a_sign() -> None:
    """As the machine takes them in 64 bits: bit 46 where the result has a sign (docs/machine.md 12)."""
    for dtype, sign in (("i8", 1), ("u8", 0), ("f16", 0)):
        made = pto.column_scales([1.0, -0.3, 2.0**-9], dtype)
        words = np.ascontiguousarray(made).view(np.uint64)[:, 0]
        assert made.shape == (3, 2)
        assert list(words >> np.uint64(32)) == [sign << 14] * 3
        floats = words.astype(np.uint32).view(np.float32)
        assert list(floats) == [np.float32(x) for x in (1.0, -0.3, 2.0**-9)]


def test_no_other_type_has_scales() -> None:
    with pytest.raises(DTypeError, match="no scale converts to 'bf16'"):
        pto.column_scales([1.0], "bf16")


def test_executors_refuse_pairs_of_another_type() -> None:
    arrays = CHANNELS.arrays(np.random.default_rng(0))
    arrays["scales"] = pto.column_scales(np.ones(len(arrays["scales"])), "i8")
    for run, program in ((sequential.run, CHANNELS.traced), (scheduled.run, CHANNELS.scheduled)):
        with pytest.raises(
            InputError, match="column 0 has no scale for f16: its second word is 16384"
        ):
            run(program, bind(program, arrays))


TEXT = """kernel k on a2a3
param c   in  i32[64, 2]
param out out f16[32, 64]
grid 1
buffer cube l1  s[1] i32[64, 2]  pairs at 0 by 512
buffer cube l0c y[1] i32[32, 64] nz    at 0 by 8192
buffer cube fb  f[1] i32[64, 2]  pairs at 0 by 512

cube 0 MTE2 s = load c[:, :]
cube 0 FIX f = scales s
cube 0 FIX out[:, :] = store y, scaled, f
"""


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("f[1] i32[64, 2]", "f[1] f32[64, 2]", "fb holds i32"),
        ("f[1] i32[64, 2]", "f[1] i32[56, 2]", "lies in pairs, which are i32"),
        ("y, scaled, f", "y, scaled, s", "cannot read l1 here"),
        ("f = scales s", "f = scales y", "cannot read l0c here"),
        ("= store y,", "= store f,", "cannot read fb here"),
        ("y[1] i32[32, 64]", "y[1] i32[32, 128]", "the view is f16"),
        ("s[1] i32[64, 2]  pairs", "s[1] i32[64, 2]  nz", "rows and columns are multiples"),
    ],
)
def test_what_a_program_may_say(old: str, new: str, why: str) -> None:
    verify(pto.parse(TEXT))
    with pytest.raises(LegalityError, match=why):
        verify(pto.parse(TEXT.replace(old, new)))


@pytest.mark.parametrize("name", ["scales of channels", "scales of columns, both cores"])
def test_the_barriers_of_fix_are_needed(name: str) -> None:
    """Scales that are not there yet, and new ones over those of an unfinished store."""
    program = WORDS[name].scheduled
    assert check(program).ok
    barriers = [r for r in ir.all_rows(program.body) if (r.op, r.pipe) == ("barrier", "FIX")]
    assert barriers
    for k in range(len(barriers)):
        gone = iter(range(len(barriers)))

        def without(
            row: ir.Row, k: int = k, gone: Iterator[int] = gone
        ) -> ir.Row | tuple[ir.Row, ...]:
            is_one = (row.op, row.pipe) == ("barrier", "FIX")
            return () if is_one and next(gone) == k else row

        assert not check(replace(program, body=ir.map_rows(program.body, without))).ok


def test_scales_are_one_run_in_gm() -> None:
    """Of 256 times 8 bytes, which in boxes would be 256 runs."""
    program = WORDS["scales of blocks"].scheduled
    costs = program_costs()
    loads = {r.result(ir.Ref).name: r for r in ir.all_rows(program.body) if r.op == "load"}
    row = next(r for name, r in loads.items() if program.buffer(name).layout == "pairs")
    least = costs.transfer["gm", "l1"][0] + costs.run["gm", "l1"]
    assert cost_of(row, program, costs).occupies < least + 256 * 8


def program_costs() -> Costs:
    return target_of(WORDS["scales of blocks"].scheduled).costs["device"]
