"""What an entry says of its disks, by what fixes the patterns: the light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.pattern import Entry, Priors
from laws import made_up_entry


def entry_of(bright: int, faint: int, width: float) -> Entry:
    """Bright reflections whose intensity and contrast vary by `width`, and faint ones in which nothing is seen."""
    entry = made_up_entry(np.stack([np.arange(1.0, bright + faint + 1), np.ones(bright + faint)], 1))
    spread = np.zeros((bright + faint, 9))
    spread[:bright, [0, 5]] = width
    return replace(entry, intensity=np.r_[np.full(bright, 400.0), np.full(faint, 5.0)], priors=Priors(spread))


@pytest.mark.parametrize("faint", [0, 6, 40])
def test_contrast_is_that_of_the_reflections_that_hold_the_light(faint: int) -> None:
    """Aluminium [111]: of 25 reflections six hold all the light, with contrast of a half; the others are noise."""
    strong, weak = entry_of(6, faint, 0.5), entry_of(6, faint, 0.0)
    assert strong.has_contrast
    assert strong.has_free_intensities
    assert not weak.has_contrast
    assert not weak.has_free_intensities


def test_faint_reflections_with_contrast_by_chance_change_nothing() -> None:
    entry = entry_of(6, 40, 0.0)
    spread = entry.priors.spread.copy()
    spread[6:, [0, 5]] = 0.5
    found = replace(entry, priors=Priors(spread))
    assert not found.has_contrast
    assert not found.has_free_intensities
