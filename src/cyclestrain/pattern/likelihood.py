r"""Poisson likelihood of one pattern given a dictionary entry, and Fisher-scoring steps towards its maximum.

The expected counts at detector pixel `p` in the window of reflection `g` are

.. math::

    \lambda(p) = \beta B(|p - c|) (1 + \beta_g + s_g \cdot u)
    + (a I_g + \delta_g) P_g(p - c - A g) (1 + \sum_m t_{gm} \phi_m(v))

with the disk :math:`P_g(q) = P(q) + D_g(R^{-1} q)`, the probe `P` (softer or sharper where that differs from pattern to
pattern, see `cyclestrain.pattern.blur`) and what the disk of `g` shows in all patterns
(`DiskImages`; `R`: rotation of `A`), the radial background `B` (whose shape is that of the pattern where a film varies,
see `cyclestrain.pattern.film`), the affine `A` of the pattern, its beam centre `c`,
gain `a`, background level :math:`\beta`, and, per reflection, the deviations :math:`\delta_g, \beta_g, s_g, t_g` of
intensity, background level, background slope (`u`: offset from the window's centre in units of its half width) and
contrast inside the disk (`v`: offset from the disk's middle in units of its radius; :math:`\phi` are the two slopes, a
bowl, two saddles and four modes of third order). The deviations have Gaussian priors whose widths were learned from the
data (`Priors`): zero where all patterns share their intensities, wide where thickness and tilt change them from place
to place. With contrast in the disks the position is then read from their edges.

Each reflection reports an information matrix over (shift y, shift x, intensity, level, slope y, slope x, contrast).
Its own deviations are eliminated (Schur complement), as is a wandering of its position that the lattice does not
explain (contrast inside the disk, another crystal), and what is left is pooled into the 8 parameters of the pattern:
``A_yy, A_yx, A_xy, A_xx, c_y, c_x, a, beta``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import FloatArray
from cyclestrain.loops import part
from cyclestrain.pattern.cholesky import factorise, substitute
from cyclestrain.pattern.dictionary import WIDTHS
from cyclestrain.pattern.elimination import (
    N_PARAMETERS,
    POOLED,
    eliminate,
    from_priors,
    move_deviations,
    pool_information,
    pool_score,
    soften,
)
from cyclestrain.pattern.reading import load_window
from cyclestrain.pattern.reflection import (
    N_COLUMNS,
    N_LOCAL,
    N_PLAIN,
    N_SMOOTH,
    Expected,
    Window,
    add_contrast,
    blend,
    core_products,
    other_products,
    radial,
    scale_sums,
)
from cyclestrain.pattern.scratch import make_plan, make_scratch
from cyclestrain.pattern.turned_image import add_image
from cyclestrain.pattern.windows import touch

__all__ = ["Model", "Outcome", "Steps", "fit_patterns", "place_window"]

_LEAST_SHARE = 0.4
"""Least share of the pixels of a round window that must be good for a reflection to count."""


class Model(NamedTuple):
    """What patterns are compared with.

    ``tables`` are those of `Probe.compared_softened`, of which each pattern, or all, are compared with one ``level``,
    shape ``(n,)``, ``grid`` is that of `Probe.compared`, the background is a radial profile of each
    pattern, or one of all, shape ``(n, radius)``, windows reach ``half`` pixels, ``floor`` is the least variance of a
    pixel, ``coherence`` is that of `Priors`, and ``disks`` are the tables of `cyclestrain.pattern.DiskImages` with
    ``nodes`` per pixel.
    """

    tables: NDArray[np.float32]
    level: NDArray[np.int64]
    grid: NDArray[np.float32]
    background: NDArray[np.float32]
    reflections: FloatArray
    intensity: FloatArray
    spread: FloatArray
    radius: float
    floor: float
    half: int
    coherence: float
    disks: NDArray[np.float32]
    nodes: float


class Steps(NamedTuple):
    """How to climb.

    ``tolerance`` above zero ends when no reflection moves further, and leaves out the covariance; ``settled`` when the
    step is shorter in units of its standard deviation.
    """

    centre_precision: float
    noise_scale: float
    grain: float
    robust: bool
    max_shift: float
    iterations: int
    tolerance: float
    settled: float


class Outcome(NamedTuple):
    """What a fit writes for every pattern; `parameters` and `local` are where it starts as well.

    ``prior`` is the variance of the pooled score that the deviations give it, ``(n, 8, 8)``, zero where none is free;
    ``coherent`` is what is added to that because they are alike in all disks, see `Priors.coherence`; ``brightness``
    holds the counts expected in each disk, what was found beyond these, and the variance of that, ``(n, reflection,
    3)``; the others are as in `cyclestrain.pattern.PatternFit`.
    """

    parameters: FloatArray
    local: FloatArray
    covariance: FloatArray
    misfit: FloatArray
    shift_score: FloatArray
    shift_information: FloatArray
    prior: FloatArray
    coherent: FloatArray
    brightness: FloatArray


@part()
def spread_of_squares(n: Any, inverse: Any, grain: Any) -> Any:  # pragma: no cover - compiled
    """Variance of chi-square: of pixels that scatter alike, there are fewer independent ones.

    Where noise is spread as a Gaussian is, the sum of the squares of all correlations is half that of the correlations.
    """
    return (2.0 * n + inverse) * 0.5 * (1.0 + grain)


@part()
def place_window(
    n: int, g: int, windows: Any, model: Any, theta: Any, plan: Any, scratch: Any
) -> Any:  # pragma: no cover - compiled
    """Copy the pixels around a reflection, and its background, into the scratch space unless they lie there already.

    Parameters
    ----------
    n, g
        Pattern and reflection.
    windows, model
        As for `fit_patterns`.
    theta
        Parameters of the pattern, of which affine and centre place the disk.
    plan, scratch
        See `cyclestrain.pattern.scratch`; `scratch.place` says where the pixels were copied from.

    Returns
    -------
    near, fy, fx
        Whether the disk is within reach of its window, and how far it is off the middle pixel.
    """
    gy, gx = model.reflections[g, 0], model.reflections[g, 1]
    py = theta[4] + theta[0] * gy + theta[1] * gx
    px = theta[5] + theta[2] * gy + theta[3] * gx
    origin, margin, place = windows.origin[n, g], plan.margin, scratch.place
    ry, rx = round(py) - origin[0], round(px) - origin[1]
    ry, rx = min(max(ry, -margin), margin), min(max(rx, -margin), margin)
    fy, fx = py - (origin[0] + ry), px - (origin[1] + rx)
    near = abs(fy) < 1.0 and abs(fx) < 1.0
    if near and (place[g, 0] != ry or place[g, 1] != rx):
        place[g, 0], place[g, 1] = ry, rx
        load_window(windows, n, g, ry, rx, plan.runs, model.grid[4], scratch.rows[g])
        middle_y, middle_x = origin[0] + ry - theta[4], origin[1] + rx - theta[5]
        profile = model.background[min(n, model.background.shape[0] - 1)]
        radial(profile, middle_y, middle_x, model.grid, scratch.pixels[g, 2])
    return near, fy, fx


@part()
def _weight(misfit: Any, steps: Any) -> float:  # pragma: no cover - compiled
    """Weight of a reflection with what `core_products` says of its misfit."""
    scale, (chi, usual, inverse, _) = steps.noise_scale, misfit
    # Pearson's chi-square of Poisson counts has variance sum(2 + 1 / expected).
    if steps.robust and chi > scale * (usual + 4.0 * np.sqrt(spread_of_squares(usual, inverse * scale, steps.grain))):
        return usual / (chi * steps.grain)
    return 1.0 / (scale * steps.grain)


@part()
def _weigh_light(weight: float, amplitude: float, sums: Any, brightness: Any) -> None:  # pragma: no cover - compiled
    """What is expected in the disk, what was found beyond it with the background's level unknown, and its variance."""
    over_level = sums[2, 3] / sums[3, 3] if sums[3, 3] > 0 else 0.0
    information = sums[2, 2] - over_level * sums[2, 3]
    if information > 0:
        brightness[0] = amplitude
        brightness[1] = (sums[2, N_COLUMNS] - over_level * sums[3, N_COLUMNS]) / information
        brightness[2] = 1.0 / (weight * information)


@part()
def _isolate(
    g: int, weight: float, expected: Any, model: Any, gain: float, plan: Any, scratch: Any, n_local: int
) -> None:  # pragma: no cover - compiled
    """Information and score of reflection `g` from its sums, its deviations eliminated."""
    normal, score, precision = scratch.normal, scratch.score, scratch.precision
    scale_sums(scratch.sums, weight, expected.amplitude, expected.level, 2 + n_local, normal, score)
    if plan.free[g]:
        for i in range(n_local):  # prior widths of intensities are relative to the shared one
            width = model.spread[g, WIDTHS[i]] * (gain * model.intensity[g] if i == 0 else 1.0)
            precision[i] = 1.0 / (width * width) if width > 0 else np.inf
        eliminate(
            normal, score, precision, expected.local, n_local, scratch.work, scratch.coupling, scratch.gains[g]
        )  # fmt: skip


@part()
def _report(
    n: int, g: int, windows: Any, model: Any, steps: Any, outcome: Any, plan: Any, scratch: Any
) -> bool:  # pragma: no cover - compiled
    """What reflection `g` says into `normal` and `score`; False where too little of it is seen."""
    theta, local, misfit = outcome.parameters, outcome.local[g], outcome.misfit[g]
    misfit[:] = 0.0
    outcome.brightness[g, 2] = np.inf
    near, fy, fx = place_window(n, g, windows, model, theta, plan, scratch)
    if not near:
        return False
    window = Window(scratch.pixels[g], scratch.shape, scratch.extra, scratch.polynomial, model.grid)
    expected = Expected(local, theta[6] * model.intensity[g] + local[0], theta[7], model.floor)
    blend(model.tables[model.level[min(n, model.level.shape[0] - 1)]], fy, fx, scratch.blended)
    if len(model.disks) > 0:
        add_image(window, model.disks[g], model.nodes, theta, fy, fx)
    n_local = plan.n_local[g]
    if n_local >= N_SMOOTH:
        add_contrast(window, local, fy, fx, model.radius, n_local)
    seen = core_products(window, expected, scratch.sums)
    if n_local > 2:
        other_products(window, expected, 2 + n_local, scratch.sums)
    misfit[0], misfit[1], misfit[2], n_seen = seen
    size = 2 * model.half + 1
    if n_seen < _LEAST_SHARE * size * size * 0.78:
        return False
    weight = _weight(seen, steps)
    _weigh_light(weight, expected.amplitude, scratch.sums, outcome.brightness[g])
    if n_local == N_LOCAL:  # constants let the compiler unroll the loops
        _isolate(g, weight, expected, model, theta[6], plan, scratch, N_LOCAL)
    elif n_local == N_SMOOTH:
        _isolate(g, weight, expected, model, theta[6], plan, scratch, N_SMOOTH)
    elif n_local == N_PLAIN:
        _isolate(g, weight, expected, model, theta[6], plan, scratch, N_PLAIN)
    else:
        _isolate(g, weight, expected, model, theta[6], plan, scratch, 2)
    return True


@part()
def _add_radial(g: int, model: Any, outcome: Any, scratch: Any) -> None:  # pragma: no cover - compiled
    """Pool the part of what the priors give reflection `g` that acts along its direction from the beam.

    With the variance `V` of its score and the direction `r` this is ``w = V r / (r V r)^(1/2)``.
    """
    theta, of_priors, radial_score = outcome.parameters, scratch.scatter, scratch.radial
    gy, gx, intensity, level = model.reflections[g, 0], model.reflections[g, 1], model.intensity[g], theta[7]
    ry, rx = theta[0] * gy + theta[1] * gx, theta[2] * gy + theta[3] * gx
    along = ry * ry * of_priors[0, 0] + 2 * ry * rx * of_priors[0, 1] + rx * rx * of_priors[1, 1]
    if not along > 0:
        return
    for i in range(4):
        radial_score[i] = (of_priors[i, 0] * ry + of_priors[i, 1] * rx) / np.sqrt(along)
    pool_score(gy, gx, intensity, level, radial_score, scratch.pooled_radial)
    for i in range(4):
        for j in range(4):
            of_priors[i, j] = radial_score[i] * radial_score[j]
    pool_information(gy, gx, intensity, level, of_priors, scratch.pooled_own)


@part()
def _add_report(
    g: int, last: bool, model: Any, outcome: Any, plan: Any, scratch: Any
) -> None:  # pragma: no cover - compiled
    """Keep what reflection `g` says of its own shift, and pool the rest; in the `last` round also by the priors."""
    normal, score = scratch.normal, scratch.score
    for i in range(2):
        outcome.shift_score[g, i] = score[i]
        for j in range(2):
            outcome.shift_information[g, i, j] = normal[i, j]
    gy, gx, intensity = model.reflections[g, 0], model.reflections[g, 1], model.intensity[g]
    level, wander = outcome.parameters[7], model.spread[g, 4]
    if last and (plan.free[g] or wander > 0):
        n_free = plan.n_local[g] if plan.free[g] else 0
        from_priors(normal, scratch.precision, scratch.gains[g], n_free, wander, scratch.to_score, scratch.scatter)
        pool_information(gy, gx, intensity, level, scratch.scatter, scratch.pooled_scatter)
        if model.coherence > 0:
            _add_radial(g, model, outcome, scratch)
    if wander > 0:
        soften(normal, score, wander)
    pool_information(gy, gx, intensity, level, normal, scratch.pooled)
    pool_score(gy, gx, intensity, level, score, scratch.pooled_score)


@part()
def _assemble(theta: Any, steps: Any, centre: Any, scratch: Any) -> None:  # pragma: no cover - compiled
    """Equations of the pattern's step: what was pooled, and what is known of the centre."""
    hessian, step = scratch.hessian, scratch.step
    for a in range(N_PARAMETERS):
        step[POOLED[a], 0] = scratch.pooled_score[a]
        for b in range(a, N_PARAMETERS):
            hessian[POOLED[a], POOLED[b]] = hessian[POOLED[b], POOLED[a]] = scratch.pooled[a, b]
    for i in range(2):
        hessian[4 + i, 4 + i] += steps.centre_precision
        step[4 + i, 0] += steps.centre_precision * (centre[i] - theta[4 + i])
    # A vanishing ridge keeps parameters that the data do not see (no background, no disk) at rest.
    for a in range(N_PARAMETERS):
        hessian[a, a] = hessian[a, a] * (1.0 + 1e-9) + 1e-12


@part()
def _conclude(outcome: Any, coherence: float, factored: bool, scratch: Any) -> None:  # pragma: no cover - compiled
    """Covariance of the pattern's parameters, whose information is `factored`, and what of it the priors give."""
    covariance, prior, coherent = outcome.covariance, outcome.prior, outcome.coherent
    for a in range(N_PARAMETERS):
        for b in range(a, N_PARAMETERS):
            prior[POOLED[a], POOLED[b]] = prior[POOLED[b], POOLED[a]] = scratch.pooled_scatter[a, b]
            together = coherence * scratch.pooled_radial[a] * scratch.pooled_radial[b]
            together -= min(coherence, 1.0) * scratch.pooled_own[a, b]
            coherent[POOLED[a], POOLED[b]] = coherent[POOLED[b], POOLED[a]] = together
    for a in range(N_PARAMETERS):
        for b in range(N_PARAMETERS):
            covariance[a, b] = 1.0 if a == b else 0.0
    if factored:
        substitute(scratch.hessian, covariance, N_PARAMETERS, N_PARAMETERS)
    else:
        covariance[:] = np.nan


@part()
def _squared(factor: Any, step: Any) -> float:  # pragma: no cover - compiled
    """Square of a step in units of its standard deviation, from the factor of the information."""
    total = 0.0
    for i in range(N_PARAMETERS):
        t = 0.0
        for k in range(i, N_PARAMETERS):
            t += factor[k, i] * step[k, 0]
        total += t * t
    return total


@part()
def _advance(model: Any, steps: Any, outcome: Any, plan: Any, scratch: Any) -> float:  # pragma: no cover - compiled
    """Take the step, shortened if it is too long; returns how far it would move a reflection, pixels."""
    theta, step, reflections = outcome.parameters, scratch.step[:, 0], model.reflections
    largest = max(abs(step[4]), abs(step[5]))
    for i in range(4):
        largest = max(largest, abs(step[i]) * plan.longest)
    damping = min(1.0, steps.max_shift / largest) if largest > 0 else 1.0
    for g in range(reflections.shape[0]):
        if scratch.seen[g] and plan.free[g]:
            move_deviations(
                outcome.local[g], scratch.gains[g], step, damping, reflections[g, 0], reflections[g, 1],
                model.intensity[g], theta,
            )  # fmt: skip
    for a in range(6):
        theta[a] += damping * step[a]
    theta[6] = max(theta[6] + damping * step[6], 0.02 * theta[6])
    theta[7] = max(theta[7] + damping * step[7], 0.02 * theta[7])
    return largest


@part()
def _fit_one(
    n: int, windows: Any, model: Any, steps: Any, centre: Any, outcome: Any, plan: Any, scratch: Any
) -> None:  # pragma: no cover - compiled
    """Fit one pattern: its number, its centre beforehand, its part of the outcome."""
    scratch.place[:] = -(10**6)
    if windows.images.shape[1] == 1:  # stacks lie in memory as they are read
        scratch.step[0, 0] = touch(windows, n)
    scratch.pooled_scatter[:] = 0.0
    scratch.pooled_radial[:] = 0.0
    scratch.pooled_own[:] = 0.0
    iteration = 0
    while True:
        last = iteration == steps.iterations
        if last and steps.tolerance > 0:
            break
        scratch.pooled[:] = 0.0
        scratch.pooled_score[:] = 0.0
        for g in range(windows.origin.shape[1]):
            scratch.seen[g] = _report(n, g, windows, model, steps, outcome, plan, scratch)
            if scratch.seen[g]:
                _add_report(g, last, model, outcome, plan, scratch)
        _assemble(outcome.parameters, steps, centre, scratch)
        factored = factorise(scratch.hessian, N_PARAMETERS)
        if last:
            _conclude(outcome, model.coherence, factored, scratch)
            break
        if not factored:
            break
        substitute(scratch.hessian, scratch.step, N_PARAMETERS, 1)
        settled = _squared(scratch.hessian, scratch.step) < steps.settled**2
        if _advance(model, steps, outcome, plan, scratch) < steps.tolerance:
            break
        if settled and plan.rigid:  # what was found before so short a step holds behind it
            _conclude(outcome, model.coherence, factored, scratch)
            break
        iteration = steps.iterations if settled else iteration + 1


@nb.njit(cache=True, nogil=True, error_model="numpy")
def fit_patterns(
    windows: Any, model: Any, steps: Any, centre: Any, outcome: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Fisher-scoring steps for many patterns one after another, see `cyclestrain.pattern.refine`.

    Parameters
    ----------
    windows, model, steps
        `cyclestrain.pattern.windows.Windows`, `Model` and `Steps`.
    centre
        Beam centre known beforehand, shape ``(n, 2)``.
    outcome
        `Outcome`: where the fits start, and what they write.
    start, stop
        The first of the patterns and the one behind the last.
    """
    plan = make_plan(model, windows.half)
    scratch = make_scratch(model.reflections.shape[0], model.grid.shape[1], plan.n_local)
    for n in range(start, stop):
        own = Outcome(
            outcome.parameters[n], outcome.local[n], outcome.covariance[n], outcome.misfit[n], outcome.shift_score[n],
            outcome.shift_information[n], outcome.prior[n], outcome.coherent[n],
            outcome.brightness[n],
        )  # fmt: skip
        _fit_one(n, windows, model, steps, centre[n], own, plan, scratch)
