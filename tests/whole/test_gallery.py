"""The gallery: every kernel against its float64 reference, proven, on every executor, short, and listed.

Small sizes by default; in the sweep also the sizes of a language model, for few work items.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest

from lowering import native
from lowering.ascend import emit
from lowering.bench import gallery
from lowering.cli import GOOD, USAGE, main
from lowering.execute import adversarial, cases, judge, sequential
from lowering.execute.inputs import Bound, bind
from lowering.jax_executor import executor as jax_executor
from lowering.native import pto_isa
from lowering.programs import load, source_of
from lowering.schedule import Schedule, schedule
from pto import Kernel, ir
from pto.kernels import FAMILIES, GALLERY, SHIPPED
from pto.signature import Static
from tests.conftest import Golden
from tests.docs.pages import DOCS, compare
from tests.judges.tile_library import checkout_for, needs_checkout

MOST_LINES = 45
"""Of a body: what a person reads at once."""


@dataclass(frozen=True)
class Sizes:
    """A kernel with static parameters and a case, judged by its own reference within its own roundings."""

    kernel: Kernel
    case: str
    statics: Mapping[str, Static] = field(default_factory=dict)

    @cached_property
    def traced(self) -> ir.Kernel:
        return self.kernel.trace(**self.statics)

    @cached_property
    def made(self) -> Schedule:
        return schedule(self.traced)

    @property
    def scheduled(self) -> ir.Kernel:
        return self.made.kernel

    @cached_property
    def arrays(self) -> Mapping[str, Any]:
        return cases.draw(self.kernel, self.traced, [self.case])

    def bound(self, program: ir.Kernel) -> Bound:
        return bind(program, self.arrays)

    @cached_property
    def expected(self) -> list[judge.Expected]:
        bound = self.bound(self.traced)
        want = cases.expected(self.kernel, self.traced, bound)
        return judge.expected(self.traced, bound, want, {})

    def judged(self, outputs: Mapping[str, Any]) -> None:
        for found in judge.compare(outputs, self.expected):
            assert found.ok, found.told("its reference")


def sizes() -> Iterator[tuple[str, Sizes, Sizes]]:
    """Each kernel small, and as it is for few work items; both ragged."""
    table: dict[str, tuple[dict[str, Static], str, str]] = {
        "paged_decode": (
            dict(heads=8, block=32, dim=32),
            "batch=4,context=100,ragged=true",
            "batch=2,context=300,ragged=true",
        ),
        "causal_prefill": (
            dict(heads=2, kv_heads=1, dim=32, tile=32, block=64),
            "batch=2,tokens=70,ragged=true",
            "batch=1,tokens=130",
        ),
        "packed_prefill": (
            dict(heads=2, kv_heads=1, dim=32, tile=32, block=64),
            "batch=3,tokens=70",
            "batch=2,tokens=130",
        ),
        "mla_decode": (
            dict(heads=16, q_tile=16, block=32, latent=64, rope=32, width=96, part=32),
            "batch=4,context=100,ragged=true",
            "batch=2,context=70,ragged=true",
        ),
        "split_decode": (
            dict(heads=16, q_tile=16, dim=32, block=32, parts=3),
            "batch=3,context=170,ragged=true",
            "batch=2,context=300,ragged=true",
        ),
        "combine_parts": (dict(heads=16, dim=32), "parts=5", "parts=5"),
        "cache_write": (dict(width=64), "tokens=37,pages=1", "tokens=21,pages=1"),
        "rope_halves": (dict(heads=16, dim=32, half=16), "tokens=21", "tokens=21"),
        "rope_pairs": (dict(heads=16, dim=32), "tokens=21", "tokens=21"),
        "rmsnorm_wide": (dict(dim=200, block=64), "rows=21", "rows=21"),
        "layernorm_wide": (dict(dim=200, block=64), "rows=21", "rows=21"),
        "rmsnorm_token": (dict(dim=256), "tokens=5", "tokens=3"),
        "layernorm_token": (dict(dim=256), "tokens=5", "tokens=3"),
        "swiglu": (dict(cols=200, both=400, block=64), "rows=21", "rows=5"),
        "swiglu_token": (dict(cols=200, both=400, block=128), "tokens=3", "tokens=2"),
        "softmax_wide": (dict(block=64), "rows=21,cols=150", "rows=21,cols=1100"),
        "batched_matmul": (
            dict(tile_m=32, tile_n=48, tile_k=32),
            "batch=2,m=50,n=70,k=80",
            "batch=1,m=150,n=300,k=200",
        ),
        "grouped_matmul": (
            dict(k=80, tile_m=32, tile_n=48, tile_k=32),
            "groups=5,rows=130,n=70",
            "groups=3,rows=300,n=300",
        ),
        "int8_matmul": (
            dict(tile_m=32, tile_n=64, tile_k=64, dtype="f16"),
            "m=50,n=100,k=150",
            "m=150,n=300,k=600",
        ),
        "int8_channels": (
            dict(tile_m=32, tile_n=64, tile_k=64),
            "m=50,n=100,k=150",
            "m=150,n=300,k=600",
        ),
        "top_k_gating": (
            dict(experts=32, tile=32, block=64),
            "tokens=70,hidden=200",
            "tokens=150,hidden=300",
        ),
    }
    for name, (statics, small, few) in table.items():
        yield name, Sizes(GALLERY[name], small, statics), Sizes(GALLERY[name], few)


SMALL = {name: small for name, small, _ in sizes()}
REAL = {f"{name}, real": real for name, _, real in sizes()}
EVERY = SMALL | REAL

QUICK = ("cache_write", "rmsnorm_token", "swiglu_token")
"""What XLA compiles in half a second; the others are in the sweep."""


def sizes_of(names: Mapping[str, Sizes], quick: tuple[str, ...] = ()) -> list[Any]:
    return [n if n in quick else pytest.param(n, marks=pytest.mark.sweep) for n in names]


def test_every_kernel_is_judged() -> None:
    assert list(SMALL) == list(GALLERY)


@pytest.mark.parametrize("name", sizes_of(EVERY, tuple(SMALL)))
def test_right_and_proven(name: str) -> None:
    """In program order within its own roundings of the float64 reference; its schedule under the default readings."""
    it = EVERY[name]
    it.judged(sequential.run(it.traced, it.bound(it.traced)))
    assert it.made.proof.ok and not it.made.proof.assume


def test_no_rounding_changes_an_order() -> None:
    """The router's case has no ties: then an index is right or wrong, and nothing in between."""
    limits = [e.limit for e in SMALL["top_k_gating"].expected if e.dtype == "i32"]
    assert limits and not any(limit.any() for limit in limits)


@pytest.mark.sweep
@pytest.mark.parametrize("name", EVERY)
def test_the_same_bits_in_any_order(name: str) -> None:
    it = EVERY[name]
    want = sequential.run(it.traced, it.bound(it.traced))
    got = adversarial.run(it.scheduled, it.bound(it.scheduled), seeds=range(2), block_num=2)
    assert {n: a.tobytes() for n, a in got.items()} == {n: a.tobytes() for n, a in want.items()}


@pytest.mark.parametrize("name", sizes_of(EVERY, QUICK))
def test_on_jax(name: str) -> None:
    it = EVERY[name]
    it.judged(jax_executor.run(it.scheduled, it.bound(it.scheduled)))


@pytest.mark.sweep
@pytest.mark.parametrize("name", EVERY)
def test_native(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled without a warning, in program order and in random ones."""
    monkeypatch.setenv("CXXFLAGS", "-O0")
    it = EVERY[name]
    ran = native.run(it.scheduled, it.bound(it.scheduled), seeds=range(3))
    assert not ran.reports and not ran.differences
    it.judged(ran.outputs)


@pytest.mark.sweep
@needs_checkout
@pytest.mark.parametrize("name", EVERY)
def test_on_the_tile_library(name: str) -> None:
    it = EVERY[name]
    checkout = checkout_for(emit(it.scheduled)[f"{it.kernel.name}.cpp"])
    it.judged(pto_isa.run(it.scheduled, it.bound(it.scheduled), checkout, block_num=2))


# ------------------------------------------------------------------------------------- how they are kept


@pytest.mark.parametrize("name", GALLERY)
def test_a_body_is_short(name: str) -> None:
    source = inspect.getsource(GALLERY[name].function)
    _, body = re.split(
        r"^\) -> None:.*\n|^def .*-> None:\n", source, maxsplit=1, flags=re.MULTILINE
    )
    assert len(body.splitlines()) <= MOST_LINES


def test_they_are_found_by_name() -> None:
    """One name means one kernel, in a file of its family."""
    assert not GALLERY.keys() & SHIPPED.keys()
    for family in FAMILIES:
        for kernel in family.KERNELS:
            assert load(kernel.name) is kernel
            assert source_of(kernel.name).parent.name == family.__name__.rpartition(".")[2]


def use(name: str) -> str:
    """``out = kernel(inputs)``, an output that is updated by its name."""
    it = SMALL[name]
    written = [p.name for p in it.traced.params if p.is_written]
    updated = [f"{n}={n}" for n in written if n in it.arrays]
    order = list(inspect.signature(it.kernel.function).parameters)
    scalars = {p.name for p in it.traced.params if p.shape is None}
    given = [n for n in order if n in it.kernel.signature and n not in {*written, *scalars}]
    numbers = [f"{n}={n}" for n in order if n in scalars]
    return f"{', '.join(written)} = {name}({', '.join([*given, *numbers, *updated])})"


def listed(_: str) -> str:
    """The kernels by family: what each computes, and a line of use."""
    lines = []
    for family in FAMILIES:
        lines.append(f"from {family.__name__} import {', '.join(k.name for k in family.KERNELS)}")
        for kernel in family.KERNELS:
            lines += [
                f"    {use(kernel.name)}",
                f"        {(kernel.__doc__ or '').splitlines()[0]}",
            ]
    return "".join(line + "\n" for line in lines)


def test_the_page_lists_them(golden: Golden) -> None:
    compare(DOCS / "guides" / "gallery.md", listed, golden)


# ---------------------------------------------------------------------------------- pto bench --gallery


def test_a_table_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--gallery", "swiglu_token"]) == GOOD
    head, line, *note = capsys.readouterr().out.splitlines()
    assert (head, tuple(note)) == (gallery.HEAD, gallery.NOTE)
    found = gallery.entry("swiglu_token")
    assert line == found.line and line.split()[:2] == ["swiglu_token", "96"]
    assert 0 < found.share <= 1 and found.roof <= found.seconds


def test_a_kernel_without_a_case(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare.py").write_text(
        "import pto\n\n\n@pto.kernel(grid='n', x='f32[n, 16, 64]', out='f32[n, 16, 64]')\n"
        "def bare(x, out):\n    pto.store(out[pto.program_id(0), :, :], pto.load(x[pto.program_id(0), :, :]))\n"
    )
    assert main(["bench", "--gallery", "bare.py"]) == USAGE
    assert capsys.readouterr().err.splitlines() == [
        "error: bare.py draws no case",
        "  help: define one: @KERNEL.case",
    ]


@pytest.mark.sweep
def test_the_table(golden: Golden) -> None:
    """No launch passes its roof."""
    lines = list(gallery.report(list(GALLERY)))
    golden("sweep/gallery.txt", "".join(f"{line.rstrip()}\n" for line in lines))
    assert all(float(line.split("  ")[-2]) >= 1 for line in lines[1 : 1 + len(GALLERY)])
