"""The last step of the loop reads past the end of a dimension."""

import pto


@pto.kernel(grid="4", x="f32[64, 192]", out="f32[64, 128]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 16, 16)

    def step(j, total):
        return total + pto.load(x[here, pto.ds(j * 128, 128)])

    pto.store(out[here, :], pto.fori_loop(0, 2, step, pto.zeros((16, 128))))
