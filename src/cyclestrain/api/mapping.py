"""`map`: from a scan to strain maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from cyclestrain.api.arguments import (
    KnownModel,
    PathLike,
    Run,
    check_device,
    check_network,
    files_named,
    known_model,
    known_probe,
    open_large,
    overridden,
    run_state,
    stored_run,
)
from cyclestrain.api.clusters import cluster_for, connection
from cyclestrain.api.meanwhile import load_meanwhile
from cyclestrain.api.words import Known, Mask, Reference, settings_words
from cyclestrain.errors import InputError, OutputError
from cyclestrain.machine import threads
from cyclestrain.progress import Progress, shown
from cyclestrain.settings import MapSettings, ReadOptions, ReadSettings, reading_given, validated

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

    from cyclestrain.data import PatternSource, Scan

__all__ = ["Job", "asked", "carry_out", "check_result_name", "map"]

FIGURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg")
OTHER_FILES = (*FIGURES, ".tif", ".tiff", ".csv", ".mat", ".hspy", ".zspy", ".emd", ".txt", ".npy", ".xlsx")
"""Extensions of files that a result is not."""


def map(
    scan: PathLike | PatternSource | Scan | None = None,
    output: PathLike | None = None,
    *,
    config: PathLike | None = None,
    reference: Reference = "auto",
    axes: Literal["detector", "scan", "crystal"] = "detector",
    along: tuple[int, int] = (1, 0),
    scan_rotation: float | Literal["auto"] | None = None,
    known: Known | None = None,
    until: Literal["network", "refine", "context"] = "context",
    intensities: bool = False,
    model: PathLike | None = None,
    centre: tuple[float, float] | None = None,
    ring: tuple[float, float] | None = None,
    mask: Mask | None = None,
    probe: PathLike | PatternSource | Scan | None = None,
    sample: Mask | None = None,
    ellipse: tuple[float, float] | None = None,
    classes: int | None = None,
    memory: float | None = None,
    jobs: int | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    cluster: str | None = None,
    client: Client | None = None,
    force: bool = False,
    reading: ReadSettings | None = None,
    progress: Progress | bool | None = None,
    **options: Unpack[ReadOptions],
) -> xr.Dataset:
    """Map strain, shear, rotation and class over a 4D-STEM scan, with uncertainties.

    Parameters
    ----------
    scan
        File of any vendor or tool, or a folder of frames; in Python also an array ``(ry, rx, qy, qx)`` (NumPy, dask,
        xarray), a HyperSpy signal, a py4DSTEM data cube, a LiberTEM data set, or what `cyclestrain.read` opened.
    output
        File to write, usually ``.nc``; by default nothing is written.
    config
        A result whose run is repeated, with its scan and its settings wherever the arguments here do not say otherwise.
    reference
        What strain is relative to, see `cyclestrain.MapSettings`; in Python also a mask of shape ``(ry, rx)``.
    axes, along, scan_rotation, until, intensities, model
        In which axes strain is given (degrees from +x to +y; ``crystal``: along which reflection), the last stage to
        run, whether `cyclestrain.intensities` are measured, a model to apply: see `cyclestrain.MapSettings`.
    known
        Lattice of the sample, for absolute strain, or several; in Python also as mappings ``{"a": 5.431, ...}``.
    centre, ring, mask, sample, probe, ellipse, classes, seed, device
        What is measured unless it is given here, see `cyclestrain.MapSettings`; masks and probe also as arrays.
    memory
        Memory in GB that the run may take; by default a quarter of the machine or container, at least 1.
    jobs
        Threads that the run may use; by default one on every core. No number depends on it.
    cluster
        Where patterns are fitted: by ``local:N`` workers here, or those of a scheduler of dask.distributed,
        ``tcp://HOST:PORT`` or its file ``NAME.json``; in Python its ``client`` instead. Every worker reads the file.
    force
        Whether an existing output file is replaced.
    reading, **options
        How the file is read: all at once, or one by one, see `cyclestrain.read`.
    progress
        Where to report to; True and False turn a bar on and off, which an interactive session shows by default.

    Returns
    -------
    maps
        Dimensions ``(ry, rx)``; variables as in docs/conventions.md. In the file, intensities are a group.

    Raises
    ------
    InputError, OutputError, ClusterError
        If the scan cannot be read or mapped as asked, the output not be written, or a worker not read the scan.
    """
    job = asked(locals())
    check_result_name(output)
    opened = open_large(job.scan, job.reading, memory=memory, output=output, force=force)
    with connection(cluster, client) as workers, threads(jobs):
        return carry_out(opened, job, output, force, shown(progress), workers)


def asked(arguments: Mapping[str, Any]) -> Job:
    """What the arguments of `map` ask for, checked.

    Parameters
    ----------
    arguments
        All of them, by name.

    Raises
    ------
    InputError
        If one does not fit, or names a model or a result that cannot be used.
    """
    given = settings_words(MapSettings, arguments)
    reading = reading_given(arguments["reading"], arguments.get("options", {}))
    return _job(arguments["scan"], arguments["config"], given, reading)


def check_result_name(output: PathLike | None) -> None:
    """Refuse a name that promises another kind of file than a result."""
    suffix = Path(output).suffix.lower() if output is not None else ""
    if suffix in OTHER_FILES:
        raise OutputError(
            f"a map is written as a result, .nc, not as {suffix}; give -o {Path(str(output)).with_suffix('.nc')}, then "
            f"{'`cyclestrain show`' if suffix in FIGURES else '`cyclestrain export`'} makes a {suffix} of it"
        )


@dataclass(frozen=True)
class Job:
    """What to map and how, and the result whose run is repeated, if one is."""

    scan: PathLike | PatternSource | Scan
    settings: MapSettings
    reading: ReadSettings
    model: KnownModel | None
    config: PathLike | None
    before: Run | None


def _job(
    scan: PathLike | PatternSource | Scan | None,
    config: PathLike | None,
    given: dict[str, Any],
    given_reading: dict[str, Any],
) -> Job:
    """Check what was given, and fill in what the run of `config` had."""
    settings, reading = validated(MapSettings, given), validated(ReadSettings, given_reading)
    before = None
    if config is not None:
        before = _run_of(config)
        settings = overridden(MapSettings, before.settings, given)
        reading = overridden(ReadSettings, before.reading, given_reading)
        if scan is None and before.scan is None:
            raise InputError(f"the scan that {config} was made from is not found; give its place before --config")
        scan = before.scan if scan is None else scan
    if scan is None:
        raise InputError("there is nothing to map; give a scan, or a result to repeat with --config")
    check_device(settings.device)
    if settings.until == "network":
        check_network()
    return Job(scan, settings, reading, known_model(settings.model, settings, config), config, before)


def carry_out(
    scan: Scan, job: Job, output: PathLike | None, force: bool, progress: Progress, client: Client | None = None
) -> xr.Dataset:
    """Map an opened scan and write the result.

    Parameters
    ----------
    scan
        The scan of the job, opened.
    job
        What is asked for.
    output, force
        File to write, None for none, and whether an existing one is replaced.
    progress
        Receiver of stages and notes.
    client
        Connection to a cluster whose workers fit the patterns; None for this process.
    """
    import cyclestrain.api.accessor  # noqa: F401  registers maps.strain
    from cyclestrain.estimation import HERE
    from cyclestrain.io import contents_of, file_state, fingerprint
    from cyclestrain.pipeline import map_scan
    from cyclestrain.result import save_result

    load_meanwhile()
    known, before = job.model, job.before
    cluster = cluster_for(client, scan, job.scan, job.reading, job.settings, progress) if client else None
    state, files = file_state(scan.path), files_named(job.settings)  # as they are when the run begins
    if before and before.fingerprint and fingerprint(scan) != before.fingerprint:
        progress.note(_another(scan, job))
    if before and known and before.model_fingerprint not in ("", known.fingerprint):
        progress.note(f"{known.file.path} is not the model that {job.config} was made with: its content differs")
    vacuum, hashes = known_probe(job.settings, job.reading, scan, job.config), cluster.hashes if cluster else None
    with run_state(scan, job.settings, output, known, progress, vacuum=vacuum, hashes=hashes) as folder:
        material, network = (known.material, known.network_for(job.settings)) if known else (None, None)
        result = map_scan(
            scan, job.settings, progress, folder, material=material, network=network, vacuum=vacuum,
            runner=cluster or HERE,
        )  # fmt: skip
        contents = contents_of(scan).digest
        result.maps.attrs |= {"reading": job.reading.model_dump_json(), "input_contents": contents}
        result.maps.attrs |= {"input_state": state, "settings_files": files}
        if vacuum:
            result.maps.attrs["probe_fingerprint"] = vacuum.fingerprint
        if known:
            result.maps.attrs |= known.about
        if before and before.fingerprint == fingerprint(scan) and before.contents not in ("", contents):
            progress.note(_another(scan, job))
        if output is not None:
            save_result(result.maps, output, force, groups=result.groups)
    return result.maps if result.intensities is None else result.maps.assign(result.intensities)


def _another(scan: Scan, job: Job) -> str:
    return f"{scan.name} is not the scan that {job.config} was made from: its patterns differ"


def _run_of(config: PathLike) -> Run:
    """The run that made the result `config`."""
    from cyclestrain.result import load_result

    return stored_run(config, load_result(config))
