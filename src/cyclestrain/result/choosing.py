"""Where to measure next, for experiments that decide while they run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.errors import InputError
from cyclestrain.result.file import load_result

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["interpolated", "next_positions"]

STRAINS = ("exx", "eyy", "exy", "rotation")
HIDING = 2.0
"""Distance to what is known, positions, from which on a small feature can hide that nothing tells of."""
NEIGHBOURS, AVERAGED = 8, 3
"""Known positions of which each is predicted, and predictions over which an error is averaged."""


def next_positions(result: str | os.PathLike[str] | xr.Dataset, n: int = 16) -> IntArray:
    r"""Positions of a scan at which a measurement lowers the error of the map most.

    Where nothing was measured, strain is interpolated from around, which is wrong by about :math:`r d`: the distance
    :math:`d` to the nearest measured position times how rough the strain is around there, as measured positions tell
    that are predicted from their neighbours. Where something was measured, it is wrong by its uncertainty
    :math:`\sigma`, whose square a second look of equal dose halves. Positions are chosen one after the other, each
    where the expected squared error falls most, by :math:`r^2 d^2` or :math:`\sigma^2 / 2`, as if those before had been
    measured, so that they gather where strain changes. But how rough strain is tells nothing of a feature that no
    measured position touches: while a position is farther than two from all that is known, the farthest comes first.

    Parameters
    ----------
    result
        Result, or its file, for example one that `cyclestrain.live` keeps while a scan grows.
    n
        Number of positions, at most those of the scan.

    Returns
    -------
    positions
        ``(ry, rx)`` of each, the most worthwhile first, shape ``(n, 2)``.

    Raises
    ------
    InputError
        If `n` does not fit the scan, or the result holds no strain.

    Examples
    --------
    Half of a scan was measured; the other half, farthest from what is known first, comes next:

    >>> import numpy as np, xarray as xr
    >>> exx = np.tile([0.0, 0.001, 0.002, np.nan, np.nan, np.nan], (4, 1))
    >>> maps = xr.Dataset({name: (("ry", "rx"), exx) for name in ("exx", "eyy", "exy", "rotation")})
    >>> next_positions(maps, 2)
    array([[0, 5],
           [3, 5]])
    """
    maps = load_result(result) if isinstance(result, str | os.PathLike) else result
    missing = [name for name in STRAINS if name not in maps]
    if missing:
        raise InputError(f"the result holds no {', '.join(missing)}; give one that `cyclestrain map` or `live` made")
    shape = maps["exx"].shape
    if not 1 <= n <= np.prod(shape):
        raise InputError(f"the scan has {shape[0]}x{shape[1]} positions; choose between 1 and all of them, not {n}")
    known = np.isfinite(np.stack([maps[name].values for name in STRAINS])).all(0)
    if "valid" in maps:
        known &= maps["valid"].values.astype(bool)
    # vacuum was looked at as well: there is nothing more to learn
    looked_at = known | (np.isfinite(maps["gain"].values) if "gain" in maps else False)
    if not known.any():
        return _spread(shape, n)
    noise = np.zeros(shape)
    if all(f"{name}_sigma" in maps for name in STRAINS):
        noise = np.sum([maps[f"{name}_sigma"].values ** 2 for name in STRAINS], axis=0)
    noise = np.where(known & np.isfinite(noise), noise, 0.0)
    rough = _roughness(maps, known, float(np.median(noise[known])))
    distance = distance_transform_edt(~looked_at)
    return _greedy((rough * distance) ** 2, noise / 2, rough, distance, n)


def _greedy(gain: FloatArray, again: FloatArray, rough: FloatArray, distance: FloatArray, n: int) -> IntArray:
    """The best positions one after the other, the expected errors updated after each; what is unexplored first."""
    rows, columns = np.indices(gain.shape)
    chosen = np.zeros((n, 2), np.int64)
    open_ = np.ones(gain.shape, bool)
    for index in range(n):
        unseen = np.where(open_, distance, 0.0)
        worth = unseen if unseen.max() > HIDING else np.where(open_, np.maximum(gain, again), -1.0)
        row, column = np.unravel_index(int(worth.argmax()), gain.shape)
        chosen[index] = row, column
        open_[row, column] = False
        near = np.hypot(rows - row, columns - column)
        closer = near < distance
        distance = np.where(closer, near, distance)
        gain = np.where(closer, (rough * distance) ** 2, gain)
    return chosen


def _roughness(maps: xr.Dataset, known: BoolArray, noise: float) -> FloatArray:
    """Error of interpolating, all components together, per position of distance to what is known.

    What a plane through its neighbours misses at a known position, beyond the noise, tells the error around it: steps
    and curves count, an even slope does not. Half of what is expected anywhere is that of the whole scan, since what is
    between known positions may be unlike them; and it is no less than the `noise`, the variance of a measurement.
    """
    from scipy.spatial import KDTree

    at = np.argwhere(known)
    if len(at) <= NEIGHBOURS:
        return np.ones(known.shape)
    tree = KDTree(at)
    distance, near = (np.asarray(each) for each in tree.query(at, NEIGHBOURS + 1))
    place = (at[near[:, 1:]] - at[:, None]).astype(float)
    design = np.concatenate([np.ones((*place.shape[:2], 1)), place], 2)
    weight = np.linalg.pinv(design)[:, 0]  # of each neighbour in the plane's value at the position itself
    square = np.zeros(len(at))
    for name in STRAINS:
        values = maps[name].values[known]
        sigma = maps[f"{name}_sigma"].values[known] if f"{name}_sigma" in maps else np.zeros(len(at))
        missed = values - (weight * values[near[:, 1:]]).sum(1)
        square += np.maximum(missed**2 - np.nan_to_num(sigma) ** 2 * (1 + (weight**2).sum(1)), 0.0)
    square /= distance[:, 1] ** 2
    around = tree.query(np.argwhere(np.ones(known.shape, bool)), AVERAGED)[1]
    local = square[around].mean(1).reshape(known.shape)
    return np.sqrt(np.maximum(0.5 * (local + float(square.mean())), max(noise, 1e-24)))


def interpolated(values: FloatArray, known: BoolArray) -> FloatArray:
    """A map with the positions that are not known interpolated: linearly, outside of all from the nearest.

    Parameters
    ----------
    values
        Shape ``(ry, rx)``.
    known
        Positions whose values count, shape ``(ry, rx)``.
    """
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator  # takes a third of a second
    from scipy.spatial import QhullError

    at, wanted = np.argwhere(known), np.argwhere(~known)
    out = np.where(known, values, np.nan)
    if not len(wanted):
        return out
    found = np.full(len(wanted), np.nan)
    try:
        found = LinearNDInterpolator(at, values[known])(wanted)
    except (QhullError, ValueError):  # fewer than three, or all on a line
        pass
    outside = ~np.isfinite(found)
    found[outside] = NearestNDInterpolator(at, values[known])(wanted[outside])
    out[~known] = found
    return out


def _spread(shape: tuple[int, ...], n: int) -> IntArray:
    """Positions far from each other, the middle first: nothing is known yet."""
    start = np.full(shape, float(np.hypot(shape[0], shape[1])))
    rows, columns = np.indices(shape)
    middle = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2)
    return _greedy(start**2 - 1e-3 * middle, np.zeros(shape), np.ones(shape), start, n)
