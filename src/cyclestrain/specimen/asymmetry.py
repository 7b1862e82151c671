r"""What intensities say without a library: their dipole, and how unequal Friedel pairs are.

.. math:: d = \frac{\sum_g g (I_g - I_{-g})}{\sum_g |g| (I_g + I_{-g})}, \qquad
    P_j = \sum_g \hat g_j \frac{I_g - I_{-g}}{I_g + I_{-g}} \Big/ \sum_g |\hat g_j|,

over one reflection of each Friedel pair (Yadav et al., Nature 565, 468, 2019). Both are zero for an untilted
centrosymmetric crystal. A tilt makes both, and so does a polarization: neither number tells which (Zeltmann et al.,
arXiv:2211.05842), nor, without a library, how large a tilt is, since its effect changes with thickness and even sign.
"""

from __future__ import annotations

import numpy as np

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.specimen.fitting import Measured

__all__ = ["dipole", "friedel_asymmetry"]

Pair = tuple[FloatArray, FloatArray]
CLEAR = 4.0
"""Standard deviations of the sum of a pair above which its ratio is formed."""


def _pairs(vectors: FloatArray, friedel: IntArray) -> tuple[IntArray, IntArray]:
    """One reflection of each Friedel pair, and the other."""
    one = np.flatnonzero((friedel >= 0) & (np.arange(len(friedel)) < friedel))
    return one, friedel[one]


def dipole(data: Measured, vectors: FloatArray, friedel: IntArray) -> Pair:
    """Dipole of the intensities along y and x, relative, and its standard deviation, shapes ``(n, 2)``.

    Parameters
    ----------
    data
        Intensities, shape ``(n, g)``.
    vectors
        Reciprocal vectors ``(y, x)``, any unit, shape ``(g, 2)``.
    friedel
        Index of the reflection at -g, -1 for none, shape ``(g,)``.

    Examples
    --------
    Three times as bright to the right as to the left:

    >>> data = Measured(np.array([[300.0, 100.0]]), np.array([[10.0, 10.0]]))
    >>> value, sigma = dipole(data, np.array([[0.0, 1.0], [0.0, -1.0]]), np.array([1, 0]))
    >>> value.round(3).tolist(), sigma.round(3).tolist()
    ([[0.0, 0.5]], [[0.0, 0.04]])
    """
    one, other = _pairs(vectors, friedel)
    there = data.weight[:, one] * data.weight[:, other] > 0
    plus, minus = (np.where(there, data.value[:, g], 0.0) for g in (one, other))
    noise = [np.where(there, data.sigma[:, g], 0.0) for g in (one, other)]
    length = np.hypot(*vectors[one].T)
    total = ((plus + minus) * length).sum(1)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (plus - minus) @ vectors[one] / total
        square = np.zeros_like(value)
        for sign, spread in zip((1.0, -1.0), noise, strict=True):
            lever = sign * vectors[one] - value[:, None] * length[:, None]
            square += (lever**2 * (spread**2)[..., None]).sum(1)
        return np.where(total > 0, value, np.nan), np.where(total > 0, np.sqrt(square) / total, np.nan)


def friedel_asymmetry(data: Measured, vectors: FloatArray, friedel: IntArray) -> Pair:
    """Mean inequality of the Friedel pairs along y and x, and its standard deviation, shapes ``(n, 2)``.

    Pairs that are too faint for a ratio are left out.

    Parameters
    ----------
    data, vectors, friedel
        As for `dipole`.
    """
    one, other = _pairs(vectors, friedel)
    with np.errstate(invalid="ignore", divide="ignore"):
        total, noise = data.value[:, one] + data.value[:, other], np.hypot(data.sigma[:, one], data.sigma[:, other])
        there = total > CLEAR * noise
        ratio = np.where(there, (data.value[:, one] - data.value[:, other]) / total, 0.0)
        plus, minus = (data.sigma[:, g] * data.value[:, h] for g, h in ((one, other), (other, one)))
        spread = np.where(there, 2 * np.hypot(plus, minus) / total**2, 0.0)
        unit = vectors[one] / np.hypot(*vectors[one].T)[:, None]
        lever = there.astype(float) @ np.abs(unit)
        return ratio @ unit / lever, np.sqrt(spread**2 @ unit**2) / lever
