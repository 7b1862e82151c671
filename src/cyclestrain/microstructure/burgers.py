"""Which lattice vector the measured Burgers vector of a circuit is, and how probably."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from cyclestrain.data import FloatArray, IntArray

__all__ = ["Verdict", "joint_density", "judge", "verdict"]

DENSITY = 1e-3
"""Probability before anything is measured that a circuit encloses a dislocation."""
ELSE = 3e-4
"""The same of anything else that closes no circuit: a partial dislocation, a wall of many, a failed fit."""
LARGEST = 2
"""Largest component of lattice vectors that are looked at."""
MODEL = 0.06
"""Error of a circuit near a core, in units of the Burgers vector: steps are not small against the field there."""
OPTIONS = np.array(list(product(range(-LARGEST, LARGEST + 1), repeat=2)))
"""Lattice vectors that are looked at, none among them."""
RANGE = 25.0
"""Area over which the Burgers vector of anything else is spread, squared lattice vectors."""


@dataclass(frozen=True)
class Verdict:
    """What a circuit encloses.

    Attributes
    ----------
    indices
        Most probable Burgers vector in lattice vectors, shape ``(n, 2)``; zero for none.
    confidence
        Probability of that vector, shape ``(n,)``; where the scale is unknown, of any dislocation.
    nothing
        Probability that it encloses none, shape ``(n,)``.
    """

    indices: IntArray
    confidence: FloatArray
    nothing: FloatArray


def judge(planes: FloatArray, covariance: FloatArray, lattice: FloatArray, is_scaled: bool = True) -> Verdict:
    """Probability of every short lattice vector, of none, and of anything else, given the planes that were crossed.

    Parameters
    ----------
    planes, covariance
        Lattice planes crossed, shape ``(n, 2)``, and their covariance, shape ``(n, 2, 2)``.
    lattice
        Reciprocal vectors as rows, planes per position, shape ``(2, 2)``.
    is_scaled
        Whether planes are counted; if not, there are no lattice vectors to compare with.
    """
    return verdict(joint_density(planes, covariance, lattice, is_scaled), is_scaled)


def verdict(joint: FloatArray, is_scaled: bool = True) -> Verdict:
    """What is most probable.

    Parameters
    ----------
    joint
        As `joint_density` returns it, or logarithms of anything proportional to the probabilities.
    is_scaled
        As for `judge`.
    """
    share = np.exp(joint - joint.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    some = (OPTIONS**2).sum(1) > 0
    nothing = share[:, np.flatnonzero(~some)[0]]
    if not is_scaled:
        return Verdict(np.zeros((len(joint), 2), int), 1.0 - nothing, nothing)
    best = np.where(some, share[:, :-1], 0.0).argmax(1)
    return Verdict(OPTIONS[best], share[np.arange(len(joint)), best], nothing)


def joint_density(
    planes: FloatArray, covariance: FloatArray, lattice: FloatArray, is_scaled: bool = True
) -> FloatArray:
    """Logarithm of the probability of each of `OPTIONS` and of anything else, times that of the planes then.

    Short vectors are more probable, as energy goes with the square of the Burgers vector.

    Parameters
    ----------
    planes, covariance, lattice, is_scaled
        As for `judge`.

    Returns
    -------
    joint
        Shape ``(n, options + 1)``.
    """
    real = np.linalg.solve(lattice, OPTIONS.T.astype(float)).T
    square = (real**2).sum(1)
    some = square > 0
    weight = np.where(some, np.exp(-square / square[some].min()), 0.0)
    prior = np.where(some, DENSITY * weight / weight.sum(), 1.0 - DENSITY - ELSE)
    if not is_scaled:
        prior[some] = 0.0
    apart = planes[:, None] - OPTIONS
    spread = covariance[:, None] + ((MODEL**2) * (OPTIONS**2).sum(1))[:, None, None] * np.eye(2)
    chi2 = np.einsum("nki,nkij,nkj->nk", apart, np.linalg.inv(spread), apart)
    with np.errstate(divide="ignore"):
        named = np.log(prior) - 0.5 * chi2 - np.log(2 * np.pi * np.sqrt(np.linalg.det(spread)))
    other = np.log((ELSE if is_scaled else ELSE + DENSITY) / RANGE)
    return np.concatenate([named, np.full((len(planes), 1), other)], axis=1)
