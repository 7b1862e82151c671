"""Which of the equivalent labellings of a lattice the brightness of a pattern's disks speaks for.

A lattice may be mapped onto itself by more rotations than the intensities of its reflections: those of a square lattice
need not be four-fold. A coarse rotation, from patterns whose brightest spots are clipped, does not tell such labellings
apart; the fit takes disks for brighter or darker ones then, and loses precision.
"""

from __future__ import annotations

import numpy as np

from cyclestrain.data import BoolArray, FloatArray, IntArray

__all__ = ["likelier_labelling", "turned_intensities"]

ON_TOP = 0.2
"""Distance, in units of the shortest reflection, up to which an operator leads one reflection to another."""
SURELY = 10.0
"""Chi-square by which another labelling has to explain the brightness of the disks better than the fitted one."""
FEWEST = 3
"""Reflections that have to be seen in both labellings."""


def turned_intensities(reflections: FloatArray, intensity: FloatArray, operators: FloatArray) -> FloatArray:
    """Intensity that each reflection has in every labelling, shape ``(order, reflection)``; NaN where it is unknown.

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
    return np.where(distance.min(2) < limit, intensity[distance.argmin(2)], np.nan)


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
    variance = brightness[..., 2]
    counts = np.where(np.isfinite(variance), brightness[..., 0] + brightness[..., 1], 0.0)
    out, best = np.zeros(len(brightness), np.int64), np.full(len(brightness), -SURELY)
    for k in range(1, len(turned)):
        both = np.isfinite(variance) & np.isfinite(turned[k])
        one, other = (_chi_square(np.nan_to_num(turned[j]), spread, counts, variance, both) for j in (0, k))
        better = (other - one < best) & (both.sum(1) >= FEWEST)
        out[better], best[better] = k, (other - one)[better]
    return out


def _chi_square(
    intensity: FloatArray, spread: FloatArray, counts: FloatArray, variance: FloatArray, known: BoolArray
) -> FloatArray:
    """Twice the negative logarithm of the likelihood of the `known` disks, up to a constant, shape ``(n,)``."""
    noise, gain = np.where(known, variance, 1.0), np.ones(len(counts))
    for _ in range(2):
        total = noise + (gain[:, None] * spread * intensity) ** 2
        weight = known / total
        gain = (weight * counts * intensity).sum(1) / np.maximum((weight * intensity**2).sum(1), 1e-300)
    off = np.where(known, counts - gain[:, None] * intensity, 0.0)
    return np.asarray((weight * off**2 + np.where(known, np.log(total), 0.0)).sum(1))
