"""Laws of the context stage: what neighbours may and may not do to an estimate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import uniform_filter

from cyclestrain.affine import rotation
from cyclestrain.context import smooth
from cyclestrain.data import AffineField
from noisy_fields import SIGMA, STATE, affine_of, noisy, sigma_of, values_of

SIXFOLD = rotation(2 * np.pi / 6 * np.arange(6))


def make(truth, seed=0, sigma=SIGMA):
    """Field of a six-fold crystal with noise of a known covariance."""
    return dataclasses.replace(noisy(truth, seed, np.asarray(sigma)), operators=(SIXFOLD,))


def flat(scan=(48, 48), state=STATE):
    return np.tile(np.asarray(state, float), (*scan, 1))


def wave(scan, period, amplitude=0.01):
    y, x = np.mgrid[: scan[0], : scan[1]]
    truth = flat(scan)
    truth[..., 1] += amplitude * np.sin(2 * np.pi / period * (0.9 * x + 0.44 * y))
    truth[..., 3] += 0.5 * amplitude * np.sin(2 * np.pi / period * (0.9 * x + 0.44 * y))
    return truth


def relabelled(field, numbers):
    """The same crystals in other, equivalent labellings, and the matrices that lead there."""
    chosen = field.operators[0][numbers]
    jac = np.einsum("ik,...lj->...ijkl", np.eye(2), chosen).reshape(*numbers.shape, 4, 4)
    covariance = jac @ field.covariance @ jac.swapaxes(-1, -2)
    return dataclasses.replace(field, affine=field.affine @ chosen, covariance=covariance), chosen, jac


def errors(field, truth):
    """Errors in units of the raw standard deviation, and of the stated one."""
    error = values_of(field) - truth
    return error / SIGMA, error / sigma_of(field)


def test_one_crystal_gains_and_says_how_much():
    e, z = zip(*(errors(smooth(make(flat(), seed)), flat()) for seed in range(6)), strict=True)
    assert np.std(e) < 0.16  # the mean of a whole neighbourhood of 197 positions would have 0.07
    assert 0.9 < np.std(z) < 1.1
    assert abs(np.mean(np.abs(z) < 1) - 0.683) < 0.03
    assert abs(np.mean(np.abs(z) < 1.96) - 0.95) < 0.03


def test_what_neighbours_share_stays_in_the_uncertainty():
    """A tenth of the variance is an error that all positions have in common."""
    share, z = 0.1, []
    for seed in range(40):
        common = np.sqrt(share) * SIGMA * np.random.default_rng(seed).standard_normal(4)
        own = make(flat((24, 24), STATE + common), seed, np.sqrt(1 - share) * SIGMA)
        field = dataclasses.replace(own, covariance=own.covariance / (1 - share), shared=np.full((24, 24), share))
        z.append(errors(smooth(field), flat((24, 24)))[1])
    assert np.std(z) == pytest.approx(1.0, abs=0.1)
    got = smooth(field)
    left, given = (np.trace(each.covariance, axis1=2, axis2=3) * each.shared for each in (got, field))
    np.testing.assert_allclose(left, given, rtol=0.1)
    assert np.median(got.shared) > 0.7


def test_noise_that_neighbours_have_alike_gains_less():
    """Means of 3x3 positions: a mean over many has nine times the variance it would have of independent ones."""
    z = []
    for seed in range(4):
        noise = 3 * uniform_filter(np.random.default_rng(seed).standard_normal((48, 48, 4)), (3, 3, 1), mode="wrap")
        field = dataclasses.replace(make(flat()), affine=affine_of(flat() + SIGMA * noise))
        z.append(errors(smooth(field, echo=9.0), flat())[1])
    assert 0.6 < np.std(z) < 1.15


@pytest.mark.parametrize("contrast", [5, 10, 20])
def test_a_step_stays_sharp(contrast):
    truth = flat()
    truth[:, 24:, 1] += contrast * SIGMA[1]
    e = np.array([errors(smooth(make(truth, seed)), truth)[0] for seed in range(4)])
    assert np.abs(e[:, :, 23:25].mean((0, 1))).max() < 0.3  # no blur: both columns are on their own side
    assert np.abs(e[:, :, 23:25]).mean() < 0.35 * np.sqrt(2 / np.pi)


def test_small_features_survive():
    truth = flat()
    truth[4:44:8, 4:20:8, 1] += 10 * SIGMA[1]
    truth[:, 30:33, 1] += 10 * SIGMA[1]
    e = np.array([errors(smooth(make(truth, seed)), truth)[0][..., 1] for seed in range(4)])
    assert np.abs(e[:, 4:44:8, 4:20:8].mean()) < 0.3
    assert e[:, 4:44:8, 4:20:8].std() < 1.3  # a single position has no more than its own pattern
    assert np.abs(e[:, :, 30:33].mean((0, 1))).max() < 0.3
    assert e[:, :, 30:33].std() < 0.5  # the twin's positions help each other


@pytest.mark.parametrize(("period", "noise", "gain"), [(24, 1.0, 2.0), (24, 0.3, 2.0), (10, 1.0, 1.5), (10, 0.3, 1.2)])
def test_smooth_fields_gain(period, noise, gain):
    truth = wave((48, 48), period)
    field = make(truth, 1, noise * SIGMA)
    e, z = errors(smooth(field), truth)
    raw, _ = errors(field, truth)
    assert (np.abs(raw).mean((0, 1)) > gain * np.abs(e).mean((0, 1))).all()
    assert 0.75 < z.std() < 1.25


@pytest.mark.parametrize(("period", "noise"), [(10, 1.0), (7, 1.0), (10, 2.0)])
def test_what_ripples_lose_is_in_sigma(period, noise):
    """Of the components with the ripple, error over sigma was 1.25 to 1.45 where the scale's own bias was all."""
    truth = wave((48, 48), period)
    z = np.stack([errors(smooth(make(truth, seed, noise * SIGMA)), truth)[1] for seed in range(3)])
    assert (np.abs(np.sqrt(np.mean(z[..., [1, 3]] ** 2, (0, 1, 2))) - 1) < 0.18).all()


def test_noise_free_fields_are_unchanged():
    truth = wave((32, 32), 24)
    truth[:, :10] = (0.02, 0.0, -0.01, 0.9)
    for sigma in (0.0, 1e-12):
        field = make(truth, sigma=np.full(4, sigma))
        assert_allclose(smooth(field).affine, field.affine, rtol=0, atol=1e-8)


def test_labelling_does_not_matter():
    truth = flat()
    truth[:, 20:] = (-0.01, 0.02, 0.0, 0.3 + np.pi / 6)  # as far from the first crystal as six-fold symmetry allows
    field = make(truth)
    entry = np.array([[1.02, 0.01], [0.0, 0.985]])  # a strained entry: its operators are not quite rotations
    field = dataclasses.replace(field, operators=(entry @ SIXFOLD @ np.linalg.inv(entry),))
    other, chosen, jac = relabelled(field, np.random.default_rng(1).integers(0, 6, truth.shape[:2]))
    one, two = smooth(field), smooth(other)
    assert_allclose(two.affine, one.affine @ chosen, rtol=0, atol=1e-10)
    expected = jac @ one.covariance @ jac.swapaxes(-1, -2)
    assert_allclose(two.covariance, expected, rtol=0, atol=1e-6 * expected.max())


def test_labels_scattered_at_random_cost_nothing():
    field = make(flat())
    other, chosen, _ = relabelled(field, np.random.default_rng(2).integers(0, 6, (48, 48)))
    assert_allclose(smooth(other).affine @ np.linalg.inv(chosen), smooth(field).affine, rtol=0, atol=1e-10)


def test_invalid_positions_stay_and_say_nothing():
    field = make(flat())
    poor = np.zeros((48, 48), bool)
    poor[10:14, 5:30] = True
    kinds = np.arange(poor.sum()) % 4
    for fill in (np.nan, 7.0):
        affine, covariance, label, valid = (
            a.copy() for a in (field.affine, field.covariance, field.label, field.valid)
        )
        affine[poor] = fill
        covariance[np.flatnonzero(poor)[kinds == 1] // 48, np.flatnonzero(poor)[kinds == 1] % 48] = np.nan
        label[poor] = np.where(kinds == 2, -1, 0)
        valid[poor] = kinds == 3 if np.isnan(fill) else False
        given = AffineField(affine, covariance, label, valid, field.operators)
        got = smooth(given)
        assert_array_equal(got.affine[poor], affine[poor])
        assert_array_equal(got.covariance[poor], covariance[poor])
        assert_array_equal(got.valid, valid)
        assert np.isfinite(got.affine[~poor]).all()
        assert errors(got, flat())[0][~poor].std() < 0.2


def test_classes_do_not_mix():
    truth = flat()
    field = dataclasses.replace(
        make(truth), label=np.repeat([0, 1], 24)[None, :].repeat(48, 0), operators=(SIXFOLD,) * 2
    )
    moved = field.affine.copy()
    moved[:, 24:] = moved[:, 24:] @ rotation(np.array(0.02))
    got = smooth(dataclasses.replace(field, affine=moved))
    assert_allclose(got.affine[:, :24], smooth(field).affine[:, :24], rtol=0, atol=1e-4)


def test_an_outlier_does_not_leak():
    field = make(flat(), 3)
    affine = field.affine.copy()
    affine[20, 20] = affine[20, 20] @ rotation(np.array(0.2))
    removed = field.valid.copy()
    removed[20, 20] = False
    got = smooth(dataclasses.replace(field, affine=affine))
    without = smooth(dataclasses.replace(field, valid=removed))
    assert_allclose(got.affine[20, 20], affine[20, 20], rtol=0, atol=1e-12)
    difference = np.abs(got.affine - without.affine)[removed]
    assert difference.max() < 0.2 * SIGMA.max()


def test_poor_positions_lean_on_good_ones():
    scale = np.ones((48, 48))
    scale[::5, ::5] = 30.0
    truth = flat()
    values = truth + scale[..., None] * SIGMA * np.random.default_rng(4).standard_normal(truth.shape)
    field = make(truth)
    field = dataclasses.replace(
        field, affine=affine_of(values), covariance=field.covariance * scale[..., None, None] ** 2
    )
    e, z = errors(smooth(field), truth)
    assert e[::5, ::5].std() < 0.3
    assert 0.8 < z[::5, ::5].std() < 1.2


@pytest.mark.parametrize("scan", [(1, 200), (200, 1), (2, 100)])
def test_narrow_scans(scan):
    e, z = errors(smooth(make(flat(scan))), flat(scan))
    assert np.std(e) < 0.4
    assert 0.7 < np.std(z) < 1.3


def test_the_smallest_scans():
    field = make(flat((1, 1)))
    got = smooth(field)
    assert_allclose(got.affine, field.affine, rtol=0, atol=1e-12)
    assert_allclose(got.covariance, field.covariance, rtol=1e-6)
    nothing = smooth(dataclasses.replace(field, valid=np.zeros((1, 1), bool)))
    assert_array_equal(nothing.affine, field.affine)


def test_understated_noise_is_noticed():
    truth = flat()
    field = make(truth, 5, 1.3 * SIGMA)
    field = dataclasses.replace(field, covariance=field.covariance / 1.3**2)
    e, z = errors(smooth(field), truth)
    assert e.std() < 0.25
    assert z.std() < 1.15


def test_a_bent_crystal_turns_through_all_its_labellings():
    scan = (24, 160)
    truth = flat(scan)
    truth[..., 3] = np.linspace(-1.5, 1.5, scan[1])  # more than two periods of 60 degrees
    got = values_of(smooth(make(truth)))
    assert np.abs((got - truth) / SIGMA).mean() < 0.3
