"""Neighbouring positions of a scan: sums, means and counts over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data.arrays import BoolArray, FloatArray, IntArray

__all__ = [
    "SAME_CENTRE",
    "SUMS",
    "clearest_neighbour",
    "count_around",
    "local_means",
    "mean_of_members",
    "neighbour_members",
    "neighbour_weights",
    "quantile_around",
    "values_around",
    "weighted_means",
]

SAME_CENTRE = 0.5
"""Largest distance between the beam centres of patterns that may be summed, pixels."""
SUMS = (1, 2)
"""Half widths of the squares of positions that are summed where patterns are faint, tried one after the other."""


def neighbour_members(
    rows: IntArray, columns: IntArray, of: IntArray, reach: int, centre: FloatArray | None = None
) -> IntArray:
    """Indices of the positions in a square around some positions, each position itself first.

    Parameters
    ----------
    rows, columns
        Scan positions, shape ``(n,)``.
    of
        Indices into these of the positions whose neighbours are wanted, shape ``(k,)``.
    reach
        Half width of the square, which is ``2 reach + 1`` positions wide.
    centre
        Beam centre ``(y, x)`` of every position, pixels, shape ``(n, 2)``: neighbours further than `SAME_CENTRE` from
        that of the position are left out, since patterns with unlike centres cannot be summed.

    Returns
    -------
    members
        Shape ``(k, (2 reach + 1)^2)``, -1 where there is no such position.
    """
    index = np.full((rows.max() + 1 + 2 * reach, columns.max() + 1 + 2 * reach), -1)
    index[rows + reach, columns + reach] = np.arange(len(rows))
    steps = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    steps.sort(key=lambda step: step != (0, 0))
    members = np.stack([index[rows[of] + reach + y, columns[of] + reach + x] for y, x in steps], -1)
    if centre is None:
        return members
    apart = np.hypot(*np.moveaxis(centre[members] - centre[of][:, None], -1, 0))
    return np.where(apart < SAME_CENTRE, members, -1)


def mean_of_members(values: NDArray[Any], members: IntArray) -> NDArray[Any]:
    """Mean of values over the members of each position, shape ``(k, ...)``.

    Parameters
    ----------
    values
        Shape ``(n, ...)``.
    members
        Indices into the values, -1 for none, see `neighbour_members`, shape ``(k, m)``.
    """
    total = values[members[:, 0]].copy()
    for some in members.T[1:]:
        there = some >= 0
        total[there] += values[some[there]]
    return np.asarray(total / (members >= 0).sum(1).reshape(-1, *[1] * (values.ndim - 1)), values.dtype)


def neighbour_weights(rows: IntArray, columns: IntArray, reach: int) -> Any:
    """Sparse matrix, shape ``(n, n)``, whose rows average over the square of positions around each position.

    Parameters
    ----------
    rows, columns
        Scan positions, shape ``(n,)``; neighbours that are not among them are left out of the mean.
    reach
        Half width of the square, which is ``2 reach + 1`` positions wide.
    """
    from scipy.sparse import csr_array, diags_array
    from scipy.spatial import cKDTree

    pairs = cKDTree(np.stack([rows, columns], -1)).query_pairs(reach + 0.1, p=np.inf, output_type="ndarray")
    i = np.concatenate([pairs[:, 0], pairs[:, 1], np.arange(len(rows))])
    j = np.concatenate([pairs[:, 1], pairs[:, 0], np.arange(len(rows))])
    weights = csr_array((np.ones(len(i), np.float32), (i, j)), shape=(len(rows), len(rows)))
    return csr_array(diags_array((1.0 / weights.sum(1)).astype(np.float32)) @ weights)


def weighted_means(weights: Any, values: NDArray[Any]) -> NDArray[Any]:
    """Means of values over neighbours, in the shape and type of the values.

    Parameters
    ----------
    weights
        Sparse matrix of `neighbour_weights`, or some of its rows.
    values
        Shape ``(n, ...)``.
    """
    return np.asarray((weights @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:]), values.dtype)


def local_means(values: NDArray[Any], rows: IntArray, columns: IntArray, reach: int) -> NDArray[Any]:
    """Means over neighbouring positions in a square, in the shape and type of the values.

    Parameters
    ----------
    values
        Shape ``(n, ...)``.
    rows, columns
        Scan positions, shape ``(n,)``; neighbours that are not among them are left out of the mean.
    reach
        Half width of the square, which is ``2 reach + 1`` positions wide.
    """
    return weighted_means(neighbour_weights(rows, columns, reach), values)


def values_around(values: NDArray[Any], outside: float, reach: int = 1) -> NDArray[Any]:
    """Values of the neighbours of every position in a square, itself left out, shape ``(neighbour, ry, rx)``.

    Parameters
    ----------
    values
        Shape ``(ry, rx)``.
    outside
        Value of neighbours beyond the border of the scan.
    reach
        Half width of the square, which is ``2 reach + 1`` positions wide.
    """
    rows, columns = values.shape
    padded = np.pad(values, reach, constant_values=outside)
    around = range(2 * reach + 1)
    shifts = [(y, x) for y in around for x in around if (y, x) != (reach, reach)]
    return np.stack([padded[y : y + rows, x : x + columns] for y, x in shifts])


def quantile_around(values: FloatArray, share: float) -> FloatArray:
    """Quantile of the neighbours of every position inside the scan, itself left out, shape ``(ry, rx)``.

    Parameters
    ----------
    values
        Finite, shape ``(ry, rx)``.
    share
        Which quantile, 0 to 1.
    """
    near = values_around(values, np.nan)
    out, inner = np.empty(values.shape), np.isfinite(near).all(0)
    out[inner] = np.quantile(near[:, inner], share, axis=0)
    out[~inner] = np.nanquantile(near[:, ~inner], share, axis=0)  # a thousand times slower for a position
    return out


def count_around(there: BoolArray, reach: int) -> tuple[IntArray, IntArray]:
    """Number of marked neighbours in a square, and of all neighbours inside the scan, shape ``(ry, rx)`` each.

    Parameters
    ----------
    there
        Marked positions, shape ``(ry, rx)``.
    reach
        Half width of the square, which is ``2 reach + 1`` positions wide; the position itself is not counted.
    """
    some, every = (values_around(each, False, reach).sum(0) for each in (there, np.ones(there.shape, bool)))
    return some, every


def clearest_neighbour(significance: FloatArray) -> IntArray:
    """Flat index of the most significant of the eight neighbours of every position, shape ``(ry, rx)``."""
    values = values_around(np.nan_to_num(significance), -1.0)
    places = values_around(np.arange(significance.size).reshape(significance.shape), 0)
    return np.take_along_axis(places, values.argmax(0)[None], 0)[0]
