"""Where the reflections of an entry lie: they and its lattice move together, and its affine is free to choose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.learning.lattice import basis_through
from cyclestrain.pattern import Entry, PatternFit

__all__ = ["moved", "regauged"]

UNLIKE = 0.25
"""Difference from the median lattice, of squared lengths and relative to their mean, from which a fit failed."""


def regauged(entry: Entry, affine: FloatArray) -> tuple[Entry, FloatArray]:
    """Give the entry the scan's mean lattice: the choice is free (it cancels in the strain) but shows the symmetry.

    Parameters
    ----------
    entry
        Entry in any gauge.
    affine
        Fitted affine from it to each pattern, shape ``(n, 2, 2)``; returned for the new gauge.
    """
    lattice = affine @ entry.basis
    metrics = lattice.swapaxes(-1, -2) @ lattice
    usual = np.median(metrics, axis=0)
    alike = np.abs(metrics - usual).max((1, 2)) < UNLIKE * 0.5 * np.trace(usual)
    metric = (metrics[alike] if alike.any() else metrics).mean(0)  # a fit that failed has any affine
    # The new basis has this metric and differs from the present one by a symmetric stretch only.
    current = np.linalg.inv(entry.basis)
    target = current.T @ metric @ current
    values, vectors = np.linalg.eigh(target)
    stretch = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    back = np.linalg.inv(stretch)
    return _relocated(entry, entry.reflections @ stretch.T, stretch @ entry.basis), affine @ back


def moved(entry: Entry, fit: PatternFit, trust: FloatArray) -> Entry:
    """The entry with its reflections where all patterns agree that they are, and its lattice through them.

    A lattice that stayed behind would be another one: its labellings would turn one crystal into several strains.

    Parameters
    ----------
    entry
        Entry that was fitted.
    fit
        Fits to the patterns.
    trust
        Weight of each reflection in each pattern, zero for those that are not used, shape ``(n, reflection)``.
    """
    affine, used = fit.start.affine, trust > 0
    score = np.einsum("nji,ngj->gi", affine, fit.shift_score * used[..., None])
    information = np.einsum("nji,ngjk,nkl->gil", affine, fit.shift_information * used[..., None, None], affine)
    information += np.eye(2) * (1e-9 + 1e-6 * np.trace(information, axis1=1, axis2=2)[:, None, None])
    step = np.linalg.solve(information, score[..., None])[..., 0]
    reflections = entry.reflections + np.clip(step, -0.5, 0.5)
    basis = basis_through(entry.indices, reflections, np.sqrt(entry.intensity), entry.basis)
    return _relocated(entry, reflections, basis)


def _relocated(entry: Entry, reflections: FloatArray, basis: FloatArray) -> Entry:
    """The entry with other reflections, of a lattice whose labellings are those of before."""
    change = basis @ np.linalg.inv(entry.basis)
    operators = change @ entry.operators @ np.linalg.inv(change)
    return replace(entry, reflections=reflections, basis=basis, operators=operators)
