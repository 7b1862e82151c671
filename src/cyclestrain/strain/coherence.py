"""Which positions belong to one crystal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.affine import wrap_angle
from cyclestrain.data import AffineField, BoolArray, FloatArray, IntArray
from cyclestrain.strain.same_crystal import same_crystal

__all__ = ["agreeing_neighbours", "coherent_regions", "followed", "joined"]


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
    graph = joined(field, lambda one, two: same_crystal(field, one, two, tolerance))
    label = np.reshape(connected_components(graph, directed=False)[1], valid.shape)
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


def followed(rotation: FloatArray, field: AffineField, graph: Any) -> tuple[FloatArray, IntArray]:
    """Rotation followed from neighbour to neighbour within connected areas, and the number of the area.

    The smallest rotation of each position alone jumps by the angle of the lattice's symmetry where a crystal bends
    beyond half of it, and from position to position in a grain that lies there. Followed, it does not; of each area
    that multiple of the angle is taken which makes its mean smallest.

    Parameters
    ----------
    rotation
        Rotation of every position in any labelling, radians, shape ``(ry, rx)``.
    field
        The affine it was made from.
    graph
        Sparse graph of the neighbours that belong together, see `joined`.

    Returns
    -------
    rotation, area
        Shape ``(ry, rx)`` each.
    """
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    graph = graph + graph.T
    areas = connected_components(graph, directed=False)[1]
    starts, sizes = np.unique(areas, return_index=True, return_counts=True)[1:]
    period = (2 * np.pi / field.operator_table.order[np.maximum(field.label.ravel(), 0)])[starts]
    phase = np.exp(2j * np.pi * rotation.ravel() / period[areas])
    mean = np.angle(np.bincount(areas, phase.real) + 1j * np.bincount(areas, phase.imag)) * period / (2 * np.pi)
    away = wrap_angle(rotation.ravel() - mean[areas], period[areas])
    theta, furthest = mean[areas] + away, np.zeros(len(starts))
    np.maximum.at(furthest, areas, np.nan_to_num(np.abs(away)))  # NaN where a class has no reference
    for area in np.flatnonzero(furthest > period / 4):  # others are all within half a turn of their symmetry
        order, before = breadth_first_order(graph, starts[area], directed=False)
        for here in order[1:]:
            theta[here] = theta[before[here]] + wrap_angle(theta[here] - theta[before[here]], period[area])
    mean = np.bincount(areas, theta) / sizes
    theta -= (period * np.round(mean / period))[areas]
    return theta.reshape(rotation.shape), np.asarray(areas).reshape(rotation.shape)


def joined(field: AffineField, together: Callable[[Any, Any], BoolArray]) -> Any:
    """Sparse graph of the neighbours (along rows and columns) that belong together.

    Parameters
    ----------
    field
        Affine of every position.
    together
        Whether the first and the second position of every pair, given as indices, do.
    """
    from scipy.sparse import coo_array

    index = np.arange(field.label.size).reshape(field.label.shape)
    rows: list[Any] = []
    columns: list[Any] = []
    for one, two in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        pairs = together(one, two)
        rows.append(index[one][pairs])
        columns.append(index[two][pairs])
    i, j = np.concatenate(rows), np.concatenate(columns)
    return coo_array((np.ones(len(i)), (i, j)), shape=(index.size, index.size)).tocsr()
