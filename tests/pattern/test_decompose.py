"""Patterns with known shares of known crystals, drawn pixel by pixel, taken apart again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.affine import rotation
from cyclestrain.data import FloatArray
from cyclestrain.pattern import Decomposition, Dictionary, Entry, Palette, decompose
from laws import candidates_apart, expected_counts, made_up_entry, ring_of_reflections

SHAPE = (73, 80)
CENTRE = np.array([36.3, 40.8])
TURNS = (0.3, 0.62, -0.1)
COST = np.array([13.0, 1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def entry() -> Entry:
    return made_up_entry(np.concatenate([ring_of_reflections(18.0), ring_of_reflections(28.0)]), counts=250.0)


def mean_counts(entry: Entry, shares: tuple[float, ...], level: float = 0.9) -> FloatArray:
    """A background and, of each crystal, its share."""
    out = expected_counts(entry, np.eye(2), CENTRE, 0.0, level, SHAPE)
    for turn, share in zip(TURNS, shares, strict=False):
        out += expected_counts(entry, rotation(turn), CENTRE, share, 0.0, SHAPE)
    return out


def taken_apart(
    entry: Entry, patterns: FloatArray, own: float | None = None, sides: int = 3, least: float = 0.0
) -> Decomposition:
    """Decomposition into crystals turned by `TURNS`, and the own fit turned by `own` if there is one."""
    n = len(patterns)
    angles = np.array([0.0 if own is None else own, *TURNS])
    label = np.repeat([[-1 if own is None else 0, *(0 if k < sides else -1 for k in range(3))]], n, 0)
    like = np.full(n, 1 + TURNS.index(own) if own in TURNS else -1)
    candidates = candidates_apart(
        label, np.repeat(rotation(angles)[None], n, 0), np.ones((n, 4)), like, np.repeat(CENTRE[None], n, 0)
    )
    candidates = replace(candidates, least=np.full(n, least))
    palette = Palette.of(Dictionary((entry,), 1.0))
    return decompose(patterns, np.arange(n), np.ones(SHAPE, bool), palette, candidates, COST)


def test_expected_counts_give_their_own_shares(entry: Entry) -> None:
    found = taken_apart(entry, mean_counts(entry, (0.6, 0.3, 0.1))[None])
    np.testing.assert_allclose(found.amplitude, [[0.0, 0.6, 0.3, 0.1]], atol=3e-3)


def test_shares_scatter_as_much_as_they_say(entry: Entry) -> None:
    patterns = np.random.default_rng(1).poisson(mean_counts(entry, (0.6, 0.4)), (400, *SHAPE)).astype(np.uint16)
    found = taken_apart(entry, patterns, own=TURNS[0])
    off = found.amplitude - (0.0, 0.6, 0.4, 0.0)
    stated = np.sqrt(np.einsum("nii->ni", found.covariance))
    for k in (1, 2):
        z = off[:, k] / stated[:, k]
        assert abs(z.mean()) < 0.2
        assert 0.88 < z.std() < 1.12
    assert (found.amplitude[:, 0] == 0).all()  # the own fit is the first crystal: it is not there twice


def test_one_crystal_is_left_alone(entry: Entry) -> None:
    """Chance makes a second crystal out of nothing once in a hundred."""
    patterns = np.random.default_rng(2).poisson(mean_counts(entry, (1.0,)), (400, *SHAPE)).astype(np.uint16)
    for own in (None, TURNS[0]):
        found = taken_apart(entry, patterns, own)
        several = (found.amplitude > 0).sum(1) > 1
        assert several.mean() < 0.03
        share = found.amplitude[~several, 1]
        assert share.mean() == pytest.approx(1.0, abs=0.01)


def test_a_crystal_that_nobody_knows_is_the_own_fit(entry: Entry) -> None:
    """The own fit is unlike the crystals around it, and explains what they cannot."""
    lonely = expected_counts(entry, rotation(1.0), CENTRE, 0.7, 0.9, SHAPE)
    lonely += expected_counts(entry, rotation(TURNS[1]), CENTRE, 0.3, 0.0, SHAPE)
    patterns = np.random.default_rng(3).poisson(lonely, (50, *SHAPE)).astype(np.uint16)
    found = taken_apart(entry, patterns, own=1.0)
    np.testing.assert_allclose(found.amplitude.mean(0), [0.7, 0.0, 0.3, 0.0], atol=0.02)


def test_a_faint_share_is_doubted_not_forgotten(entry: Entry) -> None:
    """Where a share is too small to be called, the doubt contains it."""
    patterns = np.random.default_rng(4).poisson(mean_counts(entry, (0.97, 0.03)), (400, *SHAPE)).astype(np.uint16)
    found = taken_apart(entry, patterns, sides=2)
    alone = (found.amplitude > 0).sum(1) == 1
    assert alone.mean() > 0.2
    stated = np.sqrt(found.covariance[alone, 2, 2])
    assert 0.5 < np.sqrt(np.mean(0.03**2 / stated**2)) < 3.0


def test_no_share_below_the_least_is_told(entry: Entry) -> None:
    """A crystal that is surely there, with too small a share to be told: what is left is the other one alone."""
    patterns = np.stack([mean_counts(entry, (0.93, 0.07)), mean_counts(entry, (0.87, 0.13))])
    found = taken_apart(entry, patterns, least=0.1)
    np.testing.assert_allclose(found.amplitude, [[0, 0.93, 0, 0], [0, 0.87, 0.13, 0]], atol=0.02)
    np.testing.assert_allclose(taken_apart(entry, patterns).amplitude[0], [0, 0.93, 0.07, 0], atol=3e-3)


def test_pixels_that_are_not_good_and_crystals_beyond_the_detector(entry: Entry) -> None:
    pattern = mean_counts(entry, (0.5, 0.5))
    pattern[:, :30] = 1e6
    good = np.ones(SHAPE, bool)
    good[:, :30] = False
    palette = Palette.of(Dictionary((entry, replace(entry, background=entry.background[:50])), 1.0))
    affine = np.stack([np.eye(2), rotation(TURNS[0]), rotation(TURNS[1]), 3.0 * np.eye(2)])[None]
    candidates = candidates_apart(np.array([[-1, 0, 1, 0]]), affine, np.ones((1, 4)), np.array([-1]), CENTRE[None])
    found = decompose(pattern[None], np.array([0]), good, palette, candidates, COST)
    np.testing.assert_allclose(found.amplitude[0, 1:3], 0.5, atol=0.01)
    assert np.isfinite(found.covariance).all()


def test_nothing_to_choose_from_is_nothing(entry: Entry) -> None:
    palette = Palette.of(Dictionary((entry,), 1.0))
    nobody = candidates_apart(
        np.full((1, 4), -1), np.zeros((1, 4, 2, 2)), np.ones((1, 4)), np.array([-1]), CENTRE[None]
    )
    found = decompose(np.ones((1, *SHAPE)), np.array([0]), np.ones(SHAPE, bool), palette, nobody, COST)
    assert not found.amplitude.any()


@pytest.mark.parametrize(
    ("known", "off", "told"),
    [(0.1, 0.0, True), (0.1, 0.2, True), (0.1, 1.0, False), (1.0, 0.0, True), (1.0, 0.2, False)],
)
def test_overlapping_crystals_are_told_where_the_own_fit_is_about_their_mean(
    entry: Entry, known: float, off: float, told: bool
) -> None:
    """Elsewhere it is no mixture of theirs, whatever chi-square says; and it has to be close where one is guessed."""
    affine = np.stack([np.eye(2), rotation(TURNS[0]), rotation(TURNS[1]), np.eye(2)])[None]
    label, alone = np.array([[0, 0, 0, -1]]), np.array([-1])
    made = candidates_apart(label, affine, np.ones((1, 4)), alone, CENTRE[None])
    step = np.array([[0.0, 0.5], [0.0, 0.0]])
    near = np.stack([0 * step, (1 + 2 * off) * step, (2 * off - 1) * step, np.full((2, 2), np.nan)])[None]
    uncertainty = 0.02 * np.array([[1.0, known, known, known]])
    made = replace(made, departure=near, radius=np.array([3.2]), uncertainty=uncertainty)
    pattern = mean_counts(entry, (0.5, 0.5))[None]
    palette = Palette.of(Dictionary((entry,), 1.0))
    found = decompose(pattern, np.array([0]), np.ones(SHAPE, bool), palette, made, COST)
    assert ((found.amplitude > 0.1).sum() > 1) == told
