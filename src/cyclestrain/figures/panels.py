"""A panel (title, map, histogram, colour bar, note) and the grid of panels that suits the shape of a scan."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import shorten

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from cyclestrain.display.fields import Map, strain_axes_angle
from cyclestrain.display.ranges import ColourScale, format_number, summarise
from cyclestrain.figures.maps import draw_axes_legend, draw_colour_bar, draw_histogram, draw_map
from cyclestrain.figures.page import INK, MUTED, NOTE_SIZE, PAGE_WIDTH, TITLE_SIZE, Box, Page

__all__ = [
    "Grid",
    "Panel",
    "categorical_scale",
    "draw_header",
    "draw_legend",
    "draw_panel",
    "panel_title",
    "plan_grid",
    "spread_note",
]

MARGIN, GAP = 4.0, 5.0
"""Margin of the page and gap between columns of panels, millimetres."""
HEADER_HEIGHT = 16.0
"""Height of the header, millimetres."""
TITLE_BAND, SCALE_BAND, HISTOGRAM, BAR = 4.2, 4.8, 9.0, 2.0
"""Heights of the parts of a panel, millimetres."""
TICK_BAND, NOTE_LINE, ROW_GAP = 3.6, 2.8, 3.0
TALLEST_MAP, NARROWEST_MAP, LOWEST_MAP = 80.0, 8.0, 8.0
"""Limits of the size of a map, millimetres."""
NARROWEST_BAR = 40.0
"""Width of a colour bar whose map is narrower, where its cell is as wide, millimetres."""
LEGEND_ROWS, LEGEND_COLUMN = 5, 19.5
"""Number of names under each other in a legend, and width of its columns, millimetres."""
NO_SPREAD = 1e-6
"""Spread over median below which values are one number, but for rounding."""
NARROW = 120.0
"""Width of a page, millimetres, below which it is one column of a journal: fewer panels beside each other, no text."""
# Wider scans than this get two panels per row instead of four.
WIDE = 0.4


@dataclass(frozen=True)
class Grid:
    """Cells of equal size in rows of `columns`; maps are drawn `map_width` by `map_height`, millimetres."""

    columns: int
    rows: int
    map_width: float
    map_height: float
    note_lines: int
    page_width: float = PAGE_WIDTH

    @property
    def cell_width(self) -> float:
        """Width of a cell, millimetres."""
        return (self.page_width - 2 * MARGIN - (self.columns - 1) * GAP) / self.columns

    @property
    def cell_height(self) -> float:
        """Height of a cell with everything under its map, millimetres."""
        under = SCALE_BAND + HISTOGRAM + BAR + TICK_BAND + self.note_lines * NOTE_LINE + ROW_GAP
        return TITLE_BAND + self.map_height + under

    @property
    def page_height(self) -> float:
        """Height of the header and all rows, millimetres."""
        return HEADER_HEIGHT + self.rows * self.cell_height - ROW_GAP / 2

    def map_box(self, index: int) -> Box:
        """Place of the map of panel `index`, centred in its cell."""
        row, column = divmod(index, self.columns)
        left = MARGIN + column * (self.cell_width + GAP) + (self.cell_width - self.map_width) / 2
        return Box(left, HEADER_HEIGHT + row * self.cell_height + TITLE_BAND, self.map_width, self.map_height)


def plan_grid(
    shape: tuple[int, int], n_panels: int, *, note_lines: int, page_width: float = PAGE_WIDTH, columns: int = 4
) -> Grid:
    """Grid of panels that suits the shape of a scan; pixels are square unless the scan is extremely long.

    Parameters
    ----------
    shape
        Shape of the maps, ``(ry, rx)``.
    n_panels
        Number of panels.
    note_lines
        Lines of text under each panel.
    page_width
        Width of the page, millimetres.
    columns
        Panels beside each other, at most.
    """
    n_rows, n_columns = shape
    aspect = n_rows / n_columns
    columns = columns if aspect >= WIDE else 2
    if page_width < NARROW:
        columns = max(1, columns // 2)
    columns = min(columns, n_panels)
    width = (page_width - 2 * MARGIN - (columns - 1) * GAP) / columns
    height = width * aspect
    if height > TALLEST_MAP:
        width, height = max(TALLEST_MAP / aspect, NARROWEST_MAP), TALLEST_MAP
    return Grid(columns, -(-n_panels // columns), width, max(height, LOWEST_MAP), note_lines, page_width)


@dataclass(frozen=True)
class Panel:
    """One map with its title, colours and note."""

    title: str
    values: Map
    scale: ColourScale
    colours: Colormap
    note: str = ""
    categories: tuple[str, ...] = ()
    """Names of the values 0, 1, 2, ... of a categorical map, which then has a legend for a colour bar."""


def draw_header(page: Page, ds: xr.Dataset, description: str, drawn: str = "strain") -> None:
    """Draw the name of the scan, a description of the figure, and the axes legend.

    Parameters
    ----------
    page
        Page to draw on.
    ds
        A result.
    description
        Text under the name.
    drawn
        What is drawn in those axes.
    """
    page.text(
        MARGIN, 3.5, shorten(str(ds.attrs.get("name", "scan")), int(page.width / 2)), size=TITLE_SIZE, weight="bold"
    )
    if page.width >= NARROW:
        page.text(MARGIN, 7.6, description, size=NOTE_SIZE, color=MUTED, linespacing=1.3)
    angle = strain_axes_angle(ds)
    if angle is not None:
        draw_axes_legend(page.axes(Box(page.width - MARGIN - 13.5, 0.5, 13.5, 13.5)), angle)
    label = f"{drawn} axes:\n{ds.attrs.get('axes', 'detector')}"
    if ds.attrs.get("axes") == "crystal":
        label += f", x along ({' '.join(str(int(n)) for n in np.atleast_1d(ds.attrs.get('along', [1, 0])))})"
    page.text(page.width - MARGIN - 15, 3.5, label, size=NOTE_SIZE, color=MUTED, ha="right", linespacing=1.3)


def panel_title(page: Page, box: Box, index: int, title: str) -> None:
    """Draw the letter and the title of a panel above a box.

    Parameters
    ----------
    page, box
        Page and place of the panel's map.
    index
        Number of the panel, 0 for ``a``.
    title
        Text after the letter.
    """
    page.text(box.left, box.top - 1.0, "abcdefghijklmnopqrstuvwxyz"[index], weight="bold", va="baseline")
    page.text(box.left + 3, box.top - 1.0, title, va="baseline")


def spread_note(values: Map, unit: str) -> str:
    """Text with median and spread of a map.

    Parameters
    ----------
    values
        Map in the unit of plots.
    unit
        Unit to write after the numbers.
    """
    summary = summarise(values)
    if summary is None:
        return "no valid position"
    digits = summary.spread if summary.spread > NO_SPREAD * abs(summary.median) else 0.0
    median, spread = (format_number(value, digits) for value in (summary.median, summary.spread))
    unit = {"": "", "°": "°"}.get(unit, f" {unit}")
    return f"median {median}{unit}, spread {spread}{unit}"


def draw_legend(page: Page, left: float, top: float, colours: Colormap, names: tuple[str, ...]) -> None:
    """Draw colour swatches with names, five under each other, then a new column.

    Parameters
    ----------
    page
        Page to draw on.
    left, top
        Top left corner of the legend, millimetres.
    colours
        Colour map that is called with the index of a name.
    names
        Names in the order of the colours.
    """
    for index, name in enumerate(names):
        column, row = divmod(index, LEGEND_ROWS)
        x, y = left + column * LEGEND_COLUMN, top + row * 3.4
        page.rectangle(Box(x, y, 2, 2), facecolor=colours(index), edgecolor=INK, lw=0.3)
        page.text(x + 3.0, y + 1.1, name, size=NOTE_SIZE, va="center")


def draw_panel(page: Page, grid: Grid, index: int, panel: Panel) -> Axes:
    """Draw a panel of a grid; returns the axes of its map.

    Parameters
    ----------
    page, grid
        Page to draw on and its grid.
    index
        Number of the panel, which gives its place and letter.
    panel
        What to draw.
    """
    box = grid.map_box(index)
    axes = page.axes(box)
    axes.set_label(panel.title)
    panel_title(page, box, index, panel.title)
    draw_map(axes, panel.values, panel.scale, panel.colours)
    if panel.categories:
        draw_legend(page, box.left, box.bottom + 1.5, panel.colours, panel.categories)
        return axes
    bar_width = min(grid.cell_width, max(box.width, NARROWEST_BAR))
    below = Box(box.left + (box.width - bar_width) / 2, box.top, bar_width, box.height).below(SCALE_BAND, HISTOGRAM)
    draw_histogram(page.axes(below), panel.values, panel.scale)
    bar = below.below(0.0, BAR)
    draw_colour_bar(page.axes(bar), panel.scale, panel.colours)
    if panel.note:
        middle = box.left + box.width / 2
        top = bar.bottom + TICK_BAND
        page.text(middle, top, panel.note, size=NOTE_SIZE, color=MUTED, ha="center", linespacing=1.25)
    return axes


def categorical_scale(n: int) -> ColourScale:
    """Scale on which the values 0, 1, ..., `n` - 1 fall in the middle of `n` colours."""
    return ColourScale(-0.5, n - 0.5)
