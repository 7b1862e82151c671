"""A sheet of WS2 with triangles of WSe2, and the patterns that an electron microscope would record of it.

Nothing here knows the model that `cyclestrain` fits, nor its simulator. Lengths are nm, vectors ``(y, x)``.

* Triangles: WSe2 is larger by 4.1 %. The field of a polygon with a misfit in a sheet of equal stiffness is closed
  (plane stress; the Hessian of the polygon's logarithmic potential). Dislocations along the edges take up a part: the
  field of edge dislocations in an isotropic sheet.
* Ripple: where the sheet slopes, its projection is shorter by the cosine, and reflections stand where the tilted rods
  of the monolayer cut the Ewald sphere, with the structure factor of the three layers of atoms there.
* Patterns: kinematic disks (Moliere's scattering factors) drawn one by one for nine points of the probe, the
  diffuse scattering of the sheet and of an amorphous support of carbon, Poisson noise.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import numba
import numpy as np

STEP, SMALLER, LARGER = 1.0, 0.3153, 0.3282
"""Step of the scan and lattice constants of WS2 and WSe2, nm."""
POISSON, SPACING, RIPPLE_SLOPE, RIPPLE_PERIOD = 0.22, 12.0, 0.11, 16.0
"""Poisson ratio, distance of dislocations along an edge, largest slope of the ripple, and its period."""
TURN = np.deg2rad(11.0)
"""Angle of a row of tungsten from +x."""
NOTHING, WS2, WSE2 = -1, 0, 1
NODES = ((-0.7, 1 / 6), (0.0, 2 / 3), (0.7, 1 / 6))
"""Points of the probe along each axis, positions, and their shares: a standard deviation of 0.4."""

RADIUS, PIXELS, DETECTOR = 3.2, 6.0, 128
"""Radius of a disk in pixels, pixels per 1/nm, and pixels of the detector along each side."""
WAVELENGTH, RELATIVISTIC = 4.18e-3, 1.157
"""At 80 kV, nm, and mass over rest mass."""
CHARGE, DEPTH = ((74, 16), (74, 34)), (0.157, 0.168)
"""Charges of metal and chalcogen, and height of the chalcogen above the metal, nm."""
VIBRATION = 0.005
"""Debye-Waller factor B, nm^2."""
DIFFUSE, SUPPORT = 0.02, 0.06
"""Share of the electrons that the sheet and the support scatter diffusely."""
PHASES = 16
"""Tabulated places of a disk per pixel."""


def turned(angle: float) -> np.ndarray:
    """Rotation from +x towards +y in ``(y, x)`` order."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s], [-s, c]])


@dataclass(frozen=True)
class Specimen:
    """Triangles ``(n, 3, 2)``, dislocations ``(m, 2)`` with Burgers vectors, and the size of the scan, nm."""

    side: float
    triangles: np.ndarray
    cores: np.ndarray
    burgers: np.ndarray

    @property
    def ripple(self) -> np.ndarray:
        """Middle of the ripple: that of the first triangle."""
        return np.asarray(self.triangles[0].mean(0))


def specimen(positions: int) -> Specimen:
    """Three triangles in a square of this many positions, dislocations along their edges."""
    side = positions * STEP
    triangles, cores, burgers = [], [], []
    for y, x, size in ((0.37, 0.33, 0.26), (0.33, 0.79, 0.15), (0.70, 0.62, 0.18)):
        angles = TURN + np.deg2rad([-90.0, 30.0, 150.0])
        corners = side * (np.array([y, x]) + size * np.stack([np.sin(angles), np.cos(angles)], 1))
        triangles.append(corners)
        for start, end in zip(corners, np.roll(corners, -1, 0), strict=True):
            along = (end - start) / np.hypot(*(end - start))
            n = int(np.hypot(*(end - start)) / SPACING)
            cores += [start + (k + 0.5) / n * (end - start) for k in range(n)]
            burgers += [-SMALLER * along] * n
    return Specimen(side, np.array(triangles), np.reshape(cores, (-1, 2)), np.reshape(burgers, (-1, 2)))


# --- what is where -----------------------------------------------------------------------------------------------


def inside(at: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether points ``(..., 2)`` are within a triangle."""
    edges = np.roll(corners, -1, 0) - corners
    off = at[..., None, :] - corners
    cross = edges[:, 1] * off[..., 0] - edges[:, 0] * off[..., 1]
    return np.asarray((cross > 0).all(-1))


def material(sheet: Specimen, at: np.ndarray) -> np.ndarray:
    """`NOTHING`, `WS2` or `WSE2` at points ``(..., 2)``."""
    out = np.full(at.shape[:-1], WS2)
    for corners in sheet.triangles:
        out[inside(at, corners)] = WSE2
    y, x = np.moveaxis(at / sheet.side, -1, 0)
    hole = np.hypot((y - 0.09) * 1.6, x - 0.55) + 0.01 * np.sin(9 * x) < 0.085
    hole |= np.hypot(y - 0.66, (x - 0.22) * 0.7) < 0.07
    out[hole | (y + 0.25 * x + 0.02 * np.sin(14 * x) > 1.08)] = NOTHING
    return out


def supported(sheet: Specimen, at: np.ndarray) -> np.ndarray:
    """Thickness of the amorphous support, 0 to 1: it covers a part of the scan, under the sheet and beside it."""
    y, x = np.moveaxis(at / sheet.side, -1, 0)
    return np.asarray(1 / (1 + np.exp(-np.clip((x + 0.15 * np.sin(5 * y) - 0.68) * sheet.side, -50, 50))))


def polygon_field(at: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Hessian of the potential whose Laplacian is 1 within a polygon, at points ``(..., 2)``."""
    out = np.zeros((*at.shape[:-1], 2, 2))
    for start, end in zip(corners, np.roll(corners, -1, 0), strict=True):
        along = (end - start) / np.hypot(*(end - start))
        outward = np.array([-along[1], along[0]])  # corners go from +x to +y
        first, last = at - start, at - end
        near, far = (np.maximum(np.hypot(*np.moveaxis(one, -1, 0)), 0.05) for one in (first, last))
        seen = np.arctan2(last @ along, last @ outward) - np.arctan2(first @ along, first @ outward)
        seen = (seen + np.pi) % (2 * np.pi) - np.pi
        gradient = (-seen[..., None] * outward + np.log(near / far)[..., None] * along) / (2 * np.pi)
        out -= outward[:, None] * gradient[..., None, :]
    return out


def dislocation_field(off: np.ndarray, burgers: np.ndarray) -> np.ndarray:
    """Displacement gradient of an edge dislocation in a sheet; the circuit from +x to +y gains `burgers`."""
    nu, turn = POISSON / (1 + POISSON), turned(np.arctan2(*burgers))  # plane stress
    y, x = np.moveaxis(off @ turn, -1, 0)
    square = np.maximum(x * x + y * y, 0.25**2)
    k, m = 1 / (2 * (1 - nu)), (1 - 2 * nu) / (2 * (1 - nu))
    xx = -y / square + k * (y / square - 2 * x * x * y / square**2)
    xy = x / square + k * (x / square - 2 * x * y * y / square**2)
    yx = -m * x / square - k * (x / square - x * (x * x - y * y) / square**2)
    yy = -m * y / square + k * (y / square + y * (x * x - y * y) / square**2)
    own = np.stack([np.stack([yy, yx], -1), np.stack([xy, xx], -1)], -2) * np.hypot(*burgers) / (2 * np.pi)
    return np.asarray(turn @ own @ turn.T)


def lattice(sheet: Specimen, at: np.ndarray) -> np.ndarray:
    """Deformation gradient of the sheet from unturned WS2 at points ``(..., 2)``, in the sheet."""
    gradient = np.broadcast_to(np.eye(2), (*at.shape, 2)).copy()
    for corners in sheet.triangles:
        gradient += (1 + POISSON) * (LARGER / SMALLER - 1) * polygon_field(at, corners)
    for core, burgers in zip(sheet.cores, sheet.burgers, strict=True):
        gradient += dislocation_field(at - core, burgers)
    return np.asarray(gradient @ turned(TURN))


def slope(sheet: Specimen, at: np.ndarray) -> np.ndarray:
    """Slope ``(dh/dy, dh/dx)`` of the sheet at points ``(..., 2)``: a ripple across the first triangle."""
    off = at - sheet.ripple
    way, k, width = np.array([np.sin(0.5), np.cos(0.5)]), 2 * np.pi / RIPPLE_PERIOD, 0.09 * sheet.side
    window = np.exp(-0.5 * (off**2).sum(-1) / width**2)
    phase = k * off @ way
    height = RIPPLE_SLOPE / k * window
    return np.asarray(
        (height * k * np.cos(phase))[..., None] * way - (height * np.sin(phase))[..., None] * off / width**2
    )


def projected(gradient: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """Deformation gradient as seen along the beam: shorter by the cosine along the slope."""
    size = np.hypot(*np.moveaxis(tilt, -1, 0))
    way = tilt / np.maximum(size, 1e-12)[..., None]
    shorter = 1 / np.sqrt(1 + size**2) - 1
    return np.asarray(gradient + shorter[..., None, None] * way[..., :, None] * (way[..., None, :] @ gradient))


# --- what is recorded --------------------------------------------------------------------------------------------


def scattering(charge: int, q: np.ndarray) -> np.ndarray:
    """Moliere's scattering factor of a screened atom, nm, at ``q`` in 1/nm (G. Moliere, Z. Naturforsch. A 2, 1947)."""
    bohr = 0.0529177
    screening = 0.8853 * bohr * charge ** (-1 / 3)
    terms = [
        a / ((2 * np.pi * q) ** 2 + (b / screening) ** 2) for a, b in ((0.1, 6.0), (0.55, 1.2), (0.35, 0.3))
    ]  # fmt: skip
    return np.asarray(2 * charge / bohr * np.sum(terms, 0) * np.exp(-VIBRATION * q**2 / 4))


def reflections() -> tuple[np.ndarray, np.ndarray]:
    """Reciprocal vectors of unturned WS2, 1/nm, and what scatters into them in WS2 and in WSe2.

    The second has the shape ``(material, n, 3)``: amplitudes of metal and of one chalcogen as a share of the beam's,
    and the cosine of the phase between them.
    """
    first = 2 / (np.sqrt(3) * SMALLER)
    basis = first * np.array([[np.sin(np.pi / 6), np.cos(np.pi / 6)], [1.0, 0.0]])
    index = np.array([(h, k) for h in range(-4, 5) for k in range(-4, 5) if (h, k) != (0, 0)])
    vectors = index @ basis
    keep = np.hypot(*vectors.T) < 0.75 * DETECTOR / PIXELS
    index, vectors = index[keep], vectors[keep]
    length, angle = np.hypot(*vectors.T), np.where((index[:, 0] + index[:, 1] * 2) % 3, -0.5, 1.0)
    factors = []
    for (metal, chalcogen), a in zip(CHARGE, (SMALLER, LARGER), strict=True):
        share = WAVELENGTH * RELATIVISTIC / (np.sqrt(3) / 2 * a**2)
        factors.append(np.stack([share * scattering(metal, length), share * scattering(chalcogen, length), angle], -1))
    return vectors, np.array(factors)


def disk_table() -> np.ndarray:
    """A disk of unit sum at `PHASES` places between pixels along each axis, each pixel the mean over its area."""
    half = int(RADIUS) + 2
    fine = (np.arange((2 * half + 1) * 16) + 0.5) / 16 - half - 0.5
    table = np.empty((PHASES + 1, PHASES + 1, 2 * half + 1, 2 * half + 1))
    for i, j in np.ndindex(PHASES + 1, PHASES + 1):
        away = np.hypot(fine[:, None] - i / PHASES, fine - j / PHASES)
        drawn = np.clip((RADIUS - away) / 0.4 + 0.5, 0, 1)
        table[i, j] = drawn.reshape(2 * half + 1, 16, 2 * half + 1, 16).sum((1, 3))
    return np.asarray(table / table[0, 0].sum())


@numba.njit(nogil=True, cache=True)
def _add_disk(image, y, x, weight, table):  # type: ignore[no-untyped-def]
    half = table.shape[2] // 2
    top, left = int(np.floor(y)), int(np.floor(x))
    fy, fx = (y - top) * PHASES, (x - left) * PHASES
    i, j = int(fy), int(fx)
    fy, fx = fy - i, fx - j
    for row in range(max(0, top - half), min(image.shape[0], top + half + 1)):
        for column in range(max(0, left - half), min(image.shape[1], left + half + 1)):
            a, b = row - top + half, column - left + half
            upper = (1 - fx) * table[i, j, a, b] + fx * table[i, j + 1, a, b]
            lower = (1 - fx) * table[i + 1, j, a, b] + fx * table[i + 1, j + 1, a, b]
            image[row, column] += weight * ((1 - fy) * upper + fy * lower)


@numba.njit(nogil=True, cache=True)
def _draw(image, centre, what, reciprocal, tilt, share, vectors, factors, depth, table):  # type: ignore[no-untyped-def]
    """Add the disks of all points of the probe, as shares of the beam."""
    beam = 0.0
    for p in range(len(what)):
        beam += share[p]
        if what[p] < 0:
            continue
        leaning = 1 / np.sqrt(1 + tilt[p, 0] ** 2 + tilt[p, 1] ** 2)
        for n in range(len(vectors)):
            y = reciprocal[p, 0, 0] * vectors[n, 0] + reciprocal[p, 0, 1] * vectors[n, 1]
            x = reciprocal[p, 1, 0] * vectors[n, 0] + reciprocal[p, 1, 1] * vectors[n, 1]
            along = -leaning * (y * tilt[p, 0] + x * tilt[p, 1] + 0.5 * WAVELENGTH * (y * y + x * x))
            metal, other, angle = factors[what[p], n]
            other *= 2 * np.cos(2 * np.pi * along * depth[what[p]])
            intensity = share[p] * (metal * metal + other * other + 2 * angle * metal * other)
            beam -= intensity
            _add_disk(image, centre[0] + PIXELS * y, centre[1] + PIXELS * x, intensity, table)
    _add_disk(image, centre[0], centre[1], beam, table)


def diffuse() -> tuple[np.ndarray, np.ndarray]:
    """Diffuse scattering of the sheet, and the rings of amorphous carbon, each of unit sum."""
    y, x = np.indices((DETECTOR, DETECTOR)) - (DETECTOR - 1) / 2
    q = np.hypot(y, x) / PIXELS
    losses = 1 / (1 + (q / 0.8) ** 2) ** 1.5
    rings = 3 / (1 + (q / 1.5) ** 2) ** 1.5
    rings += np.exp(-0.5 * ((q - 4.9) / 0.7) ** 2) + 0.5 * np.exp(-0.5 * ((q - 8.4) / 0.9) ** 2)
    return losses / losses.sum(), rings / rings.sum()


@dataclass(frozen=True)
class Truth:
    """What is true at every position: means over the probe.

    Attributes
    ----------
    sheet, selenide
        Share of the probe on the sheet, and part of that on WSe2, shape ``(ry, rx)``.
    gradient
        Deformation gradient as seen along the beam, from unturned WS2, shape ``(ry, rx, 2, 2)``.
    slope
        Of the ripple, shape ``(ry, rx, 2)``.
    support
        Thickness of the support, shape ``(ry, rx)``.
    """

    sheet: np.ndarray
    selenide: np.ndarray
    gradient: np.ndarray
    slope: np.ndarray
    support: np.ndarray


def record(sheet: Specimen, path: Path, dose: float, seed: int = 0) -> Truth:
    """Write a scan with so many electrons per pattern (HDF5, ``/data``) and return what is true of it."""
    n = round(sheet.side / STEP)
    vectors, factors = reflections()
    table, (losses, rings), depth = disk_table(), diffuse(), np.array(DEPTH)
    share = np.array([a * b for _, a in NODES for _, b in NODES])
    offsets = np.array([(y, x) for y, _ in NODES for x, _ in NODES])

    def row_of(row: int) -> tuple[np.ndarray, list[np.ndarray]]:
        rng = np.random.default_rng([seed, row])
        middles = np.stack([np.full(n, float(row)), np.arange(n, dtype=float)], -1) * STEP
        at = middles[:, None] + offsets * STEP
        what, tilt = material(sheet, at), slope(sheet, at)
        gradient = projected(lattice(sheet, at), tilt)
        reciprocal = np.linalg.inv(gradient).swapaxes(-1, -2)
        on, carbon = ((what >= 0) * share).sum(-1), supported(sheet, middles)
        image = np.zeros((n, DETECTOR, DETECTOR))
        for k in range(n):
            centre = (DETECTOR - 1) / 2 + np.array([0.3 + 0.8 * row / n, -0.4 + 0.6 * k / n])
            _draw(image[k], centre, what[k], reciprocal[k], tilt[k], share, vectors, factors, depth, table)
            image[k] *= 1 - SUPPORT * carbon[k] - DIFFUSE * on[k]
            image[k] += DIFFUSE * on[k] * losses + SUPPORT * carbon[k] * rings
        weight = (what >= 0) * share / np.maximum(on, 1e-9)[:, None]
        mean = np.einsum("kp,kpij->kij", weight, gradient)
        selenide = ((what == WSE2) * weight).sum(-1)
        counts = np.minimum(rng.poisson(dose * image), 65535).astype(np.uint16)
        return counts, [on, selenide, mean, np.einsum("kp,kpi->ki", weight, tilt), carbon]

    truths = []
    with h5py.File(path, "w") as file, ThreadPoolExecutor(2) as pool:
        data = file.create_dataset("data", (n, n, DETECTOR, DETECTOR), np.uint16)
        for start in range(0, n, 16):  # bands: what is drawn ahead stays small
            rows = range(start, min(start + 16, n))
            for row, (counts, true) in zip(rows, pool.map(row_of, rows), strict=True):
                data[row] = counts
                truths.append(true)
    return Truth(*(np.stack(parts) for parts in zip(*truths, strict=True)))
