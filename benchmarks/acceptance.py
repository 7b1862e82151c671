"""Accuracy of `cyclestrain map`, untouched settings, over the conditions it has to cope with.

    python benchmarks/acceptance.py                          # every condition, a few minutes
    python benchmarks/acceptance.py --only base square --backgrounds 0.25 --seeds 1 2 3 --scan 64

One line per condition, background and seed: errors of each pattern alone (raw) and of the best estimate over the
interior, the largest bias of a grain of at least 200 positions, positions whose rotation is off by more than 1 degree,
and the time of the stages. Strain is given in units of 1e-4, its scatter also in units of the Cramer-Rao bound of the
patterns' own counts. A `!` marks a figure beyond its limit; the limits are those of the base condition and grow with
the bound.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import ROUND, StageClock, bound, markdown, simulated_file

import cyclestrain as cs
from cyclestrain.evaluation import Accuracy, compare

CONDITIONS: dict[str, dict[str, Any]] = {
    "base": {},
    "square": {"lattice": "square"},
    "oblique": {"lattice": "oblique"},
    "radius 2": {"radius": 2.0},
    "radius 3": {"radius": 3.0},
    "radius 6": {"radius": 6.0},
    "radius 8": {"radius": 8.0},
    "detector 128": {"detector": (128, 128)},
    "detector 512": {"detector": (512, 512)},
    "centre off 5 px": {"centre_offset": (3.0, -4.0)},
    "centre drifts 3 px": {"drift": 3.0},
}
"""Deviations from the published benchmark, by name."""


@dataclass(frozen=True)
class Limits:
    """Largest interior MAE of exx and eyy, of exy, bias of a large grain, and share of failures, at one background."""

    normal: float
    shear: float
    bias: float
    failures: float


LIMITS = {
    0.0: Limits(3.0e-4, 3.0e-4, 2e-4, 0.0),
    0.25: Limits(8.5e-4, 6.0e-4, 2e-4, 0.0),
    0.6: Limits(1.85e-3, 1.30e-3, float("inf"), 0.002),
}
"""Limits of the raw estimate by background share, for the base condition."""
BASE_BOUND = {0.0: (0.0, 0.0), 0.25: (8.7e-4, 6.2e-4), 0.6: (1.80e-3, 1.27e-3)}
"""Cramer-Rao bound of the normal strains and of the shear there."""
NO_LIMITS = Limits(*[float("inf")] * 4)

HEADER = [
    "condition", "background", "seed", "MAE exx", "eyy", "exy", "bias max exx", "eyy", "exy", "scatter exx",
    "/ bound", "exy / bound", "z std exx", "best MAE exx", "failed", "read + calibrate / s", "learn / s", "fit / s",
    "patterns/s",
]  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(CONDITIONS), help=", ".join(CONDITIONS))
    parser.add_argument("--backgrounds", nargs="+", type=float, default=[0.0, 0.25, 0.6])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--scan", type=int, default=48, help="positions along each side")
    parser.add_argument("--counts", type=float, default=1e5)
    parser.add_argument("--folder", type=Path, help="keep the simulated scans here and use those that are there")
    parser.add_argument("--output", type=Path, help="write the table into this Markdown file as well")
    parser.add_argument("--notes", action="store_true", help="print the automatic choices of every run")
    return parser.parse_args()


def main() -> int:
    """Run the conditions asked for; the exit code is 1 if any figure is beyond its limit."""
    arguments = parse_arguments()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.only or CONDITIONS:
            for background in arguments.backgrounds:
                for seed in arguments.seeds:
                    row = measure(folder, name, background, seed, arguments)
                    print("  ".join(row), file=sys.stderr, flush=True)
                    rows.append(row)
    table = markdown(HEADER, rows)
    print(table)
    if arguments.output:
        arguments.output.write_text(table + "\n")
    return int(any("!" in cell for row in rows for cell in row))


def measure(folder: Path, name: str, background: float, seed: int, arguments: argparse.Namespace) -> list[str]:
    """One line of the table."""
    options = {"scan": (arguments.scan,) * 2, "counts": arguments.counts, "seed": seed, "background": background}
    file_name = f"{name.replace(' ', '_')}_{background:g}_{arguments.counts:g}_{arguments.scan}_{seed}"
    simulated = simulated_file(folder, file_name, options | CONDITIONS[name])
    clock = StageClock()
    start = time.perf_counter()
    label = [name, f"{background:.0%}", str(seed)]
    try:
        maps = cs.map(simulated.scan, reference=str(simulated.reference), seed=seed, progress=clock, ellipse=ROUND)
    except Exception:
        traceback.print_exc()
        return [*label, "failed!", *[""] * (len(HEADER) - 4)]
    seconds = time.perf_counter() - start
    if arguments.notes:
        print(*(f"    {note}" for note in clock.notes), sep="\n", file=sys.stderr)
    if arguments.folder is None:
        simulated.scan.unlink()
    raw, best = compare(maps, simulated.truth, "raw"), compare(maps, simulated.truth)
    limit = {} if background == 0 else bound(simulated)
    cells = accuracy_cells(raw, best, limit, scaled(LIMITS.get(background, NO_LIMITS), background, limit))
    return [*label, *cells, *time_cells(clock.seconds, raw.n_positions, seconds)]


def scaled(limits: Limits, background: float, limit: Mapping[str, float]) -> Limits:
    """Limits of a condition whose Cramer-Rao bound is another one than that of the base condition."""
    if not limit or background not in BASE_BOUND:
        return limits
    base = BASE_BOUND[background]
    normal, shear = max(1.0, limit["exx"] / base[0]), max(1.0, limit["exy"] / base[1])
    return Limits(limits.normal * normal, limits.shear * shear, limits.bias * normal, limits.failures)


def accuracy_cells(raw: Accuracy, best: Accuracy, bound: Mapping[str, float], limits: Limits) -> list[str]:
    """Errors in units of 1e-4, marked where they are beyond the limits."""

    def strain(value: float, limit: float = float("inf")) -> str:
        return f"{1e4 * value:.2f}{'!' if value > limit else ''}"

    failed = f"{raw.failures} of {raw.n_interior}" + ("!" if raw.failure_share > limits.failures else "")
    return [
        strain(raw.exx.mae_interior, limits.normal),
        strain(raw.eyy.mae_interior, limits.normal),
        strain(raw.exy.mae_interior, limits.shear),
        *(strain(c.bias_max_large, limits.bias) for c in (raw.exx, raw.eyy, raw.exy)),
        strain(raw.exx.scatter),
        *(f"{getattr(raw, name).scatter / bound[name]:.2f}" if bound else "-" for name in ("exx", "exy")),
        f"{raw.exx.z_std:.2f}",
        strain(best.exx.mae_interior),
        failed,
    ]


def time_cells(seconds: Mapping[str, float], n_positions: int, total: float) -> list[str]:
    """Durations of the stages, and patterns per second of the whole run and of the fit alone."""
    first = sum(seconds.get(name, 0.0) for name in ("read a sample", "calibrate"))
    learn = seconds.get("learn the dictionary", 0.0)
    fit = sum(seconds.values()) - first - learn
    speed = f"{n_positions / total:.0f} ({n_positions / max(fit, 1e-9):.0f} fit)"
    return [f"{first:.1f}", f"{learn:.1f}", f"{fit:.1f}", speed]


if __name__ == "__main__":
    sys.exit(main())
