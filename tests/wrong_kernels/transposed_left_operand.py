"""A transposed left operand has the rows of the tile as its inner size."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", a="bf16[rows, 64]", b="bf16[64, 128]", out="f32[rows, 128]")
def kernel(a, b, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    left, right = pto.load(a[here, :]), pto.load(b[:, :])
    pto.store(out[here, :], left.T @ right)
