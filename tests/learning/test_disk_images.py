"""Images of single disks: what is the same in every pattern is found in the frame of the crystal, noise is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from cyclestrain.affine import rotation
from cyclestrain.data import FloatArray
from cyclestrain.learning.disk_images import STEP, disk_images, hold_disks, move_with_disks
from cyclestrain.learning.window_sums import Fits
from cyclestrain.pattern import (
    NO_IMAGES,
    DiskImages,
    Entry,
    PatternFit,
    Priors,
    Probe,
    Start,
    WindowStack,
    disk_profile,
    gather,
    predicted_positions,
    refine,
    stacked_images,
)
from cyclestrain.pattern.reflection import N_LOCAL

HALF, RADIUS, N = 8, 5.0, 6
PROBE = Probe.from_profile(disk_profile(RADIUS, 0.8, 16, HALF + 3.0), 16, HALF)
LEVEL, COUNTS = 2.0, 3000.0


@pytest.fixture(scope="module")
def entry() -> Entry:
    """Six reflections, each brighter on one side: a tenth of the light of the one side less than that of the other."""
    angle = 2 * np.pi * np.arange(N) / N
    reflections = 40.0 * np.stack([np.sin(angle), np.cos(angle)], 1)
    m = (HALF + 2) * STEP
    place = np.arange(-m, m + 1) / STEP
    form = PROBE.values[:: 16 // STEP, :: 16 // STEP]
    slopes = np.stack([np.cos(angle), -np.sin(angle)], 1)
    images = np.stack([form * (0.6 / RADIUS) * (a * place[:, None] + b * place) for a, b in slopes])
    return Entry(
        reflections=reflections,
        intensity=np.full(N, COUNTS),
        basis=np.array([[40.0, 20.0], [0.0, 34.64]]),
        indices=np.zeros((N, 2)),
        operators=np.eye(2)[None],
        background=np.full(128, LEVEL),
        probe=PROBE,
        priors=Priors.none(N),
        average=np.zeros((1, 1)),
        disks=DiskImages(images - images.sum((1, 2), keepdims=True) * form / form.sum(), STEP, np.full(N, 0.3)),
    )


def drawn(entry: Entry, start: Start, seed: int) -> tuple[FloatArray, FloatArray]:
    """Patterns of turned crystals, drawn pixel by pixel from probe and images, and where the disks are."""
    rng, patterns = np.random.default_rng(seed), np.full((len(start.gain), 128, 128), LEVEL)
    places = predicted_positions(start, entry.reflections)
    y, x = np.indices((128, 128))
    theta = np.arctan2(start.affine[:, 0, 1] - start.affine[:, 1, 0], np.trace(start.affine, axis1=1, axis2=2))
    for n, turn in enumerate(rotation(theta)):
        for g, place in enumerate(places[n]):
            offset = np.stack([y - place[0], x - place[1]])
            own = np.einsum("ji,jyx->iyx", turn, offset)
            light = map_coordinates(PROBE.values, offset * 16 + len(PROBE.values) // 2, order=1)
            if len(entry.disks):
                image = entry.disks.images[g]
                light = light + map_coordinates(image, own * STEP + len(image) // 2, order=1)
            patterns[n] += entry.intensity[g] * light
    return rng.poisson(patterns).astype(float), places


def starts(n: int, seed: int) -> Start:
    """Crystals turned by any angle, somewhere between pixels."""
    rng = np.random.default_rng(seed)
    centre = 63.5 + rng.uniform(-0.5, 0.5, (n, 2))
    return Start(rotation(rng.uniform(-3.0, 3.0, n)), centre, np.ones(n), np.ones(n))


def fits(entry: Entry, n: int, seed: int) -> Fits:
    start = starts(n, seed)
    patterns, places = drawn(entry, start, seed)
    stack = gather(patterns, places, HALF + 2, np.ones((128, 128), bool))
    theta = np.arctan2(start.affine[:, 0, 1], start.affine[:, 0, 0])
    one = np.ones((n, N))
    return Fits(
        stack.counts, stack.origin, places, start.centre, COUNTS * one, start.level, np.zeros((n, N, N_LOCAL)), one,
        np.stack([np.cos(theta), np.sin(theta)], 1), entry.background[None],
    )  # fmt: skip


def test_images_are_found_in_the_frame_of_the_crystal(entry: Entry) -> None:
    found, light = disk_images(fits(entry, 80, 1), replace(entry, disks=NO_IMAGES), 1.0)
    true = entry.disks.images
    error = np.sqrt(((found.images - true) ** 2).sum((1, 2)) / (true**2).sum((1, 2)))
    assert (error < 0.2).all()
    assert np.abs(light - 1).max() < 0.02
    assert np.abs(found.images.sum((1, 2)) / STEP**2).max() < 1e-6  # contrast has no light of its own


def upright(n: int, seed: int) -> Start:
    """Crystals that are not turned, up to half a pixel away from where they mostly are."""
    centre = 63.5 + np.random.default_rng(seed).uniform(-0.5, 0.5, (n, 2))
    return Start(np.tile(np.eye(2), (n, 1, 1)), centre, np.ones(n), np.ones(n))


def fits_on(entry: Entry, start: Start, still: FloatArray | float = 0.0) -> Fits:
    """Windows of crystals, with something beneath that stays where it is on the detector."""
    patterns, places = drawn(entry, start, 5)
    patterns = patterns + np.random.default_rng(6).poisson(np.broadcast_to(still, patterns.shape))
    stack, one = gather(patterns, places, HALF + 2, np.ones((128, 128), bool)), np.ones((len(places), N))
    upright_turn = np.tile([1.0, 0.0], (len(places), 1))
    return Fits(stack.counts, stack.origin, places, start.centre, COUNTS * one, start.level,
                np.zeros((len(places), N, N_LOCAL)), one, upright_turn, entry.background[None])  # fmt: skip


@pytest.mark.parametrize("moving", [True, False])
def test_only_what_moves_with_the_disks_is_an_image_of_them(entry: Entry, moving: bool) -> None:
    """A band that stays on the detector crosses every disk as well; taken for its image, it would hold it."""
    y, x = np.indices((128, 128))
    band = 8.0 * np.exp(-0.5 * (((y - 0.7 * x - 20.0) % 9.0 - 4.5) / 1.2) ** 2)
    flat = replace(entry, disks=NO_IMAGES)
    found = fits_on(entry, upright(100, 4)) if moving else fits_on(flat, upright(100, 4), band)
    assert move_with_disks(found, np.broadcast_to(4e-4 * np.eye(2), (100, N, 2, 2)), flat, 1.0) == moving


def test_crystals_that_are_turned_hold_their_images(entry: Entry) -> None:
    assert move_with_disks(fits(entry, 80, 1), np.zeros((80, N, 2, 2)), replace(entry, disks=NO_IMAGES), 1.0)


def moved(sigma: float, seed: int, turned: float = 0.0) -> FloatArray:
    """Affines of 256 crystals, each strained and turned a little."""
    rng = np.random.default_rng(seed)
    return np.eye(2) + sigma * rng.normal(size=(256, 2, 2)) + turned * np.array([[0.0, 1], [-1, 0]]) * rng.choice(
        [-1.0, 0, 1], (256, 1, 1)
    )  # fmt: skip


SHARP, BLURRED = 2e-3, 4e-3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("strain", "turned", "held", "found"), [
    (6e-3, 0.0, 0.0, False),
    (6e-3, 0.0, 0.3, True),
    (1e-4, 0.0, 0.0, False),  # where nothing moves, nothing is held
    (6e-3, 0.1, 0.3, False),  # turned crystals have what is still elsewhere in their disks
])  # fmt: skip
def test_images_hold_the_disks_where_crystals_move_less_with_them(
    seed: int, strain: float, turned: float, held: float, found: bool
) -> None:
    reflections = 40.0 * np.stack([np.cos(np.arange(6)), np.sin(np.arange(6))], 1)
    true, sharp = moved(strain, seed, turned), moved(SHARP, seed + 100) - np.eye(2)
    blurred = moved(np.sqrt(BLURRED**2 - SHARP**2), seed + 200) - np.eye(2)
    with_images = np.eye(2) + (1 - held) * (true - np.eye(2)) + sharp
    assert hold_disks(true + sharp + blurred, with_images, reflections, 1.0) == found


def test_flat_disks_have_next_to_no_image(entry: Entry) -> None:
    flat = replace(entry, disks=NO_IMAGES)
    found, _ = disk_images(fits(flat, 80, 2), flat, 1.0)
    assert (found.images**2).sum((1, 2)).max() < 2e-3 * (PROBE.values[::4, ::4] ** 2).sum()


def test_a_fit_with_images_recovers_the_transform_within_its_sigma(entry: Entry) -> None:
    n = 60
    start = starts(n, 3)
    strained = replace(start, affine=start.affine @ np.array([[1.004, 0.001], [0.002, 0.997]]))
    patterns, places = drawn(entry, strained, 3)
    stack = gather(patterns, places, HALF + 3, np.ones((128, 128), bool))
    for model, honest in ((entry, True), (replace(entry, disks=NO_IMAGES), False)):
        fit = refine(stack, model, start, centre=start.centre, centre_sigma=0.5, iterations=6)
        error = (fit.start.affine - strained.affine).reshape(n, 4)
        z = error / np.sqrt(np.einsum("nii->ni", fit.covariance[:, :4, :4]))
        assert (np.sqrt((z**2).mean(0)) < 1.3).all() == honest


LONG, SHORT = 2.6, 1.9
"""Standard deviations of spots along y and x, pixels."""


def faint_spots(entry: Entry, n: int, seed: int) -> tuple[FloatArray, Start]:
    """Patterns of soft spots that are longer along y than along x, some 150 counts each."""
    start = upright(n, seed)
    y, x = np.indices((128, 128))
    patterns = np.full((n, 128, 128), entry.background[0])
    for pattern, places in zip(patterns, predicted_positions(start, entry.reflections), strict=True):
        for place in places:
            away = ((y - place[0]) / LONG) ** 2 + ((x - place[1]) / SHORT) ** 2
            pattern += entry.intensity[0] * np.exp(-0.5 * away) / (2 * np.pi * LONG * SHORT)
    return np.random.default_rng(seed).poisson(patterns).astype(float), start


@pytest.mark.parametrize("seed", [0, 3])
def test_images_of_soft_spots_are_no_sharper_than_the_spots(entry: Entry, seed: int) -> None:
    """Noise, and the edge of an image that ends before its spot, would tell places better than counts do."""
    radii = np.arange(0, 9, 1 / 16)
    probe = Probe.from_profile(np.exp(-0.5 * (radii / 2.1) ** 2), 16, 6)
    first = replace(entry, probe=probe, intensity=np.full(N, 150.0), background=np.full(128, 0.15), disks=NO_IMAGES)

    def fitted(model: Entry, n: int, seed: int) -> tuple[WindowStack, PatternFit]:
        patterns, start = faint_spots(first, n, seed)
        stack = gather(patterns, predicted_positions(start, first.reflections), 9, np.ones((128, 128), bool))
        return stack, refine(stack, model, start, centre=start.centre, centre_sigma=0.5, iterations=6)

    model = first
    for _ in range(3):
        stack, fit = fitted(model, 200, seed)
        places = predicted_positions(fit.start, first.reflections)
        brightness = fit.start.gain[:, None] * model.intensity
        windows = Fits(
            stack.counts, stack.origin, places, fit.start.centre, brightness, fit.start.level,
            np.zeros((200, N, N_LOCAL)), np.ones((200, N)), np.tile([1.0, 0.0], (200, 1)), model.background[None],
        )  # fmt: skip
        disks, light = disk_images(windows, model, 1.0)
        model = replace(model, disks=disks, intensity=model.intensity * light)
    _, fit = fitted(model, 500, seed + 1000)
    scatter = fit.start.affine.reshape(-1, 4).std(0)
    stated = np.sqrt(np.einsum("nii->ni", fit.covariance[:, :4, :4]).mean(0))
    assert scatter == pytest.approx(stated, rel=0.12)


def test_derivatives_of_the_tables_are_those_of_the_images(entry: Entry) -> None:
    image, along, across = np.moveaxis(entry.disks.tables[0].astype(float), -1, 0)
    for k, slope in enumerate((along, across)):  # to the place of the disk: against the offset from it
        difference = (np.roll(image, 1, k) - np.roll(image, -1, k)) * STEP / 2
        np.testing.assert_allclose(slope[2:-2, 2:-2], difference[2:-2, 2:-2], atol=1e-6)


def test_images_of_entries_are_stacked_about_their_middle() -> None:
    large, small = (DiskImages(np.full((n, size, size), float(size)), 1, np.zeros(n)) for n, size in ((2, 5), (1, 3)))
    out = stacked_images([large, NO_IMAGES, small], 4, np.nan)
    assert out.shape == (3, 4, 5, 5)
    np.testing.assert_array_equal(out[0, :2], 5.0)
    np.testing.assert_array_equal(out[2, 0, 1:-1, 1:-1], 3.0)
    assert np.isnan(out[1]).all()
    assert np.isfinite(out).sum() == 2 * 25 + 9
    assert not stacked_images([NO_IMAGES], 4, 0.0).size


def test_every_reflection_has_an_image_or_none(entry: Entry) -> None:
    assert len(entry.only(np.array([0, 2])).disks) == 2
    with pytest.raises(ValueError, match="5 images for the disks of 6 reflections"):
        replace(entry, disks=entry.disks.only(np.arange(5)))
