"""Where crystals lie above each other: single fits explain their patterns badly, far from any edge."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_closing, binary_dilation, binary_opening
from scipy.special import ndtri

from cyclestrain.data import BoolArray, FloatArray, IntArray

__all__ = ["around_overlaps", "find_overlaps", "stands_out"]

ODD, LEAST_ODD = 6.0, 0.15
"""A misfit stands out by so many standard deviations of its entry and by this part of it; by half beside one."""
ALONG = 5
"""Positions by which what is explained badly goes on towards an edge."""
BESIDE = 2
"""Positions by which crystals above each other may go on beyond where both are told."""


def find_overlaps(odd: BoolArray, inside: BoolArray) -> BoolArray:
    """Positions that are explained badly over some width away from edges, and those that go on from there.

    Small shares beside an edge, which would change nothing, are none.

    Parameters
    ----------
    odd
        Positions whose misfit `stands_out`, shape ``(ry, rx)``.
    inside
        Positions away from edges, shape ``(ry, rx)``.
    """
    square = np.ones((3, 3), bool)
    wide = binary_opening(odd & inside, square)
    return np.asarray(odd & binary_dilation(wide, square, iterations=ALONG))


def stands_out(misfit: FloatArray, label: IntArray) -> BoolArray:
    """Positions whose misfit is far above that of their entry, whose better half tells what is usual.

    Parameters
    ----------
    misfit
        Chi-square per degree of freedom, shape ``(ry, rx)``.
    label
        Entry of every position, shape ``(ry, rx)``.
    """
    out = np.zeros(label.shape, bool)
    for k in np.unique(label[(label >= 0) & np.isfinite(misfit)]):
        here = (label == k) & np.isfinite(misfit)
        low, quarter = np.quantile(misfit[here], (0.05, 0.25))
        width = (quarter - low) / (ndtri(0.25) - ndtri(0.05))
        usual = quarter - ndtri(0.25) * width
        above = np.where(here, misfit - usual, 0.0) / max(ODD * width, LEAST_ODD * usual)
        out |= (above > 1.0) | ((above > 0.5) & binary_dilation(above > 1.0, np.ones((3, 3), bool)))
    return out


def around_overlaps(mixed: BoolArray, reach: int) -> BoolArray:
    """Positions in and beside areas of mixtures that are wider than the probe's reach: crystals above each other.

    Few counts do not show a misfit where one crystal is weak, but next to a mixture it is likely to be there as well;
    and such a position does not tell what a crystal by itself looks like.

    Parameters
    ----------
    mixed
        Positions told as mixtures, shape ``(ry, rx)``.
    reach
        Distance from an edge up to which the probe holds both sides.
    """
    square, side = np.ones((3, 3), bool), 2 * reach + 1
    wide = binary_opening(mixed | binary_closing(mixed, square), np.ones((side, side), bool))
    return np.asarray(binary_dilation(wide, square, iterations=BESIDE))
