"""The source distribution: what is in it is enough to run the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests import ROOT

PARTS = ("docs", "lowering", "notebooks", "pto", "tests")
FILES = ("CHANGELOG.md", "MANIFEST.in", "Makefile", "README.md", "pyproject.toml")
MADE = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.pyc")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def test_a_source_distribution_holds_what_its_tests_need(tmp_path: Path) -> None:
    """Every file is in it, and out of it a test that reads nearly all of them passes."""
    source = tmp_path / "source"
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part, ignore=MADE)
    for file in FILES:
        shutil.copy(ROOT / file, source / file)
    wanted = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()}
    run(source, "-c", BUILD, str(tmp_path))
    for users in ("softmax.py", "build/bundle/test_softmax.py"):  # are no part of it
        (source / users).parent.mkdir(parents=True, exist_ok=True)
        (source / users).write_text("import  os, sys\n")
    run(source, "-m", "ruff", "check")
    run(source, "-m", "ruff", "format", "--check")
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    there = tmp_path / archive.name.removesuffix(".tar.gz")
    found = {p.relative_to(there).as_posix() for p in there.rglob("*") if p.is_file()}
    assert not wanted - found
    run(there, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/docs/test_docs.py")


def run(folder: Path, *argv: str) -> None:
    done = subprocess.run(
        [sys.executable, *argv], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
