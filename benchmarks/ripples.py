"""Ripple of a membrane out of its plane, imaged as rods that meet the Ewald sphere, for `cyclestrain tilt-series`.

    python benchmarks/ripples.py --folder ripple-scans

A monolayer (hexagonal, 0.318 nm, 80 kV) with a ripple of 5 degrees and 10 nm period along x below six flat rows, at
three tilts of the stage. Its atoms lie on the rippled surface in space: the reciprocal lattice of every place is that
of its own tangent plane, and every reflection a rod along its normal that is cut by the Ewald sphere, as bright as a
layer of 0.32 nm is there. Nothing of the estimator is used: no foreshortening is put in by a formula.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from measuring import ROUND, markdown
from scipy import special

import cyclestrain as cs
from cyclestrain.data import Scan
from cyclestrain.simulation import SimulatedScan, record, save

SCAN, STEP, FLAT = (22, 30), 0.5, 6
"""Positions, their distance in nm, and flat rows."""
SLOPE, PERIOD = np.tan(np.deg2rad(5.0)), 10.0
WAVELENGTH, THICKNESS, CONSTANT = 0.00418, 0.32, 0.318
"""Of the electrons, of the layer and of its lattice, nm."""
RING, RADIUS, EDGE, DETECTOR = 19.0, 2.6, 0.3, 128
"""Shortest reciprocal vector, radius of the disks and width of their edges, and detector, pixels."""
PARTS = 4
"""Of a pixel along each axis, over which a disk is averaged as a detector does."""
STAGE = (0.0, -12.0, 12.0)
"""Degrees; positive lifts the side of larger x towards the source."""


def main() -> None:
    """Draw, map, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("ripple-scans"), help="scans and results")
    parser.add_argument("--backgrounds", nargs="+", type=float, default=[0.25, 0.6])
    parser.add_argument("--seed", type=int, default=1, help="of the noise")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows: list[list[str]] = []
    for background in given.backgrounds:
        results = [mapped(given.folder, stage, background, given.seed + k) for k, stage in enumerate(STAGE)]
        rows += [[f"{background:.0%}", *row] for row in rows_of(results)]
    print(markdown(["background", "what", "value", "wanted"], rows))


def mapped(folder: Path, stage: float, background: float, seed: int) -> Path:
    """Result of a scan, relative to the flat rows."""
    path = folder / f"ripple_{stage:+g}_{background:g}_{seed}.h5"
    if not path.exists():
        save(record(drawn(stage), background=background, seed=seed), path)
    result = path.with_suffix(".nc")
    if not result.exists():
        cs.map(path, result, reference=f"0:{FLAT},0:{SCAN[1]}", ellipse=ROUND)
    return result


def slopes() -> np.ndarray:
    """dh/dx at every position."""
    wave = SLOPE * np.cos(2 * np.pi * STEP * np.arange(SCAN[1]) / PERIOD)
    return np.where(np.arange(SCAN[0])[:, None] < FLAT, 0.0, wave)


def drawn(stage: float) -> SimulatedScan:
    """Patterns of the membrane, without background and noise."""
    patterns = np.zeros((*SCAN, DETECTOR, DETECTOR), np.float32)
    for at, slope in np.ndenumerate(slopes()):
        patterns[at] = pattern(np.arctan(slope) + np.deg2rad(stage))
    attrs = {"lattice": "hexagonal", "spacing": RING, "radius": RADIUS}
    return SimulatedScan(Scan(patterns, name="ripple"), xr.Dataset(attrs=attrs))


def pattern(angle: float) -> np.ndarray:
    """Share of the beam in every pixel for a layer whose side of larger x is lifted by an angle, (y, x, z) in space."""
    along_x, normal = np.array([0.0, np.cos(angle), np.sin(angle)]), np.array([0.0, -np.sin(angle), np.cos(angle)])
    tangents = np.stack([np.array([1.0, 0.0, 0.0]), along_x], 1)
    lattice = tangents @ (CONSTANT * np.array([[0.0, np.sqrt(0.75)], [1.0, 0.5]]))
    hk = np.stack(np.meshgrid(np.arange(-5, 6), np.arange(-5, 6), indexing="ij"), -1).reshape(-1, 2)
    inside = hk @ np.linalg.pinv(lattice)  # 1/nm, in the tangent plane
    length = np.linalg.norm(inside, axis=1)
    keep = length < 3.6 * 2 / np.sqrt(3) / CONSTANT
    inside, length = inside[keep], length[keep]
    along = -(WAVELENGTH * length**2 / 2 + inside[:, 2]) / normal[2]  # from the plane to the sphere
    spots = (inside + along[:, None] * normal)[:, :2] * RING / (2 / np.sqrt(3) / CONSTANT)
    bright = np.exp(-0.03 * length**2) * np.sinc(along * THICKNESS) ** 2
    bright = np.where(length > 0, 0.25 * bright, 1.0)
    image = np.zeros((DETECTOR, DETECTOR, PARTS, PARTS))
    for place, share in zip(spots + (DETECTOR - 1) / 2, bright, strict=True):
        (top, left), reach = np.rint(place).astype(int), int(np.ceil(RADIUS + 6 * EDGE)) + 1
        if min(top, left) < reach or max(top, left) >= DETECTOR - reach:
            continue
        near = np.arange(-reach, reach + 1)[:, None] + (np.arange(PARTS) + 0.5) / PARTS - 0.5
        away = np.hypot((near + top - place[0])[:, None, :, None], (near + left - place[1])[None, :, None, :])
        image[top - reach : top + reach + 1, left - reach : left + reach + 1] += share * special.ndtr(
            (RADIUS - away) / EDGE
        )
    return image.sum((2, 3)) / image.sum()


def rows_of(results: list[Path]) -> list[list[str]]:
    """What one scan and what two say."""
    slope = slopes()
    steep = np.abs(slope) > np.tan(np.deg2rad(4.0))
    alone = cs.tilt_series(results[:1], tilts=STAGE[:1])
    told = alone["foreshortened"].values
    beyond = np.any([np.abs(alone[e].values) > 2 * alone[f"{e}_sigma"].values for e in ("eyy", "exx", "exy")], axis=0)
    bound = alone["slope_bound"].values / np.maximum(np.abs(slope), 1e-9)
    two = cs.tilt_series(results[1:], tilts=STAGE[1:], tilt_axis=-90.0)
    found, sigma, good = two["slope_x"].values, two["slope_x_sigma"].values, two["valid"].values
    gain = float(np.sum((found * slope)[steep & good]) / np.sum((slope**2)[steep & good]))
    error = np.abs(found / np.where(steep, slope, 1.0) - 1)[steep & good]
    z = [((found - slope) / sigma)[good].std(), (two["exx"].values / two["exx_sigma"].values)[good].std()]
    return [
        ["one scan: steep positions (over 4 degrees) recognised", f"{told[steep].mean():.0%}", ""],
        ["one scan: strain beyond two sigma at steep positions", f"{beyond[steep].mean():.0%}", "0"],
        ["one scan: called foreshortened in the flat rows", f"{told[:FLAT].mean():.0%}", ""],
        ["one scan: bound over slope at steep positions, 5 % and 95 %",
         " ".join(f"{v:.2f}" for v in np.quantile(bound[steep], [0.05, 0.95])), ">= 1"],
        ["two tilts: slope found over true, steep positions", f"{gain:.3f}", "0.9-1.1"],
        ["two tilts: steep positions within 10 %", f"{(error < 0.1).mean():.0%}", ""],
        ["two tilts: slope z; strain z", f"{z[0]:.2f}; {z[1]:.2f}", "0.8-1.2"],
        ["two tilts: strain exx, root mean square", f"{two['exx'].values[good].std():.1e}", ""],
    ]  # fmt: skip


if __name__ == "__main__":
    main()
