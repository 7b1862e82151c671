r"""One core fitted to the circuits around it: where it is, and which Burgers vector it has, by their probability.

A circuit of any size is the sum of the smallest ones inside it, so these, with the covariance that neighbours share,
hold all that circuits say. Around a core at `x` whose field the probe blurs to a width `w` the reciprocal vectors are

.. math:: g_i(r) = n_i \frac{t}{2 \pi |r - x|} (1 - e^{-|r - x|^2 / 2 w^2})

(`t`: unit vector from +x to +y around the core), up to gradients, of which circuits see nothing, so that the elastic
constants do not matter. At every place and width `n` follows by generalised least squares; its probability is summed
over places and widths. Patterns that fit no core are less certain than stated: their covariance grows as that of a
Student distribution does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import logsumexp

from cyclestrain.data import FloatArray
from cyclestrain.microstructure.burgers import OPTIONS, Verdict, joint_density, verdict
from cyclestrain.microstructure.circuits import square
from cyclestrain.microstructure.lattice_field import LatticeField

__all__ = ["CoreFit", "fit_core", "without"]

HALF = 5
"""Half width, in smallest circuits, of the square around a core that is looked at."""
WIDTHS = (0.4, 0.8)
"""Widths of the probe, positions, that are tried."""
SEARCH, STEP = 1.5, 0.25
"""Places that are tried: up to this far along each axis, and their distance, positions."""
MISPLACED = 0.12
"""Error of a place, positions, where noise is none: steps are not small against the field of a core."""
FREEDOM = 4.0
"""Degrees of freedom of the Student distribution that errors of patterns are taken from."""
ROUNDS = 3
"""Times that the errors of single patterns are found anew, and the places that are tried moved."""


@dataclass(frozen=True)
class CoreFit:
    """A core.

    Attributes
    ----------
    place, place_sigma
        Where it is ``(y, x)``, shape ``(2,)``, and the standard deviation of each coordinate, positions.
    planes, covariance
        Lattice planes crossed around it, shape ``(2,)``, and their covariance, shape ``(2, 2)``.
    verdict
        Which lattice vector that is.
    circuits
        Number of smallest circuits that were used.
    """

    place: FloatArray
    place_sigma: float
    planes: FloatArray
    covariance: FloatArray
    verdict: Verdict
    circuits: int

    @property
    def crossed(self) -> FloatArray:
        """Lattice planes that are crossed around the lattice vector it is taken for, shape ``(2,)``."""
        indices = self.verdict.indices[0]
        return indices.astype(float) if indices.any() else self.planes


def without(field: LatticeField, cores: Sequence[CoreFit]) -> LatticeField:
    """A lattice from which the fields of some cores are taken, so that circuits around them close.

    Parameters
    ----------
    field
        Local lattice of every position.
    cores
        What is taken from it.
    """
    place = np.moveaxis(np.indices(field.area.shape), 0, -1).astype(float)
    vectors = field.vectors.copy()
    for one in cores:
        vectors -= one.crossed[:, None] * _around(place - one.place, WIDTHS[0])[..., None, :]
    return dataclasses.replace(field, vectors=vectors)


def _around(offset: FloatArray, width: float) -> FloatArray:
    """Field of a core whose circuits cross one plane, at offsets ``(..., 2)`` from it."""
    square = np.maximum((offset**2).sum(-1, keepdims=True), 1e-12)
    turned = np.stack([offset[..., 1], -offset[..., 0]], -1)
    return np.asarray(turned / (2 * np.pi * square) * -np.expm1(-square / (2 * width**2)))


def fit_core(field: LatticeField, place: FloatArray, lattice: FloatArray) -> CoreFit:
    """Fit a core near a place.

    Parameters
    ----------
    field
        Local lattice of every position, without the fields of other cores.
    place
        Where the core is looked for ``(y, x)``.
    lattice
        Typical lattice of its crystal, shape ``(2, 2)``.
    """
    around = np.arange(-SEARCH, SEARCH + STEP / 2, STEP)
    tried = np.stack(np.meshgrid(around, around, indexing="ij"), -1).reshape(-1, 2)
    window = _Window.around(field, place)
    places = place + tried
    spread = window.covariance
    for _ in range(ROUNDS):
        found, left = _explained(window, spread, places, lattice, field.is_scaled)
        spread = window.covariance * _excess(window, left, spread)[:, None, None]
        places = np.clip(found.place, place - SEARCH, place + SEARCH) + tried
    return _explained(window, spread, places, lattice, field.is_scaled)[0]


@dataclass(frozen=True)
class _Window:
    """Positions around a place, and the smallest circuits between them.

    Attributes
    ----------
    offset
        Of its first position.
    vectors
        Of the positions, shape ``(q, 4)``.
    covariance
        Of these, shape ``(q, 4, 4)``.
    design
        What the circuits sum, shape ``(2 p, q, 4)``: both planes of one circuit after the other.
    """

    offset: FloatArray
    vectors: FloatArray
    covariance: FloatArray
    design: FloatArray

    @classmethod
    def around(cls, field: LatticeField, place: FloatArray) -> _Window:
        first = np.rint(place - 0.5).astype(int) - HALF
        n = 2 * HALF + 2
        rows, columns = (int(o) + np.arange(n) for o in first)
        shape = field.area.shape
        inside = ((rows >= 0) & (rows < shape[0]))[:, None] & ((columns >= 0) & (columns < shape[1]))
        at = np.ix_(rows.clip(0, shape[0] - 1), columns.clip(0, shape[1] - 1))
        middle = np.rint(place).astype(int).clip(0, np.array(shape) - 1)
        own = inside & (field.area[at] == field.area[tuple(middle)])
        whole = own[:-1, :-1] & own[1:, :-1] & own[:-1, 1:] & own[1:, 1:]
        used = np.repeat(whole.ravel(), 2)
        vectors = np.where(own[..., None, None], field.vectors[at], 0.0).reshape(-1, 4)
        covariance = np.where(own[..., None, None], field.covariance[at], np.eye(4)).reshape(-1, 4, 4)
        return cls(first.astype(float), vectors, covariance, _design()[used])

    @property
    def places(self) -> FloatArray:
        """Of the positions, shape ``(q, 2)``."""
        n = 2 * HALF + 2
        return np.moveaxis(np.indices((n, n)), 0, -1).reshape(-1, 2) + self.offset


@cache
def _design() -> FloatArray:
    """`_Window.design` where all positions are known."""
    n = 2 * HALF + 2
    out = np.zeros((n - 1, n - 1, 2, n, n, 2, 2))
    rows, columns = np.indices((n - 1, n - 1))
    for (y, x), step in zip(*square(1), strict=True):
        for i in range(2):
            out[rows, columns, i, rows + y, columns + x, i] = step
    return out.reshape(2 * (n - 1) ** 2, n * n, 4)


def _explained(
    window: _Window, spread: FloatArray, places: FloatArray, lattice: FloatArray, is_scaled: bool
) -> tuple[CoreFit, FloatArray]:
    """A core at all places and of all widths, by their probability, and what it leaves, weighted by information."""
    data = np.einsum("pqk,qk->p", window.design, window.vectors)
    flat = window.design.reshape(len(data), -1)
    inverse = np.linalg.inv(np.einsum("pqk,qkl->pql", window.design, spread).reshape(flat.shape) @ flat.T)
    kernel = _kernels(window, places)
    weighted = inverse @ kernel
    covariance = np.linalg.inv(kernel.swapaxes(1, 2) @ weighted)
    planes = (covariance @ (weighted.swapaxes(1, 2) @ data)[..., None])[..., 0]
    gained = 0.5 * np.einsum("ti,tij,tj->t", planes, np.linalg.inv(covariance), planes)
    joint = joint_density(planes, covariance, lattice, is_scaled)
    joint += (gained + 0.5 * np.log(np.linalg.det(covariance)))[:, None]
    found = verdict(logsumexp(joint, axis=0)[None], is_scaled)
    named = np.flatnonzero((found.indices[0] == OPTIONS).all(1))[0] if is_scaled else len(OPTIONS)
    share = np.exp(joint[:, named] - logsumexp(joint[:, named]))
    where = np.repeat(places, len(WIDTHS), axis=0)
    place, mean = share @ where, share @ planes
    total = np.einsum("t,tij->ij", share, covariance + np.einsum("ti,tj->tij", planes - mean, planes - mean))
    sigma = float(np.sqrt((share @ (where - place) ** 2).mean() + MISPLACED**2))
    left = inverse @ (data - np.einsum("t,tpi,ti->p", share, kernel, planes))
    return CoreFit(place, sigma, mean, total, found, len(data) // 2), left


def _kernels(window: _Window, places: FloatArray) -> FloatArray:
    """What the circuits sum of cores of one plane of either kind, shape ``(place and width, circuit, 2)``."""
    apart = window.places - places[:, None]
    unit = np.stack([_around(apart, width) for width in WIDTHS], 1).reshape(-1, len(window.places), 2)
    design = window.design.reshape(len(window.design), -1, 2, 2)
    return np.einsum("pqja,tqa->tpj", design, unit, optimize=True)


def _excess(window: _Window, left: FloatArray, spread: FloatArray) -> FloatArray:
    """Factor by which the variance of each pattern grows: its error, as circuits tell it, against what was stated."""
    error = np.einsum("qkl,pql,p->qk", spread, window.design, left, optimize=True)
    square = np.einsum("qk,qkl,ql->q", error, np.linalg.inv(window.covariance), error)
    return np.maximum((FREEDOM + square) / (FREEDOM + error.shape[1]), 1.0)
