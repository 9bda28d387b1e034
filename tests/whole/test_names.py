"""No name of a user's means anything: renamed, a kernel has the same schedule up to names."""

from __future__ import annotations

import contextlib
import random
from dataclasses import fields, is_dataclass

import pytest

import pto
from lowering.hazards.proof import HazardError
from lowering.schedule import schedule
from lowering.schedule.passes.accumulate import accumulate
from lowering.schedule.passes.persist import persist
from pto import ir
from pto.errors import PtoError
from pto.kernels.gemm import gemm
from pto.kernels.paged_attention import paged_attention
from pto.kernels.rmsnorm import rmsnorm
from pto.legality import verify
from pto.lexer import FUNCTIONS, HEADER
from pto.loc import Loc
from pto.ops import OPS, PERSISTENT
from pto.tracer import GRAMMAR_WORDS
from pto.types import TileType
from tests.axes import some
from tests.judges.random_kernels import draw
from tests.judges.renaming import renamed, variables

OWN = """zero w u n item turn scratch flat sync i x full free ALL MTE2 V S drain barrier pid pid9 pidx
i_2 u_2 n_2 w_2 read let empty count more first last_2""".split()
"""Names that the compiler uses itself or once gave a meaning."""
SUFFIXES = ("_fifo", "_l1", "_a", "_b", "_v", "_copy", "_next", "_first", "_last", "_padded", "_2")


NAMES = {
    **dict.fromkeys((ir.Ref, ir.Var, ir.Define, ir.Scalar, ir.Queue, ir.Flag), ("name",)),
    **dict.fromkeys((ir.Buffer, ir.Fifo, ir.Event, ir.Param), ("name",)),
    ir.View: ("tensor",),
    ir.Loop: ("index", "total"),
    ir.Row: ("value",),
}
"""The fields that hold a name."""


def shape_of(kernel: ir.Kernel) -> object:
    """The schedule with every name replaced by its number, in order of first appearance."""
    numbers: dict[str, int] = {}

    def shape(x: object) -> object:
        if isinstance(x, tuple):
            return tuple(map(shape, x))
        if not is_dataclass(x) or isinstance(x, Loc | TileType):
            return x
        named = NAMES.get(type(x), ())
        return type(x).__name__, *(
            numbers.setdefault(getattr(x, f.name), len(numbers))
            if f.name in named
            else shape(getattr(x, f.name))
            for f in fields(x)
            if f.name not in ("loc", "notes", "details", "shape")
        )

    return shape(kernel)


def hostile(kernel: ir.Kernel, rng: random.Random) -> dict[str, str]:
    """New names: those that the compiler makes up, and one of the kernel with an ending of its own."""
    names = variables(kernel)
    pool = [*OWN, *(n + s for n in names for s in SUFFIXES), *OPS]
    taken = GRAMMAR_WORDS | set(FUNCTIONS) | set(HEADER) | {kernel.name}
    taken |= {n for n, _ in kernel.statics} | {f"pid{k}" for k in range(len(kernel.grid))}
    pool = [n for n in dict.fromkeys(pool) if n not in taken]
    return dict(zip(names, rng.sample(pool, len(names)), strict=True))


def check(kernel: ir.Kernel, seed: int) -> None:
    want = shape_of(schedule(kernel).kernel)
    program = schedule(renamed(kernel, hostile(kernel, random.Random(seed)))).kernel
    assert shape_of(program) == want
    assert pto.parse(pto.print_kernel(program)) == program


KERNELS = {"paged_attention": paged_attention, "gemm": gemm, "rmsnorm": rmsnorm}


@pytest.mark.parametrize(
    ("name", "seed"), some(list(zip(KERNELS, range(3), strict=True)), KERNELS, range(3))
)
def test_a_shipped_kernel_renamed(name: str, seed: int) -> None:
    check(KERNELS[name].trace(), seed)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(150))
def test_random_kernels_renamed(seed: int) -> None:
    with contextlib.suppress(pto.CapacityError, HazardError):
        check(draw(seed, bool(seed % 2))[0].trace(), seed)


@pytest.mark.parametrize("start", [0.0, 5.0])
def test_a_start_may_be_called_zero(start: float) -> None:
    @pto.kernel(grid="4", x="bf16[64, 128]", b="bf16[128, 128]", out="f32[64, 128]")
    def summed(x: pto.Tensor, b: pto.Tensor, out: pto.Tensor) -> None:
        r = pto.ds(pto.program_id(0) * 16, 16)
        zero = pto.full((16, 128), start)

        def step(i: pto.Scalar, acc: pto.Tile) -> pto.Tile:
            return acc + pto.load(x[r, :]) @ pto.load(b[:, :])

        pto.store(out[r, :], pto.fori_loop(0, 4, step, zero))

    kernel = summed.trace()
    assert "zero" in variables(kernel)
    plain = renamed(kernel, {"zero": "start"})
    assert shape_of(schedule(kernel).kernel) == shape_of(schedule(plain).kernel)


def test_a_carry_from_nothing_is_overwritten() -> None:
    text = pto.print_kernel(accumulate(persist(gemm.trace())))
    assert "from" not in text and pto.print_kernel(pto.parse(text)) == text
    with pytest.raises(PtoError, match="carry 'acc' starts from nothing, and no matmul"):
        verify(pto.parse(text.replace("acc, i", "acc")), PERSISTENT)
    with pytest.raises(PtoError, match="does not start from a f32"):
        verify(accumulate(gemm.trace()))
