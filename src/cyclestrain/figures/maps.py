"""One map and its surroundings: colours, blanks, reference outline, scale bar, axes legend, histogram."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Arc, FancyArrowPatch, Polygon, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from cyclestrain.data import Quantity
from cyclestrain.display import colours as plain
from cyclestrain.display.colours import ColourMap
from cyclestrain.display.fields import Map
from cyclestrain.display.outlines import edge_segments
from cyclestrain.display.ranges import MINUS, ColourScale, format_length, histogram_edges, scale_bar_length
from cyclestrain.errors import InputError
from cyclestrain.figures.page import INK, LINE_WIDTH, MUTED, NOTE_SIZE, Box, Page

__all__ = [
    "BLANK",
    "CONFIDENCE",
    "CYCLIC",
    "DIVERGING",
    "HATCH",
    "PATTERN",
    "PLAIN",
    "SEQUENTIAL",
    "UNCERTAINTY",
    "class_colours",
    "colours_of",
    "draw_axes_legend",
    "draw_colour_bar",
    "draw_histogram",
    "draw_map",
    "draw_scale_bar",
    "named_colours",
    "outline",
    "shade",
]


def _drawable(colours: ColourMap) -> Colormap:
    return ListedColormap(colours.rgb, colours.name)


DIVERGING = _drawable(plain.DIVERGING)
CYCLIC = _drawable(plain.CYCLIC)
SEQUENTIAL = _drawable(plain.SEQUENTIAL)
UNCERTAINTY = _drawable(plain.UNCERTAINTY)
CONFIDENCE = _drawable(plain.CONFIDENCE)
PATTERN = _drawable(plain.PATTERN)
BLANK, HATCH = "#bcbcbc", "#d9d9d9"
"""Colours of the ground and of the hatch where a map has no value."""
PLAIN = "#8a8a8a"
"""Colour where there is a crystal whose class has no reference."""
# Beyond this many positions a map has about as many as the page has pixels: then averaging beats dropping rows.
NEAREST_UP_TO = 300


def colours_of(scale: ColourScale) -> Colormap:
    """Cyclic colours for a cyclic scale, diverging ones otherwise."""
    return CYCLIC if scale.cyclic else DIVERGING


def class_colours(n: int) -> Colormap:
    """Colour map of `n` distinct colours, one for each class."""
    return _drawable(plain.class_colours(n))


def named_colours(name: str) -> Colormap:
    """Colour map of matplotlib or cmcrameri by its name.

    Raises
    ------
    InputError
        If neither has one of that name.
    """
    from cmcrameri import cm  # loads pyplot, which nothing else here does

    if name in cm.cmaps:
        return cm.cmaps[name]
    if name in colormaps:
        return colormaps[name]
    like = get_close_matches(name, [*cm.cmaps, *colormaps], 3)
    hint = f"; did you mean {' or '.join(like)}" if like else ""
    raise InputError(f"neither matplotlib nor cmcrameri has a colour map {name!r}{hint}")


def draw_map(axes: Axes, values: Map, scale: ColourScale, colours: Colormap) -> AxesImage:
    """Draw a map; masked positions are transparent over a light hatch, so that a blank cannot be read as zero.

    Parameters
    ----------
    axes
        Axes that the map fills.
    values
        Map, shape ``(ry, rx)``.
    scale, colours
        Values at the ends of the colour map, and the colour map.
    """
    axes.set(xticks=[], yticks=[])
    axes.add_patch(
        Rectangle(
            (0, 0), 1, 1, transform=axes.transAxes, facecolor=BLANK, edgecolor=HATCH, hatch="//////", lw=0, zorder=0
        )
    )
    small = max(values.shape) <= NEAREST_UP_TO
    return axes.imshow(
        values,
        cmap=colours,
        norm=Normalize(scale.low, scale.high),
        aspect="auto",
        interpolation="nearest" if small else "auto",
        interpolation_stage="rgba",
        zorder=1,
    )


def outline(axes: Axes, mask: NDArray[np.bool_], dashes: tuple[float, ...] = ()) -> None:
    """Outline a region along pixel edges, holes filled, black on white so that it shows on any colour.

    Parameters
    ----------
    axes
        Axes of a map.
    mask
        The region, shape ``(ry, rx)``.
    dashes
        Lengths of dashes and gaps of the black line; solid by default.
    """
    segments = list(edge_segments(binary_fill_holes(mask)))
    style = (0, dashes) if dashes else "solid"
    for colour, width, order in (("white", 1.8, 3), ("black", 0.8, 4)):
        lines = LineCollection(segments, colors=colour, linewidths=width, clip_on=False, zorder=order)
        lines.set(capstyle="butt" if dashes else "projecting", linestyle="solid" if colour == "white" else style)
        axes.add_collection(lines, autolim=False)


def shade(axes: Axes, mask: NDArray[np.bool_]) -> None:
    """Fill positions whose class has no reference with one plain tone, unlike the hatch where there is no crystal.

    Parameters
    ----------
    axes
        Axes of a map.
    mask
        The positions, shape ``(ry, rx)``.
    """
    if mask.any():
        plain: Map = np.ma.masked_where(~mask, np.zeros(mask.shape))
        axes.imshow(plain, cmap=ListedColormap([PLAIN]), aspect="auto", interpolation="nearest", zorder=0.5)


def draw_scale_bar(page: Page, map_box: Box, n_columns: int, step: Quantity, target: float = 12.0) -> None:
    """Draw a scale bar under the left edge of a map.

    Parameters
    ----------
    page
        Page that holds the map.
    map_box
        Place of the map.
    n_columns
        Number of columns of the map.
    step
        Distance between neighbouring positions.
    target
        Largest length of the bar, millimetres.
    """
    per_mm = n_columns * step.value / map_box.width
    length = scale_bar_length(target * per_mm, whole=step.unit == "positions")
    width = length / per_mm
    top = map_box.bottom + 1.3
    page.rectangle(Box(map_box.left, top, width, 0.8), color=INK, lw=0)
    page.text(map_box.left + width + 1, top + 0.4, format_length(length, step.unit), size=NOTE_SIZE, va="center")


def draw_axes_legend(axes: Axes, angle_deg: float) -> None:
    """Draw arrows along the strain's x and y axes as they lie in the picture, and the sense of positive rotation.

    Parameters
    ----------
    axes
        Axes that the legend fills.
    angle_deg
        Angle of the strain's x axis in the picture, degrees, positive from +x to +y (clockwise on the screen).
    """
    axes.set(xlim=(-0.45, 1.55), ylim=(1.55, -0.45))
    axes.set_axis_off()
    angle = np.deg2rad(angle_deg)
    # (x, y) with y downwards: the picture's own sense, in which +x turns to +y clockwise.
    along_x, along_y = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    origin = 0.5 - 0.4 * (along_x + along_y)
    for label, direction in (("x", along_x), ("y", along_y)):
        (x0, y0), (x1, y1), (x, y) = origin, origin + direction, origin + 1.22 * direction
        axes.add_patch(
            FancyArrowPatch(
                (x0, y0), (x1, y1), arrowstyle="-|>", mutation_scale=5, lw=0.9, color=INK, shrinkA=0, shrinkB=0
            )
        )
        axes.text(x, y, label, size=NOTE_SIZE, style="italic", ha="center", va="center")
    _draw_rotation_sense(axes, origin, angle_deg)


def _draw_rotation_sense(axes: Axes, origin: NDArray[np.float64], angle_deg: float) -> None:
    radius, start, stop = 0.52, 12.0, 70.0
    x, y = origin
    axes.add_patch(Arc((x, y), 2 * radius, 2 * radius, angle=angle_deg, theta1=start, theta2=stop, lw=0.7, color=MUTED))
    head = np.deg2rad(angle_deg + np.array([stop + 14, stop - 4, stop - 4]))
    distance = np.array([radius, radius + 0.09, radius - 0.09])
    corners = origin + distance[:, None] * np.stack([np.cos(head), np.sin(head)], -1)
    axes.add_patch(Polygon(list(corners), color=MUTED, lw=0))
    half = np.deg2rad(angle_deg + 45)
    x, y = origin + 0.86 * np.array([np.cos(half), np.sin(half)])
    axes.text(x, y, r"$+\theta$", size=NOTE_SIZE, color=MUTED, ha="center", va="center")


def draw_histogram(axes: Axes, values: Map, scale: ColourScale, *, upright: bool = False) -> None:
    """Draw a histogram over the colour scale of a map.

    Parameters
    ----------
    axes
        Axes that the histogram fills.
    values
        Values of the map.
    scale
        Colour scale of the map.
    upright
        Whether the values lie along y instead of x.
    """
    finite = values.compressed()
    edges = histogram_edges(finite, scale)
    counts, _ = np.histogram(finite, edges)
    axes.stairs(counts, edges, fill=True, color="#7f7f7f", lw=0, orientation="horizontal" if upright else "vertical")
    top = 1.08 * max(int(counts.max()), 1)
    if upright:
        axes.set(ylim=(scale.low, scale.high), xlim=(0, top), xticks=[], yticks=[])
    else:
        axes.set(xlim=(scale.low, scale.high), ylim=(0, top), xticks=[], yticks=[])
        axes.spines["left"].set_visible(False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if scale.low < 0 < scale.high:
        (axes.axhline if upright else axes.axvline)(0, color=INK, lw=LINE_WIDTH, ls=(0, (2, 2)), zorder=3)


def _tick_label(value: float, _: Any = None) -> str:
    return f"{round(value, 9):g}".replace("-", MINUS)


def draw_colour_bar(axes: Axes, scale: ColourScale, colours: Colormap) -> None:
    """Draw a horizontal colour bar over the whole scale.

    Parameters
    ----------
    axes
        Axes that the bar fills.
    scale, colours
        Values at the ends of the colour map, and the colour map.
    """
    mappable = ScalarMappable(Normalize(scale.low, scale.high), colours)
    figure = axes.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(mappable, cax=axes, orientation="horizontal")
    bar.outline.set_linewidth(LINE_WIDTH)
    width = 25.4 * figure.get_figwidth() * axes.get_position().width
    if scale.cyclic:
        bar.set_ticks(list(np.linspace(scale.low, scale.high, 5 if width > 36 else 3)))
    else:
        bar.locator = MaxNLocator(nbins=int(np.clip(width / 12, 2, 8)), steps=[1, 2, 2.5, 4, 5, 10])
    bar.formatter = FuncFormatter(_tick_label)
    bar.update_ticks()
    axes.tick_params(width=LINE_WIDTH, length=1.5, pad=1, labelsize=NOTE_SIZE)
    # Labels at the ends stay over the bar, so that those of neighbouring bars never touch.
    for label, tick in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True):
        if np.isclose(tick, scale.low):
            label.set_horizontalalignment("left")
        elif np.isclose(tick, scale.high):
            label.set_horizontalalignment("right")
