"""Rows that work under a test: as ordered as if all worked, and what they leave unwritten."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from lowering.execute import inputs, scheduled
from lowering.execute.adversarial import Orders
from pto import ir
from pto.control import opposite
from pto.errors import LegalityError, MemoryAccessError
from pto.legality import verify
from pto.ops import OPS
from pto.text import parse, print_kernel
from tests.hazards.test_exhaustive import every_order
from tests.judges.exhaustive import TooLarge
from tests.judges.random_programs import draw
from tests.judges.small_programs import (
    CUBE,
    END_B,
    ENDS,
    EVENTS_B,
    FREE_B,
    LOAD_B,
    OPERANDS,
    PRODUCE,
    STORE,
    USE_B,
    loop,
    small,
)
from tests.lenient import check
from tests.words.all import WORDS

BARRIER = "vector 0 V barrier\n"
START = "vector 0 V c = full 0.0\n"
LOAD = LOAD_B.replace(" |", " | if {} |", 1)
USE = "vector 0 V c = add c, b[u] | if {} | wait b.full[u] | set b.free[u]\n"
END = END_B + "vector 0 V barrier\nvector 0 V d = copy c\n"


def summed(load: str, use: str, start: str = START, more: str = "") -> ir.Kernel:
    body = loop(LOAD.format(load), BARRIER, USE.format(use), more)
    return small(EVENTS_B, FREE_B + start + body + END)


SAME = "i == k"


def test_a_test_changes_no_order() -> None:
    kernel = summed(SAME, SAME)
    assert check(kernel).ok and parse(print_kernel(kernel)) == kernel
    always = ir.map_rows(kernel.body, lambda r: replace(r, test=None))
    assert check(kernel).states == check(replace(kernel, body=always)).states
    for row in (r for r in ir.all_rows(kernel.body) if r.wait):
        racy = ir.map_rows(kernel.body, lambda r, row=row: replace(r, wait=()) if r is row else r)
        assert not check(replace(kernel, body=racy)).ok


UNWRITTEN = {
    "written under another test": (summed(SAME, "i < k"), "reads b, which is written under a test"),
    "read always": (
        small(EVENTS_B, FREE_B + loop(LOAD.format(SAME), USE_B, BARRIER) + END_B),
        "reads b, which is written under a test",
    ),
    "nothing is there at first": (
        summed(SAME, SAME, start=""),
        "reads c, which is written under a test only",
    ),
    "written behind the read": (
        small(
            "",
            loop("vector 0 V d = copy a | if i == k\n", BARRIER, "vector 0 V a = full 0.0 | if i == k\n", BARRIER),
        ),
        "",
    ),
    "another buffer over it": (
        small(
            "buffer vector ub o[1] f32[8, 64] nd at 10240 by 2048\n",
            loop(
                "vector 0 V e = full 0.0\n", BARRIER, "vector 0 V o = full 1.0\n", BARRIER,
                "vector 0 V e = full 2.0 | if i == k\n", BARRIER, "vector 0 V d = copy e\n", BARRIER,
            ),
        ),
        "over o",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNWRITTEN)
def test_what_may_not_be_written_is_not_proven(name: str) -> None:
    kernel, message = UNWRITTEN[name]
    proof = check(kernel)
    kinds = [v.kind for v in proof.violations]
    assert not proof.ok and (
        message in proof.refused if proof.refused else kinds == ["uninitialised"]
    )


def test_a_test_in_a_test_is_one_of_the_two() -> None:
    """What is read under both is there where it is written under one of them."""
    both = "vector 0 S both = let n < 5 | if i == k\n"
    read = "vector 0 V d = copy a | if both\n"
    write = "vector 0 V a = full 0.0 | if {}\n"
    for test, right in (("i == k", True), ("both", True), ("n < 6", False)):
        body = loop(both, write.format(test), BARRIER, read, BARRIER)
        assert check(small("", body)).ok == right
    other = loop(both, write.format("both"), BARRIER, read.replace("both", "i == k"), BARRIER)
    assert not check(small("", other)).ok


def test_a_fifo_is_popped_from_as_it_is_pushed_to() -> None:
    """The signals come always; what comes with them must have been pushed."""

    def fed(push: str, pop: str) -> ir.Kernel:
        produce = PRODUCE.replace("f = push acc |", f"f = push acc | if {push} |")
        consume = f"vector 0 MTE2 b[u] = pop f | if {pop} | wait b.free[u] | set b.full[u]\n"
        use = USE_B.replace(" |", f" | if {pop} |", 1)
        body = loop(produce, consume, use, BARRIER)
        return small(CUBE + EVENTS_B, OPERANDS + FREE_B + body + END_B + ENDS)

    assert check(fed("i == k", "i == k")).ok
    assert "under the same tests" in check(fed("i == k", "i < k")).refused
    assert "under the same tests" in check(fed("i == k", "1")).refused


def test_ways_that_exclude_each_other_may_store_to_one_place() -> None:
    stores = "".join(
        f"vector 0 MTE3 out[w * 8:+8, :] = store p | if {test}\n" for test in ("{}", "{}")
    )
    body = "vector 0 V p = full 1.0 | set p.full\nvector 0 MTE3 sync | wait p.full\n"

    def twice(one: str, other: str) -> ir.Kernel:
        rows = loop(stores.format(one, other), trips="n", index="w")
        ends = "vector 0 MTE3 sync | set p.free\nvector 0 V sync | wait p.free\nvector 0 S drain MTE3\n"
        lanes = rows.replace("w * 8", "(w * block_num + block_idx) * 16 + lane * 8")
        return small(STORE, body + lanes + ends)

    assert check(twice("k < 3", "3 <= k")).ok
    assert not check(twice("k < 3", "2 < k + 1")).ok


def test_rows_that_do_not_work_leave_no_race() -> None:
    """Independent of what the proof takes for granted: each choice of ways, with the rows that do not work as rows
    that only wait and set, is proven as well."""
    kernel = WORDS["ways in a loop"].scheduled
    tests = list(dict.fromkeys(t for r in ir.all_rows(kernel.body) for t in r.tests))

    def only(works: dict[ir.Expr, bool]) -> ir.Kernel:
        def done(r: ir.Row) -> ir.Row:
            if r.test is None or isinstance(r.out, ir.Scalar) or works[r.test]:
                return replace(r, test=None if not isinstance(r.out, ir.Scalar) else r.test)
            return replace(r, op="sync", out=None, args=(), test=None, value="")

        return replace(kernel, body=ir.map_rows(kernel.body, done))

    ways = [dict(zip(tests, way, strict=True)) for way in product((False, True), repeat=len(tests))]
    both = [(t, o) for t in tests for o in tests if isinstance(t, ir.Bin) and o == opposite(t)]
    ways = [works for works in ways if not any(works[t] and works[o] for t, o in both)]
    assert len(ways) >= 20
    for works in ways[::3]:
        assert check(only(works)).ok, works


def some_under_tests(block: ir.Block, rng: random.Random, part: float, index: str = "") -> ir.Block:
    """Part of the rows in loops in every other iteration only."""
    found: list[ir.Node] = []
    for node in block:
        if isinstance(node, ir.Loop):
            node = replace(node, body=some_under_tests(node.body, rng, part, node.index))
        elif isinstance(node, ir.Row) and index and rng.random() < part:
            works = OPS[node.op].kind not in ("sync", "scalar") and node.op != "record"
            even = ir.Bin("==", ir.Bin("%", ir.Var(index), ir.Const(2)), ir.ZERO)
            node = replace(node, test=even) if works else node
        found.append(node)
    return tuple(found)


def random_programs(seeds: range) -> int:
    """How many random programs with rows under tests are proven: no order of any goes wrong."""
    proven = 0
    for seed in seeds:
        rng = random.Random(seed)
        kernel, what = draw(rng)
        part = rng.choice([0.2, 1, 1])
        kernel = replace(kernel, body=some_under_tests(kernel.body, rng, part))
        if not check(kernel).ok:
            continue
        proven += any(r.tests for r in ir.all_rows(kernel.body))
        for trips in range(5):
            with suppress(TooLarge):
                assert every_order(kernel, trips).ok, f"{seed} ({what}), {trips}"
    return proven


def test_no_order_goes_wrong_of_what_is_proven() -> None:
    assert random_programs(range(40)) > 3


@pytest.mark.sweep
def test_no_order_goes_wrong_of_more_programs() -> None:
    proven = random_programs(range(40, 3000))
    print(
        f"\n{proven} of 2960 random programs with rows under tests are proven, and right in every order"
    )
    assert proven > 250


def test_what_is_not_written_is_seen_by_the_executor() -> None:
    kernel = small(
        STORE,
        "vector 0 V p = full 1.0 | if go == 1 | set p.full\n"
        "vector 0 MTE3 out[0:+8, :] = store p | wait p.full | set p.free\n"
        "vector 0 V sync | wait p.free\nvector 0 S drain MTE3\n".replace(
            "out[0:+8", "out[block_idx * 16 + lane * 8:+8"
        ),
    )
    assert not check(kernel).ok
    for go, fails in ((1, False), (0, True)):
        bound = inputs.bind(
            kernel,
            dict(src=np.zeros((16, 64), np.float32), out=np.zeros((16, 64), np.float32), n=1, k=1, go=go),
        )  # fmt: skip
        if fails:
            with pytest.raises(MemoryAccessError, match="which was never written"):
                scheduled.run(kernel, bound, block_num=1)
        else:
            scheduled.run(kernel, bound, block_num=1)
            assert not list(Orders(kernel, bound, 1).differences(range(3)))


WRONG = {
    "barrier does no work": "vector 0 V barrier | if go == 1\n",
    "a slot that is not written keeps what it holds": "vector 0 V a = full 0.0 | if go == 1 else b\n",
    "'nothing' is not a scalar known here": "vector 0 V a = full 0.0 | if nothing\n",
    "a test is an integer, found a fraction": "vector 0 V a = full 0.0 | if 0.5\n",
}


@pytest.mark.parametrize("message", WRONG)
def test_a_test_that_is_not_legal(message: str) -> None:
    with pytest.raises(LegalityError, match=message):
        verify(small("", WRONG[message]))


def test_only_rows_of_a_schedule_have_tests() -> None:
    with pytest.raises(LegalityError, match="belongs to a scheduled program"):
        verify(
            parse(
                "kernel k\nparam y out f32[16, 64]\ngrid 1\na: f32[16, 64] = full 0.0 | if 1\ny[:, :] = store a\n"
            )
        )
