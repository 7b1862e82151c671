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
from cyclestrain.model.windows import LEAST_VALUE

__all__ = ["N_LOCAL", "N_PARAMETERS", "Model", "Outcome", "Steps", "cholesky_solve", "fit_patterns"]

N_PARAMETERS = 8
N_LOCAL = 9
"""Deviations of one reflection: intensity, level, slope y, x, and contrast: slope y, x, bowl, two saddles."""
N_PLAIN = 4
"""Those that are fitted where disks are flat inside."""
STEEPEST = 2.0
"""Largest weight of a mode of contrast: a disk that is dark on one side has a slope of one."""
_WIDTH = np.array([0, 1, 2, 3, 5, 5, 6, 7, 7])
"""Column of the prior widths for each deviation."""
_MODES = np.array(
    [[0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [-0.5, 0, 0, 1, 1, 0], [0, 0, 0, 1, -1, 0], [0, 0, 0, 0, 0, 2]], np.float32
)
"""Modes of contrast: their coefficients of 1, u, v, u^2, v^2 and uv."""
_POOLED = np.array([0, 1, 4, 2, 3, 5, 6, 7])
"""Parameters in the order in which a reflection's shift y and x, its intensity and its level act on them."""
_COLUMNS = 2 + N_LOCAL
"""Shift y, x, and the deviations."""
_TOGETHER = 8
"""Patterns that one thread fits before it takes others: they share its scratch space."""


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _load(window: Any, start: int, places: Any, support: Any, values: Any, used: Any) -> None:  # pragma: no cover
    """Copy the pixels of a flat stack window that are compared; masked pixels get no weight."""
    for k in range(support.shape[0]):
        values[k] = window[start + places[k]]
    for k in range(support.shape[0]):
        used[k] = support[k] if values[k] > LEAST_VALUE else np.float32(0.0)
    for k in range(support.shape[0]):
        values[k] = max(values[k], LEAST_VALUE) * used[k]


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _radial(profile: Any, oy: float, ox: float, grid: Any, out: Any) -> None:  # pragma: no cover
    """Radial profile (1 px steps) at the pixels of a window whose middle is ``(oy, ox)`` from the centre."""
    last = np.float32(profile.shape[0] - 1.001)
    rows, columns, y0, x0 = grid[0], grid[1], np.float32(oy), np.float32(ox)
    for k in range(out.shape[0]):
        y, x = y0 + rows[k], x0 + columns[k]
        out[k] = min(np.sqrt(y * y + x * x), last)
    for k in range(out.shape[0]):  # a loop of its own: look-ups bar vectorisation
        i = np.uint32(out[k])
        low, high = profile[i], profile[i + np.uint32(1)]
        out[k] = low + (out[k] - np.float32(i)) * (high - low)


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _blend(tables: Any, fy: float, fx: float, out: Any) -> None:  # pragma: no cover
    """Disk and its derivatives with the disk ``(fy, fx)`` off the central pixel, between four phases of the tables."""
    phases = tables.shape[0]
    ty = min(max((fy + 0.5) * (phases - 1), 0.0), phases - 1.001)
    tx = min(max((fx + 0.5) * (phases - 1), 0.0), phases - 1.001)
    iy, ix = int(ty), int(tx)
    wy, wx = np.float32(ty - iy), np.float32(tx - ix)
    one = np.float32(1.0)
    w00, w01 = (one - wy) * (one - wx), (one - wy) * wx
    w10, w11 = wy * (one - wx), wy * wx
    t00, t01, t10, t11 = tables[iy, ix], tables[iy, ix + 1], tables[iy + 1, ix], tables[iy + 1, ix + 1]
    for k in range(out.shape[0]):
        out[k] = w00 * t00[k] + w01 * t01[k] + w10 * t10[k] + w11 * t11[k]


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _quadratic(c: Any, grid: Any, fy: float, fx: float, radius: float, out: Any) -> None:  # pragma: no cover
    """Second-order polynomial of the offset from the disk's middle in units of its radius."""
    scale, y, x = np.float32(1.0 / radius), np.float32(fy), np.float32(fx)
    rows, columns = grid[0], grid[1]
    c0, c1, c2, c3, c4, c5 = c[0], c[1], c[2], c[3], c[4], c[5]
    for k in range(out.shape[0]):
        u, v = (rows[k] - y) * scale, (columns[k] - x) * scale
        out[k] = c0 + u * (c1 + c3 * u + c5 * v) + v * (c2 + c4 * v)


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _contrast(
    local: Any, fy: float, fx: float, radius: float, grid: Any, shape: Any, extra: Any
) -> None:  # pragma: no cover
    """Give the disk and its derivatives, rows of `shape`, a contrast, and put what its modes add into `extra`."""
    disk, texture = shape[0], extra[5]
    coefficients = np.zeros(6, np.float32)
    coefficients[0] = 1.0
    for m in range(N_LOCAL - N_PLAIN):
        mode = extra[m]
        _quadratic(_MODES[m], grid, fy, fx, radius, mode)
        for k in range(mode.shape[0]):
            mode[k] *= disk[k]
        for i in range(6):
            coefficients[i] += np.float32(local[N_PLAIN + m]) * _MODES[m, i]
    _quadratic(coefficients, grid, fy, fx, radius, texture)
    for i in range(3):
        part = shape[i]
        for k in range(part.shape[0]):
            part[k] *= texture[k]


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _core(
    pixels: Any, shape: Any, grid: Any, local: Any, amplitude: float, level: float, floor: float, sums: Any
) -> Any:  # pragma: no cover
    """Products of shift y, x, intensity, level and residual over the variance, summed over pixels, into `sums`.

    Returns (Pearson chi-square, pixels, sum of 1 / expected counts). All sums in one loop: with fewer, loads and
    horizontal sums would take most of the time. Nothing is stored in the loop: it would not be vectorised.
    """
    values, used, background = pixels[0], pixels[1], pixels[2]
    disk, dy, dx = shape[0], shape[1], shape[2]
    u, v = grid[2], grid[3]
    bright, least = np.float32(amplitude), np.float32(floor)
    l0, l1, l2 = _plane(local, level)
    yy = yx = yd = yb = xx = xd = xb = dd = db = bb = np.float32(0.0)
    yr = xr = dr = br = chi = seen = inverse = np.float32(0.0)
    for k in range(values.shape[0]):
        y, x, d, b = dy[k], dx[k], disk[k], background[k]
        expected = b * (l0 + u[k] * l1 + v[k] * l2) + bright * d
        weight = used[k] / max(expected, least)
        r = values[k] - expected
        wy, wx, wd, wb = weight * y, weight * x, weight * d, weight * b
        yy += wy * y
        yx += wy * x
        yd += wy * d
        yb += wy * b
        yr += wy * r
        xx += wx * x
        xd += wx * d
        xb += wx * b
        xr += wx * r
        dd += wd * d
        db += wd * b
        dr += wd * r
        bb += wb * b
        br += wb * r
        chi += weight * r * r
        seen += used[k]
        inverse += weight
    sums[0, 0], sums[0, 1], sums[0, 2], sums[0, 3], sums[0, _COLUMNS] = yy, yx, yd, yb, yr
    sums[1, 1], sums[1, 2], sums[1, 3], sums[1, _COLUMNS] = xx, xd, xb, xr
    sums[2, 2], sums[2, 3], sums[2, _COLUMNS] = dd, db, dr
    sums[3, 3], sums[3, _COLUMNS] = bb, br
    return chi, seen, inverse


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _plane(local: Any, level: float) -> Any:  # pragma: no cover
    """Background over its radial profile: middle of the window, and slopes towards its edges."""
    return np.float32(level * (1.0 + local[1])), np.float32(level * local[2]), np.float32(level * local[3])


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _pair(a: Any, b: Any, weights: Any, others: Any) -> Any:  # pragma: no cover
    """Products of two rows with seven others, times `weights`, summed over pixels; see `_core`."""
    r0, r1, r2, r3, r4, r5, r6 = others
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = b0 = b1 = b2 = b3 = b4 = b5 = b6 = np.float32(0.0)
    for k in range(weights.shape[0]):
        wa, wb = weights[k] * a[k], weights[k] * b[k]
        a0 += wa * r0[k]
        a1 += wa * r1[k]
        a2 += wa * r2[k]
        a3 += wa * r3[k]
        a4 += wa * r4[k]
        a5 += wa * r5[k]
        a6 += wa * r6[k]
        b0 += wb * r0[k]
        b1 += wb * r1[k]
        b2 += wb * r2[k]
        b3 += wb * r3[k]
        b4 += wb * r4[k]
        b5 += wb * r5[k]
        b6 += wb * r6[k]
    return (a0, a1, a2, a3, a4, a5, a6), (b0, b1, b2, b3, b4, b5, b6)


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _rest(
    pixels: Any,
    shape: Any,
    extra: Any,
    grid: Any,
    local: Any,
    amplitude: float,
    level: float,
    floor: float,
    n_columns: int,
    sums: Any,
) -> None:  # pragma: no cover
    """Products of the other derivatives with all, see `_core`."""
    values, used, background = pixels[0], pixels[1], pixels[2]
    disk, u, v = shape[0], grid[2], grid[3]
    weights, residual, slope_y, slope_x = extra[5], extra[6], extra[7], extra[8]
    bright, least = np.float32(amplitude), np.float32(floor)
    l0, l1, l2 = _plane(local, level)
    for k in range(values.shape[0]):  # loops with one store each are vectorised
        weights[k] = background[k] * (l0 + u[k] * l1 + v[k] * l2) + bright * disk[k]
    for k in range(values.shape[0]):
        residual[k] = values[k] - weights[k]
    for k in range(values.shape[0]):
        weights[k] = used[k] / max(weights[k], least)
    for k in range(values.shape[0]):
        slope_y[k] = background[k] * u[k]
    for k in range(values.shape[0]):
        slope_x[k] = background[k] * v[k]
    for i in range(4, n_columns, 2):
        j = min(i + 1, n_columns - 1)
        a, b = (slope_y, slope_x) if i == 4 else (extra[i - 6], extra[j - 6])
        of_a, of_b = _pair(a, b, weights, (shape[1], shape[2], disk, background, slope_y, slope_x, residual))
        for m in range(6):
            sums[min(m, i), max(m, i)], sums[min(m, j), max(m, j)] = of_a[m], of_b[m]
        sums[i, _COLUMNS], sums[j, _COLUMNS] = of_a[6], of_b[6]
        if i >= 6:
            of_a, of_b = _pair(a, b, weights, (extra[0], extra[1], extra[2], extra[3], extra[4], extra[4], extra[4]))
            for m in range(5):
                sums[min(m + 6, i), max(m + 6, i)], sums[min(m + 6, j), max(m + 6, j)] = of_a[m], of_b[m]


@nb.njit(forceinline=True, error_model="numpy")
def _scale(
    sums: Any, weight: float, amplitude: float, level: float, n_columns: int, normal: Any, score: Any
) -> None:  # pragma: no cover
    """Information and score of one reflection from sums of products; background is relative to `level` from here on."""
    for i in range(n_columns):
        one = weight * _unit(i, amplitude, level)
        score[i] = one * sums[i, _COLUMNS]
        for j in range(i, n_columns):
            normal[i, j] = normal[j, i] = one * _unit(j, amplitude, level) * sums[i, j]


@nb.njit(forceinline=True, error_model="numpy")
def _unit(column: int, amplitude: float, level: float) -> float:  # pragma: no cover
    """Factor between a derivative and its row."""
    if column == 2:
        return 1.0
    return level if 3 <= column < 6 else amplitude


@nb.njit(forceinline=True)
def cholesky_solve(matrix: Any, rhs: Any, n: int, m: int) -> bool:  # pragma: no cover
    """Solve in place for `m` right-hand sides ``rhs[:n, :m]``; False if not positive definite."""
    for j in range(n):
        d = matrix[j, j]
        for k in range(j):
            d -= matrix[j, k] * matrix[j, k]
        if d <= 1e-12 * abs(matrix[j, j]) or not np.isfinite(d) or d <= 0:
            return False
        d = np.sqrt(d)
        matrix[j, j] = d
        for i in range(j + 1, n):
            t = matrix[i, j]
            for k in range(j):
                t -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = t / d
    for c in range(m):
        for i in range(n):
            t = rhs[i, c]
            for k in range(i):
                t -= matrix[i, k] * rhs[k, c]
            rhs[i, c] = t / matrix[i, i]
        for i in range(n - 1, -1, -1):
            t = rhs[i, c]
            for k in range(i + 1, n):
                t -= matrix[k, i] * rhs[k, c]
            rhs[i, c] = t / matrix[i, i]
    return True


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

    ``tables`` and ``grid`` are those of `cyclestrain.refine`, the background is a radial profile, windows
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
    the others are as in `cyclestrain.refine.PatternFit`.
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
    sums = np.zeros((_COLUMNS, _COLUMNS + 1), np.float32)
    normal, score = np.zeros((_COLUMNS, _COLUMNS)), np.zeros(_COLUMNS)
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
                    _load(counts[n, g].reshape(-1), corner, places, support, pixels[g, 0], pixels[g, 1])
                    middle_y, middle_x = origin[n, g, 0] + ry - theta[4], origin[n, g, 1] + rx - theta[5]
                    _radial(profile, middle_y, middle_x, grid, pixels[g, 2])
                brightness = theta[6] * intensity[g] + local[n, g, 0]
                _blend(tables, fy, fx, blended)
                if textured:
                    _contrast(local[n, g], fy, fx, radius, grid, shape, extra)
                chi, n_seen, inverse = _core(pixels[g], shape, grid, local[n, g], brightness, theta[7], floor, sums)
                if n_local > 2:
                    _rest(pixels[g], shape, extra, grid, local[n, g], brightness, theta[7], floor, 2 + n_local, sums)
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
                    _scale(sums, weight, brightness, theta[7], 2 + N_LOCAL, normal, score)
                elif sloped:
                    _scale(sums, weight, brightness, theta[7], 2 + N_PLAIN, normal, score)
                else:
                    _scale(sums, weight, brightness, theta[7], 4, normal, score)
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
    """Fisher-scoring steps for many patterns, see `Outcome` and `cyclestrain.refine.refine`."""
    n = len(counts)
    for block in nb.prange((n + _TOGETHER - 1) // _TOGETHER):
        _fit_some(block * _TOGETHER, min((block + 1) * _TOGETHER, n), counts, origin, model, steps, centre, outcome)
