"""What a proof says: a schedule is right, or these accesses of these rows can meet.

Plain records without a part in finding them (``lowering/hazards/prover.py``); ``report`` is for a person,
``dataclasses.asdict`` for machines, ``_repr_html_`` for notebooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pto.errors import PtoError
from pto.loc import Loc

if TYPE_CHECKING:
    from lowering.hazards.violation import Violation


@dataclass(frozen=True, slots=True)
class Proof:
    """What ``check`` found.  ``ok``: proven; ``message`` says it in a line, ``violations`` what can go wrong.

    ``refused`` says why nothing could be decided ('' if it could).
    ``more``: the run that is shown has more hazards than the ones listed.
    ``assume``: readings of the machine that it was asked under (``lowering/hazards/assumptions.py``).
    ``also``, ``not_under``: others that it holds under too, each by itself, and that it does not; None
    where nobody has asked (``lowering/hazards/prover.py``: ``on_ladder``).
    ``states``: normal forms at decisions.  ``trips_checked``: largest trip count run before every loop
    had repeated itself.  ``failing``: the smallest trip counts that fail, one per work item.
    """

    ok: bool
    violations: tuple[Violation, ...] = ()
    states: int = 0
    trips_checked: int = 0
    failing: tuple[int, ...] | None = None
    refused: str = ""
    message: str = ""
    more: bool = False
    assume: tuple[str, ...] = ()
    also: tuple[str, ...] | None = None
    not_under: tuple[str, ...] | None = None

    def report(self) -> str:
        """The outcome for a person."""
        from lowering.hazards import picture

        drawn = picture.pictured(self.violations)
        more = ["this run has more hazards; mend these first"] if self.more else []
        shown = (report(v, v in drawn) for v in self.violations)
        return "\n\n".join([self.told, *shown, *more])

    @property
    def told(self) -> str:
        """The message, and the readings under which it holds."""
        return "\n".join([self.message, *(f"  {line}" for line in self.ladder)])

    @property
    def ladder(self) -> tuple[str, ...]:
        """What was found of other readings, in words."""
        also, failing = ", ".join(self.also or ()), ", ".join(self.not_under or ())
        if not self.ok:
            return (f"holds under: {also}",) if also else ()
        lines = ("also under", also), ("not under", failing)
        return tuple(f"{name}: {readings}" for name, readings in lines if readings)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from lowering.hazards import picture

        return picture.html(self.told, self.violations)

    def __repr__(self) -> str:
        """What a prompt shows: the outcome for a person."""
        return self.report()


def report(v: Violation, drawn: bool = True) -> str:
    """A violation for a person, with its picture."""
    from lowering.hazards import picture

    return f"{v.described()}\n\n{picture.text(v)}" if drawn and v.window else v.described()


def verdict(violations: Sequence[Violation]) -> str:
    """What a proof with these violations says: a run goes wrong, or none is known to."""
    return "not proven" if all(v.open for v in violations) else "failed"


class HazardError(PtoError):
    """A schedule that is not proven; ``proof`` says why, with places of its own."""

    def __init__(self, proof: Proof) -> None:
        self.proof = proof
        super().__init__(proof.report())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.proof,)

    def told_at(self, loc: Loc | None) -> PtoError:
        return HazardError(self.proof)
