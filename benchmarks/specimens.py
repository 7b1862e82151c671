"""Specimens of the semi-real benchmark: which crystal is where, how it is deformed, what part of the probe it has.

A specimen is a list of crystals over a scan of ``side x side`` positions. Axes and signs are those of
docs/conventions.md: vectors ``(y, x)``, ``F = V R(theta)``, angles from +x to +y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

COMPONENTS = ("exx", "eyy", "exy", "rotation")
CORNER = 0.25
"""Side of the reference region, a corner of the scan, in units of the scan's side."""
PROBE = 0.5
"""Standard deviation of the probe that blends grains, positions."""
PURE = 0.99
"""Part of the probe that a crystal has inside itself."""


@dataclass(frozen=True)
class Crystal:
    """One crystal of a specimen.

    Attributes
    ----------
    structure
        Which recorded pattern it shows.
    gradient
        Deformation gradient, shape ``(ry, rx, 2, 2)``.
    share
        Part of the probe it has, shape ``(ry, rx)``.
    tilt
        How much the logarithm of a reflection's intensity varies, between crystals and along the scan's columns.
    seed
        Of these variations.
    """

    structure: int
    gradient: np.ndarray
    share: np.ndarray
    tilt: float = 0.0
    seed: int = 0

    def tone(self, position: tuple[int, int], n: int) -> np.ndarray:
        """Brightness of its `n` reflections at a position, 1 on the average."""
        own, along = np.random.default_rng(self.seed).uniform(-1.7, 1.7, (2, n))
        return np.exp(self.tilt * (own + along * (2 * position[1] / self.share.shape[1] - 1)) / np.sqrt(2))


@dataclass(frozen=True)
class Specimen:
    """Crystals over a scan.

    Attributes
    ----------
    patterns
        Names of the recorded patterns, that of the matrix first.
    crystals
        All crystals.
    region
        Which of `regions` a position belongs to, shape ``(ry, rx)``.
    regions
        Names of parts of the scan that are reported apart.
    reference
        Mask of what strain is relative to, shape ``(ry, rx)``.
    film
        Part of the counts that comes from an amorphous film, shape ``(ry, rx)``.
    distortion
        Of the detector, acts on ``(y, x)`` from the beam.
    turned
        Whether disks turn with their crystal, their reflections on the lattice of the recorded pattern and not where
        they were recorded: for crystals turned by any angle.
    dilates
        Whether patterns are scaled by factors nobody knows: the isotropic part of the strain then has no truth.
    """

    patterns: tuple[str, ...]
    crystals: tuple[Crystal, ...]
    region: np.ndarray
    regions: tuple[str, ...]
    reference: np.ndarray
    film: np.ndarray
    distortion: np.ndarray = field(default_factory=lambda: np.eye(2))
    turned: bool = False
    dilates: bool = False

    @property
    def shares(self) -> np.ndarray:
        """Part of the probe of every crystal, shape ``(n, ry, rx)``."""
        return np.stack([crystal.share for crystal in self.crystals])

    @property
    def structure(self) -> np.ndarray:
        """Structure of the crystal with the largest share, shape ``(ry, rx)``."""
        return np.array([crystal.structure for crystal in self.crystals])[self.shares.argmax(0)]

    @property
    def gradient(self) -> np.ndarray:
        """Deformation gradient of the crystal with the largest share, shape ``(ry, rx, 2, 2)``."""
        stacked = np.stack([crystal.gradient for crystal in self.crystals])
        return np.take_along_axis(stacked, self.shares.argmax(0)[None, ..., None, None], 0)[0]


def turn(theta: np.ndarray | float) -> np.ndarray:
    """Rotations ``R(theta)``, shape ``(..., 2, 2)``."""
    c, s = np.cos(theta), np.sin(theta)
    return np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], -2)


def deformation(exx: np.ndarray, eyy: np.ndarray, exy: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """``F = V R(theta)``, shape ``(..., 2, 2)``."""
    exx, eyy, exy, degrees = np.broadcast_arrays(exx, eyy, exy, degrees)
    stretch = np.stack([np.stack([1 + eyy, exy], -1), np.stack([exy, 1 + exx], -1)], -2)
    return stretch @ turn(np.deg2rad(degrees))


def parts(gradient: np.ndarray) -> dict[str, np.ndarray]:
    """Strain and rotation (radians) of ``F = V R(theta)``."""
    left, scale, right = np.linalg.svd(gradient)
    stretch = left @ (scale[..., None] * left.swapaxes(-1, -2))
    rotation = left @ right
    theta = np.arctan2(rotation[..., 0, 1], rotation[..., 1, 1])
    return {
        "exx": stretch[..., 1, 1] - 1,
        "eyy": stretch[..., 0, 0] - 1,
        "exy": stretch[..., 0, 1],
        "rotation": theta,
    }


def corner(side: int) -> np.ndarray:
    """Mask of the corner that is the reference."""
    mask = np.zeros((side, side), bool)
    mask[: round(CORNER * side), : round(CORNER * side)] = True
    return mask


def plain(pattern: str, side: int, gradient: np.ndarray) -> Specimen:
    """One crystal everywhere."""
    whole, nothing = np.ones((side, side)), np.zeros((side, side))
    crystal = Crystal(0, np.broadcast_to(gradient, (side, side, 2, 2)), whole)
    return Specimen((pattern,), (crystal,), nothing.astype(int), ("everywhere",), corner(side), nothing)


def bend(pattern: str, side: int, rng: np.random.Generator) -> Specimen:
    """A single crystal with smooth strain of up to 0.8 % and a bend of 2 degrees."""
    y, x = np.mgrid[:side, :side] / side
    a, b, c, d = rng.uniform(0, 2 * np.pi, 4)
    exx, eyy = 8e-3 * np.sin(2 * np.pi * x + a), 6e-3 * np.sin(2 * np.pi * y + b)
    exy, degrees = 4e-3 * np.sin(2 * np.pi * (x + y) / 2 + c), 2 * x + 0.3 * np.sin(2 * np.pi * y + d)
    return plain(pattern, side, deformation(exx, eyy, exy, degrees))


def step(pattern: str, side: int, rng: np.random.Generator) -> Specimen:
    """Bands along the columns, 0.5, 1 and 2 % of exx between one and the next."""
    band = 4 * np.arange(side) // side
    exx = np.broadcast_to(np.array([0.0, 5e-3, -5e-3, 15e-3])[band], (side, side))
    made = plain(pattern, side, deformation(exx, *np.zeros((3, side, side))))
    change = np.flatnonzero(np.diff(band))
    beside = np.isin(np.arange(side), np.concatenate([change, change + 1]))
    return replace(made, region=np.broadcast_to(beside, (side, side)).astype(int), regions=("flat", "beside a step"))


def mosaic(pattern: str, side: int, rng: np.random.Generator) -> Specimen:
    """Every position turned and strained on its own: 0.05 degrees and 0.1 %, in the right half 0.5 and 0.5 %."""
    strong = np.broadcast_to(np.arange(side) >= side // 2, (side, side))
    strain = np.where(strong, 5e-3, 1e-3) * rng.normal(size=(3, side, side))
    degrees = np.where(strong, 0.5, 0.05) * rng.normal(size=(side, side))
    made = plain(pattern, side, deformation(*strain, degrees))
    return replace(made, region=strong.astype(int), regions=("0.05 degrees", "0.5 degrees"))


def grains(pattern: str, side: int, rng: np.random.Generator) -> Specimen:
    """Six grains at any rotation, strained by up to 0.5 %; the first one, unstrained, has the corner."""
    seeds = np.concatenate([[[CORNER / 2] * 2], best_spread(rng, 5)]) * side
    y, x = np.mgrid[:side, :side]
    owner = np.hypot(y[..., None] - seeds[:, 0], x[..., None] - seeds[:, 1]).argmin(-1)
    owner[corner(side)] = 0
    crystals = []
    for k in range(len(seeds)):
        strain, degrees = (5e-3 * rng.uniform(-1, 1, 3), rng.uniform(0, 360)) if k else (np.zeros(3), 0.0)
        gradient = np.broadcast_to(deformation(*strain, degrees), (side, side, 2, 2))
        share = ndimage.gaussian_filter((owner == k).astype(float), PROBE, mode="nearest")
        crystals.append(Crystal(0, gradient, share, seed=k))
    return blended(pattern, side, crystals, ("inside", "boundary"))


def best_spread(rng: np.random.Generator, n: int) -> np.ndarray:
    """Of a hundred draws of `n` places in the unit square the one with the largest smallest distance, ``(n, 2)``."""
    draws = rng.uniform(0.05, 0.95, (100, n, 2))
    apart = np.hypot(*(draws[:, :, None] - draws[:, None]).transpose(3, 0, 1, 2)) + 9 * np.eye(n)
    from_corner = np.hypot(*(draws - CORNER / 2).transpose(2, 0, 1))
    return draws[np.minimum(apart.min((1, 2)), from_corner.min(1)).argmax()]


def overlap(pattern: str, side: int, rng: np.random.Generator) -> Specimen:
    """Two crystals on top of each other, turned by 8 degrees: the second from none of the probe to all along x."""
    y, x = np.mgrid[:side, :side] / side
    second = np.clip((x - 0.3) / 0.5, 0, 1)
    first = deformation(2e-3 * np.sin(2 * np.pi * y), 0.0, 0.0, 0.0)
    other = deformation(4e-3, 2e-3 * np.sin(2 * np.pi * y), -2e-3, 8.0)
    crystals = [Crystal(0, first, 1 - second, seed=0), Crystal(0, other, second, seed=1)]
    return blended(pattern, side, crystals, ("one crystal", "two on top of each other"))


def precipitates(pattern: str, side: int, rng: np.random.Generator, second: str) -> Specimen:
    """A bent matrix and islands of 3 x 3 positions of another structure, some 7 % of the scan, strained by up to 0.5 %.

    The first island is unstrained and the reference of its structure.
    """
    matrix = bend(pattern, side, rng).crystals[0].gradient
    places = [(y, x) for y in range(1, side - 3, 5) for x in range(1, side - 3, 5)]
    places = [p for p in places if not corner(side)[p]]
    chosen = rng.permutation(len(places))[: max(2, round(0.075 * side**2 / 9))]
    island = np.full((side, side), -1)
    for k, n in enumerate(chosen):
        y, x = places[n]
        island[y : y + 3, x : x + 3] = k
    strain = 5e-3 * rng.uniform(-1, 1, (len(chosen), 3))
    strain[0] = 0.0
    inner = deformation(*strain[island].transpose(2, 0, 1), 15.0 + 3 * rng.uniform(-1, 1, len(chosen))[island])
    within = (island >= 0).astype(float)
    crystals = [Crystal(0, matrix, 1 - within, seed=0), Crystal(1, inner, within, seed=1)]
    made = blended(pattern, side, crystals, ("matrix", "second structure"))
    reference = made.reference | (island == 0)
    return replace(made, patterns=(pattern, second), region=within.astype(int), reference=reference)


def blended(pattern: str, side: int, crystals: list[Crystal], regions: tuple[str, str]) -> Specimen:
    """Several crystals; the second region is where none has the whole probe."""
    pure = np.max([crystal.share for crystal in crystals], 0) > PURE
    return Specimen((pattern,), tuple(crystals), (~pure).astype(int), regions, corner(side), np.zeros((side, side)))


LAYOUTS: dict[str, Callable[..., Specimen]] = {
    "bend": bend,
    "step": step,
    "mosaic": mosaic,
    "grains": grains,
    "overlap": overlap,
    "precipitates": precipitates,
}
