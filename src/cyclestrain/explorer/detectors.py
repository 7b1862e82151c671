"""Virtual detectors, and the images of the sample that they give, computed when asked for and kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeAlias

import numpy as np

from cyclestrain.data import FloatArray, IntArray, Scan
from cyclestrain.errors import InputError

__all__ = ["Detector", "Disk", "Reflections", "Ring", "VirtualImages", "parse_detector"]

_FORM = re.compile(r"(disk|ring|reflections)\((.*)\)")
BLOCK_BYTES = 32 * 2**20
"""Size of a block of patterns, between which progress is told."""


@dataclass(frozen=True)
class Disk:
    """Pixels within `radius` of a point ``(y, x)`` relative to the beam centre, pixels."""

    y: float
    x: float
    radius: float

    def offsets(self, shape: tuple[int, int]) -> IntArray:
        """Whole pixels ``(y, x)`` from the beam centre that a detector of that shape can have, shape ``(n, 2)``."""
        return _within(shape, 0.0, self.radius, self.y, self.x)

    def __str__(self) -> str:
        """The form that `parse_detector` reads."""
        return f"disk({self.y:g},{self.x:g},{self.radius:g})"


@dataclass(frozen=True)
class Ring:
    """Pixels from `inner` to `outer` pixels off the beam centre."""

    inner: float
    outer: float

    def offsets(self, shape: tuple[int, int]) -> IntArray:
        """Whole pixels ``(y, x)`` from the beam centre that a detector of that shape can have, shape ``(n, 2)``."""
        return _within(shape, self.inner, self.outer)

    def __str__(self) -> str:
        """The form that `parse_detector` reads."""
        return f"ring({self.inner:g},{self.outer:g})"


@dataclass(frozen=True)
class Reflections:
    """Disks of `radius` pixels about some reflections, wherever the lattice of each position puts them.

    Attributes
    ----------
    entry
        Dictionary entry; positions of other classes are blank.
    numbers
        Which of its reflections, counted from 0.
    radius
        Of the disks, pixels.
    """

    entry: int
    numbers: tuple[int, ...]
    radius: float

    def __str__(self) -> str:
        """The form that `parse_detector` reads."""
        return f"reflections({self.entry},{'+'.join(map(str, self.numbers))},{self.radius:g})"


Detector: TypeAlias = Disk | Ring | Reflections


def parse_detector(text: str) -> Detector:
    """Read ``disk(y,x,radius)``, ``ring(inner,outer)`` or ``reflections(class,number+number,radius)``.

    Raises
    ------
    InputError
        If the text has another form.

    Examples
    --------
    >>> parse_detector("ring(10,40)")
    Ring(inner=10.0, outer=40.0)
    """
    match = _FORM.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        parts = match[2].split(",")
        if match[1] == "reflections":
            entry, numbers, radius = parts
            return Reflections(int(entry), tuple(int(part) for part in numbers.split("+")), float(radius))
        values = [float(part) for part in parts]
        if not np.isfinite(values).all():
            raise ValueError
        return Disk(*values) if match[1] == "disk" else Ring(*values)
    except (ValueError, TypeError):
        raise InputError(
            f"a virtual detector is disk(y,x,radius), ring(inner,outer) or reflections(class,number+number,radius), "
            f"not {text!r}"
        ) from None


def _within(shape: tuple[int, int], inner: float, outer: float, y: float = 0.0, x: float = 0.0) -> IntArray:
    """Pixels between two distances from a point, no farther from the beam centre than the detector is large."""
    if not 0 <= inner < outer:
        raise InputError(f"a virtual detector needs an outer radius larger than the inner, not {inner:g} to {outer:g}")
    sides = [
        np.arange(max(np.floor(at - outer), 1 - n), min(np.ceil(at + outer), n - 1) + 1)
        for at, n in zip((y, x), shape, strict=True)
    ]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
    distance = np.hypot(grid[:, 0] - y, grid[:, 1] - x)
    return np.asarray(grid[(distance <= outer) & (distance >= inner)], int)


@dataclass
class VirtualImages:
    """Images of virtual detectors of one scan: each is computed once, whoever asks.

    Attributes
    ----------
    scan
        The scan.
    centre
        Beam centre ``(y, x)`` of every position, pixels, shape ``(ry, rx, 2)``.
    positions
        Detector positions ``(y, x)`` of the reflections of an entry at every position, NaN where it is not the class,
        shape ``(ry, rx, reflection, 2)``, by number of the entry.
    """

    scan: Scan
    centre: FloatArray
    positions: Callable[[int], FloatArray] | None = None
    _done: dict[Detector, FloatArray] = field(default_factory=dict, init=False, repr=False)
    _working: dict[Detector, Lock] = field(default_factory=dict, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def ready(self, detector: Detector) -> FloatArray | None:
        """The image if it has been computed, in counts, shape ``(ry, rx)``."""
        return self._done.get(detector)

    def image(self, detector: Detector, report: Callable[[float, FloatArray], None] | None = None) -> FloatArray:
        """Counts in a virtual detector at every position, shape ``(ry, rx)``.

        Parameters
        ----------
        detector
            The detector; where it lies beyond the edge of the real one, nothing is counted.
        report
            Called after every block with the part that is done and the image so far, NaN where it is not yet known.

        Raises
        ------
        InputError
            If the scan cannot be read, or the detector has no pixel on the real one.
        """
        with self._lock:
            working = self._working.setdefault(detector, Lock())
        with working:
            if detector not in self._done:
                self._done[detector] = self._compute(detector, report)
            return self._done[detector]

    def _compute(self, detector: Detector, report: Callable[[float, FloatArray], None] | None) -> FloatArray:
        image = np.full(self.scan.n_positions, np.nan)
        centre = self.centre.reshape(-1, 2)
        where = None
        if isinstance(detector, Reflections):
            where = self._reflections(detector).reshape(self.scan.n_positions, -1, 2)
            offsets = _within(self.scan.detector_shape, 0.0, detector.radius)
        else:
            where, offsets = centre[:, None], detector.offsets(self.scan.detector_shape)
        for block in self.scan.blocks(BLOCK_BYTES):
            image[block.positions] = _sums(block.patterns, where[block.positions], offsets)
            if report is not None:
                report((block.positions[-1] + 1) / image.size, image.reshape(self.scan.scan_shape).copy())
        return image.reshape(self.scan.scan_shape)

    def _reflections(self, detector: Reflections) -> FloatArray:
        if self.positions is None:
            raise InputError("this result does not hold where its reflections lie; map the scan again")
        places = self.positions(detector.entry)
        if min(detector.numbers) < 0 or max(detector.numbers) >= places.shape[2]:
            raise InputError(f"entry {detector.entry} has {places.shape[2]} reflections, counted from 0")
        return places[:, :, list(detector.numbers)]


def _sums(patterns: np.ndarray, where: FloatArray, offsets: IntArray) -> FloatArray:
    """Counts at `offsets` from places ``(n, place, 2)``; positions with a place that is not known are NaN.

    Positions whose places round to the same pixels are summed at once.
    """
    flat, shape = patterns.reshape(len(patterns), -1), patterns.shape[1:]
    out = np.full(len(patterns), np.nan)
    known = np.asarray(np.isfinite(where).all((1, 2)))
    rounded = np.round(np.where(known[:, None, None], where, 0.0)).astype(int)
    same, group = np.unique(rounded.reshape(len(patterns), -1), axis=0, return_inverse=True)
    for k, places in enumerate(same):
        here = known & (group.ravel() == k)
        if not here.any():
            continue
        pixels = (places.reshape(-1, 1, 2) + offsets).reshape(-1, 2)
        pixels = pixels[((pixels >= 0) & (pixels < shape)).all(1)]
        index = np.unique(np.ravel_multi_index(tuple(pixels.T), shape))
        out[here] = _counted(flat if here.all() else flat[here], index)
    return out


def _counted(flat: np.ndarray, index: IntArray) -> FloatArray:
    """Sum of some pixels of every pattern, shape ``(n,)``; many pixels are summed faster as a product."""
    if len(index) < flat.shape[1] // 16:
        return np.asarray(flat[:, index].sum(1, dtype=float))
    weight = np.zeros(flat.shape[1], np.float64)
    weight[index] = 1.0
    return np.concatenate([flat[k : k + 8] @ weight for k in range(0, len(flat), 8)])
