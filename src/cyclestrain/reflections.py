"""Reflections of an averaged pattern, the lattice they span and its measured symmetry."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cyclestrain.affine import left_polar
from cyclestrain.average import distance_from_centre, radial_median
from cyclestrain.data import FloatArray

__all__ = [
    "Lattice",
    "Peaks",
    "disk_size",
    "find_lattice",
    "find_peaks",
    "lattice_operators",
    "lattice_score",
    "measure_reflections",
]


@dataclass(frozen=True)
class Lattice:
    """Reflections found in an average.

    Attributes
    ----------
    basis
        Reciprocal-lattice vectors as columns, ``(y, x)`` pixels, shape ``(2, 2)``.
    indices
        Integer indices, shape ``(reflection, 2)``; NaN for reflections that belong to no node of the lattice
        (superstructures, twins): they count as well, since they move with the crystal.
    positions
        Relative to the beam centre, pixels, shape ``(reflection, 2)``.
    intensity
        Counts above background in each disk, shape ``(reflection,)``.
    """

    basis: FloatArray
    indices: FloatArray
    positions: FloatArray
    intensity: FloatArray

    @property
    def spans_plane(self) -> bool:
        """Enough reflections to fix an affine: three that do not lie on one line through the beam."""
        return len(self.positions) >= 3 and np.linalg.matrix_rank(self.positions, tol=1e-3) == 2


@dataclass(frozen=True)
class Peaks:
    """Local maxima of an average: positions relative to its centre, ``(n, 2)``, and their significance, ``(n,)``."""

    positions: FloatArray
    significance: FloatArray


def _disk(radius: float) -> FloatArray:
    m = int(np.ceil(radius + 1))
    y, x = np.mgrid[-m : m + 1, -m : m + 1]
    return np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)


def _surround(inner: float, outer: float) -> FloatArray:
    """Ring that begins a pixel outside a disk of radius `inner`."""
    ring = _disk(outer)
    m = len(ring) // 2
    y, x = np.mgrid[-m : m + 1, -m : m + 1]
    return np.where(np.hypot(y, x) > inner + 1.0, ring, 0.0)


def _flattened(average: FloatArray, coverage: FloatArray) -> FloatArray:
    """Average minus its radial median, zero where no pattern reached."""
    background = radial_median(average, coverage)
    flat = average - np.interp(distance_from_centre(average), np.arange(len(background)), background)
    return np.where(coverage > 0, flat, 0.0)


def find_peaks(
    average: FloatArray,
    coverage: FloatArray,
    radius: float,
    ring: tuple[float, float],
    threshold: float = 6.0,
    *,
    crowded: bool = False,
) -> Peaks:
    """Disks of an averaged pattern that stand out of its background.

    Parameters
    ----------
    average, coverage
        Averaged pattern, centred, and how many patterns contributed to each pixel.
    radius
        Radius of the disks, pixels.
    ring
        Inner and outer radius to search, pixels.
    threshold
        Least height in robust standard deviations of the filtered image at the same radius.
    crowded
        Disks fill most of the pattern: heights are compared with the noise of single pixels, since there is nothing
        between the disks that the filtered image could be compared with.
    """
    flat = _flattened(average, coverage)
    disk = _disk(radius)
    filtered = ndimage.correlate(flat, disk / disk.sum(), mode="constant")
    # Peaks ride on the tails of bright neighbours: subtract what surrounds the disk.
    surround = _surround(radius, max(2.0 * radius + 1.0, radius + 2.5))
    filtered -= ndimage.correlate(flat, surround / surround.sum(), mode="constant")
    centre = (np.array(average.shape) - 1) / 2
    distance = distance_from_centre(average)
    if crowded:
        spread = _pixel_noise(average, distance, coverage) * np.sqrt(1 / disk.sum() + 1 / surround.sum())
    else:
        spread = _radial_spread(filtered, distance, coverage)
    significance = filtered / np.maximum(spread, 1e-12)
    size = 2 * int(np.ceil(radius)) + 1
    peak = (filtered == ndimage.maximum_filter(filtered, size)) & (significance > threshold)
    peak &= (distance > ring[0]) & (distance < ring[1]) & (coverage > 0.3 * coverage.max())
    at = np.argwhere(peak)
    order = np.argsort(-filtered[peak])
    positions = np.array([_parabolic(filtered, p) for p in at[order]]).reshape(-1, 2) - centre
    return Peaks(positions, significance[peak][order])


def _radial_spread(values: FloatArray, distance: FloatArray, coverage: FloatArray) -> FloatArray:
    """Robust standard deviation at each pixel's distance from the centre (rings of 8 pixels)."""
    ring = (distance / 8).astype(int)
    seen = coverage > 0
    index = np.arange(ring.max() + 1)
    # The lower quartile below the median is free of peaks.
    low = np.array(
        [np.quantile(values[seen & (ring == k)], [0.16, 0.5]) if (seen & (ring == k)).any() else (0, 0) for k in index]
    )
    return np.interp(distance, 8.0 * index + 4.0, np.maximum(low[:, 1] - low[:, 0], 0))


def _pixel_noise(average: FloatArray, distance: FloatArray, coverage: FloatArray) -> FloatArray:
    """Standard deviation of a pixel's noise, from second differences, in which disks and slopes cancel.

    Turning patterns has interpolated and so correlated them: sums over a disk are about three times noisier than
    independent pixels with these differences (Immerkaer, Comput. Vis. Image Underst. 64, 300, 1996) would be.
    """
    kernel = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
    return 3.0 * _radial_spread(ndimage.correlate(average, kernel) / 6.0, distance, coverage)


def _parabolic(image: FloatArray, at: NDArray[np.int64]) -> FloatArray:
    out = at.astype(float)
    for axis in range(2):
        if 0 < at[axis] < image.shape[axis] - 1:
            step = np.eye(2, dtype=int)[axis]
            a, b, c = image[tuple(at - step)], image[tuple(at)], image[tuple(at + step)]
            curvature = a - 2 * b + c
            if curvature < 0:
                out[axis] += np.clip(0.5 * (a - c) / curvature, -0.5, 0.5)
    return out


def _reduced(basis: FloatArray) -> FloatArray:
    """Lagrange-Gauss reduction: the two shortest vectors of the lattice."""
    a, b = basis[:, 0].copy(), basis[:, 1].copy()
    for _ in range(50):
        if np.hypot(*a) > np.hypot(*b):
            a, b = b, a
        m = np.rint(a @ b / (a @ a))
        if m == 0:
            break
        b = b - m * a
    if a[0] * b[1] - a[1] * b[0] > 0:  # right-handed in (x, y)
        b = -b
    return np.stack([a, b], 1)


def _index(positions: FloatArray, basis: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Nearest integer indices ``(..., n, 2)`` and distance to them in pixels ``(..., n)`` for bases ``(..., 2, 2)``."""
    indices = np.rint(positions @ np.linalg.inv(basis).swapaxes(-1, -2))
    return indices, np.linalg.norm(positions - indices @ basis.swapaxes(-1, -2), axis=-1)


def lattice_score(peaks: Peaks, basis: FloatArray, radius: float) -> Any:
    """Weight of the peaks a basis indexes, less what a lattice of its density would index by chance.

    `basis` may be many bases, shape ``(..., 2, 2)``.
    """
    tolerance = max(1.0, 0.3 * radius)
    weight = np.sqrt(np.minimum(peaks.significance, 100.0))
    _, distance = _index(peaks.positions, basis)
    chance = np.minimum(1.0, np.pi * tolerance**2 / np.abs(np.linalg.det(basis)))[..., None]
    return (weight * ((distance < tolerance) * (1 - 0.3 * distance / tolerance) - 2.0 * chance)).sum(-1)


def disk_size(average: FloatArray, coverage: FloatArray, peaks: Peaks, radius: float, limit: float) -> float:
    """Radius of the disks, pixels: where the mean profile of the strongest peaks falls to half its height.

    Parameters
    ----------
    average, coverage
        Averaged pattern, centred, and how many patterns contributed to each pixel.
    peaks
        Peaks found in it.
    radius
        Radius they were found with, the answer where no profile can be measured, pixels.
    limit
        Largest radius that is considered, pixels.
    """
    flat = _flattened(average, coverage)
    m = int(np.ceil(max(min(limit, 2.2 * radius + 2.0), 3.0)))
    centre = (np.array(average.shape) - 1) / 2
    y, x = np.mgrid[-m : m + 1, -m : m + 1]
    total, n = np.zeros(len(y) * 2), np.zeros(len(y) * 2)
    for position in peaks.positions[:12] + centre:
        at = np.rint(position).astype(int)
        if (at < m).any() or (at + m >= np.array(average.shape)).any():
            continue
        cut = flat[at[0] - m : at[0] + m + 1, at[1] - m : at[1] + m + 1]
        distance = np.hypot(y + at[0] - position[0], x + at[1] - position[1])
        surround = np.median(cut[(distance > m - 1) & (distance <= m + 0.5)])
        ring = np.minimum((2 * distance).astype(int), len(total) - 1)
        total += np.bincount(ring.ravel(), (cut - surround).ravel(), len(total))
        n += np.bincount(ring.ravel(), minlength=len(total))
    seen = n > 0
    if not seen.any():  # all peaks lie at the border
        return radius
    profile = np.interp(np.arange(2 * m) / 2 + 0.25, (np.flatnonzero(seen) / 2 + 0.25), total[seen] / n[seen])
    inside = max(1, int(radius))  # half pixels within half the radius: enough of them to average noise away
    below = np.flatnonzero(profile < 0.5 * profile[:inside].mean())
    return float(np.clip(below[0] / 2, 0.8, limit)) if below.size else radius


def find_lattice(peaks: Peaks, radius: float) -> FloatArray | None:
    """Basis (columns) of the lattice that explains most of the peaks, or None where there is none.

    Pairs among the peaks and their differences are tried; a basis earns the weight of the peaks it indexes, less what a
    lattice of its density would index by chance.
    """
    strong = peaks.positions[:24]
    if len(strong) < 2:
        return None
    tolerance = max(1.0, 0.3 * radius)
    weight = np.sqrt(np.minimum(peaks.significance, 100.0))
    differences = (strong[:, None] - strong[None, :]).reshape(-1, 2)
    vectors = np.concatenate([strong, differences])
    length = np.hypot(*vectors.T)
    keep = (length > max(3.0, 1.6 * radius)) & ((vectors[:, 1] > 0) | ((vectors[:, 1] == 0) & (vectors[:, 0] > 0)))
    vectors = vectors[keep][np.argsort(length[keep])][:160]
    first, second = np.triu_indices(len(vectors), 1)
    bases = np.stack([vectors[first], vectors[second]], -1)  # (pair, 2, 2), vectors as columns
    area = np.abs(np.linalg.det(bases))
    sides = np.hypot(*vectors[first].T) * np.hypot(*vectors[second].T)
    bases = bases[(area > 0.4 * sides) & (area > 2 * np.pi * tolerance**2)]
    if not len(bases):
        return None
    scores = lattice_score(peaks, bases, radius)
    best = bases[scores.argmax()] if scores.max() > 0 else None
    if best is None:
        return None
    for _ in range(4):
        best = _reduced(best)
        indices, distance = _index(peaks.positions, best)
        good = (distance < tolerance) & indices.any(1)
        w = weight[good][:, None]
        if good.sum() < 2 or np.linalg.matrix_rank(indices[good]) < 2:
            return None
        best = np.linalg.lstsq(indices[good] * w, peaks.positions[good] * w, rcond=None)[0].T
    return best


def measure_reflections(
    average: FloatArray,
    coverage: FloatArray,
    basis: FloatArray,
    *,
    radius: float,
    ring: tuple[float, float],
    others: Peaks | None = None,
    threshold: float = 5.0,
) -> Lattice:
    """Reflections of a lattice that are really there, with their intensities.

    Parameters
    ----------
    average, coverage
        Averaged pattern, centred, and how many patterns contributed to each pixel.
    basis
        Lattice vectors as columns.
    radius
        Radius of the disks, pixels.
    ring
        Inner and outer radius within which reflections are used.
    others
        Peaks to add where they are strong and on no node of the lattice.
    threshold
        Least intensity in standard deviations of what the same aperture measures between reflections.
    """
    reach = int(np.ceil(ring[1] / np.linalg.svd(basis, compute_uv=False)[-1]))
    grid = np.array([hk for hk in product(range(-reach, reach + 1), repeat=2) if hk != (0, 0)])
    between = np.array(list(product(range(-reach, reach + 1), repeat=2))) + 0.5
    flat = _flattened(average, coverage)
    inner, outer = _disk(radius + 0.5), _surround(radius + 0.5, radius + 3.0)
    signal = ndimage.correlate(flat, inner, mode="constant")
    signal -= ndimage.correlate(flat, outer, mode="constant") * (inner.sum() / outer.sum())
    centre = (np.array(average.shape) - 1) / 2
    limit = 0.3 * coverage.max()

    def sample(positions: FloatArray) -> tuple[NDArray[np.bool_], FloatArray]:
        length = np.hypot(*positions.T)
        at = np.rint(positions + centre).astype(int)
        inside = ((at >= 0) & (at < np.array(average.shape))).all(1)
        at = np.clip(at, 0, np.array(average.shape) - 1)
        inside &= (length > ring[0]) & (length < ring[1]) & (coverage[tuple(at.T)] > limit)
        return inside, signal[tuple(at.T)]

    nodes = grid @ basis.T
    inside, intensity = sample(nodes)
    noise: FloatArray | float
    if np.hypot(*basis).min() > 4.0 * radius + 2.0:
        quiet_inside, quiet = sample(between @ basis.T)
        quiet = quiet[quiet_inside]
        noise = 1.4826 * float(np.median(np.abs(quiet - np.median(quiet)))) if quiet.size > 3 else 0.0
    else:  # nothing is quiet between disks that fill the pattern: what single pixels say
        each = _pixel_noise(average, distance_from_centre(average), coverage)
        at_nodes = np.clip(np.rint(nodes + centre).astype(int), 0, np.array(average.shape) - 1)
        noise = each[tuple(at_nodes.T)] * inner.sum() * np.sqrt(1 / inner.sum() + 1 / outer.sum())
    keep = inside & (intensity > threshold * np.maximum(noise, 1e-12))
    if keep.any():
        keep &= intensity > 2e-3 * np.max(intensity[keep])
    positions, indices, intensity = nodes[keep], grid[keep].astype(float), intensity[keep]
    if others is not None and keep.any():
        extra = _off_lattice(others, basis, positions, radius)
        extra_inside, extra_intensity = sample(extra)
        good = extra_inside & (extra_intensity > 0.03 * intensity.max())
        positions = np.concatenate([positions, extra[good]])
        indices = np.concatenate([indices, np.full((int(good.sum()), 2), np.nan)])
        intensity = np.concatenate([intensity, extra_intensity[good]])
    return Lattice(basis, indices, positions, intensity)


def _off_lattice(peaks: Peaks, basis: FloatArray, taken: FloatArray, radius: float) -> FloatArray:
    """Positions of strong peaks that are no lattice node and overlap no other reflection."""
    strong = peaks.positions[peaks.significance > 10.0]
    out = list(taken)
    for position in strong:
        _, distance = _index(position[None], basis)
        clear = np.hypot(*(np.array(out) - position).T).min() > 2.0 * radius + 1.5
        if distance[0] > max(1.5, 0.4 * radius) and clear:
            out.append(position)
    return np.array(out[len(taken) :]).reshape(-1, 2)


def lattice_operators(lattice: Lattice, tolerance: float = 0.035, agreement: float = 0.6) -> FloatArray:
    """Affine maps of the lattice onto itself that are nearly rotations and keep the intensities.

    Parameters
    ----------
    lattice
        Reflections with their intensities.
    tolerance
        Largest strain of an operator: the average is itself a little strained.
    agreement
        Least cosine between the intensities before and after.

    Returns
    -------
    operators
        Shape ``(order, 2, 2)``, identity first, in order of their rotation angle.
    """
    # Square roots keep one bright reflection from deciding.
    on_lattice = np.isfinite(lattice.indices).all(1)
    indices = lattice.indices[on_lattice].astype(int).tolist()
    brightness = {tuple(hk): np.sqrt(max(i, 0.0)) for hk, i in zip(indices, lattice.intensity[on_lattice], strict=True)}
    norm = sum(v * v for v in brightness.values())
    found: dict[int, FloatArray] = {}
    for elements in product((-1, 0, 1), repeat=4):
        integer = np.array(elements).reshape(2, 2)
        if elements[0] * elements[3] - elements[1] * elements[2] != 1:
            continue
        operator = lattice.basis @ integer @ np.linalg.inv(lattice.basis)
        stretch, theta = left_polar(operator)
        if np.abs(stretch - np.eye(2)).max() > tolerance:
            continue
        turned = {hk: brightness.get(tuple((integer @ np.array(hk)).tolist()), 0.0) for hk in brightness}
        if sum(brightness[hk] * turned[hk] for hk in brightness) >= agreement * norm:
            found[round(float(np.degrees(theta)) % 360)] = operator
    order = max((n for n in (1, 2, 3, 4, 6) if _angles(n) <= set(_snap(found))), default=1)
    by_angle = _snap(found)
    return np.stack([by_angle[a] for a in sorted(_angles(order))])


def _angles(order: int) -> set[int]:
    return {360 * k // order for k in range(order)}


def _snap(operators: dict[int, FloatArray]) -> dict[int, FloatArray]:
    """Rotation angles rounded to the crystallographic ones they stand for."""
    allowed = sorted({a for n in (1, 2, 3, 4, 6) for a in _angles(n)})
    return {min(allowed, key=lambda a: abs((angle - a + 180) % 360 - 180)): m for angle, m in operators.items()}
