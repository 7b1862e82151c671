"""The lattice is that of all visible reflections, weak ones too, and not that of the bright ones alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import strangers as st
from cyclestrain.data import Scan
from cyclestrain.learning.lattice import finer_lattice
from cyclestrain.learning.peaks import Peaks
from cyclestrain.pattern import Entry
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.settings import MapSettings
from strangers import Phase, deformed, stranger


def entries_of(phase: Phase, radius: float, backgrounds: float = 0.25) -> tuple[Entry, ...]:
    y, x = np.indices((10, 10))
    gradient = deformed(0.004 * np.sin(x / 3), 0.004 * np.cos(y / 4), 0.0, 20 + 0.3 * np.sin(y / 5))
    made = stranger(
        [phase], st.field(gradient), probe=st.disk(radius), background=st.lorentzian(12), half=9, seed=1,
        backgrounds=backgrounds,
    )  # fmt: skip
    return prepare(Scan(made.counts, name="scan"), MapSettings(), SilentProgress())[1].dictionary.entries


def even(weak: float) -> Callable[[int, int], float]:
    return lambda h, k: 1.0 if (h + k) % 2 == 0 else weak


CASES = {
    "doubled square": (
        st.square(10.0, reach=58, seed=4, form=lambda h, k: 1.0 if h % 2 == k % 2 == 0 else 0.2), 2.5, 76
    ),
    "root three": (
        st.hexagonal(18 / 3**0.5, reach=58, seed=1, form=lambda h, k: 1.0 if (h - k) % 3 == 0 else 0.25), 3.0, 90
    ),
    "weak odd": (st.phase((0.0, 14.0), (22.8, 0.0), 2, reach=58, seed=3, form=even(0.03)), 3.0, 26),
    "centred": (st.phase((0.0, 14.0), (22.8, 0.0), 2, reach=58, seed=3, form=even(0.0)), 3.0, 12),
    "six reflections": (st.phase((0.0, 30.0), (21.2, 0.0), 2, reach=58, seed=1, form=even(0.0)), 4.0, 6),
}  # fmt: skip
"""A crystal, the radius of its disks, and the least number of reflections to find."""


@pytest.mark.parametrize("name", list(CASES))
def test_every_visible_reflection_is_used_and_lies_on_the_lattice(name: str) -> None:
    phase, radius, least = CASES[name]
    (entry,) = entries_of(phase, radius)
    assert len(entry.indices) >= least
    assert np.isfinite(entry.indices).all()
    bright = phase.reflections[phase.intensity > 0.5 * phase.intensity.max()]
    assert np.hypot(*entry.reflections.T).min() == pytest.approx(np.hypot(*bright.T).min(), rel=0.03) or least > 12
    assert entry.probe.radius == pytest.approx(radius, abs=0.1)


CELLS = [[[2, 0], [0, 1]], [[1, 0], [0, 2]], [[2, 0], [1, 1]], [[3, 0], [1, 1]], [[2, 0], [0, 2]]]


@pytest.mark.parametrize("cell", CELLS)
def test_a_superlattice_of_any_shape_is_found_from_the_lattice_of_the_bright_peaks(cell: list[list[int]]) -> None:
    fine = np.array([[2.0, 11.0], [9.0, -1.5]])
    hk = np.array([(h, k) for h in range(-4, 5) for k in range(-4, 5) if (h, k) != (0, 0)])
    peaks = Peaks(hk @ fine.T, np.full(len(hk), 40.0))
    found = finer_lattice(peaks, fine @ np.array(cell), 2.5)
    assert abs(np.linalg.det(found)) == pytest.approx(abs(np.linalg.det(fine)))
    np.testing.assert_allclose(np.linalg.inv(found) @ fine, np.rint(np.linalg.inv(found) @ fine), atol=1e-9)


def test_a_few_stray_peaks_make_no_superlattice() -> None:
    fine = np.array([[2.0, 11.0], [9.0, -1.5]])
    hk = np.array([(h, k) for h in range(-4, 5) for k in range(-4, 5) if (h, k) != (0, 0)])
    stray = np.random.default_rng(0).uniform(-40, 40, (4, 2))
    peaks = Peaks(np.concatenate([hk @ fine.T, stray]), np.full(len(hk) + 4, 40.0))
    np.testing.assert_array_equal(finer_lattice(peaks, fine, 2.5), fine)
