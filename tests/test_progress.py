"""Where a run reports to: silence, a log, a terminal."""

from __future__ import annotations

import io
import sys
from types import ModuleType

import pytest
from rich.console import Console

from cyclestrain.progress import NotebookProgress, Progress, RichProgress, SilentProgress, shown


def run(progress: Progress) -> None:
    progress.note("beam centre: (127.9, 128.3) [measured]")
    with progress.stage("learn", 10) as task:
        task.advance(4)
        task.status("held-out [1.02]")
        with progress.stage("inner") as inner:
            inner.advance()
        task.advance(6)


def rich_output(terminal: bool) -> str:
    stream = io.StringIO()
    run(RichProgress(Console(file=stream, force_terminal=terminal, width=100)))
    return stream.getvalue()


def test_silence_is_the_default_in_python(capsys: pytest.CaptureFixture[str]) -> None:
    run(SilentProgress())
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_whole_lines_and_no_control_codes() -> None:
    text = rich_output(terminal=False)
    assert "\x1b" not in text
    assert [line.split(":")[0].strip() for line in text.splitlines()] == ["beam centre", "inner", "learn"]


def test_a_terminal_gets_a_bar_that_ends_full() -> None:
    text = rich_output(terminal=True)
    assert "10/10" in text
    assert "[measured]" in text
    assert "held-out [1.02]" in text


def test_results_can_be_piped(capsys: pytest.CaptureFixture[str]) -> None:
    run(RichProgress())
    out, err = capsys.readouterr()
    assert out == ""
    assert "learn" in err


def test_an_error_leaves_the_terminal_clean() -> None:
    progress = RichProgress(Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(ValueError, match="inside"), progress.stage("learn", 3):
        raise ValueError("inside")
    with progress.stage("again", 1) as task:
        task.advance()


def test_times_say_what_they_are() -> None:
    text = rich_output(terminal=True)
    assert "so far" in text
    assert "/?" not in text


class ZMQInteractiveShell:
    """Stands in for the shell of a notebook."""


class Display:
    """Stands in for IPython.display: remembers what was shown last."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def HTML(self, page: str) -> str:
        return page

    def display(self, page: str, display_id: bool) -> Display:
        self.pages.append(page)
        return self

    def update(self, page: str) -> None:
        self.pages[-1] = page


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Display:
    shown_there, ipython = Display(), ModuleType("IPython")
    ipython.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shown_there)
    return shown_there


def test_a_notebook_gets_one_line(notebook: Display) -> None:
    progress = shown(None)
    assert isinstance(progress, NotebookProgress)
    run(progress)
    assert len(notebook.pages) == 1
    assert "inner" in notebook.pages[0]
    assert "1 automatic choices" in notebook.pages[0]
    assert 'value="4" max="8"' in _halfway().html(10.0)
    assert "about 10 s left" in _halfway().html(10.0)


def _halfway() -> NotebookProgress:
    progress = NotebookProgress()
    progress._total, progress._done = 8, 4
    return progress


def test_a_session_shows_progress_and_a_script_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.delattr(sys, "ps1", raising=False)
    assert isinstance(shown(None), SilentProgress)
    assert isinstance(shown(True), RichProgress)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert isinstance(shown(None), RichProgress)
    assert isinstance(shown(False), SilentProgress)
    own = SilentProgress()
    assert shown(own) is own
