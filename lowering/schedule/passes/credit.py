"""Which FIFOs go without free signals.

In: a scheduled kernel, and who proves one.  Out: the same, with ``no credit`` at FIFOs that need none,
of more slots where it takes them, and a note for each.  Invariant: a FIFO goes without only where the
whole kernel is proven so.  Non-goals: proving it (``lowering/hazards``), the way back itself (skew).

A free signal keeps a push behind the pop of the tile that its slot held.  Where the cores answer each
other the answer does that already: the core that pushes tile n + slots has waited for what the other
core sent behind its pop of tile n, if the ring has a slot for every step between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import filterfalse
from typing import Protocol

from lowering.schedule.options import Options
from pto import ir
from pto.targets import target_of

MORE = 3
"""Slots that are tried beyond those that free signals need: the steps from a push to the answer are as
many as the lookahead, and one or two for records that come late."""


class Verdict(Protocol):
    """``refused``: why nothing is said, as there are too many states."""

    @property
    def ok(self) -> bool: ...
    @property
    def refused(self) -> str: ...


class Judge(Protocol):
    """Who proves a scheduled kernel, and who knows sooner that one is wrong."""

    def proof(self, kernel: ir.Kernel) -> Verdict: ...
    def refutes(self, kernel: ir.Kernel) -> bool: ...


def credit(kernel: ir.Kernel, options: Options, judge: Judge) -> ir.Kernel:
    """Free signals where ``options.credit`` says."""
    if options.credit == "always":
        return kernel
    kernel = all_bare(kernel, options, judge) or one_by_one(kernel, options, judge)
    notes = [note(kernel, fifo) for fifo in kernel.fifos if not fifo.credit]
    return replace(kernel, notes=(*kernel.notes, *notes))


def all_bare(kernel: ir.Kernel, options: Options, judge: Judge) -> ir.Kernel | None:
    """No FIFO has free signals, each as few slots as it can; None if that is not right."""
    tried = without(kernel, kernel.fifos, options)
    found = next(filterfalse(judge.refutes, tried), None)
    if found and not options.fifo_depth:
        found = shallowest(found, judge.refutes)
    return found if found and judge.proof(found).ok else None


def one_by_one(kernel: ir.Kernel, options: Options, judge: Judge) -> ir.Kernel:
    """Without free signals of one FIFO after the other, where that is right.  Of a kernel that needs too many
    states with all of them, nothing is asked; nor of more slots of a FIFO that needs too many with fewer."""
    for fifo in kernel.fifos:
        for less in filterfalse(judge.refutes, without(kernel, (fifo,), options)):
            if not judge.proof(kernel).ok:
                return kernel
            proof = judge.proof(less)
            if proof.ok:
                kernel = less
            if proof.ok or proof.refused:
                break
    return kernel


def without(kernel: ir.Kernel, fifos: tuple[ir.Fifo, ...], options: Options) -> Iterator[ir.Kernel]:
    """The kernel without free signals of ``fifos``, by rising depth; none where nothing comes back to
    one.  A depth that was asked for stays."""
    if not fifos or not all(ways_back(kernel, f, fifos) for f in fifos):
        return
    more = MORE if not options.fifo_depth else 0
    most = target_of(kernel).most_signals
    for extra in range(more + 1):
        if max(f.depth for f in fifos) + extra <= most:
            yield bare(kernel, {f.name: f.depth + extra for f in fifos})


def bare(kernel: ir.Kernel, depths: Mapping[str, int]) -> ir.Kernel:
    """FIFOs of these depths, without free signals."""
    made = (
        replace(f, depth=depths[f.name], credit=False) if f.name in depths else f
        for f in kernel.fifos
    )
    return replace(kernel, fifos=tuple(made))


def shallowest(kernel: ir.Kernel, fails: Callable[[ir.Kernel], bool]) -> ir.Kernel:
    """One FIFO after the other of as few slots as are not known to be too few."""
    for fifo in kernel.fifos:
        for depth in range(fifo.depth - 1, 0, -1):
            less = bare(kernel, {fifo.name: depth})
            if fails(less):
                break
            kernel = less
    return kernel


def ways_back(kernel: ir.Kernel, fifo: ir.Fifo, bare: tuple[ir.Fifo, ...] = ()) -> list[str]:
    """Other FIFOs by which the core that pops ``fifo`` signals to the one that pushes: its own pushes,
    and free signals, but not those of ``bare``."""
    others = (f for f in kernel.fifos if f.name != fifo.name)
    return [f.name for f in others if f.direction != fifo.direction or (f.credit and f not in bare)]


def note(kernel: ir.Kernel, fifo: ir.Fifo) -> str:
    name, back = fifo.name, " or ".join(ways_back(kernel, fifo))
    chain = f"pop {name}, then a signal of {back}, orders the next push into the slot"
    return f"{name} needs no free signals with {fifo.depth} slots: {chain}"
