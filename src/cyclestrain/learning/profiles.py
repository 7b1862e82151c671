"""Radial profiles of probe and background, fitted to many patterns, and what single reflections deviate from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solveh_banded
from scipy.optimize import minimize

from cyclestrain.affine import left_polar
from cyclestrain.data import FloatArray
from cyclestrain.learning.film import film_of
from cyclestrain.learning.window_sums import PARTS, Fits, Normal, Shapes, add_windows
from cyclestrain.loops import on_threads
from cyclestrain.pattern import Entry, PatternFit, Probe, WindowStack, predicted_positions, seen_edge, shift_design
from cyclestrain.pattern.reflection import N_LOCAL, N_SMOOTH

__all__ = ["Deviations", "fit_profiles", "fits_of", "held_out_positions"]

LEAST_CUBIC = 4.0
"""Radius of the disks, pixels, from which contrast of third order can be told from a shift and is looked for."""


def held_out_positions(fit: PatternFit, reflections: FloatArray) -> FloatArray:
    r"""Where each reflection is according to all *other* reflections of its pattern, shape ``(n, reflection, 2)``.

    A fit follows the noise of every disk a little; a probe learned at the fitted positions comes out sharper than it
    is, and uncertainties too small. Leaving a reflection with information `J` and score `s` out moves its predicted
    position, of covariance `C`, by :math:`-(C^{-1} - J)^{-1} s` (Woodbury).

    Parameters
    ----------
    fit
        Fit of an entry to the patterns.
    reflections
        Those of the entry, relative to the beam centre, shape ``(reflection, 2)``.
    """
    move = -np.linalg.solve(_of_others(fit, reflections), fit.shift_score[..., None])[..., 0]
    return predicted_positions(fit.start, reflections) + np.clip(move, -1.0, 1.0)


def held_out_errors(fit: PatternFit, reflections: FloatArray) -> FloatArray:
    """Covariance of `held_out_positions`, pixels, shape ``(n, reflection, 2, 2)``.

    Parameters
    ----------
    fit, reflections
        As for `held_out_positions`.
    """
    return np.linalg.inv(_of_others(fit, reflections))


def _of_others(fit: PatternFit, reflections: FloatArray) -> FloatArray:
    """What all other reflections say about the position of each, shape ``(n, reflection, 2, 2)``."""
    design = shift_design(reflections)
    covariance = np.einsum("gia,nab,gjb->ngij", design, fit.covariance, design, optimize=True)
    covariance = np.where(np.isfinite(covariance), covariance, np.eye(2)) + 1e-12 * np.eye(2)
    # A reflection that fixes the pattern alone has no other opinion to be compared with.
    return np.asarray(1.05 * np.linalg.inv(covariance) - fit.shift_information)


@dataclass(frozen=True)
class Deviations:
    """Unshrunk deviation of every reflection in every pattern, and its variance.

    Attributes
    ----------
    value, variance
        Intensity (counts), background level and slopes, contrast inside the disk (relative), shape
        ``(n, reflection, 13)``; NaN where not measured.
    """

    value: FloatArray
    variance: FloatArray


@dataclass(frozen=True)
class Profiles:
    """Radial profiles fitted to many patterns: probe (steps of ``1 / oversampling``), background and film (1 px)."""

    probe: FloatArray
    background: FloatArray
    film: FloatArray  # empty where there is none


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


def fits_of(stack: WindowStack, entry: Entry, fit: PatternFit, trust: FloatArray) -> Fits:
    """Windows with what was fitted to them, each disk where all others of its pattern predict it.

    Parameters
    ----------
    stack, entry, fit, trust
        As for `fit_profiles`.
    """
    theta = left_polar(fit.start.affine)[1]
    return Fits(
        stack.counts, stack.origin, held_out_positions(fit, entry.reflections), fit.start.centre,
        fit.start.gain[:, None] * entry.intensity + fit.local[..., 0], fit.start.level, fit.local, trust,
        np.stack([np.cos(theta), np.sin(theta)], 1), entry.backgrounds(fit.film),
    )  # fmt: skip


def fit_profiles(
    stack: WindowStack,
    entry: Entry,
    fit: PatternFit,
    trust: FloatArray,
    noise_scale: float,
    edge: tuple[float, float] | None = None,
    repeats: float = 1.0,
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
    edge
        Radius of the disks and standard deviation of their edge where they are known, pixels.
    repeats
        See `cyclestrain.learning.lesson.Lesson.repeats`.
    """
    probe = entry.probe
    oversampling = probe.oversampling
    profile = probe.profile[: (probe.half + 1) * oversampling]
    background = entry.background
    deviations = np.full((2, *trust.shape, N_LOCAL), np.nan)
    fits = fits_of(stack, entry, fit, trust)
    image = probe.values if probe.is_image else np.zeros((0, 0))
    shapes = Shapes(
        profile, 1.0 / oversampling, probe.radius, entry.variance_floor, probe.support, image, entry.disks.tables,
        float(entry.disks.step),
    )  # fmt: skip
    parts = Normal.parts(len(profile), len(background))
    cubic = entry.has_contrast and probe.radius > LEAST_CUBIC
    n_local = N_LOCAL if cubic else N_SMOOTH
    rings = np.zeros((len(trust), 2, len(background)))
    on_threads(add_windows, PARTS, fits, shapes, parts, deviations, rings, n_local, least=1)
    normal = Normal(*(array.sum(0) for array in parts))
    scale = noise_scale * entry.grain.area
    shared = scale * repeats
    new_probe = _fit_probe_profile(normal.probe / shared, normal.probe_rhs / shared, probe, edge)
    seen = normal.background[0] > 0
    new_background = background.copy()
    if seen.sum() > 4:
        first, last = np.flatnonzero(seen)[[0, -1]]
        part = slice(first, last + 1)
        new_background[part] += _smooth_solve(normal.background[:, part], normal.background_rhs[part], 1e-2)
    floor = 1e-4 * float(np.median(background)) + 1e-9
    return (
        Profiles(new_probe, np.maximum(new_background, floor), film_of(rings, fits.background, background, scale)),
        Deviations(deviations[0], scale * deviations[1]),
    )


def _fit_probe_profile(
    normal: FloatArray, rhs: FloatArray, probe: Probe, known: tuple[float, float] | None
) -> FloatArray:
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

    if known is not None:
        return solve(np.array([known[0], np.log(known[1])]))[1]
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
