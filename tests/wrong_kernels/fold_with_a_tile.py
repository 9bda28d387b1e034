"""A step of a fold loads a tile."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    total = pto.zeros((16, 128))

    def step(i, s):
        tile = pto.load(x[i, :, :])
        return s + lens[i]

    n = pto.fold(b, step, 0)
    pto.store(out[b, :, :], total * n)
