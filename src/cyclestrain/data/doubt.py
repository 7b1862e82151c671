"""Why a number may be wrong beyond its stated uncertainty: flags of every position."""

from __future__ import annotations

from enum import IntFlag

__all__ = ["Doubt"]


class Doubt(IntFlag):
    """Reasons for doubt, one bit each; a position may have several, a position without any has the value 0.

    Values are stored in results and never change their meaning.
    """

    MISFIT = 1
    FEW_REFLECTIONS = 2
    FAINT = 4
    MIXTURE = 8
    STRAIN_RANGE = 16
    SATURATION = 32
    BOUNDARY = 64
    OTHER_STRUCTURE = 128
    BRANCH = 256
    ENTRY = 512
    NO_REFERENCE = 1024

    @property
    def label(self) -> str:
        """Name of a single flag in plain letters.

        Examples
        --------
        >>> Doubt.FEW_REFLECTIONS.label
        'few reflections'
        """
        return (self.name or "").lower().replace("_", " ")

    @property
    def meaning(self) -> str:
        """What a single flag says, in words.

        Examples
        --------
        >>> Doubt.FAINT.meaning
        'too faint to be sure of by itself: it leans on its neighbours'
        """
        return _MEANINGS[self]


_MEANINGS = {
    Doubt.MISFIT: "the model explains the pattern worse than those around it",
    Doubt.FEW_REFLECTIONS: "fewer reflections were seen than the transform needs to be checked",
    Doubt.FAINT: "too faint to be sure of by itself: it leans on its neighbours",
    Doubt.MIXTURE: "several crystals overlap",
    Doubt.STRAIN_RANGE: "strain or rotation beyond what was seen when the dictionary was learned",
    Doubt.SATURATION: "disks reach the end of the detector's scale: what they count beyond it is lost",
    Doubt.BOUNDARY: "next to another crystal or to vacuum",
    Doubt.OTHER_STRUCTURE: "another structure than any of the dictionary is suspected",
    Doubt.BRANCH: "turned so far that another labelling of the lattice is as near: strain relative to the reference "
    "depends on the choice",
    Doubt.ENTRY: "its dictionary entry is doubtful: reflections hardly form a lattice, or another crystal covers them",
    Doubt.NO_REFERENCE: "its class, or that of another crystal in the pattern, has no reference to be strained against",
}
