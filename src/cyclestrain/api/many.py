"""`map_many`: many scans into one folder, with a table of what became of each."""

from __future__ import annotations

import inspect
import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclestrain.api.arguments import PathLike, files_named, open_large, stored_run
from cyclestrain.api.clusters import connection
from cyclestrain.api.failures import in_words
from cyclestrain.api.mapping import Job, asked, carry_out, map
from cyclestrain.api.scans import find_scans, result_names
from cyclestrain.errors import OutputError
from cyclestrain.machine import threads
from cyclestrain.progress import Progress, shown

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

    from cyclestrain.data import Scan
    from cyclestrain.result import Summary

__all__ = ["Batch", "map_many"]

TABLE = "summary.csv"


@dataclass(frozen=True)
class Batch:
    """What became of many scans.

    Attributes
    ----------
    folder
        Where the results are.
    summaries
        A row for each scan, in the order in which they were given.
    """

    folder: Path
    summaries: tuple[Summary, ...]

    @property
    def table(self) -> Path:
        """CSV file with these rows, and those of scans that were mapped into the folder before."""
        return self.folder / TABLE

    @property
    def failed(self) -> tuple[Summary, ...]:
        """Scans without a result; `message` says why."""
        return tuple(summary for summary in self.summaries if summary.state == "failed")

    def __str__(self) -> str:
        from cyclestrain.result import as_table

        return as_table(self.summaries)


def map_many(
    scans: PathLike | Iterable[PathLike],
    output: PathLike,
    *,
    force: bool = False,
    memory: float | None = None,
    cluster: str | None = None,
    client: Client | None = None,
    progress: Progress | bool | None = None,
    **options: Any,
) -> Batch:
    """Map many scans, one after the other, into a folder, and write a table of what became of each.

    A scan that cannot be mapped does not stop the others. The same call does only what is missing: a result that was
    made from the same patterns with the same settings and model stays, and a run that was interrupted goes on.
    Without `model` each scan learns its own dictionary, as if it had been mapped alone; with one, classes have the same
    numbers in all results.

    Parameters
    ----------
    scans
        Files of scans, or patterns such as ``"night/*.mib"``.
    output
        Folder, made where there is none. The result of ``a.mib`` is ``a_strain.nc`` in it, that of a name that comes
        twice has its folder in front, ``day1_a_strain.nc``; the table is ``summary.csv``.
    force
        Whether results that exist are made anew.
    memory
        Memory in GB that the run may take; by default a quarter of the machine or container, at least 1.
    cluster, client
        Where patterns are fitted, see `map`; the cluster is started once for all scans.
    progress
        Where to report to; True and False turn a bar on and off, which an interactive session shows by default.
    **options
        Everything else that `map` takes, the same for all scans: ``model``, ``reference``, ``scan_shape``, ...

    Returns
    -------
    batch
        A row for each scan, as text a table; `Batch.failed` are those without a result.

    Raises
    ------
    InputError
        If an option does not fit, or a pattern matches no file.
    OutputError
        If the folder cannot be made, or its ``summary.csv`` is not a table of this function.

    Examples
    --------
    >>> import tempfile
    >>> import cyclestrain as cs
    >>> folder = Path(tempfile.mkdtemp())
    >>> for seed in (1, 2):
    ...     _ = cs.simulate("uniform", folder / f"{seed}.h5", scan=(4, 4), detector=(96, 96), radius=3.0, seed=seed)
    >>> batch = cs.map_many(folder / "*.h5", folder / "maps")
    >>> [(Path(row.file).name, row.result, row.state) for row in batch.summaries]
    [('1.h5', '1_strain.nc', 'mapped'), ('2.h5', '2_strain.nc', 'mapped')]
    """
    from cyclestrain.result import add_to_table, read_table

    files, folder, telling = find_scans(scans), Path(output), shown(progress)
    job = _for_any_scan(files[0], options)
    names = result_names(files)
    _make_folder(folder)
    took = {row["result"]: float(row["seconds"] or math.nan) for row in read_table(folder / TABLE)}
    summaries: list[Summary] = []
    clock = _Clock(len(files))
    with connection(cluster, client) as workers, threads(options.get("jobs")):
        for file, name in zip(files, names, strict=True):
            telling.note(f"scan {len(summaries) + 1} of {len(files)}: {file}{clock.left}")
            one = _One(replace(job, scan=file), folder / name, memory, force, workers)
            with _told(len(summaries), len(files)):
                row = one.tried(telling)
            seconds = clock.stopped(row.state != "skipped")
            summaries.append(replace(row, seconds=took.get(name, math.nan) if row.state == "skipped" else seconds))
            add_to_table(folder / TABLE, summaries)
    return Batch(folder, tuple(summaries))


class _Clock:
    """What each of some scans took, and how long the others will."""

    def __init__(self, n: int) -> None:
        self._left, self._timed, self._total = n, 0, 0.0
        self._start = time.perf_counter()

    def stopped(self, counts: bool) -> float:
        """Seconds since the scan before; they tell how long others will take if it `counts`."""
        now = time.perf_counter()
        seconds, self._start = now - self._start, now
        self._left -= 1
        if counts:
            self._timed, self._total = self._timed + 1, self._total + seconds
        return seconds

    @property
    def left(self) -> str:
        """Words on how long the others will take at most, nothing as long as none was mapped."""
        if not self._timed:
            return ""
        seconds = self._left * self._total / self._timed
        return f", about {f'{seconds / 60:.0f} min' if seconds > 90 else f'{seconds:.0f} s'} left"


@contextmanager
def _told(done: int, n: int) -> Iterator[None]:
    """Say with Ctrl-C how many scans are done."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(f"{done} of {n} scans are done, the same command does the others")
        raise


def _for_any_scan(file: PathLike, options: dict[str, Any]) -> Job:
    """A job with these options of `map`, whose settings may come from a result but which need not be for its scan."""
    bound = inspect.signature(map).bind(file, **options)
    bound.apply_defaults()
    job = asked(bound.arguments)
    return replace(job, before=replace(job.before, fingerprint="", contents="")) if job.before else job


def _make_folder(folder: Path) -> None:
    if folder.suffix == ".nc" and not folder.is_dir():
        raise OutputError(f"many scans are mapped into a folder, not into one file; give a folder instead of {folder}")
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        parent = folder.absolute().parent
        raise OutputError(f"the folder {parent} does not exist; create it or choose another one") from error
    except FileExistsError as error:
        raise OutputError(f"{folder} is a file, results of many scans need a folder; give another name") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"the folder {folder} cannot be made ({reason}); choose another one") from error


@dataclass(frozen=True)
class _One:
    """One scan of many, and where its result goes."""

    job: Job
    output: Path
    memory: float | None
    force: bool
    client: Client | None

    def tried(self, progress: Progress) -> Summary:
        """Map it, or say why it cannot be."""
        from cyclestrain.result import Summary

        try:
            return self._mapped(progress)
        except Exception as error:  # whatever it is: the others do not wait for it
            progress.note(f"{self.job.scan} failed")
            return Summary(str(self.job.scan), message=in_words(error))

    def _mapped(self, progress: Progress) -> Summary:
        """Map it unless its result is there."""
        from cyclestrain.result import Summary, load_result, summarise

        job, output, file = self.job, self.output, str(self.job.scan)
        if os.path.lexists(output) and not self.force:
            scan = open_large(job.scan, job.reading, memory=self.memory, output=None, force=False)
            there = load_result(output)
            apart = _difference(output, there, scan, job)
            if apart:
                raise OutputError(f"{output} is there already and was made {apart}; --force makes it anew")
            progress.note(f"{output} is there already")
            return Summary(file, output.name, "skipped", **summarise(there), message="its result was there already")
        scan = open_large(job.scan, job.reading, memory=self.memory, output=output, force=self.force)
        maps = carry_out(scan, job, output, self.force, progress, self.client)
        return Summary(file, output.name, "mapped", **summarise(maps))


def _difference(result: Path, maps: xr.Dataset, scan: Scan, job: Job) -> str:
    """What sets a result apart from the one that a job would give, in words; empty where nothing does."""
    from cyclestrain.io import contents_of, file_state, fingerprint

    run = stored_run(result, maps)
    apart = {"model", "device"}  # where the model lies, and who computes, makes no difference
    one, other = (settings.model_dump(exclude=apart) for settings in (run.settings, job.settings))
    one, other = one | run.reading.model_dump(), other | job.reading.model_dump()
    changed = [name for name in one if one[name] != other[name]]
    if changed:
        return f"with other settings ({', '.join(changed)})"
    if run.model_fingerprint != (job.model.fingerprint if job.model else ""):
        return "with another model"
    if maps.attrs.get("settings_files", "") != files_named(job.settings):
        return "with another content of the files that the settings name"
    if maps.attrs.get("input_state") == file_state(scan.path):
        return ""
    same = run.fingerprint == fingerprint(scan)
    for _ in scan.blocks() if same else ():  # moved, copied or touched: only its patterns tell
        pass
    return "" if same and contents_of(scan).digest == run.contents else "from other patterns"
