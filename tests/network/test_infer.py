from __future__ import annotations

import numpy as np
import pytest

from crystals import make_crystals, make_dictionary
from cyclestrain.affine import rotation
from cyclestrain.network import Course, Trained, TrainingSettings, infer, train
from cyclestrain.network.infer import Inferred

DICTIONARY = make_dictionary()
SCAN = make_crystals(400, DICTIONARY.entries[0], seed=8)


@pytest.fixture(scope="module")
def trained() -> Trained:
    course = Course(SCAN.patterns, SCAN.good, SCAN.theta[:, None], SCAN.centre, 0.1)
    return train(course, DICTIONARY, settings=TrainingSettings(epochs=4, steps=10, batch=32))


@pytest.fixture(scope="module")
def inferred(trained: Trained) -> Inferred:
    return infer(trained.network, SCAN.patterns, SCAN.good, SCAN.theta[:, None], SCAN.centre)


def test_the_network_is_far_better_than_the_coarse_start(inferred: Inferred) -> None:
    error = inferred.start.affine - SCAN.affine
    coarse = rotation(SCAN.theta) - SCAN.affine
    assert np.sqrt((error**2).mean()) < 0.4 * np.sqrt((coarse**2).mean())


def test_it_is_right_within_its_own_covariance(inferred: Inferred) -> None:
    error = (inferred.start.affine - SCAN.affine).reshape(-1, 4)
    chi = np.einsum("ni,nij,nj->n", error, np.linalg.inv(inferred.affine_covariance), error)
    assert 0.6 < np.median(chi) / 3.36 < 1.8  # median of chi-square with four degrees of freedom


def test_it_is_unbiased(inferred: Inferred) -> None:
    error = (inferred.start.affine - SCAN.affine).reshape(-1, 4)
    assert (np.abs(error.mean(0)) < 5 * error.std(0) / np.sqrt(len(error))).all()


def test_gain_centre_and_class(inferred: Inferred) -> None:
    assert np.median(inferred.start.gain) == pytest.approx(1.0, abs=0.05)
    assert np.median(np.abs(inferred.start.centre - SCAN.centre)) < 0.1
    assert (inferred.label == 0).all()


def test_batches_do_not_matter(trained: Trained, inferred: Inferred) -> None:
    some = infer(trained.network, SCAN.patterns[:50], SCAN.good, SCAN.theta[:50, None], SCAN.centre[:50], batch=7)
    np.testing.assert_allclose(some.start.affine, inferred.start.affine[:50], atol=1e-5)


def test_empty_patterns_are_vacuum(trained: Trained) -> None:
    rng = np.random.default_rng(0)
    background = make_dictionary(brightness=1e-6).entries[0]
    empty = make_crystals(40, background, seed=3)
    theta = rng.uniform(-np.pi, np.pi, (40, 1))
    assert infer(trained.network, empty.patterns, empty.good, theta, empty.centre).is_vacuum.mean() > 0.9
