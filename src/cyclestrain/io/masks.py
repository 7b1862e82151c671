"""Masks of scan positions and of detector pixels: files, arrays, and the words by which a result remembers them."""

from __future__ import annotations

import re
import zlib
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import numpy as np

from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.errors import InputError, first_line
from cyclestrain.io.numpy_files import load_npy
from cyclestrain.io.regions import is_region, parse_region

__all__ = ["image_of_text", "image_text", "is_mask", "mask_text", "parse_mask", "sample_mask"]

_IMAGE = re.compile(r"image (\d+)x(\d+) (\S+)")
_PACKED = re.compile(r"mask (\d+)x(\d+) (\S+)")


def is_mask(text: str) -> bool:
    """Whether a text has the form of a mask: a region, the name of a ``.npy`` file, or what `mask_text` wrote."""
    return text.endswith(".npy") or is_region(text) or _PACKED.fullmatch(text) is not None


def parse_mask(text: str, shape: tuple[int, int], option: str) -> BoolArray:
    """The mask that a text stands for.

    Parameters
    ----------
    text
        A region ``y0:y1,x0:x1``, the name of a ``.npy`` file with an array of that shape, or what `mask_text` wrote.
    shape
        Rows and columns of what is masked.
    option
        Name of the option, for messages.

    Returns
    -------
    mask
        True where it selects, shape as given.

    Raises
    ------
    InputError
        If the text is none of these, or the mask does not fit or selects nothing.
    """
    if found := _PACKED.fullmatch(text):
        return _unpacked(found[1], found[2], found[3], shape, option)
    if text.endswith(".npy"):
        return _fitting(_loaded(text, shape, option), shape, option)
    if not is_region(text):
        raise InputError(f"{option} is a region y0:y1,x0:x1 or a mask in a .npy file, not {text!r}")
    mask = np.zeros(shape, bool)
    mask[parse_region(text, shape, option)] = True
    return mask


def sample_mask(text: str | None, shape: tuple[int, int]) -> BoolArray:
    """Positions that ``--sample`` selects, all of them where there is none, shape ``(ry, rx)``; see `parse_mask`."""
    return np.ones(shape, bool) if text is None else parse_mask(text, shape, "--sample")


def mask_text(mask: Any, what: str = "the reference", *, shaped: bool = False) -> str:
    """A mask in words: as ``y0:y1,x0:x1`` where it is a rectangle, else the mask itself.

    Parameters
    ----------
    mask
        Two dimensions: booleans, or numbers of which zero stands for no.
    what
        What it selects, for messages.
    shaped
        Whether the words keep its shape even where it is a rectangle, so that `parse_mask` refuses a mask of something
        else.

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
            f"{what} is a mask of two dimensions that selects something; this one has shape {chosen.shape} and selects "
            f"{int(chosen.sum())}"
        )
    rows, columns = (np.flatnonzero(chosen.any(axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if chosen[box].all() and not shaped:
        return f"{rows[0]}:{rows[-1] + 1},{columns[0]}:{columns[-1] + 1}"
    packed = b64encode(zlib.compress(np.packbits(chosen).tobytes(), 9)).decode()
    return f"mask {chosen.shape[0]}x{chosen.shape[1]} {packed}"


def _unpacked(n_rows: str, n_columns: str, packed: str, shape: tuple[int, int], option: str) -> BoolArray:
    """The mask that `mask_text` wrote."""
    if (n_rows, n_columns) != tuple(map(str, shape)):
        raise InputError(f"the mask in {option} has {n_rows} x {n_columns} places, {shape[0]} x {shape[1]} are needed")
    try:
        size = -(-shape[0] * shape[1] // 8)
        bits = zlib.decompressobj().decompress(b64decode(packed), size)
        mask = np.unpackbits(np.frombuffer(bits, np.uint8), count=shape[0] * shape[1]).reshape(shape)
    except (ValueError, zlib.error) as error:
        raise InputError(f"the mask in {option} is damaged ({error}); give it again") from error
    return mask.astype(bool)


def image_text(image: FloatArray) -> str:
    """An image in words, in single precision, from which `image_of_text` makes it again.

    Parameters
    ----------
    image
        Shape ``(qy, qx)``.

    Examples
    --------
    >>> float(image_of_text(image_text(np.eye(3)), "--probe").sum())
    3.0
    """
    packed = b64encode(zlib.compress(np.ascontiguousarray(image, "<f4").tobytes(), 9)).decode()
    return f"image {image.shape[0]}x{image.shape[1]} {packed}"


def image_of_text(text: str, option: str) -> FloatArray | None:
    """The image that `image_text` put into words, None where the text is something else.

    Parameters
    ----------
    text
        The words.
    option
        Name of the option, for messages.

    Raises
    ------
    InputError
        If the image is damaged.
    """
    if (found := _IMAGE.fullmatch(text)) is None:
        return None
    shape = int(found[1]), int(found[2])
    try:
        values = zlib.decompressobj().decompress(b64decode(found[3]), 4 * shape[0] * shape[1])
        return np.frombuffer(values, "<f4").reshape(shape).astype(float)
    except (ValueError, zlib.error) as error:
        raise InputError(f"the image in {option} is damaged ({error}); give it again") from error


def _loaded(text: str, shape: tuple[int, int], option: str) -> Any:
    path = Path(text)
    if not path.is_file():
        raise InputError(f"{option}: the mask {text} {'is no file' if path.exists() else 'does not exist'}")
    try:
        stored = load_npy(path).source
        if tuple(stored.shape) != shape:
            raise InputError(f"{option}: the mask has shape {tuple(stored.shape)}, {shape} is needed")
        return np.asarray(stored[:])
    except OSError as error:
        raise InputError(f"{option}: the mask {text} cannot be read ({first_line(error)})") from error


def _fitting(mask: Any, shape: tuple[int, int], option: str) -> BoolArray:
    if mask.shape != shape:
        raise InputError(f"{option}: the mask has shape {mask.shape}, {shape} is needed")
    if mask.dtype.kind not in "biuf" or not np.isfinite(mask).all():
        raise InputError(f"{option}: the mask holds {mask.dtype} values that are neither yes nor no; save booleans")
    if not mask.astype(bool).any():
        raise InputError(f"{option}: the mask selects nothing")
    return np.asarray(mask, bool)
