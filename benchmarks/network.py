"""The network alone, no refinement and no neighbours, against the published CC-ST-AE.

    python benchmarks/network.py                                   # every part: an hour on two cores
    python benchmarks/network.py levels --scan 96 --seeds 101 102  # background levels of the published table
    python benchmarks/network.py transfer                          # trained at 40 %, applied at 10 % and 60 %
    python benchmarks/network.py phases                            # two phases and vacuum, default number of entries

Every figure comes from `cyclestrain map --until network`, untouched settings. Strain is in units of 1e-3. `alone` is
the encoder's answer to each pattern by itself (``*_raw``), the answer itself knows which poses the scan holds. A `!`
marks what misses its limit: 0.7 times the published error up to 50 % background, the published error above, a bias of
3e-4 of any grain of at least 200 positions up to 50 %.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from measuring import SimulatedFile, markdown, simulated_file
from scipy.ndimage import binary_erosion

import cyclestrain as cs
from cyclestrain.evaluation import Accuracy, compare

STRAINS = ("exx", "eyy", "exy")
PUBLISHED = {
    0.0: (1.5, 1.8, 0.7), 0.05: (1.5, 1.6, 1.2), 0.1: (1.5, 1.6, 1.0), 0.15: (1.6, 1.7, 0.9), 0.2: (1.7, 1.7, 1.0),
    0.25: (1.6, 1.9, 1.1), 0.3: (1.6, 1.7, 1.2), 0.35: (1.8, 1.8, 1.1), 0.4: (1.7, 1.8, 1.4), 0.45: (1.8, 2.0, 1.2),
    0.5: (1.8, 1.9, 1.5), 0.6: (2.1, 2.4, 1.6), 0.7: (2.2, 2.6, 2.1),
}  # fmt: skip
"""Mean absolute error over all positions of the published method (its figure 3), exx, eyy, exy, 1e-3."""


def mapped(simulated: SimulatedFile, **options: Any) -> tuple[xr.Dataset, float]:
    """Maps of the network alone, and the seconds they took."""
    start = time.perf_counter()
    maps = cs.map(simulated.scan, until="network", reference=str(simulated.reference), **options)
    return maps, time.perf_counter() - start


def errors(found: Accuracy, measure: str) -> list[float]:
    """One measure of the three strains in 1e-3."""
    return [1e3 * getattr(getattr(found, name), measure) for name in STRAINS]


def marked(values: list[float], limits: list[float]) -> list[str]:
    """Figures, those above their limit with a mark."""
    return [f"{value:.2f}{'!' if value > limit else ''}" for value, limit in zip(values, limits, strict=True)]


def levels(folder: Path, scan: int, backgrounds: list[float], seeds: list[int]) -> str:
    """Error at each background level."""
    header = [
        "background",
        "seed",
        "MAE all exx",
        "eyy",
        "exy",
        "limit exx",
        "eyy",
        "exy",
        "interior exx",
        "eyy",
        "exy",
    ]
    header += ["bias max exx", "eyy", "exy", "alone, all exx", "eyy", "exy", "failed", "seconds"]
    rows = []
    for background in backgrounds:
        for seed in seeds:
            name = f"levels_{scan}_{background}_{seed}"
            simulated = simulated_file(folder, name, {"scan": (scan, scan), "background": background, "seed": seed})
            maps, seconds = mapped(simulated)
            answer, alone = compare(maps, simulated.truth), compare(maps, simulated.truth, "raw")
            known = min(PUBLISHED, key=lambda level: abs(level - background))
            limits = [value * (0.7 if background <= 0.5 else 1.0) for value in PUBLISHED[known]]
            rows.append(
                [
                    f"{100 * background:.0f} %", str(seed),
                    *marked(errors(answer, "mae"), limits),
                    *(f"{limit:.2f}" for limit in limits),
                    *(f"{value:.2f}" for value in errors(answer, "mae_interior")),
                    *marked(errors(answer, "bias_max_large"), [0.3 if background <= 0.5 else np.inf] * 3),
                    *(f"{value:.2f}" for value in errors(alone, "mae")),
                    f"{answer.failures}/{answer.n_interior}", f"{seconds:.0f}",
                ]
            )  # fmt: skip
            print(*rows[-1], sep="  ", flush=True)
            simulated.scan.unlink()
    return markdown(header, rows)


def transfer(folder: Path, scan: int, seeds: list[int]) -> str:
    """One network trained at 40 % against networks trained where they are applied."""
    header = [
        "background",
        "seed",
        "trained at",
        "MAE all exx",
        "eyy",
        "exy",
        "alone, all exx",
        "eyy",
        "exy",
        "seconds",
    ]
    rows = []
    for seed in seeds:
        options = {"scan": (scan, scan), "seed": seed}
        model = folder / f"transfer_{scan}_{seed}.safetensors"
        trained_on = simulated_file(folder, f"transfer_{scan}_0.4_{seed}", {**options, "background": 0.4})
        cs.fit(trained_on.scan, model, force=True)
        for background in (0.1, 0.6):
            name = f"transfer_{scan}_{background}_{seed}"
            simulated = simulated_file(folder, name, {**options, "background": background})
            for at, given in ((background, {}), (0.4, {"model": model})):
                maps, seconds = mapped(simulated, **given)
                answer, alone = compare(maps, simulated.truth), compare(maps, simulated.truth, "raw")
                figures = [f"{value:.3f}" for found in (answer, alone) for value in errors(found, "mae")]
                rows.append([f"{100 * background:.0f} %", str(seed), f"{100 * at:.0f} %", *figures, f"{seconds:.0f}"])
                print(*rows[-1], sep="  ", flush=True)
    return markdown(header, rows)


def phases(folder: Path, scan: int, seeds: list[int]) -> str:
    """Share of positions in the right class, square and hexagonal grains with vacuum around, 40 % background."""
    header = ["seed", "until", "entries", "crystal, interior", "vacuum, all", "vacuum, not beside the sample"]
    rows = []
    for seed in seeds:
        options = {"phantom": "two_phase", "scan": (scan, scan), "background": 0.4, "seed": seed}
        simulated = simulated_file(folder, f"phases_{scan}_{seed}", options)
        for until in ("network", "context"):
            maps = cs.map(simulated.scan, until=until)
            rows.append([str(seed), until, *_classes(maps, simulated.truth)])
            print(*rows[-1], sep="  ", flush=True)
    return markdown(header, rows)


def _classes(maps: xr.Dataset, truth: xr.Dataset) -> list[str]:
    found, known = maps["class"].values.astype(int), truth["class"].values
    found = np.where(maps["sample"].values, found, -1)
    interior, vacuum = truth["interior"].values, known == -1
    names = {
        k: int(np.bincount(known[interior & (found == k)], minlength=1).argmax()) for k in np.unique(found) if k >= 0
    }
    named = np.vectorize(lambda k: names.get(k, -1))(found)
    deep = binary_erosion(vacuum, np.ones((3, 3)), border_value=1)
    shares = [(named == known)[where].mean() for where in (interior, vacuum, deep)]
    return [str(len(names)), *(f"{100 * share:.2f} %" for share in shares)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="levels, transfer, phases; by default all")
    parser.add_argument("--scan", type=int, default=96, help="positions along each side")
    parser.add_argument("--backgrounds", nargs="+", type=float, default=[0.0, 0.25, 0.5, 0.6, 0.7])
    parser.add_argument("--seeds", nargs="+", type=int, default=[101, 102])
    parser.add_argument("--folder", type=Path, help="where simulated scans go; by default a temporary folder")
    arguments = parser.parse_args()
    wrong = set(arguments.parts) - {"levels", "transfer", "phases"}
    if wrong:
        parser.error(f"there is no part {', '.join(wrong)}")
    parts = arguments.parts or ["levels", "transfer", "phases"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if "levels" in parts:
            print(levels(folder, arguments.scan, arguments.backgrounds, arguments.seeds), end="\n\n")
        if "transfer" in parts:
            print(transfer(folder, arguments.scan, arguments.seeds), end="\n\n")
        if "phases" in parts:
            print(phases(folder, arguments.scan, arguments.seeds))


if __name__ == "__main__":
    main()
