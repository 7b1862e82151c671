"""Positions whose own pattern says otherwise than what their neighbours led to.

Where counts are scarce, a pattern alone finds maxima that noise makes, and a step from the neighbours' estimate is the
better fit of a crystal like theirs. Of a crystal that is unlike theirs it stops half way: an outer disk that is off by
more than its edge is wide hardly pulls. Neither is right everywhere, so where both differ by more than chance allows,
what they differ by is unknown.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cyclestrain.affine import deformation, left_polar
from cyclestrain.data import AffineField, FloatArray
from cyclestrain.estimation.block import BlockFit
from cyclestrain.pattern import Dictionary
from cyclestrain.strain import relabelled

__all__ = ["with_unsettled"]

UNLIKELY = 13.28
"""Squared distance that chance exceeds once in a hundred (chi-square, four degrees)."""
ANOTHER = 1.0
"""Squared distance of two fits of one pattern above which they are not the same maximum, up to rounding."""


def with_unsettled(field: AffineField, fit: BlockFit, dictionary: Dictionary) -> AffineField:
    """Field whose covariance holds what patterns alone are off it, where chance does not explain that.

    Parameters
    ----------
    field
        Affine of every position, smoothed or not.
    fit
        Fits of the same positions.
    dictionary
        Dictionary that was fitted.
    """
    near = np.full(field.label.shape, np.nan)
    near[field.usable] = left_polar(deformation(field.affine[field.usable]))[1]
    own = replace(field, affine=fit.alone.reshape(field.affine.shape))  # in any labelling
    said = relabelled(own, np.tile(np.eye(2), (len(dictionary.entries), 1, 1)), near).reshape(-1, 2, 2)
    at = np.flatnonzero(
        field.usable.ravel()
        & (field.label.ravel() == fit.label)
        & np.isfinite(said).all((1, 2))
        & np.isfinite(fit.covariance).all((1, 2))
    )
    label, stated, kept, alone = fit.label[at], field.affine.reshape(-1, 2, 2)[at], fit.affine[at], said[at]
    off, information = (alone - stated).reshape(-1, 4), np.linalg.inv(fit.covariance[at])
    apart = _squared(off, information) > UNLIKELY
    apart &= _squared((alone - kept).reshape(-1, 4), information) > ANOTHER
    reach = np.array([np.hypot(*entry.reflections.T).max() for entry in dictionary.entries])
    radius = np.array([entry.probe.radius for entry in dictionary.entries])
    apart &= np.linalg.norm(alone - stated, 2, axis=(1, 2)) * reach[label] < radius[label]  # else by any rotation
    covariance = field.covariance.reshape(-1, 4, 4).copy()
    covariance[at[apart]] += off[apart, :, None] * off[apart, None, :]
    return replace(field, covariance=covariance.reshape(field.covariance.shape))


def _squared(off: FloatArray, information: FloatArray) -> FloatArray:
    """Squared distances of vectors, shapes ``(n, 4)`` and ``(n, 4, 4)``."""
    return np.asarray(np.einsum("ni,nij,nj->n", off, information, off))
