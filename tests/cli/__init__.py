"""Tests of ``lowering/cli``: commands, right and wrong, and how they end."""
