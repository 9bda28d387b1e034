"""What ``pto run --dump`` tells of the values that it is asked for, and what it writes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowering.execute.access import Array
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


def _range(found: Mapping[str, Any]) -> str:
    least, greatest, lost = found["least"], found["greatest"], found["not_finite"]
    if least is None:
        return "nothing finite"
    spread = f"{least:g}" if least == greatest else f"{least:g} to {greatest:g}"
    return f"{spread}, {lost} not finite" if lost else spread
