"""When a row runs, as the iteration that it belongs to sees it; what holds for every trip count.

A row with shift ``s`` runs ``-s`` steps behind the first position of its iteration.  An item of a
flat loop (docs/language.md) has as many positions as its inner loop has iterations: rows in front run
with the first, rows behind with the last, and how far these two are apart is not known.  So a row in
front in a late stage and a row behind in an early one are in no fixed order.
"""

from __future__ import annotations

from dataclasses import dataclass

from pto.ir import Path


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in the order of one core.

    ``step`` counts from the first position of its item, or with ``at_last`` from the last one;
    ``place`` is the order as written within a step.  ``flat``: of an item of a flat loop.
    """

    step: int
    place: Path
    at_last: bool = False
    flat: bool = False

    @property
    def of_one(self) -> tuple[int, Path]:
        """The order in an iteration of one position; whatever is sure agrees with it."""
        return self.step, self.place

    def surely_before(self, other: Moment, distance: int = 0) -> bool:
        """Not behind ``other`` of ``distance`` iterations later, whatever their trip counts."""
        if self.flat and (distance < 0 or (distance == 0 and self.at_last > other.at_last)):
            return False
        return self.of_one <= (other.step + distance, other.place)
