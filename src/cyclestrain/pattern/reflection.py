"""What one reflection's window says: sums of products over its pixels, from which its information and score follow.

The model of the expected counts is that of `cyclestrain.pattern.likelihood`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.loops import part

__all__ = [
    "N_COLUMNS",
    "N_LOCAL",
    "N_PLAIN",
    "N_SMOOTH",
    "Expected",
    "Window",
    "add_contrast",
    "blend",
    "contrast_modes",
    "core_products",
    "disk_products",
    "other_products",
    "radial",
    "scale_sums",
]

N_LOCAL = 13
"""Deviations of one reflection: intensity, level, slope y, x, and contrast: slope y, x, bowl, saddles, third order."""
N_SMOOTH = 9
"""Those that are fitted where contrast is of second order."""
N_PLAIN = 4
"""Those that are fitted where disks are flat inside."""
N_COLUMNS = 2 + N_LOCAL
"""Shift y, x, and the deviations."""
_MODES = np.array(
    [
        [0, 1, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        [-0.5, 0, 0, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, -1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 2, 0, 0, 0, 0],
        [0, -2, 0, 0, 0, 0, 3, 0, 0, 3], [0, 0, -2, 0, 0, 0, 0, 3, 3, 0],
        [0, 0, 0, 0, 0, 0, 1, 0, 0, -3], [0, 0, 0, 0, 0, 0, 0, -1, 3, 0],
    ],
    np.float32,
)  # fmt: skip
"""Modes of contrast: their coefficients of 1, u, v, u^2, v^2, uv, u^3, v^3, u^2 v and u v^2.

Those of third order are two comas and two trefoils, without slopes; all four are as large in the mean over a disk.
"""
_N_COEFFICIENTS = _MODES.shape[1]
_WEIGHTS, _RESIDUAL, _SLOPE_Y, _SLOPE_X = 9, 10, 11, 12
"""Rows of `Window.extra` behind the modes."""


def contrast_modes(y: FloatArray, x: FloatArray) -> FloatArray:
    """Modes of contrast at points of a disk, shape ``(mode, n)``.

    Parameters
    ----------
    y, x
        Offsets from the middle of the disk in units of its radius, shape ``(n,)``.
    """
    powers = [np.ones_like(y), y, x, y**2, x**2, y * x, y**3, x**3, y**2 * x, y * x**2]
    return np.asarray(_MODES.astype(float) @ np.stack(powers))


class Window(NamedTuple):
    """The pixels of one reflection that are compared, in rows of single precision."""

    pixels: Any  # counts, 1 for those that are used (else 0), background: (3, pixel)
    shape: Any  # the disk and its derivatives with respect to its position y, x: (3, pixel)
    extra: Any  # what the modes of contrast add to the disk, and scratch space: (13, pixel)
    polynomial: Any  # coefficients of the contrast, see `_MODES`: (10,)
    grid: Any  # offsets y, x from the middle, in pixels and in half widths: (5, pixel)


class Expected(NamedTuple):
    """What makes expected counts of the shapes in a `Window`."""

    local: Any  # deviations of the reflection
    amplitude: float  # counts in the disk
    level: float  # of the background
    floor: float  # least variance of a pixel


@part(fastmath=True)
def radial(profile: Any, oy: float, ox: float, grid: Any, out: Any) -> None:  # pragma: no cover
    """Radial profile at the pixels of a window.

    Parameters
    ----------
    profile
        In steps of one pixel.
    oy, ox
        Middle of the window relative to the centre.
    grid
        As in `Window`.
    out
        Receives the values.
    """
    last = np.float32(profile.shape[0] - 1.001)
    rows, columns, y0, x0 = grid[0], grid[1], np.float32(oy), np.float32(ox)
    for k in range(out.shape[0]):
        y, x = y0 + rows[k], x0 + columns[k]
        out[k] = min(np.sqrt(y * y + x * x), last)
    for k in range(out.shape[0]):  # a loop of its own: look-ups bar vectorisation
        i = np.uint32(out[k])
        low, high = profile[i], profile[i + np.uint32(1)]
        out[k] = low + (out[k] - np.float32(i)) * (high - low)


@part(fastmath=True)
def blend(tables: Any, fy: float, fx: float, out: Any) -> None:  # pragma: no cover
    """Disk and its derivatives, between four phases of the tables.

    Parameters
    ----------
    tables
        Of `cyclestrain.pattern.Probe.compared`.
    fy, fx
        How far the disk is off the central pixel.
    out
        Receives the three rows one after the other.
    """
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


@part(fastmath=True)
def _quadratic(c: Any, grid: Any, fy: float, fx: float, radius: float, out: Any) -> None:  # pragma: no cover
    """Second-order polynomial of the offset from the disk's middle in units of its radius."""
    scale, y, x = np.float32(1.0 / radius), np.float32(fy), np.float32(fx)
    rows, columns = grid[0], grid[1]
    c0, c1, c2, c3, c4, c5 = c[0], c[1], c[2], c[3], c[4], c[5]
    for k in range(out.shape[0]):
        u, v = (rows[k] - y) * scale, (columns[k] - x) * scale
        out[k] = c0 + u * (c1 + c3 * u + c5 * v) + v * (c2 + c4 * v)


@part(fastmath=True)
def _cubic(c: Any, grid: Any, fy: float, fx: float, radius: float, out: Any) -> None:  # pragma: no cover
    """Third-order polynomial of the offset from the disk's middle in units of its radius."""
    scale, y, x = np.float32(1.0 / radius), np.float32(fy), np.float32(fx)
    rows, columns = grid[0], grid[1]
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9]
    for k in range(out.shape[0]):
        u, v = (rows[k] - y) * scale, (columns[k] - x) * scale
        out[k] = c0 + u * (c1 + u * (c3 + c6 * u + c8 * v) + v * (c5 + c9 * v)) + v * (c2 + v * (c4 + c7 * v))


@part(fastmath=True)
def add_contrast(
    window: Any, local: Any, fy: float, fx: float, radius: float, n_local: int
) -> None:  # pragma: no cover
    """Give the disk and its derivatives a contrast, and keep what its modes add.

    Parameters
    ----------
    window
        `Window`, of which `shape` and `extra` are filled.
    local
        Deviations of the reflection.
    fy, fx
        How far the disk is off the central pixel.
    radius
        Of the disk.
    n_local
        Deviations there are: `N_SMOOTH` or `N_LOCAL`.
    """
    shape, extra, grid = window.shape, window.extra, window.grid
    disk, texture = shape[0], extra[_WEIGHTS]
    coefficients = window.polynomial
    coefficients[0] = 1.0
    for i in range(1, _N_COEFFICIENTS):
        coefficients[i] = 0.0
    for m in range(n_local - N_PLAIN):
        mode = extra[m]
        if N_PLAIN + m < N_SMOOTH:
            _quadratic(_MODES[m], grid, fy, fx, radius, mode)
        else:
            _cubic(_MODES[m], grid, fy, fx, radius, mode)
        for k in range(mode.shape[0]):
            mode[k] *= disk[k]
        for i in range(_N_COEFFICIENTS):
            coefficients[i] += np.float32(local[N_PLAIN + m]) * _MODES[m, i]
    if n_local > N_SMOOTH:
        _cubic(coefficients, grid, fy, fx, radius, texture)
    else:
        _quadratic(coefficients, grid, fy, fx, radius, texture)
    for i in range(3):
        part = shape[i]
        for k in range(part.shape[0]):
            part[k] *= texture[k]


@part(fastmath=True)
def core_products(window: Any, expected: Any, sums: Any) -> Any:  # pragma: no cover
    """Products of shift y, x, intensity, level and residual over the variance, summed over pixels.

    All sums in one loop: with fewer, loads and horizontal sums would take most of the time. Nothing is stored in the
    loop: it would not be vectorised.

    Parameters
    ----------
    window, expected
        `Window` and `Expected`.
    sums
        Receives the sums, those with the residual in its last column, shape ``(N_COLUMNS, N_COLUMNS + 1)``.

    Returns
    -------
    chi_square, expected_square, inverse, seen
        Pearson's chi-square and what counted electrons make of it, sum of 1 / expected counts, and number of pixels.
        The second is that number, but for pixels whose background is so dark that its variance is below the least one.
    """
    pixels, shape, _, _, grid = window
    local, amplitude, level, floor = expected
    values, used, background = pixels[0], pixels[1], pixels[2]
    disk, dy, dx = shape[0], shape[1], shape[2]
    u, v = grid[2], grid[3]
    bright, least = np.float32(amplitude), np.float32(floor)
    l0, l1, l2 = _plane(local, level)
    yy = yx = yd = yb = xx = xd = xb = dd = db = bb = np.float32(0.0)
    yr = xr = dr = br = chi = usual = seen = inverse = np.float32(0.0)
    for k in range(values.shape[0]):
        y, x, d, b = dy[k], dx[k], disk[k], background[k]
        below = b * (l0 + u[k] * l1 + v[k] * l2)
        mean = below + bright * d
        weight = used[k] / max(mean, least)
        r = values[k] - mean
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
        usual += used[k] * min(np.float32(1.0), max(mean, below, np.float32(0.0)) / least)
        seen += used[k]
        inverse += weight
    sums[0, 0], sums[0, 1], sums[0, 2], sums[0, 3], sums[0, N_COLUMNS] = yy, yx, yd, yb, yr
    sums[1, 1], sums[1, 2], sums[1, 3], sums[1, N_COLUMNS] = xx, xd, xb, xr
    sums[2, 2], sums[2, 3], sums[2, N_COLUMNS] = dd, db, dr
    sums[3, 3], sums[3, N_COLUMNS] = bb, br
    return chi, usual, inverse, seen


@part(fastmath=True)
def _plane(local: Any, level: float) -> Any:  # pragma: no cover
    """Background over its radial profile: middle of the window, and slopes towards its edges."""
    return np.float32(level * (1.0 + local[1])), np.float32(level * local[2]), np.float32(level * local[3])


@part(fastmath=True)
def _pair(a: Any, b: Any, weights: Any, others: Any) -> Any:  # pragma: no cover
    """Products of two rows with seven others, times `weights`, summed over pixels; see `core_products`."""
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


@part(fastmath=True)
def other_products(window: Any, expected: Any, n_columns: int, sums: Any) -> None:  # pragma: no cover
    """Products of the other derivatives with all.

    Parameters
    ----------
    window, expected, sums
        As for `core_products`; needs what `add_contrast` made of the window where there are more than the slopes.
    n_columns
        Derivatives there are, with the four of `core_products`.
    """
    pixels, shape, extra, _, grid = window
    local, amplitude, level, floor = expected
    values, used, background = pixels[0], pixels[1], pixels[2]
    disk, u, v = shape[0], grid[2], grid[3]
    weights, residual, slope_y, slope_x = extra[_WEIGHTS], extra[_RESIDUAL], extra[_SLOPE_Y], extra[_SLOPE_X]
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
        sums[i, N_COLUMNS], sums[j, N_COLUMNS] = of_a[6], of_b[6]
        if i >= 6:
            of_a, of_b = _pair(a, b, weights, (extra[0], extra[1], extra[2], extra[3], extra[4], extra[4], extra[4]))
            for m in range(5):
                sums[min(m + 6, i), max(m + 6, i)], sums[min(m + 6, j), max(m + 6, j)] = of_a[m], of_b[m]
        if i + 1 >= 2 + N_SMOOTH:
            of_a, of_b = _pair(a, b, weights, (extra[5], extra[6], extra[7], extra[8], extra[8], extra[8], extra[8]))
            for m in range(4):
                sums[min(m + 11, i), max(m + 11, i)], sums[min(m + 11, j), max(m + 11, j)] = of_a[m], of_b[m]


@part()
def scale_sums(
    sums: Any, weight: float, amplitude: float, level: float, n_columns: int, normal: Any, score: Any
) -> None:  # pragma: no cover
    """Information and score of one reflection from sums of products; background is relative to `level` from here on.

    Parameters
    ----------
    sums
        Of `core_products` and `other_products`.
    weight
        One over the noise scale, less where the reflection is misfitted.
    amplitude, level
        Counts in the disk, and level of the background.
    n_columns
        Derivatives there are.
    normal, score
        Receive information and score.
    """
    for i in range(n_columns):
        one = weight * _unit(i, amplitude, level)
        score[i] = one * sums[i, N_COLUMNS]
        for j in range(i, n_columns):
            normal[i, j] = normal[j, i] = one * _unit(j, amplitude, level) * sums[i, j]


@part()
def _unit(column: int, amplitude: float, level: float) -> float:  # pragma: no cover
    """Factor between a derivative and its row."""
    if column == 2:
        return 1.0
    return level if 3 <= column < 6 else amplitude


@part(fastmath=True)
def disk_products(
    pixels: Any, disk: Any, other: Any, level: float, bright: float, amount: float, floor: float
) -> Any:  # pragma: no cover
    """Products of background, disk, something else and counts over the variance, summed over the pixels of a window.

    Parameters
    ----------
    pixels
        As in `Window`.
    disk, other
        Expected counts of one unit of both, shape ``(pixel,)``.
    level, bright, amount
        Of background, disk and the other, which make the variance.
    floor
        Least variance of a pixel.

    Returns
    -------
    products
        Of b b, b d, d d, b o, d o, o o; with the counts of b, d and o.
    """
    values, used, background = pixels[0], pixels[1], pixels[2]
    under, light, more = np.float32(level), np.float32(bright), np.float32(amount)
    least = np.float32(floor)
    bb = bd = dd = bo = do = oo = by = dy = oy = np.float32(0.0)
    for k in range(values.shape[0]):
        b, d, o, y = background[k], disk[k], other[k], values[k]
        weight = used[k] / max(under * b + more * o + light * d, least)
        wb, wd, wo = weight * b, weight * d, weight * o
        bb += wb * b
        bd += wb * d
        dd += wd * d
        bo += wb * o
        do += wd * o
        oo += wo * o
        by += wb * y
        dy += wd * y
        oy += wo * y
    return bb, bd, dd, bo, do, oo, by, dy, oy
