"""Stores at places that tables decide, by trying all: what is shown to lie apart never meets, in tables that
hold what their types state.

``t`` and ``k`` are counters, ``n`` a size; ``first``, ``count``, ``starts``, ``slots`` and ``part`` are tables.  Every
case is a right one of ``RIGHT`` with a few of its tokens changed, so it is right or nearly so.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from lowering.hazards.limits import Entry, Facts
from lowering.hazards.regions import disjoint, region_of
from pto.arithmetic import NumberError
from pto.ir import (
    Const,
    Distinct,
    Expr,
    Fact,
    Ranges,
    Sorted,
    Span,
    Var,
    View,
    Within,
    evaluate,
    substitute,
)
from pto.text import Parser, logical_lines

STATED: Mapping[str, tuple[Fact, ...]] = {
    "first": (Ranges("count"),),
    "starts": (Sorted(),),
    "slots": (Distinct(),),
    "part": (Within(Const(0), Var("n")),),
}
NAMES = {"t": "i#0", "k": "i#1"}
ITEMS, LENGTH = 4, 9
"""Values of ``t``, and entries of every table."""

RIGHT = (
    ("first[t] + k * 2:+2<count[t] - k * 2", "cdiv(count[t], 2)"),
    ("first[t] + k * 2 + lane:+1<count[t] - k * 2 - lane", "cdiv(count[t], 2)"),
    ("first[t] + k * 2:+2", "count[t] // 2"),
    ("first[t] + 3:+4<count[t]", "1"),
    ("first[t] * 2 + k * 2:+2", "count[t]"),
    ("first[t] + n + k:+4<min(count[t] - k, 1)", "count[t]"),
    ("first[t // 2] + k:+1<count[t // 2] - k, t % 2", "count[t // 2]"),
    ("starts[t] + k * 2:+2<starts[t + 1] - starts[t] - k * 2", "9"),
    ("starts[t] * 3 + k * 3:+3", "starts[t + 1] - starts[t]"),
    ("starts[t * 2] + k:+1", "max(starts[t * 2 + 2] - starts[t * 2], 0)"),
    ("starts[t] + k * 2:+2", "(starts[t + 1] - starts[t]) // 2"),
    ("starts[t + 1] + k:+1<starts[t + 2] - k - starts[t + 1]", "4"),
    (
        "first[t] + (starts[t + 1] - starts[t]) // 2:+9<count[t] - (starts[t + 1] - starts[t]) // 2",
        "1",
    ),
    ("slots[t]:+1", "1"),
    ("slots[t] * 4 + k:+1", "4"),
    ("slots[t * 2] * 3:+3, k", "2"),
    ("slots[slots[t] // 1 + 2]:+1, 0", "1"),
    ("t * n + part[t]:+1", "1"),
    ("t * n + part[t // 2]:+1", "1"),
    ("part[t] + n * (k + 3 * t):+1", "3"),
    ("(t + k) % n, t", "n"),
    ("t * n + k * 2:+2<n - k * 2", "cdiv(n, 2)"),
    ("(t // 2 * n + k) * 2 + t % 2:+1", "n"),
    ("t + k % 2 * 4:+1, k // 2", "4"),
    ("t % 2 + t // 2 % 2 * 2, k", "2"),
)
"""(region, how often ``k`` counts): all differ where ``t`` or ``k`` does."""


Items = tuple[Span | Expr, ...]


@dataclass(frozen=True)
class Case:
    """Two accesses, which two steps of a kernel make, and what is read for them."""

    accesses: tuple[Items, Items]
    trips: Expr
    facts: Facts


def made(region: str, trips: str, stated: Mapping[str, tuple[Fact, ...]], other: str = "") -> Case:
    """``table[index]`` becomes a value read.  ``other``: of the second access, where it is another one."""
    facts = Facts(frozenset({"n"}), greatest={"i#0": ITEMS - 1}, stated=stated)
    outside = re.compile(r", (?![^(]*\))")
    first, second = (
        tuple(item(read(text, facts)) for text in outside.split(r))
        for r in (region, other or region)
    )
    facts.trips["i#1"] = count = expression(read(trips, facts))
    return Case((first, second), count, facts)


def read(text: str, facts: Facts) -> str:
    """``text`` with names for the values read, which become entries of ``facts``."""
    while found := re.search(r"(\w+)\[([^\[\]]*)\]", text):
        entry = Entry(found[1], (expression(found[2]),))
        name = next((n for n, e in facts.entries.items() if e == entry), "")
        if not name:
            name = f"read{len(facts.entries)}"
            facts.entry(name, entry)
        text = f"{text[: found.start()]}{name}{text[found.end() :]}"
    return text


def expression(text: str) -> Expr:
    (line,) = logical_lines(text, "<test>")
    return substitute(Parser("", "").expression(line), {n: Var(c) for n, c in NAMES.items()})


def item(text: str) -> Span | Expr:
    start, _, rest = text.partition(":+")
    if not rest:
        return expression(start)
    size, _, valid = rest.partition("<")
    return Span(expression(start), int(size), expression(valid) if valid else None)


# -------------------------------------------------------------------------------------- by trying


def tables(
    rng: random.Random, n: int, stated: Mapping[str, tuple[Fact, ...]]
) -> dict[str, list[int]]:
    """Tables that hold what is stated, and nothing else."""
    counts = [rng.choice([0, 1, 2, 3, 5]) for _ in range(LENGTH)]
    if Ranges("count") not in itertools.chain(*stated.values()):
        counts = [c - 1 for c in counts]
    places, order = [0] * LENGTH, rng.sample(range(LENGTH), LENGTH)
    end = rng.randint(-2, 2)
    for k in order:
        places[k], end = end, end + max(counts[k], 0) + rng.choice([0, 0, 1])
    free = [rng.randint(-2, 9) for _ in range(LENGTH)]
    within = [rng.randrange(n) for _ in range(LENGTH)]
    made = {
        "first": (places, Ranges("count")),
        "starts": (sorted(free), Sorted()),
        "slots": (rng.sample(range(-2, 9), LENGTH), Distinct()),
        "part": (within, Within(Const(0), Var("n"))),
    }
    found = {
        name: good if fact in stated.get(name, ()) else rng.sample(free, LENGTH)
        for name, (good, fact) in made.items()
    }
    return found | {"count": counts}


def steps(
    case: Case, n: int, held: Mapping[str, list[int]]
) -> Iterator[tuple[dict[str, int], list[set]]]:
    """The names of every step, and the elements that each access touches in it: none where one of its
    indices has no value."""
    for t, lane in itertools.product(range(ITEMS), (0, 1)):
        env: dict[str, int] = {"i#0": t, "lane": lane, "n": n, "i#1": 0}

        def value(name: str, env: dict[str, int] = env) -> int:
            if name in env:
                return env[name]
            entry = case.facts.entries[name]
            at = int(evaluate(entry.place[0], value))
            if not 0 <= at < LENGTH:
                raise NumberError("there is no such entry")
            return held[entry.table][at]

        try:
            trips = int(evaluate(case.trips, value))
        except NumberError:
            continue
        for k in range(min(trips, 6)):
            env["i#1"] = k
            yield dict(env), [touched(x, value) for x in case.accesses]


def touched(items: Items, value: Callable[[str], int]) -> set:
    try:
        return set(itertools.product(*(interval(x, value) for x in items)))
    except NumberError:
        return set()


def interval(x: Span | Expr, value: Callable[[str], int]) -> range:
    x = x if isinstance(x, Span) else Span(x, 1)
    start = int(evaluate(x.start, value))
    return range(
        start, start + (x.size if x.valid is None else min(x.size, int(evaluate(x.valid, value))))
    )


def meets(case: Case, differ: str, rng: random.Random) -> bool:
    """Whether two steps that differ in ``differ`` touch one element."""
    for n in (1, 2, 3, 5):
        for _ in range(6):
            found = list(steps(case, n, tables(rng, n, case.facts.stated)))
            for (u, (a, _)), (v, (_, b)) in itertools.product(found, repeat=2):
                if u[differ] != v[differ] and all(u[name] == v[name] for name in SAME[differ]):
                    if a & b:
                        return True
    return False


SAME = {"i#0": {"n", "lane"}, "i#1": {"n", "lane", "i#0"}, "lane": {"n"}}
"""By what differs between two steps: what does not."""


def apart(case: Case, differ: str) -> bool:
    a, b = (region_of(View("out", items)) for items in case.accesses)
    return disjoint(a, b, SAME[differ], {differ}, {}, case.facts)


@pytest.mark.parametrize("right", RIGHT, ids=str)
def test_right_ones_are_shown_to_lie_apart(right: tuple[str, str]) -> None:
    case = made(*right, STATED)
    differ = ["i#0", "i#1"] if "k" in right[0] else ["i#0"]
    rng = random.Random(0)
    assert not any(meets(case, d, rng) for d in differ)
    assert all(apart(case, d) for d in differ)


@pytest.mark.parametrize("right", [r for r in RIGHT if "[" in r[0]], ids=str)
def test_without_what_is_stated_they_are_not(right: tuple[str, str]) -> None:
    assert not apart(made(*right, {}), "i#0")


WRONG = (
    ("first[0]:+9<count[1]", "1", "first[1]:+9<count[1]"),
    ("first[t]:+9<count[t + 1]", "1", "first[t + 1]:+9<count[t + 1]"),
    ("first[t] + count[t] - 1:+1", "1", ""),
    ("first[t]:+9<count[t] + 1 - min(k, 1)", "3", ""),
    ("first[t] * 0 - first[t]:+9<count[t]", "1", ""),
    ("starts[t]:+9<slots[t + 1] - starts[t]", "1", ""),
    ("starts[t]:+9<starts[t + 2] - starts[t]", "1", ""),
    (
        "first[t] + (starts[t] - starts[t + 1]) // 2:+9<count[t] - (starts[t] - starts[t + 1]) // 2",
        "1",
        "",
    ),
    ("t * 4 + k % (1 - 2 * t):+1", "4", ""),
    ("slots[t]:+1", "1", "slots[t + 1]:+1"),
    ("slots[t // 2]:+1", "1", ""),
    ("(t + 2 * k) % n, k * 0", "n", ""),
    ("t * t + k:+1", "2", ""),
)
"""(region, how often ``k`` counts, region of the second access): each misses a rule by its edge."""


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_misses_a_rule_by_its_edge(wrong: tuple[str, str, str]) -> None:
    region, trips, other = wrong
    case = made(region, trips, STATED, other)
    assert any(meets(case, "i#0", random.Random(seed)) for seed in range(9))
    assert not apart(case, "i#0")


TOKENS = re.compile(r"\d+|\b[tkn]\b|first|count|starts|slots|part|[-+*%]|//|min|cdiv|max|lane")
CHANGED = {
    **dict.fromkeys("0 1 2 3 4 8 9".split(), tuple("01234")),
    **dict.fromkeys("tkn", tuple("tkn012")),
    **dict.fromkeys(("lane",), ("lane", "0", "k")),
    **dict.fromkeys(("first", "count", "starts", "slots", "part"), ("first", "count", "starts", "slots", "part")),
    **dict.fromkeys("+-*", tuple("+-*")),
    **dict.fromkeys(("%", "//"), ("%", "//", "*")),
    **dict.fromkeys(("min", "max", "cdiv"), ("min", "max", "cdiv")),
}  # fmt: skip


def changed(text: str, rng: random.Random) -> str:
    """A token is another one."""
    found = rng.choice(list(TOKENS.finditer(text)))
    return text[: found.start()] + rng.choice(CHANGED[found[0]]) + text[found.end() :]


def drawn(rng: random.Random) -> tuple[str, str, str, str]:
    """(region, trip count, region of the second access, what differs)."""
    region, trips = rng.choice(RIGHT)
    other = region
    for _ in range(rng.choice([1, 1, 2, 3])):
        which = rng.choice(["both", "both", "other", "trips"])
        if which == "trips" and TOKENS.search(trips):
            trips = changed(trips, rng).replace("k", "t")  # it counts to what is known before
        elif which == "other":
            other = changed(other, rng)
        else:
            same, region = other == region, changed(region, rng)
            other = region if same else other
    region, other = (re.sub(r":\+0", ":+1", r) for r in (region, other))
    return region, trips, other, rng.choice(["i#0", "i#0", "i#1", "lane"])


def search(seed: int, count: int) -> dict[str, int]:
    """How many random cases were apart, how many met, and how many were neither shown to be apart nor met."""
    rng, told = random.Random(seed), {"apart": 0, "meet": 0, "open": 0}
    for _ in range(count):
        region, trips, other, differ = drawn(rng)
        stated = {n: f for n, f in STATED.items() if rng.random() < 0.9}
        case = made(region, trips, stated, other)
        shown, met = apart(case, differ), meets(case, differ, rng)
        assert not (shown and met), (region, trips, other, differ, sorted(stated))
        told["apart" if shown else "meet" if met else "open"] += 1
    return told


def test_what_is_shown_never_meets() -> None:
    told = search(0, 250)
    assert min(told["apart"], told["meet"]) > 40, told


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(1, 9))
def test_what_is_shown_never_meets_at_length(seed: int) -> None:
    print(search(seed, 2500))
