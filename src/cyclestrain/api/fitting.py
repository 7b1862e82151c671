"""`fit`: from a scan to a model that maps other scans of the same material."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclestrain.api.arguments import (
    MODEL_SUFFIX,
    PathLike,
    check_device,
    known_model,
    open_large,
    run_state,
    validated,
)
from cyclestrain.errors import OutputError
from cyclestrain.progress import Progress, SilentProgress
from cyclestrain.settings import FitSettings, ReadSettings

if TYPE_CHECKING:
    from cyclestrain.data import PatternSource, Scan
    from cyclestrain.network import Model

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
    classes: int | None = None,
    dataset: str | None = None,
    scan_shape: tuple[int, int] | None = None,
    shape: tuple[int, ...] | None = None,
    dtype: str | None = None,
    offset: int = 0,
    order: Literal["C", "F"] = "C",
    flyback: int = 0,
    scan_roi: str | None = None,
    detector_roi: str | None = None,
    bin: int = 1,
    memory: float | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    force: bool = False,
    progress: Progress | None = None,
) -> Model:
    """Learn a material from a scan: its dictionary, and a network that finds class and strain of any pattern of it.

    Other scans of the material are mapped with the model, `map` with ``model=``, at other doses and backgrounds as
    well. A fit that was interrupted goes on where it was when it is started again, with the same outcome.

    Parameters
    ----------
    scan
        File of any vendor or tool, or a folder of frames; in Python also an array ``(ry, rx, qy, qx)`` or an opened
        scan.
    output
        File to write, ``.safetensors``; by default nothing is written.
    init_from
        Model of another scan whose dictionary and network to start from; classes are those of that model.
    epochs
        Largest number of training epochs; ten by default. It ends earlier where more do not help.
    resume
        Insist on going on with an interrupted fit.
    centre
        Beam centre ``(y, x)`` in detector pixels; measured by default.
    ring
        Inner and outer radius in pixels of the part of the detector that is used; measured by default.
    classes
        Largest number of dictionary entries; found by default.
    dataset
        Name of the array in a file that holds several.
    scan_shape
        ``(ry, rx)`` for files that hold a plain stack of patterns; without flyback.
    shape
        Shape of the numbers in a raw binary file: ``qy qx``, ``n qy qx`` or ``ry rx qy qx``.
    dtype
        Their type: uint16, float32, >u2 (big-endian), ...
    offset
        Bytes before the first of them.
    order
        C where the last axis varies fastest, F where the first does.
    flyback
        Positions at the end of each scan row that were recorded while the beam flew back; they are left out.
    scan_roi
        Region ``y0:y1,x0:x1`` of positions; the rest is not read.
    detector_roi
        Region ``y0:y1,x0:x1`` of detector pixels; the rest is not read.
    bin
        Detector pixels that are summed into one, along each axis.
    memory
        Memory in GB that the run may take; by default a quarter of the machine or container, at least 1.
    seed
        Seed of every random choice.
    device
        Where torch computes.
    force
        Whether an existing output file is replaced.
    progress
        Where to report to; by default nowhere.

    Returns
    -------
    model
        Dictionary, coarse templates, network, training log.
    """
    arguments = {**locals(), "init_from": None if init_from is None else os.fspath(init_from)}
    settings = validated(FitSettings, {name: arguments[name] for name in FitSettings.model_fields})
    reading = validated(ReadSettings, {name: arguments[name] for name in ReadSettings.model_fields})
    check_device(settings.device)
    start = known_model(settings.init_from, settings)
    if output is not None:
        _check_name(Path(output))
    opened = open_large(scan, reading, memory=memory, output=output, force=force)
    from cyclestrain.network import save_model
    from cyclestrain.pipeline import fit_model

    with run_state(opened, settings, output, start, resume=resume) as folder:
        model = fit_model(
            opened, settings, progress or SilentProgress(), run=folder, init_from=start.model if start else None
        )
        model.about["reading"] = reading.model_dump_json()
        if start:
            model.about["init_from"] = json.dumps({"path": os.fspath(start.path), "fingerprint": start.fingerprint})
        if output is not None:
            save_model(model, output, force)
    return model


def _check_name(output: Path) -> None:
    if output.suffix != MODEL_SUFFIX:
        better = output.with_suffix(MODEL_SUFFIX).name
        raise OutputError(f"a model is a {MODEL_SUFFIX} file; call it {better} instead of {output.name}")
