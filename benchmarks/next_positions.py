"""Whether measuring where `cs.next_positions` says beats measuring anywhere, at equal dose, on withheld positions.

    python benchmarks/next_positions.py [--scan 48] [--counts 1e5] [--seeds 1 2 3]

Simulated scans of several kinds are mapped whole. A coarse grid of their positions is shown first, a sixteenth of all;
then more are shown in rounds, chosen by `next_positions`, at random, or evenly (farthest from those shown). What is
not shown is interpolated; printed is the root mean square error of exx, eyy, exy and rotation (rad) over all positions
against the whole map, 1e-3, each position relative to its own crystal's median where the sample has several.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import xarray as xr

import cyclestrain as cs
from cyclestrain.data import BoolArray, IntArray
from cyclestrain.result import interpolated
from cyclestrain.simulation import PHANTOMS

STRAINS = ("exx", "eyy", "exy", "rotation")
SHARES = (1 / 8, 1 / 4, 3 / 8)
ROUNDS = 6
"""Rounds from the first grid to the largest share."""


def error(maps: xr.Dataset, known: BoolArray) -> float:
    """Root mean square error of the interpolated maps, 1e-3."""
    there = maps["valid"].values
    off = [interpolated(maps[name].values, known & there)[there] - maps[name].values[there] for name in STRAINS]
    return float(1e3 * np.sqrt(np.mean(np.square(off))))


def shown(maps: xr.Dataset, known: BoolArray) -> xr.Dataset:
    """A result of which only the known positions have been measured."""
    return maps[[name for name in maps if maps[name].dims == ("ry", "rx")]].where(known).assign(
        valid=maps["valid"] & known
    )  # fmt: skip


def by_merit(maps: xr.Dataset, known: BoolArray, n: int, rng: np.random.Generator) -> IntArray:
    return cs.next_positions(shown(maps, known), n)


def at_random(maps: xr.Dataset, known: BoolArray, n: int, rng: np.random.Generator) -> IntArray:
    return rng.choice(np.argwhere(~known), n, replace=False)


def evenly(maps: xr.Dataset, known: BoolArray, n: int, rng: np.random.Generator) -> IntArray:
    flat = {name: (maps[name] * 0).where(known) for name in STRAINS}
    return cs.next_positions(xr.Dataset(flat), n)


STRATEGIES: dict[str, Callable[..., IntArray]] = {"next_positions": by_merit, "random": at_random, "evenly": evenly}


def course(maps: xr.Dataset, choose: Callable[..., IntArray], seed: int) -> list[float]:
    """Errors at every share of the positions."""
    shape, rng = maps["valid"].shape, np.random.default_rng(seed)
    known = np.zeros(shape, bool)
    known[2::4, 2::4] = True
    errors = []
    for share in SHARES:
        missing = round(share * known.size) - int(known.sum())
        for part in np.array_split(np.arange(missing), max(1, ROUNDS // len(SHARES))):
            rows, columns = choose(maps, known, len(part), rng).T
            known[rows, columns] = True
        errors.append(error(maps, known))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=int, default=48, help="positions along each side")
    parser.add_argument("--counts", type=float, default=1e5, help="counts per pattern")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--phantoms", nargs="+", default=["ripple", "dislocation", "features", "polycrystal"])
    options = parser.parse_args()
    print(f"{'':18}{'':16}" + "".join(f"{share:>10.1%}" for share in SHARES))
    for phantom in options.phantoms:
        found: dict[str, list[list[float]]] = {name: [] for name in STRATEGIES}
        for seed in options.seeds:
            made = PHANTOMS[phantom](scan=(options.scan, options.scan), counts=options.counts, seed=seed)
            maps = cs.map(made.scan, progress=False)
            for name, choose in STRATEGIES.items():
                found[name].append(course(maps, choose, seed))
        for name, errors in found.items():
            print(f"{phantom:18}{name:16}" + "".join(f"{mean:10.2f}" for mean in np.mean(errors, 0)), flush=True)


if __name__ == "__main__":
    main()
