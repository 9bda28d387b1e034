"""One region as a list."""

import pto


@pto.kernel(grid="1", x="bf16[64, 64]", out="f32[64, 64]")
def kernel(x, out):
    pto.store(out[:, :], pto.load(x[:, :]) @ pto.load([x[:, :]]))
