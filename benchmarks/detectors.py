"""How right strain is on detectors that spread the light of an electron over pixels.

    python benchmarks/detectors.py                       # eight small scans, two minutes
    python benchmarks/detectors.py --spreads 0.8 --backgrounds 0.6 --seeds 21 22

A polycrystal is simulated as an ideal counter would see it; every electron is then spread as a Gaussian, multiplied by
the gain of a camera and stored in whole numbers with an offset and read noise. What remains of the strain is compared
with the truth: mean absolute error in 1e-4 and z, the standard deviation of error over stated sigma, 1 if that is
right. Prints the table of docs/benchmark/detectors.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr
from measuring import ROUND, markdown
from scipy import ndimage

import cyclestrain as cs
from cyclestrain.evaluation import error_map, relative_truth
from cyclestrain.simulation import polycrystal

COMPONENTS = ("exx", "eyy", "exy")
GAIN, OFFSET, READ_NOISE = 20.0, 100.0, 3.0
SIDE, DETECTOR, RADIUS, COUNTS = 16, 128, 4.0, 1e5


def recorded(patterns: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Counts as a camera stores them.

    Parameters
    ----------
    patterns
        Electrons, shape ``(ry, rx, qy, qx)``.
    spread
        Standard deviation of the light of one electron, pixels.
    rng
        Draws the read noise.
    """
    light = ndimage.gaussian_filter(patterns.astype(np.float32), (0, 0, spread, spread), mode="constant")
    values = GAIN * light + OFFSET + rng.normal(0.0, READ_NOISE, patterns.shape)
    return np.rint(np.maximum(values, 0.0)).astype(np.uint16)


def row(spread: float, background: float, seed: int) -> list[str]:
    """One line of the table."""
    made = polycrystal(
        scan=(SIDE, SIDE), detector=(DETECTOR, DETECTOR), grain_size=90.0, radius=RADIUS, background=background,
        counts=COUNTS, seed=seed,
    )  # fmt: skip
    grain = made.truth["grain"].values
    reference = grain == np.bincount(grain.ravel()).argmax()
    patterns = recorded(np.asarray(made.scan.source), spread, np.random.default_rng(1000 + seed))
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "reference.npy", reference)
        maps = cs.map(patterns, reference=str(Path(folder) / "reference.npy"), ellipse=ROUND)
    said = next((line for line in maps.attrs["choices"].splitlines() if line.startswith("noise:")), "")
    factor = said.rpartition(" as ")[2].split(" ")[0] or "1"
    valid = maps["valid"].values & made.truth["interior"].values
    cells = [f"{spread:g}", f"{100 * background:.0f} %", str(seed), factor]
    cells.append(f"{100 * valid.sum() / made.truth['interior'].values.sum():.0f} %")
    for estimate in ("raw", ""):
        mae, z, far = measures(maps, made.truth, valid, estimate)
        cells += [mae, z, f"{100 * far:.1f} %"]
    return cells


def measures(maps: xr.Dataset, truth: xr.Dataset, valid: np.ndarray, estimate: str) -> tuple[str, str, float]:
    """Mean absolute error and z of every component, and the share of positions beyond six sigmas."""
    expected, suffix = relative_truth(maps, truth, estimate), f"_{estimate}" if estimate else ""
    errors = {name: error_map(maps, truth, expected, name, estimate)[valid] for name in COMPONENTS}
    z = {name: error / maps[f"{name}{suffix}_sigma"].values[valid] for name, error in errors.items()}
    mae = ", ".join(f"{1e4 * np.abs(error).mean():.1f}" for error in errors.values())
    return (
        mae,
        ", ".join(f"{each.std():.2f}" for each in z.values()),
        float(np.mean([np.abs(e) > 6 for e in z.values()])),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spreads", type=float, nargs="+", default=[0.0, 0.5, 0.8, 1.2])
    parser.add_argument("--backgrounds", type=float, nargs="+", default=[0.25, 0.6])
    parser.add_argument("--seeds", type=int, nargs="+", default=[21])
    given = parser.parse_args()
    head = ["spread, px", "background", "seed", "factor", "valid"]
    head += [f"{name} {what}" for name in ("raw", "final") for what in ("error", "z", "> 6 sigma")]
    rows = [row(s, b, seed) for s in given.spreads for b in given.backgrounds for seed in given.seeds]
    print(markdown(head, rows))


if __name__ == "__main__":
    main()
