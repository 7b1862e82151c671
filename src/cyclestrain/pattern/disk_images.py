"""What the disk of a reflection shows in all patterns of a crystal alike, beyond the aperture that all disks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, FloatArray

__all__ = ["NO_IMAGES", "DiskImages", "stacked_images"]


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
    stiffness
        Strength of the penalty on detail that all of them were learned with.
    """

    images: FloatArray
    step: int
    width: FloatArray
    stiffness: float = 16.0

    def __len__(self) -> int:
        """Reflections that have an image: all or none."""
        return len(self.images)

    def only(self, keep: FloatArray | BoolArray) -> DiskImages:
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


def stacked_images(disks: Sequence[DiskImages], n_reflections: int, fill: float) -> NDArray[np.float32]:
    """Images of several entries, centred in those of the largest, shape ``(entry, reflection, n, n)``.

    Parameters
    ----------
    disks
        Those of every entry.
    n_reflections
        At least as many as any entry has; there are none where no entry has images.
    fill
        Value around smaller images, and of entries without.
    """
    size = max((each.images.shape[-1] for each in disks if len(each)), default=0)
    out = np.full((len(disks), n_reflections if size else 0, size, size), fill, np.float32)
    for images, each in zip(out, disks, strict=True):
        if len(each):
            edge = (size - each.images.shape[-1]) // 2
            images[: len(each), edge : size - edge, edge : size - edge] = each.images
    return out
