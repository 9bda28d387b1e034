"""The language: what a kernel may say, how its values are named, and what it is told when wrong.

Every file in ``wrong_kernels`` is one mistake; its whole message is a golden.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import pto
from lowering.schedule import schedule
from pto.errors import PtoError

TESTS = Path(__file__).parent
WRONG = sorted(p.stem for p in (TESTS / "wrong_kernels").glob("*.py"))


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"wrong_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mistake(name: str) -> PtoError:
    """The error that the wrong kernel ``name`` gives."""
    path = TESTS / "wrong_kernels" / f"{name}.py"
    with pytest.raises(PtoError) as caught:
        schedule(imported(path).kernel.trace())
    return caught.value


@pytest.mark.parametrize("name", WRONG)
def test_wrong_kernel(name: str, golden: Callable[[str, str], None]) -> None:
    error = mistake(name)
    message = f"{type(error).__name__}: {error}\n".replace(f"{TESTS.parent}/", "")
    golden(f"errors/{name}.txt", message)


@pytest.mark.parametrize("name", WRONG)
def test_the_traceback_ends_at_the_line_of_the_user(name: str) -> None:
    error = mistake(name)
    last = traceback.extract_tb(error.__traceback__)[-1]
    assert error.loc is not None
    assert error.loc.file == str(TESTS / "wrong_kernels" / f"{name}.py")
    assert (last.filename, last.lineno) == (error.loc.file, error.loc.line)
