"""The C++ names of everything that an emitted text declares, chosen when the text is known.

In: wishes (names of the program, names made from them), and lines that were written with the
placeholder of each.  Out: the lines with the names.  Invariant: two placeholders of a ``Names`` get
two names, and none of them is a word of C++ or of the device's compiler, looks like a macro, is
reserved, or is a word that the lines say themselves, as what they call: so nothing can be hidden.
A name that is none of these stays what it was; the names of the program choose first.
Non-goals: which text a name stands in (a scope of C++ is one function here).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Set
from itertools import chain, count

KEYWORDS = frozenset(
    """alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue contract_assert decltype default delete do double dynamic_cast else enum
    explicit export extern false float for friend goto if import inline int long module mutable
    namespace new noexcept not not_eq nullptr operator or or_eq private protected public register
    reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast
    struct switch template this thread_local throw true try typedef typeid typename typeof union
    unsigned using virtual void volatile wchar_t while xor xor_eq""".split()
)
"""The words of C++ up to C++26, also those that only the GNU dialect or a line of a module has."""

DEVICE_WORDS = frozenset(("half", "bfloat16_t", "block_idx", "block_num"))
"""Types and variables that the compiler of the device has built in."""

MACROS = frozenset(
    """assert errno stdin stdout stderr offsetof setjmp va_arg va_copy va_end va_start fpclassify
    isfinite isgreater isgreaterequal isinf isless islessequal islessgreater isnan isnormal
    isunordered signbit math_errhandling complex imaginary noreturn unreachable alloca major minor
    makedev linux unix i386 arm I""".split()
)
"""Macros of the C and POSIX headers and of compilers that do not look like macros."""

FORBIDDEN = KEYWORDS | DEVICE_WORDS | MACROS

PLACEHOLDER = re.compile("«[^»]*»")
_WORD = re.compile(r"(?<![.\w])[A-Za-z_]\w*")
_TEXT = re.compile(r'"[^"\n]*"')
_COMMENT = re.compile(r"(?:^|\s)//.*$")
_OF_LIBRARY = re.compile("(T[A-Z].*)?Pipe|PTO.*")
_NO_WORD = re.compile(r"(?:[^\w]|_)+", re.ASCII)


def code_of(lines: Iterable[str]) -> str:
    """The text of lines without their comments."""
    return "\n".join(_COMMENT.sub("", line) if "//" in line else line for line in lines)


def said(lines: Iterable[str]) -> frozenset[str]:
    """The words that lines say themselves, texts and members of objects left out."""
    return frozenset(_WORD.findall(PLACEHOLDER.sub(" ", _TEXT.sub(" ", code_of(lines)))))


def mentioned(text: str) -> frozenset[str]:
    """The placeholders in a text."""
    return frozenset(PLACEHOLDER.findall(text))


def is_forbidden(name: str) -> bool:
    """Whether a name means something to some compiler, or looks like a macro (``CUBE_KERNEL``)."""
    is_macro = name.isupper() and not name.endswith("_") and sum(map(str.isalpha, name)) > 1
    is_of_library = _OF_LIBRARY.fullmatch(name) is not None  # also in macros
    return is_macro or is_of_library or name in FORBIDDEN


def plain(wish: str) -> str:
    """A wish as an identifier that is not reserved: other characters become one underscore, none
    stands in front, no two side by side."""
    name = _NO_WORD.sub("_", wish).lstrip("_")
    return name if name and not name[0].isdigit() else f"x{name}"


def chosen(wish: str, words: Set[str], taken: Container[str]) -> str:
    """``wish``, or ``wish_2``, ``wish_3``, ... if it is taken; ``wish_``, ``wish_2_`` for one of
    ``words`` and for what is forbidden (``M_PI_`` is not, ``M_PI_2`` is)."""
    first = plain(wish)
    stem = first.rstrip("_")
    if first in words or is_forbidden(first):
        first = f"{stem}_"
    tail = "_" if first == f"{stem}_" else ""
    others = (f"{stem}_{n}{tail}" for n in count(2))
    return next(n for n in chain([first], others) if n not in words and n not in taken)


class Names:
    """The names of one text; ``scope`` tells its placeholders from those of another."""

    def __init__(self, scope: str = "") -> None:
        self.scope = scope
        self._program: dict[tuple[str, str], str] = {}
        self._wishes: dict[str, str] = {}
        self._own: set[str] = set()

    def of(self, kind: str, name: str, wish: str = "") -> str:
        """The placeholder of what the program calls ``name``; the same each time."""
        key = kind, name
        if key not in self._program:
            self._program[key] = self._placeholder(wish or name)
        return self._program[key]

    def fresh(self, wish: str) -> str:
        """The placeholder of something that only the text has."""
        found = self._placeholder(wish)
        self._own.add(found)
        return found

    def _placeholder(self, wish: str) -> str:
        found = f"«{self.scope}{len(self._wishes)}»"
        self._wishes[found] = wish
        return found

    def chosen(self, text: str, words: Set[str]) -> dict[str, str]:
        """Placeholder -> name.  First those of the program that can stay as they are."""
        used, wishes = mentioned(text), self._wishes
        alone = {p: chosen(wish, words, ()) for p, wish in wishes.items() if p in used}
        names: dict[str, str] = {}
        taken: set[str] = set()
        for p in sorted(alone, key=lambda p: (p in self._own, alone[p] != wishes[p])):
            names[p] = chosen(wishes[p], words, taken) if alone[p] in taken else alone[p]
            taken.add(names[p])
        return names

    def spelled(self, lines: list[str], words: Set[str]) -> list[str]:
        """The lines, which say these ``words``, with a name for each placeholder of this object; those
        of others stay."""
        text = "\n".join(lines)
        names = self.chosen(text, words)
        return PLACEHOLDER.sub(lambda m: names.get(m[0], m[0]), text).split("\n")
