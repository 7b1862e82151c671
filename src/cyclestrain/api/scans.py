"""Many scans: which files a person means, and a name for the result of each."""

from __future__ import annotations

import glob
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from cyclestrain.api.arguments import PathLike
from cyclestrain.errors import InputError

__all__ = ["find_scans", "is_pattern", "result_names"]


def is_pattern(scan: PathLike) -> bool:
    """Whether a name stands for several files: it has ``*``, ``?`` or ``[`` in it and is not itself a file or folder.

    Examples
    --------
    >>> is_pattern("night/*.mib"), is_pattern("scan.mib")
    (True, False)
    """
    return glob.has_magic(os.fspath(scan)) and not os.path.lexists(scan)


def find_scans(scans: PathLike | Iterable[PathLike]) -> list[Path]:
    """The files that names and patterns stand for, each once, in the order given; those of a pattern sorted by name.

    Parameters
    ----------
    scans
        Files or folders of frames, or patterns such as ``night/*.mib``; ``**`` stands for any folders.

    Raises
    ------
    InputError
        If nothing is given, or no file matches a pattern.
    """
    found: dict[str, Path] = {}
    for scan in [scans] if isinstance(scans, str | os.PathLike) else scans:
        if not isinstance(scan, str | os.PathLike):
            raise InputError(f"many scans are given by the names of their files, not as {type(scan).__name__}")
        names = sorted(glob.glob(os.fspath(scan), recursive=True)) if is_pattern(scan) else [os.fspath(scan)]
        if not names:
            raise InputError(f"no file matches {os.fspath(scan)}; check the pattern and the folder")
        for name in names:
            found.setdefault(os.path.realpath(name), Path(name))
    if not found:
        raise InputError("there is nothing to map; give one scan or several")
    return list(found.values())


def result_names(scans: Sequence[Path]) -> list[str]:
    """A file name for the result of each scan: ``scan_strain.nc``, with the folder in front where names are the same.

    Parameters
    ----------
    scans
        Different files.

    Raises
    ------
    InputError
        If names can not be told apart.

    Examples
    --------
    >>> result_names([Path("a.mib"), Path("day1/b.mib"), Path("day2/b.mib")])
    ['a_strain.nc', 'day1_b_strain.nc', 'day2_b_strain.nc']
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for scan in scans:
        groups[_label(scan).casefold()].append(scan)
    labels = {scan: label for group in groups.values() for scan, label in zip(group, _apart(group), strict=True)}
    names = [f"{labels[scan]}_strain.nc" for scan in scans]
    taken: dict[str, Path] = {}
    for scan, name in zip(scans, names, strict=True):
        other = taken.setdefault(name.casefold(), scan)
        if other is not scan:
            raise InputError(f"the results of {other} and {scan} would both be {name}; map them into different folders")
    return names


def _label(scan: Path, depth: int = 0, whole: bool = False) -> str:
    """Name of a scan without its extension unless `whole`, after those of the nearest `depth` folders above it."""
    place = Path(os.path.abspath(scan))
    folders = place.parts[1:-1]
    name = place.name.replace(".", "_") if whole else place.stem
    return "_".join([*folders[len(folders) - depth :], name])


def _apart(group: Sequence[Path]) -> list[str]:
    """Labels of scans of the same name, with as many folders as tell them apart, else with their extensions too."""
    deepest = max(len(Path(os.path.abspath(scan)).parts) for scan in group)
    for whole in (False, True):
        for depth in range(deepest):
            labels = [_label(scan, min(depth, len(Path(os.path.abspath(scan)).parts) - 2), whole) for scan in group]
            if len({label.casefold() for label in labels}) == len(group):
                return labels
    return [_label(scan, whole=True) for scan in group]
