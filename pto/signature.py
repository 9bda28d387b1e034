"""The types, the grid and the static parameters in ``@pto.kernel(...)``.

In: the text of each, and values of the static parameters.  Out: ``ir.Param`` and grid expressions.
Every mistake is reported at the argument of the decorator, or at the parameter in the ``def``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType, MappingProxyType
from typing import Any

from pto import ir, source
from pto.arithmetic import GREATEST, LEAST
from pto.errors import InputError, ParseError, PtoError, TraceError, did_you_mean
from pto.facts import misfit
from pto.loc import Loc
from pto.targets import no_dtype
from pto.text import Line, Parser, expr, tokens_of
from pto.tracer import GRAMMAR_WORDS, noun
from pto.types import DTYPE_BYTES, SCALAR_DTYPES, SCALAR_HINT

Static = int | float | str


@dataclass(frozen=True, slots=True)
class Choice:
    """A static parameter of a few values, the default first."""

    values: tuple[Static, ...]


def choice(default: Static, *others: Static) -> Choice:
    """``static=dict(activation=pto.choice("relu", "none"))``: one of these, else an error."""
    return Choice((default, *others))


_ALLOWED_PARAMETERS = ("in", "out", "inout", "on", "last", "from", "min", "max")
"""Words of the grammar that cannot be mistaken where a parameter stands."""


def _check_plain(function: object) -> None:
    """A kernel is traced by its own code, and called by its own name."""
    if isinstance(function, FunctionType) and function.__name__.isidentifier():
        return
    found = "a lambda" if isinstance(function, FunctionType) else noun(function)
    message = f"a kernel must be a function with a name, found {found}"
    raise TraceError(message, source.here(), "def name(x, out): ...  below  @pto.kernel(...)")


class Signature:
    """Parameters of one kernel function: a type each, or static with a default."""

    def __init__(
        self,
        function: Callable[..., Any],
        types: Mapping[str, str],
        grid: str,
        statics: Mapping[str, Static | Choice],
        tune: Mapping[str, Sequence[Static]] = MappingProxyType({}),
    ) -> None:
        _check_plain(function)
        self.code: CodeType = function.__code__
        self.name = function.__name__
        self.types, self.grid = dict(types), grid
        self.choices = {n: v.values for n, v in statics.items() if isinstance(v, Choice)}
        self.statics: dict[str, Static] = {
            n: v.values[0] if isinstance(v, Choice) else v for n, v in statics.items()
        }
        self.loc = source.definition(self.code)
        self._add_tuned(tune)
        count = self.code.co_argcount + self.code.co_kwonlyargcount
        self.names = self.code.co_varnames[:count]
        self.positional = self.code.co_varnames[: self.code.co_argcount]
        self._check_function()
        self._check_parameters()
        self._check_statics()
        self.params(self.statics)
        self.grid_exprs(self.statics)
        self._check_tuned()

    def _check_function(self) -> None:
        flags = self.code.co_flags
        if flags & 0x0C:
            message = f"kernel '{self.name}' has *args or **kwargs"
            raise TraceError(message, self.loc, "name every parameter")
        if flags & 0x2A0:
            message = f"kernel '{self.name}' is a generator or coroutine, its body would never run"
            raise TraceError(message, self.loc, "results leave a kernel by pto.store")

    def _check_parameters(self) -> None:
        for name in self.names:
            if name in self.types and name in self.statics:
                message = f"parameter '{name}' has a type and is static"
                raise TraceError(message, self.argument(name), "drop one")
            if name not in self.types and name not in self.statics:
                raise TraceError(
                    f"parameter '{name}' of kernel '{self.name}' has no type",
                    source.parameter(self.code, name),
                    f'add to @pto.kernel: {name}="bf16[rows, 128]" for a tensor, {name}="f32" for '
                    f"a number, or static=dict({name}=...) for a constant",
                )
            is_plain = name.isascii() and name not in GRAMMAR_WORDS - set(_ALLOWED_PARAMETERS)
            if not is_plain:
                why = "means something in the text form" if name.isascii() else "is not ASCII"
                message = f"'{name}' cannot name a parameter: it {why}"
                raise TraceError(message, source.parameter(self.code, name), "rename it")
        for name in self.types:
            if name not in self.names:
                message = f"kernel '{self.name}' has no parameter '{name}'"
                raise TraceError(message, self.argument(name), did_you_mean(name, self.names))

    def _check_statics(self) -> None:
        for name, values in self.choices.items():
            if len({type(v) for v in values}) > 1:
                listed = ", ".join(map(repr, values))
                message = f"the choices of '{name}' are of several types: {listed}"
                raise TraceError(message, self.argument("static", name))
        listed_all = {n: self.choices.get(n, (v,)) for n, v in self.statics.items()}
        for name, value in ((n, v) for n, values in listed_all.items() for v in values):
            if not isinstance(value, int | float | str):
                raise TraceError(
                    f"static parameter '{name}' is {noun(value)}; it must be a number or a word",
                    self.argument("static", name),
                )
            self._check_writable(name, value, TraceError)

    def _add_tuned(self, tune: Mapping[str, Sequence[Static]]) -> None:
        """``tune=dict(pages=(1, 2))`` declares the static parameter, whose default is the first value unless
        ``static`` has one."""
        self.tuned: dict[str, tuple[Static, ...]] = {}
        for name, values in tune.items():
            if not isinstance(values, list | tuple) or not values:
                message = f"the values to try of '{name}' are {noun(values)}"
                raise TraceError(message, self.argument("tune", name), f"tune=dict({name}=(1, 2))")
            self.statics.setdefault(name, values[0])
            self.tuned[name] = tuple(dict.fromkeys(values))

    def _check_tuned(self) -> None:
        """Each value can be taken, the default among them, and no array of a call decides between them."""
        for name, values in self.tuned.items():
            at = self.argument("tune", name)
            if name not in self.names:
                message = f"'{name}' cannot be tuned: '{self.name}' has no such parameter"
                raise TraceError(message, at, did_you_mean(name, self.names))
            for value in values:
                try:
                    self.with_statics({name: value})
                except InputError as error:
                    raise TraceError(error.message, at) from None
            default = self.statics[name]
            if default not in values:
                message = f"the default of '{name}', {default!r}, is none of the values to try"
                raise TraceError(message, at)
            for param, text in self.types.items():
                if name in self._line(param, text).tokens:
                    message = f"'{name}' cannot be tuned: the arrays of a call show it"
                    raise TraceError(message, at, f"{param}={text!r}")

    def _check_writable(self, name: str, value: Static, error: type[PtoError]) -> None:
        """The text form can hold the value."""
        why = ""
        if isinstance(value, str):
            is_word = value.isidentifier() and value.isascii() and value not in ("inf", "nan")
            why = "" if is_word else "not one plain word"
        elif isinstance(value, int):
            why = "" if LEAST <= value <= GREATEST else "beyond the integers of 64 bits"
        if why:
            message = f"static parameter '{name}' = {value!r} is {why}"
            raise error(message, self.argument("static", name))

    def argument(self, name: str, key: str = "") -> Loc:
        """Where ``name=`` stands in the decorator."""
        return source.decorator_argument(self.code, name, key)

    def with_statics(self, given: Mapping[str, Static]) -> dict[str, Static]:
        """The defaults overridden by ``given``.

        Raises:
            InputError: for a name that is not a static parameter, or a value of another type.
        """
        merged = dict(self.statics)
        for name, value in given.items():
            if name not in merged:
                raise InputError(
                    f"kernel '{self.name}' has no static parameter '{name}'",
                    self.argument("static"),
                    did_you_mean(name, merged) or "it has none",
                )
            merged[name] = self._chosen(name, self._converted(name, value))
            self._check_writable(name, merged[name], InputError)
        return merged

    def _chosen(self, name: str, value: Static) -> Static:
        known = self.choices.get(name, (value,))
        if value in known:
            return value
        message = f"static parameter '{name}' = {value!r} is none of {', '.join(map(repr, known))}"
        raise InputError(message, self.argument("static", name))

    def _converted(self, name: str, value: Static) -> Static:
        wanted = type(self.statics[name])
        if type(value) is wanted:
            return value
        if wanted is float and type(value) is int:
            return float(value)
        if wanted is bool and value in (0, 1):
            return bool(value)
        raise InputError(
            f"static parameter '{name}' = {value!r} is of type {type(value).__name__}, "
            f"its default is of type {wanted.__name__}",
            self.argument("static", name),
        )

    # text to types

    def params(self, statics: Mapping[str, Static]) -> tuple[ir.Param, ...]:
        """The parameters with every static name replaced by its value; directions not yet known."""
        found = tuple(self._param(n, t, statics) for n, t in self.types.items())
        for p in found:
            why, hint = misfit(p, found)
            if why:
                raise TraceError(f"type of '{p.name}': {why}", self.argument(p.name), hint)
        return found

    def _line(self, name: str, text: object) -> Line:
        if not isinstance(text, str):
            example = 'grid="cdiv(rows, 16)"' if name == "grid" else f'{name}="f32[rows, 128]"'
            message = f"'{name}' must be a text, found {noun(text)}"
            raise TraceError(message, self.argument(name), example)
        line = Line(self.loc.file, self.loc.line, 0, text)
        line.tokens = tokens_of(line)
        return line

    def _param(self, name: str, text: str, statics: Mapping[str, Static]) -> ir.Param:
        values = _static_exprs(statics)
        try:
            line = self._line(name, text)
            word = line.next() if line.peek else ""
            dtype = str(statics.get(word, word))
            if dtype not in DTYPE_BYTES:
                raise line.fail(*no_dtype(dtype))
            if not line.peek:
                if dtype not in SCALAR_DTYPES:
                    raise line.fail(f"a number cannot be {dtype}", SCALAR_HINT)
                return ir.Param(name, "scalar", dtype)
            shape: list[int | str] = []
            line.expect("[")
            while not line.accept("]"):
                if shape:
                    line.expect(",")
                size = ir.substitute(Parser("", "").expression(line), values)
                shape.append(self._dimension(line, size))
            way = "inout" if line.accept("inout") else "in"
            facts = tuple(_stated(f, values) for f in Parser("", "").facts(line, way, dtype))
        except ParseError as error:
            message = f"type of '{name}': {error.message}"
            raise TraceError(message, self.argument(name), error.hint) from None
        return ir.Param(name, way, dtype, tuple(shape), facts)

    def _dimension(self, line: Line, e: ir.Expr) -> int | str:
        if isinstance(e, ir.Const) and isinstance(e.value, int) and e.value > 0:
            return e.value
        if isinstance(e, ir.Var):
            if e.name in self.names or e.name in GRAMMAR_WORDS:
                what = "a parameter" if e.name in self.names else "a word of the text form"
                raise line.fail(f"dimension '{e.name}' has the name of {what}", "rename it")
            return e.name
        found = f", found {e.value}" if isinstance(e, ir.Const) else ""
        raise line.fail(f"a dimension is a positive int, a static parameter or a new name{found}")

    def grid_exprs(self, statics: Mapping[str, Static]) -> tuple[ir.Expr, ...]:
        """The grid with static names replaced; every other name is a symbolic dimension."""
        values = _static_exprs(statics)
        dims = {d for p in self.params(statics) for d in p.shape or () if isinstance(d, str)}
        out: list[ir.Expr] = []
        try:
            line, parser = self._line("grid", self.grid), Parser("", "")
            while line.peek or not out:
                if out:
                    line.expect(",")
                size = ir.substitute(parser.expression(line), values)
                for name in ir.names_in(size):
                    if name not in dims:
                        known = [*dims, *values]
                        message = f"'{name}' is neither a dimension nor a static parameter"
                        raise line.fail(message, did_you_mean(name, known))
                if ir.is_float(size):
                    raise line.fail(f"'{expr(size)}' is not an integer", "divide with // or cdiv")
                if isinstance(size, ir.Const) and (
                    not isinstance(size.value, int) or size.value < 1
                ):
                    raise line.fail(f"an axis has {size.value} work items, it needs one at least")
                out.append(size)
        except ParseError as error:
            raise TraceError(f"grid: {error.message}", self.argument("grid"), error.hint) from None
        return tuple(out)


def _stated(f: ir.Fact, values: Mapping[str, ir.Expr]) -> ir.Fact:
    """A fact with every static name replaced by its value."""
    if isinstance(f, ir.Within):
        return ir.Within(ir.substitute(f.low, values), ir.substitute(f.high, values))
    return f


def _static_exprs(statics: Mapping[str, Static]) -> dict[str, ir.Expr]:
    return {n: ir.Const(v) for n, v in statics.items() if not isinstance(v, str)}
