r"""How wide the parameters of a position scatter around its best fit, by importance sampling.

With few or faint reflections the deviance is no parabola: it has valleys that bend and other minima that explain the
intensities almost as well, and the curvature at the lowest minimum says nothing of them. So the probability
:math:`p \propto \exp(-D/2)` within the library is sampled: points are drawn from a mixture of Student distributions
around the minima (:math:`\nu` degrees of freedom, widths of the curvature there, widened), and each is weighted by
`p` over the density it was drawn from (Owen, Monte Carlo theory, methods and examples, chapter 9). The points are
those of a Sobol sequence and the same for all positions, so that a result repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from cyclestrain.data import FloatArray

__all__ = ["Minima", "Scatter", "scatter_around"]

DRAWN = 512
"""Points that are drawn for each position."""
FREEDOM = 3.0
"""Degrees of freedom of the Student distributions."""
WIDENED = 1.5
RELEVANT = 20.0
"""Deviance above the lowest minimum up to which another one is drawn from."""
FLATTENED = 2.0
"""The minima share the points as if their deviance were smaller by this factor, so that the rarer are not missed."""
AT_A_TIME = 16
"""Points of every position whose deviance is computed together."""


class Minima(NamedTuple):
    """Minima of every position, the lowest first, in steps of the library.

    Attributes
    ----------
    points, covariance
        Place and inverse curvature, shapes ``(n, m, p)`` and ``(n, m, p, p)``.
    deviance
        Shape ``(n, m)``; infinite where there is none.
    """

    points: FloatArray
    covariance: FloatArray
    deviance: FloatArray


class Scatter(NamedTuple):
    """What is known of every position, in steps of the library.

    Attributes
    ----------
    covariance
        Mean square distance from the lowest minimum, shape ``(n, p, p)``.
    tail
        Probability that a parameter is further from that minimum than a number of standard deviations, shape ``(n,)``.
    opposite
        Probability that the last parameter has the other sign, shape ``(n,)``.
    """

    covariance: FloatArray
    tail: FloatArray
    opposite: FloatArray


def scatter_around(
    minima: Minima, bounds: tuple[FloatArray, FloatArray], deviance: Callable[[FloatArray], FloatArray], far: float
) -> Scatter:
    """Sample the parameters of every position.

    Parameters
    ----------
    minima
        Where to sample.
    bounds
        Least and largest parameters, shape ``(p,)`` each.
    deviance
        Deviance of every position at points of shape ``(n, k, p)``, shape ``(n, k)``.
    far
        Standard deviations from which a parameter is in the `Scatter.tail`.
    """
    points, density = _drawn(minima)
    inside = np.all((points >= bounds[0]) & (points <= bounds[1]), axis=-1)
    within = np.clip(points, *bounds)
    parts = [deviance(within[:, start : start + AT_A_TIME]) for start in range(0, DRAWN, AT_A_TIME)]
    log = -0.5 * (np.concatenate(parts, 1) - minima.deviance[:, :1]) - density
    log = np.where(inside, log, -np.inf)
    weight = np.exp(log - np.max(log, axis=1, keepdims=True, where=inside, initial=-1e300))
    weight /= np.maximum(weight.sum(1, keepdims=True), 1e-300)
    apart = points - minima.points[:, :1]
    covariance = np.einsum("ns,nsi,nsj->nij", weight, apart, apart, optimize=True)
    lost = weight.sum(1) < 0.5  # no point is in the library
    covariance[lost] = minima.covariance[lost, 0]
    sigma = np.sqrt(np.einsum("nii->ni", covariance))
    tail = (weight * np.any(np.abs(apart) > far * sigma[:, None], axis=-1)).sum(1)
    opposite = (weight * (np.sign(points[..., -1]) != np.sign(minima.points[:, :1, -1]))).sum(1)
    return Scatter(covariance, tail, opposite)


def _drawn(minima: Minima) -> tuple[FloatArray, FloatArray]:
    """Points of every position, shape ``(n, drawn, p)``, and the logarithm of the density they are drawn from."""
    n, m, p = minima.points.shape
    odds = minima.deviance - minima.deviance[:, :1]
    share = np.where(odds < RELEVANT, np.exp(-0.5 * np.minimum(odds, RELEVANT) / FLATTENED), 0.0)
    share /= share.sum(1, keepdims=True)
    root = np.linalg.cholesky(WIDENED**2 * minima.covariance)
    length, shape = _student(p)
    chosen = (share.cumsum(1)[:, None] < length[:, None]).sum(-1).clip(0, m - 1)
    own = np.arange(n)[:, None]
    points = minima.points[own, chosen] + np.einsum("nsij,sj->nsi", root[own, chosen], shape, optimize=True)
    density = np.full((n, DRAWN), -np.inf)
    inverse, size = np.linalg.inv(root), np.log(np.einsum("nmii->nmi", root)).sum(-1)
    for k in range(m):
        used = np.flatnonzero(share[:, k] > 0)
        reduced = (points[used] - minima.points[used, k][:, None]) @ inverse[used, k].swapaxes(1, 2)
        log = np.log(share[used, k]) - size[used, k]
        student = -0.5 * (FREEDOM + p) * np.log1p((reduced**2).sum(-1) / FREEDOM)
        density[used] = np.logaddexp(density[used], log[:, None] + student)
    return points, density


def _student(p: int) -> tuple[FloatArray, FloatArray]:
    """A number between 0 and 1 for each point, shape ``(drawn,)``, and its Student vector, shape ``(drawn, p)``."""
    even = stats.qmc.Sobol(p + 2, seed=0).random(DRAWN).clip(1e-6, 1 - 1e-6)
    wide = np.sqrt(FREEDOM / stats.chi2.ppf(even[:, p], FREEDOM))
    return even[:, p + 1], stats.norm.ppf(even[:, :p]) * wide[:, None]
