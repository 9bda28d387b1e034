"""The tests, in rooms as the code is: README.md."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
PROGRAMS = TESTS / "programs"
HANDWRITTEN = PROGRAMS / "handwritten_paged_attention.ptoir"
