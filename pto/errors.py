"""User errors: one clear message with the user's own source line and a caret.

``PtoError`` and its subclasses always mean a mistake in the user's program or input.  A mistake in
this package is an ``AssertionError`` or any other exception, never one of these.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from pto.loc import Loc


class PtoError(Exception):
    """A mistake of the user.  ``str(error)`` is the whole message, place and hint included.

    An error with a place also shows it as the last frame of its traceback, wherever it is raised.

    Args:
        message: what was found and what was expected, in the user's terms.
        loc: where, in the user's file (None: no place to point to).
        hint: how to put it right.
    """

    def __init__(self, message: str, loc: Loc | None = None, hint: str = "") -> None:
        self.message, self.loc, self.hint = message, loc, hint
        super().__init__(render(message, loc, hint))
        if loc is not None:
            self.__traceback__ = frame_at(loc)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.loc, self.hint)

    def told_at(self, loc: Loc | None) -> PtoError:
        """The same error about ``loc``, without the frames that it came through."""
        return type(self)(self.message, loc, self.hint)


class TraceError(PtoError):
    """Python that cannot be traced: a branch on a tracer, a leaked tile, a changing carry."""


class UnknownNameError(TraceError, AttributeError):
    """A name that ``pto`` or a traced value does not have; ``hasattr`` still answers False."""


class ShapeError(PtoError):
    """Shapes that do not fit together, or that the hardware cannot take."""


class DTypeError(PtoError):
    """Element types that do not fit together, or that the hardware cannot take."""


class CapacityError(PtoError):
    """More on-chip memory, flags or arguments than the target has."""


class MemoryAccessError(PtoError):
    """A read of what was never written, an access outside a tensor, an overlapping store."""


class LegalityError(PtoError):
    """A program that no machine of this family can run as written."""


class ParseError(PtoError):
    """A ``.ptoir`` text that does not follow the grammar."""


class InputError(PtoError):
    """Arrays or parameters given to a run that do not fit the kernel."""


class ScheduleError(PtoError):
    """Options that no proven schedule exists for."""


def source_excerpt(loc: Loc) -> str:
    """The user's line with a caret below the place, or '' if the file cannot be read."""
    line = linecache.getline(loc.file, loc.line).rstrip()
    text = line.lstrip()
    if not text:
        return ""
    indent = len(line) - len(text)
    start, end = indent, len(line)
    if loc.end_col > loc.col:
        start, end = max(loc.col, indent), min(loc.end_col, len(line))
    return f"    {text}\n    {' ' * (start - indent)}{'^' * max(end - start, 1)}"


def render(message: str, loc: Loc | None, hint: str) -> str:
    """The message, then the place, the source line with its caret, and the hint."""
    parts = [message]
    if loc is not None:
        where = f" in {loc.function}" if loc.function and not loc.function.startswith("<") else ""
        parts.append(f"  --> {loc}{where}")
        excerpt = source_excerpt(loc)
        if excerpt:
            parts.append(excerpt)
    if hint:
        parts.append(f"  help: {hint}")
    return "\n".join(parts)


def frame_at(loc: Loc) -> TracebackType | None:
    """A traceback of one frame that stands at ``loc``: a statement compiled to be there raises."""
    place = {
        "lineno": max(loc.line, 1),
        "end_lineno": max(loc.line, 1),
        "col_offset": loc.col,
        "end_col_offset": max(loc.end_col, loc.col),
    }
    name = ast.Name("error", ast.Load(), **place)
    module = ast.Module([ast.Raise(name, None, **place)], [])
    code = compile(module, loc.file, "exec").replace(co_name=loc.function or "<module>")
    try:
        exec(code, {"error": ArithmeticError(), "__name__": loc.function, "__file__": loc.file})
    except ArithmeticError as error:
        return error.__traceback__.tb_next if error.__traceback__ else None
    raise AssertionError("the statement raises")


def did_you_mean(name: str, known: Iterable[str], there: str = "known") -> str:
    """``did you mean 'x'?`` if something known looks like ``name``, else all that is known."""
    import difflib  # costs 4 ms, and only a mistake needs it

    names = list(known)
    close = difflib.get_close_matches(str(name), names, 1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"{there}: {', '.join(names)}" if names else ""
