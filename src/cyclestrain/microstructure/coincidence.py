r"""Special rotations about a zone axis: coincidence site lattices and rows that two grains share.

A pattern shows rotations about the beam alone. About an axis ``[uvw]`` of a cubic crystal, with
:math:`N = u^2 + v^2 + w^2`, the rotations by :math:`\tan(\theta/2) = (m/n) \sqrt N` bring one in :math:`\Sigma` lattice
points into coincidence, :math:`\Sigma` being :math:`n^2 + N m^2` divided by two until it is odd (Ranganathan, Acta
Cryst. 21, 197, 1966); about [0001] of a hexagonal crystal, the same with :math:`N = 3`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import gcd

import numpy as np

from cyclestrain.affine import wrap_angle
from cyclestrain.data import FloatArray

__all__ = ["Coincidence", "coincidence", "shared_row"]

MOST_SIGMA = 29
"""Largest Sigma that is named: boundaries of larger ones are rarely special."""
BRANDON = np.deg2rad(15.0)
"""Deviation from a coincidence with Sigma 1 that is allowed, and ``1 / sqrt(Sigma)`` of it for others (Brandon)."""
LOW_INDEX = 2
"""Largest index of rows that are looked at."""
ROW_ANGLE, ROW_LENGTH = np.deg2rad(0.5), 0.015
"""Differences of direction and relative length within which two rows are one, besides the uncertainty."""


@dataclass(frozen=True)
class Coincidence:
    """A coincidence site lattice: its `sigma`, the exact `angle`, and the `deviation` from it, radians."""

    sigma: int
    angle: float
    deviation: float


def coincidence(angle: float, axis: int, period: float) -> Coincidence | None:
    """Coincidence that a rotation about a zone axis is nearest to, in units of what Brandon's criterion allows.

    Parameters
    ----------
    angle
        Rotation about the beam, radians.
    axis
        Number `N` of the zone axis, see `cyclestrain.strain.KnownLattice`; 0 where it has none.
    period
        Angle after which the pattern of the crystal looks the same, radians.

    Returns
    -------
    coincidence
        None where no coincidence up to Sigma 29 is near enough.

    Examples
    --------
    The twin of a face-centred crystal seen along [110]:

    >>> found = coincidence(np.deg2rad(70.4), axis=2, period=np.pi)
    >>> found.sigma, round(float(np.rad2deg(found.angle)), 2)
    (3, 70.53)
    """
    best, least = None, 1.0
    for m, n in product(range(1, 12), range(1, 30)):
        whole = n * n + axis * m * m
        while whole % 2 == 0:
            whole //= 2
        if axis <= 0 or gcd(m, n) > 1 or not 1 < whole <= MOST_SIGMA:
            continue
        exact = 2 * np.arctan2(m * np.sqrt(axis), n)
        deviation = float(np.abs(wrap_angle(np.array([angle - exact, angle + exact]), period)).min())
        ratio = deviation / (BRANDON / np.sqrt(whole))
        if ratio < least:
            best, least = Coincidence(whole, float(abs(wrap_angle(exact, period))), deviation), ratio
    return best


def shared_row(angle: float, basis: FloatArray, sigma: float = 0.0) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The shortest reciprocal row that two grains of one lattice have in common, as its indices in both.

    Parameters
    ----------
    angle
        Rotation from the first to the second, radians.
    basis
        Reciprocal-lattice vectors as columns, shape ``(2, 2)``.
    sigma
        Uncertainty of the angle, radians.
    """
    indices = np.array(list(product(range(-LOW_INDEX, LOW_INDEX + 1), repeat=2)))
    indices = indices[np.gcd(*indices.T) == 1]
    vectors = indices @ basis.T
    length, way = np.hypot(*vectors.T), np.arctan2(vectors[:, 0], vectors[:, 1])
    turn = wrap_angle(way[None] + angle - way[:, None])  # second grain's row over the first's
    alike = np.abs(length[:, None] / length[None] - 1) < ROW_LENGTH
    shared = alike & (np.abs(turn) < ROW_ANGLE + 3 * sigma)
    if not shared.any():
        return None
    one, two = np.unravel_index(np.where(shared, length[:, None], np.inf).argmin(), shared.shape)
    return (int(indices[one, 0]), int(indices[one, 1])), (int(indices[two, 0]), int(indices[two, 1]))
