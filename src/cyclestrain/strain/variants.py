"""Equivalent labellings of a lattice, and whether two transforms are the same crystal in any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cyclestrain.affine import deformation, left_polar, wrap_angle
from cyclestrain.data import AffineField, BoolArray, FloatArray

__all__ = ["finite_positions", "nearest_variant", "variant_distance"]


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


def variant_distance(a: FloatArray, b: FloatArray, label: Any, operators: Sequence[FloatArray]) -> FloatArray:
    """Largest element of ``A_a^-1 A_b - 1`` over the best equivalent labelling."""
    out = np.full(len(a), np.inf)
    for k, variants in enumerate(operators):
        here = label == k
        ratio = np.linalg.inv(a[here]) @ b[here]
        distance = np.abs(ratio[:, None] - np.linalg.inv(variants)).max((-1, -2))
        out[here] = distance.min(1) if distance.size else np.inf
    return out


def finite_positions(field: AffineField) -> BoolArray:
    """Positions that are valid and whose affine is finite, shape ``(ry, rx)``."""
    return field.valid & np.isfinite(field.affine).all((-1, -2))
