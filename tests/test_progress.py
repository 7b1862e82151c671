"""Where a run reports to: silence, a log, a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cyclestrain.progress import Progress, RichProgress, SilentProgress


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
