"""Scalars: where each is known, on which both lanes must agree, and numbers that make no sense."""

from __future__ import annotations

import pytest

from tests.hazards.refuted import DIVERGE, STEP_A, diverge, refuted
from tests.judges.small_programs import (
    CUBE,
    EVENTS_B,
    loop,
    small,
)
from tests.lenient import check


def test_lanes_must_agree_on_what_runs() -> None:
    assert check(diverge()).ok
    reads = DIVERGE.replace(
        "vector 0 S count = read lens[w]", "vector 0 S count = read lens[w + lane]"
    )
    refuted(diverge(reads), "", "the trip count of loop i depends on the lane")
    both = DIVERGE.replace("count = read lens[w]", "count = read lens[w + lane]")
    refuted(diverge(both), "", "the trip count of loop i depends on the lane")
    through = "vector 0 S where = let w + lane\n  vector 0 S count = read lens[where]"
    refuted(
        diverge(DIVERGE.replace("vector 0 S count = read lens[w]", through)),
        "", "the trip count of loop i depends on the lane",
    )  # fmt: skip


@pytest.mark.parametrize("test", ["lane", "g", "h"])
def test_lanes_must_agree_on_branches(test: str) -> None:
    body = (
        "vector 0 S g = read lens[lane]\nvector 0 S h = let g + 1\nvector 0 S j = read lens[0]\n"
        f"if {test} < 1:\n  vector 0 V a = full 0.0\n"
    )
    refuted(diverge(body, ""), "", "a branch depends on the lane")
    assert check(diverge(body.replace(f"if {test} ", "if j "), "")).ok


OTHER_CORE = DIVERGE.replace("  cube 0 S count = read lens[w]\n", "")


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("'zzz' is not a buffer", "vector 0 V zzz = full 0.0\n"),
        ("'zzz' is not a scalar known here on the vector core", loop(STEP_A, trips="zzz")),
        ("'count' is not a scalar known here on the cube core", OTHER_CORE),
        ("'g' is not a scalar known here on the cube core",
         "vector 0 S g = read lens[0]\nif g:\n  vector 0 V a = full 0.0\n  cube 0 M barrier\n"),
        ("'g' is not a scalar known here", "if g:\n  vector 0 V a = full 0.0\nvector 0 S g = read lens[0]\n"),
        ("'t' is not a scalar known here",  # before it is defined
         loop("vector 0 MTE2 a = load src[t:+8, :]\nvector 0 S t = let i * 8\n")),
        ("'t' is not a scalar known here",  # one step before it is defined
         loop("vector 0 S t = let i * 8\nvector +1 MTE2 a = load src[t:+8, :]\n")),
        ("'t' is not a scalar known here",
         loop("vector -1 S t = let i * 8\nif go:\n  vector 0 MTE2 a = load src[t:+8, :]\n")),
        ("'t' is not a scalar known here",
         loop("vector -1 S t = let i * 8\nif t:\n  vector 0 V a = full 0.0\n")),
        ("'t' is not a scalar known here",  # behind the loop that defines it
         loop("vector 0 S t = let i * 8\n", STEP_A) + "vector 0 MTE2 a = load src[t:+8, :]\n"),
        ("'t' is not a scalar known here",  # behind the branch that defines it
         "if go:\n  vector 0 S t = let 8\n  vector 0 V d = full 0.0\nvector 0 MTE2 a = load src[t:+8, :]\n"),
        ("'t' is not a scalar known here",
         "if go:\n  vector 0 S t = let 8\n  vector 0 V d = full 0.0\n"
         + loop("if go:\n  vector 0 MTE2 a = load src[t:+8, :]\n")),
        ("'t' is defined twice on the vector core", "vector 0 S t = let 8\nvector 0 S t = let 9\n" + STEP_A),
        ("'n' is defined twice on the vector core", "vector 0 S n = let 8\n" + STEP_A),
        ("a loop inside runs at shift 0, all rows beside it at others",
         loop("vector +1 S t = read lens[i]\n", loop(STEP_A, index="j", trips="t"), index="i")),
        ("'lane' is not a scalar known here on the cube core", "cube 0 S t = let lane\n" + STEP_A),
        ("the cube core has no pipe V", STEP_A + "cube 0 V barrier\n"),
        ("the vector core has no pipe M", STEP_A + "vector 0 M sync\n"),
        ("drain: the vector core has no pipe FIX", STEP_A + "vector 0 S drain FIX\n"),
    ],
)  # fmt: skip
def test_what_is_not_legal_is_not_proven(text: str, body: str) -> None:
    declared = EVENTS_B + CUBE if "pop" in body else ""
    refuted(diverge(body, declared), "illegal", text)


@pytest.mark.parametrize(
    "body",
    [
        loop("vector 0 S t = let i * 8\nvector 0 MTE2 a = load src[t:+8, :]\nvector 0 MTE2 barrier\n"),
        loop("vector 0 MTE2 a = load src[t:+8, :]\nvector 0 MTE2 barrier\nvector +1 S t = let i * 8\n"),
        loop("vector +1 S t = let i * 8\nif go:\n  vector 0 MTE2 a = load src[t:+8, :]\n  vector 0 MTE2 barrier\n"),
        "if go:\n  vector 0 S t = let 8\n  vector 0 MTE2 a = load src[t:+8, :]\n"
        "else:\n  vector 0 S t = let 9\n  vector 0 MTE2 a = load src[t:+8, :]\n",
        "if go:\n  vector 0 S t = let 8\n"
        + "".join("  " + x + "\n" for x in loop("vector 0 MTE2 a = load src[t:+8, :]\nvector 0 MTE2 barrier\n").splitlines()),
        "cube 0 S t = let 8\nvector 0 S t = let 9\n" + STEP_A,
        loop("vector 0 S t = let i\n", STEP_A) + loop("vector 0 S t = let i\n", STEP_A),
    ],
)  # fmt: skip
def test_scalars_of_an_iteration(body: str) -> None:
    proof = check(diverge(body, ""))
    assert proof.ok, proof.report()


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("division by zero", loop(STEP_A, trips="n // 0", index="i")),
        ("division by zero", loop(STEP_A, trips="4 // 0", index="i")),
        ("division by zero", loop("if i % 0 == 0:\n  vector 0 V a = full 0.0\n", index="i")),
        ("a trip count is an integer, found a fraction", loop(STEP_A, trips="2.5", index="i")),
    ],
)
def test_numbers_that_make_no_sense(text: str, body: str) -> None:
    refuted(small("", body), "illegal", text)
