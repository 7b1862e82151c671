from __future__ import annotations

import numpy as np
import pytest
import torch

from crystals import make_entry
from cyclestrain.affine import rotation
from cyclestrain.network.encoder import Gaze, Glance, Seen, k_sparse
from cyclestrain.network.pooling import Reports, pool
from cyclestrain.network.transform import N_POSE, design, place
from cyclestrain.pattern import Probe

RNG = np.random.default_rng(11)


def test_k_sparse_keeps_one_class_and_passes_the_gradient_of_the_softmax() -> None:
    logits = torch.tensor([[0.3, 1.2, -0.4], [2.0, -1.0, 1.9]], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    one_hot = k_sparse(logits)
    torch.testing.assert_close(one_hot, torch.tensor([[0.0, 1, 0], [1, 0, 0]], dtype=torch.float64))
    (hard,) = torch.autograd.grad((one_hot * weights).sum(), logits)
    (soft,) = torch.autograd.grad((logits.softmax(-1) * weights).sum(), logits)
    torch.testing.assert_close(hard, soft)


def exact_reports(turn: torch.Tensor, pose: torch.Tensor, reflections: torch.Tensor) -> Reports:
    """Reports of windows that see their disks without noise, each with its own anisotropic information."""
    n = len(turn)
    zero = torch.zeros(n, N_POSE, dtype=torch.float64)
    shift = place(turn, pose, reflections) - place(turn, zero, reflections)
    root = torch.from_numpy(RNG.normal(0, 1, (n, len(reflections), 2, 2)))
    information = root @ root.transpose(-1, -2) + torch.eye(2, dtype=torch.float64)
    score = (information @ shift[..., None])[..., 0]
    parts = [information[..., 0, 0], information[..., 0, 1], information[..., 1, 1], torch.ones(n, len(reflections))]
    ones = torch.full((n, len(reflections), 1), 0.25, dtype=torch.float64)
    return Reports(torch.cat([score, ones], -1), torch.stack(parts, -1), ones)


def test_pooling_finds_the_pose_at_any_rotation() -> None:
    reflections = torch.from_numpy(make_entry().reflections)
    turn = torch.from_numpy(RNG.uniform(-np.pi, np.pi, 6))
    pose = torch.from_numpy(RNG.normal(0, 1e-5, (6, N_POSE)))  # small: the design is of first order in strain
    pooled = pool(
        exact_reports(turn, pose, reflections), turn, design(reflections), torch.zeros(N_POSE), torch.zeros_like(pose)
    )
    torch.testing.assert_close(pooled.step, pose, atol=1e-8, rtol=0)
    torch.testing.assert_close(pooled.gain_step, torch.full((6,), 0.25, dtype=torch.float64))


def test_prior_pulls_towards_no_strain_from_wherever_the_pose_is() -> None:
    reflections = torch.from_numpy(make_entry().reflections)
    turn, pose = torch.zeros(1, dtype=torch.float64), torch.full((1, N_POSE), 0.01, dtype=torch.float64)
    blind = exact_reports(turn, torch.zeros_like(pose), reflections)
    blind = Reports(blind.score * 0, blind.information * 1e-12, blind.features)
    pooled = pool(blind, turn, design(reflections), torch.ones(N_POSE), pose)
    torch.testing.assert_close(pooled.step, -pose, atol=1e-6, rtol=0)


def seen_disks(probe: Probe, half: int, fraction: np.ndarray, contrast: float, share: float, shift: np.ndarray) -> Seen:
    """Whitened windows of disks `shift` away from where they are expected, without noise."""
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    at = fraction + shift
    r = np.hypot(y - at[:, None, None, 0], x - at[:, None, None, 1]) * probe.oversampling
    windows = contrast * np.interp(r, np.arange(len(probe.profile)), probe.profile, right=0.0) / probe.values.max()
    n = len(fraction)
    return Seen(
        torch.tensor(windows[None], dtype=torch.float32), torch.tensor(fraction[None], dtype=torch.float32),
        torch.full((1, n), contrast), torch.full((1, n), share),
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_tied_gaze_finds_sub_pixel_shifts_without_training(share: float) -> None:
    probe = make_entry(radius=4.2).probe
    gaze = Gaze(7)
    gaze.tie(probe)
    fraction = RNG.uniform(-0.5, 0.5, (300, 2))
    for shift in ((0.0, 0.0), (0.08, -0.05)):
        with torch.no_grad():
            reports = gaze(seen_disks(probe, 7, fraction, 3.0, share, np.array(shift)))
        score, information = reports.score[0].double(), reports.information[0].double()
        matrix = torch.stack([information[:, [0, 1]], information[:, [1, 2]]], 1)
        found = torch.linalg.solve(matrix, score[:, :2]).numpy()
        assert np.abs(found.mean(0) - shift).max() < 0.004
        assert found.std(0).max() < 0.02


def test_information_is_positive_definite_whatever_the_weights() -> None:
    torch.manual_seed(0)
    gaze = Gaze(5)
    torch.nn.init.normal_(gaze.mix.weight, std=3.0)
    seen = seen_disks(make_entry().probe, 5, RNG.uniform(-0.5, 0.5, (50, 2)), 2.0, 0.5, np.zeros(2))
    yy, yx, xx, intensity = gaze(seen).information[0].unbind(-1)
    assert bool((yy > 0).all())
    assert bool((intensity > 0).all())
    assert bool((yy * xx > yx**2).all())


@pytest.mark.parametrize("half", [6, 9, 14])
def test_glance_takes_windows_of_any_size(half: int) -> None:
    seen = seen_disks(make_entry().probe, half, RNG.uniform(-0.5, 0.5, (12, 2)), 2.0, 0.5, np.zeros(2))
    reports = Glance().eval()(seen)
    assert reports.score.shape == (1, 12, 3)
    assert bool(torch.isfinite(reports.score).all())


def test_rotation_convention_of_the_pool_is_that_of_the_package() -> None:
    reflections = torch.from_numpy(make_entry().reflections)
    turn = torch.tensor([0.4], dtype=torch.float64)
    pose = torch.zeros(1, N_POSE, dtype=torch.float64)
    pose[0, 3] = 1e-6
    moved = place(turn, pose, reflections)[0].numpy()
    np.testing.assert_allclose(moved, reflections.numpy() @ rotation(0.4 + 1e-6).T, atol=1e-9)
    pooled = pool(exact_reports(turn, pose, reflections), turn, design(reflections), torch.zeros(N_POSE), 0 * pose)
    torch.testing.assert_close(pooled.step, pose, atol=1e-9, rtol=0)
