"""Scans of known truth from recorded diffraction patterns: disks cut out of a measured pattern, moved rigidly.

A recorded pattern is taken apart once (`take_apart`): its reflections are found, each is cut out with its measured
shape, and what is left is filled in from around. `expected` puts the disks back, for every position of a `Specimen`, at
``g' = E F^-T g`` (`E`: ellipse of the detector) by Fourier shifts, so that a disk never changes its shape. Nothing here
knows the model of the package: of it only the reader is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy import ndimage
from specimens import Specimen, parts, turn

import cyclestrain as cs

Window = tuple[slice, slice]

DENOISE = 0.6
"""Standard deviation in pixels of the Gauss filter over a cut-out disk."""
CUT, CUT_SPACING = 2.4, 0.48
"""Disks are cut where their soft mask reaches zero: at so many radii, but within this part of the lattice spacing."""
STANDS_OUT = 6.0
"""How many times the noise a reflection rises above its surroundings."""
BAD = 1.5
"""How many times brighter or darker than all its neighbours a bad pixel is."""
FAINTEST, STRONG = 0.02, 0.15
"""Smallest height of a reflection, and of one off the lattice, in units of the fifth highest."""
SMALLEST_SHARE = 1e-3
"""A crystal with a smaller part of the probe is left out."""
FOR_LATTICE = 40
"""Brightest peaks that tell the lattice."""
ON_LATTICE = 0.12
"""Distance to the lattice, in units of its shortest vector, within which a peak belongs to it."""


@dataclass(frozen=True)
class Recorded:
    """A recorded pattern and what a person reads off it.

    Attributes
    ----------
    file
        Name in the folder of recorded patterns.
    radius
        Of its disks or spots, pixels of the file.
    bin
        Pixels of the file that are summed into one along each axis.
    """

    file: str
    radius: float
    bin: int = 1


RECORDED = {
    "spots": Recorded("test1.blo", 2.7),
    "disks": Recorded("ba50_dd020.dm3", 4.6),
    "many": Recorded("ba50_CCD_512_int32.npy", 9.4, bin=2),
    "uneven": Recorded("qem_dp-spots.npy", 12.4, bin=2),
    "merlin": Recorded("moo3_20cm.tif", 3.2),
}
HALO = "Amorphous.hspy"
HALO_RING = 0.2
"""Radius of its first ring, in units of the detector's side."""


@dataclass(frozen=True)
class Apart:
    """A pattern taken apart.

    Attributes
    ----------
    g
        Reflections ``(y, x)`` from the beam, pixels, shape ``(n, 2)``.
    disks
        Fourier transforms of the cut-out disks, each centred on a pixel, shape ``(n, s, s // 2 + 1)``.
    side
        Size `s` of a cut-out.
    offset
        From the beam to the pixel each cut-out is centred on, shape ``(n, 2)``.
    rest
        The pattern without its disks.
    beam
        The direct beam ``(y, x)``.
    defects
        Pixels that do not count as their neighbours do, with their value; NaN elsewhere.
    radius
        Of the disks, pixels.
    lattice
        Two basis vectors, one a row.
    """

    g: np.ndarray
    disks: np.ndarray
    side: int
    offset: np.ndarray
    rest: np.ndarray
    beam: np.ndarray
    defects: np.ndarray
    radius: float
    lattice: np.ndarray

    @property
    def flux(self) -> float:
        """Counts in all disks."""
        return float(self.disks[:, 0, 0].real.sum())


def folder() -> Path:
    """Where the recorded patterns are.

    Raises
    ------
    SystemExit
        If there is no such folder.
    """
    path = Path(os.environ.get("CYCLESTRAIN_REAL_DATA", Path(__file__).parents[2] / "shared" / "data" / "real"))
    if not path.is_dir():
        raise SystemExit(f"the recorded patterns are not in {path}: name their folder in CYCLESTRAIN_REAL_DATA")
    return path


def load(path: Path) -> np.ndarray:
    """First pattern of a file."""
    pattern = np.load(path) if path.suffix == ".npy" else np.asarray(cs.read(path).source[0, 0])
    return pattern.astype(float)


@cache
def apart(name: str, radius: float | None = None, degrees: float | None = None) -> Apart:
    """A pattern of `RECORDED` taken apart.

    It is magnified so that its disks have the `radius` that is asked for. With `degrees`, its reflections are put onto
    their lattice, and every disk, not its place, is turned by this angle.
    """
    if degrees is not None:
        return with_turned_disks(straightened(apart(name, radius)), degrees)
    recorded = RECORDED[name]
    pattern, n = load(folder() / recorded.file), recorded.bin
    ny, nx = (size // n for size in pattern.shape)
    pattern = pattern[: n * ny, : n * nx].reshape(ny, n, nx, n).sum((1, 3))
    own = recorded.radius / n
    if radius is not None:
        pattern, own = ndimage.zoom(pattern, radius / own, order=3), radius
    return take_apart(pattern, own)


def straightened(taken: Apart) -> Apart:
    """Every reflection that belongs to a lattice point, put onto it."""
    points = np.rint(taken.g @ np.linalg.inv(taken.lattice)) @ taken.lattice
    g = np.where(on_lattice(taken.g, taken.lattice)[:, None], points, taken.g)
    return replace(taken, g=g, offset=taken.offset + g - taken.g)


def with_turned_disks(taken: Apart, degrees: float) -> Apart:
    """Every disk turned about its own centre."""
    if degrees == 0:
        return taken
    back, half = turn(np.deg2rad(-degrees)), taken.side // 2
    disks = np.fft.fftshift(np.fft.irfft2(taken.disks, s=(taken.side,) * 2), axes=(1, 2))
    centres = half + taken.g - taken.offset
    turned = [
        ndimage.affine_transform(disk, back, centre - back @ centre, order=5)
        for disk, centre in zip(disks, centres, strict=True)
    ]
    return replace(taken, disks=np.fft.rfft2(np.fft.ifftshift(np.clip(turned, 0, None), axes=(1, 2))))


@cache
def halo(shape: tuple[int, int], beam: tuple[float, float]) -> np.ndarray:
    """Halo of the amorphous film about `beam`, its sum 1: the radial mean of what the beam stop leaves."""
    image = load(folder() / HALO)
    seen = ndimage.binary_erosion(image > 0.05 * np.percentile(image, 90), iterations=8)
    middle = np.array(ndimage.center_of_mass(ndimage.binary_fill_holes(ndimage.binary_closing(seen, iterations=40))))
    profile = radial(np.where(seen, image, np.nan), distance(image.shape, middle), np.median)
    profile = np.where(profile > 0, profile, profile[profile > 0][0])
    profile = ndimage.gaussian_filter1d(profile, 2.0)
    scale = HALO_RING * min(shape) / profile.argmax()
    found = np.interp(distance(shape, np.array(beam)) / scale, np.arange(profile.size), profile)
    return found / found.sum()


def take_apart(pattern: np.ndarray, radius: float) -> Apart:
    """Find the reflections of a pattern, cut them out and fill in what is left."""
    pattern = np.clip(pattern - np.percentile(pattern, 0.5), 0, None)
    typical = ndimage.median_filter(pattern, 3)
    beam = np.array(np.unravel_index(ndimage.gaussian_filter(typical, radius / 2).argmax(), pattern.shape), float)
    defects = find_defects(pattern, typical)
    clean = np.where(np.isfinite(defects), typical, pattern)
    beam = centre_of_disk(clean, beam, radius)
    places, height = find_peaks(clean, beam, radius)
    rest = np.zeros(pattern.shape)
    for _ in range(2):  # the second time without the slope of the rest, which pulls centres
        places = np.array([centre_of_disk(clean - rest, place, radius) for place in places])
        lattice = find_lattice(places[:FOR_LATTICE] - beam)
        beam = origin(places, beam, lattice)
        reach = min(CUT * radius, CUT_SPACING * np.hypot(*lattice.T).min())
        rest = fill_in(clean, places, beam, radius, reach)
    half = int(np.ceil(reach)) + 2
    strong = height > STRONG * height[4]
    whole = np.rint(places).astype(int)
    inside = ((whole > half) & (whole < np.array(pattern.shape) - half - 1)).all(1)
    inside &= on_lattice(places - beam, lattice) | strong
    places, whole = places[inside], whole[inside]
    excess = ndimage.gaussian_filter(clean - rest, DENOISE)
    cuts = cut_out(np.clip(excess - 0.5 * pixel_noise(clean, 31), 0, None), places, whole, half, reach)
    side = cuts.shape[-1]
    disks = np.fft.rfft2(np.fft.ifftshift(cuts, axes=(1, 2)))
    return Apart(places - beam, disks, side, whole - beam, rest, beam, defects, radius, lattice)


def find_defects(pattern: np.ndarray, typical: np.ndarray) -> np.ndarray:
    """Values of single pixels that are far brighter or darker than all eight around them, NaN elsewhere."""
    around = np.ones((3, 3), bool)
    around[1, 1] = False
    noise = pixel_noise(pattern, 11)
    hot = pattern > BAD * ndimage.maximum_filter(pattern, footprint=around) + STANDS_OUT * noise
    dead = BAD * pattern < ndimage.minimum_filter(pattern, footprint=around) - STANDS_OUT * noise
    return np.where((hot & (pattern > np.median(typical))) | dead, pattern, np.nan)


def distance(shape: tuple[int, ...], centre: np.ndarray) -> np.ndarray:
    """Distance of every pixel from a place, shape `shape`."""
    y, x = np.indices(shape)
    return np.hypot(y - centre[0], x - centre[1])


def centre_of_disk(image: np.ndarray, place: np.ndarray, radius: float) -> np.ndarray:
    """Centre of a disk, its inside clipped at half its height so that contrast in it does not pull."""
    for _ in range(4):
        at = distance(image.shape, place)
        near = at < 1.5 * radius
        floor = np.median(image[(at > 1.6 * radius) & (at < 2.4 * radius)])
        height = np.percentile(image[at < radius], 60) - floor
        weight = np.clip(image[near] - floor, 0, max(height, 1e-9) / 2)
        place = (np.argwhere(near) * weight[:, None]).sum(0) / max(weight.sum(), 1e-12)
    return place


def find_peaks(image: np.ndarray, beam: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Local maxima of disk minus ring around it that rise above the noise, and their height, brightest first."""
    half = int(np.ceil(2.2 * radius))
    at = distance((2 * half + 1,) * 2, np.array([half, half]))
    disk, ring = at < radius, (at > 1.4 * radius) & (at < 2.1 * radius)
    kernel = disk / disk.sum() - ring / ring.sum()
    response = ndimage.convolve(image, kernel, mode="nearest")
    noise = pixel_noise(image, 15)
    noise = np.maximum(noise, np.median(noise)) * np.sqrt((kernel**2).sum())
    peak = response == ndimage.maximum_filter(response, footprint=at < 1.8 * radius)
    peak &= (response > STANDS_OUT * noise) & (distance(image.shape, beam) > 2.5 * radius)
    peak[:3], peak[-3:], peak[:, :3], peak[:, -3:] = False, False, False, False
    order = np.argsort(-response[peak])
    places, height = np.argwhere(peak)[order], response[peak][order]
    clear = height > FAINTEST * height[4]
    return places[clear], height[clear]


def pixel_noise(image: np.ndarray, window: int) -> np.ndarray:
    """Standard deviation of single pixels against their neighbours, typical of the surroundings of each."""
    return 1.48 * ndimage.median_filter(np.abs(image - ndimage.median_filter(image, 3)), window)


def radial(image: np.ndarray, from_beam: np.ndarray, mean: Callable[[np.ndarray], float]) -> np.ndarray:
    """Mean of an image at every whole distance from the beam; of the next smaller distance where there is no pixel."""
    ring, found = np.rint(from_beam).astype(int), []
    order = np.argsort(ring, axis=None)
    for values in np.split(image.ravel()[order], np.cumsum(np.bincount(ring.ravel()))[:-1]):
        values = values[np.isfinite(values)]
        found.append(mean(values) if values.size else found[-1] if found else 0.0)
    return np.array(found)


def find_lattice(g: np.ndarray) -> np.ndarray:
    """Basis, one vector a row, of the coarsest lattice that indexes nearly as many peaks as any."""
    steps = np.concatenate([g, (g[:, None] - g).reshape(-1, 2)])
    steps = steps[np.argsort(np.hypot(*steps.T))]
    steps = steps[(np.hypot(*steps.T) > 0.5 * np.hypot(*g.T).min()) & (steps[:, 1] >= 0)]
    vectors: list[np.ndarray] = []
    for step in steps:
        if len(vectors) < 24 and all(np.hypot(*(step - v)) > ON_LATTICE * np.hypot(*step) for v in vectors):
            vectors.append(step)
    pairs = [np.array([a, b]) for k, a in enumerate(vectors) for b in vectors[k + 1 :]]
    pairs = [refined(p, g) for p in pairs if abs(np.linalg.det(p)) > 0.4 * np.prod(np.hypot(*p.T))]
    indexed = np.array([on_lattice(g, p).sum() for p in pairs])
    good = [p for p, n in zip(pairs, indexed, strict=True) if n >= 0.95 * indexed.max()]
    return max(good, key=lambda p: abs(np.linalg.det(p)))


def refined(basis: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Least-squares fit of a basis to the peaks it indexes, nearest first."""
    for share in (0.4, 0.7, 1.0):
        near = on_lattice(g, basis) & (np.hypot(*g.T) <= np.quantile(np.hypot(*g.T), share))
        index = np.rint(g @ np.linalg.inv(basis))[near]
        if near.sum() > 3 and np.linalg.matrix_rank(index) == 2:
            basis = np.linalg.lstsq(index, g[near], rcond=None)[0]
    return basis


def origin(places: np.ndarray, beam: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Where the lattice has its origin: the direct beam as all reflections see it."""
    near = on_lattice(places - beam, lattice)
    index = np.rint((places - beam) @ np.linalg.inv(lattice))[near]
    return np.linalg.lstsq(np.column_stack([np.ones(len(index)), index]), places[near], rcond=None)[0][0]


def on_lattice(g: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Whether each peak is close to a lattice point."""
    index = g @ np.linalg.inv(basis)
    return np.hypot(*((index - np.rint(index)) @ basis).T) < ON_LATTICE * np.hypot(*basis.T).min()


def fill_in(image: np.ndarray, places: np.ndarray, beam: np.ndarray, radius: float, reach: float) -> np.ndarray:
    """The smooth rest of a pattern: radial mean without the disks, times what is left around each pixel."""
    from_beam = distance(image.shape, beam)
    nearest = np.full(image.shape, np.inf)
    for place in places:
        nearest = np.minimum(nearest, distance(image.shape, place))
    free = (nearest > reach).astype(float)
    profile = radial(np.where(free > 0, image, np.nan), from_beam, np.mean)
    mean = np.interp(from_beam, np.arange(profile.size), ndimage.gaussian_filter1d(profile, 1.0)) + 1e-9
    around = [ndimage.gaussian_filter(part, radius) for part in (free * image / mean, free)]
    weight = around[1] / (around[1] + 0.02)
    smooth = mean * (weight * around[0] / np.maximum(around[1], 1e-9) + 1 - weight)
    core = np.clip(3.5 - from_beam / radius, 0, 1)
    return core * ndimage.gaussian_filter(image, DENOISE) + (1 - core) * smooth


def cut_out(excess: np.ndarray, places: np.ndarray, corners: np.ndarray, half: int, reach: float) -> np.ndarray:
    """Every disk with a soft round mask, its pixel of `corners` in the middle, shape ``(n, 2 half + 1, 2 half + 1)``.

    What several masks cover is shared.
    """
    side = (2 * half + 1,) * 2
    masks = [np.clip((reach - distance(side, p - c + half)) / 2, 0, 1) for p, c in zip(places, corners, strict=True)]
    windows = [np.s_[y - half : y + half + 1, x - half : x + half + 1] for y, x in corners]
    covered = np.zeros(excess.shape)
    for window, mask in zip(windows, masks, strict=True):
        covered[window] += mask
    shared = excess / np.maximum(covered, 1)
    return np.array([shared[window] * mask for window, mask in zip(windows, masks, strict=True)])


def placed(taken: Apart, main: Apart, affine: np.ndarray, tone: np.ndarray) -> Iterator[tuple[Window, np.ndarray]]:
    """Every disk at ``affine @ g``, its brightness times `tone`: its window on the detector of `main`, its pixels."""
    half, shape = taken.side // 2, main.rest.shape
    target = main.beam + taken.offset + taken.g @ (affine - np.eye(2)).T
    whole = np.rint(target).astype(int)
    part = target - whole
    fy, fx = np.fft.fftfreq(taken.side), np.fft.rfftfreq(taken.side)
    phase = part[:, :1, None] * fy[:, None] + part[:, 1:, None] * fx
    moved = np.fft.irfft2(taken.disks * np.exp(-2j * np.pi * phase), s=(taken.side,) * 2)
    moved = np.clip(np.fft.fftshift(moved, axes=(1, 2)), 0, None) * tone[:, None, None]
    for (y, x), disk in zip(whole - half, moved, strict=True):
        top, left = max(-y, 0), max(-x, 0)
        disk = disk[top : max(shape[0] - y, 0), left : max(shape[1] - x, 0)]
        if disk.size:
            yield np.s_[y + top : y + top + disk.shape[0], x + left : x + left + disk.shape[1]], disk


def expected(specimen: Specimen, position: tuple[int, int], counts: float) -> np.ndarray:
    """Expected counts of one position; a pattern that has lost no disk has `counts` in all."""
    main = apart(specimen.patterns[0])
    total = main.rest.sum() + main.flux
    pattern = main.rest.copy()
    for crystal in specimen.crystals:
        share, gradient = crystal.share[position], crystal.gradient[position]
        if share < SMALLEST_SHARE:
            continue
        radius = None if crystal.structure == 0 else main.radius
        degrees = round(float(np.rad2deg(parts(gradient)["rotation"])), 1) if specimen.turned else None
        taken = apart(specimen.patterns[crystal.structure], radius, degrees)
        affine = specimen.distortion @ np.linalg.inv(gradient).T
        tone = share * main.flux / taken.flux * crystal.tone(position, len(taken.g))
        for window, disk in placed(taken, main, affine, tone):
            pattern[window] += disk
    film = specimen.film[position]
    background = halo(pattern.shape, tuple(main.beam)) if film > 0 else 0.0
    return counts * ((1 - film) * pattern / total + film * background)


def record(specimen: Specimen, counts: float, draws: list[np.random.Generator]) -> list[np.ndarray]:
    """Independent Poisson draws of a scan, ``(ry, rx, qy, qx)``; bad pixels are as in the recorded pattern."""
    main = apart(specimen.patterns[0])
    scans = [np.empty((*specimen.film.shape, *main.rest.shape), np.uint16) for _ in draws]
    bad = np.isfinite(main.defects)
    stuck = np.rint(main.defects[bad] * counts / (main.rest.sum() + main.flux))
    for position in np.ndindex(specimen.film.shape):
        mean = expected(specimen, position, counts)
        for scan, draw in zip(scans, draws, strict=True):
            scan[position] = np.minimum(draw.poisson(mean), np.iinfo(np.uint16).max)
            scan[position][bad] = stuck
    return scans


def recorded_lattice(taken: Apart) -> np.ndarray:
    """Lattice points of its reflections, ``(y, x)`` from the beam, pixels, shape ``(n, 2)``."""
    near = taken.g[on_lattice(taken.g, taken.lattice)]
    return np.rint(near @ np.linalg.inv(taken.lattice)) @ taken.lattice
