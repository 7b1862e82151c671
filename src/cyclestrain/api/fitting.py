"""`fit`: from a scan to a model that maps other scans of the same material."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from cyclestrain.api.arguments import (
    MODEL_SUFFIX,
    KnownModel,
    PathLike,
    check_device,
    check_network,
    known_model,
    known_probe,
    open_large,
    run_state,
)
from cyclestrain.api.words import Mask, settings_words
from cyclestrain.errors import InputError, OutputError
from cyclestrain.progress import Progress, shown
from cyclestrain.settings import FitSettings, ReadOptions, ReadSettings, reading_given, validated
from cyclestrain.version import __version__

if TYPE_CHECKING:
    from cyclestrain.data import PatternSource, Scan
    from cyclestrain.network import Model, Search

__all__ = ["fit"]


def fit(
    scan: PathLike | PatternSource | Scan,
    output: PathLike | None = None,
    *,
    init_from: PathLike | None = None,
    epochs: int | None = None,
    trials: int | None = None,
    study: PathLike | None = None,
    resume: bool = False,
    centre: tuple[float, float] | None = None,
    ring: tuple[float, float] | None = None,
    mask: Mask | None = None,
    probe: PathLike | PatternSource | Scan | None = None,
    sample: Mask | None = None,
    classes: int | None = None,
    memory: float | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    force: bool = False,
    reading: ReadSettings | None = None,
    progress: Progress | bool | None = None,
    **options: Unpack[ReadOptions],
) -> Model:
    """Learn a material from a scan: its dictionary, and a network that finds class and strain of any pattern of it.

    Other scans of the material are mapped with the model, `map` with ``model=``, at other doses as well. A fit that was
    interrupted goes on when it is started again, with the same outcome, bit by bit where the number of threads is.

    Parameters
    ----------
    scan
        File of any vendor or tool, or a folder of frames; in Python also an array ``(ry, rx, qy, qx)`` (NumPy, dask,
        xarray), a HyperSpy signal, a py4DSTEM data cube, a LiberTEM data set, or what `cyclestrain.read` opened.
    output
        File to write, ``.safetensors``; by default nothing is written.
    init_from, epochs, trials, study
        Model to start from, largest number of epochs, and search for settings, see `cyclestrain.FitSettings`.
    resume
        Insist on going on with an interrupted fit.
    centre, ring, mask, sample, classes, seed, device
        What is measured unless it is given here, see `cyclestrain.FitSettings`; masks in Python also as arrays.
    probe
        Image or scan of the probe in vacuum, see `map`.
    memory
        Memory in GB that the run may take; by default a quarter of the machine or container, at least 1.
    force
        Whether an existing output file is replaced.
    reading, **options
        How the file is read: all at once, or one by one, see `cyclestrain.read`.
    progress
        Where to report to; True and False turn a bar on and off.

    Returns
    -------
    model
        Dictionary, coarse templates, network, training log.

    Raises
    ------
    InputError
        If the scan cannot be read or shows no crystal, the study is of another one, or nothing is there to `resume`.
    OutputError
        If the output cannot be written.
    """
    settings = validated(FitSettings, settings_words(FitSettings, locals()))
    how = validated(ReadSettings, reading_given(reading, options))
    _check(settings, output)
    start = known_model(settings.init_from, settings)
    opened = open_large(scan, how, memory=memory, output=output, force=force)
    return _fitted(opened, _Fit(settings, how, start, resume), output, force, shown(progress))


@dataclass(frozen=True)
class _Fit:
    """How to fit, checked."""

    settings: FitSettings
    reading: ReadSettings
    start: KnownModel | None
    resume: bool


def _fitted(scan: Scan, how: _Fit, output: PathLike | None, force: bool, progress: Progress) -> Model:
    """Fit an opened scan and write the model."""
    search = _search(how.settings, scan, how.start)
    from cyclestrain.network import save_model
    from cyclestrain.pipeline import fit_model

    settings, start, vacuum = how.settings, how.start, known_probe(how.settings, how.reading, scan)
    with run_state(scan, settings, output, start, progress, vacuum=vacuum, resume=how.resume) as folder:
        before = start.model if start else None
        model = fit_model(scan, settings, progress, run=folder, init_from=before, vacuum=vacuum, search=search)
        model.about.update(_about(how.reading, start))
        if output is not None:
            save_model(model, output, force)
    return model


def _check(settings: FitSettings, output: PathLike | None) -> None:
    """Refuse what cannot end well, before any work."""
    check_network()
    check_device(settings.device)
    _check_name(output)


def _about(how: ReadSettings, start: KnownModel | None) -> dict[str, str]:
    """How the scan was read, and the model from which the fit started."""
    about = {"reading": how.model_dump_json()}
    if start:
        about["init_from"] = json.dumps({"path": os.fspath(start.file.path), "fingerprint": start.fingerprint})
    return about


def _search(settings: FitSettings, scan: Scan, start: KnownModel | None) -> Search | None:
    """The search that is asked for, None for none; a study that cannot be used is refused before any work.

    Raises
    ------
    InputError
        If there is a study without trials, Optuna is not installed, or the study is of something else.
    """
    from cyclestrain.io import fingerprint
    from cyclestrain.network import Search, check_study, check_tuning

    if settings.trials is None:
        if settings.study is not None:
            raise InputError("a study keeps trials; give their number as well, --trials 20")
        return None
    check_tuning()
    of = {
        "version": __version__,
        "scan": fingerprint(scan),
        "model": start.fingerprint if start else "",
        "settings": settings.model_dump_json(exclude={"trials", "study", "init_from"}),
    }
    file = None if settings.study is None else Path(settings.study)
    if file is not None:
        check_study(file, of)
    return Search(settings.trials, file, of)


def _check_name(name: PathLike | None) -> None:
    output = Path(name or MODEL_SUFFIX)
    if name is not None and output.suffix != MODEL_SUFFIX:
        better = output.with_suffix(MODEL_SUFFIX).name
        raise OutputError(f"a model is a {MODEL_SUFFIX} file; call it {better} instead of {output.name}")
