"""Accesses under conditions, by trying all: what is shown to lie apart never meets where the conditions hold.

``t`` and ``k`` are counters, ``n`` a size; conditions and regions are drawn from a few that decide, or nearly.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from lowering.hazards.equations import where_they_hold
from lowering.hazards.limits import Facts
from lowering.hazards.regions import disjoint, region_of
from pto.ir import Const, Expr, Var, View, evaluate
from tests.hazards.test_cells import SAME, expression

TRIPS = 3
RIGHT = (
    ("t == n - 1", "0"),
    ("n - 1 <= t", "0"),
    ("t < 1", "0"),
    ("t % 2 == 0", "t // 2"),
    ("t % 2 != 0", "t // 2"),
    ("0 < t % 2", "t // 2"),
    ("t % 3 == 1", "t // 3"),
    ("(t == k) * (k == 2)", "0"),
    ("(t // 2 == 1) * (t % 2 != 0) != 0", "0"),
    ("t == k", "k"),
    ("t + k == 2", "k"),
)
"""(condition, place): of no two ``t`` the same place."""

WRONG = (
    ("t <= n - 1", "0"),
    ("n - 2 <= t", "0"),
    ("t < 2", "0"),
    ("t != 0", "0"),
    ("t % 3 != 0", "t // 3"),
    ("t % 2 == 0", "t // 3"),
    ("t % 2 <= 1", "t // 2"),
    ("t // 2 == 1", "0"),
    ("t == k", "0"),
    ("k == 1", "k"),
)
"""The same, and there are two."""


def facts() -> Facts:
    trips: dict[str, Expr] = {"i#0": Var("n"), "i#1": Const(TRIPS)}
    return Facts(frozenset({"n"}), greatest={"i#1": TRIPS - 1}, trips=trips)


Access = tuple[Expr, Expr]
"""A condition and a place."""


def access(condition: str, place: str) -> Access:
    return expression(condition), expression(place)


def apart(a: Access, b: Access, differ: str) -> bool:
    x, y = (region_of(View("out", (place,))) for _, place in (a, b))
    x, y = where_they_hold(x, y, (a[0],), (b[0],), facts())
    return disjoint(x, y, SAME[differ], {differ}, {}, facts())


def places(a: Access, n: int) -> Iterator[tuple[dict[str, int], int]]:
    """The counters of each step in which a condition holds, and the place then."""
    for t, k in itertools.product(range(n), range(TRIPS)):
        env = {"i#0": t, "i#1": k, "n": n}
        if evaluate(a[0], env.__getitem__):
            yield env, int(evaluate(a[1], env.__getitem__))


def meets(a: Access, b: Access, differ: str) -> bool:
    """Whether two steps that differ in ``differ``, and not in what does not then, have one place."""
    same = SAME[differ] - {"lane"}
    return any(
        x == y and u[differ] != v[differ] and all(u[name] == v[name] for name in same)
        for n in range(1, 8)
        for (u, x), (v, y) in itertools.product(places(a, n), places(b, n))
    )


@pytest.mark.parametrize("right", RIGHT, ids=str)
def test_conditions_that_decide(right: tuple[str, str]) -> None:
    one = access(*right)
    assert not meets(one, one, "i#0") and apart(one, one, "i#0")


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_conditions_that_nearly_do(wrong: tuple[str, str]) -> None:
    one = access(*wrong)
    assert meets(one, one, "i#0") and not apart(one, one, "i#0")


TESTS = ("{} == {}", "{} != {}", "{} < {}", "{} <= {}", "({} == {}) * ({} != {})")
SCALARS = (
    "t",
    "k",
    "n",
    "t % 2",
    "t % 3",
    "t // 2",
    "k % 2",
    "t + k",
    "t - k",
    "n - 1",
    "0",
    "1",
    "2",
)


def drawn(rng: random.Random) -> Access:
    test = rng.choice(TESTS)
    given = (rng.choice(SCALARS) for _ in range(test.count("{}")))
    return access(test.format(*given), rng.choice(SCALARS))


def test_what_is_shown_never_meets() -> None:
    """Two accesses of any two conditions."""
    rng, shown = random.Random(0), 0
    for _ in range(1500):
        a, b, differ = drawn(rng), drawn(rng), rng.choice(["i#0", "i#1"])
        b = rng.choice([a, b])
        if apart(a, b, differ):
            shown += 1
            assert not meets(a, b, differ), (a, b, differ)
    assert shown > 100
