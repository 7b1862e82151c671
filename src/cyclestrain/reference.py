"""The region strain is relative to: as the user gave it, or picked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from cyclestrain.data import AffineField, BoolArray
from cyclestrain.errors import InputError
from cyclestrain.strain import Reference, coherent_regions, measure_reference

__all__ = ["parse_reference", "pick_reference"]


def parse_reference(text: str, shape: tuple[int, int]) -> BoolArray | None:
    """Mask of the reference region, or None for ``auto``.

    Raises
    ------
    InputError
        If the text is no region inside the scan, or the mask file does not fit.
    """
    if text == "auto":
        return None
    if text.endswith(".npy"):
        path = Path(text)
        if not path.is_file():
            raise InputError(f"the reference mask {text} does not exist")
        try:
            mask = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(f"the reference mask {text} is not a NumPy array: {error}") from error
        if mask.shape != shape:
            raise InputError(f"the reference mask has shape {mask.shape}, the scan has {shape}")
        if not mask.astype(bool).any():
            raise InputError("the reference mask selects no position")
        return np.asarray(mask, bool)
    match = re.fullmatch(r"\s*(\d*):(\d*)\s*,\s*(\d*):(\d*)\s*", text)
    if match is None:
        raise InputError(f"--reference is 'auto', a region ry0:ry1,rx0:rx1 or a mask.npy, not {text!r}")
    y0, y1, x0, x1 = (int(v) if v else None for v in match.groups())
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    if not mask.any() or (y1 or 0) > shape[0] or (x1 or 0) > shape[1]:
        raise InputError(
            f"the reference region {text} does not lie inside the scan of {shape[0]} x {shape[1]} positions"
        )
    return mask


def pick_reference(field: AffineField, region: BoolArray | None) -> tuple[Reference, str]:
    """Measure the reference on a region, or on the largest coherent area of each entry; with words that say which.

    Raises
    ------
    InputError
        If no position of the region is valid.
    """
    if region is None:
        regions = coherent_regions(field)
        mask = np.zeros(field.label.shape, bool)
        for k in range(len(field.operators)):
            own = regions[(field.label == k) & (regions >= 0)]
            if own.size:
                mask |= regions == np.bincount(own).argmax()
        text = f"the largest coherent area, {int(mask.sum())} positions (auto)"
    else:
        mask, text = region, f"the region given, {int(region.sum())} positions"
    reference = measure_reference(field, mask)
    if not reference.mask.any():
        raise InputError(f"the reference region ({text}) holds no valid position: choose another with --reference")
    return reference, text
