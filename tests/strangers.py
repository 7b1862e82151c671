"""Scans that neither the package's model nor its simulator drew: what a stranger's microscope may hand in.

A pattern is the sum of the crystals under the probe, each a list of reflections at ``E F^-T g``, all with the shape of
one probe of any form, and of a background of any form; Poisson noise comes last. Vectors are ``(y, x)``. Truth is
strain of ``F F_ref^-1 = V R(theta)``, ``V - 1``, in the variant of the lattice that turns least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Shape = Callable[[FloatArray, FloatArray], FloatArray]
"""Intensity as a function of the distances (y, x) from the middle, pixels."""

COMPONENTS = ("exx", "eyy", "exy", "rotation")
FINE, PHASES = 16, 8
"""Samples and tabulated places of a probe per pixel."""


# --- deformations ------------------------------------------------------------------------------------------------


def turn(theta: FloatArray | float) -> FloatArray:
    """Rotation from +x (column) towards +y (row), radians, in ``(y, x)`` order."""
    c, s = np.cos(theta), np.sin(theta)
    return np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], -2)


def deformed(exx: object = 0.0, eyy: object = 0.0, exy: object = 0.0, degrees: object = 0.0) -> FloatArray:
    """``F = (1 + strain) R`` of numbers or fields."""
    xx, yy, xy, theta = np.broadcast_arrays(*(np.asarray(v, float) for v in (exx, eyy, exy, degrees)))
    strain = np.stack([np.stack([1 + yy, xy], -1), np.stack([xy, 1 + xx], -1)], -2)
    return np.asarray(strain @ turn(np.deg2rad(theta)))


def split(gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
    """``V`` and ``theta`` of ``F = V R(theta)``, by singular values."""
    u, s, w = np.linalg.svd(gradient)
    rotation = u @ w
    return (u * s[..., None, :]) @ u.swapaxes(-1, -2), np.arctan2(rotation[..., 0, 1], rotation[..., 0, 0])


def stretched(ratio: float, degrees: float) -> FloatArray:
    """Distortion with this ratio of its axes, the long one at this angle, at constant area."""
    along = turn(np.deg2rad(degrees)).T
    return np.asarray(along.T @ np.diag([ratio**-0.5, ratio**0.5]) @ along)


# --- probes ------------------------------------------------------------------------------------------------------


def _soft(distance: FloatArray, edge: float) -> FloatArray:
    """1 where `distance` is below zero, 0 above, over an edge of some pixels."""
    return np.asarray(1 / (1 + np.exp(np.clip(distance / (0.25 * edge), -50, 50))))


def disk(radius: float, edge: float = 0.8) -> Shape:
    return lambda y, x: _soft(np.hypot(y, x) - radius, edge)


def oval(radius: float, ratio: float, degrees: float, edge: float = 0.8) -> Shape:
    back = np.linalg.inv(stretched(ratio, degrees))
    return lambda y, x: _soft(np.hypot(*np.einsum("ij,j...->i...", back, np.stack([y, x]))) - radius, edge)


def bullseye(radius: float, rings: float = 2.5) -> Shape:
    """Concentric rings within a disk, the outermost one bright."""
    return lambda y, x: disk(radius)(y, x) * (0.5 + 0.5 * np.cos(2 * np.pi * rings * (np.hypot(y, x) / radius - 0.9)))


def cross(radius: float, width: float = 0.35) -> Shape:
    """A disk of which only a cross lets electrons through."""
    return lambda y, x: disk(radius)(y, x) * _soft(np.minimum(np.abs(y), np.abs(x)) - width * radius, 0.8)


def spot(sigma: float) -> Shape:
    return lambda y, x: np.exp(-0.5 * (y**2 + x**2) / sigma**2)


def tabulated(probe: Shape, half: int) -> FloatArray:
    """Pixels of the probe at places between pixels, of unit sum, shape ``(PHASES + 1, PHASES + 1, size, size)``."""
    size = 2 * half + 1
    fine = (np.arange((size + 1) * FINE) + 0.5) / FINE - 0.5 * (size + 1)
    drawn = probe(*np.meshgrid(fine, fine, indexing="ij"))
    starts = [(PHASES - i) * FINE // PHASES for i in range(PHASES + 1)]
    out = np.stack([
        [drawn[y : y + size * FINE, x : x + size * FINE].reshape(size, FINE, size, FINE).sum((1, 3)) for x in starts]
        for y in starts
    ])  # fmt: skip
    return np.asarray(out / out[PHASES // 2, PHASES // 2].sum())


# --- backgrounds -------------------------------------------------------------------------------------------------


def flat() -> Shape:
    return lambda y, x: np.ones_like(y)


def lorentzian(width: float) -> Shape:
    return lambda y, x: 1 / (1 + (y**2 + x**2) / width**2)


def peaked(width: float) -> Shape:
    """A sharp peak about the beam, with long tails."""
    return lambda y, x: np.exp(-np.hypot(y, x) / width) + 0.01 / (1 + (y**2 + x**2) / (8 * width) ** 2)


def halo(radius: float, width: float) -> Shape:
    return lambda y, x: np.exp(-0.5 * ((np.hypot(y, x) - radius) / width) ** 2)


def rings(radii: Sequence[float], width: float = 1.5, spots: int = 0, seed: int = 0) -> Shape:
    """Powder rings; with `spots`, so many fixed ones on each at any angles."""

    def drawn(y: FloatArray, x: FloatArray) -> FloatArray:
        rng = np.random.default_rng(seed)
        out = np.zeros_like(y)
        for radius in radii:
            out += np.exp(-0.5 * ((np.hypot(y, x) - radius) / width) ** 2)
            for angle in rng.uniform(0, 2 * np.pi, spots):
                at = radius * np.sin(angle), radius * np.cos(angle)
                out += rng.uniform(2, 8) * np.exp(-0.5 * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / width**2)
        return out

    return drawn


def bands(n: int, seed: int = 0, width: float = 5.0) -> Shape:
    """Kikuchi-like bands: straight, with bright edges, at any angle and distance."""

    def drawn(y: FloatArray, x: FloatArray) -> FloatArray:
        rng, out = np.random.default_rng(seed), np.ones_like(y)
        for angle, offset, wide in zip(*rng.uniform([[0], [-25], [1]], [[np.pi], [25], [3]], (3, n)), strict=True):
            across = y * np.cos(angle) - x * np.sin(angle) - offset
            out += 0.5 * (np.abs(across) < wide * width) + 0.8 * np.exp(-((np.abs(across) - wide * width) ** 2) / 3)
        return out

    return drawn


def fringed(shape: Shape, radius: float, strength: float, seed: int) -> Shape:
    """A shape with fringes of some direction, distance and phase across it, as thick crystals have in each disk."""
    angle, phase, periods = np.random.default_rng(seed).uniform([0, 0, 0.7], [np.pi, 2 * np.pi, 1.5])

    def drawn(y: FloatArray, x: FloatArray) -> FloatArray:
        along = (y * np.sin(angle) + x * np.cos(angle)) / (2 * radius)
        return np.asarray(shape(y, x) * (1 + strength * np.cos(2 * np.pi * periods * along + phase)))

    return drawn


def summed(*parts: tuple[float, Shape]) -> Shape:
    """Weighted sum of shapes that are each normalised to their own sum."""

    def drawn(y: FloatArray, x: FloatArray) -> FloatArray:
        each = [(weight, shape(y, x)) for weight, shape in parts]
        return np.asarray(sum(weight * values / values.sum() for weight, values in each))

    return drawn


# --- crystals ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phase:
    """Reflections ``(n, 2)``, pixels; their shares of the counts ``(n,)``, the beam has the rest; symmetry."""

    reflections: FloatArray
    intensity: FloatArray
    fold: int


def phase(
    a: tuple[float, float],
    b: tuple[float, float],
    fold: int,
    *,
    reach: float = 60.0,
    falloff: float = 30.0,
    seed: int = 0,
    diffracted: float = 0.5,
    form: Callable[[int, int], float] = lambda h, k: 1.0,
) -> Phase:
    """A lattice; equally long reflections are equally bright, apart from `form`, a factor for each index."""
    rng, bright = np.random.default_rng(seed), dict[float, float]()
    at, much = [], []
    most = int(np.ceil(2 * reach / min(np.hypot(*a), np.hypot(*b))))
    for h, k in product(range(-most, most + 1), repeat=2):
        g = h * np.array(a) + k * np.array(b)
        length = float(np.hypot(*g))
        if (h, k) == (0, 0) or length > reach or form(h, k) <= 0:
            continue
        factor = bright.setdefault(round(length, 3), float(rng.uniform(0.5, 1.5)))
        at.append(g)
        much.append(form(h, k) * factor * np.exp(-length / falloff))
    return Phase(np.array(at), diffracted * np.array(much) / np.sum(much), fold)


def square(length: float, **options: object) -> Phase:
    return phase((0.0, length), (length, 0.0), 4, **options)  # type: ignore[arg-type]


def hexagonal(length: float, **options: object) -> Phase:
    return phase((0.0, length), (length * np.sqrt(3) / 2, length / 2), 6, **options)  # type: ignore[arg-type]


# --- what is where -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """Crystals under the probe: ``F (ry, rx, m, 2, 2)``, phases (-1 vacuum) and shares ``(ry, rx, m)``."""

    F: FloatArray
    phase: IntArray
    share: FloatArray


def field(gradient: FloatArray, label: IntArray | int = 0) -> Sample:
    """One crystal at each position, shape ``(ry, rx, 2, 2)``."""
    shape = gradient.shape[:2]
    return Sample(gradient[:, :, None], np.broadcast_to(label, shape)[..., None].astype(np.int64), np.ones((*shape, 1)))


def grains(number: IntArray, gradients: FloatArray, labels: Sequence[int] | int = 0, blur: float = 0.0) -> Sample:
    """Grain of each position, its gradient and phase; boundaries are blends over `blur` positions."""
    n = len(gradients)
    inside = np.stack([(number == k).astype(float) for k in range(n)], -1)
    if blur:
        inside = np.stack(
            [ndimage.gaussian_filter(one, blur, mode="nearest") for one in np.moveaxis(inside, -1, 0)], -1
        )
    shape = number.shape
    return Sample(
        np.broadcast_to(gradients, (*shape, n, 2, 2)),
        np.broadcast_to(np.broadcast_to(labels, n), (*shape, n)).astype(np.int64),
        np.where(inside < 1e-6, 0.0, inside) / inside.sum(-1, keepdims=True),
    )


def voronoi(shape: tuple[int, int], n: int, seed: int) -> IntArray:
    """Nearest of some random places, shape ``(ry, rx)``."""
    places = np.random.default_rng(seed).uniform(0, 1, (n, 2)) * shape
    at = np.stack(np.indices(shape), -1)[:, :, None]
    return np.asarray(np.linalg.norm(at - places, axis=-1).argmin(-1))


# --- the scan ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stranger:
    """Counts of a scan and what is true of it; where the probe holds several crystals, of the dominant one."""

    counts: NDArray[np.uint16]
    F: FloatArray
    theta: FloatArray
    label: IntArray
    share: FloatArray
    fold: IntArray

    def truth(self, reference: BoolArray) -> FloatArray:
        """exx, eyy, exy and rotation relative to positions `reference`, shape ``(4, ry, rx)``; NaN without any."""
        out = np.full((4, *self.label.shape), np.nan)
        for k in range(len(self.fold)):
            here, mine = self.label == k, reference & (self.label == k)
            if mine.any():
                out[:, here] = self._relative(self.F[here], self.F[mine], int(self.fold[k]))
        return out

    def _relative(self, gradient: FloatArray, members: FloatArray, fold: int) -> FloatArray:
        inverse = np.linalg.inv(_mean_crystal(members, fold))
        variants = gradient[:, None] @ turn(2 * np.pi * np.arange(fold) / fold) @ inverse
        stretch, theta = split(variants)
        best = np.abs(theta).argmin(1)
        stretch, theta = stretch[np.arange(len(best)), best], theta[np.arange(len(best)), best]
        return np.stack([stretch[:, 1, 1] - 1, stretch[:, 0, 0] - 1, stretch[:, 0, 1], theta])

    def errors(self, maps: xr.Dataset, suffix: str = "") -> FloatArray:
        """Result minus truth relative to the result's own reference, shape ``(4, ry, rx)``."""
        error = np.stack([maps[name + suffix].values for name in COMPONENTS]) - self.truth(maps["reference"].values)
        period = 2 * np.pi / self.fold[np.maximum(self.label, 0)]
        error[3] = (error[3] + period / 2) % period - period / 2
        return error

    def z(self, maps: xr.Dataset, suffix: str = "", where: BoolArray | None = None) -> FloatArray:
        """Errors over their sigmas at valid positions, shape ``(4, n)``."""
        keep = maps["valid"].values & np.isfinite(self.truth(maps["reference"].values)[0])
        keep &= True if where is None else where
        sigma = np.stack([maps[f"{name}{suffix}_sigma"].values for name in COMPONENTS])
        return np.asarray(self.errors(maps, suffix)[:, keep] / sigma[:, keep])

    def wrong(self, maps: xr.Dataset, sigmas: float, suffix: str = "", where: BoolArray | None = None) -> float:
        """Share of valid positions where some component of the strain is wrong by more than some sigmas."""
        z = self.z(maps, suffix, where)[:3]
        return float((np.abs(z) > sigmas).any(0).mean()) if z.size else 0.0


def _mean_crystal(members: FloatArray, fold: int) -> FloatArray:
    """Mean of what most of some gradients are, without those of other grains, in one variant of the lattice."""
    stretch, theta = split(members)
    turned = [np.cos(fold * theta) / fold, np.sin(fold * theta) / fold]
    place = np.stack([stretch[:, 0, 0], stretch[:, 1, 1], stretch[:, 0, 1], *turned], 1)
    away = np.abs(place - np.median(place, 0)).max(1)
    near, first = away < 0.04, theta[away.argmin()]
    period = 2 * np.pi / fold
    apart = (theta[near] - first + period / 2) % period - period / 2
    return np.asarray(stretch[near].mean(0) @ turn(first + apart.mean()))


def stranger(
    phases: Sequence[Phase],
    sample: Sample,
    *,
    probe: Shape,
    half: int = 8,
    detector: tuple[int, int] = (128, 128),
    background: Shape | None = None,
    backgrounds: float = 0.25,
    wedge: float = 0.0,
    film: tuple[Shape, float] | None = None,
    dose: float = 1e5,
    ellipse: tuple[float, float] = (1.0, 0.0),
    offset: tuple[float, float] = (0.3, -0.4),
    descan: float = 0.0,
    jitter: float = 0.0,
    contrast: float = 0.0,
    inside: Callable[[int], Shape] | None = None,
    dead_quadrant: bool = False,
    seed: int = 0,
) -> Stranger:
    """Draw a scan: the counts of a pattern are `dose`, of which `backgrounds` is background.

    A `film` is another background, whose share of the counts grows along the rows from none to the one given. With
    `contrast`, the brightness of every reflection scatters from position to position by that share. With `inside`,
    the reflections of the only phase have shapes of their own, the same everywhere.
    """
    rng = np.random.default_rng(seed)
    shape = sample.phase.shape[:2]
    ramp = np.stack([np.linspace(-0.5, 0.5, n)[i] for n, i in zip(shape, np.indices(shape), strict=True)], -1)
    middle = (np.array(detector) - 1) / 2 + offset
    centre = middle + descan * ramp + jitter * rng.normal(size=(*shape, 2))
    distortion, tables = stretched(*ellipse), tabulated(probe, half)[None]
    if inside is not None:
        own = [tabulated(inside(k), half) for k in range(len(phases[0].reflections))]
        tables = np.concatenate([tables, own])
    y, x = np.einsum("ij,j...->i...", np.linalg.inv(distortion), np.indices(detector) - middle[:, None, None])
    below = (background or flat())(y, x)
    below = dose * backgrounds * below / below.sum()
    haze, thickest = (film[0](y, x), film[1]) if film else (np.ones(detector), 0.0)
    haze = dose * haze / haze.sum()
    counts, reciprocal = np.empty((*shape, *detector), np.uint16), np.linalg.inv(sample.F).swapaxes(-1, -2)
    for at in np.ndindex(*shape):
        bright = [one.intensity * rng.lognormal(-0.5 * contrast**2, contrast, len(one.intensity)) for one in phases]
        crystal = _pattern(phases, bright, sample, at, distortion @ reciprocal[at], centre[at], tables, detector)
        thick = 1 + wedge * 2 * ramp[at][1]
        clear, part = dose * (1 - backgrounds) * crystal + thick * below, thickest * (ramp[at][1] + 0.5)
        counts[at] = rng.poisson((1 - part) * clear + part * haze)
    if dead_quadrant:
        counts[..., : detector[0] // 2, : detector[1] // 2] = 0
    first = sample.share.argmax(-1)[..., None]
    gradient = np.take_along_axis(sample.F, first[..., None, None], 2)[:, :, 0]
    label, share = (np.take_along_axis(values, first, 2)[..., 0] for values in (sample.phase, sample.share))
    return Stranger(counts, gradient, split(gradient)[1], label, share, np.array([one.fold for one in phases]))


def _pattern(
    phases: Sequence[Phase], intensity: Sequence[FloatArray], sample: Sample, at: tuple[int, ...], affine: FloatArray,
    centre: FloatArray, tables: FloatArray, detector: tuple[int, int],
) -> FloatArray:  # fmt: skip
    """Expected crystal of one position, of unit sum; `tables` are of all disks, or of the beam and each reflection."""
    places, much = [np.zeros((1, 2))], [np.array([1.0])]
    for matrix, label, share in zip(affine, sample.phase[at], sample.share[at], strict=True):
        if share > 0 and label >= 0:
            places.append(phases[label].reflections @ matrix.T)
            much.append(share * intensity[label])
            much[0] = much[0] - share * intensity[label].sum()
    position, bright, margin = np.concatenate(places) + centre, np.concatenate(much), tables.shape[-1] + 2
    whole = np.rint(position).astype(int)
    step = (position - whole + 0.5) * PHASES
    low = np.minimum(step.astype(int), PHASES - 1)
    part = (step - low)[..., None, None]
    patch: FloatArray | float = 0.0
    which = np.arange(len(low)) if len(tables) > 1 else np.zeros(len(low), int)
    for v, u in product((0, 1), repeat=2):
        weight = (part[:, 0] if v else 1 - part[:, 0]) * (part[:, 1] if u else 1 - part[:, 1])
        patch = patch + weight * tables[which, low[:, 0] + v, low[:, 1] + u]
    out = np.zeros((detector[0] + 2 * margin, detector[1] + 2 * margin))
    n = tables.shape[-1]
    for (top, left), one in zip(whole + margin - n // 2, np.asarray(patch) * bright[:, None, None], strict=True):
        if 0 <= top <= out.shape[0] - n and 0 <= left <= out.shape[1] - n:
            out[top : top + n, left : left + n] += one
    return out[margin:-margin, margin:-margin]
