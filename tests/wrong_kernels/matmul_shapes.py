"""Inner sizes differ."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", a="bf16[rows, 64]", b="bf16[64, 128]", out="f32[rows, 128]")
def kernel(a, b, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    left, right = pto.load(a[here, :]), pto.load(b[0:32, :])
    product = left @ right
    pto.store(out[here, :], product)
