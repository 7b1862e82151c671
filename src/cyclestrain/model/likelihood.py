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

from typing import Any

import numba as nb
import numpy as np

__all__ = ["N_LOCAL", "N_PARAMETERS", "cholesky_solve", "fit_patterns"]

N_PARAMETERS = 8
N_LOCAL = 9
"""Deviations of one reflection: intensity, level, slope y, x, and contrast: slope y, x, bowl, two saddles."""
N_PLAIN = 4
"""Those that are fitted where disks are flat inside."""
STEEPEST = 2.0
"""Largest weight of a mode of contrast: a disk that is dark on one side has a slope of one."""
_WIDTH = np.array([0, 1, 2, 3, 5, 5, 6, 7, 7])
"""Column of the prior widths for each deviation."""
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


@nb.njit(fastmath=True, error_model="numpy")
def _contrast(local: Any, fy: float, fx: float, radius: float, size: int, rows: Any) -> None:  # pragma: no cover
    """Modes of the contrast inside a disk into rows 6 to 10, and their sum with the weights `local` into row 13."""
    half, scale = size // 2, np.float32(1.0 / radius)
    oy, ox = np.float32(half + fy), np.float32(half + fx)
    t0, t1, t2 = np.float32(local[4]), np.float32(local[5]), np.float32(local[6])
    t3, t4 = np.float32(local[7]), np.float32(local[8])
    for i in range(size):
        u = (np.float32(i) - oy) * scale
        for j in range(size):
            v = (np.float32(j) - ox) * scale
            k = i * size + j
            bowl, across, along = u * u + v * v - np.float32(0.5), u * u - v * v, np.float32(2.0) * u * v
            rows[6, k], rows[7, k], rows[8, k], rows[9, k], rows[10, k] = u, v, bowl, across, along
            rows[13, k] = np.float32(1.0) + t0 * u + t1 * v + t2 * bowl + t3 * across + t4 * along


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
    n_columns: int,
    rows: Any,
    normal: Any,
    score: Any,
) -> Any:  # pragma: no cover
    """Information and score of one reflection; returns (Pearson chi-square, pixels, sum of 1 / expected counts).

    `rows` is scratch space, shape ``(14, pixel)``: the derivatives (0 to 10) and the residual (11) over the pixel's
    standard deviation, whose products are the information, the weight (12), and one plus the contrast (13). The last,
    and the modes in rows 6 to 10, are given where there are `n_columns` = 11; 6 where disks are flat. Everything is
    float32 and in simple loops so that it is vectorised.
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
    r0, r1, r2, r3, residual, weights, texture = rows[0], rows[1], rows[2], rows[3], rows[11], rows[12], rows[13]
    pixels = inverse = np.float32(0.0)
    for k in range(n_pixels):
        r2[k] = w00 * p00[k] + w01 * p01[k] + w10 * p10[k] + w11 * p11[k]
    if n_columns > 6:
        for k in range(n_pixels):
            r2[k] *= texture[k]
    for k in range(n_pixels):
        b = beta * background[k]
        expected = b * (l0 + u[k] * l1 + v[k] * l2) + amplitude * r2[k]
        weight = np.sqrt(used[k] / max(expected, least))
        r2[k] = weight * r2[k]
        r3[k] = weight * background[k]
        residual[k] = weight * (values[k] - expected)
        weights[k] = weight
        pixels += used[k]
        inverse += weight * weight
    for k in range(n_pixels):
        weight = weights[k] * amplitude
        r0[k] = weight * (w00 * y00[k] + w01 * y01[k] + w10 * y10[k] + w11 * y11[k])
        r1[k] = weight * (w00 * x00[k] + w01 * x01[k] + w10 * x10[k] + w11 * x11[k])
    if sloped:
        r4, r5 = rows[4], rows[5]
        for k in range(n_pixels):
            r4[k] = beta * r3[k] * u[k]
            r5[k] = beta * r3[k] * v[k]
    if n_columns > 6:
        for k in range(n_pixels):
            r0[k] *= texture[k]
            r1[k] *= texture[k]
            weights[k] = amplitude * r2[k] / max(texture[k], np.float32(1e-3))
        for i in range(6, n_columns):
            mode = rows[i]
            for k in range(n_pixels):
                mode[k] *= weights[k]
    chi = np.float32(0.0)
    for k in range(n_pixels):
        chi += residual[k] * residual[k]
    for i in range(n_columns):
        score[i] = 0.0
        for j in range(i, n_columns):
            normal[i, j] = normal[j, i] = 0.0
        if 4 <= i < 6 and not sloped:
            normal[i, i] = 1.0
            continue
        one_row = rows[i]
        total = np.float32(0.0)
        for k in range(n_pixels):
            total += one_row[k] * residual[k]
        score[i] = total
        for j in range(i, n_columns):
            if 4 <= j < 6 and not sloped:
                continue
            other = rows[j]
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
def _eliminate(
    normal: Any, score: Any, precision: Any, local: Any, n_local: int, work: Any, gain: Any
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
            gain[i, j] = normal[2 + i, j] if free_i else 0.0
        gain[i, 4] = score[2 + i] - precision[i] * local[i] if free_i else 0.0
    coupling = gain.copy()
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
    radius: float,
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
    n_local = N_LOCAL if spread[:, 5:].max() > 0 else N_PLAIN
    reach = 1.0
    for g in range(n_reflections):
        reach = max(reach, np.hypot(reflections[g, 0], reflections[g, 1]))
    for n in nb.prange(n_patterns):
        values = np.empty((n_reflections, size * size), np.float32)
        used = np.empty((n_reflections, size * size), np.float32)
        background = np.empty((n_reflections, size * size), np.float32)
        rows = np.ones((14, size * size), np.float32)
        place = np.full((n_reflections, 2), -(10**6), np.int64)
        normal, score = np.empty((n_local + 2, n_local + 2)), np.empty(n_local + 2)
        work, gains = np.empty((n_local, n_local)), np.zeros((n_reflections, n_local, 5))
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
                if n_local > N_PLAIN:
                    _contrast(local[n, g], fy, fx, radius, size, rows)
                chi, pixels, inverse = _information(
                    values[g], used[g], background[g], tables, fy, fx, brightness, theta[7],
                    floor, local[n, g], offsets, sloped, n_local + 2, rows, normal, score,
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
                for i in range(n_local + 2):
                    score[i] *= weight
                    for j in range(n_local + 2):
                        normal[i, j] *= weight
                for i in range(n_local):
                    width = spread[g, _WIDTH[i]] * (theta[6] * intensity[g] if i == 0 else 1.0)
                    precision[i] = 1.0 / (width * width) if width > 0 else np.inf
                # normal's level column is d lambda / d beta; the local level is relative to beta.
                for i in range(n_local + 2):
                    if i != 3:
                        normal[i, 3] *= theta[7]
                        normal[3, i] *= theta[7]
                normal[3, 3] *= theta[7] * theta[7]
                score[3] *= theta[7]
                if n_local > N_PLAIN:  # constants let the compiler unroll the loops
                    _eliminate(normal, score, precision, local[n, g], N_LOCAL, work, gains[g])
                else:
                    _eliminate(normal, score, precision, local[n, g], N_PLAIN, work, gains[g])
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
                for i in range(n_local):
                    step = gains[g, i, 4] - (gains[g, i, 0] * d0 + gains[g, i, 1] * d1 + gains[g, i, 2] * d2)
                    step -= gains[g, i, 3] * d3
                    local[n, g, i] += damping * step
                local[n, g, 0] = max(local[n, g, 0], -theta[6] * intensity[g])
                local[n, g, 1] = min(max(local[n, g, 1], -0.9), 9.0)
                for i in range(N_PLAIN, n_local):
                    local[n, g, i] = min(max(local[n, g, i], -STEEPEST), STEEPEST)
            for a in range(6):
                theta[a] += damping * rhs[a, 0]
            theta[6] = max(theta[6] + damping * rhs[6, 0], 0.02 * theta[6])
            theta[7] = max(theta[7] + damping * rhs[7, 0], 0.02 * theta[7])
