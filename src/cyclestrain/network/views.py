"""What the network sees of a pattern: windows around predicted reflections, freed of background, in units of noise.

Two kinds of counts are looked at in the same way: whole patterns as they come from the detector, and stacks of windows
(patterns the decoder imagined). Windows are cut at whole pixels, nothing is interpolated: the sub-pixel
remainder of the predicted position goes along as ``fraction``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.loops import on_threads
from cyclestrain.network.window_loops import Places, Shown, Source, cut_out, look_at
from cyclestrain.pattern import Entry, WindowStack

__all__ = ["Counts", "Cuts", "Cutting", "Views", "cut", "look"]

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Counts:
    """Where counts come from.

    Attributes
    ----------
    values
        Whole patterns, shape ``(n, 1, qy, qx)``, or stacks of windows, shape ``(n, reflection, size, size)``.
    corner
        Detector pixel of ``values[..., 0, 0]``, shape ``(n, 1 or reflection, 2)``.
    good
        Detector pixels that can be trusted, 1 or 0, shape ``(qy, qx)``.
    """

    values: NDArray[Any]
    corner: NDArray[np.int32]
    good: NDArray[np.float32]

    @classmethod
    def of_patterns(cls, patterns: NDArray[Any], good: NDArray[np.bool_]) -> Counts:
        """Whole patterns.

        Parameters
        ----------
        patterns
            Shape ``(n, qy, qx)``.
        good
            Detector pixels that can be trusted.
        """
        return cls(patterns[:, None], np.zeros((len(patterns), 1, 2), np.int32), good.astype(np.float32))

    @classmethod
    def of_stack(cls, stack: WindowStack, good: NDArray[np.bool_]) -> Counts:
        """Windows already cut, wider than those to be looked at.

        Parameters
        ----------
        stack
            The windows.
        good
            Detector pixels that can be trusted.
        """
        return cls(stack.counts, (stack.origin - stack.half).astype(np.int32), good.astype(np.float32))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def arrays(self) -> Source:
        """The same, as the compiled loops read it."""
        return Source(self.values, self.corner, self.good)


@dataclass(frozen=True)
class Cutting:
    """How windows are cut and brought to units of noise.

    Attributes
    ----------
    half
        Windows reach this many pixels from their centre.
    rim
        Pixels further than this from the predicted position show the background level.
    noise_scale
        Variance over mean of a pixel.
    """

    half: int
    rim: float
    noise_scale: float

    @property
    def size(self) -> int:
        """Pixels along each side of a window."""
        return 2 * self.half + 1


@dataclass(frozen=True)
class Views:
    """Windows ready for the encoder.

    Attributes
    ----------
    windows
        ``(counts - background) / sigma``, masked pixels zero, shape ``(n, reflection, size, size)``, float32.
    fraction
        Predicted position minus the window's central pixel, ``(y, x)`` within half a pixel, ``(n, reflection, 2)``.
    contrast
        Expected height of the disk in units of `sigma`, shape ``(n, reflection)``.
    share
        Expected share of the disk in the counts at its plateau, between 0 and 1, shape ``(n, reflection)``.
    gain, level
        Intensity and background relative to the entry, from sums of counts, shape ``(n,)``.
    """

    windows: NDArray[np.float32]
    fraction: NDArray[np.float32]
    contrast: NDArray[np.float32]
    share: NDArray[np.float32]
    gain: NDArray[np.float32]
    level: NDArray[np.float32]


@dataclass(frozen=True)
class Cuts:
    """Raw windows for the losses.

    Attributes
    ----------
    counts, background
        Counts (0 where masked) and the entry's radial background, shape ``(n, reflection, size, size)``.
    used
        1 for trusted pixels, else 0, same shape.
    origin
        Detector pixel at the centre of each window, shape ``(n, reflection, 2)``.
    """

    counts: NDArray[np.float32]
    background: NDArray[np.float32]
    used: NDArray[np.float32]
    origin: NDArray[np.int32]


def look(
    source: Counts,
    rows: NDArray[np.integer[Any]],
    positions: FloatArray,
    centre: FloatArray,
    entry: Entry,
    *,
    chosen: NDArray[np.integer[Any]],
    cutting: Cutting,
) -> Views:
    """Windows around predicted reflections as the encoder wants them.

    Parameters
    ----------
    source, rows
        Where to read, and which of its patterns, shape ``(n,)``.
    positions
        Predicted ``(y, x)`` of the chosen reflections, detector pixels, shape ``(n, chosen, 2)``.
    centre
        Beam centre of each pattern, shape ``(n, 2)``.
    entry
        Gives intensities, background and height of the disk.
    chosen
        Which of the entry's reflections, shape ``(chosen,)``.
    cutting
        Size of the windows, and what makes units of noise of their counts.
    """
    n, n_reflections, size = len(rows), len(chosen), cutting.size
    windows = np.empty((n, n_reflections, size * size), np.float32)
    fraction = np.empty((n, n_reflections, 2), np.float32)
    contrast, share = np.empty((n, n_reflections), np.float32), np.empty((n, n_reflections), np.float32)
    gain, level = np.empty(n, np.float32), np.empty(n, np.float32)
    shown = Shown(
        entry.background.astype(np.float32), entry.intensity[chosen].astype(np.float32),
        float(entry.probe.values.max()), float(entry.variance_floor), float(cutting.rim), float(cutting.noise_scale),
    )  # fmt: skip
    views = (windows, fraction, contrast, share, gain, level)
    places = Places(rows, chosen, positions, centre)
    on_threads(look_at, len(rows), source.arrays, places, shown, size, views)
    return Views(windows.reshape(n, n_reflections, size, size), fraction, contrast, share, gain, level)


def cut(
    source: Counts,
    rows: NDArray[np.integer[Any]],
    positions: FloatArray,
    centre: FloatArray,
    entry: Entry,
    half: int,
) -> Cuts:
    """Raw windows around all reflections of the entry.

    Parameters
    ----------
    source, rows, positions, centre, entry
        As for `look`, of all reflections.
    half
        Windows reach this many pixels from their centre.
    """
    n, n_reflections, size = len(rows), positions.shape[1], 2 * half + 1
    shape = (n, n_reflections, size * size)
    counts, background, used = (np.empty(shape, np.float32) for _ in range(3))
    origin = np.empty((n, n_reflections, 2), np.int32)
    places = Places(rows, np.arange(n_reflections), positions, centre)
    profile = entry.background.astype(np.float32)
    cuts = counts, background, used, origin
    on_threads(cut_out, len(rows), source.arrays, places, profile, size, cuts)
    square = (n, n_reflections, size, size)
    return Cuts(counts.reshape(square), background.reshape(square), used.reshape(square), origin)
