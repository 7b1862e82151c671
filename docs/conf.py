"""The documentation site: `make docs`. Every code cell of the tutorials runs; a warning is an error."""

from __future__ import annotations

from datetime import UTC, datetime

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
    "py4dstem",
    "hyperspy",
)

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
exclude_patterns = ["tutorials/*", "dev/architecture.py", "benchmark/precision/*.csv", "_build"]
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
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "download_all_examples": True,
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
    "min_reported_time": 1,
}
