"""`live`: maps that grow while a scan is recorded."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from cyclestrain.api.arguments import KnownModel, PathLike, files_named, known_model, open_large
from cyclestrain.api.exploring import check_app
from cyclestrain.api.mapping import check_result_name
from cyclestrain.api.words import Known, Mask, Reference, settings_words
from cyclestrain.errors import InputError
from cyclestrain.files import check_writable, scratch_folder
from cyclestrain.progress import Progress, shown
from cyclestrain.settings import LiveOptions, LiveSettings, MapSettings, ReadSettings, known_options, validated

if TYPE_CHECKING:
    import xarray as xr

    from cyclestrain.data import Scan
    from cyclestrain.result import MapResult
    from cyclestrain.streaming import Course, LiveWindow, Source

__all__ = ["live"]

EXTRA = "a detector is listened to with LiberTEM-live; install it with pip install 'cyclestrain[live]'"


def live(
    output: PathLike | None = None,
    *,
    model: PathLike,
    scan_shape: tuple[int, int] | None = None,
    reference: Reference = "auto",
    axes: Literal["detector", "scan", "crystal"] = "detector",
    along: tuple[int, int] = (1, 0),
    scan_rotation: float | Literal["auto"] | None = None,
    known: Known | None = None,
    centre: tuple[float, float] | None = None,
    mask: Mask | None = None,
    sample: Mask | None = None,
    ellipse: tuple[float, float] | None = None,
    dataset: str | None = None,
    step: str | None = None,
    pixel: str | None = None,
    memory: float | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress | bool | None = None,
    **options: Unpack[LiveOptions],
) -> xr.Dataset:
    """Map a scan while it is recorded, with a fitted model, and end with the map that `map` makes.

    Every pattern is fitted by itself as it comes; at intervals a normal result of what has come is written, all other
    positions not valid. A complete scan is mapped once more from all its patterns, to the numbers of `map` with this
    model; one that stops, or Ctrl+C, ends with the result of what came.

    Parameters
    ----------
    output
        File to write, usually ``.nc``; by default nothing is written.
    model
        Model that `fit` wrote, of the same material, camera length and binning.
    reference, axes, along, scan_rotation, known, centre, mask, sample, ellipse, seed
        As for `map`; an angle of the scan is given, or stated, and not measured.
    scan_shape, dataset, step, pixel
        As for `cyclestrain.read`; the shape only where detector or file do not say it.
    memory
        Memory in GB that the last map may take; by default a quarter of the machine or container, at least 1.
    force
        Whether existing files are replaced.
    progress
        Where to report to; True and False turn it on and off, which an interactive session shows by default.
    **options
        What is listened to and how long, fields of `cyclestrain.LiveSettings`: one of ``dectris``, ``merlin`` and
        ``file``, then ``keep``, ``preview``, ``timeout`` and ``every``; ``explore``, ``port`` and ``browser`` for the
        growing map in the explorer.

    Returns
    -------
    maps
        As of `map`; of its attributes, ``live_ended`` says why a scan is not complete, ``live_positions`` how many
        came, ``live_rate`` (per second) and ``live_largest_lag`` (seconds) how it kept up.

    Raises
    ------
    InputError
        If there is nothing to listen to, it starts no scan in time, or what came shows no crystal of the model.
    OutputError
        If the output, or the patterns of a detector, cannot be written.
    """
    settings = validated(MapSettings, settings_words(MapSettings, locals()))
    reading = validated(ReadSettings, settings_words(ReadSettings, locals()))
    listening = validated(LiveSettings, settings_words(LiveSettings, known_options(LiveSettings, options)))
    found = _checked(settings, listening, output, force)
    return _live(_Job(_where(listening), settings, reading, listening, found, output, memory), shown(progress))


def _checked(settings: MapSettings, listening: LiveSettings, output: PathLike | None, force: bool) -> KnownModel:
    """The model, when all that can be wrong has been looked at."""
    kind, place = _where(listening)
    if kind != "file":
        from cyclestrain.streaming.detectors import check_reachable, parse_address

        check_reachable(parse_address(kind, place))
    if settings.scan_rotation == "auto":
        raise InputError("the scan rotation is measured on complete scans alone; give it in degrees, or leave it out")
    check_result_name(output)
    for path in (output, listening.keep):
        if path is not None:
            check_writable(path, force)
    found = known_model(settings.model, settings)
    if found is None:
        raise InputError("live maps with a model; give the file that `cyclestrain fit` wrote")
    return found


@dataclass(frozen=True)
class _Job:
    """What to map, how, and where to write it."""

    where: tuple[str, str]
    settings: MapSettings
    reading: ReadSettings
    listening: LiveSettings
    model: KnownModel
    output: PathLike | None
    memory: float | None

    @property
    def keeper(self) -> Keeper:
        """What writes its results."""
        files = {"settings_files": files_named(self.settings)}
        return Keeper(self.output, {"reading": self.reading.model_dump_json(), **files, **self.model.about})


@dataclass(frozen=True)
class Keeper:
    """Writes results of one run, each in the place of the one before.

    Attributes
    ----------
    output
        The file, None for none.
    about
        Attributes that all of them get.
    """

    output: PathLike | None
    about: dict[str, str]

    def __call__(self, result: MapResult) -> None:
        """Write a result."""
        from cyclestrain.result import save_result

        result.maps.attrs |= self.about
        if self.output is not None:
            save_result(result.maps, self.output, True, groups=result.groups)


def _where(listening: LiveSettings) -> tuple[str, str]:
    """Kind and address of the one place to listen to."""
    given = [(kind, place) for kind in ("dectris", "merlin", "file") if (place := getattr(listening, kind)) is not None]
    if len(given) != 1:
        names = ", ".join(f"--{kind}" for kind, _ in given) or "none"
        raise InputError(f"live listens to one of --dectris, --merlin and --file; {names} was given")
    if given[0][0] != "file" and find_spec("libertem_live") is None:
        raise InputError(EXTRA)
    return given[0]


def _live(job: _Job, progress: Progress) -> xr.Dataset:
    import cyclestrain.api.accessor  # noqa: F401  registers maps.strain

    with ExitStack() as stack:
        window = _window(job, stack)
        course, result, scan = _followed(job, progress, window, stack)
        if window is not None:
            name = os.fspath(job.output) if job.output is not None else scan.name
            window.end(course, result, name, in_file=job.output is not None)
            progress.note(f"the explorer stays at {window.address}; Ctrl+C ends it")
            window.wait()
        return result.maps


def _window(job: _Job, stack: ExitStack) -> LiveWindow | None:
    """The explorer, served until the stack ends, where it is asked for."""
    if not job.listening.explore:
        return None
    check_app()
    from cyclestrain.streaming import live_window

    window = stack.enter_context(live_window(job.listening.port))
    print(f"explore live at {window.address}", file=sys.stderr, flush=True)  # heard without progress too
    if job.listening.browser:
        webbrowser.open(window.address)
    return window


def _followed(
    job: _Job, progress: Progress, window: LiveWindow | None, kept: ExitStack
) -> tuple[Course, MapResult, Scan]:
    """Map what comes until it ends; what the patterns are in is there until the stack `kept` ends."""
    from cyclestrain.streaming import follow, one_thread, processes

    keep = job.keeper
    with ExitStack() as stack:
        helpers = stack.enter_context(one_thread() if job.where[0] == "file" else processes())
        source, patterns = stack.enter_context(_source(job, progress, kept))
        shape = source.scan.scan_shape
        progress.note(f"{source.scan.name}: a scan of {shape[0]} x {shape[1]} positions has started")
        with _shown(job, source.scan, window, progress) as show:
            course, result = source.drive(
                partial(
                    follow, source, job.model.material, job.settings, helpers,
                    keep=keep, show=show, timeout=job.listening.timeout, every=job.listening.every,
                )
            )  # fmt: skip
    if result is None:
        why = course.trouble or "too little came to learn from"
        raise InputError(f"{course.ended or 'the scan is complete'}, and nothing can be mapped: {why}")
    if course.complete and not job.listening.preview:
        progress.note(f"complete, largest lag {course.slowest:.1f} s; now the map from all patterns")
        try:
            result = _last_map(job, patterns, source.scan, progress)
        except KeyboardInterrupt:
            course.ended = "interrupted before the map from all patterns was made"
    measured = {"live_rate": course.mean_rate, "live_largest_lag": course.slowest}
    result.maps.attrs |= {"live_positions": int(course.fitted.sum()), "live_ended": course.ended, **measured}
    keep(result)
    return course, result, source.scan


@contextmanager
def _shown(job: _Job, scan: Scan, window: LiveWindow | None, progress: Progress) -> Iterator[Callable[[Course], None]]:
    """What shows the course of the map: in the terminal, and in the explorer where there is one."""
    from cyclestrain.streaming import shown_view

    with shown_view(scan.scan_shape, getattr(progress, "console", None)) as in_terminal:
        if window is None:
            yield in_terminal
            return
        window.start(scan, job.settings)

        def show(course: Course) -> None:
            in_terminal(course)
            window.show(course)

        yield show


@contextmanager
def _source(job: _Job, progress: Progress, kept: ExitStack) -> Iterator[tuple[Source, Path]]:
    """What is listened to, and the file that has its patterns in the end, which is there until `kept` ends."""
    kind, place = job.where
    if kind == "file":
        from cyclestrain.streaming.recording import FollowedFile, wait_for_file

        path = Path(place)
        growing = wait_for_file(path, job.reading.scan_shape, job.reading.dataset, job.listening.timeout)
        yield FollowedFile(_described(job, growing, path.name.split(".")[0], place), growing), path
        return
    from cyclestrain.streaming.detectors import connected, parse_address

    address = parse_address(kind, place)
    folder = kept.enter_context(scratch_folder(Path(job.listening.keep or job.output or "live.npy").absolute().parent))
    path = Path(job.listening.keep) if job.listening.keep is not None else folder / "patterns.npy"
    progress.note(f"waiting for the {address} to start a scan")
    record, shape = (path, folder), job.reading.scan_shape
    with connected(address, shape, record, timeout=job.listening.timeout) as detector:
        named = os.fspath(path) if job.listening.keep is not None else ""
        detector.scan = _described(job, detector.scan.source, str(address), named)
        yield detector, path


def _described(job: _Job, source: Any, name: str, path: str) -> Scan:
    """The scan of a source, with its name, the file it is in, and the steps that were given."""
    from cyclestrain.data import Scan
    from cyclestrain.io import read

    stated = job.reading.model_copy(update={"scan_shape": None, "dataset": None})
    return read(Scan(source, name=name, path=path), stated)


def _last_map(job: _Job, patterns: Path, live: Scan, progress: Progress) -> MapResult:
    """The map from all patterns, as `map` makes it."""
    from cyclestrain.io import contents_of, file_state
    from cyclestrain.pipeline import map_scan

    reading = job.reading if job.where[0] == "file" else job.reading.model_copy(update={"scan_shape": None})
    scan = open_large(patterns, reading, memory=job.memory, output=None, force=True)
    scan = replace(scan, name=live.name, path=live.path)
    result = map_scan(
        scan, job.settings, progress, material=job.model.material, network=job.model.network_for(job.settings)
    )  # fmt: skip
    result.maps.attrs |= {"input_contents": contents_of(scan).digest, "input_state": file_state(scan.path)}
    return result
