"""Equivalent labellings of a lattice that maps onto itself under a rotation."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from cyclestrain.affine import deformation
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
    flat, near = np.reshape(affine, (-1, 2, 2)).astype(float), np.broadcast_to(rotation_near, affine.shape[:-2])
    best = np.zeros(len(flat), np.int64)
    _nearest(
        flat, np.ascontiguousarray(operators, float), np.linalg.inv(gradient_ref), near.astype(float).ravel(), best
    )
    return np.asarray((flat @ operators[best]).reshape(affine.shape))


@nb.njit(cache=True, error_model="numpy")
def _nearest(affine: Any, operators: Any, inverse: Any, near: Any, best: Any) -> None:  # pragma: no cover
    """Number of the labelling whose rotation is nearest to one, the first where that is unknown.

    Of the deformation gradient of a labelling, which is that of the affine times the inverse of the operator
    transposed, only the rotation counts, so that no determinant is needed but its sign.
    """
    for n in range(affine.shape[0]):
        a, least = affine[n], np.inf
        for k in range(operators.shape[0]):
            s = operators[k]
            yy, yx = a[0, 0] * s[0, 0] + a[0, 1] * s[1, 0], a[0, 0] * s[0, 1] + a[0, 1] * s[1, 1]
            xy, xx = a[1, 0] * s[0, 0] + a[1, 1] * s[1, 0], a[1, 0] * s[0, 1] + a[1, 1] * s[1, 1]
            sign = 1.0 if yy * xx - yx * xy >= 0 else -1.0
            across = (xx * inverse[0, 1] - xy * inverse[1, 1]) - (yy * inverse[1, 0] - yx * inverse[0, 0])
            along = (xx * inverse[0, 0] - xy * inverse[1, 0]) + (yy * inverse[1, 1] - yx * inverse[0, 1])
            off = np.arctan2(sign * across, sign * along) - near[n]
            off = abs((off + np.pi) % (2 * np.pi) - np.pi)
            if off < least:
                best[n], least = k, off


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
