"""What is done to every element between products, and the softmax of whole rows."""

from __future__ import annotations

from pto.kernels.activation.softmax import softmax_wide
from pto.kernels.activation.swiglu import swiglu, swiglu_token

KERNELS = (swiglu, swiglu_token, softmax_wide)
