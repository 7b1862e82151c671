"""Equivalent labellings of a lattice that maps onto itself under a rotation."""

from __future__ import annotations

import numpy as np

from cyclestrain.affine import deformation, left_polar, wrap_angle
from cyclestrain.data import FloatArray

__all__ = ["nearest_variant"]


def nearest_variant(
    affine: FloatArray, operators: FloatArray, gradient_ref: FloatArray, rotation_near: FloatArray | float = 0.0
) -> FloatArray:
    """Deformation gradient of the equivalent labelling whose rotation relative to the reference is nearest to one.

    Parameters
    ----------
    affine
        Shape ``(..., 2, 2)``.
    operators
        Equivalent labellings of the entry, see `AffineField`.
    gradient_ref
        Deformation gradient of the reference.
    rotation_near
        The rotation asked for, radians.
    """
    variants = deformation(affine[..., None, :, :] @ operators)  # (..., order, 2, 2)
    _, theta = left_polar(variants @ np.linalg.inv(gradient_ref))
    best = np.argmin(np.abs(wrap_angle(theta - np.asarray(rotation_near)[..., None])), axis=-1)
    return np.take_along_axis(variants, best[..., None, None, None], axis=-3)[..., 0, :, :]
