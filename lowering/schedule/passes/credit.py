"""Which FIFOs go without free signals.

In: a scheduled kernel, and who proves one.  Out: the same, with ``no credit`` at FIFOs that need none,
of more slots where it takes them, and a note for each.  Invariant: a FIFO goes without only where the
whole kernel is proven so.  Non-goals: proving it (``lowering/hazards``), the way back itself (skew).

A free signal keeps a push behind the pop of the tile that its slot held.  Where the cores answer each
other the answer does that already: the core that pushes tile n + slots has waited for what the other
core sent behind its pop of tile n, if the ring has a slot for every step between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from lowering.schedule.options import Options
from pto import ir
from pto.targets import target_of


class Verdict(Protocol):
    """Whether a kernel is proven; of one that takes too many states nothing is said."""

    @property
    def ok(self) -> bool: ...


class Judge(Protocol):
    """Who proves a scheduled kernel, and knows sooner how many ``slots`` FIFOs without free signals need at least;
    None if it is wrong with any."""

    def proof(self, kernel: ir.Kernel) -> Verdict: ...
    def slots(self, kernel: ir.Kernel) -> Mapping[str, int] | None: ...


def credit(kernel: ir.Kernel, options: Options, judge: Judge) -> ir.Kernel:
    """Free signals where ``options.credit`` says; FIFOs without signals have none."""
    kernel = sized(kernel, judge)
    if options.credit == "always":
        return kernel
    kernel = all_bare(kernel, options, judge) or one_by_one(kernel, options, judge)
    notes = [note(kernel, fifo) for fifo in kernel.fifos if not fifo.credit]
    return replace(kernel, notes=(*kernel.notes, *notes))


def sized(kernel: ir.Kernel, judge: Judge) -> ir.Kernel:
    """As many slots for FIFOs without free signals as they need."""
    most = {f.name: most_slots(kernel, f) for f in kernel.fifos if not f.credit}
    needed = judge.slots(bare(kernel, most)) if most else None
    return bare(kernel, needed) if needed else kernel


def all_bare(kernel: ir.Kernel, options: Options, judge: Judge) -> ir.Kernel | None:
    """No FIFO has free signals; None if that is not right."""
    found = without(kernel, kernel.fifos, options, judge)
    return found if found and judge.proof(found).ok else None


def one_by_one(kernel: ir.Kernel, options: Options, judge: Judge) -> ir.Kernel:
    """Without free signals of one FIFO after the other, where that is right.  Nothing is asked of a kernel that
    is not proven with all of them."""
    for fifo in kernel.fifos:
        less = without(kernel, (fifo,), options, judge)
        if less and not judge.proof(kernel).ok:
            return kernel
        kernel = less if less and judge.proof(less).ok else kernel
    return kernel


def without(
    kernel: ir.Kernel, fifos: tuple[ir.Fifo, ...], options: Options, judge: Judge
) -> ir.Kernel | None:
    """The kernel without free signals of ``fifos``, each of as few slots as it can have, or of as many as were
    asked for; None where nothing comes back to one, or it is known to be wrong."""
    if not fifos or not all(ways_back(kernel, f, fifos) for f in fifos):
        return None
    depths = {f.name: f.depth if options.fifo_depth else most_slots(kernel, f) for f in fifos}
    needed = judge.slots(bare(kernel, depths))
    if needed is None:
        return None
    return bare(kernel, depths if options.fifo_depth else {f.name: needed[f.name] for f in fifos})


def most_slots(kernel: ir.Kernel, fifo: ir.Fifo) -> int:
    """Tiles that can be under way: as many signals as a flag counts, each of as many tiles as a step pushes."""
    pushes = [r for r in ir.all_rows(kernel.body) if r.out == ir.Queue(fifo.name)]
    return target_of(kernel).most_signals * (1 if fifo.signal else len(pushes))


def bare(kernel: ir.Kernel, depths: Mapping[str, int]) -> ir.Kernel:
    """FIFOs of these depths, without free signals."""
    made = (
        replace(f, depth=depths[f.name], credit=False) if f.name in depths else f
        for f in kernel.fifos
    )
    return replace(kernel, fifos=tuple(made))


def ways_back(kernel: ir.Kernel, fifo: ir.Fifo, bare: tuple[ir.Fifo, ...] = ()) -> list[str]:
    """Other FIFOs by which the core that pops ``fifo`` signals to the one that pushes: its own pushes,
    and free signals, but not those of ``bare``."""
    others = (f for f in kernel.fifos if f.name != fifo.name)
    return [f.name for f in others if f.direction != fifo.direction or (f.credit and f not in bare)]


def note(kernel: ir.Kernel, fifo: ir.Fifo) -> str:
    name, back = fifo.name, " or ".join(ways_back(kernel, fifo))
    chain = f"pop {name}, then a signal of {back}, orders the next push into the slot"
    return f"{name} needs no free signals with {fifo.depth} slots: {chain}"
