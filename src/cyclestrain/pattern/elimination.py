"""What one reflection says of its pattern: its own deviations eliminated, the rest pooled into eight parameters.

The model of the expected counts is that of `cyclestrain.pattern.likelihood`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cyclestrain.loops import part
from cyclestrain.pattern.cholesky import cholesky_solve
from cyclestrain.pattern.reflection import N_LOCAL, N_PLAIN

__all__ = [
    "N_PARAMETERS",
    "POOLED",
    "STEEPEST",
    "eliminate",
    "from_priors",
    "move_deviations",
    "pool_information",
    "pool_score",
    "soften",
]

N_PARAMETERS = 8
"""Of a pattern: affine ``A_yy, A_yx, A_xy, A_xx``, centre ``c_y, c_x``, gain and background level."""
STEEPEST = 2.0
"""Largest weight of a mode of contrast: a disk that is dark on one side has a slope of one."""
POOLED = np.array([0, 1, 4, 2, 3, 5, 6, 7])
"""Parameters in the order in which a reflection's shift y and x, its intensity and its level act on them."""


@part()
def eliminate(
    normal: Any, score: Any, precision: Any, local: Any, n_local: int, work: Any, coupling: Any, gain: Any
) -> None:  # pragma: no cover
    """Eliminate one reflection's deviations.

    Parameters
    ----------
    normal, score
        Information and score of the reflection; become what is left for shift y, x, intensity and level.
    precision
        Prior precisions of the first `n_local` deviations; infinity switches a deviation off.
    local
        Present deviations.
    n_local
        How many there are.
    work, coupling
        Scratch space, shapes ``(n_local, n_local)`` and ``(n_local, 4)``.
    gain
        Receives what recovers the deviations: ``gain[i, :4]`` maps a step in (shift y, shift x, intensity, level) to
        deviation `i`, ``gain[i, 4]`` is the deviation's own step.
    """
    for i in range(n_local):
        free_i = math.isfinite(precision[i])
        for j in range(n_local):
            free = free_i and math.isfinite(precision[j])
            work[i, j] = normal[2 + i, 2 + j] if free else (1.0 if i == j else 0.0)
        if free_i:
            work[i, i] += precision[i] + 1e-12
        for j in range(4):
            coupling[i, j] = gain[i, j] = normal[2 + i, j] if free_i else 0.0
        gain[i, 4] = score[2 + i] - precision[i] * local[i] if free_i else 0.0
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


@part()
def soften(normal: Any, score: Any, wander: float) -> None:  # pragma: no cover
    """Let one reflection wander from the lattice: it then says less.

    Parameters
    ----------
    normal, score
        What it says of shift y, x, intensity and level.
    wander
        Standard deviation, pixels.
    """
    tau = 1.0 / (wander * wander)
    a, b, c = normal[0, 0] + tau, normal[0, 1], normal[1, 1] + tau
    determinant = a * c - b * b
    y = (normal[0, 0], normal[0, 1], normal[0, 2], normal[0, 3])
    x = (normal[1, 0], normal[1, 1], normal[1, 2], normal[1, 3])
    sy, sx = score[0], score[1]
    for i in range(4):
        gy, gx = (c * y[i] - b * x[i]) / determinant, (a * x[i] - b * y[i]) / determinant
        score[i] -= gy * sy + gx * sx
        for j in range(4):
            normal[i, j] -= gy * y[j] + gx * x[j]


@part()
def from_priors(
    normal: Any, precision: Any, gain: Any, n_local: int, wander: float, to_score: Any, out: Any
) -> None:  # pragma: no cover
    r"""Variance that a reflection's deviations, drawn from their priors, give its score once they are eliminated.

    For deviations of prior precision `P` it is :math:`G^T P G`, with the gains `G` of `eliminate`; a reflection that
    wanders adds :math:`K K^T / \tau^2`, where :math:`K` takes its residual shift to the score, see `soften`.

    Parameters
    ----------
    normal, precision, gain, n_local
        As `eliminate` leaves them.
    wander
        Standard deviation of the position, pixels.
    to_score
        Scratch space, shape ``(4, 2)``.
    out
        Receives the variance, shape ``(4, 4)``.
    """
    for i in range(4):
        for j in range(4):
            t = 0.0
            for k in range(n_local):
                if math.isfinite(precision[k]):
                    t += gain[k, i] * precision[k] * gain[k, j]
            out[i, j] = t
    if wander > 0:
        tau = 1.0 / (wander * wander)
        a, b, c = normal[0, 0] + tau, normal[0, 1], normal[1, 1] + tau
        determinant = a * c - b * b
        for i in range(4):
            to_score[i, 0] = (c * normal[i, 0] - b * normal[i, 1]) / determinant
            to_score[i, 1] = (a * normal[i, 1] - b * normal[i, 0]) / determinant
        for j in range(4):  # from the left and from the right: score - K (score of the shift)
            y, x = out[0, j], out[1, j]
            for i in range(4):
                out[i, j] -= to_score[i, 0] * y + to_score[i, 1] * x
        for j in range(4):
            y, x = out[j, 0], out[j, 1]
            for i in range(4):
                out[j, i] -= to_score[i, 0] * y + to_score[i, 1] * x
        for i in range(4):
            for j in range(4):
                out[i, j] += tau * (to_score[i, 0] * to_score[j, 0] + to_score[i, 1] * to_score[j, 1])


@part()
def pool_information(
    gy: float, gx: float, intensity: float, level: float, normal: Any, hessian: Any
) -> None:  # pragma: no cover
    """Add the information (or variance of the score) of one reflection to that of the pattern.

    Parameters
    ----------
    gy, gx, intensity
        Of the reflection in the entry.
    level
        Of the pattern's background.
    normal
        What is added: that about shift y, x, intensity and level.
    hessian
        That of the pattern, parameters in the order of `POOLED`, upper triangle.
    """
    q = (gy, gx, 1.0)
    of_beta = 1.0 / max(level, 1e-12)
    for a in range(3):
        for b in range(3):
            qq = q[a] * q[b]
            hessian[a, b] += qq * normal[0, 0]
            hessian[a, 3 + b] += qq * normal[0, 1]
            hessian[3 + a, 3 + b] += qq * normal[1, 1]
        for i in range(2):
            hessian[3 * i + a, 6] += q[a] * normal[i, 2] * intensity
            hessian[3 * i + a, 7] += q[a] * normal[i, 3] * of_beta
    hessian[6, 6] += normal[2, 2] * intensity * intensity
    hessian[6, 7] += normal[2, 3] * intensity * of_beta
    hessian[7, 7] += normal[3, 3] * of_beta * of_beta


@part()
def pool_score(gy: float, gx: float, intensity: float, level: float, score: Any, rhs: Any) -> None:  # pragma: no cover
    """Add the score of one reflection to that of the pattern.

    Parameters
    ----------
    gy, gx, intensity, level
        As for `pool_information`.
    score, rhs
        What is added, and that of the pattern.
    """
    q = (gy, gx, 1.0)
    for a in range(3):
        for i in range(2):
            rhs[3 * i + a] += q[a] * score[i]
    rhs[6] += score[2] * intensity
    rhs[7] += score[3] * (1.0 / max(level, 1e-12))


@part()
def move_deviations(
    local: Any, gains: Any, step: Any, damping: float, gy: float, gx: float, intensity: float, theta: Any
) -> None:  # pragma: no cover
    """Move one reflection's deviations by their own step and by what that of the pattern makes of them.

    Parameters
    ----------
    local, gains
        Deviations, and what recovers their step, see `eliminate`.
    step, damping
        Step of the pattern's parameters, and the part of it that is taken.
    gy, gx, intensity
        Of the reflection in the entry.
    theta
        Parameters of the pattern before the step.
    """
    d0 = step[4] + step[0] * gy + step[1] * gx
    d1 = step[5] + step[2] * gy + step[3] * gx
    d2, d3 = step[6] * intensity, step[7] / max(theta[7], 1e-12)
    for i in range(gains.shape[0]):
        own = gains[i, 4] - (gains[i, 0] * d0 + gains[i, 1] * d1 + gains[i, 2] * d2 + gains[i, 3] * d3)
        local[i] += damping * own
    local[0] = max(local[0], -theta[6] * intensity)
    local[1] = min(max(local[1], -0.9), 9.0)
    for i in range(N_PLAIN, N_LOCAL):
        local[i] = min(max(local[i], -STEEPEST), STEEPEST)
