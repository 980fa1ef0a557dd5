"""Photograph the chat page as the READMEs show it: the first example, its answer, and where one of its words looked.

python tools/photograph_page.py        # docs/images/page.png and page-zh.png, of sightline-tiny now; needs Chromium
"""

from __future__ import annotations

import shutil
from pathlib import Path

import sightline
from sightline.serving.app import create_app
from sightline.serving.server import Running
from sightline.serving.settings import Settings
from sightline.serving.state import build_state

IMAGES = Path(__file__).parent.parent / "docs" / "images"
# File -> the browser's language, and the word that is pointed at, counted from the answer's first.
PAGES = {"page.png": ("en-GB", 1), "page-zh.png": ("zh-CN", 0)}


def main() -> None:
    from playwright.sync_api import sync_playwright

    state = build_state(*sightline.load("sightline-tiny"), Settings("sightline-tiny"))
    with Running(create_app(state), state) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for file, (locale, word) in PAGES.items():
            page = browser.new_page(locale=locale, viewport={"width": 1280, "height": 760})
            page.set_default_timeout(120_000)
            page.goto(server.url)
            page.locator(".example").first.click()
            page.locator(".answer [data-testid=figures]").wait_for()
            page.locator(".word").nth(word).hover()
            page.locator(".heat[data-lit]").wait_for()
            page.wait_for_timeout(500)  # the patches fade in
            page.screenshot(path=IMAGES / file)
            print(f"wrote {IMAGES / file}: {page.locator('.answer-text').inner_text()}")


if __name__ == "__main__":
    main()
