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
from cyclestrain.pattern.reflection import N_SMOOTH
from cyclestrain.pattern.windows import LEAST_VALUE

__all__ = ["Fits", "Normal", "Shapes", "add_windows", "between"]

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


class _Window(NamedTuple):
    """The pixels of one window that are compared, and what was fitted to it; see `Fits`."""

    pixels: Any  # (size, size)
    corner: Any  # detector pixel of the first
    position: Any
    centre: Any
    brightness: float
    level: float
    local: Any
    trust: float


class Shapes(NamedTuple):
    """What windows are compared with: radial profiles of probe (nodes `step` pixels apart) and background."""

    probe: FloatArray
    step: float
    radius: float  # of the disk
    background: FloatArray
    floor: float  # least variance of a pixel
    support: NDArray[np.float32]  # the pixels that are compared, (size, size)
    image: FloatArray  # the probe where it is not round, with the same nodes, centred; empty where it is


class Normal(NamedTuple):
    """Tridiagonal normal equations of both profiles: diagonal and first off-diagonal, and right-hand sides."""

    probe: FloatArray  # (2, node)
    probe_rhs: FloatArray  # (node,)
    background: FloatArray
    background_rhs: FloatArray

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


@nb.njit(forceinline=True)
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


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _add_window(
    window: Any, shapes: Any, normal: Any, information: Any, score: Any
) -> None:  # pragma: no cover - compiled
    """Add one window to the normal equations of probe, background and its own deviations.

    Behind the deviations of the likelihood come a shift in y and x: without them an error of the position would pass
    for contrast inside the disk.
    """
    pixels, corner, position, centre, brightness, level, local, trust = window
    probe, step, radius, background, floor, support, image = shapes
    middle = image.shape[0] // 2
    probe_normal, probe_rhs, back_normal, back_rhs = normal
    size = support.shape[0]
    half = size // 2
    n_probe, n_back = probe.shape[0], background.shape[0]
    n_basis = score.shape[0]
    n_local = n_basis - 2
    basis = np.empty(n_basis)
    for i in range(size):
        for j in range(size):
            y = pixels[i, j]
            if support[i, j] == 0 or y < LEAST_VALUE:
                continue
            py, px = corner[0] + i, corner[1] + j
            dy, dx = (py - position[0]) / radius, (px - position[1]) / radius
            bowl, across, along = dy * dy + dx * dx - 0.5, dy * dy - dx * dx, 2.0 * dy * dx
            bright = brightness * (
                1.0 + local[4] * dy + local[5] * dx + local[6] * bowl + local[7] * across + local[8] * along
            )
            if n_local > N_SMOOTH:
                square = dy * dy + dx * dx
                basis[9], basis[10] = dy * (3.0 * square - 2.0), dx * (3.0 * square - 2.0)
                basis[11], basis[12] = dy * (dy * dy - 3.0 * dx * dx), dx * (3.0 * dy * dy - dx * dx)
                for p in range(N_SMOOTH, n_local):
                    bright += brightness * local[p] * basis[p]
            t = np.hypot(py - position[0], px - position[1]) / step
            k = int(t)
            f = t - k
            shape = (1 - f) * probe[k] + f * probe[k + 1] if k < n_probe - 1 else 0.0
            fall = (probe[k] - probe[k + 1]) / (step * step * max(t, 0.5)) if k < n_probe - 1 else 0.0
            slope_y, slope_x = fall * radius * dy, fall * radius * dx
            if middle > 0:
                ky, kx = (py - position[0]) / step + middle, (px - position[1]) / step + middle
                shape = between(image, ky, kx)
                slope_y = (between(image, ky - 1.0, kx) - between(image, ky + 1.0, kx)) / (2.0 * step)
                slope_x = (between(image, ky, kx - 1.0) - between(image, ky, kx + 1.0)) / (2.0 * step)
            r = min(np.hypot(py - centre[0], px - centre[1]), n_back - 1.001)
            m = int(r)
            e = r - m
            b = (1 - e) * background[m] + e * background[m + 1]
            u, v = (i - half) / half, (j - half) / half
            a = level * (1.0 + local[1] + local[2] * u + local[3] * v)
            weight = 1.0 / max(a * b + bright * shape, floor)
            residual = y - a * b - bright * shape
            disk = brightness * shape
            basis[0], basis[1], basis[2], basis[3] = shape, level * b, level * b * u, level * b * v
            basis[4], basis[5], basis[6], basis[7], basis[8] = dy, dx, bowl, across, along
            for p in range(4, n_local):
                basis[p] *= disk
            basis[n_local], basis[n_local + 1] = bright * slope_y, bright * slope_x
            for p in range(n_basis):
                score[p] += weight * basis[p] * residual
                for q in range(p + 1):
                    information[p, q] += weight * basis[p] * basis[q]
            weight *= trust
            if k < n_probe - 1:
                target = residual + bright * shape
                w = weight * bright
                probe_normal[0, k] += w * bright * (1 - f) * (1 - f)
                probe_normal[0, k + 1] += w * bright * f * f
                probe_normal[1, k] += w * bright * f * (1 - f)
                probe_rhs[k] += w * (1 - f) * target
                probe_rhs[k + 1] += w * f * target
            back_normal[0, m] += weight * a * a * (1 - e) * (1 - e)
            back_normal[0, m + 1] += weight * a * a * e * e
            back_normal[1, m] += weight * a * a * e * (1 - e)
            back_rhs[m] += weight * a * (1 - e) * (residual + a * b)
            back_rhs[m + 1] += weight * a * e * (residual + a * b)


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _solve_deviations(
    information: Any, score: Any, local: Any, value: Any, variance: Any
) -> None:  # pragma: no cover - compiled
    """Deviations of one reflection and their variances from its lower normal equations about the present ones."""
    n_basis = len(score)
    for p in range(n_basis):
        information[p, p] += 1e-9 * information[p, p] + 1e-12
        for q in range(p):
            information[q, p] = information[p, q]
    inverse = np.linalg.inv(information)
    for p in range(n_basis - 2):
        step = 0.0
        for q in range(n_basis):
            step += inverse[p, q] * score[q]
        value[p] = local[p] + step
        variance[p] = inverse[p, p]


@nb.njit(parallel=True, cache=True, fastmath=True, error_model="numpy")
def add_windows(
    fits: Any, shapes: Any, normal: Any, deviations: Any, n_local: int
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
    n_local
        Deviations that are measured: `N_SMOOTH` or `N_LOCAL`.
    """
    counts, origin, positions, centre, brightness, level, local, trust = fits
    size = shapes.support.shape[0]
    half, margin = size // 2, (counts.shape[2] - size) // 2
    n_parts = normal.probe.shape[0]
    for part in nb.prange(n_parts):
        corner = np.empty(2)
        own = Normal(normal.probe[part], normal.probe_rhs[part], normal.background[part], normal.background_rhs[part])
        for n in range(part, counts.shape[0], n_parts):
            for g in range(counts.shape[1]):
                ry = int(np.rint(positions[n, g, 0])) - origin[n, g, 0]
                rx = int(np.rint(positions[n, g, 1])) - origin[n, g, 1]
                if trust[n, g] <= 0 or abs(ry) > margin or abs(rx) > margin:
                    continue
                information, score = np.zeros((n_local + 2, n_local + 2)), np.zeros(n_local + 2)
                pixels = counts[n, g, margin + ry : margin + ry + size, margin + rx : margin + rx + size]
                corner[0], corner[1] = origin[n, g, 0] + ry - half, origin[n, g, 1] + rx - half
                window = _Window(
                    pixels, corner, positions[n, g], centre[n], brightness[n, g], level[n], local[n, g], trust[n, g]
                )
                _add_window(window, shapes, own, information, score)
                _solve_deviations(information, score, local[n, g], deviations[0, n, g], deviations[1, n, g])
