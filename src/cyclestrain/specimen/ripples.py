r"""Membranes that are not flat: what a slope does to strain, and how several tilts tell the two apart.

A diffraction pattern shows the projection of a lattice. A membrane of slope :math:`\nabla h` is foreshortened, which to
second order is a strain :math:`-\tfrac12 \nabla h \nabla h^T` that the crystal does not have. One scan cannot tell it
from a compression along one direction: it gives an upper bound of the slope. With the stage tilted by a known angle
between scans the foreshortening changes and the strain does not (Sickel et al. 2022), which gives both:

.. math:: F_k = \Pi Q_k E(\nabla h) D \, (\Pi Q_k \Pi^T)^{-1},

where `D` is strain and rotation in the membrane, `E` its tangents, `Q_k` the rotation of the stage and :math:`\Pi` the
projection along the beam; the last factor is the reference, a flat part of the membrane under the same tilt.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cyclestrain.affine import left_polar, rotation, symmetric
from cyclestrain.data import BoolArray, FloatArray

__all__ = ["Bound", "Membrane", "apparent_strain", "fit_membrane", "slope_bound"]

STEPS = 12
SURE = 3.0
"""Standard deviations from which a foreshortening is one."""
CONVERGED = 1e-9
LIMIT = 1.5
"""Largest slope that is considered."""


class Membrane(NamedTuple):
    """Slope, strain and rotation of every position, ``(dh/dy, dh/dx, eyy, exx, exy, rotation)``.

    Attributes
    ----------
    value, covariance
        Shapes ``(n, 6)`` and ``(n, 6, 6)``; with a misfit beyond chance the covariance is widened.
    chi_square
        Per degree of freedom, shape ``(n,)``.
    """

    value: FloatArray
    covariance: FloatArray
    chi_square: FloatArray


class Bound(NamedTuple):
    """What one scan says of the slope.

    Attributes
    ----------
    slope
        Upper bound of its size, if the membrane is not stretched, shape ``(n,)``.
    foreshortened
        Whether the strain is as a slope makes it: compressed along one direction and unstrained across, shape ``(n,)``.
    sigma
        Standard deviations of ``(eyy, exx, exy)`` with the foreshortening that the bound allows, shape ``(n, 3)``.
    """

    slope: FloatArray
    foreshortened: BoolArray
    sigma: FloatArray


def slope_bound(strain: FloatArray, covariance: FloatArray) -> Bound:
    """Bound of the slope from the strain of one scan.

    Parameters
    ----------
    strain
        ``(eyy, exx, exy)``, shape ``(n, 3)``.
    covariance
        Its covariance, shape ``(n, 3, 3)``.

    Examples
    --------
    A slope of 5 degrees along x shortens it by 0.38 %:

    >>> bound = slope_bound(np.array([[0.0, -0.0038, 0.0]]), 1e-4**2 * np.eye(3)[None])
    >>> bool(bound.foreshortened[0]), float(np.rad2deg(bound.slope[0]).round(1)), float(bound.sigma[0, 1].round(4))
    (True, 5.1, 0.004)
    """
    tensor = symmetric(*strain.T)
    good = np.isfinite(tensor).all((1, 2))
    values, vectors = np.linalg.eigh(np.where(good[:, None, None], tensor, 0.0))
    lever = np.stack([vectors[:, 0] ** 2, vectors[:, 1] ** 2, 2 * vectors[:, 0] * vectors[:, 1]], 1)
    sigma = np.sqrt(np.maximum(np.einsum("nik,nij,njk->nk", lever, covariance, lever), 0.0))
    low = np.maximum(-values[:, 0] + 2 * sigma[:, 0], 0.0)
    shortened = good & (values[:, 0] < -SURE * sigma[:, 0]) & (np.abs(values[:, 1]) < SURE * sigma[:, 1])
    own = np.einsum("nii->ni", covariance)
    wider = np.sqrt(own + np.where(shortened, low, 0.0)[:, None] ** 2)
    return Bound(np.where(good, np.sqrt(2 * low), np.nan), shortened, np.where(good[:, None], wider, np.nan))


def apparent_strain(membrane: FloatArray, tilt: FloatArray) -> FloatArray:
    """Strain and rotation that a pattern shows, relative to a flat part under the same tilt of the stage.

    Parameters
    ----------
    membrane
        ``(dh/dy, dh/dx, eyy, exx, exy, rotation)``, shape ``(n, 6)``.
    tilt
        Slope ``(y, x)`` that the stage gives to a flat membrane.

    Returns
    -------
    apparent
        ``(eyy, exx, exy, rotation)``, shape ``(n, 4)``.

    Examples
    --------
    >>> flat, tilted = np.zeros(2), np.array([0.0, 0.2])
    >>> one = np.array([[0.0, 0.1, 0.0, 0.0, 0.0, 0.0]])
    >>> apparent_strain(one, flat).round(4).tolist(), apparent_strain(one, tilted).round(4).tolist()
    ([[0.0, -0.005, 0.0, 0.0]], [[0.0, -0.0249, 0.0, 0.0]])
    """
    stage = _leaning(tilt[None])[0]
    yy, xx, yx, angle = membrane[:, 2:].T
    own = symmetric(1 + yy, 1 + xx, yx) @ rotation(angle)
    lattice = stage[:2] @ _leaning(membrane[:, :2])[..., :2] @ own
    stretch, theta = left_polar(lattice @ np.linalg.inv(stage[:2, :2]))
    return np.stack([stretch[:, 0, 0] - 1, stretch[:, 1, 1] - 1, stretch[:, 0, 1], theta], 1)


def _leaning(slope: FloatArray) -> FloatArray:
    """Smallest rotation that lays a flat membrane along a slope, acting on ``(y, x, z)``, shape ``(n, 3, 3)``."""
    size = np.hypot(*slope.T)
    unit = np.divide(slope, size[:, None], out=np.zeros_like(slope), where=size[:, None] > 0)
    cosine = 1 / np.hypot(1.0, size)
    sine = size * cosine
    out = np.zeros((len(slope), 3, 3))
    out[:, :2, :2] = np.eye(2) - (1 - cosine)[:, None, None] * unit[:, :, None] * unit[:, None]
    out[:, 2, :2], out[:, :2, 2] = sine[:, None] * unit, -sine[:, None] * unit
    out[:, 2, 2] = cosine
    return out


def fit_membrane(measured: FloatArray, covariance: FloatArray, tilts: FloatArray) -> Membrane:
    """Slope and strain from scans of the same positions at known tilts, by least squares.

    Parameters
    ----------
    measured
        ``(eyy, exx, exy, rotation)`` of every scan, shape ``(k, n, 4)``; NaN where there is none.
    covariance
        Its covariance, shape ``(k, n, 4, 4)``.
    tilts
        Slope ``(y, x)`` that the stage gives to a flat membrane in every scan, shape ``(k, 2)``.
    """
    count, n = measured.shape[:2]
    good = np.isfinite(measured).all((0, 2)) & np.isfinite(covariance).all((0, 2, 3))
    value, spread = np.full((n, 6), np.nan), np.full((n, 6, 6), np.nan)
    chi_square = np.full(n, np.nan)
    if not good.any():
        return Membrane(value, spread, chi_square)
    data = measured[:, good].transpose(1, 0, 2).reshape(-1, 4 * count)
    weight = np.zeros((len(data), 4 * count, 4 * count))
    for k in range(count):
        own = slice(4 * k, 4 * k + 4)
        weight[:, own, own] = np.linalg.inv(covariance[k, good] + 1e-14 * np.eye(4))
    found = np.concatenate([np.zeros((len(data), 2)), data[:, :4]], 1)
    for _ in range(STEPS):
        expected, slope = _linearised(found, tilts)
        pull = slope.swapaxes(1, 2) @ weight
        normal = pull @ slope
        step = np.linalg.solve(normal, pull @ (data - expected)[..., None])[..., 0]
        found = found + step
        found[:, :2] = np.clip(found[:, :2], -LIMIT, LIMIT)
        if np.abs(step).max() < CONVERGED:
            break
    residual = data - _linearised(found, tilts)[0]
    chi = np.einsum("ni,nij,nj->n", residual, weight, residual) / (4 * count - 6)
    value[good], chi_square[good] = found, chi
    spread[good] = np.linalg.inv(normal) * np.maximum(chi, 1.0)[:, None, None]
    return Membrane(value, spread, chi_square)


def _linearised(found: FloatArray, tilts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What all scans show and its derivatives, shapes ``(n, 4 k)`` and ``(n, 4 k, 6)``."""
    small = 1e-6
    expected = np.concatenate([apparent_strain(found, tilt) for tilt in tilts], 1)
    slopes = []
    for k in range(6):
        ends = [np.concatenate([apparent_strain(found + sign * small * np.eye(6)[k], t) for t in tilts], 1)
                for sign in (1, -1)]  # fmt: skip
        slopes.append((ends[0] - ends[1]) / (2 * small))
    return expected, np.stack(slopes, -1)
