"""User errors: one clear message with the user's own source line and a caret.

``PtoError`` and its subclasses always mean a mistake in the user's program or input.  A mistake in
this package is an ``AssertionError`` or any other exception, never one of these.
"""

from __future__ import annotations

import linecache

from pto.ir import Loc


class PtoError(Exception):
    """A mistake of the user.  ``str(error)`` is the whole message, place and hint included.

    Args:
        message: what was found and what was expected, in the user's terms.
        loc: where, in the user's file (None: no place to point to).
        hint: how to put it right.
    """

    def __init__(self, message: str, loc: Loc | None = None, hint: str = "") -> None:
        self.message, self.loc, self.hint = message, loc, hint
        super().__init__(render(type(self).__name__, message, loc, hint))


class TraceError(PtoError):
    """Python that cannot be traced: a branch on a tracer, a leaked tile, a changing carry."""


class ShapeError(PtoError):
    """Shapes that do not fit together, or that the hardware cannot take."""


class DTypeError(PtoError):
    """Element types that do not fit together, or that the hardware cannot take."""


class CapacityError(PtoError):
    """More on-chip memory, flags or arguments than the target has."""


class MemoryAccessError(PtoError):
    """A read of what was never written, an access outside a tensor, an overlapping store."""


class ParseError(PtoError):
    """A ``.ptoir`` text that does not follow the grammar."""


class InputError(PtoError):
    """Arrays or parameters given to a run that do not fit the kernel."""


class ScheduleError(PtoError):
    """Options that no proven schedule exists for."""


def source_excerpt(loc: Loc) -> str:
    """The user's line with a caret below the place, or '' if the file cannot be read."""
    line = linecache.getline(loc.file, loc.line).rstrip("\n")
    if not line.strip():
        return ""
    indent = len(line) - len(line.lstrip())
    start = max(loc.col - indent, 0) if loc.end_col > loc.col else 0
    width = min(loc.end_col, len(line)) - loc.col if loc.end_col > loc.col else len(line.strip())
    return f"    {line.strip()}\n    {' ' * start}{'^' * max(width, 1)}"


def render(kind: str, message: str, loc: Loc | None, hint: str) -> str:
    """``kind: message``, then the place, the source line with its caret, and the hint."""
    parts = [message]
    if loc is not None:
        where = f" in {loc.function}" if loc.function else ""
        parts.append(f"  --> {loc.file}:{loc.line}{where}")
        excerpt = source_excerpt(loc)
        if excerpt:
            parts.append(excerpt)
    if hint:
        parts.append(f"  help: {hint}")
    return "\n".join(parts)
