"""The direct beam: position of its disk in every pattern, its radius, and both where the disk is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cyclestrain.calibration.hidden_beam import centre_of_inversion, disk_radius, find_shadow
from cyclestrain.calibration.pixels import fill_from_nearest
from cyclestrain.calibration.subset import TILE, Sample
from cyclestrain.data import BoolArray, Calibration, FloatArray

__all__ = ["Beam", "Centres", "find_beam", "find_centres", "find_direct_beam", "locate_beam", "measure_centres"]

MOST_CUT = 0.15
"""Share of bad (or saturated) pixels in the direct disk above which its centroid (or its size) is not trusted."""
MOST_GROUPS = 64
"""Largest number of groups of neighbouring positions whose sums give a centre by symmetry."""
LEAST_HIDDEN_SIGMA = 0.3
"""Least standard deviation of a centre that is found by symmetry alone, pixels."""
LEAST_JUMP, LEAST_JUMP_SHARE = 0.5, 0.2
"""Distance of a centroid from a smooth centre, pixels and disk radii, that contrast in the disk does not explain."""
MOST_JUMPS = 0.2
"""Share of positions with such a distance above which the beam wanders and no smooth centre is used."""


@nb.njit(parallel=True, cache=True)
def _centroids(patterns: Any, good: Any, start: Any, radii: Any, out: Any) -> None:  # pragma: no cover - compiled
    n_y, n_x = good.shape
    for n in nb.prange(patterns.shape[0]):
        cy, cx = start[n, 0], start[n, 1]
        for radius in radii:
            y0, y1 = max(0, int(cy - radius)), min(n_y, int(cy + radius) + 2)
            x0, x1 = max(0, int(cx - radius)), min(n_x, int(cx + radius) + 2)
            peak = 0.0
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if good[y, x]:
                        peak = max(peak, float(patterns[n, y, x]))
            s = sy = sx = 0.0
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if not good[y, x]:
                        continue
                    w = float(patterns[n, y, x]) - 0.15 * peak
                    # The circle fades over a pixel so that the centroid does not depend on the pixel grid.
                    w *= min(1.0, max(0.0, radius + 0.5 - np.hypot(y - cy, x - cx)))
                    if w > 0:
                        s += w
                        sy += w * y
                        sx += w * x
            if s > 0:
                cy, cx = sy / s, sx / s
        out[n, 0], out[n, 1] = cy, cx


def measure_centres(patterns: NDArray[Any], good: BoolArray, start: FloatArray, disk_radius: float) -> FloatArray:
    """Centroid of the direct beam's disk in each pattern, ``(y, x)`` in pixels, shape ``(n, 2)``.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    start
        Approximate centre ``(y, x)``, pixels, shape ``(2,)`` or ``(n, 2)``.
    disk_radius
        Radius of the disk, pixels.
    """
    start = np.broadcast_to(np.asarray(start, float), (len(patterns), 2))
    final = 1.25 * disk_radius + 1.0
    radii = np.array([3.0 * disk_radius + 2.0, 2.0 * disk_radius + 1.0] + [final] * 5)
    out = np.empty((len(patterns), 2))
    _centroids(patterns, good, start, radii, out)
    return out


def find_direct_beam(mean: FloatArray, good: BoolArray) -> tuple[FloatArray, float]:
    """Centre ``(y, x)`` and radius, pixels, of the brightest disk of an average pattern.

    Parameters
    ----------
    mean
        Average pattern, shape ``(qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    """
    filled = fill_from_nearest(mean, good)
    smooth = ndimage.gaussian_filter(filled.astype(float), max(1.0, min(mean.shape) / 128))
    peak = np.unravel_index(np.argmax(smooth), smooth.shape)
    plateau = np.median(filled[tuple(slice(max(0, p - 1), p + 2) for p in peak)])
    level = 0.5 * (plateau + np.median(filled))
    labels, _ = ndimage.label(filled > level)
    blob = labels == labels[peak]
    if not labels[peak]:
        return np.array(peak, float), 2.0
    centre = np.array(ndimage.center_of_mass(blob))
    return centre, float(np.clip(np.sqrt(blob.sum() / np.pi), 1.0, min(mean.shape) / 8))


@dataclass(frozen=True)
class Beam:
    """The direct beam on the detector.

    Attributes
    ----------
    centre
        Centre ``(y, x)`` of the average pattern, pixels.
    radius
        Radius of its disk, pixels.
    hidden
        Whether part of the disk cannot be seen: it is behind a beam stop, or cut by a gap of the detector.
    shadow
        Pixels in the shadow of a beam stop, shape ``(qy, qx)``.
    """

    centre: FloatArray
    radius: float
    hidden: bool
    shadow: BoolArray


def find_beam(patterns: NDArray[Any], mean: FloatArray, saturated: BoolArray, good: BoolArray) -> Beam:
    """Find the direct beam, also where its disk is hidden.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    mean
        Average of the patterns, shape ``(qy, qx)``.
    saturated
        Pixels whose counts vary too little, shape ``(qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    """
    centre, radius = find_direct_beam(mean, good)
    middle, shadow = centre_of_inversion(mean, good), np.zeros(good.shape, bool)
    for _ in range(3):  # the shadow pulls the centre a little, until it is known
        found = find_shadow(mean, good & ~shadow, middle, int(np.ceil(radius)) + 1)
        if not found.any():
            break
        shadow |= found
        middle = centre_of_inversion(mean, good & ~shadow)
    y, x = np.indices(good.shape)
    disk = np.hypot(y - centre[0], x - centre[1]) < 1.25 * radius
    hidden = bool((~good | shadow)[disk].mean() > MOST_CUT or (shadow.any() and np.hypot(*(centre - middle)) > 2.0))
    centre = middle if hidden else centre
    if hidden or saturated[disk].mean() > MOST_CUT:
        radius = disk_radius(patterns, good & ~shadow, centre)
    return Beam(centre, radius, hidden, shadow)


@dataclass(frozen=True)
class Centres:
    """Beam centre of every position of a scan.

    Attributes
    ----------
    smooth
        Polynomial of the scan position, ``(y, x)`` in pixels, shape ``(ry, rx, 2)``.
    sigma
        Standard deviation of the true centres about it, pixels.
    jump
        Distance of a pattern's own centroid from the smooth centre, pixels, beyond which the centroid is used instead.
    what
        How they were found, as text.
    """

    smooth: FloatArray
    sigma: float
    jump: float
    what: str


def find_centres(shape: tuple[int, int], sample: Sample, good: BoolArray, beam: Beam) -> Centres:
    """Beam centres over a scan: from the disk in every sampled pattern, or by symmetry where it is hidden.

    Parameters
    ----------
    shape
        Shape of the scan, ``(ry, rx)``.
    sample
        Patterns to measure on.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    beam
        The direct beam in the average pattern.
    """
    if beam.hidden:
        return _hidden_centres(shape, sample, good)
    measured = measure_centres(sample.patterns, good, beam.centre, beam.radius)
    rows, columns = sample.rows.astype(float), sample.columns.astype(float)
    smooth, sigma, what = _smooth_centres(rows, columns, measured, shape)
    noise = _centroid_noise(sample.patterns, good, beam)
    jump = max(LEAST_JUMP, LEAST_JUMP_SHARE * beam.radius, 6.0 * noise)
    jumped = np.hypot(*(measured - smooth[sample.rows, sample.columns]).T) > jump
    if jumped.mean() > MOST_JUMPS:
        return Centres(smooth, max(noise, 0.1), 0.0, f"found in every pattern, scatter {sigma:.2f} px about {what}")
    if jumped.any():
        what += f", {100 * jumped.mean():.1f} % of the positions off it"
    return Centres(smooth, sigma, jump, what)


def _centroid_noise(patterns: NDArray[Any], good: BoolArray, beam: Beam) -> float:
    """Standard deviation, pixels, that counting statistics give the centroid of a disk."""
    y, x = np.indices(good.shape)
    disk = good & (np.hypot(y - beam.centre[0], x - beam.centre[1]) < beam.radius)
    counts = patterns[:, disk].sum(1, dtype=float)
    change = np.diff(counts)
    scale = 0.5 * np.median(change**2) / 0.455 / max(float(np.median(counts)), 1e-12)  # 0.455: median of chi-square
    return float(0.5 * beam.radius * np.sqrt(min(scale, 100.0) / max(float(np.median(counts)), 1e-12)))


def _hidden_centres(shape: tuple[int, int], sample: Sample, good: BoolArray) -> Centres:
    group = np.unique(np.stack([sample.rows // TILE, sample.columns // TILE]), axis=1, return_inverse=True)[1]
    some = np.unique(np.linspace(0, group.max(), MOST_GROUPS).astype(int))
    members = [np.flatnonzero(group == k) for k in some]
    measured = np.stack([centre_of_inversion(sample.patterns[m].sum(0, dtype=np.float64), good) for m in members])
    rows, columns = (np.array([at[m].mean() for m in members]) for at in (sample.rows, sample.columns))
    smooth, sigma, what = _smooth_centres(rows, columns, measured, shape)
    return Centres(smooth, max(sigma, LEAST_HIDDEN_SIGMA), np.inf, f"hidden, by symmetry, {what}")


def locate_beam(patterns: NDArray[Any], calibration: Calibration, smooth: FloatArray) -> FloatArray:
    """Beam centre of some patterns: the smooth one, or a pattern's own centroid where that is clearly elsewhere.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    calibration
        Calibration of the scan.
    smooth
        `Calibration.centre` of the patterns, pixels, shape ``(n, 2)``.
    """
    if not np.isfinite(calibration.beam_jump):
        return smooth
    measured = measure_centres(patterns, calibration.good, smooth, calibration.disk_radius)
    jumped = np.hypot(*(measured - smooth).T) > calibration.beam_jump
    return np.where(jumped[:, None], measured, smooth)


def _design(rows: FloatArray, columns: FloatArray, shape: tuple[int, int], order: int) -> FloatArray:
    y, x = (2 * rows / max(shape[0] - 1, 1) - 1), (2 * columns / max(shape[1] - 1, 1) - 1)
    terms = [np.ones_like(y), y, x, y * y, y * x, x * x]
    return np.stack(terms[: {0: 1, 1: 3, 2: 6}[order]], -1)


def _smooth_centres(
    rows: FloatArray, columns: FloatArray, measured: FloatArray, shape: tuple[int, int]
) -> tuple[FloatArray, float, str]:
    """Robust polynomial in the scan position; returns centres of all positions, their scatter and what was fitted."""
    n = len(measured)
    order = 2 if n >= 64 and min(shape) >= 4 else 1 if n >= 9 and min(shape) >= 3 else 0
    design = _design(rows, columns, shape, order)
    weight = np.ones(n)
    for _ in range(8):
        root = np.sqrt(weight)[:, None]
        coefficients = np.linalg.lstsq(design * root, measured * root, rcond=None)[0]
        residual = np.hypot(*(measured - design @ coefficients).T)
        width = max(float(np.median(residual)), 1e-6)
        weight = 1.0 / (1.0 + (residual / (3.0 * width)) ** 2)
    y, x = np.mgrid[: shape[0], : shape[1]]
    everywhere = _design(y.ravel().astype(float), x.ravel().astype(float), shape, order) @ coefficients
    name = {0: "a constant", 1: "a plane", 2: "a quadratic"}[order]
    return everywhere.reshape(*shape, 2), float(width / 1.18), name  # median of |residual| in 2-D is 1.18 sigma
