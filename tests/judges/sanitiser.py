"""What JupyterLab leaves of the HTML of a notebook that is not trusted.

In: HTML.  Out: the elements that stay, each with the attributes and styles that stay, and the text.
A part of the lists of @jupyterlab/apputils (packages/apputils/src/sanitizer.ts), 4.x: whatever is on
these stays there, too; an element that is not is taken away, its text stays.
"""

from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from xml.etree import ElementTree

TAGS = set(
    "b br code div em h3 h4 i img li ol p pre small span strong table tbody td th tr ul".split()
)
ANYWHERE = {"class", "style", "title"}
ATTRIBUTES = {"img": {"alt", "height", "src", "width"}, "td": {"align"}, "th": {"align"}}
LENGTH, NEVER = r"(\d+(\.\d+)?(px|em)|0)", r"(?!)"
STYLES = {
    "width": rf"{LENGTH}|\d+%|auto",
    "max-width": rf"{LENGTH}|\d+%|none|auto",
    "min-width": rf"{LENGTH}|\d+%|auto",
    "text-align": "left|right|center|justify",
    "overflow-x": "visible|hidden|scroll|auto",
}
"""Of each property, values that its pattern lets through."""


class Page(HTMLParser):
    """What stays of a page: ``kept`` elements, ``text``; and what was ``lost``."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.kept: list[tuple[str, dict[str, str]]] = []
        self.lost: list[str] = []
        self.open: list[str] = []
        self.text: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.lost.append(tag)
        kept = {}
        for name, value in attrs:
            if name not in ANYWHERE | ATTRIBUTES.get(tag, set()):
                self.lost.append(f"{tag} {name}")
            kept[name] = value or ""
        for style in filter(None, kept.get("style", "").split(";")):
            name, _, value = style.partition(":")
            if not re.fullmatch(STYLES.get(name.strip(), NEVER), value.strip()):
                self.lost.append(f"{tag} style {style}")
        self.kept.append((tag, kept))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """HTML knows no empty elements but its own: <pre/> stays open."""
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data))

    def said(self, tag: str) -> list[str]:
        """The texts inside of elements of one kind."""
        return [text for where, text in self.text if where == tag]

    def sources(self) -> list[str]:
        """Of the images, in order."""
        return [attributes["src"] for tag, attributes in self.kept if tag == "img"]


HEAD = "data:image/svg+xml;base64,"


def decoded(page: Page) -> list[str]:
    """The SVG of every image, well-formed, with a size of its own."""
    found = [b64decode(s.removeprefix(HEAD), validate=True).decode() for s in page.sources()]
    for text in found:
        root = ElementTree.fromstring(text)
        assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    return found


def sanitised(html: str) -> Page:
    """The page, of which nothing may be lost and nothing left open."""
    page = Page(html)
    assert not page.lost and not page.open, (page.lost, page.open)
    return page
