"""A map: values in colour, what the filters leave out in grey, reference, line and position marked."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import (
    BasicTicker,
    ColorBar,
    ColumnDataSource,
    DataRange1d,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    ScaleBar,
)
from bokeh.models.annotations.dimensional import Metric
from bokeh.plotting import figure

from cyclestrain.data import BoolArray, FloatArray, Quantity
from cyclestrain.display.outlines import edge_segments
from cyclestrain.explorer.colours import MARK
from cyclestrain.explorer.quantities import Shown
from cyclestrain.explorer.regions import Line
from cyclestrain.explorer.views.theme import Theme, paint, palette

__all__ = ["MapView"]

CLEAR = "rgba(0,0,0,0)"


class MapView:
    """The drawing of one map.

    Parameters
    ----------
    shape
        Rows and columns.
    step
        Distance between positions.
    theme
        Colours.
    name
        Of the drawing.
    beside
        Another drawing that shows the same part of the scan.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        step: Quantity,
        theme: Theme,
        name: str = "map",
        beside: MapView | None = None,
    ) -> None:
        self.shape, self.step = shape, step.value
        self.plot: figure = _empty(step, None if beside is None else beside.plot)
        self.plot.update(name=name, css_classes=[f"cs-{name}-plot"])
        self._image = ColumnDataSource({"image": [np.zeros(shape, np.float32)]})
        self._veil = ColumnDataSource({"image": [np.zeros(shape, np.uint8)]})
        self._came = ColumnDataSource({"came": [np.ones((1, 1), np.uint8)]})
        self._outline = ColumnDataSource({"xs": [], "ys": []})
        self._line = ColumnDataSource({"xs": [], "ys": []})
        self._cursor = ColumnDataSource({"x": [0.0], "y": [0.0]})
        self._colours = LinearColorMapper(palette=palette("strain"), low=-1, high=1, nan_color=CLEAR)
        self._veil_colours = LinearColorMapper(palette=[CLEAR, theme.blank], low=0, high=1)
        place: dict[str, Any] = {
            "x": -0.5 * self.step, "y": -0.5 * self.step, "dw": shape[1] * self.step, "dh": shape[0] * self.step
        }  # fmt: skip
        middle = (shape[1] - 1) / 2 * self.step, (shape[0] - 1) / 2 * self.step
        self._ground = self.plot.rect(
            *middle, width=place["dw"], height=place["dh"], line_color=None, hatch_pattern="/", hatch_scale=9
        )
        self._blank = LinearColorMapper(palette=[CLEAR, theme.blank], low=0, high=1)
        self.plot.image("came", source=self._came, color_mapper=self._blank, **place)
        drawn = self.plot.image("image", source=self._image, color_mapper=self._colours, **place)
        if beside is None:
            for extent in (self.plot.x_range, self.plot.y_range):
                extent.renderers = [drawn]
        self.plot.image("image", source=self._veil, color_mapper=self._veil_colours, **place)
        self.plot.multi_line("xs", "ys", source=self._outline, line_color="#000000", line_width=2.6)
        self.plot.multi_line("xs", "ys", source=self._outline, line_color="#ffffff", line_width=1.0)
        self.plot.multi_line("xs", "ys", source=self._line, line_color=MARK, line_width=2)
        for colour, width in (("#ffffff", 4.0), (MARK, 2.0)):
            # Above all else: there it is drawn by itself, and the map not anew for every position.
            mark: dict[str, Any] = {"marker": "square_cross", "size": 14, "fill_color": None, "level": "overlay"}
            self.plot.scatter("x", "y", source=self._cursor, line_color=colour, line_width=width, **mark)
        where = (f"y, x ({step.unit})", "$y{0.[0]}, $x{0.[0]}")
        self.plot.add_tools(HoverTool(renderers=[drawn], tooltips=[("value", "@image{0.0000}"), where], visible=False))
        self.theme = theme
        self._bar_names: tuple[str, ...] | None = None
        self._painted = ("strain", 0, False)
        self._bar(())
        self.paint(theme)

    def paint(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self.theme = theme
        paint(self.plot, theme)
        self._ground.glyph.update(fill_color=theme.ground, hatch_color=theme.quiet, hatch_alpha=0.6)
        self._blank.palette = [CLEAR, theme.blank]
        self._veil_colours.palette = [CLEAR, theme.blank]

    def show(self, found: Shown, picked: BoolArray) -> None:
        """Show another map.

        Parameters
        ----------
        found
            The map.
        picked
            Positions that the filters leave, shape ``(ry, rx)``.
        """
        self.plot.title.text = found.title
        colours = (found.kind, len(found.categories), found.scale.cyclic)
        if colours != self._painted:  # it takes Bokeh a while
            self._painted = colours
            self._colours.palette = palette(*colours[:2], cyclic=colours[2])
        self._colours.update(low=found.scale.low, high=found.scale.high)
        self._bar(found.categories)
        self._image.data = {"image": [found.values.astype(np.float32)]}
        self.veil(picked)

    def arrived(self, came: BoolArray | None) -> None:
        """Hatch the positions that have not come; those without a value are plain.

        Parameters
        ----------
        came
            Those that have, shape ``(ry, rx)``; None for all.
        """
        whole = came is None or bool(came.all())
        self._came.data = {"came": [np.ones((1, 1), np.uint8) if whole or came is None else came.astype(np.uint8)]}

    def _bar(self, names: tuple[str, ...]) -> None:
        """Draw the colour bar, with names where the map is one of categories; a new one where they change."""
        if names == self._bar_names:
            return
        self._bar_names = names
        options: dict[str, Any] = {"ticker": BasicTicker(desired_num_ticks=6)}
        if names:
            options = {
                "ticker": FixedTicker(ticks=list(range(len(names))), minor_ticks=[]),
                "major_label_overrides": dict(enumerate(names)),
            }
        self.plot.right = [ColorBar(color_mapper=self._colours, width=12, padding=4, label_standoff=4, **options)]
        paint(self.plot, self.theme)

    def veil(self, picked: BoolArray) -> None:
        """Cover the positions that the filters leave out."""
        self._veil.data = {"image": [(~picked).astype(np.uint8)]}

    def mark(self, at: tuple[int, int]) -> None:
        """Mark a position, row and column."""
        self._cursor.data = {"x": [at[1] * self.step], "y": [at[0] * self.step]}

    def outline(self, reference: BoolArray) -> None:
        """Draw the outline of the reference."""
        segments = (edge_segments(reference) if reference.any() else np.zeros((0, 2, 2))) * self.step
        self._outline.data = {"xs": list(segments[..., 0]), "ys": list(segments[..., 1])}

    def line(self, line: Line | None) -> None:
        """Draw the line of the profile, with its width."""
        strokes = [] if line is None else _strokes(line)
        self._line.data = {"xs": [s[:, 1] * self.step for s in strokes], "ys": [s[:, 0] * self.step for s in strokes]}

    def position(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of the position nearest a point of the drawing."""
        near = np.round(np.array([y, x]) / self.step)
        row, column = np.clip(near, 0, np.array(self.shape) - 1).astype(int)
        return int(row), int(column)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Point of the drawing in positions, ``(y, x)``."""
        return round(y / self.step, 2), round(x / self.step, 2)


def _strokes(line: Line) -> list[FloatArray]:
    """The line, and its two sides where it is wide; each of shape ``(2, 2)`` as ``(y, x)``."""
    ends = np.array([line.start, line.stop])
    along = ends[1] - ends[0]
    if line.width <= 1 or not along.any():
        return [ends]
    side = np.array([-along[1], along[0]]) / np.hypot(*along) * line.width / 2
    return [ends, ends + side, ends - side]


def _empty(step: Quantity, beside: figure | None) -> figure:
    """Drawing without a map: rows run downwards, positions are square, a bar tells the scale."""
    x_range = DataRange1d(range_padding=0) if beside is None else beside.x_range
    y_range = DataRange1d(range_padding=0, flipped=True) if beside is None else beside.y_range
    plot = figure(
        tools="pan,wheel_zoom,reset", active_drag=None, active_scroll="wheel_zoom", toolbar_location="above",
        x_range=x_range, y_range=y_range, match_aspect=True,
        title=" ", min_border=4, sizing_mode="stretch_both", min_width=240, min_height=240, lod_threshold=None,
    )  # fmt: skip
    plot.axis.visible = False
    plot.toolbar.logo = None
    plot.title.text_font_size = "13px"
    known = step.unit in ("pm", "nm", "um", "µm", "mm", "m")
    dimension = Metric(base_unit="m") if known else Metric(base_unit=step.unit, include=[step.unit])
    unit = {"um": "µm"}.get(step.unit, step.unit)
    plot.add_layout(
        ScaleBar(
            range=plot.x_range, unit=unit, dimensional=dimension, location="bottom_left", bar_length=0.2,
            padding=6, margin=8, label_standoff=2,
            background_fill_color="#ffffff", background_fill_alpha=0.85, label_text_color="#1a1a1a",
            bar_line_color="#1a1a1a", border_line_color=None,
        )
    )  # fmt: skip
    return plot
