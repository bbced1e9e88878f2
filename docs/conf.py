"""The documentation site: ``make docs`` builds it into build/docs, without network."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from lrn import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import api_pages  # noqa: E402

GENERATED = HERE / "_generated"

project, author, release = "lrn", "the lrn project", __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "docstrings"]
html_theme, html_title = "furo", f"lrn {release}"
exclude_patterns: list[str] = []

myst_heading_anchors = 4
myst_links_external_new_tab = False
nb_execution_mode = "off"  # the tests run the notebooks
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # no page loads a script from elsewhere

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "ignore-module-all": True}
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

suppress_warnings = ["ref.python"]  # a signature's type is one of several classes with its name


def setup(app) -> None:
    """Links to files outside of this folder lead to the copies below."""
    app.connect("source-read", _relink)


def _relink(app, name: str, source: list[str]) -> None:
    source[0] = source[0].replace("](../notebooks/", "](/_generated/notebooks/")
    source[0] = source[0].replace("](../CONTRIBUTING.md)", "](/_generated/CONTRIBUTING.md)")
    if name.startswith("_generated/"):
        source[0] = source[0].replace("](docs/", "](/").replace("](../docs/", "](/")


# The sources of some pages lie elsewhere, or are made from the code.
shutil.rmtree(GENERATED, ignore_errors=True)
api_pages.write(GENERATED / "api")
shutil.copy(HERE.parent / "CONTRIBUTING.md", GENERATED)
shutil.copytree(HERE.parent / "notebooks", GENERATED / "notebooks", ignore=shutil.ignore_patterns(".*"))
