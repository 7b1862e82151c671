r"""The decoder: from a one-hot class to its learned base, and from a base and a pose to expected counts.

The base of a class (its dictionary entry) consists of non-negative intensities, one disk on a grid finer than the
detector, and a radial background; it is computed once for each class and step, not once for each pattern. Expected
counts at pixel `p` of the window of reflection `g` are

.. math:: \lambda(p) = \beta\, b_g B(|p - c|) + a\, I_g\, P(p - p_g)

with the pose's positions :math:`p_g`, gain `a` and background level :math:`\beta`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cyclestrain.network.transform import disk, polyphase
from cyclestrain.pattern import Entry

__all__ = ["Base", "Decoder", "expected_counts"]


@dataclass(frozen=True)
class Base:
    """Learned base of one class, from which expected counts are drawn.

    Attributes
    ----------
    tables
        Disk at all sub-pixel phases, see `cyclestrain.network.transform.polyphase`.
    intensity
        Counts of each reflection, non-negative, shape ``(reflection,)``.
    background
        Factor of the radial background at each reflection, positive, shape ``(reflection,)``.
    """

    tables: Tensor
    intensity: Tensor
    background: Tensor

    def detach(self) -> Base:
        """The same base without gradient."""
        return Base(self.tables.detach(), self.intensity.detach(), self.background.detach())


class EntryBase(nn.Module):
    """Trainable part of one dictionary entry."""

    reflections: Tensor
    shape: Tensor
    scale: Tensor

    def __init__(self, entry: Entry, half: int) -> None:
        super().__init__()
        step = _step(entry)
        self.reach, self.oversampling = half, entry.probe.oversampling // step
        intensity = torch.tensor(entry.intensity, dtype=torch.float32)
        self.register_buffer("scale", intensity.mean().clamp(min=1e-6))
        self.register_buffer("reflections", torch.tensor(entry.reflections, dtype=torch.float32))
        need = (half + 1) * self.oversampling
        values = torch.tensor(entry.probe.values[::step, ::step], dtype=torch.float32)
        values = functional.pad(values, [max(0, need - values.shape[0] // 2)] * 4)
        self.register_buffer("shape", values)
        self.raw_intensity = nn.Parameter(_inverse_softplus(intensity / self.scale))
        self.log_background = nn.Parameter(torch.zeros(len(intensity)))
        self.log_shape = nn.Parameter(torch.zeros(values.shape[0] // 2 + 1))

    def forward(self) -> Base:
        """Compute the base from the parameters."""
        m = self.shape.shape[0] // 2
        y, x = torch.meshgrid(*(torch.arange(-m, m + 1, device=self.shape.device),) * 2, indexing="ij")
        radius = torch.hypot(y.float(), x.float()).round().long().clamp(max=m)
        # The gradient of indexing adds up in any order; that of an embedding in the same one, run after run.
        factor = functional.embedding(radius, self.log_shape.exp()[:, None])[..., 0]
        values = self.shape * factor
        values = values * (self.oversampling**2 / values.sum())
        tables = polyphase(values, self.oversampling, self.reach)
        return Base(tables, functional.softplus(self.raw_intensity) * self.scale, self.log_background.exp())


def _inverse_softplus(value: Tensor) -> Tensor:
    return value + torch.log(-torch.expm1(-value.clamp(min=1e-4)))


class Decoder(nn.Module):
    """Bases of all classes.

    Parameters
    ----------
    entries
        Dictionary entries to start from.
    half
        Reach of the windows in which counts are compared from their central pixel, pixels.
    """

    def __init__(self, entries: Sequence[Entry], half: int) -> None:
        super().__init__()
        self.reach = half
        self.classes = nn.ModuleList([EntryBase(entry, half) for entry in entries])

    def forward(self) -> tuple[Base, ...]:
        """Bases of all classes, computed once for a step."""
        return tuple(base() for base in self.classes)

    @torch.no_grad()
    def entries(self, start: Sequence[Entry]) -> tuple[Entry, ...]:
        """Dictionary entries as trained; `start` are the entries that the decoder was made from."""
        out = []
        for entry, module, base in zip(start, self.classes, self(), strict=True):
            assert isinstance(module, EntryBase)
            m = entry.probe.values.shape[0] // 2
            grid = np.rint(np.hypot(*np.mgrid[-m : m + 1, -m : m + 1]) / _step(entry)).astype(int)
            factor = module.log_shape.exp().cpu().double().numpy()
            values = entry.probe.values * factor[np.minimum(grid, len(factor) - 1)]
            values *= entry.probe.oversampling**2 / values.sum()
            out.append(
                replace(
                    entry,
                    intensity=base.intensity.cpu().double().numpy(),
                    background=_corrected(entry, base.background.cpu().double().numpy()),
                    probe=replace(entry.probe, values=values),
                )
            )
        return tuple(out)


def _step(entry: Entry) -> int:
    """Every how many nodes of the probe the network takes: with 8 per pixel its sums stay within one thread."""
    return max(1, entry.probe.oversampling // 8)


def _corrected(entry: Entry, factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radial background times the factors found at the reflections, interpolated along the radius."""
    length = np.hypot(*entry.reflections.T)
    radii, inverse = np.unique(np.rint(length), return_inverse=True)
    mean = np.bincount(inverse, factor) / np.bincount(inverse)
    return np.asarray(entry.background * np.interp(np.arange(len(entry.background)), radii, mean), float)


def expected_counts(
    base: Base, fraction: Tensor, background: Tensor, gain: Tensor, level: Tensor, intensity: Tensor | None = None
) -> Tensor:
    """Expected counts in windows: the inverse direction, from the entry to the pattern's own pixels.

    Parameters
    ----------
    base
        Base of the class.
    fraction
        Position of each disk relative to the central pixel of its window, ``(y, x)`` in pixels, shape ``(n, reflection,
        2)``.
    background
        Radial background in the windows, shape ``(n, reflection, size, size)``.
    gain, level
        Factors of intensities and background, shape ``(n,)``.
    intensity
        Intensities instead of the base's, shape ``(n, reflection)``.

    Returns
    -------
    expected
        Same shape as `background`.
    """
    brightness = gain[:, None] * (base.intensity if intensity is None else intensity)
    floor = (level[:, None] * base.background)[..., None, None] * background
    return floor + brightness[..., None, None] * disk(base.tables, fraction)
