"""The op table: what is written from its rows is up to date, and no row lacks what it needs.

``pytest tests/test_ops.py --update-golden`` writes ``pto/functions.py`` and ``docs/ops.md``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import pto
from pto.ops import FUNCTIONS, Op

ROOT = Path(__file__).parent.parent

# ------------------------------------------------------------------------- written from the rows

HEAD = '''"""The functions of one tile, one for each row of ``FUNCTIONS`` in ``pto/ops.py``.

Written by ``pytest tests/test_ops.py --update-golden``: change the row.
"""

from __future__ import annotations

from pto.tile import Tile, of_tile

__all__ = [
'''


def sentence(op: Op) -> str:
    return f"{op.meaning[:1].upper()}{op.meaning[1:]}; {listed(op.dtypes)}."


def listed(words: tuple[str, ...]) -> str:
    """``f32, f16 or i32``"""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def functions() -> str:
    """The text of ``pto/functions.py``."""
    names = "".join(f'    "{name}",\n' for name in sorted(FUNCTIONS))
    made = (
        f'def {op.name}(x: Tile) -> Tile:\n    """{sentence(op)}"""\n'
        f'    return of_tile("{op.name}", x)\n'
        for op in FUNCTIONS.values()
    )
    return f"{HEAD}{names}]\n\n\n" + "\n\n".join(made)


WRITTEN = {"pto/functions.py": functions}


@pytest.mark.parametrize("path", WRITTEN)
def test_what_is_written_from_the_rows(path: str, request: pytest.FixtureRequest) -> None:
    text = WRITTEN[path]()
    if request.config.getoption("--update-golden"):
        (ROOT / path).write_text(text)
    told = f"{path} is not what pto/ops.py says: run pytest tests/test_ops.py --update-golden"
    assert (ROOT / path).read_text() == text, told


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_public(name: str) -> None:
    function = getattr(pto, name)
    assert name in pto.__all__ and function.__doc__ == sentence(FUNCTIONS[name])
