"""The independent judge of a schedule: no race and no deadlock, for every trip count.

In: a scheduled ``Kernel`` (made by the scheduler or parsed from text).  Out: a ``Proof``: ok, or the
violations with both accesses, the bytes, the smallest failing trip counts and the missing edge, or
a refusal with its reason.  Shares no code with the scheduler; the rules are docs/machine.md 9.

*All interleavings.*  One abstract execution decides them all: ``lowering/hazards/happens_before.py``.

*All trip counts, all sequences of work items.*  The execution stops wherever it needs a decision:
one more iteration of a loop or not, this branch or that.  From there on the future depends only on
the normal form of the state (``lowering/hazards/normal_form.py``), of which there are finitely many.  The
exploration takes both ways at every decision and stops at forms whose every hazard is also met from
a form explored before, because that one knows less.  Suppose some run meets a hazard: take the
shortest way to it from any form that was reached; its first decision leads to a form that was
explored or is covered, from where the way is shorter: so the exploration met a hazard itself.
Trip count n of a loop is "n times one more, then leave"; the persistent loop over work items is a
loop like any other.

*No false alarm from merging.*  A violation is replayed with the concrete decisions that led to it.
Two loops with one trip count expression are known to both run or both not run; beyond that, and
for tests on data, every combination is taken to be possible.

Symbolic dimensions are at least 1; other scalars may have any value.  Non-goals: numbers, speed, and
whether a slot holds the *intended* iteration (the executors check that).
"""

from __future__ import annotations

import gc
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from lowering.hazards.assumptions import readings
from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT, Threshold
from lowering.hazards.course import ENDED, FIRST, ITEM, MORE
from lowering.hazards.happens_before import Hit, Run
from lowering.hazards.instructions import LoopCode, Refused
from lowering.hazards.log import MOST, Log
from lowering.hazards.normal_form import NormalForm, Seen
from lowering.hazards.places import Fault
from lowering.hazards.proof import Proof, verdict
from lowering.hazards.report import described, faulty
from lowering.hazards.state import Need, State, decide, known_count
from lowering.hazards.violation import Violation
from lowering.target import A2A3, Target
from pto.errors import PtoError
from pto.ir import Const, Expr, Kernel, Loop, names_in
from pto.legality import verify
from pto.ops import SCHEDULED
from pto.row_rules import check_rows
from pto.text import expr

MAX_STATES = 4000
"""Normal forms after which ``check`` refuses instead of going on."""

MOST_WHOLE = 1 << 14
"""Steps that a constant loop is run for, where it fails as one of several trip counts that look alike."""

FAR = 24
"""Steps of one loop after which an exploration turns to shorter runs first."""


def check(
    kernel: Kernel,
    target: Target = A2A3,
    max_states: int = MAX_STATES,
    assume: Iterable[str] = (),
    order: random.Random | None = None,
) -> Proof:
    """Decides ``kernel`` for every trip count, sequence of work items, branch and interleaving.

    ``assume``: other readings of the machine, by name (``lowering/hazards/assumptions.py``).
    ``order``: explores in a random order; the verdict must be the same, the states need not.

    Raises:
        InputError: for a reading that does not exist.
    """
    try:
        code = _compiled(kernel, target, readings(assume))
        if code.faults:
            return faulty(code)
        proof = Exploration(code, max_states, order).proof()
        if proof.ok or not 0 < _constant_rounds(code) <= MOST_WHOLE:
            return proof
        whole = _compiled(kernel, target, readings(assume), whole=True)
        return Exploration(whole, max_states, order).proof()
    except Refused as reason:
        return Proof(False, refused=str(reason), message=f"{kernel.name}: refused: {reason}")


def _constant_rounds(code: Code) -> int:
    """How often the longest of the constant loops runs that were decided as if their trip counts
    were not known; 0 without such loops."""
    return max((x.rounds for x in code.loops if x.long), default=0)


Trips = int | Mapping[str, int]
"""Trip counts of one work item: of all its loops, or by loop index, trip count or test as printed."""


def check_unrolled(
    kernel: Kernel,
    trips: Sequence[Trips],
    target: Target = A2A3,
    assume: Iterable[str] = (),
    limit: int = MOST,
) -> Proof:
    """Executes ``kernel`` for these trip counts only, one entry per work item: no normal forms, no
    merging.  A kernel without a loop over work items takes the first entry.  A test that is not
    given holds.  A count below what the shapes guarantee is raised to it.  At most ``limit``
    hazards are looked for.

    Raises:
        InputError: for a reading that does not exist.
    """
    try:
        code = _compiled(kernel, target, readings(assume), blind=False)
    except Refused as reason:
        return Proof(False, refused=str(reason), message=f"{kernel.name}: refused: {reason}")
    if code.faults:
        return faulty(code)
    violations: tuple[Violation, ...] = ()
    more = False
    if _fails(code, trips):
        log = _logged(code, trips, limit)
        violations, more = described(code, log, ()), len(log.found) >= limit
    counts = [t for t in trips if isinstance(t, int)]
    message = f"{kernel.name}: {'failed' if violations else 'no hazard'} for trips {list(trips)}"
    longest = max(counts, default=0)
    return Proof(not violations, violations, 0, longest, message=message, more=more)


def smallest_failing(
    kernel: Kernel, limit: int = 12, target: Target = A2A3
) -> tuple[int, ...] | None:
    """The smallest trip counts up to ``limit``, one per work item, that fail; None if none does.

    One item before two, two before three; among as many items the smallest sum first.
    """
    try:
        code = _compiled(kernel, target)
    except Refused:
        return None
    return _smallest(code, limit) if not code.faults else ()


def _compiled(
    kernel: Kernel,
    target: Target,
    assume: frozenset[str] = frozenset(),
    blind: bool = True,
    whole: bool = False,
) -> Code:
    """The flat code; a program that is not legal has a fault that says so, and one with a row that
    does not fit its op has no code but that.

    ``blind``: stages may not know which item they are in, which a report needs to.
    """
    malformed = _illegal(lambda: check_rows(kernel))
    code = Code(replace(kernel, body=()) if malformed else kernel, target, assume, blind, whole)
    if not code.faults:
        code.faults += malformed or _illegal(lambda: verify(kernel, SCHEDULED))
    return code


def _illegal(check: Callable[[], object]) -> list[Fault]:
    """What is not legal, as a fault."""
    try:
        check()
    except PtoError as illegal:
        where = f" (at {illegal.loc})" if illegal.loc else ""
        return [Fault("illegal", f"{illegal.message}{where}")]
    return []


# ------------------------------------------------------------------------- concrete execution


class Oracle:
    """Takes decisions from a list of trip counts, one entry per work item."""

    def __init__(self, code: Code, trips: Sequence[Trips]) -> None:
        self.code, self.trips = code, trips
        self.items = next(
            (x.number for x in code.loops if x.parent == ABSENT and _over_items(x.trips)), ABSENT
        )
        self.counts: list[int] = []
        """Trip counts of the loop in a flat loop."""
        if self.items != ABSENT and code.loops[self.items].node.flat:
            least = next(x.least for x in code.loops if x.parent == self.items)
            if sum(x.node is code.loops[self.items].node for x in code.loops) > 1:
                least = 0  # there is a loop for items whose inner loop is empty
            self.counts = [max(self._iterations(x), least) for x in trips]

    def __call__(self, state: State, need: Need) -> bool:
        kind, number, at, step, _ = need
        if kind == MORE:
            return at < sum(self.counts)
        if kind == FIRST:
            return at in accumulate(self.counts)
        if kind == ITEM:
            return at < len(self.trips)
        if kind == "test":
            return bool(self._given(state, 1, expr(self.code.tests[number].expr)))
        if kind == "count":
            loop = self.loops_of(number)[0]
            given = self._given(state, 0, loop.node.index, expr(loop.node.trips))
            return step < max(given, loop.least)
        loop = self.code.loops[number]
        if number == self.items:
            return step < len(self.trips)
        if loop.node.flat:
            return step < self.counts.count(0)  # items whose inner loop is empty
        if loop.constant is not None:
            return step < self.code.shown(loop)
        given = self._given(state, 0, loop.node.index, expr(loop.node.trips))
        return step < max(given, loop.least)

    def _iterations(self, entry: Trips) -> int:
        """What ``entry`` says of the loop in a flat loop."""
        outer = self.code.loops[self.items].node
        inner = outer.body[outer.inner]
        assert isinstance(inner, Loop)
        if isinstance(inner.trips, Const):
            return self.code.shown(next(x for x in self.code.loops if x.node is inner))
        names = (inner.index, expr(inner.trips))
        if isinstance(entry, int):
            return entry
        return next((entry[n] for n in names if n in entry), 0)

    def loops_of(self, test: int) -> list[LoopCode]:
        about = self.code.tests[test].about
        assert isinstance(about, Threshold)
        return [x for x in self.code.loops if x.group == about.group]

    def item(self, state: State) -> int:
        """The work item that the leading core is in; -1 before the first."""
        if self.items == ABSENT:
            return 0
        loop = self.code.loops[self.items]
        return max((state.step[k][self.items] for k in loop.cursors), default=-1) - loop.high

    def _given(self, state: State, default: int, *names: str) -> int:
        item = self.item(state)
        entry = self.trips[min(max(item, 0), len(self.trips) - 1)] if self.trips else 0
        if not isinstance(entry, Mapping):
            return entry if default == 0 else default
        return next((entry[n] for n in names if n in entry), default)


def _over_items(trips: Expr) -> bool:
    return "block_num" in names_in(trips)


def _execute(code: Code, oracle: Oracle, log: Log | None = None) -> bool:
    """Runs to the end, or to the hazard that stops it (True): the first, or those that fill ``log``."""
    state = State(code)
    run = Run(code, state, log)
    try:
        while (need := run.advance()) is not None:
            decide(code, state, need, oracle(state, need))
    except Hit:
        return True
    return False


def _smallest(code: Code, limit: int, items: int = 3) -> tuple[int, ...] | None:
    has_items = Oracle(code, ()).items != ABSENT
    candidates = _sequences(limit, items) if has_items else [(n,) for n in range(limit + 1)]
    return next((trips for trips in candidates if _fails(code, trips)), None)


def _sequences(limit: int, items: int) -> list[tuple[int, ...]]:
    """Trip count sequences, simplest first: () and all single counts, then pairs, then triples."""
    out: list[tuple[int, ...]] = [()]
    for n in range(1, items + 1):
        short = limit if n == 1 else min(limit, 4)
        level: list[tuple[int, ...]] = [()]
        for _ in range(n):
            level = [(*head, k) for head in level for k in range(short + 1)]
        out += sorted(level, key=lambda t: (sum(t), t))
    return out


# -------------------------------------------------------------------------------- exploration


class Exploration:
    """Follows every decision from every normal form until no new one appears."""

    def __init__(self, code: Code, max_states: int, order: random.Random | None = None) -> None:
        self.code, self.max_states, self.order = code, max_states, order
        self.form = NormalForm(code)
        self.longest = 0

    def proof(self) -> Proof:
        """The outcome for all decisions."""
        collects = gc.isenabled()
        gc.disable()  # nothing here is cyclic, and there is much of it
        try:
            path = self._search()
        except Hit:
            path = ()
        finally:
            if collects:
                gc.enable()
        if path is None:
            message = f"{self.code.kernel.name}: {self._summary()}"
            return Proof(True, (), self.states, self.longest, message=message)
        return self._failed(path)

    def _summary(self) -> str:
        loops = "every trip count" if self.code.loops else "its only run"
        states = "1 state" if self.states == 1 else f"{self.states} states"
        return f"proven for {loops} and every interleaving ({states} explored)"

    def _search(self) -> tuple[bool, ...] | None:
        """Follows decisions until every normal form is covered by one that was explored; the
        decisions that lead to a hazard, or None.

        Long runs come first: their states know least and cover most of what comes later.
        """
        self.states = 0
        seen: dict[tuple[object, ...], Seen] = {}
        open_states: deque[tuple[State, Need, tuple[bool, ...]]] = deque()
        start = State(self.code)
        need = Run(self.code, start).advance()
        if need is not None:
            open_states.append((start, need, ()))
        while open_states:
            if self.order is not None:
                open_states.rotate(self.order.randrange(len(open_states)))
            state, need, path = open_states.pop()
            options = self._options(state, need)
            if self.order is not None:
                options = tuple(self.order.sample(options, len(options)))
            for k, choice in enumerate(options):
                child = state.fork() if k + 1 < len(options) else state
                decide(self.code, child, need, choice)
                try:
                    following = Run(self.code, child).advance()
                except Hit:
                    return (*path, choice)
                if following is None or self._covered(seen, child, following):
                    continue
                far = following[3] > FAR
                (open_states.appendleft if far else open_states.append)(
                    (child, following, (*path, choice))
                )
        return None

    def _covered(self, seen: dict[tuple[object, ...], Seen], s: State, need: Need) -> bool:
        """True if states explored before meet every hazard of ``s``; else ``s`` is noted."""
        self._forget(s)
        form = self.form.form(s)
        if seen.setdefault((need[0], need[1], form.same), Seen()).covers(form):
            return True
        self.states += 1
        if self.states > self.max_states:
            fewer = (
                "; a smaller lookahead, or a loop that is not flat (--no-flat), needs fewer"
                if self.code.flats
                else ""
            )
            raise Refused(f"not closed after {self.max_states} states{fewer}")
        return False

    def _options(self, state: State, need: Need) -> tuple[bool, ...]:
        """The ways to go on, leaving first."""
        kind, number, _, step, instance = need
        if kind in ("test", MORE, FIRST, ITEM):
            return (False, True)
        if kind == "count":
            sure = max(x.least for x in Oracle(self.code, ()).loops_of(number))
            return (True,) if step < sure and sure > 0 else (False, True)
        loop = self.code.loops[number]
        self.longest = max(self.longest, step)
        over = self.code.ends(loop, step)
        if over is not None:
            return (not over,)
        if loop.reused and not loop.long:
            known, exact = known_count(self.code, state, loop.group, instance)
            if step < known:
                return (True,)
            if exact and known < self.code.caps[loop.group]:
                return (False,)
        return (False, True)

    def _forget(self, s: State) -> None:
        """Drops decisions that no core can ask for again."""
        for outer, course in s.course.items():
            passed = course.known
            for k, inner, blind in self.code.flats[outer]:
                if inner != ABSENT and not blind and s.step[k][inner] != ENDED:
                    passed = min(passed, s.total[k][inner] + s.step[k][inner])
            s.course[outer] = replace(course, firsts=tuple(p for p in course.firsts if p > passed))
        if not s.group and not s.tests:
            return
        scopes = {x.group: x.scope for x in self.code.loops}
        s.group = {k: n for k, n in s.group.items() if not self._past(s, scopes[k[0]], k[1])}
        s.tests = {
            k: v for k, v in s.tests.items() if not self._past(s, self.code.tests[k[0]].scope, k[1])
        }

    def _past(self, s: State, scope: int, instance: int) -> bool:
        if scope == ABSENT:
            return False
        loop: LoopCode = self.code.loops[scope]
        lowest = [s.total[k][scope] + max(s.step[k][scope] - loop.span, 0) for k in loop.cursors]
        return instance < min(lowest, default=0)

    def _failed(self, path: tuple[bool, ...]) -> Proof:
        """The proof that ends in a hazard, shown by the smallest run that has it."""
        code, name = self.code, self.code.kernel.name
        trips, log = self._replay(path)
        counts = [max(t.values(), default=0) for t in trips]
        highest = sum(counts) if code.flats else max(counts, default=0)
        failing: tuple[Trips, ...] | None = _smallest(code, max(highest, 2), 1)
        if failing is None:
            failing = _shrunk(code, trips)
        told = _compiled(code.kernel, code.target, code.assume, blind=False)
        confirmed = _logged(told, failing)
        if not confirmed.found:
            violations = described(code, log, ())
            message = f"{name}: failed, if these decisions can go together: {trips}"
            return Proof(False, violations, self.states, self.longest, None, "", message)
        run = tuple(t if isinstance(t, int) else max(t.values(), default=0) for t in failing)
        violations = described(told, confirmed, run)
        what = f"{name}: {verdict(violations)}"
        message = what + ("" if code.tests else ", in every run of it")
        for x in (x for x in code.loops if x.long):
            message += (
                f"; shown with {code.shown(x)} instead of {x.constant} steps of {x.node.index}"
            )
        if any(x.constant is None for x in code.loops):
            counts_text = f"smallest failing trip counts, one per work item: {_short(failing)}"
            message = f"{what}; {counts_text}"
        exact = run if _fails(code, run) else None
        more = len(confirmed.found) >= confirmed.limit
        return Proof(False, violations, self.states, self.longest, exact, "", message, more)

    def _replay(self, path: tuple[bool, ...]) -> tuple[list[dict[str, int]], Log]:
        """The same decisions with a log; per work item the trip counts and tests by name."""
        code, log, state = self.code, Log(), State(self.code)
        run, oracle = Run(code, state, log), Oracle(code, ())
        items: dict[int, dict[str, int]] = {}
        empty = 0
        try:
            for choice in path:
                need = run.advance()
                if need is None:
                    break
                given = items.setdefault(oracle.item(state), {})
                if need[0] == "loop" and code.loops[need[1]].node.flat:
                    empty += choice
                if need[0] == "test":
                    given[expr(code.tests[need[1]].expr)] = int(choice)
                elif need[0] == "count":
                    for x in oracle.loops_of(need[1]):
                        given.setdefault(expr(x.node.trips), need[3] + choice)
                elif need[1] != oracle.items and code.loops[need[1]].constant is None:
                    given[expr(code.loops[need[1]].node.trips)] = need[3] + choice
                elif choice:
                    items.setdefault(need[3], {})
                decide(code, state, need, choice)
            run.advance()
        except Hit:
            pass
        if oracle.items in state.course:
            return self._counts(state, oracle.items, empty), log
        return [items[k] for k in sorted(items) if k >= 0], log

    def _counts(self, state: State, outer: int, empty: int) -> list[dict[str, int]]:
        """The trip counts of the inner loop in a flat one, as far as they are decided, per work item;
        the first ``empty`` are 0."""
        course = state.course[outer]
        inner = next(x for x in self.code.loops if x.parent == outer)
        end = max(course.promised, course.known)
        edges = (*(course.firsts or (0,)), end)
        counts = [y - x for x, y in pairwise(edges) if y > x]
        return [{expr(inner.node.trips): n} for n in (*(0 for _ in range(empty)), *counts)]


def _short(trips: Sequence[Trips]) -> list[object]:
    """Work items with a single count as that count."""
    return [
        next(iter(t.values()), 0) if not isinstance(t, int) and len(t) < 2 else t for t in trips
    ]


def _logged(code: Code, trips: Sequence[Trips], limit: int = MOST) -> Log:
    log = Log(limit)
    _execute(code, Oracle(code, trips), log)
    return log


def _fails(code: Code, trips: Sequence[Trips]) -> bool:
    return _execute(code, Oracle(code, trips))


def _shrunk(code: Code, trips: Sequence[Mapping[str, int]]) -> tuple[Trips, ...]:
    """A failing run made smaller: fewer work items, then lower counts, as long as it fails."""
    now: list[dict[str, int]] = [dict(t) for t in trips]
    if not _fails(code, now):
        return tuple(now)
    for k in reversed(range(len(now))):
        fewer = now[:k] + now[k + 1 :]
        if _fails(code, fewer):
            now = fewer
    for k, item in enumerate(now):
        for name, count in item.items():
            for lower in range(count):
                less = [*now[:k], {**now[k], name: lower}, *now[k + 1 :]]
                if _fails(code, less):
                    now = less
                    break
    return tuple(now)
