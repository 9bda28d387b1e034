"""What notebooks show before they are trusted."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lowering.simulate import gantt, memory_map, simulate
from lowering.svg import Picture, document, label
from pto.errors import InputError
from pto.kernels import SHIPPED
from tests import ROOT
from tests.judges.sanitiser import Page, decoded, sanitised
from tests.simulate.timed import scheduled

SMALL = Picture(
    document(300, 40, [label(10, 20, "a < b & 'ü'", 12, "#000000")]), "two <tiles> & 'more'"
)


def test_a_picture_is_an_image_that_stays() -> None:
    page = sanitised(SMALL._repr_html_())
    assert decoded(page) == [SMALL.svg]
    (image,) = (attributes for tag, attributes in page.kept if tag == "img")
    assert image["alt"] == SMALL.title
    assert image["style"] == "width:100%;max-width:300px;min-width:225px"


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


def test_a_simulation_is_a_card_over_its_picture() -> None:
    t = simulate(scheduled("paged_attention", "best"), [12])
    page = sanitised(t._repr_html_())
    assert decoded(page) == [gantt.svg(t)]
    assert page.said("th") == ["paged_attention", "makespan", "bound"]
    _, makespan, bound = page.said("td")
    assert makespan.startswith(f"{t.makespan:,} cycles, ")
    assert bound.startswith(
        f"{t.bound:,} cycles of cube MTE2, the busiest pipe; makespan / bound = 1."
    )
    assert decoded(sanitised(memory_map.picture(t)._repr_html_())) == [memory_map.svg(t)]


def test_pictures_and_report_of_a_simulation_are_its_own() -> None:
    t = SHIPPED["paged_attention"].lower().simulate(12, latency=500)
    assert (t.gantt, t.memory) == (gantt.picture(t), memory_map.picture(t))
    assert sanitised(t.report()._repr_html_()).said("code") == [str(t.report())]
    assert f"makespan {t.makespan:>12,} cycles" in t.report()


def test_a_simulation_is_short_in_a_terminal() -> None:
    from IPython.lib.pretty import pretty

    t = simulate(scheduled("paged_attention", "best"), [12])
    assert pretty(t) == "\n".join(f"{name:<9} {text}" for name, text in t.card.items())


def test_a_lowered_kernel_is_its_verdict_over_its_time() -> None:
    lowered = SHIPPED["rmsnorm"].lower()
    page = sanitised(lowered._repr_html_())
    assert page.said("code") == [lowered.proof.report()] and len(page.sources()) == 1
    text = lowered.show()
    assert sanitised(text._repr_html_()).said("code") == [str(text)]


SEEN = {"svg": {"Picture", "Text"}, "simulate/timing": {"Timing"}, "lowered": {"Lowered"}}
SEEN["hazards/proof"] = {"Proof"}  # in tests/hazards/test_picture.py


def test_every_display_is_looked_at() -> None:
    found: dict[str, set[str]] = {}
    for path in (ROOT / "lowering").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                if any(getattr(x, "name", "").startswith("_repr_html") for x in node.body):
                    name = path.relative_to(ROOT / "lowering").with_suffix("").as_posix()
                    found.setdefault(name, set()).add(node.name)
    assert found == SEEN
