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
from cyclestrain.pattern.likelihood import place_window
from cyclestrain.pattern.reflection import blend, disk_products, radial
from cyclestrain.pattern.scratch import make_plan, make_scratch
from cyclestrain.pattern.windows import Windows, touch

__all__ = ["measure_film"]

ROUNDS = 3
"""Rounds of reweighting."""
WIDTH = 2.0
"""Standard deviation of the film of a pattern beforehand; the entry's is made so that it is about one."""


class _Rows(NamedTuple):
    """What one thread compares the pixels of every reflection of a pattern with, in rows like those of the pixels."""

    profile: Any  # of the film
    pixels: Any  # counts, 1 for those that are used (else 0), background: (reflection, 3, pixel)
    film: Any  # (reflection, pixel)
    disk: Any
    brightness: Any  # of the disk, NaN where it is not seen, (reflection,)


@part()
def _load(
    n: int, g: int, windows: Any, model: Any, theta: Any, plan: Any, scratch: Any, rows: Any
) -> bool:  # pragma: no cover - compiled
    """Pixels around reflection `g` and what is expected there; False where it stands outside of its window."""
    near, fy, fx = place_window(n, g, windows, model, theta, plan, scratch)
    if near:
        y, x = windows.origin[n, g, 0] + scratch.place[g, 0], windows.origin[n, g, 1] + scratch.place[g, 1]
        radial(rows.profile, y - theta[4], x - theta[5], model.grid, rows.film[g])
        blend(model.tables[0], fy, fx, scratch.blended)
        for k in range(rows.disk.shape[1]):
            rows.disk[g, k] = scratch.shape[0, k]
    return near


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
            own_bb, bd, dd, own_bf, fd, own_ff, own_by, dy, own_fy = disk_products(
                rows.pixels[g], rows.disk[g], rows.film[g], level, rows.brightness[g], amount, floor
            )
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
    plan, shape = make_plan(model, windows.half), (model.reflections.shape[0], model.grid.shape[1])
    scratch = make_scratch(shape[0], shape[1], plan.n_local)
    rows = _Rows(film, scratch.pixels, np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape[0]))
    for n in range(start, stop):
        theta = parameters[n]
        scratch.place[:] = -(10**6)
        if windows.images.shape[1] == 1:
            scratch.step[0, 0] = touch(windows, n)
        for g in range(shape[0]):
            seen = _load(n, g, windows, model, theta, plan, scratch, rows)
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
