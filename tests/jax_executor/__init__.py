"""Tests of ``lowering/jax_executor``."""
