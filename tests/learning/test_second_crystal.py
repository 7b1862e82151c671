"""Two crystals above each other in all patterns: the map is that of the brighter one, and says so."""

from __future__ import annotations

import numpy as np
import pytest

import cyclestrain as cs
import strangers as st

SHAPE = (14, 14)


def layers(degrees: float, seed: int, share: float = 0.6, *, together: bool = False, part: float = 1.0) -> st.Stranger:
    """A hexagonal layer over another one that is turned, each strained on its own, or both alike.

    The second one lies in a `part` of the columns.
    """
    y, x = np.indices(SHAPE) / SHAPE[0]
    rng = np.random.default_rng(seed)

    def strained(turn: float) -> np.ndarray:
        a, b = rng.uniform(-0.004, 0.004, (2, 3))
        return st.deformed(
            *(each * np.sin(3 * x + k) + other * y for k, (each, other) in enumerate(zip(a, b, strict=True))), turn
        )

    one = strained(0.0)
    two = one @ st.turn(np.deg2rad(degrees)) if together else strained(degrees)
    shares = np.where((x < part)[..., None], [share, 1.0 - share], [1.0, 0.0])
    sample = st.Sample(np.stack([one, two], 2), np.zeros((*SHAPE, 2), int), shares)
    return st.stranger(
        [st.hexagonal(17.0, reach=48.0, falloff=30.0, seed=seed)], sample, probe=st.disk(3.0), detector=(112, 112),
        background=st.lorentzian(20), backgrounds=0.25, dose=1e5, seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize(("degrees", "seed"), [(20.0, 1), (20.0, 6), (17.0, 12)])
def test_strain_is_that_of_the_brighter_layer(degrees: float, seed: int) -> None:
    """Its z was 2 to 8, and up to 70 % of the positions were off by more than six sigmas."""
    made = layers(degrees, seed)
    maps = cs.map(made.counts, progress=False)
    assert "second crystal" in maps.attrs["choices"]
    for suffix in ("_raw", ""):
        z = made.z(maps, suffix)[:3]
        assert np.sqrt((z**2).mean(1)).max() < 1.6, suffix
        assert (np.abs(z) < 6.0).all()


def test_layers_that_move_together_are_measured_with_all_reflections() -> None:
    made = layers(20.0, 4, together=True)
    maps = cs.map(made.counts, progress=False)
    assert "second crystal" not in maps.attrs["choices"]
    assert made.wrong(maps, 6.0, "_raw") == 0.0


@pytest.mark.parametrize(("part", "seed"), [(0.4, 5), (0.7, 5)])
def test_below_a_part_of_the_scan_the_crystal_is_still_one(part: float, seed: int) -> None:
    """Learned from other reflections there, it would have a zero of its own (30 % beyond six sigmas)."""
    made = layers(20.0, seed, part=part)
    maps = cs.map(made.counts, progress=False)
    z = made.z(maps)[:3]
    assert np.sqrt((z**2).mean(1)).max() < 1.6
    assert (np.abs(z) < 6.0).all()
