"""Figure of truth, estimate and error side by side, for scans whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cyclestrain.display.fields import (
    COMPONENTS,
    SIGMA,
    STRAINS,
    Component,
    Map,
    component_map,
    period_map,
    periods_deg,
    scan_step,
    wrap_map,
)
from cyclestrain.display.ranges import ColourScale, format_number, rotation_scale, symmetric_scale
from cyclestrain.errors import InputError
from cyclestrain.figures.maps import DIVERGING, colours_of, draw_colour_bar, draw_histogram, draw_map, draw_scale_bar
from cyclestrain.figures.page import MUTED, NOTE_SIZE, PAGE_WIDTH, TEXT_SIZE, Box, Page
from cyclestrain.figures.panels import HEADER_HEIGHT, LOWEST_MAP, MARGIN, NARROWEST_MAP, draw_header
from cyclestrain.figures.strain_maps import SMALLEST_STRAIN, Estimate, strain_scale

__all__ = ["Comparison", "accuracy_figure", "compare"]

LABEL_WIDTH, COLUMN_GAP, WIDE_GAP, ROW_GAP, HEAD_BAND, BAR, BAR_BAND = 6.0, 2.5, 5.0, 2.5, 4.5, 2.0, 8.0
"""Sizes and gaps of the layout, millimetres."""
HISTOGRAM_WIDTH, NOTE_WIDTH, TALLEST = 30.0, 19.0, 46.0
SCALE_BAND = 4.5
ERROR_COVERAGE = 0.98
"""Share of the errors inside their colour scale."""
DESCRIPTION = (
    "Simulated truth, {kind} estimate and their difference, relative to the reference. Bias: median error;\n"
    "MAE: mean absolute error; scatter: half of the 16 to 84 % range of the errors; all over every valid position."
)


@dataclass(frozen=True)
class Comparison:
    """Maps of one component in the unit of plots, and the share of errors within one stated sigma, if stated."""

    component: Component
    truth: Map
    estimate: Map
    error: Map
    within_sigma: float | None


def compare(ds: xr.Dataset, truth: xr.Dataset, estimate: Estimate = "") -> list[Comparison]:
    """Compare a result with its truth; rotations are compared modulo their period.

    Parameters
    ----------
    ds
        A result.
    truth
        ``exx, eyy, exy, rotation`` over ``(ry, rx)``, relative to the same reference, rotation in radians.
    estimate
        ``""`` for the best estimate, ``"raw"`` for each pattern alone.

    Raises
    ------
    InputError
        If the truth lacks a component or has another shape than the result.
    """
    period = period_map(ds)
    comparisons = []
    for component in COMPONENTS:
        if component.name not in truth:
            raise InputError(f"the truth has no variable {component.name!r}; it has {', '.join(map(str, truth))}")
        found = component_map(ds, component, estimate)
        values = np.asarray(truth[component.name].transpose("ry", "rx").values, dtype=np.float64) * component.factor
        if values.shape != found.shape:
            raise InputError(f"the truth has {values.shape} positions, the result {found.shape}: not of the same scan")
        true: Map = np.ma.masked_invalid(values)
        error: Map = found - true
        if component.name == "rotation":
            true, found, error = (wrap_map(values, period) for values in (true, found, error))
        name = "_".join(part for part in (component.name, estimate, "sigma") if part)
        within = None
        if name in ds and error.count():
            within = float(np.ma.mean(np.ma.abs(error) <= component_map(ds, component, estimate, "sigma")))
        comparisons.append(Comparison(component, true, found, error, within))
    return comparisons


def _error_note(comparison: Comparison) -> str:
    error, unit = comparison.error.compressed(), comparison.component.unit
    if not error.size:
        return "no valid position"
    low, bias, high = (float(q) for q in np.quantile(error, [0.16, 0.5, 0.84]))
    scatter = (high - low) / 2
    figures = {"MAE": float(np.mean(np.abs(error))), "bias": bias, "scatter": scatter}
    lines = [f"{name} {format_number(value, scatter)} {unit}".replace(" °", "°") for name, value in figures.items()]
    if comparison.within_sigma is not None:
        lines.append(f"{100 * comparison.within_sigma:.0f} % within 1 {SIGMA}")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Layout:
    map_width: float
    map_height: float

    @property
    def row_height(self) -> float:
        return self.map_height + ROW_GAP

    def top(self, row: int) -> float:
        """Top of a row; the rotation stands apart: a colour bar lies between it and the strains."""
        return HEADER_HEIGHT + HEAD_BAND + row * self.row_height + (BAR_BAND if row == 3 else 0)

    def box(self, row: int, column: int) -> Box:
        gaps = (0.0, COLUMN_GAP, COLUMN_GAP + WIDE_GAP)[column]
        left = MARGIN + LABEL_WIDTH + column * self.map_width + gaps
        return Box(left, self.top(row), self.map_width, self.map_height)

    def histogram_box(self, row: int) -> Box:
        last = self.box(row, 2)
        left = last.right + WIDE_GAP
        return Box(left, last.top, PAGE_WIDTH - MARGIN - NOTE_WIDTH - left, last.height)

    @property
    def page_height(self) -> float:
        return self.top(3) + self.map_height + BAR_BAND + SCALE_BAND


def _plan(shape: tuple[int, int]) -> _Layout:
    aspect = shape[0] / shape[1]
    width = (PAGE_WIDTH - 2 * MARGIN - LABEL_WIDTH - HISTOGRAM_WIDTH - NOTE_WIDTH - COLUMN_GAP - 2 * WIDE_GAP) / 3
    height = width * aspect
    if height > TALLEST:
        width, height = max(TALLEST / aspect, NARROWEST_MAP), TALLEST
    return _Layout(width, max(height, LOWEST_MAP + 4))


def _draw_row(
    page: Page, layout: _Layout, row: int, comparison: Comparison, scale: ColourScale, error: ColourScale
) -> None:
    symbol = comparison.component.symbol.replace("rotation ", "")
    middle = layout.top(row) + layout.map_height / 2
    page.text(MARGIN + 1.5, middle, f"{symbol} ({comparison.component.unit})", rotation=90, va="center", ha="left")
    for column, (values, shown, colours) in enumerate(
        (
            (comparison.truth, scale, colours_of(scale)),
            (comparison.estimate, scale, colours_of(scale)),
            (comparison.error, error, DIVERGING),
        )
    ):
        axes = page.axes(layout.box(row, column))
        axes.set_label(f"{comparison.component.name} {('truth', 'estimate', 'error')[column]}")
        draw_map(axes, values, shown, colours)
    side = layout.histogram_box(row)
    axes = page.axes(side)
    draw_histogram(axes, comparison.error, error)
    note = _error_note(comparison)
    page.text(side.right + 1.5, middle, note, size=NOTE_SIZE, color=MUTED, va="center", linespacing=1.4)


def _draw_bars(page: Page, layout: _Layout, row: int, scale: ColourScale, error: ColourScale) -> None:
    truth, estimate, difference = (layout.box(row, column).below(1.2, BAR) for column in range(3))
    draw_colour_bar(page.axes(Box(truth.left, truth.top, estimate.right - truth.left, BAR)), scale, colours_of(scale))
    draw_colour_bar(page.axes(difference), error, DIVERGING)
    draw_colour_bar(page.axes(layout.histogram_box(row).below(0, BAR)), error, DIVERGING)


def accuracy_figure(ds: xr.Dataset, truth: xr.Dataset, estimate: Estimate = "") -> Figure:
    """Truth, estimate, error and histogram of the errors, one row per component; strains share their scales.

    Parameters
    ----------
    ds
        A result.
    truth
        ``exx, eyy, exy, rotation`` over ``(ry, rx)``, relative to the same reference, rotation in radians.
    estimate
        ``""`` for the best estimate, ``"raw"`` for each pattern alone.

    Raises
    ------
    InputError
        If the truth lacks a component or has another shape than the result.
    """
    comparisons = compare(ds, truth, estimate)
    strains, turning = comparisons[: len(STRAINS)], comparisons[-1]
    shared = strain_scale([values for pair in strains for values in (pair.truth, pair.estimate)], 0.99)
    pooled = np.concatenate([comparison.error.compressed() for comparison in strains])
    errors = symmetric_scale(pooled, coverage=ERROR_COVERAGE, smallest=SMALLEST_STRAIN / 5)
    rotations = rotation_scale(turning.truth, periods_deg(ds)[-1])
    rotation_errors = symmetric_scale(turning.error, coverage=ERROR_COVERAGE, smallest=0.01)
    layout = _plan((ds.sizes["ry"], ds.sizes["rx"]))
    page = Page(layout.page_height)
    draw_header(page, ds, DESCRIPTION.format(kind="raw" if estimate == "raw" else "best"))
    for column, title in enumerate(("truth", "estimate", "error")):
        box = layout.box(0, column)
        page.text(box.left + box.width / 2, box.top - 1, title, ha="center", va="baseline", size=TEXT_SIZE)
    side = layout.histogram_box(0)
    page.text(side.left + side.width / 2, side.top - 1, "distribution of the error", ha="center", va="baseline")
    for row, comparison in enumerate(comparisons):
        scales = (shared, errors) if row < len(strains) else (rotations, rotation_errors)
        _draw_row(page, layout, row, comparison, *scales)
    _draw_bars(page, layout, 2, shared, errors)
    _draw_bars(page, layout, 3, rotations, rotation_errors)
    draw_scale_bar(page, layout.box(3, 0).below(BAR_BAND - 1.5, 0), ds.sizes["rx"], scan_step(ds))
    return page.figure
