"""Tests of ``lowering/schedule``: passes, options, and the search for them."""
