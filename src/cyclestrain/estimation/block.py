"""What was found for a block of positions, and how patterns are fitted: the functions that every pass is made of.

A block is a pure function of its patterns: nothing outside is read or written, so that blocks can run anywhere and in
any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.learning import Knowledge, centre_prior
from cyclestrain.pattern import Entry, PatternFit, Start, approach, gather, predicted_positions, refine

__all__ = ["MIN_GAIN", "MIN_SIGNIFICANCE", "BlockFit", "chunks", "fit_from_rotation", "fit_from_start", "is_faint"]

CHUNK = 512
"""Patterns fitted at a time: their windows stay in the processor's cache and memory stays small."""
MIN_SIGNIFICANCE = 5.0
"""Significance below twice which a pattern is faint: it is fitted from what its neighbours show as well."""
MIN_GAIN = 0.05
"""Least brightness of a crystal relative to its entry: a blank pattern fits any transform with certainty."""


@dataclass(frozen=True)
class BlockFit:
    """Outcome of some positions of a scan.

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
    shared
        Share of the covariance that neighbours have in common, see `AffineField`, shape ``(n,)``.
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
    shared: FloatArray

    @classmethod
    def unknown(cls, positions: IntArray) -> BlockFit:
        """Nothing known yet of some positions."""
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
            shared=zero.copy(),
        )

    @classmethod
    def gathered(cls, parts: Sequence[BlockFit], n_positions: int) -> BlockFit:
        """All positions of a scan from some of its blocks, in whatever order; what no block holds is unknown."""
        whole = cls.unknown(np.arange(n_positions))
        for part in parts:
            for name, values in whole.arrays.items():
                values[part.positions] = part.arrays[name]
        return whole

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array but the positions, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "positions"}

    def only(self, which: Any) -> BlockFit:
        """Some of the positions."""
        return replace(self, positions=self.positions[which], **{k: v[which] for k, v in self.arrays.items()})

    def with_fits(self, index: IntArray, fit: PatternFit, label: int) -> BlockFit:
        """The same with positions `index` (into these) as `fit`, of one entry, found them, shape ``(k,)``."""
        found: dict[str, Any] = {
            "affine": fit.start.affine,
            "covariance": fit.affine_covariance * fit.inflation[:, None, None],
            "centre": fit.start.centre,
            "gain": fit.start.gain,
            "misfit": fit.misfit,
            "significance": fit.significance,
            "label": label,
            "shared": fit.shared,
        }
        return self.with_values(index, **found)

    def with_values(self, index: IntArray, **values: Any) -> BlockFit:
        """The same with other `values` of the named arrays at `index`."""
        changed = {name: getattr(self, name).copy() for name in values}
        for name, value in values.items():
            changed[name][index] = value
        return replace(self, **changed)


def chunks(index: IntArray) -> Iterator[IntArray]:
    """An index in parts of `CHUNK`."""
    for first in range(0, len(index), CHUNK):
        yield index[first : first + CHUNK]


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
        Shape ``(n, qy, qx)``.
    start
        Coarse rotation and beam centre of each fit; the centre is its prior as well.
    entry
        What to fit.
    knowledge
        Calibration and noise.
    members
        Which patterns are added up, see `cyclestrain.pattern.windows.gather`.
    """
    sigma = centre_prior(knowledge.calibration)
    near = approach(patterns, knowledge.calibration.good, entry, start, centre_sigma=sigma, members=members)
    return fit_from_start(patterns, start.centre, near, entry, knowledge, iterations=3, members=members)


def fit_from_start(
    patterns: NDArray[Any],
    centre: FloatArray,
    start: Start,
    entry: Entry,
    knowledge: Knowledge,
    *,
    iterations: int,
    members: IntArray | None = None,
) -> PatternFit:
    """Fit patterns, or sums of their `members`, from a start within a fraction of a pixel.

    Parameters
    ----------
    patterns
        Shape ``(n, qy, qx)``.
    centre
        Beam centres ``(y, x)`` that are the prior of the fit, pixels, shape ``(n, 2)``.
    start, entry, knowledge, members
        As for `fit_from_rotation`.
    iterations
        Fisher-scoring steps; none only asks how well the start explains the patterns.
    """
    calibration = knowledge.calibration
    positions = predicted_positions(start, entry.reflections)
    return refine(
        gather(patterns, positions, entry.probe.half + 1, calibration.good, members),
        entry,
        start,
        centre=centre,
        centre_sigma=centre_prior(calibration),
        noise_scale=knowledge.dictionary.noise_scale,
        iterations=iterations,
    )


def is_faint(fit: BlockFit) -> BoolArray:
    """Patterns that do not surely show a crystal by themselves, shape ``(n,)``."""
    return np.asarray(np.nan_to_num(fit.significance) < 2 * MIN_SIGNIFICANCE)
