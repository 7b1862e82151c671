"""Where a pattern alone says otherwise than its neighbours led to, the difference is in sigma; nowhere else."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cyclestrain.affine import rotation
from cyclestrain.data import AffineField, FloatArray
from cyclestrain.estimation import BlockFit, with_unsettled

SIGMA = 1e-3
OPERATORS = rotation(np.pi / 3 * np.arange(6))
DICTIONARY: Any = SimpleNamespace(
    entries=[SimpleNamespace(reflections=np.array([[0.0, 100.0], [0.0, -50.0]]), probe=SimpleNamespace(radius=4.0))]
)


def widened(alone: FloatArray, kept: FloatArray | None = None, label: int = 0) -> FloatArray:
    """What one position's covariance gains, shape ``(4, 4)``, where its neighbours say: no strain, no rotation."""
    kept = np.eye(2) if kept is None else kept
    fit = BlockFit.unknown(np.arange(1)).with_values(
        np.arange(1), affine=kept, covariance=SIGMA**2 * np.eye(4), label=label, alone=alone
    )
    before = 1e-8 * np.eye(4)[None, None]
    field = AffineField(np.eye(2)[None, None], before, np.zeros((1, 1), int), np.ones((1, 1), bool), (OPERATORS,))
    after = with_unsettled(field, fit, DICTIONARY)
    assert np.array_equal(after.affine, field.affine)
    return (after.covariance - before)[0, 0]


def strained(exx: float) -> FloatArray:
    return np.diag([1.0, 1.0 + exx])


@pytest.mark.parametrize("turned", range(6))
def test_what_differs_beyond_chance_is_unknown(turned: int) -> None:
    """The labelling that the pattern alone was fitted in does not matter."""
    off = np.array([0.0, 0.0, 0.0, 5 * SIGMA])
    np.testing.assert_allclose(widened(strained(5 * SIGMA) @ OPERATORS[turned]), np.outer(off, off), atol=1e-12)


@pytest.mark.parametrize(
    ("alone", "kept", "label"),
    [
        (strained(3 * SIGMA), None, 0),
        (strained(5 * SIGMA), strained(5 * SIGMA), 0),
        (rotation(np.radians(10.0)), None, 0),
        (np.full((2, 2), np.nan), None, 0),
        (strained(5 * SIGMA), None, -1),
    ],
    ids=["within chance", "the smoothing refused it", "another rotation, by noise", "not asked", "another crystal"],
)
def test_nothing_else_changes(alone: FloatArray, kept: FloatArray | None, label: int) -> None:
    assert not widened(alone, kept, label).any()


def test_a_fit_of_another_crystal_forgets_what_the_first_said() -> None:
    """The transform from one entry says nothing about that from another."""
    fit = BlockFit.unknown(np.arange(2)).with_values(np.arange(2), label=np.array([0, 1]), alone=np.eye(2))
    found: Any = SimpleNamespace(
        start=SimpleNamespace(affine=np.tile(np.eye(2), (2, 1, 1)), centre=np.zeros((2, 2)), gain=np.ones(2)),
        affine_covariance=np.tile(np.eye(4), (2, 1, 1)), inflation=np.ones(2), misfit=np.ones(2),
        significance=np.ones(2), n_pixels=np.ones((2, 3)), shared=np.zeros(2), saturated=np.zeros(2),
        checked=np.ones(2),
    )  # fmt: skip
    alone = fit.with_fits(np.arange(2), found, 0).alone
    assert np.isfinite(alone[0]).all()
    assert np.isnan(alone[1]).all()
