"""When two accesses of a tensor surely share no element: each rule at its edge, and by trying all.

``i`` and ``j`` stand for loop counters, ``p`` for a page number that was read, ``n`` for any scalar.
"""

from __future__ import annotations

import itertools
import random

import pytest

from lowering.hazards.limits import Facts
from lowering.hazards.regions import Region, disjoint, region_of
from pto.ir import Expr, Span, Var, View, evaluate, substitute
from pto.text import Parser, logical_lines

COUNTERS = {"i": "i#0", "j": "i#1", "u": "u#0", "w": "i#2"}
OPAQUE = {"p": frozenset({"i#0"}), "q": frozenset({"i#0", "i#1"})}


def expression(text: str) -> Expr:
    (line,) = logical_lines(text, "<test>")
    names = {name: Var(counter) for name, counter in COUNTERS.items()}
    return substitute(Parser("", "").expression(line), names)


def region(text: str) -> Region:
    """``START:+SIZE``, with ``by STEP`` and ``<VALID`` behind it, of every dimension, or a single index."""
    return region_of(View("t", tuple(item(part) for part in text.split(", "))))


def item(text: str) -> Span | Expr:
    start, _, rest = text.partition(":+")
    if not rest:
        return expression(start)
    rest, _, valid = rest.partition("<")
    size, _, step = rest.partition(" by ")
    return Span(expression(start), int(size), expression(valid) if valid else None, int(step or 1))


def apart(a: str, b: str, same: str = "", differ: str = "", **greatest: int) -> bool:
    def names(text: str) -> set[str]:
        return {COUNTERS.get(n, n) for n in text.split()}

    most = {COUNTERS[n]: v for n, v in greatest.items()}
    facts = Facts(frozenset({"rows"}), frozenset(), most)
    return disjoint(region(a), region(b), names(same), names(differ), OPAQUE, facts)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        # a constant apart
        (("0:+8", "8:+8"), ("0:+8", "7:+8")),
        (("8:+8", "0:+8"), ("7:+8", "0:+8")),
        (("n:+8", "n + 8:+4", "n"), ("n:+8", "n + 8:+4")),
        (("n:+8", "n + 8:+4", "n"), ("n:+9", "n + 8:+4", "n")),
        (("0:+16<8", "8:+8"), ("0:+16<9", "8:+8")),
        (("3", "4"), ("3", "3")),
        (("3:+1", "4"), ("3:+2", "4")),
        # in any dimension
        (("n:+8, 0:+8", "n:+8, 8:+8"), ("n:+8, 0:+8", "n:+8, 4:+8")),
        # other iterations
        (("i * 8:+8", "i * 8:+8", "", "i"), ("i * 8:+8", "i * 8:+8")),
        (("i * 8:+8", "i * 8:+8", "", "i"), ("i * 8:+9", "i * 8:+9", "", "i")),
        (("i * 8:+8", "i * 8:+8", "", "i"), ("i * 8:+8", "i * 8 + 1:+8", "", "i")),
        (("i * 8:+4", "i * 8 + 4:+4", "", "i"), ("i * 8:+4", "i * 8 + 5:+4", "", "i")),
        (("i", "i", "", "i"), ("i", "i", "", "j")),
        (("i * 8:+16<8", "i * 8:+16<8", "", "i"), ("i * 8:+16<9", "i * 8:+16<9", "", "i")),
        # a rest between two numbers
        (("i * 8 + lane * 4:+4", "i * 8 + lane * 4:+4", "", "i"), ("i * 7 + lane * 4:+4", "i * 7 + lane * 4:+4", "", "i")),
        (("lane * 4:+4", "lane * 4:+4", "", "lane"), ("lane * 4:+5", "lane * 4:+5", "", "lane")),
        (("i * 8 + j:+1", "i * 8 + j:+1", "", "i"), ("i * 8 + j:+2", "i * 8 + j:+2", "", "i")),
        (("i * 8 + n:+8", "i * 8 + n:+8", "n", "i"), ("i * 8 + n:+8", "i * 8 + n:+8", "", "i")),
        # a valid count between two numbers
        (("i * 8:+16<j", "i * 8:+16<j", "j", "i", 8), ("i * 8:+16<j", "i * 8:+16<j", "j", "i", 9)),
        (("i * 8:+16<j", "i * 8:+16<j", "", "i", 8), ("i * 8:+16<j", "i * 8:+16<j", "", "i", 9)),
        (("i * 8:+16<j + 1", "i * 8:+16<j + 1", "j", "i"), ("i * 8:+16<j + 2", "i * 8:+16<j + 2", "j", "i")),
        # every so many elements
        (("0:+4 by 2", "1:+4 by 2"), ("0:+4 by 2", "2:+4 by 2")),
        (("0:+4 by 2", "7"), ("0:+4 by 2", "6")),
        (("0:+4 by 3", "10:+4"), ("0:+4 by 3", "9:+4")),
        (("6:+1 by 2", "0:+4 by 4"), ("4:+1 by 2", "0:+4 by 4")),
        (("0:+4 by 4", "1:+8 by 6"), ("0:+4 by 4", "2:+8 by 6")),
        (("0:+4 by 6", "1:+4 by 9"), ("0:+4 by 6", "3:+4 by 9")),
        (("n:+8 by 2", "n + 1:+8 by 2", "n"), ("n:+8 by 2", "n + 1:+8 by 2")),
        (("n * 4:+8 by 2", "n * 2 + 1:+8 by 4"), ("n * 4:+8 by 2", "n * 3 + 1:+8 by 2")),
        (("i:+8 by 2", "i:+8 by 2", "", "i", 7, 1), ("i:+8 by 2", "i:+8 by 2", "", "i", 7, 2)),
        (("i:+8 by 3", "i:+8 by 3", "", "i", 7, 2), ("i:+8 by 3", "i:+8 by 3", "", "i", 7, 3)),
        (("3 - i:+8 by 4", "3 - i:+8 by 4", "", "i", 7, 3), ("4 - i:+8 by 4", "4 - i:+8 by 4", "", "i", 7, 4)),
        (("i * 16 + j:+8 by 2", "i * 16 + j:+8 by 2", "", "j", 1), ("i * 16 + j:+8 by 2", "i * 16 + j:+8 by 2", "", "j", 2)),
        (("i * 16 + j:+8 by 2", "i * 16 + j:+8 by 2", "", "i", 1), ("i * 16 + j:+9 by 2", "i * 16 + j:+9 by 2", "", "i", 2)),
        (("i * 16 + lane * 8 + j:+4 by 2", "i * 16 + lane * 8 + j:+4 by 2", "", "lane", 1),
         ("i * 16 + lane * 7 + j:+4 by 2", "i * 16 + lane * 7 + j:+4 by 2", "", "lane", 1)),
        (("i * 16:+9 by 2<8", "i * 16:+9 by 2<8", "", "i"), ("i * 16:+9 by 2<9", "i * 16:+9 by 2<9", "", "i")),
        (("i * 16 + j:+9 by 2<8", "i * 16 + j:+9 by 2<8", "", "i", 1), ("i * 16 + j:+9 by 2<9", "i * 16 + j:+9 by 2<9", "", "i", 1)),
        # blocks of other numbers, in parts
        (("i * 16 + lane * 8:+8", "j * 16 + lane * 8:+8", "", "lane"), ("i * 16 + lane * 7:+8", "j * 16 + lane * 7:+8", "", "lane")),
        (("i * 16:+8", "j * 16 + 8:+8"), ("i * 16:+8", "j * 16 + 7:+8")),
        (("i * 16 + 4:+8", "j * 16 + 12:+8"), ("i * 16 + 4:+8", "j * 16 + 12:+9")),
        (("i * 16 + n * 8:+8", "j * 16 + n * 8 + 8:+8", "n"), ("i * 16 + n * 8:+8", "j * 16 + n * 8 + 8:+8")),
        (("i * 16:+8", "j * 48 + 8:+8"), ("i * 16:+8", "j * 40 + 8:+8")),
        (("i * 16:+9<8", "j * 16 + 8:+8"), ("i * 16:+9<9", "j * 16 + 8:+8")),
        # quotient and remainder
        (("i // 4, i % 4", "i // 4, i % 4", "", "i"), ("i // 4, i % 3", "i // 4, i % 3", "", "i")),
        (("i // 2 // 4, i // 2 % 4, i % 2", "i // 2 // 4, i // 2 % 4, i % 2", "", "i"),
         ("i // 2 // 4, i // 2 % 4, i % 3", "i // 2 // 4, i // 2 % 4, i % 3", "", "i")),
        (("i // 8, i // 2 % 4, i % 2", "i // 8, i // 2 % 4, i % 2", "", "i"),
         ("i // 9, i // 2 % 4, i % 2", "i // 9, i // 2 % 4, i % 2", "", "i")),
        # work items
        (("block_idx + w * block_num", "block_idx + w * block_num", "", "block_idx"),
         ("block_idx + w * 2", "block_idx + w * 2", "", "block_idx")),
        (("(block_num * w + block_idx) * 8:+8", "(block_idx + w * block_num) * 8:+8", "", "w"),
         ("(block_idx + w * block_num) * 8:+9", "(block_idx + w * block_num) * 8:+9", "", "w")),
        (("block_idx + w * block_num:+8", "block_idx + w * block_num + 8:+8", "block_idx w"),
         ("block_idx + w * block_num:+8", "block_idx + w * block_num + 8:+8", "block_idx")),
        # values read
        (("p:+8", "p + 8:+8", "i"), ("p:+8", "p + 8:+8", "j")),
        (("q:+8", "q + 8:+8", "i j"), ("q:+8", "q + 8:+8", "i")),
        (("p * 8 + i:+1, i", "p * 8 + i:+1, i", "", "i"), ("p * 8:+8", "p * 8:+8", "", "i")),
    ],
)  # fmt: skip
def test_each_rule_at_its_edge(right: tuple, wrong: tuple) -> None:
    def asked(given: tuple) -> bool:
        views = [x for x in given if isinstance(x, str)]
        most = dict(zip("ji", [x for x in given if isinstance(x, int)] or [7], strict=False))
        return apart(*views, **most)

    assert [asked(right), asked(wrong)] == [True, False]


MOST = {"i": 3, "j": 2, "lane": 1, "n": 2}
"""Every scalar is tried from 0 to here; ``n`` from below 0 too."""


def drawn_item(rng: random.Random) -> str:
    parts = [
        f"{rng.choice(list(MOST))} * {rng.choice([1, 2, 4, 4, 8])}"
        for _ in range(rng.randint(1, 2))
    ]
    start = " + ".join([*parts, str(rng.randint(0, 4))])
    start = rng.choice([start, f"({start}) // 2", f"({start}) % 4"])
    valid = rng.choice(["", "", "<j", "<n", "<2"])
    step = rng.choice(["", "", " by 2", " by 3", " by 4"])
    return f"{start}:+{rng.choice([1, 2, 4])}{step}{valid}"


def interval(x: Span | Expr, values: dict[str, int]) -> range:
    x = x if isinstance(x, Span) else Span(x, 1)
    start = int(evaluate(x.start, values.__getitem__))
    size = x.size if x.valid is None else min(x.size, int(evaluate(x.valid, values.__getitem__)))
    return range(start, start + x.step * size, x.step)


def overlap(a: list[Span | Expr], b: list[Span | Expr], same: set[str], differ: set[str]) -> bool:
    """Whether any values of the scalars make the two meet."""
    names = [COUNTERS.get(n, n) for n in MOST]
    ranges = [range(-2 if n == "n" else 0, most + 1) for n, most in MOST.items()]
    for x, y in itertools.product(itertools.product(*ranges), repeat=2):
        u, v = dict(zip(names, x, strict=True)), dict(zip(names, y, strict=True))
        if any(u[n] != v[n] for n in same) or any(u[n] == v[n] for n in differ):
            continue
        if all(set(interval(s, u)) & set(interval(t, v)) for s, t in zip(a, b, strict=True)):
            return True
    return False


def test_what_is_apart_never_meets() -> None:
    rng, found = random.Random(0), 0
    facts = Facts(greatest={COUNTERS[n]: MOST[n] for n in ("i", "j")})
    for _ in range(240):
        texts = [drawn_item(rng) for _ in range(rng.randint(1, 2))]
        a = [item(t) for t in texts]
        b = [item(t if rng.random() < 0.7 else drawn_item(rng)) for t in texts]
        names = {COUNTERS.get(n, n) for n in MOST}
        differ = {rng.choice(sorted(names))}
        same = {n for n in sorted(names - differ) if rng.random() < 0.6}
        views = [region_of(View("t", tuple(x))) for x in (a, b)]
        if disjoint(views[0], views[1], same, differ, {}, facts):
            found += 1
            assert not overlap(a, b, same, differ), (a, b, same, differ)
    assert found > 16
