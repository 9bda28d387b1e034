"""The op table: what is written from its rows is up to date, no row lacks what it needs, and every
executor computes what each row says.

``pytest tests/pto/test_ops.py --update-golden`` writes ``pto/functions.py`` and ``docs/ops.md``.
"""

from __future__ import annotations

import inspect
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from typing import Any

import numpy as np
import pytest

import pto
from lowering import native
from lowering.ascend.rows import OF_KIND, OF_OP
from lowering.execute import judge, scheduled, sequential
from lowering.execute.inputs import bind
from lowering.jax_executor import executor as jax_executor
from lowering.native import build
from lowering.schedule import schedule
from lowering.simulate.costs import cost_of
from pto import Tensor, Tile
from pto.errors import InputError, LegalityError, PtoError
from pto.ir import all_rows
from pto.legality import verify
from pto.operators import OPERATORS
from pto.ops import ANY, COMPOSED, FUNCTIONS, OPS, SCHEDULED, TILE, Op, Operand
from pto.targets import TARGETS
from pto.targets.a2a3 import A2A3
from pto.text import parse, print_kernel
from pto.tile import SYMBOLS, elementwise, of_tile
from tests import ROOT
from tests.conftest import Golden
from tests.lenient import check, resting_on

FAMILY_OPS = [op for op in OPS.values() if op.kind in OF_KIND and op.name not in OF_OP]
"""What is no more than its row, its C++ meaning and its cycles."""
NAMES = [op.name for op in FAMILY_OPS]

# ------------------------------------------------------------------------- written from the rows

HEAD = '''"""The functions of one tile, one for each row of ``FUNCTIONS`` in ``pto/ops.py``.

Written by ``pytest tests/pto/test_ops.py --update-golden``: change the row.
"""

from __future__ import annotations

from pto.tile import Tile, of_tile

__all__ = [
'''

PAGE = """# Ops

Written from `pto/ops.py` by `pytest tests/pto/test_ops.py --update-golden`.

## In a kernel

`x`, `y` and `acc` are tiles; where an operator or a function takes two, the second may be a tile of the same
shape, of `[rows, 1]`, of `[1, cols]`, or a scalar.

| | |
|---|---|
"""

ROWS = """
## In a program

The rows of a printed program, one table for each kind. Cycles are those of the cost table `flat` on a2a3: before
the first repeat of 256 bytes and for each, or for reductions per element of up to 64 columns and of more; of an order
or a scan those of each of its instructions.
"""


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


def page() -> str:
    """The text of ``docs/ops.md``."""
    kinds = dict.fromkeys(op.kind for op in OPS.values())
    return PAGE + "".join(map(described, public())) + ROWS + "".join(map(table, kinds))


def public() -> list[str]:
    """The functions of a kernel; those of the rows by the table, so that one run writes both files."""
    found = {name for name in pto.__all__ if inspect.isfunction(getattr(pto, name))}
    return sorted((found | set(FUNCTIONS)) - {"kernel", "parse", "print_kernel", "choice"})


def described(name: str) -> str:
    if name in FUNCTIONS:
        return f"| `{name}(x)` | {sentence(FUNCTIONS[name])} |\n"
    function = getattr(pto, name)
    names = ", ".join(n for n in inspect.signature(function).parameters if n != "part")
    first = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    return f"| `{name}({names})` | {first.replace('``', '`')} |\n"


def table(kind: str) -> str:
    rows = "".join(line(op) for op in OPS.values() if op.kind == kind)
    names = ("op", "takes", "gives", "element types", "pipe", "becomes", "cycles", "")
    return f"\n### {kind}\n\n| {' | '.join(names)} |\n|{'---|' * len(names)}\n{rows}"


def line(op: Op) -> str:
    groups = ((text, len(list(same))) for text, same in groupby(map(taken, op.args)))
    takes = ", ".join(text if n < 4 else f"{text} up to {n} times" for text, n in groups)
    gives = taken(op.out) if op.out else ""
    types = "any" if op.dtypes == ANY else ", ".join(op.dtypes)
    becomes = " ".join(f"`{call}`" for call in dict.fromkeys(op.instruction.values()))
    cells = (f"`{op.name}`", takes, gives, types, " ".join(op.pipes), becomes, cycles(op))
    return f"| {' | '.join((*cells, op.meaning))} |\n"


def taken(operand: Operand) -> str:
    kinds = " or ".join(operand.kinds)
    return kinds if operand.needed and operand.start != SCHEDULED else f"({kinds})"


def cycles(op: Op) -> str:
    flat = A2A3.costs["flat"]
    lines = {form: x for (name, form), x in flat.vector.items() if name == op.name}
    told = [f"{a:g} + {b:g}{f' ({form})' if form else ''}" for form, (a, b) in lines.items()]
    return ", ".join(told + [f"{a:g} + {b:g}" for a, b in flat.reduction.get(op.name, ())])


WRITTEN = {"pto/functions.py": functions, "docs/ops.md": page}


@pytest.mark.parametrize("path", WRITTEN)
def test_what_is_written_from_the_rows(path: str, golden: Golden) -> None:
    golden(ROOT / path, WRITTEN[path]())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_public(name: str) -> None:
    function = getattr(pto, name)
    assert name in pto.__all__ and function.__doc__ == sentence(FUNCTIONS[name])


@pytest.mark.parametrize("name", [*FUNCTIONS, *COMPOSED])
def test_a_method_is_told_the_function(name: str) -> None:
    with pytest.raises(pto.TraceError) as caught:
        traced(lambda t, x: getattr(t, name), "f32")
    assert caught.value.hint == f"pto.{name}(x)"


# ------------------------------------------------------------------------------- what a row lacks


def compiler() -> str:
    try:
        return build.compiler()
    except InputError as missing:
        pytest.skip(str(missing))


@cache
def of_the_library() -> frozenset[str]:
    """The instructions that the table of docs/machine.md 12 names."""
    page = (ROOT / "docs" / "machine.md").read_text()
    table = page.partition("\n## 12. ")[2].partition("\n## 13. ")[0]
    items = [row.split("|")[1] for row in table.splitlines() if row.startswith("| ")]
    return frozenset(re.findall(r"\bT[A-Z_]+\b", " ".join(items)))


@cache
def meanings(compiler: str) -> frozenset[str]:
    """The instructions that the native executor has a meaning of."""
    include = build.HERE / "include"
    command = [compiler, "-E", "-P", "-std=c++20", f"-I{include}", include / "native" / "ops.hpp"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return frozenset(re.findall(r"void (T[A-Z_]+)\(", text))


def lacks(op: Op, known: frozenset[str]) -> Iterator[str]:
    """What somebody has to write by hand for a row of a family, and has not."""
    if not op.meaning:
        yield f"{op.name}: its row of pto/ops.py has no meaning, the sentence of its reference"
    if op.rule is None:
        yield f"{op.name}: its row of pto/ops.py has no rule for numpy and JAX"
    if op.kind == "reduce" and (op.joins not in OPS or OPS[op.joins].rule is None):
        yield f"{op.name}: its row of pto/ops.py names no op that joins two halves of a row"
    if op.name not in OF_OP and op.kind not in OF_KIND:
        yield f"{op.name}: lowering/ascend/rows.py emits no family '{op.kind}'"
    for call in op.instruction.values():
        if call not in known:
            yield f"{op.name}: lowering/native/include/native/ops.hpp has no {call}"
        if call not in of_the_library():
            yield f"{op.name}: docs/machine.md 12 has no {call}, so the device has none"
    for name, target in TARGETS.items():
        for costs in target.costs.values():
            has = (op.name, "") in costs.vector or op.along == "rows" or op.name in costs.reduction
            if not has and op.name != "copy":
                yield f"{op.name}: pto/targets has no cycles for it, {name} {costs.name}"


@pytest.mark.parametrize("name", NAMES)
def test_no_row_lacks_anything(name: str) -> None:
    missing = list(lacks(OPS[name], meanings(compiler())))
    assert not missing, "\n".join(missing)


def test_what_a_bare_row_lacks() -> None:
    bare = replace(OPS["exp"], name="root", rule=None, meaning="", instruction={"tile": "TROOT"})
    told = list(lacks(bare, meanings(compiler())))
    for word in ("meaning", "rule", "ops.hpp has no TROOT", "cycles for it, a2a3 published"):
        assert any(m.startswith("root: ") and word in m for m in told)
    odd = replace(OPS["row_max"], kind="odd", joins="")
    assert "row_max: lowering/ascend/rows.py emits no family 'odd'" in lacks(odd, frozenset())
    assert any("joins two halves" in m for m in lacks(replace(odd, kind="reduce"), frozenset()))


# ----------------------------------------------------------------- what every executor computes

REFERENCE: Mapping[str, Callable[..., Any]] = {
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "relu": lambda x: np.where(x < 0, 0, x),
    "row_max": lambda x: x.max(axis=1, keepdims=True),
    "row_min": lambda x: x.min(axis=1, keepdims=True),
    "row_sum": lambda x: x.sum(axis=1, keepdims=True),
    "col_max": lambda x: x.max(axis=0, keepdims=True),
    "col_min": lambda x: x.min(axis=0, keepdims=True),
    "col_sum": lambda x: x.sum(axis=0, keepdims=True),
}
"""In float64 what numpy has under another name."""
EXACT = {"f32": 2.0**-24, "f16": 2.0**-11, "i32": 0.0}
"""Half of the last place of a result."""
NUMBER = 3
DTYPES = {"f32": np.float32, "f16": np.float16, "i32": np.int32}


@cache
def cases(dtype: str, by_columns: bool) -> tuple[tuple[Op, str], ...]:
    """Every op of the families that users write, in every operand form, and unary ones of a column; or what
    joins rows, for which lanes share tiles by columns."""
    written = (*FUNCTIONS.values(), *(op for op in OPS.values() if op.kind == "binary"))
    fit = [op for op in written if dtype in op.dtypes and (op.along == "rows") == by_columns]
    forms = tuple((op, form) for op in fit for form in op.instruction)
    return forms + tuple((op, "column") for op in fit if op.kind == "unary")


CASES = [
    f"{dtype} {op.name} {form}"
    for dtype in EXACT
    for by_columns in (False, True)
    for op, form in cases(dtype, by_columns)
]


def written(name: str) -> Callable[[Tile, Any], Tile]:
    """What users write for a binary op."""
    return OPERATORS.get(SYMBOLS.get(name, "")) or partial(elementwise, name)


@cache
def every_op(dtype: str, by_columns: bool = False) -> pto.Kernel:
    """One output for every case; its columns are added to zeros."""
    few = len(cases(dtype, by_columns))

    @pto.kernel(
        grid="2",
        x=f"{dtype}[2, 32, 64]",
        y=f"{dtype}[32, 64]",
        column=f"{dtype}[32, 1]",
        row=f"{dtype}[1, 64]",
        out=f"{dtype}[2, {few}, 32, 64]",
    )
    def kernel(x: Tensor, y: Tensor, column: Tensor, row: Tensor, out: Tensor) -> None:
        b = pto.program_id(0)
        a, whole = pto.load(x[b, :, :]), pto.full((32, 64), 0, dtype)
        others = {"tile": y, "rows": column, "cols": row}
        seconds: dict[str, Any] = {form: pto.load(t[:, :]) for form, t in others.items()}
        seconds["scalar"] = NUMBER
        for k, (op, form) in enumerate(cases(dtype, by_columns)):
            if op.kind == "binary":
                made = written(op.name)(a, seconds[form])
            else:
                made = of_tile(op.name, seconds["rows"] if form == "column" else a)
            pto.store(out[b, k, :, :], made if made.shape == a.shape else whole + made)

    return kernel


@cache
def arrays(dtype: str) -> dict[str, Any]:
    """Numbers of either sign, none near 0, and in one row what is special."""
    rng = np.random.default_rng(0)
    shapes = {"x": (2, 32, 64), "y": (32, 64), "column": (32, 1), "row": (1, 64)}
    found = {n: rng.uniform(0.25, 4, s) * rng.choice((-1, 1), s) for n, s in shapes.items()}
    if dtype == "i32":
        return {n: np.rint(a * 100).astype(np.int32) for n, a in found.items()}
    found["x"][0, 0, :6] = 0.0, -0.0, np.inf, -np.inf, np.nan, 1.0
    return {n: a.astype(DTYPES[dtype]) for n, a in found.items()}


@cache
def found(executor: str, dtype: str, by_columns: bool) -> Any:
    """The output of one executor."""
    traced = every_op(dtype, by_columns).trace()
    if executor == "sequential":
        return sequential.run(traced, bind(traced, arrays(dtype)))["out"]
    program = schedule(traced).kernel
    if executor == "jax":
        return jax_executor.run(program, arrays(dtype))["out"]
    bound = bind(program, arrays(dtype))
    if executor == "scheduled":
        return scheduled.run(program, bound)["out"]
    result = native.run(program, bound, seeds=range(3), assume=resting_on(program))
    assert not result.reports
    return result.outputs["out"]


EXECUTORS = ("sequential", "scheduled", "jax", "native")


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("case", CASES)
def test_every_executor_computes_it(executor: str, case: str) -> None:
    if executor == "native":
        compiler()
    dtype, name, form = case.split()
    op = OPS[name]
    by_columns = op.along == "rows"
    k = cases(dtype, by_columns).index((op, form))
    given = {
        n: a.astype(np.int64 if dtype == "i32" else np.float64) for n, a in arrays(dtype).items()
    }
    second = {"tile": given["y"], "rows": given["column"], "cols": given["row"], "scalar": NUMBER}
    for b in range(2):
        x = given["column"] if form == "column" else given["x"][b]
        with np.errstate(all="ignore"):
            reference = REFERENCE.get(name) or getattr(np, name)
            want = reference(*((x, second[form]) if op.kind == "binary" else (x,)))
            sums = np.abs(x).sum(axis=0 if by_columns else 1, keepdims=True)
            sums = sums if name in ("row_sum", "col_sum") else 0
            allowed = np.abs(want) * (op.roundings * 2.0**-24 + EXACT[dtype]) + sums * 64 * 2.0**-24
        got = found(executor, dtype, by_columns)[b, k].astype(np.float64)
        error = judge.apart(got, np.broadcast_to(want, got.shape).astype(np.float64))
        assert (error <= np.nan_to_num(allowed * (dtype != "i32"), posinf=0)).all()


def test_an_op_with_scratch_has_a_barrier_of_its_own() -> None:
    """Nothing of it is hidden behind the row in front: docs/machine.md 12."""
    program = schedule(every_op("f32").trace()).kernel
    costs = {row.op: cost_of(row, program, A2A3.costs["flat"]) for row in all_rows(program.body)}
    assert costs["rsqrt"].occupies == costs["rsqrt"].latency
    assert costs["sqrt"].occupies < costs["sqrt"].latency


# -------------------------------------------------------------------------- what every op refuses


def traced(action: Callable[[Tile, Tensor], object], dtype: str) -> None:
    @pto.kernel(grid="1", x=f"{dtype}[16, 32]", out=f"{dtype}[16, 32]")
    def kernel(x: Tensor, out: Tensor) -> None:
        tile = pto.load(x[:, :])
        action(tile, x)
        pto.store(out[:, :], tile)

    kernel.trace()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_refuses_what_its_row_does_not_take(name: str) -> None:
    function: Callable[[Any], Tile] = getattr(pto, name)
    for dtype in ANY:
        if dtype in FUNCTIONS[name].dtypes:
            traced(lambda t, x: function(t), dtype)
            continue
        with pytest.raises(pto.DTypeError, match=f"{name}: 't?.*' is {dtype}"):
            traced(lambda t, x: function(t), dtype)
    for wrong in (lambda t, x: 3.0, lambda t, x: x, lambda t, x: x[:, :], lambda t, x: None):
        with pytest.raises(pto.TraceError, match=f"the operand of {name}"):
            traced(lambda t, x, wrong=wrong: function(wrong(t, x)), "f32")


@pytest.mark.parametrize("name", [op.name for op in OPS.values() if op.kind == "binary"])
def test_an_operator_refuses_what_its_row_does_not_take(name: str) -> None:
    wrongs: tuple[Callable[[Tile], Any], ...] = (
        lambda t: pto.full((8, 32), 1, t.dtype),
        lambda t: t.astype("f16"),
        lambda t: "1",
        lambda t: None,
    )
    for wrong in wrongs:
        with pytest.raises(PtoError):
            traced(lambda t, x, wrong=wrong: written(name)(t, wrong(t)), "f32")
    for dtype in ANY:
        if dtype not in OPS[name].dtypes:
            with pytest.raises(pto.DTypeError):
                traced(lambda t, x: written(name)(t, t), dtype)


TEXT = (
    "kernel t\nparam x in {0}[16, 32]\nparam y out {0}[16, 32]\ngrid 1\n"
    "a: {0}[16, 32] = load x[:, :]\nb: {0}[{1}, {2}] = {3} {4}\n"
)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_refuses_what_a_row_does_not_take(name: str) -> None:
    op = OPS[name]
    second = "a" if TILE in op.args[-1].kinds else "3"
    operands = {"binary": f"a, {second}", "select": "a, a, a, a"}.get(op.kind, "a")
    for dtype in ANY:
        shape = {"cols": (16, 1), "rows": (1, 32)}.get(op.along, (16, 32))
        text = TEXT.format(dtype, *shape, name, operands)
        if dtype in op.dtypes:
            parse(text, "t.ptoir")
            continue
        with pytest.raises(LegalityError, match=f"{name}: it takes {', '.join(op.dtypes)}"):
            verify(parse(text, "t.ptoir"))


# ------------------------------------------------------------------------------------ in place


@pto.kernel(grid="1", x="f32[16, 64]", out="f32[16, 64]", n="i32")
def reciprocals(x: Tensor, out: Tensor, n: pto.Scalar) -> None:
    """One whose operand dies, and one of a carried tile."""
    start = pto.reciprocal(pto.load(x[:, :]) + 1.0)
    pto.store(out[:, :], pto.fori_loop(0, n, lambda i, tile: pto.reciprocal(tile), start))


def test_a_reciprocal_has_a_buffer_of_its_own() -> None:
    """The library fills the result with ones before it divides them: docs/machine.md 12."""
    for name in ("best", "serial"):
        program = schedule(reciprocals.trace(), name).kernel
        rows = [r for r in all_rows(program.body) if r.op == "reciprocal"]
        assert len(rows) == 2 and all(r.out != r.args[0] for r in rows)


def test_a_reciprocal_in_place_is_refused() -> None:
    """By the proof, and where it runs by the native machine; a square root is not."""
    compiler()
    text = print_kernel(schedule(reciprocals.trace(), "serial").kernel)
    made, x = re.findall(r"(\w+) = reciprocal (\w+)\n", text)[-1]
    assert text.count(f"{x} = copy {made}") == 1
    for op, told in (("reciprocal", True), ("sqrt", False)):
        wrong = parse(text.replace(f"copy {made}", f"{op} {x}"), "t.ptoir")
        proof = check(wrong)
        assert any("reciprocal writes" in v.text for v in proof.violations) == told, proof.message
        bound = bind(wrong, {"x": np.ones((16, 64), np.float32), "n": 1})
        reports = native.run(wrong, bound).reports
        assert any("not taken in place" in str(r) for r in reports) == told
