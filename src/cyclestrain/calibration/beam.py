"""The direct beam: position of its disk in every pattern, its radius, and both where the disk is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import nnls
from scipy.special import erfc

from cyclestrain.calibration.hidden_beam import centre_of_inversion, disk_radius, find_shadow, likeness_about
from cyclestrain.calibration.pixels import fill_from_nearest
from cyclestrain.calibration.subset import TILE, Sample
from cyclestrain.data import BoolArray, Calibration, FloatArray
from cyclestrain.errors import InputError
from cyclestrain.loops import on_threads

__all__ = [
    "MOST_CUT",
    "Beam",
    "Centres",
    "check_direct_beam",
    "edge_of_disk",
    "find_beam",
    "find_centres",
    "find_direct_beam",
    "largest_radius",
    "locate_beam",
    "measure_centres",
]

FAINTEST, FAR_MORE_ALIKE = 0.2, 0.4
"""Height of a peak, in units of the brightest, from which it may be the direct beam; and how unlike itself the pattern
may be about it, in units of what it is about the brightest, for that: 0.02 to 0.16 where a reflection was the
brightest, never below 1 in 141 scans drawn at random and in multislice scans of 14 kinds under any background.
"""
MOST_CUT = 0.15
"""Share of bad (or saturated) pixels in the direct disk above which its centroid (or its size) is not trusted."""
USUAL = 1 / 8
"""Radius of a direct beam in units of the detector's smaller side above which it has to show its own edge."""
LARGEST = 1 / 6
"""Radius of the direct beam in units of the detector's smaller side that leaves room for reflections beside it."""
MODEL_ERROR = 0.03
"""Relative error of the models of a radial profile: contrast inside the disk, a background that is not quite round."""
EDGES = (0.45, 1.0, 2.0)
"""Standard deviations of the edge of a disk, pixels; soft ones belong to beams that move from pattern to pattern."""
LEAST_ERROR = 1e-3
"""The same in units of the brightest ring: a faint background far out says nothing of the disk."""
WIDTHS, FALLS = np.geomspace(0.8, 80.0, 14), (1.0, 1.5, 2.5, 5.0)
"""Pixels and exponents of the backgrounds ``(1 + (q / width)^2)^-fall`` whose sums are tried."""
CLEARLY_BETTER = 2.5
"""Ratio of the misfits of two explanations of a profile from which the better one is believed."""
SAME_RADIUS, SAME_RADIUS_SHARE = 1.0, 0.06
"""Difference of two radii, pixels and share, within which they are the same."""
MUCH_SMALLER, MUCH_LARGER, SURELY_SEEN, SEEN_PATTERNS = 0.4, 1.5, 40.0, 32
"""Ratios of the radius of the other disks, from autocorrelation, to that of the direct beam between which the latter is
believed; how surely they have to be seen, and in how many patterns.

It was 0.5 to 1.3 in all scans where the direct beam's was right (multislice of 14 kinds under any background, recorded
patterns of five kinds, all at 44 to 93), 2.4 to 2.7 where a needle that holds 90 % of the light was taken for it, and
0.14 to 0.31 where the innermost reflections were taken for the edge of the beam. It is 0.3 as well where disks overlap,
but there the beam's half height is no smaller than its edge.
"""
SAME_DISKS = (0.9, 1.5)
"""Radius of the direct beam in units of that from autocorrelation, which contrast inside disks makes smaller."""
MOST_GROUPS = 64
"""Largest number of groups of neighbouring positions whose sums give a centre by symmetry."""
LEAST_HIDDEN_SIGMA = 0.3
"""Least standard deviation of a centre that is found by symmetry alone, pixels."""
LEAST_JUMP, LEAST_JUMP_SHARE = 0.5, 0.2
"""Distance of a centroid from a smooth centre, pixels and disk radii, that contrast in the disk does not explain."""
MOST_JUMPS = 0.2
"""Share of positions with such a distance above which the beam wanders and no smooth centre is used."""


@nb.njit(cache=True, nogil=True)
def _centroids(
    patterns: Any, good: Any, before: Any, radii: Any, out: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    n_y, n_x = good.shape
    for n in range(start, stop):
        cy, cx = before[n, 0], before[n, 1]
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
                    w *= min(1.0, max(0.0, radius + 0.5 - np.sqrt((y - cy) ** 2 + (x - cx) ** 2)))
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
    on_threads(_centroids, len(out), patterns, good, start, radii, out)
    return out


def find_direct_beam(mean: FloatArray, good: BoolArray) -> tuple[FloatArray, float]:
    """Centre ``(y, x)`` and radius, pixels, of the direct beam of an average pattern.

    It is the brightest disk, unless the pattern is far more alike on both sides of a fainter one: in a thick crystal a
    reflection may outshine the beam.

    Parameters
    ----------
    mean
        Average pattern, shape ``(qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    """
    filled = fill_from_nearest(mean, good)
    blur = max(1.0, min(mean.shape) / 128)
    peak = _peak_of_beam(ndimage.gaussian_filter(filled.astype(float), blur), mean, good, round(3 * blur))
    plateau = np.median(filled[tuple(slice(max(0, p - 1), p + 2) for p in peak)])
    level = 0.5 * (plateau + np.median(filled))
    labels, _ = ndimage.label(filled > level)
    blob = labels == labels[peak]
    if not labels[peak]:
        return np.array(peak, float), 2.0
    centre = np.array(ndimage.center_of_mass(blob))
    return centre, max(float(np.sqrt(blob.sum() / np.pi)), 1.0)


def _peak_of_beam(smooth: FloatArray, mean: FloatArray, good: BoolArray, reach: int) -> tuple[int, int]:
    """Pixel of the brightest peak, or of one beside it about which the pattern is far more alike; peaks are apart."""
    height = smooth - np.median(smooth)
    peaks = np.argwhere((smooth == ndimage.maximum_filter(smooth, 2 * reach + 1)) & (height >= FAINTEST * height.max()))
    brightest = best = int(smooth[tuple(peaks.T)].argmax())
    beside = np.hypot(*(peaks - peaks[brightest]).T) > USUAL * min(mean.shape)  # farther than the rings of a probe
    if beside.any():
        unlike = 1.0 - likeness_about(mean, good, peaks, reach)
        best = int(np.where(beside, unlike, np.inf).argmin())
        best = best if unlike[best] < FAR_MORE_ALIKE * unlike[brightest] else brightest
    return int(peaks[best, 0]), int(peaks[best, 1])


def check_direct_beam(mean: FloatArray, good: BoolArray, name: str) -> None:
    """Refuse patterns whose brightest area cannot be a direct beam with reflections around it.

    Raises
    ------
    InputError
        If that area is large and reaches beyond the edge of the detector.
    """
    centre, radius = find_direct_beam(mean, good)
    from_edge = float(min(*centre, *(np.array(mean.shape) - 1 - centre)))
    if radius > USUAL * min(mean.shape) and from_edge < radius:
        raise InputError(
            f"the brightest area of {name}, {2 * radius:.0f} px wide around y = {centre[0]:.0f}, x = {centre[1]:.0f} "
            "px, is cut by the edge of the detector: it leaves no room for reflections around the direct beam; if the "
            "beam is elsewhere, give its place with --centre"
        )


def largest_radius(shape: tuple[int, ...]) -> float:
    """Largest radius, pixels, that a direct beam's disk may have on a detector."""
    return LARGEST * min(shape)


def edge_of_disk(
    mean: FloatArray,
    good: BoolArray,
    centre: FloatArray,
    n: int,
    radius: float,
    within: tuple[float, float] | None = None,
) -> float:
    """Radius, pixels, of the direct beam's disk where a peak of the background stands on it or around it.

    Half the height of a narrow peak is no size of a disk: a disk has an edge. Both explanations of the radial profile,
    an edge at `radius` and one elsewhere, are fitted with any round background that falls off smoothly, and only where
    the other one is clearly better it is believed.

    Parameters
    ----------
    mean
        Average pattern.
    good
        Detector pixels that can be trusted.
    centre
        Beam centre ``(y, x)``.
    n
        Patterns averaged.
    radius
        What half the height says, pixels.
    within
        Range of the radius in units of that, in which the likeliest is taken; by default any other has to be clearly
        better.
    """
    r, values, pixels = _radial_profile(mean, good, centre, 1.3 * largest_radius(mean.shape))
    if len(r) < 16 or values.max() <= 0:
        return radius
    error = MODEL_ERROR * ndimage.maximum_filter1d(
        values, 5
    )  # near an edge a model is off by what is on both its sides
    error = np.hypot(error, np.sqrt(np.maximum(values, 1e-6 * values.max()) / (n * pixels)))
    low, high = (1.0, largest_radius(mean.shape)) if within is None else (radius * within[0], radius * within[1])
    radii = np.arange(low, high, 0.2)
    misfits = np.array([_misfit_of_edge(r, values, error, each) for each in radii])
    best = float(radii[misfits.argmin()])
    if within is not None:
        return best
    same = abs(best - radius) < max(SAME_RADIUS, SAME_RADIUS_SHARE * best)
    if same or _misfit_of_edge(r, values, error, radius) < CLEARLY_BETTER * max(misfits.min(), float(len(r)) / 10):
        return radius
    return best


def _radial_profile(
    mean: FloatArray, good: BoolArray, centre: FloatArray, reach: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Radius, median and number of pixels of rings half a pixel wide, without the rings that stand out of the fall."""
    y, x = np.indices(mean.shape)
    distance = np.hypot(y - centre[0], x - centre[1])
    used = good & (distance < reach)
    ring = (2 * distance[used]).astype(int)
    index = np.unique(ring)
    values = np.asarray(ndimage.median(mean[used], ring, index), float)
    top = int(values[: len(values) // 2].argmax())
    values[top:] = np.minimum.accumulate(values[top:])
    radius = np.asarray(ndimage.mean(distance[used], ring, index), float)
    return radius, np.maximum(values, 0.0), np.bincount(ring)[index].astype(float)


def _misfit_of_edge(r: FloatArray, values: FloatArray, error: FloatArray, radius: float) -> float:
    """Chi-square of a disk, brighter or darker in its middle, on a sum of round backgrounds that fall off smoothly."""
    smooth = [(1.0 + (r / width) ** 2) ** -fall for width in WIDTHS for fall in FALLS]
    inside = (r / radius) ** 2
    misfits = []
    for edge in EDGES:
        if edge < max(0.25 * radius, 2 * EDGES[0]):
            disk = 0.5 * erfc((r - radius) / (np.sqrt(2.0) * edge))
            shapes = [disk, disk * np.maximum(1.0 - inside, 0.0), disk * inside, disk * inside**2]
            columns = np.stack([*shapes, *smooth, np.ones_like(r)], 1)
            misfits.append(nnls(columns / error[:, None], values / error)[1] ** 2)
    return float(min(misfits))


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
    radius = min(radius, USUAL * min(mean.shape))
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
        radius = disk_radius(patterns, good & ~shadow, centre)[0]
    else:
        half, radius = radius, edge_of_disk(mean, good, centre, len(patterns), radius)
        others, sureness = disk_radius(patterns, good & ~shadow, centre, SEEN_PATTERNS)
        needle = others > MUCH_LARGER * radius  # a peak of the background, which has no edge there
        ring = others < MUCH_SMALLER * radius and half < MUCH_LARGER * others  # an edge among the reflections
        if sureness > SURELY_SEEN and (needle or ring):
            radius = edge_of_disk(mean, good, centre, len(patterns), others, SAME_DISKS)
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
