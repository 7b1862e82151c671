"""Dislocations found in scans of known truth: single ones, dipoles and walls, and false alarms where there are none.

    python benchmarks/defects.py                        # maps with noise added to true fields: a minute
    python benchmarks/defects.py --scans 6              # and whole scans, drawn, mapped and searched: an hour
    python benchmarks/defects.py --scans 1 --kinds single --backgrounds 40

Truth is the field of straight edge dislocations in an anisotropic crystal (Stroh's formalism, constants of copper
along [001], whose shear is 3.2 times stiffer one way than the other), averaged over the probe; nothing of what finds
them is used to make it. Scans are drawn by `cyclestrain.simulation`: 64 x 64 positions, 1e5 counts, 128 x 128 pixels. A
dislocation counts as found within one position and with the right lattice vector; everything else is a false alarm.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from measuring import ROUND, markdown

import cyclestrain as cs
from cyclestrain.affine import rotation
from cyclestrain.data import Scan
from cyclestrain.microstructure import Core, LatticeField, find_cores
from cyclestrain.simulation.acquisition import Acquisition
from cyclestrain.simulation.patterns import make_pattern_model
from cyclestrain.simulation.sample import Sample
from cyclestrain.simulation.source import SimulatedPatterns

SHAPE, MARGIN = (64, 64), 10
STIFFNESS = (168.4, 121.4, 75.4)
"""C11, C12 and C44 of copper, GPa."""
PROBE = ((0.0, 0.0, 0.4), (0.5, 0.0, 0.15), (-0.5, 0.0, 0.15), (0.0, 0.5, 0.15), (0.0, -0.5, 0.15))
"""Points of the probe (y, x) in positions, and the share of each."""
TURN = np.deg2rad(17.0)
SCATTER = {25: 3.2e-3, 40: 4.8e-3, 60: 7.8e-3, 70: 1.23e-2, 80: 2.04e-2}
"""Median standard deviation of an element of the affine of one pattern of the drawn scans, by background in percent."""


@dataclass(frozen=True)
class Truth:
    """Dislocations of a scan: places ``(n, 2)`` and Burgers vectors ``(n, 2)``, positions, in (y, x) order."""

    places: np.ndarray
    burgers: np.ndarray


def stroh(stiffness: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Roots `p` and matrices `A`, `B` of Stroh's formalism in plane strain across [001], in (x, y) order."""
    c11, c12, c44 = stiffness
    q, r, t = np.diag([c11, c44]), np.array([[0.0, c12], [c44, 0.0]]), np.diag([c44, c11])
    inverse = np.linalg.inv(t)
    n = np.block([[-inverse @ r.T, inverse], [r @ inverse @ r.T - q, -r @ inverse]])
    p, vectors = np.linalg.eig(n)
    up = p.imag > 0
    p, vectors = p[up], vectors[:, up]
    a, b = vectors[:2], vectors[2:]
    scale = np.sqrt(2 * (a * b).sum(0))
    return p, a / scale, b / scale


def distortion(offset: np.ndarray, burgers: np.ndarray) -> np.ndarray:
    """Displacement gradient ``du_i / dx_j`` of an edge dislocation, (y, x) order, shape ``(..., 2, 2)``.

    The crystal's cubic axes are turned by `TURN` against the scan; the displacement gained around the line from +x to
    +y is the Burgers vector.
    """
    p, a, b = stroh(STIFFNESS)
    turn = rotation(TURN)
    own, along = (offset @ turn)[..., ::-1], (burgers @ turn)[::-1]  # (x, y) of the crystal
    z = own[..., :1] + p * own[..., 1:]
    z = np.where(np.abs(z) < 1e-3, 1e-3, z)
    weight = b.T @ along
    columns = [np.einsum("ia,...a->...i", a, factor / z * weight).imag / np.pi for factor in (np.ones(2), p)]
    gradient = np.stack(columns, -1)[..., ::-1, ::-1]
    return np.asarray(turn @ gradient @ turn.T)


def gradients(truth: Truth, shape: tuple[int, int]) -> np.ndarray:
    """Displacement gradient at every point of the probe at every position, shape ``(ry, rx, point, 2, 2)``."""
    place = np.stack(np.indices(shape), -1).astype(float)
    out = np.zeros((*shape, len(PROBE), 2, 2))
    for at, burgers in zip(truth.places, truth.burgers, strict=True):
        for k, (dy, dx, _) in enumerate(PROBE):
            out[:, :, k] += distortion(place - at + np.array([dy, dx]), burgers)
    return out


def placed(kind: str, burgers: float, rng: np.random.Generator, shape: tuple[int, int] = SHAPE) -> Truth:
    """A random placement of a single dislocation, a dipole, a wall of five, or none."""
    ways = burgers * rotation(TURN).T[::-1]  # rows: lattice vectors of the square lattice
    b = ways[rng.integers(2)] * rng.choice([-1.0, 1.0])
    middle = rng.uniform(MARGIN, np.array(shape) - MARGIN)
    if kind == "none":
        return Truth(np.zeros((0, 2)), np.zeros((0, 2)))
    if kind == "single":
        return Truth(middle[None], b[None])
    if kind == "dipole":
        angle, apart = rng.uniform(0, 2 * np.pi), rng.uniform(6, 14)
        half = apart / 2 * np.array([np.sin(angle), np.cos(angle)])
        middle = np.clip(middle, MARGIN + 4, np.array(shape) - MARGIN - 4)
        return Truth(middle + np.stack([half, -half]), np.stack([b, -b]))
    across = np.array([b[1], -b[0]]) / np.hypot(*b)
    middle = np.array(shape) / 2 + rng.uniform(-5, 5, 2)
    return Truth(middle + rng.uniform(6, 9) * np.arange(-2, 3)[:, None] * across, np.tile(b, (5, 1)))


def drawn(truth: Truth, background: float, seed: int) -> Scan:
    """A scan of these dislocations."""
    acquisition = Acquisition(
        scan=SHAPE, detector=(128, 128), radius=3.6, lattice="square", background=background, seed=seed
    )
    lattice, n = acquisition.make_lattice(), SHAPE[0] * SHAPE[1]
    deformation = ((np.eye(2) + gradients(truth, SHAPE)) @ rotation(TURN)).reshape(-1, 2, 2)
    index = np.arange(n * len(PROBE)).reshape(*SHAPE, len(PROBE))
    share = np.broadcast_to([w for _, _, w in PROBE], index.shape).copy()
    sample = Sample(
        (lattice,), deformation, np.zeros(len(deformation), int), np.zeros(len(deformation), int), index, share
    )
    return Scan(np.asarray(SimulatedPatterns(make_pattern_model(sample, acquisition))), name="dislocations")


def found_in_scan(truth: Truth, background: float, burgers: float, seed: int) -> Sequence[Core]:
    """What is found in a drawn scan; the step is 1 nm."""
    scan = drawn(truth, background, seed)
    ring = Acquisition(scan=SHAPE, detector=(128, 128), lattice="square").ring
    maps = cs.map(scan, ellipse=ROUND, step="1nm", pixel=f"{1 / burgers / ring:.6g}/nm", scan_rotation=0.0)
    return cs.defects(maps).cores


def noisy(truth: Truth, scatter: float, burgers: float, rng: np.random.Generator, mosaic: float = 0.0) -> LatticeField:
    """The lattice as it would be measured: the true one, mosaic (radians), and noise of the affine that is stated."""
    share = np.array([w for _, _, w in PROBE])
    field = np.einsum("yxpij,p->yxij", gradients(truth, SHAPE), share) + np.eye(2)
    turned = rotation(mosaic * rng.normal(size=SHAPE)) @ field @ rotation(TURN)
    affine = np.linalg.inv(turned).swapaxes(-1, -2) + scatter * rng.normal(size=(*SHAPE, 2, 2))
    basis = np.eye(2)[::-1] / burgers
    design = np.einsum("ci,dq->iqdc", basis, np.eye(2)).reshape(4, 4)
    vectors = (affine.reshape(*SHAPE, 4) @ design.T).reshape(*SHAPE, 2, 2)
    covariance = np.broadcast_to(scatter**2 * design @ design.T, (*SHAPE, 4, 4))
    return LatticeField(vectors, covariance, np.zeros(SHAPE, int), np.zeros(SHAPE, bool), is_scaled=True)


def scored(found: Sequence[Core], truth: Truth) -> tuple[int, int]:
    """Dislocations that were found, and false alarms."""
    rest = list(found)
    for place, burgers in zip(truth.places, truth.burgers, strict=True):
        right = [
            core
            for core in rest
            if np.hypot(core.ry - place[0], core.rx - place[1]) <= 1.0
            and np.hypot(core.by - burgers[0], core.bx - burgers[1]) <= 0.1 * np.hypot(*burgers)
        ]
        if right:
            rest.remove(right[0])
    return len(found) - len(rest), len(rest)


def cheap(backgrounds: Sequence[int], sizes: Sequence[float], n: int) -> list[dict[str, str]]:
    """Maps with noise: what is found by kind, background and step (Burgers vector in positions)."""
    rows = []
    for background in backgrounds:
        for burgers in sizes:
            row = {"background": f"{background} %", "b (positions)": f"{burgers:g}"}
            alarms = 0
            for kind in ("single", "dipole", "wall"):
                rng, hits, total = np.random.default_rng(background), 0, 0
                for _ in range(n):
                    truth = placed(kind, burgers, rng)
                    one = scored(find_cores(noisy(truth, SCATTER[background], burgers, rng)), truth)
                    hits, total, alarms = hits + one[0], total + len(truth.places), alarms + one[1]
                row[kind] = f"{hits}/{total}"
            rng, none = np.random.default_rng(1), placed("none", burgers, np.random.default_rng(0))
            empty = [
                len(find_cores(noisy(none, SCATTER[background], burgers, rng, mosaic))) for mosaic in (0, 1e-3, 5e-3)
                for _ in range(n)
            ]  # fmt: skip
            row["false alarms beside"] = str(alarms)
            row["per 10^4 positions without"] = f"{sum(empty) / len(empty) / np.prod(SHAPE) * 1e4:.2f}"
            rows.append(row)
    return rows


def scans(kinds: Sequence[str], backgrounds: Sequence[int], burgers: float, n: int) -> list[dict[str, str]]:
    """Whole scans: what is found by kind and background."""
    rows = []
    for background in backgrounds:
        for kind in kinds:
            rng, hits, total, alarms, start = np.random.default_rng(7), 0, 0, 0, time.process_time()
            for k in range(n):
                truth = placed(kind, burgers, rng)
                one = scored(found_in_scan(truth, background / 100, burgers, 100 * background + k), truth)
                hits, total, alarms = hits + one[0], total + len(truth.places), alarms + one[1]
                print(f"{background} % {kind} {k}: {one[0]} of {len(truth.places)}, {one[1]} false", flush=True)
            rows.append(
                {
                    "background": f"{background} %", "kind": kind, "found": f"{hits}/{total}",
                    "false alarms": str(alarms),
                    "per 10^4 positions": f"{alarms / n / np.prod(SHAPE) * 1e4:.2f}",
                    "CPU s per scan": f"{(time.process_time() - start) / n:.0f}",
                }
            )  # fmt: skip
    return rows


def table(rows: list[dict[str, str]]) -> str:
    """Rows as a table in Markdown."""
    return markdown(list(rows[0]), [list(row.values()) for row in rows])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=6, help="maps with noise of each kind; 0 for none")
    parser.add_argument("--scans", type=int, default=0, help="whole scans of each kind")
    parser.add_argument("--kinds", nargs="+", default=["single", "dipole", "wall", "none"])
    parser.add_argument("--backgrounds", nargs="+", type=int, default=[40, 70])
    parser.add_argument("--burgers", nargs="+", type=float, default=[0.6, 0.27, 0.12, 0.05])
    given = parser.parse_args()
    if given.maps:
        print(table(cheap(given.backgrounds, given.burgers, given.maps)))
    if given.scans:
        print(table(scans(given.kinds, given.backgrounds, 0.27, given.scans)))


if __name__ == "__main__":
    main()
