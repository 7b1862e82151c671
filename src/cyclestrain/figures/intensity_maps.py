"""Figure of the intensity of one reflection: a virtual dark field whose detector follows the lattice."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cyclestrain.display.fields import SIGMA, Map, scan_step
from cyclestrain.display.ranges import sequential_scale
from cyclestrain.figures.maps import SEQUENTIAL, UNCERTAINTY, draw_scale_bar, named_colours
from cyclestrain.figures.page import TEXT_SIZE, Page
from cyclestrain.figures.panels import Panel, draw_header, draw_panel, plan_grid, spread_note
from cyclestrain.settings import ShowSettings

__all__ = ["intensity_figure"]


def intensity_figure(ds: xr.Dataset, field: xr.Dataset, look: ShowSettings | None = None) -> Figure:
    """Draw the intensity of one reflection over the scan, and its uncertainty.

    Parameters
    ----------
    ds
        A result.
    field
        `intensity` and `intensity_sigma` of one reflection, dimensions ``(ry, rx)``.
    look
        Size and colours of the figure, and which reflection it is.
    """
    look = look or ShowSettings()
    h, k = look.intensity or (0, 0)
    larger = look.font / TEXT_SIZE
    values, sigma = (_masked(field[name]) for name in ("intensity", "intensity_sigma"))
    colours = SEQUENTIAL if look.colours is None else named_colours(look.colours)
    scale = sequential_scale(values, from_zero=False)
    panels = [
        Panel(f"intensity of {h} {k} (counts)", values, scale, colours, spread_note(values, "")),
        Panel(f"{SIGMA} (counts)", sigma, sequential_scale(sigma), UNCERTAINTY, spread_note(sigma, "")),
    ]
    grid = plan_grid((ds.sizes["ry"], ds.sizes["rx"]), len(panels), note_lines=2, page_width=look.width / larger)
    page = Page(grid.page_height, grid.page_width)
    draw_header(
        page, ds,
        f"Counts in the disk of reflection {h} {k} above the background, at the place that was fitted, and their "
        "standard uncertainty.\nHatched: no crystal that has this reflection. Spread: half of the 16 to 84 % range.",
    )  # fmt: skip
    for index, panel in enumerate(panels):
        draw_panel(page, grid, index, panel)
    draw_scale_bar(page, grid.map_box(0), ds.sizes["rx"], scan_step(ds))
    page.enlarge(larger)
    return page.figure


def _masked(values: xr.DataArray) -> Map:
    return np.ma.masked_invalid(np.asarray(values.transpose("ry", "rx").values, dtype=np.float64))
