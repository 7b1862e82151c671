r"""Poisson likelihood of one pattern given a dictionary entry, and Fisher-scoring steps towards its maximum.

The expected counts at detector pixel `p` in the window of reflection `g` are

.. math::

    \lambda(p) = \beta B(|p - c|) (1 + \beta_g + s_g \cdot u)
    + (a I_g + \delta_g) P(p - c - A g) (1 + \sum_m t_{gm} \phi_m(v))

with the probe `P`, the radial background `B`, the affine `A` of the pattern, its beam centre `c`, gain `a`,
background level :math:`\beta`, and, per reflection, the deviations :math:`\delta_g, \beta_g, s_g, t_g` of intensity,
background level, background slope (`u`: offset from the window's centre in units of its half width) and contrast
inside the disk (`v`: offset from the disk's middle in units of its radius; :math:`\phi` are the two slopes, a bowl and
two saddles). The deviations have Gaussian priors whose widths were learned from the data (`Priors`): zero where all
patterns share their intensities, wide where thickness and tilt change them from place to place. With contrast in the
disks the position is then read from their edges.

Each reflection reports an information matrix over (shift y, shift x, intensity, level, slope y, slope x, contrast).
Its own deviations are eliminated (Schur complement), as is a wandering of its position that the lattice does not
explain (contrast inside the disk, another crystal), and what is left is pooled into the 8 parameters of the pattern:
``A_yy, A_yx, A_xy, A_xx, c_y, c_x, a, beta``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import FloatArray
from cyclestrain.pattern.cholesky import cholesky_solve
from cyclestrain.pattern.reflection import (
    N_COLUMNS,
    N_LOCAL,
    N_PLAIN,
    add_contrast,
    blend,
    core_products,
    load_window,
    other_products,
    radial,
    scale_sums,
)

__all__ = ["N_PARAMETERS", "STEEPEST", "Model", "Outcome", "Steps", "fit_patterns"]

N_PARAMETERS = 8


STEEPEST = 2.0
"""Largest weight of a mode of contrast: a disk that is dark on one side has a slope of one."""


_WIDTH = np.array([0, 1, 2, 3, 5, 5, 6, 7, 7])
"""Column of the prior widths for each deviation."""


_POOLED = np.array([0, 1, 4, 2, 3, 5, 6, 7])
"""Parameters in the order in which a reflection's shift y and x, its intensity and its level act on them."""


_TOGETHER = 8
"""Patterns that one thread fits before it takes others: they share its scratch space."""


@nb.njit(forceinline=True)
def _eliminate(
    normal: Any, score: Any, precision: Any, local: Any, n_local: int, work: Any, coupling: Any, gain: Any
) -> None:  # pragma: no cover
    """Eliminate one reflection's deviations: `normal` and `score` become the pooled part, `gain` recovers them.

    `precision` are the prior precisions of the first `n_local` deviations; infinity switches a deviation off.
    ``gain[i, :4]`` maps a step in (shift y, shift x, intensity, level) to deviation `i`, ``gain[i, 4]`` is the
    deviation's own step.
    """
    for i in range(n_local):
        free_i = np.isfinite(precision[i])
        for j in range(n_local):
            free = free_i and np.isfinite(precision[j])
            work[i, j] = normal[2 + i, 2 + j] if free else (1.0 if i == j else 0.0)
        if free_i:
            work[i, i] += precision[i] + 1e-12
        for j in range(4):
            coupling[i, j] = gain[i, j] = normal[2 + i, j] if free_i else 0.0
        gain[i, 4] = score[2 + i] - precision[i] * local[i] if free_i else 0.0
    if not cholesky_solve(work, gain, n_local, 5):
        gain[:] = 0.0
    for i in range(4):
        for j in range(4):
            t = 0.0
            for k in range(n_local):
                t += coupling[k, i] * gain[k, j]
            normal[i, j] -= t
        t = 0.0
        for k in range(n_local):
            t += coupling[k, i] * gain[k, 4]
        score[i] -= t


@nb.njit(forceinline=True)
def _soften(normal: Any, score: Any, wander: float) -> None:  # pragma: no cover
    """Let one reflection wander from the lattice by `wander` pixels (standard deviation): it then says less."""
    tau = 1.0 / (wander * wander)
    a, b, c = normal[0, 0] + tau, normal[0, 1], normal[1, 1] + tau
    determinant = a * c - b * b
    y = (normal[0, 0], normal[0, 1], normal[0, 2], normal[0, 3])
    x = (normal[1, 0], normal[1, 1], normal[1, 2], normal[1, 3])
    sy, sx = score[0], score[1]
    for i in range(4):
        gy, gx = (c * y[i] - b * x[i]) / determinant, (a * x[i] - b * y[i]) / determinant
        score[i] -= gy * sy + gx * sx
        for j in range(4):
            normal[i, j] -= gy * y[j] + gx * x[j]


@nb.njit(forceinline=True)
def _from_priors(
    normal: Any, precision: Any, gain: Any, n_local: int, wander: float, to_score: Any, out: Any
) -> None:  # pragma: no cover
    r"""Variance that a reflection's deviations, drawn from their priors, give its score once they are eliminated.

    For deviations of prior precision `P` it is :math:`G^T P G`, with the gains `G` of `_eliminate`; a reflection that
    wanders adds :math:`K K^T / \tau^2`, where :math:`K` takes its residual shift to the score, see `_soften`.
    """
    for i in range(4):
        for j in range(4):
            t = 0.0
            for k in range(n_local):
                if np.isfinite(precision[k]):
                    t += gain[k, i] * precision[k] * gain[k, j]
            out[i, j] = t
    if wander > 0:
        tau = 1.0 / (wander * wander)
        a, b, c = normal[0, 0] + tau, normal[0, 1], normal[1, 1] + tau
        determinant = a * c - b * b
        for i in range(4):
            to_score[i, 0] = (c * normal[i, 0] - b * normal[i, 1]) / determinant
            to_score[i, 1] = (a * normal[i, 1] - b * normal[i, 0]) / determinant
        for j in range(4):  # from the left and from the right: score - K (score of the shift)
            y, x = out[0, j], out[1, j]
            for i in range(4):
                out[i, j] -= to_score[i, 0] * y + to_score[i, 1] * x
        for j in range(4):
            y, x = out[j, 0], out[j, 1]
            for i in range(4):
                out[j, i] -= to_score[i, 0] * y + to_score[i, 1] * x
        for i in range(4):
            for j in range(4):
                out[i, j] += tau * (to_score[i, 0] * to_score[j, 0] + to_score[i, 1] * to_score[j, 1])


@nb.njit(forceinline=True)
def _pool(
    gy: float, gx: float, intensity: float, level: float, normal: Any, score: Any, hessian: Any, rhs: Any
) -> None:  # pragma: no cover
    """Add what one reflection says to that of the pattern, whose parameters are in the order of `_POOLED` here."""
    q = (gy, gx, 1.0)
    of_beta = 1.0 / max(level, 1e-12)
    for a in range(3):
        for b in range(3):
            qq = q[a] * q[b]
            hessian[a, b] += qq * normal[0, 0]
            hessian[a, 3 + b] += qq * normal[0, 1]
            hessian[3 + a, 3 + b] += qq * normal[1, 1]
        for i in range(2):
            hessian[3 * i + a, 6] += q[a] * normal[i, 2] * intensity
            hessian[3 * i + a, 7] += q[a] * normal[i, 3] * of_beta
            rhs[3 * i + a] += q[a] * score[i]
    hessian[6, 6] += normal[2, 2] * intensity * intensity
    hessian[6, 7] += normal[2, 3] * intensity * of_beta
    hessian[7, 7] += normal[3, 3] * of_beta * of_beta
    rhs[6] += score[2] * intensity
    rhs[7] += score[3] * of_beta


@nb.njit(forceinline=True)
def _move_deviations(
    local: Any, gains: Any, step: Any, damping: float, gy: float, gx: float, intensity: float, theta: Any
) -> None:  # pragma: no cover
    """Move one reflection's deviations by their own step and by what the pattern's `step` makes of them."""
    d0 = step[4] + step[0] * gy + step[1] * gx
    d1 = step[5] + step[2] * gy + step[3] * gx
    d2, d3 = step[6] * intensity, step[7] / max(theta[7], 1e-12)
    for i in range(gains.shape[0]):
        own = gains[i, 4] - (gains[i, 0] * d0 + gains[i, 1] * d1 + gains[i, 2] * d2 + gains[i, 3] * d3)
        local[i] += damping * own
    local[0] = max(local[0], -theta[6] * intensity)
    local[1] = min(max(local[1], -0.9), 9.0)
    for i in range(N_PLAIN, N_LOCAL):
        local[i] = min(max(local[i], -STEEPEST), STEEPEST)


class Model(NamedTuple):
    """What patterns are compared with.

    ``tables`` and ``grid`` are those of `cyclestrain.pattern.refine`, the background is a radial profile, windows
    reach ``half`` pixels, and ``floor`` is the least variance of a pixel.
    """

    tables: NDArray[np.float32]
    grid: NDArray[np.float32]
    background: NDArray[np.float32]
    reflections: FloatArray
    intensity: FloatArray
    spread: FloatArray
    radius: float
    floor: float
    half: int


class Steps(NamedTuple):
    """How to climb; ``tolerance`` above zero ends when no reflection moves further, and leaves out the covariance."""

    centre_precision: float
    noise_scale: float
    robust: bool
    max_shift: float
    iterations: int
    tolerance: float


class Outcome(NamedTuple):
    """What a fit writes for every pattern; `parameters` and `local` are where it starts as well.

    ``prior`` is the variance of the pooled score that the deviations give it, ``(n, 8, 8)``, zero where none is free;
    the others are as in `cyclestrain.pattern.PatternFit`.
    """

    parameters: FloatArray
    local: FloatArray
    covariance: FloatArray
    misfit: FloatArray
    shift_score: FloatArray
    shift_information: FloatArray
    prior: FloatArray


@nb.njit(forceinline=True, error_model="numpy")
def _fit_some(
    first: int, last: int, counts: Any, origin: Any, model: Any, steps: Any, centre: Any, outcome: Any
) -> None:  # pragma: no cover - compiled
    """Fit patterns `first` to `last`, see `fit_patterns`, one after another in the same scratch space."""
    n_reflections = counts.shape[1]
    tables, grid, profile, reflections, intensity, spread, radius, floor, half = model
    centre_precision, scale, robust, max_shift, iterations, tolerance = steps
    parameters, local, covariance, misfit, shift_score, shift_information, prior = outcome
    n_pixels, size, stack = grid.shape[1], 2 * half + 1, counts.shape[2]
    margin = (stack - size) // 2
    support = grid[4]
    places = np.empty(n_pixels, np.int64)
    for k in range(n_pixels):
        places[k] = (half + int(grid[0, k])) * stack + half + int(grid[1, k])
    textured, sloped = spread[:, 5:].max() > 0, spread[:, 2:4].max() > 0
    n_local = N_LOCAL if textured else (N_PLAIN if sloped else 2)
    free, reach = np.empty(n_reflections, np.bool_), 1.0
    for g in range(n_reflections):
        reach = max(reach, np.hypot(reflections[g, 0], reflections[g, 1]))
        free[g] = spread[g, :4].max() > 0 or spread[g, 5:].max() > 0
    pixels = np.empty((n_reflections, 3, n_pixels), np.float32)
    shape, extra = np.empty((3, n_pixels), np.float32), np.zeros((9, n_pixels), np.float32)
    blended = shape.reshape(-1)
    place = np.empty((n_reflections, 2), np.int64)
    sums = np.zeros((N_COLUMNS, N_COLUMNS + 1), np.float32)
    normal, score = np.zeros((N_COLUMNS, N_COLUMNS)), np.zeros(N_COLUMNS)
    work, coupling = np.empty((n_local, n_local)), np.empty((n_local, 4))
    gains, precision = np.zeros((n_reflections, n_local, 5)), np.empty(N_LOCAL)
    pooled, pooled_score = np.empty((N_PARAMETERS, N_PARAMETERS)), np.empty(N_PARAMETERS)
    hessian, step = np.empty((N_PARAMETERS, N_PARAMETERS)), np.empty((N_PARAMETERS, 1))
    seen = np.zeros(n_reflections, np.bool_)
    scatter, to_score, nowhere = np.zeros((4, 4)), np.zeros((4, 2)), np.zeros(N_PARAMETERS)
    pooled_scatter = np.zeros((N_PARAMETERS, N_PARAMETERS))
    for n in range(first, last):
        place[:] = -(10**6)
        theta = parameters[n]
        pooled_scatter[:] = 0.0
        for iteration in range(iterations + 1):
            if iteration == iterations and tolerance > 0:
                break
            pooled[:] = 0.0
            pooled_score[:] = 0.0
            for g in range(n_reflections):
                gy, gx = reflections[g, 0], reflections[g, 1]
                py = theta[4] + theta[0] * gy + theta[1] * gx
                px = theta[5] + theta[2] * gy + theta[3] * gx
                ry, rx = int(np.rint(py)) - origin[n, g, 0], int(np.rint(px)) - origin[n, g, 1]
                ry, rx = min(max(ry, -margin), margin), min(max(rx, -margin), margin)
                fy, fx = py - (origin[n, g, 0] + ry), px - (origin[n, g, 1] + rx)
                seen[g] = abs(fy) < 1.0 and abs(fx) < 1.0
                misfit[n, g] = 0.0
                if not seen[g]:
                    continue
                if place[g, 0] != ry or place[g, 1] != rx:
                    place[g, 0], place[g, 1] = ry, rx
                    corner = (margin + ry) * stack + margin + rx
                    load_window(counts[n, g].reshape(-1), corner, places, support, pixels[g, 0], pixels[g, 1])
                    middle_y, middle_x = origin[n, g, 0] + ry - theta[4], origin[n, g, 1] + rx - theta[5]
                    radial(profile, middle_y, middle_x, grid, pixels[g, 2])
                brightness = theta[6] * intensity[g] + local[n, g, 0]
                blend(tables, fy, fx, blended)
                if textured:
                    add_contrast(local[n, g], fy, fx, radius, grid, shape, extra)
                chi, n_seen, inverse = core_products(
                    pixels[g], shape, grid, local[n, g], brightness, theta[7], floor, sums
                )
                if n_local > 2:
                    other_products(
                        pixels[g], shape, extra, grid, local[n, g], brightness, theta[7], floor, 2 + n_local, sums
                    )
                misfit[n, g, 0], misfit[n, g, 1], misfit[n, g, 2] = chi, n_seen, inverse
                if n_seen < 0.4 * size * size * 0.78:
                    seen[g] = False
                    continue
                # Prior widths are relative to the shared intensity; information is in units of the noise scale.
                weight = 1.0 / scale
                # Pearson's chi-square of Poisson counts has variance sum(2 + 1 / expected).
                if robust and chi > scale * (n_seen + 4.0 * np.sqrt(2.0 * n_seen + inverse * scale)):
                    weight = n_seen / chi
                if textured:  # constants let the compiler unroll the loops
                    scale_sums(sums, weight, brightness, theta[7], 2 + N_LOCAL, normal, score)
                elif sloped:
                    scale_sums(sums, weight, brightness, theta[7], 2 + N_PLAIN, normal, score)
                else:
                    scale_sums(sums, weight, brightness, theta[7], 4, normal, score)
                if free[g]:
                    for i in range(n_local):
                        width = spread[g, _WIDTH[i]] * (theta[6] * intensity[g] if i == 0 else 1.0)
                        precision[i] = 1.0 / (width * width) if width > 0 else np.inf
                    if textured:
                        _eliminate(normal, score, precision, local[n, g], N_LOCAL, work, coupling, gains[g])
                    elif sloped:
                        _eliminate(normal, score, precision, local[n, g], N_PLAIN, work, coupling, gains[g])
                    else:
                        _eliminate(normal, score, precision, local[n, g], 2, work, coupling, gains[g])
                for i in range(2):
                    shift_score[n, g, i] = score[i]
                    for j in range(2):
                        shift_information[n, g, i, j] = normal[i, j]
                if iteration == iterations and (free[g] or spread[g, 4] > 0):
                    n_free = n_local if free[g] else 0
                    _from_priors(normal, precision, gains[g], n_free, spread[g, 4], to_score, scatter)
                    _pool(gy, gx, intensity[g], theta[7], scatter, nowhere, pooled_scatter, nowhere)
                if spread[g, 4] > 0:
                    _soften(normal, score, spread[g, 4])
                _pool(gy, gx, intensity[g], theta[7], normal, score, pooled, pooled_score)
            for a in range(N_PARAMETERS):
                step[_POOLED[a], 0] = pooled_score[a]
                for b in range(a, N_PARAMETERS):
                    hessian[_POOLED[a], _POOLED[b]] = hessian[_POOLED[b], _POOLED[a]] = pooled[a, b]
            for i in range(2):
                hessian[4 + i, 4 + i] += centre_precision
                step[4 + i, 0] += centre_precision * (centre[n, i] - theta[4 + i])
            # A vanishing ridge keeps parameters that the data do not see (no background, no disk) at rest.
            for a in range(N_PARAMETERS):
                hessian[a, a] = hessian[a, a] * (1.0 + 1e-9) + 1e-12
            if iteration == iterations:
                for a in range(N_PARAMETERS):
                    for b in range(a, N_PARAMETERS):
                        prior[n, _POOLED[a], _POOLED[b]] = prior[n, _POOLED[b], _POOLED[a]] = pooled_scatter[a, b]
                for a in range(N_PARAMETERS):
                    for b in range(N_PARAMETERS):
                        covariance[n, a, b] = 1.0 if a == b else 0.0
                if not cholesky_solve(hessian, covariance[n], N_PARAMETERS, N_PARAMETERS):
                    covariance[n] = np.nan
                break
            if not cholesky_solve(hessian, step, N_PARAMETERS, 1):
                break
            largest = max(abs(step[4, 0]), abs(step[5, 0]))
            for i in range(4):
                largest = max(largest, abs(step[i, 0]) * reach)
            damping = min(1.0, max_shift / largest) if largest > 0 else 1.0
            for g in range(n_reflections):
                if seen[g] and free[g]:
                    _move_deviations(
                        local[n, g], gains[g], step[:, 0], damping, reflections[g, 0], reflections[g, 1],
                        intensity[g], theta,
                    )  # fmt: skip
            for a in range(6):
                theta[a] += damping * step[a, 0]
            theta[6] = max(theta[6] + damping * step[6, 0], 0.02 * theta[6])
            theta[7] = max(theta[7] + damping * step[7, 0], 0.02 * theta[7])
            if largest < tolerance:
                break


@nb.njit(parallel=True, cache=True)
def fit_patterns(
    counts: Any, origin: Any, model: Any, steps: Any, centre: Any, outcome: Any
) -> None:  # pragma: no cover - compiled
    """Fisher-scoring steps for many patterns, see `Outcome` and `cyclestrain.pattern.refine`."""
    n = len(counts)
    for block in nb.prange((n + _TOGETHER - 1) // _TOGETHER):
        _fit_some(block * _TOGETHER, min((block + 1) * _TOGETHER, n), counts, origin, model, steps, centre, outcome)
