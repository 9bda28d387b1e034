"""The elements of a self-contained SVG; the pictures and texts that a notebook shows.

In: boxes, lines, words.  Out: dark text on white; a ``Picture`` with the whole drawing.
Invariants: the same drawing is the same bytes; a picture shows before its notebook is trusted.
Non-goals: what is drawn.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from lowering.files import write_all

INK, GREY = "#1f2933", "#7b8794"
SANS = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
MONO = "Menlo, Consolas, 'DejaVu Sans Mono', monospace"
HALO = {"paint_order": "stroke", "stroke": "#ffffff", "stroke_width": 3}
"""Of words on lines."""


def element(name: str, content: str = "", /, **attributes: object) -> str:
    """An element; numbers with one decimal, so that the same drawing is the same text."""
    said = "".join(f' {k.replace("_", "-")}="{_value(v)}"' for k, v in attributes.items())
    return f"<{name}{said}>{content}</{name}>" if content else f"<{name}{said}/>"


def _value(v: object) -> str:
    return f"{v:.1f}".removesuffix(".0") if isinstance(v, float) else escape(str(v))


def preformatted(text: str) -> str:
    """Text as it is: its columns stay below each other.

    JupyterLab shows a bare <pre> in the font of what is around it, but <code> in its own.
    """
    return element("pre", element("code", escape(text)))


def label(x: float, y: float, text: str, size: float, fill: str, /, **more: object) -> str:
    """A line of text from x on, with its baseline at y."""
    return element("text", escape(text), x=x, y=y, font_size=size, fill=fill, **more)


def document(width: int, height: int, parts: Iterable[str]) -> str:
    """The whole file, on white."""
    white = element("rect", width=width, height=height, fill="#ffffff")
    return element(
        "svg",
        "\n" + "\n".join([white, *parts]) + "\n",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        style="max-width:100%;height:auto",
        font_family=SANS,
    )


class Text(str):
    """Text that a prompt and a notebook show as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return preformatted(self)


LEAST_SCALE = 0.75
"""Smaller than this the words in a picture are hard to read: a narrow page scrolls instead."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing to show and to keep: the text of an SVG, and a title for who does not see it."""

    svg: str = field(repr=False)
    title: str

    def _repr_html_(self) -> str:
        """What a notebook shows: an image of the SVG in the page itself.

        Until a notebook is trusted, JupyterLab takes <svg> elements out of its HTML and shows no
        output of type image/svg+xml, but keeps <img> with any source, and the styles used here.
        """
        found = re.search(r' width="(\d+)"', self.svg)
        width = int(found[1]) if found else 0
        least = round(LEAST_SCALE * width)
        image = element(
            "img",
            src=f"data:image/svg+xml;base64,{b64encode(self.svg.encode()).decode()}",
            alt=self.title,
            style=f"width:100%;max-width:{width}px;min-width:{least}px",
        )
        return element("div", image, style="overflow-x:auto")

    def save(self, path: str | Path) -> None:
        """Writes the SVG to a file; there the pointer shows what every box is.

        Raises:
            InputError: when a file of another kind is in the way.
            OSError: when the file cannot be written.
        """
        write_all({Path(path): self.svg.encode()})
