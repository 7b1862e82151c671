"""Scans of recorded patterns drawn at random, and whether what is called valid is right.

    python benchmarks/random_real.py 0 50            # seeds 0 to 49, some five seconds each

Every seed has a recorded pattern, specimen, dose, film, ellipse and variation of intensities of its own; patterns and
specimens are those of `real.py`. Prints, for raw and final strain at valid positions that hold one crystal, error over
sigma (root mean square of exx, eyy and exy), the share beyond six sigmas and the mean absolute error; and marks what is
wrong with `<<<`, by the limits of `random_scans.py`.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import xarray as xr
from random_scans import MOST_BEYOND, WRONG
from real import Set, specimen_of
from real_errors import SURELY_WRONG, errors
from semireal import RECORDED, record
from specimens import COMPONENTS, LAYOUTS, PURE, Specimen

import cyclestrain as cs

SIDE = 16
"""Positions along each side of the scan."""


def draw(seed: int) -> tuple[Specimen, np.ndarray, str]:
    """The specimen of a seed, its scan, and what it is in words."""
    rng = np.random.default_rng(seed + 2 * 10**6)
    pattern, second = rng.choice(list(RECORDED), 2, replace=False)
    layout = str(rng.choice(list(LAYOUTS)))
    made = Set(
        "drawn", layout, str(pattern), (), second=str(second) if layout == "precipitates" else "",
        tilt=float(rng.choice([0.1, 0.3, 0.8])), ellipse=float(rng.choice([1.0, 1.0, 1.01, 1.03])),
        film=tuple(np.sort(rng.choice([0.0, 0.0, 0.3, 0.6, 0.8], 2))), turned=layout in ("grains", "overlap"),
    )  # fmt: skip
    counts = float(rng.choice([3e3, 1e4, 3e4, 1e5, 4e5]))
    specimen = specimen_of(made, SIDE, seed)
    (scan,) = record(specimen, counts, [np.random.default_rng([seed, 1])])
    shown = f"{layout}, {pattern} {made.second}, {counts:g} counts, film {made.film[0]:g} to {made.film[1]:g}"
    return specimen, scan, f"{shown}, tilt {made.tilt:g}, ellipse {made.ellipse:g}"


def judged(specimen: Specimen, maps: xr.Dataset) -> str:
    """Figures of raw and final strain, with a mark where they are wrong."""
    pure = specimen.shares.max(0) > PURE
    out, wrong = [f"valid {maps['valid'].values.mean():.2f}, {maps.sizes.get('entry', 1)} entries"], False
    for name, suffix in (("raw", "_raw"), ("final", "")):
        found = errors(specimen, maps, suffix, blend=False)
        off = np.stack([found.error[c][pure & found.valid] for c in COMPONENTS[:3]])
        sigmas = np.stack([found.sigma[c][pure & found.valid] for c in COMPONENTS[:3]])
        known = np.isfinite(off).all(0)
        off, ratio = off[:, known], (off / sigmas)[:, known]
        z, beyond = np.sqrt((ratio**2).mean(1)), (np.abs(ratio) > SURELY_WRONG).any(0).mean()
        wrong = wrong or bool((z > WRONG).any()) or beyond > MOST_BEYOND
        error = " ".join(f"{1e4 * e:.1f}" for e in np.abs(off).mean(1))
        out.append(f"{name} z {' '.join(f'{value:.2f}' for value in z)} ({beyond:.1%}) error {error}e-4")
    return "; ".join(out) + (" <<<" if wrong else "")


def main() -> None:
    """Draw, map and judge the scans of some seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=int)
    parser.add_argument("stop", type=int)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    for seed in range(given.first, given.stop):
        specimen, scan, words = draw(seed)
        try:
            said = judged(specimen, cs.map(scan, reference=specimen.reference))
        except cs.InputError as error:
            said = f"refused: {error}"
        print(f"{seed} {said} | {words}", flush=True)


if __name__ == "__main__":
    main()
