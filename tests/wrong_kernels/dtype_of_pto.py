"""An element type as a name of the module."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="bf16[rows, 128]", out="f32[rows, 128]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    pto.store(out[here, :], pto.load(x[here, :]).astype(pto.f32))
