"""A bf16 tile is stored to an f32 tensor."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", a="bf16[rows, 64]", b="bf16[64, 128]", out="f32[rows, 128]")
def kernel(a, b, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    pto.store(out[here, 0:64], pto.load(a[here, :]))
