"""Golden texts: whole programs compared with files, rewritten by ``pytest --update-golden``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Several workers with several threads each, on small tiles, wait for each other most of the time."""

GOLDENS = Path(__file__).parent / "goldens"
USED: set[Path] = set()
DEFAULT = "not sweep"
"""The marks that pyproject.toml selects."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden texts")


def pytest_configure(config: pytest.Config) -> None:
    """Short runs of emitted C++ take less time than optimising it."""
    if config.getoption("markexpr") == DEFAULT:
        os.environ.setdefault("CXXFLAGS", "-O0")


@pytest.fixture(autouse=True)
def _no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine any command may take so long that it says so."""
    monkeypatch.setattr("lowering.progress.PATIENCE_S", 3600.0)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)``: ``text`` is what ``tests/goldens/NAME`` holds."""
    update = request.config.getoption("--update-golden")

    def compare(name: str, text: str) -> None:
        path = GOLDENS / name
        USED.add(path)
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"no golden {name}: run pytest --update-golden and read what it wrote"
        assert text == path.read_text()

    return compare


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """What a worker of pytest-xdist has read."""
    USED.update(map(Path, node.workeroutput.get("goldens", ())))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A golden that no test reads any more fails a run of the whole suite."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["goldens"] = sorted(map(str, USED))
        return
    whole = not session.config.args or {Path(a).resolve() for a in session.config.args} <= {
        GOLDENS.parent.resolve(),
        GOLDENS.parent.parent.resolve(),
    }
    picked = session.config.getoption("keyword") or session.config.getoption("markexpr") != DEFAULT
    if not whole or picked or exitstatus != 0 or session.config.getoption("collectonly"):
        return
    orphans = sorted(p for p in GOLDENS.rglob("*") if p.is_file() and p not in USED)
    if orphans:
        names = ", ".join(str(p.relative_to(GOLDENS)) for p in orphans)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\ngoldens that no test reads: {names}")
