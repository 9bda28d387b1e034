"""What other work items store is read back."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, 128]", out="f32[rows, 128]")
def kernel(x, out):
    first = pto.program_id(0) * 16
    pto.store(out[pto.ds(first, 16), :], pto.load(x[pto.ds(first, 16), :]) * 2.0)
    again = pto.load(out[pto.ds(first + 8, 16), :])
