"""One run of a kernel function: the rows so far, where they go, and what traced values cannot do.

In: calls of the language (``scalar``, ``tensor``, ``tile``, ``loop``).  Out: rows of the traced form.
Invariant: a value is used only in the block that made it or in blocks inside of that.
Non-goals: cores, pipes, slots and events; the scheduler in ``lowering/`` adds them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from pto import ir, source
from pto.errors import PtoError, TraceError, UnknownNameError, did_you_mean
from pto.folds import NAMES
from pto.loc import Loc
from pto.ops import COMPOSED, FUNCTIONS
from pto.reach import reach_of

GRAMMAR_WORDS = frozenset(
    """kernel static param grid require buffer fifo event note for if else carry yield from last on in out
    inout scalar cube vector wait set min max cdiv inf nan lane block_idx block_num args T""".split()
)
"""Words of the text form; no parameter and no value has one of them as its name."""


Way = tuple[str, bool]
"""A choice by name, and whether it goes to the body or to the other one."""


class Scope:
    """Rows of one block: the kernel body, or a loop body with its index and trip count; ``way``: of a block
    that is run or not, which choice it is a part of."""

    def __init__(self, trace: Trace, parent: Scope | None, index: str = "", what: str = "") -> None:
        self.trace, self.parent, self.index, self.what = trace, parent, index, what
        self.nodes: list[ir.Node] = []
        self.carries: tuple[str, ...] = ()
        self.trips: ir.Expr = ir.Const(1)
        self.way: Way | None = None

    def encloses(self, other: Scope | None) -> bool:
        while other is not None and other is not self:
            other = other.parent
        return other is self


def innermost(a: Scope | None, b: Scope | None) -> Scope | None:
    """The scope in which both values are known (None: a constant, known everywhere)."""
    if a is None or b is None:
        return a or b
    return b if a.encloses(b) else a


class Trace:
    """One run of a kernel function: the rows so far, the names taken.

    ``launch``: the sizes and scalar parameters, which are one for all work items; ``stated``: what the
    types of tables state; ``watched``: whether what only watches makes rows, too (``pto/debug.py``).
    """

    def __init__(
        self,
        taken: Sequence[str],
        grid: Sequence[ir.Expr],
        launch: Sequence[str] = (),
        stated: Mapping[str, tuple[ir.Fact, ...]] = MappingProxyType({}),
        *,
        watched: bool = False,
    ) -> None:
        self.scope = self.root = Scope(self, None)
        self.taken = set(taken) | GRAMMAR_WORDS | {f"pid{k}" for k in range(len(grid))}
        self.grid = tuple(grid)
        self.launch, self.stated, self.watched = tuple(launch), stated, watched
        self.requires: list[ir.Require] = []
        self.lets: dict[str, ir.Expr] = {}
        self.reads: dict[str, ir.View] = {}
        self.folds: dict[str, ir.Row] = {}
        """The rows of the numbers that loops over scalars give."""
        self.handed: set[str] = set()
        """Those of them that loops around here hand on: what they add is known behind the loop only."""
        self.waiting: list[Callable[[], None]] = []
        """What is checked then."""
        self.read_at: dict[str, Loc | None] = {}
        """Where a tensor is first read in a way that no store may follow: as scalars, as one of several regions."""
        self.loads: dict[str, list[Any]] = {}
        self.stores: dict[str, list[Any]] = {}
        self.in_parts = 0
        self.places: dict[object, Any] = {}
        """Tiles of numbers of places, by shape (``pto/selection.py``)."""
        self.turned: dict[str, Any] = {}
        """The transposes that are tiles of their own, by the name of what they are of (``pto/transposes.py``)."""

    def fresh(self, hint: str) -> str:
        """``hint``, with a number behind it if the name is taken."""
        if not hint.isascii():
            hint = "".join(c if c.isascii() else f"u{ord(c):x}" for c in hint)
        name, n = hint, 1
        while name in self.taken:
            n += 1
            name = f"{hint}_{n}"
        self.taken.add(name)
        return name

    def name(self, op: str, part: bool = False, own: str = "") -> str:
        """A fresh name for the result of ``op``, after the variable it is assigned to.

        ``part``: the op is the first half of what the user wrote as one operation.
        ``own``: the name of a value that is only a part of what is assigned.
        """
        frame, part = source.user_frame(), part or self.in_parts > 0
        hint, is_all = "", False
        if frame is not None:
            hint, is_all = source.value_name(frame, self.scope.carries)
        if own and not is_all:
            return self.fresh(own)
        if hint and (part or not is_all):
            hint = f"{hint}_{op}"
        return self.fresh(hint or op)

    @contextlib.contextmanager
    def parts(self) -> Iterator[None]:
        """All rows that are made here are parts of what the user wrote as one operation."""
        self.in_parts += 1
        try:
            yield
        finally:
            self.in_parts -= 1

    def emit(self, node: ir.Node) -> None:
        self.scope.nodes.append(node)

    def let(self, hint: str, expr: ir.Expr, frame: FrameType | None) -> str:
        """A row that names a scalar expression; its name."""
        name = self.fresh(hint)
        loc = source.locate(frame) if frame is not None else None
        self.emit(ir.Row("let", ir.Scalar(name, ir.is_float(expr)), (expr,), loc=loc))
        self.lets[name] = self.resolved(expr)
        return name

    def resolved(self, expr: ir.Expr) -> ir.Expr:
        """``expr`` with every ``let`` name replaced by what it stands for."""
        return ir.substitute(expr, self.lets) if self.lets else expr

    def once_known(self, check: Callable[[], None]) -> None:
        """A check now, or as soon as all numbers are known that loops hand on."""
        self.waiting.append(check)
        self.found(())

    def found(self, folds: Iterable[ir.Row]) -> None:
        """The numbers that a loop hands on."""
        for row in folds:
            self.folds[row.result(ir.Scalar).name] = row
            self.handed.discard(row.result(ir.Scalar).name)
        while self.waiting and not self.handed:
            self.waiting.pop(0)()

    def is_data(self, name: str) -> bool:
        """Whether a scalar goes by the entries of tables."""
        return name in self.reads or name in self.folds

    def behind(self, name: str) -> list[str]:
        """The names that what is read, or folded, goes by; of any other, none."""
        view, row = self.reads.get(name), self.folds.get(name)
        parts = [view] if view is not None else row.args if row is not None else []
        found = (n for x in parts for e in ir.exprs_of(x) for n in ir.names_in(self.resolved(e)))
        return [n for n in dict.fromkeys(found) if n not in NAMES]

    @property
    def counters(self) -> dict[str, ir.Expr]:
        """What makes a row run again: axes of the grid and loops, from outside, with their lengths."""
        loops: list[tuple[str, ir.Expr]] = []
        scope: Scope | None = self.scope
        while scope is not None and scope.parent is not None:
            loops.append((scope.index, self.resolved(scope.trips)))
            scope = scope.parent
        return {f"pid{k}": size for k, size in enumerate(self.grid)} | dict(reversed(loops))

    @property
    def ways(self) -> dict[str, bool]:
        """The choices that lead here."""
        found: list[Way] = []
        scope: Scope | None = self.scope
        while scope is not None:
            found += [scope.way] if scope.way else []
            scope = scope.parent
        return dict(found)

    def extremes(self, expr: ir.Expr) -> tuple[int, int] | None:
        """(least, greatest) value of ``expr`` that some step of the kernel really has, or None.

        Known where it is linear in grid axes and loop indices of static length: each of them takes
        every value on its own.
        """
        known = ((name, e.value) for name, e in self.counters.items() if isinstance(e, ir.Const))
        ranges = {name: (0, int(length) - 1) for name, length in known if length >= 1}
        return reach_of(ir.linear(self.resolved(expr)), ranges)

    @contextlib.contextmanager
    def block(
        self, index: str, what: str, trips: ir.Expr, way: Way | None = None
    ) -> Iterator[Scope]:
        """A nested scope; its nodes are the caller's to place."""
        outer = self.scope
        self.scope = Scope(self, outer, index, what)
        self.scope.trips, self.scope.way = trips, way
        try:
            yield self.scope
        finally:
            self.scope = outer


class _Active(threading.local):
    """The traces of a thread, the innermost last: threads may call kernels at the same time."""

    def __init__(self) -> None:
        self.traces: list[Trace] = []


_active = _Active()


@contextlib.contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Make ``trace`` the current one."""
    _active.traces.append(trace)
    try:
        yield trace
    finally:
        _active.traces.pop()


def is_tracing() -> bool:
    return bool(_active.traces)


def current() -> Trace:
    if not _active.traces:
        what, _ = source.construct(source.user_frame())
        message = f"{what if what.endswith('()') else 'a traced value'} is used outside of a kernel"
        hint = "tiles and scalars exist only while pto traces a function decorated with @pto.kernel"
        fail(TraceError, message, hint)
    return _active.traces[-1]


def fail(
    kind: type[PtoError], message: str, hint: str = "", operand: int | None = None
) -> NoReturn:
    """Raise ``kind`` at the user's current expression, or at one operand of it."""
    if operand is None:
        raise kind(message, source.here(), hint)
    raise kind(message, source.operand(source.user_frame(), operand), hint)


def noun(value: object) -> str:
    """What a value is, for messages: ``tile 'q' (bf16[16, 128])``, ``the number 3``, ``a list``."""
    if isinstance(value, Traced):
        return value.described()
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float | str):
        return f"{'the text' if isinstance(value, str) else 'the number'} {value!r}"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' or name == 'ndarray' else 'a'} {name}"


@contextlib.contextmanager
def told_to_the_caller() -> Iterator[None]:
    """An error without a place is about the user's line that calls; no frame below it helps him."""
    try:
        yield
    except PtoError as error:
        raise error.told_at(error.loc or source.here()) from None


class Traced:
    """What no traced value can do: steer Python, turn into an array, be iterated or compared."""

    _noun = "value"
    _scope: Scope | None = None

    def described(self) -> str:
        """The value as a message names it."""
        return f"{'an' if self._noun[0] in 'aeiou' else 'a'} {self._noun}"

    def check_usable(self) -> None:
        """Raise if the value is unknown at this point of the trace."""
        scope = self._scope
        if scope is None:
            return
        trace = current()
        if scope.trace is not trace:
            fail(
                TraceError,
                f"{self.described()} belongs to another trace",
                "a traced value lives for one run of its kernel: do not keep it in a global, "
                "a list or an attribute; give the kernel a parameter instead",
            )
        if not scope.encloses(trace.scope):
            fail(
                TraceError,
                f"{self.described()} was made inside {scope.what} and is used outside of it",
                "return it from the body as part of the carry"
                if self._noun == "tile"
                else "compute it again after the loop, or use it inside",
            )

    # steering Python

    def __bool__(self) -> bool:
        where, loc = source.construct(source.user_frame())
        quoted = where if where.endswith("()") else f"'{where or 'bool'}'"
        found = "a traced scalar" if self._noun == "scalar" else self.described()
        message = f"{quoted} needs to know {found}, whose value exists only when the kernel runs"
        raise TraceError(message, loc, self._branch_hint(where))

    def _branch_hint(self, where: str) -> str:
        if where == "while":
            return (
                "a loop over traced counts is pto.fori_loop(lo, hi, body, carry); where it ends early, "
                "pto.first_where(count, condition) is its length"
            )
        if where in ("min()", "max()"):
            return f"use pto.{where[:3]}imum(a, b)"
        if where in ("and / or", "not", "chained comparison"):
            return "Python evaluates this itself; & | ~ combine comparisons, each in parentheses: (a < b) & (c < d)"
        if where in ("in", "comparison of tuples"):
            return "Python evaluates this itself; compare one scalar with one number at a time"
        return (
            "a branch may only depend on static parameters; choose values with "
            "pto.where (columns of a tile), pto.minimum or pto.maximum"
        )

    def _as_number(self, kind: str) -> NoReturn:
        where, loc = source.construct(source.user_frame(), number=True)
        hint = "the value exists only when the kernel runs"
        if where == "range()":
            hint = "a loop over a traced count is pto.fori_loop(lo, hi, body, carry)"
        elif where == "[]":
            hint = "Python containers take static indices; traced ones index tensors"
        elif where.startswith("math."):
            hint = (
                "scalars know + - * / // % and comparisons; tiles have pto.exp, pto.log, pto.sqrt"
            )
        asked = "indexing a Python container" if where == "[]" else where or "Python"
        raise TraceError(f"{asked} needs a Python {kind}, found {self.described()}", loc, hint)

    def __len__(self) -> int:
        fail(TraceError, f"{self.described()} has no len()", "use .shape")

    def _iter_hint(self) -> str:
        return "a loop over a traced count is pto.fori_loop(lo, hi, body, carry)"

    def __contains__(self, item: object) -> bool:
        fail(TraceError, f"'in' cannot look into {self.described()}")

    def __hash__(self) -> int:
        message = f"{self.described()} cannot be a dict key or a member of a set"
        hint = "its value is not known while tracing; use a list, or a key of your own"
        fail(TraceError, message, hint)

    def __format__(self, spec: str) -> str:
        if spec:
            message = f"{self.described()} cannot be formatted with '{spec}'"
            fail(TraceError, message, "print its repr")
        return repr(self)

    # foreign arrays

    def __array__(self, *args: object, **kwargs: object) -> NoReturn:
        where, _ = source.construct(source.user_frame())
        fail(
            TraceError,
            f"{where or 'a numpy or JAX function'} works on arrays, found {self.described()}",
            "use + - * / @ and the functions of pto: exp, log, sqrt, maximum, minimum, where, "
            "row_max, row_sum, ...",
        )

    @property
    def __jax_array__(self) -> NoReturn:
        self.__array__()

    def __array_function__(self, *args: object, **kwargs: object) -> NoReturn:
        self.__array__()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: object) -> Any:
        """numpy's numbers may stand on the left of an operator; its functions cannot take tiles."""
        operator = _UFUNCS.get(ufunc.__name__)
        if operator is None or kwargs or len(inputs) != 2 or isinstance(inputs[0], Traced):
            self.__array__()
        return getattr(self, operator)(inputs[0])

    # attributes and items

    if not TYPE_CHECKING:  # to a checker a value has none of these

        def __iter__(self) -> Iterator[Any]:
            message = f"{self.described()} cannot be iterated or unpacked"
            raise TraceError(message, source.construct(source.user_frame())[1], self._iter_hint())

        def __call__(self, *args: object, **kwargs: object) -> NoReturn:
            fail(TraceError, f"{self.described()} cannot be called")

        def __getattr__(self, name: str) -> Any:
            message = f"a {self._noun} has no attribute '{name}'"
            if name.startswith("_"):
                raise AttributeError(message)
            known = [n for n in dir(type(self)) if not n.startswith("_") and n not in _INTERNAL]
            hint = self._method_hint(name) or did_you_mean(name, known)
            raise UnknownNameError(message, source.here(), hint)

        def __getitem__(self, index: Any) -> Any:
            fail(TraceError, f"{self.described()} cannot be indexed", self._index_hint())

        def __setitem__(self, index: object, value: object) -> None:
            message = f"{self.described()} cannot be assigned to"
            fail(TraceError, message, "a value never changes: make a new one")

        def __delitem__(self, index: object) -> None:
            fail(TraceError, f"elements of {self.described()} cannot be deleted")

    def _index_hint(self) -> str:
        return ""

    def _value_hint(self) -> str:
        """What to write where a number is needed."""
        return ""

    def _method_hint(self, name: str) -> str:
        return METHODS.get(name, "")

    # operators: a subclass overrides those that it has

    def _no_operator(self, symbol: str) -> NoReturn:
        message = f"'{symbol}' does not work on {self.described()}"
        fail(TraceError, message, self._operator_hint(symbol))

    def _operator_hint(self, symbol: str) -> str:
        return ""


_INTERNAL = (
    "described",
    "check_usable",
    "ref",
    "entry",
    "view",
    "type",
    "transposed",
    "value",
    "expr",
)
_UFUNCS = {
    "add": "__radd__",
    "subtract": "__rsub__",
    "multiply": "__rmul__",
    "divide": "__rtruediv__",
    "floor_divide": "__rfloordiv__",
    "remainder": "__rmod__",
    "matmul": "__rmatmul__",
    "less": "__gt__",
    "less_equal": "__ge__",
    "greater": "__lt__",
    "greater_equal": "__le__",
    "equal": "__eq__",
    "not_equal": "__ne__",
}
"""numpy's name of an operator -> the method that serves its right operand."""

ON_ONE_CORE = (
    "what a scalar decides both cores and both lanes decide, and a tile lies on one of them: pto.where chooses by "
    "elements, pto.when by sizes, indices and tables; a number that a kernel computes is a table of the next one"
)
"""Why no scalar comes out of a tile, and what there is instead."""

METHODS = {
    **dict.fromkeys(("item", "tolist"), ON_ONE_CORE),
    "sum": "pto.sum(x) is of all elements, pto.row_sum(x) of every row",
    "max": "pto.max(x) is of all elements, pto.row_max(x) of every row",
    "min": "pto.min(x) is of all elements, pto.row_min(x) of every row",
    "argmax": "pto.row_argmax(x) gives the column of the largest element of every row",
    "argmin": "pto.row_argmin(x) gives the column of the least element of every row",
    "argsort": "values, indices = pto.sort(x), the largest first",
    "sort": "values, indices = pto.sort(x), the largest first",
    "cumsum": "pto.cumsum(x) sums every row up to each column",
    "dot": "write a @ b",
    "matmul": "write a @ b",
    "transpose": "x.T",
    "reshape": "a tile keeps its shape; load another region of the tensor",
    **{name: f"pto.{name}(x)" for name in (*FUNCTIONS, *COMPOSED)},
    "at": "values never change; pto.store(out[...], x) writes to a tensor, with add=True it adds",
}
"""Methods of numpy arrays -> what to write instead."""


def _refuse(how: str, word: str) -> Any:
    """A method that ends in ``how(word)``, whatever it is given."""
    return lambda self, *others: getattr(self, how)(word)


for _name, _kind in {
    "index": "int", "int": "int", "float": "float", "complex": "complex", "round": "number",
}.items():  # fmt: skip
    setattr(Traced, f"__{_name}__", _refuse("_as_number", _kind))
for _name, _symbol in {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
    "divmod": "divmod",
}.items():  # fmt: skip
    setattr(Traced, f"__{_name}__", _refuse("_no_operator", _symbol))
    setattr(Traced, f"__r{_name}__", _refuse("_no_operator", _symbol))
for _name, _symbol in {
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
    "neg": "-", "pos": "+", "invert": "~", "abs": "abs", "trunc": "trunc",
    "floor": "floor", "ceil": "ceil",
}.items():  # fmt: skip
    setattr(Traced, f"__{_name}__", _refuse("_no_operator", _symbol))
