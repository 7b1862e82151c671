r"""Which of the equivalent labellings of a lattice strain is told in: one for each grain, that which turns least.

Relative to a strained reference, :math:`F S F_{ref}^{-1}` depends on the symmetry rotation `S`: the reference's own
strain is seen from another side. No measurement tells which is meant, so it is a convention, and it must not depend on
noise or on what lies between a grain and the reference: of every grain the labelling is taken whose mean rotation is
smallest. Where two of them turn alike the choice is a matter of noise; that is told, and in sigma.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cyclestrain.affine import wrap_angle
from cyclestrain.data import AffineField, BoolArray, FloatArray, IntArray, StrainMaps
from cyclestrain.strain.coherence import followed, joined
from cyclestrain.strain.maps import relative_strain
from cyclestrain.strain.reference import Reference
from cyclestrain.strain.same_crystal import same_crystal

__all__ = ["branch_unsure", "coherent_areas", "grain_labels", "grain_rotation", "strain_in_grains", "widened_by_branch"]

SAME_GRAIN = float(np.deg2rad(0.5))
"""Difference of strain or rotation that is no boundary between grains; also how near to the change of labelling a
grain may lie before the choice is doubtful."""
FURTHEST = 0.15
"""Largest step from position to position within a crystal that bends, radians."""
ALIKE = 0.5
"""Share of a step by which the steps before and after it may differ where a crystal bends."""
DIFFERENT = 3.0
"""Standard deviations of the rotation within which a labelling is as near as another."""
SMALL = 4
"""Least number of positions of an area that has a labelling of its own beside a larger one."""
MATTERS = 0.1
"""Part of a standard deviation below which the choice of the labelling is no matter."""


def grain_labels(field: AffineField, rotation: FloatArray) -> IntArray:
    """Number of the grain of every position, shape ``(ry, rx)``: areas without a boundary inside; bent ones are whole.

    Neighbours are of one grain where they agree, or where rotation changes between them as much as it does before and
    behind them.

    Parameters
    ----------
    field
        Affine of every position.
    rotation
        Rotation of every position in any labelling, radians.
    """
    from scipy.sparse.csgraph import connected_components

    graph = joined(field, lambda one, two: _one_grain(field, rotation, one, two))
    return np.asarray(connected_components(graph, directed=False)[1]).reshape(field.label.shape)


def coherent_areas(field: AffineField, most: float) -> tuple[FloatArray, IntArray]:
    """Rotation from its entry to every position, followed from neighbour to neighbour, and the area it is followed in.

    Areas end where neighbours differ by more than a small-angle boundary does: within them the lattice is labelled
    without a jump, across cores of dislocations and across the walls that they form.

    Parameters
    ----------
    field
        Affine of every position.
    most
        Change of the affine between neighbours (strain, or radians) up to which they are of one area.

    Returns
    -------
    rotation, area
        Radians, and the number of the area, shape ``(ry, rx)`` each.
    """
    entries = np.tile(np.eye(2), (len(field.operators), 1, 1))
    maps = relative_strain(field, Reference.known(entries))
    return followed(maps.rotation, field, joined(field, lambda one, two: same_crystal(field, one, two, most, most)))


def grain_rotation(maps: StrainMaps, field: AffineField) -> FloatArray:
    """Rotation of every position in the labelling whose mean over its grain is smallest, shape ``(ry, rx)``, radians.

    Within a grain it is followed from neighbour to neighbour, so that it does not jump where a crystal bends beyond
    half the angle of its symmetry. Areas of a few positions have the labelling of the grain they lie beside.

    Parameters
    ----------
    maps
        With the rotation of each position in any labelling.
    field
        The affine they were made from.
    """
    graph = joined(field, lambda one, two: _one_grain(field, maps.rotation, one, two))
    theta, area = followed(maps.rotation, field, graph)
    size = np.bincount(area.ravel())[area]
    return _beside_larger(theta, size, field)


def strain_in_grains(
    field: AffineField, reference: Reference, rotation: FloatArray, *, systematic: float = 0.0
) -> tuple[StrainMaps, BoolArray]:
    """Strain in the labelling of each grain, and where another one would do as well, which is then in sigma.

    Parameters
    ----------
    field, reference, systematic
        As for `relative_strain`.
    rotation
        Rotation of every position in the labelling of its grain, from `grain_rotation`.
    """
    maps = relative_strain(field, reference, rotation, systematic=systematic)
    return widened_by_branch(maps, field, reference, branch_unsure(maps, field))


def branch_unsure(maps: StrainMaps, field: AffineField) -> BoolArray:
    """Positions where another labelling turns as little as the one that was taken, or less, shape ``(ry, rx)``.

    Parameters
    ----------
    maps
        Strain and rotation in the labelling that was taken.
    field
        The affine they were made from.
    """
    with np.errstate(invalid="ignore"):
        margin = np.maximum(DIFFERENT * np.sqrt(maps.covariance[..., 3, 3]), SAME_GRAIN)
        return np.asarray(np.abs(maps.rotation) > periods(field) / 2 - margin)


def widened_by_branch(
    maps: StrainMaps, field: AffineField, reference: Reference, unsure: BoolArray
) -> tuple[StrainMaps, BoolArray]:
    """Strain with half the difference to the next labelling added to its uncertainty, and where that matters.

    Parameters
    ----------
    maps
        Strain and rotation in the labelling that was taken.
    field, reference
        What they were made from.
    unsure
        Positions where the next labelling is as good, from `branch_unsure`, shape ``(ry, rx)``.
    """
    if not unsure.any():
        return maps, unsure
    next_one = np.where(unsure, maps.rotation - np.sign(maps.rotation) * periods(field), maps.rotation)
    other = relative_strain(replace(field, valid=field.valid & unsure), reference, next_one)
    half = np.zeros(maps.covariance.shape[:-1])
    for k, name in enumerate(("eyy", "exx", "exy")):
        half[..., k] = np.where(unsure, getattr(other, name) - getattr(maps, name), 0.0) / 2
    half = np.nan_to_num(half)
    with np.errstate(invalid="ignore"):
        matters = np.asarray((np.abs(half) > MATTERS * maps.sigma).any(-1), bool)
    half[~matters] = 0.0
    return replace(maps, covariance=maps.covariance + half[..., :, None] * half[..., None, :]), matters


def periods(field: AffineField) -> FloatArray:
    """Angle after which the lattice of every position looks the same, radians, shape ``(ry, rx)``."""
    return np.asarray(2 * np.pi / field.operator_table.order[np.maximum(field.label, 0)])


def _one_grain(field: AffineField, rotation: FloatArray, one: Any, two: Any) -> BoolArray:
    """Whether neighbours, given as slices along one axis, are of one grain."""
    near = same_crystal(field, one, two, SAME_GRAIN)
    return np.asarray(near | (same_crystal(field, one, two, FURTHEST) & _bends(field, rotation, one, two)))


def _bends(field: AffineField, rotation: FloatArray, one: Any, two: Any) -> BoolArray:
    """Whether the rotation changes between neighbours as it does before and behind them."""
    axis = 0 if one[0] != slice(None) else 1
    step = np.moveaxis(wrap_angle(rotation[two] - rotation[one], periods(field)[one]), axis, 0)
    out = np.ones(step.shape, bool)
    with np.errstate(invalid="ignore"):
        change = np.abs(np.diff(step, axis=0))
        out[1:] &= change <= ALIKE * np.abs(step[1:])
        out[:-1] &= change <= ALIKE * np.abs(step[:-1])
    return np.moveaxis(out, 0, axis)


def _beside_larger(theta: FloatArray, size: IntArray, field: AffineField) -> FloatArray:
    """Rotations in which areas of a few positions follow the larger area they agree with."""
    out, period, found = theta.copy(), periods(field), size >= SMALL
    steps = ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:]))
    for here, there in (pair for one, two in steps for pair in ((one, two), (two, one))):
        follows = ~found[here] & (size[there] >= SMALL) & same_crystal(field, here, there, FURTHEST, FURTHEST)
        moved = theta[there] + wrap_angle(theta[here] - theta[there], period[here])
        out[here] = np.where(follows, moved, out[here])
        found[here] |= follows
    return out
