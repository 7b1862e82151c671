"""Laws of membranes: a slope is not a strain, one scan bounds it, two tilts tell it."""

import numpy as np
import pytest

from cyclestrain.specimen.ripples import apparent_strain, fit_membrane, slope_bound


def seen(positions, lattice, stage):
    """Strain and rotation of an atomistic membrane as projected after a turn of the stage, relative to a flat one.

    `positions` maps material coordinates ``(y, x)`` to space; lattice vectors are differences of atoms' places.
    """
    where = np.linspace(0, 10, 48, endpoint=False)
    step, out = 1e-4, []
    for x in where:
        ends = [(positions(np.array([2.0, x]) + step * e) - positions(np.array([2.0, x]) - step * e)) / (2 * step)
                for e in np.eye(2)]  # fmt: skip
        vectors = (stage @ np.stack(ends, 1))[:2] @ lattice
        flat = (stage @ np.eye(3)[:, :2])[:2] @ lattice
        f = vectors @ np.linalg.inv(flat)
        square, root = np.linalg.eigh(f @ f.T)
        v = root @ np.diag(np.sqrt(square)) @ root.T
        r = np.linalg.solve(v, f)
        out.append([v[0, 0] - 1, v[1, 1] - 1, v[0, 1], np.arctan2(r[0, 1], r[1, 1])])
    return where, np.array(out)


def about_y(angle):
    """Turn of the stage that lifts +x: rows and columns are ``(y, x, z)``."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def ripple(strain=0.0):
    """Steepest slope 5 degrees, period 10 nm, along x; material points keep their distance, then are strained."""
    steep, wave = np.tan(np.deg2rad(5)), 2 * np.pi / 10

    def positions(u):
        x = np.linspace(0, u[1], 400)
        slope = steep * np.cos(wave * x)
        along = np.trapezoid((1 + strain) / np.hypot(1, slope), x)
        return np.array([u[0] * (1 + strain), along, np.trapezoid((1 + strain) * slope / np.hypot(1, slope), x)])

    return positions, lambda x: steep * np.cos(wave * x)


LATTICE = np.array([[0.0, 0.28], [0.32, 0.16]])


def test_ripple_is_recognised_and_not_reported_as_strain():
    positions, slope = ripple()
    x, apparent = seen(positions, LATTICE, np.eye(3))
    sigma = 5e-4
    noisy = apparent[:, :3] + sigma * np.random.default_rng(0).standard_normal((len(x), 3))
    bound = slope_bound(noisy, np.tile(sigma**2 * np.eye(3), (len(x), 1, 1)))
    steep = np.abs(slope(x)) > np.tan(np.deg2rad(4))
    assert bound.foreshortened[steep].mean() > 0.8
    assert (np.abs(noisy[bound.foreshortened]) < 2 * bound.sigma[bound.foreshortened]).all()
    assert (bound.slope > np.abs(slope(x)))[steep].mean() > 0.9
    assert (bound.slope < 1.4 * np.abs(slope(x)))[steep].all()
    assert (bound.slope > np.abs(slope(x)) - 3 * sigma / np.maximum(bound.slope, 1e-3)).mean() > 0.95


def test_flat_membrane_is_rarely_called_a_ripple():
    rng = np.random.default_rng(1)
    sigma = 1e-3
    noisy = sigma * rng.standard_normal((20000, 3))
    bound = slope_bound(noisy, np.tile(sigma**2 * np.eye(3), (20000, 1, 1)))
    assert bound.foreshortened.mean() < 0.01


@pytest.mark.parametrize("strain", [0.0, 0.01])
def test_two_tilts_tell_slope_from_strain(strain):
    positions, slope = ripple(strain)
    angles = np.deg2rad([-12.0, 12.0])
    rng, sigma = np.random.default_rng(2), 5e-4
    shown = np.stack([seen(positions, LATTICE, about_y(a))[1] for a in angles])
    x = np.linspace(0, 10, 48, endpoint=False)
    noisy = shown + sigma * rng.standard_normal(shown.shape)
    covariance = np.broadcast_to(sigma**2 * np.eye(4), (*shown.shape, 4))
    tilts = np.stack([np.zeros(2), np.tan(angles)], 1)
    found = fit_membrane(noisy, covariance, tilts)
    error = found.value[:, 1] - slope(x)
    assert np.abs(np.polyfit(slope(x), found.value[:, 1], 1)[0] - 1) < 0.1
    assert 0.7 < (error / np.sqrt(found.covariance[:, 1, 1])).std() < 1.3
    z = (found.value[:, 3] - strain) / np.sqrt(found.covariance[:, 3, 3])
    assert 0.7 < z.std() < 1.3
    assert abs(z.mean()) < 0.6


def test_what_is_shown_follows_from_what_is_found():
    rng = np.random.default_rng(3)
    truth = np.concatenate([rng.uniform(-0.2, 0.2, (20, 2)), 0.01 * rng.standard_normal((20, 4))], 1)
    tilts = np.array([[0.0, 0.0], [0.0, 0.3], [0.2, 0.0]])
    shown = np.stack([apparent_strain(truth, tilt) for tilt in tilts])
    found = fit_membrane(shown, np.broadcast_to(1e-8 * np.eye(4), (*shown.shape, 4)), tilts)
    np.testing.assert_allclose(found.value, truth, atol=1e-7)
    assert np.isnan(fit_membrane(np.full((3, 1, 4), np.nan), np.ones((3, 1, 4, 4)), tilts).value).all()
