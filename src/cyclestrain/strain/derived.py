r"""Maps derived from strain and rotation, each with its uncertainty: dilation, shear, principal strains, gradients.

Uncertainties follow from the full covariance of ``(eyy, exx, exy, rotation)`` to first order, so that errors which the
components share, such as that of the camera length, count as what they are: all of the dilation, nothing of the shear.
Two things are not linear. The largest shear is a length and positive by noise alone; where it is not well above its
uncertainty, the largest uncertainty in any direction is given. The direction of the principal strains has no meaning
there, and its uncertainty is that of an angle that is not known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cyclestrain.affine import wrap_angle
from cyclestrain.data import FloatArray, IntArray

__all__ = ["Estimate", "dilation", "principal_strains", "rotation_gradient"]

UNKNOWN_ANGLE = np.pi / np.sqrt(12)
"""Standard deviation of a direction of which nothing is known, radians."""
CLEAR = 3.0
"""Standard deviations above which the largest shear has a direction."""


class Estimate(NamedTuple):
    """A map and its standard deviation, of one shape."""

    value: FloatArray
    sigma: FloatArray


def dilation(strain: FloatArray, covariance: FloatArray) -> Estimate:
    """Relative change of area, ``exx + eyy``, to first order.

    Parameters
    ----------
    strain
        ``(eyy, exx, exy)``, shape ``(..., 3)``.
    covariance
        Its covariance, shape ``(..., 3, 3)``.

    Examples
    --------
    An error that both components share counts twice, not by its root:

    >>> found = dilation(np.array([0.01, 0.02, 0.0]), 1e-4**2 * np.diag([0.0, 0.0, 1.0]) + 1e-3**2 * np.ones((3, 3)))
    >>> float(found.value.round(6)), float(found.sigma.round(6))
    (0.03, 0.002)
    """
    return Estimate(strain[..., 0] + strain[..., 1], _sigma(np.array([1.0, 1.0, 0.0]), covariance))


def principal_strains(strain: FloatArray, covariance: FloatArray) -> dict[str, Estimate]:
    """Principal strains, the largest shear and the direction of the largest strain.

    Parameters
    ----------
    strain, covariance
        As for `dilation`.

    Returns
    -------
    maps
        ``largest`` and ``smallest`` principal strain; ``shear``, half of their difference, the largest tensor shear in
        any axes; ``angle`` of the largest one from +x (column) towards +y (row), radians, in (-pi/2, pi/2].

    Examples
    --------
    >>> found = principal_strains(np.array([0.0, 0.0, 0.01]), 1e-4**2 * np.eye(3))
    >>> {name: float(estimate.value.round(4)) for name, estimate in found.items()}
    {'largest': 0.01, 'smallest': -0.01, 'shear': 0.01, 'angle': 0.7854}
    """
    eyy, exx, exy = np.moveaxis(strain, -1, 0)
    half = (exx - eyy) / 2
    shear = np.hypot(half, exy)
    flat = shear > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        c, s = np.where(flat, half / shear, 1.0), np.where(flat, exy / shear, 0.0)
    none = np.zeros_like(c)
    along = np.stack([-c / 2, c / 2, s], -1)
    across = np.stack([s / 2, -s / 2, c], -1)
    mean = np.stack([none + 0.5, none + 0.5, none], -1)
    length, side = _sigma(along, covariance), _sigma(across, covariance)
    clear = shear > CLEAR * np.maximum(length, side)
    out = {}
    for name, sign in (("largest", 1.0), ("smallest", -1.0)):
        either = [_sigma(mean + sign * along, covariance), _sigma(mean + sign * across, covariance)]
        value = (exx + eyy) / 2 + sign * shear
        out[name] = Estimate(value, np.where(clear, either[0], np.maximum(*either)))
    out["shear"] = Estimate(shear, np.where(clear, length, np.maximum(length, side)))
    with np.errstate(invalid="ignore", divide="ignore"):
        turn = np.where(clear, side, np.maximum(length, side)) / (2 * shear)
    out["angle"] = Estimate(np.arctan2(exy, half) / 2, np.where(flat, np.minimum(turn, UNKNOWN_ANGLE), UNKNOWN_ANGLE))
    return out


def rotation_gradient(
    angle: FloatArray, sigma: FloatArray, period: FloatArray, label: IntArray, step: float = 1.0
) -> dict[str, Estimate]:
    """How fast the lattice turns along the scan: the curvature of its planes.

    Central differences where both neighbours are of the same crystal, one-sided ones at borders and beside changes of
    class; NaN where there is neither.

    Parameters
    ----------
    angle, sigma
        Rotation and its standard deviation, radians, shape ``(ry, rx)``.
    period
        Angle after which the lattice looks the same, radians, shape ``(ry, rx)``.
    label
        Class of every position, -1 where it does not count, shape ``(ry, rx)``.
    step
        Distance between positions.

    Returns
    -------
    maps
        ``along_y`` and ``along_x``, radians per unit of the step. Sigma takes the two positions as independent; of a
        smoothed estimate, whose errors they share, it is an upper bound.

    Examples
    --------
    A crystal that bends by 1 mrad per position along x:

    >>> angle = np.tile(1e-3 * np.arange(6.0), (3, 1))
    >>> maps = rotation_gradient(angle, np.full((3, 6), 1e-4), np.full((3, 6), np.pi / 3), np.zeros((3, 6), int))
    >>> maps["along_x"].value[1].round(6)
    array([0.001, 0.001, 0.001, 0.001, 0.001, 0.001])
    """
    out = {}
    for axis, name in enumerate(("along_y", "along_x")):
        theta, error, turn = (np.moveaxis(values, axis, 0) for values in (angle, sigma, period))
        crystal = np.moveaxis(label, axis, 0)
        joined = (crystal[1:] == crystal[:-1]) & (crystal[1:] >= 0)
        change = np.where(joined, wrap_angle(theta[1:] - theta[:-1], turn[1:]), 0.0)
        edge = np.zeros((1, *joined.shape[1:]))
        before, after = np.concatenate([edge, joined]), np.concatenate([joined, edge])
        total = np.concatenate([edge, change]) + np.concatenate([change, edge])
        first = np.where(before > 0, np.concatenate([edge, error[:-1]]), error)
        last = np.where(after > 0, np.concatenate([error[1:], edge]), error)
        count = before + after
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.where(count > 0, total / (count * step), np.nan)
            spread = np.where(count > 0, np.hypot(first, last) / (count * step), np.nan)
        out[name] = Estimate(np.moveaxis(value, 0, axis), np.moveaxis(spread, 0, axis))
    return out


def _sigma(weights: FloatArray, covariance: FloatArray) -> FloatArray:
    """Standard deviation of a linear combination, shape ``(...)``."""
    variance = np.einsum("...i,...ij,...j->...", weights, covariance, weights)
    return np.sqrt(np.maximum(variance, 0.0))
