"""The patterns one entry is learned from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.pattern import Start, WindowStack, gather

__all__ = ["Lesson"]


@dataclass(frozen=True)
class Lesson:
    """The patterns one entry is learned from.

    Attributes
    ----------
    patterns
        Shape ``(p, qy, qx)``.
    members
        Which of the patterns are added up to be learned from, shape ``(n, m)``, -1 for none: one each, or, where
        counts are scarce, a position and its neighbours.
    good
        Detector pixels that can be trusted.
    centre
        Beam centre ``(y, x)`` of each sum, shape ``(n, 2)``.
    centre_sigma
        Standard deviation of those, pixels.
    theta
        Coarse rotation of each sum, radians, shape ``(n,)``.
    """

    patterns: NDArray[Any]
    members: IntArray
    good: BoolArray
    centre: FloatArray
    centre_sigma: float
    theta: FloatArray

    def only(self, keep: NDArray[Any]) -> Lesson:
        """Some of the sums."""
        return replace(self, members=self.members[keep], centre=self.centre[keep], theta=self.theta[keep])

    @property
    def start(self) -> Start:
        """Start of the fits: the coarse rotation."""
        return Start.turned(self.theta, self.centre, (self.members >= 0).sum(1))

    def windows(self, positions: FloatArray, half: int) -> WindowStack:
        """Windows of all sums, see `cyclestrain.pattern.windows.gather`."""
        return gather(self.patterns, positions, half, self.good, self.members)
