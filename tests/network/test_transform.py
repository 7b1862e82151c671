from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from crystals import make_entry
from cyclestrain.affine import rotation
from cyclestrain.network.transform import N_POSE, affine_of, design, disk, place, polyphase, resample, resample_variance

RNG = np.random.default_rng(5)
REFLECTIONS = torch.tensor(RNG.normal(0, 20, (7, 2)))


def poses(n: int) -> torch.Tensor:
    scale = torch.tensor([0.02, 0.02, 0.02, 0.01, 0.2, 0.2], dtype=torch.float64)
    return torch.tensor(RNG.normal(0, 1, (n, N_POSE))) * scale


def test_pose_is_stretched_then_shifted_then_turned() -> None:
    theta, pose = torch.tensor([0.7], dtype=torch.float64), poses(1)
    s_y, s_x, shear, turn, t_y, t_x = pose[0].tolist()
    stretched = REFLECTIONS.numpy() @ np.array([[1 + s_y, shear], [shear, 1 + s_x]]).T
    expected = (stretched + np.array([t_y, t_x])) @ rotation(0.7 + turn).T
    np.testing.assert_allclose(place(theta, pose, REFLECTIONS)[0].numpy(), expected, atol=1e-12)


def test_place_is_the_affine_of_the_pose() -> None:
    theta, pose = torch.tensor(RNG.uniform(-3, 3, 5)), poses(5)
    pose[:, 4:] = 0
    expected = torch.einsum("nij,gj->ngi", affine_of(theta, pose), REFLECTIONS)
    torch.testing.assert_close(place(theta, pose, REFLECTIONS), expected)


def test_inverse_affine_brings_reflections_back() -> None:
    theta, pose = torch.tensor(RNG.uniform(-3, 3, 5)), poses(5)
    shift = place(theta, pose, torch.zeros(1, 2, dtype=torch.float64))
    back = torch.linalg.inv(affine_of(theta, pose))[:, None] @ (place(theta, pose, REFLECTIONS) - shift)[..., None]
    torch.testing.assert_close(back[..., 0], REFLECTIONS.expand(5, -1, -1))


def test_design_is_the_derivative_at_rest() -> None:
    zero = torch.zeros(1, N_POSE, dtype=torch.float64)
    theta = torch.zeros(1, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda p: place(theta, p, REFLECTIONS)[0], zero)
    torch.testing.assert_close(jacobian[:, :, 0], design(REFLECTIONS))


def test_gradients_of_the_transform() -> None:
    theta = torch.tensor(RNG.uniform(-3, 3, 3), requires_grad=True)
    assert gradcheck(lambda t, p: place(t, p, REFLECTIONS), (theta, poses(3).requires_grad_()))
    tables = torch.tensor(RNG.random((5, 5, 3, 3)), requires_grad=True)
    # Phases between the nodes: on them the derivative has two sides.
    fraction = torch.tensor(RNG.uniform(0.02, 0.23, (4, 2)), requires_grad=True)
    assert gradcheck(disk, (tables, fraction))
    windows = torch.tensor(RNG.random((4, 5, 5)), requires_grad=True)
    assert gradcheck(resample, (windows, fraction))
    assert gradcheck(resample_variance, (windows, fraction))


def test_disk_agrees_with_the_probe_at_its_nodes() -> None:
    probe = make_entry().probe
    tables = polyphase(torch.from_numpy(probe.values), probe.oversampling, probe.half)
    torch.testing.assert_close(tables.float(), torch.from_numpy(probe.tables[0]))
    drawn = disk(tables, torch.tensor([[0.25, -0.5]], dtype=torch.float64))
    torch.testing.assert_close(drawn[0], tables[6, 0])


def test_disk_keeps_its_counts_and_its_place() -> None:
    probe = make_entry().probe
    tables = polyphase(torch.from_numpy(probe.values), probe.oversampling, probe.half)
    fraction = torch.tensor(RNG.uniform(-0.5, 0.5, (20, 2)))
    drawn = disk(tables, fraction)
    torch.testing.assert_close(drawn.sum((-2, -1)), torch.ones(20, dtype=torch.float64), atol=2e-3, rtol=0)
    axis = torch.arange(-probe.half, probe.half + 1, dtype=torch.float64)
    centroid = torch.stack([(drawn.sum(-1) * axis).sum(-1), (drawn.sum(-2) * axis).sum(-1)], -1)
    torch.testing.assert_close(centroid, fraction, atol=5e-3, rtol=0)


@pytest.mark.parametrize("fraction", [(0.3, -0.4), (-0.5, 0.5), (0.0, 0.0)])
def test_resample_shifts_a_plane_exactly(fraction: tuple[float, float]) -> None:
    y, x = torch.meshgrid(*(torch.arange(-4.0, 5.0),) * 2, indexing="ij")
    plane = 2.0 * y - 3.0 * x + 1.0
    shifted = resample(plane, torch.tensor(fraction))
    torch.testing.assert_close(shifted, (plane + 2.0 * fraction[0] - 3.0 * fraction[1])[1:-1, 1:-1])


def test_resampled_noise_has_the_stated_variance() -> None:
    noise = torch.from_numpy(RNG.normal(0, 1, (4000, 9, 9)))
    for fraction in torch.tensor([[0.5, 0.5], [0.2, -0.4], [0.0, 0.0]], dtype=torch.float64):
        spread = fraction.expand(4000, 2)
        measured = resample(noise, spread).var()
        stated = resample_variance(torch.ones(9, 9, dtype=torch.float64), fraction)
        assert float(measured) == pytest.approx(float(stated[0, 0]), rel=0.02)
