"""The words of the language: kernels that need them, through every stage and on every executor."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import pytest

from lowering import native
from lowering.ascend import emit
from lowering.execute import adversarial, scheduled, sequential
from lowering.hazards import check
from lowering.jax_executor import executor as jax_executor
from lowering.native import pto_isa
from pto.text import parse, print_kernel
from tests.judges.tile_library import checkout_for, needs_checkout
from tests.words.all import ABOUT, WORDS
from tests.words.word import Word

LONG = (
    "every comparison, f16",
    "attention in a window",
    "every function in half",
    "every order, f32 of 160",
    "every order, f16 of 96",
    "greedy decoding",
    "every width",
    "long sums, f16",
    "nucleus sampling",
    "gelu layer",
    "gelu_tanh layer",
    "bytes to halves",
    "uint8 by every rounding",
    "int16 by every rounding",
    "int8 attention",
    "tiles routed",
    "how much tokens are looked at",
    "sets as int16",
    "turns by a table, i16",
    "a layer that speaks",
    "shifts of halves",
    "attention backwards",
    "both operands turned",
    "products turned",
    "residual in place",
    "cache by slots",
    "adam",
    "shuffled i32",
    "shuffled i16",
    "shuffled u8",
    "shuffled f32",
    "shuffled f16",
    "every second row",
    "every third column",
    "fields by tiles",
    "attention to marked blocks",
)
"""Much like another, and many seconds to compile: in the sweep."""


COMPILED = (
    "every comparison, f32",
    "silu layer",
    "experts by read scales",
    "tiles scattered",
    "chunks at carried offsets",
    "sums over items",
    "gradients of a table",
    "states by slots",
    "experts",
    "int8 again on the way out",
    "product of parts between boxes",
    "sets as bytes",
    "opposites of integers",
    "numbers by three types",
    "ways in a loop",
    "conditions of conditions",
    "products of columns",
    "heads in front",
    "rows that speak",
    "scales of channels",
)
"""A short one of every module: to compile one takes as long as all else that is asked of it."""


def test_one_of_every_module_is_compiled() -> None:
    assert [{*about.WORDS} & {*COMPILED} != set() for about in ABOUT] == [True] * len(ABOUT)
    assert not {*COMPILED} & {*LONG}


def some(names: Container[str]) -> list[Any]:
    """Every kernel; those that are not among ``names`` in the sweep."""
    return [n if n in names else pytest.param(n, marks=pytest.mark.sweep) for n in WORDS]


@pytest.fixture(params=some(WORDS.keys() - set(LONG)))
def word(request: pytest.FixtureRequest) -> Word:
    return WORDS[request.param]


@pytest.fixture(params=some(COMPILED))
def compiled(request: pytest.FixtureRequest) -> Word:
    return WORDS[request.param]


def test_it_means_what_numpy_says(word: Word) -> None:
    """Traced, printed and read, and in program order within its own roundings of the float64 reference."""
    assert parse(print_kernel(word.traced)) == word.traced
    word.judged(sequential.run(word.traced, word.bound(word.traced)))


def test_its_schedule_is_proven_and_gives_the_same_bits(word: Word) -> None:
    program = word.scheduled
    assert parse(print_kernel(program)) == program and check(program).ok
    want = sequential.run(word.traced, word.bound(word.traced))
    for got in (
        scheduled.run(program, word.bound(program), block_num=2),
        adversarial.run(program, word.bound(program), seeds=range(3), block_num=2),
    ):
        assert {n: a.tobytes() for n, a in got.items()} == {n: a.tobytes() for n, a in want.items()}


def test_on_jax(compiled: Word) -> None:
    ran = jax_executor.run(compiled.scheduled, compiled.bound(compiled.scheduled))
    compiled.judged(ran)


def test_native(compiled: Word) -> None:
    """Compiled without a warning, in program order and in random ones."""
    ran = native.run(compiled.scheduled, compiled.bound(compiled.scheduled), seeds=range(3))
    assert not ran.reports
    compiled.judged(ran.outputs)


@needs_checkout
def test_on_the_tile_library(word: Word) -> None:
    checkout = checkout_for(emit(word.scheduled)[f"{word.kernel.name}.cpp"])
    bound = word.bound(word.scheduled)
    word.judged(pto_isa.run(word.scheduled, bound, checkout, block_num=2))
