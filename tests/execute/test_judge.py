"""The judge of results: limits per element, what nobody writes, requirements, choices, notes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pto
from lowering.cli import FAILED, GOOD, USAGE, main
from lowering.execute import cases, judge, sequential
from lowering.execute.access import DTYPES
from lowering.execute.inputs import Bound, bind
from lowering.execute.roundings import roundings
from lowering.schedule import schedule
from pto import ir
from pto.errors import InputError, ParseError, TraceError
from pto.kernels import SHIPPED
from pto.text import parse, print_kernel

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> tuple[int, str, str]:
        status = main(list(argv))
        out, err = capsys.readouterr()
        return status, out, err

    return run


def traced(body: Callable[[Any], Any], out: str = "f32", x: str = "f32") -> ir.Kernel:
    """A kernel that stores ``body`` of a tile of 32 x 64."""

    @pto.kernel(grid="1", x=f"{x}[32, 64]", out=f"{out}[32, 64]")
    def kernel(x: Any, out: Any) -> None:
        pto.store(out[0:32, :], body(pto.load(x[0:32, :])))

    return kernel.trace()


def verdict(kernel: ir.Kernel, x: Any, want: Any, got: Any = None) -> judge.Comparison:
    """``got`` (default: what sequential gives) against the reference ``want``."""
    bound = bind(kernel, {"x": x})
    found = sequential.run(kernel, bound) if got is None else {"out": got}
    wanted = judge.expected(kernel, bound, {"out": np.asarray(want, np.float64)}, {})
    (comparison,) = judge.compare(found, wanted)
    return comparison


def drawn(seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((32, 64)).astype(np.float32)


# -------------------------------------------------------------------------- limits per element


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan, 1e30, -3e38])
def test_one_element_never_changes_the_limit_of_another(special: float) -> None:
    def body(t: Any) -> Any:
        return (t * 2.0 + 1.0).astype("f16").astype("f32") / 3.0

    kernel, x = traced(body), drawn()
    before = roundings(kernel, bind(kernel, {"x": x}))
    x[3, 4] = special
    after = roundings(kernel, bind(kernel, {"x": x}))
    others = np.ones(x.shape, bool)
    others[3, 4] = False
    assert (before.error["out"] == after.error["out"])[others].all()
    assert (before.error["out"] < 1e-2).all()


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan, 1e30])
@pytest.mark.parametrize("wrong", [False, True])
def test_specials_among_the_expected(special: float, wrong: bool) -> None:
    x = drawn()
    x[3, 4] = special
    found = verdict(traced(lambda t: t * 2.0), x, x.astype(np.float64) * (2.001 if wrong else 2))
    assert found.ok is not wrong and found.wrong == (
        0 if not wrong else x.size - (not np.isfinite(special))
    )


@pytest.mark.parametrize(
    ("got", "want", "ok"),
    [
        (np.inf, np.inf, True),
        (np.inf, -np.inf, False),
        (np.inf, np.nan, False),
        (np.nan, np.nan, True),
        (np.nan, 1.0, False),
        (1.0, np.nan, False),
        (1.0, np.inf, False),
        (np.inf, 1.0, False),
        (np.inf, 1e39, True),  # beyond the range of f32
        (-np.inf, 1e39, False),
        (3.4028235e38, 3.4028236e38, True),
        (np.inf, 3.40282355e38, True),  # an error away from the range
        (3e38, 1e39, False),
    ],
)
def test_special_values_meet_their_like(got: float, want: float, ok: bool) -> None:
    kernel = traced(lambda t: t * 1.0)
    x = np.full((32, 64), want, np.float64)
    with np.errstate(over="ignore"):
        bound = bind(kernel, {"x": x.astype(np.float32)})
    e = judge.Expected("out", "f32", judge.in_range(x, "f32"), np.full(x.shape, 1e32), None, x < 0)
    (found,) = judge.compare({"out": np.full(bound.arrays["x"].shape, got, np.float32)}, [e])
    assert found.ok is ok


@pytest.mark.parametrize("constant", [0.1, 1 / 3, -0.7, 1e-3])
def test_equal_numbers_round_to_one_side(constant: float) -> None:
    """1000 equal terms, added one by one: the error grows with their number, not its root."""

    @pto.kernel(grid="1", x="f32[1000, 16, 16]", out="f32[16, 16]")
    def summed(x: Any, out: Any) -> None:
        def step(i: Any, acc: Any) -> Any:
            return acc + pto.load(x[i, :, :])

        pto.store(out[:, :], pto.fori_loop(0, 1000, step, pto.zeros((16, 16))))

    kernel, x = summed.trace(), np.full((1000, 16, 16), constant, np.float32)
    bound = bind(kernel, {"x": x})
    want = {"out": x.astype(np.float64).sum(axis=0)}
    (found,) = judge.compare(sequential.run(kernel, bound), judge.expected(kernel, bound, want, {}))
    assert found.ok and found.tolerance < 4 * 1000 * 2**-24 * abs(want["out"][0, 0])


@pytest.mark.parametrize("name", ["paged_attention", "gemm", "rmsnorm"])
def test_shipped_limits_are_tight(name: str) -> None:
    """Sequential uses a good part of the limit of some element, and no limit says little."""
    kernel = SHIPPED[name]
    program = kernel.trace()
    bound = bind(program, cases.draw(kernel, program, []))
    wanted = judge.expected(program, bound, cases.expected(kernel, program, bound), {})
    error = judge.apart(sequential.run(program, bound)["out"], wanted[0].want)
    used = error / np.maximum(wanted[0].limit, 1e-300)
    assert 0.02 < used.max() <= 1
    assert not list(judge.notes(bound, wanted))


def test_a_maximum_that_is_divided_out_costs_nothing() -> None:
    """Softmax: the error of the maximum is in every term; intervals would add it up."""
    kernel = traced(lambda t: (e := pto.exp(t - pto.row_max(t))) / pto.row_sum(e))
    x = drawn() * 10
    bound = bind(kernel, {"x": x})
    stated, value = roundings(kernel, bound).error["out"], roundings(kernel, bound).value["out"]
    assert (stated < 1000 * 2**-24 * value).all()


def test_the_float64_program_must_agree_as_well() -> None:
    """A kernel with huge numbers on the way has large limits; they do not hide other mathematics."""
    kernel, x = traced(lambda t: t * 3.0 + 1e6 - 1e6), drawn()
    assert not verdict(kernel, x, x.astype(np.float64) * 2).ok
    assert verdict(kernel, x, x.astype(np.float64) * 3).ok
    lucky = verdict(kernel, x, x.astype(np.float64) * 2, x * 2)
    assert not lucky.ok and lucky.in_float64 and "in float64, expected" in lucky.told("it")


def test_limits_like_the_values_are_noted() -> None:
    kernel, x = traced(lambda t: t * 3.0 + 1e9 - 1e9), drawn()
    bound = bind(kernel, {"x": x})
    wanted = judge.expected(kernel, bound, {"out": x.astype(np.float64) * 2}, {})
    (note,) = judge.notes(bound, wanted)
    assert note.startswith("the tolerance is an eighth of the value or more at 2048 of 2048")
    assert "computed in float64 it lies up to 3." in note


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
@pytest.mark.parametrize("referenced", [True, False])
def test_the_last_rounding_is_of_what_was_off(dtype: str, referenced: bool) -> None:
    """Numbers that cancel: what is rounded is many times what is expected, and as many times as far off."""
    kernel = traced(lambda t: (t.astype("bf16").astype("f32") - t).astype(dtype), out=dtype)
    bound = bind(kernel, {"x": drawn()})
    stated = roundings(kernel, bound)
    reference = {"out": np.zeros((32, 64))} if referenced else None
    wanted = judge.expected(kernel, bound, reference, {})
    middle = sequential.run(kernel, bound)["out"].astype(np.float64)
    for side in (-1, 1):
        reached = (0 if referenced else middle) + side * stated.error["out"]
        (found,) = judge.compare({"out": reached.astype(DTYPES[dtype])}, wanted)
        assert found.ok, found.told("what it rounds")


NUMBERS: Mapping[str, tuple[Callable[[Any], Any], float]] = {
    "a product": (lambda t: t * 0.1, 0.2),
    "a difference of nothing": (lambda t: t - 0.1, 0.1),
    "a sum": (lambda t: 0.3 + t, 1.9),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_literals_are_rounded(name: str, dtype: str) -> None:
    """0.1 is no float of 32 bits, and that of 16 which every executor takes is farther off."""
    body, near = NUMBERS[name]
    kernel = traced(body, out=dtype, x=dtype)
    x = (near * np.linspace(1, 1.5, 2048).reshape(32, 64)).astype(DTYPES[dtype])
    x[0] = near
    want = body(x.astype(np.float64))
    assert verdict(kernel, x, want).ok
    assert not verdict(kernel, x, want * 1.01).ok


def test_literals_that_are_compared_are_rounded() -> None:
    """The f16 nearest to 0.1 is below it, and not below itself; other numbers are on their side."""
    kernel = traced(lambda t: pto.where(t < 0.1, 1.0, 2.0), out="f16", x="f16")
    x = np.linspace(0.05, 0.15, 2048).reshape(32, 64).astype(np.float16)
    x[0] = 0.1
    want = np.where(x.astype(np.float64) < 0.1, 1.0, 2.0)
    assert verdict(kernel, x, want).ok
    assert verdict(kernel, x, 3 - want).wrong > 1800


def test_a_scalar_is_an_element_of_its_tile() -> None:
    """A parameter of f32 times a tile of f16 is one of f16 first."""

    @pto.kernel(grid="1", x="f16[32, 64]", scale="f32", out="f16[32, 64]")
    def kernel(x: Any, out: Any, *, scale: Any) -> None:
        pto.store(out[:, :], pto.load(x[:, :]) * scale)

    program, x = kernel.trace(), drawn().astype(np.float16)
    bound = bind(program, {"x": x, "scale": 0.1})
    for factor, ok in ((0.1, True), (0.101, False)):
        want = {"out": x.astype(np.float64) * factor}
        wanted = judge.expected(program, bound, want, {})
        assert judge.compare(sequential.run(program, bound), wanted)[0].ok is ok


def test_a_reference_has_roundings_of_its_own() -> None:
    """1 - (1 - x) in float64 is off by a rounding of 1; a thousand times as much is no rounding."""
    kernel = traced(lambda t: (t * 2.0) / 2.0)
    x = drawn()
    x[:8] = np.geomspace(1e-20, 1e-12, 512, dtype=np.float32).reshape(8, 64)
    exact = x.astype(np.float64)
    assert verdict(kernel, x, 1 - (1 - exact)).ok
    wrong = exact + np.where(np.abs(exact) < 1e-10, 1e-13, 0.0)
    assert verdict(kernel, x, wrong).wrong == 512
    x[20, 5] = 3e38  # excuses nobody
    wrong[20, 5] = exact[20, 5] = 3e38
    assert verdict(kernel, x, wrong).wrong >= 512


# --------------------------------------------------------------------------------- integers


@pytest.mark.parametrize(
    ("value", "other", "ok"),
    [(2.5, 3, True), (2.5, 0, False), (2.4999, 3, False), (2.0, 3, False), (-0.5, -1, True)],
)
def test_integers_differ_by_one_at_a_tie_only(value: float, other: int, ok: bool) -> None:
    kernel = traced(lambda t: t.astype("i32"), out="i32")
    x = np.full((32, 64), value, np.float32)
    assert verdict(kernel, x, np.full(x.shape, other)).ok is ok


def test_a_tie_within_the_error() -> None:
    """0.1f * 25 is 2.5 and a little: the error of the product reaches over the tie."""
    kernel = traced(lambda t: (t * 25.0).astype("i32"), out="i32")
    x = np.full((32, 64), 0.1, np.float32)
    assert verdict(kernel, x, np.full(x.shape, 2)).ok
    assert verdict(kernel, x, np.full(x.shape, 3)).ok
    assert not verdict(kernel, x, np.full(x.shape, 4)).ok


def test_integers_saturate() -> None:
    kernel = traced(lambda t: t.astype("i32"), out="i32")
    x = np.full((32, 64), 5e9, np.float32)
    assert verdict(kernel, x, x).ok and not verdict(kernel, x, -x).ok


# ------------------------------------------------------------------------------ never written


def partly(rows: int, given: bool = False) -> tuple[ir.Kernel, Bound]:
    @pto.kernel(grid="rows // 16", x="f32[rows, 64]", out="f32[rows, 64]")
    def whole_tiles(x: Any, out: Any) -> None:
        here = pto.ds(pto.program_id(0) * 16, 16)
        pto.store(out[here, :], pto.load(x[here, :]))

    arrays = {"x": np.ones((rows, 64), np.float32)}
    arrays |= {"out": np.full((rows, 64), 7, np.float32)} if given else {}
    kernel = whole_tiles.trace()
    return kernel, bind(kernel, arrays)


@pytest.mark.parametrize("stage", ["traced", "scheduled"])
def test_unwritten_elements_are_found(stage: str) -> None:
    """Also where a start or a value has the bits of a poison."""
    kernel, bound = partly(100, given=True)
    program = kernel if stage == "traced" else schedule(kernel).kernel
    for number in (7.0, 0.0):
        bound.arrays["x"][...] = number
        mask = judge.unwritten(program, bound)["out"]
        assert not mask[:96].any() and mask[96:].all()


def test_a_written_poison_is_written() -> None:
    kernel, bound = partly(96)
    bound.arrays["x"].view(np.uint32)[...] = 0xFFFFFFFF
    assert not judge.unwritten(kernel, bound)["out"].any()


@pytest.mark.parametrize(
    ("given", "want", "count"),
    [(False, 1.0, 256), (True, 1.0, 256), (True, 7.0, 0), (False, np.nan, 0), (True, np.nan, 0)],
)
def test_what_must_be_written(given: bool, want: float, count: int) -> None:
    kernel, bound = partly(100, given)
    reference = np.ones((100, 64))
    reference[96:] = want
    masks = judge.unwritten(kernel, bound)
    found = judge.missing(bound, masks, {"out": reference})
    assert sum(int(m.mask.sum()) for m in found) == count
    assert all(m.told() == "out: rows 96..99 never written (256 of 6400 elements)" for m in found)
    wanted = judge.expected(kernel, bound, {"out": reference}, masks)
    result = sequential.run(kernel, bound)
    assert judge.compare(result, wanted)[0].ok
    result["out"][98, 2] = 5  # what nobody writes is as it was
    assert not judge.compare(result, wanted)[0].ok


def test_a_start_is_expected_as_it_was_rounded() -> None:
    kernel, bound = partly(100, True)
    bound.arrays["out"][96:] = np.float32(0.1)
    reference = np.full((100, 64), 0.1)
    masks = judge.unwritten(kernel, bound)
    assert not judge.missing(bound, masks, {"out": reference})
    reference[96:] += 1e-6
    assert judge.missing(bound, masks, {"out": reference})


def test_an_output_that_the_reference_leaves_out_is_told() -> None:
    @pto.kernel(grid="1", x="f32[32, 64]", out="f32[32, 64]", other="f32[32, 64]")
    def kernel(x: Any, out: Any, other: Any) -> None:
        pto.store(out[0:32, :], pto.load(x[0:32, :]))
        pto.store(other[0:32, :], pto.load(x[0:32, :]) * 2.0)

    program = kernel.trace()
    bound = bind(program, {"x": drawn()})
    wanted = judge.expected(program, bound, {"out": drawn().astype(np.float64)}, {})
    assert list(judge.notes(bound, wanted)) == [
        "other is not compared: the reference does not return it"
    ]


@pytest.mark.filterwarnings("error")
def test_what_is_no_number_allows_no_integer() -> None:
    """A NaN becomes 0 and an infinity the last integer: no other is right."""
    kernel, x = traced(lambda t: (t * 5.0).astype("i32"), out="i32"), drawn()
    x[2, :3] = np.nan, np.inf, -np.inf
    want = np.rint(x * 5.0)
    assert verdict(kernel, x, want).ok
    for k in range(3):
        wrong = want.copy()
        wrong[2, k] = 7
        assert verdict(kernel, x, wrong).wrong == 1


def test_a_chance_of_nan_is_no_tolerance() -> None:
    """Where roundings decide whether a root exists, NaN is still no number."""
    kernel, x = traced(lambda t: pto.sqrt(t * 3.0 - t / (1.0 / 3.0))), drawn()
    assert not verdict(kernel, x, np.zeros(x.shape)).ok
    assert verdict(kernel, x, np.zeros(x.shape), np.full(x.shape, 1e6)).wrong == x.size


@pytest.mark.filterwarnings("error")
def test_nothing_that_rounds_meets_infinities() -> None:
    x = drawn()
    x[3, :3] = np.inf, -np.inf, np.nan
    assert verdict(traced(lambda t: pto.maximum(t, 0.0)), x, np.maximum(x, 0)).ok


@pytest.mark.filterwarnings("error")
def test_a_tolerance_meets_infinities() -> None:
    x = drawn()
    x[3, 4] = np.inf
    kernel = traced(lambda t: t * 2.0)
    bound, want = bind(kernel, {"x": x}), {"out": x.astype(np.float64) * 2}
    tolerance = judge.Tolerance.given(1e30, None)
    (e,) = judge.expected(kernel, bound, want, {}, tolerance)
    assert e.limit[3, 4] == 0 and e.limit[3, 5] == 1e30


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("values", "lost"),
    [
        ([0.5], "0.5"),
        ([3, 2**31], "2147483648"),
        ([np.nan], "nan"),
        (np.array([2**32 - 1], np.uint32), "4294967295"),
        ([True], ""),
        ([-(2.0**31)], ""),
    ],
)
def test_a_case_gives_integers_that_are_held(values: Any, lost: str) -> None:
    @pto.kernel(grid="1", x="i32[n]", count="i32", out="i32[n]")
    def kernel(x: Any, count: Any, out: Any) -> None:
        here = pto.ds(0, 16, valid=count)
        pto.store(out[here], pto.load(x[here]))

    kernel.case(lambda rng: {"x": values, "count": 1.5})
    if lost:
        with pytest.raises(InputError, match=f"returns {lost} in 'x', which int32 does not hold"):
            cases.draw(kernel, kernel.trace(), [])
        return
    arrays = cases.draw(kernel, kernel.trace(), [])
    assert arrays["x"].dtype == np.int32 and (arrays["x"] == values).all()
    with pytest.raises(InputError, match=r"count = 1\.5, but an integer"):
        bind(kernel.trace(), arrays)


def test_a_case_may_give_the_bits_of_bf16() -> None:
    @pto.kernel(grid="1", x="bf16[16, 64]", out="bf16[16, 64]")
    def kernel(x: Any, out: Any) -> None:
        pto.store(out[:, :], pto.load(x[:, :]))

    kernel.case(lambda rng: {"x": np.full((16, 64), 0x3F80, np.uint16)})
    assert (bind(kernel.trace(), cases.draw(kernel, kernel.trace(), [])).arrays["x"] == 1).all()


@pytest.mark.parametrize(
    ("slices", "told"),
    [
        ([np.s_[:]], "all"),
        ([np.s_[3]], "[3, :, :]"),
        ([np.s_[0:2, 5]], "[0..1, 5, :]"),
        ([np.s_[0, 1, 2], np.s_[2, 3:5]], "[0, 1, 2] and [2, 3..4, :]"),
        (
            [np.s_[k, k] for k in range(5)],
            "[0, 0, :] and [1, 1, :] and [2, 2, :] and 2 more regions",
        ),
    ],
)
def test_regions_are_named(slices: Any, told: str) -> None:
    mask = np.zeros((6, 8, 4), bool)
    for s in slices:
        mask[s] = True
    text = judge.Missing("out", mask).told()
    assert text == f"out: {told} never written ({mask.sum()} of 192 elements)"


PARTIAL = """
import numpy as np, pto
@pto.kernel(grid="1", x="f32[16, 128]", n="i32[1]", out="f32[16, 128]")
def keeps(x, n, out):
    h = pto.ds(0, 16, valid=n[0])
    pto.store(out[h, :], pto.load(x[h, :]) * 2.0)
@keeps.case
def draw(rng, *, start=True):
    given = {"x": rng.standard_normal((16, 128)), "n": np.array([3], np.int32)}
    return given | ({"out": np.full((16, 128), 7.0)} if start else {})
@keeps.reference
def oracle(x, n):
    out = np.full((16, 128), 7.0)
    out[:3] = x[:3] * 2
    return {"out": out}
"""


@pytest.mark.parametrize("executor", ["sequential", "numpy", "adversarial", "jax"])
def test_given_outputs_are_where_they_start(say: Say, executor: str) -> None:
    Path("keeps.py").write_text(PARTIAL)
    argv = ("run", "keeps.py", "--executor", executor)
    status, out, _ = say(*argv, "--out", "found.npz")
    assert status == GOOD and "agrees with its float64 reference" in out
    assert (np.load("found.npz")["out"][3:] == 7).all()
    status, out, _ = say(*argv, "--case", "start=false", "--json")
    assert status == FAILED and json.loads(out)["never_written"] == {"out": 13 * 128}


# ----------------------------------------------------------------------------------- options


def test_given_tolerances_override(say: Say) -> None:
    Path("keeps.py").write_text(PARTIAL.replace("x[:3] * 2", "x[:3] * 2.001"))
    argv = ("run", "keeps.py", "--executor", "numpy")
    assert say(*argv)[0] == FAILED
    status, out, _ = say(*argv, "--rtol", "1e-3")
    assert status == GOOD and "(--rtol 0.001)" in out
    status, out, _ = say(*argv, "--atol", "1e-6", "--rtol", "1e-4")
    assert status == FAILED and "(--atol 1e-06 --rtol 0.0001)" in out
    for wrong in ("-1", "x", "nan", "inf"):
        with pytest.raises(SystemExit) as ended:
            say(*argv, f"--rtol={wrong}")
        assert ended.value.code == USAGE


def test_inputs_are_judged(say: Say) -> None:
    Path("keeps.py").write_text(PARTIAL)
    x, n = np.ones((16, 128), np.float32), np.array([16], np.int32)
    np.savez("case.npz", x=x, n=n)
    status, out, _ = say("run", "keeps.py", "--executor", "numpy", "--inputs", "case.npz")
    assert status == FAILED and "DIFFERS from its float64 reference" in out
    assert "note: every element of x is 1; many a wrong kernel agrees then" in out


# ------------------------------------------------------------------------ requirements, choices

NEEDY: Mapping[str, Any] = {
    "grid": "cdiv(rows, 16)",
    "x": "f32[rows, 64]",
    "scale": "f32",
    "table": "i32[4]",
    "out": "f32[rows, 64]",
    "static": dict(tile=16, mode=pto.choice("plain", "twice")),
}


def needy(state: Callable[[Any, Any, Any, int], None]) -> pto.Kernel:
    @pto.kernel(**NEEDY)
    def kernel(x: Any, scale: Any, table: Any, out: Any, *, tile: int, mode: str) -> None:
        state(x, scale, table, tile)
        here = pto.ds(pto.program_id(0) * 16, 16, valid=x.shape[0] - pto.program_id(0) * 16)
        pto.store(out[here, :], pto.load(x[here, :]) * (2.0 if mode == "twice" else 1.0))

    return kernel


def test_static_requirements_are_told_when_traced() -> None:
    kernel = needy(lambda x, scale, table, tile: pto.require(tile % 16 == 0, "whole tiles"))
    assert kernel.trace().requires == ()
    with pytest.raises(InputError, match=r"^whole tiles") as caught:
        kernel.trace(tile=8)
    assert caught.value.loc is not None and "test_judge.py" in caught.value.loc.file


def test_requirements_of_a_call() -> None:
    def state(x: Any, scale: Any, table: Any, tile: int) -> None:
        rows = x.shape[0]
        pto.require(rows % tile == 0, 'only "whole" tiles # 1')
        pto.require(scale > 0.5, "scale")

    program = needy(state).trace()
    text = print_kernel(program)
    assert parse(text) == program and 'require 0.5 < scale "scale"' in text
    for kernel in (program, parse(text)):
        arrays = {"x": np.ones((32, 64), np.float32), "table": np.ones(4, np.int32), "scale": 1.0}
        bind(kernel, arrays)
        with pytest.raises(InputError, match=r"^scale: found scale = 0.25"):
            bind(kernel, arrays | {"scale": 0.25})
        with pytest.raises(InputError, match=r'^only "whole" tiles # 1: found rows = 33'):
            bind(kernel, arrays | {"x": np.ones((33, 64), np.float32)})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda x, s, t, n: pto.require(t[0] == 1, "m"), "read from data"),
        (lambda x, s, t, n: pto.require(pto.program_id(0) == 1, "m"), "changes within a launch"),
        (lambda x, s, t, n: pto.require(x.shape[0] % 2, "m"), "is a comparison"),
        (lambda x, s, t, n: pto.require(n % 2, "m"), "is a comparison"),
        (lambda x, s, t, n: pto.require(x.shape[0], "m"), "is a comparison"),
        (lambda x, s, t, n: pto.require(s, "m"), "is a comparison"),
        (lambda x, s, t, n: pto.require(np.array([True, False]), "m"), "is a comparison"),  # type: ignore[arg-type]
        (lambda x, s, t, n: pto.require(x.shape[0] in (16, 32), "m"), "^'in' needs to know"),
        (lambda x, s, t, n: pto.require(x.shape == (n, 64), "m"), "^'comparison of tuples' needs"),
        (lambda x, s, t, n: pto.require(None, "m"), "is a comparison"),  # type: ignore[arg-type]
        (lambda x, s, t, n: pto.require(True, "two\nlines"), "text of one line"),
    ],
)
def test_what_no_condition_is(state: Any, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        needy(state).trace()


def test_a_requirement_without_a_value_is_told_at_its_line() -> None:
    kernel = needy(lambda x, s, t, n: pto.require(x.shape[0] * 2**62 < 5, "m")).trace()
    arrays = {"x": np.ones((32, 64), np.float32), "table": np.ones(4, np.int32), "scale": 1.0}
    with pytest.raises(InputError, match="has no value where rows = 32: 32") as caught:
        bind(kernel, arrays)
    assert caught.value.loc is not None and "test_judge.py" in caught.value.loc.file


@pytest.mark.parametrize(
    "line", ["require rows", "require rows == 1 text", 'require pid0 == 1 "m"', 'require "m"']
)
def test_requirements_of_text(line: str) -> None:
    text = print_kernel(needy(lambda *args: None).trace()).replace("\n\n", f"\n{line}\n\n", 1)
    with pytest.raises((ParseError, pto.PtoError)):
        judge_text(text)


def judge_text(text: str) -> ir.Kernel:
    from pto.legality import verify

    return verify(parse(text, "needy.ptoir"))


@pytest.mark.parametrize("value", ["a b", "b.c", "nan", "3"])
def test_a_word_that_the_text_cannot_hold(value: str) -> None:
    @pto.kernel(grid="1", out="f32[16, 64]", static=dict(word="plain", count=1))
    def kernel(out: Any, *, word: str, count: int) -> None:
        pto.store(out[:, :], pto.zeros((16, 64)))

    assert parse(print_kernel(kernel.trace(word="other"))) == kernel.trace(word="other")
    with pytest.raises(InputError, match=f"'word' = '{value}' is not one plain word"):
        kernel.trace(word=value)
    with pytest.raises(InputError, match="'count' = 9223372036854775808 is beyond the integers"):
        kernel.trace(count=2**63)


def test_choices() -> None:
    kernel = needy(lambda *args: None)
    assert dict(kernel.trace().statics)["mode"] == "plain"
    assert dict(kernel.trace(mode="twice").statics)["mode"] == "twice"
    with pytest.raises(InputError, match="'mode' = 'thrice' is none of 'plain', 'twice'"):
        kernel.trace(mode="thrice")
    with pytest.raises(TraceError, match="of several types"):
        pto.kernel(**NEEDY | {"static": dict(tile=16, mode=pto.choice("plain", 1))})(
            kernel.function
        )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ("gemm", "-D", "activation=gelu"),
            "'activation' = 'gelu' is none of 'relu', 'none', 'silu'",
        ),
        (("gemm", "-D", "tile_m=100"), "must be multiples of 16"),
        (("paged_attention", "-D", "heads=10,kv_heads=3"), "kv_heads must divide heads"),
    ],
)
def test_shipped_kernels_say_what_they_need(say: Say, argv: tuple[str, ...], message: str) -> None:
    status, _, err = say("check", *argv)
    assert status == USAGE and message in err
