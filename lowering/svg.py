"""The elements of a self-contained SVG: dark text on white, the same bytes for the same drawing."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

INK, GREY = "#1f2933", "#7b8794"
SANS = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
MONO = "Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def element(name: str, content: str = "", /, **attributes: object) -> str:
    """An element; numbers with one decimal, so that the same drawing is the same text."""
    said = "".join(f' {k.replace("_", "-")}="{_value(v)}"' for k, v in attributes.items())
    return f"<{name}{said}>{content}</{name}>" if content else f"<{name}{said}/>"


def _value(v: object) -> str:
    return f"{v:.1f}".removesuffix(".0") if isinstance(v, float) else escape(str(v))


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
