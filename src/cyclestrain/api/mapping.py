"""`map`: from a scan to strain maps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from cyclestrain.api.arguments import (
    PathLike,
    Run,
    check_device,
    known_model,
    open_large,
    overridden,
    run_state,
    stored_run,
    validated,
)
from cyclestrain.errors import InputError
from cyclestrain.progress import Progress, SilentProgress
from cyclestrain.settings import MapSettings, ReadSettings

if TYPE_CHECKING:
    import xarray as xr

    from cyclestrain.data import PatternSource, Scan

__all__ = ["map"]


def map(
    scan: PathLike | PatternSource | Scan | None = None,
    output: PathLike | None = None,
    *,
    config: PathLike | None = None,
    reference: str = "auto",
    axes: Literal["detector", "scan", "crystal"] = "detector",
    scan_rotation: float | None = None,
    until: Literal["network", "refine", "context"] = "context",
    model: PathLike | None = None,
    centre: tuple[float, float] | None = None,
    ring: tuple[float, float] | None = None,
    ellipse: tuple[float, float] | None = None,
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
) -> xr.Dataset:
    """Map strain, shear, rotation and class over a 4D-STEM scan, with uncertainties.

    Parameters
    ----------
    scan
        File of any vendor or tool, or a folder of frames; in Python also an array ``(ry, rx, qy, qx)`` or an opened
        scan.
    output
        File to write, usually ``.nc``; by default nothing is written.
    config
        A result whose run is repeated: its settings hold wherever the arguments here are at their defaults, and its
        scan is mapped unless another one is given.
    reference
        What strain is relative to: ``auto`` (the largest coherent area), a region ``ry0:ry1,rx0:rx1``, or a boolean
        mask of shape ``(ry, rx)`` in a ``.npy`` file.
    axes
        Axes in which strain is given.
    scan_rotation
        Angle of the scan axes in detector axes, degrees, positive from +x to +y; by default what the file says.
    until
        Last stage to run.
    model
        File written by `fit`: its dictionary, and for ``until="network"`` its trained network, are applied instead of
        learning from this scan, which may have another dose and background.
    centre
        Beam centre ``(y, x)`` in detector pixels; measured by default.
    ring
        Inner and outer radius in pixels of the part of the detector that is used; measured by default.
    ellipse
        Elliptic distortion of the detector that is corrected: ratio of the axes, and angle of the long one in degrees
        from +x to +y; ``1 0`` for none. By default what grains turned against each other share beyond chance, which
        is no different from a strain that all of them have in the axes of the detector.
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
    maps
        Dimensions ``(ry, rx)``; variables as in docs/conventions.md.
    """
    arguments = {**locals(), "model": None if model is None else os.fspath(model)}
    given = {name: arguments[name] for name in MapSettings.model_fields}
    given_reading = {name: arguments[name] for name in ReadSettings.model_fields}
    settings, reading = validated(MapSettings, given), validated(ReadSettings, given_reading)
    progress = progress or SilentProgress()
    run = None
    if config is not None:
        run = _run_of(config)
        settings, reading = (
            overridden(MapSettings, run.settings, given),
            overridden(ReadSettings, run.reading, given_reading),
        )
        if scan is None and run.scan is None:
            raise InputError(f"the scan that {config} was made from is not found; give its place before --config")
        scan = run.scan if scan is None else scan
    if scan is None:
        raise InputError("there is nothing to map; give a scan, or a result to repeat with --config")
    from cyclestrain.io import fingerprint
    from cyclestrain.result import save_result

    check_device(settings.device)
    known = known_model(settings.model, settings, config)
    opened = open_large(scan, reading, memory=memory, output=output, force=force)
    if run and run.fingerprint and fingerprint(opened) != run.fingerprint:
        progress.note(f"{opened.name} is not the scan that {config} was made from: its patterns differ")
    if run and known and run.model_fingerprint not in ("", known.fingerprint):
        progress.note(f"{known.path} is not the model that {config} was made with: its content differs")
    from cyclestrain.pipeline import map_scan

    with run_state(opened, settings, output, known) as folder:
        result = map_scan(opened, settings, progress, folder, model=known.model if known else None)
        result.maps.attrs["reading"] = reading.model_dump_json()
        if known:
            result.maps.attrs |= {"model": os.fspath(known.path), "model_fingerprint": known.fingerprint}
        if output is not None:
            save_result(result.maps, output, force, groups=result.groups)
    return result.maps


def _run_of(config: PathLike) -> Run:
    """The run that made the result `config`."""
    from cyclestrain.result import load_result

    return stored_run(config, load_result(config))
