"""The emitted C++ is executed: every seed gives the bits of program order, within the oracle's tolerance.

``make test`` compiles the source of every shipped kernel and runs a sample; ``make sweep`` compiles every
named schedule, runs all cases of ``test_numerics`` with 200 seeds and some under the sanitizers, deletes
every line of order from the emitted text, and runs the two reference cases at full context.  Tables
are printed (pytest -s).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowering import native
from lowering.ascend import emit
from lowering.execute import inputs, sequential
from lowering.execute.cluster import ORDERED_SIGNALS
from lowering.hazards import check
from lowering.native import build
from lowering.schedule import FENCE, NAMED, options_for, schedule
from lowering.schedule.passes.record import at_push
from pto.errors import InputError, ScheduleError
from pto.ir import Kernel as Program
from pto.ir import all_rows
from pto.kernels import SHIPPED
from pto.text import parse
from tests.conftest import Golden
from tests.judges.compilers import complaints, installed
from tests.judges.mutants import with_row, without, without_a_drain
from tests.judges.small_programs import round_trip
from tests.lenient import resting_on
from tests.whole.test_numerics import HALF_STEP, draw, oracle

try:
    build.compiler()
except InputError as missing:
    pytest.skip(str(missing), allow_module_level=True)


@dataclass(frozen=True)
class Case:
    """A shipped kernel with statics, a random case, the schedules to run, and the tolerance."""

    kernel: str
    statics: Mapping[str, Any]
    case: Mapping[str, Any]
    tolerance: Callable[[Any], Any]
    plans: tuple[str, ...] = ("best",)

    def __str__(self) -> str:
        words = [f"{k}={v}" for k, v in (*self.statics.items(), *self.case.items())]
        return " ".join([self.kernel, *words, *(self.plans if len(self.plans) < 4 else ())])


def attention(case: Mapping[str, Any], *plans: str, **statics: Any) -> Case:
    return Case("paged_attention", statics, case, lambda want: 3e-3, plans or ("best",))


def gemm(m: int, n: int, k: int, activation: str) -> Case:
    bound = 4 * np.sqrt(k) * k * 2.0**-24 + 1e-6
    plans = tuple(NAMED)
    return Case("gemm", dict(activation=activation), dict(m=m, n=n, k=k), lambda want: bound, plans)


def rmsnorm(rows: int, dtype: str) -> Case:
    limit = lambda want: HALF_STEP[dtype] * np.abs(want) + 1e-5  # noqa: E731
    return Case("rmsnorm", dict(dtype=dtype), dict(rows=rows), limit, tuple(NAMED))


CASES = [
    *(
        attention(
            dict(batch=8, context=33 * block - 5), q_tile=q, block=block, heads=q, dtype=dtype
        )
        for q in (16, 64)
        for block in (64, 128)
        for dtype in ("bf16", "f16")
    ),
    *(attention(dict(batch=7, context=700), plan) for plan in NAMED),
    *(
        attention(dict(batch=6, context=75), heads=group * kv, kv_heads=kv, dim=64, block=16)
        for group in (1, 4, 8, 16, 32, 64, 128)
        for kv in (1, 2)
    ),
    *(
        gemm(*shape, activation)
        for shape in [(1, 5, 1), (128, 128, 64), (130, 129, 70), (200, 300, 256)]
        for activation in ("none", "relu", "silu")
    ),
    *(rmsnorm(rows, dtype) for rows in (1, 16, 100) for dtype in ("bf16", "f16")),
]
"""All cases of ``tests/whole/test_numerics.py``."""

FEW = [
    attention(dict(batch=6, context=300), q_tile=16, block=64, heads=16),
    gemm(130, 129, 70, "silu"),
    rmsnorm(16, "bf16"),
]


def run_case(case: Case, seeds: int, block_num: int, sanitize: bool = False) -> list[native.Result]:
    """Every schedule of the case; asserts what must hold for each."""
    kernel = SHIPPED[case.kernel]
    arrays = draw(kernel, 0, case.statics, **case.case)
    want = oracle(kernel, arrays, case.statics)["out"]
    traced = kernel.trace(**case.statics)
    results = []
    for plan in case.plans:
        program = schedule(traced, plan).kernel
        result = native.run(
            program,
            inputs.bind(program, arrays),
            seeds=range(seeds),
            block_num=block_num,
            sanitize=sanitize,
            assume=resting_on(program),
        )
        told = [r.told(f"{program.name}.cpp") for r in result.reports]
        assert result.good, (str(case), plan, told, result.differences)
        error = np.abs(result.outputs["out"].astype(np.float64) - want)
        assert np.all(error <= case.tolerance(want)), (str(case), plan, error.max())
        results.append(result)
    return results


@pytest.mark.sweep
def test_the_shortest_as_a_user_compiles_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optimised, and its headers as text."""
    monkeypatch.delenv("CXXFLAGS", raising=False)
    run_case(replace(FEW[2], plans=("best",)), 24, 2)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_every_order_gives_one_result(case: Case) -> None:
    few = replace(case, plans=("best",))
    (result,) = run_case(few, 8, 2)
    assert result.orders == 8


def test_a_fence_changes_no_value() -> None:
    """``dsb`` of the device compiles here, too."""
    traced, results = SHIPPED["gemm"].trace(activation="silu"), []
    for fence in FENCE:
        program = schedule(traced, options_for("best", record="next_step", fence=fence)).kernel
        arrays = draw(SHIPPED["gemm"], 0, {"activation": "silu"}, m=130, n=129, k=70)
        bound = inputs.bind(program, arrays)
        results.append(native.run(program, bound, seeds=range(4), block_num=2))
    assert all(r.good for r in results)
    assert len({r.outputs["out"].tobytes() for r in results}) == 1


def test_values_do_not_depend_on_the_number_of_clusters() -> None:
    """Fewer of them than work items (6), as many as a chip has, and more."""
    kernel = SHIPPED["paged_attention"]
    program = schedule(kernel.trace(**FEW[0].statics)).kernel
    bound = inputs.bind(program, draw(kernel, 0, FEW[0].statics, **FEW[0].case))
    results = [
        native.run(program, bound, seeds=range(3), block_num=n, assume=resting_on(program))
        for n in (1, 3, 24, 48)
    ]
    assert all(r.good for r in results)
    assert len({r.outputs["out"].tobytes() for r in results}) == 1


@pytest.mark.sweep
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_order_of_every_case_gives_one_result(case: Case) -> None:
    """200 seeds; one work item per hardware block where there are so many, and several."""
    for block_num in (24, 2):
        for result in run_case(case, 200, block_num):
            assert result.orders == 200


@pytest.mark.sweep
@pytest.mark.parametrize("order", ["worst", "priorities", "random", "round-robin"])
def test_every_kind_of_order(order: str) -> None:
    k, bound = attention_program()
    result = native.run(k, bound, seeds=range(200), order=order, block_num=1, assume=resting_on(k))
    assert result.good and result.orders == 200


@pytest.mark.sweep
@pytest.mark.parametrize(
    "statics", [{}, dict(q_tile=64, heads=64, block=64)], ids=["case1", "case2"]
)
def test_the_reference_cases_at_full_context(statics: Mapping[str, Any]) -> None:
    """docs/machine.md 16.4: context 8192, pages from one pool; one item per block and several."""
    batch = 64 if statics else 256
    case = attention(dict(batch=batch, context=8192, ragged=False), **statics)
    for block_num in (batch, 24):
        (result,) = run_case(case, 0, block_num)
        print(f"\n{case}: {block_num} blocks, program order in {result.seconds:.1f} s")
    (result,) = run_case(attention(dict(batch=6, context=8192), **statics), 4, 6)
    print(f"one item per block, ragged: {result.orders} orders in {result.orders_seconds:.1f} s")


# ------------------------------------------------------------------------------ the source


def named(plans: Sequence[str]) -> Iterator[tuple[str, Program]]:
    """Every shipped kernel under named schedules."""
    for name, kernel in SHIPPED.items():
        for plan in plans:
            yield f"{name}_{plan}", schedule(kernel.trace(), plan).kernel


def shapes() -> Iterator[tuple[str, Program]]:
    """Shipped kernels in the shapes of ``test_numerics``."""
    for case in CASES:
        traced = SHIPPED[case.kernel].trace(**case.statics)
        yield str(case), schedule(traced, case.plans[-1]).kernel


@pytest.mark.parametrize("name", SHIPPED)
def test_whole_sources(name: str, golden: Golden) -> None:
    """Of the other named schedules ``tests/whole/test_replay.py`` has the checksums."""
    golden(f"emit/shipped/{name}.cpp", emit(schedule(SHIPPED[name].trace()).kernel)[f"{name}.cpp"])


def rejected(source: str) -> str:
    """What the compiler says to either half of a source; '' if it takes both without a warning."""
    return "".join(complaints({"kernel.cpp": source}, installed()[:1]))


def test_a_core_whose_rows_name_no_argument_compiles_without_a_warning() -> None:
    assert not rejected(emit(parse(SMALL, "small.ptoir"))["small.cpp"])


def sources(programs: Iterator[tuple[str, Program]]) -> dict[str, str]:
    """Different texts, by the first name that has each."""
    found: dict[str, str] = {}
    for name, k in programs:
        found.setdefault(emit(k)[f"{k.name}.cpp"], name)
    return {name: text for text, name in found.items()}


def compile_all(texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        assert not rejected(text), name


@pytest.mark.parametrize(
    "plans", [("best",), pytest.param(tuple(NAMED), marks=pytest.mark.sweep)], ids=len
)
def test_shipped_sources_compile_without_warnings(plans: tuple[str, ...]) -> None:
    texts = sources(named(plans))
    assert len(texts) >= (6 if plans == tuple(NAMED) else 3)
    compile_all(texts)


@pytest.mark.sweep
def test_sources_of_every_shape_compile_without_warnings() -> None:
    texts = sources(shapes())
    print(f"\n{len(texts)} different sources")
    compile_all(texts)


DEVICE_RULES = {
    "rows are multiples of 32 bytes": ("Ub<float, 8, 128> acc;", "Ub<float, 8, 129> acc;"),
    "a product goes from L0A and L0B into L0C": ("TMATMUL(qk[u % 2], q_a, k_b)", "TMATMUL(qk[u % 2], k_b, q_a)"),
    "no such path on this chip": ("TMOV(q_a, q[at.turn % 2])", "TMOV(q[at.turn % 2], q_a)"),
    "a load keeps the element size": ("GmRows<bfloat16_t, 16, 128, 128> q_gm(query", "GmRows<float, 16, 128, 128> q_gm((float *)query"),
    "vector arithmetic is on row-major tiles": ("TEXP(alpha_row[u % 7], alpha_row[u % 7])", "TEXP(alpha[u % 7], alpha[u % 7])"),
    "a tile that does not fit its slot": ("TPipe<2, Direction::DIR_V2C, 4096,", "TPipe<2, Direction::DIR_V2C, 1024,"),
    "two flags of sixteen": ("TPipe<4, Direction", "TPipe<15, Direction"),
}  # fmt: skip


@pytest.mark.parametrize("rule", DEVICE_RULES)
def test_rules_of_the_device_are_rules_of_the_headers(rule: str) -> None:
    source = emit(schedule(SHIPPED["paged_attention"].trace()).kernel)["paged_attention.cpp"]
    old, new = DEVICE_RULES[rule]
    assert old in source
    wrong = {"kernel.cpp": source.replace(old, new)}
    assert any(rule in said for said in complaints(wrong, installed()[:1]))


# --------------------------------------------------------------------------- wrong programs


SHORT = dict(block=64, dim=64)
"""A fourth of the work of the shipped tiles, in the same rows."""


def attention_program(plan: str = "best") -> tuple[Program, inputs.Bound]:
    """Work items of 5, 0, 1, 4 and 1 pages, the last ones partial, for one hardware block."""
    k = schedule(SHIPPED["paged_attention"].trace(**SHORT), plan).kernel
    return k, requests((5, 0, 1, 4, 1), **SHORT)


def requests(blocks: Sequence[int], **statics: int) -> inputs.Bound:
    """Inputs of paged attention, by the number of blocks of every request."""
    kernel, block = SHIPPED["paged_attention"], statics.get("block", 128)
    most = max(1, *blocks) * block
    arrays = draw(kernel, 0, statics, batch=len(blocks), context=most, ragged=False)
    arrays["context_lens"] = np.array([max(block * n - 28, 0) for n in blocks], np.int32)
    return inputs.bind(kernel.trace(**statics), arrays)


def deletions(k: Program) -> Iterator[tuple[str, Program]]:
    """Every wait, set, barrier and drain taken away, one at a time."""
    for n, r in enumerate(all_rows(k.body)):
        name = f"{r.core} {r.pipe} {r.op}"
        for j, f in enumerate(r.wait if r.op != "drain" else ()):
            yield f"{name}: wait {f.name}", with_row(k, n, replace(r, wait=without(r.wait, j)))
        for j, f in enumerate(r.set):
            yield f"{name}: set {f.name}", with_row(k, n, replace(r, set=without(r.set, j)))
        if r.op in ("barrier", "drain"):
            yield name, with_row(k, n)


CONSTANT = re.compile(r"\s*constexpr int (\w+) = ")


def code_of(line: str) -> str:
    """A line without its comment; '' for the first ids of events, which come in order of use."""
    return "" if CONSTANT.match(line) else line.split("//")[0].strip()


def deleted(whole: str, less: str) -> tuple[str, list[str]]:
    """``whole`` without the lines of code that ``less`` lacks, and these lines; comments, which the
    emitter may put elsewhere, stay.  Asserts that no other code differs."""
    kept, gone = [], []
    rest = [code for line in less.splitlines() if (code := code_of(line))]
    for line in whole.splitlines():
        code = code_of(line)
        if code and rest[:1] != [code]:
            gone.append(code)
            continue
        if code:
            rest.pop(0)
        kept.append(line)
    assert not rest, "the code changed beyond the deletion"
    words = Counter(re.findall(r"\w+", "\n".join(kept)))
    constants = {line: CONSTANT.match(line) for line in kept}
    used = [x for x in kept if (m := constants[x]) is None or words[m[1]] > 1]
    return "\n".join(used) + "\n", gone


@dataclass(frozen=True)
class Shown:
    """What a deletion leads to: the verdict of the proof, and of the executed text."""

    name: str
    proof: str
    bits: int
    reports: tuple[str, ...]
    first: int

    def __str__(self) -> str:
        seen = ", ".join(self.reports) or "-"
        return f"  {self.name:<44} {self.proof or 'redundant':<14} {self.bits:>4}  {self.first:>4}  {seen}"


def show(task: tuple[str, Program, str, inputs.Bound, int]) -> Shown:
    """The verdicts on a deletion.  Which data tell is known to the proof: where those given do not show
    what it finds, the smallest run that fails is executed."""
    name, wrong, whole, bound, seeds = task
    source, gone = deleted(whole, emit(wrong)[f"{wrong.name}.cpp"])
    assert gone and all(x.startswith(SYNC) for x in gone), gone
    proof = check(wrong)
    kind = "" if proof.ok else proof.violations[0].kind
    shown = executed(wrong, source, bound, seeds, Shown(name, kind, 0, (), UNSEEN))
    if proof.failing and shown.first == UNSEEN and "context_lens" in bound.arrays:
        return executed(wrong, source, requests(proof.failing, **SHORT), seeds, shown)
    return shown


def executed(wrong: Program, source: str, bound: inputs.Bound, seeds: int, shown: Shown) -> Shown:
    assume = resting_on(wrong)
    result = native.run(wrong, bound, seeds=range(seeds), block_num=1, source=source, assume=assume)
    kinds = tuple(dict.fromkeys(r.kind for r in result.reports))
    bits = len({d.seed for d in result.differences})
    in_order = any(r.seed is None for r in result.reports)
    first = -1 if in_order else next(iter(result.bad_seeds), UNSEEN)
    return replace(shown, bits=bits, reports=kinds, first=first)


UNSEEN = -2
"""No seed shows it."""


SYNC = ("set_flag(", "wait_flag(", "pipe_barrier(")
HEADER = f"  {'deleted':<44} {'proof':<14} {'bits':>4} {'first':>5}  reports"


def table(k: Program, bound: inputs.Bound, names: str = "", seeds: int = 200) -> list[Shown]:
    """Every deletion whose name matches, executed and printed; asserts that proof and execution agree."""
    whole = emit(k)[f"{k.name}.cpp"]
    tasks = [(n, w, whole, bound, seeds) for n, w in deletions(k) if re.search(names, n)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(show, tasks))
    print(
        f"\n{k.name}, {len(found)} deletions, {seeds} seeds each; first: the first seed that shows it, -1 program order\n{HEADER}"
    )
    print(*found, sep="\n")
    for shown in found:
        assert bool(shown.proof) == (shown.first != UNSEEN), shown
    return found


def test_a_deletion_shows_in_some_order() -> None:
    k, bound = attention_program()
    (found,) = table(k, bound, "V mul: wait qk_v", seeds=10)
    assert found.first != UNSEEN


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["paged_attention", "gemm", "rmsnorm"])
def test_every_deletion_shows_in_some_order(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXXFLAGS", "-O1")
    if name == "paged_attention":
        k, bound = attention_program()
    else:
        kernel = SHIPPED[name]
        case = dict(m=50, n=300, k=300) if name == "gemm" else dict(rows=100)
        k = schedule(kernel.trace()).kernel
        bound = inputs.bind(k, draw(kernel, 0, {}, **case))
    table(k, bound)


SMALL = """
kernel small on a2a3
param src          in     f32[rows, 64]
param out          out    f32[rows, 64]
param which        scalar i32
grid rows
buffer vector ub   a[1]  f32[8, 64]  nd  at 0      by 2048
vector 0 V a = full 0.0
"""
BODY = """
    __gm__ float *src = data<float>(args[0]);
    __gm__ float *out = data<float>(args[1]);
    const int64_t lane = get_sub_block_id(args);
    Ub<float, 8, 64> a, b, c;
    TASSIGN(a, 0);
    TASSIGN(b, 2048);
    TASSIGN(c, args[2] == 8 ? 188160 : 4096);
    GmRows<float, 8, 64, 64> from(src + (args[2] == 7 ? 1 << 20 : 0));
    GmRows<float, 8, 64, 64> to((args[2] == 9 ? src : out) + lane * 8 * 64);
    if (args[2] != 5) {
        TLOAD(a, from);
    }
    set_flag(PIPE_MTE2, PIPE_V, EVENT_ID0);
    if (args[2] == 1) {
        set_flag(PIPE_MTE2, PIPE_V, EVENT_ID0);
    }
    if (args[2] != 2) {
        wait_flag(PIPE_MTE2, PIPE_V, EVENT_ID0);
    }
    TADDS(b, a, 1.0f);
    if (args[2] != 6) {
        pipe_barrier(PIPE_V);
    }
    TADD(c, b, b);
    set_flag(PIPE_V, PIPE_MTE3, EVENT_ID0);
    wait_flag(args[2] == 3 ? PIPE_MTE2 : PIPE_V, PIPE_MTE3, EVENT_ID0);
    TSTORE(to, c);
    if (args[2] != 4) {
        set_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
        wait_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
    }
"""
MISTAKES = {
    0: set(),
    1: {"double set"},
    2: {"leftover", "race"},
    3: {"wait", "deadlock", "leftover"},
    4: {"undrained"},
    5: {"uninitialised"},
    6: {"race"},
    7: {"out of range"},
    8: {"address"},
    9: {"input"},
}
"""What the machine reports when ``which`` picks one mistake of ``BODY``."""


@pytest.mark.parametrize("which", MISTAKES)
def test_what_goes_wrong_is_reported(which: int) -> None:
    k = parse(SMALL, "small.ptoir")
    source = emit(k)["small.cpp"]
    start = source.index("static __aicore__ void small_vector")
    begin, end = source.index("{", start) + 1, source.index("\n}\n", start)
    needed = source.index("// A tile of the vector core")
    helpers = (
        "template <typename T, int64_t R, int64_t C, int64_t Step>\n"
        "using GmRows = GlobalTensor<T, Shape<1, 1, 1, R, C>, Stride<1, 1, 1, Step, 1>>;\n"
        "template <typename T>\nstatic T *data(int64_t argument)\n{\n"
        "    return reinterpret_cast<T *>(reinterpret_cast<ChipTensor *>(argument)->buffer.addr);\n}\n"
    )
    source = source[:needed] + helpers + source[needed:begin] + BODY + source[end:]
    bound = inputs.bind(k, {"src": np.ones((16, 64), np.float32), "which": np.int32(which)})
    result = native.run(k, bound, seeds=range(40), block_num=1, source=source)
    kinds = {r.kind for r in result.reports}
    assert kinds & MISTAKES[which] if MISTAKES[which] else result.good, kinds
    if which == 0:
        assert np.array_equal(result.outputs["out"], np.full((16, 64), 4.0, np.float32))
    for report in result.reports:
        if report.line:
            assert (
                source.splitlines()[report.line - 1]
                .strip()
                .startswith(("T", "set_", "wait_", "pipe_"))
            )


def test_a_report_names_the_row_and_a_seed_is_an_order() -> None:
    k, bound = attention_program()
    rows = enumerate(all_rows(k.body))
    n, row = next((n, r) for n, r in rows if r.op == "load" and "k.free" in str(r.wait))
    wrong = with_row(k, n, replace(row, wait=()))
    assume = resting_on(k)
    first, again = (
        native.run(wrong, bound, seeds=range(10), block_num=1, assume=assume) for _ in range(2)
    )
    assert "k[u] = load key_cache[page, :, 0, :]" in {r.row for r in first.reports}
    assert "paged_attention.cpp:" in first.reports[0].told("paged_attention.cpp")
    assert first.bad_seeds and (first.reports, first.differences) == (
        again.reports,
        again.differences,
    )
    seed = first.bad_seeds[0]
    alone = native.run(wrong, bound, seeds=range(seed, seed + 1), block_num=1, assume=assume)
    assert alone.bad_seeds == [seed]


STEPS = 13
"""Tiles that go round: more than twice through a ring of five slots."""

LENIENT = (ORDERED_SIGNALS,)
"""The signal of a push stays behind its data; if nothing is said it may come before."""

SWITCHES = {
    "f.prod.setTileId(0, 0);": "deadlock",
    "g.prod.setTileId(0, 0);": "deadlock",
    "without_credit(f, 0);": "fifo",
    "pipe.prod.setAllocateStatus(false);": "deadlock",
    "pipe.cons.setFreeStatus(false);": "fifo",
}
"""Lines of a kernel with FIFOs without credit -> what the machine reports where they are missing."""


def round_trips(depth: int) -> tuple[Program, inputs.Bound]:
    k = round_trip(depth, 4)
    return k, inputs.bind(
        k, {"src": np.ones((64, 64), np.float32), "out": np.zeros((STEPS, 16, 64), np.float32)}
    )


def test_rings_without_credit_need_no_free_signals() -> None:
    k, bound = round_trips(5)
    result = native.run(k, bound, seeds=range(40), block_num=1, assume=LENIENT)
    assert result.good, result.reports
    want = np.arange(1, STEPS + 1, dtype=np.float32)[:, None, None] * np.float32(64)
    assert np.array_equal(result.outputs["out"], np.broadcast_to(want, (STEPS, 16, 64)))
    k, bound = round_trips(4)
    less = native.run(k, bound, seeds=range(40), block_num=1, assume=LENIENT)
    assert less.differences, "one slot less"


@pytest.mark.sweep
def test_paged_attention_without_free_signals() -> None:
    traced, bound = SHIPPED["paged_attention"].trace(), requests((5, 0, 1, 4, 1))
    k = schedule(traced, options_for(credit="needed")).kernel
    result = native.run(k, bound, seeds=range(40), block_num=1, assume=resting_on(k))
    assert result.good and not any(f.credit for f in k.fifos)
    wanted = sequential.run(traced, bound)["out"]
    assert np.abs(result.outputs["out"] - wanted).max() < 3e-3


def with_switches(whole: str) -> str:
    """The source without the line that ``LACKS`` picks when it runs: one text, compiled once."""
    for number, line in enumerate(SWITCHES):
        assert line in whole
        whole = whole.replace(
            line, f'if (std::atoi(std::getenv("LACKS")) != {number}) {{ {line} }}'
        )
    return f"#include <cstdlib>\n{whole}"


@pytest.mark.parametrize("line", SWITCHES)
def test_the_end_of_a_pipe_waits_for_what_it_counted(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/machine.md 15: the destructor takes the free signals of all tiles, sent or not."""
    k, bound = round_trips(5)
    monkeypatch.setenv("LACKS", str([*SWITCHES].index(line)))
    result = native.run(k, bound, block_num=1, source=with_switches(emit(k)["round_trip.cpp"]))
    assert {r.kind for r in result.reports} == {SWITCHES[line]}, result.reports


# ---------------------------------------------------------- signals in front of their data


def undrained(k: Program) -> Iterator[tuple[str, str]]:
    """The emitted text without one of the drains in front of records, by the FIFO of the record."""
    whole = emit(k)[f"{k.name}.cpp"]
    for fifo, less in without_a_drain(k):
        source, gone = deleted(whole, emit(less)[f"{k.name}.cpp"])
        pipe = "FIX" if k.fifo(fifo).direction == "c2v" else "MTE3"
        numbers = {int(n) for line in gone for n in re.findall(r"EVENT_ID(\d)", line)}
        flag = f"PIPE_{pipe}, PIPE_S, EVENT_ID{min(numbers)}"
        assert sorted(gone) == [f"set_flag({flag});", f"wait_flag({flag});"]
        yield fifo, source


def test_behind_a_drain_data_is_there_before_its_signal() -> None:
    k, bound = round_trips(5)
    drained = at_push(k, 0)
    for program, assume, good in (
        (drained, (), True),
        (drained, LENIENT, True),
        (k, (), False),
        (k, LENIENT, True),
    ):
        result = native.run(program, bound, seeds=range(40), block_num=1, assume=assume)
        assert result.good == good, result.reports
    wrong = dict(undrained(drained))
    assert wrong.keys() == {"f", "g"}
    for source in wrong.values():
        found = [
            native.run(drained, bound, seeds=range(40), block_num=1, source=source, assume=assume)
            for assume in ((), LENIENT)
        ]
        assert found[0].differences and not found[1].differences, found


@pytest.mark.sweep
@pytest.mark.parametrize("credit", ["needed", "always"])
def test_every_drain_of_paged_attention_shows(credit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXXFLAGS", "-O1")
    options = options_for("best", record="next_step", credit=credit)
    k, bound = (
        schedule(SHIPPED["paged_attention"].trace(), options).kernel,
        requests((5, 0, 1, 4, 1)),
    )
    for assume in ((), LENIENT):
        assert native.run(k, bound, seeds=range(200), block_num=1, assume=assume).good
    print()
    for fifo, source in undrained(k):
        result = native.run(k, bound, seeds=range(200), block_num=1, source=source)
        bits, first = len({d.seed for d in result.differences}), next(iter(result.bad_seeds))
        print(f"  without the drain of {fifo}: {bits} of 200 orders differ, the first {first}")
        assert bits > 5


# ---------------------------------------------------------------------- compiler and cache


@pytest.mark.sweep
def test_the_sanitizers_are_silent_on_rings() -> None:
    k, bound = round_trips(5)
    run = native.run(k, bound, seeds=range(8), block_num=1, sanitize=True, assume=LENIENT)
    assert run.good, run.reports


@pytest.mark.sweep
@pytest.mark.parametrize("case", [CASES[0], CASES[8], FEW[1], FEW[2]], ids=str)
def test_the_sanitizers_are_silent_on_every_kernel(case: Case) -> None:
    run_case(replace(case, plans=case.plans[-1:]), 40, 2, sanitize=True)


@pytest.mark.parametrize("name", ["no-such-compiler", "/bin/true", "/bin/echo", __file__])
def test_a_missing_compiler_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that succeeds at everything is none either."""
    monkeypatch.setenv("CXX", name)
    build.compiler.cache_clear()
    with pytest.raises(InputError) as caught:
        build.compiler()
    build.compiler.cache_clear()
    assert str(caught.value) == (
        f"executor native needs a C++20 compiler; CXX={name} is none\n"
        "  help: install g++ 11 or clang++ 14, or set CXX to the name of one, without options"
    )


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PTO_CACHE", __file__, f"no place for compiled kernels: {__file__}: Not a directory"),
        ("PTO_CACHE", "/proc/none", "no place for compiled kernels: /proc/none: "),
        ("CXXFLAGS", "-fno-such-thing", "CXXFLAGS=-fno-such-thing: "),
    ],
)
def test_no_place_is_told_before_anything_is_compiled(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(build, "_call", None)
    with pytest.raises(InputError) as caught:
        build.executable("// nothing\n")
    assert str(caught.value).startswith(message)


def test_a_full_disk_is_not_the_fault_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    full = "/tmp/x.s: fatal error: error writing to /tmp/x.s: No space left on device"
    script = f"import sys; sys.exit({full!r})"
    with pytest.raises(InputError, match="the C\\+\\+ compiler could not work"):
        build._call([sys.executable, "-c", script])


def test_a_kernel_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = emit(schedule(SHIPPED["rmsnorm"].trace()).kernel)["rmsnorm.cpp"]
    made = build.executable(source)
    monkeypatch.setattr(build, "_call", None)
    assert build.executable(source) == made and made.parent == build.cache_folder()
    with pytest.raises(TypeError):
        build.executable(source + "// another text\n")


def test_threads_and_processes_may_fill_the_cache_at_once(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_bytes(b"x" * 100_000)
    places = [tmp_path / "kept" / str(n // 16) for n in range(256)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda place: build._keep(made, place), places))
    assert sorted((tmp_path / "kept").iterdir()) == sorted(set(places))
    assert {p.read_bytes() for p in places} == {made.read_bytes()}


def test_the_cache_can_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTO_CACHE", str(tmp_path))
    assert build.cache_folder() == tmp_path


def test_what_the_compiler_rejects_is_told_and_not_kept() -> None:
    for _ in range(2):
        with pytest.raises(ScheduleError, match="the C\\+\\+ compiler rejects the emitted source"):
            build.executable("#include <pto/pto-inst.hpp>\nint wrong = ;\n")


def test_numbers_differ_from_numpy_by_exp_and_order_only() -> None:
    """gemm has no exp and sums k in order: the difference is that of float32 sums."""
    kernel = SHIPPED["gemm"]
    arrays = draw(kernel, 0, {}, m=64, n=64, k=64)
    traced = kernel.trace()
    want = sequential.run(traced, inputs.bind(traced, arrays))["out"]
    k = schedule(traced).kernel
    got = native.run(k, inputs.bind(k, arrays)).outputs["out"]
    assert np.abs(got - want).max() <= 64 * 2.0**-24 * np.abs(want).max() * 4
