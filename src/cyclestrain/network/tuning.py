"""Search for hyper-parameters that fit a scan better: the only file that knows Optuna, which an extra installs.

Every trial is the training that a fit is, with the same patterns, the same ones held out and the same seed; only its
hyper-parameters differ. Trials that are behind the others are ended early. All of them are kept in a study: a file
(SQLite) that several processes may work on, and with which a search that was killed goes on.
"""

from __future__ import annotations

import json
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.errors import InputError, OutputError, first_line
from cyclestrain.files import check_writable, write_whole
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.hyperparameters import SPACE, WIDTHS, HyperParameters, Range
from cyclestrain.network.settings import NetworkSettings, TrainingSettings
from cyclestrain.network.training import Course, train
from cyclestrain.network.tuned import Trial, Tuned, choosing, judge
from cyclestrain.pattern import Dictionary
from cyclestrain.progress import Progress, Task

if TYPE_CHECKING:
    import optuna

__all__ = ["Search", "Start", "check_study", "check_tuning", "tune"]

NAME = "cyclestrain"
"""Name of the study in its file."""
OF, START = "of", "start"
"""Attributes of the study: what it is of, and the hyper-parameters of its first trial."""
MISFIT, HELD_OUT = "misfit", "held_out"
"""Attributes of a trial that was trained to the end, see `cyclestrain.network.tuned.Trial`."""
HEARTBEAT, GRACE = 10, 60
"""Seconds between two signs of life of a trial, and without one after which its process is taken for killed."""
RETRIES = 2
"""How often a trial whose process was killed is begun again."""
BUSY = 120
"""Seconds that a process waits for others that are writing to the study."""
LOOK = 1.0
"""Seconds between two looks at what other processes do."""
FREE_EPOCHS, FREE_TRIALS = 3, 4
"""Epochs before which no trial is ended early, and trials that have to be trained to the end before any is."""
RANDOM_TRIALS = 6
"""Trials at random before the sampler learns from them."""


@dataclass(frozen=True)
class Search:
    """How long to search, and where to keep it.

    Attributes
    ----------
    trials
        Trials that the study is to hold.
    file
        Where it is kept; None for memory.
    of
        What the study belongs to: version, scan, settings, model. Another one's is refused.
    """

    trials: int
    file: Path | None = None
    of: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """From where trials start: settings, shape, and perhaps the weights of another network."""

    training: TrainingSettings
    shape: NetworkSettings
    network: Autoencoder | None = None

    @property
    def hyper(self) -> HyperParameters:
        """The hyper-parameters of the settings: those of the first trial."""
        return HyperParameters.of(self.training, self.shape)


def check_tuning() -> None:
    """Refuse to tune where Optuna is not installed, before any work.

    Raises
    ------
    InputError
        If it is not, with the line that installs it.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise InputError("tuning needs Optuna, which is not installed here: pip install 'cyclestrain[tune]'") from None


def check_study(file: Path, of: Mapping[str, str]) -> None:
    """Refuse a study that is none, or of something else, before any work.

    Parameters
    ----------
    file
        Where the study is, or will be.
    of
        What it has to belong to, see `Search`.

    Raises
    ------
    InputError
        If what is there is no study, or that of another scan, version or setting.
    OutputError
        If it cannot be written.
    """
    check_tuning()
    if not file.exists():
        check_writable(file)
        return
    with _quiet(), _loaded(file, of):
        pass


def tune(course: Course, dictionary: Dictionary, start: Start, search: Search, *, progress: Progress) -> Tuned:
    """Search for better hyper-parameters until the study holds as many trials as are asked for.

    Trial 0 has the hyper-parameters of the start, and these are kept unless another trial is better beyond doubt.

    Parameters
    ----------
    course, dictionary
        Patterns and entries, as for `cyclestrain.network.train`.
    start
        Where trials start; with the weights of another network its widths are not tuned.
    search
        How many trials, and where they are kept.
    progress
        Where to report to.

    Raises
    ------
    InputError
        If Optuna is not installed, or the study is of something else.
    OutputError
        If the study cannot be written.
    """
    check_tuning()
    with _quiet(), _opened(search, start) as study, progress.stage("tune", search.trials) as task:
        told: set[int] = set()
        while (todo := _todo(study, search.trials, start)) != "nothing":
            _tell(study, told, task, progress)
            if todo == "wait":
                task.status("waiting for trials of other processes, or of one that was killed")
                time.sleep(LOOK)
            else:
                study.optimize(lambda trial: _objective(trial, course, dictionary, start, task), n_trials=1)
        _tell(study, told, task, progress)
        tuned = judge(_trials(study))
    for line in tuned.table:
        progress.note(line)
    progress.note(f"tuning: {tuned.summary}")
    return tuned


def _objective(trial: optuna.Trial, course: Course, dictionary: Dictionary, start: Start, task: Task) -> float:
    """Train with the hyper-parameters of a trial; mean misfit of the patterns that choose."""
    import optuna

    # A sampler for each trial: it draws the same after a restart, and something else in every process.
    before = [each for each in trial.study.get_trials(deepcopy=False) if each.number < trial.number]
    seed = (7919 * start.training.seed + sum(map(_counts, before))) % 2**32
    trial.study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
    hyper = _suggested(trial, start)
    default, last = hyper == start.hyper, start.training.epochs - 1

    def watch(epoch: int, misfit: FloatArray) -> None:
        value = float(choosing(misfit).mean())
        if not np.isfinite(value) and not default:
            raise optuna.TrialPruned("the misfit is not finite")
        trial.report(value, epoch)
        task.status(f"trial {trial.number}, epoch {epoch + 1} of {start.training.epochs}")
        if epoch < last and not default and trial.should_prune():
            raise optuna.TrialPruned

    training, shape = hyper.training(start.training), hyper.shape(start.shape)
    try:
        trained = train(course, dictionary, settings=training, shape=shape, init_from=start.network, watch=watch)
    except (ArithmeticError, RuntimeError) as error:  # what torch says where numbers or memory run out
        if default or isinstance(error, optuna.exceptions.OptunaError):
            raise
        raise optuna.TrialPruned(first_line(error)) from error
    trial.set_user_attr(MISFIT, trained.misfit.tolist())
    trial.set_user_attr(HELD_OUT, trained.log.kept.held_out)
    return float(choosing(trained.misfit).mean())


def _suggested(trial: optuna.Trial, start: Start) -> HyperParameters:
    values = asdict(start.hyper)
    for name in _tuned_names(start):
        space = SPACE[name]
        if isinstance(space, Range):
            values[name] = trial.suggest_float(name, space.low, space.high, log=True)
        else:
            values[name] = trial.suggest_categorical(name, space)
    return HyperParameters(**values)


def _tuned_names(start: Start) -> list[str]:
    return [name for name in SPACE if start.network is None or name not in WIDTHS]


def _todo(study: optuna.Study, wanted: int, start: Start) -> Literal["run", "wait", "nothing"]:
    """Run a trial, wait for those of other processes, or nothing."""
    import optuna

    state = optuna.trial.TrialState
    optuna.storages.fail_stale_trials(study)
    trials = study.get_trials(deepcopy=False)
    if not _has_default(study, trials):
        study.enqueue_trial(_default(start))
        return "run"
    if any(trial.state == state.WAITING for trial in trials) or sum(map(_counts, trials)) < wanted:
        return "run"
    return "wait" if any(map(_is_alive, trials)) else "nothing"


def _counts(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial is finished or will be."""
    return trial.state.name in ("COMPLETE", "PRUNED") or _is_alive(trial)


def _is_alive(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial is under way; Optuna never notices one that was killed before its first sign of life."""
    if trial.state.name != "RUNNING" or trial.datetime_start is None:
        return False
    age = datetime.now() - trial.datetime_start
    return bool(trial.intermediate_values) or age.total_seconds() < 2 * GRACE


def _trials(study: optuna.Study) -> list[Trial]:
    """The finished trials."""
    import optuna

    finished = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    start = study.user_attrs[START]
    return [
        Trial(
            trial.number,
            HyperParameters(**(start | trial.params)),
            epochs=len(trial.intermediate_values),
            held_out=float(trial.user_attrs.get(HELD_OUT, 0.0)),
            misfit=np.array(trial.user_attrs.get(MISFIT, ())),
            default=start | trial.params == start,
        )
        for trial in study.get_trials(deepcopy=False, states=finished)
    ]


def _tell(study: optuna.Study, told: set[int], task: Task, progress: Progress) -> None:
    """Say of every trial that ended since the last call what became of it."""
    for trial in _trials(study):
        if trial.number not in told:
            told.add(trial.number)
            task.advance()
            said = f"held-out {trial.held_out:.4f}" if trial.ended else f"ended early, after epoch {trial.epochs}"
            settings = "the default settings" if trial.default else trial.hyper.text
            progress.note(f"trial {trial.number}: {said}, with {settings}")


@contextmanager
def _opened(search: Search, start: Start) -> Iterator[optuna.Study]:
    """The study, made where there is none; its first trial has the settings of the start."""
    import optuna

    if search.file is None:
        yield _made(optuna.storages.InMemoryStorage(), search.of, start)
        return
    if not search.file.exists():
        _write(search.file, search.of, start)
    with _loaded(search.file, search.of) as study:
        yield study


def _write(file: Path, of: Mapping[str, str], start: Start) -> None:
    """Make the file of a study, which appears whole: a process that comes meanwhile finds all of it or nothing."""
    try:
        with write_whole(file) as temporary, _storage(temporary) as storage:
            _made(storage, of, start)
    except OutputError:
        if not file.exists():  # else another process was faster
            raise


def _made(storage: optuna.storages.BaseStorage, of: Mapping[str, str], start: Start) -> optuna.Study:
    import optuna

    study = optuna.create_study(storage=storage, study_name=NAME, pruner=_pruner())
    study.set_user_attr(OF, dict(of))
    study.set_user_attr(START, asdict(start.hyper))
    study.enqueue_trial(_default(start))
    return study


def _pruner() -> optuna.pruners.BasePruner:
    """What ends trials early; a study that is loaded does not remember it."""
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials=FREE_TRIALS, n_warmup_steps=FREE_EPOCHS)


def _default(start: Start) -> dict[str, Any]:
    values = asdict(start.hyper)
    return {name: values[name] for name in _tuned_names(start)}


def _has_default(study: optuna.Study, trials: Sequence[optuna.trial.FrozenTrial]) -> bool:
    """Whether the first settings were tried, or are going to be: a run that was ended may have lost them."""
    start = study.user_attrs[START]
    left = [trial for trial in trials if trial.state.name in ("COMPLETE", "WAITING") or _is_alive(trial)]
    given = [trial.params or trial.system_attrs.get("fixed_params") for trial in left]
    return any(start | values == start for values in given if values)


@contextmanager
def _loaded(file: Path, of: Mapping[str, str]) -> Iterator[optuna.Study]:
    """A study that exists, if it is of the same things."""
    import optuna

    _check_content(file)
    with _storage(file) as storage:
        study = optuna.load_study(storage=storage, study_name=NAME, pruner=_pruner())
        _check_same(file, study.user_attrs.get(OF, {}), of)
        yield study


@contextmanager
def _storage(file: Path) -> Iterator[optuna.storages.RDBStorage]:
    """The file as Optuna reads and writes it, with signs of life; what goes wrong with it is said in a sentence."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    again = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)
    connect = partial(sqlite3.connect, file, timeout=BUSY, check_same_thread=False)
    storage = None
    try:
        storage = optuna.storages.RDBStorage(
            "sqlite:///study", engine_kwargs={"creator": connect}, heartbeat_interval=HEARTBEAT, grace_period=GRACE,
            heartbeat_stale_trial_callback=again,
        )  # fmt: skip
        yield storage
    except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError) as error:
        cause = first_line(error.__cause__ or error)
        raise OutputError(f"the study {file} cannot be read or written ({cause}); check the drive") from error
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _check_content(file: Path) -> None:
    """Refuse what is no study of this program, without a change to it."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY)) as connection:
            found = connection.execute("SELECT 1 FROM studies WHERE study_name = ?", (NAME,)).fetchone()
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise OutputError(f"the study {file} is locked by another program; try again later") from error
        found = None
    if not found:
        raise InputError(f"{file} is no study of cyclestrain; give --study the name of one, or of a new file")


def _check_same(file: Path, stored: Mapping[str, str], of: Mapping[str, str]) -> None:
    other = "give --study the name of a new file"
    if stored.get("version") != of.get("version"):
        raise InputError(
            f"the study {file} was made by cyclestrain {stored.get('version')}, this is {of.get('version')}; trials of "
            f"two versions cannot be compared, {other}"
        )
    if stored.get("scan") != of.get("scan"):
        raise InputError(f"the study {file} is of another scan, or of another part of it; {other}")
    if stored.get("model") != of.get("model"):
        raise InputError(f"the study {file} was started from another model (--init-from); {other}")
    mine, its = (json.loads(each.get("settings", "{}")) for each in (of, stored))
    for name in sorted(mine.keys() | its.keys()):
        if mine.get(name) != its.get(name):
            raise InputError(
                f"the study {file} was made with {name} {its.get(name)}, now it is {mine.get(name)}; repeat its "
                f"settings, or {other}"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from telling of every trial, and of interfaces that it may change."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
