r"""Closed circuits through a scan: how many lattice planes each crosses, and how surely.

A square circuit of `side` steps has the sum :math:`n_i = \sum_p g_i(p) \cdot c_p` over its ``4 side`` positions, where
:math:`c_p` is half of the step to `p` and half of the one from it (trapezoidal rule). Its sense is from +x to +y. Two
circuits of different sides around the same middle share no position, so their errors are independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.microstructure.lattice_field import LatticeField

__all__ = ["Circuits", "chi_square", "circuits", "noise_excess", "square"]

MEDIAN_CHI2 = 1.3863
"""Median of chi-square with two degrees of freedom."""
WINDOW = 15
"""Side of the square of circuits over which scatter beyond the noise is measured."""


@dataclass(frozen=True)
class Circuits:
    """Circuits of one size around every middle; position ``(i, j)`` of the arrays is the middle ``(i + 1/2, j + 1/2)``.

    Attributes
    ----------
    side
        Steps along each side, an odd number.
    planes
        Lattice planes crossed, shape ``(ry - 1, rx - 1, 2)``; NaN where the circuit leaves the scan or the crystal.
    covariance
        Of these, shape ``(ry - 1, rx - 1, 2, 2)``.
    """

    side: int
    planes: FloatArray
    covariance: FloatArray


def circuits(field: LatticeField, side: int) -> Circuits:
    """Square circuits of one size around every middle of four positions.

    Parameters
    ----------
    field
        Local lattice of every position.
    side
        Steps along each side, an odd number.
    """
    shape = (field.area.shape[0] - 1, field.area.shape[1] - 1)
    reach = (side - 1) // 2  # corners lie so many positions before, and one more behind, the middle
    planes, covariance = np.zeros((*shape, 2)), np.zeros((*shape, 2, 2))
    inside, area = np.ones(shape, bool), np.full(shape, -2)
    for offset, step in zip(*square(side), strict=True):
        there = _shifted(field, offset - reach, shape)
        planes += there[0] @ step
        spread = there[1].reshape(*shape, 2, 2, 2, 2)
        covariance += np.einsum("...iajb,a,b->...ij", spread, step, step)
        area = np.where(area == -2, there[2], area)
        inside &= (there[2] == area) & (area >= 0)
    return Circuits(side, np.where(inside[..., None], planes, np.nan), covariance)


def square(side: int) -> tuple[IntArray, FloatArray]:
    """Positions of a circuit relative to its first corner, in the sense from +x to +y, and `c` of each.

    Parameters
    ----------
    side
        Steps along each side.
    """
    steps = np.repeat([[0, 1], [1, 0], [0, -1], [-1, 0]], side, axis=0)
    places = np.concatenate([[[0, 0]], np.cumsum(steps, axis=0)[:-1]])
    return places, (steps + np.roll(steps, 1, axis=0)) / 2


def _shifted(field: LatticeField, offset: IntArray, shape: tuple[int, int]) -> tuple[FloatArray, FloatArray, IntArray]:
    """Lattice, covariance and area at an offset from every middle, none beyond the scan."""
    rows, columns = (np.arange(n) + int(o) for n, o in zip(shape, offset, strict=True))
    n_rows, n_columns = field.area.shape
    beyond = ((rows < 0) | (rows >= n_rows))[:, None] | ((columns < 0) | (columns >= n_columns))[None]
    at = np.ix_(rows.clip(0, n_rows - 1), columns.clip(0, n_columns - 1))
    return field.vectors[at], field.covariance[at], np.where(beyond, -1, field.area[at])


def noise_excess(smallest: Circuits) -> FloatArray:
    """Variance of the circuits around over that of the stated noise, at least 1, shape ``(ry - 1, rx - 1)``.

    Mosaic scatters from position to position beyond the noise, and is no dislocation. It is the median over the
    neighbourhood that counts, which a few dislocations do not move.

    Parameters
    ----------
    smallest
        Circuits of side 1.
    """
    chi2, known = chi_square(smallest)
    values = np.where(known, chi2, np.nan)
    pad = WINDOW // 2
    padded = np.pad(values, pad, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, (WINDOW, WINDOW))
    middle = np.array([_medians(row) for row in around])
    return np.maximum(np.nan_to_num(middle, nan=MEDIAN_CHI2) / MEDIAN_CHI2, 1.0)


def _medians(windows: FloatArray) -> FloatArray:
    """Median of each window, without what is not known; NaN where nothing is."""
    flat = np.sort(windows.reshape(len(windows), -1), axis=1)
    n = np.isfinite(flat).sum(1)
    return np.where(n > 0, flat[np.arange(len(flat)), np.maximum(n - 1, 0) // 2], np.nan)


def chi_square(found: Circuits) -> tuple[FloatArray, BoolArray]:
    """Chi-square of every circuit against none, and which circuits are known, shape ``(ry - 1, rx - 1)``."""
    known = np.isfinite(found.planes).all(-1) & (np.linalg.det(found.covariance) > 0)
    inverse = np.linalg.inv(np.where(known[..., None, None], found.covariance, np.eye(2)))
    planes = np.nan_to_num(found.planes)
    return np.einsum("...i,...ij,...j->...", planes, inverse, planes), known
