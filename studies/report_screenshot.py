"""The picture of a report page in the documentation: ``python -m studies.report_screenshot``.

It needs Chromium and playwright; Pillow comes with matplotlib.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from autoquant.report_page.page import write_page
from autoquant.study.folder import Study

STUDIES = Path(__file__).parent
PICTURE = STUDIES.parent / "docs" / "images" / "report.png"
STUDY = "stdlib-0.075x"
SIZE = {"width": 1240, "height": 1310}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
COARSE = 5
"""Colours are rounded to multiples of this, for a smaller file."""
POINT = "a.point[href='#plan-14']"
"""Trial 10, the chosen plan, after four references."""


def main() -> None:
    """Write the page of a copy of the study, as it is after its plan was applied; show its top."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        study = Study(Path("runs") / STUDY)
        shutil.copytree(STUDIES / STUDY, study.path)
        applied = study.applied(f"plan-{study.plan().digest}")
        applied.mkdir(parents=True)
        shutil.copy(study.path / "applied-result.json", applied / "result.json")
        _photograph(write_page(study).resolve())


def _photograph(page_file: Path) -> None:
    """Write the picture of a page."""
    chromium = shutil.which("chromium") or sys.exit("error: chromium must be installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(page_file.as_uri())
        page.locator(POINT).hover()
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.open(BytesIO(page.screenshot()))
        browser.close()
    rounded = picture.convert("RGB").point(lambda value: COARSE * round(value / COARSE))
    rounded.save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
