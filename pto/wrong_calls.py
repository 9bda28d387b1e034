"""A function of the language that is called with what it does not take: a mistake at the user's line.

In: the ``TypeError`` that Python raises, wherever.  Out: what is too much or missing, and how it is said.
Non-goals: functions of the user, and calls with ``*`` or ``**``, whose text does not say what they give.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from types import FrameType, FunctionType, MappingProxyType, MethodType, TracebackType

from pto import source
from pto.errors import TraceError

PLAIN = "of every row (axis 1) pto.row_{0}(x), of every column (axis 0) pto.col_{0}(x), of all elements pto.{0}(x)"
VALID = "pto.ds(start, size, valid=count) says what exists of a region"

INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        **{f"{along}{n}": PLAIN.format(n) for along in ("", "row_", "col_") for n in ("max", "min", "sum")},
        **{n: f"{PLAIN.format(n)}, of two tiles pto.{n}imum(x, y)" for n in ("max", "min")},
        "cumsum": "pto.cumsum(x) is along every row (axis 1), pto.cumsum(x.T).T along every column (axis 0)",
        "sort": "pto.sort(x) orders every row (axis 1), pto.sort(x.T) every column (axis 0)",
        "gelu": "pto.gelu(x) is exact, pto.gelu_tanh(x) its approximation",
        "load": VALID,
        "store": VALID,
    }
)  # fmt: skip
"""Functions that are asked for more, as those of numpy, JAX and others take it -> how a kernel says it."""


def wrong_call(error: TypeError) -> TraceError | None:
    """The mistake that ``error`` is of, with its traceback as far as the user's line; None if it is another."""
    at = _last_of_the_user(error.__traceback__)
    found = source.call_at(at.tb_frame.f_code, at.tb_lasti) if at else None
    if at is None or found is None:
        return None
    call, loc = found
    function = _called(call.func, at.tb_frame)
    if function is None:
        return None
    signature, written = inspect.signature(function), ast.unparse(call.func)
    why = _misfit(call, signature)
    if not why:
        return None
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    form = f"{written}{signature.replace(parameters=bare, return_annotation=signature.empty)}"
    hint = form if why.startswith("missing") else INSTEAD.get(function.__name__, form)
    at.tb_next = None
    told = TraceError(f"{written}: {why}", loc, hint)
    return told.with_traceback(error.__traceback__)


def _last_of_the_user(tb: TracebackType | None) -> TracebackType | None:
    last = None
    while tb is not None:
        last = last if source.is_internal(tb.tb_frame.f_code.co_filename) else tb
        tb = tb.tb_next
    return last


def _called(written: ast.expr, frame: FrameType) -> FunctionType | MethodType | None:
    """The function of the language that goes by this name in ``frame``; None if none does."""
    names = []
    while isinstance(written, ast.Attribute):
        names.append(written.attr)
        written = written.value
    if not isinstance(written, ast.Name):
        return None
    found = {**frame.f_globals, **frame.f_locals}.get(written.id)
    for name in reversed(names):
        found = getattr(found, name, None)
    if not isinstance(found, FunctionType | MethodType):
        return None
    is_own = found.__module__.startswith("pto.") and source.is_internal(found.__code__.co_filename)
    return found if is_own else None


def _misfit(call: ast.Call, signature: inspect.Signature) -> str:
    """Why the arguments are not those of the function; '' if they are, or if the text does not say."""
    keywords = {k.arg: k.value for k in call.keywords if k.arg is not None}
    is_open = any(isinstance(x, ast.Starred) for x in call.args)
    if is_open or len(keywords) < len(call.keywords):
        return ""
    try:
        signature.bind(*call.args, **keywords)
    except TypeError as error:
        return str(error)
    return ""
