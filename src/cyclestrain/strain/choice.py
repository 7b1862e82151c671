"""What the user asks strain to be relative to, and the reference that follows from it, in words."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cyclestrain.data import AffineField, BoolArray, FloatArray
from cyclestrain.errors import InputError
from cyclestrain.io import is_mask, parse_mask
from cyclestrain.strain.coherence import coherent_regions
from cyclestrain.strain.known import KnownLattice
from cyclestrain.strain.lattices import LEAST_FOLD, carried_over, ideal_reference
from cyclestrain.strain.matching import check_known, known_reference
from cyclestrain.strain.reference import Reference, measure_reference

__all__ = ["Wanted", "parse_reference", "pick_reference", "without_reference"]


@dataclass(frozen=True)
class Wanted:
    """What strain is to be relative to.

    Attributes
    ----------
    kind
        ``auto``: the largest coherent area of each class. ``region``: the one given. ``ideal``: each lattice in its
        most symmetric shape. ``class``: the largest coherent area of one class, for all whose lattice corresponds.
        ``known``: the unstrained lattices that were given.
    region
        Mask of the region given, shape ``(ry, rx)``; for ``known`` the one that has the mean spacing of the lattice.
    entry
        The class.
    lattices, pixel
        Lattices that may occur, and the pixel size in 1/nm with its relative uncertainty if that is known; for
        ``known`` only.
    """

    kind: Literal["auto", "region", "ideal", "class", "known"] = "auto"
    region: BoolArray | None = None
    entry: int = 0
    lattices: tuple[KnownLattice, ...] = ()
    pixel: tuple[float, float] | None = None

    def check(self, bases: FloatArray) -> None:
        """Refuse at once what entries with these bases, shape ``(entry, 2, 2)``, cannot be; regions are judged later.

        Raises
        ------
        InputError
            If there is no such class, or no entry is any of the known lattices.
        """
        if self.kind == "known":
            check_known(bases, self.lattices, None if self.region is not None else self.pixel)
        elif self.kind == "class" and self.entry >= len(bases):
            there = "is only class 0" if len(bases) == 1 else f"are the classes 0 to {len(bases) - 1}"
            raise InputError(f'--reference "class {self.entry}": there {there} here; choose one that is there')


def parse_reference(
    text: str,
    shape: tuple[int, int],
    lattices: tuple[KnownLattice, ...] = (),
    pixel: tuple[float, float] | None = None,
) -> Wanted:
    """What is asked for by the words of ``--reference``.

    Parameters
    ----------
    text
        ``auto``, ``ideal``, ``known`` (also with a region), ``class 0``, a region, or the name of a file with a mask.
    shape
        Shape of the scan.
    lattices, pixel
        See `Wanted`; where there are lattices, ``auto`` is ``known``.

    Raises
    ------
    InputError
        If the text is none of these, no region inside the scan, or the mask file does not fit.
    """
    if text == "auto":
        return Wanted("known" if lattices else "auto", lattices=lattices, pixel=pixel)
    if text == "ideal":
        return Wanted("ideal", lattices=lattices, pixel=pixel)
    if found := re.fullmatch(r"class[ :]?(\d+)", text.strip()):
        return Wanted("class", entry=int(found[1]), lattices=lattices, pixel=pixel)
    if text == "known" or text.startswith("known "):
        if not lattices:
            raise InputError("--reference known needs the lattice: --known a=5.431,structure=diamond,zone=110")
        where = text.removeprefix("known").strip()
        region = parse_mask(where, shape, "--reference known") if where else None
        return Wanted("known", region, lattices=lattices, pixel=pixel)
    if not is_mask(text):
        raise InputError(
            "--reference is 'auto', 'ideal', 'known', 'class 0' (or another number), a region ry0:ry1,rx0:rx1 or a "
            f"mask.npy, not {text!r}"
        )
    return Wanted("region", parse_mask(text, shape, "--reference"), lattices=lattices, pixel=pixel)


def pick_reference(field: AffineField, wanted: Wanted, bases: FloatArray | None = None) -> Reference:
    """Measure the reference that is asked for, with words that say which it is, class by class.

    Parameters
    ----------
    field
        Affine of every position, without the distortion of the detector.
    wanted
        What is asked for.
    bases
        Reciprocal-lattice vectors of every entry as columns, shape ``(entry, 2, 2)``; for ``ideal``, ``known`` and
        ``class`` only.

    Raises
    ------
    InputError
        If no position of the region is valid, no lattice has an ideal shape, or there is no such class.
    """
    if wanted.kind == "ideal":
        return _ideal(field, np.asarray(bases))
    if wanted.kind == "known":
        return known_reference(field, np.asarray(bases), wanted.lattices, wanted.pixel, wanted.region)
    if wanted.kind == "class":
        wanted.check(np.asarray(bases))
        return _of_class(field, wanted.entry, np.asarray(bases))
    if wanted.region is None:
        mask, words = _largest_areas(field), "the largest coherent area"
    else:
        mask, words = wanted.region, "the region given"
    reference = measure_reference(field, mask)
    if not reference.mask.any():
        raise InputError(f"{words} holds no valid position to be the reference; choose another with --reference")
    if len(field.operators) == 1:
        text = f"{words}, {int(reference.mask.sum())} positions"
    else:
        text = f"{words}{'' if wanted.region is not None else ' of each class'}: {_by_class(field, reference)}"
    return replace(reference, text=text + (" (auto)" if wanted.region is None else ""))


def without_reference(field: AffineField, reference: Reference) -> tuple[BoolArray, str]:
    """Positions of a crystal whose class has no reference, shape ``(ry, rx)``, and a sentence on them, empty if none.

    Parameters
    ----------
    field
        Affine of every position.
    reference
        The reference of the scan.
    """
    none = field.usable & ~reference.classes[np.maximum(field.label, 0)]
    if not none.any():
        return none, ""
    names = [f"class {k} ({int((none & (field.label == k)).sum())} positions)" for k in np.unique(field.label[none])]
    what = "its strain is" if len(names) == 1 else "their strain is"
    if reference.phases:
        return none, (
            f"no reference for {' and '.join(names)}, surely none or not surely one of the known lattices: {what} left "
            "blank. Give its lattice with one more --known, or a region with --reference"
        )
    return none, (
        f"no reference for {' and '.join(names)}: {what} left blank. Give a region that holds every class, "
        "--reference auto for one of each, or --reference 'class 0' where the lattices correspond"
    )


def _by_class(field: AffineField, reference: Reference) -> str:
    counts = [(k, int((reference.mask & (field.label == k)).sum())) for k in np.flatnonzero(reference.classes)]
    return "; ".join(f"class {k}: {count} positions" for k, count in counts)


def _largest_areas(field: AffineField) -> BoolArray:
    regions = coherent_regions(field)
    mask = np.zeros(field.label.shape, bool)
    for k in range(len(field.operators)):
        own = regions[(field.label == k) & (regions >= 0)]
        if own.size:
            mask |= regions == np.bincount(own).argmax()
    return mask


def _ideal(field: AffineField, bases: FloatArray) -> Reference:
    reference = ideal_reference(field, bases)
    if not reference.classes.any():
        folds = sorted({len(operators) for operators in field.operators})
        raise InputError(
            f"--reference ideal needs a lattice with a 3-, 4- or 6-fold axis, whose symmetry fixes its shape; here it "
            f"is {' or '.join(map(str, folds))}-fold (less than {LEAST_FOLD}): give a region, or 'auto'"
        )
    text = f"the lattice in its most symmetric shape, mean spacing of the scan (ideal): {_by_class(field, reference)}"
    return replace(reference, text=text)


def _of_class(field: AffineField, entry: int, bases: FloatArray) -> Reference:
    reference = measure_reference(field, _largest_areas(field) & (field.label == entry))
    if not reference.mask.any():
        raise InputError(f'--reference "class {entry}": no position of that class is valid; choose another')
    carried = carried_over(reference, entry, field, bases)
    others = [f"class {k}" for k in np.flatnonzero(carried.classes) if k != entry]
    text = f"the largest coherent area of class {entry}, {int(reference.mask.sum())} positions"
    if others:
        text += f", index by index also of {' and '.join(others)}"
    return replace(carried, text=text)
