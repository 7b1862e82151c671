"""Laws of weak steps: a position that holds both sides keeps what it says, and sharp steps keep their gain."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.context import smooth
from cyclestrain.data import FloatArray
from noisy_fields import SIGMA, STATE, noisy, sigma_of, values_of


def edge_errors(step: float, blend: float, *, across: bool = False) -> tuple[FloatArray, FloatArray]:
    """Errors of exx on both sides of a step, in raw and in stated standard deviations; both blend by the same share."""
    errors, z = [], []
    for seed in range(6):
        truth = np.tile(STATE, (40, 24, 1))
        truth[:, 12:, 1] += step * SIGMA[1]
        truth[:, 11, 1] += blend * step * SIGMA[1]
        truth[:, 12, 1] -= blend * step * SIGMA[1]
        truth = truth.swapaxes(0, 1) if across else truth
        got = smooth(noisy(truth, seed))
        error, sigma = (values_of(got) - truth)[..., 1], sigma_of(got)[..., 1]
        both = np.s_[11:13] if across else np.s_[:, 11:13]
        errors.append((error / SIGMA[1])[both].ravel())
        z.append((error / sigma)[both].ravel())
    return np.array(errors), np.array(z)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize(("step", "blend"), [(10, 0.1), (10, 0.2), (20, 0.03), (20, 0.1), (20, 0.2)])
def test_a_blend_is_never_worse_than_its_pattern_alone(step: float, blend: float, across: bool) -> None:
    errors, z = edge_errors(step, blend, across=across)
    assert np.sqrt(np.mean(errors**2)) < 1.05
    assert (np.abs(z) > 3).mean() <= 0.01
    assert 0.6 < np.sqrt(np.mean(z**2)) < 1.2


@pytest.mark.parametrize(("step", "blend"), [(5, 0.1), (5, 0.2), (10, 0.03), (20, 0.01)])
def test_a_blend_of_a_fraction_of_sigma_is_nearly_told(step: float, blend: float) -> None:
    errors, z = edge_errors(step, blend)
    assert np.sqrt(np.mean(errors**2)) < 0.75
    assert (np.abs(z) > 3).mean() < 0.05


@pytest.mark.parametrize("step", [5, 10, 20])
def test_a_sharp_step_keeps_its_gain(step: float) -> None:
    errors, z = edge_errors(step, 0.0)
    assert np.sqrt(np.mean(errors**2)) < 0.35
    assert 0.7 < np.sqrt(np.mean(z**2)) < 1.2


def test_a_tiny_scan_without_a_blend_beside_its_edge_has_none() -> None:
    """Where no position beside an edge lies between its sides, their number is not divided by."""
    for seed in range(4):
        truth = np.tile(STATE, (1, 6, 1))
        truth[:, 3:, 1] += 9 * SIGMA[1]
        truth[:, 2:4, 1] += 40 * SIGMA[1] * np.array([-1.0, 1.0])  # beyond either side
        assert np.isfinite(smooth(noisy(truth, seed)).covariance).all()
