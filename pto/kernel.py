"""The ``@pto.kernel`` decorator: a Python function with a signature, traced on demand.

In: the function, the types of its parameters as text, the grid, defaults of the static parameters.
Out: ``Kernel.trace(**statics)``, the traced form of one work item (``pto/ir.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Never, TypeVar

from pto import ir, source, tracer
from pto.dead_rows import without_dead_rows
from pto.empty_sums import started
from pto.errors import MemoryAccessError, PtoError, TraceError
from pto.legality import verify
from pto.printer import fact
from pto.products import cut
from pto.scalar import Scalar
from pto.signature import Choice, Signature, Static
from pto.targets import TARGETS
from pto.tensor import Tensor
from pto.tracer import told_to_the_caller
from pto.wrong_calls import wrong_call

if TYPE_CHECKING:
    from numpy.random import Generator

Arrays = Mapping[str, Any]
Case = TypeVar("Case", bound="Callable[Concatenate[Generator, ...], Arrays]")
Reference = TypeVar("Reference", bound=Callable[..., Arrays])
Backward = TypeVar("Backward", bound=Callable[..., Arrays])


class Kernel:
    """A tile kernel that can be traced for any choice of its static parameters.

    ``statics`` are the defaults, ``choices`` the values of those that have only a few, ``tuned`` those that
    a search may choose, with the values to try; ``draw_case(rng, **options)`` and ``oracle(arrays)`` are
    set by the decorators ``case`` and ``reference`` and let ``pto run`` judge the kernel.
    """

    def __init__(
        self,
        function: Callable[..., None],
        signature: Mapping[str, str],
        grid: str,
        statics: Mapping[str, Static | Choice],
        tune: Mapping[str, Sequence[Static]],
    ) -> None:
        self._signature = Signature(function, signature, grid, statics, tune)
        self.function, self.signature, self.grid = function, dict(signature), grid
        self.name = function.__name__
        self.__doc__, self.__module__ = function.__doc__, function.__module__
        self.__qualname__ = function.__qualname__
        self.statics, self.choices = self._signature.statics, self._signature.choices
        self.tuned = self._signature.tuned
        self.positional = self._signature.positional
        self.draw_case: Callable[..., Arrays] | None = None
        self.oracle: Callable[..., Arrays] | None = None
        self.gradient: Callable[..., Arrays] | None = None
        self.loc = self._signature.loc

    def __reduce__(self) -> str:
        """Like a function, it is copied as itself and pickled as its name."""
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<pto.kernel {self.name} at {self.loc}>"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The outputs for these arrays: its work items, in the proven schedule, run in JAX.

        Args:
            args: the inputs in the order of the ``def``, without outputs and static parameters.  A tensor
                that the kernel adds to is an input, too: what it holds is where the sums start.
            kwargs: inputs by name; static parameters that no shape shows; an output that is updated
                in place, as a cache: what it starts from (without, elements that no work item writes
                have all bits set, which is NaN or -1).

        Arrays are numpy's, JAX's, or what comes by DLPack, as torch's; numbers are Python's, or of
        no dimension.  Static parameters are read off shapes and element types.

        Returns:
            The output in the caller's kind of array, or a named tuple of several.

        Under ``jax.jit``, ``vmap``, ``shard_map`` and ``eval_shape`` it is a JAX function; contents
        that it cannot know then are not checked, and an index out of bounds is clamped.

        Raises:
            InputError: for arguments that do not fit, at the line of the call.
            PtoError: for a mistake in the kernel, at its line.
        """
        if tracer.is_tracing():
            tracer.fail(
                TraceError,
                f"kernel '{self.name}' cannot be called",
                "what two kernels share goes into a plain function",
            )
        from lowering.call import call

        with told_to_the_caller():
            return call(self, args, kwargs)

    def lower(self, /, *args: Any, schedule: Any = None, watch: Any = None, **kwargs: Any) -> Any:
        """The kernel for these arrays or shapes, as one object (``lowering/lowered.py``).

        ``proof``, ``show(stage)``, ``simulate()``, ``tune()``, ``source()``, ``emit(folder)``,
        ``run(*arrays, executor=..., seeds=...)``; in a notebook it shows its verdict, time and bound.

        Args:
            args: inputs as for a call, or what has their ``shape`` and ``dtype``; any may be left out.
            schedule: by name (serial, prefetch, repair, best: the default), ``Options``, or a schedule of your
                own, as ``pto.parse`` reads it, for these parameters.
            watch: with what ``debug_print`` and ``debug_check`` say, in the schedule and in emitted text, too.
            kwargs: inputs and static parameters by name; ``lookahead`` and other options.

        Raises:
            InputError: for arguments that do not fit, at the line of the call.
            PtoError: for a mistake in the kernel, at its line.
        """
        from lowering.lowered import lower

        with told_to_the_caller():
            return lower(self, args, kwargs, schedule, watch)

    def backward(self, function: Backward) -> Backward:
        """Decorator: ``function`` gives the gradients that ``jax.grad`` asks for.

        It takes by name what it needs of the inputs, the outputs, and ``d_OUTPUT``, the gradient
        with respect to each of these; it returns the gradients of inputs by name, as arrays of their
        shapes.  It may call kernels.
        """
        _check_callable(function, "backward")
        self.gradient = function
        return function

    def case(self, function: Case) -> Case:
        """Decorator: ``function(rng, **options)`` draws the inputs of one random case."""
        _check_callable(function, "case")
        self.draw_case = function
        return function

    def reference(self, function: Reference) -> Reference:
        """Decorator: ``function(**inputs)`` returns the expected outputs, in float64."""
        _check_callable(function, "reference")
        self.oracle = function
        return function

    def with_statics(self, given: Mapping[str, Static]) -> dict[str, Static]:
        """The defaults overridden by ``given``.

        Raises:
            InputError: for a name that is not a static parameter, or a value of another type.
        """
        return self._signature.with_statics(given)

    def params(self, statics: Mapping[str, Static]) -> tuple[ir.Param, ...]:
        """The parameters with every static name replaced by its value; directions not yet known."""
        return self._signature.params(statics)

    def trace(self, /, **given: Static) -> ir.Kernel:
        """The traced form for these static parameters (defaults where not given).

        Raises:
            PtoError: for every mistake in the kernel, at the user's own line.
        """
        return self._formed(given, watched=False)

    def watched(self, /, **given: Static) -> ir.Kernel:
        """The traced form with ``debug_check`` and ``debug_print``, which that has not.

        Raises:
            PtoError: for every mistake in the kernel, at the user's own line.
        """
        return self._formed(given, watched=True)

    def _formed(self, given: Mapping[str, Static], *, watched: bool) -> ir.Kernel:
        made, trace = self._traced(given, watched=watched)
        body = cut(started(made).body, next(iter(TARGETS.values())), trace.taken)
        return verify(replace(made, body=without_dead_rows(body)))

    def _traced(
        self, given: Mapping[str, Static], *, watched: bool
    ) -> tuple[ir.Kernel, tracer.Trace]:
        """The rows that the function makes."""
        statics = self.with_statics(given)
        params, grid = self.params(statics), self._signature.grid_exprs(statics)
        dims = [d for p in params for d in p.shape or () if isinstance(d, str)]
        scalars = [p.name for p in params if p.shape is None]
        taken = [*[p.name for p in params], *dims, *statics]
        stated = {p.name: p.facts for p in params}
        trace = tracer.Trace(taken, grid, [*scalars, *dims], stated, watched=watched)
        with tracer.tracing(trace):
            self._run(trace, params, statics)
        if not trace.stores:
            message = f"kernel '{self.name}' stores nothing, so it computes nothing"
            hint = "results leave a kernel by pto.store(out[...], tile)"
            raise MemoryAccessError(message, self.loc, hint)
        for p in params:
            if p.is_written and p.name not in trace.stores:
                message = f"'{p.name}' is inout, and the kernel stores nothing to it"
                hint = "without the word it is an input"
                raise MemoryAccessError(message, self._signature.argument(p.name), hint)
        body = without_dead_rows(tuple(trace.root.nodes))
        shown = tuple((n, int(v) if isinstance(v, bool) else v) for n, v in statics.items())
        required = tuple(trace.requires)
        params = _directed(params, body)
        return ir.Kernel(self.name, params, grid, body, shown, requires=required), trace

    def _run(
        self, trace: tracer.Trace, params: tuple[ir.Param, ...], statics: Mapping[str, Static]
    ) -> None:
        arguments: dict[str, Any] = dict(statics)
        for p in params:
            scalar = Scalar(ir.Var(p.name, p.dtype != "i32"), trace.root)
            arguments[p.name] = scalar if p.shape is None else Tensor(trace, p)
        positional = self._signature.positional
        keywords = {n: arguments[n] for n in self._signature.names if n not in positional}
        try:
            returned = self.function(*[arguments[n] for n in positional], **keywords)
        except PtoError as error:
            raise _ending_in_user_code(error) from None
        except TypeError as error:
            mistake = wrong_call(error)
            if mistake is None:
                raise
            raise _ending_in_user_code(mistake) from None
        if returned is not None:
            raise TraceError(
                f"kernel '{self.name}' returns {tracer.noun(returned)}, which nobody receives",
                source.returned(self.function.__code__, None) or self.loc,
                "results leave a kernel by pto.store(out[...], tile)",
            )


def _check_callable(function: object, what: str) -> None:
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & 0x2A0:
        kind = "a generator or coroutine, which returns nothing when it is called"
        raise TraceError(f"the {what} is {kind}", source.definition(code))
    if not callable(function):
        message = f"a {what} must be a function, found {tracer.noun(function)}"
        raise TraceError(message, source.here())


def kernel(
    *misplaced: Never,
    grid: str = "",
    static: Mapping[str, Static | Choice] | None = None,
    tune: Mapping[str, Sequence[Static]] | None = None,
    **signature: str,
) -> Callable[[Callable[..., None]], Kernel]:
    """Make a function a tile kernel; its body is one work item.

    Args:
        grid: the work items per axis, as text over dimensions and static parameters.
        static: defaults of the static parameters (sizes, dtypes, options); ``-D name=value`` sets
            them on the command line.  ``pto.choice("relu", "none")``: only these, the first by default.
        tune: static parameters that change the time and not what is computed, with the values to try,
            ``dict(q_tile=(16, 32, 64))``: ``pto tune`` searches them, and a call that does not give one has
            the one that the cost model takes to be fastest.  The default is that of ``static``, else the first.
        signature: one type per parameter: ``"bf16[batch, 16, dim]"`` for a tensor, ``"f32"`` for
            a scalar.  A dimension that is not static is symbolic: it changes from call to call.

    Raises:
        TraceError: for parameters without type, unknown dtypes, a grid that cannot be read.
    """
    if misplaced or not grid:
        function = misplaced[0] if misplaced else None
        code = getattr(function, "__code__", None)
        raise TraceError(
            "@pto.kernel needs a grid and the types of the parameters",
            source.definition(code) if code is not None else source.here(),
            '@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, 128]", out="f32[rows, 128]")',
        )

    def wrap(function: Callable[..., None]) -> Kernel:
        return Kernel(function, signature, grid, static or {}, tune or {})

    return wrap


def _ending_in_user_code(error: PtoError) -> PtoError:
    """The error with its traceback ending at the user's line, without frames of this package."""
    frames: list[TracebackType] = []
    tb = error.__traceback__
    while tb is not None:
        frames.append(tb)
        tb = tb.tb_next
    users = [f for f in frames if not source.is_internal(f.tb_frame.f_code.co_filename)]
    if len(users) > 1 and _same_line(users[-2], users[-1]):
        users[-2].tb_next = None  # the frame that PtoError made is the user's own: one is enough
    return error.with_traceback(users[0] if users else None)


def _same_line(a: TracebackType, b: TracebackType) -> bool:
    return (a.tb_frame.f_code.co_filename, a.tb_lineno) == (
        b.tb_frame.f_code.co_filename,
        b.tb_lineno,
    )


def _directed(params: tuple[ir.Param, ...], body: ir.Block) -> tuple[ir.Param, ...]:
    """Parameters with ``out`` where a row stores to them, ``inout`` where what they hold counts: a row loads it or
    adds to it, or the type says so.

    Raises:
        TraceError: if one of these states what it holds.
    """
    stored = {r.out.tensor: r.loc for r in ir.all_rows(body) if isinstance(r.out, ir.View)}
    for p in params:
        for f in p.facts:
            counts = f.count if isinstance(f, ir.Ranges) else p.name
            if name := next((n for n in (p.name, counts) if n in stored), ""):
                message = (
                    f"'{name}' is stored to, and a type states what it holds: {p.name} {fact(f)}"
                )
                raise TraceError(
                    message, stored[name], "facts are about tensors that are only read"
                )
    kept = {*ir.added_to(body), *ir.loaded_from(body), *(p.name for p in params if p.is_written)}
    ways = {name: "inout" if name in kept else "out" for name in stored}
    return tuple(replace(p, direction=ways.get(p.name, p.direction)) for p in params)
