"""What was found for a block of positions, and the functions that fit its patterns in every pass.

What is found for a block depends on its patterns and on what was learned alone: nothing else is read and nothing is
written, so that blocks can run anywhere and in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.learning import Knowledge, centre_prior
from cyclestrain.machine import batch, thread_count
from cyclestrain.pattern import (
    START_ONLY,
    Entry,
    PatternFit,
    Start,
    approach,
    approach_by_shells,
    in_place,
    likelier_labelling,
    predicted_positions,
    refine,
)

__all__ = [
    "MIN_GAIN",
    "MIN_SIGNIFICANCE",
    "SETTLING",
    "BlockFit",
    "chunks",
    "fit_from_rotation",
    "fit_from_start",
    "is_faint",
]

STEPS = 3
"""Steps from an approach to the fit where disks have no contrast."""
SETTLING = (4, 4, 12)
"""Steps before windows are cut again around where the reflections are now, where a start may be off by their size.

The second ones are for fits that have `LEFT` theirs. The last ones also have to find the contrast, which changes
brightness by large factors, each step a part of it: they are the most there are.
"""
LEFT = 1.0
"""Move of a reflection from the middle of its window up to which windows follow it, pixels."""
SAME = 0.05
"""Largest difference of any parameter, in units of its sigma, of two ways that are one.

What differs by so little while it is followed differs by no more at the end; deviations start anew with the windows.
With a fifth of sigma, 1 of 256 recorded patterns with many maxima ended at a far less likely one.
"""
SETTLED, SETTLED_WITH_CONTRAST = 0.05, 0.01
"""Length of a step, in units of its standard deviation, that is the last. The next one would be a fifth of it, or with
contrast three quarters."""
MIN_SIGNIFICANCE = 5.0
"""Significance from which a pattern whose neighbours agree counts as crystal.

Below twice this value a pattern is faint: it is also fitted from what its neighbours show.
"""
MIN_GAIN = 0.05
"""Least brightness of a crystal relative to its entry: a blank pattern fits any transform with certainty."""


@dataclass(frozen=True)
class BlockFit:
    """What was found for some positions of a scan; NaN where nothing is known.

    Attributes
    ----------
    positions
        Flat (row-major) indices into the scan, ascending, shape ``(n,)``.
    affine, covariance
        Affine of each pattern, shape ``(n, 2, 2)``, and covariance of ``(A_yy, A_yx, A_xy, A_xx)``, ``(n, 4, 4)``.
    centre, beam
        Fitted beam centre ``(y, x)`` and the one each fit was given as its prior, pixels, shape ``(n, 2)``.
    gain
        Brightness of the reflections relative to the entry, shape ``(n,)``.
    misfit
        Chi-square per degree of freedom, shape ``(n,)``.
    significance
        The gain in units of its own uncertainty, shape ``(n,)``.
    label, confidence
        Dictionary entry and the probability that it is the right one, shape ``(n,)``.
    summed
        Significance of the sum with the neighbours where a position was fitted from one, shape ``(n,)``.
    seen
        Share of the entry's reflections that were compared with counts, shape ``(n,)``.
    shared
        Share of the covariance that neighbours have in common, see `AffineField`, shape ``(n,)``.
    saturated
        Share of the pixels at the end of the detector's scale in the disk that has most of them, shape ``(n,)``.
    checked
        1 where more reflections were seen than fix the affine, else 0, shape ``(n,)``.
    alone
        Affine that the pattern alone led to, from the same entry; NaN where it was not asked, shape ``(n, 2, 2)``.
    """

    positions: IntArray
    affine: FloatArray
    covariance: FloatArray
    centre: FloatArray
    beam: FloatArray
    gain: FloatArray
    misfit: FloatArray
    significance: FloatArray
    label: IntArray
    confidence: FloatArray
    summed: FloatArray
    seen: FloatArray
    shared: FloatArray
    saturated: FloatArray
    checked: FloatArray
    alone: FloatArray

    @classmethod
    def unknown(cls, positions: IntArray) -> BlockFit:
        """Fits of positions of which nothing is known yet: NaN, label -1, significance 0."""
        n = len(positions)
        vector, number, zero = np.full((n, 2), np.nan), np.full(n, np.nan), np.zeros(n)
        return cls(
            positions=positions,
            affine=np.full((n, 2, 2), np.nan),
            covariance=np.full((n, 4, 4), np.nan),
            centre=vector,
            beam=vector.copy(),
            gain=number,
            misfit=number.copy(),
            significance=zero,
            label=np.full(n, -1),
            confidence=zero.copy(),
            summed=zero.copy(),
            seen=zero.copy(),
            shared=zero.copy(),
            saturated=zero.copy(),
            checked=zero.copy(),
            alone=np.full((n, 2, 2), np.nan),
        )

    @classmethod
    def gathered(cls, parts: Sequence[BlockFit], n_positions: int) -> BlockFit:
        """Fits of all positions of a scan from those of its blocks; positions that no block holds are unknown.

        Parameters
        ----------
        parts
            Fits of some blocks, in any order.
        n_positions
            Number of positions of the scan.
        """
        whole = cls.unknown(np.arange(n_positions))
        for part in parts:
            for name, values in whole.arrays.items():
                values[part.positions] = part.arrays[name]
        return whole

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array except the positions, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "positions"}

    def only(self, which: Any) -> BlockFit:
        """Fits of some of the positions, chosen by a mask, indices or a slice."""
        return replace(self, positions=self.positions[which], **{k: v[which] for k, v in self.arrays.items()})

    def with_fits(self, index: IntArray, fit: PatternFit, label: int) -> BlockFit:
        """Fits in which some positions have the outcome of `fit`; the others are as before.

        Parameters
        ----------
        index
            Indices into `positions`, shape ``(k,)``.
        fit
            Fits of these `k` patterns; their covariance is multiplied by `PatternFit.inflation`.
        label
            Dictionary entry that was fitted.
        """
        found: dict[str, Any] = {
            "affine": fit.start.affine,
            "covariance": fit.affine_covariance * fit.inflation[:, None, None],
            "centre": fit.start.centre,
            "gain": fit.start.gain,
            "misfit": fit.misfit,
            "significance": fit.significance,
            "label": label,
            "seen": (fit.n_pixels > 0).mean(1),
            "shared": fit.shared,
            "saturated": fit.saturated,
            "checked": fit.checked,
            "alone": np.where((self.label[index] == label)[:, None, None], self.alone[index], np.nan),
        }
        return self.with_values(index, **found)

    def with_values(self, index: IntArray, **values: Any) -> BlockFit:
        """Fits with other values at some positions; the others are as before.

        Parameters
        ----------
        index
            Indices into `positions`, shape ``(k,)``.
        **values
            New values by the name of the array, shape ``(k, ...)`` or one value for all.
        """
        changed = {name: getattr(self, name).copy() for name in values}
        for name, value in values.items():
            changed[name][index] = value
        return replace(self, **changed)


def chunks(index: IntArray, patterns: NDArray[Any]) -> Iterator[IntArray]:
    """Parts of an index into patterns, in order, small enough for the processor's cache."""
    size = batch(patterns[:1].nbytes, thread_count())
    for first in range(0, len(index), size):
        yield index[first : first + size]


def fit_from_rotation(
    patterns: NDArray[Any],
    start: Start,
    entry: Entry,
    knowledge: Knowledge,
    members: IntArray | None = None,
) -> PatternFit:
    """Fit patterns, or sums of their `members`, from a coarse rotation.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    start
        Coarse rotation and beam centre of each fit; the centre is its prior as well.
    entry
        Dictionary entry to fit.
    knowledge
        Calibration and noise.
    members
        Which pattern each fit looks at, or which are summed for it, see `cyclestrain.pattern.windows.gather`.
    """
    good, sigma = knowledge.calibration.good, centre_prior(knowledge.calibration)
    near = approach(patterns, good, entry, start, centre_sigma=sigma, members=members)
    own = np.arange(len(patterns))[:, None] if members is None else members
    if not entry.has_contrast:
        fit = fit_from_start(patterns, start.centre, near, entry, knowledge, iterations=STEPS, members=own)
    else:
        noise = knowledge.dictionary.noise_scale
        sharp = approach_by_shells(patterns, good, entry, start, centre_sigma=sigma, noise_scale=noise, members=own)
        fit = _likelier_way(patterns, start.centre, near, sharp, entry, knowledge, own)
    return _in_likelier_labelling(patterns, start.centre, fit, entry, knowledge, own)


def _in_likelier_labelling(
    patterns: NDArray[Any], centre: FloatArray, fit: PatternFit, entry: Entry, knowledge: Knowledge, members: IntArray
) -> PatternFit:
    """Fits anew where the brightness of the disks speaks for another labelling; what fits better is kept.

    Parameters
    ----------
    patterns, centre, entry, knowledge, members
        As for `fit_from_start`.
    fit
        Outcome from the coarse rotation.
    """
    labelling = likelier_labelling(entry.turned_intensities, entry.priors.spread[:, 0], fit.brightness)
    some = np.flatnonzero((labelling > 0) & np.isfinite(fit.start.affine).all((1, 2)))
    if not len(some):
        return fit
    start = fit.start.only(some)
    start = replace(start, affine=start.affine @ entry.operators[labelling[some]])
    steps = SETTLING[2] if entry.has_contrast else STEPS
    again = fit_from_start(patterns, centre[some], start, entry, knowledge, iterations=steps, members=members[some])
    return _likelier(fit, again, some, entry)


def _likelier_way(
    patterns: NDArray[Any],
    centre: FloatArray,
    near: Start,
    sharp: Start,
    entry: Entry,
    knowledge: Knowledge,
    members: IntArray,
) -> PatternFit:
    """Fit from two starts, where disks are full of contrast, and keep the likelier fit; where both meet, one is left.

    Parameters
    ----------
    patterns, centre, entry, knowledge, members
        As for `fit_from_start`.
    near, sharp
        What the two ways of `cyclestrain.pattern.approach` lead to.
    """

    def fit(start: Start, some: BoolArray | IntArray, steps: int, tolerance: float = 0.0) -> PatternFit:
        return fit_from_start(
            patterns, centre[some], start, entry, knowledge, iterations=steps, members=members[some],
            tolerance=tolerance,
        )  # fmt: skip

    def followed(before: Start, after: Start, some: IntArray) -> Start:
        """Starts with windows that follow: a reflection that leaves its window would be lost without a word."""
        moved = predicted_positions(after, entry.reflections) - predicted_positions(before, entry.reflections)
        left = np.flatnonzero(~(np.abs(moved).max((1, 2), initial=0.0) < LEFT))
        further = fit(after.only(left), some[left], SETTLING[1], START_ONLY)
        return after.with_others(left, further.start)

    def parted(one: Start, other: Start, some: IntArray) -> BoolArray:
        return ~_agree(one.only(some), other, sigma[some])

    everywhere = np.arange(len(centre))
    first = fit(near, everywhere, SETTLING[0])
    sigma = np.sqrt(np.einsum("nii->ni", first.covariance))
    apart = np.flatnonzero(parted(first.start, sharp, everywhere))
    before = sharp.only(apart)
    other = fit(before, apart, SETTLING[0], START_ONLY).start
    still = parted(first.start, other, apart)
    apart, start = apart[still], followed(near, first.start, everywhere)
    other = followed(before.only(still), other.only(still), apart)
    still = parted(start, other, apart)
    apart, one = apart[still], fit(start, everywhere, SETTLING[2])
    if not len(apart):
        return one
    two = fit(other.only(still), apart, SETTLING[2])
    return _likelier(one, two, apart, entry)


def _likelier(one: PatternFit, two: PatternFit, some: IntArray, entry: Entry) -> PatternFit:
    """Fits, or the second ones of some patterns, indices of shape ``(k,)``, where those are likelier."""
    better, place = np.zeros(len(one.prior), bool), np.zeros(len(one.prior), int)
    better[some] = two.penalty(entry) < one.only(some).penalty(entry)
    place[some] = np.arange(len(some))
    return one.where(better, two.only(place))


def _agree(one: Start, two: Start, sigma: FloatArray) -> BoolArray:
    """Starts so near each other that both are on the way to the same maximum, shape ``(n,)``.

    Parameters
    ----------
    one, two
        The starts.
    sigma
        Standard deviations of all eight parameters, shape ``(n, 8)``.
    """
    a, b = (np.column_stack([each.affine.reshape(-1, 4), each.centre, each.gain, each.level]) for each in (one, two))
    return np.asarray((np.abs(a - b) <= SAME * sigma).all(1))


def fit_from_start(
    patterns: NDArray[Any],
    centre: FloatArray,
    start: Start,
    entry: Entry,
    knowledge: Knowledge,
    *,
    iterations: int,
    members: IntArray | None = None,
    tolerance: float = 0.0,
) -> PatternFit:
    """Fit patterns, or sums of their `members`, from a start within a fraction of a pixel.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    centre
        Beam centres ``(y, x)`` that are the prior of the fit, pixels, shape ``(n, 2)``.
    start, entry, knowledge, members
        As for `fit_from_rotation`.
    iterations
        Most Fisher-scoring steps; with 0 the start stays and only its misfit and covariance are found.
    tolerance
        See `cyclestrain.pattern.refine`.
    """
    calibration = knowledge.calibration
    positions = predicted_positions(start, entry.reflections)
    return refine(
        in_place(patterns, positions, entry.probe.half + 1, calibration.good, members, ceiling=calibration.ceiling),
        entry,
        start,
        centre=centre,
        centre_sigma=centre_prior(calibration),
        noise_scale=knowledge.dictionary.noise_scale,
        iterations=iterations,
        tolerance=tolerance,
        settled=SETTLED_WITH_CONTRAST if entry.has_contrast else SETTLED,
        ceiling=calibration.ceiling if members is None or members.shape[1] == 1 else np.inf,
    )


def is_faint(fit: BlockFit) -> BoolArray:
    """Mask of the patterns that do not surely show a crystal by themselves, shape ``(n,)``."""
    return np.asarray(np.nan_to_num(fit.significance) < 2 * MIN_SIGNIFICANCE)
