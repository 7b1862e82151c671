"""The course of a live map: learn from the first rows, fit what comes, write the map so far, know when to end."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from cyclestrain.data import Block, BoolArray, FloatArray, IntArray, Scan
from cyclestrain.errors import CyclestrainError, InputError
from cyclestrain.estimation import BlockFit
from cyclestrain.io import check_patterns
from cyclestrain.learning import Knowledge, Material
from cyclestrain.result import MapResult
from cyclestrain.settings import MapSettings
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
        if len(heard.came):
            self._waiting.append((now, int(self.came.sum())))
            self.began, self.newest = (now if math.isnan(self.began) else self.began), now
        self._times.append((now, int(self.came.sum())))
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
            self._caught_up = True
        self.lag = now - self._waiting[0][0] if self._waiting else 0.0
        if self._caught_up:
            self.slowest = max(self.slowest, self.lag)


@dataclass(frozen=True)
class _Work:
    """What a live map does, and with what."""

    source: Source
    material: Material
    settings: MapSettings
    keep: Callable[[MapResult], None]
    show: Callable[[Course], None]
    timeout: float
    every: float


def follow(
    source: Source,
    material: Material,
    settings: MapSettings,
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
    keep
        Takes the result so far, at intervals, in another thread.
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
    work = _Work(source, material, settings, keep, show, timeout, every)
    course = Course.begun(source.scan.n_positions)
    with ThreadPoolExecutor(1) as pool:
        try:
            _until_end(work, course, pool)
        except KeyboardInterrupt:
            course.ended = "interrupted"
    if not course.complete:
        rest = source.rest()
        course.hear(Heard(rest, rest), time.monotonic())
    return course, _last(work, course)


def _until_end(work: _Work, course: Course, pool: ThreadPoolExecutor) -> None:
    """Look at what has come, and do what is next, again and again until nothing more can come."""
    newest, due, learned = time.monotonic(), time.monotonic() + work.every, 0
    saving: Future[float] | None = None
    while not course.complete:
        heard, now = work.source.listen(), time.monotonic()
        course.hear(heard, now)
        learned = _learn(work, course, learned)
        busy = _fit_next(work, course) or len(heard.came) > 0 or len(heard.fits) > 0
        newest = time.monotonic() if busy else newest
        work.show(course)
        if saving is not None and saving.done():
            due, saving = time.monotonic() + max(work.every, saving.result() / SHARE), None
        if saving is None and now > due and course.knowledge is not None:
            fit = course.fit.only(course.fit.positions)  # a copy
            saving = pool.submit(_keep, work, course, fit, course.fitted.copy())
        if busy:
            continue
        course.ended = heard.ended or (
            f"no pattern came for {work.timeout:g} s" if time.monotonic() - newest > work.timeout else ""
        )
        if course.ended:
            return
        time.sleep(PAUSE)


def _learn(work: _Work, course: Course, learned: int) -> int:
    """Calibrate where enough more has come than the last time; returns the number of positions that was done with."""
    scan, columns = work.source.scan, work.source.scan.scan_shape[1]
    rows = course.readable // columns
    wanted = max(GROWTH * learned, min(LEAD, scan.n_positions))
    if rows * columns < wanted or (learned and rows == scan.scan_shape[0]):
        return learned
    try:
        course.knowledge = learn_so_far(scan, rows, work.material, work.settings)
        course.trouble = ""
        work.source.use(course.knowledge)
    except InputError as error:  # the first rows may be vacuum: more will come
        course.trouble = str(error)
        return max(rows * columns // 2, 1)
    return rows * columns


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


def _keep(work: _Work, course: Course, fit: BlockFit, fitted: BoolArray) -> float:
    """Make and keep the result so far; returns the seconds that this took."""
    start, knowledge = time.perf_counter(), course.knowledge
    if knowledge is not None:
        try:
            work.keep(map_so_far(work.source.scan, fit, fitted, knowledge, work.settings))
            course.trouble = ""
        except CyclestrainError as error:  # more will come, and the disk may have room again
            course.trouble = str(error)
    return time.perf_counter() - start


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
