"""Where in the user's file an op was written, and which variable its result went to.

In: the running Python frame.  Out: a ``Loc`` with exact columns, and a name hint.
The kernel's file is parsed once; a value whose source range is the right side of an assignment
takes the name of the target, a value inside it ``target_op``.
"""

from __future__ import annotations

import ast
import functools
import linecache
import os
import sys
from types import CodeType, FrameType

from pto.ir import Loc

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
Position = tuple[int, int, int, int]


@functools.cache
def is_internal(filename: str) -> bool:
    """True for the files of the language itself; the shipped kernels are user code."""
    return os.path.dirname(os.path.abspath(filename)) == _PACKAGE


def user_frame() -> FrameType | None:
    """The innermost frame that is not part of the language."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_internal(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


@functools.cache
def _positions(code: CodeType) -> list[tuple[int | None, int | None, int | None, int | None]]:
    return list(code.co_positions())


def position(frame: FrameType) -> Position:
    """(line, column, end line, end column) of the expression that ``frame`` is running."""
    line, end_line, col, end_col = _positions(frame.f_code)[frame.f_lasti // 2]
    if line is None or col is None or end_line is None or end_col is None:
        return frame.f_lineno, 0, frame.f_lineno, 0
    return line, col, end_line, end_col


def locate(frame: FrameType) -> Loc:
    """The place that ``frame`` is at, for messages."""
    line, col, end_line, end_col = position(frame)
    if end_line != line:
        end_col = len(linecache.getline(frame.f_code.co_filename, line).rstrip())
    return Loc(frame.f_code.co_filename, line, col, end_col, frame.f_code.co_name)


def here() -> Loc | None:
    """The user's current place, or None when no user code is running."""
    frame = user_frame()
    return None if frame is None else locate(frame)


def _range(node: ast.expr) -> Position:
    return node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0


def _target_names(target: ast.expr) -> tuple[str, ...]:
    if isinstance(target, ast.Name):
        return (target.id,)
    if isinstance(target, ast.Tuple) and all(isinstance(e, ast.Name) for e in target.elts):
        return tuple(e.id for e in target.elts if isinstance(e, ast.Name))
    return ()


@functools.lru_cache(maxsize=64)
def _assignments(source: str) -> dict[Position, tuple[str, ...]]:
    """Source range of every assigned value -> the names it is assigned to."""
    found: dict[Position, tuple[str, ...]] = {}
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return found
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        names = _target_names(node.targets[0])
        if isinstance(node.value, ast.Tuple) and len(node.value.elts) == len(names):
            for name, value in zip(names, node.value.elts, strict=True):
                found[_range(value)] = (name,)
        elif names:
            found[_range(node.value)] = names
    return found


def assigned_names(frame: FrameType) -> tuple[str, ...]:
    """Names on the left of the assignment whose whole right side is being evaluated, or ()."""
    source = "".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
    return _assignments(source).get(position(frame), ())


def enclosing_name(frame: FrameType) -> str:
    """Name of the assignment whose right side contains the current expression, or ''."""
    line, col, end_line, end_col = position(frame)
    source = "".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
    for (l0, c0, l1, c1), names in _assignments(source).items():
        if (l0, c0) <= (line, col) and (end_line, end_col) <= (l1, c1) and len(names) == 1:
            return names[0]
    return ""


@functools.lru_cache(maxsize=64)
def _unpackings(source: str) -> dict[tuple[int, str], tuple[str, ...]]:
    """(line of a def or lambda, parameter) -> names that the body unpacks the parameter to."""
    found: dict[tuple[int, str], tuple[str, ...]] = {}
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return found
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in function.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                names = _target_names(node.targets[0])
                if names:
                    found[function.lineno, node.value.id] = names
    return found


def unpacked_parameter(code: CodeType) -> tuple[str, ...]:
    """The names that a loop body ``def body(i, carry)`` gives to its carry, or ()."""
    if code.co_argcount != 2:
        return ()
    carry = code.co_varnames[1]
    source = "".join(linecache.getlines(code.co_filename))
    return _unpackings(source).get((code.co_firstlineno, carry), ())
