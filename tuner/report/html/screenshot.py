"""Render the report as one PNG image with an installed browser."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

from tuner.errors import TunerError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--virtual-time-budget=10000",
)  # fmt: skip
WIDTH, TALLEST = 1280, 14000
"""Size in pixels; a taller page is cut off (Chromium draws at most 16,384)."""
PATIENCE = 120
"""Time limit of the browser in seconds."""


def capture(page: Path, output: Path) -> Path:
    """Render the HTML file ``page`` as the PNG file ``output``, cropped to its content.

    Raises:
        TunerError: There is no browser, or it failed.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise TunerError(
            "--format png needs Chromium or Chrome to draw the page, and none is installed",
            hint="install one, such as Debian's package chromium, or use --format html or md",
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        picture = Path(directory) / "page.png"
        command = [
            browser, *FLAGS, f"--user-data-dir={directory}/profile", f"--screenshot={picture}",
            f"--window-size={WIDTH},{TALLEST}", page.resolve().as_uri(),
        ]  # fmt: skip
        if os.geteuid() == 0:  # as in a container, where Chromium's sandbox does not work
            command.insert(1, "--no-sandbox")
        try:
            subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
            with Image.open(picture) as drawn:
                _cut(drawn.convert("RGB")).save(output, "PNG", optimize=True)
        except (subprocess.SubprocessError, OSError) as error:
            raise TunerError(f"--format png: {browser} failed: {error}") from error
    return output


def _cut(picture: Image.Image) -> Image.Image:
    """Crop the empty area below the page."""
    paper = Image.new("RGB", picture.size, picture.getpixel((0, picture.height - 1)))
    box = ImageChops.difference(picture, paper).getbbox()
    bottom = picture.height if box is None else min(box[3] + 40, picture.height)
    return picture.crop((0, 0, picture.width, bottom))
