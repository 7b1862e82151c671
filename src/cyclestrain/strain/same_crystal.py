"""Whether two positions, or two lattices, are of the same crystal: asked in many places, answered here.

Two affines of one dictionary entry are of the same crystal where ``A_1^-1 A_2`` is, in some labelling of the lattice,
close to one: within a tolerance (strain, or rotation in radians) or what their uncertainties allow. Where a pattern may
hold both, the tolerance is a distance of their disks: what a single fit sees as one crystal, a blend of nearly equal
lattices, is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numba as nb
import numpy as np

from cyclestrain.data import AffineField, BoolArray, FloatArray, IntArray

__all__ = ["Lattices", "is_same_crystal", "is_same_lattice", "nearest_step", "same_crystal", "variant_distance"]

TOLERANCE = 0.01
"""Difference in any element of ``A_1^-1 A_2`` that is no change of crystal."""
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
        here = np.flatnonzero(np.asarray(label) == k)
        if len(here):
            _variant_distances(a, b, here, np.linalg.inv(variants), out)
    return out


@nb.njit(cache=True, error_model="numpy")
def _variant_distances(a: Any, b: Any, here: Any, inverses: Any, out: Any) -> None:  # pragma: no cover
    """Distances of some pairs of one entry, see `variant_distance`; infinite where one of them is not finite."""
    for n in here:
        determinant = a[n, 0, 0] * a[n, 1, 1] - a[n, 0, 1] * a[n, 1, 0]
        yy = (a[n, 1, 1] * b[n, 0, 0] - a[n, 0, 1] * b[n, 1, 0]) / determinant
        yx = (a[n, 1, 1] * b[n, 0, 1] - a[n, 0, 1] * b[n, 1, 1]) / determinant
        xy = (a[n, 0, 0] * b[n, 1, 0] - a[n, 1, 0] * b[n, 0, 0]) / determinant
        xx = (a[n, 0, 0] * b[n, 1, 1] - a[n, 1, 0] * b[n, 0, 1]) / determinant
        for k in range(inverses.shape[0]):
            s = inverses[k]
            upper = max(abs(yy - s[0, 0]), abs(yx - s[0, 1]))
            largest = max(upper, max(abs(xy - s[1, 0]), abs(xx - s[1, 1])))
            if largest < out[n]:
                out[n] = largest


class Lattices(NamedTuple):
    """Every dictionary entry as compiled loops ask whether two affines of it are of one crystal.

    Attributes
    ----------
    operators, order
        Equivalent labellings of every entry and how many each has, see `cyclestrain.data.OperatorTable`.
    moment
        Mean of ``g g^T`` over the reflections, weighted by their intensity, pixels squared, shape ``(entry, 2, 2)``.
    apart
        Root mean square distance of their disks above which two crystals are different, pixels, shape ``(entry,)``.
    radius
        Of their disks, pixels, shape ``(entry,)``.
    """

    operators: FloatArray
    order: IntArray
    moment: FloatArray
    apart: FloatArray
    radius: FloatArray


@nb.njit(cache=True)
def is_same_crystal(one: Any, two: Any, variance: float, label: int, lattices: Any) -> bool:  # pragma: no cover
    """Whether two affines of one entry may be of one crystal in any labelling; compiled, for one pair.

    That is where their disks lie on top of each other, or are no farther apart than the uncertainties allow.

    Parameters
    ----------
    one, two
        Affines, shape ``(2, 2)``.
    variance
        Sum of the largest variances of their elements.
    label
        Their dictionary entry.
    lattices
        Those of the dictionary, `Lattices`.
    """
    moment, d = lattices.moment[label], np.empty((2, 2))
    limit = max(lattices.apart[label] ** 2, DIFFERENT**2 * variance * (moment[0, 0] + moment[1, 1]))
    for k in range(lattices.order[label]):
        s = lattices.operators[label, k]
        for i in range(2):
            for j in range(2):
                d[i, j] = two[i, j] - one[i, 0] * s[0, j] - one[i, 1] * s[1, j]
        square = 0.0
        for i in range(2):
            square += d[i, 0] * d[i, 0] * moment[0, 0] + d[i, 1] * d[i, 1] * moment[1, 1]
            square += 2.0 * d[i, 0] * d[i, 1] * moment[0, 1]
        if square <= limit:
            return True
    return False


@nb.njit(cache=True)
def nearest_step(one: Any, two: Any, label: int, lattices: Any, step: Any) -> None:  # pragma: no cover
    """Step from an affine of an entry to another, in the labelling that moves disks least; compiled, for one pair.

    Parameters
    ----------
    one, two
        Affines, shape ``(2, 2)``.
    label
        Their dictionary entry.
    lattices
        Those of the dictionary, `Lattices`.
    step
        Receives it, shape ``(2, 2)``.
    """
    least = np.inf
    for k in range(lattices.order[label]):
        d = two @ lattices.operators[label, k] - one
        square = (d @ lattices.moment[label] * d).sum()
        if square < least:
            least = square
            step[:] = d


UNIMODULAR = np.array([m for m in product((-1, 0, 1), repeat=4) if m[0] * m[3] - m[1] * m[2] == 1]).reshape(-1, 2, 2)
"""Changes of a reduced basis into others of its lattice, none of which is a mirror image."""


def is_same_lattice(one: FloatArray, two: FloatArray, tolerance: float = 0.025) -> bool:
    """Whether two reduced bases span lattices that are turned copies of each other; mirror images are not, as twins.

    Parameters
    ----------
    one, two
        Lattice vectors as columns, pixels, shape ``(2, 2)``.
    tolerance
        Strain within which they are.
    """
    maps = two @ UNIMODULAR @ np.linalg.inv(one)
    stretch = np.linalg.svd(maps, compute_uv=False)
    return bool((np.abs(stretch - 1).max(-1) < tolerance).any())
