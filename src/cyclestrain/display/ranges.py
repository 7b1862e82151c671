"""Ranges of colour scales, lengths of scale bars and spelling of numbers: pure functions without matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cyclestrain.affine import wrap_angle

__all__ = [
    "MINUS",
    "ColourScale",
    "Summary",
    "format_length",
    "format_number",
    "nice_ceiling",
    "nice_floor",
    "rotation_scale",
    "scale_bar_length",
    "sequential_scale",
    "steady",
    "summarise",
    "symmetric_scale",
]

CEILINGS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Round numbers at which a scale may end, times a power of ten."""
FLOORS = (1.0, 2.0, 5.0)
"""Round numbers that a scale bar may have, times a power of ten."""
MINUS = "\N{MINUS SIGN}"
"""The true minus sign."""
LARGER_UNITS = {"pm": "nm", "nm": "µm", "µm": "mm"}
"""Unit that is a thousand times larger."""
# Two neighbouring values of CEILINGS differ by at least 20 %, so rounding errors of this size never matter.
ROUNDING = 1e-9


@dataclass(frozen=True)
class ColourScale:
    """Values at the two ends of a colour map; `cyclic` where both ends mean the same."""

    low: float
    high: float
    cyclic: bool = False

    @property
    def width(self) -> float:
        """Distance between the two ends."""
        return self.high - self.low


@dataclass(frozen=True)
class Summary:
    """Median, and half the distance between the 16 % and 84 % quantiles (one sigma of a normal distribution)."""

    median: float
    spread: float
    n: int


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    if isinstance(values, np.ma.MaskedArray):
        values = values.compressed()
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


def _decade(value: float) -> float:
    return float(10.0 ** floor(log10(value) + ROUNDING))


def nice_ceiling(value: float) -> float:
    """Smallest round number (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten) not below a positive `value`."""
    decade = _decade(value)
    steps = (step * decade for step in CEILINGS)
    return float(f"{next(step for step in steps if step >= value * (1 - ROUNDING)):.6g}")


def nice_floor(value: float) -> float:
    """Largest of 1, 2, 5 times a power of ten not above a positive `value`."""
    decade = _decade(value)
    steps = (step * decade for step in reversed(FLOORS))
    return float(f"{next(step for step in steps if step <= value * (1 + ROUNDING)):.6g}")


def symmetric_scale(values: ArrayLike, *, coverage: float = 0.99, smallest: float = 0.01) -> ColourScale:
    """Scale about zero that shows the share `coverage` of all finite `values`, ends rounded up.

    Parameters
    ----------
    values
        Any shape; non-finite and masked values are ignored.
    coverage
        Share of the values inside the scale.
    smallest
        Half the width of the scale if there are no values, or none that differ from zero.

    Examples
    --------
    >>> from cyclestrain.display.ranges import symmetric_scale
    >>> symmetric_scale([-0.3, 0.1, 1.13], coverage=1.0)
    ColourScale(low=-1.2, high=1.2, cyclic=False)
    """
    finite = np.abs(_finite(values))
    bound = float(np.quantile(finite, coverage)) if finite.size else 0.0
    end = nice_ceiling(max(bound, smallest))
    return ColourScale(-end, end)


NARROW = 0.5
"""Share of a scale that is steady below which its values are spread over more of the colours."""


def steady(scale: ColourScale, before: ColourScale | None) -> ColourScale:
    """The scale of values that become more and more: the one before as long as it serves.

    It gives way where values lie beyond its ends, or take less than half of it.

    Parameters
    ----------
    scale
        What suits the values now.
    before
        What suited them before, None for nothing.

    Examples
    --------
    >>> wide = ColourScale(-1.0, 1.0)
    >>> steady(ColourScale(-0.6, 0.6), wide) is wide, steady(ColourScale(-0.4, 0.4), wide).high
    (True, 0.4)
    """
    if before is None or before.cyclic != scale.cyclic:
        return scale
    beyond = scale.low < before.low or scale.high > before.high
    return scale if beyond or scale.width < NARROW * before.width else before


def sequential_scale(values: ArrayLike, *, coverage: float = 0.99, from_zero: bool = True) -> ColourScale:
    """Scale from zero, or a low quantile, to a high quantile of all finite values, ends rounded outwards.

    Parameters
    ----------
    values
        Any shape; non-finite and masked values are ignored.
    coverage
        Quantile at the high end.
    from_zero
        Whether the scale starts at zero instead of at the quantile ``1 - coverage``.
    """
    finite = _finite(values)
    if not finite.size:
        return ColourScale(0.0, 1.0)
    if from_zero:
        bound = float(np.quantile(finite, coverage))
        return ColourScale(0.0, nice_ceiling(bound) if bound > 0 else 1.0)
    low, high = (float(q) for q in np.quantile(finite, [1 - coverage, coverage]))
    if high - low <= ROUNDING * max(abs(low), abs(high), 1.0):
        return ColourScale(low - 0.5, high + 0.5)
    step = nice_floor((high - low) / 5)
    return ColourScale(step * floor(low / step), -step * floor(-high / step))


def rotation_scale(values: ArrayLike, period: float, *, coverage: float = 0.99) -> ColourScale:
    """Cyclic scale over one period if rotations fill it, otherwise a narrow one about zero.

    Rotations fill the period where more than 1 % of them are farther than a quarter of it from zero: a scale about zero
    would then put most of its colours where there are no data, or cut grains that lie across its end.

    Parameters
    ----------
    values
        Rotations, degrees, any shape; non-finite and masked values are ignored.
    period
        Angle after which the rotation repeats, degrees.
    coverage
        Share of the values inside a narrow scale.
    """
    wrapped = wrap_angle(_finite(values), period)
    if wrapped.size and float(np.quantile(np.abs(wrapped), coverage)) > period / 4:
        return ColourScale(-period / 2, period / 2, cyclic=True)
    return symmetric_scale(wrapped, coverage=coverage)


def summarise(values: ArrayLike) -> Summary | None:
    """Median and spread of the finite values, or None if there are none."""
    finite = _finite(values)
    if not finite.size:
        return None
    low, median, high = (float(q) for q in np.quantile(finite, [0.16, 0.5, 0.84]))
    return Summary(median=median, spread=(high - low) / 2, n=finite.size)


def scale_bar_length(target: float, *, whole: bool = False) -> float:
    """Length of a scale bar: 1, 2 or 5 times a power of ten.

    Parameters
    ----------
    target
        Largest length.
    whole
        Whether the length is at least 1, as it must be where positions are counted.
    """
    length = nice_floor(target)
    return max(length, 1.0) if whole else length


def format_length(length: float, unit: str) -> str:
    """Text of a length with its unit, in the unit that gives few digits.

    Parameters
    ----------
    length, unit
        The length and its unit; ``positions`` are counted.

    Examples
    --------
    >>> from cyclestrain.display.ranges import format_length
    >>> format_length(500, "nm"), format_length(2000, "nm"), format_length(1, "positions")
    ('500 nm', '2 µm', '1 position')
    """
    unit = "µm" if unit == "um" else unit
    while length >= 1000 and unit in LARGER_UNITS:
        length, unit = length / 1000, LARGER_UNITS[unit]
    if unit == "positions" and length == 1:
        unit = "position"
    return f"{length:g} {unit}"


def format_number(value: float, spread: float) -> str:
    """Text of a value with as many decimals as give its spread two digits, and a true minus sign.

    Parameters
    ----------
    value
        Number to write.
    spread
        Standard deviation of it, which sets the number of decimals (0 to 6).

    Examples
    --------
    >>> from cyclestrain.display.ranges import format_number
    >>> format_number(0.123456, 0.0123), format_number(12.3456, 1.5), format_number(1234.5, 50.0)
    ('0.123', '12.3', '1234')
    """
    decimals = 1 - floor(log10(spread) + ROUNDING) if spread > 0 else 2
    decimals = min(max(decimals, 0), 6)
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def histogram_edges(values: NDArray[Any], scale: ColourScale) -> NDArray[np.float64]:
    """Edges of the bins of a histogram over a whole scale, the finer the more values there are.

    Parameters
    ----------
    values
        Finite values.
    scale
        Scale that the bins cover.
    """
    n_bins = int(np.clip(2 * np.sqrt(values.size), 12, 60))
    return np.linspace(scale.low, scale.high, n_bins + 1)
