"""The course of a live map: learn from the first rows, fit what comes, write the map so far, know when to end."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from cyclestrain.data import Block, BoolArray, FloatArray, IntArray, Scan
from cyclestrain.errors import CyclestrainError, InputError
from cyclestrain.estimation import BlockFit
from cyclestrain.io import check_patterns
from cyclestrain.learning import Knowledge, Material
from cyclestrain.result import MapResult
from cyclestrain.settings import MapSettings
from cyclestrain.streaming.helpers import Helpers
from cyclestrain.streaming.so_far import fit_block, learn_so_far, map_so_far, preview_strain

__all__ = ["Course", "Heard", "Source", "follow"]

T = TypeVar("T")

LEAD = 256
"""Positions after which a scan is calibrated for the first time."""
GROWTH = 4
"""Factor by which the positions must have grown to calibrate again: the beam may wander as the scan goes on."""
BLOCK = 256
"""Positions fitted between two looks at what else there is to do."""
SHARE = 0.2
"""Share of one processor that context, reference and file of the map so far may take."""
PAUSE = 0.02
"""Seconds to wait where nothing has come."""
CAUGHT_UP = 1.0
"""Lag, seconds, below which the first rows, which came before anything was known, are caught up with."""
WINDOW = 5.0
"""Seconds over which the rate is measured."""


@dataclass(frozen=True)
class Heard:
    """What a source has to tell since it was asked last; positions are flat and ascending.

    Attributes
    ----------
    came
        Positions whose patterns have come, shape ``(n,)``.
    left
        Positions that can be read from the scan now and that the source does not fit, shape ``(k,)``.
    fits
        Fits that the source made itself.
    ended
        Why nothing more will come, as a sentence; empty while the source goes on.
    """

    came: IntArray
    left: IntArray
    fits: tuple[BlockFit, ...] = ()
    ended: str = ""


class Source(Protocol):
    """Where patterns come from, in the order of the scan."""

    @property
    def scan(self) -> Scan:
        """The whole scan; patterns that have come can be read from it."""

    def use(self, knowledge: Knowledge) -> None:
        """Fit with this knowledge from now on, if the source fits."""

    def listen(self) -> Heard:
        """What has happened, without waiting."""

    def rest(self) -> IntArray:
        """Positions that can be read and were not told of, when no more will be listened to."""

    def drive(self, work: Callable[[], T]) -> T:
        """Do some work, and meanwhile whatever makes patterns come."""


@dataclass
class Course:
    """Where a live map stands.

    Attributes
    ----------
    fit
        Fits of all positions of the scan, those not fitted yet unknown.
    came, left, fitted
        Positions whose patterns have come, those that are left to be fitted here, and those that are fitted, shape
        ``(n,)``.
    strain
        Preview of ``eyy, exx, exy`` and rotation, shape ``(n, 4)``.
    knowledge
        The newest knowledge, None before there is any.
    lag, slowest
        Seconds since the oldest pattern came that is not fitted yet, 0 where all are; and the largest that this was
        after the first rows, from which was learned, were caught up with.
    ended
        Why it ended, as a sentence; empty if the scan is complete.
    trouble
        Why there is no map of what has come, as a sentence; empty where there is one.
    began, newest
        When the first and the newest pattern came, seconds of `time.monotonic`.
    """

    fit: BlockFit
    came: BoolArray
    left: BoolArray
    fitted: BoolArray
    strain: FloatArray
    knowledge: Knowledge | None = None
    lag: float = 0.0
    slowest: float = 0.0
    ended: str = ""
    trouble: str = ""
    began: float = math.nan
    newest: float = math.nan
    _caught_up: bool = False
    _times: deque[tuple[float, int]] = field(default_factory=deque)
    _waiting: deque[tuple[float, int]] = field(default_factory=deque)

    @classmethod
    def begun(cls, n: int) -> Course:
        """A map of `n` positions of which nothing has come."""
        came, left, fitted = (np.zeros(n, bool) for _ in range(3))
        return cls(BlockFit.unknown(np.arange(n)), came, left, fitted, np.full((n, 4), np.nan))

    @property
    def complete(self) -> bool:
        """Whether every position is fitted."""
        return bool(self.fitted.all())

    @property
    def rate(self) -> float:
        """Positions that came per second, over the last seconds."""
        if len(self._times) < 2:
            return 0.0
        (start, before), (now, count) = self._times[0], self._times[-1]
        return (count - before) / max(now - start, 1e-9)

    @property
    def mean_rate(self) -> float:
        """Positions that came per second, from the first to the newest."""
        return int(self.came.sum()) / max(self.newest - self.began, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Seconds until the scan is complete at this rate, infinite where nothing comes."""
        return int((~self.came).sum()) / self.rate if self.rate else math.inf

    @property
    def readable(self) -> int:
        """Number of positions, from the first one on, that can be read without a gap."""
        here = self.left | self.fitted
        return here.size if here.all() else int(np.argmin(here))

    def hear(self, heard: Heard, now: float) -> None:
        """Take over what a source tells."""
        self.came[heard.came] = self.left[heard.left] = True
        count = int(self.came.sum())
        if len(heard.came):
            self._waiting.append((now, count))
            self.began, self.newest = (now if math.isnan(self.began) else self.began), now
        self._times.append((now, count))
        while now - self._times[0][0] > WINDOW:
            self._times.popleft()
        for fit in heard.fits:
            self.take(fit)
        self._measure_lag(now)

    def take(self, fit: BlockFit) -> None:
        """Take over the fits of some positions."""
        for name, values in self.fit.arrays.items():
            values[fit.positions] = fit.arrays[name]
        self.came[fit.positions] = self.fitted[fit.positions] = True
        self.strain[fit.positions] = preview_strain(fit.affine)

    def _measure_lag(self, now: float) -> None:
        done = int(self.fitted.sum())
        while self._waiting and self._waiting[0][1] <= done:
            self._waiting.popleft()
        self.lag = now - self._waiting[0][0] if self._waiting else 0.0
        self.slowest = max(self.slowest, self.lag) if self._caught_up else self.lag
        self._caught_up |= done > 0 and self.lag < CAUGHT_UP


@dataclass(frozen=True)
class _Work:
    """What a live map does, and with what."""

    source: Source
    material: Material
    settings: MapSettings
    helpers: Helpers
    keep: Callable[[MapResult], None]
    show: Callable[[Course], None]
    timeout: float
    every: float


def follow(
    source: Source,
    material: Material,
    settings: MapSettings,
    helpers: Helpers,
    *,
    keep: Callable[[MapResult], None],
    show: Callable[[Course], None],
    timeout: float,
    every: float,
) -> tuple[Course, MapResult | None]:
    """Map a scan while it comes, until it is complete, stops, or is interrupted.

    Parameters
    ----------
    source
        Where patterns come from.
    material
        What the model knows of the sample.
    settings
        As for `cyclestrain.pipeline.map_scan`.
    helpers
        Who calibrates, and who makes the results so far; where these are other processes, the scan and `keep` can be
        sent to them.
    keep
        Takes the result so far, at intervals.
    show
        Shows where the map stands; called at every look.
    timeout
        Seconds without a new pattern after which the scan counts as stopped.
    every
        Least seconds between two results so far.

    Returns
    -------
    course, result
        Where the map ended, and the result of what came; None where nothing could be measured.
    """
    work = _Work(source, material, settings, helpers, keep, show, timeout, every)
    course, learning = Course.begun(source.scan.n_positions), _Learning(work)
    saving = _Saving(work)
    try:
        _until_end(work, course, learning, saving)
    except KeyboardInterrupt:
        course.ended = "interrupted"
    if not course.complete:
        rest = source.rest()
        course.hear(Heard(rest, rest), time.monotonic())
    if course.knowledge is None:
        learning.look(course, at_least=1)
        learning.finish(course)
    saving.finish()
    return course, _last(work, course)


def _until_end(work: _Work, course: Course, learning: _Learning, saving: _Saving) -> None:
    """Look at what has come, and do what is next, again and again until nothing more can come."""
    newest = time.monotonic()
    while not course.complete:
        heard, now = work.source.listen(), time.monotonic()
        course.hear(heard, now)
        learning.look(course)
        busy = _fit_next(work, course) or len(heard.came) > 0 or len(heard.fits) > 0
        newest = time.monotonic() if busy or learning.busy else newest
        work.show(course)
        saving.look(course)
        if busy:
            continue
        if heard.ended and not learning.busy:
            course.ended = heard.ended
            return
        if time.monotonic() - newest > work.timeout:
            course.ended = f"no pattern came for {work.timeout:g} s"
            return
        time.sleep(PAUSE)


class _Learning:
    """Calibrates the scan anew whenever enough more of it has come."""

    def __init__(self, work: _Work) -> None:
        self._work, self._done, self._asked = work, 0, 0
        self._future: Future[Knowledge] | None = None

    @property
    def busy(self) -> bool:
        """Whether a calibration is under way."""
        return self._future is not None

    def look(self, course: Course, at_least: int = LEAD) -> None:
        """Take what was learned, or ask for more where enough has come."""
        if self._future is not None:
            if self._future.done():
                self.finish(course)
            return
        scan = self._work.source.scan
        columns = scan.scan_shape[1]
        rows = course.readable // columns
        wanted = max(GROWTH * self._done, min(at_least, scan.n_positions))
        if rows and rows * columns >= wanted and not (self._done and rows == scan.scan_shape[0]):
            self._asked = rows * columns
            arguments = (rows, self._work.material, self._work.settings)
            self._future = self._work.helpers.learning.submit(learn_so_far, scan, *arguments)

    def finish(self, course: Course) -> None:
        """Wait for the calibration that is under way, if one is."""
        if self._future is None:
            return
        future, self._future = self._future, None
        try:
            course.knowledge = future.result()
            course.trouble = ""
            self._work.source.use(course.knowledge)
            self._done = self._asked
        except InputError as error:  # the first rows may be vacuum: more will come
            course.trouble = str(error)
            self._done = max(self._asked // 2, 1)


class _Saving:
    """Makes and keeps the result so far whenever it is due."""

    def __init__(self, work: _Work) -> None:
        self._work, self._due = work, time.monotonic() + work.every
        self._future: Future[tuple[float, str]] | None = None

    def look(self, course: Course) -> None:
        """Ask for a result where one is due and none is under way."""
        if self._future is not None and self._future.done():
            seconds, course.trouble = self._future.result()
            self._due, self._future = time.monotonic() + max(self._work.every, seconds / SHARE), None
        if self._future is None and time.monotonic() > self._due and course.knowledge is not None:
            work, fit = self._work, course.fit.only(course.fit.positions)  # a copy
            arguments = (work.source.scan, fit, course.fitted.copy(), course.knowledge, work.settings)
            self._future = work.helpers.saving.submit(_keep, work.keep, *arguments)

    def finish(self) -> None:
        """Wait for the result that is under way, if one is: the last one comes after it."""
        if self._future is not None:
            self._future.result()


def _fit_next(work: _Work, course: Course) -> bool:
    """Fit the oldest positions that came and that the source does not fit; False where there are none."""
    if course.knowledge is None:
        return False
    open_ = np.flatnonzero(course.left & ~course.fitted)[:BLOCK]
    if not len(open_):
        return False
    last = int(np.flatnonzero(np.diff(open_, append=-1) != 1)[0])
    block = _read(work.source.scan, int(open_[0]), int(open_[last]) + 1)
    check_patterns(block.patterns, int(block.positions[0]))
    course.take(fit_block(block, course.knowledge))
    return True


def _read(scan: Scan, first: int, stop: int) -> Block:
    """Patterns of consecutive positions, row by row."""
    columns = scan.scan_shape[1]
    parts = []
    for row in range(first // columns, (stop - 1) // columns + 1):
        low, high = max(first - row * columns, 0), min(stop - row * columns, columns)
        parts.append(scan.part(slice(row, row + 1), slice(low, high)))
    return Block.joined(parts)


def _keep(keep: Callable[[MapResult], None], *arguments: Any) -> tuple[float, str]:
    """Make and keep the result so far; gives the seconds that this took, and what went wrong."""
    start, trouble = time.perf_counter(), ""
    try:
        keep(map_so_far(*arguments))
    except CyclestrainError as error:  # more will come, and the disk may have room again
        trouble = str(error)
    return time.perf_counter() - start, trouble


def _last(work: _Work, course: Course) -> MapResult | None:
    """The result of everything that came."""
    if course.knowledge is None:
        return None
    while _fit_next(work, course):
        work.show(course)
    try:
        result = map_so_far(work.source.scan, course.fit, course.fitted, course.knowledge, work.settings)
    except InputError as error:
        course.trouble = str(error)
        return None
    work.keep(result)
    return result
