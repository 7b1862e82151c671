r"""Intensity of every reflection of patterns whose transform is known, with its uncertainty.

With the places of the disks fixed, the expected counts are linear in what is left:

.. math:: \lambda(p) = B(|p - c|) (\beta + \beta_g) + \sum_h I_h P(p - c - A h)

with a free intensity for every reflection, one level of the background for the pattern, and one for each window that
deviates from it within its learned prior (`Priors`). Intensities have no prior: what is found is not drawn towards the
mean of the entry, as in the fit of the transform. A pixel belongs to the window of the nearest reflection, and every
disk that reaches it is in its expected counts, so that disks that overlap are told apart and what they share is in
their uncertainty. Weights follow the expected counts, which makes the solution the one of largest Poisson likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.loops import part
from cyclestrain.pattern.cholesky import cholesky_solve
from cyclestrain.pattern.dictionary import Entry
from cyclestrain.pattern.reading import load_window
from cyclestrain.pattern.reflection import blend, radial
from cyclestrain.pattern.scratch import find_runs
from cyclestrain.pattern.windows import Windows, WindowStack

__all__ = ["Intensities", "disks_touch", "measure_intensities"]

ROUNDS = 2
"""Solutions one after the other, each with the weights of the one before."""
LEAST_SEEN = 0.4
"""Least share of the pixels of a round window that must be good for a reflection to be measured, as in the fit."""
FURTHEST_TAIL = 2e-3
"""Profile of the probe, relative to its maximum, below which a disk does not reach a pixel."""
CLOSER = 0.93
"""Factor by which strain may bring reflections closer than they are in the entry."""
LEAST_GAP = 2.8
"""Pixels between the edges of neighbouring disks below which background and disks are not told apart.

Measured with a spacing of 13 pixels at 25 % background: intensities are right to 1 % with a gap of 3.0, and 19 % too
small with one of 2.2, where the learned background has taken a part of them.
"""
SURE_MISFIT = 3.0
"""Standard deviations by which the pixels of a window must misfit for that to widen the uncertainty."""


@dataclass(frozen=True)
class Intensities:
    """Counts in the disks of many patterns; NaN where too little of a window is seen.

    Attributes
    ----------
    value, sigma
        Counts above the background, and their standard deviation, shape ``(n, reflection)``.
    """

    value: FloatArray
    sigma: FloatArray


class _Model(NamedTuple):
    """What the compiled loop reads of an entry."""

    tables: NDArray[np.float32]  # those of `Probe.compared`
    grid: NDArray[np.float32]
    probe: NDArray[np.float32]  # the probe itself, for disks that reach into the windows of others
    oversampling: int
    background: NDArray[np.float32]
    around: IntArray  # reflections whose disks may reach each window, -1 for none, (reflection, most)
    width: FloatArray  # prior of each window's own level, relative
    floor: float  # least variance of a pixel
    half: int
    noise_scale: float


class _Windows(NamedTuple):
    """Windows of all patterns, and where they, the disks and the beam are in one of them (or in all: a first axis)."""

    all: Windows
    n: int  # the pattern
    origin: NDArray[np.int32]  # (reflection, 2)
    place: FloatArray  # (reflection, 2)
    centre: FloatArray  # (2,)


class _Scratch(NamedTuple):
    """What a thread works on; the last unknown is the level of the background."""

    pixels: Any  # counts, use and background of the pixels of a window
    row: Any  # the same in one row
    disk: Any  # the disk and, in the last two rows, its unused derivatives
    others: Any  # disks of the reflections around, (most, pixel)
    mean: Any  # expected counts
    member: Any  # unknown of every column of a window
    local: Any  # products of the columns of a window over the variance
    normal: Any
    solution: Any
    inverse: Any


def disks_touch(entry: Entry) -> bool:
    """Whether the disks of an entry stand so close that no background is seen between them."""
    apart = np.hypot(*(entry.reflections[:, None] - entry.reflections[None]).T)
    nearest = float(np.min(apart[~np.eye(len(apart), dtype=bool)], initial=np.inf))
    return nearest - 2 * entry.probe.radius < LEAST_GAP


def overlapping(entry: Entry) -> IntArray:
    """Reflections whose disks may reach into the window of each, padded with -1, shape ``(reflection, most)``.

    Parameters
    ----------
    entry
        Dictionary entry.
    """
    profile, probe = entry.probe.profile, entry.probe
    reach = np.flatnonzero(profile > FURTHEST_TAIL * profile.max())[-1] / probe.oversampling
    apart = CLOSER * np.hypot(*(entry.reflections[:, None] - entry.reflections[None]).T)
    near = (apart < probe.half + 0.5 + reach) & ~np.eye(len(apart), dtype=bool)
    out = np.full((len(near), int(near.sum(1).max(initial=0))), -1)
    for row, others in zip(out, near, strict=True):
        row[: others.sum()] = np.flatnonzero(others)
    return out


def measure_intensities(
    stack: WindowStack,
    entry: Entry,
    places: FloatArray,
    centre: FloatArray,
    *,
    gain: FloatArray,
    noise_scale: float = 1.0,
) -> Intensities:
    """Intensity of every reflection of patterns whose transform is known.

    Parameters
    ----------
    stack
        Windows around the reflections, no smaller than those of the entry's probe, cut where the disks are.
    entry
        Dictionary entry of the patterns.
    places
        Where the disks are ``(y, x)``, detector pixels, shape ``(n, reflection, 2)``.
    centre
        Beam centre ``(y, x)``, detector pixels, shape ``(n, 2)``.
    gain
        Brightness relative to the entry, from which weights are made at first, shape ``(n,)``.
    noise_scale
        Variance of a pixel over its mean.
    """
    tables, grid = entry.probe.compared
    model = _Model(
        tables, grid, entry.probe.values.astype(np.float32), entry.probe.oversampling,
        entry.background.astype(np.float32), overlapping(entry), np.ascontiguousarray(entry.priors.spread[:, 1], float),
        float(entry.variance_floor), entry.probe.half, float(noise_scale),
    )  # fmt: skip
    windows = _Windows(
        stack.windows, 0, stack.origin, np.ascontiguousarray(places, float), np.ascontiguousarray(centre, float)
    )
    value = np.maximum(np.nan_to_num(gain, nan=1.0), 0.0)[:, None] * entry.intensity
    sigma = np.full_like(value, np.nan)
    _solve_all(windows, model, value, sigma)
    return Intensities(np.where(np.isfinite(sigma), value, np.nan), np.sqrt(entry.grain.area) * sigma)


@part()
def _spread_disk(probe: Any, oversampling: int, oy: float, ox: float, grid: Any, out: Any) -> None:  # pragma: no cover
    """A disk that stands at an offset from the middle of a window, at its pixels."""
    middle, size = probe.shape[0] // 2, probe.shape[0]
    for k in range(out.shape[0]):
        y, x = middle + oversampling * (grid[0, k] - oy), middle + oversampling * (grid[1, k] - ox)
        i, j = int(np.floor(y)), int(np.floor(x))
        if i < 0 or j < 0 or i >= size - 1 or j >= size - 1:
            out[k] = 0.0
            continue
        v, u = y - i, x - j
        upper = (1 - u) * probe[i, j] + u * probe[i, j + 1]
        lower = (1 - u) * probe[i + 1, j] + u * probe[i + 1, j + 1]
        out[k] = (1 - v) * upper + v * lower


@part()
def _own_pixels(place: Any, g: int, h: int, origin: Any, grid: Any, used: Any) -> None:  # pragma: no cover
    """Leave to reflection `h` the pixels of the window of `g` that are nearer to it."""
    gy, gx, hy, hx = place[g, 0], place[g, 1], place[h, 0], place[h, 1]
    for k in range(used.shape[0]):
        y, x = origin[0] + grid[0, k], origin[1] + grid[1, k]
        own, other = (y - gy) ** 2 + (x - gx) ** 2, (y - hy) ** 2 + (x - hx) ** 2
        if other < own or (other == own and h < g):
            used[k] = 0.0


@part()
def _load(g: int, windows: Any, model: Any, runs: Any, scratch: Any) -> Any:  # pragma: no cover
    """Pixels of the window of `g`, its disk and those around; how many columns, 0 where too little is seen."""
    stacked, n, origin, place, centre = windows
    pixels, grid = scratch.pixels, model.grid
    fy, fx = place[g, 0] - origin[g, 0], place[g, 1] - origin[g, 1]
    if not (abs(fy) < 1.0 and abs(fx) < 1.0):
        return 0
    load_window(stacked, n, g, 0, 0, runs, grid[4], scratch.row)
    seen, size = 0.0, 2 * model.half + 1
    for k in range(grid.shape[1]):
        seen += pixels[1, k]
    if seen < LEAST_SEEN * size * size * 0.78:
        return 0
    radial(model.background, origin[g, 0] - centre[0], origin[g, 1] - centre[1], grid, pixels[2])
    blend(model.tables, fy, fx, scratch.disk)
    scratch.member[0], m = g, 1
    for j in range(model.around.shape[1]):
        h = model.around[g, j]
        if h < 0:
            break
        oy, ox = place[h, 0] - origin[g, 0], place[h, 1] - origin[g, 1]
        _spread_disk(model.probe, model.oversampling, oy, ox, grid, scratch.others[j])
        _own_pixels(place, g, h, origin[g], grid, pixels[1])
        scratch.member[m] = h
        m += 1
    scratch.member[m] = place.shape[0]
    return m + 1


@part(fastmath=True)
def _expect(value: Any, level: float, n: int, scratch: Any) -> None:  # pragma: no cover
    """Expected counts of a window's pixels."""
    mean, background, disk = scratch.mean, scratch.pixels[2], scratch.disk
    bright, under = np.float32(max(value[scratch.member[0]], 0.0)), np.float32(level)
    for k in range(mean.shape[0]):
        mean[k] = under * background[k] + bright * disk[k]
    for j in range(n - 2):
        bright, other = np.float32(max(value[scratch.member[j + 1]], 0.0)), scratch.others[j]
        for k in range(mean.shape[0]):
            mean[k] += bright * other[k]


@part(fastmath=True)
def _core(floor: float, scratch: Any) -> Any:  # pragma: no cover
    """Products of disk, background and counts over the variance; pixels and the sum of their weights."""
    mean, disk, least = scratch.mean, scratch.disk, np.float32(floor)
    values, used, background = scratch.pixels[0], scratch.pixels[1], scratch.pixels[2]
    dd = db = bb = dc = bc = cc = seen = inverse = np.float32(0.0)
    for k in range(mean.shape[0]):
        weight = used[k] / max(mean[k], least)
        d, b, c = disk[k], background[k], values[k]
        wd, wb = weight * d, weight * b
        dd += wd * d
        db += wd * b
        dc += wd * c
        bb += wb * b
        bc += wb * c
        cc += weight * c * c
        seen += used[k]
        inverse += weight
    return dd, db, bb, dc, bc, cc, seen, inverse


@part(fastmath=True)
def _weigh(floor: float, scratch: Any) -> None:  # pragma: no cover
    """Make weights of the expected counts."""
    mean, used, least = scratch.mean, scratch.pixels[1], np.float32(floor)
    for k in range(mean.shape[0]):
        mean[k] = used[k] / max(mean[k], least)


@part(fastmath=True)
def _product(a: Any, b: Any, weight: Any) -> Any:  # pragma: no cover
    total = np.float32(0.0)
    for k in range(weight.shape[0]):
        total += weight[k] * a[k] * b[k]
    return total


@part()
def _collect(n: int, floor: float, scratch: Any) -> Any:  # pragma: no cover
    """Products of all columns of a window; column `n` is the counts. Returns pixels and the sum of their weights."""
    local, last = scratch.local, n - 1
    dd, db, bb, dc, bc, cc, seen, inverse = _core(floor, scratch)
    local[0, 0], local[0, last], local[last, 0], local[last, last] = dd, db, db, bb
    local[0, n], local[n, 0], local[last, n], local[n, last], local[n, n] = dc, dc, bc, bc, cc
    if n > 2:
        _weigh(floor, scratch)
        counts, background, weight = scratch.pixels[0], scratch.pixels[2], scratch.mean
        for i in range(1, last):
            one = scratch.others[i - 1]
            local[0, i] = local[i, 0] = _product(one, scratch.disk, weight)
            local[last, i] = local[i, last] = _product(one, background, weight)
            local[n, i] = local[i, n] = _product(one, counts, weight)
            for j in range(1, i + 1):
                local[j, i] = local[i, j] = _product(one, scratch.others[j - 1], weight)
    return seen, inverse


@part()
def _free_level(n: int, level: float, width: float, noise_scale: float, local: Any) -> None:  # pragma: no cover
    """Eliminate the window's own deviation from the level of the pattern, which has the column of the background."""
    if not width > 0.0:
        return
    last = n - 1
    total = local[last, last] + noise_scale / (width * max(level, 1e-3)) ** 2
    for i in range(n + 1):
        share = local[i, last] / total
        for j in range(i, n + 1):
            if i != last and j != last:
                local[i, j] -= share * local[last, j]
    rest = 1.0 - local[last, last] / total
    for i in range(n + 1):
        if i != last:
            local[i, last] *= rest
            local[last, i] = local[i, last]
    local[last, last] *= rest
    for i in range(n + 1):
        for j in range(i):
            local[i, j] = local[j, i]


@part()
def _misfit(n: int, value: Any, level: float, local: Any, member: Any) -> float:  # pragma: no cover
    """Chi-square of a window for a solution."""
    total = local[n, n]
    for i in range(n):
        x = level if i == n - 1 else value[member[i]]
        total -= 2.0 * x * local[i, n]
        for j in range(n):
            total += x * (level if j == n - 1 else value[member[j]]) * local[i, j]
    return total


@part()
def _invert(overlaps: bool, scratch: Any) -> bool:  # pragma: no cover
    """Solve the equations and invert their matrix; without overlaps all but the row of the level is diagonal."""
    normal, solution, inverse = scratch.normal, scratch.solution, scratch.inverse
    n = solution.shape[0]
    last = n - 1
    for i in range(n):
        normal[i, i] = normal[i, i] * (1.0 + 1e-9) + 1e-12
    if overlaps:
        for i in range(n):
            for j in range(n):
                inverse[i, j] = 1.0 if i == j else 0.0
            inverse[i, n] = solution[i]
        good = cholesky_solve(normal, inverse, n, n + 1)
        for i in range(n):
            solution[i] = inverse[i, n]
        return good
    rest, score = normal[last, last], solution[last]
    for i in range(last):
        factor = normal[i, last] / normal[i, i]
        rest -= factor * normal[i, last]
        score -= factor * solution[i]
    if rest <= 1e-9 * normal[last, last]:
        return False
    solution[last] = score / rest
    inverse[last, last] = 1.0 / rest
    for i in range(last):
        factor = normal[i, last] / normal[i, i]
        inverse[i, i] = 1.0 / normal[i, i] + factor * factor / rest
        solution[i] = solution[i] / normal[i, i] - factor * solution[last]
    return True


@part()
def _round(
    windows: Any, model: Any, runs: Any, value: Any, level: float, excess: Any, scratch: Any
) -> float:  # pragma: no cover
    """One solution from the weights of the one before; the new level, NaN where there is none."""
    normal, solution, local = scratch.normal, scratch.solution, scratch.local
    normal[:], solution[:] = 0.0, 0.0
    for g in range(value.shape[0]):
        n = _load(g, windows, model, runs, scratch)
        excess[g] = np.nan
        if n == 0:
            continue
        _expect(value, level, n, scratch)
        seen, inverse = _collect(n, model.floor, scratch)
        _free_level(n, level, model.width[g], model.noise_scale, local)
        chi = _misfit(n, value, level, local, scratch.member) / model.noise_scale
        error = SURE_MISFIT * np.sqrt(2.0 * seen + inverse * model.noise_scale)
        excess[g] = chi / max(seen, 1.0) if chi > seen + error else 1.0
        for i in range(n):
            solution[scratch.member[i]] += local[i, n]
            for j in range(n):
                normal[scratch.member[i], scratch.member[j]] += local[i, j]
    if not _invert(model.around.shape[1] > 0, scratch):
        return np.nan
    for g in range(value.shape[0]):
        value[g] = solution[g]
    return float(solution[value.shape[0]])


@nb.njit(cache=True, error_model="numpy")
def _solve_all(windows: Any, model: Any, value: Any, sigma: Any) -> None:  # pragma: no cover - compiled
    """Solve all patterns; `value` holds the intensities from which weights are made at first."""
    n_reflections, n_pixels, most = value.shape[1], model.grid.shape[1], model.around.shape[1]
    runs, pixels = find_runs(model.grid, model.half), np.zeros((3, n_pixels), np.float32)
    scratch = _Scratch(
        pixels, pixels.reshape(-1), np.empty(3 * n_pixels, np.float32),
        np.empty((most, n_pixels), np.float32), np.empty(n_pixels, np.float32), np.empty(most + 2, np.int64),
        np.zeros((most + 3, most + 3)), np.empty((n_reflections + 1, n_reflections + 1)),
        np.empty(n_reflections + 1), np.empty((n_reflections + 1, n_reflections + 2)),
    )  # fmt: skip
    excess = np.empty(n_reflections)
    for i in range(value.shape[0]):
        level = 1.0
        one = _Windows(windows.all, i, windows.origin[i], windows.place[i], windows.centre[i])
        for _ in range(ROUNDS):
            level = _round(one, model, runs, value[i], level, excess, scratch)
            if not np.isfinite(level):
                break
        if np.isfinite(level):
            for g in range(n_reflections):
                if np.isfinite(excess[g]):
                    sigma[i, g] = np.sqrt(model.noise_scale * scratch.inverse[g, g] * excess[g])
