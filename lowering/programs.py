"""What the KERNEL argument of a command names, and how it becomes a traced program.

In: a shipped name, ``module:function``, ``file.py:function`` or ``FILE.ptoir``, and ``-D`` texts.
Out: a ``Program``: a kernel of the language, to be traced for some static parameters, or a program
read from text, traced or scheduled.  Every mistake in the user's own Python is one ``PtoError`` at
the user's line; a mistake in this package passes as it is.
Non-goals: arrays (``lowering/execute/cases.py``).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from pto import ir
from pto.dead_rows import watches
from pto.errors import InputError, TraceError, did_you_mean
from pto.kernel import Kernel
from pto.legality import verify
from pto.loc import Loc
from pto.signature import Static
from pto.targets import target_of
from pto.text import parse

Program = Kernel | ir.Kernel
OURS = tuple(str(Path(__file__).parent.parent / name) for name in ("pto", "lowering"))
OUR_KERNELS = str(Path(__file__).parent.parent / "pto" / "kernels")
COMPILED = (".pyx", ".pxd", ".pxi")
LIBRARIES = (str(Path(os.__file__).parent), "<frozen")
FORMS = "module:function, file.py:function or FILE.ptoir"


# ----------------------------------------------------------------------------------- loading


def load(what: str) -> Program:
    """The program that ``what`` names.

    Raises:
        InputError: when there is no such kernel.
        PtoError: when its file cannot be imported or parsed.
    """
    place, colon, function = what.rpartition(":")
    if what.endswith(".ptoir"):
        return parsed(_text(Path(what)), what)
    if not colon and not what.endswith(".py"):
        return _shipped(what)
    place = place if colon else what
    module = _import_file(place) if place.endswith(".py") else _import_module(place)
    return _kernel_in(module, place, function if colon else "")


def parsed(text: str, file: str) -> ir.Kernel:
    """The legal program that a text is, traced or scheduled for a target that exists.

    Raises:
        PtoError: at the line that says why not.
    """
    kernel = verify(parse(text, file))
    for fifo in kernel.fifos:
        target_of(kernel).credits(fifo)
    return kernel


def source_of(what: str) -> Path:
    """The file that ``what`` is read from, if there is one."""
    place = what.rpartition(":")[0]
    if what.endswith((".ptoir", ".py")):
        return Path(what)
    if place.endswith(".py"):
        return Path(place)
    if place:
        return Path(*place.split(".")).with_suffix(".py")
    from pto.kernels import KERNELS

    known = KERNELS.get(what)
    return Path(known.function.__code__.co_filename if known else what)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8: byte {error.start} is none") from None


def _shipped(name: str) -> Kernel:
    from pto.kernels import KERNELS

    if name not in KERNELS:
        hint = f"{did_you_mean(name, KERNELS)}  (or {FORMS})"
        raise InputError(f"no shipped kernel is called '{name}'", hint=hint)
    return KERNELS[name]


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(f"there is no module '{name}'", hint=FORMS)
    _search(Path.cwd())
    try:
        with users_code(f"importing {name}"):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(f"there is no module '{name}'") from None
        raise


class AsItStands(SourceFileLoader):
    """Reads the file itself: what was compiled of it may be of the same second and length, and is not kept beside it."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _import_file(path: str) -> ModuleType:
    folder, name = _package(Path(path).resolve())
    spec = importlib.util.spec_from_file_location(name, path, loader=AsItStands(name, path))
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise InputError(f"there is no file '{path}'")
    for place in dict.fromkeys((folder, Path(path).resolve().parent)):
        _search(place)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)
    with users_code(f"importing {path}"):
        spec.loader.exec_module(module)
    return module


def _package(path: Path) -> tuple[Path, str]:
    """The folder that the outermost package of a file lies in, and the file's name from there."""
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder, name = folder.parent, f"{folder.name}.{name}"
    return folder, name


def _search(folder: Path) -> None:
    """Lets the user's file import its neighbours, as ``python file.py`` would."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _kernel_in(module: ModuleType, place: str, function: str) -> Kernel:
    """The kernel called ``function``, or the only one that there is."""
    kernels = {n: k for n, k in vars(module).items() if isinstance(k, Kernel)}
    if not function and len(kernels) == 1:
        return next(iter(kernels.values()))
    if function in kernels:
        return kernels[function]
    if function and hasattr(module, function):
        raise InputError(f"{place}: '{function}' is not a kernel", hint="decorate it: @pto.kernel")
    if not function and not kernels:
        raise InputError(f"{place} has no kernel", hint="decorate a function: @pto.kernel(...)")
    if not function:
        names = list(kernels)
        hint = f"name one: {place}:{names[0]}"
        raise InputError(f"{place} has {len(names)} kernels: {', '.join(names)}", hint=hint)
    raise InputError(f"{place} has no kernel '{function}'", hint=did_you_mean(function, kernels))


# ---------------------------------------------------------------------------- the user's code


@contextmanager
def users_code(doing: str) -> Iterator[None]:
    """Makes an exception of the user's own Python one ``TraceError`` at the user's line.

    A ``PtoError`` passes, and so does whatever this package itself raises: that is a bug.
    """
    try:
        yield
    except SyntaxError as error:
        loc = Loc(error.filename, error.lineno or 0) if error.filename else None
        raise TraceError(f"{doing}: {error.msg}", loc) from error
    except RecursionError as error:
        at = _users_line(error, own=True)
        raise TraceError(f"{doing}: a function calls itself without end", at) from None
    except SystemExit as error:
        at = _users_line(error, own=True)
        raise TraceError(f"{doing}: it ends the program by itself", at) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's code may raise
        at = None if isinstance(error, InputError | TraceError) else _users_line(error)
        if at is None:
            raise
        said = " ".join(str(error).split())
        raise TraceError(f"{doing}: {type(error).__name__}: {said}", at) from error


def _users_line(error: BaseException, own: bool = False) -> Loc | None:
    """The innermost line of the user, or None if this package is behind it, or a ``PtoError``.

    ``own``: it is the user's, even where this package is behind it.
    """
    from pto.errors import PtoError

    if isinstance(error, PtoError):
        return None
    for frame in reversed(list(_frames(error.__traceback__))):
        file = frame.tb_frame.f_code.co_filename
        if file.startswith(OURS) and not file.startswith(OUR_KERNELS):
            if own:
                continue
            return None
        is_library = file.startswith(LIBRARIES) or "site-packages" in file
        if not is_library and not file.endswith(COMPILED):
            return Loc(file, frame.tb_lineno, function=frame.tb_frame.f_code.co_name)
    return None


def _frames(tb: TracebackType | None) -> Iterator[TracebackType]:
    """The user's code starts behind the frame that entered ``users_code``."""
    while tb is not None:
        yield tb
        tb = tb.tb_next


# ------------------------------------------------------------------------- static parameters

WORDS = {"true": True, "false": False, "1": True, "0": False}


def assignments(texts: Sequence[str], option: str) -> dict[str, str]:
    """``name=value`` texts, or several in one with commas between, as names and values.

    Raises:
        InputError: for a text without ``=``, or a name given twice.
    """
    found: dict[str, str] = {}
    for text in (part for t in texts for part in t.split(",")):
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"{option} {text}: name=value is expected")
        if found.setdefault(name, value) != value:
            raise InputError(f"{option}: '{name}' is given twice, as {found[name]} and {value}")
    return found


def typed(text: str, like: Static, what: str) -> Static:
    """``text`` as a value of the type of ``like``.

    Raises:
        InputError: naming ``what``, when it does not read as one.
    """
    if isinstance(like, bool) and text.lower() in WORDS:
        return WORDS[text.lower()]
    is_plain = isinstance(like, str) or (text.isascii() and not {*text} & {"_", " "})
    try:
        if is_plain and not isinstance(like, bool):
            return type(like)(text)
    except ValueError:
        pass
    name = type(like).__name__
    raise InputError(f"{what} = {text}: a value of type {name} is expected, like {like}")


def statics_of(program: Program, texts: Sequence[str]) -> dict[str, Static]:
    """The static parameters that ``-D name=value`` texts give.

    Raises:
        InputError: for an unknown name, a value of the wrong type, or a program read from text.
    """
    given = assignments(texts, "-D")
    if isinstance(program, ir.Kernel):
        if given:
            raise InputError("a .ptoir program has its static parameters written into it")
        return {}
    for name in given:
        if name not in program.statics:
            message = f"{program.name} has no static parameter '{name}'"
            raise InputError(message, hint=did_you_mean(name, program.statics))
    return {n: typed(v, program.statics[n], n) for n, v in given.items()}


def traced(program: Program, statics: Mapping[str, Static]) -> ir.Kernel:
    """The traced form; a program read from text is what it is."""
    if isinstance(program, ir.Kernel):
        return program
    with users_code(f"tracing {program.name}"):
        return program.trace(**statics)


def watched(program: Program, kernel: ir.Kernel) -> ir.Kernel:
    """The traced form ``kernel`` with what ``program`` prints and checks of itself.

    Raises:
        InputError: when it does neither.
    """
    if isinstance(program, Kernel):
        kernel = program.watched(**dict(kernel.statics))
    if not watches(kernel.body):
        hint = "pto.debug_print('text {}', x) and pto.debug_check(x < y, 'text') are what it could"
        raise InputError(f"{kernel.name} says nothing of itself", kernel.loc, hint)
    return kernel


def counterpart(what: str, text: ir.Kernel, given: Sequence[str]) -> ir.Kernel:
    """The traced form of the kernel that ``what`` names, with the static parameters of ``text``; ``given``
    are those that the text does not state.

    Raises:
        InputError: for another interface than that of ``text``, or a kernel that is scheduled itself.
    """
    program = load(what)
    stated = dict(text.statics)
    if isinstance(program, Kernel):
        chosen = statics_of(program, given)
        for name in (n for n in chosen if stated.get(n, chosen[n]) != chosen[n]):
            raise InputError(f"-D {name}={chosen[name]}: the schedule is for {stated[name]}")
        chosen |= {n: v for n, v in stated.items() if n in program.statics}
        kernel = traced(program, chosen)
    else:
        statics_of(program, given)
        kernel = program
    if ir.is_scheduled(kernel):
        raise InputError(f"{what} is a schedule itself", hint="name a kernel to compare with")
    check_parameters(text, kernel, what)
    return kernel


def check_parameters(schedule: ir.Kernel, kernel: ir.Kernel, what: str) -> None:
    """Raises InputError if a schedule has other parameters than the kernel called ``what``."""
    mine, other = ({(p.name, p.dtype, p.shape) for p in k.params} for k in (schedule, kernel))
    both = (*kernel.params, *schedule.params)
    for p in (p for p in both if (p.name, p.dtype, p.shape) in mine ^ other):
        raise InputError(f"{what} and the schedule differ in parameter '{p.name}'")


def case_options(kernel: Kernel) -> dict[str, Static]:
    """What ``--case name=value`` can set, with its defaults."""
    if kernel.draw_case is None:
        return {}
    import inspect

    parameters = inspect.signature(kernel.draw_case).parameters.values()
    return {
        p.name: p.default
        for p in parameters
        if p.default is not p.empty and p.name not in kernel.statics
    }
