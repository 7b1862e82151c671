"""What the encoder says about patterns: of each look, and in the end."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cyclestrain.network.pooling import Pooled

__all__ = ["Encoding", "Glanced", "Known", "Look"]


@dataclass(frozen=True)
class Look:
    """One look at a pattern.

    Attributes
    ----------
    before
        Pose before it, shape ``(n, 6)``.
    step
        What it adds, shape ``(n, 6)``.
    information
        Of the pose, prior included, in units of `Autoencoder.units`, shape ``(n, 6, 6)``.
    pose
        Pose after it, bounded, shape ``(n, 6)``.
    """

    before: Tensor
    step: Tensor
    information: Tensor
    pose: Tensor


@dataclass(frozen=True)
class Encoding:
    """What the encoder says about patterns.

    Attributes
    ----------
    looks
        The looks at the class that was kept, first to last.
    gain, level
        Intensity and background relative to the entry, shape ``(n,)``.
    logits
        Activity of each class, vacuum last, shape ``(n, class + 1)``.
    one_hot
        K-sparse: the class that was kept, with a straight-through gradient; or all by their probability; same shape.
    candidates
        Pose of every candidate class after the glance, shape ``(n, class, 6)``.
    label
        Entry whose pose is given: the most active one, vacuum left out, shape ``(n,)``.
    """

    looks: tuple[Look, ...]
    gain: Tensor
    level: Tensor
    logits: Tensor
    one_hot: Tensor
    candidates: Tensor
    label: Tensor

    @property
    def pose(self) -> Tensor:
        """Final pose, shape ``(n, 6)``."""
        return self.looks[-1].pose


@dataclass(frozen=True)
class Known:
    """Looks at patterns of one class, and its activity in each, shape ``(n,)``."""

    looks: tuple[Look, ...]
    activity: Tensor


@dataclass(frozen=True)
class Glanced:
    """What the glance says of one candidate class: pose, latent ``(n, latent)`` and activity ``(n,)``."""

    pooled: Pooled
    latent: Tensor
    activity: Tensor
