"""What is learned from simulated patterns against what they were drawn with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from cyclestrain.affine import left_polar, rotation
from cyclestrain.calibration import calibrate, draw_sample
from cyclestrain.data import Calibration, FloatArray
from cyclestrain.learning.entry import _sharper, approached, learn_entry
from cyclestrain.learning.lesson import Lesson
from cyclestrain.learning.plausibility import Unlearned
from cyclestrain.learning.recognition import explains_nearly_all, is_new_crystal, significance
from cyclestrain.pattern import Entry, Probe, fit_edge, pixelated_disk, seen_edge
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import Acquisition
from cyclestrain.simulation.patterns import background, draw_disk
from laws import simulated_field

DETECTOR = (128, 128)
FOLD = {"hexagonal": 6, "square": 4, "oblique": 2}


@dataclass(frozen=True)
class Learned:
    """An entry, what it was learned from, and how the patterns were drawn."""

    entry: Entry
    noise_scale: float
    lesson: Lesson
    calibration: Calibration
    acquisition: Acquisition
    made_from: FloatArray


def lesson_of(n: int = 14, seed: int = 0, **options: Any) -> tuple[Lesson, Calibration, Acquisition, FloatArray]:
    """A lesson of ``n x n`` patterns, any rotation, up to 1.5 % strain, coarse rotations off by half a degree."""
    rng = np.random.default_rng(seed)
    gradient = (np.eye(2) + rng.uniform(-0.015, 0.015, (n, n, 2, 2))) @ rotation(rng.uniform(-3, 3, (n, n)))
    options = {"detector": DETECTOR, "background": 0.25, "counts": 1e5, "radius": 3.0, "seed": seed, **options}
    made = simulated_field(gradient, **options)
    sample = draw_sample(made.scan)
    calibration = calibrate(made.scan, sample, MapSettings())
    theta = left_polar(gradient)[1].ravel() + 0.7 + np.deg2rad(0.5) * rng.standard_normal(n * n)
    members = np.arange(n * n)[:, None]
    lesson = Lesson(sample.patterns, members, calibration.good, calibration.centre.reshape(-1, 2), 0.1, theta)
    return lesson, calibration, Acquisition(**options), gradient.reshape(-1, 2, 2)


def learned_of(**options: Any) -> Learned:
    lesson, calibration, acquisition, gradient = lesson_of(**options)
    found = learn_entry(lesson, calibration, np.random.default_rng(0))
    assert not isinstance(found, Unlearned)
    return Learned(*found, lesson, calibration, acquisition, gradient)


@pytest.fixture(scope="module", params=list(FOLD))
def learned(request: pytest.FixtureRequest) -> Learned:
    return learned_of(lattice=request.param)


def matched(learned: Learned) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Nearest drawn reflection of every found one, residual after the best affine (px), drawn position."""
    lattice = learned.acquisition.make_lattice()
    vectors, fold = lattice.vectors, lattice.symmetry
    best: tuple[float, FloatArray, FloatArray] | None = None
    for turn in (-0.7, *(-0.7 + 2 * np.pi * np.arange(1, fold) / fold)):
        change = rotation(turn)
        for _ in range(4):
            distance = np.hypot(*(learned.entry.reflections[:, None] - vectors @ change.T).transpose(2, 0, 1))
            nearest = distance.argmin(1)
            change = np.linalg.lstsq(vectors[nearest], learned.entry.reflections, rcond=None)[0].T
        residual = learned.entry.reflections - vectors[nearest] @ change.T
        share = lattice.intensity[nearest]
        agreement = float(np.corrcoef(share, learned.entry.intensity)[0, 1] - np.hypot(*residual.T).max())
        if best is None or agreement > best[0]:
            best = (agreement, nearest, residual)
    assert best is not None
    return best[1], best[2], vectors[best[1]]


def drawn_profile(acquisition: Acquisition, length: int = 64) -> FloatArray:
    """Radial profile, 8 samples per pixel, of the disks that the simulator draws, pixels and all."""
    total, n = np.zeros(length), np.zeros(length)
    optics = np.array([acquisition.disk_radius, 0.0, 1.0, 0.0, 0.0, 1.0])
    y, x = np.indices((25, 25)).astype(float)
    for py, px in np.random.default_rng(0).uniform(11.5, 12.5, (300, 2)):
        image = np.zeros((25, 25))
        draw_disk(image, py, px, 1.0, optics, 0.0, 0.0, 0.0)
        ring = np.rint(8 * np.hypot(y - py, x - px)).astype(int).ravel()
        total += np.bincount(ring, image.ravel(), 200)[:length]
        n += np.bincount(ring, minlength=200)[:length]
    return total / n


def edge_width(profile: FloatArray) -> float:
    """Distance over which a profile falls from 80 % to 20 % of its plateau, pixels."""
    plateau = np.median(profile[:12])
    place = np.interp([-0.8, -0.2], -profile[8:48] / plateau, np.arange(8, 48) / 8)
    return float(place[1] - place[0])


def test_every_reflection_is_found_once_and_no_other(learned: Learned) -> None:
    nearest, residual, _ = matched(learned)
    assert len(np.unique(nearest)) == len(nearest)
    assert np.hypot(*residual.T).max() < 0.5
    lattice = learned.acquisition.make_lattice()
    length = np.hypot(*lattice.vectors.T)
    well_inside = np.flatnonzero(length < learned.calibration.ring[1] - 5)
    assert set(well_inside) <= set(nearest)


def test_reflections_form_the_drawn_lattice(learned: Learned) -> None:
    """A common affine is free (it cancels in every strain); what is left is noise of a twentieth of a pixel."""
    nearest, residual, positions = matched(learned)
    inner = np.hypot(*positions.T) < 45
    bright = learned.acquisition.make_lattice().intensity[nearest] > 4e-4
    assert np.abs(residual[inner & bright]).max() < 0.07
    assert np.abs(residual).max() < 0.2


def test_radius_and_edge_of_the_probe(learned: Learned) -> None:
    truth = drawn_profile(learned.acquisition)
    profile = learned.entry.probe.profile[:: learned.entry.probe.oversampling // 8]
    radius = np.interp(-0.5, -truth[8:] / np.median(truth[:12]), np.arange(8, 64) / 8)
    assert learned.entry.probe.radius == pytest.approx(radius, abs=0.06)
    assert edge_width(profile) == pytest.approx(edge_width(truth), abs=0.12)
    np.testing.assert_allclose(profile[:40], truth[:40], atol=0.08 * truth[:12].max())


def test_intensities_are_those_that_were_drawn(learned: Learned) -> None:
    nearest, _, positions = matched(learned)
    share = learned.acquisition.make_lattice().intensity[nearest]
    expected = learned.acquisition.counts * (1 - learned.acquisition.background) * share
    inner = np.hypot(*positions.T) < 45
    # Modulo the symmetry of the modulated brightness, which a turn of the whole entry keeps.
    ratio = learned.entry.intensity[inner] / expected[inner]
    n = len(learned.made_from)
    noise = np.sqrt(expected[inner] + 2 * np.pi * 3.0**2 * 2) / expected[inner] / np.sqrt(n)
    assert np.median(ratio) == pytest.approx(1.0, abs=0.03)
    assert (np.abs(ratio - np.median(ratio)) < 5 * noise + 0.02).all()


def test_background_and_noise(learned: Learned) -> None:
    assert learned.noise_scale == pytest.approx(1.0, abs=0.03)
    truth = learned.acquisition.counts * 0.25 * background(DETECTOR, 63.0, 63.0)[63]
    radius = np.arange(15, 45)
    np.testing.assert_allclose(learned.entry.background[radius], truth[63 + radius], rtol=0.07)


def test_symmetry_is_that_of_the_lattice(learned: Learned) -> None:
    assert learned.entry.symmetry == FOLD[learned.acquisition.lattice]


def test_where_nothing_deviates_nothing_is_free(learned: Learned) -> None:
    spread = learned.entry.priors.spread
    bright = learned.entry.intensity > np.median(learned.entry.intensity)
    assert spread[bright, 0].max() < 0.08
    assert spread[bright, 4].max() < 0.1


@pytest.mark.parametrize("radius", [2.0, 5.0])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_disks_of_any_size(radius: float, share: float) -> None:
    found = learned_of(radius=radius, background=share, spacing=24.0)
    truth = drawn_profile(found.acquisition)
    expected = np.interp(-0.5, -truth[6:] / truth[:8].mean(), np.arange(6, 64) / 8)
    assert found.entry.probe.radius == pytest.approx(expected, abs=0.1)
    _, residual, positions = matched(found)
    assert np.abs(residual[np.hypot(*positions.T) < 45]).max() < 0.17


def test_gain_of_the_detector_is_the_scale_of_the_noise() -> None:
    lesson, calibration, _, _ = lesson_of(n=9)
    amplified = replace(lesson, patterns=7.0 * lesson.patterns.astype(np.float32))
    one = learn_entry(lesson, calibration, np.random.default_rng(0))
    other = learn_entry(amplified, calibration, np.random.default_rng(0))
    assert not isinstance(one, Unlearned)
    assert not isinstance(other, Unlearned)
    assert other[1] == pytest.approx(7 * one[1], rel=0.02)
    np.testing.assert_allclose(other[0].intensity, 7 * one[0].intensity, rtol=0.02)
    assert other[0].probe.radius == pytest.approx(one[0].probe.radius, abs=0.02)


def test_brightness_that_changes_from_place_to_place_is_learned_as_free() -> None:
    """As with thickness and tilt: two kinds of patterns whose reflections differ by a factor of two."""
    lesson, calibration, acquisition, gradient = lesson_of(n=11, seed=3)
    found = learn_entry(lesson, calibration, np.random.default_rng(0))
    assert not isinstance(found, Unlearned)
    rng = np.random.default_rng(1)
    lattice = acquisition.make_lattice()
    y, x = np.indices(DETECTOR)
    patterns = lesson.patterns.astype(float)
    turned = np.linalg.inv(gradient).swapaxes(-1, -2)
    for n in range(len(patterns)):
        keep = rng.uniform(0.5, 1.0, len(lattice.vectors))
        for (py, px), share in zip(lesson.centre[n] + lattice.vectors @ turned[n].T, keep, strict=True):
            near = np.hypot(y - py, x - px) < acquisition.disk_radius + 1.5
            patterns[n][near] = rng.binomial(patterns[n][near].astype(int), share)
    changed = learn_entry(replace(lesson, patterns=patterns.astype(np.uint16)), calibration, np.random.default_rng(0))
    assert not isinstance(changed, Unlearned)
    steady, free = (np.median(entry.priors.spread[:, 0]) for entry in (found[0], changed[0]))
    assert steady < 0.05
    assert free > 0.1


def test_sums_over_neighbours_teach_what_single_patterns_cannot() -> None:
    """Nine patterns of 2e3 counts each, added up, as one of 1.8e4."""
    rng = np.random.default_rng(5)
    gradient = np.repeat((np.eye(2) + rng.uniform(-0.01, 0.01, (150, 1, 2, 2))) @ rotation(0.3), 9, 1)
    options = {"detector": DETECTOR, "background": 0.3, "counts": 3e3, "radius": 3.0}
    made = simulated_field(gradient, **options)
    patterns = np.asarray(made.scan.source).reshape(-1, *DETECTOR)
    calibration = calibrate(made.scan, draw_sample(made.scan), MapSettings())
    centre = calibration.centre[:, 4]
    lesson = Lesson(patterns, np.arange(1350).reshape(150, 9), calibration.good, centre, 0.1, np.full(150, 0.3))
    found = learn_entry(lesson, calibration, np.random.default_rng(0))
    assert not isinstance(found, Unlearned)
    entry, noise_scale = found
    assert entry.probe.radius == pytest.approx(3.0, abs=0.2)
    assert noise_scale == pytest.approx(1.0, abs=0.05)
    # Intensities are those of one pattern, not of the sum.
    drawn = 3e3 * 0.7 * Acquisition(**options).make_lattice().intensity.max()  # type: ignore[arg-type]
    assert entry.intensity.max() == pytest.approx(drawn, rel=0.15)


def test_noise_teaches_nothing() -> None:
    rng = np.random.default_rng(0)
    lesson, calibration, _, _ = lesson_of(n=8)
    smooth = 1e5 * background(DETECTOR, 63.5, 63.5)
    empty = replace(lesson, patterns=rng.poisson(smooth, (64, *DETECTOR)).astype(np.uint16))
    found = learn_entry(empty, calibration, rng)
    assert isinstance(found, Unlearned) or np.median(significance(found[0], empty)) < 5


def test_a_crystal_is_new_once() -> None:
    """The same lattice learned again, also turned, is no new crystal; another lattice is."""
    hexagonal = learned_of(n=9, seed=1)
    again = learned_of(n=9, seed=2)
    square = learned_of(n=9, seed=3, lattice="square", spacing=1.18 * 37.9 / 2)
    turned = again.lesson.theta
    assert not is_new_crystal(again.entry, [(hexagonal.entry, turned)], again.lesson)
    assert is_new_crystal(again.entry, [], again.lesson)
    assert is_new_crystal(square.entry, [(hexagonal.entry, square.lesson.theta)], square.lesson)


def test_an_entry_explains_its_own_crystal_and_no_other() -> None:
    """Strained or turned as it may be; nothing where half of the patterns show none, or noise was half as large."""
    hexagonal, again = learned_of(n=9, seed=1), learned_of(n=9, seed=2)
    square = learned_of(n=9, seed=3, lattice="square", spacing=1.18 * 37.9 / 2)
    entry, noise = hexagonal.entry, hexagonal.noise_scale
    few = np.arange(8)
    assert explains_nearly_all(entry, noise, again.lesson.only(few))
    assert not explains_nearly_all(entry, 0.5 * noise, again.lesson.only(few))
    assert not explains_nearly_all(entry, noise, square.lesson.only(few))
    patterns = again.lesson.patterns.copy()
    patterns[:4] = np.random.default_rng(0).poisson(1e5 * background(DETECTOR, 63.5, 63.5), (4, *DETECTOR))
    assert not explains_nearly_all(entry, noise, replace(again.lesson, patterns=patterns).only(few))


def test_a_crystal_is_new_also_where_most_patterns_show_none() -> None:
    hexagonal = learned_of(n=9, seed=1)
    square = learned_of(n=9, seed=3, lattice="square", spacing=1.18 * 37.9 / 2)
    patterns = square.lesson.patterns.copy()
    empty = np.arange(81) % 4 > 0
    smooth = 1e5 * background(DETECTOR, 63.5, 63.5)
    patterns[empty] = np.random.default_rng(0).poisson(smooth, (empty.sum(), *DETECTOR))
    lesson = replace(square.lesson, patterns=patterns)
    assert is_new_crystal(square.entry, [(hexagonal.entry, lesson.theta)], lesson)
    assert not is_new_crystal(hexagonal.entry, [(square.entry, lesson.theta)], lesson)


def test_a_superstructure_on_a_known_lattice_is_new() -> None:
    """Many more reflections of the same lattice that explain more are another crystal; a few more are not."""
    whole = learned_of(n=9, seed=1)
    faint_first = np.argsort(whole.entry.intensity)
    n = len(faint_first)
    half, most = (whole.entry.only(np.sort(faint_first[first:last])) for first, last in ((0, n // 2), (n // 4, n)))
    theta = whole.lesson.theta
    assert is_new_crystal(whole.entry, [(half, theta)], whole.lesson)
    assert not is_new_crystal(whole.entry, [(most, theta)], whole.lesson)
    assert not is_new_crystal(half, [(whole.entry, theta)], whole.lesson)


def with_edge(entry: Entry, radius: float, edge: float) -> Entry:
    """The entry with disks of another edge."""
    over = entry.probe.oversampling
    radii = np.arange((entry.probe.half + 3) * over) / over
    return replace(entry, probe=Probe.from_profile(seen_edge(radii, radius, edge), over, entry.probe.half))


def with_beam(lesson: Lesson, radius: float, edge: float) -> Lesson:
    """The lesson with another direct beam of a hundred counts per pixel."""
    patterns, centre = lesson.patterns.copy(), lesson.centre.mean(0)
    offset = np.moveaxis(np.indices(patterns.shape[1:]), 0, -1) - centre
    near = np.hypot(*np.moveaxis(offset, -1, 0)) < 9
    disk = pixelated_disk(radius, edge, 16, 160)
    mean = 2 + 100 * disk[tuple(np.rint(16 * offset[near]).astype(int).T + 160)]
    patterns[:, near] = np.random.default_rng(1).poisson(mean, (len(patterns), len(mean)))
    return replace(lesson, patterns=patterns)


@pytest.fixture(scope="module")
def wide() -> Learned:
    return learned_of(n=6, radius=5.0)


@pytest.mark.parametrize(
    ("learned", "beam", "kept"),
    [
        ((5.0, 0.8), (5.0, 0.2), "beam"),
        ((5.0, 0.25), (5.0, 0.2), "beam"),
        ((5.0, 0.25), (5.0, 0.8), "learned"),
        ((5.0, 0.25), (5.7, 0.2), "learned"),
    ],
)
def test_the_sharper_edge_is_that_of_the_aperture(
    wide: Learned, learned: tuple[float, float], beam: tuple[float, float], kept: str
) -> None:
    """Whatever blurred the other one; and a sharp beam that is not that of the disks is not believed."""
    entry, lesson = with_edge(wide.entry, *learned), with_beam(wide.lesson, *beam)
    start = approached(lesson, entry)
    found, _, _ = _sharper(lesson, wide.calibration, entry, start, rounds=2, noise_scale=wide.noise_scale)
    expected = beam if kept == "beam" else learned
    assert fit_edge(found.probe.profile, found.probe.oversampling)[:2] == pytest.approx(expected, abs=0.08)
    assert (found is entry) == (kept == "learned")


def test_the_edge_of_a_cut_beam_is_not_looked_for(wide: Learned) -> None:
    """Cut at a quarter of its height, a disk is wider, and its edge sharper."""
    lesson = with_beam(wide.lesson, 5.0, 0.6)
    entry = with_edge(wide.entry, 5.0, 0.5)
    cut = replace(lesson, patterns=np.minimum(lesson.patterns, 25), ceiling=25.0)
    start = approached(cut, entry)
    assert _sharper(cut, wide.calibration, entry, start, rounds=1, noise_scale=1.0)[0] is entry
