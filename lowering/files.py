"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pto.errors import InputError


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Writes every file, or none: all are complete beside their places before the first moves.

    Raises:
        OSError: when a folder or file cannot be written; what was there before is untouched.
    """
    made = [_make_folder(folder) for folder in {path.parent: None for path in contents}]
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in contents}
    try:
        for path, data in contents.items():
            temporary[path].write_bytes(data)
        for path, place in temporary.items():
            place.replace(path)
    except OSError:
        for place in temporary.values():
            place.unlink(missing_ok=True)
        for folder in (f for new in made for f in new):
            if not any(folder.iterdir()):
                folder.rmdir()
        raise


def _make_folder(folder: Path) -> list[Path]:
    """Makes ``folder``; the folders that were new, innermost first."""
    new = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return new


def check_folder(path: Path) -> None:
    """Finds out before anything else whether files can go into ``path``, made or still to make.

    Raises:
        InputError: when it, or a folder it lies in, is a file.
    """
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise InputError(f"{there} is a file, but a folder is expected")


def check_writable(path: Path) -> None:
    """Finds out before a long run whether ``path`` can be written.

    Raises:
        InputError: when it is a folder, or lies in none.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, but a file is to be written")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
