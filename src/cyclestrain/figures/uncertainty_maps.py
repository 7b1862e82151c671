"""Figure of how far to trust each position: stated uncertainties, fit quality, classes and gaps."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cyclestrain.display.fields import (
    COMPONENTS,
    SIGMA,
    STRAINS,
    Component,
    Map,
    class_names,
    component_map,
    masked_map,
    no_reference,
    scan_step,
)
from cyclestrain.display.ranges import ColourScale, sequential_scale
from cyclestrain.figures.maps import CONFIDENCE, PLAIN, SEQUENTIAL, UNCERTAINTY, class_colours, draw_scale_bar
from cyclestrain.figures.page import Page
from cyclestrain.figures.panels import Panel, categorical_scale, draw_header, draw_panel, plan_grid, spread_note

__all__ = ["uncertainty_figure"]

DESCRIPTION = (
    "Uncertainty (one standard deviation) of the best estimate, quality of the fit, class and validity of every "
    "position.\nHatched: no valid result. Spread: half of the 16 to 84 % range."
)
STATUS_NAMES = ("vacuum", "failed", "valid", "no reference")
"""Names of the states of a position, in the order of their codes."""
STATUS_COLOURS = ListedColormap(["#e8e8e8", "#c8553d", "#3b6ea5", PLAIN])


def _sigma_panel(ds: xr.Dataset, component: Component, scale: ColourScale) -> Panel:
    values = component_map(ds, component, kind="sigma")
    symbol = component.symbol.replace("rotation ", "")
    return Panel(
        title=f"{SIGMA} of {symbol} ({component.unit})",
        values=values,
        scale=scale,
        colours=UNCERTAINTY,
        note=spread_note(values, component.unit),
    )


def _sigma_panels(ds: xr.Dataset) -> list[Panel]:
    strains = [component for component in STRAINS if f"{component.name}_sigma" in ds]
    panels = []
    if strains:
        pooled = np.concatenate([component_map(ds, component, kind="sigma").compressed() for component in strains])
        shared = sequential_scale(pooled)
        panels += [_sigma_panel(ds, component, shared) for component in strains]
    if "rotation_sigma" in ds:
        rotation = COMPONENTS[3]
        panels.append(_sigma_panel(ds, rotation, sequential_scale(component_map(ds, rotation, kind="sigma"))))
    return panels


def _share(mask: NDArray[np.bool_]) -> str:
    return f"{100 * mask.mean():.1f} %"


def _class_panel(ds: xr.Dataset) -> Panel:
    labels = np.asarray(ds["class"].transpose("ry", "rx").values, dtype=np.float64)
    values: Map = np.ma.masked_where(labels < 0, labels)
    names = tuple(f"{name}: {_share(labels == entry)}" for entry, name in enumerate(class_names(ds)))
    return Panel("class", values, categorical_scale(len(names)), class_colours(len(names)), categories=names)


def _status_panel(ds: xr.Dataset) -> Panel:
    shape = (ds.sizes["ry"], ds.sizes["rx"])
    sample, valid = (
        np.asarray(ds[name].transpose("ry", "rx").values, dtype=bool) if name in ds else np.ones(shape, dtype=bool)
        for name in ("sample", "valid")
    )
    status = np.where(sample & valid, 2.0, np.where(sample, 1.0, 0.0))
    status[no_reference(ds)] = 3.0
    shown = STATUS_NAMES if (status == 3).any() else STATUS_NAMES[:3]
    values: Map = np.ma.masked_array(status, np.zeros(shape, dtype=bool))
    names = tuple(f"{name}: {_share(status == code)}" for code, name in enumerate(shown))
    colours = ListedColormap(STATUS_COLOURS(np.arange(len(shown))))
    return Panel("positions", values, categorical_scale(len(shown)), colours, categories=names)


def _quality_panels(ds: xr.Dataset) -> list[Panel]:
    panels = []
    if "log_likelihood" in ds:
        values = masked_map(ds, "log_likelihood", -2.0)
        scale = sequential_scale(values, from_zero=False)
        title = r"misfit $\chi^2$/d.o.f."
        panels.append(Panel(title, values, scale, SEQUENTIAL, note=spread_note(values, "")))
    for name, title in (("class_confidence", "class confidence"), ("share", "share of the dominant crystal")):
        if name in ds:
            values = masked_map(ds, name)
            panels.append(Panel(title, values, ColourScale(0.0, 1.0), CONFIDENCE, spread_note(values, "")))
    if "class" in ds:
        panels.append(_class_panel(ds))
    panels.append(_status_panel(ds))
    return panels


def uncertainty_figure(ds: xr.Dataset) -> Figure:
    """Draw the uncertainties (strains on one scale), fit quality, class, its confidence and share, and validity.

    Variables the result lacks are left out.
    """
    panels = [*_sigma_panels(ds), *_quality_panels(ds)]
    grid = plan_grid((ds.sizes["ry"], ds.sizes["rx"]), len(panels), note_lines=1)
    page = Page(grid.page_height)
    draw_header(page, ds, DESCRIPTION)
    for index, panel in enumerate(panels):
        draw_panel(page, grid, index, panel)
    draw_scale_bar(page, grid.map_box(0), ds.sizes["rx"], scan_step(ds))
    return page.figure
