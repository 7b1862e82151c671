"""Who is next to whom in a scan: sums, means and counts over neighbouring positions."""

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
    "values_around",
    "weighted_means",
]

SAME_CENTRE = 0.5
"""Distance, pixels, between beam centres up to which patterns may be added up."""


SUMS = (1, 2)
"""Half widths of the squares of positions that are summed where patterns are faint, one after the other."""


def neighbour_members(
    rows: IntArray, columns: IntArray, of: IntArray, reach: int, centre: FloatArray | None = None
) -> IntArray:
    """Indices of the positions in a square of ``2 reach + 1`` around some positions, themselves first.

    Parameters
    ----------
    rows, columns
        Scan positions, shape ``(n,)``.
    of
        Which of them are asked for, shape ``(k,)``.
    reach
        Half width of the square.
    centre
        Beam centre of every position, shape ``(n, 2)``: those whose beam is elsewhere cannot be added up.

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
    """Mean of `values`, shape ``(n, ...)``, over some members each, see `neighbour_members`, shape ``(k, ...)``."""
    total = values[members[:, 0]].copy()
    for some in members.T[1:]:
        there = some >= 0
        total[there] += values[some[there]]
    return np.asarray(total / (members >= 0).sum(1).reshape(-1, *[1] * (values.ndim - 1)), values.dtype)


def neighbour_weights(rows: IntArray, columns: IntArray, reach: int) -> Any:
    """Sparse matrix that averages over a square of ``2 reach + 1`` positions, those outside the sample left out."""
    from scipy.sparse import csr_array, diags_array
    from scipy.spatial import cKDTree

    pairs = cKDTree(np.stack([rows, columns], -1)).query_pairs(reach + 0.1, p=np.inf, output_type="ndarray")
    i = np.concatenate([pairs[:, 0], pairs[:, 1], np.arange(len(rows))])
    j = np.concatenate([pairs[:, 1], pairs[:, 0], np.arange(len(rows))])
    weights = csr_array((np.ones(len(i), np.float32), (i, j)), shape=(len(rows), len(rows)))
    return csr_array(diags_array((1.0 / weights.sum(1)).astype(np.float32)) @ weights)


def weighted_means(weights: Any, values: NDArray[Any]) -> NDArray[Any]:
    """Means of `values`, shape ``(n, ...)``, with the sparse `weights` of `neighbour_weights`."""
    return np.asarray((weights @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:]), values.dtype)


def local_means(values: NDArray[Any], rows: IntArray, columns: IntArray, reach: int) -> NDArray[Any]:
    """Mean over neighbouring positions (a square of ``2 reach + 1``), positions outside the sample left out.

    Parameters
    ----------
    values
        Shape ``(n, ...)``.
    rows, columns
        Scan positions, shape ``(n,)``.
    reach
        Half width of the square.
    """
    return weighted_means(neighbour_weights(rows, columns, reach), values)


def values_around(values: NDArray[Any], outside: float, reach: int = 1) -> NDArray[Any]:
    """Values of the neighbours of every position in a square of ``2 reach + 1``, shape ``(neighbour, ry, rx)``."""
    rows, columns = values.shape
    padded = np.pad(values, reach, constant_values=outside)
    around = range(2 * reach + 1)
    shifts = [(y, x) for y in around for x in around if (y, x) != (reach, reach)]
    return np.stack([padded[y : y + rows, x : x + columns] for y, x in shifts])


def count_around(there: BoolArray, reach: int) -> tuple[IntArray, IntArray]:
    """How many of the neighbours of every position are `there`, and how many it has, shape ``(ry, rx)`` each."""
    some, every = (values_around(each, False, reach).sum(0) for each in (there, np.ones(there.shape, bool)))
    return some, every


def clearest_neighbour(significance: FloatArray) -> IntArray:
    """Flat index of the most significant of the eight neighbours of every position."""
    values = values_around(np.nan_to_num(significance), -1.0)
    places = values_around(np.arange(significance.size).reshape(significance.shape), 0)
    return np.take_along_axis(places, values.argmax(0)[None], 0)[0]
