"""A loop carries a Python number."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]

    def body(i, count):
        return count + 1

    count = pto.fori_loop(0, n, body, 0)
    pto.store(out[b, :, :], pto.load(x[b, :, :]) * count)
