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

from cyclestrain.data import FloatArray
from cyclestrain.pattern import Entry, PatternFit, Probe, WindowStack, predicted_positions, seen_edge
from cyclestrain.pattern.reflection import N_LOCAL
from cyclestrain.pattern.windows import LEAST_VALUE

__all__ = ["PARTS", "Deviations", "Profiles", "fit_profiles", "held_out_positions"]

PARTS = 16
"""Sums are made in this many parts whatever the number of threads, so that results do not depend on it."""


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _window_sums(
    window: Any, corner: Any, position: Any, centre: Any, brightness: float, level: float, local: Any, trust: float,
    probe: Any, step: float, radius: float, background: Any, floor: float, support: Any,
    probe_normal: Any, probe_rhs: Any, back_normal: Any, back_rhs: Any, information: Any, score: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Add one window (first pixel at `corner`) to the normal equations of probe, background and its deviations.

    Behind the deviations of the likelihood come a shift in y and x: without them an error of the position would pass
    for contrast inside the disk.
    """
    size = support.shape[0]
    half = size // 2
    n_probe, n_back = probe.shape[0], background.shape[0]
    n_basis = score.shape[0]
    basis = np.empty(n_basis)
    for i in range(size):
        for j in range(size):
            y = window[i, j]
            if support[i, j] == 0 or y < LEAST_VALUE:
                continue
            py, px = corner[0] + i, corner[1] + j
            dy, dx = (py - position[0]) / radius, (px - position[1]) / radius
            bowl, across, along = dy * dy + dx * dx - 0.5, dy * dy - dx * dx, 2.0 * dy * dx
            bright = brightness * (
                1.0 + local[4] * dy + local[5] * dx + local[6] * bowl + local[7] * across + local[8] * along
            )
            t = np.hypot(py - position[0], px - position[1]) / step
            k = int(t)
            f = t - k
            shape = (1 - f) * probe[k] + f * probe[k + 1] if k < n_probe - 1 else 0.0
            fall = (probe[k] - probe[k + 1]) / (step * step * max(t, 0.5)) if k < n_probe - 1 else 0.0
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
            for p in range(4, 9):
                basis[p] *= disk
            basis[9], basis[10] = bright * fall * radius * dy, bright * fall * radius * dx
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


@nb.njit(parallel=True, cache=True, fastmath=True, error_model="numpy")
def _sums(
    counts: Any, origin: Any, positions: Any, centre: Any, brightness: Any, level: Any, local: Any, trust: Any,
    probe: Any, step: float, radius: float, background: Any, floor: float, support: Any,
    probe_normal: Any, probe_rhs: Any, back_normal: Any, back_rhs: Any, deviations: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Sums over all windows; the first axis of the four normal arrays are parts, each filled by one thread."""
    size = support.shape[0]
    half, margin = size // 2, (counts.shape[2] - size) // 2
    n_parts = probe_normal.shape[0]
    for part in nb.prange(n_parts):
        corner = np.empty(2)
        for n in range(part, counts.shape[0], n_parts):
            for g in range(counts.shape[1]):
                ry = int(np.rint(positions[n, g, 0])) - origin[n, g, 0]
                rx = int(np.rint(positions[n, g, 1])) - origin[n, g, 1]
                if trust[n, g] <= 0 or abs(ry) > margin or abs(rx) > margin:
                    continue
                information, score = np.zeros((N_LOCAL + 2, N_LOCAL + 2)), np.zeros(N_LOCAL + 2)
                window = counts[n, g, margin + ry : margin + ry + size, margin + rx : margin + rx + size]
                corner[0], corner[1] = origin[n, g, 0] + ry - half, origin[n, g, 1] + rx - half
                _window_sums(
                    window, corner, positions[n, g], centre[n], brightness[n, g], level[n], local[n, g], trust[n, g],
                    probe, step, radius, background, floor, support, probe_normal[part], probe_rhs[part],
                    back_normal[part], back_rhs[part], information, score,
                )  # fmt: skip
                for p in range(N_LOCAL + 2):
                    information[p, p] += 1e-9 * information[p, p] + 1e-12
                    for q in range(p):
                        information[q, p] = information[p, q]
                inverse = np.linalg.inv(information)
                for p in range(N_LOCAL):
                    step_p = 0.0
                    for q in range(N_LOCAL + 2):
                        step_p += inverse[p, q] * score[q]
                    deviations[0, n, g, p] = local[n, g, p] + step_p
                    deviations[1, n, g, p] = inverse[p, p]


def held_out_positions(fit: PatternFit, reflections: FloatArray) -> FloatArray:
    r"""Where each reflection is according to all *other* reflections of its pattern, shape ``(n, reflection, 2)``.

    A fit follows the noise of every disk a little; a probe learned at the fitted positions comes out sharper than it
    is, and uncertainties too small. Leaving a reflection with information `J` and score `s` out moves its predicted
    position, of covariance `C`, by :math:`-(C^{-1} - J)^{-1} s` (Woodbury).
    """
    design = np.zeros((len(reflections), 2, 8))
    design[:, 0, 0:2] = design[:, 1, 2:4] = reflections
    design[:, 0, 4] = design[:, 1, 5] = 1.0
    covariance = np.einsum("gia,nab,gjb->ngij", design, fit.covariance, design, optimize=True)
    covariance = np.where(np.isfinite(covariance), covariance, np.eye(2)) + 1e-12 * np.eye(2)
    rest = np.linalg.inv(covariance) - fit.shift_information
    # A reflection that fixes the pattern alone has no other opinion to be compared with.
    rest += 0.05 * np.linalg.inv(covariance)
    move = -np.linalg.solve(rest, fit.shift_score[..., None])[..., 0]
    return predicted_positions(fit.start, reflections) + np.clip(move, -1.0, 1.0)


@dataclass(frozen=True)
class Deviations:
    """Unshrunk deviation of every reflection in every pattern, and its variance.

    Attributes
    ----------
    value, variance
        Intensity (counts), background level and slopes, contrast inside the disk (relative), shape
        ``(n, reflection, 9)``; NaN where not measured.
    """

    value: FloatArray
    variance: FloatArray


@dataclass(frozen=True)
class Profiles:
    """Radial profiles fitted to many patterns: probe (steps of ``1 / oversampling``) and background (1 px steps)."""

    probe: FloatArray
    background: FloatArray


def _smooth_solve(normal: FloatArray, rhs: FloatArray, smoothness: float) -> FloatArray:
    """Tridiagonal least squares with a penalty on the second difference (banded normal equations)."""
    n = len(rhs)
    bands = np.zeros((3, n))  # upper form: bands[2] diagonal, [1] first, [0] second off-diagonal
    bands[2], bands[1, 1:] = normal[0], normal[1, : n - 1]
    strength = smoothness * max(float(np.median(normal[0][normal[0] > 0])), 1e-30)
    d = np.array([1.0, -2.0, 1.0])
    for k in range(n - 2):
        for i in range(3):
            for j in range(i, 3):
                bands[2 - (j - i), k + j] += strength * d[i] * d[j]
    bands[2] += 1e-9 * bands[2].max()
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
    normal, rhs = np.zeros((PARTS, 2, len(profile))), np.zeros((PARTS, len(profile)))
    back_normal, back_rhs = np.zeros((PARTS, 2, len(background))), np.zeros((PARTS, len(background)))
    n, n_reflections = trust.shape
    deviations = np.full((2, n, n_reflections, N_LOCAL), np.nan)
    brightness = fit.start.gain[:, None] * entry.intensity + fit.local[..., 0]
    _sums(
        stack.counts, stack.origin, held_out_positions(fit, entry.reflections), fit.start.centre,
        brightness, fit.start.level, fit.local, trust, profile, 1.0 / oversampling, probe.radius, background,
        entry.variance_floor, probe.support,
        normal, rhs, back_normal, back_rhs, deviations,
    )  # fmt: skip
    normal, rhs, back_normal, back_rhs = (array.sum(0) for array in (normal, rhs, back_normal, back_rhs))
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
        disk = seen_edge(radius, float(shape[0]), float(np.exp(shape[1])))
        return np.stack([disk, disk * (radius / shape[0]) ** 2, np.ones_like(radius)], 1)

    def solve(shape: FloatArray) -> tuple[float, FloatArray]:
        columns = basis(shape)
        weighted = np.stack([_tridiagonal(normal, c) for c in columns.T], 1)
        matrix = columns.T @ weighted
        coefficients = np.linalg.lstsq(matrix, columns.T @ rhs, rcond=1e-10)[0]
        profile = columns @ coefficients
        return float(profile @ _tridiagonal(normal, profile) - 2 * profile @ rhs), profile

    edge = np.log(0.3)
    best: Any = minimize(  # type: ignore[call-overload]
        lambda s: solve(s)[0] if 0.3 < s[0] < probe.half + 1 and -2.0 < s[1] < 1.5 else np.inf,
        np.array([min(probe.radius, probe.half - 0.5), edge]),
        method="Nelder-Mead",
        options={"xatol": 1e-4, "fatol": 1e-3},
    )
    value, profile = solve(best.x)
    # Free deviations from the soft disk, smooth over a pixel: large where the disk is, next to none in the surround,
    # where they would only take over the background. A rougher profile would add false edges to every disk.
    outside = radius > best.x[0] + 3.0 * np.exp(best.x[1]) + 0.5
    width = np.where(outside, 0.003, 0.15) * max(float(profile[0]), 1e-12)
    prior = np.outer(width, width) * np.exp(-0.5 * ((radius[:, None] - radius) / 0.8) ** 2)
    matrix = np.diag(normal[0]) + np.diag(normal[1, :-1], 1) + np.diag(normal[1, :-1], -1)
    deviation = prior @ np.linalg.solve(matrix @ prior + np.eye(len(rhs)), rhs - _tridiagonal(normal, profile))
    free = profile + deviation
    free_value = float(free @ _tridiagonal(normal, free) - 2 * free @ rhs)
    return free if value - free_value > 4.0 * radius[-1] else profile


def _tridiagonal(normal: FloatArray, x: FloatArray) -> FloatArray:
    out = normal[0] * x
    out[:-1] += normal[1, : len(x) - 1] * x[1:]
    out[1:] += normal[1, : len(x) - 1] * x[:-1]
    return np.asarray(out)
