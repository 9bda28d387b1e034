"""The ``@pto.kernel`` decorator: a Python function with a signature, traced on demand.

In: the function, the types of its parameters as text, the grid, defaults of the static parameters.
Out: ``Kernel.trace(**statics)``, the traced form of one work item (``pto/ir.py``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pto import ir, source, tracer
from pto.errors import InputError, MemoryAccessError, ParseError, PtoError, TraceError
from pto.legality import verify
from pto.text import Line, Parser, tokens_of
from pto.types import DTYPE_BYTES

Static = int | float | str
Arrays = dict[str, Any]


class Kernel:
    """A tile kernel that can be traced for any choice of its static parameters.

    ``statics`` are the defaults; ``draw_case(rng, **options)`` and ``oracle(arrays)`` are set by
    the decorators ``case`` and ``reference`` and let ``pto run`` judge the kernel.
    """

    def __init__(
        self,
        function: Callable[..., None],
        signature: Mapping[str, str],
        grid: str,
        statics: Mapping[str, Static],
    ) -> None:
        self.function, self.signature, self.grid = function, dict(signature), grid
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.statics: dict[str, Static] = dict(statics)
        self.draw_case: Callable[..., Arrays] | None = None
        self.oracle: Callable[..., Arrays] | None = None
        self.loc = ir.Loc(function.__code__.co_filename, function.__code__.co_firstlineno)
        self._check_parameters()

    def _check_parameters(self) -> None:
        names = list(inspect.signature(self.function).parameters)
        for name in names:
            if name not in self.signature and name not in self.statics:
                raise TraceError(
                    f"parameter '{name}' of kernel '{self.name}' has no type",
                    self.loc,
                    f'add {name}="bf16[rows, 128]", {name}="f32" or static=dict({name}=...)',
                )
        for name in self.signature:
            if name not in names:
                raise TraceError(f"kernel '{self.name}' has no parameter '{name}'", self.loc)

    def case(self, function: Callable[..., Arrays]) -> Callable[..., Arrays]:
        """Decorator: ``function(rng, **options)`` draws the inputs of one random case."""
        self.draw_case = function
        return function

    def reference(self, function: Callable[..., Arrays]) -> Callable[..., Arrays]:
        """Decorator: ``function(**inputs)`` returns the expected outputs, in float64."""
        self.oracle = function
        return function

    def with_statics(self, given: Mapping[str, Static]) -> dict[str, Static]:
        """The defaults overridden by ``given``.

        Raises:
            InputError: for a name that is not a static parameter, or a value of another type.
        """
        merged = dict(self.statics)
        for name, value in given.items():
            if name not in merged:
                known = ", ".join(merged) or "none"
                raise InputError(f"'{self.name}' has no static parameter '{name}'", None, f"it has: {known}")
            if type(value) is not type(merged[name]):
                want = type(merged[name]).__name__
                raise InputError(f"static parameter '{name}' = {value!r} must be of type {want}")
            merged[name] = value
        return merged

    def params(self, statics: Mapping[str, Static]) -> tuple[ir.Param, ...]:
        """The parameters with every static name replaced by its value; directions not yet known."""
        return tuple(self._param(n, t, statics) for n, t in self.signature.items())

    def _line(self, text: str) -> Line:
        line = Line(self.loc.file, self.loc.line, 0, text)
        line.tokens = tokens_of(line)
        return line

    def _param(self, name: str, text: str, statics: Mapping[str, Static]) -> ir.Param:
        values = _static_exprs(statics)
        try:
            line = self._line(text)
            dtype = str(statics.get(line.peek, line.peek))
            line.next()
            if dtype not in DTYPE_BYTES:
                raise line.fail(f"'{dtype}' is not a dtype", f"one of: {', '.join(DTYPE_BYTES)}")
            if not line.peek:
                return ir.Param(name, "scalar", dtype)
            shape: list[int | str] = []
            line.expect("[")
            while not line.accept("]"):
                if shape:
                    line.expect(",")
                shape.append(_dimension(line, ir.substitute(Parser("", "").expression(line), values)))
            line.end()
        except ParseError as error:
            raise TraceError(f"type of '{name}': {error.message}", self.loc, error.hint) from None
        return ir.Param(name, "in", dtype, tuple(shape))

    def grid_exprs(self, statics: Mapping[str, Static]) -> tuple[ir.Expr, ...]:
        """The grid with static names replaced."""
        line, parser, out = self._line(self.grid), Parser("", ""), []
        while line.peek:
            if out:
                line.expect(",")
            out.append(ir.substitute(parser.expression(line), _static_exprs(statics)))
        return tuple(out)

    def trace(self, **given: Static) -> ir.Kernel:
        """The traced form for these static parameters (defaults where not given).

        Raises:
            PtoError: for every mistake in the kernel, at the user's own line.
        """
        statics = self.with_statics(given)
        params, grid = self.params(statics), self.grid_exprs(statics)
        dims = [d for p in params for d in p.shape or () if isinstance(d, str)]
        for name in (n for g in grid for n in ir.names_in(g)):
            if name not in dims:
                raise TraceError(f"grid of '{self.name}': '{name}' is no static parameter and no dimension", self.loc)
        trace = tracer.Trace([*[p.name for p in params], *dims, *statics], grid)
        with tracer.tracing(trace):
            self._run(params, statics)
        body = _without_dead_rows(tuple(trace.scope.nodes))
        kernel = ir.Kernel(self.name, _directed(params, body), grid, body, tuple(statics.items()))
        verify(kernel)
        _check_stores(kernel, self.loc)
        return kernel

    def _run(self, params: tuple[ir.Param, ...], statics: Mapping[str, Static]) -> None:
        arguments: dict[str, Any] = {n: v for n, v in statics.items()}
        for p in params:
            arguments[p.name] = tracer.Scalar(ir.Var(p.name)) if p.shape is None else tracer.Tensor(p)
        wanted = inspect.signature(self.function).parameters
        positional = [arguments[n] for n, p in wanted.items() if p.kind != p.KEYWORD_ONLY]
        keywords = {n: arguments[n] for n, p in wanted.items() if p.kind == p.KEYWORD_ONLY}
        try:
            self.function(*positional, **keywords)
        except PtoError as error:
            raise _ending_in_user_code(error) from None


def kernel(
    *, grid: str, static: Mapping[str, Static] | None = None, **signature: str
) -> Callable[[Callable[..., None]], Kernel]:
    """Make a function a tile kernel; its body is one work item.

    Args:
        grid: the work items per axis, as text over dimensions and static parameters.
        static: defaults of the static parameters (sizes, dtypes, options); ``-D name=value`` sets
            them on the command line.
        signature: one type per parameter: ``"bf16[batch, 16, dim]"`` for a tensor, ``"f32"`` for
            a scalar.  A dimension that is not static is symbolic: it changes from call to call.
    """

    def wrap(function: Callable[..., None]) -> Kernel:
        return Kernel(function, signature, grid, static or {})

    return wrap


def _static_exprs(statics: Mapping[str, Static]) -> dict[str, ir.Expr]:
    return {n: ir.Const(v) for n, v in statics.items() if not isinstance(v, str)}


def _dimension(line: Line, e: ir.Expr) -> int | str:
    if isinstance(e, ir.Const) and isinstance(e.value, int) and e.value > 0:
        return e.value
    if isinstance(e, ir.Var):
        return e.name
    raise line.fail("a dimension is a positive int, a static parameter or a new name")


def _ending_in_user_code(error: PtoError) -> PtoError:
    """The error with the traceback frames of this package behind the user's line removed."""
    frames, tb = [], error.__traceback__
    while tb is not None:
        frames.append(tb)
        tb = tb.tb_next
    users = [f for f in frames if not source.is_internal(f.tb_frame.f_code.co_filename)]
    if users:
        users[-1].tb_next = None
    return error.with_traceback(users[0] if users else None)


def _directed(params: tuple[ir.Param, ...], body: ir.Block) -> tuple[ir.Param, ...]:
    """Parameters with ``in``, ``out`` or ``inout`` from what the rows do with them."""
    stored = {r.out.tensor for r in ir.all_rows(body) if isinstance(r.out, ir.View)}
    read = {a.tensor for r in ir.all_rows(body) for a in r.args if isinstance(a, ir.View)}

    def direction(p: ir.Param) -> str:
        if p.name in stored:
            return "inout" if p.name in read else "out"
        return p.direction

    return tuple(replace(p, direction=direction(p)) for p in params)


def _expr_names(x: object) -> list[str]:
    """Names of scalars and tiles that an operand mentions."""
    if isinstance(x, ir.Ref):
        return [x.name]
    if isinstance(x, ir.View):
        items = [e for i in x.index for e in ((i.start, i.valid) if isinstance(i, ir.Span) else (i,))]
        return [n for e in items if e is not None for n in ir.names_in(e)]
    if isinstance(x, ir.Const | ir.Var | ir.Bin):
        return list(ir.names_in(x))
    return []


def _without_dead_rows(body: ir.Block) -> ir.Block:
    """before --> after: rows whose result nobody uses disappear; stores and their needs stay."""
    used: set[str] = set()

    def sweep(block: ir.Block) -> ir.Block:
        kept: list[ir.Node] = []
        for node in reversed(block):
            if isinstance(node, ir.Loop):
                if node.carry and not any(c.last in used for c in node.carry):
                    if not any(isinstance(r.out, ir.View) for r in ir.all_rows(node.body)):
                        continue
                used.update(x.name for x in node.result)
                inner = sweep(node.body)
                used.update(c.init.name for c in node.carry)
                used.update(ir.names_in(node.trips))
                kept.append(replace(node, body=inner))
            elif isinstance(node, ir.Row):
                made = node.out.name if isinstance(node.out, ir.Define | ir.Scalar) else None
                if made is None or made in used:
                    for x in (*node.args, node.out):
                        used.update(_expr_names(x))
                    kept.append(node)
            else:
                kept.append(node)
        return tuple(reversed(kept))

    return sweep(body)


# ------------------------------------------------------------------------------ user memory


def _check_stores(k: ir.Kernel, loc: ir.Loc) -> None:
    """Every store must have a region of its own per work item and iteration; outputs are not read.

    Raises:
        MemoryAccessError: naming the tensor and the axis or loop that writes it twice.
    """
    rows = list(ir.all_rows(k.body))
    if not any(isinstance(r.out, ir.View) for r in rows):
        raise MemoryAccessError(f"kernel '{k.name}' stores nothing", loc, "pto.store(out[...], tile)")
    lets = {r.out.name: r.args[0] for r in rows if r.op == "let" and isinstance(r.out, ir.Scalar)}
    axes = {f"pid{a}": (f"axis {a} of the grid", g) for a, g in enumerate(k.grid) if g != ir.Const(1)}
    written: list[ir.View] = []

    def visit(block: ir.Block, loops: dict[str, tuple[str, ir.Expr]]) -> None:
        for node in block:
            if isinstance(node, ir.Loop):
                visit(node.body, {**loops, node.index: (f"loop '{node.index}'", node.trips)})
            elif isinstance(node, ir.Row):
                for x in node.args:
                    if isinstance(x, ir.View) and k.param(x.tensor).direction == "inout":
                        raise MemoryAccessError(
                            f"'{x.tensor}' is read here, but the kernel also stores to it",
                            node.loc,
                            "make it two parameters, one to read and one to write",
                        )
                if isinstance(node.out, ir.View):
                    _check_store(node, node.out, loops, lets, written)

    visit(k.body, axes)


def _check_store(
    row: ir.Row,
    view: ir.View,
    over: Mapping[str, tuple[str, ir.Expr]],
    lets: Mapping[str, Any],
    written: list[ir.View],
) -> None:
    view = ir.View(view.tensor, tuple(_resolved(i, lets) for i in view.index))
    for other in written:
        if other.tensor == view.tensor and not ir.disjoint(other, view):
            raise MemoryAccessError(f"'{view.tensor}' is stored twice in one region", row.loc)
    written.append(view)
    items = view.index
    for name, (what, _) in over.items():
        if not any(_moves(i, name) for i in items):
            raise MemoryAccessError(
                f"store: every step of {what} writes the same elements of '{view.tensor}'",
                row.loc,
                "let the region depend on it, or store after the loop",
            )
        for item in items:
            if isinstance(item, ir.Span):
                step, size = ir.coefficient(item.start, name), _extent(item)
                if step is not None and size is not None and 0 < abs(step) < size:
                    raise MemoryAccessError(
                        f"store: the regions of '{view.tensor}' overlap: {size} elements, "
                        f"but {what} moves them by {step}",
                        row.loc,
                    )


def _resolved(item: ir.Expr | ir.Span, lets: Mapping[str, Any]) -> ir.Expr | ir.Span:
    """An index with every ``let`` name replaced by what it stands for."""

    def full(e: ir.Expr) -> ir.Expr:
        while any(n in lets for n in ir.names_in(e)):
            e = ir.substitute(e, dict(lets))
        return e

    if not isinstance(item, ir.Span):
        return full(item)
    return ir.Span(full(item.start), item.size, None if item.valid is None else full(item.valid))


def _extent(span: ir.Span) -> ir.Number | None:
    """How many elements a span can touch at most, or None if that is not known."""
    if span.valid is None:
        return span.size
    terms = ir.linear(span.valid)
    if terms is None or any(c > 0 for n, c in terms.items() if n):
        return None
    return min(span.size, terms.get("", 0))


def _moves(item: ir.Expr | ir.Span, name: str) -> bool:
    start = item.start if isinstance(item, ir.Span) else item
    return name in ir.names_in(start)
