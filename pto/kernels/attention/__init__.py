"""Attention: one token of many sequences over caches in pages, prompts, parts of long contexts."""

from __future__ import annotations

from pto.kernels.attention.latent import mla_decode
from pto.kernels.attention.packed import packed_prefill
from pto.kernels.attention.paged import paged_decode
from pto.kernels.attention.prefill import causal_prefill
from pto.kernels.attention.split import combine_parts, split_decode

KERNELS = (paged_decode, causal_prefill, packed_prefill, mla_decode, split_decode, combine_parts)
