"""What a thread that fits patterns prepares once, before it looks at any."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cyclestrain.loops import part
from cyclestrain.pattern.elimination import N_PARAMETERS
from cyclestrain.pattern.reflection import N_COLUMNS, N_LOCAL, N_PLAIN, N_SMOOTH

__all__ = ["find_runs", "make_plan", "make_scratch"]


class Plan(NamedTuple):
    """What follows from the model before any pattern is looked at."""

    runs: Any  # pixels that are compared, row by row: offset x of the first one and how many, (row, 2)
    margin: int  # how far a window can be off its predicted place
    free: Any  # reflections that have deviations, (reflection,)
    rigid: bool  # no reflection has any, or wanders
    n_local: Any  # deviations that are fitted: `N_LOCAL`, `N_SMOOTH`, `N_PLAIN` or 2, (reflection,)
    longest: float  # length of the longest reflection


class Scratch(NamedTuple):
    """What one thread works on, used again for every pattern, and for every reflection where it has no such axis."""

    seen: Any  # reflections that take part, (reflection,)
    place: Any  # where their pixels were copied from, relative to the predicted place, (reflection, 2)
    pixels: Any  # those of `Window`, (reflection, 3, pixel)
    rows: Any  # the same with all of a reflection in one row
    shape: Any
    blended: Any  # shape in one row
    extra: Any
    polynomial: Any
    sums: Any
    normal: Any
    score: Any
    precision: Any  # of the priors of the deviations
    work: Any
    coupling: Any
    gains: Any  # of every reflection, see `eliminate`
    to_score: Any
    scatter: Any
    radial: Any  # see `_add_radial`
    pooled: Any  # information, its score and its variance by the priors, parameters in the order of `POOLED`
    pooled_score: Any
    pooled_scatter: Any
    pooled_radial: Any
    pooled_own: Any
    hessian: Any  # parameters in their own order from here on
    step: Any


@part(counted=True)
def find_runs(grid: Any, half: int) -> Any:  # pragma: no cover - compiled
    """Offset x of the first pixel of each row that is compared, and how many there are, shape ``(row, 2)``.

    Parameters
    ----------
    grid
        Of `cyclestrain.pattern.Probe.compared`.
    half
        Reach of the windows, pixels.
    """
    runs = np.zeros((2 * half + 1, 2), np.int64)
    for k in range(grid.shape[1]):
        if grid[4, k] > 0:
            row = half + int(grid[0, k])
            if runs[row, 1] == 0:
                runs[row, 0] = int(grid[1, k])
            runs[row, 1] += 1
    return runs


@part(counted=True)
def make_plan(model: Any, reach: int) -> Any:  # pragma: no cover - compiled
    """Prepare to fit patterns.

    Parameters
    ----------
    model
        `cyclestrain.pattern.likelihood.Model`.
    reach
        How far from the predicted place pixels may be read.
    """
    grid, reflections, spread, half = model.grid, model.reflections, model.spread, model.half
    n_reflections = reflections.shape[0]
    free, n_local, longest = np.empty(n_reflections, np.bool_), np.empty(n_reflections, np.int64), 1.0
    for g in range(n_reflections):
        longest = max(longest, np.hypot(reflections[g, 0], reflections[g, 1]))
        textured, sloped = spread[g, 5:].max() > 0, spread[g, 2:4].max() > 0
        n_local[g] = N_SMOOTH if textured else (N_PLAIN if sloped else 2)
        if spread[g, 8] > 0:
            n_local[g] = N_LOCAL
        free[g] = spread[g, :4].max() > 0 or textured
    rigid = not free.any() and not spread[:, 4].max() > 0
    return Plan(find_runs(grid, half), reach - half, free, rigid, n_local, longest)


@part(counted=True)
def make_scratch(n_reflections: int, n_pixels: int, n_local: Any) -> Any:  # pragma: no cover - compiled
    """Empty scratch space.

    Parameters
    ----------
    n_reflections, n_pixels
        Reflections of the entry, and pixels (with padding) that are compared in each window.
    n_local
        Deviations that are fitted, shape ``(reflection,)``.
    """
    most = n_local.max()
    shape, pixels = np.empty((3, n_pixels), np.float32), np.zeros((n_reflections, 3, n_pixels), np.float32)
    return Scratch(
        np.zeros(n_reflections, np.bool_), np.empty((n_reflections, 2), np.int64),
        pixels, pixels.reshape(n_reflections, -1), shape, shape.reshape(-1),
        np.zeros((13, n_pixels), np.float32), np.zeros(10, np.float32),
        np.zeros((N_COLUMNS, N_COLUMNS + 1), np.float32),
        np.zeros((N_COLUMNS, N_COLUMNS)), np.zeros(N_COLUMNS), np.empty(N_LOCAL), np.empty((most, most)),
        np.empty((most, 4)), np.zeros((n_reflections, most, 5)), np.zeros((4, 2)), np.zeros((4, 4)),
        np.zeros(4),
        np.empty((N_PARAMETERS, N_PARAMETERS)), np.empty(N_PARAMETERS), np.zeros((N_PARAMETERS, N_PARAMETERS)),
        np.zeros(N_PARAMETERS), np.zeros((N_PARAMETERS, N_PARAMETERS)),
        np.empty((N_PARAMETERS, N_PARAMETERS)), np.empty((N_PARAMETERS, 1)),
    )  # fmt: skip
