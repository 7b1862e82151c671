"""Whether the rings of many patterns show a second profile of the background, and which one."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.data import FloatArray
from cyclestrain.learning.film import film_of

RINGS = np.arange(60)
BACKGROUND = 20.0 * np.exp(-RINGS / 30.0) + 2.0
HALO = 6.0 * np.exp(-0.5 * ((RINGS - 30.5) / 6.0) ** 2)
PIXELS = 400.0


def rings_of(profiles: FloatArray, seed: int = 0, compared: FloatArray | None = None) -> FloatArray:
    """What rings say of the level of `compared`, from counts of their pixels, half a pixel behind each radius."""
    unit = BACKGROUND[None] if compared is None else compared
    unit, profiles = (0.5 * (each + np.roll(each, -1, 1)) for each in (unit, profiles))
    information = PIXELS * unit**2 / profiles
    counts = np.random.default_rng(seed).poisson(PIXELS * profiles) / PIXELS
    return np.stack([information, information * counts / unit], 1)


def varied(n: int, seed: int = 0, profile: FloatArray = HALO) -> FloatArray:
    """Backgrounds of any level, with a film that grows from none to twice the profile."""
    level = np.random.default_rng(seed).uniform(0.5, 1.5, (n, 1))
    return np.asarray(level * (BACKGROUND + np.linspace(0.0, 2.0, n)[:, None] * profile))


def test_a_film_is_found_up_to_background() -> None:
    """With the first profile, the second makes up every background that was drawn."""
    backgrounds = varied(300)
    mean = backgrounds.mean(0)
    film = film_of(rings_of(backgrounds, 1, mean[None]), mean[None], mean, 1.0)
    both = np.stack([mean, film], 1)[5:55]
    for profile in (BACKGROUND, HALO + BACKGROUND):
        rest = profile[5:55] - both @ np.linalg.lstsq(both, profile[5:55], rcond=None)[0]
        assert np.abs(rest / profile[5:55]).max() < 0.02


def test_a_film_that_is_known_is_found_again() -> None:
    """Levels relative to backgrounds that hold it already are no reason to drop it."""
    backgrounds = varied(300)
    mean = backgrounds.mean(0)
    plain = film_of(rings_of(backgrounds, 2, mean[None]), mean[None], mean, 1.0)
    again = film_of(rings_of(backgrounds, 2, backgrounds), backgrounds, mean, 1.0)
    np.testing.assert_allclose(abs(again), abs(plain), atol=0.02 * BACKGROUND.max())


def test_it_is_as_large_as_patterns_vary() -> None:
    backgrounds = varied(300)
    mean = backgrounds.mean(0)
    film = film_of(rings_of(backgrounds, 3, mean[None]), mean[None], mean, 1.0)
    level, more = (backgrounds @ np.linalg.pinv(np.stack([mean, film]))).T
    assert 0.8 < (more / level).std() < 1.25


def test_one_shape_at_any_level_has_no_film() -> None:
    for seed in range(5):
        assert not len(film_of(rings_of(varied(300, seed, 0.0 * HALO), seed), BACKGROUND[None], BACKGROUND, 1.0))


def test_too_few_patterns_have_no_film() -> None:
    backgrounds = varied(20)
    assert not len(film_of(rings_of(backgrounds), BACKGROUND[None], BACKGROUND, 1.0))


def test_what_a_few_patterns_hold_is_no_film() -> None:
    """Ten of three hundred see another crystal between their disks."""
    backgrounds = varied(300, 0, 0.0 * HALO)
    backgrounds[::30] += 0.5 * HALO
    assert not len(film_of(rings_of(backgrounds), BACKGROUND[None], BACKGROUND, 1.0))


def test_an_edge_that_moves_is_no_film() -> None:
    """One ring at the rim of the direct beam is brighter where the beam has moved, and no other is."""
    backgrounds = varied(300, 0, 0.0 * HALO)
    backgrounds[:, 6] *= np.random.default_rng(1).uniform(1.0, 4.0, 300)
    assert not len(film_of(rings_of(backgrounds), BACKGROUND[None], BACKGROUND, 1.0))


def test_what_is_no_sum_of_two_profiles_is_no_film() -> None:
    """Every ring wanders by itself: the best second profile explains next to nothing of that."""
    rng = np.random.default_rng(2)
    backgrounds = varied(300, 0, 0.0 * HALO) * rng.uniform(0.5, 1.5, (300, len(RINGS)))
    assert not len(film_of(rings_of(backgrounds), BACKGROUND[None], BACKGROUND, 1.0))


@pytest.mark.filterwarnings("error")
def test_patterns_without_noise_have_none() -> None:
    """Nor does what divides by their scatter complain."""
    rings = np.full((40, 2, len(RINGS)), 10.0)
    assert not len(film_of(rings, BACKGROUND[None], BACKGROUND, 1.0))
    rings[:9] = 0.0
    assert not len(film_of(rings, BACKGROUND[None], BACKGROUND, 1.0))


def test_patterns_of_a_single_ring_do_not_count() -> None:
    """They have no level beside an amount of a second profile: the ratio of both is anything."""
    backgrounds = varied(300)
    mean = backgrounds.mean(0)
    rings = rings_of(backgrounds, 4, mean[None])
    film = film_of(rings, mean[None], mean, 1.0)
    single = rings[:40].copy()
    single[:, :, :20] = single[:, :, 21:] = 0.0
    np.testing.assert_allclose(film_of(np.concatenate([rings, single]), mean[None], mean, 1.0), film, rtol=1e-3)
