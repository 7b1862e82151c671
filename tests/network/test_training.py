from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crystals import make_crystals, make_dictionary
from cyclestrain.machine import threads
from cyclestrain.network import Autoencoder, Course, Epoch, NetworkSettings, Trained, TrainingSettings, infer, train
from cyclestrain.network.checkpoint import Checkpoint
from cyclestrain.network.losses import LossWeights
from cyclestrain.storage import PrivateFolder, RunFolder
from test_pipeline import Notes

DICTIONARY = make_dictionary()
CRYSTALS = make_crystals(60, DICTIONARY.entries[0])
COURSE = Course(CRYSTALS.patterns, CRYSTALS.good, CRYSTALS.theta[:, None], CRYSTALS.centre, 0.1)
TINY = TrainingSettings(epochs=3, steps=2, batch=6, held_out=12, seed=4)
SHAPE = NetworkSettings(gazes=1)


FILE = f"{Checkpoint.NAME}.npz"


def run_in(folder: Path) -> RunFolder:
    return RunFolder(PrivateFolder(folder, None), "key")


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

    def status(self, text: str) -> None:
        return None

    def note(self, text: str) -> None:
        return None


def assert_same_weights(one: Trained, two: Trained) -> None:
    for (name, a), b in zip(one.network.state_dict().items(), two.network.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert one.log == two.log


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_killed_run_resumes_to_bit_identical_weights(tmp_path: Path, epochs: int) -> None:
    whole = train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE)
    with pytest.raises(KilledError):
        train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE, run=run_in(tmp_path), progress=KilledAfter(epochs))
    resumed = train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE, run=run_in(tmp_path))
    assert_same_weights(whole, resumed)


def test_the_seed_decides_everything() -> None:
    one, two, other = (train(COURSE, DICTIONARY, settings=replace(TINY, seed=seed), shape=SHAPE) for seed in (1, 1, 2))
    assert_same_weights(one, two)
    assert not torch.equal(one.network.glance.squeeze.weight, other.network.glance.squeeze.weight)


def test_networks_start_alike_on_any_number_of_threads() -> None:
    """What a network starts from is solved for, and libraries may do so with other last digits at every call."""
    starts = []
    for jobs in (1, 2) * 10:
        with threads(jobs):
            starts.append(Autoencoder(DICTIONARY, SHAPE, 0.1).gaze.state_dict())
    assert all(torch.equal(starts[0][name], each[name]) for each in starts for name in starts[0])


def test_checkpoints_hold_no_pickle_and_leave_no_parts(tmp_path: Path) -> None:
    train(COURSE, DICTIONARY, settings=replace(TINY, epochs=1), shape=SHAPE, run=run_in(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_damaged_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    whole = train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE, run=run_in(tmp_path))
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:1000])
    assert_same_weights(whole, train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE, run=run_in(tmp_path)))


@pytest.mark.parametrize("n", [2, 6])
def test_a_few_patterns_are_enough_to_train(n: int) -> None:
    few = replace(COURSE, patterns=COURSE.patterns[:n], theta=COURSE.theta[:n], centre=COURSE.centre[:n])
    log = train(few, DICTIONARY, settings=TINY, shape=SHAPE).log
    assert log.best == len(log.epochs) - 1  # nothing, or too little, is held out to say otherwise


def test_training_starts_from_another_network() -> None:
    first = train(COURSE, DICTIONARY, settings=replace(TINY, seed=1), shape=SHAPE).network
    still = replace(TINY, seed=2, epochs=1, learning_rate=0.0)
    second = train(COURSE, DICTIONARY, settings=still, shape=SHAPE, init_from=first).network
    torch.testing.assert_close(second.glance.squeeze.weight, first.glance.squeeze.weight)


@pytest.mark.parametrize("term", ["inverse", "forward", "cycle", "choice"])
def test_every_term_can_be_switched_off(term: str) -> None:
    weights = replace(TINY.weights, **{term: 0.0})
    trained = train(COURSE, DICTIONARY, settings=replace(TINY, epochs=1, weights=weights), shape=SHAPE)
    assert all(np.isfinite(value) for value in trained.log.epochs[0].terms.values())


def test_the_head_of_the_paper_trains_too() -> None:
    trained = train(COURSE, DICTIONARY, settings=TINY, shape=replace(SHAPE, head="connected"))
    assert all(np.isfinite(value) for value in trained.log.epochs[-1].terms.values())


def test_the_table_has_a_row_for_every_epoch_and_fits_a_terminal() -> None:
    notes = Notes()
    log = train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE, progress=notes).log
    assert [line.split()[0] for line in log.table()] == ["epoch", "1", "2", "3"]
    assert notes.notes[:5] == [log.key, log.heading, *(log.row(i) for i in range(3))]
    data = log.dataset()
    assert set(data) == {"held_out", "mask_radius", *(field.name for field in fields(LossWeights))}
    assert {"inverse", "choice"} <= set(data) & set(log.heading.split())
    assert len(log.heading) <= 80
    assert data["epoch"].values.tolist() == [1, 2, 3]
    assert int(data.attrs["kept"]) == log.best + 1
    assert (np.diff(data["mask_radius"]) <= 0).all()
    assert float(data["cycle"][-1]) == log.epochs[-1].terms["cycle"]


def test_mixed_precision_is_close_and_stays_in_the_convolutions() -> None:
    mixed = train(COURSE, DICTIONARY, settings=replace(TINY, mixed=True), shape=SHAPE)
    exact = train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE)
    assert all(weight.dtype == torch.float32 for weight in mixed.network.parameters())
    assert mixed.log.kept.held_out == pytest.approx(exact.log.kept.held_out, rel=0.01)
    poses = {}
    for low in (False, True):
        exact.network.glance.low_precision = low
        poses[low] = infer(exact.network, CRYSTALS.patterns, CRYSTALS.good, COURSE.theta, CRYSTALS.centre)
    sigma = np.sqrt(np.einsum("nii->ni", poses[False].affine_covariance)).reshape(-1, 2, 2)
    error = (poses[True].start.affine - poses[False].start.affine) / sigma
    assert 0 < np.abs(error).max() < 0.3


@pytest.mark.cuda
def test_a_gpu_comes_to_the_same() -> None:
    there = train(COURSE, DICTIONARY, settings=replace(TINY, device="cuda"), shape=SHAPE)
    here = train(COURSE, DICTIONARY, settings=TINY, shape=SHAPE)
    assert there.network.glance.low_precision
    assert {weight.device.type for weight in there.network.state_dict().values()} == {"cuda"}
    assert there.log.kept.held_out == pytest.approx(here.log.kept.held_out, rel=0.01)
    found = infer(there.network, CRYSTALS.patterns, CRYSTALS.good, COURSE.theta, CRYSTALS.centre)
    same = infer(there.network.cpu(), CRYSTALS.patterns, CRYSTALS.good, COURSE.theta, CRYSTALS.centre)
    np.testing.assert_allclose(found.start.affine, same.start.affine, atol=1e-3)


def test_an_epoch_whose_misfit_is_no_number_is_kept_only_until_there_is_one() -> None:
    network = Autoencoder(DICTIONARY, SHAPE, 0.1)
    state = Checkpoint(network, torch.optim.AdamW(network.parameters()), np.random.default_rng(0))
    good, bad = torch.tensor([1.0, 1.2]), torch.tensor([1.0, torch.nan])
    kept = []
    for held_out in (bad, good, bad, good + 1, good - 1, bad):
        state.record(Epoch({}, 0.0, 1.0), held_out)
        kept.append(state.best)
    assert kept == [0, 1, 1, 1, 4, 4]
    assert state.is_stale(1)
