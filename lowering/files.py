"""Files that appear whole or not at all, and never in the place of something else.

In: paths and bytes.  Out: files, or one error that names the path that the user gave.
Invariants: a file is complete beside its place before it moves there; what is replaced begins like
what replaces it (``MARKS``); a device or a pipe is written to as it is.
Non-goals: what the files hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pto.errors import InputError

HEAD = 400
NPZ, SVG, EMITTED = b"PK\x03\x04", b"<svg ", b"emitted by Tilewright"
TRACE, MANIFEST = b'{"displayTimeUnit"', b'"entry": "kernel_entry"'
TUNED, TIMES = b'{\n  "kernel": "', b'{\n  "seconds": {'
PART = b'{"candidates of": '
MARKS = (NPZ, SVG, EMITTED, TRACE, MANIFEST, TUNED, TIMES, PART)
"""What the first bytes of our files hold; the first one counts."""


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Writes every file, or none: all are complete beside their places before the first moves.

    Raises:
        InputError: when a folder, or a file of another kind, is in the way.
        OSError: when a folder or file cannot be written; what was there before is untouched.
    """
    _check_replaced(contents)
    made: list[Path] = []
    temporary: dict[Path, Path] = {}
    try:
        for path, data in contents.items():
            with naming(path):
                made += _make_folder(path.parent)
                if not path.exists() or path.is_file():
                    place = path.resolve()  # a link stays one
                    temporary[place] = place.with_name(f".{place.name}.{os.getpid()}")
                    temporary[place].write_bytes(data)
        for path in contents:
            with naming(path):
                place = path.resolve()
                if place in temporary:
                    temporary.pop(place).replace(place)
                else:
                    path.write_bytes(contents[path])
    except BaseException:
        for left in temporary.values():
            left.unlink(missing_ok=True)
        for folder in sorted(made, key=lambda f: len(f.parts), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes an ``OSError`` name ``path``, which the user knows, instead of a temporary name."""
    try:
        yield
    except OSError as error:
        cause = error.strerror or str(error)
        raise OSError(error.errno, cause, str(path)) from None


def _make_folder(folder: Path) -> list[Path]:
    """Makes ``folder``; the folders that were new."""
    new = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return new


def mark_of(data: bytes) -> bytes:
    """What kind of file of ours begins so; b"" for every other."""
    return next((mark for mark in MARKS if mark in data[:HEAD]), b"")


def _check_replaced(contents: Mapping[Path, bytes]) -> None:
    """A file of another kind is not replaced; a text without a mark only by its own like, in a folder
    where all the others are ours."""
    for path in contents:
        if path.is_dir():
            raise InputError(f"{path} is a folder, but a file is to be written", hint=ELSEWHERE)
    replaced = {path: mark_of(data) for path, data in contents.items() if path.is_file()}
    for path, mark in replaced.items():
        _check_kind(path, mark)
    for path, mark in replaced.items():
        if not mark and path.read_bytes() != contents[path] and not any(replaced.values()):
            raise InputError(f"{path} is there already, and not from here", hint=ELSEWHERE)


ELSEWHERE = "remove it, or write to another place"


def _check_kind(path: Path, mark: bytes) -> None:
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head and mark_of(head) != mark:
        raise InputError(f"{path} is a file of another kind; it is not replaced", hint=ELSEWHERE)


def check_folder(path: Path) -> None:
    """Finds out before anything else whether files can go into ``path``, made or still to make.

    Raises:
        InputError: when it, or a folder it lies in, is a file.
        OSError: when nothing can be made in it.
    """
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise InputError(f"{there} is a file, but a folder is expected")
    _check_access(there)


def check_output(path: Path, mark: bytes, read: Iterable[Path]) -> None:
    """Finds out before a long run whether ``path`` can, and may, be written.

    ``mark``: of what will be written.  ``read``: files that the command reads.

    Raises:
        InputError: when it is a folder, lies in none, is one of ``read`` or a file of another kind.
        OSError: when its folder cannot be written to.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, but a file is to be written")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    if not path.exists() or path.is_file():
        _check_access(path.resolve().parent, path)
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))
    check_unread(path, read)
    if path.is_file():
        _check_kind(path, mark)


def check_unread(path: Path, read: Iterable[Path]) -> None:
    """
    Raises:
        InputError: when ``path`` is one of the files that the command reads.
    """
    if path.exists() and any(r.exists() and r.samefile(path) for r in read):
        raise InputError(f"{path} is read by this command; it is not replaced", hint=ELSEWHERE)


def _check_access(folder: Path, path: Path | None = None) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(13, "Permission denied", str(path or folder))
