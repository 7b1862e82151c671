"""How long a person waits in the explorer: for the first window, and for the pattern under the mouse.

    python benchmarks/explorer.py [RESULT SCAN]

runs the command itself and drives a real browser (Chromium, through Playwright: `make test-app` installs both). Without
files it makes the demo's scan first (48 x 48 positions of 256 x 256 pixels). The scan is read once before, so that it
is in the page cache. A pattern is timed in the browser, from the event of the mouse until the frame after the one that
draws the new pattern.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

import cyclestrain as cs

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
N_WINDOWS, N_PATTERNS = 3, 60
PLACE = """([row, column]) => {
  const figure = Bokeh.documents[0].get_model_by_name("map")
  const [view] = Bokeh.index.query((v) => v.model === figure)
  const box = view.el.getBoundingClientRect()
  return [box.x + view.frame.x_scale.compute(column), box.y + view.frame.y_scale.compute(row)]
}"""
"""Where a position of a scan without a known step is in the window."""
WATCH = """() => {
  const pattern = Bokeh.documents[0].get_model_by_name("pattern")
  const source = pattern.renderers.find((r) => r.glyph.type == "Image").data_source
  window.drawn = new Promise((done) => {
    let start = null
    const moved = () => { start ??= performance.now() }
    const changed = () => {
      source.properties.data.change.disconnect(changed)
      window.removeEventListener("pointermove", moved, true)
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)))
    }
    window.addEventListener("pointermove", moved, true)
    source.properties.data.change.connect(changed)
  })
}"""
"""Measures from the next move of the mouse until the frame after the one that draws the next pattern."""


def served(result: Path, scan: Path) -> tuple[subprocess.Popen[str], str]:
    """The command, running, and the address it prints."""
    command = [sys.executable, "-m", "cyclestrain.cli", "explore", str(result), str(scan), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found, "the server did not start"
    return process, found[0]


def first_windows(page: Page, result: Path, scan: Path) -> tuple[list[float], float]:
    """Seconds from the command to a window with maps, pattern and numbers; seconds of the processor in the last."""
    seconds = []
    for _ in range(N_WINDOWS):
        start = time.perf_counter()
        process, address = served(result, scan)
        page.goto(address)
        page.wait_for_selector(".cs-numbers table")
        page.wait_for_function("() => Bokeh.documents[0]?.is_idle")
        seconds.append(time.perf_counter() - start)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process.terminate()
        process.communicate()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def patterns(page: Page, result: Path, scan: Path, shape: tuple[int, int]) -> list[float]:
    """Milliseconds from a move of the dragging mouse over the map until the pattern under it is drawn."""
    process, address = served(result, scan)
    page.goto(address)
    page.wait_for_selector(".cs-numbers table")
    page.wait_for_function("() => Bokeh.documents[0]?.is_idle")
    page.wait_for_timeout(500)
    rng = np.random.default_rng(1)
    places = rng.permutation(shape[0] * shape[1])[: N_PATTERNS + 1]  # every position once: none is kept from before
    waits = []
    page.mouse.move(*page.evaluate(PLACE, [0, 0]))
    page.mouse.down()
    page.mouse.move(*page.evaluate(PLACE, [1, 1]), steps=4)
    for place in places:
        point = page.evaluate(PLACE, [int(part) for part in divmod(int(place), shape[1])])
        page.wait_for_timeout(100)
        page.evaluate(WATCH)
        page.mouse.move(*point)
        waits.append(float(page.evaluate("() => window.drawn")))
    page.mouse.up()
    process.terminate()
    process.communicate()
    return waits[1:]


def server_alone(result: Path, scan: Path) -> float:
    """Milliseconds of the processor that the server needs for the pattern of another position, its fit and numbers."""
    from cyclestrain.api.exploring import open_files
    from cyclestrain.explorer import Session
    from cyclestrain.explorer.views.window import Window

    session = Session(open_files(result, scan, None, {}))
    window = Window(session)
    places = np.random.default_rng(2).permutation(np.prod(session.opened.shape))[: N_PATTERNS + 1]
    start = 0.0
    for n, place in enumerate(places):
        if n == 1:
            start = time.process_time()
        window.change(at=tuple(int(part) for part in divmod(int(place), session.opened.shape[1])))
    return (time.process_time() - start) / N_PATTERNS * 1e3


def main() -> None:
    """Time both and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="RESULT SCAN")
    files = parser.parse_args().files
    if len(files) not in (0, 2):
        parser.error("give a result and its scan, or nothing for the demo's")
    with tempfile.TemporaryDirectory() as folder:
        if files:
            result, scan = files
        else:
            cs.demo(folder, progress=cs.RichProgress())
            result, scan = Path(folder) / "strain.nc", Path(folder) / "scan.h5"
        scan.read_bytes()
        maps = cs.load(result)
        shape = (maps.sizes["ry"], maps.sizes["rx"])
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            windows, processor = first_windows(page, result, scan)
            waits = np.array(patterns(page, result, scan, shape))
            browser.close()
        alone = server_alone(result, scan)
        detector = " x ".join(str(n) for n in cs.read(scan).detector_shape)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} in the last minute")
        print(f"first window: {np.median(windows):.2f} s (median of {len(windows)}, from the command; at most 3 s)")
        print(f"  of these {processor:.2f} s of the processor in the server, the rest in the browser or waiting")
        print(
            f"pattern under the mouse ({detector} pixels): median {np.median(waits):.0f} ms, 95 % within "
            f"{np.quantile(waits, 0.95):.0f} ms ({len(waits)} positions, never seen before; at most 50 ms)"
        )
        print(f"  of these {alone:.1f} ms of the processor in the server")


if __name__ == "__main__":
    main()
