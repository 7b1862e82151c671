"""What may be given in Python as an array, in the words that the command line takes and that settings store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from cyclestrain.api.arguments import PathLike
from cyclestrain.errors import InputError
from cyclestrain.settings import ReadSettings

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from pydantic import BaseModel

    from cyclestrain.data import PatternSource, Scan

__all__ = ["Known", "Mask", "Reference", "known_words", "reference_words", "settings_words"]

Reference: TypeAlias = "str | os.PathLike[str] | tuple[slice, slice] | NDArray[Any] | xr.DataArray"
Mask: TypeAlias = "str | os.PathLike[str] | tuple[slice, slice] | NDArray[Any] | xr.DataArray"
Known: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | Sequence[str | os.PathLike[str] | Mapping[str, Any]]"


def reference_words(reference: Reference) -> str:
    """A reference as the words of ``--reference``.

    Parameters
    ----------
    reference
        These words, or the region: a mask of shape ``(ry, rx)``, or a pair of slices.

    Raises
    ------
    InputError
        If it is none of these.
    """
    return _words(reference, "the reference")


def settings_words(group: type[BaseModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments of a function that are fields of a group of settings, in the words that these store.

    Parameters
    ----------
    group
        Which settings.
    arguments
        All arguments by name; names of files may be paths, and masks, references, lattices and probes arrays.

    Raises
    ------
    InputError
        If one is nothing that can be put into words.
    """
    words: dict[str, Callable[[Any], Any]] = {
        "reference": reference_words,
        "known": known_words,
        "mask": lambda mask: None if mask is None else _words(mask, "--mask"),
        "sample": lambda mask: None if mask is None else _words(mask, "--sample"),
        "probe": _probe_words,
    }
    names = [name for name in group.model_fields if name in arguments]
    return {name: words.get(name, _path_words)(arguments[name]) for name in names}


def _path_words(value: Any) -> Any:
    """The name of a file as text; anything else as it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _words(mask: Mask, what: str) -> str:
    if isinstance(mask, str | os.PathLike):
        return os.fspath(mask)
    if isinstance(mask, tuple) and all(isinstance(part, slice) for part in mask):
        if any(part.step not in (None, 1) for part in mask):
            raise InputError(f"the slices of {what} have no step; give a mask for scattered places")
        return ",".join(f"{part.start or 0}:{'' if part.stop is None else part.stop}" for part in mask)
    from cyclestrain.io import mask_text

    return mask_text(mask, what, shaped=True)


def known_words(known: Known | None) -> tuple[str, ...]:
    """Known lattices as the words of ``--known``.

    Parameters
    ----------
    known
        One lattice or several: these words, a CIF file with its zone, or a mapping with ``a``, ``structure``, ``zone``
        and perhaps ``c`` and ``name``, or ``file`` and ``zone``; None for none.

    Examples
    --------
    >>> known_words({"a": 5.431, "structure": "diamond", "zone": "110"})
    ('a=5.431,structure=diamond,zone=110',)
    """
    if known is None:
        return ()
    each = [known] if isinstance(known, str | os.PathLike | Mapping) else list(known)
    return tuple(_lattice_words(one) for one in each)


def _lattice_words(one: str | os.PathLike[str] | Mapping[str, Any]) -> str:
    if not isinstance(one, Mapping):
        return os.fspath(one)
    return ",".join(str(value) if name == "file" else f"{name}={value}" for name, value in one.items())


def _probe_words(probe: PathLike | PatternSource | Scan | None) -> str | None:
    """A probe as the words of ``--probe``: the name of its file, or the mean of an image, a stack or a scan."""
    if probe is None or isinstance(probe, str | os.PathLike):
        return None if probe is None else os.fspath(probe)
    from cyclestrain.calibration import measure_vacuum
    from cyclestrain.io import image_text, read_images

    vacuum = measure_vacuum(read_images(probe, ReadSettings()))
    return image_text(vacuum.patterns.mean(0))
