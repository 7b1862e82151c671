"""What a person gives to the commands, checked, and what a result remembers of it."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from cyclestrain.errors import InputError, OutputError
from cyclestrain.settings import LearnSettings, MapSettings, ReadSettings, validated
from cyclestrain.version import __version__

if TYPE_CHECKING:
    import xarray as xr
    from pydantic import BaseModel

    from cyclestrain.calibration import Vacuum
    from cyclestrain.data import PatternSource, Scan
    from cyclestrain.learning import Material, ModelFile
    from cyclestrain.network import Autoencoder, Model
    from cyclestrain.progress import Progress
    from cyclestrain.storage import Rehash, RunFolder

__all__ = [
    "MODEL_SUFFIX",
    "KnownModel",
    "PathLike",
    "Run",
    "check_device",
    "check_network",
    "files_named",
    "known_model",
    "known_probe",
    "maps_of",
    "open_large",
    "overridden",
    "run_state",
    "scan_of",
    "stored_reading",
    "stored_run",
]

PathLike: TypeAlias = str | os.PathLike[str]
AnySettings = TypeVar("AnySettings", bound="BaseModel")

MODEL_SUFFIX = ".safetensors"
GIGABYTE = 10**9
LEAST_MEMORY = GIGABYTE
WRITTEN_BYTES = 2048
"""Bytes that a run writes for each position at most: its result, and its state until that is there."""


def open_large(
    scan: PathLike | PatternSource | Scan,
    reading: ReadSettings,
    *,
    memory: float | None,
    output: PathLike | None,
    force: bool,
) -> Scan:
    """Open a scan for long work, and refuse now what could not be written at the end.

    Parameters
    ----------
    scan, reading
        File or array, and how it is read.
    memory
        Memory in GB that the work may take, None for a quarter of the machine or container.
    output, force
        File that will be written, and whether an existing one is replaced.

    Raises
    ------
    InputError
        If the scan cannot be read, or the memory is less than 1 GB.
    OutputError
        If the output is the scan itself or cannot be written.
    """
    from cyclestrain.files import check_writable
    from cyclestrain.io import read, watched

    opened = replace(read(scan, reading), memory_bytes=_memory_bytes(memory))
    if output is not None:
        _keep_input(opened.path, Path(output))
        check_writable(output, force, needs=WRITTEN_BYTES * opened.n_positions)
    return watched(opened)


@contextmanager
def run_state(
    scan: Scan,
    settings: LearnSettings,
    output: PathLike | None,
    model: KnownModel | None,
    progress: Progress,
    *,
    vacuum: Vacuum | None = None,
    resume: bool = False,
    hashes: Rehash | None = None,
) -> Iterator[RunFolder | None]:
    """State of a run on disk, with which the same command goes on; None where nothing is written.

    Parameters
    ----------
    scan, settings, model, vacuum
        Name the run: with any other of these it starts anew.
    output
        File that the run writes; its state lies beside it.
    progress
        Receiver of notes on a state that cannot be used.
    resume
        Insist on there being a state to go on with.
    hashes
        Reads patterns behind a state again elsewhere, see `cyclestrain.storage.run_folder`.

    Raises
    ------
    InputError
        With `resume`, if there is nothing to go on with.
    OutputError
        If the state cannot be kept, or another process writes the same output.
    """
    from cyclestrain.io import file_state, fingerprint
    from cyclestrain.storage import run_folder, run_key

    if "missing" in scan.metadata:
        progress.note(f"incomplete: {scan.metadata['missing']}")
    if output is None:
        yield None
        return
    key = run_key(
        input=fingerprint(scan),
        file=file_state(scan.path),
        settings=settings.model_dump_json(),
        model=model.fingerprint if model else "",
        files=files_named(settings),
        probe=vacuum.fingerprint if vacuum else "",
        version=__version__,
    )
    with run_folder(Path(output), key, scan, resume=resume, note=progress.note, hashes=hashes) as folder:
        yield folder


def files_named(settings: LearnSettings) -> str:
    """Hash of the content of every file that settings name, masks and structures, empty where they name none.

    Parameters
    ----------
    settings
        Of a run.
    """
    named = settings.model_dump(include={"mask", "sample", "probe", "reference", "known"})
    texts = [text for value in named.values() for text in ((value,) if isinstance(value, str) else value or ())]
    digest, found = hashlib.sha256(), False
    for part in dict.fromkeys(part for text in texts for part in (text, *text.split(","))):
        with suppress(OSError, ValueError):  # what is no file is said where it is used
            if Path(part).is_file():
                digest.update(hashlib.sha256(Path(part).read_bytes()).digest())
                found = True
    return digest.hexdigest() if found else ""


@dataclass(frozen=True)
class KnownModel:
    """A model whose file was read; its network is made, which needs torch, when it is asked for."""

    file: ModelFile

    @property
    def material(self) -> Material:
        """Dictionary and templates."""
        return self.file.material

    @property
    def fingerprint(self) -> str:
        """Of the content of the file."""
        return self.file.fingerprint

    @cached_property
    def model(self) -> Model:
        """The whole model."""
        from cyclestrain.network import model_of

        return model_of(self.file)

    def network_for(self, settings: MapSettings) -> Autoencoder | None:
        """The network, where a map is asked for that is made with it.

        Parameters
        ----------
        settings
            Of the map.
        """
        return self.model.network if settings.until == "network" else None

    @property
    def about(self) -> dict[str, str]:
        """What a result says of the model that it was made with, as attributes of its maps."""
        return {"model": os.fspath(self.file.path), "model_fingerprint": self.fingerprint}


def known_model(path: str | None, settings: LearnSettings, beside: PathLike | None = None) -> KnownModel | None:
    """Read the model that a run starts from, None where there is no path.

    Parameters
    ----------
    path
        A model's file.
    settings
        Of the run.
    beside
        File next to which a relative path is looked for as well.

    Raises
    ------
    InputError
        If the file is no model, or a setting is given that was decided when the model was fitted.
    """
    if path is None:
        return None
    if settings.ring is not None or settings.classes is not None:
        raise InputError("ring and classes were decided when the model was fitted; leave out --ring and --classes")
    from cyclestrain.learning import ModelFile

    places = (Path(path), *((Path(beside).parent / path,) if beside else ()))
    found = next((place for place in places if place.is_file()), places[0])
    return KnownModel(ModelFile.read(found))


def check_network() -> None:
    """Refuse what needs the network where torch is not installed, before any work.

    Raises
    ------
    InputError
        If it is not, with the line that installs it.
    """
    import cyclestrain.network  # noqa: F401  says so itself


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises
    ------
    InputError
        If the device is ``cuda`` and torch finds none.
    """
    if device == "cuda":
        check_network()
        import torch

        if not torch.cuda.is_available():
            raise InputError("torch finds no CUDA device here; leave --device at auto or set it to cpu")


@dataclass(frozen=True)
class Run:
    """What a result remembers of the run that made it.

    Attributes
    ----------
    settings, reading
        How the scan was mapped and how its file was read.
    scan
        The file, None where it is not found any more.
    fingerprint, contents, model_fingerprint
        Of some of the patterns that were mapped, of all of them, and of the model that was applied.
    """

    settings: MapSettings
    reading: ReadSettings
    scan: Path | None
    fingerprint: str
    contents: str
    model_fingerprint: str


def stored_run(result: PathLike, maps: xr.Dataset) -> Run:
    """The run that made a result.

    Parameters
    ----------
    result
        Its file.
    maps
        The maps that were read from it.

    Raises
    ------
    InputError
        If it holds no settings of a run, or damaged ones.
    """
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
        str(maps.attrs.get("input_contents", "")),
        str(maps.attrs.get("model_fingerprint", "")),
    )


def stored_reading(maps: xr.Dataset) -> ReadSettings:
    """How the file of the scan was read that a result was made from; the defaults where it does not say.

    Raises
    ------
    InputError
        If what it says is damaged.
    """
    try:
        return validated(ReadSettings, json.loads(maps.attrs.get("reading", "{}")))
    except (json.JSONDecodeError, TypeError) as error:
        raise InputError(f"the result says in a damaged way how its scan was read ({error}); map it again") from error


def known_probe(
    settings: LearnSettings, reading: ReadSettings, scan: Scan, beside: PathLike | None = None
) -> Vacuum | None:
    """Read the probe of a run, None where none is given.

    Parameters
    ----------
    settings, reading
        Of the run.
    scan
        What is mapped with it, read in this way.
    beside
        File next to which a relative path is looked for as well.

    Raises
    ------
    InputError
        If it cannot be read, was recorded on another detector or shows no beam in vacuum; or a model is given, which
        has a probe of its own.
    """
    if settings.probe is None:
        return None
    if getattr(settings, "model", None) or getattr(settings, "init_from", None):
        raise InputError("the probe was decided when the model was fitted; leave out --probe")
    from cyclestrain.calibration import measure_vacuum
    from cyclestrain.io import image_of_text, read_images

    image = image_of_text(settings.probe, "--probe")
    if image is not None:
        found = read_images(image, reading, scan.detector_shape)
    else:
        places = (Path(settings.probe), *((Path(beside).parent / settings.probe,) if beside else ()))
        found = read_images(
            next((place for place in places if place.exists()), places[0]), reading, scan.detector_shape
        )
    return measure_vacuum(found)


def scan_of(maps: xr.Dataset, scan: PathLike | PatternSource | Scan) -> Scan:
    """The scan of a result: a file is read as it was for the map.

    Parameters
    ----------
    maps
        A result.
    scan
        File, array or opened scan.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    from cyclestrain.io import read

    return read(scan, stored_reading(maps)) if isinstance(scan, str | os.PathLike) else read(scan)


def maps_of(result: PathLike | xr.Dataset) -> xr.Dataset:
    """The maps of a result: of its file, or as they were given.

    Parameters
    ----------
    result
        File or data set.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    import xarray as xr

    from cyclestrain.result import load_result

    return result if isinstance(result, xr.Dataset) else load_result(result)


def overridden(model: type[AnySettings], stored: AnySettings, given: dict[str, Any]) -> AnySettings:
    """Settings of an earlier run with every argument of this one that is not at its default.

    Parameters
    ----------
    model
        Which settings.
    stored
        Those of the earlier run.
    given
        Arguments of this one, by name.
    """
    own = {name: value for name, value in given.items() if value != model.model_fields[name].default}
    return validated(model, stored.model_dump() | own)


def _keep_input(scan: str, output: Path) -> None:
    """Refuse to write a result over the measurement it is made from."""
    if scan and output.exists() and output.samefile(scan):
        raise OutputError(f"{output} is the scan itself; give the result another name")


def _memory_bytes(gigabytes: float | None) -> int:
    """Memory a run may take: what was given, else a quarter of the machine or container, at least 1 GB."""
    if gigabytes is not None:
        if not LEAST_MEMORY / GIGABYTE <= gigabytes < math.inf:
            raise InputError(f"--memory is in GB and at least {LEAST_MEMORY / GIGABYTE:g}, not {gigabytes:g}")
        return int(gigabytes * GIGABYTE)
    from cyclestrain.machine import available_memory

    return max(LEAST_MEMORY, available_memory() // 4)
