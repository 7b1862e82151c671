"""Equivalent labellings of a lattice that maps onto itself under a rotation."""

from __future__ import annotations

import numpy as np

from cyclestrain.affine import deformation, left_polar, wrap_angle
from cyclestrain.data import AffineField, FloatArray

__all__ = ["ideal_shape", "nearest_labelling", "nearest_variant", "relabelled"]


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
    return np.asarray(deformation(nearest_labelling(affine, operators, gradient_ref, rotation_near)))


def nearest_labelling(
    affine: FloatArray, operators: FloatArray, gradient_ref: FloatArray, rotation_near: FloatArray | float = 0.0
) -> FloatArray:
    """The affine of that labelling, shape ``(..., 2, 2)``; parameters as for `nearest_variant`."""
    variants = affine[..., None, :, :] @ operators  # (..., order, 2, 2)
    _, theta = left_polar(deformation(variants) @ np.linalg.inv(gradient_ref))
    best = np.argmin(np.abs(wrap_angle(theta - np.asarray(rotation_near)[..., None])), axis=-1)
    return np.take_along_axis(variants, best[..., None, None, None], axis=-3)[..., 0, :, :]


def relabelled(field: AffineField, gradients: FloatArray, near: FloatArray) -> FloatArray:
    """Affine of every position in the labelling whose rotation is nearest to one, shape ``(ry, rx, 2, 2)``.

    Parameters
    ----------
    field
        Affine of every position.
    gradients
        Deformation gradient of the reference of every entry, shape ``(entry, 2, 2)``; where it is NaN nothing changes.
    near
        The rotation asked for, radians, shape ``(ry, rx)``; where it is NaN nothing changes.
    """
    affine = field.affine.copy()
    for k, operators in enumerate(field.operators):
        here = field.usable & (field.label == k) & np.isfinite(near)
        if here.any() and np.isfinite(gradients[k]).all():
            affine[here] = nearest_labelling(affine[here], operators, gradients[k], near[here])
    return affine


def ideal_shape(operators: FloatArray) -> FloatArray:
    """Stretch that makes the lattice of an entry as symmetric as its operators say, shape ``(2, 2)``, determinant 1.

    In lattice vectors multiplied by it the operators are rotations. With a 3-, 4- or 6-fold axis this fixes the shape
    of the lattice; with a lower one every shape is as symmetric, and the stretch is one.

    Parameters
    ----------
    operators
        Equivalent labellings of the entry, see `AffineField`.
    """
    metric = np.mean(operators.swapaxes(-1, -2) @ operators, axis=0)
    values, vectors = np.linalg.eigh(metric / np.sqrt(np.linalg.det(metric)))
    return np.asarray((vectors * np.sqrt(values)) @ vectors.T)
