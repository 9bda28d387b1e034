"""The vector unit sums columns of f32 only."""

import pto


@pto.kernel(grid="1", x="i32[32, 64]", out="i32[1, 64]")
def kernel(x, out):
    pto.store(out[:, :], pto.col_sum(pto.load(x[:, :])))
