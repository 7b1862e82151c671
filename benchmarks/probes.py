"""Precision and bias with probes of any form, against the Cramer-Rao bound of the same patterns.

``python benchmarks/probes.py`` prints a table: for each probe and background the standard deviation of the raw strain
(exx, eyy, exy) over its bound, the largest mean error of a grain (raw, final), and that of error over sigma. Scans are
drawn by `tests/strangers.py`, which knows neither the model nor the simulator of the package; bounds are numerical
derivatives of the patterns it draws. ``--vacuum`` gives a vacuum image of the probe as well. ``--peers`` maps the same
scans with py4DSTEM, whose kernel is made of the vacuum image and which is told lattice, rotation and beam centre.
``--silicon`` compares a round aperture with a bullseye on silicon of 20 to 40 nm (multislice; minutes).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

import cyclestrain as cs
from cyclestrain.evaluation.bound import Bound

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import strangers as st

DETECTOR = (128, 128)
REACH = 54.0
"""Length of the longest reflection, pixels."""
OFFSET = np.array([0.3, -0.4])
SHIFT = 0.06
"""Largest shift of a reflection by which derivatives are taken, pixels."""


def spoked(radius: float, rings: float, spokes: int) -> st.Shape:
    """A bullseye aperture: rings, and bars across them that hold them."""
    inner = st.bullseye(radius, rings)

    def drawn(y: st.FloatArray, x: st.FloatArray) -> st.FloatArray:
        bars = 0.5 + 0.5 * np.tanh(6 * (np.cos(spokes * np.arctan2(y, x)) + 0.55))
        return np.asarray(inner(y, x) * bars)

    return drawn


def ring(radius: float, inner: float) -> st.Shape:
    """A disk with a hole."""
    return lambda y, x: st.disk(radius)(y, x) - st.disk(inner)(y, x)


Varying = Callable[[st.FloatArray], st.Shape]
"""Shape of a disk by its place: the vector (y, x) from the beam as a share of `REACH`."""


def growing(radius: float, by: float) -> Varying:
    """Disks whose radius grows with the square of the distance from the beam, by this share at the outermost."""
    return lambda place: st.disk(radius * (1 + by * float(place @ place)))


def blurring(radius: float, edge: float, outermost: float) -> Varying:
    """Disks whose edge widens with the square of the distance from the beam (pixels)."""
    return lambda place: st.disk(radius, edge + (outermost - edge) * float(place @ place))


def comatic(radius: float, by: float) -> Varying:
    """Disks that are brighter on their outer side, in proportion to the distance, by this share at the outermost."""

    def shape(place: st.FloatArray) -> st.Shape:
        return lambda y, x: st.disk(radius)(y, x) * (1 + by * (place[0] * y + place[1] * x) / radius)

    return shape


def astigmatic(radius: float, by: float) -> Varying:
    """Disks that are longer towards the beam than across, in proportion to the square of the distance."""
    return lambda place: st.oval(radius, 1 + by * float(place @ place), float(np.rad2deg(np.arctan2(*place))))


@dataclass(frozen=True)
class Case:
    """A probe, and the lattice it is seen with: a spacing (pixels), the ratio of the other one, the angle and symmetry.

    Every second disk may be dimmer by a factor, brightness scatter from pattern to pattern (relative), and the shape
    change over the detector.
    """

    probe: st.Shape
    spacing: float
    half: int = 12
    ratio: float = 1.0
    angle: float = 90.0
    fold: int = 4
    dimmer: float = 1.0
    contrast: float = 0.0
    varying: Varying | None = None

    def shape(self, reflection: st.FloatArray) -> st.Shape:
        """Of the disk of a reflection."""
        return self.probe if self.varying is None else self.varying(reflection / REACH)

    def phase(self, seed: int) -> st.Phase:
        """The crystal; brightness depends on the seed."""
        other = self.spacing * self.ratio * np.array([np.sin(np.deg2rad(self.angle)), np.cos(np.deg2rad(self.angle))])
        return st.phase(
            (0.0, self.spacing), (float(other[0]), float(other[1])), self.fold, reach=REACH, seed=seed, falloff=40.0,
            form=lambda h, k: self.dimmer if (h + k) % 2 else 1.0,
        )  # fmt: skip


CASES = {
    "bullseye": Case(spoked(8.0, 2.5, 12), 21.0),
    "cross": Case(st.cross(6.0), 18.0),
    "ellipse 1.1": Case(st.oval(5.0, 1.1, 30.0), 17.0),
    "ring": Case(ring(6.0, 3.5), 17.0),
    "spots, 2 px": Case(st.spot(2.0), 17.0),
    "disks overlap": Case(st.disk(7.0), 9.8),
    "disks overlap by a ninth": Case(st.disk(7.0), 12.5),
    "disks overlap, oblique": Case(st.disk(6.0), 9.0, ratio=1.15, angle=78.0, fold=2),
    "disks overlap, hexagonal": Case(st.disk(5.0), 8.0, angle=60.0, fold=6),
    "disks overlap, dimmer ones": Case(st.disk(7.0), 10.0, dimmer=0.3),
    "disks overlap, contrast": Case(st.disk(7.0), 11.0, contrast=0.3),
    "disks touch": Case(st.disk(7.0), 14.0),
    "round disks": Case(st.disk(5.0), 17.0),
    "larger outwards by 15 %": Case(st.disk(5.0), 17.0, varying=growing(5.0, 0.15)),
    "blurred outwards": Case(st.disk(5.0), 17.0, varying=blurring(5.0, 0.8, 3.0)),
    "coma": Case(st.disk(5.0), 17.0, varying=comatic(5.0, 0.3)),
    "longer outwards by 15 %": Case(st.disk(5.0), 17.0, varying=astigmatic(5.0, 0.15)),
}


def bound(case: Case, phase: st.Phase, gradient: np.ndarray, dose: float, share: float, background: st.Shape) -> Bound:
    """The bound of one pattern: affine, beam centre, brightness and level of the background unknown."""
    shapes = [case.probe, *map(case.shape, phase.reflections if case.varying else [])]
    tables, middle = np.stack([st.tabulated(each, case.half) for each in shapes]), (np.array(DETECTOR) - 1) / 2 + OFFSET
    y, x = np.indices(DETECTOR) - middle[:, None, None]
    level = background(y, x)
    level = dose * share * level / level.sum()
    sample = st.field(gradient[None, None])

    def crystal(affine: np.ndarray, centre: np.ndarray) -> np.ndarray:
        one = st._pattern([phase], [phase.intensity], sample, (0, 0), affine[None], centre, tables, DETECTOR)
        return np.asarray(dose * (1 - share) * one)

    affine = np.linalg.inv(gradient).T
    reach = float(np.hypot(*phase.reflections.T).max())
    by = []
    for k in range(6):
        step = np.zeros(6)
        step[k] = SHIFT / reach if k < 4 else SHIFT
        up, down = (crystal(affine + s * step[:4].reshape(2, 2), middle + s * step[4:]) for s in (1, -1))
        by.append((up - down) / (2 * step[k]))
    expected = crystal(affine, middle) + level
    columns = np.stack([*by, expected - level, level]).reshape(8, -1)
    information = (columns / np.maximum(expected.ravel(), 1e-9)) @ columns.T
    return Bound.from_affine(affine, np.linalg.inv(information)[:4, :4])


def recorded(case: Case, dose: float, seed: int) -> np.ndarray:
    """A vacuum image of the probe, not quite in the middle."""
    y, x = np.indices(DETECTOR) - (np.array(DETECTOR) - 1)[:, None, None] / 2 - np.array([1.2, -0.7])[:, None, None]
    bright = case.probe(y, x)
    return np.random.default_rng(seed).poisson(100 * dose * bright / bright.sum())


def py4dstem(case: Case, made: st.Stranger, phase: st.Phase, vacuum: np.ndarray, reference: np.ndarray) -> str:
    """Mean absolute errors of py4DSTEM's strain, by each of its ways to refine places, where it found enough disks."""
    sys.path.insert(0, str(Path(__file__).parent / "peers"))
    import compare as peers

    truth, shape, words = made.truth(reference)[:3], made.label.shape, []
    centre = np.broadcast_to((np.array(DETECTOR) - 1) / 2 + OFFSET, (*shape, 2))
    reach = np.nonzero(case.probe(np.zeros(200), np.arange(200) / 10) > 0.5)[0].max() / 10
    with tempfile.TemporaryDirectory() as folder:
        scan, told, image = (Path(folder) / name for name in ("scan.h5", "told.npz", "probe.npy"))
        with h5py.File(scan, "w") as file:
            file["data"] = made.counts
        peers.Told(phase.reflections, made.theta, centre, float(reach)).save(told)
        np.save(image, vacuum)
        for mode in peers.MODES["py4dstem"]:
            maps = peers.run_peer("py4dstem", mode, scan, told, reference, case.fold, ["--probe", str(image)]).maps
            found = np.stack([maps[name].values for name in ("exx", "eyy", "exy")])
            error = np.abs(found - truth)[:, maps["valid"].values].mean(1)
            words.append(f"py4DSTEM {mode} {written(error)}, {100 * maps['valid'].values.mean():.0f} % fitted")
    return "; ".join(words)


def written(errors: np.ndarray) -> str:
    """Errors of exx, eyy, exy in units of 1e-4."""
    return "mean error " + " ".join(f"{1e4 * each:.2f}" for each in errors) + "e-4"


def measured(
    case: Case, share: float, *, side: int, dose: float, seed: int, given: bool = False, peers: bool = False
) -> str:
    """One row of the table."""
    vacuum = recorded(case, dose, seed) if given else None
    phase = case.phase(seed + 1)
    number = st.voronoi((side, side), 4, seed)
    rng = np.random.default_rng(seed)
    turned = 17.0 + np.r_[0.0, rng.uniform(-6, 6, 3)]
    strain = np.r_[[np.zeros(3)], rng.uniform(-0.008, 0.008, (3, 3))]
    gradients = np.stack([st.deformed(*each, t) for each, t in zip(strain, turned, strict=True)])
    background = st.lorentzian(25)
    made = st.stranger(
        [phase], st.grains(number, gradients), probe=case.probe, half=case.half, detector=DETECTOR,
        background=background, backgrounds=share, dose=dose, offset=tuple(OFFSET), contrast=case.contrast, seed=seed,
        inside=(lambda k: case.shape(phase.reflections[k])) if case.varying else None,
    )  # fmt: skip
    least = bound(case, phase, gradients[0], dose, share, background)
    began = time.process_time()
    try:
        maps = cs.map(made.counts, reference=number == 0, ellipse=(1.0, 0.0), probe=vacuum, progress=False)
    except cs.InputError as error:
        return f"refused: {error}"
    spent = time.process_time() - began
    beside = py4dstem(case, made, phase, recorded(case, dose, seed), number == 0) if peers else ""
    error, valid = made.errors(maps, "_raw")[:3], maps["valid"].values
    limits = (least.exx, least.eyy, least.exy)
    inside = [valid & (number == k) for k in range(4)]
    spread = np.sqrt(np.mean([[e[at].var(ddof=1) for at in inside if at.sum() > 8] for e in error], axis=1))
    bias = max(float(np.abs(e[at].mean())) for e in error for at in inside if at.sum() > 8)
    final = made.errors(maps)[:3]
    bias_final = max(float(np.abs(e[at].mean())) for e in final for at in inside if at.sum() > 8)
    ratio = " ".join(f"{s / b:5.2f}" for s, b in zip(spread, limits, strict=True))
    z = made.z(maps, "_raw")[:3].std(1)
    row = (
        f"{ratio}  bound {1e4 * limits[0]:5.2f}e-4  bias {1e4 * bias:5.2f} {1e4 * bias_final:5.2f}e-4  z "
        + " ".join(f"{each:4.2f}" for each in z)
        + f"  valid {100 * valid.mean():4.0f} %  {spent:4.0f} s"
    )
    return f"{row}\n{'':35s}raw {written(np.abs(error[:, valid]).mean(1))}; {beside}" if beside else row


def silicon(side: int, seed: int) -> None:
    """Errors on multislice silicon with a disk, and with the bullseye of rings that is cut out of it."""
    from cyclestrain.evaluation import compare
    from cyclestrain.simulation.multislice import silicon as made_of

    radii = (7.0, 5.7, 4.3, 2.9, 1.5)
    made = [made_of((side, side), (192, 192), radius=radius) for radius in radii]
    areas = np.array([(-1) ** k * radius**2 for k, radius in enumerate(radii)])
    disks = [np.asarray(each.scan.source[:], float) for each in made]
    bullseye = sum(area * disk for area, disk in zip(areas, disks, strict=True)) / areas.sum()
    background = st.lorentzian(30)(*(np.indices((192, 192)) - 95.5))
    for share in (0.25, 0.6):
        for name, patterns in (("disk", disks[0]), ("bullseye", bullseye)):
            clean = np.maximum(patterns, 0) / patterns.sum((2, 3)).max()
            expected = 3e5 * ((1 - share) * clean + share * background / background.sum())
            counts = np.random.default_rng(seed).poisson(expected).astype(np.uint16)
            maps = cs.map(counts, reference="0:4,:", ellipse=(1.0, 0.0), progress=False)
            for estimate in ("raw", ""):
                found = compare(maps, made[0].truth, estimate)
                errors = " ".join(f"{1e4 * getattr(found, c).mae_interior:5.2f}" for c in ("exx", "eyy", "exy"))
                z = " ".join(f"{getattr(found, c).z_std:4.2f}" for c in ("exx", "eyy", "exy"))
                print(f"silicon, {name:9s} {100 * share:3.0f} %  {estimate or 'final':5s}  error {errors} e-4  z {z}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--backgrounds", nargs="+", type=float, default=[0.25, 0.6])
    parser.add_argument("--scan", type=int, default=24)
    parser.add_argument("--dose", type=float, default=1e5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vacuum", action="store_true", help="give a vacuum image of the probe")
    parser.add_argument("--peers", action="store_true", help="and by py4DSTEM, told what it needs and the probe")
    parser.add_argument("--silicon", action="store_true", help="a bullseye on multislice silicon instead")
    given = parser.parse_args()
    if given.silicon:
        silicon(min(given.scan, 14), given.seed)
        return
    for name in given.probes:
        for share in given.backgrounds:
            row = measured(
                CASES[name], share, side=given.scan, dose=given.dose, seed=given.seed, given=given.vacuum,
                peers=given.peers,
            )  # fmt: skip
            print(f"{name:26s} {100 * share:3.0f} %  {row}", flush=True)


if __name__ == "__main__":
    main()
