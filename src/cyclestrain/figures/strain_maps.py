"""The main figure of a result: maps of exx, eyy, exy and rotation."""

from __future__ import annotations

from textwrap import fill
from typing import Literal

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cyclestrain.figures.fields import (
    COMPONENTS,
    SIGMA,
    STRAINS,
    Map,
    component_map,
    no_reference,
    period_map,
    periods_deg,
    reference_masks,
    scan_step,
    wrap_map,
)
from cyclestrain.figures.line_profiles import is_line, profile_figure
from cyclestrain.figures.maps import colours_of, draw_scale_bar, outline, shade
from cyclestrain.figures.page import Page
from cyclestrain.figures.panels import Panel, draw_header, draw_panel, plan_grid, spread_note
from cyclestrain.figures.ranges import ColourScale, format_number, rotation_scale, symmetric_scale

__all__ = ["Estimate", "describe", "strain_figure", "strain_scale"]

Estimate = Literal["", "raw"]
OUTLINES = (("solid", ()), ("dashed", (4.0, 2.0)), ("dotted", (1.0, 1.5)), ("dash-dotted", (4.0, 1.5, 1.0, 1.5)))
"""Names and dashes of the outlines of the references of the classes, in their order."""
SMALLEST_STRAIN = 0.05
"""Half the width of the narrowest strain scale, percent: below it there is only noise to see."""


def strain_scale(maps: list[Map], coverage: float) -> ColourScale:
    """One colour scale in percent for several strain maps.

    Parameters
    ----------
    maps
        Strain maps, percent.
    coverage
        Share of all values inside the scale.
    """
    pooled = np.concatenate([values.compressed() for values in maps])
    return symmetric_scale(pooled, coverage=coverage, smallest=SMALLEST_STRAIN)


def describe(ds: xr.Dataset, estimate: Estimate) -> str:
    """Description of the maps: the estimate, the reference and the meaning of blank positions.

    Parameters
    ----------
    ds
        A result.
    estimate
        ``""`` for the final maps, ``"raw"`` for each pattern on its own.
    """
    kind = "each pattern on its own (raw)" if estimate == "raw" else "final estimate"
    reference = str(ds.attrs.get("reference", "")).strip()
    outlined = _outlined(ds)
    named = f": {reference}" if reference else ""
    subject = f"Strain and rotation, {kind}, relative to the reference{outlined}{named}".rstrip(".")
    plain = " Plain grey: no reference for this class." if no_reference(ds).any() else ""
    keys = f"Hatched: no valid result.{plain} Spread: half of the 16 to 84 % range;"
    # The symbol comes last: its code is longer than what it draws.
    return fill(f"{subject}. {keys} {SIGMA}: median stated uncertainty.", 118, max_lines=3)


def _outlined(ds: xr.Dataset) -> str:
    """Words that say which outline is the reference of which class, empty where none is drawn."""
    classes = list(reference_masks(ds))
    if len(classes) < 2:
        return " (outlined)" if classes else ""
    return f" ({', '.join(f'class {k} {name}' for (name, _), k in zip(OUTLINES, classes, strict=False))})"


def _uncertainty_note(ds: xr.Dataset, index: int, estimate: Estimate) -> str:
    component = COMPONENTS[index]
    name = "_".join(part for part in (component.name, estimate, "sigma") if part)
    if name not in ds:
        return ""
    sigma = component_map(ds, component, estimate, "sigma").compressed()
    if not sigma.size:
        return ""
    typical = float(np.median(sigma))
    return f"{SIGMA} {format_number(typical, typical)} {component.unit}".replace(" °", "°")


def _panels(ds: xr.Dataset, estimate: Estimate, coverage: float) -> list[Panel]:
    strains = [component_map(ds, component, estimate) for component in STRAINS]
    rotation = wrap_map(component_map(ds, COMPONENTS[3], estimate), period_map(ds))
    periods = periods_deg(ds)
    shared, turning = strain_scale(strains, coverage), rotation_scale(rotation, periods[-1], coverage=coverage)
    repeats = "repeats every " + " or ".join(f"{period:g}°" for period in periods)
    panels = []
    for index, (component, values) in enumerate(zip(COMPONENTS, [*strains, rotation], strict=True)):
        scale = shared if index < 3 else turning
        note = repeats if scale.cyclic and values.count() else spread_note(values, component.unit)
        uncertainty = _uncertainty_note(ds, index, estimate)
        panels.append(
            Panel(
                title=component.label,
                values=values,
                scale=scale,
                colours=colours_of(scale),
                note="\n".join(part for part in (note, uncertainty) if part),
            )
        )
    return panels


def strain_figure(ds: xr.Dataset, estimate: Estimate = "", *, coverage: float = 0.99) -> Figure:
    """Draw the three strains (percent, one scale) and the rotation (degrees), each above its histogram.

    A line scan (one row or one column) is drawn as four profiles with their uncertainties instead.

    Parameters
    ----------
    ds
        A result.
    estimate
        ``""`` for the final maps, ``"raw"`` for each pattern on its own.
    coverage
        Share of the valid positions whose values lie inside the colour scale.
    """
    panels = _panels(ds, estimate, coverage)
    if is_line(panels[0].values.shape):
        return profile_figure(ds, panels, estimate, describe(ds, estimate))
    grid = plan_grid((ds.sizes["ry"], ds.sizes["rx"]), len(panels), note_lines=2)
    page = Page(grid.page_height)
    draw_header(page, ds, describe(ds, estimate))
    references, blank = reference_masks(ds), no_reference(ds)
    for index, panel in enumerate(panels):
        axes = draw_panel(page, grid, index, panel)
        shade(axes, blank)
        for (_, dashes), mask in zip(OUTLINES, references.values(), strict=False):
            outline(axes, mask, dashes)
    draw_scale_bar(page, grid.map_box(0), ds.sizes["rx"], scan_step(ds))
    return page.figure
