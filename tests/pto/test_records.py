"""Records are what the standard library makes of the same class, and no more than is used of it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, field, fields, replace
from typing import Any

import pytest

from pto.ir import Bin, Const, Ref, Row, Var
from pto.records import dataclass

Decorator = Callable[..., Any]


def made(decorator: Decorator) -> Any:
    @decorator(frozen=True, slots=True)
    class Point:
        """A class with every kind of field that is used."""

        x: int
        seen: list[int] = field(default_factory=list, compare=False)
        name: str = "p"
        place: str = field(default="here", compare=False, repr=False)
        double: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "double", 2 * self.x)

    return Point


BOTH = [made(dataclass), made(dataclasses.dataclass)]


def told(record: Any) -> object:
    """What each way to look at records of a class says."""
    a, b, c = record(1), record(1, [3], place="there"), record(2, name="q")
    with pytest.raises(FrozenInstanceError) as set_:
        a.x = 3
    with pytest.raises(FrozenInstanceError) as deleted:
        del a.x
    with pytest.raises(TypeError) as missing:
        record()
    return (
        [repr(x) for x in (a, b, c)],
        [asdict(x) for x in (a, b, c)],
        [(f.name, f.init, f.compare, f.repr) for f in fields(record)],
        (a == b, a == c, a == 1, hash(a) == hash(b), len({a, b, c})),
        replace(c, name="r") == record(2, name="r"),
        copy.copy(c) == c,
        (hasattr(a, "__dict__"), record.__match_args__, record.__slots__),
        [str(x.value) for x in (set_, deleted, missing)],
    )


def test_a_record_is_that_of_the_standard_library() -> None:
    ours, theirs = map(told, BOTH)
    assert ours == theirs


def test_what_is_not_frozen_changes_and_has_no_hash() -> None:
    def both(decorator: Decorator) -> Any:
        @decorator(slots=True)
        class Point:
            """Built up step by step."""

            x: int
            seen: list[int] = field(default_factory=list)

        a = Point(1)
        a.x, a.seen = 2, [3]
        return [repr(a), a == Point(2, [3]), a == Point(2), Point.__hash__, copy.copy(a) == a]

    assert both(dataclass) == both(dataclasses.dataclass)


def test_subclasses_and_fields_of_their_own() -> None:
    def both(decorator: Decorator) -> Any:
        base = made(decorator)

        @decorator(frozen=True, slots=True)
        class Named(base):  # type: ignore[misc]
            more: int = 4

        return [repr(Named(1, more=5)), Named(1) == Named(1), Named(1) == base(1), Named(1).double]

    assert both(dataclass) == both(dataclasses.dataclass)


def test_the_rows_of_a_program_are_records() -> None:
    row = Row("add", Ref("x"), (Ref("y", Bin("+", Var("i"), Const(1))), Const(2.0)))
    assert pickle.loads(pickle.dumps(row)) == row
    with pytest.raises(FrozenInstanceError):
        row.op = "sub"  # type: ignore[misc]
