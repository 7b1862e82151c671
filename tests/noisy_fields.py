"""Fields of one crystal with normal noise whose covariance they state."""

from __future__ import annotations

import numpy as np

from cyclestrain.affine import left_polar, rotation, symmetric
from cyclestrain.data import AffineField, FloatArray
from cyclestrain.strain import jacobian

SIGMA = np.array([1.8e-3, 1.8e-3, 1.3e-3, 1.3e-3])
"""Standard deviations of (V_yy, V_xx, V_yx, theta) of each pattern alone."""
STATE = np.array([0.01, -0.01, 0.005, 0.3])


def affine_of(values: FloatArray) -> FloatArray:
    """The affine with these ``(V_yy - 1, V_xx - 1, V_yx, theta)``."""
    return symmetric(1 + values[..., 0], 1 + values[..., 1], values[..., 2]) @ rotation(values[..., 3])


def noisy(truth: FloatArray, seed: int, sigma: FloatArray = SIGMA) -> AffineField:
    """Field with normal noise whose covariance it states."""
    affine = affine_of(truth + sigma * np.random.default_rng(seed).standard_normal(truth.shape))
    inverse = np.linalg.inv(jacobian(affine))
    covariance = inverse @ np.diag(sigma**2) @ inverse.swapaxes(-1, -2)
    shape = truth.shape[:2]
    return AffineField(affine, covariance, np.zeros(shape, int), np.ones(shape, bool), (np.eye(2)[None],))


def values_of(field: AffineField) -> FloatArray:
    """(V_yy - 1, V_xx - 1, V_yx, theta) of every position."""
    stretch, theta = left_polar(field.affine)
    return np.stack([stretch[..., 0, 0] - 1, stretch[..., 1, 1] - 1, stretch[..., 0, 1], theta], -1)


def sigma_of(field: AffineField) -> FloatArray:
    """Stated standard deviations of these."""
    jac = jacobian(field.affine)
    return np.sqrt(np.einsum("...ij,...jk,...ik->...i", jac, field.covariance, jac))
