from __future__ import annotations

import numpy as np
import torch

from crystals import make_entry
from cyclestrain.network.losses import LossTerms, LossWeights, forward_error, half_deviance, hinges, pose_error
from cyclestrain.network.transform import disk, polyphase

RNG = np.random.default_rng(3)
N = 6000


def forward_gradient(phase: tuple[float, float], *, plain: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean gradient of the forward error by the position, at the true position, and its standard error.

    A weak disk on a strong background, as at the noise levels where the naive comparison fails.
    """
    probe = make_entry().probe
    tables = polyphase(torch.from_numpy(probe.values), probe.oversampling, probe.half)
    fraction = torch.tensor(phase, dtype=torch.float64).repeat(N, 1).requires_grad_()
    background = 4.0
    expected = background + 40.0 * disk(tables, fraction)
    counts = torch.from_numpy(RNG.poisson(expected.detach().numpy()).astype(float))
    entry = (background + 40.0 * tables[4, 4])[1:-1, 1:-1] if plain else None
    error = forward_error(counts, expected, fraction, 0.0, plain=entry)
    (gradient,) = torch.autograd.grad(error.sum(), fraction)
    return gradient.mean(0).numpy(), gradient.std(0).numpy() / np.sqrt(N)


def test_forward_direction_is_free_of_the_bias_of_interpolated_noise() -> None:
    for phase in ((0.31, 0.18), (-0.06, 0.44)):
        mean, error = forward_gradient(phase, plain=False)
        assert (np.abs(mean) < 4 * error).all()
        naive, error = forward_gradient(phase, plain=True)
        # The naive error falls towards phases where more noise is averaged.
        assert (np.abs(naive) > 20 * error).all()
        assert (np.sign(naive) == -np.sign(phase)).all()


def test_deviance_is_least_at_the_expectation_and_half_of_one_on_average() -> None:
    expected = torch.full((200_000,), 9.0, dtype=torch.float64, requires_grad=True)
    counts = torch.from_numpy(RNG.poisson(9.0, 200_000).astype(float))
    loss = half_deviance(counts, expected, 1e-9)
    assert abs(float(loss.detach().mean()) - 0.5) < 0.02
    (gradient,) = torch.autograd.grad(loss.sum(), expected)
    assert abs(float(gradient.mean())) < 4 / np.sqrt(9 * 200_000)
    exact = half_deviance(torch.tensor([0.0, 3.0]), torch.tensor([0.0, 3.0]), 0.1)
    torch.testing.assert_close(exact, torch.zeros(2))


def test_pose_error_prefers_the_true_information() -> None:
    sigma = 0.3
    errors = torch.from_numpy(RNG.normal(0, sigma, (5000, 6)))

    def mean_error(stated: float) -> float:
        return float(pose_error(errors, torch.eye(6, dtype=torch.float64).expand(5000, 6, 6) / stated**2).mean())

    assert mean_error(sigma) < min(mean_error(0.8 * sigma), mean_error(1.25 * sigma))


def test_hinges_leave_reasonable_strain_alone() -> None:
    pose = torch.tensor([[0.02, -0.03, 0.039, 0.0, 0.0, 0.0]])
    strain, shear = hinges(pose)
    assert float(strain) == 0.0
    assert float(shear) == 0.0
    strain, shear = hinges(2 * pose)
    assert float(strain) > 0.0
    assert float(shear) > 0.0


def test_total_is_the_weighted_sum_of_the_named_terms() -> None:
    terms = LossTerms(*(torch.tensor(float(i)) for i in range(7)))
    weights = LossWeights(1, 2, 3, 4, 5, 6, 7)
    assert float(terms.total(weights)) == sum(i * (i + 1) for i in range(7))
    assert list(terms.log()) == ["inverse", "forward", "cycle", "choice", "sparsity", "strain", "shear"]
