"""Figure of a line scan: profiles with their uncertainty bands instead of maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cyclestrain.display.fields import Map, reference_mask, scan_step
from cyclestrain.figures.maps import BLANK, HATCH, draw_histogram
from cyclestrain.figures.page import INK, LINE_WIDTH, MUTED, NOTE_SIZE, Box, Page
from cyclestrain.figures.panels import MARGIN, NARROW, Panel, draw_header, panel_title

__all__ = ["is_line", "profile_page", "runs"]

SHORTEST_LINE = 5
"""Least number of positions of a line scan."""
TOP, AXIS_BAND, PROFILE_HEIGHT, GAP = 20.0, 9.0, 22.0, 7.0
"""Sizes and gaps of the layout, millimetres."""
LEFT, BESIDE = MARGIN + 5.0, 29.0
"""What is left of the profiles, and right of them for the histograms, millimetres."""
REFERENCE = "#dbe7d5"
"""Colour of the reference region."""


def is_line(shape: tuple[int, ...]) -> bool:
    """Whether a scan is one row or one column of at least five positions."""
    return min(shape) == 1 and max(shape) >= SHORTEST_LINE


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and stop (excluded) of every run of true values in a one-dimensional mask."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _draw_spans(axes: Axes, step: float, blank: NDArray[np.bool_], reference: NDArray[np.bool_]) -> None:
    for start, stop in runs(reference):
        axes.axvspan((start - 0.5) * step, (stop - 0.5) * step, facecolor=REFERENCE, lw=0, zorder=0)
    for start, stop in runs(blank):
        axes.axvspan(
            (start - 0.5) * step, (stop - 0.5) * step, facecolor=BLANK, edgecolor=HATCH, hatch="//////", lw=0, zorder=0
        )


def _draw_profile(axes: Axes, panel: Panel, sigma: NDArray[np.float64] | None, step: float) -> None:
    values = panel.values.filled(np.nan).ravel()
    position = np.arange(values.size) * step
    if sigma is not None:
        axes.fill_between(position, values - sigma, values + sigma, color="#b9c9dd", lw=0, zorder=1)
    line = "" if panel.scale.cyclic else "-"
    axes.plot(position, values, line, color="#23426b", lw=0.8, marker=".", ms=2.5, zorder=2)
    axes.axhline(0, color=INK, lw=LINE_WIDTH, ls=(0, (2, 2)), zorder=3)
    axes.set(xlim=(-0.5 * step, (values.size - 0.5) * step), ylim=(panel.scale.low, panel.scale.high))


def profile_page(
    ds: xr.Dataset, panels: Sequence[Panel], bands: Sequence[Map | None], description: str, page_width: float
) -> Page:
    """Draw profiles along a line scan; bands are one stated standard deviation, green marks the reference.

    Parameters
    ----------
    ds
        A result of one row or one column.
    panels
        What is drawn under each other.
    bands
        Uncertainty of each, in its unit; None for no band.
    description
        Text under the title.
    page_width
        Width of the page, millimetres.
    """
    page = Page(TOP + len(panels) * PROFILE_HEIGHT + (len(panels) - 1) * GAP + AXIS_BAND, page_width)
    draw_header(page, ds, description.replace("outlined", "green"))
    step = scan_step(ds)
    reference = reference_mask(ds).ravel()
    box = Box(LEFT, TOP, page_width - LEFT - BESIDE, PROFILE_HEIGHT)
    for index, (panel, band) in enumerate(zip(panels, bands, strict=True)):
        axes = page.axes(box)
        axes.set_label(panel.title)
        panel_title(page, box, index, panel.title)
        note = panel.note.replace("\n", ", ")
        right = box.right if page_width >= NARROW else page_width - MARGIN
        page.text(right, box.top - 1, note, size=NOTE_SIZE, color=MUTED, ha="right", va="baseline")
        _draw_spans(axes, step.value, np.ma.getmaskarray(panel.values).ravel(), reference)
        _draw_profile(axes, panel, None if band is None else band.filled(np.nan).ravel(), step.value)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 4, 5, 10]))
        side = page.axes(box.beside(2.0, BESIDE - MARGIN - 2.0))
        draw_histogram(side, panel.values, panel.scale, upright=True)
        if index < len(panels) - 1:
            axes.set_xticklabels([])
        else:
            unit = "" if step.unit == "positions" else f" ({step.unit})"
            axes.set_xlabel(f"position{unit}", size=NOTE_SIZE, labelpad=1)
        box = box.below(GAP, PROFILE_HEIGHT)
    return page
