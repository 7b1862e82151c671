"""What was found at every position with the crystal lying in one way or another: the best of these, and their doubt."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.specimen.crystal import Placement
from cyclestrain.specimen.fitting import Found

__all__ = ["best_placement"]


def best_placement(founds: Sequence[Found], placements: Sequence[Placement]) -> tuple[Found, FloatArray | None]:
    """Take the placement that explains each position best.

    What another placement says instead is in the covariance, by its likelihood; the displacement along the axis of the
    best one is then none. `Found.opposite` holds the probability of the other placements.

    Parameters
    ----------
    founds
        What was found with each placement at the same positions.
    placements
        How the crystal lies in each.

    Returns
    -------
    found, arrow
        In the axes of the entry, and the direction of a positive displacement, shape ``(n, 2)``; None for none.
    """
    turned = [_turned(found, place.match.turn) for found, place in zip(founds, placements, strict=True)]
    lowest = np.stack([one.deviance[:, 0] for one in turned], 1)
    best, at = lowest.argmin(1), np.arange(len(lowest))
    own = {f.name: np.stack([getattr(one, f.name) for one in turned], 1)[at, best] for f in dataclasses.fields(Found)}
    points = np.concatenate([one.parameters for one in turned], 1)
    deviance = np.concatenate([one.deviance for one in turned], 1)
    order = np.argsort(deviance, axis=1, kind="stable")
    share = np.exp(-0.5 * (lowest - lowest.min(1, keepdims=True)))
    share /= share.sum(1, keepdims=True)
    apart = np.stack([one.parameters[:, 0] for one in turned], 1) - own["parameters"][:, :1]
    apart[..., 3:] = -own["parameters"][:, :1, 3:]
    apart[at, best] = 0.0
    found = Found(**own | {
        "parameters": np.take_along_axis(points, order[..., None], 1),
        "deviance": np.take_along_axis(deviance, order, 1),
        "covariance": own["covariance"] + np.einsum("nk,nki,nkj->nij", share, apart, apart),
        "opposite": own["opposite"] + 1 - share[at, best],
    })  # fmt: skip
    arrows = [place.arrow for place in placements if place.arrow is not None]
    return found, np.stack(arrows)[best] if arrows else None


def _turned(found: Found, turn: FloatArray) -> Found:
    """The same with tilts turned."""
    whole = np.eye(found.parameters.shape[-1])
    whole[1:3, 1:3] = turn
    return dataclasses.replace(
        found, parameters=found.parameters @ whole.T, covariance=whole @ found.covariance @ whole.T
    )
