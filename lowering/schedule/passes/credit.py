"""Which FIFOs go without free signals.

In: a scheduled kernel, and who proves one.  Out: the same, with ``no credit`` at FIFOs that need none,
of more slots where it takes them, and a note for each.  Invariant: a FIFO goes without only where the
whole kernel is proven so.  Non-goals: proving it (``lowering/hazards``), the way back itself (skew).

A free signal keeps a push behind the pop of the tile that its slot held.  Where the cores answer each
other the answer does that already: the core that pushes tile n + slots has waited for what the other
core sent behind its pop of tile n, if the ring has a slot for every step between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from lowering.schedule.options import Options
from pto import ir
from pto.targets import target_of

MORE = 3
"""Slots that are tried beyond those that free signals need: the steps from a push to the answer are as
many as the lookahead, and one or two for records that come late."""


def credit(kernel: ir.Kernel, options: Options, proven: Callable[[ir.Kernel], bool]) -> ir.Kernel:
    """Free signals where ``options.credit`` says; ``proven``: whether a scheduled kernel is right."""
    if options.credit == "always":
        return kernel
    for fifo in kernel.fifos:
        kernel = next(filter(proven, without(kernel, fifo, options)), kernel)
    notes = [note(kernel, fifo) for fifo in kernel.fifos if not fifo.credit]
    return replace(kernel, notes=(*kernel.notes, *notes))


def without(kernel: ir.Kernel, fifo: ir.Fifo, options: Options) -> Iterator[ir.Kernel]:
    """The kernel without free signals of ``fifo``, by rising depth; none where nothing comes back.  A
    depth that was asked for stays."""
    more = MORE if not options.fifo_depth else 0
    most = min(fifo.depth + more, target_of(kernel).most_signals)
    for depth in range(fifo.depth, most + 1) if ways_back(kernel, fifo) else ():
        bare = replace(fifo, depth=depth, credit=False)
        yield replace(kernel, fifos=tuple(bare if f == fifo else f for f in kernel.fifos))


def ways_back(kernel: ir.Kernel, fifo: ir.Fifo) -> list[str]:
    """Other FIFOs by which the core that pops ``fifo`` signals to the one that pushes: its own pushes,
    and free signals."""
    others = (f for f in kernel.fifos if f.name != fifo.name)
    return [f.name for f in others if f.direction != fifo.direction or f.credit]


def note(kernel: ir.Kernel, fifo: ir.Fifo) -> str:
    back = " or ".join(ways_back(kernel, fifo))
    between = f"between the pop and the next push of a slot a signal of {back} comes back"
    return f"{fifo.name} needs no free signals with {fifo.depth} slots: {between}"
