"""Figure of a training: every term of the loss, the held-out deviance and the masks against the epoch."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cyclestrain.figures.page import MUTED, NOTE_SIZE, PAGE_WIDTH, TITLE_SIZE, Box, Page
from cyclestrain.figures.panels import MARGIN, panel_title

__all__ = ["training_figure"]

COLUMNS = 3
"""Number of panels in a row."""
TOP, LABELS, TITLE_BAND, ROW_GAP, AXIS_BAND = 12.0, 9.0, 5.0, 3.0, 8.0
"""Sizes and gaps of the layout, millimetres."""
PANEL_HEIGHT = 27.0
LINE, KEPT = "#23426b", "#d1495b"
LEAST_RANGE = 5e-4
"""Least range of an axis relative to its values, so that a flat curve looks flat."""


def _draw_curve(axes: Axes, curve: xr.DataArray, kept: int) -> None:
    epoch, values = curve["epoch"].values, np.asarray(curve.values, float)
    axes.axvline(kept, color=KEPT, lw=0.8, ls=(0, (3, 2)), zorder=1)
    axes.plot(epoch, values, color=LINE, lw=0.9, marker="o", ms=2.2, zorder=2, clip_on=False)
    axes.set_xlim(0.5, len(epoch) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    if not values.any():
        axes.set_yticks([0])
        axes.set_ylim(-0.1, 1)
        axes.annotate("zero throughout", (0.5, 0.5), xycoords="axes fraction", ha="center", size=NOTE_SIZE, color=MUTED)
        return
    middle = 0.5 * (values.max() + values.min())
    half = max(0.55 * np.ptp(values), LEAST_RANGE * abs(middle))
    axes.set_ylim(middle - half, middle + half)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(_plain)


def _plain(value: float, _: float) -> str:
    """Label of a tick: no offset and no factor above the axes."""
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")


def _title(curve: xr.DataArray) -> str:
    unit = curve.attrs["units"]
    return str(curve.attrs["long_name"]) + ("" if unit == "1" else f" ({unit})")


def training_figure(training: xr.Dataset) -> Figure:
    """Draw one panel for each value that is logged; the epoch whose weights were kept is marked.

    Parameters
    ----------
    training
        The group ``training`` of a result, or `cyclestrain.network.log.TrainingLog.dataset` of a model.
    """
    names = [str(name) for name in training.data_vars]
    rows = -(-len(names) // COLUMNS)
    width = (PAGE_WIDTH - 2 * MARGIN) / COLUMNS
    height = TITLE_BAND + PANEL_HEIGHT + ROW_GAP
    page = Page(TOP + rows * height + AXIS_BAND - ROW_GAP)
    kept = int(training.attrs["kept"])
    page.text(MARGIN, 3.5, "Training", size=TITLE_SIZE, weight="bold")
    description = f"Loss terms are means over an epoch. Dashed: epoch {kept}, whose weights were kept."
    page.text(MARGIN, 7.6, description, size=NOTE_SIZE, color=MUTED)
    for index, name in enumerate(names):
        row, column = divmod(index, COLUMNS)
        box = Box(MARGIN + column * width + LABELS, TOP + row * height + TITLE_BAND, width - LABELS - 2, PANEL_HEIGHT)
        panel_title(page, box, index, _title(training[name]))
        axes = page.axes(box)
        axes.set_label(name)
        _draw_curve(axes, training[name], kept)
        if index + COLUMNS >= len(names):
            axes.set_xlabel("epoch", size=NOTE_SIZE, labelpad=1)
        else:
            axes.set_xticklabels([])
    return page.figure
