"""Tests of ``pto``: the language, its text form, and what is refused."""
