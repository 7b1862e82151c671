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
from pathlib import Path
from urllib.parse import urlencode

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
        for name, file in pages.items():
            for theme in ("light", "dark"):
                page = browser.new_page(viewport=SIZE, color_scheme=theme)
                page.goto(file.resolve().as_uri())
                page.screenshot(path=images / f"{name}-{theme}.png")
                page.close()
        browser.close()


def explorer(browser: Browser, demo: Path, images: Path) -> None:
    """Views of the explorer, served for as long as they are looked at."""
    command = [sys.executable, "-m", "cyclestrain.cli", "explore", str(demo / "strain.nc"), str(demo / "scan.h5")]
    process = subprocess.Popen([*command, "--no-browser"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found, "the server did not start"
    try:
        for name, (view, theme) in VIEWS.items():
            page = browser.new_page(viewport=SIZE)
            page.goto(f"{found[0]}?{urlencode({'view': view, 'theme': theme})}")
            page.wait_for_selector(".cs-numbers table")
            page.wait_for_timeout(2000)
            page.screenshot(path=images / f"{name}.png")
            page.close()
    finally:
        process.terminate()
        process.communicate()


if __name__ == "__main__":
    main()
