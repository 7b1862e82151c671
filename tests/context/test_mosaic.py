"""Laws of scatter from position to position: mosaic is signal, smooth fields and edges are not mosaic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cyclestrain.context import least_scatter, smooth
from cyclestrain.context.chart import to_chart
from cyclestrain.context.scatter import measure_scatter
from cyclestrain.data import AffineField, FloatArray
from noisy_fields import SIGMA, STATE, noisy, sigma_of, values_of


def scattered(size: tuple[float, ...], seed: int, shape: tuple[int, int] = (32, 32)) -> FloatArray:
    """One crystal whose state scatters by multiples of the raw standard deviations."""
    return STATE + np.array(size) * SIGMA * np.random.default_rng(100 + seed).standard_normal((*shape, 4))


def has_mosaic(field: AffineField) -> bool:
    chart = to_chart(field)
    return measure_scatter(chart, chart.covariance) is not None


@pytest.mark.parametrize(
    "size",
    [
        (0, 0, 0, 0.7), (0, 0, 0, 1), (0, 0, 0, 2), (0, 0, 0, 5), (0, 1, 0, 0), (0, 3, 0, 0), (1, 1, 0.7, 0),
        (3, 3, 2, 0), (1, 1, 0.7, 1.5),
    ],
)  # fmt: skip
def test_mosaic_is_kept_and_sigma_tells_the_error(size: tuple[float, ...]) -> None:
    z, gained, error = [], [], []
    for seed in range(6):
        truth = scattered(size, seed)
        field = noisy(truth, seed)
        raw, got = values_of(field), smooth(field)
        best = values_of(got)
        z.append((best - truth) / sigma_of(got))
        error.append((best - truth) / SIGMA)
        for k in np.flatnonzero(size):
            alone, final = (np.corrcoef(truth[..., k].ravel(), v[..., k].ravel())[0, 1] for v in (raw, best))
            gained.append(final - alone)
    there = np.array(size) > 0
    spread = np.std(z, axis=(0, 1, 2))
    assert (np.abs(spread - 1)[there] < 0.2).all()
    assert (spread[~there] < 1.3).all()
    assert (np.sqrt(np.mean(np.square(error), (0, 1, 2))) < 1.03).all()  # never worse than each pattern alone
    assert np.mean(gained) > -0.02


def test_weak_mosaic_is_seen_in_large_scans() -> None:
    truth = scattered((0, 0.5, 0, 0), 1, (64, 64))
    got = smooth(noisy(truth, 1))
    assert np.std((values_of(got) - truth)[..., 1] / sigma_of(got)[..., 1]) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_mosaic_is_seen_from_where_it_is_said_to_be(side: int) -> None:
    def seen(size: float) -> float:
        fields = (noisy(scattered((0, size, 0, 0), seed, (side, side)), seed) for seed in range(12))
        return float(np.mean([(smooth(field).scatter > 0).mean() > 0.5 for field in fields]))

    least = least_scatter(side**2)
    assert seen(least) > 0.75
    assert seen(least / 3) < 0.25


def test_what_is_not_scattered_keeps_its_gain() -> None:
    truth = scattered((0, 0, 0, 3), 2)
    error = (values_of(smooth(noisy(truth, 2))) - truth) / SIGMA
    assert error[..., :3].std() < 0.2


def test_a_layer_with_mosaic_on_a_perfect_crystal() -> None:
    truth = np.tile(STATE, (64, 64, 1))
    truth[:32] = scattered((0, 0, 0, 4), 3, (32, 64))
    got = smooth(noisy(truth, 3))
    error = values_of(got)[..., 3] - truth[..., 3]
    z = error / sigma_of(got)[..., 3]
    assert z[:32].std() == pytest.approx(1.0, abs=0.2)
    assert z[33:].std() < 1.3
    assert error[36:].std() < 0.25 * SIGMA[3]


@pytest.mark.parametrize("shape", [(1, 200), (200, 1)])
def test_mosaic_along_a_line(shape: tuple[int, int]) -> None:
    truth = scattered((0, 0, 0, 2), 4, shape)
    got = smooth(noisy(truth, 4))
    assert np.std((values_of(got) - truth)[..., 3] / sigma_of(got)[..., 3]) == pytest.approx(1.0, abs=0.25)


def fields_without_mosaic() -> dict[str, FloatArray]:
    y, x = np.mgrid[:48, :48]
    out = {name: np.tile(STATE, (48, 48, 1)) for name in ("flat", "ripple", "bend", "step", "oblique step", "spots")}
    out["ripple"][..., 1] += 0.01 * np.sin(2 * np.pi / 10 * (0.9 * x + 0.44 * y))
    out["bend"][..., 3] += 0.02 * x
    out["step"][:, 24:, 1] += 4 * SIGMA[1]
    out["oblique step"][x + 0.6 * y > 40, 1] += 8 * SIGMA[1]
    out["spots"][4::8, 4::8, 1] += 10 * SIGMA[1]
    return out


@pytest.mark.parametrize("name", list(fields_without_mosaic()))
def test_smooth_fields_and_features_are_no_mosaic(name: str) -> None:
    truth = fields_without_mosaic()[name]
    assert np.mean([has_mosaic(noisy(truth, seed)) for seed in range(20)]) <= 0.1


def test_understated_noise_is_not_called_signal_but_is_in_sigma() -> None:
    truth = np.tile(STATE, (48, 48, 1))
    field = noisy(truth, 5, 1.2 * SIGMA)
    stated = AffineField(field.affine, field.covariance / 1.2**2, field.label, field.valid, field.operators)
    got = smooth(stated)
    error = values_of(got) - truth
    assert error.std() < 0.25 * SIGMA.max()
    assert (sigma_of(got).mean((0, 1)) > 0.6 * SIGMA).all()  # 20 % of the noise may as well be signal


def test_the_estimate_is_the_same_in_every_labelling() -> None:
    truth = scattered((0, 0, 0, 3), 6)
    field = noisy(truth, 6)
    half = AffineField(field.affine @ -np.eye(2), field.covariance, field.label, field.valid, field.operators)
    both = np.stack([np.eye(2), -np.eye(2)])
    one, two = (smooth(AffineField(f.affine, f.covariance, f.label, f.valid, (both,))) for f in (field, half))
    np.testing.assert_allclose(two.affine, -one.affine, atol=1e-10)


def test_positions_that_are_not_valid_stay() -> None:
    field = noisy(scattered((0, 0, 0, 3), 7), 7)
    valid = field.valid.copy()
    valid[5:9, 5:30] = False
    got = smooth(AffineField(field.affine, field.covariance, field.label, valid, field.operators))
    assert_array_equal(got.affine[~valid], field.affine[~valid])
    assert np.isfinite(got.covariance).all()


@pytest.mark.parametrize("size", [(0.5, 4.0), (0.0, 2.0), (1.0, 5.0), (0.0, 1.0)])
def test_halves_of_unlike_mosaic_do_not_teach_each_other(size: tuple[float, float]) -> None:
    """Each half has sigmas that tell its error, also in scans too small for the differences of one half."""
    strong, z = np.arange(20) >= 10, []
    for seed in range(4):
        truth = scattered((1.0,) * 4, seed, (20, 20)) - STATE
        truth = STATE + truth * np.where(strong, size[1], size[0])[None, :, None]
        found = smooth(noisy(truth, seed))
        z.append((values_of(found) - truth) / sigma_of(found))
    joined = np.stack(z)
    assert joined[:, :, strong].std() < 1.5  # 2 to 5 where one scatter was taken for both halves
    assert joined[:, :, ~strong].std() < 1.3
    assert (np.abs(joined) > 6).any(-1).mean() < 0.004


@pytest.mark.parametrize("only", [0.4, 0.5])
def test_weak_mosaic_of_a_small_scan_is_in_sigma(only: float) -> None:
    """Too little to be told from understated noise: smoothed, with all of it in sigma."""
    for seed in range(3):
        truth = scattered((only,) * 4, seed, (20, 20))
        found = smooth(noisy(truth, seed))
        assert ((values_of(found) - truth) / sigma_of(found)).std() < 1.3


def test_a_component_that_is_found_leaves_the_others_unknown() -> None:
    """Half a sigma beside a strong half passes for understated noise; one component told does not clear the others."""
    strong, wrong = np.arange(32) >= 16, []
    for seed in range(14, 18):
        truth = STATE + (scattered((1.0,) * 4, seed) - STATE) * np.where(strong, 4.0, 0.5)[None, :, None]
        found = smooth(noisy(truth, seed))
        wrong.append((np.abs((values_of(found) - truth) / sigma_of(found)) > 6).any(-1).mean())
    assert np.mean(wrong) < 0.01  # 0.07 where the others were cleared


def test_components_that_scatter_less_than_stated_keep_their_sigma() -> None:
    """Overstated noise of one component is no scatter and has no error of one."""
    truth = np.tile(STATE, (32, 32, 1))
    sigma = SIGMA * (1.0, 0.93, 1.0, 1.0)
    field = noisy(truth, 8, sigma)
    stated = replace(field, covariance=noisy(truth, 8).covariance)
    ratio = sigma_of(smooth(stated)) / SIGMA
    assert np.median(ratio[..., 1]) == pytest.approx(np.median(ratio[..., 0]), rel=0.1)  # 2 where there was an error


@pytest.mark.parametrize("size", [0.5, 0.0])
def test_scatter_that_a_refit_from_neighbours_no_longer_shows_stays_in_sigma(size: float) -> None:
    """A refit of a faint pattern is drawn to what its neighbours say."""
    told, alone = [], []
    for seed in range(4):
        truth = scattered((size,) * 4, seed, (20, 20))
        field = noisy(truth, seed)
        first = smooth(field)
        drawn = replace(field, affine=first.affine + 0.8 * (field.affine - first.affine))
        for out, before in ((told, first), (alone, None)):
            got = smooth(drawn, before=before)
            out.append((values_of(got) - truth) / sigma_of(got))
    assert np.std(told) < 1.3
    if size > 0:
        assert np.std(alone) > 1.8
    else:
        assert np.std(told) > 0.8 * np.std(alone)  # where nothing was seen, nothing changes


def test_strain_that_happens_to_show_no_scatter_may_have_some_where_others_do() -> None:
    """In small scans one component of three can hide a mosaic of half a sigma: its sigma was too small by 5.

    Seed 15 lies on a threshold to the last digit: by the processor it is 1.3 or 2.9.
    """
    worst = []
    for seed in range(16):
        truth = scattered((0.5, 0.5, 0.5, 1.0), seed, (20, 20))
        found = smooth(noisy(truth, seed))
        worst.append(((values_of(found) - truth) / sigma_of(found))[..., :3].std((0, 1)).max())
    assert sorted(worst)[-2] < 2.0
    assert max(worst) < 3.5
