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

from lowering.schedule.options import Options
from pto import ir
from pto.targets import target_of

MORE = 3
"""Slots that are tried beyond those that free signals need: the steps from a push to the answer are as
many as the lookahead, and one or two for records that come late."""


Says = Callable[[ir.Kernel], bool]


def credit(kernel: ir.Kernel, options: Options, proven: Says, fails: Says) -> ir.Kernel:
    """Free signals where ``options.credit`` says; of a scheduled kernel ``proven`` says whether it is right,
    ``fails``, sooner, whether it is known to be wrong."""
    if options.credit == "always":
        return kernel
    kernel = all_bare(kernel, options, proven, fails) or one_by_one(kernel, options, proven, fails)
    notes = [note(kernel, fifo) for fifo in kernel.fifos if not fifo.credit]
    return replace(kernel, notes=(*kernel.notes, *notes))


def all_bare(kernel: ir.Kernel, options: Options, proven: Says, fails: Says) -> ir.Kernel | None:
    """No FIFO has free signals, each as few slots as it can; None if that is not right."""
    found = next(filterfalse(fails, without(kernel, kernel.fifos, options)), None)
    if found and not options.fifo_depth:
        found = shallowest(found, fails)
    return found if found and proven(found) else None


def one_by_one(kernel: ir.Kernel, options: Options, proven: Says, fails: Says) -> ir.Kernel:
    """Without free signals of one FIFO after the other, where that is right."""
    for fifo in kernel.fifos:
        bare = filterfalse(fails, without(kernel, (fifo,), options))
        kernel = next(filter(proven, bare), kernel)
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


def shallowest(kernel: ir.Kernel, fails: Says) -> ir.Kernel:
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
