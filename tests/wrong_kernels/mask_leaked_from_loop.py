"""A mask by the index of a loop, used behind it."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, 128]", out="f32[rows, 128]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    tile = pto.load(x[here, :])
    kept = []

    def step(i, total):
        kept.append(tile < i)
        return total + tile

    total = pto.fori_loop(0, 3, step, tile)
    pto.store(out[here, :], pto.where(kept[0], total, 0.0))
