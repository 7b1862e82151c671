"""Triangles of WSe2 in a monolayer of WS2: sample, phases, strain, dislocations and a ripple, found against the truth.

    python examples/ws2_wse2.py ws2                     # 128 x 128 positions, minutes on two cores
    python examples/ws2_wse2.py ws2 --positions 48      # a quick look
    python examples/ws2_wse2.py ws2 --positions 256     # as the docs: 2.1 GB of disk, six minutes on two cores
    CYCLESTRAIN_PEERS=peers python examples/ws2_wse2.py docs/benchmark --scratch ws2 --positions 256  # the page

The geometry is that of Han et al., Nano Letters 18, 3746 (2018): a pixel array detector of 128 x 128, a small
convergence angle, few electrons. Writes `ws2_wse2.md` and `ws2_wse2.png` into the folder; scan and result into
`--scratch`. py4DSTEM runs on the same file where its environment exists (`benchmarks/peers/environments.py`).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from scipy import ndimage
from ws2_monolayer import (
    DETECTOR,
    NOTHING,
    PIXELS,
    RADIUS,
    SMALLER,
    STEP,
    TURN,
    WS2,
    WSE2,
    Specimen,
    Truth,
    record,
    reflections,
    specimen,
)

import cyclestrain as cs
from cyclestrain.microstructure import Core

COMPONENTS = ("exx", "eyy", "exy", "rotation")
PICOMETRES = 1e3 * SMALLER
PEERS = Path(__file__).parents[1] / "benchmarks" / "peers"
RIPPLE = np.array([np.sin(0.5), np.cos(0.5)])
"""Direction across the ripple."""
STEEP = 0.05
"""Slope from which the ripple counts as steep."""
SMALLEST = 12
"""Positions of the smallest triangle that is believed; less is the field of a dislocation."""
PAGE = """\
# WS2 and WSe2

`python examples/ws2_wse2.py ws2 --positions {positions}`: triangles of WSe2 in a monolayer of WS2, as in Han et al.,
Nano Letters 18, 3746 (2018), whose kind of scan the method's paper maps in its figure 4.
{positions} x {positions} positions with a step of {step:g} nm, {detector} x {detector} pixels, 80 kV, {dose:,.0f}
electrons per pattern, of which a monolayer diffracts about 4 %. The scan is drawn by
`examples/ws2_monolayer.py`, which knows neither the model that is fitted nor the
simulator of the package: the elastic field of triangles with 4.1 % misfit, dislocations along their edges, a ripple
out of the plane, holes, and amorphous carbon under a part of the sheet and beside it. `cyclestrain.map` is told step,
pixel size, the rotation of the scan and that the detector is not elliptic; nothing else is set.

![Truth, maps, dislocations and ripple](ws2_wse2.png)

Dots are true dislocations, the dashed line is where the support begins, black lines are the true edges, arrows the
Burgers vectors that were found. Grey: nothing is there, or no value is given. The colours of the slope are reversed
against those of the dipole, whose sign is not told.

{table}

{peer}

{cost}

*Strain* is the mean absolute error over the sheet where a value is given, edges and cores included; pm is the error
of exx times the lattice constant of {pm:.0f} pm. *z* is the root mean square of error over stated sigma; the one by
the median is not governed by the few positions next to a core, where the strain changes by percents within the probe.

## How each is told

- **Sheet or not**: `maps["sample"]`, whatever lies below. Amorphous carbon gives rings, no reflections.
- **WS2 or WSe2**: both are one entry of the dictionary, one lattice that is stretched. What tells them apart is the
  area of the cell, from `affine`; where no lattice is given, that of the nearest position. The limit is the middle
  between the means of both sides; areas below {smallest} positions are the field of a dislocation.
- **Edges** are half-way between neighbours of which one is WSe2. Distances are from them to the true outline and
  back.
- **Dislocations**: [`cs.defects`](../how-to/defects.md); found means within 2 steps, with the right lattice vector.
- **Ripple**: `cs.tilt` on a result with intensities. Where a monolayer slopes, opposite reflections lie at different
  heights of their rods, and the dipole of the intensities follows the slope.

## What it cannot tell

- A slope shortens the projection: a ripple *is* a compression in the maps, by half the square of the slope, and they
  are right about the projection. From strain alone it cannot be told from a compression in the plane.
- The dipole tells that the sheet slopes, where, and with what period. It gives no angle without a library of
  intensities of a monolayer, and no sense of up and down: in a real sheet dynamical scattering gives a dipole of its
  own, since 2H-WS2 has no inversion centre. Here scattering is kinematic, and Friedel partners of a flat sheet are
  nearly equally bright.
- Real sheets are dirty, move, and charge; that is not simulated.

## The authors' own scans

The files of the method's authors (Zenodo 10934269) are MATLAB files with an array `output4D`. One command maps them:

```console
$ cyclestrain map FILE.mat --dataset output4D -o strain.nc --intensities
$ cyclestrain show strain.nc -o strain.png
```

`--dataset` is needed only where the file holds several arrays. MATLAB v7.3 is read ([formats](../formats.md)),
whether positions or patterns come first; older files are refused with the advice to save them so. `cyclestrain info
FILE.mat` says what was taken for what. Strain needs nothing more; `cyclestrain defects strain.nc` needs the step and
the pixel, `--step 1nm --pixel 0.167/nm` here, to name Burgers vectors. The authors' files were not at hand: this is
tested on files of that layout (`tests/io/test_read.py`).
"""


@dataclass(frozen=True)
class Scan:
    """A scan on disk, what is true of it, and what was found."""

    path: Path
    sheet: Specimen
    truth: Truth
    maps: xr.Dataset
    seconds: tuple[float, float]


def mapped(folder: Path, positions: int, dose: float, seed: int = 0) -> Scan:
    """Simulate and map; the result is kept beside the scan."""
    folder.mkdir(parents=True, exist_ok=True)
    path, sheet, start = folder / f"ws2_{positions}.h5", specimen(positions), time.process_time()
    truth = record(sheet, path, dose, seed)
    drawn = time.process_time()
    maps = cs.map(
        path, path.with_suffix(".nc"), force=True, intensities=True, ellipse=(1.0, 0.0), step=f"{STEP:g}nm",
        pixel=f"{1 / PIXELS:.6f}/nm", scan_rotation=0.0,
    )  # fmt: skip
    return Scan(path, sheet, truth, maps, (drawn - start, time.process_time() - drawn))


# --- found against truth -----------------------------------------------------------------------------------------


def true_strain(truth: Truth, reference: np.ndarray) -> dict[str, np.ndarray]:
    """Strain and rotation relative to the mean of some positions: ``F F_ref^-1 = V R``."""
    gradient = np.where((truth.sheet > 0)[..., None, None], truth.gradient, np.eye(2))
    u, s, w = np.linalg.svd(gradient @ np.linalg.inv(gradient[reference].mean(0)))
    stretch, turn = (u * s[..., None, :]) @ u.swapaxes(-1, -2), u @ w
    values = (
        stretch[..., 1, 1] - 1,
        stretch[..., 0, 0] - 1,
        stretch[..., 0, 1],
        np.arctan2(turn[..., 0, 1], turn[..., 0, 0]),
    )
    return dict(zip(COMPONENTS, values, strict=True))


def dilation(maps: xr.Dataset) -> np.ndarray:
    """Relative change of the mean lattice constant against the reference, from every lattice that was fitted."""
    affine = maps["affine"].values
    fitted = np.isfinite(affine).all((-1, -2))
    area = np.full(fitted.shape, np.nan)
    area[fitted] = 1 / np.abs(np.linalg.det(affine[fitted]))
    return np.asarray(np.sqrt(area / np.nanmedian(area[maps["reference"].values])) - 1)


def phases_found(maps: xr.Dataset) -> np.ndarray:
    """`NOTHING`, `WS2` or `WSE2` at every position, by sample and lattice constant."""
    sample, size = maps["sample"].values, dilation(maps)
    near = ndimage.distance_transform_edt(np.isnan(size), return_distances=False, return_indices=True)
    size = size[tuple(near)]  # where there is none, that of the nearest position
    level = 0.5 * (size[sample].min() + size[sample].max())
    for _ in range(50):  # the middle between the means of both sides
        level = 0.5 * (size[sample & (size > level)].mean() + size[sample & (size <= level)].mean())
    label, _ = ndimage.label(sample & (size > level))
    large = np.isin(label, np.nonzero(np.bincount(label.ravel())[1:] >= SMALLEST)[0] + 1)
    triangles = ndimage.binary_fill_holes(large) & sample
    return np.where(triangles, WSE2, np.where(sample, WS2, NOTHING))


def edges_of(found: np.ndarray) -> np.ndarray:
    """Places ``(n, 2)``, positions, half-way between WS2 and WSe2 beside each other."""
    places = []
    for axis in (0, 1):
        first, second = (np.moveaxis(found, axis, 0)[part] for part in (slice(-1), slice(1, None)))
        here = np.argwhere((first != second) & (first != NOTHING) & (second != NOTHING)) + np.array([0.5, 0.0])
        places.append(here[:, ::-1] if axis else here)
    return np.concatenate(places)


def outline(sheet: Specimen) -> np.ndarray:
    """Points of the true edges, 20 to a position."""
    parts = []
    for corners in sheet.triangles / STEP:
        for start, end in zip(corners, np.roll(corners, -1, 0), strict=True):
            t = np.linspace(0, 1, int(20 * np.hypot(*(end - start))))[:, None]
            parts.append(start + t * (end - start))
    return np.concatenate(parts)


def nearest(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of each place to the nearest of the others."""
    return np.asarray(np.hypot(*(places[:, None] - others).transpose(2, 0, 1)).min(1))


def matched(sheet: Specimen, cores: Sequence[Core]) -> tuple[np.ndarray, int]:
    """Distances of the dislocations that were found with the right Burgers vector, and the number of false ones."""
    left, distances = list(range(len(sheet.cores))), []
    for core in cores:
        at, burgers = np.array([core.ry, core.rx]), np.array([core.by, core.bx])
        right = [
            k for k in left
            if np.hypot(*(sheet.cores[k] / STEP - at)) <= 2 and np.hypot(*(sheet.burgers[k] - burgers)) < 0.1 * SMALLER
        ]  # fmt: skip
        if right:
            best = min(right, key=lambda k: np.hypot(*(sheet.cores[k] / STEP - at)))
            left.remove(best)
            distances.append(np.hypot(*(sheet.cores[best] / STEP - at)))
    return np.array(distances), len(cores) - len(distances)


def rows_of(scan: Scan, cores: Sequence[Core], specimen_maps: xr.Dataset) -> list[list[str]]:
    """Table of found against truth."""
    maps, truth = scan.maps, scan.truth
    sheet, sample, found = truth.sheet > 0.5, maps["sample"].values, phases_found(scan.maps)
    clear = ~sheet & (truth.support > 0.5)
    edges, true = edges_of(found), outline(scan.sheet)
    away, back = nearest(edges, true), nearest(true, edges)
    distances, false = matched(scan.sheet, cores)
    on = sheet & (found != NOTHING)
    slope, dipole, sigma = _across(scan, specimen_maps)
    steep, flat = np.abs(slope) > STEEP, np.hypot(*np.moveaxis(truth.slope, -1, 0)) < 1e-3
    flat &= (truth.sheet > 0.99) & np.isfinite(dipole)
    steep &= np.isfinite(dipole)
    surely = np.abs(dipole) > 3 * sigma
    return [
        ["sheet told from vacuum and support", f"{(sample == sheet).mean():.2%} of {sheet.size} positions"],
        ["bare positions told to be bare", f"{(~sample)[~sheet].mean():.2%} of {(~sheet).sum()}"],
        ["those with support alone", f"{(~sample)[clear].mean():.2%} of {clear.sum()}" if clear.any() else "none"],
        ["sheet with a value of strain", f"{maps['valid'].values[sheet].mean():.1%}"],
        ["WS2 told from WSe2", f"{((found == WSE2) == (truth.selenide > 0.5))[on].mean():.2%}"],
        ["triangles", f"{ndimage.label(found == WSE2)[1]} of {len(scan.sheet.triangles)}"],
        ["found edge to true edge", _spread(away)],
        ["true edge to found edge", _spread(back)],
        ["dislocations", f"{len(distances)} of {len(scan.sheet.cores)}, {(distances <= 1).sum()} within 1 position"],
        ["false dislocations", str(false)],
        [f"slope > {STEEP}: strain across the ripple", foreshortened(scan)],
        [f"slope > {STEEP}: dipole beyond 3 sigma", f"{surely[steep].mean():.0%} of {steep.sum()}"],
        ["flat: dipole beyond 3 sigma", f"{surely[flat].mean():.1%} of {flat.sum()}"],
        ["dipole against slope, correlation", f"{np.corrcoef(dipole[steep], slope[steep])[0, 1]:+.2f}"],
    ]  # fmt: skip


def foreshortened(scan: Scan) -> str:
    """Strain across the ripple where it is steep: mean error, and what the slope alone makes."""
    true, slope = true_strain(scan.truth, scan.maps["reference"].values), scan.truth.slope @ RIPPLE
    here = (np.abs(slope) > STEEP) & scan.maps["valid"].values
    y, x = RIPPLE
    along = [y * y * one["eyy"] + x * x * one["exx"] + 2 * x * y * one["exy"] for one in (scan.maps, true)]
    error = np.asarray(along[0] - along[1])[here]
    made = 1e3 * (1 / np.sqrt(1 + slope[here] ** 2) - 1).mean()
    found = f"mean error {1e3 * error.mean():+.2f}, mean absolute {1e3 * np.abs(error).mean():.2f}"
    return f"{found}, where the slope makes {made:.2f} (1e-3)"


def _spread(distance: np.ndarray) -> str:
    within = f"{(distance <= 1).mean():.1%} within 1"
    return f"median {np.median(distance):.2f}, 95 % within {np.quantile(distance, 0.95):.2f} positions, {within}"


def _across(scan: Scan, specimen_maps: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope across the ripple, the dipole along it, and its sigma."""
    dipole = RIPPLE[0] * specimen_maps["dipole_y"].values + RIPPLE[1] * specimen_maps["dipole_x"].values
    sigma = np.hypot(RIPPLE[0] * specimen_maps["dipole_y_sigma"], RIPPLE[1] * specimen_maps["dipole_x_sigma"])
    return scan.truth.slope @ RIPPLE, dipole, np.asarray(sigma)


def strain_rows(
    name: str, maps: xr.Dataset, true: dict[str, np.ndarray], where: np.ndarray, suffix: str = ""
) -> list[str]:
    """Errors in 1e-3 of strain and rotation, that of exx in pm, and z where sigmas are stated."""
    errors = [(maps[n + suffix].values - true[n])[where] for n in COMPONENTS]
    row = [name, str(where.sum()), *(f"{1e3 * np.abs(e).mean():.2f}" for e in errors)]
    row += [f"{PICOMETRES * np.abs(errors[0]).mean():.2f}", f"{PICOMETRES * np.median(np.abs(errors[0])):.2f}"]
    if f"exx{suffix}_sigma" not in maps:
        return [*row, ""]
    z = np.concatenate([e / maps[f"{n}{suffix}_sigma"].values[where] for e, n in zip(errors, COMPONENTS, strict=True)])
    return [*row, f"{np.sqrt(np.mean(z**2)):.2f} ({np.median(np.abs(z)) / 0.6745:.2f})"]


# --- py4DSTEM ----------------------------------------------------------------------------------------------------


def peer_maps(scan: Scan) -> xr.Dataset | None:
    """Maps of py4DSTEM, which is told the lattice, its rotation and the beam centre; none without its environment."""
    base = os.environ.get("CYCLESTRAIN_PEERS")
    folder = Path(base) / "py4dstem" if base else PEERS / ".venv-py4dstem"
    if not (folder / "bin" / "python").exists():
        return None
    sys.path.insert(0, str(PEERS))
    from compare import run_peer
    from lattice_fit import Told

    vectors = PIXELS * reflections()[0]
    shape, n = scan.truth.sheet.shape, scan.truth.sheet.shape[0]
    y, x = np.indices(shape) / n
    centre = (DETECTOR - 1) / 2 + np.stack([0.3 + 0.8 * y, -0.4 + 0.6 * x], -1)
    told = scan.path.with_name("told.npz")
    near = vectors[np.hypot(*vectors.T) < DETECTOR / 2 - RADIUS]
    Told(near, np.full(shape, TURN), centre, RADIUS).save(told)
    return run_peer("py4dstem", "poly", scan.path, told, scan.maps["reference"].values).maps


# --- figure and page ---------------------------------------------------------------------------------------------


def figure(
    scan: Scan, true: dict[str, np.ndarray], peer: xr.Dataset | None, cores: Sequence[Core], tilts: xr.Dataset
) -> Figure:
    """Truth, maps, dislocations and ripple."""
    drawn, axes = plt.subplots(3, 3, figsize=(9.2, 8.8), layout="constrained")
    truth, maps, found = scan.truth, scan.maps, phases_found(scan.maps)
    real = np.where(truth.sheet > 0.5, np.where(truth.selenide > 0.5, WSE2, WS2), NOTHING)
    for place, values, title in ((axes[0, 0], real, "truth"), (axes[0, 1], found, "found")):
        _phases(place, values, title)
    axes[0, 0].contour(truth.support, [0.5], colors="black", linewidths=0.7, linestyles="--")
    axes[0, 0].plot(*scan.sheet.cores.T[::-1] / STEP, "k.", markersize=3)
    size = PICOMETRES * np.where(maps["sample"].values, 1 + dilation(maps), np.nan)
    _map(axes[0, 2], size, "lattice constant (pm)", "cividis", (PICOMETRES - 1, 1.045 * PICOMETRES))
    for corners in scan.sheet.triangles / STEP:
        for place in (axes[0, 1], axes[0, 2]):
            place.fill(corners[:, 1], corners[:, 0], fill=False, edgecolor="black", linewidth=0.7)
    blank = np.where(truth.sheet > 0.5, 1.0, np.nan)
    _map(axes[1, 0], 100 * true["exx"] * blank, "exx (%), truth", "RdBu_r", (-4, 4))
    _map(axes[1, 1], 100 * maps["exx"].values, "exx (%), cyclestrain", "RdBu_r", (-4, 4))
    other = 100 * (peer["exx"].values if peer is not None else np.full(real.shape, np.nan))
    _map(axes[1, 2], other, "exx (%), py4DSTEM" + ("" if peer is not None else ": not installed"), "RdBu_r", (-4, 4))
    turn = np.rad2deg(maps["rotation"].values)
    _map(axes[2, 0], turn, f"rotation (degrees), {len(cores)} dislocations", "PuOr", (-1.5, 1.5))
    _arrows(axes[2, 0], cores)
    slope, dipole, sigma = _across(scan, tilts)
    _map(axes[2, 1], dipole / sigma, "dipole across the ripple / sigma", "PiYG", (-8, 8))
    _map(axes[2, 2], slope * blank, "slope across the ripple, truth", "PiYG_r", (-0.12, 0.12))
    return drawn


def _map(place: Axes, values: np.ndarray, title: str, colours: str, limits: tuple[float, float]) -> None:
    image = place.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    place.set_facecolor("0.85")
    place.figure.colorbar(image, ax=place, shrink=0.8, pad=0.02)
    _plain(place, title)


def _phases(place: Axes, values: np.ndarray, title: str) -> None:
    place.imshow(values, cmap=ListedColormap(["0.85", "#9ecae1", "#e6842a"]), vmin=-1, vmax=1, interpolation="nearest")
    _plain(place, f"{title}: WS$_2$ (blue), WSe$_2$ (orange)")


def _plain(place: Axes, title: str) -> None:
    place.set_title(title, fontsize=9)
    place.set_xticks([])
    place.set_yticks([])


def _arrows(place: Axes, cores: Sequence[Core]) -> None:
    length = 0.07 * np.ptp(place.get_xlim()) / SMALLER
    for core in cores:
        to = (core.rx + length * core.bx, core.ry + length * core.by)
        style = {"arrowstyle": "-|>", "color": "black", "linewidth": 0.8, "mutation_scale": 6, "shrinkA": 0}
        place.annotate("", to, (core.rx, core.ry), arrowprops=style)


def compared(scan: Scan, true: dict[str, np.ndarray], peer: xr.Dataset | None) -> tuple[list[list[str]], str]:
    """Table of the errors of strain, and what is to be said of py4DSTEM."""
    sheet, ours = scan.truth.sheet > 0.5, scan.maps["valid"].values
    rows = [
        strain_rows("cyclestrain", scan.maps, true, sheet & ours),
        strain_rows("cyclestrain, each pattern alone", scan.maps, true, sheet & ours, "_raw"),
    ]
    if peer is None:
        return rows, "py4DSTEM was not installed: it is left out."
    theirs = peer["valid"].values
    both = sheet & ours & theirs
    rows.append(strain_rows("py4DSTEM", peer, true, sheet & theirs))
    for name, maps in (("cyclestrain", scan.maps), ("py4DSTEM", peer)):
        rows.append(strain_rows(f"{name}, where both do", maps, true, both))
    return rows, (
        "py4DSTEM is told the lattice, its rotation, the beam centre and the radius (`benchmarks/peers`). It gives a "
        f"lattice at {theirs[~sheet].mean():.0%} of the positions without a sheet, at {theirs[sheet].mean():.1%} of "
        "the others."
    )


def cost(scan: Scan) -> str:
    """What the scan took."""
    drawn, mapped_in = scan.seconds
    each = 1e3 * mapped_in / scan.truth.sheet.size
    gigabytes = scan.path.stat().st_size / 1e9
    return (
        f"Simulating took {drawn:.0f} s, mapping {mapped_in:.0f} s of processor time ({each:.0f} ms per pattern); "
        f"the scan takes {gigabytes:.1f} GB of disk."
    )


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


def main() -> None:
    """Simulate, map, compare, write page and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scratch", type=Path, help="folder of scan and result; by default the same")
    parser.add_argument("--positions", type=int, default=128, help="along each side, 48 at least")
    parser.add_argument("--dose", type=float, default=2e5, help="electrons per pattern")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    scan = mapped(given.scratch or given.folder, given.positions, given.dose)
    tilts, cores = cs.tilt(scan.path.with_suffix(".nc")), cs.defects(scan.maps).cores
    peer, true = peer_maps(scan), true_strain(scan.truth, scan.maps["reference"].values)
    header = ["strain", "positions", "exx", "eyy", "exy (1e-3)", "rotation (mrad)", "pm", "median pm", "z (by median)"]
    rows, said = compared(scan, true, peer)
    table = markdown(["found", "against the truth"], rows_of(scan, cores, tilts)) + "\n\n" + markdown(header, rows)
    print(table, said, sep="\n\n")
    page = PAGE.format(
        positions=given.positions, step=STEP, detector=DETECTOR, dose=given.dose, table=table, peer=said, pm=PICOMETRES,
        cost=cost(scan), smallest=SMALLEST,
    )  # fmt: skip
    (given.folder / "ws2_wse2.md").write_text(page, encoding="utf-8")
    figure(scan, true, peer, cores, tilts).savefig(given.folder / "ws2_wse2.png", dpi=110)


if __name__ == "__main__":
    main()
