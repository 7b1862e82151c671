"""The published benchmark and beyond, every method on the same files: accuracy, bias, scatter, failures and speed.

    python benchmarks/table.py --quick              # three levels, small scans, minutes
    python benchmarks/table.py                      # everything that goes into docs/benchmark, hours on two cores
    python benchmarks/table.py --levels 0.25 0.6 --doses --scan 32 --seeds 101 102

Backgrounds of 0 to 70 % in the 13 published levels, 80 and 90 %, and 1e3 to 1e6 electrons at 25 %. py4DSTEM and quantem
run in their own environments with settings in their favour and are told the rotation of every grain; they are slow, so
they take the first seed only. Errors over all positions stand beside the published ones of the method's paper
(`published.csv`). Writes `table.md`, `table.csv` and `error.png` into the output folder after every scan; `--resume`
goes on from the `table.csv` that is there.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from measuring import ROUND, SimulatedFile, bound, markdown, simulated_file

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import compare as peers

import cyclestrain as cs
from cyclestrain.evaluation import Accuracy, compare
from cyclestrain.evaluation.bound import MEAN_OVER_STD

LEVELS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
DOSES = (1e3, 1e4, 1e6)
"""Electrons per pattern beside the benchmark's, at `DOSE_LEVEL`."""
DOSE, DOSE_LEVEL = 1e5, 0.25
COMPONENTS = ("exx", "eyy", "exy")
METHODS = ("py4DSTEM", "quantem", "cyclestrain network", "cyclestrain raw", "cyclestrain context", "bound")
PUBLISHED = "CC-ST-AE, published"
PEER_NAMES = {"py4dstem": "py4DSTEM", "quantem": "quantem"}
RUNS = (*PEER_NAMES, "network", "context")


@dataclass(frozen=True)
class Figures:
    """One method at one condition, seed and component; strain as a fraction, NaN where a measure does not apply.

    Attributes
    ----------
    background, counts, seed
        The condition.
    method, mode
        Which tool, and the way it refined disks below a pixel.
    component
        ``exx``, ``eyy`` or ``exy``.
    mae, mae_interior, bias, bias_max, scatter
        Mean absolute error over all positions and over the interior, rms and largest bias of a grain of at least 200
        positions, scatter around it.
    z_std, coverage_68, coverage_95
        Standard deviation of error over stated sigma, share of the errors within 1 and 1.96 sigma, interior; NaN for
        the peers and the bound, which have no stated sigma.
    failures
        Share of the interior off by more than 1 degree or without a result.
    patterns_per_second
        Of the whole run.
    """

    background: float
    counts: float
    seed: int
    method: str
    mode: str
    component: str
    mae: float
    mae_interior: float
    bias: float
    bias_max: float
    scatter: float
    z_std: float
    coverage_68: float
    coverage_95: float
    failures: float
    patterns_per_second: float


@dataclass(frozen=True)
class Measure:
    """What `table.md` says of a field of `Figures`.

    Attributes
    ----------
    field, title
        Name of the field, and the heading.
    scale, digits
        Factor from the field to the unit of the table, and digits behind the point.
    components
        A section each; an empty name where the field is the same for all.
    """

    field: str
    title: str
    scale: float = 1e4
    digits: int = 2
    components: tuple[str, ...] = COMPONENTS

    def cell(self, value: float) -> str:
        """Value as the table shows it."""
        return f"{value * self.scale:.{self.digits}f}" if np.isfinite(value) else "-"


MEASURES = (
    Measure("mae_interior", "MAE, interior"),
    Measure("mae", "MAE, all positions"),
    Measure("bias", "bias per grain, rms"),
    Measure("bias_max", "bias per grain, largest"),
    Measure("scatter", "scatter"),
    Measure("z_std", "error over stated sigma, standard deviation", 1.0),
    Measure("coverage_68", "within 1 sigma, % (68.3)", 1e2, 1, ("exx",)),
    Measure("coverage_95", "within 1.96 sigma, % (95)", 1e2, 1, ("exx",)),
    Measure("failures", "failures, % of the interior", 1e2, 2, ("",)),
    Measure("patterns_per_second", "patterns/s, everything but start-up", 1.0, 0, ("",)),
)


@dataclass(frozen=True)
class Condition:
    """One simulated scan."""

    background: float
    counts: float
    seed: int


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="0, 25 and 60 %%, one dose, 24 x 24, fast modes of the peers"
    )
    parser.add_argument("--levels", nargs="*", type=float, default=None, help="background shares")
    parser.add_argument("--doses", nargs="*", type=float, default=None, help="electrons per pattern at 25 %%")
    parser.add_argument("--scan", type=int, default=None, help="positions along each side")
    parser.add_argument("--seeds", nargs="+", type=int, default=None)
    parser.add_argument(
        "--methods", nargs="+", choices=RUNS, default=RUNS, help="what is run; context gives raw as well"
    )
    parser.add_argument("--peer-seeds", nargs="*", type=int, default=None, help="seeds of the peers; the first of all")
    parser.add_argument("--resume", action="store_true", help="keep the scans that table.csv has")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "benchmark")
    parser.add_argument("--folder", type=Path, help="keep the simulated scans here and use those that are there")
    given = parser.parse_args()
    quick = given.quick
    given.levels = ((0.0, 0.25, 0.6) if quick else LEVELS) if given.levels is None else given.levels
    given.doses = (() if quick else DOSES) if given.doses is None else given.doses
    given.scan = given.scan or (24 if quick else 48)
    given.seeds = given.seeds or ([101] if quick else [101, 102, 103])
    given.peer_seeds = given.seeds[:1] if given.peer_seeds is None else given.peer_seeds
    return given


def main() -> None:
    """Measure, then write table, CSV and figure; what is done is written after every condition."""
    given = parse_arguments()
    given.output.mkdir(parents=True, exist_ok=True)
    wanted = [(level, DOSE) for level in given.levels] + [(DOSE_LEVEL, dose) for dose in given.doses]
    figures = read(given.output / "table.csv") if given.resume else []
    done = {Condition(row.background, row.counts, row.seed) for row in figures}
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for background, counts in wanted:
            for seed in given.seeds:
                condition = Condition(background, counts, seed)
                if condition not in done:
                    figures += measure(condition, folder, given)
                    write(figures, given)
    write(figures, given)
    print((given.output / "table.md").read_text())


def measure(condition: Condition, folder: Path, given: argparse.Namespace) -> list[Figures]:
    """Every method on one scan."""
    name = f"{condition.background:g}_{condition.counts:g}_{given.scan}_{condition.seed}"
    simulated = simulated_file(folder, name, asdict(condition) | {"scan": (given.scan, given.scan)})
    figures: list[Figures] = []
    for method, mode, accuracy, speed in _methods(simulated, condition, folder / f"{name}_told.npz", given):
        print(f"{name} {method} {mode}: {accuracy.exx.mae_interior:.2e}, {speed:.0f}/s", file=sys.stderr, flush=True)
        figures += _figures(condition, method, mode, accuracy, speed)
    if condition.background > 0:
        figures += _bound_figures(condition, simulated)
    if given.folder is None:
        simulated.scan.unlink()
    return figures


def _methods(
    simulated: SimulatedFile, condition: Condition, told: Path, given: argparse.Namespace
) -> Iterator[tuple[str, str, Accuracy, float]]:
    """Method, mode, accuracy and patterns per second of every run."""
    reference = np.load(simulated.reference)
    peers.tell(simulated.truth, told)
    for peer in PEER_NAMES:
        if peer not in given.methods or condition.seed not in given.peer_seeds:
            continue
        modes = list(peers.MODES[peer])
        for mode in modes[:1] if given.quick else modes:
            made = peers.run_peer(peer, mode, simulated.scan, told, reference)
            yield PEER_NAMES[peer], mode, compare(made.maps, simulated.truth), made.patterns_per_second
    for until, estimates in (("network", {"": "network"}), ("context", {"raw": "raw", "": "context"})):
        if until not in given.methods:
            continue
        start = time.perf_counter()
        try:
            told = {"reference": str(simulated.reference), "ellipse": ROUND}
            maps = cs.map(simulated.scan, until=until, seed=condition.seed, **told)
        except cs.CyclestrainError:
            traceback.print_exc()
            continue
        speed = maps["valid"].size / (time.perf_counter() - start)
        for estimate, label in estimates.items():
            yield f"cyclestrain {label}", "", compare(maps, simulated.truth, estimate), speed


def _figures(condition: Condition, method: str, mode: str, accuracy: Accuracy, speed: float) -> Iterator[Figures]:
    for name in COMPONENTS:
        part = getattr(accuracy, name)
        yield Figures(
            **asdict(condition), method=method, mode=mode, component=name, mae=part.mae, mae_interior=part.mae_interior,
            bias=part.bias_rms_large, bias_max=part.bias_max_large, scatter=part.scatter, z_std=part.z_std,
            coverage_68=part.coverage_68, coverage_95=part.coverage_95, failures=accuracy.failure_share,
            patterns_per_second=speed,
        )  # fmt: skip


def _bound_figures(condition: Condition, simulated: SimulatedFile) -> Iterator[Figures]:
    limit, nan = bound(simulated), float("nan")
    for name in COMPONENTS:
        yield Figures(
            **asdict(condition), method="bound", mode="", component=name, mae=nan,
            mae_interior=MEAN_OVER_STD * limit[name], bias=0.0, bias_max=0.0, scatter=limit[name], z_std=nan,
            coverage_68=nan, coverage_95=nan, failures=0.0, patterns_per_second=nan,
        )  # fmt: skip


def best_modes(figures: Iterable[Figures]) -> list[Figures]:
    """At every condition only the mode of a peer with the smallest interior error of exx."""
    chosen: dict[tuple[Condition, str], str] = {}
    smallest: dict[tuple[Condition, str], float] = {}
    rows = list(figures)
    for row in rows:
        key = (Condition(row.background, row.counts, row.seed), row.method)
        error = row.mae_interior if np.isfinite(row.mae_interior) else np.inf
        if row.component == "exx" and error <= smallest.get(key, np.inf):
            chosen[key], smallest[key] = row.mode, error
    return [r for r in rows if chosen[Condition(r.background, r.counts, r.seed), r.method] == r.mode]


def averages(figures: list[Figures], measure: str, component: str) -> dict[tuple[float, float], dict[str, float]]:
    """Mean over the seeds by ``(background, counts)`` and method."""
    collected: dict[tuple[float, float], dict[str, list[float]]] = {}
    for row in figures:
        if row.component == component:
            by_method = collected.setdefault((row.background, row.counts), {})
            by_method.setdefault(row.method, []).append(getattr(row, measure))
    return {key: {m: float(np.mean(v)) for m, v in methods.items()} for key, methods in collected.items()}


def read(path: Path) -> list[Figures]:
    """Figures of an earlier run, none where there is no file."""
    if not path.exists():
        return []
    types = {name: {"str": str, "int": int}.get(str(kind), float) for name, kind in Figures.__annotations__.items()}
    with path.open(newline="") as file:
        return [Figures(**{name: types[name](text) for name, text in row.items()}) for row in csv.DictReader(file)]


def published() -> dict[tuple[float, float], dict[str, float]]:
    """Errors over all positions of the method's paper by ``(background, counts)`` and component."""
    with (Path(__file__).parent / "published.csv").open(newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {(float(row["background"]), DOSE): {name: float(row[name]) for name in COMPONENTS} for row in rows}


def write(figures: list[Figures], given: argparse.Namespace) -> None:
    """Write every run into `table.csv`, means over seeds (of the peers' best mode) into `table.md` and the figure."""
    with (given.output / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(Figures.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in figures)
    best = best_modes(figures)
    (given.output / "table.md").write_text(_text(best, given))
    _draw(best, given.output / "error.png")


def _text(best: list[Figures], given: argparse.Namespace) -> str:
    parts = [
        "# Beside other tools" if set(PEER_NAMES) & set(given.methods) else "# Precision",
        f"Scans of {given.scan} x {given.scan} positions, means over seeds {', '.join(map(str, given.seeds))}; strain "
        "in units of 1e-4. `bound` is the Cramer-Rao bound of one pattern; only neighbours can beat it.",
    ]
    if set(PEER_NAMES) & set(given.methods):
        seeds = ", ".join(map(str, given.peer_seeds))
        parts.append(f"Peers are told the rotation of every grain, and have the best of their modes (seeds: {seeds}).")
    parts += [_section(measure, component, best) for measure in MEASURES for component in measure.components]
    return "\n\n".join(parts) + "\n"


def _section(measure: Measure, component: str, best: list[Figures]) -> str:
    """One measure of one component, methods side by side; a method that has no value anywhere is left out."""
    table = averages(best, measure.field, component or COMPONENTS[0])
    columns = {m: {key: methods.get(m, np.nan) for key, methods in table.items()} for m in METHODS}
    columns = {m: column for m, column in columns.items() if np.isfinite(list(column.values())).any()}
    if measure.field == "mae":
        columns = {PUBLISHED: {key: errors[component] for key, errors in published().items()}} | columns
    rows = [
        [f"{background:.0%}", f"{counts:.0e}".replace("e+0", "e")]
        + [measure.cell(column.get((background, counts), np.nan)) for column in columns.values()]
        for background, counts in table
    ]
    heading = f"{measure.title}, {component}" if component else measure.title
    return f"## {heading}\n\n{markdown(['background', 'electrons', *columns], rows)}"


def _draw(best: list[Figures], path: Path) -> None:
    """Interior error of exx against background and against dose, with noise; the bound as a line."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    table = averages(best, "mae_interior", "exx")
    by_level = {100 * b: v for (b, c), v in table.items() if c == DOSE and b > 0}  # without noise there is no bound
    by_dose = {c: v for (b, c), v in sorted(table.items(), key=lambda item: item[0][1]) if b == DOSE_LEVEL}
    panels = [(by_level, "counts in the background / %", "linear")]
    if len(by_dose) > 1:
        panels.append((by_dose, "electrons per pattern", "log"))
    figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 4.0), squeeze=False, layout="constrained")
    for ax, (values, label, scale) in zip(axes[0], panels, strict=True):
        for method in METHODS:
            line = [(x, v[method]) for x, v in values.items() if method in v and np.isfinite(v[method])]
            if line:
                style = {"color": "black", "lw": 1.2} if method == "bound" else {"marker": "o", "ms": 4, "lw": 1.2}
                ax.plot(*np.transpose(line), label=method, **style)
        ax.set(xlabel=label, ylabel="mean absolute error of exx, interior", xscale=scale, yscale="log")
        ax.grid(alpha=0.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=8)
    figure.savefig(path, dpi=160)
    plt.close(figure)


if __name__ == "__main__":
    main()
