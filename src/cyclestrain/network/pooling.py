"""What windows report of their reflections, pooled into one pose by weighted least squares over the lattice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cyclestrain.network.transform import N_POSE

__all__ = ["LEAST", "Pooled", "Reports", "pool"]

LEAST = 1e-6
"""Least information about an intensity."""


@dataclass(frozen=True)
class Reports:
    """What each window says about its own reflection.

    Attributes
    ----------
    score
        For (shift y, shift x, relative intensity), pixels and fractions, in detector axes, shape ``(n, reflection,
        3)``.
    information
        ``(J_yy, J_yx, J_xx, J_intensity)``, shape ``(n, reflection, 4)``.
    features
        For the latent, shape ``(n, reflection, feature)``.
    """

    score: Tensor
    information: Tensor
    features: Tensor


@dataclass(frozen=True)
class Pooled:
    """Least-squares solution of all windows of a pattern.

    Attributes
    ----------
    step
        Change of the pose, strain and angle in units of ``1 / reach`` (so all are pixels), shape ``(n, 6)``.
    information
        In the same units, prior included, shape ``(n, 6, 6)``.
    gain_step
        Relative change of the intensity, shape ``(n,)``.
    evidence
        Log-likelihood that the solution is better than the start, shape ``(n,)``.
    """

    step: Tensor
    information: Tensor
    gain_step: Tensor
    evidence: Tensor

    @property
    def gain_factor(self) -> Tensor:
        """By what the intensity changes, between a tenth and twice, shape ``(n,)``."""
        return 1 + 0.9 * torch.tanh(self.gain_step / 0.9)


def pool(reports: Reports, turn: Tensor, directions: Tensor, prior: Tensor, pull: Tensor) -> Pooled:
    r"""Pool the reports of all windows into one pose: :math:`H\,\delta = \sum_g X_g^T R^T s_g`.

    Parameters
    ----------
    reports
        Of every window.
    turn
        Rotation of the pattern, by which scores come into the axes of the entry, shape ``(n,)``.
    directions
        Derivative of the positions by the pose, `cyclestrain.network.transform.design`, shape ``(reflection, 2, 6)``.
    prior
        Precision of each component of the pose, shape ``(6,)``.
    pull
        Pose so far, in the units of the step; the prior is about zero pose, shape ``(n, 6)``.
    """
    cos, sin = turn.cos()[:, None], turn.sin()[:, None]
    s_y, s_x, s_i = reports.score.unbind(-1)
    yy, yx, xx, intensity = reports.information.unbind(-1)
    score = torch.stack([cos * s_y - sin * s_x, sin * s_y + cos * s_x], -1)
    turned = torch.stack(
        [
            cos**2 * yy - 2 * cos * sin * yx + sin**2 * xx,
            cos * sin * (yy - xx) + (cos**2 - sin**2) * yx,
            sin**2 * yy + 2 * cos * sin * yx + cos**2 * xx,
        ],
        -1,
    )
    x_y, x_x = directions[:, 0], directions[:, 1]
    outer = torch.stack(
        [_outer(x_y, x_y), _outer(x_y, x_x) + _outer(x_x, x_y), _outer(x_x, x_x)], 1
    )  # (reflection, 3, 6, 6)
    information = (turned.flatten(1) @ outer.reshape(-1, N_POSE**2)).reshape(-1, N_POSE, N_POSE) + torch.diag(prior)
    right = score.flatten(1) @ directions.reshape(-1, N_POSE) - prior * pull
    factor = torch.linalg.cholesky(information)
    step = torch.cholesky_solve(right[..., None], factor)[..., 0]
    gain_step = s_i.sum(1) / intensity.sum(1).clamp(min=LEAST)
    return Pooled(step, information, gain_step, 0.5 * (step * right).sum(-1))


def _outer(a: Tensor, b: Tensor) -> Tensor:
    return a[:, :, None] * b[:, None, :]
