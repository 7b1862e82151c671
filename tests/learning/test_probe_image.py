"""The probe as an image: it is that of the aperture, asked for by the patterns, and round ones are left as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import strangers as st
from cyclestrain.affine import rotation
from cyclestrain.calibration import measure_vacuum
from cyclestrain.data import FloatArray
from cyclestrain.io import read
from cyclestrain.learning import probe_of
from cyclestrain.learning.probe_image import ProbeImage, centred, image_of, is_common
from cyclestrain.learning.window_sums import Fits
from cyclestrain.pattern import Probe, disk_profile, gather
from cyclestrain.pattern.reflection import N_LOCAL

HALF, OVERSAMPLING = 8, 16
DISK = Probe.from_profile(disk_profile(5.0, 0.8, OVERSAMPLING, HALF + 3.0), OVERSAMPLING, HALF)


def seen(shape: st.Shape, n: int = 60, counts: float = 3000.0, seed: int = 0) -> Fits:
    """Windows of eight reflections whose disks have a shape, at any place between pixels, on a flat background."""
    rng = np.random.default_rng(seed)
    table = st.tabulated(shape, 10)
    ring = 40.0 * np.stack([np.sin(np.arange(8) * np.pi / 4), np.cos(np.arange(8) * np.pi / 4)], 1)
    patterns, centre = np.full((n, 128, 128), 2.0), 63.5 + rng.uniform(-0.5, 0.5, (n, 2))
    places = centre[:, None] + np.stack([ring @ rotation(a).T for a in rng.uniform(-0.3, 0.3, n)])
    for k in range(n):
        for y, x in places[k]:
            iy, ix = round(y), round(x)
            at = np.rint((np.array([y - iy, x - ix]) + 0.5) * st.PHASES).astype(int)
            patterns[k, iy - 10 : iy + 11, ix - 10 : ix + 11] += counts * table[at[0], at[1]]
            places[k][(places[k] == [y, x]).all(1)] = np.array([iy, ix]) + at / st.PHASES - 0.5
    stack = gather(rng.poisson(patterns), places, HALF + 2, np.ones((128, 128), bool))
    one, many = np.ones(n), np.ones((n, 8))
    return Fits(
        stack.counts,
        stack.origin,
        places,
        centre,
        counts * many,
        one,
        np.zeros((n, 8, N_LOCAL)),
        many,
        np.ones((n, 2)) * [1, 0],
        np.full((1, 128), 2.0),
    )


def learned(shape: st.Shape) -> ProbeImage:
    reflections = 40.0 * np.stack([np.sin(np.arange(8) * np.pi / 4), np.cos(np.arange(8) * np.pi / 4)], 1)
    return image_of(seen(shape), 0.1, DISK, reflections, 1.0)


def drawn(shape: st.Shape) -> FloatArray:
    """The shape on pixels, of unit sum, at the pixels of a window."""
    return st.tabulated(shape, HALF)[st.PHASES // 2, st.PHASES // 2]


SHAPES = {
    "cross": st.cross(5.0),
    "ellipse": st.oval(5.0, 1.1, 30.0),
    "bullseye": st.bullseye(5.0, 1.5),
    "spot": st.spot(2.0),
}


@pytest.mark.parametrize("name", list(SHAPES))
def test_the_image_is_that_of_the_aperture(name: str) -> None:
    image = learned(SHAPES[name])
    assert is_common(image)
    m = len(image.probe.values) // 2
    grid = np.s_[m - HALF * OVERSAMPLING : m + HALF * OVERSAMPLING + 1 : OVERSAMPLING]
    values, truth = centred(image.probe).values[grid, grid], drawn(SHAPES[name])
    assert np.sqrt(((values - truth) ** 2).sum() / (truth**2).sum()) < 0.08


def test_round_disks_ask_for_no_image() -> None:
    assert not is_common(learned(st.disk(5.0)))


def test_contrast_of_single_reflections_is_not_the_aperture() -> None:
    """What one half of the reflections shows and the other does not is no image of the probe."""
    fits, reflections = seen(st.disk(5.0)), 40.0 * np.eye(2)[[0, 1] * 4]
    turned = seen(st.cross(5.0))
    half = np.arange(8)[None, :, None, None] % 2 == 0
    mixed = fits._replace(counts=np.where(half, fits.counts, turned.counts))
    angles = np.arange(8) * np.pi / 4
    reflections = np.stack([30.0 + 10.0 * (np.arange(8) % 2), 0.0 * angles], 1)
    image = image_of(mixed, 0.1, DISK, reflections, 1.0)
    assert not is_common(image)


def test_an_image_is_centred_and_stands_on_nothing() -> None:
    m = len(DISK.values) // 2
    moved = replace(DISK, values=np.roll(DISK.values, (5, -3), (0, 1)) + 1e-4, is_image=True)
    found = centred(moved)
    offset = np.arange(-m, m + 1)
    assert np.abs([found.values.sum(1) @ offset, found.values.sum(0) @ offset]).max() / found.values.sum() < 0.1
    assert found.values[0, 0] == 0


def test_a_probe_for_another_window_is_the_same() -> None:
    wider = replace(DISK, is_image=True).resized(HALF + 3)
    m, n = len(DISK.values) // 2, len(wider.values) // 2
    np.testing.assert_allclose(wider.values[n - m : n + m + 1, n - m : n + m + 1], DISK.values, rtol=1e-6, atol=1e-12)


def test_a_vacuum_image_is_the_probe() -> None:
    y, x = np.indices((96, 96))
    rng = np.random.default_rng(1)
    shape, moved = st.bullseye(7.0, 2.5), rng.uniform(-1, 1, (9, 2))
    stack = np.stack([rng.poisson(2e5 * drawn_at(shape, y - 47 - dy, x - 49 - dx)) for dy, dx in moved])
    vacuum = measure_vacuum(read(stack[None]))
    probe = probe_of(vacuum)
    assert vacuum.radius == pytest.approx(7.5, abs=0.75)
    assert probe.radius == pytest.approx(7.0, abs=0.25)
    assert probe.is_image
    assert probe.roughness < 0.1


def drawn_at(shape: st.Shape, y: FloatArray, x: FloatArray) -> FloatArray:
    """A shape averaged over each pixel, of unit sum."""
    parts = [shape(y + v, x + u) for v in (-0.375, -0.125, 0.125, 0.375) for u in (-0.375, -0.125, 0.125, 0.375)]
    return np.asarray(sum(parts) / sum(part.sum() for part in parts))
