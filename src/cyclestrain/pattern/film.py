"""How much of its second profile the background of each pattern holds: that of an amorphous film, say.

Known before the fit, it costs that no parameter: thousands of pixels tell it, and what is uncertain of it is small
beside the noise of the affine. The brightness of every disk is free, so that it does not matter what disks show.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.loops import on_threads, part
from cyclestrain.pattern.reading import load_window
from cyclestrain.pattern.reflection import blend, radial
from cyclestrain.pattern.scratch import find_runs
from cyclestrain.pattern.windows import Windows, touch

__all__ = ["measure_film"]

ROUNDS = 3
"""Rounds of reweighting."""
WIDTH = 2.0
"""Standard deviation of the film of a pattern beforehand; the entry's is made so that it is about one."""


class _Rows(NamedTuple):
    """Scratch space of one thread: the pixels of every reflection of a pattern in rows."""

    pixels: Any  # counts, and 1 for those that are used, in one row, (reflection, 2 * pixel)
    background: Any  # (reflection, pixel)
    film: Any
    disk: Any
    brightness: Any  # of the disk, NaN where it is not seen, (reflection,)
    blended: Any  # disk and its derivatives, in one row


@part()
def _load(
    n: int, g: int, windows: Any, model: Any, film: Any, theta: Any, runs: Any, rows: Any
) -> bool:  # pragma: no cover - compiled
    """Pixels around reflection `g` and what is expected there; False where it stands outside of its window."""
    gy, gx, origin = model.reflections[g, 0], model.reflections[g, 1], windows.origin[n, g]
    py, px = theta[4] + theta[0] * gy + theta[1] * gx, theta[5] + theta[2] * gy + theta[3] * gx
    ry, rx, margin = round(py) - origin[0], round(px) - origin[1], windows.half - model.half
    if abs(ry) > margin or abs(rx) > margin:
        return False
    load_window(windows, n, g, ry, rx, runs, model.grid[4], rows.pixels[g])
    y, x = origin[0] + ry - theta[4], origin[1] + rx - theta[5]
    radial(model.background[0], y, x, model.grid, rows.background[g])
    radial(film, y, x, model.grid, rows.film[g])
    blend(model.tables, py - origin[0] - ry, px - origin[1] - rx, rows.blended)
    for k in range(rows.disk.shape[1]):
        rows.disk[g, k] = rows.blended[k]
    return True


@part(fastmath=True)
def _sums(g: int, level: float, amount: float, floor: float, rows: Any) -> Any:  # pragma: no cover
    """Products of background, film, disk and counts over the variance, summed over the pixels of one reflection."""
    size = rows.disk.shape[1]
    values, used = rows.pixels[g, :size], rows.pixels[g, size:]
    background, film, disk = rows.background[g], rows.film[g], rows.disk[g]
    under, more = np.float32(level), np.float32(amount)
    bright, least = np.float32(rows.brightness[g]), np.float32(floor)
    bb = bf = ff = bd = fd = dd = by = fy = dy = np.float32(0.0)
    for k in range(size):
        b, f, d, y = background[k], film[k], disk[k], values[k]
        weight = used[k] / max(under * b + more * f + bright * d, least)
        wb, wf, wd = weight * b, weight * f, weight * d
        bb += wb * b
        bf += wb * f
        ff += wf * f
        bd += wb * d
        fd += wf * d
        dd += wd * d
        by += wb * y
        fy += wf * y
        dy += wd * y
    return bb, bf, ff, bd, fd, dd, by, fy, dy


@part()
def _solve(theta: Any, floor: float, scale: float, rows: Any) -> float:  # pragma: no cover
    """Film of a pattern in units of the level of its background, each round with the weights of the one before."""
    level, amount = theta[7], 0.0
    for _ in range(ROUNDS):
        bb = bf = by = fy = 0.0
        ff = scale / (WIDTH * level) ** 2
        for g in range(rows.brightness.shape[0]):
            if not np.isfinite(rows.brightness[g]):
                continue
            own_bb, own_bf, own_ff, bd, fd, dd, own_by, own_fy, dy = _sums(g, level, amount, floor, rows)
            inverse = 1.0 / dd if dd > 0.0 else 0.0
            bb += own_bb - bd * bd * inverse
            bf += own_bf - bd * fd * inverse
            ff += own_ff - fd * fd * inverse
            by += own_by - bd * dy * inverse
            fy += own_fy - fd * dy * inverse
            rows.brightness[g] = max((dy - level * bd - amount * fd) * inverse, 0.0)
        determinant = bb * ff - bf * bf
        if not determinant > 0.0:
            return 0.0
        level, amount = (ff * by - bf * fy) / determinant, (bb * fy - bf * by) / determinant
        if not level > 0.0:
            return 0.0
    return amount / level


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _measure_all(
    windows: Any, model: Any, film: Any, parameters: Any, scale: float, out: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    n_reflections, n_pixels = model.reflections.shape[0], model.grid.shape[1]
    runs = find_runs(model.grid, model.half)
    rows = _Rows(
        np.zeros((n_reflections, 2 * n_pixels), np.float32), np.empty((n_reflections, n_pixels), np.float32),
        np.empty((n_reflections, n_pixels), np.float32), np.empty((n_reflections, n_pixels), np.float32),
        np.empty(n_reflections), np.empty(3 * n_pixels, np.float32),
    )  # fmt: skip
    for n in range(start, stop):
        theta = parameters[n]
        if windows.images.shape[1] == 1:
            rows.blended[0] = touch(windows, n)
        for g in range(n_reflections):
            seen = _load(n, g, windows, model, film, theta, runs, rows)
            rows.brightness[g] = theta[6] * model.intensity[g] if seen else np.nan
        out[n] = _solve(theta, model.floor, scale, rows)


def measure_film(windows: Windows, model: Any, film: FloatArray, parameters: FloatArray, scale: float) -> FloatArray:
    """How much of an entry's film each pattern holds, shape ``(n,)``: least squares with free brightness of all disks.

    Parameters
    ----------
    windows
        Windows of the patterns around their reflections.
    model
        The entry as `cyclestrain.pattern.likelihood.Model`, with one background for all patterns.
    film
        Second profile of the background, counts per pixel.
    parameters
        Where the reflections are, and about how bright, see `cyclestrain.pattern.likelihood.Outcome`.
    scale
        Variance over mean of pixels that are taken for independent.
    """
    out = np.zeros(len(parameters))
    on_threads(_measure_all, len(out), windows, model, film.astype(np.float32), parameters, float(scale), out)
    return out
