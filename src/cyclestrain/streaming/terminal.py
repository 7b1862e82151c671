"""A live map in the terminal: what has come so far as coloured blocks, with rate, lag and time left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.errors import printable
from cyclestrain.progress import clock
from cyclestrain.streaming.following import Course

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

__all__ = ["View", "shown_view", "words"]

REDRAW, LINE = 0.25, 10.0
"""Seconds between two drawings, and between two lines where there is no terminal to draw in."""
WIDEST, HIGHEST = 64, 32
"""Largest size of the drawn map, squares; two of them share a character, one above the other."""
LEAST_LIMIT = 1e-3
"""Least strain at the ends of the colours."""


def words(course: Course) -> str:
    """Where a live map stands, in one line."""
    fitted, n = int(course.fitted.sum()), course.fitted.size
    parts = [f"{fitted} of {n} positions", f"{course.rate:.0f} per s"]
    if course.knowledge is None:
        parts.append(course.trouble or "waiting for the first rows to learn from")
    else:
        parts.append(f"lag {course.lag:.1f} s")
    if math.isfinite(course.seconds_left) and not course.complete:
        parts.append(f"{clock(course.seconds_left)} left")
    return ", ".join(parts)


def shrunk(values: FloatArray, shape: tuple[int, int]) -> tuple[FloatArray, int]:
    """A map at the size that is drawn: medians of equal squares of positions, and the side of these.

    Parameters
    ----------
    values
        Value of every position, NaN where there is none, shape ``(n,)``.
    shape
        Of the scan, ``(ry, rx)``.
    """
    side = max(1, -(-shape[0] // HIGHEST), -(-shape[1] // WIDEST))
    rows, columns = (-(-size // side) for size in shape)
    padded = np.full((rows * side, columns * side), np.nan)
    padded[: shape[0], : shape[1]] = values.reshape(shape)
    squares = padded.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows, columns, -1)
    out = np.full((rows, columns), np.nan)
    some = np.isfinite(squares).any(2)
    out[some] = np.nanmedian(squares[some], axis=1)
    return out, side


@dataclass
class View:
    """Shows the course of a live map.

    Attributes
    ----------
    shape
        Of the scan, ``(ry, rx)``.
    console
        Where to.
    """

    shape: tuple[int, int]
    console: Console
    update: Callable[[RenderableType], None] | None = None
    _next: float = 0.0

    def __call__(self, course: Course) -> None:
        """Show where the map stands, at most a few times a second."""
        now = time.monotonic()
        if now < self._next and not course.complete:
            return
        if self.update is not None:
            self._next = now + REDRAW
            self.update(self.drawn(course))
        elif self._next and not course.complete:
            self._next = now + LINE
            self.console.print(f"live: {printable(words(course))}", markup=False, soft_wrap=True)
        elif not self._next:
            self._next = now + LINE

    def drawn(self, course: Course) -> RenderableType:
        """The map as text: exx relative to its median, blue for shorter and red for longer, dots where nothing came."""
        from rich.console import Group
        from rich.text import Text

        strain, side = shrunk(course.strain[:, 1], self.shape)
        here = strain[np.isfinite(strain)]
        middle = float(np.median(here)) if here.size else 0.0
        limit = max(LEAST_LIMIT, float(np.quantile(np.abs(here - middle), 0.95))) if here.size else LEAST_LIMIT
        came, _ = shrunk(np.where(course.came, 1.0, np.nan), self.shape)
        colours = [
            [
                _colour((value - middle) / limit) if math.isfinite(value) else _NOTHING[math.isfinite(seen)]
                for value, seen in zip(*row, strict=True)
            ]
            for row in zip(strain, came, strict=True)
        ]
        each = "" if side == 1 else f", a square is {side} x {side} positions"
        low, high = ((f"{sign}{100 * limit:.2g} %", _style(_colour(end))) for sign, end in (("-", -1.0), ("+", 1.0)))
        legend = Text.assemble(low, "  exx, preview  ", high, (each, "dim"))
        return Group(*_lines(colours), legend, Text(printable(words(course))))


_Colour = tuple[int, int, int]
_NOTHING: tuple[_Colour, _Colour] = ((38, 38, 38), (90, 90, 90))
"""Colours of positions that have not come, and of those that have and hold no crystal."""


def _colour(value: float) -> _Colour:
    """Blue, white, red for -1, 0, 1."""
    share = min(abs(value), 1.0)
    end = (178, 24, 43) if value > 0 else (33, 102, 172)
    red, green, blue = (round(247 + share * (part - 247)) for part in end)
    return red, green, blue


def _style(colour: _Colour) -> str:
    """A colour as rich spells it."""
    return "rgb({},{},{})".format(*colour)


def _lines(colours: list[list[_Colour]]) -> Iterator[Text]:
    """Lines of half blocks: the upper square in the colour of the character, the lower one in that behind it."""
    from rich.style import Style
    from rich.text import Text

    for top in range(0, len(colours), 2):
        line = Text()
        below = colours[top + 1] if top + 1 < len(colours) else [None] * len(colours[top])
        for one, other in zip(colours[top], below, strict=True):
            line.append("▀", Style(color=_style(one), bgcolor=_style(other) if other else None))
        yield line


@contextmanager
def shown_view(shape: tuple[int, int], console: Console | None) -> Iterator[Callable[[Course], None]]:
    """What shows the course of a live map: drawn in a terminal, lines elsewhere, nothing without a console.

    Parameters
    ----------
    shape
        Of the scan, ``(ry, rx)``.
    console
        Where to, None for nowhere.
    """
    if console is None:
        yield lambda course: None
    elif not console.is_terminal:
        yield View(shape, console)
    else:
        from rich.live import Live

        with Live(console=console, auto_refresh=False) as live:
            yield View(shape, console, lambda drawn: live.update(drawn, refresh=True))
