"""Colours of the window, light and dark, for the drawings (canvas) and for the controls (CSS)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from bokeh.models import Axis, ColorBar, Grid, Title
from bokeh.plotting import figure

from cyclestrain.display.colours import PATTERN
from cyclestrain.explorer.colours import colours_of

__all__ = ["DARK", "LIGHT", "SHEET", "Theme", "paint", "palette", "pattern_palette"]


@dataclass(frozen=True)
class Theme:
    """Colours of drawings: ground, ink of text, quieter ink, positions without a value, line of a profile."""

    name: str
    ground: str
    ink: str
    quiet: str
    blank: str
    line: str


LIGHT = Theme("light", "#ffffff", "#1a1a1a", "#6b6b6b", "#c9c9c9", "#23426b")
DARK = Theme("dark", "#16181d", "#ececec", "#9a9ea6", "#3a3d44", "#8fb8e8")

SHEET = """
:host { color: var(--cs-ink); font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 13px; }
:host(.cs-root) {
  --cs-ground: #ffffff; --cs-ink: #1a1a1a; --cs-quiet: #5c5c5c; --cs-field: #ffffff; --cs-edge: #b8bcc2;
  --cs-on: #23426b; --cs-on-ink: #ffffff; --cs-warn: #8a3b00; --cs-head: #f1f2f4;
  background: var(--cs-ground); padding: 6px 10px; box-sizing: border-box;
}
:host(.cs-root.cs-dark) { color-scheme: dark;
  --cs-ground: #16181d; --cs-ink: #ececec; --cs-quiet: #a6aab2; --cs-field: #23262d; --cs-edge: #4a4e57;
  --cs-on: #8fb8e8; --cs-on-ink: #10131a; --cs-warn: #ffb27a; --cs-head: #23262d;
}
label, .bk-input-group, .bk-slider-title { color: var(--cs-quiet); font-size: 12px; }
.bk-input { background-color: var(--cs-field); color: var(--cs-ink); border-color: var(--cs-edge);
  min-height: 26px; height: 26px; padding: 0 6px; font-size: 13px; }
select.bk-input option, select.bk-input optgroup { background: var(--cs-field); color: var(--cs-ink); }
select.bk-input { appearance: auto; background-image: none; }
.bk-clearfix { width: 100%; }
.bk-btn, .bk-btn-default { background-color: var(--cs-field); color: var(--cs-ink); border-color: var(--cs-edge);
  padding: 3px 8px; font-size: 13px; }
.bk-btn.bk-active, .bk-btn-default.bk-active { background-color: var(--cs-on); color: var(--cs-on-ink);
  border-color: var(--cs-on); }
.bk-btn:hover, .bk-btn-default:hover { border-color: var(--cs-on); background-color: var(--cs-head); }
.bk-btn.bk-active:hover, .bk-btn-default.bk-active:hover { background-color: var(--cs-on); }
.bk-btn:active, .bk-btn-default:active { background-color: var(--cs-head); }
.bk-btn[disabled], .bk-btn-default[disabled] { background-color: var(--cs-ground); color: var(--cs-quiet);
  opacity: 0.55; }
.noUi-target { background: var(--cs-head); border-color: var(--cs-edge); box-shadow: none; }
.noUi-handle { background: var(--cs-field); border-color: var(--cs-edge); box-shadow: none; }
.noUi-connect { background: var(--cs-edge) !important; }
.bk-btn:focus-visible, .bk-input:focus-visible { outline: 2px solid var(--cs-on); outline-offset: 1px; }
.bk-menu { background-color: var(--cs-field); color: var(--cs-ink); border-color: var(--cs-edge); }
.bk-menu > *:hover, .bk-menu > *.bk-active { background-color: var(--cs-on); color: var(--cs-on-ink); }
.cs-quiet { color: var(--cs-quiet); }
.cs-warn { color: var(--cs-warn); }
h1 { font-size: 15px; margin: 0; font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { padding: 1px 6px 1px 0; text-align: right; font-weight: normal; white-space: nowrap; line-height: 1.32; }
td:first-child, th:first-child { text-align: left; white-space: normal; }
th { color: var(--cs-quiet); border-bottom: 1px solid var(--cs-edge); }
ul { margin: 2px 0 0 0; padding-left: 16px; }
code { font-family: "DejaVu Sans Mono", ui-monospace, monospace; font-size: 11.5px; user-select: all;
  overflow-wrap: anywhere; }
kbd { border: 1px solid var(--cs-edge); border-radius: 3px; padding: 0 4px; font-size: 12px; }
"""
"""Style of every control; its colours are those of the root, which inherit into all."""


@cache
def palette(kind: str, n: int = 0, *, cyclic: bool = False) -> tuple[str, ...]:
    """Colours of a kind of map, see `cyclestrain.explorer.colours.colours_of`."""
    return tuple(colours_of(kind, n, cyclic=cyclic).hexes())


@cache
def pattern_palette(brightness: str, *, dark: bool = False) -> tuple[str, ...]:
    """Colours of counts, so that equal steps of the root of the counts look equal where that is asked for.

    Parameters
    ----------
    brightness
        ``sqrt``, ``log`` or ``linear``; for ``log`` the mapper takes the logarithm.
    dark
        Whether few counts are dark.
    """
    colours = PATTERN.reversed() if dark else PATTERN
    return tuple(colours.hexes(1024, 0.5) if brightness == "sqrt" else colours.hexes())


def paint(plot: figure, theme: Theme) -> None:
    """Give a drawing the colours of a theme.

    Parameters
    ----------
    plot
        The drawing.
    theme
        `LIGHT` or `DARK`.
    """
    plot.background_fill_color = plot.border_fill_color = theme.ground
    plot.outline_line_color = theme.quiet
    plot.border_line_color = None
    texts: dict[str, Any] = {"major_label_text_color": theme.ink, "title_text_color": theme.ink}
    # Bokeh's own search for parts of a kind takes a fifth of the time in which a window is made.
    for part in (*plot.left, *plot.right, *plot.above, *plot.below, *plot.center):
        if isinstance(part, Axis):
            part.update(**dict.fromkeys(_AXIS_LINES, theme.quiet), **dict.fromkeys(_AXIS_TEXTS, theme.ink))
        elif isinstance(part, Grid):
            part.grid_line_color = None
        elif isinstance(part, ColorBar):
            part.update(background_fill_color=theme.ground, bar_line_color=theme.quiet, **texts)
    if isinstance(plot.title, Title):
        plot.title.text_color = theme.ink


_AXIS_LINES = ("axis_line_color", "major_tick_line_color", "minor_tick_line_color")
_AXIS_TEXTS = ("major_label_text_color", "axis_label_text_color")
