"""The emitted orchestration, compiled with a stand-in for the runtime and executed: what it submits,
on how many blocks, and that it ends with one message where a tensor or a condition is not what the kernel
was made for."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

import pto
from lowering.ascend import emit
from lowering.ascend.orchestration import quoted
from lowering.schedule import schedule
from tests.judges.compilers import STRICT, installed

pytestmark = pytest.mark.skipif(not installed(), reason="no C++ compiler")

SAID = 'rows come in "pairs" of 50 % \\ each?'


@pto.kernel(
    grid="cdiv(rows, 16)",
    x="f32[rows, 64]",
    table="i32[rows]",
    scale="f32",
    least="i32",
    out="f32[rows, 64]",
)
def launched(x: Any, table: Any, scale: Any, least: Any, out: Any) -> None:
    rows = x.shape[0]
    pto.require(rows % 2 == 0, SAID)
    pto.require(least // 2 < rows, "least is too large")
    pto.require(scale * 2.0 < 1.0, "scale is below a half")
    first = pto.program_id(0) * 16
    here = pto.ds(first, 16, valid=rows - first)
    pto.store(out[here, :], pto.load(x[here, :]) * scale)


DRIVER = """
#include "orchestration.cpp"

static ChipTensor tensor(DataType dtype, std::initializer_list<uint32_t> shape)
{
    ChipTensor made{};
    made.dtype = static_cast<uint8_t>(dtype);
    made.ndims = static_cast<uint32_t>(shape.size());
    uint32_t step = 1;
    for (uint32_t k = made.ndims; k-- > 0;) {
        made.shapes[k] = shape.begin()[k];
        made.strides[k] = step;
        step *= made.shapes[k];
    }
    return made;
}

template <typename Change>
static void launch(const char *name, Change change)
{
    ChipTensor tensors[3] = {tensor(DataType::FLOAT32, {48, 64}), tensor(DataType::INT32, {48}),
                             tensor(DataType::FLOAT32, {48, 64})};
    uint64_t scalars[2] = {0x3e800000, 0};
    change(tensors, scalars);
    std::printf("%s: ", name);
    aicpu_orchestration_entry({tensors, scalars});
}

int main()
{
    launch("as it should be", [](ChipTensor *, uint64_t *) {});
    launch("an offset", [](ChipTensor *t, uint64_t *) { t[0].start_offset = 128; });
    launch("one row fewer", [](ChipTensor *t, uint64_t *) { t[2].shapes[0] = 47; });
    launch("columns of a wider", [](ChipTensor *t, uint64_t *) { t[0].strides[0] = 128; });
    launch("a transpose", [](ChipTensor *t, uint64_t *) { t[0].strides[0] = 1; t[0].strides[1] = 48; });
    launch("every second", [](ChipTensor *t, uint64_t *) { t[1].strides[0] = 2; });
    launch("another type", [](ChipTensor *t, uint64_t *) { t[0] = tensor(DataType::FLOAT16, {48, 64}); });
    launch("another rank", [](ChipTensor *t, uint64_t *) { t[1] = tensor(DataType::INT32, {48, 1}); });
    launch("one row, whatever its stride", [](ChipTensor *t, uint64_t *) {
        for (int k = 0; k < 3; ++k) {
            t[k].shapes[0] = 2;
        }
    });
    launch("odd", [](ChipTensor *t, uint64_t *) {
        for (int k = 0; k < 3; ++k) {
            t[k].shapes[0] = 3;
        }
    });
    launch("an integer scalar", [](ChipTensor *, uint64_t *s) { s[1] = 97; });
    launch("a negative one", [](ChipTensor *, uint64_t *s) { s[1] = static_cast<uint64_t>(-97); });
    launch("a float scalar", [](ChipTensor *, uint64_t *s) { s[0] = 0x3f000000; });
}
"""

GOOD = "submitted"
EXPECTED = {
    "as it should be": GOOD,
    "an offset": GOOD,
    "one row fewer": "not a contiguous tensor out: f32[rows, 64]",
    "columns of a wider": "not a contiguous tensor x: f32[rows, 64]",
    "a transpose": "not a contiguous tensor x: f32[rows, 64]",
    "every second": "not a contiguous tensor table: i32[rows]",
    "another type": "not a contiguous tensor x: f32[rows, 64]",
    "another rank": "not a contiguous tensor table: i32[rows]",
    "one row, whatever its stride": GOOD,
    "odd": SAID,
    "an integer scalar": "least is too large",
    "a negative one": GOOD,
    "a float scalar": "scale is below a half",
}


def test_a_launch_is_what_the_kernel_was_made_for_or_ends_with_a_message(tmp_path: Path) -> None:
    found: dict[str, str] = {}
    name = ""
    for line in launches(tmp_path, launched, DRIVER):
        start, colon, rest = line.partition(": ")
        if start in EXPECTED and colon:
            name, line = start, rest
        if line.startswith("fatal 5: "):
            found[name] = line.removeprefix("fatal 5: ")
        elif line.startswith("submitted -1 1 1"):
            found[name] = GOOD
    assert found == EXPECTED


def launches(folder: Path, kernel: Any, driver: str) -> list[str]:
    """What a driver prints that includes the emitted orchestration of a kernel."""
    files = emit(schedule(kernel.trace()).kernel)
    (folder / "orchestration.cpp").write_text(files[f"{kernel.name}_orchestration.cpp"])
    (folder / "driver.cpp").write_text(driver)
    program = folder / "program"
    command = [installed()[0], *STRICT, "-O0", str(folder / "driver.cpp"), "-o", str(program)]
    subprocess.run(command, check=True)
    told = subprocess.run([program], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()


@pto.kernel(grid="cdiv(rows, 16)", x="f16[rows, 64]", y="f16[64, 64]", out="f32[rows, 64]")
def crossing(x: Any, y: Any, out: Any) -> None:
    rows = x.shape[0]
    first = pto.program_id(0) * 16
    here = pto.ds(first, 16, valid=rows - first)
    pto.store(out[here, :], pto.exp(pto.load(x[here, :]) @ pto.load(y[:, :])))


CLUSTERS = (
    DRIVER.partition("template")[0]
    + """
int main()
{
    ChipTensor tensors[3] = {tensor(DataType::FLOAT16, {48, 64}), tensor(DataType::FLOAT16, {64, 64}),
                             tensor(DataType::FLOAT32, {48, 64})};
    for (int32_t n : {1, 3, 24, 48, 0}) {
        clusters = n;
        aicpu_orchestration_entry({tensors, nullptr});
    }
}
"""
)


def test_a_launch_has_a_block_and_a_ring_for_each_cluster_of_the_run(tmp_path: Path) -> None:
    """As many as the runtime says, fewer or more than the three work items; without any it ends."""
    kept = ("workspace", "blocks", "submitted", "fatal")
    told = [x for x in launches(tmp_path, crossing, CLUSTERS) if x.startswith(kept)]
    (fifo,) = schedule(crossing.trace()).kernel.fifos
    ring = f"{fifo.depth} 16 64"
    for n in (1, 3, 24, 48):
        assert told[:3] == [f"workspace {n} {ring}", f"blocks {n}", "submitted 0 1 1"]
        del told[:3]
    assert told == ["fatal 5: the runtime has no cluster for a launch"]


def test_a_text_of_the_user_is_a_text_of_cpp() -> None:
    assert quoted('a "b" \\ é?\n') == '"a \\042b\\042 \\134 \\303\\251\\077\\012"'
