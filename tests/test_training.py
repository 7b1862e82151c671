from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crystals import make_crystals, make_dictionary
from cyclestrain.checkpoint import Checkpoint
from cyclestrain.model.autoencoder import NetworkSettings
from cyclestrain.training import Course, Trained, TrainingSettings, train

DICTIONARY = make_dictionary()
CRYSTALS = make_crystals(60, DICTIONARY.entries[0])
COURSE = Course(CRYSTALS.patterns, CRYSTALS.good, CRYSTALS.theta[:, None], CRYSTALS.centre, 0.1)
TINY = TrainingSettings(epochs=3, steps=2, batch=6, held_out=12)
SHAPE = NetworkSettings(gazes=1)


class KilledError(Exception):
    pass


class KilledAfter:
    """A progress that dies, as a killed run does, when a number of epochs are done."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs + 1  # the first call counts the epochs done before

    def stage(self, name: str, total: int | None = None) -> KilledAfter:
        return self

    def __enter__(self) -> KilledAfter:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def advance(self, n: int = 1) -> None:
        self.left -= 1
        if self.left == 0:
            raise KilledError

    def note(self, text: str) -> None:
        return None


def assert_same_weights(one: Trained, two: Trained) -> None:
    for (name, a), b in zip(one.network.state_dict().items(), two.network.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert one.epochs == two.epochs


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_killed_run_resumes_to_bit_identical_weights(tmp_path: Path, epochs: int) -> None:
    whole = train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE, seed=4)
    with pytest.raises(KilledError):
        train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE, seed=4, checkpoint=tmp_path, progress=KilledAfter(epochs))
    resumed = train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE, seed=4, checkpoint=tmp_path, resume=True)
    assert_same_weights(whole, resumed)


def test_the_seed_decides_everything() -> None:
    one, two, other = (train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE, seed=seed) for seed in (1, 1, 2))
    assert_same_weights(one, two)
    assert not torch.equal(one.network.glance.squeeze.weight, other.network.glance.squeeze.weight)


def test_checkpoints_hold_no_pickle_and_leave_no_parts(tmp_path: Path) -> None:
    train(COURSE, DICTIONARY, settings=replace(TINY, epochs=1), shape=SHAPE, checkpoint=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [Checkpoint.FILE]


def test_training_starts_from_another_network() -> None:
    first = train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE, seed=1).network
    still = replace(TINY, epochs=1, learning_rate=0.0)
    second = train(COURSE, DICTIONARY, settings=still, shape=SHAPE, seed=2, init_from=first).network
    torch.testing.assert_close(second.glance.squeeze.weight, first.glance.squeeze.weight)


@pytest.mark.parametrize("term", ["inverse", "forward", "cycle", "choice"])
def test_every_term_can_be_switched_off(term: str) -> None:
    weights = replace(TINY.weights, **{term: 0.0})
    trained = train(COURSE, DICTIONARY, settings=replace(TINY, epochs=1, weights=weights), shape=SHAPE)
    assert all(np.isfinite(value) for value in trained.epochs[0].terms.values())


def test_the_head_of_the_paper_trains_too() -> None:
    trained = train(COURSE, DICTIONARY, settings=TINY, shape=replace(SHAPE, head="connected"))
    assert all(np.isfinite(value) for value in trained.epochs[-1].terms.values())
