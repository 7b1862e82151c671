"""An entry is a crystal: spots at any places are none, however well a lattice of some of them fits."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import strangers as st
from cyclestrain.calibration import Sample
from cyclestrain.data import Scan
from cyclestrain.errors import InputError
from cyclestrain.learning import Knowledge
from cyclestrain.learning.plausibility import Plausibility, counting_noise
from cyclestrain.pattern import fit_edge
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.settings import MapSettings
from strangers import Phase, deformed, stranger

NO_CRYSTAL = Phase(np.array([[0.0, 3.0]]), np.array([0.0]), 1)
RINGS = (18, 26, 31, 37, 45)


def knowledge_of(counts: np.ndarray) -> Knowledge:
    return prepare(Scan(counts, name="scan"), MapSettings(), SilentProgress())[1]


def learned(phase: Phase, probe: st.Shape, **options: Any) -> Knowledge:
    y, x = np.indices((10, 10))
    gradient = deformed(0.004 * np.sin(x / 3), 0.004 * np.cos(y / 4), 0.0, 20 + 0.3 * np.sin(y / 5))
    options = {"background": st.lorentzian(12), "detector": (108, 108), **options}
    return knowledge_of(stranger([phase], st.field(gradient), probe=probe, **options).counts)


STATIC = {
    "spots on rings": lambda seed: st.rings(RINGS, spots=5, seed=seed),
    "few spots": lambda seed: st.rings((20, 33), spots=3, seed=seed),
    "many spots": lambda seed: st.rings(RINGS, spots=12, seed=seed),
    "spots and bands": lambda seed: st.summed(
        (0.5, st.rings(RINGS, spots=5, seed=seed)), (0.5, st.bands(5, seed=seed))
    ),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("pattern", list(STATIC))
def test_spots_that_lie_on_no_lattice_are_refused_in_one_sentence(pattern: str, seed: int) -> None:
    made = stranger(
        [NO_CRYSTAL], st.field(deformed(np.zeros((10, 10)))), probe=st.disk(3.0), background=STATIC[pattern](seed),
        backgrounds=0.7, detector=(108, 108), seed=seed,
    )  # fmt: skip
    with pytest.raises(InputError, match="no crystal was found in scan: the averaged pattern shows") as caught:
        knowledge_of(made.counts)
    assert "no lattice" in str(caught.value)


def weak_odd(h: int, k: int) -> float:
    return 1.0 if (h + k) % 2 == 0 else 0.1


def one_sided(phase: Phase, tilt: tuple[float, float], width: float = 6.0) -> Phase:
    """What a crystal tilted off its zone shows: a ring of bright reflections through the beam."""
    ring = np.hypot(*(phase.reflections - tilt).T) - np.hypot(*tilt)
    bright = phase.intensity * np.exp(-0.5 * (ring / width) ** 2)
    return Phase(phase.reflections, 0.5 * bright / bright.sum(), 1)


HEXAGONAL = st.hexagonal(18.0, reach=50.0, seed=1)
CRYSTALS: dict[str, tuple[Phase, dict[str, Any]]] = {
    "square": (st.square(17.0, reach=50.0, seed=1), {}),
    "hexagonal, noisy": (HEXAGONAL, {"backgrounds": 0.7}),
    "oblique": (st.phase((2.0, 20.0), (16.0, 5.0), 2, reach=50.0, seed=7), {}),
    "superstructure": (
        st.hexagonal(18 / 3**0.5, reach=50.0, seed=1, form=lambda h, k: 1.0 if (h - k) % 3 == 0 else 0.25), {}
    ),
    "weak odd reflections": (st.phase((0.0, 14.0), (22.8, 0.0), 2, reach=50.0, seed=3, form=weak_odd), {}),
    "beam at a corner": (st.hexagonal(18.0, reach=90.0, falloff=60.0, seed=1), {"offset": (-40.0, 38.0)}),
    "dead quadrant": (HEXAGONAL, {"dead_quadrant": True}),
    "brightness scatters": (HEXAGONAL, {"contrast": 0.5}),
    "tilted": (one_sided(HEXAGONAL, (12.0, 16.0)), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CRYSTALS))
def test_a_crystal_is_kept_without_doubt(name: str) -> None:
    phase, options = CRYSTALS[name]
    knowledge = learned(phase, st.disk(3.0), **options)
    assert len(knowledge.dictionary.entries) == 1
    assert not knowledge.doubts


@pytest.mark.parametrize("probe", [st.spot(1.0), st.oval(3.0, 1.3, 30.0), st.disk(4.0, 3.0)])
def test_a_crystal_seen_by_another_round_probe_is_kept_without_doubt(probe: st.Shape) -> None:
    assert not learned(st.square(17.0, reach=50.0, seed=1), probe).doubts


def test_overlapping_patterned_probes_are_refused_for_what_they_are() -> None:
    with pytest.raises(InputError, match="the probe is patterned, the disks overlap, or"):
        learned(st.square(14.0, reach=56.0, seed=1), st.bullseye(10.0), half=15, dose=2e5, detector=(128, 128))


def test_of_large_disks_that_overlap_the_disks_are_the_lattice_and_not_the_spots_between() -> None:
    knowledge = learned(st.square(9.8, reach=54.0, falloff=40.0, seed=1), st.disk(7.0), half=12, detector=(128, 128))
    (entry,) = knowledge.dictionary.entries
    assert np.hypot(*entry.basis) == pytest.approx([9.8, 9.8], rel=0.01)
    assert fit_edge(entry.probe.profile, entry.probe.oversampling)[0] == pytest.approx(7.0, abs=0.03)
    assert not knowledge.doubts


def test_one_fault_is_a_doubt_and_two_are_a_refusal() -> None:
    good = {"indexed": 1.0, "nodes": 20, "paired": 1.0, "radius": 3.0, "beam_radius": 3.0, "misfit": 1.0}
    steps = [good, {**good, "indexed": 0.5}, {**good, "indexed": 0.5, "paired": 0.1}]
    judged = [Plausibility(**each, has_rim=True, is_flat=True) for each in steps]
    assert [bool(each.faults) for each in judged] == [False, True, True]
    assert [each.refusal is None for each in judged] == [True, True, False]
    assert all(len(one.faults) < len(two.faults) for one, two in pairwise(judged))


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({"misfit": 3.0}, True),
        ({"misfit": 3.0, "spacing": 9.0}, False),
        ({"misfit": 2.4, "spacing": 9.0}, True),
        ({"misfit": 3.0, "spacing": 11.0}, True),
        ({"radius": 2.0, "beam_radius": 4.8, "misfit": 1.4, "spacing": 9.0}, False),
        ({"radius": 2.0, "beam_radius": 4.8, "misfit": 1.1, "spacing": 9.0}, True),
        ({"radius": 2.0, "beam_radius": 4.8, "misfit": 1.4, "spacing": 11.0}, True),
    ],
)
def test_where_disks_fill_the_pattern_a_misfit_is_a_refusal(changed: dict[str, float], kept: bool) -> None:
    """Spots where the rings of overlapping bullseyes cross are flat, and may be as large as a ring of the beam."""
    good = {"indexed": 1.0, "nodes": 20, "paired": 1.0, "radius": 3.0, "beam_radius": 3.0, "misfit": 1.0}
    judged = Plausibility(**{**good, **changed}, has_rim=True, is_flat=True)
    assert (judged.refusal is None) == kept


@pytest.mark.parametrize("gain", [1.0, 7.0])
def test_noise_without_a_model_is_the_variance_over_the_mean(gain: float) -> None:
    rng = np.random.default_rng(0)
    mean = np.linspace(1.0, 30.0, 64 * 64).reshape(64, 64)
    rows, columns = np.divmod(np.arange(25), 5)
    sample = Sample(gain * rng.poisson(mean, (25, 64, 64)), rows, columns, True)
    assert counting_noise(sample, np.ones((64, 64), bool)) == pytest.approx(gain, rel=0.1)


def test_without_noise_there_is_nothing_to_compare_with() -> None:
    sample = Sample(np.ones((4, 8, 8)), np.zeros(4, int), np.arange(4), True)
    assert np.isnan(counting_noise(sample, np.ones((8, 8), bool)))


def test_noise_is_measured_where_most_pixels_are_empty() -> None:
    rng = np.random.default_rng(0)
    mean = np.where(rng.random((64, 64)) < 0.2, 0.5, 0.0)
    rows, columns = np.divmod(np.arange(64), 8)
    sample = Sample(rng.poisson(mean, (64, 64, 64)), rows, columns, True)
    assert counting_noise(sample, np.ones((64, 64), bool)) == pytest.approx(1.0, rel=0.2)
