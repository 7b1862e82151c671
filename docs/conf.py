"""The documentation site: `make docs`. Every code cell of the tutorials runs; a warning is an error."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst
from sphinx_gallery.sorting import ExplicitOrder

import cyclestrain as cs

TUTORIALS = (
    "first_map",
    "your_own_file",
    "reference",
    "sigma_and_doubt",
    "phases_and_vacuum",
    "many_scans",
    "thick_crystals",
    "inside_the_network",
    "py4dstem",
    "hyperspy",
)

drawn: list[Any] = []
"""Figures that are on a page already: the value of a cell stays until another cell has one."""


def scrape_shown(block: tuple[Any, ...], block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Figures that a cell ends with, as a notebook shows them: those of cyclestrain are not pyplot's."""
    shown = block_vars["example_globals"].get("___")
    if not hasattr(shown, "_repr_png_") or shown in drawn:
        return ""
    drawn.append(shown)
    path = Path(next(block_vars["image_path_iterator"]))
    path.write_bytes(shown._repr_png_())
    return figure_rst([str(path)], gallery_conf["src_dir"])


project = "cyclestrain"
author = "The cyclestrain developers"
copyright = f"{datetime.now(UTC).year}, {author}"
version = release = cs.__version__

extensions = [
    "cyclopts.ext.sphinx",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["tutorials/*", "dev/architecture.py", "dev/screenshots.py", "benchmark/precision/*.csv", "_build"]
nitpicky = False
suppress_warnings = ["config.cache"]

html_theme = "furo"
html_title = "cyclestrain"
html_static_path = ["_static"]
html_theme_options = {"source_repository": "", "navigation_with_keys": True}
html_css_files = ["site.css"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 4

autosummary_generate = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "auto_tutorials",
    "filename_pattern": r"\.py$",
    "within_subsection_order": ExplicitOrder([f"{name}.py" for name in TUTORIALS]),
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "capture_repr": ("_repr_html_",),
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "download_all_examples": True,
    "image_scrapers": ("matplotlib", scrape_shown),
    "matplotlib_animations": False,
    "min_reported_time": 1,
}
