"""What devices were seen to demand, rule by rule: emitted text keeps to it, and a program that does not is
refused with one message before it is text.  The rules, with who saw what, are docs/machine.md 17.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import pto
from lowering import native
from lowering.ascend.orchestration import arguments
from lowering.execute.inputs import bind
from lowering.schedule import NAMED, options_for, schedule
from pto.errors import ScheduleError, ShapeError
from pto.kernels import SHIPPED
from pto.targets import target_of
from pto.text import parse
from tests.judges.compilers import installed
from tests.judges.small_programs import CUBE, small
from tests.lenient import check

SCHEDULES = [(name, plan) for name in SHIPPED for plan in NAMED]


@cache
def made(name: str, plan: str) -> Any:
    """A shipped kernel under a named schedule."""
    return schedule(SHIPPED[name].trace(), plan)


def code(name: str, plan: str) -> str:
    """Its kernel source without comments."""
    return re.sub(r"\s*//.*", "", made(name, plan).sources[f"{name}.cpp"])


def halves(source: str) -> Iterator[tuple[str, str]]:
    """(define, text) of what is compiled for one core alone."""
    yield from re.findall(r"#ifdef (__DAV_\w+__)\n(.*?)#endif", source, re.DOTALL)


# ------------------------------------------------------------------------------ pipes of a core

OTHERS = {"__DAV_CUBE__": ("V",), "__DAV_VEC__": ("FIX", "M", "MTE1")}


@pytest.mark.parametrize(("name", "plan"), SCHEDULES)
def test_no_core_names_a_pipe_of_the_other(name: str, plan: str) -> None:
    """A barrier of FIX on a vector core ended a device."""
    for core, text in halves(code(name, plan)):
        assert not {f"PIPE_{p}" for p in OTHERS[core]} & set(re.findall(r"PIPE_\w+", text))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("vector 0 FIX barrier", "barrier: the vector core has no pipe FIX"),
        ("vector 0 S drain FIX", "drain: the vector core has no pipe FIX"),
        ("vector 0 M barrier", "barrier: the vector core has no pipe M"),
        ("cube 0 V barrier", "barrier: the cube core has no pipe V"),
        ("vector 0 V fence", "fence runs on S, not on V"),
    ],
)
def test_a_row_on_a_pipe_of_the_other_core_is_refused(row: str, message: str) -> None:
    (fault,) = check(small("", f"{row}\n")).violations
    assert message in fault.text


# --------------------------------------------------------------------- copies over each other

LOADS = """event vector a.full MTE2 -> V id 0
vector 0 MTE2 a = load src[0:+8, :]
{between}vector 0 MTE2 a = load src[8:+8, :] | set a.full
vector 0 V c = copy a | wait a.full
"""
STORES = """vector 0 V a = full 1.0
vector 0 V b[0] = full 2.0
vector 0 S drain V
vector 0 MTE3 out[(block_idx * 2 + lane) * 8:+8, :] = store a
{between}vector 0 MTE3 out[(block_idx * 2 + lane) * 8:+8, :] = store b[0]
vector 0 S drain MTE3
"""


@pytest.mark.parametrize(("text", "pipe"), [(LOADS, "MTE2"), (STORES, "MTE3")])
def test_copies_of_one_pipe_over_each_other_need_its_barrier(text: str, pipe: str) -> None:
    """The pipe itself does not keep them in order: the proof wants the barrier, the executor sees it."""
    with_it = small("", text.format(between=f"vector 0 {pipe} barrier\n"))
    without = small("", text.format(between=""))
    assert check(with_it).ok
    assert {v.kind for v in check(without).violations} == {"WAW"}
    if installed():
        table = np.zeros((16, 64), np.float32)
        given = {"src": table, "out": table, "n": 1, "k": 1, "go": 1}
        runs = [
            native.run(k, bind(k, given), seeds=range(8), block_num=1) for k in (with_it, without)
        ]
        assert runs[0].good and not runs[1].good


@pytest.mark.parametrize("plan", NAMED)
def test_a_fill_in_l1_is_done_before_its_load(plan: str) -> None:
    """Both write the slot by MTE2."""
    found = [text for core, text in halves(code("gemm", plan)) if core == "__DAV_CUBE__"]
    lines = [line.strip() for text in found for line in text.splitlines()]
    fills = [k for k, line in enumerate(lines) if line.startswith("TEXPANDS(")]
    assert len(fills) >= 2
    assert all(lines[k + 1] == "pipe_barrier(PIPE_MTE2);" for k in fills)


# ----------------------------------------------------------------------- signals and their flags


@pytest.mark.parametrize("credit", ["", " no credit"])
def test_at_most_15_signals_of_a_fifo_are_on_their_way(credit: str) -> None:
    """A push is never ahead of the pops by more than the slots, and there are at most 15."""
    target = target_of(small("", "vector 0 V a = full 0.0\n"))
    text = CUBE.replace("[2]", "[16]").replace("flag 0", f"flag 0{credit}")
    (fifo,) = small(text, "vector 0 V a = full 0.0\n").fifos
    with pytest.raises(ScheduleError, match="at most 15 of its signals may be on their way"):
        target.credits(fifo)
    faults = [v.text for v in check(small(text, "vector 0 V a = full 0.0\n")).violations]
    assert "fifo f: 16 slots, the counter of a flag ends at 15" in faults
    assert target.credits(replace(fifo, depth=15, credit=False)).slots == 15


@pytest.mark.parametrize(("name", "plan"), SCHEDULES)
def test_cross_core_flags_and_rings(name: str, plan: str) -> None:
    """Flags 0 to 10, which nobody else uses, two to a FIFO; each ring a workspace of its own whose part for
    a block is a multiple of 512 bytes; and no more arguments than the runtime passes."""
    kernel = made(name, plan).kernel
    flags = [n for f in kernel.fifos for n in (f.flag, f.flag + 1)]
    assert len(set(flags)) == len(flags) and all(0 <= n <= 10 for n in flags)
    assert all(f.depth * f.slot_bytes % 512 == 0 for f in kernel.fifos)
    passed = arguments(kernel)
    assert len(passed) <= 48
    rings = [a.name for a in passed if a.kind == "workspace"]
    assert len(set(rings)) == len(kernel.fifos)


def test_both_lanes_take_part_in_a_hand_over() -> None:
    """The cube waits for the signals of both: a row that one lane leaves out is refused."""
    text = "if lane:\n  vector 0 MTE2 b[0] = pop f\n"
    assert not check(small(CUBE, text)).ok


def test_a_scalar_unit_reads_only_what_nobody_writes() -> None:
    """Nothing orders its reads of GM, not even a drain of what its own core stored."""
    text = (
        "kernel read_back on a2a3\nparam t inout i32[rows, 64]\ngrid rows\n"
        "buffer vector ub a[1] i32[8, 64] nd at 0 by 2048\n"
        "vector 0 V a = full 1\nvector 0 S drain V\n"
        "vector 0 MTE3 t[(block_idx * 2 + lane) * 8:+8, :] = store a\nvector 0 S drain MTE3\n"
    )
    read = "vector 0 S x = read t[(block_idx * 2 + lane) * 8, 0]\n"
    assert check(parse(text)).ok
    (fault,) = check(parse(text + read)).violations
    assert fault.text == "nothing orders a scalar read of t, which the kernel writes"


# -------------------------------------------------------------------------------------- transfers


def test_a_transfer_has_at_most_4095_rows() -> None:
    """Of UB; the library refuses to compile more for the device."""

    def tall(rows: int) -> Any:
        @pto.kernel(grid="1", x=f"f32[{rows}, 8]", out=f"f32[{rows}, 8]")
        def copied(x: Any, out: Any) -> None:
            pto.store(out[:, :], pto.load(x[:, :]) * 2.0)

        return schedule(copied.trace(), options_for("serial", local_depth=1))

    assert "Ub<float, 4095, 8>" in tall(2 * 4095).sources["copied.cpp"]
    with pytest.raises(ShapeError) as caught:
        tall(2 * 4096)
    assert caught.value.message == (
        "x_tile has 4096 rows on a core, a transfer between GM and UB takes up to 4095"
    )


STORING = {"__DAV_CUBE__": "PIPE_FIX", "__DAV_VEC__": "PIPE_MTE3"}


@pytest.mark.parametrize(("name", "plan"), SCHEDULES)
def test_what_a_core_stores_is_there_at_its_end(name: str, plan: str) -> None:
    """The last thing that its scalar unit waits for is its storing pipe."""
    for core, text in halves(code(name, plan)):
        if "TSTORE(" in text or "TPUSH<" in text:
            waits = re.findall(r"wait_flag\((PIPE_\w+), PIPE_S, ", text)
            assert waits[-1] == STORING[core]
