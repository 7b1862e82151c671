r"""The spatial transform between a dictionary entry and a pattern, in both directions.

A pattern is described by a coarse rotation :math:`\theta`, which is given, and a *pose*, which the network finds:
``(scale_y, scale_x, shear, rotation, shift_y, shift_x)``, strains and shear as fractions, rotation in radians, shifts
in detector pixels. It is composed in this order: stretch the entry, shift it, turn it, put it on the beam centre,

.. math:: p_g = c + R(\theta + \rho) \left((I + S) g + t\right), \qquad
          S = \begin{pmatrix} s_y & s_{yx} \\ s_{yx} & s_x \end{pmatrix},

so the affine of the pattern is :math:`A = R(\theta + \rho)(I + S)` and its own centre :math:`c + R(\theta + \rho) t`.
Stretch and shift are in the axes of the entry, whatever the rotation. All vectors are ``(y, x)``.

Only reflections move; a disk keeps its shape. *Inverse direction* (entry to pattern): `disk` draws the entry's disk at
the pattern's own pixels. *Forward direction* (pattern to entry): `resample` shifts a pattern's window by its sub-pixel
phase so that the reflection is centred. Interpolation averages neighbouring pixels, so noise comes out smaller, by a
factor that depends on the phase: `resample_variance`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from cyclestrain.affine import rotation, symmetric

__all__ = ["N_POSE", "POSE", "affine_of", "design", "disk", "place", "polyphase", "resample", "resample_variance"]

POSE = ("scale_y", "scale_x", "shear", "rotation", "shift_y", "shift_x")
"""Components of a pose, in order."""
N_POSE = len(POSE)
"""Number of components of a pose."""


def affine_of(theta: Tensor, pose: Tensor) -> Tensor:
    """Affine `A` of the patterns, shape ``(n, 2, 2)``.

    Parameters
    ----------
    theta
        Coarse rotations, radians, shape ``(n,)``.
    pose
        Poses, shape ``(n, 6)``.
    """
    stretch = symmetric(1 + pose[:, 0], 1 + pose[:, 1], pose[:, 2])
    affine: Tensor = rotation(theta + pose[:, 3]) @ stretch
    return affine


def place(theta: Tensor, pose: Tensor, reflections: Tensor) -> Tensor:
    """Positions of the reflections relative to the calibrated beam centre, pixels.

    Parameters
    ----------
    theta, pose
        Coarse rotations, radians, shape ``(n,)``, and poses, shape ``(n, 6)``.
    reflections
        Positions ``(y, x)`` in the entry relative to its centre, pixels, shape ``(reflection, 2)``.

    Returns
    -------
    positions
        Shape ``(n, reflection, 2)``.
    """
    turn = rotation(theta + pose[:, 3])
    stretch = symmetric(1 + pose[:, 0], 1 + pose[:, 1], pose[:, 2])
    inside = reflections @ stretch.transpose(-1, -2) + pose[:, None, 4:6]
    positions: Tensor = inside @ turn.transpose(-1, -2)
    return positions


def design(reflections: Tensor) -> Tensor:
    """Derivative of each reflection's position, in the axes of the entry, by the pose, shape ``(reflection, 2, 6)``.

    To first order in strain; exact for the shifts.
    """
    g_y, g_x = reflections.unbind(-1)
    zero, one = torch.zeros_like(g_y), torch.ones_like(g_y)
    row_y = torch.stack([g_y, zero, g_x, g_x, one, zero], -1)
    row_x = torch.stack([zero, g_x, g_y, -g_y, zero, one], -1)
    return torch.stack([row_y, row_x], -2)


@lru_cache(maxsize=32)
def _phase_rows(size: int, oversampling: int, half: int) -> Tensor:
    phases = torch.arange(oversampling + 1) - oversampling // 2
    return size // 2 + torch.arange(-half, half + 1)[None, :] * oversampling - phases[:, None]


def polyphase(values: Tensor, oversampling: int, half: int) -> Tensor:
    """Disk at all sub-pixel phases, shape ``(oversampling + 1, oversampling + 1, 2 half + 1, 2 half + 1)``.

    Entry ``[i, j]`` is the window of a disk that sits ``(i, j) / oversampling - 1/2`` pixels off the central pixel.

    Parameters
    ----------
    values
        Super-resolved disk, centred, ``oversampling`` nodes per pixel, shape ``(2 m + 1, 2 m + 1)``.
    oversampling
        Nodes per pixel, an even number.
    half
        Reach of the window, pixels; ``m >= (half + 1/2) oversampling``.
    """
    rows = _phase_rows(values.shape[0], oversampling, half).to(values.device)
    return values[rows[:, None, :, None], rows[None, :, None, :]]


def disk(tables: Tensor, fraction: Tensor) -> Tensor:
    """Windows of a disk at given sub-pixel phases, differentiable in both arguments.

    Parameters
    ----------
    tables
        From `polyphase`, shape ``(phase, phase, size, size)``.
    fraction
        Position of the disk relative to the window's central pixel, ``(y, x)`` within about half a pixel, shape
        ``(..., 2)``.

    Returns
    -------
    windows
        Shape ``(..., size, size)``.
    """
    phases = tables.shape[0]
    t = ((fraction.reshape(-1, 2) + 0.5) * (phases - 1)).clamp(0, phases - 1)
    node = t.detach().floor().clamp(max=phases - 2)
    w_y, w_x = (t - node).unbind(-1)
    corner = (node[:, 0] * phases + node[:, 1]).long()
    index = corner[:, None] + torch.tensor([0, 1, phases, phases + 1], device=corner.device)
    weights = torch.stack([(1 - w_y) * (1 - w_x), (1 - w_y) * w_x, w_y * (1 - w_x), w_y * w_x], -1)
    windows = torch.nn.functional.embedding_bag(
        index, tables.flatten(2).flatten(0, 1), per_sample_weights=weights, mode="sum"
    )
    return windows.reshape(*fraction.shape[:-1], *tables.shape[2:])


def resample(windows: Tensor, fraction: Tensor) -> Tensor:
    """Shift windows so that what sits at `fraction` comes to the central pixel (bilinear).

    Parameters
    ----------
    windows
        Shape ``(..., size + 2, size + 2)``, one pixel wider on each side than the result.
    fraction
        ``(y, x)`` in ``[-1, 1]``, shape ``(..., 2)``.

    Returns
    -------
    windows
        Shape ``(..., size, size)``.
    """
    for axis in (-2, -1):
        f = fraction[..., axis + 2, None, None]
        size = windows.shape[axis]
        low, middle, high = (windows.narrow(axis, start, size - 2) for start in (0, 1, 2))
        windows = middle + f.clamp(min=0) * (high - middle) + f.clamp(max=0) * (middle - low)
    return windows


def resample_variance(variance: Tensor, fraction: Tensor) -> Tensor:
    r"""Variance of the result of `resample` where pixels are independent, shape ``(..., size, size)``.

    For uniform variance it is the noise gain :math:`G = \prod_i \left((1 - |f_i|)^2 + f_i^2\right)`: one at whole
    pixels, a quarter half way between four of them.

    Parameters
    ----------
    variance
        Variance of each pixel, shape ``(..., size + 2, size + 2)``.
    fraction
        ``(y, x)`` in ``[-1, 1]``, pixels, shape ``(..., 2)``.
    """
    for axis in (-2, -1):
        f = fraction[..., axis + 2, None, None]
        size = variance.shape[axis]
        low, middle, high = (variance.narrow(axis, start, size - 2) for start in (0, 1, 2))
        variance = (1 - f.abs()) ** 2 * middle + f.clamp(min=0) ** 2 * high + f.clamp(max=0) ** 2 * low
    return variance
