"""A kernel lowered for fixed static parameters: one object for all that is known of it.

In: a kernel or a program, its traced form, options of the schedule.  Out: its schedule and proof, time,
pictures, sources, runs; each is made when it is first asked for.
Invariant: it says what the commands of ``pto`` say, by the same functions.
Non-goals: reading the command line.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowering.ascend import emit
from lowering.files import write_all
from lowering.hazards import Proof, check, on_ladder
from lowering.hazards.proof import HazardError
from lowering.programs import check_parameters, watched
from lowering.schedule import PASSES, Options, Schedule, options_for, schedule, stages
from lowering.svg import Text, element, preformatted
from pto import ir
from pto.dead_rows import watches
from pto.errors import InputError, did_you_mean
from pto.kernel import Kernel
from pto.signature import Static
from pto.text import print_kernel
from pto.tracer import noun, told_to_the_caller

if TYPE_CHECKING:
    from lowering.execute.said import Heard
    from lowering.executors import Ran
    from lowering.schedule.tune import Search
    from lowering.simulate import Timing

SOURCE, TRACED, SCHEDULED = "source", "traced", "scheduled"

BLOCKS = 64
"""Iterations of the inner loop that a work item is simulated with, where nothing else is said."""


class OrdersDiffer(Exception):
    """Another legal order of the pipes gave other bits, or went wrong; the text says in which."""


@dataclass
class Lowered:
    """A kernel for fixed static parameters, as ``kernel.lower()`` gives it.

    ``traced``: its traced form, or a scheduled program that was read from text; ``options``: of the
    schedule that it gets.
    """

    program: Kernel | ir.Kernel
    traced: ir.Kernel
    options: Options

    def __repr__(self) -> str:
        statics = " ".join(f"{n}={v}" for n, v in self.traced.statics)
        return f"<pto.lowered {self.traced.name} {statics}".rstrip() + ">"

    # the schedule

    @cached_property
    def schedule(self) -> Schedule:
        """The proven schedule of what was traced.

        Raises:
            HazardError: when the proof is refused.
            PtoError: when it does not fit the target.
        """
        return schedule(self.traced, self.options)

    @property
    def kernel(self) -> ir.Kernel:
        """The scheduled program."""
        return self.traced if ir.is_scheduled(self.traced) else self.schedule.kernel

    @cached_property
    def proof(self) -> Proof:
        """Whether no run can race or get stuck, and under which readings of the machine; if one can,
        which and where."""
        if ir.is_scheduled(self.traced):
            return on_ladder(self.traced, check(self.traced))
        try:
            return on_ladder(self.kernel, self.schedule.proof)
        except HazardError as error:
            return error.proof

    @told_to_the_caller()
    def at(self, stage: str) -> ir.Kernel:
        """The program as it was traced, behind a pass by name, or scheduled.

        Raises:
            InputError: for an unknown stage, or one that a program read from text is past.
        """
        known = [SOURCE, TRACED, *PASSES, SCHEDULED]
        if stage not in known or stage == SOURCE:
            hint = did_you_mean(stage, known)
            raise InputError(f"no stage is called '{stage}'", hint=hint)
        if stage == SCHEDULED:
            return self.kernel
        if ir.is_scheduled(self.traced):
            name = self.traced.name
            raise InputError(f"{name} is scheduled already; it has no stage '{stage}'")
        if stage == TRACED:
            return self.traced
        return next(k for name, k in stages(self.traced, self.options) if name == stage)

    @told_to_the_caller()
    def show(self, stage: str = SCHEDULED, *, verbose: bool = False) -> Text:
        """The program at one stage, as text that ``pto check`` reads back; ``source``: the function;
        ``verbose``: with its details, as comments.

        Raises:
            InputError: as ``at``; a source that cannot be read.
        """
        if stage == SOURCE and isinstance(self.program, Kernel):
            try:
                return Text(inspect.getsource(self.program.function).rstrip("\n"))
            except OSError:
                message = f"the source of {self.program.name} cannot be read"
                raise InputError(message, self.program.loc) from None
        return Text(print_kernel(self.at(stage), verbose).rstrip("\n"))

    # time

    @told_to_the_caller()
    def simulate(
        self,
        blocks: int | Sequence[int] = BLOCKS,
        *,
        latency: int | None = None,
        costs: str = "",
        queue_depth: int | None = None,
        holds: int = 100,
    ) -> Timing:
        """When every row runs on one hardware block, and what every pipe waits for.

        Args:
            blocks: iterations of the inner loop, of one work item or of each of several.
            latency: cycles that a signal takes from core to core (default: the table's), which nobody has
                measured.
            costs: a table of the target: device (the default), flat, fitted or published.
            queue_depth: entries that a pipe holds before the scalar unit stops.
            holds: percent of the steps of a loop in which the choices in it are taken, spread evenly.
        """
        from lowering.simulate import Setup, simulate

        items = list(blocks) if isinstance(blocks, Iterable) else [blocks]
        for count in items:
            check_count("blocks", count)
        check_count("holds", holds, 100)
        return simulate(self.kernel, items, Setup(costs, latency, queue_depth, holds=holds))

    @told_to_the_caller()
    def tune(self, costs: str = "") -> Tuned:
        """Searches the options of the schedule; each candidate is proven and simulated, one by one
        in this process (``pto tune`` uses all processors).

        Raises:
            InputError: for a program that is scheduled already.
        """
        from lowering.schedule.tune import tune

        if ir.is_scheduled(self.traced):
            message = f"{self.traced.name} is scheduled already; no schedule can be chosen"
            raise InputError(message)
        found = tune(self.traced, costs, workers=1)
        return Tuned(self.program, self.traced, found.chosen.options, found)

    # text

    @property
    def sources(self) -> Mapping[str, str]:
        """Ascend sources by file name."""
        if ir.is_scheduled(self.traced):
            if not self.proof.ok:
                raise HazardError(self.proof)
            return emit(self.traced)
        return self.schedule.sources

    @told_to_the_caller()
    def source(self, name: str = "") -> Text:
        """One source file, the kernel's own if no name is given.

        Raises:
            InputError: for a file that is not among ``sources``.
        """
        name = name or f"{self.traced.name}.cpp"
        if name not in self.sources:
            hint = did_you_mean(name, self.sources)
            raise InputError(f"no source is called '{name}'", hint=hint)
        return Text(self.sources[name])

    @told_to_the_caller()
    def emit(self, folder: str | Path) -> list[Path]:
        """Writes all sources into a folder, or none; the files."""
        files = {Path(folder) / n: text.encode() for n, text in self.sources.items()}
        write_all(files)
        return list(files)

    # runs

    @told_to_the_caller()
    def case(self, /, seed: int = 0, **options: Static) -> dict[str, Any]:
        """The inputs of a random case as the kernel's ``@KERNEL.case`` draws it, by name and in the
        types of the parameters.

        Raises:
            InputError: for an option that it does not take; when the kernel draws no case.
        """
        from lowering.execute import cases

        assert isinstance(self.program, Kernel)
        texts = [f"{n}={x}" for n, x in {**options, "seed": seed}.items()]
        return cases.draw(self.program, self.traced, texts)

    @told_to_the_caller()
    def run(self, /, *args: Any, executor: Any = None, seeds: Any = None, **kwargs: Any) -> Any:
        """The outputs for these inputs, as a call gives them in numpy, on an executor by name.

        Args:
            executor: sequential (what was traced), numpy or jax (the schedule; the default), native
                (the emitted C++ on the host) or adversarial; the last two run in random legal orders
                of the pipes.
            seeds: how many of these orders.

        Raises:
            InputError: for arguments that do not fit, an executor that there is not.
            OrdersDiffer: an order of the pipes gives other bits.
        """
        from lowering.call.calls import Program

        assert isinstance(self.program, Kernel)
        inputs, own = divided(self.program, kwargs, executor=executor, seeds=seeds)
        check_count("seeds", own["seeds"] or 0)
        ran = self._ran(args, inputs, own["executor"], own["seeds"])
        outs = [p.name for p in self.traced.params if p.is_written]
        return Program(self.program, self.traced).result([ran.outputs[n] for n in outs])

    def _ran(
        self, args: Sequence[Any], inputs: Mapping[str, Any], executor: Any, seeds: Any
    ) -> Ran:
        """What an executor makes of these inputs, in orders that all give the same.

        Raises:
            InputError, OrdersDiffer: as ``run``.
        """
        from lowering import executors
        from lowering.execute.inputs import bind, validate

        assert isinstance(self.program, Kernel)
        bound = bind(self.traced, self._inputs(self.program, args, inputs))
        validate(self.traced, bound)
        name = executors.JAX if executor is None else executor
        program = self._unscheduled() if name == executors.SEQUENTIAL else self.kernel
        orders = None
        if name in executors.SEVERAL or seeds is not None:
            seeds = executors.SEEDS if seeds is None else seeds
            rests_on = () if ir.is_scheduled(self.traced) else self.options.assume
            orders = executors.Orders(range(seeds), assume=rests_on)
        ran = executors.execute(name, program, bound, orders)
        if ran.differences:
            raise OrdersDiffer("\n".join(executors.wrong(ran.orders)))
        return ran

    def _unscheduled(self) -> ir.Kernel:
        """What was traced, also where a schedule was given; it needs none."""
        assert isinstance(self.program, Kernel)
        is_own = ir.is_scheduled(self.traced)
        return self.program.trace(**dict(self.traced.statics)) if is_own else self.traced

    @told_to_the_caller()
    def watch(self, /, *args: Any, executor: Any = None, **kwargs: Any) -> Heard:
        """What ``pto.debug_print`` and ``pto.debug_check`` of the kernel say for these inputs: ``printed`` and
        ``failed``, and as text all that ``pto run`` tells.

        Args:
            executor: by name, as ``run``, of a schedule that says it (``kernel.lower(watch=True)``); by default what
                was traced says it, one work item after the other.

        Raises:
            InputError: for arguments that do not fit; an executor, and a schedule that says nothing.
        """
        from lowering.execute.inputs import bind
        from lowering.execute.watched import watch

        assert isinstance(self.program, Kernel)
        inputs, own = divided(self.program, kwargs, executor=executor)
        if own["executor"] is not None:
            if not watches(self.traced.body):
                hint = f"{self.program.name}.lower(..., watch=True)"
                raise InputError("this schedule says nothing", hint=hint)
            return self._ran(args, inputs, own["executor"], None).heard
        written = self.program.watched(**dict(self.traced.statics))
        return watch(written, bind(written, self._inputs(self.program, args, inputs)))

    def _inputs(
        self, kernel: Kernel, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The inputs of a run by name, of any kind of arrays.

        Raises:
            InputError: as a call; a static parameter that is not what it is here.
        """
        from lowering.call.arguments import is_traced, named
        from lowering.call.calls import inputs_of, taken
        from lowering.call.kinds import kind_of

        given = named(kernel, args, kwargs, inputs_of(self.traced))
        fixed = dict(self.traced.statics)
        for name, value in given.statics.items():
            if value != fixed[name]:
                raise InputError(f"{name}={value} is given, but this is for {name}={fixed[name]}")
        for name, x in given.arrays.items():
            if is_traced(x):
                message = f"{name} is traced by JAX; an executor runs arrays"
                raise InputError(message, hint=f"{kernel.name}(...) is a function of JAX")
        return taken(given, kind_of(given.arrays)).arrays

    # a card

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, the time and the bound, and the pipes in time."""
        if not self.proof.ok:
            return self.proof._repr_html_()
        told = preformatted(self.proof.report())
        return element("div", told + self.simulate()._repr_html_())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook that shows no HTML shows, and IPython in a terminal."""
        printer.text(self.proof.report())
        if self.proof.ok:
            printer.text(f"\n{self.simulate()!r}")


@dataclass
class Tuned(Lowered):
    """A kernel with the options that a search has found; ``report()`` is what ``pto tune`` prints."""

    search: Search

    def report(self, top: int | None = None) -> Text:
        """The table of candidates, the best first (None: all)."""
        from lowering.schedule.tune_report import told

        return Text("\n".join(line.rstrip() for line in told(self.search, top)))


def lower(
    kernel: Kernel,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    name: str | Options | ir.Kernel | None,
    watch: bool | None,
) -> Lowered:
    """``kernel.lower(...)``: of ``kwargs``, what is no parameter changes options of the schedule."""
    from lowering.call.calls import calls_of

    kwargs, options = divided(kernel, kwargs, schedule=name, watch=watch)
    name = "best" if options["schedule"] is None else options["schedule"]
    own = {*kernel.signature, *kernel.statics}
    flags = {n: x for n, x in kwargs.items() if n in Options().choices and n not in own}
    rest = {n: x for n, x in kwargs.items() if n not in flags}
    program = calls_of(kernel).lowered(kernel, args, rest).traced
    program = watched(kernel, program) if options["watch"] else program
    if isinstance(name, Options | ir.Kernel) and flags:
        raise InputError("options of the schedule are given twice", hint="give schedule=... alone")
    if isinstance(name, ir.Kernel):
        if not ir.is_scheduled(name):
            raise InputError(f"{name.name} is not scheduled", hint="schedule=... takes a schedule")
        check_parameters(name, program, kernel.name)
        return Lowered(kernel, name, Options())
    if isinstance(name, Options):
        return Lowered(kernel, program, name)
    return Lowered(kernel, program, options_for(name, program, **flags))


def check_count(name: str, found: Any, most: float = inf) -> None:
    """Raises InputError for what counts nothing, or more than ``most``."""
    if not isinstance(found, Integral) or not 0 <= int(found) <= most:
        up = "up" if most == inf else f"to {most}"
        raise InputError(f"{name} is {noun(found)}, but a number from 0 {up} is expected")


def divided(
    kernel: Kernel, kwargs: Mapping[str, Any], **options: Any
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """``kwargs`` and ``options``: one that has the name of a parameter of the kernel is that parameter."""
    own = {n for n in options if n in kernel.signature or n in kernel.statics}
    mine = {n: x for n, x in options.items() if n in own and x is not None}
    return {**kwargs, **mine}, {n: None if n in own else x for n, x in options.items()}
