"""What the user asks strain to be relative to, and the reference that follows from it, in words."""

from __future__ import annotations

import re
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cyclestrain.data import AffineField, BoolArray, FloatArray
from cyclestrain.errors import InputError
from cyclestrain.io import is_region, parse_region
from cyclestrain.strain.coherence import coherent_regions
from cyclestrain.strain.lattices import LEAST_FOLD, carried_over, ideal_reference
from cyclestrain.strain.reference import Reference, measure_reference

__all__ = ["Wanted", "mask_text", "parse_reference", "pick_reference", "without_reference"]


@dataclass(frozen=True)
class Wanted:
    """What strain is to be relative to.

    Attributes
    ----------
    kind
        ``auto``: the largest coherent area of each class. ``region``: the one given. ``ideal``: each lattice in its
        most symmetric shape. ``class``: the largest coherent area of one class, for all whose lattice corresponds.
    region
        Mask of the region given, shape ``(ry, rx)``.
    entry
        The class.
    """

    kind: Literal["auto", "region", "ideal", "class"] = "auto"
    region: BoolArray | None = None
    entry: int = 0


def parse_reference(text: str, shape: tuple[int, int]) -> Wanted:
    """What is asked for by the words of ``--reference``.

    Parameters
    ----------
    text
        ``auto``, ``ideal``, ``class 0``, a region, or the name of a file with a mask.
    shape
        Shape of the scan.

    Raises
    ------
    InputError
        If the text is none of these, no region inside the scan, or the mask file does not fit.
    """
    if text == "auto":
        return Wanted()
    if text == "ideal":
        return Wanted("ideal")
    if found := re.fullmatch(r"class[ :]?(\d+)", text.strip()):
        return Wanted("class", entry=int(found[1]))
    if found := re.fullmatch(r"mask (\d+)x(\d+) (\S+)", text):
        return Wanted("region", _unpacked(found[1], found[2], found[3], shape))
    if text.endswith(".npy"):
        return Wanted("region", _mask(text, shape))
    if not is_region(text):
        raise InputError(
            "--reference is 'auto', 'ideal', 'class 0' (or another number), a region ry0:ry1,rx0:rx1 or a mask.npy, "
            f"not {text!r}"
        )
    mask = np.zeros(shape, bool)
    mask[parse_region(text, shape, "--reference")] = True
    return Wanted("region", mask)


def mask_text(mask: Any) -> str:
    """A region as words of ``--reference``: as ``ry0:ry1,rx0:rx1`` where it is a rectangle, else the mask itself.

    Parameters
    ----------
    mask
        Positions that belong to it, shape ``(ry, rx)``: booleans, or numbers of which zero stands for no.

    Raises
    ------
    InputError
        If it has not two dimensions, or selects nothing.

    Examples
    --------
    >>> mask = np.zeros((4, 6), bool)
    >>> mask[1:3, 2:6] = True
    >>> mask_text(mask)
    '1:3,2:6'
    """
    chosen = np.asarray(mask).astype(bool)
    if chosen.ndim != 2 or not chosen.any():
        raise InputError(
            f"the reference is a mask of shape (ry, rx) that selects a position; this one has shape {chosen.shape} and "
            f"selects {int(chosen.sum())}"
        )
    rows, columns = (np.flatnonzero(chosen.any(axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if chosen[box].all():
        return f"{rows[0]}:{rows[-1] + 1},{columns[0]}:{columns[-1] + 1}"
    packed = b64encode(zlib.compress(np.packbits(chosen).tobytes(), 9)).decode()
    return f"mask {chosen.shape[0]}x{chosen.shape[1]} {packed}"


def _unpacked(n_rows: str, n_columns: str, packed: str, shape: tuple[int, int]) -> BoolArray:
    """The mask that `mask_text` wrote, for a scan of that shape."""
    if (n_rows, n_columns) != tuple(map(str, shape)):
        raise InputError(f"the reference mask is of {n_rows} x {n_columns} positions, the scan has {shape}")
    try:
        size = -(-shape[0] * shape[1] // 8)
        bits = zlib.decompressobj().decompress(b64decode(packed), size)
        mask = np.unpackbits(np.frombuffer(bits, np.uint8), count=shape[0] * shape[1]).reshape(shape)
    except (ValueError, zlib.error) as error:
        raise InputError(f"the mask in --reference is damaged ({error}); give it again") from error
    return mask.astype(bool)


def _mask(text: str, shape: tuple[int, int]) -> BoolArray:
    path = Path(text)
    if not path.is_file():
        raise InputError(f"the reference mask {text} does not exist")
    try:
        mask = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"the reference mask {text} is not a NumPy array: {error}") from error
    return _fitting(mask, shape)


def _fitting(mask: Any, shape: tuple[int, int]) -> BoolArray:
    if mask.shape != shape:
        raise InputError(f"the reference mask has shape {mask.shape}, the scan has {shape}")
    if not mask.astype(bool).any():
        raise InputError("the reference mask selects no position")
    return np.asarray(mask, bool)


def pick_reference(field: AffineField, wanted: Wanted, bases: FloatArray | None = None) -> Reference:
    """Measure the reference that is asked for, with words that say which it is, class by class.

    Parameters
    ----------
    field
        Affine of every position, without the distortion of the detector.
    wanted
        What is asked for.
    bases
        Reciprocal-lattice vectors of every entry as columns, shape ``(entry, 2, 2)``; for ``ideal`` and ``class`` only.

    Raises
    ------
    InputError
        If no position of the region is valid, no lattice has an ideal shape, or there is no such class.
    """
    if wanted.kind == "ideal":
        return _ideal(field, np.asarray(bases))
    if wanted.kind == "class":
        return _of_class(field, wanted.entry, np.asarray(bases))
    if wanted.region is None:
        mask, words = _largest_areas(field), "the largest coherent area"
    else:
        mask, words = wanted.region, "the region given"
    reference = measure_reference(field, mask)
    if not reference.mask.any():
        raise InputError(f"the reference region ({words}) holds no valid position: choose another with --reference")
    if len(field.operators) == 1:
        text = f"{words}, {int(mask.sum())} positions"
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
    n = len(field.operators)
    if entry >= n:
        raise InputError(f'--reference "class {entry}": there are {n} classes here, counted from 0; choose one of them')
    reference = measure_reference(field, _largest_areas(field) & (field.label == entry))
    if not reference.mask.any():
        raise InputError(f'--reference "class {entry}": no position of that class is valid; choose another')
    carried = carried_over(reference, entry, field, bases)
    others = [f"class {k}" for k in np.flatnonzero(carried.classes) if k != entry]
    text = f"the largest coherent area of class {entry}, {int(reference.mask.sum())} positions"
    if others:
        text += f", index by index also of {' and '.join(others)}"
    return replace(carried, text=text)
