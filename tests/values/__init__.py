"""Tests of ``lowering/values``: what a schedule stores, on symbols."""
