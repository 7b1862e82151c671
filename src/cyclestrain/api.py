"""The commands as Python functions, with the same names and arguments.

Angles given here are degrees, as on the command line; see docs/conventions.md.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from cyclestrain.errors import InputError, OutputError
from cyclestrain.progress import Progress, SilentProgress

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from cyclestrain.data import PatternSource, Scan
    from cyclestrain.report.metrics import Accuracy
    from cyclestrain.settings import MapSettings
    from cyclestrain.simulate import SimulatedScan

__all__ = ["Demo", "demo", "info", "map", "show", "simulate"]

PathLike: TypeAlias = str | os.PathLike[str]


def map(
    scan: PathLike | PatternSource | Scan,
    output: PathLike | None = None,
    *,
    reference: str = "auto",
    axes: Literal["detector", "scan", "crystal"] = "detector",
    scan_rotation: float | None = None,
    until: Literal["network", "refine", "context"] = "context",
    centre: tuple[float, float] | None = None,
    ring: tuple[float, float] | None = None,
    classes: int | None = None,
    dataset: str | None = None,
    scan_shape: tuple[int, int] | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    force: bool = False,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Map strain, shear, rotation and class over a 4D-STEM scan, with uncertainties.

    Parameters
    ----------
    scan
        File of any vendor or tool; in Python also an array ``(ry, rx, qy, qx)`` or an opened scan.
    output
        File to write, usually ``.nc``; by default nothing is written.
    reference
        What strain is relative to: ``auto`` (the largest coherent area), a region ``ry0:ry1,rx0:rx1``, or a boolean
        mask of shape ``(ry, rx)`` in a ``.npy`` file.
    axes
        Axes in which strain is given.
    scan_rotation
        Angle of the scan axes in detector axes, degrees, positive from +x to +y; by default what the file says.
    until
        Last stage to run.
    centre
        Beam centre ``(y, x)`` in detector pixels; measured by default.
    ring
        Inner and outer radius in pixels of the part of the detector that is used; measured by default.
    classes
        Largest number of dictionary entries; found by default.
    dataset
        Name of the array in a file that holds several.
    scan_shape
        ``(ry, rx)`` for files that hold a plain stack of patterns.
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
    settings = _settings(
        reference=reference,
        axes=axes,
        scan_rotation=scan_rotation,
        until=until,
        centre=centre,
        ring=ring,
        classes=classes,
        seed=seed,
        device=device,
    )
    from cyclestrain.io import check_writable, read, save_result

    _check_device(device)
    opened = read(scan, dataset=dataset, scan_shape=scan_shape)
    if output is not None:
        _keep_input(opened.path, Path(output))
        check_writable(output, force)
    from cyclestrain.pipeline import map_scan

    result = map_scan(opened, settings, progress or SilentProgress())
    if output is not None:
        save_result(result.maps, output, force, groups={"dictionary": result.dictionary})
    return result.maps


def simulate(
    phantom: str = "polycrystal",
    output: PathLike | None = None,
    *,
    scan: tuple[int, int] = (64, 64),
    detector: tuple[int, int] = (256, 256),
    background: float = 0.25,
    counts: float = 1e5,
    seed: int = 0,
    lattice: Literal["hexagonal", "square", "oblique"] = "hexagonal",
    force: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> SimulatedScan:
    """Simulate a 4D-STEM scan whose strain is known.

    Parameters
    ----------
    phantom
        Sample: ``polycrystal``, ``two_phase``, ``uniform``, ``ripple`` or ``dislocation``.
    output
        HDF5 file to write, patterns and truth; by default nothing is written.
    scan
        Number of probe positions ``(ry, rx)``.
    detector
        Detector size ``(qy, qx)`` in pixels.
    background
        Share of the counts in the smooth background, 0 to 1; without background there is no shot noise either.
    counts
        Electrons per pattern.
    seed
        Seed of grains and noise.
    lattice
        Lattice of the crystal.
    force
        Whether an existing output file is replaced.
    progress
        Where to report to; by default nowhere.
    **options
        Further keywords of the phantom (``grain_size``, ``max_strain``, ...) and of the acquisition (``radius``,
        ``drift``, ``texture``, ...), see `cyclestrain.simulate`.

    Returns
    -------
    simulated
        The scan and its truth.
    """
    from cyclestrain.io import check_writable
    from cyclestrain.simulate import PHANTOMS, save

    if phantom not in PHANTOMS:
        raise InputError(f"no phantom is called {phantom!r}; there are {', '.join(PHANTOMS)}")
    _check_options(phantom, options)
    if output is not None:
        check_writable(output, force)
    progress = progress or SilentProgress()
    with progress.stage("simulate"):
        simulated = PHANTOMS[phantom](
            scan=scan,
            detector=detector,
            background=background,
            counts=counts,
            seed=seed,
            lattice=lattice,
            **options,
        )
        if output is not None:
            save(simulated, output, force)
    return simulated


def show(
    result: PathLike | xr.Dataset,
    output: PathLike | None = None,
    *,
    estimate: Literal["", "raw"] = "",
    formats: Sequence[str] = ("png",),
) -> Figure:
    """Draw the maps of strain and rotation, or every figure of a result.

    Parameters
    ----------
    result
        Result file; in Python also the data set that `map` returned.
    output
        With an extension (png, svg, pdf): file for the maps. Without one: folder for every figure there is (maps,
        uncertainty, dictionary). By default nothing is written.
    estimate
        ``""`` for the best estimate, ``raw`` for each pattern alone.
    formats
        Formats of the figures in a folder.

    Returns
    -------
    figure
        The maps, a matplotlib figure.
    """
    import xarray as xr

    from cyclestrain.io import check_writable, load_result
    from cyclestrain.report.figures import save_figure, save_figures, strain_figure

    maps = result if isinstance(result, xr.Dataset) else load_result(result)
    figure = strain_figure(maps, estimate)
    if output is not None and Path(output).suffix:
        check_writable(output, force=True)
        save_figure(figure, output)
    elif output is not None:
        dictionary = None if isinstance(result, xr.Dataset) else _dictionary(result)
        save_figures(maps, dictionary, f"{os.fspath(output)}/", formats)
    return figure


def info(
    file: PathLike | PatternSource | Scan, *, dataset: str | None = None, scan_shape: tuple[int, int] | None = None
) -> str:
    """Tell what a file holds and what `map` would assume about it.

    Parameters
    ----------
    file
        Scan or result.
    dataset
        Name of the array in a file that holds several.
    scan_shape
        ``(ry, rx)`` for files that hold a plain stack of patterns.

    Returns
    -------
    text
        A few lines: shape, type, calibration, counts per pattern, assumptions.
    """
    from cyclestrain.io import describe, describe_result, load_result, read

    if isinstance(file, str | os.PathLike):
        with suppress(InputError):  # not a result: a scan, or the reader says what is wrong
            return "\n".join(describe_result(load_result(file)))
    found = describe(read(file, dataset=dataset, scan_shape=scan_shape))
    rows = [f"{label:<20}{value}" for label, value in found.rows()]
    return "\n".join([*rows, "", *(f"- {sentence}" for sentence in found.assumptions)])


@dataclass(frozen=True)
class Demo:
    """What `demo` made.

    Attributes
    ----------
    maps
        The result.
    truth
        What was simulated.
    accuracy
        Errors of the best and of the raw estimate: over all positions, in the interior, bias per grain and scatter.
    files
        What was written.
    """

    maps: xr.Dataset
    truth: xr.Dataset
    accuracy: tuple[Accuracy, ...]
    files: tuple[Path, ...]


def demo(
    folder: PathLike = "cyclestrain-demo",
    *,
    scan: tuple[int, int] = (48, 48),
    background: float = 0.4,
    counts: float = 1e5,
    seed: int = 7,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    force: bool = False,
    progress: Progress | None = None,
) -> Demo:
    """Simulate a noisy scan, map it, compare the map with the truth and draw both.

    Parameters
    ----------
    folder
        Where the scan, the result and the figures go; made if missing.
    scan
        Number of probe positions ``(ry, rx)``.
    background
        Share of the counts in the smooth background, 0 to 1.
    counts
        Electrons per pattern.
    seed
        Seed of grains, noise and fit.
    device
        Where torch computes.
    force
        Whether existing files are replaced.
    progress
        Where to report to; by default nowhere.

    Returns
    -------
    demo
        Maps, truth, accuracy and the files.
    """
    from cyclestrain.io import check_writable, load_group
    from cyclestrain.report.figures import save_figures
    from cyclestrain.report.metrics import compare, relative_truth

    home = Path(folder)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {home}: {error.strerror or error}") from error
    raw, result = home / "scan.h5", home / "strain.nc"
    check_writable(result, force)
    truth = simulate(
        "polycrystal", raw, scan=scan, background=background, counts=counts, seed=seed, force=force, progress=progress
    ).truth
    maps = map(raw, result, seed=seed, device=device, force=force, progress=progress)
    accuracy = tuple(compare(maps, truth, estimate) for estimate in ("", "raw"))
    with (progress or SilentProgress()).stage("draw"):
        figures = save_figures(maps, load_group(result, "dictionary"), home, truth=relative_truth(maps, truth))
    return Demo(maps, truth, accuracy, (raw, result, *figures))


def _settings(**given: Any) -> MapSettings:
    from pydantic import ValidationError

    from cyclestrain.settings import MapSettings

    try:
        return MapSettings(**given)
    except ValidationError as error:
        problems = (
            f"{'.'.join(str(part) for part in problem['loc'])}: {_sentence(problem['msg'])}, got {problem['input']!r}"
            for problem in error.errors()
        )
        raise InputError("; ".join(problems)) from None


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _check_options(phantom: str, options: dict[str, Any]) -> None:
    """Refuse a keyword that neither the phantom nor the acquisition has."""
    from cyclestrain.simulate import PHANTOMS, Acquisition

    own = inspect.signature(PHANTOMS[phantom]).parameters
    known = {*own, *inspect.signature(Acquisition).parameters} - {"options"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise InputError(f"{phantom} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")


def _check_device(device: str) -> None:
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError("torch finds no CUDA device here; leave --device at auto or set it to cpu")


def _keep_input(scan: str, output: Path) -> None:
    """Refuse to write a result over the measurement it is made from."""
    if scan and output.exists() and output.samefile(scan):
        raise OutputError(f"{output} is the scan itself; give the result another name")


def _dictionary(result: PathLike) -> xr.Dataset | None:
    """The dictionary stored with a result, if it has one."""
    from cyclestrain.io import load_group

    try:
        return load_group(result, "dictionary")
    except InputError:
        return None
