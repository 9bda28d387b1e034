"""The scheduled program in numpy, its pipes interleaved at random: a race gives other bits.

In: a scheduled kernel, the bound arrays, seeds.  Out: the outputs of program order, and for every
seed whether a legal order of the pipes (``lowering/execute/cluster.py``) gave the same bits.  The same
seed gives the same order.  A row reads and writes at one moment between its start and its finish;
a vector row reads at its start and writes at its finish.  Any race shows in some order; a schedule
that is proven never differs in any.  Whether the signal of a push may come before its data is a reading of
the machine (``cluster.py``).  Non-goals: time; proving (that is ``lowering/hazards/``).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowering.execute.access import Array
from lowering.execute.cluster import (
    ISSUE,
    Cluster,
    InterleavingError,
    Move,
    Queues,
    queues_of,
)
from lowering.execute.inputs import Bound
from lowering.execute.instructions import Blocks, Instruction
from lowering.execute.said import Heard
from pto.errors import InputError, PtoError
from pto.ir import Kernel, is_scheduled
from pto.targets import target_of

Choose = Callable[[list[Move]], Move]
"""Picks the next move of all that are enabled; never asked about none."""

CHANGES = 3
"""Moments at which an order by priorities turns against the pipe that is running: a race of two
accesses needs one, behind at most two others (Burckhardt et al., A Randomized Scheduler with
Probabilistic Guarantees of Finding Bugs, ASPLOS 2010)."""


# -------------------------------------------------------------------------------------- orders


def program_order(moves: list[Move]) -> Move:
    """Every row is complete before its core issues the next."""
    return max(moves, key=lambda m: m.kind)  # FINISH before TAKE before START before ISSUE


def order(seed: int, queues: Queues) -> Choose:
    """The order of one seed: by turns always late for one pipe, by priorities, and at random."""
    rng = random.Random(seed)
    styles = (_late_pipe, _priorities, lambda rng, number, queues: rng.choice)
    return styles[seed % len(styles)](rng, seed // len(styles), queues)


def _late_pipe(rng: random.Random, number: int, queues: Queues) -> Choose:
    """The worst case for whoever forgot to wait: one pipe moves only when nothing else can."""
    late = number % max(len(queues.pipes), 1)

    def choose(moves: list[Move]) -> Move:
        others = [m for m in moves if m.kind == ISSUE or m.where != late]
        return rng.choice(others or moves)

    return choose


def _priorities(rng: random.Random, number: int, queues: Queues) -> Choose:
    """Pipes and scalar units by random priorities, which change at a few random moments."""
    units = [(False, p) for p in range(len(queues.pipes))]
    units += [(True, k) for k in range(len(queues.program.streams))]
    rng.shuffle(units)
    rank = {u: n for n, u in enumerate(units)}
    steps = 4 * sum(len(s) for s in queues.program.streams)
    changes = {rng.randrange(steps + 1) for _ in range(CHANGES)}
    made = 0

    def unit(move: Move) -> tuple[bool, int]:
        return move.kind == ISSUE, move.where

    def choose(moves: list[Move]) -> Move:
        nonlocal made
        made += 1
        first = max(rank[unit(m)] for m in moves)
        mine = [m for m in moves if rank[unit(m)] == first]
        if made in changes:
            rank[unit(mine[0])] = -made
        return rng.choice(mine)

    return choose


# --------------------------------------------------------------------------------------- runs


class _Data:
    """Makes the rows of a cluster really read and write."""

    def __init__(self) -> None:
        self.read: dict[int, Any] = {}

    def begun(self, ins: Instruction) -> None:
        if ins.pipe[1] == "V" and ins.action is not None:
            self.read[id(ins)] = np.array(ins.action.fetch())

    def ended(self, ins: Instruction) -> None:
        if ins.action is not None:
            early = self.read.pop(id(ins), None)
            ins.action.commit(ins.action.fetch() if early is None else early)


@dataclass(frozen=True)
class Difference:
    """What goes wrong in the order of ``seed``; ``kind`` is 'bits', 'said' or that of the error."""

    seed: int
    kind: str
    message: str


class Orders:
    """A kernel on given inputs, to be run in many orders.

    Hardware blocks come one after the other: each in program order, then again from the same start
    in the order of every seed.  ``assume``: readings of the machine (``cluster.py``).  ``outputs`` are
    those of program order once all blocks have run; so is what was ``heard``, and ``made`` counts the orders.
    """

    def __init__(
        self, kernel: Kernel, bound: Bound, blocks: int, assume: Collection[str] = ()
    ) -> None:
        self.assume = assume
        self.launch = Blocks(kernel, bound, blocks)
        self.outputs = self.launch.outputs
        self.left = self.launch.left
        self.heard = Heard()
        self.made = 0

    def differences(self, seeds: Sequence[int] = ()) -> Iterator[Difference]:
        """Per block the seeds whose order does not give the bits of program order.

        Raises:
            InterleavingError: program order itself has a deadlock or misuses a flag.
            MemoryAccessError: program order itself reads what was never written.
            InputError: a reading that no executor has.
        """
        with np.errstate(all="ignore"):
            for program in self.launch:
                before = self._copy()
                queues = queues_of(program, self.assume)
                said = self._run(queues, program_order)
                self.heard.add(said)
                want = self._copy()
                for seed in seeds:
                    self._restore(before)
                    found = self._difference(queues, seed, want, said)
                    if found is not None:
                        yield found
                self._restore(want)

    def _copy(self) -> dict[str, Array]:
        return {n: a.copy() for n, a in self.left.items()}

    def _restore(self, saved: dict[str, Array]) -> None:
        for name, array in saved.items():
            self.left[name][...] = array

    def _run(self, queues: Queues, choose: Choose) -> Heard:
        """What is said in one order."""
        self.launch.poison()
        heard = self.launch.machine.heard = Heard()
        data = _Data()
        cluster = Cluster(queues, data.begun, data.ended)
        while moves := cluster.moves():
            cluster.make(choose(moves))
        cluster.finish()
        return heard

    def _difference(
        self, queues: Queues, seed: int, want: dict[str, Array], said: Heard
    ) -> Difference | None:
        self.made += 1
        try:
            heard = self._run(queues, order(seed, queues))
        except PtoError as error:
            kind = error.kind if isinstance(error, InterleavingError) else "uninitialised"
            return Difference(seed, kind, str(error))
        for name, array in self.outputs.items():
            if array.tobytes() != want[name].tobytes():
                return Difference(seed, "bits", f"{name}{_first_difference(array, want[name])}")
        for mine, others in ((heard.printed, said.printed), (heard.failed, said.failed)):
            new = Counter(s.told() for s in mine) - Counter(s.told() for s in others)
            for text in new:
                return Difference(seed, "said", f"it says {text!r}")
        return None


def _first_difference(got: Array, want: Array) -> str:
    bits = [np.ascontiguousarray(a).view(np.uint8).reshape(*a.shape, -1) for a in (got, want)]
    at = tuple(int(i) for i in np.argwhere((bits[0] != bits[1]).any(axis=-1))[0])
    where = ", ".join(map(str, at))
    return f"[{where}] is {got[at]} instead of {want[at]}"


def blocks_for(kernel: Kernel, bound: Bound) -> int:
    """Hardware blocks with two work items each, so that what one leaves behind meets the next."""
    return max(1, min(target_of(kernel).block_num, -(-bound.items // 2)))


def run(
    kernel: Kernel,
    bound: Bound,
    *,
    seeds: Sequence[int] = range(20),
    block_num: int | None = None,
    assume: Collection[str] = (),
) -> dict[str, Array]:
    """The outputs in program order, if the order of every seed gives the same bits.

    Raises:
        InterleavingError: for an order that does not, with what happened and how to replay it.
        InputError: a kernel that is not scheduled, or a reading that no executor has.
    """
    if not is_scheduled(kernel):
        raise InputError(f"{kernel.name} is not scheduled: no row has a core")
    blocks = blocks_for(kernel, bound) if block_num is None else block_num
    orders = Orders(kernel, bound, blocks, assume)
    for bad in orders.differences(seeds):
        raise InterleavingError(bad.kind, f"{bad.message}\n  with --seed {bad.seed}")
    return orders.outputs
