"""Dynamical contrast: `cyclestrain map`, py4DSTEM and quantem on multislice scans.

    python benchmarks/dynamical.py --folder multislice-scans    # makes the scans where they are missing, minutes
    python benchmarks/dynamical.py --peers                      # ours alone
    python benchmarks/dynamical.py --sets develop               # the thick crystals to work on; `held-out`: to report

Interior mean absolute error of strained silicon (20 to 40 nm, tilts to 3 mrad) and of a WS2/WSe2 monolayer at 0, 25 and
60 % background, without noise at 0 %, or, with `--sets`, of the many kinds of `cyclestrain.simulation.thick` at 25 and
60 % (with `--levels` at others, with `--shape` under another background). The peers are told the rotation, the lattice,
the beam centre and the disks' radius, and have the better of their two modes on every scan. Writes `dynamical.md` and
`dynamical.png`, or `thick-develop.md` and `thick-held-out.md`, into the output folder. Needs the extra `multislice`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from measuring import markdown

sys.path.insert(0, str(Path(__file__).parent / "peers"))
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import compare as peers
from multislice import BACKGROUNDS, SPECIMENS, recorded

import cyclestrain as cs
from cyclestrain.errors import InputError
from cyclestrain.evaluation import compare
from cyclestrain.io import read
from cyclestrain.simulation import SimulatedScan, load_truth, save
from cyclestrain.simulation.thick import FLAT, NEEDLE, PEAK, SETS, SHARP, SMOOTH

COMPONENTS = ("exx", "eyy", "exy")
TITLES = {"silicon": "silicon, 20 to 40 nm", "heterostructure": "WS2/WSe2 monolayer"}
THICK_BACKGROUNDS = (0.25, 0.6)
SHAPES = {"flat": FLAT, "smooth": SMOOTH, "peak": PEAK, "sharp": SHARP, "needle": NEEDLE}


@dataclass(frozen=True)
class Row:
    """One method on one scan: interior mean absolute error of each component (as a fraction) and std of error / sigma.

    `valid` is the share of the positions that are; z is NaN for methods without sigma.
    """

    specimen: str
    background: float
    method: str
    error: tuple[float, ...]
    z: tuple[float, ...]
    valid: float


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("multislice-scans"), help="scans, made where missing")
    parser.add_argument("--scan", type=int, default=24, help="positions along each side")
    parser.add_argument("--sets", choices=["develop", "held-out"], help="thick crystals of many kinds instead")
    parser.add_argument("--seed", type=int, default=1, help="of the noise of thick crystals")
    parser.add_argument("--levels", nargs="+", type=float, default=THICK_BACKGROUNDS, help="backgrounds of these")
    parser.add_argument("--shape", choices=list(SHAPES), help="of these backgrounds, by default each set's own")
    parser.add_argument("--peers", nargs="*", choices=["py4dstem", "quantem"], default=["py4dstem", "quantem"])
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "benchmark")
    return parser.parse_args()


HEAD = """\
# Thick crystals of many kinds, {sets}

`python benchmarks/dynamical.py --sets {sets} --scan {scan} --seed {seed}{options} --peers`: multislice scans of
{scan} x {scan} positions (`cyclestrain.simulation.thick`); errors over the valid positions, relative to the unstrained
part.

"""


def main() -> None:
    """Measure, then write table and figure."""
    given = parse_arguments()
    for folder in (given.folder, given.output):
        folder.mkdir(parents=True, exist_ok=True)
    if given.sets:
        rows = [row for name in thick_names(given.sets) for b in given.levels for row in measure_thick(name, b, given)]
        table = text(rows, more=True)
        options = "" if tuple(given.levels) == THICK_BACKGROUNDS else f" --levels {' '.join(map(str, given.levels))}"
        options += f" --shape {given.shape}" if given.shape else ""
        ending = options.replace(" --levels", "").replace(" --shape", "").replace(" ", "-")
        page = HEAD.format(**vars(given), options=options) + table
        (given.output / f"thick-{given.sets}{ending}.md").write_text(page)
        print(table)
        return
    rows = []
    maps: dict[str, xr.Dataset] = {}
    for specimen in SPECIMENS:
        for background in BACKGROUNDS:
            path = recorded(given.folder, specimen, background, given.scan)
            for method, found, estimate in _methods(path, given):
                rows.append(measured(TITLES[specimen], background, method, found, load_truth(path), estimate))
                if specimen == "silicon" and background == BACKGROUNDS[1]:
                    maps[method] = xr.Dataset({name: found[_named(name, estimate)] for name in COMPONENTS})
    table = text(rows)
    (given.output / "dynamical.md").write_text(f"# Thick crystals\n\n{table}")
    draw(maps, truth_of("silicon", BACKGROUNDS[1], given), given.output / "dynamical.png")
    print(table)


def thick_names(which: str) -> list[str]:
    """Names of the sets to work on, or of those to report on."""
    return [name for name, entry in SETS.items() if entry.held_out == (which == "held-out")]


def recorded_thick(name: str, background: float, given: argparse.Namespace) -> Path:
    """File of a thick crystal under its background, made if the folder does not hold it."""
    plain = name.replace(" ", "-").translate(str.maketrans("", "", "[],"))
    clean = given.folder / f"{plain}_{given.scan}.h5"
    if not clean.exists():
        save(SETS[name].make((given.scan, given.scan)), clean)
    path = clean.with_name(f"{clean.stem}_{background:g}{given.shape or ''}_{given.seed}.h5")
    if not path.exists():
        made, shape = SimulatedScan(read(clean), load_truth(clean)), SHAPES.get(given.shape)
        save(SETS[name].record(made, background=background, seed=given.seed, shape=shape), path)
    return path


def measure_thick(name: str, background: float, given: argparse.Namespace) -> Iterator[Row]:
    """All methods on one thick crystal; one that a method refuses has no row of it."""
    path = recorded_thick(name, background, given)
    try:
        for method, found, estimate in _methods(path, given):
            yield measured(name, background, method, found, load_truth(path), estimate)
    except InputError as error:
        print(f"{name} {background}: {error}", file=sys.stderr, flush=True)


def measured(title: str, background: float, method: str, found: xr.Dataset, truth: xr.Dataset, estimate: str) -> Row:
    """Compare the maps of a method with the truth."""
    accuracy = compare(found, truth, estimate)
    parts = [getattr(accuracy, name) for name in COMPONENTS]
    valid = float(found["valid"].mean()) if "valid" in found else 1.0
    error, z = tuple(p.mae_interior for p in parts), tuple(p.z_std for p in parts)
    print(title, background, method, *(f"{1e3 * e:.2f} ({w:.2f})" for e, w in zip(error, z, strict=True)),
          file=sys.stderr, flush=True)  # fmt: skip
    return Row(title, background, method, error, z, valid)


def truth_of(specimen: str, background: float, given: argparse.Namespace) -> xr.Dataset:
    """Truth of a scan, relative to the lattice of its grain 0, which is the reference."""
    return load_truth(recorded(given.folder, specimen, background, given.scan))


def _named(name: str, estimate: str) -> str:
    return f"{name}_{estimate}" if estimate else name


def _methods(path: Path, given: argparse.Namespace) -> Iterator[tuple[str, xr.Dataset, str]]:
    """Method, maps and which estimate of them."""
    truth = load_truth(path)
    reference, told = path.with_name(f"{path.stem}_reference.npy"), path.with_name(f"{path.stem}_told.npz")
    mask = (truth["grain"].values == 0) & truth["interior"].values
    np.save(reference, mask)
    peers.tell(truth, told)
    for peer in given.peers:
        runs = [peers.run_peer(peer, mode, path, told, mask).maps for mode in peers.MODES[peer]]
        yield peer, min(runs, key=lambda found: compare(found, truth).exx.mae_interior), ""
    maps = cs.map(path, reference=str(reference))
    yield "cyclestrain raw", maps, "raw"
    yield "cyclestrain context", maps, ""


def text(rows: list[Row], *, more: bool = False) -> str:
    """Markdown table, one line for each scan and method, with `more` also z of exx and eyy and what is valid."""
    header = ["specimen", "background", "method", *(f"MAE {name}, 1e-3" for name in COMPONENTS)]
    cells = [[r.specimen, f"{r.background:.0%}", r.method, *(f"{1e3 * error:.2f}" for error in r.error)] for r in rows]
    if more:
        header += ["error / sigma exx", "error / sigma eyy", "valid"]
        for cell, r in zip(cells, rows, strict=True):
            cell += [*("" if np.isnan(z) else f"{z:.2f}" for z in r.z[:2]), f"{r.valid:.0%}"]
    return markdown(header, cells) + "\n"


def draw(maps: dict[str, xr.Dataset], truth: xr.Dataset, path: Path) -> None:
    """Maps of exx and eyy of silicon by every method beside the truth."""
    import matplotlib as mpl

    mpl.use("Agg")
    from cmcrameri import cm
    from matplotlib import pyplot as plt

    shown = {"truth": truth, **maps}
    figure, axes = plt.subplots(2, len(shown), figsize=(2.3 * len(shown), 4.6), squeeze=False, layout="constrained")
    for row, name in zip(axes, ("exx", "eyy"), strict=True):
        for ax, (title, values) in zip(row, shown.items(), strict=True):
            image = ax.imshow(100 * values[name].values, cmap=cm.vik, vmin=-2, vmax=2)
            ax.set(xticks=[], yticks=[], title=title if name == "exx" else "")
        row[0].set_ylabel(name)
        figure.colorbar(image, ax=row, label=f"{name} / %", shrink=0.9)
    figure.savefig(path, dpi=140)
    plt.close(figure)


if __name__ == "__main__":
    main()
