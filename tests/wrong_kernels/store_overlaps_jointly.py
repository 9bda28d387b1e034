"""Each axis moves far enough, both together do not."""

import pto


@pto.kernel(grid="heads, 4", x="f32[heads, 64, 128]", out="f32[total, 128]")
def kernel(x, out):
    head, part = pto.program_id(0), pto.program_id(1)
    tile = pto.load(x[head, pto.ds(part * 16, 16), :])
    pto.store(out[pto.ds(head * 32 + part * 16, 16), :], tile)
