"""Every interleaving of a small program, without data: is there one in which it goes wrong?

In: the streams of one hardware block (``lowering/execute/instructions.py``).  Out: the first order found in
which two conflicting rows are in flight at once, or another rule is broken; else how many states
there are.  A race by this definition is exactly a pair without an order in docs/machine.md 9: if
neither must end before the other starts, some order has both in flight.

Up to partial order: issuing and starting are done at once, since they never prevent anything; only
the end of work and the taking of a flag come in all orders.  States met before are not entered again.
This judges ``lowering/hazards/`` and shares no code with it.  Non-goals: large programs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from lowering.execute.cluster import (
    ISSUE,
    START,
    WORK,
    Cluster,
    InterleavingError,
    Move,
    queues_of,
)
from lowering.execute.instructions import Extent, Instruction, Program
from pto.ir import Word

MAX_STATES = 200_000
ADDED = (Word("add"),)


class TooLarge(Exception):
    """More states than were allowed."""


@dataclass(frozen=True)
class Verdict:
    """``kind`` '' : nothing goes wrong in any order.  ``states``: distinct states entered."""

    kind: str
    message: str
    states: int

    @property
    def ok(self) -> bool:
        return not self.kind


def explore(
    program: Program, max_states: int = MAX_STATES, assume: Collection[str] = ()
) -> Verdict:
    """Follows every order of ``program``, under the readings ``assume``.

    Raises:
        TooLarge: after ``max_states`` states.
    """
    seen: set[tuple[object, ...]] = set()
    try:
        start = Cluster(queues_of(program, assume))
        stack = [(start, _settled(start))]
        while stack:
            cluster, choices = stack.pop()
            if cluster.key in seen:
                continue
            seen.add(cluster.key)
            if len(seen) > max_states:
                raise TooLarge(f"more than {max_states} states")
            if not choices:
                cluster.finish()
            for move in choices:
                after = cluster.copy()
                after.make(move)
                stack.append((after, _settled(after)))
    except InterleavingError as error:
        return Verdict(error.kind, error.message, len(seen))
    return Verdict("", "", len(seen))


def one_lane(program: Program) -> Program:
    """The same program as if the vector core had one lane; both lanes run the same rows."""
    target = replace(program.target, lanes=1)
    return replace(program, target=target, streams=program.streams[:2])


def _settled(cluster: Cluster) -> list[Move]:
    """Issues and starts all that can be; the moves left, each of which is a choice.

    Raises:
        InterleavingError: two conflicting rows are in flight.
    """
    while True:
        moves = cluster.moves()
        free = next((m for m in moves if _commutes(cluster, m)), None)
        if free is None:
            return moves
        begun = cluster.make(free)
        if begun is not None:
            _check(cluster, begun)


def _commutes(cluster: Cluster, move: Move) -> bool:
    """Making ``move`` now prevents nothing; a row of the scalar unit that takes a flag might."""
    if move.kind == ISSUE:
        ins = cluster.queues.program.streams[move.where][cluster.pc[move.where]]
        return ins.pipe[1] != "S" or not ins.waits
    return move.kind == START


def _check(cluster: Cluster, new: Instruction) -> None:
    """The row that has just started, against all others in flight; what it pops without a signal is pushed."""
    if new.row.op == "pop" and not new.acquires:
        _check_pushed(cluster, new)
    for parts, waiting in zip(cluster.queues.parts, cluster.waiting, strict=True):
        for n in waiting:
            old = parts[n].of
            if parts[n].kind == WORK and old is not new and conflict(old, new):
                raise InterleavingError("race", _told(cluster.queues.program, old, new), new)


def _check_pushed(cluster: Cluster, pop: Instruction) -> None:
    """Every sender has started as many pushes of the FIFO as this one has started pops; whether they have ended
    is a matter of races."""
    program, name = cluster.queues.program, pop.row.queue
    (receiver, _), started = pop.pipe, dict[int, int]()
    for p, parts in enumerate(cluster.queues.parts):
        begun = [
            x.of for x in parts[: cluster.ahead[p]] if x.kind == WORK and x.of.row.queue == name
        ]
        if begun:
            started[begun[0].pipe[0]] = len(begun)
    senders = program.senders(program.kernel.fifo(name), False)
    if any(started.get(k, 0) < started[receiver] for k in senders):
        raise InterleavingError("early", f"{pop.told(program)}\n  nothing is pushed yet", pop)


def overlap(a: Extent, b: Extent) -> bool:
    """Whether two extents share a byte or an element."""
    return a[0] == b[0] and all(
        x.start < y.stop and y.start < x.stop and (x.step == y.step == 1 or any(k in y for k in x))
        for x, y in zip(a[1], b[1], strict=True)
    )


def conflict(a: Instruction, b: Instruction) -> bool:
    """Whether ``a``, issued first if they are of one pipe, and ``b`` must not overlap in time.

    A vector row reads its operands before a later row of the pipe writes (docs/machine.md 6.3).  Of two stores that
    add, which write nothing else, the same is left in any order (3.6).
    """
    if a.row.args[1:] == b.row.args[1:] == ADDED and a.row.op == b.row.op == "store":
        return False
    if any(overlap(x, y) for x in a.writes for y in (*b.reads, *b.writes)):
        return True
    if a.pipe == b.pipe and a.pipe[1] == "V":
        return False
    return any(overlap(x, y) for x in a.reads for y in b.writes)


def _told(program: Program, a: Instruction, b: Instruction) -> str:
    return f"{a.told(program)}\n  may still run when this starts:\n  {b.told(program)}"
