"""Which of the equivalent labellings of a lattice the brightness of a pattern's disks speaks for.

A lattice may be mapped onto itself by more rotations than the intensities of its reflections: those of a square lattice
need not be four-fold. A coarse rotation, from patterns whose brightest spots are clipped, does not tell such labellings
apart; the fit takes disks for brighter or darker ones then: it misfits, and is no likeness of its crystal in a mixture.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from cyclestrain.data import FloatArray, IntArray

__all__ = ["likelier_labelling", "turned_intensities"]

ON_TOP, ALIKE = 0.2, 0.05
"""Distance, in units of the shortest reflection, up to which an operator leads one reflection to another; and part of
the light up to which both labellings have the same intensities."""
SURELY = 10.0
"""Chi-square by which another labelling has to explain the brightness of the disks better than the fitted one."""
FEWEST = 3
"""Reflections that have to be seen in both labellings."""


def turned_intensities(reflections: FloatArray, intensity: FloatArray, operators: FloatArray) -> FloatArray:
    """Intensity that each reflection has in every labelling, shape ``(order, reflection)``.

    It is NaN where it is unknown, and in labellings whose intensities are those of the first, about.

    Parameters
    ----------
    reflections, intensity, operators
        Those of an entry: with operator ``S``, what is seen at reflection ``g`` is reflection ``S^-1 g``.
    """
    if not len(reflections):
        return np.zeros((len(operators), 0))
    origin = reflections @ np.linalg.inv(operators).swapaxes(1, 2)
    distance = np.linalg.norm(origin[:, :, None] - reflections, axis=-1)
    limit = ON_TOP * np.linalg.norm(reflections, axis=1).min()
    turned = np.where(distance.min(2) < limit, intensity[distance.argmin(2)], np.nan)
    alike = np.nansum(np.abs(turned - intensity), 1) < ALIKE * intensity.sum()
    turned[1:][alike[1:]] = np.nan
    return turned


def likelier_labelling(turned: FloatArray, spread: FloatArray, brightness: FloatArray) -> IntArray:
    """Operator that leads to the labelling with which the brightness of the disks agrees best, 0 for the fitted one.

    Parameters
    ----------
    turned
        Intensity of each reflection in every labelling, the fitted one first, see `turned_intensities`.
    spread
        Standard deviation of each intensity from pattern to pattern, relative to its mean, shape ``(reflection,)``.
    brightness
        What each disk was supposed to have, what it has beyond that, and the variance, see `Outcome`, shape ``(n,
        reflection, 3)``.

    Returns
    -------
    labelling
        Index of the operator for every pattern, shape ``(n,)``.
    """
    out = np.zeros(len(brightness), np.int64)
    some = 1 + np.flatnonzero(np.isfinite(turned[1:]).any(1))
    if len(some):
        _compare(turned, some, spread, brightness, out)
    return out


@nb.njit(cache=True, nogil=True)
def _compare(turned: Any, some: Any, spread: Any, brightness: Any, out: Any) -> None:  # pragma: no cover - compiled
    """Write the best of `some` labellings of every pattern, where it is surely better than the first."""
    for n in range(len(brightness)):
        best = -SURELY
        for k in some:
            seen = 0
            for g in range(turned.shape[1]):
                seen += np.isfinite(turned[k, g]) and np.isfinite(brightness[n, g, 2])
            if seen < FEWEST:
                continue
            change = _deviance(turned, k, k, spread, brightness[n]) - _deviance(turned, 0, k, spread, brightness[n])
            if change < best:
                best, out[n] = change, k


@nb.njit(cache=True, nogil=True)
def _deviance(turned: Any, j: int, k: int, spread: Any, brightness: Any) -> float:  # pragma: no cover - compiled
    """Twice the negative logarithm of the likelihood, with the intensities of labelling `j`, of disks known in `k`."""
    gain, out = 1.0, 0.0
    for last in range(3):  # the gain twice, since variances hang on it
        light, square, out = 0.0, 0.0, 0.0
        for g in range(turned.shape[1]):
            if np.isfinite(turned[k, g]) and np.isfinite(brightness[g, 2]):
                expected, counts = turned[j, g], brightness[g, 0] + brightness[g, 1]
                variance = brightness[g, 2] + (gain * spread[g] * expected) ** 2
                light += counts * expected / variance
                square += expected * expected / variance
                out += (counts - gain * expected) ** 2 / variance + np.log(variance)
        if last < 2:
            gain = light / max(square, 1e-300)
    return out
