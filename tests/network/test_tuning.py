"""Tuning never ends worse than the default, is never fooled by luck, and goes on after it was killed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crystals import make_crystals, make_dictionary
from cyclestrain.errors import InputError, OutputError
from cyclestrain.network import (
    Course,
    NetworkSettings,
    Search,
    Start,
    TrainingSettings,
    check_study,
    train,
    tune,
    tuning,
)
from cyclestrain.network.hyperparameters import SPACE, HyperParameters
from cyclestrain.network.tuned import Trial, Tuned, judge
from cyclestrain.progress import SilentProgress
from test_pipeline import Notes

optuna = pytest.importorskip("optuna")

DICTIONARY = make_dictionary()
CRYSTALS = make_crystals(60, DICTIONARY.entries[0])
COURSE = Course(CRYSTALS.patterns, CRYSTALS.good, CRYSTALS.theta[:, None], CRYSTALS.centre, 0.1)
TINY = TrainingSettings(epochs=2, steps=1, batch=6, held_out=12, seed=4)
START = Start(TINY, NetworkSettings(gazes=1))
OF = {"version": "1", "scan": "a", "model": "", "settings": json.dumps({"seed": 4})}
DEFAULT = START.hyper
OTHER = replace(DEFAULT, learning_rate=0.01)


def trial(number: int, misfit: Any, hyper: HyperParameters = OTHER, **options: Any) -> Trial:
    return Trial(number, hyper, 2, 1.0, np.asarray(misfit, float), **options)


def states(file: Path) -> list[str]:
    study = optuna.load_study(study_name="cyclestrain", storage=f"sqlite:///{file}")
    return [each.state.name for each in study.trials]


# What is kept


def test_the_default_is_kept_unless_another_is_better_beyond_doubt() -> None:
    rng = np.random.default_rng(1)
    pattern = 100 + 10 * rng.standard_normal(200)  # what is hard for one network is hard for all of them
    default = trial(0, pattern, DEFAULT, default=True)
    noise = rng.standard_normal(200)
    better = trial(1, pattern - 0.5 + noise)
    assert judge([default, better]).hyper == OTHER
    assert "trial 1 is kept: +0." in judge([default, better]).summary
    assert judge([default, trial(1, pattern)]).hyper == DEFAULT  # a tie
    assert judge([default, trial(1, pattern + 0.5 + noise)]).hyper == DEFAULT
    assert "none is better" in judge([default]).summary
    assert judge([default, trial(1, [])]).hyper == DEFAULT
    few = trial(0, pattern[:12], DEFAULT, default=True)
    assert judge([few, trial(1, pattern[:12] - 0.5)]).hyper == DEFAULT


def test_luck_among_many_trials_that_differ_in_nothing_is_not_kept() -> None:
    rng, kept = np.random.default_rng(0), 0
    for _ in range(200):
        default = trial(0, rng.standard_normal(100), DEFAULT, default=True)
        kept += judge([default, *(trial(i, rng.standard_normal(100)) for i in range(1, 30))]).hyper != DEFAULT
    assert kept <= 12  # 2.3 % are expected beyond two standard errors; by the patterns that choose it would be most


def test_what_was_tuned_is_told_and_read_back() -> None:
    default, better = trial(0, np.full(40, 2.0), DEFAULT, default=True), trial(3, np.full(40, 1.0))
    tuned = judge([default, better, trial(1, [])])
    assert Tuned.from_json(tuned.to_json()) == tuned
    rows = [line.split() for line in tuned.table]
    assert [row[0] for row in rows] == ["trial", "3", "0", "1"]
    assert tuned.table[1].endswith("kept")
    assert max(map(len, tuned.table)) <= 125
    assert len({line.index(line.split()[1]) for line in tuned.table[1:]}) == 1
    with pytest.raises(ValueError, match="learning_rate cannot be 1"):
        Tuned.from_json(tuned.to_json().replace("0.01,", "1,"))
    for text in ("{}", "[]", "1", '{"hyper": "{}", "summary": "", "table": []}', "no JSON"):
        with pytest.raises(ValueError, match=r"hyper|outcome|Expecting"):
            Tuned.from_json(text)


def test_the_defaults_lie_within_the_space_and_go_back_and_forth() -> None:
    hyper = HyperParameters.of(TrainingSettings(), NetworkSettings())
    assert asdict(hyper).keys() == SPACE.keys()
    assert HyperParameters.from_json(hyper.to_json()) == hyper
    assert hyper.training(TrainingSettings()) == TrainingSettings()
    assert hyper.shape(NetworkSettings()) == NetworkSettings()
    assert HyperParameters.of(OTHER.training(TINY), OTHER.shape(START.shape)) == OTHER


# The search


def test_the_default_comes_first_and_its_training_is_that_of_an_ordinary_fit(tmp_path: Path) -> None:
    notes = Notes()
    tuned = tune(COURSE, DICTIONARY, START, Search(3, tmp_path / "study.db", OF), progress=notes)
    plain = train(COURSE, DICTIONARY, settings=TINY, shape=START.shape)
    assert f"trial 0: held-out {plain.log.kept.held_out:.4f}, with the default settings" in notes.notes
    assert tuned.hyper == DEFAULT  # twelve patterns make nothing sure
    assert notes.notes[-1] == f"tuning: {tuned.summary}"
    assert tuned.summary.startswith("3 trials")
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


def test_a_study_that_is_complete_is_not_searched_again_and_a_longer_one_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    first = tune(COURSE, DICTIONARY, START, Search(2, file, OF), progress=SilentProgress())
    assert tune(COURSE, DICTIONARY, START, Search(2, file, OF), progress=SilentProgress()) == first
    tune(COURSE, DICTIONARY, START, Search(3, file, OF), progress=SilentProgress())
    assert len(states(file)) == 3


def test_the_same_search_finds_the_same() -> None:
    one, two = (tune(COURSE, DICTIONARY, START, Search(3), progress=SilentProgress()) for _ in range(2))
    assert one == two


KILLED = """
import os, signal
from pathlib import Path
import test_tuning as t
from cyclestrain.network import tuning
from cyclestrain.progress import SilentProgress
tuning.HEARTBEAT, begun, train = 1, [], tuning.train
def killed(*arguments, **options):
    begun.append(1)
    if len(begun) == {trial} + 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return train(*arguments, **options)
tuning.train = killed
t.tune(t.COURSE, t.DICTIONARY, t.START, t.Search(3, Path({file!r}), t.OF), progress=SilentProgress())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on this system")
@pytest.mark.parametrize("during", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_search_that_was_killed_goes_on_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, during: int
) -> None:
    file = tmp_path / "study.db"
    here = str(Path(__file__).parent)
    paths = f"import sys; sys.path[:0] = [{here!r}, {str(Path(here).parent)!r}]\n"
    code = paths + KILLED.format(trial=during, file=str(file))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert states(file)[during] == "RUNNING"
    for name, seconds in (("HEARTBEAT", 1), ("GRACE", 2), ("LOOK", 0.2)):
        monkeypatch.setattr(tuning, name, seconds)
    time.sleep(2.5)  # a trial without a heartbeat for longer than the grace is a dead one
    outcomes = []
    for search in (Search(3, file, OF), Search(3)):
        notes = Notes()
        tune(COURSE, DICTIONARY, START, search, progress=notes)
        outcomes.append({note.partition(": ")[2] for note in notes.notes if note.startswith("trial ") and ":" in note})
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == 3
    assert sorted(states(file)) == ["COMPLETE"] * 3 + ["FAIL"]


def test_an_interrupted_default_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    file = tmp_path / "study.db"
    monkeypatch.setattr(tuning, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        tune(COURSE, DICTIONARY, START, Search(2, file, OF), progress=SilentProgress())
    monkeypatch.undo()
    tuned = tune(COURSE, DICTIONARY, START, Search(2, file, OF), progress=SilentProgress())
    assert "2 trials" in tuned.summary
    assert states(file).count("COMPLETE") == 2


def test_trials_that_are_behind_are_ended_early_but_the_default_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda _: True)
    tuned = tune(COURSE, DICTIONARY, START, Search(3), progress=SilentProgress())
    assert "3 trials, 2 of them ended early" in tuned.summary


def test_numbers_that_run_away_end_a_trial_and_not_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def fragile(*arguments: Any, **options: Any) -> Any:
        if options["settings"] != TINY:
            raise RuntimeError("the matrix is singular")
        return train(*arguments, **options)

    monkeypatch.setattr(tuning, "train", fragile)
    tuned = tune(COURSE, DICTIONARY, START, Search(3), progress=SilentProgress())
    assert tuned.hyper == DEFAULT
    assert "3 trials, 2 of them ended early" in tuned.summary


def test_where_weights_come_from_another_network_its_widths_stay() -> None:
    network = train(COURSE, DICTIONARY, settings=replace(TINY, epochs=1), shape=START.shape).network
    notes = Notes()
    tune(COURSE, DICTIONARY, replace(START, network=network), Search(4), progress=notes)
    assert {line.split()[8] for line in notes.notes if " with learning rate" in line} == {"8"}


# Studies that are refused


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": "2"}, "was made by cyclestrain 1, this is 2"),
        ({"scan": "b"}, "is of another scan"),
        ({"model": "m"}, "was started from another model"),
        ({"settings": json.dumps({"seed": 5})}, "was made with seed 4, now it is 5"),
    ],
)
def test_a_study_of_something_else_is_refused(tmp_path: Path, change: dict[str, str], expected: str) -> None:
    file = tmp_path / "study.db"
    with tuning._quiet():
        tuning._write(file, OF, START)
    check_study(file, OF)
    content = file.read_bytes()
    for refused in (
        lambda: check_study(file, OF | change),
        lambda: tune(COURSE, DICTIONARY, START, Search(2, file, OF | change), progress=SilentProgress()),
    ):
        with pytest.raises(InputError, match=expected) as error:
            refused()
        assert "\n" not in str(error.value)
    assert file.read_bytes() == content


def test_files_that_are_no_studies_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a thesis")
    with sqlite3.connect(tmp_path / "base") as base:
        base.execute("CREATE TABLE samples (name)")
    base.close()
    optuna.create_study(storage=f"sqlite:///{tmp_path / 'other'}", study_name="mine")
    (tmp_path / "folder").mkdir()
    for name in ("text", "base", "other", "folder"):
        file = tmp_path / name
        before = file.read_bytes() if file.is_file() else b""
        with pytest.raises(InputError, match=f"{name} is no study of cyclestrain"):
            check_study(file, OF)
        assert (file.read_bytes() if file.is_file() else b"") == before
    with pytest.raises(OutputError, match="does not exist"):
        check_study(tmp_path / "nowhere" / "study.db", OF)


def test_without_optuna_the_line_that_installs_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'cyclestrain\[tune\]'"):
        tune(COURSE, DICTIONARY, START, Search(2), progress=SilentProgress())
