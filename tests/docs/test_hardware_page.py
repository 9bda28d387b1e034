"""docs/hardware.md: a picture and all words of every target, drawn and told as its table says."""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from xml.etree import ElementTree

from lowering.chip import svg
from pto.targets import GM, TARGETS
from pto.types import LAYOUTS
from tests.conftest import Golden
from tests.docs.pages import DOCS, rows

PAGE = DOCS / "hardware.md"
TEXT = PAGE.read_text()
WORDS = """
    cube vector lane record drain credit lookahead prefetch slot ring FIFO event shift barrier
    """.split()
PHRASES = ("flat loop", "work item", "hardware block", "trip count")


def test_pictures(golden: Golden) -> None:
    for name, target in TARGETS.items():
        golden(DOCS / f"{name}.svg", svg(target))
        assert f"]({name}.svg)" in TEXT


def test_the_picture_is_that_of_the_table() -> None:
    """What the table does not have is not drawn, and what it has is."""
    target = TARGETS["a2a3"]
    without = {name: pipe for name, pipe in target.pipes.items() if name != "FIX"}
    for pipes in (target.pipes, MappingProxyType(without)):
        drawing = ElementTree.fromstring(svg(replace(target, pipes=pipes)))
        texts = [e.text or "" for e in drawing.iter("{http://www.w3.org/2000/svg}text")]
        assert {p.name for p in pipes.values() if p.moves} <= set(texts)
        assert ("FIX" in texts) == ("FIX" in pipes)
        assert {s.upper() for s in target.spaces} < set(texts)


def test_every_word_is_told_once() -> None:
    told = [line.split("|")[1].strip() for line in TEXT.splitlines() if line.startswith("| ")]
    told = [word for word in told if word != "word"]
    assert len(told) == len(set(told))
    assert {*WORDS, *PHRASES, *(layout.upper() for layout in LAYOUTS)} <= set(told)
    for target in TARGETS.values():
        assert {*target.pipes, GM.upper(), *(s.upper() for s in target.spaces)} <= set(told)


def test_facts_are_those_of_the_table() -> None:
    target = TARGETS["a2a3"]
    for word, of, size, _ in rows(PAGE, "Memories"):
        if word.lower() in target.spaces:
            space = target.spaces[word.lower()]
            assert (of, size) == (space.core, f"{space.capacity_bytes / 1024:g} KiB")
    for word, cores, _ in rows(PAGE, "Pipes"):
        found = target.pipes[word].cores
        assert cores == ("both" if len(found) == 2 else found[0])
    for word, _, where in rows(PAGE, "Layouts"):
        for space in target.spaces.values():
            assert (word.lower() in space.layouts) == (space.name.upper() in where), (word, where)
    assert f"{target.block_num} on a whole chip" in TEXT


def test_places_lead_to_their_sections() -> None:
    """A rule leads to section 0, any other number to the heading that begins with it."""
    cited = re.findall(r"\[(R?[\d.]+)\]\(machine\.md#([\w-]+)\)", TEXT)
    assert len(cited) > 10
    for place, anchor in cited:
        section = "0" if place[0] == "R" else place.replace(".", "")
        assert anchor.startswith(f"{section}-"), place
