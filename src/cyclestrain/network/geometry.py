"""Where the reflections of an entry are, which of them tell most, and how they move with the pose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cyclestrain.network.transform import design
from cyclestrain.pattern import Entry

__all__ = ["Geometry", "glance_half"]

CAPTURE = 0.035
"""Strain (or rotation in radians) up to which a reflection of the glance stays within its window."""


class Geometry(nn.Module):
    """Where the reflections of one entry are, and how they move.

    Parameters
    ----------
    entry
        The entry.
    n_glance
        Windows of the first look.
    centre_sigma
        Standard deviation of the calibrated beam centre, pixels.
    """

    reflections: Tensor
    directions: Tensor
    units: Tensor
    prior: Tensor

    def __init__(self, entry: Entry, n_glance: int, centre_sigma: float) -> None:
        super().__init__()
        g = entry.reflections
        leverage = np.asarray(entry.intensity) ** 2 * (g**2).sum(1)
        self.glance: NDArray[np.intp] = np.sort(np.argsort(-leverage, kind="stable")[:n_glance])
        self.every: NDArray[np.intp] = np.arange(len(g))
        reach = float(np.sqrt((g**2).sum(1).mean()))
        sigma = max(centre_sigma, 0.05)
        self.register_buffer("reflections", torch.tensor(g, dtype=torch.float32))
        self.register_buffer("directions", design(torch.tensor(g / reach, dtype=torch.float32)))
        # Poses in units of these are pixels at the typical reflection.
        self.register_buffer("units", torch.tensor([1 / reach] * 4 + [1.0, 1.0]))
        widths = torch.tensor([0.03, 0.03, 0.03, 0.01, sigma, sigma])
        self.register_buffer("prior", (self.units / widths) ** 2)


def glance_half(entries: Sequence[Entry], n_glance: int, radius: float) -> int:
    """Reach in pixels of windows wide enough to hold a displaced disk, but not its neighbours.

    Parameters
    ----------
    entries
        Of the dictionary.
    n_glance
        Windows of the first look.
    radius
        Of the disks.
    """
    half = 0
    for entry in entries:
        g = entry.reflections
        leverage = np.asarray(entry.intensity) ** 2 * (g**2).sum(1)
        length = np.hypot(*g[np.argsort(-leverage)[:n_glance]].T).max()
        spacing = min(np.hypot(*entry.basis.T[0]), np.hypot(*entry.basis.T[1]))
        half = max(half, min(int(np.ceil(radius + CAPTURE * length + 0.5)), int(spacing - radius - 1)))
    return half
