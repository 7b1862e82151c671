"""What can be chosen about the network and its training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cyclestrain.network.imagine import ImaginedRange
from cyclestrain.network.losses import LossWeights

__all__ = ["NetworkSettings", "TrainingSettings"]


@dataclass(frozen=True)
class NetworkSettings:
    """Shape of the network."""

    glance_reflections: int = 12
    """Windows of the first look: those that tell most about the affine."""
    gazes: int = 2
    """Looks after the first."""
    channels: int = 8
    """Of the first convolution."""
    glance_features: int = 24
    """Numbers kept of each window by the convolutions."""
    gaze_features: int = 28
    """Filters of the later looks."""
    latent: int = 32
    """Width of the fully connected latent."""
    head: Literal["pooled", "connected"] = "pooled"
    """Affine head: least squares over the windows, or the paper's fully connected layers."""
    sparse: bool = True
    """Whether one class is kept (K-sparse, top-1) or all are, by their probability."""
    tied: bool = True
    """Whether the filters of the later looks start from the decoder's disk."""


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained."""

    epochs: int = 10
    """Largest number of epochs."""
    steps: int = 16
    """Steps in an epoch."""
    batch: int = 64
    """Patterns of the scan, and as many imagined ones, in a step."""
    learning_rate: float = 5e-3
    """Peak rate of the convolutions; tied filters learn at a tenth of it, the dictionary at a five hundredth."""
    patience: int = 6
    """Epochs without a better held-out likelihood before training stops."""
    held_out: int = 256
    """Patterns of the scan kept for that, at least one and at most a fifth of all."""
    max_patterns: int = 2048
    """Patterns of the scan used at most."""
    forward: Literal["unbiased", "plain"] = "unbiased"
    """Forward comparison: free of the bias of interpolated noise, or the plain squared error (to show the bias)."""
    shrink: bool = True
    """Whether the masks around the reflections shrink as the poses get surer."""
    mask_margin: float = 3.0
    """Standard deviations of the positions by which masks that shrink reach beyond the disk's edge."""
    dictionary: bool = True
    """Whether the dictionary is trained together with the encoder."""
    seed: int = 0
    """Seed of every random choice."""
    device: str = "cpu"
    """Where torch computes."""
    mixed: bool | None = None
    """Whether convolutions run in bfloat16, all else in float32; None: on a CUDA device made for it."""
    weights: LossWeights = field(default_factory=LossWeights)
    """Weight of each term of the loss."""
    imagined: ImaginedRange = field(default_factory=ImaginedRange)
    """From what imagined patterns are drawn."""
