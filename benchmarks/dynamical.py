"""Dynamical contrast: `cyclestrain map`, py4DSTEM and quantem on the multislice scans of `examples/multislice.py`.

    python benchmarks/dynamical.py --folder multislice-scans    # makes the scans where they are missing, minutes
    python benchmarks/dynamical.py --peers                      # ours alone

Interior mean absolute error of strained silicon (20 to 40 nm, tilts to 3 mrad) and of a WS2/WSe2 monolayer at 0, 25 and
60 % background, without noise at 0 %. The peers are told the rotation, the lattice, the beam centre and the disks'
radius, and have the better of their two modes on every scan. Writes `dynamical.md` and `dynamical.png` into the output
folder. Needs the extra `multislice`.
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
from cyclestrain.evaluation import compare
from cyclestrain.simulation import load_truth

COMPONENTS = ("exx", "eyy", "exy")
TITLES = {"silicon": "silicon, 20 to 40 nm", "heterostructure": "WS2/WSe2 monolayer"}


@dataclass(frozen=True)
class Row:
    """One method on one scan: interior mean absolute error of each component, as a fraction."""

    specimen: str
    background: float
    method: str
    error: tuple[float, ...]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("multislice-scans"), help="scans, made where missing")
    parser.add_argument("--scan", type=int, default=24, help="positions along each side")
    parser.add_argument("--peers", nargs="*", choices=["py4dstem", "quantem"], default=["py4dstem", "quantem"])
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "benchmark")
    return parser.parse_args()


def main() -> None:
    """Measure, then write table and figure."""
    given = parse_arguments()
    for folder in (given.folder, given.output):
        folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    maps: dict[str, xr.Dataset] = {}
    for specimen in SPECIMENS:
        for background in BACKGROUNDS:
            for method, found, estimate in _methods(specimen, background, given):
                accuracy = compare(found, truth_of(specimen, background, given), estimate)
                error = tuple(getattr(accuracy, name).mae_interior for name in COMPONENTS)
                rows.append(Row(specimen, background, method, error))
                print(specimen, background, method, *(f"{1e3 * e:.2f}" for e in error), file=sys.stderr, flush=True)
                if specimen == "silicon" and background == BACKGROUNDS[1]:
                    maps[method] = xr.Dataset({name: found[_named(name, estimate)] for name in COMPONENTS})
    table = text(rows)
    (given.output / "dynamical.md").write_text(table)
    draw(maps, truth_of("silicon", BACKGROUNDS[1], given), given.output / "dynamical.png")
    print(table)


def truth_of(specimen: str, background: float, given: argparse.Namespace) -> xr.Dataset:
    """Truth of a scan, relative to the lattice of its grain 0, which is the reference."""
    return load_truth(recorded(given.folder, specimen, background, given.scan))


def _named(name: str, estimate: str) -> str:
    return f"{name}_{estimate}" if estimate else name


def _methods(specimen: str, background: float, given: argparse.Namespace) -> Iterator[tuple[str, xr.Dataset, str]]:
    """Method, maps and which estimate of them."""
    path = recorded(given.folder, specimen, background, given.scan)
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


def text(rows: list[Row]) -> str:
    """Markdown table, one line for each scan and method."""
    header = ["specimen", "background", "method", *(f"MAE {name}, 1e-3" for name in COMPONENTS)]
    cells = [
        [TITLES[r.specimen], f"{r.background:.0%}", r.method, *(f"{1e3 * error:.2f}" for error in r.error)]
        for r in rows
    ]
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
