"""Which values a map shows, how long its scale bar is and how its numbers are written: pure and without matplotlib."""

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
    "summarise",
    "symmetric_scale",
]

CEILINGS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
FLOORS = (1.0, 2.0, 5.0)
MINUS = "\N{MINUS SIGN}"
LARGER_UNITS = {"pm": "nm", "nm": "µm", "µm": "mm"}
# Two neighbouring values of CEILINGS differ by at least 20 %, so rounding errors of this size never matter.
ROUNDING = 1e-9


@dataclass(frozen=True)
class ColourScale:
    """Values at the two ends of a colour map; `cyclic` when both ends mean the same."""

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
    """
    finite = np.abs(_finite(values))
    bound = float(np.quantile(finite, coverage)) if finite.size else 0.0
    end = nice_ceiling(max(bound, smallest))
    return ColourScale(-end, end)


def sequential_scale(values: ArrayLike, *, coverage: float = 0.99, from_zero: bool = True) -> ColourScale:
    """Scale from zero (or a low quantile) to a high quantile of all finite `values`, high end rounded up."""
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
    """Cyclic scale over one `period` if rotations fill it, otherwise a narrow one about zero; all in degrees.

    Rotations fill the period when more than 1 % of them are farther than a quarter of it from zero: a scale about
    zero would then put most of its colours where there are no data, or cut grains that lie across its end.
    """
    wrapped = wrap_angle(_finite(values), period)
    if wrapped.size and float(np.quantile(np.abs(wrapped), coverage)) > period / 4:
        return ColourScale(-period / 2, period / 2, cyclic=True)
    return symmetric_scale(wrapped, coverage=coverage)


def summarise(values: ArrayLike) -> Summary | None:
    """Median and spread of the finite `values`, or ``None`` if there are none."""
    finite = _finite(values)
    if not finite.size:
        return None
    low, median, high = (float(q) for q in np.quantile(finite, [0.16, 0.5, 0.84]))
    return Summary(median=median, spread=(high - low) / 2, n=finite.size)


def scale_bar_length(target: float, *, whole: bool = False) -> float:
    """Length of a scale bar, 1, 2 or 5 times a power of ten up to `target`; at least 1 where it must be `whole`."""
    length = nice_floor(target)
    return max(length, 1.0) if whole else length


def format_length(length: float, unit: str) -> str:
    """Write a length as a person does: ``500 nm``, ``2 µm``, ``1 position``."""
    unit = "µm" if unit == "um" else unit
    while length >= 1000 and unit in LARGER_UNITS:
        length, unit = length / 1000, LARGER_UNITS[unit]
    if unit == "positions" and length == 1:
        unit = "position"
    return f"{length:g} {unit}"


def format_number(value: float, spread: float) -> str:
    """`value` with as many decimals as give `spread` two digits, and a true minus sign."""
    decimals = 1 - floor(log10(spread) + ROUNDING) if spread > 0 else 2
    decimals = min(max(decimals, 0), 6)
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def histogram_edges(values: NDArray[Any], scale: ColourScale) -> NDArray[np.float64]:
    """Bin edges over a whole scale: the more values, the finer."""
    n_bins = int(np.clip(2 * np.sqrt(values.size), 12, 60))
    return np.linspace(scale.low, scale.high, n_bins + 1)
