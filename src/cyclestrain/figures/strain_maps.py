"""The main figure of a result: maps of exx, eyy, exy and rotation."""

from __future__ import annotations

from textwrap import fill
from typing import Literal

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cyclestrain.display.fields import (
    COMPONENTS,
    DERIVED,
    SIGMA,
    Component,
    Map,
    component_map,
    no_reference,
    period_map,
    periods_deg,
    reference_masks,
    scan_step,
    wrap_map,
)
from cyclestrain.display.ranges import ColourScale, format_number, rotation_scale, sequential_scale, symmetric_scale
from cyclestrain.errors import InputError
from cyclestrain.figures.line_profiles import is_line, profile_page
from cyclestrain.figures.maps import SEQUENTIAL, UNCERTAINTY, colours_of, draw_scale_bar, named_colours, outline, shade
from cyclestrain.figures.page import PAGE_WIDTH, TEXT_SIZE, Page
from cyclestrain.figures.panels import Panel, draw_header, draw_panel, plan_grid, spread_note
from cyclestrain.settings import ShowSettings

__all__ = ["Estimate", "describe", "strain_figure", "strain_scale"]

Estimate = Literal["", "raw"]
OUTLINES = (("solid", ()), ("dashed", (4.0, 2.0)), ("dotted", (1.0, 1.5)), ("dash-dotted", (4.0, 1.5, 1.0, 1.5)))
"""Names and dashes of the outlines of the references of the classes, in their order."""
SMALLEST_STRAIN = 0.05
"""Half the width of the narrowest strain scale, percent: below it there is only noise to see."""


def strain_scale(maps: list[Map], coverage: float, sigma: float = 0.0) -> ColourScale:
    """One colour scale in percent for several strain maps.

    Parameters
    ----------
    maps
        Strain maps, percent.
    coverage
        Share of all values inside the scale.
    sigma
        Typical uncertainty, percent: the scale reaches at least twice as far, so that noise is not drawn as structure.
    """
    pooled = np.concatenate([values.compressed() for values in maps])
    return symmetric_scale(pooled, coverage=coverage, smallest=max(SMALLEST_STRAIN, 2 * sigma))


def describe(ds: xr.Dataset, estimate: Estimate, width: float = PAGE_WIDTH) -> str:
    """Description of the maps: the estimate, the reference and the meaning of blank positions.

    Parameters
    ----------
    ds
        A result.
    estimate
        ``""`` for the best estimate, ``"raw"`` for each pattern alone.
    width
        Width of the page, millimetres.
    """
    kind = str(ds.attrs.get("kind", "each pattern alone (raw)" if estimate == "raw" else "best estimate"))
    reference = str(ds.attrs.get("reference", "")).strip()
    outlined = _outlined(ds)
    named = f": {reference}" if reference else ""
    subject = f"Strain and rotation, {kind}, relative to the reference{outlined}{named}".rstrip(".")
    plain = " Plain grey: no reference for this class." if no_reference(ds).any() else ""
    keys = f"Hatched: no valid result.{plain} Spread: half of the 16 to 84 % range;"
    # The symbol comes last: its code is longer than what it draws.
    sigma = f" {SIGMA}: median stated uncertainty." if "exx_sigma" in ds else ""
    return fill(
        f"{subject}. {keys.rstrip(';')}{';' if sigma else '.'}{sigma}", int(118 * width / PAGE_WIDTH), max_lines=3
    )


def _outlined(ds: xr.Dataset) -> str:
    """Words that say which outline is the reference of which class, empty where none is drawn."""
    classes = list(reference_masks(ds))
    if len(classes) < 2:
        return " (outlined)" if classes else ""
    return f" ({', '.join(f'class {k} {line}' for (line, _), k in zip(OUTLINES, classes, strict=False))})"


def _sigma(ds: xr.Dataset, component: Component, estimate: Estimate) -> float | None:
    """Median uncertainty of a map in its unit, None where it is not known."""
    if "_".join(part for part in (component.name, estimate, "sigma") if part) not in ds:
        return None
    sigma = component_map(ds, component, estimate, "sigma").compressed()
    return float(np.median(sigma)) if sigma.size else None


def _notes(ds: xr.Dataset, component: Component, estimate: Estimate, values: Map, scale: ColourScale) -> str:
    """Lines under a map: how far it spreads, and its uncertainty."""
    periods = periods_deg(ds)
    repeats = "repeats every " + " or ".join(f"{period:g}°" for period in periods)
    lines = [repeats if scale.cyclic and values.count() else spread_note(values, component.unit)]
    if (typical := _sigma(ds, component, estimate)) is not None:
        lines.append(f"{SIGMA} {format_number(typical, typical)} {component.unit}".replace(" °", "°"))
    return "\n".join(part for part in lines if part)


def _bands(ds: xr.Dataset, estimate: Estimate, look: ShowSettings) -> list[Map | None]:
    """Uncertainty of every profile that is wanted, None where it is not known or is itself what is drawn."""
    bands: list[Map | None] = []
    for name in look.maps:
        known = "_".join(part for part in (name, estimate, "sigma") if part) in ds
        bands.append(component_map(ds, _component(name), estimate, "sigma") if known else None)
    return bands


def _component(name: str) -> Component:
    known = {component.name: component for component in (*COMPONENTS, *DERIVED)}
    if name not in known:
        both = ", ".join(known)
        raise InputError(f"there is no map {name!r}; draw any of {both}, or of their uncertainties, such as exx_sigma")
    return known[name]


def _panels(ds: xr.Dataset, estimate: Estimate, coverage: float, look: ShowSettings) -> list[Panel]:
    """The maps that are wanted; strains have one scale, as have their uncertainties."""
    chosen = [(_component(name.removesuffix("_sigma")), name.endswith("_sigma")) for name in look.maps]
    maps = [component_map(ds, component, estimate, "sigma" if sigma else "") for component, sigma in chosen]
    strains = [values for values, (one, sigma) in zip(maps, chosen, strict=True) if one.unit == "%" and not sigma]
    sigmas = [values for values, (one, sigma) in zip(maps, chosen, strict=True) if one.unit == "%" and sigma]
    typical = [_sigma(ds, one, estimate) or 0.0 for one, sigma in chosen if one.unit == "%" and not sigma]
    shared = strain_scale(strains, coverage, max(typical)) if strains else None
    doubtful = sequential_scale(np.concatenate([values.compressed() for values in sigmas])) if sigmas else None
    if look.limit is not None:
        shared = ColourScale(-look.limit, look.limit)
    panels = []
    for (component, sigma), values in zip(chosen, maps, strict=True):
        title = f"{SIGMA} of {component.label}" if sigma else component.label
        if sigma:
            scale = doubtful if component.unit == "%" and doubtful else sequential_scale(values)
            panels.append(Panel(title, values, scale, UNCERTAINTY, spread_note(values, component.unit)))
            continue
        if component.name == "rotation":
            values, scale = _rotation(ds, values, estimate, coverage, look)
        else:
            assert shared is not None
            scale = ColourScale(0.0, shared.high) if component.positive else shared
        own = SEQUENTIAL if component.positive else colours_of(scale)
        colours = own if look.colours is None or scale.cyclic else named_colours(look.colours)
        panels.append(Panel(title, values, scale, colours, _notes(ds, component, estimate, values, scale)))
    return panels


def _rotation(
    ds: xr.Dataset, values: Map, estimate: Estimate, coverage: float, look: ShowSettings
) -> tuple[Map, ColourScale]:
    """Rotation within its period, and its scale."""
    values = wrap_map(values, period_map(ds))
    if look.rotation_limit is not None:
        return values, ColourScale(-look.rotation_limit, look.rotation_limit)
    sigma = _sigma(ds, COMPONENTS[3], estimate) or 0.0
    scale = rotation_scale(values, periods_deg(ds)[-1], coverage=coverage)
    if not scale.cyclic and scale.high < 2 * sigma:
        scale = symmetric_scale([2 * sigma], coverage=1.0)
    return values, scale


def strain_figure(
    ds: xr.Dataset, estimate: Estimate = "", *, coverage: float = 0.99, look: ShowSettings | None = None
) -> Figure:
    """Draw the three strains (percent, one scale) and the rotation (degrees), each above its histogram.

    A line scan (one row or one column) is drawn as four profiles with their uncertainties instead.

    Parameters
    ----------
    ds
        A result.
    estimate
        ``""`` for the best estimate, ``"raw"`` for each pattern alone.
    coverage
        Share of the valid positions whose values lie inside the colour scale.
    look
        Which maps, their scales, and the size of the figure.

    Raises
    ------
    InputError
        If a map, or a colour map, is not known.
    """
    look = look or ShowSettings()
    panels = _panels(ds, estimate, coverage, look)
    larger = look.font / TEXT_SIZE  # a page of that much less width is drawn, and enlarged with its text
    if is_line((ds.sizes["ry"], ds.sizes["rx"])):
        width = look.width / larger
        page = profile_page(ds, panels, _bands(ds, estimate, look), describe(ds, estimate, width), width)
        page.enlarge(larger)
        return page.figure
    grid = plan_grid((ds.sizes["ry"], ds.sizes["rx"]), len(panels), note_lines=2, page_width=look.width / larger)
    page = Page(grid.page_height, grid.page_width)
    draw_header(page, ds, describe(ds, estimate, grid.page_width))
    references, blank = reference_masks(ds), no_reference(ds)
    for index, panel in enumerate(panels):
        axes = draw_panel(page, grid, index, panel)
        shade(axes, blank)
        for (_, dashes), mask in zip(OUTLINES, references.values(), strict=False):
            outline(axes, mask, dashes)
    draw_scale_bar(page, grid.map_box(0), ds.sizes["rx"], scan_step(ds))
    page.enlarge(larger)
    return page.figure
