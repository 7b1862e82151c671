"""The crystals around a position: compiled loops over its neighbours.

Of one crystal are positions whose disks lie on top of each other, or do so half way between them, if the crystal bends
there as it does at both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np

from cyclestrain.data import AffineField, FloatArray, IntArray, Tile
from cyclestrain.strain import Lattices, is_same_crystal, nearest_step

__all__ = ["UNKNOWN", "FlatField", "compare_neighbours", "find_sources"]

ACROSS = 2
"""Positions on either side of one by which crystals are compared across a blurred edge."""
UNKNOWN = -2
"""Label of a position without a usable estimate."""


class FlatField(NamedTuple):
    """A field as the compiled loops read it, flat over positions.

    Attributes
    ----------
    rows, columns
        Of the scan, or of a tile of it.
    label
        Dictionary entry of every position, negative where there is no crystal, `UNKNOWN` without a usable estimate.
    affine, variance
        Affine of every position, zero where it is unknown, and the largest variance of its elements.
    shared
        Share of that variance that neighbours have in common.
    lattices
        Those of the dictionary.
    """

    rows: int
    columns: int
    label: IntArray
    affine: FloatArray
    variance: FloatArray
    shared: FloatArray
    lattices: Lattices

    @classmethod
    def of(cls, field: AffineField, lattices: Lattices) -> FlatField:
        """That of a whole scan."""
        label = np.where(field.valid | (field.label < 0), field.label, UNKNOWN).ravel().astype(np.int64)
        variance = np.nan_to_num(np.einsum("...ii->...i", field.covariance).max(-1)).ravel()
        affine = np.nan_to_num(field.affine).reshape(-1, 2, 2)
        shared = np.zeros(label.shape) if field.shared is None else np.nan_to_num(field.shared).ravel()
        rows, columns = field.label.shape
        return cls(rows, columns, label, affine, variance, shared, lattices)

    def cut(self, tile: Tile) -> FlatField:
        """That of a tile with its halo."""
        label, affine, variance, shared = map(tile.cut, (self.label, self.affine, self.variance, self.shared))
        return FlatField(*tile.shape, label, affine, variance, shared, self.lattices)


@nb.njit(cache=True)
def _same(field: Any, i: int, j: int) -> bool:  # pragma: no cover
    if field.label[i] != field.label[j]:
        return False
    variance = field.variance[i] + field.variance[j]
    return bool(is_same_crystal(field.affine[i], field.affine[j], variance, field.label[i], field.lattices))


@nb.njit(nogil=True, cache=True)
def compare_neighbours(field: Any, agreeing: Any, differing: Any, start: int, stop: int) -> None:  # pragma: no cover
    """Count, of the eight neighbours of every position with a crystal, those of the same and those of another kind.

    Where all are of the same, one counts as another if the position lies on a blurred edge.
    """
    rows, columns, label = field.rows, field.columns, field.label
    for i in range(start, stop):
        if label[i] < 0:
            continue
        y, x = i // columns, i % columns
        for k in range(9):
            v, u = y + k // 3 - 1, x + k % 3 - 1
            j = v * columns + u
            if k == 4 or v < 0 or u < 0 or v >= rows or u >= columns or label[j] == UNKNOWN:
                continue
            if _same(field, i, j):
                agreeing[i] += 1
            else:
                differing[i] += 1
        if differing[i] == 0 and _lies_across(field, i):
            differing[i] = 1


@nb.njit(cache=True)
def _lies_across(field: Any, i: int) -> bool:  # pragma: no cover
    """Whether a position lies on a blurred edge: it has crystals on opposite sides that are no bend of one.

    Each step across such an edge is too small for a change of crystal, since blends make up what is between.
    """
    rows, columns = field.rows, field.columns
    y, x = i // columns, i % columns
    for k in range(4):
        dy, dx = (0, 1) if k == 0 else (1, k - 2)
        step = dy * columns + dx
        for d in range(1, ACROSS + 1):
            if y - d * dy < 0 or y + d * dy >= rows or x - d * abs(dx) < 0 or x + d * abs(dx) >= columns:
                break
            a, b = i - d * step, i + d * step
            if not (_same(field, a, a + step) and _same(field, b - step, b)):
                break  # an edge of its own
            if not _same(field, a, b) and not _bends_from(field, a, b, dy, dx, d):
                return True
    return False


@nb.njit(cache=True)
def _bends_from(field: Any, a: int, b: int, dy: int, dx: int, d: int) -> bool:  # pragma: no cover
    """Whether what two positions go on from, each seen from beyond, meets half way; so it is where that is not seen."""
    rows, columns = field.rows, field.columns
    y, x, v, u = a // columns - dy, a % columns - dx, b // columns + dy, b % columns + dx
    if min(y, v) < 0 or max(y, v) >= rows or min(x, u) < 0 or max(x, u) >= columns:
        return True
    i, j = y * columns + x, v * columns + u
    if not (_same(field, i, a) and _same(field, j, b)):
        return True
    outwards = np.zeros((2, 2, 2))
    nearest_step(field.affine[a], field.affine[i], field.label[a], field.lattices, outwards[0])
    nearest_step(field.affine[b], field.affine[j], field.label[b], field.lattices, outwards[1])
    variance = field.variance[a] + field.variance[b]
    one, two = field.affine[a] - d * outwards[0], field.affine[b] - d * outwards[1]
    return bool(is_same_crystal(one, two, variance, field.label[a], field.lattices))


@nb.njit(cache=True)
def _measure_slopes(field: Any, i: int, slope: Any) -> None:  # pragma: no cover
    """Change of the affine per position along both axes at a position, from neighbours of the same crystal."""
    rows, columns, step = field.rows, field.columns, np.zeros((2, 2))
    y, x = i // columns, i % columns
    for axis in range(2):
        slope[axis] = 0.0
        count = 0
        for sign in (-1, 1):
            v, u = (y + sign, x) if axis == 0 else (y, x + sign)
            j = v * columns + u
            if v < 0 or u < 0 or v >= rows or u >= columns or not _same(field, i, j):
                continue
            nearest_step(field.affine[i], field.affine[j], field.label[i], field.lattices, step)
            slope[axis] += sign * step
            count += 1
        slope[axis] /= max(count, 1)


@nb.njit(cache=True)
def _leads_to(field: Any, i: int, slope: Any, j: int, other: Any) -> bool:  # pragma: no cover
    """Whether two positions with some slopes are of one crystal that bends: half way, both lead to the same."""
    if field.label[i] != field.label[j]:
        return False
    dy, dx = j // field.columns - i // field.columns, j % field.columns - i % field.columns
    one = field.affine[i] + 0.5 * (dy * slope[0] + dx * slope[1])
    two = field.affine[j] - 0.5 * (dy * other[0] + dx * other[1])
    variance = field.variance[i] + field.variance[j]
    return bool(is_same_crystal(one, two, variance, field.label[i], field.lattices))


@nb.njit(cache=True)
def _which(field: Any, source: Any, found: int, slopes: Any, j: int) -> int:  # pragma: no cover
    """Number of the source that a position is of the same crystal as; `found`, with its slopes, for a new one."""
    for at in range(found):
        if _same(field, source[at], j):
            return at
    if found < len(source):
        _measure_slopes(field, j, slopes[found])
        for at in range(found):
            if _leads_to(field, source[at], slopes[at], j, slopes[found]):
                return at
    return found


@nb.njit(nogil=True, cache=True)
def find_sources(
    field: Any, gain: Any, rank: Any, offsets: Any, looks: Any, found_there: Any, start: int, stop: int
) -> None:  # pragma: no cover
    """List the crystals around some positions: first those with positions of rank 2, then those with rank 1 only.

    `looks` holds the positions, and how many of the `offsets`, nearest first, are looked at from each: the second
    number where the first ones hold fewer than two crystals of rank 2. `found_there` receives sources, gains and noise,
    see `Sides`.
    """
    rows, columns = field.rows, field.columns
    source, mean_gain, noise = found_there
    slopes = np.zeros((source.shape[1], 2, 2, 2))
    for n in range(start, stop):
        y, x = looks[n, 0] // columns, looks[n, 0] % columns
        found, count = 0, np.zeros(source.shape[1])
        for part in range(3):
            if part == 1 and found >= 2:
                continue
            before, wanted = (found, 1) if part == 2 else (0, 2)
            first, last = (looks[n, 1], looks[n, 2]) if part == 1 else (0, looks[n, 1])
            for k in range(first, last):
                v, u = y + offsets[k, 0], x + offsets[k, 1]
                j = v * columns + u
                if v < 0 or u < 0 or v >= rows or u >= columns or rank[j] != wanted:
                    continue
                at = _which(field, source[n], found, slopes, j)
                if at < before or at == source.shape[1]:
                    continue
                if at == found:
                    source[n, at] = j
                    found += 1
                mean_gain[n, at] += gain[j]
                noise[n, at] = min(noise[n, at], field.variance[j] * (1.0 - field.shared[j]))
                count[at] += 1
        for at in range(found):
            mean_gain[n, at] /= count[at]
