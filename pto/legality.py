"""What a well-formed program is: one walk that checks a kernel against the tables of ops and targets.

``verify`` runs after the tracer, after every pass and after parsing: ``value_form`` or ``slot_form``
beside this file, which share their ``checker``.  It knows names, types, cores, pipes, memories and layouts: a
row that does not fit its row of ``pto/ops.py``, or that the table of its target (``pto/targets``) has no way for,
is refused, so every later stage may rely on both.  It does not know order (``lowering/hazards/`` proves that),
and leaves capacity, alignment and ids to the passes, the proof and the executors.
"""

from __future__ import annotations

from collections.abc import Iterator

from pto import ir
from pto.errors import LegalityError
from pto.ops import SCHEDULED, TRACED
from pto.slot_form import SlotForm
from pto.value_form import ValueForm


def verify(kernel: ir.Kernel, form: str = "") -> ir.Kernel:
    """``kernel`` itself, if every row is legal in a program of ``form`` (default: traced, or scheduled
    if any row has a core).

    Raises:
        LegalityError: for the first row that is not, at its source line.
    """
    form = form or (SCHEDULED if any(r.core for r in ir.all_rows(kernel.body)) else TRACED)
    check: SlotForm | ValueForm = SlotForm(kernel) if form == SCHEDULED else ValueForm(kernel, form)
    check.declarations()
    check.block(kernel.body)
    records(kernel)
    return kernel


def records(kernel: ir.Kernel) -> None:
    """Raises LegalityError for a record of a FIFO that no row pushes silently to, or that has no signal."""
    rows = list(ir.all_rows(kernel.body))
    silent = {r.out for r in rows if r.op == "push_data"}
    untold = {f.name for f in kernel.fifos if not f.signal}
    for row in rows:
        if row.op == "record" and row.args[0] not in silent:
            raise LegalityError("record: no push_data belongs to it", row.loc)
        if row.op in ("push", "record") and row.queue in untold:
            hint = "push_data, and the record of another FIFO behind it"
            raise LegalityError(f"{row.op}: {row.queue} has no signal", row.loc, hint)


def straight(block: ir.Block) -> Iterator[ir.Row | ir.Loop]:
    """The nodes of a block of a program without branches.

    Raises:
        LegalityError: at a branch.
    """
    for node in block:
        if not isinstance(node, ir.Row | ir.Loop):
            message = "a branch cannot be scheduled: rows of a traced program always run"
            hint = "choose values: maximum, minimum, where; or write the schedule with the branch"
            raise LegalityError(message, node.loc, hint)
        yield node
