"""Tilt, thickness and polarization against multislice: the acceptance table of `cyclestrain tilt`.

    python benchmarks/beyond.py --folder beyond-scans                # all of it, about ten minutes
    python benchmarks/beyond.py --folder beyond-scans --only tilt    # or: held-out, polarization, centrosymmetric

The scans are simulated slice by slice with other scattering factors (Lobato), vibration and thicknesses than the
library (Bloch waves, Kirkland), with strain, background and shot noise, and mapped with ``--intensities``. Silicon
[110] at 200 kV: 20 to 40 nm, tilts to 5 mrad; aluminium [100] at 80 kV: the same, on which nothing was set (held out).
PbTiO3 [100]: domains of both signs and of no polarization, 10 to 20 nm, tilts to 2 mrad; its twin scan is the
centrosymmetric structure everywhere. Needs the extra `multislice`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from measuring import markdown

import cyclestrain as cs
from cyclestrain.affine import rotation, symmetric
from cyclestrain.io import read
from cyclestrain.simulation import SimulatedScan, load_truth, record, save
from cyclestrain.simulation.acquisition import Acquisition
from cyclestrain.simulation.materials import MATERIALS, Material, cubic
from cyclestrain.simulation.multislice import Specimen, simulate, smooth_step, unit_square
from cyclestrain.simulation.propagation import Crystal

CRYSTALS = {
    "silicon": (MATERIALS["Si"], "a=5.431,structure=diamond,zone=110,elements=Si", 200, "silicon [110]"),
    "aluminium": (
        partial(cubic, "fcc", "100", ["Al"], 4.05, 0.85, voltage=80e3), "a=4.05,structure=fcc,zone=100,elements=Al",
        80, "aluminium [100], 80 kV",
    ),
}  # fmt: skip
"""What makes a crystal, what it is known as, voltage (kV) and words."""
A, C = 3.904, 4.152
PARENT = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
MOVED = np.array([0.0, 0.0377, 0.1118, 0.1174, 0.1174])
"""PbTiO3 along c, in units of c: against the lead, everything is displaced; oxygen furthest, so P is against +c."""
SYMBOLS = ["Pb", "Ti", "O", "O", "O"]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("beyond-scans"), help="scans, made where missing")
    parser.add_argument("--scan", type=int, default=16, help="positions along each side")
    parser.add_argument("--seed", type=int, default=1, help="of the noise")
    parser.add_argument("--only", choices=["tilt", "held-out", "polarization", "centrosymmetric"], help="one part")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = parse_arguments()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    if given.only in (None, "tilt"):
        rows += tilt_rows(given, "silicon")
    if given.only in (None, "held-out"):
        rows += tilt_rows(given, "aluminium")
    if given.only in (None, "polarization"):
        rows += polar_rows(given, "domains")
    if given.only in (None, "centrosymmetric"):
        rows += polar_rows(given, "parent")
    print(markdown(["scan", "background", "what", "value", "wanted"], rows))


def strained(n: int, name: str) -> SimulatedScan:
    """A strained crystal, tilted by up to 5 mrad."""
    y, x = unit_square((n, n))
    onset = smooth_step((y - 0.3) / 0.35)
    stretch = np.eye(2) + symmetric(0.006 * onset * np.sin(6 * x), 0.006 * onset * np.cos(5 * y), 0 * x)
    return _simulated(
        n, np.zeros((n, n), np.int64), stretch @ rotation(np.deg2rad(0.6) * onset * np.sin(6 * x)),
        300 + 100 * np.sin(2 * np.pi * (0.8 * x + 0.5 * y)), 5e-3, [CRYSTALS[name][0]],
        Acquisition(scan=(n, n), detector=(256, 256), radius=5.0), (onset > 0).astype(np.int64),
    )  # fmt: skip


def titanate(n: int, kind: str) -> SimulatedScan:
    """PbTiO3 along [100], c along x, in domains of displacement 1, -1 and 0, or 0 everywhere."""
    y, x = unit_square((n, n))
    domain = np.digitize(x + 0.12 * np.sin(2 * np.pi * y), [0.38, 0.76]) if kind == "domains" else np.full((n, n), 2)
    stretch = np.eye(2) + symmetric(0.003 * np.sin(4 * y), 0.003 * np.cos(5 * x), 0 * x)
    return _simulated(
        n, domain, stretch, 150 + 50 * np.sin(2 * np.pi * (0.6 * x - 0.7 * y)), 2e-3,
        [partial(_titanate, s) for s in (1.0, -1.0, 0.0)],
        Acquisition(scan=(n, n), detector=(256, 256), radius=5.0, spacing=24.0), np.zeros((n, n), np.int64),
    )  # fmt: skip


def _titanate(displacement: float) -> Material:
    """One cell with x along c, y along b and the beam along a."""
    from ase import Atoms

    places = PARENT.copy()
    places[:, 2] += displacement * MOVED
    places = places[:, [2, 1, 0]] % 1.0
    places[:, 2] = (places[:, 2] + 0.25) % 1.0  # no atom on the edge of a slice
    atoms = Atoms(SYMBOLS, scaled_positions=places, cell=[C, A, A], pbc=True)
    return Material(Crystal.from_atoms(atoms, 2, 0.6), "square", 0.0, 1 / A)


def _simulated(n, material, deformation, thickness, tilt, materials, acquisition, grain):
    y, x = unit_square((n, n))
    size = tilt * (0.5 + 0.5 * np.sin(2 * np.pi * (0.7 * x - 0.9 * y)))
    direction = 2 * np.pi * (0.9 * x + 0.7 * y)
    lean = size[..., None] * np.stack([np.sin(direction), np.cos(direction)], -1)
    made = simulate(Specimen(material, deformation, thickness, lean), materials, grain, acquisition, "beyond")
    return SimulatedScan(made.scan, made.truth.assign(material=(("ry", "rx"), material)))


def mapped(given: argparse.Namespace, name: str, background: float) -> Path:
    """Result of a scan with intensities; what is missing is made."""
    clean = given.folder / f"{name}_{given.scan}.h5"
    if not clean.exists():
        save(strained(given.scan, name) if name in CRYSTALS else titanate(given.scan, name), clean)
    path = clean.with_name(f"{clean.stem}_{background:g}_{given.seed}.h5")
    if not path.exists():
        made = SimulatedScan(read(clean), load_truth(clean))
        save(record(made, background=background, seed=given.seed), path)
    result = path.with_suffix(".nc")
    if not result.exists():
        cs.map(path, result, intensities=True)
    return result


def tilt_rows(given: argparse.Namespace, name: str) -> list[list[str]]:
    """Error of tilt and thickness of a crystal."""
    rows, (_, known, voltage, words) = [], CRYSTALS[name]
    for background in (0.25, 0.6):
        result = mapped(given, name, background)
        truth = _truth(result)
        found = cs.tilt(result, known=known, voltage=voltage, figure=result.with_suffix(".png"), force=True)
        good = found["valid"].values
        error, z = tilt_error(found, truth)
        thick = (found["thickness"].values - truth["thickness"].values / 10)[good]
        scan = [f"{words}, 0 to 5 mrad", f"{background:.0%}"]
        length = 1e3 * np.hypot(*error[good].T)
        rows += [
            [*scan, "valid positions", f"{good.mean():.0%}", ""],
            [*scan, "tilt error, mean / 95 % / largest (mrad)",
             f"{length.mean():.3f} / {np.quantile(length, 0.95):.3f} / {length.max():.3f}", "<= 0.3"],
            [*scan, "tilt z (y, x)", " ".join(f"{s:.2f}" for s in z[good].std(0)), "0.8-1.2"],
            [*scan, "thickness error, mean (nm); z", f"{np.abs(thick).mean():.2f}; "
             f"{(thick / found['thickness_sigma'].values[good]).std():.2f}", ""],
        ]  # fmt: skip
    return rows


def polar_rows(given: argparse.Namespace, kind: str) -> list[list[str]]:
    """Signs of the polarization, or that there is none."""
    result = mapped(given, kind, 0.6)
    structure = given.folder / "PbTiO3.cif"
    _write_structure(structure)
    found = cs.tilt(
        result, known=f"{structure},zone=100", thickness=(6, 30), polar=True, vibration=0.5,
        figure=result.with_suffix(".png"), force=True,
    )  # fmt: skip
    truth = _truth(result)
    true = np.array([1.0, -1.0, 0.0])[truth["material"].values]
    along = -found["polar_x"].values * found["displacement"].values  # P of displacement 1 is against +c
    sure, polar = found["separable"].values, true != 0
    scan, rows = [f"PbTiO3 [100], {kind}, 0 to 2 mrad", "60%"], []
    error, z = tilt_error(found, truth)
    good = found["valid"].values
    rows.append([*scan, "valid", f"{good.mean():.0%}", ""])
    if polar.any():
        here = sure & polar
        right = np.sign(along[here]) == true[here]
        rows.append([*scan, "separable, of polar positions", f"{here.sum() / polar.sum():.0%}", ""])
        rows.append([*scan, "sign right where separable", f"{right.mean():.1%}", ">= 95 %"])
    if (~polar).any():
        rows.append([*scan, "polarization reported where there is none", f"{(sure & ~polar).sum()} of "
                     f"{(~polar).sum()}", "0"])  # fmt: skip
    score = ((along - true) / found["displacement_sigma"].values)[good]
    rows.append([*scan, "displacement z", f"{score.std():.2f}", "0.8-1.2"])
    rows.append([*scan, "tilt error, mean (mrad); z", f"{1e3 * np.hypot(*error[good].T).mean():.3f}; "
                 f"{z[good].std():.2f}", "z 0.8-1.2"])  # fmt: skip
    return rows


def tilt_error(found: xr.Dataset, truth: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Error of the tilt ``(y, x)``, radians, and in units of its sigma."""
    tilt, sigma = (np.stack([found[f"tilt_{a}{s}"].values for a in "yx"], -1) for s in ("", "_sigma"))
    return tilt - truth["tilt"].values, (tilt - truth["tilt"].values) / sigma


def _write_structure(path: Path) -> None:
    from ase import Atoms
    from ase.io import write

    places = PARENT.copy()
    places[:, 2] += MOVED
    write(path, Atoms(SYMBOLS, scaled_positions=places, cell=[A, A, C], pbc=True), format="cif")


def _truth(result: Path) -> xr.Dataset:
    return load_truth(result.with_suffix(".h5"))


if __name__ == "__main__":
    main()
