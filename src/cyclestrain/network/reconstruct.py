"""Comparison of patterns with the dictionary, in both directions, at the poses that the encoder found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.decoder import Base, expected_counts
from cyclestrain.network.encoding import Encoding
from cyclestrain.network.losses import forward_error, half_deviance
from cyclestrain.network.transform import disk, place
from cyclestrain.network.views import Counts, cut

__all__ = ["Batch", "Compared", "Drawn", "class_gains", "drawn", "reconstruct"]

FloatArray = NDArray[np.floating[Any]]

PRICE = 14.0
"""Nats that a crystal must gain over an empty pattern: for 8 parameters, and the choice of some hundred rotations."""


@dataclass(frozen=True)
class Batch:
    """Patterns of one class: counts and rows in them, coarse rotation and beam centre, gain and background level."""

    source: Counts
    rows: NDArray[Any]
    theta: FloatArray
    centre: FloatArray
    gain: Tensor
    level: Tensor


@dataclass(frozen=True)
class Compared:
    """Misfit of each pattern in nats, inverse and forward direction, and compared pixels, shape ``(n,)`` each."""

    inverse: Tensor
    forward: Tensor
    pixels: Tensor


@dataclass(frozen=True)
class Drawn:
    """Windows of patterns beside the entry drawn at the same pixels.

    Attributes
    ----------
    counts, expected, empty
        Counts, and what is expected with and without disks, shape ``(n, reflection, size, size)``.
    used
        1 for trusted pixels, else 0, same shape.
    fraction
        Position of each disk relative to the central pixel of its window, shape ``(n, reflection, 2)``.
    """

    counts: Tensor
    expected: Tensor
    empty: Tensor
    used: Tensor
    fraction: Tensor


def drawn(network: Autoencoder, k: int, base: Base, batch: Batch, pose: Tensor, chosen: NDArray[Any]) -> Drawn:
    """Draw entry `k` at the pixels of patterns, around some of its reflections.

    Parameters
    ----------
    network, k, base
        The network, the class and its base.
    batch, pose
        The patterns and their poses, shape ``(n, 6)``.
    chosen
        Which of the entry's reflections, shape ``(reflection,)``.
    """
    geometry = network.of_class(k)
    theta = torch.as_tensor(batch.theta, dtype=pose.dtype, device=pose.device)
    relative = place(theta, pose, geometry.reflections[chosen])
    whole = np.floor(batch.centre)
    positions = relative + torch.as_tensor(batch.centre - whole, dtype=pose.dtype, device=pose.device)[:, None]
    at = positions.detach().cpu().numpy().astype(float) + whole[:, None]
    cuts = cut(batch.source, batch.rows, at, batch.centre, network.dictionary.entries[k], network.decoder.reach)
    origin = torch.as_tensor(cuts.origin - whole[:, None], dtype=pose.dtype, device=pose.device)
    counts, background, used = (torch.from_numpy(a).to(pose.device) for a in (cuts.counts, cuts.background, cuts.used))
    part = Base(base.tables, base.intensity[chosen], base.background[chosen])
    expected = expected_counts(part, positions - origin, background, batch.gain, batch.level)
    empty = (batch.level[:, None] * part.background)[..., None, None] * background
    return Drawn(counts, expected, empty, used, positions - origin)


def _mask(half: int, radius: float, like: Tensor) -> Tensor:
    """Round mask of a window, ones and zeros, shape ``(2 half + 1, 2 half + 1)``."""
    y, x = torch.meshgrid(*(torch.arange(-half, half + 1, device=like.device),) * 2, indexing="ij")
    return (torch.hypot(y.to(like.dtype), x.to(like.dtype)) <= radius).to(like.dtype)


def reconstruct(
    network: Autoencoder,
    k: int,
    base: Base,
    batch: Batch,
    pose: Tensor,
    mask_radius: float,
    *,
    first: bool,
    forward: Literal["off", "unbiased", "plain"] = "off",
) -> Compared:
    """Compare patterns with entry `k` drawn at their poses.

    Parameters
    ----------
    network, k, base
        The network, the class and its base.
    batch, pose
        The patterns and their poses, shape ``(n, 6)``.
    mask_radius
        Distance from a reflection beyond which pixels are left out, pixels.
    first
        Whether only the reflections of the glance are compared, with masks of full size.
    forward
        Comparison in the entry's frame: ``off``, ``unbiased`` (free of the bias of interpolated noise), or ``plain``
        (squared error).
    """
    geometry, half = network.of_class(k), network.decoder.reach - 1
    chosen = geometry.glance if first else geometry.every
    seen = drawn(network, k, base, batch, pose, chosen)
    counts, expected, used, fraction = seen.counts, seen.expected, seen.used, seen.fraction
    floor, scale = network.dictionary.entries[k].variance_floor, network.noise_scale
    mask = _mask(half, half + 0.3 if first else mask_radius, counts)
    inner = (..., slice(1, -1), slice(1, -1))
    weight = used[inner] * mask
    deviance = (half_deviance(counts[inner], expected[inner], floor) * weight).sum((-2, -1)) / scale
    pixels = weight.sum((-2, -1))
    # Reflections that do not fit (dynamical contrast, overlaps) count less.
    trust = (pixels / (2 * deviance.detach()).clamp(min=1e-6)).clamp(max=1.0)
    trust = torch.where(2 * deviance.detach() > pixels + 3 * (2 * pixels).sqrt(), trust, torch.ones_like(trust))
    ahead = torch.zeros_like(pixels.sum(1))
    if forward != "off":
        whole = counts * used + expected.detach() * (1 - used)
        plain = None
        if forward == "plain":
            # The entry itself: every disk at the centre of its window.
            centred = expected - batch.gain[:, None, None, None] * base.intensity[chosen][:, None, None] * (
                disk(base.tables, fraction) - disk(base.tables, torch.zeros_like(fraction))
            )
            plain = centred[inner]
        error = forward_error(whole, expected, fraction, floor, plain=plain)
        ahead = (trust * (error * weight).sum((-2, -1))).sum(1) / scale
    return Compared((trust * deviance).sum(1), ahead, pixels.sum(1))


@torch.no_grad()
def class_gains(
    network: Autoencoder,
    bases: Sequence[Base],
    source: Counts,
    rows: NDArray[Any],
    theta: FloatArray,
    centre: FloatArray,
    encoding: Encoding,
) -> Tensor:
    """Gain in log-likelihood of each class over an empty pattern, vacuum (zero) last, nats, shape ``(n, class + 1)``.

    Parameters
    ----------
    network, bases
        The network and the bases of all its classes.
    source, rows
        Counts, and the rows of the patterns in them.
    theta
        Coarse rotation to every class, radians, shape ``(n, class)``.
    centre
        Calibrated beam centre ``(y, x)``, pixels, shape ``(n, 2)``.
    encoding
        Encoding of these patterns.
    """
    gains = []
    for k, base in enumerate(bases):
        batch = Batch(source, rows, theta[:, k], centre, encoding.gain, encoding.level)
        chosen = network.of_class(k).glance
        seen = drawn(network, k, base, batch, encoding.candidates[:, k], chosen)
        floor = network.dictionary.entries[k].variance_floor
        gain = half_deviance(seen.counts, seen.empty, floor) - half_deviance(seen.counts, seen.expected, floor)
        gain = gain * seen.used
        gains.append(gain.sum((-3, -2, -1)) / network.noise_scale - PRICE)
    gains.append(torch.zeros_like(gains[0]))
    return torch.stack(gains, -1)
