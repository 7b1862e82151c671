"""The patterns from which one entry is learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.pattern import Entry, Start, Windows, WindowStack, gather, in_place

__all__ = ["Lesson"]


@dataclass(frozen=True)
class Lesson:
    """The patterns, or sums of patterns, from which one entry is learned.

    Attributes
    ----------
    patterns
        Counts, shape ``(p, qy, qx)``.
    members
        Indices of the patterns that are summed, shape ``(n, m)``, -1 for none: one pattern each, or, where counts are
        scarce, a position and its neighbours.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    centre
        Beam centre ``(y, x)`` of each sum, pixels, shape ``(n, 2)``.
    centre_sigma
        Standard deviation of `centre`, pixels.
    theta
        Coarse rotation of each sum, radians, shape ``(n,)``.
    ceiling
        Value at which pixels stop counting.
    """

    patterns: NDArray[Any]
    members: IntArray
    good: BoolArray
    centre: FloatArray
    centre_sigma: float
    theta: FloatArray
    ceiling: float = float("inf")

    def only(self, keep: NDArray[Any]) -> Lesson:
        """Lesson with some of the sums, chosen by a mask or indices."""
        return replace(self, members=self.members[keep], centre=self.centre[keep], theta=self.theta[keep])

    def at_most(self, n: int, rng: np.random.Generator) -> Lesson:
        """Lesson with `n` of the sums, picked at random, or all where there are no more."""
        if len(self.theta) <= n:
            return self
        return self.only(np.sort(rng.choice(len(self.theta), n, replace=False)))

    @property
    def summed(self) -> FloatArray:
        """Number of patterns in each sum, shape ``(n,)``."""
        return (self.members >= 0).sum(1).astype(float)

    @cached_property
    def repeats(self) -> float:
        """In how many sums a pattern is found: what is common to sums that overlap is surer by less than they say.

        So much larger is the variance of a mean over sums than that over as many that share no pattern.
        """
        there = self.members[self.members >= 0]
        return float(np.bincount(there)[there].mean()) if len(there) else 1.0

    def common_noise(self, entry: Entry, noise_scale: float) -> float:
        """Variance over mean of a pixel by which what all sums have in common is judged.

        Parameters
        ----------
        entry
            The entry, whose `grain` says what noise pixels share.
        noise_scale
            Variance over mean of a single pixel.
        """
        return noise_scale * entry.grain.area * self.repeats

    @property
    def start(self) -> Start:
        """Start of the fits: the coarse rotation without strain."""
        return Start.turned(self.theta, self.centre, self.summed)

    def windows(self, positions: FloatArray, half: int) -> WindowStack:
        """Windows of all sums, see `cyclestrain.pattern.windows.gather`.

        Parameters
        ----------
        positions
            Predicted ``(y, x)`` of each reflection, pixels, shape ``(n, reflection, 2)``.
        half
            Reach of the windows, pixels.
        """
        return gather(self.patterns, positions, half, self.good, self.members, ceiling=self.ceiling)

    def whole(self, positions: FloatArray, half: int) -> Windows:
        """The same without a copy of their pixels, of which those of a whole pattern can be read.

        Parameters
        ----------
        positions, half
            As for `windows`.
        """
        return in_place(self.patterns, positions, half, self.good, self.members, ceiling=self.ceiling)
