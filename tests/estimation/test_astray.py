"""Fits that ended at a lattice sheared onto itself, within a crystal: they are tried again from their neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.context import smooth
from cyclestrain.data import FloatArray, IntArray, Scan
from cyclestrain.estimation import BlockFit, find_starts, first_pass, fit_again, to_fields
from cyclestrain.estimation.second_pass import Starts
from cyclestrain.learning import Knowledge
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import uniform

SIDE = 7
ASTRAY: IntArray = np.array([9, 17, 30, 38])


@pytest.fixture(scope="module")
def clear() -> tuple[Scan, Knowledge, BlockFit]:
    made = uniform(scan=(SIDE, SIDE), detector=(96, 96), radius=3.0, background=0.2, counts=5e4, seed=4)
    scan, knowledge = prepare(made.scan, MapSettings(), SilentProgress())
    return scan, knowledge, first_pass(scan, knowledge, lambda n: None)


def sheared(knowledge: Knowledge, fit: BlockFit, index: IntArray) -> BlockFit:
    """Fits in which some lattices have another basis: the same nodes, strained by far too much."""
    basis = knowledge.dictionary.entries[0].basis
    onto_itself = basis @ np.array([[1.0, 1.0], [0.0, 1.0]]) @ np.linalg.inv(basis)
    return fit.with_values(index, affine=fit.affine[index] @ onto_itself)


def starts_of(scan: Scan, knowledge: Knowledge, fit: BlockFit) -> Starts:
    return find_starts(fit, smooth(to_fields(fit, scan.scan_shape, knowledge.dictionary).affine), knowledge)


def again(scan: Scan, knowledge: Knowledge, fit: BlockFit) -> FloatArray:
    return fit_again(scan.part(slice(None), slice(None)), fit, starts_of(scan, knowledge, fit), knowledge).affine


def test_they_are_those_within_a_crystal(clear: tuple[Scan, Knowledge, BlockFit]) -> None:
    scan, knowledge, fit = clear
    assert not starts_of(scan, knowledge, fit).astray.any()
    assert (
        np.flatnonzero(starts_of(scan, knowledge, sheared(knowledge, fit, ASTRAY)).astray).tolist() == ASTRAY.tolist()
    )
    half = np.arange(SIDE * SIDE // 2)
    assert starts_of(scan, knowledge, sheared(knowledge, fit, half)).astray.sum() < 0.2 * len(half)


def test_the_refit_is_that_of_the_crystal(clear: tuple[Scan, Knowledge, BlockFit]) -> None:
    scan, knowledge, fit = clear
    found = again(scan, knowledge, sheared(knowledge, fit, ASTRAY))
    sigma = np.sqrt(np.einsum("nii->ni", fit.covariance)[ASTRAY]).reshape(-1, 2, 2)
    turned = np.linalg.solve(fit.affine[ASTRAY], found[ASTRAY])  # a labelling of the same lattice
    nearest = np.abs(turned[:, None] - knowledge.dictionary.entries[0].operators).max((-2, -1)).min(1)
    assert (nearest < 3.0 * sigma.max((1, 2))).all()


def test_what_shows_no_such_crystal_keeps_its_fit(clear: tuple[Scan, Knowledge, BlockFit]) -> None:
    """Noise where the fit stands for another structure: from the neighbours nothing as sure is found."""
    scan, knowledge, fit = clear
    patterns = np.array(scan.source[:])
    flat = patterns.reshape(-1, *patterns.shape[2:])
    flat[ASTRAY] = (
        np.random.default_rng(0).permutation(flat[ASTRAY].reshape(len(ASTRAY), -1), axis=1).reshape(flat[ASTRAY].shape)
    )
    other = sheared(knowledge, fit, ASTRAY)
    found = again(replace(scan, source=patterns), knowledge, other)
    np.testing.assert_array_equal(found[ASTRAY], other.affine[ASTRAY])
