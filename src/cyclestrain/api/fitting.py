"""`fit`: from a scan to a model that maps other scans of the same material."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from cyclestrain.api.arguments import (
    MODEL_SUFFIX,
    KnownModel,
    Mask,
    PathLike,
    check_device,
    check_network,
    known_model,
    mask_words,
    open_large,
    run_state,
)
from cyclestrain.api.probing import known_probe, probe_words
from cyclestrain.errors import OutputError
from cyclestrain.progress import Progress, shown
from cyclestrain.settings import FitSettings, ReadOptions, ReadSettings, reading_given, validated

if TYPE_CHECKING:
    from cyclestrain.calibration import Vacuum
    from cyclestrain.data import PatternSource, Scan
    from cyclestrain.network import Model
    from cyclestrain.storage import RunFolder

__all__ = ["fit"]


def fit(
    scan: PathLike | PatternSource | Scan,
    output: PathLike | None = None,
    *,
    init_from: PathLike | None = None,
    epochs: int | None = None,
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

    Other scans of the material are mapped with the model, `map` with ``model=``, at other doses and backgrounds as
    well. A fit that was interrupted goes on with the last finished epoch when it is started again, with the same
    outcome, bit by bit where the number of threads is the same.

    Parameters
    ----------
    scan
        File of any vendor or tool, or a folder of frames; in Python also an array ``(ry, rx, qy, qx)`` (NumPy, dask,
        xarray), a HyperSpy signal, a py4DSTEM data cube, a LiberTEM data set, or what `cyclestrain.read` opened.
    output
        File to write, ``.safetensors``; by default nothing is written.
    init_from, epochs
        Model of another scan to start from, and the largest number of training epochs, see `cyclestrain.FitSettings`.
    resume
        Insist on going on with an interrupted fit.
    centre, ring, mask, probe, sample, classes, seed, device
        What is measured unless it is given here, see `cyclestrain.FitSettings`; masks and probe also as arrays.
    memory
        Memory in GB that the run may take; by default a quarter of the machine or container, at least 1.
    force
        Whether an existing output file is replaced.
    reading, **options
        How the file is read: all at once, or one by one, see `cyclestrain.read`.
    progress
        Where to report to; True and False turn a bar on and off, which an interactive session shows by default.

    Returns
    -------
    model
        Dictionary, coarse templates, network, training log.

    Raises
    ------
    InputError
        If the scan cannot be read, or shows no crystal; with `resume`, if there is nothing to go on with.
    OutputError
        If the output cannot be written.
    """
    arguments = {**locals(), "init_from": init_from and os.fspath(init_from), **mask_words(mask=mask, sample=sample)}
    arguments["probe"] = probe_words(probe)
    settings = validated(FitSettings, {name: arguments[name] for name in FitSettings.model_fields})
    how = validated(ReadSettings, reading_given(reading, options))
    check_network()
    check_device(settings.device)
    start = known_model(settings.init_from, settings)
    _check_name(output)
    opened = open_large(scan, how, memory=memory, output=output, force=force)
    from cyclestrain.network import save_model

    telling = shown(progress)
    vacuum = known_probe(settings, how, opened)
    with run_state(opened, settings, output, start, telling, vacuum=vacuum, resume=resume) as folder:
        model = _fitted(opened, settings, telling, folder, start, vacuum)
        model.about["reading"] = how.model_dump_json()
        if output is not None:
            save_model(model, output, force)
    return model


def _fitted(
    scan: Scan,
    settings: FitSettings,
    progress: Progress,
    run: RunFolder | None,
    start: KnownModel | None,
    vacuum: Vacuum | None,
) -> Model:
    from cyclestrain.pipeline import fit_model

    model = fit_model(scan, settings, progress, run, start.model if start else None, vacuum)
    if start:
        model.about["init_from"] = json.dumps({"path": os.fspath(start.path), "fingerprint": start.fingerprint})
    return model


def _check_name(name: PathLike | None) -> None:
    output = Path(name or MODEL_SUFFIX)
    if name is not None and output.suffix != MODEL_SUFFIX:
        better = output.with_suffix(MODEL_SUFFIX).name
        raise OutputError(f"a model is a {MODEL_SUFFIX} file; call it {better} instead of {output.name}")
