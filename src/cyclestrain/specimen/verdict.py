"""Why a tilt, thickness or polarization may be wrong beyond its stated uncertainty: flags of every position."""

from __future__ import annotations

from enum import IntFlag

__all__ = ["Caution"]


class Caution(IntFlag):
    """Reasons for caution, one bit each; values are stored in results and never change their meaning."""

    FEW_REFLECTIONS = 1
    MISFIT = 2
    COMPETING = 4
    EDGE = 8
    ORIENTATION = 16
    NOT_SEPARABLE = 32

    @property
    def meaning(self) -> str:
        """What a single flag says, in words."""
        return _MEANINGS[self]


_MEANINGS = {
    Caution.FEW_REFLECTIONS: "too few reflections were measured",
    Caution.MISFIT: "no thickness and tilt of this crystal explain the intensities",
    Caution.COMPETING: "another thickness and tilt explain the intensities as well",
    Caution.EDGE: "at the edge of the library: thickness or tilt is beyond it",
    Caution.ORIENTATION: "another orientation of the crystal explains the scan as well and has another tilt",
    Caution.NOT_SEPARABLE: "polarization and tilt are not told apart: the sign of the polarization is open",
}
