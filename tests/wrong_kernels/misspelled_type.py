"""A type for a parameter that does not exist."""

import pto


@pto.kernel(
    grid="cdiv(rows, 16)", query="f32[rows, 128]", outt="f32[rows, 128]", static=dict(out=1)
)
def kernel(query, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    pto.store(out[here, :], pto.load(query[here, :]))
