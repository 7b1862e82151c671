"""Progress of long work: stages of known length, and notes on automatic choices.

The stages of a run call ``with progress.stage("learn", total) as task: task.advance(n)`` and ``progress.note("beam
centre: (127.9, 128.3), measured")``; the caller decides what becomes of it. The command line and interactive
sessions show it, scripts do not unless they are told to (`shown`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from cyclestrain.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichBars
    from rich.progress import ProgressColumn, TaskID
    from rich.progress import Task as RichTask

__all__ = ["NotebookProgress", "Progress", "RichProgress", "SilentProgress", "Task", "clock", "shown"]


REDRAW = 0.2
"""Seconds between two drawings of the line in a notebook."""


class Task(Protocol):
    """A stage that is under way."""

    def advance(self, n: int = 1) -> None:
        """Count `n` more units of the stage's total as done."""

    def status(self, text: str) -> None:
        """Show where the stage stands: a few words that replace the previous ones."""


class Progress(Protocol):
    """Receiver of the stages and notes of a run."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Task]:
        """Open a stage, which ends with the ``with`` block.

        Parameters
        ----------
        name
            A few words for the user.
        total
            Number of units of the stage; None where it is not known.
        """

    def note(self, text: str) -> None:
        """Report an automatic choice or a finding in one line."""


class SilentProgress:
    """A receiver that shows nothing."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Task]:
        """Open a stage that is not shown.

        Parameters
        ----------
        name, total
            Ignored.
        """
        yield self

    def advance(self, n: int = 1) -> None:
        """Do nothing."""

    def status(self, text: str) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


class RichProgress:
    """Bars with the time left, and notes line by line.

    On a terminal the bars are updated in place; elsewhere (a log file, a pipe) a stage prints one line when it ends.

    Parameters
    ----------
    console
        Where to print; by default the standard error stream, so that results can be piped.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self.console = console or Console(stderr=True, highlight=False)
        self._bars: RichBars | None = None
        self._depth = 0

    def note(self, text: str) -> None:
        """Print one line above the bars; brackets in it are printed as they are."""
        self.console.print(f"  {printable(text)}", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Task]:
        """Open a stage; where stages are nested, the outermost one starts and stops the display.

        Parameters
        ----------
        name
            A few words for the user.
        total
            Number of units of the stage; None where it is not known.
        """
        if not self.console.is_terminal:
            start = time.perf_counter()
            yield SilentProgress()
            self.console.print(f"{name}: {time.perf_counter() - start:.1f} s", markup=False)
            return
        if self._bars is None:
            self._bars = _bars(self.console)
            self._bars.start()
        self._depth += 1
        task = _BarTask(self._bars, self._bars.add_task(name, total=total, status=""), total)
        try:
            yield task
            task.finish()
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._bars.stop()
                self._bars = None


class _BarTask:
    """A stage drawn as a bar."""

    def __init__(self, bars: RichBars, task: TaskID, total: int | None) -> None:
        self._bars = bars
        self._task = task
        self._total = total or 1

    def advance(self, n: int = 1) -> None:
        """Move the bar."""
        self._bars.advance(self._task, n)

    def status(self, text: str) -> None:
        """Show the text after the bar."""
        self._bars.update(self._task, status=text)

    def finish(self) -> None:
        """Fill the bar, also where the total was unknown or not quite reached."""
        self._bars.update(self._task, total=self._total, completed=self._total)


def _amount(done: float, total: float | None) -> str:
    """Units of a stage that are done, nothing where their number is not known."""
    return "" if total is None or total == 1 else f"{int(done)}/{int(total)}"


def _times(elapsed: float | None, left: float | None) -> str:
    """Time spent and, where it is known, time left."""
    spent = f"{clock(elapsed or 0.0)} so far"
    return f"{spent}, {clock(left)} left" if left else spent


def clock(seconds: float) -> str:
    """A time as people read it, ``1:05`` or ``2:03:07``.

    Examples
    --------
    >>> clock(65.2), clock(7387)
    ('1:05', '2:03:07')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _column(text: Callable[[RichTask], str]) -> ProgressColumn:
    """Column of a bar with a text that is made of its task."""
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Column(ProgressColumn):
        def render(self, task: RichTask) -> Text:
            return Text(text(task))

    return Column()


def _bars(console: Console) -> RichBars:
    """Bars of the command line: name, bar, units, time spent, time left, and where the stage stands."""
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description:<12}"),
        progress.BarColumn(bar_width=28),
        _column(lambda task: _amount(task.completed, task.total)),
        _column(
            lambda task: _times(task.finished_time or task.elapsed, None if task.finished else task.time_remaining)
        ),
        progress.TextColumn("{task.fields[status]}", markup=False),
        console=console,
    )


def shown(progress: Progress | bool | None) -> Progress:
    """Where a function reports to.

    Parameters
    ----------
    progress
        A receiver; True for what suits the place, a bar in a terminal or one line in a notebook; False for nowhere;
        None for True in an interactive session (Python, IPython, Jupyter) and False in a script.
    """
    if progress is None:
        progress = hasattr(sys, "ps1") or _shell() is not None
    if progress is True:
        return NotebookProgress() if _is_notebook() else RichProgress()
    return SilentProgress() if progress is False else progress


def _shell() -> Any:
    """The IPython that runs, if one does."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None


def _is_notebook() -> bool:
    return type(_shell()).__name__ == "ZMQInteractiveShell"


class NotebookProgress:
    """One line in a notebook that follows the run, with the automatic choices to unfold under it."""

    def __init__(self) -> None:
        self._notes: list[str] = []
        self._stage, self._status, self._done = "", "", 0
        self._total: int | None = None
        self._start = self._drawn = 0.0
        self._handle: Any = None

    def note(self, text: str) -> None:
        """Keep a line to unfold."""
        self._notes.append(text)
        self._draw(force=True)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Task]:
        """Show another stage in the line.

        Parameters
        ----------
        name
            A few words for the user.
        total
            Number of units of the stage; None where it is not known.
        """
        self._stage, self._total, self._done, self._status = name, total, 0, ""
        self._start = time.perf_counter()
        self._draw(force=True)
        yield self
        self._status, self._done = "done", total or 1
        self._draw(force=True)

    def advance(self, n: int = 1) -> None:
        """Move the bar."""
        self._done += n
        self._draw()

    def status(self, text: str) -> None:
        """Show the text after the bar."""
        self._status = text
        self._draw()

    def _draw(self, force: bool = False) -> None:
        now = time.perf_counter()
        if not force and now - self._drawn < REDRAW:
            return
        self._drawn = now
        shown: Any = import_module("IPython.display")  # partly typed, and not always there
        page = shown.HTML(self.html(now - self._start))
        if self._handle is None:
            self._handle = shown.display(page, display_id=True)
        else:
            self._handle.update(page)

    def html(self, seconds: float) -> str:
        """The line as it is shown, `seconds` after the stage began."""
        bar = f'<progress value="{self._done}" max="{self._total or 1}"></progress>'
        bar = bar if self._total or self._status == "done" else "<progress></progress>"
        words = [f"{seconds:.0f} s"]
        if self._total and 0 < self._done < self._total:
            words.append(f"about {seconds * (self._total - self._done) / self._done:.0f} s left")
        line = f"{escape(self._stage)} {bar} {', '.join(words)} {escape(self._status)}"
        choices = "<br>".join(escape(note) for note in self._notes)
        more = f"<details><summary>{len(self._notes)} automatic choices</summary>{choices}</details>"
        return line + (more if self._notes else "")
