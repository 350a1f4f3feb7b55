"""The report as an image by a real browser, or a clear error without one."""

import os
from pathlib import Path

import pytest
from PIL import Image

from tests import browser
from tests.samples import full_study
from tuner.errors import TunerError
from tuner.report.html import screenshot
from tuner.report.write import write_page


def test_without_a_browser_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TunerError, match=r"none is installed; hint: install one"):
        screenshot.capture(tmp_path / "page.html", tmp_path / "page.png")


def test_a_browser_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "chromium"
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(TunerError, match="chromium failed"):
        screenshot.capture(tmp_path / "page.html", tmp_path / "page.png")


@pytest.mark.slow
@browser.needed
def test_a_picture_shows_the_page_and_its_plots(tmp_path: Path) -> None:
    study = full_study(tmp_path)
    path = write_page(study, tmp_path / "report.png", form="png")
    assert [p.name for p in tmp_path.glob("*report*")] == ["report.png"]  # no draft is left
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width == screenshot.WIDTH
        assert 3000 < picture.height < screenshot.TALLEST
        colours = {colour for _, colour in picture.getcolors(2**24) or ()}
    assert (0x2F, 0x81, 0xF7) in colours  # a mark of a complete configuration: plotly.js has drawn
