"""What every part of the network contributes: accuracy of the network alone with parts switched off in turn.

    python benchmarks/ablation.py                              # every part at 25 % and 60 %, two seeds
    python benchmarks/ablation.py --phantom two_phase --backgrounds 0.4 --only full "no K-sparse layer"
    python benchmarks/ablation.py --only full "glance only" --backgrounds 0.6 --seeds 1 --scan 48
    python benchmarks/ablation.py --only full --backgrounds 0 0.25 0.5 0.6 0.7 --scan 96

No refinement, no neighbours. Strain in units of 1e-4; `alone` is the encoder's answer to each pattern by itself,
without the prior over poses; `class wrong` and `failed` in percent of the interior; `failed` means a rotation off by
more than 1 degree. The dictionary is learned once for each scan: rows differ by the network only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from measuring import largest_grain, markdown
from numpy.typing import NDArray

from cyclestrain.calibration import calibrate, draw_sample
from cyclestrain.data import AffineField, Scan
from cyclestrain.evaluation import Accuracy, compare
from cyclestrain.learning import Knowledge, centre_prior
from cyclestrain.network import Course, NetworkSettings, Trained, TrainingSettings, infer, train, with_prior
from cyclestrain.network.imagine import ImaginedRange
from cyclestrain.network.infer import Inferred
from cyclestrain.network.losses import LossWeights
from cyclestrain.orientation import align, correlations, to_polar
from cyclestrain.pipeline import learn
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import PHANTOMS
from cyclestrain.strain import relative_strain
from cyclestrain.strain.reference import measure_reference


@dataclass(frozen=True)
class Variant:
    """Changes of the default network."""

    weights: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    shape: Mapping[str, Any] = field(default_factory=dict)
    prior: bool = True


VARIANTS: dict[str, Variant] = {
    "full": Variant(),
    "no prior over poses": Variant(prior=False),
    "no cycle through imagined patterns": Variant({"cycle": 0.0}),
    "no patterns of the scan": Variant({"inverse": 0.0, "forward": 0.0}),
    "no inverse direction": Variant({"inverse": 0.0}),
    "no forward direction": Variant({"forward": 0.0}),
    "forward, weight 0.3": Variant({"forward": 0.3}),
    "forward only, unbiased": Variant({"forward": 1.0, "inverse": 0.0, "cycle": 0.0}),
    "forward only, plain": Variant({"forward": 1.0, "inverse": 0.0, "cycle": 0.0}, {"forward": "plain"}),
    "dictionary fixed": Variant(training={"dictionary": False}),
    "no L1 on the dictionary": Variant({"sparsity": 0.0}),
    "no hinges": Variant({"strain": 0.0, "shear": 0.0}),
    "masks not shrunk": Variant(training={"shrink": False}),
    "no K-sparse layer": Variant(shape={"sparse": False}),
    "no term for the choice of class": Variant({"choice": 0.0}),
    "one dose imagined": Variant(training={"imagined": ImaginedRange(factor=1.2, faint=0.0)}),
    "glance only": Variant(shape={"gazes": 0}),
    "one gaze": Variant(shape={"gazes": 1}),
    "gaze not tied": Variant(shape={"tied": False}),
    "connected head": Variant(shape={"head": "connected"}),
    "connected head, glance only": Variant(shape={"head": "connected", "gazes": 0}),
}


@dataclass(frozen=True)
class Case:
    """A simulated scan up to where the network takes over."""

    truth: xr.Dataset
    patterns: NDArray[Any]
    knowledge: Knowledge
    course: Course


def prepare(phantom: str, options: Mapping[str, Any], seed: int) -> Case:
    """Simulate, calibrate, learn the dictionary, find coarse rotations."""
    simulated = PHANTOMS[phantom](seed=seed, **options)
    values = np.asarray(simulated.scan.source[:])
    values = values.astype(np.float32) if values.dtype == np.float64 else values
    scan, settings = Scan(values), MapSettings(seed=seed)
    sample = draw_sample(scan)
    calibration = calibrate(scan, sample, settings)
    knowledge = learn(scan, sample, calibration, settings)
    patterns = values.reshape(-1, *scan.detector_shape)
    centre = calibration.centre.reshape(-1, 2)
    theta = []
    for start in range(0, len(patterns), 512):
        part = slice(start, start + 512)
        polar = to_polar(patterns[part], calibration.good, centre[part], knowledge.templates.grid)
        found = correlations(polar, knowledge.templates)
        theta.append(np.stack([align(found[:, [k]]).theta for k in range(found.shape[1])], 1))
    course = Course(patterns, calibration.good, np.concatenate(theta), centre, centre_prior(calibration))
    return Case(simulated.truth, patterns, knowledge, course)


def run(case: Case, variant: Variant, seed: int) -> tuple[Trained, Inferred, float]:
    """Train and infer; also the inference rate in patterns per second."""
    base = TrainingSettings()
    training = replace(base, seed=seed, weights=replace(LossWeights(), **variant.weights), **variant.training)
    shape = replace(NetworkSettings(), **variant.shape)
    trained = train(case.course, case.knowledge.dictionary, settings=training, shape=shape)
    course = case.course
    start = time.perf_counter()
    inferred = infer(trained.network, course.patterns, course.good, course.theta, course.centre)
    return trained, inferred, len(course.patterns) / (time.perf_counter() - start)


def judge(case: Case, inferred: Inferred, *, prior: bool) -> Accuracy:
    """Errors of the network alone against the truth, with or without the prior learned over its poses."""
    shape = case.truth["grain"].shape
    label = np.where(inferred.is_vacuum, -1, inferred.label).reshape(shape)
    operators = tuple(entry.operators for entry in case.knowledge.dictionary.entries)
    covariance = inferred.affine_covariance.reshape(*shape, 4, 4)
    affine = AffineField(inferred.start.affine.reshape(*shape, 2, 2), covariance, label, label >= 0, operators)
    mask = largest_grain(case.truth)
    reference = measure_reference(affine, mask & (label >= 0))
    maps = relative_strain(with_prior(affine) if prior else affine, reference)
    names = ("eyy", "exx", "exy", "rotation")
    found = {name: (("ry", "rx"), getattr(maps, name)) for name in names}
    found |= {f"{name}_sigma": (("ry", "rx"), maps.sigma[..., k]) for k, name in enumerate(names)}
    found |= {"class": (("ry", "rx"), label), "sample": (("ry", "rx"), label >= 0), "valid": (("ry", "rx"), label >= 0)}
    found |= {"reference": (("ry", "rx"), reference.mask)}
    return compare(xr.Dataset(found), case.truth)


HEADER = [
    "part", "background", "seed", "MAE all exx", "eyy", "exy", "interior exx", "eyy", "exy",
    "bias max exx", "eyy", "exy", "alone, interior exx", "eyy", "exy", "alone, z std exx", "class wrong", "failed",
    "epochs", "training / s", "patterns/s", "inference/s",
]  # fmt: skip


def row(
    name: str, background: float, seed: int, found: tuple[Accuracy, Accuracy], trained: Trained, rate: float
) -> list[str]:
    """One line of the table; `found` is the network's answer and that of each pattern alone."""
    answer, alone = found
    strains = (answer.exx, answer.eyy, answer.exy)
    figures = [f"{1e4 * getattr(c, m):.1f}" for m in ("mae", "mae_interior", "bias_max_large") for c in strains]
    figures += [f"{1e4 * c.mae_interior:.1f}" for c in (alone.exx, alone.eyy, alone.exy)]
    wrong = 100 * (1 - answer.class_accuracy)
    return [
        name, f"{100 * background:.0f} %", str(seed), *figures, f"{alone.exx.z_std:.2f}",
        "-" if np.isnan(wrong) else f"{wrong:.2f}", f"{100 * answer.failure_share:.2f}",
        f"{trained.log.best + 1}/{len(trained.log.epochs)}", f"{trained.seconds:.1f}",
        f"{trained.patterns_per_second:.0f}", f"{rate:.0f}",
    ]  # fmt: skip


def means(rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The same table with seeds averaged, and without epochs and times: header and rows."""
    kept = [0, 1, *range(3, HEADER.index("epochs"))]
    groups: dict[tuple[str, str], list[list[str]]] = {}
    for line in rows:
        groups.setdefault((line[0], line[1]), []).append(line)
    out = []
    for (name, background), lines in groups.items():
        values = [[float(line[k]) for line in lines if line[k] != "-"] for k in kept[2:]]
        places = [len(lines[0][k].partition(".")[2]) for k in kept[2:]]
        cells = [f"{np.mean(v):.{p}f}" if v else "-" for v, p in zip(values, places, strict=True)]
        out.append([name, background, *cells])
    return [HEADER[k] for k in kept], out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="PART", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--backgrounds", nargs="+", type=float, default=[0.25, 0.6])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--scan", type=int, default=48, help="positions along each side")
    parser.add_argument("--phantom", default="polycrystal", choices=["polycrystal", "two_phase"])
    parser.add_argument("--lattice", default="hexagonal")
    arguments = parser.parse_args()
    rows = []
    for background in arguments.backgrounds:
        for seed in arguments.seeds:
            options = {"scan": (arguments.scan,) * 2, "background": background, "lattice": arguments.lattice}
            case = prepare(arguments.phantom, options, seed)
            done: dict[str, tuple[Trained, Inferred, float]] = {}
            for name in arguments.only:
                # What differs by the prior only is trained once.
                network = str(replace(VARIANTS[name], prior=True))
                trained, inferred, rate = done[network] = done.get(network) or run(case, VARIANTS[name], seed)
                found = judge(case, inferred, prior=VARIANTS[name].prior), judge(case, inferred, prior=False)
                rows.append(row(name, background, seed, found, trained, rate))
                print(*rows[-1], sep="  ", flush=True)
    print(markdown(HEADER, rows), end="\n\n")
    print("Mean over the seeds:", markdown(*means(rows)), sep="\n\n")


if __name__ == "__main__":
    main()
