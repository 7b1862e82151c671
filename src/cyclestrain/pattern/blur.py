"""How much softer than the probe the disks of each pattern are: by defocus that drifts, or plasmons in thick parts.

A softer disk is no displaced one, but on the slope of a background its inner and outer sides count differently, so that
it passes for displaced: all disks outwards or inwards, which is strain. The blur is a Gaussian one, told by its
variance, in which disks are nearly linear; below zero they are sharper than the probe, which is that of the mean
pattern. Known before the fit, it costs that no parameter. Brightness and level of every disk are free.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import FloatArray
from cyclestrain.loops import on_threads, part
from cyclestrain.pattern.likelihood import place_window
from cyclestrain.pattern.reflection import blend, disk_products
from cyclestrain.pattern.scratch import make_plan, make_scratch
from cyclestrain.pattern.windows import Windows, touch

__all__ = ["blur_levels", "measure_blur", "nearest_level", "pooled_blur"]

ROUNDS = 3
"""Rounds in which the variance is found: disks are not quite linear in it."""
LEVELS, FARTHEST = 9, 2.0
"""Number of blurs that are tabulated, and the largest in standard deviations."""


def blur_levels(spread: float) -> FloatArray:
    """Variances of the blurs that are tabulated, pixels squared, in equal steps about zero.

    Parameters
    ----------
    spread
        Standard deviation of the variance from pattern to pattern.
    """
    return spread * np.linspace(-FARTHEST, FARTHEST, LEVELS)


def nearest_level(variance: FloatArray, levels: FloatArray) -> NDArray[np.int64]:
    """Number of the level that is nearest to each variance, shape ``(n,)``; NaN is taken for zero."""
    return np.abs(np.nan_to_num(variance)[:, None] - levels).argmin(1).astype(np.int64)


def pooled_blur(variance: FloatArray, information: FloatArray, spread: float) -> FloatArray:
    """Variance of the blur of each pattern from those of its disks, shape ``(n,)``.

    It is expected to be as large as those of other patterns: what single patterns hardly tell is drawn to none.

    Parameters
    ----------
    variance, information
        Of every disk, shapes ``(n, reflection)``.
    spread
        Standard deviation from pattern to pattern.
    """
    return np.asarray((variance * information).sum(1) / (information.sum(1) + spread**-2))


@part()
def _solve(sums: Any, bright: float) -> Any:  # pragma: no cover
    """Least-squares amount of the change of a disk of free brightness on a free level, and the information on it."""
    bb, bd, dd, bc, dc, cc, by, dy, cy = sums  # background, disk, change, counts
    determinant = bb * dd - bd * bd
    if not determinant > 1e-6 * bb * dd:
        return 0.0, 0.0
    of_b, of_d = (dd * bc - bd * dc) / determinant, (bb * dc - bd * bc) / determinant
    information = cc - bc * of_b - dc * of_d
    if not information > 1e-6 * cc or not bright > 0.0:
        return 0.0, 0.0
    return (cy - of_b * by - of_d * dy) / (information * bright), information * bright * bright


@part()
def _change(model: Any, at: int, levels: Any, fy: float, fx: float, bowl: bool, disk: Any, change: Any) -> None:
    # pragma: no cover - compiled
    """Disk of a level, and how it changes with the variance of the blur, or with a bowl inside it."""
    last = levels.shape[0] - 1
    low, high = max(at - 1, 0), min(at + 1, last)
    if not bowl:
        blend(model.tables[low], fy, fx, disk)
        blend(model.tables[high], fy, fx, change)
        for k in range(disk.shape[0]):
            change[k] = (change[k] - disk[k]) / np.float32(levels[high] - levels[low])
    blend(model.tables[at], fy, fx, disk)
    if bowl:
        for k in range(disk.shape[0]):
            y, x = model.grid[0, k] - np.float32(fy), model.grid[1, k] - np.float32(fx)
            change[k] = disk[k] * (y * y + x * x) / np.float32(model.radius**2)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _measure_all(
    windows: Any, model: Any, levels: Any, parameters: Any, bowl: bool, out: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    plan, shape = make_plan(model, windows.half), (model.reflections.shape[0], model.grid.shape[1])
    scratch = make_scratch(shape[0], shape[1], plan.n_local)
    disk, change = np.empty(shape[1], np.float32), np.empty(shape[1], np.float32)
    last = levels.shape[0] - 1
    for n in range(start, stop):
        theta = parameters[n]
        scratch.place[:] = -(10**6)
        if windows.images.shape[1] == 1:
            scratch.step[0, 0] = touch(windows, n)
        at = last // 2
        for _ in range(1 if bowl else ROUNDS):
            pooled = weight = 0.0
            for g in range(shape[0]):
                out[n, g, 1] = 0.0
                near, fy, fx = place_window(n, g, windows, model, theta, plan, scratch)
                if not near:
                    continue
                _change(model, at, levels, fy, fx, bowl, disk, change)
                bright = theta[6] * model.intensity[g]
                found = _solve(
                    disk_products(scratch.pixels[g], disk, change, theta[7], bright, 0.0, model.floor), bright
                )
                out[n, g, 0], out[n, g, 1] = levels[at] + found[0], found[1]
                pooled += found[1] * out[n, g, 0]
                weight += found[1]
            if not weight > 0.0:
                break
            mean = pooled / weight
            at = min(max(round((mean - levels[0]) / (levels[1] - levels[0])), 0), last)


def measure_blur(
    windows: Windows, model: Any, levels: FloatArray, parameters: FloatArray, scale: float, bowl: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Variance of the blur of every disk in every pattern, and the information on it, shapes ``(n, reflection)``.

    Parameters
    ----------
    windows
        Windows of the patterns around their reflections.
    model
        The entry as `cyclestrain.pattern.likelihood.Model`, with tables of all levels.
    levels
        Variances that are tabulated, see `blur_levels`.
    parameters
        Where the reflections are, and about how bright, see `cyclestrain.pattern.likelihood.Outcome`.
    scale
        Variance over mean of pixels that are taken for independent.
    bowl
        Whether how much brighter disks are towards their edge is measured instead, which a blur resembles.
    """
    out = np.zeros((len(parameters), len(model.reflections), 2))
    on_threads(_measure_all, len(out), windows, model, levels, parameters, bowl, out)
    return out[..., 0], out[..., 1] / scale
