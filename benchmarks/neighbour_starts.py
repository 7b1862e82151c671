"""Fits that start from a neighbour's fit instead of the pattern's own search: what they save, and what they miss.

    python benchmarks/neighbour_starts.py grains-uneven --counts 1e5 --seed 3    # a set of benchmarks/real.py
    python benchmarks/neighbour_starts.py simulated --background 0.6 --seed 2
    python benchmarks/neighbour_starts.py bend-disks --counts 1e5 --seed 5 --ways      # only the last line
    python benchmarks/neighbour_starts.py simulated --background 0.8 --seed 2 --inner  # reflections fitted first

A trial, not what the package does. Every 16th column of a scan is searched in full; the columns half way between start
from the neighbour above them in this tree whose rotation is nearer to the pattern's own first look, and so on down.
`off` is the largest difference of the affine from that of the full search, in its sigma. A fit is accepted where its
significance is not much below the neighbour's, its misfit no larger and its reflections moved by less than a pixel.
The last line is the time of the fit where disks have contrast, with both ways followed and as it is. `--inner` compares
first fits whose approach begins with the inner reflections that it takes with those that begin with all within reach.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module

import numpy as np
from measuring import markdown

from cyclestrain.affine import wrap_angle
from cyclestrain.data import Block
from cyclestrain.estimation import block as estimation
from cyclestrain.estimation import first_look, fit_alone
from cyclestrain.io import read
from cyclestrain.learning import Knowledge
from cyclestrain.pattern import PatternFit, Start
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.settings import MapSettings

SIDE = 32
COARSEST = 16
TOLERANCES = (0.5, 1.0, 2.0, 360.0)
"""Degrees by which the first look of a pattern may differ from the fit of its neighbour."""
STEPS, STEPS_WITH_CONTRAST = 3, 12


def scan_of(options: argparse.Namespace) -> np.ndarray:
    """Counts of the set that is named."""
    if options.set == "simulated":
        from cyclestrain.simulation import polycrystal

        size = {"scan": (SIDE, SIDE), "detector": (256, 256), "grain_size": 100.0}
        return np.asarray(polycrystal(**size, background=options.background, seed=options.seed).scan.source[...])
    from real import SETS, specimen_of
    from semireal import record

    one = next(each for each in SETS if each.name == options.set)
    specimen = specimen_of(one, SIDE, options.seed)
    return record(specimen, options.counts, [np.random.default_rng([options.seed, 1])])[0]


def timed(fit: Callable[[], PatternFit], n: int) -> tuple[PatternFit, float]:
    """A fit and its processor microseconds per pattern, of the second of two runs."""
    fit()
    start = time.process_time()
    return fit(), 1e6 * (time.process_time() - start) / n


def parents(theta: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The neighbour of each position in the tree, itself at the top, and how far its rotation is off, radians."""
    n = np.arange(SIDE * SIDE)
    column = n % SIDE
    step = np.where(column % COARSEST == 0, 0, column & -column)
    sides = n - step, np.where(column + step < SIDE, n + step, n - step)
    off = [np.abs(wrap_angle(theta - rotation[side], 2 * np.pi)) for side in sides]
    return np.where(off[0] <= off[1], *sides), np.minimum(*off)


def rows(patterns: np.ndarray, knowledge: Knowledge) -> Iterator[list[str]]:
    """Rows of the table."""
    seen = first_look(Block(np.arange(len(patterns)), patterns), knowledge)
    full = fit_alone(Block(np.arange(len(patterns)), patterns), seen, knowledge)
    theta = seen.alignment.theta
    affine = full.affine  # its rotation, of the polar decomposition
    turn = np.arctan2(affine[:, 0, 1] - affine[:, 1, 0], affine[:, 0, 0] + affine[:, 1, 1])
    parent, off = parents(theta, turn)
    below, sigma = parent != np.arange(len(patterns)), np.sqrt(np.einsum("nii->ni", full.covariance))
    for k, entry in enumerate(knowledge.dictionary.entries):
        for tolerance in TOLERANCES:
            use = np.flatnonzero(
                below & (full.label == k) & (full.label[parent] == k) & (off <= np.deg2rad(tolerance))
                & np.isfinite(full.affine[parent]).all((1, 2))
            )  # fmt: skip
            centre, above = seen.centre[use], parent[use]
            near = Start(full.affine[above], centre, np.maximum(full.gain[above], 0.05), np.ones(len(use)))
            steps = STEPS_WITH_CONTRAST if entry.has_contrast else STEPS
            own, turned = use[:, None], Start.turned(theta[use], centre)
            fit, cost = timed(
                lambda: estimation.fit_from_start(
                    patterns, centre, near, entry, knowledge, iterations=steps, members=own  # noqa: B023
                ),
                len(use),
            )  # fmt: skip
            search, before = timed(
                lambda: estimation.fit_from_rotation(patterns, turned, entry, knowledge, own),  # noqa: B023
                len(use),
            )
            distance = np.abs((fit.start.affine - full.affine[use]).reshape(-1, 4) / sigma[use]).max(1)
            moved = np.linalg.norm(fit.start.affine - full.affine[above], axis=(1, 2))
            taken = (fit.significance > 0.8 * full.significance[above]) & (
                fit.misfit < 1.05 * full.misfit[above] + 0.02
            )
            taken &= moved * np.hypot(*entry.reflections.T).max() < 1.0
            worse = taken & (distance > 1.0) & (fit.penalty(entry) > search.penalty(entry) + 4.0)
            yield [
                str(k), "yes" if entry.has_contrast else "no", f"{tolerance:g}", f"{len(use) / below.sum():.1%}",
                f"{(distance < 0.1).mean():.1%}", f"{(distance > 1).mean():.1%}", f"{taken.mean():.1%}",
                f"{(distance[taken] > 1).mean():.1%}", str(worse.sum()), f"{before:.0f} us", f"{cost:.0f} us",
            ]  # fmt: skip


def two_ways(patterns: np.ndarray, knowledge: Knowledge) -> None:
    """Print what it costs to follow both ways of a fit with contrast to their ends, and to end where they meet."""
    seen, same = first_look(Block(np.arange(len(patterns)), patterns), knowledge), estimation.SAME
    for k, entry in enumerate(knowledge.dictionary.entries):
        use = np.flatnonzero(seen.alignment.label == k)
        if not entry.has_contrast or not len(use):
            continue
        found, cost = [], []
        for estimation.SAME in (-1.0, same):
            start = Start.turned(seen.alignment.theta[use], seen.centre[use])
            one, each = timed(
                lambda: estimation.fit_from_rotation(patterns, start, entry, knowledge, use[:, None]),  # noqa: B023
                len(use),
            )
            found.append(one)
            cost.append(each)
        off = np.abs(found[0].start.affine - found[1].start.affine).reshape(-1, 4)
        largest = np.nanmax(off / np.sqrt(np.einsum("nii->ni", found[0].covariance))[:, :4])
        print(
            f"\nclass {k}, contrast: {cost[0]:.0f} us, {cost[1]:.0f} us where the ways meet; {largest:.3f} sigma apart"
        )


def inner_first(patterns: np.ndarray, knowledge: Knowledge) -> Iterator[list[str]]:
    """Rows that compare approaches which begin with the inner reflections and with all within reach."""
    approach = import_module("cyclestrain.pattern.approach")  # the room exports its function under this name
    own_enough = approach._enough
    seen = first_look(Block(np.arange(len(patterns)), patterns), knowledge)
    for k, entry in enumerate(knowledge.dictionary.entries):
        use = np.flatnonzero(seen.alignment.label == k)
        start, found, cost = Start.turned(seen.alignment.theta[use], seen.centre[use]), [], []
        for approach._enough in (lambda _: np.inf, own_enough):
            one, each = timed(
                lambda: estimation.fit_from_rotation(patterns, start, entry, knowledge, use[:, None]),  # noqa: B023
                len(use),
            )
            found.append(one)
            cost.append(each)
        sigma = np.sqrt(np.einsum("nii->ni", found[0].covariance))[:, :4]
        off = np.nanmax(np.abs((found[1].start.affine - found[0].start.affine).reshape(-1, 4) / sigma), 1)
        dearer = found[1].penalty(entry) - found[0].penalty(entry)
        inner = int((np.hypot(*entry.reflections.T) <= own_enough(entry)).sum())
        yield [
            str(k), f"{inner} of {len(entry.reflections)}", f"{(off > 0.1).mean():.1%}", f"{(off > 1).mean():.1%}",
            str((dearer > 4).sum()), str((dearer < -4).sum()), f"{cost[0]:.0f} us", f"{cost[1]:.0f} us",
        ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("--counts", type=float, default=1e5)
    parser.add_argument("--background", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ways", action="store_true", help="only the time of the fit where disks have contrast")
    parser.add_argument("--inner", action="store_true", help="only what the reflections that are fitted first change")
    options = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scan, knowledge = prepare(read(scan_of(options)), MapSettings(), SilentProgress())
    patterns = np.asarray(scan.source[...]).reshape(SIDE * SIDE, *scan.detector_shape)
    head = ["class", "contrast", "degrees", "used", "off < .1", "off > 1", "accepted", "of these off > 1",
            "of these less likely", "search", "from neighbour"]  # fmt: skip
    if options.inner:
        head = ["class", "inner", "off > .1", "off > 1", "less likely", "more likely", "all in reach", "inner first"]
        print(markdown(head, list(inner_first(patterns, knowledge))))
        return
    if not options.ways:
        print(markdown(head, list(rows(patterns, knowledge))))
    two_ways(patterns, knowledge)


if __name__ == "__main__":
    main()
