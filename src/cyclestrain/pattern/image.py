"""The expected counts of one whole pattern, to be compared with it by eye.

The transform is given; brightness is what the pattern itself says, within the priors of its entry, as in the fit
(`cyclestrain.pattern.likelihood`). With the transform fixed, the model is linear in what is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_array

from cyclestrain.affine import left_polar, rotation
from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.pattern.blur import blur_levels, pooled_blur
from cyclestrain.pattern.dictionary import Entry
from cyclestrain.pattern.refine import Start, blurs_in, film_in, predicted_positions
from cyclestrain.pattern.reflection import contrast_modes
from cyclestrain.pattern.windows import Windows, in_place

__all__ = ["expected_image"]

ROUNDS = 3
"""Alternations of the brightness of the whole pattern and that of its single reflections."""


@dataclass(frozen=True)
class _Disk:
    """One reflection of the pattern: where it is, and what brightness may do to its pixels.

    Attributes
    ----------
    place
        Rows and columns of its window on the detector.
    columns
        Counts per unit of each deviation with a prior, shape ``(deviation, pixel)``: of the disk's intensity, of level
        and slopes of the background, and of the contrast inside the disk. The first and the second are the disk and
        the background themselves.
    width
        Standard deviation of each in the prior, shape ``(deviation,)``.
    """

    place: tuple[slice, slice]
    columns: FloatArray
    width: FloatArray


def expected_image(
    pattern: NDArray[Any],
    good: BoolArray,
    entry: Entry,
    *,
    affine: FloatArray,
    centre: FloatArray,
    noise_scale: float = 1.0,
) -> FloatArray:
    """Expected counts of a pattern whose transform is known, shape ``(qy, qx)``.

    Parameters
    ----------
    pattern
        Counts, shape ``(qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    entry
        Dictionary entry of the pattern.
    affine, centre
        Affine from the entry to the pattern, shape ``(2, 2)``, and the beam centre ``(y, x)``, pixels.
    noise_scale
        Variance of a pixel over its mean.
    """
    entry = _as_soft(pattern, good, entry, affine, centre, noise_scale)
    y, x = np.indices(pattern.shape, float)
    radii = np.hypot(y - centre[0], x - centre[1])
    profile = entry.backgrounds(_film(pattern, good, entry, affine, centre, noise_scale))[0]
    background = np.interp(radii, np.arange(len(profile)), profile)
    disks = [
        disk for g in range(len(entry.reflections)) if (disk := _disk(entry, g, affine, centre, background)) is not None
    ]
    flat = np.zeros(pattern.shape)
    for disk in disks:
        flat[disk.place] += disk.columns[0].reshape(flat[disk.place].shape)
    covered = np.zeros(pattern.shape, bool)
    for disk in disks:
        covered[disk.place] = True
    inner, outer = entry.annulus or (0.0, np.inf)
    used = covered & good & (radii > inner) & (radii < outer)
    own: FloatArray = np.zeros(pattern.shape)
    gain, level = 1.0, 1.0
    for _ in range(ROUNDS):
        variance = noise_scale * np.maximum(gain * flat + level * background + own, entry.variance_floor)
        gain, level = _brightness(flat[used], background[used], (pattern - own)[used], variance[used])
        rest = pattern - gain * flat - level * background
        if entry.overlaps:
            own = _deviations_together(disks, gain, rest, used / variance)
            continue
        own = np.zeros(pattern.shape)
        for disk in disks:
            there = disk.place
            weight = (good[there] / variance[there]).ravel()
            own[there] += _deviation(disk, gain, level, rest[there].ravel(), weight).reshape(own[there].shape)
    return np.asarray(gain * flat + level * background + own)


def _seen(
    pattern: NDArray[Any], good: BoolArray, entry: Entry, affine: FloatArray, centre: FloatArray
) -> tuple[Windows, Start]:
    """The pattern around its reflections, and where it is looked at."""
    start = Start(affine[None], centre[None], np.ones(1), np.ones(1))
    places = predicted_positions(start, entry.reflections)
    return in_place(pattern[None], places, entry.probe.half + 1, good), start


def _film(
    pattern: NDArray[Any], good: BoolArray, entry: Entry, affine: FloatArray, centre: FloatArray, noise_scale: float
) -> FloatArray:
    """How much of the entry's film the pattern holds, shape ``(1,)``."""
    windows, start = _seen(pattern, good, entry, affine, centre)
    return film_in(windows, entry, start, noise_scale)


def _as_soft(
    pattern: NDArray[Any], good: BoolArray, entry: Entry, affine: FloatArray, centre: FloatArray, noise_scale: float
) -> Entry:
    """The entry with disks as soft as those of the pattern."""
    if not entry.blur > 0:
        return entry
    windows, start = _seen(pattern, good, entry, affine, centre)
    found = blurs_in(windows, entry, start, noise_scale, blur_levels(entry.blur))
    return replace(entry, probe=entry.probe.softened(float(pooled_blur(*found, entry.blur)[0])), blur=0.0)


def _brightness(flat: FloatArray, background: FloatArray, counts: FloatArray, variance: FloatArray) -> FloatArray:
    """Gain of the reflections and level of the background, neither below zero, shape ``(2,)``."""
    from scipy.optimize import nnls

    if not counts.size:
        return np.ones(2)
    columns = np.stack([flat, background], 1) / np.sqrt(variance)[:, None]
    return np.asarray(nnls(columns, counts / np.sqrt(variance))[0])


def _deviation(disk: _Disk, gain: float, level: float, rest: FloatArray, weight: FloatArray) -> FloatArray:
    """What one reflection has beyond its entry, in counts: the most probable deviations under their priors."""
    factor = np.full(len(disk.columns), gain)
    factor[1:4] = level
    free = (disk.width > 0) & (factor > 0)
    columns = disk.columns[free] * factor[free, None]
    normal = (columns * weight) @ columns.T + np.diag(1.0 / disk.width[free] ** 2)
    return np.asarray(np.linalg.solve(normal, columns @ (weight * rest)) @ columns) if free.any() else 0.0 * rest


def _deviations_together(disks: list[_Disk], gain: float, rest: FloatArray, weight: FloatArray) -> FloatArray:
    """What disks that overlap have beyond their entry, counts, ``(qy, qx)``: all at once, as neighbours share pixels.

    Only brightness deviates there, see `cyclestrain.pattern.overlapping`.
    """
    free, pixel = [disk for disk in disks if gain * disk.width[0] > 0], np.arange(rest.size).reshape(rest.shape)
    if not free:
        return np.zeros(rest.shape)
    places = [pixel[disk.place].ravel() for disk in free]
    ends = np.cumsum([0, *map(len, places)])
    light = gain * np.concatenate([disk.columns[0] for disk in free])
    columns = csr_array((light, np.concatenate(places), ends), shape=(len(free), rest.size))
    weighted = columns * weight.ravel()
    normal = (weighted @ columns.T).toarray() + np.diag([1.0 / disk.width[0] ** 2 for disk in free])
    return np.asarray(columns.T @ np.linalg.solve(normal, weighted @ rest.ravel())).reshape(rest.shape)


def _disk(entry: Entry, g: int, affine: FloatArray, centre: FloatArray, background: FloatArray) -> _Disk | None:
    """Reflection `g` of an entry as a transform puts it on the detector; None where it lies outside.

    Parameters
    ----------
    entry
        Dictionary entry.
    g
        Number of the reflection.
    affine, centre
        As for `expected_image`.
    background
        Background of the entry about the beam centre of the pattern, shape ``(qy, qx)``.
    """
    position = centre + affine @ entry.reflections[g]
    probe, middle = entry.probe, np.rint(position).astype(int)
    low, high = np.maximum(middle - probe.half, 0), np.minimum(middle + probe.half + 1, background.shape)
    if (low >= high).any():
        return None
    place = (slice(low[0], high[0]), slice(low[1], high[1]))
    rows, columns = np.mgrid[place]
    v, u = (rows - position[0]).ravel(), (columns - position[1]).ravel()
    table = len(probe.values) // 2
    nodes = table + probe.oversampling * np.stack([v, u])
    disk = entry.intensity[g] * map_coordinates(probe.values, nodes, order=1, mode="constant")
    if len(entry.disks):
        image = entry.disks.images[g]
        turned = len(image) // 2 + entry.disks.step * (rotation(left_polar(affine)[1]).T @ np.stack([v, u]))
        disk += entry.intensity[g] * map_coordinates(image, turned, order=1, mode="constant")
    level = background[place].ravel()
    slopes = [level * (axis - at).ravel() / probe.half for axis, at in ((rows, middle[0]), (columns, middle[1]))]
    return _Disk(
        place,
        np.stack([disk, level, *slopes, *(disk * contrast_modes(v / probe.radius, u / probe.radius))]),
        entry.priors.of_deviations[g],
    )
