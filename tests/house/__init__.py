"""Tests of the code as a text: imports, shared rules, changed tokens, the distribution."""
