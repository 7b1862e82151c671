"""What an HDF5 file refers to outside itself: links, raw data in other files, virtual data sets.

The HDF5 library opens whatever is under the name: a pipe keeps it waiting for ever, a virtual data set that is made of
itself crashes it, and a source that is missing reads as zeros. All of this is looked for before anything is followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from cyclestrain.errors import InputError
from cyclestrain.io.soundness import ensure_sound

__all__ = ["check_links", "check_sources"]

MOST_OBJECTS = 50_000
"""Largest number of objects, in all files that belong together, that are looked at."""
MOST_SOURCES = 10_000
"""Largest number of sources of one virtual data set that are looked at."""
UNLIMITED = 2**64 - 1
"""Size of raw data in another file that ends with it."""

Node: TypeAlias = tuple[str, int]
"""A data set: the file and its address in there."""


def check_links(path: Path) -> None:
    """Make sure that everything an HDF5 file refers to is a regular file, and no virtual data set is made of itself.

    Parameters
    ----------
    path
        The file; damage that neither hangs nor crashes the HDF5 library is left to its reader.

    Raises
    ------
    InputError
        If something else is under one of the names, a file is damaged so that reading it would not end, or data sets
        refer to each other in a circle.
    """
    state = path.stat()
    complaint = _complaint(str(path), state.st_size, state.st_mtime_ns)
    if complaint:
        raise InputError(complaint)


@lru_cache(maxsize=256)
def _complaint(path: str, size: int, changed: int) -> str:
    """What is wrong with the links of the file of this size and time of change; empty where nothing is."""
    try:
        for each in _files_of(path):
            _check_circles(each)
    except InputError as error:
        return str(error)
    return ""


def _files_of(path: str) -> list[str]:
    """A file and all it refers to, directly or through others, each looked at before it is opened."""
    todo, seen, found, left = [path], {os.path.realpath(path)}, list[str](), MOST_OBJECTS
    while todo and left > 0:
        ensure_sound(todo)
        found += todo
        looked_at, todo = todo, []
        for here in looked_at:
            for other in _references(here, left):
                left -= 1
                if other and os.path.realpath(other) not in seen:
                    _check_regular(here, other)
                    seen.add(os.path.realpath(other))
                    todo.append(other)
    return found


def _check_regular(path: str, other: str) -> None:
    try:
        mode = os.stat(other).st_mode
    except OSError:  # missing: the reader says what it lacks
        return
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} refers to {other}, which is no regular file; put the file there that belongs to it")


def _references(path: str, most: int) -> Iterator[str]:
    """Places where what a file refers to may lie; an empty text for every object in it."""
    import h5py

    for dataset_or_link in _objects(path, most):
        yield ""
        if isinstance(dataset_or_link, h5py.ExternalLink):
            yield from _places(path, dataset_or_link.filename)
            continue
        for name, _, _ in dataset_or_link.external or ():
            yield from _places(path, name)
        if dataset_or_link.is_virtual:
            for source in _sources(dataset_or_link):
                yield from _places(path, source.file_name)


def _check_circles(path: str) -> None:
    """Make sure that no virtual data set of a file is made of itself."""
    import h5py

    for each in _objects(path, MOST_OBJECTS):
        if isinstance(each, h5py.Dataset) and each.is_virtual:
            _check_circle(each, ())


def _objects(path: str, most: int) -> Iterator[Any]:
    """External links and data sets of a file, found without following any link out of it; none where it is no HDF5."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError, KeyError, ValueError):
        return
    with file:
        yield from _objects_below(file["/"], most)


def _objects_below(root: Any, most: int) -> Iterator[Any]:
    import h5py

    todo: list[Any] = [root]
    seen: set[int] = set()
    while todo and len(seen) < most:
        group = todo.pop()
        for key in group:
            try:
                link = group.get(key, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    yield link
                item = group[key] if isinstance(link, h5py.HardLink) else None
                address = h5py.h5o.get_info(item.id).addr if item is not None else None
            except (KeyError, OSError, RuntimeError, ValueError, TypeError):
                continue
            if address is None or address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                todo.append(item)
            elif isinstance(item, h5py.Dataset):
                yield item


def _places(path: str, name: str) -> list[str]:
    """Where the HDF5 library looks for a file that another one names."""
    if name in ("", "."):
        return []
    home = os.path.dirname(path)
    return [place for place in {os.path.join(home, name), name, os.path.join(home, os.path.basename(name))} if place]


def _sources(dataset: Any) -> list[Any]:
    """Sources of a virtual data set; those that are numbered, as far as there are any."""
    named = []
    for source in dataset.virtual_sources()[:MOST_SOURCES]:
        if "%b" not in source.file_name + source.dset_name:
            named.append(source)
            continue
        for number in count():
            one = source._replace(
                file_name=source.file_name.replace("%b", str(number)),
                dset_name=source.dset_name.replace("%b", str(number)),
            )
            if number and (_found(dataset, one) is None or number > MOST_SOURCES):
                break
            named.append(one)
    return named


def _found(dataset: Any, source: Any) -> str | None:
    """Place of the file of a source, None where there is none."""
    if source.file_name == ".":
        return str(dataset.file.filename) if source.dset_name in dataset.file else None
    return next((place for place in _places(dataset.file.filename, source.file_name) if os.path.isfile(place)), None)


def _check_circle(dataset: Any, above: tuple[Node, ...]) -> None:
    """Follow a virtual data set to what it is made of."""
    import h5py

    node = (os.path.realpath(dataset.file.filename), h5py.h5o.get_info(dataset.id).addr)
    if node in above or len(above) > 100:
        raise InputError(
            f"{dataset.file.filename}: {dataset.name} is a virtual data set made of itself; write it again"
        )
    for source in {(each.file_name, each.dset_name): each for each in _sources(dataset)}.values():
        place = _found(dataset, source)
        if place is None:
            continue
        _check_regular(dataset.file.filename, place)
        try:
            with h5py.File(place, "r") as file:
                item = file.get(source.dset_name)
                if isinstance(item, h5py.Dataset) and item.is_virtual:
                    _check_circle(item, (*above, node))
        except (OSError, RuntimeError, KeyError, ValueError):
            continue


def check_sources(dataset: Any) -> None:
    """Make sure that everything a data set is made of is there, since what is missing would read as zeros.

    Parameters
    ----------
    dataset
        A data set of h5py.

    Raises
    ------
    InputError
        If a source of a virtual data set, or a file with its raw data, is missing or too short.
    """
    import h5py

    file = dataset.file.filename
    for name, offset, size in dataset.external or ():
        place = next((place for place in _places(file, name) if os.path.isfile(place)), None)
        if place is None or (size != UNLIMITED and os.path.getsize(place) < offset + size):
            raise InputError(f"{file} keeps its patterns in {name}, which is missing or too short; put it beside it")
    if not dataset.is_virtual:
        return
    for source in {(each.file_name, each.dset_name): each for each in _sources(dataset)}.values():
        place = _found(dataset, source)
        what = source.dset_name if source.file_name == "." else source.file_name
        if place is None:
            raise InputError(f"{file} keeps its patterns in {what}, which is missing; put it beside it")
        with h5py.File(place, "r") as other:
            inside = other.get(source.dset_name)
            if not isinstance(inside, h5py.Dataset):
                raise InputError(f"{file} keeps its patterns in {source.dset_name} of {place}, which is missing")
            check_sources(inside)
