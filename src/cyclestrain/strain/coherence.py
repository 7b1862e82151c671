"""Which positions belong to one crystal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.affine import wrap_angle
from cyclestrain.data import AffineField, FloatArray, StrainMaps
from cyclestrain.strain.same_crystal import same_crystal

__all__ = ["agreeing_neighbours", "coherent_regions", "smooth_rotation"]


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

    valid = field.usable
    label = np.reshape(connected_components(_joined(field, tolerance), directed=False)[1], valid.shape)
    size = np.bincount(label[valid], minlength=label.max() + 1)
    order = np.argsort(np.argsort(-size, kind="stable"), kind="stable")
    return np.where(valid, order[label], -1)


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
    count = np.zeros(field.label.shape, int)
    here = np.s_[:]
    for one, two in (
        ((np.s_[:-1], here), (np.s_[1:], here)),
        ((here, np.s_[:-1]), (here, np.s_[1:])),
        ((np.s_[:-1], np.s_[:-1]), (np.s_[1:], np.s_[1:])),
        ((np.s_[:-1], np.s_[1:]), (np.s_[1:], np.s_[:-1])),
    ):
        close = same_crystal(field, one, two, tolerance, 5 * tolerance)
        count[one] += close
        count[two] += close
    return count


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

    index = np.arange(field.label.size).reshape(field.label.shape)
    rows: list[Any] = []
    columns: list[Any] = []
    for one, two in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        joined = same_crystal(field, one, two, tolerance)
        rows.append(index[one][joined])
        columns.append(index[two][joined])
    i, j = np.concatenate(rows), np.concatenate(columns)
    return coo_array((np.ones(len(i)), (i, j)), shape=(index.size, index.size)).tocsr()
