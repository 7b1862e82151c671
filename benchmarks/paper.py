"""The table and the figure of the method's paper, redrawn from one run: 13 backgrounds, three seeds, peers beside us.

    python benchmarks/paper.py --quick      # three levels, one seed, minutes
    python benchmarks/paper.py              # what is in docs/benchmark, about an hour on two cores
    python benchmarks/paper.py --resume     # go on from the paper.csv that is there

Every method gets the same files. The peers are told the rotation of every grain, the lattice, the beam centre and the
radius of the disks, and run in their faster mode (`benchmarks/table.py` has both); cyclestrain is told that the
detector is round. Errors are means over all positions, boundaries included, as in figure 3 of the paper. Figure 2 is
the scan at 25 %: mean intensity, one pattern without and with its background, maps and histograms of py4DSTEM and
of cyclestrain. Writes `paper.md`, `paper.csv` and `paper.png`.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from measuring import ROUND, SimulatedFile, markdown, simulated_file
from table import COMPONENTS, PEER_NAMES, published
from table import LEVELS as ALL_LEVELS

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import compare as peers

import cyclestrain as cs
from cyclestrain.display.ranges import symmetric_scale
from cyclestrain.evaluation import compare, relative_truth
from cyclestrain.figures import save_figure
from cyclestrain.figures.maps import DIVERGING, PATTERN, draw_colour_bar, draw_histogram, draw_map
from cyclestrain.figures.page import NOTE_SIZE, TITLE_SIZE, Box, Page

LEVELS = tuple(level for level in ALL_LEVELS if level <= 0.7)
SEEDS = (611, 612, 613)
SHOWN = 0.25
"""Background of the figure."""
OURS = "cyclestrain"
METHODS = (*PEER_NAMES.values(), OURS)
SIDE, GAP, HISTOGRAM, LEFT, TOP = 38.0, 4.0, 12.0, 16.0, 12.0
"""Panels, gaps, histograms and margins of the figure, millimetres."""


@dataclass(frozen=True)
class Row:
    """Mean absolute error of one method on one scan, all positions."""

    background: float
    seed: int
    method: str
    exx: float
    eyy: float
    exy: float


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="0, 25 and 60 %%, one seed, 24 x 24")
    parser.add_argument("--scan", type=int, help="positions along each side, by default 32")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--levels", nargs="+", type=float, help="background shares")
    parser.add_argument("--resume", action="store_true", help="keep the scans that paper.csv has")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "benchmark")
    given = parser.parse_args()
    given.scan = given.scan or (24 if given.quick else 32)
    given.seeds = given.seeds or list(SEEDS[:1] if given.quick else SEEDS)
    given.levels = given.levels or ((0.0, 0.25, 0.6) if given.quick else LEVELS)
    return given


def main() -> None:
    """Measure, then write table and figure; what is done is written after every scan."""
    given = parse_arguments()
    given.output.mkdir(parents=True, exist_ok=True)
    rows = read(given.output / "paper.csv") if given.resume else []
    with tempfile.TemporaryDirectory() as temporary:
        for background in given.levels:
            for seed in given.seeds:
                drawn = background == SHOWN and seed == given.seeds[0]
                if not drawn and any((row.background, row.seed) == (background, seed) for row in rows):
                    continue
                made = simulated_file(
                    Path(temporary), f"{background:g}_{seed}",
                    {"background": background, "counts": 1e5, "seed": seed, "scan": (given.scan, given.scan)},
                )  # fmt: skip
                maps = dict(found(made, seed))
                rows = [row for row in rows if (row.background, row.seed) != (background, seed)]
                rows += [errors(method, one, made, background, seed) for method, one in maps.items()]
                write(rows, given)
                if drawn:
                    draw(maps, made, given.output / "paper.png")
                made.scan.unlink()
    print((given.output / "paper.md").read_text())


def found(made: SimulatedFile, seed: int) -> Iterator[tuple[str, xr.Dataset]]:
    """Maps of every method of one scan, relative to the same region."""
    reference = np.load(made.reference)
    told = peers.tell(made.truth, made.scan.with_suffix(".npz"))
    for peer, name in PEER_NAMES.items():
        yield name, peers.run_peer(peer, next(iter(peers.MODES[peer])), made.scan, told, reference, fold=6).maps
    yield OURS, cs.map(made.scan, seed=seed, reference=str(made.reference), ellipse=ROUND)


def errors(method: str, maps: xr.Dataset, made: SimulatedFile, background: float, seed: int) -> Row:
    """Mean absolute errors of one map."""
    accuracy = compare(maps, made.truth)
    mae = {name: getattr(accuracy, name).mae for name in COMPONENTS}
    print(f"{background:.0%} {seed} {method}: {mae['exx']:.2e}", file=sys.stderr, flush=True)
    return Row(background, seed, method, **mae)


def read(path: Path) -> list[Row]:
    """Rows of an earlier run, none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            Row(float(row["background"]), int(row["seed"]), row["method"], *(float(row[name]) for name in COMPONENTS))
            for row in csv.DictReader(file)
        ]


def write(rows: list[Row], given: argparse.Namespace) -> None:
    """Write every scan into `paper.csv`, and means over the seeds beside the published errors into `paper.md`."""
    rows = sorted(rows, key=lambda row: (row.background, row.seed, METHODS.index(row.method)))
    with (given.output / "paper.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    columns = ["background", "CC-ST-AE, published", *METHODS]
    known = {background: one for (background, _), one in published().items()}
    parts = [
        "# The paper's table and figure",
        f"`python benchmarks/paper.py`: simulated polycrystals of {given.scan} x {given.scan} positions, 1e5 electrons "
        f"per pattern, means over seeds {', '.join(map(str, given.seeds))}; mean absolute error over all positions, "
        "1e-3. The peers are told lattice, rotation of every grain, beam centre and disk radius. *Published* are the "
        "errors of the method's paper on its own scans of the same kind.",
        "![Strain maps and histograms at 25 % background](paper.png)",
    ]
    for name in COMPONENTS:
        lines = []
        for background in sorted({row.background for row in rows}):
            cells = [f"{1e3 * known[background][name]:.1f}" if background in known else "-"]
            for method in METHODS:
                own = [getattr(row, name) for row in rows if (row.background, row.method) == (background, method)]
                cells.append(f"{1e3 * float(np.mean(own)):.2f}" if own else "-")
            lines.append([f"{background:.0%}", *cells])
        parts.append(f"## {name}\n\n{markdown(columns, lines)}")
    (given.output / "paper.md").write_text("\n\n".join(parts) + "\n")


def draw(maps: dict[str, xr.Dataset], made: SimulatedFile, path: Path) -> None:
    """The scan at 25 %: what was recorded, then maps and histograms of the truth, py4DSTEM and cyclestrain."""
    truth = relative_truth(maps[OURS], made.truth)
    shown = {"truth": truth, "py4DSTEM": maps["py4DSTEM"], OURS: maps[OURS]}
    height = TOP + SIDE + 8 + len(shown) * (SIDE + HISTOGRAM + GAP) + 10
    page = Page(height, LEFT + 3 * (SIDE + GAP) + 8)
    page.text(4.0, 3.0, "Simulated polycrystal, 25 % of the counts in the background", size=TITLE_SIZE, weight="bold")
    draw_recorded(page, made)
    scale = symmetric_scale(np.concatenate([100 * truth[name].values.ravel() for name in COMPONENTS]))
    for row, (method, one) in enumerate(shown.items()):
        top = TOP + SIDE + 8 + row * (SIDE + HISTOGRAM + GAP)
        page.text(LEFT - 4, top + SIDE / 2, method, size=TITLE_SIZE, rotation=90, ha="center", va="center")
        for column, name in enumerate(COMPONENTS):
            box = Box(LEFT + column * (SIDE + GAP), top, SIDE, SIDE)
            if row == 0:
                page.text(box.left, top - 1.0, f"{name} (%)", size=NOTE_SIZE, va="baseline")
            values = np.ma.masked_invalid(100 * one[name].where(one["valid"] if "valid" in one else True).values)
            draw_map(page.axes(box), values, scale, DIVERGING)
            draw_histogram(page.axes(box.below(0.5, HISTOGRAM - 1)), values, scale)
    draw_colour_bar(page.axes(Box(LEFT, page.height - 7, SIDE, 2.0)), scale, DIVERGING)
    save_figure(page.figure, path)


def draw_recorded(page: Page, made: SimulatedFile) -> None:
    """Counts of every position, a pattern inside a grain without background, and the same as recorded."""
    scan, inside = cs.read(made.scan), np.argwhere(np.load(made.reference))
    row, column = inside[len(inside) // 2]
    recorded = np.asarray(scan.source[row, column], float)
    clean = cs.simulate("polycrystal", **simulation_of(made)).scan.source[row, column]
    sums = np.asarray(scan.source[:, :], np.float64).sum((2, 3))
    panels = (
        ("counts of every position", sums, "gray"),
        ("one pattern, no background", np.sqrt(np.asarray(clean, float)), PATTERN),
        ("the same with 25 %", np.sqrt(recorded), PATTERN),
    )
    for column, (title, image, colours) in enumerate(panels):
        box = Box(LEFT + column * (SIDE + GAP), TOP, SIDE, SIDE)
        page.text(box.left, box.top - 1.0, title, size=NOTE_SIZE, va="baseline")
        axes = page.axes(box)
        axes.imshow(image, cmap=colours, vmax=np.quantile(image, 0.99 if column else 1.0), interpolation="nearest")
        axes.set(xticks=[], yticks=[])


def simulation_of(made: SimulatedFile) -> dict[str, object]:
    """How to simulate the scan of a file again, without its background."""
    seed = int(made.scan.stem.split("_")[1])
    return {"background": 0.0, "counts": 1e5, "seed": seed, "scan": (made.truth.sizes["ry"], made.truth.sizes["rx"])}


if __name__ == "__main__":
    sys.exit(main())
