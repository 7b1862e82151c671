"""Virtual detectors, and the images of the sample that they give, computed when asked for and kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeAlias

import numpy as np

from cyclestrain.data import BoolArray, FloatArray, IntArray, Scan
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
class _Image:
    """Counts of every position, NaN where they are not known, and which have been counted; both flat."""

    values: FloatArray
    done: BoolArray

    @classmethod
    def blank(cls, n: int) -> _Image:
        """Nothing is known yet."""
        return cls(np.full(n, np.nan), np.zeros(n, bool))


@dataclass
class VirtualImages:
    """Images of virtual detectors of one scan: each position is counted once, whoever asks.

    Attributes
    ----------
    scan
        The scan.
    centre
        Beam centre ``(y, x)`` of every position, pixels, shape ``(ry, rx, 2)``.
    positions
        Detector positions ``(y, x)`` of the reflections of an entry at every position, NaN where it is not the class,
        shape ``(ry, rx, reflection, 2)``, by number of the entry.
    came
        Positions whose patterns can be read, shape ``(ry, rx)``; None for all.
    """

    scan: Scan
    centre: FloatArray
    positions: Callable[[int], FloatArray] | None = None
    came: BoolArray | None = None
    _images: dict[Detector, _Image] = field(default_factory=dict, init=False, repr=False)
    _working: dict[Detector, Lock] = field(default_factory=dict, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def so_far(self, detector: Detector) -> tuple[FloatArray, bool]:
        """The image as far as it is known, in counts, NaN elsewhere, and whether that is wherever a pattern is."""
        known = self._images.get(detector)
        if known is None:
            return np.full(self.scan.scan_shape, np.nan), False
        return known.values.reshape(self.scan.scan_shape).copy(), bool(known.done[self._wanted].all())

    @property
    def _wanted(self) -> BoolArray:
        """Positions whose patterns can be read, flat."""
        return np.ones(self.scan.n_positions, bool) if self.came is None else self.came.ravel()

    def image(self, detector: Detector, report: Callable[[], None] | None = None) -> FloatArray:
        """Counts in a virtual detector at every position, shape ``(ry, rx)``, NaN where no pattern has come.

        Parameters
        ----------
        detector
            The detector; where it lies beyond the edge of the real one, nothing is counted.
        report
            Called after every block: there is more in `so_far`.

        Raises
        ------
        InputError
            If the scan cannot be read, or the detector has no pixel on the real one.
        """
        with self._lock:
            working = self._working.setdefault(detector, Lock())
        with working:
            self._compute(detector, report)
            return self.so_far(detector)[0]

    def _compute(self, detector: Detector, report: Callable[[], None] | None) -> None:
        image = self._images.get(detector) or _Image.blank(self.scan.n_positions)
        centre, wanted = self.centre.reshape(-1, 2), self._wanted
        where = None
        if isinstance(detector, Reflections):
            where = self._reflections(detector).reshape(self.scan.n_positions, -1, 2)
            offsets = _within(self.scan.detector_shape, 0.0, detector.radius)
        else:
            where, offsets = centre[:, None], detector.offsets(self.scan.detector_shape)
        for block in self.scan.blocks(BLOCK_BYTES, image.done | ~wanted):
            here = wanted[block.positions]
            new, patterns = block.positions[here], block.patterns if here.all() else block.patterns[here]
            image.values[new] = _sums(patterns, where[new], offsets)
            image.done[new] = True
            self._images[detector] = image
            if report is not None:
                report()

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
