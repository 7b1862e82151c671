"""Progress of long work: stages of known length, and notes on automatic choices.

The stages of a run call ``with progress.stage("learn", total) as task: task.advance(n)`` and ``progress.note("beam
centre: (127.9, 128.3), measured")``; the caller decides what becomes of it. In Python nothing is shown by default, on
the command line `RichProgress` shows it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from cyclestrain.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichBars
    from rich.progress import TaskID

__all__ = ["Progress", "RichProgress", "SilentProgress", "Task"]


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


def _bars(console: Console) -> RichBars:
    """Bars of the command line: name, bar, share, units, time spent and time left."""
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description:<12}"),
        progress.BarColumn(bar_width=28),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[status]}", markup=False),
        console=console,
    )
