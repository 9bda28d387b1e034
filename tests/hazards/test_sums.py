"""Stores at sums over a table, by trying all: what is shown to lie apart never meets, whatever the table holds.

``t`` counts items; ``x`` is the entry that a step of the fold reads, ``r`` one that the program reads.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

import pto
from lowering.hazards.limits import Entry, Facts
from lowering.hazards.proof import HazardError
from lowering.hazards.regions import disjoint, region_of
from lowering.schedule import schedule
from pto import Tensor
from pto.folds import ENTRIES, INDEX, STATES, Fold
from pto.ir import Const, Expr, Fact, Span, Var, View, Within, as_span, evaluate, substitute
from pto.scalar import Index
from pto.text import Parser, logical_lines

ITEMS = 4
NAMES = {
    "t": Var("i#0"),
    "i": INDEX,
    "s": STATES[0],
    "o": STATES[1],
    "x": ENTRIES[0],
    "r": Var("read$0"),
}

RIGHT: Mapping[str, Sequence[str]] = {
    "trips": ("t", "t + 1", "2 * t", "7 - t"),
    "until": ("0",),
    "start": ("0", "n", "n - 9"),
    "step": ("s + max(x, 0)", "s + max(x, 0) * 2 + 1", "max(x, 1) + i + s", "s + n"),
    "entry": ("i", "i + 1"),
    "place": ("t", "t + 1", "2 * t", "7 - t"),
    "valid": ("r", "max(r, 0)", "max(r, 1) + t", "n", "max(r, 0) * 2 + 1"),
    "factor": ("1", "3"),
}
"""What makes a case, of values that are right together or not."""
WRONG: Mapping[str, Sequence[str]] = {
    "trips": ("t // 2", "t - 1", "3 - 2 * t"),
    "until": ("x < 1", "i == 2"),
    "start": ("t", "0 - t"),
    "step": (
        "s + x",
        "x",
        "s + max(x, 0) - 1",
        "s + s + max(x, 0)",
        "s + max(x, o)",
        "max(s, x)",
        "s - max(x, 0)",
    ),
    "entry": ("i - 1", "0", "max(s, 0) % 5"),
    "place": ("t - 1", "0"),
    "valid": ("r + 1", "max(r, 2)", "n + 1", "9"),
    "factor": ("-1",),
}


@dataclass(frozen=True)
class Case:
    """A fold, whose number times ``factor`` is where items store, and how much ``valid`` says."""

    fold: Fold
    place: Expr
    valid: Expr
    factor: int
    stated: tuple[Fact, ...] = ()

    @property
    def facts(self) -> Facts:
        facts = Facts(frozenset({"n"}), greatest={"i#0": ITEMS - 1}, stated={"count": self.stated})
        facts.entry("read$0", Entry("count", (self.place,)))
        facts.fold("fold$0", self.fold)
        return facts

    def apart(self) -> bool:
        start = substitute(Var("fold$0"), {})
        places = (Span(expression(f"{self.factor} * f", f=start), 99, self.scaled),)
        region = region_of(View("out", places))
        opaque = {"fold$0": frozenset({"i#0", "n"}), "read$0": frozenset({"i#0"})}
        return disjoint(region, region, {"n"}, {"i#0"}, opaque, self.facts)

    @property
    def scaled(self) -> Expr:
        return expression(f"{max(self.factor, 1)} * v", v=self.valid)

    def elements(self, t: int, n: int, table: Sequence[int]) -> range:
        """What item ``t`` stores; nothing where a step reads what is not there."""
        env: dict[str, int] = {"i#0": t, "n": n}

        def entry(view: View, known: Any) -> int:
            (index,) = view.index
            return read(int(evaluate(as_span(index).start, known)))

        def read(at: int) -> int:
            if not 0 <= at < len(table):
                raise IndexError
            return table[at]

        env["read$0"] = read(int(evaluate(self.place, env.__getitem__)))
        env["fold$0"] = int(self.fold.value(env.__getitem__, entry))
        start = self.factor * env["fold$0"]
        return range(start, start + int(min(evaluate(self.scaled, env.__getitem__), 99)))

    def meets(self, rng: random.Random) -> bool:
        """Whether two items store one element."""
        for n, _ in itertools.product((1, 2, 4), range(8)):
            least = 0 if self.stated else -3
            table = [rng.randint(least, 4) for _ in range(12)]
            found = []
            for t in range(ITEMS):
                try:
                    found.append(set(self.elements(t, n, table)))
                except IndexError:
                    continue
            if any(a & b for a, b in itertools.combinations(found, 2)):
                return True
        return False


def expression(text: str, **more: Expr) -> Expr:
    (line,) = logical_lines(text, "<test>")
    return substitute(Parser("", "").expression(line), {**NAMES, **more})


def made(parts: Mapping[str, str], stated: tuple[Fact, ...] = ()) -> Case:
    e = {name: expression(text) for name, text in parts.items() if name != "factor"}
    states = (e["start"], Const(1)), (e["step"], expression("o + i"))
    both = "o" in parts["step"]
    starts, steps = (x[: 1 + both] for x in states)
    fold = Fold(e["trips"], e["until"], starts, steps, (View("count", (e["entry"],)),))
    return Case(fold, e["place"], e["valid"], int(parts["factor"]), stated)


PACKED = {
    "trips": "t", "until": "0", "start": "n", "step": "s + max(x, 0)", "entry": "i", "place": "t", "valid": "r", "factor": "1",
}  # fmt: skip
GOOD = (
    {},
    {"valid": "max(r, 0)", "factor": "3"},
    {"step": "s + max(x, 0) * 2 + 1", "valid": "max(r, 0) * 2 + 1"},
    {"step": "s + n", "valid": "n"},
    {"trips": "7 - t", "place": "7 - t"},
    {"trips": "2 * t", "place": "2 * t"},
    {"entry": "i + 1", "place": "t + 1"},
    {"step": "max(x, 1) + i + s", "valid": "max(r, 1) + t"},
)
"""What is changed of packed items, and still right."""


@pytest.mark.parametrize("change", GOOD, ids=str)
def test_the_terms_of_a_sum_lie_apart(change: Mapping[str, str]) -> None:
    case = made({**PACKED, **change})
    assert case.apart() and not case.meets(random.Random(0))


def test_what_a_type_states_makes_a_sum() -> None:
    parts = {**PACKED, "step": "s + x"}
    assert made(parts, (Within(Const(0), Const(5)),)).apart()
    assert not made(parts, (Within(Const(-1), Const(5)),)).apart()
    assert not made(parts).apart()


BAD = tuple({part: text} for part, texts in WRONG.items() for text in texts)


@pytest.mark.parametrize("change", BAD, ids=str)
def test_nothing_else_does(change: Mapping[str, str]) -> None:
    """One part that is wrong; some of these are right, and not shown."""
    assert not made({**PACKED, **change}).apart()


def test_less_than_no_steps_are_none() -> None:
    """``F(-1)`` is ``F(0)``."""
    parts = {**PACKED, "step": "s + n", "valid": "n"}
    assert made(parts).apart() and not made({**parts, "trips": "t - 1", "place": "t - 1"}).apart()


def test_two_folds_are_one_sum_or_none() -> None:
    """Numbers of one sum, at different places of it; those of two have nothing to do with each other."""

    def apart(**change: str) -> bool:
        facts, regions = Facts(frozenset({"n"})), []
        for k, parts in enumerate(({}, {"trips": "t + 1", "place": "t + 1", **change})):
            case = made({**PACKED, **parts})
            facts.entry(f"read${k}", Entry("count", (case.place,)))
            facts.fold(f"fold${k}", case.fold)
            span = Span(Var(f"fold${k}"), 99, Var(f"read${k}"))
            regions.append(region_of(View("out", (span,))))
        return disjoint(*regions, {"n", "i#0"}, (), {}, facts)

    assert apart()
    assert not apart(start="0")
    assert not apart(entry="i + 1", place="t + 2")
    assert not apart(step="s + max(x, 0) * 2")


def judged(seed: int, count: int) -> int:
    """How many of so many random cases are shown to lie apart."""
    rng, shown = random.Random(seed), 0
    for _ in range(count):
        parts = {name: rng.choice(texts) for name, texts in RIGHT.items()}
        parts["place"] = parts["trips"]
        if rng.random() < 0.5:
            name = rng.choice(list(RIGHT))
            parts[name] = rng.choice((*RIGHT[name], *WRONG[name]))
        case = made(parts)
        if case.apart():
            shown += 1
            assert not case.meets(rng), parts
    return shown


def test_random_ones() -> None:
    assert judged(0, 400) > 20


@pytest.mark.sweep
def test_more_random_ones() -> None:
    assert judged(1, 5_000) > 250


# ------------------------------------------------------------------------------------ whole kernels


def storing(term: Any, valid: Any) -> Any:
    """Items store rows behind each other."""

    @pto.kernel(grid="n", x="f32[n, 16, 64]", count="i32[n]", other="i32[n]", out="f32[rows, 64]")
    def kernel(x: Tensor, count: Tensor, other: Tensor, out: Tensor) -> None:
        t = pto.program_id(0)
        first = pto.fold(t, lambda i, s: s + term(count, i), 0)
        here = pto.ds(first, 16, valid=valid(count, other, t))
        pto.store(out[here, :], pto.load(x[t, :, :]))

    return kernel.trace()


def positive(count: Tensor, i: Index) -> Any:
    return pto.maximum(count[i], 0)


def test_packed_items_are_proven() -> None:
    assert schedule(storing(positive, lambda count, other, t: count[t])).proof.ok


def test_tiles_of_packed_items_are_proven() -> None:
    """Several work items store what one fold puts in place."""

    @pto.kernel(
        grid="n, 4", x="f32[n, 64, 64]", count="i32[n] in 0 .. 65", out="f32[rows, 64]",
        static=dict(tall=16),
    )  # fmt: skip
    def kernel(x: Tensor, count: Tensor, out: Tensor, *, tall: int) -> None:
        b, t = pto.program_id(0), pto.program_id(1)
        first = pto.fold(b, lambda i, s: s + count[i], 0)
        here = pto.ds(first + t * tall, 16, valid=count[b] - t * tall)
        pto.store(out[here, :], pto.load(x[b, pto.ds(t * 16, 16), :]))

    assert schedule(kernel.trace()).proof.ok
    with pytest.raises(pto.PtoError, match="each takes 16 elements, but axis 1 of the grid moves"):
        kernel.trace(tall=8)


@pytest.mark.parametrize(
    ("term", "valid", "told"),
    [
        (lambda count, i: count[i], lambda count, other, t: count[t], "no sum of terms that are never"),
        (positive, lambda count, other, t: other[t], "must end within the term of the next step"),
        (positive, lambda count, other, t: count[t] + 1, "must end within the term of the next step"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(term: Any, valid: Any, told: str) -> None:
    with pytest.raises(HazardError, match=told):
        schedule(storing(term, valid))
