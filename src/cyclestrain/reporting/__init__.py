"""A result as one page that anyone can open: the maps, how far to trust them, and everything that was decided.

In comes a result and, where it can be read, its scan; out comes one self-contained HTML file. Nothing is computed here
but summaries: figures come from `cyclestrain.figures`, fits of single patterns from `cyclestrain.result`.
"""

from cyclestrain.reporting.page import report_page

__all__ = ["report_page"]
