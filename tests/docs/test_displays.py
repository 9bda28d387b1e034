"""What notebooks show before they are trusted."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lowering.svg import Picture, document, label
from pto.errors import InputError
from tests.judges.sanitiser import Page, sanitised

HEAD = "data:image/svg+xml;base64,"


def drawn(page: Page) -> list[str]:
    """The SVG of every image, well-formed, with a size of its own."""
    found = [
        b64decode(source.removeprefix(HEAD), validate=True).decode() for source in page.sources()
    ]
    for text in found:
        root = ElementTree.fromstring(text)
        assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    return found


SMALL = Picture(
    document(300, 40, [label(10, 20, "a < b & 'ü'", 12, "#000000")]), "two <tiles> & 'more'"
)


def test_a_picture_is_an_image_that_stays() -> None:
    page = sanitised(SMALL._repr_html_())
    assert drawn(page) == [SMALL.svg]
    (image,) = (attributes for tag, attributes in page.kept if tag == "img")
    assert image["alt"] == SMALL.title
    assert image["style"] == "width:100%;max-width:300px;min-width:270px"


@pytest.mark.parametrize(
    "html", ["<svg></svg>", '<p onclick="f()">x</p>', '<p style="float:up">x</p>']
)
def test_what_does_not_stay_is_seen(html: str) -> None:
    assert Page(html).lost


def test_a_picture_is_short_in_a_terminal() -> None:
    assert repr(SMALL) == "Picture(title=\"two <tiles> & 'more'\")"


def test_a_picture_is_kept_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "small.svg"
    SMALL.save(str(path))
    assert path.read_text() == SMALL.svg
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="another kind"):
        SMALL.save(tmp_path / "notes.txt")
