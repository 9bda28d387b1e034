"""What a step of a fold reads is used behind it."""

import pto


@pto.kernel(grid="batch", x="f32[rows, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    found = []

    def step(i, s):
        found.append(lens[i])
        return s + found[-1]

    first = pto.fold(b, step, 0)
    here = pto.ds(first, 16, valid=found[-1])
    pto.store(out[b, :, :], pto.load(x[here, :]))
