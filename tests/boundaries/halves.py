"""Two crystals side by side, and what is found around their edge."""

from __future__ import annotations

import numpy as np

from cyclestrain.affine import rotation
from cyclestrain.boundaries import Sides, find_sides
from cyclestrain.data import AffineField, FloatArray
from laws import lattices_seen, one_class_field

SIXFOLD = rotation(np.pi / 3 * np.arange(6))
SHAPE = (12, 20)
CERTAIN, FITTING = np.full(SHAPE, 100.0), np.ones(SHAPE)


def halves(turn: float = 0.3, edge: int = 10, sigma: float = 1e-4) -> AffineField:
    """Two crystals side by side, every second position labelled in another, equivalent way."""
    affine = np.broadcast_to(np.eye(2), (*SHAPE, 2, 2)).copy()
    affine[:, edge:] = rotation(turn)
    affine[::2, ::2] = affine[::2, ::2] @ SIXFOLD[2]
    return one_class_field(affine, sigma, SIXFOLD)


def sides_of(field: AffineField, gain: FloatArray | None = None) -> Sides:
    return find_sides(field, np.ones(SHAPE) if gain is None else gain, CERTAIN, FITTING, lattices_seen(field))
