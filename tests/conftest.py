"""Golden texts: what is printed, compared with files; ``pytest --update-golden`` rewrites them.

One rule, that of ``golden``: a file is what a test says, a run that rewrites it shows the difference,
and a file of ``goldens/`` that no test reads fails a run of the whole suite; ``goldens/sweep/`` is
read by sweeps.
"""

from __future__ import annotations

import atexit
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT, TESTS, difference

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Several workers with several threads each, on small tiles, wait for each other most of the time."""

pytest.register_assert_rewrite("tests.judges")

GOLDENS = TESTS / "goldens"
OF_SWEEPS = GOLDENS / "sweep"
USED: set[Path] = set()
CHANGED: list[str] = []
"""What this run has read, and the differences that it has written."""

DEFAULT = "not sweep"
"""The marks that pyproject.toml selects."""

Golden = Callable[[str | Path, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden texts")


def pytest_configure(config: pytest.Config) -> None:
    """Short runs of emitted C++ take less time than optimising it; and what XLA has compiled once, the
    workers and processes of this run read."""
    if config.getoption("markexpr") == DEFAULT:
        os.environ.setdefault("CXXFLAGS", "-O0")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # a worker has that of the run
        folder = tempfile.mkdtemp(prefix="pto-xla-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"


@pytest.fixture(autouse=True)
def _no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine any command may take so long that it says so."""
    monkeypatch.setattr("lowering.progress.PATIENCE_S", 3600.0)


@pytest.fixture(autouse=True)
def _headers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """To parse the headers is a third of what a short kernel takes to compile."""
    from tests.judges import compilers  # its asserts are registered above

    monkeypatch.setattr(compilers.build, "_compilation", compilers.quicker)


@pytest.fixture(autouse=True)
def _schedules_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for a test that patches something itself, which may be what makes them."""
    if "monkeypatch" in inspect.signature(request.function).parameters:
        return
    from tests import remembered  # not where tests are only collected

    monkeypatch.setattr(remembered.scheduler, "scheduled_with", remembered.scheduled_with)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """``golden(name, text)``: ``text`` is what ``tests/goldens/NAME`` holds, or a file by its path."""
    update = request.config.getoption("--update-golden")

    def compare(name: str | Path, text: str) -> None:
        path = GOLDENS / name
        USED.add(path)
        old = path.read_text() if path.exists() else None
        if update and text != old:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            CHANGED.append(difference(old or "", text, str(path.relative_to(ROOT))))
            return
        told = f"{path.relative_to(ROOT)}: run pytest --update-golden and read what it wrote"
        assert text == old, told

    return compare


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """What a worker of pytest-xdist has read and written."""
    USED.update(map(Path, node.workeroutput.get("goldens", ())))
    CHANGED.extend(node.workeroutput.get("changed", ()))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for text in sorted(CHANGED):
        terminalreporter.write(f"\n{text}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["goldens"] = sorted(map(str, USED))
        session.config.workeroutput["changed"] = CHANGED
    elif exitstatus == 0 and is_whole(session.config):
        files = {p for p in GOLDENS.rglob("*") if p.is_file()}
        orphans = sorted(files - USED - {*OF_SWEEPS.iterdir()})
        if orphans:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            names = ", ".join(str(p.relative_to(GOLDENS)) for p in orphans)
            print(f"\ngoldens that no test reads: {names}")


def is_whole(config: pytest.Config) -> bool:
    """Whether this is a run of the whole suite but for its sweeps."""
    some = config.getoption("keyword") or config.getoption("lf", False)
    picked = some or config.getoption("markexpr") != DEFAULT
    places = {Path(a).resolve() for a in config.args} <= {TESTS.resolve(), ROOT.resolve()}
    return places and not picked and not config.getoption("collectonly")
