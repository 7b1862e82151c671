"""What a person gives to the commands, checked, and what a result remembers of it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from cyclestrain.errors import InputError, OutputError
from cyclestrain.settings import MapSettings, ReadSettings

if TYPE_CHECKING:
    import xarray as xr
    from pydantic import BaseModel

    from cyclestrain.data import PatternSource, Scan

__all__ = ["PathLike", "Run", "keep_input", "memory_bytes", "open_scan", "overridden", "stored_run", "validated"]

PathLike: TypeAlias = str | os.PathLike[str]
Model = TypeVar("Model", bound="BaseModel")

GIGABYTE = 10**9
LEAST_MEMORY = GIGABYTE


def validated(model: type[Model], given: dict[str, Any]) -> Model:
    """Make `model` of what was given; what is wrong with it in one sentence."""
    from pydantic import ValidationError

    try:
        return model(**given)
    except ValidationError as error:
        problems = (
            f"{'.'.join(str(part) for part in problem['loc'])}: {_sentence(problem['msg'])}, got {problem['input']!r}"
            for problem in error.errors()
        )
        raise InputError("; ".join(problems)) from None


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def open_scan(scan: PathLike | PatternSource | Scan, reading: ReadSettings) -> Scan:
    """Open a scan as `reading` says."""
    from cyclestrain.io import read

    return read(scan, **reading.model_dump())


@dataclass(frozen=True)
class Run:
    """What a result remembers of the run that made it.

    Attributes
    ----------
    settings, reading
        How the scan was mapped and how its file was read.
    scan
        The file, None where it is not found any more.
    fingerprint
        Of the patterns that were mapped.
    """

    settings: MapSettings
    reading: ReadSettings
    scan: Path | None
    fingerprint: str


def stored_run(result: PathLike, maps: xr.Dataset) -> Run:
    """The run that made `maps`, which were read from the file `result`."""
    stored = maps.attrs.get("settings")
    if not isinstance(stored, str):
        raise InputError(f"{os.fspath(result)} holds no settings of a run; it was not made by `cyclestrain map`")
    try:
        settings, reading = json.loads(stored), json.loads(maps.attrs.get("reading", "{}"))
    except json.JSONDecodeError as error:
        raise InputError(f"the settings in {os.fspath(result)} are damaged ({error}); map the scan again") from error
    if not isinstance(settings, dict) or not isinstance(reading, dict):
        raise InputError(f"the settings in {os.fspath(result)} are damaged; map the scan again")
    path = str(maps.attrs.get("input_path", ""))
    # A relative path is meant from where the run was started, which most often is where the result lies.
    places = (Path(path), Path(result).parent / path) if path else ()
    found = next((place for place in places if place.exists()), None)
    return Run(
        validated(MapSettings, settings),
        validated(ReadSettings, reading),
        found,
        str(maps.attrs.get("input_fingerprint", "")),
    )


def overridden(model: type[Model], stored: Model, given: dict[str, Any]) -> Model:
    """`stored` with every argument of `given` that is not at its default."""
    own = {name: value for name, value in given.items() if value != model.model_fields[name].default}
    return validated(model, stored.model_dump() | own)


def keep_input(scan: str, output: Path) -> None:
    """Refuse to write a result over the measurement it is made from."""
    if scan and output.exists() and output.samefile(scan):
        raise OutputError(f"{output} is the scan itself; give the result another name")


def memory_bytes(gigabytes: float | None) -> int:
    """Memory a run may take: what was given, else a quarter of the machine, at least 1 GB."""
    if gigabytes is not None:
        if not gigabytes >= LEAST_MEMORY / GIGABYTE:
            raise InputError(f"--memory is in GB and at least {LEAST_MEMORY / GIGABYTE:g}, not {gigabytes:g}")
        return int(gigabytes * GIGABYTE)
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no POSIX
        machine = 0
    return max(LEAST_MEMORY, machine // 4)
