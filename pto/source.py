"""Where in the user's file an op was written, and which variable its result went to.

In: the running Python frame.  Out: a ``Loc`` with exact columns, and a name hint.
A file is parsed once: a value whose source range is the right side of an assignment takes the name
of the target, a value inside it ``target_op``.  Without source (a prompt) there are no hints.
The functions behind "for messages" run only when an error is reported.
"""

from __future__ import annotations

import ast
import functools
import linecache
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pto.loc import Loc

if TYPE_CHECKING:
    from types import CodeType, FrameType

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_LOWERING = os.path.join(os.path.dirname(_PACKAGE), "lowering") + os.sep
_COMMANDS = os.path.join(_LOWERING, "cli") + os.sep
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_LIBRARIES = ("numpy", "jax", "jaxlib", "ml_dtypes", "scipy", "torch")
Position = tuple[int, int, int, int]
"""First line (from 1), first column in bytes, last line, column behind the last byte."""


@functools.cache
def is_internal(filename: str) -> bool:
    """True for the language and its lowering, Python's library and array libraries; else it is the
    user's.

    The kernels of ``pto/kernels`` are user code.
    """
    if filename.startswith(("<frozen", "<__array_function__")):
        return True
    path = os.path.abspath(filename)
    if os.path.dirname(path) == _PACKAGE or path.startswith(_LOWERING):
        return True
    _, installed, inside = path.rpartition(f"{os.sep}site-packages{os.sep}")
    if installed:
        return inside.split(os.sep, 1)[0] in _LIBRARIES
    return path.startswith(_STDLIB) and not filename.startswith("<")


def user_frame() -> FrameType | None:
    """The innermost frame that is the user's; who started the command line is not."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_internal(frame.f_code.co_filename):
        if frame.f_code.co_filename.startswith(_COMMANDS):
            return None
        frame = frame.f_back
    return frame


def here() -> Loc | None:
    """The user's current place, or None when no user code is running."""
    frame = user_frame()
    return None if frame is None else locate(frame)


def locate(frame: FrameType) -> Loc:
    """The place that ``frame`` is at."""
    return _loc(frame.f_code, position(frame))


def _loc(code: CodeType, place: Position) -> Loc:
    """``place`` as a ``Loc``: columns in characters; of several lines the first one."""
    line, col, end_line, end_col = place
    if end_col == 0 or (end_line == line and _lines_are_ascii(code.co_filename)):
        return Loc(code.co_filename, line, col, end_col, code.co_name)
    text = linecache.getline(code.co_filename, line).rstrip()
    raw = text.encode()
    start = len(raw[:col].decode(errors="replace"))
    end = len(raw[:end_col].decode(errors="replace")) if end_line == line else len(text)
    return Loc(code.co_filename, line, start, end, code.co_name)


@functools.cache
def _lines_are_ascii(filename: str) -> bool:
    return all(line.isascii() for line in linecache.getlines(filename))


class _Facts:
    """What is known of one code object: positions, and the names in its file."""

    def __init__(self, code: CodeType) -> None:
        self.code = code  # kept alive, because the cache goes by its id
        self.positions = list(code.co_positions())
        self.names = _names(_source_of(code))


_facts: dict[int, _Facts] = {}


def _facts_of(code: CodeType) -> _Facts:
    facts = _facts.get(id(code))
    if facts is None:
        facts = _facts[id(code)] = _Facts(code)
    return facts


def position(frame: FrameType) -> Position:
    """Of the expression that ``frame`` is running; column 0 to 0 if only the line is known."""
    return _position(frame.f_code, frame.f_lasti) or (frame.f_lineno, 0, frame.f_lineno, 0)


def _position(code: CodeType, instruction: int) -> Position | None:
    line, end_line, col, end_col = _facts_of(code).positions[instruction // 2]
    if line is None or col is None or end_line is None or end_col is None:
        return None
    return line, col, end_line, end_col


def assigned_names(frame: FrameType) -> tuple[str, ...]:
    """Names on the left of the assignment whose whole right side is being evaluated, or ()."""
    return _facts_of(frame.f_code).names.whole.get(position(frame), ())


def value_name(frame: FrameType, carries: Sequence[str]) -> tuple[str, bool]:
    """The variable that what ``frame`` is evaluating goes to ('': none), and if it is all of it.

    What a function returns is named by its caller, what a loop body returns after ``carries``.
    """
    place, names = position(frame), _facts_of(frame.f_code).names
    whole = names.whole.get(place, ())
    if len(whole) == 1:
        return whole[0], True
    if place in names.inside:
        return names.inside[place], False
    if place not in names.returned or frame.f_back is None:
        return "", False
    k, is_all = names.returned[place]
    outer, is_all_of_outer = _returned_name(frame.f_back, carries, k)
    return outer, is_all and is_all_of_outer


def _returned_name(caller: FrameType, carries: Sequence[str], k: int | None) -> tuple[str, bool]:
    """The name that ``caller`` gives to element ``k`` (None: all) of what a call returns."""
    if is_internal(caller.f_code.co_filename):
        targets = tuple(f"{c}_next" for c in carries)
    else:
        targets = assigned_names(caller)
        if not targets and k is None:
            return value_name(caller, carries)
    if k is None:
        return (targets[0], True) if len(targets) == 1 else ("", False)
    if len(targets) == 1:
        return f"{targets[0]}_{k}", True
    return (targets[k], True) if k < len(targets) else ("", False)


def unpacked_parameter(code: CodeType) -> tuple[str, ...]:
    """The names that a body ``def body(i, carry)`` gives to its carry, or ()."""
    if not code.co_argcount:
        return ()
    carry = code.co_varnames[code.co_argcount - 1]
    return _facts_of(code).names.unpacked.get((code.co_firstlineno, carry), ())


def _source_of(code: CodeType) -> str:
    return "".join(linecache.getlines(code.co_filename))


@functools.lru_cache(maxsize=64)
def _tree(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


class _Names:
    """Names in one file, by position.

    ``whole``: an assigned value -> its names; ``inside``: a part of one -> the name;
    ``returned``: a returned value or a part -> (element of the tuple, is it all of it);
    ``unpacked``: (line of a function, parameter) -> what its body unpacks it to.
    """

    def __init__(self) -> None:
        self.whole: dict[Position, tuple[str, ...]] = {}
        self.inside: dict[Position, str] = {}
        self.returned: dict[Position, tuple[int | None, bool]] = {}
        self.unpacked: dict[tuple[int, str], tuple[str, ...]] = {}

    def assign(self, value: ast.expr, names: tuple[str, ...]) -> None:
        """``value`` is what ``names`` get; a display gives each of its elements a name."""
        if isinstance(value, ast.Tuple | ast.List):
            if len(names) == 1:
                names = tuple(f"{names[0]}_{k}" for k in range(len(value.elts)))
            if len(value.elts) == len(names):
                for name, element in zip(names, value.elts, strict=True):
                    self.assign(element, (name,))
        elif isinstance(value, ast.ListComp | ast.GeneratorExp) and len(names) == 1:
            self.assign(value.elt, names)
        elif isinstance(value, ast.IfExp):
            self.assign(value.body, names)
            self.assign(value.orelse, names)
        elif names:
            self.whole[_range(value)] = names
            if len(names) == 1:
                for part in _parts(value):
                    self.inside[_range(part)] = names[0]

    def give_back(self, value: ast.expr) -> None:
        """``value`` is what a function returns."""
        is_tuple = isinstance(value, ast.Tuple)
        for k, element in enumerate(value.elts if isinstance(value, ast.Tuple) else [value]):
            at = k if is_tuple else None
            self.returned[_range(element)] = at, True
            for part in _parts(element):
                self.returned[_range(part)] = at, False

    def unpack(self, function: ast.FunctionDef) -> None:
        """``m, l, acc = carry`` in a function whose last parameter is ``carry``."""
        if not function.args.args:
            return
        carry = function.args.args[-1].arg
        first = min([function.lineno, *(d.lineno for d in function.decorator_list)])
        for node in function.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                names = _target_names(node.targets[0])
                if node.value.id == carry and names:
                    self.unpacked[first, carry] = names


@functools.lru_cache(maxsize=64)
def _names(source: str) -> _Names:
    found = _Names()
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.Assign):
            found.assign(node.value, _target_names(node.targets[0]))
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            found.assign(node.value, _target_names(node.target))
        elif isinstance(node, ast.AugAssign):
            found.whole[_range(node)] = _target_names(node.target)
            found.assign(node.value, tuple(f"{n}_by" for n in _target_names(node.target)))
        elif isinstance(node, ast.FunctionDef):
            found.unpack(node)
        elif isinstance(node, ast.Return) and node.value is not None:
            found.give_back(node.value)
        elif isinstance(node, ast.Lambda):
            found.give_back(node.body)
    return found


def _parts(value: ast.expr) -> Iterator[ast.expr]:
    """The expressions inside of ``value`` that belong to it alone."""
    for part in ast.iter_child_nodes(value):
        if isinstance(part, ast.Lambda | ast.NamedExpr):
            continue
        if isinstance(part, ast.expr):
            yield part
            yield from _parts(part)
        elif isinstance(part, ast.keyword):
            yield part.value
            yield from _parts(part.value)


def _range(node: ast.expr | ast.stmt | ast.keyword | ast.arg) -> Position:
    return node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0


def _target_names(target: ast.expr) -> tuple[str, ...]:
    if isinstance(target, ast.Name):
        return (target.id,)
    if isinstance(target, ast.Tuple | ast.List):
        if all(isinstance(e, ast.Name) for e in target.elts):
            return tuple(e.id for e in target.elts if isinstance(e, ast.Name))
    return ()


# ---------------------------------------------------------------------------------- for messages


def construct(frame: FrameType | None, number: bool = False) -> tuple[str, Loc | None]:
    """What Python is about to do with the value that ``frame`` is looking at, and where.

    One of: if, while, if expression, assert, and / or, not, chained comparison, in, comparison
    of tuples, for, condition of a comprehension, ``NAME()`` for a call of NAME, ``[]`` for an index, '' if it cannot be told.
    ``number``: it wants an int or a float, so only the last two are meant.
    """
    if frame is None:
        return "", None
    here = position(frame)
    best, best_place, best_size = "", here, (sys.maxsize, 0)
    for node in ast.walk(_tree(_source_of(frame.f_code))):
        if not isinstance(node, ast.expr | ast.stmt | ast.comprehension):
            continue
        if number and not isinstance(node, ast.Call | ast.Subscript):
            continue
        for what, part in _uses(node):
            line, col, end_line, end_col = _range(part)
            is_inside = (line, col) <= here[:2] and here[2:] <= (end_line, end_col)
            is_all = isinstance(node, ast.stmt) and _range(node) == here
            size = (end_line - line, end_col - col)
            if (is_inside or is_all) and size < best_size:
                best, best_size = what, size
                best_place = _range(part) if is_all else here
    return best, _loc(frame.f_code, best_place)


def operand(frame: FrameType | None, k: int) -> Loc | None:
    """Operand ``k`` of the call or operator that ``frame`` is evaluating, or all of it.

    The object of a method call is operand 0.
    """
    if frame is None:
        return None
    here = position(frame)
    for node in ast.walk(_tree(_source_of(frame.f_code))):
        if isinstance(node, ast.BinOp | ast.Call) and _range(node) == here:
            parts = [node.left, node.right] if isinstance(node, ast.BinOp) else list(node.args)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                is_module = isinstance(owner, ast.Name) and owner.id in frame.f_globals
                parts = parts if is_module else [owner, *parts]
            if k < len(parts) and not isinstance(parts[k], ast.Starred):
                return _loc(frame.f_code, _range(parts[k]))
    return locate(frame)


def call_at(code: CodeType, instruction: int) -> tuple[ast.Call, Loc] | None:
    """The call that an instruction makes, and where."""
    here = _position(code, instruction)
    calls = (n for n in ast.walk(_tree(_source_of(code))) if isinstance(n, ast.Call))
    return next(((n, _loc(code, here)) for n in calls if here and _range(n) == here), None)


USED: Mapping[type[ast.AST], tuple[str, str]] = {
    ast.If: ("if", "test"),
    ast.While: ("while", "test"),
    ast.For: ("for", "iter"),
    ast.IfExp: ("if expression", "test"),
    ast.Assert: ("assert", "test"),
}
"""What takes the value of one of its parts: how it is called, and the part."""


def _uses(node: ast.expr | ast.stmt | ast.comprehension) -> list[tuple[str, ast.expr]]:
    """(construct, part of it) for every part whose value ``node`` takes while tracing."""
    if type(node) in USED:
        what, part = USED[type(node)]
        return [(what, getattr(node, part))]
    if isinstance(node, ast.BoolOp):
        return [("and / or", node)]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return [("not", node)]
    if isinstance(node, ast.Compare) and len(node.ops) > 1:
        return [("chained comparison", node)]
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        return [("in", node)]
    if isinstance(node, ast.Compare) and isinstance(node.comparators[0], ast.Tuple | ast.List):
        return [("comparison of tuples", node)]
    if isinstance(node, ast.comprehension):
        return [("condition of a comprehension", test) for test in node.ifs]
    if isinstance(node, ast.Call):
        return [(f"{ast.unparse(node.func)}()", node)]
    if isinstance(node, ast.Subscript):
        return [("[]", node)]
    return []


def _function(code: CodeType) -> ast.FunctionDef | None:
    for node in ast.walk(_tree(_source_of(code))):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first == code.co_firstlineno:
                return node
    return None


def definition(code: CodeType) -> Loc:
    """The name of a function in its ``def`` line."""
    node = _function(code)
    if node is None:
        return Loc(code.co_filename, code.co_firstlineno)
    start = node.col_offset + len("def ")
    loc = _loc(code, (node.lineno, start, node.lineno, start + len(node.name.encode())))
    return Loc(loc.file, loc.line, loc.col, loc.end_col)


def parameter(code: CodeType, name: str) -> Loc:
    """A parameter of a function in its ``def``."""
    node = _function(code)
    if node is not None:
        a = node.args
        others = [x for x in (a.vararg, a.kwarg) if x is not None]
        for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs, *others):
            if arg.arg == name:
                return _outside(_loc(code, _range(arg)))
    return definition(code)


def decorator_argument(code: CodeType, name: str, key: str = "") -> Loc:
    """``name=...`` in the decorators of a function, or the entry ``key`` of its ``dict(...)``."""
    node = _function(code)
    for decorator in node.decorator_list if node is not None else []:
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else []:
            if keyword.arg != name:
                continue
            if key and isinstance(keyword.value, ast.Call):
                for entry in keyword.value.keywords:
                    if entry.arg == key:
                        return _outside(_loc(code, _range(entry)))
            return _outside(_loc(code, _range(keyword)))
    return definition(code)


def returned(code: CodeType, k: int | None) -> Loc | None:
    """The value that a function returns (``k``: that element of it), if it has one ``return``."""
    node = _function(code)
    if node is None:
        return None
    found = [n for n in ast.walk(node) if isinstance(n, ast.Return) and n.value is not None]
    if len(found) != 1 or found[0].value is None:
        return None
    value = found[0].value
    if isinstance(value, ast.Tuple) and k is not None and k < len(value.elts):
        value = value.elts[k]
    return _loc(code, _range(value))


def _outside(loc: Loc) -> Loc:
    """``loc`` without its function: decorators and signatures stand outside of it."""
    return Loc(loc.file, loc.line, loc.col, loc.end_col)
