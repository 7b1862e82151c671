"""Images of disks as sums of cubic splines half a pixel apart, fitted to the windows of many patterns.

Splines hold all that square pixels let through. They are fitted at the detector's own pixels, at the sub-pixel places
of the disks, relative to a form that is expected, and shrunk towards it as far as their evidence asks for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.learning.window_sums import Fits, between
from cyclestrain.loops import on_threads, part
from cyclestrain.pattern import Probe
from cyclestrain.pattern.windows import LEAST_VALUE

__all__ = [
    "BEYOND",
    "FIRST_PIXELS",
    "MOST_PIXELS",
    "Equations",
    "drawn",
    "equations_of",
    "gain",
    "likeliest",
    "likeliest_stiffness",
    "solve",
]

SPACING = 0.5
"""Distance of the splines, pixels: a square pixel passes next to nothing beyond one period per pixel."""
STENCIL = 3
"""Splines further apart than this do not overlap."""
PARTS = 8
"""Sums of all images are made in about so many parts, whatever the number of threads."""
FIRST_PIXELS, MOST_PIXELS = 1_000_000, 3_000_000
"""Number of pixels that are looked at first, and number from which more tell nothing new."""
WIDTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Standard deviations of the splines beforehand, in units of the probe's height, of which the likeliest is taken."""
OUTSIDE, BEYOND = 0.02, 1.5
"""The same relative to that inside for splines beyond the reach of the light: so many pixels behind the edge of a disk
that is sharp."""
STIFFNESS = (16.0, 128.0, 1024.0)
"""Strengths of the penalty on second differences of neighbouring splines. The first one leaves rings and spokes their
edges."""


class Equations(NamedTuple):
    """Normal equations of the splines of some images, upper stencils only, and what is known of them beforehand."""

    normal: FloatArray  # products of a spline with that (dy, dx) behind it, (image, dy, dx + 3, y, x)
    rhs: FloatArray  # (image, y, x)
    prior: FloatArray  # precision of the splines for a width of one, as `normal` of one image, for each of `STIFFNESS`

    def only(self, some: IntArray) -> Equations:
        """Equations of some of the images."""
        return self._replace(normal=self.normal[some], rhs=self.rhs[some])

    def prior_of(self, stiffness: float) -> FloatArray:
        """What is known beforehand with the strength of `STIFFNESS` nearest to one."""
        return np.asarray(self.prior[int(np.argmin(np.abs(np.array(STIFFNESS) - stiffness)))])

    def within(self, radius: float) -> Equations:
        """Equations of the splines within a distance from the middle (pixels), those beyond it being zero.

        Their number decides what solving takes: it grows with the fourth power of the distance.
        """
        edge = max(0, self.rhs.shape[-1] // 2 - int(np.ceil(radius / SPACING)) - 1)
        n = self.rhs.shape[-1] - 2 * edge
        inner, column, shifts = slice(edge, edge + n), np.arange(n), np.arange(-STENCIL, STENCIL + 1)
        here = (column + shifts[:, None] >= 0) & (column + shifts[:, None] < n)
        normal, prior = (array[..., inner, inner] * here[:, None] for array in (self.normal, self.prior))
        return Equations(normal, self.rhs[..., inner, inner], prior)


class _Known(NamedTuple):
    """What windows are compared with."""

    form: FloatArray  # table of the probe
    oversampling: int
    support: NDArray[np.float32]  # the pixels that are compared, (size, size)
    radius: float
    floor: float  # least variance of a pixel


def equations_of(
    fits: Fits,
    image: IntArray,
    n_images: int,
    form: Probe,
    floor: float,
    noise_scale: float,
    reach: float,
) -> Equations:
    """Normal equations of the deviation of disks from a form, summed over the windows of many patterns.

    Parameters
    ----------
    fits
        Windows of many patterns and what was fitted to them.
    image
        To which of the images the disk of each reflection belongs, shape ``(reflection,)``.
    n_images
        How many there are.
    form
        Expected form.
    floor
        Least variance of a pixel, counts.
    noise_scale
        Variance over mean of a pixel.
    reach
        Distance from the middle of a disk behind which next to no deviation is expected, pixels.
    """
    size, parts = _n_splines(form.half), max(1, PARTS // n_images)
    normal = np.zeros((n_images, parts, STENCIL + 1, 2 * STENCIL + 1, size, size))
    rhs = np.zeros((n_images, parts, size, size))
    known = _Known(form.values, form.oversampling, form.support, form.radius, floor)
    on_threads(_add_windows, n_images * parts, _enough(fits, form), known, image, normal, rhs, least=1)
    prior = _priors(size, form.half, reach) / float(form.values.max()) ** 2
    return Equations(normal.sum(1) / noise_scale, rhs.sum(1) / noise_scale, prior)


def _enough(fits: Fits, form: Probe) -> Fits:
    """Every so many patterns, so that there are about `MOST_PIXELS` pixels."""
    pixels = float((fits.trust > 0).sum()) * float(form.support.sum())
    step = max(1, int(pixels / MOST_PIXELS))
    return fits.every(step)


def _n_splines(half: int) -> int:
    return int(2 * (half + 2) / SPACING) + 3


@part()
def _spline(f: float, out: Any) -> None:  # pragma: no cover - compiled
    """Values of the four cubic splines at a place between nodes."""
    g = 1.0 - f
    out[0] = g * g * g / 6.0
    out[1] = 2.0 / 3.0 - f * f * (1.0 - 0.5 * f)
    out[2] = 2.0 / 3.0 - g * g * (1.0 - 0.5 * g)
    out[3] = f * f * f / 6.0


@part()
def _contrast(local: Any, dy: float, dx: float) -> float:  # pragma: no cover - compiled
    """Brightness inside a disk relative to its mean, see `cyclestrain.pattern.reflection`."""
    square = dy * dy + dx * dx
    out = 1.0 + local[4] * dy + local[5] * dx + local[6] * (square - 0.5)
    out += local[7] * (dy * dy - dx * dx) + 2.0 * local[8] * dy * dx
    out += (local[9] * dy + local[10] * dx) * (3.0 * square - 2.0)
    return out + local[11] * dy * (dy * dy - 3.0 * dx * dx) + local[12] * dx * (3.0 * dy * dy - dx * dx)


@nb.njit(cache=True, nogil=True)
def _add_windows(
    fits: Any, known: Any, image: Any, normals: Any, sides: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Sum the normal equations of all windows, each part of each image by one thread."""
    form, oversampling, support, radius, floor = known
    counts, origin, positions, centre, brightness, level, local, trust, turn, backgrounds = fits
    size, middle = support.shape[0], form.shape[0] // 2
    half, margin = size // 2, (counts.shape[2] - size) // 2
    reach, n_back = half + 2, backgrounds.shape[1]
    parts = normals.shape[1]
    wy, wx = np.empty(4), np.empty(4)
    for job in range(start, stop):
        normal, rhs = normals[job // parts, job % parts], sides[job // parts, job % parts]
        for n in range(job % parts, counts.shape[0], parts):
            for g in range(counts.shape[1]):
                if image[g] != job // parts:
                    continue
                ry = int(np.rint(positions[n, g, 0])) - origin[n, g, 0]
                rx = int(np.rint(positions[n, g, 1])) - origin[n, g, 1]
                if trust[n, g] <= 0 or abs(ry) > margin or abs(rx) > margin:
                    continue
                own, background = local[n, g], backgrounds[min(n, backgrounds.shape[0] - 1)]
                for i in range(size):
                    for j in range(size):
                        value = counts[n, g, margin + ry + i, margin + rx + j]
                        if support[i, j] == 0 or value < LEAST_VALUE:
                            continue
                        py, px = origin[n, g, 0] + ry - half + i, origin[n, g, 1] + rx - half + j
                        y, x = py - positions[n, g, 0], px - positions[n, g, 1]
                        bright = brightness[n, g] * _contrast(own, y / radius, x / radius)
                        r = min(np.hypot(py - centre[n, 0], px - centre[n, 1]), n_back - 1.001)
                        k = int(r)
                        b = background[k] + (r - k) * (background[k + 1] - background[k])
                        u, v = (i - half) / half, (j - half) / half
                        below = level[n] * (1.0 + own[1] + own[2] * u + own[3] * v) * b
                        shape = between(form, y * oversampling + middle, x * oversampling + middle)
                        mean = below + bright * shape
                        weight = trust[n, g] / max(mean, floor) * bright
                        u, v = turn[n, 0] * y - turn[n, 1] * x, turn[n, 0] * x + turn[n, 1] * y
                        ty, tx = (u + reach) / SPACING, (v + reach) / SPACING
                        iy, ix = int(ty), int(tx)
                        _spline(ty - iy, wy)
                        _spline(tx - ix, wx)
                        residual = weight * (value - mean)
                        weight *= bright
                        for a in range(4):
                            for c in range(4):
                                one = wy[a] * wx[c]
                                rhs[iy + a, ix + c] += residual * one
                                one *= weight
                                for e in range(a, 4):
                                    two = one * wy[e]
                                    for f in range(4):
                                        normal[e - a, f - c + STENCIL, iy + a, ix + c] += two * wx[f]


def _priors(size: int, half: int, reach: float) -> FloatArray:
    """Upper stencils of the precision of the splines beforehand, for a width of one within the reach of the light.

    One for each of `STIFFNESS`.
    """
    place = np.arange(size) * SPACING - (half + 2) - SPACING
    away = np.hypot(place[:, None], place)
    scale = np.where(away > reach, 1.0 / OUTSIDE, 1.0)
    bend = np.zeros((STENCIL + 1, 2 * STENCIL + 1, size, size))
    for axis in range(2):
        for p, first in enumerate((1.0, -2.0, 1.0)):
            for q in range(p, 3):
                second = (1.0, -2.0, 1.0)[q]
                step = (q - p, 0) if axis == 0 else (0, q - p)
                at = np.zeros((size, size))
                inner = np.s_[p : size - 2 + p]
                at[(inner, slice(None)) if axis == 0 else (slice(None), inner)] = first * second
                bend[step[0], step[1] + STENCIL] += at
    out = np.multiply.outer(STIFFNESS, bend)
    out[:, 0, STENCIL] += scale**2
    return out


def _banded(normal: FloatArray) -> FloatArray:
    """Upper stencils of a symmetric matrix in LAPACK's lower banded form."""
    size = normal.shape[-1]
    bands = np.zeros((STENCIL * size + STENCIL + 1, size * size))
    for dy in range(STENCIL + 1):
        for dx in range(-STENCIL, STENCIL + 1):
            if dy > 0 or dx >= 0:
                bands[dy * size + dx] += normal[dy, dx + STENCIL].ravel()
    return bands


def solve(normal: FloatArray, rhs: FloatArray, prior: FloatArray) -> tuple[FloatArray, float]:
    """Coefficients of one image, and the logarithm of the determinant of their precision.

    Parameters
    ----------
    normal, rhs
        Of one of the images of `Equations`.
    prior
        Precision of the splines beforehand.
    """
    factor = cholesky_banded(_banded(normal + prior), lower=True, check_finite=False)
    solved = cho_solve_banded((factor, True), rhs.ravel(), check_finite=False)
    return solved.reshape(rhs.shape), 2.0 * float(np.log(factor[0]).sum())


def likeliest(normal: FloatArray, rhs: FloatArray, prior: FloatArray) -> tuple[float, FloatArray] | None:
    """Width of the splines beforehand with the largest evidence, and their coefficients; None where none beats zero.

    Parameters
    ----------
    normal, rhs
        Of `Equations`, of one of the images.
    prior
        Of one of `STIFFNESS`.
    """
    found = _widths(normal, rhs, prior)
    evidence, width, coefficients = max(found, key=lambda each: each[0])
    return (width, coefficients) if evidence > 0 else None


def likeliest_stiffness(equations: Equations) -> tuple[float, float]:
    """Strength of `STIFFNESS` that makes images likeliest, all together, and by how much they are likelier than none.

    Noise that has been learned makes disks look sharper than they are: what is smooth is to be given no detail. The
    second number is the logarithm of the evidence, each image having its likeliest width.

    Parameters
    ----------
    equations
        Of some images.
    """
    each = list(zip(equations.normal, equations.rhs, strict=True))
    evidence = [
        sum(max(0.0, *(one[0] for one in _widths(normal, rhs, prior))) for normal, rhs in each)
        for prior in equations.prior
    ]
    return STIFFNESS[int(np.argmax(evidence))], max(evidence)


def _widths(normal: FloatArray, rhs: FloatArray, prior: FloatArray) -> list[tuple[float, float, FloatArray]]:
    """Evidence of every width beside none, the width, and the coefficients of the splines."""
    nothing, found = solve(np.zeros_like(normal), rhs, prior)[1], []
    for width in WIDTHS:
        coefficients, determinant = solve(normal, rhs, prior / width**2)
        evidence = 0.5 * (float((coefficients * rhs).sum()) - determinant + nothing - 2 * rhs.size * np.log(width))
        found.append((evidence, width, coefficients))
    return found


def gain(normal: FloatArray, rhs: FloatArray, coefficients: FloatArray) -> float:
    """Fall of chi-square by some coefficients.

    Parameters
    ----------
    normal, rhs
        Of one of the images of `Equations`.
    coefficients
        Of the splines, shape ``(y, x)``.
    """
    size = rhs.shape[0]
    padded = np.pad(coefficients, STENCIL)
    square = 0.0
    for dy in range(STENCIL + 1):
        for dx in range(-STENCIL, STENCIL + 1):
            if dy == 0 and dx < 0:
                continue
            other = padded[STENCIL + dy : STENCIL + dy + size, STENCIL + dx : STENCIL + dx + size]
            product = float((normal[dy, dx + STENCIL] * coefficients * other).sum())
            square += product if dy == dx == 0 else 2.0 * product
    return 2.0 * float((rhs * coefficients).sum()) - square


def drawn(coefficients: FloatArray, place: FloatArray, half: int) -> FloatArray:
    """Image of some coefficients on a grid.

    Parameters
    ----------
    coefficients
        Of the splines, or of those in the middle, shape ``(y, x)``.
    place
        Rows, and columns, of the grid: offsets from the middle of the disk, pixels.
    half
        Reach of the windows, pixels.
    """
    size = _n_splines(half)
    coefficients = np.pad(coefficients, (size - coefficients.shape[0]) // 2)
    t = (place + half + 2) / SPACING
    index = np.minimum(t.astype(int), size - 4)
    weights = np.zeros((len(t), size))
    f = t - index
    g = 1.0 - f
    each = (g**3 / 6, 2 / 3 - f**2 * (1 - f / 2), 2 / 3 - g**2 * (1 - g / 2), f**3 / 6)
    for k, values in enumerate(each):
        weights[np.arange(len(t)), index + k] += values
    return np.asarray(weights @ coefficients @ weights.T)
