"""Sums over a table, as places of tiles that lie behind each other.

In: two numbers that folds give, in the starts of two accesses.  Out: their ``Cells``.  A fold that adds in every step,
and never less than 0, is a sum ``F(p)`` of its first ``p`` terms.  For ``p < q`` it is ``F(p) + term(p) <= F(q)``, so
``F(p) .. F(p) + term(p)`` and ``F(q) .. F(q) + term(q)`` share nothing.
Non-goals: terms that nobody names: that of a step is the value read there, which the program reads elsewhere, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from lowering.hazards.cells import Cells, Extent, point
from lowering.hazards.forms import Terms, form_of, normalise, plus, terms_of
from lowering.hazards.limits import Entry, Facts
from pto.folds import INDEX, NAMES, Fold
from pto.ir import Const, Expr, Var, as_span, exprs_of, names_in, substitute


def cells_of_sums(x: Extent, y: Extent, facts: Facts) -> Iterator[Cells]:
    """What there are in one dimension of two accesses."""
    if not facts.folds:
        return
    for v, w in ((v, w) for v in x.start for w in y.start if v[1] == w[1] > 0):
        (a, c), (b, _) = v, w
        first, second = facts.fold_of(a), facts.fold_of(b)
        if first is None or second is None or first.args[1:] != second.args[1:]:
            continue
        ends = [_end(fold, facts) for fold in (first, second)]
        if None in ends:
            continue
        meets = ((point(first.trips), point(second.trips)),)
        end_x, end_y = (
            plus({e: c}, form, c) for e, form in zip((a, b), ends, strict=True) if form is not None
        )
        yield Cells({a: c}, {b: c}, end_x, end_y, None, meets, around(first))


def _end(fold: Fold, facts: Facts) -> Terms | None:
    """What the next step adds to a sum, if that is one, of no less than no terms."""
    if facts.least(fold.trips) < 0 or not is_sum(fold, facts):
        return None
    following = term_at(fold, facts)
    return None if following is None else form_of(following)


def is_sum(fold: Fold, facts: Facts) -> bool:
    """Whether every step adds what is never negative and goes by no other sum, and nothing ends it early."""
    state, step = fold.states[0], fold.steps[0]
    terms = terms_of(step)
    handed = {x.name for x in fold.states}
    rest = (n for e in terms if e not in (None, state) for n in names_in(e))
    read = (n for x in fold.entries for e in exprs_of(x) for n in names_in(e))
    if terms.get(state) != 1 or fold.until != Const(0) or not handed.isdisjoint((*rest, *read)):
        return False
    return facts.inside(fold).least(term(fold)) >= 0


def term(fold: Fold) -> Expr:
    """What a step of a sum adds."""
    return substitute(fold.steps[0], {fold.states[0].name: Const(0)})


def term_at(fold: Fold, facts: Facts) -> Expr | None:
    """What the next step would add, by the values that are read elsewhere; None if one of them is not."""
    known: dict[str, Expr] = {INDEX.name: fold.trips}
    for x, view in fold.read:
        starts = (substitute(as_span(item).start, known) for item in view.index)
        value = facts.value_at(Entry(view.tensor, tuple(map(normalise, starts))))
        if value is None:
            return None
        known[x.name] = value
    return substitute(term(fold), known)


def around(fold: Fold) -> tuple[Expr, ...]:
    """The names that its start and its terms go by."""
    names = (n for x in fold.args[1:] for e in exprs_of(x) for n in names_in(e))
    return tuple(Var(n) for n in dict.fromkeys(names) if n not in NAMES)
