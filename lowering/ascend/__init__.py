"""A scheduled kernel as Ascend C++ that a person can read: what ``pto emit`` writes.

``source`` lays out the file; ``blocks`` writes loops, branches and order, ``flat`` the flat loops,
``rows`` one op a row, ``text`` the spellings of types, tiles and slots; ``names`` chooses the C++ names
in the end, ``functions`` has the small functions; ``orchestration`` is the host side.  What it may call
is docs/machine.md 12 to 15.
"""

from lowering.ascend.source import emit

__all__ = ["emit"]
