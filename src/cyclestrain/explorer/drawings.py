"""Figures for a page of what is on the screen: the map, the pattern, the profile."""

from __future__ import annotations

from textwrap import fill

import numpy as np
from matplotlib.colors import Colormap, ListedColormap, Normalize, PowerNorm, SymLogNorm
from matplotlib.figure import Figure

from cyclestrain.errors import InputError
from cyclestrain.explorer.colours import MARK, colours_of
from cyclestrain.explorer.quantities import Shown
from cyclestrain.explorer.session import Session
from cyclestrain.figures.dictionary_view import circle
from cyclestrain.figures.maps import (
    DIVERGING,
    PATTERN,
    draw_colour_bar,
    draw_histogram,
    draw_map,
    draw_scale_bar,
    outline,
)
from cyclestrain.figures.page import MUTED, NOTE_SIZE, Box, Page
from cyclestrain.figures.panels import draw_legend

__all__ = ["DRAWINGS", "map_drawing", "pattern_drawing", "profile_drawing"]

WIDTH = 85.0
"""Width of a column of a journal, millimetres."""
MARGIN, TOP = 4.0, 12.0
TALLEST = 140.0


def map_drawing(session: Session) -> Figure:
    """The map with its colours, filters, reference, line and scale bar.

    Parameters
    ----------
    session
        What is looked at.
    """
    found = session.shown()
    n_rows, n_columns = found.values.shape
    width = WIDTH - 2 * MARGIN
    height = min(width * n_rows / n_columns, TALLEST)
    width = height * n_columns / n_rows
    box = Box((WIDTH - width) / 2, TOP, width, max(height, 6.0))
    rows = min(len(found.categories), 5)
    page = Page(box.bottom + (9.0 + 3.4 * rows if rows else 26.0), WIDTH)
    _head(page, session, found.title)
    axes = page.axes(box)
    masked = np.ma.masked_invalid(np.where(session.picked(), found.values, np.nan))
    colours = _colours(found)
    draw_map(axes, masked, found.scale, colours)
    outline(axes, session.reference())
    if session.view.line is not None:
        (y0, x0), (y1, x1) = session.view.line.start, session.view.line.stop
        axes.plot([x0, x1], [y0, y1], color=MARK, lw=1.0)
    axes.set(xlim=(-0.5, n_columns - 0.5), ylim=(n_rows - 0.5, -0.5))
    draw_scale_bar(page, box, n_columns, session.opened.step)
    if found.categories:
        draw_legend(page, box.left, box.bottom + 6.0, colours, found.categories)
        return page.figure
    below = Box(MARGIN, box.bottom + 7.0, WIDTH - 2 * MARGIN, 9.0)
    draw_histogram(page.axes(below), masked, found.scale)
    draw_colour_bar(page.axes(below.below(0.0, 2.0)), found.scale, colours)
    return page.figure


def pattern_drawing(session: Session) -> Figure:
    """The pattern, or its residual, with the outlines of the fitted disks.

    Parameters
    ----------
    session
        What is looked at.

    Raises
    ------
    InputError
        If the pattern cannot be read.
    """
    view, pattern = session.view, session.opened.pattern(session.view.at)
    if pattern.counts is None:
        raise InputError(pattern.trouble or "there is no scan, so there is no pattern to save")
    width = WIDTH - 2 * MARGIN - 10.0
    n_rows, n_columns = pattern.counts.shape
    box = Box(MARGIN, TOP, width, width * n_rows / n_columns)
    page = Page(box.bottom + MARGIN, WIDTH)
    what = "residual (Poisson deviations)" if view.residual else f"counts ({view.brightness})"
    _head(page, session, f"row {view.at[0]}, column {view.at[1]}: {what}")
    axes = page.axes(box)
    axes.set(xticks=[], yticks=[])
    if view.residual:
        values, colours = session.opened.residual(view.at), DIVERGING
        norm: Normalize = Normalize(-5, 5)
    else:
        values, colours = np.asarray(pattern.counts, float), PATTERN
        low, high = session.opened.reach(view.at, pattern.counts)
        norms = {"log": SymLogNorm(1.0, vmin=low, vmax=high), "sqrt": PowerNorm(0.5, low, high)}
        norm = norms.get(view.brightness, Normalize(low, high))
    image = axes.imshow(values, cmap=colours, norm=norm, interpolation="nearest")
    bar = page.axes(box.beside(1.5, 2.5))
    page.figure.colorbar(image, cax=bar).ax.tick_params(labelsize=NOTE_SIZE, length=2, width=0.5)
    fitted = pattern.reflections
    if fitted is not None and len(fitted.y):
        circle(axes, fitted.y, fitted.x, fitted.disk_radius, colour=MARK, line_width=0.5)
    axes.set(xlim=(-0.5, n_columns - 0.5), ylim=(n_rows - 0.5, -0.5))
    return page.figure


def profile_drawing(session: Session) -> Figure:
    """The profile with its band of one standard deviation.

    Parameters
    ----------
    session
        What is looked at.

    Raises
    ------
    InputError
        If no line is drawn, or the map is one of categories.
    """
    found, step = session.profile(), session.opened.step
    if found is None:
        raise InputError("there is no profile to save; draw a line across a map of numbers first")
    page = Page(62.0, WIDTH)
    line = session.view.line
    assert line is not None
    _head(page, session, f"profile {line.start} to {line.stop}, width {line.width:g}")
    axes = page.axes(Box(14.0, TOP, WIDTH - 18.0, 39.0))
    distance = found.distance * step.value
    if found.sigma is not None:
        low, high = found.values - found.sigma, found.values + found.sigma
        axes.fill_between(distance, low, high, color="#b9c9dd", lw=0)
    axes.plot(distance, found.values, color="#23426b", lw=0.9, marker=".", ms=2.5)
    axes.set_xlabel(f"distance ({step.unit})", size=NOTE_SIZE, labelpad=1)
    axes.set_ylabel(session.shown().title, size=NOTE_SIZE, labelpad=1)
    return page.figure


def _colours(found: Shown) -> Colormap:
    colours = colours_of(found.kind, len(found.categories), cyclic=found.scale.cyclic)
    return ListedColormap(colours.rgb, colours.name)


def _head(page: Page, session: Session, title: str) -> None:
    name = str(session.maps.attrs.get("name", "result"))
    page.text(MARGIN, 2.5, f"{name}: {title}"[:90], weight="bold")
    reference = str(session.maps.attrs.get("reference", ""))
    if reference:
        text = fill(f"strain relative to {reference}", 82, max_lines=2)
        page.text(MARGIN, 6.0, text, size=NOTE_SIZE, color=MUTED)


DRAWINGS = {"map": map_drawing, "pattern": pattern_drawing, "profile": profile_drawing}
"""Functions by what they draw."""
