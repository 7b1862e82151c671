"""The explorer on a map that grows: a process of its own that serves it, and what tells that process what came.

Here only what is new is passed on. The other process makes the maps of it and answers the browsers, behind whoever fits
patterns, so that looking never slows the fits down.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from cyclestrain.data import BoolArray, Scan
from cyclestrain.errors import CyclestrainError, InputError
from cyclestrain.estimation import BlockFit
from cyclestrain.learning import Knowledge
from cyclestrain.result import MapResult
from cyclestrain.settings import MapSettings
from cyclestrain.streaming.following import Course
from cyclestrain.streaming.helpers import BEHIND, in_another
from cyclestrain.streaming.so_far import map_so_far
from cyclestrain.streaming.terminal import words

if TYPE_CHECKING:
    from bokeh.document import Document
    from tornado.ioloop import IOLoop

    from cyclestrain.explorer import Opened

__all__ = ["LiveWindow", "live_window"]

START = 120.0
"""Longest time for the other process to start, seconds."""
REFRESH = 0.5
"""Seconds between two messages of what has come."""
PAUSE = 2.0
"""Pause between two maps, in the time that the one before took."""


@dataclass(frozen=True)
class _Scan:
    """A scan has started."""

    scan: Scan
    settings: MapSettings


@dataclass(frozen=True)
class _News:
    """What was fitted since the last message; knowledge where it is new."""

    words: str
    fit: BlockFit
    knowledge: Knowledge | None


@dataclass(frozen=True)
class _End:
    """The last result, what its file is called, and whether there is one."""

    result: MapResult
    name: str
    in_file: bool


@dataclass
class LiveWindow:
    """The explorer on a map that grows, seen from who makes it.

    Attributes
    ----------
    address
        What a browser opens.
    """

    address: str
    _pipe: Connection
    _process: Any
    _sent: BoolArray = field(init=False)
    _knowledge: Knowledge | None = field(default=None, init=False)
    _next: float = field(default=0.0, init=False)

    def start(self, scan: Scan, settings: MapSettings) -> None:
        """Tell of a scan that has started.

        Parameters
        ----------
        scan
            The scan; what has come can be read from it in another process too.
        settings
            How it is mapped.
        """
        self._sent = Course.begun(scan.n_positions).fitted
        self._tell(_Scan(scan, settings))

    def show(self, course: Course, *, now: bool = False) -> None:
        """Tell what has come, at most twice a second.

        Parameters
        ----------
        course
            Where the map stands.
        now
            Whether to tell it at once.
        """
        if time.monotonic() < self._next and not now:
            return
        self._next = time.monotonic() + REFRESH
        new = (course.fitted & ~self._sent).nonzero()[0]
        knowledge = course.knowledge if course.knowledge is not self._knowledge else None
        self._tell(_News(words(course), course.fit.only(new), knowledge))
        self._sent[new], self._knowledge = True, course.knowledge

    def end(self, course: Course, result: MapResult, name: str, *, in_file: bool) -> None:
        """Show the last result from here on.

        Parameters
        ----------
        course
            Where the map ended.
        result
            The result.
        name
            Of its file, or what it is called where it is in none.
        in_file
            Whether it is in a file.
        """
        self.show(course, now=True)
        self._tell(_End(result, name, in_file))

    def wait(self) -> None:
        """Wait until Ctrl+C, which is noticed whichever thread of this process the system tells of it."""
        with suppress(KeyboardInterrupt):
            while self._process.is_alive():
                self._process.join(REFRESH)

    def _tell(self, message: Any) -> None:
        with suppress(OSError):  # the window is gone, the map goes on
            self._pipe.send(message)


@contextmanager
def live_window(port: int) -> Iterator[LiveWindow]:
    """Serve the explorer on this machine until the ``with`` block ends.

    Parameters
    ----------
    port
        Port to listen on; 0 for any free one.

    Raises
    ------
    InputError
        If the port cannot be had.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, port), daemon=True)
    process.start()
    there.close()
    try:
        yield LiveWindow(_address(here), here, process)
    finally:
        here.close()
        process.terminate()
        process.join(START)


def _address(pipe: Connection) -> str:
    try:
        said = pipe.recv() if pipe.poll(START) else InputError("the explorer did not start; try it without --explore")
    except EOFError:
        said = InputError("the explorer ended before it started; try it without --explore")
    if isinstance(said, Exception):
        raise said
    return str(said)


def _serve(pipe: Connection, port: int) -> None:
    """Serve, in the other process, until the pipe or the process ends."""
    from cyclestrain.explorer.serving import make_server

    in_another(BEHIND)
    desk = _Desk()
    try:
        server, where = make_server(desk.fill, port=port)
    except CyclestrainError as error:
        pipe.send(error)
        return
    loop = server.io_loop
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stop = partial(loop.add_callback, loop.stop)
    for work in (partial(_receive, pipe, received.put, stop), partial(_Maker(desk, loop).work, received)):
        threading.Thread(target=work, daemon=True).start()
    server.start()
    pipe.send(where)
    loop.start()


class _Desk:
    """What browsers are given: a word of patience until there is a map, then the explorer."""

    def __init__(self) -> None:
        self.opened: Opened | None = None
        self._words = "waiting for the scan to start"

    def fill(self, document: Document) -> None:
        """Fill the document of a browser."""
        from cyclestrain.explorer.serving import waiting_room, window_of

        if self.opened is not None:
            window_of(document, self.opened)
        else:
            waiting_room(document, lambda: self._words if self.opened is None else None)

    def say(self, text: str) -> None:
        """Say where the scan stands."""
        self._words = text
        if self.opened is not None:
            self.opened.words = text

    def grow(self, scan: Scan, made: MapResult, there: BoolArray) -> None:
        """Show the map of the positions that are there, shape ``(ry, rx)``."""
        from cyclestrain.explorer import Opened

        if self.opened is None:
            self.opened = Opened(made.maps, scan.name, scan=scan, in_file=False, growing=True, came=there)
            self.opened.words = self._words
        else:
            self.opened.grow(made.maps, there)

    def end(self, scan: Scan, there: BoolArray, message: _End) -> None:
        """Show the last result."""
        self.grow(scan, message.result, there)
        assert self.opened is not None
        self.opened.name, self.opened.in_file = message.name, message.in_file
        self.opened.end(message.result.maps, message.result.groups, scan)


def _receive(pipe: Connection, put: Callable[[Any], None], stop: Callable[[], None]) -> None:
    """Take messages as they come, so that who sends them never waits."""
    with suppress(EOFError, OSError):
        while True:
            put(pipe.recv())
    stop()


class _Maker:
    """Makes maps of what comes, one after the other with pauses; the thread of the browsers takes them over."""

    def __init__(self, desk: _Desk, loop: IOLoop) -> None:
        self._desk, self._loop = desk, loop
        self._scan: Scan | None = None
        self._settings = MapSettings()
        self._course = Course.begun(0)
        self._due, self._new = 0.0, False

    def work(self, received: queue.SimpleQueue[Any]) -> None:
        """Hear messages and make maps, for ever."""
        while True:
            with suppress(queue.Empty):
                self.hear(received.get(timeout=REFRESH))
            if received.empty() and time.monotonic() > self._due:
                start = time.monotonic()
                self.make()
                self._due = time.monotonic() + PAUSE * (time.monotonic() - start)

    @property
    def _there(self) -> BoolArray:
        """Positions that are fitted and can be read, shape ``(ry, rx)``."""
        assert self._scan is not None
        return self._course.fitted.reshape(self._scan.scan_shape).copy()

    def hear(self, message: Any) -> None:
        """Take over a message."""
        course = self._course
        if isinstance(message, _Scan):
            self._scan, self._settings = message.scan, message.settings
            self._course = Course.begun(message.scan.n_positions)
        elif isinstance(message, _News):
            course.take(message.fit)
            course.knowledge = message.knowledge or course.knowledge
            self._new |= len(message.fit.positions) > 0 and course.knowledge is not None
            self._loop.add_callback(self._desk.say, message.words)
        elif isinstance(message, _End) and self._scan is not None:
            self._new = False
            self._loop.add_callback(self._desk.end, self._scan, self._there, message)

    def make(self) -> None:
        """Make the map of what has come where that is more than before."""
        course, scan = self._course, self._scan
        if not self._new or scan is None or course.knowledge is None:
            return
        self._new = False
        try:
            made = map_so_far(scan, course.fit, course.fitted, course.knowledge, self._settings, context=False)
            self._loop.add_callback(self._desk.grow, scan, made, self._there)
        except InputError as error:  # nothing can be measured yet
            self._loop.add_callback(self._desk.say, f"no map yet: {error}")
