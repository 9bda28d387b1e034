"""``debug_check`` and ``debug_print``: performed where a kernel is looked into, and of no effect anywhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pto
from lowering.execute import sequential
from lowering.execute.inputs import bind
from lowering.execute.watched import Heard, watch
from lowering.schedule import schedule
from pto import Kernel, Scalar, Tensor, Tile
from pto.dead_rows import watches
from pto.errors import PtoError
from pto.legality import verify
from pto.ops import MOST_PRINTED
from pto.text import parse, print_kernel
from tests.judges.grammar import recognised


@pto.kernel(grid="batch", x="f32[batch, rows, 64]", lens="i32[batch]", out="f32[batch, 64]")
def sums(x: Tensor, lens: Tensor, out: Tensor) -> None:
    """The rows of each sequence, added up."""
    b = pto.program_id(0)
    length = lens[b]
    pto.debug_check(length > 7, "more than seven rows")

    def add(i: Scalar, total: Tile) -> Tile:
        part = pto.load(x[b, pto.ds(i * 16, 16, valid=length - i * 16), :])
        pto.debug_check(abs(part) < 100.0, "no element is #large")
        pto.debug_print("{{{}}} {} of {}", length, pto.max(part), 0.5)
        return total + part

    total = pto.fori_loop(0, pto.cdiv(length, 16), add, pto.zeros((16, 64)))
    pto.when(length > 30, lambda: pto.debug_print("long"))
    pto.store(out[b, :], pto.col_sum(total))


def heard(kernel: Kernel, **arrays: Any) -> Heard:
    watched = kernel.watched()
    return watch(watched, bind(watched, arrays))


def case() -> dict[str, Any]:
    x = np.zeros((3, 48, 64), np.float32)
    x[0, 20, 3], x[0, 47, 0], x[2, 2, 2], x[2, 7, 9] = 2.5, 200.0, np.nan, -np.inf
    return {"x": x, "lens": np.array([40, 7, 8], np.int32)}


def test_what_is_said_and_where() -> None:
    """In the order of the run; what lies behind the end of a sequence is zero, NaN is not less than anything."""
    said = heard(sums, **case())
    assert [s.told() for s in said.printed] == [
        "pid0=0, i=0: {40} 0 of 0.5",
        "pid0=0, i=1: {40} 2.5 of 0.5",
        "pid0=0, i=2: {40} 0 of 0.5",
        "pid0=0: long",
        "pid0=1, i=0: {7} 0 of 0.5",
        "pid0=2, i=0: {8} nan of 0.5",
    ]
    assert [(s.where, s.text) for s in said.failed] == [
        ((("pid0", 1),), "more than seven rows"),
        ((("pid0", 2), ("i", 0)), "no element is #large"),
    ]
    told = said.failed[1].failed()
    assert "debug_check: no element is #large, at pid0=2, i=0" in told
    assert "test_watched.py" in told
    assert 'pto.debug_check(abs(part) < 100.0, "no element is #large")' in told


def test_the_same_from_python() -> None:
    """As text, with what was printed first and three of the checks that did not hold."""
    arrays = case() | {"lens": np.array([48, 7, 8], np.int32)}
    said = sums.lower(**arrays).watch(**arrays)
    assert said == heard(sums, **arrays)
    assert len(said.failed) == 3
    lines = str(said).splitlines()
    assert lines[: len(said.printed)] == [s.told() for s in said.printed]
    assert lines[len(said.printed)] == "3 checks did not hold"
    with pytest.raises(PtoError, match="lens"):
        sums.lower(**arrays).watch(arrays["x"])


def test_a_tile_is_printed_by_rows() -> None:
    @pto.kernel(grid="1", x="f32[16, 64]", out="f32[16, 64]")
    def show(x: Tensor, out: Tensor) -> None:
        tile = pto.load(x[:, :])
        pto.debug_print("{} and its row {}", tile, pto.col_max(tile[:, 0:8]).T)
        pto.store(out[:, :], tile)

    x = np.add.outer(np.arange(16), np.arange(64)).astype(np.float32)
    (said,) = heard(show, x=x).printed
    lines = said.text.splitlines()
    assert lines[0] == "float32[16, 64]"
    assert lines[1].split() == "[[ 0. 1. 2. ... 61. 62. 63.]".split()
    assert lines[-8:-7] == ["[[15.]"]
    assert len(lines) == 16


# ------------------------------------------------------------------------------ of no effect


def quiet() -> Kernel:
    """``sums`` without what it says."""

    @pto.kernel(grid="batch", x="f32[batch, rows, 64]", lens="i32[batch]", out="f32[batch, 64]")
    def sums(x: Tensor, lens: Tensor, out: Tensor) -> None:
        b = pto.program_id(0)
        length = lens[b]

        def add(i: Scalar, total: Tile) -> Tile:
            part = pto.load(x[b, pto.ds(i * 16, 16, valid=length - i * 16), :])
            return total + part

        total = pto.fori_loop(0, pto.cdiv(length, 16), add, pto.zeros((16, 64)))
        pto.store(out[b, :], pto.col_sum(total))

    return sums


def test_schedules_and_sources_have_nothing_of_it() -> None:
    said, silent = sums.trace(), quiet().trace()
    assert print_kernel(said) == print_kernel(silent)
    made, without = schedule(said), schedule(silent)
    assert print_kernel(made.kernel) == print_kernel(without.kernel)
    assert made.sources == without.sources


def test_the_outputs_are_the_same() -> None:
    arrays, watched, traced = case(), sums.watched(), sums.trace()
    with_it = sequential.run(watched, bind(watched, arrays))["out"]
    assert with_it.tobytes() == sequential.run(traced, bind(traced, arrays))["out"].tobytes()


def test_a_sum_of_products_stays_one() -> None:
    """Over a loop that may be empty, products add up only where nothing else reads them: printing is no reader."""

    @pto.kernel(grid="1", a="f16[16, k]", b="f16[k, 64]", out="f32[16, 64]")
    def product(a: Tensor, b: Tensor, out: Tensor) -> None:
        def step(i: Scalar, acc: Tile) -> Tile:
            here = pto.ds(i * 64, 64, valid=a.shape[1] - i * 64)
            acc = acc + pto.load(a[:, here]) @ pto.load(b[here, :])
            pto.debug_print("{}", acc)
            return acc

        n = pto.cdiv(a.shape[1], 64)
        pto.store(out[:, :], pto.fori_loop(0, n, step, pto.zeros((16, 64))))

    assert schedule(product.trace()).proof.ok
    assert not watches(product.trace().body)
    arrays = {"a": np.ones((16, 100), np.float16), "b": np.ones((100, 64), np.float16)}
    texts = [s.text.splitlines()[1] for s in heard(product, **arrays).printed]
    assert ["64." in texts[0], "100." in texts[1]] == [True, True]


# -------------------------------------------------------------------------------- as text


def test_the_watched_form_is_printed_and_read() -> None:
    watched = sums.watched()
    text = print_kernel(watched)
    assert parse(text) == watched
    assert print_kernel(parse(text)) == text
    recognised(text)
    assert 'debug_check select_lt, "no element is \\u0023large"' in text


def test_a_long_text_stays_whole() -> None:
    """One token: a line that goes on would end it."""

    @pto.kernel(grid="n", x="f32[n, 16, 64]", out="f32[n, 16, 64]")
    def wordy(x: Tensor, out: Tensor) -> None:
        b = pto.program_id(0)
        tile = pto.load(x[b, :, :])
        pto.debug_print("word " * 60 + "{}", b)
        pto.store(out[b, :, :], tile)

    watched = wordy.watched()
    assert parse(print_kernel(watched)) == watched


HEADER = "kernel k\nparam x in f32[16, 64]\nparam out out f32[16, 64]\ngrid 1\n\n"
WRONG = {
    "debug_check 1": "takes a tile or a scalar, a text and at most 8 times a scalar, found 1 operands",
    'debug_check 1, "{}"': "the text has 1 places, found 0 values",
    'debug_print "{}", t, t': "the text has 1 places, found 2 values",
    'debug_print "{0}", t': "other places than {}",
    'debug_check "a", "b"': "operand 1 is a tile or a scalar, found a text",
    "debug_print t, t": "operand 1 is a text, found a tile",
    'q = debug_print "a"': "debug_print gives nothing",
    'debug_print "a", u': "",
    'debug_print "a': "",
    'debug_print "\\q"': "expected a message in double quotes",
    'out[:, :] = store t, "add"': "",
    't_2: f32[16, 64] = abs "t"': "operand 1 is a tile, found a text",
}


@pytest.mark.parametrize("row", WRONG)
def test_a_row_that_is_wrong(row: str) -> None:
    text = f"{HEADER}t: f32[16, 64] = load x[:, :]\n{row}\nout[:, :] = store t\n"
    with pytest.raises(PtoError) as caught:
        verify(parse(text, "bad.ptoir"))
    assert WRONG[row] in caught.value.message
    assert caught.value.loc is not None


@pytest.mark.parametrize("place", ["vector  0  V", "cube    0  ALL"])
def test_all_pipes_of_the_vector_core_stop_for_it(place: str) -> None:
    made = print_kernel(schedule(sums.trace()).kernel)
    row = next(line for line in made.splitlines() if " store " in line)
    with pytest.raises(PtoError) as caught:
        verify(parse(made.replace(row, f'{row}\n  {place}     debug_print "a"'), "bad.ptoir"))
    assert "debug_print cannot run" in caught.value.message


# ------------------------------------------------------------------------------ wrong uses


def told(body: Callable[[Tensor, Tile, Scalar], object]) -> PtoError:
    @pto.kernel(grid="n", x="f32[n, 16, 64]", out="f32[n, 16, 64]")
    def wrong(x: Tensor, out: Tensor) -> None:
        b = pto.program_id(0)
        tile = pto.load(x[b, :, :])
        body(x, tile, b)
        pto.store(out[b, :, :], tile)

    with pytest.raises(PtoError) as caught:
        wrong.trace()
    assert caught.value.loc is not None
    assert "test_watched.py" in caught.value.loc.file
    return caught.value


def many(x: Tensor, tile: Tile, b: Scalar) -> None:
    pto.debug_print("{}" * (MOST_PRINTED + 1), *[b] * (MOST_PRINTED + 1))


MISUSED: dict[str, tuple[Callable[..., object], str]] = {
    "too_many": (many, f"{MOST_PRINTED + 1} places"),
    "numbered": (lambda x, t, b: pto.debug_print("{0}", b), "other places than {}"),
    "converted": (lambda x, t, b: pto.debug_print("{!r}", b), "other places than {}"),
    "open": (lambda x, t, b: pto.debug_print("{", b), "debug_print: "),
    "lines": (lambda x, t, b: pto.debug_print("a\nb"), "text of one line"),
    "number": (lambda x, t, b: pto.debug_print(3), "found the number 3"),  # type: ignore[arg-type]
    "mask": (lambda x, t, b: pto.debug_print("{}", t < 1.0), "must be a tile, found a mask"),  # type: ignore[arg-type]
    "list": (lambda x, t, b: pto.debug_print("{}", [t]), "must be a tile, found a list"),  # type: ignore[arg-type]
    "float": (lambda x, t, b: pto.debug_check(0.5, "a"), "must be an integer"),  # type: ignore[arg-type]
    "places": (lambda x, t, b: pto.debug_check(pto.iota(1) < b, "a"), "has no shape"),
    "text": (lambda x, t, b: pto.debug_check(b < 3, t), "text of one line"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", MISUSED)
def test_a_wrong_use(name: str) -> None:
    body, message = MISUSED[name]
    assert message in told(body).message


def test_a_value_of_a_loop_stays_in_it() -> None:
    @pto.kernel(grid="n", x="f32[n, 16, 64]", out="f32[n, 16, 64]")
    def leaks(x: Tensor, out: Tensor) -> None:
        b = pto.program_id(0)
        found: list[Tile] = []

        def body(i: Scalar, acc: Tile) -> Tile:
            found.append(acc * 2.0)
            return acc + found[-1]

        acc = pto.fori_loop(0, 3, body, pto.load(x[b, :, :]))
        pto.debug_print("{}", found[0])
        pto.store(out[b, :, :], acc)

    with pytest.raises(PtoError, match="used outside of it"):
        leaks.trace()
