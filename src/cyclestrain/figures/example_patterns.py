"""Figure of single patterns as recorded, as fitted, and what is left, in units of their noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from cyclestrain.data import FloatArray
from cyclestrain.display.ranges import ColourScale
from cyclestrain.figures.dictionary_view import circle
from cyclestrain.figures.maps import DIVERGING, PATTERN, draw_colour_bar
from cyclestrain.figures.page import MUTED, NOTE_SIZE, TEXT_SIZE, TITLE_SIZE, Box, Page
from cyclestrain.figures.panels import MARGIN

__all__ = ["Example", "examples_figure"]

TOP, BESIDE, GAP, BAR = 16.5, 34.0, 3.0, 2.0
"""Height of the header, width of the text beside a row, gaps and height of the colour bar, millimetres."""
SIDE = 44.0
"""Side of a panel, millimetres."""
RESIDUAL = ColourScale(-5.0, 5.0)
"""Residuals shown, standard deviations of a pixel."""
GAMMA = 0.5
"""Square-root scale of counts: it shows weak disks without lifting the noise."""
HEADINGS = ("recorded", "fitted", "(recorded \N{MINUS SIGN} fitted) / noise")
DESCRIPTION = (
    "Counts on a square-root scale, circles where the fit expects disks; beside them what the model draws, and the\n"
    "residual in standard deviations of a pixel. Where the fit is right, the residual has no structure."
)


@dataclass(frozen=True)
class Example:
    """One pattern with its fit.

    Attributes
    ----------
    title, note
        Why it is shown, and its numbers, a few short lines.
    recorded, fitted
        Counts, shape ``(qy, qx)``; `fitted` is NaN where the model says nothing.
    noise
        Standard deviation of each pixel, shape ``(qy, qx)``.
    disks
        Middles of the expected disks ``(y, x)``, pixels, shape ``(n, 2)``.
    radius
        Radius of a disk, pixels.
    """

    title: str
    note: str
    recorded: FloatArray
    fitted: FloatArray
    noise: FloatArray
    disks: FloatArray
    radius: float


def examples_figure(examples: Sequence[Example]) -> Figure:
    """Draw a row of three panels for every example: recorded, fitted, and the residual in units of the noise.

    Parameters
    ----------
    examples
        At least one.
    """
    page = Page(TOP + len(examples) * (SIDE + GAP) + BAR + 5.0)
    page.text(MARGIN, 3.0, "Patterns and their fits", size=TITLE_SIZE, weight="bold")
    page.text(MARGIN, 6.6, DESCRIPTION, size=NOTE_SIZE, color=MUTED, linespacing=1.3)
    left = MARGIN + BESIDE
    boxes = [Box(left + column * (SIDE + GAP), TOP, SIDE, SIDE) for column in range(3)]
    for row, example in enumerate(examples):
        top = TOP + row * (SIDE + GAP)
        page.text(MARGIN, top + 1, example.title, size=TEXT_SIZE, weight="bold")
        page.text(MARGIN, top + 5, example.note, size=NOTE_SIZE, color=MUTED, linespacing=1.4)
        panels = [page.axes(Box(box.left, top, SIDE, SIDE)) for box in boxes]
        _draw(panels, example)
        if row == 0:
            for box, heading in zip(boxes, HEADINGS, strict=True):
                page.text(box.left, top - 1.0, heading, size=NOTE_SIZE, va="baseline")
    draw_colour_bar(page.axes(Box(boxes[2].left, page.height - BAR - 4.5, SIDE, BAR)), RESIDUAL, DIVERGING)
    return page.figure


def _brightest(example: Example) -> float:
    """Counts at the end of the scale: those of the brightest disk, so that the foot of the beam does not set it."""
    places = np.rint(example.disks).astype(int)
    inside = (places >= 0).all(1) & (places < example.fitted.shape).all(1)
    at_disks = example.fitted[tuple(places[inside].T)]
    at_disks = at_disks[np.isfinite(at_disks)]
    return max(float(at_disks.max()), 1.0) if at_disks.size else max(float(example.recorded.max()), 1.0)


def _draw(panels: Sequence[Axes], example: Example) -> None:
    """The three panels of one example, cut to where its reflections are."""
    recorded, fitted = example.recorded.astype(float), example.fitted
    norm = PowerNorm(GAMMA, 0, _brightest(example), clip=True)
    for axes, image in zip(panels, (recorded, fitted), strict=False):
        axes.imshow(np.clip(image, 0, None), cmap=PATTERN, norm=norm, interpolation="nearest")
    residual = (recorded - fitted) / example.noise
    panels[2].imshow(residual, cmap=DIVERGING, norm=Normalize(RESIDUAL.low, RESIDUAL.high), interpolation="nearest")
    if len(example.disks):
        circle(panels[0], example.disks[:, 0], example.disks[:, 1], example.radius)
    rows, columns = (np.flatnonzero(np.isfinite(fitted).any(axis)) for axis in (1, 0))
    for axes in panels:
        axes.set(xticks=[], yticks=[], facecolor="#f2f2f2")
        if rows.size:
            axes.set(xlim=(columns[0] - 0.5, columns[-1] + 0.5), ylim=(rows[-1] + 0.5, rows[0] - 0.5))
