"""C++ names: whatever the user calls things, both sources and the orchestration compile without a
warning, and the text of the schedule keeps his names.

``make test`` compiles a few random kernels; ``pytest -m sweep tests/ascend/test_cpp_names.py`` 300 of them.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

import pto
from lowering.ascend import emit
from lowering.ascend.names import DEVICE_WORDS, KEYWORDS, MACROS, Names, is_forbidden, said
from lowering.hazards.proof import HazardError
from lowering.schedule import Options, schedule
from pto import ir
from pto.errors import CapacityError
from pto.kernels import SHIPPED
from pto.lexer import FUNCTIONS, HEADER
from pto.tracer import GRAMMAR_WORDS
from tests.judges.compilers import complaints, installed
from tests.judges.random_kernels import draw
from tests.judges.renaming import renamed, variables

LIBRARY = """TLOAD TSTORE TADD TMULS TMATMUL TROWMAX TASSIGN TRESHAPE TPUSH TPOP TFREE TPipe Tile TileLeft
Shape Stride GlobalTensor Layout BLayout SLayout PadValue RoundMode Direction DYNAMIC PIPE_V PIPE_MTE2 PIPE_ALL
EVENT_ID0 EVENT_ID7 event_t set_flag wait_flag pipe_barrier get_block_idx get_sub_block_id get_subblockid
from_u64 ChipTensor TILE_UP_DOWN pto native std Pipe Where Values Extent Space""".split()
RUNTIME = """CUBE_KERNEL VECTOR_KERNEL DataType ChipTaskArgs CoreTaskArgs TensorCreateInfo MixedKernels
PTO2_SCOPE PTO2ScopeGuard rt_submit_task rt_report_fatal rt_available_cluster_count PTO2_ERROR_INVALID_ARGS
orch_args task task_args blocks accepts holds float_of launch_spec kernel_entry aicpu_orchestration_entry""".split()
OWN = """data clipped nothing_loaded min_of max_of floor_div floor_mod ceil_div signal lane_shift INF L1Nz L1Zn L0A L0B L0C Ub
UbColumn GmRows GmColumns Position positions next at t u w turn args tensor argument prod cons x_gm x_part
x_row x_rows x_cols x_whole b_free b_full b_FREE K_FREE K_FULL x_fifo_ring x_fifo_shape XFifoPipe T R C Step""".split()
STANDARD = """NULL EOF NAN INFINITY INT8_MAX INT64_C UINT32_MAX SIZE_MAX M_PI FLT_MAX CHAR_BIT RAND_MAX BUFSIZ
size_t int64_t uint8_t printf main exp exp2 log sqrt fabs floor abs max min swap move copy index read write
time clock signal sin y0 j1 gamma remainder div""".split()
RESERVED = "_ __ _x _X __x x__ a__b a_b _a_b __LINE__ __cplusplus __DAV_CUBE__ __gm__ __aicore__ K V Q I".split()
VOCABULARY = [
    name
    for name in dict.fromkeys(
        (*sorted(KEYWORDS | DEVICE_WORDS | MACROS), *LIBRARY, *RUNTIME, *OWN, *STANDARD, *RESERVED)
    )
    if name not in GRAMMAR_WORDS | set(FUNCTIONS) | set(HEADER)
]


def hostile(kernel: ir.Kernel, rng: random.Random) -> ir.Kernel:
    """The kernel with names of the vocabulary, its own too."""
    names = variables(kernel)
    taken = {n for n, _ in kernel.statics} | {f"pid{k}" for k in range(len(kernel.grid))}
    pool = [n for n in VOCABULARY if n not in taken]
    new = dict(zip(names, rng.sample(pool, len(names)), strict=True))
    return replace(renamed(kernel, new), name=rng.choice(pool))


def compiled(seed: int, compilers: tuple[str, ...]) -> bool:
    """False if the kernel does not fit; what a compiler says fails."""
    rng = random.Random(seed)
    traced = draw(seed, outside=rng.random() < 0.5)[0].trace()
    options = Options(lookahead=rng.randint(0, 3), flat=rng.random() < 0.7)
    try:
        program = schedule(hostile(traced, rng), options).kernel
    except CapacityError:
        return False
    except HazardError as error:
        if error.proof.refused:
            return False
        raise
    assert pto.parse(pto.print_kernel(program)) == program
    assert not list(complaints(emit(program), compilers)), seed
    return True


@pytest.mark.parametrize("seed", [6, pytest.param(4, marks=pytest.mark.sweep)])
def test_random_kernels_with_hostile_names_compile(seed: int) -> None:
    turn = installed()[seed % 2 :][:1] or installed()[:1]
    assert compiled(seed, turn)


@pytest.mark.sweep
@pytest.mark.parametrize("first", range(0, 300, 25))
def test_many_random_kernels_with_hostile_names_compile(first: int) -> None:
    done = seed = 0
    while done < 25:
        done += compiled(1000 * first + seed, installed())
        seed += 1
    print(f"{done} kernels of {seed} compiled with {' and '.join(installed())}")


@pytest.mark.sweep
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_kernels_with_hostile_names_compile(name: str) -> None:
    for seed in range(10):
        program = schedule(hostile(SHIPPED[name].trace(), random.Random(seed))).kernel
        assert not list(complaints(emit(program)))


# --------------------------------------------------------------------------------- choosing


def spelled(*wishes: str, text: str = "") -> list[str]:
    """The names that tiles of a program called ``wishes`` get in a text that says ``text``."""
    names = Names()
    lines = [names.of("buffer", wish) for wish in wishes]
    return names.spelled([*lines, text], said([text]))[:-1]


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("query", "query"),
        ("concept", "concept_"),
        ("K", "K"),
        ("NAN", "NAN_"),
        ("CUBE_KERNEL", "CUBE_KERNEL_"),
        ("k.free", "k_free"),
        ("__x", "x"),
        ("_Bool", "Bool"),
        ("a__b", "a_b"),
        ("_", "x"),
        ("größe", "gr_e"),
    ],
)
def test_a_name_stays_unless_it_means_something(wish: str, name: str) -> None:
    assert spelled(wish) == [name]


def test_what_the_text_says_is_no_name() -> None:
    assert spelled("TLOAD", "x", text="TLOAD(x_gm); a.x = 1;  // data") == ["TLOAD_", "x"]
    assert spelled("data", text="// data") == ["data"]
    assert spelled("data", text='f("data");') == ["data"]


def test_two_names_stay_two() -> None:
    assert spelled("a__b", "a_b", "a.b") == ["a_b_2", "a_b", "a_b_3"]
    assert spelled("do", "do_") == ["do_2_", "do_"]
    assert spelled("M_PI_", "M_PI__", "M_PI___") == ["M_PI_", "M_PI_2_", "M_PI_3_"]
    names = Names()
    lines = [names.fresh("x_gm"), names.of("buffer", "x_gm"), names.fresh("x_gm")]
    assert names.spelled(lines, frozenset()) == ["x_gm_2", "x_gm", "x_gm_3"]


def test_no_name_of_the_vocabulary_is_chosen() -> None:
    forbidden = [n for n in VOCABULARY if is_forbidden(n)]
    assert not set(spelled(*VOCABULARY)) & set(forbidden)
    assert len(set(spelled(*VOCABULARY))) == len(VOCABULARY)


def test_the_schedule_keeps_the_names_of_the_user() -> None:
    program = schedule(renamed(SHIPPED["rmsnorm"].trace(), {"x": "double"})).kernel
    files = emit(program)
    assert "param double in" in " ".join(files["rmsnorm.ptoir"].split())
    assert "double_ = data<" in files["rmsnorm.cpp"]
    assert "const ChipTensor &double_ = " in files["rmsnorm_orchestration.cpp"]
