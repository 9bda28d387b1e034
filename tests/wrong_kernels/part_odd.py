"""A part that begins inside of 32 bytes."""

import pto


@pto.kernel(grid="1", x="bf16[64, 64]", out="f32[64, 64]")
def kernel(x, out):
    tile = pto.load(x[:, :])
    pto.store(out[:, :], tile[:, 8:40] @ tile[8:40, :])
