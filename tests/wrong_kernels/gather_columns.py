"""Regions of different widths in one tile."""

import pto


@pto.kernel(grid="1", x="bf16[64, 64]", y="bf16[64, 32]", out="f32[64, 64]")
def kernel(x, y, out):
    both = pto.load([x[:, :], y[:, :]])
    pto.store(out[:, :], pto.load(x[:, :]) @ both[0:64])
