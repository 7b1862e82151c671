"""Reflections of a lattice that are present in an average, their intensities and the size of their disks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.learning.averages import distance_from_centre
from cyclestrain.learning.lattice import Lattice, finer_lattices, nearest_node
from cyclestrain.learning.peaks import Peaks, disk_mask, flattened, light_of_disks, radial_spread

__all__ = ["SURROUND", "disk_size", "disks_shown", "explained", "measure_reflections", "without_gaps"]

LEAST_NEW = 8
"""Least number of nodes by which a lattice is judged."""
SURE_RISE, LEAST_RISE = 4.0, 0.15
"""Least rise of the light at the nodes between those of a lattice: in its standard errors, and of that at its nodes."""
SURROUND = 3.0
"""Reach beyond the disk of what is taken off its light as background, pixels."""
FEWEST = 16
"""Fewest places of one kind between nodes that tell how light scatters there; where they are fewer all are taken."""
FAINTEST, FAINTEST_CROWDED = 2e-3, 1e-2
"""Least intensity over that of the brightest; where disks are crowded, tails leave up to 2 % at empty nodes."""
SHOWN = 0.3
"""Share of the patterns, of the most behind any pixel, that have to show a disk."""
CROWDED = 1.6, 2.9
"""Distances of nodes, in radii of the disks, between which disks may hide each other."""


def disk_size(average: FloatArray, coverage: FloatArray, peaks: Peaks, radius: float, limit: float) -> float:
    """Radius of the disks, pixels: where the mean profile of the strongest peaks falls to half its height.

    Parameters
    ----------
    average, coverage
        Averaged pattern, centred, and number of patterns that contributed to each pixel.
    peaks
        Peaks found in it.
    radius
        Radius they were found with, pixels, which is returned where no profile can be measured.
    limit
        Largest radius that is considered, pixels.
    """
    flat = flattened(average, coverage)
    m = int(np.ceil(max(min(limit, 2.2 * radius + 2.0), 3.0)))
    centre = (np.array(average.shape) - 1) / 2
    y, x = np.mgrid[-m : m + 1, -m : m + 1]
    total, n = np.zeros(len(y) * 2), np.zeros(len(y) * 2)
    for position in peaks.positions[:12] + centre:
        at = np.rint(position).astype(int)
        if (at < m).any() or (at + m >= np.array(average.shape)).any():
            continue
        cut = flat[at[0] - m : at[0] + m + 1, at[1] - m : at[1] + m + 1]
        distance = np.hypot(y + at[0] - position[0], x + at[1] - position[1])
        surround = np.median(cut[(distance > m - 1) & (distance <= m + 0.5)])
        ring = np.minimum((2 * distance).astype(int), len(total) - 1)
        total += np.bincount(ring.ravel(), (cut - surround).ravel(), len(total))
        n += np.bincount(ring.ravel(), minlength=len(total))
    seen = n > 0
    if not seen.any():  # all peaks lie at the border
        return radius
    profile = np.interp(np.arange(2 * m) / 2 + 0.25, (np.flatnonzero(seen) / 2 + 0.25), total[seen] / n[seen])
    inside = max(1, int(radius))  # half pixels within half the radius: enough of them to average noise away
    below = np.flatnonzero(profile < 0.5 * profile[:inside].mean())
    return float(np.clip(below[0] / 2, 0.8, limit)) if below.size else radius


def measure_reflections(
    average: FloatArray,
    coverage: FloatArray,
    noise: FloatArray,
    basis: FloatArray,
    *,
    radius: float,
    ring: tuple[float, float],
    others: Peaks | None = None,
    threshold: float = 5.0,
) -> Lattice:
    """Reflections of a lattice that are present in an average, with their intensities.

    Parameters
    ----------
    average, coverage, noise
        As in `cyclestrain.learning.averages.Average`.
    basis
        Lattice vectors ``(y, x)`` as columns, pixels.
    radius
        Radius of the disks, pixels.
    ring
        Inner and outer radius within which reflections are used, pixels.
    others
        Peaks to add where they are strong and on no node of the lattice.
    threshold
        Least intensity in standard deviations of what the same aperture measures between reflections, or in `noise`
        where disks leave no quiet place.
    """
    reach = int(np.ceil(ring[1] / np.linalg.svd(basis, compute_uv=False)[-1]))
    grid = np.array([hk for hk in product(range(-reach, reach + 1), repeat=2) if hk != (0, 0)])
    light = partial(light_of_disks, radius=radius + 0.5, outer=radius + SURROUND)
    signal = light(flattened(average, coverage))
    centre = (np.array(average.shape) - 1) / 2

    def sample(positions: FloatArray) -> tuple[NDArray[np.bool_], FloatArray]:
        length = np.hypot(*positions.T)
        at = np.clip(np.rint(positions + centre).astype(int), 0, np.array(average.shape) - 1)
        inside = (length > ring[0]) & (length < ring[1]) & disks_shown(coverage, positions, radius)
        return inside, signal[tuple(at.T)]

    nodes = grid @ basis.T
    inside, intensity = sample(nodes)
    spread: FloatArray | float | None = _scatter_between(basis, grid, radius, sample)
    faintest = FAINTEST
    if spread is None:  # nothing is quiet between disks that fill the pattern: what patterns differ by
        each = radial_spread(light(noise), distance_from_centre(average), coverage)
        spread = each[tuple(np.clip(np.rint(nodes + centre).astype(int), 0, np.array(average.shape) - 1).T)]
        faintest = FAINTEST_CROWDED
    keep = inside & (intensity > threshold * np.maximum(spread, 1e-12))
    if keep.any():
        keep &= intensity > faintest * np.max(intensity[keep])
    positions, indices, intensity = nodes[keep], grid[keep].astype(float), intensity[keep]
    if others is not None and keep.any():
        extra = _off_lattice(others, basis, positions, radius)
        extra_inside, extra_intensity = sample(extra)
        good = extra_inside & (extra_intensity > 0.03 * intensity.max())
        positions = np.concatenate([positions, extra[good]])
        indices = np.concatenate([indices, np.full((int(good.sum()), 2), np.nan)])
        intensity = np.concatenate([intensity, extra_intensity[good]])
    return Lattice(basis, indices, positions, intensity)


def _scatter_between(
    basis: FloatArray, indices: IntArray, radius: float, sample: Callable[[FloatArray], tuple[BoolArray, FloatArray]]
) -> float | None:
    """Scatter of what is taken for light at the quietest places between the nodes of a lattice.

    Places are the middles of its holes and those half way between nodes: if it is one of every second disk, or third,
    some of these hold disks. None where all of them are too near to the disks at the nodes.

    Parameters
    ----------
    basis
        Lattice vectors as columns, pixels.
    indices
        Of the nodes without the origin, shape ``(n, 2)``.
    radius
        Radius of the disks, pixels.
    sample
        Which of some positions are used, and the light at each.
    """
    nodes, hole = np.vstack([[0, 0], indices]) @ basis.T, _middle_of_hole(basis)
    first, second = basis.T
    half_way = 0.5 * np.stack([first, second, min(first + second, first - second, key=np.linalg.norm)])
    free = [shifts for shifts in ([hole, -hole], *half_way[:, None]) if np.hypot(*shifts[0]) > 2.0 * radius + SURROUND]
    seen = [sample(np.concatenate([nodes + shift for shift in shifts])) for shifts in free]
    lights = [light[inside] for inside, light in seen if inside.any()]
    many = [light for light in lights if len(light) >= FEWEST] or ([np.concatenate(lights)] if lights else [])
    scatter = [1.4826 * float(np.median(np.abs(light - np.median(light)))) for light in many]
    return min(scatter, default=None)


def _middle_of_hole(basis: FloatArray) -> FloatArray:
    """Place ``(y, x)`` that is farthest from all nodes of a lattice, seen from one of the nearest, pixels.

    It has the same distance from three nodes whose triangle is not obtuse; the lattice's other hole is across a node.

    Parameters
    ----------
    basis
        The two shortest vectors of the lattice as columns, pixels.
    """
    first, second = basis.T
    edges = np.stack([first, second if first @ second >= 0 else -second])
    return np.asarray(np.linalg.solve(edges, 0.5 * (edges**2).sum(1)))


def disks_shown(coverage: FloatArray, positions: FloatArray, radius: float) -> BoolArray:
    """Whether enough patterns show most of the disks at some positions, shape ``(n,)``.

    A single pixel says little: the dark middle of a bullseye may pass for a bad pixel.

    Parameters
    ----------
    coverage
        Number of patterns behind each pixel of a centred average.
    positions
        Middles of the disks relative to the centre, pixels, shape ``(n, 2)``.
    radius
        Radius of the disks, pixels.
    """
    mask = disk_mask(radius)
    within = np.argwhere(mask) - (np.array(mask.shape) - 1) // 2
    at = np.rint(positions + (np.array(coverage.shape) - 1) / 2).astype(int)[:, None] + within
    inside = ((at >= 0) & (at < np.array(coverage.shape))).all(2)
    y, x = np.moveaxis(np.where(inside[..., None], at, 0), -1, 0)
    return np.asarray(np.median(np.where(inside, coverage[y, x], 0.0), axis=1) > SHOWN * coverage.max())


def without_gaps(
    average: FloatArray, coverage: FloatArray, basis: FloatArray, *, radius: float, ring: tuple[float, float]
) -> FloatArray:
    """The lattice, or a denser one where there are disks between its nodes as well.

    Where disks touch, those beside a bright one hardly stand out of what surrounds them, and a lattice of every second
    one may be found. At the middle of a disk the light within its radius is more than half a radius away all the same;
    between disks it is less.

    Parameters
    ----------
    average, coverage
        Centred average and number of patterns behind each pixel.
    basis
        Lattice vectors ``(y, x)`` as columns, pixels.
    radius
        Radius of the disks, pixels.
    ring
        Inner and outer radius within which nodes are looked at, pixels.
    """
    denser = finer_lattices(basis)[1:]
    apart = np.linalg.norm(denser, axis=-2).min(-1) / radius
    crowded = denser[(apart > CROWDED[0]) & (apart < CROWDED[1])]
    if not len(crowded):
        return basis
    disk = disk_mask(radius)
    light = ndimage.correlate(flattened(average, coverage), disk / disk.sum(), mode="constant")
    around = ndimage.convolve(light, _circle(0.5 * radius), mode="nearest")
    higher = (light - around) * (coverage > 0.3 * coverage.max())
    reach = int(np.ceil(2 * ring[1] / np.linalg.svd(basis, compute_uv=False)[-1])) * 2
    grid = np.array([hk for hk in product(range(-reach, reach + 1), repeat=2) if hk != (0, 0)])
    best, most = basis, 0.0
    at_nodes = _values(higher, grid @ basis.T, ring)
    for finer in crowded:
        nodes = grid @ finer.T
        rises = _values(higher, nodes[nearest_node(nodes, basis)[1] > 0.5], ring)
        if len(rises) < LEAST_NEW:
            continue
        sure = rises.mean() > SURE_RISE * rises.std() / np.sqrt(len(rises))
        if sure and rises.mean() > LEAST_RISE * at_nodes.mean() and rises.sum() > most:
            best, most = finer, rises.sum()
    return best


def _circle(radius: float) -> FloatArray:
    """Equal weights on a circle, of sum 1."""
    m = int(np.ceil(radius + 1))
    y, x = np.mgrid[-m : m + 1, -m : m + 1]
    weight = np.clip(1.0 - np.abs(np.hypot(y, x) - max(radius, 1.0)), 0, 1)
    return np.asarray(weight / weight.sum())


def _values(image: FloatArray, positions: FloatArray, ring: tuple[float, float]) -> FloatArray:
    """Values of a centred image at the positions within a ring."""
    length = np.hypot(*positions.T)
    inside = positions[(length > ring[0]) & (length < ring[1])]
    middle = (np.array(image.shape)[:, None] - 1) / 2
    return np.asarray(ndimage.map_coordinates(image, inside.T + middle, order=1, mode="nearest"))


def explained(average: FloatArray, coverage: FloatArray, positions: FloatArray, radius: float) -> float:
    """Part of the light of an average that disks at some positions hold, each pixel counted once.

    Light is what stands out of the radial background, in units of the square root of that background, so that weak
    reflections far out count; what the pixels scatter by is subtracted.

    Parameters
    ----------
    average, coverage
        Centred average and number of patterns behind each pixel.
    positions
        Middles of the disks relative to the centre, pixels, shape ``(n, 2)``.
    radius
        Radius of the disks, pixels.
    """
    flat = flattened(average, coverage)
    y, x = np.indices(average.shape)
    at = np.stack([y, x], -1) - (np.array(average.shape) - 1) / 2
    inside = np.zeros(average.shape, bool)
    for position in positions:
        inside |= np.hypot(*np.moveaxis(at - position, -1, 0)) <= radius
    light = flat / np.sqrt(np.maximum(average - flat, 1e-3 * average.max()))
    return float(light[inside].sum())


def _off_lattice(peaks: Peaks, basis: FloatArray, taken: FloatArray, radius: float) -> FloatArray:
    """Positions of strong peaks that are no lattice node and overlap no other reflection."""
    strong = peaks.positions[peaks.significance > 10.0]
    out = list(taken)
    for position in strong:
        _, distance = nearest_node(position[None], basis)
        clear = np.hypot(*(np.array(out) - position).T).min() > 2.0 * radius + 1.5
        if distance[0] > max(1.5, 0.4 * radius) and clear:
            out.append(position)
    return np.array(out[len(taken) :]).reshape(-1, 2)
