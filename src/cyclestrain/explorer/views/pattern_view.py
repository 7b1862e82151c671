"""The pattern of a position: counts or residual, with the fitted reflections and the outlines of their disks."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import ColorBar, ColumnDataSource, DataRange1d, HoverTool, LinearColorMapper, LogColorMapper
from bokeh.plotting import figure

from cyclestrain.data import FloatArray
from cyclestrain.explorer.colours import MARK
from cyclestrain.explorer.views.theme import Theme, paint, palette, pattern_palette
from cyclestrain.result import Predicted

__all__ = ["PatternView"]

RESIDUAL_END = 5.0
"""Poisson deviations at the ends of the colours of a residual."""
CHOSEN = "#00a5a5"


class PatternView:
    """The drawing of a pattern.

    Parameters
    ----------
    shape
        Rows and columns of the detector.
    theme
        Colours.
    """

    def __init__(self, shape: tuple[int, int], theme: Theme) -> None:
        self.shape, self._dark, self._brightness = shape, theme.name == "dark", "sqrt"
        self._shown: np.ndarray | None = None
        self.plot = _empty()
        self.plot.update(name="pattern", css_classes=["cs-pattern-plot"])
        self._roots = LinearColorMapper(
            palette=pattern_palette("sqrt", dark=self._dark), low=0, high=1, nan_color=theme.blank
        )
        self._logs = LogColorMapper(
            palette=pattern_palette("log", dark=self._dark), low=0.5, high=1, nan_color=theme.blank
        )
        self._signed = LinearColorMapper(
            palette=palette("strain"), low=-RESIDUAL_END, high=RESIDUAL_END, nan_color=theme.blank
        )
        self.centre = ColumnDataSource({"x": [shape[1] / 2], "y": [shape[0] / 2]})
        self._disks = ColumnDataSource({name: [] for name in ("x", "y", "r", "name", "counts", "edge")})
        place: dict[str, Any] = {"x": -0.5, "y": -0.5, "dw": shape[1], "dh": shape[0]}
        middle = (shape[1] - 1) / 2, (shape[0] - 1) / 2
        self._frame = self.plot.rect(*middle, width=shape[1], height=shape[0], fill_color=None, line_color=theme.quiet)
        for extent in (self.plot.x_range, self.plot.y_range):
            extent.renderers = [self._frame]
        # A drawing for each kind of colours: exchanging the colours of one does not draw it anew. Only the one that is
        # seen has the values, since Bokeh colours those of the others as well.
        self._drawings = {
            mapper: self.plot.image("image", color_mapper=mapper, visible=False, source=self._source(), **place)
            for mapper in (self._roots, self._logs, self._signed)
        }
        self._colours: LinearColorMapper | LogColorMapper = self._roots
        self.disks = self.plot.circle(
            "x", "y", radius="r", source=self._disks, fill_color=None, line_color="edge", line_width=1.4
        )
        self.dots = self.plot.scatter("x", "y", source=self._disks, marker="cross", size=5, line_color="edge")
        self.plot.scatter("x", "y", source=self.centre, marker="x", size=9, line_color=MARK, line_width=1.5)
        self.plot.add_tools(
            HoverTool(
                renderers=list(self._drawings.values()),
                visible=False,
                tooltips=[("value", "@image"), ("row, column", "$y{0}, $x{0}")],
            ),
            HoverTool(
                renderers=[self.disks],
                visible=False,
                tooltips=[("reflection", "@name"), ("expected", "@counts{0.0} counts")],
            ),
        )
        self._bar = ColorBar(color_mapper=self._roots, width=12, padding=4, label_standoff=4)
        self.plot.add_layout(self._bar, "right")
        self.paint(theme)

    def paint(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        paint(self.plot, theme)
        self._frame.glyph.line_color = theme.quiet
        for mapper in (self._roots, self._logs, self._signed):
            mapper.nan_color = theme.blank
        self._palettes(self._brightness, theme.name == "dark")

    def _palettes(self, brightness: str, dark: bool) -> None:
        """Set the colours of counts where they are others than before; it takes Bokeh a while."""
        if dark != self._dark:
            self._logs.palette = pattern_palette("log", dark=dark)
        if dark != self._dark or brightness != self._brightness:
            self._roots.palette = pattern_palette(brightness, dark=dark)
        self._brightness, self._dark = brightness, dark

    def outlines(self, on: bool) -> None:
        """Show the outlines of the fitted disks, or hide them."""
        self.disks.visible = self.dots.visible = on

    def show(self, values: np.ndarray | None, title: str) -> None:
        """Show values of the detector's pixels; nothing where there are none.

        Parameters
        ----------
        values
            Shape ``(qy, qx)``; sent in their own type, so that the numbers under the mouse are those of the file.
        title
            Text above.
        """
        if values is None or values is not self._shown:
            self._shown = values
            self._send()
        self.plot.title.text = title

    def _send(self) -> None:
        """Send the values to the drawing that is seen."""
        image = np.zeros(self.shape, np.uint8) if self._shown is None else _sendable(self._shown)
        self._drawings[self._colours].data_source.data = {"image": [image]}

    def _source(self) -> ColumnDataSource:
        return ColumnDataSource({"image": [np.zeros(self.shape, np.uint8)]})

    def colour(self, brightness: str, reach: tuple[float, float] | None) -> None:
        """Choose colours.

        Parameters
        ----------
        brightness
            ``sqrt``, ``log`` or ``linear``.
        reach
            Counts at the ends of the colours; None for those of a residual.
        """
        mapper: LinearColorMapper | LogColorMapper
        if reach is None:
            mapper = self._signed
        elif brightness == "log":
            mapper = self._logs
            mapper.update(low=max(reach[0], 0.5), high=max(reach[1], 1.0))
        else:
            mapper = self._roots
            mapper.update(low=reach[0], high=max(reach[1], reach[0] + 1e-6))
            self._palettes(brightness, self._dark)
        if mapper is not self._colours:
            self._colours = mapper
            self._send()
        for other, drawing in self._drawings.items():
            drawing.visible = other is mapper
        self._bar.color_mapper = mapper

    def reflections(self, fitted: Predicted | None, chosen: tuple[int, ...] = ()) -> None:
        """Draw the outlines of the fitted disks.

        Parameters
        ----------
        fitted
            See `cyclestrain.result.Predicted`; None for none.
        chosen
            Numbers of reflections of the virtual detector, which are drawn in another colour.
        """
        if fitted is None or not len(fitted.y):
            self._disks.data = {name: [] for name in self._disks.data}
            return
        n = len(fitted.y)
        edge = np.full(n, MARK, dtype=object)
        edge[[k for k in chosen if k < n]] = CHOSEN
        names = [_miller(h, k) for h, k in zip(fitted.h, fitted.k, strict=True)]
        self._disks.data = {
            "x": fitted.x, "y": fitted.y, "r": np.full(n, fitted.disk_radius),
            "name": names, "counts": fitted.intensity, "edge": list(edge),
        }  # fmt: skip
        self.centre.data = {"x": [float(fitted.centre[1])], "y": [float(fitted.centre[0])]}


def _sendable(values: np.ndarray) -> np.ndarray:
    """The same values in the smallest type that the browser takes and that holds them exactly."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    for kind in (np.uint8, np.uint16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return values.astype(np.float64)


def _miller(h: float, k: float) -> str:
    return f"({h:.0f} {k:.0f})" if np.isfinite([h, k]).all() else "off the lattice"


def _empty() -> figure:
    plot = figure(
        tools="pan,wheel_zoom,reset", active_drag=None, active_scroll="wheel_zoom", toolbar_location="above",
        x_range=DataRange1d(range_padding=0), y_range=DataRange1d(range_padding=0, flipped=True), match_aspect=True,
        title=" ", min_border=4,
        sizing_mode="stretch_both", min_width=240, min_height=240,
    )  # fmt: skip
    plot.axis.visible = False
    plot.toolbar.logo = None
    plot.title.text_font_size = "13px"
    return plot


def inside(fitted: Predicted | None, y: float, x: float) -> int | None:
    """Number of the reflection whose disk, or its near surroundings, holds a point; None where there is none.

    Parameters
    ----------
    fitted
        See `cyclestrain.result.Predicted`.
    y, x
        The point, pixels.
    """
    if fitted is None or not len(fitted.y):
        return None
    away: FloatArray = np.hypot(fitted.y - y, fitted.x - x)
    nearest = int(away.argmin())
    return nearest if away[nearest] <= 2 * fitted.disk_radius else None
