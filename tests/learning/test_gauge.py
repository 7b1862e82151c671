"""An entry's reflections, lattice and labellings are one thing, whatever moves them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from cyclestrain.affine import rotation, symmetric
from cyclestrain.data import FloatArray
from cyclestrain.learning.gauge import moved, regauged
from cyclestrain.pattern import Entry, PatternFit
from laws import made_up_entry

SHEAR = symmetric(1.004, 0.998, 0.003)
QUARTER = np.array([[0.0, 1.0], [-1.0, 0.0]])


def square_entry() -> Entry:
    hk = np.array([(h, k) for h in range(-2, 3) for k in range(-2, 3) if (h, k) != (0, 0)], float)
    basis = 16.0 * rotation(0.3)
    operators = np.stack([basis @ np.linalg.matrix_power(QUARTER, n) @ np.linalg.inv(basis) for n in range(4)])
    return replace(made_up_entry(hk @ basis.T), basis=basis, indices=hk, operators=operators)


def integers(entry: Entry) -> FloatArray:
    """What the labellings do to the indices of reflections."""
    return np.asarray(np.linalg.inv(entry.basis) @ entry.operators @ entry.basis)


def lattice_through(entry: Entry) -> FloatArray:
    return np.asarray(np.linalg.lstsq(entry.indices, entry.reflections, rcond=None)[0].T)


def fits_that_say(entry: Entry, places: FloatArray, affine: FloatArray) -> PatternFit:
    """Fits of patterns that all see the reflections at these places of the entry."""
    information = np.broadcast_to(400.0 * np.eye(2), (len(affine), len(places), 2, 2))
    score = np.einsum("ngij,njk,gk->ngi", information, affine, places - entry.reflections)
    said = SimpleNamespace(start=SimpleNamespace(affine=affine), shift_score=score, shift_information=information)
    return cast(PatternFit, said)


@pytest.mark.parametrize("shift", [0.0, 0.06])
def test_the_lattice_follows_its_reflections(shift: float) -> None:
    """Where all patterns see a sheared entry, its lattice is sheared as well: else one crystal had several strains."""
    entry = square_entry()
    affine = np.stack([rotation(0.1 * n) for n in range(5)])
    places = entry.reflections @ SHEAR.T + shift
    after = moved(entry, fits_that_say(entry, places, affine), np.ones((5, len(places))))
    np.testing.assert_allclose(after.reflections, places, atol=1e-4)
    np.testing.assert_allclose(after.basis, SHEAR @ entry.basis, atol=1e-4)
    np.testing.assert_allclose(integers(after), integers(entry), atol=1e-9)


def test_the_choice_of_the_affine_changes_no_pattern() -> None:
    entry, rng = square_entry(), np.random.default_rng(0)
    affine = SHEAR @ (np.eye(2) + 0.01 * rng.standard_normal((9, 2, 2)))
    affine[4] = np.diag([40.0, 0.01])  # a fit that failed
    after, theirs = regauged(entry, affine)
    np.testing.assert_allclose(theirs @ after.basis, affine @ entry.basis, atol=1e-9)
    np.testing.assert_allclose(lattice_through(after), after.basis, atol=1e-9)
    np.testing.assert_allclose(integers(after), integers(entry), atol=1e-9)
    assert np.abs(after.basis @ np.linalg.inv(SHEAR @ entry.basis) - np.eye(2)).max() < 0.02


def test_where_no_two_patterns_are_alike_their_mean_is_taken() -> None:
    """Two fits, one of which failed: no median says which, and none is left of which to take the mean."""
    entry = square_entry()
    affine = np.stack([np.eye(2), np.diag([4.0, 0.2])])
    after, theirs = regauged(entry, affine)
    assert np.isfinite(after.basis).all()
    np.testing.assert_allclose(theirs @ after.basis, affine @ entry.basis, atol=1e-9)


def test_without_enough_nodes_a_lattice_stays() -> None:
    entry = square_entry().only(np.array([0, 1]))
    affine = np.eye(2)[None]
    after = moved(entry, fits_that_say(entry, entry.reflections @ SHEAR.T, affine), np.ones((1, 2)))
    np.testing.assert_array_equal(after.basis, entry.basis)
