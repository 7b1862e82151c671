"""What is drawn on a map: regions and lines, as text and as masks of positions."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from cyclestrain.data import BoolArray
from cyclestrain.errors import InputError
from cyclestrain.io import is_region, parse_region

__all__ = ["Line", "Region"]

_NUMBER = r"-?\d+(?:\.\d+)?"
_POINT = re.compile(rf"({_NUMBER}),({_NUMBER})")


@dataclass(frozen=True)
class Line:
    """A line from ``(y, x)`` to ``(y, x)``, positions, with the width over which is averaged, positions."""

    start: tuple[float, float]
    stop: tuple[float, float]
    width: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Line:
        """Read a line from ``y,x:y,x`` or ``y,x:y,x:width``.

        Raises
        ------
        InputError
            If the text has another form.

        Examples
        --------
        >>> Line.parse("3,4:20,30:5")
        Line(start=(3.0, 4.0), stop=(20.0, 30.0), width=5.0)
        """
        parts = text.split(":")
        points = [_point(part) for part in parts[:2]]
        width = re.fullmatch(_NUMBER, parts[2]) if len(parts) == 3 else None
        if len(points) != 2 or None in points or len(parts) > 3 or (len(parts) == 3 and width is None):
            raise InputError(f"a line is y,x:y,x or y,x:y,x:width in positions, not {text!r}")
        start, stop = (point for point in points if point is not None)
        return cls(start, stop, float(width[0]) if width else 1.0)

    def __str__(self) -> str:
        """The form that `parse` reads."""
        points = ":".join(f"{y:g},{x:g}" for y, x in (self.start, self.stop))
        return points if self.width == 1 else f"{points}:{self.width:g}"


@dataclass(frozen=True)
class Region:
    """A region of positions: the corners ``(y, x)`` of a polygon, or two of a rectangle.

    Attributes
    ----------
    corners
        In positions, whose middles are at whole numbers.
    rectangle
        Whether the two corners are the first position and the one after the last.
    """

    corners: tuple[tuple[float, float], ...]
    rectangle: bool = False

    @classmethod
    def box(cls, one: tuple[float, float], other: tuple[float, float], shape: tuple[int, int]) -> Region:
        """Rectangle of all positions between two points, at least one.

        Parameters
        ----------
        one, other
            Points ``(y, x)`` in positions.
        shape
            Shape of the scan, beyond which it does not reach.
        """
        low = [int(np.clip(round(min(a, b)), 0, n - 1)) for a, b, n in zip(one, other, shape, strict=True)]
        high = [int(np.clip(round(max(a, b)), 0, n - 1)) + 1 for a, b, n in zip(one, other, shape, strict=True)]
        return cls(((low[0], low[1]), (high[0], high[1])), rectangle=True)

    @classmethod
    def parse(cls, text: str) -> Region:
        """Read a region from ``y0:y1,x0:x1``, or a polygon from ``y,x;y,x;y,x``.

        Raises
        ------
        InputError
            If the text has another form.

        Examples
        --------
        >>> Region.parse("3:20,4:30").corners
        ((3, 4), (20, 30))
        """
        if is_region(text):
            numbers = [int(part) if part.strip() else None for part in re.split("[:,]", text)]
            if None not in numbers:
                y0, y1, x0, x1 = (number or 0 for number in numbers)
                return cls(((y0, x0), (y1, x1)), rectangle=True)
        points = [_point(part) for part in text.split(";")]
        if len(points) < 3 or None in points:
            raise InputError(f"a region is y0:y1,x0:x1, or a polygon y,x;y,x;y,x in positions, not {text!r}")
        return cls(tuple(point for point in points if point is not None))

    def __str__(self) -> str:
        """The form that `parse` reads; of a rectangle also what ``--reference`` takes."""
        if self.rectangle:
            (y0, x0), (y1, x1) = self.corners
            return f"{y0:g}:{y1:g},{x0:g}:{x1:g}"
        return ";".join(f"{y:.6g},{x:.6g}" for y, x in self.corners)

    def mask(self, shape: tuple[int, int]) -> BoolArray:
        """Positions inside, shape ``(ry, rx)``.

        Parameters
        ----------
        shape
            Shape of the scan.

        Raises
        ------
        InputError
            If there is none, or a rectangle reaches beyond the scan.
        """
        mask = np.zeros(shape, bool)
        if self.rectangle:
            mask[parse_region(str(self), shape, "the region")] = True
        else:
            mask = _inside(np.array(self.corners), shape)
        if not mask.any():
            raise InputError("the region holds no position; draw a larger one")
        return mask


def _point(text: str) -> tuple[float, float] | None:
    match = _POINT.fullmatch(text.strip())
    return (float(match[1]), float(match[2])) if match else None


def _inside(corners: np.ndarray, shape: tuple[int, int]) -> BoolArray:
    """Positions inside a polygon, by the number of its edges to their right (even-odd rule)."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    inside = np.zeros(shape, bool)
    for (y0, x0), (y1, x1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 <= y) != (y1 <= y)
        inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside
