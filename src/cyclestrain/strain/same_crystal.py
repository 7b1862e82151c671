"""Whether two positions, or two lattices, are of the same crystal: asked in many places, answered here.

Two affines of one dictionary entry are of the same crystal where ``A_1^-1 A_2`` is, in some labelling of the lattice,
close to one: within a tolerance (strain, or rotation in radians) or what their uncertainties allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba as nb
import numpy as np

from cyclestrain.data import AffineField, BoolArray, FloatArray

__all__ = ["is_same_crystal", "is_same_lattice", "same_crystal", "variant_distance"]

TOLERANCE = 0.01
"""Difference in any element of ``A_1^-1 A_2`` that is no change of crystal: the disks still overlap almost wholly."""
DIFFERENT = 4.0
"""Standard deviations of such a difference that are no change either."""


def same_crystal(
    field: AffineField, one: Any, two: Any, tolerance: float = TOLERANCE, most: float = np.inf
) -> BoolArray:
    """Which pairs of positions are of one crystal, of the shape of the pairs.

    Parameters
    ----------
    field
        Affine of every position.
    one, two
        The first and the second position of every pair: indices into arrays of shape ``(ry, rx)``.
    tolerance
        Difference in any element of ``A_1^-1 A_2`` that is never an edge.
    most
        Difference that always is one, however uncertain the positions are.
    """
    usable = field.usable
    pair = usable[one] & usable[two] & (field.label[one] == field.label[two])
    sigma2 = np.where(usable, np.einsum("...ii->...i", field.covariance).max(-1), 0.0)
    limit = np.clip(DIFFERENT * np.sqrt(sigma2[one][pair] + sigma2[two][pair]), tolerance, most)
    apart = variant_distance(field.affine[one][pair], field.affine[two][pair], field.label[one][pair], field.operators)
    same = np.zeros(pair.shape, bool)
    same[pair] = apart <= limit
    return same


def variant_distance(a: FloatArray, b: FloatArray, label: Any, operators: Sequence[FloatArray]) -> FloatArray:
    """Largest element of ``A_a^-1 A_b - 1`` over the best equivalent labelling, shape ``(n,)``.

    Parameters
    ----------
    a, b
        Affines of each pair, shape ``(n, 2, 2)``.
    label
        Dictionary entry of both, shape ``(n,)``.
    operators
        Equivalent labellings of every entry, see `AffineField`.
    """
    out = np.full(len(a), np.inf)
    for k, variants in enumerate(operators):
        here = label == k
        ratio = np.linalg.inv(a[here]) @ b[here]
        distance = np.abs(ratio[:, None] - np.linalg.inv(variants)).max((-1, -2))
        out[here] = distance.min(1) if distance.size else np.inf
    return out


@nb.njit(cache=True)
def is_same_crystal(
    one: Any, two: Any, variance: float, label: int, operators: Any, order: Any
) -> bool:  # pragma: no cover
    """Whether two affines of one entry may be of one crystal in any labelling; compiled, for one pair.

    Parameters
    ----------
    one, two
        Affines, shape ``(2, 2)``.
    variance
        Sum of the largest variances of their elements.
    label
        Their dictionary entry.
    operators, order
        Table of equivalent labellings, see `cyclestrain.data.OperatorTable`.
    """
    limit = max(TOLERANCE, DIFFERENT * np.sqrt(variance))
    a, b, c, d = one[0, 0], one[0, 1], one[1, 0], one[1, 1]
    determinant = a * d - b * c
    for k in range(order[label]):
        furthest = 0.0
        for j in range(2):
            up, low = (d * two[0, j] - b * two[1, j]) / determinant, (a * two[1, j] - c * two[0, j]) / determinant
            furthest = max(furthest, abs(up - operators[label, k, 0, j]), abs(low - operators[label, k, 1, j]))
        if furthest <= limit:
            return True
    return False


def is_same_lattice(one: FloatArray, two: FloatArray, tolerance: float = 0.025) -> bool:
    """Whether two reduced bases span lattices that are turned copies of each other.

    Parameters
    ----------
    one, two
        Lattice vectors as columns, pixels, shape ``(2, 2)``.
    tolerance
        Strain within which they are.
    """
    lengths = [np.sort(np.hypot(*basis)) for basis in (one, two)]
    areas = [abs(np.linalg.det(basis)) for basis in (one, two)]
    alike = np.abs(lengths[0] / lengths[1] - 1).max() < tolerance
    return bool(alike and abs(areas[0] / areas[1] - 1) < 2 * tolerance)
