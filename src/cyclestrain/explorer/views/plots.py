"""The two drawings below the map: its histogram, which picks out a range of values, and the profile along the line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from bokeh.events import Reset, SelectionGeometry, Tap
from bokeh.models import BoxAnnotation, BoxSelectTool, ColumnDataSource, HoverTool, LinearColorMapper
from bokeh.plotting import figure

from cyclestrain.explorer.profiles import Profile
from cyclestrain.explorer.quantities import Shown
from cyclestrain.explorer.views.theme import Theme, paint, palette

__all__ = ["HistogramView", "ProfileView"]

BINS = 60
Range = tuple[float, float] | None


class HistogramView:
    """Histogram of the map in its colours; dragging across it picks out a range of values.

    Parameters
    ----------
    theme
        Colours.
    brushed
        Called with the range, None for all.
    """

    def __init__(self, theme: Theme, brushed: Callable[[Range], None]) -> None:
        self.plot = figure(
            name="histogram", tools="reset", toolbar_location=None, title=NO_BRUSH, x_range=(-1, 1),
            min_border=4, sizing_mode="stretch_both", height=150, min_width=200,
        )  # fmt: skip
        self.plot.title.text_font_size = "12px"
        self.plot.title.text_font_style = "normal"
        self._bars = ColumnDataSource({"left": [], "right": [], "top": [], "middle": []})
        self._colours = LinearColorMapper(palette=palette("strain"), low=-1, high=1)
        self.plot.quad(
            left="left", right="right", top="top", bottom=0, source=self._bars, line_color=None,
            fill_color={"field": "middle", "transform": self._colours},
        )  # fmt: skip
        self._box = BoxAnnotation(left=None, right=None, fill_alpha=0.18, fill_color="#e6007e", visible=False)
        self.plot.add_layout(self._box)
        tool = BoxSelectTool(dimensions="width", renderers=[])
        self.plot.add_tools(tool)
        self.plot.toolbar.active_drag = tool
        self.plot.yaxis.visible = False
        self.plot.y_range.start = 0
        self._brushed = brushed
        self.plot.on_event(SelectionGeometry, self._drawn)
        for event in (Tap, Reset):
            self.plot.on_event(event, lambda _event: brushed(None))
        self.paint(theme)

    def paint(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        paint(self.plot, theme)

    def _drawn(self, event: SelectionGeometry) -> None:
        if event.final and event.geometry.get("type") == "rect":
            low, high = sorted((float(event.geometry["x0"]), float(event.geometry["x1"])))
            self._brushed((low, high) if high > low else None)

    def show(self, found: Shown, brush: Range) -> None:
        """Show the values of another map.

        Parameters
        ----------
        found
            The map.
        brush
            Range that is picked out.
        """
        scale, finite = found.scale, found.values[np.isfinite(found.values)]
        n = len(found.categories) or BINS
        counts, edges = np.histogram(np.clip(finite, scale.low, scale.high), n, (scale.low, scale.high))
        width = 0.8 if found.categories else 1.0
        middle = (edges[1:] + edges[:-1]) / 2
        half = np.diff(edges) / 2 * width
        self._colours.update(
            palette=palette(found.kind, len(found.categories), cyclic=scale.cyclic),
            low=scale.low,
            high=scale.high,
        )
        self._bars.data = {"left": middle - half, "right": middle + half, "top": counts, "middle": middle}
        self.plot.x_range.update(start=scale.low, end=scale.high)
        self.plot.xaxis.visible = not found.categories
        self._box.update(left=brush[0] if brush else None, right=brush[1] if brush else None, visible=brush is not None)


class ProfileView:
    """Profile along the line with a band of one standard deviation.

    Parameters
    ----------
    theme
        Colours.
    """

    def __init__(self, theme: Theme) -> None:
        self.plot = figure(
            name="profile", tools="pan,wheel_zoom,reset", toolbar_location=None, title=NO_LINE, min_border=4,
            sizing_mode="stretch_both", height=150, min_width=200,
        )  # fmt: skip
        self.plot.title.text_font_size = "12px"
        self.plot.title.text_font_style = "normal"
        self._source = ColumnDataSource({"x": [], "y": [], "low": [], "high": [], "sigma": []})
        self._band = self.plot.varea("x", "low", "high", source=self._source, fill_alpha=0.3)
        self._line = self.plot.line("x", "y", source=self._source, line_width=1.6)
        points = self.plot.scatter("x", "y", source=self._source, size=4)
        self._points = points
        tips = [("distance", "@x{0.00}"), ("value", "@y{0.0000}"), ("σ", "@sigma{0.0000}")]
        self.plot.add_tools(HoverTool(renderers=[points], tooltips=tips, mode="vline"))
        self.paint(theme)

    def paint(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        paint(self.plot, theme)
        self._band.glyph.fill_color = self._line.glyph.line_color = theme.line
        self._points.glyph.update(line_color=theme.line, fill_color=theme.line)

    def show(self, found: Profile | None, title: str, step: float, unit: str) -> None:
        """Show another profile.

        Parameters
        ----------
        found
            The profile, None for none.
        title
            What it is a profile of.
        step, unit
            Distance between positions.
        """
        if found is None:
            self._source.data = {name: [] for name in self._source.data}
            self.plot.title.text = NO_LINE
            return
        sigma = np.zeros(len(found.values)) if found.sigma is None else found.sigma
        self._source.data = {
            "x": found.distance * step, "y": found.values, "low": found.values - sigma, "high": found.values + sigma,
            "sigma": sigma,
        }  # fmt: skip
        self.plot.title.text = f"{title} along the line{', band 1 σ' if found.sigma is not None else ''}"
        self.plot.xaxis.axis_label = f"distance ({unit})"


NO_LINE = "profile: choose “profile”, then drag on the map"
NO_BRUSH = "histogram: drag to pick out values, click to end"
