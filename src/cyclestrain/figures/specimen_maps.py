"""Figure of tilt, thickness and polarization over a scan."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cyclestrain.display.fields import SIGMA, Map, scan_step
from cyclestrain.display.ranges import sequential_scale, symmetric_scale
from cyclestrain.figures.maps import SEQUENTIAL, UNCERTAINTY, draw_scale_bar, named_colours
from cyclestrain.figures.page import Page
from cyclestrain.figures.panels import Panel, draw_header, draw_panel, plan_grid, spread_note

__all__ = ["specimen_figure"]

MOST_ARROWS = 24
"""Arrows along the longer side of a map."""


def specimen_figure(ds: xr.Dataset) -> Figure:
    """Draw what `cyclestrain.tilt` found: tilt along x and y and thickness, or the dipole where no crystal was known.

    Arrows of a polarization are drawn where its sign is told from a tilt; their length is the displacement.

    Parameters
    ----------
    ds
        Maps of `cyclestrain.tilt`.
    """
    known, polar = "tilt_x" in ds, "displacement" in ds
    names = [("tilt_x", "mrad", 1e3), ("tilt_y", "mrad", 1e3), ("thickness", "nm", 1.0)]
    names = names if known else [("dipole_x", "", 1.0), ("dipole_y", "", 1.0)]
    names += [("displacement", "", 1.0)] if polar else []
    panels = []
    for sigma in (False, True):
        for name, unit, factor in names:
            values = _shown(ds, f"{name}_sigma" if sigma else name, factor, name)
            signed = not sigma and name != "thickness"
            scale = symmetric_scale(values) if signed else sequential_scale(values, from_zero=sigma)
            colours = UNCERTAINTY if sigma else named_colours("vik") if signed else SEQUENTIAL
            label = name.replace("_", " ") + (f" ({unit})" if unit else "")
            note = spread_note(values, unit).replace(", ", "\n")
            panels.append(Panel(f"{SIGMA} of {label}" if sigma else label, values, scale, colours, note))
    grid = plan_grid((ds.sizes["ry"], ds.sizes["rx"]), len(panels), note_lines=2, columns=len(names))
    page = Page(grid.page_height, grid.page_width)
    said = "Tilt: where the beam points in the crystal; the Laue circle's centre is opposite." if known else (
        "Dipole of the intensities: zero for an untilted crystal; without a library neither tilt nor polarity is told."
    )  # fmt: skip
    draw_header(page, ds, f"{said}\nHatched: not valid, see `caution`. Spread: half of the 16 to 84 % range.", "tilt")
    for index, panel in enumerate(panels):
        axes = draw_panel(page, grid, index, panel)
        if polar and panel.title.startswith("displacement"):
            _arrows(axes, ds)
    draw_scale_bar(page, grid.map_box(0), ds.sizes["rx"], scan_step(ds))
    return page.figure


def _shown(ds: xr.Dataset, name: str, factor: float, kind: str) -> Map:
    values = factor * np.asarray(ds[name].transpose("ry", "rx").values, float)
    mask = "separable" if kind == "displacement" else "valid"
    if mask in ds:
        values = np.where(ds[mask].values, values, np.nan)
    return np.ma.masked_invalid(values)


def _arrows(axes: Axes, ds: xr.Dataset) -> None:
    """Polarization on the detector, every so many positions."""
    step = max(1, -(-max(ds.sizes["ry"], ds.sizes["rx"]) // MOST_ARROWS))
    thin = ds.isel(ry=slice(None, None, step), rx=slice(None, None, step))
    length = np.where(thin["separable"], thin["displacement"], np.nan)
    y, x = np.meshgrid(*(np.arange(0, ds.sizes[dim], step) for dim in ("ry", "rx")), indexing="ij")
    axes.quiver(
        x, y, length * thin["polar_x"], length * thin["polar_y"], angles="xy", scale_units="xy", scale=1.2 / step,
        pivot="mid", width=0.012, color="black",
    )  # fmt: skip
