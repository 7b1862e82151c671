"""Polar templates of the crystals in a scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import FloatArray
from cyclestrain.orientation.polar import PolarGrid

__all__ = ["Templates", "counting_noise", "unit_norm"]


@dataclass(frozen=True)
class Templates:
    """Polar templates of the classes.

    Attributes
    ----------
    grid
        Polar grid on which they are sampled.
    spectra
        Fourier transform along the angle, shape ``(class, radius, frequency)``, each of unit norm.
    level
        Mean intensity at each radius, by which patterns are whitened, shape ``(radius,)``.
    """

    grid: PolarGrid
    spectra: NDArray[np.complexfloating[Any, Any]]
    level: FloatArray

    def only(self, classes: list[int]) -> Templates:
        """Templates of some of the classes, in the order given."""
        return Templates(self.grid, self.spectra[classes], self.level)

    def whitened(self, level: FloatArray) -> Templates:
        """Templates of the same crystals, whitened by another mean intensity of each radius, shape ``(radius,)``."""
        ratio = (counting_noise(self.level) / counting_noise(level)).astype(np.float32)[:, None]
        return Templates(self.grid, np.stack([unit_norm(template * ratio) for template in self.spectra]), level)


def counting_noise(level: FloatArray) -> FloatArray:
    """Counting noise, up to a factor, at the mean intensity of each radius, shape ``(radius,)``."""
    return np.sqrt(np.maximum(level, 1e-3 * level.max() + 1e-12))


def unit_norm(template: NDArray[Any]) -> NDArray[Any]:
    """The template scaled to a norm of one."""
    return template / max(float(np.linalg.norm(template)), 1e-30)
