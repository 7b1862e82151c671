"""Polycrystals whose grains are seen along different zone axes: ``python benchmarks/zones.py``.

Kinematical diffraction of a cubic crystal in three dimensions: reflections on the Ewald sphere by the shape factor of a
foil, averaged over the cone of a precessing beam, each grain bent and strained smoothly. Nothing of it is the model of
the package, whose entries are two-dimensional and know no zone. Of the positions in the interior of grains it counts
those that are valid with the entry of *another* zone, which have no strain that could be right, and compares the others
with the truth inside each grain.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from scipy import ndimage
from scipy.spatial.transform import Rotation

import cyclestrain as cs

WAVELENGTH = 0.0251
"""Of electrons of 200 keV, Å."""
SIDE, DETECTOR, FARTHEST = 24, 128, 1.35
"""Positions and pixels along each side, and the largest g, 1/Å, which lies 3 px inside the detector."""
CENTRE = np.array([64.3, 63.3])
ZONES = np.array([(0, 0, 1), (1, 1, 0), (1, 1, 1), (1, 1, 2), (1, 2, 3), (0, 1, 3)], float)
COMPONENTS = ("exx", "eyy", "exy")
STRAIN, BEND = 3e-3, np.deg2rad(0.15)
"""Standard deviations of strain and, radians, of rotation about every axis within a grain."""
PURE = 0.97
"""Share of a grain from which a position is in its interior."""


@dataclass(frozen=True)
class Material:
    """Cubic crystal and how it is illuminated: lattice constant and thickness in Å, semi-angle of precession in rad."""

    name: str
    constant: float
    lattice: str
    radius: float = 2.5
    precession: float = 0.0
    counts: float = 2e4
    thickness: float = 250.0

    def reflections(self) -> np.ndarray:
        """Allowed reciprocal vectors, 1/Å, shape ``(n, 3)``."""
        n = int(FARTHEST * self.constant) + 1
        h = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
        unmixed = (h % 2 == h[:, :1] % 2).all(1)
        forbidden = (h % 2 == 0).all(1) & (h.sum(1) % 4 == 2)
        keep = {"fcc": unmixed, "bcc": h.sum(1) % 2 == 0, "diamond": unmixed & ~forbidden}[self.lattice]
        g = h[keep] / self.constant
        return np.asarray(g[np.linalg.norm(g, axis=1) <= FARTHEST])

    def intensities(self, g: np.ndarray) -> np.ndarray:
        """Of reflections in the laboratory's axes, the direct beam having one: relrods of a foil, shape ``(n,)``."""
        square = (g**2).sum(1)
        form = np.exp(-0.4 * square) / (1 + 14 * square) ** 2
        azimuth = np.linspace(0, 2 * np.pi, 24, endpoint=False) if self.precession else np.zeros(1)
        tilt = np.sin(self.precession)
        beam = np.stack([tilt * np.cos(azimuth), tilt * np.sin(azimuth), -np.cos(self.precession) + 0 * azimuth], 1)
        off = (1 - ((beam[:, None] + WAVELENGTH * g) ** 2).sum(-1)) / (2 * WAVELENGTH)  # excitation error
        strength = (32 if self.precession else 8) * form**2 * (np.sinc(off * self.thickness) ** 2).mean(0)
        return np.where(square < 1e-6, 1.0, strength)


MATERIALS = [
    Material("gold, parallel beam", 4.08, "fcc"),
    Material("gold, precessed", 4.08, "fcc", precession=0.012),
    Material("iron, precessed", 2.87, "bcc", precession=0.012),
    Material("silicon, precessed", 5.43, "diamond", precession=0.010, counts=5e4),
    Material("gold, larger disks", 4.08, "fcc", radius=6.0, counts=5e4),
]


@dataclass(frozen=True)
class Polycrystal:
    """Counts, grain of each position and its share, zone of each grain (sorted, absolute), and the true strain."""

    counts: np.ndarray
    grain: np.ndarray
    share: np.ndarray
    zones: np.ndarray
    truth: dict[str, np.ndarray]


def orientations(n: int, rng: np.random.Generator, *, others: bool) -> list[Rotation]:
    """Grains along three zones in turn; with `others` every second one by chance, the rest along six zones."""
    out = []
    for k in range(n):
        if others and k % 2:
            out.append(Rotation.random(rng=rng))
            continue
        along, _ = Rotation.align_vectors([[0, 0, 1]], [ZONES[k % (6 if others else 3)]])
        spun = Rotation.from_rotvec([0, 0, rng.uniform(0, 2 * np.pi)]) * along
        out.append(Rotation.from_rotvec([*rng.normal(0, np.deg2rad(0.4), 2), 0]) * spun)
    return out


def polycrystal(material: Material, seed: int, *, others: bool, n: int = 7) -> Polycrystal:
    """Draw a scan of some grains, with a quarter of the counts in a background that falls off from the beam."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, SIDE, (n, 2))
    y, x = np.mgrid[:SIDE, :SIDE]
    grain = np.hypot(y[..., None] - places[:, 0], x[..., None] - places[:, 1]).argmin(-1)
    share = np.stack([ndimage.gaussian_filter((grain == k).astype(float), 0.8, mode="nearest") for k in range(n)], -1)
    turned = orientations(n, rng, others=others)
    scale = np.array([STRAIN] * 3 + [BEND] * 3)
    fields = np.stack([ndimage.zoom(rng.normal(size=(4, 4)), SIDE / 4, order=3) for _ in range(6 * n)])
    fields = fields.reshape(n, 6, SIDE, SIDE) * scale[:, None, None]
    distance = np.hypot(*(np.indices((DETECTOR, DETECTOR)) - CENTRE[:, None, None]))
    below = 0.6 * np.exp(-distance / 25) + 0.4 * np.exp(-((distance / 50) ** 2))
    counts, g = np.empty((SIDE, SIDE, DETECTOR, DETECTOR), np.uint16), material.reflections()
    for i, j in np.ndindex(SIDE, SIDE):
        crystal = np.zeros((DETECTOR, DETECTOR))
        for k in np.flatnonzero(share[i, j] > 2e-3):
            crystal += share[i, j, k] * diffracted(material, turned[k].apply(g), fields[k, :, i, j])
        expected = 0.75 * crystal / crystal.sum() + 0.25 * below / below.sum()
        counts[i, j] = rng.poisson(material.counts * expected)
    own = np.take_along_axis(fields, share.argmax(-1)[None, None], 0)[0]
    zones = np.sort(np.abs([r.inv().apply([0, 0, 1]) for r in turned]), axis=1)
    return Polycrystal(counts, grain, share.max(-1), zones, dict(zip(COMPONENTS, own, strict=False)))


def diffracted(material: Material, g: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Pattern of unit sum of one grain with strain and rotations ``(exx, eyy, exy, about z, x, y)``."""
    xx, yy, xy, *turns = state
    g = Rotation.from_rotvec([turns[1], turns[2], 0]).apply(g)
    strength = material.intensities(g)
    cos, sin = np.cos(turns[0]), np.sin(turns[0])
    gradient = np.array([[1 + xx, xy], [xy, 1 + yy]]) @ np.array([[cos, -sin], [sin, cos]])  # (x, y)
    at = CENTRE + (g[:, :2] @ np.linalg.inv(gradient))[:, ::-1] * (DETECTOR / 2 - 3) / FARTHEST
    out, half = np.zeros((DETECTOR, DETECTOR)), int(material.radius + 4)
    middle = np.rint(at).astype(int)
    inside = ((middle > half) & (middle < DETECTOR - half)).all(1) & (strength > 3e-5)
    for (row, column), (my, mx), bright in zip(at[inside], middle[inside], strength[inside], strict=True):
        window = slice(my - half, my + half + 1), slice(mx - half, mx + half + 1)
        distance = np.hypot(*(np.mgrid[window] - np.array([row, column])[:, None, None]))
        out[window] += bright / (1 + np.exp((distance - material.radius) / 0.35))
    return out / out.sum()


@dataclass
class Tally:
    """Positions in the interior of grains, valid ones, those with the entry of another zone, and errors over sigma."""

    inside: int = 0
    valid: int = 0
    other_zone: int = 0
    raw: list[np.ndarray] = field(default_factory=list)
    final: list[np.ndarray] = field(default_factory=list)

    def add(self, made: Polycrystal, maps: xr.Dataset) -> None:
        """Count one scan."""
        inside = made.share > PURE
        valid = maps["valid"].values & inside
        self.inside += int(inside.sum())
        self.valid += int(valid.sum())
        for of_grain, right in groups(made, np.where(valid, maps["class"].values, -1)):
            if not right:
                self.other_zone += int(of_grain.sum())
                continue
            for name in COMPONENTS:
                for suffix, where in (("_raw", self.raw), ("", self.final)):
                    off = (maps[name + suffix].values - made.truth[name])[of_grain]
                    sigma = maps[f"{name}{suffix}_sigma"].values[of_grain]
                    known = np.isfinite(off / sigma)
                    if known.sum() > 5:  # the zero of a grain is not told
                        mean = np.average(off[known], weights=sigma[known] ** -2.0)
                        where.append((off[known] - mean) / sigma[known])

    def line(self) -> str:
        """A row of the table."""
        raw, final = (np.concatenate(each) if each else np.full(1, np.nan) for each in (self.raw, self.final))
        beyond = 100 * np.mean(np.abs(final) > 6)
        wrong = 100 * self.other_zone / max(self.valid, 1)
        valid = 100 * self.valid / max(self.inside, 1)
        return f"{valid:.0f} % | {wrong:.2f} % | {raw.std():.2f} | {final.std():.2f} | {beyond:.2f} %"


def groups(made: Polycrystal, entry: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
    """Positions of one grain with one entry, and whether most positions of that entry are of this grain's zone."""
    for k in np.unique(entry[entry >= 0]):
        grains, count = np.unique(made.grain[entry == k], return_counts=True)
        alike = made.zones[grains] @ made.zones[grains].T > 0.998
        main = int((alike @ count).argmax())
        for index, grain in enumerate(grains):
            yield (entry == k) & (made.grain == grain), bool(alike[main, index])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[10, 11, 12])
    arguments = parser.parse_args()
    print("| scan | valid | of these, another zone | z raw | z final | final beyond 6 sigma |")
    print("| --- | --- | --- | --- | --- | --- |")
    for material in MATERIALS:
        for others in (False, True):
            tally = Tally()
            for seed in arguments.seeds:
                made = polycrystal(material, seed, others=others)
                try:
                    tally.add(made, cs.map(made.counts, seed=seed))
                except cs.InputError:  # no crystal was found: a blank map
                    tally.inside += int((made.share > PURE).sum())
            name = f"{material.name}, {'any zones' if others else 'three zones'}"
            print(f"| {name} | {tally.line()} |", flush=True)


if __name__ == "__main__":
    main()
