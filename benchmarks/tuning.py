"""Does tuning the network matter? Default settings against the best of 20 trials on three unlike scans.

    python benchmarks/tuning.py --folder tuning-studies    # 36x36 positions; a study that is there goes on
    python benchmarks/tuning.py --scan 16 --trials 2       # a quick look

A polycrystal of a dozen grains at 2e4 electrons a pattern and 60 % background; one rippled crystal at 85 % background;
and a recorded pattern of spots, bent (`bend-spots` of `real.py`, at 1e5 electrons; left out where the recorded patterns
are not). Detectors have 64 and 72 pixels, so that a search takes some minutes. *Gain* is what the best trial misfits
held-out patterns less than the default does, those that chose nothing, nats per pattern. *Strain* is the mean absolute
error of exx, eyy and exy (1e-3) of `cyclestrain map --until network` at the valid positions of a second draw of the
scan, whose noise neither training nor trials have seen: of the default, and of the best trial whether tuning keeps it
or not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import optuna
import real
import real_errors
import xarray as xr
from measuring import largest_grain, markdown

import cyclestrain as cs
from cyclestrain.evaluation import compare
from cyclestrain.learning import Material
from cyclestrain.network import (
    Course,
    HyperParameters,
    Model,
    NetworkSettings,
    Search,
    Start,
    Trained,
    TrainingSettings,
    course_of,
    save_model,
    train,
    tune,
)
from cyclestrain.pattern import Dictionary
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.settings import FitSettings

COMPONENTS = ("exx", "eyy", "exy")


@dataclass(frozen=True)
class Case:
    """Two draws of one scan, the mask of its reference, and the mean absolute error of a map of the second."""

    draws: list[np.ndarray]
    reference: np.ndarray
    error: Callable[[xr.Dataset], float]


def simulated(side: int, seed: int, phantom: str, **options: float) -> Case:
    """A scan of the package's simulator."""
    made = cs.simulate(phantom, scan=(side, side), detector=(64, 64), seed=seed, noise_free=True, **options)
    expected, draws = np.asarray(made.scan.source), []
    for k in (1, 2):
        draws.append(np.random.default_rng([seed, k]).poisson(expected).astype(np.uint16))

    def error(maps: xr.Dataset) -> float:
        found = compare(maps, made.truth)
        return float(np.mean([getattr(found, each).mae for each in COMPONENTS]))

    return Case(draws, largest_grain(made.truth), error)


def recorded(side: int, seed: int, name: str, counts: float) -> Case:
    """A set of the semi-real benchmark, its pixels binned by two."""
    made = real.semireal_case(next(each for each in real.SETS if each.name == name), counts, side, seed)

    def error(maps: xr.Dataset) -> float:
        found = real_errors.errors(made.specimen, maps, "", blend=False)
        return float(np.mean([np.nanmean(np.abs(found.error[each])) for each in COMPONENTS]))

    *scan, n_y, n_x = made.draws[0].shape
    binned = [draw.reshape(*scan, n_y // 2, 2, n_x // 2, 2).sum((3, 5)).astype(np.uint16) for draw in made.draws]
    return Case(binned, made.specimen.reference, error)


def cases(side: int, seed: int) -> dict[str, Callable[[], Case]]:
    """How every scan is made."""
    return {
        "polycrystal, 60 %, 2e4": lambda: simulated(
            side, seed, "polycrystal", background=0.6, counts=2e4, grain_size=100.0
        ),
        "one crystal, 85 %, 1e5": lambda: simulated(side, seed, "ripple", background=0.85),
        "recorded spots, 1e5": lambda: recorded(side, seed, "bend-spots", 1e5),
    }


def measured(case: Case, trials: int, study: Path) -> list[str]:
    """Trials, gain, whether tuning keeps the best, strain of default and best, minutes of processor time."""
    began, settings = time.process_time(), FitSettings(seed=0)
    scan, knowledge = prepare(cs.read(case.draws[0]), settings, SilentProgress(), improve=True)
    course = course_of(scan, knowledge, settings)
    start = Start(TrainingSettings(), NetworkSettings())
    tuned = tune(course, knowledge.dictionary, start, Search(trials, study), progress=SilentProgress())
    print(tuned.summary, *tuned.table, sep="\n", flush=True)
    spent = (time.process_time() - began) / 60
    calibration = knowledge.calibration
    material = Material(knowledge.dictionary, knowledge.templates, calibration.ring, calibration.disk_radius)
    trained = [trained_with(hyper, course, knowledge.dictionary, start) for hyper in (start.hyper, best(study, start))]
    less = (trained[0].misfit - trained[1].misfit)[1::2]
    strain = [strain_of(case, material, each, study.with_suffix(".safetensors")) for each in trained]
    return [
        f"{less.mean():+.2f} ± {less.std(ddof=1) / len(less) ** 0.5:.2f} of {trained[0].misfit[1::2].mean():.0f}",
        "no" if tuned.hyper == start.hyper else "yes", *strain, f"{spent:.1f}",
    ]  # fmt: skip


def best(study: Path, start: Start) -> HyperParameters:
    """Settings of the trial that the choosing half of the held-out patterns prefers."""
    found = optuna.load_study(storage=f"sqlite:///{study}", study_name="cyclestrain").best_trial
    return HyperParameters(**(asdict(start.hyper) | found.params))


def trained_with(hyper: HyperParameters, course: Course, dictionary: Dictionary, start: Start) -> Trained:
    """A training with some settings, as that of a trial."""
    return train(course, dictionary, settings=hyper.training(start.training), shape=hyper.shape(start.shape))


def strain_of(case: Case, material: Material, trained: Trained, file: Path) -> str:
    """Error of the second draw, mapped with a network that was trained on the first."""
    save_model(Model(material, trained.network, trained.log, {}), file, force=True)
    try:
        maps = cs.map(case.draws[1], model=file, until="network", reference=case.reference)
    except cs.InputError as error:
        return f"refused: {error}"
    return f"{1e3 * case.error(maps):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("tuning-studies"), help="studies, begun where missing")
    parser.add_argument("--scan", type=int, default=36, help="positions along each side")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--only", type=int, nargs="+", default=[0, 1, 2], choices=[0, 1, 2], help="numbers of scans")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (name, make) in enumerate(cases(given.scan, given.seed).items()):
        if number not in given.only:
            continue
        try:
            case = make()
        except SystemExit as missing:
            print(name, missing)
            continue
        study = given.folder / f"{number}_{given.scan}_{given.seed}.db"
        rows.append([name, *measured(case, given.trials, study)])
        print(*rows[-1], sep="  ", flush=True)
    header = ["scan", "gain of the best trial, nats", "kept", "strain, default", "strain, best trial", "minutes"]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()
