r"""References that are lattices: the one that is as symmetric as it can be, and that of another class.

A lattice with a 3-, 4- or 6-fold axis has one shape that has this symmetry, whatever is done to the scan; strain
relative to it has no branches, since it looks the same from every side. Only its spacing and its rotation are open: the
spacing is the mean one of the scan, and rotation counts from the column axis to a shortest reflection.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from cyclestrain.affine import deformation, left_polar, rotation
from cyclestrain.data import AffineField, BoolArray, FloatArray
from cyclestrain.strain.reference import Reference
from cyclestrain.strain.variants import ideal_shape

__all__ = ["LEAST_FOLD", "carried_over", "ideal_reference", "mean_spacing"]

LEAST_FOLD = 3
"""Least order of a symmetry that fixes the shape of a lattice."""
OUTLYING = 0.05
"""Difference from the median spacing beyond which a position takes no part in the mean: a failed fit."""
CORRESPOND = 0.15
"""Largest strain between lattices that are said to correspond."""


def ideal_reference(field: AffineField, bases: FloatArray) -> Reference:
    """Reference of the ideal shape, mean spacing and no rotation, for every entry whose symmetry fixes the shape.

    Parameters
    ----------
    field
        Affine of every position, without the distortion of the detector.
    bases
        Reciprocal-lattice vectors of every entry as columns, shape ``(entry, 2, 2)``.
    """
    n = len(field.operators)
    gradient, covariance = np.full((n, 2, 2), np.nan), np.full((n, 4, 4), np.nan)
    used = np.zeros(field.label.shape, bool)
    for k, operators in enumerate(field.operators):
        here = field.usable & (field.label == k)
        if len(operators) < LEAST_FOLD or not here.any():
            continue
        shape = ideal_shape(operators)
        vector = shape @ bases[k][:, 0]
        upright = rotation(-np.arctan2(vector[0], vector[1])) @ np.linalg.inv(shape)
        spacing, variance, used[here] = mean_spacing(field, here)
        gradient[k] = spacing * upright
        covariance[k] = variance * np.outer(gradient[k], gradient[k])
    return Reference(used, gradient, covariance, np.ones(n), absolute=True)


def mean_spacing(field: AffineField, here: BoolArray) -> tuple[float, float, BoolArray]:
    """Mean dilation of some positions relative to the entry, its relative variance, and which of them it is of."""
    inverse = np.linalg.inv(field.affine[here])
    dilation = -0.5 * np.log(np.abs(np.linalg.det(field.affine[here])))
    # d log det A = tr(A^-1 dA)
    slope = -0.5 * inverse.swapaxes(-1, -2).reshape(-1, 4)
    variance = np.einsum("ni,nij,nj->n", slope, field.covariance[here], slope)
    keep = np.abs(dilation - np.median(dilation)) <= OUTLYING
    return float(np.exp(dilation[keep].mean())), float(variance[keep].sum() / keep.sum() ** 2), keep


def carried_over(reference: Reference, entry: int, field: AffineField, bases: FloatArray) -> Reference:
    """The lattice of one class as the reference of all classes whose lattice corresponds to it, index by index.

    That is so where both have the same symmetry and differ by less than 15 % of strain; others have no reference.

    Parameters
    ----------
    reference
        Reference of at least that class.
    entry
        The class.
    field, bases
        As for `ideal_reference`.
    """
    n = len(field.operators)
    gradient, covariance = np.full((n, 2, 2), np.nan), np.full((n, 4, 4), np.nan)
    lattice = deformation(reference.gradient[entry]) @ bases[entry]
    for k in range(n):
        index = np.eye(2) if k == entry else _correspondence(lattice, bases[k])
        if index is None or len(field.operators[k]) != len(field.operators[entry]):
            continue
        across = deformation(bases[entry] @ np.linalg.inv(bases[k] @ index))
        gradient[k] = reference.gradient[entry] @ across
        turn = np.kron(np.eye(2), across.T)
        covariance[k] = turn @ reference.covariance[entry] @ turn.T
    noise = np.full(n, reference.noise[entry])
    return replace(reference, gradient=gradient, covariance=covariance, noise=noise)


def _correspondence(lattice: FloatArray, basis: FloatArray) -> FloatArray | None:
    """Integer matrix `M` for which ``basis M`` is the lattice turned and least strained; None where none is near."""
    best, least = None, CORRESPOND
    for elements in product((-1.0, 0.0, 1.0), repeat=4):
        index = np.reshape(elements, (2, 2))
        if abs(np.linalg.det(index)) < 0.5 or np.linalg.det(lattice) * np.linalg.det(basis @ index) < 0:
            continue
        stretch, _ = left_polar(lattice @ np.linalg.inv(basis @ index))
        strain = float(np.abs(stretch - np.eye(2)).max())
        if strain < least:
            best, least = index, strain
    return best
