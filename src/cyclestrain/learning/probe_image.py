"""The probe as an image: what the windows of many fitted patterns show of it beyond its radial form.

Bullseye, cross, ring and astigmatic apertures are not round. The image is a sum of cubic splines half a pixel apart,
which hold all that square pixels let through, fitted to the detector's own pixels at the fitted sub-pixel places of
the disks. It is shrunk towards the radial form, or a probe that was recorded, as far as its evidence asks for, and
believed only where one half of the reflections predicts it for the other half: contrast inside the disks differs from
reflection to reflection, the aperture is the same in all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.ndimage import shift

from cyclestrain.data import FloatArray
from cyclestrain.learning.window_sums import Fits, between
from cyclestrain.pattern import Probe
from cyclestrain.pattern.windows import LEAST_VALUE

__all__ = ["ProbeImage", "centred", "image_of", "is_common"]

SPACING = 0.5
"""Distance of the splines, pixels: a square pixel passes next to nothing beyond one period per pixel."""
STENCIL = 3
"""Splines further apart than this do not overlap."""
PARTS = 4
"""Sums are made in so many parts for each half of the reflections, whatever the number of threads."""
MOST_PIXELS = 3_000_000
"""Number of pixels from which more tell nothing new."""
WIDTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Standard deviations of the splines beforehand, in units of the probe's height, of which the likeliest is taken."""
OUTSIDE, BEYOND = 0.02, 1.5
"""The same relative to that inside for splines that lie so many pixels beyond the disk's edge."""
ROUGH = 16.0
"""Strength of the penalty on second differences of neighbouring splines."""
CLEAR = 50.0
"""Least fall of chi-square in one half of the reflections by the image of the other half."""
COMMON = 0.5
"""Least part of what its own image explains in a half that the image of the other half explains as well."""
LARGE = 2e-3
"""Least energy of an image relative to that of the probe: a smaller one costs next to no precision."""


class _Sums(NamedTuple):
    """Normal equations of the splines, for each half of the reflections and each part; upper stencils only."""

    normal: FloatArray  # (2, part, dy, dx + 3, y, x): products of a spline with that dy, dx behind it
    rhs: FloatArray  # (2, part, y, x)


class _Known(NamedTuple):
    """What windows are compared with."""

    form: FloatArray  # table of the probe
    oversampling: int
    support: NDArray[np.float32]  # the pixels that are compared, (size, size)
    radius: float
    background: FloatArray
    floor: float  # least variance of a pixel


@dataclass(frozen=True)
class ProbeImage:
    """Deviation of the probe from a known form, as coefficients of splines, with what it is judged by.

    Attributes
    ----------
    probe
        The form with the deviation added.
    gains
        Fall of chi-square in each half of the reflections by the image of the other half, and by its own, ``(2, 2)``.
    energy
        Sum of the squared deviation relative to that of the probe.
    """

    probe: Probe
    gains: FloatArray
    energy: float


def is_common(image: ProbeImage) -> bool:
    """Whether an image is that of the aperture: clear, not small, and shared by both halves of the reflections."""
    other, own = image.gains.T
    return bool((other > CLEAR).all() and (other > COMMON * own).all() and image.energy > LARGE)


def image_of(
    fits: Fits, background: FloatArray, floor: float, form: Probe, reflections: FloatArray, noise_scale: float
) -> ProbeImage:
    """Image of the probe that windows show, relative to a form that it is expected to have.

    Parameters
    ----------
    fits
        Windows of many patterns and what was fitted to them.
    background
        Radial profile of the background, counts per pixel at 0, 1, 2, ... pixels.
    floor
        Least variance of a pixel, counts.
    form
        Expected form: round, or as it was recorded.
    reflections
        Positions of the reflections in the entry; those across the beam from each other stay in the same half.
    noise_scale
        Variance over mean of a pixel.
    """
    chosen = _enough(fits._replace(turn=np.tile([1.0, 0.0], (len(fits.counts), 1))), form)
    size = _n_splines(form.half)
    sums = _Sums(np.zeros((2, PARTS, STENCIL + 1, 2 * STENCIL + 1, size, size)), np.zeros((2, PARTS, size, size)))
    known = _Known(form.values, form.oversampling, form.support, form.radius, background, floor)
    _add_windows(chosen, known, _halves(reflections), sums)
    normal, rhs = sums.normal.sum(1) / noise_scale, sums.rhs.sum(1) / noise_scale
    height = float(form.values.max())
    prior = _prior(size, form.half, form.radius) / height**2
    both = _likeliest(normal.sum(0), rhs.sum(0), prior)
    gains = np.zeros((2, 2))
    if both is not None:
        width, coefficients = both
        apart = [_solve(normal[k], rhs[k], prior / width**2)[0] for k in range(2)]
        gains = np.array([[_gain(normal[k], rhs[k], apart[j]) for j in (1 - k, k)] for k in range(2)])
    else:
        coefficients = np.zeros((size, size))
    deviation = _drawn(coefficients, form)
    values = form.values + deviation
    total = values.sum()
    probe = replace(form, values=values * (form.oversampling**2 / total), is_image=True)
    return ProbeImage(probe, gains, float((deviation**2).sum() / (form.values**2).sum()))


def centred(probe: Probe) -> Probe:
    """The probe without what is alike all around it, which is background, and with its centroid in the middle.

    That place is then one with the beam centre.
    """
    m = probe.values.shape[0] // 2
    offset = np.arange(-m, m + 1)
    away = np.hypot(offset[:, None], offset) / probe.oversampling
    inside, around = away <= probe.radius + BEYOND, (away > probe.radius + BEYOND) & (away <= probe.half)
    values = np.where(away <= probe.half + 1.0, probe.values, 0.0)
    if around.any():
        values = np.where(away <= probe.half + 1.0, values - np.median(values[around]), 0.0)
    near = np.where(inside, values, 0.0)
    move = np.array([near.sum(1) @ offset, near.sum(0) @ offset]) / near.sum()
    values = shift(values, -move, order=1, mode="nearest")
    return replace(probe, values=values * (probe.oversampling**2 / values.sum()))


def _enough(fits: Fits, form: Probe) -> Fits:
    """Every so many patterns, so that there are about `MOST_PIXELS` pixels."""
    pixels = float((fits.trust > 0).sum()) * float(form.support.sum())
    step = max(1, int(pixels / MOST_PIXELS))
    return Fits(*(np.ascontiguousarray(array[::step]) for array in fits))  # type: ignore[arg-type]


def _halves(reflections: FloatArray) -> NDArray[np.int64]:
    """Half (0 or 1) of every reflection; those across the beam from each other have the same."""
    sign = np.where(reflections[:, 0] + 1e-3 * reflections[:, 1] < 0, -1.0, 1.0)[:, None]
    angle = np.arctan2(*(reflections * sign).T)
    length = np.hypot(*reflections.T)
    keys = np.rint(np.stack([length, 10 * angle], 1) / 1.5).astype(int)
    return np.asarray(np.unique(keys, axis=0, return_inverse=True)[1].ravel() % 2, np.int64)


def _n_splines(half: int) -> int:
    return int(2 * (half + 2) / SPACING) + 3


@nb.njit(forceinline=True)
def _spline(f: float, out: Any) -> None:  # pragma: no cover - compiled
    """Values of the four cubic splines at a place between nodes."""
    g = 1.0 - f
    out[0] = g * g * g / 6.0
    out[1] = 2.0 / 3.0 - f * f * (1.0 - 0.5 * f)
    out[2] = 2.0 / 3.0 - g * g * (1.0 - 0.5 * g)
    out[3] = f * f * f / 6.0


@nb.njit(forceinline=True)
def _contrast(local: Any, dy: float, dx: float) -> float:  # pragma: no cover - compiled
    """Brightness inside a disk relative to its mean, see `cyclestrain.pattern.reflection`."""
    square = dy * dy + dx * dx
    out = 1.0 + local[4] * dy + local[5] * dx + local[6] * (square - 0.5)
    out += local[7] * (dy * dy - dx * dx) + 2.0 * local[8] * dy * dx
    out += (local[9] * dy + local[10] * dx) * (3.0 * square - 2.0)
    return out + local[11] * dy * (dy * dy - 3.0 * dx * dx) + local[12] * dx * (3.0 * dy * dy - dx * dx)


@nb.njit(parallel=True, cache=True)
def _add_windows(fits: Any, known: Any, halves: Any, sums: Any) -> None:  # pragma: no cover - compiled
    """Sum the normal equations of all windows, each part by one thread."""
    form, oversampling, support, radius, background, floor = known
    counts, origin, positions, centre, brightness, level, local, trust, turn = fits
    size, middle = support.shape[0], form.shape[0] // 2
    half, margin = size // 2, (counts.shape[2] - size) // 2
    reach, n_back = half + 2, background.shape[0]
    for part in nb.prange(PARTS):
        wy, wx = np.empty(4), np.empty(4)
        for n in range(part, counts.shape[0], PARTS):
            for g in range(counts.shape[1]):
                ry = int(np.rint(positions[n, g, 0])) - origin[n, g, 0]
                rx = int(np.rint(positions[n, g, 1])) - origin[n, g, 1]
                if trust[n, g] <= 0 or abs(ry) > margin or abs(rx) > margin:
                    continue
                normal, rhs = sums.normal[halves[g], part], sums.rhs[halves[g], part]
                own = local[n, g]
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
                        u, v = turn[n, 0] * y + turn[n, 1] * x, turn[n, 0] * x - turn[n, 1] * y
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


def _prior(size: int, half: int, radius: float) -> FloatArray:
    """Upper stencils of the precision of the splines beforehand, for a width of one inside the disk."""
    place = np.arange(size) * SPACING - (half + 2) - SPACING
    away = np.hypot(place[:, None], place)
    scale = np.where(away > radius + BEYOND, 1.0 / OUTSIDE, 1.0)
    out = np.zeros((STENCIL + 1, 2 * STENCIL + 1, size, size))
    out[0, STENCIL] = scale**2
    for axis in range(2):
        for p, first in enumerate((1.0, -2.0, 1.0)):
            for q in range(p, 3):
                second = (1.0, -2.0, 1.0)[q]
                step = (q - p, 0) if axis == 0 else (0, q - p)
                at = np.zeros((size, size))
                inner = np.s_[p : size - 2 + p]
                at[(inner, slice(None)) if axis == 0 else (slice(None), inner)] = ROUGH * first * second
                out[step[0], step[1] + STENCIL] += at
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


def _solve(normal: FloatArray, rhs: FloatArray, prior: FloatArray) -> tuple[FloatArray, float]:
    """Coefficients, and the logarithm of the determinant of their precision."""
    factor = cholesky_banded(_banded(normal + prior), lower=True, check_finite=False)
    solved = cho_solve_banded((factor, True), rhs.ravel(), check_finite=False)
    return solved.reshape(rhs.shape), 2.0 * float(np.log(factor[0]).sum())


def _likeliest(normal: FloatArray, rhs: FloatArray, prior: FloatArray) -> tuple[float, FloatArray] | None:
    """Width of the splines beforehand with the largest evidence, and their coefficients; None where none beats zero."""
    nothing = _solve(np.zeros_like(normal), rhs, prior)[1]
    best, found = 0.0, None
    for width in WIDTHS:
        coefficients, determinant = _solve(normal, rhs, prior / width**2)
        evidence = 0.5 * (float((coefficients * rhs).sum()) - determinant + nothing - 2 * rhs.size * np.log(width))
        if evidence > best:
            best, found = evidence, (width, coefficients)
    return found


def _gain(normal: FloatArray, rhs: FloatArray, coefficients: FloatArray) -> float:
    """Fall of chi-square by some coefficients."""
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


def _drawn(coefficients: FloatArray, form: Probe) -> FloatArray:
    """Splines at the nodes of the probe's table."""
    m = form.values.shape[0] // 2
    return _drawn_at(coefficients, np.arange(-m, m + 1) / form.oversampling, form.half)


def _drawn_at(coefficients, place, half):
    size = coefficients.shape[0]
    t = (place + half + 2) / SPACING
    index = np.minimum(t.astype(int), size - 4)
    weights = np.zeros((len(t), size))
    f = t - index
    g = 1.0 - f
    each = (g**3 / 6, 2 / 3 - f**2 * (1 - f / 2), 2 / 3 - g**2 * (1 - g / 2), f**3 / 6)
    for k, values in enumerate(each):
        weights[np.arange(len(t)), index + k] += values
    return np.asarray(weights @ coefficients @ weights.T)
