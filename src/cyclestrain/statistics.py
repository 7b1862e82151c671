"""Sums over many fitted patterns from which the dictionary is updated.

All comparisons are made at the detector's own pixels (the inverse direction), where the noise is white, so the blur of
interpolation is deconvolved and not averaged into the dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from scipy.linalg import solveh_banded
from scipy.optimize import minimize
from scipy.special import erfc

from cyclestrain.data import FloatArray
from cyclestrain.model.dictionary import Entry
from cyclestrain.model.probe import Probe
from cyclestrain.model.windows import WindowStack
from cyclestrain.refine import PatternFit, predicted_positions

__all__ = ["Deviations", "fit_profiles", "measure_deviations"]

_MASKED = -1e29


@nb.njit(cache=True, fastmath=True)
def _sums(
    counts: Any, origin: Any, positions: Any, centre: Any, brightness: Any, level: Any, local: Any, trust: Any,
    probe: Any, step: float, background: Any, floor: float, support: Any,
    probe_normal: Any, probe_rhs: Any, back_normal: Any, back_rhs: Any, deviations: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    size = support.shape[0]
    half = size // 2
    margin = (counts.shape[2] - size) // 2
    n_probe, n_back = probe.shape[0], background.shape[0]
    for n in range(counts.shape[0]):
        for g in range(counts.shape[1]):
            ry = int(np.rint(positions[n, g, 0])) - origin[n, g, 0]
            rx = int(np.rint(positions[n, g, 1])) - origin[n, g, 1]
            if trust[n, g] <= 0 or abs(ry) > margin or abs(rx) > margin:
                continue
            l2 = np.zeros((4, 4))
            s2 = np.zeros(4)
            for i in range(size):
                for j in range(size):
                    y = counts[n, g, margin + ry + i, margin + rx + j]
                    if support[i, j] == 0 or y < _MASKED:
                        continue
                    py = origin[n, g, 0] + ry + i - half
                    px = origin[n, g, 1] + rx + j - half
                    t = np.hypot(py - positions[n, g, 0], px - positions[n, g, 1]) / step
                    k = int(t)
                    f = t - k
                    shape = 0.0
                    if k < n_probe - 1:
                        shape = (1 - f) * probe[k] + f * probe[k + 1]
                    r = min(np.hypot(py - centre[n, 0], px - centre[n, 1]), n_back - 1.001)
                    m = int(r)
                    e = r - m
                    b = (1 - e) * background[m] + e * background[m + 1]
                    u, v = (i - half) / half, (j - half) / half
                    tilt = 1.0 + local[n, g, 1] + local[n, g, 2] * u + local[n, g, 3] * v
                    amplitude = brightness[n, g]
                    expected = level[n] * b * tilt + amplitude * shape
                    weight = trust[n, g] / max(expected, floor)
                    residual = y - level[n] * b * tilt - amplitude * shape
                    if k < n_probe - 1:
                        target = residual + amplitude * shape
                        w = weight * amplitude
                        probe_normal[0, k] += w * amplitude * (1 - f) * (1 - f)
                        probe_normal[0, k + 1] += w * amplitude * f * f
                        probe_normal[1, k] += w * amplitude * f * (1 - f)
                        probe_rhs[k] += w * (1 - f) * target
                        probe_rhs[k + 1] += w * f * target
                    a = level[n] * tilt
                    back_normal[0, m] += weight * a * a * (1 - e) * (1 - e)
                    back_normal[0, m + 1] += weight * a * a * e * e
                    back_normal[1, m] += weight * a * a * e * (1 - e)
                    back_rhs[m] += weight * a * (1 - e) * (residual + a * b)
                    back_rhs[m + 1] += weight * a * e * (residual + a * b)
                    basis = (shape, level[n] * b, level[n] * b * u, level[n] * b * v)
                    for p in range(4):
                        s2[p] += weight / trust[n, g] * basis[p] * residual
                        for q in range(4):
                            l2[p, q] += weight / trust[n, g] * basis[p] * basis[q]
            for p in range(4):
                l2[p, p] += 1e-9 * l2[p, p] + 1e-12
            inverse = np.linalg.inv(l2)
            for p in range(4):
                step_p = 0.0
                for q in range(4):
                    step_p += inverse[p, q] * s2[q]
                deviations[0, n, g, p] = local[n, g, p] + step_p
                deviations[1, n, g, p] = inverse[p, p]


@dataclass(frozen=True)
class Deviations:
    """Unshrunk deviation of every reflection in every pattern, and its variance.

    Attributes
    ----------
    value, variance
        Intensity (counts), background level and slopes (relative), ``(n, reflection, 4)``; NaN where not measured.
    """

    value: FloatArray
    variance: FloatArray


@dataclass(frozen=True)
class Profiles:
    """Radial profiles fitted to many patterns: probe (steps of ``1 / oversampling``) and background (1 px steps)."""

    probe: FloatArray
    background: FloatArray


def _smooth_solve(
    normal: FloatArray, rhs: FloatArray, smoothness: float, prior: FloatArray | None = None
) -> FloatArray:
    """Tridiagonal least squares with a penalty on the second difference and, optionally, prior precisions about zero."""
    n = len(rhs)
    bands = np.zeros((3, n))  # upper form: bands[2] diagonal, [1] first, [0] second off-diagonal
    bands[2], bands[1, 1:] = normal[0], normal[1, : n - 1]
    strength = smoothness * max(float(np.median(normal[0][normal[0] > 0])), 1e-30)
    d = np.array([1.0, -2.0, 1.0])
    for k in range(n - 2):
        for i in range(3):
            for j in range(i, 3):
                bands[2 - (j - i), k + j] += strength * d[i] * d[j]
    bands[2] += 1e-9 * bands[2].max() if prior is None else prior
    return np.asarray(solveh_banded(bands, rhs))


def fit_profiles(
    stack: WindowStack, entry: Entry, fit: PatternFit, trust: FloatArray, noise_scale: float
) -> tuple[Profiles, Deviations]:
    """Least-squares radial profiles of probe and background, and each reflection's own deviations.

    Parameters
    ----------
    stack, entry, fit
        Windows, entry and the fit of the entry to them.
    trust
        Weight of each reflection of each pattern, zero to leave it out, shape ``(n, reflection)``.
    noise_scale
        Variance over mean of a pixel, scales the variances.
    """
    probe = entry.probe
    oversampling = probe.oversampling
    profile = probe.profile[: (probe.half + 1) * oversampling]
    background = entry.background
    normal, rhs = np.zeros((2, len(profile))), np.zeros(len(profile))
    back_normal, back_rhs = np.zeros((2, len(background))), np.zeros(len(background))
    n, n_reflections = trust.shape
    deviations = np.full((2, n, n_reflections, 4), np.nan)
    brightness = fit.start.gain[:, None] * entry.intensity + fit.local[..., 0]
    _sums(
        stack.counts, stack.origin, predicted_positions(fit.start, entry.reflections), fit.start.centre,
        brightness, fit.start.level, fit.local, trust, profile, 1.0 / oversampling, background, entry.variance_floor,
        probe.support,
        normal, rhs, back_normal, back_rhs, deviations,
    )  # fmt: skip
    new_probe = _fit_probe_profile(normal / noise_scale, rhs / noise_scale, probe)
    seen = back_normal[0] > 0
    new_background = background.copy()
    if seen.sum() > 4:
        first, last = np.flatnonzero(seen)[[0, -1]]
        part = slice(first, last + 1)
        ratio_rhs = back_rhs[part] - _tridiagonal(back_normal[:, part], background[part])
        new_background[part] += _smooth_solve(back_normal[:, part], ratio_rhs, 1e-2)
    floor = 1e-4 * float(np.median(background)) + 1e-9
    return (
        Profiles(new_probe, np.maximum(new_background, floor)),
        Deviations(deviations[0], noise_scale * deviations[1]),
    )


def _fit_probe_profile(normal: FloatArray, rhs: FloatArray, probe: Probe) -> FloatArray:
    """Profile of the disk: a soft-edged disk, unless the data clearly want another shape (Akaike's criterion).

    Few parameters keep the edge, which carries all positions, free of noise where counts are scarce.
    """
    radius = np.arange(len(rhs)) / probe.oversampling

    def basis(shape: FloatArray) -> FloatArray:
        disk = 0.5 * erfc((radius - shape[0]) / (np.sqrt(2.0) * np.exp(shape[1])))
        return np.stack([disk, disk * (radius / shape[0]) ** 2, np.ones_like(radius)], 1)

    def solve(shape: FloatArray) -> tuple[float, FloatArray]:
        columns = basis(shape)
        weighted = np.stack([_tridiagonal(normal, c) for c in columns.T], 1)
        matrix = columns.T @ weighted
        coefficients = np.linalg.lstsq(matrix, columns.T @ rhs, rcond=1e-10)[0]
        profile = columns @ coefficients
        return float(profile @ _tridiagonal(normal, profile) - 2 * profile @ rhs), profile

    edge = np.log(0.4)
    best = minimize(
        lambda s: solve(s)[0] if 0.3 < s[0] < probe.half + 1 and -2.0 < s[1] < 1.5 else np.inf,
        np.array([min(probe.radius, probe.half - 0.5), edge]),
        method="Nelder-Mead",
        options={"xatol": 1e-4, "fatol": 1e-3, "initial_simplex": None},
    )
    value, profile = solve(best.x)
    # Free deviations from the soft disk: large where the disk is, next to none in the surround, where they would only
    # take over the background.
    outside = radius > best.x[0] + 3.0 * np.exp(best.x[1]) + 0.5
    width = np.where(outside, 0.003, 0.15) * max(float(profile[0]), 1e-12)
    deviation = _smooth_solve(normal, rhs - _tridiagonal(normal, profile), 1e-4, prior=1.0 / width**2)
    free = profile + deviation
    free_value = float(free @ _tridiagonal(normal, free) - 2 * free @ rhs)
    return free if value - free_value > 2.0 * len(rhs) else profile


def _tridiagonal(normal: FloatArray, x: FloatArray) -> FloatArray:
    out = normal[0] * x
    out[:-1] += normal[1, : len(x) - 1] * x[1:]
    out[1:] += normal[1, : len(x) - 1] * x[:-1]
    return np.asarray(out)


def measure_deviations(deviations: Deviations, entry: Entry, gain: FloatArray) -> FloatArray:
    """Standard deviations of the deviations beyond what noise explains, ``(reflection, 4)``: empirical-Bayes priors.

    Intensities get one width per reflection, background level and slopes one for all reflections. A width that is not
    twice its own uncertainty above zero is zero: where nothing deviates nothing is lost.
    """
    spread = np.zeros((len(entry.intensity), 4))
    value = deviations.value.copy()
    variance = deviations.variance.copy()
    reference = np.maximum(gain[:, None] * entry.intensity, 1e-12)
    value[..., 0] /= reference
    variance[..., 0] /= reference**2
    for p in range(4):
        excess, error = _excess_variance(value[..., p], variance[..., p], axis=0 if p == 0 else None)
        spread[:, p] = np.sqrt(np.where(excess > 2.0 * error, excess, 0.0))
    return spread


def _excess_variance(value: FloatArray, variance: FloatArray, axis: int | None) -> tuple[FloatArray, FloatArray]:
    """Variance of `value` beyond `variance` and its standard error, by weighted moments."""
    weight = 1.0 / variance**2
    weight = np.where(np.isfinite(value * weight), weight, 0.0)
    clean, noise = np.nan_to_num(value), np.nan_to_num(variance)
    total = np.maximum(weight.sum(axis), 1e-300)
    squares = np.minimum(clean**2, 25.0 * np.maximum(noise, np.nanmedian(clean**2)))
    excess = (weight * (squares - noise)).sum(axis) / total
    difference = squares - noise - (excess if axis is None else excess[None])
    scatter = (weight**2 * difference**2).sum(axis)
    return np.asarray(excess), np.sqrt(np.asarray(scatter)) / total
