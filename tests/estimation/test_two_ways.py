"""Where disks are full of contrast two ways lead to the fit; those that meet are one from there on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cyclestrain.data import Block
from cyclestrain.estimation import block as estimation
from cyclestrain.estimation import first_look
from cyclestrain.learning import Knowledge
from cyclestrain.pattern import Entry, PatternFit, Start
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import polycrystal

FIRST_CONTRAST = 5
"""Column of `Priors.spread` from which the widths are those of contrast."""


@pytest.fixture(scope="module")
def bright() -> tuple[np.ndarray, Start, Entry, Knowledge]:
    """Bright patterns, where their fits start, and an entry that expects contrast."""
    made = polycrystal(scan=(5, 6), detector=(96, 96), grain_size=60.0, radius=3.0, background=0.05, seed=3)
    scan, knowledge = prepare(made.scan, MapSettings(), SilentProgress())
    patterns = np.asarray(scan.source[...]).reshape(30, 96, 96)
    seen = first_look(Block(np.arange(30), patterns), knowledge)
    entry = knowledge.dictionary.entries[0]
    spread = entry.priors.spread.copy()
    spread[:, FIRST_CONTRAST:] = 0.12
    entry = replace(entry, priors=replace(entry.priors, spread=spread))
    assert entry.has_contrast
    return patterns, Start.turned(seen.alignment.theta, seen.centre), entry, knowledge


def fits(
    bright: tuple[np.ndarray, Start, Entry, Knowledge], patch: pytest.MonkeyPatch, same: float, members: bool
) -> tuple[PatternFit, int]:
    """Their fits, and how many were made from a start."""
    patterns, start, entry, knowledge = bright
    one, count = estimation.fit_from_start, 0

    def counted(patterns: Any, centre: Any, *rest: Any, **options: Any) -> PatternFit:
        nonlocal count
        count += len(centre)
        return one(patterns, centre, *rest, **options)

    patch.setattr(estimation, "fit_from_start", counted)
    patch.setattr(estimation, "SAME", same)
    own = np.arange(len(patterns))[:, None] if members else None
    return estimation.fit_from_rotation(patterns, start, entry, knowledge, own), count


@pytest.mark.parametrize("members", [True, False])
def test_what_is_found_is_as_if_both_were_followed(
    bright: tuple[np.ndarray, Start, Entry, Knowledge], monkeypatch: pytest.MonkeyPatch, members: bool
) -> None:
    same = estimation.SAME
    with monkeypatch.context() as patch:
        both, more = fits(bright, patch, -1.0, members)
    with monkeypatch.context() as patch:
        once, fewer = fits(bright, patch, same, members)
    assert fewer < more
    assert more >= 4 * 30  # each way to its end
    sigma = np.sqrt(np.einsum("nii->ni", both.covariance))[:, :4]
    off = np.abs(both.start.affine - once.start.affine).reshape(-1, 4) / sigma
    assert np.nanmax(off) <= same


def test_fits_agree_where_every_parameter_does() -> None:
    start = Start(np.tile(np.eye(2), (5, 1, 1)), np.zeros((5, 2)), np.ones(5), np.ones(5))
    covariance = np.tile(np.eye(8) * 1e-4, (5, 1, 1))
    covariance[4] = np.nan
    moved = Start(start.affine.copy(), start.centre.copy(), start.gain.copy(), start.level.copy())
    moved.affine[1, 0, 1] += 1e-3  # a tenth of its sigma
    moved.gain[2] += 1e-3
    moved.centre[3, 0] += 1e-4
    sigma = np.sqrt(np.einsum("nii->ni", covariance))
    assert estimation._agree(start, moved, sigma).tolist() == [True, False, False, True, False]
