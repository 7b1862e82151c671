r"""Poisson likelihood of a pattern whose disks overlap: every pixel once, with all disks that reach it.

The expected counts of a pixel `p` within the annulus of the entry are

.. math:: \lambda(p) = \beta B(|p - c|) + \sum_g (a I_g + \delta_g) P(p - c - A g)

with the names of `cyclestrain.pattern.likelihood`. Disks move with the affine of the pattern all together, and the
derivatives of a pixel are those of all disks in it: neighbours of known light that stay where they are would cost a
factor of two (docs/dev/estimation.md, *Disks that overlap*). The brightness of single disks, where the scan says that
it deviates, is eliminated for all of them at once, since neighbours share pixels. Deviations of the background and
contrast inside the disks are not modelled here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import FloatArray
from cyclestrain.loops import part
from cyclestrain.pattern.cholesky import cholesky_solve
from cyclestrain.pattern.elimination import N_PARAMETERS
from cyclestrain.pattern.likelihood import Outcome
from cyclestrain.pattern.windows import call_typed

__all__ = ["Disks", "fit_overlapping"]

_GAIN, _LEVEL = 6, 7
"""Columns of brightness and level among the parameters."""
_NO_ONE = -1
"""Owner of the pixels that are not compared."""


class Disks(NamedTuple):
    """What patterns are compared with; tables are `Probe.squares`."""

    tables: NDArray[np.float32]
    background: NDArray[np.float32]
    reflections: FloatArray
    intensity: FloatArray
    width: FloatArray  # prior of the brightness of each disk, relative
    inner: float  # pixels nearer to the beam hold its own disk
    outer: float  # pixels further out may hold disks that are no reflections of the entry
    floor: float  # least variance of a pixel


class _Scratch(NamedTuple):
    """What one thread works on."""

    counts: Any  # of the pattern, (y, x)
    owner: Any  # nearest reflection of every pixel that is compared, (y, x)
    nearest: Any  # squared distance from it
    background: Any  # (y, x)
    columns: Any  # derivatives of a pixel by the parameters, in their order, (y, x, 8)
    mean: Any  # expected counts, then weights (y, x)
    residual: Any  # (y, x)
    shapes: Any  # disks and their derivatives by y and x, (reflection, 3, size * size)
    corner: Any  # detector pixel of the first of each window, (reflection, 2)
    cut: Any  # part of each window that is on the detector: first and last row and column, (reflection, 4)
    free: Any  # reflections whose brightness deviates, (n_free,)
    own: Any  # information on their brightness, (n_free, n_free)
    cross: Any  # of brightness and parameters, and score of the brightness in the last column, (n_free, 9)
    gains: Any  # the same, solved
    normal: Any  # information on the parameters, (8, 8)
    step: Any  # (8, 1)


@part()
def _add_pixels(images: Any, one: int, ceiling: float, counts: Any, owner: Any) -> None:  # pragma: no cover
    """Add one of the images; pixels at the end of the scale cannot be used."""
    image = images[one, 0]
    for y in range(counts.shape[0]):
        for x in range(counts.shape[1]):
            value = np.float32(image[y, x])
            counts[y, x] += value
            if value >= ceiling:
                owner[y, x] = _NO_ONE - 1


@part()
def _load_pixels(windows: Any, n: int, counts: Any, owner: Any) -> None:  # pragma: no cover
    """Sum the images of a pattern; pixels that cannot be used have no owner, all others wait for one."""
    members, good = windows.members, windows.good
    for y in range(good.shape[0]):
        for x in range(good.shape[1]):
            counts[y, x], owner[y, x] = np.float32(0.0), _NO_ONE - (0 if good[y, x] else 1)
    for m in range(members.shape[1]):
        if members[n, m] >= 0:
            call_typed(windows, _add_pixels, members[n, m], windows.ceiling, counts, owner)


@part()
def _draw_disks(disks: Any, theta: Any, scratch: Any) -> None:  # pragma: no cover
    """Shapes and windows of all disks where the parameters put them."""
    tables, corner, cut, shapes = disks.tables, scratch.corner, scratch.cut, scratch.shapes
    n_y, n_x = scratch.owner.shape
    size = round(np.sqrt(tables.shape[3]))
    phases = tables.shape[0]
    one = np.float32(1.0)
    for g in range(disks.reflections.shape[0]):
        gy, gx = disks.reflections[g, 0], disks.reflections[g, 1]
        py, px = theta[4] + theta[0] * gy + theta[1] * gx, theta[5] + theta[2] * gy + theta[3] * gx
        if not (abs(py) < 1e6 and abs(px) < 1e6):
            py = px = -1e6
        oy, ox = round(py), round(px)
        corner[g, 0], corner[g, 1] = oy - size // 2, ox - size // 2
        cut[g, 0], cut[g, 1] = max(0, -corner[g, 0]), min(size, n_y - corner[g, 0])
        cut[g, 2], cut[g, 3] = max(0, -corner[g, 1]), min(size, n_x - corner[g, 1])
        if cut[g, 0] >= cut[g, 1] or cut[g, 2] >= cut[g, 3]:
            continue
        ty, tx = (py - oy + 0.5) * (phases - 1), (px - ox + 0.5) * (phases - 1)
        iy, ix = min(int(ty), phases - 2), min(int(tx), phases - 2)
        wy, wx = np.float32(ty - iy), np.float32(tx - ix)
        w00, w01, w10, w11 = (one - wy) * (one - wx), (one - wy) * wx, wy * (one - wx), wy * wx
        for k in range(3):
            t00, t01 = tables[iy, ix, k], tables[iy, ix + 1, k]
            t10, t11 = tables[iy + 1, ix, k], tables[iy + 1, ix + 1, k]
            out = shapes[g, k]
            for i in range(size * size):
                out[i] = w00 * t00[i] + w01 * t01[i] + w10 * t10[i] + w11 * t11[i]


@part()
def _own_pixels(disks: Any, theta: Any, scratch: Any) -> None:  # pragma: no cover
    """Give every pixel of the annulus that a window holds to the nearest reflection."""
    owner, nearest, corner, cut = scratch.owner, scratch.nearest, scratch.corner, scratch.cut
    size = round(np.sqrt(disks.tables.shape[3]))
    n_y, n_x = owner.shape
    for y in range(n_y):
        for x in range(n_x):
            owner[y, x] = min(owner[y, x], _NO_ONE)
            nearest[y, x] = np.float32(0.25 * (size + 0.6) ** 2)
    inner, outer = disks.inner * disks.inner, disks.outer * disks.outer
    for g in range(disks.reflections.shape[0]):
        gy, gx = disks.reflections[g, 0], disks.reflections[g, 1]
        py, px = theta[4] + theta[0] * gy + theta[1] * gx, theta[5] + theta[2] * gy + theta[3] * gx
        for y in range(corner[g, 0] + cut[g, 0], corner[g, 0] + cut[g, 1]):
            for x in range(corner[g, 1] + cut[g, 2], corner[g, 1] + cut[g, 3]):
                away = (y - theta[4]) ** 2 + (x - theta[5]) ** 2
                distance = np.float32((y - py) ** 2 + (x - px) ** 2)
                if owner[y, x] >= _NO_ONE and distance < nearest[y, x] and inner < away < outer:
                    owner[y, x], nearest[y, x] = g, distance


@part()
def _expect(disks: Any, theta: Any, local: Any, scratch: Any) -> None:  # pragma: no cover
    """Expected counts of all pixels, and their derivatives by the parameters."""
    owner, columns, mean, background = scratch.owner, scratch.columns, scratch.mean, scratch.background
    corner, cut = scratch.corner, scratch.cut
    size, last = round(np.sqrt(disks.tables.shape[3])), disks.background.shape[0] - 1.001
    for y in range(owner.shape[0]):
        for x in range(owner.shape[1]):
            if owner[y, x] < 0:
                continue
            radius = min(np.sqrt((y - theta[4]) ** 2 + (x - theta[5]) ** 2), last)
            i = int(radius)
            below = disks.background[i] + np.float32(radius - i) * (disks.background[i + 1] - disks.background[i])
            background[y, x] = below
            mean[y, x] = np.float32(theta[_LEVEL]) * below
            for k in range(N_PARAMETERS):
                columns[y, x, k] = 0.0
            columns[y, x, _LEVEL] = below
    for g in range(disks.reflections.shape[0]):
        gy, gx = np.float32(disks.reflections[g, 0]), np.float32(disks.reflections[g, 1])
        intensity = np.float32(disks.intensity[g])
        bright = np.float32(theta[_GAIN] * disks.intensity[g] + local[g, 0])
        disk, by_y, by_x = scratch.shapes[g, 0], scratch.shapes[g, 1], scratch.shapes[g, 2]
        for i in range(cut[g, 0], cut[g, 1]):
            y = corner[g, 0] + i
            for j in range(cut[g, 2], cut[g, 3]):
                x, k = corner[g, 1] + j, i * size + j
                column = columns[y, x]
                dy, dx = bright * by_y[k], bright * by_x[k]
                mean[y, x] += bright * disk[k]
                column[0] += dy * gy
                column[1] += dy * gx
                column[2] += dx * gy
                column[3] += dx * gx
                column[4] += dy
                column[5] += dx
                column[6] += intensity * disk[k]


@part()
def _weigh(disks: Any, precision: float, misfit: Any, scratch: Any) -> None:  # pragma: no cover
    """Residuals and weights of all pixels, misfit of the reflections that own them, information on the parameters."""
    owner, columns, mean, residual = scratch.owner, scratch.columns, scratch.mean, scratch.residual
    normal, step, floor, unit = scratch.normal, scratch.step, np.float32(disks.floor), np.float32(precision)
    misfit[:] = 0.0
    normal[:], step[:] = 0.0, 0.0
    for y in range(owner.shape[0]):
        for x in range(owner.shape[1]):
            g = owner[y, x]
            if g < 0:
                mean[y, x] = residual[y, x] = np.float32(0.0)
                continue
            inverse = np.float32(1.0) / max(mean[y, x], floor)
            rest = scratch.counts[y, x] - mean[y, x]
            misfit[g, 0] += rest * rest * inverse
            misfit[g, 1] += min(np.float32(1.0), max(mean[y, x], scratch.background[y, x]) / floor)
            misfit[g, 2] += inverse
            weight = unit * inverse
            mean[y, x], residual[y, x] = weight, weight * rest
            column = columns[y, x]
            for a in range(N_PARAMETERS):
                product = weight * column[a]
                step[a, 0] += product * rest
                for b in range(a + 1):
                    normal[a, b] += product * column[b]
    for a in range(N_PARAMETERS):
        for b in range(a):
            normal[b, a] = normal[a, b]


@part()
def _brightness(disks: Any, theta: Any, local: Any, n_free: int, scratch: Any) -> None:  # pragma: no cover
    """Information on the brightness of the disks that deviate, with that of their neighbours and of the parameters."""
    weight, residual, columns = scratch.mean, scratch.residual, scratch.columns
    corner, cut, own, cross = scratch.corner, scratch.cut, scratch.own, scratch.cross
    size = round(np.sqrt(disks.tables.shape[3]))
    for a in range(n_free):
        g = scratch.free[a]
        disk = scratch.shapes[g, 0]
        for k in range(N_PARAMETERS + 1):
            cross[a, k] = 0.0
        for i in range(cut[g, 0], cut[g, 1]):
            for j in range(cut[g, 2], cut[g, 3]):
                y, x = corner[g, 0] + i, corner[g, 1] + j
                value = disk[i * size + j]
                cross[a, N_PARAMETERS] += value * residual[y, x]
                weighted = value * weight[y, x]
                if weighted != 0.0:
                    for k in range(N_PARAMETERS):
                        cross[a, k] += weighted * columns[y, x, k]
        for b in range(a + 1):
            h = scratch.free[b]
            other = scratch.shapes[h, 0]
            ry, rx = corner[g, 0] - corner[h, 0], corner[g, 1] - corner[h, 1]
            total = np.float32(0.0)
            for i in range(max(cut[g, 0], cut[h, 0] - ry), min(cut[g, 1], cut[h, 1] - ry)):
                for j in range(max(cut[g, 2], cut[h, 2] - rx), min(cut[g, 3], cut[h, 3] - rx)):
                    product = disk[i * size + j] * other[(i + ry) * size + j + rx]
                    total += product * weight[corner[g, 0] + i, corner[g, 1] + j]
            own[a, b] = own[b, a] = total
        width = disks.width[g] * theta[_GAIN] * disks.intensity[g]
        prior = 1.0 / (width * width)
        own[a, a] += prior
        cross[a, N_PARAMETERS] -= prior * local[g, 0]


@part()
def _eliminate(n_free: int, scratch: Any) -> bool:  # pragma: no cover
    """Take the brightness of single disks out of the equations of the parameters."""
    cross, gains, normal, step = scratch.cross, scratch.gains, scratch.normal, scratch.step
    for a in range(n_free):
        for k in range(N_PARAMETERS + 1):
            gains[a, k] = cross[a, k]
    if not cholesky_solve(scratch.own, gains, n_free, N_PARAMETERS + 1):
        return False
    for k in range(N_PARAMETERS):
        for a in range(n_free):
            step[k, 0] -= gains[a, k] * cross[a, N_PARAMETERS]
            for m in range(N_PARAMETERS):
                normal[k, m] -= gains[a, k] * cross[a, m]
    return True


@part()
def _report_shifts(disks: Any, theta: Any, outcome: Any, scratch: Any) -> None:  # pragma: no cover
    """Score and information of the shift of every disk by itself."""
    corner, cut, weight, residual = scratch.corner, scratch.cut, scratch.mean, scratch.residual
    size = round(np.sqrt(disks.tables.shape[3]))
    for g in range(disks.reflections.shape[0]):
        bright = theta[_GAIN] * disks.intensity[g] + outcome.local[g, 0]
        by_y, by_x = scratch.shapes[g, 1], scratch.shapes[g, 2]
        sy = sx = yy = yx = xx = 0.0
        for i in range(cut[g, 0], cut[g, 1]):
            for j in range(cut[g, 2], cut[g, 3]):
                y, x, k = corner[g, 0] + i, corner[g, 1] + j, i * size + j
                sy += by_y[k] * residual[y, x]
                sx += by_x[k] * residual[y, x]
                yy += by_y[k] * by_y[k] * weight[y, x]
                yx += by_y[k] * by_x[k] * weight[y, x]
                xx += by_x[k] * by_x[k] * weight[y, x]
        score, information = outcome.shift_score[g], outcome.shift_information[g]
        score[0], score[1] = bright * sy, bright * sx
        information[0, 0], information[1, 1] = bright * bright * yy, bright * bright * xx
        information[0, 1] = information[1, 0] = bright * bright * yx


@part()
def _conclude(disks: Any, theta: Any, n_free: int, outcome: Any, scratch: Any) -> None:  # pragma: no cover
    """Covariance of the parameters, and the variance that the priors give their score."""
    covariance, prior, gains = outcome.covariance, outcome.prior, scratch.gains
    for k in range(N_PARAMETERS):
        for m in range(N_PARAMETERS):
            covariance[k, m] = 1.0 if k == m else 0.0
            prior[k, m] = 0.0
    for a in range(n_free):
        g = scratch.free[a]
        width = disks.width[g] * theta[_GAIN] * disks.intensity[g]
        for k in range(N_PARAMETERS):
            for m in range(N_PARAMETERS):
                prior[k, m] += gains[a, k] * gains[a, m] / (width * width)
    if not cholesky_solve(scratch.normal, covariance, N_PARAMETERS, N_PARAMETERS):
        covariance[:] = np.nan


@part()
def _advance(disks: Any, steps: Any, theta: Any, local: Any, n_free: int, scratch: Any) -> float:  # pragma: no cover
    """Take the step, shortened if it is too long; returns how far it would move a reflection, pixels."""
    step, longest = scratch.step, 1.0
    for g in range(disks.reflections.shape[0]):
        longest = max(longest, np.hypot(disks.reflections[g, 0], disks.reflections[g, 1]))
    largest = max(abs(step[4, 0]), abs(step[5, 0]))
    for i in range(4):
        largest = max(largest, abs(step[i, 0]) * longest)
    damping = min(1.0, steps.max_shift / largest) if largest > 0 else 1.0
    for a in range(n_free):
        change, g = scratch.gains[a, N_PARAMETERS], scratch.free[a]
        for k in range(N_PARAMETERS):
            change -= scratch.gains[a, k] * step[k, 0]
        least = -0.98 * theta[_GAIN] * disks.intensity[g]
        local[g, 0] = max(local[g, 0] + damping * change, least)
    for k in range(6):
        theta[k] += damping * step[k, 0]
    for k in range(_GAIN, N_PARAMETERS):
        theta[k] = max(theta[k] + damping * step[k, 0], 0.02 * theta[k])
    return largest


@part()
def _fit_one(
    n: int, windows: Any, disks: Any, steps: Any, centre: Any, outcome: Any, n_free: int, scratch: Any
) -> None:  # pragma: no cover - compiled
    """Fit one pattern: its number, its centre beforehand, its part of the outcome."""
    theta, local, normal, step = outcome.parameters, outcome.local, scratch.normal, scratch.step
    _load_pixels(windows, n, scratch.counts, scratch.owner)
    for iteration in range(steps.iterations + 1):
        last = iteration == steps.iterations
        if last and steps.tolerance > 0:
            break
        _draw_disks(disks, theta, scratch)
        _own_pixels(disks, theta, scratch)
        _expect(disks, theta, local, scratch)
        _weigh(disks, 1.0 / (steps.noise_scale * steps.grain), outcome.misfit, scratch)
        _brightness(disks, theta, local, n_free, scratch)
        if not _eliminate(n_free, scratch):
            outcome.covariance[:] = np.nan
            break
        for i in range(2):
            normal[4 + i, 4 + i] += steps.centre_precision
            step[4 + i, 0] += steps.centre_precision * (centre[i] - theta[4 + i])
        for k in range(N_PARAMETERS):  # what the data do not see stays at rest
            normal[k, k] = normal[k, k] * (1.0 + 1e-9) + 1e-12
        if last:
            _report_shifts(disks, theta, outcome, scratch)
            _conclude(disks, theta, n_free, outcome, scratch)
            break
        if not cholesky_solve(normal, step, N_PARAMETERS, 1):
            break
        if _advance(disks, steps, theta, local, n_free, scratch) < steps.tolerance:
            break


@part(counted=True)
def _make_scratch(disks: Any, n_y: int, n_x: int) -> Any:  # pragma: no cover - compiled
    """Empty scratch space for patterns of this shape."""
    n = disks.reflections.shape[0]
    free = np.flatnonzero(disks.width * disks.intensity > 0.0)
    n_free = max(len(free), 1)
    return _Scratch(
        np.empty((n_y, n_x), np.float32), np.empty((n_y, n_x), np.int32), np.empty((n_y, n_x), np.float32),
        np.empty((n_y, n_x), np.float32), np.empty((n_y, n_x, N_PARAMETERS), np.float32),
        np.empty((n_y, n_x), np.float32), np.empty((n_y, n_x), np.float32),
        np.zeros((n, 3, disks.tables.shape[3]), np.float32), np.zeros((n, 2), np.int64), np.zeros((n, 4), np.int64),
        free, np.empty((n_free, n_free)), np.empty((n_free, N_PARAMETERS + 1)), np.empty((n_free, N_PARAMETERS + 1)),
        np.empty((N_PARAMETERS, N_PARAMETERS)), np.empty((N_PARAMETERS, 1)),
    )  # fmt: skip


@nb.njit(cache=True, nogil=True, error_model="numpy")
def fit_overlapping(
    windows: Any, disks: Any, steps: Any, centre: Any, outcome: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Fisher-scoring steps for many patterns one after another, see `cyclestrain.pattern.refine`.

    Parameters
    ----------
    windows
        `cyclestrain.pattern.windows.Windows` in place: images with a single layer.
    disks
        `Disks`.
    steps, centre, outcome, start, stop
        As for `cyclestrain.pattern.likelihood.fit_patterns`.
    """
    scratch = _make_scratch(disks, windows.good.shape[0], windows.good.shape[1])
    n_free = len(scratch.free)
    for n in range(start, stop):
        own = Outcome(
            outcome.parameters[n], outcome.local[n], outcome.covariance[n], outcome.misfit[n], outcome.shift_score[n],
            outcome.shift_information[n], outcome.prior[n], outcome.coherent[n], outcome.brightness[n],
        )  # fmt: skip
        _fit_one(n, windows, disks, steps, centre[n], own, n_free, scratch)
