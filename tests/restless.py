"""A field in which all happens that neighbours have to be weighed for."""

from __future__ import annotations

import numpy as np

from cyclestrain.affine import rotation, symmetric
from cyclestrain.data import AffineField
from cyclestrain.strain import jacobian

SIGMA = np.array([1.8e-3, 1.8e-3, 1.3e-3, 1.3e-3])
"""Standard deviations of (V_yy, V_xx, V_yx, theta)."""


def restless(shape: tuple[int, int], seed: int) -> AffineField:
    """Waves, grains, mosaic in a part, holes, two entries."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    values = np.tile((0.01, -0.01, 0.005, 0.3), (*shape, 1))
    values[..., 1] += 0.01 * np.sin(0.4 * x + 0.3 * y)
    values[..., 3] += 0.02 * ((x // 19 + y // 23) % 2) + 0.004 * (x > shape[1] // 2) * rng.standard_normal(shape)
    values += SIGMA * rng.uniform(0.5, 2.0, (*shape, 1)) * rng.standard_normal(values.shape)
    affine = symmetric(1 + values[..., 0], 1 + values[..., 1], values[..., 2]) @ rotation(values[..., 3])
    inverse = np.linalg.inv(jacobian(affine))
    label = (x + 2 * y > 1.5 * shape[1]).astype(int)
    valid = rng.random(shape) > 0.03
    return AffineField(
        affine, inverse @ np.diag(SIGMA**2) @ inverse.swapaxes(-1, -2), label, valid, (np.eye(2)[None],) * 2,
        shared=rng.uniform(0, 0.2, shape),
    )  # fmt: skip
