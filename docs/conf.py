"""The site: what Sphinx is told. ``make docs`` builds it into build/docs.

The source folder is that of the repository, so a link from page to page is the same on the site, in the
repository and between docs/ and notebooks/. Notebooks are shown with their stored outputs; that these are
today's is a test's business (tests/docs/test_notebook.py), and so is what the pages print and run.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

project = "Tilewright"
copyright = "the authors of Tilewright"
root_doc = "docs/index"
include_patterns = ["docs/**.md", "notebooks/*.ipynb"]
exclude_patterns = [".*", "build", "**/.ipynb_checkpoints"]

extensions = ["myst_nb"]
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
myst_heading_anchors = 4
myst_links_external_new_tab = True
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = "Tilewright"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_last_updated_fmt = None
pygments_style = "friendly"
highlight_language = "none"

LOADED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["'](?:https?:)?//[^"']*""")
"""What a browser would fetch from elsewhere."""


def without_network(app: Sphinx, error: Exception | None) -> None:
    """Refuse pages that need a network to be read."""
    for page in sorted(Path(app.outdir).rglob("*.html")) if error is None else ():
        fetched = LOADED.search(page.read_text(encoding="utf-8"))
        if fetched:
            raise SphinxError(f"{page.name} loads from the network: {fetched[0]}")


def index_at_the_top(app: Sphinx, error: Exception | None) -> None:
    """The first page once more, where a browser looks for it: its links start from its folder."""
    if error is None:
        page = Path(app.outdir, f"{root_doc}.html").read_text(encoding="utf-8")
        page = page.replace("<head>", '<head><base href="docs/">', 1)
        page = page.replace('href="#', 'href="index.html#')
        Path(app.outdir, "index.html").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.connect("build-finished", index_at_the_top)
    app.connect("build-finished", without_network)
