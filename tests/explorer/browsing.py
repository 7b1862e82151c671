"""A real browser, and what a person sees and does in a window of it."""

from __future__ import annotations

import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CHROMIUM", "PATIENCE", "Seen", "open_page", "open_window", "running", "served"]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 15.0
"""Longest wait for anything, seconds."""


@contextmanager
def running(
    command: str, *words: str | Path, stop: int = signal.SIGTERM
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A command that serves windows: the address it prints, and its process, which is told to stop at the end."""
    line = [sys.executable, "-m", "cyclestrain.cli", command, *map(str, words), "--no-browser"]
    process = subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # jobs in the background ignore it
    )
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], 120)
        said = process.stdout.readline().decode() if ready else ""
        found = re.search(r"http://\S+", said)
        assert found, f"the server did not start: {said}{process.stdout.read().decode() if process.poll() else ''}"
        yield found[0], process
    finally:
        process.send_signal(stop)
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()


@contextmanager
def served(*words: str | Path) -> Iterator[str]:
    """`cyclestrain explore`, running; gives the address it prints."""
    with running("explore", *words) as (address, _):
        yield address


@dataclass
class Seen:
    """One open window."""

    page: Any
    wrong: list[str]

    def point(self, plot: str, x: float, y: float) -> tuple[float, float]:
        """Where a point of a drawing is in the window."""
        script = """([name, x, y]) => {
          for (const view of Bokeh.index.query((v) => v.model?.name == name)) {
            const box = view.el.getBoundingClientRect(), frame = view.frame
            return [box.x + frame.x_scale.compute(x), box.y + frame.y_scale.compute(y)]
          }
        }"""
        found = self.page.evaluate(script, [plot, x, y])
        return float(found[0]), float(found[1])

    def click(self, plot: str, x: float, y: float) -> None:
        """Click on a point of a drawing."""
        self.page.mouse.click(*self.point(plot, x, y))

    def drag(self, plot: str, *points: tuple[float, float]) -> None:
        """Drag across points ``(x, y)`` of a drawing."""
        self.page.mouse.move(*self.point(plot, *points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.point(plot, *point), steps=5)
        self.page.mouse.up()

    def image(self, plot: str, column: str = "image") -> np.ndarray:
        """The first image of a drawing in such a column, as the browser has it."""
        script = """([name, column]) => {
          const figure = Bokeh.documents[0].get_model_by_name(name)
          const seen = figure.renderers.filter((r) => r.visible && r.glyph.type == "Image")
          const images = seen.map((r) => r.data_source.data)
          const image = images.find((data) => column in data)[column][0]
          return [image.shape, Array.from(image)]
        }"""
        shape, values = self.page.evaluate(script, [plot, column])
        return np.array([np.nan if v is None else v for v in values], float).reshape(shape)

    def source(self, plot: str, column: str) -> np.ndarray:
        """A column of the data of the first renderer of a drawing that has it."""
        script = """([name, column]) => {
          const figure = Bokeh.documents[0].get_model_by_name(name)
          return Array.from(figure.renderers.find((r) => column in r.data_source.data).data_source.data[column])
        }"""
        return np.array(self.page.evaluate(script, [plot, column]), float)

    def text(self, of: str) -> str:
        """Text of a part of the window."""
        return " ".join(self.page.locator(f".cs-{of} :is(h1, code, table, li, span)").all_inner_texts())

    def wait(self, of: str, text: str) -> None:
        """Wait until a part of the window says something."""
        until = time.monotonic() + PATIENCE
        while text not in self.text(of):
            assert time.monotonic() < until, f"{text!r} did not appear in {of}: {self.text(of)!r}"
            self.page.wait_for_timeout(20)

    def press(self, key: str) -> None:
        """Press a key."""
        self.page.keyboard.press(key)

    def choose(self, of: str, label: str) -> None:
        """Press a button of a group and wait until it is on."""
        self.page.locator(f".cs-{of} .bk-btn", has_text=label).first.click()

    def saved(self, key: str) -> tuple[str, bytes]:
        """What the browser saves when a key is pressed."""
        with self.page.expect_download() as download:
            self.press(key)
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def open_page(browser: Any, address: str) -> Seen:
    """A page of the size of a small laptop, with everything that goes wrong in it or leads elsewhere."""
    page = browser.new_page(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    seen = Seen(page, [])
    page.on("pageerror", lambda error: seen.wrong.append(str(error)))
    page.on("console", lambda line: seen.wrong.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: _local(request.url) or seen.wrong.append(f"asked for {request.url}"))
    page.goto(address)
    return seen


def open_window(browser: Any, address: str) -> Seen:
    """A page that shows the window."""
    seen = open_page(browser, address)
    seen.page.wait_for_selector(".cs-numbers table", timeout=PATIENCE * 1000)
    seen.page.wait_for_function("() => Bokeh.documents.length > 0 && Bokeh.documents[0].is_idle")
    return seen


def _local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))
