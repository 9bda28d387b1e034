"""Scalars and GM regions as the numpy executors see them, and why a region is outside its tensor.

In: expressions and views of a kernel (traced or scheduled).
Out: Python functions from a ``Scope`` (name -> number) to a number or to a ``Region``.
Invariant: a ``Region`` lies inside its tensor, or is empty; whatever else was asked for raises an
error that goes back through the scalars to the user's array that is the reason.
Non-goals: tile data, and what an op computes (``sequential.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pto import ir
from pto.arithmetic import BINARY, Number, shortest
from pto.errors import InputError, MemoryAccessError, PtoError
from pto.text import expr as expr_text

Array = NDArray[Any]
Env = Mapping[str, Number]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "f32": np.dtype(np.float32),
    "i32": np.dtype(np.int32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "i16": np.dtype(np.int16),
    "i8": np.dtype(np.int8),
    "u8": np.dtype(np.uint8),
}
"""numpy's element type for each of ours."""

NAMES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items()}
"""And back."""

# ----------------------------------------------------------------------------------- scalars


class Scope(dict[str, Number]):
    """Scalars of one iteration; a name that its loop defines is never looked for further out.

    Without ``own``, a row that runs before the scalar of its own iteration has been read would
    silently get an older value of the same name.
    """

    __slots__ = ("outer", "own")

    def __init__(self, outer: Scope | None = None, own: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.outer, self.own = outer, own

    def __missing__(self, name: str) -> Number:
        if self.outer is not None and name not in self.own:
            return self.outer[name]
        raise MemoryAccessError(f"scalar '{name}' is used before it has a value")


OPERATOR = {op: f"op{k}" for k, op in enumerate(BINARY)}
"""The name of each scalar operator in the source of ``compiled``."""


def _source(e: ir.Expr) -> str:
    if isinstance(e, ir.Const):
        return f"({ir.constant(e)!r})"
    if isinstance(e, ir.Var):
        return f"e[{e.name!r}]"
    return f"{OPERATOR[e.op]}({_source(e.a)}, {_source(e.b)})"


@lru_cache(maxsize=4096)
def _function(source: str) -> Callable[[Env], Number]:
    names = {"__builtins__": {}, "inf": math.inf, "nan": math.nan}
    names |= {name: BINARY[op] for op, name in OPERATOR.items()}
    return eval(f"lambda e: {source}", names)  # type: ignore[no-any-return]


def compiled(e: ir.Expr) -> Callable[[Env], Number]:
    """``ir.evaluate`` of ``e`` as a Python function of its names (cached by source)."""
    return _function(_source(e))


# ----------------------------------------------------------------------------------- regions


@dataclass(frozen=True, slots=True)
class Region:
    """``where`` in the tensor goes with ``inside`` of the tile (one slice per span)."""

    where: tuple[int | slice, ...]
    inside: tuple[slice, ...]
    empty: bool
    whole: bool


Locate = Callable[[Env], Region]
Fail = Callable[[int, Env], PtoError]


def span_shape(view: ir.View) -> tuple[int, ...]:
    """The sizes of the spans of ``view``: the shape of its elements before they become a tile."""
    return tuple(s.size for s in view.spans)


def locator(view: ir.View, shape: tuple[int, ...], fail: Fail) -> Locate:
    """A function from scalars to the region of ``view`` in a tensor of ``shape``.

    Raises (when called): ``fail(dimension, scalars)`` if the region is not inside the tensor.  A
    region without elements is inside wherever it starts: nothing is accessed.
    """
    parts = [_part(item, extent) for item, extent in zip(view.index, shape, strict=True)]

    def locate(env: Env) -> Region:
        where: list[int | slice] = []
        inside: list[slice] = []
        bad, empty, whole = -1, False, True
        for dim, (start, size, valid, extent) in enumerate(parts):
            at = int(start(env))
            count = size if valid is None else min(max(int(valid(env)), 0), size)
            if bad < 0 and not 0 <= at <= extent - max(count, 1):
                bad = dim
            if size < 0:
                where.append(at)
                continue
            empty, whole = empty or count == 0, whole and count == size
            where.append(slice(at, at + count))
            inside.append(slice(0, count))
        if bad >= 0 and not empty:
            raise fail(bad, env)
        return Region(tuple(where), tuple(inside), empty, whole)

    return locate


Part = tuple[Callable[[Env], Number], int, Callable[[Env], Number] | None, int]


def _part(item: ir.Expr | ir.Span, extent: int) -> Part:
    """(start, size, valid, extent) of one dimension; size -1: the dimension is taken out."""
    if not isinstance(item, ir.Span):
        return compiled(item), -1, None, extent
    valid = None if item.valid is None else compiled(item.valid)
    return compiled(item.start), item.size, valid, extent


# ------------------------------------------------------------------------- whose fault it is

Definitions = Mapping[str, ir.Row | ir.Loop]


def _names(row: ir.Row, core: str) -> Iterator[str]:
    if isinstance(row.out, ir.Scalar) and row.core == core:
        yield row.out.name


def scalars_in(block: ir.Block, core: str = "") -> frozenset[str]:
    """Names of the scalars that the rows of one core define in ``block`` itself."""
    return frozenset(n for r in ir.own_rows(block) for n in _names(r, core))


def visible(block: ir.Block, node: ir.Node, core: str = "") -> Definitions | None:
    """What defines each scalar that ``node`` (found by identity) can see, None if not below."""
    here: dict[str, ir.Row | ir.Loop] = {n: r for r in ir.own_rows(block) for n in _names(r, core)}
    for child in block:
        if child is node:
            return here
        below: Definitions | None = None
        if isinstance(child, ir.Loop):
            here_too = {child.index: child, child.total: child}
            below = visible(child.body, node, core)
            below = None if below is None else {**here_too, **below}
        elif isinstance(child, ir.Branch):
            found = visible(child.then, node, core)
            below = visible(child.orelse, node, core) if found is None else found
        if below is not None:
            return {**here, **below}
    return None


def expanded(e: ir.Expr, known: Definitions) -> ir.Expr:
    """``e`` with every ``let`` replaced by what it names."""
    while True:
        lets = {
            n: row.scalar()
            for n in ir.names_in(e)
            if isinstance(row := known.get(n), ir.Row) and row.op == "let"
        }
        if not lets:
            return e
        e = ir.substitute(e, lets)


def reads_behind(e: ir.Expr, known: Definitions, loops: bool) -> Iterator[str]:
    """The ``read`` scalars in ``e``; with ``loops``, also those in the trip counts of its loops."""
    for name in dict.fromkeys(ir.names_in(expanded(e, known))):
        found = known.get(name)
        if isinstance(found, ir.Row):
            yield name
        elif isinstance(found, ir.Loop) and loops:
            yield from reads_behind(found.trips, known, loops)


def _where_read(name: str, known: Definitions, env: Env) -> str:
    """``block_table[3, 7]``: the element that scalar ``name`` was read from; what is no element has its name."""
    row = known[name]
    assert isinstance(row, ir.Row)
    if row.op != "read":
        return name
    view = row.operand(ir.View)
    items = (int(compiled(i)(env)) for i in view.index if not isinstance(i, ir.Span))
    return f"{view.tensor}[{', '.join(map(str, items))}]"


def _cause(e: ir.Expr, known: Definitions, env: Env) -> str:
    """``context_lens[2] = 9000``, joined with 'and'; '' if no read is behind ``e``."""
    for loops in (False, True):
        names = dict.fromkeys(reads_behind(e, known, loops))
        if names:
            return " and ".join(f"{_where_read(n, known, env)} = {env[n]}" for n in names)
    return ""


def _accessed(view: ir.View, env: Env) -> str:
    """``key_cache[5, 0:128, 0, :]`` with the numbers of this access."""
    parts = []
    for item in view.index:
        if not isinstance(item, ir.Span):
            parts.append(str(int(compiled(item)(env))))
            continue
        at = int(compiled(item.start)(env))
        count = item.size if item.valid is None else int(compiled(item.valid)(env))
        parts.append(f"{at}:{at + min(max(count, 0), item.size)}")
    return f"{view.tensor}[{', '.join(parts)}]"


def _partial(view: ir.View, dim: int, size: int, env: Env) -> str:
    """What a tile that begins inside of dimension ``dim`` and does not say where that ends needs."""
    item = view.index[dim]
    if not isinstance(item, ir.Span) or item.valid is not None:
        return ""
    begins_inside = 0 <= compiled(item.start)(env) < size
    told = f"valid={view.tensor}.shape[{dim}] - start"
    return f"the last tile is partial: pto.ds(start, size, {told})" if begins_inside else ""


def outside(
    kernel: ir.Kernel, row: ir.Row, view: ir.View, shape: tuple[int, ...], error: type[PtoError]
) -> Fail:
    """The error for an access of ``row`` that leaves dimension ``dim`` of its tensor."""

    def fail(dim: int, env: Env) -> PtoError:
        known = visible(kernel.body, row, row.core) or {}
        start, named = (
            ir.as_span(view.index[dim]).start,
            (kernel.param(view.tensor).shape or ())[dim],
        )
        cause, exact = _cause(start, known, env), expanded(start, known)
        label = f" ({named})" if isinstance(named, str) else ""
        if isinstance(exact, ir.Var) and isinstance(known.get(exact.name), ir.Row):
            size = f"{shape[dim]} {named}" if label else f"size {shape[dim]}"
            message = f"{cause}, but {view.tensor} has {size} (dimension {dim})"
        else:
            need = f"{cause} needs" if cause else "the kernel needs"
            if " and " in cause:
                need = f"{cause} need"
            message = f"{need} {_accessed(view, env)}, "
            message += f"but its dimension {dim}{label} is {shape[dim]}"
        return error(message, row.loc, _partial(view, dim, shape[dim], env))

    return fail


def undefined(
    kernel: ir.Kernel, node: ir.Node, core: str, e: ir.Expr, why: str, env: Env
) -> InputError:
    """The error for the scalar ``e`` of ``node``, which has no value for these scalars."""
    known = visible(kernel.body, node, core) or {}
    exact = expanded(e, known)
    reads = dict.fromkeys(reads_behind(exact, known, loops=False))
    causes = [f"{_where_read(n, known, env)} = {env[n]}" for n in reads]
    params = {p.name for p in kernel.params} | set(kernel.dims)
    given = dict.fromkeys(n for n in ir.names_in(exact) if n in params)
    causes += [f"{n} = {shortest(env[n])}" for n in given]
    where = f" where {' and '.join(causes)}" if causes else ""
    return InputError(f"{expr_text(exact)} has no value{where}: {why}", node.loc)
