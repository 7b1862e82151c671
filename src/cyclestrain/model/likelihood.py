r"""Poisson likelihood of one pattern given a dictionary entry, and Fisher-scoring steps towards its maximum.

The expected counts at detector pixel `p` in the window of reflection `g` are

.. math:: \lambda(p) = \beta B(|p - c|) (1 + \beta_g + s_g \cdot u) + (a I_g + \delta_g) P(p - c - A g)

with the probe `P`, the radial background `B`, the affine `A` of the pattern, its beam centre `c`, gain `a`,
background level :math:`\beta`, and, per reflection, the deviations :math:`\delta_g, \beta_g, s_g` of intensity,
background level and background slope (`u`: offset from the window's centre in units of its half width).
The deviations have Gaussian priors whose widths were learned from the data (`Priors`): zero where all patterns share
their intensities, wide where thickness and tilt change them from place to place.

Each reflection reports a 6x6 information matrix over (shift y, shift x, intensity, level, slope y, slope x). Its
own deviations are eliminated (Schur complement), as is a wandering of its position that the lattice does not explain
(contrast inside the disk, another crystal), and what is left is pooled into the 8 parameters of the pattern:
``A_yy, A_yx, A_xy, A_xx, c_y, c_x, a, beta``.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

__all__ = ["N_LOCAL", "N_PARAMETERS", "cholesky_solve", "fit_patterns"]

N_PARAMETERS = 8
N_LOCAL = 4
_MASKED = -1e29


@nb.njit(fastmath=True, inline="always", error_model="numpy")
def _load(counts: Any, start_y: int, start_x: int, support: Any, values: Any, used: Any) -> None:  # pragma: no cover
    """Copy the part of a stack window that the probe covers; masked pixels get no weight."""
    size = support.shape[0]
    for i in range(size):
        for j in range(size):
            value = counts[start_y + i, start_x + j]
            k = i * size + j
            good = support[i, j] if value > _MASKED else np.float32(0.0)
            used[k] = good
            values[k] = value if good > 0 else np.float32(0.0)


@nb.njit(fastmath=True, inline="always", error_model="numpy")
def _radial(profile: Any, oy: float, ox: float, size: int, out: Any) -> None:  # pragma: no cover
    """Radial profile (1 px steps) on a window whose first pixel is ``(oy, ox)`` from the centre."""
    last = np.float32(profile.shape[0] - 1.001)
    for i in range(size):
        y2 = np.float32(oy + i) * np.float32(oy + i)
        for j in range(size):
            x = np.float32(ox + j)
            r = min(np.sqrt(y2 + x * x), last)
            k = int(r)
            f = r - np.float32(k)
            out[i * size + j] = profile[k] + f * (profile[k + 1] - profile[k])


@nb.njit(fastmath=True, error_model="numpy")  # a branch on division by zero would bar vectorisation
def _information(
    values: Any,
    used: Any,
    background: Any,
    tables: Any,
    fy: float,
    fx: float,
    intensity: float,
    level: float,
    floor: float,
    local: Any,
    offsets: Any,
    sloped: bool,
    rows: Any,
    normal: Any,
    score: Any,
) -> Any:  # pragma: no cover
    """Information and score of one reflection; returns (Pearson chi-square, pixels, sum of 1 / expected counts).

    `rows` is scratch space, shape ``(7, pixel)``: the derivatives and the residual over the pixel's standard deviation.
    Their products are the information. Everything is float32 and in simple loops so that it is vectorised.
    """
    phases = tables.shape[1]
    ty = min(max((fy + 0.5) * (phases - 1), 0.0), phases - 1.001)
    tx = min(max((fx + 0.5) * (phases - 1), 0.0), phases - 1.001)
    iy, ix = int(ty), int(tx)
    wy, wx = np.float32(ty - iy), np.float32(tx - ix)
    one = np.float32(1.0)
    w00, w01 = (one - wy) * (one - wx), (one - wy) * wx
    w10, w11 = wy * (one - wx), wy * wx
    p00, p01, p10, p11 = tables[0, iy, ix], tables[0, iy, ix + 1], tables[0, iy + 1, ix], tables[0, iy + 1, ix + 1]
    y00, y01, y10, y11 = tables[1, iy, ix], tables[1, iy, ix + 1], tables[1, iy + 1, ix], tables[1, iy + 1, ix + 1]
    x00, x01, x10, x11 = tables[2, iy, ix], tables[2, iy, ix + 1], tables[2, iy + 1, ix], tables[2, iy + 1, ix + 1]
    amplitude, beta, least = np.float32(intensity), np.float32(level), np.float32(floor)
    l0, l1, l2 = np.float32(1.0 + local[1]), np.float32(local[2]), np.float32(local[3])
    n_pixels = values.shape[0]
    u, v = offsets[0], offsets[1]
    r0, r1, r2, r3, r4, r5, r6 = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6]
    pixels = inverse = np.float32(0.0)
    for k in range(n_pixels):
        probe = w00 * p00[k] + w01 * p01[k] + w10 * p10[k] + w11 * p11[k]
        b = beta * background[k]
        expected = b * (l0 + u[k] * l1 + v[k] * l2) + amplitude * probe
        weight = np.sqrt(used[k] / max(expected, least))
        r2[k] = weight * probe
        r3[k] = weight * background[k]
        r4[k] = weight * (values[k] - expected)
        r5[k] = weight
        pixels += used[k]
        inverse += weight * weight
    for k in range(n_pixels):
        weight = r5[k] * amplitude
        r0[k] = weight * (w00 * y00[k] + w01 * y01[k] + w10 * y10[k] + w11 * y11[k])
        r1[k] = weight * (w00 * x00[k] + w01 * x01[k] + w10 * x10[k] + w11 * x11[k])
    if sloped:
        for k in range(n_pixels):
            r5[k] = beta * r3[k] * u[k]
            r6[k] = beta * r3[k] * v[k]
    chi = np.float32(0.0)
    for k in range(n_pixels):
        chi += r4[k] * r4[k]
    for i in range(6):
        row_i = i if i < 4 else i + 1
        score[i] = 0.0
        for j in range(i, 6):
            normal[i, j] = normal[j, i] = 0.0
        if i >= 4 and not sloped:
            normal[i, i] = 1.0
            continue
        one_row = rows[row_i]
        total = np.float32(0.0)
        for k in range(n_pixels):
            total += one_row[k] * r4[k]
        score[i] = total
        for j in range(i, 6 if sloped else 4):
            other = rows[j if j < 4 else j + 1]
            total = np.float32(0.0)
            for k in range(n_pixels):
                total += one_row[k] * other[k]
            normal[i, j] = normal[j, i] = total
    return chi, pixels, inverse


@nb.njit
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


@nb.njit
def _eliminate(normal: Any, score: Any, precision: Any, local: Any, work: Any, gain: Any) -> None:  # pragma: no cover
    """Eliminate one reflection's deviations: `normal` and `score` become the pooled part, `gain` recovers them.

    `precision` are prior precisions of (intensity, level, slope y, slope x); infinity switches a deviation off.
    ``gain[i, :4]`` maps a step in (shift y, shift x, intensity, level) to deviation `i`, ``gain[i, 4]`` is the
    deviation's own step.
    """
    for i in range(N_LOCAL):
        free_i = np.isfinite(precision[i])
        for j in range(N_LOCAL):
            free = free_i and np.isfinite(precision[j])
            work[i, j] = normal[2 + i, 2 + j] if free else (1.0 if i == j else 0.0)
        if free_i:
            work[i, i] += precision[i] + 1e-12
        for j in range(4):
            gain[i, j] = normal[2 + i, j] if free_i else 0.0
        gain[i, 4] = score[2 + i] - precision[i] * local[i] if free_i else 0.0
    coupling = gain.copy()
    if not cholesky_solve(work, gain, N_LOCAL, 5):
        gain[:] = 0.0
    for i in range(4):
        for j in range(4):
            t = 0.0
            for k in range(N_LOCAL):
                t += coupling[k, i] * gain[k, j]
            normal[i, j] -= t
        t = 0.0
        for k in range(N_LOCAL):
            t += coupling[k, i] * gain[k, 4]
        score[i] -= t


@nb.njit
def _soften(normal: Any, score: Any, wander: float) -> None:  # pragma: no cover
    """Let one reflection wander from the lattice by `wander` pixels (standard deviation): it then says less."""
    tau = 1.0 / (wander * wander)
    a, b, c = normal[0, 0] + tau, normal[0, 1], normal[1, 1] + tau
    determinant = a * c - b * b
    y, x = normal[0].copy(), normal[1].copy()  # symmetric: rows are columns
    sy, sx = score[0], score[1]
    for i in range(4):
        gy, gx = (c * y[i] - b * x[i]) / determinant, (a * x[i] - b * y[i]) / determinant
        score[i] -= gy * sy + gx * sx
        for j in range(4):
            normal[i, j] -= gy * y[j] + gx * x[j]


@nb.njit(parallel=True, cache=True, error_model="numpy")
def fit_patterns(
    counts: Any,
    origin: Any,
    tables: Any,
    support: Any,
    profile: Any,
    reflections: Any,
    intensity: Any,
    spread: Any,
    centre: Any,
    centre_precision: float,
    scale: float,
    floor: float,
    robust: bool,
    max_shift: float,
    iterations: int,
    parameters: Any,
    local: Any,
    covariance: Any,
    misfit: Any,
    shift_score: Any,
    shift_information: Any,
) -> None:  # pragma: no cover - compiled
    """Fisher-scoring steps for many patterns; `parameters`, `local` are start values and results.

    See `cyclestrain.refine.refine` for shapes and meaning.
    """
    n_patterns, n_reflections = counts.shape[:2]
    size, stack = support.shape[0], counts.shape[2]
    half, margin = size // 2, (stack - size) // 2
    offsets = np.empty((2, size * size), np.float32)
    for k in range(size * size):
        offsets[0, k] = (k // size - half) / max(half, 1)
        offsets[1, k] = (k % size - half) / max(half, 1)
    sloped = spread[:, 2:4].max() > 0
    reach = 1.0
    for g in range(n_reflections):
        reach = max(reach, np.hypot(reflections[g, 0], reflections[g, 1]))
    for n in nb.prange(n_patterns):
        values = np.empty((n_reflections, size * size), np.float32)
        used = np.empty((n_reflections, size * size), np.float32)
        background = np.empty((n_reflections, size * size), np.float32)
        rows = np.empty((7, size * size), np.float32)
        place = np.full((n_reflections, 2), -(10**6), np.int64)
        normal, score = np.empty((6, 6)), np.empty(6)
        work, gains = np.empty((N_LOCAL, N_LOCAL)), np.zeros((n_reflections, N_LOCAL, 5))
        design = np.zeros((4, N_PARAMETERS))
        precision = np.empty(N_LOCAL)
        theta = parameters[n]
        seen = np.zeros(n_reflections, np.bool_)
        for iteration in range(iterations + 1):
            hessian, rhs = np.zeros((N_PARAMETERS, N_PARAMETERS)), np.zeros((N_PARAMETERS, 1))
            for i in range(2):
                hessian[4 + i, 4 + i] += centre_precision
                rhs[4 + i, 0] += centre_precision * (centre[n, i] - theta[4 + i])
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
                    _load(counts[n, g], margin + ry, margin + rx, support, values[g], used[g])
                    corner_y = origin[n, g, 0] + ry - half - theta[4]
                    corner_x = origin[n, g, 1] + rx - half - theta[5]
                    _radial(profile, corner_y, corner_x, size, background[g])
                brightness = theta[6] * intensity[g] + local[n, g, 0]
                chi, pixels, inverse = _information(
                    values[g], used[g], background[g], tables, fy, fx, brightness, theta[7],
                    floor, local[n, g], offsets, sloped, rows, normal, score,
                )  # fmt: skip
                misfit[n, g, 0], misfit[n, g, 1], misfit[n, g, 2] = chi, pixels, inverse
                if pixels < 0.4 * size * size * 0.78:
                    seen[g] = False
                    continue
                # Prior widths are relative to the shared intensity; information is in units of the noise scale.
                weight = 1.0 / scale
                # Pearson's chi-square of Poisson counts has variance sum(2 + 1 / expected).
                if robust and chi > scale * (pixels + 4.0 * np.sqrt(2.0 * pixels + inverse * scale)):
                    weight = pixels / chi
                for i in range(6):
                    score[i] *= weight
                    for j in range(6):
                        normal[i, j] *= weight
                for i in range(N_LOCAL):
                    width = spread[g, i] * (theta[6] * intensity[g] if i == 0 else 1.0)
                    precision[i] = 1.0 / (width * width) if width > 0 else np.inf
                # normal's level column is d lambda / d beta; the local level is relative to beta.
                for i in range(6):
                    if i != 3:
                        normal[i, 3] *= theta[7]
                        normal[3, i] *= theta[7]
                normal[3, 3] *= theta[7] * theta[7]
                score[3] *= theta[7]
                _eliminate(normal, score, precision, local[n, g], work, gains[g])
                for i in range(2):
                    shift_score[n, g, i] = score[i]
                    for j in range(2):
                        shift_information[n, g, i, j] = normal[i, j]
                if spread[g, 4] > 0:
                    _soften(normal, score, spread[g, 4])
                design[0, 0], design[0, 1], design[0, 4] = gy, gx, 1.0
                design[1, 2], design[1, 3], design[1, 5] = gy, gx, 1.0
                design[2, 6] = intensity[g]
                design[3, 7] = 1.0 / max(theta[7], 1e-12)
                for i in range(4):
                    for a in range(N_PARAMETERS):
                        if design[i, a] == 0.0:
                            continue
                        rhs[a, 0] += design[i, a] * score[i]
                        for j in range(4):
                            for b in range(N_PARAMETERS):
                                hessian[a, b] += design[i, a] * normal[i, j] * design[j, b]
            # A vanishing ridge keeps parameters that the data do not see (no background, no disk) at rest.
            for a in range(N_PARAMETERS):
                hessian[a, a] = hessian[a, a] * (1.0 + 1e-9) + 1e-12
            if iteration == iterations:
                for a in range(N_PARAMETERS):
                    for b in range(N_PARAMETERS):
                        covariance[n, a, b] = 1.0 if a == b else 0.0
                if not cholesky_solve(hessian, covariance[n], N_PARAMETERS, N_PARAMETERS):
                    covariance[n] = np.nan
                break
            if not cholesky_solve(hessian, rhs, N_PARAMETERS, 1):
                break
            largest = 0.0
            for i in range(4):
                largest = max(largest, abs(rhs[i, 0]) * reach)
            largest = max(largest, max(abs(rhs[4, 0]), abs(rhs[5, 0])))
            damping = min(1.0, max_shift / largest) if largest > 0 else 1.0
            for g in range(n_reflections):
                if not seen[g]:
                    continue
                gy, gx = reflections[g, 0], reflections[g, 1]
                d0 = rhs[4, 0] + rhs[0, 0] * gy + rhs[1, 0] * gx
                d1 = rhs[5, 0] + rhs[2, 0] * gy + rhs[3, 0] * gx
                d2, d3 = rhs[6, 0] * intensity[g], rhs[7, 0] / max(theta[7], 1e-12)
                for i in range(N_LOCAL):
                    step = gains[g, i, 4] - (gains[g, i, 0] * d0 + gains[g, i, 1] * d1 + gains[g, i, 2] * d2)
                    step -= gains[g, i, 3] * d3
                    local[n, g, i] += damping * step
                local[n, g, 0] = max(local[n, g, 0], -theta[6] * intensity[g])
                local[n, g, 1] = min(max(local[n, g, 1], -0.9), 9.0)
            for a in range(6):
                theta[a] += damping * rhs[a, 0]
            theta[6] = max(theta[6] + damping * rhs[6, 0], 0.02 * theta[6])
            theta[7] = max(theta[7] + damping * rhs[7, 0], 0.02 * theta[7])
