"""Patterns per second of every stage of `map`, on one simulated scan.

    python benchmarks/speed.py [--scan 48] [--repeats 5] [--background 0.25]

The best of several repeats is printed, in processor time of all threads: other work on the machine only ever makes a
stage slower.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cyclestrain.calibration import calibrate, draw_sample
from cyclestrain.context import smooth
from cyclestrain.data import AffineField
from cyclestrain.learning import centre_prior
from cyclestrain.orientation import align, correlations, to_polar
from cyclestrain.pattern import Start, approach, gather, predicted_positions, refine
from cyclestrain.pipeline import learn
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import PHANTOMS


def best_of(repeats: int, run: Callable[[], Any]) -> tuple[float, Any]:
    """Shortest processor time in seconds, and the outcome."""
    times = []
    for _ in range(repeats + 1):  # the first compiles
        start = time.process_time()
        outcome = run()
        times.append(time.process_time() - start)
    return min(times[1:]), outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=int, default=48, help="positions along each side")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--background", type=float, default=0.25, help="share of the counts")
    options = parser.parse_args()
    scan = PHANTOMS["polycrystal"](scan=(options.scan, options.scan), background=options.background, seed=11).scan
    settings = MapSettings()
    sample = draw_sample(scan)
    calibration = calibrate(scan, sample, settings)
    learning, knowledge = best_of(1, lambda: learn(scan, sample, calibration, settings))
    entry, sigma = knowledge.dictionary.entries[0], centre_prior(calibration)
    patterns, centres = sample.patterns, calibration.centre[sample.rows, sample.columns]
    n = len(patterns)

    seconds: dict[str, float] = {}

    def stage(name: str, run: Callable[[], Any]) -> Any:
        seconds[name], outcome = best_of(options.repeats, run)
        print(f"{name:24s} {n / seconds[name]:10.0f} patterns/s {1e6 * seconds[name] / n:8.1f} us")
        return outcome

    print(f"{n} patterns of {scan.detector_shape}, {len(entry.indices)} reflections; learning {learning:.1f} s")

    def coarse() -> Any:
        polar = to_polar(patterns, calibration.good, centres, knowledge.templates.grid)
        return align(correlations(polar, knowledge.templates))

    turned = Start.turned(stage("coarse rotation", coarse).theta, centres)
    start = stage("approach", lambda: approach(patterns, calibration.good, entry, turned, centre_sigma=sigma))
    positions = predicted_positions(start, entry.reflections)
    stack = stage("cut windows", lambda: gather(patterns, positions, entry.probe.half + 1, calibration.good))
    fit = stage("refine, 3 iterations", lambda: refine(stack, entry, start, centre=centres, centre_sigma=sigma))
    shape = (1, n) if not sample.complete else scan.scan_shape
    field = AffineField(
        fit.start.affine.reshape(*shape, 2, 2), fit.affine_covariance.reshape(*shape, 4, 4), np.zeros(shape, int),
        np.ones(shape, bool), (entry.operators,),
    )  # fmt: skip
    stage("context", lambda: smooth(field))
    for name, parts in (("refine and context", list(seconds)[-2:]), ("all stages", list(seconds))):
        print(f"{name:24s} {n / sum(seconds[part] for part in parts):10.0f} patterns/s")


if __name__ == "__main__":
    main()
