"""Where a lattice maps onto itself and its intensities do not, fits end in the labelling that the disks speak for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.affine import rotation
from cyclestrain.data import FloatArray
from cyclestrain.estimation.block import fit_from_rotation
from cyclestrain.learning import Knowledge
from cyclestrain.pattern import Entry, PatternFit, Start
from cyclestrain.pattern.labelling import likelier_labelling, turned_intensities
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import polycrystal
from laws import expected_counts, made_up_entry, ring_of_reflections

SHAPE, TURN = (96, 96), 0.3
CENTRE = np.array([47.3, 46.8])
QUARTERS = rotation(np.pi / 2 * np.arange(4))


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    made = polycrystal(scan=(4, 4), detector=SHAPE, grain_size=60.0, radius=3.0, background=0.05, seed=3)
    return prepare(made.scan, MapSettings(), SilentProgress())[1]


def square_lattice(contrast: float) -> Entry:
    """Two rings of a square lattice; reflections along one axis are brighter than those along the other."""
    entry = made_up_entry(np.concatenate([ring_of_reflections(20.0, 4), ring_of_reflections(40.0, 4)]))
    intensity = np.tile([400.0 * (1 + contrast), 400.0 * (1 - contrast)], 4)
    return replace(entry, intensity=intensity, operators=QUARTERS)


def fitted(entry: Entry, quarters: FloatArray, knowledge: Knowledge) -> PatternFit:
    """Fits of patterns of one crystal, with starts that are so many quarters of a turn off."""
    mean = expected_counts(entry, rotation(TURN), CENTRE, 1.0, 1.0, SHAPE)
    patterns = np.random.default_rng(1).poisson(mean, (len(quarters), *SHAPE)).astype(np.uint16)
    start = Start.turned(TURN + 0.01 + np.pi / 2 * quarters, np.repeat(CENTRE[None], len(quarters), 0))
    return fit_from_rotation(patterns, start, entry, knowledge)


def test_a_fit_ends_in_the_labelling_its_intensities_speak_for(knowledge: Knowledge) -> None:
    quarters = np.arange(200) % 4
    found = fitted(square_lattice(0.3), quarters, knowledge)
    half = np.einsum("nij,ij->n", found.start.affine, rotation(TURN)) / 2  # 1 and -1 are the same by half a turn
    np.testing.assert_allclose(np.abs(half), 1.0, atol=0.01)
    assert found.misfit.mean() == pytest.approx(1.0, abs=0.02)
    z = np.sign(half) * found.start.affine[:, 0, 1] - rotation(TURN)[0, 1]
    assert 0.85 < (z / np.sqrt(found.affine_covariance[:, 1, 1])).std() < 1.15
    np.testing.assert_array_equal(half[quarters == 0] > 0, True)  # what is right already stays


def test_where_intensities_say_nothing_the_labelling_stays(knowledge: Knowledge) -> None:
    quarters = np.arange(100) % 4
    found = fitted(square_lattice(0.0), quarters, knowledge)
    wanted = rotation(TURN + np.pi / 2 * quarters)
    np.testing.assert_allclose(found.start.affine, wanted, atol=0.02)


def test_what_is_off_the_list_of_reflections_is_unknown() -> None:
    reflections = np.array([[20.0, 0.0], [0.0, 20.0], [-20.0, 0.0], [0.0, -20.0], [20.0, 20.0]])
    turned = turned_intensities(reflections, np.array([1.0, 2.0, 3.0, 4.0, 5.0]), QUARTERS)
    np.testing.assert_array_equal(turned[0], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert np.isnan(turned[1:, 4]).all()
    assert (np.sort(turned[:, :4], 1) == [1.0, 2.0, 3.0, 4.0]).all()
    seen_at = reflections[:4] @ QUARTERS[1].T  # with operator S, reflection g is seen where S g would be
    where = [int(np.linalg.norm(reflections - at, axis=1).argmin()) for at in seen_at]
    np.testing.assert_array_equal(turned[1, where], [1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(("spread", "changes"), [(0.0, True), (0.6, False)])
def test_intensities_that_vary_from_pattern_to_pattern_say_less(spread: float, changes: bool) -> None:
    turned = np.array([[100.0, 200.0, 100.0, 200.0], [200.0, 100.0, 200.0, 100.0]])
    brightness = np.stack([np.full((1, 4), 150.0), np.array([[40.0, -40.0, 40.0, -40.0]]), np.full((1, 4), 25.0)], -1)
    assert (likelier_labelling(turned, np.full(4, spread), brightness)[0] == 1) == changes
    brightness[..., 2] = np.inf  # disks that are not seen
    assert likelier_labelling(turned, np.zeros(4), brightness)[0] == 0
