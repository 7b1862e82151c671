"""Scans of recorded patterns drawn at random, and whether what is called valid is right.

    python benchmarks/random_real.py 0 50            # seeds 0 to 49, some five seconds each

Every seed has a recorded pattern, specimen, dose, film, ellipse and variation of intensities of its own; patterns and
specimens are those of `real.py`. Prints, for raw and final strain at valid positions that hold one crystal, error over
sigma (root mean square of exx, eyy and exy), the share beyond six sigmas and the mean absolute error; and marks what is
wrong with `<<<`, by the limits of `random_scans.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from random_scans import judged, run
from real import Set, specimen_of
from real_errors import errors
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


def mapped(seed: int) -> tuple[str, Callable[[], str]]:
    """A seed's scan in words, and what maps it and judges the map."""
    specimen, scan, words = draw(seed)

    def judge() -> str:
        maps, found = cs.map(scan, reference=specimen.reference), {}
        for name, suffix in (("raw", "_raw"), ("final", "")):
            one = errors(specimen, maps, suffix, blend=False)
            here = (specimen.shares.max(0) > PURE) & one.valid
            off, sigma = (np.stack([each[c][here] for c in COMPONENTS[:3]]) for each in (one.error, one.sigma))
            known = np.isfinite(off).all(0)
            found[name] = off[:, known], (off / sigma)[:, known]
        return judged(f"valid {maps['valid'].values.mean():.2f}, {one.entries} entries", found)

    return words, judge


if __name__ == "__main__":
    run(__doc__, mapped)
