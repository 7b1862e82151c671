"""What the disk of a reflection shows in all patterns of a crystal alike, beyond the aperture that all disks share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import FloatArray

__all__ = ["NO_IMAGES", "DiskImages"]


@dataclass(frozen=True)
class DiskImages:
    """Mean contrast of every disk, which moves and turns with the crystal.

    Attributes
    ----------
    images
        Counts per pixel that a disk of unit intensity has beyond the probe, in the frame of the entry, centred, shape
        ``(reflection, 2 m + 1, 2 m + 1)``; no reflection where all disks look alike.
    step
        Nodes per pixel.
    width
        Standard deviation that was expected of them, in units of the probe's height, zero where a disk looks like
        the probe, shape ``(reflection,)``.
    """

    images: FloatArray
    step: int
    width: FloatArray

    def __len__(self) -> int:
        """Reflections that have an image: all or none."""
        return len(self.images)

    def only(self, keep: FloatArray) -> DiskImages:
        """Images of some of the reflections, `keep` being a mask or indices."""
        return replace(self, images=self.images[keep], width=self.width[keep]) if len(self) else self

    @cached_property
    def tables(self) -> NDArray[np.float32]:
        """The images and their derivatives with respect to the place of the disk, ``(reflection, n, n, 3)``."""
        if not len(self):
            return np.zeros((0, 2, 2, 3), np.float32)
        along, across = (-np.gradient(self.images, axis=axis) * self.step for axis in (1, 2))
        return np.stack([self.images, along, across], -1).astype(np.float32)


NO_IMAGES = DiskImages(np.zeros((0, 2, 2)), 1, np.zeros(0))
"""Disks that all look alike."""
