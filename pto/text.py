"""The text form of a program: ``parse(print_kernel(k)) == k``, traced or scheduled.

The grammar stands in docs/language.md; one printer (``pto/printer.py``) and one parser
(``pto/lexer.py``, ``pto/parser.py``) serve all of it.
"""

from __future__ import annotations

from pto.arithmetic import BINARY
from pto.lexer import PRECEDENCE, Line, logical_lines, tokens_of
from pto.parser import Parser, parse
from pto.printer import WIDTH, expr, named, operand, print_kernel, statement

__all__ = [
    "BINARY",
    "PRECEDENCE",
    "WIDTH",
    "Line",
    "Parser",
    "expr",
    "logical_lines",
    "named",
    "operand",
    "parse",
    "print_kernel",
    "statement",
    "tokens_of",
]
