r"""From the affine of a pattern to strain: the only place where that step is written.

A reflection moves as :math:`g' = A g` with :math:`A = F^{-T}`, so the affine of a *pattern* is not the strain. Relative
to a reference, :math:`F_{rel} = F F_{ref}^{-1}`: the dictionary's own affine (a gauge) cancels exactly. Then
:math:`F_{rel} = V R(\theta)` (left polar) and :math:`\varepsilon = V - 1`, in detector axes.

A lattice that maps onto itself under a rotation can be labelled in several equivalent ways; the labelling with the
smallest rotation relative to the reference is taken, as is usual for misorientations.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from cyclestrain.affine import left_polar, rotation, symmetric, wrap_angle
from cyclestrain.data import AffineField, BoolArray, FloatArray, StrainMaps
from cyclestrain.strain.jacobians import jacobian, own_jacobian
from cyclestrain.strain.reference import Reference
from cyclestrain.strain.variants import nearest_variant

__all__ = ["COMPONENTS", "LEAST_SHARE", "relative_strain", "turn_axes"]

COMPONENTS = ("eyy", "exx", "exy", "rotation")
"""Names of strain and rotation, in the order in which vectors and covariances hold them."""
LEAST_SHARE = 0.25
"""Least share of a member's variance that is left relative to its reference, however precise the member is."""


def relative_strain(
    field: AffineField, reference: Reference, rotation_near: FloatArray | None = None, *, systematic: float = 0.0
) -> StrainMaps:
    """Strain and rotation relative to a reference, in detector axes, with propagated uncertainties.

    Positions that are not valid, or whose dictionary entry has no reference, are NaN.

    Parameters
    ----------
    field
        Affine of every position.
    reference
        What strain is relative to.
    rotation_near
        Of the equivalent labellings the one whose rotation is nearest to this is taken, radians, shape ``(ry, rx)``; by
        default the one with the smallest rotation, see also `smooth_rotation`.
    systematic
        Standard deviation of an error of strain and rotation that no number of neighbours averages out.

    Examples
    --------
    A crystal stretched by 1 % along x (columns) and turned by 2 degrees, relative to a known lattice:

    >>> import numpy as np
    >>> from cyclestrain.affine import reciprocal, rotation
    >>> from cyclestrain.data import AffineField
    >>> from cyclestrain.strain import Reference, relative_strain
    >>> affine = reciprocal(np.diag([1.0, 1.01]) @ rotation(np.deg2rad(2.0)))[None, None]
    >>> label, valid = np.zeros((1, 1), int), np.ones((1, 1), bool)
    >>> field = AffineField(affine, np.zeros((1, 1, 4, 4)), label, valid, operators=(np.eye(2)[None],))
    >>> maps = relative_strain(field, Reference.known(np.eye(2)[None]))
    >>> maps.exx.round(4), np.rad2deg(maps.rotation).round(4)
    (array([[0.01]]), array([[2.]]))
    """
    near = np.zeros(field.label.shape) if rotation_near is None else np.nan_to_num(rotation_near)
    shape = field.label.shape
    values, covariance = np.full((*shape, 4), np.nan), np.full((*shape, 4, 4), np.nan)
    gradient = np.full((*shape, 2, 2), np.nan)
    member = np.broadcast_to(reference.mask, shape)
    for k, operators in enumerate(field.operators):
        here = field.usable & (field.label == k)
        if not here.any() or not np.isfinite(reference.gradient[k]).all():
            continue
        own = nearest_variant(field.affine[here], operators, reference.gradient[k], near[here])
        inverse = np.linalg.inv(reference.gradient[k])
        relative = own @ inverse
        stretch, theta = left_polar(relative)
        theta = near[here] + wrap_angle(theta - near[here])
        values[here] = np.stack([stretch[:, 0, 0] - 1, stretch[:, 1, 1] - 1, stretch[:, 0, 1], theta], -1)
        gradient[here] = relative
        jac = jacobian(relative)
        # dF_rel = dF F_ref^-1 - F_rel dF_ref F_ref^-1
        right = np.einsum("ik,lj->ijkl", np.eye(2), inverse).reshape(4, 4)
        own_jac = jac @ right @ own_jacobian(own, field.affine[here])
        ref_jac = jac @ np.einsum("nik,lj->nijkl", relative, inverse).reshape(-1, 4, 4)
        own_part = own_jac @ field.covariance[here] @ own_jac.swapaxes(-1, -2)
        ref_part = ref_jac @ reference.covariance[k] @ ref_jac.swapaxes(-1, -2)
        covariance[here] = _difference(own_part, ref_part, reference.noise[k], member[here])
        covariance[here] += systematic**2 * np.eye(4)
    yy, xx, xy, theta = np.moveaxis(values, -1, 0)
    return StrainMaps(yy, xx, xy, theta, covariance, gradient)


def turn_axes(
    maps: StrainMaps,
    axes: Literal["detector", "scan", "crystal"],
    angle: Any,
    *,
    mirrored: bool = False,
    sigma: float = 0.0,
) -> StrainMaps:
    """Strain in other axes, with its covariance; rotation is the same in all that are not mirrored.

    Parameters
    ----------
    maps
        Strain and rotation in detector axes.
    axes
        ``detector``: `maps` as they are. ``scan``: `V` in axes turned by `angle`. ``crystal``: :math:`U - 1` of
        :math:`F = R U` (right polar) in axes turned by `angle`, which is that of the named reflection in the reference.
    angle
        Angle of the new x axis in detector axes, radians, positive from +x (column) towards +y (row); a number or an
        array of shape ``(ry, rx)``.
    mirrored
        Whether the new y axis lies on the other side of the new x axis than on the detector: shear and rotation change
        their signs.
    sigma
        Standard deviation of the angle, radians.
    """
    if axes == "detector":
        return maps
    turn = rotation(np.asarray(angle, float) + (maps.rotation if axes == "crystal" else 0.0))  # U = R^T V R
    tensor = symmetric(maps.eyy, maps.exx, maps.exy)
    tensor = turn.swapaxes(-1, -2) @ tensor @ turn
    mixing = np.zeros((*tensor.shape[:-2], 4, 4))
    a, b, c, d = turn[..., 0, 0], turn[..., 1, 0], turn[..., 0, 1], turn[..., 1, 1]
    mixing[..., 0, :3] = np.stack(np.broadcast_arrays(a * a, b * b, 2 * a * b), -1)
    mixing[..., 1, :3] = np.stack(np.broadcast_arrays(c * c, d * d, 2 * c * d), -1)
    mixing[..., 2, :3] = np.stack(np.broadcast_arrays(a * c, b * d, a * d + b * c), -1)
    mixing[..., 3, 3] = 1.0
    covariance = mixing @ maps.covariance @ mixing.swapaxes(-1, -2)
    yy, xx, xy = tensor[..., 0, 0], tensor[..., 1, 1], tensor[..., 0, 1]
    # Derivative with respect to the angle of the axes, which moves all positions together.
    change = np.stack([-2 * xy, 2 * xy, yy - xx, np.zeros_like(xx)], -1) * sigma
    covariance = covariance + change[..., :, None] * change[..., None, :]
    side = np.array([1.0, 1.0, -1.0, -1.0] if mirrored else [1.0] * 4)
    covariance = covariance * side[:, None] * side
    return StrainMaps(yy, xx, side[2] * xy, side[3] * maps.rotation, covariance, maps.gradient)


def _difference(own: FloatArray, reference: FloatArray, noise: float, member: BoolArray) -> FloatArray:
    """Covariance of an estimate minus the reference, shape ``(n, 4, 4)``.

    A reference is the best mean of its members, so its covariance with any unbiased combination of them, one member's
    own estimate among these, is its own (Gauss-Markov): there the difference has the variance of the estimate *less*
    that of the reference, as far as this is `noise`. Of members that their neighbours made surer than the reference is,
    the reference is the combination that is less sure, and the difference has its variance less theirs.
    """
    both = own + reference
    share = noise * np.einsum("nii->n", reference[member]) / np.maximum(np.einsum("nii->n", own[member]), 1e-300)
    left = np.maximum(np.abs(1.0 - share), LEAST_SHARE)[:, None, None]
    both[member] = left * own[member] + (1.0 - noise) * reference[member]
    return both
