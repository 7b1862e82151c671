"""What real detectors and microscopes do to a scan: each a function from counts to what the file would hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Patterns = NDArray[Any]
Spoil = Callable[[Patterns, np.random.Generator], Patterns]


@dataclass(frozen=True)
class Oddity:
    """How a scan is odd: what happens to its patterns, how it is simulated, how it is mapped."""

    name: str
    spoil: Spoil = lambda patterns, rng: patterns
    simulate: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def grid(patterns: Patterns) -> tuple[Patterns, Patterns]:
    """Distance (y, x) of every detector pixel from the middle."""
    ny, nx = patterns.shape[-2:]
    y, x = np.indices((ny, nx))
    return y - (ny - 1) / 2, x - (nx - 1) / 2


def dead_lines(patterns: Patterns, rng: np.random.Generator) -> Patterns:
    """Three rows and three columns without signal."""
    n = patterns.shape[-1]
    patterns[..., rng.integers(10, n - 10, 3), :] = 0
    patterns[..., rng.integers(10, n - 10, 3)] = 0
    return patterns


def dead_band(patterns: Patterns, rng: np.random.Generator) -> Patterns:
    """Five rows side by side without signal."""
    first = int(rng.integers(15, 45))
    patterns[..., first : first + 5, :] = 0
    return patterns


def hot_columns(patterns: Patterns, rng: np.random.Generator) -> Patterns:
    patterns[..., rng.integers(10, patterns.shape[-1] - 10, 2)] += 40
    return patterns


def hot_pixels(patterns: Patterns, rng: np.random.Generator) -> Patterns:
    """Pixels with counts of their own, some of them at the end of the scale."""
    y, x = rng.integers(0, patterns.shape[-1], (2, 60))
    patterns[..., y, x] += rng.integers(20, 2000, 60).astype(patterns.dtype)
    patterns[..., y[:5], x[:5]] = np.iinfo(patterns.dtype).max
    return patterns


def beam_stop(patterns: Patterns, rng: np.random.Generator) -> Patterns:
    """A disk on a slanted arm that lets 1 % through."""
    y, x = grid(patterns)
    stop = (np.hypot(y - 1, x + 1.5) < 9) | ((np.abs(y - 1 - 0.3 * x) < 4) & (x < 0))
    passed = 1 - 0.99 * ndimage.gaussian_filter(stop.astype(float), 0.7)
    return rng.binomial(patterns, np.broadcast_to(passed, patterns.shape)).astype(patterns.dtype)


def saturated(patterns: Patterns, rng: np.random.Generator) -> Patterns:
    return np.minimum(patterns, 63).astype(np.uint8)


def cut_at(end: int) -> Spoil:
    """A counter that ends within the disks."""
    return lambda patterns, rng: np.minimum(patterns, end).astype(np.uint16)


def one_bit(patterns: Patterns, rng: np.random.Generator) -> Patterns:
    return patterns > 0


def tiles(patterns: Patterns, rng: np.random.Generator) -> Patterns:
    """Four tiles with gains of their own."""
    y, x = grid(patterns)
    gain = np.where(y < 0, np.where(x < 0, 1.0, 1.12), np.where(x < 0, 0.9, 1.05))
    return (patterns * gain).astype(np.float32)


def cross(width: int, at: int = 0, edge: float = 1.0) -> Spoil:
    """Gap between four chips, `at` pixels from the middle; the pixels beside it count `edge` times as much."""

    def spoil(patterns: Patterns, rng: np.random.Generator) -> Patterns:
        y, x = grid(patterns)
        wide = patterns * np.where(np.minimum(np.abs(y - at), np.abs(x + at)) < width / 2 + 1, edge, 1.0)
        return np.where(np.minimum(np.abs(y - at), np.abs(x + at)) < width / 2, 0, wide).astype(patterns.dtype)

    return spoil


def analogue(gain: float, offset: float, read_noise: float, dtype: Any = np.float32) -> Spoil:
    """A camera: counts times a gain, with an offset and read noise, so that values may be negative."""

    def spoil(patterns: Patterns, rng: np.random.Generator) -> Patterns:
        values = patterns * gain + offset + rng.normal(0, read_noise, patterns.shape)
        return (np.rint(values) if np.issubdtype(dtype, np.integer) else values).astype(dtype)

    return spoil


def scintillator(spread: float, gain: float, offset: float, read_noise: float) -> Spoil:
    """A camera whose electrons light several pixels: a Gaussian of standard deviation `spread`, pixels."""
    camera = analogue(gain, offset, read_noise, np.uint16)

    def spoil(patterns: Patterns, rng: np.random.Generator) -> Patterns:
        return camera(ndimage.gaussian_filter(patterns.astype(np.float32), (0, 0, spread, spread)), rng)

    return spoil


def halo(change: float) -> Spoil:
    """Two rings of an amorphous film with 0.6 of the counts of the crystal; the film is a wedge along the scan rows."""

    def spoil(patterns: Patterns, rng: np.random.Generator) -> Patterns:
        radius = np.hypot(*grid(patterns))
        rings = np.exp(-0.5 * ((radius - 25) / 7) ** 2) + 0.4 * np.exp(-0.5 * ((radius - 46) / 10) ** 2)
        rings *= 0.6 * patterns.sum((-1, -2)).mean() / rings.sum()
        thickness = np.linspace(1 - change, 1 + change, patterns.shape[1])[:, None, None]
        return patterns + rng.poisson(rings * thickness, patterns.shape).astype(patterns.dtype)

    return spoil


def moved(shifts: Callable[[tuple[int, int], np.random.Generator], NDArray[Any]]) -> Spoil:
    """The whole pattern of every position moved by whole pixels."""

    def spoil(patterns: Patterns, rng: np.random.Generator) -> Patterns:
        by = shifts(patterns.shape[:2], rng)
        for at in np.ndindex(*patterns.shape[:2]):
            patterns[at] = np.roll(patterns[at], by[at], (0, 1))
        return patterns

    return spoil


def row_jumps(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[Any]:
    return np.broadcast_to(rng.integers(-4, 5, (shape[0], 1, 2)), (*shape, 2))


def jitter(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[Any]:
    return rng.integers(-3, 4, (*shape, 2))


def waves(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[Any]:
    y, x = np.indices(shape)
    return np.rint(np.stack([6 * np.sin(9 * x / shape[1]), 5 * np.cos(7 * y / shape[0])], -1)).astype(int)


def glitches(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[Any]:
    return np.where(rng.random((*shape, 1)) < 0.05, rng.integers(-5, 6, (*shape, 2)), 0)


def empty_positions(patterns: Patterns, rng: np.random.Generator) -> Patterns:
    patterns[rng.random(patterns.shape[:2]) < 0.15] = 0
    return patterns


def aborted(patterns: Patterns, rng: np.random.Generator) -> Patterns:
    """The last third of the scan was never recorded."""
    patterns.reshape(-1, *patterns.shape[2:])[2 * patterns.shape[0] * patterns.shape[1] // 3 :] = 0
    return patterns


MANY_GRAINS = {"grain_size": 28.0, "max_strain": 0.003, "scan": (24, 24)}
LOW_DOSE = {"counts": 1.0e4}

ODDITIES = (
    Oddity("nothing odd"),
    Oddity("dead lines", dead_lines),
    Oddity("dead band", dead_band),
    Oddity("hot columns", hot_columns),
    Oddity("hot pixels", hot_pixels),
    Oddity("beam stop", beam_stop),
    Oddity("saturated centre", saturated),
    Oddity("one bit", one_bit, LOW_DOSE),
    Oddity("gain steps between tiles", tiles),
    Oddity("cross-shaped gap", cross(3)),
    Oddity("cross-shaped gap, wide pixels beside it", cross(3, edge=2.5)),
    Oddity("cross-shaped gap off the centre", cross(6, at=17)),
    Oddity("wide gap over the beam", cross(8)),
    Oddity("offset and read noise", analogue(1.0, 100.0, 1.0)),
    Oddity("negative values", analogue(1.0, -5.0, 0.7)),
    Oddity("gain and read noise", analogue(150.0, -30.0, 40.0)),
    Oddity("signed integers with an offset", analogue(7.0, 200.0, 3.0, np.int16)),
    Oddity("scintillator", scintillator(0.8, 20.0, 100.0, 3.0)),
    Oddity("shared charge", scintillator(0.45, 1.0, 0.0, 0.0)),
    Oddity("amorphous halo", halo(0.0)),
    Oddity("amorphous wedge", halo(0.3)),
    Oddity("strong descan", simulate={"drift": 16.0}),
    Oddity("descan in waves", moved(waves)),
    Oddity("descan jumps between rows", moved(row_jumps)),
    Oddity("descan jitter", moved(jitter)),
    Oddity("descan glitches", moved(glitches)),
    Oddity("ellipse that is measured", simulate=MANY_GRAINS | {"ellipse": (1.02, 30.0)}, settings={"ellipse": None}),
    Oddity("ellipse that is given", simulate={"ellipse": (1.04, 110.0)}, settings={"ellipse": (1.04, 110.0)}),
    Oddity("empty positions", empty_positions),
    Oddity("aborted scan", aborted),
    Oddity("one row", simulate={"scan": (1, 200)}),
    Oddity("one column", simulate={"scan": (200, 1)}),
    Oddity("disks cut by 8 bits", cut_at(255), {"counts": 5e6}),
    Oddity("disks cut by 12 bits", cut_at(4095), {"counts": 4e7}),
    Oddity("disks cut by a counter with an odd end", cut_at(777), {"counts": 1.5e7}),
)
