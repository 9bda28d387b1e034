"""The tests, in rooms as the code is: README.md."""

from difflib import unified_diff
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
PROGRAMS = TESTS / "programs"
HANDWRITTEN = PROGRAMS / "handwritten_paged_attention.ptoir"


def difference(old: str, new: str, name: str, beside: int = 0) -> str:
    """The lines that differ, with so many ``beside`` them; '' if none does."""
    both = old.splitlines(keepends=True), new.splitlines(keepends=True)
    lines = [x for x in unified_diff(*both, n=beside) if not x.startswith(("--- ", "+++ "))]
    return "".join([f"{name}\n", *lines]) if lines else ""
