"""Figure of dislocations: their density, and the Burgers vector of every core as an arrow."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cyclestrain.display.fields import Map, scan_step
from cyclestrain.display.ranges import symmetric_scale
from cyclestrain.figures.maps import colours_of, draw_scale_bar
from cyclestrain.figures.page import INK, NOTE_SIZE, Page
from cyclestrain.figures.panels import Panel, draw_header, draw_panel, plan_grid, spread_note

__all__ = ["dislocation_figure"]

LONGEST = 0.12
"""Length of the longest arrow as a part of the shorter side of the map."""


def dislocation_figure(ds: xr.Dataset, defects: xr.Dataset) -> Figure:
    """Draw both components of the dislocation density, and the cores with their Burgers vectors.

    Parameters
    ----------
    ds
        A result.
    defects
        `alpha_13`, `alpha_23` with dimensions ``(my, mx)`` and ``core_ry, core_rx, core_by, core_bx``.
    """
    unit = str(defects["alpha_13"].attrs["units"])
    values: list[Map] = [np.ma.masked_invalid(defects[name].values) for name in ("alpha_13", "alpha_23")]
    typical = float(np.nanmedian(defects["alpha_13_sigma"].values))
    scale = symmetric_scale(np.concatenate([v.compressed() for v in values]), coverage=0.995, smallest=3 * typical)
    titles = (r"density $\alpha_{13}$, b along x", r"density $\alpha_{23}$, b along y")
    panels = [
        Panel(f"{title} ({unit})", one, scale, colours_of(scale), spread_note(one, unit))
        for title, one in zip(titles, values, strict=True)
    ]
    grid = plan_grid((defects.sizes["my"], defects.sizes["mx"]), 2, note_lines=2)
    page = Page(grid.page_height)
    n, burgers = defects.sizes.get("core", 0), defects.attrs["burgers_unit"]
    lengths = np.hypot(defects["core_by"].values, defects["core_bx"].values) if n else np.zeros(0)
    longest = f", the longest {lengths.max():.3g} {burgers}" if n else ""
    in_scan = ds.assign_attrs(axes="scan", strain_axes_angle_deg=ds.attrs.get("scan_rotation_deg", 0.0))
    draw_header(
        page, in_scan,
        f"Dislocation density from circuits around every four positions, and {n} dislocations with their Burgers\n"
        f"vectors (arrows, axes of the scan{longest}). Hatched: no circuit within one crystal.", "arrow",
    )  # fmt: skip
    for index, panel in enumerate(panels):
        _draw_cores(draw_panel(page, grid, index, panel), defects)
    draw_scale_bar(page, grid.map_box(0), ds.sizes["rx"], scan_step(ds))
    return page.figure


def _draw_cores(axes: Axes, defects: xr.Dataset) -> None:
    """Cores as rings, Burgers vectors as arrows; a map's middle between four positions is half a position further."""
    if not defects.sizes.get("core", 0):
        return
    y, x = defects["core_ry"].values - 0.5, defects["core_rx"].values - 0.5
    by, bx = defects["core_by"].values, defects["core_bx"].values
    longest = LONGEST * min(defects.sizes["my"], defects.sizes["mx"]) / np.hypot(by, bx).max()
    axes.plot(x, y, "o", markersize=3.0, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=0.6)
    for number, (row, column, down, right) in enumerate(zip(y, x, by * longest, bx * longest, strict=True), 1):
        axes.annotate(
            "", (column + right, row + down), (column, row),
            arrowprops={"arrowstyle": "-|>", "linewidth": 0.8, "color": INK, "mutation_scale": 5, "shrinkA": 2},
        )  # fmt: skip
        axes.annotate(
            str(number), (column - right * 0.6, row - down * 0.6), fontsize=NOTE_SIZE, ha="center", va="center",
            color=INK,
        )  # fmt: skip
