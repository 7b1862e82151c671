r"""From the affine of a pattern to strain: the only place where that step is written.

A reflection moves as :math:`g' = A g` with :math:`A = F^{-T}`, so the affine of a *pattern* is not the strain. Relative
to a reference, :math:`F_{rel} = F F_{ref}^{-1}`: the dictionary's own affine (a gauge) cancels exactly. Then
:math:`F_{rel} = V R(\theta)` (left polar) and :math:`\varepsilon = V - 1`, in detector axes.

A lattice that maps onto itself under a rotation can be labelled in several equivalent ways; the labelling with the
smallest rotation relative to the reference is taken, as is usual for misorientations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cyclestrain.affine import deformation, left_polar, rotation, symmetric, wrap_angle
from cyclestrain.data import AffineField, BoolArray, FloatArray

__all__ = [
    "Reference",
    "StrainMaps",
    "agreeing_neighbours",
    "coherent_regions",
    "jacobian",
    "measure_reference",
    "nearest_variant",
    "relative_strain",
    "smooth_rotation",
    "turn_axes",
]

COMPONENTS = ("eyy", "exx", "exy", "rotation")
LEAST_SHARE = 0.25
"""Of a member's variance is left relative to its reference, however well the neighbours tell its value."""


@dataclass(frozen=True)
class Reference:
    """The unstrained state strains are relative to.

    Attributes
    ----------
    mask
        Positions it was measured on, shape ``(ry, rx)``; all False for a known lattice.
    gradient
        Deformation gradient ``F_ref`` of each dictionary entry, shape ``(entry, 2, 2)``; NaN where an entry has none.
    covariance
        Of ``(F_yy, F_yx, F_xy, F_xx)`` of ``F_ref``, shape ``(entry, 4, 4)``.
    noise
        Share of it that the uncertainties of the members explain, shape ``(entry,)``; the rest is that they differ.
    """

    mask: BoolArray
    gradient: FloatArray
    covariance: FloatArray
    noise: FloatArray

    @classmethod
    def known(cls, gradient: FloatArray) -> Reference:
        """Exact reference that was not measured on the scan, shape ``(entry, 2, 2)``; its mask fits every scan."""
        n = len(gradient)
        return cls(np.zeros((1, 1), bool), gradient, np.zeros((n, 4, 4)), np.ones(n))


@dataclass(frozen=True)
class StrainMaps:
    """Strain, rotation and their standard uncertainties.

    Attributes
    ----------
    eyy, exx, exy, rotation
        Shape ``(ry, rx)``; strain as a fraction, rotation in radians, positive from +x (column) to +y (row).
    covariance
        Of ``(eyy, exx, exy, rotation)``, shape ``(ry, rx, 4, 4)``.
    gradient
        ``F_rel`` in detector axes, shape ``(ry, rx, 2, 2)``.
    """

    eyy: FloatArray
    exx: FloatArray
    exy: FloatArray
    rotation: FloatArray
    covariance: FloatArray
    gradient: FloatArray

    @property
    def sigma(self) -> FloatArray:
        """Standard uncertainties in the order ``eyy, exx, exy, rotation``, shape ``(ry, rx, 4)``."""
        return np.sqrt(np.einsum("...ii->...i", self.covariance))


def _gradient_jacobian(gradient: FloatArray) -> FloatArray:
    """d(F_yy, F_yx, F_xy, F_xx) / d(A_yy, A_yx, A_xy, A_xx) at ``A = F^-T``, shape ``(..., 4, 4)``."""
    # dF = -F dA^T F, so dF_ij = -F_il dA_kl F_kj.
    jac = -np.einsum("...il,...kj->...ijkl", gradient, gradient)
    return jac.reshape(*gradient.shape[:-2], 4, 4)


def jacobian(gradient: FloatArray) -> FloatArray:
    r"""Derivative of ``(eyy, exx, exy, rotation)`` with respect to ``(F_yy, F_yx, F_xy, F_xx)``, shape ``(..., 4, 4)``.

    From :math:`dF R^T = dV + d\theta\, V J`, :math:`J = dR/d\theta\, R^T`: the antisymmetric part gives
    :math:`d\theta = (M_{yx} - M_{xy}) / \operatorname{tr} V` for :math:`M = dF R^T`.
    """
    stretch, theta = left_polar(gradient)
    turn = rotation(theta)
    generator = np.array([[0.0, 1.0], [-1.0, 0.0]])
    trace = stretch[..., 0, 0] + stretch[..., 1, 1]
    spin = stretch @ generator
    out = np.empty((*gradient.shape[:-2], 4, 4))
    for k in range(4):
        basis = np.zeros((2, 2))
        basis.flat[k] = 1.0
        m = basis @ turn.swapaxes(-1, -2)
        omega = (m[..., 0, 1] - m[..., 1, 0]) / trace
        d_stretch = m - omega[..., None, None] * spin
        out[..., 0, k] = d_stretch[..., 0, 0]
        out[..., 1, k] = d_stretch[..., 1, 1]
        out[..., 2, k] = 0.5 * (d_stretch[..., 0, 1] + d_stretch[..., 1, 0])
        out[..., 3, k] = omega
    return out


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


def _finite(field: AffineField) -> BoolArray:
    return field.valid & np.isfinite(field.affine).all((-1, -2))


def measure_reference(field: AffineField, mask: BoolArray) -> Reference:
    """Average deformation gradient over a region, one for each dictionary entry found in it.

    Parameters
    ----------
    field
        Affine of every position.
    mask
        The region, shape ``(ry, rx)``.

    Notes
    -----
    The mean is weighted by each position's information; positions more than 5 robust standard deviations from the
    region's median are left out. Rotation and stretch are averaged apart: the mean matrix of a bent crystal would be
    smaller than any of its own.
    """
    n = len(field.operators)
    gradient, covariance, noise = np.full((n, 2, 2), np.nan), np.full((n, 4, 4), np.nan), np.ones(n)
    used = np.zeros(mask.shape, bool)
    for k in range(n):
        here = mask & _finite(field) & (field.label == k)
        if not here.any():
            continue
        affine = field.affine[here]
        first = affine[len(affine) // 2]
        for _ in range(3):  # the anchor only picks the labelling; it moves to the median and stays there
            variants = nearest_variant(affine, field.operators[k], deformation(first))
            first = deformation(np.median(variants, axis=0))
        vectors = variants.reshape(-1, 4)
        jac = _gradient_jacobian(variants)
        stated = jac @ field.covariance[here] @ jac.swapaxes(-1, -2)
        sigma2 = np.einsum("nii->ni", stated)
        centre = np.median(vectors, axis=0)
        width = np.maximum(1.4826 * np.median(np.abs(vectors - centre), axis=0), 1e-9)
        keep = (np.abs(vectors - centre) <= 5 * width + 1e-9).all(1)
        weight = keep / np.maximum(sigma2.mean(1), 1e-16)
        weight /= weight.sum()
        gradient[k], residual = _polar_mean(variants, weight)
        residual *= weight[:, None]
        n_kept = int(keep.sum())
        expected = (weight[:, None, None] ** 2 * stated).sum(0)
        # A single position has no scatter to be seen, only what it states.
        covariance[k] = n_kept / (n_kept - 1) * residual.T @ residual if n_kept > 1 else expected
        noise[k] = min(1.0, np.trace(expected) / max(np.trace(covariance[k]), 1e-300))
        used[here] = keep
    return Reference(used, gradient, covariance, noise)


def _polar_mean(gradients: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean rotation times mean stretch, and how each gradient differs from it to first order, shape ``(n, 4)``."""
    middle = (weight[:, None, None] * gradients).sum(0)
    _, theta = left_polar(gradients @ np.linalg.inv(middle))
    mean_theta = float(weight @ theta)
    turned = rotation(mean_theta - theta) @ gradients
    mean = (weight[:, None, None] * turned).sum(0)
    spin = np.array([[0.0, 1.0], [-1.0, 0.0]]) @ mean
    residual = turned - mean + (theta - mean_theta)[:, None, None] * spin
    return mean, residual.reshape(-1, 4)


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
        Of the equivalent labellings the one with the rotation nearest to this is taken, radians, shape ``(ry, rx)``;
        by default the smallest, see also `smooth_rotation`.
    systematic
        Standard deviation of an error of strain and rotation that no number of neighbours averages out.
    """
    near = np.zeros(field.label.shape) if rotation_near is None else np.nan_to_num(rotation_near)
    shape = field.label.shape
    values, covariance = np.full((*shape, 4), np.nan), np.full((*shape, 4, 4), np.nan)
    gradient = np.full((*shape, 2, 2), np.nan)
    member = np.broadcast_to(reference.mask, shape)
    for k, operators in enumerate(field.operators):
        here = _finite(field) & (field.label == k)
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
        own_jac = jac @ right @ _own_jacobian(own, field.affine[here])
        ref_jac = jac @ np.einsum("nik,lj->nijkl", relative, inverse).reshape(-1, 4, 4)
        own_part = own_jac @ field.covariance[here] @ own_jac.swapaxes(-1, -2)
        ref_part = ref_jac @ reference.covariance[k] @ ref_jac.swapaxes(-1, -2)
        covariance[here] = _difference(own_part, ref_part, reference.noise[k], member[here])
        covariance[here] += systematic**2 * np.eye(4)
    yy, xx, xy, theta = np.moveaxis(values, -1, 0)
    return StrainMaps(yy, xx, xy, theta, covariance, gradient)


def _difference(own: FloatArray, reference: FloatArray, noise: float, member: BoolArray) -> FloatArray:
    """Covariance of an estimate minus the reference, shape ``(n, 4, 4)``.

    A reference is the best mean of its members, so its covariance with any unbiased combination of them, one member's
    own estimate among these, is its own (Gauss-Markov): there the difference has the variance of the estimate *less*
    that of the reference, as far as this is `noise`.
    """
    both = own + reference
    share = noise * np.einsum("nii->n", reference[member]) / np.maximum(np.einsum("nii->n", own[member]), 1e-300)
    left = np.maximum(1.0 - share, LEAST_SHARE)[:, None, None]
    both[member] = left * own[member] + (1.0 - noise) * reference[member]
    return both


def _own_jacobian(own: FloatArray, affine: FloatArray) -> FloatArray:
    """D vec(own) / d vec(A) where ``own = (A S)^-T`` for a fixed relabelling ``S = A^-1 own^-T``."""
    # d own = -own d(AS)^T own and d(AS) = dA S, so d own_ij = -own_im S_lm dA_kl own_kj.
    label = np.linalg.inv(affine) @ deformation(own)
    left = own @ label.swapaxes(-1, -2)  # own_im S^T_ml
    jac = -np.einsum("nil,nkj->nijkl", left, own)
    return jac.reshape(-1, 4, 4)


def turn_axes(maps: StrainMaps, axes: Literal["detector", "scan", "crystal"], angle: Any) -> StrainMaps:
    r"""Express strain in other axes.

    Parameters
    ----------
    maps
        In detector axes.
    axes
        ``scan``: `V` in axes turned by `angle`. ``crystal``: :math:`U - 1` of :math:`F = R U` (right polar) in axes
        turned by `angle`, that of the named reflection in the reference.
    angle
        Angle of the new x axis in detector axes, radians, a number or shape ``(ry, rx)``.
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
    return StrainMaps(yy, xx, xy, maps.rotation, covariance, maps.gradient)


def coherent_regions(field: AffineField, tolerance: float = 3e-3) -> NDArray[np.integer[Any]]:
    """Areas of one crystal: neighbours are joined where their affine agrees.

    Parameters
    ----------
    field
        Affine of every position.
    tolerance
        Difference in any element of ``A_1^-1 A_2`` (strain, or rotation in radians) that is never an edge.

    Returns
    -------
    region
        Number of the area, 0 for the largest, -1 where not valid, shape ``(ry, rx)``.
    """
    from scipy.sparse.csgraph import connected_components

    valid = _finite(field)
    label = np.reshape(connected_components(_joined(field, tolerance), directed=False)[1], valid.shape)
    size = np.bincount(label[valid], minlength=label.max() + 1)
    order = np.argsort(np.argsort(-size, kind="stable"), kind="stable")
    return np.where(valid, order[label], -1)


def smooth_rotation(maps: StrainMaps, field: AffineField, tolerance: float = 0.15) -> FloatArray:
    """Rotation that does not jump within a crystal, shape ``(ry, rx)``, radians.

    The smallest rotation of each position alone jumps by the angle of the lattice's symmetry where a crystal bends
    beyond half of it, and from position to position in a grain that lies there. Followed from neighbour to neighbour,
    it does not; the mean of each area is then the smallest one.

    Parameters
    ----------
    maps
        With the smallest rotation of each position.
    field
        The affine they were made from.
    tolerance
        Of neighbours in one crystal, as for `coherent_regions`.
    """
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    graph = _joined(field, tolerance)
    graph = graph + graph.T
    theta = maps.rotation.ravel().copy()
    period = 2 * np.pi / np.array([len(operators) for operators in field.operators])[np.maximum(field.label.ravel(), 0)]
    areas = connected_components(graph, directed=False)[1]
    starts, sizes = np.unique(areas, return_index=True, return_counts=True)[1:]
    for start in starts[sizes > 1]:
        order, before = breadth_first_order(graph, start, directed=False)
        step = period[start]
        for here in order[1:]:
            theta[here] = theta[before[here]] + wrap_angle(theta[here] - theta[before[here]], step)
        theta[order] -= step * np.round(np.median(theta[order]) / step)
    return theta.reshape(maps.rotation.shape)


def _joined(field: AffineField, tolerance: float) -> Any:
    """Sparse graph of the neighbours (along rows and columns) whose affine agrees; see `coherent_regions`."""
    from scipy.sparse import coo_array

    shape, valid = field.label.shape, _finite(field)
    index = np.arange(valid.size).reshape(shape)
    sigma2 = np.einsum("...ii->...i", field.covariance).max(-1)
    rows: list[Any] = []
    columns: list[Any] = []
    for one, two in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        pair = valid[one] & valid[two] & (field.label[one] == field.label[two])
        a, b, k = field.affine[one][pair], field.affine[two][pair], field.label[one][pair]
        limit = np.maximum(tolerance, 4.0 * np.sqrt(sigma2[one][pair] + sigma2[two][pair]))
        joined = _misfit(a, b, k, field.operators) <= limit
        rows.append(index[one][pair][joined])
        columns.append(index[two][pair][joined])
    i, j = np.concatenate(rows), np.concatenate(columns)
    return coo_array((np.ones(len(i)), (i, j)), shape=(valid.size, valid.size)).tocsr()


def agreeing_neighbours(field: AffineField, tolerance: float = 0.02) -> NDArray[np.integer[Any]]:
    """How many of the eight neighbours of every position agree with it, shape ``(ry, rx)``.

    Parameters
    ----------
    field
        Affine of every position.
    tolerance
        Difference in any element of ``A_1^-1 A_2`` that still counts as agreement, beside four standard deviations of
        it up to five times this.
    """
    valid = _finite(field)
    count = np.zeros(valid.shape, int)
    sigma2 = np.where(valid, np.einsum("...ii->...i", field.covariance).max(-1), 0.0)
    here = np.s_[:]
    for one, two in (
        ((np.s_[:-1], here), (np.s_[1:], here)),
        ((here, np.s_[:-1]), (here, np.s_[1:])),
        ((np.s_[:-1], np.s_[:-1]), (np.s_[1:], np.s_[1:])),
        ((np.s_[:-1], np.s_[1:]), (np.s_[1:], np.s_[:-1])),
    ):
        pair = valid[one] & valid[two] & (field.label[one] == field.label[two])
        limit = np.clip(4.0 * np.sqrt(sigma2[one][pair] + sigma2[two][pair]), tolerance, 5 * tolerance)
        close = np.zeros(pair.shape, bool)
        close[pair] = (
            _misfit(field.affine[one][pair], field.affine[two][pair], field.label[one][pair], field.operators) <= limit
        )
        count[one] += close
        count[two] += close
    return count


def _misfit(a: FloatArray, b: FloatArray, label: Any, operators: Sequence[FloatArray]) -> FloatArray:
    """Largest element of ``A_a^-1 A_b - 1`` over the best equivalent labelling."""
    out = np.full(len(a), np.inf)
    for k, variants in enumerate(operators):
        here = label == k
        ratio = np.linalg.inv(a[here]) @ b[here]
        distance = np.abs(ratio[:, None] - np.linalg.inv(variants)).max((-1, -2))
        out[here] = distance.min(1) if distance.size else np.inf
    return out
