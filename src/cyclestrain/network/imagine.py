"""Patterns the decoder imagines: drawn poses, expected counts, Poisson noise. Their truth is known.

This closes the cycle in the other sense: pose -> pattern -> pose. Nothing but the learned dictionary goes in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba as nb
import numpy as np
import torch
from numpy.typing import NDArray

from cyclestrain.data import BoolArray
from cyclestrain.loops import on_threads
from cyclestrain.network.transform import place
from cyclestrain.network.views import Counts
from cyclestrain.pattern import Entry, WindowStack
from cyclestrain.pattern.windows import MASKED

__all__ = ["Imagined", "ImaginedRange", "Recording", "imagine"]

FloatArray = NDArray[np.floating[Any]]

LUCK = 4.5
"""Significance that noise alone reaches at the best of all rotations, which the coarse stage picks."""
CLEAR = 1.25
"""Crystals are imagined from this many times that significance on."""


@dataclass(frozen=True)
class ImaginedRange:
    """From what imagined patterns are drawn."""

    strain: float = 0.025
    """Largest strain and shear."""
    rotation: float = 0.006
    """Standard deviation of the coarse rotation's error, radians."""
    factor: float = 3.0
    """Intensity and background lie between the entry's divided by this and times this."""
    empty: float = 0.1
    """Share of patterns without a crystal."""
    faint: float = 0.2
    """Share of patterns with a crystal fainter than that, down to one only just surer than luck."""


@dataclass(frozen=True)
class Imagined:
    """Imagined patterns of one class and their truth.

    Attributes
    ----------
    source
        Their counts, windows only.
    theta, centre
        Coarse rotation ``(n,)`` and beam centre ``(n, 2)``.
    pose
        True poses, shape ``(n, 6)``.
    gain, level
        True intensity and background relative to the entry, shape ``(n,)``.
    empty
        Patterns that stand for vacuum: their crystal is as faint as luck, shape ``(n,)``.
    """

    source: Counts
    theta: FloatArray
    centre: FloatArray
    pose: FloatArray
    gain: FloatArray
    level: FloatArray
    empty: BoolArray


@dataclass(frozen=True)
class Recording:
    """How the patterns of a scan are recorded.

    Attributes
    ----------
    detector
        Shape of the detector; pixels beyond it are masked.
    centre
        Beam centres to draw from, shape ``(m, 2)``.
    centre_sigma
        Standard deviation of the true centre around those, pixels.
    noise_scale
        Variance over mean of a pixel.
    """

    detector: tuple[int, int]
    centre: FloatArray
    centre_sigma: float
    noise_scale: float


def imagine(
    entry: Entry,
    n: int,
    recording: Recording,
    *,
    half: int,
    ranges: ImaginedRange,
    rng: np.random.Generator,
) -> Imagined:
    """Draw patterns of one class.

    Parameters
    ----------
    entry
        The class.
    n
        How many.
    recording
        How patterns are recorded.
    half
        Windows reach this many pixels from the reflection.
    ranges
        Of strain, rotation, intensity and background.
    rng
        Random generator.
    """
    theta = rng.uniform(-np.pi, np.pi, n)
    pose = np.concatenate(
        [
            rng.uniform(-ranges.strain, ranges.strain, (n, 3)),
            rng.normal(0, ranges.rotation, (n, 1)),
            rng.normal(0, recording.centre_sigma, (n, 2)),
        ],
        1,
    )
    middle = recording.centre[rng.integers(len(recording.centre), size=n)] + rng.uniform(-0.5, 0.5, (n, 2))
    width = np.log(ranges.factor)
    gain, level = np.exp(rng.uniform(-width, width, n)), np.exp(rng.uniform(-width, width, n))
    luck = LUCK / _significance(entry, recording.noise_scale)
    empty = np.arange(n) < int(ranges.empty * n)
    faint = ~empty & (np.arange(n) < int((ranges.empty + ranges.faint) * n))
    gain[empty] = rng.uniform(0, luck, empty.sum())
    # Crystals are seen from a certain significance on, at any dose: so the network is right at other doses too.
    least = CLEAR * luck
    gain[faint] = np.exp(rng.uniform(np.log(least), max(-width, np.log(least)), faint.sum()))
    reflections = torch.from_numpy(np.asarray(entry.reflections, np.float64))
    true = place(torch.from_numpy(theta), torch.from_numpy(pose), reflections).numpy() + middle[:, None]
    origin = np.rint(true).astype(np.int32)
    counts = np.empty((n, len(reflections), 2 * half + 1, 2 * half + 1), np.float32)
    deviation = 1 + np.asarray(entry.priors.spread)[:, 0] * rng.standard_normal((n, len(reflections)))
    brightness = gain[:, None] * entry.intensity * np.maximum(deviation, 0.0)
    shapes = _Shapes(entry.probe.values, entry.probe.oversampling, entry.background)
    scale, seed = float(recording.noise_scale), int(rng.integers(2**31))
    crystals, detector = _Crystals(middle, origin, true, brightness, level), recording.detector
    on_threads(_draw, n, counts, crystals, shapes, detector, scale, seed)
    source = Counts.of_stack(WindowStack(counts, origin), np.ones(recording.detector, bool))
    return Imagined(source, theta, middle, pose, gain, level, empty)


def _significance(entry: Entry, noise_scale: float) -> float:
    """Intensity of a typical pattern in units of its own uncertainty."""
    middle = entry.probe.oversampling // 2
    probe: FloatArray = entry.probe.tables[0, middle, middle].astype(float)
    length = np.hypot(*entry.reflections.T)
    at_disks = np.interp(np.atleast_1d(length), np.arange(len(entry.background)), entry.background)
    at_disks += entry.variance_floor
    brightness = np.asarray(entry.intensity)[:, None, None] * probe
    variance = noise_scale * (at_disks[:, None, None] + brightness)
    return float(np.sqrt((brightness**2 / variance).sum()))


class _Crystals(NamedTuple):
    """Where imagined crystals are, and how bright."""

    centre: FloatArray  # of the beam, (n, 2)
    origin: NDArray[np.int32]  # detector pixel at the middle of each window, (n, reflection, 2)
    positions: FloatArray  # of the reflections, (n, reflection, 2)
    brightness: FloatArray  # counts of each disk, (n, reflection)
    level: FloatArray  # of the background, (n,)


class _Shapes(NamedTuple):
    """Disk, so many nodes to a pixel, and radial profile of the background."""

    disk: FloatArray
    oversampling: int
    background: FloatArray


@nb.njit(cache=True, nogil=True)
def _draw(
    counts: Any, crystals: Any, shapes: Any, detector: tuple[int, int], scale: float, seed: int, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Poisson counts of imagined patterns, in windows; `counts` is the result, ``(n, reflection, size, size)``."""
    centre, origin, positions, brightness, level = crystals
    shape, oversampling, background = shapes
    size, half = counts.shape[2], counts.shape[2] // 2
    m = shape.shape[0] // 2
    for n in range(start, stop):
        np.random.seed(seed + n)  # noqa: NPY002 - numba knows the legacy generator only
        for g in range(counts.shape[1]):
            for i in range(size):
                y = origin[n, g, 0] - half + i
                for j in range(size):
                    x = origin[n, g, 1] - half + j
                    if y < 0 or x < 0 or y >= detector[0] or x >= detector[1]:
                        counts[n, g, i, j] = MASKED
                        continue
                    r = np.hypot(y - centre[n, 0], x - centre[n, 1])
                    k = min(int(r), background.shape[0] - 2)
                    expected = level[n] * (background[k] + (r - k) * (background[k + 1] - background[k]))
                    ty = (y - positions[n, g, 0]) * oversampling + m
                    tx = (x - positions[n, g, 1]) * oversampling + m
                    iy, ix = int(np.floor(ty)), int(np.floor(tx))
                    if 0 <= iy < 2 * m and 0 <= ix < 2 * m:
                        fy, fx = ty - iy, tx - ix
                        low = shape[iy, ix] * (1 - fx) + shape[iy, ix + 1] * fx
                        high = shape[iy + 1, ix] * (1 - fx) + shape[iy + 1, ix + 1] * fx
                        expected += brightness[n, g] * (low * (1 - fy) + high * fy)
                    counts[n, g, i, j] = scale * np.random.poisson(max(expected, 0.0) / scale)  # noqa: NPY002
