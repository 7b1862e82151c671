"""Normal equations of the radial profiles of probe and background, summed over the windows of many fitted patterns.

All comparisons are made at the detector's own pixels (the inverse direction), where the noise is white, so the blur of
interpolation is deconvolved and not averaged into the dictionary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import FloatArray
from cyclestrain.loops import part
from cyclestrain.pattern.reflection import N_SMOOTH
from cyclestrain.pattern.turned_image import image_at
from cyclestrain.pattern.windows import LEAST_VALUE

__all__ = ["PARTS", "Fits", "Normal", "Shapes", "add_windows", "between"]

FAINT = 0.1
"""Light of a disk, in units of the background, below which a pixel shows that: elsewhere it may be the disk's."""
PARTS = 16
"""Sums are made in this many parts whatever the number of threads, so that results do not depend on it."""


class Fits(NamedTuple):
    """Windows of many patterns and what was fitted to them."""

    counts: NDArray[np.float32]  # (n, reflection, size, size)
    origin: NDArray[np.int32]  # detector pixel at the middle of each window, (n, reflection, 2)
    positions: FloatArray  # of the reflections, (n, reflection, 2)
    centre: FloatArray  # of the beam, (n, 2)
    brightness: FloatArray  # counts of each disk, (n, reflection)
    level: FloatArray  # (n,)
    local: FloatArray  # deviations, (n, reflection, 13)
    trust: FloatArray  # (n, reflection)
    turn: FloatArray  # cosine and sine of the rotation from the entry, (n, 2)
    background: FloatArray  # radial profile at a level of one, counts per pixel, of each pattern or of all, (n, radius)

    def every(self, step: int) -> Fits:
        """Every so many patterns."""
        return Fits(*(np.ascontiguousarray(array[::step]) for array in self))  # type: ignore[arg-type]


class _Window(NamedTuple):
    """One window, and what was fitted to it; see `Fits`."""

    pixels: Any  # (size, size)
    corner: Any  # detector pixel of the first
    position: Any
    centre: Any
    brightness: float
    level: float
    local: Any
    trust: float
    turn: Any
    background: Any


class _Rows(NamedTuple):
    """Scratch space of one thread: values at the pixels of a window that are compared, in rows."""

    values: Any  # counts
    used: Any  # 1 for those that count, else 0
    disk: Any  # the probe, a disk with its contrast, the probe's node below and the way from there, (4, pixel)
    background: Any  # profile, with level and slopes, node below and the way from there, (4, pixel)
    weight: Any
    residual: Any
    basis: Any  # derivatives, (basis, pixel)
    own: Any  # what the reflection has beyond the probe, and its derivatives, (3, pixel)


class Shapes(NamedTuple):
    """What windows are compared with beside their background; the probe is a radial profile."""

    probe: FloatArray
    step: float  # between its nodes, pixels
    radius: float  # of the disk
    floor: float  # least variance of a pixel
    support: NDArray[np.float32]  # the pixels that are compared, (size, size)
    image: FloatArray  # the probe where it is not round, with the same nodes, centred; empty where it is
    disks: NDArray[np.float32]  # what each disk has beyond the probe, see `DiskImages.tables`; may be none
    nodes: float  # of these in a pixel


class Normal(NamedTuple):
    """Tridiagonal normal equations of both profiles: diagonal and first off-diagonal, and right-hand sides."""

    probe: FloatArray  # (2, node)
    probe_rhs: FloatArray  # (node,)
    background: FloatArray
    background_rhs: FloatArray  # of what is to be added to the background

    @classmethod
    def parts(cls, n_probe: int, n_background: int) -> Normal:
        """Empty sums, one for each of the `PARTS`.

        Parameters
        ----------
        n_probe, n_background
            Nodes of the two profiles.
        """
        shapes = ((PARTS, 2, n_probe), (PARTS, n_probe), (PARTS, 2, n_background), (PARTS, n_background))
        return cls(*(np.zeros(shape) for shape in shapes))


@part()
def between(image: Any, y: float, x: float) -> float:  # pragma: no cover - compiled
    """Value of an image between its nodes, zero beyond them.

    Parameters
    ----------
    image
        Shape ``(ny, nx)``.
    y, x
        Place in nodes.
    """
    i, j = int(np.floor(y)), int(np.floor(x))
    if i < 0 or j < 0 or i >= image.shape[0] - 1 or j >= image.shape[1] - 1:
        return 0.0
    e, f = y - i, x - j
    low = (1.0 - f) * image[i, j] + f * image[i, j + 1]
    return float((1.0 - e) * low + e * ((1.0 - f) * image[i + 1, j] + f * image[i + 1, j + 1]))


@part(fastmath=True)
def _look_up(window: Any, shapes: Any, places: Any, rows: Any) -> None:  # pragma: no cover - compiled
    """Counts of a window, and probe and background at its pixels."""
    pixels, corner, position, centre = window.pixels, window.corner, window.position, window.centre
    values, used, disk, back = rows.values, rows.used, rows.disk, rows.background
    fy, fx, cy, cx = corner[0] - position[0], corner[1] - position[1], corner[0] - centre[0], corner[1] - centre[1]
    scale, last = 1.0 / shapes.step, window.background.shape[0] - 1.001
    for k in range(places.shape[1]):
        counts = pixels[places[0, k], places[1, k]]
        masked = counts < LEAST_VALUE
        values[k], used[k] = 0.0 if masked else counts, 0.0 if masked else 1.0
    for k in range(places.shape[1]):
        y, x = fy + places[0, k], fx + places[1, k]
        disk[3, k] = np.sqrt(y * y + x * x) * scale
    for k in range(places.shape[1]):
        y, x = cy + places[0, k], cx + places[1, k]
        back[3, k] = min(np.sqrt(y * y + x * x), last)
    probe, background, end = shapes.probe, window.background, shapes.probe.shape[0] - 1
    for k in range(places.shape[1]):
        t = disk[3, k]
        i = int(t)
        disk[2, k], disk[3, k] = i, t - i
        low, high = (probe[i], probe[i + 1]) if i < end else (0.0, 0.0)
        disk[0, k] = low + (t - i) * (high - low)
        disk[1, k] = (low - high) / max(t, 0.5)
        m = int(back[3, k])
        back[2, k], back[3, k] = m, back[3, k] - m
        back[0, k] = background[m] + back[3, k] * (background[m + 1] - background[m])


@part(fastmath=True)
def _look_up_own(window: Any, shapes: Any, image: Any, places: Any, rows: Any) -> None:  # pragma: no cover - compiled
    """What the reflection has beyond the probe, and its derivatives with respect to the place of the disk."""
    corner, position, nodes, own = window.corner, window.position, shapes.nodes, rows.own
    for k in range(places.shape[1]):
        y, x = (corner[0] - position[0] + places[0, k]) * nodes, (corner[1] - position[1] + places[1, k]) * nodes
        own[0, k], own[1, k], own[2, k] = image_at(image, y, x, window.turn)


@part(fastmath=True)
def _derive(window: Any, shapes: Any, places: Any, rows: Any) -> None:  # pragma: no cover - compiled
    """Derivatives with respect to the deviations of one window, its weights and residuals.

    Behind the deviations of the likelihood come a shift in y and x: without them an error of the position would pass
    for contrast inside the disk.
    """
    corner, position, local, brightness = window.corner, window.position, window.local, window.brightness
    disk, back, basis, level, own = rows.disk, rows.background, rows.basis, window.level, rows.own
    n_local, half, unit = basis.shape[0] - 2, shapes.support.shape[0] // 2, 1.0 / shapes.radius
    fy, fx = (corner[0] - position[0]) * unit, (corner[1] - position[1]) * unit
    for k in range(places.shape[1]):
        u, v = fy + places[0, k] * unit, fx + places[1, k] * unit
        basis[4, k], basis[5, k], basis[6, k] = u, v, u * u + v * v - 0.5
        basis[7, k], basis[8, k] = u * u - v * v, 2.0 * u * v
        if n_local > N_SMOOTH:
            square = u * u + v * v
            basis[9, k], basis[10, k] = u * (3.0 * square - 2.0), v * (3.0 * square - 2.0)
            basis[11, k], basis[12, k] = u * (u * u - 3.0 * v * v), v * (3.0 * u * u - v * v)
    for k in range(places.shape[1]):
        basis[n_local, k] = brightness
    for p in range(4, n_local):
        for k in range(places.shape[1]):
            basis[n_local, k] += brightness * local[p] * basis[p, k]
    for k in range(places.shape[1]):
        u, v = (places[0, k] - half) / half, (places[1, k] - half) / half
        back[1, k] = level * (1.0 + local[1] + local[2] * u + local[3] * v)
        basis[0, k], basis[1, k] = disk[0, k] + own[0, k], level * back[0, k]
        basis[2, k], basis[3, k] = level * back[0, k] * u, level * back[0, k] * v
    fall = shapes.radius / (shapes.step * shapes.step)
    for k in range(places.shape[1]):
        bright, slope = basis[n_local, k], disk[1, k] * fall
        disk[1, k] = bright
        mean = back[1, k] * back[0, k] + bright * basis[0, k]
        rows.weight[k] = rows.used[k] / max(mean, shapes.floor)
        rows.residual[k] = rows.values[k] - mean
        basis[n_local, k] = bright * (slope * basis[4, k] + own[1, k])
        basis[n_local + 1, k] = bright * (slope * basis[5, k] + own[2, k])
    for p in range(4, n_local):
        for k in range(places.shape[1]):
            basis[p, k] *= brightness * basis[0, k]


@part(fastmath=True)
def _look_up_image(window: Any, shapes: Any, places: Any, rows: Any) -> None:  # pragma: no cover - compiled
    """The probe at the pixels of a window, where it is not round."""
    corner, position, scale, middle = window.corner, window.position, 1.0 / shapes.step, shapes.image.shape[0] // 2
    for k in range(places.shape[1]):
        y = (corner[0] - position[0] + places[0, k]) * scale + middle
        x = (corner[1] - position[1] + places[1, k]) * scale + middle
        rows.disk[0, k] = between(shapes.image, y, x)


@part(fastmath=True)
def _derive_image(window: Any, shapes: Any, places: Any, rows: Any) -> None:  # pragma: no cover - compiled
    """Derivatives with respect to a shift of a probe that is not round."""
    corner, position, scale, middle = window.corner, window.position, 1.0 / shapes.step, shapes.image.shape[0] // 2
    image, n_local = shapes.image, rows.basis.shape[0] - 2
    for k in range(places.shape[1]):
        y = (corner[0] - position[0] + places[0, k]) * scale + middle
        x = (corner[1] - position[1] + places[1, k]) * scale + middle
        bright = 0.5 * scale * rows.disk[1, k]
        rows.basis[n_local, k] = bright * (between(image, y - 1.0, x) - between(image, y + 1.0, x))
        rows.basis[n_local + 1, k] = bright * (between(image, y, x - 1.0) - between(image, y, x + 1.0))


@part(fastmath=True)
def _add_products(rows: Any, information: Any, score: Any, row: Any) -> None:  # pragma: no cover - compiled
    """Normal equations of one window's deviations, lower triangle; four at a time, or loads would take the time."""
    basis, residual = rows.basis, rows.residual
    for p in range(basis.shape[0]):
        for k in range(row.shape[0]):
            row[k] = rows.weight[k] * basis[p, k]
        total = 0.0
        for k in range(row.shape[0]):
            total += row[k] * residual[k]
        score[p] = total
        for q in range(0, p + 1, 4):
            b0, b1, b2, b3 = basis[q], basis[min(q + 1, p)], basis[min(q + 2, p)], basis[min(q + 3, p)]
            s0 = s1 = s2 = s3 = 0.0
            for k in range(row.shape[0]):
                s0 += row[k] * b0[k]
                s1 += row[k] * b1[k]
                s2 += row[k] * b2[k]
                s3 += row[k] * b3[k]
            information[p, q], information[p, min(q + 1, p)] = s0, s1
            if q + 2 <= p:
                information[p, q + 2], information[p, min(q + 3, p)] = s2, s3


@part(fastmath=True)
def _add_profiles(rows: Any, trust: float, normal: Any, rings: Any) -> None:  # pragma: no cover - compiled
    """Add one window to the normal equations of probe and background, and to what rings of its pattern show."""
    probe_normal, probe_rhs, back_normal, back_rhs = normal
    disk, back, end = rows.disk, rows.background, probe_rhs.shape[0] - 1
    for j in range(rows.weight.shape[0]):
        weight = rows.weight[j] * trust
        if weight == 0.0:
            continue
        k, f, bright, residual = int(disk[2, j]), disk[3, j], disk[1, j], rows.residual[j]
        if k < end:
            target, w = residual + bright * disk[0, j], weight * bright
            probe_normal[0, k] += w * bright * (1 - f) * (1 - f)
            probe_normal[0, k + 1] += w * bright * f * f
            probe_normal[1, k] += w * bright * f * (1 - f)
            probe_rhs[k] += w * (1 - f) * target
            probe_rhs[k + 1] += w * f * target
        m, e, a, below = int(back[2, j]), back[3, j], back[1, j], back[0, j]
        w = weight * a
        if bright * disk[0, j] < FAINT * a * below:
            rings[0, m] += weight * below * below
            rings[1, m] += weight * below * (residual + a * below)
        back_normal[0, m] += w * a * (1 - e) * (1 - e)
        back_normal[0, m + 1] += w * a * e * e
        back_normal[1, m] += w * a * e * (1 - e)
        back_rhs[m] += w * (1 - e) * residual
        back_rhs[m + 1] += w * e * residual


@part(fastmath=True)
def _solve_deviations(
    information: Any, score: Any, local: Any, value: Any, variance: Any
) -> None:  # pragma: no cover - compiled
    """Deviations of one reflection and their variances from its lower normal equations about the present ones.

    By the inverse of the Cholesky factor, which takes the place of the equations. Where a window has no pixels for it,
    nothing is measured.
    """
    n = len(score)
    for j in range(n):
        d = information[j, j] * (1.0 + 1e-9) + 1e-12
        for k in range(j):
            d -= information[j, k] * information[j, k]
        if d <= 0.0:
            return
        d = 1.0 / np.sqrt(d)
        for i in range(j + 1, n):
            t = information[i, j]
            for k in range(j):
                t -= information[i, k] * information[j, k]
            information[i, j] = t * d
        information[j, j] = d  # one over the diagonal of the factor
    for j in range(n):
        for i in range(j + 1, n):
            t = information[i, j] * information[j, j]
            for k in range(j + 1, i):
                t += information[i, k] * information[k, j]
            information[i, j] = -t * information[i, i]
    for i in range(n - 1, -1, -1):
        t = 0.0
        for k in range(i + 1):
            t += information[i, k] * score[k]
        score[i] = t
    for p in range(n - 2):
        step, square = 0.0, 0.0
        for i in range(p, n):
            step += information[i, p] * score[i]
            square += information[i, p] * information[i, p]
        value[p], variance[p] = local[p] + step, square


@nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def add_windows(
    fits: Any, shapes: Any, normal: Any, deviations: Any, rings: Any, n_local: int, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Sum over all windows.

    Parameters
    ----------
    fits, shapes
        `Fits` and `Shapes`.
    normal
        `Normal` of all parts, each of which one thread adds to.
    deviations
        Receives each reflection's own deviations and their variances, shape ``(2, n, reflection, 13)``.
    rings
        Receives information on the level of each pattern's background in rings of a pixel, and that times the level,
        ``(n, 2, ring)``.
    n_local
        Deviations that are measured: `N_SMOOTH` or `N_LOCAL`.
    start, stop
        The first of the parts and the one behind the last.
    """
    counts, origin, positions, centre, brightness, level, local, trust, turn, background = fits
    size = shapes.support.shape[0]
    half, margin = size // 2, (counts.shape[2] - size) // 2
    n_parts, places = normal.probe.shape[0], np.stack(np.nonzero(shapes.support))
    corner, n_pixels = np.empty(2), places.shape[1]
    information, score = np.empty((n_local + 2, n_local + 2)), np.empty(n_local + 2)
    rows = _Rows(
        np.empty(n_pixels), np.empty(n_pixels), np.empty((4, n_pixels)), np.empty((4, n_pixels)),
        np.empty(n_pixels), np.empty(n_pixels), np.empty((n_local + 2, n_pixels)), np.zeros((3, n_pixels)),
    )  # fmt: skip
    for share in range(start, stop):
        own = Normal(
            normal.probe[share], normal.probe_rhs[share], normal.background[share], normal.background_rhs[share]
        )
        for n in range(share, counts.shape[0], n_parts):
            for g in range(counts.shape[1]):
                ry = int(np.rint(positions[n, g, 0])) - origin[n, g, 0]
                rx = int(np.rint(positions[n, g, 1])) - origin[n, g, 1]
                if trust[n, g] <= 0 or abs(ry) > margin or abs(rx) > margin:
                    continue
                pixels = counts[n, g, margin + ry : margin + ry + size, margin + rx : margin + rx + size]
                corner[0], corner[1] = origin[n, g, 0] + ry - half, origin[n, g, 1] + rx - half
                window = _Window(
                    pixels, corner, positions[n, g], centre[n], brightness[n, g], level[n], local[n, g], trust[n, g],
                    turn[n], background[min(n, background.shape[0] - 1)],
                )  # fmt: skip
                _look_up(window, shapes, places, rows)
                if shapes.image.shape[0] > 0:
                    _look_up_image(window, shapes, places, rows)
                if shapes.disks.shape[0] > 0:
                    _look_up_own(window, shapes, shapes.disks[g], places, rows)
                _derive(window, shapes, places, rows)
                if shapes.image.shape[0] > 0:
                    _derive_image(window, shapes, places, rows)
                _add_products(rows, information, score, rows.values)
                _add_profiles(rows, trust[n, g], own, rings[n])
                _solve_deviations(information, score, local[n, g], deviations[0, n, g], deviations[1, n, g])
