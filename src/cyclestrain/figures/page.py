"""A page on which figures are laid out in millimetres from its top left corner, in the sizes that journals print.

Only `matplotlib.figure.Figure` is used, never pyplot: no windows, no global state, safe in threads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

__all__ = ["INK", "MUTED", "NOTE_SIZE", "PAGE_WIDTH", "TEXT_SIZE", "TITLE_SIZE", "Box", "Page", "quiet_axes"]

PAGE_WIDTH = 180.0
"""Width of two columns of a journal, millimetres."""
TITLE_SIZE, TEXT_SIZE, NOTE_SIZE = 8.0, 7.0, 6.0
"""Font sizes in points."""
INK, MUTED, FRAME = "#1a1a1a", "#666666", "#4d4d4d"
LINE_WIDTH = 0.5
"""Width of lines, points."""
INCH = 25.4
"""Millimetres per inch."""


@dataclass(frozen=True)
class Box:
    """A rectangle on the page, millimetres; `left` and `top` are distances from the page's top left corner."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Distance of the right edge from the page's left edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Distance of the lower edge from the page's upper edge."""
        return self.top + self.height

    def below(self, gap: float, height: float) -> Box:
        """A box of the same width under this one.

        Parameters
        ----------
        gap, height
            Distance to this one, and height, millimetres.
        """
        return replace(self, top=self.bottom + gap, height=height)

    def beside(self, gap: float, width: float) -> Box:
        """A box of the same height to the right of this one.

        Parameters
        ----------
        gap, width
            Distance to this one, and width, millimetres.
        """
        return replace(self, left=self.right + gap, width=width)


class ShownFigure(Figure):
    """A figure that notebooks show, without pyplot and whatever their backend."""

    def _repr_png_(self) -> bytes:
        image = BytesIO()
        self.savefig(image, format="png", dpi=130)
        return image.getvalue()


class Page:
    """A white figure of `width` by `height` millimetres."""

    def __init__(self, height: float, width: float = PAGE_WIDTH) -> None:
        self.width, self.height = width, height
        self.figure = ShownFigure(figsize=(width / INCH, height / INCH), dpi=200, facecolor="white")

    def enlarge(self, factor: float) -> None:
        """Multiply the size of the page and of every text on it by a factor: what did not overlap still does not."""
        if factor != 1.0:
            self.figure.set_size_inches(factor * self.width / INCH, factor * self.height / INCH)
            for text in self.figure.findobj(Text):
                assert isinstance(text, Text)
                text.set_fontsize(float(text.get_fontsize()) * factor)

    def axes(self, box: Box) -> Axes:
        """Add axes that fill `box`."""
        bottom = (self.height - box.bottom) / self.height
        axes = self.figure.add_axes((box.left / self.width, bottom, box.width / self.width, box.height / self.height))
        quiet_axes(axes)
        return axes

    def rectangle(self, box: Box, **style: Any) -> None:
        """Add a rectangle.

        Parameters
        ----------
        box
            Place of the rectangle.
        **style
            Properties of `matplotlib.patches.Rectangle`.
        """
        corner = (box.left / self.width, 1 - box.bottom / self.height)
        self.figure.add_artist(Rectangle(corner, box.width / self.width, box.height / self.height, **style))

    def text(self, left: float, top: float, text: str, **style: Any) -> Text:
        """Add a text whose top left corner is at ``(left, top)``, unless its style aligns it otherwise.

        Parameters
        ----------
        left, top
            Distances from the page's top left corner, millimetres.
        text
            The text.
        **style
            Properties of `matplotlib.text.Text`.
        """
        merged: dict[str, Any] = {"size": TEXT_SIZE, "color": INK, "va": "top", "ha": "left"} | style
        return self.figure.text(left / self.width, 1 - top / self.height, text, **merged)


def quiet_axes(axes: Axes) -> None:
    """Give axes a thin frame, short ticks and small labels."""
    axes.tick_params(width=LINE_WIDTH, length=2, pad=1.5, labelsize=NOTE_SIZE, color=FRAME, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set(linewidth=LINE_WIDTH, color=FRAME)
