"""Losses of the autoencoder: named terms, all in nats per pattern.

- *inverse*: the entry drawn at the pattern's own pixels against its counts, half the Poisson deviance; noise is white
  there.
- *forward*: the pattern's windows shifted into the entry's frame against the entry, mean squared error. Interpolation
  shrinks noise by a factor that depends on the sub-pixel phase, so a plain squared error is smallest not where the
  pattern fits but where its noise is averaged most, and at high background pulls the network to constant outputs.
  Here the entry goes through the same interpolation, and the error is divided by the variance that interpolation
  leaves: the expected error of a true pose is one at every phase.
- *cycle*: a pattern that the decoder draws at a random pose must be encoded to that pose: Gaussian log-likelihood with
  the network's own information matrix.
- *choice*: minus the log-likelihood gained over an empty pattern by the class that the K-sparse layer kept.
- *sparsity*: L1 norm of the dictionary. *strain*, *shear*: hinges beyond a reasonable range.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from cyclestrain.network.transform import resample, resample_variance

__all__ = ["LossTerms", "LossWeights", "forward_error", "half_deviance", "hinges", "pose_error"]


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term in the total; zero switches a term off."""

    inverse: float = 1.0
    forward: float = 0.1
    cycle: float = 1.0
    choice: float = 0.1
    sparsity: float = 1e-4
    strain: float = 100.0
    shear: float = 100.0


@dataclass(frozen=True)
class LossTerms:
    """Every term of the loss as a scalar tensor, nats per pattern."""

    inverse: Tensor
    forward: Tensor
    cycle: Tensor
    choice: Tensor
    sparsity: Tensor
    strain: Tensor
    shear: Tensor

    def total(self, weights: LossWeights) -> Tensor:
        """Sum of the terms, weighted."""
        terms = [getattr(weights, field.name) * getattr(self, field.name) for field in fields(self)]
        return torch.stack(terms).sum()

    def log(self) -> dict[str, float]:
        """Every term as a number, for the log."""
        return {field.name: float(getattr(self, field.name).detach()) for field in fields(self)}


def half_deviance(counts: Tensor, expected: Tensor, floor: float) -> Tensor:
    r"""Half the Poisson deviance of every pixel, :math:`\lambda - y + y \log(y / \lambda)`, in the shape of the counts.

    Parameters
    ----------
    counts, expected
        Counts `y` and expected counts :math:`\lambda`, shapes that broadcast.
    floor
        Least variance of a pixel, positive; counts and expectation are raised by it, so that empty pixels stay finite.
    """
    y, expected = counts + floor, expected.clamp(min=0) + floor
    return expected - y + torch.xlogy(y, y / expected)


def forward_error(
    counts: Tensor, expected: Tensor, fraction: Tensor, floor: float, *, plain: Tensor | None = None
) -> Tensor:
    """Half the squared error in the entry's frame in units of its own variance, one pixel narrower on each side.

    Parameters
    ----------
    counts, expected
        Counts and expected counts at the pattern's pixels, shape ``(..., size + 2, size + 2)``.
    fraction
        Sub-pixel phase ``(y, x)`` by which windows are shifted, pixels, shape ``(..., 2)``.
    floor
        Least variance of a pixel.
    plain
        The entry itself in its own frame, shape ``(..., size, size)``; gives the biased squared error of a naive
        comparison.
    """
    if plain is not None:
        return 0.5 * (resample(counts, fraction) - plain) ** 2 / (plain.detach().clamp(min=0) + floor)
    residual = resample(counts - expected, fraction)
    # The variance follows the phase only: were it free to follow the dictionary, brighter entries would fit better.
    return 0.5 * residual**2 / resample_variance(expected.detach().clamp(min=0) + floor, fraction)


def pose_error(difference: Tensor, information: Tensor) -> Tensor:
    """Gaussian negative log-likelihood of pose errors without its constants, nats, shape ``(n,)``.

    Parameters
    ----------
    difference
        Errors of the poses, shape ``(n, 6)``.
    information
        Information of the poses in the same units, shape ``(n, 6, 6)``.
    """
    square = ((information @ difference[..., None])[..., 0] * difference).sum(-1)
    # Half the log-determinant is the sum of the logarithms of the Cholesky diagonal.
    return 0.5 * square - torch.linalg.cholesky(information).diagonal(dim1=-2, dim2=-1).log().sum(-1)


def hinges(pose: Tensor, limit: float = 0.04) -> tuple[Tensor, Tensor]:
    """Mean excess of strain, and of shear, beyond a limit.

    Parameters
    ----------
    pose
        Poses, shape ``(n, 6)``.
    limit
        Largest strain or shear that is free.
    """
    excess = (pose[:, :3].abs() - limit).clamp(min=0)
    return excess[:, :2].sum(-1).mean(), excess[:, 2].mean()
