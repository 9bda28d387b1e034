"""Kernels that print and check of themselves, scheduled and emitted with it: every executor hears the same."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pto
from lowering import executors, native
from lowering.ascend import emit
from lowering.execute import sequential
from lowering.execute.said import Heard
from lowering.execute.watched import watch
from lowering.hazards import check
from lowering.schedule.passes.persist import persist
from lowering.values.equivalence import difference
from pto import Tensor, ir
from pto.errors import InputError
from pto.legality import verify
from pto.ops import DEBUG
from pto.text import parse, print_kernel
from tests.judges.grammar import recognised
from tests.judges.tile_library import checkout_for, needs_checkout
from tests.words import watched
from tests.words.word import Word

WORDS = watched.WORDS


def heard_of(word: Word) -> Heard:
    """One work item after the other, as it is written."""
    return watch(word.traced, word.bound(word.traced))


def on(word: Word, executor: str, orders: int = 6) -> executors.Ran:
    several = executors.Orders(range(orders)) if executor in executors.SEVERAL else None
    checkout = checkout_for(source_of(word)) if executor == executors.PTO_ISA else None
    bound = word.bound(word.scheduled)
    return executors.execute(executor, word.scheduled, bound, several, checkout)


def source_of(word: Word) -> str:
    return emit(word.scheduled)[f"{word.kernel.name}.cpp"]


@pytest.fixture(params=WORDS)
def word(request: pytest.FixtureRequest) -> Word:
    return WORDS[request.param]


LANE = re.compile(r"lane=\d: ")
TILE = re.compile(r"(float32|f32|i32|int32)\[\d+, \d+\].*", re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")


def lines(heard: Heard) -> list[Counter[str]]:
    """What was printed, and what did not hold, in any order: of tiles only that there is one, and what both lanes
    say once."""
    found = []
    for said in (heard.printed, heard.failed):
        told = ("\n".join([x.told()]) for x in said)
        plain = (TILE.sub("TILE", NUMBER.sub(lambda m: f"{float(m[0]):g}", t)) for t in told)
        found.append(Counter({LANE.sub("", t): 1 for t in plain}))
    return found


def test_it_is_printed(word: Word) -> None:
    program = word.scheduled
    text = print_kernel(program)
    assert parse(text) == program
    recognised(text)
    assert {r.op for r in ir.all_rows(program.body)} & set(DEBUG)


RUNS = [
    *((name, executor) for name in WORDS for executor in ("numpy", "adversarial")),
    ("rows that speak", "jax"),
    pytest.param("a layer that speaks", "jax", marks=pytest.mark.sweep),
]


@pytest.mark.parametrize(("name", "executor"), RUNS)
def test_every_executor_hears_the_same(name: str, executor: str) -> None:
    """And gives the outputs of the kernel that says nothing."""
    word = WORDS[name]
    ran, said = on(word, executor), heard_of(word)
    assert not ran.differences
    assert lines(ran.heard) == lines(said)
    assert said.printed and said.failed
    quiet = word.kernel.trace()
    want = sequential.run(quiet, word.bound(quiet))
    assert {n: np.asarray(a).tobytes() for n, a in ran.outputs.items()} == {
        n: a.tobytes() for n, a in want.items()
    }


COMPILED = ["rows that speak", pytest.param("a layer that speaks", marks=pytest.mark.sweep)]


@pytest.mark.parametrize("name", COMPILED)
def test_native(name: str) -> None:
    ran = on(WORDS[name], "native")
    assert not ran.differences
    assert lines(ran.heard) == lines(heard_of(WORDS[name]))


@needs_checkout
@pytest.mark.parametrize("name", COMPILED)
def test_on_the_tile_library(name: str) -> None:
    """Which prints a tile on lines of its own."""
    found, want = lines(on(WORDS[name], executors.PTO_ISA).heard), lines(heard_of(WORDS[name]))
    assert found[1] == want[1]
    assert not want[0] - found[0]


# ------------------------------------------------------------------- what keeps it so


@pytest.mark.sweep
def test_the_scalar_unit_reads_when_all_pipes_stand(word: Word) -> None:
    whole = source_of(word)
    source = whole.replace("        pipe_barrier(PIPE_ALL);\n", "")
    assert source != whole
    bound = word.bound(word.scheduled)
    ran = native.run(word.scheduled, bound, seeds=range(20), source=source, block_num=2)
    assert "race" in {r.kind for r in ran.reports}


def changed(program: ir.Kernel, op: str, change: Any) -> ir.Kernel:
    return replace(
        program, body=ir.map_rows(program.body, lambda r: change(r) if r.op == op else r)
    )


def other_slot(row: ir.Row) -> ir.Row:
    def turned(a: ir.Operand) -> ir.Operand:
        if not isinstance(a, ir.Ref) or a.index is None:
            return a
        return replace(a, index=ir.binary("+", a.index, ir.Const(1)))

    return replace(row, args=tuple(map(turned, row.args)))


CHANGES = {
    "another slot": other_slot,
    "another step": lambda r: replace(r, args=(*r.args[:2], ir.Const(0), *r.args[3:])),
    "another text": lambda r: replace(
        r, args=(*r.args[:1], ir.Text(r.operand(ir.Text, 1).value + "!"), *r.args[2:])
    ),
    "not at all": lambda r: replace(r, op="sync", args=(), pipe="V"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_check_of_values_hears_it(change: str) -> None:
    word = WORDS["a layer that speaks"]
    before = persist(word.traced)
    assert difference(before, word.scheduled) is None
    found = difference(before, changed(word.scheduled, "debug_check", CHANGES[change]))
    assert found is not None


SMALL = """
kernel k on a2a3
param x   in  f32[n, 16, 64]
param out out f32[n, 16, 64]
grid n
buffer vector ub a[1] f32[8, 64] nd at 0 by 2048
event vector a.full V -> MTE3 id 0

vector 0 MTE2 a = load x[block_idx, lane * 8:+8, :]
vector 0 ALL  debug_print "{}", a
vector 0 V    a = full 1.0 | set a.full
vector 0 MTE3 out[block_idx, lane * 8:+8, :] = store a | wait a.full
vector 0 S    drain MTE3
"""


def test_the_proof_knows_what_it_orders() -> None:
    """All that is in front, and all behind; what it reads must be there."""
    kernel = parse(SMALL, "small.ptoir")
    assert verify(kernel) == kernel
    assert check(kernel).ok
    silent = "".join(line for line in SMALL.splitlines(True) if "debug" not in line)
    assert "WAW" in check(parse(silent)).report()
    early = parse("".join(line for line in SMALL.splitlines(True) if " load " not in line))
    assert "debug_print" in check(early).report()
    assert not check(early).ok


# ------------------------------------------------------------------- as users ask for it


@pto.kernel(grid="n", x="f32[n, 16, 64]", out="f32[n, 16, 64]")
def over(x: Tensor, out: Tensor) -> None:
    b = pto.program_id(0)
    pto.debug_print("before: {}", pto.load(out[b, :, :]))
    pto.store(out[b, :, :], pto.load(x[b, :, :]))


def test_an_output_that_is_only_looked_at() -> None:
    """What it held counts in the watched form alone."""
    x = np.ones((2, 16, 64), np.float32)
    directions = [[p.direction for p in k.params] for k in (over.trace(), over.watched())]
    assert directions == [["in", "out"], ["in", "inout"]]
    quiet, watched = over.lower(x), over.lower(x, watch=True)
    told = [s.told() for s in quiet.watch(x, out=2 * x).printed]
    assert len(told) == 2 and told[1].startswith("pid0=1: before: float32[16, 64]\n[[2. 2.")
    for executor in ("numpy", "adversarial"):
        told = [s.told() for s in watched.watch(x, out=3 * x, executor=executor).printed]
        assert len(told) == 4
        assert told[0].startswith("lane=0: pid0=0: before: float32[8, 64]\n[[3. 3.")
    np.testing.assert_array_equal(watched.run(x, out=3 * x, executor="numpy"), x)
    np.testing.assert_array_equal(quiet.run(x, executor="numpy"), x)
    with pytest.raises(InputError, match="what out held before counts"):
        quiet.watch(x)


def test_a_schedule_that_says_nothing() -> None:
    x = np.ones((2, 16, 64), np.float32)
    with pytest.raises(InputError, match="this schedule says nothing"):
        over.lower(x).watch(x, out=x, executor="numpy")

    @pto.kernel(grid="n", x="f32[n, 16, 64]", out="f32[n, 16, 64]")
    def silent(x: Tensor, out: Tensor) -> None:
        b = pto.program_id(0)
        pto.store(out[b, :, :], pto.load(x[b, :, :]))

    with pytest.raises(InputError, match="says nothing of itself"):
        silent.lower(x, watch=True)
