"""The prior over poses: it gains where poses repeat, and leaves alone what is like nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.affine import rotation, symmetric
from cyclestrain.data import AffineField, FloatArray
from cyclestrain.network import with_prior

NOISE = 1e-3
SIX_FOLD = rotation(2 * np.pi * np.arange(6) / 6)


def noisy(truth: FloatArray, rng: np.random.Generator, noise: float = NOISE) -> AffineField:
    """Affines found with isotropic noise, each labelled at random; `truth` has shape ``(ry, rx, 2, 2)``."""
    shape = truth.shape[:2]
    affine = (truth + rng.normal(0, noise, truth.shape)) @ SIX_FOLD[rng.integers(6, size=shape)]
    covariance = np.broadcast_to(noise**2 * np.eye(4), (*shape, 4, 4))
    return AffineField(affine, covariance, np.zeros(shape, int), np.ones(shape, bool), (SIX_FOLD,))


def error(found: AffineField, truth: FloatArray) -> FloatArray:
    """Difference from the truth in the labelling that makes it least, shape ``(ry, rx, 2, 2)``."""
    every = found.affine[..., None, :, :] @ SIX_FOLD - truth[..., None, :, :]
    best = np.abs(every).max((-1, -2)).argmin(-1)
    return np.take_along_axis(every, best[..., None, None, None], -3)[..., 0, :, :]


def grains(n: int, rng: np.random.Generator) -> FloatArray:
    """Affines of `n` crystals of any rotation, strain up to 2 %."""
    yy, xx, yx = rng.uniform(-0.02, 0.02, (3, n))
    return rotation(rng.uniform(-np.pi, np.pi, n)) @ symmetric(1 + yy, 1 + xx, yx)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_crystals_met_often_are_known_better_than_any_single_pattern(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = grains(20, rng)[rng.integers(20, size=(60, 60))]
    field = noisy(truth, rng)
    found = with_prior(field)
    errors = error(found, truth)
    assert errors.std() < 0.25 * NOISE
    sigma = np.sqrt(np.einsum("...ii->...i", found.covariance))
    assert 0.7 < (errors.reshape(60, 60, 4) / sigma).std() < 1.3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_every_pose_differs_nothing_is_lost(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = grains(900, rng).reshape(30, 30, 2, 2)
    field = noisy(truth, rng)
    assert error(with_prior(field), truth).std() < 1.01 * error(field, truth).std()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_smooth_field_keeps_its_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wave = 0.01 * np.sin(2 * np.pi * np.arange(48) / 24) * np.ones((48, 1))
    truth = rotation(0.3) @ symmetric(1 + 0 * wave, 1 + wave, 0 * wave)
    field = noisy(truth, rng)
    found = with_prior(field)
    before, after = error(field, truth), error(found, truth)
    assert after.std() < 0.75 * before.std()
    # Along the wave nothing is pulled to a mean: error and truth stay uncorrelated.
    along = (rotation(-0.3) @ after)[..., 1, 1]
    assert abs(np.polyfit(wave.ravel(), along.ravel(), 1)[0]) < 0.03


def test_one_pattern_like_no_other_stays_as_it_was_found() -> None:
    rng = np.random.default_rng(4)
    truth = np.broadcast_to(grains(1, rng)[0], (30, 30, 2, 2)).copy()
    truth[7, 9] = truth[7, 9] @ symmetric(1.01, 0.99, 0.004)
    field = noisy(truth, rng)
    found = with_prior(field)
    assert np.abs(error(found, truth)[7, 9] - error(field, truth)[7, 9]).max() < 0.05 * NOISE


def test_positions_without_a_pose_are_left_alone() -> None:
    rng = np.random.default_rng(5)
    field = noisy(np.broadcast_to(np.eye(2), (8, 8, 2, 2)), rng)
    field.affine[0, 0] = np.nan
    field.valid[1, 1] = False
    found = with_prior(field)
    assert np.isnan(found.affine[0, 0]).all()
    assert np.array_equal(found.affine[1, 1], field.affine[1, 1])


def test_vague_patterns_are_pulled_more_than_clear_ones() -> None:
    rng = np.random.default_rng(6)
    truth = np.broadcast_to(np.eye(2), (40, 40, 2, 2))
    noise = np.where(rng.random((40, 40)) < 0.2, 4 * NOISE, NOISE)
    affine = truth + rng.normal(size=truth.shape) * noise[..., None, None]
    covariance = noise[..., None, None] ** 2 * np.eye(4)
    field = AffineField(affine, covariance, np.zeros((40, 40), int), np.ones((40, 40), bool), (SIX_FOLD,))
    errors = np.abs(error(with_prior(field), truth)).mean((-1, -2))
    assert errors[noise > 2 * NOISE].mean() < 0.5 * NOISE


@pytest.mark.parametrize("factor", [0.25, 1.0, 16.0])
def test_crystals_are_told_apart_even_where_noise_is_stated_wrongly(factor: float) -> None:
    rng = np.random.default_rng(7)
    truth = grains(25, rng)[(np.arange(50) // 10)[:, None] * 5 + np.arange(50)[None] // 10]
    field = noisy(truth, rng)
    field = replace(field, covariance=field.covariance * factor**2)
    assert error(with_prior(field), truth).std() < (1.0 if factor < 1 else 0.25) * NOISE


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_without_noise_nothing_is_spoiled(noise: float) -> None:
    rng = np.random.default_rng(8)
    truth = grains(9, rng)[(np.arange(30) // 10)[:, None] * 3 + np.arange(30)[None] // 10]
    field = noisy(truth, rng, noise)
    spread = rng.uniform(0.5, 2.0, (30, 30, 1, 1)) * 1e-10 * np.eye(4)
    found = with_prior(replace(field, covariance=spread))
    assert np.abs(error(found, truth)).max() < 1e-8
    assert (np.einsum("...ii->...i", found.covariance) >= 0).all()
