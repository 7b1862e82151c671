"""A small crystal made by hand: entry, dictionary and patterns drawn pixel by pixel, independent of the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyclestrain.affine import rotation
from cyclestrain.pattern import Dictionary, Entry, Priors, Probe, disk_profile

DETECTOR = (96, 96)
CENTRE = np.array([47.6, 47.3])


def make_entry(radius: float = 3.0, spacing: float = 16.0, background: float = 0.4, brightness: float = 60.0) -> Entry:
    """Two shells of a hexagonal lattice."""
    basis = spacing * np.array([[0.0, np.sqrt(3) / 2], [1.0, 0.5]])
    indices = np.array([(h, k) for h in range(-2, 3) for k in range(-2, 3) if (h, k) != (0, 0) and abs(h + k) <= 2])
    reflections = indices @ basis.T
    intensity = brightness * (1.0 + 0.3 * np.cos(np.arange(len(indices))))
    half = int(np.ceil(radius + 3))
    probe = Probe.from_profile(disk_profile(radius, 1.2, 8, half + 3), 8, half)
    level = background / (1 + (np.arange(120) / 20.0) ** 2) + 0.05
    return Entry(
        reflections, intensity, basis, indices.astype(float), np.eye(2)[None], level, probe,
        Priors(np.zeros((len(indices), 8))), np.zeros((3, 3)),
    )  # fmt: skip


def make_dictionary(**options: float) -> Dictionary:
    return Dictionary((make_entry(**options),), 1.0)


@dataclass(frozen=True)
class Crystals:
    """Patterns with their truth: rotation, and affine of the pattern."""

    patterns: NDArray[np.uint16]
    theta: NDArray[np.float64]
    affine: NDArray[np.float64]
    centre: NDArray[np.float64]
    good: NDArray[np.bool_]


def expected_pattern(entry: Entry, affine: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected counts of a whole pattern, disks drawn where `affine` puts them."""
    y, x = np.indices(DETECTOR)
    r = np.hypot(y - centre[0], x - centre[1])
    out = np.interp(r, np.arange(len(entry.background)), entry.background)
    profile = entry.probe.profile
    for g, intensity in zip(entry.reflections @ affine.T + centre, entry.intensity, strict=True):
        distance = np.hypot(y - g[0], x - g[1]) * entry.probe.oversampling
        out += intensity * np.interp(distance, np.arange(len(profile)), profile, right=0.0)
    return out


def make_crystals(n: int, entry: Entry, seed: int = 0, strain: float = 0.015, turn: float = 0.003) -> Crystals:
    """Poisson patterns at random rotations; `theta` is off by `turn` radians (standard deviation)."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(-np.pi, np.pi, n)
    e = rng.uniform(-strain, strain, (n, 3))
    stretch = np.stack([np.stack([1 + e[:, 0], e[:, 2]], -1), np.stack([e[:, 2], 1 + e[:, 1]], -1)], -2)
    affine = rotation(true) @ stretch
    centre = np.broadcast_to(CENTRE, (n, 2)).copy()
    expected = np.stack([expected_pattern(entry, a, c) for a, c in zip(affine, centre, strict=True)])
    patterns = rng.poisson(expected).astype(np.uint16)
    return Crystals(patterns, true + rng.normal(0, turn, n), affine, centre, np.ones(DETECTOR, bool))
