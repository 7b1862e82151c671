"""Pictures of the explorer, the report and the site for the documentation, light and dark, from the demo.

    python docs/dev/screenshots.py DEMO_FOLDER IMAGE_FOLDER [SITE_FOLDER]

needs Chromium and Playwright, which `make test-app` installs. Everything in the explorer is set by the address: a view
is a line of text. The site is what `make docs` built.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from playwright.sync_api import Browser, sync_playwright

import cyclestrain as cs

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VIEWS = {
    "explorer-light": ("map=exx at=22,28 reference=2:10,32:45 line=3,3:30,44:3", "light"),
    "explorer-dark": ("map=doubt beside=rotation at=30,18 residual=yes", "dark"),
}


SIZE = {"width": 1280, "height": 800}


def main() -> None:
    """Open each page and keep what is seen."""
    demo, images, *site = (Path(word) for word in sys.argv[1:])
    pages = {"report": cs.report(demo / "strain.nc", demo / "strain.html", force=True)}
    if site:
        pages["site"] = site[0] / "auto_tutorials" / "first_map.html"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        explorer(browser, demo, images)
        live(browser, demo, images)
        for name, file in pages.items():
            for theme in ("light", "dark"):
                page = browser.new_page(viewport=SIZE, color_scheme=theme)
                page.goto(file.resolve().as_uri())
                page.screenshot(path=images / f"{name}-{theme}.png")
                page.close()
        browser.close()


def explorer(browser: Browser, demo: Path, images: Path) -> None:
    """Views of the explorer, served for as long as they are looked at."""
    with served("explore", demo / "strain.nc", demo / "scan.h5") as address:
        for name, (view, theme) in VIEWS.items():
            picture(browser, f"{address}?{urlencode({'view': view, 'theme': theme})}", images / f"{name}.png")


def live(browser: Browser, demo: Path, images: Path) -> None:
    """The explorer on the demo's scan while it is recorded, two thirds of it there."""
    model, file = demo / "model.safetensors", demo / "growing.npy"
    cs.fit(demo / "scan.h5", model, epochs=1, force=True)
    patterns = np.asarray(cs.read(demo / "scan.h5").source[:])
    np.save(file, patterns)
    whole = file.read_bytes()
    there = len(whole) - patterns[2 * len(patterns) // 3 :].nbytes
    file.write_bytes(whole[:there])
    words = ("--file", file, "--model", model, "-o", demo / "live.nc", "--force", "--explore")
    with served("live", *words) as address:
        picture(
            browser, f"{address}?{urlencode({'view': 'map=exx at=12,28'})}", images / "explorer-live.png", settled=20e3
        )
    file.unlink()


@contextmanager
def served(*words: str | Path) -> Iterator[str]:
    """A command that serves windows, running; gives the address it prints."""
    command = [sys.executable, "-m", "cyclestrain.cli", *map(str, words), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "the server did not start"
        yield found[0]
    finally:
        process.terminate()
        process.communicate()


def picture(browser: Browser, address: str, file: Path, settled: float = 2e3) -> None:
    """A window as it is seen some milliseconds after it was opened, when all is drawn."""
    page = browser.new_page(viewport=SIZE)
    page.goto(address)
    page.wait_for_selector(".cs-numbers table", timeout=120e3)
    page.wait_for_timeout(settled)
    page.screenshot(path=file)
    page.close()


if __name__ == "__main__":
    main()
