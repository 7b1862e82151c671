r"""Poisson likelihood of one pattern given a dictionary entry, and Fisher-scoring steps towards its maximum.

The expected counts at detector pixel `p` in the window of reflection `g` are

.. math:: \lambda(p) = \beta B(|p - c|) (1 + \beta_g + s_g \cdot u) + (a I_g + \delta_g) P(p - c - A g)

with the probe `P`, the radial background `B`, the affine `A` of the pattern, its beam centre `c`, gain `a`,
background level :math:`\beta`, and, per reflection, the deviations :math:`\delta_g, \beta_g, s_g` of intensity,
background level and background slope (`u`: offset from the window's centre in units of its half width).
The deviations have Gaussian priors whose widths were learned from the data (`Priors`): zero where all patterns share
their intensities, wide where thickness and tilt change them from place to place.

Each reflection reports a 6x6 information matrix over (shift y, shift x, intensity, level, slope y, slope x). Its
own deviations are eliminated (Schur complement), what is left is pooled into the 8 parameters of the pattern:
``A_yy, A_yx, A_xy, A_xx, c_y, c_x, a, beta``.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

__all__ = ["N_LOCAL", "N_PARAMETERS", "fit_patterns"]

N_PARAMETERS = 8
N_LOCAL = 4
_MASKED = -1e29


@nb.njit(fastmath=True, inline="always")
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


@nb.njit(fastmath=True, inline="always")
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


@nb.njit(fastmath=True)
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
    normal: Any,
    score: Any,
) -> tuple[float, float]:  # pragma: no cover
    """Information and score of one reflection; returns (Pearson chi-square, pixels)."""
    phases = tables.shape[1]
    ty = min(max((fy + 0.5) * (phases - 1), 0.0), phases - 1.001)
    tx = min(max((fx + 0.5) * (phases - 1), 0.0), phases - 1.001)
    iy, ix = int(ty), int(tx)
    wy, wx = np.float32(ty - iy), np.float32(tx - ix)
    w00, w01 = (1 - wy) * (1 - wx), (1 - wy) * wx
    w10, w11 = wy * (1 - wx), wy * wx
    p00, p01, p10, p11 = tables[0, iy, ix], tables[0, iy, ix + 1], tables[0, iy + 1, ix], tables[0, iy + 1, ix + 1]
    y00, y01, y10, y11 = tables[1, iy, ix], tables[1, iy, ix + 1], tables[1, iy + 1, ix], tables[1, iy + 1, ix + 1]
    x00, x01, x10, x11 = tables[2, iy, ix], tables[2, iy, ix + 1], tables[2, iy + 1, ix], tables[2, iy + 1, ix + 1]
    amplitude, beta, least = np.float32(intensity), np.float32(level), np.float32(floor)
    l0, l1, l2 = np.float32(1.0 + local[1]), np.float32(local[2]), np.float32(local[3])
    zero = np.float32(0.0)
    n00 = n01 = n02 = n03 = n04 = n05 = n11 = n12 = n13 = n14 = n15 = zero
    n22 = n23 = n24 = n25 = n33 = n34 = n35 = n44 = n45 = n55 = zero
    s0 = s1 = s2 = s3 = s4 = s5 = chi = pixels = zero
    for k in range(values.shape[0]):
        u, v = offsets[0, k], offsets[1, k]
        probe = w00 * p00[k] + w01 * p01[k] + w10 * p10[k] + w11 * p11[k]
        gy = amplitude * (w00 * y00[k] + w01 * y01[k] + w10 * y10[k] + w11 * y11[k])
        gx = amplitude * (w00 * x00[k] + w01 * x01[k] + w10 * x10[k] + w11 * x11[k])
        b = background[k]
        bu, bv = beta * b * u, beta * b * v
        bb = beta * b
        expected = bb * l0 + bu * l1 + bv * l2 + amplitude * probe
        weight = used[k] / max(expected, least)
        residual = values[k] - expected
        wgy, wgx, wp, wb = weight * gy, weight * gx, weight * probe, weight * b
        n00 += wgy * gy
        n01 += wgy * gx
        n02 += wgy * probe
        n03 += wgy * b
        n04 += wgy * bu
        n05 += wgy * bv
        n11 += wgx * gx
        n12 += wgx * probe
        n13 += wgx * b
        n14 += wgx * bu
        n15 += wgx * bv
        n22 += wp * probe
        n23 += wp * b
        n24 += wp * bu
        n25 += wp * bv
        n33 += wb * b
        n34 += wb * bu
        n35 += wb * bv
        n44 += weight * bu * bu
        n45 += weight * bu * bv
        n55 += weight * bv * bv
        s0 += wgy * residual
        s1 += wgx * residual
        s2 += wp * residual
        s3 += wb * residual
        s4 += weight * bu * residual
        s5 += weight * bv * residual
        chi += weight * residual * residual
        pixels += used[k]
    normal[0, 0], normal[0, 1], normal[0, 2], normal[0, 3], normal[0, 4], normal[0, 5] = n00, n01, n02, n03, n04, n05
    normal[1, 1], normal[1, 2], normal[1, 3], normal[1, 4], normal[1, 5] = n11, n12, n13, n14, n15
    normal[2, 2], normal[2, 3], normal[2, 4], normal[2, 5] = n22, n23, n24, n25
    normal[3, 3], normal[3, 4], normal[3, 5] = n33, n34, n35
    normal[4, 4], normal[4, 5], normal[5, 5] = n44, n45, n55
    for i in range(6):
        for j in range(i):
            normal[i, j] = normal[j, i]
    score[0], score[1], score[2], score[3], score[4], score[5] = s0, s1, s2, s3, s4, s5
    return chi, pixels


@nb.njit
def _cholesky_solve(matrix: Any, rhs: Any, n: int, m: int) -> bool:  # pragma: no cover
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
    if not _cholesky_solve(work, gain, N_LOCAL, 5):
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


@nb.njit(parallel=True, cache=True)
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
    reach = 1.0
    for g in range(n_reflections):
        reach = max(reach, np.hypot(reflections[g, 0], reflections[g, 1]))
    for n in nb.prange(n_patterns):
        values = np.empty((n_reflections, size * size), np.float32)
        used = np.empty((n_reflections, size * size), np.float32)
        background = np.empty((n_reflections, size * size), np.float32)
        place = np.full((n_reflections, 2), -(10**6), np.int64)
        normal, score = np.empty((6, 6)), np.empty(6)
        work, gains = np.empty((N_LOCAL, N_LOCAL)), np.zeros((n_reflections, N_LOCAL, 5))
        design = np.zeros((4, N_PARAMETERS))
        precision = np.empty(N_LOCAL)
        theta = parameters[n]
        seen = np.zeros(n_reflections, nb.boolean)
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
                misfit[n, g, 0], misfit[n, g, 1] = 0.0, 0.0
                if not seen[g]:
                    continue
                if place[g, 0] != ry or place[g, 1] != rx:
                    place[g, 0], place[g, 1] = ry, rx
                    _load(counts[n, g], margin + ry, margin + rx, support, values[g], used[g])
                    corner_y = origin[n, g, 0] + ry - half - theta[4]
                    corner_x = origin[n, g, 1] + rx - half - theta[5]
                    _radial(profile, corner_y, corner_x, size, background[g])
                brightness = theta[6] * intensity[g] + local[n, g, 0]
                chi, pixels = _information(
                    values[g], used[g], background[g], tables, fy, fx, brightness, theta[7],
                    floor, local[n, g], offsets, normal, score,
                )  # fmt: skip
                misfit[n, g, 0], misfit[n, g, 1] = chi, pixels
                if pixels < 0.4 * size * size * 0.78:
                    seen[g] = False
                    continue
                # Prior widths are relative to the shared intensity; information is in units of the noise scale.
                weight = 1.0 / scale
                if robust and chi > scale * (pixels + 3.0 * np.sqrt(2.0 * pixels)):
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
                for i in range(2):
                    shift_score[n, g, i] = score[i]
                    for j in range(2):
                        shift_information[n, g, i, j] = normal[i, j]
            # A vanishing ridge keeps parameters that the data do not see (no background, no disk) at rest.
            for a in range(N_PARAMETERS):
                hessian[a, a] = hessian[a, a] * (1.0 + 1e-9) + 1e-12
            if iteration == iterations:
                for a in range(N_PARAMETERS):
                    for b in range(N_PARAMETERS):
                        covariance[n, a, b] = 1.0 if a == b else 0.0
                if not _cholesky_solve(hessian, covariance[n], N_PARAMETERS, N_PARAMETERS):
                    covariance[n] = np.nan
                break
            if not _cholesky_solve(hessian, rhs, N_PARAMETERS, 1):
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
