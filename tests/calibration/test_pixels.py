"""Bad pixels: defects are found, disks and scarce counts are none."""

from __future__ import annotations

import numpy as np
import pytest

import strangers as st
from cyclestrain.calibration.pixels import find_bad_pixels
from cyclestrain.simulation import polycrystal, uniform

SMALL = {"scan": (12, 12), "detector": (128, 128), "grain_size": 40.0}


class TestBadPixels:
    def bad(self, patterns: np.ndarray) -> np.ndarray:
        flat = patterns.reshape(-1, *patterns.shape[-2:]).astype(float)
        return find_bad_pixels(flat.mean(0), flat.var(0), len(flat))

    def test_hot_and_dead_ones_are_found_and_no_others(self) -> None:
        made = polycrystal(**SMALL, background=0.4, seed=4)  # type: ignore[arg-type]
        patterns = np.asarray(made.scan.source).copy()
        rng = np.random.default_rng(0)
        place = rng.choice(128 * 128, 30, replace=False)
        ys, xs = np.unravel_index(place, (128, 128))
        near = np.hypot(ys - 63.5, xs - 63.5)
        ys, xs = ys[near > 12], xs[near > 12]
        hot = np.arange(len(ys)) % 2 == 0
        local = patterns.reshape(-1, 128, 128).mean(0)
        dead_seen = local[ys, xs] > 2.0  # a dead pixel shows only where there is something to miss
        patterns[..., ys[hot], xs[hot]] += 60
        patterns[..., ys[~hot], xs[~hot]] = 0
        expected = np.zeros((128, 128), bool)
        expected[ys[hot], xs[hot]] = True
        expected[ys[~hot & dead_seen], xs[~hot & dead_seen]] = True
        found = self.bad(patterns)
        assert expected.sum() > 15
        assert found[expected].all()
        found[ys, xs] = False  # the dead ones in the dark may be found or not
        assert not found.any()

    @pytest.mark.parametrize("moving", [True, False])
    @pytest.mark.parametrize("height", [0.6, 1.5])
    def test_faint_hot_pixels_are_found_between_disks(self, moving: bool, height: float) -> None:
        """Counts of their own, about as many as the background has, also where all patterns are alike."""
        options = SMALL if moving else {k: SMALL[k] for k in ("scan", "detector")}
        made = (polycrystal if moving else uniform)(**options, background=0.6, seed=2)  # type: ignore[operator]
        patterns = np.asarray(made.scan.source).astype(np.int64)
        local = patterns.reshape(-1, 128, 128).mean(0)
        rng = np.random.default_rng(3)
        ys, xs = rng.integers(4, 124, (2, 60))
        flat = np.array(
            [np.ptp(local[y - 2 : y + 3, x - 2 : x + 3]) < 0.6 * local[y, x] for y, x in zip(ys, xs, strict=True)]
        )
        ys, xs = ys[flat], xs[flat]
        assert len(ys) > 15
        patterns[..., ys, xs] += rng.poisson(height * local[ys, xs] + 3, (*patterns.shape[:2], len(ys)))
        found = self.bad(patterns)
        assert found[ys, xs].mean() > 0.9
        found[ys, xs] = False
        assert not found.any()

    def test_pixels_that_always_show_one_number_are_stuck(self) -> None:
        patterns = np.asarray(uniform(scan=(8, 8), detector=(128, 128), background=0.5).scan.source).copy()
        patterns[..., 40, 70] = int(0.6 * patterns[..., 40, 70].mean())
        found = self.bad(patterns)
        assert found[40, 70]
        assert found.sum() == 1

    def test_a_hot_column_or_pair_does_not_hide_itself(self) -> None:
        made = uniform(scan=(8, 8), detector=(128, 128), background=0.5)
        patterns = np.asarray(made.scan.source).copy()
        patterns[..., 30, 40:42] += 200
        found = self.bad(patterns)
        assert found[30, 40:42].all()
        assert found.sum() == 2

    @pytest.mark.parametrize("radius", [1.0, 1.5, 2.5, 8.0])
    @pytest.mark.parametrize("lattice", ["hexagonal", "oblique"])
    @pytest.mark.parametrize("noise_free", [False, True])
    def test_real_disks_are_never_masked(self, radius: float, lattice: str, noise_free: bool) -> None:
        """One crystal everywhere, nothing averaged away: sharp, bright, still disks are no defects."""
        made = uniform(
            scan=(8, 8), detector=(128, 128), radius=radius, background=0.05, lattice=lattice, noise_free=noise_free,
            counts=1e6,
        )  # fmt: skip
        assert not self.bad(np.asarray(made.scan.source)).any()

    @pytest.mark.parametrize("probe", [st.bullseye(5.0, 1.5), st.cross(8.0)])
    def test_gaps_between_patterned_disks_of_two_grains_are_not_dead(self, probe: st.Shape) -> None:
        gradient = st.deformed(*np.zeros((3, 12, 12)), 20.0 * (np.indices((12, 12))[1] > 5))
        made = st.stranger(
            [st.square(20.0, reach=48.0, seed=1)], st.field(gradient), probe=probe, background=st.lorentzian(12.0),
            backgrounds=0.05, detector=(120, 120),
        )  # fmt: skip
        patterns = made.counts.copy()
        assert self.bad(patterns).sum() < 10
        dead = [(30, 41), (77, 90), (95, 52)]
        for pixel in dead:
            patterns[(..., *pixel)] = 0
        assert all(self.bad(patterns)[pixel] for pixel in dead)

    @pytest.mark.parametrize("per_pixel", [0.001, 0.03, 0.3])
    @pytest.mark.parametrize("n", [16, 400])
    def test_scarce_counts_are_no_defects(self, per_pixel: float, n: int) -> None:
        rng = np.random.default_rng(1)
        patterns = rng.poisson(per_pixel, (n, 128, 128))
        assert not self.bad(patterns).any()
        y, x = np.indices((128, 128))
        falling = 10 * per_pixel / (1 + np.hypot(y - 64, x - 64) / 8)
        assert not self.bad(rng.poisson(falling, (n, 128, 128))).any()
