"""What ``pto run`` tells of what is inside: of the values that ``--dump`` asks for, and of what a kernel says itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowering.execute.access import Array
    from lowering.execute.said import Heard
    from lowering.execute.values_of import Value

Dumped = Mapping[str, "Sequence[Value]"]

SHOWN = 8
"""Values of a name that have a line each: a file has them all."""


def arrays(dumped: Dumped) -> dict[str, Array]:
    """By ``NAME[pid0=1, i=3]``, as numpy's own arrays are indexed: what one file holds."""
    return {f"{name}[{v.place}]": v.array for name, held in dumped.items() for v in held}


def facts(value: Value) -> dict[str, Any]:
    """For ``--json``: where, the least and the greatest finite element (None: there is none), and how many
    are not finite."""
    import numpy as np

    wide = value.array.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    return {
        "at": dict(value.where),
        "least": float(finite.min()) if finite.size else None,
        "greatest": float(finite.max()) if finite.size else None,
        "not_finite": int(wide.size - finite.size),
    }


def told(dumped: Dumped, path: Path | None) -> Iterator[str]:
    """For a person."""
    for name, held in dumped.items():
        if not held:
            yield f"  {name} of the traced program: never computed for these inputs"
            continue
        array, count = held[0].array, len(held)
        values = "1 value" if count == 1 else f"{count} values"
        yield f"  {name} of the traced program: {values}, {array.dtype.name}{list(array.shape)}"
        yield from (f"    {v.place}: {_range(facts(v))}" for v in held[:SHOWN])
        if count > SHOWN:
            more = "" if path else "; --dump-to FILE.npz takes all"
            yield f"    and {count - SHOWN} more{more}"
    if path and any(dumped.values()):
        yield f"  wrote {path}"


def heard_facts(heard: Heard) -> dict[str, Any]:
    """For ``--json``; nothing of a kernel that says nothing."""
    found = {"printed": heard.printed, "checks_failed": heard.failed}
    return {
        name: [{"at": dict(s.where), "text": s.text} for s in said]
        for name, said in found.items()
        if said
    }


def heard_told(heard: Heard) -> Iterator[str]:
    """For a person."""
    return ("  " + said.replace("\n", "\n  ") for said in heard.told())


def _range(found: Mapping[str, Any]) -> str:
    least, greatest, lost = found["least"], found["greatest"], found["not_finite"]
    if least is None:
        return "nothing finite"
    spread = f"{least:g}" if least == greatest else f"{least:g} to {greatest:g}"
    return f"{spread}, {lost} not finite" if lost else spread
